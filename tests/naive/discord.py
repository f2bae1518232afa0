"""Naive twin of ``anomaly.detectors.discord``: every pair of windows compared value by value.

Left discord: distance of the last window to its nearest earlier non-overlapping one (Yeh et al.,
ICDM 2016; Zimmerman et al., "Matrix Profile XIII", 2019), here root mean squares over the window.
"""

from __future__ import annotations

import numpy as np

from anomaly.detectors.discord import RATIO_LIMIT, Config
from tests.naive.reference import running_scales


def scores(warm_up: np.ndarray, rows: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Scores float64[n] and evidence float64[n, d] of the rows that follow ``warm_up``."""
    everything = np.vstack([warm_up, rows])
    ratio = np.full(everything.shape, np.nan)
    for c in range(rows.shape[1]):
        place = np.flatnonzero(~np.isnan(everything[:, c]))
        ratio[place, c] = _sensor(everything[place, c], config)
    ratio = ratio[len(warm_up) :]
    opinion = ~np.isnan(ratio)
    score = np.array([
        row[known].mean() if known.any() else np.nan
        for row, known in zip(ratio, opinion, strict=True)
    ])
    return score, np.where(opinion, ratio, 0.0)


def _sensor(values: np.ndarray, config: Config) -> np.ndarray:
    """Mean ratio after each value, NaN = no opinion yet."""
    held = np.full((len(values), len(config.decimations), 3), np.nan)
    for level, size in enumerate(config.decimations):
        count = len(values) // size
        blocks = values[: count * size].reshape(count, size).mean(axis=1)
        ratios = _ratios(distances(blocks, config.window, config.history),
                         config.memory_rows / size)
        for n in range(len(values)):
            done = (n + 1) // size  # blocks complete by now
            if done > 0:
                held[n, level] = ratios[done - 1]
    flat = held.reshape(len(values), -1)
    known = ~np.isnan(flat)
    total = np.where(known, flat, 0.0).sum(axis=1)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)


def distances(
    blocks: np.ndarray, window: int, history: int, softening: float = 0.01
) -> np.ndarray:
    """Shape, centred and raw distance of each block's window: float64[blocks, 3], NaN = none."""
    out = np.full((len(blocks), 3), np.nan)
    variance = [before[1] for before in running_scales(blocks.tolist(), 4000.0)]

    def soft(i: int) -> float:
        now = blocks[i - window + 1 : i + 1]
        return float(np.sqrt(now.var() + softening * variance[i] + 1e-200))

    for i in range(2 * window - 1, len(blocks)):
        a = blocks[i - window + 1 : i + 1]
        found = []
        for j in range(max(window - 1, i - history), i - window + 1):
            b = blocks[j - window + 1 : j + 1]
            apart = (a - a.mean()) - (b - b.mean())
            shape = (a - a.mean()) / soft(i) - (b - b.mean()) / soft(j)
            found.append([(shape**2).mean(), (apart**2).mean(), ((a - b) ** 2).mean()])
        out[i] = np.sqrt(np.min(found, axis=0))
    return out


def _ratios(distance: np.ndarray, memory: float) -> np.ndarray:
    """Each distance over the running mean of the positive ones before it; NaN = no opinion."""
    out = np.full(distance.shape, np.nan)
    for kind in range(distance.shape[1]):
        typical, positive, ratio = 0.0, 0, np.nan
        for i, d in enumerate(distance[:, kind]):
            if not np.isnan(d):
                if positive > 16:
                    ratio = min(d / typical, RATIO_LIMIT)
                if d > 0:
                    learned = min(d, 8 * typical) if positive >= 32 else d
                    typical += max(1 / (positive + 1), 1 / memory) * (learned - typical)
                    positive += 1
            out[i, kind] = ratio
    return out
