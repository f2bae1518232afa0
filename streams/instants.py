"""One time of a message to nanoseconds since 1970 UTC: numbers by magnitude, text by ISO 8601.

For messages that arrive one by one; whole columns of files are the business of ``times.py``, whose
magnitudes are used here too. A message's time is never guessed from a clock.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

#: Units by magnitude, as in ``times.py``: each reaches to a thousand times the one before.
UNITS = (("s", 1e11, 1_000_000_000), ("ms", 1e14, 1_000_000), ("µs", 1e17, 1_000),
         ("ns", math.inf, 1))

_LIMIT_NS = 1 << 63
_ISO = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2})(?::(\d{2})(?:[.,](\d{1,9})\d*)?)?"
    r"\s*(Z|z|[+-]\d{2}(?::?\d{2})?)?")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")


class UnreadableTime(ValueError):
    """Neither a number in range nor an ISO 8601 date with a clock time."""


def to_nanoseconds(time: object) -> tuple[int, str]:
    """Nanoseconds and the unit they were told in: s, ms, µs, ns or ``ISO 8601``.

    Raises
    ------
    UnreadableTime
    """
    if isinstance(time, bool):
        raise UnreadableTime(time)
    if isinstance(time, int | float):
        return _number(time)
    if isinstance(time, str):
        text = time.strip()
        match = _ISO.fullmatch(text)
        if match:
            return _iso(match), "ISO 8601"
        if _NUMBER.fullmatch(text):
            return _number(int(text) if text.lstrip("+-").isdigit() else float(text))
    raise UnreadableTime(time)


def _number(time: int | float) -> tuple[int, str]:
    if isinstance(time, float) and not math.isfinite(time):
        raise UnreadableTime(time)
    size = abs(time)
    for unit, limit, unit_ns in UNITS:  # noqa: B007 - what it stopped at is used
        if size < limit:
            break
    if isinstance(time, int):
        if size * unit_ns >= _LIMIT_NS:
            raise UnreadableTime(time)
        return time * unit_ns, unit
    whole = math.floor(time)
    # A double tells a fraction of an epoch to about a microsecond; more digits would be noise.
    fraction = round((time - whole) * unit_ns / 1000) * 1000 if unit == "s" else round(
        (time - whole) * unit_ns)
    found = whole * unit_ns + fraction
    if not -_LIMIT_NS < found < _LIMIT_NS:
        raise UnreadableTime(time)
    return found, unit


def _iso(match: re.Match[str]) -> int:
    day, minute, second, fraction, zone = match.groups()
    offset = "+00:00" if zone in (None, "Z", "z") else zone
    try:
        moment = datetime.fromisoformat(f"{day}T{minute}:{second or '00'}{offset}")
        since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        raise UnreadableTime(match.group(0)) from None
    found = (since.days * 86_400 + since.seconds) * 1_000_000_000
    found += int((fraction or "0").ljust(9, "0"))
    if not -_LIMIT_NS < found < _LIMIT_NS:
        raise UnreadableTime(match.group(0))
    return found
