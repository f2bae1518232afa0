"""Alerts that are firing, kept beside a partition's state: who takes over must know of them.

An engine's state knows that a case is open, but not the words that were said; and whoever shows
open alerts, or keeps Alertmanager told of them, has to go on after a restart. The memory is plain
JSON (NaN is null there). Bounded by the engine: one case and one fault per sensor of an asset.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, MutableMapping
from typing import Any

from anomaly.batches import Alert, Contribution

KEY = "open"

_FIELDS = tuple(field.name for field in dataclasses.fields(Alert))


def keep(memory: MutableMapping[str, Any], alerts: Iterable[Alert]) -> None:
    """Book transitions in the memory of their partition."""
    kept = memory.setdefault(KEY, {})
    for alert in alerts:
        if alert.state == "firing":
            kept[alert.id] = _plain(alert)
        elif alert.state == "resolved":
            kept.pop(alert.id, None)


def kept(memory: MutableMapping[str, Any]) -> list[Alert]:
    """The alerts that a memory holds, in the order in which they began to fire."""
    return [_alert(entry) for entry in memory.get(KEY, {}).values()]


def _plain(alert: Alert) -> dict[str, Any]:
    """Without NaN and infinity, which JSON cannot say; they come back as NaN.

    Field by field: ``dataclasses.asdict`` copies each deeply, which took as long as all else that
    an alert costs here.
    """
    entry = {name: getattr(alert, name) for name in _FIELDS}
    left = alert.time_left_seconds
    return entry | {
        "return_period_seconds": _finite(alert.return_period_seconds),
        "contributions": [
            {"sensor": part.sensor, "share": _finite(part.share),
             "expected": _finite(part.expected), "actual": _finite(part.actual)}
            for part in alert.contributions],
        "time_left_seconds": None if left is None else [_finite(value) for value in left],
    }


def _alert(entry: dict[str, Any]) -> Alert:
    left = entry["time_left_seconds"]
    p10, p50, p90 = (_number(value) for value in left or (None, None, None))
    return Alert(**{
        **entry,
        "return_period_seconds": _number(entry["return_period_seconds"]),
        "contributions": tuple(
            Contribution(part["sensor"], _number(part["share"]), _number(part["expected"]),
                         _number(part["actual"]))
            for part in entry["contributions"]),
        "time_left_seconds": None if left is None else (p10, p50, p90),
    })


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value
