"""A load generator: any number of assets and sensors at once, plain signals, as fast as possible.

No line, no parts, no faults: only rows whose values look enough like sensors to keep every stage
of the program busy. For a line with physics see ``generate``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from anomaly.kernel import kernel
from streams.simulation.config import DEFAULT_START_NS, SimulationError
from streams.simulation.generate import Chunk
from streams.simulation.line import CYCLE_DTYPE
from streams.simulation.noise import normal, stream_key, uniform

_CHUNK_READINGS = 1_000_000  # 8 MB of values at a time
MAXIMUM_READINGS = 10**13
_DECIMALS = 100.0  # values are quantised to 0.01


def load_plant(
    assets: int,
    sensors: int,
    seconds: float,
    seed: int,
    *,
    row_interval_seconds: float = 1.0,
    start_time_ns: int = DEFAULT_START_NS,
) -> Iterator[Chunk]:
    """Rows of ``assets`` × ``sensors`` channels, every asset once per interval, in time order.

    Each channel is ``level + day + load of the asset's cycle + shared wander + noise``, quantised
    to 0.01: ``level`` 5 to 95, a daily course of 2, a load of up to 3 over a cycle of 20 to 90 s,
    a wander shared by the asset's channels, and white noise of 0.2. ``Chunk.bookings``, ``cycles``
    and ``buffers`` are empty: there is no line.

    Raises
    ------
    SimulationError
        At once, for counts that are not positive or too many readings.
    """
    rows = int(seconds / row_interval_seconds) if row_interval_seconds > 0.0 else 0
    if min(assets, sensors, rows) < 1 or seed < 0:
        raise SimulationError(
            "a plant needs at least one asset, one sensor and one row, and a seed of 0 or more"
        )
    if assets * sensors * rows > MAXIMUM_READINGS:
        raise SimulationError(f"more than {MAXIMUM_READINGS} readings")
    interval_ns = round(row_interval_seconds * 1e9)
    return _chunks(assets, sensors, rows, seed, interval_ns, start_time_ns)


def _chunks(
    assets: int, sensors: int, rows: int, seed: int, interval_ns: int, start_time_ns: int
) -> Iterator[Chunk]:
    columns = tuple(f"sensor_{i + 1:03d}" for i in range(sensors))
    tag_key, noise_key = stream_key(seed, 4), stream_key(seed, 5)
    per_chunk = max(_CHUNK_READINGS // (assets * sensors), 1)
    for first in range(0, rows, per_chunk):
        row = np.arange(first, min(first + per_chunk, rows), dtype=np.int64)
        values = np.empty((row.size * assets, sensors))
        seconds = row * (interval_ns / 1e9)
        day = np.sin(2.0 * np.pi * (start_time_ns / 1e9 % 86_400.0 + seconds) / 86_400.0)
        _fill(tag_key, noise_key, assets, first, seconds, day, values)
        yield Chunk(
            columns=columns,
            time_ns=np.repeat(start_time_ns + row * interval_ns, assets),
            asset=np.tile(np.arange(assets, dtype=np.int64), row.size),
            values=values,
            first_scan=0,
            bookings=np.zeros((0, assets), np.int8),
            cycles=np.zeros(0, CYCLE_DTYPE),
            buffers=np.zeros((0, assets), np.int64),
        )


@kernel
def _fill(
    tag_key: np.uint64, noise_key: np.uint64, assets: int, first_row: int,
    seconds: Any, day: Any, values: Any,
) -> None:  # fmt: skip
    """Values float64[rows × assets, sensors]; ``seconds`` and ``day`` are float64[rows]."""
    sensors = values.shape[1]
    for i in range(seconds.size):
        for a in range(assets):
            period = 20.0 + 70.0 * uniform(tag_key, a)
            phase = seconds[i] / period + uniform(tag_key, -1 - a)
            phase -= np.floor(phase)
            load = 12.0 * phase * (1.0 - phase)  # a bump of height 3 per cycle
            row = (first_row + i) * assets + a
            slow = (first_row + i) // 300  # the wander moves in straight lines of 300 rows
            share = (first_row + i) % 300 / 300.0
            wander = (1.0 - share) * normal(noise_key, -1 - (slow * assets + a))
            wander += share * normal(noise_key, -1 - ((slow + 1) * assets + a))
            for c in range(sensors):
                tag = assets + a * sensors + c
                level = 5.0 + 90.0 * uniform(tag_key, tag)
                weight = uniform(tag_key, -1 - tag)
                value = level + 2.0 * weight * day[i] + weight * load + 0.5 * weight * wander
                value += 0.2 * normal(noise_key, row * sensors + c)
                values[i * assets + a, c] = np.floor(value * _DECIMALS + 0.5) / _DECIMALS
