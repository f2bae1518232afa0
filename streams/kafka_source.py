"""Readings from a consumer group: our own face for kafka-python, and the only user of its consumer.

Manual commits (offsets go into the sink's transactions), ``read_committed``, cooperative
rebalances. kafka-python calls a rebalance listener on its IO loop, where heartbeats run too, so the
listener here only enqueues; the service takes the changes up between two batches. A broker that is
down at the start is waited for with growing, jittered pauses.
"""

from __future__ import annotations

import logging
import math
import queue
import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    AuthorizationError,
    IllegalStateError,
    KafkaError,
    SaslAuthenticationFailedError,
    TopicAlreadyExistsError,
)

from anomaly.registry import Registry
from streams import wire
from streams.errors import EXIT_OK, SettingsError, StreamsError
from streams.kafka_codec import Decoder
from streams.kafka_receive import receive_in_large_pieces
from streams.kafka_settings import KafkaSettings

#: How soon new partitions of the input are noticed.
METADATA_MS = 15_000
#: A named member without heartbeats for so long is no member any more: joining is quicker.
SILENT_SECONDS = 1.0
#: A poll that comes back sooner gives what was fetched while the turn before was under way …
AHEAD_SECONDS = 0.002
#: … and what has come since is waited for so long: a fetch takes two or three milliseconds.
NEWEST_SECONDS = 0.005
#: With so many messages at hand there is a backlog, and their age is no matter of milliseconds.
BACKLOG_MESSAGES = 1000
#: Pauses between tries of a start: from the first to the last, each jittered by half.
RETRY_SECONDS = (0.5, 30.0)
#: A topic just created is known to every broker within so long, however busy the machine is.
KNOWN_SECONDS = 30.0

Made = TypeVar("Made")


class TopicError(StreamsError):
    """A topic that is missing or not as it must be; the message says what to do."""

    exit_code = 78


class BrokerError(StreamsError):
    """The broker refused us or could not be reached."""

    retriable = True


class StoppedError(BrokerError):
    """We were asked to stop while we waited for the broker: nothing was lost by it."""

    exit_code = EXIT_OK


