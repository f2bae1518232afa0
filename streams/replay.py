"""``andon replay``: what would the program have said about these recordings? Wiring and words.

Files in, ``alerts.jsonl``, scores, ``rejected.jsonl`` and ``report.html`` out, through the same
loop as the live service. Deterministic: the same input gives the same bytes. Everything that is
said to a person about how their file was understood is said here.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from anomaly import memory_plan, vibration
from anomaly.batches import Float64
from anomaly.config import MonitorConfig, parse_budget
from anomaly.errors import ConfigError
from anomaly.evaluate import Failure, Window
from anomaly.monitor import Monitor
from anomaly.regimes import NONE
from anomaly.registry import Registry
from streams import fast_rows, pace
from streams import settings as settings_module
from streams.codec import FrameDecoder
from streams.errors import EXIT_OK, InputError, OutputError, UsageError
from streams.failures import read_failures
from streams.layout import Layout, RowFormat
from streams.planning import Planning
from streams.progress import Progress
from streams.recordings import Recording, open_recording
from streams.rejections import Rejections
from streams.report.collector import ReportCollector
from streams.report.timeline import Timeline
from streams.report.words import Clock as ToldClock
from streams.report.words import listed, printable, short
from streams.service import Lane, SystemClock, run
from streams.settings import Settings
from streams.sinks import AlertFile, ReportSink, ScoreFile, Sink
from streams.sources import FileSource
from streams.times import NumberFormat
from streams.words import Words

#: Descriptions of files printed one by one; of more, only the first ones are.
_READ_FROM_LIMIT = 5
_DESCRIBED_FILES = 3
#: Of how many machines the sensors are looked at for counters, and in how many pieces one rises.
_COUNTER_ASSETS, _COUNTER_PIECES = 100, 30


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """The command line of ``andon replay``; None and "" = not given."""

    files: tuple[Path, ...]
    out: Path
    scores: Path | None = None
    config: Path | None = None
    warm_up_rows: int | None = None
    budget: str | None = None
    failures: Path | None = None
    asset_column: str = ""
    time_column: str = ""
    row_seconds: float | None = None
    report: bool = True
    quiet: bool = False


def replay(options: ReplayOptions, stdout: TextIO, stderr: TextIO) -> int:
    """Replay recordings; returns the exit code.

    Raises
    ------
    StreamsError
        Before anything is written, except ``InputError`` for a file that turns out to be damaged
        further on: then the outputs hold what came before.
    """
    settings, chosen = _choose(options, _settings(options))
    words = Words.of(settings.monitor)
    recordings = [open_recording(path, settings.input, words) for path in options.files]
    failures = _failures(options, settings, recordings)
    _check_outputs(options)
    if not options.quiet:
        for text in _understood(recordings):
            stderr.write(f"{text}\n")
        stderr.flush()
    session = _Session(options, settings, recordings, failures, chosen)
    damage = session.run(stderr)
    if not options.quiet:
        for text in session.lines():
            stdout.write(f"{text}\n")
    if damage is not None:
        raise damage
    return EXIT_OK


class _Session:
    """Everything that lives from the first row to the summary."""

    def __init__(
        self, options: ReplayOptions, settings: Settings, recordings: Sequence[Recording],
        failures: Sequence[Failure], chosen: str,
    ) -> None:
        self.options = options
        self.chosen = chosen
        self.recordings = recordings
        self.registry = Registry(tag_limit=memory_plan.plan(settings.monitor).tag_limit)
        self.monitor = Monitor(settings.monitor, self.registry)
        self.planning = Planning(settings.calendar)
        self.rejections = Rejections(settings.replay.rejected_sample)
        self.decoder = FrameDecoder(
            self.registry, self.rejections, options.warm_up_rows or 0
        )
        self.source = FileSource(recordings)
        self.clock = SystemClock()
        self.seconds = 0.0
        self.collector = ReportCollector(
            self.registry, settings.monitor.budget_per_week, failures, _title(options.files),
            _told_clock([recording.layout for recording in recordings]), _window(settings),
            settings.monitor.windows.later_row_seconds or 0.0,
        )
        self.outputs: list[Path] = []

    def run(self, stderr: TextIO) -> InputError | None:
        """Pass everything through and write every file; a damaged input is returned, not raised."""
        options = self.options
        damage: InputError | None = None
        started = self.clock.seconds()
        with ExitStack() as stack:
            sinks = self._open_sinks(stack, stderr)
            try:
                run(self.source, lambda _: Lane(
                    self.monitor, self.decoder, planning=self.planning), sinks, self.clock)
            except InputError as error:
                damage = error
        self.seconds = self.clock.seconds() - started
        self._write("rejected.jsonl", self.rejections.write)
        if options.report:
            self._write("report.html", self.collector.write)
        return damage

    def lines(self) -> list[str]:
        """The summary: what was read, what was said, what it is worth, where it is."""
        summary = self.collector.summary()
        rate = self.collector.readings / max(self.seconds, 1e-9)
        found = [
            f"Read {self.source.rows:,} rows with {self.collector.readings:,} readings from "
            f"{_title(self.options.files)} in {self.seconds:.1f} s ({rate:,.0f} readings/s).",
            f"Understood as {'; '.join([*_description(self.recordings[0]), *self._notes()])}.",
            *([self.chosen] if self.chosen else []),
            *self._read_from(),
            *summary.lines(),
        ]
        if self.registry.tag_count > self.monitor.plan.full_tags:
            found.append(f"{self.monitor.plan.sentence(self.registry.tag_count).capitalize()}.")
        if summary.warned is not None and summary.warned.outside:
            found.append(f"{len(summary.warned.outside)} of the failures given are of an asset or "
                         "a time that the recording lacks, and were not judged.")
        rejected = "; ".join(self.rejections.describe())
        found.append(f"Not usable as read: {rejected} (examples in rejected.jsonl)." if rejected
                     else "Every time and number could be read.")
        if self.options.warm_up_rows and self.options.warm_up_rows > self.source.rows:
            found.append(f"The input ended within the warm-up of {self.options.warm_up_rows:,} "
                         "rows: nothing could be judged.")
        found.append(f"Sensors: {conditions_in_words(self.monitor)}.")
        if not self.collector.clock.row_ns:
            found += pace_in_words(self.monitor)
        found += counters_in_words(self.monitor, self.collector.timeline)
        found += products_in_words(self.monitor)
        found += modes_in_words(self.monitor)
        found += zones_in_words(self.monitor)
        found.append(f"Written: {', '.join(str(path) for path in self.outputs)}.")
        return found

    def _read_from(self) -> list[str]:
        """Cycles and states that no sensor tells and a signal shows, with how sure that is."""
        told = [f"{printable(short(name))}: {printable(text)}."
                for name, told in self.collector.statements() for text in told.read_from]
        more = len(told) - _READ_FROM_LIMIT
        return [*told[:_READ_FROM_LIMIT], *([f"… and {more} more like these."] if more > 0 else [])]

    def _notes(self) -> list[str]:
        return [*self.recordings[0].layout.notes, *self.decoder.time_notes()]

    def _write(self, name: str, write: Callable[[Path], None]) -> None:
        path = self.options.out / name
        try:
            write(path)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
        self.outputs.append(path)

    def _open_sinks(self, stack: ExitStack, stderr: TextIO) -> list[Sink]:
        options = self.options
        sinks: list[Sink] = []
        try:
            options.out.mkdir(parents=True, exist_ok=True)
            alerts = options.out / "alerts.jsonl"
            sinks.append(AlertFile(alerts))
            self.outputs.append(alerts)
            if options.scores is not None:
                options.scores.parent.mkdir(parents=True, exist_ok=True)
                sinks.append(ScoreFile(options.scores, self.registry))
                self.outputs.append(options.scores)
        except OSError as error:
            raise OutputError(f"{error.filename}: cannot be written: {error.strerror}") from error
        if options.report or not options.quiet:
            sinks.append(ReportSink(self.collector))
        if not options.quiet:
            sinks.append(Progress(stderr, lambda: self.source.fraction, self.clock))
        for sink in sinks:
            stack.callback(sink.close)
        return sinks


def conditions_in_words(monitor: Monitor) -> str:
    """How many sensors are trusted, warming or blind, and why those that are not are not."""
    sensors = [item for item in monitor.conditions() if item.sensor]
    counts = Counter(item.state for item in sensors)
    reasons: dict[str, Counter[str]] = {}
    for item in sensors:
        if item.detail:
            reasons.setdefault(item.state, Counter())[item.detail] += 1
    parts = []
    for state, count in counts.most_common():
        why = [reason for reason, _ in reasons.get(state, Counter()).most_common(2)]
        parts.append(f"{count:,} {state}" + (f" ({'; '.join(why)})" if why else ""))
    return ", ".join(parts) or "none"


def pace_in_words(monitor: Monitor) -> list[str]:
    """That rows follow too fast for so rare an alarm, and what helps; nothing where they do not."""
    known = monitor.arrays()["reference"]["asset"]
    steps = known["interval_s"][: len(monitor.registry.assets)][known["ready"][
        : len(monitor.registry.assets)] == 1]
    text = fast_rows.advice(float(np.median(steps)), monitor.config) if steps.size else None
    return [text] if text else []


def counters_in_words(monitor: Monitor, timeline: Timeline) -> list[str]:
    """Sensors that only rise, as a counter does, and that nothing says to be one."""
    registry, known = monitor.registry, monitor.shop.counts(monitor.registry.tag_count)
    names: dict[str, None] = {}
    for a, sensors in enumerate(registry.sensors[:_COUNTER_ASSETS]):
        for c, sensor in enumerate(sensors):
            envelope = None if known[registry.table[a, c]] else timeline.envelope(a, c)
            if envelope is not None and _only_rises(envelope.low, envelope.high):
                names[sensor] = None
    if not names:
        return []
    one = len(names) == 1
    told = listed([f"`{printable(short(name))}`" for name in names], 3)
    return [f"{told} only {'rises' if one else 'rise'}, as a counter does: under [losses] "
            f"parts_sensor, rejects_sensor or energy_sensor {'it is' if one else 'they are'} "
            "judged by what is counted, not as a level."]


def _only_rises(low: Float64, high: Float64) -> bool:
    """Whether hardly any piece of the recording begins below the end of the piece before."""
    if low.size < _COUNTER_PIECES:
        return False
    rises = low[1:] >= high[:-1]
    return bool(rises.mean() >= 0.98 and (low[1:] > low[:-1]).mean() >= 0.5)


def products_in_words(monitor: Monitor) -> list[str]:
    """Which tags were taken for what is made by their names, which were not, and what to do."""
    settings, registry = monitor.config.regimes, monitor.registry
    modes, known = (monitor.arrays()[name] for name in ("regimes", "reference"))
    if settings.sensor or not settings.limit:
        return []
    found: dict[str, dict[str, None]] = {"taken": {}, "muted": {}, "left": {}}
    for a, sensors in enumerate(registry.sensors):
        own = modes["asset"][a]
        for name in monitor.config.mode_sensors(sensors) if known["asset"]["ready"][a] else ():
            column = sensors.index(name)
            taken = own["modes"] > 0 and own["ripe"] > 0 and (
                modes["tag"]["setting"][registry.table[a, column]] == 1)
            fate = "taken" if taken else "muted" if own["mute"] == column + 1 else "left"
            found[fate][name] = None
    told = {fate: listed([f"`{printable(short(name))}`" for name in names], 3)
            for fate, names in found.items()}
    forbid = f'taken by name, [regimes] sensor = "{NONE}" forbids it'
    words = []
    if told["taken"]:
        words.append(f"{told['taken']} tells what is made: each product is judged by what is usual "
                     f"for it, the tag itself is not judged ({forbid}).")
    if told["muted"]:
        words.append(f"{told['muted']} names what is made, but more than {settings.limit} products "
                     "or none that stands or comes back: all are judged as one, the tag itself is "
                     f"not judged ({forbid}).")
    if told["left"]:
        words.append(f"{told['left']} has a name of what is made, too, but was judged as any other "
                     "sensor: named as [regimes] sensor, it tells the product.")
    return words


def modes_in_words(monitor: Monitor) -> list[str]:
    """How machines that are run at several settings are judged; nothing where there are none."""
    details = Counter(
        item.detail for item in monitor.conditions()
        if not item.sensor and item.state == "trusted" and item.detail
    )
    return [f"{count:,} {'machine' if count == 1 else 'machines'} {detail}."
            for detail, count in details.most_common(3)]


def zones_in_words(monitor: Monitor) -> list[str]:
    """The latest vibration velocities by the zones of ISO 20816-3, the worst first."""
    frame, registry = monitor.config.windows.frame, monitor.registry
    if not frame.group:
        return []
    latest = [
        (float(value), f"{registry.assets[a]} {sensor.removesuffix('.' + vibration.VELOCITY)}")
        for a, sensors in enumerate(registry.sensors)
        for sensor, value in zip(sensors, monitor.latest(a), strict=True)
        if vibration.velocity_limit(frame, sensor) < float("inf") and value == value
    ]
    told = [f"{name} {value:.2f} mm/s, zone {vibration.zone(value, frame.group, frame.support)}"
            for value, name in sorted(latest, reverse=True)[:3]]
    return [f"Vibration by ISO 20816-3, group {frame.group}, {frame.support} support: "
            f"{'; '.join(told)}."] if told else []


def _settings(options: ReplayOptions) -> Settings:
    """The settings with what the command line says laid over them."""
    given: dict[str, object] = {}
    if options.budget is not None:
        try:
            parse_budget(options.budget)
        except ConfigError as error:
            raise UsageError(f"--budget: {str(error).removeprefix('budget: ')}") from error
        given["budget"] = options.budget
    if options.asset_column:
        given["input.asset_column"] = options.asset_column
    if options.time_column:
        given["input.time_column"] = options.time_column
    found = settings_module.load(options.config, given)
    if options.warm_up_rows is None:
        return found
    # The warm-up ends where the user says, not where an asset has had enough rows by itself.
    rows = max(options.warm_up_rows, found.monitor.minimum_warm_up_rows)
    return dataclasses.replace(
        found, monitor=dataclasses.replace(found.monitor, warm_up_rows=rows)
    )


def _choose(options: ReplayOptions, settings: Settings) -> tuple[Settings, str]:
    """The settings with the rows to judge on and to learn from, and what was chosen here, in words.

    Whoever counts the warm-up in rows of the file means these rows; and a score may depend on what
    came before it, never on how long the recording goes on, which the choice does.
    """
    monitor = settings.monitor
    seconds, rows = options.row_seconds, monitor.warm_up_rows
    if options.warm_up_rows is None and options.scores is None:
        given = monitor if seconds is None else _with_rows(monitor, seconds, rows)
        found = pace.choice_for(dataclasses.replace(settings, monitor=given), options.files,
                                seconds is None)
        if found is not None:
            monitor = _with_rows(monitor, found.row_seconds, found.warm_up_rows)
            return dataclasses.replace(settings, monitor=monitor), _chosen(
                found, seconds is None and found.row_seconds > 0, found.warm_up_rows > rows)
    if seconds is None:
        return settings, ""
    return dataclasses.replace(settings, monitor=_with_rows(monitor, seconds, rows)), ""


def _with_rows(monitor: MonitorConfig, seconds: float, warm_up_rows: int) -> MonitorConfig:
    try:
        windows = dataclasses.replace(monitor.windows, row_seconds=seconds)
    except ConfigError as error:
        raise UsageError(f"--row-seconds: {error}") from error
    return dataclasses.replace(monitor, windows=windows, warm_up_rows=warm_up_rows)


def _chosen(choice: pace.Choice, rows: bool, warm_up: bool) -> str:
    parts = []
    if rows:
        parts.append(
            f"judged on means of {choice.row_seconds:g} s, because rows follow too fast for the "
            "budget (--row-seconds 0 takes every row as it is; the live service's setting is "
            f"[windows] row_seconds = {choice.row_seconds:g})")
    if warm_up:
        parts.append(f"a machine is learned from its first {choice.warm_up_rows:,} rows, "
                     f"{pace.LEARNED_SHARE:.0%} of so long a recording (warm_up_rows)")
    return f"{'; '.join(parts).capitalize()}."


def _failures(
    options: ReplayOptions, settings: Settings, recordings: Sequence[Recording]
) -> list[Failure]:
    if options.failures is None:
        return []
    layouts = [recording.layout for recording in recordings]
    assets = {layout.asset for layout in layouts}
    if any(layout.asset_column is not None for layout in layouts):
        assets = set()
    return read_failures(options.failures, settings.input, assets)


def _check_outputs(options: ReplayOptions) -> None:
    """Refuse what would destroy an input or cannot be a file."""
    if options.out.exists() and not options.out.is_dir():
        raise UsageError(f"--out {options.out}: this is a file; name a directory")
    if options.scores is None:
        return
    if options.scores.suffix not in (".csv", ".parquet"):
        raise UsageError(f"--scores {options.scores}: the name must end in .parquet or .csv")
    if options.scores.is_dir():
        raise UsageError(f"--scores {options.scores}: this is a directory")
    if options.scores.resolve() in {path.resolve() for path in options.files}:
        raise UsageError(f"--scores {options.scores}: this is one of the inputs")


def _understood(recordings: Sequence[Recording]) -> list[str]:
    """How the files were understood, one line for each of the first, then for other ones."""
    lines: list[str] = []
    seen: set[tuple[str, ...]] = set()
    more = 0
    for recording in recordings:
        said = (*_description(recording), *recording.layout.notes)
        same = (*_description(recording, with_asset=False), *recording.layout.notes)
        if len(lines) < _DESCRIBED_FILES or same not in seen:
            lines.append(f"{recording.path}: {'; '.join(said)}")
        else:
            more += 1
        seen.add(same)
    if more:
        lines.append(f"… and {more} more {'files' if more > 1 else 'file'} like these")
    return lines


def _description(recording: Recording, with_asset: bool = True) -> list[str]:
    layout = recording.layout
    if layout.is_long:
        assert layout.sensor_column is not None
        assert layout.value_column is not None
        shape = (f"long, one reading per row (sensor {layout.names[layout.sensor_column]!r}, "
                 f"value {layout.names[layout.value_column]!r})")
    else:
        count = len(layout.sensors)
        shape = f"wide, {count:,} {'sensor' if count == 1 else 'sensors'}"
    parts = [recording.format, shape, f"time: {layout.describe_time()}"]
    if layout.asset_column is not None:
        parts.append(f"asset column {layout.names[layout.asset_column]!r}")
    elif with_asset:
        parts.append(f"one asset, {layout.asset!r}")
    return parts


def _title(files: Sequence[Path]) -> str:
    more = len(files) - 1
    return files[0].name + (f" and {more} more {'files' if more > 1 else 'file'}" if more else "")


def _told_clock(layouts: Sequence[Layout]) -> ToldClock:
    """Tell rows rather than dates where no file has a clock."""
    if not all(layout.counts_rows for layout in layouts):
        return ToldClock()
    form = layouts[0].time
    if isinstance(form, RowFormat):
        return ToldClock(form.step_ns)
    return ToldClock(form.unit_ns) if isinstance(form, NumberFormat) else ToldClock()


def _window(settings: Settings) -> Window | None:
    given = settings.replay
    if not given.horizon_seconds:
        return None
    return Window(given.horizon_seconds, given.minimum_seconds, given.aftermath_seconds)
