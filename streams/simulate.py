"""A simulated production line: demo, test bench and load generator; and ``andon simulate``.

This is the door to :mod:`streams.simulation`. No recording from elsewhere is in it; everything is
computed from the physics below and a seed. Same seed and configuration, same bytes, in whatever
chunks they are asked for; and before an injection begins, the same bits as without it.

**The line.** Parts pass the stations in order, through buffers of finite size. A station takes a
part, works on it for ``cycle_seconds`` × product × faults × start-up × (1 + scatter), hands it on
or scraps it. With an empty buffer before it a station starves, with a full one behind it it is
blocked; neither is scripted. All moves fall on scans of 0.1 s, so that every booking is exact.
Before a break and at the end of a shift a station finishes its part. After standing for ten
minutes it starts up: the first cycles 6 % slower and four times as many rejects, both dying away
over six cycles. Healthy machines jam now and then for 5 to 45 s (micro-stops).

**Power and current.** ``P = idle + load × shape(phase of the cycle) × product × (1 + friction)
× (1 + wear) × (1 + cold grease) × (1 + dirt) × slow wander``; idle power while waiting, standby
power outside planned production. Meters report the mean since the last row; the current follows
the motor's part of the power at 400 V. Energy is the integral of the power.

**Heat.** Motor and bearing are each one thermal mass: ``dT/dt = (rise × heat − T) / τ``, T above
the hall's temperature, heat ∝ share of time at work × (relative load)², τ = 40 and 25 min at work,
twice that standing; solved exactly per row. A part of the motor's heat reaches the bearing. The
hall has a daily course of ±1.5 K and weather.

**Vibration.** Velocity RMS ∝ station × product × (1 + wear) × slow wander over a floor of 0.12 mm/s
from the neighbours. Wear grows exponentially until the bearing seizes: a tenth of the final rise at
half of the time. :mod:`streams.simulation.frames` gives raw samples of the same bearing.

**Air.** One compressor for the hall loads and unloads every seven minutes between 6.20 and
6.12 bar; each station's demand pulls its own pressure down with its load; a leak takes a fraction.

**Service.** Dirt grows for weeks and is removed by a service (a sawtooth): up to 4 % load, 6 %
heat, 0.05 bar.

**Readings** are the truth plus white noise, quantised as a transmitter would; sensor faults act
here, on the reading, never on the machine. States are PackML numbers (``line.STATES``). A row
carries the state and counters at its time and the meters' means since the row before.

Interface: :func:`simulate`, :func:`load_plant`, :func:`write_recording`, :func:`demo_recording`,
:func:`vibration_frames`; :func:`add_arguments` and :func:`run` are the command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from streams.simulation.config import (
    DEFAULT_START_NS,
    SENSOR_NAMES,
    TWO_SHIFTS,
    LineConfig,
    PlannedStop,
    Product,
    ProductRun,
    Shift,
    SimulationError,
    StationConfig,
    default_stations,
)
from streams.simulation.demo import demo_recording
from streams.simulation.frames import vibration_frames
from streams.simulation.generate import Chunk, simulate, warm_up
from streams.simulation.injections import KIND_NAMES, KINDS, Injection, kind_of
from streams.simulation.plant import load_plant
from streams.simulation.truth import Truth, booked_seconds
from streams.simulation.writer import SUFFIXES, write_recording

__all__ = [
    "KINDS",
    "SENSOR_NAMES",
    "TWO_SHIFTS",
    "Chunk",
    "Injection",
    "LineConfig",
    "PlannedStop",
    "Product",
    "ProductRun",
    "Shift",
    "SimulationError",
    "StationConfig",
    "Truth",
    "add_arguments",
    "booked_seconds",
    "default_stations",
    "demo_recording",
    "load_plant",
    "parse_injection",
    "run",
    "simulate",
    "vibration_frames",
    "warm_up",
    "write_recording",
]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DEFAULT_HOURS = 8.0
_DEFAULT_STATIONS = 5
_DEFAULT_INTERVAL_SECONDS = 1.0
_USAGE = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``andon simulate``; whole lines are described by a :class:`LineConfig`."""
    parser.add_argument("--out", type=Path, metavar="FILE", help="recording, .csv or .parquet")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="what really happened, JSON")
    parser.add_argument(
        "--failures", type=Path, metavar="FILE", help="machine stops, CSV for replay --failures"
    )
    parser.add_argument("--hours", type=float, help=f"length (default {_DEFAULT_HOURS:g})")
    parser.add_argument("--stations", type=int, help=f"default {_DEFAULT_STATIONS}")
    parser.add_argument(
        "--interval-seconds",
        type=float,
        help=f"between rows (default {_DEFAULT_INTERVAL_SECONDS:g})",
    )
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--start", metavar="TIME", help="ISO 8601, UTC (default 2026-03-02T06:00)")
    parser.add_argument(
        "--inject",
        action="append",
        default=[],
        metavar="KIND:STATION[.SENSOR]:START:DURATION[:SIZE]",
        help="repeatable; station by name or number from 0, times as 90, 90s, 15m, 3h or 2d",
    )
    parser.add_argument(
        "--product-change",
        action="append",
        default=[],
        metavar="TIME",
        help="since the start, repeatable: two products in turn",
    )
    parser.add_argument(
        "--no-shifts", action="store_true", help="produce around the clock, without breaks"
    )
    parser.add_argument(
        "--demo", action="store_true", help="the recording of andon demo; takes only --seed"
    )
    parser.add_argument(
        "--list-injections", action="store_true", help="say what can be injected, and stop"
    )


