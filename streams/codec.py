"""Frames of a file to batches of readings: the only place where rows become columns of the engine.

Each input row keeps its number, so that the scores file has exactly one line for it, whether its
readings could be used or not. Whatever could not is counted by reason and kept as a sample. The
columns stay columns throughout; no Python object is made per reading or per row.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from anomaly.batches import BATCH_LIMIT, Bool, Float64, Int64, ReadingBatch, reading_batch
from anomaly.registry import NAME_LENGTH_LIMIT, Registry
from streams import times
from streams.cells import booleans, numbers
from streams.errors import InputError
from streams.layout import ArrowFormat, Layout, RowFormat, decoded
from streams.recordings import Frame
from streams.rejections import Place, Rejections
from streams.times import NO_TIME

#: Readings in a batch: as many as a frame has. The more rows of a machine come together, the less
#: often its history of shapes is fetched from memory (a plant at 10 Hz: 240 ns a reading against
#: 380 with an eighth of it). Results do not depend on it.
READINGS_PER_BATCH = 1 << 20


#: Above this many combinations of asset and sensor a table of them costs more than sorting.
_PAIRS_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Readings, and the input rows that they come from.

    Attributes
    ----------
    readings : ReadingBatch
    first_row : int
        0-based over all input rows.
    time_ns : int64[r]
        Of every input row of the batch; ``times.NO_TIME`` where it could not be read.
    asset : int64[r]
        Registry index; −1 where the row names none.
    row : int64[k]
        The rows (0..r−1) that have readings.
    width : int
        Readings of such a row: reading i belongs to row ``row[i // width]``.
    ends_warm_up : bool
        The last row is the last one of the warm-up that the user asked for.
    """

    readings: ReadingBatch
    first_row: int
    time_ns: Int64
    asset: Int64
    row: Int64
    width: int
    ends_warm_up: bool

    @property
    def rows(self) -> int:
        """Input rows in the batch."""
        return int(self.time_ns.size)


def empty_batch(first_row: int) -> Batch:
    """No rows: what belongs to the end of a stream."""
    none = np.zeros(0, np.int64)
    return Batch(reading_batch(none, none, none, none), first_row, none, none, none, 1, False)


@dataclass(frozen=True, slots=True, eq=False)
class _Names:
    """A column of names: ``code int64[n]`` into ``names``, −1 where there is none."""

    code: Int64
    names: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """A whole frame, converted; names are not registered yet."""

    time_ns: Int64
    asset: _Names
    sensor: _Names | None
    value: Float64  # [rows, d]
    usable: Bool


