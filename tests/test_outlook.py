"""What a slow trend leads to is told with its alert, the same however the stream is cut."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from anomaly import accounts, snapshot
from anomaly.batches import Alert, ReadingBatch, reading_batch
from anomaly.config import parse
from anomaly.explain import LANGUAGES, outlook_sentence
from anomaly.monitor import Monitor
from anomaly.registry import Registry

START = 1_700_000_000 * 10**9
MINUTE = 60 * 10**9
ROWS = 1700


def config(**more: object) -> object:
    return parse({"warm_up_rows": 200, "detectors": ["level_fast", "level", "level_slow"],
                  "budget": "1/day", **more})


def recording(registry: Registry, seed: int = 1) -> ReadingBatch:
    """A bearing that warms by 0.03 degrees a minute from row 400 on, and a quiet sensor."""
    rng = np.random.default_rng(seed)
    a = registry.asset("mill")
    columns = registry.columns(a, ("bearing_celsius", "pressure_bar"))
    x = rng.normal(size=(ROWS, 2)) + np.array([45.0, 6.0])
    x[400:, 0] += 0.03 * np.arange(ROWS - 400)
    return reading_batch(
        np.zeros(2 * ROWS), np.tile(columns, ROWS),
        START + MINUTE * np.repeat(np.arange(ROWS), 2), x.ravel(), np.tile([False, True], ROWS))


def fired(alerts: list[Alert] | tuple[Alert, ...]) -> list[Alert]:
    return [a for a in alerts if a.state == "firing" and a.time_left_seconds is not None]


def test_the_time_to_the_limit_is_told_and_held_against_the_next_stop() -> None:
    registry = Registry()
    monitor = Monitor(config(sensor={"bearing_celsius": {"limit_high": 80.0}}), registry)
    readings = recording(registry)
    stop = START + MINUTE * 3000
    monitor.shop.plan = dataclasses.replace(
        accounts.no_plan(), stop_offsets=np.array([0, 1]), stop_ns=np.array([stop]))
    found = fired(monitor.process(readings).alerts)
    assert found
    crossing = START + MINUTE * (400 + 1167)
    covered = [a.time_left_seconds[0] <= (crossing - a.time_ns) / 1e9 <= a.time_left_seconds[2]
               for a in found if a.time_left_seconds is not None and a.time_ns < crossing]
    assert any(covered)
    assert "Time left until bearing_celsius reaches 80" in found[-1].sentence
    assert "the next planned stop is in" in found[-1].sentence


def test_another_sensor_that_goes_on_is_followed_where_the_leading_one_has_no_trend() -> None:
    registry = Registry()
    readings = recording(registry)
    value = readings.value.copy()
    value[1 + 2 * 900 :: 2] += 40.0  # the pressure jumps once, and leads; the bearing goes on
    value[: 2 * 900 : 2] = np.random.default_rng(2).normal(45.0, 1.0, 900)
    value[2 * 900 :: 2] += 0.03 * np.minimum(400.0, np.arange(ROWS - 900)) - 0.03 * 500
    readings = dataclasses.replace(readings, value=value)
    limits = {"bearing_celsius": {"limit_high": 90.0}, "pressure_bar": {"limit_high": 60.0}}
    found = Monitor(config(sensor=limits), registry).process(readings).alerts
    leads = {a.contributions[0].sensor for a in found if a.state == "firing"}
    assert "pressure_bar" in leads
    told = [a for a in fired(found) if a.contributions[0].sensor == "pressure_bar"]
    assert told
    assert all("until bearing_celsius reaches 90" in a.sentence for a in told)


def test_without_a_limit_the_forecast_goes_as_far_as_no_healthy_course_does() -> None:
    registry = Registry()
    found = fired(Monitor(config(), registry).process(recording(registry)).alerts)
    assert found
    assert all("planned stop" not in a.sentence for a in found)


def test_only_the_direction_that_is_bad_is_forecast() -> None:
    registry = Registry()
    wrong = config(sensor={"bearing_celsius": {"direction": "down"}})
    assert not fired(Monitor(wrong, registry).process(recording(registry)).alerts)


def test_any_split_and_any_restart_tells_the_same() -> None:
    settings = config()
    registry = Registry()
    readings = recording(registry)
    whole = Monitor(settings, registry)
    expected = [repr(a) for a in whole.process(readings).alerts]
    for seed in range(3):
        registry = Registry()
        again = recording(registry)
        monitor = Monitor(settings, registry)
        edges = sorted(np.random.default_rng(seed).integers(0, 2 * ROWS, 7).tolist())
        said: list[str] = []
        for low, high in zip([0, *edges], [*edges, 2 * ROWS], strict=True):
            part = ReadingBatch(
                *(getattr(again, f.name)[low:high] for f in dataclasses.fields(again)))
            said += [repr(a) for a in monitor.process(part).alerts]
            monitor, _ = snapshot.from_bytes(snapshot.to_bytes(monitor, {}), settings)
        assert said == expected
        for name, array in monitor.state()["outlook"].items():
            assert array.tobytes() == whole.state()["outlook"][name].tobytes()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("lasts", ["", "yes", "no", "uncertain"])
def test_the_sentence_in_every_language(language: str, lasts: str) -> None:
    text = outlook_sentence(
        language, "bearing", 80.0, (3 * 3600.0, 5 * 3600.0, 9 * 3600.0), 14 * 3600.0, lasts)
    assert all(part in text for part in ("bearing", "80", "5", "3", "9"))
    assert ("14" in text) == bool(lasts)
    assert "{" not in text
