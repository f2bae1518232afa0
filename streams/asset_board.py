"""The latest of every asset as arrays: what a scrape may read while the engine works.

The loop's thread writes after every batch (only what the batch touched); a scrape copies under a
lock that is held for a millisecond and never while anything is computed, restored or compiled.
Assets get a *slot* each, over all partitions; slots are told in order of appearance, so the cap on
names (in ``telemetry.py``) leaves out the latest comers. Bounded by the registries' own limits.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from anomaly import quality, regimes
from anomaly.batches import Bool, Float64, Int8, Int64, Outcome
from anomaly.monitor import Monitor
from streams.exposition import Labels

CONDITIONS = ("warming", "learning", "trusted", "blind")
WARMING, LEARNING, TRUSTED, BLIND = range(4)
_UNKNOWN = -1
_MUTE = np.array([code in ("never_seen", "stuck", "silent") for code in quality.CONDITIONS])

Records = npt.NDArray[np.void]
Number = TypeVar("Number", bound=np.generic)

SLOT = np.dtype([
    ("present", np.int8),       # a partition that we hold has this asset
    ("condition", np.int8),
    ("period_s", np.float64),   # return period of the latest row, NaN = no opinion
    ("rows", np.float64),
    ("blind", np.float64),      # sensors that say nothing
    ("fired", np.float64),      # alerts since the start
    ("judged_ns", np.int64),    # time of the first row under judgement, 0 = none
    ("last_ns", np.int64),
])


@dataclass(frozen=True, slots=True)
class SensorView:
    """An asset's sensors at its latest row; arrays float64[d], NaN = not known."""

    asset: str
    sensors: tuple[str, ...]
    value: Float64
    low: Float64
    centre: Float64
    high: Float64
    time_ns: int


@dataclass(frozen=True, slots=True)
class _Close:
    """Where the sensors of an asset that is seen closely are to be found."""

    asset: str
    sensors: tuple[str, ...]
    lane: _Lane
    tags: Int64


@dataclass(slots=True)
class _Lane:
    """One partition: its assets' slots, its tags' conditions and values."""

    slot: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    last: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    code: Int8 = field(default_factory=lambda: np.zeros(0, np.int8))
    value: Float64 = field(default_factory=lambda: np.zeros(0))
    band: Float64 = field(default_factory=lambda: np.zeros((0, 3)))  # low, centre, high of a tag
    known: list[int] = field(default_factory=list)  # columns matched with the patterns, per asset
    assets: int = 0
    tags: int = 0
    readings: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    newest_ns: int = 0


