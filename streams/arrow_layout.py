"""What the kernel must know of an Arrow schema, learned from the first message that has it.

A schema's bytes are the same in every message of a sender, so they are understood once and then
only compared. A schema is taken up only after the kernel has read that first message exactly as
``kafka_arrow`` did; what it does not fit (nested types, more than one key, further columns) stays
with ``kafka_arrow`` for good.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.batches import Int64
from streams import arrow_columns
from streams.arrow_stream import (
    ASSET,
    FLOAT32,
    FLOAT64,
    INT32,
    INT64,
    NUMBER,
    SENSOR,
    STRING,
    TIME,
    WIDTH_LIMIT,
)
from streams.instants import UNITS
from streams.json_scan import Names
from streams.kafka_arrow import Names as Fields
from streams.kafka_arrow import field_at
from streams.kafka_columns import Piece
from streams.wire import KEY, KEY_LENGTH, VALUE, VALUE_LENGTH, Block

UInt8 = npt.NDArray[np.uint8]

#: Schemas that are remembered: each message's is compared with them one after the other.
LAYOUTS_LIMIT = 64
#: Messages of a schema that may fail to be read alike before it is given up.
TRIES = 3

_UNIT = {"s": 0, "ms": 1, "us": 2, "ns": 3}
assert [unit for unit, _, _ in UNITS] == ["s", "ms", "µs", "ns"]


class Layouts:
    """Schemas that the kernel reads by itself.

    Attributes
    ----------
    known : tuple of (uint8[b], int64[p, 4], int64[f, 6])
        The schemas' bytes, where each begins and ends and which columns it has, and the columns.
    """

    def __init__(self) -> None:
        none = np.zeros((0, 6), np.int64)
        self.known: tuple[UInt8, Int64, Int64] = (np.zeros(0, np.uint8), none[:, :4], none)
        self._tries: dict[bytes, int] = {}

    def learn(
        self, key: bytes | None, value: bytes, piece: Piece, names: Names, fields: Fields,
    ) -> None:
        """Take up the message's schema if the kernel reads the message as ``piece`` says."""
        (size,) = struct.unpack_from("<i", value, 4)
        schema = value[: 8 + size]
        tries = self._tries.get(schema, 0)
        if tries >= TRIES or (not tries and len(self._tries) >= LAYOUTS_LIMIT):
            return
        self._tries[schema] = tries + 1
        columns = _columns_of(schema, fields)
        if columns is None:
            self._tries[schema] = TRIES
            return
        text, plans, known = self.known
        plan = np.array([[text.size, text.size + len(schema), len(known),
                          len(known) + len(columns)]])
        found = (np.concatenate([text, np.frombuffer(schema, np.uint8)]),
                 np.concatenate([plans, plan]), np.concatenate([known, columns]))
        if _reads_alike(key, value, piece, names, found):
            self._tries[schema] = TRIES
            self.known = found


def _reads_alike(
    key: bytes | None, value: bytes, piece: Piece, names: Names,
    layouts: tuple[UInt8, Int64, Int64],
) -> bool:
    place = np.zeros((1, 8), np.int64)
    place[0, [KEY, KEY_LENGTH]] = 0, -1 if key is None else len(key)
    place[0, [VALUE, VALUE_LENGTH]] = len(key or b""), len(value)
    block = Block((key or b"") + value, place, (0, 0))
    rows = arrow_columns.scan(block, names, layouts, len(value), piece[3].size)
    return rows is not None and all(
        one.tobytes() == other.tobytes()
        for one, other in zip(rows.columns(0)[:5], piece[:5], strict=True))


def _columns_of(schema: bytes, names: Fields) -> Int64 | None:
    """Describe the columns (``arrow_stream.ROLE`` …); None = the kernel cannot read such ones."""
    import pyarrow as pa

    told = pa.ipc.read_schema(pa.py_buffer(schema))
    places = _field_tables(schema)
    if len(set(told.names)) != len(told.names) or len(places) > WIDTH_LIMIT or names.time not in (
        told.names
    ):
        return None
    is_long = names.sensor in told.names
    if is_long and (set(told.names) - {names.asset} != {names.sensor, names.time, names.value}):
        return None
    found = np.zeros((len(places), 6), np.int64)
    for c, (field, place) in enumerate(zip(told, places, strict=True)):
        role = ASSET if field.name == names.asset else TIME if field.name == names.time else (
            SENSOR if is_long and field.name == names.sensor else NUMBER)
        kind, unit = _kind_of(field.type, role)
        if kind < 0:
            return None
        number = _dictionary_of(schema, place)
        name = _followed(schema, field_at(schema, place, 0))
        (length,) = struct.unpack_from("<I", schema, name)
        found[c] = role, kind, unit, number, name + 4, name + 4 + length
    return found if (found[:, 0] == NUMBER).any() else None


def _kind_of(kind: Any, role: int) -> tuple[int, int]:
    """How such a column lies (−1 = not as the kernel knows it), and the unit of its times."""
    import pyarrow as pa

    if role in (ASSET, SENSOR):
        if kind == pa.string():
            return STRING, 0
        if pa.types.is_dictionary(kind) and kind.value_type == pa.string() and (
            pa.types.is_signed_integer(kind.index_type)
        ):
            return kind.index_type.bit_width // 8, 0
        return -1, 0
    if role == TIME:
        if pa.types.is_timestamp(kind):
            return INT64, _UNIT[kind.unit]
        return (INT64 if kind == pa.int64() else -1), -1
    return {pa.float64(): FLOAT64, pa.float32(): FLOAT32, pa.int64(): INT64,
            pa.int32(): INT32}.get(kind, -1), 0


def _field_tables(schema: bytes) -> list[int]:
    """Where the tables of the schema's fields lie (Schema.fbs: fields are its second field)."""
    message = _followed(schema, 8)
    header = _followed(schema, field_at(schema, message, 2))
    fields = _followed(schema, field_at(schema, header, 1))
    (count,) = struct.unpack_from("<I", schema, fields)
    return [_followed(schema, fields + 4 + 4 * k) for k in range(count)]


def _dictionary_of(schema: bytes, field: int) -> int:
    """Number of a field's dictionary (Schema.fbs: Field.dictionary, DictionaryEncoding.id)."""
    encoding = field_at(schema, field, 4)
    if not encoding:
        return -1
    number = field_at(schema, _followed(schema, encoding), 0)
    return int(struct.unpack_from("<q", schema, number)[0]) if number else 0


def _followed(schema: bytes, at: int) -> int:
    return at + int(struct.unpack_from("<I", schema, at)[0])
