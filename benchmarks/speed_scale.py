"""Figures of ``benchmarks.speed`` about size and about peers: growth, touchstone, stumpi, trees.

Growth is from 1,000 to 1,000,000 tags in one process, within one memory limit: what each tag gets
is the memory plan's. The growth plot stands beside the figures. Peers run in turn with our kernels
in the same process, each with its own defaults where it has the same parameter; MOA through capymoa
needs Java and an environment of its own (``speed_moa``) and is left out where there is none.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np

GROWTH_PLOT = Path(__file__).resolve().parent / "results" / "growth.svg"
SENSORS = 10
BATCH_ROWS = 4096
WARM_UP_ROWS = 20
#: Of the growth's process; a million tags fit in it while all of them warm up.
LIMIT_MB = 8192.0
#: Values that stumpi compares with, as many as the pyramid's first level reaches back; updates.
HISTORY, UPDATES = 2560, 100

Figure = dict[str, Any]


def growth_figures(sizes: tuple[int, ...], figure: Callable[..., Figure]) -> list[Figure]:
    """Nanoseconds a reading with so many tags in one process, a row a second, all on.

    Once as the memory plan has it (who comes first gets the pyramid), once with every sensor
    watched lightly, so that the same work is compared. Batches are of up to 100,000 readings.
    """
    found = []
    curves = {}
    for key, what, light in (("S-GROWTH", "as planned", False),
                             ("S-GROWTH-LIGHT", "all sensors lightly", True)):
        taken = curves[what] = {tags: _engine(tags, light) for tags in sizes}
        least, most = min(taken), max(taken)
        found.append(figure(
            key, f"growth from {least:,} to {most:,} tags in one process, per reading, {what}",
            taken[most][0] / taken[least][0], "times",
            "; ".join(f"{tags:,} tags {ns:,.0f} ns" + ("" if light else f" ({full:,} in full)")
                      for tags, (ns, full) in taken.items())
            + ("" if light else f"; {_plan().sentence(most)}")))
    plot(curves)
    return found


def _config() -> Any:
    from anomaly.config import MonitorConfig

    return replace(MonitorConfig(), warm_up_rows=WARM_UP_ROWS, memory_limit_megabytes=LIMIT_MB)


def _plan() -> Any:
    from anomaly.memory_plan import plan

    return plan(_config())


def _engine(tags: int, light: bool) -> tuple[float, int]:
    """Every asset is a copy of one of a hundred that have really warmed up."""
    config = _config()
    if light:
        others = tuple(name for name in config.detectors if name != "pyramid")
        config = replace(config, detectors=others)
    few = min(tags, 1000)
    model = _monitor(config, few // SENSORS)
    for row in range(WARM_UP_ROWS + 2):
        for batch in _rows(few, row):
            model.process(batch)
    monitor = _monitor(config, tags // SENSORS)
    own = monitor.arrays()
    for component, arrays in model.arrays().items():
        for name, array in arrays.items():
            target = own[component][name]
            step = few // SENSORS if name.startswith("asset") else few
            end = min(len(target), tags // SENSORS if name.startswith("asset") else tags)
            for first in range(0, end if len(array) else 0, step):
                target[first : min(first + step, end)] = array[: min(step, end - first)]
    monitor.derive(np.arange(tags))
    spent = []
    together = max(1, 100_000 // tags)
    for turn in range(4):
        first = WARM_UP_ROWS + 2 + turn * together
        batches = list(_joined(_rows(tags, row) for row in range(first, first + together)))
        began = time.process_time()
        for batch in batches:
            monitor.process(batch)
        spent.append(time.process_time() - began)
    return statistics.median(spent[1:]) / together / tags * 1e9, min(tags, monitor.plan.full_tags)


def _monitor(config: Any, assets: int, sensors: int = SENSORS) -> Any:
    from anomaly.monitor import Monitor
    from anomaly.registry import Registry

    registry = Registry(asset_limit=assets, tag_limit=assets * sensors)
    for a in range(assets):
        registry.columns(registry.asset(f"m{a}"), [f"s{c}" for c in range(sensors)])
    return Monitor(config, registry)


def _rows(tags: int, row: int) -> Iterator[Any]:
    from anomaly.batches import reading_batch

    assets, step = tags // SENSORS, 10_000
    for first in range(0, assets, step):
        asset = np.arange(first, min(first + step, assets))
        n = asset.size * SENSORS
        values = np.random.default_rng([row, first]).normal(size=n)
        yield reading_batch(
            np.repeat(asset, SENSORS), np.tile(np.arange(SENSORS), asset.size),
            np.full(n, row * 10**9), values, np.tile(np.arange(SENSORS) == SENSORS - 1, asset.size))


def _joined(rows: Iterable[Iterable[Any]]) -> Iterator[Any]:
    """Small batches of some rows as one batch; large ones as they are."""
    from anomaly.batches import reading_batch

    batches = [batch for row in rows for batch in row]
    if len(batches[0]) >= 100_000:
        yield from batches
        return
    columns = zip(*((b.asset, b.sensor, b.time_ns, b.value, b.closes) for b in batches),
                  strict=True)
    yield reading_batch(*(np.concatenate(column) for column in columns))


def plot(curves: dict[str, dict[int, tuple[float, int]]]) -> None:
    """The growth as a picture, nanoseconds a reading over tags."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "andon"
    shown, axes = pyplot.subplots(figsize=(6, 3.2))
    for (what, taken), colour in zip(curves.items(), ("#1f5fa8", "#b35c00"), strict=True):
        axes.plot(list(taken), [ns for ns, _ in taken.values()], marker="o", color=colour,
                  label=what)
    axes.legend(frameon=False)
    axes.set(xscale="log", xlabel="tags in one process", ylabel="ns a reading", ylim=(0, None))
    axes.grid(alpha=0.3)
    shown.tight_layout()
    shown.savefig(GROWTH_PLOT, metadata={"Date": None})
    pyplot.close(shown)


