"""The list of failures that a user gives with ``--failures``: asset, time and, if known, kind.

It is read like any other file of theirs, delimiters and notations of time included, and never
reaches the engine: only the report looks at it, when all is judged.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from anomaly.batches import Int64
from anomaly.evaluate import Failure
from streams import times
from streams.cells import Marks, guess_marks, numbers, present
from streams.csvfile import open_csv
from streams.errors import InputError, UsageError
from streams.layout import ASSET_NAMES, TIME_NAMES, plain_name
from streams.settings import InputSettings

KIND_NAMES = ("kind", "type", "failure", "reason", "event", "cause", "component")


def read_failures(path: Path, settings: InputSettings, assets: set[str]) -> list[Failure]:
    """Every line of the file as a failure, in its order.

    Parameters
    ----------
    path : Path
    settings : InputSettings
        ``counter_seconds`` and ``date_order`` hold here too.
    assets : set of str
        Names that are known before reading; one alone stands for a missing asset column.

    Raises
    ------
    UsageError
        There is no such file.
    InputError
        No time or asset column, or a time that cannot be read: a failure that is left out would
        make the result look better or worse than it is.
    """
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    file = open_csv(path)
    names = [plain_name(name) for name in file.dialect.header]
    time_column = _column(names, TIME_NAMES)
    if time_column is None:
        raise InputError(path, "no time column; failures need the columns asset, time[, kind]", 1)
    asset_column = _column(names, ASSET_NAMES)
    if asset_column is None and len(assets) != 1:
        raise InputError(path, "no asset column, and the recording has more than one asset", 1)
    kind_column = _column(names, [n for n in KIND_NAMES if names.count(n)])
    wanted = [c for c in (time_column, asset_column, kind_column) if c is not None]
    found: list[Failure] = []
    for block in file.blocks((), wanted, Marks()):
        time_ns = _times(block.columns[time_column], file.dialect.header[time_column], settings)
        bad = np.flatnonzero(time_ns == times.NO_TIME)
        if bad.size:
            row = int(bad[0])
            text = block.columns[time_column][row].as_py()
            raise InputError(
                path, f"the time {text!r} cannot be read", block.line_of(row),
                file.dialect.header[time_column],
            )
        owners = _texts(block.columns, asset_column, block.rows, next(iter(assets), ""))
        kinds = _texts(block.columns, kind_column, block.rows, "failure")
        if "" in owners:
            raise InputError(path, "the asset is missing", block.line_of(owners.index("")))
        found += [
            Failure(owner, int(moment), kind or "failure")
            for owner, moment, kind in zip(owners, time_ns.tolist(), kinds, strict=True)
        ]
    return found


def _column(names: list[str], wanted: list[str] | tuple[str, ...]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _texts(
    columns: dict[int, pa.Array], column: int | None, rows: int, default: str
) -> list[str]:
    if column is None:
        return [default] * rows
    return [(text or "").strip() for text in columns[column].to_pylist()]


def _times(cells: pa.Array, name: str, settings: InputSettings) -> Int64:
    sample = [cell for cell in cells.to_pylist() if cell]
    marks = guess_marks(sample, ";")
    values, bad = numbers(present(cells), marks)
    if not bad.any() and np.isfinite(values).any():
        form = times.number_format(values, name, settings.counter_seconds)
        return times.from_number_text(cells, form, marks)
    shown = times.day_first(sample)
    order = settings.date_order == "day-first" if settings.date_order else shown is not False
    return times.from_text(cells, times.TextFormat(order)).time_ns
