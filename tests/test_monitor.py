"""The laws over the whole composition: split, interleaving, transparency; and what alerts say."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from anomaly import snapshot
from anomaly.batches import Alert, Outcome, ReadingBatch, reading_batch
from anomaly.config import MonitorConfig, parse
from anomaly.errors import StateError
from anomaly.monitor import Monitor
from anomaly.registry import Registry

SENSORS = ("current", "temperature", "vibration")
MINUTE = 60 * 10**9
START = 1_700_000_000 * 10**9
CONFIG = MonitorConfig(warm_up_rows=150, budget_per_week=2.0)


def recording(seed: int, rows: int, faulty: bool = True) -> np.ndarray:
    """float64[rows, 3]: autocorrelated noise with gaps; vibration faulty after two thirds."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    for r in range(1, rows):
        x[r] += 0.5 * x[r - 1]
    x += np.array([10.0, 60.0, 3.0])
    x[rng.random((rows, 3)) < 0.02] = np.nan
    if faulty:
        x[2 * rows // 3 :, 2] += 9.0
    return x


def wide(registry: Registry, names: list[str], order: np.ndarray, xs: list[np.ndarray]
         ) -> ReadingBatch:
    """Rows of several assets in the given order, every row of three readings."""
    position = dict.fromkeys(names, 0)
    asset, sensor, time_ns, value = [], [], [], []
    for which in order:
        name = names[which]
        a = registry.asset(name)
        row = position[name]
        position[name] += 1
        asset += [a] * 3
        sensor += registry.columns(a, SENSORS).tolist()
        time_ns += [START + row * MINUTE] * 3
        value += xs[which][row].tolist()
    closes = np.tile([False, False, True], len(order))
    return reading_batch(asset, sensor, time_ns, value, closes)


def cut(batch: ReadingBatch, edges: list[int]) -> Iterator[ReadingBatch]:
    """The same readings in other batches."""
    for low, high in zip([0, *edges], [*edges, len(batch)], strict=True):
        yield ReadingBatch(*(getattr(batch, f.name)[low:high] for f in dataclasses.fields(batch)))


def told(outcomes: list[Outcome]) -> tuple[object, ...]:
    """Everything that was said, comparable bit for bit."""
    return (
        b"".join(o.rows.time_ns.tobytes() for o in outcomes),
        b"".join(o.scores.score.tobytes() for o in outcomes),
        b"".join(o.scores.return_period_s.tobytes() for o in outcomes),
        b"".join(o.scores.alert.tobytes() for o in outcomes),
        [repr(a) for o in outcomes for a in o.alerts],
    )


@pytest.fixture(scope="module")
def two_assets() -> tuple[list[str], np.ndarray, list[np.ndarray]]:
    order = np.random.default_rng(5).permutation(np.repeat([0, 1], 400))
    return ["press", "saw"], order, [recording(1, 400), recording(2, 400, faulty=False)]


def test_split(two_assets: tuple[list[str], np.ndarray, list[np.ndarray]]) -> None:
    whole_registry = Registry()
    whole = Monitor(CONFIG, whole_registry)
    expected = told([whole.process(wide(whole_registry, *two_assets)), whole.flush()])
    assert expected[4], "nothing was alerted: the law would hold for an engine that sleeps"
    for seed in range(4):
        registry = Registry()
        monitor = Monitor(CONFIG, registry)
        batch = wide(registry, *two_assets)
        edges = sorted(np.random.default_rng(seed).integers(0, len(batch), 12 * seed + 1).tolist())
        outcomes = [monitor.process(part) for part in cut(batch, edges)] + [monitor.flush()]
        assert told(outcomes) == expected


def test_interleaving(two_assets: tuple[list[str], np.ndarray, list[np.ndarray]]) -> None:
    names, order, xs = two_assets
    registry = Registry()
    together = Monitor(CONFIG, registry).process(wide(registry, names, order, xs))
    for which, name in enumerate(names):
        alone_registry = Registry()
        alone = Monitor(CONFIG, alone_registry).process(
            wide(alone_registry, names, np.full(400, which), xs))
        mine = together.rows.asset == registry.asset(name)
        assert together.scores.score[mine].tobytes() == alone.scores.score.tobytes()
        assert [a for a in together.alerts if a.asset == name] == list(alone.alerts)


def test_transparency(two_assets: tuple[list[str], np.ndarray, list[np.ndarray]]) -> None:
    registry = Registry()
    monitor = Monitor(CONFIG, registry)
    batch = wide(registry, *two_assets)
    expected = told([monitor.process(batch)])
    for place in (7, 450, 901, 1700, 2222):
        registry = Registry()
        first = Monitor(CONFIG, registry)
        parts = list(cut(wide(registry, *two_assets), [place]))
        outcomes = [first.process(parts[0])]
        second, position = snapshot.from_bytes(snapshot.to_bytes(first, {"row": place}), CONFIG)
        assert position == {"row": place}
        outcomes.append(second.process(parts[1]))
        assert told(outcomes) == expected


def test_inputs_are_never_written(
    two_assets: tuple[list[str], np.ndarray, list[np.ndarray]]
) -> None:
    registry = Registry()
    batch = wide(registry, *two_assets)
    before = [getattr(batch, f.name).tobytes() for f in dataclasses.fields(batch)]
    Monitor(CONFIG, registry).process(batch)
    assert before == [getattr(batch, f.name).tobytes() for f in dataclasses.fields(batch)]


def test_the_fault_is_told_with_its_sensor_and_the_healthy_machine_is_left_alone(
    two_assets: tuple[list[str], np.ndarray, list[np.ndarray]]
) -> None:
    registry = Registry()
    outcome = Monitor(CONFIG, registry).process(wide(registry, *two_assets))
    fired = [a for a in outcome.alerts if a.state == "firing"]
    assert fired
    assert {a.asset for a in fired} == {"press"}
    assert fired[0].contributions[0].sensor == "vibration"
    assert START + 266 * MINUTE <= fired[0].onset_ns <= START + 276 * MINUTE
    assert fired[0].contributions[0].actual > fired[0].contributions[0].expected


def test_conditions_tell_warming_then_trusted_and_why_blind() -> None:
    registry = Registry()
    monitor = Monitor(CONFIG, registry)
    x = recording(3, 400, faulty=False)
    x[:, 1] = np.nan
    batch = wide(registry, ["press"], np.zeros(400, np.int64), [x])
    first, rest = cut(batch, [300])
    monitor.process(first)
    assert (monitor.conditions()[0].state, monitor.conditions()[0].detail) == (
        "warming", "100/150 rows")
    monitor.process(rest)
    states = {c.sensor: c.state for c in monitor.conditions()}
    assert states == {"": "trusted", "current": "trusted", "temperature": "blind",
                      "vibration": "trusted"}


def test_no_opinion_is_nan_and_never_zero() -> None:
    registry = Registry()
    monitor = Monitor(CONFIG, registry)
    rows = wide(registry, ["press"], np.zeros(149, np.int64), [recording(4, 149)])
    outcome = monitor.process(rows)
    assert np.isnan(outcome.scores.return_period_s).all()
    assert not outcome.scores.alert.any()


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "text"])
def test_a_damaged_snapshot_is_refused(damage: str) -> None:
    registry = Registry()
    monitor = Monitor(CONFIG, registry)
    monitor.process(wide(registry, ["press"], np.zeros(20, np.int64), [recording(4, 20)]))
    good = snapshot.to_bytes(monitor, {})
    bad = {"truncate": [good[:length] for length in range(0, len(good), 97)],
           "flip": [good[:i] + bytes([good[i] ^ 0x10]) + good[i + 1:]
                    for i in {*range(0, len(good), 31), *range(len(good) - 50, len(good))}],
           "empty": [b""], "text": [b"not a snapshot"]}[damage]
    for data in bad:
        with pytest.raises(StateError):
            snapshot.from_bytes(data, CONFIG)


