"""How long a scrape of many machines takes: our text against the client library's.

Run with ``python -m benchmarks.metrics``. Ids are permanent; a figure is quoted with its id.

M-1  one gauge with a label for each of 100,000 machines: ``exposition`` against
     ``prometheus_client.generate_latest``, medians of alternating rounds on one core.
M-2  the whole of ``/metrics`` with 100,000 machines of one sensor, all named, and what telling the
     telemetry of a batch of 4,000 rows costs the loop, beside what judging them costs.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from anomaly import config
from anomaly.batches import reading_batch
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams import exposition
from streams.metrics_settings import MetricsSettings
from streams.telemetry import Telemetry

SERIES = 100_000
ROUNDS = 7
BATCH_ROWS = 4000


def main() -> None:
    """Print all."""
    compare()
    whole()


def whole() -> None:
    """Print M-2."""
    registry = Registry(asset_limit=SERIES)
    for i in range(SERIES):
        registry.columns(registry.asset(f"hall {i % 7} press {i:06d}"), ["power"])
    monitor = Monitor(config.parse({
        "warm_up_rows": 64, "reference_rows_limit": 64, "detectors": ["level"]}), registry)
    told = Telemetry(MetricsSettings(asset_limit=SERIES), 1.0)
    random = np.random.default_rng(0)
    judging, telling, scraping = [], [], []
    for start in range(0, SERIES, BATCH_ROWS):
        asset = np.arange(start, min(start + BATCH_ROWS, SERIES))
        readings = reading_batch(asset, np.zeros(asset.size), np.full(asset.size, 10**18),
                                 random.normal(size=asset.size), np.ones(asset.size, bool))
        started = time.perf_counter()
        outcome = monitor.process(readings)
        judging.append(time.perf_counter() - started)
        started = time.perf_counter()
        told.observe(0, outcome, monitor)
        telling.append(time.perf_counter() - started)
    for _ in range(ROUNDS):
        time.sleep(0.3)  # else the same text is served again
        started = time.perf_counter()
        text = told.render()
        scraping.append(time.perf_counter() - started)
    print(f"M-2  {text.count(10)} lines, {len(text) / 1e6:.1f} MB: scrape "
          f"{statistics.median(scraping) * 1e3:.0f} ms; a batch of {BATCH_ROWS} rows: telling "
          f"{statistics.median(telling) * 1e3:.2f} ms, judging "
          f"{statistics.median(judging) * 1e3:.2f} ms")


def compare() -> None:
    """Print M-1."""
    names = [f"hall {i % 7} press {i:06d}" for i in range(SERIES)]
    values = np.random.default_rng(0).lognormal(8, 3, SERIES)
    registry = CollectorRegistry()
    gauge = Gauge("andon_asset_return_period_seconds", "Rarity.", ["asset"], registry=registry)
    labels = exposition.Labels()
    for name, value in zip(names, values.tolist(), strict=True):
        gauge.labels(name).set(value)
        labels.add({"asset": name})
    shown = np.ones(SERIES, bool)
    exposition.warm()
    ours, theirs = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        text = exposition.head(gauge._name, "gauge", "Rarity.") + labels.series(
            gauge._name, values, shown)
        ours.append(time.perf_counter() - started)
        started = time.perf_counter()
        reference = generate_latest(registry)
        theirs.append(time.perf_counter() - started)
    assert_same(text, reference)
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(f"M-1  {SERIES} series, {len(text) / 1e6:.1f} MB: ours {mine * 1e3:.1f} ms "
          f"({min(ours) * 1e3:.1f}–{max(ours) * 1e3:.1f}), prometheus_client {other * 1e3:.0f} ms "
          f"({min(theirs) * 1e3:.0f}–{max(theirs) * 1e3:.0f}), {other / mine:.0f} times faster")


def assert_same(ours: bytes, theirs: bytes) -> None:
    """Both texts say the same numbers of the same series."""
    mine, other = exposition.parsed(ours), exposition.parsed(theirs)
    assert mine.keys() == other.keys()
    for series, value in other.items():
        assert abs(mine[series] - value) <= 1e-11 * abs(value), series


if __name__ == "__main__":
    main()
