"""The simulated line: same bits whatever the chunks, parts and seconds conserved, the physics, the
load generator, files and command line. The injections are in ``test_simulate_injections``.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import simulate as door
from streams.simulate import (
    KINDS,
    SENSOR_NAMES,
    Chunk,
    Injection,
    LineConfig,
    PlannedStop,
    Product,
    ProductRun,
    Shift,
    SimulationError,
    StationConfig,
    booked_seconds,
    default_stations,
    demo_recording,
    load_plant,
    parse_injection,
    vibration_frames,
    write_recording,
)
from streams.simulation import calendar, line, noise
from tests.simulated_line import HOUR, START, STATION, Recording, assert_conserved, same, small_line


@pytest.fixture(scope="module")
def healthy() -> Recording:
    return Recording(small_line())


# --- same bits ---------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_seconds", [1.0, 137.3, 1e9])
def test_chunks_do_not_matter(chunk_seconds: float) -> None:
    config = small_line(duration_seconds=1800.0 if chunk_seconds == 1.0 else 2.5 * HOUR)
    injections = (
        Injection("bearing_wear", 1, 600.0, 900.0, 3.0),
        Injection("sensor_frozen", 2, 500.0, 700.0, 1.0),
        Injection("data_gap", 0, 700.0, 40.0, 1.0),
    )
    whole = Recording(config, injections)
    assert same(whole, Recording(config, injections, chunk_seconds=chunk_seconds))


def test_seed_decides(healthy: Recording) -> None:
    assert same(healthy, Recording(small_line()))
    assert not same(healthy, Recording(small_line(seed=8)))


@pytest.mark.parametrize("interval", [0.1, 5.0, 60.0])
def test_row_interval_only_samples_the_line(interval: float) -> None:
    """Parts, states and cycles are the line's; how often they are looked at changes nothing."""
    config = small_line(duration_seconds=1800.0)
    base = Recording(config)
    other = Recording(replace(config, row_interval_seconds=interval))
    assert np.array_equal(base.bookings, other.bookings)
    assert np.array_equal(base.cycles, other.cycles)
    common = np.intersect1d(base.time_ns, other.time_ns)
    for name in ("parts_count", "rejects_count", "state", "cycle_seconds"):
        a = base.channel(name)[np.isin(base.time_ns[base.asset == STATION], common)]
        b = other.channel(name)[np.isin(other.time_ns[other.asset == STATION], common)]
        np.testing.assert_array_equal(a, b)


def test_columns_are_chosen(healthy: Recording) -> None:
    names = ("pressure_bar", "power_kilowatts")
    some = Recording(small_line(columns=names))
    assert some.values.shape[1] == 2
    np.testing.assert_array_equal(some.channel("pressure_bar"), healthy.channel("pressure_bar"))


# --- what is conserved -------------------------------------------------------------------------


def test_parts_and_seconds_are_conserved(healthy: Recording) -> None:
    assert_conserved(healthy)
    parts = [healthy.channel("parts_count", s) for s in range(3)]
    assert all(np.all(np.diff(p) >= 0) for p in parts)
    for s in range(3):
        own = healthy.cycles[healthy.cycles["station"] == s]
        assert own.size - 1 <= parts[s][-1] <= own.size
        assert abs(int(own["rejected"].sum()) - healthy.channel("rejects_count", s)[-1]) <= 1
    assert parts[2][-1] > 200


@settings(max_examples=20, deadline=None)
@given(
    cycles=st.lists(st.floats(2.0, 90.0), min_size=1, max_size=4),
    capacity=st.integers(1, 4),
    rejects=st.floats(0.0, 0.5),
    kind=st.sampled_from([kind.name for kind in KINDS]),
    start=st.floats(0.0, 1500.0),
    duration=st.floats(0.1, 4000.0),
    off=st.floats(0.0, 900.0),
    seed=st.integers(0, 2**40),
)
def test_any_line_conserves(
    cycles: list[float], capacity: int, rejects: float, kind: str,
    start: float, duration: float, off: float, seed: int,
) -> None:  # fmt: skip
    stations = tuple(
        StationConfig(f"s{i}", cycle, buffer_capacity=capacity, reject_fraction=rejects)
        for i, cycle in enumerate(cycles)
    )
    config = LineConfig(
        stations,
        products=(Product("A"), Product("B", 0.8)),
        product_runs=(ProductRun(700.0, 1), ProductRun(1300.0, 0)),
        planned_stops=(PlannedStop(900.0, off, "x", service=True),),
        seed=seed,
        duration_seconds=1800.0,
        row_interval_seconds=2.0,
        changeover_seconds=120.0,
        repair_seconds=200.0,
    )
    size = next(k.default_size for k in KINDS if k.name == kind)
    recording = Recording(config, (Injection(kind, len(cycles) - 1, start, duration, size),))
    assert_conserved(recording)
    finite = recording.values[:, SENSOR_NAMES.index("power_kilowatts")]
    assert np.all(finite >= -1.0)


