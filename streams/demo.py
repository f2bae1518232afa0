"""``andon demo``: a simulated shift through the real service loop, as fast as the machine can.

No broker, no container, no configuration. The line and its troubles come from ``simulate``; what
happens to their readings is exactly what happens to real ones: same loop, same engine, same sinks,
only source and clock are others. At the end the truth, which the engine never saw, is laid beside
what was said.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, TypeVar

import numpy as np

from anomaly.batches import Alert, Int64, reading_batch
from anomaly.config import MonitorConfig, parse_budget
from anomaly.evaluate import Failure
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams.codec import Batch
from streams.errors import EXIT_OK, OutputError, UsageError
from streams.page import rehearsal
from streams.page.rehearsal import Rehearsal
from streams.progress import Progress
from streams.report.collector import Case, ReportCollector
from streams.report.words import duration, plural
from streams.service import Lane, SystemClock, run
from streams.simulate import (
    Chunk,
    Injection,
    LineConfig,
    PlannedStop,
    ProductRun,
    Shift,
    demo_recording,
    simulate,
)
from streams.simulation.injections import failure_seconds
from streams.sinks import AlertFile, AlertPrinter, ReportSink, Sink
from streams.times import iso

#: The day before is there to learn from, for a night does not tell how warm a hall gets by day; the
#: early shift is judged from its first half hour on.
DAY_SECONDS = 24 * 3_600.0
LEARNING_SECONDS = DAY_SECONDS + 1_800.0
#: Between rows; the line's slowest machine needs 30 s for a part.
ROW_SECONDS = 5.0
#: False alarms accepted per machine. A rarity of once a week cannot be told from one day of
#: learning; once a day can.
BUDGET = "1/day"
#: Simulated time handed over at once; alerts are printed at least this often.
CHUNK_SECONDS = 300.0
#: The same where somebody watches.
WATCHED_SECONDS = 30.0
#: What is watched: all that the machines say. Totals (parts, rejects, energy) tell the cycles and
#: what they cost; no detector of levels sees them.
COLUMNS = ("power_kilowatts", "current_amperes", "motor_celsius", "bearing_celsius",
           "vibration_millimetres_per_second", "pressure_bar", "cycle_seconds", "parts_count",
           "rejects_count", "energy_kilowatt_hours", "state")
#: An alert this long after a trouble has ended is still about it.
_AFTERMATH_SECONDS = 900.0

_Dated = TypeVar("_Dated", Injection, ProductRun, PlannedStop)


class SimulatedClock:
    """The time in the simulated hall: where the source has got to."""

    def __init__(self, start_ns: int) -> None:
        self.time_ns = start_ns

    def seconds(self) -> float:
        """Seconds since 1970 in the hall."""
        return self.time_ns / 1e9


class SimulatedSource:
    """Chunks of the simulated line; moves the clock as it hands them over."""

    def __init__(
        self, config: LineConfig, injections: Sequence[Injection], clock: SimulatedClock,
        pace: Callable[[int], None] | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._pace = pace
        self._chunks = simulate(
            config, injections, chunk_seconds=CHUNK_SECONDS if pace is None else WATCHED_SECONDS)
        self._rows = 0

    @property
    def fraction(self) -> float:
        """How much of the shift is over, 0..1."""
        passed = (self._clock.time_ns - self._config.start_time_ns) / 1e9
        return passed / self._config.duration_seconds

    def poll(self) -> Mapping[int, Chunk] | None:
        """The next minutes of the shift; None when it is over."""
        chunk = next(self._chunks, None)
        if chunk is None:
            return None
        self._rows += chunk.time_ns.size
        self._clock.time_ns = int(chunk.time_ns.max())
        judged = self._clock.time_ns >= self._config.start_time_ns + LEARNING_SECONDS * 1e9
        if self._pace is not None and judged:  # the day before is not waited for
            self._pace(self._clock.time_ns)
        return {0: chunk}

    def positions(self) -> Mapping[int, Mapping[str, object]]:
        """``{"row": n}``: n rows have been handed over."""
        return {0: {"row": self._rows}}

    def commit(self) -> None:
        """A simulation has nothing to give back."""


class ChunkDecoder:
    """Wide rows of the simulator as batches; the warm-up ends after ``learning_rows`` of them."""

    def __init__(self, registry: Registry, names: Sequence[str], learning_rows: int) -> None:
        self._registry = registry
        self._names = names
        self._learning_rows = learning_rows
        self._rows = 0

    def decode(self, chunk: Chunk) -> Iterator[Batch]:
        """The chunk's rows in order, cut where the warm-up ends."""
        total, start = chunk.time_ns.size, 0
        while start < total:
            left = self._learning_rows - self._rows
            end = start + left if 0 < left < total - start else total
            yield self._batch(chunk, slice(start, end))
            start = end

    def _batch(self, chunk: Chunk, part: slice) -> Batch:
        position, time_ns, value = chunk.asset[part], chunk.time_ns[part], chunk.values[part]
        index = np.full(len(self._names), -1, np.int64)
        for used in np.unique(position).tolist():
            index[used] = self._registry.asset(self._names[used])
            self._registry.columns(int(index[used]), chunk.columns)
        asset: Int64 = index[position]
        rows, width = value.shape
        closes = np.zeros((rows, width), np.bool_)
        closes[:, -1] = True
        readings = reading_batch(
            np.repeat(asset, width), np.tile(np.arange(width), rows), np.repeat(time_ns, width),
            value.ravel(), closes.ravel(),
        )
        first_row = self._rows
        self._rows += rows
        return Batch(readings, first_row, time_ns, asset, np.arange(rows), width,
                     self._rows == self._learning_rows)


