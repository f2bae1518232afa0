"""The alert life cycle: one open case per asset, from rows that are too rare to transitions.

inactive → pending → firing → resolved, with the rules that the trials found to matter (each has
its constant and reason below). An alert closes when the rarity has stayed a decade below the
budget, or when the fast level drops well below the alert's own mean: most false rows come *after*
the fault has gone. While it stands, what it says is remembered; a level that grows clearly beyond
that is news, so a fault that worsens speaks again: the standing alert is resolved and another one
fires on the same row, without a gap in the row's flag.

State per asset, one kernel over rows; no names, no text, no clock: ``monitor.py`` turns the rare
transitions into :class:`~anomaly.batches.Alert`.

Source of the words: OPC UA Part 9, ISA-18.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomaly.batches import Bool, Float64, Int8, Int64, RowBatch
from anomaly.kernel import kernel

VERSION = 4

#: Codes of the life cycle, index = code.
STATES = ("inactive", "pending", "firing")
#: Codes of a transition as ``step`` reports it.
TRANSITIONS = ("pending", "firing", "resolved")

INACTIVE, PENDING, FIRING = 0, 1, 2
TO_PENDING, TO_FIRING, TO_RESOLVED = 0, 1, 2

#: An alert stays open while the rarity is within this factor of its threshold (hysteresis): a
#: decade, because rarities of neighbouring rows scatter by about half of one.
HYSTERESIS = 0.1
#: A fast level below this share of the alert's own mean level means the cause has gone.
DROP_SHARE = 0.8
#: Rows before a drop can be told from scatter.
DROP_ROWS = 5
#: After a drop, only a level this much above the closed alert's mean is news, until it was quiet.
REFIRE_AFTER_DROP = 2.0
#: An alert that stood max(STAND_ROWS, STAND_SHARE * warm-up rows) rows is known to its reader …
STAND_ROWS = 20.0
STAND_SHARE = 0.3
#: … and speaks again only when the level has grown to this multiple of what was told.
RERAISE_AFTER_STAND = 1.5
#: Weight of a row in the smoothed levels that drop and re-raise are judged by.
LEVEL_WEIGHT = 0.2
#: Rarest return period claimed, in rows per row of history, and its floor: a weekly promise on rows
#: of a second is 604,800 rows, more than minutes of history can support. The price is bounded: at
#: most ln(T / 30 w) / 30 ≈ 0.1 further false alarms in an asset's whole life.
CLAIM_PER_ROW = 30.0
CLAIM_ROWS = 1e4
#: Share of the budget's period after an alert in which what another watcher finds (an odd shape,
#: one sensor alone) is no news: a day and a half of a week. Where that watcher raised it, each find
#: begins the time anew: a burst is one episode.
OTHER_SHARE = 0.2
#: Share of the old evidence that a row leaves in the per-sensor evidence an alert names.
EVIDENCE_KEEP = 0.8
#: An alert marked false: what the same sensor leads must be so many decades rarer to be told again,
#: up to the limit (three marks). A fault that grows is thus told later, never not at all; two
#: decades are the step from one severity to the next.
QUIET_STEP, QUIET_LIMIT = 1.0, 3.0
#: Weight of a row in the recent mean: the last few rows, so that a jump is told as one.
RECENT_WEIGHT = 0.5

ASSET = np.dtype([
    ("state", np.int64),
    ("onset_ns", np.int64),     # time of the first odd row of this episode
    ("rows", np.int64),         # rows since the alert went pending, until it is known
    ("quiet", np.int64),        # consecutive rows below the hysteresis
    ("level", np.float64),      # mean over these rows
    ("fast", np.float64),       # the same of the fast level
    ("recent", np.float64),     # exponentially weighted level
    ("recent_fast", np.float64),
    ("known", np.float64),      # level already told to the operator; 0 = none
    ("close", np.int8),         # 1 = the case ends with the next row (re-baseline)
    ("lead", np.int64),         # detector that led when the alert went pending
    ("other_ns", np.int64),     # since when another watcher's finds wait; 0 = nothing yet
    ("by_other", np.int8),      # 1 = another watcher holds the case, or held the last one
    ("quieted", np.int8),       # 1 = one of its sensors is quieter than it was
])
TAG = np.dtype([
    ("evidence", np.float64),       # recent evidence against this sensor
    ("recent", np.float64),         # exponentially weighted mean of its values
    ("seen", np.int8),
    ("fault_onset_ns", np.int64),   # onset of its open sensor-fault alert; 0 = none
    ("quiet", np.float64),          # decades by which what it leads must be rarer (feedback)
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


def quieten(
    state: dict[str, np.ndarray[Any, Any]], asset: int, tags: Int64, column: int, decades: float
) -> float:
    """Set by how many decades rarer than the budget what a sensor leads must be; returns the old.

    ``tags int64[d]``: the asset's. Held within 0 and :data:`QUIET_LIMIT`.
    """
    quiet = state["tag"]["quiet"]
    before = float(quiet[tags[column]])
    quiet[tags[column]] = min(max(decades, 0.0), QUIET_LIMIT)
    state["asset"]["quieted"][asset] = quiet[tags].any()
    return before


def is_quiet(state: dict[str, np.ndarray[Any, Any]], asset: int) -> bool:
    """Whether the asset has no case, and what was told of the last one is over."""
    own = state["asset"][asset]
    return bool(own["state"] == INACTIVE and own["known"] == 0.0)


def close(state: dict[str, np.ndarray[Any, Any]], asset: int) -> None:
    """Let the asset's case, if one is open, end with the next row."""
    own = state["asset"]
    own["close"][asset] = own["state"][asset] != INACTIVE


