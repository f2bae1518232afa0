"""The river door: river's own estimator checks, the same numbers as the kernels, and controls."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from river import anomaly, checks, compose, preprocessing

from anomaly.detectors import DETECTORS, discord, run_fit, run_step, trees
from anomaly.errors import ConfigError
from anomaly.river_api import RiverControl, StreamDetector

NAMES = sorted(DETECTORS)
WARM_UP_ROWS = 100
#: Detectors that want more warm-up rows than these.
PATIENT = {"level_slow", "residual", "single"}

Row = dict[str, float]


class Machine:
    """What river's checks get instead of a download of credit card frauds: 330 rows, ten sensors.

    Seven move together, three count; in the last stretch two of them leave and counts double.
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(17)
        rows, late = 330, np.arange(330) >= 280
        common = np.convolve(rng.normal(size=rows + 4), np.ones(5), "valid")
        x = common[:, None] + rng.normal(size=(rows, 10))
        x[late, 1] += 8 * np.sin(np.arange(late.sum()))
        x[late, 4] += 6.0
        for column in (7, 8, 9):
            x[:, column] = rng.poisson(np.where(late, 3.0, 1.0))
        self.rows = [
            ({f"sensor {c}": v for c, v in enumerate(row)}, bool(odd))
            for row, odd in zip(x.tolist(), late.tolist(), strict=True)
        ]

    def __iter__(self) -> Iterator[tuple[Row, bool]]:
        return iter(self.rows)


def estimators() -> list[tuple[str, StreamDetector]]:
    return [(p["detector"], StreamDetector(**p)) for p in StreamDetector._unit_test_params()]


def test_the_checks_cover_every_detector() -> None:
    assert [name for name, _ in estimators()] == list(DETECTORS)


@pytest.mark.parametrize("name", NAMES)
def test_river_checks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def datasets(model: Any, scale: int = 1) -> Iterator[Machine]:
        yield Machine()

    monkeypatch.setattr(checks, "_yield_datasets", datasets)
    model = dict(estimators())[name]
    done = set()
    for check in checks.yield_checks(model):
        check(model.clone())
        done.add(check.__name__)
    assert {"check_roc_auc", "check_shuffle_features_no_impact", "check_pickling",
            "check_bounded_memory_growth", "check_emerging_features"} <= done


@pytest.mark.parametrize("name", NAMES)
def test_the_same_numbers_as_the_kernels(name: str) -> None:
    bound = DETECTORS[name]
    model = StreamDetector(name, WARM_UP_ROWS)
    x = np.array([list(row.values()) for row, _ in Machine()])
    x[np.random.default_rng(1).random(x.shape) < 0.05] = np.nan
    n, width = x.shape
    state = bound.allocate(bound.default, 1, width)
    table, score = np.arange(width, dtype=np.int64)[None], np.full(n, np.nan)
    first = 0
    if bound.fit is not None:
        first = WARM_UP_ROWS
        run_fit(bound, bound.default, state, table[0], 0, x[:first], np.empty(first))
    run_step(bound, bound.default, state, table, np.zeros(n - first, np.int64), x[first:],
             np.full(n - first, np.inf), score[first:], np.empty((n - first, width)))
    for k, row in enumerate(x.tolist()):
        # Absent, None and NaN are the same thing.
        features: dict[str, Any] = {f"sensor {c}": v for c, v in enumerate(row)}
        if k % 3 == 0:
            features = {c: v for c, v in features.items() if v == v}
        if k % 3 == 1:
            features = {c: v if v == v else None for c, v in features.items()}
        assert model.score_one(features) == (0.0 if np.isnan(score[k]) else score[k]), k
        if k == 0:  # so that columns are numbered alike, also where the first row has gaps
            features = {f"sensor {c}": features.get(f"sensor {c}") for c in range(width)}
        model.learn_one(features)
    assert np.nansum(score) > 0 or name in PATIENT, "which wants 400 rows of warm-up"


@pytest.mark.parametrize("name", NAMES)
def test_score_one_leaves_no_trace(name: str) -> None:
    model = StreamDetector(name, WARM_UP_ROWS)
    for row, _ in list(Machine())[:120]:
        model.learn_one(row)
    before = pickle.dumps(model)
    for row, _ in list(Machine())[120:130]:
        model.score_one(row | {"never seen": 5.0})
    assert pickle.dumps(model) == before


def test_no_opinion_is_zero() -> None:
    model = StreamDetector("level", warm_up_rows=16)
    row = {"a": 1.0}
    assert model.score_one(row) == 0.0
    for _ in range(16):
        assert model.score_one(row) == 0.0
        model.learn_one(row)
    assert model.score_one({"a": 9.0}) > 0.0
    assert model.score_one({}) == 0.0
    assert model.score_one({"a": float("nan")}) == 0.0
    assert model.score_one({"a": float("inf")}) == 0.0


def test_works_in_a_pipeline_with_its_own_config() -> None:
    model = compose.Pipeline(
        preprocessing.StandardScaler(),
        StreamDetector("trees", 50, trees.Config(trees=5, depth=5)),
    )
    for row, _ in Machine():
        assert model.score_one(row) >= 0.0
        model.learn_one(row)
    copy = model.clone()
    assert copy["StreamDetector"].config == trees.Config(trees=5, depth=5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"detector": "levle"}, "unknown 'levle'"),
        ({"warm_up_rows": 3}, "at least 16"),
        ({"detector": "level", "config": discord.Config()}, "Config of level"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StreamDetector(**arguments)


def test_a_river_estimator_as_a_control() -> None:
    x = np.array([list(row.values()) for row, _ in Machine()])
    odd = np.array([label for _, label in Machine()])
    x[150] = np.nan
    x[5, 3] = np.nan
    before = x.copy()
    control = RiverControl(compose.Pipeline(
        preprocessing.MinMaxScaler(), anomaly.HalfSpaceTrees(n_trees=10, window_size=50, seed=1)
    ))
    score = control.score(x)
    assert np.isnan(score[150])
    assert np.isfinite(np.delete(score, 150)).all()
    assert score[odd].mean() > score[~odd & np.isfinite(score)].mean()
    np.testing.assert_array_equal(control.score(x, [f"s{c:02d}" for c in range(10)]), score)
    np.testing.assert_array_equal(x, before)
    frozen = RiverControl(anomaly.HalfSpaceTrees(window_size=50, seed=1), learn_rows=40).score(x)
    assert not np.nansum(frozen), "a window that is never full has no opinion in river"
    with pytest.raises(ValueError, match="2 names for 10 columns"):
        control.score(x, ["a", "b"])


def test_ours_as_a_control_of_ours() -> None:
    """Both doors at once: a detector through river through the control is the detector."""
    x = np.array([list(row.values()) for row, _ in Machine()])
    score = RiverControl(StreamDetector("level", WARM_UP_ROWS)).score(x)
    assert not score[:WARM_UP_ROWS].any()
    assert score[-40:].mean() > 1.5 * score[WARM_UP_ROWS:280].mean()
