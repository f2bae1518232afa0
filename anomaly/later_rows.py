"""Rows of a minute, once enough of them are known: the promise of a machine whose rows are fast.

    windows ─► later rows ─► regimes …

One stage between the windows and what judges a machine. Eight minutes of rows of a second give a
first opinion, but do not know a machine: on healthy simulated lines it raised fifty times the
promised alarms, ever after. So beside the rows that are judged, means over ``later_row_seconds``
are kept from the first row on, as many as a warm-up has. When the last of them closes, the machine
is learned anew from them alone, and from then on they are judged instead. What looks at sensors
and losses goes on with every row. A machine whose rows are not too fast keeps them for good.

State
-----
``asset``            the open window, and how far the asset has come.
``tag``              sums of the open window.
``asset_later_time`` int64[A, W] times of the means kept so far.
``tag_later_rows``   float64[T, W] the means, missing where no value came: there NaN may stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomaly.batches import Bool, Float64, Int8, Int64, RowBatch
from anomaly.kernel import kernel
from anomaly.observations import RESTS

VERSION = 1

#: Rows closer together than this, and a false alarm rarer than one in so many of them: about one
#: healthy row in 10,000 is a true novelty on real machines, which no threshold removes.
FAST_ROW_SECONDS, FAR_ROWS = 31.0, 20_000
WEEK_SECONDS = 604_800.0
#: After so many windows it is known whether the rows are fast.
TRIAL_WINDOWS = 8

COLLECTS, GROWN, SLOW = 0, 1, 2

_ROOM = 1024  # means of one kernel call; more take another

ASSET = np.dtype([
    ("start_ns", np.int64),
    ("open", np.int8),       # 1 while a window is open
    ("stage", np.int8),      # COLLECTS, GROWN or SLOW
    ("serial", np.int32),    # number of the open window
    ("rows", np.int32),      # in it so far
    ("windows", np.int32),   # closed while it collects,
    ("seen", np.int64),      # and the rows in them
    ("kept", np.int32),
])
TAG = np.dtype([
    ("serial", np.int32),
    ("count", np.int32),
    ("first", np.float64),
    ("excess", np.float64),  # sum of (value - first): a constant's mean is exactly the constant
])

State = Mapping[str, np.ndarray[Any, Any]]


def allocate(assets: int, tags: int, reference_rows: int) -> dict[str, np.ndarray[Any, Any]]:
    """Fresh state; ``reference_rows`` = W, the means that a warm-up takes."""
    return {
        "asset": np.zeros(assets, ASSET),
        "asset_later_time": np.zeros((assets, reference_rows), np.int64),
        "tag": np.zeros(tags, TAG),
        "tag_later_rows": np.zeros((tags, reference_rows)),
    }


def restart(state: State, asset: int, tags: Int64) -> None:
    """Begin anew with an asset (after maintenance): its rows are judged as they come again."""
    state["asset"][asset] = np.zeros((), ASSET)
    state["tag"][tags] = np.zeros(tags.size, TAG)


def said(state: State, asset: int, row_seconds: float) -> str:
    """What the asset is judged by, in words; nothing where its rows are slow enough."""
    own, most = state["asset"][asset], state["asset_later_time"].shape[1]
    if own["stage"] == SLOW:
        return ""
    means = f"means of {row_seconds:g} s"
    if own["stage"] == GROWN:
        return f"judged by {means}"
    return f"sudden changes only, until {most} {means} are known ({int(own['kept'])} so far)"


def fast_step_seconds(seconds: float | None, budget_per_week: float) -> float:
    """Rows closer together than this are too fast for the budget; 0 = none are, as it is set.

    Two of them at least are in a window of ``seconds``, the length of later rows.
    """
    if not seconds:
        return 0.0
    return min(FAST_ROW_SECONDS, WEEK_SECONDS / budget_per_week / FAR_ROWS, seconds / 2.0)


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """Rows as they came and the means among them, each before the row that closed it.

    Attributes
    ----------
    rows : RowBatch
    origin : int64[m]
        Place of the row, or of the row that closed it, in the batch as it came.
    later : int64[m]
        0 = a row as it came, else the number of rows that this is the mean of.
    """

    rows: RowBatch
    origin: Int64
    later: Int64


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The rows that are judged.

    Attributes
    ----------
    rows : RowBatch
    works : int8[m] or None
        What the machine did (``production.works``).
    origin : int64[m]
    ends : tuple of (int, int, int)
        After so many of these rows this asset has grown, at this place of the batch as it came.
    slow : tuple of int
        Assets that were found to be slow enough.
    """

    rows: RowBatch
    works: Int8 | None
    origin: Int64
    ends: tuple[tuple[int, int, int], ...] = ()
    slow: tuple[int, ...] = ()


