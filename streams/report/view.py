"""What the page shows and in which order: every limit of the page is here.

A recording may hold a hundred thousand machines and alerts; a page a person reads holds a few. The
most interesting come first, and what is left out is counted in words. No HTML here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anomaly.evaluate import Failure
from streams.report.charts import Chart, Mark, Piece, Span, merged
from streams.report.collector import GAP_FACTOR, Case, ReportCollector, rank
from streams.report.summary import Summary
from streams.report.words import number, plural

#: Machines with a lane, and with charts of their own.
LANES, DETAILED = 40, 12
#: Machines shown with charts when nothing happened on any: a page without a picture says nothing.
DETAILED_QUIET = 3
#: Sensors charted over the whole recording, per machine.
SENSORS = 3
#: Alerts with a card and charts: on the page, and per machine.
CARDS, CARDS_PER_ASSET = 48, 10
#: Alerts listed in a line each where there is no room for a card, per machine.
LISTED = 50

KINDS = {
    "level": "off its usual level", "drift": "drift", "pattern": "unusual pattern",
    "forecast": "unexpected course", "coupling": "sensors no longer fit together",
    "rate": "counts above usual", "sensor_fault": "sensor fault", "data_gap": "data gap",
    "stop_expected": "interruption expected",
}


@dataclass(frozen=True, slots=True)
class AssetView:
    """One machine as the page shows it: all its alerts in time order, those with cards chosen."""

    index: int
    name: str
    cases: tuple[Case, ...]
    cards: tuple[Case, ...]
    failures: tuple[Failure, ...]
    state: str
    detail: str


class View:
    """The collector's contents arranged for the page.

    Attributes
    ----------
    assets : list of AssetView
        All machines with rows, the most interesting first.
    span : Span
        The whole recording.
    """

    def __init__(self, collector: ReportCollector, summary: Summary) -> None:
        self.collector = collector
        self.summary = summary
        self.span = Span(summary.first_ns, summary.last_ns, collector.clock)
        ordered = sorted(collector.cases.values(), key=lambda case: (case.begin_ns, case.id))
        self._numbers = {case.id: place + 1 for place, case in enumerate(ordered)}
        by_asset: dict[str, list[Case]] = {}
        for case in ordered:
            by_asset.setdefault(case.asset, []).append(case)
        failures: dict[str, list[Failure]] = {}
        for failure in collector.failures:
            failures.setdefault(failure.asset, []).append(failure)
        states = {item.asset: (item.state, item.detail)
                  for item in collector.conditions() if not item.sensor}
        counters = collector.assets
        names = [(index, name) for index, name in enumerate(collector.registry.assets)
                 if counters["rows"][index]]
        names.sort(key=lambda item: _interest(item, by_asset, failures))
        self.assets: list[AssetView] = []
        cards = 0
        for index, name in names:
            cases = by_asset.get(name, [])
            own = sorted(cases, key=lambda case: case.grade, reverse=True)[:CARDS_PER_ASSET]
            own = own[: CARDS - cards] if len(self.assets) < DETAILED else []
            cards += len(own)
            own.sort(key=lambda case: case.begin_ns)
            state, detail = states.get(name, ("", ""))
            self.assets.append(AssetView(index, name, tuple(cases), tuple(own),
                                         tuple(failures.get(name, [])), state, detail))
        self._marks: dict[int, list[Mark]] = {}
        self._cards = {case.id for asset in self.assets for case in asset.cards}

    @property
    def lanes(self) -> list[AssetView]:
        """Machines on the timeline."""
        return self.assets[:LANES]

    @property
    def detailed(self) -> list[AssetView]:
        """Machines with charts of their own."""
        eventful = [asset for asset in self.assets[:DETAILED] if asset.cases or asset.failures]
        return eventful or self.assets[:DETAILED_QUIET]

    def number(self, case_id: str) -> int:
        """What the page calls an alert: its place in order of firing."""
        return self._numbers[case_id]

    def anchor(self, case_id: str) -> str:
        """Fragment of the alert's card; empty if it has none."""
        return f"alert-{self._numbers[case_id]}" if case_id in self._cards else ""

    def gap_ns(self, asset: int) -> int:
        """Step between rows that breaks a line; 0 while the usual one is unknown."""
        seconds = self.collector.row_seconds(asset)
        least = self.collector.least_gap_seconds
        return round(max(GAP_FACTOR * seconds, least) * 1e9) if seconds == seconds else 0

    def marks(self, asset: AssetView) -> list[Mark]:
        """The machine's alerts; a data gap is marked from its onset, as it is told once over."""
        known = self._marks.get(asset.index)
        if known is not None:
            return known
        clock = self.collector.clock
        last_ns = int(self.collector.assets["last_ns"][asset.index])
        marks = self._marks[asset.index] = []
        for case in asset.cases:
            begin = case.onset_ns if case.kind == "data_gap" else case.begin_ns
            label = (f"Alert {self.number(case.id)}, {title(case)}, {case.severity}: "
                     f"{clock.instant(case.begin_ns)}, {self.lasted(case)}")
            marks.append(Mark(min(case.onset_ns, begin), begin, min(case.end_ns, last_ns),
                              self.anchor(case.id), style(case), label))
        return marks

    def lasted(self, case: Case) -> str:
        """How long it fired, in words."""
        last_ns = int(self.collector.assets["last_ns"][self.collector.registry.asset(case.asset)])
        seconds = max(0, min(case.end_ns, last_ns) - case.begin_ns) / 1e9
        if case.kind == "data_gap":
            seconds = max(0, case.begin_ns - case.onset_ns) / 1e9
        told = self.collector.clock.duration(seconds)
        return f"still firing after {told}" if case.is_open else f"lasted {told}"

    def sensors(self, asset: AssetView) -> list[int]:
        """Columns to chart: those that the alerts blamed most, else the first."""
        names = self.collector.registry.sensors[asset.index]
        blame = dict.fromkeys(range(len(names)), 0.0)
        place = {name: column for column, name in enumerate(names)}
        for case in asset.cases:
            for part in case.contributions:
                if part.sensor in place:
                    blame[place[part.sensor]] += part.share
        ranked = sorted(blame, key=lambda column: (-blame[column], column))
        drawn = [c for c in ranked if self.collector.timeline.tracked(asset.index, c)]
        return drawn[:SENSORS]

    def value(self, asset: AssetView, sensor: str, value: float) -> str:
        """A value of one sensor; what is nothing beside its whole range is told as 0."""
        names = self.collector.registry.sensors[asset.index]
        column = names.index(sensor) if sensor in names else len(names)
        envelope = self.collector.timeline.envelope(asset.index, column)
        if envelope is not None:
            reach = max(abs(float(envelope.low.min())), abs(float(envelope.high.max())))
            value = 0.0 if abs(value) < 1e-9 * reach else value
        return number(value)

    def overview(self, asset: AssetView, column: int) -> Chart | None:
        """One sensor over the whole recording."""
        envelope = self.collector.timeline.envelope(asset.index, column)
        if envelope is None:
            return None
        name = self.collector.registry.sensors[asset.index][column]
        low, high = number(float(envelope.low.min())), number(float(envelope.high.max()))
        described = (f"{name} of {asset.name} over the whole recording, between {low} and {high}, "
                     f"with {plural(len(asset.cases), 'alert')} marked.")
        return Chart(
            self.span, name, "", described, envelope, self.band(asset.index, column),
            merged(self.span, self.marks(asset)), [f.time_ns for f in asset.failures],
            self.gap_ns(asset.index), shares_zoom=True,
        )

    def rarity(self, asset: AssetView) -> Chart | None:
        """How odd the machine's rows were over the whole recording."""
        envelope = self.collector.timeline.rarity(asset.index)
        if envelope is None:
            return None
        described = f"How rare the oddest rows of {asset.name} are, over the whole recording."
        note = "how seldom a row this odd comes while the machine is healthy; up is rarer"
        return Chart(
            self.span, "Rarity", note, described, envelope, (),
            merged(self.span, self.marks(asset)), [f.time_ns for f in asset.failures],
            self.gap_ns(asset.index), is_rarity=True, shares_zoom=True,
        )

    def closeups(self, asset: AssetView, case: Case) -> list[Chart]:
        """The sensors that the alert blames, around it."""
        if case.closeup is None:
            return []
        seconds = self.collector.row_seconds(asset.index)
        charts = []
        for column in case.closeup.columns.tolist():
            envelope = case.closeup.envelope(column, seconds * 1e9 if seconds == seconds else 0.0)
            if envelope is None:
                continue
            span = Span(int(envelope.time_ns[0]), int(envelope.time_ns[-1]) + envelope.width_ns,
                        self.collector.clock)
            name = self.collector.registry.sensors[asset.index][column]
            described = f"{name} of {asset.name} around alert {self.number(case.id)}."
            near = [m for m in self.marks(asset) if span.overlaps(m.onset_ns, m.end_ns)]
            charts.append(Chart(
                span, name, "", described, envelope, self.band(asset.index, column),
                merged(span, near), [f.time_ns for f in asset.failures], self.gap_ns(asset.index),
            ))
        return charts

    def band(self, asset: int, column: int) -> list[Piece]:
        """The sensor's expected band; the first piece begins where judging began."""
        band = self.collector.bands.get(asset)
        if band is None:
            return []
        begin = int(self.collector.assets["first_judged_ns"][asset])
        pieces = []
        for until, low, centre, high in zip(
            band.until_ns, band.low, band.centre, band.high, strict=True
        ):
            if column < low.size:
                pieces.append(Piece(begin, until, float(low[column]), float(centre[column]),
                                    float(high[column])))
            begin = until
        return pieces


def style(case: Case) -> str:
    """The CSS class of a case."""
    if case.of_data:
        return "data"
    if rank(case.severity) <= rank("low"):
        return "low"
    return "medium" if rank(case.severity) < rank("major") else "high"


def title(case: Case) -> str:
    """The kind in words."""
    return KINDS.get(case.kind, case.kind.replace("_", " "))


def _interest(
    item: tuple[int, str],
    cases: dict[str, list[Case]],
    failures: dict[str, list[Failure]],
) -> tuple[bool, tuple[float, float], int, int]:
    """Sorts machines: those that failed, then by their gravest alert, then by how many."""
    index, name = item
    own: Sequence[Case] = cases.get(name, [])
    grade = max((case.grade for case in own if not case.of_data), default=(-1, 0.0))
    return name not in failures, (-grade[0], -grade[1]), -len(own), index
