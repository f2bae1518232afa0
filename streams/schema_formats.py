"""Messages of a schema registry to plain records: Avro, Protobuf, JSON Schema.

Bytes in, ``dict`` of plain values out, by the writer's schema; what the record means is the codec's
business. The libraries come with ``pip install "andon[schemas]"`` and are imported when the first
such message arrives. A message that its schema does not fit is bad data, whatever the library
raises for it.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import io
import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from streams.errors import SettingsError
from streams.schema_registry import HEADER_BYTES, Schema, SchemaRegistry, UnknownSchema

Read = Callable[[bytes], dict[str, Any]]


class Fields(Protocol):
    """What the sender calls things."""

    @property
    def asset(self) -> str: ...
    @property
    def sensor(self) -> str: ...
    @property
    def time(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def values(self) -> str: ...


class Unreadable(Exception):
    """``reason`` is a key of ``refusals.REASONS``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def shaped(body: dict[str, Any], fields: Fields) -> tuple[Any, Any, Any, Any, Any]:
    """A record's asset, sensor, time, value and values, as JSON of the known shapes would say them.

    A record with neither a value nor values is a row: its other numbers are its sensors.

    Raises
    ------
    Unreadable
    """
    asset, sensor = _names(body.get(fields.asset)), _names(body.get(fields.sensor))
    time = body.get(fields.time)
    times = [_moment(t) for t in time] if isinstance(time, list) else _moment(time)
    if fields.value in body:
        return asset, sensor, times, _amount(body[fields.value]), None
    if isinstance(body.get(fields.values), dict):
        values = {str(name): _amount(v) for name, v in body[fields.values].items()}
        return asset, sensor, times, None, values
    own = (fields.asset, fields.sensor, fields.time)
    numbers = {name: v for name, v in body.items() if name not in own and _is_amount(v, time)}
    return asset, sensor, times, None, {name: _amount(v) for name, v in numbers.items()}


class SchemaReader:
    """Reads messages of a registry's format.

    Parameters
    ----------
    registry : SchemaRegistry
    validate : bool
        Check JSON against its schema, too (slow); Avro and Protobuf cannot be read without theirs.
    """

    def __init__(self, registry: SchemaRegistry, validate: bool = False) -> None:
        self.registry = registry
        self._validate = validate
        self._readers: dict[int, tuple[str, Read]] = {}

    def read(self, number: int, value: bytes) -> tuple[str, dict[str, Any]]:
        """What kind of schema it was, and the record.

        Raises
        ------
        Unreadable
        SettingsError
            The library for it is not installed.
        RegistryError
        """
        if number not in self._readers:
            try:
                schema = self.registry.schema(number)
            except UnknownSchema:
                raise Unreadable("unknown_schema") from None
            if len(self._readers) >= 1000:
                self._readers.clear()
            self._readers[number] = self._reader(schema)
        kind, read = self._readers[number]
        return kind, read(value[HEADER_BYTES:])

    def _reader(self, schema: Schema) -> tuple[str, Read]:
        if schema.kind == "AVRO":
            return "Avro", _avro(schema)
        if schema.kind == "PROTOBUF":
            return "Protobuf", _protobuf(schema)
        if schema.kind == "JSON":
            return "JSON Schema", _json(schema, self._validate)
        raise Unreadable("unknown_schema")


def _avro(schema: Schema) -> Read:
    fastavro = _library("fastavro")
    named: dict[str, Any] = {}

    def parse(one: Schema) -> Any:
        for _, other in one.references:
            parse(other)
        return fastavro.parse_schema(json.loads(one.text), named_schemas=named)

    try:
        parsed = parse(schema)
    except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType, ValueError,
            KeyError, TypeError, RecursionError):
        raise Unreadable("unknown_schema") from None

    def read(body: bytes) -> dict[str, Any]:
        stream = io.BytesIO(body)
        try:
            record = fastavro.schemaless_reader(stream, parsed, None)
        except (EOFError, ValueError, IndexError, KeyError, TypeError, OverflowError,
                StopIteration, RecursionError, MemoryError):
            raise Unreadable("schema_mismatch") from None
        if stream.read(1) or not isinstance(record, dict):
            raise Unreadable("schema_mismatch")
        return record

    return read


