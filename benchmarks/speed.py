"""How fast the program is: figures with permanent ids, as rates and as ratios within one run.

    python -m benchmarks.speed            # prints the table, writes benchmarks/results/speed.json
    python -m benchmarks.speed --fast     # a tenth of the rows, prints only
    python -m benchmarks.speed --table    # the README's table from the results that are there

Every figure is the median of several runs in a process of its own that may use one core. Two
clocks are shown: CPU seconds of the process (what the work costs) and wall seconds (what a user
waits; on a busy machine the larger). Ratios compare things timed in turn in the same process.
Compilation is never part of a figure: each workload runs once before it is timed.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import astuple
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import canonical_plant, speed_kafka, speed_replay, speed_scale, speed_table

RUNS = 5
PEERS = ("numpy", "numba", "pyarrow", "kafka-python", "msgspec", "river", "stumpy",
         "confluent-kafka")
GROUPS = ("start", "replay", "engine", "detectors", "vibration", "kafka", "peers",
          "touchstone", "growth", "live")
RESULTS = Path(__file__).resolve().parent / "results" / "speed.json"
README = Path(__file__).resolve().parents[1] / "README.md"

Figure = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="a tenth of the rows; prints only")
    parser.add_argument("--only", action="append", choices=GROUPS, metavar="GROUP",
                        help=f"only these, the others as they stand: {', '.join(GROUPS)}")
    parser.add_argument("--moa", default=sys.executable, metavar="PYTHON",
                        help="an interpreter that has capymoa (benchmarks/speed_moa.py)")
    parser.add_argument("--table", action="store_true", help="only print the README's table")
    parser.add_argument("--write", action="store_true", help="with --table: put it into the README")
    options = parser.parse_args(arguments)
    if options.table:
        results = json.loads(RESULTS.read_text())
        print(speed_table.table(results), end="")
        if options.write:
            speed_table.put(README, results)
        return 0
    share = 10 if options.fast else 1
    makers: dict[str, Callable[[], list[Figure]]] = {
        "start": start_figures,
        "replay": lambda: speed_replay.replay_figures(share, _figure),
        "engine": lambda: engine_figures(share),
        "detectors": lambda: detector_figures(20_000 // share),
        "vibration": lambda: [vibration_figure(320 // share)],
        "kafka": lambda: speed_kafka.kafka_figures(300_000 // share, _figure),
        "peers": lambda: speed_scale.peer_figures(
            20_000 // share, _timed, _figure, options.moa),
        "touchstone": lambda: speed_scale.touchstone_figures(7 if share == 1 else 1, _figure),
        "growth": lambda: speed_scale.growth_figures(
            (1_000, 10_000, 100_000, 1_000_000)[:4 if share == 1 else 2], _figure),
        "live": lambda: live_figures(share),
    }
    fresh = [f for group in options.only or GROUPS for f in makers[group]()]
    print(speed_table.table({"about": about(), "figures": fresh}), end="")
    if not options.fast:
        keep(fresh, everything=not options.only)
    return 0


def keep(fresh: list[Figure], everything: bool = False) -> None:
    """Write the figures into the results, beside those that others measured (or instead)."""
    kept = [] if everything or not RESULTS.exists() else json.loads(
        RESULTS.read_text())["figures"]
    known = {f["id"] for f in fresh}
    figures = speed_table.ordered([f for f in kept if f["id"] not in known] + fresh)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"about": about(), "figures": figures}, indent=1) + "\n")


def about() -> dict[str, Any]:
    """Where the figures are from."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "python": platform.python_version(),
        "versions": {n: metadata.version(n) for n in PEERS if _installed(n)},
    }


def engine_figures(share: int) -> list[Figure]:
    """The engine on the canonical plant: 1,000 machines, 10 sensors at 10 Hz, a row a second."""
    from anomaly.batches import reading_batch

    assets, seconds, together = canonical_plant.ASSETS // share, 32, 8
    monitor, second = canonical_plant.warm(assets)

    def nanoseconds(batches: list[Any]) -> list[float]:
        taken = []
        for batch in batches:
            began = time.process_time()
            monitor.process(batch)
            taken.append((time.process_time() - began) / len(batch) * 1e9)
        return taken

    live = nanoseconds([second(number) for number in range(seconds)])
    batches = [second(seconds + number) for number in range(seconds)]
    replay = nanoseconds([
        reading_batch(*(np.concatenate([getattr(batch, column) for batch in part])
                        for column in ("asset", "sensor", "time_ns", "value", "closes")))
        for part in (batches[k : k + together] for k in range(0, seconds, together))])
    return [
        _figure("S-ENGINE", "engine on the canonical plant, everything on, per reading",
                statistics.median(live), "ns",
                f"{assets} machines, one batch a second; {statistics.fmean(live):,.0f} ns on "
                "average: every fourth second has blocks of four values, too"),
        _figure("S-ENGINE-REPLAY", f"the same, {together} seconds in a batch, as replay has them",
                statistics.fmean(replay), "ns", "on average"),
    ]


