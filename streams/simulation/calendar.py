"""What is planned: shifts, breaks, stops, services, product runs; and what an injection forces.

Pure functions of the configuration and a range of scans, so that any chunk can be asked for alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streams.simulation.config import SCANS_PER_SECOND, LineConfig
from streams.simulation.injections import Injection, failure_seconds

_DAY_SECONDS = 86_400
_WEEK_SECONDS = 7 * _DAY_SECONDS

#: What a station is forced to at a scan.
FREE = 0
FORCED_MICRO_STOP = 1
FORCED_STOP = 2


@dataclass(frozen=True, slots=True)
class Off:
    """Planned time without production, half open, in scans since the beginning."""

    kind: str  # "off_shift", "break", "planned_stop" or "service"
    start_scan: int
    end_scan: int


def off_times(config: LineConfig) -> tuple[Off, ...]:
    """All planned times without production within the recording, in order; they may overlap."""
    end = config.rows * config.scans_per_row
    found = [
        Off("service" if stop.service else "planned_stop", *_scans(stop.start_seconds,
            stop.duration_seconds))
        for stop in config.planned_stops
    ]  # fmt: skip
    if config.shifts:
        found += _shift_gaps(config, end)
    inside = [off for off in found if off.start_scan < end and off.end_scan > 0]
    clipped = [Off(o.kind, max(o.start_scan, 0), min(o.end_scan, end)) for o in inside]
    return tuple(sorted(clipped, key=lambda off: (off.start_scan, off.end_scan, off.kind)))


def working(offs: Sequence[Off], first_scan: int, scans: int) -> npt.NDArray[np.bool_]:
    """Whether production is planned, ``bool[scans]``, from ``first_scan`` on."""
    result = np.ones(scans, np.bool_)
    for off in offs:
        result[max(off.start_scan - first_scan, 0) : max(off.end_scan - first_scan, 0)] = False
    return result


def products(config: LineConfig, first_scan: int, scans: int) -> npt.NDArray[np.int64]:
    """Number of the product that is to be made, ``int64[scans]``."""
    result = np.zeros(scans, np.int64)
    for run in sorted(config.product_runs, key=lambda run: run.start_seconds):
        start = round(run.start_seconds * SCANS_PER_SECOND)
        result[max(start - first_scan, 0) :] = run.product
    return result


def forced_stops(
    config: LineConfig, injections: Sequence[Injection], first_scan: int, scans: int
) -> npt.NDArray[np.int64]:
    """Stops that injections force, ``int64[scans, stations]`` of FREE, FORCED_MICRO_STOP, …

    A breakdown holds the station for ``repair_seconds``; an unplanned stop for its duration.
    """
    result = np.zeros((scans, len(config.stations)), np.int64)
    for injection in injections:
        failure = failure_seconds(injection)
        if failure is None:
            continue
        breaks_down = injection.kind != "unplanned_stop"
        seconds = config.repair_seconds if breaks_down else injection.duration_seconds
        start, end = _scans(failure, seconds)
        code = FORCED_MICRO_STOP if seconds < config.micro_stop_seconds else FORCED_STOP
        rows = slice(max(start - first_scan, 0), max(end - first_scan, 0))
        result[rows, injection.station] = np.maximum(result[rows, injection.station], code)
    return result


def fouling(config: LineConfig, seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The service sawtooth, ``float64[n]``: weeks since the machines were last cleaned.

    ``seconds`` is ``float64[n]``, since the beginning. A forgotten service lets it grow to 1.5.
    """
    dirt = config.initial_fouling + seconds / _WEEK_SECONDS
    for stop in sorted(config.planned_stops, key=lambda stop: stop.start_seconds):
        if stop.service:
            cleaned = stop.start_seconds + stop.duration_seconds
            dirt = np.where(seconds >= cleaned, (seconds - cleaned) / _WEEK_SECONDS, dirt)
    return np.minimum(dirt, 1.5)


def _shift_gaps(config: LineConfig, end: int) -> list[Off]:
    """Breaks, and what no shift covers; both in scans since the beginning."""
    origin = config.start_time_ns // 1_000_000_000
    first_day = origin // _DAY_SECONDS - 2  # shifts of the days before may still reach in
    last_day = (origin + end // SCANS_PER_SECOND) // _DAY_SECONDS + 1
    spans: list[tuple[int, int]] = []
    breaks: list[Off] = []
    for day in range(first_day, last_day + 1):
        midnight = day * _DAY_SECONDS - config.start_time_ns / 1e9
        for shift in config.shifts:
            if (day + 3) % 7 not in shift.weekdays:  # 1 January 1970 was a Thursday
                continue
            hours = shift.end_hour - shift.start_hour
            spans.append(_scans(midnight + shift.start_hour * 3600.0, hours * 3600.0))
            for hour, duration in shift.breaks:
                breaks.append(Off("break", *_scans(midnight + hour * 3600.0, duration)))
    gaps: list[Off] = []
    reached = min([0, *(start for start, _ in spans)])
    for start, stop in sorted(spans):
        if start > reached:
            gaps.append(Off("off_shift", reached, start))
        reached = max(reached, stop)
    if reached < end:
        gaps.append(Off("off_shift", reached, end))
    return gaps + breaks


def _scans(start_seconds: float, duration_seconds: float) -> tuple[int, int]:
    start = round(start_seconds * SCANS_PER_SECOND)
    return start, start + round(duration_seconds * SCANS_PER_SECOND)
