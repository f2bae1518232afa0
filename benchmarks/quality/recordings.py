"""What a detection method is given, and what it gives back.

A method sees a `Recording` and nothing else: no label, no set name that means anything, no future.
It answers with a `Verdict`.  What is true about the recording (events, healthy rows) stands in
`truth.Case`, which a method never gets.  Here live only these types, the budget's words and the one
way to make alert spans out of a row column; reading files is `datasets`' work.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

NANOSECONDS = 1_000_000_000
WEEK_SECONDS = 604_800.0

#: Sets without a clock get this many seconds a row, so that one a week is one per 10,000 rows.
ROW_SECONDS_WITHOUT_CLOCK = WEEK_SECONDS / 10_000

_UNIT_SECONDS = {
    "hour": 3_600.0,
    "day": 86_400.0,
    "week": WEEK_SECONDS,
    "month": 30.436875 * 86_400.0,
}


@dataclass(frozen=True)
class Recording:
    """One file as a method sees it, in time order.

    Attributes
    ----------
    name : str
        Name for messages; carries no meaning.
    names : tuple of str
        Sensor names, length d.
    time_ns : int64[n]
        Event time, nanoseconds since the epoch; never decreasing within an asset.
    asset : int64[n]
        Machine of each row; all 0 where there is one machine.
    x : float64[n, d]
        Readings; NaN where there is none.
    """

    name: str
    names: tuple[str, ...]
    time_ns: IntArray
    asset: IntArray
    x: FloatArray

    @property
    def row_count(self) -> int:
        """Rows in the file."""
        return int(self.time_ns.shape[0])

    @property
    def is_fleet(self) -> bool:
        """Whether more than one machine is in the file."""
        return bool(self.row_count) and bool(np.any(self.asset != self.asset[0]))


@dataclass(frozen=True)
class AlertSpan:
    """One alert: it begins at the row where it fires, never at an onset that looks back.

    Attributes
    ----------
    asset : int
        Machine.
    fired_row, fired_ns : int
        Row of the file and time at which it fired.
    resolved_row, resolved_ns : int
        First row and time at which it no longer fires; −1 where it never resolved.
    onset_ns : int
        When the program believes the trouble began; never used for scoring.
    sensors : tuple of str
        Contributing sensors, the strongest first; may be empty.
    kind : str
        The program's word for the kind of alert; may be empty.
    """

    asset: int
    fired_row: int
    fired_ns: int
    resolved_row: int = -1
    resolved_ns: int = -1
    onset_ns: int = -1
    sensors: tuple[str, ...] = ()
    kind: str = ""


@dataclass(frozen=True)
class Verdict:
    """What a method says about a recording.

    Attributes
    ----------
    score : float64[n]
        High is odd; NaN is no opinion and ranks below any opinion.
    return_period_s : float64[n]
        How seldom a row this odd comes while healthy, seconds; NaN is no opinion.
    alert : int8[n]
        1 where an alert is firing at this row.
    alerts : tuple of AlertSpan
        In order of firing.
    note : str
        A limit the method worked under ("every 7th row"), or empty.
    """

    score: FloatArray
    return_period_s: FloatArray
    alert: NDArray[np.int8]
    alerts: tuple[AlertSpan, ...] = field(default=())
    note: str = ""


class Method(Protocol):
    """A detection method: no setting differs from recording to recording."""

    def __call__(self, recording: Recording, warm_up_rows: int, budget: str) -> Verdict:
        """Judge the recording; the score at a row may depend only on rows up to that row."""
        ...


def budget_seconds(budget: str) -> float:
    """Seconds a machine may run for each false alarm under a budget such as ``"1/week"``.

    Raises
    ------
    ValueError
        If the text is not ``COUNT/UNIT`` with a positive count and a known unit.
    """
    count_text, slash, unit = budget.partition("/")
    try:
        count = float(count_text)
    except ValueError:
        count = 0.0
    if not slash or count <= 0 or unit not in _UNIT_SECONDS:
        raise ValueError(f"budget {budget!r} is not COUNT/{'|'.join(_UNIT_SECONDS)}")
    return _UNIT_SECONDS[unit] / count


def row_seconds(recording: Recording) -> float:
    """Median seconds between two rows of one machine; 60.48 where that cannot be told."""
    gaps = [np.diff(recording.time_ns[recording.asset == a]) for a in np.unique(recording.asset)]
    joined = np.concatenate(gaps) if gaps else np.zeros(0, np.int64)
    joined = joined[joined > 0]
    return float(np.median(joined)) / NANOSECONDS if joined.size else ROW_SECONDS_WITHOUT_CLOCK


def alert_spans(recording: Recording, alert: NDArray[np.int8]) -> tuple[AlertSpan, ...]:
    """Spans of the rows marked 1, machine by machine, in order of firing.

    Parameters
    ----------
    recording : Recording
        The recording the rows belong to.
    alert : int8[n]
        1 where firing.
    """
    spans = []
    for asset in np.unique(recording.asset):
        rows = np.flatnonzero(recording.asset == asset)
        on = np.concatenate(([0], (alert[rows] != 0).astype(np.int8), [0]))
        edges = np.diff(on)
        for first, stop in zip(
            np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True
        ):
            fired = int(rows[first])
            resolved = int(rows[stop]) if stop < rows.size else -1
            spans.append(
                AlertSpan(
                    asset=int(asset),
                    fired_row=fired,
                    fired_ns=int(recording.time_ns[fired]),
                    resolved_row=resolved,
                    resolved_ns=int(recording.time_ns[resolved]) if resolved >= 0 else -1,
                    onset_ns=int(recording.time_ns[fired]),
                )
            )
    return tuple(sorted(spans, key=lambda span: (span.fired_row, span.asset)))


def verdict_from_rows(
    recording: Recording,
    score: FloatArray,
    alert: NDArray[np.int8],
    return_period_s: FloatArray | None = None,
    note: str = "",
) -> Verdict:
    """Verdict of a method that only marks rows; its spans are the runs of marked rows.

    Raises
    ------
    ValueError
        If a column has not one entry per row.
    """
    period = np.full(recording.row_count, np.nan) if return_period_s is None else return_period_s
    for column, shape in (("score", score.shape), ("alert", alert.shape), ("period", period.shape)):
        if shape != (recording.row_count,):
            raise ValueError(f"{column}: shape {shape}, expected ({recording.row_count},)")
    return Verdict(
        score=np.asarray(score, np.float64),
        return_period_s=np.asarray(period, np.float64),
        alert=np.asarray(alert, np.int8),
        alerts=alert_spans(recording, np.asarray(alert, np.int8)),
        note=note,
    )
