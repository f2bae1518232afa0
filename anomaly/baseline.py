"""The part of the composition that runs once a warm-up: it ends, or begins anew.

    kept rows ─► regimes ─► reference ─► leeway ─► detectors' fit ─► calibration

``monitor.py`` and ``judging.py`` call it; at the end of a warm-up the asset's references are frozen
from the rows that were kept. No algorithm here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomaly import (
    alerts,
    calibration,
    leeway,
    maxima,
    production,
    reference,
    regime_fit,
    regimes,
    room,
)
from anomaly.batches import Float64, Int64
from anomaly.config import MonitorConfig
from anomaly.detectors import Detector, State, run_again, run_fit
from anomaly.registry import Registry
from anomaly.watchers import Watchers

#: Of the rows kept: a machine that works less in its warm-up is learned as it is, rests included.
WORK_SHARE = 0.2


@dataclass(slots=True, eq=False)
class Baseline:
    """The warm-ups of one monitor's assets: how they end, and how one begins anew.

    Attributes
    ----------
    config : MonitorConfig
    registry : Registry
    shop : production.Stage
    detectors, configs : one each
    role : int64[k]
        Each detector's place (``calibration.ROLES``).
    watchers : Watchers
    fast_step_seconds : float
        With rows closer together than this too little is known after a warm-up (``later_rows``).
    warm_up_rows : int
        Rows that an asset warms up for if it begins now: as configured, until a warm-up was ended.
    """

    config: MonitorConfig
    registry: Registry
    shop: production.Stage
    detectors: Sequence[Detector]
    configs: Sequence[Any]
    role: Int64
    watchers: Watchers
    fast_step_seconds: float
    warm_up_rows: int

    def begin_anew(self, state: Mapping[str, State], a: int) -> None:
        """Let the asset warm up again, with rows as they are judged now."""
        reference.restart(
            state["reference"]["asset"], a, self.warm_up_rows, self.config.reference_rows)
        alerts.restart(state["alerts"], a, self.registry.tags(a))
        production.restart(state, a)

    def end(self, state: Mapping[str, State]) -> None:
        """End every asset's warm-up that has rows enough (``Monitor.end_warm_up``)."""
        self.warm_up_rows, full = reference.end_warm_up(
            state["reference"]["asset"], len(self.registry.assets),
            self.config.minimum_warm_up_rows, self.config.reference_rows)
        for a in full:
            self.freeze(state, a)

    def freeze(self, state: Mapping[str, State], a: int) -> None:
        """The asset's warm-up is over: learn from what was kept of it."""
        kept = state["reference"]
        w = int(min(kept["asset"]["rows"][a], kept["asset"]["warm_up"][a]))
        tags = self.registry.tags(a)
        self.learn(state, a, np.ascontiguousarray(kept["tag_rows"][tags, :w].T),
                   kept["asset_time"][a, :w], state["warm_up"]["asset_score"][a, :w].copy())

    def learn(
        self, state: Mapping[str, State], a: int, rows: Float64, times_ns: Int64, score: Float64
    ) -> None:
        """Freeze every reference on ``rows float64[w, d]``, fit the calibration, give room back.

        ``times_ns int64[w]``; ``score float64[w, k]``, written: what the detectors said of them.
        """
        kept = state["reference"]
        asset = kept["asset"]
        tags = self.registry.tags(a)
        rests = self.shop.at_rest(
            state, a, {t: c for c, t in enumerate(tags.tolist())}, rows, times_ns)
        if rests is not None and rests.any() and (
            np.count_nonzero(~rests) >= WORK_SHARE * len(rests)
        ):
            rows, times_ns, score = rows[~rests], times_ns[~rests], score[~rests]
        mapped = regime_fit.fit(
            self.config.regimes, state["regimes"], tags, a, rows, self._told_by(a))
        if mapped is not None:
            rows = mapped
        for c, t in enumerate(tags.tolist()):
            values = rows[:, c]
            reference.freeze_tag(kept["tag"], t, values[values == values])
        if mapped is not None:  # what tells the mode does move, though its x' does not
            kept["tag"]["constant"][regimes.settings(state["regimes"], tags)] = 0
        asset["interval_s"][a] = reference.usual_interval_seconds(times_ns)
        interval_seconds = float(asset["interval_s"][a])
        rows = leeway.fit(
            state["leeway"], a, tags, rows, times_ns, interval_seconds, kept["tag"],
            self.shop.starts_and_stops(state, a, tags), interval_seconds < self.fast_step_seconds)
        for j, (bound, config) in enumerate(zip(self.detectors, self.configs, strict=True)):
            if bound.fit is not None:
                column = np.full(len(rows), np.nan)
                run_fit(bound, config, state[room.key(bound)], tags, a, rows, column)
                score[:, j] = column
            elif mapped is not None:  # it has followed rows of all modes mixed
                score[:, j] = run_again(bound, config, state[room.key(bound)], tags, a, rows)
                if j == self.watchers.shape:
                    maxima.begin_again(state["maxima"]["asset"], a, score[:, j].copy())
        inflation = reference.inflation(rows)
        calibration.fit(*state["calibration"].values(), self.role, a, score, inflation)
        self.watchers.fit(state, a, len(tags), score, inflation)
        asset["ready"][a] = 1
        self.shop.believe(state, a)
        room.forget_warm_up(state, a, tags)

    def _told_by(self, a: int) -> regime_fit.Told:
        """The asset's sensors that may tell what is made."""
        names = self.registry.sensors[a]
        modes = self.config.regimes
        forbidden = modes.sensor == regimes.NONE or not modes.limit
        chosen = self.config.mode_sensors(names) if not forbidden else production.product_names(
            self.config.losses, names)
        columns = tuple(names.index(name) for name in chosen)
        booked = bool(columns) and self.shop.books(int(self.registry.table[a, columns[0]]))
        return regime_fit.Told(columns, bool(modes.sensor) and not forbidden, booked, forbidden)
