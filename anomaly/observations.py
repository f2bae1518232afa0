"""Observations: what a machine's production sensors say, in the terms of the ledger and of cycles.

The kernels under ``production``: readings to observations, observations to counters, counters to
finished cycles and standstills. Nothing is judged and nothing booked here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly import states
from anomaly.batches import Bool, Float64, Int8, Int64
from anomaly.kernel import kernel

#: What a sensor can be, and names by which it is known when the settings name none.
ROLES: Mapping[str, tuple[str, ...]] = {
    "state": ("state", "packml_state", "machine_state", "unit_state", "state_current"),
    "parts": ("parts_count", "part_count", "parts_total", "parts", "part_counter", "total_parts",
              "parts_produced", "parts_made", "piece_count", "piece_counter", "pieces",
              "stueckzahl", "stückzahl", "stueck", "stück", "stueckzaehler", "stückzähler",
              "teilezaehler", "teilezähler", "teile", "contador_de_piezas", "piezas",
              "piezas_producidas", "产量", "件数"),
    "pulse": ("cycle_pulse", "part_pulse"),
    "parts_per_row": (),
    "rejects": ("rejects_count", "reject_count", "rejects_total", "rejects", "scrap_count",
                "scrap_total", "ausschuss", "ausschuss_gesamt", "rechazos", "废品数"),
    "energy": ("energy_kilowatt_hours", "energy_kwh", "energy_total_kwh", "energie_kwh",
               "energía_kwh", "energia_kwh"),
    "power": ("power_kilowatts", "power_kw", "active_power_kw", "power", "leistung_kw",
              "wirkleistung_kw", "leistung", "potencia_kw", "potencia", "功率"),
    "cycle": ("cycle_seconds", "cycle_time_seconds"),
    "product": ("product", "product_id", "product_number", "product_code", "product_type",
                "current_product", "recipe", "recipe_id", "recipe_number", "current_recipe",
                "program", "program_id", "program_number", "programme", "current_program",
                "article", "article_id", "article_number", "item_number", "sku", "material_number",
                "variant", "formula_number",
                "produkt", "produkt_id", "produkt_nr", "produktnummer", "rezept", "rezept_id",
                "rezept_nr", "rezeptnummer", "rezeptur", "programm", "programm_nr",
                "programmnummer", "artikel", "artikel_id", "artikel_nr", "artikelnummer",
                "materialnummer", "sorte", "variante",
                "producto", "id_producto", "producto_id", "código_de_producto",
                "codigo_de_producto", "receta", "número_de_receta", "numero_de_receta",
                "programa", "número_de_programa", "numero_de_programa", "artículo", "articulo",
                "número_de_artículo", "numero_de_articulo",
                "产品", "产品编号", "产品型号", "产品代码", "品种", "配方", "配方号", "配方编号",
                "程序", "程序号", "物料号", "物料编号"),
    "shape": ("position", "axis_position", "ram_position", "slide_position", "stroke",
              "current", "motor_current", "spindle_current", "current_amperes"),
    "speed": ("speed", "spindle_speed", "motor_speed", "line_speed", "speed_rpm", "rpm"),
    "order": ("order", "order_id", "order_number", "job", "work_order"),
}

(_STATE, _PARTS, _PULSE, _PER_ROW, _REJECTS, _ENERGY, _POWER, _CYCLE, _PRODUCT, _SHAPE,
 _SPEED, _ORDER) = range(len(ROLES))
_DOUBTED, _RESTARTED = -1, 1  # what ``quality`` says of a reading's time
_NEVER = -(1 << 62)
NO_PART = 1 << 62
_IDLE_NS = 300 * 10**9  # time at rest that is told at once, be it one stop or many short waits
_REST_NS = 300 * 10**9  # a shorter stop needs no start-up
_SETTLE, _SETTLE_NS = 3, 7200 * 10**9  # a start-up, against the rest before it; at most
_HOLD_NS = 600 * 10**9  # a power holds so long at most
_ALIKE = 0.02  # share of its interval by which a source that sends by the clock may be off

#: What an asset does, as far as judging it goes.
WORKS, SETTLES, RESTS = range(3)

Records = npt.NDArray[np.void]
Record = Any  # one element of a structured array, changed in place

OPEN = np.dtype([
    ("open", np.int64), ("time_ns", np.int64), ("closed", np.int64), ("closed_ns", np.int64),
    ("has", np.int64),  # bits by role
])
SHOP = np.dtype([
    ("known", np.int64),
    ("last_ns", np.int64),
    ("product", np.int64),
    ("products", np.int64),  # seen so far
    ("pulse", np.float64),
    ("primed", np.int64),  # 1 once a pulse or a state was seen
    ("count", np.float64),  # parts, where they are told one by one
    ("power", np.float64),
    ("powered", np.int64),
    ("drawn", np.float64),  # energy, where only the power is told
    ("metered", np.int64),
    ("seen_ns", np.int64),  # of the cycles' own view: latest observation, what held since
    ("interval_ns", np.int64),  # running median between observations
    ("state", np.int64),
    ("making", np.int64),  # product
    ("meter_read", np.float64),
    ("read", np.int64),
    ("worked_ns", np.int64),  # of the part under way
    ("stopped_ns", np.int64),  # of the stop under way
    ("used", np.float64),  # energy of the part under way
    ("whole", np.int64),  # 1 = its beginning was seen
    ("idle_ns", np.int64, (2,)),  # time and energy at rest, since it was told last:
    ("idle_used", np.float64, (2,)),  # while it waits or is stopped, and while nothing is to do
    ("changed_ns", np.int64),  # latest change of product, or end of a changeover
    ("judged", np.int64),  # 1 once a reference of the asset stands
    ("works", np.int64),  # WORKS, SETTLES or RESTS
    ("rested", np.int64),  # 1 = did not produce at the latest observation,
    ("rest_ns", np.int64),  # from then on
    ("settled_ns", np.int64),  # when it is over its latest start-up
    ("told", np.int64),  # 1 once a state was said
    ("part_ns", np.int64),  # of the latest part, 0 = none yet
    # Where rows count several parts: the interval that came twice in a row, and the latest.
    ("beat_ns", np.int64),
    ("length_ns", np.int64),
])


@kernel
def gather(
    asset_open: Records, asset_value: Float64, role: Int64, told: Bool, table: Int64,
    asset: Int64, sensor: Int64, time_ns: Int64, value: Float64, closes: Bool, base: Int8,
    out_asset: Int64, out_time: Int64, out_x: Float64, out_closed_at: Int64,
) -> int:
    """Readings to observations; returns how many were completed.

    Of two readings of one sensor at one time the first counts; what comes late says nothing.
    """
    m = 0
    for i in range(asset.size):
        a, t = asset[i], time_ns[i]
        if not told[a] or base[i] == _DOUBTED:
            continue
        own = asset_open[a]
        back = base[i] == _RESTARTED and t <= own["time_ns"]
        if own["open"] == 1 and (t > own["time_ns"] or back):
            m = _complete(own, asset_value[a], a, i, out_asset, out_time, out_x, out_closed_at, m)
        if back:
            own["closed"] = 0
        if (own["closed"] == 1 and t <= own["closed_ns"]) or (
            own["open"] == 1 and t < own["time_ns"]
        ):
            continue
        r = role[table[a, sensor[i]]]
        if r >= 0 and value[i] == value[i]:
            if own["open"] == 0:
                own["open"], own["time_ns"], own["has"] = 1, t, 0
            if own["has"] >> r & 1 == 0:
                own["has"] |= np.int64(1) << r
                asset_value[a, r] = value[i]
        if closes[i] and own["open"] == 1:
            m = _complete(own, asset_value[a], a, i, out_asset, out_time, out_x, out_closed_at, m)
    return m


@kernel
def _complete(
    own: Record, value: Float64, a: int, i: int, out_asset: Int64, out_time: Int64,
    out_x: Float64, out_closed_at: Int64, m: int,
) -> int:
    """Write the open observation."""
    out_asset[m], out_time[m], out_closed_at[m] = a, own["time_ns"], i
    for r in range(value.size):
        out_x[m, r] = value[r] if own["has"] >> r & 1 else np.nan
    own["open"], own["closed"], own["closed_ns"], own["has"] = 0, 1, own["time_ns"], 0
    return m + 1


@kernel
def translate(
    asset_shop: Records, asset_product: Float64, cycle_state: int, asset: Int64, time_ns: Int64,
    x: Float64, product: Int64, parts: Float64, energy: Float64,
) -> None:
    """What the observations say in the ledger's terms: product number, counters of parts, energy.

    Products are numbered as they come; one number more stands for all that have no room.
    """
    for i in range(asset.size):
        shop, row = asset_shop[asset[i]], x[i]
        product[i] = _product(shop, asset_product[asset[i]], row[_PRODUCT])
        parts[i] = row[_PARTS]
        rose = False
        if cycle_state >= 0 and not np.isnan(row[_STATE]):
            entered = row[_STATE] == cycle_state and shop["pulse"] != row[_STATE]
            rose = entered and shop["primed"] == 1
            shop["pulse"], shop["primed"] = row[_STATE], 1
        elif cycle_state < 0 and not np.isnan(row[_PULSE]):
            rose = shop["pulse"] <= 0.5 < row[_PULSE] and shop["primed"] == 1
            shop["pulse"], shop["primed"] = row[_PULSE], 1
        if np.isnan(parts[i]):
            if rose:
                shop["count"] += 1.0
            if row[_PER_ROW] > 0.0:
                shop["count"] += row[_PER_ROW]
            if shop["primed"] == 1 or not np.isnan(row[_PER_ROW]):
                parts[i] = shop["count"]
        energy[i] = row[_ENERGY]
        if np.isnan(energy[i]) and shop["metered"] == 0:
            if shop["powered"] == 1 and shop["known"] == 1:
                passed = min(max(time_ns[i] - shop["last_ns"], 0), _HOLD_NS)
                shop["drawn"] += shop["power"] * (passed / 3.6e12)
            if not np.isnan(row[_POWER]):
                shop["power"], shop["powered"] = row[_POWER], 1
            if shop["powered"] == 1:
                energy[i] = shop["drawn"]
        elif not np.isnan(energy[i]):
            shop["metered"] = 1
        if shop["known"] == 0 or time_ns[i] > shop["last_ns"]:
            shop["known"], shop["last_ns"] = 1, time_ns[i]


@kernel
def _product(shop: Record, known: Float64, value: float) -> int:
    """Number of a product; as before where nothing is said."""
    if np.isnan(value):
        return int(shop["product"])
    for p in range(shop["products"]):
        if known[p] == value:
            shop["product"] = p
            return p
    shop["product"] = shop["products"]
    if shop["products"] < known.size:
        known[shop["products"]] = value
        shop["products"] += 1
    return int(shop["product"])


@kernel
def finish(
    asset_shop: Records, micro_ns: int, hold_ns: int, asset: Int64, time_ns: Int64, state: Int8,
    product: Int64, made: Float64, rejects: Float64, energy: Float64, told: Float64,
    per_row: Float64, out: Records, idle: Records,
) -> tuple[int, int]:
    """Observations to finished cycles and to standstills; returns how many of each.

    A cycle's seconds are what was worked for it, short stops included; waiting for a neighbour,
    longer stops and changeovers are not. What was drawn then is not the part's either.
    ``per_row`` counts the parts of each row, NaN = a counter tells them: what a lost row would
    have counted is not in the next one, so that nothing is known of the time between.
    """
    m = stills = 0
    for i in range(asset.size):
        shop, t = asset_shop[asset[i]], time_ns[i]
        used = 0.0
        if not np.isnan(energy[i]):
            used = max(energy[i] - shop["meter_read"], 0.0) if shop["read"] == 1 else 0.0
            shop["meter_read"], shop["read"] = energy[i], 1
        if shop["seen_ns"] != 0 and t <= shop["seen_ns"]:
            continue
        if shop["seen_ns"] != 0:
            _spend(shop, t - shop["seen_ns"], used, micro_ns, hold_ns)
            if per_row[i] == per_row[i] and _row_lost(shop, t - shop["seen_ns"], per_row[i]):
                shop["whole"] = 0
        shop["seen_ns"] = t
        if made[i] > 0.0:
            works = shop["worked_ns"] + shop["stopped_ns"]
            if shop["whole"] == 1 and works > 0:
                row = out[m]
                row["row"], row["asset"], row["time_ns"] = i, asset[i], t
                row["product"], row["changed_ns"] = shop["making"], shop["changed_ns"]
                row["told"] = 1 if shop["products"] > 0 else 0
                row["seconds"] = works * 1e-9 / made[i] if np.isnan(told[i]) else told[i]
                row["made"], row["rejects"] = made[i], rejects[i]
                row["energy"] = shop["used"] / made[i] if shop["read"] == 1 else np.nan
                m += 1
            shop["worked_ns"], shop["stopped_ns"], shop["used"], shop["whole"] = 0, 0, 0.0, 1
        now = np.int64(state[i]) if state[i] >= 0 else shop["state"]
        if now != shop["state"]:
            _leave(shop, now, t)
        if shop["read"] == 1:
            stills = _tell_rest(shop, asset[i], t, i, idle, stills)
        if product[i] != shop["making"]:
            shop["making"], shop["changed_ns"], shop["whole"] = product[i], t, 0
    return m, stills


@kernel
def _spend(shop: Record, length: int, used: float, micro_ns: int, hold_ns: int) -> None:
    """Book the time since the asset's last observation to the part or the standstill under way."""
    hold = hold_ns if hold_ns > 0 else max(60_000_000_000, 10 * shop["interval_ns"])
    usual = shop["interval_ns"]
    shop["interval_ns"] = length if usual == 0 else (
        usual + max(1, min(usual >> 3, length - usual)) if length > usual
        else usual - min(usual >> 3, usual - length))
    if usual > 0 and length > hold:  # nobody knows what was done
        shop["whole"] = shop["worked_ns"] = shop["stopped_ns"] = 0
        return
    state = shop["state"]
    if state == states.PRODUCING or state == states.UNKNOWN:
        shop["worked_ns"] += length
        shop["used"] += used
        return
    if state != states.CHANGEOVER:
        group = 1 if state == states.IDLE else 0
        shop["idle_ns"][group] += length
        shop["idle_used"][group] += used
    if state == states.STOPPED:
        shop["stopped_ns"] += length
        if shop["stopped_ns"] >= micro_ns:  # a stop, no part of any cycle
            shop["whole"] = 0


