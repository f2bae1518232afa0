"""Parts, buffers and states of the line, scan by scan. No temperatures, no noise on readings.

One scan is 0.1 s. At each scan every station, the last first, (1) makes the moves that take no
time — hand its finished part to the buffer, begin a product change, take the next part — and
(2) spends the scan in exactly one PackML state, booked under exactly one heading. Starving and
blocking are not modelled: they are what is left when a buffer is empty or full.

The kernels write: what the sensors need at every row (:data:`OPERATION_DTYPE`, means over the
scans since the row before), the booking of every scan, and a log of every finished cycle.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.kernel import kernel
from streams.simulation.calendar import FORCED_STOP, FREE
from streams.simulation.config import SCANS_PER_SECOND, LineConfig
from streams.simulation.injections import line_effects
from streams.simulation.noise import normal, stream_key, uniform

# PackML state numbers, ANSI/ISA-TR88.00.02.
STOPPED = 2  # breakdown or unplanned stop
IDLE = 4  # outside planned production
SUSPENDED = 5  # starved or blocked: the cause is outside
EXECUTE = 6
HELD = 11  # jammed: the cause is inside
RESETTING = 15  # product change
STATES: dict[int, str] = {
    STOPPED: "stopped",
    IDLE: "idle",
    SUSPENDED: "suspended",
    EXECUTE: "execute",
    HELD: "held",
    RESETTING: "resetting",
}

# Where a second went. "Slow" is the working time of a cycle beyond the product's nominal one.
AT_RATE = 0
SLOW = 1
MICRO_STOP = 2
STOP = 3
STARVED = 4
BLOCKED = 5
CHANGEOVER = 6
PLANNED = 7
NO_DATA = 8
BOOKINGS: tuple[str, ...] = (
    "at_rate", "slow", "micro_stop", "stop", "starved", "blocked", "changeover", "planned",
    "no_data",
)  # fmt: skip

# What a station has in hands.
_EMPTY = 0
_WORKING = 1
_FINISHED = 2
_CHANGING = 3

_PROFILE_BINS = 64
_STARTUP_AFTER_SCANS = 600 * SCANS_PER_SECOND  # a machine that stood this long starts up again
_PURPOSES = 6  # random streams per station: duration, jam?, how long, where, injected jam?, reject

STATION_DTYPE = np.dtype(
    [
        ("cycle_seconds", np.float64),
        ("cycle_scatter", np.float64),
        ("reject_fraction", np.float64),
        ("micro_stops_per_hour", np.float64),
        ("capacity", np.int64),
    ]
)

STATE_DTYPE = np.dtype(
    [
        ("hands", np.int64),
        ("elapsed", np.int64),  # working scans of the cycle so far
        ("work", np.int64),  # working scans of the cycle in all
        ("nominal", np.int64),  # what they should be
        ("hold_at", np.int64),
        ("hold_left", np.int64),
        ("hold_booking", np.int64),
        ("change_left", np.int64),
        ("kept", np.int64),  # a finished part waits in the machine during the product change
        ("changed_scan", np.int64),
        ("product", np.int64),
        ("cycle", np.int64),  # cycles begun: index of the random draws
        ("cycle_start", np.int64),
        ("carry", np.float64),  # part of a scan owed to the next cycle, so that means are exact
        ("fresh", np.int64),  # cycles since the last start-up
        ("stood", np.int64),  # scans stood in planned time, a stop or a product change
        ("reject", np.int64),
        ("buffer", np.int64),  # good parts between this station and the next
        ("parts", np.int64),
        ("rejects", np.int64),
        ("cycle_seconds", np.float64),  # of the last finished cycle, jams included
        ("mode", np.int64),
        ("sum_running", np.float64),
        ("sum_load", np.float64),
        ("sum_standby", np.float64),
        ("scans", np.int64),
    ]
)

#: Per row and station: fractions and mean load over the scans since the last row, and counters.
OPERATION_DTYPE = np.dtype(
    [
        ("running", np.float64),
        ("load", np.float64),
        ("standby", np.float64),
        ("state", np.int64),
        ("product", np.int64),
        ("parts", np.int64),
        ("rejects", np.int64),
        ("cycle_seconds", np.float64),
        ("buffer", np.int64),
    ]
)

CYCLE_DTYPE = np.dtype(
    [
        ("station", np.int64),
        ("start_scan", np.int64),
        ("end_scan", np.int64),
        ("work_scans", np.int64),
        ("nominal_scans", np.int64),
        ("product", np.int64),
        ("rejected", np.int64),
    ]
)


def station_table(config: LineConfig) -> npt.NDArray[np.void]:
    """The stations' figures as the kernels read them."""
    table = np.zeros(len(config.stations), STATION_DTYPE)
    for row, station in zip(table, config.stations, strict=True):
        row["cycle_seconds"] = station.cycle_seconds
        row["cycle_scatter"] = station.cycle_scatter
        row["reject_fraction"] = station.reject_fraction
        row["micro_stops_per_hour"] = station.micro_stops_per_hour
        row["capacity"] = station.buffer_capacity
    table["capacity"][-1] = np.iinfo(np.int64).max  # the last station delivers without limit
    return table


