"""What frozen references are, written out: the slow twin of ``numerics`` and ``warm_up``."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np


def robust(column: np.ndarray) -> tuple[float, float] | None:
    """Median and max(IQR / 1.349, sd / 2, rounding's own deviation); None below eight values.

    Values farther from the median than ten spans of the middle nine tenths count as that far. A
    constant column has 1 % of its level for a scale, of 1 if its level is 0.
    """
    values = sorted(v for v in column.tolist() if v == v)
    if len(values) < 8:
        return None
    median = quantile(values, 0.5)
    span = quantile(values, 0.95) - quantile(values, 0.05)
    if span > 0:
        values = [min(max(v, median - 10 * span), median + 10 * span) for v in values]
    mean = sum(values) / len(values)
    deviation = (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5
    spread = (quantile(sorted(column[column == column].tolist()), 0.75)
              - quantile(sorted(column[column == column].tolist()), 0.25)) / 1.349
    scale = max(spread, deviation / 2)
    ascending = sorted(column[column == column].tolist())
    steps = [b - a for a, b in itertools.pairwise(ascending)
             if b - a > 1e-9 * (abs(b) + abs(median))]
    if steps:
        scale = max(scale, min(steps) / 12**0.5)
    if scale <= 1e-12 * abs(median):
        scale = 0.01 * (abs(median) or 1.0)
    return median, scale


def quantile(ascending: list[float], share: float) -> float:
    """Linear interpolation between order statistics (Hyndman and Fan's type 7)."""
    place = share * (len(ascending) - 1)
    below = int(place)
    above = min(below + 1, len(ascending) - 1)
    return ascending[below] + (place - below) * (ascending[above] - ascending[below])


def cross_fit(
    rows: np.ndarray, folds: int, judge: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Each contiguous fold scored by ``judge(all the other rows, fold)``.

    The other rows are those after the fold, then those before it.
    """
    count = len(rows)
    parts = []
    for fold in range(folds):
        start, stop = count * fold // folds, count * (fold + 1) // folds
        others = np.vstack([rows[stop:], rows[:start]])
        parts.append(judge(others, rows[start:stop]))
    return np.concatenate(parts)


def z_scores(warm_up: np.ndarray, rows: np.ndarray, limit: float) -> np.ndarray:
    """z of every row against ``warm_up``, within ±limit; NaN = missing or no reference."""
    z = np.full(rows.shape, np.nan)
    for c in range(rows.shape[1]):
        known = robust(warm_up[:, c])
        if known is not None:
            z[:, c] = (rows[:, c] - known[0]) / known[1]
    return np.clip(z, -limit, limit)


def running_scales(values: list[float], memory: float) -> list[tuple[float, float]]:
    """Mean and variance that forget (West, CACM 22 (1979)), as known *before* each value.

    The k-th value has weight max(1/k, 1/memory); from the 33rd on its distance from the mean is
    cut at eight deviations and 1 % of the level.
    """
    mean = variance = 0.0
    before = []
    for count, value in enumerate(values):
        before.append((mean, variance))
        weight = max(1 / (count + 1), 1 / memory)
        step = value - mean
        if count >= 32:
            limit = 8 * variance**0.5 + 0.01 * (abs(mean) or 1.0)
            step = min(max(step, -limit), limit)
        mean += weight * step
        variance = (1 - weight) * (variance + weight * step * step)
    return before
