"""What is made of the breaks of a machine that tells neither state nor parts: an old press.

Run: ``python -m benchmarks.rests [--seeds 6] [--out FILE]``; one JSON object. One simulated station
works two shifts with four breaks a day, six days a week; of its columns the engine gets power,
temperatures, vibration and pressure. Ids, ``<every>`` the seconds between rows:

* ``rests.<every>.quiet``: a healthy fortnight: alerts of machine and losses, and the promised ones
  (one a week from the end of the warm-up on), how many of them began while it rested or in the
  hour after, and the share of the rows that were judged.
* ``rests.<every>.<fault>``: hours from its beginning, after eight days, to the machine's first
  alert, and on how many machines there was one.
* ``rests.<every>.meter_dead``: the power reads nothing from then on, while the machine works: hours
  to the first alert, a faulty sensor's included.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anomaly.batches import Alert
from anomaly.config import WEEK_SECONDS, parse
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from benchmarks.losses_live import fired
from streams.demo import ChunkDecoder
from streams.fast_rows import LATER_ROW_SECONDS
from streams.simulate import Chunk, Injection, LineConfig, Shift, default_stations, simulate

COLUMNS = ("power_kilowatts", "motor_celsius", "bearing_celsius",
           "vibration_millimetres_per_second", "pressure_bar")
SHIFTS = (Shift(6.0, 22.0, tuple(range(6)),
                breaks=((2.5, 900.0), (5.0, 1800.0), (9.0, 900.0), (12.5, 1800.0))),)
DAYS, FAULT_DAYS, FAULT_DAY = 14.0, 11.0, 8.4
DAY = 86_400.0
#: Kind of injection -> size; each lasts to the end.
FAULTS = {"leak": 0.2, "bearing_wear": 5.0, "overheating": 0.8, "motor_overload": 0.25,
          "idle_energy": 1.0}
EVERY_SECONDS = (60.0, 10.0)
#: After a rest a machine is cold: what is told so soon is the rest's.
AFTER_NS = 3600 * 10**9
_NO_FAULTS = ("sensor_fault", "data_gap", "stop_expected")


def main(arguments: Sequence[str]) -> int:
    """Print every figure as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6, help="machines per figure")
    parser.add_argument("--out", type=Path, help="write the result here too")
    options = parser.parse_args(arguments)
    result: dict[str, Any] = {}
    for every in EVERY_SECONDS:
        result[f"rests.{every:g}.quiet"] = quiet(every, options.seeds)
        for kind, size in FAULTS.items():
            result[f"rests.{every:g}.{kind}"] = called(every, kind, size, options.seeds)
        result[f"rests.{every:g}.meter_dead"] = called(every, "", 0.0, options.seeds)
        print(json.dumps(result), file=sys.stderr, flush=True)
    text = json.dumps(result, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(f"{text}\n", encoding="utf-8")
    return 0


def press(seed: int, every: float, days: float) -> LineConfig:
    """One machine that nobody has connected to a controller."""
    return LineConfig(
        default_stations(1), duration_seconds=days * DAY, seed=700 + seed,
        row_interval_seconds=every, shifts=SHIFTS, columns=COLUMNS)


def judged(
    config: LineConfig, injections: Sequence[Injection], dead_from_ns: int = 1 << 62
) -> tuple[list[Alert], Monitor, Chunk]:
    """Every alert on the machine as the live service judges it, with what it was sent."""
    registry = Registry()
    monitor = Monitor(parse({
        "budget": "1/week", "windows": {"later_row_seconds": LATER_ROW_SECONDS}}), registry)
    decoder = ChunkDecoder(registry, [s.name for s in config.stations], 1 << 60)
    alerts: list[Alert] = []
    (chunk,) = simulate(config, injections, chunk_seconds=config.duration_seconds)
    values = chunk.values.copy()
    values[chunk.time_ns >= dead_from_ns, chunk.columns.index(COLUMNS[0])] = 0.0
    chunk = dataclasses.replace(chunk, values=values)
    for batch in decoder.decode(chunk):
        alerts += monitor.process(batch.readings).alerts
    alerts += monitor.flush().alerts
    return fired(alerts), monitor, chunk


def quiet(every: float, seeds: int) -> dict[str, Any]:
    """Alerts of healthy machines, and how many are about their breaks."""
    count = resting = 0
    weeks = 0.0
    for seed in range(seeds):
        config = press(seed, every, DAYS)
        alerts, monitor, chunk = judged(config, ())
        alerts = [a for a in alerts if a.kind not in _NO_FAULTS]
        power = chunk.values[:, chunk.columns.index(COLUMNS[0])]
        rests = chunk.time_ns[power < 0.3 * np.median(power)]  # simulated: 0.6 kW at rest, 12 not
        count += len(alerts)
        for alert in alerts:
            before = rests[rests <= alert.time_ns]
            resting += bool(before.size) and alert.time_ns - int(before[-1]) <= AFTER_NS
        asset = monitor.arrays()["reference"]["asset"][0]
        weeks += max(DAYS * DAY - float(asset["warm_up"]) * max(every, 60.0), 0.0) / WEEK_SECONDS
    return {"machine_weeks": round(weeks, 2), "promised": round(weeks, 1), "alerts": count,
            "about_rests": resting}


def called(every: float, kind: str, size: float, seeds: int) -> dict[str, Any]:
    """How soon the machine is told of; without a kind its meter dies."""
    delays = []
    for seed in range(seeds):
        config = press(seed, every, FAULT_DAYS)
        begin = config.start_time_ns + round(FAULT_DAY * DAY * 1e9)
        faults = [Injection(kind, 0, FAULT_DAY * DAY, (FAULT_DAYS - FAULT_DAY) * DAY, size)]
        alerts, _, _ = judged(config, faults if kind else (), 1 << 62 if kind else begin)
        times = [a.time_ns for a in alerts if a.time_ns >= begin and (
            not kind or a.kind not in _NO_FAULTS)]
        delays.append((min(times) - begin) / 3.6e12 if times else np.inf)
    median = float(np.median(delays))
    return {"median_hours": round(median, 1) if np.isfinite(median) else None,
            "called": f"{int(np.isfinite(delays).sum())}/{seeds}"}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
