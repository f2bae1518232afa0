"""Rates: counts that come more often, or more seldom, than when the machine was healthy.

Rejects per row, micro-stops per hour, a reject flag per part. Each column that *looks like a count*
in warm-up gets a two-sided log-likelihood-ratio CUSUM for its rate doubling and halving (ratio
configurable): Poisson (Lucas, "Counted data CUSUM's", Technometrics 27 (1985)) or, where the column
is only ever 0 or 1, Bernoulli (Reynolds and Stoumbos, J. Quality Technology 31 (1999)). Increments
are divided by the column's dispersion: real part counts were five times *less* dispersed than
Poisson, stops that come in bursts are more.

The score is the largest sum over the count columns, in nats of evidence. An asset without a count
column has no opinion, ever. The reference is frozen after warm-up; sums follow every row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64, Int64
from anomaly.detectors.settings import within
from anomaly.detectors.warm_up import State, fit_reference
from anomaly.kernel import kernel
from anomaly.numerics import REFERENCE_ROWS_MIN, advances, finite_values, long_run_deviation

VERSION = 1

TAG = np.dtype([
    ("known", "i8"), ("event", "f8"),  # 1 = a count column; nats that one event is worth
    ("high_cost", "f8"), ("low_cost", "f8"),  # nats that a row costs either sum
    ("high_sum", "f8"), ("low_sum", "f8"),
])

#: A column whose mean is higher is a measurement in whole numbers, not a count of rare events.
MEAN_LIMIT = 30.0
#: Variance over mean of a count lies between these; outside, it is something else in whole numbers.
DISPERSION_MIN = 0.05
DISPERSION_MAX = 50.0
#: Events that are imagined beside those seen: a column without any has a rate, not zero.
PRIOR_EVENTS = 0.5
#: Rows per batch mean of the long-run dispersion.
BATCH_ROWS = 30
#: A single row never counts for more events than this.
EVENTS_LIMIT = 1e6


@dataclass(frozen=True, slots=True)
class Config:
    """Parameters of the count CUSUM.

    Attributes
    ----------
    ratio : float
        Change of rate (of odds, for 0/1 columns) that is to be found fastest, > 1.
    sum_limit : float
        Nats at which a sum stops growing.
    folds : int
        Contiguous folds of the cross-fitted warm-up scores.
    """

    ratio: float = 2.0
    sum_limit: float = 50.0
    folds: int = 4

    def __post_init__(self) -> None:
        within("ratio", self.ratio, 1.01, 1000)
        within("sum_limit", self.sum_limit, 1, 1e9)
        within("folds", self.folds, 2, 20)


def allocate(config: Config, assets: int, tags: int) -> State:
    """Fresh state: per tag the weights of events and rows, and the two sums."""
    return {"tag": np.zeros(tags, TAG)}


@kernel
def step(
    tag: npt.NDArray[np.void],
    ratio: float, sum_limit: float, folds: int,
    table: Int64, asset: Int64, x: Float64, learn_below: Float64,
    score: Float64, evidence: Float64,
) -> None:
    """Score rows under the detector contract. A sensor's evidence is its larger sum, in nats."""
    known, event = tag["known"], tag["event"]
    high_cost, low_cost = tag["high_cost"], tag["low_cost"]
    high_sum, low_sum = tag["high_sum"], tag["low_sum"]
    columns = table.shape[1]
    for i in range(asset.size):
        a = asset[i]
        moves = advances(learn_below[i])
        largest = np.nan
        for c in range(x.shape[1]):
            evidence[i, c] = 0.0
            t = table[a, c] if c < columns else -1
            if t < 0 or known[t] == 0 or np.isnan(x[i, c]):
                continue
            nats = event[t] * min(max(x[i, c], 0.0), EVENTS_LIMIT)
            high = min(max(high_sum[t] + nats - high_cost[t], 0.0), sum_limit)
            low = min(max(low_sum[t] - nats - low_cost[t], 0.0), sum_limit)
            if moves:
                high_sum[t] = high
                low_sum[t] = low
            evidence[i, c] = max(high, low)
            if not largest >= evidence[i, c]:
                largest = evidence[i, c]
        score[i] = largest


def fit(
    tag: npt.NDArray[np.void],
    ratio: float, sum_limit: float, folds: int,
    tags: Int64, asset: int, rows: Float64, score: Float64,
) -> None:
    """Decide which columns are counts, freeze their rates, write cross-fitted scores."""
    fit_reference(
        allocate, _freeze, step, Config(ratio, sum_limit, folds), {"tag": tag},
        tags, asset, rows, score,
    )


def _freeze(config: Config, state: State, tags: Int64, asset: int, rows: Float64) -> None:
    for c, t in enumerate(tags):
        if t >= 0:
            state["tag"][t] = _weights(config.ratio, rows[:, c])


def _weights(ratio: float, column: Float64) -> tuple[float, ...]:
    """One tag's record: nats per event and per row for both sums.

    Poisson, rate λ → rλ: a row with y events is worth y ln r − λ (r − 1). Bernoulli, odds times r:
    y ln r − ln(1 − p + r p). Both for r (high) and 1/r (low), divided by the dispersion.
    """
    values = finite_values(column)
    if not _is_count(values):
        return (0, 0.0, 0.0, 0.0, 0.0, 0.0)
    rate = (float(values.sum()) + PRIOR_EVENTS) / (values.size + 1.0)
    if float(values.max()) <= 1.0:
        high_cost = float(np.log(1.0 - rate + ratio * rate))
        low_cost = float(np.log(1.0 - rate + rate / ratio))
        expected_variance = rate * (1.0 - rate)
    else:
        high_cost = rate * (ratio - 1.0)
        low_cost = rate * (1.0 / ratio - 1.0)
        expected_variance = rate
    variance = max(float(values.var()), long_run_deviation(values, BATCH_ROWS) ** 2)
    dispersion = max(variance / expected_variance, DISPERSION_MIN)
    if float(values.max()) <= 1.0:
        dispersion = max(dispersion, 1.0)  # a 0/1 column cannot be less dispersed than Bernoulli
    event = float(np.log(ratio))
    return (1, event / dispersion, high_cost / dispersion, low_cost / dispersion, 0.0, 0.0)


def _is_count(values: Float64) -> bool:
    """Whole numbers ≥ 0, of small mean, spread as counts are; all zero counts as nothing yet."""
    if values.size < REFERENCE_ROWS_MIN or values.min() < 0.0 or (values != np.floor(values)).any():
        return False
    mean = float(values.mean())
    if mean == 0.0:
        return True
    dispersion = float(values.var()) / mean
    if values.max() <= 1.0:
        return 0.0 < mean < 1.0
    return mean <= MEAN_LIMIT and DISPERSION_MIN <= dispersion <= DISPERSION_MAX
