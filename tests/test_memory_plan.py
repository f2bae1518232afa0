"""What a sensor gets of a memory limit: sizes, the rule, and that memory is really given back."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anomaly import assets, memory_plan, room
from anomaly.batches import ReadingBatch, reading_batch
from anomaly.config import MonitorConfig
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from tests import laws

DEFAULT = MonitorConfig()
SENSORS = 4
MEGABYTES = 64.0


def machines(config: MonitorConfig, count: int) -> Monitor:
    registry = Registry()
    for m in range(count):
        registry.columns(registry.asset(f"m{m}"), [f"s{c}" for c in range(SENSORS)])
    return Monitor(config, registry)


def rows(count: int, assets_: int, first: int = 0, seed: int = 0) -> ReadingBatch:
    values = np.random.default_rng(seed + first).normal(size=count * assets_ * SENSORS)
    return reading_batch(
        np.tile(np.repeat(np.arange(assets_), SENSORS), count),
        np.tile(np.arange(SENSORS), count * assets_),
        np.repeat((first + np.arange(count)) * 10**9, assets_ * SENSORS), values,
        np.tile(np.arange(SENSORS) == SENSORS - 1, count * assets_))


def test_a_full_sensor_takes_64_kilobytes_and_a_light_one_2() -> None:
    plan = memory_plan.plan(DEFAULT)
    assert plan.full_bytes <= 64 * 1024
    assert plan.light_bytes <= 2 * 1024


def test_the_plan_follows_the_limit_and_says_so() -> None:
    small, large = (memory_plan.plan(dataclasses.replace(DEFAULT, memory_limit_megabytes=m))
                    for m in (64.0, 6400.0))
    assert small.full_tags * 100 == pytest.approx(large.full_tags, abs=100)
    assert small.full_tags * (small.full_bytes - small.light_bytes) <= 32 << 20
    assert small.tag_limit * (small.light_bytes + small.warm_up_bytes) <= 32 << 20
    assert "64 MB" in small.sentence()
    assert "in full" in small.sentence(10)
    assert "lightly" in small.sentence(small.full_tags + 1)
    assert "do not fit" in small.sentence(small.tag_limit + 1)


def test_later_sensors_do_without_the_pyramid_and_disturb_nobody() -> None:
    config = dataclasses.replace(DEFAULT, warm_up_rows=60, memory_limit_megabytes=1.0)
    full = memory_plan.plan(config).full_tags
    assert 4 <= full < 40
    many, few = machines(config, 10), machines(config, full // SENSORS)
    arrays = many.arrays()["detector.pyramid"]
    assert all(len(array) == full for name, array in arrays.items() if name.startswith("tag"))
    batch = rows(400, 10)
    first = batch.asset < full // SENSORS
    said = many.process(batch)
    alone = few.process(type(batch)(*(c[first] for c in dataclasses.astuple(batch))))
    mine = said.rows.asset < full // SENSORS
    assert said.scores.detector_score[mine].tobytes() == alone.scores.detector_score.tobytes()
    pyramid = many.detector_names.index("pyramid")
    last = said.scores.detector_score[said.rows.asset == 9]
    assert np.isnan(last[:, pyramid]).all()
    assert not np.isnan(last[-1]).all()


def test_a_state_of_full_and_light_sensors_is_taken_and_put_back() -> None:
    config = dataclasses.replace(DEFAULT, warm_up_rows=60, memory_limit_megabytes=1.0)
    live, again = machines(config, 10), machines(config, 10)
    live.process(rows(700, 10))
    everyone = list(range(10))
    taken = assets.Tracker(live).changes(everyone, [True] * 10)
    assets.restore(again, ((a, [text]) for a, text in zip(everyone, taken, strict=True)))
    again.load_stream(live.stream_state())
    laws.same_state(again.state(), live.state(), "restored")
    one, other = live.process(rows(50, 10, 700)), again.process(rows(50, 10, 700))
    assert one.scores.score.tobytes() == other.scores.score.tobytes()


def test_the_warm_up_leaves_no_memory_behind() -> None:
    monitor = machines(dataclasses.replace(DEFAULT, warm_up_rows=60), 30)
    monitor.process(rows(59, 30))
    state = monitor.arrays()
    assert all(state[c][n].any() for c, n in room.WARM_UP)
    monitor.process(rows(2, 30, 59))
    assert not any(state[c][n].any() for c, n in room.WARM_UP)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="asks Linux for resident pages")
def test_as_many_sensors_as_the_plan_allows_stay_within_the_limit() -> None:
    """While all of them warm up and after it; the limit is of a partition, whatever it holds.

    In a process of its own: another test's memory, given back and used again, is not counted.
    """
    assert 0.5 * MEGABYTES < asked("most_resident") <= MEGABYTES


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="asks Linux for resident pages")
def test_growing_does_not_hold_the_state_twice() -> None:
    """The old state goes array by array, in a process of its own, whose highest mark it tells."""
    assert 0.0 < asked("share_while_growing") < 0.6


def asked(function: str) -> float:
    """What a function of this file returns in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", f"from tests import test_memory_plan as t; print(t.{function}())"],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def share_while_growing() -> float:
    """What one more machine takes for a moment, against what the others' state takes."""
    config, count = dataclasses.replace(DEFAULT, warm_up_rows=60), 512
    machines(config, 2).process(rows(70, 2))  # loads what is compiled
    empty = _resident_kilobytes()
    monitor = machines(config, count)
    for first in range(0, 80, 2):
        monitor.process(rows(2, count, first))
    full = _resident_kilobytes()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # what compiling took before
    monitor.registry.columns(monitor.registry.asset("one more"), ["s0"])
    monitor.process(rows(1, 2, 80))
    return (_kilobytes("VmHWM") - full) / (full - empty)


def most_resident() -> float:
    """Most megabytes that a monitor takes which is given as many sensors as its plan allows."""
    config = dataclasses.replace(DEFAULT, warm_up_rows=60, memory_limit_megabytes=MEGABYTES)
    machines(config, 2).process(rows(70, 2))  # loads what is compiled
    before = _resident_kilobytes()
    count = memory_plan.plan(config).tag_limit // SENSORS
    monitor = machines(config, count)
    most = 0
    for first in range(0, 66, 2):
        monitor.process(rows(2, count, first))
        most = max(most, _resident_kilobytes() - before)
    assert monitor.conditions()[-1].state != "warming"
    return most / 1024


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="asks Linux for resident pages")
def test_given_back_pages_are_not_resident() -> None:
    tags = np.arange(2000)
    config = dataclasses.replace(DEFAULT, detectors=("level",))
    monitor = machines(config, 500)
    state = monitor._state
    for component, name in room.WARM_UP:
        state[component][name][:] = 1
    before = _resident_kilobytes()
    for a in range(500):
        room.forget_warm_up(state, a, tags[a * SENSORS : (a + 1) * SENSORS])
    given_back = before - _resident_kilobytes()
    held = sum(state[c][n].nbytes * 500 // 512 for c, n in room.WARM_UP) // 1024
    assert given_back > 0.9 * held


def _resident_kilobytes() -> int:
    return _kilobytes("VmRSS")


def _kilobytes(name: str) -> int:
    """A line of this process's ``status``."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition(f"{name}:")[2].split()[0])
