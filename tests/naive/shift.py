"""Naive twin of ``anomaly.detectors.shift``: two slices of the sensor's values, Student's t."""

from __future__ import annotations

import numpy as np

from anomaly.detectors.shift import Config
from tests.naive.reference import running_scales


def scores(warm_up: np.ndarray, rows: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Scores float64[n] and evidence float64[n, d] of the rows that follow ``warm_up``."""
    n = config.window_rows
    score, evidence = np.full(len(rows), np.nan), np.zeros(rows.shape)
    values: list[list[float]] = [warm_up[~np.isnan(column), c].tolist()
                                 for c, column in enumerate(warm_up.T)]
    for i, row in enumerate(rows):
        found = []
        for c, value in enumerate(row):
            if np.isnan(value):
                continue
            values[c].append(value)
            if len(values[c]) < 2 * n:
                continue
            older, newer = np.array(values[c][-2 * n : -n]), np.array(values[c][-n:])
            long_run = running_scales(values[c], config.memory_rows)[-1][1]
            pooled = (older.var() + newer.var()) / 2 + config.softening * long_run
            evidence[i, c] = abs(newer.mean() - older.mean()) / np.sqrt(2 * pooled / n)
            found.append(evidence[i, c])
        if found:
            score[i] = max(found)
    return score, evidence
