"""Readings to rows: against the naive twin bit for bit, the laws, and the cases people meet."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anomaly import cycles, quality, room, windows
from anomaly.batches import ReadingBatch, RowBatch, reading_batch
from anomaly.errors import ConfigError
from anomaly.registry import Registry
from tests.naive import windows as naive

SECOND = 10**9
NAN = math.nan

#: Sensors of the three assets of the random streams; their widths differ.
SENSORS = [["n", "p", "e", "r", "s"], ["p", "n"], ["s"]]

CYCLES = [
    cycles.Config(sensor="n", power_sensor="p", reject_sensor="r", shape_sensors=("s",)),
    cycles.Config(sensor="n", energy_sensor="e", shape_sensors=("p", "s")),
    cycles.Config(sensor="n", signal="pulse", level=1.0, power_sensor="p", hold_seconds=3.0),
    cycles.Config(sensor="n", signal="state", level=2.0, shortest_seconds=2.0,
                  longest_seconds=6.0, reject_sensor="r"),
    cycles.Config(sensor="n", shortest_seconds=1.0, shape_sensors=("n",)),
]
CONFIGS = [
    windows.Config(), windows.Config(row_seconds=2.0), *(windows.Config(cycle=c) for c in CYCLES)]


class Stage:
    """The windows stage over named sensors, fed in any cuts."""

    def __init__(self, config: windows.Config, sensors: Sequence[Sequence[str]]) -> None:
        self.config = config
        self.registry = Registry()
        for number, names in enumerate(sensors):
            asset = self.registry.asset(f"asset {number}")
            for name in [*names, *windows.derived_names(config, names)]:
                self.registry.column(asset, name)
        tags = self.registry.tag_count
        self.state = windows.allocate(config, len(sensors), tags)
        self.roles = windows.resolve(config, self.registry.sensors, self.registry.table, tags)
        self.reason = np.zeros(0, np.int8)

    def feed(self, readings: Sequence[naive.Reading]) -> list[naive.Row]:
        batch = as_batch(readings)
        base = np.array([r[5] for r in readings], np.int8)
        self.reason = np.zeros(len(batch), np.int8)
        value = batch.value.copy()
        before = batch.value.tobytes(), base.tobytes(), batch.time_ns.tobytes()
        rows = windows.run(
            self.config, self.state, self.registry.table, self.roles, batch, value, base,
            self.reason,
        )
        assert before == (value.tobytes(), base.tobytes(), batch.time_ns.tobytes())
        return self.as_rows(rows)

    def flush(self) -> list[naive.Row]:
        return self.as_rows(windows.flush(self.config, self.state, self.registry.table))

    def as_rows(self, rows: RowBatch) -> list[naive.Row]:
        found = []
        for k, asset in enumerate(rows.asset.tolist()):
            width = len(self.registry.sensors[asset])
            assert np.isnan(rows.x[k, width:]).all(), "padding is NaN"
            row = dict(enumerate(rows.x[k, :width].tolist()))
            found.append((asset, int(rows.time_ns[k]), row, int(rows.closed_at[k])))
        return found


def as_batch(readings: Sequence[naive.Reading]) -> ReadingBatch:
    columns = list(zip(*readings, strict=True)) if readings else [[]] * 6
    return reading_batch(*columns[:5])


def bits(row: naive.Row, width: int | None = None) -> tuple[Any, ...]:
    """A row as something to compare bit for bit; columns that are absent are NaN."""
    asset, time, values, index = row
    width = len(SENSORS[asset]) if width is None else width
    x = np.array([values.get(c, NAN) for c in range(width)])
    return asset, time, x.tobytes(), index


def words(reason: np.ndarray[Any, Any]) -> list[str]:
    return ["" if code == 0 else quality.REASONS[code] for code in reason.tolist()]


VALUES = st.sampled_from([0.0, 1.0, 2.0, 3.0, 0.1, -7.25, 1e100, -1e100, 5e-324, NAN, 2.5, 4.0])
TIMES = st.one_of(st.integers(-3, 12), st.integers(0, 3).map(lambda k: 10**6 + k)).map(
    lambda seconds: seconds * SECOND)


@st.composite
def streams(draw: st.DrawFn, bases: bool = True) -> list[naive.Reading]:
    """Readings of three assets: mostly ascending times, with every disorder mixed in."""
    readings = []
    clock = [0, 0, 0]
    for _ in range(draw(st.integers(0, 50))):
        asset = draw(st.integers(0, 2))
        if draw(st.integers(0, 3)):
            clock[asset] += draw(st.sampled_from([0, 0, 1, SECOND // 3, SECOND, 4 * SECOND]))
            time = clock[asset]
        else:
            time = draw(TIMES)
        column = draw(st.integers(0, len(SENSORS[asset]) - 1))
        base = draw(st.sampled_from([0] * 8 + [1, -1])) if bases else 0
        readings.append(
            (asset, column, time, draw(VALUES), draw(st.integers(0, 4)) == 0, base))
    return readings


def in_two(readings: list[naive.Reading], cut: int) -> list[list[naive.Reading]]:
    at = min(cut, len(readings))
    return [readings[:at], readings[at:]]


def compare_with_naive(
    config: windows.Config, readings: list[naive.Reading], cut: int,
    expected: tuple[list[naive.Row], list[str], list[naive.Row]],
) -> None:
    stage = Stage(config, SENSORS)
    rows: list[naive.Row] = []
    said: list[str] = []
    for part in in_two(readings, cut):
        offset = len(said)
        rows += [(a, t, x, k + offset) for a, t, x, k in stage.feed(part)]
        said += words(stage.reason)
    assert said == expected[1]
    assert [bits(row) for row in rows] == [bits(row) for row in expected[0]]
    assert [bits(row) for row in stage.flush()] == [bits(row) for row in expected[2]]
    assert stage.flush() == [], "a second flush has nothing left"
    assert_free_of_nan(stage)


def assert_free_of_nan(stage: Stage) -> None:
    for name, array in stage.state.items():
        assert name.startswith(("asset", "tag"))
        fields = [array[f] for f in array.dtype.names] if array.dtype.names else [array]
        assert not any(np.isnan(f).any() for f in fields), name


@settings(max_examples=200, deadline=None)
@given(streams(), st.integers(0, 50))
@example([(0, 0, 5, 1.0, False, 0), (0, 1, 5, 2.0, True, 0), (0, 0, 5, 3.0, True, 0)], 1)
def test_every_timestamp_equals_its_twin(readings: list[naive.Reading], cut: int) -> None:
    compare_with_naive(windows.Config(), readings, cut, naive.instants(readings))


@settings(max_examples=200, deadline=None)
@given(streams(), st.integers(0, 50), st.sampled_from([1.0, 2.5, 1e-9, 3600.0]))
def test_time_windows_equal_their_twin(
    readings: list[naive.Reading], cut: int, seconds: float
) -> None:
    expected = naive.spans(readings, round(seconds * SECOND))
    compare_with_naive(windows.Config(row_seconds=seconds), readings, cut, expected)


@settings(max_examples=250, deadline=None)
@given(streams(), st.integers(0, 50), st.sampled_from(CYCLES))
def test_cycles_equal_their_twin(
    readings: list[naive.Reading], cut: int, config: cycles.Config
) -> None:
    stage = Stage(windows.Config(cycle=config), SENSORS)
    rows: list[naive.Row] = []
    said: list[str] = []
    for part in in_two(readings, cut):
        offset = len(said)
        rows += [(a, t, x, k + offset) for a, t, x, k in stage.feed(part)]
        said += words(stage.reason)
    expected, expected_words = naive.by_cycle(config, SENSORS, readings)
    assert said == expected_words
    named = stage.registry.sensors
    assert [bits(row, len(named[row[0]])) for row in rows] == [
        bits((a, t, {named[a].index(name): v for name, v in row.items() if name in named[a]}, k),
             len(named[a]))
        for a, t, row, k in expected
    ]
    assert stage.flush() == []
    assert_free_of_nan(stage)


@settings(max_examples=200, deadline=None)
@given(streams(), st.sampled_from(CONFIGS))
def test_other_assets_change_nothing(readings: list[naive.Reading], config: windows.Config) -> None:
    together = Stage(config, SENSORS)
    rows = together.feed(readings) + together.flush()
    for asset in range(len(SENSORS)):
        alone = Stage(config, SENSORS)
        own = [index for index, reading in enumerate(readings) if reading[0] == asset]
        found = alone.feed([readings[index] for index in own]) + alone.flush()
        width = len(alone.registry.sensors[asset])
        assert [bits((a, t, x, own[k] if k >= 0 else k), width) for a, t, x, k in found] == [
            bits(row, width) for row in rows if row[0] == asset]
        assert alone.reason.tolist() == together.reason[own].tolist()


@settings(max_examples=100, deadline=None)
@given(streams(), st.integers(0, 50), st.sampled_from(CONFIGS))
def test_state_saved_and_grown_goes_on_the_same(
    readings: list[naive.Reading], cut: int, config: windows.Config
) -> None:
    first, second = in_two(readings, cut)
    stage, other = Stage(config, SENSORS), Stage(config, SENSORS)
    stage.feed(first)
    other.feed(first)
    larger = windows.allocate(config, 7, other.registry.tag_count + 9)
    other.state = room.grown({"windows": dict(other.state)}, {"windows": larger})["windows"]
    width = 30
    assert [bits(row, width) for row in stage.feed(second) + stage.flush()] == [
        bits(row, width) for row in other.feed(second) + other.flush()]
    for name, array in stage.state.items():
        assert array.tobytes() == other.state[name][: len(array)].tobytes()


@settings(max_examples=50, deadline=None)
@given(streams(), st.integers(2, 5))
def test_full_outputs_are_gone_on_with(readings: list[naive.Reading], size: int) -> None:
    """The kernel stops where its outputs are full and loses nothing when called again."""
    stage, batch = Stage(windows.Config(), SENSORS), as_batch(readings)
    base = np.array([r[5] for r in readings], np.int8)
    whole = Stage(windows.Config(), SENSORS).feed(readings)
    rows: list[naive.Row] = []
    start = 0
    while start < len(batch):
        out = (np.zeros(size, np.int64), np.zeros(size, np.int64), np.zeros((size, 5)),
               np.zeros(size, np.int64))
        begin = start
        start, count = windows.close_instants(
            *stage.state.values(), stage.registry.table, batch.asset, batch.sensor, batch.time_ns,
            batch.value, batch.closes, base, begin, np.zeros(len(batch), np.int8), *out)
        assert start > begin
        rows += stage.as_rows(RowBatch(*(column[:count] for column in out)))
    assert [bits(row) for row in rows] == [bits(row) for row in whole]


def wide(times: Sequence[int], values: Sequence[Sequence[float]]) -> list[naive.Reading]:
    """Rows of one asset as the codec makes them: one reading per cell, the last one closes."""
    return [
        (0, c, t * SECOND, v, c == len(row) - 1, 0)
        for t, row in zip(times, values, strict=True) for c, v in enumerate(row)
    ]


def test_wide_input_gives_one_row_per_input_row_at_once() -> None:
    stage = Stage(windows.Config(), [["a", "b"]])
    rows = stage.feed(wide([1, 2, 4], [[1.0, NAN], [NAN, NAN], [3.0, 4.0]]))
    assert [(t // SECOND, k) for _, t, _, k in rows] == [(1, 1), (2, 3), (4, 5)]
    assert [x[0] for _, _, x, _ in rows][::2] == [1.0, 3.0]
    assert math.isnan(rows[0][2][1])
    assert math.isnan(rows[1][2][0])
    assert math.isnan(rows[1][2][1])
    assert not stage.reason.any()
    assert stage.flush() == []


def test_a_row_that_comes_twice_is_a_duplicate_and_an_older_one_late() -> None:
    stage = Stage(windows.Config(), [["a", "b"]])
    rows = stage.feed(wide([5, 6, 6, 4, 7], [[1, 1], [2, 2], [9, 9], [9, 9], [3, 3]]))
    assert [x[0] for _, _, x, _ in rows] == [1.0, 2.0, 3.0]
    assert words(stage.reason) == [""] * 4 + ["duplicate"] * 2 + ["late"] * 2 + [""] * 2


def test_long_input_closes_when_a_later_time_of_the_same_asset_arrives() -> None:
    stage = Stage(windows.Config(), [["a", "b"], ["a"]])
    rows = stage.feed([
        (0, 0, 1, 1.0, False, 0), (1, 0, 9, 5.0, False, 0), (0, 1, 1, 2.0, False, 0),
        (0, 1, 1, 8.0, False, 0), (0, 0, 2, 3.0, False, 0),
    ])
    assert [bits(row, 2) for row in rows] == [bits((0, 1, {0: 1.0, 1: 2.0}, 4), 2)]
    assert words(stage.reason) == ["", "", "", "duplicate", ""]
    left = stage.flush()
    assert [(a, t, k) for a, t, _, k in left] == [(0, 2, -1), (1, 9, -1)]


def test_a_clock_that_was_set_back_closes_the_row_and_goes_on() -> None:
    stage = Stage(windows.Config(), [["a"]])
    rows = stage.feed([
        (0, 0, 100, 1.0, False, 0), (0, 0, 3, 2.0, False, 1), (0, 0, 4, 3.0, False, 0)])
    assert [t for _, t, _, _ in rows] == [100, 3]
    assert not stage.reason.any()


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e100, -2.7e-300])
def test_the_mean_of_a_constant_is_exactly_the_constant(value: float) -> None:
    stage = Stage(windows.Config(row_seconds=10.0), [["a"]])
    rows = stage.feed([(0, 0, k * SECOND, value, False, 0) for k in range(11)])
    assert rows[0][2][0] == value


def test_windows_are_aligned_before_1970_too_and_empty_ones_give_no_row() -> None:
    stage = Stage(windows.Config(row_seconds=10.0), [["a"]])
    rows = stage.feed(
        [(0, 0, t * SECOND, float(t), False, 0) for t in (-11, -10, -1, 0, 9, 100, 111)])
    assert [(t // SECOND, x[0]) for _, t, x, _ in rows] == [
        (-10, -11.0), (0, -5.5), (10, 4.5), (110, 100.0)]


def test_ten_thousand_columns() -> None:
    names = [f"s{k}" for k in range(10_000)]
    stage = Stage(windows.Config(), [names])
    rows = stage.feed(wide([1, 2], [range(10_000)] * 2))
    assert len(rows) == 2
    assert rows[1][2][9_999] == 9_999.0


def test_an_empty_batch_gives_no_rows() -> None:
    for config in CONFIGS:
        assert Stage(config, SENSORS).feed([]) == []


def feed_cycle(config: cycles.Config, readings: Sequence[tuple[int, str, float]]) -> list[Any]:
    """Rows as name -> value, for one asset with the sensors n, p, e, r, s."""
    stage = Stage(windows.Config(cycle=config), SENSORS)
    names = stage.registry.sensors[0]
    rows = stage.feed([
        (0, names.index(name), t * SECOND, v, False, 0) for t, name, v in readings])
    return [{names[c]: v for c, v in x.items() if not math.isnan(v)} for _, _, x, _ in rows]


def test_a_counter_says_seconds_energy_and_rejects_per_cycle() -> None:
    config = cycles.Config(sensor="n", power_sensor="p", reject_sensor="r")
    readings: list[tuple[int, str, float]] = [(0, "p", 100.0), (0, "r", 7.0), (0, "n", 41.0)]
    readings += [(10, "n", 42.0), (12, "p", 300.0), (15, "r", 8.0), (20, "n", 43.0),
                 (60, "n", 47.0)]
    rows = feed_cycle(config, readings)
    # The first increase begins the first cycle; a rise by four is four cycles of 10 s.
    assert [row["cycle_seconds"] for row in rows] == [10.0, 10.0]
    assert rows[0]["energy_per_cycle"] == pytest.approx(100.0 * 2 + 300.0 * 8)
    assert rows[1]["energy_per_cycle"] == pytest.approx(300.0 * 10)
    assert [row["rejects"] for row in rows] == [1.0, 0.0]
    assert "n" not in rows[0]
    assert rows[0]["p"] == 300.0


def test_a_counter_that_wraps_or_reads_zero_once_makes_no_wrong_cycle() -> None:
    config = cycles.Config(sensor="n")
    counts = [65533, 65534, 65535, 0, 1, 2, 0, 3, 4]
    rows = feed_cycle(config, [(10 * k, "n", float(v)) for k, v in enumerate(counts)])
    assert {row["cycle_seconds"] for row in rows} == {10.0}
    assert len(rows) == 3


def test_pulse_and_state_close_on_entry_only() -> None:
    signal = [0, 1, 1, 0, 0, 1, 0, NAN, 1, 1]
    readings = [(k, "n", float(v)) for k, v in enumerate(signal)]
    pulse = feed_cycle(cycles.Config(sensor="n", signal="pulse"), readings)
    state = feed_cycle(cycles.Config(sensor="n", signal="state", level=1.0), readings)
    assert [row["cycle_seconds"] for row in pulse] == [4.0, 3.0]
    assert pulse == state


def test_the_profile_follows_the_cycle() -> None:
    config = cycles.Config(sensor="n", shape_sensors=("s",))
    readings: list[tuple[int, str, float]] = []
    for k in range(4):
        readings.append((80 * k, "n", float(k)))
        readings += [(80 * k + 10 * e + 5, "s", float(e)) for e in range(8)]
    readings.append((320, "n", 4.0))
    row = feed_cycle(config, readings)[-1]
    assert [row[f"s.profile_{e + 1}"] for e in range(8)] == [float(e) for e in range(8)]
    assert (row["s.min"], row["s.max"], row["s.rise"]) == (0.0, 7.0, 7.0)


def test_an_asset_without_the_cycle_sensor_has_no_derived_columns() -> None:
    config = windows.Config(cycle=cycles.Config(sensor="n", power_sensor="p"))
    assert windows.derived_names(config, ["p", "x"]) == []
    assert windows.derived_names(config, ["n", "x"]) == ["cycle_seconds"]
    assert windows.derived_names(windows.Config(), ["n", "p"]) == []


@pytest.mark.parametrize("make, name", [
    (lambda: windows.Config(row_seconds=-1.0), "row_seconds"),
    (lambda: windows.Config(row_seconds=math.nan), "row_seconds"),
    (lambda: windows.Config(row_seconds=1.0, cycle=cycles.Config(sensor="n")), "row_seconds"),
    (lambda: cycles.Config(signal="puls"), "signal"),
    (lambda: cycles.Config(power_sensor="p", energy_sensor="e"), "energy_sensor"),
    (lambda: cycles.Config(hold_seconds=-1.0), "hold_seconds"),
])
def test_settings_that_cannot_be_used_name_themselves(make: Any, name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        make()


def test_the_codes_of_all_stages_are_the_same() -> None:
    for module in (windows, cycles):
        assert quality.REASONS[module.DUPLICATE] == "duplicate"
        assert quality.REASONS[module.LATE] == "late"
        assert (module.DOUBTED, module.SAME, module.RESTARTED) == (
            quality.DOUBTED, quality.SAME, quality.RESTARTED)


def digest() -> str:
    """A hash of what quality and windows make of one seeded, disordered stream."""
    random = np.random.default_rng(7)
    n = 4_000
    asset = random.integers(0, 3, n)
    sensor = np.array([random.integers(0, len(SENSORS[a])) for a in asset])
    time = np.cumsum(random.integers(0, SECOND, n)) - (random.random(n) < 0.1) * 3 * SECOND
    time[2_000:] -= 900 * SECOND
    value = np.where(random.random(n) < 0.05, NAN, np.round(random.normal(0.0, 2.0, n), 1))
    closes = random.random(n) < 0.2
    made = hashlib.sha256()
    for config in (windows.Config(), windows.Config(row_seconds=3.0),
                   windows.Config(cycle=CYCLES[0]), windows.Config(cycle=CYCLES[3])):
        stage, settings_ = Stage(config, SENSORS), quality.Config(learn_rows=40, stuck_rows=4)
        state = quality.allocate(settings_, 3, stage.registry.tag_count)
        batch = reading_batch(asset, sensor, time, value, closes)
        table = stage.registry.table
        said = quality.run_screen(settings_, state, table, np.zeros(0), np.zeros(0), batch)
        rows = windows.run(
            config, stage.state, table, stage.roles, batch, said.value, said.base, said.reason)
        found = quality.run_watch(settings_, state, table, rows)
        parts = (said.reason, rows.time_ns, rows.x, rows.closed_at, found.row, found.since_ns)
        for array in (*parts, *state.values(), *stage.state.values()):
            made.update(array.tobytes())
    return made.hexdigest()


def test_compiled_equals_plain_python() -> None:
    command = [sys.executable, "-W", "error", "-c",
               "from tests.test_windows import digest; print(digest())"]
    plain = subprocess.run(
        command, env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True,
        check=True, timeout=120,
    )
    assert plain.stdout.strip() == digest()
