"""Cycles and states read from a signal: against plain Python, laws, and no cycles on noise."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from anomaly import shape_search, shapes
from anomaly.batches import reading_batch
from anomaly.config import ConfigError, parse
from anomaly.monitor import Monitor
from anomaly.production_roles import Config, role_names
from anomaly.registry import Registry
from tests.naive import shapes as naive

START = 1_700_000_000 * 10**9


def machine(
    seed: int, count: int, kind: str = "strokes", period: float = 41.0, scatter: float = 0.015,
    pauses: float = 0.02, noise: float = 0.03, jitter: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seconds, power and the true ends of the cycles of a machine sampled about once a second."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(count) + jitter * rng.uniform(-0.45, 0.45, count)
    power, ends, t = np.ones(count), [], 0.0
    while t < count:
        length = period * (1.0 + scatter * rng.normal())
        inside = (seconds >= t) & (seconds < t + length)
        phase = (seconds[inside] - t) / length
        power[inside] = {
            "strokes": 2.0 + 3.0 * (phase % 0.5 < 0.2) + 1.5 * (phase > 0.75),
            "sine": 3.0 + 2.0 * np.sin(2.0 * np.pi * phase), "saw": 1.0 + 4.0 * phase,
        }[kind]
        t += length
        ends.append(t)
        t += rng.uniform(30.0, 900.0) * (rng.random() < pauses)
    return seconds, power * (1.0 + noise * rng.normal(size=count)), np.array(ends)


def noise(seed: int, count: int, kind: str) -> np.ndarray:
    """Signals without cycles."""
    rng = np.random.default_rng(seed)
    fresh = rng.normal(size=count)
    if kind == "walk":
        return np.cumsum(fresh)
    if kind == "switch":
        return 5.0 * (np.cumsum(rng.random(count) < 0.03) % 2) + 0.1 * fresh
    out = fresh.copy()
    first, second = {"white": (0.0, 0.0), "memory": (0.95, 0.0), "ringing": (1.8, -0.9)}[kind]
    for i in range(2, count):
        out[i] += first * out[i - 1] + second * out[i - 2]
    return out


def followed(
    state: dict[str, Any], seconds: np.ndarray, power: np.ndarray, edges: tuple[int, ...] = ()
) -> tuple[np.ndarray, np.ndarray]:
    time_ns = START + np.round(seconds * 1e9).astype(np.int64)
    told, parts = np.zeros(1, np.int64), []
    for low, high in zip((0, *edges), (*edges, power.size), strict=True):
        parts.append(shapes.run(
            state, told, np.zeros(high - low, np.int64), time_ns[low:high], power[low:high]))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


@pytest.mark.parametrize("kind", ["strokes", "sine", "saw", "white", "switch", "ringing"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_search_of_a_window_against_plain_python(kind: str, seed: int) -> None:
    if kind in ("strokes", "sine", "saw"):
        values = machine(seed, shape_search.WINDOW, kind, pauses=0.05 * seed)[1]
    else:
        values = noise(seed, shape_search.WINDOW, kind)
    expected = naive.search(values)
    found, reference = np.zeros(shape_search.FIELDS), np.zeros(shape_search.BINS)
    said = shape_search.search(values, found, reference)
    assert said == (expected is not None)
    if expected is not None:
        names = ("usual", "smoothing", "way", "level", "band", "confidence")
        assert found == pytest.approx([expected[name] for name in names], rel=1e-9)
        assert reference == pytest.approx(expected["reference"], rel=1e-9)


@pytest.mark.parametrize("kind", ["strokes", "sine", "saw"])
def test_cycles_against_plain_python(kind: str) -> None:
    seconds, power, _ = machine(3, 9000, kind, pauses=0.03, jitter=1.0)
    power[5000:5200] = np.nan  # a gap
    said = ~np.isnan(power)
    state = shapes.allocate(1)
    before, own = 0, None
    for i in range(0, 9000, 10):  # the moment of the find
        followed(state, seconds[i : i + 10], power[i : i + 10])
        if state["asset_row"][0]["phase"] == shapes.FOUND:
            before, own = i + 10, state["asset_row"][0].copy()
            break
    assert own is not None
    ended, length = followed(state, seconds[before:], power[before:])
    marker = {"usual": own["usual_ns"] / 1e9, "smoothing": own["smooth_ns"] / 1e9,
              "way": float(own["way"]), "level": float(own["level"]), "band": float(own["band"])}
    kept = np.flatnonzero(said[before:]) + before
    told = naive.cycles(marker, state["asset_reference"][0], seconds[kept].tolist(),
                        power[kept].tolist(), own["interval_ns"] / 1e9)
    expected = [(t, s) for t, s, fits in told if fits]
    at = np.flatnonzero(ended == 1.0)
    # The twin begins with the find, in the middle of a cycle: the first of each may differ.
    assert at.size > 100
    got = dict(zip(seconds[before:][at].tolist(), length[at].tolist(), strict=True))
    matched = [(got[t], s) for t, s in expected if t in got]
    assert len(matched) >= max(len(expected), at.size) - 2
    assert [g for g, _ in matched] == pytest.approx([s for _, s in matched], abs=0.02)


@pytest.mark.parametrize("kind", ["strokes", "sine", "saw"])
def test_every_cycle_is_counted_and_timed(kind: str) -> None:
    seconds, power, ends = machine(5, 20_000, kind)
    ended, length = followed(shapes.allocate(1), seconds, power)
    first = seconds[np.flatnonzero(~np.isnan(ended))[0]]
    true = int((ends > first).sum())
    assert first < 2500.0  # a window and the probation
    # An interruption may hide a part or seem to be one: 2 % of the cycles have one.
    assert 0.94 * true <= np.nansum(ended) <= 1.05 * true
    assert np.nanmedian(length) == pytest.approx(41.0, rel=0.005)


@pytest.mark.parametrize("kind", ["white", "walk", "memory", "switch", "ringing"])
def test_noise_has_no_cycles(kind: str) -> None:
    for seed in range(6):
        ended, _ = followed(shapes.allocate(1), np.arange(20_000.0), noise(seed, 20_000, kind))
        assert not np.nansum(ended)


def test_a_constant_and_a_day_have_no_cycles() -> None:
    seconds = np.arange(20_000.0)
    assert not np.nansum(followed(shapes.allocate(1), seconds, np.full(20_000, 3.0))[0])
    day = np.sin(seconds / 86_400.0 * 2.0 * np.pi)
    assert not np.nansum(followed(shapes.allocate(1), seconds, day)[0])


def test_another_speed_is_followed() -> None:
    seconds, power, _ = machine(5, 8000)
    later, slow, ends = machine(6, 12_000, period=53.0)
    state = shapes.allocate(1)
    followed(state, seconds, power)
    ended, length = followed(state, later + 8000.0, slow)
    assert np.nanmedian(length[-4000:]) == pytest.approx(53.0, rel=0.01)
    assert np.nansum(ended[-4000:]) >= 0.95 * (ends > 8000.0).sum()


@pytest.mark.parametrize("seed", range(4))
def test_cuts_restarts_and_others_change_no_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seconds, power, _ = machine(seed, 5000, jitter=1.0)
    power[rng.random(5000) < 0.01] = np.nan
    whole, cut = shapes.allocate(1), shapes.allocate(1)
    expected = followed(whole, seconds, power)
    edges = tuple(sorted(rng.choice(np.arange(1, 5000), 5, replace=False).tolist()))
    for one, other in zip(expected, followed(cut, seconds, power, edges), strict=True):
        assert np.array_equal(one, other, equal_nan=True)
    assert all(whole[name].tobytes() == cut[name].tobytes() for name in whole)
    first = shapes.allocate(1)
    followed(first, seconds[: edges[0]], power[: edges[0]])
    restored = copy.deepcopy(first)
    followed(restored, seconds[edges[0] :], power[edges[0] :])
    assert all(whole[name].tobytes() == restored[name].tobytes() for name in whole)
    # Another asset in between.
    both = shapes.allocate(2)
    order = rng.permutation(np.repeat([0, 1], 5000))
    place = np.empty(10_000, np.int64)
    for a in (0, 1):
        place[order == a] = np.arange(5000)
    time_ns = START + np.round(seconds * 1e9).astype(np.int64)
    ended, _ = shapes.run(both, np.zeros(2, np.int64), order, time_ns[place], power[place])
    assert np.array_equal(ended[order == 1], expected[0], equal_nan=True)
    assert both["asset_row"][0].tobytes() == whole["asset_row"][0].tobytes()
    assert not any(np.isnan(array).any() for array in whole.values() if array.dtype == float)


def watched(names: tuple[str, ...], columns: np.ndarray, losses: dict[str, Any]) -> Monitor:
    registry = Registry()
    monitor = Monitor(parse({"budget": "1/week", "detectors": ["level"], "losses": losses}),
                      registry)
    a = registry.asset("press")
    index = registry.columns(a, names)
    count, width = columns.shape
    for low in range(0, count, 4000):
        rows = columns[low : low + 4000]
        time_ns = START + (low + np.arange(len(rows))) * 10**9
        monitor.process(reading_batch(
            np.repeat(a, rows.size), np.tile(index, len(rows)), np.repeat(time_ns, width),
            rows.ravel(), np.tile(np.arange(width) == width - 1, len(rows))))
    return monitor


def test_the_engine_reads_cycles_where_nothing_else_tells_them() -> None:
    _, power, ends = machine(7, 16_000)
    heat = 50.0 + np.random.default_rng(0).normal(size=power.size)
    monitor = watched(("power_kw", "heat"), np.column_stack([power, heat]), {})
    told = monitor.statement(0)
    assert told is not None
    assert told.cycle_seconds == pytest.approx(41.0, rel=0.02)
    assert told.total.parts >= 0.8 * ends.size
    assert told.total.wall_seconds == 15_999.0
    said = {c.sensor: c.detail for c in monitor.conditions()}
    assert said["power_kw"].startswith("cycles are read from its shape: about 41 s each (conf")
    assert watched(("power_kw", "heat"), np.column_stack([power, heat]),
                   {"shape_sensor": "none"}).statement(0) is None
    forced = watched(("draw", "heat"), np.column_stack([power, heat]), {"shape_sensor": "draw"})
    again = forced.statement(0)
    assert again is not None
    assert again.total.parts == told.total.parts


def test_a_counter_a_pulse_or_a_state_goes_before_the_shape() -> None:
    assert "shape" not in role_names(Config(), ["position", "parts_count"])
    assert role_names(Config(), ["state", "power_kw"]) == {}
    assert role_names(Config(), ["temperature"]) == {}
    assert role_names(Config(), ["temperature", "Motor Current"]) == {"shape": "Motor Current"}
    assert role_names(Config(shape_sensor="none"), ["power_kw"]) == {}
    with pytest.raises(ConfigError):
        parse({"losses": {"shape_sensors": "power"}})
