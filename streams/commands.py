"""What people tell the service: acknowledge, shelve, feedback, maintenance, and taking it back.

A command is a record in a topic of its own, so that it survives everything and every worker sees
it; the worker that holds the asset's partition applies it between two batches. Every effect is an
entry in a ledger beside the state, written in the same transaction, which can be listed and
reverted. The effects are few: a note on an alert, a while in which an asset's alerts are marked as
shelved, a label that makes like alerts rarer or not (``verdicts.py``), and a warm-up begun anew.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import zstandard
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from anomaly import assets
from anomaly.errors import StateError
from streams import kafka_state, verdicts
from streams.errors import StreamsError, UsageError
from streams.kafka_settings import KafkaSettings
from streams.kafka_sink import Message
from streams.kafka_source import reach
from streams.lane import Lane
from streams.state_records import Record, pieces_of
from streams.times import iso

KINDS = ("acknowledge", "shelve", "unshelve", "feedback", "maintenance", "revert")
LABELS = ("false", "real", "planned")
#: Commands kept in memory; the oldest are long applied.
COMMAND_LIMIT = 100_000
#: Entries of a partition's memory; the ledger itself keeps all.
MEMORY_LIMIT = 1000
_TEXT_LIMIT = 1000
#: Longest wait for the broker to keep a command.
SEND_SECONDS = 10
#: A command that needs the broker while it is away is tried again so much later.
RETRY_SECONDS = 5.0
_LONGEST_NS = 10 * 366 * 86_400 * 10**9

_LEDGER, _UNDO = b"ledger/", b"undo/"


class Command(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One command as it stands in the topic."""

    id: str
    kind: str
    asset: str
    at_ns: int
    """When it was given, by the giver's clock; for people."""
    alert: str = ""
    label: str = ""
    for_ns: int = 0
    """Of a shelving: how long, in the asset's own (event) time from its newest reading on."""
    until_ns: int = 0
    """Of a shelving: instead, until which event time."""
    once: bool = False
    """Of a shelving: instead, the open alert (else the next one) until it resolves."""
    entry: str = ""
    """Of a revert: the ledger entry to take back."""
    by: str = ""
    note: str = ""


class Entry(msgspec.Struct):
    """One effect in the ledger."""

    command: Command
    partition: int
    position: int
    """The input's offset before which it took effect."""
    effect: str
    reverted_by: str = ""


class Undo(msgspec.Struct, omit_defaults=True):
    """What takes an effect back: what was there before, by what it is a part of."""

    of: str
    """``shelf``, ``acknowledged``, ``label`` or ``image``."""
    alert: str = ""
    was: bool = False
    """Whether the alert was acknowledged."""
    label: str = ""
    quiet: list[Any] | None = None
    """Sensor, and by how much rarer its alerts had to be."""
    shelf: list[Any] = []
    image: bytes = b""
    isolated: Any = None


def problem(command: Command) -> str | None:
    """What is wrong with a command, in words; None = nothing."""
    if command.kind not in KINDS:
        return f"{command.kind!r} is none of {', '.join(KINDS)}"
    if not command.asset or len(command.asset) > 200 or not 0 < len(command.id) <= 64:
        return "needs an asset and an id"
    if command.kind == "acknowledge" and not command.alert:
        return "needs the alert's id"
    if command.kind == "feedback" and command.label not in LABELS:
        return f"label must be one of {', '.join(LABELS)}"
    if command.kind == "shelve" and (
        (command.for_ns != 0) + (command.until_ns != 0) + command.once != 1
        or min(command.for_ns, command.until_ns) < 0 or command.for_ns > _LONGEST_NS
    ):
        return "needs how long it holds (ten years at most), until when, or that it is for once"
    if command.kind == "revert" and not command.entry:
        return "needs the ledger entry to take back"
    if max(len(command.note), len(command.by), len(command.alert)) > _TEXT_LIMIT:
        return "a text is too long"
    return None