def test_a_full_buffer_blocks_and_an_empty_one_starves() -> None:
    fast, slow = StationConfig("fast", 10.0), StationConfig("slow", 20.0)
    last = StationConfig("last", 10.0)
    recording = Recording(LineConfig((fast, slow, last), duration_seconds=2 * HOUR))
    assert recording.booked("blocked", 0) > 0.4 * 2 * HOUR
    assert recording.booked("starved", 2) > 0.4 * 2 * HOUR
    assert recording.booked("starved", 0) == recording.booked("blocked", 2) == 0.0
    assert recording.booked("blocked", 1) + recording.booked("starved", 1) < 0.02 * 2 * HOUR


def test_states_agree_with_the_bookings(healthy: Recording) -> None:
    """The state tag of a row and the true booking of its second tell the same."""
    allowed = {
        line.EXECUTE: {"at_rate", "slow"},
        line.HELD: {"micro_stop", "stop", "planned"},
        line.SUSPENDED: {"starved", "blocked"},
        line.IDLE: {"planned"},
        line.RESETTING: {"changeover"},
    }
    for station, name in enumerate(healthy.truth["assets"]):
        headings = booked_seconds(healthy.truth, name)
        states = healthy.channel("state", station)
        assert len(headings) == states.size
        for heading, state in zip(headings, states.astype(int).tolist(), strict=True):
            assert heading in allowed[state]


def test_micro_stops_are_booked_to_the_scan() -> None:
    config = small_line(shifts=(), product_runs=())
    recording = Recording(config, (Injection("micro_stops", STATION, START, HOUR, 20.0),))
    own = recording.cycles[recording.cycles["station"] == STATION]
    held = own["end_scan"] - own["start_scan"] - own["work_scans"]
    assert held.sum() / 10 == recording.booked("micro_stop")
    jammed = (held > 0) & (own["start_scan"] >= START * 10)
    lengths = held[jammed] / own["nominal_scans"][jammed]
    assert 10 <= jammed.sum() <= 30
    assert lengths.max() <= 5.0 + 1e-9
    assert np.median(lengths) > 1.5


def test_cycle_times_scatter_around_the_nominal(healthy: Recording) -> None:
    for station, config in enumerate(healthy.config.stations):
        ratio = healthy.cycle_seconds(0.0, 9000.0, station)
        assert np.median(ratio) == pytest.approx(1.0, abs=0.004)
        spread = np.subtract(*np.percentile(ratio, [75, 25])) / 1.349
        assert spread == pytest.approx(config.cycle_scatter, rel=0.35)


@pytest.mark.parametrize(
    "change, word",
    [
        ({"stations": ()}, "1 to 1000 stations"),
        ({"stations": (StationConfig("a"), StationConfig("a"))}, "same name"),
        ({"row_interval_seconds": 0.25}, "multiple of 0.1"),
        ({"row_interval_seconds": 0.0}, "multiple of 0.1"),
        ({"duration_seconds": 0.5}, "at least one row"),
        ({"duration_seconds": 1e12}, "limit"),
        ({"seed": -1}, "seed"),
        ({"columns": ("humidity",)}, "unknown columns"),
        ({"product_runs": (ProductRun(0.0, 9),)}, "no product 9"),
    ],
)
def test_a_bad_line_is_refused(change: dict[str, object], word: str) -> None:
    with pytest.raises(SimulationError, match=word):
        small_line(**change)


# --- physics and calendar ----------------------------------------------------------------------


def test_the_meter_and_the_power_agree(healthy: Recording) -> None:
    power, energy = (healthy.channel(n) for n in ("power_kilowatts", "energy_kilowatt_hours"))
    assert power[1:].sum() / 3600.0 == pytest.approx(energy[-1], rel=2e-3)


