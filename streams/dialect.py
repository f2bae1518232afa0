"""How one CSV file is written, found out from its first megabyte: nothing is asked of the user.

Compression, encoding, delimiter, header. Every way in which a file cannot be such a table ends in
an error that says where and what to do. Blocks of rows are read in ``csvfile.py``; what the columns
mean is decided in ``layout.py``.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from streams.cells import Marks, numbers
from streams.errors import InputError
from streams.times import NO_TIME, TextFormat, from_text

#: Bytes that decide how a file is understood: enough for a thousand rows of a hundred columns.
HEAD_BYTES = 1 << 20
HEAD_ROWS = 1000
#: A row longer than this is no row: most likely a quote that is never closed.
ROW_LIMIT_BYTES = 64 << 20

DELIMITERS = (";", "\t", "|", ",")

#: What a decompressor raises when its data end early or make no sense.
DECOMPRESSION_ERRORS = (EOFError, zlib.error, lzma.LZMAError, OSError)

_COMPRESSIONS = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2"),
                 (b"\xfd7zXZ\x00", "xz"))
_NOT_TEXT = ((b"PK\x03\x04", "an Excel workbook or a ZIP archive; export it as CSV"),
             (b"PAR1", "a Parquet file where CSV is expected; if it is compressed, decompress it"),
             (b"\x89HDF", "an HDF5 file; export it as CSV or Parquet"),
             (b"ARROW1", "an Arrow file; convert it to Parquet"),
             (b"SQLite", "an SQLite database; export a table as CSV"))


#: Octets that text has no use for; a few are a disk's or a power cut's doing, many are no text.
_CONTROL = frozenset(range(32)) - frozenset(b"\t\n\r\f")
_CONTROL_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one file is written.

    Attributes
    ----------
    compression, encoding, delimiter : str
    carriage_returns : bool
        Lines end with CR alone, as old Macintosh programs wrote them.
    header_lines : int
        Physical lines up to the end of the header.
    header : tuple of str
        The header's cells as written.
    """

    compression: str
    encoding: str
    delimiter: str
    carriage_returns: bool
    header_lines: int
    header: tuple[str, ...]

    def describe(self) -> str:
        """The dialect in words, leaving out what is usual."""
        names = {";": "semicolon", "\t": "tab", "|": "bar", ",": "comma"}
        parts = [f"CSV separated by {names[self.delimiter]}"]
        if self.compression:
            parts.append(self.compression)
        if self.encoding != "utf-8":
            parts.append(self.encoding)
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Head:
    """The dialect and the first rows, each as wide as the header."""

    dialect: Dialect
    rows: list[list[str]]


def read_head(path: Path, delimiter: str | None = None) -> Head:
    """Find out how a file is written and read its first rows.

    Raises
    ------
    InputError
        Empty, only a header, no header, not a text file, cut off within the head, or rows that do
        not fit the header.
    """
    data, compression = _head(path)
    if not data.strip():
        raise InputError(path, "the file is empty", 1)
    for magic, what in _NOT_TEXT:
        if data.startswith(magic):
            raise InputError(path, f"this is {what}")
    text, encoding = _decode(path, data, complete=len(data) < HEAD_BYTES)
    carriage_returns = "\n" not in text and "\r" in text
    if carriage_returns:
        text = text.replace("\r", "\n")
    text, skipped, declared = _without_preamble(text)
    if not text.strip():
        raise InputError(path, "the file holds comments only, no header and no rows", skipped)
    found = delimiter or declared or _guess_delimiter(text)
    header, header_lines, head = _read_head(
        path, text, found, len(data) < HEAD_BYTES, skipped
    )
    header = _fitted(header, head)
    dialect = Dialect(
        compression, encoding, found, carriage_returns, skipped + header_lines, tuple(header)
    )
    _check_head(path, dialect, head)
    width = len(header)
    padded = [row[:width] + [""] * (width - len(row)) for row in head]
    return Head(dialect, padded)


def _head(path: Path) -> tuple[bytes, str]:
    with path.open("rb") as raw:
        magic = raw.read(8)
        raw.seek(0)
        compression = next((name for m, name in _COMPRESSIONS if magic.startswith(m)), "")
        try:
            stream = decompressed(raw, compression)
            data = stream.read(HEAD_BYTES)
            while len(data) < ROW_LIMIT_BYTES and data.count(b"\n") < 3:  # very wide rows
                more = stream.read(HEAD_BYTES)
                if not more:
                    break
                data += more
        except DECOMPRESSION_ERRORS as error:
            raise InputError(
                path, f"the {compression} data are cut off or damaged ({error}); copy it again"
            ) from error
    return data, compression


