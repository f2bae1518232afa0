"""From what a station does to what its sensors read: power, heat, vibration, pressure, noise.

Two steps per row: the *truth* (first-order thermal physics and slow disturbances, carried from row
to row) and the *reading* (noise, sensor faults, quantisation). The equations are in the docstring
of :mod:`streams.simulate`. Parts and states are ``line``'s business.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.kernel import kernel
from streams.simulation.config import SENSORS, LineConfig
from streams.simulation.injections import (
    SENSOR_DROPOUT,
    SENSOR_FROZEN,
    SENSOR_NOISE,
    SENSOR_OFFSET,
    machine_effects,
)
from streams.simulation.noise import normal, stream_key, uniform

SENSOR_COUNT = len(SENSORS)

# Columns, in the order of SENSORS.
POWER, CURRENT, MOTOR, BEARING, VIBRATION, PRESSURE, CYCLE, PARTS, REJECTS, ENERGY, STATE = range(
    SENSOR_COUNT
)

_MOTOR_SECONDS = 2400.0  # time constants of a few kW motor's frame and of a housed bearing, at
_BEARING_SECONDS = 1500.0  # work; standing they cool half as fast, for the fan stands too
_AMPERES_PER_KILOWATT = 1.9  # three phases, 400 V, power factor 0.76
_BACKGROUND_VIBRATION = 0.12  # mm/s through the floor from the neighbours
_COMPRESSOR_SECONDS = 420.0  # one load and unload of the hall's compressor
_DISTURBANCE_SECONDS = 600.0  # material, air and grease wander this slowly
_DISTURBANCES = 3
_PURPOSES = _DISTURBANCES + 3 * SENSOR_COUNT  # noise, fault noise, dropout per channel

MACHINE_DTYPE = np.dtype(
    [
        ("standby", np.float64),
        ("idle", np.float64),
        ("load", np.float64),
        ("motor_rise", np.float64),
        ("bearing_rise", np.float64),
        ("vibration", np.float64),
    ]
)

PHYSICS_DTYPE = np.dtype(
    [
        ("motor", np.float64),  # kelvin above the hall
        ("bearing", np.float64),
        ("power_wander", np.float64),  # slow disturbances, standard normal in the long run
        ("vibration_wander", np.float64),
        ("pressure_wander", np.float64),
        ("energy", np.float64),  # kWh since the beginning
    ]
)


def machine_table(config: LineConfig) -> npt.NDArray[np.void]:
    """The stations' figures as the kernels read them."""
    table = np.zeros(len(config.stations), MACHINE_DTYPE)
    for row, station in zip(table, config.stations, strict=True):
        row["standby"] = station.standby_kilowatts
        row["idle"] = station.idle_kilowatts
        row["load"] = station.load_kilowatts
        row["motor_rise"] = station.motor_rise_celsius
        row["bearing_rise"] = station.bearing_rise_celsius
        row["vibration"] = station.vibration_millimetres_per_second
    return table


def meter_table() -> npt.NDArray[np.float64]:
    """Per channel: steps per unit, absolute noise, relative noise; ``float64[channels, 3]``."""
    return np.array(
        [(10.0**decimals, absolute, relative) for _, decimals, absolute, relative in SENSORS]
    )


def random_keys(config: LineConfig) -> npt.NDArray[np.uint64]:
    """Keys of the stations' random streams, ``uint64[stations, purposes]``."""
    return np.array(
        [
            [stream_key(config.seed, 2, station, purpose) for purpose in range(_PURPOSES)]
            for station in range(len(config.stations))
        ],
        np.uint64,
    )


