"""Cycles to findings in plain Python: one asset, lists of what each product made, charts last.

Nothing feeds back from a chart to the choice of what is judged, so the choice is made first for all
cycles, and each chart then follows its own list. The charts are the naive ones.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.naive import charts

WEEK = 604_800.0
SHARES = (0.34, 0.20, 0.20, 0.16)  # slow cycle, micro-stops, energy, rejects
SHIFT, STOP_FACTOR, REJECT_FACTOR, STOP_SHARE = 0.0175, 3.0, 2.0, 0.25
WARM_UP, PRODUCTS, SETTLE, REST_S = 250, 8, 15, 300.0
ENERGY_ROWS, ENERGY_BATCHES = 25, 20
RECOGNISE, FEWEST, SAME = 25, 20, 0.02
IN_A_ROW, AFTER_CYCLES, AFTER_CHANGEOVER = 4, 60.0, 5


@dataclass(frozen=True)
class Cycle:
    """One part; ``changed_ns`` the latest changeover, ``told`` whether a tag tells the product."""

    row: int
    time_ns: int
    product: int
    told: bool
    changed_ns: int
    seconds: float
    energy: float
    rejects: float


@dataclass
class Product:
    """What was made of one product: the warm-up's cycles, then (cycle, changed_ns) judged."""

    kept: list[Cycle] = field(default_factory=list)
    judged: list[Cycle] = field(default_factory=list)

    @property
    def usual(self) -> float:
        return statistics.median(c.seconds for c in self.kept)


def findings(
    cycles: Sequence[Cycle], budget: float
) -> list[tuple[int, int, int, int, int]]:
    """(row, product, kind, firing, since_ns) of one asset, in order of row and kind."""
    products = _chosen(cycles)
    found = []
    for p, product in enumerate(products):
        if len(product.kept) == WARM_UP:
            found += [(row, p, *rest) for row, *rest in _of_product(product, budget)]
    return sorted(found, key=lambda one: (one[0], one[1]))


def _chosen(cycles: Sequence[Cycle]) -> list[Product]:
    """Every cycle to its product, start-ups and what follows a changeover left out."""
    products = [Product() for _ in range(PRODUCTS)]
    last_ns, changed_ns, place, settling = None, 0, 0, 0
    fresh: list[float] | None = None  # of a product that is being recognised
    usual = 0.0
    for cycle in cycles:
        if not cycle.seconds > 0.0 or (last_ns is not None and cycle.time_ns <= last_ns):
            continue
        since = 0.0 if last_ns is None else (cycle.time_ns - last_ns) / 1e9
        if since > REST_S + cycle.seconds or cycle.seconds > REST_S + 2.0 * usual:
            settling = SETTLE
        if cycle.changed_ns != changed_ns:
            changed_ns, settling = cycle.changed_ns, SETTLE
            fresh = None if cycle.told else []
        last_ns = cycle.time_ns
        if settling > 0:
            settling -= 1
            continue
        if fresh is not None:
            fresh.append(cycle.seconds)
            if len(fresh) == RECOGNISE:
                place, fresh = _recognised(products, statistics.median(fresh)), None
            continue
        p = cycle.product if cycle.told else place
        if p >= PRODUCTS:
            continue
        if len(products[p].kept) < WARM_UP:
            products[p].kept.append(cycle)
        else:
            usual = products[p].usual
            products[p].judged.append(cycle)
    return products


def _recognised(products: Sequence[Product], seconds: float) -> int:
    """The product whose usual cycle is nearest and within two percent; else the first free one."""
    near = [(abs(seconds / one.usual - 1.0), p) for p, one in enumerate(products)
            if len(one.kept) >= FEWEST]
    if near and min(near)[0] < SAME:
        return min(near)[1]
    return next((p for p, one in enumerate(products) if len(one.kept) < FEWEST), len(products))


def _of_product(product: Product, budget: float) -> list[tuple[int, int, int, int]]:
    kept, usual = product.kept, product.usual
    below = [c.seconds for c in kept if c.seconds < usual * (1.0 + STOP_SHARE)]
    slow = charts.Mean(below, SHIFT, 0.005)
    rows_a_week = WEEK / budget / usual

    def has_a_stop(cycle: Cycle) -> bool:
        return cycle.seconds > usual + max(STOP_SHARE * usual, 6.0 * min(slow.scale, 0.1 * usual))

    stopped, in_a_row = [], 0
    for cycle in product.judged:
        in_a_row = in_a_row + 1 if has_a_stop(cycle) else 0
        stopped.append(0 < in_a_row <= IN_A_ROW)
    pure = [c for c, stop in zip(product.judged, stopped, strict=True) if not stop]
    found = _told(slow, pure, [c.seconds for c in pure], rows_a_week / SHARES[0], 0, usual)

    stops = charts.Share(sum(map(has_a_stop, kept)), len(kept), STOP_FACTOR)
    found += _told(stops, product.judged, [float(s) for s in stopped],
                   rows_a_week / SHARES[1], 1, usual)

    metered = [c for c in pure if c.energy > 0.0]
    ends = range(ENERGY_ROWS, len(metered) + 1, ENERGY_ROWS)
    means = [statistics.fmean(c.energy for c in metered[end - ENERGY_ROWS : end]) for end in ends]
    if len(means) > ENERGY_BATCHES:
        dear = charts.Mean(means[:ENERGY_BATCHES], SHIFT, 0.01)
        found += _told(dear, [metered[end - 1] for end in ends][ENERGY_BATCHES:],
                       means[ENERGY_BATCHES:], rows_a_week / ENERGY_ROWS / SHARES[2], 2, usual)

    inspected = [c.rejects for c in kept if not math.isnan(c.rejects)]
    if len(inspected) >= 50:
        bad = charts.Share(sum(inspected), len(inspected), REJECT_FACTOR)
        seen = [c for c in product.judged if not math.isnan(c.rejects)]
        found += _told(bad, seen, [c.rejects for c in seen], rows_a_week / SHARES[3], 3, usual)
    return found


def _told(
    chart: charts.Mean | charts.Share, cycles: Sequence[Cycle], values: Sequence[float],
    per_limit: float, kind: int, usual: float,
) -> list[tuple[int, int, int, int]]:
    """(row, kind, firing, since_ns) wherever the chart begins or ceases to fire."""
    flags = chart.follow(values, per_limit)
    found, before, named, since = [], False, kind, 0
    for i, (cycle, fires) in enumerate(zip(cycles, flags, strict=True)):
        if fires and not before:
            since = cycles[i + 1 - chart.inside[i]].time_ns
            near = cycle.changed_ns + int(AFTER_CYCLES * usual * 1e9)
            after = kind == 0 and 0 < cycle.changed_ns <= since <= near
            named = AFTER_CHANGEOVER if after else kind
        if fires != before:
            found.append((cycle.row, named, int(fires), since))
        before = fires
    return found
