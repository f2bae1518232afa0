"""Small losses: found within the marks, quiet on healthy nuisances, the same however cut."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly import inefficiency as small
from anomaly.errors import ConfigError

CYCLE = 76.0
ASSETS = 60
HEALTHY, CHANGED = 1200, 300
NAMES = ("asset", "time_ns", "product", "seconds", "energy", "rejects")
NO_STILLS = np.zeros(0, small.IDLE)


def cycles(
    scatter: float = 0.02, count: int = HEALTHY + CHANGED, seed: int = 1
) -> dict[str, np.ndarray]:
    """Healthy cycles of sixty assets: 1 % with a jam, 2 % rejects, energy with 2 % scatter."""
    generator = np.random.default_rng(seed)
    shape = (ASSETS, count)
    seconds = CYCLE * (1.0 + scatter * generator.normal(size=shape))
    jam = generator.random(shape) < 0.01
    seconds += jam * CYCLE * (0.3 + 3.0 * generator.random(shape))
    return {
        "asset": np.repeat(np.arange(ASSETS), count).reshape(shape),
        "product": np.zeros(shape, np.int64), "seconds": seconds,
        "energy": 0.4 * (1.0 + 0.02 * generator.normal(size=shape)),
        "rejects": (generator.random(shape) < 0.02).astype(float),
    }


def records(table: dict[str, np.ndarray]) -> np.ndarray:
    full = {**table, "time_ns": (np.cumsum(table["seconds"], axis=1) * 1e9).astype(np.int64)}
    made = np.zeros(table["seconds"].size, small.CYCLE)
    for name in NAMES:
        made[name] = full[name].ravel()
    made["row"], made["made"], made["told"] = np.arange(made.size), 1.0, 1
    return made


def judged(table: dict[str, np.ndarray]) -> np.ndarray:
    state = small.allocate(small.Config(), ASSETS)
    return small.run(small.Config(), state, 1.0, records(table), NO_STILLS)


def delays(found: np.ndarray, kind: int, count: int = HEALTHY + CHANGED) -> np.ndarray:
    """Cycles from the change to the first finding of the kind, by asset; inf = none."""
    result = np.full(ASSETS, np.inf)
    for row in found[(found["kind"] == kind) & (found["firing"] == 1)]:
        after = row["row"] % count - HEALTHY + 1
        if after > 0:
            result[row["asset"]] = min(result[row["asset"]], after)
    return result


def false_findings(found: np.ndarray, count: int = HEALTHY + CHANGED) -> int:
    return int(((found["firing"] == 1) & (found["row"] % count < HEALTHY)).sum())


@pytest.mark.parametrize("scatter, median", [(0.01, 8), (0.02, 22), (0.03, 38)])
def test_two_per_cent_slower_is_called_within_the_mark(scatter: float, median: float) -> None:
    table = cycles(scatter)
    table["seconds"][:, HEALTHY:] *= 1.02
    found = judged(table)
    assert np.median(delays(found, small.SLOW_CYCLE)) <= median
    weeks = ASSETS * (HEALTHY - 250) * CYCLE / 604_800
    assert false_findings(found) <= 2.0 * weeks
    late = found["row"] % (HEALTHY + CHANGED) > HEALTHY
    first = found[(found["kind"] == small.SLOW_CYCLE) & late]
    assert np.median(first["actual"] / first["expected"]) > 1.008


def test_the_promise_is_kept_over_long_healthy_time() -> None:
    found = judged(cycles(0.02, 9000, seed=2))
    weeks = ASSETS * (9000 - 250) * CYCLE / 604_800
    assert 0.2 <= (found["firing"] == 1).sum() / weeks <= 1.5


def test_short_stops_that_are_over_are_soon_said_to_be_over() -> None:
    """A called level that is diluted by what comes after took twice as long."""
    generator = np.random.default_rng(11)
    table, bad = cycles(count=HEALTHY + 2500, seed=11), slice(HEALTHY, HEALTHY + 250)
    more = generator.random((ASSETS, 250)) < 0.08
    table["seconds"][:, bad] += more * CYCLE * (1.0 + 4.0 * generator.random(more.shape))
    found = judged(table)
    found = found[found["kind"] == small.MICRO_STOPS]
    ends = []
    for asset in range(ASSETS):
        own = found[(found["asset"] == asset) & (found["row"] % (HEALTHY + 2500) > HEALTHY)]
        called, over = own[own["firing"] == 1], own[own["firing"] == 0]
        if called.size and called["row"][0] % (HEALTHY + 2500) < bad.stop:
            ends.append(over["row"][0] % (HEALTHY + 2500) - bad.stop if over.size else 2250)
    assert len(ends) > 0.9 * ASSETS
    assert np.median(ends) <= 150


def test_each_other_kind_is_found_as_itself() -> None:
    generator = np.random.default_rng(3)
    changed = slice(HEALTHY, None)
    jams = cycles(seed=4)
    more = generator.random((ASSETS, CHANGED)) < 0.08
    jams["seconds"][:, changed] += more * CYCLE * (1.0 + 4.0 * generator.random(more.shape))
    assert np.median(delays(judged(jams), small.MICRO_STOPS)) <= 105
    dear = cycles(seed=5)
    dear["energy"][:, changed] *= 1.02
    assert np.median(delays(judged(dear), small.ENERGY)) <= 150  # judged in means of 25 parts
    bad = cycles(seed=6)
    bad["rejects"][:, changed] = generator.random((ASSETS, CHANGED)) < 0.10
    found = judged(bad)
    assert np.median(delays(found, small.REJECTS)) <= 150
    slow = found[(found["kind"] != small.REJECTS) & (found["firing"] == 1)]
    assert (slow["row"] % (HEALTHY + CHANGED) >= HEALTHY).sum() <= 3


def test_a_product_change_and_a_start_up_are_no_loss() -> None:
    table = cycles(0.01, seed=7)
    table["product"][:, HEALTHY:] = 1
    table["seconds"][:, HEALTHY:] *= 1.12
    found = judged(table)
    assert np.isinf(delays(found, small.SLOW_CYCLE)).all()
    start = cycles(0.01, seed=8)
    start["seconds"][:, HEALTHY] += 3600.0  # an hour's break within the cycle, then slow ones
    start["seconds"][:, HEALTHY + 1 : HEALTHY + 7] *= 1.06
    found = judged(start)
    early = delays(found, small.SLOW_CYCLE)
    assert (early < 20).sum() == 0


def test_a_loss_that_is_over_is_said_to_be_over() -> None:
    table = cycles(0.01, seed=9)
    table["seconds"][:, HEALTHY : HEALTHY + 100] *= 1.05
    found = judged(table)
    late = found["row"] % (HEALTHY + CHANGED) >= HEALTHY
    own = found[(found["kind"] == small.SLOW_CYCLE) & late]
    for asset in range(ASSETS):
        turns = own[own["asset"] == asset]["firing"].tolist()
        assert turns[:2] == [1, 0]


def test_any_split_finds_the_same() -> None:
    table = cycles(count=600, seed=10)
    table["seconds"][:, 400:] *= 1.03
    table["energy"][:, ::50] = np.nan
    rows = records(table)
    whole = small.allocate(small.Config(), ASSETS)
    found = small.run(small.Config(), whole, 1.0, rows, NO_STILLS)
    pieces = small.allocate(small.Config(), ASSETS)
    parts = [small.run(small.Config(), pieces, 1.0, rows[start : start + 4001], NO_STILLS)
             for start in range(0, rows.size, 4001)]
    assert np.array_equal(np.concatenate(parts), found)
    for name in whole:
        assert whole[name].tobytes() == pieces[name].tobytes()


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="reject_factor"):
        small.Config(reject_factor=1.0)
    with pytest.raises(ConfigError, match="warm_up_cycles"):
        small.Config(warm_up_cycles=10)
