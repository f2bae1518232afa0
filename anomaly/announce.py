"""From numbers to what people get: alerts with ids, severity, evidence and sentence; conditions.

Called only at transitions, so ordinary objects are fine here. No decision is made: whether
something is odd, open or over was settled by ``alerts`` and ``quality``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomaly import production, regimes
from anomaly.alerts import TRANSITIONS, Moved
from anomaly.batches import Alert, Bool, Contribution, Float64, Int64, RowBatch
from anomaly.config import WEEK_SECONDS
from anomaly.detectors import State
from anomaly.explain import loss_sentence, sentence
from anomaly.quality import CONDITIONS, Findings
from anomaly.registry import Registry

#: Sensors listed in an alert's evidence; the rest are part of the sum but not named.
CONTRIBUTION_LIMIT = 10
#: Shares are whole multiples of 1/this, rounded down: a power of two, so that adding them up is
#: exact in any order and never exceeds 1 by a last bit.
_SHARE_STEPS = float(1 << 40)


#: Row of a batch -> gain and offset float64[d] of each of its asset's columns.
Units = Callable[[int], tuple[Float64, Float64]]


@dataclass(frozen=True, slots=True)
class Condition:
    """How far one sensor (or, with ``sensor`` empty, the asset) can be trusted right now.

    ``state`` is ``warming``, ``learning``, ``trusted`` or ``blind``; ``detail`` says n/N or why.
    """

    asset: str
    sensor: str
    state: str
    detail: str


@dataclass(frozen=True, slots=True)
class Voice:
    """Who speaks of whom, in which language: what every alert needs beside its numbers."""

    registry: Registry
    kinds: tuple[str, ...]
    language: str
    budget_per_week: float


def machine_alerts(
    voice: Voice, reference_tag: Any, rows: RowBatch, place: Int64, moved: Moved,
    period_s: Float64, units: Units,
) -> list[tuple[int, Alert]]:
    """The alert of every transition of a case, with its row's place in the batch.

    ``units(row)`` leads from what was judged back to what the sensors said.
    """
    made = []
    for i, row in enumerate(moved.row.tolist()):
        a = int(rows.asset[row])
        blamed = _contributions(
            voice.registry, a, reference_tag, moved.evidence[i], moved.actual[i], *units(row)
        )
        kind = voice.kinds[max(int(moved.lead[i]), 0)]
        made.append((int(place[row]), _alert(
            voice, a, kind, TRANSITIONS[moved.to[i]], int(moved.onset_ns[i]),
            int(rows.time_ns[row]), float(period_s[row]), blamed,
        )))
    return made


def sensor_alerts(
    voice: Voice, tag_state: Any, rows: RowBatch, found: Findings, may_fire: Bool
) -> list[tuple[int, Alert]]:
    """Sensor faults and data gaps: kinds of their own, never mistaken for a machine fault.

    ``tag_state["fault_onset_ns"]`` remembers which sensor's fault was told, and is written.
    """
    made: list[tuple[int, Alert]] = []
    told = tag_state["fault_onset_ns"]
    for i in range(len(found)):
        row, a, t = int(found.row[i]), int(found.asset[i]), int(found.tag[i])
        now, since = int(rows.time_ns[row]), int(found.since_ns[i])
        after = CONDITIONS[found.after[i]]
        if t < 0:
            if may_fire[row] and after == "gap":
                made += [
                    (row, _alert(voice, a, "data_gap", state, since, now, math.nan, (),
                                 gap_seconds=(now - since) / 1e9))
                    for state in ("firing", "resolved")
                ]
            continue
        blamed = (Contribution(_sensor_name(voice.registry, a, t), 1.0, math.nan, math.nan),)
        if told[t]:
            made.append((row, _alert(
                voice, a, "sensor_fault", "resolved", int(told[t]), now, math.nan, blamed)))
            told[t] = 0
        if after in ("stuck", "silent") and may_fire[row]:
            told[t] = since or 1  # 0 says that nothing was told
            made.append((row, _alert(
                voice, a, "sensor_fault", "firing", since, now, math.nan, blamed, cause=after)))
    return made


def machine_alert(
    voice: Voice, a: int, kind: str, onset_ns: int, time_ns: int, period_s: float,
    blamed: tuple[Contribution, ...],
) -> Alert:
    """A firing alert of the machine, told once more: same kind and onset, so the same id."""
    return _alert(voice, a, kind, "firing", onset_ns, time_ns, period_s, blamed)


def stop_alerts(voice: Voice, rows: RowBatch, found: Int64) -> list[tuple[int, Alert]]:
    """Interruptions that are expected because they come at equal intervals (``echo``)."""
    made = []
    for row, firing, since, left_ns in found.tolist():
        a, state = int(rows.asset[row]), "firing" if firing else "resolved"
        asset = voice.registry.assets[a]
        left = (left_ns / 1e9,) * 3 if firing else None
        made.append((row, Alert(
            id=_identity(asset, "stop_expected", "", since), asset=asset, kind="stop_expected",
            state=state, severity="low", onset_ns=since, time_ns=int(rows.time_ns[row]),
            return_period_seconds=math.nan, contributions=(), time_left_seconds=left,
            sentence=sentence(
                voice.language, "stop_expected", state, asset, since, math.nan, (), left))))
    return made


def loss_alerts(
    voice: Voice, produced: production.Produced | None, rows: RowBatch,
    settings: production.Config,
) -> list[tuple[int, Alert]]:
    """Inefficiencies: kinds of their own, each with what it was, what it is and what it costs."""
    made: list[tuple[int, Alert]] = []
    if produced is None:
        return made
    places = np.searchsorted(rows.closed_at, produced.findings["row"])
    for i, found in enumerate(produced.findings):
        a, kind = int(found["asset"]), production.LOSS_KINDS[found["kind"]]
        asset, onset = voice.registry.assets[a], int(found["since_ns"])
        state = "firing" if found["firing"] else "resolved"
        expected, actual = float(found["expected"]), float(found["actual"])
        unit = ""
        if kind in ("energy_per_part", "idle_energy"):
            unit = production.power_unit(settings, voice.registry.sensors[a])
        text = loss_sentence(
            voice.language, kind, state, asset, onset, expected, actual,
            float(found["cycle_seconds"]), unit,
            before=voice.registry.assets[found["product"]] if kind == "bottleneck" else "")
        made.append((int(places[i]), Alert(
            id=_identity(asset, kind, "", onset), asset=asset, kind=kind, state=state,
            severity="low", onset_ns=onset, time_ns=int(found["time_ns"]),
            return_period_seconds=float(found["period_seconds"]),
            contributions=() if kind == "bottleneck" else (
                Contribution(kind, 1.0, expected, actual),),
            time_left_seconds=None, sentence=text)))
    return made


def conditions(
    registry: Registry, reference: State, sensor_code: Int64, quiet: Float64, modes: State,
    counts: Bool, sayings: Mapping[int, str], rows_said: Callable[[int], str], named: bool,
) -> list[Condition]:
    """The stated condition of every asset and sensor; ``sensor_code`` indexes CONDITIONS.

    ``quiet float64[tags]``: by how many decades feedback made a sensor's alerts rarer. ``modes``:
    the state of ``regimes``. ``counts bool[tags]``: sensors that only count, ``sayings``: what is
    read from a sensor's signal, by tag; see ``production``. ``rows_said`` tells of an asset what
    rows it is judged by, where there is something to tell. ``named``: the settings name the sensor
    that tells the operating mode.
    """
    found = []
    for a, name in enumerate(registry.assets):
        asset = reference["asset"][a]
        condition = _asset_condition(asset)
        if condition == ("trusted", ""):
            condition = "trusted", "; ".join(filter(None, (regimes.said(modes, a), rows_said(a))))
        found.append(Condition(name, "", *condition))
        for c, sensor in enumerate(registry.sensors[a]):
            t = registry.table[a, c]
            state = _sensor_condition(asset, reference["tag"][t], CONDITIONS[sensor_code[t]])
            if counts[t] and CONDITIONS[sensor_code[t]] not in ("never_seen", "stuck", "silent"):
                state = condition[0], "booked, not judged"
            unjudged = regimes.said_of_tag(modes, a, c, t, named)
            if unjudged and condition[0] != "warming" and (
                CONDITIONS[sensor_code[t]] not in ("never_seen", "stuck", "silent")
            ):
                state = condition[0], unjudged
            if quiet[t] > 0 and state[0] == "trusted":
                state = "trusted", f"alerts that it leads must be {10 ** quiet[t]:g} times rarer"
            if t in sayings:
                state = state[0], "; ".join(filter(None, (state[1], sayings[t])))
            found.append(Condition(name, sensor, *state))
    return found


def _asset_condition(asset: Any) -> tuple[str, str]:
    rows, muted = int(asset["rows"]), int(asset["muted"])
    if not asset["ready"]:
        return "warming", f"{rows}/{int(asset['warm_up'])} rows"
    if rows < muted:
        return "learning", f"{rows}/{muted} rows until alerts may be raised"
    return "trusted", ""


def _sensor_condition(asset: Any, tag: Any, code: str) -> tuple[str, str]:
    if code == "never_seen":
        return "blind", "no value has arrived yet"
    if code in ("stuck", "silent"):
        return "blind", {"stuck": "repeats the same value", "silent": "sends nothing"}[code]
    if not asset["ready"]:
        return "warming", f"{int(asset['rows'])}/{int(asset['warm_up'])} rows"
    if not tag["ready"]:
        return "blind", "arrived after the reference was frozen; re-baseline to include it"
    if tag["constant"]:
        return "blind", "never changed during warm-up"
    if asset["rows"] < asset["muted"]:
        return "learning", "the reference stands, alerts are still muted"
    return "trusted", ""


def _contributions(
    registry: Registry, a: int, reference_tag: Any, evidence: Float64, actual: Float64,
    gain: Float64, offset: Float64,
) -> tuple[Contribution, ...]:
    names = registry.sensors[a]
    weight = np.nan_to_num(evidence[: len(names)])
    whole = float(weight.sum())
    if not whole > 0:
        return ()
    tag = reference_tag[registry.tags(a)]
    centre = gain * np.where(tag["ready"] == 1, tag["centre"], math.nan) + offset
    actual = gain * actual[: len(names)] + offset
    share = np.floor(weight / whole * _SHARE_STEPS) / _SHARE_STEPS
    order = np.argsort(-weight, kind="stable")[:CONTRIBUTION_LIMIT]
    return tuple(
        Contribution(names[c], float(share[c]), float(centre[c]), float(actual[c]))
        for c in order.tolist() if share[c] > 0
    )


def _alert(
    voice: Voice, a: int, kind: str, state: str, onset_ns: int, time_ns: int, period_s: float,
    blamed: tuple[Contribution, ...], cause: str = "", gap_seconds: float = math.nan,
) -> Alert:
    asset = voice.registry.assets[a]
    sensor = blamed[0].sensor if kind == "sensor_fault" else ""  # cases of one asset stay one id
    return Alert(
        id=_identity(asset, kind, sensor, onset_ns), asset=asset, kind=kind, state=state,
        severity=_severity(kind, period_s * voice.budget_per_week / WEEK_SECONDS),
        onset_ns=onset_ns, time_ns=time_ns, return_period_seconds=period_s,
        contributions=blamed, time_left_seconds=None,
        sentence=sentence(voice.language, kind, state, asset, onset_ns, period_s, blamed, None,
                          cause, gap_seconds),
    )


def _identity(asset: str, kind: str, sensor: str, onset_ns: int) -> str:
    return hashlib.sha256(f"{asset}\0{kind}\0{sensor}\0{onset_ns}".encode()).hexdigest()[:16]


def _severity(kind: str, beyond: float) -> str:
    """One step for each two decades of rarity beyond the budget; sensors are never urgent."""
    if kind in ("sensor_fault", "data_gap"):
        return "low"
    return "high" if beyond >= 1e4 else "medium" if beyond >= 1e2 else "low"


def _sensor_name(registry: Registry, a: int, tag: int) -> str:
    column = int(np.flatnonzero(registry.table[a] == tag)[0])
    return registry.sensors[a][column]
