"""The laws over every entry of ``DETECTORS``, the laws themselves on bad detectors, and evidence.

Run as a program it prints a digest of every detector's outputs and state; the parity law runs it
again with the JIT switched off, so that every helper is plain Python too, and compares.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anomaly.detectors import (
    DETECTORS,
    Detector,
    State,
    discord,
    grow,
    residual,
    run_fit,
    run_rebuild,
    run_step,
    shift,
    single,
    trees,
)
from anomaly.errors import ConfigError
from tests import laws
from tests.laws import Columns, LawBroken

NAMES = sorted(DETECTORS)
WARM_UP_ROWS = 90

#: Small enough that rings, windows and references turn over within a few hundred rows, also where
#: plain Python runs them; same types as the defaults, so that nothing is compiled twice.
CONFIGS: dict[str, Any] = {
    "residual": residual.Config(least_sensors=3, least_rows=0),
    "single": single.Config(least_rows=0),
    "shift": shift.Config(window_rows=11),
    "trees": trees.Config(trees=5, depth=5, window_rows=40),
    "discord": discord.Config(window=4, history=14, decimations=(1, 2, 3, 4, 5)),
}

EXACT = settings(
    derandomize=True, max_examples=25, deadline=None, database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@dataclass
class Subject:
    """A detector with state and a table: what the laws feed."""

    bound: Detector
    config: Any
    state: State
    table: np.ndarray


def subject(bound: Detector, table: np.ndarray, seed: int = 0, fitted: bool = True) -> Subject:
    """Fresh, with the reference of every asset frozen on wild rows of its own."""
    config = CONFIGS.get(bound.name) or bound.default
    state = bound.allocate(config, len(table), int(table.max()) + 1)
    made = Subject(bound, config, state, table)
    if bound.fit is not None and fitted:
        for asset, tags in enumerate(table):
            own = np.ascontiguousarray(tags[tags >= 0])
            rows = wild_rows(seed + 1, WARM_UP_ROWS, len(own), absurd=False)
            run_fit(bound, config, state, own, asset, rows, np.empty(len(rows)))
    return made


def feed(to: Subject, columns: Columns) -> Columns:
    """One call of ``step``."""
    m, d = columns["x"].shape
    score, evidence = np.full(m, -1.0), np.full((m, d), -1.0)
    run_step(to.bound, to.config, to.state, to.table, columns["asset"], columns["x"],
             columns["learn_below"], score, evidence)
    return {"asset": columns["asset"], "score": score, "evidence": evidence}


def feed_plain(to: Subject, columns: Columns) -> Columns:
    """The same through the Python that ``step`` was compiled from."""
    m, d = columns["x"].shape
    score, evidence = np.full(m, -1.0), np.full((m, d), -1.0)
    with np.errstate(all="ignore"):
        to.bound.step.py_func(
            *to.state.values(), *astuple(to.config), to.table, columns["asset"], columns["x"],
            columns["learn_below"], score, evidence,
        )
    return {"asset": columns["asset"], "score": score, "evidence": evidence}


def feed_score_only(to: Subject, columns: Columns) -> Columns:
    """The same, asking for scores only."""
    columns["learn_below"][:] = -np.inf
    return feed(to, columns)


def show(of: Subject) -> State:
    return of.state


def load(into: Subject, state: Any) -> None:
    into.state = state


def tables(assets: int, sensors: int) -> np.ndarray:
    """int64[assets, sensors + 2]: tags in no order, and columns beyond the sensors without one."""
    table = np.full((assets, sensors + 2), -1, np.int64)
    table[:, :sensors] = np.random.default_rng(assets).permutation(assets * sensors).reshape(
        assets, sensors
    )
    return table


def wild_rows(seed: int, rows: int, sensors: int, absurd: bool = True) -> np.ndarray:
    """Everything that is admitted: gaps, flat parts, counts, absurd values, sensors that come late.

    Column c is of kind c mod 6, from a kind that depends on the seed.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, sensors)) * 10.0 ** rng.integers(-3, 4, sensors)
    for c in range(sensors):
        kind = (c + seed) % 6
        if kind == 1:
            x[:, c] = np.sin(np.arange(rows) / 5) + 1e6
            x[rows // 2 :, c] = 1e6
        elif kind == 2:
            x[:, c] = rng.poisson(0.7, rows)
        elif kind == 3:
            x[: rows // 2, c] = np.nan
        elif kind == 4:
            x[rows // 3 :, c] = np.nan
        elif kind == 5:
            x[:, c] = rng.choice([0.0, 7.0, -7.0])
    x[rng.random(x.shape) < 0.05] = np.nan
    if absurd:
        extreme = rng.random(x.shape) < 0.01
        values = [1e308, -1e308, 1e100, -1e30, 1e-300, -5e-324, 0.0, -0.0]
        x[extreme] = rng.choice(values, int(extreme.sum()))
    return x


def stream(seed: int, rows: int, assets: int, sensors: int, guard: float = np.inf) -> Columns:
    """Rows of several assets, mixed; ``guard`` is ``learn_below`` of half of them."""
    rng = np.random.default_rng(seed + 99)
    return {
        "asset": rng.integers(0, assets, rows),
        "x": wild_rows(seed, rows, sensors),
        "learn_below": np.where(rng.random(rows) < 0.5, guard, np.inf),
    }


streams = st.builds(
    stream, seed=st.integers(0, 10**6), rows=st.integers(1, 500), assets=st.integers(1, 3),
    sensors=st.sampled_from([1, 2, 6]), guard=st.sampled_from([np.inf, 2.0, 0.5]),
)


def maker(name: str, columns: Columns) -> Callable[[], Subject]:
    table = tables(3, columns["x"].shape[1])
    return lambda: subject(DETECTORS[name], table)


# -- the laws over every detector ------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@EXACT
@given(columns=streams, data=st.data())
def test_split(name: str, columns: Columns, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, laws.length(columns)), max_size=5))
    laws.split(maker(name, columns), feed, show, columns, cuts)


@pytest.mark.parametrize("name", NAMES)
def test_split_into_single_rows(name: str) -> None:
    columns = stream(3, 300, 2, 3)
    laws.split(maker(name, columns), feed, show, columns, range(1, 300))


@pytest.mark.parametrize("name", NAMES)
@EXACT
@given(columns=streams)
def test_interleaving(name: str, columns: Columns) -> None:
    laws.interleaving(maker(name, columns), feed, columns)


@pytest.mark.parametrize("name", NAMES)
def test_numbering_does_not_matter(name: str) -> None:
    """The second half of law 2: another index for the asset and its tags, wider arrays."""
    columns = stream(4, 400, 1, 3)
    few = np.arange(3, dtype=np.int64)[None]
    many = np.full((4, 9), -1, np.int64)
    many[2, :3] = [5, 1, 11]
    other = subject(DETECTORS[name], many, fitted=False)
    if other.bound.fit is not None:
        rows = wild_rows(1, WARM_UP_ROWS, 3, absurd=False)
        run_fit(other.bound, other.config, other.state, many[2, :3].copy(), 2, rows,
                np.empty(len(rows)))
    expected = feed(subject(DETECTORS[name], few), columns)
    said = feed(other, columns | {"asset": np.full(400, 2)})
    for column in ("score", "evidence"):
        laws.same_columns({column: said[column]}, {column: expected[column]}, "numbering")


@pytest.mark.parametrize("name", NAMES)
@EXACT
@given(columns=streams, share=st.floats(0, 1))
def test_transparency(name: str, columns: Columns, share: float) -> None:
    at = int(share * laws.length(columns))
    laws.transparency(maker(name, columns), feed, show, load, columns, at)


@pytest.mark.parametrize("name", [n for n in NAMES if DETECTORS[n].rebuild is not None])
@pytest.mark.parametrize("rows", [0, 3, 40, 300, 1500, 4700])
def test_what_is_derived_is_made_again_to_the_bit(name: str, rows: int) -> None:
    columns = stream(17, rows, 1, 3)
    made = subject(DETECTORS[name], tables(1, 3))
    feed(made, columns)
    before = laws.copied(made.state)
    for derived in made.bound.derived:
        made.state[derived][:] = 0
    run_rebuild(made.bound, made.config, made.state, np.arange(3, dtype=np.int64))
    laws.same_state(made.state, before, "rebuilt")


@pytest.mark.parametrize("name", NAMES)
def test_growing_changes_nothing(name: str) -> None:
    columns = stream(5, 300, 3, 3)
    make = maker(name, columns)
    first, second = laws.take(columns, slice(0, 150)), laws.take(columns, slice(150, None))
    stayed, grown = make(), make()
    feed(stayed, first)
    feed(grown, first)
    grown.state = grow(grown.bound, grown.config, grown.state, 50, 500)
    laws.same_columns(feed(grown, second), feed(stayed, second), "growing")


@pytest.mark.parametrize("name", NAMES)
@EXACT
@given(columns=streams)
def test_purity(name: str, columns: Columns) -> None:
    def score(to: Subject, batch: Columns) -> Columns:
        only = dict(batch, learn_below=np.full(len(batch["asset"]), -np.inf))
        return feed(to, only)

    laws.purity(maker(name, columns), feed, score, show, columns)


@pytest.mark.parametrize("name", NAMES)
def test_score_only_says_what_learning_says(name: str) -> None:
    columns = stream(6, 400, 1, 3)
    make = maker(name, columns)
    one, other = make(), make()
    for k in range(400):
        row = laws.take(columns, slice(k, k + 1))
        only = feed(one, row | {"learn_below": np.full(1, -np.inf)})
        laws.same_columns(only, feed(other, row), f"row {k}")
        feed(one, row)


@pytest.mark.parametrize("name", NAMES)
def test_parity(name: str) -> None:
    for seed, sensors in ((7, 1), (8, 3), (9, 6)):
        columns = stream(seed, 150, 2, sensors, guard=2.0)
        laws.parity(maker(name, columns), feed, feed_plain, show, columns)


def test_parity_of_every_helper() -> None:
    """Law 5 without any compiled code: the digests of a process with the JIT switched off."""
    environment = dict(os.environ, NUMBA_DISABLE_JIT="1", PYTHONWARNINGS="ignore")
    plain = subprocess.run(
        [sys.executable, "-m", "tests.test_detectors"], env=environment, check=True,
        capture_output=True, text=True, cwd=Path(__file__).resolve().parent.parent,
    )
    assert plain.stdout == digests()


@pytest.mark.parametrize("name", NAMES)
@EXACT
@given(columns=streams)
def test_sanity(name: str, columns: Columns) -> None:
    made = maker(name, columns)()
    laws.sanity(feed(made, columns), made.state, ["score"], ["evidence"])


@pytest.mark.parametrize("name", [n for n in NAMES if DETECTORS[n].fit is not None])
@EXACT
@given(seed=st.integers(0, 10**6), rows=st.integers(0, 200), sensors=st.sampled_from([1, 2, 6]))
def test_sanity_of_fit(name: str, seed: int, rows: int, sensors: int) -> None:
    made = subject(DETECTORS[name], np.arange(sensors, dtype=np.int64)[None], fitted=False)
    warm_up, score = wild_rows(seed, rows, sensors), np.full(rows, -1.0)
    before = warm_up.copy()
    run_fit(made.bound, made.config, made.state, made.table[0], 0, warm_up, score)
    laws.sanity({"score": score}, made.state, ["score"], [])
    assert warm_up.tobytes() == before.tobytes()
    again = subject(DETECTORS[name], made.table, seed)  # a re-baseline leaves nothing of before
    run_fit(again.bound, again.config, again.state, again.table[0], 0, warm_up, score)
    laws.same_state(again.state, made.state, "fit after fit")


@pytest.mark.parametrize("name", NAMES)
def test_no_opinion_before_there_is_a_reference(name: str) -> None:
    columns = stream(2, 3, 1, 2)
    columns["x"] = np.arange(6.0).reshape(3, 2)
    made = subject(DETECTORS[name], tables(3, 2), fitted=False)
    assert np.isnan(feed(made, columns)["score"]).all()
    if made.bound.fit is not None:
        feed(made, stream(2, 400, 3, 2))
        assert np.isnan(feed(made, columns)["score"]).all()


@pytest.mark.parametrize("name", NAMES)
def test_rows_without_values_have_no_score(name: str) -> None:
    columns = stream(1, 300, 1, 3)
    columns["x"][200:] = np.nan
    said = feed(maker(name, columns)(), columns)
    assert np.isnan(said["score"][200:]).all()
    assert not said["evidence"][200:].any()


# -- what detectors are for ------------------------------------------------------------------------

GUILTY = 2


def faulty(name: str, rng: np.random.Generator, rows: int, onset: int) -> np.ndarray:
    """Five healthy sensors; from ``onset`` on, sensor ``GUILTY`` shows what the detector is for."""
    common = rng.normal(size=rows)
    x = rng.normal(size=(rows, 5))
    late = np.arange(rows) >= onset
    if name in ("subspace", "memory"):
        x = 0.3 * x + common[:, None]  # they move together, then one goes its own way
        x[late, GUILTY] = rng.normal(size=late.sum())
    elif name == "rates":
        x = rng.poisson(0.3, (rows, 5)).astype(float)
        x[late, GUILTY] = rng.poisson(1.2, late.sum())
    elif name in ("forecast", "discord"):
        phase = np.arange(rows) * 2 * np.pi / 23
        x = 0.1 * x + np.sin(phase[:, None] + np.arange(5))
        x[late, GUILTY] = np.sin(phase[late] * 2.3)
    elif name == "drift":
        x[late, GUILTY] += 0.03 * (np.arange(rows)[late] - onset)
    elif name == "trees":
        x[late, GUILTY] += 5.0
    else:
        x[late, GUILTY] += 2.0
    return x


@pytest.mark.parametrize("name", NAMES)
def test_finds_the_fault_and_blames_its_sensor(name: str) -> None:
    bound = DETECTORS[name]
    onset, rows = 1500, 1700
    x = faulty(name, np.random.default_rng(21), rows, onset)
    config = CONFIGS["residual"] if name == "residual" else bound.default  # five sensors
    state = bound.allocate(config, 1, 5)
    made = Subject(bound, config, state, np.arange(5, dtype=np.int64)[None])
    first = 0
    if bound.fit is not None:
        first = 400
        run_fit(bound, config, state, made.table[0], 0, x[:first], np.empty(first))
    n = rows - first
    said = feed(made, {"asset": np.zeros(n, np.int64), "x": x[first:],
                       "learn_below": np.full(n, np.inf)})
    healthy = said["score"][: onset - first]
    fault = said["score"][onset - first :]
    assert np.nanmax(fault) > np.nanmax(healthy[len(healthy) // 2 :])
    blame = said["evidence"][onset - first :][fault >= np.quantile(fault, 0.7)].mean(axis=0)
    assert blame.argmax() == GUILTY
    others = np.delete(blame, GUILTY)
    assert blame[GUILTY] > 1.5 * others.max()


@pytest.mark.parametrize("name", ["shift", "forecast", "subspace", "trees", "discord"])
def test_the_guard_keeps_a_fault_from_being_learned(name: str) -> None:
    """What a module learns stays as it is while the score is at or above the guard."""
    learned = {
        "shift": ["tag.mean", "tag.variance", "tag.learned"],
        "forecast": ["tag.mean", "tag.variance", "tag.typical", "tag_coefficient", "tag_inverse"],
        "subspace": ["asset.learned", "tag.mean", "tag.variance", "tag_component"],
        "trees": ["asset.latest_rows", "asset_leaf.latest"],
        "discord": ["tag_typical", "tag_positive"],
    }[name]
    columns = stream(12, 400, 1, 1)
    columns["x"] = np.random.default_rng(3).normal(size=(400, 1))
    made = maker(name, columns)()
    feed(made, columns)
    before = laws.copied(made.state)
    guarded = laws.take(columns, slice(0, 50))
    guarded["learn_below"][:] = 0.0
    said = feed(made, guarded)
    assert (said["score"] >= 0).all()
    now, then = laws.flat(made.state), laws.flat(before)
    for part in learned:
        assert now[part].tobytes() == then[part].tobytes(), part
    if name not in ("subspace", "trees"):  # these keep nothing but what they learn
        with pytest.raises(LawBroken):
            laws.same_state(made.state, before, "followed")


def test_warm_up_scores_are_out_of_sample() -> None:
    """A stretch that only its own fold has seen is odd to the others; in sample it is not."""
    x = np.random.default_rng(5).normal(size=(400, 3))
    x[300:] += 3.0
    bound = DETECTORS["level"]
    made = subject(bound, np.arange(3, dtype=np.int64)[None], fitted=False)
    score = np.empty(400)
    run_fit(bound, made.config, made.state, made.table[0], 0, x, score)
    made = subject(bound, made.table, fitted=False)
    run_fit(bound, made.config, made.state, made.table[0], 0, x, np.empty(400))
    in_sample = feed(made, {"asset": np.zeros(400, np.int64), "x": x,
                            "learn_below": np.full(400, np.inf)})["score"]
    assert np.median(score[300:]) > 1.5 * np.median(in_sample[300:])


@pytest.mark.parametrize("name", ["level", "drift", "cusum", "shift", "subspace", "trees"])
def test_a_constant_sensor_that_moves_is_odd(name: str) -> None:
    """A constant series once scored 0 for every later deviation in a shipped product."""
    x = np.full((600, 2), 70.0)
    x[:, 1] = np.random.default_rng(1).normal(size=600)
    x[500:, 0] = 75.0
    made = subject(DETECTORS[name], np.arange(2, dtype=np.int64)[None], fitted=False)
    first = 0
    if made.bound.fit is not None:
        first = 300
        run_fit(made.bound, made.config, made.state, made.table[0], 0, x[:first], np.empty(first))
    n = 600 - first
    said = feed(made, {"asset": np.zeros(n, np.int64), "x": x[first:],
                       "learn_below": np.full(n, np.inf)})
    moved = 500 - first
    assert np.nanmax(said["score"][moved:]) > 1.2 * np.nanmax(said["score"][150:moved])
    assert said["evidence"][moved : moved + 40, 0].max() > 5 * said["evidence"][moved - 1, 0]


@pytest.mark.parametrize("name", ["cusum", "rates"])
def test_sums_stop_at_their_limit_and_come_back(name: str) -> None:
    x = np.random.default_rng(2).poisson(1.0, (1500, 1)).astype(float)
    x[600:1000] = 40.0
    made = subject(DETECTORS[name], np.zeros((1, 1), np.int64), fitted=False)
    run_fit(made.bound, made.config, made.state, made.table[0], 0, x[:400], np.empty(400))
    said = feed(made, {"asset": np.zeros(1100, np.int64), "x": x[400:],
                       "learn_below": np.full(1100, np.inf)})["score"]
    assert said[600 - 400 + 50] == made.config.sum_limit
    assert said.max() == made.config.sum_limit
    assert said[-1] < 0.5 * made.config.sum_limit


def test_a_short_new_warm_up_leaves_no_old_reference() -> None:
    x = np.random.default_rng(6).normal(size=(500, 2))
    made = subject(DETECTORS["level_slow"], np.arange(2, dtype=np.int64)[None], fitted=False)
    columns = {"asset": np.zeros(20, np.int64), "x": x[:20], "learn_below": np.full(20, np.inf)}
    for rows, opinion in ((x, True), (x[:399], False), (x[:400], True)):
        run_fit(made.bound, made.config, made.state, made.table[0], 0, rows, np.empty(len(rows)))
        assert np.isfinite(feed(made, columns)["score"]).all() == opinion


def test_rates_have_no_opinion_on_measurements() -> None:
    rng = np.random.default_rng(4)
    columns = {
        "temperature": rng.normal(60, 1, 300),
        "whole degrees": np.round(rng.normal(21, 1, 300)),
        "large counter": np.arange(300.0),
        "set point": np.full(300, 5.0),
        "negative": -rng.poisson(1.0, 300).astype(float),
    }
    bound = DETECTORS["rates"]
    for what, values in columns.items():
        made = subject(bound, np.zeros((1, 1), np.int64), fitted=False)
        run_fit(bound, made.config, made.state, made.table[0], 0, values[:, None], np.empty(300))
        assert made.state["tag"]["known"][0] == 0, what


@pytest.mark.parametrize(
    "name, setting, value",
    [
        ("level", "weights", (0.5, 0.0)), ("level", "weights", ()), ("level", "folds", 1),
        ("memory", "rows", 1), ("memory", "least_sensors", 0),
        ("pyramid", "histories", (512, 2048)), ("pyramid", "histories", (512, 2048, 16)),
        ("pyramid", "keep", 1.0), ("pyramid", "decimations", (1, 4, 0)),
        ("pyramid", "steps", (4, 1)), ("pyramid", "steps", (4, 1, 0)),
        ("cusum", "batch_rows", 0), ("cusum", "slack", -0.5), ("cusum", "folds", 1),
        ("drift", "memory_rows", 0.0), ("drift", "clip_limit", float("nan")),
        ("shift", "window_rows", 0), ("shift", "softening", -1.0),
        ("forecast", "lags", 0), ("forecast", "forgetting", 1.5),
        ("subspace", "rank", 0), ("trees", "depth", 15), ("trees", "window_rows", 10**6),
        ("discord", "window", 0), ("discord", "history", 16), ("discord", "decimations", (1, 0)),
        ("discord", "decimations", ()), ("rates", "ratio", 1.0),
    ],
)
def test_impossible_settings_are_refused_by_name(name: str, setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{setting}"):
        DETECTORS[name].config(**{setting: value})


# -- the laws on subjects that break them ----------------------------------------------------------


class Counting:
    """A scale model of a detector: score = how many items the asset had before. Keeps the laws."""

    def __init__(self) -> None:
        self.count = np.zeros(5)

    def feed(self, columns: Columns) -> Columns:
        score = np.empty(len(columns["asset"]))
        for i, a in enumerate(columns["asset"]):
            score[i] = self.count[a]
            self.count[a] += 1
        return {"asset": columns["asset"], "score": score}

    def score(self, columns: Columns) -> Columns:
        return {"asset": columns["asset"], "score": self.count[columns["asset"]]}


class ForgetsAtBatches(Counting):
    def feed(self, columns: Columns) -> Columns:
        self.count[:] = 0
        return super().feed(columns)


class CountsEverybody(Counting):
    def feed(self, columns: Columns) -> Columns:
        before = self.count[0]
        super().feed(columns)
        self.count[0] = before + len(columns["asset"])
        score = before + np.arange(len(columns["asset"]))
        return {"asset": columns["asset"], "score": score}


class HidesItsState(Counting):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = 0

    def feed(self, columns: Columns) -> Columns:
        said = super().feed(columns)
        self.hidden += len(columns["asset"])
        return said | {"score": said["score"] + self.hidden}


class LearnsWhenAsked(Counting):
    def score(self, columns: Columns) -> Columns:
        return self.feed(columns)


class WritesItsInput(Counting):
    def feed(self, columns: Columns) -> Columns:
        said = super().feed(columns)
        columns["x"][0] = 0.0
        return said


class SpeaksNonsense(Counting):
    def __init__(self, what: float) -> None:
        super().__init__()
        self.what = what

    def feed(self, columns: Columns) -> Columns:
        said = super().feed(columns)
        said["score"][-1] = self.what
        return said


def model_columns() -> Columns:
    return {"asset": np.array([0, 1, 0, 2, 1, 0, 0]), "x": np.arange(1.0, 8.0)}


def model_feed(to: Counting, columns: Columns) -> Columns:
    return to.feed(columns)


def model_score(to: Counting, columns: Columns) -> Columns:
    return to.score(columns)


def model_show(of: Counting) -> dict[str, np.ndarray]:
    return {"count": of.count}


def model_load(into: Counting, state: Any) -> None:
    into.count = state["count"]


def rounding_feed(to: Counting, columns: Columns) -> Columns:
    said = to.feed(columns)
    return said | {"score": said["score"] * (1 + 2.0**-52)}


def all_laws(make: Callable[[], Counting]) -> None:
    columns = model_columns()
    laws.split(make, model_feed, model_show, columns, [3, 3, 5])
    laws.interleaving(make, model_feed, columns)
    laws.transparency(make, model_feed, model_show, model_load, columns, 4)
    laws.purity(make, model_feed, model_score, model_show, columns)
    laws.parity(make, model_feed, model_feed, model_show, columns)
    made = make()
    laws.sanity(made.feed(columns), model_show(made), ["score"], [])


def test_a_good_subject_keeps_all_laws() -> None:
    all_laws(Counting)


#: Which subject breaks which law, and how the message begins.
BREAKS: list[tuple[Callable[[], None], str]] = [
    (lambda: laws.split(ForgetsAtBatches, model_feed, model_show, model_columns(), [3]),
     r"split: output score\[4\]"),
    (lambda: laws.interleaving(CountsEverybody, model_feed, model_columns()),
     r"interleaving: asset 0 score\[1\]"),
    (lambda: laws.transparency(
        HidesItsState, model_feed, model_show, model_load, model_columns(), 4),
     r"transparency: output score\[0\]"),
    (lambda: laws.purity(LearnsWhenAsked, model_feed, model_score, model_show, model_columns()),
     r"purity: state count\[0\]"),
    (lambda: laws.purity(WritesItsInput, model_feed, model_score, model_show, model_columns()),
     r"purity: input x\[0\]"),
    (lambda: laws.parity(Counting, rounding_feed, model_feed, model_show, model_columns()),
     r"parity: output score\[2\]"),
    (lambda: model_sanity(np.inf, 0.0, "score"), r"sanity: score\[6\] is inf"),
    (lambda: model_sanity(-1e-300, 0.0, "score"), r"sanity: score\[6\] is -1e-300"),
    (lambda: model_sanity(0.0, np.nan, "score"), "sanity: state count holds nan"),
    (lambda: model_sanity(np.nan, 0.0, "asset"), r"sanity: score\[6\] is nan"),
]


def model_sanity(said: float, kept: float, opinion: str) -> None:
    """Law 6 on a subject that says and keeps these; ``opinion`` is the column that may be NaN."""
    made = SpeaksNonsense(said)
    columns = made.feed(model_columns())
    made.count[1] = kept
    rest = [name for name in ("score", "asset") if name != opinion]
    laws.sanity(columns, model_show(made), [opinion], rest)


@pytest.mark.parametrize("case", range(len(BREAKS)))
def test_a_law_catches_who_breaks_it(case: int) -> None:
    broken, message = BREAKS[case]
    with pytest.raises(LawBroken, match=message):
        broken()


def test_a_law_allows_what_it_should() -> None:
    model_sanity(np.nan, 0.0, "score")
    laws.parity(Counting, rounding_feed, model_feed, model_show, model_columns(), relative=1e-9)


# -- digests ---------------------------------------------------------------------------------------


def digests() -> str:
    """One line per detector: its name and a hash of everything it says and keeps."""
    lines = []
    for name in NAMES:
        digest = hashlib.sha256()
        for seed, sensors in ((31, 1), (32, 4)):
            columns = stream(seed, 160, 2, sensors, guard=1.5)
            made = maker(name, columns)()
            said = feed(made, columns)
            for array in (said["score"], said["evidence"], *laws.flat(made.state).values()):
                digest.update(array.tobytes())
        lines.append(f"{name} {digest.hexdigest()}\n")
    return "".join(lines)


if __name__ == "__main__":
    with np.errstate(all="ignore"):
        sys.stdout.write(digests())
