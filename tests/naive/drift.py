"""Naive twin of ``anomaly.detectors.drift``: the slow mean as one weighted sum over all rows."""

from __future__ import annotations

import numpy as np

from anomaly.detectors.drift import Config
from tests.naive.reference import cross_fit, z_scores


def fit_scores(rows: np.ndarray, config: Config) -> np.ndarray:
    return cross_fit(rows, config.folds, lambda w, held: scores(w, held, config)[0])


def scores(warm_up: np.ndarray, rows: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Scores float64[n] and evidence float64[n, d] of the rows that follow ``warm_up``."""
    z = z_scores(warm_up, np.vstack([warm_up, rows]), config.clip_limit)
    first = len(warm_up)
    score, evidence = np.full(len(rows), np.nan), np.zeros(rows.shape)
    for i in range(len(rows)):
        present = ~np.isnan(z[first + i])
        for c in np.flatnonzero(present):
            past = z[: first + i + 1, c]
            past = past[~np.isnan(past)]
            weight = np.maximum(1 / np.arange(1, len(past) + 1), 1 / config.memory_rows)
            # What is left of a value: its weight, times what every later one left of the past.
            kept = np.append(np.cumprod((1 - weight)[::-1])[::-1][1:], 1.0)
            evidence[i, c] = np.sum(weight * kept * past) ** 2
        if present.any():
            score[i] = np.sqrt(evidence[i, present].mean())
    return score, evidence
