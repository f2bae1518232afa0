"""Outlook: what a slow trend leads to, added to the alert that speaks of it.

Every sensor's course is kept (``timeleft``). When an alert of the machine fires, and again after
8, 16, 32 … rows while it stands, the sensor that leads it is forecast to its limit, and those
others whose course has left its expected band by then: what led an alert may have jumped, or come
back, while another one goes on. The first to arrive is told, and its range is held against the
next planned stop. What is new is told as the same alert once more: the first forecast, and one
that differs from it twofold. The limit is the one that the settings give, else :data:`FAR` of the
sensor's usual deviations from its usual level. Nothing is forecast to a limit that is no longer
ahead, and nothing where there is no trend.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomaly import timeleft
from anomaly.announce import Voice, machine_alert
from anomaly.batches import Alert, Contribution, Float64, Int64, RowBatch
from anomaly.config import MonitorConfig
from anomaly.detectors import State
from anomaly.explain import outlook_sentence
from anomaly.kernel import kernel
from anomaly.production import Stage

VERSION = 1

#: Deviations from the usual level that stand for a limit where none is known: no healthy course
#: goes there, and a sensor that has arrived there is no longer a matter of forecasts.
FAR = 20.0


#: Sensors beside the leading one that are forecast, those farthest from their reference: the
#: alert waits for it.
OTHERS = 3

_FIRST_ROWS = 8  # after the alert fired; then twice as many
_NEWS = 2.0  # a forecast that differs by this factor from what was told is news

_ASSET = np.dtype([
    ("open", np.int64),  # 1 = an alert of the machine stands
    ("onset_ns", np.int64),
    ("kind", np.int64),  # of it, index into ``Voice.kinds``
    ("column", np.int64),  # of the sensor that leads it
    ("rows", np.int64),  # since it fired
    ("next", np.int64),  # rows at which it is forecast again
    ("ends_ns", np.int64),  # when the limit is reached as told last; 0 = nothing was told
    ("period_s", np.float64),
    ("share", np.float64),
])


def allocate(assets: int, tags: int) -> State:
    """Fresh state: no course known, no alert standing."""
    return {"asset_case": np.zeros(assets, _ASSET), **timeleft.allocate(tags)}


@dataclass(frozen=True, slots=True)
class _Room:
    """What every forecast looks into."""

    config: MonitorConfig
    voice: Voice
    shop: Stage
    state: Mapping[str, State]
    table: Int64
    rows: RowBatch


def attach(
    config: MonitorConfig, voice: Voice, shop: Stage, state: Mapping[str, State], table: Int64,
    rows: RowBatch, made: list[tuple[int, Alert]],
) -> list[tuple[int, Alert]]:
    """Follow the rows, and add to every alert that fires or stands what was known by that row.

    ``made`` are the alerts of the batch with the place of their row.
    """
    room = _Room(config, voice, shop, state, table, rows)
    own, told = state["outlook"], list(made)
    case = own["asset_case"]
    if not made and not (case["open"] == 1).any():  # as good as always
        _follow(own, table, rows, 0, len(rows))
        return told
    here = np.unique(rows.asset)
    standing = here[case["open"][here] == 1].tolist()
    events = [(place, 0, i) for i, (place, alert) in enumerate(made)
              if alert.state == "resolved" or (alert.state == "firing" and alert.contributions)]
    events += [(place, 1, a) for a in standing if (place := _due(case[a], rows, a, -1)) >= 0]
    heapq.heapify(events)
    done = 0
    begun = dict.fromkeys(here.tolist(), -1)  # row from which an asset's alert is counted
    while events:
        place, scheduled, index = heapq.heappop(events)
        a = int(rows.asset[place])
        _follow(own, table, rows, done, place + 1)
        done = max(done, place + 1)
        if scheduled and place != _due(case[a], rows, a, begun[a]):
            continue  # was meant for an alert that is over by now
        if scheduled:
            case[a]["next"] *= 2
            again = _again(room, case[a], a, int(rows.time_ns[place]))
            if again is not None:
                told.append((place, again))
        else:
            alert = made[index][1]
            if alert.state == "resolved":
                case[a]["open"], case[a]["rows"] = 0, 0  # of one that is over no row is counted
                continue
            told[index] = place, _opened(room, case[a], a, alert)
            begun[a] = place
        due = _due(case[a], rows, a, begun[a])
        if due > place:
            heapq.heappush(events, (due, 1, a))
    _follow(own, table, rows, done, len(rows))
    for a in here[case["open"][here] == 1].tolist():
        case[a]["rows"] += int(np.count_nonzero(rows.asset[begun[a] + 1 :] == a))
    return told


def _due(case: Any, rows: RowBatch, a: int, begun: int) -> int:
    """Place of the row at which a standing alert is forecast again; −1 = not in this batch."""
    if case["open"] != 1:
        return -1
    after = begun + 1 + np.flatnonzero(rows.asset[begun + 1 :] == a)
    k = int(case["next"] - case["rows"]) - 1
    return int(after[k]) if 0 <= k < after.size else -1


def _opened(room: _Room, case: Any, a: int, alert: Alert) -> Alert:
    """Remember an alert that fires, with its forecast if there is one already."""
    lead = alert.contributions[0]
    case["open"], case["onset_ns"], case["rows"] = 1, alert.onset_ns, 0
    case["kind"] = room.voice.kinds.index(alert.kind)
    case["column"] = room.voice.registry.sensors[a].index(lead.sensor)
    case["next"], case["ends_ns"] = _FIRST_ROWS, 0
    case["period_s"], case["share"] = alert.return_period_seconds, lead.share
    found = _first_to_arrive(room, a, int(case["column"]))
    return alert if found is None else _told(room, case, a, alert, *found)


def _again(room: _Room, case: Any, a: int, now_ns: int) -> Alert | None:
    """The standing alert once more, if there is news of its forecast."""
    sensor = room.voice.registry.sensors[a][int(case["column"])]
    found = _first_to_arrive(room, a, int(case["column"]))
    if found is None:
        return None
    before = (int(case["ends_ns"]) - now_ns) / 1e9
    if case["ends_ns"] != 0 and before > 0.0 and 1.0 / _NEWS < found[1].p50 / before < _NEWS:
        return None
    tag = int(room.table[a, int(case["column"])])
    moded = room.state["regimes"]["asset"]["modes"][a] > 1
    usual = math.nan if moded else float(room.state["reference"]["tag"]["centre"][tag])
    lead = Contribution(
        sensor, float(case["share"]), usual,
        float(room.state["outlook"]["tag_history"]["latest"][tag]))
    alert = machine_alert(
        room.voice, a, room.voice.kinds[int(case["kind"])], int(case["onset_ns"]), now_ns,
        float(case["period_s"]), (lead,))
    return _told(room, case, a, alert, *found)


def _first_to_arrive(
    room: _Room, a: int, lead: int
) -> tuple[str, timeleft.TimeLeft, float] | None:
    """Of the column that leads and those that are out of their band: sensor, time left, limit."""
    sensors = room.voice.registry.sensors[a]
    best: tuple[str, timeleft.TimeLeft, float] | None = None
    for column in (lead, *_outside(room, a, lead)):
        found = _forecast(room, a, sensors[column])
        if found is not None and (best is None or found[0].p50 < best[1].p50):
            best = sensors[column], *found
    return best


def _outside(room: _Room, a: int, lead: int) -> list[int]:
    """Other columns whose course is out of its expected band now, the farthest first."""
    if room.state["regimes"]["asset"]["modes"][a] > 1:
        return []  # several operating modes have no band in common
    history, points = room.state["outlook"]["tag_history"], room.state["outlook"]["tag_points"]
    tags = room.voice.registry.tags(a)
    columns = np.flatnonzero(tags < len(history))
    columns = columns[columns != lead]
    columns = columns[history["blocks"][tags[columns]] >= timeleft.FEWEST_POINTS]
    known = room.state["reference"]["tag"][tags[columns]]
    if not columns.size:
        return []
    ends = history["blocks"][tags[columns, None]] - np.arange(1, 4)
    now = np.sort(points[tags[columns, None], ends], axis=1)[:, 1]  # their median
    out = (known["ready"] == 1) & ((now < known["low"]) | (now > known["high"]))
    columns, now, known = columns[out], now[out], known[out]
    away = np.abs(now - known["centre"]) / known["spread"]
    return [int(c) for c in columns[np.argsort(-away, kind="stable")][:OTHERS]]


def _forecast(room: _Room, a: int, sensor: str) -> tuple[timeleft.TimeLeft, float] | None:
    """Time left of a sensor and the limit it is counted to; None = nothing can be said."""
    reference = room.state["reference"]
    tag = int(room.table[a, room.voice.registry.sensors[a].index(sensor)])
    if tag >= len(room.state["outlook"]["tag_history"]):
        return None  # watched lightly (``memory_plan``)
    known, interval_s = reference["tag"][tag], float(reference["asset"]["interval_s"][a])
    points, length = timeleft.history(room.state["outlook"], tag)
    if known["ready"] != 1 or points.size < timeleft.FEWEST_POINTS or not interval_s > 0.0:
        return None
    moded = room.state["regimes"]["asset"]["modes"][a] > 1
    options = room.config.sensor_config(room.voice.registry.assets[a], sensor)
    found: tuple[timeleft.TimeLeft, float] | None = None
    for given, sign in ((options.limit_high, 1.0), (options.limit_low, -1.0)):
        if options.direction == ("down" if sign > 0 else "up"):
            continue
        if moded and not math.isfinite(given):
            continue  # a course through several operating modes has no usual level of its own
        level = given if math.isfinite(given) else known["centre"] + sign * FAR * known["spread"]
        left = timeleft.forecast(points, length * interval_s, level, upward=sign > 0)
        if left is not None and left.p50 > 0.0 and (found is None or left.p50 < found[0].p50):
            found = left, float(level)
    return found


def _told(
    room: _Room, case: Any, a: int, alert: Alert, sensor: str, left: timeleft.TimeLeft,
    limit: float,
) -> Alert:
    """The alert with the time that ``sensor`` leaves."""
    case["ends_ns"] = alert.time_ns + int(min(left.p50, 1e9) * 1e9)
    stop = room.shop.plan.seconds_to_stop(a, alert.time_ns)
    lasts = left.lasts(stop) if stop == stop else ""
    range_s = left.p10, left.p50, left.p90
    text = outlook_sentence(room.voice.language, sensor, limit, range_s, stop, lasts)
    return dataclasses.replace(
        alert, time_left_seconds=range_s, sentence=f"{alert.sentence} {text}".strip())


def _follow(own: State, table: Int64, rows: RowBatch, start: int, end: int) -> None:
    follow(own["tag_history"], own["tag_points"], table, rows.asset, rows.x, start, end)


@kernel
def follow(
    tag_history: Any, tag_points: Float64, table: Int64, asset: Int64, x: Float64, start: int,
    end: int,
) -> None:
    """Let the courses of all sensors follow the rows ``start:end``."""
    for i in range(start, end):
        for c in range(x.shape[1]):
            tag = table[asset[i], c] if c < table.shape[1] else -1
            if tag < 0:
                break
            if tag >= tag_history.size:
                continue  # watched lightly (``memory_plan``)
            timeleft.add(tag_history[tag], tag_points[tag], x[i, c])
