"""The file sink of the live service: every committed line once, through kills and a full disk."""

from __future__ import annotations

import base64
import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests import kafka_broker, live_service
from tests.kafka_broker import wait_for
from tests.live_service import Deployment, deployment

pytestmark = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


def told(folder: Path) -> Counter[str]:
    """Lines of the alert files, those moved aside included."""
    return Counter(line for path in folder.glob("alerts.jsonl*")
                   for line in path.read_text().splitlines())


def committed(deployed: Deployment) -> Counter[str]:
    """Ids of the alerts in the topic."""
    return Counter(dict(r.headers)["ce_id"].decode()
                   for r in live_service.records(deployed, "alerts"))


def test_every_alert_is_one_line_whatever_is_killed(tmp_path: Path) -> None:
    """And a disk that is full for a while delays the file, not the service."""
    cluster = kafka_broker.shared()
    disk = tmp_path / "disk"
    disk.mkdir()
    small = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)],
                           capture_output=True)
    mounted = small.returncode == 0
    out = disk / "alerts"
    settings = f'[files]\ndirectory = "{out}"\nlimit_bytes = 8192\n'
    rows = list(live_service.stream(9000, 12, 16))
    try:
        with deployment(cluster, 3, kafka=settings) as deployed:
            blocker = disk / "blocker"
            if mounted:
                blocker.write_bytes(b"x" * 60_000)
            live_service.send(deployed, rows[:3000])
            deployed.start_worker()
            live_service.wait_until_done(deployed, 60)
            if mounted:
                wait_for(lambda: "written when this is over" in deployed.logs(), 30, "a word")
                blocker.unlink()
                grown = subprocess.run(["mount", "-o", "remount,size=16m", str(disk)])
                assert grown.returncode == 0
            for start in (3000, 5000, 7000):
                live_service.send(deployed, rows[start:start + 2000])
                wait_for(lambda: sum(told(out).values()) > 0, 60, "a first line")
                live_service.kill(deployed.workers[-1])
                deployed.start_worker()
            live_service.wait_until_done(deployed, 60)
            want = committed(deployed)
            wait_for(lambda: len(told(out)) == len(want), 60, "every line")
            lines = told(out)
            assert set(lines.values()) == {1}
            assert Counter(json.loads(line)["id"] for line in lines) == want
            assert deployed.stop() == [0]
            live_service.assert_same(deployed)
    finally:
        if mounted:
            subprocess.run(["umount", str(disk)], check=True)


def test_dead_letters_are_lines_with_their_bytes(tmp_path: Path) -> None:
    cluster = kafka_broker.shared()
    settings = f'[files]\ndirectory = "{tmp_path / "out"}"\n'
    with deployment(cluster, 2, kafka=settings) as deployed:
        sender = live_service.producer(deployed)
        sender.send(f"{deployed.name}.readings", key=b"m", value=b"{\xff", headers=[("t", b"7")])
        sender.flush()
        sender.close()
        deployed.start_worker()
        path = tmp_path / "out" / "dead-letters.jsonl"
        wait_for(lambda: path.exists() and path.read_bytes().endswith(b"\n"), 60, "a letter")
        letter = json.loads(path.read_text())
        assert letter["reason"] == "malformed_json"
        assert base64.b64decode(letter["value"]) == b"{\xff"
        assert letter["headers"] == [["t", base64.b64encode(b"7").decode()]]
        assert deployed.stop() == [0]
