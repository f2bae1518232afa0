"""Cycles of a repeating signal in plain Python: the search of a window, and the following."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from anomaly.shape_search import BINS

DIP, TWICE, SCATTER, REGULAR = 0.35, 0.5, 0.15, 0.25
SHARE, LIKENESS, BAND, BETTER = 0.6, 0.7, 0.1, 0.8
SHORTEST, LONGEST, FEWEST = 6, 64, 6


def depths(x: np.ndarray) -> np.ndarray:
    """YIN's cumulative mean normalised difference, on every other bin, lags 0 … 129."""
    lags = 2 * LONGEST + 2
    kept = len(x) - lags
    places = np.concatenate([[i, i + 2] for i in range(0, kept - 2, 4)])
    difference = np.array([np.sum((x[places] - x[places + lag]) ** 2) for lag in range(lags)])
    mean = np.cumsum(difference)[1:] / np.arange(1, lags)
    return np.append(1.0, np.where(mean > 0.0, difference[1:] / np.maximum(mean, 1e-300), 1.0))


def period(x: np.ndarray) -> int:
    depth = depths(x)

    def dip(first: int, last: int) -> int:
        return next((k for k in range(first, last + 1) if depth[k] < DIP
                     and depth[k - 1] >= depth[k] <= depth[k + 1]), 0)

    lag = dip(SHORTEST, LONGEST)
    twice = dip(2 * lag - lag // 4, min(2 * lag + lag // 4, 2 * LONGEST)) if lag else 0
    return twice if twice and depth[twice] < TWICE * depth[lag] else lag


def low_pass(x: np.ndarray, constant: float) -> np.ndarray:
    if not constant:
        return x
    out = [x[0]]
    for value in x[1:]:
        out.append(out[-1] + (1.0 - math.exp(-1.0 / constant)) * (value - out[-1]))
    return np.array(out)


def crossings(x: np.ndarray, way: float, level: float, band: float, soonest: int) -> list[float]:
    found: list[float] = []
    armed = False
    y = way * (x - level)
    for i in range(1, len(y)):
        armed = armed or y[i] < -band
        if armed and y[i] >= 0.0:
            armed = False
            share = 1.0 if y[i] <= y[i - 1] else min(max(-y[i - 1] / (y[i] - y[i - 1]), 0.0), 1.0)
            if not found or i - 1 + share - found[-1] >= soonest:
                found.append(i - 1 + share)
    return found


def search(x: np.ndarray) -> dict[str, object] | None:
    """Length, smoothing, way, level, band, confidence and reference; None = no shape repeats."""
    lag = period(x) if np.quantile(x, 0.98) > np.quantile(x, 0.02) else 0
    if not lag:
        return None
    best, chosen = SCATTER, None
    for share in (0.0, 1 / 16, 1 / 6):
        smooth = low_pass(x, share * lag)
        low, high = np.quantile(smooth[lag:], (0.02, 0.98))
        for part in (0.5, 0.35, 0.65, 0.2, 0.8):
            for way in (1.0, -1.0):
                level, band = low + part * (high - low), BAND * (high - low)
                at = crossings(smooth, way, level, band, lag // 2)
                if len(at) < FEWEST + 1:
                    continue
                length = np.diff(at)
                usual = np.median(length)
                off = np.abs(length / usual - 1.0)
                if abs(usual / lag - 1.0) > REGULAR or np.mean(off <= REGULAR) < SHARE:
                    continue
                if 1.4826 * np.median(off) < best * (BETTER if chosen else 1.0):
                    best = 1.4826 * np.median(off)
                    chosen = (share * lag, way, level, band, at)
    if chosen is None:
        return None
    at = chosen[4]
    usual = float(np.median(np.diff(at)))
    grid = np.arange(len(x))
    shapes = [np.interp(a + (np.arange(BINS) + 0.5) * (b - a) / BINS, grid, x)
              for a, b in itertools.pairwise(at) if abs((b - a) / usual - 1.0) <= REGULAR]
    total = np.sum(shapes, axis=0)
    likeness = float(np.median([np.corrcoef(one, total - one)[0, 1] for one in shapes]))
    if len(shapes) < FEWEST or likeness < LIKENESS:
        return None
    return {"usual": usual, "smoothing": chosen[0], "way": chosen[1], "level": chosen[2],
            "band": chosen[3], "confidence": likeness * len(shapes) / (len(at) - 1),
            "reference": total / len(shapes)}


def cycles(
    found: dict[str, float], reference: np.ndarray, seconds: Sequence[float],
    values: Sequence[float], interval: float,
) -> list[tuple[float, float, bool]]:
    """Every crossing after the first: (second, length, whether it ended a cycle).

    ``found``: usual length and smoothing in seconds, way, level, band. The usual length follows.
    """
    told = []
    usual, smooth = found["usual"], values[0]
    start, armed, fitted = None, False, False
    samples: list[tuple[float, float]] = []
    for i in range(1, len(values)):
        passed = seconds[i] - seconds[i - 1]
        if passed > 2 * usual + 16 * interval:
            start, armed, fitted, smooth = None, False, False, values[i]
            continue
        before = smooth
        weight = 1.0 - math.exp(-passed / found["smoothing"]) if found["smoothing"] else 1.0
        smooth += weight * (values[i] - smooth)
        if start is not None:
            samples.append((seconds[i], values[i]))
        now, was = (found["way"] * (y - found["level"]) for y in (smooth, before))
        armed = armed or now < -found["band"]
        if not armed or now < 0.0:
            continue
        armed = False
        share = 1.0 if now <= was else min(max(-was / (now - was), 0.0), 1.0)
        at = seconds[i - 1] + share * passed
        if start is not None:
            length = at - start
            if length < 0.5 * usual:
                continue
            like = length <= 2.0 * usual and (
                likeness(samples, start, length, usual, reference) >= 0.6)
            fits = like or (length > 1.25 * usual and fitted)
            if like:
                usual += min(max(length - usual, -usual / 800), usual / 800)
            fitted = like
            told.append((seconds[i], length, fits))
        start, samples = at, [(seconds[i], values[i])]
    return told


def likeness(
    samples: list[tuple[float, float]], start: float, length: float, usual: float,
    reference: np.ndarray,
) -> float:
    """Correlation of one cycle with the reference: sixty-fourths of the usual length, stretched."""
    fine: dict[int, list[float]] = {}
    for t, value in samples:
        fine.setdefault(int((t - start) * 64 / usual), []).append(value)
    end = length / usual * 64
    bins: dict[int, list[float]] = {}
    held = None
    for k in range(min(math.ceil(end), 160)):
        held = float(np.mean(fine[k])) if k in fine else held
        if held is not None:
            bins.setdefault(min(int((k + 0.5) / end * BINS), BINS - 1), []).append(held)
    shape, known = [], 0.0
    for b in range(BINS):
        known = float(np.mean(bins[b])) if b in bins else known
        shape.append(known)
    return float(np.corrcoef(shape, reference)[0, 1])
