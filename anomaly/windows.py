"""Readings to rows: the ways to close a row, one code path after them.

*Every timestamp* (``row_seconds`` = 0): the readings of one asset at one time are a row. *Time
windows*: the mean of every sensor over aligned windows of event time. *Cycles*: the machine's own
rhythm (``cycles.py``). *Frames* of vibration samples (``frames.py``). A row closes by the data's
own time and nothing else: never by the end of a batch, never by a wall clock. No judgement of
values here (``quality``), and no row is ever reopened. State holds no NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly import cycles, frames, vibration
from anomaly.batches import Bool, Float64, Int8, Int64, ReadingBatch, RowBatch
from anomaly.errors import ConfigError
from anomaly.kernel import kernel

VERSION = 1

#: Codes written for readings that belong to no row: their index in ``quality.REASONS``.
DUPLICATE, LATE = 4, 5

#: What ``base`` says of a reading's time: not believed, as usual, the clock was set back.
DOUBTED, SAME, RESTARTED = -1, 0, 1

_CELLS_LIMIT = 1 << 23  # output cells of one kernel call (64 MB); more rows take another call
_NEVER = -(1 << 63)

#: What the configured sensors are, found once among the registered names.
Roles = cycles.Roles | frames.Roles

State = dict[str, np.ndarray[Any, Any]]
Records = npt.NDArray[np.void]

_ASSET = np.dtype([
    ("open", np.int64),  # 1 while a row is open
    ("start_ns", np.int64),  # its time, or its window's start
    ("closed_ns", np.int64),  # the same of the row closed last
    ("serial", np.int64),  # number of the open row, or of the one closed last
])
_TAG_INSTANT = np.dtype([
    ("serial", np.int64),  # row that saw the sensor last; negative = it saw that there is no value
    ("value", np.float64),
])
_TAG_SPAN = np.dtype([
    ("serial", np.int64),
    ("last_ns", np.int64),  # its latest time in that row
    ("count", np.int64),
    ("first", np.float64),
    ("excess", np.float64),  # sum of (value - first): a constant's mean is exactly the constant
])


@dataclass(frozen=True, slots=True)
class Config:
    """How rows close."""

    row_seconds: float = 0.0
    """Length of a time window; 0 = every timestamp of an asset is a row."""
    cycle: cycles.Config = field(default_factory=cycles.Config)
    """With ``cycle.sensor`` given, cycles close the rows and ``row_seconds`` must be 0."""
    frame: vibration.Config = field(default_factory=vibration.Config)
    """With ``frame.sensors`` given, frames of vibration samples close the rows, alone."""
    later_row_seconds: float | None = None
    """Where every timestamp is a row and these follow too fast for the budget: judge means over so
    many seconds once a warm-up of them is known (``later_rows``). 0 = never; None = never, except
    in the live service, where it is a minute."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.row_seconds <= 366 * 86_400:
            raise ConfigError(f"row_seconds: must be 0 to 366 days, got {self.row_seconds}")
        if self.row_seconds > 0 and self.cycle.sensor:
            raise ConfigError("row_seconds: must be 0 where cycles close the rows (cycle.sensor)")
        if self.frame.sensors and (self.row_seconds > 0 or self.cycle.sensor):
            raise ConfigError("frame: no row_seconds and no cycle.sensor beside frame.sensors")
        if not 0.0 <= (self.later_row_seconds or 0.0) <= 366 * 86_400:
            raise ConfigError(
                f"later_row_seconds: must be 0 to 366 days, got {self.later_row_seconds}")
        if self.later_row_seconds and not self.closes_instants:
            raise ConfigError("later_row_seconds: must be 0 beside row_seconds, cycle.sensor and "
                              "frame.sensors")

    @property
    def closes_instants(self) -> bool:
        """Whether every timestamp of an asset is a row."""
        return not (self.row_seconds or self.cycle.sensor or self.frame.sensors)


