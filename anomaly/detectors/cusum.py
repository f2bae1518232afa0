"""CUSUM: small lasting offsets of one sensor from where it stood when the machine was healthy.

The two-sided tabular cumulative sum (Page, "Continuous inspection schemes", Biometrika 41 (1954);
Montgomery, "Introduction to Statistical Quality Control", tabular CUSUM) on each sensor, against a
reference frozen after warm-up. Sums are of z in units of the *long-run* deviation, from means of
batches of rows: with autocorrelation of 0.3 the plain deviation gave 5–10 false alarms a week where
the long-run one gave 0.2–3. The score is the largest sum over sensors: a CUSUM is
for the one sensor that left; what moves a little everywhere is ``level``'s.

What may not live here: adaptation, and limits from a formula (the calibration finds them in the
cross-fitted scores of the warm-up).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64, Int64
from anomaly.detectors.settings import within
from anomaly.detectors.warm_up import State, fit_reference
from anomaly.kernel import kernel
from anomaly.numerics import LIMIT, advances, clip, long_run_deviation, robust_reference

VERSION = 1

TAG = np.dtype([
    ("known", "i8"), ("centre", "f8"), ("scale", "f8"), ("high_sum", "f8"), ("low_sum", "f8"),
])


@dataclass(frozen=True, slots=True)
class Config:
    """Parameters of the CUSUM.

    Attributes
    ----------
    slack : float
        Deviations that are forgiven per row: half the offset that is to be found fastest.
    clip_limit : float
        Largest |z| that counts: a single wild reading adds at most this.
    sum_limit : float
        Where a sum stops growing: an offset that has long been said need not be said louder, and
        coming back must not take as long as staying away did.
    batch_rows : int
        Rows per batch mean, longer than the sensor's memory of itself.
    folds : int
        Contiguous folds of the cross-fitted warm-up scores.
    """

    slack: float = 0.5
    clip_limit: float = 4.0
    sum_limit: float = 50.0
    batch_rows: int = 30
    folds: int = 4

    def __post_init__(self) -> None:
        within("slack", self.slack, 0, 100)
        within("clip_limit", self.clip_limit, 0.5, 1e6)
        within("sum_limit", self.sum_limit, 1, 1e9)
        within("batch_rows", self.batch_rows, 2, 100_000)
        within("folds", self.folds, 2, 20)


def allocate(config: Config, assets: int, tags: int) -> State:
    """Fresh state: per tag the reference and the two sums."""
    return {"tag": np.zeros(tags, TAG)}


@kernel
def step(
    tag: npt.NDArray[np.void],
    slack: float, clip_limit: float, sum_limit: float, batch_rows: int, folds: int,
    table: Int64, asset: Int64, x: Float64, learn_below: Float64,
    score: Float64, evidence: Float64,
) -> None:
    """Score rows under the detector contract. A sensor's evidence is its larger sum."""
    known, centre, scale = tag["known"], tag["centre"], tag["scale"]
    high_sum, low_sum = tag["high_sum"], tag["low_sum"]
    columns = table.shape[1]
    for i in range(asset.size):
        a = asset[i]
        moves = advances(learn_below[i])
        largest = np.nan
        for c in range(x.shape[1]):
            evidence[i, c] = 0.0
            t = table[a, c] if c < columns else -1
            value = x[i, c]
            if t < 0 or known[t] == 0 or np.isnan(value):
                continue
            z = clip((clip(value, LIMIT) - centre[t]) / scale[t], clip_limit)
            high = min(max(high_sum[t] + z - slack, 0.0), sum_limit)
            low = min(max(low_sum[t] - z - slack, 0.0), sum_limit)
            if moves:  # the sums follow every row; only the reference is frozen
                high_sum[t] = high
                low_sum[t] = low
            evidence[i, c] = max(high, low)
            if not largest >= evidence[i, c]:
                largest = evidence[i, c]
        score[i] = largest


def fit(
    tag: npt.NDArray[np.void],
    slack: float, clip_limit: float, sum_limit: float, batch_rows: int, folds: int,
    tags: Int64, asset: int, rows: Float64, score: Float64,
) -> None:
    """Freeze the asset's reference on ``rows`` and write their cross-fitted scores."""
    fit_reference(
        allocate, _freeze, step, Config(slack, clip_limit, sum_limit, batch_rows, folds),
        {"tag": tag}, tags, asset, rows, score,
    )


def _freeze(config: Config, state: State, tags: Int64, asset: int, rows: Float64) -> None:
    centre, scale, known = robust_reference(rows)
    for c, t in enumerate(tags):
        if t >= 0:
            long_run = long_run_deviation(rows[:, c], config.batch_rows)
            state["tag"][t] = (known[c], centre[c], max(scale[c], long_run), 0.0, 0.0)
