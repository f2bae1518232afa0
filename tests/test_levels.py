"""Idle, running and at rest, guessed from a signal: the twins, the laws, and what is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from anomaly import levels, observations, states
from anomaly.batches import ReadingBatch, reading_batch
from anomaly.config import parse
from anomaly.monitor import Monitor
from anomaly.reference import TAG
from anomaly.registry import Registry
from tests.naive.levels import Doubt, Levels
from tests.test_monitor import cut, told
from tests.test_monitor_reorder import handed_on
from tests.test_shapes import noise

SECOND = 10**9
START = 1_700_000_000 * SECOND


def minutes(seed: int, count: int, idle_share: float, noise_share: float = 0.05) -> np.ndarray:
    """Power at ten seconds: runs of 20 minutes at 6, rests at 2."""
    rng = np.random.default_rng(seed)
    resting = np.repeat(rng.random(count // 120 + 1) < idle_share, 120)[:count]
    return np.where(resting, 2.0, 6.0) * (1.0 + noise_share * rng.normal(size=count))


def guessed(power: np.ndarray, edges: tuple[int, ...] = ()) -> tuple[
        np.ndarray, np.ndarray, dict[str, Any]]:
    state = levels.allocate(1)
    time_ns = START + np.arange(power.size) * 10 * 10**9
    parts = [
        levels.run(state, np.zeros(1, np.int64), np.zeros(high - low, np.int64),
                   time_ns[low:high], power[low:high])
        for low, high in zip((0, *edges), (*edges, power.size), strict=True)]
    found, rests = (np.concatenate(column) for column in zip(*parts, strict=True))
    return found, rests, state


def test_idle_and_running_are_guessed_and_then_told() -> None:
    power = minutes(1, 8000, 0.3)
    found, rests, state = guessed(power)
    own = state["asset_row"][0]
    assert own["known"] == 1
    assert own["confidence"] > 0.9
    assert (own["idle"], own["running"]) == pytest.approx((2.0, 6.0), rel=0.05)
    told = np.flatnonzero(found != states.UNCHANGED)
    mean = np.array([power[i - 6 : i].mean() for i in told])
    clear = np.abs(mean - 4.0) > 1.5
    assert np.array_equal(found[told][clear] == states.PRODUCING, mean[clear] > 4.0)
    for edges in ((1,), (1445,), (900, 2000, 5001)):
        again, resting, other = guessed(power, edges)
        assert np.array_equal(again, found)
        assert np.array_equal(resting, rests)
        assert all(state[name].tobytes() == other[name].tobytes() for name in state)


@pytest.mark.parametrize("kind", ["white", "walk", "memory"])
def test_nothing_is_guessed_from_one_level(kind: str) -> None:
    power = 6.0 + 0.05 * noise(3, 8000, kind) if kind != "walk" else minutes(2, 8000, 0.0)
    found, _, state = guessed(power)
    assert state["asset_row"][0]["known"] == 0
    assert (found == states.UNCHANGED).all()


def test_what_goes_below_nought_is_no_power() -> None:
    _, _, state = guessed(minutes(1, 8000, 0.3) - 5.0)
    assert state["asset_row"][0]["known"] == 0


def test_a_level_that_is_a_part_of_the_cycle_is_none() -> None:
    """Two minutes of work and one of waiting, over and over: the machine runs all the time."""
    rng = np.random.default_rng(4)
    count = 20_000
    power = np.where(np.arange(count) % 18 < 12, 6.0, 2.0) * (1.0 + 0.02 * rng.normal(size=count))
    _, _, state = guessed(power)
    assert state["asset_row"][0]["known"] == 0
    assert state["asset_row"][0]["mean_ns"] > 60 * 10**9


@pytest.mark.parametrize("beat_seconds", [0, 20, 120])
@pytest.mark.parametrize("idle", [1.0, 4.5])
def test_the_levels_twin(beat_seconds: int, idle: float) -> None:
    """Work first, then in turns of hours; with a beat the minutes show the machine's own cycle."""
    rng = np.random.default_rng(beat_seconds)
    n = 40 * 3600 // 10
    seconds = np.arange(n) * 10
    seconds[n * 3 // 4:] += 3 * 3600  # nothing is said for three hours
    runs = (seconds // 5400) % 3 != 2
    value = np.where(runs, 8.0, idle) + 0.2 * rng.normal(size=n)
    if beat_seconds:
        value = np.where(runs & (seconds % beat_seconds < beat_seconds // 2), 0.5, value)
    value[-n // 8:] = 0.0
    value[::17] = np.nan

    def guess(means: Sequence[float]) -> tuple[float, float, float, float]:
        found = states.guess_levels(np.array(means))
        return found.threshold, found.idle, found.running, found.confidence

    twin = Levels(guess)
    expected = [twin.follow(int(t) * 10**9, float(v)) for t, v in zip(seconds, value, strict=True)]
    state = levels.allocate(1)
    zeros = np.zeros(n, np.int64)
    found, rests = levels.run(state, np.zeros(1, np.int64), zeros, seconds * 10**9, value)
    words = {None: states.UNCHANGED, True: states.PRODUCING, False: states.STOPPED}
    own = state["asset_row"][0]
    assert found.tolist() == [words[said] for said, _ in expected]
    rested = {None: states.UNCHANGED, False: states.PRODUCING, True: states.STOPPED}
    assert rests.tolist() == [rested[rest] for _, rest in expected]
    assert (own["known"] == 1) == (twin.known is not None)
    assert own["highest"] == (twin.rest.highest or 0.0)
    if twin.known is not None:
        assert own["threshold"] == twin.known[0]
    if idle == 1.0:
        assert (rests == states.STOPPED).any()
    elif not beat_seconds:
        assert not (rests == states.STOPPED).any(), "half the power is no rest"


@pytest.mark.parametrize("seed", range(4))
def test_the_doubt_twin(seed: int) -> None:
    """Rests of every length; now and then the others stay as they are at work."""
    rng = np.random.default_rng(seed)
    length = rng.integers(2, 300, 60)
    resting = np.repeat(np.arange(60) % 2 == 1, length)
    hidden = resting & np.repeat(rng.random(60) < (0.0, 0.4, 0.4, 1.0)[seed], length)
    n = resting.size
    time_ns = START + np.cumsum(rng.integers(20, 100, n)) * SECOND
    x = np.array([9.0, 50.0, 3.0]) + rng.normal(size=(n, 3))
    x[resting] -= (9.0, 0.0, 0.0)
    x[resting & ~hidden] -= (0.0, 20.0, 0.0)
    x[rng.random((n, 3)) < 0.1] = np.nan
    tag = np.zeros(3, TAG)
    tag["ready"], tag["centre"], tag["spread"] = 1, (9.0, 50.0, 3.0), 1.0
    ready = np.ones(1, np.int8)
    state = levels.allocate(1)
    works = np.where(resting, observations.RESTS, observations.WORKS).astype(np.int8)
    edges = sorted(rng.integers(0, n, 5).tolist())
    for low, high in zip([0, *edges], [*edges, n], strict=True):
        levels.doubt(
            state["asset_row"], np.zeros(1, np.int64), np.array([[0, 1, 2]]), ready, tag,
            np.zeros(high - low, np.int64), time_ns[low:high], x[low:high], works[low:high],
            observations.RESTS)
    twin = Doubt()
    expected = []
    for t, row, rests in zip(time_ns.tolist(), x, resting.tolist(), strict=True):
        far = np.minimum(np.abs(row[1:] - (50.0, 3.0)), 10.0)
        seen = far[np.isfinite(far)]
        expected.append(twin.follow(t, float(seen.mean()) if seen.size else np.nan, rests))
    assert (works == observations.RESTS).tolist() == expected
    taken_back = resting & (works == observations.WORKS)
    assert taken_back.any() == (seed in (1, 2))
    assert not (taken_back & ~hidden).any()


SENSORS = ("power_kw", "bearing_temp", "vibration")
WORK = np.array([12.0, 60.0, 3.0])
PRESS = parse({"budget": "1/week", "warm_up_rows": 400})


def press(hours: float, seed: int = 0, dead_hour: float = np.inf) -> tuple[Registry, ReadingBatch]:
    """Rows of a minute: every two hours a break of half an hour, in which it cools and is still."""
    rng = np.random.default_rng(seed)
    n = int(hours * 60)
    registry = Registry()
    x = WORK + rng.normal(size=(n, 3)) * (0.3, 0.5, 0.1)
    rests = (np.arange(n) % 150) >= 120
    x[rests] = (0.5, 45.0, 0.2) + rng.normal(size=(int(rests.sum()), 3)) * (0.05, 2.0, 0.02)
    x[int(min(dead_hour * 60, n)) :, 0] = 0.0
    a = registry.asset("press")
    columns = registry.columns(a, SENSORS)
    time_ns = START + np.arange(n) * 60 * SECOND
    return registry, reading_batch(
        np.repeat(a, 3 * n), np.tile(columns, n), np.repeat(time_ns, 3), x.ravel(),
        np.tile([False, False, True], n))


@pytest.mark.parametrize("seed", range(3))
def test_any_cut_and_any_restart_change_nothing(seed: int) -> None:
    """Across the row that tells the levels, the end of the warm-up, and a meter that dies."""
    registry, batch = press(30.0, dead_hour=22.0)
    whole = Monitor(PRESS, registry)
    expected = told([whole.process(batch)])
    assert expected[4], "nothing was alerted: the law would hold for an engine that sleeps"
    registry, batch = press(30.0, dead_hour=22.0)
    rows = np.random.default_rng(seed).integers(0, len(batch) // 3, 12 * seed + 3)
    near = 3 * np.array([239, 240, 241, 480, 500, 501])
    edges = sorted({*(3 * rows).tolist(), *near[seed::2].tolist(), *range(1500, 1503)})
    monitor, outcomes = handed_on(Monitor(PRESS, registry), cut(batch, edges), PRESS)
    assert told(outcomes) == expected
    for component, arrays in whole.state().items():
        for name, array in arrays.items():
            assert array.tobytes() == monitor.state()[component][name].tobytes(), name


def test_rests_are_neither_learned_nor_told() -> None:
    registry, batch = press(60.0)
    monitor = Monitor(PRESS, registry)
    outcome = monitor.process(batch)
    own = monitor.state()["reference"]["tag"]
    assert own["centre"][:3] == pytest.approx(WORK, rel=0.02)
    assert own["spread"][:3] == pytest.approx((0.3, 0.5, 0.1), rel=0.2)
    assert not [a for a in outcome.alerts if a.state == "firing"]
    share = np.isfinite(outcome.scores.score[1000:]).mean()
    assert 0.3 < share < 0.9, "it settles after a rest, and is judged then"
    said = {c.sensor: c.detail for c in monitor.conditions()}["power_kw"]
    assert "the machine is at rest and not judged" in said


def test_a_dead_meter_is_no_rest() -> None:
    registry, batch = press(40.0, dead_hour=30.0)
    monitor = Monitor(PRESS, registry)
    fired = [a for a in monitor.process(batch).alerts if a.state == "firing"]
    assert fired
    late = (fired[0].time_ns - START) / 3.6e12 - 30.0
    assert 0.0 < late < 4.0
    assert fired[0].contributions[0].sensor == "power_kw"


def test_the_first_break_of_all_is_known_by_what_was_usual_before() -> None:
    """Fast rows are judged long before there are minutes enough to tell two levels."""
    rng = np.random.default_rng(0)
    power = np.where(np.arange(9000) < 6000, 12.0, 0.4) + 0.1 * rng.normal(size=9000)
    state = levels.allocate(1)
    _, rests = levels.run(state, np.zeros(1, np.int64), np.zeros(9000, np.int64),
                          START + np.arange(9000) * SECOND, power)
    assert state["asset_row"][0]["known"] == 0
    assert set(rests[1900:6000]) == {states.PRODUCING}
    assert set(rests[6000:]) == {states.STOPPED}
