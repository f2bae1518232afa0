"""What is true about a recording: events, healthy rows, warm-up.  Methods never see it.

An event is a window of rows of one machine in which an alert must *begin*.  Where a failure time is
known the window is [failure − H, failure − L] and the merit is lead time; where a labelled window
is known it is the window and the merit is delay.  Both end as rows here, so that one rule judges
both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.quality.recordings import (
    NANOSECONDS,
    BoolArray,
    Recording,
    row_seconds,
)


@dataclass(frozen=True)
class Event:
    """A window of rows in which an alert on `asset` must begin.

    Attributes
    ----------
    asset : int
        Machine.
    first_row, last_row : int
        Rows of the file, both inclusive; `last_row` before `first_row` where there is none.
    reference_ns : int
        The failure's time (merit: lead) or the window's first time (merit: delay).
    is_failure : bool
        Whether the merit is lead time.
    """

    asset: int
    first_row: int
    last_row: int
    reference_ns: int
    is_failure: bool


@dataclass(frozen=True)
class Case:
    """One recording with its truth.

    Attributes
    ----------
    set_name : str
        Folder it comes from.
    recording : Recording
        What a method sees.
    warm_up_rows : int
        Rows of the *file* that are warm-up.
    events : tuple of Event
        Those that can still be warned of after warm-up.
    healthy : bool[n]
        Rows on which a beginning alert is a false alarm; none within warm-up.
    labels : bool[n] or None
        Rows inside labelled anomalies, for rankings; None where rows have no labels.
    group : str
        Kind of data within a set ("UCR"), or empty.
    part : str
        Part of a set ("eva"), or empty.
    ranked_from : int
        First row that rankings use; 0 but where a run of another file stands before.
    """

    set_name: str
    recording: Recording
    warm_up_rows: int
    events: tuple[Event, ...]
    healthy: BoolArray
    labels: BoolArray | None = None
    group: str = ""
    part: str = ""
    ranked_from: int = 0

    @property
    def healthy_rows(self) -> int:
        """Rows of healthy exposure."""
        return int(np.count_nonzero(self.healthy))

    @property
    def healthy_seconds(self) -> float:
        """Machine seconds of healthy exposure: rows times the usual interval; gaps do not count."""
        return self.healthy_rows * row_seconds(self.recording) if self.healthy_rows else 0.0


def make_case(
    set_name: str,
    recording: Recording,
    warm_up_rows: int,
    events: list[Event],
    healthy: BoolArray,
    labels: BoolArray | None = None,
    group: str = "",
    part: str = "",
    ranked_from: int = 0,
) -> Case:
    """Case with the rules applied that hold for every set: nothing counts inside the warm-up."""
    after = np.arange(recording.row_count) >= warm_up_rows
    kept = tuple(event for event in events if event.last_row >= warm_up_rows)
    return Case(
        set_name, recording, warm_up_rows, kept, healthy & after, labels, group, part, ranked_from
    )


def failure_event(
    recording: Recording, asset: int, failure_ns: int, horizon_seconds: float, latest_seconds: float
) -> Event:
    """Event for a failure: rows of the machine in [failure − H, failure − L], both inclusive.

    Where the machine has no row in that window the event is empty, cannot be hit and still counts.
    """
    start = failure_ns - round(horizon_seconds * NANOSECONDS)
    end = failure_ns - round(latest_seconds * NANOSECONDS)
    inside = (recording.asset == asset) & (recording.time_ns >= start) & (recording.time_ns <= end)
    rows = np.flatnonzero(inside)
    if rows.size:
        return Event(asset, int(rows[0]), int(rows[-1]), failure_ns, is_failure=True)
    failed = np.flatnonzero((recording.asset == asset) & (recording.time_ns >= failure_ns))
    row = int(failed[0]) if failed.size else recording.row_count
    return Event(asset, row, row - 1, failure_ns, is_failure=True)


def window_event(recording: Recording, first_row: int, last_row: int) -> Event:
    """Event for a labelled window of rows, both ends inclusive, cut to the file."""
    last = min(last_row, recording.row_count - 1)
    return Event(
        int(recording.asset[first_row]),
        first_row,
        last,
        int(recording.time_ns[first_row]),
        is_failure=False,
    )


def rows_of_events(row_count: int, spans: list[tuple[int, int]]) -> BoolArray:
    """bool[n] with the rows of all spans set, both ends inclusive."""
    labels = np.zeros(row_count, np.bool_)
    for first, last in spans:
        labels[first : last + 1] = True
    return labels


def windows_of(labels: BoolArray) -> tuple[tuple[int, int], ...]:
    """Runs of labelled rows as (first, last), both inclusive."""
    edges = np.diff(np.concatenate(([0], labels.astype(np.int8), [0])))
    pairs = zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1, strict=True)
    return tuple((int(first), int(last)) for first, last in pairs)


def first_quarter(recording: Recording, asset: int) -> BoolArray:
    """bool[n]: rows in the first quarter of a machine's life, by its own row count."""
    rows = np.flatnonzero(recording.asset == asset)
    healthy = np.zeros(recording.row_count, np.bool_)
    healthy[rows[: rows.size // 4]] = True
    return healthy


def share_warm_up(row_count: int) -> int:
    """The default warm-up: the first 15 % of the file's rows."""
    return int(0.15 * row_count)
