"""How good the alarm system itself is: the numbers by which ISA-18.2 judges one.

Fed with alert transitions, asked for counts. Time is the stream's own (the newest time it has
shown), never a clock: a recording played twice gives the same numbers. What an alert means is not
looked at. Bounded: one entry per open alert, and per activation of the last day up to a limit.

Source: ANSI/ISA-18.2-2016, clause 16 and its table of performance metrics.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from dataclasses import dataclass, field

from anomaly.batches import Alert

DAY_NS = 86_400 * 10**9
TEN_MINUTES_NS = 600 * 10**9
MINUTE_NS = 60 * 10**9

#: Activations in ten minutes that are more than a person can handle.
FLOOD_LIMIT = 10
#: Times a source returns to normal within a minute that count as chattering.
CHATTER_CLEARS = 3
#: Sources named as the worst; ten are what a team can work on.
WORST_SOURCES = 10
#: Activations of a day that are kept; a thousand times what is manageable.
ACTIVATION_LIMIT = 200_000

Source = tuple[str, str, str]
"""Asset, kind and leading sensor: what an alarm list calls a source."""


@dataclass(frozen=True, slots=True)
class AlarmNumbers:
    """The alarm system at one moment of the stream.

    ``critical_ratio`` is NaN on a day without alarms; ``worst`` are (asset, alarms in a day).
    """

    last_day: int
    last_ten_minutes: int
    flood: bool
    active: int
    stale: int
    chattering: int
    critical_ratio: float
    worst: tuple[tuple[str, int], ...]
    forgotten: int


@dataclass(slots=True)
class AlarmRecord:
    """Alert transitions of the last day, and what is open.

    Attributes
    ----------
    open : dict
        Firing alerts by id, each with the partition it belongs to.
    forgotten : int
        Activations beyond :data:`ACTIVATION_LIMIT` in a day.
    """

    flood_limit: int = FLOOD_LIMIT
    open: dict[str, tuple[int, Alert]] = field(default_factory=dict)
    forgotten: int = 0
    now_ns: int = 0
    _day: list[tuple[int, str, str, bool]] = field(default_factory=list)
    _recent: list[int] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _by_asset: Counter[str] = field(default_factory=Counter)
    _critical: int = 0
    _clears: dict[Source, deque[int]] = field(default_factory=dict)
    _chattered_ns: dict[Source, int] = field(default_factory=dict)

    def take(self, partition: int, alert: Alert) -> bool:
        """Take in one transition; returns whether it is a new activation."""
        self.advance(alert.time_ns)
        if alert.state == "firing":
            self.open[alert.id] = (partition, alert)
            return self._activate(alert)
        if alert.state == "resolved" and self.open.pop(alert.id, None) is not None:
            self._clear(source_of(alert), alert.time_ns)
        return False

    def restore(self, partition: int, alerts: list[Alert]) -> None:
        """Alerts that are open already, from a state that was loaded; no activations."""
        for alert in alerts:
            self.open[alert.id] = (partition, alert)

    def drop(self, partition: int) -> None:
        """The partition's alerts are another worker's from here on."""
        self.open = {i: entry for i, entry in self.open.items() if entry[0] != partition}

    def advance(self, now_ns: int) -> None:
        """The stream has come this far; what is older than a day is let go."""
        self.now_ns = now = max(self.now_ns, now_ns)
        while self._day and self._day[0][0] <= now - DAY_NS:
            _, identity, asset, critical = heapq.heappop(self._day)
            self._seen.discard(identity)
            self._critical -= critical
            self._by_asset[asset] -= 1
            if not self._by_asset[asset]:
                del self._by_asset[asset]
        while self._recent and self._recent[0] <= now - TEN_MINUTES_NS:
            heapq.heappop(self._recent)

    def numbers(self) -> AlarmNumbers:
        """The counts as of the newest time."""
        now, day = self.now_ns, len(self._day)
        self._forget_quiet_sources()
        ranked = sorted(self._by_asset.items(), key=lambda entry: (-entry[1], entry[0]))
        return AlarmNumbers(
            last_day=day,
            last_ten_minutes=len(self._recent),
            flood=len(self._recent) > self.flood_limit,
            active=len(self.open),
            stale=sum(now - alert.onset_ns > DAY_NS for _, alert in self.open.values()),
            chattering=len(self._chattered_ns),
            critical_ratio=self._critical / day if day else float("nan"),
            worst=tuple(ranked[:WORST_SOURCES]),
            forgotten=self.forgotten,
        )

    def _activate(self, alert: Alert) -> bool:
        if alert.id in self._seen:  # told again after a restart: the same alert
            return False
        if len(self._day) >= ACTIVATION_LIMIT:
            self.forgotten += 1
            return True
        critical = alert.severity == "high"
        self._seen.add(alert.id)
        heapq.heappush(self._day, (alert.time_ns, alert.id, alert.asset, critical))
        heapq.heappush(self._recent, alert.time_ns)
        self._by_asset[alert.asset] += 1
        self._critical += critical
        return True

    def _clear(self, source: Source, time_ns: int) -> None:
        times = self._clears.setdefault(source, deque(maxlen=CHATTER_CLEARS))
        times.append(time_ns)
        if len(times) == CHATTER_CLEARS and times[-1] - times[0] <= MINUTE_NS:
            self._chattered_ns[source] = time_ns

    def _forget_quiet_sources(self) -> None:
        edge = self.now_ns - DAY_NS
        self._clears = {s: times for s, times in self._clears.items() if times[-1] > edge}
        self._chattered_ns = {s: t for s, t in self._chattered_ns.items() if t > edge}


def source_of(alert: Alert) -> Source:
    """What an alarm list would count this alert under."""
    lead = alert.contributions[0].sensor if alert.contributions else ""
    return alert.asset, alert.kind, lead
