"""How good the detection is: the project's evaluation protocol as a program and as a function.

``python -m benchmarks.quality`` runs every method on every set and prints the tables.  `headline`
does the same for one in-process method, for whoever is writing one:

    from benchmarks.quality import Recording, Verdict, headline, verdict_from_rows

    def run(recording: Recording, warm_up_rows: int, budget: str) -> Verdict:
        ...
        return verdict_from_rows(recording, score, alert, return_period_s)

    print(headline(run, sets=("skab", "ims")).markdown())

A method sees a `Recording` and never the truth.  Reading order: `recordings`, `truth`, `datasets`,
`judging`, `ranking`, `vus`, `nab`, `outcomes`, `tables`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.quality.datasets import ALL_SETS, EXPOSURE_SETS, HEADLINE_SETS, cases, has_set
from benchmarks.quality.outcomes import CURVE_BUDGETS, MAIN_BUDGET, CaseOutcome, measure
from benchmarks.quality.recordings import (
    AlertSpan,
    Method,
    Recording,
    Verdict,
    alert_spans,
    budget_seconds,
    row_seconds,
    verdict_from_rows,
)
from benchmarks.quality.rows import Row
from benchmarks.quality.tables import all_rows
from benchmarks.quality.truth import Case, Event

__all__ = [
    "ALL_SETS",
    "HEADLINE_SETS",
    "AlertSpan",
    "Case",
    "CaseOutcome",
    "Event",
    "Headline",
    "Method",
    "Recording",
    "Row",
    "Verdict",
    "alert_spans",
    "budget_seconds",
    "cases",
    "has_set",
    "headline",
    "measure",
    "row_seconds",
    "verdict_from_rows",
]


@dataclass(frozen=True)
class Headline:
    """All tables of one method.

    Attributes
    ----------
    rows : tuple of Row
        Figures in the protocol's order.
    outcomes : tuple of CaseOutcome
        What each recording gave, for whoever wants to look closer.
    absent : tuple of str
        Sets that were asked for and are not in the data folder.
    """

    rows: tuple[Row, ...]
    outcomes: tuple[CaseOutcome, ...]
    absent: tuple[str, ...]

    def value(self, row_id: str) -> float:
        """Value of a row.

        Raises
        ------
        KeyError
            If no such row was formed.
        """
        for row in self.rows:
            if row.id == row_id:
                return row.value
        raise KeyError(row_id)

    def markdown(self) -> str:
        """The rows as one table."""
        lines = ["| id | what | value | 95 % | |", "|---|---|---|---|---|"]
        for row in self.rows:
            interval = "" if row.low != row.low else f"{row.low:.3f} – {row.high:.3f}"
            lines.append(f"| {row.id} | {row.what} | {row.value:.4g} | {interval} | {row.detail} |")
        lines += [f"skipped, not in the data folder: {name}" for name in self.absent]
        return "\n".join(lines)


def headline(
    run: Method,
    sets: Sequence[str] | None = None,
    curve: bool = False,
    keep: Callable[[Case], bool] | None = None,
    progress: Callable[[Case], None] | None = None,
) -> Headline:
    """Judge one in-process method by the whole protocol.

    Parameters
    ----------
    run : Method
        Called once a recording (three times with `curve`), in a fixed order.
    sets : sequence of str, optional
        Sets to judge on; all by default.  Sets absent from the data folder are skipped and named.
    curve : bool
        Whether to run the headline sets at one a day and one a month too.
    keep : callable, optional
        Takes a case, says whether to judge it; for a quick look at a part of a large set.
    progress : callable, optional
        Called with each case before it is judged.

    Returns
    -------
    Headline
        The rows and the outcomes behind them.
    """
    outcomes, absent = [], []
    for name in sets or ALL_SETS:
        if not has_set(name):
            absent.append(name)
            continue
        in_curve = curve and name in HEADLINE_SETS + EXPOSURE_SETS
        budgets = CURVE_BUDGETS if in_curve else (MAIN_BUDGET,)
        for case in cases(name):
            if keep is not None and not keep(case):
                continue
            if progress is not None:
                progress(case)
            outcomes.append(measure(case, run, budgets))
    return Headline(tuple(all_rows(outcomes)), tuple(outcomes), tuple(absent))
