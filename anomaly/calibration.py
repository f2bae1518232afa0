"""From raw scores to rarity: how often a row this odd comes on this machine when it is healthy.

Three steps, all frozen or learned per asset:

*Units.* Each detector's score is measured from its warm-up median in units of its own upper tail,
(q95 − median) / 2.3, so that detectors can be compared. The warm-up scores are *out of sample*
(``fit`` in detectors/__init__.py); in-sample ones broke the promise sixfold.

*Fusion.* The plain mean of the units over the detectors that have an opinion: quieter than a
maximum, and no weight to tune.

*Tail.* An excursion is a stretch of rows above the warm-up median; only its peak counts, so the
score's autocorrelation declusters itself and there is no gap to tune: an excursion of independent
rows lasts two, one of slow noise hundreds. An excursion is learned only when it has come back to
the median: a fault or drift that never comes back teaches nothing. Above the k-th largest peak a
generalised Pareto tail is laid by Bayes on a small grid of (shape, scale); the *predictive*
survival, not a point estimate, gives

    log10(return period in rows) = log10(rows / k) − log10 P(peak > score)

so that a short history by itself makes rare things look less rare. The 32 largest peaks ever are
kept; a peak learned online is winsorised a decade beyond the history, so that a fault does not
teach the tail. The warm-up's own peaks come from references that lack a fold, so they lie a little
high, much so where the warm-up holds few swings of a slow or seasonal noise: once the live rows are
:data:`HANDOVER` times as many, the tail is theirs alone. Source: Davison & Smith (1990), *Models
for exceedances over high thresholds*, JRSS B 52, §2–3 (peaks over threshold); Coles (2001), *An
Introduction to Statistical Modeling of Extreme Values*, §9.1 (predictive return levels).

What is assumed: the warm-up is healthy and like the healthy rows to come, several swings of the
slowest healthy motion among them; the tail beyond what was seen goes on like a generalised Pareto
tail, in the mean a little lighter than exponential (:data:`SHAPE_MEAN`: right on simulated noise of
eight kinds at one alarm in a thousand to a hundred thousand rows, ``benchmarks/promise.py``).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64, Int64
from anomaly.elementary import exponential, logarithm
from anomaly.kernel import kernel, kernel_uncounted

Float32 = npt.NDArray[np.float32]

VERSION = 3

#: Largest peaks kept, at most 31 of them in the tail: more added nothing in simulation. In 32 bits
#: each: they are sums of clipped units, and a light sensor has two kilobytes.
PEAKS = 32
#: Units outside are clipped: one wild detector must not outvote the rest for ever.
UNIT_LOW, UNIT_HIGH = -3.0, 60.0
#: (q95 − median) of an exponential tail is 2.3 scales.
UPPER_TAIL = 2.3
#: Learned peaks count at most this many decades beyond the rows seen.
WINSOR_DECADES = 1.0
#: Prior of the tail's shape: N(−0.11, 0.1), a little lighter than exponential (a mean of clipped
#: units is) unless the peaks say otherwise (ablations.md, 18); and of its log scale around the
#: warm-up's own: N(log s0, 0.7), a factor of two either way.
SHAPE_MEAN, SHAPE_DEVIATION = -0.11, 0.1
LOG_SCALE_DEVIATION = 0.7
#: The live rows alone make the tail when they are so many times the warm-up's and have shown this
#: many excursions.
HANDOVER, HANDOVER_EXCURSIONS = 2.0, 64
#: Fewest finite warm-up scores that make a unit or a tail.
FEWEST_SCORES = 8
#: Largest log10 return period said; beyond it nothing is known.
LOG10_LIMIT = 30.0

#: What a detector is here, index = code: one that follows quickly (a drop of it means that the
#: cause has gone), one too slow for that, and one that ranks rows but raises no alert: its norms
#: grow for thousands of rows, so its warm-up says little about the rows to come. ``rank`` ranks
#: rows too and raises no alert, but is measured in tail units like those that do. ``alone`` has a
#: share of the alert budget of its own (``watchers``), and part neither in mean nor in score.
ROLES = ("fast", "slow", "novelty", "rank", "alone")
FAST, SLOW, NOVELTY, RANK, ALONE = 0, 1, 2, 3, 4
#: Rows at which a frozen reference counts half in the score.
REFERENCE_ROWS = 2000.0
#: Rows at which novelty counts half (its square does): with a short history much is new.
NOVELTY_ROWS = 1000.0
#: Weight of the novelty, which is in deviations of log distance, against tail units.
NOVELTY_WEIGHT = 3.0
#: Steps of the novelty that can be news, the first for one row in forty, each so much above it …
NEWS_FROM, NEWS_STEP, NEWS_STEPS = 5.0, 1.2, 12
#: … where none as high came for so many rows; and how much more such a row's novelty counts.
NEWS_ROWS = 200
NEWS_WEIGHT = 10.0

_SHAPES = np.linspace(-0.25, 0.65, 10)
_LOG_SCALES = -1.65 + 0.3 * np.arange(12)
_KNOTS = np.array([0, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 13, 18, 28, 48])
_LN10 = math.log(10.0)
#: Survival of every tail of the grid, none of shape 0, at every knot, in units of the mean excess.
_SURVIVAL = np.array([
    [[max(1 + xi * knot * math.exp(-log_scale), 0) ** (-1 / xi) for knot in _KNOTS.tolist()]
     for log_scale in _LOG_SCALES.tolist()] for xi in _SHAPES.tolist()])

MEMBER = np.dtype([("ready", np.int8), ("centre", np.float64), ("unit", np.float64)])
TAIL = np.dtype([
    ("ready", np.int8),
    ("median", np.float64),     # of the fused warm-up units: where an excursion begins
    ("prior_scale", np.float64),
    ("rows", np.float64),       # N
    ("excursions", np.int64),
    ("open", np.int8),          # 1 inside an excursion, 2 where this row ended one
    ("peak", np.float64),       # its highest score so far
    ("threshold", np.float64),  # u, the k-th largest peak
    ("scale", np.float64),      # unit of the table's knots
    ("count", np.float64),      # k
    ("live_rows", np.float64),  # since the warm-up, counted until the handover
    ("live_excursions", np.int64),
    ("handover", np.float64),   # live rows that it takes; 0 = it has been
])


def allocate(assets: int, members: int) -> dict[str, np.ndarray[Any, Any]]:
    """Per asset: the members' units, the tail, its largest peaks and its tabulated survival."""
    return {
        "asset_member": np.zeros((assets, members), MEMBER),
        "asset_tail": np.zeros(assets, TAIL),
        "asset_peaks": np.zeros((assets, 2 * PEAKS), np.float32),  # all, then the live ones
        "asset_table": np.zeros((assets, _KNOTS.size)),
    }


