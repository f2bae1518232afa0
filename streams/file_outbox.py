"""The live service's file sink: what was committed, as lines on this machine's own disk.

Follows the topics of alerts, dead letters and late readings with ``read_committed`` on a thread of
its own, so a full disk delays files and nothing else. How far it is stands in a small file beside
them, together with their lengths: after a crash the files are cut back to it and no line is lost or
doubled. Every worker with this setting writes all partitions: on its own disk, whoever holds them.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from streams.checkpoint import write_durably
from streams.journal import Journal, event_line, letter_line
from streams.kafka_settings import FilesSettings, KafkaSettings

#: Longest wait for the disk when the service stops; what is torn then is cut at the next start.
CLOSE_SECONDS = 2.0
#: How far the files are, beside them.
POSITION = "position.json"


class FileOutbox:
    """Writes committed messages to files.

    Attributes
    ----------
    written, failed : int
        Lines that are durable; tries that a disk or a broker refused.
    """

    def __init__(
        self, options: Mapping[str, Any], kafka: KafkaSettings, files: FilesSettings,
        say: Callable[[str], None],
    ) -> None:
        self.written = self.failed = 0
        self._options = {k: v for k, v in options.items() if k != "client_id"}
        self._directory = Path(files.directory)
        self._limit_bytes = files.limit_bytes
        self._say = say
        self._names = {kafka.alerts_topic: ("alerts.jsonl", event_line)}
        if files.letters:
            self._names |= {kafka.dead_letter_topic: ("dead-letters.jsonl", letter_line),
                            kafka.late_topic: ("late.jsonl", letter_line)}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="files", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; what is committed and not written is written after the next start."""
        self._done.set()
        self._thread.join(timeout=CLOSE_SECONDS)

    def _run(self) -> None:
        pause, complained = 1.0, False
        while not self._done.is_set():
            before = self.written
            try:
                self._follow()
            except (KafkaError, OSError, ValueError) as error:
                self.failed += 1
                if self.written > before:
                    pause, complained = 1.0, False
                if not complained:
                    self._say(f"files: {self._directory}: {error}; alerts are kept in their topic "
                              "and written when this is over")
                    complained = True
                self._done.wait(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, 30.0)

    def _follow(self) -> None:
        names = [name for name, _ in self._names.values()]
        journal = Journal(self._directory, names, self._limit_bytes)
        consumer = KafkaConsumer(
            group_id=None, enable_auto_commit=False, isolation_level="read_committed",
            auto_offset_reset="earliest", fetch_max_wait_ms=500, **self._options)
        try:
            places = [TopicPartition(topic, partition) for topic in self._names
                      for partition in sorted(consumer.partitions_for_topic(topic) or ())]
            if not places:
                self._done.wait(2.0)
                return
            consumer.assign(places)
            self._go_back(journal, consumer, places)
            while not self._done.is_set():
                lines = 0
                for place, records in consumer.poll(500, max_records=2000).items():
                    name, line = self._names[place.topic]
                    for record in records:
                        journal.append(name, line(record.key, record.value, record.headers))
                    lines += len(records)
                if lines:
                    positions = {f"{p.topic}/{p.partition}": consumer.position(p) for p in places}
                    kept = {"lengths": journal.mark(), "positions": positions}
                    write_durably(self._directory / POSITION, json.dumps(kept).encode())
                    journal.rotate()
                    self.written += lines
        finally:
            journal.close()
            consumer.close()

    def _go_back(self, journal: Journal, consumer: Any, places: list[TopicPartition]) -> None:
        """Cut the files to what is known to be written, and read on from there."""
        kept: dict[str, Any] = {"lengths": {}, "positions": {}}
        path = self._directory / POSITION
        if path.exists():
            kept = json.loads(path.read_bytes())
        journal.cut(kept["lengths"])
        for place in places:
            position = kept["positions"].get(f"{place.topic}/{place.partition}")
            if position is None:
                consumer.seek_to_beginning(place)
            else:
                consumer.seek(place, position)
