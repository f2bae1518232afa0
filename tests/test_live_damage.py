"""A batch of the input that is damaged on the broker's disk, or packed in a way nobody knows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import crc32c
import pytest

from tests import kafka_broker, live_service
from tests.live_service import Deployment, deployment

pytestmark = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

#: A batch: offset of its first record, its length from here on, checksum and codec, last record.
OFFSET, LENGTH, CHECKSUM, CHECKED, CODEC, LAST, BODY = 0, 8, 17, 21, 22, 23, 61


@pytest.fixture(name="own")
def _own() -> Iterator[kafka_broker.Cluster]:
    """A broker whose files may be written to."""
    made = kafka_broker.fresh()
    yield made
    made.stop()


def batches(text: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Place and end of every batch in a segment, and its first and last offset."""
    at = 0
    while at + BODY < len(text):
        end = at + 12 + int.from_bytes(text[at + LENGTH:at + LENGTH + 4], "big")
        first = int.from_bytes(text[at + OFFSET:at + OFFSET + 8], "big")
        yield at, end, first, first + int.from_bytes(text[at + LAST:at + LAST + 4], "big")
        at = end


def damage(deployed: Deployment, codec: bool) -> tuple[int, int]:
    """Spoil the batch in the middle of partition 0; returns its first and last offset."""
    folder = deployed.cluster.folder
    assert folder is not None
    (path,) = Path(folder).glob(f"**/{deployed.name}.readings-0/*.log")
    text = bytearray(path.read_bytes())
    found = list(batches(text))
    at, end, first, last = found[len(found) // 2]
    if codec:  # with a checksum that is right
        text[at + CODEC] |= 7
        text[at + CHECKSUM:at + CHECKED] = crc32c.crc32c(
            bytes(text[at + CHECKED:end])).to_bytes(4, "big")
    else:
        text[at + BODY + 40] ^= 0x55
    with path.open("r+b") as file:
        file.seek(at)
        file.write(text[at:end])
    return first, last


def test_a_damaged_batch_stops_the_service_or_is_passed_over_as_the_settings_say(
    own: kafka_broker.Cluster,
) -> None:
    """Never in a loop, never silently: what is lost is said and counted, the rest is judged."""
    for codec in (False, True):
        rows = list(live_service.stream(3000, 12, 16))
        with deployment(own, 1) as deployed:
            for k in range(0, 3000, 500):  # batches of their own
                live_service.send(deployed, rows[k:k + 500])
            first, last = damage(deployed, codec)
            worker = deployed.start_worker()
            kafka_broker.wait_for(lambda w=worker: w.poll() is not None, 60, "the stop")
            assert worker.returncode == 78, deployed.logs()
            told = f"partition 0 cannot be read from offset {first} to {last}"
            assert told in deployed.logs()
            assert "Traceback" not in deployed.logs()
            text = deployed.config.read_text()
            deployed.config.write_text(f'{text}unreadable = "skip"\n')
            deployed.start_worker()
            live_service.wait_until_done(deployed, 60)
            time.sleep(0.5)
            assert deployed.stop() == [0], deployed.logs()
            assert f"{last - first + 1} messages are lost" in deployed.logs()
            counts = live_service.checkpoint(deployed, 0)["counts"]
            assert counts["in"] == counts["accepted"] == 3000 - (last - first + 1)
