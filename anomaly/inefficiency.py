"""Small lasting losses: slower cycles, more micro-stops, dearer parts, more rejects.

Each cycle of an asset adds to four one-sided cumulative sums of log-likelihood ratios (Page,
Biometrika 41 (1954)): *slow_cycle* and *energy_per_part* for a mean that rose by a small share,
*micro_stops* and *rejects* for a probability that rose by a factor (the p-chart's CUSUM; Reynolds
and Stoumbos, J. Quality Technology 31 (1999)). All sums are in nats, so that one rule sets every
limit: how often a healthy sum comes how high. In theory it falls by e per nat; how it falls *here*
is counted from the excursions themselves, before and after the warm-up, with the theory as a prior.
Textbook limits gave five to ten times the false alarms (autocorrelation, micro-stops in the tail).
A reference from few cycles is an uncertain one: the sums are Bayes factors over that uncertainty.

There is a reference per asset and product after a warm-up of its own: a product change is no
finding. A cycle with a stop in it is left out of the means and counted as such. After a long stop
the first cycles are start-up and not judged. A sum follows every judged cycle. What lies within an
excursion is learned only when that is over, and only until the reference is known well enough, so
that a lasting loss is never absorbed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly import charts
from anomaly.batches import Float64
from anomaly.errors import ConfigError
from anomaly.kernel import kernel

VERSION = 4

#: The kinds of loss; the index is the code. ``rate_after_changeover`` is a slow cycle that began
#: with a changeover; ``bottleneck`` is not judged here but by the module of that name.
KINDS = (
    "slow_cycle", "micro_stops", "energy_per_part", "rejects", "idle_energy",
    "rate_after_changeover", "bottleneck",
)
SLOW_CYCLE, MICRO_STOPS, ENERGY, REJECTS, IDLE_ENERGY, AFTER_CHANGEOVER, BOTTLENECK = range(7)

#: Energy per part is judged in means of so many rows, from so many means on: it follows the hall's
#: and the machine's temperature up and down within hours, and what is looked for takes days.
ENERGY_ROWS, ENERGY_BATCHES = 25, 20

#: What one more cycle, mean energy or time at rest counts in the level of late.
_RECENT, _RECENT_STILL = np.array([0.02, 0.02, 0.25, 0.02]), 0.1

_KINDS = 4  # charts per product; idle energy is the asset's
#: Parts of the budget: the most to what is hardest to see and met most often.
SHARES = np.array([0.34, 0.20, 0.20, 0.16, 0.08])
#: And this to the bottleneck of a line.
BOTTLENECK_SHARE = 0.02
_WEEK_SECONDS = 604_800.0
# Least deviations, as a share: what is smaller is the clock's or the meter's step.
_CYCLE_FLOOR, _ENERGY_FLOOR = 0.005, 0.01
_STOPS_IN_A_ROW = 4  # more long cycles one after another are slow ones
_SAME_PRODUCT = 0.02  # a product whose usual cycle differs by less is the same
_FEWEST_CYCLES = 20  # of a product before it can be recognised again
_AFTER_CYCLES = 60.0  # usual cycles after a changeover in which a slower rate is its

State = dict[str, npt.NDArray[Any]]
Records = npt.NDArray[np.void]
Record = Any  # one element of a structured array, changed in place

_ASSET = np.dtype([
    ("known", np.int64), ("last_ns", np.int64), ("settling", np.int64),
    ("changed_ns", np.int64),
    ("ready_ns", np.int64),  # when the first reference of the asset stood; 0 = none does
    ("restart", np.int64),  # 1 = what was usual may have changed
    ("stills", np.int64, (2,)),  # times at rest kept so far, by group
    ("usual_seconds", np.float64),  # cycle of the product made last
    ("place", np.int64),  # of the product made now, where no tag tells it
    ("fresh", np.int64),  # cycles seen since the changeover, up to RECOGNISE; 0 = recognised
    ("in_a_row", np.int64),  # cycles with a stop, without one between them
    ("asked", np.int64),  # 1 = the product is being recognised
])
_PRODUCT = np.dtype([
    ("cycles", np.int64),  # judged or kept so far
    ("ready", np.int64),
    ("seconds", np.float64),  # usual cycle
    ("span", np.float64),  # and usual seconds per row of cycles: rows may count several parts
    ("metered", np.float64),  # of the open batch of energies: rows and total; batches kept
    ("used", np.float64),
    ("batches", np.int64),
])
#: Cycles after a changeover by which a product that no tag tells is recognised again.
RECOGNISE = 25

#: A finished cycle, or several that were counted at once (``made``). ``told`` 0: no tag tells the
#: product; after a changeover it is the one whose usual cycle fits, else a new one. ``seconds``
#: and ``energy`` are per part, energy NaN = not known; ``rejects`` of these parts, NaN = not
#: inspected; ``changed_ns`` is the latest change of product before it.
CYCLE = np.dtype([
    ("row", np.int64), ("asset", np.int64), ("time_ns", np.int64), ("product", np.int64),
    ("told", np.int64), ("changed_ns", np.int64), ("seconds", np.float64), ("made", np.float64),
    ("energy", np.float64), ("rejects", np.float64),
])

#: Some minutes at rest, and the mean power that was drawn; ``group`` 0: it waited or was stopped,
#: 1: there was nothing to do.
IDLE = np.dtype([
    ("row", np.int64), ("asset", np.int64), ("time_ns", np.int64), ("group", np.int64),
    ("power", np.float64),
])

#: One change: a loss began (``firing`` 1) or is over (0). ``since_ns`` is the same in both.
#: ``expected``, ``actual``: seconds, share of cycles with a stop, energy per part, rejects per
#: part, power at rest; ``cycle_seconds`` is the usual cycle, NaN = none is known,
#: ``period_seconds`` how often so much is met in good health.
FINDING = np.dtype([
    ("row", np.int64), ("asset", np.int64), ("product", np.int64), ("kind", np.int64),
    ("firing", np.int64), ("since_ns", np.int64), ("time_ns", np.int64),
    ("expected", np.float64), ("actual", np.float64), ("cycle_seconds", np.float64),
    ("period_seconds", np.float64),
])


@dataclass(frozen=True, slots=True)
class Config:
    """What is looked for; the budget is given with the rows."""

    warm_up_cycles: int = 250
    """Cycles of a product before it is judged: ten batch means of 25."""
    products: int = 8
    """Products kept apart per asset; those beyond have no reference and are not judged."""
    shift: float = 0.0175
    """Rise of cycle time or energy, as a share, that is found fastest: 1 to 2 % is the mark."""
    micro_stop_factor: float = 3.0
    """Rise of the share of cycles with a stop that is found fastest."""
    reject_factor: float = 2.0
    """Rise of the share of rejects that is found fastest."""
    stop_share: float = 0.25
    """A cycle longer than usual by this share has a stop in it."""
    rest_seconds: float = 300.0
    """After such a stretch without a cycle the machine starts up."""
    settle_cycles: int = 15
    """Cycles of a start-up, or after a change of product, that are not judged."""
    idle_shift: float = 0.15
    """Rise of the power at rest, as a share, that is found fastest."""
    idle_stills: int = 20
    """Times at rest, of five minutes each, from which the usual power at rest is known."""

    def __post_init__(self) -> None:
        if not 50 <= self.warm_up_cycles <= 100_000:
            raise ConfigError("warm_up_cycles: must be 50 to 100000")
        if not 1 <= self.products <= 1000:
            raise ConfigError("products: must be 1 to 1000")
        if not 0.001 <= self.shift <= 1.0:
            raise ConfigError("shift: must be 0.001 to 1")
        if min(self.micro_stop_factor, self.reject_factor) <= 1.0:
            raise ConfigError("micro_stop_factor, reject_factor: must be above 1")
        if not 8 <= self.idle_stills <= 1000:
            raise ConfigError("idle_stills: must be 8 to 1000")
        if not 0.001 <= self.idle_shift <= 10.0:
            raise ConfigError("idle_shift: must be 0.001 to 10")
        if not 0.05 <= self.stop_share <= 10.0:
            raise ConfigError("stop_share: must be 0.05 to 10")


def allocate(config: Config, assets: int) -> State:
    """Fresh state: nothing known."""
    return {
        "asset_row": np.zeros(assets, _ASSET),
        "asset_product": np.zeros((assets, config.products), _PRODUCT),
        "asset_chart": np.zeros((assets, config.products, _KINDS), charts.CHART),
        "asset_kept": np.zeros((assets, config.products, config.warm_up_cycles, 2)),
        "asset_energy": np.zeros((assets, config.products, ENERGY_BATCHES)),
        "asset_fresh": np.zeros((assets, RECOGNISE)),
        "asset_idle": np.zeros((assets, 2), charts.CHART),
        "asset_still": np.zeros((assets, 2, config.idle_stills)),
    }


def trend(state: State, asset: int, product: int) -> list[tuple[str, float, float]]:
    """Kind, usual level and level of late of every chart of the asset whose reference stands.

    ``product``: its number, where a tag tells it, else −1. The levels are those of the findings.
    """
    own = state["asset_row"][asset]
    p = int(own["place"]) if product < 0 else product
    found = []
    if p < state["asset_chart"].shape[1]:
        found = [(KINDS[k], float(chart["usual"]), float(chart["recent"]))
                 for k, chart in enumerate(state["asset_chart"][asset, p]) if chart["known"]]
    return found + [(KINDS[IDLE_ENERGY], float(chart["usual"]), float(chart["recent"]))
                    for chart in state["asset_idle"][asset] if chart["known"]]


def run(
    config: Config, state: State, budget_per_week: float, cycles: Records, idle: Records
) -> Records:
    """Judge finished cycles and standstills; any split of them finds the same.

    Parameters
    ----------
    budget_per_week : float
        False findings per asset and week, over all kinds.
    cycles : CYCLE[n]
    idle : IDLE[k]
        Both in order of ``row``, which is only handed on.

    Returns
    -------
    FINDING[m]
        In order of ``row``.
    """
    out = np.zeros((_KINDS + 1) * (cycles.size + idle.size) + 2 * _KINDS, FINDING)
    rest_ns = round(config.rest_seconds * 1e9)
    budget = max(budget_per_week, 1e-9)
    found = []
    start = 0
    while start < cycles.size:
        start, count = judge(
            *state.values(), config.shift, config.micro_stop_factor, config.reject_factor,
            config.stop_share, rest_ns, config.settle_cycles, budget, cycles, start, out)
        found.append(out[:count].copy())
    count = judge_idle(state["asset_row"], state["asset_idle"], state["asset_still"],
                       config.idle_shift, budget, idle, out)
    found.append(out[:count])
    every = np.concatenate(found)
    return every[np.argsort(every["row"], kind="stable")]


@kernel
def judge(
    asset_row: Records, asset_product: Records, asset_chart: Records, asset_kept: Float64,
    asset_energy: Float64, asset_fresh: Float64, asset_idle: Records, asset_still: Float64,
    shift: float, stop_factor: float, reject_factor: float, stop_share: float, rest_ns: int,
    settle_cycles: int, budget: float, cycles: Records, start: int, out: Records,
) -> tuple[int, int]:
    """Cycles in order; returns (next cycle, findings written)."""
    m = 0
    value = np.empty(_KINDS)
    for i in range(start, cycles.size):
        if m + _KINDS * (asset_chart.shape[1] + 1) + 2 > out.size and m > 0:
            return i, m
        row = cycles[i]
        a, t, seconds = row["asset"], row["time_ns"], row["seconds"]
        own = asset_row[a]
        p = row["product"] if row["told"] == 1 else own["place"]
        if not seconds > 0.0 or (own["known"] == 1 and t <= own["last_ns"]):
            continue
        if own["restart"] == 1:
            m = _start_anew(own, asset_product[a], asset_chart[a], asset_idle[a], row, out, m)
        rested = own["known"] == 1 and t - own["last_ns"] > rest_ns + seconds * row["made"] * 1e9
        if rested or seconds * 1e9 > rest_ns + 2e9 * own["usual_seconds"]:
            own["settling"] = settle_cycles
        if row["changed_ns"] != own["changed_ns"]:
            own["changed_ns"], own["settling"] = row["changed_ns"], settle_cycles
            own["asked"], own["fresh"] = 1 - row["told"], 0
        own["known"], own["last_ns"] = 1, t
        if own["settling"] > 0:
            own["settling"] -= 1
            continue
        if own["asked"] == 1:
            _recognise(own, asset_product[a], asset_kept[a], asset_fresh[a], seconds)
            continue
        if p >= asset_product.shape[1]:
            continue
        kind, own_charts = asset_product[a, p], asset_chart[a, p]
        if kind["ready"] == 0:
            kept, n = asset_kept[a, p], kind["cycles"]
            kept[n, 0], kept[n, 1] = seconds, row["rejects"]
            kind["cycles"] += 1
            kind["span"] += row["made"]
            if kind["cycles"] == kept.shape[0]:
                _freeze(kind, own_charts, kept, shift, stop_factor, reject_factor, stop_share)
                own["ready_ns"] = t if own["ready_ns"] == 0 else own["ready_ns"]
            continue
        own["usual_seconds"] = kind["seconds"]
        stopped = _stopped(seconds, kind["seconds"], own_charts[SLOW_CYCLE]["scale"], stop_share)
        own["in_a_row"] = own["in_a_row"] + 1 if stopped else 0
        stopped = stopped and own["in_a_row"] <= _STOPS_IN_A_ROW  # else every cycle is that slow
        value[SLOW_CYCLE] = np.nan if stopped else seconds
        value[MICRO_STOPS] = 1.0 if stopped else 0.0
        value[ENERGY] = np.nan
        if not stopped and row["energy"] > 0.0:
            value[ENERGY] = _energy(
                kind, own_charts[ENERGY], asset_energy[a, p], row["energy"], shift)
        value[REJECTS] = min(max(row["rejects"], 0.0), 1e6)
        week = _WEEK_SECONDS / budget / kind["span"]  # rows per finding
        for k in range(_KINDS):
            before = own_charts[k]["firing"]
            trials, factor = (row["made"], reject_factor) if k == REJECTS else (1.0, stop_factor)
            rows = week / ENERGY_ROWS if k == ENERGY else week
            charts.recall(own_charts[k], value[k] / trials, _RECENT[k])
            actual = charts.follow(
                own_charts[k], value[k], trials, t, rows / SHARES[k], shift, factor)
            if own_charts[k]["firing"] != before:
                if before == 0:
                    _name(own_charts[k], k, own["changed_ns"], kind["seconds"])
                out[m]["period_seconds"] = _WEEK_SECONDS / budget / SHARES[k]
                m = _tell(own_charts[k], row["row"], a, p, t, actual, kind["seconds"], out, m)
    return cycles.size, m


@kernel
def _recognise(
    own: Record, products: Records, kept: Float64, fresh: Float64, seconds: float
) -> None:
    """One more cycle after a changeover; with the last of them the product is known, or new."""
    fresh[own["fresh"]] = seconds
    own["fresh"] += 1
    if own["fresh"] < fresh.size:
        return
    own["asked"], own["fresh"] = 0, 0
    now = charts.median(fresh)
    nearest, place = _SAME_PRODUCT, -1
    for p in range(products.size):
        n = products[p]["cycles"]
        if n < _FEWEST_CYCLES:
            if place < 0:
                place = p  # no product of its own yet
            continue
        usual = products[p]["seconds"]
        if products[p]["ready"] == 0:
            usual = charts.median(kept[p, :n, 0])
        if abs(now / usual - 1.0) < nearest:
            nearest, own["place"] = abs(now / usual - 1.0), p
    if nearest == _SAME_PRODUCT:
        own["place"] = place if place >= 0 else products.size


@kernel
def _energy(kind: Record, chart: Record, kept: Float64, energy: float, shift: float) -> float:
    """One more energy; the mean of the batch that it completes, NaN where there is none to judge.

    The reference is frozen from the first batches.
    """
    kind["metered"] += 1.0
    kind["used"] += energy
    if kind["metered"] < ENERGY_ROWS:
        return np.nan
    mean = kind["used"] / kind["metered"]
    kind["metered"] = kind["used"] = 0.0
    if kind["batches"] == kept.size:
        return float(mean)
    kept[kind["batches"]] = mean
    kind["batches"] += 1
    if kind["batches"] == kept.size:
        charts.freeze_mean(chart, kept, shift, np.inf, kept.size, _ENERGY_FLOOR)
    return np.nan


@kernel
def judge_idle(
    asset_row: Records, asset_idle: Records, asset_still: Float64, shift: float, budget: float,
    idle: Records, out: Records,
) -> int:
    """Standstills in order; returns the findings written.

    How many of them there are in a week is told by the clock, not by the chart. Both groups share.
    """
    m = 0
    for i in range(idle.size):
        row = idle[i]
        a, t = row["asset"], row["time_ns"]
        g = row["group"]
        own, chart, kept = asset_row[a], asset_idle[a, g], asset_still[a, g]
        if not row["power"] > 0.0:
            continue
        if chart["known"] == 0:
            n = own["stills"][g]
            if n == 0:
                chart["told_ns"] = t
            kept[n] = row["power"]
            own["stills"][g] += 1
            if n + 1 == kept.size:
                weekly = kept.size * _WEEK_SECONDS * 1e9 / max(t - chart["told_ns"], 1.0)
                charts.freeze_mean(chart, kept, shift, np.inf, kept.size, _ENERGY_FLOOR)
                chart["seen"] = weekly
            continue
        before = chart["firing"]
        charts.recall(chart, row["power"], _RECENT_STILL)
        per_limit = 2.0 * chart["seen"] / budget / SHARES[IDLE_ENERGY]
        actual = charts.follow(chart, row["power"], 1.0, t, per_limit, shift, 2.0)
        if chart["firing"] != before:
            if before == 0:
                _name(chart, IDLE_ENERGY, 0, 0.0)
            out[m]["period_seconds"] = _WEEK_SECONDS / budget / SHARES[IDLE_ENERGY]
            usual = own["usual_seconds"] if own["usual_seconds"] > 0.0 else np.nan
            m = _tell(chart, row["row"], a, 0, t, actual, usual, out, m)
    return m


@kernel
def _name(chart: Record, kind: int, changed_ns: int, usual: float) -> None:
    """What began, and when: a slower cycle from the changeover on is the changeover's."""
    chart["told_ns"], chart["told_kind"] = chart["since_ns"], kind
    near = changed_ns + np.int64(_AFTER_CYCLES * usual * 1e9)
    if kind == SLOW_CYCLE and 0 < changed_ns <= chart["since_ns"] <= near:
        chart["told_kind"] = AFTER_CHANGEOVER


