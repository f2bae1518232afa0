"""The part of the composition that runs once a warm-up: an asset's references are frozen.

    kept rows ─► regimes ─► reference ─► leeway ─► detectors' fit ─► calibration

``monitor.py`` calls it when an asset's warm-up is over. No algorithm here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomaly import calibration, leeway, maxima, reference, regimes, room
from anomaly.batches import Int64
from anomaly.detectors import Detector, State, run_again, run_fit
from anomaly.registry import Registry
from anomaly.watchers import Watchers


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a freeze needs to know of the monitor, all of it settled when that is built.

    Attributes
    ----------
    modes : regimes.Config
    detectors, configs : one each
    role : int64[k]
        Each detector's place (``calibration.ROLES``).
    watchers : Watchers
    """

    modes: regimes.Config
    detectors: Sequence[Detector]
    configs: Sequence[Any]
    role: Int64
    watchers: Watchers

    def freeze(
        self, state: Mapping[str, State], registry: Registry, a: int, starts_and_stops: bool,
        fast_step_seconds: float,
    ) -> None:
        """The asset's warm-up is over: freeze every reference and fit the calibration.

        ``starts_and_stops``: a state tag tells when the asset works. With rows closer together
        than ``fast_step_seconds`` too little is known yet (``later_rows``).
        """
        kept = state["reference"]
        asset = kept["asset"]
        w = int(min(asset["rows"][a], asset["warm_up"][a]))
        tags = np.ascontiguousarray(registry.table[a, : len(registry.sensors[a])])
        rows = np.ascontiguousarray(kept["tag_rows"][tags, :w].T)
        score = state["warm_up"]["asset_score"][a, :w].copy()
        mapped = regimes.fit(self.modes, state["regimes"], registry.sensors[a], tags, a, rows)
        if mapped is not None:
            rows = mapped
        for c, t in enumerate(tags.tolist()):
            values = rows[:, c]
            reference.freeze_tag(kept["tag"], t, values[values == values])
        if mapped is not None:  # what tells the mode does move, though its x' does not
            kept["tag"]["constant"][regimes.settings(state["regimes"], tags)] = 0
        times_ns = kept["asset_time"][a, :w]
        asset["interval_s"][a] = reference.usual_interval_seconds(times_ns)
        interval_seconds = float(asset["interval_s"][a])
        rows = leeway.fit(
            state["leeway"], a, tags, rows, times_ns, interval_seconds, kept["tag"],
            starts_and_stops, interval_seconds < fast_step_seconds)
        for j, (bound, config) in enumerate(zip(self.detectors, self.configs, strict=True)):
            if bound.fit is not None:
                column = np.full(w, np.nan)
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
        room.forget_warm_up(state, a, tags)
