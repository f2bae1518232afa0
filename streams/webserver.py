"""A small HTTP server for our own port: metrics, probes, the page. Built to be left alone outside.

It runs on a thread and an event loop of its own, so the service's loop never waits for a client.
Limits on everything: connections, bytes and seconds of a request, seconds of an answer. GET and
HEAD only, exact paths only (nothing is decoded, no file is ever looked up by a path), one request a
connection. What is answered comes from functions that are passed in.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from streams.errors import UsageError
from streams.webconfig import Gate, WebConfig

#: Connections at a time; more are closed at once. A scraper, its twin, probes, a few people.
CONNECTION_LIMIT = 64
#: Seconds for a whole request, TLS included, and for a client to take a whole answer.
REQUEST_SECONDS = 5.0
ANSWER_SECONDS = 10.0
#: Bytes of a request's head.
HEAD_LIMIT_BYTES = 16_384

_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found",
            405: "Method Not Allowed", 429: "Too Many Requests", 500: "Internal Server Error",
            503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a route says."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200


Route = Callable[[], Answer]


class WebServer:
    """Serves routes until closed.

    Parameters
    ----------
    host, port : str, int
        Port 0 takes a free one; see :attr:`port`.
    routes : mapping of exact path to Route
        Called on a worker thread, so a route may take its time.
    web : WebConfig, optional
        TLS and users; None = neither.
    open_paths : collection of str
        Paths that need no login: probes.

    Raises
    ------
    UsageError
        The port cannot be had.
    """

    def __init__(
        self, host: str, port: int, routes: Mapping[str, Route], web: WebConfig | None = None,
        open_paths: frozenset[str] = frozenset({"/live", "/ready"}),
    ) -> None:
        self.port = port
        self.refused = 0
        self._routes = dict(routes)
        self._web = web or WebConfig()
        self._gate = Gate(self._web.users)
        self._open_paths = open_paths
        self._connections = 0
        self._loop = asyncio.new_event_loop()
        begun: list[OSError | None] = []
        told = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(host, port, begun, told), name="web", daemon=True)
        self._thread.start()
        told.wait()
        if begun[0] is not None:
            raise UsageError(f"{host}:{port} cannot be used: {begun[0]}")

    def close(self) -> None:
        """Stop serving; open connections are cut."""
        with contextlib.suppress(RuntimeError):  # closed before
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    def _run(
        self, host: str, port: int, begun: list[OSError | None], told: threading.Event
    ) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(_only_bugs)
        try:
            server = loop.run_until_complete(asyncio.start_server(
                self._serve, host, port, limit=HEAD_LIMIT_BYTES, backlog=128))
        except OSError as error:
            begun.append(error)
            told.set()
            loop.close()
            return
        self.port = int(server.sockets[0].getsockname()[1])
        begun.append(None)
        told.set()
        loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= CONNECTION_LIMIT:
            self.refused += 1
            writer.transport.abort()
            return
        self._connections += 1
        try:
            try:
                async with asyncio.timeout(REQUEST_SECONDS):
                    if self._web.tls is not None:
                        await writer.start_tls(self._web.tls)
                    head = await reader.readuntil(b"\r\n\r\n")
                status, headers, body = await self._answer(head)
            except asyncio.LimitOverrunError:
                status, headers, body = 400, {}, b"the request's head is too long\n"
            async with asyncio.timeout(ANSWER_SECONDS):
                writer.write(_head(status, headers, len(body)) + body)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, EOFError):  # gone, too slow, or no TLS: nothing to say
            pass
        finally:
            self._connections -= 1
            writer.transport.abort()

    async def _answer(self, head: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a request's head."""
        request = _parsed(head)
        if request is None:
            return 400, {}, b"not understood\n"
        method, path, headers = request
        if path not in self._open_paths:
            admitted: Any = await asyncio.to_thread(
                self._gate.admits, headers.get("authorization", ""))
            if admitted is None:
                return 429, {"Retry-After": "1"}, b"busy\n"
            if not admitted:
                return 401, {"WWW-Authenticate": 'Basic realm="andon"'}, b"who are you?\n"
        if method not in ("GET", "HEAD"):
            return 405, {"Allow": "GET, HEAD"}, b"only GET\n"
        route = self._routes.get(path)
        if route is None:
            return 404, {}, b"not found\n"
        answer = await asyncio.to_thread(route)
        body = answer.body if method == "GET" else b""
        return answer.status, {"Content-Type": answer.content_type}, body


def _only_bugs(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A client's failure is its own affair; a route's is told."""
    if not isinstance(context.get("exception"), OSError | None):
        loop.default_exception_handler(context)


def _parsed(head: bytes) -> tuple[str, str, dict[str, str]] | None:
    """Method, path without query, headers (lower case); None = no HTTP/1 request."""
    first, *rest = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or not parts[1].startswith("/"):
        return None
    headers = {}
    for line in rest:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return parts[0], parts[1].partition("?")[0], headers


def _head(status: int, headers: Mapping[str, str], length: int) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}"]
    told = {"Content-Type": "text/plain; charset=utf-8", **headers,
            "Content-Length": str(length), "Connection": "close",
            "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    lines += [f"{name}: {value}" for name, value in told.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
