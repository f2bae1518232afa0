"""All methods side by side: rows by id, paired differences, both as JSON and Markdown."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from benchmarks.quality.bootstrap import estimate, interval_of_difference
from benchmarks.quality.outcomes import CaseOutcome
from benchmarks.quality.rows import MARKS, Row
from benchmarks.quality.store import protocol_version
from benchmarks.quality.tables import all_rows

#: Figures for which a difference to each control is formed.
DIFFERENCES = (
    "Q-EVENT-MEAN-R",
    "Q-EVENT-MEAN-GAIN",
    "Q-EVENT-ALL-R",
    "Q-PROMISE-ROWS",
    "Q-NAB-STD",
    "Q-NAB-STD-ALERTS",
    "Q-SKAB-F1",
    "Q-SKAB-FAR",
    "Q-TSB-VUSPR",
    "Q-UCR-TOP1",
    "Q-TOUCH-ROC",
    "Q-TOUCH-PR",
    "Q-TEP-RATE",
)

_SECTIONS = (
    ("Event recall at one false alarm a machine-week", "Q-EVENT-"),
    ("False alarms on healthy exposure", "Q-FALSE-"),
    ("Promise kept", "Q-PROMISE-"),
    ("At one a day, a week, a month", "Q-CURVE-"),
    ("Records, each under its own rule", ""),
)

_LIBRARIES = ("numpy", "numba", "scipy", "river", "stumpy", "pyarrow")


@dataclass(frozen=True)
class Difference:
    """A method's figure minus a control's, over the same units."""

    id: str
    method: str
    control: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Results:
    """Everything a run printed.

    Attributes
    ----------
    rows : dict
        Rows of each method by id; methods in the order of the tables.
    differences : tuple of Difference
        Of each method that is no control against each control.
    notes : dict
        The limits each method stated, with the number of recordings.
    absent : tuple of str
        Sets that are not in the data folder.
    is_fast : bool
        Whether only the fast subset was judged.
    """

    rows: dict[str, dict[str, Row]]
    differences: tuple[Difference, ...]
    notes: dict[str, dict[str, int]]
    absent: tuple[str, ...]
    is_fast: bool


def form(
    outcomes: Mapping[str, Sequence[CaseOutcome]],
    controls: Sequence[str],
    absent: Sequence[str],
    is_fast: bool,
) -> Results:
    """Results of the outcomes of every method."""
    rows = {name: {row.id: row for row in all_rows(mine)} for name, mine in outcomes.items()}
    differences = tuple(
        difference
        for name in rows
        if name not in controls
        for control in controls
        if control in rows
        for row_id in DIFFERENCES
        for difference in _difference(row_id, name, rows[name], control, rows[control])
    )
    notes: dict[str, dict[str, int]] = {}
    for name, mine in outcomes.items():
        for outcome in mine:
            if outcome.note:
                counted = notes.setdefault(name, {})
                counted[outcome.note] = counted.get(outcome.note, 0) + 1
    return Results(rows, differences, notes, tuple(absent), is_fast)


def as_json(results: Results) -> dict[str, Any]:
    """Results as plain data, without anything that changes from run to run but wall times."""
    return {
        "protocol": protocol_version(),
        "fast_subset": results.is_fast,
        "machine": {"python": platform.python_version(), "processor": platform.machine()},
        "versions": {name: _release(name) for name in _LIBRARIES},
        "absent_sets": list(results.absent),
        "rows": {
            method: {
                row.id: {
                    "what": row.what,
                    "value": _number(row.value),
                    "low": _number(row.low),
                    "high": _number(row.high),
                    "detail": row.detail,
                }
                for row in rows.values()
            }
            for method, rows in results.rows.items()
        },
        "differences": [
            {
                "id": difference.id,
                "method": difference.method,
                "control": difference.control,
                "value": _number(difference.value),
                "low": _number(difference.low),
                "high": _number(difference.high),
            }
            for difference in results.differences
        ],
        "notes": results.notes,
    }


def sections(results: Results) -> list[tuple[str, list[str]]]:
    """Headings and the ids under each, in the protocol's order."""
    ids = list(dict.fromkeys(row_id for rows in results.rows.values() for row_id in rows))
    parts = []
    for heading, prefix in _SECTIONS:
        mine = [row_id for row_id in ids if row_id.startswith(prefix)]
        ids = [row_id for row_id in ids if row_id not in mine]
        if mine:
            parts.append((heading, mine))
    return parts


