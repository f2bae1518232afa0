"""From raw scores to rarity: how often a row this odd comes on this machine when it is healthy.

One unit for every detector, then for their mean. Peaks over threshold with an exponential tail:
above a high quantile u, cluster maxima of a healthy score fall off exponentially, so

    log10(return period in rows) = log10(rows / clusters) + (score − u) / (σ ln 10)

fitted on the asset's own *out-of-sample* warm-up scores (detectors/__init__.py, ``fit``) with a
prior while history is short, and updated online with every cluster's peak winsorised, so that a
fault does not teach the tail. Source: Davison & Smith (1990), *Models for exceedances over high
thresholds*, JRSS B 52, §2–3; the constants are the project's own trials.

What is assumed: the warm-up rows are healthy and are like the healthy rows to come; odd rows come
in clusters; the tail beyond what was seen goes on exponentially.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from anomaly.batches import Float64, Int64
from anomaly.kernel import kernel

VERSION = 1

#: Clusters the prior counts for: with one, short warm-ups collapse.
PRIOR_CLUSTERS = 5.0
#: Online peaks are winsorised at this log10 return period.
WINSOR_LOG10_ROWS = 4.0
#: One detector's rarity counts at most this much in the mean.
CAP_LOG10_ROWS = 12.0

TAIL = np.dtype([
    ("ready", np.int8),
    ("threshold", np.float64),  # u
    ("sigma0", np.float64),     # prior scale
    ("rows", np.float64),       # N
    ("clusters", np.float64),   # k
    ("excess", np.float64),     # sum of the clusters' excesses
    ("gap", np.int64),          # rows below u that end a cluster
    ("below", np.int64),        # rows since the last exceedance
    ("peak", np.float64),       # the open cluster's excess; 0 = none open
])


def allocate(assets: int, members: int) -> dict[str, np.ndarray[Any, Any]]:
    """``asset_member`` one tail per asset and detector, ``asset_fused`` one for their mean."""
    return {
        "asset_member": np.zeros((assets, members), TAIL), "asset_fused": np.zeros(assets, TAIL),
    }


@kernel
def fit(asset_member: Any, asset_fused: Any, a: int, score: Float64) -> None:
    """Fit every tail of one asset on ``score float64[w, k]``, out-of-sample warm-up scores."""
    w, k = score.shape
    rarity = np.full((w, k), np.nan)
    for j in range(k):
        _fit_tail(asset_member[a, j], score[:, j])
        for r in range(w):
            rarity[r, j] = _rarity(asset_member[a, j], score[r, j])
    fused = np.empty(w)
    for r in range(w):
        fused[r] = _mean(rarity[r])
    _fit_tail(asset_fused[a], fused)


@kernel
def step(
    asset_member: Any, asset_fused: Any, asset: Int64, score: Float64, rarity: Float64,
    fused: Float64, period_rows: Float64,
) -> None:
    """Rarity of m rows, then learn from them.

    Outputs: ``rarity float64[m, k]`` log10 rows per detector, ``fused float64[m]`` their mean
    (>= 0) and ``period_rows float64[m]`` its return period in rows; NaN = no opinion.
    """
    for r in range(asset.size):
        a = asset[r]
        for j in range(score.shape[1]):
            rarity[r, j] = _rarity(asset_member[a, j], score[r, j])
            _learn(asset_member[a, j], score[r, j])
        mean = _mean(rarity[r])
        log_rows = _rarity(asset_fused[a], mean)
        _learn(asset_fused[a], mean)
        fused[r] = max(mean, 0.0) if mean == mean else np.nan
        period_rows[r] = 10.0 ** min(log_rows, 300.0) if log_rows == log_rows else np.nan


@kernel
def blame(rarity: Float64, evidence: Float64, total: Float64, lead: Int64, j: int) -> None:
    """Add detector j's evidence to the rows' total, weighted by how rare it finds the row.

    ``evidence float64[m, d]`` in the detector's own unit; its share per row enters ``total``.
    ``lead int64[m]`` becomes j where j is the rarest detector so far.
    """
    for r in range(rarity.shape[0]):
        weight = rarity[r, j]
        if not weight > 0.5:
            continue
        if lead[r] < 0 or weight > rarity[r, lead[r]]:
            lead[r] = j
        whole = 0.0
        for c in range(evidence.shape[1]):
            whole += evidence[r, c]
        if whole > 0.0:
            for c in range(evidence.shape[1]):
                total[r, c] += weight * evidence[r, c] / whole


@kernel
def _fit_tail(tail: Any, score: Float64) -> None:
    kept = score[np.isfinite(score)]
    n = kept.size
    tail["ready"] = 0
    if n < 8:
        return
    ordered = np.sort(kept)
    q = 0.8 if n < 100 else max(0.9, 1.0 - 200.0 / n)
    threshold = ordered[min(int(q * n), n - 1)]
    gap = int(min(50.0, max(3.0, 0.01 * n)))
    gap = max(1, min(gap, int(0.999 / (1.0 - q))))
    tail["sigma0"] = (ordered[int(0.95 * (n - 1))] - ordered[n // 2]) / 2.3
    if not tail["sigma0"] > 0.0:
        tail["sigma0"] = 1e-3 * max(abs(ordered[n - 1]), 1e-9)
    tail["threshold"] = threshold
    tail["gap"] = gap
    tail["rows"] = 0.0
    tail["clusters"] = 0.0
    tail["excess"] = 0.0
    tail["below"] = gap
    tail["peak"] = 0.0
    tail["ready"] = 2  # being fitted: peaks are not winsorised
    for i in range(score.size):
        _learn(tail, score[i])
    tail["ready"] = 1


@kernel
def _scale(tail: Any) -> float:
    return (tail["excess"] + PRIOR_CLUSTERS * tail["sigma0"]) / (tail["clusters"] + PRIOR_CLUSTERS)


@kernel
def _rarity(tail: Any, score: float) -> float:
    """log10 of the return period in rows; NaN without a tail or a score."""
    if tail["ready"] == 0 or score != score:
        return np.nan
    base = math.log10(max(tail["rows"], 1.0) / max(tail["clusters"], 0.5))
    return base + (score - tail["threshold"]) / (_scale(tail) * math.log(10.0))


@kernel
def _learn(tail: Any, score: float) -> None:
    """Count the row; when a cluster of exceedances ends, its peak enters the tail."""
    if tail["ready"] == 0 or score != score:
        return
    tail["rows"] += 1.0
    excess = score - tail["threshold"]
    if excess > 0.0:
        tail["below"] = 0
        tail["peak"] = max(tail["peak"], excess)
        return
    tail["below"] += 1
    if tail["below"] == tail["gap"] and tail["peak"] > 0.0:
        peak = tail["peak"]
        if tail["ready"] == 1:
            base = math.log10(max(tail["rows"], 1.0) / max(tail["clusters"], 0.5))
            most = max(WINSOR_LOG10_ROWS - base, 0.0) * _scale(tail) * math.log(10.0)
            peak = min(peak, most)
        tail["clusters"] += 1.0
        tail["excess"] += peak
        tail["peak"] = 0.0


@kernel
def _mean(rarity: Float64) -> float:
    """Plain mean of the opinions there are, each capped; NaN where there is none."""
    total = 0.0
    count = 0
    for j in range(rarity.size):
        if rarity[j] == rarity[j]:
            total += min(rarity[j], CAP_LOG10_ROWS)
            count += 1
    return total / count if count > 0 else np.nan
