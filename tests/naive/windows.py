"""The windows stage once more, slow and obvious: rows as lists of readings, sums at the end."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from anomaly import cycles

DOUBTED, SAME, RESTARTED = -1, 0, 1

#: asset, column, time, value, closes, base
Reading = tuple[int, int, int, float, bool, int]
#: asset, time, {column: value}, index of the closing reading
Row = tuple[int, int, dict[int, float], int]


@dataclass
class Open:
    """One asset: its open row's readings by column, and what was closed last."""

    start: int | None = None
    readings: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    closed: int | None = None
    previous: dict[int, list[tuple[int, float]]] = field(default_factory=dict)

    def close(self) -> tuple[int, dict[int, list[tuple[int, float]]]]:
        assert self.start is not None
        self.closed, self.previous = self.start, self.readings
        self.start, self.readings = None, {}
        return self.closed, self.previous


def instants(readings: Sequence[Reading]) -> tuple[list[Row], list[str], list[Row]]:
    """Every timestamp a row: rows, a word per reading, rows that a flush would close."""
    assets: dict[int, Open] = defaultdict(Open)
    rows: list[Row] = []
    words = []

    def finish(number: int, index: int) -> Row:
        time, taken = assets[number].close()
        return number, time, {c: pairs[0][1] for c, pairs in taken.items()}, index

    for index, (number, column, t, value, closes, base) in enumerate(readings):
        asset = assets[number]
        newest = asset.closed if asset.start is None else asset.start
        restarted = base == RESTARTED and newest is not None and t <= newest
        if base == DOUBTED:
            words.append("")
            continue
        if asset.start is not None and (t > asset.start or restarted):
            rows.append(finish(number, index))
        if restarted:
            asset.closed = None
        if (asset.closed is not None and t <= asset.closed) or (
            asset.start is not None and t < asset.start
        ):
            twice = t == asset.closed and column in asset.previous
            # Once the next row is open and saw the sensor, the closed one is forgotten.
            twice = twice and column not in asset.readings
            words.append("duplicate" if twice else "late")
            continue
        asset.start = t
        words.append("duplicate" if column in asset.readings else "")
        asset.readings.setdefault(column, [(t, value)])
        if closes:
            rows.append(finish(number, index))
    left = [finish(number, -1) for number in sorted(assets) if assets[number].start is not None]
    return rows, words, left


def spans(readings: Sequence[Reading], span: int) -> tuple[list[Row], list[str], list[Row]]:
    """Means over aligned windows; outputs as in :func:`instants`."""
    assets: dict[int, Open] = defaultdict(Open)
    rows: list[Row] = []
    words = []

    def finish(number: int, index: int) -> Row:
        start, taken = assets[number].close()
        means = {c: mean([v for _, v in pairs if not math.isnan(v)]) for c, pairs in taken.items()}
        return number, start + span, means, index

    for index, (number, column, t, value, _, base) in enumerate(readings):
        asset = assets[number]
        window = t // span * span
        if base == DOUBTED:
            words.append("")
            continue
        known = asset.closed if asset.start is None else asset.start
        restarted = base == RESTARTED and known is not None and (
            t < known + (span if asset.start is None else 0)
        )
        if asset.start is not None and (t >= asset.start + span or restarted):
            rows.append(finish(number, index))
        if restarted:
            asset.closed = None
        if asset.start is None and (asset.closed is None or window > asset.closed):
            asset.start = window
        if asset.start is None or t < asset.start:
            seen = {} if column in asset.readings else asset.previous
            words.append(again(t, seen.get(column, [])))
            continue
        taken = asset.readings.get(column, [])
        if taken and t <= taken[-1][0]:
            words.append(again(t, taken))
            continue
        words.append("")
        asset.readings.setdefault(column, []).append((t, value))
    left = [finish(number, -1) for number in sorted(assets) if assets[number].start is not None]
    return rows, words, left


def again(t: int, taken: list[tuple[int, float]]) -> str:
    return "duplicate" if taken and taken[-1][0] == t else "late"


def mean(values: list[float]) -> float:
    """Mean about the first value; NaN of nothing."""
    if not values:
        return math.nan
    excess = 0.0
    for value in values:
        excess += value - values[0]
    return values[0] + excess / len(values)


@dataclass
class Counter:
    """Increases of a counter that may be reset, or read wrongly low once."""

    level: float | None = None
    before: float | None = None

    def increase(self, value: float) -> float | None:
        """The increase; None = it was reset."""
        if self.level is None:
            self.level, self.before = value, None
            return 0.0
        old, self.level = self.level, value
        if self.before is not None and value >= self.before:
            increase, self.before = value - self.before, None
        else:
            increase = value - old
            if increase > 0:
                self.before = None
        if value < old - abs(old) / 2:
            self.before = old
            return None
        return max(0.0, increase)


@dataclass
class Machine:
    """One asset in cycle mode: the readings with values since its running cycle began."""

    start: int | None = None
    usual: int = 0
    signal: Counter = field(default_factory=Counter)
    latest: dict[int, int] = field(default_factory=dict)  # newest time by column
    counters: dict[int, Counter] = field(default_factory=lambda: defaultdict(Counter))
    held: dict[int, tuple[int, float]] = field(default_factory=dict)  # power: latest value
    cycle: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    increases: dict[int, float] = field(default_factory=dict)
    integral: dict[int, tuple[float, int]] = field(default_factory=dict)  # and longest hold

    def restart(self) -> None:
        self.start, self.latest, self.signal = None, {}, Counter()
        self.counters, self.held = defaultdict(Counter), {}


