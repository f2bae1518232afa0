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
    AlertSpan,
    FloatArray,
    IntArray,
    Recording,
    Verdict,
)

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
        If a row is missing, doubled or out of order, or an alert names an unknown machine.
    """
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(scores)
    rows = table.column("row").to_numpy(zero_copy_only=False)
    if not np.array_equal(rows, np.arange(recording.row_count)):
        raise ReplayFailedError(f"{recording.name}: scores are not one line per row, in order")
    lines = alerts.read_text(encoding="utf-8").splitlines() if alerts.is_file() else []
    spans = spans_of_transitions(recording, [json.loads(line) for line in lines if line.strip()])
    return Verdict(
        score=_floats(table, "score"),
        return_period_s=_floats(table, "return_period_seconds"),
        alert=np.asarray(_floats(table, "alert") > 0, np.int8),
        alerts=spans,
    )


def spans_of_transitions(
    recording: Recording, transitions: list[dict[str, Any]]
) -> tuple[AlertSpan, ...]:
    """Alert spans from the lines of ``alerts.jsonl``: firing begins one, resolved ends it."""
    machines = np.unique(recording.asset)
    by_name = {str(machine): int(machine) for machine in machines}
    spans: list[AlertSpan] = []
    open_at: dict[str, int] = {}
    for line in transitions:
        name = str(line["asset"])
        if recording.is_fleet and name not in by_name:
            raise ReplayFailedError(f"{recording.name}: alert on unknown machine {name!r}")
        machine = by_name.get(name, int(machines[0]))
        row = _row_at(recording, machine, _nanoseconds(line["time"]))
        if line["state"] == "firing" and str(line["id"]) not in open_at:
            open_at[str(line["id"])] = len(spans)
            spans.append(
                AlertSpan(
                    asset=machine,
                    fired_row=row,
                    fired_ns=int(recording.time_ns[row]),
                    onset_ns=_nanoseconds(line["onset"]),
                    sensors=tuple(part["sensor"] for part in line.get("contributions") or ()),
                    kind=str(line.get("kind", "")),
                )
            )
        elif line["state"] == "resolved" and str(line["id"]) in open_at:
            number = open_at.pop(str(line["id"]))
            began = spans[number]
            spans[number] = AlertSpan(
                asset=began.asset,
                fired_row=began.fired_row,
                fired_ns=began.fired_ns,
                resolved_row=row,
                resolved_ns=int(recording.time_ns[row]),
                onset_ns=began.onset_ns,
                sensors=began.sensors,
                kind=began.kind,
            )
    return tuple(sorted(spans, key=lambda span: (span.fired_row, span.asset)))


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


def _row_at(recording: Recording, machine: int, time_ns: int) -> int:
    """Row of the machine at that time; else the next one, else its last."""
    rows: IntArray = np.flatnonzero(recording.asset == machine)
    # The file carries microseconds.
    times = recording.time_ns[rows] // 1_000
    return int(rows[min(int(np.searchsorted(times, time_ns // 1_000)), rows.size - 1)])


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
