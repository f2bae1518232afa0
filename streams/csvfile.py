"""CSV files as people's historians export them: bytes to blocks of columns, in constant memory.

A block goes through the fastest reader that accepts it: Arrow straight to float64; Arrow to text,
where some cells need a closer look; Python's own reader, where rows have too few or too many cells.
All three give the same values. How the file is written is found out in ``dialect.py``; what the
columns mean is decided in ``layout.py``.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from streams.cells import NULL_WORDS, Marks
from streams.dialect import (
    DECOMPRESSION_ERRORS,
    ROW_LIMIT_BYTES,
    Dialect,
    decompressed,
    is_blank,
    read_head,
)
from streams.errors import InputError

#: Bytes parsed at a time: large enough for Arrow to be fast, small enough for any memory.
BLOCK_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Fault:
    """A row with a wrong number of cells. ``row`` counts from the start of its block."""

    row: int
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows: float64 or string columns, by their position in the file."""

    rows: int
    columns: dict[int, pa.Array]
    faults: tuple[Fault, ...]
    line_of: Callable[[int], int]


@dataclass(slots=True)
class CsvFile:
    """One CSV file: its dialect, its first rows, and its blocks.

    ``head`` holds the first rows as text, short ones padded with empty cells.
    """

    path: Path
    dialect: Dialect
    head: list[list[str]]
    bytes_total: int
    _raw: BinaryIO | None = None
    _as_text: set[int] = field(default_factory=set)

    @property
    def bytes_read(self) -> int:
        """How far into the (compressed) file the reading is."""
        raw = self._raw
        return self.bytes_total if raw is None or raw.closed else raw.tell()

    def head_column(self, index: int) -> pa.Array:
        """One column of the first rows, as text."""
        return pa.array([row[index] for row in self.head], pa.string())

    def blocks(
        self, number_columns: Iterable[int], text_columns: Iterable[int], marks: Marks
    ) -> Iterator[Block]:
        """All rows in order; only the named columns are converted.

        Number columns come as float64, or as text where a block holds cells that are no plain
        numbers; text columns always as text, an empty cell as the empty string.

        Raises
        ------
        InputError
            The file ends in the middle of its compression, or a row is no row at all.
        """
        as_numbers, texts = frozenset(number_columns), frozenset(text_columns)
        line = 1
        for text in self._rows_of_bytes():
            first_line = line
            line += text.count(b"\n")
            if first_line == 1:
                text = _after_lines(text, self.dialect.header_lines)
                first_line += self.dialect.header_lines
            if text.strip(b"\r\n"):
                yield self._parse(text, first_line, as_numbers, texts, marks)

    def _parse(
        self, text: bytes, first_line: int, wanted_numbers: frozenset[int], texts: frozenset[int],
        marks: Marks,
    ) -> Block:
        def line_of(row: int) -> int:
            return _line_of(text, self.dialect, first_line, row)

        for as_text in (frozenset(self._as_text), wanted_numbers):
            try:
                columns = self._parse_fast(text, wanted_numbers - as_text, texts | as_text, marks)
            except pa.ArrowInvalid:
                continue
            if as_text == wanted_numbers and wanted_numbers - self._as_text:
                self._remember(columns, wanted_numbers)
            rows = len(next(iter(columns.values()))) if columns else _count(text)
            return Block(rows, columns, (), line_of)
        return self._parse_slow(text, first_line, wanted_numbers | texts, line_of)

    def _parse_fast(
        self, text: bytes, wanted_numbers: frozenset[int], texts: frozenset[int], marks: Marks
    ) -> dict[int, pa.Array]:
        width = len(self.dialect.header)
        names = [str(index) for index in range(width)]
        types = {str(i): pa.float64() for i in wanted_numbers}
        types |= {str(i): pa.string() for i in texts}
        wanted = sorted(wanted_numbers | texts)
        table = pacsv.read_csv(
            pa.BufferReader(text),
            read_options=pacsv.ReadOptions(
                column_names=names, use_threads=False, block_size=len(text) + 1
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=self.dialect.delimiter, newlines_in_values=b'"' in text
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=types, include_columns=[str(i) for i in wanted],
                null_values=list(NULL_WORDS), strings_can_be_null=False,
                decimal_point=marks.decimal,
            ),
        )
        columns = table.combine_chunks().to_batches()[0].columns if len(table) else [
            pa.array([], column.type) for column in table.columns
        ]
        return dict(zip(wanted, columns, strict=True))

    def _remember(self, columns: dict[int, pa.Array], wanted_numbers: frozenset[int]) -> None:
        """Read these columns as text from now on: one odd cell is seldom the only one."""
        for index in wanted_numbers:
            try:
                columns[index].cast(pa.float64())
            except pa.ArrowInvalid:
                self._as_text.add(index)

    def _parse_slow(
        self, text: bytes, first_line: int, wanted: frozenset[int], line_of: Callable[[int], int]
    ) -> Block:
        width = len(self.dialect.header)
        rows: list[list[str]] = []
        faults: list[Fault] = []
        reader = csv.reader(
            io.StringIO(text.decode("utf-8", "replace"), newline=""),
            delimiter=self.dialect.delimiter,
        )
        last = 0
        try:
            for cells in reader:
                last = reader.line_num
                if is_blank(cells, width):
                    continue
                if len(cells) < width:
                    faults.append(Fault(len(rows), "too_few_cells", _joined(cells, self.dialect)))
                    cells = cells + [""] * (width - len(cells))
                elif any(cell.strip() for cell in cells[width:]):
                    faults.append(Fault(len(rows), "too_many_cells", _joined(cells, self.dialect)))
                rows.append(cells)
        except csv.Error as error:
            raise InputError(
                self.path, f"cannot be read as CSV: {error}; is a quote never closed?",
                first_line + last,
            ) from error
        columns = {i: pa.array([row[i] for row in rows], pa.string()) for i in sorted(wanted)}
        return Block(len(rows), columns, tuple(faults), line_of)

    def _rows_of_bytes(self) -> Iterator[bytes]:
        """UTF-8 bytes in pieces that end where a row ends."""
        kept = b""
        for piece in self._utf8():
            kept = kept + piece if kept else piece
            cut = _last_row_end(kept)
            if cut:
                yield kept[:cut]
                kept = kept[cut:]
            elif len(kept) > ROW_LIMIT_BYTES:
                raise InputError(
                    self.path,
                    f"a row of more than {ROW_LIMIT_BYTES >> 20} MB; is a quote never closed?",
                )
        if kept.strip(b"\r\n"):
            yield kept if kept.endswith(b"\n") else kept + b"\n"

    def _utf8(self) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder(self.dialect.encoding)("replace")
        utf8 = self.dialect.encoding == "utf-8"
        first = True
        with self.path.open("rb") as raw:
            self._raw = raw
            stream = decompressed(raw, self.dialect.compression)
            while True:
                try:
                    piece = stream.read(BLOCK_BYTES)
                except DECOMPRESSION_ERRORS as error:
                    raise InputError(
                        self.path,
                        f"the {self.dialect.compression or 'file'} data are cut off or damaged "
                        f"({error}); copy the file again",
                    ) from error
                if not utf8:
                    text = decoder.decode(piece, final=not piece)
                    piece = text.encode() if text else piece
                if not piece:
                    return
                if first:
                    piece = piece.removeprefix(codecs.BOM_UTF8)
                    first = False
                yield piece.replace(b"\r", b"\n") if self.dialect.carriage_returns else piece