def test_a_stop_cools_the_motor_and_starting_is_slow() -> None:
    stop = PlannedStop(HOUR, 1800.0)
    recording = Recording(small_line(shifts=(), product_runs=(), planned_stops=(stop,)))
    hall = 21.0
    begin = recording.during("motor_celsius", HOUR + 60.0, HOUR + 90.0).mean() - hall
    end = recording.during("motor_celsius", HOUR + 1770.0, HOUR + 1800.0).mean() - hall
    # dT/dt = -T/τ with τ = 80 min standing; the hall's own degree or two blurs it
    assert end / begin == pytest.approx(np.exp(-1710.0 / 4800.0), abs=0.06)
    first = recording.cycle_seconds(HOUR + 1800.0, HOUR + 1900.0)
    assert first[0] > 1.03
    assert recording.booked("planned") == pytest.approx(1800.0, abs=31.0)


def test_a_service_cleans() -> None:
    stop = PlannedStop(HOUR, 600.0, "filters", service=True)
    config = small_line(planned_stops=(stop,), initial_fouling=1.0)
    dirt = calendar.fouling(config, np.array([0.0, HOUR, HOUR + 600.0, HOUR + 600.0 + 7 * 86_400]))
    np.testing.assert_allclose(dirt, [1.0, 1.0 + 1 / 168, 0.0, 1.0])
    clean = Recording(small_line(shifts=(), product_runs=(), planned_stops=(stop,)))
    dirty = Recording(
        small_line(shifts=(), product_runs=(), planned_stops=(replace(stop, service=False),),
                   initial_fouling=1.0)
    )  # fmt: skip
    late = (2 * HOUR, 2.5 * HOUR)
    pressures = [r.during("pressure_bar", *late).mean() for r in (clean, dirty)]
    assert pressures[0] - pressures[1] == pytest.approx(0.05, abs=0.01)


def test_shifts_and_weekends() -> None:
    """From Friday 13:00 to Monday 07:00: one hour of shift, a night shift, the weekend, an hour."""
    friday = LineConfig(
        default_stations(1),
        shifts=(Shift(6.0, 14.0), Shift(22.0, 30.0, (4,), breaks=((25.0, 1800.0),))),
        start_time_ns=1_772_431_200_000_000_000 + (4 * 86_400 + 7 * 3600) * 10**9,
        duration_seconds=66 * HOUR,
        row_interval_seconds=60.0,
    )
    found = [
        (o.kind, o.start_scan / 36_000, o.end_scan / 36_000) for o in calendar.off_times(friday)
    ]
    assert found == [
        ("off_shift", 1.0, 9.0),
        ("break", 12.0, 12.5),
        ("off_shift", 17.0, 65.0),
    ]
    recording = Recording(friday)
    assert recording.booked("planned", 0) == pytest.approx((8 + 0.5 + 48) * HOUR, abs=100.0)
    at, power = recording.at(0), recording.channel("power_kilowatts", 0)
    assert power[(at > 20 * HOUR) & (at < 60 * HOUR)].max() < 1.0  # standby over the weekend


def test_a_product_change_is_booked_and_changes_the_cycle(healthy: Recording) -> None:
    assert healthy.booked("changeover") == 600.0
    own = healthy.cycles[healthy.cycles["station"] == STATION]
    assert set(own["product"]) == {0, 1}
    nominal = [set(own["nominal_scans"][own["product"] == p]) for p in (0, 1)]
    assert nominal == [{284}, {312}]
    changes = [n for n in healthy.truth["nuisances"] if n["kind"] == "product_change"]
    assert len(changes) >= 3


def test_random_numbers() -> None:
    from scipy import stats

    for p in (1e-9, 1e-4, 0.07, 0.3, 0.5, 0.8, 0.99, 1 - 1e-7):
        assert noise.normal_quantile(p) == pytest.approx(stats.norm.ppf(p), rel=1e-6, abs=1e-7)
    keys = [noise.stream_key(0, 1, 2), noise.stream_key(0, 2, 1), noise.stream_key(1, 1, 2)]
    draws = np.array([[noise.normal(key, i) for i in range(20_000)] for key in keys])
    assert np.abs(draws.mean(1)).max() < 0.03
    assert np.abs(draws.std(1) - 1.0).max() < 0.02
    correlation = np.corrcoef(np.vstack((draws, draws[0, ::-1], np.roll(draws[0], 1))))
    assert np.abs(correlation - np.eye(5)).max() < 0.03


