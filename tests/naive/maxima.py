"""Block maxima and Gumbel, straight from the formulas: every row from the whole past."""

from __future__ import annotations

import math

import numpy as np

from anomaly.batches import Float64
from anomaly.maxima import (
    BLOCK_ROWS,
    FEWEST_BLOCKS,
    PRIOR_BLOCKS,
    PRIOR_DEVIATION,
    SOFTENING,
    WINSOR_DEVIATIONS,
)


def period_rows(score: Float64) -> Float64:
    """Return periods float64[n] of one asset's scores float64[n] without NaN."""
    value = np.log(score + SOFTENING)
    out = np.full(score.size, np.nan)
    maxima: list[float] = []
    for i in range(score.size):
        spread = np.var(maxima) * len(maxima) if maxima else 0.0
        deviation = math.sqrt(
            (spread + PRIOR_DEVIATION**2 * PRIOR_BLOCKS) / (len(maxima) + PRIOR_BLOCKS))
        if len(maxima) >= FEWEST_BLOCKS:
            beta = deviation * math.sqrt(6) / math.pi
            mode = np.mean(maxima) - 0.5772156649015329 * beta
            exceeds = 1.0 - math.exp(-math.exp(-(value[i] - mode) / beta))
            out[i] = BLOCK_ROWS / exceeds
        if (i + 1) % BLOCK_ROWS == 0:
            peak = float(value[i + 1 - BLOCK_ROWS: i + 1].max())
            if len(maxima) >= FEWEST_BLOCKS:
                peak = min(peak, float(np.mean(maxima)) + WINSOR_DEVIATIONS * deviation)
            maxima.append(peak)
    return out
