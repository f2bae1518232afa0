"""Naive twin of ``anomaly.detectors.residual``: each sensor regressed on the others, one by one.

Hawkins, Technometrics 33 (1991), §2: the residual of sensor j given the rest is e_j − β e, with
β from the others' correlations, over the root of what β leaves unexplained; then how far it has
moved and how much more it scatters. Every mean is summed anew from all there was of the sensor
(Roberts, Technometrics 1 (1959)).
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
    z = z[:, known]
    correlation = shrunk_correlation(z[:first])
    there = ~np.isnan(z)
    standing = np.array(
        [[z[i, j] if there[i, j] else mean(z[:i, j], config.weight) for j in range(len(known))]
         for i in range(len(z))])
    far, wide = np.zeros((len(rows), len(known))), np.zeros((len(rows), len(known)))
    for j in range(len(known)):
        others = [k for k in range(len(known)) if k != j]
        beta = np.linalg.solve(correlation[np.ix_(others, others)], correlation[others, j])
        unexplained = math.sqrt(1.0 - correlation[j, others] @ beta)

        def left(values: np.ndarray, j=j, others=others, beta=beta, by=unexplained) -> np.ndarray:
            return (values[:, j] - values[:, others] @ beta) / by

        healthy = left(np.nan_to_num(z[:first]))
        deviation = max(math.sqrt(np.mean(healthy**2)), QUIET_SHARE)
        healthy = healthy / deviation
        residual = np.where(there[:, j], left(standing) / deviation, np.nan)
        for out, ahead, past, weight, one in (
            (far, residual, healthy, config.weight, 1.0),
            (wide, residual**2 - 1, healthy**2 - 1, config.scatter_weight, math.sqrt(2.0)),
        ):
            usual = math.sqrt(np.mean([mean(past[: i + 1], weight) ** 2 for i in range(first)]))
            usual = max(usual, QUIET_SHARE * one * math.sqrt(weight / (2 - weight)))
            for i in np.flatnonzero(there[first:, j]):
                out[i, j] = mean(ahead[: first + i + 1], weight) / usual
    far, wide = np.abs(far), np.maximum(wide, 0.0)
    seen = there[first:].any(axis=1)
    score[seen] = (far.max(axis=1) + wide.max(axis=1))[seen]
    evidence[:, known] = np.where(there[first:], (far + wide) ** 2, 0.0)
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
