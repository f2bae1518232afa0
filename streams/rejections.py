"""What could not be used, counted by reason and kept as a bounded sample with its original text.

Bad data is never an exception and never disappears: the counts are exact, the sample in
``rejected.jsonl`` shows where to look. The reasons here are those of *reading* a file; the engine
has its own closed list for readings that arrived whole (``anomaly.quality.REASONS``).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

#: Closed list: reason -> what one and what several of them are called in the summary.
REASONS = {
    "not_a_number": ("cell with text in a number column", "cells with text in a number column"),
    "unreadable_time": ("row whose time cannot be read", "rows whose time cannot be read"),
    "no_asset": ("row without an asset", "rows without an asset"),
    "no_sensor": ("row without a sensor's name", "rows without a sensor's name"),
    "name_too_long": ("row with a name that is too long", "rows with a name that is too long"),
    "too_few_cells": ("row with too few cells", "rows with too few cells"),
    "too_many_cells": ("row with too many cells", "rows with too many cells"),
}

#: A cell's text is cut to this many characters in the sample.
TEXT_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stood. ``line`` is None where the file has no lines; ``row`` is 0-based
    over all input rows, as in the scores."""

    file: str
    line: int | None
    row: int
    column: str | None


@dataclass(slots=True)
class Rejections:
    """Exact counts and the first ``limit`` examples, no more than a tenth of them of one reason
    and column, so that one bad column does not hide the others."""

    limit: int = 1000
    counts: Counter[str] = field(default_factory=Counter)
    sample: list[dict[str, object]] = field(default_factory=list)
    _kept: Counter[tuple[str, str, str | None]] = field(default_factory=Counter)

    def wants(self, reason: str, file: str, column: str | None) -> int:
        """How many more examples of this kind would be kept."""
        share = max(1, self.limit // 10)
        left = share - self._kept[reason, file, column]
        return max(0, min(left, self.limit - len(self.sample)))

    def count(self, reason: str, number: int = 1) -> None:
        """Add to the exact count."""
        assert reason in REASONS
        self.counts[reason] += number

    def keep(self, reason: str, place: Place, text: str | None) -> None:
        """Add an example; the caller asked :meth:`wants` first."""
        self._kept[reason, place.file, place.column] += 1
        self.sample.append({
            "file": place.file, "line": place.line, "row": place.row, "column": place.column,
            "reason": reason, "text": None if text is None else text[:TEXT_LIMIT],
        })

    def describe(self) -> Sequence[str]:
        """The counts in words, the most frequent first; empty if nothing was rejected."""
        return [f"{count:,} {REASONS[reason][count > 1]}"
                for reason, count in self.counts.most_common()]

    def write(self, path: Path) -> None:
        """Write the sample, one JSON object a line, in the order of the input's rows."""
        with path.open("w", encoding="utf-8") as file:
            for entry in sorted(self.sample, key=lambda entry: cast(int, entry["row"])):
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
