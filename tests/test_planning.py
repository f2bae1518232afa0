"""The calendar beside a running monitor, the feed of losses, and the report's section."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from anomaly.config import parse
from anomaly.ledger import HEADINGS
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams import calendars
from streams import settings as settings_module
from streams.calendar_settings import CalendarSettings
from streams.errors import SettingsError
from streams.losses_feed import LossesFeed, ShiftLosses
from streams.planning import Planning, plan
from streams.report.collector import ReportCollector
from streams.report.page import page
from tests.test_production import batch, cut, shift

CALENDAR = """
[[shift]]
name = "all"
start = "00:00"
end = "00:00"
weekdays = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
breaks = ["03:00-03:30"]
[[stop]]
kind = "maintenance"
start = 2023-11-15T12:00:00
end = 2023-11-15T13:00:00
"""  # START is 2023-11-14 22:13:20 UTC


@pytest.fixture
def planned(tmp_path: Path) -> CalendarSettings:
    path = tmp_path / "plan.toml"
    path.write_text(CALENDAR)
    return CalendarSettings(str(path))


def run(settings: CalendarSettings, edges: list[int]) -> Monitor:
    registry = Registry()
    monitor = Monitor(parse({"detectors": ["level"]}), registry)
    times, rows = shift(1, 700)
    silent = (times < 17_000) | (times > 19_500)  # switched off over the break, from 02:56 to 03:38
    planning = Planning(settings)
    for part in cut(batch(registry, {"press": (times[silent], rows[silent])}), edges):
        planning.keep(monitor, part)
        monitor.process(part)
    return monitor


def test_planned_time_is_booked_as_such_live_however_the_stream_is_cut(
    planned: CalendarSettings
) -> None:
    whole = run(planned, [])
    told = whole.statement(0)
    assert told is not None
    booked = dict(zip(HEADINGS, (told.total.booked_ns / 1e9).tolist(), strict=True))
    assert booked["planned"] == 1800.0
    assert booked["no_data"] > 0.0
    unplanned = run(CalendarSettings(), []).statement(0)
    assert unplanned is not None
    assert int(unplanned.total.booked_ns[HEADINGS.index("planned")]) == 0
    for edges in ([3], [500, 501, 1200], [1111, 2222]):
        pieces = run(planned, edges)
        for name, array in whole.state()["accounts"].items():
            assert array.tobytes() == pieces.state()["accounts"][name].tobytes()


def test_a_shift_that_names_its_machines_is_theirs_alone(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    shift_of = '[[shift]]\nname = "{}"\nstart = "{}"\nend = "{}"\nassets = {}\n'
    path.write_text(shift_of.format("early", "06:00", "14:00", '["press"]')
                    + shift_of.format("day", "08:00", "16:00", "[]"))
    day = 1_700_006_400 * 10**9  # 2023-11-15 00:00 UTC, a Wednesday
    found = plan(calendars.read(path, day, day + 86_400 * 10**9), ["press", "saw"])
    hours = [[(int(t) - day) / 3.6e12 for t in column] for column in (
        found.start_ns, found.end_ns)]
    assert found.shift_offsets.tolist() == [0, 2, 3]
    assert hours == [[6.0, 8.0, 8.0], [8.0, 16.0, 16.0]]


def test_the_next_planned_stop_is_known(planned: CalendarSettings) -> None:
    monitor = run(planned, [])
    noon = 1_700_049_600 * 10**9
    assert monitor.shop.plan.seconds_to_stop(0, noon - 3600 * 10**9) == 3600.0
    assert np.isnan(monitor.shop.plan.seconds_to_stop(0, noon))


def test_the_feed_tells_what_was_lost_and_only_where_it_is_known() -> None:
    told: dict[str, dict[str, float]] = {}
    shifts: dict[str, ShiftLosses] = {}

    class Taker:
        def take_losses(self, asset: str, seconds: dict[str, float]) -> None:
            told[asset] = seconds

        def take_shift(self, asset: str, shift: ShiftLosses) -> None:
            shifts[asset] = shift

    registry = Registry()
    monitor = Monitor(parse({"detectors": ["level"]}), registry)
    readings = batch(registry, {"press": shift(1, 300), "saw": shift(2, 300)})
    monitor.process(readings)
    LossesFeed(Taker()).tell(monitor, [0, 1])
    assert set(told) == {"press", "saw"}
    assert told["press"]["micro_stop"] > 60.0
    assert "planned" not in told["press"]
    assert set(shifts) == {"press", "saw"}
    assert shifts["press"].start_ns < monitor.newest_ns(0) <= shifts["press"].end_ns
    assert 0 < shifts["press"].oee < 1
    assert shifts["press"].seconds["micro_stop"] <= told["press"]["micro_stop"]
    assert np.prod(list(shifts["press"].factors.values())) == pytest.approx(shifts["press"].oee)
    assert shifts["press"].parts_total["micro_stop"] > 1.0
    assert shifts["press"].energy_total["slow"] >= 0.0
    assert shifts["press"].booked_total.keys() > shifts["press"].seconds.keys()


def test_the_report_shows_where_the_time_went() -> None:
    registry = Registry()
    monitor = Monitor(parse({"detectors": ["level"]}), registry)
    collector = ReportCollector(registry, 1.0, (), "a press")
    collector.collect(monitor.process(batch(registry, {"<press>": shift(1, 300)})), monitor)
    text = page(collector)
    assert "Where the time went" in text
    assert "micro-stops" in text
    assert "&lt;press&gt;" in text
    assert re.search(r"\(\d+ parts\), [\d.]+ kWh", text)
    assert "<press>" not in text


@pytest.mark.parametrize("text, words", [
    ('[calendar]\nfile = "plan.xlsx"\n', "calendar.file"),
    ('[calendar]\nfiel = "plan.toml"\n', "did you mean 'file'"),
    ("[losses]\nbudget_share = 2.0\n", "losses.budget_share"),
    ('[losses]\nparts_sensr = "items"\n', "did you mean 'parts_sensor'"),
    ('[losses.inefficiency]\nshift = "much"\n', "losses.inefficiency.shift"),
])
def test_lint_names_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "andon.toml"
    path.write_text(text)
    assert any(words in finding for finding in settings_module.findings(path, {}))
    with pytest.raises(SettingsError):
        settings_module.load(path, {}, {})
