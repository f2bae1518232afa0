"""The headline's rules: which events were warned of, which alerts were false, what chance hits.

* An alert begins at its firing row.  It hits an event if that row lies in the event's window, on
  its machine.
* An alert already open when a window begins is never a hit for that window, and a false alarm only
  if it began on healthy rows.
* False alarms are alerts that began on healthy rows; nothing else is one.
* Chance is what as many alerts, thrown at random over the rows after warm-up, would hit: over all
  of a set's rows, at the set's own alert rate, and, stricter, over the rows of the machine that
  raised them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.quality.recordings import NANOSECONDS, WEEK_SECONDS, Verdict, budget_seconds
from benchmarks.quality.truth import Case


@dataclass(frozen=True)
class EventOutcome:
    """How one event went.

    Attributes
    ----------
    recording : str
        Its recording.
    asset : int
        Its machine.
    hit : bool
        Whether an alert began inside its window.
    merit_seconds : float
        Lead time before the failure, or delay after the window's start; NaN where missed.
    is_lead : bool
        Whether the merit is a lead time.
    window_rows : int
        Rows of the machine after warm-up in which an alert would have hit.
    machine_rows : int
        Rows of the machine after warm-up.
    machine_alerts : int
        Alerts on the machine after warm-up.
    """

    recording: str
    asset: int
    hit: bool
    merit_seconds: float
    is_lead: bool
    window_rows: int
    machine_rows: int
    machine_alerts: int

    @property
    def chance_on_machine(self) -> float:
        """Probability that the machine's alerts, at random rows of it, would have hit."""
        return chance(self.window_rows, self.machine_rows, self.machine_alerts)


@dataclass(frozen=True)
class ExposureOutcome:
    """Healthy exposure of one machine and what happened on it.

    Attributes
    ----------
    recording : str
        Its recording.
    asset : int
        Its machine.
    false_alarms : int
        Alerts that began on healthy rows.
    healthy_rows : int
        Rows of healthy exposure.
    healthy_weeks : float
        Machine weeks of healthy exposure.
    """

    recording: str
    asset: int
    false_alarms: int
    healthy_rows: int
    healthy_weeks: float


def judge_events(case: Case, verdict: Verdict) -> list[EventOutcome]:
    """Outcome of every event of a case."""
    recording = case.recording
    fired = np.array([span.fired_row for span in verdict.alerts], np.int64)
    asset = np.array([span.asset for span in verdict.alerts], np.int64)
    after = fired >= case.warm_up_rows
    outcomes = []
    for event in case.events:
        mine = (asset == event.asset) & after
        inside = fired[mine & (fired >= event.first_row) & (fired <= event.last_row)]
        hit = bool(inside.size)
        merit = float("nan")
        if hit:
            first_ns = int(recording.time_ns[inside.min()])
            merit = (event.reference_ns - first_ns) / NANOSECONDS
            merit = merit if event.is_failure else -merit
        rows = np.flatnonzero(recording.asset == event.asset)
        rows = rows[rows >= case.warm_up_rows]
        in_window = (rows >= event.first_row) & (rows <= event.last_row)
        outcomes.append(
            EventOutcome(
                recording=recording.name,
                asset=event.asset,
                hit=hit,
                merit_seconds=merit,
                is_lead=event.is_failure,
                window_rows=int(np.count_nonzero(in_window)),
                machine_rows=int(rows.size),
                machine_alerts=int(np.count_nonzero(mine)),
            )
        )
    return outcomes


def judge_exposure(case: Case, verdict: Verdict) -> list[ExposureOutcome]:
    """Healthy exposure and false alarms, machine by machine; empty where no row is healthy."""
    if not case.healthy_rows:
        return []
    weeks_a_row = case.healthy_seconds / case.healthy_rows / WEEK_SECONDS
    false = [span.asset for span in verdict.alerts if case.healthy[span.fired_row]]
    outcomes = []
    for asset in np.unique(case.recording.asset[case.healthy]):
        rows = int(np.count_nonzero(case.healthy & (case.recording.asset == asset)))
        count = false.count(int(asset))
        outcomes.append(
            ExposureOutcome(case.recording.name, int(asset), count, rows, rows * weeks_a_row)
        )
    return outcomes


def promised(weeks: float, budget: str) -> float:
    """False alarms a budget promises over so many machine weeks."""
    return weeks * WEEK_SECONDS / budget_seconds(budget)


def chance(window_rows: int, rows: int, alert_count: int) -> float:
    """1 − (1 − w/T)^k: what k alerts at random among T rows have in a window of w of them."""
    if not rows:
        return 0.0
    return float(1.0 - (1.0 - window_rows / rows) ** alert_count)
