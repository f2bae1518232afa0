"""Faults and inefficiencies: the closed list of kinds, their checks, and how strong each is when.

What an effect *does* to the machine is in ``line`` (cycles, stops, rejects) and ``sensors`` (heat,
power, vibration, readings); here is only what was asked for, and its size at a given moment.
Ramps grow from nothing at the start to the full size at the end; steps are there at once; both are
gone at the end (repaired), except that a breakdown first costs ``repair_seconds``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.kernel import kernel
from streams.simulation.config import (
    SCANS_PER_SECOND,
    SENSOR_NAMES,
    LineConfig,
    SimulationError,
)

# Codes for the kernels; each is the position of its kind in KINDS.
BEARING_WEAR = 0
LEAK = 1
MOTOR_OVERLOAD = 2
OVERHEATING = 3
TOOL_WEAR = 4
MICRO_STOPS = 5
SLOW_CYCLE = 6
ENERGY_DRIFT = 7
REJECT_RATE = 8
IDLE_ENERGY = 9
CHANGEOVER_LOSS = 10
UNPLANNED_STOP = 11
SENSOR_FROZEN = 12
SENSOR_OFFSET = 13
SENSOR_DROPOUT = 14
SENSOR_NOISE = 15
DATA_GAP = 16
CLOCK_JUMP = 17

_SCANS_PER_DAY = 86_400.0 * SCANS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of injection: what it is, what its size means, where it shows."""

    name: str
    description: str
    size_meaning: str
    default_size: float
    smallest_size: float
    largest_size: float
    sensors: tuple[str, ...]
    course: str  # "ramp", "step" or "per day"
    ends_in_stop: bool = False
    on_sensor: bool = False


_VIBRATION = "vibration_millimetres_per_second"
KINDS: tuple[Kind, ...] = (
    Kind("bearing_wear", "vibration and bearing heat grow until the machine stops",
         "relative rise of vibration at the end", 5.0, 0.0, 100.0,
         (_VIBRATION, "bearing_celsius"), "ramp", ends_in_stop=True),
    Kind("leak", "compressed air is lost, cylinders and so cycles slow down",
         "fraction of the pressure lost at the end", 0.2, 0.0, 0.9,
         ("pressure_bar", "cycle_seconds"), "ramp"),
    Kind("motor_overload", "friction: more current and power for the same work, a warmer motor",
         "relative rise of the load", 0.25, 0.0, 5.0,
         ("current_amperes", "power_kilowatts", "motor_celsius"), "step"),
    Kind("overheating", "the cooling fails by degrees until the motor protection trips",
         "relative rise of the motor's temperature above the hall at the end", 0.8, 0.0, 10.0,
         ("motor_celsius", "bearing_celsius"), "ramp", ends_in_stop=True),
    Kind("tool_wear", "more and more rejects, a little more load, until the tool is changed",
         "relative rise of the reject rate at the end", 8.0, 0.0, 100.0,
         ("rejects_count", "power_kilowatts", _VIBRATION), "ramp"),
    Kind("micro_stops", "jams of 1 to 5 cycles in the middle of a cycle",
         "jams per hour of work", 12.0, 0.0, 1000.0, ("cycle_seconds", "state"), "step"),
    Kind("slow_cycle", "every cycle takes longer, nothing else changes",
         "relative rise of the cycle time", 0.05, -0.4, 5.0,
         ("cycle_seconds", "parts_count"), "step"),
    Kind("energy_drift", "each part costs a little more energy every day",
         "relative rise of the working power per day", 0.02, -1.0, 10.0,
         ("power_kilowatts", "energy_kilowatt_hours"), "per day"),
    Kind("reject_rate", "more parts are scrapped",
         "factor on the reject rate", 3.0, 0.0, 100.0, ("rejects_count",), "step"),
    Kind("idle_energy", "more power is drawn while nothing is made",
         "relative rise of the waiting and standby power", 1.0, -1.0, 20.0,
         ("power_kilowatts", "energy_kilowatt_hours"), "step"),
    Kind("changeover_loss", "after the next product change the station stays slow",
         "relative rise of the cycle time", 0.08, -0.4, 5.0,
         ("cycle_seconds", "parts_count"), "step"),
    Kind("unplanned_stop", "the machine stops without a warning",
         "unused", 1.0, 0.0, math.inf, ("state", "power_kilowatts"), "step"),
    Kind("sensor_frozen", "one channel repeats its last value",
         "unused", 1.0, 0.0, math.inf, ("bearing_celsius",), "step", on_sensor=True),
    Kind("sensor_offset", "one channel reads too high or, negative, too low",
         "added, in the channel's own unit", 4.0, -1e9, 1e9,
         ("bearing_celsius",), "step", on_sensor=True),
    Kind("sensor_dropout", "one channel is missing from rows at random",
         "share of rows without it", 1.0, 0.0, 1.0, ("pressure_bar",), "step", on_sensor=True),
    Kind("sensor_noise", "one channel becomes noisy",
         "additional noise in multiples of the healthy noise", 5.0, 0.0, 1e6,
         ("motor_celsius",), "step", on_sensor=True),
    Kind("data_gap", "no rows arrive from the station", "unused", 1.0, 0.0, math.inf, (), "step"),
    Kind("clock_jump", "the station's clock is wrong, its rows still arrive in order",
         "seconds ahead or, negative, behind", 3600.0, -1e7, 1e7, (), "step"),
)  # fmt: skip
KIND_NAMES: tuple[str, ...] = tuple(kind.name for kind in KINDS)

