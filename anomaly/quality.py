"""What the sensors and the clock themselves say, before anything is said about the machine.

:func:`run_screen` looks at every reading: is the value usable, can the time be believed?
:func:`run_watch` looks at every closed row (its kernel is in ``watch.py``): which sensor is stuck
or silent, which asset was away? Bad data is never an exception: a reading gets a code from the
closed list ``REASONS``, a sensor one from ``CONDITIONS``. Late and duplicate readings need to know
which rows are still open, so ``windows`` finds them and writes their codes. No alert and no
sentence is made here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly import watch
from anomaly.batches import Float64, Int8, Int64, ReadingBatch, RowBatch
from anomaly.errors import ConfigError
from anomaly.kernel import kernel

VERSION = 2

#: Why a reading was not used; the index is the code. ``missing`` is not a rejection: the sender
#: says that there is nothing. A value refused by itself (``not_finite``, ``out_of_range``) counts
#: as missing in its row; a reading refused for its time (``duplicate`` and on) belongs to no row.
REASONS = (
    "accepted", "missing", "not_finite", "out_of_range", "duplicate", "late", "clock_jump",
    "bad_time",
)
ACCEPTED, MISSING, NOT_FINITE, OUT_OF_RANGE, DUPLICATE, LATE, CLOCK_JUMP, BAD_TIME = range(8)

#: Larger magnitudes are refused as out of range: no physical quantity comes near, and the cube of
#: an admitted value is still finite, so that no detector can overflow.
VALUE_LIMIT = 1e100

#: Times beyond ±2**62 ns (before 1824, after 2116) are refused: differences cannot overflow.
TIME_LIMIT_NS = 1 << 62

# What screen says of a reading's time base, for windows.
DOUBTED, SAME, RESTARTED = -1, 0, 1

_INTERVAL_LIMIT_NS = 10**15  # 11.6 days; keeps 1000 intervals within int64
_GAP_LIMIT_NS = 45 * 86_400 * 10**9  # a longer gap is doubted anew each time it happens

#: Index = condition code of a sensor (``watch.py``).
CONDITIONS = watch.CONDITIONS

State = dict[str, np.ndarray[Any, Any]]
Records = npt.NDArray[np.void]
Record = Any  # one element of a structured array, changed in place

_CLOCK = np.dtype([
    ("last_ns", np.int64),  # newest believed time
    ("rows", np.int64),  # distinct ascending times believed so far
    ("interval_ns", np.int64),  # running median of the steps between them
    ("gap_ns", np.int64),  # longest jump that turned out to be a real gap
    ("candidate_ns", np.int64),  # newest time of the doubted base
    ("candidate_rows", np.int64),  # consecutive ascending times on it
])


@dataclass(frozen=True, slots=True)
class Config:
    """Limits of what is believed, and of what is said of sensors."""

    clock_jump_seconds: float = 86_400.0
    """A time further ahead is doubted; a day, unless 1000 usual intervals or twice the longest gap
    known of the asset are more: a night's stop is no jump."""
    lateness_seconds: float = 0.0
    """How late a reading may come, behind its asset's newest time. Above 0, readings are held back
    so long and go on in the order of their time (``reorder``); what is further behind is late, and
    may be a clock that was set back. 0 = nothing is held back, and any step back may be one."""
    clock_rows: int = 8
    """Consecutive ascending times at which a doubted time base is accepted; fewer would follow a
    burst of wrong times, more would lose rows after a real gap. Old rows that are sent again look
    like a clock that was set back: where that happens and clocks are good, set it high."""
    learn_rows: int = 200
    """Values of a sensor before anything is said of it: enough to have seen its usual runs."""
    stuck_rows: int = 60
    """Shortest run of equal values that can be a finding, however lively the sensor."""
    stuck_seconds: float = 60.0
    """Shortest standstill that can be a finding, in event time: for sensors read very fast."""
    silent_rows: int = 20
    """Fewest rows of the asset without the sensor that can be a finding."""
    silent_seconds: float = 60.0
    """Shortest absence of a sensor that can be a finding, in event time."""
    gap_seconds: float = 600.0
    """Shortest absence of a whole asset that can be a finding, in event time."""
    overdue_seconds: float = 0.0
    """Above 0: an asset is also found away when the newest row of the partition is this much past
    its own last one, and past what is usual for it. 0 = only when its next row arrives."""
    false_findings_per_week: float = 1e-3
    """False findings per sensor and week, if runs came by chance alone; a thousand sensors then
    cost one a week."""

    def __post_init__(self) -> None:
        for name in ("clock_rows", "learn_rows", "stuck_rows", "silent_rows"):
            if not 1 <= getattr(self, name) <= 1_000_000:
                raise ConfigError(f"{name}: must be 1 to 1000000, got {getattr(self, name)}")
        for name in ("clock_jump_seconds", "lateness_seconds", "stuck_seconds", "silent_seconds",
                     "gap_seconds", "overdue_seconds"):
            if not 0.0 <= getattr(self, name) <= 366 * 86_400:
                raise ConfigError(f"{name}: must be 0 to 366 days, got {getattr(self, name)}")
        if not self.false_findings_per_week > 0.0:
            raise ConfigError("false_findings_per_week: must be above 0")


