"""What the hall moves is forgiven as far as a day goes, and no farther; elsewhere nothing is."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from anomaly import leeway, reference, snapshot
from anomaly.batches import ReadingBatch, reading_batch
from anomaly.config import parse
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from tests.naive import leeway as naive

START = 1_772_431_200 * 10**9  # 06:00 UTC
ROW_SECONDS = 20.0
WARM_UP = 900  # five hours
SENSORS = ("state", "parts_count", "motor_celsius", "vibration", "pressure_bar")
CONFIG = parse({"budget": "1/week", "warm_up_rows": WARM_UP})


def hall(hours: float, seed: int, state: bool = True) -> tuple[Registry, ReadingBatch]:
    """A machine whose motor follows the hall's day by four degrees; nothing else moves."""
    rng = np.random.default_rng(seed)
    n = round(hours * 3600.0 / ROW_SECONDS)
    day = 2.0 * np.pi * (np.arange(n) * ROW_SECONDS / 86_400.0 + 6.0 / 24.0 - 15.0 / 24.0)
    x = np.column_stack([
        np.full(n, 6.0 if state else np.nan), np.floor(np.arange(n) * ROW_SECONDS / 30.0),
        60.0 + 2.0 * np.cos(day) + 0.15 * rng.normal(size=n), 1.5 + 0.05 * rng.normal(size=n),
        6.0 + 0.02 * rng.normal(size=n)])
    registry = Registry()
    names = SENSORS if state else ("mode", "count", *SENSORS[2:])
    columns = registry.columns(registry.asset("press"), names)
    time_ns = START + np.round(np.arange(n) * ROW_SECONDS * 1e9).astype(np.int64)
    return registry, reading_batch(
        np.zeros(x.size), np.tile(columns, n), np.repeat(time_ns, x.shape[1]), x.ravel(),
        np.tile(np.arange(x.shape[1]) == x.shape[1] - 1, n))


def lifted(readings: ReadingBatch, hour: float, sensor: int, by: float) -> ReadingBatch:
    value = readings.value.copy()
    at = (readings.sensor == sensor) & (readings.time_ns >= START + hour * 3600.0 * 1e9)
    value[at] += by
    return dataclasses.replace(readings, value=value)


def told(monitor: Monitor, readings: ReadingBatch) -> list[tuple[str, float]]:
    """Leading sensor and hour of what fires."""
    return [(a.contributions[0].sensor, (a.time_ns - START) / 3.6e12)
            for a in monitor.process(readings).alerts if a.state == "firing"]


def test_a_day_of_the_hall_is_no_alarm_where_a_state_tag_tells_of_the_machine() -> None:
    assert not any(told(Monitor(CONFIG, registry), readings)
                   for registry, readings in (hall(48.0, seed) for seed in range(3)))
    registry, readings = hall(48.0, 0, state=False)
    assert told(Monitor(CONFIG, registry), readings), "else the test says nothing"


def test_a_jump_is_told_at_once_and_what_goes_beyond_the_bound_is_told() -> None:
    registry, readings = hall(14.0, 1)
    found = told(Monitor(CONFIG, registry), lifted(readings, 10.0, 2, 6.0))
    assert found[0] == ("motor_celsius", pytest.approx(10.0, abs=0.2))
    registry, readings = hall(30.0, 1)
    value = readings.value.copy()
    motor = readings.sensor == 2
    ramp = np.maximum((readings.time_ns[motor] - START) / 3.6e12 - 10.0, 0.0)
    value[motor] += 1.5 * ramp
    found = told(Monitor(CONFIG, registry), dataclasses.replace(readings, value=value))
    assert found
    assert found[0][1] < 20.0