def load_profiles(config: LineConfig) -> npt.NDArray[np.float64]:
    """Relative load over the cycle, ``float64[stations, 64]``, mean 1, edges rounded off."""
    centres = (np.arange(_PROFILE_BINS) + 0.5) / _PROFILE_BINS
    table = np.empty((len(config.stations), _PROFILE_BINS))
    for row, station in zip(table, config.stations, strict=True):
        ends = np.array([end for end, _ in station.profile])
        levels = np.array([level for _, level in station.profile])
        steps = levels[np.searchsorted(ends, centres)]
        smooth = (np.roll(steps, 1) + 2.0 * steps + np.roll(steps, -1)) / 4.0
        row[:] = smooth / smooth.mean()
    return table


def random_keys(config: LineConfig) -> npt.NDArray[np.uint64]:
    """Keys of the stations' random streams, ``uint64[stations, purposes]``."""
    return np.array(
        [
            [stream_key(config.seed, 1, station, purpose) for purpose in range(_PURPOSES)]
            for station in range(len(config.stations))
        ],
        np.uint64,
    )


def allocate(config: LineConfig, first_product: int) -> npt.NDArray[np.void]:
    """The line at the beginning: buffers half full, nobody has begun a cycle."""
    state = np.zeros(len(config.stations), STATE_DTYPE)
    state["product"] = first_product
    state["changed_scan"] = -1
    state["cycle_seconds"] = np.nan
    state["mode"] = IDLE
    state["fresh"] = 1_000 if config.warm_start else 0
    for row, station in zip(state[:-1], config.stations, strict=False):
        row["buffer"] = (station.buffer_capacity + 1) // 2
    return state


