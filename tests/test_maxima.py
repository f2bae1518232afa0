"""Rarity from block maxima: as the formulas say, right on noise, untouched by what has no score."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly import maxima
from tests.naive import maxima as naive


def run(score: np.ndarray, asset: np.ndarray | None = None, assets: int = 1) -> np.ndarray:
    out = np.empty(score.size)
    state = maxima.allocate(assets)
    maxima.step(state["asset"], np.zeros(score.size, np.int64) if asset is None else asset,
                score, out)
    return out


def test_equals_the_formulas() -> None:
    score = np.random.default_rng(3).exponential(1.0, 1_250)
    score[700:720] += 30.0  # winsorised where it is learned
    ours, theirs = run(score), naive.period_rows(score)
    usual = np.isnan(theirs) | (theirs < 1e9)  # where 1 − exp(−e) has digits left
    np.testing.assert_allclose(ours[usual], theirs[usual], rtol=1e-6)
    assert np.isnan(ours[: maxima.FEWEST_BLOCKS * maxima.BLOCK_ROWS]).all()


def test_compiled_equals_plain_in_every_bit() -> None:
    score = np.random.default_rng(4).exponential(1.0, 600)
    score[50] = np.nan
    state, out = maxima.allocate(1), np.empty(600)
    maxima.step.py_func(state["asset"], np.zeros(600, np.int64), score, out)
    np.testing.assert_array_equal(out, run(score))


def test_rows_without_a_score_and_other_assets_change_nothing() -> None:
    rng = np.random.default_rng(5)
    score = rng.exponential(1.0, 900)
    alone = run(score)
    mixed, asset = np.full(2_700, np.nan), np.zeros(2_700, np.int64)
    mixed[::3] = score
    mixed[1::3], asset[1::3] = rng.exponential(5.0, 900), 1
    np.testing.assert_array_equal(run(mixed, asset, 2)[::3], alone)


@pytest.mark.parametrize("rows", [1_000.0, 10_000.0])
def test_the_promise_on_noise(rows: float) -> None:
    """Blocks whose rarest row passes the return period: as many as promised, or fewer."""
    rng = np.random.default_rng(6)
    found = 0
    for _ in range(10):
        period = run(np.abs(rng.normal(size=50_000)) ** 2)
        over = np.flatnonzero(period >= rows)
        found += np.unique(over // maxima.BLOCK_ROWS).size
    assert 0.6 < found / (10 * 50_000 / rows) < 1.4


def test_a_standing_fault_stays_rare_for_a_while_and_never_teaches_more_than_its_blocks() -> None:
    rng = np.random.default_rng(7)
    score = rng.exponential(1.0, 6_000)
    score[5_000:5_200] *= 1e6
    period = run(score)
    assert (period[5_000:5_100] > 1e5).mean() > 0.9
    assert np.isfinite(period[300:]).all()


def test_a_score_that_falls_silent_leaves_no_nan_and_both_codes_agree() -> None:
    score = np.concatenate([np.random.default_rng(8).exponential(1.0, 3_000), np.zeros(3_000)])
    state, out = maxima.allocate(1), np.empty(score.size)
    maxima.step.py_func(state["asset"], np.zeros(score.size, np.int64), score, out)
    np.testing.assert_array_equal(out, run(score))
    assert np.isfinite(state["asset"]["foretold"]).all()
    assert np.isfinite(out[maxima.FEWEST_BLOCKS * maxima.BLOCK_ROWS:]).all()
