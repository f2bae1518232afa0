"""Production: what a machine makes and wastes, seen live beside its sensors.

One stage beside detection. It knows which of an asset's sensors tell its production (a part
counter, a pulse, a state, the energy meter; by name or by setting), gathers their readings into
*observations*, books every nanosecond (``ledger``), sums what was booked (``accounts``) and judges
the finished cycles (``inefficiency``). An asset without such a sensor has no state here and costs
nothing. Composed by ``monitor``; no words, no files, no calendar format.

An observation is what an asset's production sensors said at one time. It is complete when a later
reading of the asset arrives, or with the reading that closes a wide row: by the data's own time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as field_of
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly import accounts, bottleneck, cycles, inefficiency, ledger, observations, states
from anomaly.batches import Bool, Float64, Int8, Int64, Ordered, RowBatch
from anomaly.errors import ConfigError
from anomaly.registry import Registry

#: Of each component that the stage keeps.
VERSIONS = {
    "production": 1, "ledger": ledger.VERSION, "accounts": accounts.VERSION,
    "inefficiency": inefficiency.VERSION, "bottleneck": bottleneck.VERSION,
}

#: Kinds of alert that are losses, not faults.
LOSS_KINDS = inefficiency.KINDS

_ROLE = {name: index for index, name in enumerate(observations.ROLES)}
_WIDTH = len(observations.ROLES)
#: Sensors that only count, or name a state: judged as production, never as a level. State 15 is not
#: two and a half times state 6.
COUNTERS = ("state", "parts", "pulse", "parts_per_row", "rejects", "energy", "product")

State = dict[str, npt.NDArray[Any]]
Records = npt.NDArray[np.void]
Record = Any  # one element of a structured array, changed in place


@dataclass(frozen=True, slots=True)
class Config:
    """What tells the production. A sensor is found by its usual names where none is given."""

    enabled: bool = True
    """``false``: nothing is booked, no cycle is judged."""
    state_sensor: str = ""
    """State of the machine; PackML numbers unless ``states`` says otherwise."""
    states: tuple[str, ...] = ()
    """Such as ``"2=producing"``; empty = PackML (ANSI/ISA-TR88.00.02)."""
    cycle_state: int = -1
    """A part is made each time the state takes this number; −1 = something else tells parts."""
    parts_sensor: str = ""
    """Counter of parts."""
    pulse_sensor: str = ""
    """Signal that rises through a half once per part."""
    parts_per_row_sensor: str = ""
    """Parts made since the row before."""
    rejects_sensor: str = ""
    """Counter of rejects."""
    energy_sensor: str = ""
    """Counter of energy."""
    power_sensor: str = ""
    """Power; summed up where there is no counter of energy."""
    cycle_sensor: str = ""
    """Length of the latest cycle in seconds, where the machine tells it itself."""
    product_sensor: str = ""
    """Number of the product, recipe or order: each has references of its own."""
    line: tuple[str, ...] = ()
    """Assets in the order of the parts: tells starved from blocked, and who is waited for."""
    budget_share: float = 0.4
    """Part of the alert budget that goes to inefficiencies, for an asset whose cycles are told."""
    ledger: ledger.Config = field_of(default_factory=ledger.Config)
    inefficiency: inefficiency.Config = field_of(default_factory=inefficiency.Config)

    def __post_init__(self) -> None:
        if not 0.0 < self.budget_share < 1.0:
            raise ConfigError("budget_share: must be above 0 and below 1")
        if self.ledger.products != self.inefficiency.products:
            raise ConfigError("inefficiency.products: must be the same as ledger.products")
        if len(set(self.line)) != len(self.line):
            raise ConfigError("line: an asset is named twice")
        state_table(self)

    def given(self) -> Mapping[str, str]:
        """Role to the sensor that the settings name for it; empty = the usual names."""
        return {
            "state": self.state_sensor, "parts": self.parts_sensor, "pulse": self.pulse_sensor,
            "parts_per_row": self.parts_per_row_sensor, "rejects": self.rejects_sensor,
            "energy": self.energy_sensor, "power": self.power_sensor, "cycle": self.cycle_sensor,
            "product": self.product_sensor,
        }


def informed(config: Config, cycle: cycles.Config) -> Config:
    """What the way to close rows says of the cycles too, where the settings do not say it here."""
    told = config.parts_sensor or config.pulse_sensor or config.parts_per_row_sensor
    if not cycle.sensor or told or config.cycle_state >= 0:
        return config
    role = {"counter": "parts_sensor", "pulse": "pulse_sensor", "state": "state_sensor"}
    more: dict[str, Any] = {role[cycle.signal]: cycle.sensor}
    if cycle.signal == "state":
        more["cycle_state"] = round(cycle.level)
    return replace(
        config, rejects_sensor=config.rejects_sensor or cycle.reject_sensor,
        power_sensor=config.power_sensor or cycle.power_sensor,
        energy_sensor=config.energy_sensor or cycle.energy_sensor, **more)


def state_table(config: Config) -> Int8:
    """int8[numbers]: canonical state by the number that the state sensor sends."""
    if not config.states:
        return states.mapper(states.PACKML)
    found = {}
    for text in config.states:
        number, equals, name = text.partition("=")
        if not equals or not number.strip().isdecimal():
            raise ConfigError(f'states: {text!r} is not "NUMBER=STATE"')
        found[int(number)] = name.strip()
    try:
        return states.mapper(found)
    except ConfigError as error:
        raise ConfigError(f"states: {error}") from None


def role_names(config: Config, sensors: Sequence[str]) -> dict[str, str]:
    """The sensor of every role that an asset with these sensors has; empty = it tells no parts.

    A state or a power alone is enough for the ledger, and what says what the machine makes is
    needed for everything else; other sensors of those names are left alone.
    """
    plain = {name.lower().strip().replace(" ", "_"): name for name in reversed(sensors)}
    found, given = {}, config.given()
    for role, usual in observations.ROLES.items():
        wanted = given[role]
        if wanted:
            name = wanted if wanted in sensors else ""
        else:
            name = next((plain[known] for known in usual if known in plain), "")
        if name:
            found[role] = name
    tells = {"parts", "pulse", "parts_per_row"} & set(found) or (
        config.cycle_state >= 0 and "state" in found)
    named = bool(config.state_sensor or config.power_sensor) and {"state", "power"} & set(found)
    return found if config.enabled and (tells or named) else {}


def power_unit(config: Config, sensors: Sequence[str]) -> str:
    """``kW`` where the names say so, else empty: nothing is guessed from values."""
    roles = role_names(config, sensors)
    text = (roles.get("energy") or roles.get("power") or "").lower()
    return "kW" if "kilowatt" in text or "kw" in text else ""


@dataclass(frozen=True, slots=True, eq=False)
class Roles:
    """What each tag is.

    Attributes
    ----------
    tag : int64[T]
        Role number, −1 = an ordinary sensor.
    asset : bool[A]
        Whether the asset's production is told.
    counter : bool[T]
        Whether the tag only counts, or names a state.
    previous, following : int64[A]
        Neighbours in the line, −1 = none.
    line : int64[L]
        Assets of the line in the order of the parts.
    """

    tag: Int64
    asset: Bool
    counter: Bool
    previous: Int64
    following: Int64
    line: Int64

    @property
    def any(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.asset.any())


def resolve(
    config: Config, names: Sequence[str], sensors: Sequence[Sequence[str]], table: Int64, tags: int
) -> Roles:
    """Find the roles among the registered sensors; call again when some were added."""
    roles = Roles(
        np.full(tags, -1, np.int64), np.zeros(len(names), np.bool_), np.zeros(tags, np.bool_),
        np.full(len(names), -1, np.int64), np.full(len(names), -1, np.int64),
        np.array([list(names).index(name) for name in config.line if name in names], np.int64))
    for a, own in enumerate(sensors):
        for role, name in role_names(config, own).items():
            tag = table[a, list(own).index(name)]
            roles.asset[a] = True
            roles.tag[tag] = _ROLE[role]
            roles.counter[tag] = role in COUNTERS
    roles.previous[roles.line[1:]] = roles.line[:-1]
    roles.following[roles.line[:-1]] = roles.line[1:]
    return roles


def allocate(config: Config, assets: int) -> dict[str, State]:
    """Fresh state of the stage's components; give 0 while no asset's production is told."""
    return {
        "production": {
            "asset_open": np.zeros(assets, observations.OPEN),
            "asset_value": np.zeros((assets, _WIDTH)),
            "asset_shop": np.zeros(assets, observations.SHOP),
            "asset_product": np.zeros((assets, config.ledger.products)),
            **states.allocate(assets),
        },
        "ledger": ledger.allocate(config.ledger, assets),
        "accounts": accounts.allocate(config.ledger.products, assets),
        "inefficiency": inefficiency.allocate(config.inefficiency, assets),
        "bottleneck": bottleneck.allocate(assets),
    }


@dataclass(frozen=True, slots=True, eq=False)
class Produced:
    """What a batch settled.

    Attributes
    ----------
    findings : FINDING[k]
        In order; ``row`` is the index of the reading that completed the observation (−1 = none).
    judged_at : int64[A]
        Index of the reading from which on a reference of the asset stands; −1 = before the batch.
    """

    findings: Records
    judged_at: Int64


def run(
    config: Config, state: Mapping[str, State], roles: Roles, plan: accounts.Plan,
    budget_per_week: float, table: Int64, ordered: Ordered,
) -> Produced:
    """Everything that n readings settle; any split of them settles the same.

    ``budget_per_week`` is the asset's whole budget.
    """
    own, readings = state["production"], ordered.readings
    n = len(readings)
    room = 2 * n + 8
    asset, time_ns, closed_at = (np.empty(room, np.int64) for _ in range(3))
    x = np.empty((room, _WIDTH))
    count = observations.gather(
        own["asset_open"], own["asset_value"], roles.tag, roles.asset, table, readings.asset,
        readings.sensor, readings.time_ns, readings.value, readings.closes, ordered.base,
        asset, time_ns, x, closed_at)
    asset, time_ns, x, closed_at = asset[:count], time_ns[:count], x[:count], closed_at[:count]
    if ordered.freed_by is not None:
        closed_at = ordered.freed_by[closed_at]
    return _settle(config, state, roles, plan, budget_per_week, asset, time_ns, x, closed_at)


def flush(
    config: Config, state: Mapping[str, State], roles: Roles, plan: accounts.Plan,
    budget_per_week: float, table: Int64, ordered: Ordered | None,
) -> Produced:
    """End of the stream: settle what was ``ordered`` last, then the observations still open."""
    earlier = None
    if ordered is not None:
        earlier = run(config, state, roles, plan, budget_per_week, table, ordered)
    own = state["production"]
    opened = own["asset_open"]
    asset = np.flatnonzero(opened["open"] == 1)
    x = np.where(opened["has"][asset, None] >> np.arange(_WIDTH) & 1, own["asset_value"][asset],
                 np.nan)
    time_ns = opened["time_ns"][asset].copy()
    opened["closed_ns"][asset], opened["closed"][asset] = time_ns, 1
    opened["open"][asset], opened["has"][asset] = 0, 0
    last = _settle(config, state, roles, plan, budget_per_week, asset, time_ns, x,
                   np.full(asset.size, -1, np.int64))
    if earlier is None:
        return last
    return Produced(np.concatenate([earlier.findings, last.findings]),
                    np.minimum(earlier.judged_at, last.judged_at))


@dataclass(slots=True, eq=False)
class Stage:
    """The stage's settings, roles and calendar; its numbers are the monitor's state.

    Attributes
    ----------
    config : Config
    budget_per_week : float
        The asset's whole budget, of which a share is this stage's.
    plan : Plan
        What a calendar says; not part of the state.
    roles : Roles or None
        None until :meth:`resolve` has been called.
    """

    config: Config
    budget_per_week: float
    plan: accounts.Plan = field_of(default_factory=accounts.no_plan)
    roles: Roles | None = None

    def resolve(self, registry: Registry, tags: int) -> bool:
        """Look for the roles among what is registered; whether any asset's production is told."""
        self.roles = resolve(
            self.config, registry.assets, registry.sensors, registry.table, tags)
        return self.roles.any

    @property
    def tells(self) -> bool:
        """Whether any asset's production is told."""
        return self.roles is not None and self.roles.any

    def counts(self, tags: int) -> Bool:
        """bool[tags]: sensors that only count or name a state: booked, with no level to judge."""
        found = np.zeros(tags, np.bool_)
        if self.roles is not None:
            known = self.roles.counter[:tags]
            found[: known.size] = known
        return found

    def run(
        self, state: Mapping[str, State], table: Int64, ordered: Ordered
    ) -> Produced | None:
        """See :func:`run`; None where nothing is told."""
        if self.roles is None or not self.roles.any:
            return None
        return run(self.config, state, self.roles, self.plan, self.budget_per_week, table, ordered)

    def flush(
        self, state: Mapping[str, State], table: Int64, ordered: Ordered | None
    ) -> Produced | None:
        """See :func:`flush`; None where nothing is told."""
        if self.roles is None or not self.roles.any:
            return None
        return flush(
            self.config, state, self.roles, self.plan, self.budget_per_week, table, ordered)

    def judgeable(self, table: Int64, rows: RowBatch) -> RowBatch:
        """See :func:`without_counters`."""
        return rows if self.roles is None else without_counters(self.roles, table, rows)


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """What was booked of one asset, up to its latest observation: nothing is left out.

    Attributes
    ----------
    total : Account
        Since the first observation; its wall time is the time from there to the latest one.
    shifts : tuple of (start_ns, end_ns, Account)
        The latest shifts (days where the calendar knows none), oldest first, the present one last.
    products : tuple of (number as sent or NaN, usual cycle in seconds or NaN, Account)
    cycle_seconds : float
        Usual cycle of the product made now; NaN = none is known yet.
    micro_stop_seconds : float
        A shorter stop was booked as a micro-stop.
    """

    total: ledger.Account
    shifts: tuple[tuple[int, int, ledger.Account], ...]
    products: tuple[tuple[float, float, ledger.Account], ...]
    cycle_seconds: float
    micro_stop_seconds: float


