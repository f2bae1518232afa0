"""Memory: can the machine's healthy past explain what its sensors say together?

Auto-associative kernel regression (AAKR; the plain form of MSET: Singer, Gross et al., "Model-based
nuclear power plant monitoring", 1997; kernel form: Hines, Garvey, "Development and application of
fault detectability performance metrics", 2006, eq. 1–4). Two hundred evenly spaced warm-up rows are
remembered in robust units z. A new row is estimated as the kernel-weighted mean of the remembered
rows, and the score is the root mean square of z minus its estimate: operating points that the
machine knows are explained, whatever the speed or load, and a sensor that does not fit the others
stands out. The bandwidth is the median distance between neighbours in the memory.

One sensor cannot explain itself and two hardly can, so assets with fewer than three known sensors
get no opinion. The memory moves only by ``fit``: an adaptive one absorbed a slow fault (1 of 200
found instead of 199). The guard (finite ``learn_below``) therefore has nothing to hold back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64, Int64
from anomaly.detectors.settings import within
from anomaly.detectors.warm_up import State, fit_reference
from anomaly.kernel import kernel
from anomaly.numerics import LIMIT, clip, robust_reference

VERSION = 2

Float32 = npt.NDArray[np.float32]

#: Remembered rows farther than this many squared bandwidths weigh less than 1e-13: left out.
WEIGHT_LIMIT = 30.0
#: Sensors whose estimates are summed side by side.
TOGETHER = 4
LN2 = math.log(2.0)
#: Adding it leaves a number's integer part in the last bits of the sum.
ROUNDING = 1.5 * 2.0**52
ROUNDING_BITS = int(np.array([ROUNDING]).view(np.int64)[0])

ASSET = np.dtype([("count", "i8"), ("bandwidth", "f8")])  # remembered rows; squared bandwidth
TAG = np.dtype([("known", "i8"), ("centre", "f8"), ("scale", "f8")])


@dataclass(frozen=True, slots=True)
class Config:
    """Parameters of the memory.

    Attributes
    ----------
    rows : int
        Rows remembered; more cost time and gained nothing on warm-ups of a few hundred rows.
    least_sensors : int
        Fewest known sensors that can explain one another.
    clip_limit : float
        Largest |z| that counts.
    folds : int
        Contiguous folds of the cross-fitted warm-up scores.
    """

    rows: int = 200
    least_sensors: int = 3
    clip_limit: float = 8.0
    folds: int = 4

    def __post_init__(self) -> None:
        within("rows", self.rows, 2, 100_000)
        within("least_sensors", self.least_sensors, 1, 10_000)
        within("clip_limit", self.clip_limit, 0.5, 1e6)
        within("folds", self.folds, 2, 20)


def allocate(config: Config, assets: int, tags: int) -> State:
    """Fresh state; ``tag_memory float32[tags, rows]`` holds each sensor's remembered z."""
    return {
        "asset": np.zeros(assets, ASSET),
        "tag": np.zeros(tags, TAG),
        "tag_memory": np.zeros((tags, config.rows), np.float32),
    }


@kernel
def step(
    asset_state: npt.NDArray[np.void], tag: npt.NDArray[np.void], tag_memory: Float32,
    rows: int, least_sensors: int, clip_limit: float, folds: int,
    table: Int64, asset: Int64, x: Float64, learn_below: Float64,
    score: Float64, evidence: Float64,
) -> None:
    """Score rows under the detector contract. A sensor's evidence is its squared residual."""
    known, centre, scale = tag["known"], tag["centre"], tag["scale"]
    distance = np.empty(rows)
    weight = np.empty(rows)
    z = np.empty(x.shape[1])
    estimate = np.empty(TOGETHER)
    for i in range(asset.size):
        a = asset[i]
        count = asset_state["count"][a]
        present = 0
        for k in range(count):
            distance[k] = 0.0
        for c in range(x.shape[1]):
            evidence[i, c] = 0.0
            t = table[a, c] if c < table.shape[1] else -1
            z[c] = np.nan
            if count == 0 or t < 0 or known[t] == 0 or np.isnan(x[i, c]):
                continue
            z[c] = clip((clip(x[i, c], LIMIT) - centre[t]) / scale[t], clip_limit)
            _add_squares(distance[:count], tag_memory[t, :count], z[c])
            present += 1
        if present == 0:
            score[i] = np.nan
            continue
        whole = _weigh(distance[:count], weight[:count], 2.0 * asset_state["bandwidth"][a])
        total = 0.0
        for c in range(0, x.shape[1], TOGETHER):
            _estimate(estimate, weight[:count], tag_memory, table[a], z, c)
            for k in range(min(TOGETHER, x.shape[1] - c)):
                if z[c + k] == z[c + k]:
                    residual = z[c + k] - estimate[k] / whole
                    evidence[i, c + k] = residual * residual
                    total += evidence[i, c + k]
        score[i] = math.sqrt(total / present)


