"""Pyramid: the last stretch of a sensor is like nothing it did before, at three time scales.

Per sensor, values are averaged in blocks of 1, 4 and 16. At each decimation an exponentially
weighted window (λ = 0.85, about the last dozen blocks) is compared with every earlier such window
back to the history's end, and the nearest one counts: a *left discord* (Yeh et al., "Matrix Profile
I", ICDM 2016; left: Zimmerman et al., "Matrix Profile XIII", 2019) whose window has no hard edge.
With block values b, EW mean m, EW variance v, EW covariance C_L against the block L earlier
(West, CACM 22 (1979), weighted recurrences):

    δ = b − m;  m += αδ;  v = λ(v + αδ²);  C_L = λ(C_L + α δ_i δ_{i−L})
    centred² = v_i + v_{i−L} − 2C_L
    raw²     = centred² + (m_i − m_{i−L})²
    shape²   = v_i I_i² + v_{i−L} I_{i−L}² − 2 C_L I_i I_{i−L},   I = 1/√(v + 0.01 V)

V is the sensor's long-run variance (without it flat parts rule). One multiplication and one
addition per lag keep C: nothing is subtracted again, so rounding is forgotten with λⁿ and float32
is enough; a sensor's covariances can be derived afresh from its last ~120 blocks. Each minimum is
taken over all lags and over the old ones alone: what came back after long is less odd than what
never came, and odder than what came a moment ago.

Each of the 18 distances is judged by its own past: y = log(d² + 0.01 g), g the running mean of d²;
z its deviation from its running mean; max(z, 0)² its surprise. A sensor's surprise is their mean
over the distances that have an opinion, and the score the root mean square over the sensors: in
deviations, about 1 when nothing is odd. What carries it (benchmarks/results): decimations far
apart, the soft window, log instead of ratio, two lag ranges, a long memory of the norms. No
training, no period, one setting for everything. Guarding it against odd windows cost accuracy, so
windows always follow; the guard holds back only the norms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64, Int64
from anomaly.detectors.settings import within
from anomaly.detectors.warm_up import State
from anomaly.kernel import kernel
from anomaly.numerics import advances, clip, learns

VERSION = 1

Float32 = npt.NDArray[np.float32]

#: Share of the long-run variance that softens the normalisation by a window's own deviation.
SOFTENING = 0.01
#: Blocks after which the long-run variance forgets.
VARIANCE_MEMORY = 4000.0
#: Lags shorter than this compare a window with itself.
EXCLUDED_BLOCKS = 16
#: Positions written before the rings are moved back: the move costs history / slack a block.
SLACK_BLOCKS = 256
#: Blocks are held within ±this around the first, so that squares stay finite in float32.
BLOCK_LIMIT = 1e15
#: A distance's norm has a prior deviation of 1 that weighs 100 blocks …
PRIOR_BLOCKS = 100.0
#: … learns steps of at most eight deviations …
STEP_LIMIT = 8.0
#: … and speaks after 200 rows, of at most thirty deviations.
OPINION_ROWS = 200.0
SURPRISE_LIMIT = 30.0
#: centred, raw, shape; each over all lags and over the old ones.
DISTANCES = 3
RANGES = 2

LEVEL = np.dtype([
    ("filled", "i8"), ("partial", "f8"),  # the block in the making: values in it, their sum
    ("blocks", "i8"), ("head", "i8"),  # complete blocks; where in the rings the newest stands
    ("offset", "f8"),  # subtracted from blocks, so that float32 keeps their digits
    ("mean", "f8"), ("variance", "f8"),  # of the soft window
    ("long_mean", "f8"), ("long_variance", "f8"),
])
NORM = np.dtype([
    ("count", "f8"), ("size", "f8"),  # distances seen; their running mean square
    ("mean", "f8"), ("variance", "f8"),  # of y
    ("surprise", "f8"),  # what this distance says until its next block; −1 = no opinion
    ("y", "f8"),  # of the block just closed, learned once the row's score is known; NaN-free
    ("fresh", "i8"),
])


@dataclass(frozen=True, slots=True)
class Config:
    """Parameters of the pyramid.

    Attributes
    ----------
    decimations : tuple of int
        Values per block at each level.
    histories : tuple of int
        Blocks back to the farthest window compared, per level; the cost is proportional to it.
    old_blocks : int
        Lags from here on are the old ones.
    keep : float
        λ, the share of the old window that a block leaves.
    memory_rows : float
        Values after which the norms of the distances forget.
    """

    decimations: tuple[int, ...] = (1, 4, 16)
    histories: tuple[int, ...] = (2048, 2048, 2048)
    old_blocks: int = 512
    keep: float = 0.85
    memory_rows: float = 50_000.0

    def __post_init__(self) -> None:
        within("decimations (how many)", len(self.decimations), 1, 12)
        for values in self.decimations:
            within("decimations", values, 1, 10_000)
        levels = len(self.decimations)
        within("histories (how many)", len(self.histories), levels, levels)
        for blocks in self.histories:
            within("histories", blocks, EXCLUDED_BLOCKS + 1, 100_000)
        within("old_blocks", self.old_blocks, EXCLUDED_BLOCKS + 1, 100_000)
        within("keep", self.keep, 0.1, 0.999)
        within("memory_rows", self.memory_rows, 1, 1e9)


def allocate(config: Config, assets: int, tags: int) -> State:
    """Fresh state, all per tag: levels, norms, rings of δ, m, v, I, and covariances by lag.

    Rings of the levels stand one after the other. The newest block is at ``head``, older ones at
    ascending places, so that lag and place ascend together and no index wraps.
    """
    levels = len(config.decimations)
    ring = sum(config.histories) + levels * SLACK_BLOCKS
    state: State = {
        "tag_level": np.zeros((tags, levels), LEVEL),
        "tag_norm": np.zeros((tags, levels * RANGES * DISTANCES), NORM),
        "tag_covariance": np.zeros((tags, sum(config.histories)), np.float32),
    }
    state["tag_norm"]["surprise"] = -1.0
    for name in ("step", "mean", "variance", "inverse"):
        state[f"tag_{name}"] = np.zeros((tags, ring), np.float32)
    return state


@kernel
def step(
    tag_level: npt.NDArray[np.void], tag_norm: npt.NDArray[np.void],
    tag_covariance: Float32, tag_step: Float32, tag_mean: Float32, tag_variance: Float32,
    tag_inverse: Float32,
    decimations: tuple[int, ...], histories: tuple[int, ...], old_blocks: int, keep: float,
    memory_rows: float,
    table: Int64, asset: Int64, x: Float64, learn_below: Float64,
    score: Float64, evidence: Float64,
) -> None:
    """Score rows under the detector contract. A sensor's evidence is its own score."""
    levels = len(decimations)
    spare_level = np.empty(levels, LEVEL)
    spare_norm = np.empty(tag_norm.shape[1], NORM)
    width = 0
    for level in range(levels):
        width = max(width, histories[level] + SLACK_BLOCKS)
    spare = np.empty((5, width), np.float32)  # where score-only rows leave their trace
    for i in range(asset.size):
        a = asset[i]
        moves = advances(learn_below[i])
        total = 0.0
        judged = 0
        for c in range(x.shape[1]):
            evidence[i, c] = 0.0
            t = table[a, c] if c < table.shape[1] else -1
            if t < 0 or np.isnan(x[i, c]):
                continue
            norms = tag_norm[t]
            if not moves:
                norms = _copied_norms(spare_norm, tag_norm[t])
            lag_start, ring_start = 0, 0
            for level in range(levels):
                history = histories[level]
                lag_end, ring_end = lag_start + history, ring_start + history + SLACK_BLOCKS
                if not moves:
                    spare_level[level] = tag_level[t, level]
                own = tag_level[t, level] if moves else spare_level[level]
                own["partial"] += clip(x[i, c], 1e100)
                own["filled"] += 1
                if own["filled"] == decimations[level]:
                    rings = (
                        tag_covariance[t, lag_start:lag_end], tag_step[t, ring_start:ring_end],
                        tag_mean[t, ring_start:ring_end], tag_variance[t, ring_start:ring_end],
                        tag_inverse[t, ring_start:ring_end],
                    )
                    if not moves:
                        rings = _copied_rings(spare, rings)
                    _close_block(
                        own, rings, norms[level * 6 : level * 6 + 6], decimations[level], history,
                        old_blocks, keep, memory_rows,
                    )
                lag_start, ring_start = lag_end, ring_end
            evidence[i, c] = _mean_surprise(norms)
            if evidence[i, c] < 0.0:
                evidence[i, c] = 0.0
                continue
            total += evidence[i, c]
            judged += 1
        score[i] = math.sqrt(total / judged) if judged > 0 else np.nan
        if moves:
            _settle(tag_norm, table[a], x[i], decimations, memory_rows,
                    learns(score[i], learn_below[i]))


