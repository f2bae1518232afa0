"""The warm-up buffer and each tag's frozen reference: centre, spread, band, resolution.

One stage between windows and detectors. It numbers an asset's rows, keeps the first ones, and says
when the warm-up is over; detectors with a frozen reference are then fitted on exactly these rows.
No detector and no calibration here.

State
-----
``asset``      rows seen since the baseline, warm-up length, readiness, usual row interval.
``asset_time`` int64[A, W] times of the warm-up rows.
``tag``        the frozen reference of each tag.
``tag_rows``   float64[T, W] the warm-up rows as they came. The one place in the state where NaN
               may stand: it means *missing*, and is read only once, by ``fit``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from anomaly.batches import Float64, Int8, Int64
from anomaly.kernel import kernel

VERSION = 2

#: Half-width of the expected band in spreads: 1 row in 10,000 of normal noise lies outside.
BAND_SPREADS = 4.0
#: Weight of the newest row in the value that direction and smallest deviation are judged by: ten
#: rows, so that noise does not cross the centre all the time.
HEED_WEIGHT = 0.1
#: IQR of the normal distribution in standard deviations.
IQR_NORMAL = 1.349

ASSET = np.dtype([
    ("rows", np.int64),         # since the baseline
    ("warm_up", np.int64),      # rows until the reference is frozen
    ("muted", np.int64),        # rows until alerts may be raised (>= warm_up)
    ("ready", np.int8),         # 1 once the reference stands
    ("interval_s", np.float64), # usual seconds between rows; 0 = not known yet
])
TAG = np.dtype([
    ("ready", np.int8),         # 1 once a reference stands for this tag
    ("constant", np.int8),      # 1 where the warm-up showed one single value
    ("centre", np.float64),     # median of the warm-up
    ("spread", np.float64),     # robust standard deviation of the warm-up, > 0
    ("resolution", np.float64), # smallest step between different values, 0 = none seen
    ("low", np.float64),        # expected band
    ("high", np.float64),
    ("smooth", np.float64),     # exponentially weighted value; follows only where it is asked for
])


def allocate(
    assets: int, tags: int, warm_up_rows: int, reference_rows: int
) -> dict[str, np.ndarray[Any, Any]]:
    """Fresh state; ``reference_rows`` = W, the length of the warm-up buffer."""
    asset = np.zeros(assets, ASSET)
    asset["warm_up"] = min(warm_up_rows, reference_rows)
    asset["muted"] = warm_up_rows
    return {
        "asset": asset,
        "asset_time": np.zeros((assets, reference_rows), np.int64),
        "tag": np.zeros(tags, TAG),
        "tag_rows": np.zeros((tags, reference_rows)),
    }


def restart(asset_state: Any, asset: int, warm_up_rows: int, reference_rows: int) -> None:
    """Begin an asset's warm-up anew, of so many rows; the reference keeps ``reference_rows``."""
    asset_state["rows"][asset] = 0
    asset_state["ready"][asset] = 0
    asset_state["warm_up"][asset] = min(warm_up_rows, reference_rows)
    asset_state["muted"][asset] = warm_up_rows


def end_warm_up(
    asset_state: Any, known: int, least_rows: int, reference_rows: int
) -> tuple[int, list[int]]:
    """Let every asset with ``least_rows`` be judged from its next row on, later ones as usual.

    ``known`` assets there are. Returns the rows that an asset warms up for from now on, the median
    of what these had, and the assets whose reference is to be frozen now.
    """
    rows = asset_state["rows"][:known]
    usual = max(least_rows, int(np.median(rows)) if known else least_rows)
    asset_state["warm_up"][known:] = min(usual, reference_rows)
    asset_state["muted"][known:] = usual
    asset_state["muted"][:known] = np.maximum(rows, least_rows)
    waiting = np.flatnonzero(asset_state["ready"][:known] == 0)
    asset_state["warm_up"][waiting] = asset_state["muted"][waiting]
    return usual, waiting[rows[waiting] >= least_rows].tolist()


@kernel
def number_rows(asset_state: Any, asset: Int64, number: Int64, phase: Int8) -> int:
    """Give each row its number within its asset since the baseline, and its phase.

    ``phase`` int8[m]: 0 = still buffered for the warm-up (the row that fills it included), 1 = the
    reference stands (or will stand once the phase-0 rows of this batch are done). Returns how many
    rows are in phase 0.
    """
    rows = asset_state["rows"]
    warm_up = asset_state["warm_up"]
    ready = asset_state["ready"]
    waiting = 0
    for r in range(asset.size):
        a = asset[r]
        number[r] = rows[a]
        rows[a] += 1
        if ready[a] == 0 and number[r] < warm_up[a]:
            phase[r] = 0
            waiting += 1
        else:
            phase[r] = 1
    return waiting


@kernel
def keep(
    asset_time: Int64, tag_rows: Float64, table: Int64, asset: Int64, time_ns: Int64,
    x: Float64, number: Int64,
) -> None:
    """Write warm-up rows into the buffer; columns that the row lacks become NaN."""
    for r in range(asset.size):
        a = asset[r]
        k = number[r]
        asset_time[a, k] = time_ns[r]
        for c in range(table.shape[1]):
            t = table[a, c]
            if t >= 0:
                tag_rows[t, k] = x[r, c] if c < x.shape[1] else np.nan


