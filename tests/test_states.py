"""States: any numbering to the few that are booked, and a guess that says how sure it is."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly import states
from anomaly.errors import ConfigError
from streams.simulate import TWO_SHIFTS, LineConfig, default_stations
from tests.simulated_line import HOUR, Recording


def test_packml_and_any_other_numbering() -> None:
    table = states.mapper(states.PACKML)
    found = states.canonical(
        table, np.array([6.0, 11.0, 5.0, 15.0, 4.0, 99.0, -3.0, np.nan, 1e300]))
    assert found.tolist() == [
        states.PRODUCING, states.STOPPED, states.SUSPENDED, states.CHANGEOVER, states.IDLE,
        states.UNKNOWN, states.UNKNOWN, states.UNCHANGED, states.UNKNOWN]
    own = states.mapper({0: "idle", 2: "producing"})
    assert states.canonical(own, np.array([0.0, 1.0, 2.0])).tolist() == [
        states.IDLE, states.UNKNOWN, states.PRODUCING]


def test_a_mapping_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="runing"):
        states.mapper({1: "runing"})
    with pytest.raises(ConfigError, match=r"states\.-1"):
        states.mapper({-1: "idle"})


def test_running_is_guessed_from_power_and_the_confidence_is_honest() -> None:
    recording = Recording(LineConfig(
        default_stations(3), shifts=TWO_SHIFTS, seed=5, duration_seconds=6 * HOUR))
    power = recording.channel("power_kilowatts")
    state = recording.channel("state")
    # A cycle's own idle strokes look idle: a mean over half a minute tells the machine's state.
    smooth = np.convolve(power, np.ones(28) / 28, "same")
    levels = states.guess_levels(smooth)
    assert levels.confidence > 0.7
    guessed = states.from_levels(levels, smooth)
    agreed = np.mean((guessed == states.PRODUCING) == (state == 6.0))
    assert agreed > 0.95
    always = Recording(LineConfig(default_stations(3), seed=5, duration_seconds=2 * HOUR))
    ripple = np.convolve(always.channel("power_kilowatts"), np.ones(28) / 28, "valid")
    assert states.guess_levels(ripple).confidence < 0.3
    noise = np.random.default_rng(1).normal(10.0, 1.0, 5000)
    one = states.guess_levels(noise)
    assert one.confidence < 0.3
    assert states.guess_levels(np.full(500, 3.0)).confidence == 0.0
    assert states.guess_levels(np.full(50, 3.0)).confidence == 0.0


def test_two_clear_levels_are_found_between_them() -> None:
    generator = np.random.default_rng(2)
    values = np.where(generator.random(4000) < 0.2, 1.0, 8.0) + generator.normal(0, 0.3, 4000)
    levels = states.guess_levels(np.append(values, np.nan))
    assert levels.idle == pytest.approx(1.0, abs=0.1)
    assert levels.running == pytest.approx(8.0, abs=0.1)
    assert 2.0 < levels.threshold < 7.0
    assert levels.confidence > 0.95
    found = states.from_levels(levels, np.array([1.0, 8.0, np.nan]))
    assert found.tolist() == [states.STOPPED, states.PRODUCING, states.UNCHANGED]


def test_a_neighbour_that_is_silent_says_nothing() -> None:
    state = states.allocate(3)["asset_waiting"]
    asset = np.array([0, 1, 2] * 5 + [1, 2] * 5)
    time_ns = np.concatenate([np.repeat(np.arange(1, 6), 3), np.repeat(np.arange(6, 11), 2)])
    parts = np.arange(asset.size, dtype=np.float64)
    found = np.full(asset.size, states.SUSPENDED, np.int8)
    states.split_waiting(
        state, np.array([-1, 0, 1]), np.array([1, 2, -1]), asset, time_ns * 10**9, parts,
        np.zeros(asset.size), found)
    assert set(found[asset == 0].tolist()) == {states.BLOCKED}
    assert set(found[asset == 2].tolist()) == {states.STARVED}
    middle = found[asset == 1]
    assert set(middle[2:5].tolist()) <= {states.STARVED, states.BLOCKED}
    assert set(middle[8:].tolist()) == {states.SUSPENDED}
