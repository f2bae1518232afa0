"""Cycles: the rows of a machine that makes one part after another.

A pulse, a counter or a state says where one cycle ends and the next begins. The row's columns are
the sensors' means over the cycle and what the cycle itself tells: its seconds, energy, rejects and
how chosen sensors moved within it. A slow cycle is then a row with an odd column, like a hot
bearing. Part of the ``windows`` stage, which runs this kernel; no state of other ways to close a
row, and no finding of cycles in a signal that does not tell them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64, Int8, Int64
from anomaly.errors import ConfigError
from anomaly.kernel import kernel

#: Codes written for readings that belong to no row: their index in ``quality.REASONS``.
DUPLICATE, LATE = 4, 5

#: What ``base`` says of a reading's time: not believed, as usual, the clock was set back.
DOUBTED, SAME, RESTARTED = -1, 0, 1

#: Bins of a sensor's profile over its cycle: enough to see where in the cycle it differs.
PROFILE_BINS = 8

_NEVER = -(1 << 63)

# What a tag is to its asset's cycle; bits of ``Roles.tag``, the shape sensor's number above them.
_CYCLE, _POWER, _ENERGY, _REJECTS, _SHAPE, _DERIVED = 1, 2, 4, 8, 16, 32
_SHAPE_SHIFT = 8
_FIXED = ("cycle_seconds", "energy_per_cycle", "rejects")
_SHAPES = ("min", "max", "rise", *(f"profile_{k + 1}" for k in range(PROFILE_BINS)))
_SIGNALS = ("counter", "pulse", "state")
_COUNTS, _PULSES = 0, 1

State = dict[str, np.ndarray[Any, Any]]
Records = npt.NDArray[np.void]
Record = Any  # one element of a structured array, changed in place

_COUNTER = [
    ("primed", np.int64),  # 1 once a value was seen
    ("level", np.float64),  # the latest value
    ("fell", np.int64),  # 1 after a fall that may turn out to be one wrong reading
    ("before", np.float64),  # the value before that fall
]
_ASSET_CYCLE = np.dtype([
    ("running", np.int64),  # 1 once a cycle's start is known
    ("start_ns", np.int64),
    ("serial", np.int64),
    ("epoch", np.int64),  # 1 + times the clock was set back
    ("usual_ns", np.int64),  # running median of the cycles' length
    ("broken", np.int64),  # cycles given up: clock set back, counter reset, too long
    *_COUNTER,
])
_TAG_CYCLE = np.dtype([
    ("serial", np.int64),
    ("epoch", np.int64),
    ("last_ns", np.int64),  # latest reading
    ("value_ns", np.int64),  # latest reading with a value
    ("count", np.int64),
    ("first", np.float64),
    ("excess", np.float64),
    ("low", np.float64),
    ("high", np.float64),
    ("total", np.float64),  # integral of a power, or increase of a counter, in this cycle
    ("held_ns", np.int64),  # longest stretch of it without a value
    *_COUNTER,
])


@dataclass(frozen=True, slots=True)
class Config:
    """What tells the cycles. Sensors by name; an asset without one has no column of that kind."""

    sensor: str = ""
    """The sensor whose signal ends one cycle and begins the next; empty = rows close by time."""
    signal: str = "counter"
    """``counter`` (increases), ``pulse`` (rises through the level), ``state`` (takes the level)."""
    level: float = 0.5
    """The pulse's threshold or the state's number; halfway suits a 0/1 pulse."""
    power_sensor: str = ""
    """Its integral over the cycle is ``energy_per_cycle``, in its unit times seconds (W -> J)."""
    energy_sensor: str = ""
    """A counter whose increase is ``energy_per_cycle``; instead of ``power_sensor``."""
    reject_sensor: str = ""
    """A counter whose increase is ``rejects``."""
    shape_sensors: tuple[str, ...] = ()
    """Sensors with further columns: min, max, rise (last - first), mean in eighths of the cycle."""
    shortest_seconds: float = 0.0
    """A pulse or state that returns sooner is a bouncing contact and ends nothing; a counter that
    says so was set by hand, which gives no row."""
    longest_seconds: float = 0.0
    """A longer cycle is a stop, not a cycle: no row, counted as broken. 0 = any length."""
    hold_seconds: float = 300.0
    """Longest stretch without a power value that still gives an energy; else it is NaN."""

    def __post_init__(self) -> None:
        if self.signal not in _SIGNALS:
            raise ConfigError(f"signal: must be one of {', '.join(_SIGNALS)}, got {self.signal!r}")
        if self.power_sensor and self.energy_sensor:
            raise ConfigError("energy_sensor: give it or power_sensor, not both")
        for name in ("shortest_seconds", "longest_seconds", "hold_seconds"):
            if not 0.0 <= getattr(self, name) <= 366 * 86_400:
                raise ConfigError(f"{name}: must be 0 to 366 days, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Roles:
    """What each tag is to its asset's cycle, and where the derived columns are.

    Attributes
    ----------
    tag : int64[T]
        Bits; 0 = an ordinary sensor.
    derived : int64[A, k]
        Column of each derived quantity, −1 = the asset has none.
    """

    tag: Int64
    derived: Int64


def allocate(config: Config, assets: int, tags: int) -> State:
    """Fresh state: no cycle seen."""
    rows = np.zeros(assets, _ASSET_CYCLE)
    rows["epoch"] = 1  # a tag's is 0: nothing of it counts yet
    return {
        "asset_row": rows,
        "tag_row": np.zeros(tags, _TAG_CYCLE),
        "tag_profile": np.zeros((tags, 2 * PROFILE_BINS if config.shape_sensors else 0)),
    }


def parameters(config: Config) -> tuple[int | float, ...]:
    """The configuration as the kernel takes it, lengths in nanoseconds."""
    return (
        _SIGNALS.index(config.signal), config.level, round(config.shortest_seconds * 1e9),
        round(config.longest_seconds * 1e9), round(config.hold_seconds * 1e9),
    )


def derived_names(config: Config, sensor_names: Sequence[str]) -> list[str]:
    """Names of the columns that cycles add to an asset with these sensors; register them so.

    None where rows close by time, and none for an asset without the cycle sensor.
    """
    if config.sensor not in sensor_names:
        return []
    names = [_FIXED[0]]
    if config.power_sensor in sensor_names or config.energy_sensor in sensor_names:
        names.append(_FIXED[1])
    if config.reject_sensor in sensor_names:
        names.append(_FIXED[2])
    for sensor in config.shape_sensors:
        if sensor in sensor_names:
            names += [f"{sensor}.{shape}" for shape in _SHAPES]
    return names


def resolve(
    config: Config, sensors: Sequence[Sequence[str]], table: Int64, tags: int
) -> Roles:
    """Find the configured names among the registered sensors; call again when some were added."""
    if not config.sensor:
        return Roles(np.zeros(0, np.int64), np.zeros((0, 0), np.int64))
    wanted = [*_FIXED]
    bits = {config.sensor: _CYCLE}
    for name, bit in ((config.power_sensor, _POWER), (config.energy_sensor, _ENERGY),
                      (config.reject_sensor, _REJECTS)):
        if name:
            bits[name] = bits.get(name, 0) | bit
    for number, name in enumerate(config.shape_sensors):
        bits[name] = bits.get(name, 0) | _SHAPE | number << _SHAPE_SHIFT
        wanted += [f"{name}.{shape}" for shape in _SHAPES]
    roles = Roles(np.zeros(tags, np.int64), np.full((len(table), len(wanted)), -1, np.int64))
    for asset, names in enumerate(sensors):
        derived = set(derived_names(config, names))
        for column, name in enumerate(names):
            roles.tag[table[asset, column]] = _DERIVED if name in derived else bits.get(name, 0)
            if name in derived:
                roles.derived[asset, wanted.index(name)] = column
    return roles


@kernel
def close_cycles(
    asset_row: Records, tag_row: Records, tag_profile: Float64, signal: int, level: float,
    shortest_ns: int, longest_ns: int, hold_ns: int, roles: Int64, derived: Int64, table: Int64,
    asset: Int64, sensor: Int64, time_ns: Int64, value: Float64, base: Int8, start: int,
    reason: Int8, out_asset: Int64, out_time: Int64, out_x: Float64, out_closed_at: Int64,
) -> tuple[int, int]:
    """A cycle is a row; returns (next reading, rows written).

    The reading that ends a cycle begins the next. What lies before the first end, or in a cycle
    that was given up, gives no row. Where a counter rises by k the row is the mean of k cycles.
    """
    m = 0
    for i in range(start, asset.size):
        if m + 1 > out_asset.size:
            return i, m
        if base[i] == DOUBTED:
            continue
        a, t, tag = asset[i], time_ns[i], table[asset[i], sensor[i]]
        cycle, own = asset_row[a], tag_row[tag]
        behind = cycle["running"] == 1 and t < cycle["start_ns"]
        if base[i] == RESTARTED and (behind or (
            own["epoch"] == cycle["epoch"] and t <= own["last_ns"]
        )):
            behind = False
            cycle["epoch"] += 1
            cycle["primed"] = 0
            _give_up(cycle)
        if own["epoch"] != cycle["epoch"]:
            own["epoch"], own["primed"], own["last_ns"] = cycle["epoch"], 0, _NEVER
        if t <= own["last_ns"] or behind:
            reason[i] = DUPLICATE if t == own["last_ns"] else LATE
            continue
        own["last_ns"] = t
        if np.isnan(value[i]) or roles[tag] & _DERIVED:
            continue
        if not roles[tag] & _CYCLE:
            _take(cycle, own, tag_profile[tag], roles[tag], t, value[i])
            continue
        ended = _cycles_ended(cycle, signal, level, value[i])
        if ended < 0.0:
            _give_up(cycle)  # the counter was reset: the next increase begins a cycle
        if ended <= 0.0:
            continue
        length = (t - cycle["start_ns"]) / max(1.0, ended)
        if cycle["running"] == 1 and length < shortest_ns and signal != _COUNTS:
            continue  # a bouncing contact
        if length < shortest_ns or 0 < longest_ns < length:
            _give_up(cycle)  # a counter set by hand, or a stop
        if cycle["running"] == 1:
            _write_cycle(
                cycle, tag_row, tag_profile, roles, derived, table, a, t, ended, hold_ns, out_x, m)
            out_asset[m], out_time[m], out_closed_at[m] = a, t, i
            m += 1
            _learn_length(cycle, np.int64(length))
        cycle["running"], cycle["start_ns"] = 1, t
        cycle["serial"] += 1
    return asset.size, m


@kernel
def _give_up(cycle: Record) -> None:
    """The running cycle, if any, will not become a row."""
    cycle["broken"] += cycle["running"]
    cycle["running"] = 0


@kernel
def _learn_length(cycle: Record, length: int) -> None:
    """Running median of the cycles' length, moving by eighths; the profile's bins stand on it."""
    usual = cycle["usual_ns"]
    if usual == 0:
        usual = length
    elif length > usual:
        usual += max(1, usual >> 3)
    elif length < usual:
        usual -= usual >> 3
    cycle["usual_ns"] = usual


@kernel
def _cycles_ended(cycle: Record, signal: int, level: float, v: float) -> float:
    """Cycles that the cycle sensor's new value ends: 0, 1, a counter's k, or −1 = it was reset."""
    if signal == _COUNTS:
        return float(_increase(cycle, v))
    before = cycle["level"]
    primed = cycle["primed"]
    cycle["primed"], cycle["level"] = 1, v
    if primed == 0:
        return 0.0
    if signal == _PULSES:
        return 1.0 if before <= level < v else 0.0
    return 1.0 if v == level != before else 0.0


@kernel
def _increase(counter: Record, v: float) -> float:
    """Increase of a counter since its last value; −1 where it fell so far that it was reset.

    Counts around a reset are unknown, and not guessed. A single wrong low reading is forgotten when
    the counter comes back to where it was. A small fall is a correction: it counts as nothing.
    """
    if counter["primed"] == 0:
        counter["primed"], counter["level"], counter["fell"] = 1, v, 0
        return 0.0
    step = v - counter["level"]
    if counter["fell"] == 1 and v >= counter["before"]:
        step = v - counter["before"]
        counter["fell"] = 0
    elif step > 0.0:
        counter["fell"] = 0
    reset = v < counter["level"] - 0.5 * abs(counter["level"])
    if reset:
        counter["fell"], counter["before"] = 1, counter["level"]
    counter["level"] = v
    if reset:
        return -1.0
    return max(0.0, float(step))


@kernel
def _take(cycle: Record, own: Record, profile: Float64, role: int, t: int, v: float) -> None:
    """Add one reading to its sensor's part of the running cycle."""
    start = cycle["start_ns"]
    if own["serial"] != cycle["serial"]:
        own["serial"], own["count"], own["excess"] = cycle["serial"], 0, 0.0
        own["total"], own["held_ns"] = 0.0, 0
        for k in range(profile.size):
            profile[k] = 0.0
    if own["count"] == 0:
        own["first"], own["low"], own["high"] = v, v, v
    own["count"] += 1
    own["excess"] += v - own["first"]
    own["low"], own["high"] = min(own["low"], v), max(own["high"], v)
    if role & (_ENERGY | _REJECTS):
        own["total"] += max(0.0, _increase(own, v))
    elif role & _POWER:
        if own["primed"] == 0:  # the part of the cycle before the first value is taken as this one
            own["level"], own["value_ns"] = v, start
        since = max(own["value_ns"], start)
        own["total"] += own["level"] * ((t - since) * 1e-9)
        own["held_ns"] = max(own["held_ns"], t - own["value_ns"])
    own["primed"], own["level"], own["value_ns"] = 1, v, t
    if role & _SHAPE and cycle["usual_ns"] > 0 and cycle["running"] == 1:
        k = min(PROFILE_BINS - 1, (t - start) // max(1, cycle["usual_ns"] // PROFILE_BINS))
        profile[k] += v
        profile[PROFILE_BINS + k] += 1.0


@kernel
def _write_cycle(
    cycle: Record, tag_row: Records, tag_profile: Float64, roles: Int64, derived: Int64,
    table: Int64, a: int, t: int, ended: float, hold_ns: int, x: Float64, m: int,
) -> None:
    """Row ``m`` of ``x``: means of the sensors over the cycle that ends at ``t``, and the derived.

    Counters and the cycle's own signal have no mean worth judging: NaN.
    """
    for c in range(x.shape[1]):
        x[m, c] = np.nan
    _put(x, m, derived[a, 0], (t - cycle["start_ns"]) * 1e-9 / ended)
    for c in range(x.shape[1]):
        tag = table[a, c]
        if tag < 0:
            break
        own, role = tag_row[tag], roles[tag]
        fresh = own["serial"] == cycle["serial"] and own["epoch"] == cycle["epoch"]
        known = own["primed"] == 1 and own["epoch"] == cycle["epoch"]
        if fresh and own["count"] > 0 and not role & (_CYCLE | _ENERGY | _REJECTS | _DERIVED):
            x[m, c] = own["first"] + own["excess"] / own["count"]
        total = own["total"] if fresh else 0.0
        if role & _POWER and known:
            since = max(own["value_ns"], cycle["start_ns"])
            held = max(own["held_ns"] if fresh else 0, t - own["value_ns"])
            if held <= hold_ns:
                _put(x, m, derived[a, 1], (total + own["level"] * ((t - since) * 1e-9)) / ended)
        if role & _ENERGY and known:
            _put(x, m, derived[a, 1], total / ended)
        if role & _REJECTS and known:
            _put(x, m, derived[a, 2], total / ended)
        if role & _SHAPE and fresh and own["count"] > 0:
            at = len(_FIXED) + (role >> _SHAPE_SHIFT) * len(_SHAPES)
            _put(x, m, derived[a, at], own["low"])
            _put(x, m, derived[a, at + 1], own["high"])
            _put(x, m, derived[a, at + 2], own["level"] - own["first"])
            for k in range(PROFILE_BINS):
                if ended == 1.0 and tag_profile[tag, PROFILE_BINS + k] > 0.0:
                    mean = tag_profile[tag, k] / tag_profile[tag, PROFILE_BINS + k]
                    _put(x, m, derived[a, at + 3 + k], mean)


@kernel
def _put(x: Float64, m: int, column: int, value: float) -> None:
    """Write a derived value where the asset has a column for it."""
    if column >= 0:
        x[m, column] = value
