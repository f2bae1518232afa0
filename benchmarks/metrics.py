"""How long a scrape of many machines takes: our text against the client library's.

Run with ``python -m benchmarks.metrics``. Ids are permanent; a figure is quoted with its id.

M-1  one gauge with a label for each of 100,000 machines: ``exposition`` against
     ``prometheus_client.generate_latest``, medians of alternating rounds on one core.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from streams import exposition

SERIES = 100_000
ROUNDS = 7


def main() -> None:
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
