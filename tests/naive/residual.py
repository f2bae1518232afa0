"""Naive twin of ``anomaly.detectors.residual``: each sensor regressed on the others, one by one.

Hawkins, Technometrics 33 (1991), §2: the residual of sensor j given the rest is e_j − β e, with
β from the others' correlations, over the root of what β leaves unexplained. Every mean is summed
anew from all z's of the sensor (Roberts, Technometrics 1 (1959)).
"""

from __future__ import annotations

import math

import numpy as np

from anomaly.detectors.residual import QUIET_SHARE, WIDTH_LIMIT, Config
from tests.naive.reference import cross_fit, z_scores


def fit_scores(rows: np.ndarray, config: Config) -> np.ndarray:
    return cross_fit(rows, config.folds, lambda w, held: scores(w, held, config)[0])


def scores(warm_up: np.ndarray, rows: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Scores float64[n] and evidence float64[n, d] of the rows that follow ``warm_up``."""
    first = len(warm_up)
    z = z_scores(warm_up, np.vstack([warm_up, rows]), config.clip_limit)
    score, evidence = np.full(len(rows), np.nan), np.zeros(rows.shape)
    known = [c for c in range(rows.shape[1]) if not np.isnan(z[:first, c]).all()]
    if len(known) < config.least_sensors or rows.shape[1] > WIDTH_LIMIT:
        return score, evidence
    correlation = shrunk_correlation(z[:first, known])
    smooth = np.array([[mean(z[: i + 1, c], config.weight) for c in known] for i in range(len(z))])
    quiet = QUIET_SHARE * math.sqrt(config.weight / (2 - config.weight))
    for j, c in enumerate(known):
        others = [k for k in range(len(known)) if k != j]
        beta = np.linalg.solve(correlation[np.ix_(others, others)], correlation[others, j])
        unexplained = math.sqrt(1.0 - correlation[j, others] @ beta)
        residual = (smooth[:, j] - smooth[:, others] @ beta) / unexplained
        residual /= max(math.sqrt(np.mean(residual[:first] ** 2)), quiet)
        there = ~np.isnan(rows[:, c])
        evidence[there, c] = residual[first:][there] ** 2
        score[there] = np.fmax(score[there], abs(residual[first:][there]))
    return score, evidence


def shrunk_correlation(z: np.ndarray) -> np.ndarray:
    """Correlations of the warm-up, a missing z counted as 0, times 1 − min(0.9, d / (d + w))."""
    rows, width = z.shape
    filled = np.nan_to_num(z)
    matrix = np.eye(width)
    for j in range(width):
        for k in range(width):
            if j != k and filled[:, j].std() > 0 and filled[:, k].std() > 0:
                matrix[j, k] = np.corrcoef(filled[:, j], filled[:, k])[0, 1]
                matrix[j, k] *= 1 - min(0.9, width / (width + rows))
    return matrix


def mean(past: np.ndarray, weight: float) -> float:
    """Σ w (1 − w)^j over the values there are, newest first."""
    values = past[~np.isnan(past)][::-1]
    return float(weight * (1 - weight) ** np.arange(len(values)) @ values)
