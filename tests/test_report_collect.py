"""What a report keeps of a stream, bounded and against slow twins; and what it amounts to."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.batches import Alert, Float64, Int64, Outcome
from anomaly.evaluate import Failure, Window
from streams.report import ReportCollector
from streams.report.collector import CASE_LIMIT, grouped
from streams.report.timeline import FIRING, JUDGED, ROW, Timeline
from tests.report_stream import (
    DAY,
    HOUR,
    SECOND,
    START,
    Told,
    collected,
    life,
    outcome,
    registry,
    stream,
)

# -- the grid of the whole recording ----------------------------------------------------------


def naive_grid(
    batches: Sequence[Outcome], shift: int
) -> tuple[dict[tuple[int, int, int], tuple[float, float]], dict[tuple[int, int], int]]:
    """Per (asset, column, bucket) the extremes, per (asset, bucket) the flags, row by row."""
    cells: dict[tuple[int, int, int], tuple[float, float]] = {}
    flags: dict[tuple[int, int], int] = {}
    for batch in batches:
        for row in range(len(batch.rows)):
            asset, bucket = int(batch.rows.asset[row]), int(batch.rows.time_ns[row]) >> shift
            seen = ROW
            seen |= JUDGED if batch.scores.score[row] == batch.scores.score[row] else 0
            seen |= FIRING if batch.scores.alert[row] else 0
            flags[asset, bucket] = flags.get((asset, bucket), 0) | seen
            for column, value in enumerate(batch.rows.x[row]):
                if value == value:
                    low, high = cells.get((asset, column, bucket), (math.inf, -math.inf))
                    cells[asset, column, bucket] = (min(low, value), max(high, value))
    return cells, flags


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 3]), st.sampled_from([0.0, 0.1, 0.9]),
       st.integers(0, 60), st.booleans())
def test_timeline_equals_the_extremes_row_by_row(
    seed: int, assets: int, missing: float, log_step: int, backward: bool
) -> None:
    rng = np.random.default_rng(seed)
    names = registry([f"a{k}" for k in range(assets)], ["s", "t"])
    timeline = Timeline(cell_limit=8 * 128)
    batches = []
    now = int(rng.integers(-(2**60), 2**60))
    for _ in range(rng.integers(1, 6)):
        m = int(rng.integers(1, 400))
        steps = rng.integers(0, 1 + (1 << max(0, log_step - 10)), m)
        time_ns = now + np.cumsum(steps)
        now = int(time_ns[-1]) if not backward else now - int(steps.sum())
        x = rng.normal(size=(m, 2))
        x[rng.random((m, 2)) < missing] = np.nan
        score = np.where(rng.random(m) < 0.3, np.nan, 1.0)
        batches.append(outcome(rng.integers(0, assets, m), time_ns, x, (), score,
                               rng.integers(0, 2, m)))
        timeline.add(grouped(batches[-1]), names)
    found = timeline.flags(int(batches[0].rows.asset[0]))
    assert found is not None
    width = found[2]
    cells, flags = naive_grid(batches, width.bit_length() - 1)
    for asset in range(assets):
        for column in range(2):
            envelope = timeline.envelope(asset, column)
            drawn = {} if envelope is None else {
                (asset, column, int(t) // width): (low, high)
                for t, low, high in zip(envelope.time_ns, envelope.low, envelope.high, strict=True)
            }
            assert drawn == {k: v for k, v in cells.items() if k[:2] == (asset, column)}
        lane = timeline.flags(asset)
        assert lane is not None
        seen = {(asset, int(t) // width): int(f) for t, f in zip(*lane[:2], strict=True)}
        assert seen == {k: v for k, v in flags.items() if k[0] == asset}


def test_timeline_is_bounded_and_keeps_half_of_its_resolution() -> None:
    names = registry(["a"], ["s"])
    timeline = Timeline()
    for batch in range(300):
        time_ns = START + (np.arange(1_000) + 1_000 * batch) * SECOND
        rows = outcome(np.zeros(1_000, np.int64), time_ns, np.ones((1_000, 1)))
        timeline.add(grouped(rows), names)
    envelope = timeline.envelope(0, 0)
    assert envelope is not None
    assert timeline.buckets // 2 <= envelope.time_ns.size <= timeline.buckets


def test_more_sensors_mean_coarser_charts_and_then_sensors_without() -> None:
    names = registry(["a"], [f"s{k}" for k in range(30)])
    timeline = Timeline(cell_limit=128 * 20)
    time_ns = START + np.arange(1_000) * SECOND
    x = np.tile(np.arange(30.0), (1_000, 1))
    timeline.add(grouped(outcome(np.zeros(1_000, np.int64), time_ns, x)), names)
    drawn = [column for column in range(30) if timeline.tracked(0, column)]
    assert timeline.buckets == 128
    assert drawn == list(range(20))
    for column in drawn:
        envelope = timeline.envelope(0, column)
        assert envelope is not None
        assert set(envelope.low) == set(envelope.high) == {float(column)}


def test_rows_in_order_are_not_copied_and_others_are_sorted() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 2))
    ordered = outcome(np.zeros(6, np.int64), START + np.arange(6), x)
    assert np.shares_memory(grouped(ordered).x, x)
    asset, time_ns = np.array([1, 0, 1, 0, 1, 0]), START + np.array([5, 9, 3, 8, 4, 7])
    groups = grouped(outcome(asset, time_ns, x))
    assert groups.asset.tolist() == [0, 1]
    assert (groups.time_ns - START).tolist() == [7, 8, 9, 3, 4, 5]
    assert np.array_equal(groups.x, x[[5, 3, 1, 2, 4, 0]])


# -- close-ups ----------------------------------------------------------------------------------


def closeup_of(begin: int, end: int | None, rows: int, batch: int) -> tuple[Int64, Float64, int]:
    """(row numbers, highs, rows a cell) of the close-up of an alert at rows begin..end of ramps."""
    collector = ReportCollector(registry(["a"], ["s", "t"]), 1.0, (), "x")
    monitor = Told(collector.registry)
    x = np.stack([np.arange(rows, dtype=float), -np.arange(rows, dtype=float)], axis=1)
    time_ns = START + np.arange(rows) * SECOND
    alerts = life("a", START + begin * SECOND, None if end is None else START + end * SECOND, ["t"])
    for low in range(0, rows, batch):
        part = slice(low, low + batch)
        now = [a for a in alerts if low <= (a.time_ns - START) // SECOND < low + batch]
        collector.collect(outcome(np.zeros(rows, np.int64)[part], time_ns[part], x[part], now),
                          monitor)
    case = next(iter(collector.cases.values()))
    assert case.closeup is not None
    case.closeup.finish()
    envelope = case.closeup.envelope(1, 1e9)
    assert case.closeup.envelope(0, 1e9) is None  # only the sensor that was blamed
    assert envelope is not None
    return (envelope.time_ns - START) // SECOND, -envelope.low, envelope.width_ns // SECOND


@pytest.mark.parametrize("batch", [50, 1_000, 100_000])
def test_a_short_alert_is_seen_row_by_row_wherever_batches_are_cut(batch: int) -> None:
    row, value, cell = closeup_of(20_000, 20_010, 40_000, batch)
    assert cell == 1
    assert row.tolist() == list(range(20_000 - 96, 20_011 + 32))
    assert value.tolist() == row.tolist()


def test_a_long_alert_merges_cells_but_loses_no_extreme() -> None:
    row, value, cell = closeup_of(5_000, 95_000, 130_000, 4_000)
    assert row.size <= 384
    assert cell >= 256
    assert row[0] <= 5_000
    assert row[-1] >= 95_000
    following = np.append(row[1:], value[-1] + 1)
    assert np.array_equal(value, following - 1)  # the last row of every cell is its highest


def test_an_alert_still_open_at_the_end_has_a_closeup() -> None:
    row, _, _ = closeup_of(900, None, 1_000, 100)
    assert row[-1] == 999


# -- what is counted ------------------------------------------------------------------------------


def test_summary_counts_rows_judged_time_and_gaps() -> None:
    collector = collected(absent=(500, 800))
    summary = collector.summary()
    steps = 20 * 144
    assert (summary.rows, summary.readings) == (2 * steps - 300, 3 * (2 * steps - 300))
    assert (summary.first_ns, summary.last_ns) == (START, START + (steps - 1) * 600 * SECOND)
    # Asset 0 has a gap of 300 rows and the step across it: no time passes there.
    assert summary.gap_seconds == pytest.approx(301 * 600)
    assert summary.judged_seconds == pytest.approx((2 * (steps - 100) - 301) * 600)
    assert summary.rejected == (("late", 3),)


@pytest.mark.parametrize("batch", [60, 700, 10**6])
def test_summary_does_not_depend_on_how_batches_are_cut(batch: int) -> None:
    failures = [Failure("press-1", START + 15 * DAY, "stop")]
    alerts = life("press-1", START + 14 * DAY, START + 15 * DAY, ["oil"])
    reference = collected(failures=failures, alerts=alerts, absent=(500, 800)).summary()
    other = collected(failures=failures, alerts=alerts, absent=(500, 800), batch=batch).summary()
    close = {"judged_seconds", "gap_seconds", "alerts_per_week", "interval", "warned"}
    for item in dataclasses.fields(reference):
        if item.name not in close:
            assert getattr(other, item.name) == getattr(reference, item.name)
    assert other.judged_seconds == pytest.approx(reference.judged_seconds)
    assert reference.warned is not None
    assert other.warned is not None
    assert other.warned.leads == reference.warned.leads


def test_time_in_which_alerts_were_muted_is_not_judged() -> None:
    collector = ReportCollector(registry(["a"], ["s"]), 1.0, (), "x")
    muted = Told(collector.registry, {"a": ("learning", "50/100 rows")})
    time_ns = START + np.arange(100) * 60 * SECOND
    zeros = np.zeros(50, np.int64)
    collector.collect(outcome(zeros, time_ns[:50], np.ones((50, 1))), muted)
    assert collector.summary().judged_seconds == 0.0
    collector.collect(outcome(zeros, time_ns[50:], np.ones((50, 1))), Told(collector.registry))
    assert collector.summary().judged_seconds == pytest.approx(50 * 60)


def test_alerts_about_data_are_not_held_against_the_budget() -> None:
    alerts = life("press-1", START + 5 * DAY, START + 6 * DAY, ["oil"], "sensor_fault", "low")
    alerts += life("press-1", START + 7 * DAY, START + 8 * DAY, ["oil"])
    summary = collected(alerts=alerts).summary()
    assert (summary.alerts, summary.data_alerts, summary.by_severity) == (1, 1, (("medium", 1),))


def test_failures_are_judged_and_the_reason_for_a_miss_is_said() -> None:
    at = [START + round(days * DAY) for days in (0.3, 10, 15)]
    failures = [Failure("press-1", at[0], "stop"), Failure("press-1", at[1], "stop"),
                Failure("saw-2", at[2], "stop"), Failure("nobody", at[2], "stop")]
    alerts = life("press-1", at[1] - 22_200 * SECOND, at[1], ["oil"])
    alerts += life("saw-2", START + 5 * DAY, START + 5 * DAY + HOUR, ["oil"])
    summary = collected(failures=failures, alerts=alerts, window=Window(86_400.0)).summary()
    warned = summary.warned
    assert warned is not None
    assert [lead.verdict for lead in warned.leads] == ["missed", "warned", "missed"]
    assert warned.reasons == ("the engine was still learning this machine", "", "")
    assert [failure.asset for failure in warned.outside] == ["nobody"]
    assert [firing.asset for firing in warned.false_alarms] == ["saw-2"]
    lines = "\n".join(summary.lines())
    assert "2 alerts in 20 d on 2 machines; 1 of 3 stops announced, 6 h 10 min ahead." in lines
    assert "Would have warned 6 h 10 min before the stop of press-1 on 11 Mar 2024 00:00." in lines
    assert "\u00a0" not in lines


def test_an_alert_about_a_loss_is_no_false_alarm() -> None:
    failure = Failure("press-1", START + 15 * DAY, "stop")
    alerts = life("saw-2", START + 5 * DAY, START + 5 * DAY + HOUR, ["motor"], kind="slow_cycle")
    summary = collected(failures=[failure], alerts=alerts).summary()
    assert summary.warned is not None
    assert summary.warned.false_alarms == ()
    assert "Not counted: 1\u00a0alert about losses" in summary.promise()


def test_an_interruption_that_is_expected_is_told_apart_and_held_against_nothing() -> None:
    alerts = life("press-1", START + 3 * DAY, START + 3 * DAY + HOUR, ["oil"])
    alerts += life(
        "saw-2", START + 5 * DAY, START + 5 * DAY + HOUR, ["motor"], kind="stop_expected")
    summary = collected(alerts=alerts).summary()
    assert (summary.alerts, summary.stops_announced) == (1, 1)
    assert summary.headline().replace("\u00a0", " ") == (
        "1 alert in 20 d on 2 machines, and 1 interruption expected at equal times.")
    failure = Failure("saw-2", START + 5 * DAY + 2 * HOUR, "stop")
    warned = collected(
        failures=[failure, Failure("saw-2", START + 12 * DAY, "stop")], alerts=alerts,
        window=Window(86_400.0)).summary().warned
    assert warned is not None
    assert [lead.verdict for lead in warned.leads] == ["warned", "missed"]
    assert [firing.asset for firing in warned.false_alarms] == ["press-1"]
    assert warned.stops == 1


def test_the_default_window_is_said_and_follows_from_the_judged_time() -> None:
    failures = [Failure("press-1", START + day * DAY) for day in (5, 9, 13, 17)]
    summary = collected(failures=failures).summary()
    assert summary.warned is not None
    expected = 0.2 * (summary.judged_seconds / 2) / 4  # one of the two machines failed
    assert summary.warned.window.horizon_seconds == pytest.approx(expected)
    assert summary.warned.window_is_default


def test_the_headline_says_what_chance_would_have_reached_where_that_is_much() -> None:
    failures = [Failure("press-1", START + 15 * DAY, "bearing_wear")]
    alerts = [alert for day in (3, 5, 7, 11, 13)
              for alert in life("press-1", START + day * DAY, START + day * DAY + HOUR, ["oil"])]
    headline = collected(failures=failures, alerts=alerts).summary().headline()
    told = headline.replace("\u00a0", " ")
    assert "1 of 1 bearing wear announced, 4 d ahead (as many alerts at random: 89 %)." in told


@pytest.mark.parametrize(
    "alerts, seconds_per_alert, verdict",
    [(0, 0, "agrees with the promise, as far as so few"), (40, DAY // 3, "more than promised")],
)
def test_the_promise_is_judged_with_its_uncertainty(
    alerts: int, seconds_per_alert: int, verdict: str
) -> None:
    lives: list[Alert] = []
    for k in range(alerts):
        begin = START + 2 * DAY + k * seconds_per_alert
        lives += life("press-1", begin, begin + HOUR, ["oil"])
    collector = collected(assets=["press-1"], alerts=lives)
    assert verdict in collector.summary().promise()


def test_nothing_judged_is_said_and_not_called_healthy() -> None:
    collector = ReportCollector(registry(["a", "b"], ["s"]), 1.0, (), "x")
    warming = {name: ("warming", f"{rows}/500 rows") for name, rows in (("a", 40), ("b", 60))}
    warming |= {f"{name}/s": ("warming", "40/500 rows") for name in "ab"}
    stream(collector, Told(collector.registry, warming), days=1, warming=10**6)
    summary = collector.summary()
    assert summary.headline().replace("\u00a0", " ") == (
        "Nothing was judged in 23 h 50 min: a is warming (40/500 rows) and b is warming "
        "(60/500 rows)."
    )
    assert "was not tested" in summary.promise()


def test_cases_are_bounded_and_the_rest_counted() -> None:
    collector = ReportCollector(registry(["a"], ["s"]), 1.0, (), "x")
    alerts = [
        dataclasses.replace(life("a", START, None, ["s"])[1], id=str(k))
        for k in range(CASE_LIMIT + 7)
    ]
    collector.collect(outcome(np.zeros(2, np.int64), START + np.arange(2), np.ones((2, 1)), alerts),
                      Told(collector.registry))
    assert len(collector.cases) == CASE_LIMIT
    assert collector.summary().alerts == CASE_LIMIT + 7
    assert sum(case.closeup is not None for case in collector.cases.values()) <= 160
