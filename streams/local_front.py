"""What the service without Kafka shows, and what people say there: between two batches of its lane.

The live service's worker does the same with a topic of commands; here they wait in memory, take
effect by the same function, and are kept with the next snapshot, which is taken at once.
"""

from __future__ import annotations

import queue
import time

from streams import commands, open_alerts
from streams.commands import Command
from streams.errors import StreamsError
from streams.front import Front
from streams.health import Status
from streams.lane import Lane
from streams.metric_families import TOTALS, Service

#: Commands that wait for the next batch.
WAITING_LIMIT = 1000


class BusyError(StreamsError):
    """Too much was said at once."""


class Attendant:
    """Tends to a lane: shows it, and does what was said.

    Parameters
    ----------
    status : Status
        What probes are told.
    """

    def __init__(self, status: Status) -> None:
        self._status = status
        self._waiting: queue.Queue[Command] = queue.Queue(WAITING_LIMIT)
        self._began = self._kept_at = time.time()
        self._shown: Front | None = None

    def give(self, command: Command) -> None:
        """Have a command take effect before the next batch.

        Raises
        ------
        BusyError
            Too many wait already.
        """
        try:
            self._waiting.put_nowait(command)
        except queue.Full:
            raise BusyError("too much was said at once") from None

    def show(self, shown: Front, lane: Lane) -> None:
        """From here on the lane is seen; what was firing before still is."""
        self._shown = shown
        lane.telemetry, lane.push = shown.telemetry, shown.push
        firing = open_alerts.kept(lane.memory)
        shown.telemetry.restore(lane.partition, firing, lane.monitor)
        if shown.push is not None:
            shown.push.restore(firing)

    def tend(self, lane: Lane) -> bool:
        """Once per turn of the loop; whether something was said, so that it must be kept."""
        said = False
        while not self._waiting.empty():
            commands.apply_to(lane, self._waiting.get_nowait())
            said = True
        now = time.time()
        self._status.move("running", ready=True)
        self._status.partitions = (lane.partition,)
        if self._shown is None:
            return said
        told = self._shown.telemetry
        told.take_service(Service(
            messages={lane.partition: dict(lane.counts)},
            dead={lane.partition: dict(lane.reasons)},
            checkpoint_at={lane.partition: self._kept_at},
            totals=dict.fromkeys(TOTALS, 0.0), ready=True, moved_at=now, reloaded_at=self._began))
        if told.page is not None:
            told.page.take_memory(lane.partition, lane.memory)
        return said

    def kept(self) -> None:
        """A snapshot was taken."""
        self._kept_at = time.time()
