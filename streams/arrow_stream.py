"""Where in an Arrow IPC stream its columns lie: a kernel that walks the flatbuffers.

Of streams with dictionaries of strings, one record batch and nothing else, uncompressed, in the
present format's version. Every place that the bytes name is checked before it is read; what is not
understood is left to ``kafka_arrow``. What the columns say is for ``arrow_columns``.

Layout: Arrow columnar format, "Encapsulated message format", with Message.fbs and Schema.fbs of its
repository; the numbers of flatbuffer fields are those of their order there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.batches import Int64
from anomaly.kernel import kernel

UInt8 = npt.NDArray[np.uint8]

#: What a column is for, and how it lies: a dictionary's indices of 1, 2, 4 or 8 bytes, or these.
ASSET, SENSOR, TIME, NUMBER = range(4)
STRING, FLOAT64, FLOAT32, INT64, INT32 = 16, 32, 33, 34, 35
#: What describes a column: what for, how it lies, unit of a time (−1 = by magnitude), number of its
#: dictionary, and where in the schema's bytes its name lies.
ROLE, KIND, UNIT, DICTIONARY, NAME, NAME_END = range(6)
#: Where a column lies: element of the body, byte of its validity (−1 = all valid), its length.
DATA, VALID, LENGTH = range(3)
#: Columns of a message.
WIDTH_LIMIT = 256
#: Names in a dictionary.
ENTRIES_LIMIT = 4096

_DICTIONARY, _BATCH, _VERSION_5 = 2, 3, 4


@kernel
def read_stream(
    text: UInt8, at: int, end: int, fields: Int64, room: int, body: Int64, dictionary: Int64,
    place: Int64,
) -> tuple[int, int]:
    """Dictionaries noted, the one record batch copied and its columns placed, from ``at`` on, which
    is behind the schema: rows, and readings of a row. −1 = left to the codec.
    """
    width = 0
    for c in range(len(fields)):
        dictionary[c, 0] = -1
        width += fields[c, ROLE] == NUMBER
    count = -1
    while at < end:
        kind, table, begin, length = _frame(text, at, end)
        if kind == 0:
            if at + 8 != end:
                return -1, 0
            break
        if kind == _DICTIONARY and count < 0:
            if not _dictionary(text, at + 8, table, begin, length, fields, dictionary):
                return -1, 0
        elif kind == _BATCH and count < 0 and length <= body.size * 8:
            count = _place_columns(text, at + 8, table, begin, length, fields, dictionary, place)
            if count <= 0 or count * width > room:
                return -1, 0
            raw = body.view(np.uint8)
            for k in range(length):
                raw[k] = text[begin + k]
        else:
            return -1, 0
        at = begin + length
    return count, width


@kernel
def _frame(text: UInt8, at: int, end: int) -> tuple[int, int, int, int]:
    """Kind, header's table, body's begin and length of an encapsulated message.

    Kind 0 = the end of the stream, −1 = not understood.
    """
    if at + 8 > end or u32(text, at) != 0xFFFFFFFF:
        return -1, 0, 0, 0
    size = u32(text, at + 4)
    if size == 0:
        return 0, 0, 0, 0
    start, begin = at + 8, at + 8 + size
    if size < 8 or begin > end:
        return -1, 0, 0, 0
    table = _follow(text, start, start, begin)
    version = _field(text, start, table, 0, 2, begin)
    kind = _field(text, start, table, 1, 1, begin)
    header = _field(text, start, table, 2, 4, begin)
    body = _field(text, start, table, 3, 8, begin)
    if version <= 0 or kind <= 0 or header <= 0 or body < 0 or (
        _u16(text, version) != _VERSION_5
    ) or _field(text, start, table, 4, 4, begin) != 0:
        return -1, 0, 0, 0
    length = _i64(text, body) if body else 0
    if length < 0 or length > end - begin:
        return -1, 0, 0, 0
    return int(text[kind]), _follow(text, start, header, begin), begin, length


@kernel
def _dictionary(
    text: UInt8, start: int, table: int, begin: int, length: int, fields: Int64,
    dictionary: Int64,
) -> bool:
    """Note where a dictionary of strings lies, for each column that uses it."""
    number = _field(text, start, table, 0, 8, begin)
    data = _field(text, start, table, 1, 4, begin)
    delta = _field(text, start, table, 2, 1, begin)
    if number < 0 or data <= 0 or delta < 0 or (delta > 0 and text[delta] != 0):
        return False
    key = _i64(text, number) if number else 0
    count, nodes, buffers = _batch(
        text, start, _follow(text, start, data, begin), begin, length, 1, 3)
    if count < 0 or count > ENTRIES_LIMIT or _i64(text, nodes) != count or (
        _i64(text, nodes + 8) != 0
    ):
        return False
    offsets, strings = begin + _i64(text, buffers + 16), begin + _i64(text, buffers + 32)
    size = _i64(text, buffers + 40)
    if count > 0 and _i64(text, buffers + 24) < 4 * (count + 1):
        return False
    last = 0
    for k in range(count + 1 if count > 0 else 0):
        stop = u32(text, offsets + 4 * k)
        if stop < last or stop > size:
            return False
        last = stop
    for c in range(len(fields)):
        if fields[c, KIND] <= 8 and fields[c, DICTIONARY] == key:
            if dictionary[c, 0] >= 0:
                return False
            dictionary[c, 0], dictionary[c, 1], dictionary[c, 2] = count, offsets, strings
    return True


@kernel
def _place_columns(
    text: UInt8, start: int, table: int, begin: int, length: int, fields: Int64,
    dictionary: Int64, place: Int64,
) -> int:
    """Where each column of a record batch lies in its body; its rows, −1 = not understood."""
    wanted = 0
    for c in range(len(fields)):
        wanted += 3 if fields[c, KIND] == STRING else 2
    count, nodes, buffers = _batch(text, start, table, begin, length, len(fields), wanted)
    if count <= 0 or count > 1 << 40:
        return -1
    for c in range(len(fields)):
        kind = fields[c, KIND]
        if _i64(text, nodes + 16 * c) != count:
            return -1
        missing = _i64(text, nodes + 16 * c + 8)
        valid, data = _i64(text, buffers), _i64(text, buffers + 16)
        place[c, VALID] = -1
        if missing != 0:
            if fields[c, ROLE] != NUMBER or _i64(text, buffers + 8) < (count + 7) // 8:
                return -1
            place[c, VALID] = valid
            for r in range(count):
                missing -= 1 - (text[begin + valid + r // 8] >> (r % 8) & 1)
            if missing != 0:
                return -1
        size = kind if kind <= 8 else 4 if kind in (FLOAT32, INT32, STRING) else 8
        if _i64(text, buffers + 24) < size * (count + (kind == STRING)):
            return -1
        place[c, DATA] = data // size
        buffers += 32
        if kind == STRING:
            dictionary[c, 2], place[c, LENGTH] = begin + _i64(text, buffers), _i64(
                text, buffers + 8)
            buffers += 16
        elif kind <= 8 and dictionary[c, 0] < 0:
            return -1
    return int(count)


@kernel
def _batch(
    text: UInt8, start: int, table: int, end: int, length: int, columns: int, wanted: int
) -> tuple[int, int, int]:
    """Rows, nodes and buffers of a RecordBatch that has so many, whole and uncompressed, or −1."""
    rows = _field(text, start, table, 0, 8, end)
    first = _field(text, start, table, 1, 4, end)
    second = _field(text, start, table, 2, 4, end)
    if rows < 0 or first <= 0 or second <= 0 or _field(text, start, table, 3, 4, end) != 0 or (
        _field(text, start, table, 4, 4, end) != 0
    ):
        return -1, 0, 0
    nodes, buffers = _follow(text, start, first, end), _follow(text, start, second, end)
    if nodes < 0 or buffers < 0 or (nodes - start) % 8 != 4 or (buffers - start) % 8 != 4:
        return -1, 0, 0
    if u32(text, nodes) != columns or nodes + 4 + 16 * columns > end or (
        u32(text, buffers) != wanted or buffers + 4 + 16 * wanted > end
    ):
        return -1, 0, 0
    total = 0
    for k in range(wanted):
        offset = _i64(text, buffers + 4 + 16 * k)
        size = _i64(text, buffers + 12 + 16 * k)
        if offset < 0 or offset % 8 != 0 or size < 0 or size > length or offset > length - size:
            return -1, 0, 0
        total += size
    if total > length:
        return -1, 0, 0
    return _i64(text, rows) if rows else 0, nodes + 4, buffers + 4


@kernel
def _field(text: UInt8, start: int, table: int, number: int, size: int, end: int) -> int:
    """Place of a flatbuffer table's field of ``size`` bytes; 0 = absent, −1 = damaged.

    The flatbuffer reaches from ``start`` to ``end``; what is checked is what Arrow's own reader
    checks: places, alignment, and that a table lies where it says.
    """
    if table < start or (table - start) % 4 or table + 4 > end:
        return -1
    back = u32(text, table)
    vtable = table - (back if back < 0x80000000 else back - 0x100000000)
    if vtable < start or (vtable - start) % 2 or vtable + 4 > end:
        return -1
    slots = _u16(text, vtable)
    if slots % 2 or vtable + slots > end:
        return -1
    slot = 4 + 2 * number
    if slot + 2 > slots:
        return 0
    offset = _u16(text, vtable + slot)
    if offset == 0:
        return 0
    at = table + offset
    return at if at + size <= end and (at - start) % size == 0 else -1


@kernel
def _follow(text: UInt8, start: int, at: int, end: int) -> int:
    """Where an offset that is written at ``at`` leads to; −1 = out of the flatbuffer."""
    to = at + u32(text, at)
    return to if to > at and (to - start) % 4 == 0 and to + 4 <= end else -1


@kernel
def _u16(text: UInt8, at: int) -> Any:
    return np.int64(text[at]) | np.int64(text[at + 1]) << 8


@kernel
def u32(text: UInt8, at: int) -> Any:
    return _u16(text, at) | _u16(text, at + 2) << 16


@kernel
def _i64(text: UInt8, at: int) -> Any:
    return u32(text, at) | u32(text, at + 4) << 32
