"""The fast reader of record batches and of single readings: what it says, the stock path says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatchBuilder

from anomaly.registry import Registry
from streams import wire
from streams.kafka_codec import Decoder
from streams.kafka_source import reads_alike
from streams.wire import Block, Records, ScannedPartition

PLACE = TopicPartition("t", 3)
READ_COMMITTED = 1

names = st.sampled_from(["press", "ofen-ä", "a/b", "x" * 190, 'quo"te', "back\\slash", "né\n"])
numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**20), 10**20),
    st.decimals(-1000, 1000, places=3).map(float), st.sampled_from([0, -0.0, 5e-324, 1e308, 0.1]))
times = st.one_of(
    st.integers(0, 4 * 10**18), st.integers(1_600_000_000, 1_900_000_000),
    st.integers(1_600_000_000_000, 1_900_000_000_000), st.sampled_from([-5, 10**19, 2**63, 1e9]),
    st.floats(0, 1e12), st.just("2024-05-06T07:08:09.5Z"))


@st.composite
def values(draw: st.DrawFn) -> bytes | None:
    """Messages as they come: mostly readings, sometimes odd, sometimes not JSON at all."""
    kind = draw(st.integers(0, 9))
    body: dict[str, Any] = {
        "asset": draw(names), "sensor": draw(st.sampled_from(["t", "p", "ß", "q\u0001"])),
        "ts": draw(times), "value": draw(numbers)}
    if kind == 0:
        return draw(st.one_of(st.none(), st.binary(max_size=40)))
    if kind == 1:
        body.pop(draw(st.sampled_from(sorted(body))))
    if kind == 2:
        body[draw(st.sampled_from(["unit", "value", "ts"]))] = draw(
            st.sampled_from([None, True, "x", [1.0], {"a": 1}]))
    keys = draw(st.permutations(sorted(body)))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " :\n")]))
    text = json.dumps({k: body[k] for k in keys}, separators=separators,
                      ensure_ascii=draw(st.booleans())).encode()
    if kind == 3:
        cut = draw(st.integers(0, len(text)))
        text = text[:cut] + draw(st.sampled_from([b"", b"}", b" ", b",", b"0", b"e5"])) + text[cut:]
    if kind == 4:
        text = text.replace(b'"value"', b'"value": 1, "value"')
    return draw(st.sampled_from([b"", b" "])) + text


messages = st.lists(st.tuples(
    st.one_of(st.none(), st.just(b"key"), st.just(b"umh.v1.a.b._h.c")), values(),
    st.sampled_from([[], [("h", b"v")], [("none", None), ("ü", b"")]])), min_size=1, max_size=40)


def batch(items: list[Any], codec: int = 0, base: int = 0, producer: int = -1) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, producer >= 0, producer, 0, 0, 1 << 20)
    for i, (key, value, headers) in enumerate(items):
        builder.append(i, 1_700_000_000_000 + 7 * i, key, value, headers)
    text = bytearray(builder.build())
    text[:8] = base.to_bytes(8, "big")  # the checksum does not cover the offset
    return bytes(text)


def marker(base: int, producer: int, commit: bool) -> bytes:
    """A control batch, as a broker writes one at a transaction's end."""
    from kafka.record.util import calc_crc32c

    builder = DefaultRecordBatchBuilder(2, 0, True, producer, 0, -1, 1 << 10)
    builder.append(0, 1_700_000_000_000, b"\0\0\0" + bytes([int(commit)]), b"\0\0\0\0\0\0", [])
    text = bytearray(builder.build())
    text[:8] = base.to_bytes(8, "big")
    text[22] |= 0x20  # attributes: control
    text[17:21] = calc_crc32c(memoryview(bytes(text))[21:]).to_bytes(4, "big")
    return bytes(text)


def both(text: bytes, first: int, takes: list[int | None], **more: Any) -> tuple[list[Any], Any]:
    """Everything that each path gives, and where it would go on after each take."""
    said: list[Any] = []
    for make in (Fetcher.PartitionRecords, ScannedPartition):
        part = make(first, PLACE, MemoryRecords(text), **more)
        found = []
        for n in takes:
            if not part:
                break
            try:
                taken = part.take(n)
            except Exception as error:
                found.append((type(error).__name__, part.next_fetch_offset))
                continue
            records = list(taken)
            if make is ScannedPartition:
                records = list(Records(records))
            found.append((records, len(taken), part.next_fetch_offset))
        said.append(found)
    return said[0], said[1]


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(items=messages, codec=st.integers(0, 4), first=st.integers(0, 45),
       takes=st.lists(st.integers(1, 15), max_size=6))
def test_records_are_those_of_the_stock_path(
    items: list[Any], codec: int, first: int, takes: list[int]
) -> None:
    text = batch(items, codec) + batch(items[::-1], 0, len(items) + 3)
    stock, fast = both(text, first, [*takes, None, None])
    flat = [[r for taken in found for r in taken[0]] for found in (stock, fast)]
    assert flat[0] == flat[1]
    assert stock[-1][2] == fast[-1][2]


