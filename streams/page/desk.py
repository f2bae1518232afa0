"""What people say on the page, made into the same commands that the command line gives.

A button must not be pressed by another site: a command needs the page's own token in a header, a
JSON body and, where the browser tells it, our own origin. Who may press at all is decided where the
port is opened: users of the web-config, or nobody but this machine.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable

import msgspec

from streams import commands
from streams.commands import Command
from streams.errors import StreamsError
from streams.webserver import Answer, Request

TOKEN_HEADER = "x-andon-token"
#: Longest time on the shelf.
SHELF_HOURS = 24.0 * 30

_JSON = "application/json"


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """What a button sends."""

    kind: str
    asset: str
    alert: str = ""
    label: str = ""
    hours: float = 0.0
    by: str = ""


class Desk:
    """Takes wishes.

    Parameters
    ----------
    give : callable
        Keeps a command where the service will find it; raises StreamsError where it cannot.
        None = nothing can be said here.

    Attributes
    ----------
    token : str
        The secret that only our own page knows.
    """

    def __init__(self, give: Callable[[Command], None] | None) -> None:
        self.token = secrets.token_urlsafe(24)
        self._give = give

    @property
    def is_open(self) -> bool:
        """Whether anything may be said here at all."""
        return self._give is not None

    def take(self, request: Request) -> Answer:
        """Answer a POST: 202 and the command's id, or what is wrong."""
        if request.method != "POST":
            return Answer(b"only POST\n", status=405, headers={"Allow": "POST"})
        if self._give is None or not self._is_ours(request):
            return Answer(b"not from here\n", status=403)
        try:
            wish = msgspec.json.decode(request.body, type=Wish)
        except (msgspec.DecodeError, ValueError):
            return Answer(b"not understood\n", status=400)
        command = self._command(wish, request.user)
        wrong = commands.problem(command)
        if command.kind == "revert" or wrong is not None:
            return Answer(f"{wrong or 'not here'}\n".encode(), status=400)
        try:
            self._give(command)
        except StreamsError as error:
            return Answer(f"{error}\n".encode(), status=503)
        return Answer(msgspec.json.encode({"id": command.id}), _JSON, 202)

    def _command(self, wish: Wish, user: str) -> Command:
        on_shelf = wish.kind == "shelve" and 0 < wish.hours <= SHELF_HOURS
        return Command(
            commands.new_id(), wish.kind, wish.asset, commands.now_ns(), alert=wish.alert,
            label=wish.label, for_ns=round(wish.hours * 3600e9) if on_shelf else 0,
            by=user or wish.by)

    def _is_ours(self, request: Request) -> bool:
        told = request.headers
        origin = told.get("origin", "")
        return (
            hmac.compare_digest(told.get(TOKEN_HEADER, "").encode(), self.token.encode())
            and told.get("content-type", "").partition(";")[0].strip() == _JSON
            and told.get("sec-fetch-site", "same-origin") == "same-origin"
            and (not origin or origin.partition("://")[2] == told.get("host", "")))
