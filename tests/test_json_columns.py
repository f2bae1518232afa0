"""What the columnar scanner reads is what the codec would have read, message by message."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.consumer.fetcher import Fetcher
from kafka.record import MemoryRecords

from anomaly.registry import Registry
from streams.kafka_codec import Decoder, Limits
from streams.wire import Records, ScannedPartition
from tests.test_wire import PLACE, batch

cells = st.one_of(
    st.floats(-1e6, 1e6).map(lambda v: round(v, 3)), st.integers(-5, 10**17), st.none(),
    st.sampled_from([0.1, 1e300, -0.0, 5e-324]))
odd_cells = st.sampled_from(["x", True, [1.0], {"a": 1}])
odd_texts = st.sampled_from([b"", b"}", b"]", b",", b"[", b"null", b"0", b" ", b"\\"])


@st.composite
def columnar(draw: st.DrawFn) -> bytes:
    """Columnar messages as they come: mostly whole, sometimes odd, sometimes not JSON at all."""
    kind = draw(st.integers(0, 11))
    rows = draw(st.integers(0 if kind == 0 else 1, 4))
    unit = draw(st.sampled_from([1, 1000, 10**6, 10**9, 10**11]))
    body: dict[str, Any] = {
        "asset": draw(st.sampled_from(["a", "ü/1", 'q"', "b\\"])),
        "ts": [1_700_000_000 * unit + k for k in range(rows)],
        "values": {
            name: draw(st.lists(cells, min_size=rows, max_size=rows))
            for name in draw(st.lists(st.sampled_from("stuvß"), unique=True,
                                      min_size=0 if kind == 1 else 1))},
    }
    if kind == 2:
        body.pop(draw(st.sampled_from(sorted(body))))
    if kind == 3 and body["ts"]:
        body["ts"][-1] = draw(st.sampled_from([5, 1.5, None, "2024-05-06T07:08:09Z", 10**19, -7]))
    if kind == 4 and body["values"]:
        name = draw(st.sampled_from(sorted(body["values"])))
        body["values"][name] = draw(st.one_of(
            st.lists(cells, max_size=3), st.lists(odd_cells, min_size=rows, max_size=rows),
            st.just(1.0)))
    if kind == 5:
        body[draw(st.sampled_from(["unit", "sensor", "value"]))] = draw(
            st.sampled_from([None, "x", 1.0, [1.0]]))
    if draw(st.booleans()):  # a row, without the lists
        if body.get("ts") and kind != 9:
            body["ts"] = body["ts"][-1]
        if kind != 10:
            body["values"] = {name: cells[0] if isinstance(cells, list) and cells else cells
                              for name, cells in body.get("values", {}).items()}
    keys = draw(st.permutations(sorted(body))) if kind == 6 else list(body)
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " :\n")]))
    text = json.dumps({k: body[k] for k in keys}, separators=separators,
                      ensure_ascii=draw(st.booleans())).encode()
    if kind == 7:
        cut = draw(st.integers(0, len(text)))
        text = text[:cut] + draw(odd_texts) + text[cut + draw(st.integers(0, 1)):]
    if kind == 8:
        text = text.replace(b'"s"', b'"t"')  # perhaps twice the same column
    return text


def read(records: Any, limits: Limits) -> tuple[Any, ...]:
    registry = Registry()
    decoder = Decoder(registry, limits=limits)
    parts = list(decoder.decode(records))
    columns = [
        np.concatenate([getattr(part.readings, name) for part in parts]).tobytes()
        for name in ("asset", "sensor", "time_ns", "value", "closes")]
    message = [m for part in parts for m in part.message.tolist()]
    dead = [d for part in parts for d in part.dead]
    return (columns, message, dead, decoder.shapes, decoder.units, decoder.masked,
            registry.assets, registry.sensors)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    texts=st.lists(columnar(), min_size=1, max_size=12),
    key=st.sampled_from([None, b"key", b"umh.v1.a.b._h.c"]), readings=st.sampled_from([6, 1 << 18]))
def test_readings_are_those_of_the_codec(texts: list[bytes], key: bytes | None, readings: int
                                         ) -> None:
    items = [(key if i % 5 == 4 else None, text, []) for i, text in enumerate(texts * 2)]
    raw = batch(items)  # the second time the names are known
    stock = Fetcher.PartitionRecords(0, PLACE, MemoryRecords(raw)).take()
    fast = Records(list(ScannedPartition(0, PLACE, MemoryRecords(raw)).take()))
    limits = Limits(readings=readings)
    assert read(fast, limits) == read(stock, limits)


@pytest.mark.parametrize("rows", [1, 10])
def test_usual_messages_are_read_by_the_scanner_alone(rows: int) -> None:
    random = np.random.default_rng(3)

    def told(column: list[Any]) -> Any:
        return column if rows > 1 else column[0]

    items = [(None, json.dumps({
        "asset": f"m{k % 5}", "ts": told([1_700_000_000_000 + 10 * k + r for r in range(rows)]),
        "values": {f"s{c}": told(np.round(random.normal(20, 5, rows), 3).tolist())
                   for c in range(10)},
    }).encode(), []) for k in range(400)]
    records = Records(list(ScannedPartition(0, PLACE, MemoryRecords(batch(items))).take()))
    decoder = Decoder(Registry())
    list(decoder.decode(records[:5]))
    asked: list[bytes] = []
    plain = decoder._json

    class Watched:
        def decode(self, text: bytes) -> Any:
            asked.append(text)
            return plain.decode(text)

    decoder._json = Watched()  # type: ignore[assignment]
    began = time.process_time()
    assert sum(len(part.readings) for part in decoder.decode(records)) == 4000 * rows
    assert not asked, time.process_time() - began