@pytest.mark.parametrize("committed", [True, False])
def test_aborted_transactions_and_markers_are_left_out(committed: bool) -> None:
    from collections import namedtuple

    aborted = namedtuple("aborted", "producer_id first_offset")
    items = [(None, b'{"n": %d}' % i, []) for i in range(5)]
    text = (batch(items, 0, 0, 11) + batch(items, 4, 5, 12) + marker(10, 11, commit=False)
            + marker(11, 12, commit=True) + batch(items, 0, 12))
    more = {"isolation_level": READ_COMMITTED if committed else 0,
            "aborted_transactions": [aborted(11, 0)]}
    for takes in ([None, None], [3, 4, None, None], [1] * 20):
        stock, fast = both(text, 0, takes, **more)
        assert [taken[0] for taken in stock if taken[0]] == [t[0] for t in fast if t[0]]
        assert sum(len(taken[0]) for taken in fast) == (10 if committed else 15)
        assert stock[-1][2] == fast[-1][2]


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(items=messages, at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_damaged_bytes_are_what_they_were(items: list[Any], at: int, bit: int) -> None:
    """With checksums on, as the consumer always has them: without, damage reads as anything."""
    whole = bytearray(batch(items[:9]))
    whole[12 + at % (len(whole) - 12)] ^= 1 << bit
    stock, fast = both(bytes(whole), 0, [None, None], check_crcs=True)
    told = [str(taken).replace("DamagedBatchError", "CorruptRecordError") for taken in fast]
    # Where there was damage ours is at its end; kafka-python's would be asked again, for ever.
    assert [str(taken) for taken in stock][:len(told)] == told
    assert len(told) == len(stock) or "CorruptRecordError" in told[-1]


def decoded(items: Any, registry: Registry) -> tuple[list[Any], Decoder]:
    decoder = Decoder(registry)
    whole = list(decoder.decode(items[:-1])) + list(decoder.decode(items[-1:]))
    columns = [
        np.concatenate([getattr(part.readings, name) for part in whole]).tobytes()
        for name in ("asset", "sensor", "time_ns", "value", "closes")]
    ends = [(part.first, part.end, part.message.tolist(), part.dead) for part in whole]
    return [*columns, [m for e in ends for m in e[2]], [d for e in ends for d in e[3]]], decoder


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(items=messages)
def test_readings_are_those_of_the_codec(items: list[Any]) -> None:
    items = items * 2  # the second time the names are known
    text = batch(items)
    stock = Fetcher.PartitionRecords(0, PLACE, MemoryRecords(text)).take()
    fast = Records(list(ScannedPartition(0, PLACE, MemoryRecords(text)).take()))
    one, other = Registry(), Registry()
    expected, slow = decoded(stock, one)
    said, quick = decoded(fast, other)
    assert said == expected
    assert (quick.shapes, quick.units, quick.masked) == (slow.shapes, slow.units, slow.masked)
    assert (one.assets, one.sensors) == (other.assets, other.sensors)


tokens = st.one_of(
    st.integers(-10**19, 10**19).map(str), st.floats(allow_nan=False).map(repr), st.sampled_from(
        ["", "-", "1e5", "01", "1.", "null", "true", '"7"', " 8", "9 ", "1,2", "1}", "[1]"]))
texts = st.one_of(st.sampled_from(["a", "b", "press", "ü"]), st.sampled_from(
    ["", '\\"', "a\\", "\\u0061", 'a"', "a\n", 'a","sensor":"s', "x" * 30]))


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    values=st.lists(st.tuples(texts, texts, tokens, tokens), min_size=2, max_size=12),
    order=st.permutations(range(4)), comma=st.sampled_from([",", ", ", " ,\t"]),
    colon=st.sampled_from([":", ": "]), end=st.sampled_from(["", "\n"]))
def test_messages_of_one_layout_are_those_of_the_codec(
    values: list[tuple[str, ...]], order: list[int], comma: str, colon: str, end: str
) -> None:
    """One sender's messages differ in names and numbers alone, whatever stands in their place."""
    names = ["asset", "sensor", "ts", "value"]
    raw = []
    for told in [("a", "b", "1700000000", "1.5"), *values]:
        content = [f'"{text}"' for text in told[:2]] + list(told[2:])
        raw.append(("{" + comma.join(
            f'"{names[k]}"{colon}{content[k]}' for k in order) + "}" + end).encode())
    items = [(None, text, []) for text in raw * 2]
    text = batch(items)
    stock = Fetcher.PartitionRecords(0, PLACE, MemoryRecords(text)).take()
    fast = Records(list(ScannedPartition(0, PLACE, MemoryRecords(text)).take()))
    one, other = Registry(), Registry()
    expected, slow = decoded(stock, one)
    said, quick = decoded(fast, other)
    assert said == expected
    assert (quick.shapes, quick.units, quick.masked) == (slow.shapes, slow.units, slow.masked)


