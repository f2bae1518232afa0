"""Small pieces of arithmetic that several detectors share. No detector, no state of its own.

Kernels here are called from the row loops of ``detectors/``; what a frozen reference is made of
stands at the end and is called when an asset's warm-up is over, never per row.
"""

from __future__ import annotations

import math

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
#: Deviation of what rounding to steps of 1 takes away: a sensor says nothing finer than that.
ROUNDING_DEVIATION = 1.0 / math.sqrt(12.0)

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


@kernel
def smoothed(z: Float64, weight: float) -> Float64:
    """Exponentially weighted means of each column of ``z float64[n, d]`` from 0, after every row.

    NaN leaves its column's mean.
    """
    means = np.empty(z.shape)
    mean = np.zeros(z.shape[1])
    for i in range(z.shape[0]):
        for c in range(z.shape[1]):
            if z[i, c] == z[i, c]:
                mean[c] += weight * (z[i, c] - mean[c])
            means[i, c] = mean[c]
    return means


def robust_reference(rows: Float64) -> tuple[Float64, Float64, Bool]:
    """Centre and scale of each column, as a healthy stretch shows them.

    Parameters
    ----------
    rows : float64[w, d]
        NaN = missing.

    Returns
    -------
    centre, scale : float64[d]
        Median, and max(IQR / 1.349, half the standard deviation, 1/√12 of the smallest step
        between values): the first resists outliers, the second keeps a column that mostly stands
        still from having no scale, the third is all that its rounding lets a sensor say. A
        constant column gets 1 % of its level (of 1 if its level is 0): a later deviation must
        never weigh nothing.
    known : bool[d]
        False where fewer than ``REFERENCE_ROWS_MIN`` values are there; centre 0, scale 1 then.
    """
    columns = rows.shape[1]
    centre, scale, known = np.zeros(columns), np.ones(columns), np.zeros(columns, np.bool_)
    _robust_columns(np.ascontiguousarray(rows), centre, scale, known)
    return centre, scale, known


@kernel
def _robust_columns(rows: Float64, centre: Float64, scale: Float64, known: Bool) -> None:
    """What :func:`robust_reference` says, column by column, in the bits of numpy's own functions.

    Every fold of every detector freezes every sensor anew: ``np.quantile`` and ``np.std`` with
    their checks were most of what a thousand machines that end their warm-up together had to wait
    for.
    """
    held = np.empty(rows.shape[0])
    for c in range(rows.shape[1]):
        n = 0
        for r in range(rows.shape[0]):
            if np.isfinite(rows[r, c]):
                held[n] = clip(rows[r, c], LIMIT)
                n += 1
        if n < REFERENCE_ROWS_MIN:
            continue
        values = held[:n]
        ordered = np.sort(values)
        bottom, top = ordered_quantile(ordered, 0.05), ordered_quantile(ordered, 0.95)
        low, high = ordered_quantile(ordered, 0.25), ordered_quantile(ordered, 0.75)
        middle = ordered_quantile(ordered, 0.5)
        if top > bottom:  # ten times the usual span is no burst but an absurd reading
            reach = 10.0 * (top - bottom)
            for i in range(n):
                values[i] = min(max(values[i], middle - reach), middle + reach)
        spread = max((high - low) / NORMAL_IQR, 0.5 * deviation(values))
        step = np.inf
        for i in range(1, n):
            if ordered[i] - ordered[i - 1] > 1e-9 * (abs(ordered[i]) + abs(middle)):
                step = min(step, ordered[i] - ordered[i - 1])
        if step < np.inf:
            spread = max(spread, step * ROUNDING_DEVIATION)
        # Rounding alone gives a constant column a deviation of about 1e-16 of its level.
        if not spread > 1e-12 * abs(middle):
            spread = 0.01 * (abs(middle) if middle != 0.0 else 1.0)
        centre[c], scale[c], known[c] = middle, spread, True


@kernel
def ordered_quantile(ordered: Float64, q: float) -> float:
    """``np.quantile(ordered, q)`` of ascending values, bit for bit: linear, from the nearer end."""
    place = q * (ordered.size - 1)
    below = int(np.floor(place))
    above = min(below + 1, ordered.size - 1)
    gamma = place - below
    step = ordered[above] - ordered[below]
    if gamma >= 0.5:
        return float(ordered[above] - step * (1.0 - gamma))
    return float(ordered[below] + step * gamma)


@kernel
def deviation(values: Float64) -> float:
    """``np.std(values)``, bit for bit."""
    mean = pairwise_sum(values) / values.size
    squares = np.empty(values.size)
    for i in range(values.size):
        squares[i] = (values[i] - mean) * (values[i] - mean)
    return float(np.sqrt(pairwise_sum(squares) / values.size))


@kernel
def pairwise_sum(values: Float64) -> float:
    """``np.sum(values)``, bit for bit: halves down to 128 values, those in eight strands.

    numpy's pairwise_sum (Higham, "The accuracy of floating point summation", SIAM J. Sci. Comput.
    14 (1993), §4), without its recursion: the sums of finished halves wait on a stack.
    """
    waiting = np.empty(64)
    first, size, depth = np.zeros(64, np.int64), np.zeros(64, np.int64), 0
    done = np.zeros(64, np.int64)  # halves of this stretch that are summed
    size[0] = values.size
    total = 0.0
    while True:
        if size[depth] > 128:
            half = size[depth] // 2
            half -= half % 8
            if done[depth] == 0:
                first[depth + 1], size[depth + 1] = first[depth], half
            else:
                waiting[depth] = total
                first[depth + 1], size[depth + 1] = first[depth] + half, size[depth] - half
            depth += 1
            done[depth] = 0
            continue
        total = _strands(values[first[depth]:first[depth] + size[depth]])
        while depth > 0:  # a stretch is finished: so is its parent, if that was the second half
            depth -= 1
            done[depth] += 1
            if done[depth] == 1:
                break
            total = waiting[depth] + total
        if depth == 0 and (done[0] == 2 or size[0] <= 128):
            return float(total)


@kernel
def _strands(values: Float64) -> float:
    n = values.size
    if n < 8:
        total = -0.0
        for i in range(n):
            total += values[i]
        return float(total)
    r0, r1, r2, r3 = values[0], values[1], values[2], values[3]
    r4, r5, r6, r7 = values[4], values[5], values[6], values[7]
    whole = n - n % 8
    for i in range(8, whole, 8):
        r0 += values[i]
        r1 += values[i + 1]
        r2 += values[i + 2]
        r3 += values[i + 3]
        r4 += values[i + 4]
        r5 += values[i + 5]
        r6 += values[i + 6]
        r7 += values[i + 7]
    total = ((r0 + r1) + (r2 + r3)) + ((r4 + r5) + (r6 + r7))
    for i in range(whole, n):
        total += values[i]
    return float(total)


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
