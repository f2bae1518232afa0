"""Operating modes: every row is put where it would stand if the machine had one way of running.

One stage between the windows and the reference. Where a warm-up shows modes (``regime_fit.py``) or
a tag tells them (``Config.sensor``), each value x of mode m becomes

    x' = (x − mean_m) · scale_0 / scale_m + mean_0

and everything that follows judges x'. Where there are none, rows pass through untouched, bit for
bit, and so do those of the one product that a warm-up made. ``units`` leads back: what is said of a
sensor is said in its own unit, in the present mode. What names a product is not judged itself.

A row that fits no mode begins a *new* one, never the nearest known: that cost 19 to 63 times the
false alarms. A new mode is learned for as many rows as the known ones had, without an opinion (x'
is NaN), then frozen like them. What a tag tells is learned on for as long as the warm-up was, and
followed meanwhile (``leeway``): the first rows of a product are those of a machine that changes.
Places that the machine only passes through fill the spare slots, and the one passed longest ago
makes room. One mode more than the limit, or half of the rows of late in none that is known, mean
that the settings are not a few: the conditioning is given up, and the asset warms up anew as a
machine of one mode.

State: all of it is the future's. Slots 0 … k−1 of an asset are its modes; no NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomaly.batches import Bool, Float64, Int64
from anomaly.errors import ConfigError
from anomaly.kernel import kernel
from anomaly.regime_search import SETTINGS

VERSION = 3

#: Slots beside the modes, for places passed through and modes that are being learned.
SPARE = 4
#: Rows that a mode is learned for: its share of half the warm-up, within these.
LEARN_LEAST, LEARN_MOST = 4, 200
#: Rows by which a mode's own scale is drawn to the common one: five rows tell a mean, no scale.
SCALE_ROWS = 10.0
#: A learned value counts at most this many common scales from its mode's mean, after three rows.
STEP_SCALES = 8.0
#: The mean of a product that a tag tells is that of the last of so many parts of what is learned.
RECENT = 4

#: Rows over which the share without a known mode is counted (exponentially), and the share that is
#: too much: a single new mode, learned in one go, comes to 0.4.
SILENT_ROWS, SILENT_MOST = 400.0, 0.5

#: ``ASSET["modes"]`` of an asset whose settings proved to be more than a few; while the rest of its
#: rows in a batch wait to be judged anew.
GIVEN_UP, GIVING_UP = -1, -2

#: ``Config.sensor`` that forbids what would be taken without it.
NONE = "none"

ASSET = np.dtype([
    ("modes", np.int64),     # slots in use; 0 = one way of running, GIVEN_UP = too many
    ("settings", np.int64),  # settings columns
    ("learn", np.int64),     # rows that make a mode known
    ("mode", np.int64),      # slot of the latest row, −1 = none
    ("rows", np.int64),      # rows mapped: the age of a slot
    ("silent", np.float64),  # share of the latest rows that were in no known mode
    ("ripe", np.int64),      # rows after which a mode that a tag tells is known; 0 = as ``learn``
    ("mute", np.int64),      # column, + 1, of a tag that names what is made and tells no mode
])
NO_MODES = (0, 0, -1, 0, 0.0, 0)  # of an asset that has none, between ``modes`` and ``mute``
SETTING = np.dtype([
    ("column", np.int64), ("radius", np.float64), ("last", np.float64), ("seen", np.int8),
])
MODE = np.dtype([
    ("rows", np.int64), ("last", np.int64), ("place", np.float64, (SETTINGS,)),
    ("ripe", np.int64),  # rows after which nothing more is learned of it
])
TAG = np.dtype([("setting", np.int8), ("mean", np.float64), ("scale", np.float64)])
TAG_MODE = np.dtype([
    ("count", np.int64), ("mean", np.float64), ("square", np.float64), ("scale", np.float64),
])


@dataclass(frozen=True, slots=True)
class Config:
    """Whether a machine is judged per operating mode."""

    sensor: str = ""
    """A tag that tells the mode outright (recipe, product): each of its values is one. Empty = one
    of a usual name that behaves like one; where there is none, or with ``none``, the warm-up
    decides whether there are modes."""
    limit: int = 16
    """Most modes of an asset; a machine with more is judged as one of one mode. 0 = never per
    mode. Sixteen are twice what any machine among the recordings has."""

    def __post_init__(self) -> None:
        if not 0 <= self.limit <= 256:
            raise ConfigError(f"limit: must be 0 to 256, got {self.limit}")
        if self.sensor not in ("", NONE) and not self.limit:
            raise ConfigError("limit: must not be 0 where a sensor tells the mode")


def allocate(config: Config, assets: int, tags: int) -> dict[str, np.ndarray[Any, Any]]:
    """Fresh state: no asset has modes."""
    slots = config.limit + SPARE if config.limit else 0
    asset = np.zeros(assets, ASSET)
    asset["mode"] = -1
    return {
        "asset": asset,
        "asset_setting": np.zeros((assets, SETTINGS), SETTING),
        "asset_mode": np.zeros((assets, slots), MODE),
        "tag": np.zeros(tags, TAG),
        "tag_mode": np.zeros((tags, slots), TAG_MODE),
    }


def give_up(state: dict[str, np.ndarray[Any, Any]], a: int) -> None:
    """The asset's settings are more than a few: it has one way of running from now on."""
    column = state["asset_setting"]["column"][a, 0]
    mute = column + 1 if state["asset"]["ripe"][a] > 0 else state["asset"]["mute"][a]
    state["asset"][a] = (GIVEN_UP, *NO_MODES, mute)


