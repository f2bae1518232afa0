"""The reorder buffer as one would explain it: a list per asset, sorted after every arrival."""

from __future__ import annotations

from dataclasses import dataclass, field

NEVER = -(1 << 63)


@dataclass
class Waiting:
    """One asset's readings that wait, and its clock."""

    newest: int = NEVER
    past: int = NEVER
    restarts: bool = False
    held: list[tuple[int, int, int, float, bool]] = field(default_factory=list)


@dataclass
class Reorder:
    """Holds readings back until the asset's newest time is ``lateness`` ahead of them."""

    lateness: int
    limit: int
    assets: dict[int, Waiting] = field(default_factory=dict)
    arrivals: int = 0

    def take(
        self, asset: int, sensor: int, time: int, value: float, closes: bool, base: int
    ) -> tuple[str, list[tuple[int, int, int, float, bool, int]]]:
        """One reading in; why it is not used, and (asset, sensor, time, value, closes, base)."""
        out: list[tuple[int, int, int, float, bool, int]] = []
        own = self.assets.setdefault(asset, Waiting())
        self.arrivals += 1
        if base == -1:
            return "", out
        if base == 1:
            out += self._go(asset, len(own.held))
            own.newest, own.past, own.restarts = time, NEVER, True
        if time < own.past:
            return "late", out
        same = [reading for reading in own.held if reading[0] == time]
        if any(reading[2] == sensor for reading in same):
            return "duplicate", out
        if any(reading[4] for reading in same):
            return "late", out
        if len(own.held) == self.limit:
            out += self._go(asset, 1)
            if time < own.past:
                return "late", out
        own.held.append((time, self.arrivals, sensor, value, closes))
        own.held.sort(key=lambda reading: reading[:2])
        own.newest = max(own.newest, time)
        bound = own.newest - self.lateness
        out += self._go(asset, sum(reading[0] <= bound for reading in own.held))
        own.past = max(own.past, bound)
        return "", out

    def flush(self) -> list[tuple[int, int, int, float, bool, int]]:
        """The rest, assets in index order."""
        return [r for a in sorted(self.assets) for r in self._go(a, len(self.assets[a].held))]

    def _go(self, asset: int, number: int) -> list[tuple[int, int, int, float, bool, int]]:
        own = self.assets[asset]
        going, own.held = own.held[:number], own.held[number:]
        if going:
            own.past = max(own.past, going[-1][0])
        out = []
        for time, _, sensor, value, closes in going:
            out.append((asset, sensor, time, value, closes, int(own.restarts)))
            own.restarts = False
        return out