def test_frames_ring_when_the_bearing_is_worn() -> None:
    config = small_line()
    fault = (Injection("bearing_wear", STATION, START, HOUR, 5.0),)
    sound = list(vibration_frames(config, (), STATION, every_seconds=300.0))
    worn = list(vibration_frames(config, fault, STATION, every_seconds=300.0))
    assert len(sound) == 30
    assert sound[0].samples.shape == (4096,)
    for a, b in zip(sound, worn, strict=True):
        before = (a.time_ns - config.start_time_ns) / 1e9 <= START
        after = (a.time_ns - config.start_time_ns) / 1e9 >= START + HOUR
        assert np.array_equal(a.samples, b.samples) == (before or after)
    last = int((START + HOUR) / 300.0) - 1

    def kurtosis(x: np.ndarray) -> float:
        return float(((x - x.mean()) ** 4).mean() / x.var() ** 2)

    assert kurtosis(worn[last].samples) > 5.0 > 3.5 > kurtosis(sound[last].samples)
    with pytest.raises(SimulationError, match="no station"):
        vibration_frames(config, (), 9)


# --- load --------------------------------------------------------------------------------------


def joined(chunks: list[Chunk]) -> np.ndarray:
    return np.concatenate([chunk.values for chunk in chunks])


def test_load_plant_has_every_asset_once_per_row() -> None:
    chunks = list(load_plant(300, 7, 1200.0, 3, row_interval_seconds=2.0))
    assert len(chunks) > 1
    time_ns = np.concatenate([chunk.time_ns for chunk in chunks])
    asset = np.concatenate([chunk.asset for chunk in chunks])
    values = joined(chunks)
    assert values.shape == (600 * 300, 7) == (asset.size, len(chunks[0].columns))
    assert np.array_equal(asset.reshape(600, 300), np.tile(np.arange(300), (600, 1)))
    assert np.all(np.diff(time_ns.reshape(600, 300)[:, 0]) == 2 * 10**9)
    assert np.all(np.diff(time_ns) >= 0)
    assert np.isfinite(values).all()
    np.testing.assert_allclose(np.round(values, 2), values, rtol=0, atol=1e-12)
    by_tag = values.reshape(600, -1)
    assert by_tag.std(0).min() > 0.15  # no dead channel
    assert by_tag.mean(0).std() > 10.0  # levels differ


def test_load_plant_is_seeded_and_a_prefix_is_a_prefix() -> None:
    long = joined(list(load_plant(40, 3, 600.0, 1)))
    short = joined(list(load_plant(40, 3, 250.0, 1)))
    assert np.array_equal(long[: short.shape[0]], short)
    assert not np.array_equal(short, joined(list(load_plant(40, 3, 250.0, 2))))
    for bad in ((0, 1, 10.0, 0), (1, 0, 10.0, 0), (1, 1, 0.5, 0), (1, 1, 1.0, -1)):
        with pytest.raises(SimulationError):
            load_plant(*bad)


# --- files and command -------------------------------------------------------------------------


def command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    door.add_arguments(parser)
    return door.run(parser.parse_args(list(words)))


