"""95 % bootstrap intervals over events, machines or files, seeded: a table prints the same twice.

The unit that is drawn again is the one the figure is a mean over; a mean over sets draws events
within each set. Differences of two methods draw the same units for both (paired).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.quality.recordings import FloatArray

_DRAWS = 2_000
_SEED = 20_240_607
_LEVELS = (2.5, 97.5)


def interval_of_mean(values: Sequence[float]) -> tuple[float, float]:
    """Interval of a mean over units; NaN, NaN where there are none."""
    return interval_of_mean_of_means([values])


def interval_of_mean_of_means(groups: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Interval of the mean over groups of each group's mean, drawing units within each group.

    Parameters
    ----------
    groups : sequence of sequences of float
        Values of the units, group by group; empty groups are left out.
    """
    kept = [np.asarray(group, np.float64) for group in groups if len(group)]
    if not kept:
        return float("nan"), float("nan")
    random = np.random.default_rng(_SEED)
    means = np.mean([_resampled_means(random, group) for group in kept], axis=0)
    low, high = np.percentile(means, _LEVELS)
    return float(low), float(high)


def interval_of_ratio(counts: Sequence[float], exposures: Sequence[float]) -> tuple[float, float]:
    """Interval of Σ counts / Σ exposures over machines drawn with replacement."""
    if not len(counts) or not sum(exposures):
        return float("nan"), float("nan")
    random = np.random.default_rng(_SEED)
    top, bottom = np.asarray(counts, np.float64), np.asarray(exposures, np.float64)
    drawn = random.integers(0, top.size, (_DRAWS, top.size))
    ratios = top[drawn].sum(axis=1) / bottom[drawn].sum(axis=1)
    low, high = np.percentile(ratios, _LEVELS)
    return float(low), float(high)


def _resampled_means(random: np.random.Generator, values: FloatArray) -> FloatArray:
    """float64[draws]: means of as many values drawn with replacement."""
    return np.asarray(values[random.integers(0, values.size, (_DRAWS, values.size))].mean(axis=1))
