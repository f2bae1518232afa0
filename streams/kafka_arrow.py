"""An Arrow IPC stream in a message to columns; the only file of the live service for Arrow.

Long (asset, sensor, time, value) or wide (asset, time, one column per sensor). Compressed bodies
are refused: their size is only known once they are unpacked, and a message must not be able to
exhaust the process. pyarrow is imported when the first such message arrives.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from anomaly.batches import Bool, Float64, Int64
from streams.instants import UNITS, UnreadableTime, to_nanoseconds

_CONTINUATION = b"\xff\xff\xff\xff"
#: Unpacked bytes of one message; dictionaries repeat, so this is more than the message's size.
_BYTES_LIMIT = 64 << 20
_LAST_NS = (1 << 63) - 1


class Names(Protocol):
    """What the sender calls the columns."""

    @property
    def asset(self) -> str: ...
    @property
    def sensor(self) -> str: ...
    @property
    def time(self) -> str: ...
    @property
    def value(self) -> str: ...


class ArrowProblem(ValueError):
    """``reason`` is a key of ``refusals.REASONS``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Table:
    """n readings; names by code. ``assets`` None: the message's key is the asset."""

    assets: list[str] | None
    sensors: list[str]
    asset_code: Int64
    sensor_code: Int64
    time_ns: Int64
    value: Float64
    closes: Bool
    units: Counter[str]


def looks_like(value: bytes) -> bool:
    """Whether the bytes start as an Arrow IPC stream does."""
    return value.startswith(_CONTINUATION)


def read(value: bytes, readings_limit: int, names: Names) -> Table:
    """Columns of a message.

    Raises
    ------
    ArrowProblem
    """
    import pyarrow as pa

    try:
        _refuse_compression(value)
        with pa.ipc.open_stream(pa.py_buffer(value)) as reader:
            batches, rows, size = [], 0, 0
            told = reader.schema.names  # fails where one is no text
            for batch in reader:
                batch.validate(full=True)
                rows, size = rows + batch.num_rows, size + batch.nbytes
                if rows > readings_limit or size > _BYTES_LIMIT:
                    raise ArrowProblem("too_many_readings")
                batches.append(batch)
            if len(batches) != 1:  # one is usual; of several, one is made
                table = pa.Table.from_batches(batches, reader.schema).combine_chunks()
                batches = table.to_batches()
    except (
        pa.ArrowException, OSError, ValueError, struct.error, OverflowError, IndexError
    ) as error:
        if isinstance(error, ArrowProblem):
            raise
        raise ArrowProblem("malformed_arrow") from None
    if not rows:
        raise ArrowProblem("no_values")
    table = batches[0]
    columns = dict(zip(told, table.columns, strict=True))
    if len(columns) != table.num_columns:
        raise ArrowProblem("columns_differ")
    if names.time not in columns:
        raise ArrowProblem("no_time")
    time_ns, units = _times(columns.pop(names.time))
    assets, asset_code = _coded(columns.pop(names.asset, None), rows, "no_asset")
    if names.sensor in columns:
        if names.value not in columns:
            raise ArrowProblem("no_values")
        sensors, sensor_code = _coded(columns[names.sensor], rows, "no_sensor")
        assert sensors is not None
        return Table(assets, sensors, asset_code, sensor_code, time_ns,
                     _numbers(columns[names.value]), np.zeros(rows, np.bool_), units)
    width = len(columns)
    if not width:
        raise ArrowProblem("no_values")
    if rows * width > readings_limit:
        raise ArrowProblem("too_many_readings")
    matrix = np.stack([_numbers(column) for column in columns.values()], axis=1)
    return Table(
        assets, list(columns), np.repeat(asset_code, width), np.tile(np.arange(width), rows),
        np.repeat(time_ns, width), matrix.reshape(-1),
        np.tile(np.arange(width) == width - 1, rows), units,
    )