def markdown(results: Results) -> str:
    """All tables as Markdown: a column a method, the interval beside each figure that has one."""
    methods = list(results.rows)
    lines = ["Fast subset only: not to be quoted.\n"] if results.is_fast else []
    for heading, ids in sections(results):
        lines += [
            f"### {heading}",
            "",
            f"| id | what | record | aim | {' | '.join(methods)} |",
            f"|---|---|---|---|{'---|' * len(methods)}",
        ]
        for row_id in ids:
            cells = [cell(results.rows[method].get(row_id)) for method in methods]
            mark = MARKS.get(row_id)
            record, aim = (mark.record, aim_text(row_id)) if mark else ("", "")
            lines.append(
                f"| {row_id} | {words(results, row_id)} | {record} | {aim} | {' | '.join(cells)} |"
            )
        lines.append("")
    if results.differences:
        lines += [
            "### Difference to the best control, paired, 95 % interval",
            "",
            "| id | difference | value |",
            "|---|---|---|",
        ]
        for one in against_best(results):
            text = f"{figure(one.value)} ({figure(one.low)} to {figure(one.high)})"
            lines.append(f"| {one.id} | {one.method} − {one.control} | {text} |")
        lines.append("")
    for method, notes in results.notes.items():
        stated = ", ".join(f"{note} ({count}×)" for note, count in sorted(notes.items()))
        lines.append(f"* {method} sees less: {stated}")
    lines += [f"* skipped, not in the data folder: {name}" for name in results.absent]
    return "\n".join(lines)


def against_best(results: Results) -> list[Difference]:
    """Of each method and figure the difference to the best control: the least gain."""
    least: dict[tuple[str, str], tuple[float, Difference]] = {}
    for one in results.differences:
        mark = MARKS.get(one.id)
        gain = -one.value if mark is not None and mark.at_most else one.value
        place = (one.method, one.id)
        if place not in least or gain < least[place][0]:
            least[place] = (gain, one)
    return [one for _, one in least.values()]


def words(results: Results, row_id: str) -> str:
    """The figure in words, from whichever method has it."""
    return next(rows[row_id].what for rows in results.rows.values() if row_id in rows)


def cell(row: Row | None) -> str:
    """A figure with what belongs beside it."""
    if row is None:
        return ""
    text = figure(row.value)
    if row.detail and "/" in row.detail:
        text += f" {row.detail}"
    elif row.id.startswith("Q-EVENT-") and row.id.endswith(("-LEAD", "-DELAY")):
        text = row.detail
    if not math.isnan(row.low):
        text += f" ({figure(row.low)}–{figure(row.high)})"
    return text


def aim_text(row_id: str) -> str:
    """The aim with its direction, or empty."""
    mark = MARKS.get(row_id)
    return "" if mark is None else f"{'≤' if mark.at_most else '≥'} {mark.aim:g}"


def figure(value: float) -> str:
    """Three significant figures, never an exponent; a dash where there is no figure."""
    if math.isnan(value):
        return "–"
    if value == 0:
        return "0"
    digits = max(2 - math.floor(math.log10(abs(value))), 0)
    return f"{value:,.{min(digits, 4)}f}"


def _difference(
    row_id: str, method: str, mine: Mapping[str, Row], control: str, theirs: Mapping[str, Row]
) -> list[Difference]:
    """The difference where both have the figure over the same units, else nothing."""
    if row_id not in mine or row_id not in theirs:
        return []
    first, second = mine[row_id], theirs[row_id]
    if [len(group) for group in first.units] != [len(group) for group in second.units]:
        return []
    value = (estimate(first.units) - estimate(second.units)) * first.scale
    low, high = interval_of_difference(first.units, second.units)
    return [Difference(row_id, method, control, value, low * first.scale, high * first.scale)]


def _release(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _number(value: float) -> float | None:
    """JSON has no NaN; six significant figures are more than any figure here means."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
