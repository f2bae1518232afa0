"""The simulation of the promise counts what it says, on a grid small enough to recount."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from anomaly import windows
from anomaly.batches import reading_batch
from anomaly.config import DEFAULT_DETECTORS, WEEK_SECONDS, MonitorConfig
from anomaly.monitor import Monitor
from anomaly.registry import Registry
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
    life = promise.live("iid", 1, 100, (50, 10**6), number=0, judged_rows=3_000)
    assert life.level.size == life.period_rows.size == 3_000
    # The rarity of the engine rises with the level: the level was put together as the engine does.
    order = np.argsort(life.level[-200:])
    ranked = life.period_rows[-200:][order]
    assert np.all(ranked[1:] >= 0.8 * ranked[:-1])
    assert life.alerts[50] > 0
    assert life.alerts[50] <= promise.count_excursions(
        life.level, life.median, life.period_rows, 50.0)
    assert life.sensor_alerts == 0
    assert life.allowed[50] == pytest.approx(3_000 / 50), "the cap does not bind at near budgets"
    assert life.allowed[10**6] == pytest.approx(
        sum(1 / max(1e4, 30 * (100 + row + 1)) for row in range(3_000)))


@pytest.mark.parametrize("sensors", [1, 8])
def test_the_rule_walked_for_another_budget_is_the_engine_with_that_budget(sensors: int) -> None:
    x = promise.NOISES["t3"](np.random.default_rng(3), 3_000, sensors)
    outcome, far, asked = promise.judged(x, 200, 500, DEFAULT_DETECTORS)
    near_outcome, _, _ = promise.judged(x, 200, 20, DEFAULT_DETECTORS)
    for raised, budget in ((outcome, 500), (near_outcome, 20)):
        firing = sum(alert.state == "firing" for alert in raised.alerts)
        assert firing > 0
        assert promise.walk(far, asked, budget) == firing


def test_a_tiny_grid_adds_its_lives_up() -> None:
    budgets, lives = (20, 100), {1: 2, 3: 1}
    figures = list(promise.grid(("counts",), (60,), budgets, lives, judged_rows=1_000))
    assert [figure.id for figure in figures] == [
        "P-counts-1-60-20", "P-counts-1-60-100", "P-counts-3-60-20", "P-counts-3-60-100"]
    lived = [promise.live("counts", 1, 60, budgets, number, 1_000) for number in (0, 1)]
    for figure in figures[:2]:
        assert figure.alerts.achieved == sum(life.alerts[figure.budget_rows] for life in lived)
        assert figure.alerts.promised == 2_000 / figure.budget_rows
        assert figure.calibration.achieved == sum(
            promise.count_excursions(life.level, life.median, life.period_rows, figure.budget_rows)
            for life in lived)
        assert figure.calibration == figure.early, "all of these rows are early"
        assert figure.calibration.achieved > 0
    together = promise.pooled(figures)
    assert [figure.id for figure in together] == ["P-counts-all-60-20", "P-counts-all-60-100"]
    for one, three, both in zip(figures[:2], figures[2:], together, strict=True):
        assert both.alerts.achieved == one.alerts.achieved + three.alerts.achieved
        assert both.alerts.promised == one.alerts.promised + three.alerts.promised
        assert both.allowed == pytest.approx(one.allowed + three.allowed)
    assert list(promise.grid(("counts",), (60,), budgets, lives, judged_rows=1_000)) == figures
    assert "| P-counts-1-60 |" in promise.markdown(figures)
    assert "| P-counts-all-60 |" in promise.markdown(figures)


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


@pytest.mark.parametrize("hertz", [10, 40])
def test_a_fast_signal_keeps_its_promise_on_rows_of_a_minute(hertz: int) -> None:
    """Noise that remembers a minute: what neighbouring readings share is no news."""
    minutes, warm_up, budget_rows = 3_500, 500, 200
    rng = np.random.default_rng(hertz)
    registry = Registry()
    monitor = Monitor(MonitorConfig(
        budget_per_week=WEEK_SECONDS / 60 / budget_rows, warm_up_rows=warm_up,
        windows=windows.Config(row_seconds=60.0)), registry)
    registry.columns(registry.asset("drive"), ["current"])
    step_ns, firing, rows, end = 10**9 // hertz, 0, 0, 0.0
    for first in range(0, minutes * 60 * hertz, 60 * 60 * hertz):
        size = min(60 * 60 * hertz, minutes * 60 * hertz - first)
        keep = 1.0 - 1.0 / (60 * hertz)
        x, _ = lfilter([1.0], [1.0, -keep], rng.normal(size=size), zi=[keep * end])
        end = float(x[-1])
        outcome = monitor.process(reading_batch(
            np.zeros(size, np.int64), np.zeros(size, np.int64),
            (first + np.arange(size)) * step_ns, x, np.ones(size, np.bool_)))
        rows += len(outcome.rows)
        firing += sum(alert.state == "firing" for alert in outcome.alerts)
    assert rows == minutes - 1, "the last minute is still open"
    promised = (rows - warm_up) / budget_rows
    assert 0.3 < firing / promised < 1.5
