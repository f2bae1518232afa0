"""Accounts in plain Python: every segment laid on the shifts, piece by piece; all shifts kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

DAY = 86_400 * 10**9

Segment = tuple[int, int, int]  # start, end, heading


def shift_at(shifts: Sequence[tuple[int, int]], t: int) -> tuple[int, int]:
    """The shift, the time between two, or the day that ``t`` lies in."""
    for start, end in shifts:
        if start <= t < end:
            return start, end
    before = [end for _, end in shifts if end <= t]
    after = [start for start, _ in shifts if start > t]
    if before and after:
        return max(before), min(after)
    day = t // DAY * DAY
    first = max(day, max(before)) if before else day
    last = min(day + DAY, min(after)) if after else day + DAY
    return first, last


def by_shift(
    segments: Sequence[Segment], shifts: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], dict[int, int]]:
    """Booked nanoseconds by shift and heading."""
    found: dict[tuple[int, int], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for start, end, heading in segments:
        at = start
        while at < end:
            shift = shift_at(shifts, at)
            stop = min(end, shift[1])
            found[shift][heading] += stop - at
            at = stop
    return found
