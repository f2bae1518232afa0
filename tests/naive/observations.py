"""What production sensors said at one time, gathered in plain Python."""

from __future__ import annotations

from collections.abc import Sequence

Reading = tuple[int, int, int, float, bool]  # asset, role or −1, time, value, closes


def gathered(readings: Sequence[Reading]) -> list[tuple[int, int, dict[int, float], int]]:
    """(asset, time, value by role, index of the reading that completed it), clocks all right."""
    found = []
    opened: dict[int, tuple[int, dict[int, float]]] = {}
    closed: dict[int, int] = {}
    for i, (a, role, t, value, closes) in enumerate(readings):
        if a in opened and t > opened[a][0]:
            found.append((a, *opened[a], i))
            closed[a] = opened.pop(a)[0]
        if t <= closed.get(a, -1) or (a in opened and t < opened[a][0]):
            continue
        if role >= 0 and value == value:
            opened.setdefault(a, (t, {}))[1].setdefault(role, value)
        if closes and a in opened:
            found.append((a, *opened[a], i))
            closed[a] = opened.pop(a)[0]
    return found
