"""The kernels of the ledger: a stretch of an asset's time to a heading, and segments out.

The rules are written in ``ledger``, whose stage runs these kernels. Nothing is summed here, and no
nanosecond is ever rounded: a stretch is cut into pieces whose integer ends meet.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64, Int8, Int64
from anomaly.kernel import kernel
from anomaly.states import BLOCKED as IS_BLOCKED
from anomaly.states import CHANGEOVER as IS_CHANGING
from anomaly.states import IDLE, PRODUCING, STOPPED, UNKNOWN

#: Where a second went; the index is the code.
HEADINGS = (
    "at_rate", "slow", "micro_stop", "stop", "starved", "blocked", "changeover", "planned",
    "no_data",
)
AT_RATE, SLOW, MICRO_STOP, STOP, STARVED, BLOCKED, CHANGEOVER, PLANNED, NO_DATA = range(9)

#: Cycles of a product from which its nominal time is learned where none is given.
LEARN_CYCLES = 40

_NONE, _STOPPING, _WAITING, _DECLARED = range(4)  # what is pending; declared = a stop already
_COUNTED, _PARTLY = 1, 2  # bits of ``counted``: the part under way was not seen from its beginning
_HOLD_NS = 60_000_000_000

State = dict[str, npt.NDArray[Any]]
Records = npt.NDArray[np.void]
Record = Any  # one element of a structured array, changed in place
Plan = tuple[Int64, Int64, Int64]  # offsets, starts, ends of a ``Planned``
Cycles = tuple[Int64, Int64, Int64]  # the state's nominal, samples, sample
Limits = tuple[int, int, float]  # micro-stop and hold in ns, slow share

ASSET = np.dtype([
    ("known", np.int64),
    ("first_ns", np.int64),
    ("last_ns", np.int64),
    ("interval_ns", np.int64),  # running median of the time between rows
    ("late", np.int64),  # rows refused because their time did not advance
    ("state", np.int64),
    ("product", np.int64),
    ("counted", np.int64),  # bits
    ("parts", np.float64),
    ("rejects", np.float64),
    ("energy", np.float64),
    ("has", np.int64),  # bits: rejects, energy were read
    ("bank_ns", np.int64),  # time at rate that was earned and not used
    ("worked_ns", np.int64),  # since the last counted part
    ("pending", np.int64),
    ("pending_ns", np.int64),  # where it began
    ("pending_energy", np.float64),
    ("heading", np.int64),  # of the open segment, −1 = none
    ("open_ns", np.int64),
    ("open_energy", np.float64),
    ("open_product", np.int64),
    ("nominal_ns", np.int64),  # of the product made, as known with the latest row
])

#: One booked stretch. ``energy`` in the unit of the energy counter, 0 where there is none;
#: ``nominal_ns`` as known when it ended, 0 = not yet.
SEGMENT = np.dtype([
    ("asset", np.int64), ("start_ns", np.int64), ("end_ns", np.int64), ("heading", np.int64),
    ("product", np.int64), ("energy", np.float64), ("nominal_ns", np.int64),
])


@kernel
def book(
    asset_row: Records, asset_nominal: Int64, asset_samples: Int64, asset_sample: Int64,
    limits: Limits, plan: Plan, asset: Int64, time_ns: Int64, state: Int8, product: Int64,
    parts: Float64, rejects: Float64, energy: Float64, start: int, out_parts: Float64,
    out_rejects: Float64, out: Records,
) -> tuple[int, int]:
    """Book rows from ``start`` on until ``out`` might not hold the next; (next row, segments)."""
    m = 0
    most = 6 * (2 * plan[1].size + 2)
    cycles = (asset_nominal, asset_samples, asset_sample)
    for i in range(start, asset.size):
        if m + most > out.size:
            return i, m
        a, t = asset[i], time_ns[i]
        me = asset_row[a]
        if me["known"] == 1 and t <= me["last_ns"]:
            me["late"] += 1
            continue
        now = min(max(product[i], 0), asset_nominal.shape[1] - 1)
        me["nominal_ns"] = asset_nominal[a, me["product"]]
        made, scrapped, used = _counters(me, parts[i], rejects[i], energy[i])
        if me["known"] == 0:
            me["known"], me["first_ns"], me["open_ns"], me["heading"] = 1, t, t, -1
            me["state"], me["product"], me["bank_ns"] = UNKNOWN, now, asset_nominal[a, now]
        else:
            out_parts[i], out_rejects[i] = made, scrapped
            m = _pass(me, cycles, limits, plan, a, t, made, used, out, m)
        me["last_ns"] = t
        said = np.int64(state[i])
        if (said >= 0 and said != me["state"]) or now != me["product"]:
            m = _settle(me, limits[2] * asset_nominal[a, me["product"]], plan, a, t, out, m)
        if said >= 0:
            me["state"] = said
        if now != me["product"]:
            me["product"] = now
            _begin_anew(me, asset_nominal[a, now])
    return asset.size, m


@kernel
def close(
    asset_row: Records, asset_nominal: Int64, asset_samples: Int64, asset_sample: Int64,
    limits: Limits, plan: Plan, extend: bool, out: Records,
) -> int:
    """Book what is pending or open of every asset; returns the segments written."""
    m = 0
    cycles = (asset_nominal, asset_samples, asset_sample)
    for a in range(asset_row.size):
        me = asset_row[a]
        if me["known"] == 0:
            continue
        me["nominal_ns"] = asset_nominal[a, me["product"]]
        if extend and me["state"] != UNKNOWN:  # what a counter will say next is not known
            end = me["last_ns"] + me["interval_ns"]
            m = _between(me, cycles, limits, plan, a, me["last_ns"], end, 0.0, 0.0, out, m)
            me["last_ns"] = end
        last = me["last_ns"]
        m = _settle(me, limits[2] * asset_nominal[a, me["product"]], plan, a, last, out, m)
        m = _emit(me, a, last, out, m)
        me["heading"] = -1
    return m


@kernel
def _pass(
    me: Record, cycles: Cycles, limits: Limits, plan: Plan, a: int, t: int, made: float,
    used: float, out: Records, m: int,
) -> int:
    """Book the time since the asset's last row: what its state said, then perhaps no data."""
    last = me["last_ns"]
    length = t - last
    hold = limits[1] if limits[1] > 0 else max(_HOLD_NS, 10 * me["interval_ns"])
    if me["interval_ns"] == 0 or length <= hold:
        m = _between(me, cycles, limits, plan, a, last, t, made, used, out, m)
    else:
        end = last + min(length, me["interval_ns"])
        share = used * ((end - last) / length)
        m = _between(me, cycles, limits, plan, a, last, end, made, share, out, m)
        nominal = cycles[0][a, me["product"]]
        m = _settle(me, limits[2] * nominal, plan, a, end, out, m)
        m = _put(me, plan, a, NO_DATA, end, t, used - share, out, m)
        _begin_anew(me, nominal)
    _learn_interval(me, length)
    return m


