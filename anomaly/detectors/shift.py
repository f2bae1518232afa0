"""Shift: the last window of each sensor against the window before it.

Two adjacent windows of n values; per sensor the two-sample statistic t of their means over the
pooled deviation (Student's t for equal n; as a change detector e.g. Basseville and Nikiforov,
"Detection of Abrupt Changes", 1993, ch. 2). The score is the largest t over sensors. No reference
and no period of learning: it works where the frozen reference has gone stale, and it forgets a
change two windows later.

The pooled variance is softened by a hundredth of the sensor's long-run variance, or a flat stretch
between two quantised levels would be infinitely odd. That long-run variance is all that is learned;
it is what the guard (finite ``learn_below``) protects. The windows follow every row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64, Int64
from anomaly.detectors.settings import within
from anomaly.detectors.warm_up import State
from anomaly.kernel import kernel
from anomaly.numerics import LIMIT, advances, clip, learned_scale, learns

VERSION = 1

TAG = np.dtype([
    ("count", "i8"), ("slot", "i8"),  # values seen; where in the ring the next one goes
    ("offset", "f8"),  # subtracted before summing, so that sums of squares do not cancel
    ("older_sum", "f8"), ("older_square", "f8"), ("newer_sum", "f8"), ("newer_square", "f8"),
    ("learned", "f8"), ("mean", "f8"), ("variance", "f8"),  # the long run
])

#: A t beyond this is not odder: it stands for "no overlap at all".
STATISTIC_LIMIT = 1e3


@dataclass(frozen=True, slots=True)
class Config:
    """Parameters of the window shift.

    Attributes
    ----------
    window_rows : int
        n, rows of each of the two windows.
    softening : float
        Share of the long-run variance that is added to the pooled variance.
    memory_rows : float
        Rows after which the long-run variance forgets.
    """

    window_rows: int = 64
    softening: float = 1.0
    memory_rows: float = 4000.0

    def __post_init__(self) -> None:
        within("window_rows", self.window_rows, 2, 100_000)
        within("softening", self.softening, 0, 1e6)
        within("memory_rows", self.memory_rows, 1, 1e9)


def allocate(config: Config, assets: int, tags: int) -> State:
    """Fresh state: per tag sums over both windows, and a ring of the 2n values in them."""
    return {"tag": np.zeros(tags, TAG), "tag_ring": np.zeros((tags, 2 * config.window_rows))}


@kernel
def step(
    tag: npt.NDArray[np.void], tag_ring: Float64,
    window_rows: int, softening: float, memory_rows: float,
    table: Int64, asset: Int64, x: Float64, learn_below: Float64,
    score: Float64, evidence: Float64,
) -> None:
    """Score rows under the detector contract. A sensor's evidence is its t.

    A missing value moves neither window: the windows are the last 2n *values* of the sensor.
    """
    learned, mean, variance = tag["learned"], tag["mean"], tag["variance"]
    columns = table.shape[1]
    for i in range(asset.size):
        a = asset[i]
        moves = advances(learn_below[i])
        largest = np.nan
        for c in range(x.shape[1]):
            evidence[i, c] = 0.0
            t = table[a, c] if c < columns else -1
            value = x[i, c]
            if t < 0 or np.isnan(value):
                continue
            statistic = _slide(
                tag, tag_ring, t, clip(value, LIMIT), window_rows, softening, moves
            )
            if np.isnan(statistic):
                continue
            evidence[i, c] = statistic
            if not largest >= statistic:
                largest = statistic
        score[i] = largest
        if learns(largest, learn_below[i]):
            for c in range(min(x.shape[1], columns)):
                t = table[a, c]
                if t >= 0 and not np.isnan(x[i, c]):
                    mean[t], variance[t] = learned_scale(
                        mean[t], variance[t], learned[t], clip(x[i, c], LIMIT), memory_rows
                    )
                    learned[t] += 1.0


@kernel
def _slide(
    tag: npt.NDArray[np.void], tag_ring: Float64, t: int, value: float,
    window_rows: int, softening: float, moves: bool,
) -> float:
    """The statistic with ``value`` as the newest; NaN until both windows are full."""
    n = window_rows
    own = tag[t]
    slot = own["slot"]
    offset = own["offset"] if own["count"] > 0 else value
    entering = value - offset
    # n values ago: goes over from the newer to the older window. 2n values ago: leaves the older.
    # Before the ring is full both are zeros, and a zero changes no sum.
    passing = tag_ring[t, slot + n if slot < n else slot - n]
    leaving = tag_ring[t, slot]
    newer_sum = own["newer_sum"] + entering - passing
    newer_square = own["newer_square"] + entering * entering - passing * passing
    older_sum = own["older_sum"] + passing - leaving
    older_square = own["older_square"] + passing * passing - leaving * leaving
    full = own["count"] + 1 >= 2 * n
    if moves:
        tag_ring[t, slot] = entering
        own["offset"] = offset
        own["newer_sum"], own["newer_square"] = newer_sum, newer_square
        own["older_sum"], own["older_square"] = older_sum, older_square
        own["count"] += 1
        own["slot"] = slot + 1
        if slot + 1 == 2 * n:
            _sum_again(tag, tag_ring, t, n)
    if not full:
        return np.nan
    difference = abs(newer_sum - older_sum) / n
    # What rounding can leave in the sums is no difference: a constant column has t = 0.
    if difference <= 1e-12 * abs(offset):
        return 0.0
    newer_mean, older_mean = newer_sum / n, older_sum / n
    newer_variance = max(newer_square / n - newer_mean * newer_mean, 0.0)
    older_variance = max(older_square / n - older_mean * older_mean, 0.0)
    pooled = 0.5 * (newer_variance + older_variance) + softening * own["variance"]
    # t = |difference of means| / √(2 · pooled / n), without dividing by a pooled variance of 0
    square = difference * difference * n
    if square >= STATISTIC_LIMIT * STATISTIC_LIMIT * 2.0 * pooled:
        return STATISTIC_LIMIT
    return float(np.sqrt(square / (2.0 * pooled)))


@kernel
def _sum_again(tag: npt.NDArray[np.void], tag_ring: Float64, t: int, n: int) -> None:
    """Once per turn of the ring: centre it on its mean and sum afresh, so no error can grow."""
    own = tag[t]
    mean = 0.0
    for k in range(2 * n):
        mean += tag_ring[t, k]
    mean /= 2 * n
    own["slot"] = 0
    own["offset"] += mean
    for k in range(2 * n):
        tag_ring[t, k] -= mean
    older_sum = older_square = newer_sum = newer_square = 0.0
    for k in range(n):
        older_sum += tag_ring[t, k]
        older_square += tag_ring[t, k] * tag_ring[t, k]
        newer_sum += tag_ring[t, n + k]
        newer_square += tag_ring[t, n + k] * tag_ring[t, n + k]
    own["older_sum"], own["older_square"] = older_sum, older_square
    own["newer_sum"], own["newer_square"] = newer_sum, newer_square
