"""``andon demo --kafka HOST:PORT``: the simulated shift through a real broker, and a kill -9.

Topics of its own, two real workers, one of them killed in the middle and started again. Alerts are
printed as a ``read_committed`` consumer gets them; at the end every id has been counted. Nothing is
deleted: the topics' names are printed, to be looked at or thrown away.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaError

from streams.demo import BUDGET, COLUMNS, LEARNING_SECONDS, with_day_before
from streams.errors import EXIT_FINDING, EXIT_OK, UsageError
from streams.kafka_source import reach
from streams.live import quiet_libraries
from streams.simulate import demo_recording, simulate

PARTITIONS = 4
#: Share of a day in which a station of the line produces; the rest are night, breaks and stops.
PRODUCING = 0.7
#: Longest time for everything to be judged after it was sent.
PATIENCE_SECONDS = 600.0


def demo(bootstrap: str, seed: int, stdout: TextIO, stderr: TextIO) -> int:
    """Run it; returns 0 if no alert came twice and everything was judged.

    Raises
    ------
    UsageError
        No broker there.
    """
    quiet_libraries()
    name = f"andon-demo-{uuid.uuid4().hex[:6]}"
    try:
        reach({"bootstrap_servers": bootstrap.split(",")})
        admin = KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=10_000)
        admin.create_topics([NewTopic(f"{name}.readings", PARTITIONS, -1)])
        admin.close()
    except (KafkaError, OSError) as error:
        raise UsageError(f"no broker at {bootstrap}: {error}") from None
    with tempfile.TemporaryDirectory(prefix="andon-demo-") as folder:
        config = Path(folder) / "andon.toml"
        config.write_text(_settings(bootstrap, name, seed), encoding="utf-8")
        workers = [_worker(config), _worker(config)]
        try:
            stderr.write(f"{name}.readings: a day to learn from and a shift with faults, in a "
                         "minute or two; two workers, one of which will be killed\n")
            sent = _send(bootstrap, name, seed)
            return _watch(bootstrap, name, sent, workers, config, stdout, stderr)
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.wait()


def _settings(bootstrap: str, name: str, seed: int) -> str:
    plant, _ = with_day_before(*demo_recording(seed))
    # ``andon demo`` ends the warm-up by the clock; here rows count, and only of what produces.
    learning = round(PRODUCING * LEARNING_SECONDS / plant.row_interval_seconds)
    servers = json.dumps(bootstrap.split(","))
    return (f'budget = "{BUDGET}"\nwarm_up_rows = {learning}\n'
            f"[kafka]\nbootstrap_servers = {servers}\n"
            f'topic = "{name}.readings"\ngroup = "{name}"\nalerts_topic = "{name}.alerts"\n'
            f'dead_letter_topic = "{name}.dead"\nlate_topic = "{name}.late"\n'
            f'commands_topic = "{name}.commands"\nsession_seconds = 6.0\n'
            "checkpoint_seconds = 5.0\n")


def _worker(config: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "streams", "run", "--config", str(config)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _send(bootstrap: str, name: str, seed: int) -> int:
    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, batch_size=262_144)
    count = 0
    for asset, row in _rows(seed):
        producer.send(f"{name}.readings", key=asset.encode(), value=json.dumps(row).encode())
        count += 1
    producer.flush()
    producer.close()
    return count


def _rows(seed: int) -> Iterator[tuple[str, dict[str, object]]]:
    config, injections = with_day_before(*demo_recording(seed))
    names = [station.name for station in config.stations]
    for chunk in simulate(config, injections):
        used = [i for i, column in enumerate(chunk.columns) if column in COLUMNS]
        for r in range(chunk.time_ns.size):
            values = {chunk.columns[i]: float(v) for i in used
                      if (v := chunk.values[r, i]) == v}
            if values:
                asset = names[int(chunk.asset[r])]
                yield asset, {"asset": asset, "ts": int(chunk.time_ns[r]), "values": values}


def _watch(
    bootstrap: str, name: str, sent: int, workers: list[subprocess.Popen[bytes]], config: Path,
    stdout: TextIO, stderr: TextIO,
) -> int:
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False,
        isolation_level="read_committed", auto_offset_reset="earliest")
    group = KafkaConsumer(bootstrap_servers=bootstrap, group_id=name, enable_auto_commit=False)
    places = [TopicPartition(f"{name}.alerts", p) for p in range(PARTITIONS)]
    seen: Counter[bytes] = Counter()
    killed = done = False
    started = time.monotonic()
    try:
        while not done and time.monotonic() - started < PATIENCE_SECONDS:
            judged = sum(group.committed(TopicPartition(f"{name}.readings", p)) or 0
                         for p in range(PARTITIONS))
            if not killed and judged > 0:
                killed = True
                workers[0].kill()
                workers[0].wait()
                workers[0] = _worker(config)
                stderr.write(f"killed one worker after {judged} of {sent} messages\n")
            done = judged >= sent
            if not consumer.assignment() and consumer.partitions_for_topic(f"{name}.alerts"):
                consumer.assign(places)
            for _ in range(10 if done else 1):
                for records in consumer.poll(500).values():
                    for record in records:
                        head = dict(record.headers)
                        seen[head["ce_id"]] += 1
                        if head["ce_type"] == b"andon.alert.firing":
                            stdout.write(f"{json.loads(record.value)['sentence']}\n")
                            stdout.flush()
    finally:
        consumer.close()
        group.close()
    twice = sum(count > 1 for count in seen.values())
    stdout.write(f"{sent} messages, {len(seen)} alert events, {twice} twice; topics {name}.*\n")
    return EXIT_OK if done and not twice else EXIT_FINDING
