"""Small losses through the whole engine: a simulated line, real rows of a shop floor, one budget.

Part of ``python -m benchmarks.losses``. Nothing is told to the engine but the readings: the line's
machines are known by their usual tags, the shop floor by one line of settings each. Alerts of the
machine, of its losses and of its sensors are counted apart; the first two share the budget.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from anomaly.batches import Alert, ReadingBatch, reading_batch
from anomaly.config import WEEK_SECONDS, parse
from anomaly.monitor import Monitor
from anomaly.production import LOSS_KINDS
from anomaly.registry import Registry
from streams.demo import ChunkDecoder
from streams.simulate import (
    Chunk,
    Injection,
    LineConfig,
    PlannedStop,
    Product,
    ProductRun,
    Shift,
    default_stations,
    simulate,
)

ROW_SECONDS = 5.0
HOUR = 3600.0
HEALTHY_HOURS = 10.0
STATION = 1
#: Rest is learned where there is some: nights of two hours and two breaks a day.
WITH_NIGHTS = Shift(0.0, 22.0, tuple(range(7)), breaks=((4.0, 900.0), (12.0, 1800.0)))
NIGHTS_HOURS = 60.0
#: What is seldom takes longer to know: two days of it are some fifty rejects.
SELDOM_HOURS = 48.0
#: Kind of injection -> hours it lasts, sizes, and the alerts that call it.
KINDS: dict[str, tuple[float, tuple[float, ...], tuple[str, ...]]] = {
    "slow_cycle": (6.0, (0.01, 0.02, 0.05, 0.10), ("slow_cycle",)),
    "micro_stops": (6.0, (3.0, 12.0), ("micro_stops",)),
    "energy_drift": (72.0, (0.02, 0.05), ("energy_per_part",)),
    "reject_rate": (24.0, (2.0, 8.0), ("rejects",)),
    "idle_energy": (30.0, (1.0,), ("idle_energy",)),
    "sensor_frozen": (6.0, (1.0,), ("sensor_fault",)),
    "sensor_offset": (6.0, (4.0, 8.0), ()),  # any alert of the machine
}
#: After a product change the station stays so much slower; the product is told by a tag.
CHANGEOVER_SIZES = (0.02, 0.05)
#: A station that becomes the slowest of its line by so much.
BOTTLENECK_SIZE = 0.20
_SENSOR_KINDS = ("sensor_fault", "data_gap")


def run_line(
    config: LineConfig, injections: Sequence[Injection], budget: str = "1/week",
    warm: int = 4000, tell_product: bool = False, mode_sensor: str = "",
) -> tuple[Monitor, list[Alert]]:
    """Every alert on a simulated line, judged live with everything on."""
    registry = Registry()
    monitor = Monitor(parse({
        "budget": budget, "warm_up_rows": warm, "losses": {
            "line": [station.name for station in config.stations]},
        "regimes": {"sensor": mode_sensor},
    }), registry)
    decoder = ChunkDecoder(registry, [s.name for s in config.stations], 1 << 60)
    alerts: list[Alert] = []
    for chunk in simulate(config, injections, chunk_seconds=HOUR):
        if tell_product:
            chunk = _with_product(config, chunk)
        for batch in decoder.decode(chunk):
            alerts += monitor.process(batch.readings).alerts
    return monitor, alerts + list(monitor.flush().alerts)


def _with_product(config: LineConfig, chunk: Chunk) -> Chunk:
    """The same with the number of the product as a column."""
    runs = sorted(config.product_runs, key=lambda run: run.start_seconds)
    begins = [config.start_time_ns + round(run.start_seconds * 1e9) for run in runs]
    made = np.array([0.0, *(run.product for run in runs)])
    product = made[np.searchsorted(begins, chunk.time_ns, "right")]
    return dataclasses.replace(
        chunk, columns=(*chunk.columns, "product"),
        values=np.ascontiguousarray(np.column_stack([chunk.values, product])))


def line(seed: int, hours: float, **changes: Any) -> LineConfig:
    """Three stations around the clock."""
    return LineConfig(
        default_stations(3), duration_seconds=hours * HOUR, seed=seed,
        row_interval_seconds=ROW_SECONDS, **changes)


def called(kind: str, size: float, seeds: int) -> dict[str, Any]:
    """How soon an injected loss is called on its station, over some seeds."""
    hours, _, named = KINDS[kind]
    delays = []
    for seed in range(seeds):
        healthy = {"idle_energy": NIGHTS_HOURS, "reject_rate": SELDOM_HOURS,
                   "micro_stops": SELDOM_HOURS}.get(kind, HEALTHY_HOURS)
        shifts = (WITH_NIGHTS,) if kind == "idle_energy" else ()
        config = line(100 + seed, healthy + hours, shifts=shifts)
        _, alerts = run_line(
            config, [Injection(kind, STATION, healthy * HOUR, hours * HOUR, size)])
        begin = config.start_time_ns + round(healthy * HOUR * 1e9)
        name = config.stations[STATION].name
        times = [a.time_ns for a in fired(alerts) if a.asset == name and a.time_ns >= begin and (
            a.kind in named if named else a.kind not in (*LOSS_KINDS, "data_gap"))]
        delays.append((min(times) - begin) / 1e9 if times else np.inf)
    return _told(delays)


def after_changeover(size: float, seeds: int) -> dict[str, Any]:
    """How soon a station is called that stays slow after a change of product."""
    change = 24.0
    delays = []
    for seed in range(seeds):
        runs = tuple(ProductRun(hour * HOUR, k % 2) for k, hour in enumerate((6.0, 12.0, 18.0), 1))
        config = line(200 + seed, change + 6.0, products=(Product("A"), Product("B", 1.06, 1.05)),
                      product_runs=(*runs, ProductRun(change * HOUR, 0)))
        _, alerts = run_line(config, [Injection(
            "changeover_loss", STATION, (change - 1.0) * HOUR, 7.0 * HOUR, size)],
            tell_product=True)
        begin = config.start_time_ns + round(change * HOUR * 1e9)
        delays.append(_first(alerts, config, ("rate_after_changeover", "slow_cycle"), begin))
    return _told(delays)


def moved_bottleneck(seeds: int) -> dict[str, Any]:
    """How soon it is told that another station holds the line up, and what its neighbours hear."""
    delays, blamed = [], 0
    for seed in range(seeds):
        config = line(300 + seed, 24.0 + 12.0)
        _, alerts = run_line(config, [Injection(
            "slow_cycle", STATION, 24.0 * HOUR, 12.0 * HOUR, BOTTLENECK_SIZE)])
        begin = config.start_time_ns + round(24.0 * HOUR * 1e9)
        delays.append(_first(alerts, config, ("bottleneck",), begin))
        name = config.stations[STATION].name
        blamed += sum(a.asset != name and a.time_ns >= begin and a.kind in LOSS_KINDS
                      for a in fired(alerts))
    return _told(delays) | {"neighbours_blamed": blamed}


def _first(
    alerts: Sequence[Alert], config: LineConfig, kinds: Sequence[str], begin: int
) -> float:
    """Seconds from ``begin`` to the station's first alert of these kinds."""
    name = config.stations[STATION].name
    times = [a.time_ns for a in fired(alerts)
             if a.asset == name and a.time_ns >= begin and a.kind in kinds]
    return (min(times) - begin) / 1e9 if times else np.inf


