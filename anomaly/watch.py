"""Watching the sensors as sensors: which one is stuck or silent, and when was an asset away?

Part of the ``quality`` stage: one kernel over the rows that closed. It compares a sensor with
nothing but its own habits (how long it usually stands still or stays away), so that it is slow to
accuse: a sensor that rests because the machine does is no fault. What a machine does is not judged.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64, Int64
from anomaly.kernel import kernel

#: What is known of a sensor as a sensor; the index is the code. ``constant``: never changed, so
#: nothing can be learned from it (blind). ``gap`` is said of whole assets only.
CONDITIONS = ("never_seen", "ok", "constant", "stuck", "silent", "gap")
NEVER_SEEN, OK, CONSTANT, STUCK, SILENT, GAP = range(6)

_INTERVAL_LIMIT_NS = 10**15  # 11.6 days; keeps 20 intervals within int64
_GAP_LIMIT_NS = 45 * 86_400 * 10**9
_WEEK_NS = 7 * 86_400 * 10**9
_LONG_AGO = -(1 << 62)
_LEARNED = 4  # the first learn_rows * this many changes tell whether a sensor takes many values
_MANY_BITS = 32  # of the bitmap's 64: some 44 distinct values
_SOME_BITS = 10  # a coarse thermometer's: enough where, over so many times learn_rows,
_LONG_KNOWN = 10  # it never yet stood still as long as a rest
_RESTING = 4  # a run of stuck_rows / this many rows is a rest, and may be the machine's
_AT_AN_END = 20.0  # how much longer a run at an end of the range must be to be odd,
_REST_NS = 4 * 86_400 * 10**9  # and how long at least: a long weekend

Records = npt.NDArray[np.void]
Record = Any  # one element of a structured array, changed in place

_MOST = (1 << 31) - 1  # what is counted is counted as far as this

TAG = np.dtype([
    ("moving", np.int8),  # 1 while nothing is to be said of it: learned, ok, present, not resting
    ("value", np.float64),  # the latest
    ("low", np.float64),  # range of the values before the present run
    ("high", np.float64),
    ("changes", np.int32),  # values that differed from the one before
    ("still", np.int32),  # values that did not
    ("run", np.int32),  # rows of the present run of equal values
    ("alone", np.int32),  # those in which every other lively sensor of the asset moved
    ("run_ns", np.int64),  # where the run began
    ("longest_run", np.int32),
    ("bitmap", np.int64),  # 64 hashed bits of the first values: tells few-valued sensors
    ("condition", np.int8),
    ("last_ns", np.int64),  # time of the latest value before the present absence
    ("absent", np.int32),  # the asset's rows since then
    ("absences", np.int32),  # completed absences
    ("longest_absence", np.int32),
])

ASSET = np.dtype([
    ("rows", np.int64),  # rows with at least one value
    ("last_ns", np.int64),  # time of the latest of them
    ("interval_ns", np.int64),  # running median of the steps
    ("gap_ns", np.int64),  # longest step so far
    ("stream_ns", np.int64),  # the partition's newest row time when that row closed
    ("away", np.int64),  # 1 after an overdue finding, until the asset's next row
])


@kernel
def watch(
    asset_watch: Records, tag_watch: Records, learn_rows: int, stuck_rows: int, stuck_ns: int,
    silent_rows: int, silent_ns: int, gap_ns: int, overdue_ns: int, false_per_week: float,
    table: Int64, asset: Int64, time_ns: Int64, x: Float64, start: int, out: Int64,
) -> tuple[int, int]:
    """Judge sensors and assets by rows ``start:``; returns (next row, findings written).

    ``out int64[k, 6]``: row, asset, tag, before, after, since. Stops early when the next row's
    findings might not fit; call again from there.
    """
    room = 2 * x.shape[1] + 2 * asset_watch.size + 2
    width = min(x.shape[1], table.shape[1])
    newest = _newest(asset_watch) if overdue_ns > 0 else _LONG_AGO
    bits = x.view(np.int64)
    count = 0
    for i in range(start, asset.size):
        if count + room > len(out):
            return i, count
        a, t = asset[i], time_ns[i]
        if not _any_value(x, i, width):
            continue  # says nothing of any sensor
        before_ns = asset_watch[a]["last_ns"]
        count = _arrive(asset_watch, a, t, gap_ns, i, count, out)
        if overdue_ns > 0:
            asset_watch[a]["stream_ns"] = max(newest, t)
            count = _find_overdue(asset_watch, newest, t, overdue_ns, i, count, out)
            newest = max(newest, t)
        resting = 0
        for c in range(width):
            tag = table[a, c]
            if tag < 0:
                break
            own, v = tag_watch[tag], x[i, c]
            if own["moving"] == 1 and not np.isnan(v) and v != own["value"]:
                # The usual case of _take_value, by itself: it is most of the stage's work.
                own["low"] = min(own["low"], own["value"])
                own["high"] = max(own["high"], own["value"])
                own["changes"] = min(own["changes"] + 1, _MOST)
                own["value"] = v
                continue
            condition = own["condition"]
            if np.isnan(v):
                after = _take_nothing(
                    own, before_ns, t, asset_watch[a]["interval_ns"], learn_rows, silent_rows,
                    silent_ns, false_per_week)
            else:
                after = _take_value(own, v, bits[i, c], before_ns, learn_rows)
                if after != STUCK and _rests(own, learn_rows, stuck_rows):
                    resting += 1
            if after != condition:
                own["condition"] = after
                if max(condition, after) >= STUCK:
                    since = own["last_ns"] if after == SILENT else t
                    count = _put(out, count, i, a, tag, condition, after, since)
            own["moving"] = (
                after == OK and own["run"] == 1 and own["absent"] == 0
                and own["changes"] >= _LEARNED * learn_rows)
        if resting == 1:
            count = _find_stuck(
                tag_watch, table, a, t, asset_watch[a]["interval_ns"], learn_rows, stuck_rows,
                stuck_ns, false_per_week, i, width, count, out)
    return asset.size, count


@kernel
def _take_value(own: Record, v: float, bits: int, before_ns: int, learn_rows: int) -> int:
    """A value arrived: end an absence, count the run; returns the condition (never a new STUCK)."""
    if own["absent"] > 0:
        own["absences"] += 1
        own["longest_absence"] = max(own["longest_absence"], own["absent"])
        own["absent"] = 0
        before_ns = own["last_ns"]
    if own["condition"] == NEVER_SEEN:
        own["low"], own["high"], own["value"] = v, v, v
        own["run"] = 1
        return OK
    if v == own["value"]:
        if own["run"] == 1:
            own["run_ns"] = before_ns
        own["still"] = min(own["still"] + 1, _MOST)
        own["run"] = min(own["run"] + 1, _MOST)
        if own["condition"] == STUCK:
            return STUCK
        return CONSTANT if own["changes"] == 0 and own["run"] >= learn_rows else OK
    own["low"], own["high"] = min(own["low"], own["value"]), max(own["high"], own["value"])
    own["longest_run"] = max(own["longest_run"], own["run"])
    own["changes"] = min(own["changes"] + 1, _MOST)
    own["value"] = v
    own["run"], own["alone"] = 1, 0
    if own["changes"] < _LEARNED * learn_rows:
        own["bitmap"] |= np.int64(1) << _hashed(bits)
    return OK


@kernel
def _take_nothing(
    own: Record, before_ns: int, t: int, interval: int, learn_rows: int, silent_rows: int,
    silent_ns: int, false_per_week: float,
) -> int:
    """The asset's row came without this sensor: count the absence; returns the condition."""
    if own["condition"] == NEVER_SEEN or own["condition"] == SILENT:
        return int(own["condition"])
    if own["absent"] == 0:
        own["last_ns"] = before_ns
    own["absent"] = min(own["absent"] + 1, _MOST)
    seen = own["changes"] + own["still"] + 1
    if seen < learn_rows or own["absent"] < silent_rows or t - own["last_ns"] < silent_ns:
        return int(own["condition"])
    limit = _run_limit(
        own["longest_absence"] + 1, own["absences"], seen, interval, false_per_week)
    return SILENT if own["absent"] > limit else int(own["condition"])