@dataclass(frozen=True, slots=True, eq=False)
class Mapped:
    """Rows as they would be if their machine had one way of running.

    Attributes
    ----------
    x : float64[m, d]
        x' of each value; the batch's own where no asset has modes.
    left : bool[m]
        Rows not mapped, because here or before a mode too many turned up (:func:`give_up`).
    young : bool[m]
        Rows of a mode that a tag tells, of which less is known than a warm-up is long.
    gain, offset : float64[m, d] or None
        x = gain · x' + offset; None where no asset has modes.
    """

    x: Float64
    left: Bool
    young: Bool
    gain: Float64 | None = None
    offset: Float64 | None = None

    def taken(self, index: Int64) -> Mapped:
        """Some of the rows, in the order of ``index``."""
        return Mapped(
            self.x[index], self.left[index], self.young[index],
            None if self.gain is None else self.gain[index],
            None if self.offset is None else self.offset[index])


def run(
    config: Config, state: dict[str, np.ndarray[Any, Any]], table: Int64, asset: Int64, x: Float64
) -> Mapped:
    """Map the rows ``x float64[m, d]`` of assets whose modes are frozen."""
    left, young = np.zeros(asset.size, np.bool_), np.zeros(asset.size, np.bool_)
    own = state["asset"]
    if not (own["modes"][asset] > 0).any() and not own["mute"][asset].any():
        return Mapped(x, left, young)
    mapped, gain, offset = np.empty_like(x), np.ones_like(x), np.zeros_like(x)
    step(*state.values(), config.limit, table, asset, x, mapped, gain, offset, left, young)
    return Mapped(mapped, left, young, gain, offset)


def units(
    state: dict[str, np.ndarray[Any, Any]], tags: Int64, slot: Int64
) -> tuple[Float64, Float64]:
    """Gain and offset float64[d] each with x = gain · x' + offset in these modes of the tags."""
    gain, offset = np.ones(tags.size), np.zeros(tags.size)
    at = np.flatnonzero(slot >= 0)
    if at.size:
        tag, mode = state["tag"][tags[at]], state["tag_mode"][tags[at], slot[at]]
        known = mode["count"] > 0
        ratio = np.where(tag["setting"] == 1, 0.0, mode["scale"] / tag["scale"])
        gain[at] = np.where(known, ratio, 1.0)
        offset[at] = np.where(known, mode["mean"] - gain[at] * tag["mean"], 0.0)
    return gain, offset


