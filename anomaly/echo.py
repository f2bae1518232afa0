"""Echo: what interrupts a machine at equal intervals is expected again, and said before it comes.

A source that reports every few minutes *and* whenever the machine's state changes breaks its own
rhythm when the machine is interrupted: a row comes much too early. Where such interruptions come
back after the same running time, within 3 %, three times in a row, the next one is announced ahead
of time. It may be a fault that recurs every so many parts or a planned service; the program cannot
know, so this is an alert kind of its own.

Interruptions at random times agree that well twice in a row about once in 4,000 (of two
exponential intervals the second is within ±t of the first with probability t / 2, and no
announcement is made where the next comes earlier), so a promise of one false alarm a week is not
touched by a few dozen of them a day. A pattern that was met of late needs one interval to be
trusted again, also one two to four times as long: an interruption in between may not have shown.
Running time does not go on while no rows come.

One kernel over rows; nothing is judged rare here, and no text made (``announce``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.batches import Bool, Int64
from anomaly.kernel import kernel

VERSION = 1

#: A row is early where it comes within this share of the usual interval after the one before …
EARLY_SHARE = 0.5
#: … and begins an interruption after so many rows that were not early.
QUIET_ROWS = 6
#: Rows farther apart than so many usual intervals: the machine did not run, and one is counted.
STILL_INTERVALS = 4
#: Intervals agree within this share, or within one row.
TOLERANCE = 0.03
#: Agreements one after another that make a pattern: three intervals of one length.
AGREEMENTS = 2
#: Least length of an interval in rows: shorter ones agree by the rows' own grid.
LEAST_ROWS = 20
#: Announced so long ahead, as a share of the interval; at most forty minutes, which is enough to
#: get ready and not long enough to forget it; under a minute nobody can do anything.
LEAD_SHARE, LEAD_LIMIT_NS, LEAD_LEAST_NS = 0.15, 2_400 * 10**9, 60 * 10**9
#: Most times that a known pattern may have been met in between without showing.
MULTIPLES = 4
#: A known pattern is forgotten after so many interruptions that were none of it.
FORGOTTEN_AFTER = 8
#: After so many announcements in a row it is a schedule that everybody knows.
TOLD_LIMIT = 12

_USUAL_SHIFT = 5  # the running median of the steps moves by 1/32 of itself
_STEP_LIMIT_NS = 10**15

Record = Any  # one element of a structured array, changed in place

ASSET = np.dtype([
    ("rows", np.int64),
    ("last_ns", np.int64),
    ("usual_ns", np.int64),     # running median of the steps
    ("quiet", np.int64),        # rows since the latest early one
    ("ran_ns", np.int64),       # running time so far
    ("marks", np.int64),        # interruptions so far
    ("mark_ran_ns", np.int64),  # running time at the latest one,
    ("mark_ns", np.int64),      # and its event time
    ("interval_ns", np.int64),  # between the latest two
    ("agreed", np.int64),       # agreements one after another
    ("known_ns", np.int64),     # latest interval that made a pattern; 0 = none did
    ("others", np.int64),       # interruptions since then that were none of it
    ("open", np.int64),         # 1 while an announcement stands
    ("told", np.int64),         # announcements one after another
])


def allocate(assets: int) -> dict[str, npt.NDArray[np.void]]:
    """Fresh state: no row seen."""
    return {"asset": np.zeros(assets, ASSET)}


def run(state: dict[str, Any], asset: Int64, time_ns: Int64, may_fire: Bool) -> Int64:
    """Announcements that m rows begin or end: int64[k, 4], see :func:`step`."""
    parts, start = [], 0
    while start < asset.size:
        out = np.empty((64, 4), np.int64)
        start, count = step(state["asset"], asset, time_ns, may_fire, start, out)
        if count:
            parts.append(out[:count])
    return np.concatenate(parts) if parts else np.zeros((0, 4), np.int64)


@kernel
def step(
    asset_state: Any, asset: Int64, time_ns: Int64, may_fire: Bool, start: int, out: Int64
) -> tuple[int, int]:
    """Walk the rows ``start:`` while there is room; returns (next row, findings written).

    ``out int64[k, 4]``: row; 1 = announced, 0 = over; event time of the interruption that it is
    counted from, ns; time left, ns. ``may_fire bool[m]``: the asset's alerts are not muted.
    """
    count = 0
    for i in range(start, asset.size):
        if count + 2 > out.shape[0]:
            return i, count
        own, t = asset_state[asset[i]], time_ns[i]
        if own["rows"] == 0:
            own["rows"], own["last_ns"] = 1, t
            continue
        passed = min(t - own["last_ns"], _STEP_LIMIT_NS)
        if passed <= 0:
            continue
        own["rows"] += 1
        own["last_ns"] = t
        usual = own["usual_ns"] if own["usual_ns"] > 0 else passed
        own["usual_ns"] = usual + _stride(passed - usual, usual)
        own["ran_ns"] += passed if passed <= STILL_INTERVALS * usual else usual
        early = passed < EARLY_SHARE * usual
        if early and own["quiet"] >= QUIET_ROWS:
            count = _end(own, i, out, count)
            _take(own, t)
        own["quiet"] = 0 if early else own["quiet"] + 1
        since = own["ran_ns"] - own["mark_ran_ns"]
        if own["open"] == 1 and since > own["interval_ns"] + 2 * _tolerance(own):
            count = _end(own, i, out, count)
            own["agreed"], own["told"] = 0, 0  # it did not come
        if own["agreed"] >= AGREEMENTS and may_fire[i] and _is_time(own, since):
            own["open"] = 1
            own["told"] += 1
            count = _put(out, count, i, 1, own["mark_ns"], own["interval_ns"] - since)
    return asset.size, count


@kernel
def _stride(difference: int, usual: int) -> int:
    """How far the running median moves towards a step."""
    most = max(1, usual >> _USUAL_SHIFT)
    return int(max(min(difference, most), -most))


@kernel
def _tolerance(own: Record) -> int:
    return int(max(np.int64(TOLERANCE * own["interval_ns"]), own["usual_ns"]))


@kernel
def _take(own: Record, t: int) -> None:
    """An interruption begins: does its interval agree with the one before, or with a known one?"""
    length = own["ran_ns"] - own["mark_ran_ns"]
    if own["marks"] > 0:
        again = _of_known(own, length)
        if own["interval_ns"] > 0 and abs(length - own["interval_ns"]) <= _tolerance(own):
            own["agreed"] += 1
            own["interval_ns"] = length
        elif again > 0:
            own["agreed"] = AGREEMENTS
            own["interval_ns"] = again
        else:
            own["agreed"], own["told"] = 0, 0
            own["interval_ns"] = length
        own["others"] += 1
        if own["agreed"] >= AGREEMENTS:
            own["known_ns"], own["others"] = own["interval_ns"], 0
        elif own["others"] >= FORGOTTEN_AFTER:
            own["known_ns"] = 0
    own["marks"] += 1
    own["mark_ran_ns"], own["mark_ns"] = own["ran_ns"], t


@kernel
def _of_known(own: Record, length: int) -> int:
    """The length as that of a known pattern, met once or a few times; 0 = it is not."""
    for times in range(1, MULTIPLES + 1):
        once = length // times
        if own["known_ns"] > 0 and abs(once - own["known_ns"]) <= TOLERANCE * own["known_ns"]:
            return int(once)
    return 0


@kernel
def _is_time(own: Record, since: int) -> bool:
    """Whether an interruption is to be announced at this row."""
    length = own["interval_ns"]
    lead = min(LEAD_SHARE * length, float(LEAD_LIMIT_NS))
    return bool(
        own["open"] == 0 and own["told"] < TOLD_LIMIT and lead >= LEAD_LEAST_NS
        and length >= LEAST_ROWS * own["usual_ns"] and 0 < length - since <= lead)


@kernel
def _end(own: Record, i: int, out: Int64, count: int) -> int:
    """Close a standing announcement: what was announced came, or did not."""
    if own["open"] == 0:
        return count
    own["open"] = 0
    return int(_put(out, count, i, 0, own["mark_ns"], 0))


@kernel
def _put(out: Int64, count: int, row: int, firing: int, since_ns: int, left_ns: int) -> int:
    out[count, 0], out[count, 1], out[count, 2], out[count, 3] = row, firing, since_ns, left_ns
    return count + 1
