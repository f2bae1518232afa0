"""Naive twin of ``anomaly.detectors.single``: every mean summed anew from all z's of the sensor.

Roberts, Technometrics 1 (1959): EWMA = Σ w (1 − w)^j z_(t−j).
"""

from __future__ import annotations

import numpy as np

from anomaly.detectors.single import Config
from tests.naive.reference import cross_fit, z_scores


def fit_scores(rows: np.ndarray, config: Config) -> np.ndarray:
    return cross_fit(rows, config.folds, lambda w, held: scores(w, held, config)[0])


def scores(warm_up: np.ndarray, rows: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Scores float64[n] and evidence float64[n, d] of the rows that follow ``warm_up``."""
    z = z_scores(warm_up, np.vstack([warm_up, rows]), config.clip_limit)
    first = len(warm_up)

    def mean(i: int, c: int, weight: float) -> float:
        """The mean after row i, from 0; a missing value leaves it."""
        past = z[: i + 1, c]
        past = past[~np.isnan(past)][::-1]
        return float(weight * (1 - weight) ** np.arange(len(past)) @ past)

    score, evidence = np.full(len(rows), np.nan), np.zeros(rows.shape)
    usual = np.array([[
        max(np.sqrt(np.mean([mean(i, c, weight) ** 2 for i in range(first)])),
            0.5 * np.sqrt(weight / (2 - weight)))
        for weight in config.weights] for c in range(rows.shape[1])])
    for i in range(len(rows)):
        present = [c for c in range(rows.shape[1]) if not np.isnan(z[first + i, c])]
        for c in present:
            evidence[i, c] = max(
                (mean(first + i, c, weight) / usual[c, k]) ** 2
                for k, weight in enumerate(config.weights))
        if present:
            score[i] = np.sqrt(evidence[i, present].max())
    return score, evidence
