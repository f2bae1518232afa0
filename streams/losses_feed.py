"""Live losses to whoever shows them: what an asset has lost so far, by heading.

``Monitor.statement(asset)`` gives everything that is known of an asset's production at any moment
(:class:`anomaly.production.Statement`): sums since the start, by shift and by product, booked
nanoseconds by heading (their sum is the wall time), parts, rejects, energy, OEE and its factors.
It is read-only and cheap enough for a page (some 0.2 ms an asset), not for every batch; here it is
asked for at most once per :data:`EVERY_NS` of an asset's own time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from anomaly import ledger
from anomaly.monitor import Monitor
from anomaly.production import Statement

#: Event time between two looks at one asset.
EVERY_NS = 10 * 10**9


class TakesLosses(Protocol):
    """Who is told (``telemetry``)."""

    def take_losses(self, asset: str, seconds: dict[str, float]) -> None:
        """Seconds that an asset has lost so far, by heading."""

    def take_shift(self, asset: str, shift: ShiftLosses) -> None:
        """The same of the present shift alone."""


@dataclass(frozen=True, slots=True)
class OrderLosses:
    """What an asset has lost on one order; ``oee`` 0..1, NaN where it cannot be told."""

    name: str
    oee: float
    parts: float
    seconds: float


@dataclass(frozen=True, slots=True)
class ShiftLosses:
    """What an asset has lost in one shift.

    Attributes
    ----------
    seconds : dict
        By heading of the ledger.
    oee : float
        0..1, NaN where it cannot be told.
    money : dict
        By heading, rejects among them; empty where no price is given.
    money_total : dict
        The same since the beginning of the state.
    earlier_oee : float
        Of the kept shifts before, NaN where there is none.
    trend : tuple of (kind, usual, of late)
        See ``production.Statement``.
    read_from : tuple of str
        What is read from a signal's shape or level, as sentences.
    orders : tuple of OrderLosses
        The latest orders, the present one last.
    factors : dict
        Availability, performance and quality of the shift, 0..1; without what cannot be told.
    parts_total, energy_total : dict
        What was lost since the beginning of the state, by heading: parts, rejects among them,
        where a usual cycle is known; energy in the meter's own unit.
    booked_total : dict
        Seconds since the beginning of the state under every heading, lost or not; their sum is the
        wall time.
    """

    start_ns: int
    end_ns: int
    seconds: dict[str, float]
    oee: float
    money: dict[str, float] = field(default_factory=dict)
    money_total: dict[str, float] = field(default_factory=dict)
    earlier_oee: float = float("nan")
    trend: tuple[tuple[str, float, float], ...] = ()
    read_from: tuple[str, ...] = ()
    orders: tuple[OrderLosses, ...] = ()
    factors: dict[str, float] = field(default_factory=dict)
    parts_total: dict[str, float] = field(default_factory=dict)
    energy_total: dict[str, float] = field(default_factory=dict)
    booked_total: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class LossesFeed:
    """Tells the losses of assets of one partition as they grow."""

    taker: TakesLosses
    _told_ns: dict[int, int] = field(default_factory=dict)

    def tell(self, monitor: Monitor, assets: Iterable[int]) -> None:
        """These assets have had readings."""
        if not monitor.shop.tells:
            return
        for a in assets:
            now_ns = monitor.newest_ns(a)
            if abs(now_ns - self._told_ns.get(a, 0)) < EVERY_NS:
                continue
            told = monitor.statement(a)
            if told is not None:
                self._told_ns[a] = now_ns
                name = monitor.registry.assets[a]
                self.taker.take_losses(name, lost_seconds(told.total))
                for start_ns, end_ns, account in told.shifts[-1:]:
                    earlier = told.earlier
                    self.taker.take_shift(name, ShiftLosses(
                        start_ns, end_ns, lost_seconds(account), account.oee,
                        lost_money(account, told.prices), lost_money(told.total, told.prices),
                        float("nan") if earlier is None else earlier.oee, told.trend,
                        told.read_from, of_orders(told), factors(account),
                        *lost_parts_and_energy(told.total), booked_seconds(told.total)))


def booked_seconds(account: ledger.Account) -> dict[str, float]:
    """Seconds under every heading, by its name."""
    return {name: int(booked) / 1e9
            for name, booked in zip(ledger.HEADINGS, account.booked_ns, strict=True)}


def lost_seconds(account: ledger.Account) -> dict[str, float]:
    """Seconds under every heading that is a loss, by the heading's name."""
    return {ledger.HEADINGS[h]: int(account.booked_ns[h]) / 1e9 for h in ledger.LOSSES}


def factors(account: ledger.Account) -> dict[str, float]:
    """The three factors of the OEE, by name; without what cannot be told."""
    found = {"availability": account.availability, "performance": account.performance,
             "quality": account.quality}
    return {name: value for name, value in found.items() if value == value}


def lost_parts_and_energy(account: ledger.Account) -> tuple[dict[str, float], dict[str, float]]:
    """Parts lost, rejects among them, and energy drawn meanwhile, by the heading's name.

    Without the parts that are not known, and without the energy of rejects: it is a share of a
    sum, which may fall, and these are shown as counters.
    """
    parts = {ledger.HEADINGS[h]: float(account.lost_parts[h]) for h in ledger.LOSSES}
    energy = {ledger.HEADINGS[h]: float(account.energy[h]) for h in ledger.LOSSES}
    known = {name: value for name, value in parts.items() if value == value}
    return known | {"rejects": float(account.rejects)}, energy


def of_orders(told: Statement) -> tuple[OrderLosses, ...]:
    """What the kept orders cost, the present one last; one that came back is one order."""
    parts: dict[str, list[ledger.Account]] = {}
    for number, _, account in told.orders:
        before = parts.pop(order_name(number), [])
        parts[order_name(number)] = [*before, account]
    sums = {name: ledger.summed(own) for name, own in parts.items()}
    return tuple(OrderLosses(name, account.oee, account.parts, sum(lost_seconds(account).values()))
                 for name, account in sums.items())


def order_name(number: float) -> str:
    """An order as people write it: the number that was sent, whole where it is whole."""
    return str(int(number)) if number == int(number) else repr(number)


def lost_money(account: ledger.Account, prices: ledger.Prices) -> dict[str, float]:
    """What was lost, in money, by the heading's name; empty where no price is given.

    Every heading from the first on: a counter that begins late hides what it begins with.
    """
    if not prices.given:
        return {}
    nothing = dict.fromkeys((*lost_seconds(account), "rejects"), 0.0)
    return nothing | {loss.heading: loss.money for loss in account.losses(prices)}
