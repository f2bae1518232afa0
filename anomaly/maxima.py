"""Rarity of a score whose norms are still growing: the largest of each hundred rows, their law.

The pyramid's distances fall for thousands of rows, while its history fills, so its warm-up says
little about the rows to come and cannot be frozen as calibration.py freezes the others. Its
largest value in each block of :data:`BLOCK_ROWS` rows is stabler, and those maxima keep being
learned: mean and deviation of log(score + :data:`SOFTENING`), the deviation with a prior worth
:data:`PRIOR_BLOCKS` blocks and wider while the blocks are few (:data:`FORESIGHT`). Laws of extreme
values of several :data:`SHAPES` with these moments give the probability p that a healthy block
reaches a row's score, each weighing as much as it has foretold the maxima so far; a row's return
period is BLOCK_ROWS / p rows. Within a block only the maximum counts, so nothing is left to
decluster. Gumbel's law alone (shape 0) raised a hundredth of what it promised at one alarm in
100,000 rows of most kinds of noise (ablations.md, 18).

Source: Gumbel, *Statistics of Extremes* (1958), §5.2 (block maxima) and §6.2.5 (moments);
Coles, *An Introduction to Statistical Modeling of Extreme Values* (2001), §3.1–3.3; Dawid,
"Statistical theory: the prequential approach", JRSS A 147 (1984), §5 (weighing by forecasts).

What is assumed: the maxima's logarithm has one of these tails, or one between; a fault fills only
few blocks (its maxima are winsorised at :data:`WINSOR_DEVIATIONS`, so that it does not teach much).
What may not live here: what to do about a rare row (alerts.py).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from anomaly.batches import Float64, Int64
from anomaly.elementary import exponential, exponential_less_one, logarithm, whole_power
from anomaly.kernel import kernel, kernel_uncounted

VERSION = 3

#: Rows of which only the largest counts: a few windows of the pyramid's middle level.
BLOCK_ROWS = 100
#: Blocks before there is an opinion; the prior carries the deviation until then and after.
FEWEST_BLOCKS = 3
PRIOR_DEVIATION, PRIOR_BLOCKS = 0.35, 3.0
#: What is not known yet of the moments widens the forecast: its variance by this share ÷ blocks.
FORESIGHT = 4.0
#: Shapes of the law of the maxima's logarithm, and their weights before any is seen: a bounded law
#: alone would call its end impossible (ablations.md, 18 and 32).
SHAPES = (-0.2, -0.1, 0.0, 0.1, 0.2)
SHAPE_WEIGHTS = (0.3, 0.2, 0.3, 0.1, 0.1)
#: A block's maximum is learned as at most this many deviations above the mean.
WINSOR_DEVIATIONS = 4.0
#: Added before the logarithm: a score of 0 is ordinary, not infinitely so.
SOFTENING = 0.1
#: Least probability of a block that is told: beyond it nothing is known.
LEAST_PROBABILITY = 1e-28

#: A forecast is not counted as worse than this log density: one wild block decides nothing.
_LEAST_DENSITY = -12.0


def _standard(shape: float) -> tuple[float, float]:
    """Mean and deviation of the law of extreme values with location 0 and scale 1."""
    if shape == 0.0:
        return 0.5772156649015329, math.pi / math.sqrt(6.0)
    first, second = math.gamma(1.0 - shape), math.gamma(1.0 - 2.0 * shape)
    return (first - 1.0) / shape, math.sqrt(second - first * first) / abs(shape)


_GUMBEL = SHAPES.index(0.0)
#: The shapes and as many idle ones as make eight, which go through one instruction together.
_LANES = (*SHAPES, *(8 - len(SHAPES)) * (0.0,))
_SHAPES = np.array(_LANES)
_MEANS = np.array([_standard(shape)[0] for shape in _LANES])
_DEVIATIONS = np.array([_standard(shape)[1] for shape in _LANES])
#: −1/ξ is a whole number for these shapes: a power is then a few multiplications. 0 = Gumbel's.
_POWERS = np.array([0 if shape == 0.0 else round(-1.0 / shape) for shape in _LANES])

ASSET = np.dtype([
    ("rows", np.int64),     # with a score, of the block in the making
    ("peak", np.float64),   # its largest log score
    ("blocks", np.float64),
    ("mean", np.float64), ("variance", np.float64),  # of the maxima
    ("foretold", np.float64, (len(SHAPES),)),  # log density of the maxima under each shape
])


def allocate(assets: int) -> dict[str, np.ndarray[Any, Any]]:
    """Fresh state, per asset: the block in the making, the maxima's moments and shapes."""
    return {"asset": np.zeros(assets, ASSET)}


