"""Settings without a file; scores; an output that is stuck while more comes in."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from streams.kafka_sink import score_messages
from tests import kafka_broker, live_service
from tests.kafka_broker import ROOT
from tests.live_service import RUN_ANYWAY, Deployment, deployment, hangs

pytestmark = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

#: The first commit hangs for two sessions and more, and a partition may hold little meanwhile.
STUCK = hangs("flush", 1, 5.0) + """
from streams import worker
worker.PENDING_LIMIT_BYTES = 30_000
"""

#: The demo's first hours: a day would take minutes.
SHORTER = """
import itertools
from streams import live_demo
rows = live_demo._rows
live_demo._rows = lambda seed: itertools.islice(rows(seed), 8000)
"""


def start_without_a_file(deployed: Deployment) -> None:
    """The same settings as in the deployment's file, from flags and environment."""
    kafka = deployed.settings.kafka
    told = {"ANDON_BUDGET": "1/day", "ANDON_WARM_UP_ROWS": "60",
            "ANDON_DETECTORS": '["level", "drift"]', "ANDON_HEALTH__PORT": "0"}
    for name in ("alerts_topic", "dead_letter_topic", "late_topic", "commands_topic",
                 "scores_topic", "session_seconds", "commit_seconds", "checkpoint_seconds",
                 "transaction_seconds"):
        told[f"ANDON_KAFKA__{name.upper()}"] = str(getattr(kafka, name))
    with (deployed.folder / f"worker-{deployed.started}.log").open("wb") as log:
        deployed.workers.append(subprocess.Popen(
            [sys.executable, "-c", STUCK + RUN_ANYWAY, "run", "--bootstrap",
             deployed.cluster.bootstrap, "--topic", kafka.topic, "--group", kafka.group],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **told}))
    deployed.started += 1


def scores(deployed: Deployment) -> dict[bytes, list[bytes]]:
    """What an undisturbed pass says of every row, by asset."""
    found: dict[bytes, list[bytes]] = {}
    for _, _, outcome, registry in live_service.undisturbed(deployed):
        for message in score_messages(outcome, registry, ""):
            found.setdefault(message.key or b"", []).append(message.value or b"")
    return found


def test_scores_are_told_once_while_the_output_is_stuck() -> None:
    """No file: flags and environment. What cannot go out pauses its partition, not the group."""
    rows = list(live_service.stream(9000, 12, 51))
    with deployment(kafka_broker.shared(), 3) as deployed:
        text = deployed.config.read_text()
        deployed.config.write_text(f'{text}scores_topic = "{deployed.name}.scores"\n')
        start_without_a_file(deployed)
        for first in range(0, 6000, 500):
            live_service.send(deployed, rows[first:first + 500])
        live_service.wait_until_done(deployed, 60)
        assert "output goes on" in deployed.logs(), deployed.logs()
        assert "lost" not in deployed.logs(), "it has been a member all the time"
        os.killpg(deployed.workers[0].pid, signal.SIGKILL)
        live_service.send(deployed, rows[6000:])
        deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        assert deployed.stop() == [0]
        told: dict[bytes, list[bytes]] = {}
        for record in live_service.records(deployed, "scores"):
            told.setdefault(record.key, []).append(record.value)
        assert told == scores(deployed)
        assert sum(map(len, told.values())) > 8000
        assert set(json.loads(told[b"machine-000"][-1])) == {
            "asset", "ts", "score", "return_period_seconds", "alert"}
        live_service.assert_same(deployed)


def test_the_demo_kills_a_worker_and_counts_what_came() -> None:
    """Its whole way with its first hours; ``andon demo --kafka`` itself sends a day and a shift."""
    cluster = kafka_broker.shared()
    done = subprocess.run(
        [sys.executable, "-c", SHORTER + RUN_ANYWAY, "demo", "--kafka", cluster.bootstrap],
        cwd=ROOT, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "ANDON_HEALTH__PORT": "0"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed one worker after" in done.stderr
    assert re.search(r"^8000 messages, \d+ alert events, 0 twice; topics andon-demo-", done.stdout,
                     re.MULTILINE), done.stdout
    away = subprocess.run(
        [sys.executable, "-m", "streams", "demo", "--kafka",
         f"127.0.0.1:{kafka_broker.free_ports(1)[0]}"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert away.returncode == 2
    assert "no broker at 127.0.0.1" in away.stderr