#: One row per injection as the kernels read it; ``sensor`` is −1 unless the kind is on a sensor.
INJECTION_DTYPE = np.dtype(
    [
        ("kind", np.int64),
        ("station", np.int64),
        ("start", np.int64),
        ("end", np.int64),
        ("size", np.float64),
        ("sensor", np.int64),
    ]
)


@dataclass(frozen=True, slots=True)
class Injection:
    """One fault or inefficiency.

    Attributes
    ----------
    kind : str
        One of :data:`KIND_NAMES`.
    station : int
        Position of the station in the line.
    start_seconds, duration_seconds : float
        Since the beginning of the recording; on the grid of 0.1 s.
    size : float
        See the kind's ``size_meaning``.
    sensor : str
        For kinds on a sensor: which channel; empty = the kind's usual one.
    """

    kind: str
    station: int
    start_seconds: float
    duration_seconds: float
    size: float
    sensor: str = ""

    @property
    def start_scan(self) -> int:
        """First scan with an effect."""
        return round(self.start_seconds * SCANS_PER_SECOND)

    @property
    def end_scan(self) -> int:
        """First scan after it."""
        return self.start_scan + round(self.duration_seconds * SCANS_PER_SECOND)


def kind_of(injection: Injection) -> Kind:
    """The kind's description; raises :class:`SimulationError` for an unknown one."""
    if injection.kind not in KIND_NAMES:
        raise SimulationError(
            f"there is no injection {injection.kind!r}; there are {', '.join(KIND_NAMES)}"
        )
    return KINDS[KIND_NAMES.index(injection.kind)]


def sensors_of(injection: Injection) -> tuple[str, ...]:
    """Channels in which the injection shows."""
    if injection.sensor:
        return (injection.sensor,)
    return kind_of(injection).sensors


def failure_seconds(injection: Injection) -> float | None:
    """When the machine stops because of it, seconds since the beginning; None = it does not."""
    if injection.kind == "unplanned_stop":
        return injection.start_scan / SCANS_PER_SECOND
    if kind_of(injection).ends_in_stop:
        return injection.end_scan / SCANS_PER_SECOND
    return None


def injection_table(config: LineConfig, injections: Sequence[Injection]) -> npt.NDArray[np.void]:
    """Check the injections against the line and put them into a table for the kernels.

    Raises
    ------
    SimulationError
        Unknown kind or channel, no such station, times or size out of range.
    """
    table = np.zeros(len(injections), INJECTION_DTYPE)
    for row, injection in zip(table, injections, strict=True):
        kind = kind_of(injection)
        _check(config, injection, kind)
        sensor = sensors_of(injection)[0] if kind.on_sensor else ""
        row["kind"] = KIND_NAMES.index(kind.name)
        row["station"] = injection.station
        row["start"] = injection.start_scan
        row["end"] = injection.end_scan
        row["size"] = injection.size
        row["sensor"] = SENSOR_NAMES.index(sensor) if sensor else -1
    return table


