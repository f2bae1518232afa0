"""Residual: does one sensor leave what the others say it should be?

Each sensor's z against a reference frozen after warm-up, clipped, and its regression residual on
all the others, from the inverse P of the shrunk warm-up correlation: r_j = Σ_k P_jk z_k / √P_jj,
the standardised residual of sensor j given the rest (Hawkins, "Multivariate quality control based
on regression-adjusted variables", Technometrics 33 (1991), §2). Two charts follow each r:

* its exponentially weighted mean (smoothed as in Lowry, Woodall, Champ and Rigdon, "A multivariate
  exponentially weighted moving average control chart", Technometrics 34 (1992)): has it *moved*?
* that of r² − 1 (MacGregor and Harris, "The exponentially weighted moving variance", Journal of
  Quality Technology 25 (1993)): does it *scatter* more? A valve that sticks, or a loop that swings,
  moves no mean.

Each is divided by its own warm-up root mean square, which knows what autocorrelation and shrinkage
do to it. The score is the largest mean plus the largest scatter over the sensors: a fault that sits
in one of fifty sensors drowns in a mean over all.

The correlation is shrunk toward none by d / (d + w): with w rows a matrix of d columns is mostly
noise until w is a multiple of d. Fewer than eight sensors and more than :data:`WIDTH_LIMIT` get no
opinion: a mean over the former hides nothing, the latter would cost d² per row. A sensor missing
from a row counts as its mean for the others' sake and has no residual of its own.

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

VERSION = 2

#: Widest asset with an opinion: 64 products per reading, 512 bytes per tag.
WIDTH_LIMIT = 64
#: Fewest warm-up rows per sensor: with less the correlations are noise for the greater part.
ROWS_PER_SENSOR = 8
#: Most of the correlation that shrinking takes away.
SHRINK_LIMIT = 0.9
#: A residual's root mean square counts as this share of what independent rows give, at least: a
#: sensor that stood still in the warm-up has weight, never infinite weight.
QUIET_SHARE = 0.25
#: Deviation of r² for a normal r.
_SQUARE_DEVIATION = float(np.sqrt(2.0))

TAG = np.dtype([
    ("known", "i8"), ("centre", "f8"), ("scale", "f8"), ("mean", "f8"),  # of z
    ("usual", "f8"), ("residual", "f8"),  # root mean square of r's mean; that mean
    ("usual_scatter", "f8"), ("scatter", "f8"),  # the same of r² − 1
])


@dataclass(frozen=True, slots=True)
class Config:
    """Parameters of the residual detector.

    Attributes
    ----------
    weight : float
        Weight of the newest row in each mean: 0.02 sees small offsets in fifty rows.
    scatter_weight : float
        The same of the squares, which are told apart sooner.
    clip_limit : float
        Largest |z| that counts; tighter than elsewhere, because the inverse multiplies it.
    least_sensors : int
        Fewest known sensors in which one at fault drowns; on three to five it cost accuracy.
    folds : int
        Contiguous folds of the cross-fitted warm-up scores.
    least_rows : int
        Fewest warm-up rows that can calibrate such slow means; with less there is no opinion.
    """

    weight: float = 0.02
    scatter_weight: float = 0.05
    clip_limit: float = 4.0
    least_sensors: int = 8
    folds: int = 4
    least_rows: int = 400

    def __post_init__(self) -> None:
        within("weight", self.weight, 1e-6, 1)
        within("scatter_weight", self.scatter_weight, 1e-6, 1)
        within("clip_limit", self.clip_limit, 0.5, 1e6)
        within("least_sensors", self.least_sensors, 1, 10_000)
        within("folds", self.folds, 2, 20)
        within("least_rows", self.least_rows, 0, 10_000_000)


def allocate(config: Config, assets: int, tags: int) -> State:
    """Fresh state; ``tag_row float64[tags, WIDTH_LIMIT]`` holds each sensor's row of weights."""
    return {"tag": np.zeros(tags, TAG), "tag_row": np.zeros((tags, WIDTH_LIMIT))}


