"""The live service under the faults of a plant: the alerts are those of an undisturbed offline run.

Real brokers, real processes. Every test ends in the same comparison (``assert_same``): the oracle's
alerts byte for byte, its dead letters and late readings by place and reason, and
in = accepted + dead-lettered + late, exactly. Seeds are in the code.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams.kafka_codec import Decoder
from streams.kafka_sink import BODY_LIMIT, alert_message
from tests import kafka_broker, live_service
from tests.live_service import Deployment, deployment

#: kafka-python leaves the sockets of refused connections to the garbage collector.
pytestmark = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@pytest.fixture(name="cluster")
def _cluster() -> kafka_broker.Cluster:
    return kafka_broker.shared()


@pytest.fixture(name="fragile", scope="module")
def _fragile() -> Iterator[kafka_broker.Cluster]:
    """A broker of these tests' own, to be hurt; each test leaves it running."""
    own = kafka_broker.fresh()
    yield own
    own.stop()


def sent_slowly(
    deployed: Deployment, rows: int, seed: int, portion: int, seconds: float
) -> Iterator[int]:
    """Send a stream in portions with pauses; yields after each portion, so that faults can come."""
    sender = live_service.producer(deployed)
    messages = list(live_service.stream(rows, 24, seed))
    for start in range(0, rows, portion):
        for asset, row in messages[start:start + portion]:
            sender.send(f"{deployed.name}.readings", key=asset.encode(),
                        value=json.dumps(row).encode())
        sender.flush()
        yield start // portion
        time.sleep(seconds)
    sender.close()


def test_twenty_kills_lose_and_double_nothing(cluster: kafka_broker.Cluster) -> None:
    """100,000 readings, 8 partitions, 3 workers, 20 of them killed at random moments."""
    chance = random.Random(20)
    kills = 0
    with deployment(cluster, 8) as deployed:
        for _ in range(3):
            deployed.start_worker()
        kafka_broker.wait_for(  # kernels compiled: who is killed has begun to work
            lambda: len(deployed.joined()) == 3, 180, "the workers' start " + deployed.logs())
        for _ in sent_slowly(deployed, 25_000, 20, 1250, 0.0):
            time.sleep(chance.uniform(0.3, 1.8))
            live_service.kill(chance.choice([w for w in deployed.workers if w.poll() is None]))
            deployed.start_worker()
            kills += 1
        live_service.wait_until_done(deployed, 120)
        assert kills >= 20
        assert set(deployed.stop()) == {0}, deployed.logs()
        live_service.assert_same(deployed)


def test_workers_that_come_and_go_in_the_middle_of_batches(cluster: kafka_broker.Cluster) -> None:
    with deployment(cluster, 6) as deployed:
        deployed.start_worker()
        told: set[int] = set()
        for step in sent_slowly(deployed, 16_000, 5, 400, 0.5):
            running = [w for w in deployed.workers if w.poll() is None]
            if step % 2 == 0 and len(running) < 3:
                deployed.start_worker()
                continue
            staying = [w for w in deployed.joined() if w.pid not in told]
            if len(staying) > 1:
                told.add(staying[0].pid)
                os.killpg(staying[0].pid, signal.SIGTERM)
        live_service.wait_until_done(deployed, 90)
        codes = [w.poll() for w in deployed.workers if w.poll() is not None]
        assert len(told) >= 2
        assert set(codes) <= {0}, deployed.logs()
        deployed.stop()
        live_service.assert_same(deployed)


def test_a_zombie_is_fenced_and_says_nothing(cluster: kafka_broker.Cluster) -> None:
    """SIGSTOP for longer than the session lasts; what it held goes on elsewhere; then it wakes."""
    with deployment(cluster, 4) as deployed:
        zombie = deployed.start_worker()
        stopped = False
        for step in sent_slowly(deployed, 10_000, 6, 1000, 0.5):
            if step == 2:
                deployed.start_worker()
            if step == 4:
                kafka_broker.wait_for(  # both have come as far as the broker, and work
                    lambda: len(deployed.joined()) == 2
                    and min(live_service.positions(deployed).values()) > 0, 120, "first commits")
                os.killpg(zombie.pid, signal.SIGSTOP)
                stopped = True
        assert stopped
        live_service.wait_until_done(deployed, 120)
        os.killpg(zombie.pid, signal.SIGCONT)
        time.sleep(3.0)
        deployed.stop()
        live_service.assert_same(deployed)


