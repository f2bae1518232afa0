"""The monitor with readings held back for late ones: the laws again, and order does not matter."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import pytest

from anomaly import assets, quality, snapshot
from anomaly.batches import Outcome, ReadingBatch, reading_batch
from anomaly.config import MonitorConfig, parse
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from tests.test_monitor import MINUTE, SENSORS, START, cut, recording, told, wide

LATENESS_SECONDS = 300.0
CONFIGS = {
    "instants": MonitorConfig(
        warm_up_rows=150, budget_per_week=2.0, detectors=("level", "drift"),
        quality=quality.Config(lateness_seconds=LATENESS_SECONDS)),
    "spans": parse({"warm_up_rows": 60, "budget": "2/week", "detectors": ["level", "drift"],
                    "quality": {"lateness_seconds": LATENESS_SECONDS},
                    "windows": {"row_seconds": 120.0}}),
}
NAMES = ["press", "saw"]


def whole(registry: Registry, sent_alone: bool) -> ReadingBatch:
    """Rows of two machines in turn, as wide rows or every reading by itself."""
    order = np.random.default_rng(5).permutation(np.repeat([0, 1], 400))
    batch = wide(registry, NAMES, order, [recording(1, 400), recording(2, 400, faulty=False)])
    if sent_alone:
        return dataclasses.replace(batch, closes=np.zeros(len(batch), np.bool_))
    return batch


def shuffled(batch: ReadingBatch, seed: int, whole_rows: bool) -> ReadingBatch:
    """The same readings up to the lateness late; wide rows stay together."""
    random = np.random.default_rng(seed)
    if whole_rows:
        delay = np.repeat(random.uniform(0, 0.99 * LATENESS_SECONDS, len(batch) // 3), 3)
    else:
        delay = random.uniform(0, 0.99 * LATENESS_SECONDS, len(batch))
    order = np.argsort(batch.time_ns + delay * 1e9, kind="stable")
    return ReadingBatch(*(getattr(batch, f.name)[order] for f in dataclasses.fields(batch)))


def by_asset(registry: Registry, outcomes: list[Outcome]) -> dict[str, tuple[object, ...]]:
    """Everything that was said of each asset, bit for bit."""
    said = {}
    for name in NAMES:
        a = registry.asset(name)
        masks = [o.rows.asset == a for o in outcomes]
        said[name] = (
            b"".join(o.rows.time_ns[m].tobytes() for o, m in zip(outcomes, masks, strict=True)),
            b"".join(o.scores.score[m].tobytes() for o, m in zip(outcomes, masks, strict=True)),
            [repr(x) for o in outcomes for x in o.alerts if x.asset == name],
        )
    return said


@pytest.mark.parametrize("sent_alone", [False, True])
@pytest.mark.parametrize("kind", list(CONFIGS))
def test_what_is_shuffled_within_the_lateness_says_what_the_sorted_stream_says(
    kind: str, sent_alone: bool
) -> None:
    registry = Registry()
    monitor = Monitor(CONFIGS[kind], registry)
    batch = whole(registry, sent_alone)
    expected = by_asset(registry, [monitor.process(batch), monitor.flush()])
    assert expected["press"][2], "nothing was alerted"
    for seed in range(3):
        other = Registry()
        monitor = Monitor(CONFIGS[kind], other)
        mixed = shuffled(whole(other, sent_alone), seed, not sent_alone)
        assert (np.diff(mixed.time_ns) < 0).any()
        outcomes = [monitor.process(mixed), monitor.flush()]
        assert by_asset(other, outcomes) == expected
        assert {name for name, n in monitor.rejected().items() if n} == {"accepted", "missing"}


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_any_cut_and_any_restart_says_the_same(kind: str) -> None:
    """With late readings, duplicates and jumps among them; the reasons are the same, too."""
    config = CONFIGS[kind]

    def messy(registry: Registry) -> ReadingBatch:
        batch = shuffled(whole(registry, True), 7, False)
        random = np.random.default_rng(3)
        time = batch.time_ns.copy()
        late = random.random(len(batch)) < 0.05
        time[late] -= (random.integers(1, 12, late.sum())) * MINUTE
        time[random.random(len(batch)) < 0.01] += 400 * 86_400 * 10**9
        again = np.sort(np.concatenate([
            np.arange(len(batch)), random.choice(len(batch), 100, False)]))
        return ReadingBatch(batch.asset[again], batch.sensor[again], time[again],
                            batch.value[again], batch.closes[again])

    registry = Registry()
    monitor = Monitor(config, registry)
    batch = messy(registry)
    outcomes = [monitor.process(batch), monitor.flush()]
    expected = told(outcomes)
    reasons = outcomes[0].reason
    assert {quality.LATE, quality.DUPLICATE, quality.CLOCK_JUMP} <= set(reasons.tolist())
    for seed in range(3):
        registry = Registry()
        monitor = Monitor(config, registry)
        batch = messy(registry)
        random = np.random.default_rng(seed)
        edges = sorted(random.integers(0, len(batch), 12 * seed + 1).tolist())
        monitor, outcomes = handed_on(monitor, cut(batch, edges), config)
        said = np.concatenate([o.reason for o in outcomes])
        assert said.tobytes() == reasons.tobytes()
        assert told([*outcomes, monitor.flush()]) == expected


def handed_on(
    monitor: Monitor, parts: Iterable[ReadingBatch], config: MonitorConfig
) -> tuple[Monitor, list[Outcome]]:
    """The parts one after another, by a monitor from a snapshot or from another worker in turn."""
    outcomes = []
    for k, part in enumerate(parts):
        if k % 3 == 1:
            monitor, _ = snapshot.from_bytes(snapshot.to_bytes(monitor, {}), config)
        elif k % 3 == 2:
            monitor = moved(monitor, config)
        outcomes.append(monitor.process(part))
    return monitor, outcomes


def moved(monitor: Monitor, config: MonitorConfig) -> Monitor:
    """Another monitor, given the assets one by one, as a partition that changes hands is."""
    every = list(range(len(monitor.registry.assets)))
    images = list(assets.Tracker(monitor).changes(every, [True] * len(every)))
    registry = Registry()
    for a, name in enumerate(monitor.registry.assets):
        registry.columns(registry.asset(name), monitor.registry.sensors[a])
    other = Monitor(config, registry)
    assets.restore(other, ((a, [image]) for a, image in zip(every, images, strict=True)))
    other.load_stream(monitor.stream_state())
    return other


def test_other_assets_do_not_matter() -> None:
    registry = Registry()
    batch = shuffled(whole(registry, True), 2, False)
    monitor = Monitor(CONFIGS["instants"], registry)
    together = by_asset(registry, [monitor.process(batch), monitor.flush()])
    mine = batch.asset == registry.asset("press")
    alone = Registry()
    alone.columns(alone.asset("press"), SENSORS)
    monitor = Monitor(CONFIGS["instants"], alone)
    part = reading_batch(np.zeros(mine.sum()), batch.sensor[mine], batch.time_ns[mine],
                         batch.value[mine])
    said = by_asset(alone, [monitor.process(part), monitor.flush()])
    assert said["press"] == together["press"]


def test_each_row_says_which_arrival_closed_it() -> None:
    registry = Registry()
    batch = shuffled(whole(registry, False), 1, True)
    outcome = Monitor(CONFIGS["instants"], registry).process(batch)
    assert len(outcome.rows) > 700
    newest: dict[int, int] = {}
    at = dict(zip(outcome.rows.closed_at.tolist(), range(len(outcome.rows)), strict=False))
    for i in range(len(batch)):
        a = int(batch.asset[i])
        newest[a] = max(newest.get(a, 0), int(batch.time_ns[i]))
        if i in at:
            row = at[i]
            assert outcome.rows.asset[row] == a
            assert outcome.rows.time_ns[row] + LATENESS_SECONDS * 1e9 <= newest[a]


def test_it_costs_no_state_where_nothing_may_be_late() -> None:
    registry = Registry()
    monitor = Monitor(MonitorConfig(detectors=("level",)), registry)
    monitor.process(reading_batch([registry.asset("a")], [registry.column(0, "s")], [START], [1.0]))
    assert "reorder" not in monitor.state()
    assert "reorder" not in monitor.versions()
