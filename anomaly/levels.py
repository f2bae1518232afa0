"""Idle and running, guessed live from a power or speed signal where no tag tells the state.

Means over a minute are kept until two levels show in them (``states.guess_levels``); the guess is
then frozen with its confidence, and from there on every minute is producing or stopped. Where the
levels alternate from mean to mean it is the machine's own cycle that shows: the means are made four
times as long and the guess begins anew.

Whether the machine is at rest is asked of every sample, and more strictly: as low as it usually was
when idle, for longer than its own cycle is low, and not for longer than rests last. What is between
idle and running is no rest, nor is an idling at half the power or more. Until the levels are known,
a machine rests that had worked all the time and falls far below what was usual.

A meter that is dead reads nothing, too: where the other sensors were far from their references in
rests so far, one in which they stay as near as at work for an hour is none (:func:`doubt`). Per
asset; no name and no ledger here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly import states
from anomaly.batches import Bool, Float64, Int8, Int64
from anomaly.kernel import kernel

VERSION = 2

#: Means kept, and after how many of them a guess is tried: four hours of minutes, eight, sixteen.
MEANS, TRIED = 960, (240, 480, 960)
#: Means after which it is seen what has been usual, if it was steady.
USUAL = (30, 60, 120)
#: Confidence from which a guess is used.
LEAST = 0.5
_MEAN_NS = 60 * 10**9
_WIDEN, _WIDEST_NS = 4, 3600 * 10**9
_BELOW = 0.05  # of running: an idle power or speed may be a little below nought, not more
_SHORT = 3.0  # a level that usually lasts fewer means is a part of the cycle
_HIGHEST, _MARGIN = 0.95, 0.05  # quantile of idle means, and of the way to running, still at rest
_HALF = 0.5  # of running: what idles at more is judged there, too
_STEADY, _FALLEN = 0.5, 0.3  # of the usual mean: all so far are above; a rest is below
_TRUSTED_NS, _LONGER = 72 * 3600 * 10**9, 2  # a weekend is a rest; and twice the longest one yet
_GAP_NS = 3600 * 10**9  # without a sample for so long nobody knows how long it rests
_FARTHEST = 10.0  # deviations; farther does not matter
_RESTS, _REST_NS = 3, 600 * 10**9  # to be known, so long at least
_APART, _NEAR = 2.0, 0.3  # times as far at rest as at work; so much of the way counts as work
_OF_LATE_NS, _DOUBT_NS = 1200 * 10**9, 3600 * 10**9
_MEMORY = 2000  # rows

Records = npt.NDArray[np.void]
Record = Any  # one element of a structured array, changed in place

LEVEL = np.dtype([
    ("open", np.int64), ("start_ns", np.int64), ("total", np.float64), ("count", np.float64),
    ("mean_ns", np.int64),  # length of a mean; 0 = the shortest
    ("filled", np.int64), ("known", np.int64), ("known_ns", np.int64),
    ("threshold", np.float64), ("idle", np.float64), ("running", np.float64),
    ("confidence", np.float64),
    ("highest", np.float64),  # that a sample at rest may be; 0 = it is not known
    ("low", np.int64), ("low_most", np.int64),  # samples in a row at most so high: now, in a cycle
    ("above_ns", np.int64), ("since_ns", np.int64), ("seen_ns", np.int64),  # of a sample
    ("longest_ns", np.int64),  # rest that came to an end
    ("resting", np.int64), ("rest_ns", np.int64),  # by rows: whether it rests, and since when
    ("row_ns", np.int64), ("near_ns", np.int64),  # since when the others are near
    ("work", np.float64), ("work_rows", np.int64),  # how far they are at work, and of how many rows
    ("rest", np.float64), ("rest_rows", np.int64), ("rests", np.int64),  # and at rest
    ("late", np.float64),  # of late
])


def allocate(assets: int) -> dict[str, npt.NDArray[Any]]:
    """Fresh state: nothing seen."""
    return {"asset_row": np.zeros(assets, LEVEL), "asset_mean": np.zeros((assets, MEANS))}


def run(
    state: dict[str, npt.NDArray[Any]], told: Int64, asset: Int64, time_ns: Int64, value: Float64
) -> tuple[Int8, Int8]:
    """States of n samples of any assets, int8[n] twice; any split of them finds the same.

    ``told int64[A]``: −1 where nothing is to be guessed. ``value float64[n]``: NaN = not said. The
    first is producing or stopped where a mean has just been completed, the second at every sample
    once it is known how low is at rest: stopped = at rest; else ``states.UNCHANGED``.
    """
    found = np.full(asset.size, states.UNCHANGED, np.int8)
    rests = found.copy()
    start = 0
    while start < asset.size:
        start, due = collect(*state.values(), told, asset, time_ns, value, start, found, rests)
        if due >= 0:
            guess(state["asset_row"][due], state["asset_mean"][due], int(time_ns[start - 1]))
    return found, rests


@kernel
def collect(
    asset_row: Records, asset_mean: Float64, told: Int64, asset: Int64, time_ns: Int64,
    value: Float64, start: int, found: Int8, rests: Int8,
) -> tuple[int, int]:
    """Samples from ``start`` on, until an asset's guess is due; (next sample, asset or −1)."""
    for i in range(start, asset.size):
        a, t = asset[i], time_ns[i]
        if told[a] < 0 or np.isnan(value[i]):
            continue
        own = asset_row[a]
        due = False
        length = own["mean_ns"] if own["mean_ns"] > 0 else _MEAN_NS
        if own["open"] == 1 and t - own["start_ns"] >= length:
            mean = own["total"] / own["count"]
            own["open"] = 0
            if own["known"] == 1:
                running = mean > own["threshold"]
                found[i] = states.PRODUCING if running else states.STOPPED
            else:
                asset_mean[a, own["filled"]] = mean
                own["filled"] += 1
                due = own["filled"] in TRIED or own["filled"] in USUAL
        if own["open"] == 0:
            own["open"], own["start_ns"], own["total"], own["count"] = 1, t, 0.0, 0.0
        own["total"] += value[i]
        own["count"] += 1.0
        if own["highest"] > 0.0 or own["seen_ns"] > 0:
            rests[i] = states.STOPPED if _at_rest(own, t, value[i]) else states.PRODUCING
        if due:
            return i + 1, a
    return asset.size, -1


