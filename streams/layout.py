"""What the columns of a file mean: time, asset, sensors; wide or long. Said, never asked.

Everything is decided once per file, from the names and the first rows, and written down in a frozen
:class:`Layout` with notes in words. A setting overrides any guess. Reading files is elsewhere
(``csvfile.py``, ``parquetfile.py``); making readings of the rows too (``codec.py``).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anomaly.registry import NAME_LENGTH_LIMIT
from streams import times
from streams.arrays import holds_arrays
from streams.cells import Marks, booleans, guess_marks, numbers, present
from streams.errors import InputError, UsageError
from streams.settings import InputSettings
from streams.words import USUAL, Words

TIME_NAMES = ("timestamp", "time", "ts", "datetime", "date", "timestamputc", "timeutc",
              "datetimeutc", "utctime", "eventtime", "sampletime", "zeit", "zeitstempel", "datum")
ASSET_NAMES = ("asset", "assetid", "assetname", "machine", "machineid", "machinename", "equipment",
               "equipmentid", "device", "deviceid", "devicename", "station", "stationid",
               "unitid", "unitnumber", "unit", "maschine", "anlage")
SENSOR_NAMES = ("sensor", "sensorid", "sensorname", "tag", "tagname", "tagid", "signal",
                "signalname", "channel", "channelname", "variable", "variablename", "metric",
                "parameter", "point", "pointname", "field")
VALUE_NAMES = ("value", "val", "reading", "measurement", "wert")

#: Cells looked at to find the decimal mark; the first rows of the first columns show it.
_MARK_CELLS = 200_000
#: A text column of times may hold some that cannot be read; these are counted one by one.
_READABLE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class ArrowFormat:
    """The column is typed as time already."""


@dataclass(frozen=True, slots=True)
class RowFormat:
    """There is no time column: a row stands for its place in the input times ``step_ns``."""

    step_ns: int


TimeFormat = ArrowFormat | RowFormat | times.TextFormat | times.NumberFormat


@dataclass(frozen=True, slots=True)
class Layout:
    """How one file is understood. Columns are given by their position in the file.

    Attributes
    ----------
    path : Path
    names : tuple of str
        Names of all columns, made unique.
    time : TimeFormat
    time_columns : tuple of int
        None, one, or date and clock time in two columns.
    asset_column : int or None
    asset : str
        Name of the asset where there is no such column: the file's own name.
    sensor_column, value_column : int or None
        Both given: a long file, one reading per row.
    sensors : tuple of int
        Columns that hold numbers; of a wide file all are sensors, of a long one only the value.
    booleans : frozenset of int
        Sensors written in words: true and false.
    marks : Marks
        How numbers are written as text.
    notes : tuple of str
        What the user should know about how the file was understood, one sentence each.
    words : Words
        Which text is a number.
    """

    path: Path
    names: tuple[str, ...]
    time: TimeFormat
    time_columns: tuple[int, ...]
    asset_column: int | None
    asset: str
    sensor_column: int | None
    value_column: int | None
    sensors: tuple[int, ...]
    booleans: frozenset[int]
    marks: Marks
    notes: tuple[str, ...]
    words: Words

    @property
    def is_long(self) -> bool:
        """One reading per row instead of one column per sensor."""
        return self.sensor_column is not None

    @property
    def text_columns(self) -> tuple[int, ...]:
        """Columns that are read as they stand: time, asset, name of the sensor."""
        found = (*self.time_columns, self.asset_column, self.sensor_column)
        return tuple(column for column in found if column is not None)

    @property
    def counts_rows(self) -> bool:
        """There is no clock: rows are counted, by a column or by their place."""
        return isinstance(self.time, RowFormat) or (
            isinstance(self.time, times.NumberFormat) and self.time.unit == "counter"
        )

    def describe_time(self) -> str:
        """Where the time comes from, in words."""
        if isinstance(self.time, RowFormat):
            return f"none, so rows are counted, one row = {self.time.step_ns / 1e9:g} s"
        name = " + ".join(self.names[column] for column in self.time_columns)
        if isinstance(self.time, times.NumberFormat):
            if self.time.zero_ns:
                return f"{name!r}, {self.time.unit}, taken as UTC"
            if self.time.epoch:
                return f"{name!r}, epoch in {self.time.unit}"
            if self.counts_rows:
                unit = f"a row counter, one step = {self.time.unit_ns / 1e9:g} s"
            else:
                unit = f"{self.time.unit} from a start"
            return f"{name!r}, {unit}, told as if from 1970-01-01"
        return f"{name!r}, dates and times"


def understand(
    path: Path,
    raw_names: Sequence[str],
    head: Sequence[pa.Array],
    settings: InputSettings,
    delimiter: str | None,
    words: Words = USUAL,
) -> Layout:
    """Decide what the columns mean.

    Parameters
    ----------
    path : Path
    raw_names : sequence of str
        The header as written.
    head : sequence of Array
        The first rows of every column, text or typed.
    settings : InputSettings
    delimiter : str or None
        Of a CSV file; it says how ``1,234`` is meant.
    words : Words
        Which text is a number.

    Raises
    ------
    UsageError
        A column named in the settings does not exist.
    InputError
        No column of numbers, or a time column in which no time can be read.
    """
    return _Reader(path, raw_names, head, settings, delimiter, words).layout()


class _Reader:
    """The decisions in order; each one may leave a note. Lives for one call."""

    def __init__(
        self, path: Path, raw_names: Sequence[str], head: Sequence[pa.Array],
        settings: InputSettings, delimiter: str | None, words: Words,
    ) -> None:
        self.path = path
        self.words = words
        self.settings = settings
        self.notes: list[str] = []
        self.names = self._unique([name.strip() for name in raw_names])
        self.head = [decoded(column) for column in head]
        self.marks = self._marks(delimiter)
        self.kinds = [_kind(column, self.marks) for column in self.head]
        self.taken: set[int] = set()

    def layout(self) -> Layout:
        for name in self.settings.ignore_columns:
            self.taken.add(self._named(name, "ignore_columns"))
        sensor_column, value_column = self._long_columns()
        self.taken |= {c for c in (sensor_column, value_column) if c is not None}
        form, time_columns = self._time()
        self.taken |= set(time_columns)
        asset_column = self._asset(sensor_column is not None)
        if asset_column is not None:
            self.taken.add(asset_column)
        if value_column is None:
            sensors = self._sensors()
        else:
            sensors = (value_column,)
            rest = [n for i, n in enumerate(self.names) if i not in self.taken]
            if rest:
                self.notes.append(f"ignored {_listed(rest)}: no part of a long table")
        truths = frozenset(column for column in sensors if self.kinds[column] == "boolean")
        if truths:
            self.notes.append(f"read as 0 and 1: {_listed([self.names[c] for c in truths])}")
        return Layout(
            self.path, tuple(self.names), form, time_columns, asset_column, self.path_stem(),
            sensor_column, value_column, sensors, truths, self.marks, tuple(self.notes),
            self.words,
        )

    def path_stem(self) -> str:
        name = self.path.name
        for suffix in (".gz", ".zst", ".bz2", ".xz"):
            name = name.removesuffix(suffix)
        return Path(name).stem[:NAME_LENGTH_LIMIT] or "asset"

    def _unique(self, names: list[str]) -> list[str]:
        found: list[str] = []
        used: set[str] = set()
        for index, name in enumerate(names):
            wanted = name[:NAME_LENGTH_LIMIT - 8] or f"column_{index + 1}"
            if len(name) > NAME_LENGTH_LIMIT - 8:
                self.notes.append(f"the name of column {index + 1} is cut to {wanted!r}")
            unique, count = wanted, 1
            while unique in used:
                count += 1
                unique = f"{wanted}_{count}"
            if count > 1:
                self.notes.append(f"column {index + 1} is the {count}. called {wanted!r}: "
                                  f"renamed {unique!r}")
            used.add(unique)
            found.append(unique)
        return found

    def _marks(self, delimiter: str | None) -> Marks:
        if self.settings.decimal_mark:
            return Marks(self.settings.decimal_mark)
        text = [column for column in self.head if pa.types.is_string(column.type)]
        rows = max(20, _MARK_CELLS // max(1, len(text)))
        marks = guess_marks(
            (cell for column in text for cell in column.slice(0, rows).to_pylist() if cell),
            delimiter,
        )
        if marks.decimal == ",":
            self.notes.append("numbers have a decimal comma")
        return marks

    def _named(self, name: str, setting: str) -> int:
        if name in self.names:
            return self.names.index(name)
        same = [i for i, n in enumerate(self.names) if n.lower() == name.lower()]
        if len(same) == 1:
            return same[0]
        near = difflib.get_close_matches(name, self.names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it has {_listed(self.names)}"
        raise UsageError(f"{self.path}: no column {name!r} ({setting}){hint}")

    def _by_name(self, wanted: Sequence[str], kinds: Sequence[str]) -> int | None:
        """First free column whose plain name is wanted, in the order of ``wanted``."""
        plain = [plain_name(name) for name in self.names]
        for name in wanted:
            for index, candidate in enumerate(plain):
                if candidate == name and index not in self.taken and self.kinds[index] in kinds:
                    return index
        return None

    def _long_columns(self) -> tuple[int | None, int | None]:
        asked = (self.settings.sensor_column, self.settings.value_column)
        if all(asked):
            return (self._named(asked[0], "sensor_column"), self._named(asked[1], "value_column"))
        if self.settings.shape == "wide":
            return None, None
        sensor = self._by_name(SENSOR_NAMES, ("label", "number"))
        value = self._by_name(VALUE_NAMES, ("number", "empty", "boolean"))
        if sensor is None or value is None or sensor == value:
            if self.settings.shape == "long":
                raise UsageError(f"{self.path}: no sensor and value columns for a long table; "
                                 "name them with input.sensor_column and input.value_column")
            return None, None
        if self.kinds[sensor] == "number" and self.settings.shape == "auto":
            # Numbers may be a sensor's numbers or a channel's values: only a bare table is long.
            known = set(TIME_NAMES) | set(ASSET_NAMES)
            others = [n for i, n in enumerate(self.names) if i not in (sensor, value)]
            if not all(plain_name(name) in known for name in others) or not self._whole(sensor):
                return None, None
        return sensor, value

    def _asset(self, is_long: bool) -> int | None:
        if self.settings.asset_column:
            return self._named(self.settings.asset_column, "asset_column")
        # In a long table "unit" is what the value is measured in.
        wanted = [name for name in ASSET_NAMES if not (is_long and name == "unit")]
        found = self._by_name(wanted, ("label", "number"))
        if found is not None and self.kinds[found] == "number" and not self._whole(found):
            return None
        return found

    def _whole(self, column: int) -> bool:
        """Nothing but whole numbers: names, not measurements."""
        values = self._values(column)
        values = values[~np.isnan(values)]
        return bool(values.size) and bool((values == np.floor(values)).all())

    def _values(self, column: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        cells = self.head[column]
        if pa.types.is_string(cells.type):
            return numbers(cells, self.marks)[0]
        return np.asarray(cells.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))

    def _time(self) -> tuple[TimeFormat, tuple[int, ...]]:
        if self.settings.time_column:
            column = self._named(self.settings.time_column, "time_column")
            form = self._time_format(column)
            if form is None:
                raise self._unreadable(column)
            return form, (column,)
        pair = self._date_and_clock()
        if pair:
            return times.TextFormat(self._day_first(pair[0])), pair
        free = [i for i in range(len(self.names)) if i not in self.taken]
        plain = {i: plain_name(self.names[i]) for i in free}
        named = [i for name in TIME_NAMES for i in free if plain[i] == name]
        named += [i for i in free if _TIME_WITH_UNIT.match(self.names[i].strip().lower())]
        for column in named:
            form = self._time_format(column)
            if form is not None:
                return form, (column,)
        for column in free:
            if self.kinds[column] == "time":
                form = self._time_format(column)
                if form is not None:
                    self.notes.append(f"the time is taken from {self.names[column]!r}, "
                                      "the first column of times")
                    return form, (column,)
        if named:
            raise self._unreadable(named[0])
        return RowFormat(round(self.settings.counter_seconds * 1e9)), ()

    def _unreadable(self, column: int) -> InputError:
        cells = [cell for cell in self.head[column].to_pylist() if cell not in (None, "")]
        example = f" (the first is {cells[0]!r})" if cells else " (it is empty)"
        return InputError(
            self.path, f"no time can be read from this column{example}; expected ISO 8601, an "
            "epoch or a counter; another column can be named with --time-column",
            column=self.names[column],
        )

    def _time_format(self, column: int) -> TimeFormat | None:
        kind, cells = self.kinds[column], self.head[column]
        if kind == "time":
            if pa.types.is_string(cells.type):
                return times.TextFormat(self._day_first(column))
            return ArrowFormat()
        if kind == "number":
            values = self._values(column)
            if not np.isfinite(values).any():
                return None
            if _is_compact(self.names[column], values):
                return times.TextFormat()
            return times.number_format(values, self.names[column], self.settings.counter_seconds)
        return None

    def _day_first(self, column: int) -> bool:
        if self.settings.date_order:
            return self.settings.date_order == "day-first"
        sample = [cell for cell in self.head[column].to_pylist() if cell]
        shown = times.day_first(sample)
        if shown is not None:
            return shown
        american = any(re.search(r"[AaPp][Mm]$", cell.strip()) for cell in sample)
        if any(times.is_slashed(cell) for cell in sample):
            order = "month first" if american else "day first"
            self.notes.append(f"dates such as {sample[0]!r} are read {order}; "
                              "the setting input.date_order says otherwise")
        return not american

    def _date_and_clock(self) -> tuple[int, int] | None:
        """A column of dates and one of clock times, as many loggers write them."""
        by_name = {plain_name(name): i for i, name in enumerate(self.names) if i not in self.taken}
        for date_name, clock_name in (("date", "time"), ("datum", "zeit"), ("datum", "uhrzeit")):
            date, clock = by_name.get(date_name), by_name.get(clock_name)
            if date is None or clock is None or self.kinds[date] != "time":
                continue
            cells = self.head[clock]
            if pa.types.is_time(cells.type):
                return date, clock
            if pa.types.is_string(cells.type):
                match = pc.match_substring_regex(present(cells), r"^\d{1,2}[:.]\d{2}([:.]\d{2})?")
                if (pc.mean(pc.fill_null(match, False).cast(pa.float64())).as_py() or 0) > 0.5:
                    self.notes.append(f"{self.names[date]!r} and {self.names[clock]!r} are "
                                      "the time together")
                    return date, clock
        return None

    def _sensors(self) -> tuple[int, ...]:
        ignored: dict[str, list[str]] = {}
        found: list[int] = []
        for index, name in enumerate(self.names):
            if index in self.taken:
                continue
            reason = self._no_sensor(index)
            if reason:
                ignored.setdefault(reason, []).append(name)
            else:
                found.append(index)
        if not found:
            seen = "; ".join(f"{_listed(names)}: {why}" for why, names in ignored.items())
            raise InputError(self.path, f"no column of numbers to watch ({seen or 'only time'})")
        self.notes += [f"ignored {_listed(names)}: {why}" for why, names in ignored.items()]
        return tuple(found)

    def _no_sensor(self, column: int) -> str:
        """Why a column is not watched; empty if it is."""
        kind, raw = self.kinds[column], self.names[column]
        if kind == "label":
            said = pc.unique(present(self.head[column]).drop_null()).to_pylist()
            return self.words.refusal(raw, said)
        if kind == "time":
            return "a second time"
        if holds_arrays(self.head[column].type):
            return "arrays; [input] array_hz says how many samples a second they are"
        if kind not in ("number", "empty", "boolean"):
            return f"not numbers but {kind}"
        unnamed = raw == f"column_{column + 1}" or plain_name(raw) in ("unnamed0", "indexlevel0")
        if unnamed and kind == "empty":
            return "no name and no values"
        if unnamed and self._whole(column) and (np.diff(self._values(column)) == 1).all():
            return "a row number without a name"
        return ""


_TIME_WITH_UNIT = re.compile(
    r"^(timestamp|time|ts|elapsed|t)[ _\-.]*[\[(_ ]?(ns|us|µs|ms|s|sec|seconds|min|minutes|h|hours"
    r"|utc)[\])]?$"
)


def plain_name(name: str) -> str:
    """The name without case, blanks and punctuation."""
    return re.sub(r"[\W_]+", "", name.lower())


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:6])
    return shown if len(names) <= 6 else f"{shown} and {len(names) - 6} more"


def decoded(column: pa.Array) -> pa.Array:
    """Text in one of its guises (dictionary, large, view) as plain text."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_large_string(kind) or str(kind) == "string_view":
        column = column.cast(pa.string())
    return column


