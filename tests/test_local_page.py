"""The service without Kafka is seen and spoken to as the one with it: a real process, over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anomaly.config import MonitorConfig
from streams import door, front
from streams.health import Status
from streams.kafka_settings import HealthSettings
from streams.settings import Settings
from tests import live_service
from tests.browser import LIBRARY
from tests.kafka_broker import ROOT, unavailable
from tests.prometheus_tools import free_port, wait_for
from tests.test_live_metrics import scraped, total

#: Six machines' second 585, in the middle of a fault of some of them.
ROWS = 6 * 585


@contextlib.contextmanager
def service(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A run on ``in.jsonl`` that waits for more; killed at the end."""
    (folder / "andon.toml").write_text(
        live_service.ENGINE + f"[health]\nport = {port}\n[kafka]\ncheckpoint_seconds = 3000.0\n")
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams", "run", "--config", str(folder / "andon.toml"),
             "--input", str(folder / "in.jsonl"), "--out", str(folder / "out"), "--follow"],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def ask(port: int, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), {
            "Content-Type": "application/json", "X-Andon-Token": token})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def board(port: int) -> dict[str, Any]:
    """The first picture of the event stream."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/events")
        answer = connection.getresponse()
        while True:
            line = answer.readline()
            if line.startswith(b"data: "):
                told: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
                return told
    finally:
        connection.close()


def test_an_alert_is_acknowledged_on_the_page_and_a_kill_does_not_forget_it(
    tmp_path: Path,
) -> None:
    if not LIBRARY.is_file():
        unavailable("needs the page's library: pip install -e .")
    port = free_port()
    rows = [json.dumps(row) for _, row in live_service.stream(6 * 700, 6, 5)][:ROWS]
    (tmp_path / "in.jsonl").write_text("\n".join(rows) + "\n")
    with service(tmp_path, port):
        wait_for(lambda: total(scraped(port) or {}, "andon_rows_total") == ROWS, 120)
        case = board(port)["cases"][0]
        assert total(scraped(port) or {}, "andon_alert_active") == len(board(port)["cases"])
        _, text = ask(port, "GET", "/")
        token = re.search(rb'andon-token" content="([^"]+)"', text)
        assert token is not None
        wish = {"kind": "acknowledge", "asset": case["asset"], "alert": case["id"], "by": "Ana"}
        assert ask(port, "POST", "/commands", wish)[0] == 403
        status, text = ask(port, "POST", "/commands", wish, token[1].decode())
        assert status == 202
        wait_for(lambda: next(c for c in board(port)["cases"] if c["id"] == case["id"])[
            "acknowledged"], 10)
        wait_for(lambda: any((tmp_path / "out" / "state").rglob("*.npz")), 10)
        time.sleep(0.5)
    with service(tmp_path, port):
        wait_for(lambda: scraped(port), 60)
        wait_for(lambda: board(port)["cases"], 30)
        again = next(c for c in board(port)["cases"] if c["id"] == case["id"])
        assert again["acknowledged"]
        assert again["sentences"] == case["sentences"]
    said = (tmp_path / "out" / "alerts.jsonl").read_bytes().splitlines()
    assert sum(json.loads(text)["id"].encode() in line for line in said) == 1


def test_a_second_run_on_the_same_machine_goes_on_without_a_page(tmp_path: Path) -> None:
    """Nobody named the port, so that another has it is said, and no reason to stop."""
    words: list[str] = []
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # taken already is just as good
            taken.bind(("127.0.0.1", door.DEFAULT_PORT))
            taken.listen()
        settings = Settings(MonitorConfig())
        with (door.opened(settings.health, settings.metrics, Status()) as at,
              front.opened(settings, at, say=words.append) as shown):
            assert shown.telemetry.page is None
    assert words == ["port 9464 is taken: no page and no metrics; health.port names another"]


@pytest.mark.parametrize("port", [-2, 65_536])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match="port"):
        HealthSettings(port=port)