def by_cycle(
    config: cycles.Config, sensors: Sequence[Sequence[str]], readings: Sequence[Reading]
) -> tuple[list[tuple[int, int, dict[str, float], int]], list[str]]:
    """Rows by name of column (derived ones included), and a word per reading."""
    assets: dict[int, Machine] = defaultdict(Machine)
    rows = []
    words = []
    for index, (number, column, t, value, _, base) in enumerate(readings):
        asset, name = assets[number], sensors[number][column]
        if base == DOUBTED:
            words.append("")
            continue
        behind = asset.start is not None and t < asset.start
        if base == RESTARTED and (behind or t <= asset.latest.get(column, t - 1)):
            asset.restart()
            behind = False
        if behind or t <= asset.latest.get(column, t - 1):
            words.append("duplicate" if t == asset.latest.get(column) else "late")
            continue
        words.append("")
        asset.latest[column] = t
        if math.isnan(value):
            continue
        if name != config.sensor:
            take(asset, config, column, name, t, value)
            continue
        ended = cycles_ended(asset.signal, config, value)
        if ended is None:
            asset.start = None
        if not ended:
            continue
        if asset.start is not None:
            length = (t - asset.start) / max(1.0, ended)
            short = length < round(config.shortest_seconds * 1e9)
            longest = round(config.longest_seconds * 1e9)
            if short and config.signal != "counter":
                continue
            if not short and not 0 < longest < length:
                names = sensors[number]
                rows.append((number, t, described(asset, config, names, t, ended), index))
                asset.usual = nearer(asset.usual, int(length))
        asset.start = t
        asset.cycle, asset.increases, asset.integral = {}, {}, {}
    return rows, words


def nearer(median: int, value: int) -> int:
    """A running median: an eighth of itself towards the value; the first value is taken whole."""
    if median == 0:
        return value
    if value > median:
        return median + max(1, median // 8)
    return median - (median // 8 if value < median else 0)


def cycles_ended(signal: Counter, config: cycles.Config, value: float) -> float | None:
    """How many cycles this value of the cycle sensor ends; None = its counter was reset."""
    if config.signal == "counter":
        return signal.increase(value)
    before, signal.level = signal.level, value
    if before is None:
        return 0.0
    if config.signal == "pulse":
        return float(before <= config.level < value)
    return float(value == config.level and before != config.level)


def take(
    asset: Machine, config: cycles.Config, column: int, name: str, t: int, value: float
) -> None:
    """Note one reading of the running cycle."""
    start = asset.start or 0
    asset.cycle.setdefault(column, []).append((t, value))
    if name in (config.energy_sensor, config.reject_sensor):
        increase = asset.counters[column].increase(value) or 0.0
        asset.increases[column] = asset.increases.get(column, 0.0) + increase
    if name == config.power_sensor:
        since, level = asset.held.get(column, (start, value))
        total, held = asset.integral.get(column, (0.0, 0))
        total += level * ((t - max(since, start)) * 1e-9)
        asset.integral[column] = (total, max(held, t - since))
        asset.held[column] = (t, value)


def described(
    asset: Machine, config: cycles.Config, names: Sequence[str], t: int, ended: float
) -> dict[str, float]:
    """The row of the cycle that ends at ``t``."""
    assert asset.start is not None
    row = {"cycle_seconds": (t - asset.start) * 1e-9 / ended}
    for column, name in enumerate(names):
        pairs = asset.cycle.get(column, [])
        values = [v for _, v in pairs]
        counts = name in (config.energy_sensor, config.reject_sensor)
        if values and not counts and name != config.sensor:
            row[name] = mean(values)
        if counts and asset.counters[column].level is not None:
            derived = "rejects" if name == config.reject_sensor else "energy_per_cycle"
            row[derived] = asset.increases.get(column, 0.0) / ended
        if name == config.power_sensor and column in asset.held:
            since, level = asset.held[column]
            total, held = asset.integral.get(column, (0.0, 0))
            total += level * ((t - max(since, asset.start)) * 1e-9)
            if max(held, t - since) <= round(config.hold_seconds * 1e9):
                row["energy_per_cycle"] = total / ended
        if name in config.shape_sensors and values:
            row |= shape(asset, name, pairs, ended)
    return row


def shape(
    asset: Machine, name: str, pairs: list[tuple[int, float]], ended: float
) -> dict[str, float]:
    """Smallest, largest, rise, and the means by eighths of the usual cycle."""
    assert asset.start is not None
    values = [v for _, v in pairs]
    row = {f"{name}.min": min(values), f"{name}.max": max(values),
           f"{name}.rise": values[-1] - values[0]}
    bins: dict[int, list[float]] = defaultdict(list)
    for t, value in pairs:
        if asset.usual > 0:
            bins[min(7, (t - asset.start) // max(1, asset.usual // 8))].append(value)
    for k, part in bins.items():
        if ended == 1.0:
            total = 0.0
            for value in part:  # sum() rounds otherwise from Python 3.12 on
                total += value
            row[f"{name}.profile_{k + 1}"] = total / len(part)
    return row