def peer_figures(
    rows: int, timed: Callable[..., float], figure: Callable[..., Figure], interpreter: str
) -> list[Figure]:
    """The pyramid beside stumpy's stumpi; half-space trees beside river's and MOA's.

    ``interpreter`` has capymoa (``speed_moa``).
    """
    import stumpy
    from river.anomaly import HalfSpaceTrees

    from anomaly.detectors import DETECTORS

    random = np.random.default_rng(6)
    values = np.sin(np.arange(rows) / 9) + 0.1 * random.normal(size=rows)
    ours = timed(_stepper(DETECTORS["pyramid"], values[:, None])) / rows
    few = values[-UPDATES:].tolist()
    with _one_thread():
        stream = stumpy.stumpi(values[:HISTORY], m=16, egress=True)

        def stumpi() -> None:
            for value in few:
                stream.update(value)

        theirs = timed(stumpi, runs=3) / len(few)
    x = random.normal(size=(rows, 20))
    trees = timed(_stepper(DETECTORS["trees"], x)) / rows
    river = HalfSpaceTrees(n_trees=25, height=10, window_size=250, seed=1)
    near = np.clip(x / 8 + 0.5, 0, 1)
    sample = [dict(enumerate(row)) for row in near[:300].tolist()]

    def half_space() -> None:
        for row in sample:
            river.score_one(row)
            river.learn_one(row)

    slow = timed(half_space, runs=3) / len(sample)
    what = "half-space trees 25×10, a row of 20 sensors, against"
    found = [
        figure("S-STUMPI", "pyramid (three time scales) against stumpy's stumpi (one), per value",
               theirs / ours, "times", f"{ours * 1e6:.2f} µs against {theirs * 1e6:,.0f} µs, "
               f"history {HISTORY:,}"),
        figure("S-TREES-RIVER", f"{what} river", slow / trees, "times",
               f"{trees * 1e9:,.0f} ns against {slow * 1e6:,.0f} µs"),
    ]
    other = _moa(near[:3000], interpreter)
    if other is None:
        return found
    seconds, version = other
    return [*found, figure(
        "S-TREES-MOA", f"{what} MOA through capymoa {version}", seconds / trees, "times",
        f"{trees * 1e9:,.0f} ns against {seconds * 1e6:,.1f} µs, in an environment of its own")]


