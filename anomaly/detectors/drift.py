"""Drift: slow departure of the sensors from the frozen reference, in units of its scale.

One very slow mean of the clipped z per sensor: exact while it is young, forgetting after
``memory_rows`` later. The score is its root mean square over the sensors. Where ``level`` asks
whether an offset is *improbable*, this asks how *large* it has become, and its clip is tight, so
that nothing but a lasting departure can move it.

What may not live here: adaptation. A mean that follows the machine absorbs the slow fault as the
new normal; the reference moves only by ``fit``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64, Int64
from anomaly.detectors.settings import within
from anomaly.detectors.warm_up import State, fit_reference
from anomaly.kernel import kernel
from anomaly.numerics import LIMIT, advances, clip, memory_weight, robust_reference

VERSION = 1

TAG = np.dtype([
    ("known", "i8"), ("centre", "f8"), ("scale", "f8"), ("mean", "f8"), ("count", "f8"),
])


@dataclass(frozen=True, slots=True)
class Config:
    """Parameters of the drift detector.

    Attributes
    ----------
    clip_limit : float
        Largest |z| that counts in the mean: a robust mean, moved by many rows, not by wild ones.
    memory_rows : float
        Rows after which the mean forgets.
    folds : int
        Contiguous folds of the cross-fitted warm-up scores.
    """

    clip_limit: float = 3.0
    memory_rows: float = 500.0
    folds: int = 4

    def __post_init__(self) -> None:
        within("clip_limit", self.clip_limit, 0.5, 1e6)
        within("memory_rows", self.memory_rows, 1, 1e9)
        within("folds", self.folds, 2, 20)


def allocate(config: Config, assets: int, tags: int) -> State:
    """Fresh state: per tag the reference, the slow mean and how many rows it holds."""
    return {"tag": np.zeros(tags, TAG)}


@kernel
def step(
    tag: npt.NDArray[np.void],
    clip_limit: float, memory_rows: float, folds: int,
    table: Int64, asset: Int64, x: Float64, learn_below: Float64,
    score: Float64, evidence: Float64,
) -> None:
    """Score rows under the detector contract. A sensor's evidence is its squared slow mean."""
    known, centre, scale = tag["known"], tag["centre"], tag["scale"]
    slow_mean, count = tag["mean"], tag["count"]
    columns = table.shape[1]
    for i in range(asset.size):
        a = asset[i]
        moves = advances(learn_below[i])
        total = 0.0
        present = 0
        for c in range(x.shape[1]):
            evidence[i, c] = 0.0
            t = table[a, c] if c < columns else -1
            value = x[i, c]
            if t < 0 or known[t] == 0 or np.isnan(value):
                continue
            z = clip((clip(value, LIMIT) - centre[t]) / scale[t], clip_limit)
            mean = slow_mean[t] + memory_weight(count[t], memory_rows) * (z - slow_mean[t])
            if moves:  # the mean follows every row; only the reference is frozen
                slow_mean[t] = mean
                count[t] += 1.0
            evidence[i, c] = mean * mean
            total += mean * mean
            present += 1
        score[i] = np.sqrt(total / present) if present > 0 else np.nan


def fit(
    tag: npt.NDArray[np.void],
    clip_limit: float, memory_rows: float, folds: int,
    tags: Int64, asset: int, rows: Float64, score: Float64,
) -> None:
    """Freeze the asset's reference on ``rows`` and write their cross-fitted scores."""
    fit_reference(
        allocate, _freeze, step, Config(clip_limit, memory_rows, folds),
        {"tag": tag}, tags, asset, rows, score,
    )


def _freeze(config: Config, state: State, tags: Int64, asset: int, rows: Float64) -> None:
    centre, scale, known = robust_reference(rows)
    for c, t in enumerate(tags):
        if t >= 0:
            state["tag"][t] = (known[c], centre[c], scale[c], 0.0, 0.0)