@kernel
def advance(
    state: Any, stations: Any, factors: Any, profiles: Any, keys: Any, injections: Any, limits: Any,
    first_scan: int, scans_per_row: int, working: Any, products: Any, forced: Any,
    operation: Any, bookings: Any, cycles: Any,
) -> int:  # fmt: skip
    """Run the line over the scans of one chunk.

    Parameters
    ----------
    state : STATE_DTYPE[stations]
        Carried from chunk to chunk; changed in place.
    stations, profiles, keys, injections
        From :func:`station_table`, :func:`load_profiles`, :func:`random_keys`, the injections.
    factors : float64[products]
        Cycle factor of each product.
    limits : int64[2]
        Scans of a product change; scans from which a stop is no longer a micro-stop.
    first_scan, scans_per_row : int64
    working : bool[scans]
    products : int64[scans]
    forced : int64[scans, stations]
        From ``calendar``.
    operation : OPERATION_DTYPE[rows, stations]
    bookings : int8[scans, stations]
    cycles : CYCLE_DTYPE[room]
        Outputs.

    Returns
    -------
    int
        Cycles logged.
    """
    logged = 0
    for i in range(working.size):
        scan = first_scan + i
        for s in range(state.size - 1, -1, -1):
            me = state[s]
            if forced[i, s] == FREE:
                _move(state, stations, s, factors, keys, injections, limits,
                      scan, working[i], products[i])  # fmt: skip
            booking = _spend(me, profiles[s], working[i], forced[i, s])
            bookings[i, s] = booking
            if me["hands"] == _WORKING and me["elapsed"] >= me["work"]:
                _finish(me, scan, cycles[logged], s)
                logged += 1
            if scan % scans_per_row == 0:
                _report(me, operation[i // scans_per_row, s])
    return logged


@kernel
def _move(
    state: Any, stations: Any, s: int, factors: Any, keys: Any, injections: Any, limits: Any,
    scan: int, working: bool, product: int,
) -> None:  # fmt: skip
    """The moves that take no time: hand on, begin a product change, take the next part."""
    me = state[s]
    if me["hands"] == _FINISHED:
        if me["reject"] == 1:
            me["hands"] = _EMPTY
        elif me["buffer"] < stations[s]["capacity"]:
            me["buffer"] += 1
            me["hands"] = _EMPTY
    if me["hands"] == _CHANGING and me["change_left"] == 0:
        me["hands"] = _FINISHED if me["kept"] == 1 else _EMPTY
        me["changed_scan"] = scan
    if not working or (me["hands"] != _EMPTY and me["hands"] != _FINISHED):
        return
    if product != me["product"]:
        me["product"] = product
        me["kept"] = 1 if me["hands"] == _FINISHED else 0
        me["hands"] = _CHANGING
        me["change_left"] = limits[0]
        return
    if me["hands"] == _FINISHED:
        return  # blocked
    if s > 0:
        if state[s - 1]["buffer"] == 0:
            return
        state[s - 1]["buffer"] -= 1
    _begin(me, stations[s], s, factors, keys[s], injections, limits, scan)


@kernel
def _begin(
    me: Any, station: Any, s: int, factors: Any, keys: Any, injections: Any, limits: Any, scan: int
) -> None:
    """Take a part and draw how long it will take, whether it jams and whether it is good."""
    if me["stood"] >= _STARTUP_AFTER_SCANS:
        me["fresh"] = 0
    me["stood"] = 0
    index = me["cycle"]
    cycle_factor, reject_factor, jams = line_effects(injections, s, scan, me["changed_scan"])
    nominal = station["cycle_seconds"] * factors[me["product"]]
    # Start-up: the first cycles are 6 % slower and scrap four times as much, and that dies away.
    startup = np.exp(-me["fresh"] / 6.0)
    scatter = 1.0 + station["cycle_scatter"] * min(max(normal(keys[0], index), -3.5), 3.5)
    owed = nominal * cycle_factor * (1.0 + 0.06 * startup) * scatter * SCANS_PER_SECOND
    owed += me["carry"]
    me["work"] = max(np.int64(owed), 1)
    me["carry"] = owed - np.float64(me["work"])
    me["nominal"] = np.int64(nominal * SCANS_PER_SECOND + 0.5)
    me["elapsed"] = 0
    me["hold_left"] = 0
    hours = nominal / 3600.0
    length = uniform(keys[2], index)
    if uniform(keys[4], index) < jams * hours:  # injected: 1 to 5 cycles
        me["hold_left"] = np.int64((1.0 + 4.0 * length) * nominal * SCANS_PER_SECOND)
    elif uniform(keys[1], index) < station["micro_stops_per_hour"] * hours:  # healthy: 5 to 45 s
        me["hold_left"] = np.int64(5.0 * 9.0**length * SCANS_PER_SECOND)
    me["hold_at"] = np.int64(uniform(keys[3], index) * me["work"])
    me["hold_booking"] = MICRO_STOP if me["hold_left"] < limits[1] else STOP
    risk = station["reject_fraction"] * reject_factor * (1.0 + 3.0 * startup)
    me["reject"] = 1 if uniform(keys[5], index) < risk else 0
    me["hands"] = _WORKING
    me["cycle_start"] = scan
    me["cycle"] = index + 1
    me["fresh"] += 1


@kernel
def _spend(me: Any, profile: Any, working: bool, forced: int) -> int:
    """Spend one scan in one state; returns its booking."""
    hands = me["hands"]
    running = 0.0
    load = 0.0
    if forced != FREE:
        mode = STOPPED
        booking = STOP if forced == FORCED_STOP else MICRO_STOP
    elif hands == _WORKING and me["hold_left"] > 0 and me["elapsed"] >= me["hold_at"]:
        me["hold_left"] -= 1
        mode = HELD
        booking = me["hold_booking"]
    elif hands == _WORKING:
        load = profile[_PROFILE_BINS * me["elapsed"] // me["work"]]
        running = 1.0
        me["elapsed"] += 1
        mode = EXECUTE
        booking = AT_RATE if me["elapsed"] <= me["nominal"] else SLOW
    elif not working:
        mode = IDLE
        booking = PLANNED
    elif hands == _CHANGING:
        me["change_left"] -= 1
        mode = RESETTING
        booking = CHANGEOVER
    else:
        mode = SUSPENDED
        booking = BLOCKED if hands == _FINISHED else STARVED
    if not working and mode != EXECUTE:
        booking = PLANNED  # a stop costs nothing while no production is planned
    standing = booking in (PLANNED, STOP, CHANGEOVER)
    me["stood"] = me["stood"] + 1 if standing else me["stood"]
    me["mode"] = mode
    me["sum_running"] += running
    me["sum_load"] += load
    me["sum_standby"] += 1.0 if booking == PLANNED else 0.0
    me["scans"] += 1
    return booking


@kernel
def _finish(me: Any, scan: int, cycle: Any, s: int) -> None:
    me["hands"] = _FINISHED
    me["parts"] += 1
    me["rejects"] += me["reject"]
    me["cycle_seconds"] = (scan + 1 - me["cycle_start"]) / SCANS_PER_SECOND
    cycle["station"] = s
    cycle["start_scan"] = me["cycle_start"]
    cycle["end_scan"] = scan + 1
    cycle["work_scans"] = me["work"]
    cycle["nominal_scans"] = me["nominal"]
    cycle["product"] = me["product"]
    cycle["rejected"] = me["reject"]


@kernel
def _report(me: Any, row: Any) -> None:
    scans = max(me["scans"], 1)
    row["running"] = me["sum_running"] / scans
    row["load"] = me["sum_load"] / scans
    row["standby"] = me["sum_standby"] / scans
    row["state"] = me["mode"]
    row["product"] = me["product"]
    row["parts"] = me["parts"]
    row["rejects"] = me["rejects"]
    row["cycle_seconds"] = me["cycle_seconds"]
    row["buffer"] = me["buffer"]
    me["sum_running"] = 0.0
    me["sum_load"] = 0.0
    me["sum_standby"] = 0.0
    me["scans"] = 0