def allocate_news(assets: int) -> dict[str, np.ndarray[Any, Any]]:
    """Per asset and step of the novelty: rows since it was news."""
    return {"asset_news": np.full((assets, NEWS_STEPS), NEWS_ROWS + 1, np.int64)}


@kernel
def fit(
    asset_member: Any, asset_tail: Any, asset_peaks: Float32, asset_table: Float64,
    role: Int64, a: int, score: Float64, inflation: float,
) -> None:
    """Fit one asset on ``score float64[w, k]``, out-of-sample warm-up scores, NaN = no opinion.

    ``role int64[k]`` is each detector's place (:data:`ROLES`). ``inflation`` (≥ 1) widens the
    warm-up's excesses where it holds few independent rows (``reference.inflation``).
    """
    w, k = score.shape
    for j in range(k):
        _fit_member(asset_member[a, j], score[:, j])
    level = np.empty(w)
    units = np.empty((1, k))
    for r in range(w):
        level[r], _ = _fuse(asset_member, a, role, score, r, units, 0)
    _fit_tail(asset_tail[a], asset_peaks[a], asset_table[a], level, inflation)


@kernel
def step(
    asset_member: Any, asset_tail: Any, asset_peaks: Float32, asset_table: Float64,
    role: Int64, asset: Int64, score: Float64, units: Float64, level: Float64, fast: Float64,
    period_rows: Float64,
) -> None:
    """Rarity of m rows, each scored before it is learned.

    Outputs, NaN = no opinion: ``units float64[m, k]`` per detector; ``level float64[m]`` their
    mean and ``fast float64[m]`` the mean without the slow ones, both for the alert rule;
    ``period_rows float64[m]``.
    """
    for r in range(asset.size):
        a = asset[r]
        level[r], fast[r] = _fuse(asset_member, a, role, score, r, units, r)
        tail = asset_tail[a]
        log_rows = log10_rows(tail, asset_table, a, level[r])
        period_rows[r] = np.nan
        if log_rows == log_rows:
            period_rows[r] = exponential(_LN10 * min(log_rows, LOG10_LIMIT))
        if _follow_live(tail, level[r]):
            _learn(tail, asset_peaks[a], asset_table[a])


