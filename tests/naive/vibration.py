"""Naive twin of ``anomaly.vibration`` and ``frames``: every sum from its definition, no FFT.

The discrete Fourier transform is the sum over samples; the envelope is the magnitude of the signal
whose lines outside the octave are taken away and whose negative frequencies are none.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from anomaly.vibration import HARMONICS, SLIP, UNITS, Config, band_edges


def features(config: Config, frame: np.ndarray) -> list[float]:
    """Features of one frame float64[n], in the order of ``vibration.names``."""
    n = len(frame)
    x = [float(v) - sum(frame) / n for v in frame]
    mean_square = sum(v * v for v in x) / n
    rms = math.sqrt(mean_square)
    said = [rms, sum(v**4 for v in x) / n / mean_square**2, max(abs(v) for v in x) / rms]
    window = np.array([math.sin(math.pi * j / n) ** 2 for j in range(n)])
    times = np.arange(n)
    lines = np.array([
        np.sum(np.array(x) * window * np.exp(-2j * np.pi * k * times / n))
        for k in range(n // 2 + 1)
    ])
    hz = np.arange(n // 2 + 1) * config.sample_hz / n
    power = 2.0 * np.abs(lines) ** 2 / (n * np.sum(window**2))
    edges = band_edges(config.sample_hz)
    for high, low in itertools.pairwise(edges):
        said.append(math.sqrt(power[(hz > low) & (hz <= high) & (hz > 0)].sum()))
    if config.has_velocity:
        inside = (hz >= 10.0) & (hz <= 1000.0)
        speed = power[inside] / (2.0 * math.pi * hz[inside]) ** 2
        said.append(math.sqrt(speed.sum()) * UNITS[config.unit])
    return said + _envelope(config, lines, n, float(np.sum(window**2)))


def _envelope(config: Config, lines: np.ndarray, n: int, window_square: float) -> list[float]:
    first = n // 8
    count = 2 * first
    times = np.arange(count)
    ringing = sum(
        lines[first + j] * np.exp(2j * np.pi * j * times / count) for j in range(first)
    ) * 2.0 / n  # analytic: the positive lines twice
    squared = np.abs(ringing) ** 2 * n / window_square
    level = squared.mean()
    spectrum = np.array([
        abs(np.sum((squared - level) * np.exp(-2j * np.pi * k * times / count)))
        for k in range(count // 2 + 1)
    ])
    looked_at = spectrum[3:]
    said = [math.sqrt(level), looked_at.max() / looked_at.mean()]
    step = config.sample_hz / n
    for rate in config.bearing.rates_hz().values():
        total = 0.0
        for h in range(1, HARMONICS + 1):
            low = max(3, math.floor(h * rate * (1 - SLIP) / step))
            high = min(len(spectrum) - 1, math.ceil(h * rate * (1 + SLIP) / step))
            total += max(spectrum[low : high + 1], default=0.0)
        said.append(total / HARMONICS / looked_at.mean())
    return said


def rows(
    samples: int, gap_ns: float, hold_ns: int, chosen: int,
    readings: list[tuple[int, int, float]],
) -> list[tuple[int, dict[int, list[float]], dict[int, float]]]:
    """Rows of one asset from (sensor, time, value) in order: time, frames by sensor, other values.

    Sensors below ``chosen`` are sampled. Times ascend within a sensor here.
    """
    gathered: dict[int, list[float]] = {s: [] for s in range(chosen)}
    last: dict[int, int] = {}
    full: dict[int, tuple[int, list[float]]] = {}
    other: dict[int, tuple[int, float]] = {}
    said = []

    def close() -> None:
        newest = max(t for t, _ in full.values())
        said.append((newest, {s: frame for s, (_, frame) in full.items()},
                     {s: v for s, (t, v) in other.items() if 0 <= newest - t <= hold_ns}))
        full.clear()

    for s, t, v in readings:
        if s >= chosen:
            if not math.isnan(v):
                other[s] = (t, v)
            continue
        if s in last and t - last[s] > gap_ns:
            gathered[s] = []
        last[s] = t
        gathered[s] = [] if math.isnan(v) else [*gathered[s], v]
        if len(gathered[s]) == samples:
            if s in full:
                close()
            full[s] = (t, gathered[s])
            gathered[s] = []
            if len(full) == chosen:
                close()
    return said