@dataclass(frozen=True, slots=True)
class Screened:
    """What :func:`run_screen` says of n readings.

    Attributes
    ----------
    value : float64[n]
        The value, NaN where it may not be used.
    reason : int8[n]
        Index into ``REASONS``; ``windows`` adds late and duplicate.
    base : int8[n]
        −1: the time is not believed, the reading belongs to no row; 1: the asset's clock was set
        back and this is the first reading on the new base; 0: neither.
    """

    value: Float64
    reason: Int8
    base: Int8


@dataclass(frozen=True, slots=True)
class Findings:
    """k changes of condition, in the order of the rows that showed them.

    Attributes
    ----------
    row : int64[k]
        Index in the RowBatch.
    asset, tag : int64[k]
        Tag −1 = the asset as a whole (``gap``).
    before, after : int8[k]
        Index into ``CONDITIONS``.
    since_ns : int64[k]
        Event time at which ``after`` began: the first of the equal values, the last value, the
        last row before the gap; the row's own time where the asset or sensor is back.
    """

    row: Int64
    asset: Int64
    tag: Int64
    before: Int8
    after: Int8
    since_ns: Int64

    def __len__(self) -> int:
        return int(self.row.size)


def allocate(config: Config, assets: int, tags: int) -> State:
    """Fresh state: nothing seen."""
    return {
        "asset_clock": np.zeros(assets, _CLOCK),
        "asset_watch": np.zeros(assets, watch.ASSET),
        "tag_watch": np.zeros(tags, watch.TAG),
    }


def run_screen(
    config: Config, state: State, table: Int64, low: Float64, high: Float64,
    readings: ReadingBatch,
) -> Screened:
    """Judge every reading by itself and by its asset's clock; ``readings`` stays untouched.

    ``low``, ``high float64[tags]``: the admitted range by tag, ±inf where none is known; or both
    empty, when no tag has one.
    """
    n = len(readings)
    value, reason, base = np.empty(n), np.zeros(n, np.int8), np.zeros(n, np.int8)
    screen(
        state["asset_clock"], low, high, round(config.clock_jump_seconds * 1e9),
        round(config.lateness_seconds * 1e9), config.clock_rows, table, readings.asset,
        readings.sensor, readings.time_ns, readings.value, value, reason, base,
    )
    return Screened(value, reason, base)


def run_watch(config: Config, state: State, table: Int64, rows: RowBatch) -> Findings:
    """Judge every sensor by the rows that closed; see also :func:`conditions`."""
    parts = [np.zeros((0, 6), np.int64)]
    room = 4096
    start = 0
    while start < len(rows):
        out = np.empty((room, 6), np.int64)
        start, count = watch.watch(
            state["asset_watch"], state["tag_watch"], config.learn_rows, config.stuck_rows,
            round(config.stuck_seconds * 1e9), config.silent_rows,
            round(config.silent_seconds * 1e9), round(config.gap_seconds * 1e9),
            round(config.overdue_seconds * 1e9), config.false_findings_per_week,
            table, rows.asset, rows.time_ns, rows.x, start, out,
        )
        parts.append(out[:count])
        # A row's findings must fit at once: every column, and every asset when overdue.
        room = max(room, 2 * rows.x.shape[1] + 2 * len(state["asset_watch"]) + 2)
    found = np.concatenate(parts)
    return Findings(
        found[:, 0], found[:, 1], found[:, 2], found[:, 3].astype(np.int8),
        found[:, 4].astype(np.int8), found[:, 5])