@kernel
def _tell(
    chart: Record, row: int, a: int, p: int, t: int, actual: float, seconds: float,
    out: Records, m: int,
) -> int:
    """Write what a chart has just begun or ceased to say."""
    told = out[m]
    told["row"], told["asset"], told["product"], told["kind"] = row, a, p, chart["told_kind"]
    told["firing"], told["since_ns"], told["time_ns"] = chart["firing"], chart["told_ns"], t
    told["expected"], told["actual"] = chart["usual"], actual
    told["cycle_seconds"] = seconds
    return m + 1


@kernel
def _start_anew(
    own: Record, products: Records, own_charts: Records, idle: Records, row: Record,
    out: Records, m: int,
) -> int:
    """Forget every reference of the asset; what was firing is over."""
    for p in range(products.size):
        for k in range(_KINDS):
            if own_charts[p, k]["firing"] == 1:
                own_charts[p, k]["firing"] = 0
                out[m]["period_seconds"] = np.nan
                m = _tell(own_charts[p, k], row["row"], row["asset"], p, row["time_ns"], np.nan,
                          products[p]["seconds"], out, m)
            charts.forget(own_charts[p, k])
        products[p]["cycles"], products[p]["ready"], products[p]["span"] = 0, 0, 0.0
        products[p]["metered"], products[p]["used"], products[p]["batches"] = 0.0, 0.0, 0
    own["restart"] = 0
    for g in range(idle.size):
        own["stills"][g] = 0
        if idle[g]["firing"] == 1:
            idle[g]["firing"] = 0
            out[m]["period_seconds"] = np.nan
            m = _tell(idle[g], row["row"], row["asset"], 0, row["time_ns"], np.nan, np.nan, out, m)
        charts.forget(idle[g])
    return m


