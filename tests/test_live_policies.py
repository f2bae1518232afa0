"""Topics that are changed under the running service, and states that cannot be used."""

from __future__ import annotations

import json
import os
import signal
import time

import msgspec
import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from streams import kafka_state
from tests import kafka_broker, live_service
from tests.kafka_broker import wait_for
from tests.live_service import Deployment, deployment

pytestmark = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@pytest.fixture(name="cluster")
def _cluster() -> kafka_broker.Cluster:
    return kafka_broker.shared()


def admin(deployed: Deployment) -> KafkaAdminClient:
    return KafkaAdminClient(
        bootstrap_servers=deployed.cluster.bootstrap, **deployed.cluster.client)


def forget(deployed: Deployment, partition: int, before: int) -> None:
    """Have the broker delete what is older, as retention does."""
    client = admin(deployed)
    client.delete_records({TopicPartition(f"{deployed.name}.readings", partition): before})
    client.close()


def test_messages_that_were_deleted_unread_are_counted_and_said(
    cluster: kafka_broker.Cluster,
) -> None:
    """Once while the worker stands still, once while there is none; what is kept is all used."""
    rows = list(live_service.stream(6000, 6, 21))
    with deployment(cluster, 1) as deployed:
        live_service.send(deployed, rows[:2000])
        worker = deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        os.killpg(worker.pid, signal.SIGSTOP)
        live_service.send(deployed, rows[2000:3000])
        forget(deployed, 0, 2500)
        os.killpg(worker.pid, signal.SIGCONT)
        wait_for(lambda: live_service.positions(deployed)[0] >= 3000, 60, "going on")
        assert "500 messages from offset 2000 on were deleted" in deployed.logs()
        assert deployed.stop() == [0]
        live_service.send(deployed, rows[3000:4000])
        forget(deployed, 0, 3600)
        deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        assert "600 messages after the checkpoint are no longer kept" in deployed.logs()
        assert deployed.stop() == [0]
        counts = live_service.observed(deployed).counts
        assert counts["in"] == counts["accepted"] == 4000 - 500 - 600


def test_an_input_that_gets_more_partitions_is_followed(cluster: kafka_broker.Cluster) -> None:
    rows = list(live_service.stream(6000, 12, 22))
    with deployment(cluster, 2) as deployed:
        live_service.send(deployed, rows[:2000])
        deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        client = admin(deployed)
        client.create_partitions({f"{deployed.name}.readings": 4})
        client.close()
        deployed.partitions = 4
        wait_for(lambda: min(p for p in live_service.ends(deployed).values()) >= 0, 30, "widening")
        live_service.send(deployed, rows[2000:])
        live_service.wait_until_done(deployed, 90)
        deployed.stop()
        live_service.assert_same(deployed)


def test_a_topic_made_anew_is_refused(cluster: kafka_broker.Cluster) -> None:
    with deployment(cluster, 1) as deployed:
        live_service.send(deployed, list(live_service.stream(500, 6, 23)))
        deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        assert deployed.stop() == [0]
        client = admin(deployed)
        client.delete_topics([f"{deployed.name}.readings"])
        client.close()
        time.sleep(1.0)
        worker = deployed.start_worker()
        assert worker.wait(60) == 78
        assert "does not exist" in deployed.logs()
        cluster.create_topic(f"{deployed.name}.readings", 1)
        worker = deployed.start_worker()
        assert worker.wait(60) == 78
        assert "was made anew" in deployed.logs()


@pytest.mark.parametrize("what", ["newer", "damaged"])
def test_a_state_that_cannot_be_used_ends_the_service(
    cluster: kafka_broker.Cluster, what: str
) -> None:
    """Exit code 78 with what to do, and nothing is overwritten."""
    with deployment(cluster, 1) as deployed:
        live_service.send(deployed, list(live_service.stream(500, 6, 24)))
        deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        assert deployed.stop() == [0]
        options = {"bootstrap_servers": cluster.bootstrap.split(","), **cluster.client}
        latest = kafka_state.read(options, f"{deployed.name}.state", 0)
        if what == "newer":
            key = b"checkpoint"
            newer = msgspec.json.decode(latest[key])
            value = json.dumps({**newer, "format": 99}).encode()
        else:
            key = next(key for key in latest if key.startswith(b"a/0/"))
            value = latest[key][:-9]
        producer = KafkaProducer(bootstrap_servers=cluster.bootstrap, **cluster.client)
        producer.send(f"{deployed.name}.state", key=key, value=value, partition=0)
        producer.close()
        worker = deployed.start_worker()
        assert worker.wait(60) == 78, deployed.logs()
        assert ("newer than this program" if what == "newer" else "machine-") in deployed.logs()
        assert "Traceback" not in deployed.logs()
        assert kafka_state.read(options, f"{deployed.name}.state", 0)[key] == value
