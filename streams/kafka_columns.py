"""The columns that messages are collected into, and the batch they become.

Python lists, because messages are parsed one by one; only Arrow tables come as whole columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomaly.batches import Int64, ReadingBatch, reading_batch
from anomaly.registry import Registry
from streams import kafka_arrow


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
    """The batch being collected."""

    def __init__(self) -> None:
        self.asset: list[int] = []
        self.sensor: list[int] = []
        self.time_ns: list[int] = []
        self.value: list[float] = []
        self.closes: list[bool] = []
        self.message: list[int] = []

    def add(self, asset: int, sensor: int, time_ns: int, value: float, closes: bool) -> None:
        self.asset.append(asset)
        self.sensor.append(sensor)
        self.time_ns.append(time_ns)
        self.value.append(value)
        self.closes.append(closes)

    def add_table(self, table: kafka_arrow.Table, names: Sequence[str], tag: Any) -> None:
        """Readings of an Arrow message: codes of names become tags, the rest are whole columns."""
        pairs, inverse = np.unique(
            np.stack([table.asset_code, table.sensor_code]), axis=1, return_inverse=True)
        first = np.full(pairs.shape[1], inverse.size, np.int64)
        np.minimum.at(first, inverse.reshape(-1), np.arange(inverse.size))
        tags = np.zeros((pairs.shape[1], 2), np.int64)
        for k in np.argsort(first).tolist():  # registered in the order of appearance
            tags[k] = tag(names[int(pairs[0, k])], table.sensors[int(pairs[1, k])])
        chosen = tags[inverse.reshape(-1)]
        self.asset.extend(chosen[:, 0].tolist())
        self.sensor.extend(chosen[:, 1].tolist())
        self.time_ns.extend(table.time_ns.tolist())
        self.value.extend(table.value.tolist())
        self.closes.extend(table.closes.tolist())

    def cut(self, length: int) -> None:
        """Forget what a message had added before it turned out to be unusable."""
        for column in (self.asset, self.sensor, self.time_ns, self.value, self.closes):
            del column[length:]

    def taken(self, first: int, end: int, dead: Sequence[tuple[int, str]]) -> Decoded:
        """The batch so far, and start anew."""
        readings = reading_batch(self.asset, self.sensor, self.time_ns, self.value, self.closes)
        decoded = Decoded(first, end, readings, np.array(self.message, np.int64), tuple(dead))
        self.cut(0)
        self.message.clear()
        return decoded


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