class AssetBoard:
    """Slots of all assets, and the sensors of those that are to be seen closely.

    Parameters
    ----------
    patterns : sequence of str
        ``asset/sensor`` with ``*``: assets with such a sensor are always seen closely.

    Attributes
    ----------
    labels : Labels
        ``{asset="…"}`` of every slot.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self.names: list[str] = []
        self.labels = Labels()
        self.slots: Records = np.zeros(64, SLOT)
        self.lanes: dict[int, _Lane] = {}
        self._close: dict[int, _Close] = {}
        self.always: set[int] = set()
        self._patterns = tuple(patterns)
        self._index: dict[str, int] = {}

    # -- written by the loop; the caller holds the lock -------------------------------------------

    def slot_of(self, name: str) -> int:
        """The asset's slot, made if new."""
        found = self._index.get(name)
        if found is None:
            found = self._index[name] = len(self.names)
            self.names.append(name)
            self.labels.add({"asset": name})
            if found >= self.slots.size:
                self.slots = np.concatenate([self.slots, np.zeros(self.slots.size, SLOT)])
            self.slots[found]["period_s"] = np.nan
        return found

    def drop(self, partition: int) -> None:
        """The partition is another worker's from here on."""
        lane = self.lanes.pop(partition, None)
        if lane is None:
            return
        gone = lane.slot[: lane.assets]
        self.slots["present"][gone] = 0
        self.slots["judged_ns"][gone] = 0
        for other in self.lanes.values():
            self.slots["present"][other.slot[: other.assets]] = 1
        for slot in gone.tolist():
            if not self.slots["present"][slot] or self._close_in(slot, lane):
                self._close.pop(slot, None)

    def _close_in(self, slot: int, lane: _Lane) -> bool:
        found = self._close.get(slot)
        return found is not None and found.lane is lane

    def held_by(self, partition: int) -> list[str]:
        """Names of the partition's assets."""
        lane = self.lanes.get(partition)
        return [] if lane is None else [self.names[s] for s in lane.slot[: lane.assets].tolist()]

    def open(self, partition: int, monitor: Monitor) -> None:
        """A partition was taken over: show its assets before their next rows come."""
        lane = self._lane(partition, monitor)
        assets = np.arange(lane.assets)
        if assets.size:
            self._state_conditions(lane, assets, monitor)
        lane.readings = monitor.rejected()

    def take(self, partition: int, outcome: Outcome, monitor: Monitor) -> Int64:
        """Write what a batch changed; returns the indices of the assets that have new rows."""
        lane = self._lane(partition, monitor)
        lane.readings = monitor.rejected()
        rows = outcome.rows
        if not len(rows):
            return np.zeros(0, np.int64)
        lane.last[rows.asset] = np.arange(len(rows))  # of several, the later is written last
        touched = np.unique(rows.asset)
        newest = lane.last[touched]
        slot = lane.slot[touched]
        self._state_conditions(lane, touched, monitor)
        self._keep_values(lane, rows.x[newest], monitor.registry.table[touched])
        lane.rows += len(rows)
        lane.newest_ns = max(lane.newest_ns, int(rows.time_ns.max()))
        slots = self.slots
        slots["period_s"][slot] = outcome.scores.return_period_s[newest]
        slots["rows"][slot] += np.bincount(rows.asset)[touched]
        slots["last_ns"][slot] = rows.time_ns[newest]
        begins = (slots["judged_ns"][slot] == 0) & (slots["condition"][slot] == TRUSTED)
        judged = np.isfinite(outcome.scores.return_period_s)
        for a in touched[begins].tolist():
            own = np.flatnonzero((rows.asset == a) & judged)  # none while it does not produce
            if own.size:
                slots["judged_ns"][lane.slot[a]] = rows.time_ns[own[0]]
        return touched

    def look_closely(self, partition: int, assets: Int64, monitor: Monitor) -> None:
        """Renew what is seen of the sensors of these assets (registry indices)."""
        lane, registry = self.lanes[partition], monitor.registry
        if not assets.size:
            return
        for a in assets.tolist():
            slot, sensors = int(lane.slot[a]), registry.sensors[a]
            known = self._close.get(slot)
            if known is None or known.lane is not lane or len(known.sensors) != len(sensors):
                self._close[slot] = _Close(
                    registry.assets[a], tuple(sensors), lane, registry.tags(a).copy())
        table = registry.table[assets]
        valid = table >= 0
        tags, owner = table[valid], np.repeat(assets, valid.sum(axis=1))
        for k, column in enumerate(monitor.bands(tags, owner)):
            lane.band[tags, k] = column

    def forget_views(self, slots: Container[int]) -> None:
        """Look no longer at the sensors of any but these."""
        for slot in [s for s in self._close if s not in slots]:
            del self._close[slot]

    # -- read by a scrape; the caller holds the lock ----------------------------------------------

    def views(self, slots: Iterable[int]) -> list[SensorView]:
        """Those of the slots that are seen closely, in this order."""
        return [SensorView(
            close.asset, close.sensors, close.lane.value[close.tags],
            close.lane.band[close.tags, 0], close.lane.band[close.tags, 1],
            close.lane.band[close.tags, 2], int(self.slots["last_ns"][slot]))
            for slot in slots if (close := self._close.get(slot)) is not None]

    def copy(self) -> Records:
        """The slots in use, as they are now."""
        return self.slots[: len(self.names)].copy()

    def sensor_counts(self) -> Int64:
        """int64[4]: sensors by condition."""
        counts = np.zeros(len(CONDITIONS), np.int64)
        for lane in self.lanes.values():
            code = lane.code[: lane.tags]
            counts += np.bincount(code[code >= 0], minlength=len(CONDITIONS))
        return counts

    # -- room -------------------------------------------------------------------------------------

    def _lane(self, partition: int, monitor: Monitor) -> _Lane:
        lane = self.lanes.setdefault(partition, _Lane())
        registry = monitor.registry
        assets, tags = len(registry.assets), registry.tag_count
        if assets == lane.assets and tags == lane.tags:
            return lane
        lane.slot = _grown(lane.slot, assets, 0)
        lane.last = _grown(lane.last, assets, 0)
        lane.code = _grown(lane.code, tags, _UNKNOWN)
        lane.value = _grown(lane.value, tags, np.nan)
        band = np.full((lane.value.size, 3), np.nan)
        band[: len(lane.band)] = lane.band
        lane.band = band
        for a in range(lane.assets, assets):
            slot = self.slot_of(registry.assets[a])
            lane.slot[a] = slot
            self.slots[slot]["present"] = 1
        lane.assets, lane.tags = assets, tags
        if self._patterns:
            self._match(lane, monitor)
        return lane

    def _match(self, lane: _Lane, monitor: Monitor) -> None:
        registry = monitor.registry
        lane.known += [0] * (lane.assets - len(lane.known))
        for a, sensors in enumerate(registry.sensors):
            for sensor in sensors[lane.known[a]:]:
                name = f"{registry.assets[a]}/{sensor}"
                if any(fnmatch.fnmatchcase(name, pattern) for pattern in self._patterns):
                    self.always.add(int(lane.slot[a]))
            lane.known[a] = len(sensors)

    def _state_conditions(self, lane: _Lane, assets: Int64, monitor: Monitor) -> None:
        """How far these assets (registry indices) and their sensors can be trusted now."""
        state = monitor.arrays()
        asset = state["reference"]["asset"][assets]
        table = monitor.registry.table[assets]
        valid = table >= 0
        tags = np.where(valid, table, 0)
        code = np.where(valid, sensor_codes(
            asset, state["reference"]["tag"][tags],
            state["quality"]["tag_watch"]["condition"][tags],
            monitor.shop.counts(monitor.registry.tag_count)[tags] | regimes.unjudged(
                state["regimes"], assets, tags),
        ), _UNKNOWN).astype(np.int8)
        lane.code[table[valid]] = code[valid]
        slot = lane.slot[assets]
        self.slots["condition"][slot] = asset_codes(asset)
        self.slots["blind"][slot] = (code == BLIND).sum(axis=1)

    def _keep_values(self, lane: _Lane, x: Float64, table: Int64) -> None:
        """The latest usable value of each tag; a row without one leaves it as it was."""
        width = min(x.shape[1], table.shape[1])
        said = (table[:, :width] >= 0) & ~np.isnan(x[:, :width])
        lane.value[table[:, :width][said]] = x[:, :width][said]