def _kind(column: pa.Array, marks: Marks) -> str:
    """number, boolean, time, label, empty; or the type's own name for what cannot be used."""
    kind = column.type
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_null(kind):
        return "empty"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "time"
    if not pa.types.is_string(kind):
        return str(kind)
    given = column.drop_null()
    given = given.filter(pc.is_valid(present(given)))
    if not len(given):
        return "empty"
    bad = numbers(given, marks)[1]
    if not bad.all():
        return "number"
    if not booleans(given)[1].any():
        return "boolean"
    read = times.from_text(given, times.TextFormat()).time_ns != times.NO_TIME
    swapped = times.from_text(given, times.TextFormat(False)).time_ns != times.NO_TIME
    return "time" if max(read.mean(), swapped.mean()) >= _READABLE_SHARE else "label"


def _is_compact(name: str, values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> bool:
    """Numbers that are dates: 20240131235959, or 20240131 where the column is called date."""
    values = values[np.isfinite(values)]
    if not (values == np.floor(values)).all():
        return False
    long_enough = bool((values >= 1e13).all() and (values < 1e14).all())
    is_date = bool(((values >= 1.9e7) & (values < 2.2e7)).all())
    if not (long_enough or (is_date and plain_name(name) in ("date", "datum"))):
        return False
    text = pa.array([str(int(value)) for value in values])
    return bool((times.from_text(text, times.TextFormat()).time_ns != times.NO_TIME).all())
