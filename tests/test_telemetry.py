"""What ``/metrics`` says against what the engine said, and what caps and partitions do to it."""

from __future__ import annotations

import math
import subprocess
import threading
import time

import numpy as np
import pytest

from anomaly import config
from anomaly.batches import reading_batch
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams import exposition, telemetry
from streams.losses_feed import OrderLosses, ShiftLosses
from streams.metrics_settings import MetricsSettings
from streams.telemetry import Telemetry
from tests import telemetry_stream
from tests.needed import needs_programs
from tests.telemetry_stream import ASSETS, ENGINE, SENSORS, WARM_UP_ROWS, Line


@pytest.fixture(autouse=True)
def fresh_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "SAME_TEXT_SECONDS", 0.0)


def seen(told: Telemetry) -> dict[str, float]:
    return exposition.parsed(told.render())


def test_conditions_are_those_of_the_engine_at_every_stage() -> None:
    told, line = telemetry_stream.telemetry(), Line()
    stages = set()
    for rows in (10, 60, 20, 30, 40):
        line.step(told, rows)
        found = seen(told)
        counts = dict.fromkeys(("warming", "learning", "trusted", "blind"), 0)
        for condition in line.monitor.conditions():
            if condition.sensor:
                counts[condition.state] += 1
            else:
                where = f'asset="{condition.asset}",condition="{condition.state}"'
                assert found[f"andon_asset_condition{{{where}}}"] == 1
                stages.add(condition.state)
        for state, count in counts.items():
            assert found[f'andon_sensors{{condition="{state}"}}'] == count
        assert sum(name.startswith("andon_asset_condition{") for name in found) == len(ASSETS)
    assert {"warming", "trusted"} <= stages


def test_before_anything_is_compiled_the_service_itself_is_told() -> None:
    told = Telemetry(MetricsSettings(), 7.0, warm=False)
    assert seen(told)["andon_ready"] == 0
    line = Line()
    line.step(told, 5)
    assert not any(name.startswith("andon_asset_") for name in seen(told))
    told.warm_up()
    assert seen(told)['andon_asset_rows_total{asset="saw"}'] == 5


def test_a_blind_sensor_is_told_of() -> None:
    told, line = telemetry_stream.telemetry(), Line()
    readings = line.readings(WARM_UP_ROWS + 5)
    readings.value[(readings.asset == 1) & (readings.sensor == 2)] = 4.0  # never changes
    told.observe(0, line.monitor.process(readings), line.monitor)
    found = seen(told)
    assert found['andon_asset_blind_sensors{asset="saw"}'] == 1
    assert found['andon_asset_blind_sensors{asset="press"}'] == 0
    assert found['andon_sensors{condition="blind"}'] == 1


def test_a_fault_is_seen_from_its_first_row_to_its_end() -> None:
    told, line = telemetry_stream.telemetry(), Line()
    line.step(told, WARM_UP_ROWS + 120)
    assert not any("andon_alert_active" in name for name in seen(told))
    outcome = line.step(told, 40, lift=30.0)
    fired = [a for a in outcome.alerts if a.state == "firing"]
    assert fired
    assert {a.asset for a in fired} == {"saw"}
    found = seen(told)
    active = [name for name in found if name.startswith("andon_alert_active")]
    assert len(active) == 1
    assert 'asset="saw"' in active[0]
    newest = {int(a): i for i, a in enumerate(outcome.rows.asset)}
    for a, name in enumerate(ASSETS):
        rarity = outcome.scores.return_period_s[newest[a]]
        assert found[f'andon_asset_return_period_seconds{{asset="{name}"}}'] == pytest.approx(
            rarity, rel=1e-10)
    low, centre, high = line.monitor.expected(1)
    for c, sensor in enumerate(SENSORS):
        place = f'{{asset="saw",sensor="{sensor}"}}'
        assert found[f"andon_sensor_value{place}"] == pytest.approx(line.latest[1, c], rel=1e-10)
        for bound, column in (("low", low), ("centre", centre), ("high", high)):
            series = f'andon_sensor_expected_value{{asset="saw",sensor="{sensor}",bound="{bound}"}}'
            assert found[series] == pytest.approx(column[c], rel=1e-10)
    shares = {name: v for name, v in found.items() if "andon_alert_contribution_ratio" in name}
    assert sum(shares.values()) == pytest.approx(1.0)
    assert sum(v for name, v in found.items() if name.startswith("andon_alerts_total")) == len(
        {a.id for a in fired})
    assert found["andon_alarms_active"] == 1
    outcome = line.step(told, 200)
    found = seen(told)
    assert [a.state for a in outcome.alerts][-1] == "resolved"
    assert not any(name.startswith("andon_alert_active") for name in found)
    assert 'andon_sensor_value{asset="saw",sensor="power"}' in found  # the recovery is to be seen
    line.step(told, 2000)
    assert not any("andon_sensor_value" in name for name in seen(told))


