"""``andon inspect``: what is in a state topic — which assets, trusted or blind, and how big.

Reads only. The same words as the report use: the condition of every asset and sensor, and why.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, TextIO

import msgspec

from streams import kafka_state
from streams.commands import Entry, ledger
from streams.errors import EXIT_OK, UsageError
from streams.kafka_settings import client_options
from streams.settings import Settings


def partitions(options: dict[str, Any], topic: str) -> int:
    """How many partitions a topic has.

    Raises
    ------
    UsageError
        There is no such topic, or no broker.
    """
    from kafka import KafkaConsumer
    from kafka.errors import KafkaError

    try:
        consumer = KafkaConsumer(group_id=None, enable_auto_commit=False, **options)
        try:
            found = consumer.partitions_for_topic(topic)
        finally:
            consumer.close()
    except (KafkaError, OSError) as error:
        raise UsageError(f"the broker cannot be reached: {error}") from None
    if not found:
        raise UsageError(f"topic {topic!r} does not exist")
    return len(found)


def inspect(settings: Settings, asset: str, stdout: TextIO) -> int:
    """Write what the state topic holds; with ``asset``, every sensor of that asset."""
    kafka = settings.kafka
    options = client_options(kafka)
    for partition in range(partitions(options, kafka.state_topic_name)):
        latest = kafka_state.read(dict(options), kafka.state_topic_name, partition)
        found = kafka_state.restored(
            latest, settings.monitor, kafka.asset_limit, kafka.tag_limit)
        registry = found.monitor.registry
        position = "nothing committed" if found.position is None else f"position {found.position}"
        behind = "" if found.checkpoint is None else f", state after {found.checkpoint.position}"
        stdout.write(
            f"partition {partition}: {position}{behind}; {len(registry.assets)} assets, "
            f"{registry.tag_count} tags, {found.size_bytes} bytes in {found.records} records\n")
        if found.checkpoint is not None:
            counts = ", ".join(f"{v} {k}" for k, v in found.checkpoint.counts.items() if v)
            stdout.write(f"  messages: {counts}\n")
        conditions = found.monitor.conditions()
        if asset:
            for c in conditions:
                if c.asset == asset:
                    stdout.write(f"  {c.sensor or c.asset}: {c.state} {c.detail}".rstrip() + "\n")
            continue
        states = Counter(c.state for c in conditions if not c.sensor)
        if states:
            stdout.write("  assets: " + ", ".join(f"{n} {s}" for s, n in states.items()) + "\n")
    return EXIT_OK


def show_ledger(settings: Settings, stdout: TextIO) -> int:
    """Write every effect of a command, one JSON object a line."""
    kafka = settings.kafka
    options = client_options(kafka)
    count = partitions(options, kafka.state_topic_name)
    entries: list[Entry] = ledger(dict(options), kafka, count)
    for entry in entries:
        stdout.write(msgspec.json.encode(entry).decode() + "\n")
    return EXIT_OK