def conditions(state: State) -> Int8:
    """int8[tags]: what is known of every sensor as a sensor, an index into ``CONDITIONS``."""
    return state["tag_watch"]["condition"].astype(np.int8)


@kernel
def screen(
    asset_clock: Records, low: Float64, high: Float64, jump_ns: int, lateness_ns: int,
    clock_rows: int, table: Int64, asset: Int64, sensor: Int64, time_ns: Int64, value: Float64,
    clean: Float64, reason: Int8, base: Int8,
) -> None:
    """Per reading: its value by itself, its time by the clock of its asset.

    ``low``, ``high float64[T]`` by tag, or empty = no ranges. Outputs as in :class:`Screened`.
    """
    newest, candidate_rows = asset_clock["last_ns"], asset_clock["candidate_rows"]
    rows = asset_clock["rows"]
    ranged = low.size > 0
    for i in range(asset.size):
        a, t, v = asset[i], time_ns[i], value[i]
        believed = SAME
        if t != newest[a] or rows[a] == 0 or candidate_rows[a] != 0:
            believed = _believe(asset_clock, a, t, jump_ns, lateness_ns, clock_rows)
        base[i] = believed
        code = ACCEPTED
        if believed == DOUBTED:
            code = CLOCK_JUMP if -TIME_LIMIT_NS <= t <= TIME_LIMIT_NS else BAD_TIME
        elif np.isnan(v):
            code = MISSING
        elif not -VALUE_LIMIT <= v <= VALUE_LIMIT:
            code = NOT_FINITE if np.isinf(v) else OUT_OF_RANGE
        elif ranged:
            tag = table[a, sensor[i]]
            if not low[tag] <= v <= high[tag]:
                code = OUT_OF_RANGE
        reason[i] = code
        clean[i] = v if code == ACCEPTED else np.nan


@kernel
def _believe(
    asset_clock: Records, a: int, t: int, jump_ns: int, lateness_ns: int, clock_rows: int,
) -> int:
    """Move the asset's clock to ``t``, or doubt it: a few rows must agree on a far new time."""
    clock = asset_clock[a]
    if not -TIME_LIMIT_NS <= t <= TIME_LIMIT_NS:
        return DOUBTED
    if clock["rows"] == 0:
        clock["rows"], clock["last_ns"] = 1, t
        return SAME
    step = t - clock["last_ns"]
    # The bound follows the asset: one row a day, or a shutdown of a month seen before, is no jump.
    bound = max(jump_ns, 1000 * clock["interval_ns"], 2 * clock["gap_ns"])
    ahead = step > bound and clock["rows"] >= clock_rows
    behind = step < -lateness_ns
    if not ahead and not behind:
        clock["candidate_rows"] = 0
        if step > 0:
            _advance(clock, t, step)
        return SAME
    since = t - clock["candidate_ns"]
    if clock["candidate_rows"] == 0 or since < 0 or since > bound:
        clock["candidate_rows"] = 1
    elif since > 0:
        clock["candidate_rows"] += 1
    clock["candidate_ns"] = t
    if clock["candidate_rows"] < clock_rows:
        return DOUBTED if ahead else SAME  # what is behind is refused as late by the windows
    clock["candidate_rows"] = 0
    clock["last_ns"] = t
    clock["rows"] += 1
    if ahead:
        clock["gap_ns"] = max(clock["gap_ns"], min(step, _GAP_LIMIT_NS))
        return SAME
    return RESTARTED


@kernel
def _advance(clock: Record, t: int, step: int) -> None:
    """Book a believed step forward; the interval is a running median moving by eighths."""
    interval = clock["interval_ns"]
    if clock["rows"] == 1:
        interval = step
    elif step > interval:
        interval += max(1, interval >> 3)
    elif step < interval:
        interval -= interval >> 3
    clock["interval_ns"] = min(interval, _INTERVAL_LIMIT_NS)
    clock["rows"] += 1
    clock["last_ns"] = t
