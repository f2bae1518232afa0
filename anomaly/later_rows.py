"""Rows of a minute, once enough of them are known: the promise of a machine whose rows are fast.

    windows ─► later rows ─► regimes …

One stage between the windows and what judges a machine. Eight minutes of rows of a second give a
first opinion, but do not know a machine: on healthy simulated lines it raised fifty times the
promised alarms, ever after. So beside the rows that are judged, means over ``later_row_seconds``
are kept from the first row on, as many as a warm-up has. When the last of them closes, the machine
is learned anew from them alone, and from then on they are judged instead. A shift does not know a
machine either: when :data:`FURTHER` times as many have followed, it is learned anew from all of
them when its turn comes; if a case that none of them tells of is open then, at a later turn. What
looks at sensors and losses goes on with
every row. A machine whose rows are not too fast keeps them for good.

State
-----
``asset``             the open window, and how far the asset has come.
``tag``               sums of the open window.
``asset_later_step``  int32[A, (1 + FURTHER) W] the means' windows, counted from the first one kept.
``tag_later_rows``    float64[T, W] the means, missing where no value came: there NaN may stand.
``tag_further_rows``  float32[T, FURTHER W] those that follow.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomaly.batches import Bool, Float64, Int8, Int64, RowBatch
from anomaly.kernel import kernel
from anomaly.observations import RESTS

VERSION = 3

#: Rows closer together than this, and a false alarm rarer than one in so many of them: about one
#: healthy row in 10,000 is a true novelty on real machines, which no threshold removes.
FAST_ROW_SECONDS, FAR_ROWS = 31.0, 20_000
#: After so many windows it is known whether the rows are fast.
TRIAL_WINDOWS = 8

#: Means that follow those of the first learning until the second, in warm-ups: two days and two
#: hours of rows of a minute in all, three days of two shifts.
FURTHER = 5
#: Learning from so many takes a tenth of a second: machines that have them at the same time wait
#: for their turns, within so many windows: a day of rows of a minute.
TURNS = 1440
#: So often: a case that stays open for a week is no matter of what has been learned.
TRIES = 7

COLLECTS, GROWN, SLOW, KNOWN = 0, 1, 2, 3

_ROOM = 1024  # means of one kernel call; more take another

ASSET = np.dtype([
    ("start_ns", np.int64),
    ("open", np.int8),       # 1 while a window is open
    ("stage", np.int8),      # COLLECTS, GROWN, SLOW or KNOWN
    ("serial", np.int32),    # number of the open window
    ("rows", np.int32),      # in it so far
    ("windows", np.int32),   # closed while it collects,
    ("seen", np.int64),      # and the rows in them
    ("kept", np.int32),
    ("first", np.int64), ("last", np.int64),  # numbers of those windows
    ("turns", np.int32),     # to learn a second time, the end of the keeping first
    ("asked", np.int32),     # whether it might learn then
    ("over", np.int32),      # 1 = it has learned, 2 = it will not
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
        "asset_later_step": np.zeros((assets, (1 + FURTHER) * reference_rows), np.int32),
        "tag": np.zeros(tags, TAG),
        "tag_later_rows": np.zeros((tags, reference_rows)),
        "tag_further_rows": np.zeros((tags, FURTHER * reference_rows), np.float32),
    }


def restart(state: State, asset: int, tags: Int64) -> None:
    """Begin anew with an asset (after maintenance): its rows are judged as they come again."""
    state["asset"][asset] = np.zeros((), ASSET)
    state["tag"][tags] = np.zeros(tags.size, TAG)


def turns(names: Sequence[str]) -> Int64:
    """How many windows each asset of these names waits for its turn, int64[A]."""
    return np.array([zlib.crc32(name.encode()) % TURNS for name in names], np.int64)


def said(state: State, asset: int, row_seconds: float) -> str:
    """What the asset is judged by, in words; nothing where its rows are slow enough."""
    own, most = state["asset"][asset], state["tag_later_rows"].shape[1]
    if own["stage"] == SLOW:
        return ""
    means = f"means of {row_seconds:g} s"
    if own["stage"] == KNOWN or own["over"] > 0:
        return f"judged by {means}"
    if own["stage"] == GROWN:
        return (f"judged by {means}, learned anew once {(1 + FURTHER) * most} are known "
                f"({int(own['kept'])} so far)")
    return f"sudden changes only, until {most} {means} are known ({int(own['kept'])} so far)"


def too_fast_seconds(threshold_seconds: float) -> float:
    """Rows closer together than this are too fast for false alarms as rare as the threshold."""
    return min(FAST_ROW_SECONDS, threshold_seconds / FAR_ROWS)


def fast_step_seconds(seconds: float | None, threshold_seconds: float) -> float:
    """Rows closer together than this become later rows; 0 = none do, as it is set.

    Two of them at least are in a window of ``seconds``, the length of later rows.
    """
    return min(too_fast_seconds(threshold_seconds), seconds / 2.0) if seconds else 0.0


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
    ends : tuple of (int, int, int, int)
        After so many of these rows this asset is learned anew, from so many means, at this place
        of the batch as it came.
    slow : tuple of int
        Assets that were found to be slow enough.
    """

    rows: RowBatch
    works: Int8 | None
    origin: Int64
    ends: tuple[tuple[int, int, int, int], ...] = ()
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
    state: State, table: Int64, turn: Int64, row_seconds: float, least_rows: float,
    merged: Merged, works: Int8 | None,
) -> Chosen:
    """Keep the means of who still collects, and judge of each asset what it has come to.

    ``turn int64[A]``: see :func:`turns`. ``least_rows``: with fewer rows a window the asset's rows
    are not too fast. ``works int8[m]`` as ``production.works`` says of the merged rows: what a
    machine is at rest is not kept.
    """
    rows = merged.rows
    rests = np.zeros(len(rows), np.bool_) if works is None else works == RESTS
    judged, came_to = np.empty(len(rows), np.bool_), np.zeros(len(rows), np.int8)
    turned = admit(
        state["asset"], state["asset_later_step"], state["tag_later_rows"],
        state["tag_further_rows"], table, turn, TURNS, TRIES, round(row_seconds * 1e9), least_rows,
        rows.asset, rows.time_ns, rows.x, merged.later, rests, judged, came_to)
    if turned == 0 and judged.all():
        return Chosen(rows, works, merged.origin)
    here = np.flatnonzero(judged)
    before = np.cumsum(judged)
    learned = {GROWN: state["tag_later_rows"].shape[1], KNOWN: state["asset_later_step"].shape[1]}
    return Chosen(
        RowBatch(rows.asset[here], rows.time_ns[here], rows.x[here], rows.closed_at[here]),
        None if works is None else works[here], merged.origin[here],
        tuple((int(before[r]), int(rows.asset[r]), learned[int(came_to[r])],
               int(merged.origin[r]))
              for r in np.flatnonzero((came_to == GROWN) | (came_to == KNOWN))),
        tuple(rows.asset[np.flatnonzero(came_to == SLOW)].tolist()))


