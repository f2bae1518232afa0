"""The controls that stand in every table: what a method must beat to be worth anything.

Random score, always-alarm, EWMA z-score, CUSUM, smoothed Mahalanobis, river's half-space trees and
a causal matrix profile.  Each scores one machine's rows with nothing learned after warm-up except
where the published algorithm learns; all that need a threshold share `tail`.  One fixed setting
each.  The two slow ones see long recordings in steps and say so in the verdict's note.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable

import numba
import numpy as np

from benchmarks.quality.recordings import (
    FloatArray,
    IntArray,
    Method,
    Recording,
    Verdict,
    budget_seconds,
    row_seconds,
    verdict_from_rows,
)
from benchmarks.quality.tail import alert_rows, return_period_rows

#: Scores one machine: (float64[m, d] without NaN, warm-up rows) to (float64[m], note).
Scorer = Callable[[FloatArray, int], tuple[FloatArray, str]]

_SEED = 7
_CLIP = 20.0
_EWMA_WEIGHT = 0.1
_CUSUM_SLACK = 0.5
_SHRINKAGE = 0.1
_TREES_ROWS = 6_000
_PROFILE_ROWS = 10_000
_PROFILE_SENSORS = 3
_PROFILE_WINDOW = 32


class Control:
    """A scorer made into a method: per machine, scored once, then a frozen tail for each budget."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._recording: Recording | None = None
        self._score: FloatArray = np.zeros(0)
        self._note = ""

    def __call__(self, recording: Recording, warm_up_rows: int, budget: str) -> Verdict:
        """Judge a recording; the score of the last recording is kept for its other budgets."""
        if recording is not self._recording:
            self._score, self._note = self._scored(recording, warm_up_rows)
            self._recording = recording
        interval = row_seconds(recording)
        period = np.full(recording.row_count, np.nan)
        alert = np.zeros(recording.row_count, np.int8)
        for asset in np.unique(recording.asset):
            rows = np.flatnonzero(recording.asset == asset)
            warm = int(np.searchsorted(rows, warm_up_rows))
            period[rows] = return_period_rows(self._score[rows], warm)
            alert[rows] = alert_rows(period[rows], budget_seconds(budget) / interval, warm)
        return verdict_from_rows(recording, self._score, alert, period * interval, self._note)

    def _scored(self, recording: Recording, warm_up_rows: int) -> tuple[FloatArray, str]:
        score = np.full(recording.row_count, np.nan)
        note = ""
        for asset in np.unique(recording.asset):
            rows = np.flatnonzero(recording.asset == asset)
            warm = int(np.searchsorted(rows, warm_up_rows))
            mine, note = self._scorer(_filled(recording.x[rows], warm), warm)
            score[rows] = mine
        return score, note


def always_alarm(recording: Recording, warm_up_rows: int, budget: str) -> Verdict:
    """One alert a machine from the end of warm-up to the end of the file."""
    after = np.arange(recording.row_count) >= warm_up_rows
    return verdict_from_rows(recording, np.ones(recording.row_count), after.astype(np.int8))


def random_score(x: FloatArray, warm_up_rows: int) -> tuple[FloatArray, str]:
    """Exponential noise, so that the shared tail is exactly right for it."""
    random = np.random.default_rng((_SEED, x.shape[0]))
    return np.asarray(random.exponential(size=x.shape[0]), np.float64), ""


def ewma_z_score(x: FloatArray, warm_up_rows: int) -> tuple[FloatArray, str]:
    """Largest |EWMA of z| over the sensors, in its own standard deviations.

    Source: Roberts, "Control Chart Tests Based on Geometric Moving Averages", Technometrics 1(3),
    1959.
    """
    smoothed = _smoothed(_standardised(x, warm_up_rows))
    deviation = np.sqrt(_EWMA_WEIGHT / (2.0 - _EWMA_WEIGHT))
    return np.abs(smoothed).max(axis=1) / deviation, ""


def cusum(x: FloatArray, warm_up_rows: int) -> tuple[FloatArray, str]:
    """Largest two-sided CUSUM over the sensors, slack half a deviation, capped at 1,000.

    Source: Page, "Continuous Inspection Schemes", Biometrika 41, 1954.
    """
    return _cusum(_standardised(x, warm_up_rows), _CUSUM_SLACK), ""