def detector_figures(rows: int) -> list[Figure]:
    """Kernels alone, ten sensors, and river's nearest thing beside them in the same process."""
    from river.anomaly import GaussianScorer

    from anomaly.detectors import DETECTORS

    figures = []
    rng = np.random.default_rng(2)
    x = rng.normal(size=(rows, 10))
    for name in ("level", "memory", "pyramid"):
        bound = DETECTORS[name]
        state = bound.allocate(bound.default, 1, 10)
        table = np.arange(10)[None]
        if bound.fit is not None:
            warm = np.ascontiguousarray(x[:500])
            bound.fit(*state.values(), *astuple(bound.default), table[0], 0, warm, np.empty(500))
        columns = (table, np.zeros(rows, np.int64), x, np.full(rows, np.inf), np.empty(rows),
                   np.empty_like(x))

        def run(bound: Any = bound, state: Any = state, columns: Any = columns) -> None:
            bound.step(*state.values(), *astuple(bound.default), *columns)

        figures.append(_figure(f"S-{name.upper().replace('_', '-')}", f"{name}, per row and sensor",
                               _timed(run) / x.size * 1e9, "ns", ""))
    scorer = GaussianScorer()
    values = x[: rows // 4, 0].tolist()

    def river() -> None:
        for value in values:
            scorer.score_one({}, value)
            scorer.learn_one({}, value)

    per_value = _timed(river, runs=3) / len(values) * 1e9
    ratio = per_value / next(f["value"] for f in figures if f["id"] == "S-LEVEL")
    figures.append(_figure("S-RIVER-GAUSSIAN", "that, against river's GaussianScorer", ratio,
                           "times", f"{per_value:,.0f} ns a value"))
    return figures


def vibration_figure(frames: int) -> Figure:
    """Every feature of frames of 2,048 samples, bearing and velocity included."""
    from anomaly import vibration

    bearing = vibration.Bearing(16, 8.4, 71.5, 15.17, 33.3)
    config = vibration.Config(("a",), 5_000.0, 2048, unit="g", bearing=bearing)
    x = np.random.default_rng(3).normal(size=(frames, 2048))
    return _figure("S-VIBRATION", "features of vibration frames, per sample",
                   _timed(lambda: vibration.features(config, x)) / x.size * 1e9, "ns",
                   f"{len(vibration.names(config))} features of 2,048 samples")


def start_figures() -> list[Figure]:
    """What a user waits for at the terminal; wall time of a process, kernels from the cache."""
    def wait(*command: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "streams", *command], check=True,
                       stdout=subprocess.DEVNULL)
        return time.perf_counter() - began

    rows, rng = 120, np.random.default_rng(4)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "machine.csv"
        path.write_text("time," + ",".join(f"s{c}" for c in range(10)) + "\n" + "".join(
            f"{1_700_000_000 + i}," + ",".join(map(str, rng.normal(size=10))) + "\n"
            for i in range(rows)))
        command = ("replay", str(path), "--out", f"{folder}/out", "--warm-up", "100", "--quiet")
        wait(*command)
        verdict = statistics.median(wait(*command) for _ in range(RUNS))
    wait("--help")
    return [
        _figure("S-HELP", "`andon --help`, wall time",
                statistics.median(wait("--help") for _ in range(RUNS)), "s", ""),
        _figure("S-FIRST-VERDICT", "first verdict from a compiled cache, wall time", verdict, "s",
                f"a replay of {rows} rows with a warm-up of 100, report included"),
    ]


def live_figures(share: int) -> list[Figure]:
    """Latency and two workers, by ``benchmarks.live_plant``; passed over where is no broker.

    The kernel of the system and a broker work on the same cores, so these are of wall time.
    """
    small = () if share == 1 else ("--machines", "100", "--seconds", "20", "--turns", "1")
    found = []
    for what in ((), ("--scale",)):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.live_plant", "--dry", *small, *what],
            stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            print(f"live_plant {' '.join(what)} is passed over", file=sys.stderr)
            continue
        found += [json.loads(line) for line in done.stdout.splitlines()]
    return found


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _timed(run: Callable[[], None], runs: int = RUNS) -> float:
    run()
    taken = []
    for _ in range(runs):
        began = time.process_time()
        run()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def _figure(key: str, what: str, value: float, unit: str, note: str) -> Figure:
    return {"id": key, "what": what, "value": value, "unit": unit, "note": note}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