@dataclass(frozen=True, slots=True)
class PageOptions:
    """Where the demo's page is, and how much faster than ours the hall's time runs."""

    port: int
    speed: float


def demo(
    out: Path, seed: int, stdout: TextIO, stderr: TextIO, page: PageOptions | None = None
) -> int:
    """Run the demo; returns the exit code. With a page it serves until it is interrupted.

    Raises
    ------
    UsageError
        A negative seed, ``out`` is a file, or the page's port is taken.
    OutputError
        ``out`` cannot be written to.
    """
    if seed < 0:
        raise UsageError(f"--seed {seed}: must be 0 or more")
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: this is a file; name a directory")
    config, injections = with_day_before(*demo_recording(seed))
    names = [station.name for station in config.stations]
    judged_from = config.start_time_ns + round(LEARNING_SECONDS * 1e9)
    stdout.write(
        f"A simulated line of {len(names)} stations: {', '.join(names)}.\n"
        f"The engine learns what is usual from the day before, until {_clock_time(judged_from)}; "
        "then it judges the early shift,\nin which troubles begin that it knows nothing of. The "
        f"alert budget: {BUDGET.replace('/', ' a ')} and machine.\n\n"
    )
    stdout.flush()
    registry = Registry()
    learning_rows = round(LEARNING_SECONDS / config.row_interval_seconds)
    monitor = Monitor(
        MonitorConfig(warm_up_rows=learning_rows, budget_per_week=parse_budget(BUDGET)), registry
    )
    failures = _failures(config, injections)
    collector = ReportCollector(
        registry, monitor.config.budget_per_week, failures, "A simulated line, a day and a shift"
    )
    clock = SimulatedClock(config.start_time_ns)
    system_clock = SystemClock()
    started = system_clock.seconds()
    with ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            alert_file = AlertFile(out / "alerts.jsonl")
        except OSError as error:
            raise OutputError(f"{error.filename}: cannot be written: {error.strerror}") from error
        progress = Progress(stderr, lambda: source.fraction, system_clock)

        def say(alert: Alert) -> None:
            progress.hide()
            stdout.write(f"{_clock_time(alert.time_ns)}  {alert.sentence}\n")
            stdout.flush()

        sinks: list[Sink] = [alert_file, AlertPrinter(say), ReportSink(collector), progress]
        shown = None
        if page is not None:
            shown = Rehearsal(page.port, page.speed, monitor, out / "commands.jsonl")
            sinks.append(shown)
            stdout.write(f"The page: http://127.0.0.1:{shown.port}/ — {page.speed:g} seconds of "
                         "the hall are one here; Ctrl-C ends it.\n\n")
            stdout.flush()
        source = SimulatedSource(
            config, injections, clock, None if shown is None else shown.keep_pace)
        for sink in sinks:
            stack.callback(sink.close)
        decoder = ChunkDecoder(registry, names, learning_rows * len(names))
        run(source, lambda _: Lane(monitor, decoder), sinks, clock)
        progress.hide()
        _conclude(out, collector, _verdicts(config, injections, list(collector.cases.values())),
                  system_clock.seconds() - started, stdout)
        if shown is not None:
            stdout.write("The shift is over; the page stays until Ctrl-C.\n")
            stdout.flush()
            with suppress(KeyboardInterrupt):
                while True:
                    shown.apply()
                    time.sleep(rehearsal.LOOK_SECONDS)
    if page is None:
        stdout.write("Watch it live in a browser: andon demo --page\n")
    return EXIT_OK


