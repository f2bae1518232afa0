"""What the page remembers of the stream: recent signals with their band, and what is over.

The loop's thread writes after every batch; the page's threads read. A signal is kept coarsely while
all is well and closely while its machine is in alert; when room runs out, older samples are
thinned, so that a long episode keeps its beginning. Every store has a limit. Nothing here is state:
after a restart the signals begin anew, and the page says from when.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anomaly.batches import Alert, Float64, Int64, Outcome
from anomaly.monitor import Monitor

#: Machines whose signals are kept from the start, and how many more may join when they alarm.
ASSET_LIMIT, ALERT_ASSET_LIMIT = 500, 200
#: Sensors of one machine; beyond it the first count.
SENSOR_LIMIT = 64
#: Samples of one machine.
SAMPLE_LIMIT = 400
#: When there are more, so many stay of all there is, evenly in time, and so many of the newest.
EVEN_SAMPLES, NEWEST_SAMPLES = 200, 100
#: Between samples, of the stream's time: while all is well, and while the machine is in alert.
QUIET_NS, ALERT_NS = 15 * 10**9, 10**9
#: Older samples are forgotten.
AGE_NS = 8 * 3600 * 10**9
#: Alerts that are over and still shown.
RECENT_LIMIT = 30


@dataclass(slots=True)
class Signals:
    """Samples of one machine, oldest first: ``time_ns int64[n]``, the rest ``float64[n, d]``."""

    sensors: tuple[str, ...]
    time_ns: Int64
    value: Float64
    low: Float64
    high: Float64

    def of(self, sensor: str) -> tuple[Int64, Float64, Float64, Float64] | None:
        """Times, values and band of one sensor; None = not kept."""
        if sensor not in self.sensors:
            return None
        column = self.sensors.index(sensor)
        return self.time_ns, self.value[:, column], self.low[:, column], self.high[:, column]


@dataclass(slots=True)
class _Kept:
    """The same with room behind the last sample: one more costs what it is, not what there is."""

    sensors: tuple[str, ...]
    time_ns: Int64 = field(default_factory=lambda: np.zeros(SAMPLE_LIMIT, np.int64))
    lines: Float64 = field(init=False)
    """float64[samples, 3, d]: value, low, high."""
    count: int = 0

    def __post_init__(self) -> None:
        self.lines = np.full((SAMPLE_LIMIT, 3, len(self.sensors)), np.nan)

    def widened(self, sensors: tuple[str, ...]) -> _Kept:
        """With room for sensors that came later."""
        wide = _Kept(sensors, self.time_ns, self.count)
        wide.lines[:, :, : len(self.sensors)] = self.lines
        return wide

    def add(self, time_ns: Int64, x: Float64, low: Float64, high: Float64) -> None:
        """Samples of one time after another, with the present band; x float64[n, width]."""
        width = len(self.sensors)
        fresh = np.full((len(x), 3, width), np.nan)
        shared = min(width, x.shape[1])
        fresh[:, 0, :shared] = x[:, :shared]
        fresh[:, 1], fresh[:, 2] = low[:width], high[:width]
        end = self.count + len(x)
        if end > SAMPLE_LIMIT:
            times = np.concatenate([self.time_ns[: self.count], time_ns])
            lines = np.concatenate([self.lines[: self.count], fresh])
            keep = _kept(times)
            self.count, end = 0, keep.size
            time_ns, fresh = times[keep], lines[keep]
        self.time_ns[self.count : end] = time_ns
        self.lines[self.count : end] = fresh
        self.count = end

    def signals(self) -> Signals:
        """A copy of what is not too old."""
        keep = _kept(self.time_ns[: self.count])
        value, low, high = np.moveaxis(self.lines[keep], 1, 0).copy()
        return Signals(self.sensors, self.time_ns[keep], value, low, high)


@dataclass(frozen=True, slots=True)
class Standing:
    """What people said of a partition's alerts and machines."""

    acknowledged: frozenset[str] = frozenset()
    shelved_until_ns: Mapping[str, int] = field(default_factory=dict)
    """By machine, in the data's own time."""
    shelved_once: Mapping[str, str] = field(default_factory=dict)
    """By machine, the alert that is shelved until it resolves; empty = its next."""
    labels: Mapping[str, str] = field(default_factory=dict)