POISON = [
    b"", b"{", b"\xff\xfe\xfa", b"[1,2,3]", b"null", b"7", b'{"a":1}', b"[" * 5000,
    b'{"asset":"machine-000","sensor":"s0","value":1}',
    b'{"asset":"machine-000","sensor":"s0","ts":"yesterday","value":1}',
    b'{"asset":"machine-000","sensor":"s0","ts":1700000000,"value":"hot"}',
    b'{"asset":"machine-000","sensor":"s0","ts":1700000000,"value":true}',
    b'{"asset":"machine-000","sensor":"s0","ts":1700000000,"value":NaN}',
    b'{"asset":"machine-000","sensor":"s0","ts":1e400,"value":1}',
    b'{"asset":"machine-000","ts":1700000000,"values":{}}',
    b'{"asset":"' + b"x" * 500 + b'","sensor":"s0","ts":1700000000,"value":1}',
    b'{"asset":"machine-000","sensor":"","ts":1700000000,"value":1}',
    b'{"asset":"machine-000","ts":[1,2],"values":{"s0":[1]}}',
    b"\xff\xff\xff\xff\x10\x00\x00\x00 no arrow at all",
    b'{"asset":"machine-000","ts":1700000000,"values":{"s0":"' + b"y" * 950_000 + b'"}}',
]


