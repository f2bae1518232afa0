"""The quality stage once more, slow and obvious: dictionaries, one reading or row at a time."""

from __future__ import annotations

import math
import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from anomaly.quality import Config

YEAR_LIMIT_NS = 2**62
DAY_NS = 86_400 * 10**9


@dataclass
class Clock:
    """One asset's clock: what is believed, and the doubted base that may replace it."""

    newest: int | None = None
    rows: int = 0
    interval: int = 0
    longest_gap: int = 0
    doubted: list[int] = field(default_factory=list)  # ascending distinct times on another base

    def judge(self, t: int, config: Config) -> str:
        """``same``, ``restarted``, ``clock_jump`` or ``bad_time``."""
        if abs(t) > YEAR_LIMIT_NS:
            return "bad_time"
        if self.newest is None:
            self.newest, self.rows = t, 1
            return "same"
        step = t - self.newest
        bound = max(
            round(config.clock_jump_seconds * 1e9), 1000 * self.interval, 2 * self.longest_gap
        )
        ahead = step > bound and self.rows >= config.clock_rows
        if not ahead and step >= -round(config.lateness_seconds * 1e9):
            self.doubted = []
            if step > 0:
                self.interval = step if self.rows == 1 else nearer(self.interval, step)
                self.interval = min(self.interval, 10**15)
                self.newest = t
                self.rows += 1
            return "same"
        if not self.doubted or not self.doubted[-1] <= t <= self.doubted[-1] + bound:
            self.doubted = [t]
        elif t > self.doubted[-1]:
            self.doubted.append(t)
        if len(self.doubted) < config.clock_rows:
            return "clock_jump" if ahead else "same"
        self.doubted = []
        self.newest = t
        self.rows += 1
        if not ahead:
            return "restarted"
        self.longest_gap = max(self.longest_gap, min(step, 45 * DAY_NS))
        return "same"


def nearer(median: int, value: int) -> int:
    """A running median: an eighth of itself towards the value."""
    if value > median:
        return median + max(1, median // 8)
    if value < median:
        return median - median // 8
    return median


def screen(
    config: Config,
    ranges: dict[tuple[int, int], tuple[float, float]],
    readings: Iterable[tuple[int, int, int, float]],
) -> list[tuple[float, str, int]]:
    """Per reading (asset, sensor, time, value): the value that may be used, why not, the base."""
    clocks: dict[int, Clock] = defaultdict(Clock)
    said = []
    for asset, sensor, t, value in readings:
        verdict = clocks[asset].judge(t, config)
        low, high = ranges.get((asset, sensor), (-math.inf, math.inf))
        if verdict in ("clock_jump", "bad_time"):
            reason = verdict
        elif math.isnan(value):
            reason = "missing"
        elif math.isinf(value):
            reason = "not_finite"
        elif abs(value) > 1e100 or value < low or value > high:
            reason = "out_of_range"
        else:
            reason = "accepted"
        base = {"same": 0, "restarted": 1}.get(verdict, -1)
        said.append((value if reason == "accepted" else math.nan, reason, base))
    return said


@dataclass
class Sensor:
    """All that is remembered of one sensor: its values (t, v) and its absences, in rows."""

    condition: str = "never_seen"
    values: list[tuple[int, float]] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)  # lengths of the runs of equal values, in order
    early_bits: set[int] = field(default_factory=set)
    alone: int = 0
    absences: list[int] = field(default_factory=list)
    absent: int = 0


@dataclass
class Asset:
    """One asset's rows and gaps."""

    times: list[int] = field(default_factory=list)
    interval: int = 0
    longest_gap: int = 0
    stream_ns: int = 0
    away: bool = False
    sensors: dict[int, Sensor] = field(default_factory=lambda: defaultdict(Sensor))


Finding = tuple[int, int, int, str, str, int]  # row, asset, sensor, before, after, since


def watch(
    config: Config, rows: Sequence[tuple[int, int, Sequence[float]]]
) -> tuple[list[Finding], dict[tuple[int, int], str]]:
    """Findings from rows (asset, time, values with NaN), and every sensor's last condition."""
    assets: dict[int, Asset] = defaultdict(Asset)
    found: list[Finding] = []
    newest = None
    for index, (number, t, values) in enumerate(rows):
        if all(math.isnan(v) for v in values):
            continue
        asset = assets[number]
        found += [(index, number, -1, *change) for change in arrive(asset, t, config)]
        if config.overdue_seconds > 0:
            found += overdue(assets, number, newest, t, index, config)
            newest = t if newest is None else max(newest, t)
            asset.stream_ns = newest
        resting = []
        for column, value in enumerate(values):
            sensor = asset.sensors[column]
            before = sensor.condition
            if math.isnan(value):
                sensor.condition = missing(sensor, t, asset.interval, config)
            else:
                sensor.condition = present(sensor, t, value, config)
            if {before, sensor.condition} & {"stuck", "silent"} and before != sensor.condition:
                since = sensor.values[-1][0] if sensor.condition == "silent" else t
                found.append((index, number, column, before, sensor.condition, since))
            if not math.isnan(value) and sensor.condition != "stuck" and rests(sensor, config):
                resting.append(column)
        if len(resting) == 1 and asset.sensors[resting[0]].condition == "ok":
            sensor = asset.sensors[resting[0]]
            sensor.alone += 1
            since = sensor.values[-sensor.runs[-1]][0]
            if stuck(sensor, t, since, asset.interval, config):
                sensor.condition = "stuck"
                found.append((index, number, resting[0], "ok", "stuck", since))
    return found, {
        (number, column): sensor.condition
        for number, asset in assets.items() for column, sensor in asset.sensors.items()
    }


