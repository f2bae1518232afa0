"""The controls: causal, honest about what they did not see, calibrated as their tail assumes."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality import controls, tail
from benchmarks.quality.controls import Control, Scorer
from benchmarks.quality.recordings import NANOSECONDS, FloatArray, Recording, budget_seconds

_ROWS = 700
_WARM_UP = 300

_SCORERS: dict[str, Scorer] = {
    "random": controls.random_score,
    "ewma": controls.ewma_z_score,
    "cusum": controls.cusum,
    "mahalanobis": controls.smoothed_mahalanobis,
    "trees": controls.half_space_trees,
    "profile": controls.left_matrix_profile,
}


def _readings(rows: int = _ROWS) -> FloatArray:
    random = np.random.default_rng(5)
    wave = np.sin(np.arange(rows) / 7.0)
    return np.column_stack([wave + 0.1 * random.normal(size=rows) for _ in range(3)])


def _recording(x: FloatArray) -> Recording:
    time_ns = np.arange(x.shape[0], dtype=np.int64) * 60 * NANOSECONDS
    names = tuple(f"s{j}" for j in range(x.shape[1]))
    return Recording("r", names, time_ns, np.zeros(x.shape[0], np.int64), x)


def _skip_without_library(name: str) -> None:
    if name == "profile":
        pytest.importorskip("stumpy", reason="stumpy is not installed")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", [name for name in _SCORERS if name != "random"])
def test_scores_do_not_look_ahead(name: str) -> None:
    _skip_without_library(name)
    x = _readings()
    whole, _ = _SCORERS[name](x, _WARM_UP)
    prefix, _ = _SCORERS[name](x[:500], _WARM_UP)
    np.testing.assert_allclose(whole[:500], prefix, rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["ewma", "cusum", "mahalanobis", "profile"])
def test_a_change_scores_above_what_came_before(name: str) -> None:
    _skip_without_library(name)
    x = _readings()
    x[600:] = 3.0 + np.random.default_rng(1).normal(size=(100, 3))
    score, _ = _SCORERS[name](x, _WARM_UP)
    assert np.nanmax(score[600:]) > np.nanmax(score[_WARM_UP:600])


def test_random_score_is_the_same_every_time() -> None:
    first, _ = controls.random_score(_readings(), _WARM_UP)
    second, _ = controls.random_score(_readings(), _WARM_UP)
    assert np.array_equal(first, second)


def test_long_recordings_are_taken_in_steps_and_it_is_said() -> None:
    x = np.random.default_rng(2).normal(size=(30_000, 1))
    blocks, step = controls._stepped(x, 10_000)
    assert step == 3
    assert blocks.shape == (10_000, 1)
    assert blocks[1, 0] == pytest.approx(x[3:6, 0].mean())
    spread = controls._spread(np.arange(10_000.0), 3, 30_000)
    # A block is known at its last row, not before.
    assert np.isnan(spread[:2]).all()
    assert spread[2:6].tolist() == [0.0, 0.0, 0.0, 1.0]
    assert controls._step_note(step) == "block means of 3 rows"


def test_gaps_are_held_and_never_score_nan() -> None:
    x = _readings()
    x[50:60, 0] = np.nan
    x[:5, 1] = np.nan
    x[:, 2] = np.nan
    filled = controls._filled(x, _WARM_UP)
    assert not np.isnan(filled).any()
    assert np.all(filled[50:60, 0] == x[49, 0])
    assert filled[0, 1] == np.median(x[5:_WARM_UP, 1])
    assert np.all(filled[:, 2] == 0.0)


def test_frozen_tail_keeps_its_promise_on_the_noise_it_assumes() -> None:
    random = np.random.default_rng(7)
    alarms, rows, limit = 0, 0, 2_000.0
    for _ in range(20):
        score = random.exponential(size=40_000)
        period = tail.return_period_rows(score, 10_000)
        alarms += int((period[10_000:] >= limit).sum())
        rows += 30_000
    assert alarms / (rows / limit) == pytest.approx(1.0, abs=0.2)


def test_tail_has_no_opinion_without_warm_up_and_none_on_nan() -> None:
    assert np.isnan(tail.return_period_rows(np.ones(100), 10)).all()
    score = np.random.default_rng(1).exponential(size=200)
    score[150] = np.nan
    period = tail.return_period_rows(score, 100)
    assert np.isnan(period[150])
    assert np.isfinite(period[[149, 151]]).all()
    assert not tail.alert_rows(period, 1e9, 100)[150]


def test_alerts_close_after_thirty_quiet_rows_and_never_fire_in_warm_up() -> None:
    period = np.ones(200)
    period[[10, 100, 120]] = 1e6
    alert = tail.alert_rows(period, 1e3, 50)
    assert np.flatnonzero(alert).tolist() == list(range(100, 151))


def test_a_control_scores_a_recording_once_for_all_budgets() -> None:
    calls = []

    def scorer(x: FloatArray, warm_up_rows: int) -> tuple[FloatArray, str]:
        calls.append(warm_up_rows)
        return np.abs(x[:, 0]), "a note"

    control = Control(scorer)
    recording = _recording(np.random.default_rng(9).normal(size=(3_000, 1)))
    day, month = (control(recording, 1_000, budget) for budget in ("1/day", "1/month"))
    assert calls == [1_000]
    assert day.note == "a note"
    assert day.alert.sum() >= month.alert.sum()
    fires = day.return_period_s >= budget_seconds("1/day")
    assert np.all(day.alert[1_000:][fires[1_000:]] == 1)


def test_every_control_is_in_the_table() -> None:
    assert list(controls.controls()) == [
        "random",
        "always-alarm",
        "ewma-z",
        "cusum",
        "mahalanobis",
        "river-hst",
        "matrix-profile",
    ]
