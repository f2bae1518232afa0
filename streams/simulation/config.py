"""What a simulated line is: stations, products, calendar. Plain values, checked when built.

No numbers are drawn here and nothing is computed from time; that is ``calendar`` and ``line``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

#: A machine's controller looks at its inputs ten times a second; every state change, part and stop
#: falls on this grid, so that bookings are integers and sum to the wall time exactly.
SCANS_PER_SECOND = 10
SCAN_NS = 1_000_000_000 // SCANS_PER_SECOND

#: Monday 2 March 2026, 06:00 UTC: an early shift begins.
DEFAULT_START_NS = 1_772_431_200_000_000_000

MAXIMUM_STATIONS = 1_000
MAXIMUM_ROWS = 2_000_000_000  # rows × stations; beyond it a typing error is likelier than a wish

#: Name, decimals reported, absolute noise, noise relative to the value, per channel, in column
#: order. A relative noise of 0.01 is a class-1 meter; 0.1 °C is a Pt100 with its transmitter.
SENSORS: tuple[tuple[str, int, float, float], ...] = (
    ("power_kilowatts", 2, 0.02, 0.010),
    ("current_amperes", 1, 0.05, 0.010),
    ("motor_celsius", 1, 0.15, 0.0),
    ("bearing_celsius", 1, 0.12, 0.0),
    ("vibration_millimetres_per_second", 2, 0.01, 0.030),
    ("pressure_bar", 2, 0.012, 0.0),
    ("cycle_seconds", 1, 0.0, 0.0),
    ("parts_count", 0, 0.0, 0.0),
    ("rejects_count", 0, 0.0, 0.0),
    ("energy_kilowatt_hours", 3, 0.0, 0.0),
    ("state", 0, 0.0, 0.0),
)
SENSOR_NAMES: tuple[str, ...] = tuple(row[0] for row in SENSORS)


class SimulationError(Exception):
    """A line, an injection or an output that cannot be; the message says which and why."""

    retriable = False


@dataclass(frozen=True, slots=True)
class StationConfig:
    """One station; the defaults are a small electric machine with a 28 s cycle.

    Attributes
    ----------
    name : str
        Asset name in the output.
    cycle_seconds : float
        Nominal time to work on one part of the first product, 1 to 3,600.
    cycle_scatter : float
        Standard deviation of the cycle time as a fraction of it, 0 to 0.1.
    buffer_capacity : int
        Places between this station and the next; ≥ 1. The last station delivers without limit.
    standby_kilowatts, idle_kilowatts, load_kilowatts : float
        Power outside planned production, waiting, and *added* to idle while working (mean).
    profile : tuple of (float, float)
        Course of the load within a cycle: pieces (end as a fraction of the cycle, relative level).
    motor_rise_celsius, bearing_rise_celsius : float
        Temperature above the hall's at steady work on the first product.
    vibration_millimetres_per_second : float
        Velocity RMS, 10–1000 Hz, while working in good health.
    reject_fraction : float
        Share of parts scrapped in good health, 0 to 0.5.
    micro_stops_per_hour : float
        Short stops of 5 to 45 s that belong to a healthy machine.
    """

    name: str
    cycle_seconds: float = 28.0
    cycle_scatter: float = 0.01
    buffer_capacity: int = 5
    standby_kilowatts: float = 0.3
    idle_kilowatts: float = 1.8
    load_kilowatts: float = 6.0
    profile: tuple[tuple[float, float], ...] = ((0.15, 0.4), (0.7, 1.3), (0.85, 1.0), (1.0, 0.35))
    motor_rise_celsius: float = 35.0
    bearing_rise_celsius: float = 18.0
    vibration_millimetres_per_second: float = 1.4
    reject_fraction: float = 0.008
    micro_stops_per_hour: float = 0.4

    def __post_init__(self) -> None:
        where = f"station {self.name!r}"
        _require(bool(self.name), "a station needs a name")
        _require(1.0 <= self.cycle_seconds <= 3600.0, f"{where}: cycle_seconds must be 1 to 3600")
        _require(0.0 <= self.cycle_scatter <= 0.1, f"{where}: cycle_scatter must be 0 to 0.1")
        _require(self.buffer_capacity >= 1, f"{where}: buffer_capacity must be at least 1")
        _require(0.0 <= self.reject_fraction <= 0.5, f"{where}: reject_fraction must be 0 to 0.5")
        _require(0.0 <= self.micro_stops_per_hour <= 60.0, f"{where}: micro_stops_per_hour 0 to 60")
        _require(
            self.load_kilowatts > 0.0 and 0.0 <= self.standby_kilowatts <= self.idle_kilowatts,
            f"{where}: needs 0 ≤ standby_kilowatts ≤ idle_kilowatts and load_kilowatts > 0",
        )
        ends = [end for end, _ in self.profile]
        _require(
            bool(ends) and ends == sorted(set(ends)) and ends[0] > 0.0 and ends[-1] == 1.0,
            f"{where}: the profile's pieces must end at rising fractions, the last at 1",
        )


@dataclass(frozen=True, slots=True)
class Product:
    """What a product changes, as factors on every station's own figures."""

    name: str
    cycle_factor: float = 1.0
    power_factor: float = 1.0
    vibration_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class ProductRun:
    """From ``start_seconds`` the line makes product number ``product``, after a changeover."""

    start_seconds: float
    product: int