def test_what_is_expected_and_what_is_latest_are_told_in_the_sensor_s_own_unit() -> None:
    registry, readings = hall(15.0, 2)  # at 21 h the hall has cooled by a degree since 15 h
    monitor = Monitor(CONFIG, registry)
    monitor.process(readings)
    given = leeway.given(monitor.arrays()["leeway"], registry.table[0, :5])  # type: ignore[arg-type]
    assert abs(given[2]) > 0.3
    assert not given[[0, 1, 3, 4]].any()
    low, centre, high = monitor.expected(0)
    latest = monitor.latest(0)
    assert low[2] < latest[2] < high[2]
    assert latest[2] == pytest.approx(readings.value[readings.sensor == 2][-20:].mean(), abs=0.5)
    assert centre[2] == pytest.approx(float(
        monitor.arrays()["reference"]["tag"]["centre"][registry.table[0, 2]] + given[2]))


def test_any_split_and_any_restart_tells_and_keeps_the_same() -> None:
    registry, readings = hall(16.0, 3)
    readings = lifted(readings, 12.0, 2, 8.0)
    whole = Monitor(CONFIG, registry)
    outcome = whole.process(readings)
    expected = [repr(a) for a in outcome.alerts]
    assert expected
    registry, _ = hall(0.1, 3)
    monitor = Monitor(CONFIG, registry)
    edges = sorted(np.random.default_rng(1).integers(0, len(readings), 7).tolist())
    said: list[str] = []
    for low, high in zip([0, *edges], [*edges, len(readings)], strict=True):
        part = ReadingBatch(
            *(getattr(readings, f.name)[low:high] for f in dataclasses.fields(readings)))
        said += [repr(a) for a in monitor.process(part).alerts]
        monitor, _ = snapshot.from_bytes(snapshot.to_bytes(monitor, {}), CONFIG)
    assert said == expected
    for name, array in monitor.state()["leeway"].items():
        assert array.tobytes() == whole.state()["leeway"][name].tobytes()


@pytest.mark.parametrize("seed", range(4))
def test_the_naive_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, interval = 800, 15.0
    slow = np.cumsum(rng.normal(0.0, 0.05, n)) * (seed != 3)
    rows = np.column_stack([40.0 + slow + 0.2 * rng.normal(size=n), rng.normal(size=n)])
    rows[rng.integers(0, n, 30), 0] = np.nan
    times_ns = np.round(np.arange(n) * interval * 1e9).astype(np.int64)
    tags = np.array([0, 1])
    known = np.zeros(2, reference.TAG)
    for c in range(2):
        values = rows[:, c]
        reference.freeze_tag(known, c, values[np.isfinite(values)])
    state = leeway.allocate(1, 2)
    fitted = leeway.fit(state, 0, tags, rows, times_ns, interval, known, True, False)
    bounds = [naive.bound(rows[:, c].tolist(), (n - 1) * interval) for c in range(2)]
    assert state["tag"]["bound"] == pytest.approx(bounds)
    assert (bounds[0] > 0.0) == (seed != 3)
    assert bounds[1] == 0.0
    if seed == 3:
        assert fitted is rows
        return
    later = rows + np.array([np.nan, 0.0]) * 0.0
    later[:, 0] = 41.0 + np.cumsum(rng.normal(0.0, 0.1, n))
    settles = rng.random(n) < 0.2
    whole = np.concatenate([rows, later])
    flags = np.concatenate([np.zeros(n, np.bool_), settles])
    expected = naive.followed(whole[:, 0].tolist(), flags.tolist(), float(known[0]["centre"]),
                              float(known[0]["spread"]), bounds[0], interval)
    assert fitted[:, 0] == pytest.approx(
        rows[:, 0] - leeway.TAKEN_OFF * np.array(expected[:n]), nan_ok=True)
    table = np.array([[0, 1]])
    again = {name: array.copy() for name, array in state.items()}
    young = np.zeros(n, np.bool_)
    rest, off = leeway.run(state, known, table, np.zeros(n, np.int64), later, settles, young)
    assert off[:, 0] == pytest.approx(np.array(expected[n:]))
    assert rest[:, 1].tobytes() == later[:, 1].tobytes()
    plain = np.zeros_like(later)
    leeway.follow.py_func(again["asset"], again["tag"], known, table, np.zeros(n, np.int64), later,
                          settles, young, plain)
    assert plain.tobytes() == off.tobytes()


