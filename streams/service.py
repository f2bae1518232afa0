"""The one loop: poll → decode → process → publish → perhaps checkpoint.

Every collaborator is passed in. Replay, demo, simulation and the live service are this loop with
another source, decoder, sinks and clock, which is why a replay says what the live run would have
said. No file, socket or log is touched here, and the wall clock only through ``Clock``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from anomaly.monitor import Monitor
from streams.codec import Batch, empty_batch
from streams.planning import Planning
from streams.sinks import Sink
from streams.sources import Source

Raw = TypeVar("Raw")
Raw_contra = TypeVar("Raw_contra", contravariant=True)


class Clock(Protocol):
    """Time as the service sees it: only differences matter."""

    def seconds(self) -> float:
        """Seconds since some fixed moment, never going back."""


class SystemClock:
    """The machine's own monotonic clock."""

    def seconds(self) -> float:
        """Seconds since some fixed moment, never going back."""
        return time.monotonic()


class Decoder(Protocol[Raw_contra]):
    """What turns raw pieces of one partition into batches."""

    def decode(self, raw: Raw_contra) -> Iterator[Batch]:
        """The piece's rows as batches, in order."""


class Checkpoint(Protocol):
    """Where the state of each partition is kept, and how often."""

    def is_due(self, now_seconds: float) -> bool:
        """Whether enough has happened since the last one."""

    def save(self, partition: int, monitor: Monitor, position: Mapping[str, object]) -> None:
        """Keep the state, durably, together with the position it is the state after."""


@dataclass(slots=True)
class Lane(Generic[Raw]):
    """What belongs to one partition: its monitor and its decoder, over one registry."""

    monitor: Monitor
    decoder: Decoder[Raw]
    rows: int = 0
    planning: Planning | None = None


def run(
    source: Source[Raw],
    open_lane: Callable[[int], Lane[Raw]],
    sinks: Sequence[Sink],
    clock: Clock,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Pass the whole stream through; returns when the source has ended and all is published.

    Parameters
    ----------
    source : Source
    open_lane : callable
        Called once per partition, when its first piece arrives.
    sinks : sequence of Sink
        Each is told of every batch, in this order.
    clock : Clock
    checkpoint : Checkpoint, optional
        None = state is not kept.

    Raises
    ------
    StreamsError
        Whatever source, decoder or sinks raise; nothing is caught here.
    """
    lanes: dict[int, Lane[Raw]] = {}
    while (polled := source.poll()) is not None:
        for partition, raw in polled.items():
            if partition not in lanes:
                lanes[partition] = open_lane(partition)
            lane = lanes[partition]
            for batch in lane.decoder.decode(raw):
                _process(lane, batch, sinks)
        if checkpoint is not None and checkpoint.is_due(clock.seconds()):
            _checkpoint(source, lanes, sinks, checkpoint)
    for lane in lanes.values():
        outcome = lane.monitor.flush()
        for sink in sinks:
            sink.publish(empty_batch(lane.rows), outcome, lane.monitor)
    if checkpoint is not None:
        _checkpoint(source, lanes, sinks, checkpoint)


def _process(lane: Lane[Raw], batch: Batch, sinks: Sequence[Sink]) -> None:
    if lane.planning is not None:
        lane.planning.keep(lane.monitor, batch.readings)
    outcome = lane.monitor.process(batch.readings)
    if batch.ends_warm_up:
        lane.monitor.end_warm_up()
    lane.rows = batch.first_row + batch.rows
    for sink in sinks:
        sink.publish(batch, outcome, lane.monitor)


def _checkpoint(
    source: Source[Raw], lanes: Mapping[int, Lane[Raw]], sinks: Sequence[Sink],
    checkpoint: Checkpoint,
) -> None:
    """Outputs first, then the state, then the source: a crash between them only repeats work."""
    for sink in sinks:
        sink.flush()
    for partition, position in source.positions().items():
        if partition in lanes:
            checkpoint.save(partition, lanes[partition].monitor, position)
    source.commit()