class PageRecord:
    """Everything that only the page needs; told by the loop, read by the page."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[tuple[int, int], _Kept] = {}
        self._names: dict[str, tuple[int, int]] = {}
        self._last_ns: dict[int, Int64] = {}  # partition -> per asset, when it was sampled
        self._spacing_ns: dict[int, Int64] = {}
        self._firing: dict[str, tuple[int, str]] = {}  # alert -> partition, asset
        self._over: deque[Alert] = deque(maxlen=RECENT_LIMIT)
        self._began: dict[str, Alert] = {}
        self._standing: dict[int, Standing] = {}

    # -- told by the loop -------------------------------------------------------------------------

    def observe(self, partition: int, outcome: Outcome, monitor: Monitor) -> None:
        """One batch of one partition is done."""
        with self._lock:
            for alert in outcome.alerts:
                self._take(partition, alert)
            if len(outcome.rows):
                self._sample(partition, outcome, monitor)

    def restore(self, partition: int, firing: Sequence[Alert]) -> None:
        """A partition was taken over, or over again; these of its alerts are firing."""
        with self._lock:
            self._forget(partition)
            for alert in firing:
                self._take(partition, alert)

    def drop(self, partition: int) -> None:
        """A partition went."""
        with self._lock:
            self._forget(partition)

    def take_memory(self, partition: int, memory: Mapping[str, Any]) -> None:
        """What people said, as it stands beside the partition's state."""
        standing = Standing(
            frozenset(memory.get("acknowledged", ())), dict(memory.get("shelved", {})),
            dict(memory.get("shelved_once", {})), dict(memory.get("labels", {})))
        with self._lock:
            self._standing[partition] = standing

    # -- asked by the page ------------------------------------------------------------------------

    def signals(self, asset: str) -> Signals | None:
        """A copy of what is kept of a machine; None = nothing."""
        with self._lock:
            kept = self._kept.get(self._names.get(asset, (-1, -1)))
            return None if kept is None else kept.signals()

    def over(self) -> list[Alert]:
        """Alerts that are over, the latest first, as they were when they fired but for the time."""
        with self._lock:
            return list(self._over)[::-1]

    def standing(self) -> Standing:
        """What people said, over all partitions held."""
        with self._lock:
            told = list(self._standing.values())
        return Standing(
            frozenset().union(*(one.acknowledged for one in told)),
            {k: v for one in told for k, v in one.shelved_until_ns.items()},
            {k: v for one in told for k, v in one.shelved_once.items()},
            {k: v for one in told for k, v in one.labels.items()})

    # -- small parts; the caller holds the lock ---------------------------------------------------

    def _take(self, partition: int, alert: Alert) -> None:
        if alert.state == "firing":
            self._firing[alert.id] = (partition, alert.asset)
            self._began[alert.id] = alert
        elif alert.state == "resolved":
            self._firing.pop(alert.id, None)
            if self._began.pop(alert.id, None) is not None:
                self._over.append(alert)

    def _forget(self, partition: int) -> None:
        for key in [key for key in self._kept if key[0] == partition]:
            del self._kept[key]
        self._names = {name: key for name, key in self._names.items() if key[0] != partition}
        self._last_ns.pop(partition, None)
        self._spacing_ns.pop(partition, None)
        self._standing.pop(partition, None)
        for identity in [i for i, (p, _) in self._firing.items() if p == partition]:
            del self._firing[identity]
            self._began.pop(identity, None)

    def _sample(self, partition: int, outcome: Outcome, monitor: Monitor) -> None:
        rows, names = outcome.rows, monitor.registry.assets
        last = _grown(self._last_ns.get(partition), len(names), -(2**62))
        self._last_ns[partition] = last
        spacing = np.full(len(names), QUIET_NS)
        firing = {asset for p, asset in self._firing.values() if p == partition}
        for name in firing:
            spacing[monitor.registry.asset(name)] = ALERT_NS
        due = np.flatnonzero(rows.time_ns >= last[rows.asset] + spacing[rows.asset])
        if not due.size:
            return
        order = due[np.argsort(rows.asset[due], kind="stable")]
        parts = np.split(order, np.flatnonzero(np.diff(rows.asset[order])) + 1)
        bands = _bands(monitor, [int(rows.asset[part[0]]) for part in parts])
        for part in parts:
            a = int(rows.asset[part[0]])
            key = (partition, a)
            last[a] = rows.time_ns[part].max()
            room = ASSET_LIMIT + (ALERT_ASSET_LIMIT if names[a] in firing else 0)
            if key not in self._kept and len(self._kept) >= room:
                continue
            _, first = np.unique(rows.time_ns[part] // spacing[a], return_index=True)
            chosen = part[first][-SAMPLE_LIMIT:]
            sensors = monitor.registry.sensors[a]
            kept = self._kept.get(key)
            if kept is None:
                kept = _Kept(tuple(sensors[:SENSOR_LIMIT]))
            elif len(kept.sensors) < min(len(sensors), SENSOR_LIMIT):
                kept = kept.widened(tuple(sensors[:SENSOR_LIMIT]))
            kept.add(rows.time_ns[chosen], rows.x[chosen], *bands[a])
            self._kept[key] = kept
            self._names[names[a]] = key


def _bands(monitor: Monitor, assets: Sequence[int]) -> dict[int, tuple[Float64, Float64]]:
    """Low and high of what is expected now of every sensor of these machines, asked for at once."""
    registry = monitor.registry
    widths = [len(registry.sensors[a]) for a in assets]
    tags = np.concatenate([registry.table[a, :d] for a, d in zip(assets, widths, strict=True)])
    low, _, high = monitor.bands(tags, np.repeat(np.array(assets), widths))
    ends = np.cumsum(widths).tolist()
    return {a: (low[end - d : end], high[end - d : end])
            for a, d, end in zip(assets, widths, ends, strict=True)}


def _kept(time_ns: Int64) -> Int64:
    """Indices of the samples that stay: the newest, and of the older ones an even choice in time.

    Cells of a power of two in length, counted from 1970: a choice made again is the same choice.
    """
    fresh = np.flatnonzero(time_ns > time_ns[-1] - AGE_NS)
    if fresh.size <= SAMPLE_LIMIT:
        return fresh
    span = int(time_ns[-1] - time_ns[fresh[0]])
    cell = 1 << max(0, -(-span // EVEN_SAMPLES) - 1).bit_length()
    _, first = np.unique(time_ns[fresh] // cell, return_index=True)
    return np.union1d(fresh[first], fresh[-NEWEST_SAMPLES:])


def _grown(array: Int64 | None, size: int, fill: int) -> Int64:
    grown = np.full(size, fill, np.int64)
    if array is not None:
        grown[: array.size] = array
    return grown
