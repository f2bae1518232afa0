"""What is planned: shifts, breaks, stops and maintenance, from a small file or an iCalendar.

Three formats, told by the name: ``.toml`` (weekly shifts with their breaks, and dated stops),
``.csv`` (dated intervals as a table) and ``.ics`` (RFC 5545, recurring events too, read by
``icalendar``). The result is plain intervals in UTC nanoseconds within a span that the caller
names, so that a weekly shift stays a handful of numbers. Booking is the ledger's.

TOML::

    zone = "Europe/Berlin"
    [[shift]]
    name = "early"
    start = "06:00"
    end = "14:00"                      # an end at or before the start is on the next day
    weekdays = ["mon", "tue", "wed", "thu", "fri"]
    breaks = ["09:00-09:15", "11:30-12:00"]
    [[stop]]
    kind = "maintenance"               # or "stop", "break"
    start = 2026-03-05T10:00:00
    end = 2026-03-05T12:00:00
    assets = ["press-1"]               # none = all

CSV: columns ``start,end,kind[,name][,asset]``. iCalendar: a word in CATEGORIES or SUMMARY names the
kind (shift, break, maintenance; anything else is a planned stop), LOCATION the assets, if given.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from anomaly.ledger import Planned
from streams.errors import InputError

KINDS = ("shift", "break", "stop", "maintenance")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WORDS = {
    "shift": ("shift", "schicht", "turno", "班"),
    "break": ("break", "pause", "descanso", "休息"),
    "maintenance": ("maintenance", "service", "wartung", "mantenimiento", "维护"),
}
_INTERVALS_LIMIT = 1_000_000
_SPAN_DAYS_LIMIT = 366 * 20


@dataclass(frozen=True, slots=True)
class Interval:
    """One planned interval, half open; ``assets`` empty = all of them."""

    kind: str
    name: str
    start_ns: int
    end_ns: int
    assets: tuple[str, ...] = ()

    def concerns(self, asset: str) -> bool:
        """Whether it is about this asset."""
        return not self.assets or asset in self.assets


@dataclass(frozen=True, slots=True)
class Calendar:
    """Everything planned within a span, in order of time."""

    intervals: tuple[Interval, ...]
    start_ns: int
    end_ns: int

    def planned(self, assets: Sequence[str]) -> Planned:
        """Planned time without production of each asset, as the ledger takes it.

        Breaks, stops, maintenance, and, for an asset that any shift concerns, what no shift covers.
        """
        offsets, found = [0], []
        for asset in assets:
            own = [i for i in self.intervals if i.concerns(asset)]
            off = [(i.start_ns, i.end_ns) for i in own if i.kind != "shift"]
            shifts = _merged((i.start_ns, i.end_ns) for i in own if i.kind == "shift")
            if shifts:
                edges = [self.start_ns, *(t for shift in shifts for t in shift), self.end_ns]
                off += [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]
            found += _merged(off)
            offsets.append(len(found))
        table = np.array(found, np.int64).reshape(-1, 2)
        return Planned(
            np.array(offsets, np.int64), np.ascontiguousarray(table[:, 0]),
            np.ascontiguousarray(table[:, 1]))

    def shifts(self) -> list[Interval]:
        """The shifts, in order of time."""
        return [interval for interval in self.intervals if interval.kind == "shift"]

    def seconds_to_stop(self, asset: str, now_ns: int) -> float | None:
        """Until the next planned stop or maintenance of the asset; None = none is planned."""
        ahead = [i.start_ns for i in self.intervals if i.concerns(asset)
                 and i.kind in ("stop", "maintenance") and i.start_ns > now_ns]
        return (min(ahead) - now_ns) / 1e9 if ahead else None


def read(path: Path, start_ns: int, end_ns: int, zone: str = "UTC") -> Calendar:
    """What a calendar file plans between two times; ``zone`` where the file names none.

    Raises
    ------
    InputError
        The file cannot be read, or an entry cannot be understood; the message says which.
    """
    if not 0 <= end_ns - start_ns <= _SPAN_DAYS_LIMIT * 86_400 * 10**9:
        raise InputError(path, "the recording spans more than 20 years: its times are wrong")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}") from error
    span = (_moment(start_ns) - timedelta(days=2), _moment(end_ns) + timedelta(days=2))
    kinds = {".toml": _from_toml, ".csv": _from_csv, ".ics": _from_icalendar}
    if path.suffix.lower() not in kinds:
        raise InputError(path, f"a calendar's name ends in {', '.join(kinds)}")
    try:
        found = [*kinds[path.suffix.lower()](data, span, _zone(zone))]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(path, f"not a calendar: {error}") from error
    inside = [
        Interval(i.kind, i.name, max(i.start_ns, start_ns), min(i.end_ns, end_ns), i.assets)
        for i in found if i.start_ns < end_ns and i.end_ns > start_ns
    ]
    if len(inside) > _INTERVALS_LIMIT:
        raise InputError(path, f"more than {_INTERVALS_LIMIT:,} intervals")
    ordered = sorted(inside, key=lambda i: (i.start_ns, i.end_ns, i.kind, i.name))
    return Calendar(tuple(ordered), start_ns, end_ns)


def _from_toml(
    data: bytes, span: tuple[datetime, datetime], zone: tzinfo
) -> Iterator[Interval]:
    tables = tomllib.loads(data.decode("utf-8"))
    unknown = set(tables) - {"zone", "shift", "stop"}
    if unknown:
        raise ValueError(f"unknown entry {sorted(unknown)[0]!r}; there are zone, shift and stop")
    zone = _zone(tables["zone"]) if "zone" in tables else zone
    for shift in tables.get("shift", []):
        yield from _weekly(shift, span, zone)
    for stop in tables.get("stop", []):
        _only(stop, ("kind", "name", "start", "end", "assets"), "stop")
        kind = stop.get("kind", "stop")
        yield _interval(kind, stop.get("name", kind), stop["start"], stop["end"], zone,
                        tuple(stop.get("assets", ())))


def _weekly(
    shift: Mapping[str, Any], span: tuple[datetime, datetime], zone: tzinfo
) -> Iterator[Interval]:
    """A shift on each of its weekdays, and its breaks; local times, so that they follow DST."""
    _only(shift, ("name", "start", "end", "weekdays", "breaks", "assets"), "shift")
    name, assets = shift.get("name", "shift"), tuple(shift.get("assets", ()))
    days = [_WEEKDAYS.index(day.lower()[:3]) for day in shift.get("weekdays", _WEEKDAYS[:5])]
    begin, end = _clock(shift["start"]), _clock(shift["end"])
    breaks = [tuple(_clock(t) for t in text.split("-")) for text in shift.get("breaks", ())]
    day = span[0].date()
    while day <= span[1].date():
        if day.weekday() in days:
            first = datetime.combine(day, begin)
            last = _after(first, end)
            yield _interval("shift", name, first, last, zone, assets)
            for pause_begin, pause_end in breaks:
                pause = _after(first, pause_begin) if pause_begin != begin else first
                yield _interval("break", name, pause, _after(pause, pause_end), zone, assets)
        day += timedelta(days=1)


def _after(moment: datetime, clock: time) -> datetime:
    """The next moment with that clock time."""
    found = datetime.combine(moment.date(), clock)
    return found if found > moment else found + timedelta(days=1)


def _from_csv(data: bytes, span: tuple[datetime, datetime], zone: tzinfo) -> Iterator[Interval]:
    rows = csv.DictReader(data.decode("utf-8-sig").splitlines())
    missing = {"start", "end", "kind"} - set(rows.fieldnames or ())
    if missing:
        raise ValueError(f"there is no column {sorted(missing)[0]!r}")
    for row in rows:
        try:
            start, end = (datetime.fromisoformat(row[name].strip()) for name in ("start", "end"))
            assets = (row["asset"].strip(),) if (row.get("asset") or "").strip() else ()
            kind = row["kind"].strip().lower()
            yield _interval(kind, (row.get("name") or kind).strip(), start, end, zone, assets)
        except ValueError as error:
            raise ValueError(f"line {rows.line_num}: {error}") from error


def _from_icalendar(
    data: bytes, span: tuple[datetime, datetime], zone: tzinfo
) -> Iterator[Interval]:
    import icalendar

    events = icalendar.Calendar.from_ical(data).walk("VEVENT")
    replaced: dict[str, set[int]] = {}
    for event in events:
        if "RECURRENCE-ID" in event:
            at = _localised(event.decoded("RECURRENCE-ID"), zone)
            replaced.setdefault(str(event.get("UID")), set()).add(_nanoseconds(at))
    for event in events:
        if str(event.get("STATUS", "")).upper() == "CANCELLED":
            continue
        start = _localised(event.decoded("DTSTART"), zone)
        length = _length(event, start, zone)
        name = str(event.get("SUMMARY", "")) or "planned stop"
        place = str(event.get("LOCATION", ""))
        assets = tuple(part.strip() for part in place.split(",") if part.strip())
        without = {_nanoseconds(_localised(moment, zone)) for moment in _dates(event, "EXDATE")}
        if "RECURRENCE-ID" not in event:
            without |= replaced.get(str(event.get("UID")), set())
        for begin in _occurrences(event, start, span, zone):
            if _nanoseconds(begin) not in without:
                yield _interval(_kind_of(event, name), name, begin, begin + length, zone, assets)


def _occurrences(
    event: Any, start: datetime, span: tuple[datetime, datetime], zone: tzinfo
) -> list[datetime]:
    """Beginnings within the span, in wall-clock time of the event's own zone."""
    from dateutil.rrule import rrulestr  # type: ignore[import-untyped]  # icalendar brings it

    found = [_localised(moment, zone) for moment in _dates(event, "RDATE")]
    rule = event.get("RRULE")
    if rule is None:
        return [start, *found]
    own = start.tzinfo or zone
    rules = rule if isinstance(rule, list) else [rule]
    for one in rules:
        parts = [p for p in one.to_ical().decode().split(";") if not p.startswith("UNTIL=")]
        wall = rrulestr(";".join(parts), dtstart=start.replace(tzinfo=None))
        last = span[1].astimezone(own).replace(tzinfo=None)
        for until in one.get("UNTIL", []):
            last = min(last, _localised(until, zone).astimezone(own).replace(tzinfo=None))
        first = span[0].astimezone(own).replace(tzinfo=None) - timedelta(days=7)
        found += [moment.replace(tzinfo=own) for moment in wall.between(first, last, inc=True)]
    return found


