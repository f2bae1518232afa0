"""``andon run --input``: the live service where there is no Kafka. Lines in, files out.

The messages are those that a topic would carry, one JSON object a line, from a file that grows or
from standard input; the state is kept in a directory, the outputs are lines in files. A killed run
goes on where its last snapshot is: the outputs are cut back to it and come again, byte for byte.
From standard input nothing can be read again, so there the outputs stay and only the state counts.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from anomaly import memory_plan
from anomaly.errors import StateError
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams.checkpoint import DirectoryCheckpoint
from streams.errors import InputError, OutputError, UsageError
from streams.journal import Journal, line_of
from streams.kafka_state import Book
from streams.lane import Lane, decoder_of, schema_reader
from streams.refusals import REASONS
from streams.settings import Settings

#: Bytes that are read, and so handled, at once.
READ_BYTES = 1 << 20
#: How often a file that has ended is looked at again.
PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """What the command line says."""

    source: str
    """A path, or ``-`` for standard input."""
    out: Path
    follow: bool = False
    """Wait for more at the end of the file."""


@dataclass(frozen=True, slots=True)
class Line:
    """One message, as a broker's record would be."""

    value: bytes
    offset: int
    topic: str
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int = 0
    timestamp: int = 0


class Attended(Protocol):
    """Who shows the lane, and does what people say (``local_front``)."""

    def tend(self, lane: Lane) -> bool:
        """Once per turn; whether something was said that must be kept."""

    def kept(self) -> None:
        """A snapshot was taken."""


def run(
    settings: Settings, options: LocalOptions, stopped: Callable[[], bool],
    say: Callable[[str], None], attended: Callable[[Lane], Attended] | None = None,
) -> None:
    """Read until the end (or, with ``follow``, until stopped); then the state is kept.

    ``attended`` lets the lane be seen; what it gives is called once per turn.

    Raises
    ------
    StreamsError, AnomalyError
        What cannot be read or written, or a state of another version.
    """
    if not options.follow and options.source != "-" and not Path(options.source).is_file():
        raise UsageError(f"--input {options.source}: there is no such file")
    names = {settings.kafka.alerts_topic: "alerts.jsonl",
             settings.kafka.dead_letter_topic: "dead-letters.jsonl",
             settings.kafka.late_topic: "late.jsonl", settings.kafka.scores_topic: "scores.jsonl"}
    try:
        kept = DirectoryCheckpoint(options.out / "state", settings.kafka.checkpoint_seconds)
        journal = Journal(options.out, tuple(names.values()))
        lane, position = _lane(settings, kept)
        if options.source != "-":
            journal.cut(position.get("lengths", {}))
    except OSError as error:
        raise OutputError(f"{options.out}: cannot be written: {error}") from None
    if position:
        say(f"going on after line {lane.position} of {options.source}")
    source = _Source(options, int(position.get("byte", 0)))
    attendant = None if attended is None else attended(lane)

    def checkpoint() -> None:
        started = time.perf_counter()
        now = {"byte": source.byte, "offset": lane.position, "counts": dict(lane.counts),
               "reasons": dict(lane.reasons), "memory": lane.memory, "lengths": journal.mark()}
        try:
            kept.save(0, lane.monitor, now)
        except OSError as error:  # the snapshot before still holds
            say(f"state not kept: {error}")
            return
        journal.rotate()
        if lane.telemetry is not None:
            lane.telemetry.spent("checkpoint", time.perf_counter() - started)
        if attendant is not None:
            attendant.kept()

    try:
        while not stopped():
            said = attendant is not None and attendant.tend(lane)
            lines = source.read(lane.position)
            started = time.perf_counter()
            if lines:
                lane.take(lines)
                for text in lane.news():
                    say(f"recognised {text}")
            elif source.ended and not options.follow:
                break
            elif source.ended:
                time.sleep(PAUSE_SECONDS)
            for message in lane.pending:
                is_event = message.topic == settings.kafka.alerts_topic
                plain = message.topic == settings.kafka.scores_topic and message.value
                journal.append(
                    names[message.topic], plain or line_of(message, is_event))
            lane.done(False, 0.0)
            if said or kept.is_due(time.monotonic()):
                checkpoint()
            if lines and lane.telemetry is not None:
                lane.telemetry.spent("batch", time.perf_counter() - started)
        checkpoint()
    except OSError as error:
        raise OutputError(f"{options.out}: cannot be written: {error}") from None
    finally:
        journal.close()
        source.close()
    counts = ", ".join(f"{n} {kind}" for kind, n in lane.counts.items() if n)
    why = ", ".join(f"{n} {REASONS.get(kind, kind)}" for kind, n in lane.reasons.most_common())
    say(f"{options.source}: {counts or 'no messages'}{f' ({why})' if why else ''}")