def allocate(config: Config, assets: int, tags: int) -> State:
    """Fresh state: no row open, none closed."""
    if config.cycle.sensor:
        return cycles.allocate(config.cycle, assets, tags)
    if config.frame.sensors:
        return frames.allocate(config.frame, assets, tags)
    rows = np.zeros(assets, _ASSET)
    rows["closed_ns"] = _NEVER
    return {
        "asset_row": rows,
        "tag_row": np.zeros(tags, _TAG_SPAN if config.row_seconds > 0 else _TAG_INSTANT),
    }


def derived_names(config: Config, sensor_names: Sequence[str]) -> list[str]:
    """Names of the columns that closing adds to an asset with these sensors; register them."""
    if config.frame.sensors:
        return frames.derived_names(config.frame, sensor_names)
    return cycles.derived_names(config.cycle, sensor_names)


def resolve(
    config: Config, sensors: Sequence[Sequence[str]], table: Int64, tags: int
) -> Roles:
    """Find the configured names among the registered sensors; call again when some were added."""
    if config.frame.sensors:
        return frames.resolve(config.frame, sensors, table, tags)
    return cycles.resolve(config.cycle, sensors, table, tags)


def run(
    config: Config, state: State, table: Int64, roles: Roles, readings: ReadingBatch,
    value: Float64, base: Int8, reason: Int8,
) -> RowBatch:
    """Sort the readings into rows; returns those that closed, in the order of closing.

    ``value float64[n]`` and ``base int8[n]`` are what ``quality`` made of the readings;
    ``reason int8[n]`` is *written* where a reading is late or a duplicate.
    """
    n = len(readings)
    width = _width(table, readings.asset)
    if isinstance(roles, frames.Roles):
        return joined(frames.run(
            config.frame, state, table, roles, readings, value, base, reason, width))
    size = _rows_expected(readings, width)
    columns = (table, readings.asset, readings.sensor, readings.time_ns, value)
    parts = []
    start = 0
    while start < n:
        out = (np.empty(size, np.int64), np.empty(size, np.int64), np.empty((size, width)),
               np.empty(size, np.int64))
        if config.cycle.sensor:
            start, count = cycles.close_cycles(
                *state.values(), *cycles.parameters(config.cycle), roles.tag, roles.derived,
                *columns, base, start, reason, *out)
        elif config.row_seconds > 0:
            start, count = close_spans(
                *state.values(), round(config.row_seconds * 1e9), *columns, base, start, reason,
                *out)
        else:
            start, count = close_instants(
                *state.values(), *columns, readings.closes, base, start, reason, *out)
        parts.append(RowBatch(out[0][:count], out[1][:count], out[2][:count], out[3][:count]))
    return joined(parts)