def restart(state: dict[str, np.ndarray[Any, Any]], asset: int, tags: Int64) -> None:
    """Begin anew with an asset: its case ends, and what feedback made rarer is so no longer."""
    close(state, asset)
    state["tag"]["quiet"][tags] = 0.0
    state["asset"]["quieted"][asset] = 0


def claim_seconds(
    reference_asset: Any, asset: Int64, number: Int64, young: Bool
) -> Float64:
    """Rarest return period that the asset's history supports at each row; 0 = alerts muted.

    ``reference_asset``: the assets' records of ``reference``; ``number int64[m]`` each row's own;
    ``young bool[m]``: the asset is soon learned anew from rows that can support the budget, so
    nothing is claimed sooner for want of history.
    """
    supported = np.maximum(CLAIM_ROWS, CLAIM_PER_ROW * (number + 1.0))
    supported *= reference_asset["interval_s"][asset]
    supported[young] = np.inf
    return np.where(number >= reference_asset["muted"][asset], supported, 0.0)


def run(
    state: dict[str, np.ndarray[Any, Any]], threshold_s: float, on_delay_rows: int,
    off_delay_rows: int, table: Int64, rows: RowBatch, period_s: Float64, beside_s: Float64,
    level: Float64, fast: Float64, lead: Int64, evidence: Float64, warm_up: Int64,
    claim_s: Float64,
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
            rows.asset, rows.time_ns, rows.x, period_s, beside_s, level, fast, lead, evidence,
            warm_up, claim_s, start, alert, *out,
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
    table: Int64, asset: Int64, time_ns: Int64, x: Float64, period_s: Float64, beside_s: Float64,
    level: Float64, fast: Float64, lead: Int64, evidence: Float64, warm_up: Int64,
    claim_s: Float64, start: int, alert: Int8, moved_row: Int64, moved_to: Int64,
    moved_onset: Int64, moved_lead: Int64, moved_evidence: Float64, moved_actual: Float64,
) -> tuple[int, int]:
    """Walk the rows ``start:`` while there is room; returns (next row, transitions written).

    Inputs per row: ``period_s`` and ``beside_s`` (return periods of the level and of who watches
    beside it, NaN = no opinion), ``level`` and ``fast`` (fused
    oddness in linear units, compared with themselves only), ``lead`` (detector with the largest
    part), ``evidence float64[m, d]``, ``warm_up`` (the asset's warm-up rows), ``claim_s`` (rarest
    return period that the history supports; 0 = muted). Outputs: ``alert int8[m]``; per transition
    what :class:`Moved` says. A row moves four times at most (closed by a re-baseline, then
    resolved, pending, firing).
    """
    state = asset_state["state"]
    moved = 0
    for r in range(start, asset.size):
        if moved + 4 > moved_row.size:
            return r, moved
        a = asset[r]
        _remember(tag_state, table, a, x, evidence, r)
        limit_s = min(threshold_s, claim_s[r])
        if asset_state["quieted"][a] == 1:
            limit_s *= _quieter(tag_state, table, a, evidence, r)
        if asset_state["close"][a] == 1:
            asset_state["close"][a] = 0
            asset_state["state"][a] = INACTIVE
            asset_state["known"][a] = 0.0
            moved_row[moved] = r
            moved_to[moved] = TO_RESOLVED
            moved_onset[moved] = asset_state["onset_ns"][a]
            moved_lead[moved] = asset_state["lead"][a]
            _tell(tag_state, table, a, moved_evidence[moved], moved_actual[moved])
            moved += 1
        if level[r] == level[r] and limit_s > 0.0:
            odd = period_s[r] >= limit_s * HYSTERESIS or (
                asset_state["by_other"][a] == 1 and beside_s[r] >= limit_s * HYSTERESIS)
            _follow(asset_state, a, odd, level[r], fast[r], off_delay_rows)
            rare = period_s[r] >= limit_s
            news = _is_other_news(asset_state, a, beside_s[r] >= limit_s, time_ns[r], limit_s)
            code = TO_PENDING if state[a] == INACTIVE else _advance(
                asset_state, a, rare, on_delay_rows, off_delay_rows, warm_up[r])
            if state[a] == INACTIVE and code == TO_PENDING:
                told = level[r] < asset_state["known"][a]
                code = TO_PENDING if news or (rare and not told) else -1
                if code == TO_PENDING:
                    asset_state["by_other"][a] = 0 if rare and not told else 1
            while code >= 0:
                if code == TO_PENDING:
                    _open(asset_state, a, time_ns[r], level[r], fast[r], lead[r])
                moved_row[moved] = r
                moved_to[moved] = code
                moved_onset[moved] = asset_state["onset_ns"][a]
                moved_lead[moved] = asset_state["lead"][a]
                _tell(tag_state, table, a, moved_evidence[moved], moved_actual[moved])
                moved += 1
                code = _next(asset_state, a, code, rare, on_delay_rows)
        alert[r] = 1 if state[a] == FIRING else 0
    return asset.size, moved


