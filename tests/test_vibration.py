"""Vibration frames: features by definition, rows as by a naive gatherer, laws, and a fault."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly import vibration, windows
from anomaly.batches import Outcome, ReadingBatch, reading_batch
from anomaly.config import MonitorConfig, parse
from anomaly.errors import ConfigError
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from tests.naive import vibration as naive
from tests.test_monitor import cut, told

BEARING = vibration.Bearing(balls=16, ball_mm=8.4, pitch_mm=71.5, contact_degrees=15.17,
                            shaft_hz=33.3)
HZ = 2000.0
START = 1_700_000_000 * 10**9


def bursts(seed: int, hz: float, samples: int, struck_hz: float, depth: float) -> np.ndarray:
    """A frame of noise in which a resonance is struck so often a second."""
    rng = np.random.default_rng(seed)
    times = np.arange(samples) / hz
    since = np.mod(times + rng.uniform(0, 1), 1.0 / struck_hz)
    ring = np.exp(-since * hz / 12.0) * np.sin(2 * np.pi * 0.18 * hz * since)
    return rng.normal(size=samples) + depth * ring


# -- the features ----------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [64, 250, 512])
@pytest.mark.parametrize("unit", ["", "g"])
def test_features_are_their_definitions(samples: int, unit: str) -> None:
    config = vibration.Config(("a",), HZ, samples, unit=unit, bearing=BEARING)
    rng = np.random.default_rng(samples)
    frames = rng.standard_t(4, (11, samples)) * 10.0 ** rng.integers(-6, 6, (11, 1)) + 3.0
    found = vibration.features(config, frames)
    expected = np.array([naive.features(config, frame) for frame in frames])
    assert found.shape == (11, len(vibration.names(config)))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_a_sine_has_the_kurtosis_the_velocity_and_the_band_of_a_sine() -> None:
    config = vibration.Config(("a",), 10_000.0, 10_000, unit="m/s2")
    times = np.arange(10_000) / 10_000.0
    frame = 5.0 + 3.0 * np.sin(2 * np.pi * 100.0 * times)
    said = dict(zip(vibration.names(config), vibration.features(config, frame[None])[0],
                    strict=True))
    assert said["rms"] == pytest.approx(3.0 / math.sqrt(2.0), rel=1e-9)
    assert said["kurtosis"] == pytest.approx(1.5, rel=1e-6)
    assert said["crest"] == pytest.approx(math.sqrt(2.0), rel=1e-6)
    assert said["velocity_rms_mm_s"] == pytest.approx(
        1000.0 * 3.0 / math.sqrt(2.0) / (2 * math.pi * 100.0), rel=1e-3)
    assert said["band_78_156hz"] == pytest.approx(said["rms"], rel=1e-6)
    assert said["band_1250_2500hz"] < 1e-9


def test_the_rates_of_a_known_bearing() -> None:
    """Rexnord ZA-2115 of the IMS rig at 2,000 turns a minute: 236.4 Hz at the outer race."""
    rates = BEARING.rates_hz()
    assert rates["outer_race"] == pytest.approx(236.4, rel=0.002)
    assert rates["inner_race"] == pytest.approx(296.9, rel=0.002)
    assert rates["cage"] == pytest.approx(14.7, rel=0.01)
    assert vibration.Bearing().rates_hz() == {}


def test_a_struck_race_shows_at_its_own_rate() -> None:
    config = vibration.Config(("a",), 20_000.0, 8192, bearing=BEARING)
    names = vibration.names(config)
    outer = BEARING.rates_hz()["outer_race"]
    for place in ("outer_race", "inner_race"):
        frame = bursts(1, 20_000.0, 8192, BEARING.rates_hz()[place], 4.0)
        said = dict(zip(names, vibration.features(config, frame[None])[0], strict=True))
        others = {"outer_race", "inner_race"} - {place}
        assert said[place] > 2.0 * max(said[other] for other in others)
        assert said["envelope_peak"] > 8.0
    assert outer > 0


def test_a_frames_bits_do_not_depend_on_its_company() -> None:
    config = vibration.Config(("a",), HZ, 300, unit="g", bearing=BEARING)
    frames = np.random.default_rng(0).normal(size=(29, 300))
    whole = vibration.features(config, frames)
    for count in (1, 2, 7, 8, 9, 28):
        assert vibration.features(config, frames[:count]).tobytes() == whole[:count].tobytes()
        assert vibration.features(config, frames[count:]).tobytes() == whole[count:].tobytes()


@pytest.mark.parametrize("value", [0.0, 5.0, 1e60, -1e60, 1e-300])
def test_any_frame_gives_finite_features(value: float) -> None:
    config = vibration.Config(("a",), HZ, 512, unit="mg", bearing=BEARING)
    frames = np.full((3, 512), value)
    frames[1, ::2] *= -1.0
    frames[2, 100] = 1e60
    assert np.isfinite(vibration.features(config, frames)).all()


def test_zones() -> None:
    assert [vibration.zone(v, "2", "rigid") for v in (1.0, 2.0, 4.0, 9.0, math.nan)] == [
        "A", "B", "C", "D", ""]
    assert vibration.zone(9.0, "1", "flexible") == "C"
    with pytest.raises(KeyError):
        vibration.zone(1.0, "3", "rigid")


@pytest.mark.parametrize("table, path", [
    ({"sensors": ["a"]}, "windows.frame.sample_hz"),
    ({"sample_hz": -1.0}, "windows.frame.sample_hz"),
    ({"samples": 3}, "windows.frame.samples"),
    ({"unit": "furlong"}, "windows.frame.unit"),
    ({"bearing": {"balls": 8}}, "windows.frame.bearing.balls"),
    ({"bearing": {"balls": 8, "ball_mm": 9.0, "pitch_mm": 8.0, "shaft_hz": 1.0}},
     "windows.frame.bearing.ball_mm"),
])
def test_impossible_settings_are_refused_by_name(table: dict[str, object], path: str) -> None:
    with pytest.raises(ConfigError, match=path):
        parse({"windows": {"frame": table}})


def test_frames_close_rows_alone() -> None:
    with pytest.raises(ConfigError, match="frame"):
        parse({"windows": {"row_seconds": 60.0, "frame": {"sensors": ["a"], "sample_hz": 1e4}}})


# -- the rows --------------------------------------------------------------------------------------

FRAME = vibration.Config(("left", "right"), HZ, 64, hold_seconds=0.2)


def stream(seed: int, count: int) -> list[tuple[int, int, float]]:
    """(sensor, time, value) of two sampled sensors and two others, with gaps and dead stretches."""
    rng = np.random.default_rng(seed)
    step = round(1e9 / HZ)
    readings = []
    t = START
    for _ in range(count):
        t += step if rng.random() > 0.004 else 40 * step
        for s in range(2):
            if rng.random() > 0.001:
                readings.append((s, t, float(rng.normal()) if rng.random() > 0.002 else math.nan))
        if rng.random() < 0.02:
            readings.append((int(rng.integers(2, 4)), t, float(rng.normal())))
    dead = rng.integers(0, len(readings))
    return [r for k, r in enumerate(readings) if not (dead < k < dead + 600 and r[0] == 1)]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_rows_are_those_of_the_naive_gatherer(seed: int) -> None:
    readings = stream(seed, 1500)
    config = windows.Config(frame=FRAME)
    registry = Registry()
    a = registry.asset("pump")
    registry.columns(a, ("left", "right", "speed", "heat"))
    registry.columns(a, windows.derived_names(config, registry.sensors[a]))
    state = windows.allocate(config, 1, registry.tag_count)
    roles = windows.resolve(config, registry.sensors, registry.table, registry.tag_count)
    columns = [np.array(column) for column in zip(*readings, strict=True)]
    batch = reading_batch(np.zeros(len(readings)), columns[0], columns[1], columns[2])
    reason = np.zeros(len(readings), np.int8)
    rows = windows.run(config, state, registry.table, roles, batch, batch.value,
                       np.zeros(len(readings), np.int8), reason)
    expected = naive.rows(64, 1.5e9 / HZ, 200_000_000, 2, readings)
    assert not reason.any()
    assert rows.time_ns.tolist() == [t for t, _, _ in expected]
    width = len(vibration.names(FRAME))
    for r, (_, by_sensor, other) in enumerate(expected):
        for s in range(2):
            own = rows.x[r, 4 + s * width : 4 + (s + 1) * width]
            if s not in by_sensor:
                assert np.isnan(own).all()
                assert np.isnan(rows.x[r, s])
                continue
            frame = np.array(by_sensor[s])
            assert own.tobytes() == vibration.features(FRAME, frame[None])[0].tobytes()
            assert rows.x[r, s] == pytest.approx(frame.mean(), abs=1e-12)
        for s in (2, 3):
            assert rows.x[r, s] == other[s] if s in other else np.isnan(rows.x[r, s])


# -- in the whole monitor --------------------------------------------------------------------------

CONFIG = MonitorConfig(warm_up_rows=100, windows=windows.Config(
    frame=vibration.Config(("left", "right"), HZ, 256)))


def samples(registry: Registry, machines: int, frames: int, struck_from: int) -> ReadingBatch:
    """Wide rows of two sampled sensors; the left one of the last machine begins to be struck."""
    x = np.empty((machines, frames * 256, 2))
    for a in range(machines):
        for f in range(frames):
            for s in range(2):
                bad = a == machines - 1 and s == 0 and f >= struck_from
                x[a, f * 256 : (f + 1) * 256, s] = bursts(
                    1000 * a + 10 * f + s, HZ, 256, 60.0, 6.0 if bad else 0.0)
    for a in range(machines):
        registry.columns(registry.asset(f"pump {a}"), ("left", "right"))
    count = frames * 256
    return reading_batch(
        np.tile(np.repeat(np.arange(machines), 2), count), np.tile([0, 1], count * machines),
        START + np.repeat((np.arange(count) * 1e9 / HZ).astype(np.int64), 2 * machines),
        x.transpose(1, 0, 2).ravel(), np.tile([False, True], count * machines))


def run(cuts: list[int]) -> tuple[Registry, list[Outcome]]:
    registry = Registry()
    monitor = Monitor(CONFIG, registry)
    batch = samples(registry, 2, 160, 130)
    return registry, [monitor.process(part) for part in cut(batch, cuts)]


def test_a_struck_bearing_is_told_by_its_sensor() -> None:
    _, outcomes = run([])
    fired = [a for o in outcomes for a in o.alerts if a.state == "firing"]
    assert fired
    assert {a.asset for a in fired} == {"pump 1"}
    assert fired[0].contributions[0].sensor.startswith("left.")
    first = START + round(130 * 256 / HZ * 1e9)
    assert first <= fired[0].time_ns <= first + round(5 * 256 / HZ * 1e9)


def test_the_cut_of_the_stream_changes_nothing() -> None:
    _, whole = run([])
    length = sum(len(o.reason) for o in whole)
    for seed in range(2):
        edges = sorted(np.random.default_rng(seed).integers(0, length, 60).tolist())
        assert told(run(edges)[1]) == told(whole)


def test_a_restart_in_the_middle_of_a_frame_changes_nothing() -> None:
    from anomaly import snapshot

    _, whole = run([])
    registry = Registry()
    monitor = Monitor(CONFIG, registry)
    parts = list(cut(samples(registry, 2, 160, 130), [66_667]))
    said = [monitor.process(parts[0])]
    second, _ = snapshot.from_bytes(snapshot.to_bytes(monitor, {}), CONFIG)
    assert told([*said, second.process(parts[1])]) == told(whole)


def test_the_compiled_gatherer_is_the_plain_one() -> None:
    from anomaly import frames

    readings = stream(3, 400)
    config = dataclasses.replace(FRAME)
    columns = [np.array(column) for column in zip(*readings, strict=True)]
    n = len(readings)
    said = []
    for function in (frames.close_frames, frames.close_frames.py_func):
        state = frames.allocate(config, 1, 4)
        framed, place = np.zeros((20, 64)), np.zeros((20, 2), np.int64)
        out = (np.zeros(20, np.int64), np.zeros(20, np.int64), np.zeros((20, 4)),
               np.zeros(20, np.int64), np.full((20, 2), -1))
        counts = function(
            *state.values(), 64, 750_000, 10**9, np.array([0, 1, -1, -1]), np.array([2]),
            np.arange(4).reshape(1, -1), np.zeros(n, np.int64), columns[0],
            columns[1].astype(np.int64), columns[2], np.zeros(n, np.int8), 0,
            np.zeros(n, np.int8), framed, place, *out)
        said.append((counts, b"".join(
            part.tobytes() for part in (framed, place, *out, *state.values()))))
    assert said[0] == said[1]
    assert said[0][0][2] > 0


def test_a_velocitys_limit_is_the_end_of_zone_c_unless_one_is_set() -> None:
    table = {"sensors": ["a"], "sample_hz": 1000.0, "unit": "g", "group": "1",
             "support": "flexible"}
    config = parse({"windows": {"frame": table}})
    assert config.sensor_config("m", "a.velocity_rms_mm_s").limit_high == 11.0
    assert config.sensor_config("m", "a.rms").limit_high == math.inf
    assert config.sensor_config("m", "b.velocity_rms_mm_s").limit_high == math.inf
    own = parse({"windows": {"frame": table}, "sensor": {
        "a.velocity_rms_mm_s": {"limit_high": 5.0}}})
    assert own.sensor_config("m", "a.velocity_rms_mm_s").limit_high == 5.0
    with pytest.raises(ConfigError, match="group"):
        vibration.Config(group="7")
