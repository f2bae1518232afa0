"""The port of ``/metrics``: who gets in, and what a hostile client can do to it (nothing)."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from streams import webconfig, webserver
from streams.errors import SettingsError, UsageError
from streams.webconfig import Gate
from streams.webserver import Answer, WebServer
from tests import telemetry_stream
from tests.needed import needs_programs
from tests.prometheus_tools import prometheus, query, wait_for

HASH = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()


@pytest.fixture
def server() -> Iterator[WebServer]:
    served = WebServer("127.0.0.1", 0, {"/metrics": lambda: Answer(b"andon_x 1\n"),
                                        "/live": lambda: Answer(b"{}")})
    yield served
    served.close()


def ask(port: int, raw: bytes, seconds: float = 8.0) -> bytes:
    """Send bytes, return all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(raw)
        parts = []
        try:
            while part := connection.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)


def get(path: str, port: int, *headers: str) -> bytes:
    return ask(port, "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode())


def basic(name: str, password: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def certificate(folder: Path) -> None:
    """A self-signed certificate for localhost."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(folder / "key.pem"), "-out",
         str(folder / "cert.pem")], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("path", [
    "/", "/metrics/", "/..%2f", "/../metrics", "/%6detrics", "/metrics%00", "//metrics",
    "/static/../../etc/passwd", "/metrics/..%2f..%2fetc%2fpasswd",
])
def test_only_exact_paths_are_served(server: WebServer, path: str) -> None:
    assert get(path, server.port).startswith(b"HTTP/1.1 404 ")


def test_a_scrape_is_answered(server: WebServer) -> None:
    text = get("/metrics?x=1", server.port)
    assert text.startswith(b"HTTP/1.1 200 OK\r\n")
    assert text.endswith(b"\r\n\r\nandon_x 1\n")
    assert ask(server.port, b"HEAD /metrics HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\n")
    assert ask(server.port, b"POST /metrics HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize("raw", [
    b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET /metrics SPDY/9\r\n\r\n",
    b"GET http://elsewhere/ HTTP/1.1\r\n\r\n", b"\x00" * 500 + b"\r\n\r\n",
    b"GET /" + b"a" * 50_000 + b" HTTP/1.1\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nA: " + b"b" * 99_999,
])
def test_garbage_gets_an_error_and_harms_nobody(server: WebServer, raw: bytes) -> None:
    answer = ask(server.port, raw)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert get("/metrics", server.port).startswith(b"HTTP/1.1 200 ")


def test_slow_clients_are_cut_off_and_the_others_served(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webserver, "REQUEST_SECONDS", 1.0)
    slow = [socket.create_connection(("127.0.0.1", server.port))
            for _ in range(webserver.CONNECTION_LIMIT - 1)]
    begun = time.monotonic()
    for connection in slow:
        connection.sendall(b"GET /metrics HTTP/1.1\r\n")
    assert get("/metrics", server.port).startswith(b"HTTP/1.1 200 ")
    for i in range(8):  # a byte now and then buys no time
        for connection in slow:
            try:
                connection.sendall(f"X-{i}: y\r\n".encode())
            except OSError:
                break
        time.sleep(0.25)
    for connection in slow:
        connection.settimeout(3)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(10) == b""
        connection.close()
    assert time.monotonic() - begun < 8
    assert get("/metrics", server.port).startswith(b"HTTP/1.1 200 ")


def test_more_connections_than_the_limit_are_turned_away(server: WebServer) -> None:
    held = [socket.create_connection(("127.0.0.1", server.port))
            for _ in range(webserver.CONNECTION_LIMIT)]
    wait_for(lambda: server._connections == webserver.CONNECTION_LIMIT or None, 5)
    assert get("/metrics", server.port) == b""
    assert server.refused >= 1
    for connection in held:
        connection.close()
    wait_for(lambda: get("/metrics", server.port).startswith(b"HTTP/1.1 200 ") or None, 5)


def test_a_port_that_is_taken_is_an_error_in_words(server: WebServer) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        WebServer("127.0.0.1", server.port, {})


def test_who_gets_in(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text(f"basic_auth_users:\n  scraper: {HASH}\n")
    served = WebServer("127.0.0.1", 0, {"/metrics": lambda: Answer(b"ok"),
                                        "/live": lambda: Answer(b"{}")}, webconfig.load(file))
    try:
        for headers, status in (
            ((), 401), ((basic("scraper", "wrong"),), 401), ((basic("nobody", "right"),), 401),
            ((basic("scraper", "right"),), 200), ((basic("scraper", "right"),), 200),
            (("Authorization: Basic !!!",), 401), (("Authorization: Bearer x",), 401),
        ):
            assert get("/metrics", served.port, *headers).startswith(b"HTTP/1.1 %d " % status)
        assert get("/live", served.port).startswith(b"HTTP/1.1 200 ")  # probes have no password
        assert get("/nothing", served.port).startswith(b"HTTP/1.1 401 ")
    finally:
        served.close()
    assert HASH not in repr(webconfig.load(file))


def test_a_flood_of_passwords_is_checked_one_by_one() -> None:
    slow = bcrypt.hashpw(b"right", bcrypt.gensalt(10))
    gate = Gate({"a": slow})
    answers: list[bool | None] = []
    crowd = [threading.Thread(target=lambda i=i: answers.append(
        gate.admits(basic("a", f"guess {i}").partition(" ")[2]))) for i in range(40)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert not any(answer is True for answer in answers)
    assert None in answers  # turned away at once
    assert gate.admits(basic("a", "right").partition(" ")[2])


@pytest.mark.parametrize("text, message", [
    ("basic_auth_users: {a: secret}", r"basic_auth_users\.a: is no bcrypt hash"),
    pytest.param(f"basic_auth_users: {{a: {HASH.replace('$04$', '$20$')}}}", "cost above 14",
                 id="dear"),  # a hash is another one each time, and no name for a test
    ("basic_auth_user: {}", "basic_auth_user: is not supported"),
    ("tls_server_config: {cert_file: a}", r"tls_server_config\.key_file: is needed"),
    ("tls_server_config: {cert_file: a, key_file: b}", "cannot be used"),
    ("tls_server_config: {cert_file: a, key_file: b, min_version: TLS10}", "TLS10"),
    ("tls_server_config: {cert_file: a, key_file: b, cipher_suites: [x]}", "cipher_suites"),
    ("tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAnyClientCert}",
     "RequireAnyClientCert"),
    ("[", "not valid YAML"), ("- 1", "expected a table"),
])
def test_what_cannot_be_honoured_is_refused_by_name(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "web.yml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=message):
        webconfig.load(file)
    if "secret" in text:
        with pytest.raises(SettingsError) as caught:
            webconfig.load(file)
        assert "secret" not in str(caught.value)


def test_tls_refuses_what_is_old_and_serves_what_is_not(tmp_path: Path) -> None:
    certificate(tmp_path)
    file = tmp_path / "web.yml"
    file.write_text("tls_server_config: {cert_file: cert.pem, key_file: key.pem}")
    served = WebServer("127.0.0.1", 0, {"/metrics": lambda: Answer(b"x" * 3_000_000)},
                       webconfig.load(file))
    try:
        trusting = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        with urllib.request.urlopen(
            f"https://localhost:{served.port}/metrics", context=trusting, timeout=10
        ) as answer:
            assert answer.read() == b"x" * 3_000_000
        assert not get("/metrics", served.port).startswith(b"HTTP/1.1 200")  # no TLS, no answer
        old = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection(("localhost", served.port), timeout=5) as plain, (
            old.wrap_socket(plain, server_hostname="localhost")
        ) as secure:
            assert secure.version() == "TLSv1.2"
    finally:
        served.close()


@needs_programs("prometheus")
def test_prometheus_scrapes_over_tls_with_a_password(tmp_path: Path) -> None:
    certificate(tmp_path)
    file = tmp_path / "web.yml"
    file.write_text("tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n"
                    f"basic_auth_users: {{scraper: '{HASH}'}}\n")
    told, line = telemetry_stream.telemetry(), telemetry_stream.Line()
    line.step(told, 5)
    served = WebServer("127.0.0.1", 0, {"/metrics": lambda: Answer(told.render())},
                       webconfig.load(file))
    secure = f"""
      scheme: https
      tls_config: {{ca_file: {json.dumps(str(tmp_path / "cert.pem"))}, server_name: localhost}}
      basic_auth: {{username: scraper, password: PASSWORD}}"""
    try:
        with prometheus(tmp_path / "good", served.port, secure.replace("PASSWORD", "right")) as url:
            rows = wait_for(lambda: query(url, 'andon_asset_rows_total{asset="saw"}'), 30)
            assert float(rows[0]["value"][1]) == 5
        with prometheus(tmp_path / "bad", served.port, secure.replace("PASSWORD", "wrong")) as url:
            up = wait_for(lambda: query(url, 'up{job="andon"}'), 30)
            assert float(up[0]["value"][1]) == 0
    finally:
        served.close()
