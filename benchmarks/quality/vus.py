"""Volume under the range-AUC surface (VUS-PR, VUS-ROC), equal to the published package, fast.

The definition is that of Paparrizos et al., "Volume Under the Surface", PVLDB 15(11), 2022, §4, in
the form the TSB-AD benchmark computes it (`RangeAUC_volume_opt`, 250 thresholds, buffers 0…L).  The
published loop forms, for every buffer and every threshold, a label vector of the whole series.
Here follows from its algebra that per buffer only two things are needed: the sum of the buffer's
weights over rows at or above each threshold, and each segment's highest score; both come from one
pass over the rows near events.  With P labelled rows, P_t of them at or above threshold t, N_t rows
at or above it, and E the buffer weights at or above it:

    TP = P_t + E        recall = min(TP / (P + E / 2), 1)        precision = TP / N_t
    TPR = recall · (segments with any row at or above t) / (segments)
    FPR = (N_t − TP) / (n − P − E / 2)
"""

from __future__ import annotations

import numba
import numpy as np

from benchmarks.quality.ranking import ranked
from benchmarks.quality.recordings import BoolArray, FloatArray, IntArray

_THRESHOLDS = 250
_LAGS = 400
_ROWS_FOR_PERIOD = 20_000
_DEFAULT_PERIOD = 125


def vus(score: FloatArray, labels: BoolArray, buffer_rows: int) -> tuple[float, float]:
    """VUS-ROC and VUS-PR of a score.

    Parameters
    ----------
    score : float64[n]
        High is odd; NaN ranks lowest.
    labels : bool[n]
        Anomalous rows; at least one.
    buffer_rows : int
        Widest buffer L, rows; the benchmark uses the series' period (`period_rows`).

    Returns
    -------
    tuple of float
        (VUS-ROC, VUS-PR); NaN where nothing is labelled.
    """
    edges = np.diff(np.concatenate(([0], labels.astype(np.int8), [0])))
    first = np.flatnonzero(edges == 1).astype(np.int64)
    last = np.flatnonzero(edges == -1).astype(np.int64) - 1
    if not first.size:
        return float("nan"), float("nan")
    values = ranked(score)
    descending = -np.sort(-values)
    thresholds = descending[np.linspace(0, values.size - 1, _THRESHOLDS).astype(np.int64)]
    # Smallest k with score ≥ thresholds[k]; thresholds never rise.
    level = np.searchsorted(-thresholds, -values, side="left").astype(np.int64)
    predicted = np.searchsorted(-descending, -thresholds, side="right").astype(np.float64)
    found = np.cumsum(np.bincount(level[labels], minlength=_THRESHOLDS)).astype(np.float64)
    roc, pr = _volumes(labels, level, first, last, predicted, found, buffer_rows)
    return float(roc), float(pr)


def period_rows(x: FloatArray) -> int:
    """Period of a series by its autocorrelation, as TSB-AD chooses the widest buffer.

    The highest local maximum of the autocorrelation at lags 3…400 of the first 20,000 rows, if it
    lies between 6 and 303, else 125.

    Parameters
    ----------
    x : float64[n]
        The series, without NaN.
    """
    head = x[:_ROWS_FOR_PERIOD] - np.mean(x[:_ROWS_FOR_PERIOD])
    size = 1 << int(np.ceil(np.log2(max(2 * head.size + 1, 2))))
    spectrum = np.fft.rfft(head, size)
    covariance = np.fft.irfft(spectrum * np.conj(spectrum), size)[: min(_LAGS + 1, head.size)]
    if covariance.size < 6 or covariance[0] <= 0:
        return _DEFAULT_PERIOD
    tail = covariance[3:] / covariance[0]
    peaks = np.flatnonzero((tail[1:-1] > tail[:-2]) & (tail[1:-1] > tail[2:])) + 1
    if not peaks.size:
        return _DEFAULT_PERIOD
    best = int(peaks[np.argsort(tail[peaks])[::-1][0]])
    return _DEFAULT_PERIOD if best < 3 or best > 300 else best + 3


@numba.njit(cache=True)
def _volumes(
    labels: BoolArray,
    level: IntArray,
    first: IntArray,
    last: IntArray,
    predicted: FloatArray,
    found: FloatArray,
    widest: int,
) -> tuple[float, float]:
    """Mean range-AUC of both kinds over buffers 0…widest, one pass over rows near events each."""
    thresholds = predicted.size
    n = labels.size
    positives = float(np.sum(last - first + 1))
    weights = np.zeros(thresholds)
    extension = np.zeros(n)
    segments_at = np.zeros(thresholds)
    sum_roc = 0.0
    sum_pr = 0.0
    for window in range(widest + 1):
        half = window // 2
        weights[:] = 0.0
        segments_at[:] = 0.0
        # Weights of neighbouring events add up before they are capped at 1: first sum, then read
        # and clear.
        for e in range(first.size):
            for i in range(last[e] + 1, min(last[e] + half + 1, n)):
                extension[i] += np.sqrt(1.0 - (i - last[e]) / window)
            for i in range(max(first[e] - half, 0), first[e]):
                extension[i] += np.sqrt(1.0 - (first[e] - i) / window)
        segments = 0.0
        begin = max(first[0] - half, 0)
        for e in range(first.size):
            joined = e + 1 < first.size and last[e] + half >= first[e + 1] - half
            if joined:
                continue
            end = min(last[e] + half, n - 1)
            lowest = thresholds
            for i in range(begin, end + 1):
                lowest = min(lowest, level[i])
                if not labels[i] and extension[i] > 0.0:
                    weights[level[i]] += min(extension[i], 1.0)
                extension[i] = 0.0
            segments_at[lowest] += 1.0
            segments += 1.0
            if e + 1 < first.size:
                begin = first[e + 1] - half
        weight = 0.0
        existing = 0.0
        tpr_before = 0.0
        fpr_before = 0.0
        for k in range(thresholds):
            weight += weights[k]
            existing += segments_at[k]
            true_positive = found[k] + weight
            total = positives + weight / 2.0
            tpr = min(true_positive / total, 1.0) * existing / segments
            fpr = (predicted[k] - true_positive) / (n - total)
            sum_pr += (tpr - tpr_before) * true_positive / predicted[k]
            sum_roc += (fpr - fpr_before) * (tpr + tpr_before) / 2.0
            tpr_before = tpr
            fpr_before = fpr
        sum_roc += (1.0 - fpr_before) * (1.0 + tpr_before) / 2.0
    return sum_roc / (widest + 1), sum_pr / (widest + 1)
