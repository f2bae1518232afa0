"""Arrow IPC straight from a batch's bytes: whole columns, without an Arrow object for a message.

A stream of a schema that was seen before (``arrow_layout``), its dictionaries, one record batch and
nothing else, uncompressed, of names that are known already. As in ``json_scan``, every other
message is left to ``kafka_codec``; where the kernel says something, it says the same. Where the
columns lie, ``arrow_stream`` tells. No policy and no counts here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from anomaly.batches import Bool, Float64, Int64
from anomaly.kernel import kernel
from streams.arrow_stream import (
    ASSET,
    DATA,
    ENTRIES_LIMIT,
    FLOAT32,
    FLOAT64,
    INT64,
    KIND,
    LENGTH,
    NAME,
    NAME_END,
    NUMBER,
    ROLE,
    SENSOR,
    STRING,
    TIME,
    UNIT,
    VALID,
    WIDTH_LIMIT,
    read_stream,
    u32,
)
from streams.json_columns import READINGS_LIMIT, Rows
from streams.json_scan import Names, find_pair, hashed, same
from streams.wire import KEY, KEY_LENGTH, VALUE, VALUE_LENGTH, Block

UInt8 = npt.NDArray[np.uint8]

#: Pairs of an asset and a sensor in one message.
PAIRS_LIMIT = 1 << 16


def scan(
    block: Block, names: Names, layouts: tuple[UInt8, Int64, Int64], size_limit: int,
    readings_limit: int,
) -> Rows | None:
    """The block's first messages as far as they are Arrow and known; None = not even one.

    ``layouts``: what ``arrow_layout.Layouts`` has learned.
    """
    sizes = block.columns[:, VALUE_LENGTH].clip(0)
    room = min(READINGS_LIMIT, int(sizes.sum()) // 4 + 1)
    found = Rows(len(block), room, "Arrow IPC")
    messages, readings = scan_arrow(
        np.frombuffer(block.text, np.uint8), block.columns, size_limit, min(room, readings_limit),
        *layouts, names.slots, names.text, int(sizes.max()), found.asset, found.sensor,
        found.time_ns, found.value, found.closes, found.message, found.rows, found.unit,
    )
    if not messages:
        return None
    found.cut(messages, readings)
    return found


@kernel
def scan_arrow(
    text: UInt8, columns: Int64, size_limit: int, readings_limit: int, schema_text: UInt8,
    plans: Int64, fields: Int64, slots: Int64, names: UInt8, largest: int, asset: Int64,
    sensor: Int64, time_ns: Int64, value: Float64, closes: Bool, message: Int64, rows: Int64,
    unit: Int64,
) -> tuple[int, int]:
    """Read the records ``columns int64[n, 8]`` until one is left to the codec; messages, readings.

    ``plans int64[p, 4]``: where a schema's bytes begin and end, and its ``fields int64[f, 6]``.
    ``largest``: bytes of the largest message.
    """
    body = np.empty(largest // 8 + 1, np.int64)  # aligned, as the messages are not
    entry = np.empty((2, ENTRIES_LIMIT, 2), np.int64)
    dictionary = np.empty((WIDTH_LIMIT, 3), np.int64)
    place = np.empty((WIDTH_LIMIT, 3), np.int64)
    pair, code = np.empty(PAIRS_LIMIT, np.int64), np.empty((2, value.size), np.int64)
    taken, plan = 0, 0
    for i in range(len(columns)):
        at, size = columns[i, VALUE], columns[i, VALUE_LENGTH]
        if size < 16 or size > size_limit:
            return i, taken
        plan = _plan_of(text, at, at + size, schema_text, plans, plan)
        if plan < 0:
            return i, taken
        own = fields[plans[plan, 2] : plans[plan, 3]]
        count, width = read_stream(
            text, at + plans[plan, 1] - plans[plan, 0], at + size, own,
            min(value.size - taken, readings_limit), body, dictionary, place)
        if count <= 0:
            return i, taken
        k = _times(body, own, place, count, time_ns[taken:])
        if k < 0 or not _tags(
            text, at, columns[i, KEY], columns[i, KEY_LENGTH], own, slots, names, body, dictionary,
            place, entry, pair, code, count, width, asset[taken:], sensor[taken:],
        ) or not _numbers(body, own, place, count, width, value[taken:], closes[taken:]):
            return i, taken
        _spread(time_ns[taken:], count, width)
        for r in range(taken, taken + count * width):
            message[r] = i
        taken += count * width
        rows[i], unit[i] = count, k
    return len(columns), taken


@kernel
def _plan_of(
    text: UInt8, at: int, end: int, schema_text: UInt8, plans: Int64, last: int
) -> int:
    """The plan whose schema the message begins with, tried from the ``last`` one on; −1 = none."""
    for k in range(len(plans)):
        p = (last + k) % len(plans)
        size = plans[p, 1] - plans[p, 0]
        if at + size <= end and same(text, at, at + size, schema_text, plans[p, 0], plans[p, 1]):
            return p
    return -1


@kernel
def _times(body: Int64, fields: Int64, place: Int64, count: int, time_ns: Int64) -> int:
    """Times in nanoseconds; the unit's number, −1 = several units, or out of range."""
    unit, at = -1, 0
    for c in range(len(fields)):
        if fields[c, ROLE] == TIME:
            unit, at = fields[c, UNIT], place[c, DATA]
    least, most = body[at], body[at]
    for r in range(count):
        least, most = min(least, body[at + r]), max(most, body[at + r])
    if unit < 0:
        if least < 0:
            return -1
        unit = _magnitude(least)
        if unit != _magnitude(most):
            return -1
    factor = 1_000_000_000 if unit == 0 else 1_000_000 if unit == 1 else 1_000 if unit == 2 else 1
    bound = 9_223_372_036_854_775_807 // factor
    if most > bound or least < -bound:
        return -1
    for r in range(count):
        time_ns[r] = body[at + r] * factor
    return unit


