"""The direct push against the real Alertmanager and a webhook behind it."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from anomaly.batches import Alert, Contribution
from streams import alertmanager
from streams.alertmanager import AlertmanagerPush
from streams.metrics_settings import AlertmanagerSettings
from tests.needed import needs_programs
from tests.prometheus_tools import alertmanager as running_alertmanager
from tests.prometheus_tools import fetch, wait_for

needs_alertmanager = needs_programs("prometheus-alertmanager")


@dataclass(slots=True)
class Receiver:
    """What was posted to us, and what we answer."""

    url: str
    bodies: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    status: int = 200
    location: str = ""

    def states(self, asset: str) -> list[str]:
        """Of a webhook: the states told of an asset, in order, without repetition."""
        told = [alert["status"] for body in self.bodies for alert in body["alerts"]
                if alert["labels"]["asset"] == asset]
        return [state for i, state in enumerate(told) if not i or told[i - 1] != state]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    got = Receiver("")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.bodies.append(json.loads(body))
            got.headers.append(dict(self.headers))
            self.send_response(got.status)
            if got.location:
                self.send_header("Location", got.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    got.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield got
    server.shutdown()
    server.server_close()


def alert(asset: str, state: str = "firing", number: int = 1, severity: str = "high") -> Alert:
    now_ns = time.time_ns()
    return Alert(f"{asset}-{number}", asset, "level", state, severity, now_ns - 5 * 10**9, now_ns,
                 1e6, (Contribution("power", 1.0, 1.0, 2.0),), None, f"{asset}: power is \"high\"")


def pusher(*urls: str, **options: Any) -> AlertmanagerPush:
    return AlertmanagerPush(AlertmanagerSettings(urls=urls, **options))


def active(url: str) -> Callable[[], list[Any]]:
    return lambda: fetch(f"{url}/api/v2/alerts?active=true") or []


@needs_alertmanager
def test_a_fault_reaches_the_webhook_stays_and_is_resolved(
    tmp_path: Path, receiver: Receiver
) -> None:
    with running_alertmanager(tmp_path, receiver.url) as url:
        push = pusher(url, resend_seconds=0.5)
        push.take([alert("saw", "pending"), alert("saw"), alert("press")])
        wait_for(lambda: receiver.states("saw") and receiver.states("press"), 30)
        told, = [a for body in receiver.bodies for a in body["alerts"]
                 if a["labels"]["asset"] == "saw"]
        assert told["labels"] == {"alertname": "AndonMachine", "asset": "saw", "kind": "level",
                                  "sensor": "power", "severity": "high"}
        assert told["annotations"]["summary"] == 'saw: power is "high"'
        time.sleep(5.0)  # more than twice the end that each sending carries
        assert receiver.states("saw") == ["firing"]
        assert len(active(url)()) == 2
        push.take([alert("saw", "resolved")])
        wait_for(lambda: receiver.states("saw") == ["firing", "resolved"], 20)
        assert receiver.states("press") == ["firing"]
        push.take([alert("saw", number=2)])
        wait_for(lambda: receiver.states("saw") == ["firing", "resolved", "firing"], 20)
        push.close()
        # Nobody keeps them alive any more: they end by themselves.
        wait_for(lambda: receiver.states("press") == ["firing", "resolved"], 20)


@needs_alertmanager
def test_an_alertmanager_that_was_away_learns_of_everything(
    tmp_path: Path, receiver: Receiver
) -> None:
    with running_alertmanager(tmp_path / "one", receiver.url) as first:
        with running_alertmanager(tmp_path / "two", receiver.url) as second:
            port = second.rpartition(":")[2]
            push = pusher(first, second, resend_seconds=0.5)
            push.take([alert("saw")])
            wait_for(lambda: len(active(first)()) == len(active(second)()) == 1 or None, 20)
        wait_for(lambda: push.failed or None, 20)
        assert len(active(first)()) == 1
        import tests.prometheus_tools as tools
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tools, "free_port", lambda: int(port))
            with running_alertmanager(tmp_path / "three", receiver.url) as again:
                wait_for(lambda: len(active(again)()) == 1 or None, 20)
        push.close()


def test_resolved_alerts_are_sent_for_five_minutes(receiver: Receiver) -> None:
    now = [1_700_000_000.0]
    push = AlertmanagerPush(
        AlertmanagerSettings(urls=(receiver.url,), resend_seconds=60.0), lambda: now[0])
    push.take([alert("saw")])
    wait_for(lambda: receiver.bodies, 10)
    push.take([alert("saw", "resolved")])
    ended = "2023-11-14T22:13:20.000+00:00"
    # A slow answer may have had it told twice that it fires; that it ended comes after.
    wait_for(lambda: receiver.bodies[-1][0]["endsAt"] == ended, 10)
    for _ in range(4):
        before = len(receiver.bodies)
        now[0] += 60.0
        push._wake.set()
        wait_for(lambda n=before: len(receiver.bodies) > n, 10)
        assert receiver.bodies[-1][0]["endsAt"] == ended
    now[0] += 61.0
    push._wake.set()
    wait_for(lambda: not push._entries, 10)
    push.close()


def test_a_firing_alert_ends_four_resends_ahead(receiver: Receiver) -> None:
    push = AlertmanagerPush(
        AlertmanagerSettings(urls=(receiver.url,), resend_seconds=60.0), lambda: 1_700_000_000.0)
    push.take([alert("saw")])
    wait_for(lambda: receiver.bodies, 10)
    assert receiver.bodies[0][0]["endsAt"].startswith("2023-11-14T22:17:20")
    assert receiver.bodies[0][0]["startsAt"].startswith("2023-11-14T22:13:20")  # never ahead of now
    push.close()


def test_an_alert_whose_severity_changed_is_resolved_under_its_first(receiver: Receiver) -> None:
    push = pusher(receiver.url)
    push.take([alert("saw", severity="low")])
    push.take([alert("saw", "resolved", severity="medium")])
    wait_for(lambda: receiver.bodies and receiver.bodies[-1][0]["labels"]["severity"] == "low", 10)
    assert [entry.resolved is not None for entry in push._entries.values()] == [True]
    push.close()


def test_a_crowd_goes_in_pieces_and_has_an_end(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alertmanager, "ENTRY_LIMIT", 1200)
    push = pusher(receiver.url)
    push.take([alert(f"machine {i}") for i in range(1500)])
    wait_for(lambda: sum(map(len, receiver.bodies)) >= 1200, 20)
    assert sorted(map(len, receiver.bodies[:3])) == [200, 500, 500]
    assert push.left_out == 300
    push.close()


def test_a_redirect_is_not_followed_and_the_password_is_sent(
    tmp_path: Path, receiver: Receiver
) -> None:
    secret = tmp_path / "password"
    secret.write_text("top\n")
    receiver.status, receiver.location = 302, receiver.url + "/elsewhere"
    push = pusher(receiver.url, username="andon", password_file=str(secret), resend_seconds=0.2)
    push.take([alert("saw")])
    wait_for(lambda: push.failed >= 2, 10)
    assert push.sent == 0
    assert receiver.headers[0]["Authorization"] == "Basic YW5kb246dG9w"
    push.close()


def test_nobody_at_home_costs_the_stream_nothing() -> None:
    push = pusher("http://127.0.0.1:9", timeout_seconds=0.5)
    started = time.perf_counter()
    for i in range(200):
        push.take([alert("saw", number=i)])
    assert time.perf_counter() - started < 0.5
    push.close()


@pytest.mark.parametrize("options", [
    {"urls": ("ftp://x",)}, {"resend_seconds": 0.0}, {"username": "a"}, {"timeout_seconds": 1e9}])
def test_impossible_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w+: "):
        AlertmanagerSettings(**options)
