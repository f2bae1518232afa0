"""A small HTTP server for our own port: metrics, probes, the page. Built to be left alone outside.

It runs on a thread and an event loop of its own, so the service's loop never waits for a client.
Limits on everything: connections, bytes and seconds of a request, seconds of an answer, followers
of an event stream. GET, HEAD and, where a path says so, POST; exact paths only (nothing is decoded,
no file is ever looked up by a path), one request a connection. What is answered comes from
functions that are passed in.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
#: Bytes of a request's body: a command is a few hundred.
BODY_LIMIT_BYTES = 16_384
#: Clients that follow an event stream; fewer than connections, so that scrapes always get in.
FOLLOWER_LIMIT = 40
#: Between two looks at what a stream would say, and between two signs of life.
LOOK_SECONDS = 0.5
ALIVE_SECONDS = 10.0

_REASONS = {200: "OK", 202: "Accepted", 400: "Bad Request", 401: "Unauthorized",
            403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
            413: "Content Too Large", 421: "Misdirected Request",
            429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a route says."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked; header names in lower case, ``user`` empty without a login."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""
    user: str = ""


Route = Callable[[], Answer]
Handler = Callable[[Request], Answer]
"""Is asked with the request; answers GET and POST, each as it likes."""
Stream = Callable[[Request], Answer | Callable[[], bytes]]
"""A refusal, or what gives the newest text (one line); followers get it when it has changed."""


class WebServer:
    """Serves routes until closed.

    Parameters
    ----------
    host, port : str, int
        Port 0 takes a free one; see :attr:`port`.
    routes : mapping of exact path to Route
        Called on a worker thread, so a route may take its time.
    handlers : mapping of exact path to Handler
        The same, for what depends on the request.
    streams : mapping of exact path to Stream
        Server-sent events.
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
        handlers: Mapping[str, Handler] | None = None, streams: Mapping[str, Stream] | None = None,
    ) -> None:
        self.port = port
        self.refused = 0
        self._handlers = _by_path(routes, handlers or {})
        self._posts = frozenset(handlers or {})
        self._streams = dict(streams or {})
        self._followers = 0
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

    def serve(
        self, routes: Mapping[str, Route], handlers: Mapping[str, Handler],
        streams: Mapping[str, Stream],
    ) -> None:
        """Serve these from now on, instead of what was served before."""
        self._posts = frozenset(handlers)
        self._streams = dict(streams)
        self._handlers = _by_path(routes, handlers)

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
                    request, refusal = await self._asked(head, reader)
            except asyncio.LimitOverrunError:
                request, refusal = None, Answer(b"the request's head is too long\n", status=400)
            answer: Answer | Callable[[], bytes] | None = refusal
            if refusal is None and request is not None:
                answer = await self._said(request)
            if isinstance(answer, Answer):
                await _send(writer, answer, request is None or request.method != "HEAD")
            elif answer is not None:
                await self._follow(writer, answer)
        except (TimeoutError, OSError, EOFError):  # gone, too slow, or no TLS: nothing to say
            pass
        finally:
            self._connections -= 1
            writer.transport.abort()

    async def _asked(
        self, head: bytes, reader: asyncio.StreamReader
    ) -> tuple[Request | None, Answer | None]:
        """The request, body included, and what refuses it already (None = nothing)."""
        parsed = _parsed(head)
        if parsed is None:
            return None, Answer(b"not understood\n", status=400)
        method, path, query, headers = parsed
        user = ""
        if path not in self._open_paths:
            authorization = headers.get("authorization", "")
            admitted: Any = await asyncio.to_thread(self._gate.admits, authorization)
            if admitted is None:
                return None, Answer(b"busy\n", status=429, headers={"Retry-After": "1"})
            if not admitted:
                return None, Answer(b"who are you?\n", status=401,
                                    headers={"WWW-Authenticate": 'Basic realm="andon"'})
            user = self._gate.name(authorization)
        body = b""
        if method == "POST" and path in self._posts:
            length = headers.get("content-length", "")
            if not length.isdecimal() or int(length) > BODY_LIMIT_BYTES:
                return None, Answer(b"too long, or of no told length\n", status=413)
            body = await reader.readexactly(int(length))
        elif method not in ("GET", "HEAD"):
            return None, _ONLY_GET
        return Request(method, path, query, headers, body, user), None

    async def _said(self, request: Request) -> Answer | Callable[[], bytes]:
        stream = self._streams.get(request.path)
        if stream is not None:
            if request.method != "GET":
                return _ONLY_GET
            if self._followers >= FOLLOWER_LIMIT:
                return Answer(b"too many follow already\n", status=503)
            return await asyncio.to_thread(stream, request)
        handler = self._handlers.get(request.path)
        if handler is None:
            return Answer(b"not found\n", status=404)
        return await asyncio.to_thread(handler, request)

    async def _follow(self, writer: asyncio.StreamWriter, newest: Callable[[], bytes]) -> None:
        """Send the newest text when it has changed, and signs of life, until the client goes."""
        writer.write(_head(200, {"Content-Type": "text/event-stream; charset=utf-8"}, None)
                     + b"retry: 2000\n\n")
        self._followers += 1
        try:
            told, at = b"", 0.0
            while not writer.is_closing():
                text = await asyncio.to_thread(newest)
                now = self._loop.time()
                if text != told:
                    writer.write(b"data: " + text + b"\n\n")
                    told, at = text, now
                elif now - at >= ALIVE_SECONDS:
                    writer.write(b": alive\n\n")
                    at = now
                async with asyncio.timeout(ANSWER_SECONDS):
                    await writer.drain()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._followers -= 1


_ONLY_GET = Answer(b"only GET\n", status=405, headers={"Allow": "GET, HEAD"})


async def _send(writer: asyncio.StreamWriter, answer: Answer, with_body: bool) -> None:
    async with asyncio.timeout(ANSWER_SECONDS):
        headers = {"Content-Type": answer.content_type, **answer.headers}
        writer.write(_head(answer.status, headers, len(answer.body) if with_body else 0)
                     + (answer.body if with_body else b""))
        await writer.drain()
        writer.close()
        await writer.wait_closed()


def _by_path(
    routes: Mapping[str, Route], handlers: Mapping[str, Handler]
) -> dict[str, Handler]:
    return {path: lambda _, route=route: route() for path, route in routes.items()} | dict(handlers)


def _only_bugs(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A client's failure is its own affair, and so is an end that we made; a route's is told."""
    if not isinstance(context.get("exception"), OSError | asyncio.CancelledError | None):
        loop.default_exception_handler(context)


def _parsed(head: bytes) -> tuple[str, str, str, dict[str, str]] | None:
    """Method, path, query, headers (lower case); None = no HTTP/1 request."""
    first, *rest = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or not parts[1].startswith("/"):
        return None
    headers = {}
    for line in rest:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    path, _, query = parts[1].partition("?")
    return parts[0], path, query, headers


def _head(status: int, headers: Mapping[str, str], length: int | None) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}"]
    told = {"Content-Type": "text/plain; charset=utf-8", **headers, "Connection": "close",
            "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    if length is not None:
        told["Content-Length"] = str(length)
    lines += [f"{name}: {value}" for name, value in told.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