@kernel
def freeze_tag(tag_state: Any, t: int, values: Float64) -> None:
    """Freeze one tag's reference from its warm-up values ``float64[n]``, NaN-free.

    Centre = median; spread = max(IQR/1.349, half the standard deviation), so that neither a
    handful of outliers nor a mostly constant sensor rules it. A constant sensor gets 1 % of its
    level: it has weight, never infinite weight.
    """
    n = values.size
    tag = tag_state[t]
    if n == 0:
        tag["ready"] = 0
        return
    ordered = np.sort(values)
    centre = _quantile(ordered, 0.5)
    mean = 0.0
    for i in range(n):
        mean += (ordered[i] - centre) / n
    square = 0.0
    step = np.inf
    for i in range(n):
        apart = ordered[i] - centre - mean
        square += apart * apart / n
        if i > 0 and ordered[i] > ordered[i - 1]:
            step = min(step, ordered[i] - ordered[i - 1])
    spread = max((_quantile(ordered, 0.75) - _quantile(ordered, 0.25)) / IQR_NORMAL,
                 0.5 * np.sqrt(square))
    constant = ordered[n - 1] == ordered[0]
    if constant or not spread > 0.0 or not np.isfinite(spread):
        spread = 0.01 * abs(centre) if centre != 0.0 else 0.01
    tag["ready"] = 1
    tag["constant"] = 1 if constant else 0
    tag["centre"] = centre
    tag["smooth"] = centre
    tag["spread"] = spread
    tag["resolution"] = step if np.isfinite(step) else 0.0
    tag["low"] = min(centre - BAND_SPREADS * spread, ordered[0])
    tag["high"] = max(centre + BAND_SPREADS * spread, ordered[n - 1])


@kernel
def heed(
    tag_state: Any, least: Float64, way: Int8, table: Int64, asset: Int64, x: Float64,
    evidence: Float64, ordinary_s: Float64, period_s: Float64, beside_s: Float64,
) -> None:
    """Make ordinary the rows whose oddness is, for the greater part, nothing that matters.

    ``least float64[T]`` smallest deviation from the centre that matters per tag, in its own unit;
    ``way int8[T]`` +1 or −1 where only that direction is bad, 0 = both. Judged is each sensor's
    smoothed value, not the reading: cutting half of its noise away would move its mean. Where
    sensors that do not matter hold at least half of ``evidence float64[m, d]``, ``period_s`` and
    ``beside_s`` become at most ``ordinary_s``, one row.
    """
    for r in range(asset.size):
        whole = matters = 0.0
        for c in range(x.shape[1]):
            t = table[asset[r], c] if c < table.shape[1] else -1
            if t < 0:
                continue
            tag = tag_state[t]
            if tag["ready"] == 1 and x[r, c] == x[r, c]:
                tag["smooth"] += HEED_WEIGHT * (x[r, c] - tag["smooth"])
            apart = tag["smooth"] - tag["centre"]
            whole += evidence[r, c]
            if tag["ready"] == 0 or (abs(apart) >= least[t] and apart * way[t] >= 0.0):
                matters += evidence[r, c]
        if matters <= 0.5 * whole:
            period_s[r] = min(period_s[r], ordinary_s[r])
            beside_s[r] = min(beside_s[r], ordinary_s[r])


@kernel
def _quantile(ordered: Float64, q: float) -> Any:
    position = q * (ordered.size - 1)
    below = int(position)
    above = min(below + 1, ordered.size - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


@kernel
def inflation(rows: Float64) -> float:
    """How much wider than it looks a warm-up's tail is, for its few independent rows: 1 + 3/n_eff.

    ``rows float64[w, d]``; n_eff = w (1 − ρ)/(1 + ρ) from each column's lag-1 autocorrelation ρ
    (Bartlett), averaged as 1/n_eff. Without it, slow noise (ρ = 0.99) over 100 rows broke the
    promise ten- to thirtyfold.
    """
    total = 0.0
    columns = 0
    for c in range(rows.shape[1]):
        n = 0
        mean = 0.0
        for r in range(rows.shape[0]):
            if rows[r, c] == rows[r, c]:
                n += 1
                mean += rows[r, c]
        if n < 8:
            continue
        mean /= n
        square = 0.0
        product = 0.0
        for r in range(rows.shape[0]):
            value = rows[r, c] - mean
            if value == value:
                square += value * value
                before = rows[r - 1, c] - mean if r > 0 else np.nan
                if before == before:
                    product += value * before
        if square > 0.0:
            correlation = min(max(product / square, 0.0) + 1.0 / n, 0.999)
            total += min(1.0, (1.0 + correlation) / (1.0 - correlation) / n)
            columns += 1
    return 1.0 + 3.0 * total / columns if columns > 0 else 1.0


def usual_interval_seconds(times_ns: Int64) -> float:
    """Median positive difference of the row times, in seconds; 1.0 where there is none."""
    steps = np.diff(times_ns)
    steps = steps[steps > 0]
    return float(np.median(steps)) / 1e9 if steps.size else 1.0
