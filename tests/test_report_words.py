"""How the report tells times, durations, numbers and foreign names."""

from __future__ import annotations

import math

import pytest

from streams.report import Clock
from streams.report.words import duration, escape, listed, number, printable, rarity, short
from tests.report_stream import SECOND, START


@pytest.mark.parametrize("seconds, told", [
    (0.0, "0 s"), (5e-7, "500 ns"), (0.25, "250 ms"), (9.96, "10 s"), (59.4, "59 s"),
    (59.6, "1 min"), (61, "1 min 1 s"), (3_599.7, "1 h"), (22_200, "6 h 10 min"),
    (86_399, "1 d"), (85_800, "23 h 50 min"),
    (86_400 * 41 + 21_600, "41 d 6 h"), (86_400 * 123.4, "123 d"), (-22_200, "−6 h 10 min"),
])
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds).replace("\u00a0", " ") == told


@pytest.mark.parametrize("value, told", [
    (0.0, "0"), (1234567.0, "1,234,567"), (0.00012344, "0.0001234"), (-2.5, "−2.5"),
    (1e12, "1.000×10^12"), (math.nan, "—"), (math.inf, "∞"), (9999.6, "10,000"),
    (12.3456, "12.35"), (5e-324, "4.941×10^−324"),
])
def test_numbers(value: float, told: str) -> None:
    assert number(value) == told


def test_rarity_claims_no_more_than_a_history_can_support() -> None:
    day = 86_400.0
    periods = (90 * day, 0.1 * day, 1e12, math.nan)
    told = [rarity(period, Clock()).replace("\u00a0", " ") for period in periods]
    assert told == ["once in 3 months", "once in 2.4 hours", "rarer than once in 1,000 years",
                    "not rated"]
    assert rarity(6e5, Clock(row_ns=60 * SECOND)) == "once in 10,000 rows"


def test_names_are_cut_in_the_middle_and_steer_neither_page_nor_terminal() -> None:
    assert short("a" * 40 + "b" * 40, 21) == "a" * 10 + "…" + "b" * 10
    assert printable("a\x1b[31m\u202eb\ud800") == "a\ufffd[31m\ufffdb\ufffd"
    assert escape("<a href='x'>&\"") == "&lt;a href=&#x27;x&#x27;&gt;&amp;&quot;"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert listed([]) == ""


def test_instants_before_1970_and_below_a_second() -> None:
    clock = Clock()
    assert clock.instant(-1).replace("\u00a0", " ") == "31 Dec 1969 23:59"
    assert clock.machine_readable(START) == "2024-03-01T00:00:00Z"
    assert clock.instant(START + 61 * SECOND, seconds=True).endswith("00:01:01")
    since = Clock(from_start=True)
    told = [since.instant(ns * SECOND).replace("\u00a0", " ") for ns in (0, 101_400, -61)]
    assert told == ["+00:00:00", "+1 d 04:10:00", "−00:01:01"]
    assert not since.has_dates
    assert since.machine_readable(0) == ""
    assert Clock(row_ns=10).instant(12_345_670).replace("\u00a0", " ") == "row 1,234,567"
