"""The rows with records to beat, each under its own published rule, and what the method cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.quality.bootstrap import means
from benchmarks.quality.nab import PROFILES, NabFile, best_threshold, file_scores
from benchmarks.quality.outcomes import MAIN_BUDGET, CaseOutcome
from benchmarks.quality.ranking import share_above, threshold_for_share
from benchmarks.quality.rows import Row, ratio_row

_PROFILE_SUFFIX = {"standard": "STD", "low_fp": "LFP", "low_fn": "LFN"}
_TEP_FALSE_SHARE = 0.01
_IMS_FAILING_BEARING = 1

# id, words, figure, set, group or any, part or any
_SERIES_FIGURES = (
    ("Q-TSB-VUSPR", "TSB-AD-U Eva: mean VUS-PR", "vus_pr", "tsb_ad_u", None, "eva"),
    ("Q-UCR-TOP1", "UCR archive: top-1 location, all here", "top1", "tsb_ad_u", "UCR", None),
    ("Q-UCR-TOP1-EVA", "UCR archive: top-1 location, Eva", "top1", "tsb_ad_u", "UCR", "eva"),
    ("Q-TOUCH-ROC", "touchstone: mean ROC-AUC", "roc", "touchstone", None, None),
    ("Q-TOUCH-PR", "touchstone: mean PR-AUC", "ap", "touchstone", None, None),
    ("Q-HRSS-AP", "HRSS anomalous run: average precision", "ap", "hrss", None, ""),
    ("Q-HRSS-AP-NORMAL", "HRSS: the same after the normal run", "ap", "hrss", None, "after_normal"),
)


def record_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """Rows of §3 that the outcomes allow."""
    return [
        *nab_rows(outcomes),
        *skab_rows(outcomes),
        *series_rows(outcomes),
        *tep_rows(outcomes),
        *ims_rows(outcomes),
        *cost_rows(outcomes),
    ]


def nab_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """NAB's score in its three profiles, by score and by the method's own alerts.

    The interval is drawn over files at the threshold chosen on all of them.
    """
    here = [outcome for outcome in outcomes if outcome.set_name == "nab"]
    if not any(outcome.windows for outcome in here):
        return []
    by_score, by_alert = [], []
    for outcome in here:
        assert outcome.score is not None
        fired = np.zeros(outcome.rows)
        fired[[row for _, row in outcome.budgets[MAIN_BUDGET].alerts]] = 1.0
        by_score.append(NabFile(outcome.score, outcome.windows, outcome.warm_up_rows))
        by_alert.append(NabFile(fired, outcome.windows, outcome.warm_up_rows))
    count = f"{len(here)} files"
    rows = []
    for name, profile in PROFILES.items():
        row_id = f"Q-NAB-{_PROFILE_SUFFIX[name]}"
        words = f"NAB {name.replace('_', ' ')}"
        scores = file_scores(by_score, profile, best_threshold(by_score, profile))
        alerts = file_scores(by_alert, profile, 1.0)
        rows += [
            ratio_row(row_id, f"{words}, by score", [scores], count, 100.0),
            ratio_row(f"{row_id}-ALERTS", f"{words}, by own alerts", [alerts], count, 100.0),
        ]
    return rows


def skab_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """F1, false and missed alarm rate of the alerts on pooled rows behind the first 400."""
    counts = [
        outcome.budgets[MAIN_BUDGET].marked
        for outcome in outcomes
        if outcome.set_name == "skab" and outcome.budgets[MAIN_BUDGET].marked
    ]
    if not counts:
        return []
    files = f"{len(counts)} files"
    f1 = tuple((2.0 * tp, 2.0 * tp + fp + fn) for tp, fp, fn, _ in counts)
    false = tuple((float(fp), float(fp + tn)) for _, fp, _, tn in counts)
    missed = tuple((float(fn), float(fn + tp)) for tp, _, fn, _ in counts)
    return [
        ratio_row("Q-SKAB-F1", "SKAB: F1 of the alerts, rows pooled", [f1], files),
        ratio_row("Q-SKAB-FAR", "SKAB: false alarm rate of rows", [false], files),
        ratio_row("Q-SKAB-MAR", "SKAB: missed alarm rate of rows", [missed], files),
    ]


def series_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """Figures that are means over series: TSB-AD-U, UCR, touchstone, HRSS."""
    rows = []
    for row_id, words, figure, set_name, group, part in _SERIES_FIGURES:
        values = [
            outcome.rankings[figure]
            for outcome in outcomes
            if outcome.set_name == set_name
            and group in (None, outcome.group)
            and part in (None, outcome.part)
            and figure in outcome.rankings
        ]
        if values:
            counted = f"{sum(values):.4g}/{len(values)}"
            detail = counted if figure == "top1" else f"{len(values)} series"
            rows.append(ratio_row(row_id, words, [means(values)], detail))
    return rows


def tep_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """Mean detection rate over the odd faults where at most 1 % of d00_te's rows alarm."""
    runs = {outcome.recording: outcome for outcome in outcomes if outcome.set_name == "tep"}
    normal = runs.pop("d00_te", None)
    if normal is None or normal.score is None or not runs:
        return []
    threshold = threshold_for_share(normal.score[normal.warm_up_rows :], _TEP_FALSE_SHARE)
    rates = []
    for outcome in runs.values():
        assert outcome.score is not None
        rates.append(share_above(outcome.score[outcome.windows[0][0] :], threshold))
    words = "TEP: mean detection rate at ≤ 1 % false alarms on d00_te"
    return [ratio_row("Q-TEP-RATE", words, [means(rates)], f"{len(rates)} faults")]


def ims_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """Hours from the first hit on the failing bearing to the end; alerts on the others."""
    here = [outcome for outcome in outcomes if outcome.set_name == "ims"]
    if not here:
        return []
    judged = here[0].budgets[MAIN_BUDGET]
    lead_hours = judged.events[0].merit_seconds / 3_600.0
    others = sum(asset != _IMS_FAILING_BEARING for asset, _ in judged.alerts)
    early = sum(unit.false_alarms for unit in judged.exposure if unit.asset == _IMS_FAILING_BEARING)
    detail = f"whole run; {early} false on bearing {_IMS_FAILING_BEARING}"
    return [
        Row("Q-IMS-LEAD", "IMS test 2: lead of the first warning, hours", lead_hours, detail="h"),
        Row(
            "Q-IMS-OTHERS", "IMS test 2: alerts on the other bearings", float(others), detail=detail
        ),
    ]


def cost_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """Wall time of the method under the main budget."""
    rows = []
    touchstone = [outcome for outcome in outcomes if outcome.set_name == "touchstone"]
    if touchstone:
        seconds = sum(outcome.seconds for outcome in touchstone)
        words = "touchstone: wall time, all series here, seconds"
        rows.append(Row("Q-TOUCH-SECONDS", words, seconds, detail=f"s, {len(touchstone)} series"))
    total = sum(outcome.rows for outcome in outcomes)
    if total:
        spent = sum(outcome.seconds for outcome in outcomes)
        words = "wall time a row, everything judged, µs"
        rows.append(Row("Q-COST-ROW", words, spent / total * 1e6, detail="µs"))
    return rows