@settings(max_examples=2000, deadline=None, derandomize=True, database=None)
@given(text=st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.from_regex(r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,19})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)))
def test_numbers_are_rounded_as_python_does(text: str) -> None:
    from streams.json_scan import number_at

    raw = np.frombuffer(text.encode(), np.uint8)
    kind, whole, found = number_at(raw, 0, len(raw))
    if kind:
        assert np.float64(found).tobytes() == np.float64(float(text)).tobytes()
    if kind == 2:
        assert whole == int(text)


def test_most_numbers_are_read_fast() -> None:
    from streams.json_scan import number_at

    texts = [repr(v) for v in np.random.default_rng(1).normal(20, 5, 2000).tolist()]
    raw = [np.frombuffer(text.encode(), np.uint8) for text in texts]
    assert np.mean([number_at(r, 0, len(r))[0] > 0 for r in raw]) > 0.99


def test_records_are_a_sequence() -> None:
    items = [(None, b"%d" % i, []) for i in range(9)]
    text = batch(items)
    block = next(iter(ScannedPartition(0, PLACE, MemoryRecords(text)).take()))
    assert isinstance(block, Block)
    records = Records([block.part(0, 4), block.record(4), block.part(5, 9)])
    assert len(records) == 9
    assert [r.value for r in records[2:7]] == [b"%d" % i for i in range(2, 7)]
    assert records[-1].offset == 8
    assert [records[i].offset for i in range(9)] == [r.offset for r in records]
    with pytest.raises(IndexError):
        records[9]


def test_a_client_that_reads_otherwise_keeps_its_own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    class Consumer:
        _fetcher = type("Fetcher", (), {"PartitionRecords": Fetcher.PartitionRecords})()

    said: list[str] = []
    assert wire.install(Consumer, said.append, reads_alike)
    assert Consumer._fetcher.PartitionRecords is ScannedPartition
    Consumer._fetcher = type("Fetcher", (), {"PartitionRecords": Fetcher.PartitionRecords})()
    monkeypatch.setattr(wire.Block, "offset", lambda self, i: 0)
    assert not wire.install(Consumer, said.append, reads_alike)
    assert Consumer._fetcher.PartitionRecords is Fetcher.PartitionRecords
    assert "reading slowly" in said[0]


def test_a_forgotten_name_is_not_read_ahead() -> None:
    reading = b'{"asset": "%s", "sensor": "s", "ts": 1700000000, "value": 1.0}'
    items = [(None, reading % name, []) for name in (b"a", b"b", b"a", b"b")]
    records = Records(list(ScannedPartition(0, PLACE, MemoryRecords(batch(items))).take()))
    decoder = Decoder(Registry())
    assert sum(len(part.readings) for part in decoder.decode(records)) == 4
    decoder.forget("a", ["s"])
    ahead = decoder._names
    assert ahead.forgotten == 1
    decoder._tags["a", "s"] = 7, 0  # as if the name came back under another index
    decoder._names.add("a", "s", 7, 0)
    for k in range(200):
        decoder._names.add(f"x{k}", "s", k, 0)  # the table grows without what was forgotten
    said = [part.readings.asset.tolist() for part in decoder.decode(records)]
    assert [asset for part in said for asset in part] == [7, 1, 7, 1]


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(parts=st.lists(st.tuples(messages, st.integers(0, 1), st.booleans()), max_size=5),
       cut=st.integers(0, 60))
def test_small_blocks_together_are_the_same_records(
    parts: list[tuple[list[Any], int, bool]], cut: int
) -> None:
    """Several batches, compressed or not, with the senders' times or the broker's, cut anywhere."""
    from kafka.record.util import calc_crc32c

    text, base = b"", 40
    for items, codec, is_logged in parts:
        one = bytearray(batch(items, codec, base))
        if is_logged:
            one[22] |= 0x08  # attributes: the time is that of the append
            one[17:21] = calc_crc32c(memoryview(bytes(one))[21:]).to_bytes(4, "big")
        text, base = text + bytes(one), base + len(items) + 2
    apart = list(ScannedPartition(0, PLACE, MemoryRecords(text)).take())
    records, whole = Records(wire.joined(apart)), Records(apart)
    assert list(records) == list(whole)
    assert [records[i] for i in range(len(whole))] == list(whole)
    assert list(records[cut:]) == list(whole[cut:])
    if len({is_logged for _, _, is_logged in parts}) < 2:
        assert len(records.parts) == min(1, len(parts))
    said = []
    for given_records in (records, whole):
        decoder = Decoder(Registry())
        readings = [r for d in decoder.decode(given_records) for r in zip(
            *(getattr(d.readings, name).tolist() for name in ("asset", "sensor", "time_ns")),
            map(repr, d.readings.value.tolist()), d.message.tolist(), strict=True)]
        said.append((readings, decoder.shapes, decoder.units))
    assert said[0] == said[1]


def test_large_blocks_stay_apart() -> None:
    small = batch([(None, b"x", [])])
    large = batch([(None, b"x" * (wire.SMALL_BYTES + 1), [])], base=1)
    text = small + large + batch([(None, b"y", [])], base=2) + batch([(None, b"z", [])], base=3)
    apart = list(ScannedPartition(0, PLACE, MemoryRecords(text)).take())
    assert [len(part) for part in wire.joined(apart)] == [1, 1, 2]
