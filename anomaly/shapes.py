"""Cycles read from the shape of a signal: period, marker and reference shape are found in it.

For machines that tell no part: a power, current or position that repeats. Per asset, at one of four
resolutions (bins of 1, 4, 16 or 64 usual sampling intervals), windows of the signal are searched
for a period (``shape_search``). What is found is a *marker* (a level that the smoothed signal
crosses once a cycle, with a hysteresis), the usual length and the reference shape. From then on
every crossing ends a cycle, at a time interpolated between two samples. No model of the speed is
kept, so pauses, gaps, jitter and a changing speed do no harm; a crossing whose cycle does not look
like the reference is none of ours. The first crossings after a find are its probation: what the
window showed must go on. When most of the latest crossings do not fit, the search begins anew.

No name, no asset list, no ledger here. State arrays are NaN-free; all of them are the future's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly import shape_search
from anomaly.batches import Float64, Int64
from anomaly.kernel import kernel
from anomaly.shape_search import BINS, FIELDS, WINDOW, correlation

VERSION = 1

#: Resolutions searched, each four times coarser than the one before.
SCALES = 4
_STEP = 4
_INTERVALS = 32  # whose median is the usual sampling interval
_HELD_BINS = 16  # bins that the latest value may fill; a longer silence is a gap
#: Crossings that a find must prove itself on, and how many of them must fit.
PROBATION, PROVEN = 12, 8
#: Correlation with the reference from which a cycle is one.
FIT = 0.6
_SOONEST = 0.5  # of the usual length: an earlier crossing is a second edge of the same cycle
_LONG = 1.25  # usual lengths beyond which a cycle that does not fit was interrupted
_SLOWEST = 2.0  # usual lengths up to which a cycle is stretched, and may fit
_LOST = 0.25  # share of crossings that fit, over the latest 40, below which the shape is lost
_MEMORY = 1.0 / 40.0
#: Finer bins of the cycle under way: two and a half usual lengths of them.
_FINE = 64
FINE_BINS = 160

Records = npt.NDArray[np.void]
Record = Any  # one element of a structured array, changed in place

SEARCHING, ON_PROBATION, FOUND = range(3)

SHAPE = np.dtype([
    ("phase", np.int64),  # SEARCHING, ON_PROBATION or FOUND
    ("last_ns", np.int64), ("last", np.float64),
    ("intervals", np.int64),  # collected so far, up to _INTERVALS
    ("interval_ns", np.int64),  # usual one; 0 = not known yet
    ("origin_ns", np.int64),  # where the search's bins begin
    ("bin", np.int64),  # place of the open one of the finest resolution
    ("filled", np.int64, (SCALES,)),
    ("total", np.float64, (SCALES,)), ("count", np.float64, (SCALES,)),
    # What was found:
    ("usual_ns", np.int64), ("smooth_ns", np.float64), ("way", np.float64),
    ("level", np.float64), ("band", np.float64), ("confidence", np.float64),
    # The crossing under way:
    ("smoothed", np.float64), ("armed", np.int64), ("running", np.int64),
    ("start_ns", np.int64), ("crossings", np.int64), ("fits", np.int64),
    ("fitted", np.int64),  # 1 = the latest crossing did
    ("share", np.float64),  # of the latest crossings that fit
    ("likeness", np.float64),  # correlation of the latest cycles with the reference, running mean
])


def allocate(assets: int) -> dict[str, npt.NDArray[Any]]:
    """Fresh state: nothing seen."""
    return {
        "asset_row": np.zeros(assets, SHAPE),
        "asset_window": np.zeros((assets, SCALES, WINDOW)),
        "asset_reference": np.zeros((assets, BINS)),
        "asset_fine": np.zeros((assets, 2, FINE_BINS)),
        "asset_interval": np.zeros((assets, _INTERVALS), np.int64),
    }


def run(
    state: dict[str, npt.NDArray[Any]], told: Int64, asset: Int64, time_ns: Int64, value: Float64
) -> tuple[Float64, Float64]:
    """Follow n samples of any assets; any split of them finds the same.

    Parameters
    ----------
    told : int64[A]
        −1 where the asset's cycles are told otherwise: its samples are passed over.
    value : float64[n]
        NaN = nothing was said.

    Returns
    -------
    ended : float64[n]
        1 where a cycle ended, 0 where none did, NaN where no shape is known.
    seconds : float64[n]
        Length of the cycle that ended, else NaN.
    """
    ended, seconds = np.full(asset.size, np.nan), np.full(asset.size, np.nan)
    follow(*state.values(), told, asset, time_ns, value, ended, seconds)
    return ended, seconds


@kernel
def follow(
    asset_row: Records, asset_window: Float64, asset_reference: Float64, asset_fine: Float64,
    asset_interval: Int64, told: Int64, asset: Int64, time_ns: Int64, value: Float64,
    ended: Float64, seconds: Float64,
) -> None:
    """Samples in order; see :func:`run`."""
    for i in range(asset.size):
        a = asset[i]
        if told[a] < 0 or np.isnan(value[i]):
            continue
        own = asset_row[a]
        length = take(own, asset_window[a], asset_reference[a], asset_fine[a], asset_interval[a],
                      time_ns[i], value[i])
        if own["phase"] == FOUND:
            ended[i] = 1.0 if length > 0.0 else 0.0
            if length > 0.0:
                seconds[i] = length


@kernel
def take(
    own: Record, window: Float64, reference: Float64, fine: Float64, interval: Int64, t: int,
    v: float,
) -> float:
    """One sample of one asset; the seconds of the cycle that it ended, 0 = none."""
    if own["intervals"] < _INTERVALS:
        if own["last_ns"] != 0 and t > own["last_ns"]:
            interval[own["intervals"]] = t - own["last_ns"]
            own["intervals"] += 1
        if own["intervals"] == _INTERVALS:
            own["interval_ns"] = max(np.sort(interval)[_INTERVALS // 2], 1)
            _search_anew(own, t)
        own["last_ns"], own["last"] = t, v
        return 0.0
    if t <= own["last_ns"]:
        return 0.0
    length = 0.0
    if own["phase"] == SEARCHING:
        _collect(own, window, reference, t, v)
    else:
        length = _track(own, reference, fine, t, v)
    own["last_ns"], own["last"] = t, v
    return length


@kernel
def _search_anew(own: Record, t: int) -> None:
    own["phase"], own["origin_ns"] = SEARCHING, t
    own["confidence"] = 0.0
    own["bin"] = 0
    for k in range(SCALES):
        own["filled"][k] = 0
        own["total"][k] = own["count"][k] = 0.0


@kernel
def _collect(own: Record, window: Float64, reference: Float64, t: int, v: float) -> None:
    """One sample to the open bin of each resolution; a full window is searched, then halved."""
    width = own["interval_ns"]
    if t - own["last_ns"] > _HELD_BINS * width:  # a gap: what lies on both sides is not one window
        _search_anew(own, t)
    place = (t - own["origin_ns"]) // width
    while own["bin"] < place:
        mean = own["total"][0] / own["count"][0] if own["count"][0] > 0.0 else own["last"]
        own["bin"] += 1
        own["total"][0] = own["count"][0] = 0.0
        if _close_bin(own, window, reference, mean):
            own["smoothed"] = own["last"]
            return
    own["total"][0] += v
    own["count"][0] += 1.0


@kernel
def _close_bin(own: Record, window: Float64, reference: Float64, mean: float) -> bool:
    """A bin of the finest resolution, and of those that it completes; whether a shape was found."""
    width = own["interval_ns"]
    for k in range(SCALES):
        n = own["filled"][k]
        window[k, n] = mean
        own["filled"][k] = n + 1
        if n + 1 == WINDOW:
            if _find(own, window[k], reference, width):
                return True
            half = WINDOW // 2
            window[k, :half] = window[k, half:]
            own["filled"][k] = half
        if k + 1 == SCALES:
            return False
        own["total"][k + 1] += mean
        own["count"][k + 1] += 1.0
        if own["count"][k + 1] < _STEP:
            return False
        mean = own["total"][k + 1] / _STEP
        own["total"][k + 1] = own["count"][k + 1] = 0.0
        width *= _STEP
    return False


@kernel
def _find(own: Record, values: Float64, reference: Float64, width: int) -> bool:
    """Search one window; whether a shape was found, which then is on probation."""
    found = np.zeros(FIELDS)
    if not shape_search.search(values, found, reference):
        return False
    own["phase"] = ON_PROBATION
    own["usual_ns"] = np.int64(found[0] * width)
    # Means over coarse bins are smooth already: so must be what is followed.
    own["smooth_ns"] = max(found[1], 1.0 if width > own["interval_ns"] else 0.0) * width
    own["way"], own["level"], own["band"] = found[2], found[3], found[4]
    own["confidence"] = own["likeness"] = found[5]
    own["armed"] = own["running"] = own["fitted"] = own["crossings"] = own["fits"] = 0
    own["share"] = 1.0
    return True


@kernel
def _track(own: Record, reference: Float64, fine: Float64, t: int, v: float) -> float:
    """One sample against the marker; the seconds of the cycle that it ended, 0 = none."""
    passed = t - own["last_ns"]
    if passed > 2 * own["usual_ns"] + _HELD_BINS * own["interval_ns"]:
        own["running"] = own["armed"] = own["fitted"] = 0  # nobody knows what was done
        own["smoothed"] = v
        return 0.0
    before = own["smoothed"]
    weight = 1.0
    if own["smooth_ns"] > 0.0:
        weight = 1.0 - np.exp(-passed / own["smooth_ns"])
    own["smoothed"] = before + weight * (v - before)
    _paint(own, fine, t, v)
    now, was = own["way"] * own["smoothed"], own["way"] * before
    level = own["way"] * own["level"]
    if now < level - own["band"]:
        own["armed"] = 1
    if own["armed"] == 0 or now < level:
        return 0.0
    own["armed"] = 0
    share = 1.0 if now <= was else min(max((level - was) / (now - was), 0.0), 1.0)
    crossed = own["last_ns"] + np.int64(share * passed)
    return float(_end(own, reference, fine, crossed, t, v))


@kernel
def _paint(own: Record, fine: Float64, t: int, v: float) -> None:
    """Add a sample to the fine bins of the cycle under way."""
    if own["running"] == 0:
        return
    k = (t - own["start_ns"]) * _FINE // own["usual_ns"]
    if k < fine.shape[1]:
        fine[0, k] += v
        fine[1, k] += 1.0


@kernel
def _end(own: Record, reference: Float64, fine: Float64, crossed: int, t: int, v: float) -> float:
    """A crossing at ``crossed``: is what lies behind it a cycle? Its seconds, 0 = it is none."""
    length = crossed - own["start_ns"]
    if own["running"] == 1 and length < _SOONEST * own["usual_ns"]:
        return 0.0
    likeness = 0.0
    if own["running"] == 1 and length <= _SLOWEST * own["usual_ns"]:
        likeness = _likeness(fine, length / own["usual_ns"] * _FINE, reference)
    fits = np.int64(likeness >= FIT)
    interrupted = fits == 0 and length > _LONG * own["usual_ns"]
    if own["running"] == 1:
        if not interrupted or own["fitted"] == 0:
            own["crossings"] += 1
            own["fits"] += fits
            own["share"] += _MEMORY * (fits - own["share"])
        if not interrupted:
            own["likeness"] += (2.0 * _MEMORY) * (max(likeness, 0.0) - own["likeness"])
        # Whatever stood in between, a part was begun and is done; but only once in a row.
        whole = fits == 1 or (interrupted and own["fitted"] == 1)
        own["fitted"], fits = fits, np.int64(whole)
    own["running"], own["start_ns"] = 1, crossed
    for k in range(fine.shape[1]):
        fine[0, k] = fine[1, k] = 0.0
    _paint(own, fine, t, v)
    if own["phase"] == ON_PROBATION:
        if own["crossings"] >= PROBATION:
            if own["fits"] >= PROVEN:
                own["phase"] = FOUND
                own["confidence"] = own["likeness"] * own["fits"] / own["crossings"]
            else:
                _search_anew(own, t)
        return 0.0
    if own["share"] < _LOST:
        _search_anew(own, t)
        return 0.0
    if fits == 0:
        return 0.0
    if not interrupted:  # the usual length follows, an eighth of a percent a step
        step = max(own["usual_ns"] // 800, 1)
        own["usual_ns"] += min(max(length - own["usual_ns"], -step), step)
    return float(length * 1e-9)


@kernel
def _likeness(fine: Float64, end: float, reference: Float64) -> float:
    """Correlation of the cycle in the first ``end`` fine bins with the reference shape."""
    shape = np.zeros(reference.size)
    counted = np.zeros(reference.size)
    held = np.nan
    for k in range(min(int(np.ceil(end)), fine.shape[1])):
        if fine[1, k] > 0.0:
            held = fine[0, k] / fine[1, k]
        if not np.isnan(held):
            b = min(int((k + 0.5) / end * reference.size), reference.size - 1)
            shape[b] += held
            counted[b] += 1.0
    known = 0.0
    for b in range(reference.size):
        if counted[b] > 0.0:
            known = shape[b] / counted[b]
        shape[b] = known
    return float(correlation(shape, reference))