@kernel
def _close_block(
    own: Any, rings: tuple[Float32, Float32, Float32, Float32, Float32], norms: Any,
    decimation: int, history: int, old_blocks: int, keep: float, memory_rows: float,
) -> None:
    """One block is complete: move the window on, find its nearest neighbours, judge them."""
    covariance, steps, means, variances, inverses = rings
    average = own["partial"] / decimation
    own["partial"], own["filled"] = 0.0, 0
    if own["blocks"] == 0:
        own["offset"] = average
        own["head"] = history + SLACK_BLOCKS
    block = clip(average - own["offset"], BLOCK_LIMIT)
    own["blocks"] += 1
    share = 1.0 - keep
    weight = max(1.0 / own["blocks"], 1.0 / VARIANCE_MEMORY)
    apart = block - own["long_mean"]
    own["long_mean"] += weight * apart
    own["long_variance"] = (1.0 - weight) * (own["long_variance"] + weight * apart * apart)
    difference = block - own["mean"]
    own["mean"] += share * difference
    own["variance"] = keep * (own["variance"] + share * difference * difference)
    if own["head"] == 0:
        for k in range(history - 1, -1, -1):
            steps[k + SLACK_BLOCKS] = steps[k]
            means[k + SLACK_BLOCKS] = means[k]
            variances[k + SLACK_BLOCKS] = variances[k]
            inverses[k + SLACK_BLOCKS] = inverses[k]
        own["head"] = SLACK_BLOCKS
    own["head"] -= 1
    head = own["head"]
    inverse = 1.0 / math.sqrt(own["variance"] + SOFTENING * own["long_variance"] + 1e-18)
    steps[head], means[head] = difference, own["mean"]
    variances[head], inverses[head] = own["variance"], inverse
    newest = own["blocks"] - 1
    far = min(history, newest + 1)  # lags below this have a block
    old = min(old_blocks, history)
    least = _nothing()
    for part in range(RANGES - 1, -1, -1):  # old lags first: all lags take the nearer of both
        low, high = (EXCLUDED_BLOCKS, min(old, far)) if part == 0 else (old, far)
        if high > low:
            found = _nearest(
                covariance[low:high], steps[head + low : head + high],
                means[head + low : head + high], variances[head + low : head + high],
                inverses[head + low : head + high],
                np.float32(keep), np.float32(keep * share * difference), np.float32(own["mean"]),
                np.float32(own["variance"]), np.float32(inverse),
            )
            least = (min(least[0], found[0]), min(least[1], found[1]), min(least[2], found[2]))
            if newest >= low + int(4.0 / share):  # the soft windows have filled
                for kind in range(DISTANCES):
                    _judge(norms[part * DISTANCES + kind], float(least[kind]), decimation)


