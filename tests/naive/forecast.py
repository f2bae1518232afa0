"""Naive twin of ``anomaly.detectors.forecast``: weighted least squares solved anew at every value.

Recursive least squares minimises Σ λ^(n−j) (y_j − w'u_j)² + λ^n w'w / start (Haykin, "Adaptive
Filter Theory", the cost function of exponentially weighted RLS with its regularisation); here that
minimum is computed by ``numpy.linalg.solve`` from all regressors there ever were.
"""

from __future__ import annotations

import numpy as np

from anomaly.detectors.forecast import RATIO_LIMIT, START, VALUE_LIMIT, Config
from tests.naive.reference import running_scales


def scores(warm_up: np.ndarray, rows: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Scores float64[n] and evidence float64[n, d] of the rows that follow ``warm_up``."""
    everything = np.vstack([warm_up, rows])
    smoothed = np.full(everything.shape, np.nan)
    for c in range(rows.shape[1]):
        place = np.flatnonzero(~np.isnan(everything[:, c]))
        smoothed[place, c] = _sensor(everything[place, c].tolist(), config)
    smoothed = smoothed[len(warm_up) :]
    opinion = ~np.isnan(smoothed)
    score = np.array([
        np.sqrt(row[known].mean()) if known.any() else np.nan
        for row, known in zip(smoothed, opinion, strict=True)
    ])
    return score, np.where(opinion, smoothed, 0.0)


def _sensor(values: list[float], config: Config) -> list[float]:
    regressors: list[np.ndarray] = []
    targets: list[float] = []
    squares: list[float] = []
    smooth, out = 0.0, []
    scales = running_scales(values, config.memory_rows)
    decay = 1 - 0.5 ** (1 / config.half_life_rows)
    for n, value in enumerate(values):
        if n < config.lags:
            out.append(np.nan)
            continue
        mean, variance = scales[n]
        unit = np.sqrt(variance) + 1e-9 * (abs(mean) or 1.0)
        past = (np.array(values[n - config.lags : n][::-1]) - mean) / unit
        u = np.concatenate([[1.0], np.clip(past, -VALUE_LIMIT, VALUE_LIMIT)])
        y = float(np.clip((value - mean) / unit, -VALUE_LIMIT, VALUE_LIMIT))
        error = y - float(u @ _coefficients(regressors, targets, config, len(u)))
        typical = _typical(squares, config.memory_rows)
        ratio = min(error**2 / typical, RATIO_LIMIT) if typical > 0 else RATIO_LIMIT
        smooth += decay * (ratio - smooth)
        out.append(smooth if n >= 4 * config.lags else np.nan)
        regressors.append(u)
        targets.append(y)
        squares.append(error**2)
    return out


def _coefficients(
    regressors: list[np.ndarray], targets: list[float], config: Config, size: int
) -> np.ndarray:
    n = len(targets)
    if n == 0:
        return np.zeros(size)
    u, y = np.array(regressors), np.array(targets)
    weight = config.forgetting ** np.arange(n - 1, -1, -1)
    matrix = (u * weight[:, None]).T @ u + config.forgetting**n / START * np.eye(size)
    return np.linalg.solve(matrix, (u * weight[:, None]).T @ y)


def _typical(squares: list[float], memory: float) -> float:
    mean = 0.0
    for count, square in enumerate(squares):
        if count >= 32:
            square = min(square, RATIO_LIMIT * mean + 1e-12)
        mean += max(1 / (count + 1), 1 / memory) * (square - mean)
    return mean