def _times(column: Any) -> tuple[Int64, Counter[str]]:
    import pyarrow as pa

    if column.null_count:
        raise ArrowProblem("no_time")
    kind = column.type
    if pa.types.is_timestamp(kind):
        try:
            whole = column.cast(pa.timestamp("ns", kind.tz)).cast(pa.int64())
        except pa.ArrowException:
            raise ArrowProblem("unreadable_time") from None
        unit = "µs" if kind.unit == "us" else kind.unit
        return whole.to_numpy().astype(np.int64), Counter({unit: len(whole)})
    if pa.types.is_integer(kind) and kind != pa.uint64():
        values = (column if kind == pa.int64() else column.cast(pa.int64())).to_numpy()
        if values.size and values.min() >= 0:  # of one unit, as most columns are
            least, most, below = int(values.min()), int(values.max()), 0.0
            for unit, limit, unit_ns in UNITS:
                if below <= least and most < limit and most <= _LAST_NS // unit_ns:
                    return values * np.int64(unit_ns), Counter({unit: values.size})
                below = limit
        size = np.abs(values.astype(np.float64))
        factor = np.ones(values.size, np.int64)
        units: Counter[str] = Counter()
        below = 0.0
        for unit, limit, unit_ns in UNITS:
            chosen = (size >= below) & (size < limit)
            factor[chosen] = unit_ns
            units[unit] += int(chosen.sum())
            below = limit
        if (np.abs(values) > _LAST_NS // factor).any():
            raise ArrowProblem("unreadable_time")
        return values * factor, +units
    found = np.empty(len(column), np.int64)
    units = Counter()
    try:
        for i, item in enumerate(column.to_pylist()):
            found[i], unit = to_nanoseconds(item)
            units[unit] += 1
    except UnreadableTime:
        raise ArrowProblem("unreadable_time") from None
    return found, units


def _coded(column: Any, rows: int, reason: str) -> tuple[list[str] | None, Int64]:
    """Distinct names and each row's code; no column = all rows are the first name."""
    import pyarrow as pa

    if column is None:
        return None, np.zeros(rows, np.int64)
    if column.null_count:
        raise ArrowProblem(reason)
    if pa.types.is_dictionary(column.type):
        names = column.dictionary
        if column.type.value_type == pa.string() and not names.null_count:
            code = column.indices.to_numpy().astype(np.int64)
            seen = np.bincount(code, minlength=len(names))
            if seen.all():
                return names.to_pylist(), code
            used = np.flatnonzero(seen)
            place = np.zeros(len(names), np.int64)
            place[used] = np.arange(used.size)
            return names.take(pa.array(used)).to_pylist(), place[code]
        column = column.cast(column.type.value_type)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise ArrowProblem(reason)
    encoded = column.dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)


def _numbers(column: Any) -> Float64:
    import pyarrow as pa

    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise ArrowProblem("not_a_number")
    if column.type != pa.float64():
        column = column.cast(pa.float64(), safe=False)
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)


def _refuse_compression(value: bytes) -> None:
    """Walk the stream's messages; a record batch with a ``compression`` field is refused.

    Layout: Arrow columnar format, "Encapsulated message format" and Message.fbs: Message.header is
    the table's third field (type before it), RecordBatch.compression its fourth.
    """
    at = 0
    while at + 8 <= len(value):
        if value[at:at + 4] != _CONTINUATION:
            raise ArrowProblem("malformed_arrow")
        (size,) = struct.unpack_from("<i", value, at + 4)
        if size == 0:
            return
        start = at + 8
        if size < 0 or start + size > len(value):
            raise ArrowProblem("malformed_arrow")
        head = value[start:start + size]
        (root,) = struct.unpack_from("<I", head)
        kind = field_at(head, root, 1)
        header = field_at(head, root, 2)
        body = field_at(head, root, 3)
        length = struct.unpack_from("<q", head, body)[0] if body else 0
        if kind and header and head[kind] in (2, 3):  # DictionaryBatch, RecordBatch
            batch = header + struct.unpack_from("<I", head, header)[0]
            if head[kind] == 2:
                data = field_at(head, batch, 1)
                batch = data + struct.unpack_from("<I", head, data)[0] if data else batch
            if field_at(head, batch, 3):
                raise ArrowProblem("malformed_arrow")
        if length < 0:
            raise ArrowProblem("malformed_arrow")
        at = start + size + length


def field_at(head: bytes, table: int, number: int) -> int:
    """Place of a flatbuffer table's field; 0 where it is absent."""
    (back,) = struct.unpack_from("<i", head, table)
    vtable = table - back
    (size,) = struct.unpack_from("<H", head, vtable)
    slot = 4 + 2 * number
    if slot + 2 > size:
        return 0
    (offset,) = struct.unpack_from("<H", head, vtable + slot)
    return table + offset if offset else 0
