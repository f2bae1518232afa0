"""Small lasting losses: slower cycles, more micro-stops, dearer parts, more rejects.

Each cycle of an asset adds to four one-sided cumulative sums of log-likelihood ratios (Page,
Biometrika 41 (1954)): *slow_cycle* and *energy_per_part* for a mean that rose by a small share,
*micro_stops* and *rejects* for a probability that rose by a factor (the p-chart's CUSUM; Reynolds
and Stoumbos, J. Quality Technology 31 (1999)). All sums are in nats, so that one rule sets every
limit: how often a healthy sum comes how high. In theory it falls by e per nat; how it falls *here*
is counted from the excursions themselves, before and after the warm-up, with the theory as a prior.
Textbook limits gave five to ten times the false alarms (autocorrelation, micro-stops in the tail).

The reference is frozen per asset and product after a warm-up of its own: a product change is no
finding. A cycle with a stop in it is left out of the means and counted as such. After a long stop
the first cycles are start-up and not judged. A sum follows every judged cycle; nothing else learns,
so that a slow loss is never absorbed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64, Int64
from anomaly.errors import ConfigError
from anomaly.kernel import kernel

VERSION = 1

#: The kinds of loss; the index is the code.
KINDS = ("slow_cycle", "micro_stops", "energy_per_part", "rejects")
SLOW_CYCLE, MICRO_STOPS, ENERGY, REJECTS = range(4)

_KINDS = len(KINDS)
#: Parts of the budget: the most to what is hardest to see and met most often.
_SHARES = np.array([0.55, 0.15, 0.15, 0.15])
_WEEK_SECONDS = 604_800.0
_BATCH = 25  # cycles per batch mean: longer than what a cycle time usually remembers
_CLIP = 3.0  # deviations that one cycle may count
_PRIOR = 5.0  # excursions that the theory counts as
_LOW = 1.0  # nats from which an excursion counts; below, the tail is not yet one
_REACH = 1.5  # limits at which a sum stops growing, so that an end is seen

State = dict[str, npt.NDArray[Any]]
Records = npt.NDArray[np.void]
Record = Any  # one element of a structured array, changed in place

_ASSET = np.dtype([("known", np.int64), ("last_ns", np.int64), ("settling", np.int64)])
_PRODUCT = np.dtype([
    ("cycles", np.int64),  # judged or kept so far
    ("ready", np.int64),
    ("seconds", np.float64),  # usual cycle
])
_CHART = np.dtype([
    ("known", np.int64),
    ("centre", np.float64),  # mean, or probability per cycle
    ("scale", np.float64),  # long-run deviation; 0 for probabilities
    ("gain", np.float64),  # nats per deviation, or per event
    ("cost", np.float64),  # nats per cycle
    ("theory", np.float64),  # excursions above _LOW per cycle, in theory
    ("sum", np.float64),
    ("peak", np.float64),
    ("since_ns", np.int64),  # where the present excursion began
    ("count", np.float64),  # of it: cycles and total, for the actual level
    ("total", np.float64),
    ("rows", np.float64),
    ("excursions", np.float64),
    ("excess", np.float64),
    ("firing", np.int64),
])

#: One change: a loss began (``firing`` 1) or is over (0). ``expected``, ``actual``: seconds, share
#: of cycles with a stop, energy per part, share rejected.
FINDING = np.dtype([
    ("row", np.int64), ("asset", np.int64), ("product", np.int64), ("kind", np.int64),
    ("firing", np.int64), ("since_ns", np.int64), ("time_ns", np.int64),
    ("expected", np.float64), ("actual", np.float64),
])


@dataclass(frozen=True, slots=True)
class Config:
    """What is looked for; the budget is given with the rows."""

    warm_up_cycles: int = 250
    """Cycles of a product before it is judged: ten batch means of 25."""
    products: int = 16
    """Products kept apart per asset."""
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
    """Cycles of a start-up that are not judged."""

    def __post_init__(self) -> None:
        if not 50 <= self.warm_up_cycles <= 100_000:
            raise ConfigError("warm_up_cycles: must be 50 to 100000")
        if not 1 <= self.products <= 1000:
            raise ConfigError("products: must be 1 to 1000")
        if not 0.001 <= self.shift <= 1.0:
            raise ConfigError("shift: must be 0.001 to 1")
        if min(self.micro_stop_factor, self.reject_factor) <= 1.0:
            raise ConfigError("micro_stop_factor, reject_factor: must be above 1")
        if not 0.05 <= self.stop_share <= 10.0:
            raise ConfigError("stop_share: must be 0.05 to 10")


def allocate(config: Config, assets: int) -> State:
    """Fresh state: nothing known."""
    return {
        "asset_row": np.zeros(assets, _ASSET),
        "asset_product": np.zeros((assets, config.products), _PRODUCT),
        "asset_chart": np.zeros((assets, config.products, _KINDS), _CHART),
        "asset_kept": np.zeros((assets, config.products, config.warm_up_cycles, 3)),
    }


def run(
    config: Config, state: State, budget_per_week: float, asset: Int64, time_ns: Int64,
    product: Int64, seconds: Float64, energy: Float64, rejects: Float64,
) -> Records:
    """Judge n finished cycles; any split of them finds the same.

    Parameters
    ----------
    budget_per_week : float
        False findings per asset and week, over all four kinds.
    asset, time_ns, product : int64[n]
        Of the end of each cycle; product 0 .. ``Config.products`` − 1.
    seconds : float64[n]
        What the cycle took, waiting for neighbours not counted.
    energy : float64[n]
        Of the part, NaN = not known.
    rejects : float64[n]
        1 = the part was rejected, 0 = good, NaN = not known.
    """
    out = np.zeros(_KINDS * asset.size, FINDING)
    count = judge(
        *state.values(), config.shift, config.micro_stop_factor, config.reject_factor,
        config.stop_share, round(config.rest_seconds * 1e9), config.settle_cycles,
        budget_per_week, asset, time_ns, product, seconds, energy, rejects, out,
    )
    return out[:count]


@kernel
def judge(
    asset_row: Records, asset_product: Records, asset_chart: Records, asset_kept: Float64,
    shift: float, stop_factor: float, reject_factor: float, stop_share: float, rest_ns: int,
    settle_cycles: int, budget: float, asset: Int64, time_ns: Int64, product: Int64,
    seconds: Float64, energy: Float64, rejects: Float64, out: Records,
) -> int:
    """Cycles in order; returns the findings written."""
    m = 0
    value = np.empty(4)
    for i in range(asset.size):
        a, t = asset[i], time_ns[i]
        own = asset_row[a]
        p = min(max(product[i], 0), asset_product.shape[1] - 1)
        if not seconds[i] > 0.0 or (own["known"] == 1 and t <= own["last_ns"]):
            continue
        rested = own["known"] == 1 and t - own["last_ns"] > rest_ns + seconds[i] * 1e9
        if rested or seconds[i] * 1e9 > rest_ns + 2e9 * asset_product[a, p]["seconds"]:
            own["settling"] = settle_cycles
        own["known"], own["last_ns"] = 1, t
        if own["settling"] > 0:
            own["settling"] -= 1
            continue
        kind, charts = asset_product[a, p], asset_chart[a, p]
        if kind["ready"] == 0:
            kept = asset_kept[a, p]
            kept[kind["cycles"], 0] = seconds[i]
            kept[kind["cycles"], 1] = energy[i]
            kept[kind["cycles"], 2] = rejects[i]
            kind["cycles"] += 1
            if kind["cycles"] == kept.shape[0]:
                _freeze(kind, charts, kept, shift, stop_factor, reject_factor, stop_share)
            continue
        stopped = _stopped(seconds[i], kind["seconds"], charts[SLOW_CYCLE]["scale"], stop_share)
        value[SLOW_CYCLE] = np.nan if stopped else seconds[i]
        value[MICRO_STOPS] = 1.0 if stopped else 0.0
        value[ENERGY] = np.nan if stopped else energy[i]
        value[REJECTS] = min(max(rejects[i], 0.0), 1.0)
        week = _WEEK_SECONDS / max(budget, 1e-9) / kind["seconds"]  # cycles per finding
        for k in range(_KINDS):
            before = charts[k]["firing"]
            actual = _follow(charts[k], value[k], t, week / _SHARES[k])
            if charts[k]["firing"] != before:
                row = out[m]
                row["row"], row["asset"], row["product"], row["kind"] = i, a, p, k
                row["firing"], row["time_ns"] = charts[k]["firing"], t
                row["since_ns"] = charts[k]["since_ns"] if charts[k]["firing"] == 1 else t
                row["expected"], row["actual"] = charts[k]["centre"], actual
                m += 1
    return m


@kernel
def _stopped(seconds: float, usual: float, scale: float, stop_share: float) -> bool:
    return seconds > usual + max(stop_share * usual, 6.0 * min(scale, 0.1 * usual))


@kernel
def _follow(chart: Record, value: float, t: int, per_limit: float) -> float:
    """One cycle on one chart; returns the mean of the present excursion."""
    if chart["known"] == 0 or np.isnan(value):
        return np.nan
    size = value
    if chart["scale"] > 0.0:
        z = (value - chart["centre"]) / chart["scale"]
        size = min(max(z, -_CLIP), _CLIP)
    if chart["sum"] <= 0.0:
        chart["since_ns"], chart["count"], chart["total"], chart["peak"] = t, 0.0, 0.0, 0.0
    limit = _limit(chart, per_limit)
    chart["rows"] += 1.0
    chart["count"] += 1.0
    chart["total"] += value
    actual = chart["total"] / chart["count"]
    reached = chart["sum"] + chart["gain"] * size - chart["cost"]
    chart["sum"] = min(max(reached, 0.0), _REACH * limit)
    chart["peak"] = max(chart["peak"], chart["sum"])
    if chart["sum"] >= limit:
        chart["firing"] = 1
    elif chart["sum"] <= 0.0:
        chart["firing"] = 0
        if chart["peak"] > _LOW:
            chart["excursions"] += 1.0
            chart["excess"] += min(chart["peak"], limit) - _LOW
    return float(actual)


@kernel
def _limit(chart: Record, per_limit: float) -> float:
    """Nats that a healthy sum exceeds once in ``per_limit`` cycles."""
    rate = (chart["excursions"] + _PRIOR) / (chart["rows"] + _PRIOR / chart["theory"])
    decay = (chart["excursions"] + _PRIOR) / (chart["excess"] + _PRIOR)
    decay = min(max(decay, 0.2), 1.0)
    return float(_LOW + max(np.log(max(rate * per_limit, 1.0)) / decay, 1.0))


@kernel
def _freeze(
    kind: Record, charts: Records, kept: Float64, shift: float, stop_factor: float,
    reject_factor: float, stop_share: float,
) -> None:
    """References of one product from its kept cycles, and what their own excursions teach."""
    n = kept.shape[0]
    kind["ready"] = 1
    kind["seconds"] = _median(kept[:, 0])
    _freeze_mean(charts[SLOW_CYCLE], kept[:, 0], shift, kind["seconds"] * (1.0 + stop_share))
    stops = rejected = inspected = 0.0
    for i in range(n):
        if _stopped(kept[i, 0], kind["seconds"], charts[SLOW_CYCLE]["scale"], stop_share):
            stops += 1.0
            kept[i, 1] = np.nan
        if not np.isnan(kept[i, 2]):
            inspected += 1.0
            rejected += min(max(kept[i, 2], 0.0), 1.0)
    _freeze_share(charts[MICRO_STOPS], stops, float(n), stop_factor)
    _freeze_mean(charts[ENERGY], kept[:, 1], shift, np.inf)
    _freeze_share(charts[REJECTS], rejected, inspected, reject_factor)


@kernel
def _freeze_mean(chart: Record, column: Float64, shift: float, below: float) -> None:
    """Centre and long-run deviation; a rise by ``shift`` is worth gain · z − cost nats a cycle."""
    values = column[np.isfinite(column) & (column < below)]
    if values.size < 50:
        return
    centre = _median(values)
    ordered = np.sort(values)
    quarter = values.size // 4
    scale = (ordered[values.size - 1 - quarter] - ordered[quarter]) / 1.349
    scale = max(scale, 0.5 * values.std())  # coarse counts: most values may be the same
    held = np.minimum(np.maximum(values, centre - _CLIP * scale), centre + _CLIP * scale)
    batches = held.size // _BATCH
    means = np.empty(batches)
    for b in range(batches):
        means[b] = held[b * _BATCH : (b + 1) * _BATCH].mean()
    if batches >= 4:
        spread = np.sqrt(_BATCH * ((means - means.mean()) ** 2).sum() / (batches - 1))
        scale = max(scale, spread)
    # Ten batches know little; neighbours tell more of a memory that fades (as an AR(1) does).
    off = held - held.mean()
    memory = (off[1:] * off[:-1]).sum() / max((off * off).sum(), 1e-300)
    if memory > 2.0 / np.sqrt(values.size):
        scale = max(scale, held.std() * np.sqrt((1.0 + memory) / max(1.0 - memory, 0.02)))
    scale = max(scale, 1e-3 * abs(centre), 1e-300)
    # The centre itself is known to a deviation / sqrt(n) only: one such error is forgiven.
    chart["centre"] = centre + scale / np.sqrt(values.size)
    chart["scale"] = scale
    step = min(shift * abs(centre) / scale, 1.2)  # in deviations; steady machines show less too
    chart["gain"], chart["cost"] = step, 0.5 * step * step
    chart["theory"] = min(0.5 * step * step * np.exp(_LOW - 1.166 * step), 0.2)
    chart["known"] = 1


@kernel
def _freeze_share(chart: Record, events: float, cycles: float, factor: float) -> None:
    """Probability per cycle; an event is worth ln factor, a cycle costs ln of the mean weight."""
    if cycles < 50.0:
        return
    # One event more than was seen: a share that was never seen is not nought.
    share = min((events + 1.0) / (cycles + 1.0), 0.5)
    raised = min(factor * share, 0.9)
    chart["centre"] = share
    chart["scale"] = 0.0
    chart["cost"] = -np.log((1.0 - raised) / (1.0 - share))
    chart["gain"] = np.log(raised / share) + chart["cost"]
    chart["theory"] = 0.5 * share
    chart["known"] = 1


@kernel
def _median(values: Float64) -> float:
    ordered = np.sort(values)
    middle = ordered.size // 2
    if ordered.size % 2:
        return float(ordered[middle])
    return float(0.5 * (ordered[middle - 1] + ordered[middle]))
