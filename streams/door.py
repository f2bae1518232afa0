"""The service's port, opened before anything heavy is imported: a probe is answered at once.

Loading the compiler takes seconds, and a supervisor that asks meanwhile must not be refused. What
else is shown there comes later, through :meth:`WebServer.serve`, on the same socket.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from streams import webconfig
from streams.errors import UsageError
from streams.health import Status, probe
from streams.kafka_settings import HealthSettings
from streams.metrics_settings import MetricsSettings
from streams.webconfig import WebConfig
from streams.webserver import Answer, Route, WebServer

#: What is served where the settings name no port (``health.port`` = -1), if it is free.
DEFAULT_PORT, ANY = 9464, -1


@dataclass(frozen=True, slots=True)
class Door:
    """The open port; ``server`` is None where none is wanted or can be had."""

    server: WebServer | None
    status: Status
    web: WebConfig | None
    port: int


@contextlib.contextmanager
def opened(
    health: HealthSettings, metrics: MetricsSettings, status: Status
) -> Iterator[Door]:
    """Answer probes until left.

    Raises
    ------
    SettingsError
        A password, certificate or web-config file that cannot be used.
    UsageError
        The port that the settings name cannot be had.
    """
    web = webconfig.load(Path(metrics.web_config)) if metrics.web_config else None
    wanted = health.port
    port = DEFAULT_PORT if wanted == ANY else wanted
    server = None
    if port:
        with contextlib.ExitStack() as unless:
            if wanted == ANY:
                unless.enter_context(contextlib.suppress(UsageError))
            server = WebServer(health.host, port, probes(status), web)
    try:
        yield Door(server, status, web, port)
    finally:
        if server is not None:
            server.close()


def probes(status: Status) -> dict[str, Route]:
    """What is answered from the first moment on."""
    return {"/live": lambda: _probe("/live", status), "/ready": lambda: _probe("/ready", status)}


def _probe(path: str, status: Status) -> Answer:
    code, text = probe(path, status)
    return Answer(text.encode(), "application/json", code)