def test_a_snapshot_of_the_format_before_still_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry()
    monitor = Monitor(CONFIG, registry)
    monitor.process(wide(registry, ["press"], np.zeros(20, np.int64), [recording(4, 20)]))
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "FORMAT", 1)
        data = snapshot.to_bytes(monitor, {"row": 20})
    without_checksum = data[: -len(b"sha256") - 32]
    loaded, position = snapshot.from_bytes(without_checksum, CONFIG)
    assert position == {"row": 20}
    assert loaded.conditions() == monitor.conditions()


def test_a_newer_snapshot_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry()
    monitor = Monitor(CONFIG, registry)
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "FORMAT", snapshot.FORMAT + 1)
        data = snapshot.to_bytes(monitor, {})
    with pytest.raises(StateError, match="newer than this program"):
        snapshot.from_bytes(data, CONFIG)


def test_slow_cycles_are_judged_as_rows() -> None:
    config = parse({
        "warm_up_rows": 100, "budget": "2/week",
        "windows": {"cycle": {"sensor": "parts", "signal": "counter"}},
    })
    rng = np.random.default_rng(7)
    cycle = rng.normal(30.0, 0.3, 260)
    cycle[200:] += 6.0
    ends = np.cumsum(cycle)
    seconds = np.arange(0.0, ends[-1], 0.5)
    registry = Registry()
    a = registry.asset("press")
    columns = registry.columns(a, ("parts", "power"))
    value = np.stack([np.searchsorted(ends, seconds, "right"), rng.normal(5.0, 0.1, seconds.size)])
    outcome = Monitor(config, registry).process(reading_batch(
        np.zeros(2 * seconds.size), np.tile(columns, seconds.size),
        np.repeat(START + (seconds * 1e9).astype(np.int64), 2), value.T.ravel(),
        np.tile([False, True], seconds.size),
    ))
    assert "cycle_seconds" in registry.sensors[a]
    assert 250 <= len(outcome.rows) <= 260
    fired = [alert for alert in outcome.alerts if alert.state == "firing"]
    assert fired
    assert fired[0].contributions[0].sensor == "cycle_seconds"
    slow_since = START + int(ends[199] * 1e9)
    assert slow_since <= fired[0].time_ns <= slow_since + 20 * 36 * 10**9