@kernel
def _magnitude(time: int) -> int:
    return 0 if time < 100_000_000_000 else 1 if time < 100_000_000_000_000 else (
        2 if time < 100_000_000_000_000_000 else 3)


@kernel
def _spread(time_ns: Int64, count: int, width: int) -> None:
    """One time for each reading of a row, from the last on, so that none is overwritten."""
    if width > 1:
        for r in range(count - 1, -1, -1):
            time = time_ns[r]
            for c in range(width):
                time_ns[r * width + c] = time


@kernel
def _tags(
    text: UInt8, start: int, key: int, key_length: int, fields: Int64, slots: Int64, names: UInt8,
    body: Int64, dictionary: Int64, place: Int64, entry: Int64, pair: Int64, code: Int64,
    count: int, width: int, asset: Int64, sensor: Int64,
) -> bool:
    """Asset and sensor of every reading; False = one of them is not known."""
    assets, sensors, has_asset, has_sensor = 1, 0, False, False
    for c in range(len(fields)):
        if fields[c, ROLE] == ASSET or fields[c, ROLE] == SENSOR:
            which = fields[c, ROLE]
            found = _coded(text, body, fields[c, KIND], dictionary[c], place[c], count,
                           entry[which], code[which], pair)
            if which == ASSET:
                assets, has_asset = found, True
            else:
                sensors, has_sensor = found, True
    if not has_asset:
        if key_length <= 0:
            return False
        entry[0, 0, 0], entry[0, 0, 1] = key, key + key_length
    if not has_sensor:
        for c in range(len(fields)):
            if fields[c, ROLE] == NUMBER:
                entry[1, sensors, 0] = start + fields[c, NAME]
                entry[1, sensors, 1] = start + fields[c, NAME_END]
                sensors += 1
    if assets < 0 or sensors < 0 or assets * sensors > pair.size:
        return False
    for k in range(assets * sensors):
        pair[k] = -1
    for r in range(count):
        a = code[0, r] if has_asset else 0
        for c in range(width):
            s = code[1, r] if has_sensor else c
            slot = pair[a * sensors + s]
            if slot < 0:
                slot = find_pair(slots, names, text, entry[0, a, 0], entry[0, a, 1],
                                 entry[1, s, 0], entry[1, s, 1])
                if slot < 0:
                    return False
                pair[a * sensors + s] = slot
            asset[r * width + c], sensor[r * width + c] = slots[slot, 0], slots[slot, 1]
    return bool(_all_read(text, entry, pair, assets, sensors))


