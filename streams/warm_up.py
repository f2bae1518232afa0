"""Everything is compiled before the group is joined: the whole way of a message, unseen.

A kernel that is compiled in the middle of the stream stops a partition for seconds. So a small
plant is invented and goes through a lane of its own, by the settings of the service: messages of
every shape as a broker would give them, machines that count parts and machines that do not, faults,
trends, late readings; its state is written, read back and gone on from. What a kernel is called
with depends on the settings and on the kind of data, never on how much there is of it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from kafka import TopicPartition
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords

from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams import kafka_state, wire
from streams.kafka_state import Book
from streams.lane import Lane, decoder_of
from streams.settings import Settings

#: A longer warm-up than this takes no other kernels.
WARM_UP_ROWS = 120
#: Rows after the warm-up: some healthy, some of a fault that rises, some healthy again; and enough
#: for as many later rows as a warm-up has.
ROWS_AFTER = 250
#: Rows a later row is made of.
MERGED_ROWS = 2.4
#: Messages of the first batch.
FEW_MESSAGES = 20
#: Assets and tags, more than are invented; the service's own limits may be less.
LIMITS = 100, 10_000
#: Messages of each shape, and rows of one with columns.
SHAPED, COLUMN_ROWS = 40, 5
START_SECONDS = 1_700_000_000

Message = tuple[bytes, bytes]


def warm(settings: Settings) -> None:
    """Compile every kernel that the settings need; what is compiled already is loaded."""
    few = min(settings.monitor.warm_up_rows, WARM_UP_ROWS)
    hidden = replace(settings, monitor=replace(settings.monitor, warm_up_rows=few))
    rows = hidden.monitor.warm_up_rows + ROWS_AFTER
    windows = hidden.monitor.windows
    every_seconds = max(1.0, windows.row_seconds, (windows.later_row_seconds or 0.0) / MERGED_ROWS)
    lane = _lane(hidden, Monitor(hidden.monitor, Registry()), 0)
    _take(lane, [*_shapes(hidden), *_plant(hidden, range(rows), every_seconds)])
    records = dict(lane.checkpoint_records({}))
    _take(lane, list(_plant(hidden, range(rows, rows + 5), every_seconds)))
    records |= lane.checkpoint_records({})
    latest = {key: value for key, value in records.items() if value is not None}
    found = kafka_state.restored(latest, hidden.monitor, *LIMITS)
    resumed = _lane(hidden, found.monitor, lane.position, found.book)
    _take(resumed, list(_plant(hidden, range(rows + 5, rows + 10), every_seconds)))
    for asset in range(len(resumed.monitor.registry.assets)):
        resumed.monitor.statement(asset)  # what page and metrics ask for
    resumed.monitor.rebaseline(0)
    resumed.checkpoint_records({})


def _lane(settings: Settings, monitor: Monitor, position: int, book: Book | None = None) -> Lane:
    decoder = decoder_of(settings, monitor.registry, None)
    return Lane(0, settings.kafka, monitor, decoder, book or Book(monitor), position, position,
                position, 0.0)


def _take(lane: Lane, messages: Sequence[Message]) -> None:
    """As two batches of a broker, a small one first."""
    for piece in (messages[:FEW_MESSAGES], messages[FEW_MESSAGES:]):
        if piece:
            lane.take(_packed(piece, lane.position))
            lane.pending.clear()


def _packed(messages: Sequence[Message], first: int) -> wire.Records:
    """The messages as a batch of a topic, from an offset on."""
    size = sum(len(key) + len(value) + 100 for key, value in messages)
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, size)
    for k, (key, value) in enumerate(messages):
        builder.append(k, START_SECONDS * 1000, key, value, [])
    text = first.to_bytes(8, "big") + bytes(builder.build())[8:]
    place = TopicPartition("warm-up", 0)
    return wire.Records(list(wire.ScannedPartition(first, place, MemoryRecords(text)).take()))


def _shapes(settings: Settings) -> Iterator[Message]:
    """Messages of every shape that is recognised without a schema registry."""
    kafka = settings.kafka
    for k in range(SHAPED):
        at = (START_SECONDS + k) * 1000
        yield b"single", _json({kafka.asset_field: "single", kafka.sensor_field: "s",
                                kafka.time_field: at, kafka.value_field: 1.5 + k % 7})
        yield b"umh.v1.plant.hall.hub._raw", _json({"timestamp_ms": at, "s": 0.5 * k})
        yield b"flat", _json({kafka.asset_field: "flat", kafka.time_field: at, "s": 2.0 + k % 3})
        times = [at * COLUMN_ROWS + 1000 * r for r in range(COLUMN_ROWS)]
        values = {name: [float(k + r) for r in range(COLUMN_ROWS)] for name in ("s", "t")}
        yield b"columns", _json({kafka.asset_field: "columns", kafka.time_field: times,
                                 kafka.values_field: values})
        yield b"arrow", _arrow({kafka.asset_field: ["arrow"] * COLUMN_ROWS,
                                kafka.time_field: np.array(times), **values})
        yield b"long", _arrow({kafka.asset_field: ["long"] * COLUMN_ROWS,
                               kafka.sensor_field: ["s"] * COLUMN_ROWS,
                               kafka.time_field: np.array(times), kafka.value_field: values["s"]})
    yield b"deep", b"[" * 200 + b"]" * 200


def _plant(settings: Settings, rows: range, every_seconds: float) -> Iterator[Message]:
    """Rows of a machine of three sensors, of two that count their parts, and of a drive."""
    losses, cycle = settings.monitor.losses, settings.monitor.windows.cycle
    told = losses.given()
    chance = np.random.default_rng(rows.start)
    quiet = settings.monitor.warm_up_rows
    for k in rows:
        at = round((START_SECONDS + every_seconds * k) * 1000)
        s0, s1, s2 = chance.normal(50.0, 1.0, 3).tolist()
        rises = 0.2 * max(0, k - quiet - 30) if k < quiet + 100 else 0.0
        plain = {"s0": s0 + rises, "s1": s1, "s2": s2 + 9.0 * (rises > 4.0)}
        yield _row(settings, "plain", at, plain)
        if k % 40 == 7:  # once more, and too late
            yield _row(settings, "plain", at, plain)
            yield _row(settings, "plain", at - 3_600_000, plain)
        works = k % 90 < 75
        line = {
            told["parts"] or "parts_count": float(k - k % 3 if works else k - k % 90 + 75),
            told["rejects"] or "rejects": float(k // 60),
            told["energy"] or "energy_kwh": 0.01 * k,
            told["state"] or "state": 6.0 if works else 10.0,
            told["product"] or "product": float(1 + k // 200 % 2),
            told["order"] or "order": float(100 + k // 150),
            "temperature": s2,
        }
        if cycle.sensor:
            line[cycle.sensor] = float(k)
        for name in (*losses.line, "press", "saw")[:2]:
            yield _row(settings, name, at, line)
        wave = float(np.sin(k * np.pi / 6.0))
        yield _row(settings, "drive", at, {
            told["power"] or "power_kw": 5.0 + 2.0 * wave + 0.02 * s0 if works else 0.5,
            told["speed"] or "speed": 100.0 * works, "position": wave, "heat": s1})


def _row(settings: Settings, asset: str, at: int, values: dict[str, float]) -> Message:
    kafka = settings.kafka
    rounded = {name: round(value, 4) for name, value in values.items()}
    return asset.encode(), _json(
        {kafka.asset_field: asset, kafka.time_field: at, kafka.values_field: rounded})


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()


def _arrow(columns: dict[str, Any]) -> bytes:
    import pyarrow as pa

    table = pa.table(columns)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()
