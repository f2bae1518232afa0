"""The live service as Prometheus and Alertmanager see it: real broker, workers and scrapes.

What the metrics say is compared with the oracle of ``live_service``: the same topic judged in one
go. The worker is killed in between, because what is shown must survive that as what is said does.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import kafka_broker, live_service, prometheus_tools
from tests.live_service import Deployment, deployment
from tests.prometheus_tools import free_port, wait_for

pytestmark = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

#: Messages before the kill: eight machines' second 685, in the middle of a fault.
CUT = 8 * 685


@pytest.fixture(name="cluster")
def _cluster() -> kafka_broker.Cluster:
    return kafka_broker.shared()


def samples(port: int) -> dict[str, float]:
    """One scrape: the series and their values."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {series: float(value) for series, _, value in
            (line.rpartition(" ") for line in lines if not line.startswith("#"))}


def scraped(port: int) -> dict[str, float] | None:
    """The same; None while nobody answers."""
    with contextlib.suppress(OSError):
        return samples(port)
    return None


def total(found: dict[str, float], family: str, part: str = "") -> float:
    """Sum of a family's series, of those with ``part`` among their labels."""
    return sum(value for series, value in found.items()
               if series.partition("{")[0] == family and part in series)


def oracle(deployed: Deployment) -> tuple[Counter[str], dict[str, dict[str, Any]]]:
    """How many alerts began to fire, by asset; and those that still do, by id."""
    fired: Counter[str] = Counter()
    still: dict[str, dict[str, Any]] = {}
    for entries in live_service.expected(deployed).alerts.values():
        for value, _ in entries:
            alert = json.loads(value)
            if alert["state"] == "firing":
                fired[alert["asset"]] += alert["id"] not in still
                still[alert["id"]] = alert
            elif alert["state"] == "resolved":
                still.pop(alert["id"], None)
    return fired, still


class Scraper:
    """Asks for ``/metrics`` ten times a second and keeps the longest wait for an answer."""

    def __init__(self, port: int) -> None:
        self.answers, self.slowest_seconds = 0, 0.0
        self._port, self._done = port, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(0.1):
            started = time.perf_counter()
            if scraped(self._port) is not None:
                self.answers += 1
                self.slowest_seconds = max(self.slowest_seconds, time.perf_counter() - started)


@contextlib.contextmanager
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A receiver of Alertmanager's posts: its address, and the alerts it was told of."""
    got: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"])
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Posts are looked at, not logged."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_the_port_tells_is_what_was_said_and_survives_a_kill_and_a_reload(
    cluster: kafka_broker.Cluster, tmp_path: Path,
) -> None:
    port = free_port()
    with (webhook() as (receiver, told),
          prometheus_tools.alertmanager(tmp_path, receiver) as manager,
          deployment(cluster, 2) as deployed):
        with deployed.config.open("a") as config:
            config.write(f"""
[health]
port = {port}
[alertmanager]
urls = ["{manager}"]
resend_seconds = 1.0
""")
        rows = list(live_service.stream(7000, 8, 5))
        live_service.send(deployed, rows[:CUT])
        worker = deployed.start_worker()
        wait_for(lambda: scraped(port), 120)
        scraper = Scraper(port)
        live_service.wait_until_done(deployed, 90)
        fired, still = oracle(deployed)
        assert fired
        assert still
        wait_for(lambda: total(samples(port), "andon_messages_total", "accepted") == CUT, 20)
        found = samples(port)
        assert total(found, "andon_alerts_total") == sum(fired.values())
        for asset, count in fired.items():
            assert found[f'andon_asset_alerts_total{{asset="{asset}"}}'] == count
        assert total(found, "andon_alarms_active") == total(found, "andon_alert_active") == len(
            still)
        assert total(found, "andon_lag_messages") == 0
        for stage in ("batch", "decode", "process", "commit", "checkpoint", "restore"):
            assert total(found, "andon_stage_seconds_count", f'"{stage}"') > 0, stage
        names = {alert["asset"] for alert in still.values()}
        wait_for(lambda: {a["labels"]["asset"] for a in told} >= names, 20)
        live_service.kill(worker)
        worker = deployed.start_worker()
        wait_for(lambda: (scraped(port) or {}).get("andon_ready") == 1, 120)
        wait_for(lambda: total(samples(port), "andon_alert_active") == len(still), 20)
        assert total(samples(port), "andon_alerts_total") == 0  # counted in an earlier life
        deployed.config.write_text(deployed.config.read_text().replace('"1/day"', '"2/day"'))
        os.killpg(worker.pid, signal.SIGHUP)
        wait_for(lambda: "settings changed" in deployed.logs(), 20)
        live_service.send(deployed, rows[CUT:])
        live_service.wait_until_done(deployed, 60)
        wait_for(lambda: total(samples(port), "andon_messages_total", "accepted") == 7000, 20)
        wait_for(lambda: total(samples(port), "andon_rows_total") >= 7000 - CUT, 20)
        # A second worker takes a partition over: its machines are told there, and here no more.
        other = free_port()
        deployed.start_worker({"ANDON_HEALTH__PORT": str(other)})
        wait_for(lambda: (scraped(other) or {}).get("andon_ready") == 1
                 and total(samples(other), "andon_assets") > 0, 120)
        wait_for(lambda: total(samples(port), "andon_assets")
                 + total(samples(other), "andon_assets") == 8, 30)
        told_here, told_there = (
            {series for series in samples(one) if series.startswith("andon_asset_rows_total{")}
            for one in (port, other))
        assert told_here
        assert told_there
        assert not told_here & told_there
        scraper.close()
        assert scraper.answers >= 20
        assert scraper.slowest_seconds < 1.0
        assert deployed.stop() == [0, 0], deployed.logs()
