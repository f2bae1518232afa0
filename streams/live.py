"""``andon run`` and its relatives: the live service composed, started and stopped. Wiring only.

``run`` works until it is told to stop; ``dry-run`` connects and says what it would read. The order
at the start matters: settings, kernels (compiled before the group is joined, so that no partition
waits for a compiler), broker, topics, probes, loop.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from streams import commands, front, local
from streams.commands import Command, CommandReader
from streams.door import Door
from streams.errors import EXIT_OK, SettingsError, UsageError
from streams.file_outbox import FileOutbox
from streams.front import Front
from streams.health import Status
from streams.kafka_settings import (
    KafkaSettings,
    certificate_files,
    client_options,
    read_certificates,
)
from streams.kafka_source import KafkaSource, patiently, prepare_topics, reach
from streams.lane import Lane
from streams.local import LocalOptions
from streams.local_front import Attendant
from streams.outbox import Outbox
from streams.run_options import RunOptions
from streams.service import SystemClock
from streams.settings import Settings
from streams.totals import Wishes
from streams.warm_up import warm
from streams.worker import Worker

#: How long a thread may keep the interpreter while another wants it. The usual 5 ms would be paid
#: again and again: a kernel lets go of the interpreter, and the client's IO thread takes it.
SWITCH_SECONDS = 0.0001
#: A stop that takes longer is cut off; the open transaction is then aborted by the broker.
DRAIN_SECONDS = 10.0
#: How often the settings file is looked at.
WATCH_SECONDS = 2.0
#: The same line of a library is let through once in so many seconds.
REPEAT_SECONDS = 30.0


def run(options: RunOptions, settings: Settings, opened: Door, stderr: TextIO) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code.

    ``settings`` are those of ``options``; ``opened`` is the port, which answers probes by now.

    Raises
    ------
    StreamsError, AnomalyError
        What cannot be used or was taken over; an operating error of the broker is waited out.
    """
    from anomaly import memory_plan

    say = _sayer(stderr)
    if options.local is not None:
        return _run_locally(settings, options.local, opened, say)
    connection = client_options(settings.kafka)
    quiet_libraries()
    wishes, status = Wishes(), opened.status
    catch_signals(wishes, say)
    sys.setswitchinterval(SWITCH_SECONDS)

    def give(command: Command) -> None:
        commands.send(connection, settings.kafka, command)

    with front.opened(settings, opened, give, say) as shown:
        say(memory_plan.plan(settings.monitor).sentence())
        status.move("compiling kernels", ready=False)
        warm(settings)
        gc.collect()
        gc.freeze()  # the compiler's objects stay: looking through them took a tenth of a second
        status.move("connecting", ready=False)
        _serve(options, settings, connection, wishes, status, say, shown)
    say("stopped; everything is committed")
    return EXIT_OK


def _run_locally(
    settings: Settings, given: LocalOptions, opened: Door, say: Callable[[str], None]
) -> int:
    wishes = Wishes()
    catch_signals(wishes, say)
    attendant = Attendant(opened.status)
    with front.opened(settings, opened, attendant.give, say) as shown:

        def attended(lane: Lane) -> Attendant:
            attendant.show(shown, lane)
            return attendant

        local.run(settings, given, lambda: wishes.stop, say, attended)
    return EXIT_OK


def dry_run(options: RunOptions, stdout: TextIO) -> int:
    """Connect and say what would be read, without joining the group or writing anything."""
    import numpy as np
    from kafka import KafkaConsumer, TopicPartition
    from kafka.errors import KafkaError

    from anomaly import memory_plan
    from anomaly.registry import Registry
    from streams import fast_rows
    from streams.lane import decoder_of, schema_reader

    settings = options.load()
    kafka = settings.kafka
    quiet_libraries()
    try:
        reach(client_options(kafka))
        consumer = KafkaConsumer(group_id=None, enable_auto_commit=False,
                                 isolation_level="read_committed", **client_options(kafka))
    except (KafkaError, OSError) as error:
        raise UsageError(f"no broker at {', '.join(kafka.bootstrap_servers)}: {error}") from None
    try:
        partitions = sorted(consumer.partitions_for_topic(kafka.topic) or ())
        if not partitions:
            raise UsageError(f"topic {kafka.topic!r} does not exist")
        places = [TopicPartition(kafka.topic, p) for p in partitions]
        first, end = consumer.beginning_offsets(places), consumer.end_offsets(places)
        waiting = sum(end[p] - first[p] for p in places)
        stdout.write(f"{kafka.topic}: {len(places)} partitions, {waiting} messages kept\n")
        consumer.assign(places)
        for place in places:
            consumer.seek(place, max(first[place], end[place] - 200))
        decoder = decoder_of(settings, Registry(), schema_reader(settings))
        seen, until = 0, time.monotonic() + 5.0
        dead: dict[str, int] = {}
        came: list[Any] = []  # asset and time of the readings, int64 each
        while seen < min(waiting, 1000) and time.monotonic() < until:
            for records in consumer.poll(500).values():
                seen += len(records)
                decoder.prepare(records)
                for decoded in decoder.decode(records):
                    came.append((decoded.readings.asset, decoded.readings.time_ns))
                    for _, reason in decoded.dead:
                        dead[reason] = dead.get(reason, 0) + 1
    finally:
        consumer.close()
    registry = decoder.registry
    shapes = ", ".join(f"{n} {shape}" for shape, n in decoder.shapes.most_common()) or "nothing"
    units = ", ".join(decoder.units) or "unknown"
    stdout.write(f"of the last {seen}: {shapes}; times in {units}; {len(registry.assets)} assets, "
                 f"{registry.tag_count} tags\n")
    for reason, count in sorted(dead.items()):
        stdout.write(f"would be dead letters: {count} ({reason})\n")
    stdout.write(f"{memory_plan.plan(settings.monitor).sentence()}\n")
    if came:
        asset, time_ns = map(np.concatenate, zip(*came, strict=True))
        fast = fast_rows.advice(fast_rows.step_of(asset, time_ns), settings.monitor)
        stdout.write(f"{fast}\n" if fast else "")
    stdout.write(f"alerts would go to {kafka.alerts_topic}, the state to "
                 f"{kafka.state_topic_name}\n")
    return EXIT_OK


