"""What the live service shows to the outside: its port with probes, metrics and page, and the push.

Composed apart from the loop, which is only told where to leave its numbers. Everything here runs
on threads of its own; the loop never waits for a scraper, a person or an Alertmanager.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from streams import exposition
from streams.alertmanager import AlertmanagerPush
from streams.commands import Command
from streams.door import Door, probes
from streams.page.board import Board
from streams.page.desk import Desk
from streams.page.record import PageRecord
from streams.page.routes import Pages, pages
from streams.settings import Settings
from streams.telemetry import Telemetry
from streams.webserver import Answer, Route


@dataclass(frozen=True, slots=True)
class Front:
    """Where the loop leaves what is shown; ``push`` is None where no Alertmanager is set."""

    telemetry: Telemetry
    push: AlertmanagerPush | None


@contextlib.contextmanager
def opened(
    settings: Settings, at: Door, give: Callable[[Command], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Iterator[Front]:
    """Show metrics and page beside the probes until left.

    Parameters
    ----------
    settings : Settings
    at : Door
        The port, which is open.
    give : callable, optional
        Keeps what people say on the page; None = nothing can be said there.
    say : callable, optional
        Is told where the page is.
    """
    web, host, server = at.web, settings.health.host, at.server
    record = PageRecord() if settings.page.enabled and server is not None else None
    telemetry = Telemetry(settings.metrics, settings.monitor.budget_per_week,
                          settings.monitor.alert.flood_limit, page=record, warm=False)
    telemetry.render()  # what the first scrape would import, while nothing is compiled beside it
    tell = say or (lambda _: None)
    with contextlib.ExitStack() as stack:
        push = None
        if settings.alertmanager.urls:
            push = AlertmanagerPush(settings.alertmanager)
            stack.callback(push.close)
        if server is not None:
            has_users = web is not None and bool(web.users)
            board = None if record is None else Board(
                telemetry, record, at.status, settings.monitor.language)
            shown = Pages({}, {})
            if board is not None:
                desk = Desk(give if has_users or is_loopback(host) else None)
                shown = pages(board, desk, settings.monitor.language, has_users,
                              settings.page.hosts)
            routes: dict[str, Route] = {
                "/metrics": lambda: Answer(telemetry.render(), exposition.CONTENT_TYPE)}
            server.serve(routes | probes(at.status), shown.handlers, shown.streams)
            scheme = "https" if web is not None and web.tls is not None else "http"
            what = "metrics are" if board is None else "page is"
            tell(f"the {what} at {scheme}://{host}:{server.port}/")
        elif at.port:
            tell(f"port {at.port} is taken: no page and no metrics; health.port names another")
        telemetry.warm_up()
        yield Front(telemetry, push)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

