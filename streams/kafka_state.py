"""The state in a compacted topic: one partition per input partition, one record per touched asset.

Any worker on any machine can take a partition over with an empty disk. Per asset there is a *base*
(its whole image) and up to :data:`SLOTS` − 1 *changes* after it, each under a key of its own, so
that compaction keeps one chain per asset and an idle asset is never written again. Beside them:

``layout``      what the images look like; another layout is refused, never guessed.
``checkpoint``  the position that the images are the state after, and what is no asset's own.
``memory``      what the commands and open alerts left behind, in pieces.
``position``    how far outputs are committed: the input from ``checkpoint`` to here is processed
                again without a word, which is exact because the engine is deterministic.

All of them are written in the transaction that commits the position. Nothing here decides when.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import zstandard
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from anomaly import assets, memory_plan
from anomaly.config import MonitorConfig
from anomaly.errors import StateError
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams.errors import StreamsError
from streams.kafka_receive import receive_in_large_pieces
from streams.kafka_source import reach
from streams.state_records import (
    FORMAT,
    SLOTS,
    Chain,
    Found,
    Names,
    Record,
    chains_of,
    key_of,
    pieces_of,
    records_of,
)

#: Assets that one thread writes back at a time.
PORTION = 16
#: How long an open transaction of another worker is waited for before that worker is fenced.
GRACE_SECONDS = 2.0

_LAYOUT, _CHECKPOINT, _POSITION, _MEMORY = b"layout", b"checkpoint", b"position", b"memory/"
class StateTopicError(StreamsError):
    """The state topic cannot be used; the message says what to do."""

    exit_code = 78


class Checkpoint(msgspec.Struct):
    """What a partition's state is besides its assets' images."""

    format: int
    position: int
    """Offset of the first message that is not in the state yet."""
    assets: int
    counts: dict[str, int]
    stream: dict[str, tuple[str, bytes]]
    """Arrays that are no asset's own: name -> dtype, bytes."""
    commands: dict[int, int]
    """Per partition of the commands topic: the first command not applied yet."""
    memory: dict[str, Any]
    """What the commands made known (shelved assets, acknowledged alerts), and open alerts. Written
    beside the checkpoint, because it may outgrow a record."""
    memory_pieces: int = 0


class Position(msgspec.Struct):
    """How far outputs are committed, and by whom."""

    format: int
    position: int
    worker: str


@dataclass(slots=True)
class Restored:
    """A partition's state as read back."""

    monitor: Monitor
    book: Book
    checkpoint: Checkpoint | None
    position: int | None
    """None = nothing was ever committed."""
    records: int = 0
    size_bytes: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Book:
    """What one partition's state topic already holds, so that only the difference is written."""

    monitor: Monitor
    tracker: assets.Tracker = field(init=False)
    chains: dict[int, Chain] = field(default_factory=dict)
    layout_written: bool = False
    gone: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tracker = assets.Tracker(self.monitor)

    def forget(self, asset: int, name: str) -> None:
        """The asset was let go: its records get tombstones, and its index a chain of its own."""
        chain = self.chains.pop(asset, Chain())
        self.gone += [key_of(name, slot, piece) for slot in range(chain.slots)
                      for piece in range(chain.pieces)]

    def records(self, touched: Sequence[int], checkpoint: Checkpoint) -> list[Record]:
        """A checkpoint's records; the caller commits them or forgets this book."""
        written: list[Record] = [(key, None) for key in self.gone]
        self.gone.clear()
        if not self.layout_written:
            written.append((_LAYOUT, self.tracker.layout().encode()))
            self.layout_written = True
        compressor = zstandard.ZstdCompressor(level=1)
        whole = []
        for a in touched:
            chain = self.chains.setdefault(a, Chain())
            if chain.slot == SLOTS or chain.since_bytes > chain.base_bytes:
                chain.slot = 0
            whole.append(chain.slot == 0)
        registry = self.monitor.registry
        for a, base, image in zip(
            touched, whole, self.tracker.changes(touched, whole), strict=True
        ):
            chain = self.chains[a]
            names = registry.sensors[a] if base else registry.sensors[a][chain.sensors:]
            if not base and not names and assets.is_empty(image):
                continue
            text = compressor.compress(msgspec.msgpack.encode(Names(names, image)))
            written += records_of(registry.assets[a], a, chain, text)
            chain.sensors = len(registry.sensors[a])
            chain.base_bytes = len(text) if base else chain.base_bytes
            chain.since_bytes = 0 if base else chain.since_bytes + len(text)
            chain.serial += 1
            chain.slot += 1
            chain.slots = max(chain.slots, chain.slot)
            chain.pieces = max(chain.pieces, len(pieces_of(text)))
        pieces = pieces_of(compressor.compress(msgspec.json.encode(checkpoint.memory)))
        place = checkpoint.position.to_bytes(8, "big")
        written += [(_MEMORY + str(k).encode(), place + piece) for k, piece in enumerate(pieces)]
        plain = msgspec.structs.replace(checkpoint, memory={}, memory_pieces=len(pieces))
        written.append((_CHECKPOINT, msgspec.json.encode(plain)))
        return written