@kernel
def _at_rest(own: Record, t: int, value: float) -> bool:
    """Whether the machine is at rest at one more sample."""
    if t - own["seen_ns"] > _GAP_NS:
        own["since_ns"] = t
    own["seen_ns"] = t
    if value > own["highest"] or own["highest"] == 0.0:
        length = t - own["above_ns"]
        if length < (own["mean_ns"] if own["mean_ns"] > 0 else _MEAN_NS):
            own["low_most"] = max(own["low_most"], own["low"])
        elif own["low"] > own["low_most"]:
            own["longest_ns"] = max(own["longest_ns"], t - own["since_ns"])
        own["low"], own["above_ns"] = 0, t
        return False
    if own["low"] == 0:
        own["since_ns"] = t
    own["low"] += 1
    trusted = max(_TRUSTED_NS, _LONGER * own["longest_ns"])
    return bool(own["low"] > own["low_most"] and t - own["since_ns"] <= trusted)


@kernel
def doubt(
    asset_row: Records, signal: Int64, table: Int64, ready: Int8, reference: Records,
    asset: Int64, time_ns: Int64, x: Float64, works: Int8, rests: int,
) -> None:
    """Take a rest back, 0 in ``works int8[m]``, that only the machine's meter tells.

    ``signal int64[A]``: tag of the level, −1 = none; ``ready int8[A]``: the asset's references
    stand; ``reference``: the tags'; ``rests``: what ``works`` is at rest.
    """
    for i in range(asset.size):
        a, t = asset[i], time_ns[i]
        if a >= asset_row.size or signal[a] < 0:
            continue
        own = asset_row[a]
        far = _how_far(reference, table[a], signal[a], x[i]) if ready[a] == 1 else np.nan
        step = min(max((t - own["row_ns"]) / _OF_LATE_NS, 0.0), 1.0)
        own["row_ns"] = t
        if works[i] != rests:
            if own["resting"] == 1 and t - own["rest_ns"] >= _REST_NS:
                own["rests"] += 1
            own["resting"] = 0
            if far == far:
                own["work_rows"] = min(own["work_rows"] + 1, _MEMORY)
                own["work"] += (far - own["work"]) / own["work_rows"]
            continue
        if own["resting"] == 0:
            own["resting"], own["rest_ns"], own["near_ns"], own["late"] = 1, t, t, far
        if far != far:
            own["near_ns"] = t
            continue
        own["late"] += step * (far - own["late"]) if own["late"] == own["late"] else far
        near = own["work"] + _NEAR * (own["rest"] - own["work"])
        known = own["rests"] >= _RESTS
        if not known or own["late"] > near or own["rest"] < _APART * own["work"]:
            own["near_ns"] = t
        if not known or own["late"] > near:
            own["rest_rows"] = min(own["rest_rows"] + 1, _MEMORY)
            own["rest"] += (far - own["rest"]) / own["rest_rows"]
        if t - own["near_ns"] >= _DOUBT_NS:
            works[i] = 0


