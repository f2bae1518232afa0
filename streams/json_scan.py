"""Single JSON readings straight from a batch's bytes, without an object for each.

Most messages of most plants are ``{"asset": …, "sensor": …, "ts": …, "value": …}`` of a sensor that
is known already. The kernel here reads exactly these: the four fields once each in any order, names
that stand in :class:`Names` byte for byte, a whole number as time, a number that it can round as
correctly as the JSON library does. Every other message (a new name, an escape, a null, a nested
value, one digit too many, anything malformed) it leaves to ``kafka_codec``, which decides what a
message means; where the kernel says something, it says the same. No policy and no counts here.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.batches import Bool, Float64, Int64
from anomaly.kernel import kernel
from streams.instants import UNITS
from streams.wire import KEY, KEY_LENGTH, VALUE, VALUE_LENGTH

UInt8 = npt.NDArray[np.uint8]

QUOTE, BACKSLASH, OPEN, CLOSE, COLON, COMMA = 34, 92, 123, 125, 58, 44
#: Largest whole number a double tells exactly, and powers of ten it does.
_EXACT = 1 << 53
#: A mantissa may get another digit up to here.
_MANTISSA = 900_000_000_000_000_000
_POWERS = 10.0 ** np.arange(23)
_SEED = 14695981039346
#: In a slot whose pair is not known any more: not empty, or what lies behind it would be lost.
_FORGOTTEN = -2
_UMH = np.frombuffer(b"umh.v1.", np.uint8)


class Names:
    """Pairs of asset and sensor that were seen, as bytes, with their indices: an open hash table.

    Parameters
    ----------
    fields : tuple of str
        What the sender calls asset, sensor, time and value.
    """

    def __init__(self, fields: tuple[str, str, str, str]) -> None:
        self.field_text, self.field_end = laid_out([name.encode() for name in fields])
        self.forgotten = 0
        """How often a name was forgotten: what was read before that does not hold any more."""
        self.added = 0
        """How many names were made known so far."""
        self._taken = 0  # slots that are not empty
        # Asset, column, begin, asset's end, end, and the slot that came next the last time.
        self.slots = np.full((64, 6), -1, np.int64)
        self.text = np.zeros(1024, np.uint8)
        self._used = 0

    def add(self, asset: str, sensor: str, index: int, column: int) -> None:
        """Make a pair known; it must not be known yet."""
        if 2 * (self._taken + 1) > len(self.slots):
            self._make_room()
        self._put(asset.encode(), sensor.encode(), index, column)
        self.added += 1

    def forget(self, asset: str, sensor: str) -> None:
        """The pair, which must be known, stands for nothing any more."""
        one, other = asset.encode(), sensor.encode()
        text = np.frombuffer(one + other, np.uint8)
        slot = find_pair(self.slots, self.text, text, 0, len(one), len(one), len(text))
        self.slots[slot, :2] = _FORGOTTEN
        self.forgotten += 1

    def _put(self, one: bytes, other: bytes, index: int, column: int) -> None:
        begin, end = self._used, self._used + len(one) + len(other)
        if end > self.text.size:
            grown = np.zeros(2 * end, np.uint8)
            grown[:begin] = self.text[:begin]
            self.text = grown
        self.text[begin:end] = np.frombuffer(one + other, np.uint8)
        self._used = end
        _put(self.slots, self.text, np.array([index, column, begin, begin + len(one), end]))
        self._taken += 1

    def _make_room(self) -> None:
        """A table twice as large as what is still known needs, its text packed anew."""
        known, text = self.slots[self.slots[:, 0] >= 0], self.text.tobytes()
        size = 64
        while size < 4 * (len(known) + 1):
            size *= 2
        self.slots = np.full((size, 6), -1, np.int64)
        self.text = np.zeros(max(1024, self.text.size), np.uint8)
        self._used = self._taken = 0
        for index, column, begin, middle, end, _ in known.tolist():
            self._put(text[begin:middle], text[middle:end], index, column)


@kernel
def byte_at(text: UInt8, at: int) -> int:
    """``text[at]`` of a place that is not negative, which spares asking whether it is."""
    found: int = text[np.uint64(at)]
    return found


@kernel
def scan_readings(
    text: UInt8, columns: Int64, size_limit: int, field_text: UInt8, field_end: Int64,
    slots: Int64, names: UInt8, asset: Int64, sensor: Int64, time_ns: Int64, value: Float64,
    unit: Int64,
) -> None:
    """Readings of the records ``columns int64[n, 8]``; ``unit`` −1 = left to the codec.

    A sender's messages are alike: what stands between the values is compared with the message
    before, and the sensor is sought first where it followed the last time.
    """
    place, shape, slot = np.empty((4, 2), np.int64), np.full((5, 3), -1, np.int64), -1
    for i in range(len(columns)):
        unit[i] = -1
        at, size = columns[i, VALUE], columns[i, VALUE_LENGTH]
        if size < 2 or size > size_limit or is_umh(text, columns[i, KEY], columns[i, KEY_LENGTH]):
            continue
        end = at + size
        if not _as_before(text, at, end, shape, place):
            if not _fields(text, at, end, field_text, field_end, place):
                continue
            _remember(at, end, place, shape)
        slot = _pair_behind(slots, names, text, place, slot)
        if slot < 0:
            continue
        whole, time, _ = number_at(text, place[2, 0], place[2, 1])
        fine, _, number = number_at(text, place[3, 0], place[3, 1])
        if whole != 2 or fine == 0:
            continue
        distance = abs(time)
        if distance < 100_000_000_000:
            code, factor = 0, 1_000_000_000
        elif distance < 100_000_000_000_000:
            code, factor = 1, 1_000_000
        elif distance < 100_000_000_000_000_000:
            code, factor = 2, 1_000
        else:
            code, factor = 3, 1
        if distance > 9_223_372_036_854_775_807 // factor:
            continue
        asset[i], sensor[i] = slots[slot, 0], slots[slot, 1]
        time_ns[i], value[i], unit[i] = time * factor, number, code


@kernel
def _as_before(text: UInt8, at: int, end: int, shape: Int64, place: Int64) -> bool:
    """Whether only names and numbers differ from the message that ``shape`` is of; their places."""
    if shape[0, 2] < 0:
        return False
    for k in range(5):
        for j in range(shape[k, 0], shape[k, 1]):
            if at >= end or byte_at(text, at) != byte_at(text, j):
                return False
            at += 1
        if k == 4:
            break
        which, start = shape[k, 2], at
        if which < 2:
            while at < end and byte_at(text, at) != QUOTE:
                if byte_at(text, at) == BACKSLASH or byte_at(text, at) < 32:
                    return False
                at += 1
        else:
            at = number_end(text, at, end)
        place[which, 0], place[which, 1] = start, at
    return at == end


@kernel
def _remember(at: int, end: int, place: Int64, shape: Int64) -> None:
    """What lies before each of the four values and behind the last, and whose values they are."""
    for k in range(4):
        first = -1
        for which in range(4):
            if place[which, 0] >= at and (first < 0 or place[which, 0] < place[first, 0]):
                first = which
        shape[k, 0], shape[k, 1], shape[k, 2] = at, place[first, 0], first
        at = place[first, 1]
    shape[4, 0], shape[4, 1] = at, end


@kernel
def _fields(
    text: UInt8, at: int, end: int, field_text: UInt8, field_end: Int64, place: Int64
) -> bool:
    """Where the four fields' contents begin and end; False = not exactly these four."""
    for k in range(4):
        place[k, 0] = -1
    at = space_at(text, at, end)
    if at >= end or byte_at(text, at) != OPEN:
        return False
    at += 1
    for k in range(4):
        at = space_at(text, at, end)
        stop = string_at(text, at, end)
        if stop < 0:
            return False
        which = field_of(text, at + 1, stop - 1, field_text, field_end)
        if which < 0 or place[which, 0] >= 0:
            return False
        at = space_at(text, stop, end)
        if at >= end or byte_at(text, at) != COLON:
            return False
        at = space_at(text, at + 1, end)
        if which < 2:
            stop = string_at(text, at, end)
            if stop < 0:
                return False
            place[which, 0], place[which, 1] = at + 1, stop - 1
        else:
            stop = number_end(text, at, end)
            place[which, 0], place[which, 1] = at, stop
        at = space_at(text, stop, end)
        if at >= end or byte_at(text, at) != (CLOSE if k == 3 else COMMA):
            return False
        at += 1
    return bool(space_at(text, at, end) == end)


