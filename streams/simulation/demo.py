"""The recording of the first run: one early shift in which much happens, always the same way.

The first hour and a half is healthy, so that the engine knows the line before it has to judge it.
"""

from __future__ import annotations

from streams.simulation.config import (
    LineConfig,
    PlannedStop,
    Product,
    ProductRun,
    Shift,
    default_stations,
)
from streams.simulation.injections import Injection

_HOUR = 3600.0


def demo_recording(seed: int = 0) -> tuple[LineConfig, tuple[Injection, ...]]:
    """One shift of eight hours on a line of five stations, rows of 2 s, and what befalls it.

    ===== ========== ==========================================================================
    06:00 all        the shift begins, machines warm from the night
    07:40 weld-3     jams: a burst of micro-stops for half an hour
    08:10 packing-5  cycles 10 % slower for three quarters of an hour
    08:15 mill-2     bearing wear begins, hidden in the noise for more than an hour
    09:00 all        break, a quarter of an hour (a nuisance)
    09:25 assembly-4 the bearing's thermometer freezes for 50 minutes
    10:00 press-1    the energy per part begins to drift, as if it doubled in a day, until the end
    12:15 mill-2     the bearing fails: 40 minutes of repair, the stations behind it starve
    13:05 all        product change: cycles 6 % longer, power 5 % up (a nuisance)
    13:45 all        weekly cleaning until the end of the shift (a nuisance)
    ===== ========== ==========================================================================
    """
    config = LineConfig(
        stations=default_stations(5),
        products=(Product("housing"), Product("housing, long", 1.06, 1.05, 1.03)),
        product_runs=(ProductRun(7.0 * _HOUR + 300.0, 1),),
        shifts=(Shift(6.0, 14.0, tuple(range(7)), breaks=((9.0, 900.0),)),),
        planned_stops=(PlannedStop(7.75 * _HOUR, 0.25 * _HOUR, "cleaning", service=True),),
        seed=seed,
        row_interval_seconds=2.0,
        duration_seconds=8.0 * _HOUR,
    )
    injections = (
        Injection("micro_stops", 2, 6000.0, 1800.0, 24.0),
        Injection("slow_cycle", 4, 7800.0, 2700.0, 0.10),
        Injection("bearing_wear", 1, 2.25 * _HOUR, 4.0 * _HOUR, 6.0),
        Injection("sensor_frozen", 3, 12_300.0, 3000.0, 1.0, "bearing_celsius"),
        Injection("energy_drift", 0, 4.0 * _HOUR, 4.0 * _HOUR, 1.0),
    )
    return config, injections
