"""A schema registry on the loopback that speaks the documented API, and messages in its format.

Confluent Schema Registry API reference: ``GET /schemas/ids/{id}`` and
``GET /subjects/{subject}/versions/{version}``, of Protobuf with ``?format=serialized``.
"""

from __future__ import annotations

import base64
import http.server
import io
import json
import struct
import threading
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

import fastavro
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2


@dataclass
class SchemaServer:
    """Serves what is in ``ids`` and ``versions``; counts what was asked."""

    ids: dict[int, dict[str, Any]] = field(default_factory=dict)
    versions: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    authorization: str = ""
    status: int = 200
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                code, body = outer.answer(self.path, self.headers.get("Authorization", ""))
                text = json.dumps(body).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(text)))
                if code == 302:
                    self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        """Stop listening."""
        self.server.shutdown()
        self.server.server_close()

    def answer(self, target: str, authorization: str) -> tuple[int, dict[str, Any]]:
        """Status and body of one request."""
        if self.status != 200:
            return self.status, {"error_code": self.status}
        if authorization != self.authorization:
            return 401, {"error_code": 40101}
        path, _, query = target.partition("?")
        parts = [urllib.parse.unquote(part) for part in path.strip("/").split("/")]
        found = None
        if parts[:2] == ["schemas", "ids"]:
            found = self.ids.get(int(parts[2]))
        elif parts[0] == "subjects":
            found = self.versions.get((parts[1], int(parts[3])))
        if found is None:
            return 404, {"error_code": 40403, "message": "Schema not found"}
        if found.get("schemaType") == "PROTOBUF" and query != "format=serialized":
            return 200, {**found, "schema": "syntax = \"proto3\"; // as text"}
        return 200, found


def head(number: int) -> bytes:
    """The magic byte and the schema's number."""
    return struct.pack(">BI", 0, number)


READING = {
    "type": "record", "name": "Reading", "namespace": "plant", "fields": [
        {"name": "asset", "type": "string"}, {"name": "sensor", "type": "string"},
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "value", "type": ["null", "double"]}]}
ROW = {
    "type": "record", "name": "Row", "namespace": "plant", "fields": [
        {"name": "asset", "type": "string"}, {"name": "ts", "type": "long"},
        {"name": "line", "type": ["null", "string"]}, {"name": "running", "type": "boolean"},
        *({"name": f"s{c}", "type": ["null", "double"]} for c in range(4))]}


def avro(number: int, schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    """One Avro message."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), record)
    return head(number) + stream.getvalue()


def proto_files() -> tuple[descriptor_pb2.FileDescriptorProto, descriptor_pb2.FileDescriptorProto]:
    """``place.proto`` and ``reading.proto``, which imports it and google's timestamp."""
    kinds = descriptor_pb2.FieldDescriptorProto
    place = descriptor_pb2.FileDescriptorProto(
        name="place.proto", package="plant", syntax="proto3")
    message = place.message_type.add(name="Place")
    message.field.add(name="line", number=1, type=kinds.TYPE_STRING, label=1)
    reading = descriptor_pb2.FileDescriptorProto(
        name="reading.proto", package="plant", syntax="proto3",
        dependency=["place.proto", "google/protobuf/timestamp.proto"])
    reading.message_type.add(name="Other")
    message = reading.message_type.add(name="Row")
    message.field.add(name="asset", number=1, type=kinds.TYPE_STRING, label=1)
    message.field.add(name="ts", number=2, type=kinds.TYPE_MESSAGE, label=1,
                      type_name=".google.protobuf.Timestamp")
    message.field.add(name="where", number=3, type=kinds.TYPE_MESSAGE, label=1,
                      type_name=".plant.Place")
    entry = message.nested_type.add(name="ValuesEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=kinds.TYPE_STRING, label=1)
    entry.field.add(name="value", number=2, type=kinds.TYPE_DOUBLE, label=1)
    message.field.add(name="values", number=4, type=kinds.TYPE_MESSAGE, label=3,
                      type_name=".plant.Row.ValuesEntry")
    return place, reading


def proto_schemas() -> tuple[dict[str, Any], dict[str, Any]]:
    """The registry's answers for ``place.proto`` (a reference) and ``reading.proto``."""
    answers = []
    for file in proto_files():
        text = base64.b64encode(file.SerializeToString()).decode()
        answers.append({"schemaType": "PROTOBUF", "schema": text})
    answers[1]["references"] = [{"name": "place.proto", "subject": "place", "version": 1}]
    return answers[0], answers[1]


def proto_row(number: int, asset: str, ts_ns: int, values: dict[str, float]) -> bytes:
    """One Protobuf message: the second of its file, so the path to it is not the short one."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    for file in proto_files():
        pool.Add(file)
    kind: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName("plant.Row"))
    row = kind(asset=asset, values=values)
    row.ts.seconds, row.ts.nanos = divmod(ts_ns, 10**9)
    return head(number) + bytes([2, 2]) + row.SerializeToString()


JSON_SCHEMA = {
    "type": "object", "required": ["asset", "ts", "values"],
    "properties": {"asset": {"type": "string"}, "ts": {"type": "number"},
                   "values": {"type": "object", "additionalProperties": {"type": "number"}}}}


def filled() -> SchemaServer:
    """A registry with one schema of every kind: 1 reading, 2 row, 3 Protobuf, 4 JSON Schema."""
    place, reading = proto_schemas()
    return SchemaServer(
        {1: {"schema": json.dumps(READING)}, 2: {"schema": json.dumps(ROW)}, 3: reading,
         4: {"schemaType": "JSON", "schema": json.dumps(JSON_SCHEMA)}},
        {("place", 1): place})
