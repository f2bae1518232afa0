"""The demo's page: one process, no broker, a hall whose time runs faster than ours.

What people say on it does what it does in the live service, by the same functions, and is kept as
lines of a file; only the transaction around it is missing. The shift waits for the clock, so that
there is something to watch; the result is the same as without a page.
"""

from __future__ import annotations

import queue
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from anomaly.batches import Outcome
from anomaly.monitor import Monitor
from streams import exposition, open_alerts, verdicts
from streams.codec import Batch
from streams.commands import Command
from streams.errors import OutputError
from streams.health import Status
from streams.local_front import WAITING_LIMIT, BusyError
from streams.losses_feed import LossesFeed
from streams.metrics_settings import MetricsSettings
from streams.page.board import Board
from streams.page.desk import Desk
from streams.page.record import PageRecord
from streams.page.routes import pages
from streams.telemetry import Telemetry
from streams.webserver import Answer, WebServer

#: How often they are looked for when there are no batches any more.
LOOK_SECONDS = 0.2


class Rehearsal:
    """Serves the page on the loopback; a sink of the demo's loop.

    Parameters
    ----------
    port : int
        0 takes a free one; see :attr:`port`.
    speed : float
        Seconds in the hall per second here.
    monitor : Monitor
    commands_file : Path
        Gets a line for each command.

    Raises
    ------
    UsageError
        The port cannot be had.
    OutputError
        The file cannot be written.
    """

    def __init__(self, port: int, speed: float, monitor: Monitor, commands_file: Path) -> None:
        self._speed, self._monitor = speed, monitor
        self._memory: dict[str, Any] = {}
        self._waiting: queue.Queue[Command] = queue.Queue(WAITING_LIMIT)
        try:
            self._file = commands_file.open("wb")
        except OSError as error:
            raise OutputError(f"{commands_file}: cannot be written: {error.strerror}") from error
        self._began: tuple[int, float] | None = None
        record, self._status = PageRecord(), Status()
        self._status.move("running", ready=True)
        self._record = record
        self._telemetry = Telemetry(
            MetricsSettings(), monitor.config.budget_per_week, monitor.config.alert.flood_limit,
            page=record)
        self._feed = LossesFeed(self._telemetry)
        language = monitor.config.language
        board = Board(self._telemetry, record, self._status, language)
        shown = pages(board, Desk(self._give), language, needs_login=False)
        self._server = WebServer("127.0.0.1", port, {
            "/metrics": lambda: Answer(self._telemetry.render(), exposition.CONTENT_TYPE),
        }, handlers=shown.handlers, streams=shown.streams)
        self.port = self._server.port

    def keep_pace(self, time_ns: int) -> None:
        """Wait until the hall's time has come; the first call sets the hall's clock."""
        now = time.monotonic()
        if self._began is None:
            self._began = (time_ns, now)
        first_ns, began = self._began
        time.sleep(max(0.0, (time_ns - first_ns) / 1e9 / self._speed - (now - began)))

    def publish(self, batch: Batch, outcome: Outcome, monitor: Monitor) -> None:
        """Show a batch, then do what was said meanwhile."""
        for alert in outcome.alerts:
            verdicts.take(self._memory, alert)
        open_alerts.keep(self._memory, outcome.alerts)
        self._telemetry.observe(0, outcome, monitor)
        self._feed.tell(monitor, np.unique(batch.readings.asset).tolist())
        self.apply()

    def apply(self) -> None:
        """Do what was said; between two batches only."""
        while not self._waiting.empty():
            self._do(self._waiting.get_nowait())
        self._record.take_memory(0, self._memory)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Stop serving."""
        self._server.close()
        self._file.close()

    def _give(self, command: Command) -> None:
        try:
            self._waiting.put_nowait(command)
        except queue.Full:
            raise BusyError("too much was said at once") from None

    def _do(self, command: Command) -> None:
        names, memory = self._monitor.registry, self._memory
        if command.asset not in names.assets:
            return
        asset = names.asset(command.asset)
        if command.kind == "acknowledge":
            memory["acknowledged"] = [*memory.get("acknowledged", []), command.alert]
        elif command.kind == "shelve":
            until_ns = self._monitor.newest_ns(asset) + command.for_ns
            verdicts.shelve_until(memory, command.asset, until_ns)
        elif command.kind == "unshelve":
            verdicts.unshelve(memory, command.asset)
        elif command.kind == "feedback":
            verdicts.judge(memory, self._monitor, asset, command.alert, command.label)
        elif command.kind == "maintenance":
            self._monitor.rebaseline(asset)
        self._file.write(msgspec.json.encode(command) + b"\n")
        self._file.flush()
