"""Running the live service day by day: stop, reload, commands, webhook, inspection, security."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaAdminClient

from streams import kafka_source
from tests import kafka_broker, live_service
from tests.kafka_broker import ROOT, wait_for
from tests.live_service import Deployment, deployment

pytestmark = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@pytest.fixture(name="cluster")
def _cluster() -> kafka_broker.Cluster:
    return kafka_broker.shared()


def andon(deployed: Deployment, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command of the real program."""
    return subprocess.run(
        [sys.executable, "-m", "streams", arguments[0], "--config", str(deployed.config),
         *arguments[1:]],
        cwd=ROOT, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


def rows(count: int, machines: int, seed: int) -> list[tuple[str, dict[str, Any]]]:
    return list(live_service.stream(count, machines, seed))


def test_a_stop_drains_commits_and_keeps_the_state(cluster: kafka_broker.Cluster) -> None:
    """SIGTERM in the middle: exit 0 within 10 s; the next worker goes on without a gap."""
    with deployment(cluster, 2, checkpoint_seconds=3000.0) as deployed:
        live_service.send(deployed, rows(8000, 8, 3)[:5000])
        worker = deployed.start_worker()
        wait_for(lambda: max(live_service.positions(deployed).values()) > 0, 60, "a commit")
        started = time.monotonic()
        os.killpg(worker.pid, signal.SIGTERM)
        assert worker.wait(15) == 0, deployed.logs()
        assert time.monotonic() - started < 10
        live_service.send(deployed, rows(8000, 8, 3)[5000:])
        deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        assert deployed.stop() == [0]
        live_service.assert_same(deployed)


def test_settings_change_while_it_runs_and_bad_ones_are_refused(
    cluster: kafka_broker.Cluster,
) -> None:
    with deployment(cluster, 2) as deployed:
        good = deployed.config.read_text()
        live_service.send(deployed, rows(3000, 8, 3))
        worker = deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        for bad in (good.replace('"1/day"', '"often"'), good.replace("budget", "bugdet"),
                    good.replace('topic = "', 'topic = "other.'),
                    good + '[webhook]\nurl = "http://127.0.0.1:1/"\n',
                    good.replace("warm_up_rows = 60", "warm_up_rows = 90")):
            said = deployed.logs().count("settings not changed")
            deployed.config.write_text(bad)
            os.killpg(worker.pid, signal.SIGHUP)
            wait_for(lambda said=said: deployed.logs().count("settings not changed") > said, 20,
                     "a refusal")
            assert worker.poll() is None
        assert "webhook.url: cannot change while running" in deployed.logs()
        deployed.config.write_text(good.replace('"1/day"', '"2/day"'))
        wait_for(lambda: "settings changed" in deployed.logs(), 20, "the change of the file")
        live_service.send(deployed, rows(4000, 8, 3)[3000:])
        live_service.wait_until_done(deployed, 60)
        assert deployed.stop() == [0], deployed.logs()
        said = live_service.observed(deployed)
        assert said.counts["in"] == said.counts["accepted"] == 4000


def test_commands_take_effect_once_and_can_be_taken_back(cluster: kafka_broker.Cluster) -> None:
    with deployment(cluster, 2) as deployed:
        live_service.send(deployed, rows(2400, 4, 8))
        deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        (alert, *_) = [r for r in live_service.records(deployed, "alerts")]
        asset, identity = alert.key.decode(), json.loads(alert.value)["id"]
        given = [andon(deployed, "ack", asset, identity, "--by", "Ana"),
                 andon(deployed, "feedback", asset, identity, "false"),
                 andon(deployed, "shelve", asset, "--hours", "100"),
                 andon(deployed, "maintenance", asset, "--note", "bearing changed")]
        assert [g.returncode for g in given] == [0] * 4, given
        ids = [g.stdout.strip() for g in given]
        assert andon(deployed, "feedback", asset, identity, "perhaps").returncode == 2
        wait_for(lambda: andon(deployed, "ledger").stdout.count("\n") == 4, 40, "four entries")
        assert "warming" in andon(deployed, "inspect", "--asset", asset).stdout
        live_service.kill(deployed.workers[0])
        deployed.start_worker()
        assert andon(deployed, "ledger", "--revert", ids[3]).returncode == 0
        wait_for(lambda: andon(deployed, "ledger").stdout.count("\n") == 5, 40,
                 "the revert " + deployed.logs())
        told = andon(deployed, "inspect", "--asset", asset).stdout
        assert "trusted" in told
        assert "10 times rarer" in told, told
        live_service.send(deployed, rows(4800, 4, 8)[2400:])
        live_service.wait_until_done(deployed, 60)
        deployed.stop()
        events = live_service.records(deployed, "alerts")
        kinds = [dict(e.headers)["ce_type"] for e in events]
        for kind in ("acknowledge", "feedback", "shelve", "maintenance", "revert"):
            assert kinds.count(f"andon.command.{kind}".encode()) == 1
        entries = [json.loads(line) for line in andon(deployed, "ledger").stdout.splitlines()]
        assert "times rarer" in entries[1]["effect"]
        assert "of the asset's own time" in entries[2]["effect"]
        later = [dict(e.headers) for e in events if e.key == alert.key
                 and b"alert" in dict(e.headers)["ce_type"]
                 and json.loads(e.value)["time"] > json.loads(alert.value)["time"]]
        assert any("andon_shelved" in head for head in later)
        assert [e["command"]["id"] for e in entries][:4] == ids
        assert entries[3]["reverted_by"] == entries[4]["command"]["id"]


class Receiver:
    """A webhook on the loopback that fails as often as it is told to."""

    def __init__(self, failures: int) -> None:
        self.got: list[str] = []
        self.left = failures
        self.hangs, self.hanging = False, threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                if outer.hangs:
                    outer.hanging.set()
                    time.sleep(20.0)
                outer.left -= 1
                if outer.left >= 0:
                    self.send_response(500)
                else:
                    outer.got.append(self.headers["ce-id"])
                    self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads, self.server.block_on_close = True, False
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/alerts"


@pytest.fixture(name="receiver")
def _receiver() -> Iterator[Receiver]:
    receiver = Receiver(failures=3)
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def test_the_webhook_is_retried_and_survives_a_restart(
    cluster: kafka_broker.Cluster, receiver: Receiver
) -> None:
    """Nobody listens at first, then errors, then a kill -9: every alert arrives in the end.

    A receiver that hangs does not keep the service from stopping in time.
    """
    (port,) = kafka_broker.free_ports(1)
    with deployment(cluster, 2) as deployed:
        config = deployed.config.read_text()
        deployed.config.write_text(
            config + f'[webhook]\nurl = "http://127.0.0.1:{port}/"\nretry_seconds = 1.0\n')
        live_service.send(deployed, rows(3000, 6, 4))
        deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        live_service.kill(deployed.workers[0])
        deployed.config.write_text(
            config + f'[webhook]\nurl = "{receiver.url}"\nretry_seconds = 1.0\n'
            "timeout_seconds = 60.0\n")
        deployed.start_worker()
        wanted = {dict(r.headers)["ce_id"].decode()
                  for r in live_service.records(deployed, "alerts")
                  if json.loads(r.value)["state"] in ("firing", "resolved")}
        assert wanted
        wait_for(lambda: set(receiver.got) == wanted, 40, "every alert at the receiver")
        assert receiver.left < 0
        receiver.hangs = True
        live_service.send(deployed, rows(6000, 6, 4)[3000:])
        live_service.wait_until_done(deployed, 60)
        assert receiver.hanging.wait(30)
        started = time.monotonic()
        assert deployed.stop() == [0], deployed.logs()
        assert time.monotonic() - started < 10


def test_sasl_over_tls_and_what_is_refused() -> None:
    """SCRAM over TLS with a checked host name; a wrong password or authority is said, not tried."""
    own = kafka_broker.fresh(security="SASL_SSL")
    assert own.folder is not None
    try:
        secret = own.folder / "password"
        secret.write_text(kafka_broker.PASSWORD + "\n")
        safe = f"""security_protocol = "SASL_SSL"
sasl_mechanism = "SCRAM-SHA-512"
username = "andon"
password_file = "{secret}"
ca_file = "{own.folder / 'ca.pem'}"
"""
        with deployment(own, 2, kafka=safe) as deployed:
            live_service.send(deployed, rows(3000, 6, 4))
            deployed.start_worker()
            live_service.wait_until_done(deployed, 60)
            assert deployed.stop() == [0]
            live_service.assert_same(deployed)
            text = deployed.config.read_text()
            wrong = own.folder / "wrong"
            wrong.write_text("not-the-password\n")
            deployed.config.write_text(text.replace(str(secret), str(wrong)))
            worker = deployed.start_worker()
            wait_for(lambda: "credentials" in deployed.logs(), 60, "a word about the password")
            live_service.kill(worker)
            assert "not-the-password" not in deployed.logs()
            deployed.config.write_text(text.replace("/ca.pem", "/other-ca.pem"))
            worker = deployed.start_worker()
            wait_for(lambda: "ertificate" in deployed.logs() or "SSL" in deployed.logs(), 60,
                     "a word about the certificate")
            assert worker.poll() is None
            live_service.kill(worker)
            deployed.config.write_text(text.replace("/ca.pem", "/missing.pem"))
            assert andon(deployed, "run").returncode == 78
    finally:
        own.stop()


def test_a_state_topic_that_is_not_compacted_is_refused(cluster: kafka_broker.Cluster) -> None:
    with deployment(cluster, 2) as deployed:
        cluster.create_topic(f"{deployed.name}.state", 2)
        refused = andon(deployed, "run")
        assert refused.returncode == 78
        assert "cleanup.policy" in refused.stderr
    with deployment(cluster, 2) as deployed:
        cluster.create_topic(f"{deployed.name}.state", 3, {"cleanup.policy": "compact"})
        refused = andon(deployed, "run")
        assert refused.returncode == 78
        assert "3 partitions" in refused.stderr


def test_a_broker_that_does_not_know_a_topic_yet_is_asked_again(
    cluster: kafka_broker.Cluster,
) -> None:
    """It answers nothing for so long, which is not the policy of topics that set none."""
    late = threading.Timer(
        3.0, cluster.create_topic, ("known-late", 1, {"cleanup.policy": "compact"}))
    admin = KafkaAdminClient(bootstrap_servers=cluster.bootstrap, **cluster.client)
    late.start()
    try:
        assert kafka_source.cleanup_policy(admin, "known-late") == "compact"
    finally:
        late.join()
        admin.close()


def test_dry_run_says_what_would_be_read(cluster: kafka_broker.Cluster) -> None:
    with deployment(cluster, 2) as deployed:
        live_service.send(deployed, rows(300, 6, 4))
        sender = live_service.producer(deployed)
        sender.send(f"{deployed.name}.readings", key=b"x", value=b"{")
        sender.close()
        said = andon(deployed, "dry-run")
        assert said.returncode == 0, said.stderr
        assert "2 partitions, 301 messages" in said.stdout
        assert "300 wide rows" in said.stdout
        assert "1 (malformed_json)" in said.stdout
