"""Naive twin of ``anomaly.detectors.level``: every mean summed anew from all z's of the sensor.

Roberts, Technometrics 1 (1959): EWMA = Σ w (1 − w)^j z_(t−j); Lucas and Saccucci, Technometrics 32
(1990), eq. 3: its variance for independent z is Σ w² (1 − w)^2j.
"""

from __future__ import annotations

import numpy as np

from anomaly.detectors.level import Config
from tests.naive.reference import cross_fit, z_scores


def fit_scores(rows: np.ndarray, config: Config) -> np.ndarray:
    return cross_fit(rows, config.folds, lambda w, held: scores(w, held, config)[0])


def scores(warm_up: np.ndarray, rows: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Scores float64[n] and evidence float64[n, d] of the rows that follow ``warm_up``."""
    z = z_scores(warm_up, np.vstack([warm_up, rows]), config.clip_limit)
    first = len(warm_up)
    score, evidence = np.full(len(rows), np.nan), np.zeros(rows.shape)
    for i in range(len(rows)):
        squares = []  # one list per sensor present: its standardised mean squared, per speed
        for c in range(rows.shape[1]):
            if np.isnan(z[first + i, c]):
                continue
            past = z[: first + i + 1, c]
            past = past[~np.isnan(past)][::-1]
            ages = np.arange(len(past))
            squares.append([
                (weight * (1 - weight) ** ages @ past) ** 2
                / np.sum((weight * (1 - weight) ** ages) ** 2)
                for weight in config.weights
            ])
            evidence[i, c] = np.mean(squares[-1])
        if squares:
            score[i] = np.mean(np.sqrt(np.mean(squares, axis=0)))
    return score, evidence