def _protobuf(schema: Schema) -> Read:
    pool = _library("google.protobuf.descriptor_pool").DescriptorPool()
    descriptors = _library("google.protobuf.descriptor_pb2")
    factory = _library("google.protobuf.message_factory")
    errors = _library("google.protobuf.message")
    known: set[str] = set()

    def add(name: str, one: Schema) -> str:
        if name in known:
            return name
        file = descriptors.FileDescriptorProto()
        file.ParseFromString(base64.b64decode(one.text, validate=True))
        file.name = name or file.name or "message.proto"
        given = dict(one.references)
        for needed in file.dependency:
            if needed in given:
                add(needed, given[needed])
            elif needed not in known:  # google's own types come with the library
                known.add(needed)
                module = needed.removesuffix(".proto").replace("/", ".") + "_pb2"
                if not needed.startswith("google/protobuf/"):
                    raise Unreadable("unknown_schema")
                pool.AddSerializedFile(_library(module).DESCRIPTOR.serialized_pb)
        known.add(file.name)
        pool.Add(file)
        return str(file.name)

    try:
        file = pool.FindFileByName(add("", schema))
        messages = [file.message_types_by_name[m] for m in _in_order(schema, descriptors)]
        classes: dict[str, Any] = {}
    except (errors.DecodeError, binascii.Error, KeyError, TypeError, ValueError, SettingsError):
        raise Unreadable("unknown_schema") from None

    def read(body: bytes) -> dict[str, Any]:
        path, at = _message_path(body)
        try:
            kind = messages[path[0]]
            for index in path[1:]:
                kind = kind.nested_types[index]
            if kind.full_name not in classes:
                classes[kind.full_name] = factory.GetMessageClass(kind)
            return _plain_message(classes[kind.full_name].FromString(body[at:]))
        except (errors.DecodeError, IndexError, RecursionError):
            raise Unreadable("schema_mismatch") from None

    return read


def _in_order(schema: Schema, descriptors: Any) -> list[str]:
    """Names of a file's messages in the order in which they are numbered."""
    file = descriptors.FileDescriptorProto.FromString(base64.b64decode(schema.text))
    return [message.name for message in file.message_type]


def _message_path(body: bytes) -> tuple[list[int], int]:
    """Which message of the file it is, and where it begins.

    Zigzag varints: how many indices, then the indices; a single zero stands for [0], the usual one.
    """
    count, at = _varint(body, 0)
    if count == 0:
        return [0], at
    if not 0 < count <= 32:
        raise Unreadable("schema_mismatch")
    path = []
    for _ in range(count):
        index, at = _varint(body, at)
        if index < 0:
            raise Unreadable("schema_mismatch")
        path.append(index)
    return path, at


def _varint(body: bytes, at: int) -> tuple[int, int]:
    raw = shift = 0
    while True:
        if at >= len(body) or shift > 28:
            raise Unreadable("schema_mismatch")
        byte = body[at]
        at += 1
        raw |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (raw >> 1) ^ -(raw & 1), at
        shift += 7


def _plain_message(message: Any) -> dict[str, Any]:
    """Fields by name: numbers, texts, lists, maps; a Timestamp as ISO 8601; absent = None."""
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            found[field.name] = dict(sorted(value.items()))  # in memory a map has no order
        elif field.is_repeated:
            found[field.name] = [_plain_value(field, v) for v in value]
        elif field.has_presence and not message.HasField(field.name):
            found[field.name] = None
        else:
            found[field.name] = _plain_value(field, value)
    return found


def _plain_value(field: Any, value: Any) -> Any:
    if field.message_type is None:
        return value
    name = field.message_type.full_name
    if name == "google.protobuf.Timestamp":
        return value.ToJsonString()
    if name.startswith("google.protobuf.") and name.endswith("Value") and hasattr(value, "value"):
        return value.value  # DoubleValue and its like: a number that may be absent
    return _plain_message(value)


def _json(schema: Schema, validate: bool) -> Read:
    check: Callable[[Any], bool] = lambda _: True  # noqa: E731
    if validate:
        jsonschema, referencing = _library("jsonschema"), _library("referencing")
        try:
            resources = referencing.Registry().with_resources(
                (name, referencing.Resource.from_contents(
                    json.loads(other.text),
                    default_specification=referencing.jsonschema.DRAFT7))
                for name, other in schema.references)
            contents = json.loads(schema.text)
            kind = jsonschema.validators.validator_for(contents)
            kind.check_schema(contents)
            check = kind(contents, registry=resources).is_valid
        except (jsonschema.SchemaError, ValueError, RecursionError):
            raise Unreadable("unknown_schema") from None

    def read(body: bytes) -> dict[str, Any]:
        try:
            record = json.loads(body)
        except (ValueError, RecursionError):
            raise Unreadable("malformed_json") from None
        if not isinstance(record, dict) or not check(record):
            raise Unreadable("schema_mismatch")
        return record

    return read


def _names(name: Any) -> Any:
    """An asset or sensor, or a column of them, or nothing."""
    every = name if isinstance(name, list) else [name]
    if not all(part is None or isinstance(part, str) for part in every):
        raise Unreadable("no_asset")
    return name


def _moment(time: Any) -> Any:
    if isinstance(time, datetime):
        return time.isoformat()
    if time is None or (isinstance(time, int | float | str) and not isinstance(time, bool)):
        return time
    raise Unreadable("unreadable_time")


def _amount(value: Any) -> Any:
    """A value, or a column of them; decimals are numbers, too."""
    if isinstance(value, list):
        return [_amount(v) for v in value]
    if isinstance(value, Decimal):
        return float(value)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise Unreadable("not_a_number")


def _is_amount(value: Any, time: Any) -> bool:
    """Whether a field of a row is a sensor: a number, or a column of them where times are one."""
    if isinstance(value, list):
        return isinstance(time, list) and all(_is_amount(v, None) for v in value)
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise SettingsError(
            f"schema_registry.url: {name.split('.')[-1]} is needed to read these messages: "
            'pip install "andon[schemas]"') from None
