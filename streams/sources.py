"""Where a stream comes from: the protocol that the service polls, and the source that reads files.

A source hands over raw pieces by partition; decoding them is the codec's business, so that the loop
is the same whether the pieces are frames of a file or records of a broker. Files are one partition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from streams.recordings import Frame, Recording

Raw_co = TypeVar("Raw_co", covariant=True)

#: Files have one partition, so that one monitor sees them all in order.
FILE_PARTITION = 0


class Source(Protocol[Raw_co]):
    """What the service needs of any source."""

    def poll(self) -> Mapping[int, Raw_co] | None:
        """The next piece of each partition that has one; empty = nothing now, None = the end."""

    def positions(self) -> Mapping[int, Mapping[str, object]]:
        """Per partition the place behind everything that was polled, JSON-ready."""

    def commit(self) -> None:
        """Everything polled so far is done with and need never be given again."""


class FileSource:
    """Frames of recordings, one file after the other.

    Parameters
    ----------
    recordings : sequence of Recording
    start_row : int
        Input rows to pass over: a restart behind a checkpoint at ``{"row": start_row}``.
    """

    def __init__(self, recordings: Sequence[Recording], start_row: int = 0) -> None:
        self.rows = start_row
        self._recordings = recordings
        self._done = 0
        self._frames = self._all_frames(start_row)

    @property
    def fraction(self) -> float:
        """How much has been read, 0..1; files count alike whatever their size."""
        if self._done == len(self._recordings):
            return 1.0
        return (self._done + self._recordings[self._done].fraction) / len(self._recordings)

    def poll(self) -> Mapping[int, Frame] | None:
        """The next frame; None at the end; raises ``InputError`` where a file is damaged."""
        frame = next(self._frames, None)
        if frame is None:
            return None
        self.rows = frame.first_row + frame.rows
        return {FILE_PARTITION: frame}

    def positions(self) -> Mapping[int, Mapping[str, object]]:
        """``{"row": n}``: n input rows have been handed over."""
        return {FILE_PARTITION: {"row": self.rows}}

    def commit(self) -> None:
        """Nothing to give back: a file does not move on by being read."""

    def _all_frames(self, start_row: int) -> Iterator[Frame]:
        first_row = 0
        for recording in self._recordings:
            for frame in recording.frames(first_row):
                first_row = frame.first_row + frame.rows
                if first_row > start_row:
                    yield _behind(frame, start_row - frame.first_row)
            self._done += 1


def _behind(frame: Frame, skip: int) -> Frame:
    """The frame without its first ``skip`` rows."""
    if skip <= 0:
        return frame
    faults = tuple(
        type(fault)(fault.row - skip, fault.reason, fault.text)
        for fault in frame.faults if fault.row >= skip
    )
    return Frame(
        frame.layout, frame.first_row + skip, frame.rows - skip,
        {index: column.slice(skip) for index, column in frame.columns.items()},
        faults, lambda row: frame.line_of(row + skip),
    )
