"""Naive twin of ``anomaly.detectors.rates``: log-likelihood ratios of whole stretches of rows.

Lucas, Technometrics 27 (1985) and Reynolds and Stoumbos, J. Quality Technology 31 (1999): the
CUSUM is the largest log-likelihood ratio, over all points where the change may have begun, of the
rows since then. Here it is computed from the probability functions themselves.
"""

from __future__ import annotations

import math

import numpy as np

from anomaly.detectors.rates import Config
from tests.naive.cusum import long_run
from tests.naive.reference import cross_fit


def fit_scores(rows: np.ndarray, config: Config) -> np.ndarray:
    return cross_fit(rows, config.folds, lambda w, held: scores(w, held, config)[0])


def scores(warm_up: np.ndarray, rows: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Scores float64[n] and evidence float64[n, d] of the rows that follow ``warm_up``."""
    first = len(warm_up)
    evidence, judged = np.zeros(rows.shape), np.zeros(rows.shape, bool)
    for c in range(rows.shape[1]):
        values = warm_up[~np.isnan(warm_up[:, c]), c]
        if not is_count(values):
            continue
        rate = (values.sum() + 0.5) / (len(values) + 1)
        flag = values.max() <= 1
        spread = rate * (1 - rate) if flag else rate
        dispersion = max(values.var(), long_run(values, 30) ** 2) / spread
        dispersion = max(dispersion, 1.0 if flag else 0.05)
        past_high: list[float] = []
        past_low: list[float] = []
        for i, y in enumerate(np.concatenate([warm_up[:, c], rows[:, c]])):
            if np.isnan(y):
                continue
            high, low = _change(rate, config.ratio, flag), _change(rate, 1 / config.ratio, flag)
            past_high.append(_log_density(y, high, flag) - _log_density(y, rate, flag))
            past_low.append(_log_density(y, low, flag) - _log_density(y, rate, flag))
            if i >= first:
                judged[i - first, c] = True
                evidence[i - first, c] = max(_best(past_high), _best(past_low)) / dispersion
    assert evidence.max() < config.sum_limit, "this form does not know the limit of the sums"
    score = np.array([
        evidence[i, judged[i]].max() if judged[i].any() else np.nan for i in range(len(rows))
    ])
    return score, evidence


def is_count(values: np.ndarray) -> bool:
    """The rule of the module's docstring: whole numbers, small mean, spread like counts."""
    if len(values) < 8 or any(v < 0 or v != int(v) for v in values):
        return False
    if values.max() == 0:
        return True
    if values.max() <= 1:
        return values.min() == 0
    return bool(values.mean() <= 30 and 0.05 <= values.var() / values.mean() <= 50)


def _change(rate: float, ratio: float, flag: bool) -> float:
    """The rate after the change; for flags it is the odds that change by the ratio."""
    if not flag:
        return rate * ratio
    odds = rate / (1 - rate) * ratio
    return odds / (1 + odds)


def _log_density(y: float, rate: float, flag: bool) -> float:
    if flag:
        return y * math.log(rate) + (1 - y) * math.log(1 - rate)
    return y * math.log(rate) - rate - math.lgamma(y + 1)


def _best(ratios: list[float]) -> float:
    """Largest sum of a tail of the list, 0 for the empty tail."""
    best = total = 0.0
    for ratio in reversed(ratios):
        total += ratio
        best = max(best, total)
    return best