def test_every_reading_and_row_is_counted() -> None:
    told, line = telemetry_stream.telemetry(), Line()
    readings = line.readings(50)
    readings.value[7] = math.nan
    readings.value[9] = math.inf
    told.observe(0, line.monitor.process(readings), line.monitor)
    found = seen(told)
    by_reason = {name: v for name, v in found.items() if name.startswith("andon_readings_total")}
    assert sum(by_reason.values()) == len(readings)
    assert by_reason['andon_readings_total{partition="0",reason="missing"}'] == 1
    assert by_reason['andon_readings_total{partition="0",reason="not_finite"}'] == 1
    assert found['andon_rows_total{partition="0"}'] == 50 * len(ASSETS)
    assert found['andon_asset_rows_total{asset="oven"}'] == 50
    assert found['andon_event_timestamp_seconds{partition="0"}'] == 1_700_000_049


def test_the_batching_of_the_stream_changes_nothing_that_is_shown() -> None:
    whole, pieces = telemetry_stream.telemetry(), telemetry_stream.telemetry()
    one, other = Line(), Line()
    readings = one.readings(300, lift=0.0)
    whole.observe(0, one.monitor.process(readings), one.monitor)
    for start in range(0, len(readings), 63):
        part = slice(start, start + 63)
        piece = type(readings)(readings.asset[part], readings.sensor[part], readings.time_ns[part],
                               readings.value[part], readings.closes[part])
        pieces.observe(0, other.monitor.process(piece), other.monitor)
    differing = {name for name, value in seen(whole).items() if seen(pieces).get(name) != value}
    assert {name for name in differing if not name.startswith("process_")} <= {
        "andon_judged_seconds"}  # counted from the first batch that ends under judgement


def test_machines_beyond_the_cap_are_summed_up_and_counted() -> None:
    registry = Registry()
    names = ["a\"b", "other", "c\nd", "e", "f"]
    for name in names:
        registry.columns(registry.asset(name), ["x"])
    line = Line()
    line.registry, line.monitor = registry, Monitor(line.monitor.config, registry)
    told = telemetry_stream.telemetry(asset_limit=3)
    n = len(names)
    for i in range(4):
        readings = reading_batch(np.arange(n), np.zeros(n), np.full(n, (i + 1) * 10**9),
                                 np.arange(n) * 1.5 + i, np.ones(n, bool))
        told.observe(0, line.monitor.process(readings), line.monitor)
    found = seen(told)
    rows = {name: v for name, v in found.items() if name.startswith("andon_asset_rows_total")}
    assert rows == {'andon_asset_rows_total{asset="a\\"b"}': 4,
                    'andon_asset_rows_total{asset="c\\nd"}': 4,
                    'andon_asset_rows_total{asset="other"}': 12}
    assert found['andon_series_left_out{family="asset"}'] == 3


