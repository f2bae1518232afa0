"""From outcomes to the tables: one function a family of rows, every row under a permanent id.

Ids never change meaning; a figure that is defined anew gets a new id.  Small n is shown as k/n.
Figures of a set that was not run are not printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.quality.bootstrap import (
    interval_of_mean,
    interval_of_mean_of_means,
    interval_of_ratio,
)
from benchmarks.quality.datasets import ALL_SETS, HEADLINE_SETS
from benchmarks.quality.judging import EventOutcome, ExposureOutcome, promised
from benchmarks.quality.nab import PROFILES, NabFile, nab_score, nab_score_of_alerts
from benchmarks.quality.outcomes import CURVE_BUDGETS, MAIN_BUDGET, CaseOutcome
from benchmarks.quality.ranking import Confusion, share_above, threshold_for_share
from benchmarks.quality.recordings import ROW_SECONDS_WITHOUT_CLOCK

_SHORT = {
    "ur3_cobotops": "UR3",
    "sme_cycles": "SME",
    "cmapss": "CMAPSS",
    "pronostia": "PRONOSTIA",
    "ims": "IMS",
    "ppd": "PPD",
    "skab": "SKAB",
    "tep": "TEP",
    "hrss": "HRSS",
    "nab": "NAB",
    "genesis": "GENESIS",
    "asd": "ASD",
    "smd": "SMD",
    "smap_msl": "SMAPMSL",
    "gecco2018": "GECCO",
    "gutentag": "GUTENTAG",
    "touchstone": "TOUCHSTONE",
    "tsb_ad_u": "TSB",
}

_PROFILE_SUFFIX = {"standard": "STD", "low_fp": "LFP", "low_fn": "LFN"}
_TEP_FALSE_SHARE = 0.01


@dataclass(frozen=True)
class Row:
    """One figure of one method.

    Attributes
    ----------
    id : str
        Permanent.
    what : str
        The figure in words.
    value : float
        NaN where it cannot be formed.
    low, high : float
        95 % bootstrap interval; NaN where none is given.
    detail : str
        k/n, the unit, or what else belongs beside the value.
    units : tuple of float
        Values of the units the figure is a mean over, for paired differences; empty where it is no
        mean.
    """

    id: str
    what: str
    value: float
    low: float = float("nan")
    high: float = float("nan")
    detail: str = ""
    units: tuple[tuple[float, ...], ...] = ()


def all_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """Every row that the outcomes of one method allow, in the order of the protocol."""
    return [
        *event_rows(outcomes),
        *promise_rows(outcomes),
        *curve_rows(outcomes),
        *nab_rows(outcomes),
        *skab_rows(outcomes),
        *series_rows(outcomes),
        *tep_rows(outcomes),
        *ims_rows(outcomes),
        *cost_rows(outcomes),
    ]


def event_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """Event recall, recall by chance, median lead or delay, set by set, and means over sets."""
    rows = []
    hits: dict[str, tuple[float, ...]] = {}
    chances: dict[str, tuple[float, ...]] = {}
    for name in ALL_SETS:
        events = _events(outcomes, name, MAIN_BUDGET)
        if not events:
            continue
        short = _SHORT[name]
        hits[name] = tuple(float(event.hit) for event in events)
        chances[name] = tuple(event.chance for event in events)
        low, high = interval_of_mean(hits[name])
        rows.append(
            Row(
                f"Q-EVENT-{short}-R",
                f"{name}: event recall at {MAIN_BUDGET}",
                float(np.mean(hits[name])),
                low,
                high,
                f"{int(sum(hits[name]))}/{len(events)}",
                (hits[name],),
            )
        )
        rows.append(
            Row(
                f"Q-EVENT-{short}-CHANCE",
                f"{name}: recall by chance",
                float(np.mean(chances[name])),
            )
        )
        rows.append(_merit_row(name, events))
    for suffix, words, members in (
        ("MEAN", "mean over the ten headline sets", HEADLINE_SETS),
        ("ALL", "mean over all sets with events", ALL_SETS),
    ):
        present = [name for name in members if name in hits]
        if len(present) < 2:
            continue
        units = tuple(hits[name] for name in present)
        low, high = interval_of_mean_of_means(units)
        by_chance = tuple(chances[name] for name in present)
        gains = tuple(
            tuple(h - c for h, c in zip(hits[name], chances[name], strict=True)) for name in present
        )
        gain_low, gain_high = interval_of_mean_of_means(gains)
        count = f"{len(present)} sets"
        recall = _mean_of_means(units)
        chance = _mean_of_means(by_chance)
        rows += [
            Row(f"Q-EVENT-{suffix}-R", f"event recall, {words}", recall, low, high, count, units),
            Row(f"Q-EVENT-{suffix}-CHANCE", f"recall by chance, {words}", chance, detail=count),
            Row(
                f"Q-EVENT-{suffix}-GAIN",
                f"recall above chance, {words}",
                recall - chance,
                gain_low,
                gain_high,
                count,
                gains,
            ),
        ]
    return rows


def promise_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """Achieved ÷ promised false alarms over healthy exposure, and per 10,000 healthy rows."""
    rows = []
    exposure: list[ExposureOutcome] = []
    for name in ALL_SETS:
        here = _exposure(outcomes, name, MAIN_BUDGET)
        if not here:
            continue
        exposure += here
        count = sum(unit.false_alarms for unit in here)
        healthy = sum(unit.healthy_rows for unit in here)
        weeks = sum(unit.healthy_weeks for unit in here)
        rows.append(
            Row(
                f"Q-FALSE-{_SHORT[name]}-ROWS",
                f"{name}: false alarms per 10,000 healthy rows",
                count / healthy * 1e4,
                detail=f"{count} in {healthy:,} rows, promised {promised(weeks, MAIN_BUDGET):.2g}",
            )
        )
    if exposure:
        rows += _promise(exposure, MAIN_BUDGET, "Q-PROMISE")
    return rows


def curve_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """Recall and promise at one a day, a week and a month over the headline sets."""
    rows = []
    for budget in CURVE_BUDGETS:
        groups, exposure = [], []
        for name in ALL_SETS:
            if name in HEADLINE_SETS:
                groups.append(tuple(float(event.hit) for event in _events(outcomes, name, budget)))
            exposure += _exposure(outcomes, name, budget)
        groups = [group for group in groups if group]
        if len(groups) < 2 or not exposure:
            continue
        word = budget.partition("/")[2].upper()
        low, high = interval_of_mean_of_means(groups)
        rows.append(
            Row(
                f"Q-CURVE-{word}-R",
                f"event recall at {budget}, mean over the headline sets",
                _mean_of_means(groups),
                low,
                high,
                f"{len(groups)} sets",
                tuple(groups),
            )
        )
        rows += _promise(exposure, budget, f"Q-CURVE-{word}")
    return rows


def nab_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """NAB's score in its three profiles, by score and by the method's own alerts."""
    here = [outcome for outcome in outcomes if outcome.set_name == "nab"]
    if not here:
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
        suffix = _PROFILE_SUFFIX[name]
        words = name.replace("_", " ")
        rows.append(
            Row(
                f"Q-NAB-{suffix}",
                f"NAB {words}, by score",
                nab_score(by_score, profile),
                detail=count,
            )
        )
        rows.append(
            Row(
                f"Q-NAB-{suffix}-ALERTS",
                f"NAB {words}, by own alerts, no threshold",
                nab_score_of_alerts(by_alert, profile),
                detail=count,
            )
        )
    return rows


def skab_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """F1, false and missed alarm rate of the alerts on pooled rows behind the first 400."""
    counts = [
        Confusion(tp, fp, fn, tn)
        for outcome in outcomes
        if outcome.set_name == "skab" and outcome.budgets[MAIN_BUDGET].marked
        for tp, fp, fn, tn in [outcome.budgets[MAIN_BUDGET].marked]
    ]
    if not counts:
        return []
    pooled = sum(counts[1:], counts[0])
    files = f"{len(counts)} files"
    return [
        Row("Q-SKAB-F1", "SKAB F1 of the alerts, rows pooled", pooled.f1, detail=files),
        Row("Q-SKAB-FAR", "SKAB false alarm rate of rows", pooled.false_alarm_rate, detail=files),
        Row("Q-SKAB-MAR", "SKAB missed alarm rate of rows", pooled.missed_alarm_rate, detail=files),
    ]


def series_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """Figures that are means over series: TSB-AD-U, UCR, touchstone, HRSS."""
    chosen = (
        ("Q-TSB-VUSPR", "TSB-AD-U Eva: mean VUS-PR", "vus_pr", "tsb_ad_u", "", "eva"),
        (
            "Q-UCR-TOP1",
            "UCR archive: top-1 location accuracy, all series here",
            "top1",
            "tsb_ad_u",
            "UCR",
            None,
        ),
        (
            "Q-UCR-TOP1-EVA",
            "UCR archive: top-1 location accuracy, Eva series",
            "top1",
            "tsb_ad_u",
            "UCR",
            "eva",
        ),
        ("Q-TOUCH-ROC", "touchstone: mean ROC-AUC", "roc", "touchstone", "", None),
        ("Q-TOUCH-PR", "touchstone: mean PR-AUC", "ap", "touchstone", "", None),
        ("Q-HRSS-AP", "HRSS anomalous run: average precision", "ap", "hrss", "", ""),
        (
            "Q-HRSS-AP-NORMAL",
            "HRSS: average precision, normal run as warm-up",
            "ap",
            "hrss",
            "",
            "after_normal",
        ),
    )
    rows = []
    for row_id, words, figure, set_name, group, part in chosen:
        values = tuple(
            outcome.rankings[figure]
            for outcome in outcomes
            if outcome.set_name == set_name
            and (not group or outcome.group == group)
            and (part is None or outcome.part == part)
            and figure in outcome.rankings
        )
        if values:
            low, high = interval_of_mean(values) if len(values) > 1 else (float("nan"),) * 2
            detail = f"{len(values)} series"
            if figure == "top1":
                detail = f"{sum(values):.4g}/{len(values)}"
            rows.append(Row(row_id, words, float(np.mean(values)), low, high, detail, (values,)))
    return rows


def tep_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """Mean detection rate over the odd faults where at most 1 % of d00_te's rows alarm."""
    scores = {o.recording: o for o in outcomes if o.set_name == "tep"}
    normal = scores.pop("d00_te", None)
    if normal is None or normal.score is None or not scores:
        return []
    threshold = threshold_for_share(normal.score[normal.warm_up_rows :], _TEP_FALSE_SHARE)
    rates = []
    for outcome in scores.values():
        assert outcome.score is not None
        first = outcome.windows[0][0]
        rates.append(share_above(outcome.score[first:], threshold))
    low, high = interval_of_mean(rates)
    return [
        Row(
            "Q-TEP-RATE",
            "TEP: mean detection rate at ≤ 1 % false alarms on d00_te",
            float(np.mean(rates)),
            low,
            high,
            f"{len(rates)} faults",
            (tuple(rates),),
        )
    ]


