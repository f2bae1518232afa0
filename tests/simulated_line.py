"""What the tests of the simulated line share: a small line, a run of it joined, its invariants."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streams.simulate import (
    Injection,
    LineConfig,
    Product,
    ProductRun,
    Shift,
    Truth,
    default_stations,
    simulate,
)
from streams.simulation import line

HOUR = 3600.0
START = 3600.0  # of the injections under test
STATION = 1  # where they act


def small_line(**changes: object) -> LineConfig:
    """Three stations, two and a half hours, one product change at 1 h 10 min."""
    config = LineConfig(
        stations=default_stations(3),
        products=(Product("A"), Product("B", 1.1, 1.1, 1.05)),
        product_runs=(ProductRun(4200.0, 1),),
        shifts=(Shift(6.0, 14.0, breaks=((6.5, 600.0), (8.2, 420.0))),),
        seed=7,
        duration_seconds=2.5 * HOUR,
    )
    return replace(config, **changes)


class Recording:
    """All chunks of a run, joined."""

    def __init__(self, config: LineConfig, injections: tuple[Injection, ...] = (), **kw: float):
        self.config = config
        chunks = list(simulate(config, injections, **kw))
        self.time_ns = np.concatenate([chunk.time_ns for chunk in chunks])
        self.asset = np.concatenate([chunk.asset for chunk in chunks])
        self.values = np.concatenate([chunk.values for chunk in chunks])
        self.bookings = np.concatenate([chunk.bookings for chunk in chunks])
        self.cycles = np.concatenate([chunk.cycles for chunk in chunks])
        self.buffers = np.concatenate([chunk.buffers for chunk in chunks])
        self.seconds = (self.time_ns - config.start_time_ns) / 1e9
        truth = Truth(config, injections)
        for chunk in chunks:
            truth.add(chunk)
        self.truth = truth.document()

    def channel(self, name: str, station: int = STATION) -> np.ndarray:
        return self.values[self.asset == station, self.config.columns.index(name)]

    def at(self, station: int = STATION) -> np.ndarray:
        return self.seconds[self.asset == station]

    def during(self, name: str, first: float, last: float, station: int = STATION) -> np.ndarray:
        at = self.at(station)
        return self.channel(name, station)[(at >= first) & (at < last)]

    def cycle_seconds(self, first: float, last: float, station: int = STATION) -> np.ndarray:
        """Working time over nominal time of the cycles begun in the span."""
        own = self.cycles[self.cycles["station"] == station]
        begun = (own["start_scan"] >= first * 10) & (own["start_scan"] < last * 10)
        return (own["work_scans"] / own["nominal_scans"])[begun]

    def booked(self, heading: str, station: int = STATION) -> float:
        return float((self.bookings[:, station] == line.BOOKINGS.index(heading)).sum() / 10)


def same(a: Recording, b: Recording, until: float = np.inf) -> bool:
    """Rows, bookings and cycles equal in every bit up to a time."""
    rows_a, rows_b = a.seconds < until, b.seconds < until
    scans = int(min(until * 10, a.bookings.shape[0]))
    cycles = [r.cycles[r.cycles["end_scan"] <= scans] for r in (a, b)]
    return (
        np.array_equal(a.time_ns[rows_a], b.time_ns[rows_b])
        and np.array_equal(a.asset[rows_a], b.asset[rows_b])
        and a.values[rows_a].tobytes() == b.values[rows_b].tobytes()
        and np.array_equal(a.bookings[:scans], b.bookings[:scans])
        and np.array_equal(*cycles)
    )


def assert_conserved(recording: Recording) -> None:
    config = recording.config
    stations = len(config.stations)
    scans = config.rows * config.scans_per_row
    assert recording.bookings.shape == (scans, stations)
    assert recording.bookings.min() >= 0
    assert recording.bookings.max() < len(line.BOOKINGS)
    wall = scans / 10
    for name, sums in recording.truth["booked"].items():
        # Integers underneath, so equal and not close.
        assert round(sum(round(10 * value) for value in sums.values())) == scans, name
        runs = recording.truth["bookings"][name]
        assert runs["start_scan"][0] == 0
        assert all(a < b for a, b in zip(runs["start_scan"], runs["start_scan"][1:], strict=False))
        assert all(a != b for a, b in zip(runs["code"], runs["code"][1:], strict=False))
        assert sum(sums.values()) == pytest.approx(wall, abs=1e-6)
    for s in range(stations - 1):
        capacity = config.stations[s].buffer_capacity
        buffers = recording.buffers[:, s]
        assert buffers.min() >= 0
        assert buffers.max() <= capacity
        # Good parts out of a station minus parts into the next = what lies between or in hands.
        own = recording.cycles[recording.cycles["station"] == s]
        following = recording.cycles[recording.cycles["station"] == s + 1]
        good = int((own["rejected"] == 0).sum())
        initial = (capacity + 1) // 2
        assert following.size <= good + initial
        left = initial + good - following.size
        assert 0 <= left - int(buffers[-1]) <= 2 + 1  # one in each machine, one scan to the end
