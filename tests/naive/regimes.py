"""Naive twin of ``anomaly.regimes`` and ``regime_search``: lists of rows per mode, means anew.

One asset. Every learned mode keeps the rows that taught it; its mean and scale are computed from
them each time, exactly as the formulas in the module say.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np

from anomaly.regimes import RECENT, SCALE_ROWS, SILENT_MOST, SILENT_ROWS, SPARE, STEP_SCALES


@dataclass
class Mode:
    place: list[float]
    rows: int = 0
    last: int = 0
    ripe: int = 0
    values: dict[int, list[float]] = field(default_factory=dict)  # column -> what taught it
    frozen: dict[int, tuple[int, float, float]] = field(default_factory=dict)  # count, mean, scale


@dataclass
class Machine:
    """What ``regimes`` keeps of one asset, and its answer row by row."""

    settings: list[int]
    radius: list[float]
    learn: int
    limit: int
    level: list[float]  # mean_0 of each column
    common: list[float]  # scale_0 of each column
    modes: list[Mode]
    last: list[float]
    age: int
    ripe: int = 0
    silent: list[bool] = field(default_factory=list)

    def row(self, x: np.ndarray) -> tuple[np.ndarray, int] | None:
        """x' and the mode's number; None where the machine proves to have too many modes."""
        self.age += 1
        for s, c in enumerate(self.settings):
            if not math.isnan(x[c]):
                self.last[s] = float(x[c])
        k = self._find()
        mode = self.modes[k]
        mode.last = self.age
        known = sum(m.rows >= self.learn for m in self.modes)
        if mode.rows + 1 == self.learn and known == self.limit:
            return None
        self.silent.append(mode.rows < self.learn)
        ages = np.arange(len(self.silent))[::-1]
        weight = (1.0 - 1.0 / SILENT_ROWS) ** ages / SILENT_ROWS
        if weight @ np.array(self.silent) > SILENT_MOST:
            return None
        said = np.full(x.size, np.nan)
        learning, young = mode.rows < self.learn, self.learn <= mode.rows < mode.ripe
        if learning or young:
            mode.rows += 1
            for c in np.flatnonzero(~np.isnan(x)).tolist():
                mode.values.setdefault(c, []).append(float(x[c]))
        if learning:
            return said, k
        for c in np.flatnonzero(~np.isnan(x)).tolist():
            count, mean, scale = self._of(mode, c)
            scale = self.common[c] if young else scale
            if c in self.settings:
                said[c] = self.level[c] if count > 1 else np.nan
            elif count > 1:
                said[c] = (x[c] - mean) * (self.common[c] / scale) + self.level[c]
        return said, k

    def _find(self) -> int:
        near = []
        for k, mode in enumerate(self.modes):
            apart = [abs(a - b) for a, b in zip(self.last, mode.place, strict=True)]
            if all(d <= r for d, r in zip(apart, self.radius, strict=True)):
                near.append((max([d / r for d, r in zip(apart, self.radius, strict=True) if r > 0],
                                 default=0.0), k))
        if near:
            return min(near)[1]
        if len(self.modes) < self.limit + SPARE:
            self.modes.append(Mode(list(self.last), ripe=self.ripe))
            return len(self.modes) - 1
        unknown = [(m.last, k) for k, m in enumerate(self.modes) if m.rows < self.learn]
        k = min(unknown)[1]
        self.modes[k] = Mode(list(self.last), ripe=self.ripe)
        return k

    def _of(self, mode: Mode, c: int) -> tuple[int, float, float]:
        values = mode.values.get(c, [])
        count, mean, square = 0, 0.0, 0.0
        if c in mode.frozen:
            count, mean, scale = mode.frozen[c]
            square = max(0.0, scale**2 * (max(count - 1, 0) + SCALE_ROWS)
                         - SCALE_ROWS * self.common[c] ** 2)  # rounding may leave less than none
        most = mode.ripe // RECENT
        for value in values:
            count += 1
            if most and count > most:
                count, square = most, square * (1.0 - 1.0 / most)
            apart = value - mean
            if count > 3:
                widest = STEP_SCALES * max(self.common[c], math.sqrt(square / (count - 2)))
                apart = max(-widest, min(apart, widest))
            mean += apart / count
            square += apart * apart * (count - 1) / count
        scale = math.sqrt(
            (square + SCALE_ROWS * self.common[c] ** 2) / (max(count - 1, 0) + SCALE_ROWS))
        return count, mean, scale


def from_others(rows: np.ndarray, mode: np.ndarray, visit: np.ndarray) -> np.ndarray:
    """Mean of the same mode's rows in other visits, cell by cell."""
    said = np.full(rows.shape, np.nan)
    for r, c in itertools.product(range(len(rows)), range(rows.shape[1])):
        if mode[r] >= 0:
            others = [rows[q, c] for q in range(len(rows)) if mode[q] == mode[r]
                      and visit[q] != visit[r] and not math.isnan(rows[q, c])]
            said[r, c] = sum(others) / len(others) if others else math.nan
    return said


def clumps(values: list[float], radius: float, between: int) -> list[tuple[float, float]]:
    """Groups by trying every window of two radii, the fullest and then lowest first."""
    left = sorted(values)
    found = []
    while len(left) > between:
        windows = [[v for v in left if low <= v <= low + 2.0 * radius] for low in left]
        best = max(windows, key=len)
        found.append((best[0], best[-1]))
        left = [v for v in left if not best[0] <= v <= best[-1]]
    return sorted(found)
