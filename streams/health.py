"""Whether the service is alive and ready: a small status that the loop fills and probes read.

``/live``: the loop moves. ``/ready``: partitions are held and caught up. Answers never come from
the engine, so that a probe is answered while a kernel compiles or a state is read. How they are
served is ``webserver``'s.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

#: A loop that has not moved for this long is stuck: longer than any wait on a broker.
STUCK_SECONDS = 300.0

@dataclass(slots=True)
class Status:
    """What probes are told; written by the loop, read by the server."""

    phase: str = "starting"
    ready: bool = False
    moved_at: float = field(default_factory=time.monotonic)
    partitions: tuple[int, ...] = ()
    detail: dict[str, Any] = field(default_factory=dict)

    def move(self, phase: str, ready: bool) -> None:
        """The loop has come round."""
        self.phase, self.ready = phase, ready
        self.moved_at = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether the loop has come round lately."""
        return time.monotonic() - self.moved_at < STUCK_SECONDS


def probe(path: str, status: Status) -> tuple[int, str]:
    """HTTP status and JSON for ``/live`` or ``/ready``."""
    if path == "/live":
        return (200 if status.alive else 503), json.dumps(
            {"alive": status.alive, "phase": status.phase}) + "\n"
    return (200 if status.ready else 503), json.dumps(
        {"ready": status.ready, "phase": status.phase,
         "partitions": list(status.partitions), **status.detail}) + "\n"