@kernel
def _row_lost(shop: Record, length: int, parts: float) -> bool:
    """Whether a source that counts several parts by the clock has left out a row, or more.

    Only a whole number of its intervals is a lost row; any other pause is the machine's.
    """
    if parts > 1.0 and abs(length - shop["length_ns"]) <= _ALIKE * length:
        shop["beat_ns"] = length
    shop["length_ns"] = length
    beat = shop["beat_ns"]
    if beat == 0 or length <= beat + _ALIKE * beat:
        return False
    return bool(abs(length - np.rint(length / beat) * beat) <= _ALIKE * beat)


@kernel
def _leave(shop: Record, now: int, t: int) -> None:
    """The state changes."""
    before = shop["state"]
    shop["state"] = now
    if before == states.CHANGEOVER:
        shop["changed_ns"], shop["whole"] = t, 0
    if before == states.STOPPED:  # a micro-stop is part of the cycle it interrupts
        shop["worked_ns"] += shop["stopped_ns"]
        shop["stopped_ns"] = 0


@kernel
def _tell_rest(shop: Record, a: int, t: int, i: int, out: Records, m: int) -> int:
    """What was drawn at rest, once enough of it was seen; returns the count."""
    for group in range(2):
        length = shop["idle_ns"][group]
        if length < _IDLE_NS:
            continue
        row = out[m]
        row["row"], row["asset"], row["time_ns"], row["group"] = i, a, t, group
        row["power"] = shop["idle_used"][group] / (length / 3.6e12)
        m += 1
        shop["idle_ns"][group], shop["idle_used"][group] = 0, 0.0
    return m