def _conclude(
    out: Path, collector: ReportCollector, verdicts: Sequence[str], seconds: float, stdout: TextIO
) -> None:
    """Write the report, and say what came of it."""
    report = out / "report.html"
    collector.write(report)
    # The summary's own verdict on alerts is left out: it knows of stops only, not of the other
    # troubles in the table.
    summary = collector.summary()
    lines = ["", "What really happened, and what was said about it:",
             *verdicts, "",
             summary.headline(), summary.watched(),
             f"{collector.readings:,} readings in {seconds:.1f} s, kernels compiled or loaded "
             "included.",
             f"Written: {out / 'alerts.jsonl'}, {report} (open it in a browser)."]
    stdout.write("\n".join(lines).replace("\u00a0", " ") + "\n")


def with_day_before(
    config: LineConfig, injections: Sequence[Injection]
) -> tuple[LineConfig, tuple[Injection, ...]]:
    """The demo's shift with a healthy day in front: product change and cleaning included.

    A line that never saw a break, a product change or a restart cannot know that they are usual.
    """
    runs, stops = config.product_runs, config.planned_stops
    end_of_shift = ProductRun(8.0 * 3_600.0, 0)  # the late shift makes the first product
    every_day = tuple(range(7))
    longer = dataclasses.replace(
        config,
        columns=COLUMNS,
        row_interval_seconds=ROW_SECONDS,
        start_time_ns=config.start_time_ns - round(DAY_SECONDS * 1e9),
        duration_seconds=config.duration_seconds + DAY_SECONDS,
        shifts=(*config.shifts, Shift(14.0, 22.0, every_day, breaks=((17.0, 900.0),)),
                Shift(22.0, 30.0, every_day, breaks=((25.0, 900.0),))),
        product_runs=(*runs, end_of_shift, *map(_later, runs)),
        planned_stops=(*stops, *map(_later, stops)),
    )
    return longer, tuple(map(_later, injections))


def _later(one: _Dated) -> _Dated:
    """The same, a day later."""
    return dataclasses.replace(one, start_seconds=one.start_seconds + DAY_SECONDS)


def _failures(config: LineConfig, injections: Sequence[Injection]) -> list[Failure]:
    """The machine stops that the injections end in."""
    found = []
    for injection in injections:
        stop = failure_seconds(injection)
        if stop is not None:
            time_ns = config.start_time_ns + round(stop * 1e9)
            found.append(Failure(config.stations[injection.station].name, time_ns, "stop"))
    return found


def _verdicts(
    config: LineConfig, injections: Sequence[Injection], cases: Sequence[Case]
) -> list[str]:
    """One line per trouble: the first alert on that station while it lasted, or none."""
    lines = []
    left = {case.id: case for case in cases}
    for injection in sorted(injections, key=lambda one: one.start_seconds):
        name = config.stations[injection.station].name
        start_ns = config.start_time_ns + round(injection.start_seconds * 1e9)
        end_ns = start_ns + round((injection.duration_seconds + _AFTERMATH_SECONDS) * 1e9)
        what = f"  {_clock_time(start_ns)}  {name}: {injection.kind.replace('_', ' ')}"
        about = [c for c in cases if c.asset == name and start_ns <= c.begin_ns <= end_ns]
        for case in about:
            left.pop(case.id, None)
        stop = failure_seconds(injection)
        said = "not called"
        if about:
            first_ns = min(case.begin_ns for case in about)
            said = f"called after {duration((first_ns - start_ns) / 1e9)}"
            ahead = 0.0 if stop is None else stop - (first_ns - config.start_time_ns) / 1e9
            if ahead > 0:
                said += f", {duration(ahead)} before the machine stopped"
        lines.append(f"{what} — {said}")
        if stop is not None:
            stop_ns = config.start_time_ns + round(stop * 1e9)
            until_ns = stop_ns + round((config.repair_seconds + _AFTERMATH_SECONDS) * 1e9)
            around = [c.id for c in left.values() if stop_ns <= c.begin_ns <= until_ns]
            for name_of_case in around:
                del left[name_of_case]
            lines.append(f"         while {name} was repaired and the others stood: "
                         f"{plural(len(around), 'alert')}")
    lines.append(f"  Alerts that belong to none of these: {len(left)} (the budget accepts "
                 f"{BUDGET.replace('/', ' a ')} and machine)")
    return lines


def _clock_time(time_ns: int) -> str:
    return iso(time_ns)[11:16]
