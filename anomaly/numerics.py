"""Small pieces of arithmetic that several detectors share. No detector, no state of its own.

Kernels here are called from the row loops of ``detectors/``; the plain numpy functions at the end
are called once per asset, when a reference is frozen, and never per row.
"""

from __future__ import annotations

import numpy as np

from anomaly.batches import Bool, Float64
from anomaly.kernel import kernel

#: Readings beyond this are treated as this: no sensor means it, and the square of a square of it
#: is still a finite float64, so that no sum of products can overflow.
LIMIT = 1e100

#: Ratio of the interquartile range of a normal distribution to its standard deviation.
NORMAL_IQR = 1.349

#: Fewer values than this are no reference.
REFERENCE_ROWS_MIN = 8

#: Fewer batch means than this say nothing about a long-run deviation.
BATCHES_MIN = 8


@kernel
def clip(value: float, limit: float) -> float:
    """``value`` held within ±``limit``; NaN passes through."""
    if value > limit:
        return limit
    if value < -limit:
        return -limit
    return value


@kernel
def advances(learn_below: float) -> bool:
    """Whether the row counts at all: −inf asks for a score and leaves no trace."""
    return learn_below > -np.inf


@kernel
def learns(score: float, learn_below: float) -> bool:
    """Whether the row may be learned as normal. A row without an opinion (NaN) may."""
    return learn_below > -np.inf and not score >= learn_below


@kernel
def memory_weight(count: float, memory: float) -> float:
    """Weight of the next value in a running mean that forgets after ``memory`` values.

    1, 1/2, 1/3 … 1/memory: an exact mean at first, an exponentially weighted one later.
    """
    return max(1.0 / (count + 1.0), 1.0 / memory)


@kernel
def learned_scale(
    mean: float, variance: float, count: float, value: float, memory: float
) -> tuple[float, float]:
    """Running mean and variance after one more value, safe against absurd values.

    Exponentially weighted after ``memory`` values (West, CACM 22 (1979)). From the 32nd value on a
    step counts as at most eight deviations and 1 % of the level (of 1 where that is 0): one reading
    of 1e100 must not blind the sensor for ever, and a new regime of any size is still learned,
    since every clipped step widens the next limit.
    """
    weight = memory_weight(count, memory)
    difference = value - mean
    if count >= 32.0:
        level = abs(mean) if mean != 0.0 else 1.0
        difference = clip(difference, 8.0 * np.sqrt(variance) + 0.01 * level)
    return (
        mean + weight * difference,
        (1.0 - weight) * (variance + weight * difference * difference),
    )


def robust_reference(rows: Float64) -> tuple[Float64, Float64, Bool]:
    """Centre and scale of each column, as a healthy stretch shows them.

    Parameters
    ----------
    rows : float64[w, d]
        NaN = missing.

    Returns
    -------
    centre, scale : float64[d]
        Median, and max(IQR / 1.349, half the standard deviation): the first resists outliers, the
        second keeps a column that mostly stands still from having no scale. A constant column gets
        1 % of its level (of 1 if its level is 0): a later deviation must never weigh nothing.
    known : bool[d]
        False where fewer than ``REFERENCE_ROWS_MIN`` values are there; centre 0, scale 1 then.
    """
    columns = rows.shape[1]
    centre, scale, known = np.zeros(columns), np.ones(columns), np.zeros(columns, np.bool_)
    for c in range(columns):
        values = finite_values(rows[:, c])
        if values.size < REFERENCE_ROWS_MIN:
            continue
        bottom, low, middle, high, top = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
        if top > bottom:  # ten times the usual span is no burst but an absurd reading
            reach = 10.0 * (top - bottom)
            values = np.clip(values, middle - reach, middle + reach)
        spread = max((high - low) / NORMAL_IQR, 0.5 * float(np.std(values)))
        # Rounding alone gives a constant column a deviation of about 1e-16 of its level.
        if not spread > 1e-12 * abs(middle):
            spread = 0.01 * (abs(middle) if middle != 0.0 else 1.0)
        centre[c], scale[c], known[c] = middle, spread, True
    return centre, scale, known


def finite_values(column: Float64) -> Float64:
    """The usable values of a column, within ±``LIMIT``: float64[k], k ≤ len(column)."""
    kept: Float64 = np.clip(column[np.isfinite(column)], -LIMIT, LIMIT)
    return kept


def long_run_deviation(column: Float64, batch_rows: int) -> float:
    """√(batch length · variance of batch means); 0 where there are too few batches to say.

    For independent rows it equals the plain deviation; for rows that remember, it is what the
    spread of a *sum* of rows is made of (batch means: Law and Kelton, "Simulation Modeling and
    Analysis", ch. 9).
    """
    values = finite_values(column)
    batches = values.size // batch_rows
    if batches < BATCHES_MIN:
        return 0.0
    means = values[: batches * batch_rows].reshape(batches, batch_rows).mean(axis=1)
    return float(np.sqrt(batch_rows * means.var(ddof=1)))