@kernel
def _begin_anew(me: Record, nominal: int) -> None:
    """What was earned or worked belongs to a part whose beginning or product is another."""
    me["bank_ns"], me["worked_ns"] = nominal, 0
    me["counted"] |= _PARTLY


@kernel
def _between(
    me: Record, cycles: Cycles, limits: Limits, plan: Plan, a: int, start: int, end: int,
    made: float, used: float, out: Records, m: int,
) -> int:
    """Book [start, end), in which the asset's state held and ``made`` parts were counted."""
    state = me["state"]
    nominal = cycles[0][a, me["product"]]
    length = end - start
    if length <= 0:
        return m
    if made > 0.0:
        me["bank_ns"] = min(me["bank_ns"], 2 * nominal) + np.int64(min(made, 1e6) * nominal)
    if state == STOPPED:
        return int(_stretch(me, _STOPPING, limits[0], plan, a, start, end, used, out, m))
    counting = state == UNKNOWN and me["counted"] != 0
    if state != PRODUCING and not counting:
        return int(_put(me, plan, a, _heading_of(state), start, end, used, out, m))
    if made > 0.0:
        m = _settle(me, limits[2] * nominal, plan, a, start, out, m)
    rate = length
    if nominal > 0:
        rate = min(length, me["bank_ns"])
        me["bank_ns"] = min(me["bank_ns"] - rate, nominal + min(length, nominal))
    me["worked_ns"] += length
    if made > 0.0:
        _learn_cycle(me, cycles, a, made)
    at_rate = used * (rate / length)
    m = _put(me, plan, a, AT_RATE, start, start + rate, at_rate, out, m)
    if rate == length:
        return m
    start += rate
    if not counting:
        return int(_put(me, plan, a, SLOW, start, end, used - at_rate, out, m))
    m = _stretch(me, _WAITING, limits[0], plan, a, start, end, used - at_rate, out, m)
    if made > 0.0:  # rows coarser than cycles: the excess is over with the row
        m = _settle(me, limits[2] * made * nominal, plan, a, end, out, m)
    return m


@kernel
def _heading_of(state: int) -> int:
    if state == UNKNOWN:
        return NO_DATA
    if state == IS_BLOCKED:
        return BLOCKED
    if state == IS_CHANGING:
        return CHANGEOVER
    return PLANNED if state == IDLE else STARVED


@kernel
def _stretch(
    me: Record, kind: int, micro_ns: int, plan: Plan, a: int, start: int, end: int, used: float,
    out: Records, m: int,
) -> int:
    """Begin or extend what is pending; once longer than a micro-stop it is a stop for good."""
    if me["pending"] == _DECLARED:
        return int(_put(me, plan, a, STOP, start, end, used, out, m))
    if me["pending"] == _NONE:
        me["pending"], me["pending_ns"], me["pending_energy"] = kind, start, 0.0
    me["pending_energy"] += used
    if end - me["pending_ns"] >= micro_ns:
        m = _put(me, plan, a, STOP, me["pending_ns"], end, me["pending_energy"], out, m)
        me["pending"] = _DECLARED
    return m