def begin_again(asset_state: Any, a: int, score: Float64) -> None:
    """Forget an asset and learn ``score float64[w]`` instead: its past turned out otherwise."""
    asset_state[a] = np.zeros(1, ASSET)[0]
    step(asset_state, np.full(score.size, a), score, np.empty(score.size))


@kernel
def step(asset_state: Any, asset: Int64, score: Float64, period_rows: Float64) -> None:
    """Return period ``period_rows float64[m]`` of each ``score float64[m]``, then learn it.

    ``score`` ≥ 0, NaN = no opinion, which leaves the state untouched and gives NaN.
    """
    weight = np.zeros(_SHAPES.size)  # of the asset whose row was the last, until a block is full
    tail = np.empty(_SHAPES.size)
    deviation, known = 0.0, -1
    for r in range(asset.size):
        period_rows[r] = np.nan
        if score[r] != score[r]:
            continue
        own = asset_state[asset[r]]
        if known != asset[r]:
            known = asset[r]
            deviation = _foresee(own, weight)
        value = logarithm(score[r] + SOFTENING)
        if own["blocks"] >= FEWEST_BLOCKS:
            probability = _exceeding(weight, tail, (value - own["mean"]) / deviation)
            period_rows[r] = BLOCK_ROWS / max(probability, LEAST_PROBABILITY)
        own["peak"] = value if own["rows"] == 0 else max(own["peak"], value)
        own["rows"] += 1
        if own["rows"] == BLOCK_ROWS:
            _learn(own, tail, deviation)
            known = -1


@kernel
def _foresee(own: Any, weight: Float64) -> float:
    """The deviation that the next maximum is expected to have, and what each shape weighs."""
    foretold = own["foretold"]
    best = -np.inf
    for k in range(len(SHAPES)):
        best = max(best, foretold[k])
    whole = 0.0
    for k in range(len(SHAPES)):
        weight[k] = SHAPE_WEIGHTS[k] * exponential(foretold[k] - best)
        whole += weight[k]
    for k in range(len(SHAPES)):
        weight[k] /= whole
    return math.sqrt(
        (own["variance"] * own["blocks"] + PRIOR_DEVIATION * PRIOR_DEVIATION * PRIOR_BLOCKS)
        / (own["blocks"] + PRIOR_BLOCKS) * (1.0 + FORESIGHT / max(own["blocks"], 1.0)))


@kernel
def _learn(own: Any, tail: Float64, deviation: float) -> None:
    """The block is full: its maximum enters the moments (Welford)."""
    peak = own["peak"]
    if own["blocks"] >= FEWEST_BLOCKS:
        peak = min(peak, own["mean"] + WINSOR_DEVIATIONS * deviation)
        _weigh(own["foretold"], tail, (peak - own["mean"]) / deviation)
    own["rows"] = 0
    own["blocks"] += 1.0
    step = peak - own["mean"]
    own["mean"] += step / own["blocks"]
    own["variance"] += (step * (peak - own["mean"]) - own["variance"]) / own["blocks"]


@kernel_uncounted
def _exceeding(weight: Float64, tail: Float64, z: float) -> float:
    """Probability that a block's maximum lies z deviations above the mean, over the shapes."""
    _tails(tail, z)
    for k in range(tail.size):
        tail[k] = exponential_less_one(-tail[k])
    total = 0.0
    for k in range(tail.size):
        total -= weight[k] * tail[k]
    return total


@kernel
def _weigh(foretold: Float64, tail: Float64, z: float) -> None:
    """Count how well each shape foretold a maximum z deviations above the mean."""
    _tails(tail, z)
    for k in range(foretold.size):
        density = _LEAST_DENSITY
        if 0.0 < tail[k] < math.inf:
            density = math.log(_DEVIATIONS[k]) + (1.0 + _SHAPES[k]) * math.log(tail[k]) - tail[k]
        foretold[k] += max(density, _LEAST_DENSITY)


@kernel_uncounted
def _tails(tail: Float64, z: float) -> None:
    """Expected number of maxima above: (1 + ξy)^(−1/ξ), 0 beyond the end of a bounded law.

    The same steps for each shape, so that the compiler takes several at a time.
    """
    for k in range(tail.size):
        t = max(1.0 + _SHAPES[k] * (_MEANS[k] + _DEVIATIONS[k] * z), 0.0)
        power = whole_power(t, abs(_POWERS[k]))
        tail[k] = 1.0 / power if _POWERS[k] < 0 else power
    tail[_GUMBEL] = exponential(-(_MEANS[_GUMBEL] + _DEVIATIONS[_GUMBEL] * z))