@dataclass(frozen=True, slots=True)
class Change:
    """Partitions that came (``assigned``) or went (``revoked``, ``lost``)."""

    kind: str
    partitions: tuple[int, ...]


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Only enqueues: it runs where the heartbeats are sent."""

    def __init__(self, changes: queue.SimpleQueue[Change]) -> None:
        self._changes = changes

    def on_partitions_assigned(self, assigned: Any) -> None:
        self._put("assigned", assigned)

    def on_partitions_revoked(self, revoked: Any) -> None:
        self._put("revoked", revoked)

    def on_partitions_lost(self, lost: Any) -> None:
        self._put("lost", lost)

    def _put(self, kind: str, places: Any) -> None:
        if places:
            self._changes.put(Change(kind, tuple(sorted(p.partition for p in places))))


class KafkaSource:
    """One topic through a consumer group.

    Parameters
    ----------
    options : mapping
        How to reach the broker.
    kafka : KafkaSettings
    """

    def __init__(
        self, options: Mapping[str, Any], kafka: KafkaSettings,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        reach(options)
        self._kafka = kafka
        self._changes: queue.SimpleQueue[Change] = queue.SimpleQueue()
        session_ms = round(kafka.session_seconds * 1000)
        self._consumer = KafkaConsumer(
            group_id=kafka.group, group_instance_id=kafka.worker or None,
            enable_auto_commit=False, isolation_level="read_committed",
            auto_offset_reset="earliest", metadata_max_age_ms=METADATA_MS,
            session_timeout_ms=session_ms, heartbeat_interval_ms=max(100, session_ms // 5),
            max_poll_interval_ms=300_000, max_poll_records=kafka.poll_messages,
            fetch_max_bytes=16 << 20,
            max_partition_fetch_bytes=max(2 << 20, kafka.message_limit_bytes + 4096),
            fetch_max_wait_ms=100, allow_auto_create_topics=False, retry_backoff_ms=50,
            partition_assignment_strategy=[CooperativeStickyAssignor()],
            **options,
        )

        self._silent_since = math.inf
        self._error: KafkaError | None = None
        self._is_fast = wire.install(self._consumer, say, reads_alike)
        receive_in_large_pieces(self._consumer)

    def subscribe(self) -> None:
        """Join the group; partitions arrive as changes."""
        # Known partitions first: a leader without them assigns none, and joins a second time.
        self._consumer.partitions_for_topic(self._kafka.topic)
        self._consumer.subscribe([self._kafka.topic], listener=_Listener(self._changes))

    def poll(self, timeout_seconds: float) -> dict[int, Sequence[Any]]:
        """Records by partition, at most ``poll_messages``; empty = nothing now.

        Raises
        ------
        KafkaError
            Anything that kafka-python does not retry by itself.
        """
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        began = time.monotonic()
        polled = self._consumer.poll(timeout_ms=round(timeout_seconds * 1000))
        if polled and time.monotonic() - began < AHEAD_SECONDS and (
            sum(sum(map(_length, parts)) for parts in polled.values()) < BACKLOG_MESSAGES
        ):
            self._add_newest(polled)
        self._finish_joining()
        if not self._is_fast:
            return {place.partition: records for place, records in polled.items()}
        return {place.partition: wire.Records(wire.joined(parts))
                for place, parts in polled.items()}

    def _add_newest(self, polled: dict[TopicPartition, list[Any]]) -> None:
        """Add what has come since the client fetched ahead.

        It does so in a poll and no sooner than the next one hands it out, so that everything would
        be as old as the turn before is long. An error waits until what came before it is taken.
        """
        try:
            newest = self._consumer.poll(timeout_ms=round(NEWEST_SECONDS * 1000))
        except KafkaError as error:
            self._error = error
            return
        for place, parts in newest.items():
            polled.setdefault(place, []).extend(parts)

    def _finish_joining(self) -> None:
        """Have a join that was begun come to its end.

        kafka-python 3.0.12 joins anew when the topic's partitions have changed; the leader takes
        note of the new ones while its join is under way, and if a poll's time ends just then,
        nothing asks for the result any more: no partitions, no heartbeats, for ever.
        """
        coordinator = self._consumer._coordinator
        if getattr(coordinator, "rejoining", False) and not coordinator.need_rejoin():
            coordinator.request_rejoin()

    def changes(self) -> Iterator[Change]:
        """What happened to our partitions since last asked."""
        while True:
            try:
                yield self._changes.get_nowait()
            except queue.Empty:
                return

    @property
    def has_changes(self) -> bool:
        """Whether partitions came or went that were not taken up yet."""
        return not self._changes.empty()

    def seek(self, partition: int, offset: int) -> bool:
        """Go on from here; False where the partition has just gone."""
        place = self.place(partition)
        try:
            self._consumer.seek(place, offset)
        except (AssertionError, IllegalStateError):
            return False
        return place in self._consumer.assignment()

    def pause(self, partition: int) -> None:
        """Fetch nothing of the partition until it is resumed; heartbeats go on."""
        if self.place(partition) in self._consumer.assignment():
            self._consumer.pause(self.place(partition))

    def resume(self, partition: int) -> None:
        """Fetch again."""
        place = self.place(partition)
        if place not in self._consumer.assignment():
            return
        self._consumer.resume(place)
        # kafka-python 3.0.12 parks what it had fetched of a paused partition and takes it up only
        # while its slot in line is None; a drained partition leaves an empty object there instead,
        # and then the parked one is neither returned nor fetched again, for ever. Without the
        # parked records it is fetched from our position.
        parked = getattr(self._consumer._fetcher, "_paused_partition_records", {}).pop(place, None)
        if parked is not None:
            parked.drain()

    def assignment(self) -> set[int]:
        """Partitions that are ours as far as the client knows."""
        return {place.partition for place in self._consumer.assignment()}

    def ends(self, partition: int) -> tuple[int, int]:
        """Offset of the first message that is still kept, and the one behind the last."""
        place = self.place(partition)
        first = self._consumer.beginning_offsets([place])[place]
        return first, self._consumer.end_offsets([place])[place]

    def committed(self, partition: int) -> int | None:
        """The group's committed offset, if there is one."""
        found: int | None = self._consumer.committed(self.place(partition))
        return found

    def membership(self) -> Any:
        """The group's metadata for a commit, or None while we are no member.

        Without a generation a broker takes offsets from anyone, so such a commit must not be tried.
        """
        found = self._consumer.group_metadata()
        return found if found.generation_id >= 0 and found.member_id else None

    @property
    def is_replaced(self) -> bool:
        """Whether another member has joined under our own name (``kafka.worker``).

        kafka-python 3.0.12 then stops its heartbeats, says so in its log, and goes on fetching.
        """
        coordinator = self._consumer._coordinator
        silent = not getattr(coordinator, "_heartbeat_enabled", True) and coordinator.stable()
        if not silent or not self._kafka.worker:
            self._silent_since = math.inf
            return False
        self._silent_since = min(self._silent_since, time.monotonic())
        return time.monotonic() - self._silent_since > SILENT_SECONDS

    def lag(self, partition: int, position: int) -> int | None:
        """Messages not handled yet, as of the last fetch; None = not known."""
        end = self._consumer.highwater(self.place(partition))
        return None if end is None else max(0, end - position)

    def place(self, partition: int) -> TopicPartition:
        """kafka-python's name of one of our partitions."""
        return TopicPartition(self._kafka.topic, partition)

    def close(self) -> None:
        """Leave the group (a static member stays, so that a restart moves nothing)."""
        self._consumer.close(autocommit=False, timeout_ms=2000)