def statement(
    config: Config, state: Mapping[str, State], plan: accounts.Plan, asset: int
) -> Statement | None:
    """The asset's accounts as they stand; None where its production is not told.

    A stop that is still open is counted by its length so far. The state is not touched.
    """
    shops = state["production"]["asset_shop"]
    if asset >= len(shops) or state["ledger"]["asset_row"]["known"][asset] == 0:
        return None
    book = {name: array[asset : asset + 1].copy() for name, array in state["ledger"].items()}
    sums = {name: array[asset : asset + 1].copy() for name, array in state["accounts"].items()}
    own = accounts.of_asset(plan, asset)
    accounts.add_segments(
        *sums.values(), own.start_ns, own.end_ns,
        ledger.flush(config.ledger, book, own.planned))
    nominal = book["asset_nominal"][0] / 1e9
    known, values = int(shops["products"][asset]), state["production"]["asset_product"][asset]
    kept = sums["asset_shift"][0][sums["asset_shift"][0]["end_ns"] != 0]
    making = min(int(shops["making"][asset]), nominal.size - 1)
    return Statement(
        accounts.account(sums["asset_total"][0]),
        tuple((int(one["start_ns"]), int(one["end_ns"]), accounts.account(one))
              for one in np.sort(kept, order="start_ns")),
        tuple((float(values[p]) if p < known else np.nan, float(nominal[p]) or np.nan,
               accounts.account(one))
              for p, one in enumerate(sums["asset_product"][0]) if one["used"]),
        float(nominal[making]) or np.nan, config.ledger.micro_stop_seconds)


