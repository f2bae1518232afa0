"""The canonical plant, live: from an append to its alert, and what a second worker adds.

    python -m benchmarks.live_plant              # S-ALERT-P50, S-ALERT-P99 at 100,000 readings/s
    python -m benchmarks.live_plant --scale      # S-WORKERS: the rate of two workers over one's
    python -m benchmarks.live_plant --nice -15   # root: with priority on a machine with other work

1,000 machines of 10 sensors at 10 Hz, a row a second, all default detectors, real broker, real
program. A message is a machine's second, 100 readings: columnar JSON, or Arrow with ``--shape``.
Figures go into ``benchmarks/results/speed.json`` beside the others.

A row is closed by the first reading of a later second, so the delay of an alert is counted from the
append of the message that closed its row to the arrival of the alert at a ``read_committed``
consumer. The warm-up is sent at once beforehand and is not judged here.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from confluent_kafka import Producer
from kafka import KafkaConsumer, TopicPartition

from benchmarks import live_trace, speed
from benchmarks.live_latency import cpu_seconds, listen, prefer, ready, wait_ready
from streams.kafka_settings import KafkaSettings
from tests import kafka_broker, live_service

SENSORS, RATE = 10, 10
PARTITIONS = 4
WARM_UP_SECONDS = 60
ENGINE = f'budget = "1/day"\nwarm_up_rows = {WARM_UP_SECONDS}\n[windows]\nrow_seconds = 1\n'
START = live_service.START_NS // 10**9
#: Part of a run in which the rate is taken: behind the warm-up, before the first worker is done.
FROM, TO = 0.4, 0.95

Figure = dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    """Run one measurement."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=0, help="1,000; 400 with --scale")
    parser.add_argument("--seconds", type=int, default=0, help=(
        "of the plant, after the warm-up: 60; 640 with --scale"))
    parser.add_argument("--shape", choices=("columnar", "arrow"), default="columnar")
    parser.add_argument("--scale", action="store_true", help="one worker against two")
    parser.add_argument("--turns", type=int, default=3, help="with --scale: of one and two workers")
    parser.add_argument("--nice", type=int, default=0, help="as in benchmarks.live_latency")
    parser.add_argument("--dry", action="store_true", help="print only")
    options = parser.parse_args(arguments)
    options.machines = options.machines or (400 if options.scale else 1000)
    options.seconds = options.seconds or (640 if options.scale else 60)
    cluster = kafka_broker.cluster()
    try:
        found = scale(cluster, options) if options.scale else latency(cluster, options)
    finally:
        cluster.stop()
    for figure in found:
        print(json.dumps(figure))
    if not options.dry:
        speed.keep(found)
    return 0


