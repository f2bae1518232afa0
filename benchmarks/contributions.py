"""Does an alert name the sensor at fault? Faults of one sensor, injected into real machines.

Run: ``python -m benchmarks.contributions [--set NAME …] [--seeds 15] [--out FILE]``; one JSON
object. Into the healthy stretch of every recording of three sensors or more that has one, sixty
rows after warm-up, one fault in one sensor, seeded:

* ``offset``: the sensor reads higher or lower from one row to the next;
* ``drift``: the same, over 100 rows;
* ``stuck``: it stays at a value off its centre;
* ``noise``: its scatter grows;
* ``swap``: it follows another healthy stretch of its own, so that only its relation to the other
  sensors is lost (found by few detectors, and named by fewer).

Sizes are 4, 6 and 10 of the sensor's own robust deviations. Judged is the first machine alert after
the fault began that the untouched recording does not raise, too, within ten rows: such a one names
what it finds in the recording, and no fault of ours could change the name. Ids:
``contributions.<set>``, ``contributions.<kind>`` and ``contributions.all``: faults injected, alerts
on them, and among those how often the true sensor is the first and is one of the first three;
``own`` counts the faults whose only alerts are the recording's. The aims are 0.80 and 0.95.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anomaly.batches import Float64
from benchmarks.quality.datasets import ALL_SETS, cases, has_set
from benchmarks.quality.in_process import andon_in_process
from benchmarks.quality.recordings import Recording
from benchmarks.quality.truth import Case

KINDS = ("offset", "drift", "stuck", "noise", "swap")
SIZES = (4.0, 6.0, 10.0)
QUIET_ROWS, DRIFT_ROWS, FAULT_ROWS = 60, 100, 1_500
FEWEST_SENSORS, FEWEST_ROWS = 3, 300
BUDGET = "1/week"
#: An alert so near to one of the untouched recording is that one.
SAME_ROWS = 10


def main(arguments: Sequence[str]) -> int:
    """Print every figure as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", choices=ALL_SETS, help="repeatable")
    parser.add_argument("--seeds", type=int, default=15, help="faults per recording")
    parser.add_argument("--out", type=Path, help="write the result here too")
    options = parser.parse_args(arguments)
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
    for name in options.set or ALL_SETS:
        for number, case in enumerate(cases(name) if has_set(name) else ()):
            healthy = stretch(case)
            for kind, found in _judged(healthy, number, options.seeds) if healthy else ():
                for key in (name, kind, "all"):
                    for place, value in enumerate(found):
                        counts[key][place] += value
    result = {f"contributions.{key}": _figure(*count) for key, count in counts.items()}
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    return 0


def stretch(case: Case) -> tuple[Recording, int] | None:
    """One machine's rows up to its last healthy one, and its warm-up; None where too few."""
    recording = case.recording
    if not case.healthy_rows or len(recording.names) < FEWEST_SENSORS:
        return None
    machine = recording.asset[np.flatnonzero(case.healthy)[0]]
    rows = np.flatnonzero(recording.asset == machine)
    warm_up = int(np.count_nonzero(rows < case.warm_up_rows))
    healthy = np.flatnonzero(case.healthy[rows])
    rows = rows[: min(healthy[-1] + 1, warm_up + QUIET_ROWS + FAULT_ROWS)]
    if len(rows) - warm_up - QUIET_ROWS < DRIFT_ROWS or len(rows) < FEWEST_ROWS:
        return None
    return dataclasses.replace(
        recording, asset=recording.asset[rows], time_ns=recording.time_ns[rows],
        x=recording.x[rows],
    ), warm_up


def injected(
    x: Float64, warm_up: int, sensor: int, kind: str, size: float, rng: np.random.Generator
) -> Float64:
    """A copy of ``x float64[n, d]`` with a fault in one sensor from QUIET_ROWS after warm-up on."""
    start = warm_up + QUIET_ROWS
    usual = x[:warm_up, sensor]
    centre = np.nanmedian(usual)
    low, high = np.nanquantile(usual, (0.25, 0.75))
    deviation = max((high - low) / 1.349, 0.5 * float(np.nanstd(usual)))
    faulty = x.copy()
    rest = faulty[start:, sensor]
    if kind == "offset":
        rest += size * deviation
    elif kind == "drift":
        rest += size * deviation * np.minimum(1.0, np.arange(len(rest)) / DRIFT_ROWS)
    elif kind == "stuck":
        rest[:] = centre + size * deviation
    elif kind == "noise":
        rest += abs(size) * deviation * rng.normal(size=len(rest))
    else:
        rest[:] = np.resize(usual[::-1], len(rest))
    return faulty


def _judged(
    healthy: tuple[Recording, int], number: int, seeds: int
) -> Iterator[tuple[str, tuple[int, int, int, int, int]]]:
    """Kind and (injected, own, alerts, first, first three) of every fault of one recording."""
    recording, warm_up = healthy
    run = andon_in_process()
    untouched = [span.fired_row for span in run(recording, warm_up, BUDGET).alerts if span.sensors]
    for seed in range(seeds):
        rng = np.random.default_rng([number, seed])
        sensor = int(rng.integers(len(recording.names)))
        kind = KINDS[seed % len(KINDS)]
        size = float(rng.choice(SIZES) * rng.choice((-1.0, 1.0)))
        usual = recording.x[:warm_up, sensor]
        if not np.nanmax(usual) > np.nanmin(usual):
            continue
        x = injected(recording.x, warm_up, sensor, kind, size, rng)
        verdict = run(dataclasses.replace(recording, x=x), warm_up, BUDGET)
        after = [span for span in verdict.alerts if span.fired_row >= warm_up + QUIET_ROWS
                 and span.sensors]
        ours = [span for span in after
                if all(abs(span.fired_row - row) > SAME_ROWS for row in untouched)]
        named = min(ours, key=lambda span: span.fired_row).sensors if ours else ()
        true = recording.names[sensor]
        yield kind, (1, int(bool(after) and not ours), int(bool(ours)),
                     int(named[:1] == (true,)), int(true in named[:3]))


def _figure(faults: int, own: int, alerts: int, first: int, three: int) -> dict[str, Any]:
    return {
        "injected": faults, "own": own, "alerts": alerts,
        "first": round(first / alerts, 3) if alerts else None,
        "first_three": round(three / alerts, 3) if alerts else None,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
