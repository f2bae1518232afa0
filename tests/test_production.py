"""The live ledger and the live findings: laws, sums, sentences; quiet where no cycle is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly import accounts, ledger, production, snapshot
from anomaly.batches import Alert, ReadingBatch, reading_batch
from anomaly.config import ConfigError, MonitorConfig, parse
from anomaly.monitor import Monitor
from anomaly.registry import Registry

START = 1_700_000_000 * 10**9
SECOND = 10**9
SENSORS = ("state", "parts_count", "rejects_count", "energy_kilowatt_hours", "temperature")
CONFIG = parse({"budget": "1/week", "warm_up_rows": 200, "detectors": ["level"]})


def shift(
    seed: int, cycles: int, slower: float = 1.0, change: int = 0, scatter: float = 0.015
) -> tuple[np.ndarray, np.ndarray]:
    """Times in seconds and rows float64[n, 5] of a press on a 76 s line: a row at each event."""
    rng = np.random.default_rng(seed)
    rows, times, t, rejects, energy = [], [], 0.0, 0, 0.0
    for parts in range(cycles):
        factor = slower if change and parts >= change else 1.0
        length = 76.0 * factor * (1.0 + scatter * rng.normal())
        stop = rng.uniform(20.0, 90.0) if rng.random() < 0.02 else 0.0
        if stop:
            times.append(t + 0.3 * length)
            rows.append([2.0, parts, rejects, energy, 50.0 + rng.normal()])
            times.append(t + 0.3 * length + stop)
            rows.append([6.0, parts, rejects, energy + 0.001, 50.0 + rng.normal()])
        t += length + stop
        rejects += int(rng.random() < 0.02)
        energy += 0.4 * (1.0 + 0.02 * rng.normal())
        times.append(t)
        rows.append([6.0, parts + 1, rejects, energy, 50.0 + rng.normal()])
    return np.array(times), np.array(rows)


def batch(
    registry: Registry, names: dict[str, tuple[np.ndarray, np.ndarray]],
    sensors: tuple[str, ...] = SENSORS,
) -> ReadingBatch:
    """Wide rows of several assets in order of time."""
    asset, sensor, time_ns, value = [], [], [], []
    for name, (times, rows) in names.items():
        a = registry.asset(name)
        columns = registry.columns(a, sensors)
        asset.append(np.repeat(a, rows.size))
        sensor.append(np.tile(columns, len(rows)))
        time_ns.append(np.repeat(START + np.round(times * 1e9).astype(np.int64), rows.shape[1]))
        value.append(rows.ravel())
    order = np.argsort(np.concatenate(time_ns), kind="stable")
    width = len(sensors)
    closes = np.tile(np.arange(width) == width - 1, order.size // width)
    every = [np.concatenate(column)[order] for column in (asset, sensor, time_ns, value)]
    return reading_batch(*every, closes)


def cut(whole: ReadingBatch, edges: list[int]) -> Iterator[ReadingBatch]:
    for low, high in zip([0, *edges], [*edges, len(whole)], strict=True):
        yield ReadingBatch(*(getattr(whole, f.name)[low:high] for f in dataclasses.fields(whole)))


def losses(alerts: tuple[Alert, ...] | list[Alert]) -> list[Alert]:
    return [alert for alert in alerts if alert.kind in production.LOSS_KINDS]


@pytest.fixture(scope="module")
def slowed() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {"press": shift(1, 900, 1.02, 500), "saw": shift(2, 700)}


def test_two_per_cent_on_a_76_s_line_is_called_within_forty_cycles_in_a_sentence(
    slowed: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    registry = Registry()
    found = losses(Monitor(CONFIG, registry).process(batch(registry, slowed)).alerts)
    assert [a.asset for a in found] == ["press"]
    alert = found[0]
    assert (alert.kind, alert.state) == ("slow_cycle", "firing")
    times, rows = slowed["press"]
    called = rows[times <= (alert.time_ns - START) / 1e9][-1, 1]
    assert 500 < called <= 540
    assert alert.contributions[0].actual / alert.contributions[0].expected == pytest.approx(
        1.02, abs=0.008)
    assert "cycle time 77." in alert.sentence
    assert "parts a shift" in alert.sentence


def test_every_cycle_forty_per_cent_longer_is_a_slow_cycle_not_a_stop_each() -> None:
    registry = Registry()
    table = shift(11, 620, 1.4, 500)
    found = losses(Monitor(CONFIG, registry).process(batch(registry, {"press": table})).alerts)
    assert found[0].kind == "slow_cycle"


@pytest.mark.parametrize("language", ["en", "de", "es", "zh"])
def test_every_loss_has_a_sentence_in_every_language(language: str) -> None:
    from anomaly.explain import loss_sentence

    for kind in production.LOSS_KINDS:
        for state in ("firing", "resolved"):
            text = loss_sentence(language, kind, state, "press", START, 0.02, 0.04, 76.0, "kW")
            assert "press" in text
            assert "{" not in text
            assert text.endswith((".", "。"))


def test_any_split_and_any_restart_says_and_books_the_same(
    slowed: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    registry = Registry()
    whole = Monitor(CONFIG, registry)
    outcomes = [whole.process(batch(registry, slowed)), whole.flush()]
    expected = [repr(a) for o in outcomes for a in o.alerts]
    assert losses(outcomes[0].alerts)
    state = whole.state()
    for seed in range(4):
        registry = Registry()
        monitor = Monitor(CONFIG, registry)
        readings = batch(registry, slowed)
        edges = sorted(np.random.default_rng(seed).integers(0, len(readings), 9).tolist())
        said: list[str] = []
        for part in cut(readings, edges):
            said += [repr(a) for a in monitor.process(part).alerts]
            monitor, _ = snapshot.from_bytes(snapshot.to_bytes(monitor, {}), CONFIG)
        said += [repr(a) for a in monitor.flush().alerts]
        assert said == expected
        for component, arrays in monitor.state().items():
            for name, array in arrays.items():
                assert array.tobytes() == state[component][name].tobytes(), (component, name)


def test_what_one_asset_says_does_not_depend_on_the_others(
    slowed: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    registry = Registry()
    together = Monitor(CONFIG, registry).process(batch(registry, slowed)).alerts
    alone_registry = Registry()
    alone = Monitor(CONFIG, alone_registry).process(
        batch(alone_registry, {"press": slowed["press"]})).alerts
    assert [a for a in together if a.asset == "press"] == list(alone)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_sum_of_all_bookings_is_the_wall_time_always(data: st.DataObject) -> None:
    rows = data.draw(st.lists(
        st.tuples(st.integers(1, 4000), st.sampled_from([2.0, 5.0, 6.0, 17.0, np.nan]),
                  st.integers(0, 2), st.booleans()), min_size=2, max_size=60))
    steps = np.cumsum([row[0] for row in rows]).astype(float)
    table = np.full((len(rows), 5), np.nan)
    table[:, 0] = [row[1] for row in rows]
    table[:, 1] = np.cumsum([row[2] for row in rows])
    table[:, 4] = [1.0 if row[3] else np.nan for row in rows]
    registry = Registry()
    monitor = Monitor(CONFIG, registry)
    edges = np.array([START + 1000 * SECOND, START + 9000 * SECOND])
    monitor.shop.plan = accounts.Plan(
        ledger.Planned(np.array([0, 1]), edges[:1] + 7, edges[:1] + 500 * SECOND),
        edges[:1], edges[1:])
    readings = batch(registry, {"press": (steps, table)})
    place = data.draw(st.integers(0, len(readings)))
    for part in cut(readings, [place]):
        monitor.process(part)
        told = monitor.statement(0)
        if told is None:
            continue
        row = monitor.arrays()["ledger"]["asset_row"][0]
        wall = int(row["last_ns"] - row["first_ns"])
        assert int(told.total.booked_ns.sum()) == wall
        assert sum(int(account.booked_ns.sum()) for _, _, account in told.shifts) == wall
        assert sum(int(account.booked_ns.sum()) for _, _, account in told.products) == wall
        assert told.total.parts == sum(account.parts for _, _, account in told.products)
        assert told.total.parts == sum(account.parts for _, _, account in told.shifts)
        for start, end, account in told.shifts:
            assert int(account.booked_ns.sum()) <= end - start


def test_a_recording_without_cycles_costs_and_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    value = rng.normal(size=(900, 2))
    value[700:] += 6.0
    outcomes = []
    for config in (CONFIG, dataclasses.replace(
        CONFIG, losses=production.Config(enabled=False))):
        registry = Registry()
        a = registry.asset("pump")
        columns = registry.columns(a, ("state", "power"))  # tell no part by themselves
        monitor = Monitor(config, registry)
        readings = reading_batch(
            np.zeros(1800), np.tile(columns, 900), np.repeat(START + np.arange(900) * SECOND, 2),
            value.ravel(), np.tile([False, True], 900))
        outcomes.append(monitor.process(readings))
        assert monitor.statement(0) is None
        assert all(len(array) == 0 for array in monitor.arrays()["ledger"].values())
    assert outcomes[0].alerts == outcomes[1].alerts
    assert outcomes[0].alerts
    assert outcomes[0].scores.score.tobytes() == outcomes[1].scores.score.tobytes()


def test_one_line_names_a_counter_a_pulse_a_state_or_parts_per_row() -> None:
    times, rows = shift(5, 400)
    parts = np.diff(rows[:, 1], prepend=0.0)
    for line, signal in (
        ({"parts_sensor": "teile"}, rows[:, 1]),
        ({"parts_per_row_sensor": "teile"}, parts),
    ):
        registry = Registry()
        a = registry.asset("press")
        column = registry.columns(a, ("teile",))
        monitor = Monitor(parse({"losses": line, "detectors": ["level"]}), registry)
        monitor.process(reading_batch(
            np.zeros(times.size), np.tile(column, times.size),
            START + np.round(times * 1e9).astype(np.int64), signal, np.ones(times.size, np.bool_)))
        told = monitor.statement(0)
        assert told is not None
        assert told.total.parts in (399.0, 400.0)
        assert told.cycle_seconds == pytest.approx(76.0, rel=0.02)
    for line, low, high in (({"pulse_sensor": "takt"}, 0.0, 1.0),
                            ({"state_sensor": "takt", "cycle_state": 6}, 4.0, 6.0)):
        registry = Registry()
        a = registry.asset("press")
        column = registry.columns(a, ("takt",))
        monitor = Monitor(parse({"losses": line, "detectors": ["level"]}), registry)
        seconds = np.arange(0.0, 300 * 76.0, 2.0)
        signal = np.where(seconds % 76.0 < 10.0, high, low)
        monitor.process(reading_batch(
            np.zeros(seconds.size), np.tile(column, seconds.size),
            START + (seconds * 1e9).astype(np.int64), signal, np.ones(seconds.size, np.bool_)))
        told = monitor.statement(0)
        assert told is not None
        assert told.total.parts == 299.0


def test_a_counter_is_never_judged_as_a_level() -> None:
    registry = Registry()
    monitor = Monitor(CONFIG, registry)
    outcome = monitor.process(batch(registry, {"press": shift(6, 900)}))
    assert [a for a in outcome.alerts if a.state == "firing"] == []


def test_maintenance_begins_the_references_anew(
    slowed: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    registry = Registry()
    monitor = Monitor(CONFIG, registry)
    readings = batch(registry, {"press": slowed["press"]})
    first, rest = cut(readings, [5 * 620])
    fired = losses(monitor.process(first).alerts)
    assert [a.state for a in fired] == ["firing"]
    monitor.rebaseline(0)
    after = losses(monitor.process(rest).alerts)
    assert [a.state for a in after] == ["resolved"]
    assert after[0].id == fired[0].id


def changeover(slower: float, product: float) -> tuple[np.ndarray, np.ndarray]:
    """700 cycles, a changeover, 260 cycles ``slower`` times as long; the product number last."""
    times, rows = shift(7, 700)
    slow, more = shift(8, 260, slower, 1)
    more[:, 1:4] += rows[-1, 1:4]
    both = np.concatenate([rows, more])
    both[len(rows), 0] = 15.0  # resetting
    both[: len(rows), 4], both[len(rows) :, 4] = 7.0, product
    return np.concatenate([times, times[-1] + slow]), both


def named(monitor: Monitor, registry: Registry, sensor: str, table: tuple[np.ndarray, np.ndarray]
          ) -> list[str]:
    readings = batch(registry, {"press": table}, (*SENSORS[:4], sensor))
    return [a.kind for a in losses(monitor.process(readings).alerts) if a.state == "firing"]


def test_a_changeover_that_leaves_the_same_product_slow_is_named_so() -> None:
    registry = Registry()
    found = named(Monitor(CONFIG, registry), registry, "product", changeover(1.05, 7.0))
    assert found == ["rate_after_changeover"]


def test_another_product_is_no_alarm_whether_a_tag_tells_it_or_not() -> None:
    for sensor, product in (("product", 9.0), ("temperature", 7.0)):
        registry = Registry()
        assert named(Monitor(CONFIG, registry), registry, sensor, changeover(1.08, product)) == []


def test_a_product_that_no_tag_tells_is_recognised_when_it_comes_back() -> None:
    times, rows = changeover(1.08, 7.0)
    back, again = shift(9, 170, 1.04, 100)
    again[:, 1:4] += rows[-1, 1:4]
    again[0, 0] = 15.0
    table = np.concatenate([times, times[-1] + back]), np.concatenate([rows, again])
    registry = Registry()
    assert named(Monitor(CONFIG, registry), registry, "temperature", table) == ["slow_cycle"]


@pytest.mark.parametrize("table, words", [
    ({"budget_share": 1.5}, "losses.budget_share"),
    ({"states": ["2=dancing"]}, "losses.states"),
    ({"line": ["a", "a"]}, "losses.line"),
    ({"parts_sensr": "x"}, "did you mean"),
])
def test_settings_that_cannot_be_are_refused(table: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse({"losses": table})


def test_the_budget_is_shared_only_once_cycles_are_judged() -> None:
    config = MonitorConfig()
    assert 0.0 < config.losses.budget_share < 1.0
    registry = Registry()
    monitor = Monitor(CONFIG, registry)
    readings = batch(registry, {"press": shift(9, 400)})
    first, rest = cut(readings, [5 * 100])
    monitor.process(first)
    assert monitor.arrays()["production"]["asset_shop"]["judged"][0] == 0
    monitor.process(rest)
    assert monitor.arrays()["production"]["asset_shop"]["judged"][0] == 1


def test_a_machine_at_rest_is_not_judged_and_not_learned_from() -> None:
    """Rows of every second cycle's wait are passed over; the rows between them say the same."""
    rng = np.random.default_rng(3)
    count = 1200
    resting = np.arange(count) // 10 % 4 == 3
    table = np.full((count, 5), np.nan)
    table[:, 0] = np.where(resting, 2.0, 6.0)
    table[:, 1] = np.cumsum(~resting)
    table[:, 4] = np.where(resting, 20.0, 50.0 + rng.normal(size=count))
    times = np.arange(count) * 10.0
    registry = Registry()
    monitor = Monitor(CONFIG, registry)
    outcome = monitor.process(batch(registry, {"press": (times, table)}))
    began = np.zeros(count, np.bool_)
    began[1:] = resting[:-1] & ~resting[1:]
    passed = resting | began  # the row at which the run begins is a mean over the rest before it
    judged = ~np.isnan(outcome.scores.score)
    assert not judged[passed].any()
    assert judged[~passed].sum() > 500
    _, centre, high = monitor.expected(0)
    assert centre[4] == pytest.approx(50.0, abs=0.5)
    assert high[4] < 60.0
    assert not [alert for alert in outcome.alerts if alert.kind not in production.LOSS_KINDS]


