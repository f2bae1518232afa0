"""Columns of a Parquet file that hold arrays: a burst of samples in one cell, spread into rows.

Vibration is often stored so: one row per burst, its samples as a list. Here a row becomes as many
rows as its longest list has samples, each a sample's time after the row's own; what is not a list
stands at the first of them, and where it says which time or machine it is, at all. What the columns
mean is decided elsewhere (``layout.py``), as of any other file.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Int64 = npt.NDArray[np.int64]


def holds_arrays(kind: pa.DataType) -> bool:
    """Whether a column's cells are lists."""
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def flattened(head: Sequence[Any]) -> list[Any]:
    """The first rows with every list as its first sample: what the columns are, can be seen by it.
    """
    return [
        pc.list_element(_some(cells), 0) if holds_arrays(cells.type) else cells for cells in head]


def longest(columns: Sequence[Any]) -> int:
    """Samples of the longest list among the columns; 1 where there is none."""
    return max([1, *(int(pc.max(pc.list_value_length(cells)).as_py() or 0)
                     for cells in columns if holds_arrays(cells.type))])


@dataclass(frozen=True, slots=True)
class Spread:
    """Rows made of samples: columns by position, and each row's time after its source row's."""

    columns: dict[int, Any]
    within_ns: Int64


def spread(columns: dict[int, Any], everywhere: Collection[int], array_hz: float) -> Spread:
    """Spread the rows of a batch.

    Parameters
    ----------
    columns : by position in the file, arrays of one length.
    everywhere : positions of the columns that say something of every sample: time, machine.
    array_hz : samples a second.
    """
    rows = len(next(iter(columns.values())))
    lists = {c: cells for c, cells in columns.items() if holds_arrays(cells.type)}
    length = np.ones(rows, np.int64)
    for cells in lists.values():
        own = np.asarray(pc.fill_null(pc.list_value_length(cells), 0), np.int64)
        length = np.maximum(length, own)
    first = np.cumsum(length) - length
    source = np.repeat(np.arange(rows), length)
    position = np.arange(source.size) - first[source]
    found: dict[int, Any] = {}
    for c, cells in columns.items():
        if c in lists:
            found[c] = _spread_list(cells, first, source.size)
        elif c in everywhere:
            found[c] = cells.take(pa.array(source))
        else:
            found[c] = cells.take(pa.array(source, mask=position > 0))
    return Spread(found, np.round(position * (1e9 / array_hz)).astype(np.int64))


def _spread_list(cells: Any, first: Int64, rows: int) -> Any:
    """The samples of a list column at the rows that they get, null where a list is shorter."""
    own = np.asarray(pc.fill_null(pc.list_value_length(cells), 0), np.int64)
    begins = np.cumsum(own) - own
    at = np.repeat(first - begins, own) + np.arange(int(own.sum()))
    index = np.zeros(rows, np.int64)
    absent = np.ones(rows, np.bool_)
    index[at], absent[at] = np.arange(at.size), False
    return pc.list_flatten(cells).take(pa.array(index, mask=absent))


def _some(cells: Any) -> Any:
    """Lists that are empty as null: they have no first sample."""
    length = pc.fill_null(pc.list_value_length(cells), 0)
    return pc.if_else(pc.greater(length, 0), cells, pa.scalar(None, cells.type))
