"""Single: does one sensor alone stand far from its reference, whatever the others do?

Each sensor's z against a reference frozen after warm-up, clipped, in exponentially weighted means
at three speeds (Roberts, "Control chart tests based on geometric moving averages", Technometrics 1
(1959)), each divided by its own root mean square over the warm-up, which knows what the sensor's
autocorrelation does to it. The score is the largest of them over sensors and speeds. The level's
mean over the sensors is quieter and sees more of what spreads over several; a fault of ten
deviations in one sensor of eight can drown in it. So this one has a small share of the alert budget
of its own (``watchers``).

What may not live here: adaptation. The reference moves only by ``fit``; the guard (finite
``learn_below``) has nothing to hold back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64, Int64
from anomaly.detectors.settings import within
from anomaly.detectors.warm_up import State, fit_reference
from anomaly.kernel import kernel
from anomaly.numerics import LIMIT, advances, clip, robust_reference, smoothed

VERSION = 1

#: A mean's root mean square counts as this share of what independent rows give, at least: a sensor
#: that stood still in the warm-up has weight, never infinite weight.
QUIET_SHARE = 0.5

TAG = np.dtype([("known", "i8"), ("centre", "f8"), ("scale", "f8")])


@dataclass(frozen=True, slots=True)
class Config:
    """Parameters of the single-sensor detector.

    Attributes
    ----------
    clip_limit : float
        Largest |z| that counts.
    weights : tuple of float
        Weight of the newest row in each mean, as the level's three speeds.
    folds : int
        Contiguous folds of the cross-fitted warm-up scores.
    least_rows : int
        Fewest warm-up rows that can calibrate such slow means: after 100 rows of noise that
        remembers ten or more, the largest of eight raised eight times the promised alarms.
    """

    clip_limit: float = 8.0
    weights: tuple[float, ...] = (0.25, 0.05, 0.02)
    folds: int = 4
    least_rows: int = 400

    def __post_init__(self) -> None:
        within("clip_limit", self.clip_limit, 0.5, 1e6)
        within("weights (how many)", len(self.weights), 1, 12)
        for weight in self.weights:
            within("weights", weight, 1e-6, 1)
        within("folds", self.folds, 2, 20)
        within("least_rows", self.least_rows, 0, 10_000_000)


def allocate(config: Config, assets: int, tags: int) -> State:
    """Fresh state: the reference per tag, and per tag and speed the mean and what is usual."""
    speeds = len(config.weights)
    return {
        "tag": np.zeros(tags, TAG),
        "tag_mean": np.zeros((tags, speeds)),
        "tag_usual": np.ones((tags, speeds)),
    }


@kernel
def step(
    tag: npt.NDArray[np.void], tag_mean: Float64, tag_usual: Float64,
    clip_limit: float, weights: tuple[float, ...], folds: int, least_rows: int,
    table: Int64, asset: Int64, x: Float64, learn_below: Float64,
    score: Float64, evidence: Float64,
) -> None:
    """Score rows under the detector contract. Evidence: the sensor's largest square."""
    known, centre, scale = tag["known"], tag["centre"], tag["scale"]
    for i in range(asset.size):
        a = asset[i]
        moves = advances(learn_below[i])
        largest = -1.0
        for c in range(x.shape[1]):
            evidence[i, c] = 0.0
            t = table[a, c] if c < table.shape[1] else -1
            value = x[i, c]
            if t < 0 or known[t] == 0 or np.isnan(value):
                continue
            z = clip((clip(value, LIMIT) - centre[t]) / scale[t], clip_limit)
            own = 0.0
            for k in range(len(weights)):
                mean = tag_mean[t, k] + weights[k] * (z - tag_mean[t, k])
                own = max(own, abs(mean) / tag_usual[t, k])
                if moves:  # running means follow every row; only the reference is frozen
                    tag_mean[t, k] = mean
            evidence[i, c] = own * own
            largest = max(largest, own)
        score[i] = largest if largest >= 0.0 else np.nan


def fit(
    tag: npt.NDArray[np.void], tag_mean: Float64, tag_usual: Float64,
    clip_limit: float, weights: tuple[float, ...], folds: int, least_rows: int,
    tags: Int64, asset: int, rows: Float64, score: Float64,
) -> None:
    """Freeze the asset's reference on ``rows`` and write their cross-fitted scores."""
    config = Config(clip_limit, weights, folds, least_rows)
    state = {"tag": tag, "tag_mean": tag_mean, "tag_usual": tag_usual}
    if len(rows) < least_rows:
        _freeze(config, state, tags, asset, rows[:0])  # what stood before stands no longer
        score[:] = np.nan
        return
    fit_reference(allocate, _freeze, step, config, state, tags, asset, rows, score)


def _freeze(config: Config, state: State, tags: Int64, asset: int, rows: Float64) -> None:
    centre, scale, known = robust_reference(rows)
    limit = config.clip_limit
    with np.errstate(invalid="ignore"):
        z = np.clip((np.clip(rows, -LIMIT, LIMIT) - centre) / scale, -limit, limit)
    usual = np.empty((len(config.weights), len(tags)))
    for k, weight in enumerate(config.weights):
        means = smoothed(z, weight)
        independent = np.sqrt(weight / (2.0 - weight))
        square = np.sum(means * means, axis=0) / max(len(means), 1)
        usual[k] = np.maximum(np.sqrt(square), QUIET_SHARE * independent)
    for c, t in enumerate(tags):
        if t >= 0:
            state["tag"][t] = (known[c], centre[c], scale[c])
            state["tag_mean"][t] = 0.0
            state["tag_usual"][t] = usual[:, c]
