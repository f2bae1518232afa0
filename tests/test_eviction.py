"""More names than there is room for: the idlest asset goes, whatever the cut, and returns anew."""

from __future__ import annotations

import itertools
import json
import resource
from typing import Any

import numpy as np
import pytest

from anomaly.config import MonitorConfig
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams import kafka_state
from streams.kafka_codec import Decoder
from streams.kafka_settings import KafkaSettings
from streams.kafka_state import Book
from streams.lane import Lane
from streams.local import Line

CONFIG = MonitorConfig(warm_up_rows=30, detectors=("level", "drift"))
LIMIT = 6
START_MS = 1_700_000_000_000


def lane_of(found: kafka_state.Restored | None = None, **settings: Any) -> Lane:
    kafka = KafkaSettings(
        asset_limit=LIMIT, tag_limit=20, **{"asset_idle_seconds": 100.0, **settings})
    if found is None:
        monitor = Monitor(CONFIG, Registry(kafka.asset_limit, kafka.tag_limit))
        return Lane(0, kafka, monitor, Decoder(monitor.registry), Book(monitor), 0, 0, 0, 0.0)
    assert found.checkpoint is not None
    at = found.checkpoint.position
    lane = Lane(0, kafka, found.monitor, Decoder(found.monitor.registry), found.book, at, at, at,
                0.0)
    lane.memory = dict(found.checkpoint.memory)
    counts = found.checkpoint.counts
    lane.counts.update({name: n for name, n in counts.items() if "." not in name})
    return lane


def stream(seed: int, rows: int) -> list[Line]:
    """Machines that come and go: at each time a few are at work, over time many."""
    random = np.random.default_rng(seed)
    made = []
    for k in range(rows):
        machine = k // 150 + int(random.integers(0, 4))
        if random.random() < 0.05:
            machine = int(random.integers(0, 3))  # one of the first is back
        values = {f"s{c}": float(random.normal()) for c in range(1 + machine % 3)}
        if random.random() < 0.02:
            values["s0"] += 30.0
        made.append(json.dumps({"asset": f"m{machine}", "ts": START_MS + 2000 * k,
                                "values": values}).encode())
    return [Line(value, k, "t") for k, value in enumerate(made)]


def told(lane: Lane) -> list[tuple[bytes | None, bytes | None]]:
    return [(m.key, m.value) for m in lane.pending]


def test_whatever_the_cut_and_the_restarts_the_same_assets_go_and_the_same_is_said() -> None:
    lines = stream(1, 3000)
    whole = lane_of()
    whole.take(lines)
    assert whole.evicted > 10
    assert len(whole.monitor.registry.assets) == LIMIT
    assert [m for m in whole.pending if b"firing" in (m.value or b"")]
    for seed in range(3):
        random = np.random.default_rng(seed)
        edges = [0, *sorted(random.integers(0, len(lines), 25).tolist()), len(lines)]
        lane, said = lane_of(), []
        topic: dict[bytes, bytes] = {}
        for k, (start, end) in enumerate(itertools.pairwise(edges)):
            lane.take(lines[start:end])
            said += told(lane)
            lane.pending.clear()
            if k % 2:
                for key, value in lane.checkpoint_records({}):
                    topic.pop(key, None)
                    if value is not None:
                        topic[key] = value
                topic.update([kafka_state.position_record(lane.position, "w")])
                lane = lane_of(kafka_state.restored(topic, CONFIG, LIMIT, 20))
        assert said == told(whole)
        assert lane.evicted == whole.evicted
        assert lane.counts == whole.counts
        assert sorted(lane.monitor.registry.assets) == sorted(whole.monitor.registry.assets)


def test_who_returns_is_warmed_up_anew_and_the_topic_forgets() -> None:
    lane = lane_of()
    lines = stream(2, 3000)
    topic: dict[bytes, bytes] = {}
    tombstones = 0
    for start in range(0, 3000, 300):
        lane.take(lines[start:start + 300])
        for key, value in lane.checkpoint_records({}):
            tombstones += value is None
            topic.pop(key, None)
            if value is not None:
                topic[key] = value
    assert tombstones > 10
    names = {key.decode().split("/", 3)[3] for key in topic if key.startswith(b"a/")}
    assert names == set(lane.monitor.registry.assets)
    gone = next(f"m{k}" for k in range(3, 20) if f"m{k}" not in lane.monitor.registry.assets)
    back = {"asset": gone, "ts": START_MS + 2000 * 3001, "values": {"s0": 1.0}}
    lane.take([Line(json.dumps(back).encode(), 3000, "t")])
    (condition,) = [c for c in lane.monitor.conditions() if c.asset == gone and not c.sensor]
    assert (condition.state, condition.detail) == ("warming", "1/30 rows")


