"""What leaves through Kafka: alerts as CloudEvents, dead letters, late readings; in transactions.

The shapes of outgoing messages and the one way to commit them: everything that a stretch of input
caused, the state it left and the position behind it become visible together or not at all. No
decision when to commit is made here.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from kafka import KafkaProducer, TopicPartition
from kafka.errors import (
    InvalidProducerEpochError,
    InvalidProducerIdMappingError,
    InvalidRecordError,
    InvalidTimestampError,
    KafkaError,
    ProducerFencedError,
)
from kafka.structs import OffsetAndMetadata

from anomaly.batches import Alert, Outcome
from anomaly.registry import Registry
from streams.errors import StreamsError
from streams.sinks import alert_line
from streams.times import iso

#: Bytes of a message's body that a dead letter keeps; the rest is cut and said to be cut.
BODY_LIMIT = 900_000

#: OpenTelemetry's numbers for the CloudEvents severity extension.
_SEVERITY = {"low": ("WARN", b"13"), "medium": ("ERROR", b"17"), "high": ("FATAL", b"21")}


#: What a broker's refusal of our messages' times means.
_CLOCK = ("the broker does not take our messages' times: this host's clock is wrong (it says {}Z), "
          "or the broker's is; nothing can be committed until it is right")
#: A message that was not taken for so long is given up, and its transaction with it: a producer
#: that lost its broker in mid-delivery may wait this out, and the next one is through at once.
DELIVERY_SECONDS = 45
#: Longer, so that the producer says itself what it has given up.
FLUSH_SECONDS = DELIVERY_SECONDS + 5
#: Errors that say: another producer has taken this one's name.
_FENCED = (ProducerFencedError, InvalidProducerEpochError, InvalidProducerIdMappingError)


@dataclass(frozen=True, slots=True)
class Message:
    """One message to be sent; ``partition`` None = chosen by the key, as Kafka clients do."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None


class AbortedError(StreamsError):
    """The transaction did not happen; the state ran ahead and must be rebuilt.

    Its producer must not be used again: it may be fenced for being slow, or not have been able to
    abort (the next one of its name ends what it left open), and kafka-python 3.0.12 offers the
    offsets of an aborted transaction once more with the next, when they may be another worker's.
    """

    retriable = True


class FencedError(StreamsError):
    """Another worker has taken over what this one held; nothing more may be written."""


class Transactions:
    """The transactional producer of one worker.

    Parameters
    ----------
    options : mapping
        How to reach the broker (``client_options``).
    transactional_id : str
        Its prefix is what a successor recognises and fences.
    timeout_seconds : float
        The broker aborts a transaction older than this.

    Raises
    ------
    KafkaError
        The broker cannot be reached.
    """

    def __init__(
        self, options: Mapping[str, Any], transactional_id: str, timeout_seconds: float
    ) -> None:
        self.transactional_id = transactional_id
        self.commits = 0
        self._timeout_seconds = timeout_seconds
        self._producer = KafkaProducer(
            transactional_id=transactional_id, acks="all", linger_ms=0, batch_size=1_000_000,
            compression_type=None, retry_backoff_ms=5, max_request_size=1 << 20,
            transaction_timeout_ms=round(timeout_seconds * 1000),
            delivery_timeout_ms=DELIVERY_SECONDS * 1000, metadata_max_age_ms=15_000, **options,
        )
        try:
            self._producer.init_transactions()
        except BaseException:
            self._producer.close(timeout=0)
            raise

    def commit(
        self, messages: Sequence[Message], offsets: Mapping[TopicPartition, int], membership: Any
    ) -> None:
        """Send all and commit; returns once everything is durable and visible.

        ``membership`` is the group's metadata of the generation in which the partitions were ours:
        the broker refuses the offsets of any other. The messages are on their partitions before
        the offsets are offered, so that whoever reads a state partition to its stable end has
        waited for every transaction that could still commit there.

        Raises
        ------
        AbortedError
            Nothing was committed (or nothing is known): forget the state and restore it, and
            go on with another ``Transactions``.
        FencedError
        """
        producer, started = self._producer, time.monotonic()
        try:
            producer.begin_transaction()
            sent = [
                producer.send(m.topic, key=m.key, value=m.value, partition=m.partition,
                              headers=list(m.headers))
                for m in messages
            ]
            producer.flush(timeout=FLUSH_SECONDS)
            failed = [future.exception or KafkaError("a message was not acknowledged")
                      for future in sent if not future.is_done or future.failed()]
            if failed:  # one tells why; of the others it may only be known that they went with it
                raise next(filter(_is_of_time, failed), failed[0])
            producer.send_offsets_to_transaction(
                {place: OffsetAndMetadata(offset, "", -1) for place, offset in offsets.items()},
                membership)
            producer.commit_transaction()
        except _FENCED as error:
            took = time.monotonic() - started
            if took > self._timeout_seconds:  # a broker fences who is too slow, too
                raise AbortedError(
                    f"a transaction took {took:.0f} s and was aborted by the broker, which allows "
                    f"{self._timeout_seconds:g} (kafka.transaction_seconds)") from error
            raise FencedError(
                f"{self.transactional_id} was fenced: another worker holds its partitions, or was "
                "started with our name (kafka.worker)"
            ) from error
        except (KafkaError, AssertionError) as error:  # the latter: a partition not known yet
            why = _CLOCK.format(iso(time.time_ns())[:16]) if _is_of_time(error) else str(error)
            self._abort(why)
            raise AbortedError(f"transaction aborted: {why}") from error
        self.commits += 1

    def close(self) -> None:
        """Let go; an open transaction is left to be aborted."""
        self._producer.close(timeout=2)

    def _abort(self, why: str) -> None:
        try:
            self._producer.abort_transaction()
        except (ProducerFencedError, InvalidProducerEpochError) as error:
            raise FencedError(f"{self.transactional_id} was fenced") from error
        except KafkaError as error:
            raise AbortedError(f"transaction given up: {why} ({error})") from error


