"""The output hardly takes anything: the worker waits, stays a member, and holds no more."""

from __future__ import annotations

import subprocess
import time

import pytest

from tests import kafka_broker, live_service
from tests.live_service import Deployment, deployment

pytestmark = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


def allow(deployed: Deployment, change: str) -> None:
    """Change what the broker lets our workers write: Kafka's own quotas, by Kafka's own tool."""
    (broker, *_) = deployed.cluster.brokers
    done = subprocess.run(
        ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{broker.libraries}/*",
         "kafka.admin.ConfigCommand", "--bootstrap-server", deployed.cluster.bootstrap, "--alter",
         *change.split(), "--entity-type", "clients", "--entity-name", f"andon-{deployed.name}"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def resident_bytes(pid: int) -> int:
    """Memory that a process has in use."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def test_an_output_that_hardly_takes_anything_for_a_while() -> None:
    """For several sessions: no member is lost, what comes in waits in the broker, and then goes."""
    rows = list(live_service.stream(16_000, 12, 29))
    with deployment(kafka_broker.shared(), 3) as deployed:
        # As long as a service's own: one that is aborted meanwhile writes all of it once more.
        text = deployed.config.read_text()
        deployed.config.write_text(
            text.replace("transaction_seconds = 5.0", "transaction_seconds = 60.0"))
        live_service.send(deployed, rows[:3000])
        worker = deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        allow(deployed, "--add-config producer_byte_rate=3000")
        for first in range(3000, 16_000, 2600):
            # One portion may be one transaction, which goes before the broker counts it: not five.
            live_service.send(deployed, rows[first : first + 2600])
            time.sleep(0.7)
        size = resident_bytes(worker.pid)
        time.sleep(5.0)  # a session lasts two
        assert sum(live_service.positions(deployed).values()) < 16_000
        assert resident_bytes(worker.pid) < size + (64 << 20)
        allow(deployed, "--delete-config producer_byte_rate")
        live_service.wait_until_done(deployed, 90)
        assert deployed.stop() == [0]
        assert "no member of the group" not in deployed.logs()
        assert "lost" not in deployed.logs(), "it has been a member all the time"
        live_service.assert_same(deployed)


#: From the twelfth turn on the process gets no more memory than it has: less, even.
NO_MORE_MEMORY = """
import resource
from streams import worker
turn, turns = worker.Worker._take, []
def take(self, *arguments):
    turns.append(1)
    if len(turns) == 12:
        with open("/proc/self/statm", encoding="ascii") as file:
            size = int(file.read().split()[0]) * 4096
        resource.setrlimit(resource.RLIMIT_AS, (size - (64 << 20), resource.RLIM_INFINITY))
    return turn(self, *arguments)
worker.Worker._take = take
"""


def test_a_worker_that_gets_no_more_memory_goes_on_or_ends() -> None:
    """It never stands still with its partitions; what it did not do another one does."""
    rows = [*live_service.stream(3_000, 12, 29), *live_service.stream(6_000, 2_000, 31)]
    with deployment(kafka_broker.shared(), 3) as deployed:
        worker = deployed.start_worker(fault=NO_MORE_MEMORY)
        for first in range(0, len(rows), 300):
            live_service.send(deployed, rows[first : first + 300])
        kafka_broker.wait_for(
            lambda: worker.poll() is not None
            or sum(live_service.positions(deployed).values()) == len(rows),
            60, "the worker has ended or done everything")
        if worker.poll() is not None:
            deployed.start_worker()
            live_service.wait_until_done(deployed, 60)
        deployed.stop()
        live_service.assert_same(deployed)