def ims_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """Hours from the first hit on the failing bearing to the end; alerts on the others."""
    here = [outcome for outcome in outcomes if outcome.set_name == "ims"]
    if not here:
        return []
    judged = here[0].budgets[MAIN_BUDGET]
    lead_hours = judged.events[0].merit_seconds / 3_600.0
    others = sum(asset != 1 for asset, _ in judged.alerts)
    early = sum(unit.false_alarms for unit in judged.exposure if unit.asset == 1)
    return [
        Row("Q-IMS-LEAD", "IMS test 2: lead time of the first warning", lead_hours, detail="hours"),
        Row(
            "Q-IMS-OTHERS",
            "IMS test 2: alerts on the other bearings",
            float(others),
            detail=f"whole run; {early} false on bearing 1",
        ),
    ]


def cost_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """Wall time of the method, and what it says of its own limits."""
    rows = []
    touchstone = [outcome for outcome in outcomes if outcome.set_name == "touchstone"]
    if touchstone:
        rows.append(
            Row(
                "Q-TOUCH-SECONDS",
                "touchstone: wall time, all series here",
                sum(outcome.seconds for outcome in touchstone),
                detail=f"s, {len(touchstone)} series",
            )
        )
    total = sum(outcome.rows for outcome in outcomes)
    if total:
        spent = sum(outcome.seconds for outcome in outcomes)
        rows.append(
            Row(
                "Q-COST-ROW", "wall time a row, everything judged", spent / total * 1e6, detail="µs"
            )
        )
    return rows


