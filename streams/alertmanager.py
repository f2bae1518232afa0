"""Alerts straight to Alertmanager, for sites that want no rules in between.

Alertmanager holds that a client which falls silent has nothing to say any more: every alert has an
end, and a firing one must be sent again before it comes. So this sends what fires again and again,
each time with an end a little later, and what was resolved for five minutes, in case that the first
time was lost. There is no queue: what is to be sent is the state itself, one entry per alert, so an
Alertmanager that is away costs nothing but the time until it is back. Runs on a thread of its own;
a slow receiver never delays the stream. The address comes from the settings, never from a message.
"""

from __future__ import annotations

import base64
import json
import random
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from anomaly.batches import Alert, Outcome
from anomaly.monitor import Monitor
from streams.alarm_performance import source_of
from streams.codec import Batch
from streams.errors import SettingsError
from streams.metrics_settings import AlertmanagerSettings

#: Resolved alerts are sent this long, as Alertmanager asks of its clients.
RESOLVED_SECONDS = 300.0
#: A firing alert ends after this many resends without news: two may be lost, as in Prometheus.
RESENDS_TO_END = 4
#: Alerts in one request; bounds its size whatever happens on the line.
REQUEST_ALERTS = 500
#: Entries kept; beyond it the newest are left out and counted.
ENTRY_LIMIT = 20_000

_PATH = "/api/v2/alerts"

Key = tuple[str, str, str, str]
"""Asset, kind, sensor, severity: what becomes labels, and so Alertmanager's identity."""


@dataclass(slots=True)
class _Entry:
    alert: Alert
    began: float
    resolved: float | None = None


@dataclass(slots=True)
class _Target:
    """One Alertmanager: when to try again, and how long to wait after the next failure."""

    url: str
    due: float = 0.0
    pause: float = 1.0


class AlertmanagerPush:
    """Keeps Alertmanagers told of what fires; also a :class:`streams.sinks.Sink`.

    Parameters
    ----------
    settings : AlertmanagerSettings
    clock : callable
        Seconds since 1970; what Alertmanager lives by.

    Attributes
    ----------
    sent, failed, left_out : int
        Requests that were taken; that were not; alerts beyond :data:`ENTRY_LIMIT`.

    Raises
    ------
    SettingsError
        A password or certificate that cannot be read.
    """

    def __init__(
        self, settings: AlertmanagerSettings, clock: Callable[[], float] = time.time
    ) -> None:
        self.sent = self.failed = self.left_out = 0
        self._settings = settings
        self._clock = clock
        self._entries: dict[Key, _Entry] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._done = False
        self._headers = {"Content-Type": "application/json"} | _authorization(settings)
        self._open = _opener(settings)
        self._targets = [_Target(url.rstrip("/") + _PATH) for url in settings.urls]
        self._thread = threading.Thread(target=self._run, name="alertmanager", daemon=True)
        self._thread.start()

    def take(self, alerts: Iterable[Alert]) -> None:
        """Transitions that happened; what is new is sent at once."""
        now, news = self._clock(), False
        with self._lock:
            for alert in alerts:
                news |= self._enter(alert, now)
        if news:
            self._wake.set()

    def restore(self, open_alerts: Iterable[Alert]) -> None:
        """What was firing before a restart and still is: to be kept alive."""
        self.take(open_alerts)

    def publish(self, batch: Batch, outcome: Outcome, monitor: Monitor) -> None:
        """Be a sink of the file-side service."""
        self.take(outcome.alerts)

    def flush(self) -> None:
        """What was taken is sent by the thread; the stream does not wait for it."""

    def close(self) -> None:
        """Stop; what fires ends by itself at Alertmanager after its time."""
        self._done = True
        self._wake.set()
        self._thread.join(timeout=2 * self._settings.timeout_seconds)

    def _enter(self, alert: Alert, now: float) -> bool:
        key = key_of(alert)
        entry = self._entries.get(key)
        if alert.state == "firing":
            if entry is None and len(self._entries) >= ENTRY_LIMIT:
                self.left_out += 1
                return False
            if entry is None or entry.alert.id != alert.id or entry.resolved is not None:
                self._entries[key] = _Entry(alert, min(alert.onset_ns / 1e9, now))
                return True
        elif alert.state == "resolved":
            # Severity may have changed meanwhile; the alert is found by its id, whatever its key.
            for other in self._entries.values():
                if other.alert.id == alert.id and other.resolved is None:
                    other.resolved = now
                    return True
        return False

    # -- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._done:
            now = self._clock()
            due = min((target.due for target in self._targets), default=now + 3600.0)
            self._wake.wait(max(0.0, min(due - now, 3600.0)))
            news = self._wake.is_set()
            self._wake.clear()
            for target in self._targets:
                if self._done:
                    return
                if news or self._clock() >= target.due:
                    self._send(target)
            self._forget()

    def _send(self, target: _Target) -> None:
        now = self._clock()
        with self._lock:
            found = [_wire(key, entry, now, self._settings)
                     for key, entry in self._entries.items()]
        try:
            for start in range(0, len(found), REQUEST_ALERTS):
                body = json.dumps(found[start:start + REQUEST_ALERTS]).encode()
                request = urllib.request.Request(target.url, body, self._headers)
                with self._open(request, self._settings.timeout_seconds) as answer:
                    answer.read(1000)
                self.sent += 1
        except (OSError, urllib.error.URLError):
            self.failed += 1
            target.due = self._clock() + target.pause * random.uniform(0.5, 1.0)
            target.pause = min(2 * target.pause, self._settings.resend_seconds)
            return
        target.pause = min(1.0, self._settings.resend_seconds)
        target.due = now + self._settings.resend_seconds

    def _forget(self) -> None:
        edge = self._clock() - RESOLVED_SECONDS
        with self._lock:
            self._entries = {
                key: entry for key, entry in self._entries.items()
                if entry.resolved is None or entry.resolved > edge}


def key_of(alert: Alert) -> Key:
    """What tells this alert from others at Alertmanager."""
    asset, kind, sensor = source_of(alert)
    return asset, kind, sensor, alert.severity


def _wire(key: Key, entry: _Entry, now: float, settings: AlertmanagerSettings) -> dict[str, Any]:
    """One alert as the API takes it."""
    asset, kind, sensor, severity = key
    end = entry.resolved
    if end is None:
        end = now + RESENDS_TO_END * settings.resend_seconds
    labels = {"alertname": "AndonMachine", "asset": asset, "kind": kind, "sensor": sensor,
              "severity": severity}
    link = {"generatorURL": settings.external_url} if settings.external_url else {}
    return {
        "labels": {name: _text(value) for name, value in labels.items() if value},
        "annotations": {"summary": _text(entry.alert.sentence), "id": entry.alert.id},
        "startsAt": _time(entry.began), "endsAt": _time(end), **link,
    }


def _text(value: str) -> str:
    return value.encode("utf-8", "replace").decode()


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _authorization(settings: AlertmanagerSettings) -> dict[str, str]:
    if not settings.username:
        return {}
    try:
        password = Path(settings.password_file).read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"alertmanager.password_file: cannot be read: {error}") from None
    token = base64.b64encode(f"{settings.username}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An answer must not send us, and our password, somewhere else."""

    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        return None


def _opener(settings: AlertmanagerSettings) -> Callable[[urllib.request.Request, float], Any]:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
    except OSError as error:
        raise SettingsError(f"alertmanager.ca_file: cannot be used: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), _NoRedirect(),
        urllib.request.HTTPSHandler(context=context))
    return lambda request, timeout: opener.open(request, timeout=timeout)
