"""The headline's rows: event recall, recall by chance, lead or delay, and the promise kept.

Small n is shown as k/n.  Figures of a set that was not run are not formed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.quality.bootstrap import Group, means
from benchmarks.quality.datasets import ALL_SETS, HEADLINE_SETS
from benchmarks.quality.judging import EventOutcome, ExposureOutcome, chance, promised
from benchmarks.quality.outcomes import CURVE_BUDGETS, MAIN_BUDGET, CaseOutcome
from benchmarks.quality.recordings import ROW_SECONDS_WITHOUT_CLOCK
from benchmarks.quality.records import record_rows
from benchmarks.quality.rows import SHORT, Row, ratio_row


def all_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """Every row that the outcomes of one method allow, in the order of the protocol."""
    return [
        *event_rows(outcomes),
        *promise_rows(outcomes),
        *curve_rows(outcomes),
        *record_rows(outcomes),
    ]


def event_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """Event recall, recall by chance, median lead or delay, set by set, and means over sets."""
    rows = []
    events_of = {}
    chances_of = {}
    for name in ALL_SETS:
        events = events_at(outcomes, name, MAIN_BUDGET)
        if not events:
            continue
        events_of[name] = events
        chances_of[name] = _chances(outcomes, name, MAIN_BUDGET)
        short = SHORT[name]
        count = f"{sum(event.hit for event in events)}/{len(events)}"
        words = f"{name}: event recall at {MAIN_BUDGET}"
        by_chance = float(np.mean(chances_of[name]))
        rows += [
            ratio_row(f"Q-EVENT-{short}-R", words, [_hits(events)], count),
            Row(f"Q-EVENT-{short}-CHANCE", f"{name}: recall by chance", by_chance),
            _merit_row(name, events),
        ]
    for suffix, words, members in (
        ("MEAN", "mean over the headline sets", HEADLINE_SETS),
        ("ALL", "mean over all sets with events", ALL_SETS),
    ):
        present = [name for name in members if name in events_of]
        if len(present) < 2:
            continue
        count = f"{len(present)} sets"
        recall = [_hits(events_of[name]) for name in present]
        by_chance_of = [means(chances_of[name]) for name in present]
        on_machine = [
            means([event.chance_on_machine for event in events_of[name]]) for name in present
        ]
        gains = [
            means([hit - luck for (hit, _), (luck, _) in zip(*pair, strict=True)])
            for pair in zip(recall, by_chance_of, strict=True)
        ]
        rows += [
            ratio_row(f"Q-EVENT-{suffix}-R", f"event recall, {words}", recall, count),
            ratio_row(
                f"Q-EVENT-{suffix}-CHANCE", f"recall by chance, {words}", by_chance_of, count
            ),
            ratio_row(
                f"Q-EVENT-{suffix}-CHANCE-MACHINE",
                f"the same, each machine's alerts thrown on itself, {words}",
                on_machine,
                count,
            ),
            ratio_row(f"Q-EVENT-{suffix}-GAIN", f"recall above chance, {words}", gains, count),
        ]
    return rows


def promise_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """Achieved ÷ promised false alarms over healthy exposure, and per 10,000 healthy rows."""
    rows = []
    exposure: list[ExposureOutcome] = []
    for name in ALL_SETS:
        here = exposure_at(outcomes, name, MAIN_BUDGET)
        if not here:
            continue
        exposure += here
        count = sum(unit.false_alarms for unit in here)
        healthy = sum(unit.healthy_rows for unit in here)
        promise = promised(sum(unit.healthy_weeks for unit in here), MAIN_BUDGET)
        rows.append(
            ratio_row(
                f"Q-FALSE-{SHORT[name]}-ROWS",
                f"{name}: false alarms per 10,000 healthy rows",
                [tuple((float(unit.false_alarms), float(unit.healthy_rows)) for unit in here)],
                f"{count} in {healthy:,} rows, promised {promise:.2g}",
                1e4,
            )
        )
    if exposure:
        rows += _promise(exposure, MAIN_BUDGET, "Q-PROMISE")
    return rows


def curve_rows(outcomes: Sequence[CaseOutcome]) -> list[Row]:
    """Recall and promise at one a day, a week and a month over the headline sets."""
    rows = []
    for budget in CURVE_BUDGETS:
        groups = [_hits(events_at(outcomes, name, budget)) for name in HEADLINE_SETS]
        groups = [group for group in groups if group]
        exposure = [unit for name in ALL_SETS for unit in exposure_at(outcomes, name, budget)]
        if len(groups) < 2 or not exposure:
            continue
        word = budget.partition("/")[2].upper()
        words = f"event recall at {budget}, mean over the headline sets"
        rows.append(ratio_row(f"Q-CURVE-{word}-R", words, groups, f"{len(groups)} sets"))
        rows += _promise(exposure, budget, f"Q-CURVE-{word}")
    return rows


def events_at(outcomes: Sequence[CaseOutcome], name: str, budget: str) -> list[EventOutcome]:
    """Events of a set under a budget."""
    return [
        event
        for outcome in _counted(outcomes, name, budget)
        for event in outcome.budgets[budget].events
    ]


def exposure_at(outcomes: Sequence[CaseOutcome], name: str, budget: str) -> list[ExposureOutcome]:
    """Machines with healthy exposure of a set under a budget."""
    return [
        unit
        for outcome in outcomes
        if outcome.set_name == name and budget in outcome.budgets
        for unit in outcome.budgets[budget].exposure
    ]


def _counted(outcomes: Sequence[CaseOutcome], name: str, budget: str) -> list[CaseOutcome]:
    """Recordings of a set whose alerts count; of TSB-AD-U only the evaluation list's."""
    return [
        outcome
        for outcome in outcomes
        if outcome.set_name == name and budget in outcome.budgets and outcome.part in ("", "eva")
    ]


