"""A small line with a fault, for the tests of what is shown."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from anomaly import config
from anomaly.batches import Float64, Outcome, ReadingBatch, reading_batch
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams.metrics_settings import MetricsSettings
from streams.telemetry import Telemetry

ASSETS = ("press", "saw", "oven")
SENSORS = ("speed", "power", "torque")
WARM_UP_ROWS = 80
ENGINE = {"budget": "1/day", "warm_up_rows": WARM_UP_ROWS, "detectors": ["level"]}


class Line:
    """Three machines of three sensors, a row a time each; a fault lifts two sensors of one."""

    def __init__(
        self, start_ns: int = 1_700_000_000 * 10**9, seed: int = 3, row_ns: int = 10**9
    ) -> None:
        self.registry = Registry()
        for name in ASSETS:
            self.registry.columns(self.registry.asset(name), SENSORS)
        self.monitor = Monitor(config.parse(ENGINE), self.registry)
        self.time_ns = start_ns
        self.row_ns = row_ns
        self.latest: Float64 = np.zeros((len(ASSETS), len(SENSORS)))
        self._random = np.random.default_rng(seed)

    def readings(self, rows: int, lift: float = 0.0, asset: str = "saw") -> ReadingBatch:
        """The next rows of all machines; ``lift`` is added to the asset's power and torque."""
        width, machines = len(SENSORS), len(ASSETS)
        x = self._random.normal((100.0, 5.0, 1.0), (2.0, 0.2, 0.05), (rows, machines, width))
        x[:, ASSETS.index(asset), 1:] += lift * np.array([0.2, 0.05])
        self.latest = x[-1]
        times = self.time_ns + np.arange(rows) * self.row_ns
        self.time_ns += rows * self.row_ns
        n = rows * machines * width
        return reading_batch(
            np.tile(np.repeat(np.arange(machines), width), rows),
            np.tile(np.arange(width), rows * machines), np.repeat(times, machines * width),
            x.ravel(), np.arange(n) % width == width - 1)

    def step(self, telemetry: Telemetry, rows: int, lift: float = 0.0) -> Outcome:
        """Judge the next rows and tell the telemetry."""
        outcome = self.monitor.process(self.readings(rows, lift))
        telemetry.observe(0, outcome, self.monitor)
        return outcome


def telemetry(**settings: object) -> Telemetry:
    """Fresh, with a clock that stands still."""
    return Telemetry(MetricsSettings(**settings), 7.0, clock=lambda: 1_700_000_500.0)  # type: ignore[arg-type]


def batches(total: int, size: int) -> Iterator[int]:
    """Sizes of the pieces that add up to ``total``."""
    for start in range(0, total, size):
        yield min(size, total - start)