@kernel
def _is_other_news(
    asset_state: Any, a: int, rare: bool, time_ns: int, limit_s: float
) -> bool:
    """Whether another watcher may open a case at this row; remembers from when to wait."""
    case = asset_state[a]
    if case["state"] == FIRING:
        case["other_ns"] = time_ns
        return False
    news: bool = rare and (
        case["other_ns"] == 0 or (time_ns - case["other_ns"]) / 1e9 >= OTHER_SHARE * limit_s)
    if rare and case["by_other"] == 1:  # the burst goes on
        case["other_ns"] = time_ns
    return news


@kernel
def _open(
    asset_state: Any, a: int, time_ns: int, level: float, fast: float, lead: int
) -> None:
    """A new case begins at this row."""
    case = asset_state[a]
    case["state"] = PENDING
    case["onset_ns"] = time_ns
    case["rows"] = 1
    case["quiet"] = 0
    case["level"], case["recent"] = level, level
    case["fast"], case["recent_fast"] = fast, fast
    case["lead"] = lead
    if case["by_other"] == 0:
        case["known"] = 0.0


@kernel
def _next(asset_state: Any, a: int, code: int, rare: bool, on_delay_rows: int) -> int:
    """What else happens at the same row after a transition; −1 = nothing."""
    case = asset_state[a]
    if code == TO_PENDING and (on_delay_rows == 0 or case["by_other"] == 1):
        case["state"] = FIRING  # it looks at windows: it has waited already
        return TO_FIRING
    if code == TO_RESOLVED and case["known"] < 0.0:  # resolved only to speak again
        return TO_PENDING
    return -1


@kernel
def _follow(
    asset_state: Any, a: int, odd: bool, level: float, fast: float, off_delay_rows: int
) -> None:
    """Count quiet rows, let the smoothed levels follow; after enough quiet all is news again."""
    case = asset_state[a]
    case["quiet"] = 0 if odd else case["quiet"] + 1
    if case["state"] == INACTIVE and case["quiet"] >= off_delay_rows:
        case["known"] = 0.0
    case["recent"] += LEVEL_WEIGHT * (level - case["recent"])
    case["recent_fast"] += LEVEL_WEIGHT * (fast - case["recent_fast"])


@kernel
def _advance(
    asset_state: Any, a: int, rare: bool, on_delay_rows: int, off_delay_rows: int, warm_up: int
) -> int:
    """One more row of an open case; returns the transition's code or −1."""
    case = asset_state[a]
    if case["by_other"] == 1:
        if rare:  # from here on the level holds the case, as if it had begun with it
            case["by_other"] = 0
            case["rows"] = 1
            case["level"], case["fast"] = case["recent"], case["recent_fast"]
        elif case["quiet"] < off_delay_rows:
            return -1
        else:
            case["state"] = INACTIVE
            return TO_RESOLVED
    stand = max(STAND_ROWS, math.floor(STAND_SHARE * warm_up))
    if case["rows"] < stand:
        case["rows"] += 1
        case["level"] += (case["recent"] - case["level"]) / case["rows"]
        case["fast"] += (case["recent_fast"] - case["fast"]) / case["rows"]
    if case["state"] == PENDING:
        if case["quiet"] > 0:
            case["state"] = INACTIVE
            return TO_RESOLVED
        if case["rows"] > on_delay_rows:
            case["state"] = FIRING
            return TO_FIRING
        return -1
    if case["quiet"] >= off_delay_rows:
        case["known"] = 0.0
    elif case["rows"] >= DROP_ROWS and case["fast"] > 0.0 and (
        case["recent_fast"] < DROP_SHARE * case["fast"]
    ):  # below the usual there is nothing to drop from
        case["known"] = REFIRE_AFTER_DROP * max(case["level"], 0.0)
    elif case["rows"] >= stand and rare and (
        case["recent"] >= RERAISE_AFTER_STAND * max(case["level"], 0.0)
    ):
        case["known"] = -1.0
    else:
        return -1
    case["state"] = INACTIVE
    return TO_RESOLVED


@kernel
def _quieter(tag_state: Any, table: Int64, a: int, evidence: Float64, r: int) -> float:
    """Factor of the threshold at row r: what people said of alerts that its first sensor led."""
    leader = -1
    largest = 0.0
    for c in range(min(evidence.shape[1], table.shape[1])):
        if table[a, c] >= 0 and evidence[r, c] > largest:
            leader, largest = table[a, c], evidence[r, c]
    return 10.0 ** tag_state["quiet"][leader] if leader >= 0 else 1.0


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
