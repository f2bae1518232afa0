"""What the kernel reads of Arrow messages is what pyarrow and the codec would have read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.consumer.fetcher import Fetcher
from kafka.record import MemoryRecords

from anomaly.registry import Registry
from streams import kafka_arrow
from streams.arrow_layout import Layouts
from streams.json_scan import Names
from streams.kafka_codec import Decoder, Limits
from streams.message_fields import Fields
from streams.wire import Records, ScannedPartition
from tests.test_json_columns import read
from tests.test_wire import PLACE, batch

INDICES = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8()]
NUMBERS = [pa.float64(), pa.float32(), pa.int64(), pa.int32(), pa.int16(), pa.string()]
TIMES = [pa.int64(), pa.timestamp("s"), pa.timestamp("ms", "UTC"), pa.timestamp("us"),
         pa.timestamp("ns"), pa.int32(), pa.string()]
LATEST = 1_700_000_000


def stream(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    chunk = options.pop("chunk", None)
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as out:
        out.write_table(table, max_chunksize=chunk)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def names_of(draw: st.DrawFn, chosen: list[str], rows: int) -> pa.Array:
    names = draw(st.lists(st.sampled_from(chosen), min_size=rows, max_size=rows))
    plain = pa.array(names, pa.string())
    if draw(st.booleans()):
        return plain if draw(st.integers(0, 4)) else plain.cast(pa.large_string())
    index = draw(st.sampled_from(INDICES))
    coded = plain.dictionary_encode()
    return coded.cast(pa.dictionary(index, pa.string()))


def times_of(draw: st.DrawFn, rows: int) -> pa.Array:
    kind = draw(st.sampled_from(TIMES))
    if kind == pa.string():
        return pa.array(["2024-05-06T07:08:09Z"] * rows)
    if kind == pa.int32():
        return pa.array([LATEST] * rows, kind)
    first = draw(st.sampled_from([LATEST, LATEST * 1000, LATEST * 10**6, LATEST * 10**9, -5,
                                  99_999_999_999, 20 * LATEST * 10**6]))
    return pa.array([first + r for r in range(rows)], pa.int64()).cast(kind)


def numbers_of(draw: st.DrawFn, rows: int) -> pa.Array:
    kind = draw(st.sampled_from(NUMBERS[:1] * 6 + NUMBERS))
    cells: Any = st.integers(-100, 100) if not pa.types.is_floating(kind) else st.one_of(
        st.floats(width=32), st.integers(-9, 9).map(float))
    if kind == pa.string():
        cells = st.just("x")
    if draw(st.integers(0, 3)) == 0:
        cells = st.one_of(st.none(), cells)
    return pa.array(draw(st.lists(cells, min_size=rows, max_size=rows)), kind)


@st.composite
def columns(draw: st.DrawFn) -> list[bytes]:
    """Messages of one sender: one schema mostly, some of them odd."""
    is_long = draw(st.booleans())
    asset = draw(st.booleans())
    found = []
    for _ in range(draw(st.integers(1, 3))):
        rows = draw(st.integers(0 if draw(st.integers(0, 9)) == 0 else 1, 5))
        made: dict[str, Any] = {}
        if asset:
            made["asset"] = names_of(draw, ["a", "b", "ü/1"], rows)
        if is_long:
            made["sensor"] = names_of(draw, ["s", "t", "ß"], rows)
        made["ts"] = times_of(draw, rows)
        for name in ["value"] if is_long else ["p", "q", "ß"][: draw(st.integers(1, 3))]:
            made[name] = numbers_of(draw, rows)
        if draw(st.integers(0, 9)) == 0:
            made["more"] = pa.array(list(range(rows)))
        table = pa.table(made)
        if draw(st.integers(0, 5)) == 0:
            table = table.slice(rows // 2)
        odd = draw(st.integers(0, 12))
        text = stream(table, **({"compression": "lz4"} if odd == 0 else {"chunk": 2} if odd == 1
                                else {"metadata_version": pa.ipc.MetadataVersion.V4} if odd == 2
                                else {}))
        if odd == 3:
            text = text[: draw(st.integers(0, len(text)))]
        if odd == 4:
            text += b"\0" * draw(st.integers(1, 9))
        if odd == 5:
            text = text[:-8]  # without the mark of the end
        found += [text] * draw(st.integers(1, 3))
    return found


def both(texts: list[bytes], key: bytes | None, limits: Limits) -> tuple[Any, Any]:
    raw = batch([(key, text, []) for text in texts])
    stock = Fetcher.PartitionRecords(0, PLACE, MemoryRecords(raw)).take()
    fast = Records(list(ScannedPartition(0, PLACE, MemoryRecords(raw)).take()))
    return read(stock, limits), read(fast, limits)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(texts=columns(), key=st.sampled_from([None, b"key", b"\xff"]),
       readings=st.sampled_from([4, 1 << 18]))
def test_readings_are_those_of_the_codec(texts: list[bytes], key: bytes | None, readings: int
                                         ) -> None:
    slow, fast = both(texts * 2, key, Limits(readings=readings))
    assert slow == fast


def usual(m: int, rows: int = 100, wide: bool = False) -> bytes:
    random = np.random.default_rng(m)
    if wide:
        made = {"asset": pa.array([f"m{m % 5}"] * rows).dictionary_encode(),
                "ts": pa.array(LATEST * 1000 + np.arange(rows)),
                **{f"s{c}": random.normal(size=rows) for c in range(10)}}
    else:
        made = {"asset": pa.array([f"m{m % 5}"] * rows),
                "sensor": pa.array([f"s{i % 10}" for i in range(rows)]).dictionary_encode(),
                "ts": pa.array(LATEST * 10**6 + np.arange(rows), pa.timestamp("us")),
                "value": random.normal(size=rows)}
    return stream(pa.table(made))


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(wide=st.booleans(), at=st.integers(0, 10**6), byte=st.integers(0, 255),
       second=st.integers(0, 10**6))
def test_damaged_bytes_are_what_they_were(wide: bool, at: int, byte: int, second: int) -> None:
    whole = usual(0, 3, wide)
    damaged = bytearray(whole)
    damaged[at % len(whole)] = byte
    if second % 2:
        damaged[second % len(whole)] ^= 1 << second % 8
    slow, fast = both([whole, bytes(damaged), whole], None, Limits())
    assert slow == fast


@pytest.mark.parametrize("wide", [False, True])
def test_usual_messages_are_read_by_the_kernel_alone(
    wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [(None, usual(m, wide=wide), []) for m in range(60)]
    records = Records(list(ScannedPartition(0, PLACE, MemoryRecords(batch(items))).take()))
    decoder = Decoder(Registry())
    list(decoder.decode(records[:5]))

    def never(*_: Any) -> Any:
        raise AssertionError("read by pyarrow")

    monkeypatch.setattr(kafka_arrow, "read", never)
    assert sum(len(p.readings) for p in decoder.decode(records)) == 60 * (1000 if wide else 100)


def test_a_schema_is_not_taken_up_where_the_kernel_reads_otherwise() -> None:
    registry, text = Registry(), usual(0)
    decoder = Decoder(registry)
    records = Records(list(ScannedPartition(0, PLACE, MemoryRecords(
        batch([(None, text, [])]))).take()))
    (part,) = decoder.decode(records)
    assert len(decoder._layouts.known[1]) == 1
    r = part.readings
    piece = (r.asset, r.sensor, r.time_ns, r.value, r.closes, part.message)
    other = (*piece[:3], r.value + 1e-9, *piece[4:])
    layouts = Layouts()
    layouts.learn(None, text, other, decoder._names, Fields())
    assert not len(layouts.known[1])
    layouts.learn(None, text, piece, Names(("asset", "sensor", "ts", "value")), Fields())
    assert not len(layouts.known[1])  # its names are not known there
    layouts.learn(None, text, piece, decoder._names, Fields())
    assert len(layouts.known[1]) == 1
