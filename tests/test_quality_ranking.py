"""Rankings and VUS against slow twins from their definitions and against published packages."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.quality.ranking import (
    average_precision,
    confusion,
    ranked,
    roc_auc,
    share_above,
    threshold_for_share,
    top1_hit,
)
from benchmarks.quality.recordings import BoolArray, FloatArray
from benchmarks.quality.vus import period_rows, vus

_SEEDS = range(12)


def _series(seed: int) -> tuple[FloatArray, BoolArray, int]:
    """A random score with events at random places, some touching the ends, some scores tied."""
    random = np.random.default_rng(seed)
    n = int(random.integers(260, 900))
    labels = np.zeros(n, np.bool_)
    for _ in range(int(random.integers(1, 9))):
        first = int(random.integers(0, n))
        labels[first : first + int(random.integers(1, 50))] = True
    score = random.normal(size=n) + labels * random.normal()
    if seed % 3 == 0:
        score = np.round(score)
    return score, labels, int(random.integers(0, 90))


def _naive_roc(score: FloatArray, labels: BoolArray) -> float:
    """Share of (odd, plain) pairs in the right order, ties half."""
    odd, plain = score[labels], score[~labels]
    wins = (odd[:, None] > plain[None, :]).sum() + 0.5 * (odd[:, None] == plain[None, :]).sum()
    return float(wins / (odd.size * plain.size))


def _naive_precision(score: FloatArray, labels: BoolArray) -> float:
    """Σ (R_k − R_{k−1}) P_k over distinct thresholds, from the highest."""
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(score.tolist()), reverse=True):
        on = score >= threshold
        recall = (on & labels).sum() / labels.sum()
        total += (recall - recall_before) * (on & labels).sum() / on.sum()
        recall_before = recall
    return float(total)


def _naive_vus_pr(score: FloatArray, labels: BoolArray, widest: int) -> float:
    """Mean range-AUC-PR over buffers 0…L, each threshold's label vector formed in full."""
    n = score.size
    edges = np.flatnonzero(np.diff(np.concatenate(([0], labels.astype(int), [0]))))
    events = [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    thresholds = np.sort(score)[::-1][np.linspace(0, n - 1, 250).astype(int)]
    areas = []
    for window in range(widest + 1):
        half = window // 2
        soft = labels.astype(float)
        for first, last in events:
            for i in range(max(first - half, 0), first):
                soft[i] += math.sqrt(1 - (first - i) / window)
            for i in range(last + 1, min(last + half + 1, n)):
                soft[i] += math.sqrt(1 - (i - last) / window)
        soft = np.minimum(soft, 1.0)
        joined = [[max(events[0][0] - half, 0), events[0][1]]]
        for first, last in events[1:]:
            if joined[-1][1] + half < first - half:
                joined[-1][1] += half
                joined.append([first - half, last])
            else:
                joined[-1][1] = last
        joined[-1][1] = min(joined[-1][1] + half, n - 1)
        area, before = 0.0, 0.0
        for threshold in thresholds:
            on = score >= threshold
            hit = float((soft * on).sum())
            positive = (labels.sum() + labels.sum() + (soft * on)[~labels].sum()) / 2
            seen = sum(on[first : last + 1].any() for first, last in joined) / len(joined)
            recall = min(hit / positive, 1.0) * seen
            area += (recall - before) * hit / on.sum()
            before = recall
        areas.append(area)
    return float(np.mean(areas))


@pytest.mark.parametrize("seed", _SEEDS)
def test_areas_equal_their_slow_twins(seed: int) -> None:
    score, labels, _ = _series(seed)
    assert roc_auc(score, labels) == pytest.approx(_naive_roc(score, labels), abs=1e-12)
    assert average_precision(score, labels) == pytest.approx(
        _naive_precision(score, labels), abs=1e-12
    )


@pytest.mark.parametrize("seed", range(6))
def test_vus_equals_its_slow_twin(seed: int) -> None:
    score, labels, widest = _series(seed)
    widest = min(widest, 20)
    assert vus(score, labels, widest)[1] == pytest.approx(
        _naive_vus_pr(score, labels, widest), abs=1e-10
    )


@pytest.mark.parametrize("seed", _SEEDS)
def test_vus_equals_the_published_package(seed: int) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    metrics = pytest.importorskip(
        "TSB_AD.evaluation.basic_metrics", reason="the TSB-AD package is not installed"
    )
    score, labels, widest = _series(seed)
    published = metrics.generate_curve(labels.astype(int), score, widest)[-2:]
    assert vus(score, labels, widest) == pytest.approx(tuple(published), abs=1e-10)


@pytest.mark.parametrize("seed", _SEEDS)
def test_period_equals_the_published_package(seed: int) -> None:
    pytest.importorskip("statsmodels", reason="statsmodels is not installed")
    windows = pytest.importorskip(
        "TSB_AD.utils.slidingWindows", reason="the TSB-AD package is not installed"
    )
    random = np.random.default_rng(seed)
    n = int(random.integers(450, 3_000))
    x = np.sin(np.arange(n) / random.uniform(1, 40)) + random.uniform(0, 2) * random.normal(size=n)
    assert period_rows(x) == windows.find_length_rank(x)


@pytest.mark.parametrize("seed", _SEEDS)
def test_areas_equal_scikit_learn(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    score, labels, _ = _series(seed)
    assert roc_auc(score, labels) == pytest.approx(metrics.roc_auc_score(labels, score), abs=1e-12)
    assert average_precision(score, labels) == pytest.approx(
        metrics.average_precision_score(labels, score), abs=1e-12
    )


def test_no_opinion_ranks_below_any_opinion() -> None:
    labels = np.array([True, False, False, True])
    score = np.array([np.nan, -5.0, np.nan, 3.0])
    assert np.all(np.isfinite(ranked(score)))
    assert ranked(score)[0] < -5.0
    # Of the four (odd, plain) pairs the NaN event loses one and ties one, the other wins both.
    assert roc_auc(score, labels) == pytest.approx(2.5 / 4)
    assert roc_auc(np.full(4, np.nan), labels) == 0.5


def test_a_constant_score_earns_chance_and_no_more() -> None:
    labels = np.zeros(1_000, np.bool_)
    labels[400:410] = True
    constant = np.ones(1_000)
    assert roc_auc(constant, labels) == 0.5
    assert average_precision(constant, labels) == pytest.approx(0.01)
    # 100 rows either side of ten, of the 800 that are judged.
    assert top1_hit(constant, 400, 409, 200) == pytest.approx(210 / 800)


@pytest.mark.parametrize(
    "first,last,row,expected",
    [
        (500, 509, 400, 1.0),
        (500, 509, 399, 0.0),
        (500, 509, 609, 1.0),
        (500, 509, 610, 0.0),
        (500, 699, 300, 1.0),
        (500, 699, 299, 0.0),
        (500, 699, 899, 1.0),
    ],
)
def test_top1_margin_is_a_hundred_rows_or_the_anomaly(
    first: int, last: int, row: int, expected: float
) -> None:
    score = np.zeros(1_000)
    score[row] = 1.0
    assert top1_hit(score, first, last, 100) == expected


def test_top1_looks_at_judged_rows_only() -> None:
    score = np.zeros(1_000)
    score[50] = 9.0
    score[505] = 1.0
    assert top1_hit(score, 500, 509, 100) == 1.0


def test_threshold_lets_no_more_than_its_share_pass() -> None:
    random = np.random.default_rng(1)
    for score in (random.normal(size=960), np.round(random.normal(size=960)), np.ones(960)):
        threshold = threshold_for_share(score, 0.01)
        assert share_above(score, threshold) <= 0.01
    distinct = random.permutation(960).astype(float)
    assert share_above(distinct, threshold_for_share(distinct, 0.01)) == pytest.approx(9 / 960)


def test_confusion_counts_and_adds() -> None:
    labels = np.array([True, True, False, False, False])
    one = confusion(np.array([1, 0, 1, 0, 0], np.int8), labels)
    assert (one.true_positive, one.false_positive, one.false_negative, one.true_negative) == (
        1, 1, 1, 2,
    )  # fmt: skip
    assert one.f1 == 0.5
    assert one.false_alarm_rate == pytest.approx(1 / 3)
    assert one.missed_alarm_rate == 0.5
    assert (one + one).true_negative == 4
