"""The engine itself, without files and without a process of its own: for ablations, and as a check.

The same recording through `Monitor.process`, cut where the command line cuts it (the warm-up's
end), must give the numbers that ``andon replay`` gives.  A configuration other than the default is
for finding out what a part is worth, never for a table of records: one fixed configuration is
judged.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.recordings import BoolArray, Method, Recording, Verdict
from benchmarks.quality.transitions import Transition, spans_of

if TYPE_CHECKING:
    from anomaly.batches import Alert
    from anomaly.config import MonitorConfig

_ROOT = Path(__file__).resolve().parents[2]
_READINGS_A_BATCH = 1 << 17


def source_files() -> list[Path]:
    """Every source file that decides what the engine answers."""
    return list((_ROOT / "anomaly").rglob("*.py"))


def andon_in_process(config: MonitorConfig | None = None) -> Method:
    """The engine as a method.

    Parameters
    ----------
    config : MonitorConfig, optional
        The default configuration unless given; budget and warm-up are set by each call.
    """
    from anomaly.config import MonitorConfig

    base = config or MonitorConfig()

    def run(recording: Recording, warm_up_rows: int, budget: str) -> Verdict:
        return _run(base, recording, warm_up_rows, budget)

    return run


def _run(base: MonitorConfig, recording: Recording, warm_up_rows: int, budget: str) -> Verdict:
    """Pass the recording through one monitor and line its rows up with the file's."""
    from anomaly.batches import reading_batch
    from anomaly.config import parse_budget
    from anomaly.monitor import Monitor
    from anomaly.registry import Registry

    registry = Registry()
    monitor = Monitor(
        dataclasses.replace(
            base,
            budget_per_week=parse_budget(budget),
            warm_up_rows=max(warm_up_rows, base.minimum_warm_up_rows),
        ),
        registry,
    )
    width = len(recording.names)
    index, columns = {}, {}
    for machine in dict.fromkeys(recording.asset.tolist()):
        index[machine] = registry.asset(str(machine))
        columns[machine] = registry.columns(index[machine], recording.names)
    score = np.full(recording.row_count, np.nan)
    period_s = np.full(recording.row_count, np.nan)
    alert = np.zeros(recording.row_count, np.int8)
    is_closed = np.zeros(recording.row_count, np.bool_)
    alerts: list[Alert] = []
    for first, stop in _cuts(recording.row_count, warm_up_rows, max(_READINGS_A_BATCH // width, 1)):
        machines = recording.asset[first:stop]
        closes = np.zeros((stop - first, width), np.bool_)
        closes[:, -1] = True
        outcome = monitor.process(
            reading_batch(
                np.repeat([index[machine] for machine in machines.tolist()], width),
                np.concatenate([columns[machine] for machine in machines.tolist()]),
                np.repeat(recording.time_ns[first:stop], width),
                recording.x[first:stop].ravel(),
                closes.ravel(),
            )
        )
        if stop == warm_up_rows:
            monitor.end_warm_up()
        rows = first + outcome.rows.closed_at // width
        score[rows] = outcome.scores.score
        period_s[rows] = outcome.scores.return_period_s
        alert[rows] = outcome.scores.alert
        is_closed[rows] = True
        alerts += outcome.alerts
    alerts += monitor.flush().alerts
    _hold(recording, alert, is_closed)
    return Verdict(score, period_s, alert, spans_of(recording, map(_transition, alerts)))


def _cuts(row_count: int, warm_up_rows: int, step: int) -> list[tuple[int, int]]:
    """Half-open ranges of rows; one boundary is exactly the warm-up's end."""
    bounds = sorted({*range(0, row_count, step), row_count, min(warm_up_rows, row_count)})
    return list(itertools.pairwise(bounds))


def _hold(recording: Recording, alert: NDArray[np.int8], is_closed: BoolArray) -> None:
    """A row that was refused keeps its machine's last alert flag, as in the scores file."""
    for machine in np.unique(recording.asset):
        rows = np.flatnonzero(recording.asset == machine)
        last = np.maximum.accumulate(np.where(is_closed[rows], np.arange(rows.size), -1))
        alert[rows] = np.where(last >= 0, alert[rows[np.maximum(last, 0)]], 0)


def _transition(step: Alert) -> Transition:
    return Transition(
        id=step.id,
        asset=step.asset,
        kind=step.kind,
        state=step.state,
        onset_ns=step.onset_ns,
        time_ns=step.time_ns,
        sensors=tuple(part.sensor for part in step.contributions),
    )
