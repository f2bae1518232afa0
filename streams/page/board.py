"""The picture that the page shows, made from what the loop left: lamps, cases, losses, numbers.

Made at most twice a second however many people look, and never while the engine is waited for.
Sentences are told in every language the program has, so that each viewer reads their own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from anomaly import explain
from anomaly.batches import Alert
from anomaly.production import LOSS_KINDS
from streams.asset_board import CONDITIONS
from streams.health import Status
from streams.losses_feed import ShiftLosses
from streams.page.record import PageRecord, Standing
from streams.telemetry import Picture, Telemetry

#: What is told as a level of late, from this share off its reference on; as in the report.
LEVELS = ("slow_cycle", "energy_per_part", "idle_energy")
TREND_SHARE = 0.01
#: Lamps shown, those in alert first; the rest are counted.
LAMP_LIMIT = 1000
#: Orders shown per machine, the present one among them.
ORDER_LIMIT = 3
#: Open cases shown, the most severe first; the rest are counted.
CASE_LIMIT = 100
#: Sensors of a case whose signal is shown.
SIGNAL_LIMIT = 3
#: Looks within this time get the same picture.
SAME_SECONDS = 0.5

_RANK = {"high": 0, "medium": 1, "low": 2}
_CAUSES = ("", "stuck", "silent")


class Board:
    """Makes the picture.

    Parameters
    ----------
    telemetry, record
        What the loop tells.
    status : Status
        Whether the service is there, and in which phase.
    language : str
        In which the engine made its sentences.
    """

    def __init__(
        self, telemetry: Telemetry, record: PageRecord, status: Status, language: str
    ) -> None:
        self._telemetry, self._record, self._status = telemetry, record, status
        self._language = language
        self._lock = threading.Lock()
        self._made: tuple[float, bytes] = (-1.0, b"")
        self._sentences: dict[tuple[str, str], dict[str, str]] = {}

    def text(self) -> bytes:
        """The newest picture as one line of JSON."""
        with self._lock:
            at, made = self._made
            if time.monotonic() - at >= SAME_SECONDS:
                made = msgspec.json.encode(self._picture())
                self._made = (time.monotonic(), made)
            return made

    def signals(self, asset: str, sensors: list[str]) -> bytes:
        """Samples of a machine's sensors as JSON: seconds, value, low, high; null = none."""
        kept = self._record.signals(asset)
        found = []
        for sensor in sensors[:SIGNAL_LIMIT]:
            series = None if kept is None else kept.of(sensor)
            if series is not None:
                time_ns, *columns = series
                found.append({
                    "sensor": sensor, "time": (time_ns // 10**6 / 1e3).tolist(),
                    **dict(zip(("value", "low", "high"), map(_plain, columns), strict=True))})
        return msgspec.json.encode(found)

    def _picture(self) -> dict[str, Any]:
        seen, standing = self._telemetry.picture(), self._record.standing()
        present = np.flatnonzero(seen.slots["present"] == 1).tolist()
        by_asset: dict[str, list[Alert]] = {}
        for alert in seen.alerts:
            by_asset.setdefault(alert.asset, []).append(alert)
        lamps = [self._lamp(seen, slot, by_asset, standing) for slot in present]
        lamps.sort(key=lambda lamp: (lamp["rank"], lamp["asset"]))
        shown = sorted(lamps[:LAMP_LIMIT], key=lambda lamp: _natural(lamp["asset"]))
        states: dict[str, int] = {}
        for lamp in lamps:
            states[lamp["state"]] = states.get(lamp["state"], 0) + 1
        numbers = seen.numbers
        return {
            "phase": self._status.phase, "ready": self._status.ready,
            "time": seen.newest_ns // 10**6 / 1e3,
            "lamps": shown, "lamps_left_out": len(lamps) - len(shown), "states": states,
            "cases": [self._case(a, standing, seen.newest_ns) for a in seen.alerts[:CASE_LIMIT]],
            "cases_left_out": max(0, len(seen.alerts) - CASE_LIMIT),
            "over": [self._case(a, standing, seen.newest_ns) for a in self._record.over()],
            "losses": _losses(seen.losses),
            "alarms": {"day": numbers.last_day, "recent": numbers.last_ten_minutes,
                       "flood": numbers.flood, "budget": self._telemetry.budget_per_week},
        }

    def _lamp(
        self, seen: Picture, slot: int, by_asset: Mapping[str, list[Alert]], standing: Standing
    ) -> dict[str, Any]:
        name, record = seen.names[slot], seen.slots[slot]
        own = by_asset.get(name, [])
        machine = [a for a in own if a.kind not in ("sensor_fault", "data_gap")]
        condition = CONDITIONS[int(record["condition"])]
        state = condition
        if own:
            worst = min(machine or own, key=lambda a: _RANK.get(a.severity, 9))
            state = worst.severity if machine else "sensor"
        return {
            "asset": name, "state": state,
            "rank": _RANK.get(state, 3 if own else 4),
            "acknowledged": bool(own) and all(a.id in standing.acknowledged for a in own),
            "shelved": _shelf(standing, name, int(record["last_ns"])),
            "condition": condition, "blind": int(record["blind"]), "cases": len(own),
        }

    def _case(self, alert: Alert, standing: Standing, now_ns: int) -> dict[str, Any]:
        left = alert.time_left_seconds
        return {
            "id": alert.id, "asset": alert.asset, "kind": alert.kind, "severity": alert.severity,
            "state": alert.state, "onset": alert.onset_ns / 1e9, "time": alert.time_ns / 1e9,
            "sensors": [{"sensor": c.sensor, "share": _finite(c.share)}
                        for c in alert.contributions[:SIGNAL_LIMIT]],
            "left": None if left is None else [_finite(value) for value in left],
            "sentences": self._told(alert),
            "acknowledged": alert.id in standing.acknowledged,
            "label": standing.labels.get(alert.id, ""),
            "shelved": _shelf(standing, alert.asset, now_ns),
        }

    def _told(self, alert: Alert) -> dict[str, str]:
        key = (alert.id, alert.sentence)
        if key not in self._sentences:
            if len(self._sentences) > 10 * CASE_LIMIT:
                self._sentences.clear()
            self._sentences[key] = sentences(alert, self._language)
        return self._sentences[key]


def sentences(alert: Alert, language: str) -> dict[str, str]:
    """An alert's sentence in every language.

    The alert knows all that its sentence was made from but a sensor fault's cause; that is the one
    that gives the very sentence again. One that no template gives stays as it is, everywhere.
    """
    if alert.kind in LOSS_KINDS:
        return {other: explain.retold_loss(
            alert.sentence, alert.kind, alert.state, alert.asset, alert.onset_ns, language, other,
        ) or alert.sentence for other in explain.LANGUAGES}
    for cause in _CAUSES:
        told = {other: _sentence(alert, cause, other) for other in (language, *explain.LANGUAGES)}
        base = told[language]
        if base is None or not alert.sentence.startswith(base):
            continue
        outlook = alert.sentence.removeprefix(base).strip()
        if not outlook:
            return {other: text or alert.sentence for other, text in told.items()}
        if alert.time_left_seconds is not None:
            found = {other: explain.retold_outlook(
                outlook, alert.time_left_seconds, language, other) for other in told}
            if None not in found.values():
                return {other: f"{text} {found[other]}" for other, text in told.items()}
    return dict.fromkeys(explain.LANGUAGES, alert.sentence)


def _sentence(alert: Alert, cause: str, language: str) -> str | None:
    """What the template gives; None for a kind that has none."""
    try:
        return explain.sentence(
            language, alert.kind, alert.state, alert.asset, alert.onset_ns,
            alert.return_period_seconds, alert.contributions,
            alert.time_left_seconds if alert.kind == "stop_expected" else None, cause,
            (alert.time_ns - alert.onset_ns) / 1e9)
    except KeyError:
        return None


def _shelf(standing: Standing, asset: str, now_ns: int) -> float | None:
    """Until when a machine is shelved, seconds of its own time; 0 = for one alert; None = not."""
    if asset in standing.shelved_once:
        return 0.0
    until = standing.shelved_until_ns.get(asset, 0)
    return until / 1e9 if until > now_ns else None


def _losses(shifts: Mapping[str, ShiftLosses]) -> list[dict[str, Any]]:
    """Losses of each machine's present shift, the greatest first; empty = no sensor tells them."""
    ranked = sorted(shifts.items(), key=lambda item: (-sum(item[1].seconds.values()), item[0]))
    return [{
        "asset": asset, "start": shift.start_ns / 1e9, "end": shift.end_ns / 1e9,
        "oee": _finite(shift.oee), "factors": {k: round(v, 4) for k, v in shift.factors.items()},
        "earlier_oee": _finite(shift.earlier_oee),
        "money": round(sum(shift.money.values()), 2) if shift.money else None,
        "trend": [[kind, round(recent / usual - 1.0, 4)] for kind, usual, recent in shift.trend
                  if kind in LEVELS and usual > 0.0 and abs(recent / usual - 1.0) >= TREND_SHARE],
        "read_from": list(shift.read_from),
        "orders": [{"name": order.name, "oee": _finite(order.oee),
                    "seconds": round(order.seconds, 1)} for order in shift.orders[-ORDER_LIMIT:]],
        "seconds": {heading: round(value, 1) for heading, value in shift.seconds.items()},
    } for asset, shift in ranked[:LAMP_LIMIT]]


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sorts "press 10" behind "press 9"."""
    parts: list[tuple[int, int | str]] = []
    digits = ""
    for mark in f"{name}\0":
        if mark.isascii() and mark.isdigit():
            digits += mark
            continue
        if digits:
            parts.append((0, int(digits)))
            digits = ""
        parts.append((1, mark.lower()))
    return tuple(parts)


def _plain(column: Any) -> list[float | None]:
    """Five significant digits are more than a screen shows."""
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in column.tolist()]


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
