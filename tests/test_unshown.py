"""What waits to be shown is told as if it had been told batch by batch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from anomaly.batches import Outcome
from streams.unshown import ROWS_LIMIT, Unshown, joined
from tests import telemetry_stream
from tests.telemetry_stream import WARM_UP_ROWS, Line


def story(line: Line) -> list[Outcome]:
    """A warm-up, a fault and its end, in small batches."""
    lifts = [0.0] * (WARM_UP_ROWS // 10 + 4) + [9.0] * 4 + [0.0] * 6
    return [line.monitor.process(line.readings(10, lift)) for lift in lifts]


@pytest.mark.parametrize("portion", [2, 7, 100])
def test_what_is_told_late_is_what_would_have_been_told_at_once(portion: int) -> None:
    at_once, late = telemetry_stream.telemetry(), telemetry_stream.telemetry()
    one, other = Line(), Line()
    waiting, fired = Unshown(), 0
    for k, outcome in enumerate(story(one)):
        fired += sum(alert.state == "firing" for alert in outcome.alerts)
        at_once.observe(0, outcome, one.monitor)
        waiting.add(outcome, loud=True)
        if k % portion == portion - 1:
            for whole, loud in waiting.taken():
                late.observe(0, whole, other.monitor, loud)
    story(other)  # the same bits as ``one``'s by now
    for whole, loud in waiting.taken():
        late.observe(0, whole, other.monitor, loud)
    late.restore(0, [], other.monitor)
    at_once.restore(0, [], one.monitor)
    assert fired > 0
    assert list(waiting.taken()) == []

    def counters(text: bytes) -> list[str]:
        return [row for row in text.decode().splitlines() if row.startswith((
            "andon_rows", "andon_readings", "andon_alerts_total", "andon_asset_rows"))]

    assert counters(late.render()) == counters(at_once.render())
    assert len(counters(late.render())) > 3


def test_repetitions_and_news_are_told_apart_and_in_order() -> None:
    line = Line()
    waiting = Unshown()
    said = [line.monitor.process(line.readings(3)) for _ in range(5)]
    for outcome, loud in zip(said, (False, False, True, True, False), strict=True):
        waiting.add(outcome, loud)
    told = list(waiting.taken())
    assert [loud for _, loud in told] == [False, True, False]
    times = np.concatenate([whole.rows.time_ns for whole, _ in told])
    assert times.tolist() == np.concatenate([o.rows.time_ns for o in said]).tolist()


def test_rows_before_a_new_sensor_have_nothing_there() -> None:
    line = Line()
    first = line.monitor.process(line.readings(2))
    narrow = dataclasses.replace(
        first, rows=dataclasses.replace(first.rows, x=first.rows.x[:, :2].copy()))
    whole = joined([narrow, first])
    assert whole.rows.x.shape == (2 * len(first.rows), 3)
    assert np.isnan(whole.rows.x[: len(first.rows), 2]).all()
    assert whole.rows.x[len(first.rows):].tobytes() == first.rows.x.tobytes()
    assert whole.scores.score.size == whole.reason.size // 3 == 2 * len(first.rows)


def test_what_waits_is_bounded() -> None:
    line, waiting = Line(), Unshown()
    waiting.add(line.monitor.process(line.readings(ROWS_LIMIT // 3 + 2)), loud=True)
    assert waiting.is_full