@kernel
def _stopped(seconds: float, usual: float, scale: float, stop_share: float) -> bool:
    return seconds > usual + max(stop_share * usual, 6.0 * min(scale, 0.1 * usual))


@kernel
def _freeze(
    kind: Record, own_charts: Records, kept: Float64, shift: float, stop_factor: float,
    reject_factor: float, stop_share: float,
) -> None:
    """References of one product from its kept cycles, and what their own excursions teach."""
    n = kept.shape[0]
    kind["ready"] = 1
    kind["seconds"] = charts.median(kept[:, 0])
    made = kind["span"]
    kind["span"] = kind["seconds"] * made / n
    below = kind["seconds"] * (1.0 + stop_share)
    charts.freeze_mean(own_charts[SLOW_CYCLE], kept[:, 0], shift, below, 50, _CYCLE_FLOOR)
    stops = rejected = inspected = 0.0
    for i in range(n):
        if _stopped(kept[i, 0], kind["seconds"], own_charts[SLOW_CYCLE]["scale"], stop_share):
            stops += 1.0
        if not np.isnan(kept[i, 1]):
            inspected += made / n
            rejected += min(max(kept[i, 1], 0.0), 1e6)
    charts.freeze_share(own_charts[MICRO_STOPS], stops, float(n), stop_factor)
    charts.freeze_share(own_charts[REJECTS], rejected, inspected, reject_factor)
