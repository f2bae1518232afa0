"""What the service says of itself and of the machines: the families of ``/metrics``.

The loop tells it of every batch; a scrape reads what the last batch left and never waits for the
engine. Names follow Prometheus: one prefix, base units, ``_total``, ``_info``. Every label whose
values come from outside is capped, and what a cap left out is a number of its own: the machines
beyond it are summed up under ``asset="other"``. How the text is written is ``exposition``'s, how
alarms are judged ``alarm_performance``'s, serving ``webserver``'s.
"""

from __future__ import annotations

import bisect
import threading
import time
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from anomaly.batches import Alert, Float64, Outcome
from anomaly.config import WEEK_SECONDS
from anomaly.monitor import Monitor
from streams import exposition
from streams import metric_families as families
from streams.alarm_performance import FLOOD_LIMIT, AlarmNumbers, AlarmRecord
from streams.asset_board import CONDITIONS, TRUSTED, AssetBoard, Records
from streams.codec import Batch
from streams.exposition import Labels, family
from streams.losses_feed import ShiftLosses
from streams.metric_families import STAGE_BOUNDS_SECONDS, TOTALS, Progress, Service
from streams.metrics_settings import MetricsSettings

if typing.TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from streams.page.record import PageRecord
    from streams.worker import Worker

#: The name under which everything beyond the cap is summed up.
OTHER = "other"
#: Scrapes within this time of one another get the same text: a flood costs one rendering.
SAME_TEXT_SECONDS = 0.2
#: Assets whose sensors are seen closely: bounds what a batch costs in a flood of alerts.
VIEW_LIMIT = 200
#: The choice of them is renewed at the latest after so much of the stream's time.
_VIEW_NS = 10 * 10**9
#: Before so many machine-seconds under judgement a rate per week is noise.
_RATE_SECONDS = 86_400.0
#: Told beside the budget: of sensors and data, and of interruptions at equal times.
_MACHINE_FREE = frozenset({"sensor_fault", "data_gap", "stop_expected"})
_SEVERITIES = {"high": 0, "medium": 1, "low": 2}


@dataclass(frozen=True, slots=True)
class Picture:
    """What the page shows of it: slots of :mod:`asset_board`, alerts firing, alarm numbers."""

    slots: Records
    names: list[str]
    alerts: list[Alert]
    numbers: AlarmNumbers
    losses: dict[str, ShiftLosses]
    newest_ns: int