@kernel
def _nothing() -> tuple[np.float32, np.float32, np.float32]:
    return np.float32(np.inf), np.float32(np.inf), np.float32(np.inf)


@kernel
def _mean_surprise(norms: npt.NDArray[np.void]) -> float:
    """Mean over the distances that have an opinion; −1 where none has."""
    total = 0.0
    count = 0
    for k in range(norms.size):
        if norms[k]["surprise"] >= 0.0:
            total += norms[k]["surprise"]
            count += 1
    return total / count if count > 0 else -1.0


@kernel
def _nearest(
    covariance: Float32, steps: Float32, means: Float32, variances: Float32, inverses: Float32,
    keep: np.float32, gain: np.float32, mean: np.float32, variance: np.float32,
    inverse: np.float32,
) -> tuple[np.float32, np.float32, np.float32]:
    """Move every lag's covariance on and return the three smallest squared distances.

    Minima are taken over the bit patterns: squares are ≥ 0 up to rounding, and floats of that sign
    order like their bits; a slightly negative square becomes the minimum, which is then 0. Float
    minima are not vectorised by the compiler, integer ones are: 0.25 ns a lag against 1.0.
    """
    largest = np.int32(2147483647)
    centred, raw, shape = largest, largest, largest
    own_shape = variance * inverse * inverse
    twice = np.float32(2.0) * inverse
    two = np.float32(2.0)
    for k in range(covariance.size):
        moved = keep * covariance[k] + gain * steps[k]
        covariance[k] = moved
        other, sharp = variances[k], inverses[k]
        square = variance + other - two * moved
        apart = mean - means[k]
        bits = np.float32(square).view(np.int32)
        centred = bits if bits < centred else centred
        bits = np.float32(square + apart * apart).view(np.int32)
        raw = bits if bits < raw else raw
        bits = np.float32(own_shape + other * sharp * sharp - twice * moved * sharp).view(np.int32)
        shape = bits if bits < shape else shape
    zero = np.int32(0)
    return (
        np.int32(max(centred, zero)).view(np.float32), np.int32(max(raw, zero)).view(np.float32),
        np.int32(max(shape, zero)).view(np.float32),
    )


