"""The reorder buffer as one would explain it: a list per asset, sorted after every arrival."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

NEVER = -(1 << 63)


@dataclass
class Waiting:
    """One asset's readings that wait, and its clock."""

    newest: int = NEVER
    past: int = NEVER
    held: list[tuple[int, int, int, float, bool, int]] = field(default_factory=list)


@dataclass
class Reorder:
    """Holds readings back until the asset's newest time is ``lateness`` ahead of them."""

    lateness: int
    limit: int
    assets: dict[int, Waiting] = field(default_factory=dict)
    arrivals: int = 0

    def take(
        self, asset: int, sensor: int, time: int, value: float, closes: bool, base: int
    ) -> tuple[bool, list[tuple[int, int, int, float, bool, int]]]:
        """One reading in; whether it was late, and (asset, sensor, time, value, closes, base)."""
        out: list[tuple[int, int, int, float, bool, int]] = []
        own = self.assets.setdefault(asset, Waiting())
        self.arrivals += 1
        if base == -1:
            return False, out
        if base == 1:
            out += self._go(asset, len(own.held))
            own.newest, own.past = time, NEVER
        if time < own.past:
            return True, out
        if len(own.held) == self.limit:
            out += self._go(asset, 1)
            if time < own.past:
                return True, out
        own.held.append((time, self.arrivals, sensor, value, closes, base))
        own.held.sort(key=lambda reading: reading[:2])
        own.newest = max(own.newest, time)
        bound = own.newest - self.lateness
        out += self._go(asset, sum(reading[0] <= bound for reading in own.held))
        own.past = max(own.past, bound)
        return False, out

    def flush(self) -> list[tuple[int, int, int, float, bool, int]]:
        """The rest, assets in index order."""
        return [r for a in sorted(self.assets) for r in self._go(a, len(self.assets[a].held))]

    def _go(self, asset: int, number: int) -> list[tuple[int, int, int, float, bool, int]]:
        own = self.assets[asset]
        going, own.held = own.held[:number], own.held[number:]
        if going:
            own.past = max(own.past, going[-1][0])
        return [(asset, sensor, time, value if not math.isnan(value) else math.nan, closes, base)
                for time, _, sensor, value, closes, base in going]