@kernel
def _settle(
    me: Record, slow_ns: float, plan: Plan, a: int, end: int, out: Records, m: int
) -> int:
    """What was pending is over at ``end``; an excess of up to ``slow_ns`` was a slow cycle."""
    kind, start = me["pending"], me["pending_ns"]
    me["pending"] = _NONE
    if kind in (_NONE, _DECLARED):
        return m
    slow = kind == _WAITING and end - start <= slow_ns
    heading = SLOW if slow else MICRO_STOP
    return int(_put(me, plan, a, heading, start, end, me["pending_energy"], out, m))


@kernel
def _put(
    me: Record, plan: Plan, a: int, heading: int, start: int, end: int, used: float,
    out: Records, m: int,
) -> int:
    """Book [start, end) under a heading, except where the calendar has planned time."""
    if end <= start:
        return m
    if heading in (AT_RATE, SLOW) or a + 1 >= plan[0].size:
        return int(_extend(me, a, heading, start, used, out, m))
    plan_start, plan_end = plan[1], plan[2]
    first, last = plan[0][a], plan[0][a + 1]
    j = first + np.searchsorted(plan_end[first:last], start, side="right")
    at = start
    length = end - start
    while at < end:
        if j < last and plan_start[j] <= at:
            stop, under = min(end, plan_end[j]), PLANNED
            j += 1
        else:
            stop, under = end, heading
            if j < last:
                stop = min(end, plan_start[j])
        m = _extend(me, a, under, at, used * ((stop - at) / length), out, m)
        at = stop
    return m


@kernel
def _extend(
    me: Record, a: int, heading: int, start: int, used: float, out: Records, m: int
) -> int:
    """The open segment goes on, or ends at ``start`` and another begins."""
    if me["heading"] != heading or me["open_product"] != me["product"]:
        m = _emit(me, a, start, out, m)
        me["heading"], me["open_ns"], me["open_energy"] = heading, start, 0.0
        me["open_product"] = me["product"]
    me["open_energy"] += used
    return m


@kernel
def _emit(me: Record, a: int, end: int, out: Records, m: int) -> int:
    """Write the open segment, which ends at ``end``."""
    if me["heading"] < 0 or end <= me["open_ns"]:
        return m
    row = out[m]
    row["asset"], row["start_ns"], row["end_ns"] = a, me["open_ns"], end
    row["heading"], row["product"], row["energy"] = (
        me["heading"], me["open_product"], me["open_energy"])
    row["nominal_ns"] = me["nominal_ns"]
    me["open_ns"], me["open_energy"] = end, 0.0
    return m + 1


@kernel
def _counters(
    me: Record, parts: float, rejects: float, energy: float
) -> tuple[float, float, float]:
    """Increase of each counter since its last value; 0 where it fell or says nothing."""
    made = scrapped = used = 0.0
    if not np.isnan(parts):
        if me["counted"] & _COUNTED:
            made = max(0.0, parts - me["parts"])
        else:
            me["counted"] = _COUNTED | _PARTLY
        me["parts"] = parts
    if not np.isnan(rejects):
        if me["has"] & 1:
            scrapped = max(0.0, rejects - me["rejects"])
        me["has"] |= 1
        me["rejects"] = rejects
    if not np.isnan(energy):
        if me["has"] & 2:
            used = max(0.0, energy - me["energy"])
        me["has"] |= 2
        me["energy"] = energy
    return made, scrapped, used


@kernel
def _learn_interval(me: Record, length: int) -> None:
    """Running median of the time between rows, moving by eighths."""
    usual = me["interval_ns"]
    if usual == 0:
        usual = length
    elif length > usual:
        usual += max(1, min(usual >> 3, length - usual))
    elif length < usual:
        usual -= min(usual >> 3, usual - length)
    me["interval_ns"] = usual


@kernel
def _learn_cycle(me: Record, cycles: Cycles, a: int, made: float) -> None:
    """A part was counted: one more sample for a nominal that is not known yet.

    Their mean without the outer quarters: jams and slow starts stay out, and rows that show the
    end of a part only to the second still give its tenths.
    """
    nominal, samples, sample = cycles
    p = me["product"]
    cycle = np.int64(me["worked_ns"] / made)
    whole = (me["counted"] & _PARTLY) == 0
    me["worked_ns"] = 0
    me["counted"] = _COUNTED
    if nominal[a, p] > 0 or not whole:
        return
    n = samples[a, p]
    sample[a, p, n] = cycle
    samples[a, p] = n + 1
    if n + 1 == sample.shape[2]:
        ordered = np.sort(sample[a, p])
        quarter = ordered.size // 4
        middle = int(ordered[quarter : ordered.size - quarter].mean())
        nominal[a, p] = max(middle, 1)
        me["bank_ns"] = nominal[a, p]
