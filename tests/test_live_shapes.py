"""Every shape of message through a real broker: recognised, said, judged, exactly once."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from tests import kafka_broker, live_service
from tests.live_service import deployment

pytestmark = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

Row = tuple[str, dict[str, Any]]

SHAPES = ("single readings", "wide rows", "columnar wide rows", "Arrow IPC",
          "United Manufacturing Hub")
#: Rows of one message of columns.
TOGETHER = 20
MACHINES = 10


def arrow(asset: str, rows: list[dict[str, Any]]) -> bytes:
    """The rows of one machine as an Arrow IPC stream."""
    table = pa.table({
        "asset": [asset] * len(rows), "ts": pa.array([r["ts"] for r in rows], pa.timestamp("ms")),
        **{name: [r["values"][name] for r in rows] for name in rows[0]["values"]}})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def encoded(rows: list[Row]) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of messages; a machine's number decides its shape, its last rows may wait."""
    waiting: dict[str, list[dict[str, Any]]] = {}
    for asset, row in rows:
        shape = SHAPES[int(asset[-3:]) % len(SHAPES)]
        key, ts, values = asset.encode(), row["ts"], row["values"]
        if shape == "single readings":
            for name, value in values.items():
                yield key, json.dumps(
                    {"asset": asset, "sensor": name, "ts": ts, "value": value}).encode()
        elif shape == "wide rows":
            yield key, json.dumps({"asset": asset, "ts": ts, "values": values}).encode()
        elif shape == "United Manufacturing Hub":
            yield (f"umh.v1.plant.hall.{asset}._raw".encode(),
                   json.dumps({"timestamp_ms": ts, **values}).encode())
        else:
            kept = waiting.setdefault(asset, [])
            kept.append(row)
            if len(kept) < TOGETHER:
                continue
            if shape == "Arrow IPC":
                yield key, arrow(asset, kept)
            else:
                yield key, json.dumps({
                    "asset": asset, "ts": [r["ts"] for r in kept],
                    "values": {name: [r["values"][name] for r in kept] for name in values},
                }).encode()
            kept.clear()


def test_every_shape_is_recognised_said_and_judged() -> None:
    """One machine each; a worker is killed in the middle; the alerts are those of one pass."""
    rows = list(live_service.stream(6000, MACHINES, 17))
    messages = list(encoded(rows))
    with deployment(kafka_broker.shared(), 2) as deployed:
        for part in (messages[: len(messages) // 2], messages[len(messages) // 2:]):
            sender = live_service.producer(deployed)
            for key, value in part:
                sender.send(f"{deployed.name}.readings", key=key, value=value)
            sender.flush()
            sender.close()
            worker = deployed.start_worker()
            live_service.wait_until_done(deployed, 60)
            if part[0] is messages[0]:
                live_service.kill(worker)
        assert deployed.stop() == [0]
        for shape in SHAPES:
            assert f"recognised {shape}\n" in deployed.logs()
        said = live_service.assert_same(deployed)
        assert said.counts["accepted"] == len(messages)
        shapes = {SHAPES[int(key[-3:]) % len(SHAPES)] for key in said.alerts}
        assert shapes == set(SHAPES), "a fault of some machine of every shape is found"
