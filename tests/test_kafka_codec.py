"""Messages to columns: every shape, every reason, and nothing that depends on the cut."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.registry import Registry
from streams.instants import UnreadableTime, to_nanoseconds
from streams.kafka_codec import Decoded, Decoder, Limits
from streams.message_fields import Fields
from streams.product_words import word_number
from streams.refusals import REASONS

SECOND = 10**9
T = 1_700_000_000


@dataclass
class Message:
    value: bytes | None
    key: bytes | None = None


def one(value: object, key: bytes | None = None, **options: Any) -> tuple[Decoded, Decoder]:
    raw = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
    decoder = Decoder(Registry(), **options)
    (decoded,) = decoder.decode([Message(raw, key)])
    return decoded, decoder


def arrow(table: pa.Table, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()


WIDE = pa.table({"asset": ["a", "b"], "ts": pa.array([T * 1000, T * 1000 + 1]),
                 "x": [1.0, 2.0], "y": [3.0, None]})
LONG = pa.table({"asset": pa.array(["a", "b"]).dictionary_encode(), "sensor": ["x", "y"],
                 "ts": pa.array([T, T + 1], pa.timestamp("s")), "value": [1.0, 2.0]})


@pytest.mark.parametrize("value, key, readings, closes", [
    ({"asset": "a", "sensor": "s", "ts": T, "value": 1}, None, [("a", "s", T, 1.0)], [False]),
    ({"sensor": "s", "ts": T, "value": None}, b"k", [("k", "s", T, math.nan)], [False]),
    ({"asset": "a", "ts": T, "values": {"s": 1, "t": None}}, None,
     [("a", "s", T, 1.0), ("a", "t", T, math.nan)], [False, True]),
    ({"asset": "a", "sensor": "Rezept", "ts": T, "value": "B 2"}, None,
     [("a", "Rezept", T, word_number("B 2"))], [False]),
    ({"asset": "a", "ts": T, "values": {"s": 1, "product_id": "B 2"}}, None,
     [("a", "s", T, 1.0), ("a", "product_id", T, word_number("B 2"))], [False, True]),
    ({"asset": "a", "ts": T, "s": 1, "recipe": "17", "note": "x"}, None,
     [("a", "s", T, 1.0), ("a", "recipe", T, 17.0)], [False, True]),
    ({"asset": "a", "sensor": "state", "ts": T, "value": "Execute"}, b"k",
     [("a", "state", T, 6.0)], [False]),
    ({"asset": "a", "ts": T, "s": 1, "machine_state": "Held", "state": "fine"}, None,
     [("a", "s", T, 1.0), ("a", "machine_state", T, 11.0)], [False, True]),
    ({"asset": "a", "ts": T, "values": {"s": 1, "state": "Idle"}}, None,
     [("a", "s", T, 1.0), ("a", "state", T, 4.0)], [False, True]),
    ({"asset": "a", "ts": T, "values": {"s": "hot", "t": 2}}, None,
     [("a", "s", T, math.nan), ("a", "t", T, 2.0)], [False, True]),
    ({"asset": "a", "ts": [T, T + 1], "values": {"s": [1, 2]}}, None,
     [("a", "s", T, 1.0), ("a", "s", T + 1, 2.0)], [True, True]),
    ({"asset": ["a", "b"], "sensor": "s", "ts": [T, T + 1], "value": [1, 2]}, None,
     [("a", "s", T, 1.0), ("b", "s", T + 1, 2.0)], [False, False]),
    ({"asset": "a", "ts": T, "x": 1, "note": "run", "y": 2.5, "on": True, "z": None}, None,
     [("a", "x", T, 1.0), ("a", "y", T, 2.5)], [False, True]),
    ({"ts": T, "x": 1}, b"a", [("a", "x", T, 1.0)], [True]),
    ({"timestamp_ms": T * 1000, "value": 7}, b"umh.v1.ent.site.press._raw.oil.temp",
     [("ent.site.press", "oil.temp", T, 7.0)], [False]),
    (arrow(LONG), None, [("a", "x", T, 1.0), ("b", "y", T + 1, 2.0)], [False, False]),
])
def test_each_shape_becomes_the_readings_it_means(
    value: object, key: bytes | None, readings: list[Any], closes: list[bool]
) -> None:
    decoded, decoder = one(value, key)
    names = decoder.registry
    got = decoded.readings
    assert [(names.assets[a], names.sensors[a][c], t // SECOND) for a, c, t in zip(
        got.asset.tolist(), got.sensor.tolist(), got.time_ns.tolist(), strict=True)
    ] == [r[:3] for r in readings]
    assert np.array_equal(got.value, [r[3] for r in readings], equal_nan=True)
    assert got.closes.tolist() == closes
    assert sum(decoder.shapes.values()) == 1


def test_wide_arrow_closes_its_rows_and_tells_its_unit() -> None:
    decoded, decoder = one(arrow(WIDE))
    assert decoded.readings.closes.tolist() == [False, True, False, True]
    assert decoded.readings.time_ns.tolist() == [
        T * SECOND, T * SECOND, T * SECOND + 10**6, T * SECOND + 10**6]
    assert decoder.units == {"ms": 2}


@pytest.mark.parametrize("value, reason", [
    (None, "tombstone"), (b"", "empty"), (b"{" + b" " * 500, "too_large"),
    (b"[" * 60 + b"]" * 60, "too_deep"), (b'{"asset"', "malformed_json"),
    (b'{"asset":"\xff"}', "malformed_json"), ([1], "unknown_shape"), ({"a": 1}, "unknown_shape"),
    ({"sensor": "s", "ts": T, "value": 1}, "no_asset"),
    ({"asset": "a", "ts": T, "value": 1}, "no_sensor"),
    ({"asset": "a", "sensor": "s", "value": 1}, "no_time"),
    ({"asset": "a", "sensor": "s", "ts": "soon", "value": 1}, "unreadable_time"),
    ({"asset": "a", "sensor": "s", "ts": True, "value": 1}, "unreadable_time"),
    ({"asset": "a", "sensor": "s", "ts": T, "value": "1"}, "not_a_number"),
    ({"asset": "a", "sensor": "s", "ts": T, "value": False}, "not_a_number"),
    ({"asset": "a", "ts": T, "values": {"s": "x"}}, "not_a_number"),
    ({"asset": "a", "ts": T, "values": {}}, "no_values"),
    ({"asset": "a", "ts": T, "note": "x"}, "no_values"), ({"ts": T, "x": 1}, "no_asset"),
    ({"asset": "a", "ts": T, "x": 10**350}, "not_a_number"),
    ({"asset": "a", "ts": [T], "values": {"s": [1, 2]}}, "columns_differ"),
    ({"asset": "a" * 201, "sensor": "s", "ts": T, "value": 1}, "name_too_long"),
    ({"asset": "a", "ts": [T] * 21, "values": {"s": [1] * 21}}, "too_many_readings"),
    (b"\xff\xff\xff\xff\x10", "malformed_arrow"), (arrow(WIDE)[:-20], "too_large"),
])
def test_each_unusable_message_has_its_reason(value: object, reason: str) -> None:
    decoded, decoder = one(value, limits=Limits(message_bytes=400, readings=20))
    assert decoded.dead == ((0, reason),)
    assert reason in REASONS
    assert len(decoded.readings) == 0
    assert not decoder.shapes


def test_compressed_arrow_is_refused_before_it_is_unpacked() -> None:
    for codec in ("zstd", "lz4"):
        bomb = arrow(pa.table({"asset": ["a"] * 10**5, "ts": [T] * 10**5, "x": [0.0] * 10**5}),
                     codec)
        assert len(bomb) < 10**6
        assert one(bomb)[0].dead == ((0, "malformed_arrow"),)


def test_names_beyond_the_limit_are_dead_letters_and_the_known_go_on() -> None:
    decoder = Decoder(Registry(asset_limit=2))
    messages = [Message(json.dumps({"asset": f"m{i % 4}", "sensor": "s", "ts": T + i,
                                    "value": i}).encode()) for i in range(8)]
    (decoded,) = decoder.decode(messages)
    assert [i for i, reason in decoded.dead if reason == "too_many_names"] == [2, 3, 6, 7]
    assert decoded.message.tolist() == [0, 1, 4, 5]


def test_field_names_are_the_senders() -> None:
    decoded, _ = one({"machine": "a", "tag": "s", "when": T, "v": 4},
                     fields=Fields("machine", "tag", "when", "v", "vs"))
    assert decoded.readings.value.tolist() == [4.0]


@pytest.mark.parametrize("time, seconds", [
    (T, T), (T * 1000, T), (T * 10**6, T), (T * 10**9, T), (T + 0.25, T + 0.25),
    ("2023-11-14T22:13:20Z", T), ("2023-11-14 23:13:20+01:00", T), (str(T), T),
    ("2023-11-14T22:13:20.123456789Z", T + 0.123456789),
])
def test_times_are_told_apart_by_magnitude(time: object, seconds: float) -> None:
    found, _ = to_nanoseconds(time)
    assert abs(found - round(seconds * 1e9)) <= 1000


@pytest.mark.parametrize(
    "time", ["", "2023-13-01T00:00:00", "1e999", math.nan, 1e300, None, 10**30])
def test_other_times_are_unreadable(time: object) -> None:
    with pytest.raises(UnreadableTime):
        to_nanoseconds(time)


TEXTS = st.one_of(
    st.binary(max_size=60),
    st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
                 lambda inner: st.lists(inner, max_size=3)
                 | st.dictionaries(st.sampled_from(["asset", "sensor", "ts", "value", "values"]),
                                   inner, max_size=5), max_leaves=12,
                 ).map(lambda body: json.dumps(body).encode()),
)


@given(st.lists(st.tuples(TEXTS, st.none() | st.binary(max_size=12)), max_size=12))
@settings(max_examples=300, deadline=None)
def test_anything_is_either_readings_or_a_dead_letter(
    messages: list[tuple[bytes, bytes | None]]
) -> None:
    """No exception, every message accounted for once, and the same columns message by message."""
    given_ = [Message(value, key) for value, key in messages]
    whole = Decoder(Registry())
    parts = Decoder(Registry())
    batches = list(whole.decode(given_))
    single = [d for message in given_ for d in parts.decode([message])]
    assert sum(d.end - d.first for d in batches) == len(given_)
    dead = {i for d in batches for i, _ in d.dead}
    live = {int(i) for d in batches for i in d.message}
    assert dead | live == set(range(len(given_)))
    assert not dead & live
    for name in ("asset", "sensor", "time_ns", "value", "closes"):
        ours = [x for d in batches for x in getattr(d.readings, name).tolist()]
        theirs = [x for d in single for x in getattr(d.readings, name).tolist()]
        assert str(ours) == str(theirs)
    assert whole.registry.sensors == parts.registry.sensors
