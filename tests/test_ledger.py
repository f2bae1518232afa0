"""The ledger: exact sums always, the same however cut, equal to its naive twin and to the truth."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly import ledger, states
from anomaly.errors import ConfigError
from streams.simulate import (
    TWO_SHIFTS,
    Injection,
    LineConfig,
    Product,
    ProductRun,
    default_stations,
)
from streams.simulate import booked_seconds as true_headings
from streams.simulation import calendar
from tests.naive import ledger as naive
from tests.simulated_line import HOUR, Recording

SECOND = 1_000_000_000
CONFIG = ledger.Config(micro_stop_seconds=20.0, hold_seconds=60.0)


def observations(rows: list[tuple[int, int, int, float]]) -> ledger.Observations:
    """(asset, time_ns, state, parts) as columns, without energy and rejects."""
    table = list(zip(*rows, strict=True)) if rows else [(), (), (), ()]
    none = np.full(len(rows), np.nan)
    return ledger.Observations(
        np.array(table[0], np.int64), np.array(table[1], np.int64), np.array(table[2], np.int8),
        np.zeros(len(rows), np.int64), np.array(table[3], np.float64), none, none)


def part(rows: ledger.Observations, piece: slice) -> ledger.Observations:
    return ledger.Observations(*(getattr(rows, name)[piece] for name in rows.__slots__))


def booked(
    rows: ledger.Observations, config: ledger.Config, planned: ledger.Planned, assets: int,
    nominal: float = 0.0, cuts: tuple[int, ...] = (),
) -> np.ndarray:
    state = ledger.allocate(config, assets)
    if nominal:
        for asset in range(assets):
            ledger.set_nominal(state, asset, 0, nominal)
    bounds = [0, *sorted(cuts), rows.asset.size]
    found = [
        ledger.run(config, state, planned, part(rows, slice(a, b))).segments
        for a, b in itertools.pairwise(bounds)
    ]
    return np.concatenate([*found, ledger.flush(config, state, planned)])


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[tuple[int, int, int, float]], ledger.Planned]:
    """Rows of two assets at any times, forwards and backwards, counters that reset; a calendar."""
    row = st.tuples(
        st.integers(0, 1), st.integers(-3 * SECOND, 200 * SECOND), st.integers(-1, 7),
        st.one_of(st.just(math.nan), st.integers(0, 3).map(float)))
    at, made = [10 * SECOND, 10 * SECOND], [0.0, 0.0]
    rows = []
    for asset, step, state, increase in draw(st.lists(row, max_size=60)):
        at[asset] += step
        made[asset] = 0.0 if increase == 3.0 else made[asset] + increase
        rows.append((asset, at[asset], state, made[asset]))
    edges = sorted(draw(st.sets(st.integers(0, 4000 * SECOND), max_size=8)))
    edges = edges[: len(edges) // 2 * 2]
    start, end = np.array(edges[::2], np.int64), np.array(edges[1::2], np.int64)
    offsets = np.array([0, start.size, 2 * start.size], np.int64)
    return rows, ledger.Planned(offsets, np.tile(start, 2), np.tile(end, 2))


@settings(max_examples=300, deadline=None)
@given(streams(), st.sampled_from([0.0, 7.0]), st.lists(st.integers(0, 60), max_size=3))
def test_the_sum_is_the_wall_time_however_the_stream_is_cut(
    stream: tuple[list[tuple[int, int, int, float]], ledger.Planned], nominal: float,
    cuts: list[int],
) -> None:
    rows, planned = stream
    found = booked(observations(rows), CONFIG, planned, 2, nominal)
    for asset in (0, 1):
        own = found[found["asset"] == asset]
        times = [t for a, t, _, _ in rows if a == asset]
        if not times:
            assert own.size == 0
            continue
        wall, first = 0, times[0]
        for t in times:
            wall = max(wall, t - first)
        assert int((own["end_ns"] - own["start_ns"]).sum()) == wall
        assert ledger.account(own, np.zeros((2, 16), np.int64)).booked_ns.sum() == wall
        if wall:
            assert own["start_ns"][0] == first
            assert np.array_equal(own["start_ns"][1:], own["end_ns"][:-1])
            assert (own["end_ns"] > own["start_ns"]).all()
            assert (own["heading"][1:] != own["heading"][:-1]).all()
    inside = tuple(min(cut, len(rows)) for cut in cuts)
    again = booked(observations(rows), CONFIG, planned, 2, nominal, inside)
    assert sorted(again.tolist()) == sorted(found.tolist())


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(
        st.integers(1, 90), st.integers(-1, 7),
        st.one_of(st.just(math.nan), st.integers(0, 3).map(float))),
        min_size=1, max_size=30),  # fewer counts than a nominal is learned from
    st.sampled_from([0, 7]), st.booleans(),
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 80)), max_size=2),
)
def test_the_headings_are_those_of_the_naive_twin(
    steps: list[tuple[int, int, float]], nominal: int, counted: bool,
    offs: list[tuple[int, int]],
) -> None:
    # Steps above the hold change what the usual interval is; the twin keeps the first.
    steps = [(5 if length <= 60 else length, said, made) for length, said, made in steps]
    second, total = 0, 0.0 if counted else math.nan
    rows: list[naive.Row] = [(0, -1, total)]
    for length, said, made in [(5, -1, 0.0), *steps]:
        second += length
        if length > 60:  # the median would move
            second += 5 - length
        total += 0.0 if math.isnan(made) else made
        rows.append((second, said, total))
    spans: list[tuple[int, int]] = []
    for start, length in sorted(offs):
        begin = max(start, spans[-1][1] if spans else 0)
        spans.append((begin, begin + length))
    plan = ledger.Planned(
        np.array([0, len(spans)], np.int64),
        np.array([s * SECOND for s, _ in spans], np.int64),
        np.array([e * SECOND for _, e in spans], np.int64))
    found = booked(
        observations([(0, t * SECOND, s, p) for t, s, p in rows]), CONFIG, plan, 1, float(nominal))
    names = [
        ledger.HEADINGS[row["heading"]]
        for row in found for _ in range((row["end_ns"] - row["start_ns"]) // SECOND)
    ]
    assert names == naive.book(rows, nominal, 20, 60, spans)


def test_a_gap_is_no_data_from_where_the_last_row_stopped_to_hold() -> None:
    rows = [(0, t * SECOND, states.PRODUCING, float(t)) for t in range(0, 50, 5)]
    rows += [(0, t * SECOND, states.PRODUCING, float(t)) for t in range(500, 520, 5)]
    found = booked(observations(rows), CONFIG, ledger.no_plan(), 1, 5.0)
    assert [(ledger.HEADINGS[r["heading"]], r["start_ns"] // SECOND, r["end_ns"] // SECOND)
            for r in found] == [("at_rate", 0, 50), ("no_data", 50, 500), ("at_rate", 500, 515)]


def line_with_everything() -> tuple[LineConfig, Recording]:
    config = LineConfig(
        stations=default_stations(5), products=(Product("A"), Product("B", 1.1, 1.1, 1.05)),
        product_runs=(ProductRun(4 * HOUR, 1),), shifts=TWO_SHIFTS, seed=3,
        duration_seconds=9 * HOUR)
    injections = (
        Injection("unplanned_stop", 2, 9000.0, 900.0, 1.0),
        Injection("data_gap", 1, 7300.0, 600.0, 1.0),
        Injection("micro_stops", 1, 18_100.0, 7200.0, 12.0),
        Injection("slow_cycle", 3, 3600.0, 3600.0, 0.05),
    )
    return config, Recording(config, injections)


@pytest.fixture(scope="module")
def line() -> tuple[LineConfig, Recording, ledger.State, np.ndarray]:
    config, recording = line_with_everything()
    channels = {name: recording.values[:, config.columns.index(name)]
                for name in ("state", "parts_count", "rejects_count", "energy_kilowatt_hours")}
    found = states.canonical(states.mapper(states.PACKML), channels["state"])
    count = len(config.stations)
    waiting = states.allocate(count)
    states.split_waiting(
        waiting["asset_waiting"], np.arange(-1, count - 1),
        np.array([*range(1, count), -1], np.int64), recording.asset, recording.time_ns,
        channels["parts_count"], channels["rejects_count"], found)
    scan = (recording.time_ns - config.start_time_ns) // 100_000_000
    product = calendar.products(config, 0, config.rows * config.scans_per_row)[scan]
    offs = [(o.start_scan, o.end_scan) for o in calendar.off_times(config)]
    start, end = np.array(offs, np.int64).T * 100_000_000 + config.start_time_ns
    plan = ledger.Planned(
        np.arange(count + 1) * start.size, np.tile(start, count), np.tile(end, count))
    state = ledger.allocate(ledger.Config(), count)
    rows = ledger.Observations(
        recording.asset, recording.time_ns, found, product, channels["parts_count"],
        channels["rejects_count"], channels["energy_kilowatt_hours"])
    segments = ledger.run(ledger.Config(), state, plan, rows).segments
    last = ledger.flush(ledger.Config(), state, plan, extend=True)
    return config, recording, state, np.concatenate([segments, last])


def test_every_second_of_a_simulated_line_is_booked_as_it_was(
    line: tuple[LineConfig, Recording, ledger.State, np.ndarray],
) -> None:
    config, recording, _, segments = line
    for asset, station in enumerate(config.stations):
        truth = np.array(true_headings(recording.truth, station.name))
        own = segments[segments["asset"] == asset]
        at = config.start_time_ns + np.arange(truth.size) * SECOND
        mine = np.array(ledger.HEADINGS)[
            own["heading"][np.searchsorted(own["start_ns"], at, side="right") - 1]]
        worked = np.isin(truth, ("at_rate", "slow"))
        assert np.array_equal(worked, np.isin(mine, ("at_rate", "slow"))), station.name
        assert np.array_equal(truth[~worked], mine[~worked]), station.name
        assert len(set(truth[~worked])) >= 4
        assert int((own["end_ns"] - own["start_ns"]).sum()) == truth.size * SECOND


def test_slow_minutes_are_those_that_were_injected(
    line: tuple[LineConfig, Recording, ledger.State, np.ndarray],
) -> None:
    config, _, state, segments = line
    own = segments[segments["asset"] == 3]
    own = ledger.cut(own, config.start_time_ns + np.array([3600, 7200], np.int64) * SECOND)
    during = (own["start_ns"] >= config.start_time_ns + 3600 * SECOND) & (
        own["end_ns"] <= config.start_time_ns + 7200 * SECOND)
    found = ledger.account(own[during], state["asset_nominal"]).booked_ns
    worked = int(found[0] + found[1])
    assert found[1] / worked == pytest.approx(1 - 1 / 1.05, abs=0.006)
    before = ledger.account(own[~during], state["asset_nominal"]).booked_ns
    assert before[1] / (before[0] + before[1]) < 0.005
    nominal = state["asset_nominal"][:, :2] / 1e9
    wanted = [[s.cycle_seconds, 1.1 * s.cycle_seconds] for s in config.stations]
    assert nominal == pytest.approx(np.array(wanted), rel=0.012)


def test_a_counter_alone_tells_slow_from_stops() -> None:
    # 30 s cycles; one of 40 s, one with a jam of a minute, one with half an hour.
    ends = np.cumsum([30] * 50 + [40] + [30] * 5 + [90] + [30] * 5 + [1830] + [30] * 5)
    rows = [(0, t * SECOND, -1, float(np.searchsorted(ends, t, side="right")))
            for t in range(int(ends[-1]) + 1)]
    config = replace(CONFIG, micro_stop_seconds=300.0)
    found = booked(observations(rows), config, ledger.no_plan(), 1, 30.0)
    booked_ns = ledger.account(found, np.full((1, 16), 30 * SECOND)).booked_ns
    assert booked_ns[ledger.SLOW] == pytest.approx(10 * SECOND, abs=2 * SECOND)
    assert booked_ns[ledger.MICRO_STOP] == pytest.approx(60 * SECOND, abs=2 * SECOND)
    assert booked_ns[ledger.STOP] == pytest.approx(1800 * SECOND, abs=2 * SECOND)


def test_oee_and_its_factors_by_hand() -> None:
    segments = np.zeros(6, ledger.SEGMENT)
    segments["heading"] = [ledger.AT_RATE, ledger.SLOW, ledger.MICRO_STOP, ledger.STOP,
                           ledger.PLANNED, ledger.NO_DATA]
    segments["end_ns"] = np.array([6000, 600, 900, 2500, 1000, 500]) * SECOND
    segments["energy"] = [12.0, 1.0, 0.5, 1.5, 0.1, 0.0]
    found = ledger.account(segments, np.full((1, 16), 60 * SECOND), 100.0, 5.0)
    assert found.wall_seconds == 11_500
    assert found.production_seconds == 10_000
    assert found.availability == pytest.approx(0.75)
    assert found.performance == pytest.approx(0.8)
    assert found.quality == pytest.approx(0.95)
    assert found.oee == pytest.approx(0.57)
    losses = found.losses(ledger.Prices(per_hour=36.0, per_part=2.0, per_kilowatt_hour=10.0))
    assert [loss.heading for loss in losses] == ["stop", "micro_stop", "slow", "rejects"]
    assert losses[0].money == pytest.approx(25.0 + 15.0)
    assert losses[0].parts == pytest.approx(2500 / 60)
    assert losses[3].seconds == pytest.approx(300.0)
    assert losses[3].money == pytest.approx(10.0)


def test_cutting_at_shifts_loses_nothing() -> None:
    segments = np.zeros(2, ledger.SEGMENT)
    segments["start_ns"], segments["end_ns"] = [0, 100], [100, 250]
    segments["energy"] = [10.0, 30.0]
    found = ledger.cut(segments, np.array([0, 50, 100, 150, 200, 250, 300], np.int64))
    assert found["start_ns"].tolist() == [0, 50, 100, 150, 200]
    assert found["end_ns"].tolist() == [50, 100, 150, 200, 250]
    assert found["energy"].tolist() == pytest.approx([5.0, 5.0, 10.0, 10.0, 10.0])


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="micro_stop_seconds"):
        ledger.Config(micro_stop_seconds=0.0)
    with pytest.raises(ConfigError, match="products"):
        ledger.Config(products=0)
