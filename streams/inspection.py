"""``andon inspect``: what a state topic or snapshot holds — assets, trusted or blind, how big.

Reads only. The same words as the report use: the condition of every asset and sensor, and why.
"""

from __future__ import annotations

import difflib
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

import msgspec

from anomaly.monitor import Monitor
from streams import kafka_state
from streams.checkpoint import DirectoryCheckpoint
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
    known: set[str] = set()
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
            stdout.write(f"  messages: {counts or 'none'}\n")
        _tell(found.monitor, asset, stdout)
        known.update(registry.assets)
    _require(asset, known)
    return EXIT_OK


def inspect_directory(settings: Settings, directory: Path, asset: str, stdout: TextIO) -> int:
    """The same of snapshots in a directory.

    Raises
    ------
    UsageError
        There are none.
    """
    kept = DirectoryCheckpoint(directory) if directory.is_dir() else None
    partitions = kept.partitions() if kept is not None else []
    if kept is None or not partitions:
        raise UsageError(f"--state {directory}: holds no snapshots")
    known: set[str] = set()
    for partition in partitions:
        found = kept.load(partition, settings.monitor)
        assert found is not None
        monitor, position = found
        size = sum(path.stat().st_size for path in directory.glob(f"partition-{partition}-*.npz"))
        stdout.write(
            f"partition {partition}: state after {position.get('offset', position)}; "
            f"{len(monitor.registry.assets)} assets, {monitor.registry.tag_count} tags, "
            f"{size} bytes in snapshots\n")
        _tell(monitor, asset, stdout)
        known.update(monitor.registry.assets)
    _require(asset, known)
    return EXIT_OK


def _require(asset: str, known: set[str]) -> None:
    """Say so where no partition has the asset that was asked for."""
    if asset and asset not in known:
        near = difflib.get_close_matches(asset, sorted(known), n=3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise UsageError(f"no asset is called {asset!r}{hint}")


def _tell(monitor: Monitor, asset: str, stdout: TextIO) -> None:
    conditions = monitor.conditions()
    if asset:
        for c in conditions:
            if c.asset == asset:
                stdout.write(f"  {c.sensor or c.asset}: {c.state} {c.detail}".rstrip() + "\n")
        return
    states = Counter(c.state for c in conditions if not c.sensor)
    if states:
        stdout.write("  assets: " + ", ".join(f"{n} {s}" for s, n in states.items()) + "\n")


def show_ledger(settings: Settings, stdout: TextIO, stderr: TextIO) -> int:
    """Write every effect of a command, one JSON object a line."""
    kafka = settings.kafka
    options = client_options(kafka)
    count = partitions(options, kafka.state_topic_name)
    entries: list[Entry] = ledger(dict(options), kafka, count)
    for entry in entries:
        stdout.write(msgspec.json.encode(entry).decode() + "\n")
    if not entries:
        stderr.write("andon: the ledger has no entries yet\n")
    return EXIT_OK