@kernel
def working(
    asset_shop: Records, counted: Bool, asset: Int64, time_ns: Int64, state: Int8, made: Float64,
    works: Int8
) -> None:
    """Where the asset does not produce (RESTS), starts up (SETTLES) or simply works (WORKS).

    A state tag tells it, or, where there is none, the parts of an asset that counts them
    (``counted bool[A]``): one that has made none for so long as makes a stop rests.
    What a meter says is the mean since the row before, so the first row of a run is still rest.
    After a rest that was no short stop the machine starts up, cold: it is given three times as long
    to settle as it rested, up to two hours. What cooled by half in a break is then within a
    twentieth (large motors take 40 minutes to come within two thirds).
    """
    for i in range(asset.size):
        shop, t = asset_shop[asset[i]], time_ns[i]
        before = shop["rested"]
        if state[i] >= 0:
            shop["told"] = 1
            shop["rested"] = 0 if state[i] in (states.PRODUCING, states.UNKNOWN) else 1
        elif shop["told"] == 0 and counted[asset[i]]:
            if made[i] > 0.0:
                shop["part_ns"], shop["rested"] = t, 0
            elif shop["part_ns"] != 0 and t - shop["part_ns"] >= _REST_NS:
                shop["rested"] = 1
        if shop["rested"] == 1 and before == 0:
            shop["rest_ns"] = t
        elif before == 1 and shop["rested"] == 0:
            length = t - shop["rest_ns"]
            if length >= _REST_NS:
                shop["settled_ns"] = max(shop["settled_ns"], t + min(_SETTLE * length, _SETTLE_NS))
        shop["works"] = WORKS
        if before == 1 or shop["rested"] == 1:
            shop["works"] = RESTS
        elif t < shop["settled_ns"]:
            shop["works"] = SETTLES
        works[i] = shop["works"]


