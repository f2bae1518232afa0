"""From an append to its alert at a ``read_committed`` consumer.

Run: ``python -m benchmarks.live_latency --rate 20000 --seconds 60``. Real broker, real program. One
JSON object per run; its permanent id is L-ALERT. Before it stands where the alerts' time went, by
stage (``live_trace``).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Producer
from kafka import KafkaConsumer, TopicPartition

from benchmarks import live_trace
from tests import kafka_broker, live_service

ENGINE = """
budget = "1/day"
warm_up_rows = 60
"""


def main(arguments: Sequence[str]) -> int:
    """Run one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=20_000, help="readings a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--machines", type=int, default=250)
    parser.add_argument("--detectors", default="level,drift,forecast,subspace")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--nice", type=int, default=0, help=(
        "priority of what is measured, on a machine with other work (root; Linux's autogroups)"))
    options = parser.parse_args(arguments)
    cluster = kafka_broker.cluster()
    try:
        found, stages = measure_latency(cluster, options)
        print(live_trace.told(stages), file=sys.stderr)
        print(json.dumps(found))
    finally:
        cluster.stop()
    return 0


#: Alerts of earlier rows are left out: all machines end their warm-up in the same second there,
#: which no plant does, and fitting them all takes a while.
SETTLED_SECONDS = 100


def measure_latency(
    cluster: kafka_broker.Cluster, options: Any
) -> tuple[dict[str, object], list[dict[str, Any]]]:
    """Wide rows at a steady rate; every alert carries the time of the row that raised it.

    Returns the figures, and where the time went.
    """
    chosen = "" if options.detectors == "default" else (
        f"detectors = {json.dumps(options.detectors.split(','))}\n")
    rows_per_second = options.rate / live_service.SENSORS
    with live_service.deployment(
        cluster, 8, ENGINE + chosen, checkpoint_seconds=10.0
    ) as deployed:
        (port,) = kafka_broker.free_ports(1)
        text = deployed.config.read_text()
        for number in range(options.workers):
            deployed.config.write_text(
                text + (f"[health]\nport = {port}\n" if number == 0 else ""))
            trace = str(deployed.folder / f"trace-{number}")
            deployed.start_worker(fault=live_trace.PROGRAM % trace)
        wait_ready(port, 1 if options.workers > 1 else 8)
        time.sleep(5.0)
        prefer(options.nice, [w.pid for w in deployed.workers] + [
            broker.process.pid for broker in cluster.brokers if broker.process])
        appended: dict[tuple[str, int], int] = {}
        seen: list[tuple[str, str, int]] = []
        done = threading.Event()
        reader = threading.Thread(target=listen, args=(deployed, seen, done), daemon=True)
        reader.start()
        total = int(rows_per_second * options.seconds)
        messages = [  # made beforehand, and sent in C: the sender must not be what is measured
            (asset, row["ts"] // 1000, asset.encode(), json.dumps(row).encode())
            for asset, row in live_service.stream(total, options.machines, 3)]
        sender = Producer({"bootstrap.servers": cluster.bootstrap, "linger.ms": 5, "acks": "all",
                           "queue.buffering.max.messages": 1_000_000})
        topic = f"{deployed.name}.readings"
        started, behind = time.monotonic(), 0.0
        for i, (asset, second, key, value) in enumerate(messages):
            wait = started + i / rows_per_second - time.monotonic()
            if wait > 0.002:
                time.sleep(wait)
            behind = max(behind, -wait)
            appended[asset, second] = time.time_ns()
            sender.produce(topic, value, key)
            sender.poll(0)
        sender.flush()
        took = time.monotonic() - started
        live_service.wait_until_done(deployed, 120)
        time.sleep(1.0)
        done.set()
        reader.join()
        told = ready(port)["since_start"]
        busy = cpu_seconds(deployed.workers[0].pid)
        deployed.stop()
        settled = [(asset, when, at) for asset, when, at in seen
                   if _row_seconds(when) > SETTLED_SECONDS]
        start = live_service.START_NS // 10**9
        sent = {(asset, when): appended[asset, _row_seconds(when) + start]
                for asset, when, _ in settled}
        delays = np.array([at - sent[asset, when] for asset, when, at in settled]) / 1e6
        stages = live_trace.table(
            [line for number in range(options.workers)
             for line in live_trace.lines_of(deployed.folder / f"trace-{number}")],
            sent, {(asset, when): at for asset, when, at in settled})
        return {
            "id": "L-ALERT", "rate": round(total * live_service.SENSORS / took),
            "alerts": len(delays),
            "sender_behind_s": round(behind, 2), "detectors": options.detectors,
            "workers": options.workers, "nice": options.nice,
            "load_of_the_machine": [round(load, 1) for load in os.getloadavg()[:2]],
            "cpu_seconds_of_the_worker": round(busy, 1),
            "ms_per_commit": round(1e3 * told["commit_seconds"] / max(1, told["commits"]), 1),
            "ms_per_checkpoint": round(
                1e3 * told["checkpoint_seconds"] / max(1, told["checkpoints"]), 1),
            "us_per_message": round(1e6 * told["process_seconds"] / max(1, told["messages"]), 1),
            "turns": told["turns"], "commits": told["commits"],
            "checkpoint_bytes_per_s": round(told["checkpoint_bytes"] / took),
            **{f"p{p}_ms": round(float(np.percentile(delays, p)), 1) for p in (50, 90, 99, 100)},
        }, stages


def prefer(nice: int, pids: Sequence[int]) -> None:
    """Give the sessions of these processes, and our own, another priority than the rest has."""
    if nice:
        for pid in (*pids, os.getpid()):
            Path(f"/proc/{pid}/autogroup").write_text(str(nice))


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_ready(port: int, partitions: int, seconds: float = 300.0) -> None:
    """Wait until a worker holds so many partitions; ``TimeoutError`` if it never does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if len(ready(port)["partitions"]) >= partitions:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"no worker was ready within {seconds:.0f} s")


def ready(port: int) -> dict[str, Any]:
    """What a worker's readiness probe tells."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def _row_seconds(when: str) -> int:
    """Event time of an alert, in seconds since the first row."""
    moment = int(np.datetime64(when.rstrip("Z"), "s").astype(np.int64))
    return moment - live_service.START_NS // 10**9


def listen(
    deployed: live_service.Deployment, seen: list[tuple[str, str, int]], done: threading.Event
) -> None:
    """Note asset, event time and arrival of every alert that begins to fire, until ``done``."""
    consumer = KafkaConsumer(
        bootstrap_servers=deployed.cluster.bootstrap, isolation_level="read_committed",
        enable_auto_commit=False, fetch_max_wait_ms=20, **deployed.cluster.client)
    name = f"{deployed.name}.alerts"
    consumer.assign([TopicPartition(name, p) for p in range(8)])
    consumer.seek_to_beginning()
    while not done.is_set():
        for records in consumer.poll(50).values():
            now = time.time_ns()
            for record in records:
                body = json.loads(record.value)
                if body["state"] == "firing":
                    seen.append((body["asset"], body["time"], now))
    consumer.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