def send(options: Mapping[str, Any], kafka: KafkaSettings, command: Command) -> None:
    """Put a command into its topic and wait until it is kept.

    Raises
    ------
    UsageError
        The command makes no sense, or the broker cannot be reached.
    """
    wrong = problem(command)
    if wrong is not None:
        raise UsageError(f"{command.kind}: {wrong}")
    try:
        reach(options)
        producer = KafkaProducer(acks="all", max_block_ms=SEND_SECONDS * 1000, **options)
        try:
            producer.send(kafka.commands_topic, key=command.asset.encode(),
                          value=msgspec.json.encode(command)).get(timeout=SEND_SECONDS)
        finally:
            producer.close(timeout=5)
    except (KafkaError, OSError) as error:
        raise UsageError(
            f"the command could not be sent to {kafka.commands_topic}, which andon run makes when "
            f"it starts first: {error}") from None


def new_id() -> str:
    """A fresh command's name."""
    return uuid.uuid4().hex[:12]


class CommandReader:
    """Follows the commands topic on a thread of its own; lanes are given what is new to them.

    Parameters
    ----------
    options, kafka
        How to reach the topic.
    say : callable
        Told of commands that make no sense.
    """

    def __init__(
        self, options: Mapping[str, Any], kafka: KafkaSettings, say: Callable[[str], None]
    ) -> None:
        self._options, self._kafka, self._say = dict(options), kafka, say
        self._lock = threading.Lock()
        self._known: list[tuple[int, int, Command]] = []
        self._ends: dict[int, int] = {}
        self._again_at = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="commands", daemon=True)
        self._thread.start()

    def apply(self, lanes: Iterable[Lane]) -> None:
        """Apply to each lane what came since; between two batches of the lane only."""
        with self._lock:
            known, ends = list(self._known), dict(self._ends)
        if not ends or time.monotonic() < self._again_at:
            return
        for lane in lanes:
            if lane.is_silent or lane.commands == ends:
                continue
            if not lane.commands:  # a partition never seen before: the past is not for it
                lane.commands = ends
                lane.checkpoint_now = True
                continue
            try:
                for partition, offset, command in known:
                    if offset >= lane.commands.get(partition, 0):
                        _apply(lane, command, self._options)
                        lane.commands = {**lane.commands, partition: offset + 1}
            except (KafkaError, OSError, StreamsError) as error:  # the broker is away: once more
                self._again_at = time.monotonic() + RETRY_SECONDS
                self._say(f"partition {lane.partition}: a command waits: {error}")
                return
            lane.commands = ends
            lane.checkpoint_now = True

    def close(self) -> None:
        """Stop following."""
        self._done.set()
        self._thread.join(timeout=1)

    def _follow(self) -> None:
        pause = 0.5
        while not self._done.is_set():
            try:
                self._read()
            except (KafkaError, OSError):
                self._done.wait(pause)
                pause = min(2 * pause, 30.0)

    def _read(self) -> None:
        plain = {k: v for k, v in self._options.items() if k != "client_id"}
        consumer = KafkaConsumer(
            group_id=None, enable_auto_commit=False, isolation_level="read_committed",
            auto_offset_reset="earliest", fetch_max_wait_ms=500, **plain)
        try:
            topic = self._kafka.commands_topic
            places = [TopicPartition(topic, p) for p in
                      sorted(consumer.partitions_for_topic(topic) or ())]
            if not places:
                self._done.wait(2.0)
                return
            consumer.assign(places)
            target = consumer.end_offsets(places)
            with self._lock:
                start = dict(self._ends)
            for place in places:
                if place.partition in start:
                    consumer.seek(place, start[place.partition])
                else:
                    consumer.seek_to_beginning(place)
            while not self._done.is_set():
                polled = consumer.poll(500)
                ends = {p.partition: consumer.position(p) for p in places}
                found = [c for records in polled.values() for r in records
                         if (c := self._parsed(r)) is not None]
                behind = any(ends[p.partition] < target[p] for p in places)
                with self._lock:
                    self._known = [*self._known, *found][-COMMAND_LIMIT:]
                    if not behind:  # a new lane's past is known only once all of it was read
                        self._ends = ends
        finally:
            consumer.close()

    def _parsed(self, record: Any) -> tuple[int, int, Command] | None:
        try:
            if len(record.value or b"") > 16_384:
                raise ValueError("too long")
            command = msgspec.json.decode(record.value or b"", type=Command)
            wrong = problem(command)
            if wrong is not None:
                raise ValueError(wrong)
        except (msgspec.DecodeError, ValueError) as error:
            self._say(f"command at {record.partition}/{record.offset} ignored: {error}")
            return None
        return record.partition, record.offset, command


