"""Pyramid: the last stretch of a sensor is like nothing it did before, at three time scales.

Per sensor, values are averaged in blocks of 1, 4 and 16. At each decimation an exponentially
weighted window (λ = 0.85, about the last dozen blocks) is compared with every earlier such window
back to the history's end, and the nearest one counts: a *left discord* (Yeh et al., "Matrix Profile
I", ICDM 2016; left: Zimmerman et al., "Matrix Profile XIII", 2019) whose window has no hard edge.
With block values b, EW mean m, EW variance v (West, CACM 22 (1979), weighted recurrences), V the
sensor's long-run variance of late (without it flat parts rule) and σ² = v + 0.01 V:

    m += α(b − m);  v = λ(v + α(b − m)²);  R_L = λR_L + α(b_i − b_{i−L})²
    raw²     = R_L
    centred² = R_L − (1 − κ)(m_i − m_{i−L})²
    shape²   = (centred² − (σ_i − σ_{i−L})²) / σ_i σ_{i−L}

R_L is the mean square difference of two windows and the only thing kept per lag: one
multiplication and one addition move it on, and nothing is subtracted from it, so rounding is
forgotten with λⁿ and float32 is enough. κ keeps the rounding of a difference of two large numbers
from passing for a perfect match. Each minimum is taken over all lags and over the old ones alone:
what came back after long is less odd than what never came, and odder than what came a moment ago.

What is kept and what is made again. A ring of m is what the sensor was: b follows from two
neighbours, and v, σ (16 bits are enough) and R from the b. So that a state read back goes on bit
for bit without them, they begin anew from the ring at fixed block numbers, R a part of the lags at
a time; :func:`rebuild` does the same. V takes part in σ as it was then, or when it had doubled.

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
from anomaly.detectors.soft_windows import (
    ANEW_BLOCKS,
    ANEW_FIRST,
    ANEW_LAGS,
    ANEW_SHIFT,
    EXCLUDED_BLOCKS,
    REPEATED,
    Float32,
    UInt16,
    begin_anew,
    moved,
    nearest_of,
    packed,
    put,
    reach_blocks,
    ring_blocks,
    sigmas_anew,
    since_anew,
    variance_anew,
    weights_of,
)
from anomaly.detectors.warm_up import State
from anomaly.kernel import kernel
from anomaly.numerics import advances, clip, learns

VERSION = 2
#: Arrays that :func:`rebuild` makes from the others: no part of what is written down.
DERIVED = ("tag_sigma", "tag_apart")
#: By far the largest state: where memory is short, later sensors go without.
PARTIAL = True

#: Share of the long-run variance that softens the normalisation by a window's own deviation.
SOFTENING = 0.01
#: Blocks after which the long-run variance forgets.
VARIANCE_MEMORY = 4000.0
#: Blocks are held within ±this around the first, so that squares stay finite in float32.
BLOCK_LIMIT = 1e15
SQUARE_LIMIT = 1e35
#: A distance's norm has a prior deviation of 1 that weighs 100 blocks …
PRIOR_BLOCKS = 100.0
#: … learns steps of at most eight deviations …
STEP_LIMIT = 8.0
#: … and speaks after 200 rows, of at most thirty deviations.
OPINION_ROWS = 200.0
SURPRISE_LIMIT = 30.0
#: raw, centred, shape; each over all lags and over the old ones.
DISTANCES = 3
RANGES = 2

LEVEL = np.dtype([
    ("filled", "i8"), ("partial", "f8"),  # the block in the making: values in it, their sum
    ("blocks", "i8"),  # complete blocks; they say where in the rings the newest stands
    ("offset", "f8"),  # subtracted from blocks, so that float32 keeps their digits
    ("variance", "f8"),  # of the soft window
    ("long_mean", "f8"), ("long_variance", "f8"),
    ("soft", "f8"),  # 0.01 V as σ knows it
])
NORM = np.dtype([
    ("count", "f8"), ("size", "f8"),  # distances seen; their running mean square
    ("mean", "f8"), ("variance", "f8"),  # of y
    ("surprise", "f8"),  # what this distance says until its next block; −1 = no opinion
    ("square", "f8"), ("step", "f8"),  # of the block just closed, learned once the row is judged
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
    histories: tuple[int, ...] = (2048, 2048, 1024)
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
    """Fresh state, all per tag: levels, norms, rings of m and σ, and R by lag.

    Rings of the levels stand one after the other. In each the newest block has the lowest place
    until the ring turns over, so that lag and place ascend together. A ring of m reaches further
    back than the lags do, by what a new beginning of R needs. Both repeat their first places at the
    end, where these are the older neighbours of the last.
    """
    levels = len(config.decimations)
    lags = sum(config.histories)
    extra = levels * ring_blocks(0, reach_blocks(config.keep))
    state: State = {
        "tag_level": np.zeros((tags, levels), LEVEL),
        "tag_norm": np.zeros((tags, levels * RANGES * DISTANCES), NORM),
        "tag_mean": np.zeros((tags, lags + extra), np.float32),
        "tag_sigma": np.zeros((tags, lags + extra), np.uint16),
        "tag_apart": np.zeros((tags, lags), np.float32),
    }
    state["tag_norm"]["surprise"] = -1.0
    return state


@kernel
def step(
    tag_level: npt.NDArray[np.void], tag_norm: npt.NDArray[np.void],
    tag_mean: Float32, tag_sigma: UInt16, tag_apart: Float32,
    decimations: tuple[int, ...], histories: tuple[int, ...], old_blocks: int, keep: float,
    memory_rows: float,
    table: Int64, asset: Int64, x: Float64, learn_below: Float64,
    score: Float64, evidence: Float64,
) -> None:
    """Score rows under the detector contract. A sensor's evidence is its own score."""
    levels = len(decimations)
    reach, weights = reach_blocks(keep), weights_of(keep)
    spare_level = np.empty(levels, LEVEL)
    spare_norm = np.empty(tag_norm.shape[1], NORM)
    width = 0
    for level in range(levels):
        width = max(width, ring_blocks(histories[level], reach))
    spare_mean = np.empty(width, np.float32)  # where score-only rows leave their trace
    spare_apart, spare_sigma = np.empty(width, np.float32), np.empty(width, np.uint16)
    line = np.empty(2 * (reach + ANEW_BLOCKS) + ANEW_LAGS, np.float32)
    for i in range(asset.size):
        a = asset[i]
        moves = advances(learn_below[i])
        total = 0.0
        judged = 0
        for c in range(x.shape[1]):
            evidence[i, c] = 0.0
            t = table[a, c] if c < table.shape[1] else -1
            if t < 0 or t >= tag_level.shape[0] or np.isnan(x[i, c]):
                continue
            value = clip(x[i, c], 1e100)
            norms = tag_norm[t]
            if not moves:
                norms = _copied_norms(spare_norm, tag_norm[t])
            lag_start, ring_start = 0, 0
            for level in range(levels):
                lag_end = lag_start + histories[level]
                ring_end = ring_start + ring_blocks(histories[level], reach)
                if not moves:
                    spare_level[level] = tag_level[t, level]
                own = tag_level[t, level] if moves else spare_level[level]
                own["partial"] += value
                own["filled"] += 1
                if own["filled"] == decimations[level]:
                    mean = tag_mean[t, ring_start:ring_end]
                    sigmas = tag_sigma[t, ring_start:ring_end]
                    apart = tag_apart[t, lag_start:lag_end]
                    if not moves:
                        mean = _copied(spare_mean, mean)
                        sigmas = _copied(spare_sigma, sigmas)
                        apart = _copied(spare_apart, apart)
                    _close_block(
                        own, mean, sigmas, apart, line, norms[level * 6 : level * 6 + 6],
                        decimations[level], old_blocks, keep, reach, weights,
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
def rebuild(
    tag_level: npt.NDArray[np.void], tag_norm: npt.NDArray[np.void],
    tag_mean: Float32, tag_sigma: UInt16, tag_apart: Float32,
    decimations: tuple[int, ...], histories: tuple[int, ...], old_blocks: int, keep: float,
    memory_rows: float,
    tags: Int64,
) -> None:
    """Make σ and R of some tags from their rings of m: to the bit what the stream had made."""
    reach = reach_blocks(keep)
    line = np.empty(2 * (reach + ANEW_BLOCKS) + ANEW_LAGS, np.float32)
    for k in range(tags.size):
        t = tags[k]
        if t < 0 or t >= tag_level.shape[0]:
            continue
        lag_start, ring_start = 0, 0
        for level in range(len(decimations)):
            history = histories[level]
            ring_end = ring_start + ring_blocks(history, reach)
            newest = tag_level[t, level]["blocks"] - 1
            sigmas_anew(tag_sigma[t, ring_start:ring_end], tag_mean[t, ring_start:ring_end], newest,
                         tag_level[t, level]["soft"], history, keep, reach)
            for first in range(EXCLUDED_BLOCKS, history, ANEW_LAGS):
                began = newest - since_anew(newest, first)
                blocks = newest + 1
                if began >= 0:
                    blocks = min(blocks, newest - began + reach)
                begin_anew(
                    tag_apart[t, lag_start:lag_start + history], tag_mean[t, ring_start:ring_end],
                    line, newest, first, blocks, keep,
                )
            lag_start, ring_start = lag_start + history, ring_end


@kernel
def _close_block(
    own: Any, ring: Float32, sigmas: UInt16, apart: Float32, line: Float32, norms: Any,
    decimation: int, old_blocks: int, keep: float, reach: int,
    weights: tuple[np.float32, np.float32],
) -> None:
    """One block is complete: move the window on, find its nearest neighbours, judge them."""
    average = own["partial"] / decimation
    own["partial"], own["filled"] = 0.0, 0
    newest = own["blocks"]
    own["blocks"] = newest + 1
    if newest == 0:
        own["offset"] = average
    block = clip(average - own["offset"], BLOCK_LIMIT)
    weight = max(1.0 / own["blocks"], 1.0 / VARIANCE_MEMORY)
    difference = block - own["long_mean"]
    own["long_mean"] += weight * difference
    own["long_variance"] = (1.0 - weight) * (
        own["long_variance"] + weight * difference * difference
    )
    share, history, length = 1.0 - keep, apart.size, ring.size - REPEATED
    head = length - 1 - newest % length
    before = ring[head + 1]
    mean = np.float32(np.float64(before) + share * (block - np.float64(before)))
    put(ring, head, mean)
    if newest % ANEW_BLOCKS == 0:
        own["variance"] = variance_anew(ring, newest, newest, keep, reach)
    else:
        own["variance"] = moved(own["variance"], ring[head], before, keep)
    soft = SOFTENING * own["long_variance"] + 1e-18
    if newest % ANEW_BLOCKS == 0 or soft > 2.0 * own["soft"]:
        own["soft"] = soft
        sigmas_anew(sigmas, ring, newest, soft, history, keep, reach)
    sigma = math.sqrt(own["variance"] + own["soft"])
    put(sigmas, head, packed(sigma))
    put(sigmas, head + history - (length if head + history >= length else 0), np.uint16(0))
    near, beyond = np.float32(weights[0]), np.float32(weights[1])
    now = (np.float32(keep), near * mean - beyond * before, near, beyond, mean, np.float32(sigma))
    far = min(history, newest + 1)  # lags below this have a block
    old = min(old_blocks, history)
    infinite = np.float32(np.inf)
    least = (infinite, infinite, infinite)
    for part in range(RANGES - 1, -1, -1):  # old lags first: all lags take the nearer of both
        low, high = (EXCLUDED_BLOCKS, min(old, far)) if part == 0 else (old, far)
        if high > low:
            least = nearest_of(least, low, high, head, ring, sigmas, apart, now)
            if newest >= low + int(4.0 / share):  # the soft windows have filled
                for kind in range(DISTANCES):
                    square = min(float(least[kind]), SQUARE_LIMIT)
                    _judge(norms[part * DISTANCES + kind], square, decimation)
    if far < history:  # the other lags move too: blocks that equal the first lie before it
        nearest_of(least, max(far, EXCLUDED_BLOCKS), history, head, ring, sigmas, apart, now)
    if newest % ANEW_SHIFT == ANEW_FIRST:
        for first in range(EXCLUDED_BLOCKS, history, ANEW_LAGS):
            if since_anew(newest, first) == 0:
                begin_anew(apart, ring, line, newest, first, min(newest + 1, reach), keep)


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
def _judge(norm: Any, square: float, decimation: int) -> None:
    """Surprise of one new squared distance against its norm; learned later, by ``_settle``."""
    difference = math.log(square + 0.01 * norm["size"] + 1e-30) - norm["mean"]
    norm["surprise"] = -1.0
    if norm["count"] * decimation > OPINION_ROWS:
        # The variance of y with the prior: young norms must not exaggerate.
        variance = (norm["variance"] * norm["count"] + PRIOR_BLOCKS) / (
            norm["count"] + PRIOR_BLOCKS
        )
        odd = max(difference, 0.0)
        norm["surprise"] = min(odd * odd / variance, SURPRISE_LIMIT * SURPRISE_LIMIT)
        if difference * difference > STEP_LIMIT * STEP_LIMIT * variance:
            difference = clip(difference, STEP_LIMIT * math.sqrt(variance))
        square = min(square, STEP_LIMIT * STEP_LIMIT * norm["size"])
    norm["square"], norm["step"] = square, difference
    norm["fresh"] = 1


@kernel
def _settle(
    tag_norm: npt.NDArray[np.void], tags: Int64, x: Float64, decimations: tuple[int, ...],
    memory_rows: float, learn: bool,
) -> None:
    """Let the norms learn the distances of this row's closed blocks, or forget that they came."""
    for c in range(min(x.size, tags.size)):
        t = tags[c]
        if t < 0 or t >= tag_norm.shape[0] or np.isnan(x[c]):
            continue
        for level in range(len(decimations)):
            if tag_norm[t, level * RANGES * DISTANCES]["fresh"] == 0:
                continue  # the old lags are judged only where all are
            least = decimations[level] / memory_rows
            for k in range(level * RANGES * DISTANCES, (level + 1) * RANGES * DISTANCES):
                if tag_norm[t, k]["fresh"] == 1 and learn:
                    _learn(tag_norm[t, k], least)
                tag_norm[t, k]["fresh"] = 0


@kernel
def _learn(norm: Any, least: float) -> None:
    norm["count"] += 1.0
    weight = max(1.0 / norm["count"], least)
    step = norm["step"]
    norm["size"] += weight * (norm["square"] - norm["size"])
    norm["mean"] += weight * step
    norm["variance"] = (1.0 - weight) * (norm["variance"] + weight * step * step)


@kernel
def _copied_norms(target: npt.NDArray[np.void], source: npt.NDArray[np.void]
                  ) -> npt.NDArray[np.void]:
    for k in range(source.size):
        target[k] = source[k]
    return target


@kernel
def _copied(target: npt.NDArray[Any], source: npt.NDArray[Any]) -> npt.NDArray[Any]:
    for k in range(source.size):
        target[k] = source[k]
    return target[: source.size]
