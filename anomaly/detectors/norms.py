"""Norms of distances: how odd is a distance, for what this one has been? Used by ``pyramid``.

y = log(d² + 0.01 g), g the running mean of d²; z its deviation from its running mean; max(z, 0)² is
its surprise. A norm that is young has a prior, and what it learns of one distance is bounded.
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

NORM = np.dtype([
    ("count", "f8"), ("size", "f8"),  # distances seen; their running mean square
    ("mean", "f8"), ("variance", "f8"),  # of y
])


@kernel_uncounted
def judge(
    norm: Any, square: float, decimation: int, found: Float64, column: int, place: int
) -> float:
    """Surprise of one new squared distance against its norm, −1 = no opinion.

    What the norm may learn of it, once the row is judged, goes to ``found``.
    """
    difference = math.log(square + 0.01 * norm["size"] + 1e-30) - norm["mean"]
    surprise = -1.0
    if norm["count"] * decimation > OPINION_ROWS:
        # The variance of y with the prior: young norms must not exaggerate.
        variance = (norm["variance"] * norm["count"] + PRIOR_BLOCKS) / (
            norm["count"] + PRIOR_BLOCKS
        )
        odd = max(difference, 0.0)
        surprise = min(odd * odd / variance, SURPRISE_LIMIT * SURPRISE_LIMIT)
        if difference * difference > STEP_LIMIT * STEP_LIMIT * variance:
            difference = clip(difference, STEP_LIMIT * math.sqrt(variance))
        square = min(square, STEP_LIMIT * STEP_LIMIT * norm["size"])
    found[column, place, 0], found[column, place, 1] = square, difference
    return surprise


@kernel_uncounted
def learn(norm: Any, square: float, step: float, least: float) -> None:
    norm["count"] += 1.0
    weight = max(1.0 / norm["count"], least)
    norm["size"] += weight * (square - norm["size"])
    norm["mean"] += weight * step
    norm["variance"] = (1.0 - weight) * (norm["variance"] + weight * step * step)