def _rows_expected(readings: ReadingBatch, width: int) -> int:
    """Room for the rows of one kernel call: untouched memory is cheap, but not free."""
    wide = int(np.count_nonzero(readings.closes))
    expected = (wide or 2 * len(readings) // max(1, width)) + 64
    return min(expected, max(2, _CELLS_LIMIT // max(1, width)))


def flush(config: Config, state: State, table: Int64) -> RowBatch:
    """Close what is open at the end of the stream, in asset order; ``closed_at`` is −1.

    An unfinished cycle is not a cycle, nor an unfinished frame a frame: it closes no row.
    """
    if config.cycle.sensor or config.frame.sensors:
        return joined([])
    rows = state["asset_row"]
    assets = np.flatnonzero(rows["open"][: len(table)] == 1)
    width = _width(table, assets)
    x = np.empty((assets.size, width))
    span = round(config.row_seconds * 1e9)
    times = rows["start_ns"][assets] + span
    for index, asset in enumerate(assets):
        if span > 0:
            _write_span(state["tag_row"], table, asset, rows["serial"][asset], x, index)
        else:
            _write_instant(state["tag_row"], table, asset, rows["serial"][asset], x, index)
    rows["closed_ns"][assets] = rows["start_ns"][assets]
    rows["open"][assets] = 0
    return RowBatch(assets, times, x, np.full(assets.size, -1, np.int64))


def joined(parts: Sequence[RowBatch]) -> RowBatch:
    """The rows of all parts one after another; narrower ones are padded with NaN."""
    if len(parts) == 1:
        return parts[0]
    none = np.zeros(0, np.int64)
    parts = parts or [RowBatch(none, none, np.zeros((0, 0)), none)]
    width = max(p.x.shape[1] for p in parts)
    x = np.full((sum(map(len, parts)), width), np.nan)
    row = 0
    for part in parts:
        x[row:row + len(part), : part.x.shape[1]] = part.x
        row += len(part)
    return RowBatch(
        np.concatenate([p.asset for p in parts]), np.concatenate([p.time_ns for p in parts]), x,
        np.concatenate([p.closed_at for p in parts]))


def taken(rows: RowBatch, index: Int64) -> RowBatch:
    """Some of the rows, in the order of ``index``."""
    return RowBatch(rows.asset[index], rows.time_ns[index], rows.x[index], rows.closed_at[index])


@kernel
def _width(table: Int64, asset: Int64) -> int:
    """Columns of the widest of these assets."""
    width = 0
    for i in range(asset.size):
        while width < table.shape[1] and table[asset[i], width] >= 0:
            width += 1
    return width


@kernel
def close_instants(
    asset_row: Records, tag_row: Records, table: Int64, asset: Int64, sensor: Int64,
    time_ns: Int64, value: Float64, closes: Bool, base: Int8, start: int, reason: Int8,
    out_asset: Int64, out_time: Int64, out_x: Float64, out_closed_at: Int64,
) -> tuple[int, int]:
    """Every timestamp of an asset is a row; returns (next reading, rows written).

    A row closes on a reading that says so (``closes``) or when a later time of the asset arrives.
    Of two readings of one sensor at one time the first counts. Stops early when the outputs are
    full; call again from there.
    """
    is_open, begun, closed = asset_row["open"], asset_row["start_ns"], asset_row["closed_ns"]
    serial, seen, held = asset_row["serial"], tag_row["serial"], tag_row["value"]
    m = 0
    i = start
    while i < asset.size:
        if m + 2 > out_asset.size:
            return i, m
        a, t = asset[i], time_ns[i]
        if base[i] == DOUBTED:
            i += 1
            continue
        newest = begun[a] if is_open[a] == 1 else closed[a]
        restarted = base[i] == RESTARTED and t <= newest
        if is_open[a] == 1 and (t > begun[a] or restarted):
            _write_instant(tag_row, table, a, serial[a], out_x, m)
            out_asset[m], out_time[m], out_closed_at[m] = a, begun[a], i
            m += 1
            is_open[a], closed[a] = 0, begun[a]
        if restarted:
            closed[a] = _NEVER
        if t <= closed[a] or (is_open[a] == 1 and t < begun[a]):
            before = abs(seen[table[a, sensor[i]]])
            reason[i] = DUPLICATE if t == closed[a] and before == serial[a] - is_open[a] else LATE
            i += 1
            continue
        if is_open[a] == 0:
            is_open[a], begun[a] = 1, t
            serial[a] += 1
        row = serial[a]
        # The row at t is open: take all its readings that stand together.
        while True:
            tag = table[a, sensor[i]]
            if abs(seen[tag]) == row:
                reason[i] = DUPLICATE
            elif np.isnan(value[i]):
                seen[tag] = -row
            else:
                seen[tag], held[tag] = row, value[i]
            closing = closes[i]
            i += 1
            if closing or i == asset.size or asset[i] != a or time_ns[i] != t or base[i] != SAME:
                break
        if closing:
            _write_instant(tag_row, table, a, row, out_x, m)
            out_asset[m], out_time[m], out_closed_at[m] = a, t, i - 1
            m += 1
            is_open[a], closed[a] = 0, t
    return asset.size, m


@kernel
def _write_instant(
    tag_row: Records, table: Int64, a: int, serial: int, x: Float64, m: int,
) -> None:
    """Row ``m`` of ``x``: what the asset's sensors said in row number ``serial``."""
    seen, value = tag_row["serial"], tag_row["value"]
    for c in range(x.shape[1]):
        tag = table[a, c]
        x[m, c] = value[tag] if tag >= 0 and seen[tag] == serial else np.nan


@kernel
def close_spans(
    asset_row: Records, tag_row: Records, span_ns: int, table: Int64, asset: Int64, sensor: Int64,
    time_ns: Int64, value: Float64, base: Int8, start: int, reason: Int8, out_asset: Int64,
    out_time: Int64, out_x: Float64, out_closed_at: Int64,
) -> tuple[int, int]:
    """Means over windows [k span, (k + 1) span); returns (next reading, rows written).

    A window closes when a reading at or past its end arrives for the asset; its row's time is that
    end. Windows without a reading give no row. Within a window each sensor's times must ascend:
    so a block that is sent again is never counted twice.
    """
    is_open, begun, closed = asset_row["open"], asset_row["start_ns"], asset_row["closed_ns"]
    serial = asset_row["serial"]
    seen, last_ns, count = tag_row["serial"], tag_row["last_ns"], tag_row["count"]
    first, excess = tag_row["first"], tag_row["excess"]
    m = 0
    for i in range(start, asset.size):
        if m + 1 > out_asset.size:
            return i, m
        if base[i] == DOUBTED:
            continue
        a, t, tag = asset[i], time_ns[i], table[asset[i], sensor[i]]
        newest = begun[a] if is_open[a] == 1 else closed[a] + span_ns
        restarted = base[i] == RESTARTED and t < newest
        if is_open[a] == 1 and (t - begun[a] >= span_ns or restarted):
            _write_span(tag_row, table, a, serial[a], out_x, m)
            out_asset[m], out_time[m], out_closed_at[m] = a, begun[a] + span_ns, i
            m += 1
            is_open[a], closed[a] = 0, begun[a]
        if restarted:
            closed[a] = _NEVER
        if is_open[a] == 0:
            window = t // span_ns * span_ns
            if window <= closed[a]:
                reason[i] = DUPLICATE if seen[tag] == serial[a] and last_ns[tag] == t else LATE
                continue
            is_open[a], begun[a] = 1, window
            serial[a] += 1
        elif t < begun[a]:
            before = serial[a] > 1 and seen[tag] == serial[a] - 1
            reason[i] = DUPLICATE if before and last_ns[tag] == t else LATE
            continue
        if seen[tag] == serial[a]:
            if t <= last_ns[tag]:
                reason[i] = DUPLICATE if t == last_ns[tag] else LATE
                continue
        else:
            seen[tag], count[tag], excess[tag] = serial[a], 0, 0.0
        last_ns[tag] = t
        v = value[i]
        if not np.isnan(v):
            if count[tag] == 0:
                first[tag] = v
            excess[tag] += v - first[tag]
            count[tag] += 1
    return asset.size, m


@kernel
def _write_span(tag_row: Records, table: Int64, a: int, serial: int, x: Float64, m: int) -> None:
    """Row ``m`` of ``x``: the means of the asset's sensors over row number ``serial``."""
    seen, count = tag_row["serial"], tag_row["count"]
    first, excess = tag_row["first"], tag_row["excess"]
    for c in range(x.shape[1]):
        tag = table[a, c]
        if tag >= 0 and seen[tag] == serial and count[tag] > 0:
            x[m, c] = first[tag] + excess[tag] / count[tag]
        else:
            x[m, c] = np.nan
