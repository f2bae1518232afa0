"""Takes in one batch after another and keeps what a report needs, bounded whatever the length.

What is kept: the timeline's envelopes (timeline.py), the rows around alerts (closeup.py), the
expected band in pieces, every alert's case, and a few counters per asset. What is dropped for the
sake of a limit is counted, so that the page can say so. The collector only looks: it never changes
the monitor, and what it writes depends on nothing but the stream.

It is called once per batch from the replay's loop, so cost per reading counts: everything that
touches rows is a vectorised pass, and Python loops run over assets with an alert, never over rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from anomaly.batches import Alert, Contribution, Float64, Int64, Outcome
from anomaly.evaluate import OPEN_NS, Failure, Firing, Window
from anomaly.production import LOSS_KINDS as KINDS_OF_LOSS
from anomaly.production import Statement
from anomaly.registry import Registry
from streams.report.closeup import LOOK_BACK_ROWS, Closeup, Tail
from streams.report.timeline import Groups, Timeline
from streams.report.words import Clock

if TYPE_CHECKING:
    from streams.report.summary import Summary

#: Kinds of alert that speak of the data, not of the machine; the budget does not pay for them.
DATA_KINDS = frozenset({"sensor_fault", "data_gap"})
#: Kinds of alert about losses: no failure need follow one, so none can prove it false.
LOSS_KINDS = frozenset(KINDS_OF_LOSS)
#: What is announced beside the budget: an interruption that comes back at equal intervals.
ANNOUNCED_KINDS = frozenset({"stop_expected"})
#: Severities from mild to grave; one that is not listed counts as the gravest.
SEVERITIES = ("info", "low", "minor", "notice", "medium", "warning", "major", "high", "critical")
#: Cases kept; further alerts are counted only.
CASE_LIMIT = 20_000
#: Close-ups recorded at once, and kept once finished; the gravest win.
OPEN_CLOSEUP_LIMIT, KEPT_CLOSEUP_LIMIT = 64, 96
#: Sensors drawn per alert: those with the largest shares.
CLOSEUP_SENSORS = 3
#: A step between rows that is this many times the asset's usual one is a gap in the data.
GAP_FACTOR = 10.0
#: Pieces of an asset's expected band; when full, every other one goes.
BAND_PIECES = 64
#: Assets whose band is looked up in one batch, and the values kept for all of them together.
BAND_LOOKUPS, BAND_VALUES = 32, 1 << 21
#: With more sensors the monitor is not asked which assets are muted: its answer names all of them.
MUTED_LOOKUP_TAGS = 100_000
#: Rows sampled per batch to learn the usual spacing of rows.
_SPACING_SAMPLE = 8192


class Condition(Protocol):
    """What ``Monitor.conditions`` gives: an asset's (sensor empty) or a sensor's state and why."""

    @property
    def asset(self) -> str: ...
    @property
    def sensor(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def detail(self) -> str: ...


class MonitorView(Protocol):
    """The part of ``anomaly.monitor.Monitor`` that a report reads."""

    def conditions(self) -> Sequence[Condition]:
        """State of every asset and sensor."""

    def bands(self, tags: Int64, asset: Int64) -> tuple[Float64, Float64, Float64]:
        """Low, centre, high of tags, whose assets are given; NaN before the reference stands."""

    def rejected(self) -> dict[str, int]:
        """Readings by reason."""

    def statement(self, asset: int) -> Statement | None:
        """Where the asset's time went; None where no sensor tells."""


@dataclass(slots=True)
class Case:
    """One alert from its first transition to its last, with its close-up while there is one."""

    id: str
    asset: str
    kind: str
    severity: str
    onset_ns: int
    begin_ns: int
    end_ns: int
    return_period_seconds: float
    contributions: tuple[Contribution, ...]
    time_left_seconds: tuple[float, float, float] | None
    sentence: str
    closeup: Closeup | None = None

    @property
    def of_data(self) -> bool:
        """Whether it speaks of the data rather than the machine."""
        return self.kind in DATA_KINDS

    @property
    def of_loss(self) -> bool:
        """Whether it speaks of time, parts or energy lost rather than of a failure to come."""
        return self.kind in LOSS_KINDS

    @property
    def of_stop(self) -> bool:
        """Whether it announces an interruption that comes back at equal intervals."""
        return self.kind in ANNOUNCED_KINDS

    @property
    def is_open(self) -> bool:
        """Whether it was still firing when the recording ended."""
        return self.end_ns == OPEN_NS

    @property
    def grade(self) -> tuple[int, float]:
        """Orders cases by how much they deserve room on the page; larger is more."""
        rarity = self.return_period_seconds
        return rank(self.severity), rarity if rarity == rarity else 0.0

    def firing(self) -> Firing:
        """The case as the evaluation judges it."""
        return Firing(self.id, self.asset, self.kind, self.severity, self.begin_ns, self.end_ns)