def smoothed_mahalanobis(x: FloatArray, warm_up_rows: int) -> tuple[FloatArray, str]:
    """Mahalanobis distance of lightly smoothed sensors, the warm-up's covariance shrunk by 0.1."""
    smoothed = _smoothed(_standardised(x, warm_up_rows))
    warm = smoothed[: max(warm_up_rows, 2)]
    centred = smoothed - warm.mean(axis=0)
    covariance = np.atleast_2d(np.cov(warm, rowvar=False))
    width = covariance.shape[0]
    target = np.eye(width) * max(np.trace(covariance) / width, 1e-9)
    inverse = np.linalg.inv((1.0 - _SHRINKAGE) * covariance + _SHRINKAGE * target)
    return np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", centred, inverse, centred), 0.0)), ""


def half_space_trees(x: FloatArray, warm_up_rows: int) -> tuple[FloatArray, str]:
    """river's half-space trees (25 trees of height 8, window 250), min-max scaled on the warm-up.

    At 10–40 µs a tree and row it cannot see everything: long recordings are taken in steps of their
    block means.

    Source: Tan, Ting and Liu, "Fast Anomaly Detection for Streaming Data", IJCAI 2011; river 0.26.
    """
    anomaly = importlib.import_module("river.anomaly")
    blocks, step = _stepped(x, _TREES_ROWS)
    warm = max(warm_up_rows // step, 1)
    low, high = blocks[:warm].min(axis=0), blocks[:warm].max(axis=0)
    scaled = np.clip((blocks - low) / np.maximum(high - low, 1e-9), 0.0, 1.0)
    trees = anomaly.HalfSpaceTrees(n_trees=25, height=8, window_size=250, seed=_SEED)
    score = np.full(blocks.shape[0], np.nan)
    names = [str(j) for j in range(x.shape[1])]
    for i, row in enumerate(scaled.tolist()):
        features = dict(zip(names, row, strict=True))
        # The first window only fills the reference; river answers 0 there, which is no opinion.
        if i >= 250:
            score[i] = trees.score_one(features)
        trees.learn_one(features)
    return _spread(score, step, x.shape[0]), _step_note(step)


def left_matrix_profile(x: FloatArray, warm_up_rows: int) -> tuple[FloatArray, str]:
    """Distance of each subsequence of 32 rows to its nearest *earlier* one (stumpy), mean over
    sensors.

    Quadratic in the rows, so long recordings are taken in steps of their block means, and of wide
    ones the three sensors that move most in the warm-up.

    Source: Zhu et al., "Matrix Profile VII", ICDM 2017 (left matrix profile); stumpy 1.14.
    """
    blocks, step = _stepped(x, _PROFILE_ROWS)
    warm = max(warm_up_rows // step, 2)
    moving = np.flatnonzero(np.ptp(blocks[:warm], axis=0) > 0)
    spread = _standardised(blocks, warm).std(axis=0)[moving]
    chosen = moving[np.argsort(-spread, kind="stable")[:_PROFILE_SENSORS]]
    score = np.full(blocks.shape[0], np.nan)
    if chosen.size and blocks.shape[0] > 4 * _PROFILE_WINDOW:
        profiles = [_left_profile(np.ascontiguousarray(blocks[:, j])) for j in chosen]
        score = np.mean(profiles, axis=0)
        # With little history everything is far from everything: no opinion in half the warm-up.
        score[: warm // 2] = np.nan
    note = _step_note(step)
    if moving.size > _PROFILE_SENSORS:
        note = f"{note}; " if note else ""
        note += f"{_PROFILE_SENSORS} of {x.shape[1]} sensors"
    return _spread(score, step, x.shape[0]), note


def controls() -> dict[str, Method]:
    """Every control by name, in the order of the tables."""
    return {
        "random": Control(random_score),
        "always-alarm": always_alarm,
        "ewma-z": Control(ewma_z_score),
        "cusum": Control(cusum),
        "mahalanobis": Control(smoothed_mahalanobis),
        "river-hst": Control(half_space_trees),
        "matrix-profile": Control(left_matrix_profile),
    }


def _left_profile(column: FloatArray) -> FloatArray:
    """float64[n]: left matrix profile at the last row of each subsequence, NaN before."""
    stumpy = importlib.import_module("stumpy")
    window = _PROFILE_WINDOW
    nearest = np.asarray(stumpy.stump(column, window)[:, 2], np.int64)
    score = np.full(column.size, np.nan)
    score[window - 1 :] = _distances(column, nearest, window)
    return score


@numba.njit(cache=True)
def _distances(column: FloatArray, nearest: IntArray, window: int) -> FloatArray:
    """z-normalised distance of each subsequence to the one named; NaN where none is (−1)."""
    out = np.full(nearest.size, np.nan)
    for i in range(nearest.size):
        j = nearest[i]
        if j < 0:
            continue
        a = column[i : i + window]
        b = column[j : j + window]
        deviation_a = np.std(a)
        deviation_b = np.std(b)
        if deviation_a < 1e-12 or deviation_b < 1e-12:
            # stumpy's convention: two constant pieces are alike, one constant and one not are not.
            out[i] = 0.0 if deviation_a < 1e-12 and deviation_b < 1e-12 else np.sqrt(window)
            continue
        product = 0.0
        mean_a = np.mean(a)
        mean_b = np.mean(b)
        for k in range(window):
            product += (a[k] - mean_a) * (b[k] - mean_b)
        correlation = float(product / (window * deviation_a * deviation_b))
        out[i] = math.sqrt(max(2.0 * window * (1.0 - correlation), 0.0))
    return out


@numba.njit(cache=True)
def _cusum(z: FloatArray, slack: float) -> FloatArray:
    """float64[m]: the larger of both sides, over the sensors."""
    high = np.zeros(z.shape[1])
    low = np.zeros(z.shape[1])
    out = np.zeros(z.shape[0])
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            high[j] = min(max(high[j] + z[i, j] - slack, 0.0), 1_000.0)
            low[j] = min(max(low[j] - z[i, j] - slack, 0.0), 1_000.0)
            out[i] = max(out[i], high[j], low[j])
    return out


def _filled(x: FloatArray, warm_up_rows: int) -> FloatArray:
    """float64[m, d]: gaps held at the last reading, before the first at the warm-up's median."""
    missing = np.isnan(x)
    if not missing.any():
        return x
    rows = np.maximum.accumulate(np.where(missing, -1, np.arange(x.shape[0])[:, None]), axis=0)
    held = np.take_along_axis(x, np.maximum(rows, 0), axis=0)
    start = np.zeros(x.shape[1])
    for j in range(x.shape[1]):
        warm = x[:warm_up_rows, j]
        warm = warm[~np.isnan(warm)]
        start[j] = np.median(warm) if warm.size else 0.0
    return np.where(rows < 0, start[None, :], held)


def _standardised(x: FloatArray, warm_up_rows: int) -> FloatArray:
    """z by median and spread of the warm-up, clipped; constant there means 1 % of the level."""
    warm = x[: max(warm_up_rows, 1)]
    middle = np.median(warm, axis=0)
    quarters = np.percentile(warm, (25, 75), axis=0)
    spread = np.maximum((quarters[1] - quarters[0]) / 1.349, 0.5 * warm.std(axis=0))
    spread = np.where(spread > 0, spread, 0.01 * np.abs(middle))
    return np.clip((x - middle) / np.where(spread > 0, spread, 1.0), -_CLIP, _CLIP)


def _smoothed(z: FloatArray) -> FloatArray:
    """Exponentially weighted mean of each column, started at 0."""
    from scipy.signal import lfilter

    return np.asarray(lfilter([_EWMA_WEIGHT], [1.0, _EWMA_WEIGHT - 1.0], z, axis=0))


def _stepped(x: FloatArray, most_rows: int) -> tuple[FloatArray, int]:
    """Block means of as few rows as keep the recording within `most_rows`, and the step."""
    step = -(-x.shape[0] // most_rows)
    if step == 1:
        return x, 1
    whole = x.shape[0] // step
    return x[: whole * step].reshape(whole, step, x.shape[1]).mean(axis=1), step


def _spread(score: FloatArray, step: int, row_count: int) -> FloatArray:
    """float64[n]: a block's score from its last row until the next block's is known; causal."""
    rows = (np.arange(row_count) + 1) // step - 1
    out = np.full(row_count, np.nan)
    known = rows >= 0
    out[known] = score[np.minimum(rows[known], score.size - 1)]
    return out


def _step_note(step: int) -> str:
    return f"block means of {step} rows" if step > 1 else ""
