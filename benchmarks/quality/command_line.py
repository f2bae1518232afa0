"""andon through its command line, exactly as a judge would run it.

Each recording is written as the judge's file — one Parquet, a `ts` column, an `asset` column for a
fleet, sensors — and ``andon replay`` is started on it with the declared warm-up and budget and
nothing else.  Its scores file and ``alerts.jsonl`` are read back.  No setting differs from
recording to recording and no label is in the file.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.recordings import (
    NANOSECONDS,
    FloatArray,
    Recording,
    Verdict,
)
from benchmarks.quality.transitions import Transition, spans_of

_ROOT = Path(__file__).resolve().parents[2]
_SOURCES = ("anomaly", "streams")
_ASSET_COLUMN = "asset"
_TIME_COLUMN = "ts"

#: 0 is a clean end, 1 an end with findings; both are results.
_GOOD_EXITS = (0, 1)

#: A replay that takes longer than this is a fault, not a slow run.
_LIMIT_SECONDS = 3_600.0


class ReplayFailedError(Exception):
    """The command line ended with an error, or its files break the interface."""


def is_runnable() -> bool:
    """Whether this checkout has a command line."""
    return (_ROOT / "streams" / "__main__.py").is_file()


def source_files() -> list[Path]:
    """Every source file that decides what the command line answers."""
    return [path for name in _SOURCES for path in (_ROOT / name).rglob("*.py")]


def andon(recording: Recording, warm_up_rows: int, budget: str) -> Verdict:
    """Judge a recording by ``andon replay``.

    Raises
    ------
    ReplayFailedError
        If the program fails, or does not answer every row.
    """
    with tempfile.TemporaryDirectory(prefix="andon-quality-") as folder:
        base = Path(folder)
        source, out, scores = base / "recording.parquet", base / "out", base / "scores.parquet"
        _write(source, recording)
        command = [
            sys.executable, "-m", "streams", "replay", str(source),
            "--out", str(out),
            "--scores", str(scores),
            "--warm-up", str(warm_up_rows),
            "--budget", budget,
            "--no-report", "--quiet",
        ]  # fmt: skip
        if recording.is_fleet:
            command += ["--asset-column", _ASSET_COLUMN]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
        ended = subprocess.run(
            command,
            cwd=base,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_LIMIT_SECONDS,
            check=False,
        )
        if ended.returncode not in _GOOD_EXITS or not scores.is_file():
            tail = ended.stderr.strip()[-2_000:]
            raise ReplayFailedError(f"{recording.name}: exit {ended.returncode}: {tail}")
        return read_answer(recording, scores, out / "alerts.jsonl")


def read_answer(recording: Recording, scores: Path, alerts: Path) -> Verdict:
    """Verdict from the scores file and the alert transitions.

    Raises
    ------
    ReplayFailedError
        If a row is missing, doubled or out of order.
    """
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(scores)
    rows = table.column("row").to_numpy(zero_copy_only=False)
    if not np.array_equal(rows, np.arange(recording.row_count)):
        raise ReplayFailedError(f"{recording.name}: scores are not one line per row, in order")
    lines = alerts.read_text(encoding="utf-8").splitlines() if alerts.is_file() else []
    steps = [transition(json.loads(line)) for line in lines if line.strip()]
    return Verdict(
        score=_floats(table, "score"),
        return_period_s=_floats(table, "return_period_seconds"),
        alert=np.asarray(_floats(table, "alert") > 0, np.int8),
        alerts=spans_of(recording, steps),
    )


def transition(line: dict[str, Any]) -> Transition:
    """One line of ``alerts.jsonl``."""
    return Transition(
        id=str(line["id"]),
        asset=str(line["asset"]),
        kind=str(line["kind"]),
        state=str(line["state"]),
        onset_ns=_nanoseconds(line["onset"]),
        time_ns=_nanoseconds(line["time"]),
        sensors=tuple(part["sensor"] for part in line["contributions"]),
    )


def _write(path: Path, recording: Recording) -> None:
    """The recording in the judge's layout."""
    import pyarrow
    import pyarrow.parquet

    times = pyarrow.array(recording.time_ns // 1_000, pyarrow.timestamp("us"))
    columns: dict[str, Any] = {_TIME_COLUMN: times}
    if recording.is_fleet:
        columns[_ASSET_COLUMN] = pyarrow.array(recording.asset)
    for j, name in enumerate(recording.names):
        columns[name] = pyarrow.array(np.ascontiguousarray(recording.x[:, j]))
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def _nanoseconds(value: Any) -> int:
    """ISO 8601 text or epoch seconds as nanoseconds."""
    if isinstance(value, str):
        moment = datetime.datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        since = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        return (since.days * 86_400 + since.seconds) * NANOSECONDS + since.microseconds * 1_000
    return round(float(value) * NANOSECONDS)


def _floats(table: Any, name: str) -> FloatArray:
    return np.asarray(table.column(name).to_numpy(zero_copy_only=False), np.float64)
