"""Rows that count parts by the clock, some of them lost: no stop is told of what nobody saw."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly.batches import Alert, reading_batch
from anomaly.config import parse
from anomaly.monitor import Monitor
from anomaly.registry import Registry

START = 1_700_000_000 * 10**9
SECOND = 10**9
COUNT, FROM = 1600, 1000
SETTINGS = {"budget": "1/week", "warm_up_rows": 200, "detectors": ["level"],
            "losses": {"parts_per_row_sensor": "items"}}


def alerts(seconds: np.ndarray, items: np.ndarray) -> list[Alert]:
    registry = Registry()
    columns = registry.columns(registry.asset("press"), ("items",))
    monitor = Monitor(parse(SETTINGS), registry)
    outcome = monitor.process(reading_batch(
        np.zeros(seconds.size), np.tile(columns, seconds.size),
        START + np.round(seconds * 1e9).astype(np.int64), items, np.ones(seconds.size, np.bool_)))
    return [a for a in outcome.alerts if a.state == "firing" and a.kind == "micro_stops"]


def five_minutes() -> tuple[np.ndarray, np.ndarray]:
    """A part every 68 s, counted in rows of 300 s: four or five, in turn as they fall."""
    seconds = 300.0 * np.arange(1, COUNT + 1)
    return seconds, np.diff(np.floor(seconds / 68.0), prepend=0.0)


@pytest.mark.parametrize("missing", [1, 2])
def test_a_row_that_was_lost_is_no_short_stop(missing: int) -> None:
    seconds, items = five_minutes()
    kept = np.ones(COUNT, np.bool_)
    for first in range(FROM, COUNT, 12):
        kept[first : first + missing] = False
    assert not alerts(seconds[kept], items[kept])


def test_few_parts_in_rows_that_came_are_a_stop() -> None:
    seconds, items = five_minutes()
    items[FROM::12] -= 2.0
    assert alerts(seconds, items)


def test_a_pause_that_is_no_whole_number_of_intervals_is_the_machines() -> None:
    """A source that sends when something was made: what it waited for is a stop."""
    seconds, items = five_minutes()
    seconds = seconds + 250.0 * np.cumsum(np.isin(np.arange(COUNT), np.arange(FROM, COUNT, 12)))
    assert alerts(seconds, items)