def arrive(asset: Asset, t: int, config: Config) -> list[tuple[str, str, int]]:
    """The asset's next row: the gap before it, if it was one."""
    changes = []
    step = t - asset.times[-1] if asset.times else 0
    if asset.away:
        changes.append(("gap", "ok", t))
    elif len(asset.times) >= 8 and step > max(
        round(config.gap_seconds * 1e9), 20 * asset.interval, 3 * asset.longest_gap
    ):
        changes += [("ok", "gap", asset.times[-1]), ("gap", "ok", t)]
    asset.away = False
    if len(asset.times) == 1:
        asset.interval = min(max(step, 1), 10**15)
    elif step > 0:
        asset.interval = min(nearer(asset.interval, step), 10**15)
    if asset.times:
        asset.longest_gap = max(asset.longest_gap, min(step, 45 * DAY_NS))
    asset.times.append(t)
    return changes


def overdue(
    assets: dict[int, Asset], number: int, newest: int | None, t: int, index: int, config: Config
) -> list[Finding]:
    """At the first row in every eighth of the bound: which other asset is away for too long?"""
    bound = round(config.overdue_seconds * 1e9)
    if newest is not None and (t <= newest or t // (bound // 8) == newest // (bound // 8)):
        return []
    found: list[Finding] = []
    for other, asset in sorted(assets.items()):
        waited = t - asset.stream_ns
        if other != number and len(asset.times) >= 8 and not asset.away and waited > max(
            bound, 20 * asset.interval, 3 * asset.longest_gap
        ):
            asset.away = True
            found.append((index, other, -1, "ok", "gap", asset.times[-1]))
    return found


def present(sensor: Sensor, t: int, value: float, config: Config) -> str:
    """A value came; the condition then, if no other sensor mattered."""
    if sensor.absent:
        sensor.absences.append(sensor.absent)
        sensor.absent = 0
    equal = bool(sensor.values) and sensor.values[-1][1] == value
    sensor.values.append((t, value))
    if equal:
        sensor.runs[-1] += 1
        if sensor.condition == "stuck":
            return "stuck"
        blind = len(sensor.runs) == 1 and sensor.runs[0] >= config.learn_rows
        return "constant" if blind else "ok"
    sensor.runs.append(1)
    sensor.alone = 0
    if 1 < len(sensor.runs) <= 4 * config.learn_rows:
        sensor.early_bits.add(hashed(value))
    return "ok"


def missing(sensor: Sensor, t: int, interval: int, config: Config) -> str:
    """The row came without the sensor."""
    if sensor.condition in ("never_seen", "silent"):
        return sensor.condition
    sensor.absent += 1
    long = t - sensor.values[-1][0] >= round(config.silent_seconds * 1e9)
    if len(sensor.values) < config.learn_rows or sensor.absent < config.silent_rows or not long:
        return sensor.condition
    limit = run_limit(
        max(sensor.absences, default=0) + 1, len(sensor.absences), len(sensor.values), interval,
        config,
    )
    return "silent" if sensor.absent > limit else sensor.condition


def rests(sensor: Sensor, config: Config) -> bool:
    """A lively sensor in a run worth noticing."""
    changes, earlier = len(sensor.runs) - 1, len(sensor.values) - sensor.runs[-1]
    never_rested = 4 * max(sensor.runs[:-1], default=0) < config.stuck_rows
    restless = earlier >= 10 * config.learn_rows and never_rested
    return (
        sensor.runs[-1] >= max(2, config.stuck_rows / 4) and earlier >= config.learn_rows
        and 2 * changes >= earlier and len(sensor.early_bits) >= (10 if restless else 32)
    )


def stuck(sensor: Sensor, t: int, since: int, interval: int, config: Config) -> bool:
    """Whether this run, in which all others moved, is beyond chance."""
    run = sensor.runs[-1]
    earlier = [v for _, v in sensor.values[:-run]]
    limit = run_limit(
        max(sensor.runs[:-1]), len(sensor.runs) - 1, len(earlier), interval, config
    )
    least = round(config.stuck_seconds * 1e9)
    if not min(earlier) < sensor.values[-1][1] < max(earlier):
        limit, least = 20.0 * limit, max(least, 4 * DAY_NS)
    return run >= config.stuck_rows and sensor.alone > limit and t - since >= least


def run_limit(longest: int, events: int, rows: int, interval: int, config: Config) -> float:
    """Longest run that chance explains."""
    per_week = max(1.0, events) / rows * (7 * DAY_NS / max(1.0, float(interval)))
    factor = math.log(max(2.0, per_week / config.false_findings_per_week))
    return 2.0 * max(2.0, factor / math.log(max(20.0, events))) * longest


def hashed(value: float) -> int:
    """Six bits of the value's 64."""
    bits = struct.unpack("<q", struct.pack("<d", value))[0]
    folded = (bits ^ (bits >> 32)) & 0xFFFFFFFF
    return (folded * 1640531 >> 24) & 63
