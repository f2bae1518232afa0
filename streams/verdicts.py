"""What people said of alerts, as far as it changes what is told of later ones.

Shelved assets, alerts that are acknowledged, and which sensor led which alert, all in a partition's
memory beside its state. It moves with the stream alone (event time, transitions), so that a restart
and a repeated stretch come to the same; ``commands.py`` writes into it between two batches.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from anomaly import alerts
from anomaly.batches import Alert
from anomaly.monitor import Monitor
from anomaly.production import LOSS_KINDS

#: Alerts of a partition whose leading sensor is remembered for feedback: weeks of them, at budget.
TOLD_LIMIT = 500
#: Kinds that the sensors' own watch raises; their rarity is not judged, so it cannot be raised.
_OWN_KINDS = ("sensor_fault", "data_gap", *LOSS_KINDS)

Memory = MutableMapping[str, Any]


def take(memory: Memory, alert: Alert) -> tuple[bool, bool]:
    """Book one transition; whether it is shelved, and whether it was acknowledged."""
    if alert.state == "firing" and alert.contributions and alert.kind not in _OWN_KINDS:
        told = memory.setdefault("told", {})
        told[alert.id] = [alert.asset, alert.contributions[0].sensor]
        while len(told) > TOLD_LIMIT:
            del told[next(iter(told))]
    return _is_shelved(memory, alert), alert.id in memory.get("acknowledged", ())


def shelve_until(memory: Memory, asset: str, until_ns: int) -> list[Any]:
    """Shelve an asset up to an event time; returns what takes it back."""
    undo = shelf(memory, asset)
    memory.setdefault("shelved", {})[asset] = until_ns
    return undo


def shelve_once(memory: Memory, asset: str) -> tuple[str, list[Any]]:
    """Shelve the alert that is open, else the next, until it resolves; its id ("" = the next)."""
    undo = shelf(memory, asset)
    opened = [e["id"] for e in memory.get("open", {}).values() if e["asset"] == asset]
    memory.setdefault("shelved_once", {})[asset] = opened[-1] if opened else ""
    return memory["shelved_once"][asset], undo


def unshelve(memory: Memory, asset: str) -> list[Any]:
    """Take an asset off the shelf; returns what puts it back."""
    undo = shelf(memory, asset)
    put_back(memory, asset, [0, None])
    return undo


def put_back(memory: Memory, asset: str, undo: list[Any]) -> None:
    """The shelf as it was."""
    for name, before, nothing in zip(("shelved", "shelved_once"), undo, (0, None), strict=True):
        if before == nothing:
            memory.get(name, {}).pop(asset, None)
        else:
            memory.setdefault(name, {})[asset] = before


def judge(
    memory: Memory, monitor: Monitor, asset: int, alert: str, label: str
) -> tuple[str, list[Any] | None]:
    """What feedback on an alert changes: the effect in words, and what takes it back.

    ``false``: what the alert's leading sensor leads must be a decade rarer than before to be told
    (three at most); ``real``: that is undone; ``planned``: nothing, the machine was meant to.
    """
    said = f"alert {alert or '(the asset)'} is {label}"
    labels = memory.setdefault("labels", {})  # to be shown
    labels[alert] = label
    while len(labels) > TOLD_LIMIT:
        del labels[next(iter(labels))]
    if label == "planned":
        return said, None
    name, sensor = memory.get("told", {}).get(alert, ("", ""))
    if name != monitor.registry.assets[asset]:
        return f"{said}; what led it is not known (any more), so it changes nothing else", None
    column = monitor.registry.column(asset, sensor)
    before = monitor.quiet(asset, column)
    monitor.quieten(asset, column, before + alerts.QUIET_STEP if label == "false" else 0.0)
    after = monitor.quiet(asset, column)
    if after == before:
        why = "that is the limit" if after else "as the budget asks"
        return f"{said}; alerts led by {sensor!r} stay as they are ({why})", None
    rarer = f"must be {10 ** after:g} times rarer" if after else "are as rare as the budget asks"
    return f"{said}; from here on alerts led by {sensor!r} {rarer}", [sensor, after - before]


def unjudge(monitor: Monitor, asset: int, undo: list[Any] | None) -> None:
    """Take feedback back; what was said later of the same sensor stays."""
    if undo is not None:
        column = monitor.registry.column(asset, undo[0])
        monitor.quieten(asset, column, monitor.quiet(asset, column) - float(undo[1]))


def shelf(memory: Memory, asset: str) -> list[Any]:
    """How an asset is shelved, for :func:`put_back`."""
    return [memory.get("shelved", {}).get(asset, 0), memory.get("shelved_once", {}).get(asset)]


def _is_shelved(memory: Memory, alert: Alert) -> bool:
    once = memory.get("shelved_once", {})
    if alert.asset in once:
        if alert.state == "firing" and not once[alert.asset]:
            once[alert.asset] = alert.id
        if once[alert.asset] == alert.id:
            if alert.state == "resolved":
                del once[alert.asset]
            return True
    until: int = memory.get("shelved", {}).get(alert.asset, 0)
    if until and alert.time_ns >= until:
        del memory["shelved"][alert.asset]
    return alert.time_ns < until