@kernel
def step(
    tag: npt.NDArray[np.void], tag_row: Float64,
    weight: float, scatter_weight: float, clip_limit: float, least_sensors: int, folds: int,
    least_rows: int,
    table: Int64, asset: Int64, x: Float64, learn_below: Float64,
    score: Float64, evidence: Float64,
) -> None:
    """Score rows under the detector contract. Evidence: (the sensor's mean + its scatter)²."""
    known, centre, scale, mean = tag["known"], tag["centre"], tag["scale"], tag["mean"]
    columns = min(table.shape[1], WIDTH_LIMIT)
    z = np.empty(columns)
    for i in range(asset.size):
        a = asset[i]
        moves = advances(learn_below[i])
        score[i] = np.nan
        for c in range(x.shape[1]):
            evidence[i, c] = 0.0
        present = 0
        for c in range(columns):
            t = table[a, c]
            z[c] = 0.0
            if t < 0 or known[t] == 0:
                continue
            z[c] = mean[t]
            if c < x.shape[1] and not np.isnan(x[i, c]):
                z[c] = clip((clip(x[i, c], LIMIT) - centre[t]) / scale[t], clip_limit)
                if moves:
                    mean[t] += weight * (z[c] - mean[t])
                present += 1
        if present == 0:
            continue
        furthest, widest = 0.0, 0.0
        for c in range(min(columns, x.shape[1])):
            t = table[a, c]
            if t < 0 or known[t] == 0 or np.isnan(x[i, c]):
                continue
            residual = 0.0
            for k in range(columns):
                residual += tag_row[t, k] * z[k]
            own = tag[t]
            moved = own["residual"] + weight * (residual - own["residual"])
            scatter = own["scatter"] + scatter_weight * (residual * residual - 1.0 - own["scatter"])
            if moves:
                own["residual"], own["scatter"] = moved, scatter
            far, wide = abs(moved) / own["usual"], max(scatter, 0.0) / own["usual_scatter"]
            evidence[i, c] = (far + wide) * (far + wide)
            furthest, widest = max(furthest, far), max(widest, wide)
        score[i] = furthest + widest


def fit(
    tag: npt.NDArray[np.void], tag_row: Float64,
    weight: float, scatter_weight: float, clip_limit: float, least_sensors: int, folds: int,
    least_rows: int,
    tags: Int64, asset: int, rows: Float64, score: Float64,
) -> None:
    """Freeze the asset's reference on ``rows`` and write their cross-fitted scores."""
    config = Config(weight, scatter_weight, clip_limit, least_sensors, folds, least_rows)
    state = {"tag": tag, "tag_row": tag_row}
    if len(rows) < max(least_rows, ROWS_PER_SENSOR * len(tags)):
        _freeze(config, state, tags, asset, rows[:0])  # what stood before stands no longer
        score[:] = np.nan
        return
    fit_reference(allocate, _freeze, step, config, state, tags, asset, rows, score)


def _freeze(config: Config, state: State, tags: Int64, asset: int, rows: Float64) -> None:
    centre, scale, known = robust_reference(rows)
    known &= tags >= 0
    for t in tags[tags >= 0].tolist():
        state["tag"][t] = (0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0)
        state["tag_row"][t] = 0.0
    if len(tags) > WIDTH_LIMIT or np.count_nonzero(known) < config.least_sensors:
        return
    limit = config.clip_limit
    with np.errstate(invalid="ignore"):
        z = np.clip((np.clip(rows, -LIMIT, LIMIT) - centre) / scale, -limit, limit)[:, known]
    weights = _weights(z)
    residual = np.nan_to_num(z, nan=0.0) @ weights.T
    deviation = np.maximum(np.sqrt(np.mean(residual * residual, axis=0)), QUIET_SHARE)
    residual /= deviation
    weights /= deviation[:, None]
    usual = _usual(residual, config.weight, 1.0)
    scatter = _usual(residual * residual - 1.0, config.scatter_weight, _SQUARE_DEVIATION)
    columns = np.flatnonzero(known)
    for j, c in enumerate(columns.tolist()):
        state["tag"][tags[c]] = (
            1, centre[c], scale[c], 0.0, usual[j], 0.0, scatter[j], 0.0)
        state["tag_row"][tags[c], columns] = weights[j]


def _usual(values: Float64, weight: float, deviation: float) -> Float64:
    """float64[d]: root mean square of exponentially weighted means, or a share of independents'."""
    means = smoothed(values, weight)
    independent = deviation * np.sqrt(weight / (2.0 - weight))
    usual: Float64 = np.maximum(
        np.sqrt(np.mean(means * means, axis=0)), QUIET_SHARE * independent)
    return usual


def _weights(z: Float64) -> Float64:
    """float64[d, d]: row j gives sensor j's standardised residual on the others."""
    rows, width = z.shape
    filled = np.where(np.isnan(z), 0.0, z)
    filled -= filled.mean(axis=0)
    deviation = filled.std(axis=0)
    filled /= np.where(deviation > 0.0, deviation, 1.0)
    shrink = min(SHRINK_LIMIT, width / (width + rows))
    correlation = (1.0 - shrink) * (filled.T @ filled) / rows
    np.fill_diagonal(correlation, 1.0)
    inverse: Float64 = np.linalg.inv(correlation)
    return inverse / np.sqrt(np.diag(inverse))[:, None]
