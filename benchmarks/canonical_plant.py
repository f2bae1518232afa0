"""The plant that every figure of the engine is of: 1,000 machines of 10 sensors at 10 Hz.

A row a second, the default configuration with all default detectors, calibration and alerts on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

ASSETS, SENSORS, RATE = 1000, 10, 10


def warm(assets: int = ASSETS) -> tuple[Any, Callable[[int], Any]]:
    """A monitor of so many machines past their warm-up, and what gives it a second of readings.

    The second function's argument counts the seconds since, from 0; each is asked for once.
    """
    from anomaly.batches import reading_batch
    from anomaly.config import parse
    from anomaly.monitor import Monitor
    from anomaly.registry import Registry

    registry = Registry()
    for name in range(assets):
        registry.columns(registry.asset(f"m{name}"), [f"s{c}" for c in range(SENSORS)])
    monitor = Monitor(parse({"windows": {"row_seconds": 1.0}}), registry)
    learned = monitor.config.warm_up_rows + 100
    rng = np.random.default_rng(1)

    def second(number: int, rate: int = RATE) -> Any:
        ticks = assets * rate
        asset = np.repeat(np.tile(np.arange(assets), rate), SENSORS)
        time_ns = np.repeat(number * 10**9 + np.arange(rate) * 10**8, assets * SENSORS)
        closes = np.tile(np.arange(SENSORS) == SENSORS - 1, ticks)
        return reading_batch(asset, np.tile(np.arange(SENSORS), ticks), time_ns,
                             rng.normal(size=ticks * SENSORS), closes)

    for number in range(learned):
        monitor.process(second(number, 1))
    said = monitor.process(second(learned)).scores.detector_score
    assert not np.isnan(said).any(), "not every detector is at work"
    return monitor, lambda number: second(learned + 1 + number)
