"""What the run amounts to, in numbers and in words: shared by the terminal's lines and the page.

Every sentence here is a claim that a reader will hold us to, so each says its base: how long was
judged, how many alerts that is, and what chance alone would have reached.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomaly import evaluate
from anomaly.evaluate import Failure, Firing, Lead, Window
from streams.report.collector import Case, Condition, ReportCollector, rank
from streams.report.words import Clock, listed, percent, plural, printable, short

#: Without a window of the user's own, windows may cover this share of the judged time of the
#: machines that failed: wider ones would be hit by chance too often to mean anything. Where each
#: failed once, half of its life is what people mean by "before" …
_WINDOW_SHARE, _WINDOW_SHARE_ONCE = 0.2, 0.5
#: … and an alert more than a week ahead is not what stopped the line being a surprise.
_WINDOW_LIMIT_SECONDS = evaluate.WEEK_SECONDS
#: Alerts shortly after a failure are the failure being seen: this share of the window.
_AFTERMATH_SHARE = 0.1
#: From this recall by chance on even the headline must say it.
_CHANCE_TOLD = 0.5
#: States of a condition in the order in which they are told.
STATES = ("trusted", "learning", "warming", "blind")


@dataclass(frozen=True, slots=True)
class Unjudged:
    """An asset, or one of its sensors, not judged when the recording ended, and why."""

    asset: str
    sensor: str
    state: str
    detail: str


@dataclass(frozen=True, slots=True)
class Warned:
    """How the failures went; only there if failures were given.

    Attributes
    ----------
    leads : tuple of Lead
        One per failure of an asset of the recording, in order of time.
    reasons : tuple of str
        Per lead why there was no warning, where that is known; else empty.
    chance : float
        Share of failures that as many alerts at random times would have announced.
    outside : tuple of Failure
        Failures that cannot be judged: of an asset, or at a time, that the recording lacks.
    false_alarms : tuple of Firing
    losses : int
        Alerts about losses; they are neither warnings' rivals nor false alarms.
    stops : int
        Interruptions announced beside the budget; they may be warnings, and are no false alarms.
    healthy_seconds : float
        Judged machine time outside every window, the base of the false alarms' rate.
    """

    window: Window
    window_is_default: bool
    leads: tuple[Lead, ...]
    reasons: tuple[str, ...]
    chance: float
    outside: tuple[Failure, ...]
    false_alarms: tuple[Firing, ...]
    losses: int
    stops: int
    healthy_seconds: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The run in numbers; times in ns since 1970 UTC, spans in seconds, rates per machine-week.

    ``judged_seconds`` is machine time: two machines judged for a week are two machine-weeks.
    ``alerts`` counts those about the machine and its losses, ``data_alerts`` those about sensors
    and gaps, ``stops_announced`` the interruptions announced beside the budget.
    ``conditions`` counts assets by state, ``unjudged`` lists warming and blind ones.
    """

    title: str
    clock: Clock
    assets: int
    sensors: int
    rows: int
    readings: int
    first_ns: int
    last_ns: int
    judged_assets: int
    judged_seconds: float
    gap_seconds: float
    budget_per_week: float
    alerts: int
    data_alerts: int
    stops_announced: int
    open_alerts: int
    by_severity: tuple[tuple[str, int], ...]
    alerts_per_week: float
    interval: tuple[float, float]
    conditions: tuple[tuple[str, int], ...]
    unjudged: tuple[Unjudged, ...]
    rejected: tuple[tuple[str, int], ...]
    warned: Warned | None

    @property
    def span_seconds(self) -> float:
        """From the first row to the last."""
        return (self.last_ns - self.first_ns) / 1e9

    def headline(self) -> str:
        """The one sentence for someone who reads nothing else."""
        if not self.rows:
            return "The recording holds no usable rows."
        count = plural(self.alerts, "alert") if self.alerts else "No alerts"
        text = f"{count} in {self.clock.duration(self.span_seconds)}"
        if self.assets > 1:
            text += f" on {plural(self.assets, 'machine')}"
        if self.stops_announced:
            text += f", and {plural(self.stops_announced, 'interruption')} expected at equal times"
        if self.counted_only:
            return f"{text}: only what is counted was judged, no other sensor is there."
        if not self.judged_assets:
            return f"Nothing was judged in {self.clock.duration(self.span_seconds)}: {self._why()}."
        if self.warned is not None and self.warned.leads:
            hit, total = evaluate.event_recall(self.warned.leads)
            failures = plural(total, _noun(self.warned.leads))
            lead = evaluate.median_lead_seconds(self.warned.leads)
            text += f"; {hit} of {failures} announced"
            if hit == 1:
                text += f", {self.clock.duration(lead)} ahead"
            elif hit:
                text += f", half of those {self.clock.duration(lead)} or more ahead"
            if hit and self.warned.chance >= _CHANCE_TOLD:
                text += f" (as many alerts at random: {percent(self.warned.chance)})"
        return text + "."

    def watched(self) -> str:
        """What was watched, how long, and how much of it could be judged."""
        clock = self.clock
        if not self.rows:
            return f"{plural(self.readings, 'reading')} arrived and none made a row."
        where = " (the recording has a row counter, no clock)" if clock.row_ns else ""
        zone = " UTC" if clock.has_dates else ""
        text = (
            f"Watched {plural(self.assets, 'machine')} with {plural(self.sensors, 'sensor')} "
            f"from {clock.instant(self.first_ns)} to {clock.instant(self.last_ns)}{zone}{where}: "
            f"{plural(self.readings, 'reading')} in {plural(self.rows, 'row')}."
        )
        if self.judged_assets:
            text += f" {_capital(clock.exposure(self.judged_seconds))} could be judged"
            text += "; before that the engine was learning what is usual."
        return text

    def promise(self) -> str:
        """Promised against achieved, with the base and the uncertainty."""
        clock, budget = self.clock, self.clock.rate(self.budget_per_week)
        if self.counted_only:
            return (f"The budget is {budget}; a part of it is for what is counted: cycles, stops, "
                    "rejects, energy.")
        if not self.judged_assets:
            return f"The budget of {budget} was not tested: nothing was judged."
        per = "" if clock.row_ns else "per machine"
        promised = f"at most {budget} {per}".strip()
        if self.warned is not None and self.warned.leads:
            wrong = len(self.warned.false_alarms)
            seconds = self.warned.healthy_seconds
            if not seconds > 0.0:
                return f"Promised {promised}; no healthy time is left to count false alarms in."
            achieved = evaluate.per_week(wrong, seconds)
            interval = evaluate.per_week_interval(wrong, seconds)
            text = (
                f"{plural(wrong, 'false alarm') if wrong else 'No false alarm'} in "
                f"{clock.exposure(seconds)} away from any failure: "
                f"{self._rate(achieved, interval)}. Promised was {promised}; "
                f"{_verdict(interval, self.budget_per_week)}"
            )
            if self.warned.losses:
                text += (f". Not counted: {plural(self.warned.losses, 'alert')} about losses, "
                         "which no failure need follow")
            if self.warned.stops:
                text += (f". Not counted: {plural(self.warned.stops, 'interruption')} expected at "
                         "equal times, told beside the budget")
        else:
            text = (
                f"{plural(self.alerts, 'alert') if self.alerts else 'No alert'} in "
                f"{clock.exposure(self.judged_seconds)}: "
                f"{self._rate(self.alerts_per_week, self.interval)}. The budget is {budget} of "
                f"false alarms{' ' + per if per else ''}. No failures were given, so no alert can "
                "be called right or false; were all of them false, "
                f"{_verdict(self.interval, self.budget_per_week)}"
            )
        return text + "."

    @property
    def held_against(self) -> tuple[int, float]:
        """(count, judged seconds) that the budget is compared with: false alarms where failures
        say which are, else all alerts."""
        if self.warned is not None and self.warned.leads:
            return len(self.warned.false_alarms), self.warned.healthy_seconds
        return self.alerts, self.judged_seconds

    def data_note(self) -> str:
        """What was wrong with the data itself; empty if nothing was."""
        parts = [f"{count:,} {_REASONS.get(name, name.replace('_', ' '))}"
                 for name, count in self.rejected]
        text = f"Readings not used: {listed(parts, 6)}." if parts else ""
        if self.data_alerts:
            text += f" {plural(self.data_alerts, 'alert')} spoke of sensors or missing data, not of"
            text += " the machine; they are listed but not held against the budget."
        if self.gap_seconds > 0:
            text += f" No rows for {self.clock.duration(self.gap_seconds)} of machine time in gaps."
        return text.strip()

    def unjudged_note(self) -> str:
        """Who was not judged as the recording ended, and why; empty if all were."""
        counts = dict(self.conditions)
        off = counts.get("warming", 0) + counts.get("blind", 0)
        sensors = sum(1 for item in self.unjudged if item.sensor)
        parts = []
        if off:
            parts.append(f"{off:,} of {plural(self.assets, 'machine')}")
        if sensors:
            parts.append(f"{plural(sensors, 'sensor')}")
        if not parts:
            return ""
        return f"At the end {' and '.join(parts)} could not be judged: {self._why()}."

    def lines(self) -> tuple[str, ...]:
        """At most eight lines for a terminal; the caller adds rate and paths."""
        found = [self.headline(), self.watched(), self.promise()]
        if self.warned is not None:
            found += [warned_sentence(lead, self.clock) for lead in self.warned.leads[:2]]
            if len(self.warned.leads) > 2:
                found.append(f"… and {plural(len(self.warned.leads) - 2, 'more failure')}.")
        found += [self.unjudged_note(), self.data_note()]
        return tuple(printable(line.replace("\u00a0", " ")) for line in found if line)

    @property
    def counted_only(self) -> bool:
        """Whether all there is are counters: cycles, stops and what they cost, but no level."""
        return self.rows > 0 and not self.judged_assets and not self.unjudged

    def _why(self) -> str:
        """The first few by name with their reason, or the reasons alone where there are many."""
        if 0 < len(self.unjudged) <= 3:
            return listed([
                (f"{short(item.sensor)} of " if item.sensor else "") + short(item.asset)
                + f" is {_reasons([item])}" for item in self.unjudged
            ])
        alike: dict[str, list[Unjudged]] = {}
        for item in self.unjudged:
            alike.setdefault(item.state + _PROGRESS.sub("", item.detail), []).append(item)
        told = sorted(alike.values(), key=len, reverse=True)
        return listed([_reasons(items) for items in told]) or "unknown"

    def _rate(self, per_week: float, interval: tuple[float, float]) -> str:
        low, high = (self.clock.rate_number(bound) for bound in interval)
        return f"{self.clock.rate(per_week)} (95 % interval {low} to {high})"