def test_maintenance_closes_the_open_case_and_warms_up_anew() -> None:
    registry = Registry()
    monitor = Monitor(CONFIG, registry)
    batch = wide(registry, ["press"], np.zeros(400, np.int64), [recording(1, 400)])
    before, after = cut(batch, [900])
    outcome = monitor.process(before)
    fired = [alert for alert in outcome.alerts if alert.state == "firing"]
    assert outcome.scores.alert[-1] == 1
    monitor.rebaseline(0)
    outcome = monitor.process(after)
    assert [alert.state for alert in outcome.alerts] == ["resolved"]
    assert outcome.alerts[0].id == fired[-1].id
    assert not outcome.scores.alert.any()
    assert monitor.conditions()[0].state == "warming"


def test_feedback_makes_what_a_sensor_leads_rarer_and_nothing_else() -> None:
    def alerts_after(decades: dict[int, float], size: float) -> list[Alert]:
        registry = Registry()
        monitor = Monitor(CONFIG, registry)
        x = recording(1, 400, faulty=False)
        x[266:, 2] += size
        before, after = cut(wide(registry, ["press"], np.zeros(400, np.int64), [x]), [750])
        monitor.process(before)
        for column, amount in decades.items():
            assert monitor.quieten(0, column, amount) == 0.0
        states = {c.sensor: c for c in monitor.conditions()}
        assert ("rarer" in states["vibration"].detail) == (2 in decades)
        return [a for a in monitor.process(after).alerts if a.state == "firing"]

    plain = alerts_after({}, 5.0)
    assert plain
    assert plain[0].contributions[0].sensor == "vibration"
    assert alerts_after({0: 3.0, 1: 3.0}, 5.0) == plain
    later = alerts_after({2: 3.0}, 5.0)
    assert not later or later[0].time_ns > plain[0].time_ns
    loud = alerts_after({2: 99.0}, 50.0)
    assert loud, "bounded: what is bad enough is told all the same"
    assert loud[0].return_period_seconds > 1000 * CONFIG.budget_per_week * 604_800 / 4


def test_maintenance_forgets_what_was_said_of_the_sensors() -> None:
    registry = Registry()
    monitor = Monitor(CONFIG, registry)
    monitor.process(wide(registry, ["press"], np.zeros(200, np.int64), [recording(1, 200)]))
    monitor.quieten(0, 1, 2.0)
    assert monitor.quiet(0, 1) == 2.0
    other, _ = snapshot.from_bytes(snapshot.to_bytes(monitor, {}), CONFIG)
    assert other.quiet(0, 1) == 2.0
    other.rebaseline(0)
    assert other.quiet(0, 1) == 0.0
