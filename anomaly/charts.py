"""One chart: a cumulative sum that follows one quantity, its reference and its own limit.

The kernels under ``inefficiency``. A chart of a *mean* has a centre and a long-run deviation, one
of a *share* a probability; both add up log-likelihood ratios in nats, made smaller by how little is
known of the reference. How often a healthy sum comes how high is told by the exact theory as a
prior, and learned from its own excursions. No kind of loss is known here, and no asset.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64
from anomaly.kernel import kernel

_BATCH = 25  # cycles per batch mean: longer than what a cycle time usually remembers
_CLIP = 3.0  # deviations that one cycle may count
_PRIOR = 15.0  # excursions that the theory counts as
_STEADY = 1.5  # deviations at most that are looked for: of a steady machine a smaller rise too
_LOW = 1.0  # nats from which an excursion counts; below, the tail is not yet one
_WANDER = 2.0  # long-run over short-run deviation from which a reference must follow, unless
_FADING = 0.9  # a memory that fades explains it: up to so much from cycle to cycle
_FORGET = 0.1  # of a reference that follows, per batch mean
_NOISE_CYCLES, _NOISE_SLACK = 40.0, 1.3  # memory of the scatter, and what of it is chance
_EVENTS = 100.0  # a share is learned until so many were seen: then it is known to a tenth
_TIMES = 4.0  # a mean is learned from until so many times the warm-up's values were
_FEW = 2.0  # a deviation from n values is told larger by so many nths: it may be an underestimate
_OUTLASTS = 2.0  # times as long as what the reference was learned from: no more will be known
_BEYOND = 1.4  # of the short-run deviation: what ten means of independent cycles seldom show
_PEAK = 60.0  # nats that one excursion of the warm-up may teach
_END = 6.0  # nats at most for a share that fires, so that it is soon over when usual again
_REACH = 1.5  # limits at which a sum stops growing, so that an end is seen

Records = npt.NDArray[np.void]
Record = Any  # one element of a structured array, changed in place

CHART = np.dtype([
    ("known", np.int64),
    ("usual", np.float64),  # mean, or probability per trial: what is told
    ("centre", np.float64),  # the same and its error: what is judged by
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
    ("told_ns", np.int64),  # of what is firing: since when, and under which kind
    ("told_kind", np.int64),
    ("events", np.float64),  # a share's, and the cycles they were seen in
    ("seen", np.float64),
    ("latest", np.float64),  # cycle before, and mean square of the steps from cycle to cycle
    ("restless", np.float64),
    ("usual_restless", np.float64),
    ("wanders", np.int64),  # 1 = the reference follows, slowly
    ("batch", np.int64),  # of the open batch mean: cycles and total
    ("batch_total", np.float64),
    ("learned", np.float64),  # values that a mean was learned from, and from how many at most
    ("enough", np.float64),
    ("worth", np.float64),  # its variance against that which is assumed: what each of them is worth
    ("held", np.float64),  # of the present excursion: total, outliers held; level of a share
    ("recent", np.float64),  # level of late, beside ``usual``: the trend; nothing is judged by it
])


@kernel
def follow(
    chart: Record, value: float, trials: float, t: int, per_limit: float, shift: float,
    factor: float,
) -> float:
    """One cycle on one chart; returns the mean of the present excursion."""
    if chart["known"] == 0 or np.isnan(value):
        return np.nan
    size = value
    if chart["scale"] > 0.0:
        z = (value - chart["centre"]) / (chart["scale"] * _noisier(chart, value))
        size = min(max(z, -_CLIP), _CLIP)
    if chart["sum"] <= 0.0:
        chart["since_ns"], chart["count"], chart["total"], chart["peak"] = t, 0.0, 0.0, 0.0
        chart["held"] = 0.0
    limit = _limit(chart, per_limit, trials)
    chart["rows"] += 1.0
    chart["count"] += trials
    chart["total"] += value
    if chart["scale"] > 0.0:
        chart["held"] += chart["centre"] + size * chart["scale"]
    actual = chart["total"] / chart["count"]
    if chart["wanders"] == 1:
        _wander(chart, chart["centre"] + size * chart["scale"], shift)
    now = _evidence(chart, size, trials, factor, limit)
    chart["peak"] = max(chart["peak"], now)
    if now >= limit:
        if chart["firing"] == 0:
            chart["sum"] = now  # from here on it is asked when it is over
        chart["firing"] = 1
    elif now <= 0.0 or _undecided(chart):
        if chart["firing"] == 0:
            _learn(chart, factor)
        chart["firing"], chart["sum"] = 0, 0.0
        if chart["peak"] > _LOW:
            chart["excursions"] += 1.0
            chart["excess"] += min(chart["peak"], limit) - _LOW
    return float(actual)


@kernel
def _evidence(
    chart: Record, size: float, trials: float, factor: float, limit: float
) -> float:
    """Nats for a loss after one more cycle, given how well the reference is known.

    The reference is as uncertain as its number of cycles makes it, so that the ratio of the
    likelihoods is one of means over that uncertainty (a Bayes factor with the reference as its
    prior: Gaussian for a mean, gamma for a share). While it fires, the plain ratio tells the end;
    of a share it is that of the level at the latest event, which what comes after does not dilute.
    """
    if chart["scale"] <= 0.0 and chart["firing"] == 1:
        share = chart["centre"]
        if size > 0.0 or chart["held"] == 0.0:
            chart["held"] = max(chart["total"] / chart["count"], factor * share)
        raised = chart["held"]
        reached = chart["sum"] + size * np.log(raised / share) - trials * (raised - share)
        chart["sum"] = min(max(reached, 0.0), _END)
        return float(chart["sum"])
    if chart["scale"] > 0.0:
        reached = chart["sum"] + chart["gain"] * size - trials * chart["cost"]
        doubt = 1.0
        if chart["firing"] == 0:
            doubt = 1.0 + chart["count"] / (chart["learned"] * chart["worth"])
        chart["sum"] = min(max(reached, 0.0), _REACH * limit * doubt)
        return float(chart["sum"] / doubt)
    count, seen = chart["count"], chart["seen"]
    cost = np.log((seen + factor * count) / (seen + count))
    reached = chart["total"] * np.log(factor) - (chart["events"] + 0.5 + chart["total"]) * cost
    chart["sum"] = max(reached, 0.0)
    return float(chart["sum"])


@kernel
def _undecided(chart: Record) -> bool:
    """Whether an excursion outlasts a reference that is known too little to tell it from itself."""
    if chart["firing"] == 1:
        return False
    if chart["scale"] > 0.0:
        little = chart["wanders"] == 0 and chart["learned"] < chart["enough"]
        return bool(little and chart["count"] > _OUTLASTS * chart["learned"] * chart["worth"])
    return bool(chart["events"] < _EVENTS and chart["count"] > _OUTLASTS * chart["seen"])


@kernel
def _learn(chart: Record, factor: float) -> None:
    """Let the reference follow an excursion that is over; a lasting loss is none, so never learned.

    So the reference goes on being refined after the warm-up, until it is known well enough.
    """
    if chart["scale"] <= 0.0:
        if chart["events"] < _EVENTS:
            _set_share(
                chart, chart["events"] + chart["total"], chart["seen"] + chart["count"], factor)
    elif chart["wanders"] == 0 and chart["learned"] < chart["enough"]:
        chart["learned"] += chart["count"]
        off = chart["held"] - chart["count"] * chart["usual"]
        chart["usual"] += off / chart["learned"]
        chart["centre"] = chart["usual"]


@kernel
def recall(chart: Record, value: float, weight: float) -> None:
    """Let the level of late follow one more value; NaN says nothing."""
    if chart["known"] == 1 and not np.isnan(value):
        chart["recent"] += weight * (value - chart["recent"])


@kernel
def forget(chart: Record) -> None:
    """Nothing is known any more; what was learned of excursions is not either."""
    chart["known"], chart["sum"], chart["peak"] = 0, 0.0, 0.0
    chart["rows"] = chart["excursions"] = chart["excess"] = 0.0


@kernel
def _noisier(chart: Record, value: float) -> float:
    """How many times more the cycles scatter than usual, at least 1: noisier is not slower.

    Told from the steps between neighbours, which a lasting shift does not change.
    """
    most = 6.0 * np.sqrt(max(chart["restless"], chart["usual_restless"]))
    step = min(abs(value - chart["latest"]), most)
    chart["latest"] = value
    chart["restless"] += (step * step - chart["restless"]) / _NOISE_CYCLES
    return float(max(1.0, np.sqrt(chart["restless"] / chart["usual_restless"]) / _NOISE_SLACK))


@kernel
def _wander(chart: Record, value: float, shift: float) -> None:
    """Let a reference that has a long memory follow, and its deviation with it."""
    chart["batch"] += 1
    chart["batch_total"] += value
    if chart["batch"] < _BATCH:
        return
    off = chart["batch_total"] / _BATCH - chart["centre"]
    chart["batch"], chart["batch_total"] = 0, 0.0
    square = min(_BATCH * off * off, 16.0 * chart["scale"] ** 2)
    chart["scale"] = np.sqrt(chart["scale"] ** 2 + _FORGET * (square - chart["scale"] ** 2))
    chart["centre"] += _FORGET * off
    chart["usual"] += _FORGET * off
    _weigh(chart, shift)


@kernel
def _weigh(chart: Record, shift: float) -> None:
    """Nats of a deviation and of a cycle, for a rise by the share ``shift``."""
    step = min(shift * abs(chart["centre"]) / chart["scale"], _STEADY)
    chart["gain"], chart["cost"] = step, 0.5 * step * step
    # Siegmund, Sequential Analysis (1985), section 2.6: excursions above so many nats, per cycle.
    chart["theory"] = 0.5 * step * step * np.exp(-_LOW - 1.166 * step)


@kernel
def _limit(chart: Record, per_limit: float, trials: float) -> float:
    """Nats that a healthy sum exceeds once in ``per_limit`` rows."""
    usual = chart["theory"] * trials
    rate = (chart["excursions"] + _PRIOR) / (chart["rows"] + _PRIOR / usual)
    decay = (chart["excursions"] + _PRIOR) / (chart["excess"] + _PRIOR)
    decay = min(max(decay, 0.05), 1.0)
    return float(_LOW + max(np.log(max(rate * per_limit, 1.0)) / decay, 1.0))


@kernel
def _learn_excursions(chart: Record, values: Float64) -> None:
    """How high sums come on the asset's own cycles: each half judged by the other half's middle.

    A cycle time with a long memory wanders away from its earlier self in good health; a sum that
    was fitted to the same cycles never shows it.
    """
    half = values.size // 2
    for part in range(2):
        own = values[:half] if part == 0 else values[half:]
        other = values[half:] if part == 0 else values[:half]
        centre = _held_mean(other, chart["centre"], chart["scale"])
        reached = peak = count = 0.0
        for i in range(own.size):
            z = min(max((own[i] - centre) / chart["scale"], -_CLIP), _CLIP)
            reached = max(reached + chart["gain"] * z - chart["cost"], 0.0)
            count += 1.0
            peak = max(peak, reached / (1.0 + count / (other.size * chart["worth"])))
            if (reached <= 0.0 or i + 1 == own.size) and peak > _LOW:
                chart["excursions"] += 1.0
                chart["excess"] += min(peak, _PEAK) - _LOW
                peak = 0.0
            if reached <= 0.0:
                peak = count = 0.0
    chart["rows"] += values.size


@kernel
def _held_mean(values: Float64, centre: float, scale: float) -> float:
    total = 0.0
    for i in range(values.size):
        total += min(max(values[i], centre - _CLIP * scale), centre + _CLIP * scale)
    return float(total / values.size)


@kernel
def freeze_mean(
    chart: Record, column: Float64, shift: float, below: float, least: int, floor: float
) -> None:
    """Centre and long-run deviation; a rise by ``shift`` is worth gain · z − cost nats a cycle."""
    values = column[np.isfinite(column) & (column < below)]
    if values.size < least:
        return
    centre = median(values)
    ordered = np.sort(values)
    quarter = values.size // 4
    scale = (ordered[values.size - 1 - quarter] - ordered[quarter]) / 1.349
    scale = max(scale, 0.5 * values.std())  # coarse counts: most values may be the same
    held = np.minimum(np.maximum(values, centre - _CLIP * scale), centre + _CLIP * scale)
    for _ in range(4):  # the mean of what the sums will see: a skewed tail weighs, an outlier not
        centre = held.mean()
        held = np.minimum(np.maximum(values, centre - _CLIP * scale), centre + _CLIP * scale)
    batches = held.size // _BATCH
    means = np.empty(batches)
    for b in range(batches):
        means[b] = held[b * _BATCH : (b + 1) * _BATCH].mean()
    spread = 0.0
    if batches >= 4:
        spread = np.sqrt(_BATCH * ((means - means.mean()) ** 2).sum() / (batches - 1))
        if spread > _BEYOND * held.std():
            scale = max(scale, spread)
    # Ten batches know little; neighbours tell more of a memory that fades (as an AR(1) does).
    off = held - held.mean()
    memory = (off[1:] * off[:-1]).sum() / max((off * off).sum(), 1e-300)
    fading = held.std()
    if memory > 2.0 / np.sqrt(values.size):
        fading *= np.sqrt((1.0 + memory) / max(1.0 - memory, 0.02))
        scale = max(scale, fading)
    known = max(scale, 1e-300)
    scale = max(scale * (1.0 + _FEW / values.size), floor * abs(centre), 1e-300)
    chart["usual"] = chart["centre"] = centre
    chart["scale"], chart["learned"] = scale, float(values.size)
    chart["enough"], chart["worth"] = _TIMES * values.size, min((scale / known) ** 2, 1e6)
    explained = memory <= _FADING and spread <= _BEYOND * fading
    chart["wanders"] = 1 if scale > _WANDER * held.std() and not explained else 0
    _weigh(chart, shift)
    chart["known"] = 1
    steps = np.minimum(np.abs(held[1:] - held[:-1]), 2.0 * _CLIP * scale)
    chart["recent"] = centre
    chart["usual_restless"] = max((steps * steps).mean(), 2.0 * (floor * centre) ** 2)
    chart["restless"], chart["latest"] = chart["usual_restless"], values[values.size - 1]
    _learn_excursions(chart, values)


@kernel
def freeze_share(chart: Record, events: float, cycles: float, factor: float) -> None:
    """Probability per cycle, from the warm-up's; seldom events go on being learned from."""
    if cycles < 50.0:
        return
    chart["known"] = 1
    _set_share(chart, events, cycles, factor)
    chart["recent"] = chart["usual"]


@kernel
def _set_share(chart: Record, events: float, cycles: float, factor: float) -> None:
    """An event is worth ln factor, a cycle costs ln of the mean weight."""
    chart["events"], chart["seen"] = events, cycles
    # Half an event more than was seen: a share that was never seen is not nought.
    share = min((events + 0.5) / (cycles + 1.0), 0.5)
    raised = min(factor * share, 0.9)
    chart["centre"], chart["usual"] = share, max(events, 0.5) / cycles
    chart["scale"] = 0.0
    chart["cost"] = -np.log((1.0 - raised) / (1.0 - share))
    chart["gain"] = np.log(raised / share) + chart["cost"]
    # The mean time between excursions of Poisson events, by scale functions (Avram, Kyprianou,
    # Pistorius, Annals of Applied Probability 14 (2004), section 3), its leading term.
    chart["theory"] = (
        share * (factor - 1.0 - np.log(factor)) ** 2 / (factor * np.log(factor) - factor + 1.0)
        * np.exp(-_LOW))


@kernel
def median(values: Float64) -> float:
    ordered = np.sort(values)
    middle = ordered.size // 2
    if ordered.size % 2:
        return float(ordered[middle])
    return float(0.5 * (ordered[middle - 1] + ordered[middle]))