#: How far a warm-up has come, at the head of a condition's detail: ``213/500 rows``.
_PROGRESS = re.compile(r"^(\d+)/(?=\d)")
_REASONS = {
    "missing": "were empty", "not_finite": "were not finite numbers",
    "out_of_range": "were out of range", "duplicate": "were duplicates",
    "late": "came too late", "clock_jump": "came from a clock that had jumped",
    "bad_time": "had no usable time",
}


def summarise(collector: ReportCollector) -> Summary:
    """The summary of what the collector has seen so far."""
    registry = collector.registry
    counters = collector.assets[: len(registry.assets)]
    with_rows = counters[counters["rows"] > 0]
    judged = counters[counters["judged_rows"] > 0]
    cases = list(collector.cases.values())
    told = [case for case in cases if not case.of_data]
    machine = [case for case in told if not case.of_stop]
    alerts = len(machine) + collector.alerts_beyond_limit
    judged_seconds = float(judged["judged_seconds"].sum())
    conditions, unjudged = _conditions(collector.conditions())
    severities = Counter(case.severity for case in machine)
    return Summary(
        title=collector.title,
        clock=collector.clock,
        assets=len(registry.assets),
        sensors=registry.tag_count,
        rows=int(counters["rows"].sum()),
        readings=collector.readings,
        first_ns=int(with_rows["first_ns"].min()) if with_rows.size else 0,
        last_ns=int(with_rows["last_ns"].max()) if with_rows.size else 0,
        judged_assets=int(judged.size),
        judged_seconds=judged_seconds,
        gap_seconds=float(counters["gap_seconds"].sum()),
        budget_per_week=collector.budget_per_week,
        alerts=alerts,
        data_alerts=len(cases) - len(told),
        stops_announced=len(told) - len(machine),
        open_alerts=sum(case.is_open for case in cases),
        by_severity=tuple(sorted(severities.items(), key=lambda item: -rank(item[0]))),
        alerts_per_week=evaluate.per_week(alerts, judged_seconds),
        interval=evaluate.per_week_interval(alerts, judged_seconds),
        conditions=conditions,
        unjudged=unjudged,
        rejected=tuple((name, count) for name, count in collector.rejected().items()
                       if count and name != "accepted"),
        warned=_warned(collector, told) if collector.failures else None,
    )


