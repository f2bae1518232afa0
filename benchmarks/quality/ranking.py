"""Rankings of rows: how well a score orders labelled rows above the others.

ROC-AUC and average precision (tie-correct), the top-1 location of the UCR archive, detection at a
fixed false alarm share, and F1 / false alarm rate / missed alarm rate of marked rows.  NaN in a
score ranks below any opinion. Never point-adjusted: under that rule a random score reaches the
state of the art.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.recordings import BoolArray, FloatArray


@dataclass(frozen=True)
class Confusion:
    """Counts of marked rows against labelled rows."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def f1(self) -> float:
        """F1 of the marked rows; NaN where nothing is labelled and nothing marked."""
        return _ratio(
            2 * self.true_positive,
            2 * self.true_positive + self.false_positive + self.false_negative,
        )

    @property
    def false_alarm_rate(self) -> float:
        """Share of the unlabelled rows that are marked."""
        return _ratio(self.false_positive, self.false_positive + self.true_negative)

    @property
    def missed_alarm_rate(self) -> float:
        """Share of the labelled rows that are not marked."""
        return _ratio(self.false_negative, self.false_negative + self.true_positive)

    def __add__(self, other: Confusion) -> Confusion:
        """Counts of both together."""
        return Confusion(
            self.true_positive + other.true_positive,
            self.false_positive + other.false_positive,
            self.false_negative + other.false_negative,
            self.true_negative + other.true_negative,
        )


def confusion(marked: NDArray[np.int8], labels: BoolArray) -> Confusion:
    """Counts of marked rows int8[n] against labels bool[n]."""
    on = marked != 0
    return Confusion(
        int(np.count_nonzero(on & labels)),
        int(np.count_nonzero(on & ~labels)),
        int(np.count_nonzero(~on & labels)),
        int(np.count_nonzero(~on & ~labels)),
    )


def ranked(score: FloatArray) -> FloatArray:
    """float64[n]: the score with NaN just below the least odd opinion, and so finite."""
    silent = np.isnan(score)
    if np.all(silent):
        return np.zeros(score.shape)
    return np.where(silent, np.nextafter(np.nanmin(score), -np.inf), score)


def roc_auc(score: FloatArray, labels: BoolArray) -> float:
    """Area under the ROC curve, ties counted half (Mann-Whitney); NaN where one class is absent.

    Parameters
    ----------
    score : float64[n]
        High is odd; NaN ranks lowest.
    labels : bool[n]
        Anomalous rows.
    """
    positives = int(np.count_nonzero(labels))
    negatives = labels.size - positives
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(ranked(score), return_inverse=True, return_counts=True)
    middle_rank = np.cumsum(counts) - (counts - 1) / 2.0
    rank_sum = float(np.sum(middle_rank[inverse[labels]]))
    return (rank_sum - positives * (positives + 1) / 2.0) / (positives * negatives)


def average_precision(score: FloatArray, labels: BoolArray) -> float:
    """Average precision, Σ (R_k − R_{k−1}) P_k over distinct scores; NaN where nothing is labelled.

    Rows of equal score enter together, so that the order of ties cannot matter.  Same definition as
    scikit-learn's ``average_precision_score``.
    """
    positives = int(np.count_nonzero(labels))
    if not positives:
        return float("nan")
    values = ranked(score)
    order = np.argsort(-values, kind="stable")
    descending = values[order]
    ends = np.flatnonzero(np.append(descending[1:] != descending[:-1], True))
    hits = np.cumsum(labels[order])
    recall = hits[ends] / positives
    precision = hits[ends] / (ends + 1.0)
    return float(np.sum(np.diff(np.concatenate(([0.0], recall))) * precision))


def top1_hit(score: FloatArray, first: int, last: int, from_row: int) -> float:
    """Whether the highest score lies at the labelled anomaly, as the UCR archive counts it.

    A hit is a location in [first − m, last + m] with m = max(100, length of the anomaly), among
    rows from `from_row` on.  Where several rows share the highest score the share of them that hit
    is returned, so that a constant score earns its chance and no more.

    Source: Wu and Keogh, "Current Time Series Anomaly Detection Benchmarks are Flawed", TKDE 2021,
    §3 and the archive's own scoring rule.
    """
    values = ranked(score)[from_row:]
    rows = from_row + np.flatnonzero(values == np.max(values))
    margin = max(100, last - first + 1)
    return float(np.mean((rows >= first - margin) & (rows <= last + margin)))


def threshold_for_share(score: FloatArray, share: float) -> float:
    """Lowest threshold that at most `share` of the rows exceed (strictly); NaN ranks lowest."""
    allowed = int(np.floor(share * score.size))
    return float(np.sort(ranked(score))[::-1][allowed])


def share_above(score: FloatArray, threshold: float) -> float:
    """Share of the rows strictly above a threshold; NaN is never above."""
    return float(np.mean(ranked(score) > threshold))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
