"""What each sensor gets of a memory limit, known before the first reading comes.

The limit is one monitor's (= one partition's) state. Half of it is kept for what every sensor has,
the other half goes to the first sensors that register, *in full*: with the arrays of the detectors
that may be allocated for some sensors only (``PARTIAL``: the pyramid and its history). Later
sensors are watched *lightly*, by all other detectors; where even that is used up, a new sensor is
refused and counted. Only sizes and a rule here, no state: the plan follows from the settings alone,
so it is the same after a restart and on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from anomaly import production, room
from anomaly.config import MonitorConfig
from anomaly.detectors import DETECTORS

#: Sensors an asset has in the plan: what an asset needs besides is shared by so many.
SENSORS = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """How a memory limit is shared out; sizes in bytes.

    Attributes
    ----------
    full_bytes, light_bytes : int
        Of a sensor once its reference stands, its share of the asset's included.
    warm_up_bytes : int
        Of a sensor besides, until its reference stands; then given back.
    modes_bytes : int
        Of a sensor besides, if its asset runs in several operating modes.
    full_tags : int
        Sensors that are watched in full: the first ones.
    tag_limit : int
        Sensors that fit in all, were they all to warm up at once.
    """

    limit_bytes: int
    full_bytes: int
    light_bytes: int
    warm_up_bytes: int
    modes_bytes: int
    full_tags: int
    tag_limit: int

    def sentence(self, tags: int | None = None) -> str:
        """The plan in words; with ``tags``, for so many sensors."""
        megabytes = f"{self.limit_bytes / 2**20:,.0f} MB"
        each = f"{self.full_bytes / 1024:.1f} KB"
        less = f"{self.light_bytes / 1024:.1f} KB"
        if tags is None and self.full_tags == self.tag_limit:
            return f"memory: {megabytes} a partition: {self.tag_limit:,} sensors, {each} each"
        if tags is not None and tags <= self.full_tags:
            need = tags * (self.full_bytes + self.warm_up_bytes + self.modes_bytes) / 2**20
            return (f"memory: {tags:,} sensors in full, {each} each, at most {need:,.0f} MB of "
                    f"{megabytes}")
        light = self.tag_limit - self.full_tags if tags is None else tags - self.full_tags
        told = (f"memory: {megabytes} a partition: the first {self.full_tags:,} sensors in full "
                f"({each} each), {'up to ' if tags is None else ''}{light:,} more lightly, without "
                f"the history of shapes ({less} each)")
        if tags is not None and tags > self.tag_limit:
            told += f"; beyond {self.tag_limit:,} they do not fit: raise memory_limit_megabytes"
        return told


def plan(config: MonitorConfig) -> Plan:
    """Share out ``config.memory_limit_megabytes``."""
    bound = {DETECTORS[name]: config.detector_config(name) for name in config.detectors}
    losses = production.informed(config.losses, config.windows.cycle)
    sizes = room.allocate(config, losses, False, False, bound, 1, 1, config.warm_up_rows, 1)
    partial = {"outlook", *(room.key(b) for b in bound if b.partial)}
    tag = asset = warm = part = modes = 0
    for component, arrays in sizes.items():
        for name, array in arrays.items():
            size = array.nbytes
            own = name.startswith("asset")
            if (component, name) in (*room.WARM_UP, *room.LATER):
                warm += size // SENSORS if own else size
            elif (component, name) in room.MODES:
                modes += size // SENSORS if own else size
            elif own:
                asset += size
            elif component in partial:
                part += size
            else:
                tag += size
    light = tag + asset // SENSORS
    limit = int(config.memory_limit_megabytes * 2**20)
    fit = limit // 2 // (light + warm + modes)
    full = min(limit // 2 // part, fit) if part else fit
    return Plan(limit, light + part, light, warm, modes, full, fit)