@kernel
def _rests(own: Record, learn_rows: int, stuck_rows: int) -> bool:
    """Whether a lively sensor stands still: one that rarely did before, and of many values.

    A valve position, a set-point or a coarse counter may stand still for as long as it likes; a
    coarse thermometer that never did for thousands of rows may not.
    """
    earlier = own["changes"] + own["still"] + 1 - own["run"]
    if own["run"] <= 1 or _RESTING * own["run"] < stuck_rows or earlier < learn_rows:
        return False
    if 2 * own["changes"] < earlier:
        return False
    restless = earlier >= _LONG_KNOWN * learn_rows and _RESTING * own["longest_run"] < stuck_rows
    return bool(_bits(own["bitmap"]) >= (_SOME_BITS if restless else _MANY_BITS))


@kernel
def _find_stuck(
    tag_watch: Records, table: Int64, a: int, t: int, interval: int, learn_rows: int,
    stuck_rows: int, stuck_ns: int, false_per_week: float, i: int, width: int, count: int,
    out: Int64,
) -> int:
    """The one sensor that stands still while all others move: stuck, once chance is ruled out.

    Two that stand still together are a machine at rest. At or beyond the ends of its range a
    sensor may rest because its part of the machine does; only a much longer run is then odd.
    """
    for c in range(width):
        tag = table[a, c]
        if tag < 0:
            break
        own = tag_watch[tag]
        if own["condition"] != OK or own["absent"] > 0 or not _rests(own, learn_rows, stuck_rows):
            continue
        own["alone"] = min(own["alone"] + 1, _MOST)
        if own["run"] < stuck_rows:
            continue
        earlier = own["changes"] + own["still"] + 1 - own["run"]
        limit = _run_limit(
            own["longest_run"], own["changes"], earlier, interval, false_per_week)
        least_ns = stuck_ns
        if own["value"] <= own["low"] or own["value"] >= own["high"]:
            limit *= _AT_AN_END
            least_ns = max(stuck_ns, _REST_NS)
        if own["alone"] > limit and t - own["run_ns"] >= least_ns:
            own["condition"] = STUCK
            count = _put(out, count, i, a, tag, OK, STUCK, own["run_ns"])
    return count