def warned_sentence(lead: Lead, clock: Clock, reason: str = "") -> str:
    """``Would have warned 6 h 10 min before the stop of press-1 on 3 Mar 2024 14:20.``"""
    failure = lead.failure
    preposition = "on" if clock.has_dates else "at"
    what = (f"the {kind_of(failure)} of {short(failure.asset)} {preposition} "
            f"{clock.instant(failure.time_ns)}")
    if lead.verdict == "warned":
        return f"Would have warned {clock.duration(lead.lead_seconds)} before {what}."
    if lead.verdict == "standing":
        assert lead.firing is not None
        since = clock.instant(lead.firing.begin_ns)
        return (f"Would not have announced {what}: an alert had been standing since {since}, from "
                "before the time in which an alert counts as a warning.")
    return f"Would not have warned of {what}{': ' + reason if reason else ''}."


def _warned(collector: ReportCollector, cases: Sequence[Case]) -> Warned:
    registry, counters = collector.registry, collector.assets
    place = {name: index for index, name in enumerate(registry.assets)}
    inside: list[Failure] = []
    outside: list[Failure] = []
    for failure in collector.failures:
        index = place.get(failure.asset)
        known = index is not None and counters["rows"][index] > 0 and (
            counters["first_ns"][index] <= failure.time_ns
        )
        (inside if known else outside).append(failure)
    judged_ns, seconds = {}, {}
    for name, index in place.items():
        if counters["judged_rows"][index]:
            entry = counters[index]
            judged_ns[name] = (int(entry["first_judged_ns"]), int(entry["last_judged_ns"]))
            seconds[name] = float(entry["judged_seconds"])
    window = collector.window or _default_window(seconds, inside)
    raised = [case.firing() for case in cases]
    leads = evaluate.lead_times(raised, inside, window)
    return Warned(
        window=window,
        window_is_default=collector.window is None,
        leads=tuple(leads),
        reasons=tuple(_reason(lead, window, judged_ns, collector.clock) for lead in leads),
        chance=evaluate.chance_recall(raised, inside, window, judged_ns),
        outside=tuple(outside),
        false_alarms=tuple(evaluate.false_alarms(
            [case.firing() for case in cases if not (case.of_loss or case.of_stop)], inside,
            window)),
        losses=sum(case.of_loss for case in cases),
        stops=sum(case.of_stop for case in cases),
        healthy_seconds=evaluate.healthy_seconds(judged_ns, seconds, inside, window),
    )