def test_a_partition_that_goes_takes_its_series_along() -> None:
    told, line = telemetry_stream.telemetry(), Line()
    line.step(told, WARM_UP_ROWS + 60)
    line.step(told, 40, lift=30.0)
    assert seen(told)["andon_alarms_active"] == 1
    told.drop(0)
    found = seen(told)
    assert found["andon_alarms_active"] == 0
    assert not [name for name in found if 'asset="' in name and "worst" not in name]
    line.step(told, 3)
    assert seen(told)['andon_asset_rows_total{asset="saw"}'] > 0


def test_a_partition_that_was_taken_over_is_shown_before_its_next_row() -> None:
    first, line = telemetry_stream.telemetry(), Line()
    line.step(first, WARM_UP_ROWS + 60)
    outcome = line.step(first, 40, lift=30.0)
    firing = [alert for alert in outcome.alerts if alert.state == "firing"][-1:]
    second = telemetry_stream.telemetry()
    second.restore(0, firing, line.monitor)
    before, after = seen(first), seen(second)
    for name, value in before.items():
        if name.startswith(("andon_asset_condition", "andon_sensors", "andon_assets",
                            "andon_alert_active", "andon_readings_total", "andon_alarms_active")):
            assert after[name] == value, name
    assert 'andon_asset_return_period_seconds{asset="saw"}' not in after  # no row, no opinion
    assert not any(name.startswith("andon_alerts_total{") for name in after)
    line.step(second, 1, lift=30.0)
    assert 'andon_sensor_value{asset="saw",sensor="power"}' in seen(second)
    second.restore(0, [], line.monitor)  # a transaction failed: what ran ahead is not true
    assert seen(second)["andon_alarms_active"] == 0


def test_what_was_counted_in_an_earlier_life_is_not_counted_again() -> None:
    told, line = telemetry_stream.telemetry(), Line()
    line.step(told, WARM_UP_ROWS + 60)
    outcome = line.monitor.process(line.readings(40, lift=30.0))
    told.observe(0, outcome, line.monitor, loud=False)
    found = seen(told)
    assert found["andon_alarms_active"] == 1
    assert not any(name.startswith("andon_alerts_total{") for name in found)


def test_sensors_of_the_list_are_always_in_view() -> None:
    told, line = telemetry_stream.telemetry(sensors=("pre*/speed",)), Line()
    line.step(told, 3)
    found = seen(told)
    assert found['andon_sensor_value{asset="press",sensor="speed"}'] == pytest.approx(
        line.latest[0, 0], rel=1e-10)
    assert not any('asset="oven"' in name for name in found if "sensor_value" in name)


def test_stages_make_histograms_and_losses_counters() -> None:
    told = telemetry_stream.telemetry()
    for seconds in (0.0005, 0.02, 0.02, 99.0):
        told.spent("process", seconds)
    told.take_losses("saw", {"micro_stop": 12.5})
    found = seen(told)
    assert found['andon_stage_seconds_bucket{stage="process",le="0.001"}'] == 1
    assert found['andon_stage_seconds_bucket{stage="process",le="0.03"}'] == 3
    assert found['andon_stage_seconds_bucket{stage="process",le="+Inf"}'] == 4
    assert found['andon_stage_seconds_sum{stage="process"}'] == pytest.approx(99.0405)
    assert found['andon_loss_seconds_total{asset="saw",heading="micro_stop"}'] == 12.5


