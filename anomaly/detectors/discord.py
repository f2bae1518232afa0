"""Discord: the last stretch of a sensor is like nothing it did before (pyramid of left discords).

Per sensor, the values are averaged in blocks of 1, 2, 4, 8 and 16; at each of these decimations the
last window of 16 blocks is compared with every earlier, non-overlapping window of the last 512
blocks, and the nearest one counts: its distance is the left discord of matrix-profile literature
(Yeh et al., "Matrix Profile I", ICDM 2016; left: Zimmerman et al., "Matrix Profile XIII", 2019).
Three distances: *shape* (z-normalised, softened so that flat parts do not rule), *centred* (equal
means) and *raw*. Each of the 15 is divided by its own running mean, clipped; the score of a sensor
is the mean of these ratios, about 1 when nothing is odd, and the asset's is the mean over sensors.
No training, no period, one setting for everything.

Distances come from running dot products of the last window with every earlier one: one
multiplication in, one out. So that rounding cannot grow, they are derived afresh each time the ring
of blocks is full, at block numbers that depend on nothing but the stream. Blocks follow every row —
guarding them against odd windows cost 14 points of UCR accuracy; the guard holds back only the
typical distances. A missing value is no value: the sensor's stretch is of the values it sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64, Int64
from anomaly.detectors.settings import within
from anomaly.detectors.warm_up import State
from anomaly.kernel import kernel
from anomaly.numerics import LIMIT, advances, clip, learned_scale, learns, memory_weight

VERSION = 1

LEVEL = np.dtype([
    ("filled", "i8"), ("partial", "f8"),  # the block in the making: values in it, their sum
    ("blocks", "i8"), ("slot", "i8"),  # complete blocks; where in the ring the next one goes
    ("offset", "f8"),  # subtracted from blocks, so that variances do not cancel
    ("mean", "f8"), ("variance", "f8"),  # of the blocks, in the long run
])

#: shape, centred, raw
DISTANCES = 3
#: Share of the long-run variance that softens the normalisation by a window's own deviation.
SOFTENING = 0.01
#: Blocks after which the long-run variance forgets.
VARIANCE_MEMORY = 4000.0
#: A distance counts as at most this many typical ones when the typical one is learned …
TYPICAL_STEP = 8.0
#: … once so many positive ones are known; with half as many there is an opinion.
TYPICAL_COUNT = 32.0
#: A ratio beyond this is not odder.
RATIO_LIMIT = 100.0


@dataclass(frozen=True, slots=True)
class Config:
    """Parameters of the discord pyramid.

    Attributes
    ----------
    window : int
        Blocks per window; 16 beat 32 and 64 in the trials.
    history : int
        Blocks back to the farthest window compared; the cost is proportional to it.
    decimations : tuple of int
        Values per block at each level of the pyramid.
    memory_rows : float
        Values after which the typical distances forget.
    """

    window: int = 16
    history: int = 512
    decimations: tuple[int, ...] = (1, 2, 4, 8, 16)
    memory_rows: float = 20000.0

    def __post_init__(self) -> None:
        within("window", self.window, 2, 1000)
        within("history", self.history, 2 * self.window, 100_000)
        within("memory_rows", self.memory_rows, 1, 1e9)
        within("decimations (how many)", len(self.decimations), 1, 12)
        for values in self.decimations:
            within("decimations", values, 1, 10_000)


def allocate(config: Config, assets: int, tags: int) -> State:
    """Fresh state, all per tag: levels, rings of blocks and window moments, dot products, ratios.

    A ring has history + window + 1 slots: the block that leaves the oldest window's dot product
    is still there when the newest arrives. Lag L's dot product is at entry history − L, so that
    entries and ring slots ascend together.
    """
    levels = len(config.decimations)
    ring = levels * (config.history + config.window + 1)
    return {
        "tag_level": np.zeros((tags, levels), LEVEL),
        "tag_block": np.zeros((tags, ring)),
        "tag_mean": np.zeros((tags, ring)),
        "tag_variance": np.zeros((tags, ring)),
        "tag_inverse": np.zeros((tags, ring)),  # 1 / softened deviation of the window
        "tag_dot": np.zeros((tags, levels * (config.history - config.window + 1))),
        "tag_ratio": np.full((tags, levels * DISTANCES), -1.0),  # −1 = no opinion yet
        "tag_typical": np.zeros((tags, levels * DISTANCES)),
        "tag_positive": np.zeros((tags, levels * DISTANCES)),  # distances learned
    }


@kernel
def step(
    tag_level: npt.NDArray[np.void], tag_block: Float64, tag_mean: Float64,
    tag_variance: Float64, tag_inverse: Float64, tag_dot: Float64,
    tag_ratio: Float64, tag_typical: Float64, tag_positive: Float64,
    window: int, history: int, decimations: tuple[int, ...], memory_rows: float,
    table: Int64, asset: Int64, x: Float64, learn_below: Float64,
    score: Float64, evidence: Float64,
) -> None:
    """Score rows under the detector contract. A sensor's evidence is its mean ratio."""
    levels = len(decimations)
    ring, lags = history + window + 1, history - window + 1
    # Of each sensor of the row: its new distances, −1 where no block was completed.
    distance = np.empty((x.shape[1], levels * DISTANCES))
    ratio, scratch = np.empty(levels * DISTANCES), np.empty((3, lags))
    spare = np.empty((5, ring))  # where a score-only row is compared, so that it leaves no trace
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
            value = clip(x[i, c], LIMIT)
            for k in range(levels * DISTANCES):
                distance[c, k] = -1.0
                ratio[k] = tag_ratio[t, k]
            for level in range(levels):
                own = tag_level[t, level]
                if own["filled"] + 1 < decimations[level]:
                    if moves:
                        own["partial"] += value
                        own["filled"] += 1
                    continue
                low, high = level * ring, (level + 1) * ring
                first, last = level * lags, (level + 1) * lags
                block, mean = tag_block[t, low:high], tag_mean[t, low:high]
                variance, inverse = tag_variance[t, low:high], tag_inverse[t, low:high]
                dot = tag_dot[t, first:last]
                if not moves:
                    block, mean = _copied(spare[0], block), _copied(spare[1], mean)
                    variance, inverse = _copied(spare[2], variance), _copied(spare[3], inverse)
                    dot = _copied(spare[4, :lags], dot)
                average = (own["partial"] + value) / decimations[level]
                found = distance[c, level * DISTANCES : (level + 1) * DISTANCES]
                _compare(own, block, mean, variance, inverse, dot, average, window, scratch, found)
                if moves:
                    _close(own, block, mean, dot, average, window)
            _compare_with_typical(distance[c], tag_typical[t], tag_positive[t], ratio)
            opinion = _mean_opinion(ratio)
            if moves:
                for k in range(levels * DISTANCES):
                    tag_ratio[t, k] = ratio[k]
            if opinion >= 0.0:
                evidence[i, c] = opinion
                total += opinion
                judged += 1
        score[i] = total / judged if judged > 0 else np.nan

        if learns(score[i], learn_below[i]):
            for c in range(min(x.shape[1], table.shape[1])):
                t = table[a, c]
                if t >= 0 and not np.isnan(x[i, c]):
                    for k in range(levels * DISTANCES):
                        _learn_typical(
                            tag_typical[t], tag_positive[t], k, distance[c, k],
                            memory_rows / decimations[k // DISTANCES],
                        )


@kernel
def _compare(
    own: Any, block: Float64, mean: Float64, variance: Float64, inverse: Float64, dot: Float64,
    average: float, window: int, scratch: Float64, found: Float64,
) -> None:
    """Put the block into the ring and find the nearest earlier window, three ways.

    With dot product Q, means μ, variances v and r = 1/√(v + softening) of windows i (now) and j:
    cov = Q/w − μᵢμⱼ;  centred² = vᵢ + vⱼ − 2cov;  raw² = centred² + (μᵢ − μⱼ)²;
    shape² = vᵢrᵢ² + vⱼrⱼ² − 2cov·rᵢrⱼ. What does not depend on j is added after the minimum.
    """
    ring, lags, slot = block.size, dot.size, own["slot"]
    entering = average - (own["offset"] if own["blocks"] > 0 else average)
    leaving = block[slot - window if slot >= window else slot - window + ring]
    block[slot] = entering
    mu, spread, sharp = _moments(block, slot, window, own["variance"])
    mean[slot], variance[slot], inverse[slot] = mu, spread, sharp
    # Entry k is lag history − k. Its window ends at `here`, what leaves it lies at `gone`; both
    # ascend with k and go round the ring once at most, so there are three stretches or fewer.
    history = lags + window - 1
    here = slot - history if slot >= history else slot - history + ring
    gone = slot + 1 if slot + 1 < ring else 0
    k = 0
    while k < lags:
        n = min(lags - k, min(ring - here, ring - gone))
        end = k + n
        _roll(dot[k:end], block[here : here + n], block[gone : gone + n], entering, leaving)
        _centred(scratch[1, k:end], dot[k:end], mean[here : here + n],
                 variance[here : here + n], 1.0 / window, mu)
        _raw(scratch[2, k:end], scratch[1, k:end], mean[here : here + n], mu)
        _shape(scratch[0, k:end], dot[k:end], mean[here : here + n],
               variance[here : here + n], inverse[here : here + n], 1.0 / window, mu, 2.0 * sharp)
        k = end
        here = here + n if here + n < ring else 0
        gone = gone + n if gone + n < ring else 0
    farthest = min(history, own["blocks"] - window + 1)  # windows before the first are none
    if farthest < window:
        return
    near = (spread * sharp * sharp, spread, spread)
    for kind in range(DISTANCES):
        square = near[kind] + _smallest(scratch[kind, history - farthest :])
        found[kind] = np.sqrt(min(max(square, 0.0), LIMIT * LIMIT))


@kernel
def _moments(block: Float64, slot: int, window: int, long_run: float) -> tuple[float, float, float]:
    """Mean and variance of the window that ends at ``slot``, and 1 / its softened deviation."""
    mu = 0.0
    for p in range(window):
        mu += block[slot - p if slot >= p else slot - p + block.size]
    mu /= window
    spread = 0.0
    for p in range(window):
        apart = block[slot - p if slot >= p else slot - p + block.size] - mu
        spread += apart * apart  # not ** 2: plain Python's power may differ in the last bit
    spread /= window
    # Where the sensor has been flat for all its life, the softening is what rounding could leave.
    soft = SOFTENING * long_run + 1e-12 * (spread + mu * mu) + 1e-200
    return mu, spread, 1.0 / np.sqrt(spread + soft)


# The next four run over all lags and are nine tenths of the cost. Each has so few arrays that the
# compiler can prove them apart at run time and use vector lanes; no fast-math, so plain Python
# gives the same bits. One fused loop with three running minima took 2.5-3 ns a lag, these 1.5-1.9.


@kernel
def _roll(
    dot: Float64, block: Float64, gone: Float64, entering: float, leaving: float
) -> None:
    for k in range(dot.size):
        dot[k] = dot[k] + (entering * block[k] - leaving * gone[k])


@kernel
def _centred(
    out: Float64, dot: Float64, mean: Float64, variance: Float64, share: float, mu: float
) -> None:
    for k in range(out.size):
        out[k] = variance[k] - 2.0 * (dot[k] * share - mu * mean[k])


@kernel
def _raw(out: Float64, centred: Float64, mean: Float64, mu: float) -> None:
    for k in range(out.size):
        apart = mu - mean[k]
        out[k] = centred[k] + apart * apart


@kernel
def _shape(
    out: Float64, dot: Float64, mean: Float64, variance: Float64, inverse: Float64,
    share: float, mu: float, twice: float,
) -> None:
    for k in range(out.size):
        covariance = dot[k] * share - mu * mean[k]
        out[k] = inverse[k] * (variance[k] * inverse[k] - twice * covariance)


@kernel
def _smallest(values: Float64) -> float:
    """Minimum by folding the second half onto the first; overwrites ``values``."""
    n = values.size
    while n > 4:
        half = (n + 1) // 2
        _fold(values[: n - half], values[half:n])
        n = half
    least = values[0]
    for k in range(1, n):
        least = min(least, values[k])
    return float(least)


@kernel
def _fold(first: Float64, second: Float64) -> None:
    for k in range(first.size):
        first[k] = min(first[k], second[k])


@kernel
def _close(
    own: Any, block: Float64, mean: Float64, dot: Float64, average: float, window: int
) -> None:
    """Count the block that :func:`_compare` put in; at the end of the ring derive afresh."""
    if own["blocks"] == 0:
        own["offset"] = average
    own["mean"], own["variance"] = learned_scale(
        own["mean"], own["variance"], float(own["blocks"]), average, VARIANCE_MEMORY
    )
    own["filled"], own["partial"] = 0, 0.0
    own["blocks"] += 1
    own["slot"] += 1
    if own["slot"] < block.size:
        return
    own["slot"] = 0
    centre = 0.0
    for k in range(block.size):
        centre += block[k]
    centre /= block.size
    own["offset"] += centre
    for k in range(block.size):
        block[k] -= centre
        mean[k] -= centre
    newest = block.size - 1
    for k in range(dot.size):
        lag = dot.size + window - 1 - k
        total = 0.0
        for p in range(window):
            total += block[newest - p] * block[newest - p - lag]
        dot[k] = total


@kernel
def _compare_with_typical(
    distance: Float64, typical: Float64, positive: Float64, ratio: Float64
) -> None:
    """Renew the ratios of those distances that are new and whose typical size is known."""
    for k in range(distance.size):
        if distance[k] >= 0.0 and positive[k] > 0.5 * TYPICAL_COUNT:
            if distance[k] >= RATIO_LIMIT * typical[k]:
                ratio[k] = RATIO_LIMIT if distance[k] > 0.0 else 0.0
            else:
                ratio[k] = distance[k] / typical[k]


@kernel
def _mean_opinion(ratio: Float64) -> float:
    """Mean of the ratios that are known; −1 if none is."""
    total = 0.0
    known = 0
    for k in range(ratio.size):
        if ratio[k] >= 0.0:
            total += ratio[k]
            known += 1
    return total / known if known > 0 else -1.0


@kernel
def _learn_typical(
    typical: Float64, positive: Float64, k: int, distance: float, memory: float
) -> None:
    """Running mean of the positive distances; zeros (a flat sensor) say nothing about size."""
    if distance > 0.0:
        if positive[k] >= TYPICAL_COUNT:
            distance = min(distance, TYPICAL_STEP * typical[k])
        typical[k] += memory_weight(positive[k], memory) * (distance - typical[k])
        positive[k] += 1.0


@kernel
def _copied(target: Float64, source: Float64) -> Float64:
    for k in range(source.size):
        target[k] = source[k]
    return target
