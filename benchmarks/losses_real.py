"""A sensor that fails on a real machine: frozen, or off by so much, through the whole engine.

Part of ``python -m benchmarks.losses``. The background is what a real machine said in good health:
early life of ``ppd``, the normal runs of ``hrss`` and ``genesis``. One of its lively sensors (one
that seldom stands still) freezes or is offset by so many of its usual deviations, from a seeded
moment on. Called is what the engine tells from then on and does not tell of the untouched run.

These recordings count no parts, rejects or energy and hold some ten cycles, so that stops, slower
cycles, dearer parts and rejects cannot be laid into them as they are; :data:`LACKS` says what each
of them lacks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from anomaly.batches import Alert, Float64, Int64, reading_batch
from anomaly.config import parse
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from benchmarks.losses_live import fired

#: Of each set the parts that are healthy: file, share of it, and the column of times if there is
#: a clock that does not restart.
PARTS: dict[str, tuple[tuple[str, float, str], ...]] = {
    "ppd": (("C7-1", 0.25, ""), ("C8", 0.25, ""), ("C11", 0.25, ""), ("C13-1", 0.25, ""),
            ("C15", 0.25, "")),
    "hrss": (("HRSS_normal_standard", 1.0, ""),),
    "genesis": (("Genesis_normal", 1.0, "ts"),),
}
#: Why nothing else is injected into them.
LACKS = {
    "ppd": "tells no cycle, no part and no energy; its signals are anonymous",
    "hrss": "counts no parts, rejects or energy and holds some ten cycles: 250 are learned from",
    "genesis": "counts no parts, rejects or energy and holds some ten cycles: 250 are learned from",
}
OFFSETS = (2.0, 4.0, 8.0)
WARM_UP_SHARE = 0.15
#: Where there is no clock: one alert a week is one per 10,000 rows.
ROW_SECONDS = 60.48
#: Injected between these shares of the recording; followed to its end.
FIRST, LAST = 0.4, 0.7
#: A sensor is lively where so many of its rows differ from the row before.
_LIVELY = 0.6


def measured(data: Path, name: str, injections: int) -> dict[str, Any]:
    """Figures of one set, by id."""
    runs = [(x, time_ns) for x, time_ns in _healthy(data / name, name)]
    found: dict[str, Any] = {f"losses.real.not_applicable.{name}": LACKS[name]}
    told = [_alerts(x, time_ns) for x, time_ns in runs]
    kinds = [("sensor_frozen", 1.0), *(("sensor_offset", size) for size in OFFSETS)]
    for kind, size in kinds:
        generator = np.random.default_rng(20_260_302)  # the same places for every size
        delays = []
        for number in range(injections):
            run = number % len(runs)
            x, time_ns = runs[run]
            lively = _lively(x)
            at = int(generator.uniform(FIRST, LAST) * len(x))
            column = int(lively[generator.integers(lively.size)])
            sign = 1.0 if generator.random() < 0.5 else -1.0
            touched = x.copy()
            if kind == "sensor_frozen":
                touched[at:, column] = touched[at - 1, column]
            else:
                touched[at:, column] += sign * size * _deviation(x, column)
            delays.append(_delay(_alerts(touched, time_ns), told[run], time_ns, at))
        median = float(np.median(delays))
        found[f"losses.real.{kind}.{name}.{size:g}"] = {
            "median_rows": median if np.isfinite(median) else None,
            "called": f"{int(np.isfinite(delays).sum())}/{len(delays)}"}
    seconds = sum((time_ns[-1] - time_ns[int(WARM_UP_SHARE * len(x))]) / 1e9
                  for x, time_ns in runs)
    found[f"losses.real.healthy.{name}"] = {
        "alerts": sum(len(alerts) for alerts in told), "promised": round(seconds / 604_800.0, 2)}
    return found


def _delay(alerts: list[Alert], before: list[Alert], time_ns: Int64, at: int) -> float:
    """Rows from the injection to the first alert that the untouched run does not have."""
    known = {(a.kind, a.time_ns) for a in before}
    late = [a.time_ns for a in alerts
            if a.time_ns >= time_ns[at] and (a.kind, a.time_ns) not in known]
    return float(np.searchsorted(time_ns, min(late)) - at) if late else np.inf


def _alerts(x: Float64, time_ns: Int64) -> list[Alert]:
    registry = Registry()
    width = x.shape[1]
    registry.columns(registry.asset("machine"), [f"s{c}" for c in range(width)])
    monitor = Monitor(parse({
        "budget": "1/week", "warm_up_rows": int(WARM_UP_SHARE * len(x))}), registry)
    outcome = monitor.process(reading_batch(
        np.zeros(x.size, np.int64), np.tile(np.arange(width), len(x)), np.repeat(time_ns, width),
        x.ravel(), np.tile(np.arange(width) == width - 1, len(x))))
    return fired(outcome.alerts)


def _healthy(folder: Path, name: str) -> Iterator[tuple[Float64, Int64]]:
    """Rows float64[n, d] and times int64[n] of every healthy part."""
    for stem, share, clock in PARTS[name]:
        table = pq.read_table(folder / f"{stem}.parquet")
        rows = int(share * table.num_rows)
        names = [c for c in table.column_names if c.lower() not in ("ts", "time", "label")]
        x = np.column_stack([table.column(c).to_numpy()[:rows].astype(float) for c in names])
        time_ns = np.round(np.arange(rows) * ROW_SECONDS * 1e9).astype(np.int64)
        if clock:
            given = table.column(clock).to_numpy()[:rows]
            time_ns = given.astype("datetime64[ns]").astype(np.int64) if (
                given.dtype.kind == "M") else np.round(given * 1e9).astype(np.int64)
            kept = np.append(True, np.diff(np.maximum.accumulate(time_ns)) > 0)
            x, time_ns = x[kept], time_ns[kept]
        yield np.ascontiguousarray(x), 1_600_000_000 * 10**9 + time_ns - time_ns[0]


def _lively(x: Float64) -> Int64:
    """Columns that seldom stand still."""
    moves = (np.diff(x, axis=0) != 0.0).mean(axis=0)
    found = np.flatnonzero(moves >= _LIVELY)
    return found if found.size else np.argsort(-moves)[:4]


def _deviation(x: Float64, column: int) -> float:
    """A sensor's usual deviation in the warm-up."""
    return float(np.std(x[: int(WARM_UP_SHARE * len(x)), column])) or 1.0
