"""A miniature data folder in the layout of the real one, which the evaluation's tests share.

Made-up numbers only.  Three sets: a fleet run to failure (cmapss), windows after a normal run
(tep), and windows with a healthy file beside them (skab).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

_SKAB_ROWS = 700
_TEP_NORMAL_ROWS, _TEP_ROWS = 500, 400


def make(folder: Path) -> Path:
    """Write the folder and return it."""
    random = np.random.default_rng(11)
    _cmapss(folder / "cmapss", random)
    _tep(folder / "tep", random)
    _skab(folder / "skab", random)
    return folder


def test_the_miniature_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("cmapss/train.parquet", "tep/d01_te.parquet", "skab/valve1__0.parquet"):
        first = pyarrow.parquet.read_table(make(tmp_path / "a") / name)
        second = pyarrow.parquet.read_table(make(tmp_path / "b") / name)
        assert first.equals(second)


def _cmapss(folder: Path, random: np.random.Generator) -> None:
    """Six units of 160 to 210 cycles, a sensor drifts over the last 80; a file of no failure."""
    lives = {unit: 150 + 10 * unit for unit in range(1, 7)}
    unit = np.concatenate([np.full(life, number) for number, life in lives.items()])
    cycle = np.concatenate([np.arange(1, life + 1) for life in lives.values()])
    last = np.concatenate([np.full(life, life) for life in lives.values()])
    drift = np.maximum(cycle - (last - 80), 0) / 10.0
    columns = {
        "ts": cycle,
        "unit": unit,
        "cycle": cycle,
        "s1": random.normal(size=cycle.size) + drift,
        "s2": random.normal(size=cycle.size),
    }
    _write(folder / "train.parquet", columns)
    _write(folder / "test.parquet", columns)
    about = {"n": int(cycle.size), "last_cycle": {str(key): life for key, life in lives.items()}}
    _label(
        folder,
        {
            "train": {"file": "train.parquet", "run_to_failure": True, **about},
            "test": {"file": "test.parquet", "run_to_failure": False, **about},
        },
    )


def _tep(folder: Path, random: np.random.Generator) -> None:
    """A normal run, its test twin, and a run with a shift from row 160."""
    series = {}
    for name, rows, fault in (
        ("d00", _TEP_NORMAL_ROWS, 0),
        ("d00_te", _TEP_ROWS, 0),
        ("d01_te", _TEP_ROWS, 1),
    ):
        x = random.normal(size=(rows, 2))
        if fault:
            x[160:, 0] += 6.0
        _write(
            folder / f"{name}.parquet", {"ts": np.arange(rows) * 180, "v1": x[:, 0], "v2": x[:, 1]}
        )
        series[name] = {
            "file": f"{name}.parquet",
            "n": rows,
            "fault": fault,
            "fault_from_row": 160 if fault else None,
        }
    _label(folder, series)


def _skab(folder: Path, random: np.random.Generator) -> None:
    """Two files with a shifted stretch and one without."""
    series: dict[str, Any] = {}
    start = np.datetime64("2020-03-09T10:00:00", "us")
    for name in ("anomaly-free__anomaly-free", "valve1__0", "valve1__1"):
        x = random.normal(size=_SKAB_ROWS)
        about: dict[str, Any] = {"file": f"{name}.parquet", "n": _SKAB_ROWS, "events": []}
        if name.startswith("valve1"):
            x[500:600] += 8.0
            about |= {"train_rows": 400, "events": [{"start": 500, "end": 599}]}
        times = start + np.arange(_SKAB_ROWS).astype("timedelta64[s]")
        _write(folder / f"{name}.parquet", {"ts": times, "Pressure": x})
        series[name] = about
    _label(folder, series)


def _write(path: Path, columns: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def _label(folder: Path, series: dict[str, Any]) -> None:
    (folder / "labels.json").write_text(json.dumps({"series": series}), encoding="utf-8")