def ledger(options: dict[str, Any], kafka: KafkaSettings, partitions: int) -> list[Entry]:
    """Every effect there was, oldest command first."""
    found = []
    for partition in range(partitions):
        latest = kafka_state.read(options, kafka.state_topic_name, partition)
        found += [msgspec.json.decode(value, type=Entry) for key, value in latest.items()
                  if key.startswith(_LEDGER)]
    return sorted(found, key=lambda entry: (entry.command.at_ns, entry.command.id))


def apply_to(lane: Lane, command: Command) -> None:
    """Apply a command that came without a topic; nothing can be taken back there."""
    if command.kind != "revert":
        _apply(lane, command, {})


def _apply(lane: Lane, command: Command, options: dict[str, Any]) -> None:
    """Apply one command to the lane that knows its asset; others pass over it.

    Raises
    ------
    KafkaError, OSError, StreamsError
        What is to be taken back cannot be read now; nothing was done.
    """
    names = lane.monitor.registry
    if command.asset not in names.assets:
        return
    asset = names.asset(command.asset)
    memory = lane.memory
    if command.kind == "revert":
        _revert(lane, command, asset, options)
        return
    undo: Undo | None = None
    if command.kind == "acknowledge":
        effect = f"alert {command.alert} acknowledged"
        undo = _acknowledged(memory, command.alert, True)
    elif command.kind == "shelve" and command.once:
        alert, shelf = verdicts.shelve_once(memory, command.asset)
        effect = f"{f'alert {alert}' if alert else 'the next alert'} is shelved until it resolves"
        undo = Undo("shelf", shelf=shelf)
    elif command.kind == "shelve":
        until_ns = command.until_ns or lane.monitor.newest_ns(asset) + command.for_ns
        undo = Undo("shelf", shelf=verdicts.shelve_until(memory, command.asset, until_ns))
        effect = f"shelved until {iso(until_ns)} of the asset's own time"
    elif command.kind == "unshelve":
        undo = Undo("shelf", shelf=verdicts.unshelve(memory, command.asset))
        effect = "no longer shelved"
    elif command.kind == "feedback":
        label = memory.get("labels", {}).get(command.alert, "")
        effect, quiet = verdicts.judge(memory, lane.monitor, asset, command.alert, command.label)
        undo = Undo("label", alert=command.alert, label=label, quiet=quiet)
        lane.touched.add(asset)
    else:
        undo = _image(lane, asset)
        lane.monitor.rebaseline(asset)
        memory.get("isolated", {}).pop(command.asset, None)
        effect = "learning anew after maintenance"
    _write(lane, Entry(command, lane.partition, lane.position, effect), undo)


def _revert(lane: Lane, command: Command, asset: int, options: dict[str, Any]) -> None:
    """Take one effect back, if it still holds. That is an effect, too: it can be taken back."""
    latest = kafka_state.read(options, lane.kafka.state_topic_name, lane.partition)
    latest |= {name: value for name, value in lane.records if value is not None}
    entry, undo = _entry(latest, command.entry), _undo(latest, command.entry)
    if entry is None or undo is None or entry.reverted_by or entry.command.asset != command.asset:
        return
    try:
        again = _take_back(lane, asset, undo)
    except StateError as error:  # the machine was let go since, and learned anew
        effect = f"{command.entry} cannot be taken back: {error}"
        _write(lane, Entry(command, lane.partition, lane.position, effect), None)
        return
    entry.reverted_by = command.id
    lane.records.append(_record(entry))
    if entry.command.kind == "revert":  # what it took back holds again
        first = _entry(latest, entry.command.entry)
        if first is not None:
            first.reverted_by = ""
            lane.records.append(_record(first))
    _write(lane, Entry(command, lane.partition, lane.position, f"took back {command.entry}"), again)


