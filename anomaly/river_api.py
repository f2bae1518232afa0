"""The door to river: every detector as a river estimator, and river estimators as our controls.

The only module of the engine that imports river. No algorithm lives here: :class:`StreamDetector`
calls the same kernels as the monitor does, with one asset whose sensors are river's features, so a
score is the same number in both worlds. Convenience for a notebook, not the stream path: a call per
row costs tens of microseconds, a batch of rows through ``detectors.run_step`` a fraction of one.

One convention differs, and only here: river has no "no opinion", its warming detectors score 0. So
``score_one`` says 0.0 where the engine says NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from river.base import AnomalyDetector
from river.base.typing import FeatureName

from anomaly.batches import Float64
from anomaly.detectors import DETECTORS, Detector, State, grow, run_fit, run_step
from anomaly.errors import ConfigError


class StreamDetector(AnomalyDetector):
    """One of andon's detectors under river's interface.

    Features are sensors, by name; a feature that is absent, None or NaN is a missing reading.
    Features may appear at any time. Detectors with a frozen reference buffer the first
    ``warm_up_rows`` rows, freeze on them, and ignore features that appear later, for those have no
    reference; the others learn from the first row on.

    Parameters
    ----------
    detector
        A name of ``anomaly.detectors.DETECTORS``.
    warm_up_rows
        Rows that the frozen reference is made of; without effect on detectors that have none.
        Some want more of them before they say anything (``level_slow``: 400).
    config
        The detector's own ``Config``; None = its defaults.

    Raises
    ------
    ConfigError
        Unknown detector, fewer than 16 warm-up rows, or the ``Config`` of another detector.

    Examples
    --------
    >>> from anomaly.river_api import StreamDetector
    >>> model = StreamDetector("level", warm_up_rows=50)
    >>> for k in range(100):
    ...     model.learn_one({"temperature": 60 + (k * 7 % 5), "current": 4.0})
    >>> model.score_one({"temperature": 62, "current": 4.0}) < 2
    True
    >>> model.score_one({"temperature": 99, "current": 4.0}) > 2
    True
    """

    def __init__(
        self, detector: str = "level", warm_up_rows: int = 200, config: Any = None
    ) -> None:
        if detector not in DETECTORS:
            raise ConfigError(f"detector: unknown {detector!r}; one of {', '.join(DETECTORS)}")
        if warm_up_rows < 16:
            raise ConfigError(f"warm_up_rows: at least 16, got {warm_up_rows}")
        bound = DETECTORS[detector]
        if config is not None and not isinstance(config, bound.config):
            raise ConfigError(f"config: a {bound.config.__qualname__} of {detector}")
        self.detector = detector
        self.warm_up_rows = warm_up_rows
        self.config = config
        self._column: dict[FeatureName, int] = {}
        self._table = np.full((1, 4), -1, np.int64)
        self._state: State = bound.allocate(self._settings, 1, 4)
        self._waiting: list[Float64] | None = None if bound.fit is None else []

    def learn_one(self, x: dict[FeatureName, Any]) -> None:
        """Let the detector live through one row."""
        self._register(x)
        row = self._row(x)
        if self._waiting is None:
            self._step(row, np.inf)
            return
        self._waiting.append(row)
        if len(self._waiting) >= self.warm_up_rows:
            self._freeze(self._waiting)
            self._waiting = None

    def score_one(self, x: dict[FeatureName, Any]) -> float:
        """How odd the row would be as the next one, ≥ 0; 0.0 = ordinary, or no opinion yet.

        Leaves no trace: features never learned are ignored, and the state is untouched.
        """
        if self._waiting is not None or not self._column:
            return 0.0
        score = self._step(self._row(x), -np.inf)
        return 0.0 if math.isnan(score) else score

    @classmethod
    def _unit_test_params(cls) -> Any:  # river's own checks run on each of these
        for name in DETECTORS:
            yield {"detector": name, "warm_up_rows": 100}

    @property
    def _bound(self) -> Detector:
        return DETECTORS[self.detector]  # looked up, not kept: compiled code is not pickled

    @property
    def _settings(self) -> Any:
        return self._bound.default if self.config is None else self.config

    def _register(self, x: dict[FeatureName, Any]) -> None:
        # In the order of their names, so that the order within the dictionary does not matter.
        for name in sorted(x.keys() - self._column.keys(), key=lambda n: (type(n).__name__, n)):
            column = len(self._column)
            if column == self._table.shape[1]:
                self._table = np.full((1, 2 * column), -1, np.int64)
                self._table[0, :column] = np.arange(column)
                self._state = grow(self._bound, self._settings, self._state, 1, 2 * column)
            self._column[name] = column
            self._table[0, column] = column

    def _row(self, x: dict[FeatureName, Any]) -> Float64:
        row = np.full(len(self._column), np.nan)
        for name, value in x.items():
            column = self._column.get(name)
            if column is not None and value is not None:
                row[column] = value
        row[np.isinf(row)] = np.nan  # as the quality stage does
        return row

    def _step(self, row: Float64, learn_below: float) -> float:
        score = np.empty(1)
        run_step(
            self._bound, self._settings, self._state, self._table, np.zeros(1, np.int64),
            row.reshape(1, -1), np.full(1, learn_below), score, np.empty((1, row.size)),
        )
        return float(score[0])

    def _freeze(self, waiting: Sequence[Float64]) -> None:
        width = len(self._column)
        rows = np.full((len(waiting), width), np.nan)
        for k, row in enumerate(waiting):
            rows[k, : row.size] = row  # features that came later are missing before
        run_fit(
            self._bound, self._settings, self._state, np.arange(width, dtype=np.int64), 0, rows,
            np.empty(len(rows)),
        )


@dataclass(frozen=True, slots=True)
class RiverControl:
    """A river anomaly detector or pipeline, run over rows of one asset for comparison with ours.

    Attributes
    ----------
    model : river estimator with ``score_one`` and ``learn_one``
        Cloned at every run, so that a control can be run on many recordings.
    learn_rows : int or None
        The model learns from this many first rows only; None = from all.
    """

    model: Any
    learn_rows: int | None = None

    def score(self, rows: Float64, names: Sequence[FeatureName] | None = None) -> Float64:
        """Scores float64[n] of ``rows float64[n, d]``, each row scored before it is learned.

        NaN in ``rows`` is missing: that feature is left out. A row without any feature is neither
        scored nor learned, and its score is NaN. ``names``: d feature names, default 0 … d − 1.
        """
        columns = list(range(rows.shape[1])) if names is None else list(names)
        if len(columns) != rows.shape[1]:
            raise ValueError(f"{len(columns)} names for {rows.shape[1]} columns")
        model = self.model.clone()
        score = np.full(len(rows), np.nan)
        for k, row in enumerate(rows.tolist()):
            x = {name: v for name, v in zip(columns, row, strict=True) if math.isfinite(v)}
            if not x:
                continue
            score[k] = model.score_one(x)
            if self.learn_rows is None or k < self.learn_rows:
                model.learn_one(x)
        return score
