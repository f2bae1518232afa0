"""Accounts: sums of what the ledger booked, live: in all, by shift and by product.

A segment is added to the account of every shift that it reaches into, cut at the shift's edges to
the nanosecond, to those of the orders in the same way, and to its product's. The latest shifts and
orders are kept; where the calendar knows none, a shift is a day in UTC. Nothing is booked here and
nothing named.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly import ledger
from anomaly.batches import Float64, Int64
from anomaly.kernel import kernel

VERSION = 2

#: Shifts kept per asset: a week of three, and the one under way.
SHIFTS = 22
#: Orders kept per asset.
ORDERS = 8

_HEADINGS = len(ledger.HEADINGS)
_DAY_NS = 86_400 * 10**9
_NEVER_ENDS = 1 << 62

State = dict[str, npt.NDArray[Any]]
Records = npt.NDArray[np.void]
Record = Any  # one element of a structured array, changed in place

_ACCOUNT = np.dtype([
    ("used", np.int64),
    ("start_ns", np.int64),
    ("end_ns", np.int64),
    ("booked_ns", np.int64, (_HEADINGS,)),
    ("lost_parts", np.float64, (_HEADINGS,)),
    ("energy", np.float64, (_HEADINGS,)),
    ("parts", np.float64),
    ("rejects", np.float64),
])


@dataclass(frozen=True, slots=True)
class Plan:
    """What a calendar says, as plain numbers.

    Attributes
    ----------
    planned : Planned
        Time without production by asset.
    start_ns, end_ns : int64[s]
        Shifts, ascending and disjoint; empty = days.
    shift_offsets : int64[A + 1]
        Asset a's shifts are ``start_ns[shift_offsets[a]:shift_offsets[a + 1]]``; empty = all
        assets have all of them.
    stop_offsets : int64[A + 1]
        Asset a's planned stops are ``stop_ns[stop_offsets[a]:stop_offsets[a + 1]]``, ascending.
    stop_ns : int64[k]
        Beginnings of planned stops and maintenance, breaks and nights not among them.
    """

    planned: ledger.Planned
    start_ns: Int64
    end_ns: Int64
    stop_offsets: Int64 = field(default_factory=lambda: np.zeros(1, np.int64))
    stop_ns: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    shift_offsets: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))

    def shifts(self) -> tuple[Int64, Int64, Int64]:
        """As the kernels take them."""
        return self.shift_offsets, self.start_ns, self.end_ns

    def seconds_to_stop(self, asset: int, now_ns: int) -> float:
        """Until the asset's next planned stop; NaN where none is planned."""
        if asset + 1 >= self.stop_offsets.size:
            return float("nan")
        own = self.stop_ns[self.stop_offsets[asset] : self.stop_offsets[asset + 1]]
        ahead = own[own > now_ns]
        return (int(ahead[0]) - now_ns) / 1e9 if ahead.size else float("nan")


def no_plan() -> Plan:
    """A calendar without anything in it."""
    none = np.zeros(0, np.int64)
    return Plan(ledger.no_plan(), none, none)


def of_asset(plan: Plan, asset: int) -> Plan:
    """The plan of one asset alone, as asset 0."""
    offsets, starts, ends = plan.planned.columns()
    first, last = 0, plan.start_ns.size
    if plan.shift_offsets.size:
        first, last = (int(plan.shift_offsets[min(a, plan.shift_offsets.size - 1)])
                       for a in (asset, asset + 1))
    shift_start, shift_end = plan.start_ns[first:last], plan.end_ns[first:last]
    if asset + 1 >= offsets.size:
        return Plan(ledger.no_plan(), shift_start, shift_end)
    own = slice(int(offsets[asset]), int(offsets[asset + 1]))
    count = own.stop - own.start
    planned = ledger.Planned(np.array([0, count], np.int64), starts[own], ends[own])
    return Plan(planned, shift_start, shift_end)


