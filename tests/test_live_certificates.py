"""Certificates that are wrong, out of date, or renewed while the service works."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import kafka_broker, live_service
from tests.kafka_broker import Cluster, sign, wait_for
from tests.live_service import deployment

pytestmark = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@pytest.fixture(name="guarded")
def _guarded() -> Iterator[Cluster]:
    """A broker that wants to see our certificate, too."""
    own = kafka_broker.fresh(security="SSL", settings={"ssl.client.auth": "required"})
    yield own
    own.stop()


def renew(cluster: Cluster, authority: str) -> None:
    """Restart the broker with another certificate; it believes this authority's clients alone."""
    folder = cluster.folder
    assert folder is not None
    (broker,) = cluster.brokers
    sign(folder, "broker", authority)
    (folder / "store.pem").write_text(
        (folder / "broker.key").read_text() + (folder / "broker.pem").read_text())
    properties = broker.folder / "server.properties"
    properties.write_text(properties.read_text().replace(
        f"ssl.truststore.location={folder / 'ca.pem'}",
        f"ssl.truststore.location={folder / f'{authority}.pem'}"))
    broker.kill()
    broker.start()
    cluster.wait_until_ready()


@contextlib.contextmanager
def expired(folder: Path) -> Iterator[int]:
    """Something on the loopback whose certificate has run out (a broker would not even start)."""
    sign(folder, "broker", "ca", days=(-9, -2))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "broker.pem", folder / "broker.key")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    one, _ = server.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError), one:
                    context.wrap_socket(one, server_side=True)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def test_a_certificate_that_is_wrong_is_said_and_a_new_one_is_taken_up(guarded: Cluster) -> None:
    """Another host's, one that has run out, and then both sides' by a new authority: no restart."""
    folder = guarded.folder
    assert folder is not None
    known = folder / "known.pem"
    known.write_text((folder / "ca.pem").read_text())
    safe = f"""security_protocol = "SSL"
ca_file = "{known}"
certificate_file = "{folder / 'client.pem'}"
key_file = "{folder / 'client.key'}"
"""
    rows = list(live_service.stream(4000, 12, 38))
    with deployment(guarded, 2, kafka=safe) as deployed, expired(folder) as port:
        good = deployed.config.read_text()
        live_service.send(deployed, rows[:1500])
        wrong = {f"localhost:{port}": "certificate has expired",
                 guarded.bootstrap.replace("localhost", "127.0.0.1"):
                 "certificate is not valid for '127.0.0.1'"}
        for k, bootstrap in enumerate(wrong):
            deployed.config.write_text(good.replace(guarded.bootstrap, bootstrap))
            deployed.start_worker()  # which has read its settings when it says what it plans
            wait_for(lambda k=k: "memory:" in (deployed.folder / f"worker-{k}.log").read_text(), 60,
                     "the settings")
        wait_for(lambda: all(said in deployed.logs() for said in wrong.values()), 60, "both words")
        for other in deployed.workers:
            assert other.poll() is None
            live_service.kill(other)
        deployed.config.write_text(good)
        worker = deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        known.write_text((folder / "ca.pem").read_text() + (folder / "other-ca.pem").read_text())
        (folder / "ca.pem").write_text(known.read_text())  # for the tests' own clients
        sign(folder, "client", "other-ca")
        wait_for(lambda: "certificates were renewed" in deployed.logs(), 30, "the new ones")
        renew(guarded, "other-ca")
        live_service.send(deployed, rows[1500:])
        live_service.wait_until_done(deployed, 90)
        assert worker.poll() is None
        assert deployed.stop() == [0], deployed.logs()
        live_service.assert_same(deployed)
