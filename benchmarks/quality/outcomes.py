"""One method on one case, measured: everything the tables need, and nothing that must be kept
twice.

An outcome is plain numbers, so that it can be written to disk and read back when neither the method
nor the recording changed.  Scores are kept only where a figure needs them over several files
together (NAB's one threshold, TEP's threshold from d00_te).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.quality.judging import EventOutcome, ExposureOutcome, judge_events, judge_exposure
from benchmarks.quality.ranking import average_precision, confusion, roc_auc, top1_hit
from benchmarks.quality.recordings import FloatArray, Method, Verdict
from benchmarks.quality.truth import Case, windows_of
from benchmarks.quality.vus import period_rows, vus

MAIN_BUDGET = "1/week"
CURVE_BUDGETS = ("1/day", "1/week", "1/month")

_SETS_WITH_KEPT_SCORES = ("nab", "tep")


@dataclass(frozen=True)
class BudgetOutcome:
    """What the alerts did under one budget.

    Attributes
    ----------
    events : tuple of EventOutcome
        Every event.
    exposure : tuple of ExposureOutcome
        Every machine with healthy rows.
    alerts : tuple of (int, int)
        Machine and firing row of each alert after warm-up.
    marked : tuple of int
        Rows after warm-up: marked and labelled, marked only, labelled only, neither; empty without
        labels.
    """

    events: tuple[EventOutcome, ...]
    exposure: tuple[ExposureOutcome, ...]
    alerts: tuple[tuple[int, int], ...]
    marked: tuple[int, ...]


@dataclass(frozen=True)
class CaseOutcome:
    """One method on one case.

    Attributes
    ----------
    set_name, recording, group, part : str
        As in `Case`.
    rows, warm_up_rows : int
        Rows of the file and of its warm-up.
    seconds : float
        Wall time of the method under the main budget.
    note : str
        The method's stated limit, or empty.
    budgets : dict
        `BudgetOutcome` by budget.
    rankings : dict
        Figures of the score by name: ``roc``, ``ap``, ``vus_pr``, ``vus_roc``, ``top1``.
    windows : tuple of (int, int)
        Labelled windows of rows; only where scores are kept.
    score : float64[n] or None
        Scores; only where kept.
    """

    set_name: str
    recording: str
    group: str
    part: str
    rows: int
    warm_up_rows: int
    seconds: float
    note: str
    budgets: dict[str, BudgetOutcome]
    rankings: dict[str, float]
    windows: tuple[tuple[int, int], ...] = ()
    score: FloatArray | None = field(default=None, compare=False)


def measure(case: Case, run: Method, budgets: Sequence[str] = (MAIN_BUDGET,)) -> CaseOutcome:
    """Run a method on a case under every budget and measure it.

    Rankings use the scores of the main budget's run; a score should not depend on the budget.

    Raises
    ------
    ValueError
        If the method's columns have not one entry per row.
    """
    verdicts = {}
    seconds = 0.0
    for budget in dict.fromkeys((MAIN_BUDGET, *budgets)):
        started = time.perf_counter()
        verdicts[budget] = run(case.recording, case.warm_up_rows, budget)
        if budget == MAIN_BUDGET:
            seconds = time.perf_counter() - started
        _check(case, verdicts[budget])
    main = verdicts[MAIN_BUDGET]
    keeps = case.set_name in _SETS_WITH_KEPT_SCORES
    return CaseOutcome(
        set_name=case.set_name,
        recording=case.recording.name,
        group=case.group,
        part=case.part,
        rows=case.recording.row_count,
        warm_up_rows=case.warm_up_rows,
        seconds=seconds,
        note=main.note,
        budgets={budget: _judged(case, verdict) for budget, verdict in verdicts.items()},
        rankings=_rankings(case, main.score),
        windows=windows_of(case.labels) if keeps and case.labels is not None else (),
        score=main.score if keeps else None,
    )


def _judged(case: Case, verdict: Verdict) -> BudgetOutcome:
    """The alerts of one run against the truth."""
    marked: tuple[int, ...] = ()
    if case.labels is not None:
        after = slice(case.warm_up_rows, None)
        counts = confusion(verdict.alert[after], case.labels[after])
        marked = (
            counts.true_positive,
            counts.false_positive,
            counts.false_negative,
            counts.true_negative,
        )
    return BudgetOutcome(
        events=tuple(judge_events(case, verdict)),
        exposure=tuple(judge_exposure(case, verdict)),
        alerts=tuple(
            (span.asset, span.fired_row)
            for span in verdict.alerts
            if span.fired_row >= case.warm_up_rows
        ),
        marked=marked,
    )


def _rankings(case: Case, score: FloatArray) -> dict[str, float]:
    """How the score orders the rows of the whole file; rows without opinion rank last."""
    if case.labels is None or not np.any(case.labels):
        return {}
    figures = {
        "roc": roc_auc(score[case.ranked_from :], case.labels[case.ranked_from :]),
        "ap": average_precision(score[case.ranked_from :], case.labels[case.ranked_from :]),
    }
    if case.set_name == "tsb_ad_u":
        period = period_rows(case.recording.x[:, 0])
        figures["vus_roc"], figures["vus_pr"] = vus(score, case.labels, period)
    if case.group == "UCR":
        first, last = windows_of(case.labels)[0]
        figures["top1"] = top1_hit(score, first, last, case.warm_up_rows)
    return figures


def _check(case: Case, verdict: Verdict) -> None:
    """A method that drops or invents a row is a bug, not a result."""
    expected = (case.recording.row_count,)
    for name, column in (
        ("score", verdict.score),
        ("return_period_s", verdict.return_period_s),
        ("alert", verdict.alert),
    ):
        if column.shape != expected:
            raise ValueError(
                f"{case.recording.name}: {name} has shape {column.shape}, not {expected}"
            )