def allocate(config: LineConfig) -> npt.NDArray[np.void]:
    """The machines at the beginning: as warm as the line's pace makes them, or cold."""
    state = np.zeros(len(config.stations), PHYSICS_DTYPE)
    if config.warm_start:
        machines = machine_table(config)
        cycles = np.array([station.cycle_seconds for station in config.stations])
        duty = cycles / cycles.max()  # the slowest station works all the time
        dirt = config.initial_fouling
        heat = duty * (1.0 + 0.04 * dirt) ** 2 * (1.0 + 0.06 * dirt)  # as in _physics
        state["motor"] = machines["motor_rise"] * heat
        state["bearing"] = machines["bearing_rise"] * duty + 0.2 * state["motor"]
    return state


def hall_celsius(seed: int, epoch_seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Temperature of the hall, ``float64[n]``: warmest at 15 h, every day a little different."""
    days = epoch_seconds / 86_400.0
    whole = np.floor(days)
    first = int(whole[0])
    key = stream_key(seed, 3)
    offsets = np.array(
        [1.2 * normal(key, first + i) for i in range(int(whole[-1]) - first + 2)], np.float64
    )
    index = (whole - first).astype(np.int64)
    between = days - whole
    weather = offsets[index] * (1.0 - between) + offsets[index + 1] * between
    return np.asarray(21.0 + weather + 1.5 * np.cos(2.0 * np.pi * (days - 15.0 / 24.0)))


@kernel
def sense(
    state: Any, last: Any, machines: Any, products: Any, meters: Any, keys: Any, injections: Any,
    first_row: int, scans_per_row: int, interval_seconds: float, start_seconds: float,
    hall: Any, dirt: Any, operation: Any, values: Any,
) -> None:  # fmt: skip
    """Readings of one chunk.

    Parameters
    ----------
    state : PHYSICS_DTYPE[stations]
    last : float64[stations, channels]
        The last values reported, for a frozen sensor. Both carried from chunk to chunk, in place.
    machines, meters, keys, injections
        From the functions above and the injections.
    products : float64[products, 2]
        Factor on power and on vibration.
    first_row, scans_per_row : int64
    interval_seconds, start_seconds : float64
        Between rows; time of day of row 0.
    hall, dirt : float64[rows]
        Temperature of the hall, service sawtooth.
    operation : OPERATION_DTYPE[rows, stations]
    values : float64[rows, stations, channels]
        Output.
    """
    for i in range(values.shape[0]):
        row = first_row + i
        scan = row * scans_per_row
        phase = (start_seconds + row * interval_seconds) / _COMPRESSOR_SECONDS
        phase -= np.floor(phase)
        # The pressure falls while the compressor waits and recovers in a fifth of the time.
        supply = 6.2 - 0.08 * (phase / 0.8 if phase < 0.8 else (1.0 - phase) / 0.2)
        seconds = interval_seconds if row > 0 else 0.0
        for s in range(values.shape[1]):
            _physics(
                state[s], machines[s], products, operation[i, s], keys[s],
                machine_effects(injections, s, scan),
                row, seconds, interval_seconds, hall[i], dirt[i], supply, values[i, s],
            )  # fmt: skip
            _read(values[i, s], last[s], meters, keys[s], injections, s, scan, row)


@kernel
def _physics(
    state: Any, machine: Any, products: Any, does: Any, keys: Any, effects: Any,
    row: int, seconds: float, interval_seconds: float, hall: float, dirt: float, supply: float,
    true: Any,
) -> None:  # fmt: skip
    vibration_rise, friction, tool, pressure_loss, cooling_loss, energy, idle = effects
    keep = np.exp(-interval_seconds / _DISTURBANCE_SECONDS)
    push = np.sqrt(1.0 - keep * keep)
    state["power_wander"] = keep * state["power_wander"] + push * normal(keys[0], row)
    state["vibration_wander"] = keep * state["vibration_wander"] + push * normal(keys[1], row)
    state["pressure_wander"] = keep * state["pressure_wander"] + push * normal(keys[2], row)

    running = does["running"]
    waiting = max(1.0 - running - does["standby"], 0.0)
    power_factor = products[does["product"], 0]
    cold = 1.0 - min(max(state["motor"] / (0.8 * machine["motor_rise"]), 0.0), 1.0)

    # Work of the motor relative to healthy work on the first product.
    relative = power_factor * (1.0 + 0.008 * state["power_wander"]) * (1.0 + 0.04 * dirt)
    relative *= (1.0 + friction) * (1.0 + tool) * (1.0 + 0.06 * cold)
    relative *= 1.0 + 0.02 * vibration_rise  # a worn bearing costs a little torque
    motor_kilowatts = machine["load"] * does["load"] * relative
    rest = machine["idle"] * (running + waiting * idle)
    rest += machine["standby"] * does["standby"] * idle
    power = motor_kilowatts * energy + rest
    state["energy"] += power * seconds / 3600.0

    heat = running * relative * relative * (1.0 + 0.06 * dirt) * (1.0 + cooling_loss)
    slower = 2.0 - running
    warmed = 1.0 - np.exp(-seconds / (slower * _MOTOR_SECONDS))
    state["motor"] += warmed * (machine["motor_rise"] * heat - state["motor"])
    rubbing = running * (1.0 + 0.25 * vibration_rise) * (1.0 + 0.3 * friction)
    target = machine["bearing_rise"] * rubbing + 0.2 * state["motor"]
    warmed = 1.0 - np.exp(-seconds / (slower * _BEARING_SECONDS))
    state["bearing"] += warmed * (target - state["bearing"])

    shaking = machine["vibration"] * products[does["product"], 1] * (1.0 + vibration_rise)
    shaking *= (1.0 + 1.5 * tool) * np.exp(0.04 * state["vibration_wander"])
    shaking *= np.sqrt(running)  # the meter forms the root mean square over the row

    true[POWER] = power
    true[CURRENT] = _AMPERES_PER_KILOWATT * (motor_kilowatts + rest)
    true[MOTOR] = hall + state["motor"]
    true[BEARING] = hall + state["bearing"]
    true[VIBRATION] = np.sqrt(shaking * shaking + _BACKGROUND_VIBRATION * _BACKGROUND_VIBRATION)
    demand = 0.10 * does["load"] + 0.05 * dirt
    wander = 0.015 * state["pressure_wander"]
    true[PRESSURE] = (supply - demand + wander) * (1.0 - pressure_loss)
    true[CYCLE] = does["cycle_seconds"]
    true[PARTS] = does["parts"]
    true[REJECTS] = does["rejects"]
    true[ENERGY] = state["energy"]
    true[STATE] = does["state"]


@kernel
def _read(
    values: Any, last: Any, meters: Any, keys: Any, injections: Any,
    station: int, scan: int, row: int,
) -> None:  # fmt: skip
    """Noise, quantisation and sensor faults, in place; ``last`` keeps what was reported."""
    for c in range(values.size):
        noise = meters[c, 1] + meters[c, 2] * abs(values[c])
        value = values[c]
        if noise > 0.0:
            value += noise * normal(keys[_DISTURBANCES + c], row)
        frozen = False
        missing = False
        for i in range(injections.size):
            if injections["station"][i] != station or injections["sensor"][i] != c:
                continue
            if scan < injections["start"][i] or scan >= injections["end"][i]:
                continue
            kind = injections["kind"][i]
            size = injections["size"][i]
            if kind == SENSOR_OFFSET:
                value += size
            elif kind == SENSOR_NOISE:
                floor = max(noise, 1.0 / meters[c, 0])  # a noiseless channel gets steps of its own
                value += size * floor * normal(keys[_DISTURBANCES + SENSOR_COUNT + c], row)
            elif kind == SENSOR_FROZEN:
                frozen = True
            elif kind == SENSOR_DROPOUT:
                draw = uniform(keys[_DISTURBANCES + 2 * SENSOR_COUNT + c], row)
                missing = missing or draw < size
        if frozen:
            value = last[c]
        else:
            value = np.floor(value * meters[c, 0] + 0.5) / meters[c, 0]
            last[c] = value
        values[c] = np.nan if missing else value
