"""Level: how far the sensors stand from where they stood when the machine was healthy.

Each sensor's z against a reference frozen after warm-up, clipped; exponentially weighted means of z
at three speeds, each divided by its own standard deviation under independence; per speed the root
mean square over the sensors; the score is the mean over the speeds. No covariance on purpose: with
short warm-ups it cost recall. The charts are those of Roberts, "Control chart
tests based on geometric moving averages", Technometrics 1 (1959), with the exact variance of the
first rows (Lucas and Saccucci, Technometrics 32 (1990), eq. 3).

What may not live here: adaptation. The reference moves only by ``fit``, so a slow fault cannot be
absorbed. The guard (finite ``learn_below``) therefore has nothing to hold back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64, Int64
from anomaly.detectors.settings import within
from anomaly.detectors.warm_up import State, fit_reference
from anomaly.kernel import kernel
from anomaly.numerics import LIMIT, advances, clip, robust_reference

VERSION = 1

TAG = np.dtype([("known", "i8"), ("centre", "f8"), ("scale", "f8")])


@dataclass(frozen=True, slots=True)
class Config:
    """Parameters of the level detector.

    Attributes
    ----------
    clip_limit : float
        Largest |z| that counts: one wild reading must not hold the slow means for hours.
    weights : tuple of float
        Weight of the newest row in each mean, 0 < weight ≤ 1: 0.25 sees a jump within a few rows,
        0.02 a small offset within a hundred.
    folds : int
        Contiguous folds of the cross-fitted warm-up scores.
    least_rows : int
        Fewest warm-up rows that can calibrate these speeds; with less there is no opinion.
    """

    clip_limit: float = 8.0
    weights: tuple[float, ...] = (0.05,)
    folds: int = 4
    least_rows: int = 0

    def __post_init__(self) -> None:
        within("clip_limit", self.clip_limit, 0.5, 1e6)
        within("weights (how many)", len(self.weights), 1, 12)
        for weight in self.weights:
            within("weights", weight, 1e-6, 1)
        within("folds", self.folds, 2, 20)
        within("least_rows", self.least_rows, 0, 10_000_000)


def allocate(config: Config, assets: int, tags: int) -> State:
    """Fresh state: the reference per tag, and per tag and speed the mean and its variance."""
    speeds = len(config.weights)
    return {
        "tag": np.zeros(tags, TAG),
        "tag_mean": np.zeros((tags, speeds)),
        "tag_variance": np.zeros((tags, speeds)),
    }


@kernel
def step(
    tag: npt.NDArray[np.void], tag_mean: Float64, tag_variance: Float64,
    clip_limit: float, weights: tuple[float, ...], folds: int, least_rows: int,
    table: Int64, asset: Int64, x: Float64, learn_below: Float64,
    score: Float64, evidence: Float64,
) -> None:
    """Score rows under the detector contract (``detectors/__init__.py``).

    A sensor's evidence is its mean squared standardised mean over the speeds.
    """
    known, centre, scale = tag["known"], tag["centre"], tag["scale"]
    speeds = len(weights)
    total = np.zeros(speeds)
    columns = table.shape[1]
    for i in range(asset.size):
        a = asset[i]
        moves = advances(learn_below[i])
        present = 0
        for k in range(speeds):
            total[k] = 0.0
        for c in range(x.shape[1]):
            evidence[i, c] = 0.0
            t = table[a, c] if c < columns else -1
            value = x[i, c]
            if t < 0 or known[t] == 0 or np.isnan(value):
                continue
            z = clip((clip(value, LIMIT) - centre[t]) / scale[t], clip_limit)
            part = 0.0
            for k in range(speeds):
                weight = weights[k]
                mean = tag_mean[t, k] + weight * (z - tag_mean[t, k])
                # Variance of the mean of independent z of variance 1: sum of squared weights.
                kept = 1.0 - weight
                variance = kept * kept * tag_variance[t, k] + weight * weight
                square = mean * mean / variance
                total[k] += square
                part += square
                if moves:  # running means follow every row; only the reference is frozen
                    tag_mean[t, k] = mean
                    tag_variance[t, k] = variance
            evidence[i, c] = part / speeds
            present += 1
        if present == 0:
            score[i] = np.nan
            continue
        mean_over_speeds = 0.0
        for k in range(speeds):
            mean_over_speeds += np.sqrt(total[k] / present)
        score[i] = mean_over_speeds / speeds


def fit(
    tag: npt.NDArray[np.void], tag_mean: Float64, tag_variance: Float64,
    clip_limit: float, weights: tuple[float, ...], folds: int, least_rows: int,
    tags: Int64, asset: int, rows: Float64, score: Float64,
) -> None:
    """Freeze the asset's reference on ``rows`` and write their cross-fitted scores."""
    config = Config(clip_limit, weights, folds, least_rows)
    state = {"tag": tag, "tag_mean": tag_mean, "tag_variance": tag_variance}
    if len(rows) < least_rows:
        _freeze(config, state, tags, asset, rows[:0])  # what stood before stands no longer
        score[:] = np.nan
        return
    fit_reference(allocate, _freeze, step, config, state, tags, asset, rows, score)


def _freeze(config: Config, state: State, tags: Int64, asset: int, rows: Float64) -> None:
    centre, scale, known = robust_reference(rows)
    for c, t in enumerate(tags):
        if t >= 0:
            state["tag"][t] = (known[c], centre[c], scale[c])
            state["tag_mean"][t] = 0.0
            state["tag_variance"][t] = 0.0
