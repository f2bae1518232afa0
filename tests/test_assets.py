"""The state cut by assets: taken and put back, it is the same state; damage is refused."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly import assets
from anomaly.batches import ReadingBatch, reading_batch
from anomaly.config import MonitorConfig
from anomaly.errors import StateError
from anomaly.monitor import Monitor
from anomaly.registry import Registry

CONFIG = MonitorConfig(warm_up_rows=60, detectors=("level", "drift", "subspace", "pyramid"))


def readings(seed: int, rows: int, machines: int, width: int, first: int = 0) -> ReadingBatch:
    """Wide rows of some machines in turn, every one of them closing."""
    random = np.random.default_rng(seed)
    asset = np.repeat(random.integers(0, machines, rows), width)
    return reading_batch(
        asset, np.tile(np.arange(width), rows),
        np.repeat((first + np.arange(rows)) * 10**9, width), random.normal(size=rows * width),
        np.tile(np.arange(width) == width - 1, rows),
    )


def monitor(machines: int = 4, width: int = 3) -> Monitor:
    registry = Registry()
    for m in range(machines):
        a = registry.asset(f"machine-{m}")
        registry.columns(a, [f"s{c}" for c in range(width)])
    return Monitor(CONFIG, registry)


def same(one: Monitor, other: Monitor) -> bool:
    ours, theirs = one.state(), other.state()
    return all(
        ours[c][n].tobytes() == theirs[c][n].tobytes()
        for c in ours for n in ours[c] if c != "stream"
    )


def test_a_base_and_its_changes_give_back_every_bit() -> None:
    live = monitor()
    tracker = assets.Tracker(live)
    kept: dict[int, list[bytes]] = {}
    for step in range(12):
        live.process(readings(step, 40, 4 if step % 3 else 2, 3, 40 * step))
        touched = [0, 1, 2, 3]
        whole = [step in (0, 7) or a not in kept for a in touched]
        for a, text, base in zip(touched, tracker.changes(touched, whole), whole, strict=True):
            kept[a] = [text] if base else [*kept[a], text]
    again = monitor()
    assets.restore(again, iter(kept.items()))
    assert same(live, again)
    assert live.process(readings(99, 200, 4, 3, 1000)).scores.score.tobytes() == \
        again.process(readings(99, 200, 4, 3, 1000)).scores.score.tobytes()


def test_what_did_not_change_costs_nothing_and_one_value_costs_one_block() -> None:
    live = monitor()
    live.process(readings(1, 100, 4, 3))
    tracker = assets.Tracker(live)
    (base,) = tracker.changes([2], [True])
    (idle,) = tracker.changes([2], [False])
    live.arrays()["reference"]["asset_time"][2, 5] += 1
    (one,) = tracker.changes([2], [False])
    assert len(base) > tracker.image_bytes(3)
    assert len(one) - len(idle) == assets.BLOCK_BYTES


def test_a_column_that_came_later_is_part_of_the_next_change() -> None:
    live = monitor(2, 2)
    tracker = assets.Tracker(live)
    live.process(readings(1, 50, 2, 2))
    kept = {a: [text] for a, text in enumerate(tracker.changes([0, 1], [True, True]))}
    live.registry.column(0, "late")
    live.process(readings(2, 50, 1, 3, 50))
    (text,) = tracker.changes([0], [False])
    kept[0].append(text)
    again = monitor(2, 2)
    again.registry.column(0, "late")
    assets.restore(again, iter(kept.items()))
    assert same(live, again)


def test_damaged_changes_are_refused() -> None:
    live = monitor()
    live.process(readings(1, 100, 4, 3))
    tracker = assets.Tracker(live)
    (base,) = tracker.changes([0], [True])
    live.process(readings(2, 10, 1, 3, 100))
    (later,) = tracker.changes([0], [False])
    for bad in ([later], [base[:-8]], [base[:3]], [b"\x09" + base[1:]], [base, later[:-1]],
                [base, later[:8]]):
        with pytest.raises(StateError):
            assets.restore(monitor(), iter([(0, bad)]))


def test_compiled_comparison_is_the_plain_one() -> None:
    random = np.random.default_rng(5)
    packed = random.integers(0, 2**63, (3, 4, 16)).astype(np.uint64)
    ours, theirs = np.zeros((3, 4), np.uint64), np.zeros((3, 4), np.uint64)
    mask, plain = np.empty((3, 4), np.bool_), np.empty((3, 4), np.bool_)
    assets._compare(packed, ours, np.arange(3), mask)
    with np.errstate(over="ignore"):
        assets._compare.py_func(packed, theirs, np.arange(3), plain)
    assert (ours == theirs).all()
    assert (mask == plain).all()


def test_production_that_is_told_only_later_is_part_of_the_next_change() -> None:
    live = monitor()
    tracker = assets.Tracker(live)
    live.process(readings(1, 80, 4, 3))
    kept = {a: [text] for a, text in enumerate(tracker.changes([0, 1, 2, 3], [True] * 4))}
    column = int(live.registry.columns(1, ["s0", "s1", "s2", "parts_count"])[3])
    count = reading_batch(
        np.ones(60), np.full(60, column), (1000 + 30 * np.arange(60)) * 10**9, np.arange(60.0),
        np.ones(60, np.bool_))
    live.process(count)
    for a, text in zip((1, 2), tracker.changes([1, 2], [False, False]), strict=True):
        kept[a].append(text)
    again = monitor()
    again.registry.columns(1, ["s0", "s1", "s2", "parts_count"])
    assets.restore(again, iter(kept.items()))
    assert same(live, again)
    told = again.statement(1)
    assert told is not None
    assert told.total.parts == 59.0
    assert again.statement(0) is None
