"""Recordings for the tests of the report: streams of real columns with scripted alerts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from anomaly.announce import Condition
from anomaly.batches import Alert, Contribution, Float64, Int64, Outcome, RowBatch, ScoreBatch
from anomaly.evaluate import Failure, Window
from anomaly.registry import Registry
from streams.report import Clock, ReportCollector

SECOND, HOUR, DAY = 10**9, 3_600 * 10**9, 86_400 * 10**9
START = 1_709_251_200 * SECOND  # 1 March 2024
HOSTILE = '<script>alert("x")</script>&\'\u202e\x1b[2J\x00 http://evil.example/'


@dataclasses.dataclass
class Told:
    """The three things a report asks a monitor, from constants."""

    registry: Registry
    states: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    refused: dict[str, int] = dataclasses.field(default_factory=dict)

    def conditions(self) -> Sequence[Condition]:
        found = []
        for asset, sensors in zip(self.registry.assets, self.registry.sensors, strict=True):
            for sensor in ["", *sensors]:
                state = self.states.get(f"{asset}/{sensor}" if sensor else asset, ("trusted", ""))
                found.append(Condition(asset, sensor, *state))
        return found

    def bands(self, tags: Int64, asset: Int64) -> tuple[Float64, Float64, Float64]:
        centre = (self.registry.table[asset] == tags[:, None]).argmax(axis=1) * 10.0
        return centre - 3.0, centre, centre + 3.0

    def statement(self, asset: int) -> None:
        return None

    def rejected(self) -> dict[str, int]:
        return {"accepted": 5, **self.refused}


def registry(assets: Iterable[str], sensors: Sequence[str]) -> Registry:
    made = Registry()
    for name in assets:
        made.columns(made.asset(name), sensors)
    return made


def outcome(
    asset: Int64, time_ns: Int64, x: Float64, alerts: Sequence[Alert] = (),
    score: Float64 | None = None, alert: Int64 | None = None,
) -> Outcome:
    m = asset.size
    score = np.ones(m) if score is None else score
    firing = np.zeros(m, np.int8) if alert is None else alert.astype(np.int8)
    rows = RowBatch(asset, time_ns, x, np.arange(m))
    scores = ScoreBatch(score, 1e4 * score, firing, np.zeros((m, 1)))
    return Outcome(rows, scores, tuple(alerts), np.zeros(x.size, np.int8))


def life(
    asset: str, begin_ns: int, end_ns: int | None, sensors: Sequence[str], kind: str = "level",
    severity: str = "medium", onset_ns: int | None = None,
) -> list[Alert]:
    """Pending, firing and, unless ``end_ns`` is None, resolved."""
    onset = begin_ns if onset_ns is None else onset_ns
    parts = tuple(
        Contribution(name, 1.0 / (place + 2), 10.0, 15.5) for place, name in enumerate(sensors)
    )
    at = [("pending", onset), ("firing", begin_ns)]
    at += [("resolved", end_ns)] if end_ns is not None else []
    return [
        Alert(f"{asset}{kind}{begin_ns}", asset, kind, state, severity, onset, time_ns, 3e6, parts,
              (3_600.0, 7_200.0, 90_000.0), f"{asset}: {', '.join(sensors)} is odd.")
        for state, time_ns in at
    ]


def stream(
    collector: ReportCollector, monitor: Told, days: float = 20.0, step_seconds: int = 600,
    alerts: Sequence[Alert] = (), batch: int = 700, warming: int = 100,
    absent: tuple[int, int] = (0, 0),
) -> None:
    """Rows of every asset of the registry at every step; rows in ``absent`` (of asset 0) fail."""
    assets = len(collector.registry.assets)
    sensors = len(collector.registry.sensors[0])
    rows = round(days * 86_400 / step_seconds)
    step = np.repeat(np.arange(rows), assets)
    asset = np.tile(np.arange(assets), rows)
    there = ~((asset == 0) & (step >= absent[0]) & (step < absent[1]))
    step, asset = step[there], asset[there]
    x = np.random.default_rng(1).normal(size=(step.size, sensors)) + 10.0 * np.arange(sensors)
    time_ns = START + step * step_seconds * SECOND
    score = np.where(step < warming, np.nan, 1.0)
    left = sorted(alerts, key=lambda alert: alert.time_ns)
    for begin in range(0, step.size, batch):
        part = slice(begin, begin + batch)
        last = int(time_ns[part][-1])
        now = [alert for alert in left if alert.time_ns <= last]
        left = left[len(now):]
        collector.collect(outcome(asset[part], time_ns[part], x[part], now, score[part]), monitor)


def collected(
    assets: Sequence[str] = ("press-1", "saw-2"), failures: Sequence[Failure] = (),
    alerts: Sequence[Alert] = (), clock: Clock | None = None, window: Window | None = None,
    sensors: Sequence[str] = ("bearing", "motor", "oil"), batch: int = 700,
    states: dict[str, tuple[str, str]] | None = None, absent: tuple[int, int] = (0, 0),
    title: str = "line.csv",
) -> ReportCollector:
    collector = ReportCollector(registry(assets, sensors), 1.0, failures, title, clock, window)
    monitor = Told(collector.registry, states or {}, {"late": 3})
    stream(collector, monitor, alerts=alerts, batch=batch, absent=absent)
    return collector


def page_of(collector: ReportCollector, folder: Path) -> str:
    path = folder / "report.html"
    collector.write(path)
    return path.read_text(encoding="utf-8")