def position_record(position: int, worker: str) -> Record:
    """How far the outputs are committed."""
    return _POSITION, msgspec.json.encode(Position(FORMAT, position, worker))


def read(
    options: dict[str, Any], topic: str, partition: int, transactions: str = ""
) -> dict[bytes, bytes]:
    """The latest committed value of every key of one partition.

    ``transactions``: prefix of our own transactional ids. Where a dead worker left a transaction
    open, the end of the partition is not known before it is aborted; after a short grace it is
    fenced. Empty = only wait.

    Raises
    ------
    StateTopicError
        The partition cannot be read to its end.
    """
    reach(options)
    place = TopicPartition(topic, partition)
    plain = {name: value for name, value in options.items() if name != "client_id"}
    common = plain | {"enable_auto_commit": False, "group_id": None, "check_crcs": True,
                      "max_partition_fetch_bytes": 8 << 20, "fetch_max_wait_ms": 50,
                      "auto_offset_reset": "earliest"}
    behind = KafkaConsumer(isolation_level="read_uncommitted", **common)
    try:
        end = behind.end_offsets([place])[place]
    finally:
        behind.close()
    consumer = KafkaConsumer(isolation_level="read_committed", **common)
    receive_in_large_pieces(consumer)
    try:
        consumer.assign([place])
        _wait_until_stable(consumer, options, place, end, transactions)
        consumer.seek_to_beginning(place)
        latest: dict[bytes, bytes] = {}
        while consumer.position(place) < end:
            for record in consumer.poll(timeout_ms=200, max_records=10_000).get(place, ()):
                if record.value is None:
                    latest.pop(record.key, None)
                else:
                    latest[record.key] = record.value
        return latest
    finally:
        consumer.close()


def restored(
    latest: dict[bytes, bytes], config: MonitorConfig, asset_limit: int, tag_limit: int
) -> Restored:
    """A partition's monitor from the records of its state topic, or a fresh one if there are none.

    Raises
    ------
    StateError
        Written by a newer program, by another layout, or damaged.
    """
    started = time.monotonic()
    registry = Registry(asset_limit, min(tag_limit, memory_plan.plan(config).tag_limit))
    monitor = Monitor(config, registry)
    position = _decoded(latest.get(_POSITION), Position)
    checkpoint = _decoded(latest.get(_CHECKPOINT), Checkpoint)
    for found in (position, checkpoint):
        if found is not None and found.format > FORMAT:
            raise StateError(f"state format {found.format} is newer than this program's ({FORMAT})")
    book = Book(monitor)
    if checkpoint is not None:
        _load_memory(checkpoint, latest)
        _check_layout(latest.get(_LAYOUT, b""), book.tracker.layout())
        chains = chains_of(latest)
        if sorted(chains) != list(range(checkpoint.assets)):
            raise StateError(
                f"the checkpoint has {checkpoint.assets} assets, {len(chains)} were found")
        _register(registry, chains)
        book.tracker = assets.Tracker(monitor)
        book.tracker.make_room()
        _write_back(monitor, chains, book.tracker)
        _load_stream(monitor, checkpoint)
        for a, chain in chains.items():
            book.chains[a] = chain.book(len(registry.sensors[a]))
        book.layout_written = True
    return Restored(
        monitor, book, checkpoint,
        None if position is None else position.position, len(latest),
        sum(map(len, latest.values())), time.monotonic() - started,
    )


def _load_memory(checkpoint: Checkpoint, latest: dict[bytes, bytes]) -> None:
    """Put the memory that was written beside a checkpoint back into it."""
    if not checkpoint.memory_pieces:
        return
    pieces = [latest.get(_MEMORY + str(k).encode(), b"") for k in range(checkpoint.memory_pieces)]
    if any(piece[:8] != checkpoint.position.to_bytes(8, "big") for piece in pieces):
        raise StateError("the checkpoint's memory is not the one that was written with it")
    try:
        text = zstandard.ZstdDecompressor().decompress(b"".join(piece[8:] for piece in pieces))
        checkpoint.memory = msgspec.json.decode(text, type=dict[str, Any])
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise StateError(f"the checkpoint's memory cannot be read: {error}") from None