def merge(state: State, table: Int64, row_seconds: float, rows: RowBatch) -> Merged:
    """Let the open windows take the rows ``m``; what closed stands among them."""
    n, width = rows.x.shape
    span_ns = round(row_seconds * 1e9)
    number: list[Int64] = []
    mean: list[Float64] = []
    start = 0
    while start < n:
        numbers = np.empty((min(n - start, _ROOM), 3), np.int64)
        means = np.empty((len(numbers), width))
        start, made = gather(state["asset"], state["tag"], table, span_ns, rows.asset,
                             rows.time_ns, rows.x, start, numbers, means)
        number.append(numbers[:made])
        mean.append(means[:made])
    if not sum(map(len, number)):
        return Merged(rows, np.arange(n), np.zeros(n, np.int64))
    closed_by, count, time_ns = np.concatenate(number).T
    is_mean = np.zeros(n + closed_by.size, np.bool_)
    is_mean[closed_by + np.arange(closed_by.size)] = True
    origin = np.empty(is_mean.size, np.int64)
    origin[is_mean], origin[~is_mean] = closed_by, np.arange(n)
    later = np.zeros(is_mean.size, np.int64)
    later[is_mean] = count
    times, values = rows.time_ns[origin], rows.x[origin]
    times[is_mean], values[is_mean] = time_ns, np.concatenate(mean)
    return Merged(
        RowBatch(rows.asset[origin], times, values, rows.closed_at[origin]), origin, later)


def choose(
    state: State, table: Int64, least_rows: float, merged: Merged, works: Int8 | None
) -> Chosen:
    """Keep the means of who still collects, and judge of each asset what it has come to.

    ``least_rows``: with fewer rows a window the asset's rows are not too fast. ``works int8[m]``
    as ``production.works`` says of the merged rows: what a machine is at rest is not kept.
    """
    rows = merged.rows
    rests = np.zeros(len(rows), np.bool_) if works is None else works == RESTS
    judged, turn = np.empty(len(rows), np.bool_), np.zeros(len(rows), np.int8)
    turned = admit(
        state["asset"], state["asset_later_time"], state["tag_later_rows"], table, least_rows,
        rows.asset, rows.time_ns, rows.x, merged.later, rests, judged, turn)
    if turned == 0 and judged.all():
        return Chosen(rows, works, merged.origin)
    here = np.flatnonzero(judged)
    before = np.cumsum(judged)
    return Chosen(
        RowBatch(rows.asset[here], rows.time_ns[here], rows.x[here], rows.closed_at[here]),
        None if works is None else works[here], merged.origin[here],
        tuple((int(before[r]), int(rows.asset[r]), int(merged.origin[r]))
              for r in np.flatnonzero(turn == GROWN)),
        tuple(rows.asset[np.flatnonzero(turn == SLOW)].tolist()))


def kept(state: State, asset: int, tags: Int64) -> RowBatch:
    """The means that an asset was found to have when it had grown, as rows in order."""
    x = np.ascontiguousarray(state["tag_later_rows"][tags].T)
    times = state["asset_later_time"][asset].copy()
    return RowBatch(np.full(times.size, asset), times, x, np.zeros(times.size, np.int64))


def opinion(
    told: Bool, asset: Int64, chosen: Chosen, may_fire: Bool
) -> Bool:
    """Whether an alert may be raised at each row as it came, bool[n]: as where last judged.

    ``told bool[A]``: before the batch, written. ``asset int64[n]``; ``may_fire bool[m]`` says it
    of the rows that were judged.
    """
    out = np.empty(asset.size, np.bool_)
    ends = np.array(chosen.ends, np.int64).reshape(-1, 3)
    spread(told, asset, chosen.origin, may_fire, ends[:, 2], out)
    return out


