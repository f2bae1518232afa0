"""Naive twin of ``anomaly.detectors.subspace``: CCIPCA vector by vector, straight from the paper.

Weng, Zhang and Hwang, IEEE TPAMI 25 (2003), eqs. 10–11; T² and Q of Jackson and Mudholkar,
Technometrics 21 (1979); contributions of Alcala and Qin, Automatica 45 (2009).
"""

from __future__ import annotations

import numpy as np

from anomaly.detectors.subspace import Config
from tests.naive.reference import running_scales


def scores(warm_up: np.ndarray, rows: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Scores float64[n] and evidence float64[n, d] of the rows that follow ``warm_up``."""
    everything = np.vstack([warm_up, rows])
    count, sensors = everything.shape
    rank = min(config.rank, max(1, sensors // 2))
    vectors: list[np.ndarray] = []
    typical, residuals, learned = 0.0, 0, 0
    score, evidence = np.full(count, np.nan), np.zeros(everything.shape)
    for i in range(count):
        z, present = _z(everything[:i], everything[i], config)
        if not present.any():
            continue
        rest, within, blame = z.copy(), 0.0, np.zeros(sensors)
        for v in vectors:
            variance = np.linalg.norm(v)  # CCIPCA: the length of v is the eigenvalue
            axis = v / variance
            coordinate = rest @ axis
            rest = rest - coordinate * axis
            within += coordinate**2 / max(variance, 0.05)
            blame += z * coordinate * axis / max(variance, 0.05)
        q = (rest[present] ** 2).mean()
        if learned >= 64:
            outside = min(q / typical, 1e4) if q > 1e-12 else 0.0
            score[i] = np.sqrt((within / rank + outside) / 2)
            part = outside * rest**2 / (rest[present] ** 2).sum() if q > 0 else 0.0
            evidence[i] = np.where(present, np.maximum(blame, 0) / rank + part, 0)
        if learned >= 16:
            if residuals >= 64:
                q = min(q, 64 * typical + 1e-9)
            typical += max(1 / (residuals + 1), 1 / config.memory_rows) * (q - typical)
            residuals += 1
        learned += 1
        weight = max((1 + config.amnesia) / (learned + config.amnesia), 1 / config.memory_rows)
        u = z.copy()
        for k, v in enumerate(vectors):
            vectors[k] = (1 - weight) * v + weight * (u @ v) / np.linalg.norm(v) * u
            axis = vectors[k] / np.linalg.norm(vectors[k])
            u = u - (u @ axis) * axis
        if len(vectors) < rank and u @ u > 1e-12:
            vectors.append(u)
    return score[len(warm_up) :], evidence[len(warm_up) :]


def _z(past: np.ndarray, row: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """z of the row against the running scales of the rows before; 0 where there is none."""
    z, present = np.zeros(len(row)), np.zeros(len(row), bool)
    for c in range(len(row)):
        values = past[~np.isnan(past[:, c]), c].tolist()
        if np.isnan(row[c]) or len(values) < 16:
            continue
        mean, variance = running_scales([*values, row[c]], config.memory_rows)[-1]
        z[c] = np.clip((row[c] - mean) / (np.sqrt(variance) + 1e-9 * (abs(mean) or 1.0)), -8, 8)
        present[c] = True
    return z, present
