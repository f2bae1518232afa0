"""The NAB score: weighted detections, one threshold over all files, 0 silence, 100 perfection.

Kept for its published records only: its threshold is chosen on the labels.  Beside it stands the
same arithmetic over a method's own alerts, where nothing is chosen.

Source: Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms", ICMLA 2015, §II, and
the behaviour of the benchmark's v1.1 scorer where the paper is silent: a detection in a window of
width W whose last row is r earns σ(−(r − i + 1)/W)/σ(−1) at row i, only the earliest counts; one
outside costs σ((i − r)/(W − 1)) behind the last window (−1 before any, and −1 from three widths
on), each counts; σ(y) = 2/(1 + e^{5y}) − 1; a missed window costs the miss weight; rows of the
probation count neither way.  The best threshold is the best over distinct scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np

from benchmarks.quality.recordings import FloatArray, IntArray


@dataclass(frozen=True)
class Profile:
    """Weights of an application profile."""

    detection: float
    false_alarm: float
    miss: float


PROFILES = {
    "standard": Profile(1.0, 0.11, 1.0),
    "low_fp": Profile(1.0, 0.22, 1.0),
    "low_fn": Profile(1.0, 0.11, 2.0),
}


@dataclass(frozen=True)
class NabFile:
    """One file as the score needs it.

    Attributes
    ----------
    detection : float64[n]
        What is thresholded; NaN is never a detection.
    windows : tuple of (int, int)
        Labelled windows, rows, both inclusive, in order.
    probation_rows : int
        Leading rows that count neither way.
    """

    detection: FloatArray
    windows: tuple[tuple[int, int], ...]
    probation_rows: int


def probation_rows(row_count: int) -> int:
    """NAB's own probation: 15 % of the rows, at most of 5,000."""
    return int(min(np.floor(0.15 * row_count), 0.15 * 5_000))


def best_threshold(files: Sequence[NabFile], profile: Profile) -> float:
    """The one threshold over all files with the highest score; +inf where silence is best.

    A row is a detection if its value is at or above the threshold.
    """
    value, window, worth, count = _pooled(files, profile)
    order = np.argsort(-value, kind="stable")
    return float(_sweep(value[order], window[order], worth[order], count, profile.miss))


def file_scores(
    files: Sequence[NabFile], profile: Profile, threshold: float
) -> tuple[tuple[float, float], ...]:
    """Per file, what it adds above silence and what perfection would add.

    The sum of the first over the sum of the second, times 100, is the normalised score: 0 for
    silence, 100 for a detection at the first row of every window and no other.
    """
    scores = []
    for file in files:
        value, window, worth, count = _pooled((file,), profile)
        on = value >= threshold
        best = np.full(count, -profile.miss)
        np.maximum.at(best, window[on & (window >= 0)], worth[on & (window >= 0)])
        raw = float(best.sum() + worth[on & (window < 0)].sum())
        scores.append((raw + profile.miss * count, (profile.detection + profile.miss) * count))
    return tuple(scores)


def nab_score(files: Sequence[NabFile], profile: Profile) -> float:
    """Normalised NAB score at the one threshold that is best over all files."""
    return _percent(file_scores(files, profile, best_threshold(files, profile)))


def row_worth(
    row_count: int, windows: Sequence[tuple[int, int]], profile: Profile
) -> tuple[FloatArray, IntArray]:
    """What a detection at each row is worth, and which window it lies in.

    Returns
    -------
    worth : float64[n]
        Positive inside a window, negative outside.
    window : int64[n]
        Number of the window, −1 outside.
    """
    rows = np.arange(row_count)
    worth = np.full(row_count, -profile.false_alarm)
    window = np.full(row_count, -1, np.int64)
    for number, (first, last) in enumerate(windows):
        behind = rows > last
        # A window of one row has no width to scale by; the published code divides by zero there.
        distance = (rows[behind] - last) / max(last - first, 1)
        cost = np.where(distance >= 3.0, -1.0, _sigmoid(np.minimum(distance, 3.0)))
        worth[behind] = cost * profile.false_alarm
        inside = (rows >= first) & (rows <= last)
        position = -(last - rows[inside] + 1) / (last - first + 1)
        worth[inside] = _sigmoid(position) * profile.detection / _sigmoid(np.array(-1.0))
        window[inside] = number
    return worth, window


def _sigmoid(position: FloatArray) -> FloatArray:
    """σ(y) = 2/(1 + e^{5y}) − 1, float64 of the same shape."""
    return 2.0 / (1.0 + np.exp(5.0 * position)) - 1.0


def _pooled(
    files: Sequence[NabFile], profile: Profile
) -> tuple[FloatArray, IntArray, FloatArray, int]:
    """Rows behind the probation, pooled: value, window, worth; how many windows are in reach."""
    values, windows, worths, count = [], [], [], 0
    for file in files:
        worth, window = row_worth(file.detection.size, file.windows, profile)
        after = np.arange(file.detection.size) >= file.probation_rows
        # Windows that end inside the probation cannot be missed.
        reachable = np.unique(window[after & (window >= 0)])
        number = np.full(len(file.windows) + 1, -1, np.int64)
        number[reachable] = count + np.arange(reachable.size)
        count += reachable.size
        counted = after & ~np.isnan(file.detection)
        values.append(file.detection[counted])
        windows.append(number[window[counted]])
        worths.append(worth[counted])
    return np.concatenate(values), np.concatenate(windows), np.concatenate(worths), count


def _percent(scores: Sequence[tuple[float, float]]) -> float:
    return 100.0 * sum(top for top, _ in scores) / sum(bottom for _, bottom in scores)


@numba.njit(cache=True)
def _sweep(
    value: FloatArray, window: IntArray, worth: FloatArray, count: int, miss: float
) -> float:
    """Lower the threshold row by row through descending values; read where the value changes."""
    best_in = np.full(count, -miss)
    total = -miss * count
    best = total
    threshold = np.inf
    for i in range(value.size):
        w = window[i]
        if w < 0:
            total += worth[i]
        elif worth[i] > best_in[w]:
            total += worth[i] - best_in[w]
            best_in[w] = worth[i]
        if (i + 1 == value.size or value[i + 1] != value[i]) and total > best:
            best = total
            threshold = value[i]
    return threshold