def real(
    state: dict[str, np.ndarray[Any, Any]], tags: Int64, asset: Int64, value: Float64
) -> Float64:
    """Values float64[d] of tags as the sensors would say them, in the present mode of each tag's
    asset, ``asset int64[d]``."""
    gain, offset = units(state, tags, state["asset"]["mode"][asset])
    return gain * value + offset


def bands(
    state: dict[str, np.ndarray[Any, Any]], reference: dict[str, np.ndarray[Any, Any]],
    tags: Int64, asset: Int64, given: Float64,
) -> tuple[Float64, Float64, Float64]:
    """Low, centre and high of what is expected, in the present mode; NaN before it stands.

    ``given float64[d]``: what is put down to the hall (``leeway``).
    """
    tag = reference["tag"][tags]
    low, centre, high = (
        real(state, tags, asset, np.where(tag["ready"] == 1, tag[name], np.nan) + given)
        for name in ("low", "centre", "high"))
    return low, centre, high


def back(
    mapped: Mapped | None, table: Int64, asset: Int64, given: Float64
) -> Callable[[int], tuple[Float64, Float64]]:
    """Row of a batch -> gain and offset float64[tags] that lead from what was judged to the units.

    ``given float64[m, d]``: what is put down to the hall (``leeway``). None = nothing was mapped.
    """
    def at(row: int) -> tuple[Float64, Float64]:
        size = int((table[asset[row]] >= 0).sum())
        gain, offset = np.ones(size), np.zeros(size)
        width = min(size, given.shape[1])
        if mapped is not None and mapped.gain is not None and mapped.offset is not None:
            gain[:width], offset[:width] = mapped.gain[row, :width], mapped.offset[row, :width]
        offset[:width] += gain[:width] * given[row, :width]
        return gain, offset

    return at


def settings(state: dict[str, np.ndarray[Any, Any]], tags: Int64) -> Int64:
    """Those of an asset's tags that tell its mode."""
    found: Int64 = tags[state["tag"]["setting"][tags] == 1]
    return found


def said(state: dict[str, np.ndarray[Any, Any]], a: int) -> str:
    """How the asset is judged, in words; empty where it has one way of running."""
    asset = state["asset"][a]
    if asset["modes"] == GIVEN_UP:
        return "more operating modes than the limit: judged as one"
    if asset["modes"] == 0:
        return ""
    rows = state["asset_mode"]["rows"][a, : asset["modes"]]
    if asset["modes"] == 1 and asset["ripe"] > 0:
        return ""  # the tag has told one product so far
    known = int((rows >= asset["learn"]).sum())
    learning = int(((rows > 0) & (rows < asset["learn"])).sum())
    more = f", {learning} being learned" if learning else ""
    return f"judged per operating mode: {known} found{more}"


def said_of_tag(state: dict[str, np.ndarray[Any, Any]], a: int, c: int, t: int, named: bool) -> str:
    """Why the asset's tag ``t``, its column ``c``, is not judged, in words; empty where it is.

    ``named``: the settings name the sensor that tells the mode.
    """
    asset = state["asset"][a]
    mute = c + 1 == asset["mute"]
    if not mute and not (asset["modes"] > 0 and state["tag"]["setting"][t] == 1):
        return ""
    told = "names what is made" if mute else "tells the operating mode"
    by_name = not named and (mute or asset["ripe"] > 0)
    forbid = f'; taken by its name, [regimes] sensor = "{NONE}" forbids it' if by_name else ""
    return f"{told}; not judged itself{forbid}"


