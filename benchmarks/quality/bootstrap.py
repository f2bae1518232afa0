"""95 % bootstrap intervals over events, machines or files, seeded: a table prints the same twice.

Every figure here is a mean over groups (sets) of Σ top / Σ bottom over the group's units (events,
machines, files, series).  A plain mean has bottom 1; a rate, an F1 or a NAB score is such a ratio
too.  Units are drawn again within each group.  Differences of two methods draw the same units for
both (paired).

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, §13 (percentile interval).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.quality.recordings import FloatArray

#: Units of one group, each (top, bottom).
Group = tuple[tuple[float, float], ...]

_DRAWS = 2_000
_SEED = 20_240_607
_LEVELS = (2.5, 97.5)


def means(values: Sequence[float]) -> Group:
    """Units of a plain mean."""
    return tuple((float(value), 1.0) for value in values)


def estimate(groups: Sequence[Group]) -> float:
    """Mean over groups of Σ top / Σ bottom; NaN where there is no group or a bottom is 0."""
    if not groups:
        return float("nan")
    arrays = [np.asarray(group, np.float64) for group in groups]
    if any(not array.size or array[:, 1].sum() == 0 for array in arrays):
        return float("nan")
    return float(np.mean([array[:, 0].sum() / array[:, 1].sum() for array in arrays]))


def interval(groups: Sequence[Group]) -> tuple[float, float]:
    """95 % interval of `estimate`; NaN, NaN where no group has two units."""
    if not any(len(group) > 1 for group in groups):
        return float("nan"), float("nan")
    return _percentiles(_drawn(groups))


def interval_of_difference(first: Sequence[Group], second: Sequence[Group]) -> tuple[float, float]:
    """95 % interval of `estimate(first) − estimate(second)`, the same units drawn for both.

    Raises
    ------
    ValueError
        If the two have not the same units.
    """
    if [len(group) for group in first] != [len(group) for group in second]:
        raise ValueError("a paired difference needs the same units in both")
    if not any(len(group) > 1 for group in first):
        return float("nan"), float("nan")
    return _percentiles(_drawn(first) - _drawn(second))


def _drawn(groups: Sequence[Group]) -> FloatArray:
    """float64[draws]: the estimate over redrawn units; equal shapes draw equal units."""
    random = np.random.default_rng(_SEED)
    total = np.zeros(_DRAWS)
    for group in groups:
        units = np.asarray(group, np.float64)
        chosen = random.integers(0, units.shape[0], (_DRAWS, units.shape[0]))
        bottom = units[:, 1][chosen].sum(axis=1)
        # A draw without any exposure says nothing about the ratio: it repeats the estimate.
        ratio = units[:, 0].sum() / units[:, 1].sum()
        top = units[:, 0][chosen].sum(axis=1)
        total += np.divide(top, bottom, out=np.full(_DRAWS, ratio), where=bottom > 0)
    return total / len(groups)


def _percentiles(drawn: FloatArray) -> tuple[float, float]:
    low, high = np.percentile(drawn, _LEVELS)
    return float(low), float(high)