def _default_window(judged_seconds: dict[str, float], failures: Sequence[Failure]) -> Window:
    failed = {failure.asset for failure in failures}
    share = _WINDOW_SHARE_ONCE if len(failed) == len(failures) else _WINDOW_SHARE
    judged = sum(judged_seconds.get(asset, 0.0) for asset in failed)
    horizon = min(_WINDOW_LIMIT_SECONDS, share * judged / max(1, len(failures)))
    return Window(horizon, 0.0, _AFTERMATH_SHARE * horizon)


def _reason(
    lead: Lead, window: Window, judged_ns: dict[str, tuple[int, int]], clock: Clock
) -> str:
    """Why a failure was missed, where the reason is that nobody was looking."""
    if lead.verdict != "missed":
        return ""
    first, last = judged_ns.get(lead.failure.asset, (np.iinfo(np.int64).max, 0))
    time_ns = lead.failure.time_ns
    if first >= time_ns:
        return "the engine was still learning this machine"
    if last < time_ns - round(window.horizon_seconds * 1e9):
        return f"its recording ends before, at {clock.instant(last)}"
    return ""


def _conditions(
    conditions: Sequence[Condition],
) -> tuple[tuple[tuple[str, int], ...], tuple[Unjudged, ...]]:
    """Assets by state, and who is warming or blind: assets, then sensors of assets that are not."""
    counts = Counter(item.state for item in conditions if not item.sensor)
    off = {item.asset for item in conditions if not item.sensor and item.state in STATES[2:]}
    unjudged = [
        Unjudged(item.asset, item.sensor, item.state, item.detail) for item in conditions
        if item.state in STATES[2:] and (not item.sensor or item.asset not in off)
    ]
    unjudged.sort(key=lambda item: bool(item.sensor))
    order = {state: place for place, state in enumerate(STATES)}
    counted = sorted(counts.items(), key=lambda item: order.get(item[0], len(order)))
    return tuple(counted), tuple(unjudged)


def _reasons(items: Sequence[Unjudged]) -> str:
    """One reason for items alike; how far each has come becomes a range."""
    state, detail = items[0].state, items[0].detail
    counts = [int(found[1]) for item in items if (found := _PROGRESS.match(item.detail))]
    if counts and min(counts) < max(counts):
        detail = _PROGRESS.sub(f"{min(counts):,} to {max(counts):,} of ", detail)
    return f"{state} ({detail})" if detail else state


def _verdict(interval: tuple[float, float], budget: float) -> str:
    low, high = interval
    if low > budget:
        return "that is more than promised"
    if high < budget:
        return "that is fewer than promised"
    doubt = "" if high < 2.0 * low else ", as far as so few alerts can tell"
    return f"that agrees with the promise{doubt}"


def _noun(leads: Sequence[Lead]) -> str:
    kinds = {kind_of(lead.failure) for lead in leads}
    return kinds.pop() if len(kinds) == 1 else "failure"


def kind_of(failure: Failure) -> str:
    """The kind of a failure in words."""
    return failure.kind.replace("_", " ") or "failure"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

