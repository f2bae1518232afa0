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

#: Event time between two looks at one asset.
EVERY_NS = 10 * 10**9


class TakesLosses(Protocol):
    """Who is told (``telemetry``)."""

    def take_losses(self, asset: str, seconds: dict[str, float]) -> None:
        """Seconds that an asset has lost so far, by heading."""

    def take_shift(self, asset: str, shift: ShiftLosses) -> None:
        """The same of the present shift alone."""


@dataclass(frozen=True, slots=True)
class ShiftLosses:
    """What an asset has lost in one shift; ``oee`` is 0..1, NaN where it cannot be told."""

    start_ns: int
    end_ns: int
    seconds: dict[str, float]
    oee: float


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
                    self.taker.take_shift(name, ShiftLosses(
                        start_ns, end_ns, lost_seconds(account), account.oee))


def lost_seconds(account: ledger.Account) -> dict[str, float]:
    """Seconds under every heading that is a loss, by the heading's name."""
    return {ledger.HEADINGS[h]: int(account.booked_ns[h]) / 1e9 for h in ledger.LOSSES}
