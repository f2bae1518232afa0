"""One partition of the live service: its messages in, its outgoing messages and records out.

A lane holds what belongs to one partition — monitor, decoder, position, counts — and what waits to
be committed. It never talks to a broker: the worker polls and commits. What a lane says depends
on the partition's messages and commands alone, never on how they were cut, when they arrived or how
often the work was begun anew.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anomaly import quality, room
from anomaly.batches import Int8, Outcome
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams import fast_rows, kafka_state, open_alerts, verdicts
from streams.alertmanager import AlertmanagerPush
from streams.kafka_codec import Decoder, Limits
from streams.kafka_columns import Decoded, without
from streams.kafka_settings import KafkaSettings
from streams.kafka_sink import Message, alert_message, origin_message, score_messages
from streams.kafka_state import Book, Checkpoint
from streams.losses_feed import LossesFeed
from streams.message_fields import Fields
from streams.planning import Planning
from streams.schema_formats import SchemaReader
from streams.schema_registry import SchemaRegistry
from streams.settings import Settings
from streams.state_records import FORMAT, Record
from streams.telemetry import Telemetry
from streams.unshown import Unshown
from streams.words import Words

#: Reasons from this code on concern the time: such a reading belongs to no row.
_REFUSED_FROM = quality.REASONS.index("duplicate")
_DUPLICATE = quality.REASONS.index("duplicate")

#: Rows of a machine that tell how fast they follow.
PACE_ROWS = 30

#: Fewer readings than this are put into a set as they are.
_FEW = 1024

#: One of so many assets is let go when there is room for no more.
_EVICT_SHARE = 64


def schema_reader(settings: Settings) -> SchemaReader | None:
    """What reads the messages of the schema registry that is set, if one is."""
    own = settings.schema_registry
    return SchemaReader(SchemaRegistry(own), own.validate) if own.url else None


def decoder_of(settings: Settings, registry: Registry, schemas: SchemaReader | None) -> Decoder:
    """The decoder of one partition."""
    kafka = settings.kafka
    return Decoder(
        registry,
        Fields(kafka.asset_field, kafka.sensor_field, kafka.time_field, kafka.value_field,
               kafka.values_field),
        Limits(message_bytes=kafka.message_limit_bytes), schemas, Words.of(settings.monitor))


@dataclass(slots=True, eq=False)
class Lane:
    """State and pending output of one partition.

    Attributes
    ----------
    position : int
        Offset of the next message to be processed.
    silent_until : int
        What messages below this offset cause was committed before; it is not sent again.
    committed : int
        Position of the last commit.
    urgent : bool
        An alert is waiting: commit now.
    gap : tuple of int
        The hole in the offsets that was met last: where it begins and ends.
    """

    partition: int
    kafka: KafkaSettings
    monitor: Monitor
    decoder: Decoder
    book: Book
    position: int
    silent_until: int
    committed: int
    checkpointed_at: float
    counts: Counter[str] = field(default_factory=Counter)
    """Every message once under ``in`` and once under ``accepted``, ``dead_lettered`` or ``late``;
    ``duplicate``: how many of the accepted ones told nothing new."""
    reasons: Counter[str] = field(default_factory=Counter)
    commands: dict[int, int] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    pending: list[Message] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)
    since_checkpoint: int = 0
    pending_bytes: int = 0
    urgent: bool = False
    checkpoint_now: bool = False
    gap: tuple[int, int] = (-1, -1)
    said: set[str] = field(default_factory=set)
    paced: bool = False
    shows_others: bool = False
    spare: list[int] = field(init=False)
    planning: Planning | None = None
    feed: LossesFeed | None = None
    telemetry: Telemetry | None = None
    push: AlertmanagerPush | None = None
    shows_late: bool = False
    """Whether :meth:`show` is called by someone else and not after every batch."""
    shown_at: float = -math.inf
    """When that was last, by the worker's clock."""
    unshown: Unshown = field(default_factory=Unshown)
    decode_seconds: float = 0.0
    """Of the records that are being taken, so far."""

    def __post_init__(self) -> None:
        self.decoder.make_room = self._make_room
        self.spare = [a for a, names in enumerate(self.monitor.registry.sensors) if not names]

    @property
    def evicted(self) -> int:
        """Assets that were let go for new ones, in the life of the state."""
        return int(self.memory.get("evicted", 0))

    @property
    def is_silent(self) -> bool:
        """Whether the lane still repeats what was committed before."""
        return self.position < self.silent_until

    @property
    def is_dirty(self) -> bool:
        """Whether there is anything to commit."""
        return not self.is_silent and (self.position != self.committed or self.checkpoint_now)

    def take(self, records: Sequence[Any]) -> None:
        """Process consecutive records of the partition.

        Raises
        ------
        RegistryError
            Nothing was done: offer the records again later.
        """
        if records and records[0].offset < self.position:
            records = [r for r in records if r.offset >= self.position]
        if not records:
            return
        started, self.decode_seconds = time.perf_counter(), 0.0
        self.decoder.prepare(records)
        self.decode_seconds += time.perf_counter() - started
        parts: list[tuple[Sequence[Any], bool]] = [(records, True)]
        if self.is_silent:
            cut = sum(1 for r in records if r.offset < self.silent_until)
            parts = [(records[:cut], False), (records[cut:], True)]
        for part, loud in parts:
            for piece in self._apart(part, loud):
                for decoded in self._decoded(piece):
                    self._digest(piece, decoded, loud)
        self.position = records[-1].offset + 1
        self.since_checkpoint += len(records)
        if self.shows_others and self.telemetry is not None:  # indices stand for other assets now
            self.show()
            self.shows_others = False
            self.telemetry.restore(self.partition, open_alerts.kept(self.memory), self.monitor)
        if self.telemetry is not None:
            if self.unshown.is_full or not self.shows_late:
                self.show()
            self.telemetry.spent("decode", self.decode_seconds)
            self.telemetry.spent("process", time.perf_counter() - started - self.decode_seconds)

    def show(self) -> None:
        """Tell whoever watches what was done since they were told last."""
        if self.telemetry is None:
            return
        if self.feed is None:
            self.feed = LossesFeed(self.telemetry)
        for outcome, loud in self.unshown.taken():
            self.telemetry.observe(self.partition, outcome, self.monitor, loud)
            self.feed.tell(self.monitor, np.unique(outcome.rows.asset).tolist())

    def news(self) -> list[str]:
        """What was recognised for the first time, in words."""
        seen = [f"{shape}" for shape in self.decoder.shapes] + [
            f"times in {unit}" for unit in self.decoder.units]
        fresh = [text for text in seen if text not in self.said]
        self.said.update(fresh)
        if not self.paced and self.partition == 0:  # one partition speaks for the topic
            fresh += self._pace()
        return fresh

    def _pace(self) -> list[str]:
        """Once it is known how fast rows follow: that it is too fast for the budget, if it is."""
        watched = self.monitor.arrays()["quality"]["asset_watch"]
        known = watched[watched["rows"] >= PACE_ROWS]
        self.paced = bool(known.size)
        step_seconds = float(np.median(known["interval_ns"])) / 1e9 if known.size else math.nan
        text = fast_rows.advice(step_seconds, self.monitor.config)
        return [f"its pace. {text}"] if text else []

    def checkpoint_records(self, known_commands: dict[int, int]) -> list[Record]:
        """The state as records for the state topic; what comes after counts as not written."""
        monitor = self.monitor
        config = monitor.config
        if config.quality.overdue_seconds > 0 or config.losses.line:  # written by others' rows too
            self.touched.update(range(len(monitor.registry.assets)))
        self.touched |= self.decoder.renamed
        self.decoder.renamed.clear()
        checkpoint = Checkpoint(
            format=FORMAT, position=self.position, assets=len(monitor.registry.assets),
            counts=dict(self.counts) | {f"dead.{k}": v for k, v in self.reasons.items()},
            stream=kafka_state.stream_bytes(monitor), commands=known_commands, memory=self.memory,
        )
        made = self.book.records(sorted(self.touched), checkpoint)
        self.touched.clear()
        return made

    def done(self, checkpointed: bool, now: float) -> None:
        """Everything pending was committed."""
        self.committed = self.position
        self.pending.clear()
        self.records.clear()
        self.pending_bytes = 0
        self.urgent = False
        if checkpointed:
            self.checkpoint_now = False
            self.checkpointed_at = now
            self.since_checkpoint = 0

    def send(self, message: Message) -> None:
        """Have a message sent with the next commit."""
        self.pending.append(message)
        self.pending_bytes += len(message.value or b"") + 200

    def _make_room(self, tags: bool, settled: bool) -> bool | None:
        """Let the assets go that have been idle longest, if that is long enough; False = none is.

        Decided by event times and nothing else, at a message and never at a batch's edge: a restart
        lets the same ones go. Many at a time (what the engine does anew for new names, it does for
        all assets); their names stay until another name takes the place.
        """
        if not tags and self._reuse():
            return True
        if not settled:
            return None
        registry = self.monitor.registry
        order, last_ns = room.idle(self.monitor.arrays(), len(registry.assets))
        bound = int(last_ns.max(initial=0)) - round(self.kafka.asset_idle_seconds * 1e9)
        gone = [a for a in order[last_ns <= bound].tolist()
                if a not in self.decoder.fresh and registry.sensors[a]]
        gone = gone[: max(1, registry.asset_limit // _EVICT_SHARE)]
        for a in gone:
            self.decoder.forget(registry.assets[a], registry.sensors[a])
            self.book.forget(a, registry.assets[a])
        self.monitor.forget(gone)
        self.touched.update(gone)
        self.spare += gone
        self.memory["evicted"] = self.evicted + len(gone)
        return bool(gone) if tags else self._reuse()

    def _reuse(self) -> bool:
        """Give the place of an asset that was let go to the next new one."""
        registry = self.monitor.registry
        while self.spare:
            a = self.spare.pop()
            if not registry.sensors[a] and a not in self.decoder.fresh:  # else it is back already
                self.show()  # while the index still stands for the asset that goes
                self.book.forget(a, registry.assets[a])
                registry.release(a)
                self.touched.add(a)
                self.shows_others = True
                return True
        return False

    # -- one batch --------------------------------------------------------------------------------

    def _apart(self, records: Sequence[Any], loud: bool) -> Iterator[Sequence[Any]]:
        """The records around those that failed before (``isolation.py``): dead letters."""
        failed, start = self.memory.get("failed", ()), 0
        if not failed:
            yield records
            return
        for i, record in enumerate(records):
            if record.offset in failed:
                yield records[start:i]
                start = i + 1
                self.counts["in"] += 1
                self._bury(record, "failed", loud)
        yield records[start:]

    def _decoded(self, records: Sequence[Any]) -> Iterator[Decoded]:
        """What the decoder makes of them, its time counted apart."""
        made = self.decoder.decode(records)
        while True:
            started = time.perf_counter()
            decoded = next(made, None)
            self.decode_seconds += time.perf_counter() - started
            if decoded is None:
                return
            yield decoded

    def _bury(self, record: Any, reason: str, loud: bool) -> None:
        self.counts["dead_lettered"] += 1
        self.reasons[reason] += 1
        if loud:
            self.send(origin_message(record, self.kafka.dead_letter_topic, reason, {}))

    def _digest(self, records: Sequence[Any], decoded: Decoded, loud: bool) -> None:
        isolated = self.memory.get("isolated")
        if isolated:
            decoded = without(decoded, isolated, self.monitor.registry, records)
        if self.planning is not None:
            self.planning.keep(self.monitor, decoded.readings)
        outcome = self.monitor.process(decoded.readings)
        if self.telemetry is not None:
            self.unshown.add(outcome, loud)
        open_alerts.keep(self.memory, outcome.alerts)
        asset = decoded.readings.asset
        self.touched.update((asset if asset.size < _FEW else np.unique(asset)).tolist())
        self.counts["in"] += decoded.end - decoded.first
        for i, reason in decoded.dead:
            self._bury(records[i], reason, loud)
        self._account(records, decoded, outcome.reason, loud)
        self._tell(outcome, loud)

    def _account(
        self, records: Sequence[Any], decoded: Decoded, reason: Int8, loud: bool
    ) -> None:
        """Count every message once; set aside those whose readings came too late to be used."""
        live = decoded.end - decoded.first - len(decoded.dead)
        refused = np.flatnonzero(reason >= _REFUSED_FROM)
        if not refused.size:
            self.counts["accepted"] += live
            return
        whole = np.bincount(decoded.message - decoded.first)
        messages, at, number = np.unique(
            decoded.message[refused], return_index=True, return_counts=True)
        for i, first, count in zip(messages.tolist(), at.tolist(), number.tolist(), strict=True):
            codes = reason[refused[first:first + count]]
            aside = codes[codes != _DUPLICATE]
            if count == whole[i - decoded.first]:
                live -= bool(aside.size)
                self.counts["late" if aside.size else "duplicate"] += 1
            if aside.size and loud:
                of = f"{aside.size} of {int(whole[i - decoded.first])}"
                self.send(origin_message(
                    records[i], self.kafka.late_topic, quality.REASONS[int(aside[0])],
                    {"andon_readings": of}))
        self.counts["accepted"] += live

    def _tell(self, outcome: Outcome, loud: bool) -> None:
        for alert in outcome.alerts:
            self.touched.add(self.monitor.registry.asset(alert.asset))
            said = verdicts.take(self.memory, alert)
            if loud:
                self.send(alert_message(
                    alert, self.kafka.alerts_topic, f"/andon/{self.kafka.group}", *said))
                if self.push is not None and (not said[0] or alert.state == "resolved"):
                    self.push.take([alert])
                self.urgent = True
        if loud and self.kafka.scores_topic:
            for message in score_messages(outcome, self.monitor.registry, self.kafka.scores_topic):
                self.send(message)
