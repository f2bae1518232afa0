"""Calendars: three formats, local time, recurring events, and errors that say where."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from streams import calendars
from streams.errors import InputError
from streams.simulate import TWO_SHIFTS, LineConfig, default_stations
from streams.simulation import calendar as simulated

TOML = """
zone = "{zone}"
[[shift]]
name = "early"
start = "06:00"
end = "14:00"
breaks = ["09:00-09:15", "11:30-12:00"]
[[shift]]
name = "late"
start = "14:00"
end = "22:00"
breaks = ["16:30-16:45", "19:00-19:30"]
[[stop]]
kind = "maintenance"
name = "oil"
start = 2026-03-05T10:00:00
end = 2026-03-05T12:00:00
assets = ["press-1"]
"""
ICS = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//test//EN
BEGIN:VEVENT
UID:1
SUMMARY:Early shift
DTSTART;TZID=Europe/Berlin:20260323T060000
DTEND;TZID=Europe/Berlin:20260323T140000
RRULE:FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR;UNTIL=20260403T000000Z
EXDATE;TZID=Europe/Berlin:20260325T060000
END:VEVENT
BEGIN:VEVENT
UID:1
RECURRENCE-ID;TZID=Europe/Berlin:20260326T060000
SUMMARY:Early shift
DTSTART;TZID=Europe/Berlin:20260326T070000
DTEND;TZID=Europe/Berlin:20260326T140000
END:VEVENT
BEGIN:VEVENT
UID:2
SUMMARY:Gearbox
CATEGORIES:Wartung
LOCATION:press-1, mill-2
DTSTART:20260327T080000Z
DURATION:PT2H
END:VEVENT
BEGIN:VEVENT
UID:3
SUMMARY:Inventory
STATUS:CANCELLED
DTSTART;VALUE=DATE:20260328
END:VEVENT
END:VCALENDAR
"""


def ns(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp()) * 10**9


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_weekly_shifts_are_those_of_the_simulated_line(tmp_path: Path) -> None:
    path = written(tmp_path, "plan.toml", TOML.format(zone="UTC"))
    config = LineConfig(default_stations(2), shifts=TWO_SHIFTS, duration_seconds=9 * 86_400.0,
                        row_interval_seconds=60.0)
    start, end = config.start_time_ns, config.start_time_ns + 9 * 86_400 * 10**9
    plan = calendars.read(path, start, end).planned(["mill-2"])
    merged = calendars._merged(
        (start + o.start_scan * 10**8, start + o.end_scan * 10**8)
        for o in simulated.off_times(config))
    assert list(zip(plan.start_ns.tolist(), plan.end_ns.tolist(), strict=True)) == merged
    both = calendars.read(path, start, end).planned(["press-1", "mill-2"])
    assert both.offsets.tolist() == [0, len(merged), 2 * len(merged)]  # it takes in a break
    length = both.end_ns - both.start_ns
    oil = int(length[: len(merged)].sum() - length[len(merged) :].sum())
    assert oil == 5400 * 10**9


def test_local_shifts_follow_daylight_saving(tmp_path: Path) -> None:
    path = written(tmp_path, "plan.toml", TOML.format(zone="Europe/Berlin"))
    found = calendars.read(path, ns(2026, 3, 27), ns(2026, 3, 31))
    early = [i.start_ns for i in found.shifts() if i.name == "early"]
    assert early == [ns(2026, 3, 27, 5), ns(2026, 3, 30, 4)]


def test_a_night_shift_reaches_into_the_next_day(tmp_path: Path) -> None:
    text = '[[shift]]\nstart="22:00"\nend="06:00"\nweekdays=["mon"]\nbreaks=["01:00-01:30"]\n'
    found = calendars.read(written(tmp_path, "n.toml", text), ns(2026, 3, 2), ns(2026, 3, 4))
    spans = [(i.kind, i.start_ns, i.end_ns) for i in found.intervals]
    assert spans == [("shift", ns(2026, 3, 2, 22), ns(2026, 3, 3, 6)),
                     ("break", ns(2026, 3, 3, 1), ns(2026, 3, 3, 1, 30))]


def test_icalendar_with_exceptions_and_moved_events(tmp_path: Path) -> None:
    path = written(tmp_path, "plan.ics", ICS)
    found = calendars.read(path, ns(2026, 3, 20), ns(2026, 4, 20))
    starts = [i.start_ns for i in found.shifts()]
    assert starts == [
        ns(2026, 3, 23, 5), ns(2026, 3, 24, 5), ns(2026, 3, 26, 6), ns(2026, 3, 27, 5),
        ns(2026, 3, 30, 4), ns(2026, 3, 31, 4), ns(2026, 4, 1, 4), ns(2026, 4, 2, 4)]
    other = [i for i in found.intervals if i.kind != "shift"]
    assert [(i.kind, i.name, i.start_ns, i.end_ns, i.assets) for i in other] == [
        ("maintenance", "Gearbox", ns(2026, 3, 27, 8), ns(2026, 3, 27, 10), ("press-1", "mill-2"))]
    assert found.seconds_to_stop("press-1", ns(2026, 3, 27, 7)) == 3600.0
    assert found.seconds_to_stop("weld-3", ns(2026, 3, 27, 7)) is None
    assert found.seconds_to_stop("press-1", ns(2026, 3, 27, 9)) is None


def test_a_table_of_stops(tmp_path: Path) -> None:
    text = ("start,end,kind,name,asset\n2026-03-05T10:00,2026-03-05T12:00,maintenance,oil,press-1\n"
            "2026-03-06T00:00+01:00,2026-03-06T01:00+01:00,stop,,\n")
    found = calendars.read(written(tmp_path, "s.csv", text), ns(2026, 3, 1), ns(2026, 4, 1))
    plan = found.planned(["press-1", "mill-2"])
    assert plan.offsets.tolist() == [0, 2, 3]
    assert plan.start_ns.tolist() == [
        ns(2026, 3, 5, 10), ns(2026, 3, 5, 23), ns(2026, 3, 5, 23)]


@pytest.mark.parametrize("name, text, says", [
    ("a.toml", "[[shift]]\nstart='06:00'\nend='14:00'\nbrakes=[]\n", "brakes"),
    ("a.toml", "zone='Mars/Olympus'\n", "Mars/Olympus"),
    ("a.toml", "[[stop]]\nkind='nap'\nstart=2026-03-05\nend=2026-03-06\n", "nap"),
    ("a.toml", "[[stop]]\nstart=2026-03-05T10:00:00\nend=2026-03-05T09:00:00\n",
     "before it begins"),
    ("a.toml", "not toml", "calendar"),
    ("a.csv", "start,end\n", "kind"),
    ("a.csv", "start,end,kind\n2026-03-05,soon,stop\n", "line 2"),
    ("a.ics", "nothing", "calendar"),
    ("a.xls", "", "toml"),
])
def test_what_cannot_be_understood_is_said(
    tmp_path: Path, name: str, text: str, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        calendars.read(written(tmp_path, name, text), ns(2026, 3, 1), ns(2026, 4, 1))
