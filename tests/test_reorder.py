"""The reorder buffer: as the naive twin says, whatever the cut, and never beyond its bound."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from anomaly import reorder
from anomaly.batches import ReadingBatch, reading_batch
from anomaly.errors import ConfigError
from tests.naive.reorder import Reorder

SECOND = 10**9
CONFIG = reorder.Config(lateness_seconds=5.0, readings_limit=8)
Columns = tuple[ReadingBatch, np.ndarray, np.ndarray]


def stream(seed: int, n: int, assets: int = 3) -> Columns:
    """Readings mostly in order; some behind, some far behind, some missing, some of a new clock."""
    random = np.random.default_rng(seed)
    asset = random.integers(0, assets, n)
    time = np.zeros(n, np.int64)
    base = np.zeros(n, np.int8)
    clock = np.zeros(assets, np.int64)
    for i in range(n):
        a = asset[i]
        clock[a] += random.integers(0, 3) * SECOND
        behind = random.choice([0, 0, 0, 1, 3, 5, 6, 20]) * SECOND
        time[i] = clock[a] - behind
        kind = random.random()
        if kind < 0.03:
            base[i] = reorder.DOUBTED
        elif kind < 0.05:
            clock[a] -= 100 * SECOND
            time[i] = clock[a]
            base[i] = reorder.RESTARTED
    value = np.where(random.random(n) < 0.1, np.nan, random.normal(size=n))
    batch = reading_batch(asset, random.integers(0, 4, n), time, value, random.random(n) < 0.3)
    return batch, value, base


def part(batch: ReadingBatch, start: int, end: int) -> ReadingBatch:
    return ReadingBatch(batch.asset[start:end], batch.sensor[start:end],
                        batch.time_ns[start:end], batch.value[start:end],
                        batch.closes[start:end])


def through(columns: Columns, cuts: list[int]) -> tuple[list[tuple[object, ...]], np.ndarray, str]:
    """The stream in pieces: what went on (freed_by as a global index), reasons, state."""
    batch, value, base = columns
    state = reorder.allocate(CONFIG, 3, 12)
    reason = np.zeros(len(batch), np.int8)
    out: list[tuple[object, ...]] = []
    edges = [0, *cuts, len(batch)]
    for start, end in itertools.pairwise(edges):
        said = reorder.run(CONFIG, state, part(batch, start, end), value[start:end],
                           base[start:end], reason[start:end])
        out += rows(said, start)
    left = reorder.flush(state)
    out += rows(left, 0)
    return out, reason, str({name: array.tolist() for name, array in state.items()})


def rows(said: reorder.Released, start: int) -> list[tuple[object, ...]]:
    r = said.readings
    return [(int(r.asset[k]), int(r.sensor[k]), int(r.time_ns[k]), str(r.value[k]),
             bool(r.closes[k]), int(said.base[k]),
             int(said.freed_by[k]) + start if said.freed_by[k] >= 0 else -1)
            for k in range(len(r))]


@pytest.mark.parametrize("seed", range(8))
def test_it_does_what_the_naive_twin_does(seed: int) -> None:
    columns = stream(seed, 400)
    batch, value, base = columns
    naive = Reorder(5 * SECOND, CONFIG.readings_limit)
    want: list[tuple[object, ...]] = []
    why = []
    for i in range(len(batch)):
        refused, out = naive.take(
            int(batch.asset[i]), int(batch.sensor[i]), int(batch.time_ns[i]), float(value[i]),
            bool(batch.closes[i]), int(base[i]))
        why.append({"": 0, "duplicate": reorder.DUPLICATE, "late": reorder.LATE}[refused])
        want += [(*r[:3], str(np.float64(r[3])), *r[4:], i) for r in out]
    want += [(*r[:3], str(np.float64(r[3])), *r[4:], -1) for r in naive.flush()]
    got, reason, _ = through(columns, [])
    assert got == want
    assert reason.tolist() == why
    assert {reorder.DUPLICATE, reorder.LATE} <= set(why)


@pytest.mark.parametrize("seed", range(4))
def test_any_cut_gives_the_same_bits(seed: int) -> None:
    columns = stream(seed + 100, 300)
    whole = through(columns, [])
    random = np.random.default_rng(seed)
    for cuts in ([1], [150], list(range(1, 300)), sorted(random.choice(299, 9, False) + 1)):
        cut = through(columns, list(cuts))
        assert cut[0] == whole[0]
        assert (cut[1] == whole[1]).all()
        assert cut[2] == whole[2]


def test_what_is_shuffled_within_the_bound_comes_out_sorted() -> None:
    random = np.random.default_rng(4)
    time = np.arange(200) * SECOND
    order = np.argsort(time + random.uniform(0, 4.9 * SECOND, 200), kind="stable")
    batch = reading_batch(np.zeros(200), np.zeros(200), time[order], np.arange(200.0)[order])
    out, reason, _ = through((batch, batch.value, np.zeros(200, np.int8)), [50, 120])
    assert [row[2] for row in out] == time.tolist()
    assert not reason.any()


def test_each_reading_says_where_it_came_from() -> None:
    batch, value, base = stream(9, 300)
    state = reorder.allocate(CONFIG, 3, 12)
    said = reorder.run(CONFIG, state, batch, value, base, np.zeros(300, np.int8))
    own = said.arrived_as
    assert (own >= 0).all()
    assert (batch.time_ns[own] == said.readings.time_ns).all()
    assert (batch.sensor[own] == said.readings.sensor).all()
    assert (own <= said.freed_by).all()


def test_a_new_clock_begins_with_the_reading_that_goes_on_first() -> None:
    time = np.array([100, 101, 3, 1, 2, 40]) * SECOND
    base = np.array([0, 0, 1, 0, 0, 0], np.int8)
    batch = reading_batch(np.zeros(6), np.arange(6), time, np.arange(6.0))
    out, reason, _ = through((batch, batch.value, base), [])
    assert [(row[2] // SECOND, row[5]) for row in out] == [
        (100, 0), (101, 0), (1, 1), (2, 0), (3, 0), (40, 0)]
    assert not reason.any()


def test_state_holds_no_nan_and_compiled_is_plain() -> None:
    batch, value, base = stream(11, 200)
    states = [reorder.allocate(CONFIG, 3, 12) for _ in range(2)]
    reasons = [np.zeros(200, np.int8) for _ in range(2)]
    results = []
    for kernel, state, reason in zip(
        (reorder.hold, reorder.hold.py_func), states, reasons, strict=True
    ):
        out = reorder._columns(600)
        arrived = np.full((3, CONFIG.readings_limit), -1, np.int64)
        done = kernel(*state.values(), arrived, batch.asset, 5 * SECOND, batch.asset, batch.sensor,
                      batch.time_ns, value, batch.closes, base, reason, 0, *out)
        results.append((done, [column[: done[1]].tobytes() for column in out]))
    assert results[0] == results[1]
    assert (reasons[0] == reasons[1]).all()
    for name in states[0]:
        assert states[0][name].tobytes() == states[1][name].tobytes()
    assert np.isfinite(states[0]["asset_value"]).all()


def test_limits_are_checked() -> None:
    for bad in ({"lateness_seconds": -1.0}, {"lateness_seconds": 1e9}, {"readings_limit": 0}):
        with pytest.raises(ConfigError):
            reorder.Config(**bad)  # type: ignore[arg-type]
