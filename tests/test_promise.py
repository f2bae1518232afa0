"""The simulation of the promise counts what it says, on a grid small enough to recount."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import promise


def test_an_excursion_counts_once_and_only_when_it_was_rare() -> None:
    level = np.array([0.0, 2, 3, 1, 0, 4, 0, 5, 5, 0, 6])
    period = np.array([9e9, 10, 99, 100, 1, 50, 1, 500, 900, 9e9, 100])
    assert promise.count_excursions(level, 0.5, period, 100.0) == 3, "rows at 3, at 7 and 8, at 10"
    assert promise.count_excursions(level, 0.5, period, 200.0) == 1
    assert promise.count_excursions(level, 0.5, period, 1e4) == 0, "below the median nothing counts"
    assert promise.count_excursions(level[1:4], 0.5, period[1:4], 10.0) == 1, "open at the start"


def test_the_interval_is_the_exact_poisson_one() -> None:
    none = promise.counted(0, 1.0)
    assert (none.ratio, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(3.689, abs=2e-3)
    ten = promise.counted(10, 10.0)
    assert (ten.ratio, ten.low, ten.high) == pytest.approx((1.0, 0.480, 1.839), abs=2e-3)


def test_a_life_is_what_the_engine_said() -> None:
    life = promise.live("iid", 1, 100, 50, number=0, judged_rows=3_000)
    assert life.level.size == life.period_rows.size == 3_000
    # The rarity of the engine rises with the level: the level was put together as the engine does.
    order = np.argsort(life.level[-200:])
    ranked = life.period_rows[-200:][order]
    assert np.all(ranked[1:] >= 0.8 * ranked[:-1])
    assert life.alerts > 0
    assert life.alerts <= promise.count_excursions(life.level, life.median, life.period_rows, 50.0)
    assert life.sensor_alerts == 0
    assert life.allowed == pytest.approx(3_000 / 50), "the cap does not bind at near budgets"
    far = promise.live("iid", 1, 100, 10**6, number=0, judged_rows=3_000)
    assert far.allowed == pytest.approx(
        sum(1 / max(1e4, 30 * (100 + row + 1)) for row in range(3_000)))
    np.testing.assert_array_equal(far.level, life.level)


def test_a_tiny_grid_adds_its_lives_up() -> None:
    lives = {20: (2, 1), 100: (1, 1)}
    figures = list(promise.grid(("counts",), (1,), (60,), lives, judged_rows=1_000))
    assert [figure.id for figure in figures] == ["P-counts-1-60-20", "P-counts-1-60-100"]
    lived = [promise.live("counts", 1, 60, budget, number, 1_000)
             for number, budget in enumerate((20, 20, 100))]
    near, far = figures
    assert near.alerts.achieved == lived[0].alerts + lived[1].alerts
    assert far.alerts.achieved == lived[2].alerts
    assert (near.alerts.promised, far.alerts.promised) == (100.0, 10.0)
    assert (near.calibration.promised, far.calibration.promised) == (150.0, 30.0), "every life"
    for figure in figures:
        assert figure.calibration.achieved == sum(
            promise.count_excursions(life.level, life.median, life.period_rows, figure.budget_rows)
            for life in lived)
        assert figure.calibration == figure.early, "all of these rows are early"
        assert figure.calibration.achieved > 0
    assert list(promise.grid(("counts",), (1,), (60,), lives, judged_rows=1_000)) == figures
    assert "| P-counts-1-60 |" in promise.markdown(figures)


@pytest.mark.parametrize("noise", promise.NOISES)
def test_noise_is_what_its_name_says(noise: str) -> None:
    x = promise.NOISES[noise](np.random.default_rng(1), 40_000, 2)
    assert x.shape == (40_000, 2)
    z = x[:, 0] - x[:, 0].mean()
    remembered = float((z[1:] * z[:-1]).sum() / (z**2).sum())
    if noise.startswith("ar"):
        assert remembered == pytest.approx(float(noise[2:]), abs=0.03)
        assert z.std() == pytest.approx(1.0, abs=0.25)
    elif noise == "seasonal":
        assert remembered > 0.6
    else:
        assert abs(remembered) < 0.03
    assert (np.mod(x, 1) == 0).all() == (noise in ("counts", "quantised"))
