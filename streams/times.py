"""Times in every notation people export, to nanoseconds since 1970 UTC, in whole columns; and back.

Numbers are told apart by magnitude, text by pattern; a time that cannot be read becomes
:data:`NO_TIME` and is counted by the caller. One cell always gives the same time, whatever column
or block it stands in. Times without a zone are read as UTC. No files and no roles of columns here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anomaly.batches import Bool, Float64, Int64
from streams.cells import Marks, numbers, present

#: Stands for a time that could not be read; no real time, because 1677 is not in any recording.
NO_TIME = int(np.iinfo(np.int64).min)

SECOND_NS = 1_000_000_000

DAY_NS = 86_400 * SECOND_NS

#: A spreadsheet's day 0 is 30 December 1899. Its days of 1970 to 2099 look like seconds from a
#: start, but for the column's name and for decimals: minutes in days need more than three.
_SPREADSHEET_ZERO_NS = -25_569 * DAY_NS
_SPREADSHEET_DAYS = (25_569.0, 73_050.0)
_DATE_NAME = re.compile(r"date|time|^ts$|datum|zeit|fecha|hora|日期|时间", re.IGNORECASE)

#: Below this magnitude a number counts rows or seconds from a start; from it on it is an epoch
#: (1e8 s is March 1973). Each unit reaches to a thousand times the one before.
_EPOCH_FROM = 1e8
_EPOCH_UNITS = (("s", 1e11, SECOND_NS), ("ms", 1e14, 1_000_000), ("µs", 1e17, 1_000),
                ("ns", np.inf, 1))
_SUFFIX_NS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "millis": 1_000_000,
              "s": SECOND_NS, "sec": SECOND_NS, "seconds": SECOND_NS, "min": 60 * SECOND_NS,
              "minutes": 60 * SECOND_NS, "h": 3600 * SECOND_NS, "hours": 3600 * SECOND_NS}


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How a column of numbers tells the time.

    Attributes
    ----------
    unit_ns : int
        Nanoseconds that the number 1 stands for.
    epoch : bool
        Tells a date.
    unit : str
        The unit in words, for the reader; ``counter`` if the numbers count rows one by one.
    zero_ns : int
        The time of number 0, nanoseconds since 1970.
    grain_ns : int
        What a fraction is rounded to.
    """

    unit_ns: int
    epoch: bool
    unit: str
    zero_ns: int = 0
    grain_ns: int = 1


@dataclass(frozen=True, slots=True)
class TextFormat:
    """How a column of text tells the time; ``day_first`` decides only ``3/4/2024``."""

    day_first: bool = True


@dataclass(frozen=True, slots=True)
class TextTimes:
    """Times of a column of text.

    Attributes
    ----------
    time_ns : int64[n]
        :data:`NO_TIME` where nothing could be read.
    naive : bool
        At least one time carried no zone.
    zones : frozenset of str
        The zones that were written.
    """

    time_ns: Int64
    naive: bool
    zones: frozenset[str]


def number_format(sample: Float64, name: str, counter_seconds: float) -> NumberFormat:
    """Tell a column of numbers apart by the median magnitude of a sample.

    Parameters
    ----------
    sample : float64[n]
        At least one finite value.
    name : str
        Name of the column: ``time_ms`` and the like name the unit of numbers from a start.
    counter_seconds : float
        What one step of a counter stands for.
    """
    sample = sample[np.isfinite(sample)]
    magnitude = float(np.median(np.abs(sample)))
    if magnitude >= _EPOCH_FROM:
        for unit, limit, unit_ns in _EPOCH_UNITS:
            if magnitude < limit:
                return NumberFormat(unit_ns, True, unit, grain_ns=min(unit_ns, 1_000))
    suffix = re.search(r"[^A-Za-zµ]([A-Za-zµ]+)[\])]?$", name)
    if suffix and suffix.group(1).lower() in _SUFFIX_NS:
        unit = suffix.group(1).lower()
        return NumberFormat(_SUFFIX_NS[unit], False, unit)
    first, last = _SPREADSHEET_DAYS
    fine = np.abs(sample - np.round(sample, 3)) > 1e-6
    dates = bool(((sample >= first) & (sample < last)).all())
    if dates and fine.mean() > 0.5 and _DATE_NAME.search(name):
        return NumberFormat(DAY_NS, True, "days of a spreadsheet", _SPREADSHEET_ZERO_NS, 1_000_000)
    steps = np.abs(np.diff(sample))
    steps = steps[steps > 0]
    counts = bool((sample == np.floor(sample)).all()) and (not steps.size or np.median(steps) == 1)
    return NumberFormat(round(counter_seconds * 1e9), False, "counter" if counts else "seconds")