def test_poison_of_every_kind_becomes_dead_letters(cluster: kafka_broker.Cluster) -> None:
    """With their own bytes, key and headers; the stream goes on around them."""
    with deployment(cluster, 3) as deployed:
        topic = f"{deployed.name}.readings"
        sender = live_service.producer(deployed)
        for i, (asset, row) in enumerate(live_service.stream(6000, 12, 9)):
            sender.send(topic, key=asset.encode(), value=json.dumps(row).encode())
            if i % 200 == 7:
                poison = POISON[i // 200 % len(POISON)]
                sender.send(topic, key=asset.encode(), value=poison, headers=[("trace", b"7")])
            if i % 500 == 8:
                sender.send(topic, key=asset.encode(), value=None)
            if i > 1000 and i % 300 == 9:
                sender.send(topic, key=asset.encode(), value=json.dumps(row).encode())
                old = {**row, "ts": row["ts"] - 60_000}
                sender.send(topic, key=asset.encode(), value=json.dumps(old).encode())
        sender.flush()
        sender.close()
        deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        live_service.kill(deployed.workers[0])
        deployed.start_worker()
        live_service.send(deployed, [  # an asset of its own: it changes nothing for the others
            (f"other-{i}", {"asset": f"other-{i}", "ts": 1_700_000_000 + i, "values": {"s": i}})
            for i in range(20)])
        live_service.wait_until_done(deployed, 60)
        deployed.stop()
        said = live_service.assert_same(deployed)
        assert {reason for reason, _, _ in said.dead} >= {
            "empty", "malformed_json", "unknown_shape", "too_deep", "no_time", "unreadable_time",
            "not_a_number", "no_values", "name_too_long", "no_sensor", "columns_differ",
            "malformed_arrow", "tombstone"}
        assert said.counts["late"] > 0
        assert said.counts["duplicate"] > 0
        for letter in live_service.records(deployed, "dead"):
            head = dict(letter.headers)
            if head["andon_reason"] not in (b"tombstone",):
                assert letter.value in [poison[:BODY_LIMIT] for poison in POISON]
                assert head["trace"] == b"7"


def test_late_readings_are_put_in_order_and_too_late_ones_set_aside(
    cluster: kafka_broker.Cluster,
) -> None:
    """Shuffled within the lateness: the alerts are those of the sorted stream; one kill between."""
    chance = random.Random(14)
    rows = list(live_service.stream(6000, 12, 14))
    keyed = sorted(((row["ts"] / 1000 + chance.uniform(0, 9.9), i)
                    for i, (_, row) in enumerate(rows)))
    engine = live_service.ENGINE + "[quality]\nlateness_seconds = 10\n"
    with deployment(cluster, 3, engine=engine) as deployed:
        mixed = [rows[i] for _, i in keyed]
        live_service.send(deployed, mixed[:3000])
        deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        live_service.kill(deployed.workers[0])
        live_service.send(deployed, mixed[3000:])
        asset, row = mixed[-1]
        old = [(asset, {**row, "ts": row["ts"] - 3_600_000}),
               (asset, {**row, "ts": row["ts"] + 30 * 86_400_000})]
        live_service.send(deployed, old)
        deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        deployed.stop()
        said = live_service.assert_same(deployed)
        assert said.counts["accepted"] == 6000
        assert {reason for reason, _, _ in said.late} == {"late", "clock_jump"}
        assert {value for events in said.alerts.values() for value, _ in events} == {
            value for events in sorted_alerts(deployed, rows).values() for value in events}


def sorted_alerts(
    deployed: Deployment, rows: list[tuple[str, dict[str, Any]]]
) -> dict[str, list[bytes]]:
    """What the engine says of the rows in order, up to the moment the shuffled stream ends at."""
    monitor = Monitor(deployed.settings.monitor, Registry())
    decoder = Decoder(monitor.registry)
    messages = [SimpleNamespace(key=asset.encode(), value=json.dumps(row).encode())
                for asset, row in rows]
    found: dict[str, list[bytes]] = {}
    for decoded in decoder.decode(messages):
        for alert in monitor.process(decoded.readings).alerts:
            value = alert_message(alert, "", "").value
            assert value is not None
            found.setdefault(alert.asset, []).append(value)
    return found


#: What is sent is given up after three seconds (it is 45), and asked for anew after two.
GIVES_UP = """
from kafka import KafkaProducer
begin = KafkaProducer.__init__
def impatient(self, **options):
    options |= {"delivery_timeout_ms": 3000, "request_timeout_ms": 2000, "max_block_ms": 3000}
    begin(self, **options)
KafkaProducer.__init__ = impatient
"""


@pytest.mark.parametrize("fault", ["stalled", "stopped", "killed"])
def test_a_broker_that_goes_away_for_a_while(
    fragile: kafka_broker.Cluster, fault: str
) -> None:
    """Pause, no loss: SIGSTOP, an orderly stop or a kill -9 of the only broker, then it is back.

    It is stalled for longer than a transaction may take and than a delivery is waited for.
    """
    with deployment(fragile, 4) as deployed:
        for _ in range(2):
            deployed.start_worker(fault=GIVES_UP if fault == "stalled" else "")
        for step in sent_slowly(deployed, 5000, 11, 1000, 0.3):
            if step == 2:
                hurt(fragile.brokers[0], fault)
        live_service.wait_until_done(deployed, 120)
        deployed.stop()
        live_service.assert_same(deployed)


def hurt(broker: kafka_broker.Broker, fault: str) -> None:
    """Take the broker away for a few seconds."""
    if fault == "stalled":
        broker.signal(signal.SIGSTOP)
        time.sleep(6.0)
        broker.signal(signal.SIGCONT)
        return
    broker.stop() if fault == "stopped" else broker.kill()
    time.sleep(3.0)
    broker.start()


def test_a_leader_and_workers_that_are_killed_among_three_older_brokers() -> None:
    """Kafka 3.9, replication 3, min.isr 2: kill -9 of a broker, and of ten workers meanwhile."""
    own = kafka_broker.fresh(version="3.9.1", brokers=3)
    chance, kills = random.Random(39), 0
    try:
        with deployment(own, 6) as deployed:
            deployed.start_worker()
            deployed.start_worker()
            kafka_broker.wait_for(
                lambda: len(deployed.joined()) == 2, 120, "the workers' start " + deployed.logs())
            for step in sent_slowly(deployed, 12_000, 12, 1000, 0.3):
                if step == 4:
                    own.brokers[0].kill()
                if step == 8:
                    own.brokers[0].start()
                if step >= 2:
                    running = [w for w in deployed.workers if w.poll() is None]
                    live_service.kill(chance.choice(running))
                    deployed.start_worker()
                    kills += 1
            live_service.wait_until_done(deployed, 120)
            assert kills == 10
            deployed.stop()
            live_service.assert_same(deployed)
    finally:
        own.stop()


def test_a_broker_that_is_down_at_the_start_is_waited_for(fragile: kafka_broker.Cluster) -> None:
    """Alive but not ready, no busy loop; once the broker is there, everything runs."""
    (port,) = kafka_broker.free_ports(1)
    with deployment(fragile, 2) as deployed:
        live_service.send(deployed, list(live_service.stream(2000, 6, 13)))
        deployed.config.write_text(deployed.config.read_text() + f"[health]\nport = {port}\n")
        fragile.brokers[0].kill()
        deployed.start_worker()
        kafka_broker.wait_for(lambda: probe(port, "live") == 200, 60, "the probe port")
        time.sleep(2.0)
        assert probe(port, "ready") == 503
        fragile.brokers[0].start()
        kafka_broker.wait_for(lambda: probe(port, "ready") == 200, 90, "readiness")
        assert probe(port, "nonsense") == 404
        live_service.wait_until_done(deployed, 60)
        deployed.stop()
        live_service.assert_same(deployed)


def probe(port: int, path: str) -> int:
    """Status of one probe; 0 where nothing answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
