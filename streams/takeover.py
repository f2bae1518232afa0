"""Taking a partition over: its state, its position, and what of the input comes in between.

What was held before, by us or by another worker, does not matter: the topics know everything. When
a partition is taken over and what becomes of it is the worker's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kafka.errors import KafkaError

from streams import kafka_state
from streams.errors import StreamsError
from streams.kafka_sink import transactional_prefix
from streams.kafka_source import KafkaSource, TopicError
from streams.lane import Lane, decoder_of
from streams.schema_formats import SchemaReader
from streams.settings import Settings
from streams.totals import Totals

#: Spreads the checkpoints of any number of partitions over their interval.
_GOLDEN = 0.6180339887498949


#: The newest records of a partition's state topic, by key.
Latest = dict[bytes, bytes]


def state(partition: int, settings: Settings, options: Mapping[str, Any]) -> Latest:
    """A partition's state as it was committed last; see ``kafka_state.read``."""
    kafka = settings.kafka
    return kafka_state.read(
        dict(options), kafka.state_topic_name, partition, transactional_prefix(kafka.group))


def states(
    partitions: Sequence[int], settings: Settings, options: Mapping[str, Any]
) -> Iterator[tuple[int, Latest | None]]:
    """The states of partitions that became ours, each read while the one before is worked on.

    None = it could not be read now. Not for partitions that may become another's and ours again
    meanwhile: what is read ahead is the state of this assignment.
    """
    if len(partitions) < 2:
        yield from ((partition, None) for partition in partitions)
        return
    with ThreadPoolExecutor(1, "state") as pool:
        ahead = [pool.submit(state, partitions[0], settings, options)]
        for k, partition in enumerate(partitions):
            found: list[Latest | None] = [None]
            with contextlib.suppress(KafkaError, OSError, StreamsError):
                found = [ahead.pop().result()]  # let go of: it keeps what it has read
            ahead = [pool.submit(state, p, settings, options) for p in partitions[k + 1:k + 2]]
            yield partition, found.pop()


def lane(
    partition: int, latest: Latest | None, settings: Settings, options: Mapping[str, Any],
    source: KafkaSource, schemas: SchemaReader | None, now: float, totals: Totals,
    say: Callable[[str], None],
) -> Lane:
    """A partition as it was committed last; the source is not moved yet.

    ``latest`` is its state (which is used up), None = to be read now; ``now`` is the worker's
    clock. Until ``Lane.silent_until`` the lane repeats what was said.

    Raises
    ------
    StreamsError, AnomalyError
        State or topics that cannot be used.
    """
    kafka = settings.kafka
    if not latest:  # read now, or again: what was read ahead is used once
        latest = state(partition, settings, options)
    found = kafka_state.restored(latest, settings.monitor, kafka.asset_limit, kafka.tag_limit)
    latest.clear()
    first, end = source.ends(partition)
    checkpoint = found.checkpoint
    until = found.position if found.position is not None else source.committed(partition)
    if checkpoint is not None:
        start = checkpoint.position
    else:
        start = first if kafka.start == "earliest" or until is not None else end
        if until is not None and until > first:
            say(f"partition {partition}: there is no state below the committed offset "
                f"{until}; learning again from what is still kept")
    if start > end:
        raise TopicError(
            f"{kafka.topic}-{partition} ends at {end}, before our position {start}: the topic "
            "was made anew. Use another kafka.group (or kafka.state_topic) for it")
    if start < first:
        totals.messages_lost += first - start
        say(f"partition {partition}: {first - start} messages after the checkpoint are "
            "no longer kept and are lost to the state")
        start = first
    decoder = decoder_of(settings, found.monitor.registry, schemas)
    made = Lane(
        partition, kafka, found.monitor, decoder, found.book, start, max(start, until or start),
        start, now - partition * _GOLDEN % 1.0 * kafka.checkpoint_seconds)
    made.committed = made.silent_until
    if checkpoint is None:
        made.checkpoint_now = True  # from here on the position is told by our own topic
    else:
        made.commands = dict(checkpoint.commands)
        made.memory = dict(checkpoint.memory)
        for name, count in checkpoint.counts.items():
            kind, _, reason = name.partition(".")
            (made.reasons if kind == "dead" else made.counts)[reason or name] = count
    return made