def plant(
    machines: int, seconds: range, shape: str, faults: bool
) -> Iterator[tuple[int, int, bytes]]:
    """Machine, second and message, second by second.

    With faults every machine has one sensor that is off by six times its scatter for twenty
    seconds, beginning at a second of its own.
    """
    rng = np.random.default_rng(seconds.start)
    begins = WARM_UP_SECONDS + 20 + rng.integers(0, max(1, seconds.stop - 100), machines)
    for second in seconds:
        x = np.round(20 + np.arange(SENSORS) + 2 * rng.normal(
            size=(machines, RATE, SENSORS)), 3)
        if faults:
            off = (second >= begins) & (second < begins + 20)
            x[off, :, 3] += 12.0
        times = (START + second) * 1000 + np.arange(RATE) * (1000 // RATE)
        for m in range(machines):
            yield m, second, message(m, times, x[m], shape)


def message(machine: int, times: Any, x: Any, shape: str) -> bytes:
    """A machine's second."""
    names = [f"sensor-{c}" for c in range(SENSORS)]
    if shape == "columnar":
        return json.dumps({"asset": f"machine-{machine:04d}", "ts": times.tolist(),
                           "values": dict(zip(names, x.T.tolist(), strict=True))}).encode()
    import pyarrow as pa

    table = pa.table({"asset": pa.array([f"machine-{machine:04d}"] * RATE).dictionary_encode(),
                      "ts": times, **dict(zip(names, x.T, strict=True))})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def latency(cluster: kafka_broker.Cluster, options: Any) -> list[Figure]:
    """Each machine's seconds at a steady rate, the machines evenly spread over each second."""
    last = WARM_UP_SECONDS + 20 + options.seconds
    history = list(plant(options.machines, range(WARM_UP_SECONDS + 5), options.shape, False))
    to_come = list(plant(options.machines, range(WARM_UP_SECONDS + 5, last), options.shape, True))
    with deployment(cluster) as deployed:
        (port,) = kafka_broker.free_ports(1)
        deployed.config.write_text(f"{deployed.config.read_text()}[health]\nport = {port}\n")
        trace = deployed.folder / "trace"
        worker = deployed.start_worker(fault=live_trace.PROGRAM % str(trace))
        wait_ready(port, PARTITIONS)
        prefer(options.nice, [worker.pid, *(b.process.pid for b in cluster.brokers if b.process)])
        sender = producer(cluster)
        topic = f"{deployed.name}.readings"
        for m, _, value in history:
            send(sender, topic, m, value)
        sender.flush()
        live_service.wait_until_done(deployed, 300)
        appended: dict[tuple[str, int], int] = {}
        seen: list[tuple[str, str, int]] = []
        done = threading.Event()
        reader = threading.Thread(target=listen, args=(deployed, seen, done), daemon=True)
        reader.start()
        busy = cpu_seconds(worker.pid)
        started, behind = time.monotonic(), 0.0
        for i, (m, second, value) in enumerate(to_come):
            wait = started + i / options.machines - time.monotonic()
            if wait > 0.002:
                time.sleep(wait)
            behind = max(behind, -wait)
            appended[f"machine-{m:04d}", second] = time.time_ns()
            send(sender, topic, m, value)
        sender.flush()
        took = time.monotonic() - started
        busy = cpu_seconds(worker.pid) - busy
        live_service.wait_until_done(deployed, 120)
        time.sleep(1.0)
        done.set()
        reader.join()
        told = ready(port)["since_start"]
        deployed.stop()
        lines = live_trace.lines_of(trace)
    # A row's time is its second's end, and the message that begins there is what closes it.
    delays = np.array([(at - appended[asset, seconds_of(when)]) / 1e6
                       for asset, when, at in seen if (asset, seconds_of(when)) in appended])
    whens = {(asset, when): at for asset, when, at in seen}
    print(live_trace.told(live_trace.table(lines, {
        (asset, when): appended[asset, seconds_of(when)] for asset, when in whens
        if (asset, seconds_of(when)) in appended}, whens)), file=sys.stderr)
    rate = len(to_come) * SENSORS * RATE / took
    about = (f"{rate:,.0f} readings/s, {options.shape}, {len(delays)} alerts, worst "
             f"{delays.max():,.0f} ms, {100 * busy / took:.0f} % of a core, sender at most "
             f"{1000 * behind:.0f} ms behind, {told['turns']:,} turns, {told['commits']:,} "
             f"commits; load of the machine {os.getloadavg()[0]:.1f}")
    return [
        figure(f"S-ALERT-P{p}", f"reading appended to alert readable at 100,000 readings/s, "
                     f"p{p}", float(np.percentile(delays, p)), "ms", about if p == 50 else "")
        for p in (50, 99)]


def scale(cluster: kafka_broker.Cluster, options: Any) -> list[Figure]:
    """A topic that is full already, read by one worker and by two in turn."""
    with live_service.deployment(cluster, PARTITIONS, ENGINE) as full:
        topic, total = f"{full.name}.readings", 0
        sender = producer(cluster)
        for m, _, value in plant(
            options.machines, range(WARM_UP_SECONDS + options.seconds), options.shape, False
        ):
            send(sender, topic, m, value)
            total += 1
        sender.flush()
        rates: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
        for _ in range(options.turns):
            for workers in rates:
                rates[workers].append(run_workers(cluster, topic, total, workers, options))
    one, two = (np.array(rates[workers]) for workers in (1, 2))
    ratio = float(np.median(two[:, 0]) / np.median(one[:, 0]))
    return [figure(
        "S-WORKERS", "two workers on two cores against one", ratio, "times",
        f"{np.median(one[:, 0]) / 1e6:.2f} and {np.median(two[:, 0]) / 1e6:.2f} M readings/s of "
        f"wall time, {np.median(one[:, 1]) / 1e6:.2f} and {np.median(two[:, 1]) / 1e6:.2f} M per "
        f"CPU second of the workers, {options.shape}, broker on the same cores; load of the "
        f"machine {os.getloadavg()[0]:.1f}")]


def run_workers(
    cluster: kafka_broker.Cluster, topic: str, total: int, workers: int, options: Any
) -> tuple[float, float]:
    """Readings a second of wall time, and a CPU second of the workers, in the middle of a run."""
    with deployment(cluster) as deployed:
        text = deployed.config.read_text()
        deployed.config.write_text(text.replace(f"{deployed.name}.readings", topic))
        for _ in range(workers):
            deployed.start_worker()
        prefer(options.nice, [*(w.pid for w in deployed.workers),
                              *(b.process.pid for b in cluster.brokers if b.process)])
        marks: list[tuple[float, float, int]] = []
        done = 0
        with contextlib.closing(KafkaConsumer(
            bootstrap_servers=cluster.bootstrap, group_id=deployed.name, enable_auto_commit=False,
            **cluster.client)
        ) as group:
            places = [TopicPartition(topic, p) for p in range(PARTITIONS)]
            while done < TO * total:
                time.sleep(0.1)
                done = sum(group.committed(place) or 0 for place in places)
                if done > FROM * total and len(deployed.joined()) == workers:
                    marks.append((time.monotonic(), sum(
                        cpu_seconds(w.pid) for w in deployed.workers), done))
        deployed.stop(60)
    (began, busy, first), (ended, busy_then, last) = marks[0], marks[-1]
    readings = (last - first) * SENSORS * RATE
    return readings / (ended - began), readings / (busy_then - busy)


@contextlib.contextmanager
def deployment(cluster: kafka_broker.Cluster) -> Iterator[live_service.Deployment]:
    """As the tests have one, but with the program's own times between commits and states."""
    own = KafkaSettings()
    with live_service.deployment(
        cluster, PARTITIONS, ENGINE, checkpoint_seconds=own.checkpoint_seconds
    ) as deployed:
        text = deployed.config.read_text()
        deployed.config.write_text(
            text.replace("commit_seconds = 0.5", f"commit_seconds = {own.commit_seconds}"))
        yield deployed


def producer(cluster: kafka_broker.Cluster) -> Any:
    """As a gateway would be."""
    return Producer({"bootstrap.servers": cluster.bootstrap, "linger.ms": 5, "acks": "all",
                     "queue.buffering.max.messages": 100_000})


def send(sender: Any, topic: str, machine: int, value: bytes) -> None:
    """Send a message to its machine's partition; waits while the sender's queue is full."""
    while True:
        try:
            sender.produce(topic, value, f"machine-{machine:04d}".encode(),
                           partition=machine % PARTITIONS)
        except BufferError:
            sender.poll(0.1)
            continue
        sender.poll(0)
        return


def seconds_of(when: str) -> int:
    """Event time of an alert, in whole seconds since the first row."""
    return int(np.datetime64(when.rstrip("Z"), "ns").astype(np.int64)) // 10**9 - START


def figure(key: str, what: str, value: float, unit: str, note: str) -> Figure:
    """As ``benchmarks.speed`` keeps them."""
    return {"id": key, "what": what, "value": value, "unit": unit, "note": note}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
