"""Subspace: sensors that no longer move together as they used to.

Streaming principal components of the standardised sensors of one asset by CCIPCA (Weng, Zhang and
Hwang, "Candid covariance-free incremental principal component analysis", IEEE TPAMI 25 (2003),
eqs. 10–11). Two statistics, as in process monitoring (Jackson and Mudholkar, Technometrics 21
(1979)): T², the distance within the subspace, and Q, the squared residual outside it. The score is
the root of the mean of T² per component and Q over its own running mean. Evidence is each sensor's
share of both (complete decomposition contributions; Alcala and Qin, Automatica 45 (2009)).

Self-starting: no ``fit``; scores are out of sample because a row is scored before it is learned.
Everything kept is learned, so the guard (finite ``learn_below``) holds all of it back. The
components start from data, not from a random or column-ordered basis: the order of the columns
changes a result only by rounding. A missing sensor is taken at its mean and not judged.
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
from anomaly.numerics import LIMIT, clip, learned_scale, learns, memory_weight

VERSION = 1

ASSET = np.dtype([("learned", "f8"), ("residuals", "f8"), ("typical", "f8")])
TAG = np.dtype([("count", "f8"), ("mean", "f8"), ("variance", "f8")])

#: Largest |z| that counts.
VALUE_LIMIT = 8.0
#: Values of a sensor before its scale is good enough to take part.
SCALE_VALUES = 16
#: Rows learned before there is an opinion.
WARM_ROWS = 64
#: Components with less variance than this (sensors have 1) are judged as if they had this much.
VARIANCE_FLOOR = 0.05
#: Q counts as at most this many typical ones, and learns at most RESIDUAL_STEP of them at once.
RESIDUAL_LIMIT = 1e4
RESIDUAL_STEP = 64.0


@dataclass(frozen=True, slots=True)
class Config:
    """Parameters of the subspace detector.

    Attributes
    ----------
    rank : int
        Most components; an asset of d sensors has min(rank, max(1, d // 2)), so that something is
        left outside the subspace.
    amnesia : float
        How much newer rows count above older ones while the components settle (2–4 in the paper).
    memory_rows : float
        Rows after which components, scales and the typical residual forget.
    """

    rank: int = 4
    amnesia: float = 2.0
    memory_rows: float = 4000.0

    def __post_init__(self) -> None:
        within("rank", self.rank, 1, 64)
        within("amnesia", self.amnesia, 0, 10)
        within("memory_rows", self.memory_rows, 1, 1e9)


def allocate(config: Config, assets: int, tags: int) -> State:
    """Fresh state: scales and component entries per tag, component lengths per asset."""
    return {
        "asset": np.zeros(assets, ASSET),
        "asset_length": np.zeros((assets, config.rank)),  # = variance along the component
        "tag": np.zeros(tags, TAG),
        "tag_component": np.zeros((tags, config.rank)),
    }


@kernel
def step(
    own: npt.NDArray[np.void], asset_length: Float64,
    tag: npt.NDArray[np.void], tag_component: Float64,
    rank: int, amnesia: float, memory_rows: float,
    table: Int64, asset: Int64, x: Float64, learn_below: Float64,
    score: Float64, evidence: Float64,
) -> None:
    """Score rows under the detector contract. Evidence: each sensor's share of T² and Q."""
    width = table.shape[1]
    member = np.empty(width, np.int64)  # of this row: the k-th sensor's tag …
    column = np.empty(width, np.int64)  # … its column, −1 where it has nothing to say …
    z, rest = np.empty(width), np.empty(width)  # … its z, and what the components leave of it
    along = np.empty(rank)
    for i in range(asset.size):
        a = asset[i]
        for c in range(x.shape[1]):
            evidence[i, c] = 0.0
        sensors, present = _standardise(tag, table[a], x[i], member, column, z)
        score[i] = np.nan
        if present == 0:
            _learn_scales(tag, table[a], x[i], memory_rows, learns(np.nan, learn_below[i]))
            continue
        components = min(rank, max(1, sensors // 2))
        length = asset_length[a]
        within = _project(
            tag_component, length, components, member[:sensors], z, rest, along
        )
        residual = 0.0
        for k in range(sensors):
            if column[k] >= 0:
                residual += rest[k] * rest[k]
        residual /= present
        if own["learned"][a] >= WARM_ROWS:
            outside = _over(residual, own["typical"][a])
            score[i] = np.sqrt(0.5 * (within / components + outside))
            share = outside / (residual * present) if residual > 0.0 else 0.0
            for k in range(sensors):
                if column[k] >= 0:
                    blame = 0.0
                    for j in range(components):
                        if length[j] > 0.0:
                            part = along[j] * tag_component[member[k], j] / length[j]
                            blame += z[k] * part / max(length[j], VARIANCE_FLOOR)
                    blame = max(blame, 0.0) / components + share * rest[k] * rest[k]
                    evidence[i, column[k]] = blame

        learn = learns(score[i], learn_below[i])
        if learn:
            _learn_typical(own[a], residual, memory_rows)
            own["learned"][a] += 1.0
            weight = max((1.0 + amnesia) / (own["learned"][a] + amnesia), 1.0 / memory_rows)
            _learn_components(tag_component, length, components, member[:sensors], z, weight)
        _learn_scales(tag, table[a], x[i], memory_rows, learn)


@kernel
def _standardise(
    tag: npt.NDArray[np.void], tags: Int64, row: Float64,
    member: Int64, column: Int64, z: Float64,
) -> tuple[int, int]:
    """Gather the asset's sensors; z = 0 where one is missing or new. Counts: all, those present."""
    sensors = present = 0
    for c in range(tags.size):
        t = tags[c]
        if t < 0:
            continue
        member[sensors], column[sensors], z[sensors] = t, -1, 0.0
        if c < row.size and not np.isnan(row[c]) and tag["count"][t] >= SCALE_VALUES:
            mean = tag["mean"][t]
            level = abs(mean) if mean != 0.0 else 1.0
            deviation = np.sqrt(tag["variance"][t]) + 1e-9 * level
            column[sensors] = c
            z[sensors] = clip((clip(row[c], LIMIT) - mean) / deviation, VALUE_LIMIT)
            present += 1
        sensors += 1
    return sensors, present


@kernel
def _project(
    tag_component: Float64, length: Float64, components: int,
    member: Int64, z: Float64, rest: Float64, along: Float64,
) -> float:
    """Coordinates along the components and the residual after them; returns T²."""
    within = 0.0
    for k in range(member.size):
        rest[k] = z[k]
    for j in range(components):
        along[j] = 0.0
        if length[j] <= 0.0:
            continue
        for k in range(member.size):
            along[j] += rest[k] * tag_component[member[k], j]
        along[j] /= length[j]
        for k in range(member.size):
            rest[k] -= along[j] * tag_component[member[k], j] / length[j]
        within += along[j] * along[j] / max(length[j], VARIANCE_FLOOR)
    return within


@kernel
def _over(residual: float, typical: float) -> float:
    """Q over its typical value, at most ``RESIDUAL_LIMIT``; what rounding leaves is 0."""
    if residual <= 1e-12:
        return 0.0
    return min(residual / max(typical, 1e-12), RESIDUAL_LIMIT)


@kernel
def _learn_typical(own: Any, residual: float, memory_rows: float) -> None:
    """Running mean of Q; once the components stand, one row counts as RESIDUAL_STEP at most."""
    if own["learned"] < SCALE_VALUES:
        return  # the first components have not settled: their residual is no measure
    if own["residuals"] >= WARM_ROWS:
        residual = min(residual, RESIDUAL_STEP * own["typical"] + 1e-9)
    weight = memory_weight(own["residuals"], memory_rows)
    own["typical"] += weight * (residual - own["typical"])
    own["residuals"] += 1.0


@kernel
def _learn_components(
    tag_component: Float64, length: Float64, components: int,
    member: Int64, rest: Float64, weight: float,
) -> None:
    """CCIPCA: v ← (1 − w) v + w (u·v/‖v‖) u, then u ← u − (u·v/‖v‖²) v, for v₁, v₂, …

    ``rest`` is u: the standardised row on entry, used up on return. A component that has not begun
    begins as the first residual that is not nothing.
    """
    for j in range(components):
        projection = size = 0.0
        for k in range(member.size):
            projection += rest[k] * tag_component[member[k], j]
            size += rest[k] * rest[k]
        if length[j] <= 0.0:
            if size <= 1e-12:
                return
            for k in range(member.size):
                tag_component[member[k], j] = rest[k]
            length[j] = np.sqrt(size)
            return  # the residual is used up
        size = 0.0
        for k in range(member.size):
            entry = tag_component[member[k], j]
            entry += weight * (projection / length[j] * rest[k] - entry)
            tag_component[member[k], j] = entry
            size += entry * entry
        length[j] = np.sqrt(size)
        if size <= 1e-24:  # faded away: no direction left; begin it again
            length[j] = 0.0
            return
        projection = 0.0
        for k in range(member.size):
            projection += rest[k] * tag_component[member[k], j]
        for k in range(member.size):
            rest[k] -= projection / size * tag_component[member[k], j]


@kernel
def _learn_scales(
    tag: npt.NDArray[np.void], tags: Int64, row: Float64, memory_rows: float, learn: bool
) -> None:
    """Running mean and variance of every sensor that is there."""
    for c in range(min(tags.size, row.size)):
        t = tags[c]
        if learn and t >= 0 and not np.isnan(row[c]):
            tag["mean"][t], tag["variance"][t] = learned_scale(
                tag["mean"][t], tag["variance"][t], tag["count"][t],
                clip(row[c], LIMIT), memory_rows,
            )
            tag["count"][t] += 1.0