def asset_codes(asset: Records) -> Int8:
    """Condition of assets by their reference records, as ``Monitor.conditions`` states it."""
    return np.where(
        asset["ready"] == 0, WARMING,
        np.where(asset["rows"] < asset["muted"], LEARNING, TRUSTED)).astype(np.int8)


def sensor_codes(asset: Records, tag: Records, watched: Int64, counts: Bool) -> Int8:
    """Condition of sensors ``[m, d]`` of m assets, as ``Monitor.conditions`` states it.

    ``counts bool[m, d]``: sensors that only count, which have no reference and need none.
    """
    mute = _MUTE[watched]
    ready = (asset["ready"] == 1)[:, None]
    useless: Bool = ready & ~counts & ((tag["ready"] == 0) | (tag["constant"] == 1))
    learning = (asset["rows"] < asset["muted"])[:, None]
    usable = np.where(ready, np.where(learning, LEARNING, TRUSTED), WARMING)
    return np.where(mute | useless, BLIND, usable).astype(np.int8)


def _grown(array: npt.NDArray[Number], size: int, fill: float) -> npt.NDArray[Number]:
    if size <= array.size:
        return array
    grown = np.full(max(size, 2 * array.size, 64), fill, array.dtype)
    grown[: array.size] = array
    return grown
