"""How often does the truth lie within the forecast range? On recordings that run to failure.

``losses.interval_coverage.<set>`` of ``python -m benchmarks.losses``. A health signal is formed
from the recording as the engine would (deviations from the first 15 %, smoothed, root mean square
over the sensors; for bearings the vibration itself), its limit is what it reached at a given share
of the life that follows, and from many moments before it is crossed the time to that
crossing is forecast. The recording's future serves for the limit and the truth alone. Moments at
which nothing is said are counted too. A signal that crosses in its first fifth is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from anomaly import timeleft
from anomaly.batches import Float64
from anomaly.numerics import robust_reference

SETS = ("cmapss", "pronostia", "ppd")
WARM_UP_SHARE = 0.15
LIMIT_SHARES = (0.95, 0.88)
_MOMENTS = 20
_PPD_ROWS = 20  # one point per so many of its fast rows


@dataclass(frozen=True, slots=True)
class Coverage:
    """Counts over all forecasts of one set and one limit."""

    set: str
    limit_share: float
    units: int
    moments: int
    forecasts: int
    covered: int
    earlier: int
    later: int
    median_error: float
    """Of |log(true / p50)|."""
    median_width: float
    """Of p90 / p10."""


def coverage(
    data: Path, name: str, units: int = 1_000_000, limit_share: float = LIMIT_SHARES[0]
) -> Coverage:
    """Forecast on the first ``units`` recordings of a set."""
    moments, rows = 0, []
    used = 0
    for number, signal in enumerate(_signals(data, name)):
        if number >= units:
            break
        highest = np.maximum.accumulate(signal)
        limit = float(highest[int(limit_share * (signal.size - 1))])
        crossing = int(np.argmax(highest >= limit))
        if crossing < 0.2 * signal.size:
            continue
        used += 1
        first = min(0.3 * signal.size, 0.4 * crossing)
        for at in np.unique(np.linspace(first, crossing - 2, _MOMENTS).astype(int)).tolist():
            if not timeleft.FEWEST_POINTS <= at < crossing:
                continue
            moments += 1
            found = timeleft.forecast(signal[: at + 1], 1.0, limit, upward=True)
            if found is not None and found.p90 > 0.0:
                rows.append((crossing - at, found.p10, found.p50, found.p90))
    true, low, middle, high = np.array(rows).reshape(-1, 4).T
    return Coverage(
        name, limit_share, used, moments, true.size,
        int(np.count_nonzero((low <= true) & (true <= high))),
        int(np.count_nonzero(true < low)), int(np.count_nonzero(true > high)),
        float(np.median(np.abs(np.log(true / middle)))), float(np.median(high / low)),
    )


def _signals(data: Path, name: str) -> Iterator[Float64]:
    folder = data / name
    series = json.loads((folder / "labels.json").read_text())["series"]
    if name == "cmapss":
        for part in ("train_FD001", "train_FD003"):
            table = pq.read_table(folder / f"{part}.parquet")
            sensors = [c for c in table.column_names if c[0] == "s" and c[1:].isdigit()]
            rows = _columns(table, sensors)
            unit = table.column("unit").to_numpy()
            for number in np.unique(unit):
                yield _health(rows[unit == number], 30, 0.05)
    elif name == "pronostia":
        for entry in series.values():
            table = pq.read_table(folder / entry["file"])
            both = _columns(table, ["h_rms", "v_rms"])
            level = np.sqrt((both**2).sum(axis=1))
            yield _smoothed(level, 0.05)[int(WARM_UP_SHARE * level.size) :]
    else:
        for entry in series.values():
            if entry["run_to_failure"]:
                table = pq.read_table(folder / entry["file"])
                rows = _columns(table, [c for c in table.column_names if c != "ts"])
                count = len(rows) // _PPD_ROWS
                means = rows[: count * _PPD_ROWS].reshape(count, _PPD_ROWS, -1).mean(axis=1)
                yield _health(means, int(WARM_UP_SHARE * count), 0.02)


def _columns(table: pq.Table, names: list[str]) -> Float64:
    found: Float64 = np.column_stack([table.column(c).to_numpy().astype(float) for c in names])
    return found


def _health(rows: Float64, warm_up: int, weight: float) -> Float64:
    """Root mean square over the sensors of their smoothed deviations, after the warm-up."""
    centre, scale, _ = robust_reference(rows[:warm_up])
    moves = np.nanstd(rows[:warm_up], axis=0) > 1e-9 * np.abs(centre)
    z = np.clip((rows - centre) / scale, -8.0, 8.0)[:, moves]
    smooth = np.column_stack([_smoothed(z[:, c], weight) for c in range(z.shape[1])])
    found: Float64 = np.sqrt((smooth**2).mean(axis=1))[warm_up:]
    return found


def _smoothed(column: Float64, weight: float) -> Float64:
    """Exponentially weighted mean, exact at first; a missing value changes nothing."""
    found = np.empty_like(column)
    mean, count = 0.0, 0
    for i, value in enumerate(column.tolist()):
        if value == value:
            mean += max(weight, 1.0 / (count + 1)) * (value - mean)
            count += 1
        found[i] = mean
    return found
