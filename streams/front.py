"""What the live service shows to the outside: its port with probes and metrics, and the push.

Composed apart from the loop, which is only told where to leave its numbers. Everything here runs
on threads of its own; the loop never waits for a scraper, a person or an Alertmanager.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from streams import exposition, webconfig
from streams.alertmanager import AlertmanagerPush
from streams.health import Status, probe
from streams.settings import Settings
from streams.telemetry import Telemetry
from streams.webserver import Answer, WebServer


@dataclass(frozen=True, slots=True)
class Front:
    """Where the loop leaves what is shown; ``push`` is None where no Alertmanager is set."""

    telemetry: Telemetry
    push: AlertmanagerPush | None


@contextlib.contextmanager
def opened(settings: Settings, status: Status) -> Iterator[Front]:
    """Serve until left.

    Raises
    ------
    SettingsError
        A password, certificate or web-config file that cannot be used.
    UsageError
        The port cannot be had.
    """
    web = webconfig.load(Path(settings.metrics.web_config)) if settings.metrics.web_config else None
    telemetry = Telemetry(
        settings.metrics, settings.monitor.budget_per_week, settings.monitor.alert.flood_limit)
    with contextlib.ExitStack() as stack:
        push = None
        if settings.alertmanager.urls:
            push = AlertmanagerPush(settings.alertmanager)
            stack.callback(push.close)
        if settings.health.port:
            server = WebServer(settings.health.host, settings.health.port, {
                "/live": lambda: _probe("/live", status),
                "/ready": lambda: _probe("/ready", status),
                "/metrics": lambda: Answer(telemetry.render(), exposition.CONTENT_TYPE),
            }, web)
            stack.callback(server.close)
        yield Front(telemetry, push)


def _probe(path: str, status: Status) -> Answer:
    code, text = probe(path, status)
    return Answer(text.encode(), "application/json", code)
