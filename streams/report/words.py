"""Times, durations, numbers and names as a person reads them. Pure functions of their arguments.

A page and a terminal must never disagree on how a thing is said, so both say it through here.
Nothing here knows HTML except :func:`escape`, the one door through which foreign text may reach it.
"""

from __future__ import annotations

import html
import math
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from anomaly.evaluate import WEEK_SECONDS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NO_BREAK = "\u00a0"
#: (unit, seconds) from large to small; a duration is told in two neighbouring ones.
_UNITS = (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0), ("s", 1.0))
#: A recording without a clock promises its budget per this many rows.
ROWS_PER_PERIOD = 10_000


@dataclass(frozen=True, slots=True)
class Clock:
    """How instants and durations of this recording are told.

    Parameters
    ----------
    row_ns : int
        0 for event time (told as UTC). Otherwise the recording has a row counter in place of a
        clock, and this many nanoseconds stand for one row; rows are told, never invented dates.
    from_start : bool
        Time is counted from the recording's start: ``+1 d 04:10:00`` is told, not a date in 1970.
    """

    row_ns: int = 0
    from_start: bool = False

    @property
    def has_dates(self) -> bool:
        """Whether instants are dates rather than rows or times since a start."""
        return not self.row_ns and not self.from_start

    @property
    def note(self) -> str:
        """What the reader must know of the times on the page."""
        if self.row_ns:
            return "The recording has no clock: instants and durations are rows."
        if self.from_start:
            return ("The recording's clock counts from its start: +1 d 04:10:00 is that long after "
                    "it.")
        return "All times are UTC."

    def instant(self, time_ns: int, seconds: bool = False) -> str:
        """``3 Mar 2024 14:20`` (UTC, said once per page), ``row 12,340`` or ``+1 d 04:10:00``."""
        if self.row_ns:
            return f"row{_NO_BREAK}{round(time_ns / self.row_ns):,}"
        if self.from_start:
            days, rest = divmod(abs(time_ns) // 10**9, 86_400)
            text = f"{days:,}{_NO_BREAK}d{_NO_BREAK}" if days else ""
            text += f"{rest // 3_600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
            return ("+" if time_ns >= 0 else "−") + text
        moment = _EPOCH + timedelta(microseconds=time_ns // 1_000)
        text = f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year} {moment:%H:%M}"
        text += f":{moment:%S}" if seconds else ""
        return text.replace(" ", _NO_BREAK)

    def machine_readable(self, time_ns: int) -> str:
        """ISO 8601 for ``<time datetime>``; empty where there are no dates."""
        if not self.has_dates:
            return ""
        return (_EPOCH + timedelta(microseconds=time_ns // 1_000)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def duration(self, seconds: float) -> str:
        """``6 h 10 min`` or ``1,200 rows``; ``—`` for NaN."""
        if math.isnan(seconds):
            return "—"
        if self.row_ns:
            return plural(round(seconds * 1e9 / self.row_ns), "row")
        return duration(seconds)

    def rate(self, per_week: float) -> str:
        """A rate per machine-week as a number with its unit: ``1.3 a week``."""
        if math.isnan(per_week):
            return "—"
        return f"{self.rate_number(per_week)} {self.period}"

    def rate_number(self, per_week: float) -> str:
        """The number of :meth:`rate` alone, for ranges whose unit follows."""
        rate = per_week * self.period_weeks
        return number(round(rate, 2) if rate >= 0.01 else rate, 2)

    @property
    def period(self) -> str:
        """What rates are told per."""
        return f"per {ROWS_PER_PERIOD:,} rows" if self.row_ns else "a week"

    def exposure(self, seconds: float) -> str:
        """Machine time: ``3.1 machine-weeks``, ``5 h 20 min of machine time``, ``12,000 rows``."""
        if self.row_ns:
            return self.duration(seconds)
        if seconds >= WEEK_SECONDS:
            return f"{number(seconds / WEEK_SECONDS, 2)} machine-weeks"
        return f"{duration(seconds)} of machine time"

    @property
    def period_weeks(self) -> float:
        """How many weeks one told period is: rates are kept per week."""
        return ROWS_PER_PERIOD * self.row_ns / 1e9 / WEEK_SECONDS if self.row_ns else 1.0


def duration(seconds: float) -> str:
    """Two neighbouring units, the smaller rounded: ``41 d 6 h``, ``6 h 10 min``, ``58 s``."""
    if seconds < 0:
        return "−" + duration(-seconds)
    if seconds < 10.0:
        for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
            if seconds * scale >= 1.0 or seconds == 0.0:
                return f"{number(seconds * scale, 2)}{_NO_BREAK}{unit}"
        return f"{number(seconds * 1e9, 2)}{_NO_BREAK}ns"
    place = next((p for p, (_, size) in enumerate(_UNITS) if seconds >= size), len(_UNITS) - 1)
    unit, size = _UNITS[place]
    if unit == "s":
        return f"{round(seconds)}{_NO_BREAK}s" if round(seconds) < 60 else duration(60.0)
    lower_unit, lower_size = _UNITS[place + 1]
    lower = round(seconds / lower_size)
    if place and lower * lower_size >= _UNITS[place - 1][1]:  # 59 min 59.7 s is an hour
        return duration(lower * lower_size)
    whole, rest = divmod(lower, round(size / lower_size))
    text = f"{whole:,}{_NO_BREAK}{unit}"
    return text + (f" {rest}{_NO_BREAK}{lower_unit}" if rest and whole < 100 else "")


def rarity(seconds: float, clock: Clock) -> str:
    """A return period: ``once in 4 months``; what no history can support is not claimed."""
    if math.isnan(seconds):
        return "not rated"
    if clock.row_ns:
        rows = seconds * 1e9 / clock.row_ns
        return "rarer than once in a billion rows" if rows > 1e9 else f"once in {_about(rows)} rows"
    years = seconds / 31_557_600.0
    if years > 1_000:
        return "rarer than once in 1,000 years"
    for unit, size in (("year", 31_557_600.0), ("month", 2_629_800.0), ("week", WEEK_SECONDS),
                       ("day", 86_400.0), ("hour", 3_600.0), ("minute", 60.0), ("second", 1.0)):
        if seconds >= 1.5 * size or unit == "second":
            return f"once in {_about(seconds / size)}{_NO_BREAK}{unit}s"
    raise AssertionError


def number(value: float, digits: int = 4) -> str:
    """``digits`` significant digits, thousands separated, powers of ten only at the extremes."""
    if math.isnan(value):
        return "—"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0.0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if not -5 < exponent < 9:
        mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
        return f"{mantissa}×10^{int(power)}".replace("-", "−")
    decimals = max(0, digits - 1 - exponent)
    text = f"{value:,.{decimals}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", "−")


def percent(share: float) -> str:
    """``37 %``; below one in a hundred ``< 1 %``."""
    if math.isnan(share):
        return "—"
    whole = "<" + _NO_BREAK + "1" if 0 < share < 0.01 else f"{100 * share:.0f}"
    return f"{whole}{_NO_BREAK}%"


def plural(count: int, noun: str, plural_noun: str = "") -> str:
    """``1 alert``, ``2 alerts``, ``no alerts`` is for the caller to say."""
    word = noun if count == 1 else plural_noun or f"{noun}s"
    return f"{count:,}{_NO_BREAK}{word}"


def listed(items: list[str], limit: int = 3, conjunction: str = "and") -> str:
    """``a, b and c``; what passes the limit is counted: ``a, b, c and 4 more``."""
    if len(items) > limit:
        items = [*items[:limit], f"{len(items) - limit:,} more"]
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {conjunction} {items[-1]}"


def short(name: str, limit: int = 64) -> str:
    """A name cut in its middle where it is too long for a line; its ends tell names apart best."""
    if len(name) <= limit:
        return name
    half = (limit - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def escape(text: str) -> str:
    """Foreign text made safe for HTML text and quoted attributes.

    Control characters (which HTML forbids), surrogates (which UTF-8 cannot carry) and the ones that
    reorder what stands around them are shown as U+FFFD rather than obeyed.
    """
    return html.escape(printable(text), quote=True)


def printable(text: str) -> str:
    """Foreign text for a terminal: what would steer it rather than be shown becomes U+FFFD."""
    return "".join(
        "\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text
    )


def _about(value: float) -> str:
    """Two significant digits are all a return period can carry."""
    return number(float(f"{value:.1e}"), 2)