@kernel
def space_at(text: UInt8, at: int, end: int) -> int:
    while at < end:
        byte = byte_at(text, at)
        if byte != 32 and byte != 10 and byte != 13 and byte != 9:
            break
        at += 1
    return at


@kernel
def string_at(text: UInt8, at: int, end: int) -> int:
    """Where a plain string ends, its quotes included; −1 = none, or one with escapes."""
    if at >= end or byte_at(text, at) != QUOTE:
        return -1
    at += 1
    while at < end:
        byte = byte_at(text, at)
        if byte == QUOTE:
            return at + 1
        if byte == BACKSLASH or byte < 32:
            return -1
        at += 1
    return -1


@kernel
def field_of(text: UInt8, at: int, end: int, field_text: UInt8, field_end: Int64) -> int:
    start = 0
    for k in range(field_end.size):
        if same(text, at, end, field_text, start, field_end[k]):
            return k
        start = field_end[k]
    return -1


@kernel
def same(one: UInt8, at: int, end: int, other: UInt8, start: int, stop: int) -> bool:
    if end - at != stop - start:
        return False
    k = 0
    while k < end - at and byte_at(one, at + k) == byte_at(other, start + k):
        k += 1
    return k == end - at


@kernel
def number_end(text: UInt8, at: int, end: int) -> int:
    """Behind the characters from ``at`` on that numbers are made of."""
    while at < end:
        byte = byte_at(text, at)
        if not (48 <= byte <= 57 or byte == 45 or byte == 43 or byte == 46 or byte in (101, 69)):
            break
        at += 1
    return at