@dataclass(slots=True)
class Band:
    """The expected band of one asset in pieces: ``low[p]`` holds until ``until_ns[p]``."""

    until_ns: list[int] = field(default_factory=list)
    low: list[Float64] = field(default_factory=list)
    centre: list[Float64] = field(default_factory=list)
    high: list[Float64] = field(default_factory=list)
    latest: bytes = b""
    """The last piece, to be compared at once."""


#: Counters per asset; times are 0 until the first row.
_ASSET = np.dtype([
    ("rows", np.int64), ("judged_rows", np.int64),
    ("first_ns", np.int64), ("last_ns", np.int64),
    ("first_judged_ns", np.int64), ("last_judged_ns", np.int64),
    ("judged_seconds", np.float64),  # time between judged rows, gaps left out
    ("log_step", np.float64), ("steps", np.int64),  # sum of ln(step ns) and their number
    ("gaps", np.int64), ("gap_seconds", np.float64),
    ("alerting", np.int64),  # 1 once its alerts are no longer muted
])


class ReportCollector:
    """Everything ``report.html`` and the terminal's summary are made of.

    Parameters
    ----------
    registry : Registry
        The one the codec registers into; read at every batch.
    budget_per_week : float
        False alarms promised per machine-week.
    failures : sequence of Failure
        What went wrong and when; empty if the user gave none.
    title : str
        What was watched, as the page's heading; usually the file's name.
    clock : Clock
        ``Clock()`` for event time, ``Clock(row_ns)`` for a recording with a row counter.
    window : Window, optional
        How far before a failure an alert counts. None: a fifth of the mean judged time between
        failures (half, where each machine that failed did so once), at most a week; the page says
        which.
    later_row_seconds : float
        Rows of this length are no gaps, though those before them came faster; 0 = there are none.
    """

    def __init__(
        self, registry: Registry, budget_per_week: float, failures: Sequence[Failure], title: str,
        clock: Clock | None = None, window: Window | None = None, later_row_seconds: float = 0.0,
    ) -> None:
        self.registry = registry
        self.least_gap_seconds = 2.0 * later_row_seconds
        self.budget_per_week = budget_per_week
        self.failures = tuple(sorted(failures, key=lambda f: (f.time_ns, f.asset)))
        self.title = title
        self.clock = clock or Clock()
        self.window = window
        self.timeline = Timeline()
        self.assets = np.zeros(8, _ASSET)
        self.bands: dict[int, Band] = {}
        self.cases: dict[str, Case] = {}
        self.alerts_beyond_limit = 0
        self.readings = 0
        self._tail = Tail()
        self._open: dict[str, Case] = {}
        self._band_values = 0
        self._band_turn = 0
        self._monitor: MonitorView | None = None

    def collect(self, outcome: Outcome, monitor: MonitorView) -> None:
        """Take in what one ``Monitor.process`` or ``flush`` said."""
        self._monitor = monitor
        self.readings += outcome.reason.size
        groups = None
        if len(outcome.rows):
            groups = grouped(outcome)
            self._make_room()
            self._leave_out_muted(groups, monitor)
            self._count(groups)
            self.timeline.add(groups, self.registry)
            self._tail.append(outcome.rows)
        # Close-ups open once all transitions are in: a short alert's end is then known beforehand.
        for case in [case for alert in outcome.alerts if (case := self._take(alert)) is not None]:
            self._open_closeup(case)
        if groups is not None:
            self._feed_closeups(groups)
            self._look_up_bands(groups, monitor)

    def conditions(self) -> Sequence[Condition]:
        """State of every asset and sensor as the recording ended."""
        return self._monitor.conditions() if self._monitor is not None else ()

    def statements(self) -> list[tuple[str, Statement]]:
        """Where the time of each machine went whose production is told."""
        if self._monitor is None:
            return []
        return [(name, told) for a, name in enumerate(self.registry.assets)
                if (told := self._monitor.statement(a)) is not None]

    def rejected(self) -> dict[str, int]:
        """Readings by reason; ``accepted`` is among them."""
        return self._monitor.rejected() if self._monitor is not None else {}

    def row_seconds(self, asset: int) -> float:
        """The asset's usual step between rows (geometric mean); NaN before there was one."""
        counters = self.assets[asset]
        if not counters["steps"]:
            return float("nan")
        return float(np.exp(counters["log_step"] / counters["steps"]) / 1e9)

    def summary(self) -> Summary:
        """What it amounts to so far; shared by the terminal's lines and the page."""
        from streams.report.summary import summarise  # it is built of collectors

        return summarise(self)

    def write(self, path: Path) -> None:
        """Write the page, complete or not at all.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        from streams.report.page import page  # loaded once there is something to draw

        aside = path.with_name(path.name + ".part")
        aside.write_text(page(self), encoding="utf-8")
        aside.replace(path)

    def _make_room(self) -> None:
        need = len(self.registry.assets)
        if need > self.assets.size:
            grown = np.zeros(max(need, 2 * self.assets.size), _ASSET)
            grown[: self.assets.size] = self.assets
            self.assets = grown

    def _leave_out_muted(self, groups: Groups, monitor: MonitorView) -> None:
        """Rows scored while alerts are still muted are not judged: no alert could have come.

        Only the monitor knows, and says so per asset as ``learning``; asked once per batch, and
        only while an asset that has scores is not known to be beyond it.
        """
        asset = groups.asset[self.assets["alerting"][groups.asset] == 0]
        scored = [
            a for a in asset.tolist()
            if groups.judged[groups.of(int(np.searchsorted(groups.asset, a)))].any()
        ]
        if not scored:
            return
        asked = monitor.conditions() if self.registry.tag_count <= MUTED_LOOKUP_TAGS else ()
        muted = {item.asset for item in asked if not item.sensor and item.state == "learning"}
        for a in scored:
            if self.registry.assets[a] in muted:
                groups.judged[groups.of(int(np.searchsorted(groups.asset, a)))] = False
            else:
                self.assets["alerting"][a] = 1

    def _count(self, groups: Groups) -> None:
        """Rows, spans, judged time and gaps of every asset of the batch."""
        asset, start = groups.asset, groups.start
        stop = np.append(start[1:], groups.time_ns.size)
        known = self.assets[asset]  # a copy, written back below
        is_new = known["rows"] == 0
        step = np.empty(groups.time_ns.size, np.int64)
        np.subtract(groups.time_ns[1:], groups.time_ns[:-1], out=step[1:])
        step[start] = np.where(is_new, 0, groups.time_ns[start] - known["last_ns"])
        # A clock that was set back passes no time.
        np.maximum(step, 0, out=step)
        self._learn_spacing(groups, step)
        lengths = stop - start
        limit = self._gap_limits(asset)
        over = step > (limit[0] if asset.size == 1 else np.repeat(limit, lengths))
        if over.any():
            at = np.searchsorted(start, np.flatnonzero(over), side="right") - 1
            np.add.at(self.assets["gaps"], asset[at], 1)
            np.add.at(self.assets["gap_seconds"], asset[at], step[over] / 1e9)
            step[over] = 0
        known = self.assets[asset]
        known["rows"] += lengths
        known["first_ns"] = np.where(is_new, groups.time_ns[start], known["first_ns"])
        known["last_ns"] = groups.time_ns[stop - 1]
        if groups.judged.all():  # the usual case; what follows is two more passes over the rows
            judged_rows = lengths
        else:
            judged_rows = np.add.reduceat(groups.judged, start, dtype=np.int64)
            step = np.where(groups.judged, step, 0)
        known["judged_seconds"] += np.add.reduceat(step, start) / 1e9
        for place in np.flatnonzero((judged_rows > 0) & (known["judged_rows"] == 0)).tolist():
            rows = groups.of(place)
            first = rows.start + int(np.argmax(groups.judged[rows]))
            known["first_judged_ns"][place] = groups.time_ns[first]
        last_is_judged = groups.judged[stop - 1]
        known["last_judged_ns"] = np.where(
            last_is_judged, known["last_ns"], known["last_judged_ns"]
        )
        for place in np.flatnonzero((judged_rows > 0) & ~last_is_judged).tolist():
            rows = groups.of(place)
            last = rows.stop - 1 - int(np.argmax(groups.judged[rows][::-1]))
            known["last_judged_ns"][place] = groups.time_ns[last]
        known["judged_rows"] += judged_rows
        self.assets[asset] = known

    def _gap_limits(self, asset: Int64) -> Int64:
        """Step in ns that is a gap, per asset; beyond every step while the usual one is unknown."""
        usual = self.assets[asset]
        known = usual["steps"] > 2
        steps = np.where(known, usual["steps"], 1)
        limit = GAP_FACTOR * np.exp(usual["log_step"] / steps)
        limit = np.clip(limit, self.least_gap_seconds * 1e9, 2.0**62)
        return np.where(known, limit, 2.0**62).astype(np.int64)

    def _learn_spacing(self, groups: Groups, step: Int64) -> None:
        every = max(1, step.size // _SPACING_SAMPLE)
        sample = np.flatnonzero(step[::every] > 0) * every
        if not sample.size:
            return
        place = np.searchsorted(groups.start, sample, side="right") - 1
        assets = groups.asset[place]
        np.add.at(self.assets["log_step"], assets, np.log(step[sample]))
        np.add.at(self.assets["steps"], assets, 1)

    def _take(self, alert: Alert) -> Case | None:
        """One transition into its case; gives the case that it began, if it began one.

        A pending alert becomes a case only when it fires.
        """
        case = self.cases.get(alert.id)
        if alert.state == "firing":
            if case is None:
                if len(self.cases) >= CASE_LIMIT:
                    self.alerts_beyond_limit += 1
                    return None
                case = Case(
                    alert.id, alert.asset, alert.kind, alert.severity, alert.onset_ns,
                    alert.time_ns, OPEN_NS, alert.return_period_seconds, alert.contributions,
                    alert.time_left_seconds, alert.sentence,
                )
                self.cases[alert.id] = case
                return case
            if alert.time_left_seconds is not None:  # told once more, with a forecast
                case.time_left_seconds, case.sentence = alert.time_left_seconds, alert.sentence
            case.severity = max(case.severity, alert.severity, key=rank)
            case.return_period_seconds = float(
                np.fmax(case.return_period_seconds, alert.return_period_seconds)
            )
        elif alert.state == "resolved" and case is not None and case.is_open:
            case.end_ns = alert.time_ns
            if case.closeup is not None:
                case.closeup.end(alert.time_ns)
        return None

    def _open_closeup(self, case: Case) -> None:
        if len(self._open) >= OPEN_CLOSEUP_LIMIT:
            return
        asset = self.registry.asset(case.asset)
        names = self.registry.sensors[asset]
        named = [names.index(c.sensor) for c in case.contributions if c.sensor in names]
        columns = np.array(named[:CLOSEUP_SENSORS] or range(min(1, len(names))), np.int64)
        case.closeup = Closeup(columns, case.onset_ns)
        if not case.is_open:
            case.closeup.end(case.end_ns)
        time_ns, x = self._tail.rows_before(asset, columns, case.onset_ns, LOOK_BACK_ROWS)
        case.closeup.add(time_ns, x)
        self._open[case.id] = case

    def _feed_closeups(self, groups: Groups) -> None:
        if not self._open:
            return
        for case in list(self._open.values()):
            closeup = case.closeup
            assert closeup is not None
            asset = self.registry.asset(case.asset)
            place = int(np.searchsorted(groups.asset, asset))
            if place < groups.asset.size and groups.asset[place] == asset:
                rows = groups.of(place)
                x = np.full((rows.stop - rows.start, closeup.columns.size), np.nan)
                there = closeup.columns < groups.x.shape[1]
                x[:, there] = groups.x[rows, closeup.columns[there]]
                closeup.add(groups.time_ns[rows], x)
            if closeup.finished:
                del self._open[case.id]
        kept = [case for case in self.cases.values() if case.closeup is not None]
        if len(kept) > KEPT_CLOSEUP_LIMIT + OPEN_CLOSEUP_LIMIT:
            kept.sort(key=lambda case: case.grade)
            for case in kept[: len(kept) - KEPT_CLOSEUP_LIMIT]:
                if case.id not in self._open:
                    case.closeup = None

    def _look_up_bands(self, groups: Groups, monitor: MonitorView) -> None:
        """Ask what is expected now, of a few assets a batch in turn; those without a band first."""
        present = groups.asset[self.assets["judged_rows"][groups.asset] > 0]
        if not present.size:
            return
        lacking = [a for a in present.tolist() if a not in self.bands]
        turn = np.roll(present, -self._band_turn)[:BAND_LOOKUPS]
        self._band_turn = (self._band_turn + BAND_LOOKUPS) % present.size
        assets = list(dict.fromkeys([*lacking[:BAND_LOOKUPS], *turn.tolist()]))
        widths = [len(self.registry.sensors[asset]) for asset in assets]
        # One question for all of them: asked one by one it was the most of what a report costs.
        told = monitor.bands(
            np.concatenate([self.registry.table[asset, :width]
                            for asset, width in zip(assets, widths, strict=True)]),
            np.repeat(np.array(assets), widths))
        ends = np.cumsum(widths).tolist()
        for asset, width, end in zip(assets, widths, ends, strict=True):
            low, centre, high = (column[end - width : end] for column in told)
            if self._band_values + 3 * low.size > BAND_VALUES and asset not in self.bands:
                continue
            band = self.bands.setdefault(asset, Band())
            self._extend(band, int(self.assets["last_ns"][asset]), low, centre, high)

    def _extend(
        self, band: Band, until_ns: int, low: Float64, centre: Float64, high: Float64
    ) -> None:
        latest = low.tobytes() + centre.tobytes() + high.tobytes()
        if band.low and latest == band.latest:
            band.until_ns[-1] = until_ns
            return
        band.latest = latest
        if len(band.low) >= BAND_PIECES or (
            len(band.low) > 1 and self._band_values + 3 * low.size > BAND_VALUES
        ):
            # The piece that goes was valid until its own end; the next one now stands for both.
            self._band_values -= 3 * low.size * (len(band.low) // 2)
            for column in (band.until_ns, band.low, band.centre, band.high):
                del column[len(column) % 2 :: 2]
        band.until_ns.append(until_ns)
        band.low.append(low.copy())
        band.centre.append(centre.copy())
        band.high.append(high.copy())
        self._band_values += 3 * low.size


def rank(severity: str) -> int:
    """Place of a severity among :data:`SEVERITIES`; an unknown one is the gravest."""
    name = severity.lower()
    return SEVERITIES.index(name) if name in SEVERITIES else len(SEVERITIES)


def grouped(outcome: Outcome) -> Groups:
    """The batch's rows sorted by asset and within it by time; no copy where they already are."""
    rows, scores = outcome.rows, outcome.scores
    asset, time_ns, x = rows.asset, rows.time_ns, rows.x
    firing, rarity = scores.alert, scores.return_period_s
    if not _in_order(asset, time_ns):
        order = np.argsort(asset, kind="stable")
        if not _in_order(asset[order], time_ns[order]):  # a clock that was set back
            order = np.lexsort((time_ns, asset))
        asset, time_ns, x = asset[order], time_ns[order], x[order]
        firing, rarity = firing[order], rarity[order]
    changes = np.flatnonzero(asset[1:] != asset[:-1]) + 1
    start = np.concatenate([np.zeros(1, np.int64), changes])
    return Groups(asset[start], start, time_ns, x, rarity == rarity, firing != 0, rarity)


def _in_order(asset: Int64, time_ns: Int64) -> bool:
    same = asset[1:] == asset[:-1]
    ascending = time_ns[1:] >= time_ns[:-1]
    return bool((asset[1:] >= asset[:-1]).all() and (ascending | ~same).all())
