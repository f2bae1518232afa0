"""However long a stream is, no batch leaves anything behind: readers of messages, engine, files."""

from __future__ import annotations

import gc
import itertools
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from kafka.record import MemoryRecords

from anomaly.batches import reading_batch
from anomaly.config import parse
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams import codec, settings
from streams.codec import FrameDecoder
from streams.kafka_codec import Decoder
from streams.recordings import open_recording
from streams.rejections import Rejections
from streams.wire import Records, ScannedPartition
from tests.test_arrow_columns import usual
from tests.test_wire import PLACE, batch

#: Bytes that a hundred batches may leave: Python's own free lists and a counter's larger number,
#: not a byte for a reading (a hundred batches have 40,000 or more).
LEFT = 8192


def left_by(run: Callable[[], object], before: int = 30, batches: int = 100) -> int:
    """Bytes that so many batches leave behind, once the first ones have made their room."""
    for _ in range(before):
        run()
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(5):
            run()
        gc.collect()
        begun, _ = tracemalloc.get_traced_memory()
        for _ in range(batches):
            run()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - begun
    finally:
        tracemalloc.stop()


def single(k: int) -> bytes:
    return json.dumps({"asset": f"m{k % 5}", "sensor": f"s{k // 5 % 9}", "ts": 1_700_000_000 + k,
                       "value": 0.25 * k}).encode()


def columnar(k: int) -> bytes:
    return json.dumps({"asset": f"m{k % 5}", "ts": [1_700_000_000 + k] * 10, "values": {
        f"s{c}": [0.5 * c] * 10 for c in range(9)}}).encode()


def wide(k: int) -> bytes:
    return json.dumps({"asset": f"m{k % 5}", "ts": 1_700_000_000 + k, "values": {
        f"s{c}": 0.5 for c in range(9)}}).encode()


@pytest.mark.parametrize("make", [single, columnar, wide, usual])
def test_reading_messages(make: Callable[[int], bytes]) -> None:
    raw = batch([(None, make(k), []) for k in range(45)])
    decoder = Decoder(Registry())

    def run() -> int:
        records = Records(list(ScannedPartition(0, PLACE, MemoryRecords(raw)).take()))
        return sum(len(part.readings) for part in decoder.decode(records))

    assert left_by(run) < LEFT


@pytest.mark.parametrize("row_seconds", [0.0, 1.0])
def test_the_engine(row_seconds: float) -> None:
    assets, sensors = 8, 10
    registry = Registry()
    for a in range(assets):
        registry.columns(registry.asset(f"m{a}"), [f"s{c}" for c in range(sensors)])
    monitor = Monitor(
        parse({"warm_up_rows": 40, "windows": {"row_seconds": row_seconds}}), registry)
    random, second = np.random.default_rng(1), itertools.count(1_700_000_000)
    asset = np.repeat(np.arange(assets), 5 * sensors)
    sensor = np.tile(np.arange(sensors), 5 * assets)
    tick = np.tile(np.repeat(np.arange(5), sensors), assets) * 200_000_000

    def run() -> Any:
        value = random.normal(size=asset.size)
        return monitor.process(reading_batch(
            asset, sensor, next(second) * 10**9 + tick, value, sensor == sensors - 1))

    assert left_by(run, before=150, batches=300) < LEFT


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_reading_files(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second half of a file takes no more than the first; Arrow's own memory is asked, too."""
    monkeypatch.setattr(codec, "READINGS_PER_BATCH", 1 << 17)
    rows, path = 600_000, tmp_path / f"m.{kind}"
    table = pa.table({"time": 1_700_000_000 + np.arange(rows), **{
        f"s{c}": np.random.default_rng(c).normal(size=rows).round(3) for c in range(4)}})
    if kind == "csv":
        pa.csv.write_csv(table, path)
    else:
        pa.parquet.write_table(table, path, row_group_size=100_000)
    recording = open_recording(path, settings.load(None, {}).input)
    decoder, held = FrameDecoder(Registry(), Rejections(3)), []
    del table
    tracemalloc.start()
    try:
        for frame in recording.frames(0):
            for _part in decoder.decode(frame):
                held.append(tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes())
    finally:
        tracemalloc.stop()
    assert len(held) > 8
    assert max(held[len(held) // 2:]) < max(held[1:len(held) // 2]) + LEFT