def _told(delays: Sequence[float]) -> dict[str, Any]:
    median = float(np.median(delays))
    told = np.isfinite(median)
    return {
        "median_cycles": round(median / default_stations(3)[STATION].cycle_seconds)
        if told else None,
        "median_hours": round(median / HOUR, 2) if told else None,
        "called": f"{int(np.isfinite(delays).sum())}/{len(delays)}",
    }


def quiet_line(
    seeds: int, days: float, tell_product: bool = False, mode_sensor: str = ""
) -> dict[str, Any]:
    """Alerts of healthy lines with every nuisance: shifts, breaks, products, cleaning, restarts.

    ``tell_product``: a tag tells the product; ``mode_sensor`` is named under ``[regimes]``.
    """
    counts: Counter[str] = Counter()
    weeks = 0.0
    for seed in range(seeds):
        runs = tuple(ProductRun((20.0 + 11.0 * k) * HOUR, (k + 1) % 2)
                     for k in range(int(days * 24 / 11)))
        stops = tuple(PlannedStop((36.0 + 48.0 * k) * HOUR, 2 * HOUR, "cleaning", service=True)
                      for k in range(int(days / 2)))
        config = line(
            500 + seed, 24.0 * days, products=(Product("A"), Product("B", 1.06, 1.05, 1.03)),
            product_runs=runs, planned_stops=stops,
            shifts=(WITH_NIGHTS,))
        monitor, alerts = run_line(
            config, (), tell_product=tell_product, mode_sensor=mode_sensor)
        names = [station.name for station in config.stations]
        for a in fired(alerts):
            assert a.asset in names
            counts[_sort(a)] += 1
        rows = monitor.arrays()["reference"]["asset"]["rows"][: len(names)]
        weeks += float((rows - 4000).sum()) * ROW_SECONDS / WEEK_SECONDS
    return _promise(counts, weeks)