def test_a_start_up_is_followed_and_nothing_told_for_as_long_as_the_rest_took() -> None:
    count = 1400
    resting = (np.arange(count) >= 900) & (np.arange(count) < 960)  # ten minutes
    since = np.maximum(np.arange(count) - 960.0, 0.0)  # back to usual within some minutes
    cold = 8.0 * np.exp(-since / 12.0) * (np.arange(count) >= 960)
    table = np.full((count, 5), np.nan)
    table[:, 0] = np.where(resting, 2.0, 6.0)
    table[:, 1] = np.cumsum(~resting)
    table[:, 4] = 50.0 - cold + np.random.default_rng(3).normal(size=count)
    registry = Registry()
    monitor = Monitor(CONFIG, registry)
    outcome = monitor.process(batch(registry, {"press": (np.arange(count) * 10.0, table)}))
    silent = np.flatnonzero(np.isnan(outcome.scores.score) & (np.arange(count) > 300))
    assert silent.tolist() == list(range(900, 961))  # the row at which it begins is still rest
    odd = [alert for alert in outcome.alerts if alert.kind not in production.LOSS_KINDS]
    assert not odd


def test_a_sensor_that_fails_while_its_machine_rests_is_told() -> None:
    count = 1600
    resting = np.arange(count) >= 900
    rng = np.random.default_rng(5)
    table = np.full((count, 5), np.nan)
    table[:, 0] = np.where(resting, 2.0, 6.0)
    table[:, 1] = np.cumsum(~resting)
    table[:, 3] = np.cumsum(rng.uniform(0.01, 0.02, count))  # others still say something
    table[:, 4] = np.where(np.arange(count) < 1000, 50.0 + rng.normal(size=count), np.nan)
    registry = Registry()
    monitor = Monitor(CONFIG, registry)
    outcome = monitor.process(batch(registry, {"press": (np.arange(count) * 10.0, table)}))
    told = [a for a in outcome.alerts if a.kind == "sensor_fault" and a.state == "firing"]
    assert [a.contributions[0].sensor for a in told] == ["temperature"]