def _length(part: Any) -> int:
    return len(part) if isinstance(part, wire.Block) else 1


def patiently(make: Callable[[], Made], say: Callable[[str], None],
              stopped: Callable[[], bool], what: str) -> Made:
    """Try until it works; wrong credentials and wrong settings are not tried again.

    Raises
    ------
    BrokerError
        Refused for a reason that time does not heal, or stopped while waiting.
    """
    pause = RETRY_SECONDS[0]
    heard = _Heard()
    logger = logging.getLogger("kafka")
    while True:
        logger.addHandler(heard)
        try:
            return make()
        except (SaslAuthenticationFailedError, AuthorizationError) as error:
            raise BrokerError(f"{what}: the broker refused our credentials: {error}") from None
        except (KafkaError, OSError) as error:
            if "SaslAuthenticationFailed" in heard.last:
                raise BrokerError(f"{what}: the broker refused our credentials") from None
            why = f" ({heard.last})" if heard.last else ""
            if "socket disconnected" in heard.last:  # how a refusal over TLS mostly looks
                why = " (the broker closes the connection: are protocol and credentials right?)"
            say(f"{what}: {type(error).__name__}: {error}{why}; trying again in about "
                f"{max(1.0, pause):.0f} s")
        finally:
            logger.removeHandler(heard)
        end = time.monotonic() + pause * random.uniform(0.5, 1.0)
        while time.monotonic() < end:
            if stopped():
                raise StoppedError(f"{what}: stopped while waiting for the broker")
            time.sleep(0.05)
        pause = min(2 * pause, RETRY_SECONDS[1])


def reach(options: Mapping[str, Any]) -> None:
    """Fail quickly where no broker listens at all.

    A kafka-python client that cannot bootstrap leaves a thread behind, so none is made in vain.

    Raises
    ------
    OSError
        None of the bootstrap servers takes a connection.
    """
    last: OSError = ConnectionRefusedError("no bootstrap server")
    for server in options["bootstrap_servers"]:
        host, _, port = str(server).rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5.0).close()
            return
        except OSError as error:
            last = error
        except ValueError:
            raise SettingsError(
                f"kafka.bootstrap_servers: {server!r} is not host:port") from None
    raise last


