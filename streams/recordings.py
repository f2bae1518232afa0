"""One recording as a sequence of frames, whatever its format: CSV or Parquet, told by its content.

Opening reads only the head and decides what the columns mean; frames are then read in constant
memory, so a file may be larger than the machine. What a frame's rows become is for the codec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from streams import arrays
from streams.arrays import Int64
from streams.csvfile import CsvFile, Fault, open_csv
from streams.dialect import HEAD_ROWS
from streams.errors import InputError, UsageError
from streams.layout import Layout, understand
from streams.settings import InputSettings
from streams.words import USUAL, Words

#: Values in one frame of a Parquet file: a few megabytes, large against the cost of a call.
FRAME_VALUES = 1 << 20
FRAME_ROWS_LEAST, FRAME_ROWS_MOST = 256, 1 << 17

_MAGIC = b"PAR1"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Consecutive rows of one file, as they stand.

    Attributes
    ----------
    layout : Layout
    first_row : int
        0-based over all input rows of all files.
    rows : int
    columns : dict of int to Array
        By position in the file; typed, or text where the codec has to look.
    faults : tuple of Fault
        Rows with a wrong number of cells.
    line_of : callable
        Physical line of a row of the frame, None where the file has no lines.
    """

    layout: Layout
    first_row: int
    rows: int
    columns: dict[int, pa.Array]
    faults: tuple[Fault, ...]
    line_of: Callable[[int], int | None]
    within_ns: Int64 | None = None
    """int64[rows] time of each row after the one that its time column tells; None = at it."""


@dataclass(slots=True)
class Recording:
    """One file, opened: what it is, what its columns mean, and its frames."""

    path: Path
    format: str
    layout: Layout
    _csv: CsvFile | None
    _parquet_rows: int
    _rows_read: int = 0
    _array_hz: float = 0.0
    _array_length: int = 1

    @property
    def fraction(self) -> float:
        """How much of the file has been read, 0..1."""
        if self._csv is not None:
            return self._csv.bytes_read / max(1, self._csv.bytes_total)
        return self._rows_read / max(1, self._parquet_rows)

    def frames(self, first_row: int) -> Iterator[Frame]:
        """All rows in order; ``first_row`` is the number of input rows before this file.

        Raises
        ------
        InputError
            The file is damaged; the frames before the damage have been given.
        """
        return self._csv_frames(first_row) if self._csv is not None else (
            self._parquet_frames(first_row)
        )

    def _csv_frames(self, first_row: int) -> Iterator[Frame]:
        assert self._csv is not None
        layout = self.layout
        texts = set(layout.text_columns) | layout.booleans
        numbers = set(layout.sensors) - texts
        for block in self._csv.blocks(numbers, texts, layout.marks):
            if block.rows:
                yield Frame(
                    layout, first_row, block.rows, block.columns, block.faults, block.line_of
                )
            first_row += block.rows

    def _parquet_frames(self, first_row: int) -> Iterator[Frame]:
        layout = self.layout
        wanted = sorted({*layout.text_columns, *layout.sensors})
        cells = len(wanted) * self._array_length
        least = max(1, FRAME_ROWS_LEAST // self._array_length)
        rows = max(least, min(FRAME_ROWS_MOST, FRAME_VALUES // cells))
        labels = [c for c in (layout.asset_column, layout.sensor_column) if c is not None]
        try:
            with _opened(self.path, [layout.names[c] for c in labels]) as file:
                raw = file.schema_arrow.names
                unique = len(set(raw)) == len(raw)
                names = [raw[column] for column in wanted] if unique else None
                for batch in file.iter_batches(rows, columns=names, use_threads=False):
                    # Columns come in the file's own order, all of them if names are not unique.
                    found = batch.columns if unique else [batch.column(c) for c in wanted]
                    columns = dict(zip(wanted, found, strict=True))
                    within = None
                    if self._array_hz > 0:
                        spread = arrays.spread(
                            columns, {*layout.time_columns, *labels}, self._array_hz)
                        columns, within = spread.columns, spread.within_ns
                    count = batch.num_rows if within is None else within.size
                    self._rows_read += batch.num_rows
                    yield Frame(layout, first_row, count, columns, (), _no_line, within)
                    first_row += count
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                self.path, f"the Parquet data are damaged after row {first_row:,}: "
                f"{_first_line(error)}; copy or export the file again",
            ) from error


def open_recording(path: Path, settings: InputSettings, words: Words = USUAL) -> Recording:
    """Open a file and decide how it is to be read.

    Raises
    ------
    UsageError
        There is no such file, it is a directory, or a column named in the settings is not there.
    InputError
        The file cannot be used; the message says where and why.
    """
    magic = _magic(path)
    if magic == _MAGIC or (path.suffix in (".parquet", ".pq") and magic[:2] != b"\x1f\x8b"):
        return _open_parquet(path, magic, settings, words)
    csv = open_csv(path, settings.delimiter or None)
    width = len(csv.dialect.header)
    head = [csv.head_column(index) for index in range(width)]
    layout = understand(path, csv.dialect.header, head, settings, csv.dialect.delimiter, words)
    csv.head.clear()  # of hundreds of files it would add up
    return Recording(path, csv.dialect.describe(), layout, csv, 0)


def _magic(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4)
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise UsageError(f"{path}: this is a directory; name the files in it") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error


def _open_parquet(
    path: Path, magic: bytes, settings: InputSettings, words: Words
) -> Recording:
    size = path.stat().st_size
    if not size:
        raise InputError(path, "the file is empty", 1)
    if magic != _MAGIC:
        raise InputError(path, "this is not a Parquet file, whatever its name says")
    with path.open("rb") as raw:
        raw.seek(max(0, size - 4))
        if raw.read() != _MAGIC or size < 12:
            raise InputError(
                path, f"this Parquet file is cut off at byte {size:,} (its end is missing); "
                "copy or export it again",
            )
    try:
        with _opened(path, []) as file:
            names, rows = file.schema_arrow.names, file.metadata.num_rows
            if not names:
                raise InputError(path, "this Parquet file has no columns")
            if not rows:
                raise InputError(path, "this Parquet file has columns but no rows")
            batch = next(file.iter_batches(HEAD_ROWS, use_threads=False))
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            path, f"this Parquet file is damaged: {_first_line(error)}; copy or export it again"
        ) from error
    spread = settings.array_hz > 0 and any(arrays.holds_arrays(c.type) for c in batch.columns)
    head = arrays.flattened(batch.columns) if spread else batch.columns
    layout = understand(path, names, head, settings, None, words)
    if not spread:
        return Recording(path, "Parquet", layout, None, rows)
    if not layout.time_columns:
        raise UsageError(f"{path}: columns that hold arrays need a column with the time of each "
                         "row; name it: [input] time_column")
    return Recording(path, "Parquet", layout, None, rows, _array_hz=settings.array_hz,
                     _array_length=arrays.longest(batch.columns))


def _opened(path: Path, labels: list[str]) -> pq.ParquetFile:
    # Without pre-buffering a row group is read page by page: constant memory, however large it is.
    return pq.ParquetFile(path, read_dictionary=labels, pre_buffer=False, buffer_size=1 << 20)


def _no_line(row: int) -> None:
    return None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