def run(args: argparse.Namespace) -> int:
    """Run ``andon simulate``; 0, or 2 with one line on standard error for a bad argument."""
    if args.list_injections:
        print(injection_list())
        return 0
    try:
        out = _checked_output(args)
        config, injections = _recording(args)
        written = write_recording(config, injections, out, args.truth, args.failures)
    except (SimulationError, OSError) as error:
        print(f"andon simulate: {error}", file=sys.stderr)
        return _USAGE
    print(f"{out}: {written.rows:,} rows, {written.readings:,} readings")
    if args.truth is not None:
        print(f"{args.truth}: {len(injections)} injections, every state and cycle")
    if args.failures is not None:
        print(f"{args.failures}: {written.failures} machine stops")
    return 0


def injection_list() -> str:
    """The table of ``--list-injections``."""
    lines = ["kind:station[.sensor]:start:duration[:size]", ""]
    for kind in KINDS:
        lines.append(f"{kind.name:16} {kind.description} ({kind.course})")
        if kind.size_meaning != "unused":
            lines.append(f"{'':16}   size: {kind.size_meaning}; default {kind.default_size:g}")
        if kind.on_sensor:
            lines.append(f"{'':16}   sensor: any column; default {kind.sensors[0]}")
    lines += ["", f"columns: {', '.join(SENSOR_NAMES)}"]
    return "\n".join(lines)


def parse_injection(text: str, stations: Sequence[str]) -> Injection:
    """Read ``kind:station[.sensor]:start:duration[:size]``.

    Raises
    ------
    SimulationError
        Wrong number of fields, unknown kind or station, a time or size that is no number.
    """
    fields = text.split(":")
    if len(fields) not in (4, 5):
        raise SimulationError(
            f"--inject {text}: expected kind:station[.sensor]:start:duration[:size]"
        )
    kind, place, start, duration = fields[:4]
    if kind not in KIND_NAMES:
        raise SimulationError(
            f"--inject {text}: there is no injection {kind!r}; see --list-injections"
        )
    station, _, sensor = place.partition(".")
    if station in stations:
        index = list(stations).index(station)
    elif station.isdecimal():
        index = int(station)
    else:
        raise SimulationError(
            f"--inject {text}: no station {station!r}; there are {', '.join(stations)}"
        )
    injection = Injection(kind, index, _seconds(start, text), _seconds(duration, text), 0.0, sensor)
    default = kind_of(injection).default_size
    size = _number(fields[4], text) if len(fields) == 5 and fields[4] else default
    return Injection(kind, index, injection.start_seconds, injection.duration_seconds, size, sensor)


def _checked_output(args: argparse.Namespace) -> Path:
    out = args.out
    if out is None:
        raise SimulationError("--out FILE is missing (or ask for --list-injections)")
    assert isinstance(out, Path)
    if out.suffix not in SUFFIXES:
        raise SimulationError(f"--out {out}: the name must end in {' or '.join(SUFFIXES)}")
    for path in (out, args.truth, args.failures):
        if path is not None and not path.parent.is_dir():
            raise SimulationError(f"{path}: there is no folder {path.parent}")
    return out


def _recording(args: argparse.Namespace) -> tuple[LineConfig, tuple[Injection, ...]]:
    if args.demo:
        chosen = (args.hours, args.stations, args.interval_seconds, args.start)
        if any(value is not None for value in chosen) or (
            args.inject or args.product_change or args.no_shifts
        ):
            raise SimulationError("--demo takes --seed, --out, --truth and --failures only")
        return demo_recording(_checked_seed(args.seed))
    hours = _DEFAULT_HOURS if args.hours is None else args.hours
    count = _DEFAULT_STATIONS if args.stations is None else args.stations
    interval = args.interval_seconds
    changes = sorted(_seconds(text, f"--product-change {text}") for text in args.product_change)
    config = LineConfig(
        stations=default_stations(count),
        products=(Product("A"), Product("B", 1.08, 1.06, 1.04)),
        product_runs=tuple(ProductRun(at, (i + 1) % 2) for i, at in enumerate(changes)),
        shifts=() if args.no_shifts else TWO_SHIFTS,
        seed=_checked_seed(args.seed),
        row_interval_seconds=_DEFAULT_INTERVAL_SECONDS if interval is None else interval,
        duration_seconds=_finite(hours, "--hours") * 3600.0,
        start_time_ns=DEFAULT_START_NS if args.start is None else _start(args.start),
    )
    names = [station.name for station in config.stations]
    return config, tuple(parse_injection(text, names) for text in args.inject)


def _checked_seed(seed: int) -> int:
    if seed < 0:
        raise SimulationError(f"--seed {seed}: must be 0 or more")
    return seed


def _start(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SimulationError(f"--start {text}: not an ISO 8601 time") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000


def _seconds(text: str, where: str) -> float:
    unit = _UNITS.get(text[-1:], 0.0)
    number = _number(text[:-1] if unit else text, where)
    return number * (unit or 1.0)


def _number(text: str, where: str) -> float:
    try:
        return _finite(float(text), where)
    except ValueError as error:
        raise SimulationError(f"{where}: {text!r} is not a number") from error


def _finite(number: float, where: str) -> float:
    if not abs(number) < float("inf"):
        raise SimulationError(f"{where}: {number} is not a finite number")
    return number
