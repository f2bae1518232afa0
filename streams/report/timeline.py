"""The whole recording at chart resolution: lowest and highest value per sensor and time bucket.

All assets share one grid of buckets. When the recording outgrows it, neighbouring buckets merge and
the grid spans twice the time, so memory is bounded whatever the recording's length. Buckets are a
power of two nanoseconds wide, because finding a row's bucket is then a shift rather than a
division. No text and no drawing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.batches import Bool, Float64, Int64
from anomaly.registry import Registry

UInt8 = npt.NDArray[np.uint8]

#: What a bucket of an asset has seen, as bits.
ROW, JUDGED, FIRING = 1, 2, 4

#: Buckets at best: a laptop shows about 900 pixels of chart; after a merge at least half are used.
MOST_BUCKETS = 1024
#: Buckets at worst: below this a chart says nothing, so further sensors are not drawn instead.
FEWEST_BUCKETS = 128
#: Cells (sensors × buckets) over all sensors: 16 MB for lows and highs together.
CELL_LIMIT = 1 << 20
#: Assets with a lane and a rarity chart.
ASSET_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Groups:
    """The rows of one batch, sorted by asset and within it by time.

    Attributes
    ----------
    asset : int64[g]
        Each asset once.
    start : int64[g]
        Its first row; its last is before the next one's first.
    time_ns : int64[m]
    x : float64[m, d]
    judged : bool[m]
        The row has a score.
    firing : bool[m]
    rarity : float64[m]
        Return period, seconds; NaN = no opinion.
    """

    asset: Int64
    start: Int64
    time_ns: Int64
    x: Float64
    judged: Bool
    firing: Bool
    rarity: Float64

    def of(self, place: int) -> slice:
        """Rows of the ``place``-th asset."""
        end = self.start[place + 1] if place + 1 < self.start.size else self.time_ns.size
        return slice(int(self.start[place]), int(end))


@dataclass(frozen=True, slots=True)
class Envelope:
    """A signal as drawn: per cell its first instant, lowest and highest value, ascending in time.

    ``width_ns`` is how long one cell lasts; two cells further apart than ``width_ns`` plus the
    asset's gap threshold have a data gap between them.
    """

    time_ns: Int64
    low: Float64
    high: Float64
    width_ns: int


class Timeline:
    """Envelopes of every tracked sensor and flags of every tracked asset over the recording."""

    def __init__(self, cell_limit: int = CELL_LIMIT, asset_limit: int = ASSET_LIMIT) -> None:
        self.buckets = MOST_BUCKETS
        self._cell_limit = cell_limit
        self._asset_limit = asset_limit
        self._shift = -1  # bucket width is 2**shift ns; −1 until the first row
        self._origin = 0  # absolute number of the first bucket
        self._used = 0  # buckets from the origin to the last one written
        # float64[buckets, slots + 1] and so on: a row of readings writes neighbouring cells. One
        # column more than there are slots: slot −1, "not tracked", writes into the last, unread.
        self._low = np.full((self.buckets, 1), np.nan)
        self._high = np.full((self.buckets, 1), np.nan)
        self._slot = np.full((0, 0), -1, np.int64)  # (asset, column) -> slot or −1
        self._slots = 0
        self._flags = np.zeros((self.buckets, 1), np.uint8)
        self._rarity = np.full((self.buckets, 1), np.nan)
        self._assets = 0

    def add(self, groups: Groups, registry: Registry) -> None:
        """Merge one batch. Cost is a few nanoseconds a reading; see benchmarks/speed."""
        self._admit(groups, registry)
        self._span(int(groups.time_ns.min()), int(groups.time_ns.max()))
        bucket = (groups.time_ns >> self._shift) - self._origin
        first = np.empty(bucket.size, np.bool_)
        first[0] = True
        np.not_equal(bucket[1:], bucket[:-1], out=first[1:])
        first[groups.start] = True
        start: Int64 = np.flatnonzero(first)
        bucket = bucket[start]
        asset = np.repeat(groups.asset, np.diff(np.searchsorted(start, groups.start),
                                                append=start.size))
        self._add_states(groups, start, bucket, asset)
        self._add_values(groups, start, bucket, asset)

    def envelope(self, asset: int, column: int) -> Envelope | None:
        """One sensor over the whole recording; None if not tracked or never with a value."""
        if asset >= self._slot.shape[0] or column >= self._slot.shape[1]:
            return None
        slot = self._slot[asset, column]
        return self._cells(self._low[:, slot], self._high[:, slot]) if slot >= 0 else None

    def rarity(self, asset: int) -> Envelope | None:
        """The longest return period (seconds) per bucket; None where there is none."""
        if asset >= self._assets:
            return None
        return self._cells(self._rarity[:, asset], self._rarity[:, asset])

    def flags(self, asset: int) -> tuple[Int64, UInt8, int] | None:
        """(first instants ns, flags, bucket width ns) of the buckets that saw the asset's rows."""
        if asset >= self._assets:
            return None
        seen = np.flatnonzero(self._flags[:, asset])
        return self._instants(seen), self._flags[seen, asset], 1 << self._shift

    def tracked(self, asset: int, column: int) -> bool:
        """Whether this sensor has an envelope."""
        return self.envelope(asset, column) is not None

    def _add_states(self, groups: Groups, start: Int64, bucket: Int64, asset: Int64) -> None:
        seen = np.full(groups.judged.size, ROW, np.uint8)
        seen |= groups.judged.view(np.uint8) << 1
        seen |= groups.firing.view(np.uint8) << 2
        lane = np.where(asset < self._assets, asset, -1)
        self._flags[bucket, lane] |= np.bitwise_or.reduceat(seen, start)
        peak = np.fmax.reduceat(groups.rarity, start)
        self._rarity[bucket, lane] = np.fmax(self._rarity[bucket, lane], peak)

    def _add_values(self, groups: Groups, start: Int64, bucket: Int64, asset: Int64) -> None:
        width = min(groups.x.shape[1], self._slot.shape[1])
        if not width:
            return
        slot = self._slot[asset, :width]
        x = groups.x[:, :width]
        if start.size == len(x):
            low = high = x
        else:
            # Reducing along memory is three times faster than across it, which pays for the copy.
            columns = np.ascontiguousarray(x.T)
            low = np.fmin.reduceat(columns, start, axis=1).T
            high = np.fmax.reduceat(columns, start, axis=1).T
        # One flat index for four gathers and scatters: half the cost of indexing by two arrays.
        cell = slot + (bucket * self._low.shape[1])[:, None]
        np.add(cell, self._low.shape[1], out=cell, where=slot < 0)
        lows, highs = self._low.reshape(-1), self._high.reshape(-1)
        lows[cell] = np.fmin(lows[cell], low)
        highs[cell] = np.fmax(highs[cell], high)

    def _admit(self, groups: Groups, registry: Registry) -> None:
        """Give slots to assets and sensors not seen before, while there are any left."""
        assets = min(len(registry.assets), self._asset_limit)
        if assets > self._assets:
            self._assets = assets
            self._flags = _wider(self._flags, assets + 1, 0)
            self._rarity = _wider(self._rarity, assets + 1, np.nan)
        if registry.table.shape != self._slot.shape:
            known: Int64 = np.full(registry.table.shape, -1, np.int64)
            known[: self._slot.shape[0], : self._slot.shape[1]] = self._slot
            self._slot = known
        room = self._cell_limit // FEWEST_BUCKETS - self._slots
        if room <= 0 or registry.tag_count == int(np.count_nonzero(self._slot >= 0)):
            return
        present = groups.asset[groups.asset < self._slot.shape[0]]
        fresh = np.argwhere((registry.table[present] >= 0) & (self._slot[present] < 0))[:room]
        if not len(fresh):
            return
        self._slot[present[fresh[:, 0]], fresh[:, 1]] = self._slots + np.arange(len(fresh))
        self._slots += len(fresh)
        while self._slots * self.buckets > self._cell_limit:
            self._halve_buckets()
        if self._slots + 1 > self._low.shape[1]:
            columns = min(2 * self._slots, self._cell_limit // FEWEST_BUCKETS) + 1
            self._low = _wider(self._low, columns, np.nan)
            self._high = _wider(self._high, columns, np.nan)

    def _span(self, first_ns: int, last_ns: int) -> None:
        """Make the grid reach from ``first_ns`` to ``last_ns``, merging buckets as needed."""
        if self._shift < 0:
            self._shift = 0
            while (last_ns >> self._shift) - (first_ns >> self._shift) >= self.buckets:
                self._shift += 1
            self._origin = first_ns >> self._shift
        while True:
            first = min(first_ns >> self._shift, self._origin)
            last = max(last_ns >> self._shift, self._origin + self._used - 1)
            if last - first < self.buckets:
                break
            self._coarsen()
        if first < self._origin:
            self._move(self._origin - first)
        self._used = last - first + 1

    def _coarsen(self) -> None:
        odd = self._origin & 1
        self._low = _merged(self._low, odd, np.fmin, np.nan)
        self._high = _merged(self._high, odd, np.fmax, np.nan)
        self._rarity = _merged(self._rarity, odd, np.fmax, np.nan)
        self._flags = _merged(self._flags, odd, np.bitwise_or, 0)
        self._used = (self._used + odd + 1) >> 1
        self._origin >>= 1
        self._shift += 1

    def _move(self, by: int) -> None:
        """Start the grid ``by`` buckets earlier; the last ``by`` are known to be empty."""
        for array in (self._low, self._high, self._rarity, self._flags):
            array[by:] = array[:-by].copy()
            array[:by] = 0 if array.dtype == np.uint8 else np.nan
        self._origin -= by
        self._used += by

    def _halve_buckets(self) -> None:
        while self._used > self.buckets // 2:
            self._coarsen()
        self.buckets //= 2
        self._low = self._low[: self.buckets].copy()
        self._high = self._high[: self.buckets].copy()
        self._rarity = self._rarity[: self.buckets].copy()
        self._flags = self._flags[: self.buckets].copy()

    def _cells(self, low: Float64, high: Float64) -> Envelope | None:
        filled = np.flatnonzero(low == low)
        if not filled.size:
            return None
        return Envelope(self._instants(filled), low[filled], high[filled], 1 << self._shift)

    def _instants(self, buckets: npt.NDArray[np.intp]) -> Int64:
        return (buckets + self._origin).astype(np.int64) << self._shift


def _wider(array: npt.NDArray[Any], columns: int, empty: float) -> npt.NDArray[Any]:
    """Room for more columns; the last one is the unread one of slot −1 and is not carried over."""
    grown = np.full((len(array), columns), empty, array.dtype)
    grown[:, : array.shape[1] - 1] = array[:, :-1]
    return grown


def _merged(
    array: npt.NDArray[Any], odd: int, combine: np.ufunc, empty: float
) -> npt.NDArray[Any]:
    """Pairs of rows combined; ``odd`` when the first row is the second half of its pair."""
    even = np.full((len(array) + 2 * odd, array.shape[1]), empty, array.dtype)
    even[odd : odd + len(array)] = array
    pairs = combine(even[0::2], even[1::2])
    merged = np.full_like(array, empty)
    merged[: len(pairs)] = pairs
    return merged