def _check(config: LineConfig, injection: Injection, kind: Kind) -> None:
    where = f"injection {kind.name}"
    if not 0 <= injection.station < len(config.stations):
        raise SimulationError(
            f"{where}: there is no station {injection.station}, "
            f"the line has 0 to {len(config.stations) - 1}"
        )
    if not (0.0 <= injection.start_seconds < config.duration_seconds):
        raise SimulationError(
            f"{where}: start {injection.start_seconds} s is outside the recording "
            f"of {config.duration_seconds:g} s"
        )
    if not (injection.end_scan > injection.start_scan and injection.duration_seconds < 1e9):
        raise SimulationError(f"{where}: duration {injection.duration_seconds} s is not positive")
    if not kind.smallest_size <= injection.size <= kind.largest_size:
        raise SimulationError(
            f"{where}: size {injection.size} is not within {kind.smallest_size:g} and "
            f"{kind.largest_size:g} ({kind.size_meaning})"
        )
    if injection.sensor and not kind.on_sensor:
        raise SimulationError(f"{where}: takes no sensor, it acts on the whole station")
    if injection.sensor and injection.sensor not in SENSOR_NAMES:
        raise SimulationError(
            f"{where}: no sensor {injection.sensor!r}; there are {', '.join(SENSOR_NAMES)}"
        )


@kernel
def line_effects(
    injections: Any, station: int, scan: int, changed_scan: int
) -> tuple[float, float, float]:
    """What the injections do to a cycle that begins at ``scan``.

    ``changed_scan`` is when the station last finished a product change (−1: never).

    Returns
    -------
    tuple of float
        Factor on the cycle time, factor on the reject rate, jams per hour.
    """
    cycle = 1.0
    reject = 1.0
    jams_per_hour = 0.0
    for i in range(injections.size):
        start = injections["start"][i]
        end = injections["end"][i]
        if injections["station"][i] != station or scan < start or scan >= end:
            continue
        kind = injections["kind"][i]
        size = injections["size"][i]
        share = (scan - start) / (end - start)
        if kind == SLOW_CYCLE:
            cycle *= 1.0 + size
        elif kind == LEAK:
            cycle *= 1.0 + 0.5 * size * share  # a cylinder at 10 % less pressure moves 5 % slower
        elif kind == CHANGEOVER_LOSS and changed_scan >= start:
            cycle *= 1.0 + size
        elif kind == REJECT_RATE:
            reject *= size
        elif kind == TOOL_WEAR:
            reject *= 1.0 + size * share
        elif kind == MICRO_STOPS:
            jams_per_hour += size
    return cycle, reject, jams_per_hour


@kernel
def machine_effects(
    injections: Any, station: int, scan: int
) -> tuple[float, float, float, float, float, float, float]:
    """What the injections do to the machine's physics at ``scan``.

    Returns
    -------
    tuple of float
        Rise of vibration, of friction, of tool load, fraction of pressure lost, relative loss of
        cooling, factor on the working power beside the motor, factor on the idle power.
    """
    vibration = 0.0
    friction = 0.0
    tool = 0.0
    pressure = 0.0
    cooling = 0.0
    energy = 1.0
    idle = 1.0
    for i in range(injections.size):
        start = injections["start"][i]
        end = injections["end"][i]
        if injections["station"][i] != station or scan < start or scan >= end:
            continue
        kind = injections["kind"][i]
        size = injections["size"][i]
        share = (scan - start) / (end - start)
        if kind == BEARING_WEAR:
            # Spalls grow as they are rolled over: a tenth of the rise at half of the time.
            vibration += size * (np.exp(4.4 * share) - 1.0) / (np.exp(4.4) - 1.0)
        elif kind == LEAK:
            pressure += size * share
        elif kind == MOTOR_OVERLOAD:
            friction += size
        elif kind == OVERHEATING:
            cooling += size * share
        elif kind == TOOL_WEAR:
            tool += 0.1 * share
        elif kind == ENERGY_DRIFT:
            energy *= 1.0 + size * (scan - start) / _SCANS_PER_DAY
        elif kind == IDLE_ENERGY:
            idle *= 1.0 + size
    return vibration, friction, tool, pressure, cooling, energy, idle