def decompressed(raw: BinaryIO, compression: str) -> BinaryIO:
    """The bytes behind the compression, as a stream."""
    if compression == "gzip":
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if compression == "bzip2":
        return cast(BinaryIO, bz2.BZ2File(raw))
    if compression == "xz":
        return cast(BinaryIO, lzma.LZMAFile(raw))
    if compression == "zstd":
        return cast(BinaryIO, pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd"))
    return raw


def _decode(path: Path, data: bytes, complete: bool) -> tuple[str, str]:
    """The head as text, and the encoding; Windows-1252 is what is left when it is not Unicode."""
    encoding = "utf-8"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif b"\x00" in data[:4096]:
        if data[1:200:2].count(0) >= 0.8 * len(data[1:200:2]):
            encoding = "utf-16-le"
        elif sum(octet in _CONTROL for octet in data[:4096]) > _CONTROL_SHARE * len(data[:4096]):
            raise InputError(path, "this is not a text file; CSV and Parquet can be read")
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data, final=complete)
    except UnicodeDecodeError:
        encoding = "cp1252"
        text = data.decode(encoding, "replace")
    return text.removeprefix("\ufeff"), encoding


def _without_preamble(text: str) -> tuple[str, int, str | None]:
    """Leave out comment lines and Excel's ``sep=;``; also how many lines those were."""
    skipped, declared = 0, None
    while text:
        line, _, rest = text.partition("\n")
        stripped = line.strip()
        if stripped.lower().startswith("sep=") and len(stripped) == 5:
            declared = stripped[4]
        elif stripped and not stripped.startswith("#"):
            break
        text, skipped = rest, skipped + 1
    return text, skipped, declared if declared in DELIMITERS else None


def _guess_delimiter(text: str) -> str:
    """The delimiter under which most rows have as many cells as the header, then the most cells."""
    best, best_fit = ",", (0.0, 1)
    lines = io.StringIO(text, newline="")
    for delimiter in DELIMITERS:
        lines.seek(0)
        try:
            reader = csv.reader(lines, delimiter=delimiter)
            rows = [row for row, _ in zip(reader, range(60), strict=False) if row]
        except csv.Error:
            continue
        width = _width(rows[0])
        if width > 1:
            fitting = sum(_width(row) <= width <= len(row) for row in rows[1:])
            share = fitting / (len(rows) - 1) if len(rows) > 1 else 1.0
            if share < 0.5:  # a name too few? then at least the rows agree among themselves
                usual, count = Counter(len(row) for row in rows[1:]).most_common(1)[0]
                share = 0.4 * count / (len(rows) - 1) if usual > width else 0.0
            if share > 0.2 and (share, width) > best_fit:
                best, best_fit = delimiter, (share, width)
    if best_fit[1] == 1:  # one column: anything that is not a decimal comma
        return ";"
    return best


def _width(cells: list[str]) -> int:
    """Cells up to the last one that is not blank."""
    width = len(cells)
    while width and not cells[width - 1].strip():
        width -= 1
    return width


def _read_head(
    path: Path, text: str, delimiter: str, complete: bool, skipped: int
) -> tuple[list[str], int, list[list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header: list[str] = []
    rows: list[list[str]] = []
    lines = last = 0
    try:
        for cells in reader:
            last = reader.line_num
            if not header:
                if cells:
                    header, lines = cells, reader.line_num
            elif not is_blank(cells, len(header)):
                rows.append(cells)
                if len(rows) > HEAD_ROWS:
                    break
    except csv.Error as error:
        raise InputError(
            path, f"cannot be read as CSV: {error}; is a quote never closed?", skipped + last + 1
        ) from error
    if not complete and len(rows) <= HEAD_ROWS and len(rows) > 1:
        rows.pop()  # cut off by the head's end
    return header, lines, rows[:HEAD_ROWS]


def _fitted(header: list[str], head: list[list[str]]) -> list[str]:
    """The header as wide as the rows are, where they differ by empty cells at the end only."""
    widths = sorted(len(row) for row in head)
    usual = widths[len(widths) // 2] if widths else len(header)
    if usual < len(header):
        return header[: max(usual, _width(header))]
    if all(_width(row) <= len(header) for row in head):
        return header + [""] * (usual - len(header))
    return header


def _check_head(path: Path, dialect: Dialect, head: list[list[str]]) -> None:
    line = dialect.header_lines
    if _looks_like_data(dialect.header):
        shown = dialect.delimiter.join(dialect.header)[:60]
        raise InputError(
            path, f"no header: the first line holds values ({shown}); add a line of column names",
            line,
        )
    if not head:
        raise InputError(path, "only a header, no rows", line)
    width = len(dialect.header)
    longer = sum(any(cell.strip() for cell in row[width:]) for row in head)
    if 2 * longer > len(head):
        seen = max(len(row) for row in head)
        raise InputError(
            path, f"the header names {width} columns but the rows have {seen} cells; "
            "is a column name missing, or the decimal comma also the delimiter?", line,
        )


def _looks_like_data(header: tuple[str, ...]) -> bool:
    """A time among the names, or nothing but numbers, is no header."""
    cells = pa.array([cell.strip() for cell in header], pa.string())
    _, bad = numbers(cells, Marks("."))
    _, bad_comma = numbers(cells, Marks(","))
    if not (bad & bad_comma).any():
        return True
    words = cells.filter(pa.array(bad & bad_comma))
    return bool((from_text(words, TextFormat()).time_ns != NO_TIME).any())


def is_blank(cells: list[str], width: int) -> bool:
    """A line with nothing on it; where there is one column only, blanks are a missing value."""
    return not cells or (len(cells) == 1 and width > 1 and not cells[0].strip())