def _take_back(lane: Lane, asset: int, undo: Undo) -> Undo:
    """Put back what there was before; returns what takes that back."""
    memory, name = lane.memory, lane.monitor.registry.assets[asset]
    if undo.of == "shelf":
        again = Undo("shelf", shelf=verdicts.shelf(memory, name))
        verdicts.put_back(memory, name, undo.shelf)
        return again
    if undo.of == "acknowledged":
        return _acknowledged(memory, undo.alert, undo.was)
    if undo.of == "label":
        labels = memory.setdefault("labels", {})
        again = Undo("label", alert=undo.alert, label=labels.pop(undo.alert, ""),
                     quiet=undo.quiet and [undo.quiet[0], -undo.quiet[1]])
        if undo.label:
            labels[undo.alert] = undo.label
        verdicts.unjudge(lane.monitor, asset, undo.quiet)
        lane.touched.add(asset)
        return again
    again = _image(lane, asset)
    assets.restore(lane.monitor, iter([(asset, [undo.image])]))
    if undo.isolated is not None:
        memory.setdefault("isolated", {})[name] = undo.isolated
    else:
        memory.get("isolated", {}).pop(name, None)
    return again


def _acknowledged(memory: dict[str, Any], alert: str, is_so: bool) -> Undo:
    """Have an alert be acknowledged, or not; returns what takes that back."""
    known = memory.get("acknowledged", [])
    rest = [other for other in known if other != alert]
    memory["acknowledged"] = [*rest, alert][-MEMORY_LIMIT:] if is_so else rest
    return Undo("acknowledged", alert=alert, was=alert in known)


def _image(lane: Lane, asset: int) -> Undo:
    """Everything that an asset is, to be put back."""
    lane.touched.add(asset)
    (image,) = assets.Tracker(lane.monitor).changes([asset], [True])
    name = lane.monitor.registry.assets[asset]
    return Undo("image", image=image, isolated=lane.memory.get("isolated", {}).get(name))


def _entry(latest: Mapping[bytes, bytes], name: str) -> Entry | None:
    text = latest.get(_LEDGER + name.encode())
    return None if text is None else msgspec.json.decode(text, type=Entry)


def _undo(latest: Mapping[bytes, bytes], name: str) -> Undo | None:
    """What takes an entry back, from its pieces; None = nothing does."""
    pieces: list[bytes] = []
    while (piece := latest.get(_undo_key(name, len(pieces)))) is not None:
        pieces.append(piece)
    if not pieces:
        return None
    text = zstandard.ZstdDecompressor().decompress(b"".join(pieces))
    return msgspec.msgpack.decode(text, type=Undo)


def _undo_key(name: str, piece: int) -> bytes:
    return _UNDO + f"{name}/{piece}".encode()


def _record(entry: Entry) -> Record:
    return _LEDGER + entry.command.id.encode(), msgspec.json.encode(entry)


def _write(lane: Lane, entry: Entry, undo: Undo | None) -> None:
    """Into the next transaction: the entry, what takes it back, and word of it to the world."""
    name = entry.command.id
    lane.records.append(_record(entry))
    if undo is not None:  # a large machine's image is larger than a message may be
        text = zstandard.ZstdCompressor(level=1).compress(msgspec.msgpack.encode(undo))
        lane.records += [(_undo_key(name, k), piece) for k, piece in enumerate(pieces_of(text))]
    lane.checkpoint_now = True
    command = entry.command
    lane.send(Message(
        lane.kafka.alerts_topic, command.asset.encode(), msgspec.json.encode(entry),
        (("ce_specversion", b"1.0"), ("ce_id", command.id.encode()),
         ("ce_source", f"/andon/{lane.kafka.group}".encode()),
         ("ce_type", f"andon.command.{command.kind}".encode()),
         ("ce_subject", command.asset.encode()), ("content-type", b"application/json"))))


def now_ns() -> int:
    """The giver's clock."""
    return time.time_ns()