@kernel
def _judge(norm: Any, square: float, decimation: int) -> None:
    """Surprise of one new squared distance against its norm; learned later, by ``_settle``."""
    y = math.log(square + 0.01 * norm["size"] + 1e-30)
    norm["surprise"] = -1.0
    if norm["count"] * decimation > OPINION_ROWS:
        odd = min(max((y - norm["mean"]) / _deviation(norm), 0.0), SURPRISE_LIMIT)
        norm["surprise"] = odd * odd
    norm["y"] = y
    norm["fresh"] = 1


@kernel
def _deviation(norm: Any) -> float:
    """Of y, with the prior: young norms must not exaggerate."""
    count = norm["count"]
    return math.sqrt((norm["variance"] * count + PRIOR_BLOCKS) / (count + PRIOR_BLOCKS))


@kernel
def _settle(
    tag_norm: npt.NDArray[np.void], tags: Int64, x: Float64, decimations: tuple[int, ...],
    memory_rows: float, learn: bool,
) -> None:
    """Let the norms learn the distances of this row's closed blocks, or forget that they came."""
    for c in range(min(x.size, tags.size)):
        t = tags[c]
        if t < 0 or np.isnan(x[c]):
            continue
        for k in range(tag_norm.shape[1]):
            norm = tag_norm[t, k]
            if norm["fresh"] == 0:
                continue
            norm["fresh"] = 0
            if not learn:
                continue
            decimation = decimations[k // (RANGES * DISTANCES)]
            norm["count"] += 1.0
            known = norm["count"] * decimation > OPINION_ROWS
            weight = max(1.0 / norm["count"], decimation / memory_rows)
            if norm["count"] == 1.0:
                norm["mean"] = norm["y"]
            square = max(math.exp(norm["y"]) - 0.01 * norm["size"], 0.0)
            if known:
                square = min(square, STEP_LIMIT * STEP_LIMIT * norm["size"])
            norm["size"] += weight * (square - norm["size"])
            difference = norm["y"] - norm["mean"]
            if known:
                difference = clip(difference, STEP_LIMIT * _deviation(norm))
            norm["mean"] += weight * difference
            norm["variance"] = (1.0 - weight) * (
                norm["variance"] + weight * difference * difference
            )


@kernel
def _copied_norms(target: npt.NDArray[np.void], source: npt.NDArray[np.void]
                  ) -> npt.NDArray[np.void]:
    for k in range(source.size):
        target[k] = source[k]
    return target


@kernel
def _copied_rings(
    target: Float32, source: tuple[Float32, Float32, Float32, Float32, Float32]
) -> tuple[Float32, Float32, Float32, Float32, Float32]:
    for k in range(source[0].size):
        target[0, k] = source[0][k]
    for k in range(source[1].size):
        target[1, k], target[2, k] = source[1][k], source[2][k]
        target[3, k], target[4, k] = source[3][k], source[4][k]
    n, m = source[0].size, source[1].size
    return target[0, :n], target[1, :m], target[2, :m], target[3, :m], target[4, :m]