def unjudged(state: dict[str, np.ndarray[Any, Any]], asset: Int64, tags: Int64) -> Bool:
    """bool[m, d]: which of the assets' tags, ``tags int64[m, d]`` by column, are not judged."""
    own = state["asset"][asset]
    setting = (state["tag"]["setting"][tags] == 1) & (own["modes"] > 0)[:, None]
    found: Bool = setting | (np.arange(tags.shape[1]) + 1 == own["mute"][:, None])
    return found


@kernel
def step(
    asset_state: Any, asset_setting: Any, asset_mode: Any, tag_state: Any, tag_mode: Any,
    limit: int, table: Int64, asset: Int64, x: Float64, mapped: Float64, gain: Float64,
    offset: Float64, left: Bool, young: Bool,
) -> None:
    """Map rows in order; outputs as in :class:`Mapped`. A row in a mode not yet known is NaN.

    ``gain`` comes as ones, ``offset``, ``left`` and ``young`` as zeros.
    """
    for r in range(asset.size):
        a = asset[r]
        own = asset_state[a]
        if own["modes"] <= 0:
            left[r] = own["modes"] == GIVING_UP
            for c in range(x.shape[1]):
                mapped[r, c] = np.nan if c + 1 == own["mute"] else x[r, c]
            continue
        own["rows"] += 1
        told = _read_settings(asset_setting[a], own["settings"], x[r])
        k = _slot_of(own, asset_setting[a], asset_mode[a]) if told else -1
        if k >= 0 and asset_mode[a, k]["rows"] == 0:
            for c in range(table.shape[1]):
                if table[a, c] >= 0:
                    _forget(tag_mode[table[a, c], k])
        if _too_many(own, asset_mode[a], k, limit):
            own["modes"], left[r] = GIVING_UP, True
            continue
        own["mode"] = k
        rows = asset_mode[a, k]["rows"] if k >= 0 else 0
        learning = k >= 0 and rows < own["learn"]
        young[r] = k >= 0 and not learning and rows < asset_mode[a, k]["ripe"]
        for c in range(x.shape[1]):
            t = table[a, c] if c < table.shape[1] else -1
            mapped[r, c] = np.nan
            if k < 0 or t < 0 or c + 1 == own["mute"]:
                continue
            if (learning or young[r]) and not np.isnan(x[r, c]):
                _learn(tag_state[t], tag_mode[t, k], x[r, c], asset_mode[a, k]["ripe"] // RECENT)
            if tag_mode[t, k]["count"] > 0:
                _tell(tag_state[t], tag_mode[t, k], gain[r], offset[r], c)
            if not learning and tag_mode[t, k]["count"] > 1 and not np.isnan(x[r, c]):
                mapped[r, c] = _mapped(tag_state[t], tag_mode[t, k], x[r, c])
        if learning or young[r]:
            asset_mode[a, k]["rows"] += 1
            if asset_mode[a, k]["rows"] == asset_mode[a, k]["ripe"]:
                for c in range(table.shape[1]):
                    if table[a, c] >= 0:
                        _ripen(tag_state[table[a, c]], tag_mode[table[a, c], k])


@kernel
def _read_settings(setting: Any, settings: int, x: Float64) -> bool:
    """Take the row's settings, keep the last where one is missing; False before all were seen."""
    told = True
    for s in range(settings):
        column = setting[s]["column"]
        if column < x.size and x[column] == x[column]:
            setting[s]["last"], setting[s]["seen"] = x[column], 1
        told = told and setting[s]["seen"] == 1
    return told


@kernel
def _slot_of(own: Any, setting: Any, mode: Any) -> int:
    """Slot of the nearest mode within the radius; else a new one at this place."""
    best, nearest = -1, np.inf
    for k in range(own["modes"]):
        away = 0.0
        for s in range(own["settings"]):
            apart = abs(setting[s]["last"] - mode[k]["place"][s])
            if apart > setting[s]["radius"]:
                away = np.inf
            elif setting[s]["radius"] > 0.0:
                away = max(away, apart / setting[s]["radius"])
        if away < nearest:
            best, nearest = k, away
    if best >= 0:
        return best
    if own["modes"] < mode.size:
        best = own["modes"]
        own["modes"] += 1
    else:
        for k in range(mode.size):  # the limit leaves spare slots that are not known
            if mode[k]["rows"] < own["learn"] and (
                best < 0 or mode[k]["last"] < mode[best]["last"]
            ):
                best = k
    mode[best]["rows"] = 0
    mode[best]["ripe"] = own["ripe"]
    for s in range(own["settings"]):
        mode[best]["place"][s] = setting[s]["last"]
    return best


@kernel
def _too_many(own: Any, mode: Any, k: int, limit: int) -> bool:
    """Count the row; whether it shows that the settings are more than a few."""
    known = k >= 0 and mode[k]["rows"] >= own["learn"]
    own["silent"] += ((0.0 if known else 1.0) - own["silent"]) / SILENT_ROWS
    if k >= 0:
        mode[k]["last"] = own["rows"]
        if mode[k]["rows"] + 1 == own["learn"] and _known(own, mode) == limit:
            return True
    return bool(own["silent"] > SILENT_MOST)


@kernel
def _known(own: Any, mode: Any) -> int:
    known = 0
    for k in range(own["modes"]):
        known += 1 if mode[k]["rows"] >= own["learn"] else 0
    return known


@kernel
def _forget(tag_mode: Any) -> None:
    tag_mode["count"] = 0
    tag_mode["mean"], tag_mode["square"], tag_mode["scale"] = 0.0, 0.0, 1.0


@kernel
def _learn(tag: Any, tag_mode: Any, value: float, most: int) -> None:
    """One more row of the mode (Welford), and the scale that follows from what is known so far.

    ``most`` > 0: older rows than so many fade, and the scale is the common one until the mode is
    ripe: what the first rows of a product spread is the change of product.
    """
    n = tag_mode["count"] + 1
    if most > 0 and n > most:
        n = most
        tag_mode["square"] *= 1.0 - 1.0 / n
    tag_mode["count"] = n
    apart = value - tag_mode["mean"]
    if n > 3:
        widest = STEP_SCALES * max(tag["scale"], math.sqrt(tag_mode["square"] / (n - 2)))
        apart = min(max(apart, -widest), widest)
    tag_mode["mean"] += apart / n
    tag_mode["square"] += apart * apart * (n - 1) / n
    tag_mode["scale"] = tag["scale"]
    if most == 0:
        _ripen(tag, tag_mode)


@kernel
def _ripen(tag: Any, tag_mode: Any) -> None:
    tag_mode["scale"] = scale_of(tag_mode["square"], tag_mode["count"], tag["scale"])


@kernel
def _tell(tag: Any, tag_mode: Any, gain: Float64, offset: Float64, c: int) -> None:
    """How x' of column ``c`` leads back to x in this mode."""
    gain[c] = 0.0 if tag["setting"] == 1 else tag_mode["scale"] / tag["scale"]
    offset[c] = tag_mode["mean"] - gain[c] * tag["mean"]


@kernel
def scale_of(square: float, n: int, common: float) -> float:
    """A mode's scale from n rows, drawn to the common one by :data:`SCALE_ROWS` rows."""
    return math.sqrt((square + SCALE_ROWS * common * common) / (max(n - 1, 0) + SCALE_ROWS))


@kernel
def _mapped(tag: Any, tag_mode: Any, value: float) -> float:
    if tag["setting"] == 1:  # it says which mode it is; that is all it says
        return float(tag["mean"])
    if tag_mode["mean"] == tag["mean"] and tag_mode["scale"] == tag["scale"]:
        return value
    return float(
        (value - tag_mode["mean"]) * (tag["scale"] / tag_mode["scale"]) + tag["mean"])
