"""Idle and running, guessed live from a power or speed signal where no tag tells the state.

Means over a minute are kept until two levels show in them (``states.guess_levels``); the guess is
then frozen with its confidence, and from there on every minute is producing or stopped. Where the
levels alternate from mean to mean it is the machine's own cycle that shows: the means are made four
times as long and the guess begins anew. Per asset; no name and no ledger here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly import states
from anomaly.batches import Float64, Int8, Int64
from anomaly.kernel import kernel

VERSION = 1

#: Means kept, and after how many of them a guess is tried: four hours of minutes, eight, sixteen.
MEANS, TRIED = 960, (240, 480, 960)
#: Confidence from which a guess is used.
LEAST = 0.5
_MEAN_NS = 60 * 10**9
_WIDEN, _WIDEST_NS = 4, 3600 * 10**9
_BELOW = 0.05  # of running: an idle power or speed may be a little below nought, not more
_SHORT = 3.0  # a level that usually lasts fewer means is a part of the cycle

Records = npt.NDArray[np.void]
Record = Any  # one element of a structured array, changed in place

LEVEL = np.dtype([
    ("open", np.int64), ("start_ns", np.int64), ("total", np.float64), ("count", np.float64),
    ("mean_ns", np.int64),  # length of a mean; 0 = the shortest
    ("filled", np.int64), ("known", np.int64),
    ("threshold", np.float64), ("idle", np.float64), ("running", np.float64),
    ("confidence", np.float64),
])


def allocate(assets: int) -> dict[str, npt.NDArray[Any]]:
    """Fresh state: nothing seen."""
    return {"asset_row": np.zeros(assets, LEVEL), "asset_mean": np.zeros((assets, MEANS))}


def run(
    state: dict[str, npt.NDArray[Any]], told: Int64, asset: Int64, time_ns: Int64, value: Float64
) -> Int8:
    """States of n samples of any assets, int8[n]; any split of them finds the same.

    ``told int64[A]``: −1 where nothing is to be guessed. ``value float64[n]``: NaN = not said. The
    result is producing or stopped where a mean has just been completed, else ``states.UNCHANGED``.
    """
    found = np.full(asset.size, states.UNCHANGED, np.int8)
    start = 0
    while start < asset.size:
        start, due = collect(*state.values(), told, asset, time_ns, value, start, found)
        if due >= 0:
            guess(state["asset_row"][due], state["asset_mean"][due])
    return found


@kernel
def collect(
    asset_row: Records, asset_mean: Float64, told: Int64, asset: Int64, time_ns: Int64,
    value: Float64, start: int, found: Int8,
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
                due = own["filled"] in TRIED
        if own["open"] == 0:
            own["open"], own["start_ns"], own["total"], own["count"] = 1, t, 0.0, 0.0
        own["total"] += value[i]
        own["count"] += 1.0
        if due:
            return i + 1, a
    return asset.size, -1


def guess(own: Record, means: Float64) -> None:
    """Freeze the two levels of the kept means, if they are clear; else go on collecting."""
    kept = means[: own["filled"]]
    levels = states.guess_levels(kept)
    own["confidence"] = levels.confidence
    if levels.confidence >= LEAST and levels.idle >= -_BELOW * levels.running:
        above = kept > levels.threshold
        edges = np.flatnonzero(np.diff(above.astype(np.int8)))
        length = int(own["mean_ns"]) or _MEAN_NS
        if kept.size / (edges.size + 1) < _SHORT:
            own["mean_ns"] = min(length * _WIDEN, _WIDEST_NS)
            own["filled"] = own["open"] = 0
            own["confidence"] = 0.0
            return
        own["known"], own["threshold"] = 1, levels.threshold
        own["idle"], own["running"] = levels.idle, levels.running
    elif own["filled"] == MEANS:
        means[: MEANS // 2] = means[MEANS // 2 :]
        own["filled"] = MEANS // 2