@kernel
def tell_score(
    asset_news: Any, asset_member: Any, role: Int64, asset: Int64, score: Float64,
    level: Float64, rows: Float64, fused: Float64,
) -> None:
    """The one score ``fused float64[m]`` ≥ 0: distance from the frozen reference plus novelty.

    ``level float64[m]`` is NaN while there is no reference, ``rows float64[m]`` the history behind
    each row: what is new says more the longer the history is, the reference less the older it
    gets. Where the novelty reaches a step that it has not reached for :data:`NEWS_ROWS` rows, the
    row is *news* and its score stands out: whoever sets a threshold on the score then gets one
    line per episode instead of a hundred. What is news early is news in full: the history's length
    weighs all other rows.
    """
    for r in range(asset.size):
        a = asset[r]
        novelty = np.nan
        reference, count = level[r], 1
        for j in range(role.size):
            if role[j] == NOVELTY:
                novelty = score[r, j]
            elif role[j] == RANK:
                unit = _unit(asset_member[a, j], score[r, j])
                if unit == unit:
                    reference += unit
                    count += 1
        fused[r] = np.nan
        if reference == reference:
            fused[r] = max(reference / count, 0.0) / (1.0 + rows[r] / REFERENCE_ROWS)
        if novelty == novelty:
            novelty *= NOVELTY_WEIGHT
            if _is_news(asset_news[a], novelty):
                novelty *= NEWS_WEIGHT
            else:
                novelty *= math.sqrt(rows[r] / (rows[r] + NOVELTY_ROWS))
            before = fused[r] if fused[r] == fused[r] else 0.0
            fused[r] = before + novelty


@kernel
def _is_news(last: Int64, novelty: float) -> bool:
    """Whether a step is reached for the first time in a while; ``last`` counts rows since then."""
    for k in range(last.size):
        last[k] += 1
    news = False
    for k in range(last.size):
        if novelty < NEWS_FROM * NEWS_STEP**k:
            break
        if last[k] > NEWS_ROWS:
            last[k] = 0
            news = True
        else:
            news = False
    return news


@kernel
def blame_all(units: Float64, evidence: Float64, total: Float64, lead: Int64) -> None:
    """:func:`blame` for every detector in turn, ``evidence float64[k, m, d]``."""
    for j in range(evidence.shape[0]):
        blame(units, evidence[j], total, lead, j)


@kernel
def blame(units: Float64, evidence: Float64, total: Float64, lead: Int64, j: int) -> None:
    """Add detector j's evidence to the rows' total, weighted by how odd it finds the row.

    ``evidence float64[m, d]`` in the detector's own unit; its share per row enters ``total``.
    ``lead int64[m]`` becomes j where j is the oddest detector so far.
    """
    for r in range(units.shape[0]):
        weight = units[r, j]
        if not weight > 1.0:
            continue
        if lead[r] < 0 or weight > units[r, lead[r]]:
            lead[r] = j
        whole = 0.0
        for c in range(evidence.shape[1]):
            whole += evidence[r, c]
        if whole > 0.0:
            for c in range(evidence.shape[1]):
                total[r, c] += weight * weight * evidence[r, c] / whole


@kernel_uncounted
def log10_rows(tail: Any, table: Float64, a: int, score: float) -> Any:
    """log10 of the return period in rows; NaN without a tail or a score."""
    if tail["ready"] == 0 or score != score:
        return np.nan
    base = logarithm(tail["rows"] / tail["count"]) / _LN10
    e = (score - tail["threshold"]) / tail["scale"]
    if e <= 0.0:
        return base + e / _LN10
    last = _KNOTS.size - 1
    for i in range(1, last + 1):
        if e <= _KNOTS[i]:
            part = (e - _KNOTS[i - 1]) / (_KNOTS[i] - _KNOTS[i - 1])
            return base + table[a, i - 1] + part * (table[a, i] - table[a, i - 1])
    slope = (table[a, last] - table[a, last - 1]) / (_KNOTS[last] - _KNOTS[last - 1])
    return base + table[a, last] + (e - _KNOTS[last]) * slope