@kernel
def gather(
    asset_state: Any, tag_state: Any, table: Int64, span_ns: int, asset: Int64, time_ns: Int64,
    x: Float64, start: int, out: Int64, out_x: Float64,
) -> tuple[int, int]:
    """Means over windows [k span, (k + 1) span); returns (next row, means written).

    ``out int64[k, 3]``: place of the row that closed it, number of rows in it, its time.

    A window closes when a row at or past its end arrives, or one from before its start (the clock
    was set back); its time is its end. Windows without a row give none.
    """
    m = 0
    for i in range(start, asset.size):
        if m == len(out):
            return i, m
        a, t = asset[i], time_ns[i]
        own = asset_state[a]
        apart = t - own["start_ns"]
        if own["open"] == 1 and (apart >= span_ns or apart < 0):
            out[m, 0], out[m, 1], out[m, 2] = i, own["rows"], own["start_ns"] + span_ns
            for c in range(x.shape[1]):
                tag = table[a, c] if c < table.shape[1] else -1
                out_x[m, c] = np.nan
                if tag >= 0 and tag_state[tag]["serial"] == own["serial"]:
                    mine = tag_state[tag]
                    out_x[m, c] = mine["first"] + mine["excess"] / mine["count"]
            m += 1
            own["open"] = 0
        if own["open"] == 0:
            own["open"], own["start_ns"], own["rows"] = 1, t // span_ns * span_ns, 0
            own["serial"] += 1
        own["rows"] += 1
        for c in range(x.shape[1]):
            tag = table[a, c] if c < table.shape[1] else -1
            if tag < 0:
                break
            value = x[i, c]
            if np.isnan(value):
                continue
            mine = tag_state[tag]
            if mine["serial"] != own["serial"]:
                mine["serial"], mine["count"] = own["serial"], 0
                mine["first"], mine["excess"] = value, 0.0
            mine["count"] += 1
            mine["excess"] += value - mine["first"]
    return asset.size, m


@kernel
def admit(
    asset_state: Any, later_time: Int64, later_rows: Float64, table: Int64, least_rows: float,
    asset: Int64, time_ns: Int64, x: Float64, later: Int64, rests: Bool, judged: Bool, turn: Int8,
) -> int:
    """Which rows are judged; returns how many assets came to another stage.

    ``judged bool[m]`` and ``turn int8[m]``, the stage that the asset came to at this row, are
    written; ``turn`` comes as zeros.
    """
    turned = 0
    for r in range(asset.size):
        a = asset[r]
        own = asset_state[a]
        if later[r] == 0:
            judged[r] = own["stage"] != GROWN
            continue
        judged[r] = own["stage"] == GROWN
        if own["stage"] != COLLECTS:
            continue
        own["windows"] += 1
        own["seen"] += later[r]
        if not rests[r]:
            k = own["kept"]
            later_time[a, k] = time_ns[r]
            for c in range(table.shape[1]):
                tag = table[a, c]
                if tag >= 0:
                    later_rows[tag, k] = x[r, c] if c < x.shape[1] else np.nan
            own["kept"] += 1
        if own["windows"] == TRIAL_WINDOWS and own["seen"] < least_rows * TRIAL_WINDOWS:
            own["stage"] = SLOW
        elif own["kept"] == later_time.shape[1]:
            own["stage"] = GROWN
        if own["stage"] != COLLECTS:
            turn[r] = own["stage"]
            turned += 1
    return turned


@kernel
def spread(
    told: Bool, asset: Int64, origin: Int64, may_fire: Bool, grown: Int64, out: Bool
) -> None:
    """See :func:`opinion`; ``origin`` and ``grown``, the places at which assets grew, ascend."""
    k = g = 0
    for i in range(asset.size):
        a = asset[i]
        while g < grown.size and grown[g] == i:
            told[a] = True
            g += 1
        while k < origin.size and origin[k] == i:
            told[a] = may_fire[k]
            k += 1
        out[i] = told[a]
