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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as field_of
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly import (
    accounts,
    bottleneck,
    guessing,
    inefficiency,
    ledger,
    levels,
    observations,
    shapes,
    states,
)
from anomaly.batches import Bool, Float64, Int8, Int64, Ordered, RowBatch
from anomaly.production_roles import (
    ROLE,
    Config,
    Roles,
    informed,
    power_unit,
    product_names,
    resolve,
    role_names,
    state_table,
)
from anomaly.registry import Registry

__all__ = [
    "LOSS_KINDS", "VERSIONS", "Config", "Produced", "Roles", "Stage", "Statement", "allocate",
    "flush", "informed", "machine_share", "power_unit", "product_names", "resolve", "restart",
    "role_names", "run", "state_table", "statement", "without_counters",
    "works",
]

#: Of each component that the stage keeps.
VERSIONS = {
    "production": 5, "shapes": shapes.VERSION, "levels": levels.VERSION,
    "ledger": ledger.VERSION, "accounts": accounts.VERSION,
    "inefficiency": inefficiency.VERSION, "bottleneck": bottleneck.VERSION,
}

#: Kinds of alert that are losses, not faults.
LOSS_KINDS = inefficiency.KINDS

_WIDTH = len(observations.ROLES)

State = dict[str, npt.NDArray[Any]]
Records = npt.NDArray[np.void]
Record = Any  # one element of a structured array, changed in place


