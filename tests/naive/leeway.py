"""Leeway in plain Python: one sensor, its rows one by one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

DAY, UNSEEN, BOUND, PARTS, PART_ROWS = 86_400.0, 4.0, 3.0, 16, 8
SHARE, PACE, FASTEST, SETTLING = 0.5, 2400.0, 3.0, 6.0
YOUNG = (300.0, 6.0)  # pace and fastest while little is known


def bound(values: Sequence[float], seconds: float) -> float:
    """How far a slow motion may go in what of a day was not seen; 0 = it moves no slowly."""
    kept = [value for value in values if not math.isnan(value)]
    size = len(kept) // PARTS
    if size < PART_ROWS or seconds >= DAY:
        return 0.0
    parts = [kept[k * size : (k + 1) * size] for k in range(PARTS)]
    within = statistics.fmean(statistics.pvariance(part) for part in parts)
    slow = statistics.pvariance([statistics.fmean(part) for part in parts]) - within / size
    if slow <= SHARE * within:
        return 0.0
    return BOUND * math.sqrt(min(DAY / seconds - 1.0, UNSEEN) * slow)


def followed(
    values: Sequence[float], settles: Sequence[bool], centre: float, spread: float, most: float,
    interval_seconds: float, pace_seconds: float = PACE, fastest: float = FASTEST,
) -> list[float]:
    """What is put down to the hall at each row."""
    pace = min(interval_seconds / pace_seconds, 1.0 / SETTLING)
    given, found = 0.0, []
    for value, starts_up in zip(values, settles, strict=True):
        found.append(given)
        if math.isnan(value):
            continue
        rest = min(max(value - centre - given, -fastest * spread), fastest * spread)
        given = min(max(given + (SETTLING if starts_up else 1.0) * pace * rest, -most), most)
    return found