def open_csv(path: Path, delimiter: str | None = None) -> CsvFile:
    """Find out how a file is written and read its first rows; raises :class:`InputError`."""
    head = read_head(path, delimiter)
    return CsvFile(path, head.dialect, head.rows, path.stat().st_size)


def _joined(cells: list[str], dialect: Dialect) -> str:
    return dialect.delimiter.join(cells)


def _count(text: bytes) -> int:
    return sum(1 for line in text.split(b"\n") if line.strip(b"\r"))


def _after_lines(text: bytes, lines: int) -> bytes:
    start = 0
    for _ in range(lines):
        found = text.find(b"\n", start)
        if found < 0:
            return b""
        start = found + 1
    return text[start:]


def _last_row_end(text: bytes) -> int:
    """Index behind the last newline that is not within quotes; 0 if there is none."""
    last = text.rfind(b"\n") + 1
    if not last or b'"' not in text:
        return last
    octets = np.frombuffer(text, np.uint8)
    quotes = np.flatnonzero(octets == ord('"'))
    newlines = np.flatnonzero(octets == ord("\n"))
    outside = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
    return int(outside[-1]) + 1 if outside.size else 0


def _line_of(text: bytes, dialect: Dialect, first_line: int, row: int) -> int:
    """Physical line of a row; counted the long way only where lines and rows differ."""
    if b'"' not in text and not text.startswith((b"\n", b"\r")) and (
        b"\n\n" not in text and b"\n\r" not in text and b"\n " not in text and b"\n\t" not in text
    ):
        return first_line + row
    reader = csv.reader(
        io.StringIO(text.decode("utf-8", "replace"), newline=""), delimiter=dialect.delimiter
    )
    line, seen = first_line, -1
    for cells in reader:
        seen += not is_blank(cells, len(dialect.header))
        if seen == row:
            return line
        line = first_line + reader.line_num
    return line

