"""What a norm excuses (``anomaly.detectors.norms``); where raw distances count (``pyramid``)."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly.detectors import DETECTORS, norms, run_step

BLOCKS = 4000


def taught(slope: float) -> tuple[np.ndarray, np.ndarray]:
    """A norm of squares that go with σ² to the power ``slope``, and where it says what it found."""
    norm, found = np.zeros(1, norms.EXCUSED), np.zeros((1, 1, norms.FOUND))
    rng = np.random.default_rng(3)
    for spread, noise in zip(rng.normal(0.0, 1.0, BLOCKS), rng.normal(0.0, 0.2, BLOCKS),
                             strict=True):
        judged(norm, found, slope * spread + noise, spread)
        weight = norms.learn(norm[0], found, 0, 0, 1e-4)
        norms.learn_excuse(norm[0], found, 0, 0, weight)
    return norm, found


def judged(norm: np.ndarray, found: np.ndarray, log_square: float, spread: float,
           reach: float = 1e9) -> float:
    """Surprise of a square in a window whose log σ² is ``spread``."""
    excuse = norms.excused(norm[0], spread, reach, found, 0, 0)
    said: float = norms.judge(norm[0], float(np.exp(log_square)), excuse, 1, found, 0, 0)
    return said


def test_what_goes_with_a_restless_window_is_no_surprise() -> None:
    norm, found = taught(1.0)
    assert judged(norm, found, 1.9, 1.9) < 2.0
    assert judged(norm, found, 1.9, 0.0) > 9.0


def test_nothing_is_excused_where_the_distance_does_not_go_with_the_window() -> None:
    norm, found = taught(0.0)
    assert judged(norm, found, 1.9, 1.9) == pytest.approx(judged(norm, found, 1.9, 0.0), rel=0.1)


def test_a_window_as_never_before_excuses_no_more_than_one_within_reach() -> None:
    norm, found = taught(1.0)
    usual = float(norm["spread"][0] + np.sqrt(norm["spread_variance"][0]))
    far = judged(norm, found, 6.0, 6.0, reach=1.0)
    assert far == pytest.approx(judged(norm, found, 6.0, usual, reach=1.0))
    assert far > 20.0
    assert judged(norm, found, 6.0, 6.0) < 2.0


def shifted(values: np.ndarray, by: float) -> float:
    """The pyramid's largest score in the 30 rows after a shift of the level."""
    bound = DETECTORS["pyramid"]
    x = values[:, None].copy()
    x[-30:] += by
    state = bound.allocate(bound.default, 1, 1)
    score, evidence = np.empty(len(x)), np.empty(x.shape)
    run_step(bound, bound.default, state, np.zeros((1, 1), np.int64),
             np.zeros(len(x), np.int64), x, np.full(len(x), np.inf), score, evidence)
    return float(score[-30:].max())


def test_a_shift_counts_more_where_nothing_repeats() -> None:
    """A level beside a season's shape is usual there; of noise the level is all there is."""
    rng = np.random.default_rng(5)
    noise = rng.normal(0.0, 1.0, 6000)
    season = 5.0 * np.sin(np.arange(6000) * 2 * np.pi / 40) + 0.3 * noise
    assert shifted(noise, 4.0) > 2.0 > 1.2 * shifted(noise, 0.0)
    weights = []
    for values in (noise, season):
        bound = DETECTORS["pyramid"]
        state = bound.allocate(bound.default, 1, 1)
        run_step(bound, bound.default, state, np.zeros((1, 1), np.int64),
                 np.zeros(6000, np.int64), values[:, None], np.full(6000, np.inf),
                 np.empty(6000), np.empty((6000, 1)))
        weights.append(state["tag_level"]["opinions"][0, 0])
    # Four distances that always count one, two raw ones.
    assert weights[0] > 4.9 > 4.3 > weights[1] > 4.0