def from_integers(values: Int64, present_: Bool, form: NumberFormat) -> Int64:
    """Nanoseconds of whole numbers, exactly; :data:`NO_TIME` where absent or out of range."""
    limit = (np.iinfo(np.int64).max + min(form.zero_ns, 0)) // form.unit_ns
    usable = present_ & (values <= limit) & (values >= -limit)
    return np.where(usable, np.where(usable, values, 0) * form.unit_ns + form.zero_ns, NO_TIME)


def from_floats(values: Float64, form: NumberFormat) -> Int64:
    """Nanoseconds of numbers with fractions; :data:`NO_TIME` where not finite or out of range.

    The whole part is multiplied exactly. A fraction of an epoch is rounded to microseconds, which
    is what a double still holds of today's date in any unit but nanoseconds; that of a
    spreadsheet's days to milliseconds, of which six decimals hold the tenths of a second.
    """
    limit = float((np.iinfo(np.int64).max + min(form.zero_ns, 0)) // form.unit_ns) * 0.999
    usable = np.isfinite(values) & (np.abs(values) < limit)
    whole = np.floor(np.where(usable, values, 0.0))
    fraction = np.where(usable, values, 0.0) - whole
    part = np.rint(fraction * (form.unit_ns / form.grain_ns)).astype(np.int64) * form.grain_ns
    return np.where(usable, whole.astype(np.int64) * form.unit_ns + (part + form.zero_ns), NO_TIME)


def from_number_text(cells: pa.Array, form: NumberFormat, marks: Marks) -> Int64:
    """Nanoseconds of numbers written as text; whole numbers are read exactly."""
    cells = present(cells)
    whole = pc.match_substring_regex(cells, r"^[+-]?(?:[0-9]{1,18}|[1-8][0-9]{18})$")
    whole = pc.fill_null(whole, False)
    mask: Bool = whole.to_numpy(zero_copy_only=False)
    integers = pc.cast(
        pc.replace_substring(pc.if_else(whole, cells, pa.scalar("0")), "+", ""), pa.int64()
    ).to_numpy(zero_copy_only=False)
    time_ns = from_integers(integers, mask, form)
    if mask.all():
        return time_ns
    values, _ = numbers(pc.if_else(whole, pa.scalar(None, pa.string()), cells), marks)
    return np.where(mask, time_ns, from_floats(values, form))


def from_arrow(array: pa.Array) -> Int64:
    """Nanoseconds of an Arrow timestamp or date column; the zone of the type is honoured."""
    kind = array.type
    if pa.types.is_date(kind):
        array = array.cast(pa.timestamp("s" if pa.types.is_date32(kind) else "ms"))
        kind = array.type
    unit_ns = {"s": SECOND_NS, "ms": 1_000_000, "us": 1_000, "ns": 1}[kind.unit]
    valid: Bool = array.is_valid().to_numpy(zero_copy_only=False)
    ticks = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return from_integers(ticks, valid, NumberFormat(unit_ns, True, kind.unit))


def from_text(cells: pa.Array, form: TextFormat) -> TextTimes:
    """Nanoseconds of times written as text: ISO 8601 first, then what historians write."""
    try:  # the usual case in one call each: no zone anywhere, then a zone everywhere
        parsed = pc.cast(cells, pa.timestamp("ns"))
        return TextTimes(from_arrow(parsed), True, frozenset())
    except pa.ArrowInvalid:
        pass
    try:
        parsed = pc.cast(cells, pa.timestamp("ns", "UTC"))
        return TextTimes(from_arrow(parsed), False, _zones(cells))
    except pa.ArrowInvalid:
        return _by_pattern(present(cells), form)


def day_first(sample: Sequence[str]) -> bool | None:
    """Whether ``3/4/2024`` means 3 April in this sample; None where both readings are possible."""
    parts = [match.groups() for match in map(_SLASHED.match, map(str.strip, sample)) if match]
    if any(int(first) > 12 for first, _ in parts):
        return True
    return False if any(int(second) > 12 for _, second in parts) else None


def is_slashed(cell: str) -> bool:
    """Written as two numbers and a year: it takes an order of day and month to read it."""
    return _SLASHED.match(cell.strip()) is not None


def iso(time_ns: int) -> str:
    """One time as ISO 8601 in UTC with nine digits of fraction: every line of a file is as wide."""
    seconds, fraction = divmod(time_ns, SECOND_NS)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def iso_column(time_ns: Int64) -> pa.Array:
    """:func:`iso` of a whole column; null where there is :data:`NO_TIME`."""
    # Without a zone in the type, which costs Arrow thirty times as much to write.
    moments = pa.array(time_ns, mask=time_ns == NO_TIME).cast(pa.timestamp("ns"))
    text = pc.utf8_replace_slice(pc.cast(moments, pa.string()), start=10, stop=11, replacement="T")
    return pc.binary_join_element_wise(text, "Z", "")


def timestamp_column(time_ns: Int64) -> pa.Array:
    """The column as Arrow timestamps in UTC; null where there is :data:`NO_TIME`."""
    return pa.array(time_ns, mask=time_ns == NO_TIME).cast(pa.timestamp("ns", "UTC"))


_CLOCK = (
    r"(?:[T ,;]+(?P<H>\d{1,2})(?:[:.](?P<M>\d{2})(?:[:.](?P<S>\d{2})(?:[.,](?P<F>\d+))?)?)?"
    r"(?:\s*(?P<P>[AaPp])\.?[Mm]\.?)?(?:\s*(?P<Z>Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?)?$"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
#: Tried in this order on the cells that are still unread; group names are the fields.
_PATTERNS = (
    r"^(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})" + _CLOCK,
    r"^(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4}|\d{2})" + _CLOCK,
    r"^(?P<a>\d{1,2})[/-](?P<b>\d{1,2})[/-](?P<y>\d{4}|\d{2})" + _CLOCK,
    r"^(?P<d>\d{1,2})[- ](?P<w>[A-Za-z]{3})[a-z]*\.?[- ](?P<y>\d{4}|\d{2})" + _CLOCK,
    r"^(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})(?:[T ]?(?P<H>\d{2})(?P<M>\d{2})(?P<S>\d{2})?"
    r"(?:[.,](?P<F>\d+))?(?P<Z>Z|z|[+-]\d{2}(?::?\d{2})?)?)?$",
)
_SLASHED = re.compile(r"^(\d{1,2})[/-](\d{1,2})[/-](?:\d{4}|\d{2})(?:\D|$)")


def _by_pattern(cells: pa.Array, form: TextFormat) -> TextTimes:
    """Slow and thorough: field by field, for cells that no single cast understands."""
    time_ns = np.full(len(cells), NO_TIME, np.int64)
    naive, zones = False, set()
    todo: Bool = cells.is_valid().to_numpy(zero_copy_only=False)
    for pattern in _PATTERNS:
        index = np.flatnonzero(todo)
        if not index.size:
            break
        fields = pc.extract_regex(cells.take(pa.array(index)), pattern)
        matched: Bool = fields.is_valid().to_numpy(zero_copy_only=False)
        if not matched.any():
            continue
        fields = fields.filter(pa.array(matched))
        text = {fields.type.field(i).name: fields.field(i) for i in range(fields.type.num_fields)}
        found = _combine(text, form)
        read = index[matched]
        time_ns[read] = found
        todo[read] = False
        zone = text["Z"].filter(pa.array(found != NO_TIME))
        written = {z for z in zone.unique().to_pylist() if z}
        zones |= {"Z" if z in ("z", "UTC", "GMT") else z for z in written}
        naive |= "" in zone.unique().to_pylist()
    return TextTimes(time_ns, naive, frozenset(zones))


def _combine(text: dict[str, pa.Array], form: TextFormat) -> Int64:
    """Nanoseconds of matched fields; :data:`NO_TIME` where they are no date or no clock time."""
    if "a" in text:
        day_name, month_name = ("a", "b") if form.day_first else ("b", "a")
        text = text | {"d": text[day_name], "m": text[month_name]}
    if "w" in text:
        words = pc.utf8_lower(text["w"])
        month = pc.index_in(words, value_set=pa.array(_MONTHS)).fill_null(-1)
        month = month.to_numpy(zero_copy_only=False).astype(np.int64) + 1
    else:
        month = _integers(text["m"])
    year, day = _integers(text["y"]), _integers(text["d"])
    short = pc.equal(pc.utf8_length(text["y"]), 2).to_numpy(zero_copy_only=False)
    year = np.where(short, year + np.where(year < 70, 2000, 1900), year)  # as POSIX does
    hour, minute = _integers(text["H"]), _integers(text["M"])
    second = _integers(text["S"])
    nanosecond = _integers(pc.utf8_slice_codeunits(pc.utf8_rpad(text["F"], 9, "0"), 0, 9))
    usable = (month >= 1) & (month <= 12) & (year >= 1678) & (year <= 2261)
    if "P" in text:
        half = pc.utf8_lower(text["P"])
        after: Bool = pc.equal(half, "p").to_numpy(zero_copy_only=False)
        given: Bool = pc.not_equal(half, "").to_numpy(zero_copy_only=False)
        usable &= ~given | ((hour >= 1) & (hour <= 12))
        hour = np.where(given, hour % 12 + 12 * after, hour)
    months = (np.where(usable, year, 1970) - 1970) * 12 + np.where(usable, month, 1) - 1
    first = months.astype("M8[M]").astype("M8[D]").astype(np.int64)
    following = (months + 1).astype("M8[M]").astype("M8[D]").astype(np.int64)
    usable &= (day >= 1) & (day <= following - first)
    usable &= (hour < 24) & (minute < 60) & (second < 60)
    seconds = (first + day - 1) * 86_400 + hour * 3_600 + minute * 60 + second
    seconds -= _offset_seconds(text["Z"])
    return np.where(usable, seconds * SECOND_NS + nanosecond, NO_TIME)


def _integers(digits: pa.Array) -> Int64:
    """Whole numbers of digits; 0 for an empty field."""
    filled = pc.if_else(pc.equal(digits, ""), pa.scalar("0"), digits)
    values: Int64 = pc.cast(filled, pa.int64()).to_numpy(zero_copy_only=False)
    return values


def _offset_seconds(zone: pa.Array) -> Int64:
    """Seconds east of UTC; 0 for none, Z, UTC and GMT."""
    unique = zone.unique()
    offsets = np.array([_offset(text) for text in unique.to_pylist()], np.int64)
    index: Int64 = pc.index_in(zone, value_set=unique).to_numpy(zero_copy_only=False)
    return offsets[index]


def _offset(text: str) -> int:
    digits = text[1:].replace(":", "")
    if not digits.isdigit():
        return 0
    seconds = int(digits[:2]) * 3600 + int(digits[2:] or 0) * 60
    return -seconds if text[0] == "-" else seconds


def _zones(cells: pa.Array) -> frozenset[str]:
    """The zones at the ends of cells that all carry one."""
    if pc.all(pc.ends_with(cells, "Z")).as_py():
        return frozenset({"Z"})
    ends = pc.unique(pc.utf8_slice_codeunits(cells, -6)).to_pylist()
    found = (re.search(r"(?:[Zz]|[+-]\d{2}(?::?\d{2})?)$", end) for end in ends if end)
    return frozenset(match.group(0) for match in found if match)
