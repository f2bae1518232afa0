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

from anomaly.batches import Float64, Int8, Int64
from anomaly.kernel import kernel

#: What is known of a sensor as a sensor; the index is the code. ``constant``: never changed, so
#: nothing can be learned from it (blind). ``gap`` is said of whole assets only.
CONDITIONS = ("never_seen", "ok", "constant", "stuck", "silent", "gap")
NEVER_SEEN, OK, CONSTANT, STUCK, SILENT, GAP = range(6)

_INTERVAL_LIMIT_NS = 10**15  # 11.6 days; keeps 20 intervals within int64
_GAP_LIMIT_NS = 45 * 86_400 * 10**9
_WEEK_NS = 7 * 86_400 * 10**9
_LONG_AGO = -(1 << 62)

Records = npt.NDArray[np.void]
Record = Any  # one element of a structured array, changed in place
Output = tuple[Int64, Int64, Int64, Int8, Int8, Int64]

TAG = np.dtype([
    ("seen", np.int64),  # rows with a value
    ("value", np.float64),  # the latest
    ("low", np.float64),  # range of the values before the present run
    ("high", np.float64),
    ("bitmap", np.int64),  # 64 hashed bits of the values: counts distinct ones up to ~100
    ("changes", np.int64),
    ("run", np.int64),  # rows of the present run of equal values
    ("run_ns", np.int64),  # where it began
    ("longest_run", np.int64),
    ("last_ns", np.int64),  # time of the latest value
    ("absent", np.int64),  # the asset's rows since then
    ("absences", np.int64),  # completed absences
    ("longest_absence", np.int64),
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
    asset_watch: Records, tag_watch: Records, tag_condition: Int8, learn_rows: int,
    stuck_rows: int, silent_rows: int, silent_ns: int, gap_ns: int, overdue_ns: int,
    false_per_week: float, table: Int64, asset: Int64, time_ns: Int64, x: Float64, start: int,
    out_row: Int64, out_asset: Int64, out_tag: Int64, out_before: Int8, out_after: Int8,
    out_since: Int64,
) -> tuple[int, int]:
    """Judge sensors and assets by rows ``start:``; returns (next row, findings written).

    Stops early when the next row's findings might not fit the outputs; call again from there.
    """
    count = 0
    room = x.shape[1] + 2 * asset_watch.size + 2
    width = min(x.shape[1], table.shape[1])
    newest = np.int64(_LONG_AGO)
    if overdue_ns > 0:
        for a in range(asset_watch.size):
            if asset_watch[a]["rows"] > 0:
                newest = max(newest, asset_watch[a]["stream_ns"])
    bits = x.view(np.int64)
    out = (out_row, out_asset, out_tag, out_before, out_after, out_since)
    for i in range(start, asset.size):
        if count + room > out_row.size:
            return i, count
        a, t = asset[i], time_ns[i]
        present = False
        for c in range(width):
            present = present or not np.isnan(x[i, c])
        if not present:
            continue  # a row without a single value says nothing of any sensor
        count = _arrive(asset_watch, a, t, gap_ns, i, count, out)
        if overdue_ns > 0:
            count = _find_overdue(asset_watch, newest, t, overdue_ns, i, count, out)
            newest = max(newest, t)
            asset_watch[a]["stream_ns"] = newest
        interval = asset_watch[a]["interval_ns"]
        for c in range(width):
            tag = table[a, c]
            if tag < 0:
                break
            before = tag_condition[tag]
            if np.isnan(x[i, c]):
                if before == NEVER_SEEN:
                    continue
                after = _judge_absent(
                    tag_watch[tag], before, t, interval, learn_rows, silent_rows, silent_ns,
                    false_per_week)
            else:
                after = _judge_value(
                    tag_watch[tag], before, x[i, c], bits[i, c], t, interval, learn_rows,
                    stuck_rows, false_per_week)
            if after != before:
                tag_condition[tag] = after
                if before >= STUCK or after >= STUCK:
                    since = tag_watch[tag]["run_ns"] if after == STUCK or before == STUCK else (
                        tag_watch[tag]["last_ns"])
                    count = _put(out, count, i, a, tag, before, after, since)
    return asset.size, count


@kernel
def _judge_value(
    tag: Record, before: int, v: float, bits: int, t: int, interval: int, learn_rows: int,
    stuck_rows: int, false_per_week: float,
) -> int:
    """A value arrived: count its run, end an absence, and say the sensor's condition."""
    if tag["absent"] > 0:
        tag["absences"] += 1
        tag["longest_absence"] = max(tag["longest_absence"], tag["absent"])
        tag["absent"] = 0
    tag["last_ns"] = t
    tag["seen"] += 1
    if tag["seen"] == 1:
        tag["low"], tag["high"], tag["value"] = v, v, v
        tag["run"], tag["run_ns"] = 1, t
        return OK
    if v == tag["value"]:
        tag["run"] += 1
    else:
        tag["low"] = min(tag["low"], tag["value"])
        tag["high"] = max(tag["high"], tag["value"])
        tag["longest_run"] = max(tag["longest_run"], tag["run"])
        tag["changes"] += 1
        tag["value"] = v
        tag["run"], tag["run_ns"] = 1, t
        tag["bitmap"] |= np.int64(1) << _hashed(bits)
    if before == STUCK and tag["run"] > 1:
        return STUCK
    if tag["changes"] == 0:
        return CONSTANT if tag["seen"] >= learn_rows else OK
    run = tag["run"]
    if run < stuck_rows or tag["seen"] - run < learn_rows:
        return OK
    # Only a sensor that is rarely still and takes many values can be *stuck*; a valve position, a
    # set-point or a coarse counter may stand still for as long as it likes.
    if 2 * tag["changes"] < tag["seen"] - run or _bits(tag["bitmap"]) < 32:
        return OK
    # At or beyond the ends of its range a sensor may rest because the machine does.
    if v <= tag["low"] or v >= tag["high"]:
        return OK
    limit = _run_limit(
        tag["longest_run"], tag["changes"], tag["seen"] - run, interval, false_per_week)
    return STUCK if run > limit else OK


@kernel
def _judge_absent(
    tag: Record, before: int, t: int, interval: int, learn_rows: int, silent_rows: int,
    silent_ns: int, false_per_week: float,
) -> int:
    """The asset's row came without this sensor: count the absence and say the condition."""
    tag["absent"] += 1
    absent = tag["absent"]
    if before == SILENT:
        return SILENT
    if tag["seen"] < learn_rows or absent < silent_rows or t - tag["last_ns"] < silent_ns:
        return before
    limit = _run_limit(
        tag["longest_absence"] + 1, tag["absences"], tag["seen"], interval, false_per_week)
    return SILENT if absent > limit else before


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
    asset_watch: Records, a: int, t: int, gap_ns: int, i: int, count: int, out: Output,
) -> int:
    """Book the asset's row time; a step far longer than any before is a gap that has just ended."""
    known = asset_watch[a]
    step = t - known["last_ns"]
    rows = known["rows"]
    if known["away"] == 1:
        count = _put(out, count, i, a, -1, GAP, OK, known["last_ns"])
    elif rows >= 8 and step > gap_ns and step > 20 * known["interval_ns"] and (
        step > 3 * known["gap_ns"]
    ):
        count = _put(out, count, i, a, -1, OK, GAP, known["last_ns"])
        count = _put(out, count, i, a, -1, GAP, OK, known["last_ns"])
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
    asset_watch: Records, newest: int, t: int, overdue_ns: int, i: int, count: int, out: Output,
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
    out: Output, count: int, row: int, asset: int, tag: int, before: int, after: int, since: int,
) -> int:
    """Write one finding; returns the new count."""
    out[0][count], out[1][count], out[2][count] = row, asset, tag
    out[3][count], out[4][count], out[5][count] = before, after, since
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
