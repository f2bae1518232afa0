"""Idle, running and at rest from a signal in plain Python: one asset, sample by sample."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from statistics import fmean, median

import numpy as np

TRIED, USUAL = (240, 480, 960), (30, 60, 120)
LEAST, BELOW, SHORT = 0.5, 0.05, 3.0
HALF, STEADY, FALLEN = 0.5, 0.5, 0.3
MINUTE_NS = 60 * 10**9
HOUR_NS = 60 * MINUTE_NS

#: Of some means: threshold, idle, running, confidence.
Guess = Callable[[Sequence[float]], tuple[float, float, float, float]]


class Levels:
    """What is known of one asset, and what it said last."""

    def __init__(self, guess: Guess) -> None:
        self.guess = guess
        self.length = MINUTE_NS
        self.inside: list[float] = []
        self.start = 0
        self.means: list[float] = []
        self.known: tuple[float, float, float, float] | None = None
        self.rest = Rest()

    def follow(self, time_ns: int, value: float) -> tuple[bool | None, bool | None]:
        """Whether it runs, where this sample completed a mean; whether it rests at the sample."""
        if value != value:
            return None, None
        said = None
        tried = False
        if self.inside and time_ns - self.start >= self.length:
            mean = sum(self.inside) / len(self.inside)
            self.inside = []
            if self.known is not None:
                said = mean > self.known[0]
            else:
                self.means.append(mean)
                tried = True
        if not self.inside:
            self.start = time_ns
        self.inside.append(value)
        rest = self.rest.follow(time_ns, value, self.length)
        if tried and len(self.means) in USUAL:
            usual = median(self.means)
            if self.rest.highest is None and min(self.means) > STEADY * usual:
                self.rest.highest = FALLEN * usual
        elif tried and len(self.means) in TRIED:
            self._try()
        return said, rest

    def _try(self) -> None:
        threshold, idle, running, confidence = self.guess(self.means)
        if confidence >= LEAST and idle >= -BELOW * running:
            changes = sum((a > threshold) != (b > threshold)
                          for a, b in itertools.pairwise(self.means))
            self.rest.highest = None
            if len(self.means) / (changes + 1) < SHORT:  # the machine's own cycle shows
                self.length = min(4 * self.length, 60 * MINUTE_NS)
                self.means, self.inside = [], []
                return
            self.known = threshold, idle, running, confidence
            if idle < HALF * running:
                low = [mean for mean in self.means if mean <= threshold]
                self.rest.highest = min(
                    float(np.quantile(low, 0.95)) + 0.05 * (running - idle),
                    0.5 * (idle + threshold))
        elif len(self.means) == TRIED[-1]:
            self.means = self.means[TRIED[-1] // 2 :]
            self.rest.highest = None


class Rest:
    """Every sample so far, as (time, value), and how high one at rest may be; None = not known."""

    def __init__(self) -> None:
        self.highest: float | None = None
        self.asked = False
        self.low: list[int] = []  # times of the present run of low samples
        self.since = self.above = self.before = 0
        self.lows: list[int] = [0]  # samples in each low part of a cycle
        self.lengths: list[int] = [0]  # of rests that came to an end

    def follow(self, time_ns: int, value: float, cycle_ns: int) -> bool | None:
        """Whether the machine is at rest; None while nothing has been known."""
        if self.highest is None and not self.asked:
            return None
        if not self.asked or time_ns - self.before > HOUR_NS:
            self.since = time_ns
        self.asked, self.before = True, time_ns
        if self.highest is None or value > self.highest:
            if time_ns - self.above < cycle_ns:
                self.lows.append(len(self.low))
            elif len(self.low) > max(self.lows):
                self.lengths.append(time_ns - self.since)
            self.low, self.above = [], time_ns
            return False
        if not self.low:
            self.since = time_ns
        self.low.append(time_ns)
        trusted = max(72 * HOUR_NS, 2 * max(self.lengths))
        return len(self.low) > max(self.lows) and time_ns - self.since <= trusted


class Doubt:
    """Rests of one asset, row by row, with how far its other sensors are."""

    def __init__(self) -> None:
        self.work: list[float] = []
        self.rest: list[float] = []
        self.rests = 0
        self.began: int | None = None
        self.near = self.before = 0
        self.late = float("nan")

    def follow(self, time_ns: int, far: float, resting: bool) -> bool:
        """Whether it rests indeed; ``far``: mean capped deviation of the others, NaN = none."""
        step = min((time_ns - self.before) / (20 * MINUTE_NS), 1.0)
        self.before = time_ns
        if not resting:
            if self.began is not None and time_ns - self.began >= 10 * MINUTE_NS:
                self.rests += 1
            self.began = None
            if far == far:
                self.work.append(far)
            return False
        if self.began is None:
            self.began = self.near = time_ns
            self.late = far
        if far != far:
            self.near = time_ns
            return True
        self.late = far if self.late != self.late else self.late + step * (far - self.late)
        work, rest = (fmean(kept) if kept else 0.0 for kept in (self.work, self.rest))
        known = self.rests >= 3
        is_far = not known or self.late > work + 0.3 * (rest - work)
        if is_far:
            self.rest.append(far)
        if is_far or rest < 2.0 * work:
            self.near = time_ns
        return time_ns - self.near < HOUR_NS
