"""Rarity of a score whose norms are still growing: the largest of each hundred rows, and Gumbel.

The pyramid's distances fall for thousands of rows, while its history fills, so its warm-up says
little about the rows to come and cannot be frozen as calibration.py freezes the others. Its
largest value in each block of :data:`BLOCK_ROWS` rows is stabler, and those maxima keep being
learned: mean and deviation of log(score + :data:`SOFTENING`), the deviation with a prior worth
:data:`PRIOR_BLOCKS` blocks. A Gumbel law with these moments gives the probability p that a healthy
block reaches a row's score; its return period is BLOCK_ROWS / p rows. Within a block only the
maximum counts, so nothing is left to decluster.

Source: Gumbel, *Statistics of Extremes* (1958), §5.2 (block maxima) and §6.2.5 (moments);
Coles, *An Introduction to Statistical Modeling of Extreme Values* (2001), §3.1–3.3.

What is assumed: the maxima's logarithm has a tail no heavier than Gumbel's; a fault fills only few
blocks (its maxima are winsorised at :data:`WINSOR_DEVIATIONS`, so that it does not teach much).
What may not live here: what to do about a rare row (alerts.py).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from anomaly.batches import Float64, Int64
from anomaly.kernel import kernel

VERSION = 1

#: Rows of which only the largest counts: a few windows of the pyramid's middle level.
BLOCK_ROWS = 100
#: Blocks before there is an opinion; the prior carries the deviation until then and after.
FEWEST_BLOCKS = 3
PRIOR_DEVIATION, PRIOR_BLOCKS = 0.3, 3.0
#: A block's maximum is learned as at most this many deviations above the mean.
WINSOR_DEVIATIONS = 4.0
#: Added before the logarithm: a score of 0 is ordinary, not infinitely so.
SOFTENING = 0.1
#: Least probability of a block that is told: beyond it nothing is known.
LEAST_PROBABILITY = 1e-28

_EULER = 0.5772156649015329
#: Deviation of a Gumbel law, in its scale.
_DEVIATION = math.pi / math.sqrt(6.0)

ASSET = np.dtype([
    ("rows", np.int64),     # with a score, of the block in the making
    ("peak", np.float64),   # its largest log score
    ("blocks", np.float64),
    ("mean", np.float64), ("variance", np.float64),  # of the maxima
])


def allocate(assets: int) -> dict[str, np.ndarray[Any, Any]]:
    """Fresh state, per asset: the block in the making and the maxima's moments."""
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
    for r in range(asset.size):
        period_rows[r] = np.nan
        if score[r] != score[r]:
            continue
        own = asset_state[asset[r]]
        value = math.log(score[r] + SOFTENING)
        deviation = math.sqrt(
            (own["variance"] * own["blocks"] + PRIOR_DEVIATION * PRIOR_DEVIATION * PRIOR_BLOCKS)
            / (own["blocks"] + PRIOR_BLOCKS))
        if own["blocks"] >= FEWEST_BLOCKS:
            scale = deviation / _DEVIATION
            reduced = (value - own["mean"]) / scale + _EULER
            probability = -math.expm1(-math.exp(-reduced))
            period_rows[r] = BLOCK_ROWS / max(probability, LEAST_PROBABILITY)
        own["peak"] = value if own["rows"] == 0 else max(own["peak"], value)
        own["rows"] += 1
        if own["rows"] == BLOCK_ROWS:
            _learn(own, deviation)


@kernel
def _learn(own: Any, deviation: float) -> None:
    """The block is full: its maximum enters the moments (Welford)."""
    peak = own["peak"]
    if own["blocks"] >= FEWEST_BLOCKS:
        peak = min(peak, own["mean"] + WINSOR_DEVIATIONS * deviation)
    own["rows"] = 0
    own["blocks"] += 1.0
    step = peak - own["mean"]
    own["mean"] += step / own["blocks"]
    own["variance"] += (step * (peak - own["mean"]) - own["variance"]) / own["blocks"]