@kernel
def at_rows(
    works: Int64, seen_asset: Int64, seen_at: Int64, seen_works: Int8, asset: Int64,
    closed_at: Int64, out: Int8,
) -> None:
    """What the asset of each row did when it closed; ``works int64[A]`` as before the batch.

    ``seen_*``: the batch's observations, by the reading that completed each.
    """
    k = 0
    for r in range(asset.size):
        while k < seen_at.size and seen_at[k] <= closed_at[r]:
            works[seen_asset[k]] = seen_works[k]
            k += 1
        out[r] = works[asset[r]]


@kernel
def hold(
    fired: Bool, told: Bool, asset: Int64, works: Int8, alert: Int8, may_fire: Bool
) -> None:
    """Rows at rest say what the asset's row before said; ``fired``, ``told bool[A]`` as before.

    ``alert int8[m]``: a case is open. ``may_fire bool[m]``: what is odd may be told.
    """
    for r in range(asset.size):
        a = asset[r]
        if works[r] != RESTS:
            fired[a], told[a] = alert[r] == 1, may_fire[r]
        else:
            alert[r] = 1 if fired[a] else 0
            may_fire[r] = told[a]


@kernel
def mark(
    asset_shop: Records, ready_ns: Int64, asset: Int64, time_ns: Int64, closed_at: Int64,
    judged_at: Int64,
) -> None:
    """Note where in the batch the first reference of an asset stands."""
    for i in range(asset.size):
        shop = asset_shop[asset[i]]
        ready = ready_ns[asset[i]]
        if shop["judged"] == 0 and ready != 0 and time_ns[i] >= ready:
            shop["judged"] = 1
            judged_at[asset[i]] = closed_at[i]