def allocate(config: Config, assets: int, guessed: int) -> dict[str, State]:
    """Fresh state of the stage's components; give 0 while no asset's production is told.

    ``guessed``: the same for what reads cycles and states from a signal.
    """
    return {
        "shapes": shapes.allocate(guessed),
        "levels": levels.allocate(guessed),
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
    worked : int64[A]
        What the asset did before the batch: works, settles, rests (``observations.WORKS`` …).
    asset, at, works : int64[n], int64[n], int8[n]
        Of each observation: its asset, the reading that completed it, what the asset did.
    """

    findings: Records
    judged_at: Int64
    worked: Int64
    asset: Int64
    at: Int64
    works: Int8


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
    return Produced(
        np.concatenate([earlier.findings, last.findings]),
        np.minimum(earlier.judged_at, last.judged_at), earlier.worked,
        *(np.concatenate([getattr(earlier, name), getattr(last, name)])
          for name in ("asset", "at", "works")))


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
    rows_are_cycles : bool
        A row is a cycle, not a time.
    mode_sensors : callable
        An asset's sensors -> those that may tell its operating mode.
    """

    config: Config
    budget_per_week: float
    plan: accounts.Plan = field_of(default_factory=accounts.no_plan)
    roles: Roles | None = None
    rows_are_cycles: bool = False
    mode_sensors: Callable[[Sequence[str]], Sequence[str]] = field_of(default=lambda sensors: ())

    def resolve(self, registry: Registry, tags: int) -> bool:
        """Look for the roles among what is registered; whether any asset's production is told."""
        self.roles = resolve(
            self.config, registry.assets, registry.sensors, registry.table, tags,
            self.rows_are_cycles, self.mode_sensors)
        return self.roles.any

    @property
    def tells(self) -> bool:
        """Whether any asset's production is told."""
        return self.roles is not None and self.roles.any

    @property
    def guesses(self) -> bool:
        """Whether any asset's cycles or states are read from a signal."""
        return self.roles is not None and self.roles.guesses

    def starts_and_stops(self, state: Mapping[str, State], asset: int, tags: Int64) -> bool:
        """Whether one of these tags, the asset's, tells when it works, or its level does."""
        if self.roles is None:
            return False
        guessed = asset < len(self.roles.level) and self.roles.level[asset] >= 0 and bool(
            state["levels"]["asset_row"]["known"][asset])
        return guessed or bool((self.roles.tag[tags] == ROLE["state"]).any())

    def at_rest(
        self, state: Mapping[str, State], asset: int, column: Mapping[int, int], rows: Float64,
        times_ns: Int64,
    ) -> Bool | None:
        """bool[w]: see ``levels.at_rest``; None where nothing is guessed from a level.

        ``column``: of the asset's tags, in ``rows float64[w, d]``.
        """
        if self.roles is None or asset >= len(self.roles.level) or self.roles.level[asset] < 0:
            return None
        values = np.ascontiguousarray(rows[:, column[int(self.roles.guessed[asset, 1])]])
        return levels.at_rest(state["levels"]["asset_row"][asset], times_ns, values)

    def doubt(
        self, state: Mapping[str, State], table: Int64, rows: RowBatch, works: Int8
    ) -> None:
        """Take rests back, in ``works int8[m]``, that only a meter tells; see ``levels.doubt``."""
        if self.roles is not None and self.roles.guesses:
            known = state["reference"]
            levels.doubt(
                state["levels"]["asset_row"], self.roles.guessed[:, 1], table,
                known["asset"]["ready"], known["tag"], rows.asset, rows.time_ns, rows.x, works,
                observations.RESTS)

    def believe(self, state: Mapping[str, State], asset: int) -> None:
        """Its meter is believed anew."""
        if "levels" in state and asset < len(state["levels"]["asset_row"]):
            levels.believe(state["levels"], asset)

    def books(self, tag: int) -> bool:
        """Whether the tag tells something of the production: then it is no level to be judged."""
        return self.roles is not None and bool(self.roles.tag[tag] >= 0)

    def sayings(self, state: Mapping[str, State]) -> dict[int, str]:
        """What is read from a sensor's signal, in words, by tag; empty where nothing is."""
        return {} if self.roles is None or not self.roles.guesses else guessing.sayings(
            state, self.roles)

    def read_from(self, state: Mapping[str, State], registry: Registry, asset: int) -> list[str]:
        """What of the asset is read from a signal, as sentences that name the sensor."""
        if self.roles is None or not self.roles.guesses:
            return []
        tags = registry.tags(asset).tolist()
        names = dict(zip(tags, registry.sensors[asset], strict=True))
        own = self.roles.guessed[asset : asset + 1]
        mine = {name: {"asset_row": state[name]["asset_row"][asset : asset + 1]}
                for name in ("shapes", "levels")}
        return list(guessing.sayings(mine, replace(self.roles, guessed=own), names).values())

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
    read_from : tuple of str
        What is read from a signal's shape or level, as sentences.
    orders : tuple of (number, start_ns, Account)
        The latest orders, oldest first; empty where no sensor tells them.
    trend : tuple of (kind, usual, of late)
        Levels of what is judged (``LOSS_KINDS``, units as in its findings), of the product made
        now: frozen reference and running mean over some fifty cycles.
    prices : Prices
        For ``Account.losses``.
    energy_unit : str
        ``kWh`` where the sensors' names say so, else empty.
    """

    total: ledger.Account
    shifts: tuple[tuple[int, int, ledger.Account], ...]
    products: tuple[tuple[float, float, ledger.Account], ...]
    cycle_seconds: float
    micro_stop_seconds: float
    read_from: tuple[str, ...]
    orders: tuple[tuple[float, int, ledger.Account], ...]
    trend: tuple[tuple[str, float, float], ...]
    prices: ledger.Prices
    energy_unit: str

    @property
    def earlier(self) -> ledger.Account | None:
        """The kept shifts before the present one, summed: what the present is compared with."""
        past = [account for _, _, account in self.shifts[:-1]]
        return ledger.summed(past) if past else None


def statement(
    config: Config, state: Mapping[str, State], plan: accounts.Plan, asset: int,
    read_from: Sequence[str] = (), energy_unit: str = "",
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
    accounts.add_all(sums, own, ledger.flush(config.ledger, book, own.planned))
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
        float(nominal[making]) or np.nan, config.ledger.micro_stop_seconds, tuple(read_from),
        tuple((float(sums["asset_number"][0, k]), int(sums["asset_order"][0, k]["start_ns"]),
               accounts.account(sums["asset_order"][0, k]))
              for k in np.argsort(sums["asset_order"][0]["start_ns"])
              if sums["asset_order"][0, k]["start_ns"] != 0),
        tuple(inefficiency.trend(state["inefficiency"], asset, making if known else -1)),
        config.prices, energy_unit)


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


def works(produced: Produced | None, rows: RowBatch) -> Int8 | None:
    """int8[m]: what its asset did when each row closed; None = all of them simply worked.

    Only what a machine does while it produces is learned and judged: at rest it is another one.
    While it starts up it is followed, and nothing is told.
    """
    if produced is None or not (produced.works.any() or produced.worked.any()):
        return None
    found = np.empty(len(rows), np.int8)
    observations.at_rows(
        produced.worked.copy(), produced.asset, produced.at, produced.works, rows.asset,
        rows.closed_at, found)
    return found


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
    worked = own["asset_shop"]["works"].copy()
    n = asset.size
    works = np.zeros(n, np.int8)
    if n == 0:
        return Produced(
            np.zeros(0, inefficiency.FINDING), judged_at, worked, asset, closed_at, works)
    said = np.ascontiguousarray(x[:, ROLE["state"]])
    canonical = states.canonical(state_table(config.states), said)
    told = canonical.copy()
    if roles.guesses:
        canonical, told = guessing.read(state, roles, asset, time_ns, x, canonical)
    product, parts, energy = np.empty(n, np.int64), np.empty(n), np.empty(n)
    observations.translate(
        own["asset_shop"], own["asset_product"], config.cycle_state, asset, time_ns, x, product,
        parts, energy)
    rejects = np.ascontiguousarray(x[:, ROLE["rejects"]])
    if config.line:
        states.split_waiting(own["asset_waiting"], roles.previous, roles.following, asset, time_ns,
                             parts, rejects, canonical)
    observed = ledger.Observations(asset, time_ns, canonical, product, parts, rejects, energy)
    settled = ledger.run(config.ledger, state["ledger"], plan.planned, observed)
    observations.working(own["asset_shop"], roles.shape < 0, asset, time_ns, told, settled.parts,
                         works)
    accounts.begin_orders(
        state["accounts"]["asset_order"], state["accounts"]["asset_number"], asset, time_ns,
        np.ascontiguousarray(x[:, ROLE["order"]]))
    accounts.add(state["accounts"], plan, settled.segments,
                 asset, time_ns, product, settled)
    cycle = np.zeros(n, inefficiency.CYCLE)
    idle = np.zeros(2 * n, inefficiency.IDLE)
    limit_ns = round(config.ledger.micro_stop_seconds * 1e9)
    hold_ns = round(config.ledger.hold_seconds * 1e9)
    counts = observations.finish(
        own["asset_shop"], limit_ns, hold_ns, asset, time_ns, canonical, product, settled.parts,
        settled.rejects, energy, np.ascontiguousarray(x[:, ROLE["cycle"]]),
        np.where(roles.shape[asset] < 0, x[:, ROLE["parts_per_row"]], np.nan), cycle, idle)
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
    return Produced(findings, judged_at, worked, asset, closed_at, works)
