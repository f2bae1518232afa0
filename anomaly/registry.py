"""Names to dense indices and back: assets, and each asset's sensors (columns). Capacity lives here.

A *tag* is one sensor of one asset. Tags are numbered in order of first appearance and every per-tag
state array is indexed by that number; ``table`` maps (asset, column) to it. No numeric state, no
algorithm. The order of numbering never influences a result (law 2).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from anomaly.batches import Int64
from anomaly.errors import CapacityError, TagCapacityError

#: Names longer than this are refused where they arrive; they would be labels in metrics.
NAME_LENGTH_LIMIT = 200


class Registry:
    """Assets and their sensors, indexed in order of first appearance.

    Parameters
    ----------
    asset_limit, tag_limit : int
        Most assets and tags that may be known; reaching one raises :class:`CapacityError`.

    Attributes
    ----------
    version : int
        Grows with every change of names.
    """

    def __init__(self, asset_limit: int = 100_000, tag_limit: int = 1_000_000) -> None:
        self.asset_limit = asset_limit
        self.tag_limit = tag_limit
        self.assets: list[str] = []
        self.sensors: list[list[str]] = []
        self.tag_count = 0
        self.version = 0
        self._asset_index: dict[str, int] = {}
        self._column_index: list[dict[str, int]] = []
        self._table = np.full((8, 8), -1, np.int64)
        self._free_assets: list[int] = []
        self._free_tags: list[int] = []

    @property
    def table(self) -> Int64:
        """int64[assets, columns]: the tag of each (asset, column), −1 where there is none."""
        return self._table

    def asset(self, name: str) -> int:
        """Index of the asset, registered if new."""
        found = self._asset_index.get(name)
        if found is not None:
            return found
        if self._free_assets:
            index = self._free_assets.pop()
            self._asset_index[name], self.assets[index] = index, name
            self.version += 1
            return index
        if len(self.assets) >= self.asset_limit:
            raise CapacityError(f"more than {self.asset_limit} assets (limit.assets)")
        index = len(self.assets)
        self.version += 1
        self._asset_index[name] = index
        self.assets.append(name)
        self.sensors.append([])
        self._column_index.append({})
        self._make_room(index + 1, 1)
        return index

    def column(self, asset: int, name: str) -> int:
        """Column of the sensor within its asset, registered if new."""
        found = self._column_index[asset].get(name)
        if found is not None:
            return found
        if self.tag_count >= self.tag_limit and not self._free_tags:
            raise TagCapacityError(f"more than {self.tag_limit} tags (limit.tags)")
        column = len(self.sensors[asset])
        self._column_index[asset][name] = column
        self.sensors[asset].append(name)
        self._make_room(len(self.assets), column + 1)
        if self._free_tags:
            self._table[asset, column] = self._free_tags.pop()
        else:
            self._table[asset, column] = self.tag_count
            self.tag_count += 1
        self.version += 1
        return column

    def release(self, asset: int, keep_name: bool = False) -> Int64:
        """Forget an asset's sensors and, unless ``keep_name``, itself; returns their tags.

        The next new asset takes its index, new sensors take its tags; whoever keeps state by them
        must make it fresh.
        """
        tags = self.tags(asset).copy()
        self._free_tags.extend(tags[::-1].tolist())
        self._table[asset] = -1
        self.sensors[asset] = []
        self._column_index[asset] = {}
        if not keep_name:
            del self._asset_index[self.assets[asset]]
            self.assets[asset] = ""
            self._free_assets.append(asset)
        self.version += 1
        return tags

    def tags(self, asset: int) -> Int64:
        """int64[d]: the tags of the asset's sensors, column by column; not to be written."""
        return self._table[asset, : len(self.sensors[asset])]

    def columns(self, asset: int, names: Iterable[str]) -> Int64:
        """int64[d]: the columns of several sensors of one asset, registered where new."""
        return np.array([self.column(asset, name) for name in names], np.int64)

    def to_manifest(self) -> dict[str, object]:
        """Names in index order, and each asset's tags, for a snapshot's manifest (JSON-ready)."""
        tags = [self.tags(a).tolist() for a in range(len(self.assets))]
        return {"assets": list(self.assets), "sensors": [list(s) for s in self.sensors],
                "tags": tags}

    def load_manifest(
        self, assets: Sequence[str], sensors: Sequence[Sequence[str]], tags: Sequence[Sequence[int]]
    ) -> None:
        """Replace everything by what :meth:`to_manifest` wrote."""
        self.assets, self.sensors, self._column_index, self._asset_index = [], [], [], {}
        self.tag_count = 0
        self._free_assets, self._free_tags = [], []
        self._table = np.full((8, 8), -1, np.int64)
        for asset_name, sensor_names, numbers in zip(assets, sensors, tags, strict=True):
            index = self.asset(asset_name)
            for sensor_name, number in zip(sensor_names, numbers, strict=True):
                column = self.column(index, sensor_name)  # first: it may put another table there
                self._table[index, column] = number
        used = {number for numbers in tags for number in numbers}
        self.tag_count = max(used, default=-1) + 1
        self._free_tags = sorted(set(range(self.tag_count)) - used, reverse=True)

    def _make_room(self, assets: int, columns: int) -> None:
        rows, width = self._table.shape
        if assets <= rows and columns <= width:
            return
        grown = np.full((_grown(rows, assets), _grown(width, columns)), -1, np.int64)
        grown[:rows, :width] = self._table
        self._table = grown


def _grown(have: int, need: int) -> int:
    while have < need:
        have *= 2
    return have
