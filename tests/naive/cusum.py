"""Naive twin of ``anomaly.detectors.cusum``: Page's form, the sum less its lowest point so far.

Page, Biometrika 41 (1954), section 2: C_n = S_n − min(S_0 … S_n) with S the sums of (z − slack);
equal to the tabular recursion as long as no sum reaches ``sum_limit``.
"""

from __future__ import annotations

import numpy as np

from anomaly.detectors.cusum import Config
from tests.naive.reference import cross_fit, robust


def fit_scores(rows: np.ndarray, config: Config) -> np.ndarray:
    return cross_fit(rows, config.folds, lambda w, held: scores(w, held, config)[0])


def scores(warm_up: np.ndarray, rows: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Scores float64[n] and evidence float64[n, d] of the rows that follow ``warm_up``."""
    first = len(warm_up)
    evidence = np.zeros(rows.shape)
    judged = np.zeros(rows.shape, bool)
    for c in range(rows.shape[1]):
        known = robust(warm_up[:, c])
        if known is None:
            continue
        centre, scale = known
        scale = max(scale, long_run(warm_up[:, c], config.batch_rows))
        high, low = [0.0], [0.0]
        for i, value in enumerate(np.concatenate([warm_up[:, c], rows[:, c]])):
            if np.isnan(value):
                continue
            z = min(max((value - centre) / scale, -config.clip_limit), config.clip_limit)
            high.append(high[-1] + z - config.slack)
            low.append(low[-1] - z - config.slack)
            if i >= first:
                judged[i - first, c] = True
                evidence[i - first, c] = max(high[-1] - min(high), low[-1] - min(low))
    assert evidence.max() < config.sum_limit, "Page's form does not know the limit of the sums"
    score = np.array([
        evidence[i, judged[i]].max() if judged[i].any() else np.nan for i in range(len(rows))
    ])
    return score, evidence


def long_run(column: np.ndarray, batch_rows: int) -> float:
    """√(b · variance of the means of batches of b values), from eight batches on."""
    values = [v for v in column.tolist() if v == v]
    means = [
        sum(values[k : k + batch_rows]) / batch_rows
        for k in range(0, len(values) - batch_rows + 1, batch_rows)
    ]
    if len(means) < 8:
        return 0.0
    centre = sum(means) / len(means)
    return (batch_rows * sum((m - centre) ** 2 for m in means) / (len(means) - 1)) ** 0.5
