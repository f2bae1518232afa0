"""The state topic's records without a broker: written in steps, read back whole."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest

from anomaly import assets
from anomaly.batches import reading_batch
from anomaly.config import MonitorConfig
from anomaly.errors import StateError
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams import kafka_state
from streams.kafka_state import Book, Checkpoint

CONFIG = MonitorConfig(warm_up_rows=60, detectors=("level", "drift"))


def step(monitor: Monitor, seed: int, k: int) -> set[int]:
    """Some rows of some assets; new ones appear on the way."""
    chance = np.random.default_rng(seed * 100 + k)
    names = monitor.registry
    rows = []
    for _ in range(40):
        a = names.asset(f"m{chance.integers(0, 3 + k // 4)}")
        c = [names.column(a, f"s{j}") for j in range(2 + (k > 5))]
        rows += [(a, column, column == c[-1]) for column in c]
    asset, sensor, closes = (np.array(column) for column in zip(*rows, strict=True))
    time = np.cumsum(np.concatenate([[0], closes[:-1]])) + 1000 * k
    monitor.process(reading_batch(asset, sensor, time * 10**9,
                                  chance.normal(size=len(rows)), closes))
    return set(asset.tolist())


def checkpoint(monitor: Monitor, position: int) -> Checkpoint:
    return Checkpoint(kafka_state.FORMAT, position, len(monitor.registry.assets), {"in": position},
                      kafka_state.stream_bytes(monitor), {0: 3}, {"shelved": {"m0": 5}})


def written(steps: int, seed: int) -> tuple[Monitor, list[tuple[bytes, bytes]]]:
    monitor = Monitor(CONFIG, Registry())
    book = Book(monitor)
    log: list[tuple[bytes, bytes]] = []
    for k in range(steps):
        touched = step(monitor, seed, k)
        log += book.records(sorted(touched), checkpoint(monitor, k))
        log.append(kafka_state.position_record(k, "w"))
    return monitor, log


def same(one: Monitor, other: Monitor) -> None:
    """Every asset's image is the same; tags may be numbered differently, which says nothing."""
    assert one.registry.assets == other.registry.assets
    assert one.registry.sensors == other.registry.sensors
    every = list(range(len(one.registry.assets)))
    ours, theirs = (list(assets.Tracker(m).changes(every, [True] * len(every)))
                    for m in (one, other))
    assert ours == theirs
    assert kafka_state.stream_bytes(one) == kafka_state.stream_bytes(other)


@pytest.mark.parametrize("steps", [1, 2, 17, 40])
def test_what_was_written_in_steps_is_read_back_whole(steps: int) -> None:
    monitor, log = written(steps, 1)
    found = kafka_state.restored(dict(log), CONFIG, 100, 1000)
    assert found.monitor.registry.sensors == monitor.registry.sensors
    same(monitor, found.monitor)
    assert found.checkpoint is not None
    assert (found.position, found.checkpoint.commands) == (steps - 1, {0: 3})


def test_a_restored_book_goes_on_with_the_chains() -> None:
    monitor, log = written(20, 2)
    found = kafka_state.restored(dict(log), CONFIG, 100, 1000)
    for k in range(20, 45):
        step(monitor, 2, k)
        log += found.book.records(
            sorted(step(found.monitor, 2, k)), checkpoint(found.monitor, k))
    same(monitor, kafka_state.restored(dict(log), CONFIG, 100, 1000).monitor)


def test_the_topic_stays_bounded_and_idle_assets_cost_nothing() -> None:
    _, log = written(60, 3)
    per_asset = len({key for key, _ in log}) / 17
    assert per_asset <= kafka_state.SLOTS + 1
    monitor = Monitor(CONFIG, Registry())
    book = Book(monitor)
    step(monitor, 1, 0)
    book.records([0, 1, 2], checkpoint(monitor, 0))
    assert [key for key, _ in book.records([0, 1, 2], checkpoint(monitor, 1))] == [
        b"memory/0", b"checkpoint"]


def test_damage_newer_formats_and_other_settings_are_refused() -> None:
    _, log = written(6, 4)
    good = dict(log)
    chance = random.Random(1)
    for key in list(good):
        if not key.startswith(b"a/0/"):  # a change may be of an older chain, and is passed over
            continue
        value = bytearray(good[key])
        value[chance.randrange(20, len(value))] ^= 0xFF
        for bad in (good[key][:30], b"\x63" + good[key][1:], bytes(value[:-4])):
            with pytest.raises(StateError):
                kafka_state.restored(good | {key: bad}, CONFIG, 100, 1000)
    newer = msgspec.json.decode(good[b"position"])
    newer["format"] = 99
    with pytest.raises(StateError, match="newer"):
        kafka_state.restored(good | {b"position": msgspec.json.encode(newer)}, CONFIG, 100, 1000)
    with pytest.raises(StateError, match="asset_time"):
        kafka_state.restored(
            good, MonitorConfig(warm_up_rows=90, detectors=("level", "drift")), 100, 1000)
    del good[next(key for key in good if key.startswith(b"a/0/"))]
    with pytest.raises(StateError):
        kafka_state.restored(good, CONFIG, 100, 1000)


def test_a_memory_larger_than_a_record_is_kept_in_pieces() -> None:
    monitor = Monitor(CONFIG, Registry())
    random.seed(1)
    memory = {"open": {str(k): random.randbytes(40).hex() for k in range(40_000)}}
    given = msgspec.structs.replace(checkpoint(monitor, 7), memory=memory)
    log = dict(Book(monitor).records([], given))
    assert max(map(len, log.values())) < 1_000_000
    found = kafka_state.restored(log, CONFIG, 100, 1000)
    assert found.checkpoint is not None
    assert found.checkpoint.memory == memory
    with pytest.raises(StateError, match="memory"):
        kafka_state.restored(log | {b"memory/1": b"\0" * 9}, CONFIG, 100, 1000)
