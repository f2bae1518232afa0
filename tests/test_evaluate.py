"""The rules by which alerts are judged, against slow twins that read like the rules."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly import evaluate
from anomaly.batches import Alert
from anomaly.evaluate import OPEN_NS, Failure, Firing, Window

HOUR = 3_600 * 10**9
WINDOW = Window(horizon_seconds=10 * 3_600.0, minimum_seconds=3_600.0, aftermath_seconds=7_200.0)


def firing(begin_hours: float, end_hours: float | None = None, asset: str = "a") -> Firing:
    end = OPEN_NS if end_hours is None else round(end_hours * HOUR)
    begin = round(begin_hours * HOUR)
    return Firing(f"{asset}@{begin_hours}", asset, "level", "warning", begin, end)


def transition(identity: str, state: str, hours: float, severity: str = "warning") -> Alert:
    return Alert(identity, "a", "level", state, severity, 0, round(hours * HOUR), 1.0, (), None, "")


def test_an_alert_begins_at_firing_and_not_at_its_onset_or_pending() -> None:
    transitions = [transition("x", "pending", 1), transition("x", "firing", 2),
                   transition("x", "firing", 3, "critical"), transition("x", "resolved", 5)]
    assert evaluate.firings(transitions) == [
        Firing("x", "a", "level", "critical", 2 * HOUR, 5 * HOUR)
    ]


def test_pending_that_never_fires_is_no_alert_and_unresolved_stays_open() -> None:
    transitions = [transition("x", "pending", 1), transition("x", "resolved", 2),
                   transition("y", "firing", 3)]
    assert [(f.id, f.end_ns) for f in evaluate.firings(transitions)] == [("y", OPEN_NS)]


@pytest.mark.parametrize(
    "begin, verdict",
    [(89.99, "standing"), (90.0, "warned"), (99.0, "warned"), (99.01, "missed"), (101.0, "missed")],
)
def test_edges_of_the_window(begin: float, verdict: str) -> None:
    lead, = evaluate.lead_times([firing(begin, begin + 5)], [Failure("a", 100 * HOUR)], WINDOW)
    assert lead.verdict == verdict
    expected = (100 - begin) * 3_600 if verdict == "warned" else math.nan
    assert lead.lead_seconds == pytest.approx(expected, nan_ok=True)


def test_a_resolved_alert_before_the_window_is_not_standing_and_other_assets_do_not_count() -> None:
    raised = [firing(50, 60), firing(95, 96, asset="b")]
    lead, = evaluate.lead_times(raised, [Failure("a", 100 * HOUR)], WINDOW)
    assert (lead.verdict, lead.firing) == ("missed", None)


def test_the_earliest_alert_in_the_window_is_the_warning() -> None:
    raised = [firing(98, 99), firing(92, 93), firing(80, 85)]
    lead, = evaluate.lead_times(raised, [Failure("a", 100 * HOUR)], WINDOW)
    assert lead.firing == raised[1]
    assert evaluate.median_lead_seconds([lead]) == 8 * 3_600
    assert evaluate.event_recall([lead]) == (1, 1)


def test_the_aftermath_is_neither_a_warning_nor_a_false_alarm() -> None:
    failures = [Failure("a", 100 * HOUR)]
    raised = [firing(99.5), firing(101), firing(102.5)]
    assert evaluate.lead_times(raised, failures, WINDOW)[0].verdict == "missed"
    assert evaluate.false_alarms(raised, failures, WINDOW) == [raised[2]]


instants = st.integers(0, 200)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(instants, instants, st.sampled_from("ab")), max_size=12),
       st.lists(st.tuples(instants, st.sampled_from("ab")), max_size=8))
def test_verdicts_and_false_alarms_equal_the_rules_read_aloud(
    alerts: list[tuple[int, int, str]], stops: list[tuple[int, str]]
) -> None:
    raised = [firing(begin, begin + length, asset) for begin, length, asset in alerts]
    failures = [Failure(asset, hours * HOUR) for hours, asset in stops]
    for lead, failure in zip(
        evaluate.lead_times(raised, failures, WINDOW), failures, strict=True
    ):
        own = [f for f in raised if f.asset == failure.asset]
        inside = [f for f in own
                  if failure.time_ns - 10 * HOUR <= f.begin_ns <= failure.time_ns - HOUR]
        open_before = [f for f in own
                       if f.begin_ns < failure.time_ns - 10 * HOUR <= f.end_ns]
        assert lead.verdict == ("warned" if inside else "standing" if open_before else "missed")
        if inside:
            earliest = min(f.begin_ns for f in inside)
            assert lead.lead_seconds == (failure.time_ns - earliest) / 1e9
    wrong = [f for f in raised if not any(
        s.asset == f.asset and s.time_ns - 10 * HOUR <= f.begin_ns <= s.time_ns + 2 * HOUR
        for s in failures)]
    assert evaluate.false_alarms(raised, failures, WINDOW) == wrong


@settings(max_examples=100, deadline=None)
@given(st.lists(instants, max_size=8))
def test_healthy_time_is_what_no_window_covers(stops: list[int]) -> None:
    failures = [Failure("a", hours * HOUR) for hours in stops]
    judged = {"a": (20 * HOUR, 180 * HOUR)}
    healthy = evaluate.healthy_seconds(judged, {"a": 80 * 3_600.0}, failures, WINDOW)
    hours = [h for h in range(20, 180)
             if not any(stop - 10 <= h < stop + 2 for stop in stops)]
    # Half of the span was judged (the rest gaps), so half of every uncovered hour counts.
    assert healthy == pytest.approx(len(hours) * 1_800.0)


def test_chance_recall_is_what_random_alerts_reach() -> None:
    generator = random.Random(0)
    failures = [Failure("a", hours * HOUR) for hours in (40, 100, 160)]
    judged = {"a": (0, 200 * HOUR)}
    hits = 0
    for _ in range(2_000):
        raised = [firing(generator.uniform(0, 200)) for _ in range(5)]
        hits += evaluate.event_recall(evaluate.lead_times(raised, failures, WINDOW))[0]
    chance = evaluate.chance_recall(raised, failures, WINDOW, judged)
    assert chance == pytest.approx(hits / 6_000, abs=0.02)
    assert chance == pytest.approx(1 - (1 - 9 / 200) ** 5)


def test_chance_recall_of_an_asset_never_judged_is_zero_and_without_failures_nan() -> None:
    assert evaluate.chance_recall([firing(1)], [Failure("a", HOUR)], WINDOW, {}) == 0.0
    assert math.isnan(evaluate.chance_recall([firing(1)], [], WINDOW, {}))


def test_rates() -> None:
    assert evaluate.per_week(3, 2 * evaluate.WEEK_SECONDS) == 1.5
    assert math.isnan(evaluate.per_week(3, 0.0))
    assert evaluate.achieved_over_promised(3, 2 * evaluate.WEEK_SECONDS, 3.0) == 0.5
    # Garwood's tabulated limits for 0, 1 and 10 events.
    for count, low, high in ((0, 0.0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.39)):
        interval = evaluate.per_week_interval(count, evaluate.WEEK_SECONDS)
        assert interval == pytest.approx((low, high), rel=1e-3)
    assert np.isnan(evaluate.per_week_interval(1, 0.0)).all()


def test_windows_that_make_no_sense_are_refused() -> None:
    for horizon, minimum, aftermath in ((1.0, 2.0, 0.0), (1.0, -1.0, 0.0), (1.0, 0.0, -1.0)):
        with pytest.raises(ValueError, match="horizon >= minimum"):
            Window(horizon, minimum, aftermath)
