"""The frozen exponential tail: how every control turns its score into alerts.

Deliberately the textbook rule and nothing better: peaks over the 90 % quantile of the warm-up's
scores, an exponential tail with their mean excess, frozen.  A row alarms when its return period
passes the budget; the alert closes after 30 quiet rows.  No declustering, no cross-fit, no prior:
what these buy must show in the difference.

Source: Coles, "An Introduction to Statistical Modeling of Extreme Values", 2001, §4.2 (shape 0).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.recordings import FloatArray

_QUANTILE = 0.9
_QUIET_ROWS = 30
_LEAST_WARM_UP = 20

#: Return periods are capped here, rows: beyond it an exponential tail claims what nobody knows.
_LARGEST_PERIOD_ROWS = 1e12


def return_period_rows(score: FloatArray, warm_up_rows: int) -> FloatArray:
    """Rows between two rows at least this odd, by the warm-up's tail.

    Parameters
    ----------
    score : float64[n]
        One machine's scores; NaN is no opinion.
    warm_up_rows : int
        Leading rows the tail is fitted on.

    Returns
    -------
    float64[n]
        NaN where the score is NaN, and everywhere if the warm-up holds fewer than 20 opinions.
    """
    warm = score[:warm_up_rows]
    warm = warm[np.isfinite(warm)]
    if warm.size < _LEAST_WARM_UP:
        return np.full(score.shape, np.nan)
    threshold = float(np.quantile(warm, _QUANTILE))
    excess = warm[warm > threshold] - threshold
    # A warm-up without spread (a constant score) makes any excess as rare as can be said.
    scale = max(float(excess.mean()) if excess.size else 0.0, 1e-12)
    share = max(excess.size, 1) / warm.size
    exponent = np.minimum((score - threshold) / scale, np.log(_LARGEST_PERIOD_ROWS))
    return np.asarray(np.minimum(np.exp(exponent) / share, _LARGEST_PERIOD_ROWS))


def alert_rows(period_rows: FloatArray, limit_rows: float, warm_up_rows: int) -> NDArray[np.int8]:
    """int8[n]: firing from a row rarer than the limit until 30 quiet rows have passed."""
    rare = period_rows >= limit_rows
    rare[:warm_up_rows] = False
    rows = np.arange(rare.size)
    last_rare = np.maximum.accumulate(np.where(rare, rows, -_QUIET_ROWS - 1))
    return np.asarray(rows - last_rare <= _QUIET_ROWS, np.int8)