@kernel
def _all_read(text: UInt8, entry: Int64, pair: Int64, assets: int, sensors: int) -> bool:
    """Whether names that no reading used are text at least: ASCII is; else the codec shall see."""
    for which in range(2):
        for k in range(sensors if which else assets):
            used = False
            for j in range(assets if which else sensors):
                used |= pair[j * sensors + k if which else k * sensors + j] >= 0
            if not used:
                for at in range(entry[which, k, 0], entry[which, k, 1]):
                    if text[at] >= 128:
                        return False
    return True


@kernel
def _coded(
    text: UInt8, body: Int64, kind: int, dictionary: Int64, place: Int64, count: int, entry: Int64,
    code: Int64, table: Int64,
) -> int:
    """Each row's number in ``entry``, which tells where in ``text`` the names lie; how many."""
    at = place[DATA]
    if kind == STRING:
        found: int = _encoded(text, body, dictionary[2], place, count, entry, code, table)
        return found
    for k in range(dictionary[0]):
        entry[k, 0] = dictionary[2] + u32(text, dictionary[1] + 4 * k)
        entry[k, 1] = dictionary[2] + u32(text, dictionary[1] + 4 * k + 4)
    if kind == 4:
        narrow = body.view(np.int32)
        for r in range(count):
            code[r] = narrow[at + r]
    elif kind == 1:
        bytes_ = body.view(np.int8)
        for r in range(count):
            code[r] = bytes_[at + r]
    elif kind == 2:
        short = body.view(np.int16)
        for r in range(count):
            code[r] = short[at + r]
    else:
        for r in range(count):
            code[r] = body[at + r]
    for r in range(count):
        if code[r] < 0 or code[r] >= dictionary[0]:
            return -1
    return int(dictionary[0])


@kernel
def _encoded(
    text: UInt8, body: Int64, strings: int, place: Int64, count: int, entry: Int64, code: Int64,
    table: Int64,
) -> int:
    """As ``_coded`` for plain strings; ``table`` is room for ``PAIRS_LIMIT`` numbers."""
    offsets, at, found = body.view(np.int32), place[DATA], 0
    mask = 4 * ENTRIES_LIMIT - 1
    for k in range(mask + 1):
        table[k] = -1
    for r in range(count):
        first, stop = np.int64(offsets[at + r]), np.int64(offsets[at + r + 1])
        if first < 0 or stop < first or stop > place[LENGTH]:
            return -1
        first, stop = strings + first, strings + stop
        if r > 0 and same(text, first, stop, text, entry[code[r - 1], 0], entry[code[r - 1], 1]):
            code[r] = code[r - 1]
            continue
        k = hashed(text, first, stop) & mask
        while table[k] >= 0 and not same(
            text, first, stop, text, entry[table[k], 0], entry[table[k], 1]
        ):
            k = (k + 1) & mask
        if table[k] < 0:
            if found == ENTRIES_LIMIT:
                return -1
            table[k] = found
            entry[found, 0], entry[found, 1] = first, stop
            found += 1
        code[r] = table[k]
    return found


@kernel
def _numbers(
    body: Int64, fields: Int64, place: Int64, count: int, width: int, value: Float64, closes: Bool
) -> bool:
    """Values row by row, NaN where there is none; of several in a row the last one ends it."""
    own, raw, c = False, body.view(np.uint8), 0
    doubles, floats, narrow = body.view(np.float64), body.view(np.float32), body.view(np.int32)
    for f in range(len(fields)):
        own |= fields[f, ROLE] == SENSOR
    for f in range(len(fields)):
        if fields[f, ROLE] != NUMBER:
            continue
        kind, at, valid = fields[f, KIND], place[f, DATA], place[f, VALID]
        last = not own and c == width - 1
        for r in range(count):
            k = r * width + c
            if kind == FLOAT64:
                value[k] = doubles[at + r]
            elif kind == FLOAT32:
                value[k] = floats[at + r]
            elif kind == INT64:
                value[k] = body[at + r]
            else:
                value[k] = narrow[at + r]
            closes[k] = last
        if valid >= 0:
            for r in range(count):
                if not raw[valid + r // 8] >> (r % 8) & 1:
                    value[r * width + c] = np.nan
        c += 1
    return c == width
