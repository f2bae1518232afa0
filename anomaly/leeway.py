"""Leeway: what the hall moves, in a machine whose warm-up has not seen a whole day.

One stage between the regimes and the detectors, and only for machines whose state tag tells when
they work, or whose rows follow too fast for the little that is known of them. Such a machine
starts, stops and changes products, and the hall warms and cools around it: its temperatures are
never at rest. After a warm-up of five hours every first night, warm afternoon and hotter product is
new, and each raised alerts (eight times the promise). How far a slow motion goes in a day is told
by how far it went in the warm-up: what wanders goes √n times as far in n times the time. So a
sensor that moves slowly, and no farther than that, is followed at the pace of a motor's frame, and
what remains is judged: a jump is told at once, what goes on beyond the bound is told as before. A
jump within the bound is over when it has been followed, after hours. Sensors that scatter more than
they wander have no leeway, nor has any machine whose warm-up took a day; for them no bit changes.

State: of the future. ``given`` is how much of a sensor's value is put down to the hall just now.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from anomaly.batches import Bool, Float64, Int64
from anomaly.kernel import kernel

VERSION = 3

#: The rhythm of a hall, and at most so many times a warm-up's own length beyond it: a wander that
#: was seen for half an hour says nothing of a night.
DAY_SECONDS, UNSEEN_MOST = 86_400.0, 4.0
#: Deviations of the slow motion that bound it: three, as for a control chart.
BOUND = 3.0
#: Parts of a warm-up whose means show its slow motion, and fewest rows of a part.
PARTS, PART_ROWS = 16, 8
#: A sensor moves slowly where the means vary with at least this share of what varies around them:
#: a motor's heat does, vibration and air do not.
SLOW_SHARE = 0.5
#: A slow motion is followed with this time constant: a motor's frame takes 40 minutes …
PACE_SECONDS = 2400.0
#: … at most by so many usual deviations in that time, so that one wild value is nothing, and faster
#: while the machine starts up and nothing is told.
FASTEST, SETTLING = 3.0, 6.0
#: While too few means are known (``later_rows``) a machine has been watched for minutes: every
#: sensor is followed wherever it goes, at this pace, and what is faster is judged. At five minutes
#: three healthy lines raised 9 alerts in a day, at ten 17, at twenty 84 (ablations.md, 28).
YOUNG_PACE_SECONDS, YOUNG_FASTEST = 300.0, 6.0
#: Wherever it goes: so many spreads are no bound, and their product with one is a number.
UNBOUNDED = 1e9
#: And what is told of it must be five times as rare as the budget asks, for it remembers more than
#: minutes show (benchmarks/results/ablations.md, 31).
YOUNG_SHARE = 0.2
#: Part of what is given in the warm-up that is taken off its rows before the references are fitted.
#: All of it: twice the alerts on a healthy line; nothing: jumps within the bound are not told.
TAKEN_OFF = 0.5

ASSET = np.dtype([
    ("pace", np.float64),   # weight of a row in what is followed; 0 = no leeway
    ("young", np.float64),  # the same while little is known
    ("free", np.int8),      # 1 = little is known of the machine: it is followed wherever it goes
    ("lent", np.int8),      # 1 = something was given without leeway, for a product
])
TAG = np.dtype([
    ("bound", np.float64),  # 0 = none
    ("given", np.float64),
])


def allocate(assets: int, tags: int) -> dict[str, np.ndarray[Any, Any]]:
    """Fresh state: no leeway."""
    return {"asset": np.zeros(assets, ASSET), "tag": np.zeros(tags, TAG)}


def fit(
    state: dict[str, np.ndarray[Any, Any]], a: int, tags: Int64, rows: Float64, times_ns: Int64,
    interval_seconds: float, reference: Any, starts_and_stops: bool, young: bool,
) -> Float64:
    """An asset's warm-up ``rows float64[w, d]`` is over, its tags' ``reference`` frozen.

    ``starts_and_stops``: a state tag tells when the asset works; ``young``: it is judged by rows
    that follow too fast until more is known. Returns the rows for what is fitted on them; ``rows``
    itself where there is no leeway.
    """
    if a >= state["asset"].size:
        return rows
    own, tag = state["asset"], state["tag"]
    tag[tags] = np.zeros(tags.size, TAG)
    own[a] = (0.0, min(interval_seconds / YOUNG_PACE_SECONDS, 1.0 / SETTLING), 0, 0)
    seconds = (int(times_ns[-1]) - int(times_ns[0])) / 1e9 if times_ns.size else 0.0
    unseen = min(DAY_SECONDS / max(seconds, 1e-9) - 1.0, UNSEEN_MOST)
    if not (starts_and_stops or young) or unseen <= 0.0:
        return rows
    for c, t in enumerate(tags.tolist()):
        if reference["ready"][t] == 1 and not young:
            variance = slow_variance(np.ascontiguousarray(rows[:, c]))
            tag["bound"][t] = BOUND * np.sqrt(unseen * variance)
    if not (young or (tag["bound"][tags] > 0.0).any()):
        return rows
    own["free"][a] = young
    own["pace"][a] = own["young"][a] if young else min(
        interval_seconds / PACE_SECONDS, 1.0 / SETTLING)
    table = np.full((a + 1, tags.size), -1, np.int64)
    table[a] = tags
    nothing = np.zeros(len(rows), np.bool_)
    _, off = run(state, reference, table, np.full(len(rows), a), rows, nothing, nothing)
    return rows - TAKEN_OFF * off


def is_young(state: dict[str, np.ndarray[Any, Any]], asset: Int64) -> Bool:
    """Whether little is known of each asset: only what is sudden is judged; bool[m]."""
    if not state["asset"].size:
        return np.zeros(asset.size, np.bool_)
    young: Bool = state["asset"]["free"][asset] == 1
    return young


def given(state: dict[str, np.ndarray[Any, Any]], tags: Int64) -> Float64:
    """What of each tag's value is put down to the hall now, float64[d]."""
    found: Float64 = state["tag"]["given"][tags] if state["tag"].size else np.zeros(tags.size)
    return found