def test_a_shift_gives_its_oee_its_money_and_the_trend() -> None:
    told = telemetry_stream.telemetry()
    told.take_shift("saw", ShiftLosses(
        0, 10**9, {"slow": 60.0}, 0.8, {"slow": 2.0}, {"slow": 50.0}, 0.9,
        (("slow_cycle", 76.0, 77.52),), (),
        (OrderLosses("4711", float("nan"), 0.0, 30.0), OrderLosses("4712", 0.75, 40.0, 60.0)),
        {"availability": 0.9}, {"slow": 7.0}, {"slow": 3.5}, {"no_data": 2.5}))
    told.take_shift("mill", ShiftLosses(0, 10**9, {"slow": 60.0}, float("nan")))
    found = seen(told)
    assert found['andon_shift_oee_ratio{asset="saw",shift="present"}'] == 0.8
    assert found['andon_shift_oee_ratio{asset="saw",shift="earlier"}'] == 0.9
    assert found['andon_shift_factor_ratio{asset="saw",factor="availability"}'] == 0.9
    assert found['andon_loss_money_total{asset="saw",heading="slow"}'] == 50.0
    assert found['andon_loss_parts_total{asset="saw",heading="slow"}'] == 7.0
    assert found['andon_loss_energy_total{asset="saw",heading="slow"}'] == 3.5
    assert found['andon_booked_seconds_total{asset="saw",heading="no_data"}'] == 2.5
    assert found['andon_reference_ratio{asset="saw",kind="slow_cycle"}'] == pytest.approx(1.02)
    assert not any('asset="mill"' in name for name in found if "shift_oee" in name)
    assert found['andon_order_lost_seconds{asset="saw",order="4711"}'] == 30.0
    assert found['andon_order_lost_seconds{asset="saw",order="4712"}'] == 60.0
    assert found['andon_order_oee_ratio{asset="saw",order="4712"}'] == 0.75
    assert found['andon_order_parts{asset="saw",order="4712"}'] == 40.0
    assert 'andon_order_oee_ratio{asset="saw",order="4711"}' not in found


@needs_programs("promtool")
def test_promtool_finds_nothing_to_say_against_the_names() -> None:
    told, line = telemetry_stream.telemetry(), Line()
    line.step(told, WARM_UP_ROWS + 60)
    line.step(told, 40, lift=30.0)
    told.spent("batch", 0.1)
    told.take_losses("saw", {"stop": 3.0})
    told.take_shift("saw", ShiftLosses(
        0, 10**9, {"slow": 60.0}, 0.8, {}, {"slow": 50.0}, 0.9, (("slow_cycle", 76.0, 77.5),),
        (), (OrderLosses("4711", 0.7, 40.0, 60.0),)))
    done = subprocess.run(["promtool", "check", "metrics"], input=told.render(),
                          capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def test_a_scrape_waits_for_no_compiler_and_no_engine() -> None:
    told, line = telemetry_stream.telemetry(), Line()
    line.step(told, 10)
    done, slowest = threading.Event(), [0.0]

    def scrape() -> None:
        while not done.is_set():
            started = time.perf_counter()
            assert b"andon_asset_rows_total" in told.render()
            slowest[0] = max(slowest[0], time.perf_counter() - started)
            time.sleep(0.1)

    scraper = threading.Thread(target=scrape)
    scraper.start()
    import numba

    @numba.njit
    def fresh(x: np.ndarray) -> float:
        order = np.argsort(x)
        return float(np.median(x) + np.linalg.norm(x[order]) + np.percentile(x, 10.0))

    fresh(np.random.default_rng(0).normal(size=100))
    for _ in range(20):
        line.step(told, 200)
    done.set()
    scraper.join()
    assert slowest[0] < 1.0


def test_a_sensor_that_only_counts_is_not_blind() -> None:
    """It has no reference and needs none: the ledger books it."""
    registry = Registry()
    registry.columns(registry.asset("press"), ("power", "parts_count"))
    monitor = Monitor(config.parse(ENGINE), registry)
    rows = WARM_UP_ROWS + 400
    value = np.random.default_rng(0).normal(5.0, 0.2, (rows, 2))
    value[:, 1] = np.arange(rows) // 3
    told = telemetry_stream.telemetry()
    told.observe(0, monitor.process(reading_batch(
        np.zeros(2 * rows, np.int64), np.tile([0, 1], rows),
        np.repeat(1_700_000_000 * 10**9 + np.arange(rows) * 10**9, 2), value.ravel(),
        np.tile([False, True], rows))), monitor)
    found = seen(told)
    assert found['andon_asset_blind_sensors{asset="press"}'] == 0
    assert found['andon_sensors{condition="blind"}'] == 0
    states = {c.sensor: (c.state, c.detail) for c in monitor.conditions()}
    assert states["parts_count"] == (states[""][0], "booked, not judged")
