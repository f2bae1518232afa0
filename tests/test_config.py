"""Settings: every wrong one is refused with its dotted path and the nearest right one."""

from __future__ import annotations

import math

import pytest

from anomaly.config import MonitorConfig, parse, parse_budget
from anomaly.errors import ConfigError


def test_nothing_needs_to_be_given() -> None:
    assert parse({}) == MonitorConfig()


@pytest.mark.parametrize(
    "text,per_week",
    [("1/week", 1.0), ("2/day", 14.0), ("1/hour", 168.0), ("0.5/week", 0.5), (" 1 / Weeks ", 1.0),
     ("1/month", 12 / 52.1775)],
)
def test_budgets(text: str, per_week: float) -> None:
    assert math.isclose(parse_budget(text), per_week, rel_tol=1e-6)


@pytest.mark.parametrize("text", ["", "1", "week", "0/week", "-1/day", "nan/day", "inf/day", "1/x"])
def test_impossible_budgets_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="budget"):
        parse_budget(text)


@pytest.mark.parametrize(
    "mapping,message",
    [
        ({"budgt": "1/week"}, "budgt: unknown setting; did you mean 'budget'"),
        ({"warm_up_row": 5}, "warm_up_row: unknown setting; did you mean 'warm_up_rows'"),
        ({"warm_up_rows": "many"}, "warm_up_rows: expected int, got 'many'"),
        ({"warm_up_rows": True}, "warm_up_rows: expected int, got True"),
        ({"warm_up_rows": 5}, "warm_up_rows: must be at least"),
        ({"detectors": "level"}, "detectors: expected a list"),
        ({"detectors": ["levle"]}, "unknown 'levle'; did you mean 'level'"),
        ({"detector": {"levle": {}}}, "detector.levle: unknown detector; did you mean 'level'"),
        ({"detector": {"level": {"clip": 3}}}, "detector.level.clip: unknown setting"),
        ({"windows": {"row_seconds": "x"}}, "windows.row_seconds: expected float, got 'x'"),
        ({"windows": 3}, "windows: expected a table"),
        ({"windows": {"row_seconds": -1}}, "windows.row_seconds: must be"),
        ({"language": "fr"}, "language: must be one of en, de, es, zh"),
        ({"budget": 3}, "budget: expected text"),
        ({"budget": "1/week", "budget_per_week": 2}, "budget: give budget or"),
        ({"sensor": {"s1": {"direction": "left"}}}, "sensor.s1.direction: must be"),
    ],
)
def test_wrong_settings_say_where_and_what(mapping: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(mapping)
    assert message in str(caught.value)


def test_nested_tables_reach_their_dataclasses() -> None:
    config = parse({
        "budget": "1/day", "windows": {"row_seconds": 60},
        "sensor": {"press/t1": {"limit_high": 90}, "t1": {"direction": "up"}},
    })
    assert config.windows.row_seconds == 60.0
    assert config.sensor_config("press", "t1").limit_high == 90.0
    assert config.sensor_config("saw", "t1").direction == "up"
    assert config.sensor_config("saw", "t2").direction == "both"
