"""The charts in plain Python, straight from Page's sums and the Bayes factors of two means.

A chart sees values one by one and says after each whether it fires. ``limit`` is the one rule that
both kinds share: how often a healthy sum comes how high, by theory and by its own excursions.
``inside`` tells of each value the how-maniest of its excursion it was.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

LOW, PRIOR, REACH, CLIP, END = 1.0, 15.0, 1.5, 3.0, 6.0
EVENTS, OUTLASTS = 100.0, 2.0
BATCH, TIMES, FEW, BEYOND, PEAK = 25, 4.0, 2.0, 1.4, 60.0
NOISE_CYCLES, NOISE_SLACK = 40.0, 1.3


class Excursions:
    """How high the healthy sums came so far."""

    def __init__(self) -> None:
        self.rows = self.count = self.excess = 0.0

    def add(self, peak: float, most: float) -> None:
        if peak > LOW:
            self.count += 1.0
            self.excess += min(peak, most) - LOW

    def limit(self, theory: float, per_limit: float) -> float:
        """Nats that a healthy sum exceeds once in so many rows."""
        rate = (self.count + PRIOR) / (self.rows + PRIOR / theory)
        decay = min(max((self.count + PRIOR) / (self.excess + PRIOR), 0.05), 1.0)
        return LOW + max(math.log(max(rate * per_limit, 1.0)) / decay, 1.0)


class Share:
    """A probability that is learned on until enough events were seen, and its sum."""

    def __init__(self, events: float, trials: float, factor: float) -> None:
        self.events, self.trials, self.factor = events, trials, factor
        self.sum = 0.0
        self.seen = Excursions()
        self.firing = False
        self.inside: list[int] = []

    @property
    def probability(self) -> float:
        return min((self.events + 0.5) / (self.trials + 1.0), 0.5)

    @property
    def theory(self) -> float:
        f = self.factor
        return self.probability * (f - 1.0 - math.log(f)) ** 2 / (f * math.log(f) - f + 1.0) * (
            math.exp(-LOW))

    def follow(self, events: Sequence[float], per_limit: float) -> list[bool]:
        """Whether it fires after each trial."""
        found = []
        inside: list[float] = []
        peak = 0.0
        high: float | None = None
        for event in events:
            if self.sum <= 0.0:
                inside, peak, high = [], 0.0, None
            limit = self.seen.limit(self.theory, per_limit)
            self.seen.rows += 1.0
            inside.append(event)
            if self.firing:
                low = self.probability
                if event > 0.0 or high is None:
                    high = max(sum(inside) / len(inside), self.factor * low)
                ratio = event * math.log(high / low) - (high - low)
                self.sum = min(max(self.sum + ratio, 0.0), END)
            else:  # the gamma prior integrated out: a rate that rose against one that did not
                k, n = sum(inside), float(len(inside))
                rose = k * math.log(self.factor) - (self.events + 0.5 + k) * math.log(
                    self.trials + self.factor * n)
                stayed = -(self.events + 0.5 + k) * math.log(self.trials + n)
                self.sum = max(rose - stayed, 0.0)
            peak = max(peak, self.sum)
            if self.sum >= limit:
                self.firing = True
            elif self.sum <= 0.0 or (not self.firing and self.events < EVENTS
                                     and len(inside) > OUTLASTS * self.trials):
                if not self.firing and self.events < EVENTS:
                    self.events += sum(inside)
                    self.trials += len(inside)
                self.firing, self.sum = False, 0.0
                self.seen.add(peak, limit)
            found.append(self.firing)
            self.inside.append(len(inside))
        return found


def held(value: float, centre: float, scale: float) -> float:
    return min(max(value, centre - CLIP * scale), centre + CLIP * scale)


class Mean:
    """A level with its long-run deviation, learned from ``values``, and its sum."""

    def __init__(self, values: Sequence[float], shift: float, floor: float) -> None:
        ordered = sorted(values)
        n = len(ordered)
        scale = (ordered[n - 1 - n // 4] - ordered[n // 4]) / 1.349
        scale = max(scale, 0.5 * statistics.pstdev(values))
        centre = statistics.median(values)
        for _ in range(5):
            kept = [held(value, centre, scale) for value in values]
            before, centre = centre, statistics.fmean(kept)
        centre, short = before, statistics.pstdev(kept)
        means = [statistics.fmean(kept[i : i + BATCH])
                 for i in range(0, n // BATCH * BATCH, BATCH)]
        if len(means) >= 4:
            spread = math.sqrt(BATCH) * statistics.stdev(means)
            scale = max(scale, spread) if spread > BEYOND * short else scale
        off = [value - statistics.fmean(kept) for value in kept]
        memory = sum(a * b for a, b in zip(off[1:], off[:-1], strict=True)) / (
            sum(a * a for a in off))
        if memory > 2.0 / math.sqrt(n):
            scale = max(scale, short * math.sqrt((1.0 + memory) / (1.0 - memory)))
        self.scale = max(scale * (1.0 + FEW / n), floor * abs(centre))
        self.worth = (self.scale / scale) ** 2
        self.centre, self.learned, self.enough = centre, float(n), TIMES * n
        self.step = min(shift * abs(centre) / self.scale, 1.5)
        self.theory = 0.5 * self.step**2 * math.exp(-LOW - 1.166 * self.step)
        steps = [min(abs(b - a), 2.0 * CLIP * self.scale)
                 for a, b in itertools.pairwise(kept)]
        self.usual_restless = max(
            statistics.fmean(step * step for step in steps), 2.0 * (floor * centre) ** 2)
        self.restless, self.latest = self.usual_restless, values[-1]
        self.sum, self.firing = 0.0, False
        self.inside: list[int] = []
        self.seen = Excursions()
        half = n // 2
        for own, other in ((values[:half], values[half:]), (values[half:], values[:half])):
            self._learn(own, other)
        self.seen.rows = float(n)

    def _learn(self, own: Sequence[float], other: Sequence[float]) -> None:
        """What one half's sums reach against the other half's middle."""
        middle = statistics.fmean(held(value, self.centre, self.scale) for value in other)
        total = peak = 0.0
        inside = 0
        for value in own:
            z = min(max((value - middle) / self.scale, -CLIP), CLIP)
            total = max(total + self.step * z - 0.5 * self.step**2, 0.0)
            inside += 1
            peak = max(peak, total / (1.0 + inside / (len(other) * self.worth)))
            if total <= 0.0:
                self.seen.add(peak, PEAK)
                peak, inside = 0.0, 0
        self.seen.add(peak, PEAK)

    def _noisier(self, value: float) -> float:
        most = 6.0 * math.sqrt(max(self.restless, self.usual_restless))
        step = min(abs(value - self.latest), most)
        self.latest = value
        self.restless += (step * step - self.restless) / NOISE_CYCLES
        return max(1.0, math.sqrt(self.restless / self.usual_restless) / NOISE_SLACK)

    def follow(self, values: Sequence[float], per_limit: float) -> list[bool]:
        """Whether it fires after each value."""
        found = []
        inside: list[float] = []
        peak = 0.0
        for value in values:
            z = (value - self.centre) / (self.scale * self._noisier(value))
            z = min(max(z, -CLIP), CLIP)
            if self.sum <= 0.0:
                inside, peak = [], 0.0
            limit = self.seen.limit(self.theory, per_limit)
            self.seen.rows += 1.0
            inside.append(self.centre + z * self.scale)
            # The reference's own error integrated out: the variance of the excursion's mean grows.
            doubt = 1.0 if self.firing else 1.0 + len(inside) / (self.learned * self.worth)
            self.sum = min(
                max(self.sum + self.step * z - 0.5 * self.step**2, 0.0), REACH * limit * doubt)
            evidence = self.sum / doubt
            peak = max(peak, evidence)
            if evidence >= limit:
                if not self.firing:
                    self.sum = evidence
                self.firing = True
            elif evidence <= 0.0 or (
                    not self.firing and self.learned < self.enough
                    and len(inside) > OUTLASTS * self.learned * self.worth):
                if not self.firing and self.learned < self.enough:
                    self.learned += len(inside)
                    self.centre += (sum(inside) - len(inside) * self.centre) / self.learned
                self.firing, self.sum = False, 0.0
                self.seen.add(peak, limit)
            found.append(self.firing)
            self.inside.append(len(inside))
        return found
