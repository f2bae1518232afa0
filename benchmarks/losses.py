"""How soon is a small loss called, how often is it called for nothing, and do forecasts hold?

Run: ``python -m benchmarks.losses [--part live|charts|real|coverage] [--data DIR] [--out FILE]``;
one JSON object. What is already in FILE and not measured now is kept there. Figures have permanent
ids, each with the median delay and how many of how many were called. The alert budget is one a
week, of which ``budget_share`` goes to losses (``anomaly.production``).

* ``losses.live.<kind>.<size>``: injected into a simulated line, through the whole engine
  (``benchmarks.losses_live``), a station that stays slow after a change of product and one that
  becomes the bottleneck (``neighbours_blamed``: losses told of the others); ``losses.live.quiet``
  a healthy line with every nuisance, with a product tag that is taken by its name, with one that
  ``[regimes]`` names and with one that it forbids,
  ``losses.live.sme_cycles`` a real shop floor in its own five minutes, status and alarm hidden;
* ``losses.<kind>.<background>.<size>``: charts alone, on the *scatter* of real cycles (a relative
  residual with its own order and tail, so its autocorrelation too) laid on a 76 s cycle. A row of
  ``sme_cycles`` stands for the thirty parts that were counted in it. ``ppd`` tells no cycle: a
  length of its early life stands for one; it is constant for hours and then jumps, which are
  changes, not scatter. ``hrss`` and ``genesis`` have some ten cycles: these are drawn from again
  and again, which keeps their scatter, not its order, and promises nothing;
* ``losses.real.<kind>.<background>.<size>``: a sensor that freezes or is offset in the recordings
  of ``ppd``, ``hrss`` and ``genesis``, through the whole engine (``benchmarks.losses_real``);
* ``losses.promise.<background>``: findings on healthy cycles over the promised ones, for these and
  for independent and autocorrelated noise of 1 and 3 %;
* ``losses.limit.<noise>.<size>``: the same slower cycle called by the best detector that is told
  everything, at the same share of the budget and at all of it (``benchmarks.losses_limit``): where
  cycles remember the last one, forty cycles are out of anybody's reach, and so they are for 1 %
  where independent ones scatter by 2 % or more;
* ``losses.nuisance.<background>.<kind>``: machines that spoke at a healthy change;
* ``losses.interval_coverage.<set>``: see ``benchmarks.timeleft``.

That every second is booked as it was is a test (``tests/test_ledger.py``,
``tests/test_production.py``), not a figure.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from anomaly import inefficiency, production
from anomaly.batches import Float64
from benchmarks import losses_limit, losses_live, losses_real, timeleft

CYCLE_SECONDS = 76.0
HEALTHY, CHANGED = 700, 400
BUDGET_PER_WEEK = 1.0
#: What of it goes to losses, where cycles are told.
LOSSES_PER_WEEK = BUDGET_PER_WEEK * production.Config().budget_share
#: Usual cycles between two false calls of a slower cycle: by its share, and with all of the budget.
CYCLES_APART = 604_800.0 / CYCLE_SECONDS / (
    LOSSES_PER_WEEK * float(inefficiency.SHARES[inefficiency.SLOW_CYCLE]))
CYCLES_APART_AT_MOST = 604_800.0 / CYCLE_SECONDS / BUDGET_PER_WEEK
#: Deviation of the cycles and what of the last one they remember; so many times the machines, for
#: a median to a cycle.
NOISES = (*((deviation, memory) for deviation in (0.01, 0.03) for memory in (0.0, 0.3, 0.7)),
          (0.02, 0.0))
NOISE_MACHINES = 10
#: Parts in a row of a background; one where none is given.
PARTS = {"sme_cycles": 30}
PROMISE_MACHINES, PROMISE_CYCLES = 48, 4000
_WEEK_SECONDS = 604_800.0
SIZES: dict[str, tuple[float, ...]] = {
    "slow_cycle": (0.01, 0.02, 0.05, 0.10),
    "micro_stops": (3.0, 6.0, 12.0),  # times as many
    "energy_per_part": (0.005, 0.01, 0.02, 0.05),  # rise per day
    "rejects": (2.0, 4.0),  # times as many
}
_FEWEST_CYCLES, _DRAWN_FROM = 200, 5
PARTS_RUN = ("live", "charts", "real", "coverage")
_STOP_SHARE, _REJECT_SHARE = 0.02, 0.02


def main(arguments: Sequence[str]) -> int:
    """Print every figure as one JSON object."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ANDON_DATA", default)))
    parser.add_argument("--seeds", type=int, default=60, help="machines per figure")
    parser.add_argument("--part", choices=("all", *PARTS_RUN), default="all")
    parser.add_argument("--lines", type=int, default=3, help="simulated lines per live figure")
    parser.add_argument("--out", type=Path, help="write the result here too")
    options = parser.parse_args(arguments)
    found: dict[str, Any] = {}
    if options.part in ("all", "live"):
        found |= live(options.data, options.lines)
    if options.part in ("all", "charts"):
        found |= on_charts(options.data, options.seeds) | limits()
    if options.part in ("all", "real"):
        for name in losses_real.PARTS:
            if (options.data / name).is_dir():
                found |= losses_real.measured(options.data, name, options.seeds // 5)
    if options.part in ("all", "coverage"):
        found |= covered(options.data)
    if options.out is not None and options.out.exists():
        found = json.loads(options.out.read_text(encoding="utf-8")) | found
    text = json.dumps(found, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    return 0


def live(data: Path, lines: int) -> dict[str, Any]:
    """Through the whole engine."""
    found: dict[str, Any] = {}
    for kind, (_, sizes, _) in losses_live.KINDS.items():
        for size in sizes:
            found[f"losses.live.{kind}.{size:g}"] = losses_live.called(kind, size, lines)
    for size in losses_live.CHANGEOVER_SIZES:
        found[f"losses.live.rate_after_changeover.{size:g}"] = losses_live.after_changeover(
            size, lines)
    found["losses.live.bottleneck"] = losses_live.moved_bottleneck(lines)
    found["losses.live.quiet"] = losses_live.quiet_line(2, 5.0)
    found["losses.live.quiet_product_tag"] = losses_live.quiet_line(2, 5.0, True)
    found["losses.live.quiet_product_named"] = losses_live.quiet_line(2, 5.0, True, "product")
    found["losses.live.quiet_product_forbidden"] = losses_live.quiet_line(2, 5.0, True, "none")
    if (data / "sme_cycles").is_dir():
        found["losses.live.sme_cycles"] = losses_live.shop_floor(data)
    return found


def on_charts(data: Path, seeds: int) -> dict[str, Any]:
    """The charts alone, on many machines."""
    found: dict[str, Any] = {}
    healthy = 0
    weeks = 0.0
    for name, scatter in {**noises(), **backgrounds(data)}.items():
        parts = PARTS.get(name, 1)
        found[f"losses.cycles.{name}"] = scatter.size
        drawn = scatter.size < _FEWEST_CYCLES
        if scatter.size < _DRAWN_FROM:
            continue
        if drawn:
            scatter = np.random.default_rng(3).choice(scatter, 20_000)
        found[f"losses.scatter.{name}"] = {
            "robust_deviation": round(_robust_deviation(scatter), 4),
            "deviation": round(float(scatter.std()), 4),
            "autocorrelation": round(float(np.corrcoef(scatter[1:], scatter[:-1])[0, 1]), 2),
        }
        promise = kept(scatter, parts)
        if not drawn:
            found[f"losses.promise.{name}"] = promise
        if name != "ppd" and not drawn:
            healthy += promise["findings"]
            weeks += promise["promised"]
        for kind, sizes in SIZES.items():
            for size in sizes if not name.startswith("noise") else sizes[:2]:
                key = f"losses.{kind}.{name}.{size:g}"
                more = NOISE_MACHINES if name.startswith("noise") and kind == "slow_cycle" else 1
                found[key] = delay(scatter, kind, size, more * seeds, parts)
        for nuisance in ("product_change", "start_up"):
            found[f"losses.nuisance.{name}.{nuisance}"] = quiet(scatter, nuisance, seeds, parts)
    found["losses.promise.all_but_ppd"] = {
        "findings": healthy, "promised": round(weeks, 1), "ratio": round(healthy / weeks, 2)}
    return found


def covered(data: Path) -> dict[str, Any]:
    """How often the truth lies within the forecast range."""
    found = {}
    for name in timeleft.SETS:
        if (data / name).is_dir():
            for share in timeleft.LIMIT_SHARES:
                result = timeleft.coverage(data, name, limit_share=share)
                found[f"losses.interval_coverage.{name}.{share:g}"] = dataclasses.asdict(result)
    return found


def backgrounds(data: Path) -> dict[str, Float64]:
    """Relative scatter of healthy cycles, in their order: float64[n] around 0, by background."""
    found = {"simulator": _simulated()}
    readers = {"sme_cycles": _sme, "hrss": _hrss, "genesis": _genesis, "ppd": _ppd}
    for name, read in readers.items():
        if (data / name).is_dir():
            found[name] = read(data / name)
    return found


def noises() -> dict[str, Float64]:
    """Noise of 1 and 3 %, independent or remembering its last value."""
    generator = np.random.default_rng(0)
    found = {}
    for deviation, memory in NOISES:
        fresh = generator.normal(size=20_000)
        values = np.empty(fresh.size)
        values[0] = fresh[0]
        for i in range(1, fresh.size):
            values[i] = memory * values[i - 1] + np.sqrt(1.0 - memory**2) * fresh[i]
        found[_noise(deviation, memory)] = deviation * values
    return found


def limits() -> dict[str, Any]:
    """How soon the best that knows everything calls a slower cycle in the same noises."""
    found: dict[str, Any] = {}
    for deviation, memory in NOISES:
        for size in SIZES["slow_cycle"][:2]:
            at_all = losses_limit.soonest(deviation, memory, size, CYCLES_APART_AT_MOST)
            found[f"losses.limit.{_noise(deviation, memory)}.{size:g}"] = losses_limit.soonest(
                deviation, memory, size, CYCLES_APART) | {
                    "median_cycles_with_all_of_the_budget": at_all["median_cycles"]}
    return found


def _noise(deviation: float, memory: float) -> str:
    return f"noise_{deviation:g}_memory_{memory:g}"


def kept(scatter: Float64, parts: int) -> dict[str, Any]:
    """Findings on healthy cycles, and how many were promised."""
    found = _judged(machines(scatter, PROMISE_MACHINES, PROMISE_CYCLES), parts)
    cycles = PROMISE_CYCLES - inefficiency.Config().warm_up_cycles
    weeks = PROMISE_MACHINES * cycles * parts * CYCLE_SECONDS / _WEEK_SECONDS
    promised = weeks * LOSSES_PER_WEEK
    count = int((found["firing"] == 1).sum())
    return {"findings": count, "promised": round(promised, 1), "ratio": round(count / promised, 2)}


def machines(scatter: Float64, seeds: int, count: int) -> dict[str, np.ndarray[Any, Any]]:
    """Cycles of so many machines: stretches of the scatter, healthy jams and rejects added."""
    generator = np.random.default_rng(20_260_302)
    shape = (seeds, count)
    start = generator.integers(0, scatter.size, seeds)
    place = (start[:, None] + np.arange(count)) % scatter.size
    jam = (generator.random(shape) < _STOP_SHARE) * (0.3 + 3.0 * generator.random(shape))
    other = (start[:, None] + scatter.size // 2 + np.arange(count)) % scatter.size
    return {
        "seconds": CYCLE_SECONDS * (1.0 + scatter[place] + jam),
        "energy": 0.4 * (1.0 + scatter[other]),
        "rejects": (generator.random(shape) < _REJECT_SHARE).astype(float),
        "product": np.zeros(shape, np.int64),
        "asset": np.repeat(np.arange(seeds), count).reshape(shape),
    }


def delay(
    scatter: Float64, kind: str, size: float, seeds: int, parts: int
) -> dict[str, Any]:
    """Median cycles from the change to the call, k of n, false findings and promised."""
    daily = kind == "energy_per_part"
    after = 6 * round(86_400 / CYCLE_SECONDS / parts) if daily else CHANGED
    table = machines(scatter, seeds, HEALTHY + after)
    generator = np.random.default_rng(7)
    changed = slice(HEALTHY, None)
    if kind == "slow_cycle":
        table["seconds"][:, changed] *= 1.0 + size
    elif kind == "micro_stops":
        more = generator.random((seeds, after)) < (size - 1.0) * _STOP_SHARE
        jam = more * (1.0 + 4.0 * generator.random(more.shape))
        table["seconds"][:, changed] += CYCLE_SECONDS * jam
    elif daily:
        days = np.arange(after) * parts * CYCLE_SECONDS / 86_400.0
        table["energy"][:, changed] *= 1.0 + size * days
    else:
        more = generator.random((seeds, after)) < (size - 1.0) * _REJECT_SHARE
        table["rejects"][:, changed] = np.maximum(table["rejects"][:, changed], more)
    found = _judged(table, parts)
    place = found["row"] % (HEALTHY + after)
    firing = found["firing"] == 1
    delays = np.full(seeds, np.inf)
    own = firing & (found["kind"] == inefficiency.KINDS.index(kind)) & (place >= HEALTHY)
    np.minimum.at(delays, found["asset"][own], place[own] - HEALTHY + 1.0)
    called = np.isfinite(delays)
    weeks = seeds * (HEALTHY - inefficiency.Config().warm_up_cycles) * parts * CYCLE_SECONDS
    median = float(np.median(delays))
    told = np.isfinite(median)
    return {
        "median_cycles": median * parts if told else None,
        "median_hours": round(median * parts * CYCLE_SECONDS / 3600.0, 2) if told else None,
        "called": f"{int(called.sum())}/{seeds}",
        "false_findings": int((firing & (place < HEALTHY)).sum()),
        "promised": round(weeks / _WEEK_SECONDS * LOSSES_PER_WEEK, 2),
    }


def quiet(scatter: Float64, nuisance: str, seeds: int, parts: int) -> str:
    """How many machines said anything within 40 cycles of a healthy change."""
    table = machines(scatter, seeds, HEALTHY + 40)
    if nuisance == "product_change":
        table["product"][:, HEALTHY:] = 1
        table["seconds"][:, HEALTHY:] *= 1.1
        table["energy"][:, HEALTHY:] *= 1.15
    else:  # after a break of an hour: six slow, dear cycles with more rejects
        table["seconds"][:, HEALTHY] += 3600.0
        rise = 0.06 * np.exp(-np.arange(39) / 6.0)
        table["seconds"][:, HEALTHY + 1 :] *= 1.0 + rise
        table["energy"][:, HEALTHY + 1 :] *= 1.0 + rise
    found = _judged(table, parts)
    late = (found["firing"] == 1) & (found["row"] % (HEALTHY + 40) >= HEALTHY)
    return f"{np.unique(found['asset'][late]).size}/{seeds}"


def _judged(table: dict[str, np.ndarray[Any, Any]], parts: int = 1) -> np.ndarray[Any, Any]:
    config = inefficiency.Config()
    state = inefficiency.allocate(config, len(table["asset"]))
    cycles = np.zeros(table["asset"].size, inefficiency.CYCLE)
    for name in ("asset", "product", "seconds", "energy", "rejects"):
        cycles[name] = table[name].ravel()
    spent = np.cumsum(table["seconds"], axis=1) * (parts * 1e9)
    cycles["time_ns"] = spent.astype(np.int64).ravel()
    cycles["row"], cycles["made"], cycles["told"] = np.arange(cycles.size), float(parts), 1
    return inefficiency.run(
        config, state, LOSSES_PER_WEEK, cycles, np.zeros(0, inefficiency.IDLE))


# -- scatter of real cycles -----------------------------------------------------------------------


def _relative(values: Float64) -> Float64:
    """Relative deviation from the median; single cycles off by over a fifth are stops, left out."""
    kept = values[np.isfinite(values) & (values > 0.0)]
    found = kept / np.median(kept) - 1.0
    return np.asarray(found[np.abs(found) < 0.2], np.float64)


def _robust_deviation(values: Float64) -> float:
    low, high = np.quantile(values, (0.25, 0.75))
    return float((high - low) / 1.349)


def _simulated() -> Float64:
    from streams.simulate import LineConfig, default_stations, simulate

    config = LineConfig(default_stations(3), duration_seconds=48 * 3600.0, seed=11,
                        row_interval_seconds=60.0)
    cycles = np.concatenate([chunk.cycles for chunk in simulate(config)])
    own = cycles[cycles["station"] == 1]
    return _relative(own["work_scans"].astype(float))


def _sme(folder: Path) -> Float64:
    """Seconds per part from five-minute counts, in means of six rows: counts are coarse."""
    table = pq.read_table(next(folder.glob("*.parquet")), columns=["asset", "items"])
    asset, items = table.column("asset").to_numpy(), table.column("items").to_numpy()
    parts = []
    for number in np.unique(asset):
        own = items[(asset == number) & (items > 0)].astype(float)
        means = own[: own.size // 6 * 6].reshape(-1, 6).mean(axis=1)
        parts.append(_relative(1.0 / means))
    return np.concatenate(parts)


def _hrss(folder: Path) -> Float64:
    """Time between starts of the first belt's movement."""
    table = pq.read_table(folder / "HRSS_normal_standard.parquet")
    time = table.column("ts").to_numpy().astype(float)
    return _relative(_periods(time, table.column("I_w_BLO_Weg").to_numpy().astype(float)))


def _genesis(folder: Path) -> Float64:
    """Time between arrivals at the fourth position."""
    table = pq.read_table(folder / "Genesis_normal.parquet")
    time = table.column("ts").to_numpy().astype(float)
    reached = table.column("MotorData.Motor_Pos4reached").to_numpy().astype(float)
    return _relative(_periods(time, reached))


def _ppd(folder: Path) -> Float64:
    """A length of the early life, as it stands: no cycle is told there."""
    table = pq.read_table(folder / "C11.parquet", columns=["L_1"])
    values = table.column("L_1").to_numpy().astype(float)
    early = values[: values.size // 4]
    return _relative(np.abs(early))


def _periods(time: Float64, signal: Float64) -> Float64:
    """Times between rises through the middle of the signal's range."""
    middle = 0.5 * (np.nanmin(signal) + np.nanmax(signal))
    up = (signal[1:] > middle) & (signal[:-1] <= middle)
    return np.diff(time[1:][up])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