def _dates(event: Any, name: str) -> list[Any]:
    given = event.get(name, [])
    lists = given if isinstance(given, list) else [given]
    return [entry.dt for one in lists for entry in one.dts]


def _length(event: Any, start: datetime, zone: tzinfo) -> timedelta:
    if "DTEND" in event:
        return _localised(event.decoded("DTEND"), zone) - start
    if "DURATION" in event:
        length = event.decoded("DURATION")
        assert isinstance(length, timedelta)
        return length
    whole_day = not isinstance(event.decoded("DTSTART"), datetime)
    return timedelta(days=1) if whole_day else timedelta(0)


def _kind_of(event: Any, name: str) -> str:
    categories = event.get("CATEGORIES")
    lists = categories if isinstance(categories, list) else [categories] if categories else []
    said = " ".join(str(word) for one in lists for word in one.cats)
    for text in (said.lower(), name.lower()):
        for kind, words in _WORDS.items():
            if any(word in text for word in words):
                return kind
    return "stop"


def _interval(
    kind: str, name: str, start: Any, end: Any, zone: tzinfo, assets: tuple[str, ...]
) -> Interval:
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is none of {', '.join(KINDS)}")
    first, last = (_nanoseconds(_localised(moment, zone)) for moment in (start, end))
    if last < first:
        raise ValueError(f"{name!r} ends before it begins ({start} to {end})")
    return Interval(kind, name, first, last, assets)


def _only(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise ValueError(f"{where}: unknown entry {unknown[0]!r}; there are {', '.join(known)}")


def _clock(text: Any) -> time:
    return text if isinstance(text, time) else time.fromisoformat(str(text).strip())


def _zone(name: str) -> tzinfo:
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"there is no time zone {name!r}") from error


def _localised(moment: Any, zone: tzinfo) -> datetime:
    if isinstance(moment, datetime):
        return moment if moment.tzinfo else moment.replace(tzinfo=zone)
    if isinstance(moment, date):
        return datetime.combine(moment, time(0), zone)
    raise ValueError(f"{moment!r} is not a time")


def _nanoseconds(moment: datetime) -> int:
    since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since // timedelta(microseconds=1)) * 1000


def _moment(time_ns: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_ns // 1000)


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        elif end > start:
            found.append((start, end))
    return found
