"""Whether the service is alive and ready, over HTTP on the loopback; a place for metrics, too.

``/live``: the loop moves. ``/ready``: partitions are held and caught up. ``/metrics``: the text of
a hook. Answers come from a small status that the loop fills, never from the engine, so that a probe
is answered while a kernel compiles or a state is read. Only GET, short requests, few connections at
a time: a probe port must not be a way to harm the service.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from streams.errors import UsageError

#: A loop that has not moved for this long is stuck: longer than any wait on a broker.
STUCK_SECONDS = 300.0
#: Requests answered at the same time; more are turned away at once.
CONNECTION_LIMIT = 16
#: A client that has not sent its request by then is cut off.
REQUEST_SECONDS = 5.0


@dataclass(slots=True)
class Status:
    """What probes are told; written by the loop, read by the server."""

    phase: str = "starting"
    ready: bool = False
    moved_at: float = field(default_factory=time.monotonic)
    partitions: tuple[int, ...] = ()
    detail: dict[str, Any] = field(default_factory=dict)

    def move(self, phase: str, ready: bool) -> None:
        """The loop has come round."""
        self.phase, self.ready = phase, ready
        self.moved_at = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether the loop has come round lately."""
        return time.monotonic() - self.moved_at < STUCK_SECONDS


class HealthServer:
    """The probe port.

    Parameters
    ----------
    host, port : str, int
        Port 0 takes a free one; see :attr:`port`.
    status : Status
    metrics : callable, optional
        Gives the text of ``/metrics``; None = 404.

    Raises
    ------
    UsageError
        The port cannot be had.
    """

    def __init__(
        self, host: str, port: int, status: Status, metrics: Callable[[], str] | None = None
    ) -> None:
        slots = threading.BoundedSemaphore(CONNECTION_LIMIT)

        class Handler(BaseHTTPRequestHandler):
            timeout = REQUEST_SECONDS
            server_version = "andon"
            sys_version = ""

            def do_GET(self) -> None:
                code, kind, text = _answer(self.path, status, metrics)
                body = text.encode()
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                """Probes are not news."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def process_request(self, request: Any, client_address: Any) -> None:
                if not slots.acquire(blocking=False):
                    self.shutdown_request(request)
                    return
                super().process_request(request, client_address)

            def process_request_thread(self, request: Any, client_address: Any) -> None:
                try:
                    super().process_request_thread(request, client_address)
                finally:
                    slots.release()

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that went away in the middle is its own affair."""

        try:
            self._server = Server((host, port), Handler)
        except OSError as error:
            raise UsageError(f"health.port: {host}:{port} cannot be used: {error}") from None
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=2)


def _answer(
    path: str, status: Status, metrics: Callable[[], str] | None
) -> tuple[int, str, str]:
    plain, _, _ = path.partition("?")
    if plain == "/live":
        return (200 if status.alive else 503), "application/json", json.dumps(
            {"alive": status.alive, "phase": status.phase}) + "\n"
    if plain == "/ready":
        return (200 if status.ready else 503), "application/json", json.dumps(
            {"ready": status.ready, "phase": status.phase,
             "partitions": list(status.partitions), **status.detail}) + "\n"
    if plain == "/metrics" and metrics is not None:
        return 200, "text/plain; version=0.0.4; charset=utf-8", metrics()
    return 404, "text/plain", "not found\n"
