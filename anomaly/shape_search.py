"""The search of one window of a signal for a shape that repeats: period, marker, reference.

The period is the first deep dip of the difference function (YIN; de Cheveigné and Kawahara, JASA
111 (2002)): noise has none, nor has a slow wander. The marker is the level, direction and smoothing
whose crossings come most regularly, one a period. The reference is the mean of the cycles between
crossings, each stretched to the same length. All of it must be so of nearly every cycle in the
window, or nothing is found: a false cycle costs more than one that is never found. The kernels
under ``shapes``; no state, no time, lengths in bins of the window.
"""

from __future__ import annotations

import numpy as np

from anomaly.batches import Float64
from anomaly.kernel import kernel
from anomaly.numerics import ordered_quantile

#: Bins of a window, and of the reference shape.
WINDOW, BINS = 1024, 32
#: What is found: length, smoothing (time constant, 0 = none), way (1 up, −1 down), level,
#: hysteresis, confidence.
FIELDS = 6

_SHORTEST = 6  # bins of a period
_LONGEST = WINDOW // 16  # so that twice as much still shows: two parts a stroke, or two strokes
_TWICE = 0.5  # a dip at twice the lag that is so much deeper is the period
#: Depth of the dip: 1 is noise, 0 repeats exactly. Independent noise stays above 0.8 over a window.
_DIP = 0.35
_FEWEST = 6  # cycles in the window
_SCATTER = 0.15  # of the lengths, robust
_REGULAR = 0.25  # a length that differs by more is none of the regular ones,
_SHARE = 0.6  # and so many must be
_LIKENESS = 0.7  # median correlation of one cycle with the mean of the others
_BAND = 0.1  # hysteresis, of the range
_SMOOTHINGS = (0.0, 1.0 / 16.0, 1.0 / 6.0)  # of the period
_LEVELS = (0.5, 0.35, 0.65, 0.2, 0.8)  # of the range
_BETTER = 0.8  # a later candidate must scatter by so much less