def fit(
    asset_state: npt.NDArray[np.void], tag: npt.NDArray[np.void], tag_memory: Float32,
    rows_kept: int, least_sensors: int, clip_limit: float, folds: int,
    tags: Int64, asset: int, rows: Float64, score: Float64,
) -> None:
    """Remember the asset's healthy rows and write their cross-fitted scores."""
    fit_reference(
        allocate, _freeze, step, Config(rows_kept, least_sensors, clip_limit, folds),
        {"asset": asset_state, "tag": tag, "tag_memory": tag_memory}, tags, asset, rows, score,
    )


def _freeze(config: Config, state: State, tags: Int64, asset: int, rows: Float64) -> None:
    centre, scale, known = robust_reference(rows)
    known &= tags >= 0
    state["asset"][asset] = (0, 0.0)
    if int(known.sum()) < config.least_sensors:
        known[:] = False
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(config.rows, len(rows))).astype(np.int64))
    z = np.clip((np.clip(rows[chosen], -LIMIT, LIMIT) - centre) / scale,
                -config.clip_limit, config.clip_limit)
    # A missing value is remembered as the usual one; in 32 bits, as it is kept.
    z = np.nan_to_num(z, nan=0.0).astype(np.float32).astype(np.float64)
    for c, t in enumerate(tags):
        if t >= 0:
            state["tag"][t] = (known[c], centre[c], scale[c])
            state["tag_memory"][t] = 0.0
            state["tag_memory"][t, : len(z)] = z[:, c]
    if known.any():
        state["asset"][asset] = (len(z), _bandwidth(z[:, known]))


def _bandwidth(z: Float64) -> float:
    """Median squared distance to the nearest other remembered row, > 0."""
    square = np.sum(z * z, axis=1)
    apart = square[:, None] + square[None, :] - 2.0 * (z @ z.T)
    np.fill_diagonal(apart, np.inf)
    nearest = apart.min(axis=1)
    return max(float(np.median(nearest[np.isfinite(nearest)])) if len(z) > 1 else 0.0, 1e-6)


@kernel
def _add_squares(distance: Float64, memory: Float32, z: float) -> None:
    for k in range(distance.size):
        apart = z - memory[k]
        distance[k] += apart * apart


@kernel
def _estimate(
    estimate: Float64, weight: Float64, tag_memory: Float32, tags: Int64, z: Float64, first: int
) -> None:
    """Weighted sums of the memories of :data:`TOGETHER` sensors from ``first`` on.

    Side by side, because each sum waits for its own last addition: four at once take the time of
    one. A sensor that is missing or beyond the last is added up for nothing.
    """
    own = np.zeros(TOGETHER, np.int64)
    for k in range(TOGETHER):
        if first + k < z.size and z[first + k] == z[first + k]:
            own[k] = tags[first + k]
    m0, m1, m2, m3 = tag_memory[own[0]], tag_memory[own[1]], tag_memory[own[2]], tag_memory[own[3]]
    e0, e1, e2, e3 = 0.0, 0.0, 0.0, 0.0
    for k in range(weight.size):
        e0 += weight[k] * m0[k]
        e1 += weight[k] * m1[k]
        e2 += weight[k] * m2[k]
        e3 += weight[k] * m3[k]
    estimate[0], estimate[1], estimate[2], estimate[3] = e0, e1, e2, e3


@kernel
def _weigh(distance: Float64, weight: Float64, width: float) -> float:
    """Kernel weights relative to the nearest remembered row, whose own is 1; their sum.

    e^(−a) = 2^(−n) 2^(−f) with n the integer nearest to a / ln 2: adding 1.5 · 2^52 rounds to it
    and leaves it in the last bits; 2^(−f) is the Taylor series to the tenth power, right to 1e-12.
    ``math.exp`` is called number by number and took a third of the detector's time.
    """
    least = np.int64(0x7FF0000000000000)  # infinity; numbers ≥ 0 order like their bits
    for k in range(distance.size):
        bits = np.float64(distance[k]).view(np.int64)
        least = bits if bits < least else least
    nearest = np.int64(least).view(np.float64)
    for k in range(distance.size):
        away = min((distance[k] - nearest) / width, WEIGHT_LIMIT)
        doublings = away * (1.0 / LN2)
        shifted = doublings + ROUNDING
        f = (shifted - ROUNDING) - doublings
        f *= LN2
        power = 1.0 + f * (1.0 + f * (1 / 2 + f * (1 / 6 + f * (1 / 24 + f * (1 / 120 + f * (
            1 / 720 + f * (1 / 5040 + f * (1 / 40320 + f * (1 / 362880 + f / 3628800)))))))))
        exponent = 1023 - (np.float64(shifted).view(np.int64) - ROUNDING_BITS)
        weight[k] = power * np.int64(exponent << 52).view(np.float64)
    whole = 0.0
    for k in range(distance.size):
        if (distance[k] - nearest) / width >= WEIGHT_LIMIT:
            weight[k] = 0.0
        whole += weight[k]
    return whole