@kernel
def _score_at(tail: Any, table: Float64, log_rows: float) -> Any:
    """The score whose log10 return period is ``log_rows``; inverse of :func:`log10_rows`."""
    rest = log_rows - logarithm(tail["rows"] / tail["count"]) / _LN10
    if rest <= 0.0:
        return tail["threshold"]
    for i in range(1, _KNOTS.size):
        if rest <= table[i]:
            part = (rest - table[i - 1]) / (table[i] - table[i - 1])
            knot = _KNOTS[i - 1] + part * (_KNOTS[i] - _KNOTS[i - 1])
            return tail["threshold"] + tail["scale"] * knot
    return tail["threshold"] + tail["scale"] * _KNOTS[_KNOTS.size - 1]


@kernel
def _fit_member(member: Any, score: Float64) -> None:
    kept = np.sort(score[np.isfinite(score)])
    member["ready"] = 0
    if kept.size < FEWEST_SCORES:
        return
    centre = _quantile(kept, 0.5)
    member["centre"] = centre
    member["unit"] = max(
        (_quantile(kept, 0.95) - centre) / UPPER_TAIL, 1e-9 * (1.0 + abs(centre))
    )
    member["ready"] = 1


@kernel_uncounted
def _unit(member: Any, score: float) -> float:
    """The score in its detector's units; NaN without a score or a warm-up."""
    if member["ready"] == 0 or score != score:
        return np.nan
    unit: float = (score - member["centre"]) / member["unit"]
    return min(max(unit, UNIT_LOW), UNIT_HIGH)


@kernel_uncounted  # whole arrays: counting slices of them was a third of the time
def _fuse(
    member: Any, a: int, role: Int64, score: Float64, r: int, units: Float64, to: int
) -> tuple[float, float]:
    """Means of the units of all that argue for alerts, and of the fast ones among them."""
    total = fast_total = 0.0
    count = fast_count = 0
    for j in range(role.size):
        units[to, j] = np.nan
        if role[j] == NOVELTY or role[j] == RANK or role[j] == ALONE:
            continue
        unit = _unit(member[a, j], score[r, j])
        units[to, j] = unit
        if unit != unit:
            continue
        total += unit
        count += 1
        if role[j] == FAST:
            fast_total += unit
            fast_count += 1
    level = total / count if count > 0 else np.nan
    return level, fast_total / fast_count if fast_count > 0 else level


@kernel
def _fit_tail(
    tail: Any, peaks: Float32, table: Float64, level: Float64, inflation: float
) -> None:
    kept = np.sort(level[np.isfinite(level)])
    tail["ready"] = 0
    if kept.size < FEWEST_SCORES:
        return
    median = _quantile(kept, 0.5)
    scale = max((_quantile(kept, 0.95) - median) / UPPER_TAIL, 1e-9 * (1.0 + abs(median)))
    tail["median"] = median
    tail["prior_scale"] = scale * inflation
    tail["rows"] = 0.0
    tail["excursions"] = 0
    tail["open"] = 0
    for r in range(level.size):
        if level[r] == level[r]:
            _follow(tail, median + (level[r] - median) * inflation)
            if tail["open"] == 2:
                _insert(peaks[:PEAKS], tail["excursions"], tail["peak"])
                tail["excursions"] += 1
    if tail["open"] == 1:
        _insert(peaks[:PEAKS], tail["excursions"], tail["peak"])
        tail["excursions"] += 1
    tail["open"] = 0
    tail["live_rows"], tail["live_excursions"] = 0.0, 0
    tail["handover"] = HANDOVER * tail["rows"]
    _lay_tail(tail, peaks, table)
    tail["ready"] = 1


@kernel_uncounted
def _follow_live(tail: Any, score: float) -> bool:
    """Count the row; whether it ended an excursion, so that its peak may enter the tail."""
    if tail["ready"] == 0 or score != score:
        return False
    _follow(tail, score)
    if tail["handover"] > 0.0:
        tail["live_rows"] += 1.0
    return bool(tail["open"] == 2)


@kernel
def _learn(tail: Any, peaks: Float32, table: Float64) -> None:
    """An excursion has ended: its peak may enter the tail."""
    peak = tail["peak"]
    if peak > tail["threshold"]:
        limit = math.log10(tail["rows"]) + WINSOR_DECADES
        peak = min(peak, _score_at(tail, table, limit))
    among = _insert(peaks[:PEAKS], tail["excursions"], peak)
    tail["excursions"] += 1
    if tail["handover"] > 0.0:
        _insert(peaks[PEAKS:], tail["live_excursions"], peak)
        tail["live_excursions"] += 1
        among = _hand_over(tail, peaks) or among
    if among:
        _lay_tail(tail, peaks, table)