def _moa(x: Any, interpreter: str) -> tuple[float, str] | None:
    """CPU seconds a row of MOA's trees and capymoa's version; None where they cannot be had."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        np.save(path, x)
        done = subprocess.run([interpreter, str(Path(__file__).with_name("speed_moa.py")),
                               str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"MOA is passed over: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return statistics.median(told["seconds"]) / len(x), told["version"]


def touchstone_figures(runs: int, figure: Callable[..., Figure]) -> list[Figure]:
    """Every series of the workload through the whole monitor, compiled before; none = no data."""
    import pyarrow.parquet

    from anomaly.batches import reading_batch
    from anomaly.config import MonitorConfig
    from benchmarks.quality import datasets

    folder = datasets.data_folder()
    if folder is None or not datasets.has_set("touchstone", folder):
        return []
    series = []
    for path in sorted((folder / "touchstone").glob("*.parquet")):
        table = pyarrow.parquet.read_table(path)
        columns = [table[name].to_numpy().astype(np.float64) for name in table.column_names[1:]]
        series.append(np.ascontiguousarray(np.stack(columns, axis=1)))

    def whole() -> float:
        spent = 0.0
        for x in series:
            monitor = _monitor(MonitorConfig(), 1, x.shape[1])
            for first in range(0, len(x), BATCH_ROWS):
                part = x[first : first + BATCH_ROWS]
                n, d = part.shape
                batch = reading_batch(
                    np.zeros(n * d, np.int64), np.tile(np.arange(d), n),
                    np.repeat((first + np.arange(n) + 1) * 10**9, d), part.ravel(),
                    np.tile(np.arange(d) == d - 1, n))
                began = time.process_time()
                monitor.process(batch)
                spent += time.process_time() - began
        return spent

    whole()
    ours, theirs = zip(*((whole(), _stumpi_seconds(series)) for _ in range(runs)), strict=True)
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    values = sum(x.size for x in series)
    return [
        figure("S-TOUCHSTONE", "the streaming leaderboard's series at hand, everything on",
               statistics.median(ours), "s", f"{len(series)} series, {values:,} values"),
        figure("S-TOUCHSTONE-STUMPI", "that, against stumpi on each column",
               statistics.median(ratios), "times",
               f"{ratios[0]:,.0f} to {ratios[-1]:,.0f} in {runs} runs in turn; "
               f"{statistics.median(theirs):,.0f} s by {UPDATES} updates a column, "
               f"history {HISTORY:,}"),
    ]


def _stumpi_seconds(series: Iterable[Any]) -> float:
    """As if each column were updated value by value over as many as our first level has."""
    import stumpy

    total = 0.0
    with _one_thread():
        for column in (column for x in series for column in x.T):
            stream = stumpy.stumpi(column[:HISTORY].copy(), m=16, egress=True)
            stream.update(float(column[HISTORY]))  # compiles what the others use
            few = column[HISTORY + 1 :][:UPDATES].tolist()
            began = time.process_time()
            for value in few:
                stream.update(value)
            total += (time.process_time() - began) / len(few) * column.size
    return total


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """stumpy's kernels take every core: twice the CPU time and, beside other work, minutes."""
    import numba

    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(threads)


def _stepper(bound: Any, x: Any) -> Callable[[], None]:
    sensors = x.shape[1]
    state = bound.allocate(bound.default, 1, sensors)
    table = np.arange(sensors)[None]
    if bound.fit is not None:
        warm = np.ascontiguousarray(x[:500])
        bound.fit(*state.values(), *astuple(bound.default), table[0], 0, warm, np.empty(500))
    columns = (table, np.zeros(len(x), np.int64), np.ascontiguousarray(x), np.full(len(x), np.inf),
               np.empty(len(x)), np.empty(x.shape))

    def run() -> None:
        bound.step(*state.values(), *astuple(bound.default), *columns)

    return run
