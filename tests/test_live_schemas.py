"""Avro, Protobuf and JSON Schema through a real broker, with a registry that is away at first."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests import kafka_broker, live_service, schema_server
from tests.live_service import deployment
from tests.schema_server import SchemaServer, avro, head, proto_row

pytestmark = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@pytest.fixture(name="registry")
def _registry() -> Iterator[SchemaServer]:
    server = schema_server.filled()
    yield server
    server.close()


def encoded(k: int, row: dict[str, Any]) -> list[bytes]:
    """The row in one of the registry's formats, by the machine it is of."""
    asset, ts, values = row["asset"], row["ts"], row["values"]
    kind = int(asset[-3:]) % 4
    if kind == 0:
        return [avro(1, schema_server.READING,
                     {"asset": asset, "sensor": name, "ts": ts, "value": value})
                for name, value in values.items()]
    if kind == 1:
        return [avro(2, schema_server.ROW,
                     {"asset": asset, "ts": ts, "line": None, "running": True, **values})]
    if kind == 2:
        return [proto_row(3, asset, ts * 10**6, values)]
    return [head(4) + json.dumps(row).encode()]


def test_every_format_of_a_registry_and_a_registry_that_is_away(registry: SchemaServer) -> None:
    """While it is away the partitions are paused and the group is kept; nothing is lost."""
    cluster = kafka_broker.shared()
    settings = f'[schema_registry]\nurl = "{registry.url}"\ntimeout_seconds = 2.0\n'
    registry.status = 503
    with deployment(cluster, 3, kafka=settings) as deployed:
        sender = live_service.producer(deployed)
        for k, (asset, row) in enumerate(live_service.stream(6000, 12, 15)):
            for value in encoded(k, row):
                sender.send(f"{deployed.name}.readings", key=asset.encode(), value=value)
            if k % 500 == 7:
                sender.send(f"{deployed.name}.readings", key=asset.encode(), value=head(77) + b"x")
        sender.flush()
        sender.close()
        deployed.start_worker()
        kafka_broker.wait_for(lambda: "registry answers 503" in deployed.logs(), 60, "a complaint")
        time.sleep(5.0)  # longer than the session lasts
        assert set(live_service.positions(deployed).values()) == {0}
        assert "connecting anew" not in deployed.logs()
        assert "lost" not in deployed.logs()
        assert deployed.logs().count("503") <= 3
        registry.status = 200
        live_service.wait_until_done(deployed, 60)
        deployed.stop()
        for kind in ("Avro", "Protobuf", "JSON Schema"):
            assert f"recognised {kind} records" in deployed.logs()
        said = live_service.assert_same(deployed)
        assert {reason for reason, _, _ in said.dead} == {"unknown_schema"}
        assert len(registry.asked) < 100
