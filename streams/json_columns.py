"""Columnar JSON straight from a batch's bytes: many readings of one asset in a message.

``{"asset": …, "ts": [t, …], "values": {"sensor": [v, …], …}}`` of sensors that are known already:
the three fields once each, the asset before its values, whole numbers as times, lists of one
length; or one row, without the lists. As in ``json_scan``, every other message is left to
``kafka_codec``, and where the kernel says something, it says the same. No policy and no counts
here.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from anomaly.batches import Bool, Float64, Int64
from anomaly.kernel import kernel
from streams.instants import UNITS
from streams.json_scan import (
    CLOSE,
    COLON,
    COMMA,
    OPEN,
    Names,
    byte_at,
    field_of,
    find_pair,
    is_umh,
    number_at,
    number_end,
    space_at,
    string_at,
)
from streams.wire import KEY, KEY_LENGTH, VALUE, VALUE_LENGTH, Block

UInt8 = npt.NDArray[np.uint8]

_BEGIN, _END = 91, 93  # of a list
_ASSET, _TIME, _VALUES = 0, 1, 2
#: Readings of one scan; a message with more is left to the codec.
READINGS_LIMIT = 1 << 16
#: Columns of a message: each is compared with those before it.
WIDTH_LIMIT = 256


class Rows:
    """Readings of consecutive columnar messages, arrays of n.

    Attributes
    ----------
    message : int64[n]
        Which of the messages, from 0.
    rows, unit : int64[messages]
        Times of each message, and what they were told in, counted in ``instants.UNITS``.
    shape : str
        What the messages are.
    """

    __slots__ = (
        "asset", "closes", "message", "rows", "sensor", "shape", "time_ns", "unit", "value")

    def __init__(self, messages: int, readings: int, shape: str) -> None:
        self.shape = shape
        self.asset, self.sensor = np.empty(readings, np.int64), np.empty(readings, np.int64)
        self.time_ns, self.value = np.empty(readings, np.int64), np.empty(readings)
        self.message, self.closes = np.empty(readings, np.int64), np.empty(readings, np.bool_)
        self.rows, self.unit = np.empty(messages, np.int64), np.empty(messages, np.int64)

    @property
    def messages(self) -> int:
        """How many messages these are."""
        return self.rows.size

    def columns(self, first: int) -> tuple[Int64, Int64, Int64, Float64, Bool, Int64]:
        """The readings; the first message is number ``first``."""
        return (self.asset, self.sensor, self.time_ns, self.value, self.closes,
                self.message + first)

    def cut(self, messages: int, readings: int) -> None:
        """Keep the first ones."""
        for name in ("asset", "sensor", "time_ns", "value", "message", "closes"):
            setattr(self, name, getattr(self, name)[:readings])
        self.rows, self.unit = self.rows[:messages], self.unit[:messages]

    def tell_units(self, units: Counter[str]) -> None:
        """Count what the times were told in."""
        for code, number in enumerate(np.bincount(self.unit, self.rows).tolist()):
            if number:
                units[UNITS[code][0]] += int(number)


def scan(
    block: Block, names: Names, fields: tuple[UInt8, Int64], size_limit: int, readings_limit: int
) -> Rows | None:
    """The block's first messages as far as they are columnar, or else rows, and known.

    None = not even one. ``fields``: what the sender calls asset, time and values, ``laid_out``.
    """
    room = min(READINGS_LIMIT, int(block.columns[:, VALUE_LENGTH].clip(0).sum()) // 2 + 1)
    found = Rows(len(block), room, "columnar wide rows")
    messages, readings, lists = scan_columns(
        np.frombuffer(block.text, np.uint8), block.columns, size_limit, min(room, readings_limit),
        *fields, names.slots, names.text, found.asset, found.sensor, found.time_ns,
        found.value, found.closes, found.message, found.rows, found.unit,
    )
    if not messages:
        return None
    found.cut(messages, readings)
    found.shape = "columnar wide rows" if lists else "wide rows"
    return found


@kernel
def scan_columns(
    text: UInt8, columns: Int64, size_limit: int, readings_limit: int, field_text: UInt8,
    field_end: Int64, slots: Int64, names: UInt8, asset: Int64, sensor: Int64, time_ns: Int64,
    value: Float64, closes: Bool, message: Int64, rows: Int64, unit: Int64,
) -> tuple[int, int, bool]:
    """Read the records ``columns int64[n, 8]`` until one is left to the codec or of another shape.

    Messages, readings, and whether they are lists. Of one message at most ``readings_limit``
    readings, of all as many as fit.
    """
    times, numbers = np.empty(value.size, np.int64), np.empty(value.size)
    slot = np.empty(WIDTH_LIMIT, np.int64)
    taken, lists = 0, False
    for i in range(len(columns)):
        at, size = columns[i, VALUE], columns[i, VALUE_LENGTH]
        if size < 2 or size > size_limit or is_umh(text, columns[i, KEY], columns[i, KEY_LENGTH]):
            return i, taken, lists
        room = min(value.size - taken, readings_limit)
        count, width, own = _message(
            text, at, at + size, field_text, field_end, slots, names, slot, times[:room],
            numbers[:room])
        code, factor = _unit(times[:count])
        if width == 0 or code < 0 or (i > 0 and own != lists):
            return i, taken, lists
        lists = own
        for r in range(count):
            for c in range(width):
                k = taken + r * width + c
                asset[k], sensor[k] = slots[slot[c], 0], slots[slot[c], 1]
                time_ns[k], value[k] = times[r] * factor, numbers[c * count + r]
                closes[k], message[k] = c == width - 1, i
        taken += count * width
        rows[i], unit[i] = count, code
    return len(columns), taken, lists


@kernel
def _message(
    text: UInt8, at: int, end: int, field_text: UInt8, field_end: Int64, slots: Int64,
    names: UInt8, slot: Int64, times: Int64, numbers: Float64,
) -> tuple[int, int, bool]:
    """Times, columns of a message, whether they are lists; 0 columns: the codec must say.

    ``slot`` becomes the columns' places among the names, ``numbers`` column after column.
    """
    at = space_at(text, at, end)
    if at >= end or byte_at(text, at) != OPEN:
        return 0, 0, False
    at += 1
    first, stop, count, width, rows, seen = -1, -1, 0, 0, 0, 0
    lists, columns = False, False
    for k in range(3):
        at = space_at(text, at, end)
        close = string_at(text, at, end)
        if close < 0:
            return 0, 0, False
        which = field_of(text, at + 1, close - 1, field_text, field_end)
        at = space_at(text, close, end)
        if which < 0 or seen >> which & 1 or at >= end or byte_at(text, at) != COLON:
            return 0, 0, False
        seen |= 1 << which
        at = space_at(text, at + 1, end)
        if which == _ASSET:
            close = string_at(text, at, end)
            first, stop, at = at + 1, close - 1, close
        elif which == _TIME:
            lists = at < end and byte_at(text, at) == _BEGIN
            if lists:
                at, count = _whole_list(text, at, end, times)
            else:
                at, count = _whole(text, at, end, times)
        elif first >= 0:
            at, width, rows, columns = _columns(
                text, at, end, slots, names, first, stop, slot, numbers)
        else:
            return 0, 0, False
        if at < 0:
            return 0, 0, False
        at = space_at(text, at, end)
        if at >= end or byte_at(text, at) != (CLOSE if k == 2 else COMMA):
            return 0, 0, False
        at += 1
    if count != rows or lists != columns or space_at(text, at, end) != end:
        return 0, 0, False
    return count, width, lists


@kernel
def _columns(
    text: UInt8, at: int, end: int, slots: Int64, names: UInt8, first: int, stop: int,
    slot: Int64, numbers: Float64,
) -> tuple[int, int, int, bool]:
    """``{"sensor": [v, …], …}`` of the asset at ``first:stop``: its end (−1 = no), width, rows.

    And whether they are lists: all of them are, or none.
    """
    if at >= end or byte_at(text, at) != OPEN:
        return -1, 0, 0, False
    width, rows, lists = 0, 0, False
    while width < slot.size:
        at = space_at(text, at + 1, end)
        close = string_at(text, at, end)
        if close < 0:
            return -1, 0, 0, False
        own = find_pair(slots, names, text, first, stop, at + 1, close - 1)
        for c in range(width):
            if slot[c] == own:
                return -1, 0, 0, False  # twice the same: the last one counts
        at = space_at(text, close, end)
        if own < 0 or at >= end or byte_at(text, at) != COLON:
            return -1, 0, 0, False
        at = space_at(text, at + 1, end)
        is_list = at < end and byte_at(text, at) == _BEGIN
        if width > 0 and is_list != lists:
            return -1, 0, 0, False
        lists = is_list
        if lists:
            at, count = _list(text, at, end, numbers[width * rows:])
        else:
            at, count = _cell(text, at, end, numbers[width * rows:])
        if at < 0 or (width > 0 and count != rows):
            return -1, 0, 0, False
        slot[width], rows, width = own, count, width + 1
        at = space_at(text, at, end)
        if at < end and byte_at(text, at) == CLOSE:
            return at + 1, width, rows, lists
        if at >= end or byte_at(text, at) != COMMA:
            return -1, 0, 0, False
    return -1, 0, 0, False


@kernel
def _list(text: UInt8, at: int, end: int, numbers: Float64) -> tuple[int, int]:
    """``[v, …]`` with ``null`` for NaN: where it ends (−1 = left to the codec) and how many."""
    if at >= end or byte_at(text, at) != _BEGIN:
        return -1, 0
    count = 0
    while count < numbers.size:
        stop, found = _cell(text, space_at(text, at + 1, end), end, numbers[count:])
        if stop < 0:
            return -1, 0
        count += found
        at = space_at(text, stop, end)
        if at < end and byte_at(text, at) == _END:
            return at + 1, count
        if at >= end or byte_at(text, at) != COMMA:
            return -1, 0
    return -1, 0


@kernel
def _cell(text: UInt8, at: int, end: int, numbers: Float64) -> tuple[int, int]:
    """One number, or ``null`` for NaN: where it ends (−1 = left to the codec), and 1."""
    stop = number_end(text, at, end)
    if numbers.size == 0:
        return -1, 0
    if stop > at:
        fine, _, numbers[0] = number_at(text, at, stop)
        return (-1, 0) if fine == 0 else (stop, 1)
    if _is_null(text, at, end):
        numbers[0] = np.nan
        return at + 4, 1
    return -1, 0


@kernel
def _whole(text: UInt8, at: int, end: int, times: Int64) -> tuple[int, int]:
    """One whole number: where it ends (−1 = left to the codec), and 1."""
    stop = number_end(text, at, end)
    if times.size == 0:
        return -1, 0
    whole, times[0], _ = number_at(text, at, stop)
    return (stop, 1) if whole == 2 else (-1, 0)


@kernel
def _whole_list(text: UInt8, at: int, end: int, times: Int64) -> tuple[int, int]:
    """``[t, …]`` of whole numbers: where it ends (−1 = left to the codec) and how many."""
    if at >= end or byte_at(text, at) != _BEGIN:
        return -1, 0
    count = 0
    while count < times.size:
        stop, found = _whole(text, space_at(text, at + 1, end), end, times[count:])
        if stop < 0:
            return -1, 0
        count += found
        at = space_at(text, stop, end)
        if at < end and byte_at(text, at) == _END:
            return at + 1, count
        if at >= end or byte_at(text, at) != COMMA:
            return -1, 0
    return -1, 0


@kernel
def _unit(times: Int64) -> tuple[int, int]:
    """The unit of all the times and its nanoseconds; −1 = several, or out of range."""
    code, factor = -1, 0
    for k in range(times.size):
        distance = abs(times[k])
        if distance < 100_000_000_000:
            own, factor = 0, 1_000_000_000
        elif distance < 100_000_000_000_000:
            own, factor = 1, 1_000_000
        elif distance < 100_000_000_000_000_000:
            own, factor = 2, 1_000
        else:
            own, factor = 3, 1
        if distance > 9_223_372_036_854_775_807 // factor or (k > 0 and own != code):
            return -1, 0
        code = own
    return code, factor


@kernel
def _is_null(text: UInt8, at: int, end: int) -> bool:
    return at + 4 <= end and byte_at(text, at) == 110 and byte_at(text, at + 1) == 117 and (
        byte_at(text, at + 2) == 108 and byte_at(text, at + 3) == 108)
