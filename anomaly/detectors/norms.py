"""Norms of distances: how odd is a distance, for what this one has been? Used by ``pyramid``.

y = log(d² + 0.01 g), g the running mean of d²; z its deviation from its running mean; max(z, 0)² is
its surprise. A norm that is young has a prior, and what it learns of one distance is bounded.

What usually goes with a restless window is no news: in a heartbeat the steep stretch is far from
every other, always. So a norm may have an *excuse*, the regression of y on the window's own log σ²
(slope: covariance ÷ variance, both running, shrunk while young; how far log σ² may be from its mean
is the caller's), and z is what is left of y without it (benchmarks/results/ablations, 32).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from anomaly.batches import Float64
from anomaly.kernel import kernel_uncounted
from anomaly.numerics import clip

#: Squared distances are held below this, so that they stay finite in float32.
SQUARE_LIMIT = 1e35
#: A distance's norm has a prior deviation of 1 that weighs 100 blocks …
PRIOR_BLOCKS = 100.0
#: … learns steps of at most eight deviations …
STEP_LIMIT = 8.0
#: … and speaks after 200 rows, of at most thirty deviations.
OPINION_ROWS = 200.0
SURPRISE_LIMIT = 30.0
#: σ² whose logarithm scatters less than a thousandth explains nothing.
LEAST_VARIANCE = 1e-6

_FIELDS = [
    ("count", "f8"), ("size", "f8"),  # distances seen; their running mean square
    ("mean", "f8"), ("variance", "f8"),  # of y; of what is left of y
]
NORM = np.dtype(_FIELDS)
#: A norm with an excuse: mean and variance of the window's log σ², covariance of y with it. They
#: come first, or numba would take one kind of norm for a part of the other and warn.
EXCUSED = np.dtype([("spread", "f8"), ("spread_variance", "f8"), ("covariance", "f8"), *_FIELDS])
#: What a norm may learn of a distance: its square, y's deviation, what is left of that, log σ²'s.
FOUND = 4


@kernel_uncounted
def judge(
    norm: Any, square: float, excuse: float, decimation: int, found: Float64, column: int,
    place: int,
) -> float:
    """Surprise of one new squared distance against its norm, −1 = no opinion.

    What the norm may learn of it, once the row is judged, goes to ``found``.
    """
    difference = math.log(square + 0.01 * norm["size"] + 1e-30) - norm["mean"]
    left = difference - excuse
    surprise = -1.0
    if norm["count"] * decimation > OPINION_ROWS:
        # The variance with the prior: young norms must not exaggerate.
        variance = (norm["variance"] * norm["count"] + PRIOR_BLOCKS) / (
            norm["count"] + PRIOR_BLOCKS
        )
        odd = max(left, 0.0)
        surprise = min(odd * odd / variance, SURPRISE_LIMIT * SURPRISE_LIMIT)
        if left * left > STEP_LIMIT * STEP_LIMIT * variance:
            left = clip(left, STEP_LIMIT * math.sqrt(variance))
            difference = excuse + left
        square = min(square, STEP_LIMIT * STEP_LIMIT * norm["size"])
    found[column, place, 0], found[column, place, 1] = square, difference
    found[column, place, 2] = left
    return surprise


@kernel_uncounted
def excused(
    norm: Any, spread: float, reach: float, found: Float64, column: int, place: int
) -> float:
    """What of y's deviation is usual where log σ² is ``spread``, whose own goes to ``found``.

    As far as ``reach`` of its standard deviations: a window far from all others excuses no more.
    """
    away = spread - norm["spread"]
    found[column, place, 3] = away
    count, variance = norm["count"], norm["spread_variance"]
    if count == 0.0:
        return 0.0
    slope = norm["covariance"] / (variance * (1.0 + PRIOR_BLOCKS / count) + LEAST_VARIANCE)
    excuse: float = slope * clip(away, reach * math.sqrt(variance))
    return excuse


@kernel_uncounted
def learn(norm: Any, found: Float64, column: int, place: int, least: float) -> float:
    """Learn one distance; returns the weight that it had."""
    square, left = found[column, place, 0], found[column, place, 2]
    norm["count"] += 1.0
    weight: float = max(1.0 / norm["count"], least)
    norm["size"] += weight * (square - norm["size"])
    norm["mean"] += weight * found[column, place, 1]
    norm["variance"] = (1.0 - weight) * (norm["variance"] + weight * left * left)
    return weight


@kernel_uncounted
def learn_excuse(norm: Any, found: Float64, column: int, place: int, weight: float) -> None:
    """Learn how the same distance went with its window's log σ²."""
    difference, away = found[column, place, 1], found[column, place, 3]
    norm["spread"] += weight * away
    norm["spread_variance"] = (1.0 - weight) * (norm["spread_variance"] + weight * away * away)
    norm["covariance"] = (1.0 - weight) * (norm["covariance"] + weight * difference * away)