@kernel
def is_umh(text: UInt8, at: int, length: int) -> bool:
    return length >= _UMH.size and same(text, at, at + _UMH.size, _UMH, 0, _UMH.size)


@kernel
def number_at(text: UInt8, at: int, end: int) -> tuple[int, Any, float]:
    """2 and the whole number, 1 and the nearest double, or 0: not JSON, or too long to be sure.

    A whole number comes with its double, too. Up to nineteen digits and powers of ten up to 22,
    which doubles hold exactly, so that one division or multiplication rounds once.
    """
    negative = at < end and byte_at(text, at) == 45
    if negative:
        at += 1
    start, digits, mantissa, scale = at, 0, np.int64(0), 0
    while at < end and 48 <= byte_at(text, at) <= 57:
        if mantissa > _MANTISSA:
            return 0, 0, 0.0
        mantissa = mantissa * 10 + (np.int64(byte_at(text, at)) - 48)
        digits += 1
        at += 1
    if digits == 0 or (digits > 1 and byte_at(text, start) == 48):
        return 0, 0, 0.0
    sign = -1 if negative else 1
    if negative and mantissa == 0:
        return 0, 0, 0.0  # −0 is a matter of taste
    if at == end:
        return 2, sign * mantissa, sign * float(mantissa)
    if byte_at(text, at) == 46:
        at += 1
        before = digits
        while at < end and 48 <= byte_at(text, at) <= 57:
            if mantissa > _MANTISSA:
                return 0, 0, 0.0
            mantissa = mantissa * 10 + (np.int64(byte_at(text, at)) - 48)
            digits += 1
            scale -= 1
            at += 1
        if digits == before:
            return 0, 0, 0.0
    if at < end and (byte_at(text, at) == 101 or byte_at(text, at) == 69):
        at += 1
        down = at < end and byte_at(text, at) == 45
        if at < end and (byte_at(text, at) == 45 or byte_at(text, at) == 43):
            at += 1
        exponent, seen = np.int64(0), 0
        while at < end and 48 <= byte_at(text, at) <= 57 and seen < 4:
            exponent = exponent * 10 + (np.int64(byte_at(text, at)) - 48)
            seen += 1
            at += 1
        if seen == 0:
            return 0, 0, 0.0
        scale += int(-exponent if down else exponent)
    if at != end or scale < -22 or scale > 22:
        return 0, 0, 0.0
    sure, found = _scaled(mantissa, scale)
    return (1, 0, sign * found) if sure else (0, 0, 0.0)


@kernel
def _scaled(mantissa: int, scale: int) -> tuple[bool, float]:
    """``mantissa`` · 10^``scale``, rounded once; False = too near the middle of two doubles."""
    high = float(mantissa)
    if mantissa <= _EXACT:
        return True, high / _POWERS[-scale] if scale < 0 else high * _POWERS[scale]
    low = float(mantissa - np.int64(high))  # exact: the digits that a double does not hold
    if scale > 0:
        return False, 0.0
    divisor = _POWERS[-scale]
    quotient = high / divisor
    rest = (_remainder(high, quotient, divisor) + low) / divisor
    found = quotient + rest
    missing = abs(rest - (found - quotient))
    step = np.float64(np.float64(found).view(np.int64) + 1)
    ulp = np.int64(step).view(np.float64) - found
    return abs(missing - 0.5 * ulp) > 1e-6 * ulp and abs(missing - 0.25 * ulp) > 1e-6 * ulp, found


@kernel
def _remainder(dividend: float, quotient: float, divisor: float) -> float:
    """dividend − quotient · divisor to the last bit (Dekker, Numer. Math. 18 (1971), §5)."""
    product = quotient * divisor
    a = quotient * 134217729.0
    a_high = a - (a - quotient)
    a_low = quotient - a_high
    b = divisor * 134217729.0
    b_high = b - (b - divisor)
    b_low = divisor - b_high
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return (dividend - product) - error


