"""How long a worker with an empty disk needs until it goes on with the state of 100,000 sensors.

Run: ``python -m benchmarks.live_restore``. Real broker, real program, default configuration. The
state is that of a small plant after some thousand rows, with every ring full, written for as many
machines as are asked for: to have them all run for hours first would measure the same. One JSON
object per run; its permanent id is L-RESTORE.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from anomaly import memory_plan
from anomaly.batches import reading_batch
from anomaly.config import MonitorConfig
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from benchmarks.live_latency import cpu_seconds, prefer, ready, wait_ready
from streams import kafka_state
from streams.kafka_source import prepare_topics
from streams.state_records import FORMAT
from tests import kafka_broker, live_service

WIDTH = 20
SMALL = 10
START_SECONDS = 1_700_000_000


def main(arguments: Sequence[str]) -> int:
    """Run the measurement; prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tags", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=3000, help="of the plant whose state it is")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--nice", type=int, default=0, help="as in benchmarks.live_latency")
    options = parser.parse_args(arguments)
    cluster = kafka_broker.cluster()
    try:
        print(json.dumps(measure(cluster, options)))
    finally:
        cluster.stop()
    return 0


def measure(cluster: kafka_broker.Cluster, options: Any) -> dict[str, object]:
    """Write the states, start a worker, wait until it is ready."""
    machines = options.tags // WIDTH // options.partitions
    (port,) = kafka_broker.free_ports(1)
    with live_service.deployment(
        cluster, options.partitions, 'budget = "1/day"\n', checkpoint_seconds=60.0
    ) as deployed:
        config = deployed.settings
        connection = {"bootstrap_servers": [cluster.bootstrap]}
        prepare_topics(connection, config.kafka)
        small = plant(config.monitor, SMALL, "small")
        for k in range(0, options.rows, 50):
            feed(small, k)
        written = sum(
            write(deployed, small, config.monitor, partition, machines)
            for partition in range(options.partitions))
        deployed.config.write_text(f"{deployed.config.read_text()}[health]\nport = {port}\n")
        started = time.monotonic()
        worker = deployed.start_worker()
        prefer(options.nice, [worker.pid, *(b.process.pid for b in cluster.brokers if b.process)])
        kafka_broker.wait_for(
            lambda: b"reading " in (deployed.folder / "worker-0.log").read_bytes(), 300, "kernels")
        joined, busy = time.monotonic(), cpu_seconds(worker.pid)
        wait_ready(port, options.partitions)
        done, busy = time.monotonic(), cpu_seconds(worker.pid) - busy
        told = ready(port)["since_start"]
        size = resident_megabytes(worker.pid)
        deployed.stop(60)
        tags = machines * options.partitions * WIDTH
        return {
            "id": "L-RESTORE", "tags": tags, "rows_seen": options.rows,
            "plan": memory_plan.plan(config.monitor).sentence(tags // options.partitions),
            "state_megabytes": round(written / 1e6), "bytes_per_tag": round(written / tags),
            "restore_s": round(told["restore_seconds"], 1),
            "joined_to_ready_s": round(done - joined, 1), "cpu_s": round(busy, 1),
            "process_start_to_ready_s": round(done - started, 1),
            "resident_megabytes": size, "nice": options.nice,
            "load_of_the_machine": round(os.getloadavg()[0], 1),
        }


def plant(config: MonitorConfig, machines: int, prefix: str) -> Monitor:
    """A monitor of machines that all have the same sensors."""
    registry = Registry(machines, machines * WIDTH)
    for m in range(machines):
        registry.columns(registry.asset(f"{prefix}-{m:05d}"), [f"s{c:02d}" for c in range(WIDTH)])
    return Monitor(config, registry)


def feed(monitor: Monitor, first: int) -> None:
    """Fifty rows of every machine."""
    machines = len(monitor.registry.assets)
    row = np.repeat(np.arange(first, first + 50), machines * WIDTH)
    values = np.random.default_rng(first).normal(50.0, 1.0, row.size).round(3)
    column = np.tile(np.arange(WIDTH), 50 * machines)
    monitor.process(reading_batch(
        np.tile(np.repeat(np.arange(machines), WIDTH), 50), column, (START_SECONDS + row) * 10**9,
        values, column == WIDTH - 1))


def write(
    deployed: live_service.Deployment, small: Monitor, config: MonitorConfig, partition: int,
    machines: int,
) -> int:
    """The small plant's state over and over, as a partition's state; returns its bytes."""
    large = plant(config, machines, f"partition-{partition}")
    source = small.arrays()
    for component, arrays in large.arrays().items():
        for name, array in arrays.items():
            rows, known = (machines, SMALL) if name.startswith("asset") else (
                machines * WIDTH, SMALL * WIDTH)
            rows = min(rows, len(array))
            if len(source[component][name]) >= known:
                array[:rows] = source[component][name][np.arange(rows) % known]
    checkpoint = kafka_state.Checkpoint(
        format=FORMAT, position=0, assets=machines, counts={},
        stream=kafka_state.stream_bytes(small), commands={}, memory={})
    records = kafka_state.Book(large).records(range(machines), checkpoint)
    records.append(kafka_state.position_record(0, "benchmark"))
    sender = live_service.producer(deployed)
    for key, value in records:
        sender.send(f"{deployed.name}.state", key=key, value=value, partition=partition)
    sender.flush()
    sender.close()
    return sum(len(value or b"") for _, value in records)


def resident_megabytes(pid: int) -> int:
    """Memory that a process has in use."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return round(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
