"""Text cells to numbers, in whole columns: decimal commas, thousands separators, words for nothing.

One grammar, two speeds: :func:`numbers` casts a clean column in one call and looks at cells only
where that fails, so a file gives the same values however it is cut into blocks. Nothing here knows
files, roles of columns or time (``times.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anomaly.batches import Bool, Float64

#: Cells that say "there is nothing": missing values, not rejected ones. Those that pandas and R
#: write, and the dashes and question marks of hand-made tables.
NULL_WORDS = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "N/A", "NA", "NULL", "NaN", "n/a", "nan", "null", "Null", "None", "none", "NIL", "nil", "-",
    "--", "---", "?", ".",
)

TRUE_WORDS = ("true", "yes", "on")
FALSE_WORDS = ("false", "no", "off")

#: Thousands separators that are never a decimal mark: space, no-break spaces, apostrophes.
_GROUP_MARKS = (" ", "\u00a0", "\u202f", "'", "\u2019")
_SPECIAL = r"^[+-]?(?i:inf|infinity|nan|nan\([0-9A-Za-z_]*\))$"
_EXPONENT = r"(?:[eE][+-]?[0-9]+)?"


@dataclass(frozen=True, slots=True)
class Marks:
    """How a file writes numbers: its decimal mark, ``.`` or ``,``; the other one groups."""

    decimal: str = "."

    @property
    def groups(self) -> tuple[str, ...]:
        """Characters that may stand between groups of three digits."""
        return ("," if self.decimal == "." else ".", *_GROUP_MARKS)

    @property
    def plain(self) -> str:
        """Pattern of a number without groups."""
        mark = re.escape(self.decimal)
        return rf"^[+-]?(?:[0-9]+(?:{mark}[0-9]*)?|{mark}[0-9]+){_EXPONENT}$"

    @property
    def grouped(self) -> str:
        """Pattern of a number in groups of three, one kind of separator throughout."""
        mark = re.escape(self.decimal)
        runs = "|".join(f"(?:{re.escape(g)}[0-9]{{3}})+" for g in self.groups)
        return rf"^[+-]?[0-9]{{1,3}}(?:{runs})(?:{mark}[0-9]*)?{_EXPONENT}$"


def numbers(cells: pa.Array, marks: Marks) -> tuple[Float64, Bool]:
    """Values of a column of text.

    Parameters
    ----------
    cells : string[n]
    marks : Marks

    Returns
    -------
    value : float64[n]
        NaN where the cell says that there is nothing, or is not a number.
    bad : bool[n]
        True where something stands that is not a number; to be counted and kept.
    """
    cells = present(cells)
    if marks.decimal == ".":
        try:
            return _float64(pc.cast(cells, pa.float64())), np.zeros(len(cells), np.bool_)
        except pa.ArrowInvalid:
            pass  # at least one cell needs a closer look
    plain = _true(pc.match_substring_regex(cells, marks.plain))
    special = _true(pc.match_substring_regex(cells, _SPECIAL))
    grouped = _true(pc.match_substring_regex(cells, marks.grouped))
    grouped = pc.and_not(grouped, plain)
    known = pc.or_(pc.or_(plain, special), grouped)
    bad = pc.and_not(pc.is_valid(cells), known)
    ungrouped = cells
    for mark in marks.groups:
        ungrouped = pc.replace_substring(ungrouped, mark, "")
    text = pc.if_else(grouped, ungrouped, cells)
    if marks.decimal == ",":
        text = pc.replace_substring(text, ",", ".")
    text = pc.if_else(known, text, pa.scalar(None, pa.string()))
    return _float64(pc.cast(text, pa.float64())), bad.to_numpy(zero_copy_only=False)


def booleans(cells: pa.Array) -> tuple[Float64, Bool]:
    """Values of a column of true/false, yes/no or on/off: 1, 0, NaN; and which were neither."""
    words = pc.utf8_lower(present(cells))
    true = _true(pc.is_in(words, value_set=pa.array(TRUE_WORDS)))
    false = _true(pc.is_in(words, value_set=pa.array(FALSE_WORDS)))
    value = np.full(len(words), np.nan)
    value[true.to_numpy(zero_copy_only=False)] = 1.0
    value[false.to_numpy(zero_copy_only=False)] = 0.0
    bad = pc.and_not(pc.is_valid(words), pc.or_(true, false))
    return value, bad.to_numpy(zero_copy_only=False)


def present(cells: pa.Array) -> pa.Array:
    """The cells without surrounding blanks; null where they say that there is nothing."""
    cells = pc.utf8_trim_whitespace(cells)
    nothing = pc.is_in(cells, value_set=pa.array(NULL_WORDS))
    return pc.if_else(nothing, pa.scalar(None, pa.string()), cells)


def guess_marks(cells: Iterable[str], delimiter: str | None) -> Marks:
    """The decimal mark that a sample of cells shows; point where it shows nothing.

    ``1,234`` alone could be either: it is a decimal comma unless the comma separates the columns,
    because an export that groups thousands shows a decimal point or a second group somewhere.
    """
    comma = point = unclear = 0
    for cell in cells:
        if "," not in cell and "." not in cell:
            continue
        text = cell.strip()
        if _COMMA_DECIMAL.match(text):
            comma += 1
        elif _POINT_DECIMAL.match(text):
            point += 1
        elif _UNCLEAR_COMMA.match(text):
            unclear += 1
    if comma == point == 0 and unclear and delimiter != ",":
        return Marks(",")
    return Marks("," if comma > point else ".")


# A mark followed by other than three digits, after a lone zero, or after more than three digits, is
# a decimal mark; so is the one after groups made with the other mark, and two groups make the mark
# a separator.
_COMMA_DECIMAL = re.compile(
    r"^[+-]?(?:\d*,(?:\d{1,2}|\d{4,})|0*,\d+|\d{4,},\d+|\d{1,3}(?:[.\s']\d{3})+,\d+"
    r"|\d{1,3}(?:\.\d{3}){2,})(?:[eE][+-]?\d+)?$"
)
_POINT_DECIMAL = re.compile(
    r"^[+-]?(?:\d*\.(?:\d{1,2}|\d{4,})|0*\.\d+|\d{4,}\.\d+|\d{1,3}(?:[,\s']\d{3})+\.\d+"
    r"|\d{1,3}(?:,\d{3}){2,})(?:[eE][+-]?\d+)?$"
)
_UNCLEAR_COMMA = re.compile(r"^[+-]?\d{1,3},\d{3}$")


def _float64(array: pa.Array) -> Float64:
    values: Any = array.to_numpy(zero_copy_only=False)
    return np.asarray(values, np.float64)


def _true(mask: pa.Array) -> pa.Array:
    """The mask with null read as False."""
    return pc.fill_null(mask, False)