class _Heard(logging.Handler):
    """The last thing the client library complained of: it swallows why a connection failed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "SaslAuthenticationFailed" in text:
            self.last = "SaslAuthenticationFailed"  # what follows are only its consequences
        elif "onnection" in text and not self.last.startswith("Sasl"):
            self.last = text[-200:]


def prepare_topics(options: Mapping[str, Any], kafka: KafkaSettings) -> int:
    """Check the input and our own topics, create what may be created; returns the partitions.

    An input that got more partitions has its state topic widened: assets whose key now belongs to
    another partition are learned anew there.

    Raises
    ------
    TopicError
        The input is missing, or the state topic is not compacted or has other partitions.
    SettingsError
        No topic is named.
    """
    if not kafka.topic:
        raise SettingsError("kafka.topic: names no topic to read from")
    reach(options)
    admin = KafkaAdminClient(**options)
    try:
        counts = _partitions(admin)
        if kafka.topic not in counts:
            raise TopicError(f"topic {kafka.topic!r} does not exist; create it or correct "
                             "kafka.topic")
        count = counts[kafka.topic]
        wanted = {kafka.alerts_topic: {}, kafka.dead_letter_topic: {}, kafka.late_topic: {},
                  kafka.commands_topic: {"retention.ms": str(30 * 86_400_000)},
                  kafka.state_topic_name: {"cleanup.policy": "compact",
                                           "min.cleanable.dirty.ratio": "0.3",
                                           "segment.ms": "3600000"}}
        if kafka.scores_topic:
            wanted[kafka.scores_topic] = {}
        for name, settings in wanted.items():
            if name not in counts:
                parts = 1 if name == kafka.commands_topic else count
                _create(admin, kafka, name, parts, settings)
        have = counts.get(kafka.state_topic_name, count)
        if have < count and kafka.create_topics:  # the input was widened
            admin.create_partitions({kafka.state_topic_name: count})
            have = count
        _check_state_topic(admin, kafka, have, count)
        return count
    finally:
        admin.close()


def _partitions(admin: Any) -> dict[str, int]:
    return {entry["name"]: len(entry["partitions"]) for entry in admin.describe_topics()
            if not entry.get("error_code")}


def _create(
    admin: Any, kafka: KafkaSettings, name: str, partitions: int, settings: dict[str, str]
) -> None:
    if not kafka.create_topics:
        raise TopicError(f"topic {name!r} does not exist and kafka.create_topics is false")
    # The broker's clock and not ours: it refuses messages from more than an hour ahead of it.
    settings = {"message.timestamp.type": "LogAppendTime", **settings}
    try:
        admin.create_topics(
            [NewTopic(name, partitions, kafka.replication, topic_configs=settings)])
    except TopicAlreadyExistsError:  # another worker was faster
        return


def _check_state_topic(admin: Any, kafka: KafkaSettings, have: int, need: int) -> None:
    name = kafka.state_topic_name
    if have != need:
        raise TopicError(
            f"state topic {name!r} has {have} partitions, {kafka.topic!r} has {need}: they must be "
            f"equal. Where the input was widened: kafka-topics.sh --alter --topic {name} "
            f"--partitions {need} (assets that moved are learned anew)")
    policy = cleanup_policy(admin, name)
    if "compact" not in policy or "delete" in policy:
        raise TopicError(
            f"state topic {name!r} has cleanup.policy={policy}: it must be compact and nothing "
            f"else. kafka-configs.sh --alter --topic {name} --add-config cleanup.policy=compact")


def cleanup_policy(admin: Any, topic: str) -> str:
    """What the brokers tell of a topic; those that do not know it yet are asked again.

    Raises
    ------
    TopicError
        None told it within ``KNOWN_SECONDS``.
    """
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    end = time.monotonic() + KNOWN_SECONDS
    while time.monotonic() < end:
        # All, defaults too: a topic with none of its own would look like one that is not known.
        described = admin.describe_configs([resource], config_filter="all")["topic"][topic]
        if "cleanup.policy" in described:
            return str(described["cleanup.policy"]["value"])
        time.sleep(0.3)
    raise TopicError(
        f"state topic {topic!r}: the brokers did not tell its configuration in "
        f"{KNOWN_SECONDS:g} s; the user needs the right to DescribeConfigs on it")


def reads_alike(records: wire.Records) -> bool:
    """Whether scanned records give the readings that the same records give one by one."""
    told = []
    for messages in (records, list(records)):
        decoder = Decoder(Registry())
        parts = [p for half in (messages[:20], messages[20:]) for p in decoder.decode(half)]
        columns = [(p.readings.asset, p.readings.sensor, p.readings.time_ns, p.readings.value,
                    p.readings.closes) for p in parts]
        told.append([np.concatenate(c).tobytes() for c in zip(*columns, strict=True)])
    return told[0] == told[1]