def test_csv_and_parquet_hold_the_rows(tmp_path: Path) -> None:
    from pyarrow import parquet

    config = small_line(duration_seconds=4000.0)
    faults = (Injection("sensor_dropout", 0, 10.0, 500.0, 0.5),)
    expected = Recording(config, faults)
    for suffix in ("csv", "parquet"):
        written = write_recording(config, faults, tmp_path / f"line.{suffix}")
        assert written.rows == expected.time_ns.size
        assert written.readings == expected.values.size
    table = parquet.read_table(tmp_path / "line.parquet")
    assert table.column_names == ["time", "asset", *SENSOR_NAMES]
    names = [station.name for station in config.stations]
    assert table["asset"].to_pylist() == [names[i] for i in expected.asset]
    milliseconds = table["time"].cast("int64").to_numpy()
    assert np.array_equal(milliseconds * 1_000_000, expected.time_ns)
    values = np.column_stack([table[name].to_numpy() for name in SENSOR_NAMES])
    np.testing.assert_array_equal(values, expected.values)
    with open(tmp_path / "line.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == table.column_names
    assert rows[1][0] == "2026-03-02T06:00:00.000Z"
    from_csv = np.array([[float(x) if x else np.nan for x in row[2:]] for row in rows[1:]])
    np.testing.assert_array_equal(from_csv, expected.values)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["line.csv", "line.parquet"]


def test_the_command_writes_recording_truth_and_failures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, truth, failures = (tmp_path / n for n in ("r.parquet", "truth.json", "failures.csv"))
    words = ["--out", str(out), "--truth", str(truth), "--failures", str(failures),
             "--hours", "2", "--stations", "4", "--interval-seconds", "5", "--seed", "11",
             "--inject", "bearing_wear:mill-2:30m:30m:4",
             "--inject", "sensor_offset:3.motor_celsius:1h:10m:-2.5",
             "--inject", "bearing_wear:0:1h:30h", "--product-change", "1.5h"]  # fmt: skip
    assert command(*words) == 0
    assert "5,760 rows" in capsys.readouterr().out
    known = json.loads(truth.read_text(encoding="utf-8"))
    assert [event["asset"] for event in known["events"]] == ["mill-2", "assembly-4", "press-1"]
    assert known["events"][1]["sensors"] == ["motor_celsius"]
    assert known["events"][1]["size"] == -2.5
    assert len(known["assets"]) == 4
    assert failures.read_text(encoding="utf-8").splitlines() == [
        "asset,time,kind",
        "mill-2,2026-03-02T07:00:00Z,bearing_wear",
    ]
    first = out.read_bytes()
    assert command(*words) == 0
    assert out.read_bytes() == first


@pytest.mark.parametrize(
    "words, message",
    [
        (["--hours", "1"], "--out FILE is missing"),
        (["--out", "x.xlsx"], ".csv or .parquet"),
        (["--out", "nowhere/x.csv"], "no folder"),
        (["--out", "x.csv", "--hours", "0"], "at least one row"),
        (["--out", "x.csv", "--hours", "nan"], "finite"),
        (["--out", "x.csv", "--stations", "0"], "1 to 1000 stations"),
        (["--out", "x.csv", "--interval-seconds", "0.33"], "multiple of 0.1"),
        (["--out", "x.csv", "--seed", "-4"], "--seed -4"),
        (["--out", "x.csv", "--start", "monday"], "ISO 8601"),
        (["--out", "x.csv", "--inject", "leak:0:1h"], "expected kind:station"),
        (["--out", "x.csv", "--inject", "rust:0:1h:1h"], "no injection 'rust'"),
        (["--out", "x.csv", "--inject", "leak:lathe:1h:1h"], "no station 'lathe'"),
        (["--out", "x.csv", "--inject", "leak:9:1h:1h"], "no station 9"),
        (["--out", "x.csv", "--inject", "leak:0:soon:1h"], "not a number"),
        (["--out", "x.csv", "--inject", "leak:0:9h:1h"], "outside the recording"),
        (["--out", "x.csv", "--inject", "leak:0:1h:1h:5"], "size 5"),
        (["--out", "x.csv", "--demo", "--hours", "3"], "--demo takes"),
    ],
)
def test_bad_arguments_are_said_and_exit_2(
    words: list[str], message: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert command(*words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("andon simulate: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_every_kind_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--list-injections") == 0
    listed = capsys.readouterr().out
    assert all(kind.name in listed for kind in KINDS)


def test_an_injection_is_read() -> None:
    fault = parse_injection("leak:b:90:1.5h", ["a", "b"])
    assert fault == Injection("leak", 1, 90.0, 5400.0, 0.2)
    assert parse_injection("sensor_noise:0.state:2m:1d:3", ["a"]).sensor == "state"


def test_the_demo_is_healthy_for_its_first_hour_and_a_half(tmp_path: Path) -> None:
    config, faults = demo_recording(5)
    assert config.seed == 5
    assert config.rows * len(config.stations) == 72_000
    assert min(fault.start_seconds for fault in faults) >= 1.5 * HOUR
    sound, faulty = Recording(config), Recording(config, faults)
    first = min(fault.start_seconds for fault in faults)
    assert same(sound, faulty, until=first)
    assert_conserved(faulty)
    events = {event["kind"]: event for event in faulty.truth["events"]}
    assert set(events) == {
        "bearing_wear", "slow_cycle", "micro_stops", "energy_drift", "sensor_frozen",
    }  # fmt: skip
    assert events["bearing_wear"]["failure_time"] == "2026-03-02T12:15:00Z"
    assert faulty.booked("stop", 1) > 2000.0
    assert command("--demo", "--seed", "5", "--out", str(tmp_path / "demo.parquet")) == 0