@kernel
def _hash(text: UInt8, at: int, end: int, seed: int) -> int:
    """FNV-1a, folded; 52 bits, so that it is the same in plain Python."""
    found = np.uint64(seed)
    for k in range(at, end):
        found = (found ^ np.uint64(byte_at(text, k))) * np.uint64(1099511628211)
    return int(np.int64((found ^ (found >> np.uint64(29))) & np.uint64((1 << 52) - 1)))


@kernel
def hashed(text: UInt8, at: int, end: int) -> int:
    """A number that the bytes have in common with their like."""
    return int(_hash(text, at, end, _SEED))


@kernel
def find_pair(
    slots: Int64, names: UInt8, text: UInt8, at: int, end: int, other: int, stop: int
) -> int:
    """Slot of the pair that stands in ``text``; −1 = not known."""
    mask = len(slots) - 1
    k: int = _hash(text, other, stop, _hash(text, at, end, _SEED)) & mask
    while slots[k, 0] != -1:
        if slots[k, 0] >= 0 and same(text, at, end, names, slots[k, 2], slots[k, 3]) and same(
            text, other, stop, names, slots[k, 3], slots[k, 4]
        ):
            return k
        k = (k + 1) & mask
    return -1


@kernel
def _pair_behind(slots: Int64, names: UInt8, text: UInt8, place: Int64, last: int) -> int:
    """As ``find_pair`` of the names at ``place``; first where one followed the ``last`` slot."""
    at, end, other, stop = place[0, 0], place[0, 1], place[1, 0], place[1, 1]
    if last >= 0:
        k = slots[last, 5]
        if k >= 0 and slots[k, 0] >= 0 and same(
            text, other, stop, names, slots[k, 3], slots[k, 4]
        ) and same(text, at, end, names, slots[k, 2], slots[k, 3]):
            return int(k)
    found: int = find_pair(slots, names, text, at, end, other, stop)
    if last >= 0 and found >= 0:
        slots[last, 5] = found
    return found


@kernel
def _put(slots: Int64, names: UInt8, row: Int64) -> None:
    mask = len(slots) - 1
    seed = _hash(names, row[2], row[3], _SEED)
    k = _hash(names, row[3], row[4], seed) & mask
    while slots[k, 0] != -1:
        k = (k + 1) & mask
    for c in range(5):
        slots[k, c] = row[c]


def laid_out(texts: list[bytes]) -> tuple[UInt8, Int64]:
    ends = np.cumsum([len(text) for text in texts])
    return np.frombuffer(b"".join(texts), np.uint8), ends.astype(np.int64)


class Run:
    """Readings of consecutive records, arrays of n; ``unit`` counts in ``instants.UNITS``."""

    shape = "single readings"
    __slots__ = ("asset", "sensor", "time_ns", "unit", "value")

    def __init__(
        self, asset: Int64, sensor: Int64, time_ns: Int64, value: Float64, unit: Int64
    ) -> None:
        self.asset, self.sensor, self.time_ns = asset, sensor, time_ns
        self.value, self.unit = value, unit

    def __len__(self) -> int:
        return self.value.size

    @property
    def messages(self) -> int:
        """How many messages these are."""
        return self.value.size

    def columns(self, first: int) -> tuple[Int64, Int64, Int64, Float64, Bool, Int64]:
        """The readings, of which none ends a row; the first message is number ``first``."""
        return (self.asset, self.sensor, self.time_ns, self.value,
                np.zeros(self.value.size, np.bool_), np.arange(first, first + self.value.size))

    def tell_units(self, units: Counter[str]) -> None:
        """Count what the times were told in."""
        for code, number in enumerate(np.bincount(self.unit).tolist()):
            if number:
                units[UNITS[code][0]] += number

    def part(self, first: int, end: int) -> Run:
        """The readings ``first:end``."""
        return Run(self.asset[first:end], self.sensor[first:end], self.time_ns[first:end],
                   self.value[first:end], self.unit[first:end])


def nesting(value: bytes) -> int:
    """Deepest nesting of brackets outside strings."""
    return int(_nesting(np.frombuffer(value, np.uint8)))


@kernel
def _nesting(text: UInt8) -> int:
    depth = deepest = 0
    quoted = escaped = False
    for byte in text:
        if quoted:
            if escaped:
                escaped = False
            elif byte == BACKSLASH:
                escaped = True
            elif byte == QUOTE:
                quoted = False
        elif byte == QUOTE:
            quoted = True
        elif byte == 91 or byte == OPEN:
            depth += 1
            deepest = max(deepest, depth)
        elif byte == 93 or byte == CLOSE:
            depth -= 1
    return deepest