def shop_floor(data: Path) -> dict[str, Any]:
    """``sme_cycles`` in its own five minutes, status and alarm hidden: what is said of losses."""
    registry = Registry()
    monitor = Monitor(parse({
        "budget": "1/week", "losses": {
            "parts_per_row_sensor": "items", "product_sensor": "product",
            "power_sensor": "power_avg"},
    }), registry)
    alerts: list[Alert] = []
    for part in _shop_rows(data, registry):
        alerts += monitor.process(part).alerts
    counts = Counter(_sort(a) for a in fired(alerts))
    weeks = 0.0
    for a in range(len(registry.assets)):
        told = monitor.statement(a)
        assert told is not None
        weeks += told.total.wall_seconds / WEEK_SECONDS
    found = _promise(counts, weeks)
    losses = [a for a in fired(alerts) if a.kind in LOSS_KINDS]
    return found | {
        "sentences": [a.sentence for a in losses],
        "counted_slower": [_counted_slower(data, a) for a in losses],
    }


def _counted_slower(data: Path, alert: Alert) -> float | None:
    """Share by which the parts of a row fell from its onset to the alert; None where none is.

    Told from the recording alone, beside the program: rows of five minutes of the same machine and
    product in which its hidden status says that it worked by itself all the time, against those
    before the loss began.
    """
    table = pq.read_table(data / "sme_cycles" / "company_A_labelled.parquet")
    column = {name: table.column(name).to_numpy(zero_copy_only=False).astype(float)
              for name in ("items", "asset", "product", "status", "status_time")}
    time_ns = table.column("ts").to_numpy().astype("datetime64[ns]").astype(np.int64)
    own = column["asset"] == float(alert.asset.removeprefix("asset-"))
    lasting = own & (time_ns >= alert.onset_ns) & (time_ns <= alert.time_ns)
    full = own & (column["status"] == 2.0) & (column["status_time"] == 60.0) & (
        time_ns % (300 * 10**9) == 0)
    product = column["product"][lasting][0]
    full &= column["product"] == product
    before = column["items"][full & (time_ns < alert.onset_ns)]
    late = column["items"][full & lasting]
    if not before.size or not late.size:
        return None
    return round(1.0 - float(late.mean() / before.mean()), 3)


def _shop_rows(data: Path, registry: Registry) -> Iterator[ReadingBatch]:
    table = pq.read_table(data / "sme_cycles" / "company_A_labelled.parquet")
    names = ("items", "power_avg", "product")
    value = np.column_stack([
        table.column(name).to_numpy(zero_copy_only=False).astype(float) for name in names])
    time_ns = table.column("ts").to_numpy().astype("datetime64[ns]").astype(np.int64)
    asset = table.column("asset").to_numpy()
    for number in np.unique(asset).tolist():
        registry.columns(registry.asset(f"asset-{number}"), names)
    index = np.array([registry.asset(f"asset-{number}") for number in asset.tolist()])
    width = len(names)
    yield reading_batch(
        np.repeat(index, width), np.tile(np.arange(width), index.size), np.repeat(time_ns, width),
        value.ravel(), np.tile(np.arange(width) == width - 1, index.size))


def fired(alerts: Sequence[Alert]) -> list[Alert]:
    """The alerts as they began; one that is told once more is the same alert."""
    return list({a.id: a for a in reversed(alerts) if a.state == "firing"}.values())[::-1]


def _sort(alert: Alert) -> str:
    """Whose alert it is; an interruption that is expected is announced beside the budget."""
    if alert.kind in _SENSOR_KINDS:
        return "sensor"
    if alert.kind == "stop_expected":
        return "stop"
    return "loss" if alert.kind in LOSS_KINDS else "machine"


def _promise(counts: Counter[str], weeks: float) -> dict[str, Any]:
    spoken = counts["machine"] + counts["loss"]
    return {
        "machine_weeks": round(weeks, 2), "promised": round(weeks, 1),
        "machine_alerts": counts["machine"], "loss_alerts": counts["loss"],
        "sensor_alerts": counts["sensor"], "stops_expected": counts["stop"],
        "achieved_over_promised": round(spoken / weeks, 2) if weeks > 0.0 else None,
    }
