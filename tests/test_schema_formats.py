"""Messages of a schema registry: real wire format, a real HTTP server with the documented API."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from anomaly.registry import Registry
from streams.kafka_codec import Decoder
from streams.kafka_settings import SchemaRegistrySettings
from streams.refusals import REASONS
from streams.schema_formats import SchemaReader
from streams.schema_registry import RegistryError, SchemaRegistry
from tests import schema_server
from tests.schema_server import SchemaServer, avro, head, proto_row

TIME_MS = 1_700_000_000_000


@pytest.fixture(name="server")
def _server() -> Iterator[SchemaServer]:
    server = schema_server.filled()
    yield server
    server.close()


def decoder(server: SchemaServer, **settings: Any) -> Decoder:
    own = SchemaRegistrySettings(url=server.url, timeout_seconds=2.0, **settings)
    return Decoder(Registry(), schemas=SchemaReader(SchemaRegistry(own), own.validate))


def decoded(made: Decoder, *values: bytes) -> tuple[list[tuple[str, str, int, float]], list[str]]:
    """Readings by name, and reasons of what could not be used."""
    messages = [SimpleNamespace(key=b"key", value=value) for value in values]
    made.prepare(messages)
    found, dead = [], []
    for part in made.decode(messages):
        r = part.readings
        names = made.registry
        found += [(names.assets[a], names.sensors[a][c], int(t), float(v)) for a, c, t, v in zip(
            r.asset, r.sensor, r.time_ns, r.value, strict=True)]
        dead += [reason for _, reason in part.dead]
    assert set(dead) <= set(REASONS)
    return found, dead


def reading(value: float | None, ts: int = TIME_MS) -> bytes:
    return avro(1, schema_server.READING,
                {"asset": "press", "sensor": "heat", "ts": ts, "value": value})


def test_avro_readings_and_rows_of_plain_fields(server: SchemaServer) -> None:
    row = {"asset": "saw", "ts": TIME_MS, "line": "north", "running": True, "s0": 1.0, "s1": None,
           "s2": 3.0, "s3": -4.0}
    made = decoder(server)
    found, dead = decoded(made, reading(21.5), reading(None),
                          avro(2, schema_server.ROW, row))
    assert not dead
    assert found[0] == ("press", "heat", TIME_MS * 10**6, 21.5)
    assert np.isnan(found[1][3])
    assert [entry[1:] for entry in found[2:]] == [
        ("s0", TIME_MS * 10**6, 1.0), ("s2", TIME_MS * 10**6, 3.0), ("s3", TIME_MS * 10**6, -4.0)]
    assert made.shapes["Avro records"] == 3
    assert len(server.asked) == 2, "each schema is fetched once"


def test_protobuf_with_an_import_a_map_and_a_timestamp(server: SchemaServer) -> None:
    ns = TIME_MS * 10**6 + 250
    found, dead = decoded(decoder(server), proto_row(3, "mill", ns, {"power": 5.0}),
                          proto_row(3, "mill", ns + 1, {}))
    assert found == [("mill", "power", ns, 5.0)]
    assert dead == ["no_values"]


@pytest.mark.parametrize("validate", [False, True])
def test_json_schema_and_what_does_not_fit_it(server: SchemaServer, validate: bool) -> None:
    good = {"asset": "saw", "ts": TIME_MS, "values": {"s": 1}}
    odd = {"asset": "saw", "ts": TIME_MS, "values": {"s": 1}, "value": 7}
    bad = {"asset": 5, "ts": TIME_MS, "values": {"s": 1}}
    found, dead = decoded(decoder(server, validate=validate), *(
        head(4) + json.dumps(body).encode() for body in (good, odd, bad)), head(4) + b"{")
    assert found[0] == ("saw", "s", TIME_MS * 10**6, 1.0)
    assert dead == (["no_sensor", "schema_mismatch", "malformed_json"] if validate
                    else ["no_sensor", "no_asset", "malformed_json"])


def test_bad_messages_become_dead_letters_and_never_an_exception(server: SchemaServer) -> None:
    chance = random.Random(5)
    server.ids[5] = {"schema": "{not json"}
    server.ids[6] = {"schemaType": "PROTOBUF", "schema": "!!!"}
    server.ids[7] = {"schemaType": "THRIFT", "schema": "x"}
    server.ids[8] = {**server.ids[3], "references": []}
    made = decoder(server)
    good = [reading(1.0), proto_row(3, "mill", TIME_MS * 10**6, {"power": 5.0}),
            head(4) + b'{"asset":"a","ts":1700000000,"values":{"s":1}}']
    bad = [good[0][:-3], good[0] + b"x", head(404) + b"x", head(5) + b"x", head(6) + b"x",
           head(7) + b"x", head(8) + b"\0", b"\0\0", b"\0", head(3) + bytes([200] * 9),
           head(3) + bytes([2, 99]), head(3) + b"\0\xff\xff"]
    found, dead = decoded(made, *bad)
    assert not found
    assert len(dead) == len(bad)
    assert {"unknown_schema", "schema_mismatch"} <= set(dead)
    for value in good:
        for _ in range(150):
            text = bytearray(value)
            for _ in range(chance.randint(1, 4)):
                text[chance.randrange(5, len(text))] = chance.randrange(256)
            _, dead = decoded(made, bytes(text[: chance.randint(5, len(text))]))
            assert len(dead) <= 1


def test_without_a_registry_such_messages_are_dead_letters() -> None:
    _, dead = decoded(Decoder(Registry()), reading(1.0))
    assert dead == ["no_schema_registry"]


def test_a_registry_that_is_down_or_refuses_is_waited_for(server: SchemaServer) -> None:
    made = decoder(server)
    for status in (500, 503, 302, 401):
        server.status = status
        with pytest.raises(RegistryError, match=str(status)):
            decoded(made, reading(1.0))
    server.status = 200
    assert decoded(made, reading(1.0))[0]
    server.close()
    assert decoded(made, reading(2.0))[0], "what is known needs no registry"
    with pytest.raises(RegistryError, match="reached"):
        decoded(made, head(9) + b"x")


def test_it_says_who_it_is_and_keeps_it_to_itself(server: SchemaServer, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush\n")
    server.authorization = "Basic " + base64.b64encode(b"andon:hush").decode()
    made = decoder(server, username="andon", password_file=str(secret))
    assert decoded(made, reading(1.0))[0]
    server.authorization = "Bearer hush"
    assert decoded(decoder(server, token_file=str(secret)), reading(1.0))[0]
    assert "hush" not in repr(SchemaRegistrySettings(url="http://x", username="a", password="hush"))


def test_schemas_that_refer_to_each_other_end(server: SchemaServer) -> None:
    own = {"schema": json.dumps({"type": "record", "name": "A", "fields": []}),
           "references": [{"name": "B", "subject": "b/c", "version": 1}]}
    server.ids[9] = own
    server.versions["b/c", 1] = own
    assert decoded(decoder(server), head(9))[1] == ["unknown_schema"]