@dataclass(frozen=True, slots=True)
class Shift:
    """A planned production time, repeated weekly, in UTC hours of the day it begins.

    ``end_hour`` and breaks beyond 24 reach into the next day; ``weekdays`` counts from Monday = 0;
    ``breaks`` are (hour, duration_seconds).
    """

    start_hour: float
    end_hour: float
    weekdays: tuple[int, ...] = (0, 1, 2, 3, 4)
    breaks: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedStop:
    """A stop in the calendar; ``service=True`` cleans the machines (the sawtooth falls back)."""

    start_seconds: float
    duration_seconds: float
    name: str = "planned stop"
    service: bool = False


@dataclass(frozen=True, slots=True)
class LineConfig:
    """A line of stations and one recording of it.

    Attributes
    ----------
    stations : tuple of StationConfig
        In the order in which parts pass them.
    products, product_runs
        The products, and when each is made; the first product runs from the beginning.
    shifts : tuple of Shift
        Empty = production is planned around the clock.
    planned_stops : tuple of PlannedStop
    seed : int
        Same seed and configuration, same bytes.
    row_interval_seconds : float
        A multiple of 0.1 s.
    duration_seconds : float
        Wall time covered; whole rows of it are written.
    start_time_ns : int
        Time of the first row, nanoseconds since 1970 UTC.
    columns : tuple of str
        Channels written, out of :data:`SENSOR_NAMES`.
    changeover_seconds, repair_seconds : float
        Length of a product change, and of the stop after a breakdown.
    micro_stop_seconds : float
        A stop shorter than this is booked as a micro-stop.
    warm_start : bool
        The machines come from an earlier shift and are at temperature.
    initial_fouling : float
        Where the service sawtooth stands at the beginning: 0 just cleaned, 1 a week's dirt.
    """

    stations: tuple[StationConfig, ...]
    products: tuple[Product, ...] = (Product("A"),)
    product_runs: tuple[ProductRun, ...] = ()
    shifts: tuple[Shift, ...] = ()
    planned_stops: tuple[PlannedStop, ...] = ()
    seed: int = 0
    row_interval_seconds: float = 1.0
    duration_seconds: float = 8 * 3600.0
    start_time_ns: int = DEFAULT_START_NS
    columns: tuple[str, ...] = SENSOR_NAMES
    changeover_seconds: float = 600.0
    repair_seconds: float = 2400.0
    micro_stop_seconds: float = 300.0
    warm_start: bool = True
    initial_fouling: float = 0.4

    def __post_init__(self) -> None:
        _require(
            1 <= len(self.stations) <= MAXIMUM_STATIONS,
            f"a line has 1 to {MAXIMUM_STATIONS} stations, not {len(self.stations)}",
        )
        names = [station.name for station in self.stations]
        _require(len(set(names)) == len(names), "two stations have the same name")
        scans = self.row_interval_seconds * SCANS_PER_SECOND
        _require(
            scans >= 1.0 and abs(scans - round(scans)) < 1e-9,
            f"row_interval_seconds must be a multiple of 0.1, not {self.row_interval_seconds}",
        )
        _require(
            self.duration_seconds >= self.row_interval_seconds,
            "duration_seconds must cover at least one row",
        )
        _require(
            self.rows * len(self.stations) <= MAXIMUM_ROWS,
            f"{self.rows * len(self.stations)} rows are more than the limit of {MAXIMUM_ROWS}",
        )
        _require(self.seed >= 0, "seed must be 0 or more")
        unknown = [name for name in self.columns if name not in SENSOR_NAMES]
        _require(
            not unknown and bool(self.columns),
            f"unknown columns {unknown}; there are {', '.join(SENSOR_NAMES)}",
        )
        for run in self.product_runs:
            _require(
                0 <= run.product < len(self.products),
                f"product run at {run.start_seconds} s: there is no product {run.product}",
            )

    @property
    def scans_per_row(self) -> int:
        """Scans between two rows."""
        return round(self.row_interval_seconds * SCANS_PER_SECOND)

    @property
    def rows(self) -> int:
        """Rows per station in the whole recording."""
        return int(self.duration_seconds * SCANS_PER_SECOND + 1e-6) // self.scans_per_row


