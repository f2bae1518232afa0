"""Block maxima and their law, straight from scipy: every row from the whole past."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.stats import genextreme

from anomaly.batches import Float64
from anomaly.maxima import (
    BLOCK_ROWS,
    FEWEST_BLOCKS,
    FORESIGHT,
    PRIOR_BLOCKS,
    PRIOR_DEVIATION,
    SHAPE_WEIGHTS,
    SHAPES,
    SOFTENING,
    WINSOR_DEVIATIONS,
)


def period_rows(score: Float64) -> Float64:
    """Return periods float64[n] of one asset's scores float64[n] without NaN."""
    value = np.log(score + SOFTENING)
    out = np.full(score.size, np.nan)
    maxima: list[float] = []
    foretold = np.zeros(len(SHAPES))
    for i in range(score.size):
        spread = np.var(maxima) * len(maxima) if maxima else 0.0
        deviation = math.sqrt(
            (spread + PRIOR_DEVIATION**2 * PRIOR_BLOCKS) / (len(maxima) + PRIOR_BLOCKS)
            * (1 + FORESIGHT / max(len(maxima), 1)))
        if len(maxima) >= FEWEST_BLOCKS:
            weight = np.array(SHAPE_WEIGHTS) * np.exp(foretold - foretold.max())
            laws = [law(shape, float(np.mean(maxima)), deviation) for shape in SHAPES]
            out[i] = BLOCK_ROWS / (weight @ [own.sf(value[i]) for own in laws] * (1 / weight.sum()))
        if (i + 1) % BLOCK_ROWS == 0:
            peak = float(value[i + 1 - BLOCK_ROWS: i + 1].max())
            if len(maxima) >= FEWEST_BLOCKS:
                mean = float(np.mean(maxima))
                peak = min(peak, mean + WINSOR_DEVIATIONS * deviation)
                foretold += [  # per deviation, as the engine measures them
                    max(law(shape, mean, deviation).logpdf(peak) + math.log(deviation), -12.0)
                    for shape in SHAPES]
            maxima.append(peak)
    return out


def law(shape: float, mean: float, deviation: float) -> Any:
    """Law of extreme values with these moments; scipy's shape has the other sign."""
    standard = genextreme(-shape)
    scale = deviation / standard.std()
    return genextreme(-shape, loc=mean - scale * standard.mean(), scale=scale)
