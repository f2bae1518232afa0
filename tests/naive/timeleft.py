"""The line of a forecast as one would write it with numpy."""

from __future__ import annotations

import numpy as np


def line(points: np.ndarray, level: float) -> tuple[float, float] | None:
    """Points until the level and the relative error of that; None = no trend."""
    n = points.size
    windows = {int(12.0 * (n / 12.0) ** (k / 15.0) + 1e-9) for k in range(15)} | {n}
    chosen = None
    for window in sorted(windows):
        x, y = thinned(points[n - window:])
        first, second = np.triu_indices(x.size, 1)
        slopes = (y[second] - y[first]) / (x[second] - x[first])
        low, slope, high = np.quantile(slopes, (0.25, 0.5, 0.75))
        if slope <= 0.0:
            continue
        ends = y + slope * (window - 1 - x)
        now = np.median(ends)
        noise = 1.4826 * np.median(np.abs(ends - now))
        error = (high - low) / 1.35 / np.sqrt(x.size / 2.0)
        gap = max(level - now, 0.25 * noise, 1e-300)
        chosen = (gap / slope, np.hypot(error / slope, noise / gap), slope / max(error, 1e-300))
        if chosen[0] <= window:
            break
    if chosen is None or chosen[2] < 3.0 or chosen[0] > n:
        return None
    return max(chosen[0], 1e-9), min(chosen[1], 1.5)


def thinned(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most 40 block means up to the end, and their places."""
    block = -(-points.size // 40)
    blocks = points.size // block
    start = points.size - blocks * block
    y = points[start:].reshape(blocks, block).mean(axis=1)
    return start + (np.arange(blocks) + 0.5) * block - 0.5, y