def test_orders_prices_and_the_trend_are_in_the_statement() -> None:
    times, rows = shift(4, 700, 1.03, 400)
    half = np.where(np.arange(len(times)) < len(times) // 2, 71.0, 72.0)
    table = np.column_stack([rows, half])
    names = (*SENSORS[:-1], "temperature", "order")
    registry = Registry()
    monitor = Monitor(parse({
        "budget": "1/week", "warm_up_rows": 200, "detectors": ["level"],
        "losses": {"prices": {"per_hour": 60.0, "per_part": 2.0}}}), registry)
    readings = batch(registry, {"press": (times, table)}, names)
    for part in cut(readings, [len(readings) // 3]):
        monitor.process(part)
    told = monitor.statement(0)
    assert told is not None
    assert [(number, account.wall_seconds > 0.0) for number, _, account in told.orders] == [
        (71.0, True), (72.0, True)]
    booked = sum(int(account.booked_ns.sum()) for _, _, account in told.orders)
    assert booked == int(told.total.booked_ns.sum())
    assert sum(account.parts for _, _, account in told.orders) == told.total.parts
    levels = {kind: recent / usual for kind, usual, recent in told.trend}
    assert levels["slow_cycle"] == pytest.approx(1.03, abs=0.006)
    money = {loss.heading: loss.money for loss in told.total.losses(told.prices)}
    assert money["slow"] == pytest.approx(int(told.total.booked_ns[ledger.SLOW]) / 6e10)
    assert money["rejects"] == pytest.approx(2.0 * told.total.rejects)
    with pytest.raises(ConfigError, match="per_hour"):
        parse({"losses": {"prices": {"per_hour": -1.0}}})


def test_each_asset_has_its_own_shifts() -> None:
    hour = 3600 * SECOND
    registry = Registry()
    monitor = Monitor(CONFIG, registry)
    begin = START // hour * hour
    monitor.shop.plan = accounts.Plan(
        ledger.no_plan(), np.array([begin, begin + 6 * hour, begin]),
        np.array([begin + 6 * hour, begin + 12 * hour, begin + 12 * hour]),
        shift_offsets=np.array([0, 2, 3]))
    monitor.process(batch(registry, {"press": shift(1, 400), "saw": shift(2, 400)}))
    for a, expected in ((0, [begin, begin + 6 * hour]), (1, [begin])):
        told = monitor.statement(a)
        assert told is not None
        assert [start for start, _, _ in told.shifts] == expected
        assert sum(int(account.booked_ns.sum()) for _, _, account in told.shifts) == int(
            told.total.booked_ns.sum())


def test_where_no_state_is_told_a_machine_that_makes_no_parts_rests() -> None:
    """Rows in which nothing is made are neither learned nor judged: idle is another machine."""
    rng = np.random.default_rng(5)
    count = 1500
    made = np.where(np.arange(count) // 30 % 2 == 0, 5.0, 0.0)  # idle every other two hours
    power = np.where(made > 0.0, 2.0 + 0.1 * rng.normal(size=count), 0.0)
    config = parse({"budget": "1/week", "warm_up_rows": 200, "detectors": ["level"],
                    "losses": {"parts_per_row_sensor": "items"}})
    for parts, told in ((made, True), (np.full(count, np.nan), False)):
        registry = Registry()
        columns = registry.columns(registry.asset("press"), ("items", "power", "oil_celsius"))
        x = np.column_stack([parts, power, 40.0 + rng.normal(size=count)])
        monitor = Monitor(config, registry)
        outcome = monitor.process(reading_batch(
            np.zeros(x.size), np.tile(columns, count),
            np.repeat(START + np.arange(count) * 360 * SECOND, 3), x.ravel(),
            np.tile([False, False, True], count)))
        judged = ~np.isnan(outcome.scores.score[700:])
        assert judged[made[700:] == 0.0].any() != told
        assert judged[made[700:] > 0.0].sum() > 150
        low, centre, high = monitor.expected(0)
        assert (1.5 < low[1] < high[1] < 2.5) == told
        assert abs(centre[1] - 2.0) < 0.1 or not told


@pytest.mark.parametrize("settings", [
    {}, {"regimes": {"sensor": "product"}}, {"losses": {"product_sensor": "product"}}])
def test_a_product_tag_tells_the_operating_mode_too(settings: dict[str, object]) -> None:
    """Named or not: another product's heat is no alarm, and its production is booked."""
    rng = np.random.default_rng(1)
    count = 1800
    product = np.where(np.arange(count) // 100 % 2 == 0, 7.0, 9.0)
    heat = 40.0 + 8.0 * (product == 9.0) + rng.normal(size=count)
    heat[1500:] += 6.0
    x = np.column_stack([product, np.cumsum(np.ones(count)), heat, rng.normal(size=count)])
    registry = Registry()
    columns = registry.columns(
        registry.asset("press"), ("product", "parts_count", "oil_celsius", "pressure_bar"))
    monitor = Monitor(parse({"warm_up_rows": 600} | settings), registry)
    outcome = monitor.process(reading_batch(
        np.zeros(x.size), np.tile(columns, count),
        np.repeat(START + np.arange(count) * 60 * SECOND, 4), x.ravel(),
        np.tile([False, False, False, True], count)))
    assert "2 found" in next(c.detail for c in monitor.conditions() if not c.sensor)
    found = [a for a in outcome.alerts if a.state == "firing"]
    assert found[0].contributions[0].sensor == "oil_celsius"
    assert (found[0].time_ns - START) // (60 * SECOND) in range(1500, 1510)
    told = monitor.statement(0)
    assert told is not None
    assert sorted(number for number, _, _ in told.products) == [7.0, 9.0]
