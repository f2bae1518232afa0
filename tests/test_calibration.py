"""Rarity: against a plain twin from scipy's distributions, on noise, and on faults and gaps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import genpareto, norm

from anomaly import calibration

ROLE = np.zeros(1, np.int64)


def fitted(warm_up: np.ndarray, assets: int = 1, inflation: float = 1.0
           ) -> dict[str, np.ndarray]:
    """State of assets fitted on the columns of ``warm_up`` float64[w, assets]."""
    state = calibration.allocate(assets, 1)
    for a in range(assets):
        column = np.ascontiguousarray(warm_up[:, a : a + 1])
        calibration.fit(*state.values(), ROLE, a, column, inflation)
    return state


def judged(state: dict[str, np.ndarray], score: np.ndarray, asset: np.ndarray | None = None
           ) -> np.ndarray:
    """Return periods in rows of one score column, learned as they come."""
    m = score.size
    asset = np.zeros(m, np.int64) if asset is None else asset
    period = np.empty(m)
    calibration.step(*state.values(), ROLE, asset, score.reshape(-1, 1), np.empty((m, 1)),
                     np.empty(m), np.empty(m), period)
    return period


def naive_table(peaks: np.ndarray, excursions: int, median: float, prior: float
                ) -> tuple[np.ndarray, float, float]:
    """Predictive survival at the knots, threshold and scale, from scipy's generalised Pareto."""
    k = min(calibration.PEAKS - 1, max(3, excursions // 2))
    threshold = peaks[k] if k < excursions else median
    k = min(k, excursions)
    excess = peaks[:k] - threshold
    mean = (excess.sum() + 2 * prior) / (k + 2)
    weights, survivals = [], []
    for shape in np.linspace(-0.25, 0.65, 10):
        for step in range(12):
            scale = mean * math.exp(-1.65 + 0.3 * step)
            weight = genpareto.logpdf(excess, shape, scale=scale).sum()
            weight += norm.logpdf(shape, calibration.SHAPE_MEAN, 0.1)
            weight += norm.logpdf(math.log(scale), math.log(prior), 0.7)
            weights.append(weight)
            survivals.append(genpareto.sf(calibration._KNOTS * mean, shape, scale=scale))
    weights = np.exp(np.array(weights) - np.max(weights))
    return -np.log10(weights @ np.array(survivals) / weights.sum()), threshold, mean


@pytest.mark.parametrize("rows", [20, 60, 1000])
def test_the_tail_is_the_predictive_pareto_tail(rows: int) -> None:
    score = np.random.default_rng(rows).exponential(size=(rows, 1))
    state = fitted(score)
    tail, peaks = state["asset_tail"][0], state["asset_peaks"][0].astype(float)
    table, threshold, scale = naive_table(
        peaks[: min(tail["excursions"], calibration.PEAKS)], int(tail["excursions"]),
        float(tail["median"]), float(tail["prior_scale"]))
    assert tail["threshold"] == pytest.approx(threshold)
    assert tail["scale"] == pytest.approx(scale)
    np.testing.assert_allclose(state["asset_table"][0], table, rtol=1e-9, atol=1e-12)


def test_excursions_are_counted_by_hand() -> None:
    units = np.array([0.0, 5, 6, 0, 0, 3, 0, 0, 9, 8, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0])
    state = fitted(units.reshape(-1, 1))
    tail = state["asset_tail"][0]
    unit = state["asset_member"][0, 0]["unit"]
    assert tail["excursions"] == 4
    assert tail["rows"] == 20
    np.testing.assert_allclose(state["asset_peaks"][0][:4] * unit, [9, 6, 3, 1])


def test_score_and_rarity_are_inverse() -> None:
    state = fitted(np.random.default_rng(3).normal(size=(800, 1)))
    tail, table = state["asset_tail"][0], state["asset_table"]
    for log_rows in (3.0, 4.0, 5.5):
        score = calibration._score_at(tail, table[0], log_rows)
        assert calibration.log10_rows(tail, table, 0, score) == pytest.approx(log_rows)


def noise(kind: str, rng: np.random.Generator, rows: int, assets: int) -> np.ndarray:
    """float64[rows, assets] of healthy scores."""
    if kind == "normal":
        return np.abs(rng.normal(size=(rows, assets)))
    if kind == "heavy":
        return np.abs(rng.standard_t(4, size=(rows, assets)))
    if kind == "counts":
        return rng.poisson(3.0, size=(rows, assets)).astype(float)
    x = rng.normal(size=(rows, assets))
    for r in range(1, rows):
        x[r] = 0.9 * x[r - 1] + math.sqrt(1 - 0.81) * x[r]
    return np.abs(x)


@pytest.mark.parametrize("kind", ["normal", "heavy", "counts", "slow"])
@pytest.mark.parametrize("warm_up", [300, 3000])
def test_the_promise_is_kept_on_noise(kind: str, warm_up: int) -> None:
    """One excursion in a thousand rows promised: achieved ÷ promised within 0.6 and 1.5."""
    assets, rows = 24, 12_000
    score = noise(kind, np.random.default_rng(warm_up), warm_up + rows, assets)
    state = fitted(score[:warm_up], assets)
    alarms = 0
    for a in range(assets):
        period = judged(state, score[warm_up:, a].copy(), np.full(rows, a))
        rare = period >= 1000.0
        above = score[warm_up:, a] > np.median(score[:warm_up, a])
        excursion = np.cumsum(np.diff(above.astype(int), prepend=0) == 1)
        alarms += len(np.unique(excursion[rare]))
    assert 0.6 <= alarms / (assets * rows / 1000.0) <= 1.5


def test_a_fault_that_stays_teaches_nothing() -> None:
    rng = np.random.default_rng(4)
    state = fitted(rng.normal(size=(500, 1)))
    before = state["asset_peaks"].copy()
    period = judged(state, rng.normal(size=2000) + 12.0)
    assert np.array_equal(state["asset_peaks"], before)
    assert period[-1] > 1e4


def test_the_tail_is_the_live_rows_alone_once_they_are_twice_the_warm_up() -> None:
    rng = np.random.default_rng(8)
    odd, usual = rng.normal(size=(300, 1)), rng.normal(size=900)
    odd[10:300:7] *= 4.0  # a warm-up that was odder than what follows
    state = fitted(odd)
    judged(state, usual[:599])
    assert state["asset_tail"][0]["rows"] == 899
    judged(state, usual[599:])
    tail, peaks = state["asset_tail"][0], state["asset_peaks"][0].astype(float)
    assert tail["rows"] == 900
    assert tail["handover"] == 0
    unit = state["asset_member"][0, 0]["unit"]
    assert peaks[: calibration.PEAKS].max() * unit < 4.0 < odd.max()
    table, threshold, _ = naive_table(peaks[: calibration.PEAKS], int(tail["excursions"]),
                                      float(tail["median"]), float(tail["prior_scale"]))
    assert tail["threshold"] == pytest.approx(threshold)
    np.testing.assert_allclose(state["asset_table"][0], table, rtol=1e-9, atol=1e-12)


def test_one_wild_row_does_not_blind_the_tail() -> None:
    rng = np.random.default_rng(5)
    state = fitted(rng.normal(size=(1000, 1)))
    quiet = rng.normal(size=400)
    judged(state, np.concatenate([quiet, [1e6], quiet]))
    assert judged(state, np.array([8.0]))[0] > 1000.0


def test_no_score_is_no_opinion_and_no_learning() -> None:
    state = fitted(np.random.default_rng(6).normal(size=(200, 1)))
    rows = state["asset_tail"][0]["rows"]
    assert np.isnan(judged(state, np.full(5, np.nan))).all()
    assert state["asset_tail"][0]["rows"] == rows
    empty = fitted(np.full((200, 1), np.nan))
    assert np.isnan(judged(empty, np.ones(3))).all()


def told(novelty: np.ndarray, level: float = math.nan, rows: float = 1e9) -> np.ndarray:
    """The told score of a novelty column with an endless history."""
    fused = np.empty(novelty.size)
    calibration.tell_score(
        *calibration.allocate_news(1).values(), np.zeros((1, 1), calibration.MEMBER),
        np.array([calibration.NOVELTY]),
        np.zeros(novelty.size, np.int64), novelty.reshape(-1, 1), np.full(novelty.size, level),
        np.full(novelty.size, rows), fused)
    return fused


def test_news_stands_out_once() -> None:
    novelty = np.ones(600)
    novelty[100:140] = 9.0
    novelty[200:240] = 9.0
    novelty[450:490] = 9.0
    fused = told(novelty)
    loud = np.flatnonzero(fused > 2 * calibration.NOVELTY_WEIGHT * 9.0)
    assert loud.tolist() == [100, 450], "the second burst came within 200 rows of the first"
    np.testing.assert_allclose(fused[101:140], calibration.NOVELTY_WEIGHT * 9.0, rtol=1e-6)


def test_the_score_joins_reference_and_novelty() -> None:
    assert np.isnan(told(np.full(3, math.nan))).all()
    assert told(np.full(3, math.nan), level=4.0, rows=0.0).tolist() == [4.0] * 3
    assert told(np.full(3, math.nan), level=-4.0, rows=0.0).tolist() == [0.0] * 3
    np.testing.assert_allclose(told(np.ones(3), level=4.0, rows=2000.0),
                               2.0 + calibration.NOVELTY_WEIGHT * math.sqrt(2 / 3))