@kernel
def search(values: Float64, found: Float64, reference: Float64) -> bool:
    """Look for a shape in ``values float64[WINDOW]``; fills ``found`` and ``reference``."""
    ordered = np.sort(values)
    if not ordered_quantile(ordered, 0.98) > ordered_quantile(ordered, 0.02):
        return False
    period = first_dip(values)
    if period == 0:
        return False
    best = _SCATTER
    chosen = np.zeros(0)
    for share in _SMOOTHINGS:
        smoothing = share * period
        smooth = smoothed(values, smoothing)
        ordered = np.sort(smooth[period:])
        low, high = ordered_quantile(ordered, 0.02), ordered_quantile(ordered, 0.98)
        for part in _LEVELS:
            for way in (1.0, -1.0):
                level, band = low + part * (high - low), _BAND * (high - low)
                at = crossings(smooth, way, level, band, period // 2)
                if at.size < _FEWEST + 1:
                    continue
                scatter = _scatter(at, period)
                if scatter < best * (_BETTER if chosen.size else 1.0):
                    best, chosen = scatter, at
                    found[1], found[2], found[3], found[4] = smoothing, way, level, band
    if chosen.size == 0:
        return False
    length = np.diff(chosen)
    usual = np.median(length)
    found[0] = usual
    regular = np.abs(length / usual - 1.0) <= _REGULAR
    shapes = np.empty((int(regular.sum()), BINS))
    n = 0
    for c in range(length.size):
        if regular[c]:
            stretched(values, chosen[c], chosen[c + 1], shapes[n])
            n += 1
    total = np.zeros(BINS)
    for c in range(n):
        total += shapes[c]
    likeness = np.empty(n)
    for c in range(n):
        likeness[c] = correlation(shapes[c], total - shapes[c])
    usual_likeness = np.median(likeness)
    reference[:] = total / n
    found[5] = usual_likeness * n / length.size
    return bool(n >= _FEWEST and usual_likeness >= _LIKENESS)


@kernel
def first_dip(values: Float64) -> int:
    """The shortest lag at which the signal resembles itself, 0 = none."""
    depth = depths(values, 2 * _LONGEST + 2)
    lag = _dip(depth, _SHORTEST, _LONGEST)
    if lag == 0:
        return 0
    twice = _dip(depth, max(2 * lag - lag // 4, _SHORTEST), min(2 * lag + lag // 4, 2 * _LONGEST))
    return int(twice if twice > 0 and depth[twice] < _TWICE * depth[lag] else lag)


@kernel
def depths(values: Float64, lags: int) -> Float64:
    """Mean squared difference at each lag over its mean at all shorter ones; 1 at lag 0."""
    kept = values.size - lags
    out = np.ones(lags)
    running = 0.0
    for lag in range(1, lags):
        first = second = 0.0  # two sums: one alone waits for itself; every other bin is enough
        for i in range(0, kept - 2, 4):
            step = values[i] - values[i + lag]
            first += step * step
            step = values[i + 2] - values[i + 2 + lag]
            second += step * step
        difference = first + second
        running += difference
        if running > 0.0:
            out[lag] = difference * lag / running
    return out


@kernel
def _dip(depth: Float64, first: int, last: int) -> int:
    """The first deep local minimum at lags ``first … last``, 0 = none."""
    for lag in range(first, last + 1):
        if depth[lag] < _DIP and depth[lag - 1] >= depth[lag] <= depth[lag + 1]:
            return lag
    return 0


@kernel
def smoothed(values: Float64, constant: float) -> Float64:
    """First-order low pass with a time constant in bins; 0 = the values themselves."""
    out = values.copy()
    if constant > 0.0:
        weight = 1.0 - np.exp(-1.0 / constant)
        for i in range(1, out.size):
            out[i] = out[i - 1] + weight * (values[i] - out[i - 1])
    return out


@kernel
def crossings(values: Float64, way: float, level: float, band: float, soonest: int) -> Float64:
    """Places (in bins, interpolated) where the signal comes through the level after a dip below.

    A crossing less than ``soonest`` bins after another is a second edge of the same cycle.
    """
    out = np.empty(values.size)
    n = 0
    armed = False
    for i in range(1, values.size):
        now, was = way * values[i], way * values[i - 1]
        if now < way * level - band:
            armed = True
        if armed and now >= way * level:
            armed = False
            share = 1.0 if now <= was else (way * level - was) / (now - was)
            at = i - 1.0 + min(max(share, 0.0), 1.0)
            if n == 0 or at - out[n - 1] >= soonest:
                out[n] = at
                n += 1
    return out[:n].copy()


@kernel
def _scatter(at: Float64, period: int) -> float:
    """Robust relative scatter of the lengths; infinite where they are not one period each."""
    length = np.diff(at)
    usual = np.median(length)
    off = np.abs(length / usual - 1.0)
    if abs(usual / period - 1.0) > _REGULAR or (off <= _REGULAR).mean() < _SHARE:
        return np.inf
    return float(1.4826 * np.median(off))


@kernel
def stretched(values: Float64, start: float, end: float, out: Float64) -> None:
    """The cycle from ``start`` to ``end`` at the middles of so many equal bins, interpolated."""
    for b in range(out.size):
        at = start + (b + 0.5) * (end - start) / out.size
        i = min(int(at), values.size - 2)
        out[b] = values[i] + (at - i) * (values[i + 1] - values[i])


@kernel
def correlation(one: Float64, other: Float64) -> float:
    """Pearson's; 0 where one of them is constant."""
    mean, mine = one.mean(), other.mean()
    both = first = second = 0.0
    for b in range(one.size):
        x, y = one[b] - mean, other[b] - mine
        both += x * y
        first += x * x
        second += y * y
    if not first * second > 0.0:
        return 0.0
    return float(both / np.sqrt(first * second))
