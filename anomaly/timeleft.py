"""Time left: when a slow trend will reach its limit, as a range that can be believed.

The forecast extrapolates a robust straight line as far ahead as it looks back, and no further than
the asset's own history is long: the window is the shortest that is no shorter than its own
forecast. How wrong such a forecast is depends on the signal: bearings pause, wear accelerates.
So the same forecast is made again at earlier moments of the same history, for levels that were
reached since and for the limit that was not, and their errors, with a prior, give the range.

Called when an alert changes or a page is drawn, never per row; yet an alert waits for it, so that
the lines are a kernel. :func:`follow` keeps the history it needs in a fixed number of block means
per signal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64, Int64
from anomaly.kernel import kernel
from anomaly.numerics import pairwise_sum

#: Block means kept per signal; when they are full, neighbours are merged and blocks grow twofold.
POINTS = 128

#: Fewer points than this are no history.
FEWEST_POINTS = 16

#: 10 % and 90 % of a normal distribution.
_TENTH = 1.2816
#: Errors (log of true over forecast) that every range starts with, as if six had been seen: trends
#: end earlier than a straight line says by a third, but stall for far longer.
_PRIOR_COUNT, _PRIOR_EARLY, _PRIOR_LATE = 6.0, 0.4, 1.15
_ERROR_LIMIT = 2.5  # a stall of twelve times the forecast counts as one of twelve times
_BACKTESTS = 8
_WINDOWS = 16
_SHORTEST = 12.0  # points of the shortest window
_LINE_POINTS = 40  # 780 slopes
_LEAST_SLOPE = 3.0  # a slope below so many standard errors is no trend

_HISTORY = np.dtype([
    ("blocks", np.int64), ("length", np.int64),  # full blocks; rows per block
    ("count", np.int64), ("sum", np.float64),  # of the open block
    ("latest", np.float64),
])


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """Seconds until the limit: one in ten is earlier than ``p10``, one in ten later than ``p90``.

    ``backtests`` is how many of the signal's own earlier forecasts the range rests on.
    """

    p10: float
    p50: float
    p90: float
    backtests: int

    def lasts(self, seconds: float) -> str:
        """Whether it will last so long: ``yes``, ``no`` or ``uncertain``."""
        if self.p10 > seconds:
            return "yes"
        return "no" if self.p90 < seconds else "uncertain"


@dataclass(frozen=True, slots=True)
class _Line:
    """A forecast without its range, in points; ``spread`` is the line's own relative error."""

    ahead: float
    spread: float


def allocate(signals: int) -> dict[str, npt.NDArray[Any]]:
    """Histories of so many signals, all empty."""
    return {"tag_history": np.zeros(signals, _HISTORY), "tag_points": np.zeros((signals, POINTS))}


@kernel
def follow(
    tag_history: npt.NDArray[np.void], tag_points: Float64, tag: Int64, value: Float64
) -> None:
    """Add values to histories: ``tag int64[n]``, ``value float64[n]``, NaN = none."""
    for i in range(tag.size):
        add(tag_history[tag[i]], tag_points[tag[i]], value[i])


