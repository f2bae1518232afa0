"""Transactions one after another on a real broker, and what one that failed leaves behind."""

from __future__ import annotations

import uuid

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.structs import ConsumerGroupMetadata

from anomaly.config import MonitorConfig
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams.committing import Committer
from streams.kafka_codec import Decoder
from streams.kafka_settings import KafkaSettings
from streams.kafka_sink import AbortedError, Transactions
from streams.kafka_state import Book
from streams.lane import Lane
from streams.totals import Totals
from tests import kafka_broker

pytestmark = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


def test_offsets_of_an_aborted_transaction_are_not_offered_again() -> None:
    """They may be another worker's by then, and older than what it has committed."""
    cluster = kafka_broker.shared()
    name = f"t{uuid.uuid4().hex[:8]}"
    for topic in ("readings", "state"):
        cluster.create_topic(f"{name}.{topic}", 2)
    options = {"bootstrap_servers": cluster.bootstrap.split(","), **cluster.client}
    kept: list[int] = []
    committer = Committer(
        lambda known: Transactions(options, known or name, 10.0), Totals(),
        lambda stage, seconds: None, kept.append)
    settings = KafkaSettings(topic=f"{name}.readings", group=name)

    def begin(partition: int, position: int, membership: ConsumerGroupMetadata) -> None:
        monitor = Monitor(MonitorConfig(detectors=("level",)), Registry())
        lane = Lane(partition, settings, monitor, Decoder(monitor.registry), Book(monitor),
                    position, 0, 0, 0.0)
        committer.begin([lane], [lane], f"{name}.state",
                        lambda p: TopicPartition(settings.topic, p), membership, 0.0)
        assert not lane.is_dirty

    committer.open()
    try:
        begin(0, 5, ConsumerGroupMetadata(name, 3, "of-another-generation"))
        with pytest.raises(AbortedError):
            committer.settle(wait=True)
        begin(1, 7, ConsumerGroupMetadata(name))
        assert committer.settle(wait=True)
    finally:
        committer.close()
    assert kept == [1]
    assert (committer.totals.commits, committer.failures) == (1, 0)
    group = KafkaConsumer(group_id=name, enable_auto_commit=False, **options)
    try:
        assert [group.committed(TopicPartition(settings.topic, p)) for p in range(2)] == [None, 7]
    finally:
        group.close()
