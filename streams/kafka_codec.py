"""Kafka messages to columns: the shapes that people send, told apart message by message.

``{"asset","sensor","ts","value"}`` (one reading), ``{"asset","ts","values":{…}}`` (a wide row),
either of them with lists (columnar), ``{"asset","ts",…}`` (a flat row: all other numbers in it),
Arrow IPC streams, the United Manufacturing Hub's topic keys, and the same as records of a schema
registry. Each message says by itself what it is: a restart decodes the same bytes to the same
columns. What was recognised is counted for whoever wants to say so. What cannot be used gets one
reason (``refusals``); bytes are never lost, because the caller still has them. No broker and no
clock: time comes from the message only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np

from anomaly.batches import Int64
from anomaly.errors import CapacityError, TagCapacityError
from anomaly.registry import NAME_LENGTH_LIMIT, Registry
from streams import kafka_arrow
from streams.arrow_layout import Layouts
from streams.instants import UnreadableTime, to_nanoseconds
from streams.json_scan import Names, nesting
from streams.kafka_columns import Columns, Decoded, Row, whole_times
from streams.message_fields import Fields, envelope
from streams.read_ahead import Ahead
from streams.refusals import Unusable
from streams.schema_formats import SchemaReader, Unreadable, shaped
from streams.schema_registry import number_of
from streams.words import USUAL, Words

#: Readings are handed on in batches of about this many; results do not depend on it.
READINGS_PER_BATCH = 1 << 16
#: Most headings of columnar messages whose columns are remembered.
PLACES_LIMIT = 100_000

_UMH = b"umh.v1."


class Message(Protocol):
    """What the codec needs of a broker's record."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused before it is parsed, so that no message can exhaust the process."""

    message_bytes: int = 1 << 20
    depth: int = 8
    readings: int = 1 << 18