def _write_back(monitor: Monitor, chains: dict[int, Found], tracker: assets.Tracker) -> None:
    """Unpack, write back and derive, in as many threads as there are processors."""
    monitor.arrays()  # makes room, which only one thread may
    order = sorted(chains)
    portions = [order[k:k + PORTION] for k in range(0, len(order), PORTION)]

    def restore(portion: list[int]) -> None:
        unpack = zstandard.ZstdDecompressor()
        assets.restore(monitor, ((a, chains[a].images(unpack)) for a in portion), tracker)

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for _ in pool.map(restore, portions):
            pass


def _register(registry: Registry, chains: dict[int, Found]) -> None:
    for a, chain in sorted(chains.items()):
        if registry.asset(chain.name) != a:
            raise StateError(f"asset {chain.name!r} has the index of another")
        for part in chain.sensors:
            registry.columns(a, part)


def stream_bytes(monitor: Monitor) -> dict[str, tuple[str, bytes]]:
    """What of the state is no asset's own, for a checkpoint."""
    return {name: (array.dtype.str, array.tobytes())
            for name, array in monitor.stream_state().items()}


def _load_stream(monitor: Monitor, checkpoint: Checkpoint) -> None:
    ours = monitor.stream_state()
    theirs = checkpoint.stream
    if set(ours) != set(theirs):
        raise StateError("the checkpoint has other stream arrays than this program knows")
    for name, array in ours.items():
        kind, text = theirs[name]
        if kind != array.dtype.str or len(text) != array.nbytes:
            raise StateError(f"the checkpoint's {name} has another type or length")
        ours[name] = np.frombuffer(text, array.dtype).copy()
    monitor.load_stream(ours)


def _check_layout(theirs: bytes, ours: str) -> None:
    if theirs == ours.encode():
        return
    try:
        found, known = msgspec.json.decode(theirs), msgspec.json.decode(ours)
        then = {(c, n): (t, s) for c, n, t, s in map(_hashable, found["arrays"])}
        now = {(c, n): (t, s) for c, n, t, s in map(_hashable, known["arrays"])}
        differing = sorted("/".join(k) for k in then.keys() | now.keys()
                           if then.get(k) != now.get(k)) or sorted(
            k for k in found["versions"] if found["versions"][k] != known["versions"].get(k))
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        raise StateError("the state's layout record cannot be read") from None
    raise StateError(
        "the state was written with other settings or by another version; they differ in "
        f"{', '.join(differing[:5]) or 'the order of detectors'}. Go back to them, or start with "
        "an empty state under another kafka.group or kafka.state_topic")


def _hashable(row: list[Any]) -> tuple[str, str, str, str]:
    component, name, kind, shape = row
    return component, name, str(kind), str(shape)


def _decoded(value: bytes | None, kind: Any) -> Any:
    if value is None:
        return None
    try:
        return msgspec.json.decode(value, type=kind)
    except msgspec.DecodeError as error:
        raise StateError(f"the state's {kind.__name__.lower()} cannot be read: {error}") from None


def _wait_until_stable(
    consumer: Any, options: dict[str, Any], place: TopicPartition, end: int, transactions: str
) -> None:
    """Wait until everything below ``end`` is committed or aborted."""
    started = time.monotonic()
    fenced = False
    while consumer.end_offsets([place])[place] < end:
        waited = time.monotonic() - started
        if waited > 120:
            raise StateTopicError(
                f"{place.topic}-{place.partition}: a transaction has been open for two minutes; "
                "see kafka-transactions.sh find-hanging")
        if transactions and not fenced and waited > GRACE_SECONDS:
            _fence(options, place, transactions)
            fenced = True
        time.sleep(0.05)


def _fence(options: dict[str, Any], place: TopicPartition, prefix: str) -> None:
    """End the open transactions of workers of ours on this partition, by taking their names."""
    admin = KafkaAdminClient(**options)
    try:
        producers = admin.describe_producers([place])[place].active_producers
        open_ids = [p.producer_id for p in producers if p.current_transaction_start_offset >= 0]
        names = [t.transactional_id for t in _listed(admin, open_ids)
                 if t.transactional_id.startswith(prefix)]
    finally:
        admin.close()
    for name in names:
        producer = KafkaProducer(transactional_id=name, **options)
        try:
            producer.init_transactions()
        except KafkaError as error:
            raise StateTopicError(f"{name} cannot be fenced: {error}") from error
        finally:
            producer.close(timeout=1)


def _listed(admin: Any, producer_ids: list[int]) -> list[Any]:
    found = admin.list_transactions(producer_id_filters=producer_ids) if producer_ids else []
    if isinstance(found, dict):
        return [entry for entries in found.values() for entry in entries]
    return list(found)