@kernel
def _hand_over(tail: Any, peaks: Float32) -> bool:
    """Let go of the warm-up where enough was lived since; True where that is just now."""
    if tail["live_rows"] < tail["handover"] or tail["live_excursions"] < HANDOVER_EXCURSIONS:
        return False
    peaks[:PEAKS] = peaks[PEAKS:]
    tail["rows"], tail["excursions"] = tail["live_rows"], tail["live_excursions"]
    tail["handover"] = 0.0
    return True


@kernel_uncounted
def _follow(tail: Any, score: float) -> None:
    """Open, extend or end (``open`` = 2, until the next row) the excursion by one row."""
    if tail["open"] == 2:
        tail["open"] = 0
    tail["rows"] += 1.0
    above = score > tail["median"]
    if above:
        if tail["open"] == 0:
            tail["open"] = 1
            tail["peak"] = score
        tail["peak"] = max(tail["peak"], score)
    elif tail["open"] == 1:
        tail["open"] = 2


@kernel
def _insert(peaks: Float32, known: int, peak: float) -> bool:
    """Whether a peak is among the largest of ``known`` others; if so it is kept, descending."""
    if known >= PEAKS and peak <= peaks[PEAKS - 1]:
        return False
    i = min(known, PEAKS - 1)
    while i > 0 and peaks[i - 1] < peak:
        peaks[i] = peaks[i - 1]
        i -= 1
    peaks[i] = peak
    return True


@kernel
def _lay_tail(tail: Any, peaks: Float32, table: Float64) -> None:
    """Posterior of the generalised Pareto tail on the grid, and its predictive survival."""
    n = tail["excursions"]
    k = min(PEAKS - 1, max(3, n // 2))
    threshold = tail["median"]
    if n <= 3:
        k = n
    elif k < n:
        threshold = peaks[k]
    mean = 0.0
    for i in range(k):
        mean += peaks[i] - threshold
    mean = max((mean + 2.0 * tail["prior_scale"]) / (k + 2.0), 1e-12)
    log_mean, log_prior = math.log(mean), math.log(tail["prior_scale"])
    posterior = np.empty((_SHAPES.size, _LOG_SCALES.size))
    best = -np.inf
    for q in range(_LOG_SCALES.size):
        log_scale = log_mean + _LOG_SCALES[q]
        odd_scale = (log_scale - log_prior) / LOG_SCALE_DEVIATION
        for s in range(_SHAPES.size):
            odd_shape = (_SHAPES[s] - SHAPE_MEAN) / SHAPE_DEVIATION
            prior = -0.5 * (odd_shape * odd_shape + odd_scale * odd_scale)
            posterior[s, q] = prior + _density(peaks, k, threshold, _SHAPES[s], log_scale)
            best = max(best, posterior[s, q])
    whole, survival = 0.0, np.zeros(_KNOTS.size)
    for s in range(_SHAPES.size):
        for q in range(_LOG_SCALES.size):
            weight = exponential(posterior[s, q] - best)
            whole += weight
            for i in range(_KNOTS.size):
                survival[i] += weight * _SURVIVAL[s, q, i]
    for i in range(_KNOTS.size):
        table[i] = -math.log10(max(survival[i] / whole, 1e-30))
    tail["threshold"] = threshold
    tail["scale"] = mean
    tail["count"] = max(k, 1)


@kernel_uncounted
def _density(peaks: Float32, k: int, threshold: float, shape: float, log_scale: float) -> Any:
    """Log density of k excesses: Σ −log σ − (1 + 1/ξ) log(1 + ξ e/σ).

    One logarithm, of a product of 31 numbers at most. Each is at least 1e-9 and at most 120, for
    no excess is more than 33 times their mean: an ordinary number.
    """
    product, slope = 1.0, shape * exponential(-log_scale)
    for i in range(k):
        t = 1.0 + slope * (peaks[i] - threshold)
        if t <= 1e-9:  # beyond the end of a bounded tail
            return -1e300
        product *= t
    return -k * log_scale - (1.0 + 1.0 / shape) * logarithm(product)


@kernel
def _quantile(ordered: Float64, q: float) -> Any:
    position = q * (ordered.size - 1)
    below = int(position)
    above = min(below + 1, ordered.size - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])
