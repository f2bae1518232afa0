"""Interruptions that come back at equal intervals: announced in time, and never by chance."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from anomaly import echo
from anomaly.batches import Alert, reading_batch
from anomaly.config import MonitorConfig
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from tests.naive import echo as naive

MINUTE = 60 * 10**9
STEP = 5 * MINUTE  # a row every five minutes, and one more whenever the machine is interrupted


def times(interruptions: list[int], rows: int) -> np.ndarray:
    """Times of the rows: the grid, and 20 s, 50 s after each interruption's time."""
    more = [t + s * 10**9 for t in interruptions for s in (0, 20, 50)]
    return np.unique(np.array([*(STEP * i for i in range(rows)), *more], np.int64))


def found(time_ns: np.ndarray, may_fire: np.ndarray | None = None) -> list[tuple[int, ...]]:
    """What the kernel says of one asset."""
    may_fire = np.ones(time_ns.size, np.bool_) if may_fire is None else may_fire
    out = echo.run(echo.allocate(1), np.zeros(time_ns.size, np.int64), time_ns, may_fire)
    return [tuple(row) for row in out.tolist()]


def every(minutes: list[float]) -> list[int]:
    return (np.cumsum(minutes) * MINUTE).astype(np.int64).tolist()


def test_equal_intervals_are_announced_before_the_next_and_closed_when_it_comes() -> None:
    stops = every([131, 240, 238, 241, 239, 240])
    time_ns = times(stops, 340)
    said = found(time_ns)
    fired = [row for row in said if row[1] == 1]
    expected = [*stops[4:], stops[5] + 240 * MINUTE]  # the last of them does not come
    for (row, _, since, left), last, stop in zip(fired, stops[3:], expected, strict=True):
        assert 0 <= since - last < MINUTE
        assert 25 * MINUTE < stop - time_ns[row] < 40 * MINUTE
        assert abs(time_ns[row] + left - stop) < 6 * MINUTE
    over = [row for row in said if row[1] == 0]
    assert all(0 <= time_ns[row[0]] - stop < MINUTE
               for row, stop in zip(over[:2], stops[4:6], strict=True))
    assert time_ns[over[2][0]] > stops[5] + 246 * MINUTE  # overdue
    assert len(said) == 6


def test_a_pattern_that_missed_must_be_met_again_and_a_known_one_needs_one_interval() -> None:
    stops = every([131, 240, 240, 240, 480, 240, 100, 240, 240])
    fired = [row for row in found(times(stops, 460)) if row[1] == 1]
    # After the third interval, and none came; 480 is twice the known one, so the next is announced
    # and comes; 100 breaks it; one more 240 is enough.
    assert [since // MINUTE for _, _, since, _ in fired] == [851, 1331, 1911]


def test_time_stands_still_while_no_rows_come() -> None:
    time_ns = times(every([131, 240, 240, 240, 240]), 300)
    night = time_ns + np.where(time_ns > every([131, 240, 240, 240])[-1] + 90 * MINUTE,
                               720 * MINUTE, 0)
    assert len([row for row in found(night) if row[1] == 1]) == 2


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_the_naive_twin(seed: int) -> None:
    generator = np.random.default_rng(seed)
    lengths = np.where(generator.random(60) < 0.7, 150 + generator.normal(0, 2, 60),
                       generator.uniform(20, 400, 60))
    time_ns = times(every(lengths.tolist()), 2200)
    time_ns = time_ns + np.cumsum(np.where(generator.random(time_ns.size) < 0.01,
                                           generator.integers(0, 600, time_ns.size), 0)) * MINUTE
    may_fire = np.arange(time_ns.size) > 300
    said = found(time_ns, may_fire)
    assert said == naive.announcements(time_ns.tolist(), may_fire.tolist())
    assert len(said) > 10


def test_interruptions_at_random_times_are_hardly_ever_announced() -> None:
    generator = np.random.default_rng(5)
    stops = every(generator.exponential(150, 20_000).tolist())
    fired = [row for row in found(times(stops, stops[-1] // STEP)) if row[1] == 1]
    assert len(fired) <= 15  # five years, ten a day: a false alarm in four months


def test_regular_rows_are_no_interruptions() -> None:
    generator = np.random.default_rng(1)
    jitter = STEP * np.arange(50_000) + generator.integers(-60, 60, 50_000) * 10**9
    assert found(jitter) == []


def alerts_of(time_ns: np.ndarray, cuts: list[int]) -> list[Alert]:
    registry = Registry()
    monitor = Monitor(dataclasses.replace(MonitorConfig(), warm_up_rows=60), registry)
    asset = registry.asset("press")
    columns = registry.columns(asset, ("a", "b"))
    x = np.random.default_rng(2).normal(size=(time_ns.size, 2))
    made: list[Alert] = []
    for first, stop in zip([0, *cuts], [*cuts, time_ns.size], strict=True):
        n = stop - first
        made += monitor.process(reading_batch(
            np.full(2 * n, asset), np.tile(columns, n), np.repeat(time_ns[first:stop], 2),
            x[first:stop].ravel(), np.tile([False, True], n))).alerts
    return made


def test_through_the_monitor_at_any_split_and_in_words() -> None:
    time_ns = times(every([131, 240, 238, 241, 239, 240]), 290)
    whole = alerts_of(time_ns, [])
    assert whole == alerts_of(time_ns, list(range(1, time_ns.size, 7)))
    said = [alert for alert in whole if alert.kind == "stop_expected"]
    assert [alert.state for alert in said] == ["firing", "resolved"] * 2
    assert said[0].id == said[1].id != said[2].id
    assert said[0].time_left_seconds is not None
    assert said[0].sentence == (
        "press: an interruption is expected in about 31 min. They come at equal intervals, the "
        "last one 1970-01-01 14:10 UTC; it may be a planned service.")