class Decoder:
    """Messages of one partition to readings over its registry.

    Attributes
    ----------
    shapes, units : Counter
        Messages by recognised shape, and by the unit their times were in.
    masked : int
        Values within otherwise good rows that were no numbers and count as missing.
    renamed : set of int
        Assets that got a new name (their own or a sensor's) since someone cleared this set.
    fresh : set of int
        Assets that the message being decoded has named first; they have no readings yet.
    make_room : callable, optional
        Asked when a name is too many: ``make_room(tags, settled)`` lets something go (True) or says
        that nothing can (False). ``tags``: the name is a sensor's; ``settled``: everything before
        the message was handed on and digested; None = ask again when it was.
    """

    def __init__(
        self, registry: Registry, fields: Fields | None = None, limits: Limits | None = None,
        schemas: SchemaReader | None = None, words: Words = USUAL,
    ) -> None:
        self.registry = registry
        self._schemas = schemas
        self._words = words
        self.shapes: Counter[str] = Counter()
        self.units: Counter[str] = Counter()
        self.masked, self._columnar = 0, False  # rows are read ahead once such a message came
        self.renamed: set[int] = set()
        self.fresh: set[int] = set()
        self.make_room: Callable[[bool, bool], bool | None] | None = None
        f = self._fields = fields or Fields()
        self._limits = limits or Limits()
        self._json: msgspec.json.Decoder[Any] = msgspec.json.Decoder(envelope(self._fields))
        self._tags: dict[tuple[str, str], tuple[int, int]] = {}
        self._columns = Columns()
        self._places: dict[tuple[str, ...], Int64] = {}
        self._rows: dict[tuple[str, ...], Row] = {}
        self._names = Names((f.asset, f.sensor, f.time, f.value))
        self._layouts = Layouts()
        self._ahead = Ahead(self._names, f, self._limits, self._layouts)

    def prepare(self, messages: Sequence[Message]) -> None:
        """Fetch the schemas that the messages need; after this, decoding cannot fail half-way.

        Raises
        ------
        RegistryError
            Try again later, with the same messages.
        """
        if self._schemas is not None:
            numbers = {number_of(m.value) for m in messages if m.value and m.value[0] == 0}
            self._schemas.registry.prepare(sorted(n for n in numbers if n is not None))

    def decode(self, messages: Sequence[Message]) -> Iterator[Decoded]:
        """The messages in order, in one or more batches that end at a message's end."""
        columns, first, i = self._columns, 0, 0
        dead: list[tuple[int, str]] = []
        ahead = self._ahead
        ahead.begin(messages)
        while i < len(messages):
            run = (ahead.run(i, self._columnar)
                   if self._columnar or i >= ahead.unread_until else None)
            if run is not None:
                columns.add_columns(*run.columns(i))
                self.shapes[run.shape] += run.messages
                run.tell_units(self.units)
                i += run.messages
                if len(columns) >= READINGS_PER_BATCH:
                    yield columns.taken(first, i, dead)
                    dead, first = [], i
                continue
            columns.current = i
            start = len(columns)
            try:
                self._message(*ahead.content(i))
            except Unusable as unusable:
                columns.cut(start)
                dead.append((i, unusable.reason))
            except CapacityError as error:
                columns.cut(start)
                if self.make_room is not None:
                    tags = isinstance(error, TagCapacityError)
                    done = self.make_room(tags, first == i)
                    if done is None:
                        yield columns.taken(first, i, dead)
                        dead, first = [], i
                        done = self.make_room(tags, True)
                    if done:
                        continue
                dead.append((i, "too_many_names"))
            i += 1
            self.fresh.clear()
            if len(columns) >= READINGS_PER_BATCH:
                yield columns.taken(first, i, dead)
                dead, first = [], i
        if first < len(messages):
            yield columns.taken(first, len(messages), dead)
        ahead.begin(())  # what was read is not held

    def forget(self, asset: str, sensors: Sequence[str]) -> None:
        """The names stand for nothing any more."""
        self._places.clear()
        self._rows.clear()
        for sensor in sensors:
            if self._tags.pop((asset, sensor), None) is not None:
                self._names.forget(asset, sensor)

    def _message(self, key: bytes | None, value: bytes | None) -> None:
        if value is None:
            raise Unusable("tombstone")
        if not value:
            raise Unusable("empty")
        if len(value) > self._limits.message_bytes:
            raise Unusable("too_large")
        if kafka_arrow.looks_like(value):
            self._arrow(key, value)
            return
        if value[0] == 0:
            self._registered(key, value)
            return
        self._check_depth(value)
        if key is not None and key.startswith(_UMH):
            self._umh(key, value)
            return
        try:
            found = self._json.decode(value)
        except (msgspec.ValidationError, RecursionError):
            self._mistyped(key, value)
            return
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Unusable("malformed_json") from None
        asset, time = found.asset, found.time
        tag = self._tags.get((asset, found.sensor)) if type(asset) is str else None
        if tag is not None and type(found.value) is float and type(time) is not list and (
            found.values is None
        ):  # the usual case of a known sensor's reading, by itself: most messages are one
            time_ns = self._time(time)
            self._columns.add(tag[0], tag[1], time_ns, found.value, False)
            self.shapes["single readings"] += 1
            return
        if found.values is None and found.value is msgspec.UNSET and found.sensor is None and (
            time is not None and type(time) is not list and type(asset) is not list
        ):
            self._flat(key, asset, time, value)
            return
        self._envelope(key, asset, found.sensor, time, found.value, found.values)

    # -- shapes ---------------------------------------------------------------------------------

    def _envelope(
        self, key: bytes | None, asset: Any, sensor: Any, time: Any, value: Any, values: Any
    ) -> None:
        if values is not None:
            if isinstance(time, list):
                self._columnar_wide(key, asset, time, values)
            else:
                self._wide(self._asset_name(asset, key), time, values)
        elif isinstance(time, list) or isinstance(value, list):
            self._columnar_long(key, asset, sensor, time, value)
        else:
            if value is msgspec.UNSET:
                raise Unusable("unknown_shape" if time is None and sensor is None else "no_values")
            if isinstance(asset, list) or isinstance(sensor, list):
                raise Unusable("columns_differ")
            name = self._asset_name(asset, key)
            if sensor is None or sensor == "":
                raise Unusable("no_sensor")
            time_ns = self._time(time)
            a, c = self._tag(name, sensor)
            self._columns.add(a, c, time_ns, math.nan if value is None else value, False)
            self.shapes["single readings"] += 1

    def _flat(self, key: bytes | None, asset: Any, time: Any, message: bytes) -> None:
        own = (self._fields.asset, self._fields.time)  # texts beside the numbers are passed over
        values = {n: self._in_numbers(n, v) for n, v in _plain(message).items() if n not in own}
        values = {n: v for n, v in values.items() if _is_number(v)}
        if any(abs(value) > 1e308 for value in values.values()):
            raise Unusable("not_a_number")
        self._wide(self._asset_name(asset, key), time, values, "flat rows")

    def _wide(
        self, asset: str, time: Any, values: Mapping[str, Any], shape: str = "wide rows"
    ) -> None:
        time_ns = self._time(time)
        if not values:
            raise Unusable("no_values")
        self._columnar = True
        last = len(values) - 1
        place = (asset, *values)
        known = self._rows.get(place)
        if known is not None and list not in map(type, values.values()):
            self._columns.add_row(known, time_ns, [
                math.nan if value is None else value for value in values.values()])
            self.shapes[shape] += 1
            return
        tags = []
        for i, (sensor, value) in enumerate(values.items()):
            if isinstance(value, list):
                raise Unusable("columns_differ")
            a, c = self._tag(asset, sensor)
            tags.append(c)
            self._columns.add(a, c, time_ns, math.nan if value is None else value, i == last)
        if len(self._rows) < PLACES_LIMIT:
            self._rows[place] = Row([a] * len(tags), tags, [False] * last + [True])
        self.shapes[shape] += 1

    def _columnar_wide(
        self, key: bytes | None, asset: Any, time: list[Any], values: Mapping[str, Any]
    ) -> None:
        rows = len(time)
        assets = self._asset_names(asset, key, rows)
        if not values or not rows:
            raise Unusable("no_values")
        if any(not isinstance(v, list) or len(v) != rows for v in values.values()):
            raise Unusable("columns_differ")
        self._check_readings(rows * len(values))
        times = whole_times(time, self._time, self.units)
        places = self._places.get((assets[0], *values)) if isinstance(asset, str) else None
        if places is None:
            places = np.array([[self._tag(name, sensor) for sensor in values] for name in (
                assets[:1] if isinstance(asset, str) else assets)], np.int64)
            if isinstance(asset, str) and len(self._places) < PLACES_LIMIT:
                self._places[assets[0], *values] = places
        tags = np.broadcast_to(places, (rows, len(values), 2))
        x = np.array(list(values.values()), np.float64).T  # null counts as missing
        closes = np.zeros((rows, len(values)), np.bool_)
        closes[:, -1] = True
        self._columns.add_columns(
            tags[:, :, 0].ravel(), tags[:, :, 1].ravel(), np.repeat(times, len(values)),
            x.ravel(), closes.ravel())
        self.shapes["columnar wide rows"] += 1
        self._columnar = True

    def _columnar_long(
        self, key: bytes | None, asset: Any, sensor: Any, time: Any, value: Any
    ) -> None:
        if not isinstance(value, list) or not isinstance(time, list) or len(value) != len(time):
            raise Unusable("columns_differ")
        rows = len(value)
        if not rows:
            raise Unusable("no_values")
        self._check_readings(rows)
        assets = self._asset_names(asset, key, rows)
        if sensor is None:
            raise Unusable("no_sensor")
        sensors = sensor if isinstance(sensor, list) else [sensor] * rows
        if len(sensors) != rows:
            raise Unusable("columns_differ")
        times = whole_times(time, self._time, self.units)
        known = self._tags
        tags = [known.get(pair) or self._tag(*pair) for pair in zip(assets, sensors, strict=True)]
        pairs = np.array(tags, np.int64)
        self._columns.add_columns(
            pairs[:, 0], pairs[:, 1], times, np.array(value, np.float64),
            np.zeros(rows, np.bool_))
        self.shapes["columnar readings"] += 1

    def _umh(self, key: bytes, value: bytes) -> None:
        """``umh.v1.<location>.<_contract>.<name>`` as key, ``{"timestamp_ms", name: value}``."""
        parts = _text(key).split(".")[2:]
        contract = next((i for i, part in enumerate(parts) if part.startswith("_")), -1)
        if contract < 1:
            raise Unusable("no_asset")
        asset, name = ".".join(parts[:contract]), ".".join(parts[contract + 1:])
        body = _plain(value)
        if "timestamp_ms" not in body:
            raise Unusable("no_time")
        time_ns = self._time(body.pop("timestamp_ms"))
        if not body:
            raise Unusable("no_values")
        for field, content in body.items():
            sensor = name if field == "value" else f"{name}.{field}" if name else field
            content = self._in_numbers(sensor, content)
            if content is not None and not _is_number(content):
                raise Unusable("not_a_number")
            if not sensor:
                raise Unusable("no_sensor")
            a, c = self._tag(asset, sensor)
            self._columns.add(a, c, time_ns, math.nan if content is None else content, False)
        self.shapes["United Manufacturing Hub"] += 1

    def _arrow(self, key: bytes | None, value: bytes) -> None:
        try:
            table = kafka_arrow.read(value, self._limits.readings, self._fields)
        except kafka_arrow.ArrowProblem as problem:
            raise Unusable(problem.reason) from None
        names = table.assets if table.assets is not None else [self._asset_name(None, key)]
        for name in names:
            self._check_name(name, "no_asset")
        for sensor in table.sensors:
            self._check_name(sensor, "no_sensor")
        piece = self._columns.add_table(table, names, self._tag)
        self._layouts.learn(key, value, piece, self._names, self._fields)
        self.units.update(table.units)
        self.shapes["Arrow IPC"] += 1

    def _registered(self, key: bytes | None, value: bytes) -> None:
        """A record of a schema registry: the same shapes, or a row of plain fields."""
        number = number_of(value)
        if number is None:
            raise Unusable("malformed_json")
        if self._schemas is None:
            raise Unusable("no_schema_registry")
        try:
            kind, body = self._schemas.read(number, value)
            parts = shaped(body, self._fields)
        except Unreadable as problem:
            raise Unusable(problem.reason) from None
        self._envelope(key, *parts)
        self.shapes[f"{kind} records"] += 1

    def _mistyped(self, key: bytes | None, value: bytes) -> None:
        """JSON whose fields have unexpected types: find the reason; save what a wide row has."""
        body = _plain(value)
        f = self._fields
        asset, sensor, time = body.get(f.asset), body.get(f.sensor), body.get(f.time)
        values = body.get(f.values)
        if isinstance(time, bool) or (time is not None and not isinstance(
                time, int | float | str | list)):
            raise Unusable("unreadable_time")
        if asset is not None and not isinstance(asset, str | list):
            raise Unusable("no_asset")
        if sensor is not None and not isinstance(sensor, str | list):
            raise Unusable("no_sensor")
        if isinstance(values, dict) and not isinstance(time, list):
            values = {n: self._in_numbers(n, v) for n, v in values.items()}
            good = {name: v if v is None or _is_number(v) else None for name, v in values.items()}
            bad = sum(v is not None and good[name] is None for name, v in values.items())
            if bad == len(values):
                raise Unusable("not_a_number")
            self._wide(self._asset_name(asset, key), time, good)
            self.masked += bad
            return
        if values is None and isinstance(sensor, str):
            said = self._in_numbers(sensor, body.get(f.value))
            if _is_number(said):
                self._envelope(key, asset, sensor, time, said, None)
                return
        raise Unusable("not_a_number" if f.value in body or values is not None else "unknown_shape")

    def _in_numbers(self, sensor: str, said: Any) -> Any:
        """A word that has a number as that number; anything else as it is."""
        number = self._words.number(sensor, said) if isinstance(said, str) else math.nan
        return said if math.isnan(number) else number

    # -- parts ----------------------------------------------------------------------------------

    def _tag(self, asset: str, sensor: str) -> tuple[int, int]:
        found = self._tags.get((asset, sensor))
        if found is None:
            self._check_name(asset, "no_asset")
            self._check_name(sensor, "no_sensor")
            a = self.registry.asset(asset)
            self.renamed.add(a)
            self.fresh.add(a)
            found = self._tags[asset, sensor] = a, self.registry.column(a, sensor)
            self._names.add(asset, sensor, *found)
        return found

    def _check_name(self, name: object, reason: str) -> None:
        if not isinstance(name, str) or not name:
            raise Unusable(reason)
        if len(name) > NAME_LENGTH_LIMIT:
            raise Unusable("name_too_long")

    def _asset_name(self, asset: Any, key: bytes | None) -> str:
        """The asset as sent; a message without one is about the asset that is its key."""
        if isinstance(asset, list):
            raise Unusable("columns_differ")
        if asset is None and key is not None:
            asset = _text(key)
        if not asset:
            raise Unusable("no_asset")
        return str(asset)

    def _asset_names(self, asset: Any, key: bytes | None, rows: int) -> list[str]:
        if not isinstance(asset, list):
            return [self._asset_name(asset, key)] * rows
        if len(asset) != rows:
            raise Unusable("columns_differ")
        return asset

    def _time(self, time: Any) -> int:
        if time is None or time == "":
            raise Unusable("no_time")
        try:
            time_ns, unit = to_nanoseconds(time)
        except UnreadableTime:
            raise Unusable("unreadable_time") from None
        self.units[unit] += 1
        return time_ns

    def _check_readings(self, readings: int) -> None:
        if readings > self._limits.readings:
            raise Unusable("too_many_readings")

    def _check_depth(self, value: bytes) -> None:
        """Refuse deep nesting; few brackets in all are proof enough that it is not deep."""
        limit = self._limits.depth
        if value.count(b"[") + value.count(b"{") <= limit:
            return
        if nesting(value) > limit:
            raise Unusable("too_deep")


def _plain(value: bytes) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(value)
    except RecursionError:
        raise Unusable("too_deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unusable("malformed_json") from None
    if not isinstance(body, dict):
        raise Unusable("unknown_shape")
    return body


def _text(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise Unusable("no_asset") from None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
