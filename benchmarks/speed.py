"""How fast the program is: figures with permanent ids, as rates and as ratios within one run.

    python -m benchmarks.speed            # prints the table, writes benchmarks/results/speed.json
    python -m benchmarks.speed --fast     # a tenth of the rows, prints only

Every figure is the median of several runs in a process of its own that may use one core. Two
clocks are shown: CPU seconds of the process (what the work costs) and wall seconds (what a user
waits; on a busy machine the larger). Ratios compare things timed in turn in the same process.
Compilation is never part of a figure: each workload runs once before it is timed.
"""

from __future__ import annotations

import argparse
import json
import os
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

from benchmarks import speed_kafka

RUNS = 5
PEERS = ("numpy", "numba", "pyarrow", "kafka-python", "msgspec", "river", "stumpy",
         "confluent-kafka")
GROUPS = ("start", "replay", "engine", "detectors", "vibration", "kafka")
RESULTS = Path(__file__).resolve().parent / "results" / "speed.json"

Figure = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="a tenth of the rows; prints only")
    parser.add_argument("--only", action="append", choices=GROUPS, metavar="GROUP",
                        help=f"only these, the others as they stand: {', '.join(GROUPS)}")
    options = parser.parse_args(arguments)
    share = 10 if options.fast else 1
    makers: dict[str, Callable[[], list[Figure]]] = {
        "start": start_figures,
        "replay": lambda: replay_figures(200_000 // share),
        "engine": lambda: [engine_figure(share)],
        "detectors": lambda: detector_figures(20_000 // share),
        "vibration": lambda: [vibration_figure(320 // share)],
        "kafka": lambda: speed_kafka.kafka_figures(300_000 // share, _figure),
    }
    fresh = [f for group in options.only or GROUPS for f in makers[group]()]
    kept = json.loads(RESULTS.read_text())["figures"] if options.only and RESULTS.exists() else []
    known = {f["id"] for f in fresh}
    figures = [f for f in kept if f["id"] not in known] + fresh
    about = {
        "machine": platform.machine(),
        "processor": _processor(),
        "python": platform.python_version(),
        "versions": {n: metadata.version(n) for n in PEERS if _installed(n)},
    }
    print(f"{about['processor']}, Python {about['python']}, "
          + ", ".join(f"{k} {v}" for k, v in about["versions"].items()))
    print("| id | what | figure | unit | beside it |\n|---|---|---|---|---|")
    for figure in fresh:
        print(f"| {figure['id']} | {figure['what']} | {figure['value']:,.3g} | {figure['unit']} | "
              f"{figure['note']} |")
    if not options.fast:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps({"about": about, "figures": figures}, indent=1) + "\n")
    return 0


def replay_figures(rows: int) -> list[Figure]:
    """The whole ``andon replay`` of one machine with ten sensors, report and scores included.

    The rate is over the rows beyond a short run's: start-up, which does not grow, is shown apart.
    """
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("parquet", "csv"):
            short, long = (
                _write_recording(Path(folder), kind, count) for count in (rows // 10, rows)
            )
            _replay(short, folder)  # compiles
            pairs = [(_replay(short, folder), _replay(long, folder)) for _ in range(RUNS)]
            readings = (rows - rows // 10) * 10
            cpu = statistics.median(b[0] - a[0] for a, b in pairs)
            wall = statistics.median(b[1] - a[1] for a, b in pairs)
            start = statistics.median(a[1] for a, _ in pairs)
            figures.append(_figure(
                f"S-REPLAY-{kind.upper()}", f"replay from {kind}, everything on, one core",
                readings / cpu, "readings/s",
                f"{readings / wall:,.0f}/s of wall time; {start:.1f} s for the first "
                f"{rows // 10:,} rows, start-up included",
            ))
    return figures


def engine_figure(share: int) -> Figure:
    """The engine on the canonical plant: 1,000 machines, 10 sensors at 10 Hz, a row a second."""
    from anomaly.batches import reading_batch
    from anomaly.config import parse
    from anomaly.monitor import Monitor
    from anomaly.registry import Registry

    assets, sensors, seconds, rate, warm_up = 1000 // share, 10, 30, 10, 60
    registry = Registry()
    for name in range(assets):
        registry.columns(registry.asset(f"m{name}"), [f"s{c}" for c in range(sensors)])
    monitor = Monitor(parse({"warm_up_rows": warm_up, "windows": {"row_seconds": 1.0}}), registry)
    rng = np.random.default_rng(1)

    def second(number: int) -> Any:
        ticks = assets * rate
        asset = np.repeat(np.tile(np.arange(assets), rate), sensors)
        time_ns = np.repeat(number * 10**9 + np.arange(rate) * 10**8, assets * sensors)
        closes = np.tile(np.arange(sensors) == sensors - 1, ticks)
        return reading_batch(asset, np.tile(np.arange(sensors), ticks), time_ns,
                             rng.normal(size=ticks * sensors), closes)

    for number in range(warm_up + 5):
        monitor.process(second(number))
    batches = [second(warm_up + 5 + number) for number in range(seconds)]
    taken = []
    for batch in batches:
        began = time.process_time()
        monitor.process(batch)
        taken.append((time.process_time() - began) / len(batch))
    return _figure("S-ENGINE", "engine on the canonical plant, per reading",
                   statistics.median(taken) * 1e9, "ns", f"{assets} machines, one batch a second")


def detector_figures(rows: int) -> list[Figure]:
    """Kernels alone, ten sensors, and river's nearest thing beside them in the same process."""
    from river.anomaly import GaussianScorer

    from anomaly.detectors import DETECTORS

    figures = []
    rng = np.random.default_rng(2)
    x = rng.normal(size=(rows, 10))
    for name in ("level", "level_fast", "memory", "pyramid"):
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
    figures.append(_figure("S-RIVER-GAUSSIAN", "river's GaussianScorer, per value", per_value, "ns",
                           f"{ratio:,.0f} times the level kernel"))
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

    wait("--help")
    return [_figure("S-HELP", "andon --help, wall time",
                    statistics.median(wait("--help") for _ in range(RUNS)), "s", "")]


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


def _write_recording(folder: Path, kind: str, rows: int) -> Path:
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    rng = np.random.default_rng(rows)
    x = rng.normal(size=(rows, 10)) + np.cumsum(rng.normal(size=(rows, 10)), axis=0) * 0.01
    time_ns = 1_700_000_000 * 10**9 + np.arange(rows) * 10**9
    table = pyarrow.table(
        {"time": pyarrow.array(time_ns, pyarrow.timestamp("ns"))}
        | {f"sensor_{c}": np.round(x[:, c], 3) for c in range(10)}
    )
    path = folder / f"{rows}.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        pyarrow.csv.write_csv(table, path)
    return path


def _replay(path: Path, folder: str) -> tuple[float, float]:
    """CPU and wall seconds of one replay in a process of its own."""
    command = [sys.executable, "-m", "streams", "replay", str(path), "--out", f"{folder}/out",
               "--scores", f"{folder}/scores.parquet", "--quiet"]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1",
                                "OMP_NUM_THREADS": "1"}
    before = os.times()
    began = time.perf_counter()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - began
    after = os.times()
    cpu = (after.children_user - before.children_user
           + after.children_system - before.children_system)
    return cpu, wall


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