def allocate(products: int, assets: int) -> State:
    """Fresh state: nothing added."""
    return {
        "asset_total": np.zeros(assets, _ACCOUNT),
        "asset_shift": np.zeros((assets, SHIFTS), _ACCOUNT),
        "asset_product": np.zeros((assets, products), _ACCOUNT),
        "asset_order": np.zeros((assets, ORDERS), _ACCOUNT),
        "asset_number": np.zeros((assets, ORDERS)),
    }


def add(
    state: State, plan: Plan, segments: Records, asset: Int64, time_ns: Int64,
    product: Int64, settled: ledger.Booked,
) -> None:
    """Add segments, and what n observations counted."""
    add_segments(*_sums(state), *plan.shifts(), segments)
    add_counts(*_sums(state), *plan.shifts(), asset, time_ns, product,
               settled.parts, settled.rejects)


def add_all(state: State, plan: Plan, segments: Records) -> None:
    """Add segments alone."""
    add_segments(*_sums(state), *plan.shifts(), segments)


def _sums(state: State) -> tuple[Records, ...]:
    return tuple(state[f"asset_{of}"] for of in ("total", "shift", "product", "order"))


def account(entry: Record) -> ledger.Account:
    """One element of the state as the ledger's account."""
    return ledger.Account(
        entry["booked_ns"].copy(), entry["lost_parts"].copy(), entry["energy"].copy(),
        float(entry["parts"]), float(entry["rejects"]))


@kernel
def begin_orders(
    asset_order: Records, asset_number: Float64, asset: Int64, time_ns: Int64, said: Float64
) -> None:
    """Note where orders begin, before the time after it is added; NaN = as before.

    The latest are kept. An order that comes back is another one.
    """
    for i in range(asset.size):
        if np.isnan(said[i]):
            continue
        own, number, t = asset_order[asset[i]], asset_number[asset[i]], time_ns[i]
        latest = oldest = 0
        for k in range(own.size):
            if own[k]["start_ns"] > own[latest]["start_ns"]:
                latest = k
            if own[k]["start_ns"] < own[oldest]["start_ns"]:
                oldest = k
        if own[latest]["start_ns"] != 0:
            if number[latest] == said[i] or t <= own[latest]["start_ns"]:
                continue
            own[latest]["end_ns"] = t
        _open(own[oldest], t, _NEVER_ENDS)
        number[oldest] = said[i]


@kernel
def add_segments(
    asset_total: Records, asset_shift: Records, asset_product: Records, asset_order: Records,
    offsets: Int64, start_ns: Int64, end_ns: Int64, segments: Records,
) -> None:
    """Every segment whole to its asset and product, in pieces to the shifts and orders."""
    for i in range(segments.size):
        row = segments[i]
        a, p, h = row["asset"], row["product"], row["heading"]
        start, end = row["start_ns"], row["end_ns"]
        nominal = row["nominal_ns"]
        _add(asset_total[a], h, start, end, start, end, row["energy"], nominal)
        _add(asset_product[a, p], h, start, end, start, end, row["energy"], nominal)
        for k in range(asset_order.shape[1]):
            order = asset_order[a, k]
            first, last = max(start, order["start_ns"]), min(end, order["end_ns"])
            if order["start_ns"] != 0 and first < last:
                _add(order, h, first, last, start, end, row["energy"], nominal)
        shift_start, shift_end = _own_shifts(offsets, start_ns, end_ns, a)
        at = start
        while at < end:
            first, last = _shift_at(shift_start, shift_end, at)
            stop = min(end, last)
            entry = _find(asset_shift[a], first, last)
            if entry >= 0:
                _add(asset_shift[a, entry], h, at, stop, start, end, row["energy"], nominal)
            at = stop