@kernel
def add(own: Any, points: Float64, value: float) -> None:
    """Add one value to one history."""
    if np.isnan(value):
        return
    own["length"] = max(own["length"], 1)
    own["count"] += 1
    own["sum"] += value
    own["latest"] = value
    if own["count"] < own["length"]:
        return
    points[own["blocks"]] = own["sum"] / own["count"]
    own["blocks"] += 1
    own["count"], own["sum"] = 0, 0.0
    if own["blocks"] == points.size:
        for k in range(points.size // 2):
            points[k] = 0.5 * (points[2 * k] + points[2 * k + 1])
        own["blocks"] = points.size // 2
        own["length"] *= 2


def history(state: dict[str, npt.NDArray[Any]], tag: int) -> tuple[Float64, int]:
    """The block means of one signal, oldest first, and how many values each stands for."""
    own = state["tag_history"][tag]
    points: Float64 = state["tag_points"][tag, : own["blocks"]].copy()
    return points, int(own["length"])


def forecast(
    points: Float64, point_seconds: float, limit: float, upward: bool
) -> TimeLeft | None:
    """How long until a signal reaches its limit.

    Parameters
    ----------
    points : float64[n]
        The smoothed signal at even steps, oldest first, up to now; finite.
    point_seconds : float
        Between two points.
    limit : float
        In the signal's unit.
    upward : bool
        Whether the limit is reached from below.

    Returns
    -------
    TimeLeft or None
        None where there is no trend towards the limit, the history is too short, or the limit lies
        further ahead than the history reaches back: nobody can know then. Zero at the limit.
    """
    if points.size < FEWEST_POINTS or not np.isfinite(limit):
        return None
    rising = points if upward else -points
    level = limit if upward else -limit
    if sorted(rising[-3:].tolist())[1] >= level:
        return TimeLeft(0.0, 0.0, 0.0, 0)
    line = _line(rising, level)
    if line is None:
        return None
    errors = np.clip(np.array(_own_errors(rising, level)), -_ERROR_LIMIT, _ERROR_LIMIT)
    early = _deviation(np.minimum(errors, 0.0), _PRIOR_EARLY, line.spread)
    late = _deviation(np.maximum(errors, 0.0), _PRIOR_LATE, line.spread)
    seconds = line.ahead * point_seconds
    return TimeLeft(
        float(seconds * np.exp(-_TENTH * early)), float(seconds * np.exp(0.15 * (late - early))),
        float(seconds * np.exp(_TENTH * late)), len(errors),
    )


def _deviation(errors: Float64, prior: float, spread: float) -> float:
    """Root mean square of the errors on one side, the prior among them, and the line's own."""
    seen = np.count_nonzero(errors)
    mean = (_PRIOR_COUNT * prior**2 + float((errors**2).sum())) / (_PRIOR_COUNT + seen)
    return float(np.hypot(np.sqrt(mean), spread))


def _own_errors(points: Float64, level: float) -> list[float]:
    """Log of true over forecast time at earlier moments of the same signal.

    For 80 % of the highest rise since then, when it is known; and for the limit itself, which was
    not reached: where the forecast has passed, the error is at least what has passed since.
    """
    found = []
    n = points.size
    for cut in np.linspace(0.3 * n, 0.92 * n, _BACKTESTS).astype(int).tolist():
        past, later = points[:cut], points[cut:]
        if cut < FEWEST_POINTS:
            continue
        line = _line(past, level)
        if line is not None and later.size > line.ahead:
            found.append(float(np.log(later.size / line.ahead)))
        base, top = float(np.median(past[-5:])), float(later.max())
        if top <= base:
            continue
        reached = base + 0.8 * (top - base)
        line = _line(past, reached)
        if line is not None:
            took = int(np.argmax(later >= reached)) + 1
            found.append(float(np.log(took / line.ahead)))
    return found


def _line(points: Float64, level: float) -> _Line | None:
    """Straight line to the level, looking back as far as it looks ahead; None = no trend."""
    ahead, spread = line(np.ascontiguousarray(points), level)
    return None if np.isnan(ahead) else _Line(float(ahead), float(spread))


@kernel
def line(points: Float64, level: float) -> tuple[float, float]:
    """Points until the level, and the relative error of that; NaN where there is no trend.

    The slope is the median of the slopes between all pairs of points (Sen, "Estimates of the
    regression coefficient based on Kendall's tau", JASA 63 (1968) 1379-1389, section 2). Windows
    from short to long, up to the first that looks back as far as it looks ahead; without one, the
    last that rises. Most lines that are asked for are none, so a window is measured only as far as
    it must be: that it does not rise, or not enough to reach the level, is told by counting pairs.
    """
    n = points.size
    ahead, spread, certainty, last, put_off = np.nan, np.nan, 0.0, 0, 0
    slopes = np.empty(_LINE_POINTS * (_LINE_POINTS - 1) // 2)
    for k in range(_WINDOWS):
        window = n if k == _WINDOWS - 1 else _window(n, k)
        if window == last:
            continue
        last = window
        y, step = thinned(points[n - window :])
        half = _first_of(y.size * (y.size - 1) // 2, 0.5)
        falling = _below(y, 0.0)
        if falling >= half + 2:
            continue
        # The line ends at most its own rise over the window above the highest point, so a slope
        # below this one reaches the level only behind the window; less than a rounding below.
        least = (level - y.max()) / (2.0 * window) * (1.0 - 1e-6)
        if falling <= half and least > 0.0 and _below(y, least * step) >= half + 2:
            put_off = window
            continue
        count = _slopes(y, step, slopes)
        order(slopes, 0, count, _first_of(count, 0.5))
        slope = quantile(slopes, count, 0.5)
        if slope <= 0.0:
            continue
        now = middle(_ends(y, step, window, slope))
        if (level - now) / slope > window:
            put_off = window
            continue
        ahead, spread, certainty = _measured(y, step, window, level, slopes, count)
        put_off = 0
        if ahead <= window:
            break
    if put_off == n:
        return np.nan, np.nan  # further ahead than the history reaches back
    if put_off > 0:
        y, step = thinned(points[n - put_off :])
        count = _slopes(y, step, slopes)
        ahead, spread, certainty = _measured(y, step, put_off, level, slopes, count)
    if certainty < _LEAST_SLOPE or ahead > n:
        return np.nan, np.nan
    return max(ahead, 1e-9), min(spread, 1.5)


@kernel
def _below(y: Float64, slope: float) -> int:
    """Pairs of points whose slope, per point, is this at most."""
    count = 0
    for apart in range(1, y.size):
        later, most = y[apart:], slope * apart
        for i in range(later.size):
            count += 1 if later[i] - y[i] <= most else 0
    return count


@kernel
def _slopes(y: Float64, step: int, slopes: Float64) -> int:
    """Slopes between all pairs of points that stand ``step`` apart; how many.

    Pairs of one distance after another: one divisor for many, which the processor does at once.
    """
    count = 0
    for apart in range(1, y.size):
        distance, later = float(apart * step), y[apart:]
        found = slopes[count : count + later.size]
        for i in range(later.size):
            found[i] = (later[i] - y[i]) / distance
        count += later.size
    return count


@kernel
def _ends(y: Float64, step: int, window: int, slope: float) -> Float64:
    """Where each point would be by the window's end, if it went on with the slope."""
    places = (window - y.size * step) + (np.arange(y.size) + 0.5) * step - 0.5
    found: Float64 = y + slope * (window - 1 - places)
    return found


@kernel
def _measured(
    y: Float64, step: int, window: int, level: float, slopes: Float64, count: int
) -> tuple[float, float, float]:
    """Points until the level by one window's line, its relative error, slope over its error."""
    order(slopes, 0, count, _first_of(count, 0.25))
    order(slopes, _first_of(count, 0.25), count, _first_of(count, 0.5))
    slope = quantile(slopes, count, 0.5)
    order(slopes, _first_of(count, 0.5), count, _first_of(count, 0.75))
    width = quantile(slopes, count, 0.75) - quantile(slopes, count, 0.25)
    ends = _ends(y, step, window, slope)
    now = middle(ends.copy())
    noise = 1.4826 * middle(np.abs(ends - now))
    error = width / 1.35 / np.sqrt(y.size / 2.0)  # of the median of the slopes
    gap = max(level - now, 0.25 * noise, 1e-300)
    ahead = gap / slope
    return ahead, np.hypot(error / slope, noise / gap), slope / max(error, 1e-300)


@kernel
def _window(n: int, k: int) -> int:
    """Points of the k-th window, from the shortest to all n, each longer by the same factor."""
    ratio = n / _SHORTEST
    return int(_SHORTEST * ratio ** (k / (_WINDOWS - 1.0)) + 1e-9)  # roots that should be whole


@kernel
def thinned(points: Float64) -> tuple[Float64, int]:
    """At most ``_LINE_POINTS`` block means up to the end, and the points of a block."""
    block = -(-points.size // _LINE_POINTS)
    blocks = points.size // block
    start = points.size - blocks * block
    y = np.empty(blocks)
    for b in range(blocks):
        if block < 8:  # one after another, as that does it, without the call
            total = -0.0
            for i in range(block):
                total += points[start + b * block + i]
        else:
            total = pairwise_sum(points[start + b * block : start + (b + 1) * block])
        y[b] = total / block
    return y, block


@kernel
def order(values: Float64, first: int, end: int, k: int) -> None:
    """Put ``values[k]`` where sorting would, no greater ones before it, no smaller ones behind it.

    Within ``first:end``; Hoare, "Algorithm 65: FIND", Communications of the ACM 4 (1961) 321. Six
    of 780 slopes are wanted, and sorting them all was most of what a forecast cost.
    """
    low, high = first, end - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if j < k:
            low = i
        if i > k:
            high = j


@kernel
def _first_of(count: int, q: float) -> int:
    """Of the two ordered values between which a quantile lies, the place of the first."""
    return int(np.floor(q * (count - 1)))


@kernel
def quantile(values: Float64, count: int, q: float) -> float:
    """``np.quantile(values[:count], q)``, bit for bit, where :func:`order` has done that place."""
    below = _first_of(count, q)
    gamma = q * (count - 1) - below
    above = values[below]
    if below + 1 < count:
        above = values[below + 1]
        for i in range(below + 2, count):
            above = min(above, values[i])
    step = above - values[below]
    if gamma >= 0.5:
        return float(above - step * (1.0 - gamma))
    return float(values[below] + step * gamma)


@kernel
def middle(values: Float64) -> float:
    """The median."""
    order(values, 0, values.size, _first_of(values.size, 0.5))
    return float(quantile(values, values.size, 0.5))
