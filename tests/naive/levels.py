"""Idle and running from a signal in plain Python: one asset, sample by sample."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

TRIED = (240, 480, 960)
LEAST, BELOW, SHORT = 0.5, 0.05, 3.0
MINUTE_NS = 60 * 10**9

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

    def follow(self, time_ns: int, value: float) -> bool | None:
        """Whether it runs, where this sample completed a mean and the levels are known."""
        if value != value:
            return None
        said = None
        tried = False
        if self.inside and time_ns - self.start >= self.length:
            mean = sum(self.inside) / len(self.inside)
            self.inside = []
            if self.known is not None:
                said = mean > self.known[0]
            else:
                self.means.append(mean)
                tried = len(self.means) in TRIED
        if not self.inside:
            self.start = time_ns
        self.inside.append(value)
        if tried:
            self._try()
        return said

    def _try(self) -> None:
        threshold, idle, running, confidence = self.guess(self.means)
        if confidence >= LEAST and idle >= -BELOW * running:
            changes = sum((a > threshold) != (b > threshold)
                          for a, b in itertools.pairwise(self.means))
            if len(self.means) / (changes + 1) < SHORT:  # the machine's own cycle shows
                self.length = min(4 * self.length, 60 * MINUTE_NS)
                self.means, self.inside = [], []
            else:
                self.known = threshold, idle, running, confidence
        elif len(self.means) == TRIED[-1]:
            self.means = self.means[TRIED[-1] // 2 :]