@kernel
def add_counts(
    asset_total: Records, asset_shift: Records, asset_product: Records, asset_order: Records,
    offsets: Int64, start_ns: Int64, end_ns: Int64, asset: Int64, time_ns: Int64, product: Int64,
    parts: Float64, rejects: Float64,
) -> None:
    """Parts and rejects to the shift in which they were counted; a count at its end is its own."""
    for i in range(asset.size):
        if parts[i] == 0.0 and rejects[i] == 0.0:
            continue
        a = asset[i]
        shift_start, shift_end = _own_shifts(offsets, start_ns, end_ns, a)
        first, last = _shift_at(shift_start, shift_end, time_ns[i] - 1)
        for k in range(asset_order.shape[1]):
            order = asset_order[a, k]
            if order["start_ns"] != 0 and order["start_ns"] < time_ns[i] <= order["end_ns"]:
                order["parts"] += parts[i]
                order["rejects"] += rejects[i]
        entry = _find(asset_shift[a], first, last)
        asset_total[a]["parts"] += parts[i]
        asset_total[a]["rejects"] += rejects[i]
        own = asset_product[a, min(product[i], asset_product.shape[1] - 1)]
        own["parts"] += parts[i]
        own["rejects"] += rejects[i]
        if entry >= 0:
            asset_shift[a, entry]["parts"] += parts[i]
            asset_shift[a, entry]["rejects"] += rejects[i]


@kernel
def _add(
    entry: Record, heading: int, start: int, end: int, whole_start: int, whole_end: int,
    energy: float, nominal: int,
) -> None:
    """One piece [start, end) of a segment to an account."""
    if entry["used"] == 0:
        entry["used"] = 1
        if entry["end_ns"] == 0:
            entry["start_ns"] = start
    length = end - start
    entry["booked_ns"][heading] += length
    entry["energy"][heading] += energy * (length / (whole_end - whole_start))
    if heading not in (ledger.AT_RATE, ledger.PLANNED, ledger.NO_DATA) and nominal > 0:
        entry["lost_parts"][heading] += length / nominal


@kernel
def _own_shifts(offsets: Int64, start: Int64, end: Int64, a: int) -> tuple[Int64, Int64]:
    """The asset's shifts; all of them where they are nobody's own."""
    if offsets.size == 0:
        return start, end
    first = offsets[min(a, offsets.size - 1)]
    last = offsets[min(a + 1, offsets.size - 1)]
    return start[first:last], end[first:last]


@kernel
def _shift_at(shift_start: Int64, shift_end: Int64, t: int) -> tuple[int, int]:
    """The shift that ``t`` lies in; the time between two shifts is one too; else the day."""
    k = np.searchsorted(shift_start, t, side="right")
    if shift_start.size == 0 or k == 0 or (k == shift_start.size and t >= shift_end[k - 1]):
        day = t - t % _DAY_NS
        first = max(day, shift_end[k - 1]) if k > 0 else day
        last = day + _DAY_NS
        if 0 == k < shift_start.size:
            last = min(last, shift_start[0])
        return first, last
    if t < shift_end[k - 1]:
        return shift_start[k - 1], shift_end[k - 1]
    return shift_end[k - 1], shift_start[k]


@kernel
def _find(entries: Records, start: int, end: int) -> int:
    """Place of a shift among the kept ones; the oldest makes room. −1 = it is older than all."""
    oldest = 0
    for k in range(entries.size):
        if entries[k]["end_ns"] != 0 and entries[k]["start_ns"] == start:
            return k
        if entries[k]["start_ns"] < entries[oldest]["start_ns"] or (
            entries[k]["end_ns"] == 0 and entries[oldest]["end_ns"] != 0
        ):
            oldest = k
    entry = entries[oldest]
    if entry["end_ns"] != 0 and start < entry["start_ns"]:
        return -1
    _open(entry, start, end)
    return oldest


@kernel
def _open(entry: Record, start: int, end: int) -> None:
    """An account of [start, end) with nothing in it."""
    entry["used"], entry["start_ns"], entry["end_ns"] = 1, start, end
    entry["parts"] = entry["rejects"] = 0.0
    for h in range(_HEADINGS):
        entry["booked_ns"][h] = 0
        entry["lost_parts"][h] = entry["energy"][h] = 0.0
