"""The page's paths on our port, and the rules a browser is given with them.

Nothing is loaded from elsewhere and nothing inline runs: the policy says so, and the files keep to
it. Where nobody logs in, the page answers under numbers and ``localhost`` only, because a foreign
name that was made to point here (DNS rebinding) would make a foreign page one of ours.
"""

from __future__ import annotations

import html
import ipaddress
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import resources

from streams.page.board import Board
from streams.page.desk import Desk
from streams.webserver import Answer, Handler, Request, Stream

#: What a browser may do with the page: load our own files, talk to us, nothing else.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin"}
_FILES = {
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/chart.js": ("chart.js", "text/javascript; charset=utf-8"),
    "/words.js": ("words.js", "text/javascript; charset=utf-8"),
    "/preact.js": ("preact.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
#: The library that ``build.py`` takes out of its package.
LIBRARY = "preact.js"
_MISSING = (b"The page's library is not there: it is taken out of its package when andon is "
            b"installed. Run: pip install -e .\n")


@dataclass(frozen=True, slots=True)
class Pages:
    """What to hang on the port."""

    handlers: dict[str, Handler]
    streams: dict[str, Stream]


def pages(
    board: Board, desk: Desk, language: str, needs_login: bool, hosts: tuple[str, ...] = ()
) -> Pages:
    """Handlers and streams of the page.

    Parameters
    ----------
    language : str
        The page's first language; viewers choose their own.
    needs_login : bool
        Whether the port asks for a name and a password.
    hosts : tuple of str
        Further names under which the page may be asked for.
    """
    def guarded(answer: Callable[[Request], Answer]) -> Handler:
        def handle(request: Request) -> Answer:
            if not needs_login and not _is_known(request.headers.get("host", ""), hosts):
                return Answer(b"not under this name; see [page] hosts\n", status=421)
            found = answer(request)
            return Answer(found.body, found.content_type, found.status,
                          {**_HEADERS, **found.headers})
        return handle

    def signals(request: Request) -> Answer:
        asked = urllib.parse.parse_qs(request.query)
        text = board.signals(asked.get("asset", [""])[0], asked.get("sensor", []))
        return Answer(text, "application/json")

    def follow(request: Request) -> Answer | Callable[[], bytes]:
        refused = guarded(lambda _: Answer(b""))(request)
        return board.text if refused.status == 200 else refused

    handlers = {"/": guarded(lambda _: _index(desk, language)),
                "/signals": guarded(signals), "/commands": guarded(desk.take)}
    for path, (name, kind) in _FILES.items():
        handlers[path] = guarded(partial(_file, name, kind))
    return Pages(handlers, {"/events": follow})


def _index(desk: Desk, language: str) -> Answer:
    if not resources.files("streams.page").joinpath(LIBRARY).is_file():
        return Answer(_MISSING, status=503)
    text = resources.files("streams.page").joinpath("index.html").read_text("utf-8")
    for name, value in (("token", desk.token if desk.is_open else ""), ("language", language)):
        text = text.replace(f"{{{{{name}}}}}", html.escape(value))
    return Answer(text.encode(), "text/html; charset=utf-8")


def _file(name: str, content_type: str, _: Request) -> Answer:
    found = resources.files("streams.page").joinpath(name)
    return Answer(found.read_bytes(), content_type)


def _is_known(host: str, hosts: tuple[str, ...]) -> bool:
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    name = name.strip("[]").lower()
    if name in ("localhost", *hosts):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