def _is_of_time(error: BaseException) -> bool:
    """Whether a message was refused for its time, which is our clock's."""
    return isinstance(error, InvalidTimestampError) or (
        isinstance(error, InvalidRecordError) and "imestamp" in str(error))


def alert_message(
    alert: Alert, topic: str, source: str, shelved: bool = False, acknowledged: bool = False
) -> Message:
    """One transition of an alert as a CloudEvent in binary mode; the key is the asset.

    A standing alert is told again when its time left is news, so state and time are in the event's
    id; the same event always has the same.
    """
    text, number = _SEVERITY[alert.severity]
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", f"{alert.id}-{alert.state}-{alert.time_ns}".encode()),
        ("ce_source", source.encode()),
        ("ce_type", f"andon.alert.{alert.state}".encode()),
        ("ce_subject", alert.asset.encode()),
        ("ce_time", iso(alert.time_ns).encode()),
        ("content-type", b"application/json"),
        ("severitytext", text.encode()),
        ("severitynumber", number),
    ]
    if shelved:
        headers.append(("andon_shelved", b"true"))
    if acknowledged:
        headers.append(("andon_acknowledged", b"true"))
    return Message(topic, alert.asset.encode(), alert_line(alert).encode(), tuple(headers))


def origin_message(record: Any, topic: str, reason: str, extra: Mapping[str, str]) -> Message:
    """A message that was not used, with its own bytes, headers and origin, and the reason.

    The body is cut at :data:`BODY_LIMIT` (and says so), so that the letter itself always fits.
    """
    value = record.value
    headers = [
        ("andon_reason", reason.encode()),
        ("andon_topic", record.topic.encode()),
        ("andon_partition", str(record.partition).encode()),
        ("andon_offset", str(record.offset).encode()),
        ("andon_timestamp_ms", str(record.timestamp).encode()),
        *((name, text.encode()) for name, text in extra.items()),
    ]
    if value is None:
        headers.append(("andon_tombstone", b"true"))
        value = b""  # a tombstone of ours would delete in a compacted topic
    if len(value) > BODY_LIMIT:
        headers.append(("andon_bytes", str(len(value)).encode()))
        value = value[:BODY_LIMIT]
    budget = 64_000
    for name, content in record.headers or ():
        budget -= len(name) + len(content or b"")
        if budget < 0:
            break
        headers.append((name, content or b""))
    key = record.key if record.key is None or len(record.key) <= 16_000 else record.key[:16_000]
    return Message(topic, key, value, tuple(headers))


def score_messages(outcome: Outcome, registry: Registry, topic: str) -> list[Message]:
    """One message per judged row: asset, time, score, return period, alert."""
    rows, scores = outcome.rows, outcome.scores
    made = []
    for i in range(len(rows)):
        asset = registry.assets[int(rows.asset[i])]
        score, period = float(scores.score[i]), float(scores.return_period_s[i])
        body = msgspec.json.encode({
            "asset": asset, "ts": int(rows.time_ns[i]),
            "score": None if score != score else score,
            "return_period_seconds": None if period != period else period,
            "alert": int(scores.alert[i]),
        })
        made.append(Message(topic, asset.encode(), body))
    return made


def replaced(worker: str) -> str:
    """What a worker says whose name another one has taken."""
    return (f"another worker was started with our name, {worker!r} (kafka.worker): it has taken "
            "over what we held, and we stop. Give every worker a name of its own")


def transactional_id(group: str, worker: str) -> str:
    """Name of a worker's transactions; unique, because fencing is done by who comes after."""
    return f"{transactional_prefix(group)}{worker or uuid.uuid4().hex}"


def transactional_prefix(group: str) -> str:
    """What the names of all workers of a group begin with."""
    return f"andon-{group}-"
