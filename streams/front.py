"""What the live service shows to the outside: its port with probes, metrics and page, and the push.

Composed apart from the loop, which is only told where to leave its numbers. Everything here runs
on threads of its own; the loop never waits for a scraper, a person or an Alertmanager.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from streams import exposition, webconfig
from streams.alertmanager import AlertmanagerPush
from streams.commands import Command
from streams.errors import UsageError
from streams.health import Status, probe
from streams.page.board import Board
from streams.page.desk import Desk
from streams.page.record import PageRecord
from streams.page.routes import Pages, pages
from streams.settings import Settings
from streams.telemetry import Telemetry
from streams.webserver import Answer, Route, WebServer

#: What is served where the settings name no port (``health.port`` = -1), if it is free.
DEFAULT_PORT, ANY = 9464, -1


@dataclass(frozen=True, slots=True)
class Front:
    """Where the loop leaves what is shown; ``push`` is None where no Alertmanager is set."""

    telemetry: Telemetry
    push: AlertmanagerPush | None


@contextlib.contextmanager
def opened(
    settings: Settings, status: Status, give: Callable[[Command], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Iterator[Front]:
    """Serve until left.

    Parameters
    ----------
    settings : Settings
    status : Status
        What probes are told.
    give : callable, optional
        Keeps what people say on the page; None = nothing can be said there.
    say : callable, optional
        Is told where the page is.

    Raises
    ------
    SettingsError
        A password, certificate or web-config file that cannot be used.
    UsageError
        The port cannot be had.
    """
    web = webconfig.load(Path(settings.metrics.web_config)) if settings.metrics.web_config else None
    host, wanted = settings.health.host, settings.health.port
    port = DEFAULT_PORT if wanted == ANY else wanted
    record = PageRecord() if settings.page.enabled and port else None
    telemetry = Telemetry(settings.metrics, settings.monitor.budget_per_week,
                          settings.monitor.alert.flood_limit, page=record, warm=False)
    telemetry.render()  # what the first scrape would import, while nothing is compiled beside it
    tell = say or (lambda _: None)
    with contextlib.ExitStack() as stack:
        push = None
        if settings.alertmanager.urls:
            push = AlertmanagerPush(settings.alertmanager)
            stack.callback(push.close)
        if port:
            has_users = web is not None and bool(web.users)
            board = None if record is None else Board(
                telemetry, record, status, settings.monitor.language)
            shown = Pages({}, {})
            if board is not None:
                desk = Desk(give if has_users or is_loopback(host) else None)
                shown = pages(board, desk, settings.monitor.language, has_users,
                              settings.page.hosts)
            routes: dict[str, Route] = {
                "/live": lambda: _probe("/live", status),
                "/ready": lambda: _probe("/ready", status),
                "/metrics": lambda: Answer(telemetry.render(), exposition.CONTENT_TYPE),
            }
            try:
                server = WebServer(
                    host, port, routes, web, handlers=shown.handlers, streams=shown.streams)
                stack.callback(server.close)
                scheme = "https" if web is not None and web.tls is not None else "http"
                what = "metrics are" if board is None else "page is"
                tell(f"the {what} at {scheme}://{host}:{server.port}/")
            except UsageError:
                if wanted != ANY:
                    raise
                telemetry.page = None
                tell(f"port {port} is taken: no page and no metrics; health.port names another")
        telemetry.warm_up()
        yield Front(telemetry, push)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _probe(path: str, status: Status) -> Answer:
    code, text = probe(path, status)
    return Answer(text.encode(), "application/json", code)