def _promise(exposure: Sequence[ExposureOutcome], budget: str, prefix: str) -> list[Row]:
    """Ratio achieved ÷ promised and alarms per 10,000 rows over machines."""
    counts = [float(unit.false_alarms) for unit in exposure]
    promises = [promised(unit.healthy_weeks, budget) for unit in exposure]
    thousands = [unit.healthy_rows / 1e4 for unit in exposure]
    ratio_low, ratio_high = interval_of_ratio(counts, promises)
    rows_low, rows_high = interval_of_ratio(counts, thousands)
    return [
        Row(
            f"{prefix}-RATIO",
            f"false alarms achieved ÷ promised at {budget}",
            sum(counts) / sum(promises),
            ratio_low,
            ratio_high,
            f"{int(sum(counts))} against {sum(promises):.1f}",
        ),
        Row(
            f"{prefix}-ROWS",
            f"false alarms per 10,000 healthy rows at {budget}",
            sum(counts) / sum(thousands),
            rows_low,
            rows_high,
            f"{int(sum(counts))} in {sum(thousands) * 1e4:,.0f} rows",
        ),
    ]


def _merit_row(name: str, events: Sequence[EventOutcome]) -> Row:
    """Median lead (failures) or delay (windows) over the hits."""
    merits = [event.merit_seconds for event in events if event.hit]
    word = "lead" if events[0].is_lead else "delay"
    median = float(np.median(merits)) if merits else float("nan")
    detail = _duration(median)
    if name == "cmapss" and merits:
        detail = f"{median / ROW_SECONDS_WITHOUT_CLOCK:.0f} cycles"
    return Row(
        f"Q-EVENT-{_SHORT[name]}-{word.upper()}",
        f"{name}: median {word} of the hits, seconds",
        median,
        detail=detail,
    )


def _duration(seconds: float) -> str:
    """Seconds in the unit a person would use."""
    if np.isnan(seconds):
        return "no hit"
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _events(outcomes: Sequence[CaseOutcome], name: str, budget: str) -> list[EventOutcome]:
    return [
        event
        for outcome in outcomes
        if outcome.set_name == name and budget in outcome.budgets and outcome.part in ("", "eva")
        for event in outcome.budgets[budget].events
    ]


def _exposure(outcomes: Sequence[CaseOutcome], name: str, budget: str) -> list[ExposureOutcome]:
    return [
        unit
        for outcome in outcomes
        if outcome.set_name == name and budget in outcome.budgets
        for unit in outcome.budgets[budget].exposure
    ]


def _mean_of_means(groups: Sequence[Sequence[float]]) -> float:
    return float(np.mean([np.mean(group) for group in groups]))
