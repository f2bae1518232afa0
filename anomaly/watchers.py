"""Who beside the level may raise alerts, and how the alert budget is divided among them.

Part of the composition, called by ``monitor`` and ``baseline``. The level — the mean over detectors
and sensors — raises most alerts. Two things it sees badly have a share of their own:

* with one or two sensors, an odd *shape* (``maxima``): half of the budget each;
* with more, *one sensor alone* far from its reference, which drowns in a mean over all: a fifth of
  the budget, the level keeps four.

A return period is divided by its watcher's share, so that all of them together keep the promise
(Bonferroni), and everything after knows one threshold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomaly import calibration, maxima
from anomaly.batches import Float64, Int64
from anomaly.kernel import kernel

VERSION = 1
VERSIONS = {"maxima": maxima.VERSION, "alone": calibration.VERSION, "watchers": VERSION}

#: Widest asset whose shape raises alerts: one sensor or two say little together, and the shape as
#: much as the level; with more it added alerts and no hits (benchmarks/results/ablations.md, 11).
SHAPE_SENSORS = 2
#: What the level's and the other's return period are divided by (ablations.md, 11 and 17).
WITH_SHAPE = (2.0, 2.0)
WITH_ALONE = (1.25, 5.0)

NOBODY, SHAPE, ALONE = 0, 1, 2
ASSET = np.dtype([("beside", np.int8)])  # who watches beside the level

State = Mapping[str, Mapping[str, np.ndarray[Any, Any]]]


def allocate(assets: int) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    """Fresh state of the watchers' components."""
    return {
        "maxima": maxima.allocate(assets),
        "alone": calibration.allocate(assets, 1),
        "watchers": {"asset": np.zeros(assets, ASSET)},
    }


@dataclass(frozen=True, slots=True)
class Watchers:
    """Which detector is which: ``shape``, ``alone`` their places in the list, −1 = none."""

    shape: int
    alone: int

    def fit(
        self, state: State, a: int, sensors: int, score: Float64, inflation: float
    ) -> None:
        """An asset's reference is frozen: settle who watches it beside the level.

        ``score float64[w, k]``: the warm-up's, out of sample.
        """
        beside = NOBODY
        if sensors <= SHAPE_SENSORS:
            beside = SHAPE if self.shape >= 0 else NOBODY
        elif self.alone >= 0 and np.isfinite(score[:, self.alone]).any():
            beside = ALONE
            calibration.fit(
                *state["alone"].values(), np.zeros(1, np.int64), a,
                np.ascontiguousarray(score[:, self.alone : self.alone + 1]), inflation,
            )
        state["watchers"]["asset"]["beside"][a] = beside

    def follow(self, state: State, asset: Int64, score: Float64) -> Float64:
        """Return period in rows of each row's shape, float64[m]; NaN = no opinion. Learns."""
        period_rows = np.full(asset.size, np.nan)
        if self.shape >= 0:
            maxima.step(state["maxima"]["asset"], asset,
                        np.ascontiguousarray(score[:, self.shape]), period_rows)
        return period_rows

    def judge(
        self, state: State, asset: Int64, interval_s: Float64, score: Float64, units: Float64,
        period_s: Float64,
    ) -> Float64:
        """Divide the budget: return periods float64[m] of who watches beside the level.

        ``score``, ``units float64[m, k]``; the level's ``period_s float64[m]`` is divided in place
        and the watchers' columns of ``units`` are filled. NaN = nobody, or no opinion.
        """
        m = asset.size
        shape_rows = self.follow(state, asset, score)
        alone_rows, scratch = np.full(m, np.nan), np.empty(m)
        if self.alone >= 0:
            calibration.step(
                *state["alone"].values(), np.zeros(1, np.int64), asset,
                np.ascontiguousarray(score[:, self.alone : self.alone + 1]), np.empty((m, 1)),
                scratch, np.empty(m), alone_rows,
            )
        beside_s = np.empty(m)
        _share(
            state["watchers"]["asset"], asset, interval_s, shape_rows, alone_rows, self.shape,
            self.alone, WITH_SHAPE, WITH_ALONE, period_s, beside_s, units,
        )
        return beside_s


@kernel
def _share(
    asset_state: Any, asset: Int64, interval_s: Float64, shape_rows: Float64, alone_rows: Float64,
    shape: int, alone: int, with_shape: tuple[float, float], with_alone: tuple[float, float],
    period_s: Float64, beside_s: Float64, units: Float64,
) -> None:
    """Row by row; a watcher's unit is that of an exponential tail, the log of its period."""
    for r in range(asset.size):
        beside = asset_state["beside"][asset[r]]
        beside_s[r] = np.nan
        if shape >= 0:
            units[r, shape] = np.nan
        if alone >= 0:
            units[r, alone] = np.nan
        if beside == SHAPE:
            period_s[r] /= with_shape[0]
            beside_s[r] = shape_rows[r] * interval_s[r] / with_shape[1]
            units[r, shape] = math.log(shape_rows[r])
        elif beside == ALONE:
            period_s[r] /= with_alone[0]
            beside_s[r] = alone_rows[r] * interval_s[r] / with_alone[1]
            units[r, alone] = math.log(alone_rows[r])
