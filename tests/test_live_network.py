"""The network between service and broker: slow, cut, half-open, without names; silent machines."""

from __future__ import annotations

import contextlib
import json
import re
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests import kafka_broker, live_service
from tests.live_service import deployment

pytestmark = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


class Proxy:
    """A TCP proxy before one broker; bytes can be delayed, swallowed, or connections cut."""

    def __init__(self, port: int) -> None:
        self._broker = port
        self.delay_seconds = 0.0
        self.silent = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Reset every connection there is."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for one in pair:
                with contextlib.suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    one.close()

    def close(self) -> None:
        """Stop listening and cut."""
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
                broker = socket.create_connection(("127.0.0.1", self._broker))
            except OSError:
                return
            self._pairs.append((client, broker))
            threading.Thread(target=self._pump, args=(client, broker), daemon=True).start()

    def _pump(self, client: socket.socket, broker: socket.socket) -> None:
        other = {client: broker, broker: client}
        selector = selectors.DefaultSelector()
        with contextlib.suppress(OSError, ValueError):
            for one in other:
                selector.register(one, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(1.0):
                    text = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                    if not text:
                        raise OSError
                    time.sleep(self.delay_seconds)
                    if not self.silent:  # a half-open connection takes everything and says nothing
                        other[key.fileobj].sendall(text)  # type: ignore[index]
        for one in other:
            with contextlib.suppress(OSError):
                one.close()


#: No name is known while a file is there.
NO_NAMES = """
import pathlib, socket
asked, gone = socket.getaddrinfo, pathlib.Path({path!r})
def resolve(*given, **named):
    if gone.exists():
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return asked(*given, **named)
socket.getaddrinfo = resolve
"""


@pytest.fixture(name="distant", scope="module")
def _distant() -> Iterator[tuple[kafka_broker.Cluster, Proxy, str]]:
    """A broker that a second listener shows behind the proxy; tests' own clients go straight."""
    try:
        jars = kafka_broker.libraries(kafka_broker.DEFAULT_VERSION)
    except FileNotFoundError as error:
        kafka_broker.unavailable(f"needs its own Kafka broker, and {error} cannot be had here")
        raise
    assert jars
    own = kafka_broker.fresh()
    broker = own.brokers[0]
    broker.stop()
    (far,) = kafka_broker.free_ports(1)
    proxy = Proxy(far)
    path = broker.folder / "server.properties"
    text = path.read_text()
    text = re.sub(r"^listeners=(.*)$", rf"listeners=\1,FAR://127.0.0.1:{far}", text, flags=re.M)
    text = re.sub(r"^advertised.listeners=(.*)$",
                  rf"advertised.listeners=\1,FAR://127.0.0.1:{proxy.port}", text, flags=re.M)
    text = re.sub(r"^listener.security.protocol.map=(.*)$",
                  r"listener.security.protocol.map=\1,FAR:PLAINTEXT", text, flags=re.M)
    path.write_text(text)
    broker.start()
    own.wait_until_ready()
    yield own, proxy, f"127.0.0.1:{proxy.port}"
    proxy.close()
    own.stop()


@pytest.mark.parametrize("fault", ["slow", "cut", "half-open", "nameless"])
def test_a_bad_network_loses_and_doubles_nothing(
    distant: tuple[kafka_broker.Cluster, Proxy, str], fault: str
) -> None:
    cluster, proxy, address = distant
    rows = list(live_service.stream(8000, 12, 41))
    with deployment(cluster, 3) as deployed:
        text = deployed.config.read_text()
        deployed.config.write_text(text.replace(json.dumps(cluster.bootstrap), json.dumps(address)))
        nameless = deployed.folder / "nameless"
        if fault == "nameless":
            nameless.touch()
        deployed.start_worker(fault=NO_NAMES.format(path=str(nameless)))
        live_service.send(deployed, rows[:3000])
        if fault == "nameless":
            kafka_broker.wait_for(
                lambda: "failure in name resolution" in deployed.logs(), 60, "a word of the names")
            nameless.unlink()
        live_service.wait_until_done(deployed, 60)
        for k, start in enumerate(range(3000, 8000, 1000)):
            live_service.send(deployed, rows[start:start + 1000])
            if fault == "slow":
                proxy.delay_seconds = 0.05 * (k % 3)
                time.sleep(1.0)
            elif fault == "cut":
                time.sleep(0.3)
                proxy.cut()
            elif fault == "nameless":
                nameless.touch()
                proxy.cut()
                time.sleep(1.5)
                nameless.unlink()
            elif k % 2:
                proxy.silent = True
                time.sleep(5.0)
                proxy.silent = False
                proxy.cut()  # as a firewall does when it remembers the connection no more
        proxy.delay_seconds = 0.0
        live_service.wait_until_done(deployed, 120)
        assert deployed.stop() == [0], deployed.logs()
        live_service.assert_same(deployed)


def test_a_machine_that_falls_silent_is_told_while_the_others_go_on() -> None:
    """By the partition's own time; and again when it is back. The same as offline."""
    cluster = kafka_broker.shared()
    engine = live_service.ENGINE + "[quality]\noverdue_seconds = 120\n"
    silent = "machine-003"

    def kept(rows: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
        start = live_service.START_NS // 10**6
        return [(asset, row) for asset, row in rows
                if asset != silent or not 300_000 < row["ts"] - start < 800_000]

    rows = kept(list(live_service.stream(6000, 6, 42)))
    with deployment(cluster, 1, engine=engine) as deployed:
        live_service.send(deployed, rows[:3500])
        deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        gaps = [json.loads(r.value) for r in live_service.records(deployed, "alerts")
                if json.loads(r.value)["kind"] == "data_gap"]
        assert {alert["asset"] for alert in gaps} == {silent}
        assert gaps[0]["state"] == "firing"
        live_service.kill(deployed.workers[0])
        live_service.send(deployed, rows[3500:])
        deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        deployed.stop()
        live_service.assert_same(deployed)
