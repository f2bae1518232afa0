"""From a real broker the fast reader reads what kafka-python and pyarrow read, whatever lies there.

Every codec, committed and aborted transactions with their markers, every shape of message, records
with keys and headers; once as the consumer of ``andon run`` reads them, once with the client
library's own loop.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

import numpy as np
import pytest
from kafka import KafkaProducer, TopicPartition

from anomaly.registry import Registry
from streams.kafka_codec import Decoder
from streams.kafka_settings import KafkaSettings, client_options
from streams.kafka_source import KafkaSource
from streams.wire import Block, Records
from tests import kafka_broker
from tests.test_arrow_columns import usual

pytestmark = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

START = 1_700_000_000_000


def messages(turn: int) -> list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]:
    """Some of each shape, and some that are none."""
    values = np.random.default_rng(turn).normal(size=(40, 10)).round(3)
    single = [json.dumps({"asset": f"m{k % 3}", "sensor": f"s{k % 7}", "ts": START + 1000 * turn,
                          "value": float(values[k, 0])}).encode() for k in range(40)]
    columnar = [json.dumps({"asset": f"c{k}", "ts": [START + 1000 * turn + r for r in range(10)],
                            "values": {f"s{c}": values[c].tolist() for c in range(4)}}).encode()
                for k in range(3)]
    wide = json.dumps({"asset": "w", "ts": START + turn, "values": {"a": 1.5, "b": None}}).encode()
    found = [(None, text, []) for text in single + columnar]
    found += [(b"key", wide, [("from", b"a gateway")]), (b"gone", None, []), (None, b"{", [])]
    found += [(None, usual(turn + k, rows=20, wide=bool(k % 2)), []) for k in range(4)]
    return found  # type: ignore[return-value]


def send(producer: Any, topic: str, turn: int) -> int:
    sent = messages(turn)
    for key, value, headers in sent:
        producer.send(topic, value=value, key=key, headers=headers, partition=0)
    producer.flush()
    return len(sent)


def read(cluster: kafka_broker.Cluster, topic: str, fast: bool, count: int) -> list[Any]:
    """All records as the fast reader or the client library's own loop gives them."""
    settings = KafkaSettings(
        bootstrap_servers=tuple(cluster.bootstrap.split(",")), topic=topic, group=topic,
        poll_messages=64)
    said: list[str] = []
    source = KafkaSource(client_options(settings), settings, said.append)
    assert source._is_fast, said
    if not fast:
        source._is_fast = False
        del source._consumer._fetcher.PartitionRecords  # its class's own is behind it
        del source._consumer._manager._build_transport
        for connection in source._consumer._manager._conns.values():
            vars(connection.transport).pop("_sock_recv", None)
    source._consumer.assign([TopicPartition(topic, 0)])
    source._consumer.seek_to_beginning()
    found: list[Any] = []
    try:
        while sum(map(len, found)) < count:
            found += source.poll(0.2).values()
        assert not source.poll(0.3)
        changed = ["_sock_recv" in vars(connection.transport)
                   for connection in source._consumer._manager._conns.values()]
        assert changed
        assert all(changed) if fast else not any(changed)
    finally:
        source.close()
    return found


def decoded(batches: list[Any]) -> tuple[Any, ...]:
    registry = Registry()
    decoder = Decoder(registry)
    parts = [part for records in batches for part in decoder.decode(records)]
    columns = [np.concatenate([getattr(part.readings, name) for part in parts]).tobytes()
               for name in ("asset", "sensor", "time_ns", "value", "closes")]
    dead = [reason for part in parts for _, reason in part.dead]
    return columns, dead, decoder.shapes, decoder.units, registry.assets, registry.sensors


def test_every_codec_and_transaction_is_read_alike() -> None:
    cluster = kafka_broker.shared()
    topic, count = f"wire-{uuid.uuid4().hex[:8]}", 0
    cluster.create_topic(topic, 1)
    options = {"bootstrap_servers": cluster.bootstrap.split(","), "linger_ms": 20,
               **cluster.client}
    for turn, codec in enumerate((None, "gzip", "snappy", "lz4", "zstd")):
        producer = KafkaProducer(compression_type=codec, **options)
        count += send(producer, topic, turn)
        producer.close()
        producer = KafkaProducer(compression_type=codec, transactional_id=f"{topic}-{turn}",
                                 **options)
        producer.init_transactions()
        for part, ends in enumerate((producer.commit_transaction, producer.abort_transaction,
                                     producer.commit_transaction)):
            producer.begin_transaction()
            sent = send(producer, topic, 100 + 10 * turn + part)
            count += sent if ends == producer.commit_transaction else 0
            ends()
        producer.close()
    fast, stock = read(cluster, topic, True, count), read(cluster, topic, False, count)
    assert all(isinstance(records, Records) for records in fast)
    assert all(isinstance(part, Block) for records in fast for part in records.parts)
    one, other = [r for records in fast for r in records], [r for s in stock for r in s]
    assert len(one) == len(other) == count
    assert one == other
    assert decoded(fast) == decoded([other])