@kernel
def _how_far(reference: Records, tags: Int64, signal: int, x: Float64) -> float:
    """Deviations of the sensors beside the signal from their references, mean; NaN = no sensor."""
    total, count = 0.0, 0
    for c in range(x.size):
        tag = tags[c]
        if tag < 0:
            break
        known = reference[tag]
        if tag != signal and known["ready"] == 1 and x[c] == x[c]:
            total += min(abs(x[c] - known["centre"]) / known["spread"], _FARTHEST)
            count += 1
    return total / count if count > 0 else np.nan


def believe(state: dict[str, npt.NDArray[Any]], asset: int) -> None:
    """Forget how far an asset's sensors are at rest: its references are others from now on."""
    own = state["asset_row"][asset]
    own["resting"] = own["work_rows"] = own["rest_rows"] = own["rests"] = 0
    own["work"] = own["rest"] = 0.0


def guess(own: Record, means: Float64, time_ns: int) -> None:
    """Freeze the two levels of the kept means, if they are clear; else go on collecting."""
    kept = means[: own["filled"]]
    if own["filled"] in USUAL:
        usual = float(np.median(kept))
        if own["highest"] == 0.0 and kept.min() > _STEADY * usual:
            own["highest"] = _FALLEN * usual
        return
    levels = states.guess_levels(kept)
    own["confidence"] = levels.confidence
    if levels.confidence >= LEAST and levels.idle >= -_BELOW * levels.running:
        length = int(own["mean_ns"]) or _MEAN_NS
        if _lasts(kept, levels.threshold) < _SHORT:
            own["mean_ns"] = min(length * _WIDEN, _WIDEST_NS)
            own["filled"] = own["open"] = 0
            own["confidence"] = own["highest"] = 0.0
            return
        _freeze(own, levels, kept, time_ns)
    elif own["filled"] == MEANS:
        own["highest"] = 0.0
        means[: MEANS // 2] = means[MEANS // 2 :]
        own["filled"] = MEANS // 2


def _lasts(kept: Float64, threshold: float) -> float:
    """Values that a level lasts, usually."""
    edges = np.flatnonzero(np.diff((kept > threshold).astype(np.int8)))
    return float(kept.size / (edges.size + 1))


def _freeze(own: Record, levels: states.Levels, kept: Float64, time_ns: int) -> None:
    own["known"], own["known_ns"], own["highest"] = 1, time_ns, 0.0
    own["threshold"], own["confidence"] = levels.threshold, levels.confidence
    own["idle"], own["running"] = levels.idle, levels.running
    if levels.idle >= _HALF * levels.running:
        return
    margin = _MARGIN * (levels.running - levels.idle)
    highest = np.quantile(kept[kept <= levels.threshold], _HIGHEST) + margin
    own["highest"] = min(highest, 0.5 * (levels.idle + levels.threshold))


def at_rest(own: Record, time_ns: Int64, value: Float64) -> Bool:
    """bool[w]: rows of a warm-up, with the signal's values, in which the machine is at rest.

    The row after a rest is one, too: what a meter says is the mean since the row before. None where
    that was not known yet with the last of them, or where they are shorter than the means.
    """
    rests = np.zeros(value.size, np.bool_)
    length = int(own["mean_ns"]) or _MEAN_NS
    if own["known"] == 1 and value.size > 1 and own["known_ns"] <= time_ns[-1] and (
        np.median(np.diff(time_ns)) >= 0.5 * length
    ):
        rests = value <= own["highest"] if own["highest"] > 0.0 else rests
        rests[1:] |= rests[:-1].copy()
    return rests
