"""Figures of ``benchmarks.speed`` from files: the canonical plant, read alone and replayed.

The canonical plant: 1,000 machines of 10 sensors at 10 Hz, judged by rows of a second, all default
detectors. Its file is wide: a row per machine and tenth of a second, 10 readings in each.

``S-REPLAY-…`` is the whole ``andon replay`` in a process of its own, report and scores file
included, as CPU time per reading beyond a shorter run of the same plant: what goes before (start,
kernels from the cache, the 1,000 machines' frozen references after their warm-up) is in both runs
and shown apart. ``S-READ-…`` is what reading costs of that: file to the engine's batches.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ASSETS, SENSORS, RATE = 1000, 10, 10
WARM_UP_SECONDS = 60
RUNS = 3
CONFIG = f"warm_up_rows = {WARM_UP_SECONDS}\n[windows]\nrow_seconds = 1\n"
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

Figure = dict[str, Any]


def replay_figures(share: int, figure: Callable[..., Figure]) -> list[Figure]:
    """Replay and reading alone, of Parquet and of CSV; a share of the machines where wanted."""
    assets = max(1, ASSETS // share)
    short, long = WARM_UP_SECONDS + 10, WARM_UP_SECONDS + 130
    readings = (long - short) * assets * SENSORS * RATE
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "andon.toml").write_text(CONFIG)
        for kind in ("parquet", "csv"):
            files = [write_plant(folder / f"{s}.{kind}", s, assets) for s in (short, long)]
            _replay(files[0])  # compiles
            pairs = [(_replay(files[0]), _replay(files[1])) for _ in range(RUNS)]
            cpu = statistics.median(b[0] - a[0] for a, b in pairs)
            before = statistics.median(a[0] for a, _ in pairs)
            alone = statistics.median(_read(files[1]) for _ in range(RUNS))
            found.append(figure(
                f"S-REPLAY-{kind.upper()}", f"replay of the canonical plant from {kind}, report "
                "and scores included", readings / cpu, "readings/s",
                f"{cpu / readings * 1e9:,.0f} ns a reading, {alone * 1e9:,.0f} of them for "
                f"reading; {before:.1f} s for the first {short} s of the plant"))
            found.append(figure(
                f"S-READ-{kind.upper()}", f"{kind} to the engine's batches, without the engine",
                1 / alone, "readings/s", ""))
    return found


def write_plant(path: Path, seconds: int, assets: int) -> Path:
    """A recording of the plant, every machine with sensors of its own level."""
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    rng = np.random.default_rng(seconds)
    ticks = seconds * RATE
    code = np.tile(np.arange(assets), ticks)
    columns = {
        "time": pyarrow.array(
            1_700_000_000 * 10**9 + np.repeat(np.arange(ticks), assets) * (10**9 // RATE),
            pyarrow.timestamp("ns")),
        "asset": pyarrow.array([f"machine-{a}" for a in range(assets)]).take(pyarrow.array(code)),
    }
    for c in range(SENSORS):
        columns[f"sensor_{c}"] = np.round(20 + c + 2 * rng.normal(size=code.size), 3)
    table = pyarrow.table(columns)
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pyarrow.parquet.write_table(table, path)
    return path


def _replay(path: Path) -> tuple[float, float]:
    """CPU and wall seconds of one replay in a process of its own."""
    out = path.parent
    command = [sys.executable, "-m", "streams", "replay", str(path), "--out", str(out / "out"),
               "--config", str(out / "andon.toml"), "--scores", str(out / "scores.parquet"),
               "--quiet"]
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, check=True, env=os.environ | ENVIRONMENT, stdout=subprocess.DEVNULL)
    after, wall = os.times(), time.perf_counter() - began
    return (after.children_user - before.children_user
            + after.children_system - before.children_system), wall


def _read(path: Path) -> float:
    """CPU seconds per reading from the file to batches, nothing else."""
    from anomaly.registry import Registry
    from streams import settings
    from streams.codec import FrameDecoder
    from streams.recordings import open_recording
    from streams.rejections import Rejections

    recording = open_recording(path, settings.load(path.parent / "andon.toml", {}).input)
    decoder, readings = FrameDecoder(Registry(), Rejections(5)), 0
    began = time.process_time()
    for frame in recording.frames(0):
        readings += sum(len(batch.readings) for batch in decoder.decode(frame))
    return (time.process_time() - began) / readings