class Telemetry:
    """Everything that ``/metrics`` tells; also a :class:`streams.sinks.Sink`.

    Parameters
    ----------
    settings : MetricsSettings
    budget_per_week : float
        False alarms promised per machine and week.
    flood_limit : int
        Alarms in ten minutes beyond which it is a flood.
    clock : callable
        Seconds since 1970, for the few timestamps that are not the stream's own.
    page : PageRecord, optional
        Is told of everything, too; None = nobody looks at a page.
    warm : bool
        Compile now what writes the text. False = the caller does with :meth:`warm_up`; until then
        only the service's own numbers are told.
    """

    def __init__(
        self, settings: MetricsSettings, budget_per_week: float, flood_limit: int = FLOOD_LIMIT,
        clock: Callable[[], float] = time.time, page: PageRecord | None = None,
        warm: bool = True,
    ) -> None:
        self.settings = settings
        self.page = page
        self.budget_per_week = budget_per_week
        self._clock = clock
        self._lock = threading.Lock()
        self._board = AssetBoard(settings.sensors)
        self._alarms = AlarmRecord(flood_limit)
        self._fired: Counter[tuple[str, str]] = Counter()
        self._losses: dict[tuple[str, str], float] = {}
        self._shifts: dict[str, ShiftLosses] = {}
        self._left_ns: dict[int, int] = {}  # slot -> until when its sensors stay in view
        self._in_view: dict[int, None] = {}  # slots, the most important first
        self._view_until_ns = 0
        self._views_left_out = 0
        self._stages: dict[str, Float64] = {}
        self._reloaded_at = clock()
        self._service = Service(reloaded_at=self._reloaded_at)
        self._configured: object = None
        self._render = threading.Lock()
        self._text: tuple[float, bytes] = (-1.0, b"")
        self._process = _process_registry()
        self._labels: dict[str, Labels] = {}  # by condition
        self._is_warm = False
        if warm:
            self.warm_up()

    def warm_up(self) -> None:
        """Compile what writes the text of per-asset series, so that no scrape waits for it."""
        exposition.warm()
        self._is_warm = True

    # -- told by the loop -------------------------------------------------------------------------

    def observe(
        self, partition: int, outcome: Outcome, monitor: Monitor, loud: bool = True
    ) -> None:
        """One batch of one partition is done; not ``loud`` = it was counted in an earlier life."""
        if self.page is not None:
            self.page.observe(partition, outcome, monitor)
        with self._lock:
            touched = self._board.take(partition, outcome, monitor)
            lane = self._board.lanes[partition]
            self._alarms.advance(lane.newest_ns)
            for alert in outcome.alerts:
                self._take(partition, alert, loud)
            if outcome.alerts or self._alarms.now_ns >= self._view_until_ns:
                self._choose_views()
            wanted = touched[np.isin(lane.slot[touched], list(self._in_view))]
            self._board.look_closely(partition, wanted, monitor)

    def publish(self, batch: Batch, outcome: Outcome, monitor: Monitor) -> None:
        """Be a sink of the file-side service, which has one partition."""
        self.observe(0, outcome, monitor)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is held back."""

    def restore(self, partition: int, open_alerts: Iterable[Alert], monitor: Monitor) -> None:
        """A partition was taken over, or over again; these of its alerts are firing."""
        firing = list(open_alerts)
        if self.page is not None:
            self.page.restore(partition, firing)
        with self._lock:
            self._board.drop(partition)
            self._alarms.drop(partition)
            self._board.open(partition, monitor)
            self._alarms.restore(partition, firing)

    def drop(self, partition: int) -> None:
        """A partition went; its series are another worker's from here on."""
        if self.page is not None:
            self.page.drop(partition)
        with self._lock:
            gone = set(self._board.held_by(partition))
            self._losses = {k: v for k, v in self._losses.items() if k[0] not in gone}
            self._shifts = {k: v for k, v in self._shifts.items() if k not in gone}
            self._board.drop(partition)
            self._alarms.drop(partition)

    def take_losses(self, asset: str, seconds: Mapping[str, float]) -> None:
        """Seconds that an asset has lost so far, by heading of the ledger; they only grow."""
        with self._lock:
            for heading, value in seconds.items():
                self._losses[asset, heading] = value

    def take_shift(self, asset: str, shift: ShiftLosses) -> None:
        """What an asset has lost in the present shift; for the page."""
        with self._lock:
            self._shifts[asset] = shift

    def spent(self, stage: str, seconds: float) -> None:
        """A stage (``batch``, ``decode``, ``process``, ``commit``, …) took so long this time."""
        with self._lock:
            counts = self._stages.setdefault(stage, np.zeros(len(STAGE_BOUNDS_SECONDS) + 2))
            counts[bisect.bisect_left(STAGE_BOUNDS_SECONDS, seconds)] += 1
            counts[-1] += seconds

    def take_service(self, service: Service) -> None:
        """Replace the service's own numbers."""
        with self._lock:
            self._service = service

    def take_worker(self, worker: Worker) -> None:
        """The same, from the live service's worker; once per turn of its loop."""
        now, monotonic = self._clock(), worker.clock.seconds()
        if worker.settings is not self._configured:
            self._configured, self._reloaded_at = worker.settings, now
        held = worker.lanes
        told = {p: worker.source.lag(p, lane.position) for p, lane in held.items()}
        totals = worker.totals
        self.take_service(Service(
            messages={p: dict(lane.counts) for p, lane in held.items()},
            dead={p: dict(lane.reasons) for p, lane in held.items()},
            lag={p: lag for p, lag in told.items() if lag is not None},
            checkpoint_at={p: now - (monotonic - lane.checkpointed_at)
                           for p, lane in held.items()},
            totals={name: float(getattr(totals, name)) for name in TOTALS},
            ready=worker.status.ready, moved_at=now,
            reload_successful=totals.reload_successful,
            reloaded_at=self._reloaded_at,
        ))
        for partition in [p for p in self._board.lanes if p not in held]:
            self.drop(partition)
        if self.page is not None:
            for partition, lane in held.items():
                self.page.take_memory(partition, lane.memory)

    # -- asked by scrapes -------------------------------------------------------------------------

    def open_alerts(self) -> list[Alert]:
        """What is firing, the most severe and then the oldest first."""
        with self._lock:
            return self._sorted_open()

    def picture(self) -> Picture:
        """Copies of what a page shows."""
        with self._lock:
            return Picture(
                self._board.copy(), list(self._board.names), self._sorted_open(),
                self._alarms.numbers(), dict(self._shifts),
                max((lane.newest_ns for lane in self._board.lanes.values()), default=0))

    def render(self) -> bytes:
        """The text of ``/metrics``; safe from any thread, never waits for the engine."""
        with self._render:
            at, text = self._text
            if time.monotonic() - at < SAME_TEXT_SECONDS:
                return text
            text = b"".join(self._families() if self._is_warm else self._first_families())
            self._text = (time.monotonic(), text)
            return text

    # -- families ---------------------------------------------------------------------------------

    def _families(self) -> Iterator[bytes]:
        with self._lock:  # copies only: the loop may be waiting
            slots = self._board.copy()
            names = self._board.names[: slots.size]
            views = self._board.views(self._in_view)
            sensors = self._board.sensor_counts()
            progress = {p: Progress(dict(lane.readings), lane.rows, lane.newest_ns)
                        for p, lane in self._board.lanes.items()}
            alerts, numbers = self._sorted_open(), self._alarms.numbers()
            fired, losses = dict(self._fired), dict(self._losses)
            shifts = dict(self._shifts)
            stages = {name: counts.copy() for name, counts in self._stages.items()}
            service = self._service
        limits, left = self.settings, {"view": self._views_left_out}
        yield from self._asset_families(slots, names, left)
        yield from families.loss_families(losses, limits.asset_limit, left)
        yield from families.shift_families(shifts, limits.asset_limit, left)
        yield from families.alert_families(alerts, limits.alert_limit, left)
        yield from families.sensor_families(views, limits.sensor_limit, left)
        yield families.by_label("andon_sensors", "Sensors by how far they can be trusted.",
                                dict(zip(CONDITIONS, sensors.tolist(), strict=True)), "condition")
        yield from self._budget_families(slots, fired)
        yield from families.alarm_families(numbers)
        yield from families.stream_families(progress)
        yield from families.service_families(service)
        yield families.stage_family(stages)
        yield families.by_label("andon_series_left_out",
                                "What the caps on labels left out of these metrics.", left,
                                "family")
        yield families.build_info()
        yield _process_text(self._process)

    def _first_families(self) -> Iterator[bytes]:
        """What can be told before anything is compiled."""
        with self._lock:
            service = self._service
        yield from families.service_families(service)
        yield families.build_info()
        yield _process_text(self._process)

    def _asset_families(
        self, slots: Records, names: list[str], left: dict[str, int]
    ) -> Iterator[bytes]:
        present = slots["present"] == 1
        named = present.copy()
        named[np.flatnonzero(present)[self.settings.asset_limit:]] = False
        if OTHER in names:  # a machine of that name must not pose as the sum of others
            named[names.index(OTHER)] = False
        rest = present & ~named
        left["asset"] = int(rest.sum())
        for name, kind, text, column, fold in families.ASSET_FAMILIES:
            values = np.ascontiguousarray(slots[column])
            known = ~np.isnan(values)
            folded = values[rest & known]
            beyond = [({"asset": OTHER}, float(fold(folded)))] if folded.size else []
            # Labels only grow and what they hold never changes, so they are read without a lock.
            yield family(name, kind, text, beyond)
            yield self._board.labels.series(name, values, named & known)
        name, ones = "andon_asset_condition", np.ones(slots.size)
        yield exposition.head(name, "gauge", "1: how far what is said of the asset can be trusted.")
        for code, condition in enumerate(CONDITIONS[: TRUSTED + 1]):
            labels = self._labels.setdefault(condition, Labels())
            for asset in names[labels.count:]:
                labels.add({"asset": asset, "condition": condition})
            yield labels.series(name, ones, named & (slots["condition"] == code))
        counts = np.bincount(slots["condition"][present], minlength=TRUSTED + 1).tolist()
        yield families.by_label("andon_assets", "Assets by how far they can be trusted.",
                                dict(zip(CONDITIONS, counts, strict=False)), "condition")

    def _budget_families(
        self, slots: Records, fired: Mapping[tuple[str, str], int]
    ) -> Iterator[bytes]:
        judged = slots["judged_ns"] > 0
        seconds = float((slots["last_ns"] - slots["judged_ns"])[judged].sum()) / 1e9
        machine = sum(n for (kind, _), n in fired.items() if kind not in _MACHINE_FREE)
        achieved = machine / seconds * WEEK_SECONDS if seconds >= _RATE_SECONDS else np.nan
        yield family(
            "andon_alerts_total", "counter", "Alerts that began to fire, by kind and severity.",
            [({"kind": k, "severity": s}, float(n)) for (k, s), n in sorted(fired.items())])
        yield family(
            "andon_alert_threshold_seconds", "gauge",
            "Return period at which a row is rare enough for an alert.",
            [({}, WEEK_SECONDS / self.budget_per_week)])
        yield family(
            "andon_alert_budget_per_week", "gauge",
            "Promised: false alarms per machine and week.", [({}, self.budget_per_week)])
        yield family(
            "andon_alerts_achieved_per_week", "gauge",
            "Achieved: machine alerts per machine and week under judgement, true ones included.",
            [({}, achieved)])
        yield family(
            "andon_judged_seconds", "gauge",
            "Machine-seconds under judgement since the start, over all machines held.",
            [({}, seconds)])

    # -- small parts; the caller holds the lock ---------------------------------------------------

    def _take(self, partition: int, alert: Alert, loud: bool) -> None:
        if self._alarms.take(partition, alert) and loud:
            self._fired[alert.kind, alert.severity] += 1
            self._board.slots["fired"][self._board.slot_of(alert.asset)] += 1
        if alert.state == "resolved":
            until = alert.time_ns + int(self.settings.linger_seconds * 1e9)
            self._left_ns[self._board.slot_of(alert.asset)] = until

    def _choose_views(self) -> None:
        """Which assets' sensors are seen: in alert, lately in alert, and those of the list."""
        now = self._alarms.now_ns
        self._left_ns = {slot: until for slot, until in self._left_ns.items() if until > now}
        self._view_until_ns = min([now + _VIEW_NS, *self._left_ns.values()])
        in_alert = [self._board.slot_of(alert.asset) for alert in self._sorted_open()]
        order = dict.fromkeys((*sorted(self._board.always), *in_alert, *sorted(self._left_ns)))
        self._views_left_out = max(0, len(order) - VIEW_LIMIT)
        self._in_view = dict.fromkeys(list(order)[:VIEW_LIMIT])
        self._board.forget_views(self._in_view)

    def _sorted_open(self) -> list[Alert]:
        return sorted((alert for _, alert in self._alarms.open.values()), key=lambda a: (
            _SEVERITIES.get(a.severity, 9), a.onset_ns, a.id))


def _process_registry() -> CollectorRegistry:
    """The process's own memory, processor time and files: what the client library is for."""
    from prometheus_client import CollectorRegistry, ProcessCollector

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def _process_text(registry: CollectorRegistry) -> bytes:
    from prometheus_client import generate_latest

    return generate_latest(registry)
