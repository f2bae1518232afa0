"""The rows around one alert, at the recording's own resolution where that fits.

An alert of five minutes in a recording of three months is less than a pixel of the timeline. So the
collector keeps a bounded tail of recent batches, and every alert that fires gets a close-up: some
rows from before its onset, its own, and some from after. Cells merge by pairs as a long alert goes
on, so a close-up is bounded too. No text and no drawing here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from anomaly.batches import Float64, Int64, RowBatch
from streams.report.timeline import Envelope

#: Values (rows × columns) of recent batches that are kept to look back into: 32 MB, or one batch.
TAIL_LIMIT = 1 << 22
#: Rows before the onset that a close-up starts from.
LOOK_BACK_ROWS = 2048
#: Cells while recording; after a merge half of them are left.
CELL_LIMIT = 4096
#: Cells kept once finished: a chart's pixels.
KEPT_CELLS = 384
#: Rows after the end that are still recorded, at least and at most.
AFTER_ROWS_LEAST, AFTER_ROWS_MOST = 64, 1024


class Tail:
    """The most recent batches of rows, by reference: it costs nothing until someone looks back."""

    def __init__(self, limit: int = TAIL_LIMIT) -> None:
        self._limit = limit
        self._batches: deque[RowBatch] = deque()
        self._values = 0

    def append(self, rows: RowBatch) -> None:
        """Remember a batch and forget the oldest ones beyond the limit; the newest always stays."""
        self._batches.append(rows)
        self._values += rows.x.size
        while self._values > self._limit and len(self._batches) > 1:
            self._values -= self._batches.popleft().x.size

    def rows_before(
        self, asset: int, columns: Int64, time_ns: int, limit: int
    ) -> tuple[Int64, Float64]:
        """(time_ns, x[:, columns]) of the asset: ``limit`` rows before ``time_ns``, all after."""
        times: list[Int64] = []
        values: list[Float64] = []
        before = 0
        for batch in reversed(self._batches):
            own = np.flatnonzero(batch.asset == asset)
            if before >= limit:
                break
            x = np.full((own.size, columns.size), np.nan)
            there = columns < batch.x.shape[1]
            x[:, there] = batch.x[np.ix_(own, columns[there])]
            times.append(batch.time_ns[own])
            values.append(x)
            before += int(np.count_nonzero(times[-1] < time_ns))
        if not times:
            return np.zeros(0, np.int64), np.zeros((0, columns.size))
        time, x = np.concatenate(times[::-1]), np.concatenate(values[::-1])
        first = max(0, int(np.searchsorted(time, time_ns)) - limit)
        return time[first:], x[first:]


class Closeup:
    """Envelope of a few sensors of one asset around one alert.

    Parameters
    ----------
    columns : int64[k]
        The sensors drawn, by column within the asset.
    onset_ns : int
        What is recorded before this is the look-back.
    """

    def __init__(self, columns: Int64, onset_ns: int) -> None:
        self.columns = columns
        self.onset_ns = onset_ns
        self.end_ns: int | None = None
        self.finished = False
        self._stride = 1  # rows a cell holds
        self._rows_alert = 0
        self._rows_after = 0
        self._time = np.zeros(0, np.int64)
        self._low = np.zeros((0, columns.size))
        self._high = np.zeros((0, columns.size))
        self._last_ns = np.iinfo(np.int64).min

    def add(self, time_ns: Int64, x: Float64) -> None:
        """Append rows of the asset, ascending in time; those already there are passed over."""
        fresh = int(np.searchsorted(time_ns, self._last_ns, side="right"))
        time_ns, x = time_ns[fresh:], x[fresh:]
        if not time_ns.size or self.finished:
            return
        if self.end_ns is not None:
            # Rows far beyond the end would only coarsen what is to be seen.
            needed = int(np.searchsorted(time_ns, self.end_ns, side="right")) + AFTER_ROWS_MOST
            time_ns, x = time_ns[:needed], x[:needed]
        self._last_ns = int(time_ns[-1])
        start = np.arange(0, time_ns.size, self._stride)
        self._time = np.concatenate([self._time, time_ns[start]])
        self._low = np.concatenate([self._low, np.fmin.reduceat(x, start)])
        self._high = np.concatenate([self._high, np.fmax.reduceat(x, start)])
        while self._time.size > CELL_LIMIT:
            self._time, self._low, self._high = _paired(self._time, self._low, self._high)
            self._stride *= 2
        self._count(time_ns)

    def end(self, time_ns: int) -> None:
        """The alert resolved at ``time_ns``; recording goes on for a while after it."""
        self.end_ns = time_ns

    def finish(self) -> None:
        """Crop to what a chart needs and give the rest of the memory back."""
        self.finished = True
        until = self.end_ns if self.end_ns is not None else self._last_ns
        onset = int(np.searchsorted(self._time, self.onset_ns))
        end = int(np.searchsorted(self._time, until, side="right"))
        # As much before as the alert is long, so that the eye can compare; never less than 96 rows.
        before = max(end - onset, -(-96 // self._stride))
        after = max((end - onset) // 3, -(-32 // self._stride))
        kept = slice(max(0, onset - before), end + after)
        time, low, high = self._time[kept], self._low[kept], self._high[kept]
        while time.size > KEPT_CELLS:
            time, low, high = _paired(time, low, high)
            self._stride *= 2
        self._time, self._low, self._high = time.copy(), low.copy(), high.copy()

    def envelope(self, column: int, row_ns: float) -> Envelope | None:
        """One sensor's close-up, None if it had no value; ``row_ns`` is the asset's usual step."""
        place = np.flatnonzero(self.columns == column)
        if not place.size:
            return None
        low, high = self._low[:, place[0]], self._high[:, place[0]]
        filled = low == low
        if not filled.any():
            return None
        width = round(row_ns * self._stride)
        return Envelope(self._time[filled], low[filled], high[filled], width)

    def _count(self, time_ns: Int64) -> None:
        """Finish once the time after the end is enough to see it was the end."""
        if self.end_ns is None:
            self._rows_alert += int(np.count_nonzero(time_ns >= self.onset_ns))
            return
        after = int(np.count_nonzero(time_ns > self.end_ns))
        self._rows_alert += int(np.count_nonzero(time_ns >= self.onset_ns)) - after
        self._rows_after += after
        if self._rows_after >= min(max(AFTER_ROWS_LEAST, self._rows_alert // 2), AFTER_ROWS_MOST):
            self.finish()


def _paired(time: Int64, low: Float64, high: Float64) -> tuple[Int64, Float64, Float64]:
    """Neighbouring cells merged; an odd last one stays alone."""
    start = np.arange(0, time.size, 2)
    return time[start], _reduced(np.fmin, low, start), _reduced(np.fmax, high, start)


def _reduced(combine: Callable[..., Float64], values: Float64, start: Int64) -> Float64:
    odd = values[1::2]
    merged = values[0::2].copy()
    merged[: len(odd)] = combine(merged[: len(odd)], odd)
    assert len(merged) == start.size
    return merged