def _chances(outcomes: Sequence[CaseOutcome], name: str, budget: str) -> list[float]:
    """Per event, what the set's alerts would hit if thrown at random over all its rows."""
    counted = _counted(outcomes, name, budget)
    alerts = sum(len(outcome.budgets[budget].alerts) for outcome in counted)
    rows = sum(outcome.rows - outcome.warm_up_rows for outcome in counted)
    return [
        chance(event.window_rows, rows, alerts)
        for outcome in counted
        for event in outcome.budgets[budget].events
    ]


def _hits(events: Sequence[EventOutcome]) -> Group:
    return means([float(event.hit) for event in events])


def _promise(exposure: Sequence[ExposureOutcome], budget: str, prefix: str) -> list[Row]:
    """Ratio achieved ÷ promised, and alarms per 10,000 rows, drawn over machines."""
    count = sum(unit.false_alarms for unit in exposure)
    promise = sum(promised(unit.healthy_weeks, budget) for unit in exposure)
    healthy = sum(unit.healthy_rows for unit in exposure)
    by_promise = tuple(
        (float(unit.false_alarms), promised(unit.healthy_weeks, budget)) for unit in exposure
    )
    by_rows = tuple((float(unit.false_alarms), float(unit.healthy_rows)) for unit in exposure)
    return [
        ratio_row(
            f"{prefix}-RATIO",
            f"false alarms achieved ÷ promised at {budget}",
            [by_promise],
            f"{count} against {promise:.1f}",
        ),
        ratio_row(
            f"{prefix}-ROWS",
            f"false alarms per 10,000 healthy rows at {budget}",
            [by_rows],
            f"{count} in {healthy:,} rows",
            1e4,
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
    row_id = f"Q-EVENT-{SHORT[name]}-{word.upper()}"
    return Row(row_id, f"{name}: median {word} of the hits, seconds", median, detail=detail)


def _duration(seconds: float) -> str:
    """Seconds in the unit a person would use."""
    if np.isnan(seconds):
        return "no hit"
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