def may_learn(state: State, asset: int, quiet: bool) -> bool:
    """Whether the second learning is to be done at this turn; ``quiet``: no case is open.

    What has been told is not learned: never, if a case is open with the last mean that is kept.
    """
    own = state["asset"][asset : asset + 1]
    if own["over"][0]:
        return False
    own["asked"] += 1
    learns = quiet and own["asked"][0] > 1
    if learns:
        own["over"] = 1
    elif own["asked"][0] > TRIES or not (quiet or own["asked"][0] > 1):
        own["over"] = 2
    return bool(learns)


def is_over(state: State, asset: int) -> bool:
    """Whether nothing will be learned any more from what is kept."""
    return bool(state["asset"]["over"][asset] > 0)


def kept(state: State, asset: int, tags: Int64, row_seconds: float, count: int) -> RowBatch:
    """The first ``count`` means that were kept of an asset, as rows in order."""
    x = np.concatenate([state["tag_later_rows"][tags], state["tag_further_rows"][tags]], axis=1)
    number = state["asset"]["first"][asset] + state["asset_later_step"][asset, :count]
    return RowBatch(np.full(count, asset), number * round(row_seconds * 1e9),
                    np.ascontiguousarray(x[:, :count].T), np.zeros(count, np.int64))


def opinion(
    told: Bool, asset: Int64, chosen: Chosen, may_fire: Bool
) -> Bool:
    """Whether an alert may be raised at each row as it came, bool[n]: as where last judged.

    ``told bool[A]``: before the batch, written. ``asset int64[n]``; ``may_fire bool[m]`` says it
    of the rows that were judged.
    """
    out = np.empty(asset.size, np.bool_)
    ends = np.array(chosen.ends, np.int64).reshape(-1, 4)
    spread(told, asset, chosen.origin, may_fire, ends[:, 3], out)
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
    asset_state: Any, later_step: Any, later_rows: Float64, further_rows: Any, table: Int64,
    turn: Int64, between: int, tries: int, span_ns: int, least_rows: float, asset: Int64,
    time_ns: Int64, x: Float64, later: Int64, rests: Bool, judged: Bool, came_to: Int8,
) -> int:
    """Which rows are judged; returns how many assets came to another stage, or to a turn.

    ``judged bool[m]`` and ``came_to int8[m]``, the stage that the asset came to at this row, are
    written; ``came_to`` comes as zeros. KNOWN with the last mean that is kept, and at each turn,
    ``between`` windows apart, so many ``tries``.
    """
    turned = 0
    first, most = later_rows.shape[1], later_step.shape[1]
    for r in range(asset.size):
        a = asset[r]
        own = asset_state[a]
        by_means = own["stage"] == GROWN or own["stage"] == KNOWN
        judged[r] = by_means == (later[r] > 0)
        if later[r] == 0 or own["stage"] == SLOW or own["stage"] == KNOWN:
            continue
        if own["stage"] == COLLECTS:
            own["windows"] += 1
            own["seen"] += later[r]
        number = time_ns[r] // span_ns
        if not rests[r] and own["kept"] < most:
            k = own["kept"]
            if k == 0:
                own["first"] = number
            later_step[a, k] = number - own["first"]
            for c in range(table.shape[1]):
                tag = table[a, c]
                if tag >= 0:
                    value = x[r, c] if c < x.shape[1] else np.nan
                    if k < first:
                        later_rows[tag, k] = value
                    else:
                        further_rows[tag, k - first] = value
            own["kept"] += 1
            own["last"] = number
        stage = own["stage"]
        if stage == COLLECTS and own["windows"] == TRIAL_WINDOWS and (
            own["seen"] < least_rows * TRIAL_WINDOWS
        ):
            stage = SLOW
        elif stage == COLLECTS and own["kept"] == first:
            stage = GROWN
        elif own["kept"] == most and (
            own["turns"] == 0
            or number - own["last"] >= turn[a] + between * (own["turns"] - 1)
        ):
            came_to[r] = KNOWN
            turned += 1
            if own["turns"] == tries:
                own["stage"] = KNOWN
            own["turns"] += 1
            continue
        if stage != own["stage"]:
            own["stage"] = stage
            came_to[r] = stage
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
