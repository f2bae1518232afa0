"""Time left: right on plain trends, silent without one, and its ranges hold on real failures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from anomaly import timeleft
from tests.naive import timeleft as naive


def test_a_straight_line_is_continued() -> None:
    generator = np.random.default_rng(1)
    points = 0.1 * np.arange(200) + generator.normal(0.0, 0.5, 200)
    found = timeleft.forecast(points, 60.0, 25.0, upward=True)
    assert found is not None
    assert found.p10 < 50 * 60 < found.p90
    assert found.p50 == pytest.approx(50 * 60, rel=0.25)
    assert found.backtests > 0
    assert found.lasts(60.0) == "yes"
    assert found.lasts(1e6) == "no"
    assert found.lasts(3000.0) == "uncertain"


def test_down_is_up_mirrored_and_units_do_not_matter() -> None:
    points = 0.1 * np.arange(100) + np.sin(np.arange(100))
    up = timeleft.forecast(points, 1.0, 15.0, upward=True)
    assert up is not None
    assert timeleft.forecast(-points, 1.0, -15.0, upward=False) == up
    other = timeleft.forecast(1000.0 * points, 1.0, 15_000.0, upward=True)
    assert other is not None
    assert (other.p10, other.p50, other.p90) == pytest.approx((up.p10, up.p50, up.p90))


def test_nothing_is_said_where_nobody_can_know() -> None:
    generator = np.random.default_rng(2)
    noise = generator.normal(0.0, 1.0, 300)
    assert timeleft.forecast(noise, 1.0, 10.0, upward=True) is None
    rising = 0.01 * np.arange(300)
    assert timeleft.forecast(rising, 1.0, 1000.0, upward=True) is None  # beyond what history tells
    assert timeleft.forecast(rising, 1.0, -1.0, upward=False) is None
    assert timeleft.forecast(rising[:10], 1.0, 0.2, upward=True) is None
    assert timeleft.forecast(rising, 1.0, np.inf, upward=True) is None
    at = timeleft.forecast(rising, 1.0, 2.0, upward=True)
    assert at is not None
    assert (at.p10, at.p50, at.p90) == (0.0, 0.0, 0.0)
    assert timeleft.forecast(np.ones(50), 1.0, 2.0, upward=True) is None


def test_stalls_in_the_past_widen_the_range() -> None:
    # Both rise by one a step now; one of them has stood still twice on the way.
    stairs = np.concatenate([np.arange(60.0), np.full(80, 60.0), np.arange(60.0, 110.0),
                             np.full(80, 110.0), np.arange(110.0, 150.0)])
    steady = np.arange(float(stairs.size))
    smooth = timeleft.forecast(steady, 1.0, steady[-1] + 30.0, upward=True)
    uneven = timeleft.forecast(stairs, 1.0, stairs[-1] + 30.0, upward=True)
    assert smooth is not None
    assert uneven is not None
    assert uneven.p90 > 1.15 * smooth.p90


def test_history_holds_any_length_in_the_same_room_and_any_split_gives_the_same() -> None:
    value = np.sin(np.arange(5000) / 300.0)
    value[::7] = np.nan
    tag = np.zeros(value.size, np.int64)
    whole, pieces = timeleft.allocate(2), timeleft.allocate(2)
    timeleft.follow(*whole.values(), tag, value)
    for start in range(0, value.size, 613):
        timeleft.follow(*pieces.values(), tag[start : start + 613], value[start : start + 613])
    for name in whole:
        assert np.array_equal(whole[name], pieces[name])
    points, length = timeleft.history(whole, 0)
    kept = value[~np.isnan(value)]
    full = kept[: points.size * length].reshape(points.size, length).mean(axis=1)
    assert points == pytest.approx(full)
    assert timeleft.POINTS // 2 <= points.size < timeleft.POINTS
    assert timeleft.history(whole, 1)[0].size == 0


@pytest.mark.parametrize("seed", range(4))
def test_the_line_is_the_naive_twins(seed: int) -> None:
    """Compiled = the same function uncompiled = numpy, over lengths, noises and levels."""
    generator = np.random.default_rng(seed)
    trends = 0
    for n in [16, 17, 39, 40, 41, 63, 64, 80, 96, 100, 127, 128, 300]:
        for noise in (0.0, 0.3, 5.0):
            points = 0.2 * np.arange(n) * generator.choice([-1, 1, 1]) + generator.normal(
                0.0, noise, n) + np.where(np.arange(n) > 0.7 * n, generator.choice([0, 4]), 0)
            level = float(points[-1] + generator.uniform(-1.0, 8.0))
            wanted = naive.line(points, level)
            for found in (timeleft.line(points, level), timeleft.line.py_func(points, level)):
                if wanted is None:
                    assert np.isnan(found).all()
                else:
                    assert found == pytest.approx(wanted, rel=1e-12)
            trends += wanted is not None
    assert trends >= 8


def recordings() -> Path:
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("ANDON_DATA", default))


@pytest.mark.skipif(not (recordings() / "cmapss").is_dir(), reason="the recordings are not here")
def test_eight_of_ten_truths_lie_within_the_range_on_turbofans() -> None:
    from benchmarks.timeleft import coverage

    found = coverage(recordings(), "cmapss", 12)
    assert found.forecasts > 40
    assert 0.7 <= found.covered / found.forecasts <= 0.92
