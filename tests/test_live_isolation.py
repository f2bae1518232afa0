"""One machine's data wakes up a bug: it is set aside, and the hall goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests import kafka_broker, live_service
from tests.kafka_broker import ROOT, wait_for
from tests.live_service import Deployment, deployment

pytestmark = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

#: The real program with a bug in it: the engine fails on one value, decoding on one word.
BUG = """
import sys
from anomaly import monitor
from streams import kafka_codec, __main__
process, message = monitor.Monitor.process, kafka_codec.Decoder._message
def fails(self, readings):
    if (readings.value == 666.25).any():
        raise IndexError("a bug")
    return process(self, readings)
def chokes(self, key, value):
    if b"choke" in (value or b""):
        raise AttributeError("another bug")
    return message(self, key, value)
monitor.Monitor.process, kafka_codec.Decoder._message = fails, chokes
sys.exit(__main__.main(sys.argv[1:]))
"""


def start(deployed: Deployment) -> subprocess.Popen[bytes]:
    with (deployed.folder / f"worker-{deployed.started}.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-c", BUG, "run", "--config", str(deployed.config)], cwd=ROOT,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    deployed.started += 1
    deployed.workers.append(worker)
    return worker


def test_a_poisoned_asset_is_set_aside_and_the_others_are_judged() -> None:
    cluster = kafka_broker.shared()
    rows: list[tuple[str, dict[str, Any]]] = list(live_service.stream(6000, 12, 31))
    ill = "machine-005"
    first = next(i for i, (asset, _) in enumerate(rows) if i > 2500 and asset == ill)
    rows[first][1]["values"]["s0"] = 666.25
    with deployment(cluster, 3) as deployed:
        live_service.send(deployed, rows[:3000])
        sender = live_service.producer(deployed)
        sender.send(f"{deployed.name}.readings", key=b"x", value=b"choke")
        sender.flush()
        sender.close()
        start(deployed)
        live_service.wait_until_done(deployed, 60)
        said = deployed.logs()
        assert f"on '{ill}' (IndexError: a bug)" in said
        assert "a dead letter" in said
        live_service.kill(deployed.workers[0])
        live_service.send(deployed, rows[3000:])
        start(deployed)
        live_service.wait_until_done(deployed, 60)
        assert [w.poll() for w in deployed.workers] == [-9, None]
        assert deployed.stop() == [0]
        want, got = live_service.expected(deployed), live_service.observed(deployed)
        before = [value for value, _ in got.alerts.pop(ill.encode(), [])]
        whole = [value for value, _ in want.alerts.pop(ill.encode(), [])]
        assert before == whole[: len(before)], "up to the bug it was judged as ever"
        assert got.alerts == want.alerts
        dead = {reason for reason, _, _ in got.dead}
        assert dead == {"isolated", "failed"}
        messages = sum(asset == ill for asset, _ in rows[first:])
        assert sum(n for (why, _, _), n in got.dead.items() if why == "isolated") == messages
        assert set(got.dead.values()) == {1}
        assert got.counts["in"] == 6001
        assert got.counts["accepted"] == 6000 - messages
        fixed = deployed.start_worker()
        done = subprocess.run(
            [sys.executable, "-m", "streams", "maintenance", "--config", str(deployed.config),
             ill], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0
        wait_for(lambda: b"andon.command.maintenance" in [
            dict(r.headers)["ce_type"] for r in live_service.records(deployed, "alerts")], 40,
            "the effect " + deployed.logs())
        body = json.dumps({**rows[-1][1], "asset": ill, "ts": rows[-1][1]["ts"] + 60_000})
        live_service.send(deployed, [(ill, json.loads(body))])
        live_service.wait_until_done(deployed, 60)
        assert fixed.poll() is None
        deployed.stop()
        assert live_service.observed(deployed).counts["accepted"] == 6001 - messages
