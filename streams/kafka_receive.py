"""Bytes from a broker in large pieces: kafka-python 3.0.12 asks its socket for 4,096 at a time.

That is a call of the system for every 45 readings of JSON, with the interpreter's lock given up and
taken again: a sixth of all that reading costs. Only plain connections of one consumer are changed,
through an internal (the manager's ``_build_transport``); TLS takes its records one by one anyway.
Where the internal is not as known nothing is changed: only the speed depends on it. Whatever is not
plain success (the other end closed, an error) the library's own method is left to find and to tell.
"""

from __future__ import annotations

import functools
from typing import Any

from kafka.net.transport import KafkaTCPTransport

#: Bytes asked for at a time.
PIECE_BYTES = 1 << 19


def receive_in_large_pieces(consumer: Any) -> None:
    """Have the consumer's connections, those to come too, read as much as there is."""
    manager = getattr(consumer, "_manager", None)
    build = getattr(manager, "_build_transport", None)
    if build is None or not hasattr(KafkaTCPTransport, "_sock_recv"):
        return

    @functools.wraps(build)
    async def build_and_change(*given: Any, **named: Any) -> Any:
        transport = await build(*given, **named)
        _change(transport)
        return transport

    manager._build_transport = build_and_change  # type: ignore[union-attr]
    for connection in list(getattr(manager, "_conns", {}).values()):
        _change(getattr(connection, "transport", None))


def _change(transport: Any) -> None:
    if type(transport) is KafkaTCPTransport and hasattr(transport, "_sock"):
        transport._sock_recv = functools.partial(receive, transport)


def receive(transport: Any) -> tuple[bytes, Exception | None]:
    """What the transport's own method gives: all that has arrived, and an error or None."""
    pieces: list[bytes] = []
    while True:
        try:
            piece = transport._sock.recv(PIECE_BYTES)
        except (BlockingIOError, InterruptedError):
            break
        except OSError:
            piece = b""
        if not piece:  # closed or broken: the next call says so, or this one where nothing came
            return (b"".join(pieces), None) if pieces else KafkaTCPTransport._sock_recv(transport)
        pieces.append(piece)
        if len(piece) < PIECE_BYTES:
            break
    return pieces[0] if len(pieces) == 1 else b"".join(pieces), None
