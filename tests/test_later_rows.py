"""Fast rows first, means of them once enough are known: the twin, the laws, and what it is for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from anomaly import later_rows, windows
from anomaly.batches import Outcome, ReadingBatch, RowBatch, reading_batch
from anomaly.config import MonitorConfig, parse
from anomaly.errors import ConfigError
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from tests.naive import later_rows as naive
from tests.test_monitor import cut, told
from tests.test_monitor_reorder import handed_on

SECOND = 10**9
START = 1_700_000_000 * SECOND // (60 * SECOND) * 60 * SECOND
SENSORS = ("state", "power", "vibration")
WARM_UP, SPAN_SECONDS = 60, 10.0
FAST = parse({"warm_up_rows": WARM_UP, "budget": "1/week",
              "windows": {"later_row_seconds": SPAN_SECONDS}})


def line(rows: int, seed: int = 0, step_seconds: float = 1.0) -> tuple[Registry, ReadingBatch]:
    """Two machines, wide rows in turn; the first rests now and then and is faulty at the end."""
    rng = np.random.default_rng(seed)
    registry = Registry()
    x = np.empty((rows, 2, 3))
    x[:, :, 0] = 6.0
    x[rows // 3 : rows // 3 + 40, 0, 0] = 4.0
    x[:, :, 1:] = np.array([10.0, 3.0]) + rng.normal(size=(rows, 2, 2))
    x[rows * 5 // 6 :, 0, 2] += 8.0
    x[rng.random(x.shape) < 0.02] = np.nan
    assets = [registry.asset(name) for name in ("press", "saw")]
    columns = np.array([registry.columns(a, SENSORS) for a in assets])
    time_ns = START + np.round(np.arange(rows) * step_seconds * 1e9).astype(np.int64)
    return registry, reading_batch(
        np.tile(np.repeat(assets, 3), rows), np.tile(columns.ravel(), rows),
        np.repeat(time_ns, 6), x.ravel(), np.tile([False, False, True], 2 * rows))


def stages(monitor: Monitor) -> list[int]:
    """What each machine has come to: COLLECTS, GROWN or SLOW."""
    return monitor.state()["later"]["asset"]["stage"].tolist()


@pytest.mark.parametrize("seed", range(6))
def test_the_naive_twin(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, means, who is judged by which and what is learned, cut anywhere; a clock set back."""
    monkeypatch.setattr(later_rows, "TURNS", 5)
    monkeypatch.setattr(later_rows, "TRIES", 2)
    rng = np.random.default_rng(seed)
    n, warm_up, least = 1500, 12, (2.0, 5.0)[seed % 2]
    step = rng.integers(0, 5, n) if seed < 4 else rng.integers(20, 90, n)
    time_ns = np.cumsum(step) * SECOND
    time_ns[n // 2:] -= 300 * SECOND
    x = rng.normal(5.0, 1.0, (n, 2))
    x[rng.random((n, 2)) < 0.1] = np.nan
    table = np.array([[0, 1]])
    rows = RowBatch(np.zeros(n, np.int64), time_ns, x, np.arange(n))
    span_ns = 30 * SECOND
    plain = list(zip(time_ns.tolist(), x.tolist(), strict=True))
    rests = rng.random(n) < 0.2
    came, later, learned = naive.judged(
        plain, span_ns, rests.tolist(), warm_up, least, later_rows.FURTHER, 3, 5,
        later_rows.TRIES)
    state = later_rows.allocate(1, 2, warm_up)
    edges = sorted(rng.integers(0, n, 5).tolist())
    found_came, found_later, found_learned, windows_seen = [], [], [], 0
    for low, high in zip([0, *edges], [*edges, n], strict=True):
        part = windows.taken(rows, np.arange(low, high))
        merged = later_rows.merge(state, table, 30.0, part)
        works = np.zeros(len(merged.rows), np.int8)
        means = np.flatnonzero(merged.later > 0)
        works[means] = later_rows.RESTS * rests[windows_seen : windows_seen + means.size]
        windows_seen += means.size
        chosen = later_rows.choose(state, table, np.array([3]), 30.0, least, merged, works)
        whole = chosen.rows.time_ns != time_ns[low + chosen.origin]
        whole |= np.array([not np.array_equal(a, b, equal_nan=True) for a, b in zip(
            chosen.rows.x, x[low + chosen.origin], strict=True)], np.bool_)
        found_came += (low + chosen.origin[~whole]).tolist()
        found_later += [(int(t), v.tolist()) for t, v in zip(
            chosen.rows.time_ns[whole], chosen.rows.x[whole], strict=True)]
        found_learned += [
            (low + place, later_rows.kept(state, 0, np.arange(2), 30.0, count))
            for _, _, count, place in chosen.ends]
    assert found_came == came
    assert [t for t, _ in found_later] == [t for t, _ in later]
    assert np.array([v for _, v in found_later]) == pytest.approx(
        np.array([v for _, v in later]), nan_ok=True)
    assert [place for place, _ in found_learned] == [place for place, _ in learned]
    for (_, found), (_, means) in zip(found_learned, learned, strict=True):
        assert found.time_ns.tolist() == [t for t, _ in means]
        assert found.x == pytest.approx(np.array([v for _, v in means]), rel=1e-6, nan_ok=True)
    assert (len(learned) >= 3) == (seed < 4), "both come: who grows, and who is slow"


@pytest.mark.parametrize("rows, seeds", [(1800, 4), (4200, 2)])
def test_any_cut_any_restart_and_the_other_machine_change_nothing(
    rows: int, seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(later_rows, "TURNS", 20)
    monkeypatch.setattr(later_rows, "TRIES", 2)
    registry, batch = line(rows)
    whole = Monitor(FAST, registry)
    outcomes = [whole.process(batch)]
    expected = told(outcomes)
    assert stages(whole) == [later_rows.GROWN if rows == 1800 else later_rows.KNOWN] * 2
    assert expected[4], "nothing was alerted: the law would hold for an engine that sleeps"
    for seed in range(seeds):
        registry, batch = line(rows)
        monitor = Monitor(FAST, registry)
        edges = sorted(np.random.default_rng(seed).integers(0, len(batch), 9 * seed + 2).tolist())
        monitor, outcomes = handed_on(monitor, cut(batch, edges), FAST)
        assert told(outcomes) == expected
        for component, arrays in whole.state().items():
            for name, array in arrays.items():
                assert array.tobytes() == monitor.state()[component][name].tobytes(), name
    for name in ("press", "saw"):
        registry, batch = line(rows)
        mine = batch.asset == registry.asset(name)
        alone = Monitor(FAST, registry).process(ReadingBatch(
            *(getattr(batch, f.name)[mine] for f in dataclasses.fields(batch))))
        other = Monitor(FAST, registry).process(batch)
        theirs = other.rows.asset == registry.asset(name)
        assert other.scores.score[theirs].tobytes() == alone.scores.score.tobytes()
        assert [a for a in other.alerts if a.asset == name] == list(alone.alerts)


def test_what_has_grown_is_judged_as_if_it_had_been_means_from_the_start() -> None:
    registry, batch = line(1800, seed=4)
    monitor = Monitor(FAST, registry)
    both = monitor.process(batch)
    registry, batch = line(1800, seed=4)
    spans = Monitor(dataclasses.replace(
        FAST, windows=windows.Config(row_seconds=SPAN_SECONDS)), registry).process(batch)
    for asset in (0, 1):
        late = both.rows.asset == asset
        late[late] = np.arange(late.sum()) >= late.sum() - 60
        mine = np.flatnonzero(spans.rows.asset == asset)[-60:]
        assert both.rows.time_ns[late].tolist() == spans.rows.time_ns[mine].tolist()
        assert both.rows.x[late].tobytes() == spans.rows.x[mine].tobytes()
        assert both.scores.score[late].tobytes() == spans.scores.score[mine].tobytes()
        assert (both.scores.return_period_s[late].tobytes()
                == spans.scores.return_period_s[mine].tobytes())


def fired(outcome: Outcome) -> list[tuple[str, int]]:
    """Machine and second of every machine alert that fires."""
    return [(a.asset, (a.time_ns - START) // SECOND) for a in outcome.alerts
            if a.state == "firing" and a.contributions]


def test_a_fault_is_told_before_it_has_grown_and_after() -> None:
    """The vibration of the press jumps by eight deviations."""
    for rows in (400, 1800):
        registry, batch = line(rows)
        monitor = Monitor(FAST, registry)
        found = fired(monitor.process(batch))
        assert stages(monitor)[0] == (later_rows.GROWN if rows == 1800 else later_rows.COLLECTS)
        due = rows * 5 // 6
        assert any(name == "press" and due <= at <= due + 40 for name, at in found), found
        assert not any(name == "saw" for name, _ in found)


def test_it_is_learned_again_once_days_are_known_but_never_what_has_been_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The saw wanders for ever; the press jumps before the second learning and stays there."""
    monkeypatch.setattr(later_rows, "TURNS", 20)
    monkeypatch.setattr(later_rows, "TRIES", 1)
    registry, batch = line(4200)
    mine = (batch.asset == 1) & (batch.sensor == 2)
    value = batch.value.copy()
    value[mine] += 6.0 * np.sin(np.arange(mine.sum()) / 400.0)
    monitor = Monitor(FAST, registry)
    first, rest = cut(dataclasses.replace(batch, value=value), [6 * 3550])
    before = monitor.process(first)
    spread = monitor.state()["reference"]["tag"]["spread"]
    assert stages(monitor) == [later_rows.GROWN] * 2
    assert ("press", "firing") in {(a.asset, a.state) for a in before.alerts}
    monitor.process(rest)
    assert stages(monitor) == [later_rows.KNOWN] * 2
    known = monitor.state()["reference"]
    warm_up = later_rows.FURTHER * WARM_UP + WARM_UP
    assert known["asset"]["warm_up"].tolist() == [WARM_UP, warm_up]
    assert known["tag"]["spread"][2] == spread[2]
    assert known["tag"]["spread"][5] > 1.5 * spread[5]
    for name in ("asset_later_step", "tag_later_rows", "tag_further_rows"):
        assert not monitor.state()["later"][name].any(), "given back"
    assert {c.detail for c in monitor.conditions() if not c.sensor} == {"judged by means of 10 s"}


def test_a_case_that_came_after_what_is_kept_only_delays_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It jumps between the last mean that is kept and the first turn, and is well by the third."""
    monkeypatch.setattr(later_rows, "TURNS", 20)
    monkeypatch.setattr(later_rows, "turns", lambda names: np.full(len(names), 10))
    for tries, learns in ((1, False), (6, True)):
        monkeypatch.setattr(later_rows, "TRIES", tries)
        registry, batch = line(6000)
        second = (batch.time_ns - START) // SECOND
        mine = (batch.asset == 0) & (batch.sensor == 2)
        value = batch.value.copy()
        value[mine & (second >= 5000)] -= 8.0
        value[mine & (second >= 3680) & (second < 3900)] += 8.0
        monitor = Monitor(FAST, registry)
        found = fired(monitor.process(dataclasses.replace(batch, value=value)))
        assert any(3680 <= at <= 3760 for name, at in found if name == "press"), found
        own = monitor.state()["later"]["asset"][0]
        assert (own["over"] == 1) == learns
        many = (1 + later_rows.FURTHER) * WARM_UP if learns else WARM_UP
        assert monitor.state()["reference"]["asset"]["warm_up"][0] == many


def test_machines_that_began_together_take_turns() -> None:
    names = [f"machine {k}" for k in range(3000)]
    found = later_rows.turns(names)
    assert set(found.tolist()) <= set(range(later_rows.TURNS))
    assert np.bincount(found).max() <= 12, "2.1 of them in a minute, a Poisson number"
    assert found[7] == later_rows.turns(["machine 7"])[0], "hangs on who else there is"


def test_slow_rows_stay_as_they_are_to_the_last_bit() -> None:
    """A row every ten seconds is one a window: nothing is gained, so nothing is changed."""
    registry, batch = line(400, step_seconds=10.0)
    monitor = Monitor(FAST, registry)
    with_means = monitor.process(batch)
    assert stages(monitor) == [later_rows.SLOW] * 2
    registry, batch = line(400, step_seconds=10.0)
    plain = Monitor(dataclasses.replace(FAST, windows=windows.Config()), registry).process(batch)
    assert with_means.rows.time_ns.tobytes() == plain.rows.time_ns.tobytes()
    assert not monitor.state()["later"]["tag_later_rows"].any(), "given back"


def test_maintenance_begins_with_every_row_again() -> None:
    registry, batch = line(1800)
    monitor = Monitor(FAST, registry)
    first, rest = cut(batch, [6 * 1500])
    monitor.process(first)
    assert stages(monitor) == [later_rows.GROWN] * 2
    monitor.rebaseline(0)
    assert stages(monitor) == [later_rows.COLLECTS, later_rows.GROWN]
    outcome = monitor.process(rest)
    assert (outcome.rows.asset == 0).sum() == 300
    assert (outcome.rows.asset == 1).sum() == 30
    details = {c.asset: c.detail for c in monitor.conditions() if not c.sensor}
    assert details["saw"] == (
        "judged by means of 10 s, learned anew once 360 are known (179 so far)")
    assert details["press"] == (
        "sudden changes only, until 60 means of 10 s are known (29 so far)")


def test_a_frozen_sensor_is_seen_with_every_row_however_it_has_grown() -> None:
    registry, batch = line(2400, seed=1)
    value = batch.value.copy()
    frozen = (batch.asset == 1) & (batch.sensor == 1) & (batch.time_ns >= START + 1500 * SECOND)
    value[frozen] = 10.25
    monitor = Monitor(FAST, registry)
    outcome = monitor.process(dataclasses.replace(batch, value=value))
    assert stages(monitor) == [later_rows.GROWN] * 2
    stuck = [a for a in outcome.alerts if a.kind == "sensor_fault" and a.asset == "saw"]
    assert [a.state for a in stuck] == ["firing"]


def test_what_makes_no_sense_beside_other_rows_is_refused() -> None:
    with pytest.raises(ConfigError, match="later_row_seconds: must be 0 beside row_seconds"):
        windows.Config(row_seconds=60.0, later_row_seconds=60.0)
    with pytest.raises(ConfigError, match="later_row_seconds: must be 0 to 366 days"):
        windows.Config(later_row_seconds=-1.0)
    assert MonitorConfig().windows.later_row_seconds is None
