"""One chart of a share, straight from Page's sum of log-likelihood ratios."""

from __future__ import annotations

import math
from collections.abc import Sequence

LOW, PRIOR, REACH, EVENTS, ERRORS = 1.0, 5.0, 1.5, 25.0, 0.5


class Share:
    """A probability that is learned on until enough events were seen, and its sum."""

    def __init__(self, events: float, trials: float, factor: float) -> None:
        self.events, self.trials, self.factor = events, trials, factor
        self.sum = self.peak = 0.0
        self.rows = self.excursions = self.excess = 0.0
        self.firing = False

    @property
    def probability(self) -> float:
        more = self.events + 1.0 + ERRORS * math.sqrt(self.events + 1.0)
        return min(more / (self.trials + 1.0), 0.5)

    def limit(self, per_limit: float) -> float:
        """Nats that a healthy sum exceeds once in so many rows."""
        theory = 0.5 * self.probability
        rate = (self.excursions + PRIOR) / (self.rows + PRIOR / theory)
        decay = min(max((self.excursions + PRIOR) / (self.excess + PRIOR), 0.05), 1.0)
        return LOW + max(math.log(max(rate * per_limit, 1.0)) / decay, 1.0)

    def follow(self, events: Sequence[float], per_limit: float) -> list[bool]:
        """Whether it fires after each trial."""
        found = []
        for event in events:
            if self.events < EVENTS and not self.firing:
                self.events, self.trials = self.events + event, self.trials + 1.0
            if self.sum <= 0.0:
                self.peak = 0.0
            limit = self.limit(per_limit)
            self.rows += 1.0
            low = self.probability
            high = min(self.factor * low, 0.9)
            ratio = math.log(high / low) if event else math.log((1.0 - high) / (1.0 - low))
            self.sum = min(max(self.sum + ratio, 0.0), REACH * limit)
            self.peak = max(self.peak, self.sum)
            if self.sum >= limit:
                self.firing = True
            elif self.sum <= 0.0:
                self.firing = False
                if self.peak > LOW:
                    self.excursions += 1.0
                    self.excess += min(self.peak, limit) - LOW
            found.append(self.firing)
        return found