def restart(state: Mapping[str, State], asset: int) -> None:
    """What was usual may have changed (maintenance): the asset's references are learned anew."""
    if asset < len(state["production"]["asset_shop"]):
        state["inefficiency"]["asset_row"]["restart"][asset] = 1


def _with_moves(findings: Records, moved: Records, budget_per_week: float) -> Records:
    """The findings with the moves of the bottleneck among them, in order of row."""
    found = np.zeros(moved.size, inefficiency.FINDING)
    for name in ("row", "asset", "firing", "since_ns", "time_ns"):
        found[name] = moved[name]
    found["product"], found["kind"] = moved["usual"], inefficiency.BOTTLENECK
    found["expected"] = found["actual"] = found["cycle_seconds"] = np.nan
    found["period_seconds"] = 604_800.0 / budget_per_week
    every = np.concatenate([findings, found])
    return every[np.argsort(every["row"], kind="stable")]


def without_counters(roles: Roles, table: Int64, rows: RowBatch) -> RowBatch:
    """The rows as the detectors see them: what only counts, or names, has no level to be odd."""
    if not roles.any:
        return rows
    tags = table[rows.asset, : rows.x.shape[1]]
    counts = roles.counter[tags] & (tags >= 0)
    return RowBatch(rows.asset, rows.time_ns, np.where(counts, np.nan, rows.x), rows.closed_at)


