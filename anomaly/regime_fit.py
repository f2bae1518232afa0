"""The modes of a finished warm-up, written into the state of ``regimes`` when a reference freezes.

What the modes are is ``regime_search``'s to say, what becomes of them ``regimes``'s. A tag that
tells what is made is asked first. One that names more products than the limit, or that is known to
name them and does not behave so, is *mute*: a name is never judged as a level. While a warm-up has
shown a single product, its rows stand as they came, bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomaly import regime_search
from anomaly.batches import Float64, Int64
from anomaly.regime_search import SETTINGS, Modes
from anomaly.regimes import (
    GIVEN_UP,
    LEARN_LEAST,
    LEARN_MOST,
    MODE,
    NO_MODES,
    SETTING,
    STEP_SCALES,
    TAG_MODE,
    Config,
    scale_of,
)

#: Fewest rows of other visits that a warm-up row is compared with.
OTHERS_LEAST = 3

State = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class Told:
    """The tags of an asset that may tell what is made.

    Attributes
    ----------
    columns : tuple of int
        The first that behaves so is taken.
    named : bool
        The settings name it: each of its values is a mode.
    booked : bool
        The first is known to be no level, however it behaves.
    forbidden : bool
        None of them may tell the mode; still, what can only be names is not judged.
    """

    columns: tuple[int, ...] = ()
    named: bool = False
    booked: bool = False
    forbidden: bool = False


def fit(
    config: Config, state: State, tags: Int64, a: int, rows: Float64, told: Told = Told()
) -> Float64 | None:
    """Look for modes in an asset's warm-up ``rows float64[w, d]`` and freeze them.

    Returns the rows as x' for whatever is fitted on them, each judged by the *other* visits to its
    mode (NaN where those hold too few); None where they stand as they came.
    """
    before = state["asset"][a].copy()
    state["asset"][a] = (0, *NO_MODES, 0)
    state["tag"]["setting"][tags] = 0
    given_up = before["modes"] == GIVEN_UP
    modes, mute, by_tag = None, -1, False
    if given_up:
        state["asset"]["modes"][a], mute = GIVEN_UP, before["mute"] - 1
    else:
        modes, mute = _told_modes(config, rows, told)
        by_tag = modes is not None
    if mute >= 0:
        rows = rows.copy()
        rows[:, mute] = np.nan
    if config.limit and modes is None and not given_up:
        modes = regime_search.find(rows, config.limit)
    if modes is not None:
        _freeze(state, tags, a, rows, modes, by_tag)
    state["asset"]["mute"][a] = mute + 1
    if modes is None:
        return rows if mute >= 0 else None
    if len(modes.place) > 1:
        return _apart(state, tags, a, rows, modes)
    return _alone(rows, modes, mute >= 0)


def _told_modes(config: Config, rows: Float64, told: Told) -> tuple[Modes | None, int]:
    """Modes that a tag tells, and the column that names products and tells none; −1 = none."""
    known = told.named or (told.booked and not told.forbidden)
    mute = told.columns[0] if told.columns and known else -1
    for c in told.columns:
        if told.forbidden:
            mute = c if regime_search.names_only(rows[:, c]) else mute
            continue
        modes, names = regime_search.from_tag(rows, c, config.limit, told.named)
        if modes is not None:
            return modes, -1 if c == mute else mute
        if names:
            return None, c
    return None, mute


def _alone(rows: Float64, modes: Modes, changed: bool) -> Float64 | None:
    """The rows of the only mode, as they came; None where nothing is ``changed`` in any row."""
    other = (modes.mode < 0) & ~np.isnan(rows[:, modes.columns[0]])
    if not (other.any() or changed):
        return None
    mapped = rows.copy()
    mapped[other] = np.nan
    return mapped


def _freeze(
    state: State, tags: Int64, a: int, rows: Float64, modes: Modes, told: bool
) -> None:
    """Write an asset's modes as its warm-up shows them; ``told``: by a tag."""
    w, k = len(rows), len(modes.place)
    learn = min(max(w // (2 * k), LEARN_LEAST), LEARN_MOST)
    state["asset"][a] = (
        k, modes.columns.size, learn, int(modes.mode[-1]), w, 0.0, w if told else 0, 0)
    state["asset_setting"][a] = np.zeros(SETTINGS, SETTING)
    for s, c in enumerate(modes.columns.tolist()):
        values = rows[~np.isnan(rows[:, c]), c]
        state["asset_setting"][a, s] = (c, modes.radius[s], values[-1], 1)
    state["asset_mode"][a] = np.zeros(state["asset_mode"].shape[1], MODE)
    state["tag_mode"][tags] = np.zeros(state["tag_mode"].shape[1], TAG_MODE)
    for j in range(k):
        at = np.flatnonzero(modes.mode == j)
        state["asset_mode"]["rows"][a, j] = at.size
        state["asset_mode"]["last"][a, j] = at[-1]
        state["asset_mode"]["place"][a, j, : modes.columns.size] = modes.place[j]
    for c, t in enumerate(tags.tolist()):
        state["tag"][t] = _freeze_tag(state["tag_mode"][t], rows[:, c], modes)
        state["tag"]["setting"][t] = c in modes.columns


def _freeze_tag(tag_mode: Any, column: Float64, modes: Modes) -> tuple[int, float, float]:
    """Mean and scale of a tag in each mode; returns the tag's own record."""
    finite = np.isfinite(column)
    total = freedom = 0.0
    for j in range(len(modes.place)):
        values = column[finite & (modes.mode == j)]
        if not values.size:
            continue
        centre = float(np.median(values))
        reach = STEP_SCALES * float(np.median(np.abs(values - centre))) * 1.4826
        kept = np.clip(values, centre - reach, centre + reach) if reach > 0.0 else values
        mean = float(kept.mean())
        square = float(((kept - mean) ** 2).sum())
        tag_mode[j] = (values.size, mean, square, 1.0)
        total += square
        freedom += values.size - 1
    scale = math.sqrt(total / freedom) if freedom > 0.0 and total > 0.0 else 0.0
    level = float(column[finite].mean()) if finite.any() else 0.0
    if not scale > 1e-12 * abs(level):  # it never moved within a mode: judged in its own unit
        scale = 0.01 * (abs(level) if level != 0.0 else 1.0)
    for j in range(len(modes.place)):
        tag_mode[j]["scale"] = scale_of(tag_mode[j]["square"], tag_mode[j]["count"], scale)
    if len(modes.place) == 1:  # x' = x, to the bit
        level = float(tag_mode[0]["mean"]) if tag_mode[0]["count"] else level
        tag_mode[0]["scale"] = scale
    return 0, level, scale


def _apart(
    state: State, tags: Int64, a: int, rows: Float64, modes: Modes
) -> Float64:
    """The warm-up rows as x', each against the mean of the other visits to its mode."""
    others = regime_search.counts_of_others(rows, modes)
    expected = np.where(others >= OTHERS_LEAST, regime_search.from_others(rows, modes), np.nan)
    tag = state["tag"][tags]
    scale = state["tag_mode"]["scale"][tags][:, np.maximum(modes.mode, 0)].T
    mapped: Float64 = (rows - expected) * (tag["scale"] / scale) + tag["mean"]
    mapped[:, modes.columns] = np.where(np.isnan(expected[:, modes.columns]), np.nan,
                                        tag["mean"][modes.columns])
    return np.ascontiguousarray(mapped)