def catch_signals(wishes: Wishes, say: Callable[[str], None]) -> None:
    """SIGTERM and SIGINT stop in order, a second one at once; SIGHUP reads the settings again."""

    def stop(number: int, frame: object) -> None:
        if wishes.stop:
            os._exit(128 + number)
        wishes.stop = True
        timer = threading.Timer(DRAIN_SECONDS, _cut_off, [say])
        timer.daemon = True
        timer.start()

    def reload(number: int, frame: object) -> None:
        wishes.reload = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, reload)


def quiet_libraries() -> None:
    """Let a client library speak of errors only, and say each of them once in a while."""
    logger = logging.getLogger("kafka")
    logger.setLevel(logging.WARNING)  # warnings are listened to for a reason, never shown
    ours = [h for h in logger.handlers if any(isinstance(f, _Seldom) for f in h.filters)]
    if not ours:  # the library has put one of its own there that says nothing
        handler = logging.StreamHandler(sys.stderr)
        handler.setLevel(logging.ERROR)
        handler.setFormatter(logging.Formatter("andon: Kafka client: %(message)s"))
        handler.addFilter(_Seldom())
        logger.addHandler(handler)
        logger.propagate = False


def _serve(
    options: RunOptions, settings: Settings, connection: Mapping[str, Any], wishes: Wishes,
    status: Status, say: Callable[[str], None], shown: Front,
) -> None:
    kafka = settings.kafka
    stopped = lambda: wishes.stop  # noqa: E731
    count = patiently(lambda: prepare_topics(connection, kafka), say, stopped, "topics")
    say(f"reading {kafka.topic} ({count} partitions) as group {kafka.group}")
    reader = CommandReader(connection, kafka, say)
    outbox = Outbox(connection, kafka, settings.webhook, say) if settings.webhook.url else None
    files = (FileOutbox(connection, kafka, settings.files, say)
             if settings.files.directory else None)
    worker = Worker(
        settings, connection,
        lambda: patiently(lambda: KafkaSource(connection, kafka, say), say, stopped, "consumer"),
        SystemClock(), status, say, wishes, commands=reader, reload=options.load,
        telemetry=shown.telemetry, push=shown.push)
    watcher = threading.Event()
    threading.Thread(target=_watch, args=(options.config, kafka, connection, wishes, watcher, say),
                     name="settings", daemon=True).start()
    try:
        worker.run()
    finally:
        watcher.set()
        reader.close()
        if outbox is not None:
            outbox.close()
        if files is not None:
            files.close()


def _watch(
    config: Path | None, kafka: KafkaSettings, connection: Mapping[str, Any], wishes: Wishes,
    done: threading.Event, say: Callable[[str], None],
) -> None:
    """Notice a changed settings file, and certificates that were renewed."""
    settings = [Watched(config)] if config is not None else []
    certificates = [Watched(path) for path in certificate_files(kafka)]
    while not done.wait(WATCH_SECONDS):
        if any([file.changed() for file in settings]):
            wishes.reload = True
        if any([file.changed() for file in certificates]):
            try:
                read_certificates(connection["ssl_context"], kafka)
                say("certificates were renewed: new connections use them")
            except SettingsError as error:  # half of them are there, perhaps
                say(f"{error}; the ones of before are used")


@dataclass(slots=True)
class Watched:
    """A settings file that is looked at now and then: has it changed?"""

    path: Path
    seen: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        self.seen = self._stamp()

    def changed(self) -> bool:
        """Whether it is another file than last time; a file that is gone has not changed."""
        stamp = self._stamp()
        if stamp == (0, 0) or stamp == self.seen:
            return False
        self.seen = stamp
        return True

    def _stamp(self) -> tuple[int, int]:
        try:
            found = self.path.stat()
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_size


#: What the client says of everything that was under way when a connection was lost: once is enough.
_CONSEQUENCES = ("KafkaConnectionError", "socket disconnected", "Connection lost",
                 "Error receiving network data")


class _Seldom(logging.Filter):
    """Lets the same message through once in :data:`REPEAT_SECONDS`; exact counts are metrics.

    The same are those of one form and one error, whatever numbers are in them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now, text = time.monotonic(), record.getMessage()
        record.exc_info = None  # where in the client a connection broke is nothing to a person
        if any(c in text for c in _CONSEQUENCES) and not text.startswith("Connection failed"):
            return False
        if len(self._last) > 1000:
            self._last.clear()
        given = record.args if isinstance(record.args, tuple) else ()
        why = [re.sub(r"\d+", "", str(a))[:200] for a in given if isinstance(a, Exception)]
        key = f"{record.name}:{record.msg}:{why}"
        if now - self._last.get(key, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return False
        self._last[key] = now
        return True


def _sayer(stderr: TextIO) -> Callable[[str], None]:
    def say(text: str) -> None:
        stderr.write(f"andon: {text}\n")
        stderr.flush()

    return say


def _cut_off(say: Callable[[str], None]) -> None:
    say(f"not stopped within {DRAIN_SECONDS:.0f} s: cut off; nothing uncommitted will be seen")
    os._exit(1)
