"""The kernels under the live ledger and the charts against their naive twins."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly import accounts, charts, inefficiency, ledger, observations
from anomaly.charts import CHART
from tests.naive import accounts as naive_accounts
from tests.naive import charts as naive_charts
from tests.naive import inefficiency as naive_inefficiency
from tests.naive import observations as naive_observations

HOUR = 3600 * 10**9
START = 1_700_000_000 * 10**9


@pytest.mark.parametrize("seed", range(6))
def test_accounts_by_shift(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 9 * HOUR, 60)
    edges = START + np.cumsum(np.append(0, lengths))
    segments = np.zeros(60, ledger.SEGMENT)
    segments["start_ns"], segments["end_ns"] = edges[:-1], edges[1:]
    segments["heading"] = rng.integers(0, len(ledger.HEADINGS), 60)
    bounds = np.sort(rng.choice(np.arange(START, edges[-1], HOUR), 10, replace=False))
    shifts = [] if seed == 0 else list(
        zip(bounds[::2].tolist(), bounds[1::2].tolist(), strict=True))
    plan = accounts.Plan(
        ledger.no_plan(), np.array([s for s, _ in shifts], np.int64),
        np.array([e for _, e in shifts], np.int64))
    state = accounts.allocate(1, 1)
    accounts.add_all(state, plan, segments)
    expected = naive_accounts.by_shift(
        [(int(s["start_ns"]), int(s["end_ns"]), int(s["heading"])) for s in segments], shifts)
    kept = [one for one in state["asset_shift"][0] if one["end_ns"]]
    assert len(kept) == min(len(expected), accounts.SHIFTS)
    for one in kept:
        booked = expected[int(one["start_ns"]), int(one["end_ns"])]
        assert {h: int(ns) for h, ns in enumerate(one["booked_ns"]) if ns} == dict(booked)
    assert int(state["asset_total"][0]["booked_ns"].sum()) == int(lengths.sum())


@pytest.mark.parametrize("seed", range(6))
def test_readings_to_observations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 400
    asset, sensor = rng.integers(0, 3, n), rng.integers(0, 4, n)
    time_ns = START + np.maximum.accumulate(rng.integers(0, 3, n).cumsum()) - rng.integers(0, 2, n)
    value = np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n))
    closes = rng.random(n) < 0.2
    table = np.arange(12).reshape(3, 4)
    role = np.array([0, 1, -1, 8] * 3)
    roles = len(observations.ROLES)
    out = (np.empty(2 * n, np.int64), np.empty(2 * n, np.int64), np.empty((2 * n, roles)),
           np.empty(2 * n, np.int64))
    count = observations.gather(
        np.zeros(3, observations.OPEN), np.zeros((3, roles)), role, np.ones(3, np.bool_), table,
        asset, sensor, time_ns, value, closes, np.zeros(n, np.int8), *out)
    expected = naive_observations.gathered([
        (int(a), int(role[table[a, s]]), int(t), float(v), bool(c))
        for a, s, t, v, c in zip(asset, sensor, time_ns, value, closes, strict=True)])
    assert count == len(expected)
    for i, (a, t, said, at) in enumerate(expected):
        assert (out[0][i], out[1][i], out[3][i]) == (a, t, at)
        assert {r: x for r, x in enumerate(out[2][i].tolist()) if x == x} == said


@pytest.mark.parametrize("seed", range(6))
def test_the_chart_of_a_share(seed: int) -> None:
    rng = np.random.default_rng(seed)
    share = 0.02 if seed % 2 else 0.1
    events = (rng.random(3000) < np.where(np.arange(3000) < 2000, share, 4.0 * share)).astype(float)
    twin = naive_charts.Share(4.0, 250.0, 2.0)
    expected = twin.follow(events.tolist(), 5000.0)
    chart = np.zeros(1, CHART)
    charts.freeze_share(chart[0], 4.0, 250.0, 2.0)
    found = []
    for i, event in enumerate(events.tolist()):
        charts.follow(chart[0], event, 1.0, i + 1, 5000.0, 0.0175, 2.0)
        found.append(bool(chart[0]["firing"]))
    assert any(found)
    assert found == expected
    assert chart[0]["sum"] == pytest.approx(twin.sum, abs=1e-9)
    assert chart[0]["excess"] == pytest.approx(twin.seen.excess)


@pytest.mark.parametrize("seed", range(6))
def test_the_chart_of_a_mean(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, scatter = (250, 0.01 + 0.01 * (seed % 3)) if seed < 4 else (20, 0.005)
    healthy = 76.0 * (1.0 + scatter * rng.normal(size=n))
    later = 76.0 * (1.0 + scatter * rng.normal(size=1500))
    later[::97] *= 1.2
    later[900:1200] *= 1.03
    twin = naive_charts.Mean(healthy.tolist(), 0.0175, 0.005)
    chart = np.zeros(1, CHART)
    charts.freeze_mean(chart[0], healthy, 0.0175, np.inf, 20, 0.005)
    assert chart[0]["wanders"] == 0
    assert chart[0]["scale"] == pytest.approx(twin.scale)
    found = []
    for i, value in enumerate(later.tolist()):
        charts.follow(chart[0], value, 1.0, i + 1, 5000.0, 0.0175, 2.0)
        found.append(bool(chart[0]["firing"]))
    assert found == twin.follow(later.tolist(), 5000.0)
    assert any(found[900:1200])
    assert not found[-1]
    assert chart[0]["centre"] == pytest.approx(twin.centre)
    assert chart[0]["sum"] == pytest.approx(twin.sum, abs=1e-9)
    assert chart[0]["excess"] == pytest.approx(twin.seen.excess)


def shop(seed: int, told: bool) -> list[naive_inefficiency.Cycle]:
    """2,600 cycles: jams, rests, changeovers between two products, every kind of loss, gaps."""
    rng = np.random.default_rng(seed)
    n, t, changed_ns = 2600, START, 0
    product = np.arange(n) // 650 % 2
    scatter = 0.01 * (1.0 + seed % 2)
    seconds = 60.0 * (1.0 + 0.08 * product) * (1.0 + scatter * rng.normal(size=n))
    energy = 0.4 * (1.0 + 0.01 * rng.normal(size=n))
    rejects = (rng.random(n) < 0.02).astype(float)
    first = int(rng.integers(1300, 1900))
    lost = slice(first, first + 500)
    if seed % 4 == 0:
        seconds[lost] *= 1.03
    elif seed % 4 == 1:
        seconds[lost] *= 1.0 + 2.0 * (rng.random(500) < 0.15)
    elif seed % 4 == 2:
        energy[lost] *= 1.05
    else:
        rejects[lost] = rng.random(500) < 0.15
    seconds *= 1.0 + 3.0 * (rng.random(n) < 0.01)
    seconds[rng.integers(0, n, 3)] = 0.0
    rejects[rng.integers(0, n, 20)] = energy[rng.integers(0, n, 20)] = np.nan
    found = []
    for i in range(n):
        t += int(seconds[i] * 1e9) + int(rng.random() < 0.004) * 1200 * 10**9
        if i and product[i] != product[i - 1]:
            changed_ns = t
            t += int(seconds[i] * 1e9)
        found.append(naive_inefficiency.Cycle(
            i, t, int(product[i]), told, changed_ns, float(seconds[i]), float(energy[i]),
            float(rejects[i])))
    return found


@pytest.mark.parametrize("told", [True, False])
def test_cycles_to_findings(told: bool) -> None:
    kinds: set[int] = set()
    for seed in range(8):
        made = shop(seed, told)
        rows = np.zeros(len(made), inefficiency.CYCLE)
        for name in ("row", "time_ns", "product", "told", "changed_ns", "seconds", "energy",
                     "rejects"):
            rows[name] = [getattr(cycle, name) for cycle in made]
        rows["made"] = 1.0
        config = inefficiency.Config()
        found = inefficiency.run(
            config, inefficiency.allocate(config, 1), 20.0, rows, np.zeros(0, inefficiency.IDLE))
        expected = naive_inefficiency.findings(made, 20.0)
        assert [(int(f["row"]), int(f["product"]), int(f["kind"]), int(f["firing"]),
                 int(f["since_ns"])) for f in found] == expected, seed
        kinds |= {kind for _, _, kind, _, _ in expected}
    assert kinds >= {0, 1, 2, 3}


@pytest.mark.parametrize("step, learned", [(0.3, 250.0), (0.6, 250.0), (1.1, 40.0)])
def test_the_limit_of_a_mean_keeps_its_promise(step: float, learned: float) -> None:
    """Healthy cycles, references learned from as few as said: findings against the budget."""
    rng = np.random.default_rng(round(10 * step))
    per_limit, machines, later = 1000.0, 60, 1000
    fired = 0
    for _ in range(machines):
        healthy = 100.0 + rng.normal(size=round(learned))
        chart = np.zeros(1, CHART)
        charts.freeze_mean(chart[0], healthy, step / 100.0, np.inf, 20, 1e-9)
        before = 0
        for i, value in enumerate((100.0 + rng.normal(size=later)).tolist()):
            charts.follow(chart[0], value, 1.0, i + 1, per_limit, step / 100.0, 2.0)
            fired += int(chart[0]["firing"] > before)
            before = int(chart[0]["firing"])
    assert 0.3 <= fired / (machines * later / per_limit) <= 1.5