def _lane(settings: Settings, kept: DirectoryCheckpoint) -> tuple[Lane, dict[str, Any]]:
    found = kept.load(0, settings.monitor)
    position: dict[str, Any] = {}
    kafka = settings.kafka
    tag_limit = min(kafka.tag_limit, memory_plan.plan(settings.monitor).tag_limit)
    if found is None:
        monitor = Monitor(settings.monitor, Registry(kafka.asset_limit, tag_limit))
    else:
        monitor, position = found
        monitor.registry.asset_limit = kafka.asset_limit
        monitor.registry.tag_limit = tag_limit
    decoder = decoder_of(settings, monitor.registry, schema_reader(settings))
    start = position.get("offset", 0)
    if not isinstance(start, int):
        raise StateError("the snapshot's position is not that of a run with --input")
    lane = Lane(0, settings.kafka, monitor, decoder, Book(monitor), start, start, start, 0.0)
    lane.counts.update(position.get("counts", {}))
    lane.reasons.update(position.get("reasons", {}))
    lane.memory = position.get("memory", {})
    return lane, position


class _Source:
    """Whole lines of a file or of standard input."""

    def __init__(self, options: LocalOptions, byte: int) -> None:
        self.byte = byte
        self.ended = False
        self._name = options.source
        self._follows = options.follow
        self._descriptor: int | None = None
        self._rest = b""

    def read(self, first: int) -> list[Line]:
        """The next lines that are not blank; numbered from ``first``."""
        opened = self._opened()
        if opened is None:
            return []
        if self._name == "-" and not select.select([opened], [], [], PAUSE_SECONDS)[0]:
            return []
        text = os.read(opened, READ_BYTES)
        self.ended = not text
        *lines, self._rest = (self._rest + text).split(b"\n")
        self.byte += sum(len(line) + 1 for line in lines)
        if not text and self._rest and not self._follows:
            lines, self._rest = [self._rest], b""  # the last line needs no end
            self.byte += len(lines[0])
        if len(self._rest) > 64 * READ_BYTES:
            raise InputError(Path(self._name), "a line longer than 64 MB: is this a text file?")
        told = [line for line in lines if line.strip()]
        return [Line(line, first + k, self._name) for k, line in enumerate(told)]

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None and self._name != "-":
            os.close(self._descriptor)

    def _opened(self) -> int | None:
        if self._descriptor is None and self._name == "-":
            self._descriptor = sys.stdin.fileno()
        elif self._descriptor is None:
            try:
                self._descriptor = os.open(self._name, os.O_RDONLY)
            except FileNotFoundError:
                self.ended = True
                return None
            except OSError as error:
                raise InputError(Path(self._name), f"cannot be read: {error}") from None
            if os.fstat(self._descriptor).st_size < self.byte:
                raise InputError(Path(self._name), "is shorter than what was read of it: another "
                                 "file needs another --out")
            os.lseek(self._descriptor, self.byte, os.SEEK_SET)
        return self._descriptor
