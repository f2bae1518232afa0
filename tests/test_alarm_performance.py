"""The alarm system's own numbers against counts made by hand."""

from __future__ import annotations

import math

from anomaly.batches import Alert, Contribution
from streams.alarm_performance import DAY_NS, MINUTE_NS, AlarmRecord, source_of

SECOND_NS = 10**9
START_NS = 1_700_000_000 * SECOND_NS


def alert(
    number: int, at_ns: int, state: str = "firing", asset: str = "press", severity: str = "low",
) -> Alert:
    return Alert(f"id{number}", asset, "level", state, severity, at_ns, at_ns, 1e6,
                 (Contribution("speed", 1.0, 1.0, 2.0),), None, "")


def test_a_flood_is_more_than_ten_in_ten_minutes() -> None:
    record = AlarmRecord()
    for i in range(10):
        assert record.take(0, alert(i, START_NS + i * 30 * SECOND_NS))
    assert not record.numbers().flood
    record.take(0, alert(10, START_NS + 300 * SECOND_NS))
    assert record.numbers().flood
    assert record.numbers().last_ten_minutes == 11
    record.advance(START_NS + 600 * SECOND_NS)  # the first is ten minutes old
    assert record.numbers().last_ten_minutes == 10
    assert not record.numbers().flood
    assert record.numbers().last_day == 11


def test_a_day_is_forgotten_after_a_day() -> None:
    record = AlarmRecord()
    record.take(0, alert(1, START_NS, severity="high"))
    record.take(0, alert(2, START_NS + DAY_NS // 2, asset="saw"))
    assert record.numbers().critical_ratio == 0.5
    assert record.numbers().worst == (("press", 1), ("saw", 1))
    record.advance(START_NS + DAY_NS)
    numbers = record.numbers()
    assert (numbers.last_day, numbers.critical_ratio) == (1, 0.0)
    assert numbers.worst == (("saw", 1),)
    record.advance(START_NS + 2 * DAY_NS)
    assert math.isnan(record.numbers().critical_ratio)
    assert record.numbers().active == 2  # open until somebody says that they are over


def test_stale_is_active_over_a_day() -> None:
    record = AlarmRecord()
    record.take(0, alert(1, START_NS))
    record.advance(START_NS + DAY_NS)
    assert record.numbers().stale == 0
    record.advance(START_NS + DAY_NS + 1)
    assert record.numbers().stale == 1


def test_chattering_is_three_returns_within_a_minute() -> None:
    record = AlarmRecord()
    for i in range(3):
        at = START_NS + i * 25 * SECOND_NS
        record.take(0, alert(i, at))
        record.take(0, alert(i, at + 10 * SECOND_NS, "resolved"))
        assert record.numbers().chattering == (1 if i == 2 else 0)
    calm = AlarmRecord()
    for i in range(9):
        at = START_NS + i * 31 * SECOND_NS
        calm.take(0, alert(i, at))
        calm.take(0, alert(i, at + 10 * SECOND_NS, "resolved"))
    assert calm.numbers().chattering == 0
    record.advance(START_NS + MINUTE_NS + DAY_NS)
    assert record.numbers().chattering == 0


def test_the_same_alert_told_again_is_no_other() -> None:
    record = AlarmRecord()
    assert record.take(0, alert(1, START_NS))
    assert not record.take(0, alert(1, START_NS))
    assert record.numbers().last_day == 1
    assert not record.take(0, alert(7, START_NS, "resolved"))
    assert record.numbers().active == 1


def test_the_worst_ten_and_what_leaves_with_a_partition() -> None:
    record = AlarmRecord()
    for i in range(30):
        record.take(i % 2, alert(i, START_NS, asset=f"machine {i % 12:02d}"))
    worst = record.numbers().worst
    assert len(worst) == 10
    assert worst[0] == ("machine 00", 3)
    record.drop(1)
    assert record.numbers().active == 15
    record.restore(1, [alert(99, START_NS)])
    assert record.numbers().active == 16
    assert record.numbers().last_day == 30
    assert source_of(alert(1, START_NS)) == ("press", "level", "speed")


def test_order_of_arrival_does_not_matter() -> None:
    late, sorted_ = AlarmRecord(), AlarmRecord()
    alerts = [alert(i, START_NS + (i * 7919 % 1000) * SECOND_NS) for i in range(100)]
    for one in alerts:
        late.take(0, one)
    for one in sorted(alerts, key=lambda a: a.time_ns):
        sorted_.take(0, one)
    assert late.numbers().last_ten_minutes == sorted_.numbers().last_ten_minutes