@kernel
def _newest(asset_watch: Records) -> int:
    """The partition's newest row time so far."""
    newest = _LONG_AGO
    for a in range(asset_watch.size):
        if asset_watch[a]["rows"] > 0:
            newest = max(newest, asset_watch[a]["stream_ns"])
    return newest


@kernel
def _any_value(x: Float64, i: int, width: int) -> bool:
    """Whether row ``i`` says anything at all."""
    c = 0
    while c < width and np.isnan(x[i, c]):
        c += 1
    return c < width


@kernel
def _run_limit(longest: int, events: int, rows: int, interval: int, false_per_week: float) -> float:
    """Longest run that chance explains, in rows.

    Where runs end by chance, P(run >= f * longest) is about events**-f, because the longest of
    ``events`` runs is about the one with P = 1 / events. f is chosen so that no more than
    ``false_per_week`` such runs are expected; twice that, because machines have regimes.
    """
    runs_per_week = max(1.0, events) / rows * (_WEEK_NS / max(1.0, float(interval)))
    factor = math.log(max(2.0, runs_per_week / false_per_week)) / math.log(max(20.0, events))
    return 2.0 * max(2.0, factor) * longest


@kernel
def _arrive(
    asset_watch: Records, a: int, t: int, gap_ns: int, i: int, count: int, out: Int64,
) -> int:
    """Book the asset's row time; a step far longer than any before is a gap that has just ended."""
    known = asset_watch[a]
    step = t - known["last_ns"]
    rows = known["rows"]
    if known["away"] == 1:
        count = _put(out, count, i, a, -1, GAP, OK, t)
    elif rows >= 8 and step > gap_ns and step > 20 * known["interval_ns"] and (
        step > 3 * known["gap_ns"]
    ):
        count = _put(out, count, i, a, -1, OK, GAP, known["last_ns"])
        count = _put(out, count, i, a, -1, GAP, OK, t)
    known["away"] = 0
    if rows == 1:
        known["interval_ns"] = min(max(step, 1), _INTERVAL_LIMIT_NS)
    elif rows > 1 and step > known["interval_ns"]:
        known["interval_ns"] = min(
            known["interval_ns"] + max(1, known["interval_ns"] >> 3), _INTERVAL_LIMIT_NS)
    elif rows > 1 and 0 < step < known["interval_ns"]:
        known["interval_ns"] -= known["interval_ns"] >> 3
    if rows > 0:
        known["gap_ns"] = max(known["gap_ns"], min(step, _GAP_LIMIT_NS))
    known["rows"] = rows + 1
    known["last_ns"] = t
    return count


@kernel
def _find_overdue(
    asset_watch: Records, newest: int, t: int, overdue_ns: int, i: int, count: int, out: Int64,
) -> int:
    """Where the partition's time enters another eighth of the bound, look at every asset.

    The look-out falls on fixed event times, never on the edges of a batch (the split law).
    """
    tick = max(1, overdue_ns >> 3)
    if t // tick == newest // tick or t <= newest:
        return count
    for b in range(asset_watch.size):
        known = asset_watch[b]
        waited = t - known["stream_ns"]  # since its last row, by the partition's time
        if known["rows"] >= 8 and known["away"] == 0 and waited > overdue_ns and (
            waited > 20 * known["interval_ns"] and waited > 3 * known["gap_ns"]
        ):
            known["away"] = 1
            count = _put(out, count, i, b, -1, OK, GAP, known["last_ns"])
    return count


@kernel
def _put(
    out: Int64, count: int, row: int, asset: int, tag: int, before: int, after: int, since: int,
) -> int:
    """Write one finding; returns the new count."""
    out[count, 0], out[count, 1], out[count, 2] = row, asset, tag
    out[count, 3], out[count, 4], out[count, 5] = before, after, since
    return count + 1


@kernel
def _hashed(bits: int) -> int:
    """Six well-mixed bits of a value's 64 (products stay below 2**53)."""
    folded = (bits ^ (bits >> 32)) & 0xFFFFFFFF
    return (folded * 1640531 >> 24) & 63


@kernel
def _bits(bitmap: int) -> int:
    """Number of set bits."""
    count = 0
    for k in range(64):
        count += (bitmap >> k) & 1
    return count