class FrameDecoder:
    """Decodes frames in order; one per partition, because it registers names.

    Parameters
    ----------
    registry : Registry
        New assets and sensors are registered with the batch in which they first appear.
    rejections : Rejections
        Where everything that cannot be used is counted.
    warm_up_rows : int
        Input rows after which a batch is cut; 0 = nowhere.
    """

    def __init__(self, registry: Registry, rejections: Rejections, warm_up_rows: int = 0) -> None:
        self.registry = registry
        self.rejections = rejections
        self.warm_up_rows = warm_up_rows
        self._naive = False
        self._zones: set[str] = set()
        self._layout: Layout | None = None
        self._asset_columns: dict[int, Int64] = {}
        self._in_order = True

    def decode(self, frame: Frame) -> Iterator[Batch]:
        """The frame's rows as batches, in order.

        Raises
        ------
        InputError
            A row is wider than a batch may be.
        CapacityError
            More assets or sensors than the registry admits.
        """
        layout = frame.layout
        if layout is not self._layout:
            self._layout, self._asset_columns, self._in_order = layout, {}, True
        width = 1 if layout.is_long else len(layout.sensors)
        if width > BATCH_LIMIT:
            raise InputError(layout.path, f"{width:,} sensors, more than {BATCH_LIMIT:,} in a row")
        columns = self._convert(frame)
        for start, end in self._cuts(frame, max(1, READINGS_PER_BATCH // width)):
            yield self._batch(frame, columns, start, end)

    def time_notes(self) -> list[str]:
        """What was found out about time zones on the way."""
        shown = sorted(self._zones)
        listed = ", ".join(shown[:4]) + (", …" if len(shown) > 4 else "")
        if self._naive and shown:
            return [f"times with zones ({listed}) and without one are mixed: all turned into UTC, "
                    "those without one taken as UTC"]
        if self._naive:
            return ["times carry no zone and are taken as UTC"]
        if len(shown) > 1:
            return [f"times carry different zones ({listed}): all turned into UTC"]
        if shown and shown[0].lower() != "z":
            return [f"times carry the zone {listed} and are turned into UTC"]
        return []

    def _cuts(self, frame: Frame, step: int) -> Iterator[tuple[int, int]]:
        """Half-open ranges of the frame's rows; a boundary falls exactly at the warm-up's end."""
        bounds = set(range(0, frame.rows, step)) | {frame.rows}
        warm = self.warm_up_rows - frame.first_row
        if 0 < warm < frame.rows:
            bounds.add(warm)
        ordered = sorted(bounds)
        return itertools.pairwise(ordered)

    # -- a frame's columns --------------------------------------------------------------------

    def _convert(self, frame: Frame) -> _Columns:
        layout = frame.layout
        for fault in frame.faults:
            self._reject_row(frame, fault.reason, fault.row, None, fault.text)
        time_ns = self._times(frame)
        if frame.within_ns is not None:
            time_ns = np.where(time_ns == NO_TIME, NO_TIME, time_ns + frame.within_ns)
        usable = time_ns != NO_TIME
        self._reject_rows(frame, "unreadable_time", ~usable, layout.time_columns)
        if layout.asset_column is None:
            asset = _Names(np.zeros(frame.rows, np.int64), [layout.asset])
        else:
            asset = self._names(frame, layout.asset_column, "no_asset", usable)
            usable &= asset.code >= 0
        sensor = None
        if layout.sensor_column is not None:
            sensor = self._names(frame, layout.sensor_column, "no_sensor", usable)
            usable &= sensor.code >= 0
        value = np.empty((frame.rows, len(layout.sensors)))
        for place, column in enumerate(layout.sensors):
            value[:, place] = self._numbers(frame, column)
        for fault in frame.faults:
            if fault.reason == "too_many_cells":  # nobody knows which cell is which
                value[fault.row] = np.nan
        return _Columns(time_ns, asset, sensor, value, usable)

    def _times(self, frame: Frame) -> Int64:
        layout = frame.layout
        if isinstance(layout.time, RowFormat):
            row = np.arange(frame.first_row, frame.first_row + frame.rows, dtype=np.int64)
            return row * layout.time.step_ns
        cells = [decoded(frame.columns[column]) for column in layout.time_columns]
        if isinstance(layout.time, ArrowFormat):
            kind = cells[0].type
            self._naive |= not (pa.types.is_timestamp(kind) and kind.tz)
            return times.from_arrow(cells[0])
        if isinstance(layout.time, times.NumberFormat):
            return _number_times(cells[0], layout.time, layout)
        text = _as_text(cells[0])
        for more in cells[1:]:
            text = pc.binary_join_element_wise(text, _as_text(more), " ")
        found = times.from_text(text, layout.time)
        self._naive |= found.naive
        self._zones |= found.zones
        return found.time_ns

    def _names(self, frame: Frame, column: int, reason: str, among: Bool) -> _Names:
        """A column of names; rows ``among`` without one, or with one too long, are rejected."""
        cells = frame.columns[column]
        if not pa.types.is_dictionary(cells.type):
            cells = _as_text(cells).dictionary_encode()
        names = [(name or "").strip() for name in _as_text(cells.dictionary).to_pylist()]
        code: Int64 = cells.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        kind = np.array([not name for name in names] + [True])
        long = np.array([len(name) > NAME_LENGTH_LIMIT for name in names] + [False])
        self._reject_rows(frame, reason, among & kind[code], (column,))
        self._reject_rows(frame, "name_too_long", among & long[code], (column,))
        return _Names(np.where((kind | long)[code], -1, code), names)

    def _numbers(self, frame: Frame, column: int) -> Float64:
        layout, cells = frame.layout, decoded(frame.columns[column])
        if not pa.types.is_string(cells.type):
            if cells.type != pa.float64():
                cells = cells.cast(pa.float64(), safe=False)
            typed: Float64 = cells.to_numpy(zero_copy_only=False)
            return typed
        if column in layout.booleans:
            value, bad = booleans(cells)
        else:
            value, bad = numbers(cells, layout.marks)
            if bad.any() and layout.words.tells(layout.names[column]):
                said = cells.filter(pa.array(bad)).dictionary_encode()
                which = said.indices.to_numpy(zero_copy_only=False)
                number = np.array([layout.words.number(layout.names[column], word)
                                   for word in said.dictionary.to_pylist()])[which]
                value[bad], bad[bad] = number, np.isnan(number)
        if bad.any():
            self._reject_cells(frame, "not_a_number", np.flatnonzero(bad), column, cells)
        return value

    # -- batches ------------------------------------------------------------------------------

    def _batch(self, frame: Frame, columns: _Columns, start: int, end: int) -> Batch:
        part = slice(start, end)
        usable = columns.usable[part]
        every = bool(usable.all())
        row = np.arange(end - start) if every else np.flatnonzero(usable)
        code = columns.asset.code[part]
        index = self._register_assets(code, columns.asset.names)
        asset = index[code]
        value = columns.value[part] if every else columns.value[part][row]
        own = asset if every else asset[row]
        time_ns = columns.time_ns[part] if every else columns.time_ns[part][row]
        width = value.shape[1]
        closes = np.zeros((row.size, width), np.bool_)
        if columns.sensor is None:
            sensor = self._wide_columns(own, frame.layout)
            closes[:, -1] = True
        else:
            named = columns.sensor.code[part] if every else columns.sensor.code[part][row]
            sensor = self._long_columns(own, named, columns.sensor.names)
        readings = reading_batch(
            _repeated(own, width), sensor, _repeated(time_ns, width), value.ravel(),
            closes.ravel(),
        )
        first_row = frame.first_row + start
        return Batch(
            readings, first_row, columns.time_ns[part], asset, row, width,
            frame.first_row + end == self.warm_up_rows,
        )

    def _register_assets(self, code: Int64, names: list[str]) -> Int64:
        """Registry index of every code in use, by code; −1 for the others and at the end."""
        index = np.full(len(names) + 1, -1, np.int64)
        for used in _in_order_of_appearance(code, len(names)):
            index[used] = self.registry.asset(names[used])
        return index

    def _wide_columns(self, asset: Int64, layout: Layout) -> Int64:
        """Registry column of every reading; usually the file's own order for every asset."""
        width = len(layout.sensors)
        for a in _in_order_of_appearance(asset, len(self.registry.assets)):
            if a not in self._asset_columns:
                names = [layout.names[column] for column in layout.sensors]
                self._asset_columns[a] = self.registry.columns(a, names)
                in_order = np.array_equal(self._asset_columns[a], np.arange(width))
                self._in_order &= in_order
        if self._in_order:
            return np.tile(np.arange(width), asset.size)
        table = np.zeros((len(self.registry.assets), width), np.int64)
        for a, mapped in self._asset_columns.items():
            table[a] = mapped
        mapped_rows: Int64 = table[asset].ravel()
        return mapped_rows

    def _long_columns(self, asset: Int64, code: Int64, names: list[str]) -> Int64:
        """Registry column of every reading of a long table."""
        pair = asset * len(names) + code
        size = len(self.registry.assets) * len(names)
        if size > _PAIRS_LIMIT:
            distinct, pair = np.unique(pair, return_inverse=True)
            asset_of, code_of = np.divmod(distinct, len(names))
        else:
            asset_of, code_of = np.divmod(np.arange(size), len(names))
        column = np.zeros(asset_of.size, np.int64)
        for used in _in_order_of_appearance(pair, column.size):
            column[used] = self.registry.column(int(asset_of[used]), names[code_of[used]])
        found: Int64 = column[pair]
        return found

    # -- rejections ---------------------------------------------------------------------------

    def _reject_rows(
        self, frame: Frame, reason: str, rejected: Bool, columns: Sequence[int]
    ) -> None:
        rows = np.flatnonzero(rejected)
        if rows.size:
            column = columns[0] if columns else None
            self._reject_cells(
                frame, reason, rows, column, None if column is None else frame.columns[column]
            )

    def _reject_cells(
        self, frame: Frame, reason: str, rows: Int64, column: int | None, cells: pa.Array | None
    ) -> None:
        self.rejections.count(reason, rows.size)
        name = None if column is None else frame.layout.names[column]
        wanted = self.rejections.wants(reason, str(frame.layout.path), name)
        for row in rows[:wanted].tolist():
            given = None if cells is None else cells[row].as_py()
            self._keep(frame, reason, row, name, None if given is None else str(given))

    def _reject_row(
        self, frame: Frame, reason: str, row: int, column: str | None, text: str
    ) -> None:
        self.rejections.count(reason)
        if self.rejections.wants(reason, str(frame.layout.path), column):
            self._keep(frame, reason, row, column, text)

    def _keep(
        self, frame: Frame, reason: str, row: int, column: str | None, text: str | None
    ) -> None:
        place = Place(
            str(frame.layout.path), frame.line_of(row), frame.first_row + row, column
        )
        self.rejections.keep(reason, place, text)


def _number_times(cells: pa.Array, form: times.NumberFormat, layout: Layout) -> Int64:
    if pa.types.is_string(cells.type):
        return times.from_number_text(cells, form, layout.marks)
    if pa.types.is_integer(cells.type):
        valid: Bool = cells.is_valid().to_numpy(zero_copy_only=False)
        whole = cells.cast(pa.int64(), safe=False).fill_null(0).to_numpy(zero_copy_only=False)
        return times.from_integers(whole, valid, form)
    values = cells.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return times.from_floats(values, form)


def _as_text(cells: pa.Array) -> pa.Array:
    """Names and dates as text: 7 and 7.0 are both ``7``."""
    cells = decoded(cells)
    if pa.types.is_string(cells.type):
        return cells
    if pa.types.is_floating(cells.type):
        with contextlib.suppress(pa.ArrowInvalid):  # with fractions: as they are
            cells = cells.cast(pa.int64())
    return cells.cast(pa.string())


def _in_order_of_appearance(code: Int64, limit: int) -> list[int]:
    """The distinct non-negative codes below ``limit``, by first appearance; no sorting of rows."""
    if not code.size:
        return []
    if (code == code[0]).all():
        return [int(code[0])] if code[0] >= 0 else []
    if limit > 8 * code.size + 1024:  # sparse: sorting is cheaper than a table
        distinct, first = np.unique(code, return_index=True)
        ordered = distinct[np.argsort(first)]
        return [int(c) for c in ordered if c >= 0]
    first = np.full(limit + 1, -1, np.int64)
    first[code[::-1]] = np.arange(code.size - 1, -1, -1)  # the earliest is written last
    used = np.flatnonzero(first[:limit] >= 0)
    return [int(c) for c in used[np.argsort(first[used])]]


def _repeated(column: npt.NDArray[Any], width: int) -> npt.NDArray[Any]:
    return column if width == 1 else np.repeat(column, width)