def machine_share(config: Config, produced: Produced | None, rows: RowBatch) -> Float64:
    """float64[m]: the part of the budget that is left for the machine's own alerts at each row."""
    if produced is None:
        return np.ones(len(rows))
    judged = rows.closed_at >= produced.judged_at[rows.asset]
    return np.where(judged, 1.0 - config.budget_share, 1.0)


def _settle(
    config: Config, state: Mapping[str, State], roles: Roles, plan: accounts.Plan,
    budget_per_week: float, asset: Int64, time_ns: Int64, x: Float64, closed_at: Int64,
) -> Produced:
    own = state["production"]
    judged_at = np.where(own["asset_shop"]["judged"] == 1, -1, observations.NO_PART)
    n = asset.size
    if n == 0:
        return Produced(np.zeros(0, inefficiency.FINDING), judged_at)
    said = np.ascontiguousarray(x[:, _ROLE["state"]])
    canonical = states.canonical(state_table(config), said)
    product, parts, energy = np.empty(n, np.int64), np.empty(n), np.empty(n)
    observations.translate(
        own["asset_shop"], own["asset_product"], config.cycle_state, asset, time_ns, x, product,
        parts, energy)
    rejects = np.ascontiguousarray(x[:, _ROLE["rejects"]])
    if config.line:
        states.split_waiting(own["asset_waiting"], roles.previous, roles.following, asset, time_ns,
                             parts, rejects, canonical)
    observed = ledger.Observations(asset, time_ns, canonical, product, parts, rejects, energy)
    settled = ledger.run(config.ledger, state["ledger"], plan.planned, observed)
    accounts.add(state["accounts"], plan, settled.segments,
                 asset, time_ns, product, settled)
    cycle = np.zeros(n, inefficiency.CYCLE)
    idle = np.zeros(2 * n, inefficiency.IDLE)
    limit_ns = round(config.ledger.micro_stop_seconds * 1e9)
    hold_ns = round(config.ledger.hold_seconds * 1e9)
    counts = observations.finish(
        own["asset_shop"], limit_ns, hold_ns, asset, time_ns, canonical, product, settled.parts,
        settled.rejects, energy, np.ascontiguousarray(x[:, _ROLE["cycle"]]), cycle, idle)
    share = config.budget_share * budget_per_week
    findings = inefficiency.run(config.inefficiency, state["inefficiency"], share,
                                cycle[: counts[0]], idle[: counts[1]])
    stands = state["inefficiency"]["asset_row"]["ready_ns"]
    observations.mark(own["asset_shop"], stands, asset, time_ns, closed_at, judged_at)
    if config.line:
        moved = bottleneck.run(
            state["bottleneck"], inefficiency.BOTTLENECK_SHARE * share, roles.line, asset, time_ns,
            canonical)
        findings = _with_moves(findings, moved, inefficiency.BOTTLENECK_SHARE * share)
    findings["row"] = closed_at[findings["row"]]
    return Produced(findings, judged_at)
