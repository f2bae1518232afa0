"""Recordings to the ledger: columns to roles, rows to segments, segments to sums by shift.

What tells the states is found by the columns' names or named by the user: a state tag, else a part
counter, else a power signal. The rules of booking are the engine's (``anomaly.ledger``); words and
files are ``losses``' and ``losses_page``'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from anomaly import inefficiency, ledger, observations, states
from anomaly.batches import Float64, Int8, Int64
from anomaly.booking import Records, State
from anomaly.production_roles import state_table
from anomaly.registry import Registry
from streams import calendars
from streams import settings as settings_module
from streams.codec import Batch, FrameDecoder
from streams.errors import InputError, UsageError
from streams.losses_feed import order_name
from streams.recordings import open_recording
from streams.rejections import Rejections
from streams.words import Words

#: What a column can be, and names by which it is found when the command line names none.
ROLES: Mapping[str, tuple[str, ...]] = {
    role: (*observations.ROLES[role], *more) for role, more in (
        ("state", ()), ("parts", ("counter",)), ("rejects", ()), ("energy", ()), ("power", ()),
        ("cycle", ("cycle_time",)), ("product", ()), ("order", ()))
}
_ROLE = {name: index for index, name in enumerate(ROLES)}
_ROWS_LIMIT = 50_000_000
_SMOOTH_SECONDS = 60.0
_LEVELS_SAMPLE = 200_000
_GUESS_LEAST = 0.5


@dataclass(frozen=True, slots=True)
class LossesOptions:
    """What ``andon losses`` was asked; empty = found or learned."""

    files: tuple[Path, ...]
    out: Path
    calendar: Path | None = None
    config: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    parts_per_row: str = ""
    states: tuple[str, ...] = ()
    cycle_seconds: Mapping[str, float] = field(default_factory=dict)
    line: tuple[str, ...] = ()
    budget_per_week: float = 1.0
    prices: ledger.Prices = field(default_factory=ledger.Prices)
    micro_stop_seconds: float = 300.0
    hold_seconds: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """All rows of all assets, each asset's in order of time; values by role, NaN = not said."""

    names: list[str]
    asset: Int64
    time_ns: Int64
    value: Float64
    found: dict[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What was booked: per asset the whole, its part by shift and by order, and the findings.

    ``by_order``: (name, start_ns, account) of each order, oldest first; ``trend``: kind, usual
    level and level of late of what is judged, of the product made last.
    """

    names: list[str]
    how: dict[str, str]
    shifts: list[calendars.Interval]
    accounts: list[ledger.Account]
    by_shift: list[list[ledger.Account]]
    by_order: list[list[tuple[str, int, ledger.Account]]]
    segments: Records
    nominal_ns: Int64
    findings: Records
    trend: list[list[tuple[str, float, float]]]
    prices: ledger.Prices
    minutes: float
    products: Float64


def read_rows(options: LossesOptions) -> Rows:
    """Every row of the files that has a time and an asset, by role."""
    settings = settings_module.load(options.config, {})
    registry, rejections = Registry(), Rejections(0)
    decoder = FrameDecoder(registry, rejections)
    parts: list[tuple[Int64, Int64, Float64]] = []
    wanted = dict(options.columns)
    losses = replace(settings.monitor.losses, states=options.states, state_sensor=wanted["state"])
    words = Words.of(replace(settings.monitor, losses=losses))
    if options.parts_per_row:
        wanted["parts"] = options.parts_per_row
    count = 0
    for path in options.files:
        recording = open_recording(path, settings.input, words)
        for frame in recording.frames(count):
            count = frame.first_row + frame.rows
            if count > _ROWS_LIMIT:
                raise InputError(path, f"more than {_ROWS_LIMIT:,} rows; give fewer files at once")
            for batch in decoder.decode(frame):
                parts.append(_roles_of(batch, registry, wanted))
    asset = np.concatenate([p[0] for p in parts])
    time_ns = np.concatenate([p[1] for p in parts])
    value = np.concatenate([p[2] for p in parts])
    known = {name for names in registry.sensors for name in names}
    for role, name in wanted.items():
        if name and name not in known:
            raise UsageError(f"--{role}-column {name}: there is no such column; there are "
                             f"{', '.join(sorted(known)[:20])}")
    rows = _one_row_per_time(asset, time_ns, value)
    found = {role: _named(role, sorted(known), wanted) for role in ROLES}
    if options.parts_per_row:
        _accumulate(rows[0], rows[2][:, _ROLE["parts"]])
    if not (found["state"] or found["parts"] or found["power"]):
        raise UsageError("no column tells what the machine does: name a --state-column, a "
                         "--parts-column (or --parts-per-row) or a --power-column; there are "
                         f"{', '.join(sorted(known)[:20])}")
    return Rows(list(registry.assets), *rows, {r: n for r, n in found.items() if n})


def booked(rows: Rows, options: LossesOptions) -> Result:
    """Book all rows, sum them by asset and shift, and judge the cycles."""
    assets = len(rows.names)
    interval = _usual_interval(rows)
    first, last = int(rows.time_ns.min()), int(rows.time_ns.max()) + interval
    calendar = calendars.Calendar((), first, last)
    if options.calendar is not None:
        calendar = calendars.read(options.calendar, first, last)
    config = ledger.Config(
        micro_stop_seconds=options.micro_stop_seconds, hold_seconds=options.hold_seconds)
    state, how = _states(rows, options)
    product, labels = _products(rows, config.products)
    energy, unit = _energy(rows)
    how["energy"] = unit
    observed = ledger.Observations(
        rows.asset, rows.time_ns, state, product, rows.value[:, _ROLE["parts"]],
        rows.value[:, _ROLE["rejects"]], energy)
    memory = ledger.allocate(config, assets)
    _give_nominals(memory, rows.names, options.cycle_seconds, config.products, how)
    planned = calendar.planned(rows.names)
    settled = ledger.run(config, memory, planned, observed)
    end = ledger.flush(config, memory, planned, extend=True)
    segments = np.concatenate([settled.segments, end])
    nominal = memory["asset_nominal"]
    shifts = calendar.shifts() or _days(first, last)
    edges = np.unique([t for shift in shifts for t in (shift.start_ns, shift.end_ns)])
    pieces = ledger.cut(segments, edges.astype(np.int64))
    accounts: list[ledger.Account] = []
    by_shift: list[list[ledger.Account]] = []
    for a in range(assets):
        own, mine = pieces[pieces["asset"] == a], rows.asset == a
        made, bad, at = settled.parts[mine], settled.rejects[mine], rows.time_ns[mine]
        accounts.append(ledger.account(own, nominal, float(made.sum()), float(bad.sum())))
        by_shift.append([])
        for shift in shifts:
            inside = (own["start_ns"] >= shift.start_ns) & (own["end_ns"] <= shift.end_ns)
            then = (at > shift.start_ns) & (at <= shift.end_ns)
            by_shift[a].append(ledger.account(
                own[inside], nominal, float(made[then].sum()), float(bad[then].sum())))
    by_order = [_orders(rows, a, segments, settled, nominal, last) for a in range(assets)]
    findings, trend = _findings(rows, state, settled, product, energy, options, config)
    return Result(rows.names, how, shifts, accounts, by_shift, by_order, segments, nominal,
                  findings, trend, options.prices, options.micro_stop_seconds / 60.0, labels)


# -- rows by role ---------------------------------------------------------------------------------


def _named(role: str, names: Sequence[str], wanted: Mapping[str, str]) -> str:
    """The column of a role among these names; empty = none."""
    if wanted.get(role):
        return wanted[role] if wanted[role] in names else ""
    plain = {name.lower().strip().replace(" ", "_"): name for name in names}
    return next((plain[name] for name in ROLES[role] if name in plain), "")


def _roles_of(
    batch: Batch, registry: Registry, wanted: Mapping[str, str]
) -> tuple[Int64, Int64, Float64]:
    """One line per (row, asset) of the batch: asset, time, values by role."""
    readings = batch.readings
    lines = readings.asset.size // batch.width if batch.width else 0
    asset, time_ns = readings.asset[:: batch.width], readings.time_ns[:: batch.width]
    value = np.full((lines, len(ROLES)), np.nan)
    sensor = readings.sensor.reshape(lines, batch.width)
    given = readings.value.reshape(lines, batch.width)
    for a in np.unique(asset).tolist():
        own = asset == a
        names = registry.sensors[a]
        for role, index in _ROLE.items():
            name = _named(role, names, wanted)
            if name:
                hit = sensor[own] == names.index(name)
                held = np.where(hit, given[own], np.nan)
                some = hit.any(axis=1)
                value[np.flatnonzero(own)[some], index] = held[some][hit[some]]
    return asset, time_ns, value


def _one_row_per_time(
    asset: Int64, time_ns: Int64, value: Float64
) -> tuple[Int64, Int64, Float64]:
    """Rows of one asset and time joined, in order of time over all assets."""
    order = np.lexsort((asset, time_ns))
    asset, time_ns, value = asset[order], time_ns[order], value[order]
    first = np.ones(asset.size, np.bool_)
    first[1:] = (asset[1:] != asset[:-1]) | (time_ns[1:] != time_ns[:-1])
    if first.all():
        return asset, time_ns, value
    group = np.cumsum(first) - 1
    joined = np.full((int(first.sum()), value.shape[1]), np.nan)
    for column in range(value.shape[1]):
        said = ~np.isnan(value[:, column])
        joined[group[said], column] = value[said, column]
    return asset[first], time_ns[first], joined


def _accumulate(asset: Int64, parts: Float64) -> None:
    """Parts per row to a counter, in place."""
    for a in np.unique(asset).tolist():
        own = asset == a
        parts[own] = np.cumsum(np.nan_to_num(parts[own]))


def _usual_interval(rows: Rows) -> int:
    steps = [np.diff(rows.time_ns[rows.asset == a]) for a in range(len(rows.names))]
    kept = np.concatenate(steps) if steps else np.zeros(0, np.int64)
    return int(np.median(kept)) if kept.size else 0


def _states(rows: Rows, options: LossesOptions) -> tuple[Int8, dict[str, str]]:
    """Canonical state of every row, and in words how it was found."""
    said = rows.value[:, _ROLE["state"]]
    state = np.full(rows.asset.size, states.UNCHANGED, np.int8)
    how: dict[str, str] = {}
    for a, name in enumerate(rows.names):
        own = rows.asset == a
        power = rows.value[own, _ROLE["power"]]
        if np.isfinite(said[own]).any():
            state[own] = states.canonical(state_table(options.states), said[own])
            how[name] = f"state tag {rows.found['state']!r}"
        elif np.isfinite(rows.value[own, _ROLE["parts"]]).any():
            how[name] = f"part counter {rows.found['parts']!r} alone"
        elif np.isfinite(power).any():
            smooth = _smoothed(power, rows.time_ns[own])
            levels = states.guess_levels(smooth[:: max(1, smooth.size // _LEVELS_SAMPLE)])
            how[name] = (f"guessed from {rows.found['power']!r}: idle about {levels.idle:.4g}, "
                         f"running about {levels.running:.4g}, confidence "
                         f"{levels.confidence:.0%}".replace("%", " %"))
            if levels.confidence >= _GUESS_LEAST:
                state[own] = states.from_levels(levels, smooth)
            else:
                how[name] += " - too low to be used"
    if options.line:
        missing = [name for name in options.line if name not in rows.names]
        if missing:
            raise UsageError(f"--line: there is no asset {missing[0]!r}; there are "
                             f"{', '.join(rows.names[:20])}")
        previous = np.full(len(rows.names), -1, np.int64)
        following = previous.copy()
        order = [rows.names.index(name) for name in options.line]
        previous[order[1:]], following[order[:-1]] = order[:-1], order[1:]
        waiting = states.allocate(len(rows.names))
        states.split_waiting(
            waiting["asset_waiting"], previous, following, rows.asset, rows.time_ns,
            np.ascontiguousarray(rows.value[:, _ROLE["parts"]]),
            np.ascontiguousarray(rows.value[:, _ROLE["rejects"]]), state)
    return state, how


def _smoothed(power: Float64, time_ns: Int64) -> Float64:
    """Mean over the last minute: strokes within a cycle are not idling."""
    step = float(np.median(np.diff(time_ns))) / 1e9 if time_ns.size > 1 else 60.0
    width = max(1, min(round(_SMOOTH_SECONDS / max(step, 1e-9)), power.size))
    known = np.isfinite(power)
    total = np.cumsum(np.where(known, power, 0.0))
    count = np.cumsum(known)
    total[width:] -= total[:-width].copy()
    count[width:] = count[width:] - count[:-width].copy()
    found: Float64 = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return found


def _products(rows: Rows, limit: int) -> tuple[Int64, Float64]:
    """Product number of every row, 0 before one is said; and the values by number."""
    value = _held(rows, "product")
    said = np.isfinite(value)
    labels, code = np.unique(value[said], return_inverse=True)
    product = np.zeros(rows.asset.size, np.int64)
    product[said] = np.minimum(code, limit - 1)
    return product, labels


def _held(rows: Rows, role: str) -> Float64:
    """A role's value of every row; where a row says nothing, what its asset said last holds."""
    value = rows.value[:, _ROLE[role]].copy()
    for a in range(len(rows.names)):
        own = np.flatnonzero(rows.asset == a)
        said = np.isfinite(value[own])
        latest = np.maximum.accumulate(np.where(said, np.arange(own.size), -1))
        value[own] = np.where(latest >= 0, value[own[np.maximum(latest, 0)]], np.nan)
    return value


def _orders(
    rows: Rows, a: int, segments: Records, settled: ledger.Booked, nominal: Int64, last: int
) -> list[tuple[str, int, ledger.Account]]:
    """What was booked of one asset by order; an order that comes back is another one."""
    mine = rows.asset == a
    number, at = _held(rows, "order")[mine], rows.time_ns[mine]
    begins = np.flatnonzero(np.isfinite(number) & (np.append(np.nan, number[:-1]) != number))
    if not begins.size:
        return []
    edges = np.append(at[begins], last)
    pieces = ledger.cut(segments[segments["asset"] == a], np.unique(edges))
    found = []
    for k, begin in enumerate(begins.tolist()):
        inside = (pieces["start_ns"] >= edges[k]) & (pieces["end_ns"] <= edges[k + 1])
        then = (at > edges[k]) & (at <= edges[k + 1])
        found.append((order_name(float(number[begin])), int(edges[k]), ledger.account(
            pieces[inside], nominal, float(settled.parts[mine][then].sum()),
            float(settled.rejects[mine][then].sum()))))
    return found


def _energy(rows: Rows) -> tuple[Float64, str]:
    """An energy counter per row and its unit: the meter's, else the power summed up."""
    meter = rows.value[:, _ROLE["energy"]]
    if np.isfinite(meter).any():
        return np.ascontiguousarray(meter), "kWh"
    power = rows.value[:, _ROLE["power"]]
    if not np.isfinite(power).any():
        return np.full(power.size, np.nan), ""
    total = np.full(power.size, np.nan)
    for a in range(len(rows.names)):
        own = rows.asset == a
        hours = np.diff(rows.time_ns[own], prepend=rows.time_ns[own][0]) / 3.6e12
        usual = float(np.median(hours))
        total[own] = np.cumsum(np.nan_to_num(power[own]) * np.minimum(hours, 10.0 * usual))
    kilowatts = "kilowatt" in rows.found["power"] or rows.found["power"].lower().endswith("kw")
    return total, "kWh" if kilowatts else f"{rows.found['power']} x h"


def _give_nominals(
    memory: State, names: Sequence[str], given: Mapping[str, float], products: int,
    how: dict[str, str],
) -> None:
    for a, name in enumerate(names):
        seconds = given.get(name, given.get("", 0.0))
        if seconds:
            for product in range(products):
                ledger.set_nominal(memory, a, product, seconds)
            how[name] = how.get(name, "") + f"; nominal cycle {seconds:g} s as given"
    unknown = sorted(set(given) - set(names) - {""})
    if unknown:
        raise UsageError(f"--cycle-seconds: there is no asset {unknown[0]!r}")


def _days(first: int, last: int) -> list[calendars.Interval]:
    """Days in UTC, where no shift is known."""
    day = 86_400 * 10**9
    return [
        calendars.Interval("day", str(np.datetime64(start, "ns").astype("datetime64[D]")),
                           max(start, first), min(start + day, last))
        for start in range(first // day * day, last, day)
    ]


def _findings(
    rows: Rows, state: Int8, settled: ledger.Booked, product: Int64, energy: Float64,
    options: LossesOptions, config: ledger.Config,
) -> tuple[Records, list[list[tuple[str, float, float]]]]:
    """Judge the cycles and the standstills of every asset, as the live engine does; the trend."""
    judged = replace(inefficiency.Config(), products=config.products)
    cycle = np.zeros(rows.asset.size, inefficiency.CYCLE)
    idle = np.zeros(2 * rows.asset.size, inefficiency.IDLE)
    per_row = settled.parts if options.parts_per_row else np.full(rows.asset.size, np.nan)
    cycles, stills = observations.finish(
        np.zeros(len(rows.names), observations.SHOP), round(config.micro_stop_seconds * 1e9),
        round(config.hold_seconds * 1e9), rows.asset, rows.time_ns, state, product, settled.parts,
        settled.rejects, energy, np.ascontiguousarray(rows.value[:, _ROLE["cycle"]]), per_row,
        cycle, idle)
    cycle["told"] = 1 if "product" in rows.found else 0
    memory = inefficiency.allocate(judged, len(rows.names))
    found = inefficiency.run(
        judged, memory, options.budget_per_week, cycle[:cycles], idle[:stills])
    making = [int(product[rows.asset == a][-1]) if "product" in rows.found else -1
              for a in range(len(rows.names))]
    return found, [inefficiency.trend(memory, a, p) for a, p in enumerate(making)]
