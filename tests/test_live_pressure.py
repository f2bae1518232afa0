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
