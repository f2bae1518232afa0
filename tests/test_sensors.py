"""Direction and smallest deviation per sensor: what does not matter raises no alert."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly import sensors, watchers
from anomaly.batches import reading_batch
from anomaly.config import parse
from anomaly.monitor import Monitor
from anomaly.registry import Registry

ROWS, ONSET, WARM_UP = 1_400, 1_000, 500
NAMES = ["temperature", "pressure", "speed", "torque", *(f"extra {i}" for i in range(20))]


def alerts_of(x: np.ndarray, options: dict[str, object]) -> list[str]:
    """Sensors first named by the alerts that fire on one asset's rows float64[n, d]."""
    registry = Registry()
    width = x.shape[1]
    asset = registry.asset("press")
    columns = registry.columns(asset, NAMES[:width])
    monitor = Monitor(parse({
        "warm_up_rows": WARM_UP, "budget": "1/week", "sensor": options}), registry)
    rows = np.arange(len(x))
    outcome = monitor.process(reading_batch(
        np.full(x.size, asset), np.tile(columns, len(x)), np.repeat(rows * 60 * 10**9, width),
        x.ravel(), np.tile(np.arange(width) == width - 1, len(x))))
    fired = [alert for alert in outcome.alerts if alert.state == "firing"]
    return [alert.contributions[0].sensor for alert in fired]


def machine(width: int, shift: float) -> np.ndarray:
    x = 50.0 + np.random.default_rng(11).normal(size=(ROWS, width))
    x[ONSET:, 0] += shift
    return x


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("shift, options, fires", [
    (9.0, {}, True),
    (9.0, {"temperature": {"direction": "up"}}, True),
    (9.0, {"temperature": {"direction": "down"}}, False),
    (-9.0, {"temperature": {"direction": "up"}}, False),
    (9.0, {"press/temperature": {"smallest_deviation": 4.0}}, True),
    (9.0, {"press/temperature": {"smallest_deviation": 15.0}}, False),
    (9.0, {"speed": {"smallest_deviation": 15.0}}, True),
])
def test_only_deviations_that_matter_raise_alerts(
    width: int, shift: float, options: dict[str, object], fires: bool
) -> None:
    assert bool(alerts_of(machine(width, shift), options)) == fires


def test_a_single_step_of_a_coarse_sensor_is_not_odd() -> None:
    """20.0 and once in a hundred rows 20.1: a thermometer on the edge, later a little over it."""
    rng = np.random.default_rng(12)
    x = np.where(rng.random((ROWS, 1)) < 0.01, 20.1, 20.0)
    x[ONSET:, 0] = np.where(rng.random(ROWS - ONSET) < 0.02, 20.1, 20.0)
    assert not alerts_of(x, {})
    x[ONSET:, 0] = 22.0
    assert alerts_of(x, {})


def test_one_sensor_of_twenty_is_seen_and_named_though_the_others_scatter_together() -> None:
    """A common, slow swing makes the mean over all sensors wide; alone, the one is far off."""
    rng = np.random.default_rng(13)
    swing = np.cumsum(rng.normal(size=ROWS))
    swing = 4.0 * (swing - np.convolve(swing, np.full(200, 1 / 200), "same"))
    x = rng.normal(size=(ROWS, 20)) + swing[:, None]
    x[:, 0] = rng.normal(size=ROWS)
    quiet = x.copy()
    x[ONSET:, 0] += 5.0
    assert "temperature" not in alerts_of(quiet, {})
    assert "temperature" in alerts_of(x, {})


def test_the_shares_of_the_budget_never_exceed_it() -> None:
    for shares in (watchers.WITH_SHAPE, watchers.WITH_ALONE):
        assert sum(1.0 / share for share in shares) <= 1.0


def test_columns_are_empty_where_nothing_is_said() -> None:
    registry = Registry()
    registry.columns(registry.asset("press"), NAMES[:4])
    said = sensors.known(parse({"sensor": {"speed": {"range_high": 80.0}}}), registry)
    assert said.high.tolist() == [np.inf, np.inf, 80.0, np.inf]
    assert said.least.size == said.way.size == 0
    nothing = sensors.known(parse({}), registry)
    assert nothing.low.size == nothing.high.size == nothing.least.size == 0
