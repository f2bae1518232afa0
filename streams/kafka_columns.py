"""The columns that messages are collected into, and the batch they become.

Python lists where messages are parsed one by one; Arrow tables, columnar JSON and what the scanner
read come as whole columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomaly.batches import Bool, Float64, Int64, ReadingBatch, reading_batch
from anomaly.registry import Registry
from streams import kafka_arrow
from streams.instants import UNITS

#: asset, sensor, time_ns, value, closes, message of some readings.
Piece = tuple[Int64, Int64, Int64, Float64, Bool, Int64]


@dataclass(frozen=True, slots=True)
class Row:
    """What the rows of an asset have in common when they name the same sensors."""

    asset: list[int]
    sensor: list[int]
    closes: list[bool]


@dataclass(frozen=True, slots=True)
class Decoded:
    """Some consecutive messages as readings.

    Attributes
    ----------
    first, end : int
        The messages ``first:end`` of the sequence given are in here.
    readings : ReadingBatch
    message : int64[n]
        Message (index in the sequence given) that each reading came with, ascending.
    dead : tuple of (int, str)
        Messages that could not be used, with their reason.
    """

    first: int
    end: int
    readings: ReadingBatch
    message: Int64
    dead: tuple[tuple[int, str], ...]


class Columns:
    """The batch being collected: messages one by one in lists, and whole columns in between."""

    def __init__(self) -> None:
        self.asset: list[int] = []
        self.sensor: list[int] = []
        self.time_ns: list[int] = []
        self.value: list[float] = []
        self.closes: list[bool] = []
        self.message: list[int] = []
        self.current = 0
        """The message that what is added comes with."""
        self._pieces: list[Piece] = []
        self._in_pieces = 0

    def __len__(self) -> int:
        return self._in_pieces + len(self.value)

    def add(self, asset: int, sensor: int, time_ns: int, value: float, closes: bool) -> None:
        self.asset.append(asset)
        self.sensor.append(sensor)
        self.time_ns.append(time_ns)
        self.value.append(value)
        self.closes.append(closes)
        self.message.append(self.current)

    def add_row(self, row: Row, time_ns: int, values: list[float]) -> None:
        """A row of sensors that are known."""
        self.asset += row.asset
        self.sensor += row.sensor
        self.time_ns += [time_ns] * len(values)
        self.value += values
        self.closes += row.closes
        self.message += [self.current] * len(values)

    def add_columns(
        self, asset: Int64, sensor: Int64, time_ns: Int64, value: Float64, closes: Bool,
        message: Int64 | None = None,
    ) -> None:
        """Many readings of the current message; ``message``: of several, told one by one."""
        self._flush()
        if message is None:
            message = np.full(value.size, self.current, np.int64)
        self._pieces.append((asset, sensor, time_ns, value, closes, message))
        self._in_pieces += value.size

    def add_table(self, table: kafka_arrow.Table, names: Sequence[str], tag: Any) -> Piece:
        """Readings of an Arrow message: codes of names become tags, the rest are whole columns."""
        pair = table.asset_code * len(table.sensors) + table.sensor_code
        first = np.full(len(names) * len(table.sensors), pair.size, np.int64)
        first[pair[::-1]] = np.arange(pair.size)[::-1]  # the last one written is the first there is
        known = np.flatnonzero(first < pair.size)
        order = known[np.argsort(first[known])].tolist()  # registered in the order of appearance
        tags = [tag(names[k // len(table.sensors)], table.sensors[k % len(table.sensors)])
                for k in order]
        a, s = np.zeros(first.size, np.int64), np.zeros(first.size, np.int64)
        a[order], s[order] = np.array(tags, np.int64).reshape(-1, 2).T
        self.add_columns(a[pair], s[pair], table.time_ns, table.value, table.closes)
        return self._pieces[-1]

    def cut(self, length: int) -> None:
        """Forget what a message had added before it turned out to be unusable."""
        keep = length - self._in_pieces
        assert keep >= 0, "whole columns are added when nothing can fail any more"
        for column in (self.asset, self.sensor, self.time_ns, self.value, self.closes,
                       self.message):
            del column[keep:]

    def taken(self, first: int, end: int, dead: Sequence[tuple[int, str]]) -> Decoded:
        """The batch so far, and start anew."""
        self._flush()
        if len(self._pieces) == 1:
            columns: list[Any] = list(self._pieces[0])
        else:
            nothing = np.zeros(0, np.int64)
            columns = [np.concatenate([piece[k] for piece in self._pieces] or [nothing])
                       for k in range(6)]
        self._pieces.clear()
        self._in_pieces = 0
        *readings, message = columns
        return Decoded(first, end, reading_batch(*readings), np.asarray(message, np.int64),
                       tuple(dead))

    def _flush(self) -> None:
        if self.value:
            self._pieces.append((
                np.array(self.asset, np.int64), np.array(self.sensor, np.int64),
                np.array(self.time_ns, np.int64), np.array(self.value, np.float64),
                np.array(self.closes, np.bool_), np.array(self.message, np.int64)))
            self._in_pieces += len(self.value)
            for column in (self.asset, self.sensor, self.time_ns, self.value, self.closes,
                           self.message):
                column.clear()


def whole_times(
    times: Sequence[Any], one: Callable[[Any], int], units: Counter[str]
) -> Int64:
    """Times of a column; whole numbers of one magnitude, as most are, all at once.

    ``one`` reads any single time and counts its unit; here ``units`` is counted instead.
    """
    if set(map(type, times)) == {int} and max(map(abs, times)) < 1 << 62:
        told = np.array(times, np.int64)
        least, most = int(np.abs(told).min()), int(np.abs(told).max())
        for unit, limit, unit_ns in UNITS:
            if most < limit:
                if units_of(least) == unit and most < (1 << 63) // unit_ns:
                    units[unit] += len(times)
                    return told * unit_ns
                break
    return np.array([one(time) for time in times], np.int64)


def units_of(size: int) -> str:
    """The unit that a time of this size is in."""
    return next(unit for unit, limit, _ in UNITS if size < limit)


def without(
    decoded: Decoded, isolated: Mapping[str, int], registry: Registry, records: Sequence[Any]
) -> Decoded:
    """The batch without readings of assets that are set aside; messages of nothing else are dead.

    ``isolated`` maps a name to the offset from which on it is.
    """
    from_offset = np.full(len(registry.assets), np.iinfo(np.int64).max)
    for a, name in enumerate(registry.assets):
        from_offset[a] = isolated.get(name, from_offset[a])
    offsets = np.array([record.offset for record in records], np.int64)
    r = decoded.readings
    stay = offsets[decoded.message] < from_offset[r.asset]
    if stay.all():
        return decoded
    left = set(decoded.message[stay].tolist())
    gone = sorted(set(decoded.message.tolist()) - left)
    dead = sorted([*decoded.dead, *((i, "isolated") for i in gone)])
    kept = ReadingBatch(r.asset[stay], r.sensor[stay], r.time_ns[stay], r.value[stay],
                        r.closes[stay])
    return Decoded(decoded.first, decoded.end, kept, decoded.message[stay], tuple(dead))
