"""The recording, chunk by chunk: calendar → line → sensors → rows, in bounded memory.

No files here (``writer``) and no physics (``line``, ``sensors``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streams.simulation import calendar, line, sensors
from streams.simulation.config import (
    SCAN_NS,
    SCANS_PER_SECOND,
    SENSOR_NAMES,
    LineConfig,
    SimulationError,
    default_stations,
)
from streams.simulation.injections import CLOCK_JUMP, DATA_GAP, Injection, injection_table

#: One simulated hour of a line is a few megabytes.
CHUNK_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Rows of all stations over a span of time, and what really happened in it.

    Attributes
    ----------
    columns : tuple of str
        Names of the ``d`` columns of ``values``.
    time_ns : int64[n]
        In order of arrival; in order of time too unless a clock jumped.
    asset : int64[n]
        Position of the station in the line.
    values : float64[n, d]
        NaN = missing.
    first_scan : int
        First scan of 0.1 s that the chunk covers.
    bookings : int8[scans, stations]
        Where each scan went, as positions in ``line.BOOKINGS``; truth, not a reading.
    cycles : CYCLE_DTYPE[c]
        Every cycle finished in the span, in order of their end; truth.
    buffers : int64[rows, stations]
        Good parts between each station and the next at the time of each row; truth.
    """

    columns: tuple[str, ...]
    time_ns: npt.NDArray[np.int64]
    asset: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    first_scan: int
    bookings: npt.NDArray[np.int8]
    cycles: npt.NDArray[np.void]
    buffers: npt.NDArray[np.int64]


def simulate(
    config: LineConfig,
    injections: Sequence[Injection] = (),
    *,
    chunk_seconds: float = CHUNK_SECONDS,
) -> Iterator[Chunk]:
    """Simulate the line, in chunks of about ``chunk_seconds``.

    The rows do not depend on ``chunk_seconds``; before an injection's start they do not depend on
    the injection either, in any bit.

    Raises
    ------
    SimulationError
        At once, before the first chunk, for an injection that does not fit the line.
    """
    table = injection_table(config, injections)
    rows_per_chunk = max(int(chunk_seconds * SCANS_PER_SECOND) // config.scans_per_row, 1)
    if chunk_seconds <= 0.0:
        raise SimulationError(f"chunk_seconds must be positive, not {chunk_seconds}")
    return _chunks(config, tuple(injections), table, rows_per_chunk)


def warm_up() -> None:
    """Compile the kernels (a few seconds once; afterwards they come from the cache)."""
    for _ in simulate(LineConfig(default_stations(1), duration_seconds=2.0)):
        pass


def _chunks(
    config: LineConfig,
    injections: tuple[Injection, ...],
    table: npt.NDArray[np.void],
    rows_per_chunk: int,
) -> Iterator[Chunk]:
    offs = calendar.off_times(config)
    stations, machines = line.station_table(config), sensors.machine_table(config)
    profiles, meters = line.load_profiles(config), sensors.meter_table()
    line_keys, sensor_keys = line.random_keys(config), sensors.random_keys(config)
    cycle_factors = np.array([product.cycle_factor for product in config.products])
    product_factors = np.array([(p.power_factor, p.vibration_factor) for p in config.products])
    limits = np.array(
        [
            round(config.changeover_seconds * SCANS_PER_SECOND),
            round(config.micro_stop_seconds * SCANS_PER_SECOND),
        ],
        np.int64,
    )
    line_state = line.allocate(config, int(calendar.products(config, 0, 1)[0]))
    physics_state = sensors.allocate(config)
    last = np.full((len(stations), sensors.SENSOR_COUNT), np.nan)
    step = config.scans_per_row
    start_of_day = config.start_time_ns / 1e9 % 86_400.0
    for first_row in range(0, config.rows, rows_per_chunk):
        rows = min(rows_per_chunk, config.rows - first_row)
        first_scan, scans = first_row * step, rows * step
        operation = np.zeros((rows, len(stations)), line.OPERATION_DTYPE)
        bookings = np.empty((scans, len(stations)), np.int8)
        # A cycle takes at least half a nominal second, so five scans; one may be under way.
        cycles = np.zeros((scans // 5 + 2) * len(stations), line.CYCLE_DTYPE)
        logged = line.advance(
            line_state, stations, cycle_factors, profiles, line_keys, table, limits,
            first_scan, step, calendar.working(offs, first_scan, scans),
            calendar.products(config, first_scan, scans),
            calendar.forced_stops(config, injections, first_scan, scans),
            operation, bookings, cycles,
        )  # fmt: skip
        row = np.arange(first_row, first_row + rows, dtype=np.float64)
        seconds = np.asarray(row * config.row_interval_seconds, np.float64)
        epoch = np.asarray(config.start_time_ns / 1e9 + seconds, np.float64)
        values = np.empty((rows, len(stations), sensors.SENSOR_COUNT))
        sensors.sense(
            physics_state, last, machines, product_factors, meters, sensor_keys, table,
            first_row, step, config.row_interval_seconds, start_of_day,
            sensors.hall_celsius(config.seed, epoch), calendar.fouling(config, seconds),
            operation, values,
        )  # fmt: skip
        yield _rows(config, table, first_row, values, bookings, cycles[:logged], operation)


def _rows(
    config: LineConfig,
    table: npt.NDArray[np.void],
    first_row: int,
    values: npt.NDArray[np.float64],
    bookings: npt.NDArray[np.int8],
    cycles: npt.NDArray[np.void],
    operation: npt.NDArray[np.void],
) -> Chunk:
    """Lay the chunk out as wide rows; drop gaps, bend clocks, choose columns."""
    rows, stations, channels = values.shape
    scan = np.repeat((first_row + np.arange(rows, dtype=np.int64)) * config.scans_per_row, stations)
    asset = np.tile(np.arange(stations, dtype=np.int64), rows)
    time_ns = config.start_time_ns + scan * SCAN_NS
    kept = np.ones(scan.size, np.bool_)
    first_scan = first_row * config.scans_per_row
    for row in table:
        covered = (asset == row["station"]) & (scan >= row["start"]) & (scan < row["end"])
        if row["kind"] == DATA_GAP:
            kept &= ~covered
            span = slice(max(row["start"] - first_scan, 0), max(row["end"] - first_scan, 0))
            bookings[span, row["station"]] = line.NO_DATA
        elif row["kind"] == CLOCK_JUMP:
            time_ns[covered] += round(float(row["size"]) * 1e9)
    flat = values.reshape(rows * stations, channels)
    if config.columns != SENSOR_NAMES:
        flat = flat[:, [SENSOR_NAMES.index(name) for name in config.columns]]
    if not kept.all():
        time_ns, asset, flat = time_ns[kept], asset[kept], flat[kept]
    return Chunk(
        config.columns, time_ns, asset, np.ascontiguousarray(flat), first_scan, bookings, cycles,
        np.ascontiguousarray(operation["buffer"]),
    )  # fmt: skip