def test_where_none_is_idle_new_names_become_dead_letters() -> None:
    lane = lane_of(asset_idle_seconds=1e9)
    lane.take(stream(3, 1500))
    assert lane.evicted == 0
    assert lane.reasons["too_many_names"] > 0
    assert lane.counts["in"] == 1500


def test_an_asset_with_an_open_alert_stays() -> None:
    lane = lane_of()
    rows: list[dict[str, Any]] = []
    random = np.random.default_rng(4)
    for k in range(60):
        value = float(random.normal()) + (50.0 if k > 50 else 0.0)
        rows.append({"asset": "ill", "ts": START_MS + 1000 * k, "values": {"s0": value}})
    for k in range(60, 2000):
        rows.append({"asset": f"n{k // 40}", "ts": START_MS + 1000 * k, "values": {"s0": 1.0}})
    lane.take([Line(json.dumps(row).encode(), k, "t") for k, row in enumerate(rows)])
    assert lane.evicted > 20
    assert "ill" in lane.monitor.registry.assets


@pytest.mark.parametrize("shape", ["columnar", "sensors"])
def test_a_message_of_many_names_ends(shape: str) -> None:
    """One message that wants more assets, or more sensors, than there is room for."""
    lane = lane_of()
    first = stream(5, 600)
    lane.take(first)
    late, refused = START_MS + 10**9, lane.reasons["too_many_names"]
    if shape == "columnar":
        body = {"asset": [f"x{k}" for k in range(50)], "sensor": "s", "ts": [late] * 50,
                "value": [1.0] * 50}
    else:
        body = {"asset": "m1", "ts": late, "values": {f"v{k}": 1.0 for k in range(50)}}
    lane.take([Line(json.dumps(body).encode(), 600, "t"), stream(6, 602)[601]])
    assert lane.counts["in"] == 602
    assert lane.reasons["too_many_names"] == refused + 1


def test_a_flood_of_names_keeps_memory_bounded() -> None:
    """20,000 machines that each say one thing, in a lane of 1000."""
    kafka = KafkaSettings(asset_limit=1000, tag_limit=4500, asset_idle_seconds=10.0)
    monitor = Monitor(CONFIG, Registry(1000, 4500))
    lane = Lane(0, kafka, monitor, Decoder(monitor.registry), Book(monitor), 0, 0, 0, 0.0)

    def flood(first: int, end: int) -> None:
        for start in range(first, end, 2500):
            lane.take([
                Line(b'{"asset":"junk-%d","sensor":"s","ts":%d,"value":1.0}' % (
                    k, START_MS + 1000 * k), k, "t") for k in range(start, start + 2500)])
            lane.checkpoint_records({})
            lane.pending.clear()

    flood(0, 5_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    flood(5_000, 20_000)
    assert 19_000 <= lane.evicted <= 19_050
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KB
    assert len(lane.decoder._tags) <= 1000


def test_a_registry_gives_places_again() -> None:
    registry = Registry(2, 3)
    registry.columns(registry.asset("a"), ["x", "y"])
    registry.columns(registry.asset("b"), ["z"])
    assert registry.release(0).tolist() == [0, 1]
    assert registry.asset("c") == 0
    assert registry.columns(0, ["p", "q"]).tolist() == [0, 1]
    assert sorted(registry.table[0, :2].tolist()) == [0, 1]
    registry.release(1, keep_name=True)
    assert registry.asset("b") == 1
    assert registry.sensors[1] == []
    other = Registry(2, 3)
    manifest: Any = registry.to_manifest()
    other.load_manifest(manifest["assets"], manifest["sensors"], manifest["tags"])
    assert other.column(1, "again") == 0
    assert other.table[1, 0] == 2