def test_a_warm_up_of_a_day_and_a_machine_without_a_state_have_none() -> None:
    rng = np.random.default_rng(1)
    n = 1600
    rows = np.cumsum(rng.normal(0.0, 0.05, (n, 1)), axis=0)
    known = np.zeros(1, reference.TAG)
    reference.freeze_tag(known, 0, rows[:, 0])
    for interval, tells in ((60.0, True), (10.0, False)):
        times_ns = np.round(np.arange(n) * interval * 1e9).astype(np.int64)
        state = leeway.allocate(1, 1)
        assert leeway.fit(
            state, 0, np.array([0]), rows, times_ns, interval, known, tells, False) is rows
        assert not state["tag"]["bound"].any()


def test_a_machine_of_which_minutes_are_known_is_followed_wherever_it_goes() -> None:
    """A ramp of forty deviations in two hours is none of its business, a jump of eight is."""
    rng = np.random.default_rng(2)
    rows = 50.0 + rng.normal(0.0, 0.1, (500, 1))
    times_ns = np.arange(500) * 10**9
    known = np.zeros(1, reference.TAG)
    reference.freeze_tag(known, 0, rows[:, 0])
    state = leeway.allocate(1, 1)
    leeway.fit(state, 0, np.array([0]), rows, times_ns, 1.0, known, False, True)
    n = 7200
    later = 50.0 + 4.0 * np.arange(n)[:, None] / n + rng.normal(0.0, 0.1, (n, 1))
    later[6000:] += 0.8
    rest, off = leeway.run(
        state, known, np.array([[0]]), np.zeros(n, np.int64), later, np.zeros(n, np.bool_),
        np.zeros(n, np.bool_))
    away = (rest[:, 0] - known[0]["centre"]) / known[0]["spread"]
    expected = naive.followed(
        np.concatenate([rows, later])[:, 0].tolist(), [False] * (500 + n),
        float(known[0]["centre"]), float(known[0]["spread"]), math.inf, 1.0, *naive.YOUNG)
    assert off[:, 0] == pytest.approx(np.array(expected[500:]))
    assert np.abs(away[1000:6000]).max() < 6.0
    assert np.median(away[6000:6030]) > 6.0


def test_a_young_product_is_followed_and_what_was_given_for_it_is_taken_back() -> None:
    """Rows of a product of which little is known, between rows of one that is; cut anywhere."""
    rng = np.random.default_rng(3)
    rows = 50.0 + rng.normal(0.0, 0.1, (2000, 1))
    times_ns = np.arange(2000) * 60 * 10**9  # more than a day: no leeway of its own
    known = np.zeros(1, reference.TAG)
    reference.freeze_tag(known, 0, rows[:, 0])
    later = 50.0 + rng.normal(0.0, 0.1, (300, 1))
    later[100:200, 0] += np.arange(100) * 0.05
    young = np.zeros(300, np.bool_)
    young[100:200] = True
    said = []
    for cuts in ([], [7, 99, 100, 150, 200, 201]):
        state = leeway.allocate(1, 1)
        assert leeway.fit(
            state, 0, np.array([0]), rows, times_ns, 60.0, known, False, False) is rows
        parts = [leeway.run(state, known, np.array([[0]]), np.zeros(b - a, np.int64), later[a:b],
                            np.zeros(b - a, np.bool_), young[a:b])[1]
                 for a, b in itertools.pairwise([0, *cuts, 300])]
        said.append(np.concatenate(parts)[:, 0])
        assert state["tag"]["given"][0] == 0.0
    assert said[0].tobytes() == said[1].tobytes()
    assert not said[0][:100].any()
    assert not said[0][200:].any()
    assert said[0][100:200] == pytest.approx(naive.followed(
        later[100:200, 0].tolist(), [False] * 100, float(known[0]["centre"]),
        float(known[0]["spread"]), math.inf, 60.0, *naive.YOUNG))
