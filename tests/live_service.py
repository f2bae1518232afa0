"""What the tests of the live service share: a stream with faults, real workers, and the oracle.

The oracle is the engine run over the same topic in one go, without a group, a transaction or a
state topic. What the service said, read back with ``read_committed``, must be the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from anomaly import quality
from anomaly.batches import Outcome
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams import fast_rows, kafka_state, settings
from streams.kafka_columns import Decoded
from streams.kafka_sink import alert_message
from streams.lane import decoder_of, schema_reader
from streams.settings import Settings
from tests import kafka_broker
from tests.kafka_broker import ROOT, Cluster

#: A small engine: the tests are about delivery, and the same path is taken by any other.
ENGINE = """
budget = "1/day"
warm_up_rows = 60
detectors = ["level", "drift"]
"""

#: The command line, after a fault was prepared.
RUN_ANYWAY = """
import sys
from streams import __main__
sys.exit(__main__.main(sys.argv[1:]))
"""

SENSORS = 4
START_NS = 1_700_000_000 * 10**9


@dataclass(slots=True)
class Deployment:
    """One group on topics of its own, and the workers that were started for it."""

    cluster: Cluster
    folder: Path
    name: str
    partitions: int
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    started: int = 0

    @property
    def config(self) -> Path:
        """The settings file of every worker."""
        return self.folder / "andon.toml"

    @property
    def settings(self) -> Settings:
        """The same, loaded."""
        return fast_rows.for_service(settings.load(self.config, {}, {}))

    def start_worker(
        self, environment: dict[str, str] | None = None, fault: str = ""
    ) -> subprocess.Popen[bytes]:
        """A real worker in its own process group; its words go to a log beside the settings.

        ``fault``: Python that runs before the real program does, to make something fail in it.
        """
        program = ["-c", f"{fault}\n{RUN_ANYWAY}"] if fault else ["-m", "streams"]
        with (self.folder / f"worker-{self.started}.log").open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, *program, "run", "--config", str(self.config)],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1",
                     **(environment or {})})
        self.started += 1
        self.workers.append(worker)
        return worker

    def joined(self) -> list[subprocess.Popen[bytes]]:
        """The workers that run and have come as far as the broker."""
        return [w for i, w in enumerate(self.workers) if w.poll() is None
                and b"reading " in (self.folder / f"worker-{i}.log").read_bytes()]

    def logs(self) -> str:
        """What all workers said, for a failed test."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted(self.folder.glob("worker-*.log")))

    def stop(self, seconds: float = 15.0) -> list[int | None]:
        """SIGTERM to all that run; returns their exit codes (None = had to be killed)."""
        running = [w for w in self.workers if w.poll() is None]
        for worker in running:
            os.killpg(worker.pid, signal.SIGTERM)
        end = time.monotonic() + seconds
        codes: list[int | None] = []
        for worker in running:
            try:
                codes.append(worker.wait(max(0.1, end - time.monotonic())))
            except subprocess.TimeoutExpired:
                kill(worker)
                codes.append(None)
        return codes


@contextlib.contextmanager
def deployment(
    cluster: Cluster, partitions: int, engine: str = ENGINE, kafka: str = "",
    checkpoint_seconds: float = 2.0,
) -> Iterator[Deployment]:
    """Fresh topics and settings; whatever still runs at the end is killed."""
    name = f"t{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory(prefix="andon-live-") as folder:
        made = Deployment(cluster, Path(folder), name, partitions)
        made.config.write_text(f"""{engine}
[kafka]
bootstrap_servers = {json.dumps(cluster.bootstrap.split(","))}
topic = "{name}.readings"
group = "{name}"
alerts_topic = "{name}.alerts"
dead_letter_topic = "{name}.dead"
late_topic = "{name}.late"
commands_topic = "{name}.commands"
session_seconds = 2.0
commit_seconds = 0.5
checkpoint_seconds = {checkpoint_seconds}
transaction_seconds = 5.0
{kafka}
""")
        cluster.create_topic(f"{name}.readings", partitions)
        try:
            yield made
        except BaseException:
            print(made.logs())  # the folder goes with the test; what the workers said must not
            raise
        finally:
            for worker in made.workers:
                kill(worker)