#: Two shifts on working days, with a quarter and half an hour of break each.
TWO_SHIFTS: tuple[Shift, ...] = (
    Shift(6.0, 14.0, breaks=((9.0, 900.0), (11.5, 1800.0))),
    Shift(14.0, 22.0, breaks=((16.5, 900.0), (19.0, 1800.0))),
)


def default_stations(count: int) -> tuple[StationConfig, ...]:
    """``count`` stations of the five usual kinds in turn, named ``press-1``, ``mill-2``, …"""
    kinds = _usual_stations()
    return tuple(
        replace(kinds[i % len(kinds)], name=f"{kinds[i % len(kinds)].name}-{i + 1}")
        for i in range(count)
    )


def _usual_stations() -> tuple[StationConfig, ...]:
    """The kinds of machine of a default line.

    The welder is the bottleneck: what stands before it is sometimes blocked, what follows starved.
    """
    press = StationConfig(
        "press",
        cycle_seconds=27.0,
        cycle_scatter=0.008,
        standby_kilowatts=0.6,
        idle_kilowatts=3.2,
        load_kilowatts=9.5,
        profile=((0.2, 0.3), (0.35, 0.9), (0.6, 2.1), (0.75, 0.8), (1.0, 0.3)),
        motor_rise_celsius=38.0,
        bearing_rise_celsius=16.0,
        vibration_millimetres_per_second=1.1,
        reject_fraction=0.006,
        micro_stops_per_hour=0.3,
    )
    mill = StationConfig(
        "mill",
        cycle_seconds=28.4,
        cycle_scatter=0.012,
        standby_kilowatts=0.4,
        idle_kilowatts=2.2,
        load_kilowatts=6.2,
        profile=((0.12, 0.3), (0.45, 1.5), (0.55, 0.7), (0.85, 1.4), (1.0, 0.3)),
        motor_rise_celsius=42.0,
        bearing_rise_celsius=24.0,
        vibration_millimetres_per_second=1.9,
        reject_fraction=0.010,
    )
    weld = StationConfig(
        "weld",
        cycle_seconds=30.0,
        standby_kilowatts=0.5,
        idle_kilowatts=1.6,
        load_kilowatts=11.0,
        profile=((0.15, 0.1), (0.4, 1.9), (0.5, 0.2), (0.8, 1.8), (1.0, 0.1)),
        motor_rise_celsius=30.0,
        bearing_rise_celsius=12.0,
        vibration_millimetres_per_second=0.8,
        reject_fraction=0.012,
        micro_stops_per_hour=0.5,
    )
    assembly = StationConfig(
        "assembly",
        cycle_scatter=0.015,
        standby_kilowatts=0.2,
        idle_kilowatts=0.9,
        load_kilowatts=2.4,
        profile=((0.25, 0.7), (0.5, 1.3), (0.75, 0.8), (1.0, 1.2)),
        motor_rise_celsius=26.0,
        bearing_rise_celsius=14.0,
        vibration_millimetres_per_second=1.2,
        micro_stops_per_hour=0.7,
    )
    packing = StationConfig(
        "packing",
        cycle_seconds=26.5,
        standby_kilowatts=0.2,
        idle_kilowatts=1.1,
        load_kilowatts=3.1,
        profile=((0.3, 1.2), (0.6, 0.6), (0.9, 1.4), (1.0, 0.6)),
        motor_rise_celsius=29.0,
        bearing_rise_celsius=15.0,
        vibration_millimetres_per_second=1.6,
        reject_fraction=0.003,
        micro_stops_per_hour=0.8,
    )
    return (press, mill, weld, assembly, packing)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SimulationError(message)
