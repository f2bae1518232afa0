"""Naive twin of ``anomaly.detectors.memory``: kernel regression row by row, with plain sums.

Hines and Garvey, "Development and application of fault detectability performance metrics", 2006,
eqs. 1–4: distances to the remembered rows, Gaussian weights, the weighted mean, the residual.
"""

from __future__ import annotations

import math

import numpy as np

from anomaly.detectors.memory import Config
from tests.naive.reference import cross_fit, z_scores


def fit_scores(rows: np.ndarray, config: Config) -> np.ndarray:
    return cross_fit(rows, config.folds, lambda w, held: scores(w, held, config)[0])


def scores(warm_up: np.ndarray, rows: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Scores float64[n] and evidence float64[n, d] of the rows that follow ``warm_up``."""
    score, evidence = np.full(len(rows), np.nan), np.zeros(rows.shape)
    every = z_scores(warm_up, warm_up, config.clip_limit)
    known = ~np.isnan(every).all(axis=0)
    if known.sum() < config.least_sensors:
        return score, evidence
    count = min(config.rows, len(warm_up))
    chosen = sorted({int(k * (len(warm_up) - 1) / max(count - 1, 1)) for k in range(count)})
    kept = np.nan_to_num(every, nan=0.0).astype(np.float32)
    remembered = [kept[k, known].tolist() for k in chosen]
    width = 2 * bandwidth(remembered)
    for i, z in enumerate(z_scores(warm_up, rows, config.clip_limit)[:, known].tolist()):
        there = [c for c, v in enumerate(z) if not math.isnan(v)]
        if not there:
            continue
        distance = [sum((z[c] - row[c]) ** 2 for c in there) for row in remembered]
        weight = [math.exp(-(d - min(distance)) / width) for d in distance]
        for c in there:
            estimate = sum(w * row[c] for w, row in zip(weight, remembered, strict=True))
            evidence[i, np.flatnonzero(known)[c]] = (z[c] - estimate / sum(weight)) ** 2
        score[i] = math.sqrt(evidence[i].sum() / len(there))
    return score, evidence


def bandwidth(remembered: list[list[float]]) -> float:
    """Median squared distance of a remembered row to its nearest neighbour."""
    nearest = [
        min(sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
            for j, other in enumerate(remembered) if j != i)
        for i, one in enumerate(remembered)
    ]
    return max(float(np.median(nearest)), 1e-6)
