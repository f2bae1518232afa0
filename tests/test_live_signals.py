"""Being told to stop, and complaining: what needs no broker."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streams import live
from tests.kafka_broker import ROOT, free_ports, wait_for
from tests.live_service import RUN_ANYWAY
from tests.test_live_faults import probe

STUCK = """
import time
from streams import kafka_source
kafka_source.reach = lambda options: time.sleep(60)
"""


#: Loading the compiler takes for ever.
HEAVY = """
import sys, time
class Heavy:
    def find_spec(self, name, path=None, target=None):
        if name == "numba":
            time.sleep(60)
sys.meta_path.insert(0, Heavy())
"""


def started(
    folder: Path, fault: str, port: int | None = None
) -> subprocess.Popen[bytes]:
    """A worker whose broker is not there; returns once it has begun to ask for it.

    Where a port for probes is given, at once.
    """
    waits = port is None
    (broker, spare) = free_ports(2)
    port = spare if port is None else port
    config = folder / "andon.toml"
    config.write_text(f"""detectors = ["level"]
[kafka]
bootstrap_servers = ["127.0.0.1:{broker}"]
topic = "x"
[health]
port = {port}
""")
    with (folder / "log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-c", fault + RUN_ANYWAY, "run", "--config", str(config)], cwd=ROOT,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    if waits:
        wait_for(lambda: b"memory:" in (folder / "log").read_bytes(), 60, "the start")
    return worker


def test_a_probe_is_answered_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    """Alive, and not ready."""
    (port,) = free_ports(1)
    worker = started(tmp_path, HEAVY, port)
    try:
        wait_for(lambda: probe(port, "live") == 200, 30, "the first answer")
        assert probe(port, "ready") == 503
        assert probe(port, "metrics") == 404
        assert b"memory:" not in (tmp_path / "log").read_bytes()
    finally:
        worker.kill()
        worker.wait()


def test_a_stop_while_the_broker_is_waited_for(tmp_path: Path) -> None:
    """Nothing was lost by it: exit code 0, at once."""
    worker = started(tmp_path, "")
    wait_for(lambda: b"trying again" in (tmp_path / "log").read_bytes(), 90, "a complaint")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0, (tmp_path / "log").read_text()


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """While it hangs where no first one is looked at."""
    worker = started(tmp_path, STUCK)
    time.sleep(1.0)
    for _ in range(2):
        assert worker.poll() is None
        os.kill(worker.pid, signal.SIGTERM)
        time.sleep(0.5)
    assert worker.wait(5) == 128 + signal.SIGTERM, (tmp_path / "log").read_text()


def test_the_same_complaint_is_heard_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[str] = []
    now = 1000.0
    logger = logging.Logger("loud")
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    handler.addFilter(live._Seldom())
    logger.addHandler(handler)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for k in range(20_000):
        logger.error("the broker %s is away", k)
    assert heard == ["the broker 0 is away"]
    now += live.REPEAT_SECONDS
    logger.error("the broker %s is away", "still")
    logger.error("something else")
    assert heard[1:] == ["the broker still is away", "something else"]
