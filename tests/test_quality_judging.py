"""The headline's rules on recordings small enough to judge by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.quality.judging import judge_events, judge_exposure, promised
from benchmarks.quality.recordings import (
    NANOSECONDS,
    Recording,
    Verdict,
    alert_spans,
    budget_seconds,
    row_seconds,
    verdict_from_rows,
)
from benchmarks.quality.truth import (
    Case,
    Event,
    failure_event,
    first_quarter,
    make_case,
    rows_of_events,
    window_event,
    windows_of,
)

_ROWS = 200
_INTERVAL = 10.0


def _recording(machines: int = 1) -> Recording:
    """Rows of 10 s each; a fleet's rows alternate."""
    time_ns = np.repeat(np.arange(_ROWS), machines) * round(_INTERVAL * NANOSECONDS)
    asset = np.tile(np.arange(machines), _ROWS)
    return Recording("r", ("a",), time_ns, asset, np.zeros((_ROWS * machines, 1)))


def _verdict(recording: Recording, *spans: tuple[int, int]) -> Verdict:
    """Alerts on rows [first, stop) of the file."""
    alert = np.zeros(recording.row_count, np.int8)
    for first, stop in spans:
        alert[first:stop] = 1
    return verdict_from_rows(recording, np.zeros(recording.row_count), alert)


def _case(events: list[Event], healthy: slice | None = None, warm_up: int = 30) -> Case:
    recording = _recording()
    rows = np.zeros(recording.row_count, np.bool_)
    if healthy is not None:
        rows[healthy] = True
    return make_case("s", recording, warm_up, events, rows)


def test_an_alert_that_begins_in_the_window_hits_with_its_lead() -> None:
    recording = _recording()
    event = failure_event(recording, 0, 150 * 10 * NANOSECONDS, 300.0, 50.0)
    assert (event.first_row, event.last_row) == (120, 145)
    (outcome,) = judge_events(_case([event]), _verdict(recording, (130, 140)))
    assert outcome.hit
    assert outcome.merit_seconds == 200.0


@pytest.mark.parametrize(
    "first,stop,hit", [(119, 140, False), (120, 121, True), (145, 160, True), (146, 160, False)]
)
def test_window_ends_belong_to_it_and_open_alerts_never_hit(
    first: int, stop: int, hit: bool
) -> None:
    recording = _recording()
    event = failure_event(recording, 0, 150 * 10 * NANOSECONDS, 300.0, 50.0)
    (outcome,) = judge_events(_case([event]), _verdict(recording, (first, stop)))
    assert outcome.hit is hit
    assert math.isnan(outcome.merit_seconds) is not hit


def test_the_first_of_several_hits_gives_the_lead_and_windows_give_delay() -> None:
    recording = _recording()
    window = window_event(recording, 100, 150)
    verdict = _verdict(recording, (90, 104), (110, 112), (120, 122))
    (outcome,) = judge_events(_case([window]), verdict)
    assert outcome.hit
    assert not outcome.is_lead
    assert outcome.merit_seconds == 100.0


def test_false_alarms_begin_on_healthy_rows_only() -> None:
    case = _case([window_event(_recording(), 150, 160)], healthy=slice(0, 100))
    # In warm-up, on healthy rows, open across the edge, beyond it.
    verdict = _verdict(case.recording, (10, 12), (40, 45), (95, 110), (120, 125))
    (outcome,) = judge_exposure(case, verdict)
    assert outcome.false_alarms == 2
    assert outcome.healthy_rows == 70
    assert outcome.healthy_weeks == pytest.approx(700 / 604_800)


def test_another_machines_alert_does_not_hit() -> None:
    recording = _recording(2)
    event = Event(1, 201, 301, 0, is_failure=True)
    healthy = np.zeros(recording.row_count, np.bool_)
    case = make_case("s", recording, 20, [event], healthy)
    alert = np.zeros(recording.row_count, np.int8)
    alert[220:260:2] = 1
    (outcome,) = judge_events(case, verdict_from_rows(recording, np.zeros(400), alert))
    assert not outcome.hit
    alert[221:261:2] = 1
    (outcome,) = judge_events(case, verdict_from_rows(recording, np.zeros(400), alert))
    assert outcome.hit


def test_events_inside_warm_up_do_not_count() -> None:
    recording = _recording()
    events = [window_event(recording, 5, 29), window_event(recording, 20, 30)]
    assert _case(events).events == (events[1],)


def test_an_event_without_rows_in_its_window_counts_as_missed() -> None:
    recording = _recording()
    event = failure_event(recording, 0, 150 * 10 * NANOSECONDS, 9.0, 5.0)
    assert event.last_row < event.first_row
    (outcome,) = judge_events(_case([event]), _verdict(recording, (140, 160)))
    assert not outcome.hit
    assert outcome.chance_on_machine == 0.0


def test_chance_is_what_random_alerts_hit() -> None:
    recording = _recording()
    event = window_event(recording, 100, 133)
    case = _case([event])
    verdict = _verdict(recording, *((row, row + 1) for row in (40, 60, 80, 150, 170)))
    (outcome,) = judge_events(case, verdict)
    random = np.random.default_rng(3)
    thrown = random.integers(30, _ROWS, (200_000, 5))
    hit = ((thrown >= 100) & (thrown <= 133)).any(axis=1).mean()
    assert outcome.chance_on_machine == pytest.approx(hit, abs=0.005)
    assert (outcome.window_rows, outcome.machine_rows, outcome.machine_alerts) == (34, 170, 5)


def test_the_promise_is_time_over_budget() -> None:
    assert budget_seconds("1/week") == 604_800.0
    assert budget_seconds("2/day") == 43_200.0
    assert promised(3.0, "1/week") == pytest.approx(3.0)
    assert promised(1.0, "1/day") == pytest.approx(7.0)
    for text in ("week", "0/week", "1/fortnight", "-1/day", "x/day"):
        with pytest.raises(ValueError, match="budget"):
            budget_seconds(text)


def test_spans_are_runs_per_machine() -> None:
    recording = _recording(2)
    alert = np.zeros(recording.row_count, np.int8)
    alert[[0, 2, 5, 398]] = 1
    spans = alert_spans(recording, alert)
    assert [(s.asset, s.fired_row, s.resolved_row) for s in spans] == [
        (0, 0, 4),
        (1, 5, 7),
        (0, 398, -1),
    ]


def test_a_column_of_the_wrong_length_is_refused() -> None:
    recording = _recording()
    with pytest.raises(ValueError, match="alert"):
        verdict_from_rows(recording, np.zeros(_ROWS), np.zeros(_ROWS - 1, np.int8))


def test_small_helpers() -> None:
    recording = _recording(2)
    assert row_seconds(recording) == _INTERVAL
    assert np.flatnonzero(first_quarter(recording, 1)).tolist() == list(range(1, 100, 2))
    labels = rows_of_events(10, [(0, 1), (4, 4), (8, 9)])
    assert windows_of(labels) == ((0, 1), (4, 4), (8, 9))
