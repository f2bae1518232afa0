"""Who the others wait for, hour by hour, in plain Python."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

WAITING = (3, 4, 5)
HOUR = 3600
LEARN = 8

Row = tuple[int, int, int]  # second, asset, canonical state or −1


def moves(rows: Sequence[Row], line: Sequence[int], budget: float) -> list[tuple[int, int, int]]:
    """(second, asset, 1 = it has become the bottleneck, 0 = no longer) in order of time."""
    last: dict[int, tuple[int, int]] = {}
    seen: Counter[int] = Counter()
    waited: Counter[int] = Counter()
    learned: list[int] = []
    run: list[int] = []
    told = -1
    hour = None
    found = []
    for t, a, state in rows:
        if a not in line:
            continue
        if hour is None:
            hour = t // HOUR
        if t // HOUR > hour:
            hour = t // HOUR
            known = [b for b in line if seen[b] >= HOUR / 2]
            shares = {b: waited[b] / seen[b] for b in known}
            seen.clear()
            waited.clear()
            if known and max(shares.values()) > 0:
                least = min(known, key=lambda b: (shares[b], line.index(b)))
                if len(learned) < LEARN:
                    learned.append(least)
                else:
                    counts = Counter(learned)
                    usual = max(line, key=lambda b: (counts[b], -line.index(b)))
                    if least == usual:
                        run = []
                        if told >= 0:
                            found.append((t, told, 0))
                            told = -1
                    else:
                        run = [*run, least] if run and run[-1] == least else [least]
                        chance = max((LEARN - counts[usual] + 1) / (LEARN + 2), 0.1)
                        enough = math.log(168 / budget) / -math.log(chance)
                        if told < 0 and len(run) >= max(enough, 2):
                            told = least
                            found.append((t, told, 1))
        before, held = last.get(a, (0, 0))
        if t <= before:
            continue
        if before:
            seen[a] += min(t - before, HOUR)
            waited[a] += min(t - before, HOUR) if held in WAITING else 0
        last[a] = t, state if state >= 0 else held
    return found
