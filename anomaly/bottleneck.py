"""The bottleneck: which station of a line the others wait for, and whether that has changed.

In every hour of event time the bottleneck is the station that waited least, starved or blocked
(the longest active share; Roser, Nakano and Tanaka, "A practical bottleneck detection method",
Winter Simulation Conference 2001). The usual one is learned from the first hours. That another has
taken its place is told after so many hours in a row as chance explains only once in the time that
the budget allows. Stations of one line depend on one another here, at the edges of hours only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly import states
from anomaly.batches import Int8, Int64
from anomaly.kernel import kernel

VERSION = 1

WINDOW_NS = 3600 * 10**9
#: Hours from which the usual bottleneck is known.
LEARN_WINDOWS = 8
#: A station that was seen for less of the hour says nothing about it.
_LEAST_SHARE = 0.5
#: How often at least another station is the bottleneck of an hour, however rarely it was so far.
_LEAST_CHANCE = 0.1
_WEEK_WINDOWS = 168.0

Records = npt.NDArray[np.void]
Record = Any  # one element of a structured array, changed in place

_FLOW = np.dtype([
    ("last_ns", np.int64), ("state", np.int64),
    ("seen_ns", np.int64), ("waited_ns", np.int64),  # in the open window
    ("first", np.int64),  # windows of the learning in which it was the bottleneck
    # What follows is the line's, kept with its first station:
    ("open", np.int64), ("window", np.int64),
    ("learned", np.int64), ("other", np.int64),  # windows learned; those with another bottleneck
    ("usual", np.int64), ("run", np.int64), ("run_of", np.int64), ("run_ns", np.int64),
    ("firing", np.int64), ("told_of", np.int64), ("told_ns", np.int64),
])

#: The bottleneck is now ``asset``, and was ``usual`` before (``firing`` 1), or is again (0).
MOVE = np.dtype([
    ("row", np.int64), ("asset", np.int64), ("usual", np.int64), ("firing", np.int64),
    ("since_ns", np.int64), ("time_ns", np.int64),
])


def allocate(assets: int) -> dict[str, npt.NDArray[Any]]:
    """Fresh state: nothing seen."""
    return {"asset_flow": np.zeros(assets, _FLOW)}


def run(
    state: dict[str, npt.NDArray[Any]], budget_per_week: float, line: Int64, asset: Int64,
    time_ns: Int64, said: Int8,
) -> Records:
    """Follow n observations of any assets; any split of them finds the same.

    Parameters
    ----------
    line : int64[L]
        Assets in the order of the parts; fewer than two find nothing.
    said : int8[n]
        Canonical states (``states``), −1 = as before.
    """
    out = np.zeros(asset.size if line.size > 1 else 0, MOVE)
    if line.size < 2:
        return out
    count = follow(state["asset_flow"], budget_per_week, line, asset, time_ns, said, out)
    return out[:count]


@kernel
def follow(
    asset_flow: Records, budget: float, line: Int64, asset: Int64, time_ns: Int64, said: Int8,
    out: Records,
) -> int:
    """Observations in order; returns the moves written."""
    m = 0
    ours = asset_flow[line[0]]
    for i in range(asset.size):
        if not np.any(line == asset[i]):
            continue
        own, t = asset_flow[asset[i]], time_ns[i]
        window = t // WINDOW_NS
        if ours["open"] == 0:
            ours["open"], ours["window"] = 1, window
        if window > ours["window"]:
            m = _close(asset_flow, ours, budget, line, i, t, out, m)
            ours["window"] = window
        if own["last_ns"] != 0 and t > own["last_ns"]:
            length = min(t - own["last_ns"], WINDOW_NS)
            own["seen_ns"] += length
            if own["state"] in (states.SUSPENDED, states.STARVED, states.BLOCKED):
                own["waited_ns"] += length
        if t > own["last_ns"]:
            own["last_ns"] = t
            if said[i] >= 0:
                own["state"] = np.int64(said[i])
    return m


@kernel
def _close(
    asset_flow: Records, ours: Record, budget: float, line: Int64, i: int, t: int, out: Records,
    m: int,
) -> int:
    """An hour is over: who was waited for, and is that news? Returns the moves written."""
    found, least, waited = np.int64(-1), 2.0, 0.0
    for a in line:
        one = asset_flow[a]
        if one["seen_ns"] >= _LEAST_SHARE * WINDOW_NS:
            share = one["waited_ns"] / one["seen_ns"]
            waited = max(waited, share)
            if share < least:
                least, found = share, a
        one["seen_ns"], one["waited_ns"] = 0, 0
    if found < 0 or waited == 0.0:  # nobody waited: the line stood, or nothing was told
        return m
    if ours["learned"] < LEARN_WINDOWS:
        asset_flow[found]["first"] += 1
        ours["learned"] += 1
        if ours["learned"] == LEARN_WINDOWS:
            most = 0
            for a in line:
                if asset_flow[a]["first"] > most:
                    most, ours["usual"] = asset_flow[a]["first"], a
            ours["other"] = LEARN_WINDOWS - most
        return m
    if found == ours["usual"]:
        ours["run"] = 0
        if ours["firing"] == 1:
            ours["firing"] = 0
            m = _put(ours, i, ours["told_of"], t, out, m)
        return m
    if ours["run"] == 0 or ours["run_of"] != found:
        ours["run"], ours["run_of"], ours["run_ns"] = 0, found, (t // WINDOW_NS - 1) * WINDOW_NS
    ours["run"] += 1
    chance = max((ours["other"] + 1.0) / (LEARN_WINDOWS + 2.0), _LEAST_CHANCE)
    enough = np.log(_WEEK_WINDOWS / max(budget, 1e-9)) / -np.log(chance)
    if ours["firing"] == 0 and ours["run"] >= max(enough, 2.0):
        ours["firing"], ours["told_of"], ours["told_ns"] = 1, found, ours["run_ns"]
        m = _put(ours, i, found, t, out, m)
    return m


@kernel
def _put(ours: Record, i: int, a: int, t: int, out: Records, m: int) -> int:
    """Write one move; returns the count."""
    row = out[m]
    row["row"], row["asset"], row["usual"], row["firing"] = i, a, ours["usual"], ours["firing"]
    row["since_ns"], row["time_ns"] = ours["told_ns"], t
    return m + 1