def run(
    state: dict[str, np.ndarray[Any, Any]], reference: Any, table: Int64, asset: Int64,
    x: Float64, settles: Bool, young: Bool,
) -> tuple[Float64, Float64]:
    """What remains of the rows' values and what is put down to the hall, float64[m, d] each.

    The first is ``x`` itself where no asset has leeway.
    """
    off = np.zeros_like(x)
    if not state["asset"].size:
        return x, off
    own = state["asset"][asset]
    if not (young.any() or (own["pace"] > 0.0).any() or (own["lent"] > 0).any()):
        return x, off
    follow(state["asset"], state["tag"], reference, table, asset, x, settles, young, off)
    return x - off, off


@kernel
def follow(
    asset_state: Any, tag_state: Any, reference: Any, table: Int64, asset: Int64, x: Float64,
    settles: Bool, young: Bool, off: Float64,
) -> None:
    """Let the leeway follow the rows in order; ``off float64[m, d]``: given as each is judged.

    ``settles bool[m]``: the asset starts up. ``young bool[m]``: it makes a product of which little
    is known yet (``regimes``), and is followed wherever it goes.
    """
    for i in range(asset.size):
        machine = asset_state[asset[i]]
        pace = machine["young"] if young[i] else machine["pace"]
        if pace == 0.0 and machine["lent"] == 0:
            continue
        machine["lent"] = 1 if young[i] else 0
        free = young[i] or machine["free"] == 1
        weight = SETTLING * pace if settles[i] else pace
        for c in range(x.shape[1]):
            t = table[asset[i], c] if c < table.shape[1] else -1
            if t < 0:
                break
            own, known = tag_state[t], reference[t]
            bound, fastest = own["bound"], FASTEST * known["spread"]
            if free:
                bound = UNBOUNDED * known["spread"] if known["ready"] == 1 else 0.0
                fastest = YOUNG_FASTEST * known["spread"]
            own["given"] = min(max(own["given"], -bound), bound)
            if bound == 0.0:
                continue
            off[i, c] = own["given"]
            if np.isnan(x[i, c]):
                continue
            rest = x[i, c] - known["centre"] - own["given"]
            rest = min(max(rest, -fastest), fastest)
            own["given"] = min(max(own["given"] + weight * rest, -bound), bound)


@kernel
def slow_variance(column: Float64) -> float:
    """Variance of the slow part of ``column float64[w]``, NaN = missing; 0 = it moves no slowly.

    That of the means of its parts, beyond what the scatter within them gives.
    """
    values = column[np.isfinite(column)]
    size = values.size // PARTS
    if size < PART_ROWS:
        return 0.0
    mean = np.empty(PARTS)
    within = 0.0
    for k in range(PARTS):
        part = values[k * size : (k + 1) * size]
        mean[k] = part.mean()
        within += part.var() / PARTS
    slow = mean.var() - within / size
    return float(slow) if slow > SLOW_SHARE * within else 0.0
