"""Every detector against its slow twin, and against a published implementation where one exists."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from anomaly.detectors import (
    DETECTORS,
    cusum,
    discord,
    forecast,
    level,
    pyramid,
    rates,
    residual,
    run_fit,
    run_step,
    shift,
    single,
    subspace,
    trees,
)
from tests.naive import discord as naive_discord
from tests.naive import trees as naive_trees

WARM_UP_ROWS = 120
#: Detectors that need more sensors than these to have an opinion.
SILENT = {("memory", 1), ("memory", 2), ("residual", 1), ("residual", 2)}
ROWS = 330

#: Smaller than the defaults, so that every mechanism turns over several times within the rows.
CONFIGS: dict[str, Any] = {
    "level_slow": level.Config(weights=(0.02,), least_rows=40),
    # Page's form has no limit on the sums; the limit has a test of its own.
    "cusum": cusum.Config(batch_rows=10, sum_limit=1e6),
    "rates": rates.Config(sum_limit=1e6),
    "single": single.Config(least_rows=0),
    "residual": residual.Config(weight=0.05, least_sensors=3, least_rows=40),
    "shift": shift.Config(window_rows=12, memory_rows=100.0),
    "forecast": forecast.Config(lags=3, forgetting=0.99, memory_rows=100.0),
    "subspace": subspace.Config(memory_rows=150.0),
    "trees": trees.Config(trees=5, depth=6, window_rows=50),
    "pyramid": pyramid.Config((1, 2, 3), (90, 60, 40), (2, 1, 3), old_blocks=40, memory_rows=80.0),
    "discord": discord.Config(window=5, history=21, decimations=(1, 2, 3, 4, 7), memory_rows=60.0),
}


def machine(seed: int, rows: int, sensors: int) -> np.ndarray:
    """Correlated, remembering sensors with gaps, outliers and a step near the end."""
    rng = np.random.default_rng(seed)
    common = np.convolve(rng.normal(size=rows + 9), np.full(10, 0.5), "valid")
    x = common[:, None] * rng.normal(size=sensors) + rng.normal(size=(rows, sensors))
    x[rng.random(x.shape) < 0.01] += 30.0
    x[int(0.85 * rows) :, 0] += 2.0
    x = x * 10.0 ** rng.integers(-2, 3, sensors) + rng.normal(size=sensors) * 100
    x[rng.random(x.shape) < 0.05] = np.nan
    x[rows // 2 : rows // 2 + 7] = np.nan
    return np.ascontiguousarray(x)


def counts(seed: int, rows: int, sensors: int) -> np.ndarray:
    """A flag, a Poisson count, bursts and a measurement, in turn; the rates double near the end."""
    rng = np.random.default_rng(seed)
    rate = np.where(np.arange(rows) < 0.9 * rows, 1.0, 2.0)
    kinds = [
        (rng.random(rows) < 0.1 * rate).astype(float),
        rng.poisson(1.5 * rate).astype(float),
        rng.poisson(rng.gamma(1.0, 2.0, rows)).astype(float),
        rng.normal(size=rows),
    ]
    x = np.stack([kinds[c % 4] for c in range(sensors)], axis=1)
    x[rng.random(x.shape) < 0.05] = np.nan
    return x


def run(name: str, config: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Warm-up scores (NaN without ``fit``), then scores and evidence of the rows after it."""
    bound = DETECTORS[name]
    sensors = x.shape[1]
    # Neither the asset nor the tags are the first, and the tags run backwards.
    state = bound.allocate(config, 3, 2 * sensors + 1)
    table = np.full((3, sensors + 2), -1, np.int64)
    table[1, :sensors] = np.arange(2 * sensors, sensors, -1)
    warm_up, rows = x[:WARM_UP_ROWS], x[WARM_UP_ROWS:]
    fitted = np.full(WARM_UP_ROWS, np.nan)

    def step(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = len(part)
        score, evidence = np.empty(n), np.empty(part.shape)
        run_step(bound, config, state, table, np.ones(n, np.int64), part, np.full(n, np.inf),
                 score, evidence)
        return score, evidence

    if bound.fit is None:
        step(warm_up)
    else:
        run_fit(bound, config, state, table[1, :sensors].copy(), 1, warm_up, fitted)
    return fitted, *step(rows)


def module_of(name: str) -> str:
    """The detector's module: one module may stand in the table under several names."""
    return str(DETECTORS[name].allocate.__module__).rpartition(".")[2]


@pytest.mark.parametrize("sensors", [1, 2, 5])
@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_agrees_with_its_naive_twin(name: str, sensors: int) -> None:
    naive = importlib.import_module(f"tests.naive.{module_of(name)}")
    config = CONFIGS.get(name) or DETECTORS[name].default
    make: Callable[..., np.ndarray] = counts if name == "rates" else machine
    x = make(7 * sensors, WARM_UP_ROWS + ROWS, sensors)
    fitted, score, evidence = run(name, config, x)
    expected_score, expected_evidence = naive.scores(x[:WARM_UP_ROWS], x[WARM_UP_ROWS:], config)
    if not np.isnan(score).all():
        assert np.nanmax(score) > 1.5 * np.nanmedian(score), "the stream should try the detector"
    else:
        assert (name, sensors) in SILENT, "no opinion where there should be one"
    # Running sums round otherwise than sums made anew; trees only count, and agree in every bit;
    # the pyramid's rings hold 32 bits, and it takes the logarithm of differences of them.
    tolerance = {"trees": 0.0, "pyramid": 2e-3}.get(name, 1e-7)
    np.testing.assert_allclose(score, expected_score, rtol=tolerance)
    np.testing.assert_allclose(evidence, expected_evidence, rtol=tolerance, atol=1e-9)
    if DETECTORS[name].fit is not None:
        np.testing.assert_allclose(fitted, naive.fit_scores(x[:WARM_UP_ROWS], config), rtol=1e-7)


def test_trees_of_the_usual_size_are_the_walk_of_nodes_in_every_bit() -> None:
    """25 trees of 10 halvings over 20 sensors: the size that their speed is told of."""
    config = trees.Config(window_rows=50)
    assert (config.trees, config.depth) == (25, 10)
    x = machine(11, 200, 20)
    x[::17, 4] = np.nan
    _, score, evidence = run("trees", config, x)
    expected_score, expected_evidence = naive_trees.scores(
        x[:WARM_UP_ROWS], x[WARM_UP_ROWS:], config)
    assert np.unique(score).size > 50
    np.testing.assert_array_equal(score, expected_score)
    np.testing.assert_allclose(evidence, expected_evidence, rtol=1e-12)


# -- published implementations and figures ---------------------------------------------------------


def test_trees_agree_with_river() -> None:
    from river.anomaly import HalfSpaceTrees
    from river.tree.padded import PaddedBranch, PaddedLeaf

    config = trees.Config(trees=5, depth=6, window_rows=WARM_UP_ROWS)
    x = np.random.default_rng(5).normal(size=(WARM_UP_ROWS + 300, 3))
    x[-30:] += 3.0

    def transplanted(node: naive_trees.Node) -> PaddedBranch | PaddedLeaf:
        if node.left is None or node.right is None:
            return PaddedLeaf(l_mass=0, r_mass=0)
        children = transplanted(node.left), transplanted(node.right)
        return PaddedBranch(*children, node.sensor, node.threshold, l_mass=0, r_mass=0)

    theirs = HalfSpaceTrees(n_trees=5, height=6, window_size=WARM_UP_ROWS)
    forest = naive_trees.Forest(config, x[:WARM_UP_ROWS])
    theirs.trees = [transplanted(tree) for tree in forest.trees]
    theirs._tree_nodes = [list(tree.iter_dfs()) for tree in theirs.trees]

    def features(row: np.ndarray) -> dict[int, float]:
        return dict(enumerate(forest.scaled(row).tolist()))

    for row in x[:WARM_UP_ROWS]:
        theirs.learn_one(features(row))
    expected = []
    for row in x[WARM_UP_ROWS:]:
        expected.append(theirs.score_one(features(row)))
        theirs.learn_one(features(row))
    _, score, _ = run("trees", config, x)
    np.testing.assert_allclose(1 - 0.5**score, expected, rtol=1e-12)


def test_discord_agrees_with_stumpy() -> None:
    stumpy = pytest.importorskip("stumpy")
    window = 12
    rng = np.random.default_rng(3)
    blocks = np.sin(np.arange(160) / 4) + 0.2 * rng.normal(size=160)
    ours = naive_discord.distances(blocks, window, len(blocks), softening=0.0)[:, 0]
    for i in range(2 * window - 1, len(blocks)):
        now, before = blocks[i - window + 1 : i + 1], blocks[: i - window + 1]
        theirs = stumpy.mass(now, before).min()  # Euclidean, of z-normalised windows
        np.testing.assert_allclose(ours[i] * np.sqrt(window), theirs, rtol=1e-9)


def test_subspace_finds_the_components_of_a_batch_analysis() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    rng = np.random.default_rng(8)
    sensors = 8
    mixing = rng.normal(size=(2, sensors)) * np.array([[3.0], [1.5]])
    x = rng.normal(size=(6000, 2)) @ mixing + 0.3 * rng.normal(size=(6000, sensors))
    config = subspace.Config(rank=2)
    state = subspace.allocate(config, 1, sensors)
    table = np.arange(sensors, dtype=np.int64)[None]
    score, evidence = np.empty(len(x)), np.empty(x.shape)
    run_step(DETECTORS["subspace"], config, state, table, np.zeros(len(x), np.int64), x,
             np.full(len(x), np.inf), score, evidence)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    batch = decomposition.PCA(2).fit(z)
    ours = state["tag_component"].T / state["asset_length"].T
    cosine = np.abs(np.sum(ours * batch.components_, axis=1))
    np.testing.assert_allclose(cosine, 1.0, atol=0.01)
    np.testing.assert_allclose(state["asset_length"][0], batch.explained_variance_, rtol=0.1)
    coordinates = batch.transform(z)
    t2 = np.sum(coordinates**2 / batch.explained_variance_, axis=1) / 2
    q = np.mean((z - batch.inverse_transform(coordinates)) ** 2, axis=1)
    settled = slice(3000, None)
    expected = np.sqrt((t2 + q / q[settled].mean()) / 2)[settled]
    assert np.corrcoef(score[settled], expected)[0, 1] > 0.99
    assert abs(np.median(score[settled] / expected) - 1) < 0.05


def run_lengths(name: str, config: Any, limit: float, runs: int, rows: int) -> np.ndarray:
    """Rows until the score first exceeds ``limit``, of fresh runs on independent normal values."""
    bound = DETECTORS[name]
    state = bound.allocate(config, runs, runs)
    state["tag"]["known"], state["tag"]["scale"] = 1, 1.0
    table = np.arange(runs, dtype=np.int64)[:, None]
    asset = np.tile(np.arange(runs, dtype=np.int64), rows)
    x = np.random.default_rng(11).normal(size=(runs * rows, 1))
    score, evidence = np.empty(len(x)), np.empty(x.shape)
    run_step(bound, config, state, table, asset, x, np.full(len(x), np.inf), score, evidence)
    above = score.reshape(rows, runs) > limit
    assert above.any(axis=0).mean() > 0.99, "too few rows for the run lengths"
    return np.argmax(above, axis=0) + 1.0


def test_cusum_has_the_published_run_length() -> None:
    # Montgomery, "Introduction to Statistical Quality Control", tabular CUSUM with k = 0.5 and
    # h = 5: average run length 465 when in control.
    length = run_lengths("cusum", cusum.Config(clip_limit=50.0), 5.0, runs=2000, rows=2600)
    assert abs(length.mean() - 465) < 35  # the mean of 2,000 about exponential lengths: ±10


def test_level_has_the_published_run_length() -> None:
    # Lucas and Saccucci, Technometrics 32 (1990), table 3: weight 0.25, limit 2.998, length 500;
    # theirs starts at the steady variance, the exact variance of the first rows alarms a little
    # sooner.
    config = level.Config(clip_limit=50.0, weights=(0.25, 0.25, 0.25))
    length = run_lengths("level", config, 2.998, runs=2000, rows=3000)
    assert abs(length.mean() - 495) < 40