def kill(worker: subprocess.Popen[bytes]) -> None:
    """kill -9, and collect it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def stream(rows: int, machines: int, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Wide rows of machines in turn, one a second each; now and then one shifts for a while.

    Yields the asset and the row as the message that is to be sent.
    """
    random = np.random.default_rng(seed)
    noise = random.normal(size=(rows, SENSORS))
    faulty = random.random((rows // machines // 100 + 2, machines)) < 0.3
    for r in range(rows):
        m, k = r % machines, r // machines
        shift = 9.0 if k > 80 and faulty[k // 100, m] and k % 100 > 70 else 0.0
        values = {f"s{c}": round(50.0 + 10 * c + float(noise[r, c]) + shift, 4)
                  for c in range(SENSORS)}
        yield f"machine-{m:03d}", {
            "asset": f"machine-{m:03d}", "ts": START_NS // 10**6 + 1000 * k, "values": values}


def producer(deployed: Deployment) -> KafkaProducer:
    """A plain producer, as a gateway would be."""
    return KafkaProducer(
        bootstrap_servers=deployed.cluster.bootstrap, linger_ms=5, acks="all",
        **deployed.cluster.client)


def send(deployed: Deployment, rows: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Send rows, keyed by asset, and wait until they are kept."""
    sender = producer(deployed)
    for asset, row in rows:
        sender.send(f"{deployed.name}.readings", key=asset.encode(), value=json.dumps(row).encode())
    sender.flush()
    sender.close()


def records(deployed: Deployment, topic: str, isolation: str = "read_committed") -> list[Any]:
    """Every message of a topic, partition by partition in order of offset."""
    consumer = KafkaConsumer(
        bootstrap_servers=deployed.cluster.bootstrap, enable_auto_commit=False,
        isolation_level=isolation, **deployed.cluster.client)
    try:
        name = f"{deployed.name}.{topic}"
        known = sorted(consumer.partitions_for_topic(name) or ())
        places = [TopicPartition(name, p) for p in known]
        if not places:
            return []
        consumer.assign(places)
        ends = consumer.end_offsets(places)
        consumer.seek_to_beginning(*places)
        found: dict[TopicPartition, list[Any]] = {place: [] for place in places}
        while any(consumer.position(place) < ends[place] for place in places):
            for place, polled in consumer.poll(300, max_records=20_000).items():
                found[place] += polled
        return [record for place in places for record in found[place]]
    finally:
        consumer.close()


@dataclass(slots=True)
class Said:
    """What came out, in a form that can be compared: alerts by asset in order, letters, counts."""

    alerts: dict[bytes, list[tuple[bytes, tuple[tuple[str, bytes], ...]]]]
    dead: Counter[tuple[str, int, int]]
    late: Counter[tuple[str, int, int]]
    counts: Counter[str]


def expected(deployed: Deployment) -> Said:
    """The oracle: every partition from its first message to its last, in one process."""
    kafka = deployed.settings.kafka
    said = Said({}, Counter(), Counter(), Counter())
    for messages, decoded, outcome, _ in undisturbed(deployed):
        for alert in outcome.alerts:
            message = alert_message(alert, kafka.alerts_topic, f"/andon/{kafka.group}")
            assert message.key is not None
            assert message.value is not None
            said.alerts.setdefault(message.key, []).append((message.value, message.headers))
        said.counts["in"] += decoded.end - decoded.first
        dead = {i for i, _ in decoded.dead}
        for i, reason in decoded.dead:
            said.dead[reason, messages[i].partition, messages[i].offset] += 1
            said.counts["dead_lettered"] += 1
        for i in range(decoded.first, decoded.end):
            if i in dead:
                continue
            reasons = outcome.reason[decoded.message == i]
            refused = [quality.REASONS[c] for c in reasons.tolist()
                       if quality.REASONS[c] in ("duplicate", "late", "clock_jump", "bad_time")]
            aside = [r for r in refused if r != "duplicate"]
            if aside:
                said.late[aside[0], messages[i].partition, messages[i].offset] += 1
            whole = len(refused) == len(reasons)
            said.counts["late" if whole and aside else "accepted"] += 1
            said.counts["duplicate"] += whole and not aside
    return said


def undisturbed(
    deployed: Deployment
) -> Iterator[tuple[list[Any], Decoded, Outcome, Registry]]:
    """One pass in one process: a partition's messages, a part of them decoded, what comes of it."""
    config = deployed.settings
    by_partition: dict[int, list[Any]] = {}
    for record in records(deployed, "readings"):
        by_partition.setdefault(record.partition, []).append(record)
    for messages in by_partition.values():
        monitor = Monitor(config.monitor, Registry())
        decoder = decoder_of(config, monitor.registry, schema_reader(config))
        for decoded in decoder.decode(messages):
            yield messages, decoded, monitor.process(decoded.readings), monitor.registry


def checkpoint(deployed: Deployment, partition: int) -> dict[str, Any]:
    """The head of a partition's newest state; empty where there is none."""
    latest = kafka_state.read(
        {"bootstrap_servers": deployed.cluster.bootstrap.split(","), **deployed.cluster.client},
        f"{deployed.name}.state", partition)
    return dict(json.loads(latest.get(b"checkpoint", b"{}")))


def hangs(step: str, call: int, seconds: float) -> str:
    """Source for a worker: this call of a step of its producer waits so long before it begins."""
    return f"""
import time
from kafka import KafkaProducer
inner, calls = KafkaProducer.{step}, []
def slow(self, *given, **named):
    calls.append(1)
    if len(calls) == {call}:
        time.sleep({seconds})
    return inner(self, *given, **named)
KafkaProducer.{step} = slow
"""


def settle(deployed: Deployment) -> None:
    """Bring every state up to what is committed; counts stand in the state.

    Who takes a partition over repeats in silence what came after its last owner's state. Told to
    stop meanwhile it leaves the older state: rightly, the next owner repeats it.
    """
    def is_behind() -> bool:
        return any(checkpoint(deployed, p).get("position", 0) < offset
                   for p, offset in positions(deployed).items())

    if is_behind():
        deployed.start_worker()
        kafka_broker.wait_for(lambda: not is_behind(), 60, "states as new as what is committed")
        deployed.stop()


def observed(deployed: Deployment) -> Said:
    """What the service said, as a ``read_committed`` consumer sees it, and its own counts."""
    said = Said({}, Counter(), Counter(), Counter())
    for record in records(deployed, "alerts"):
        said.alerts.setdefault(record.key, []).append((record.value, tuple(record.headers)))
    for topic, into in (("dead", said.dead), ("late", said.late)):
        for record in records(deployed, topic):
            head = dict(record.headers)
            into[head["andon_reason"].decode(), int(head["andon_partition"]),
                 int(head["andon_offset"])] += 1
    for partition in range(deployed.partitions):
        counts = checkpoint(deployed, partition).get("counts", {})
        said.counts.update({k: v for k, v in counts.items() if "." not in k and v})
    return said


def assert_same(deployed: Deployment) -> Said:
    """The service said what the oracle says: byte for byte, nothing twice, nothing lost."""
    settle(deployed)
    want, got = expected(deployed), observed(deployed)
    assert sum(map(len, want.alerts.values())) > 0, "the stream should have caused alerts"
    assert got.alerts == want.alerts, difference(want, got)
    assert got.dead == want.dead
    assert got.late == want.late
    assert got.counts == want.counts, f"got {got.counts}, want {want.counts}"
    counts = got.counts
    assert counts["in"] == counts["accepted"] + counts["dead_lettered"] + counts["late"]
    return got


def lost_and_doubled(want: Said, got: Said) -> tuple[int, int]:
    """Alerts that should be there and are not, and the other way round."""
    a = Counter(value for events in want.alerts.values() for value, _ in events)
    b = Counter(value for events in got.alerts.values() for value, _ in events)
    return sum((a - b).values()), sum((b - a).values())


def difference(want: Said, got: Said) -> str:
    """The same in words, for a failed test."""
    lost, doubled = lost_and_doubled(want, got)
    return f"lost {lost}, too many {doubled} of {sum(map(len, want.alerts.values()))}"


def positions(deployed: Deployment) -> dict[int, int]:
    """Per partition the group's committed offset (0 where there is none yet)."""
    consumer = KafkaConsumer(
        bootstrap_servers=deployed.cluster.bootstrap, group_id=deployed.name,
        enable_auto_commit=False, **deployed.cluster.client)
    try:
        return {p: consumer.committed(TopicPartition(f"{deployed.name}.readings", p)) or 0
                for p in range(deployed.partitions)}
    finally:
        consumer.close()


def ends(deployed: Deployment) -> dict[int, int]:
    """Per partition the end of the input."""
    consumer = KafkaConsumer(
        bootstrap_servers=deployed.cluster.bootstrap, **deployed.cluster.client)
    try:
        places = [TopicPartition(f"{deployed.name}.readings", p)
                  for p in range(deployed.partitions)]
        return {place.partition: end for place, end in consumer.end_offsets(places).items()}
    finally:
        consumer.close()


def wait_until_done(
    deployed: Deployment, seconds: float, tend: Callable[[], None] = lambda: None
) -> None:
    """Wait until everything that was sent is committed; ``tend`` is called meanwhile."""
    target, end = ends(deployed), time.monotonic() + seconds
    while time.monotonic() < end:
        tend()
        if positions(deployed) == target:
            return
        time.sleep(0.2)
    for worker in deployed.workers:  # let each say where it hangs
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGABRT)
    time.sleep(1.0)
    raise TimeoutError(
        f"not done after {seconds} s: {positions(deployed)} of {target}\n{deployed.logs()}")
