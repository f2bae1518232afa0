"""A recording as a file: CSV or Parquet, wide, with a time and an asset column.

The file is written beside its name and renamed when complete: a recording is whole or not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.simulation.config import LineConfig, SimulationError
from streams.simulation.generate import Chunk, simulate
from streams.simulation.injections import Injection
from streams.simulation.truth import Truth

SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class Written:
    """What a recording came to."""

    rows: int
    readings: int
    failures: int


def write_recording(
    config: LineConfig,
    injections: Sequence[Injection],
    out: Path,
    truth: Path | None = None,
    failures: Path | None = None,
) -> Written:
    """Simulate and write the recording, and beside it the truth and the list of failures.

    Raises
    ------
    SimulationError
        Unknown suffix, or an injection that does not fit.
    OSError
        A file cannot be written.
    """
    if out.suffix not in SUFFIXES:
        raise SimulationError(f"{out}: the name must end in {' or '.join(SUFFIXES)}")
    known = Truth(config, injections)
    assets = [station.name for station in config.stations]
    rows = readings = 0
    chunks = simulate(config, injections)
    aside = out.with_name(out.name + ".partial")
    try:
        with _open(out.suffix, aside, config.columns) as writer:
            for chunk in chunks:
                writer.write_table(_table(chunk, assets, out.suffix))
                known.add(chunk)
                rows += chunk.time_ns.size
                readings += int(chunk.values.size)
        aside.replace(out)
    finally:
        aside.unlink(missing_ok=True)
    if truth is not None:
        known.write(truth)
    count = known.write_failures(failures) if failures is not None else 0
    return Written(rows, readings, count)


def _schema(suffix: str, columns: Sequence[str]) -> Any:
    import pyarrow as pa

    moment = pa.string() if suffix == ".csv" else pa.timestamp("ms", "UTC")
    fields = [("time", moment), ("asset", pa.dictionary(pa.int32(), pa.string()))]
    return pa.schema([*fields, *((name, pa.float64()) for name in columns)])


def _open(suffix: str, path: Path, columns: Sequence[str]) -> Any:
    if suffix == ".csv":
        from pyarrow import csv

        options = csv.WriteOptions(quoting_style="needed")
        return csv.CSVWriter(str(path), _schema(suffix, columns), write_options=options)
    from pyarrow import parquet

    return parquet.ParquetWriter(str(path), _schema(suffix, columns), compression="zstd")


def _table(chunk: Chunk, assets: Sequence[str], suffix: str) -> Any:
    import pyarrow as pa
    from pyarrow import compute

    time = pa.array(chunk.time_ns // 1_000_000, pa.timestamp("ms", "UTC"))
    if suffix == ".csv":  # Arrow alone would write a blank where ISO 8601 wants a T
        time = compute.strftime(time, format="%Y-%m-%dT%H:%M:%SZ")
    asset = pa.DictionaryArray.from_arrays(
        pa.array(chunk.asset, pa.int32()), pa.array(assets, pa.string())
    )
    # NaN is "missing" here; in a file a missing value is an empty field.
    columns = [pa.array(column, from_pandas=True) for column in chunk.values.T]
    return pa.Table.from_arrays([time, asset, *columns], schema=_schema(suffix, chunk.columns))
