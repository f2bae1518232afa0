"""Later rows in plain Python: one machine, its rows one by one, a list for everything."""

from __future__ import annotations

import math
from collections.abc import Sequence

#: time in ns, one value per sensor, NaN = missing
Row = tuple[int, list[float]]


def means(rows: Sequence[Row], span_ns: int) -> list[tuple[int, int, Row]]:
    """What closes: place of the row that closed it, number of its rows, the mean of each sensor."""
    closed: list[tuple[int, int, Row]] = []
    begun, held = 0, []
    for place, (time_ns, values) in enumerate(rows):
        if held and not begun <= time_ns < begun + span_ns:
            columns = [[v for v in column if not math.isnan(v)]
                       for column in zip(*held, strict=True)]
            mean = [c[0] + math.fsum(v - c[0] for v in c) / len(c) if c else math.nan
                    for c in columns]
            closed.append((place, len(held), (begun + span_ns, mean)))
            held = []
        if not held:
            begun = time_ns // span_ns * span_ns
        held.append(values)
    return closed


def judged(
    rows: Sequence[Row], span_ns: int, rests: Sequence[bool], warm_up: int, least_rows: float,
    further: int, turn: int, between: int, tries: int, trial: int = 8,
) -> tuple[list[int], list[Row], list[tuple[int, list[Row]]]]:
    """Places of the rows that are judged as they came, the means that are, and what was learned.

    ``rests``: at each mean, whether the machine is at rest. Learned: where, and from which means;
    all of them with the last one, and so often as it might be tried.
    """
    among = {place: (count, row) for place, count, row in means(rows, span_ns)}
    came: list[int] = []
    later: list[Row] = []
    kept: list[Row] = []
    counts: list[int] = []
    learned: list[tuple[int, list[Row]]] = []
    slow = False
    for place in range(len(rows)):
        if place in among:
            count, row = among[place]
            at_rest = rests[len(counts)]
            counts.append(count)
            if learned:
                later.append(row)
            elif len(counts) == trial:
                slow = sum(counts) < least_rows * trial
            most = warm_up * (1 + further)
            if not slow and not at_rest and len(kept) < most:
                kept.append(row)
            first = not learned and len(kept) == warm_up
            turns = len(learned) - 1  # 0: the last one has just been kept
            again = 0 <= turns <= tries and len(kept) == most and (
                not turns or row[0] >= kept[-1][0] + (turn + (turns - 1) * between) * span_ns)
            if not slow and (first or again):
                learned.append((place, list(kept)))
        if not learned:
            came.append(place)
    return came, later, learned
