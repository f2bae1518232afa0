"""The alert life cycle: one open case per asset, from rows that are too rare to transitions.

inactive → pending → firing → resolved, with the rules that the trials found to matter (each has
its constant and reason below): an alert closes when the rarity has stayed a decade below the
budget, when the *level* drops well below the alert's own mean (most false rows come after the
fault has gone), or when the level has simply stood so long that it is the new normal (accepted);
after the last two it is raised again only by a level clearly above the one it knew.

State per asset, one kernel over rows; no names, no text, no clock: ``monitor.py`` turns the rare
transitions into :class:`~anomaly.batches.Alert`.

Source of the words: OPC UA Part 9, ISA-18.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomaly.batches import Float64, Int8, Int64, RowBatch
from anomaly.kernel import kernel

VERSION = 1

#: Codes of the life cycle, index = code.
STATES = ("inactive", "pending", "firing")
#: Codes of a transition as ``step`` reports it.
TRANSITIONS = ("pending", "firing", "resolved")

INACTIVE, PENDING, FIRING = 0, 1, 2
TO_PENDING, TO_FIRING, TO_RESOLVED = 0, 1, 2

#: An alert stays open while the rarity is within this factor of its threshold (hysteresis): a
#: decade, because rarities of neighbouring rows scatter by about half of one.
HYSTERESIS = 0.1
#: A level below this share of the alert's own mean level means the cause has gone.
DROP_SHARE = 0.8
#: Rows before a drop can be told from scatter.
DROP_ROWS = 5
#: After a drop, only a level this much above the closed alert's mean is news.
REFIRE_AFTER_DROP = 1.3
#: An alert that stood max(ACCEPT_ROWS, ACCEPT_SHARE * warm-up rows) rows is accepted as known …
ACCEPT_ROWS = 20.0
ACCEPT_SHARE = 0.15
#: … and raised again only when the level grows to this multiple: a fault that worsens speaks again.
RERAISE_AFTER_ACCEPT = 1.5
#: Rarest return period claimed, in rows per row of history: a weekly promise on rows of a second
#: is 604,800 rows, more than minutes of history can support. Costs at most ln(T/100w)/100 further
#: false alarms in an asset's whole life, instead of blindness for weeks.
CLAIM_PER_ROW = 100.0
#: Share of the old evidence that a row leaves in the per-sensor evidence an alert names.
EVIDENCE_KEEP = 0.8
#: Weight of a row in the recent mean: about the last twenty rows, as an operator's eye does.
RECENT_WEIGHT = 0.1

ASSET = np.dtype([
    ("state", np.int64),
    ("onset_ns", np.int64),     # time of the first odd row of this episode
    ("rows", np.int64),         # rows since the alert went pending
    ("quiet", np.int64),        # consecutive rows below the hysteresis
    ("level_sum", np.float64),  # over the rows of this alert
    ("known", np.float64),      # level already told to the operator; 0 = none
    ("lead", np.int64),         # detector that led when the alert went pending
])
TAG = np.dtype([
    ("evidence", np.float64),       # recent evidence against this sensor
    ("recent", np.float64),         # exponentially weighted mean of its values
    ("seen", np.int8),
    ("fault_onset_ns", np.int64),   # onset of its open sensor-fault alert; 0 = none
])


@dataclass(frozen=True, slots=True)
class Moved:
    """k transitions of m rows, in row order; ``alert int8[m]`` beside them.

    ``row``, ``to`` (index into :data:`TRANSITIONS`), ``onset_ns``, ``lead`` (index of the leading
    detector, -1 = none) int64[k]; ``evidence``, ``actual`` float64[k, d], NaN = no such sensor.
    """

    alert: Int8
    row: Int64
    to: Int64
    onset_ns: Int64
    lead: Int64
    evidence: Float64
    actual: Float64


def allocate(assets: int, tags: int) -> dict[str, np.ndarray[Any, Any]]:
    """Fresh state: every asset inactive."""
    return {"asset": np.zeros(assets, ASSET), "tag": np.zeros(tags, TAG)}


def run(
    state: dict[str, np.ndarray[Any, Any]], threshold_s: float, on_delay_rows: int,
    off_delay_rows: int, table: Int64, rows: RowBatch, period_s: Float64, level: Float64,
    lead: Int64, evidence: Float64, warm_up: Int64, claim_s: Float64,
) -> Moved:
    """Walk the rows of a batch; see :func:`step` for the columns."""
    m = len(rows)
    alert = np.zeros(m, np.int8)
    parts: list[tuple[Any, ...]] = []
    start, room = 0, 64
    while start < m:
        out = (
            np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64),
            np.empty(room, np.int64), np.empty((room, rows.x.shape[1])),
            np.empty((room, rows.x.shape[1])),
        )
        start, count = step(
            state["asset"], state["tag"], threshold_s, on_delay_rows, off_delay_rows, table,
            rows.asset, rows.time_ns, rows.x, period_s, level, lead, evidence, warm_up, claim_s,
            start, alert, *out,
        )
        parts.append(tuple(column[:count] for column in out))
    if not parts:
        none = np.zeros(0, np.int64)
        wide = np.zeros((0, rows.x.shape[1]))
        return Moved(alert, none, none, none, none, wide, wide)
    return Moved(alert, *(np.concatenate(columns) for columns in zip(*parts, strict=True)))


@kernel
def step(
    asset_state: Any, tag_state: Any, threshold_s: float, on_delay_rows: int, off_delay_rows: int,
    table: Int64, asset: Int64, time_ns: Int64, x: Float64, period_s: Float64, level: Float64,
    lead: Int64, evidence: Float64, warm_up: Int64, claim_s: Float64, start: int,
    alert: Int8, moved_row: Int64, moved_to: Int64, moved_onset: Int64, moved_lead: Int64,
    moved_evidence: Float64, moved_actual: Float64,
) -> tuple[int, int]:
    """Walk the rows ``start:`` while there is room; returns (next row, transitions written).


    Inputs per row: ``period_s`` (return period, NaN = no opinion), ``level`` (the fused oddness in
    linear units, compared with itself only), ``lead`` (detector with the largest part), ``evidence
    float64[m, d]``, ``warm_up`` (the asset's warm-up rows), ``claim_s`` (the rarest return period that
    the asset's history supports; 0 = muted). Outputs: ``alert
    int8[m]``; per transition what :class:`Moved` says. A row can move twice (pending, firing).
    """
    state = asset_state["state"]
    moved = 0
    for r in range(start, asset.size):
        if moved + 2 > moved_row.size:
            return r, moved
        a = asset[r]
        _remember(tag_state, table, a, x, evidence, r)
        limit_s = min(threshold_s, claim_s[r])
        _fade(asset_state, a, period_s[r] >= limit_s * HYSTERESIS, off_delay_rows)
        for _ in range(2):
            if state[a] == INACTIVE:
                news = period_s[r] >= limit_s and level[r] >= asset_state["known"][a]
                if limit_s == 0.0 or not news:
                    break
                asset_state["onset_ns"][a] = time_ns[r]
                asset_state["rows"][a] = 0
                asset_state["level_sum"][a] = 0.0
                asset_state["lead"][a] = lead[r]
                state[a] = PENDING
                code = TO_PENDING
            else:
                code = _advance(asset_state, a, level[r], on_delay_rows, off_delay_rows,
                                warm_up[r])
            if code >= 0:
                moved_row[moved] = r
                moved_to[moved] = code
                moved_onset[moved] = asset_state["onset_ns"][a]
                moved_lead[moved] = asset_state["lead"][a]
                _tell(tag_state, table, a, moved_evidence[moved], moved_actual[moved])
                moved += 1
            if code != TO_PENDING:
                break
        alert[r] = 1 if state[a] == FIRING else 0
    return asset.size, moved


@kernel
def _remember(
    tag_state: Any, table: Int64, a: int, x: Float64, evidence: Float64, r: int
) -> None:
    """Let the per-sensor evidence and the recent mean follow row r."""
    for c in range(x.shape[1]):
        t = table[a, c] if c < table.shape[1] else -1
        if t < 0:
            continue
        tag = tag_state[t]
        tag["evidence"] = EVIDENCE_KEEP * tag["evidence"] + evidence[r, c]
        value = x[r, c]
        if value == value:
            tag["recent"] = value if tag["seen"] == 0 else (
                tag["recent"] + RECENT_WEIGHT * (value - tag["recent"]))
            tag["seen"] = 1


@kernel
def _tell(tag_state: Any, table: Int64, a: int, evidence: Float64, actual: Float64) -> None:
    """What an alert says of each column at this moment; NaN where there is no such sensor."""
    for c in range(evidence.size):
        t = table[a, c] if c < table.shape[1] else -1
        evidence[c] = tag_state["evidence"][t] if t >= 0 else math.nan
        actual[c] = tag_state["recent"][t] if t >= 0 and tag_state["seen"][t] == 1 else math.nan


@kernel
def _fade(asset_state: Any, a: int, odd: bool, off_delay_rows: int) -> None:
    """Count the quiet rows; after enough of them a level told before is forgotten."""
    asset_state["quiet"][a] = 0 if odd else asset_state["quiet"][a] + 1
    if asset_state["quiet"][a] >= off_delay_rows:
        asset_state["known"][a] = 0.0


@kernel
def _advance(
    asset_state: Any, a: int, level: float, on_delay_rows: int, off_delay_rows: int, warm_up: int
) -> int:
    """One row of an open case; returns the transition's code or −1."""
    rows = asset_state["rows"][a] + 1
    asset_state["rows"][a] = rows
    if level == level:
        asset_state["level_sum"][a] += level
    mean = asset_state["level_sum"][a] / rows
    if asset_state["state"][a] == PENDING:
        if asset_state["quiet"][a] > 0:
            asset_state["state"][a] = INACTIVE
            return TO_RESOLVED
        if rows > on_delay_rows:
            asset_state["state"][a] = FIRING
            return TO_FIRING
        return -1
    if asset_state["quiet"][a] >= off_delay_rows:
        pass
    elif rows >= DROP_ROWS and level < DROP_SHARE * mean:
        asset_state["known"][a] = REFIRE_AFTER_DROP * mean
    elif rows >= max(ACCEPT_ROWS, ACCEPT_SHARE * warm_up):
        asset_state["known"][a] = RERAISE_AFTER_ACCEPT * mean
    else:
        return -1
    asset_state["state"][a] = INACTIVE
    return TO_RESOLVED
