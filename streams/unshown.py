"""What a partition has done and nobody who shows it was told of yet.

Metrics and page change a few times a second, batches come fifty times a second and a partition:
telling of every one of them would cost as much as judging it. Outcomes wait here and are told as
one. Nothing is decided here: when they are told is the loop's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from anomaly.batches import Float64, Outcome, RowBatch, ScoreBatch

#: More rows than this do not wait: bounds the memory they hold.
ROWS_LIMIT = 4096


@dataclass(slots=True)
class Unshown:
    """Outcomes in order, each with whether it is news (and not a repetition after a restart)."""

    rows: int = 0
    _waiting: list[tuple[Outcome, bool]] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Whether what waits should be told now."""
        return self.rows > ROWS_LIMIT

    def add(self, outcome: Outcome, loud: bool) -> None:
        """One more."""
        self._waiting.append((outcome, loud))
        self.rows += len(outcome.rows)

    def taken(self) -> Iterator[tuple[Outcome, bool]]:
        """What waits, as few outcomes as possible; then nothing waits any more."""
        waiting, self._waiting, self.rows = self._waiting, [], 0
        start = 0
        for end in range(1, len(waiting) + 1):
            loud = waiting[start][1]
            if end == len(waiting) or waiting[end][1] != loud:
                yield joined([outcome for outcome, _ in waiting[start:end]]), loud
                start = end


def joined(outcomes: list[Outcome]) -> Outcome:
    """Consecutive outcomes of one monitor as one; rows that lack later sensors get NaN there."""
    if len(outcomes) == 1:
        return outcomes[0]
    rows, scores = [o.rows for o in outcomes], [o.scores for o in outcomes]
    width = max(r.x.shape[1] for r in rows)
    return Outcome(
        RowBatch(
            np.concatenate([r.asset for r in rows]), np.concatenate([r.time_ns for r in rows]),
            np.concatenate([_widened(r.x, width) for r in rows]),
            np.concatenate([r.closed_at for r in rows])),
        ScoreBatch(
            np.concatenate([s.score for s in scores]),
            np.concatenate([s.return_period_s for s in scores]),
            np.concatenate([s.alert for s in scores]),
            np.concatenate([s.detector_score for s in scores])),
        tuple(alert for o in outcomes for alert in o.alerts),
        np.concatenate([o.reason for o in outcomes]))


def _widened(x: Float64, width: int) -> Float64:
    if x.shape[1] == width:
        return x
    wide = np.full((len(x), width), np.nan)
    wide[:, : x.shape[1]] = x
    return wide
