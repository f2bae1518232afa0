"""Figures of ``benchmarks.speed`` from a real Kafka topic: ours and what a user would pick instead.

Every contender reads the same messages from the same broker in the same process, one core, each
several times in turn: bytes polled, decoded, and scored by the level kernel (river's GaussianScorer
where river is the contender). Ours goes through ``KafkaSource`` and ``Decoder`` as ``andon run``
does. The rate is of the process's CPU time, all its threads included, from before the first fetch
to the last score; the broker has its own. A ratio is the median of the ratios of each turn.

Nobody pays for objects that others left: Python's collector is run before each and told to leave
alone what is there. (Without that a list of a hundred thousand messages has it walk through
everything the other contenders imported, and the peer's figure fell from 0.8 M/s to 0.3.)
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import numpy as np

ASSETS, SENSORS = 50, 10
RUNS = 5
#: The slow contender reads this share of the messages.
SLOW_SHARE = 10
#: Readings of the other shapes, against single ones.
COLUMNAR, ARROW = 4, 20

Figure = dict[str, Any]


def kafka_figures(readings: int, figure: Callable[..., Figure]) -> list[Figure]:
    """JSON one by one, columnar JSON and Arrow; nothing where no broker can be started."""
    from tests import kafka_broker  # the broker that the tests start, too

    cluster = kafka_broker.shared()
    made = {
        "speed.single": _single(readings), "speed.columnar": _columnar(COLUMNAR * readings),
        "speed.arrow": _arrow(ARROW * readings),
    }
    for topic, messages in made.items():
        _produce(cluster, topic, messages)
    single, columnar, arrow = made
    made.clear()
    contenders: dict[str, tuple[Callable[..., float], str, int]] = {
        "ours": (_ours, single, readings),
        "confluent": (_confluent, single, readings),
        "stock": (_stock, single, readings // SLOW_SHARE),
        "columnar": (_ours, columnar, COLUMNAR * readings),
        "arrow": (_ours, arrow, ARROW * readings),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(RUNS):
        for name, (read, topic, count) in contenders.items():
            gc.collect()
            gc.freeze()
            try:
                rates[name].append(read(cluster, topic, count))
            except ImportError:
                rates[name].append(float("nan"))
            gc.unfreeze()
    rate = {name: statistics.median(found) for name, found in rates.items()}
    ahead = {
        peer: statistics.median(
            one / other for one, other in zip(rates["ours"], rates[peer], strict=True))
        for peer in ("stock", "confluent")}
    return [
        figure("S-KAFKA-JSON", "from a Kafka topic, one JSON reading a message", rate["ours"],
               "readings/s", f"{min(rates['ours']):,.0f} to {max(rates['ours']):,.0f}"),
        figure("S-KAFKA-STOCK", "that, against kafka-python + json + river's GaussianScorer",
               ahead["stock"], "times", f"{rate['stock']:,.0f} readings/s"),
        figure("S-KAFKA-CONFLUENT", "that, against confluent-kafka + msgspec + the same kernel",
               ahead["confluent"], "times",
               f"{rate['confluent']:,.0f} readings/s, {min(rates['confluent']):,.0f} to "
               f"{max(rates['confluent']):,.0f}"),
        figure("S-KAFKA-COLUMNAR", "columnar JSON, 100 readings a message", rate["columnar"],
               "readings/s", ""),
        figure("S-KAFKA-ARROW", "Arrow IPC, 1,000 readings a message", rate["arrow"],
               "readings/s", ""),
    ]


def _single(readings: int) -> list[bytes]:
    random = np.random.default_rng(3)
    values = np.round(random.normal(20, 5, readings), 3).tolist()
    return [
        json.dumps({"asset": f"machine-{i // SENSORS % ASSETS}", "sensor": f"sensor-{i % SENSORS}",
                    "ts": 1_700_000_000_000 + i // (SENSORS * ASSETS) * 100, "value": v}).encode()
        for i, v in enumerate(values)
    ]


def _columnar(readings: int) -> list[bytes]:
    random = np.random.default_rng(4)
    found = []
    for m in range(readings // 100):
        columns = {f"sensor-{c}": np.round(random.normal(20, 5, 10), 3).tolist()
                   for c in range(SENSORS)}
        times = [1_700_000_000_000 + (m // ASSETS * 10 + r) * 1000 for r in range(10)]
        found.append(json.dumps({"asset": f"machine-{m % ASSETS}", "ts": times,
                                 "values": columns}).encode())
    return found


def _arrow(readings: int) -> list[bytes]:
    import pyarrow as pa

    random = np.random.default_rng(5)
    found = []
    for m in range(readings // 1000):
        times = 1_700_000_000_000 + (m // ASSETS * 100 + np.repeat(np.arange(100), SENSORS)) * 1000
        table = pa.table({
            "asset": pa.array([f"machine-{m % ASSETS}"] * 1000).dictionary_encode(),
            "sensor": pa.array([f"sensor-{i % SENSORS}" for i in range(1000)]).dictionary_encode(),
            "ts": pa.array(times), "value": pa.array(random.normal(20, 5, 1000))})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        found.append(sink.getvalue().to_pybytes())
    return found


def _produce(cluster: Any, topic: str, messages: list[bytes]) -> None:
    from kafka import KafkaProducer

    cluster.create_topic(topic, 1)
    producer = KafkaProducer(bootstrap_servers=cluster.bootstrap.split(","), linger_ms=50,
                             batch_size=1 << 18, **cluster.client)
    for message in messages:
        producer.send(topic, message)
    producer.flush()
    producer.close()


class _Level:
    """The level kernel over sensors in the order of their coming."""

    def __init__(self, tags: int) -> None:
        from anomaly.detectors import DETECTORS

        self._bound = DETECTORS["level_fast"]
        self._state = self._bound.allocate(self._bound.default, tags, tags)
        self._state["tag"]["known"], self._state["tag"]["scale"] = 1, 5.0
        self._table = np.arange(tags, dtype=np.int64)[:, None]

    def take(self, tag: Any, value: Any) -> None:
        n = len(value)
        self._bound.step(
            *self._state.values(), *astuple(self._bound.default), self._table, tag,
            np.ascontiguousarray(value).reshape(-1, 1), np.full(n, np.inf), np.empty(n),
            np.empty((n, 1)))


def _ours(cluster: Any, topic: str, readings: int) -> float:
    from kafka import TopicPartition

    from anomaly.registry import Registry
    from streams.kafka_codec import Decoder
    from streams.kafka_settings import KafkaSettings, client_options
    from streams.kafka_source import KafkaSource

    settings = KafkaSettings(
        bootstrap_servers=tuple(cluster.bootstrap.split(",")), topic=topic, group="speed",
        poll_messages=20_000)
    source = KafkaSource(client_options(settings), settings)
    began = time.process_time()
    source._consumer.assign([TopicPartition(topic, 0)])
    source._consumer.seek_to_beginning()
    decoder, level, seen = Decoder(Registry()), _Level(ASSETS * SENSORS), 0
    try:
        while seen < readings:
            for records in source.poll(0.2).values():
                for part in decoder.decode(records):
                    r = part.readings
                    level.take(r.asset * SENSORS + r.sensor, r.value)
                    seen += len(r)
        return readings / (time.process_time() - began)
    finally:
        source.close()


def _confluent(cluster: Any, topic: str, readings: int) -> float:
    import msgspec
    from confluent_kafka import Consumer, TopicPartition

    reading = msgspec.defstruct("Reading", [("asset", str), ("sensor", str), ("ts", int),
                                            ("value", float)], gc=False)
    decode = msgspec.json.Decoder(reading).decode
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "confluent",
                         "enable.auto.commit": False})
    level, seen = _Level(ASSETS * SENSORS), 0
    tags: dict[tuple[str, str], int] = {}
    began = time.process_time()
    consumer.assign([TopicPartition(topic, 0, 0)])
    while seen < readings:
        messages = consumer.consume(5_000, 0.2)
        if not messages:
            continue
        found = [decode(m.value()) for m in messages]
        tag = np.array([tags.setdefault((f.asset, f.sensor), len(tags)) for f in found], np.int64)
        times = np.array([f.ts for f in found], np.int64) * 1_000_000
        assert times.size
        level.take(tag, np.array([f.value for f in found]))
        seen += len(found)
    taken = time.process_time() - began
    consumer.close()
    return readings / taken


def _stock(cluster: Any, topic: str, readings: int) -> float:
    from kafka import KafkaConsumer, TopicPartition
    from river.anomaly import GaussianScorer

    consumer = KafkaConsumer(bootstrap_servers=cluster.bootstrap.split(","), group_id=None,
                             **cluster.client)
    scorers: dict[tuple[str, str], Any] = {}
    seen, began = 0, time.process_time()
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek_to_beginning()
    while seen < readings:
        for records in consumer.poll(200, max_records=20_000).values():
            for record in records:
                body = json.loads(record.value)
                scorer = scorers.setdefault((body["asset"], body["sensor"]), GaussianScorer())
                scorer.score_one({}, body["value"])
                scorer.learn_one({}, body["value"])
            seen += len(records)
    taken = time.process_time() - began
    consumer.close()
    return seen / taken
