"""Snapshots in a directory: written aside, fsynced, renamed; the last two of each partition kept.

At any instant there is at least one whole snapshot on disk, whatever is killed when. Damaged files
are passed over for the one before. What a snapshot holds is ``anomaly.snapshot``'s business.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from anomaly import snapshot
from anomaly.config import MonitorConfig
from anomaly.errors import StateError
from anomaly.monitor import Monitor

#: One to load, and one in case that one turns out to be damaged.
KEPT = 2

_NAME = re.compile(r"^partition-(\d+)-(\d{12})\.npz$")


class DirectoryCheckpoint:
    """Keeps the state of every partition as files.

    Parameters
    ----------
    directory : Path
        Created if absent.
    interval_seconds : float
        Least time between two checkpoints; what is lost at a crash is recomputed, so this trades
        a slower restart for less writing.
    """

    def __init__(self, directory: Path, interval_seconds: float = 60.0) -> None:
        self.directory = directory
        self.interval_seconds = interval_seconds
        self._next_seconds: float | None = None
        directory.mkdir(parents=True, exist_ok=True)

    def is_due(self, now_seconds: float) -> bool:
        """Whether the interval has passed since the last one (or since the first question)."""
        if self._next_seconds is None:
            self._next_seconds = now_seconds + self.interval_seconds
        if now_seconds < self._next_seconds:
            return False
        self._next_seconds = now_seconds + self.interval_seconds
        return True

    def save(self, partition: int, monitor: Monitor, position: Mapping[str, object]) -> None:
        """Write one snapshot durably, then forget the oldest.

        Raises
        ------
        OSError
            The disk is full, read-only or gone; the snapshots before stay as they are.
        """
        data = snapshot.to_bytes(monitor, position)
        known = self._snapshots(partition)
        number = known[-1][0] + 1 if known else 0
        path = self.directory / f"partition-{partition}-{number:012d}.npz"
        write_durably(path, data)
        for _, old in known[: len(known) + 1 - KEPT]:
            old.unlink()

    def load(
        self, partition: int, config: MonitorConfig
    ) -> tuple[Monitor, dict[str, object]] | None:
        """The newest state that can be read, and its position; None if there is none at all.

        Raises
        ------
        StateError
            There are snapshots but none can be read: starting afresh must be somebody's decision.
        """
        known = self._snapshots(partition)
        error: StateError | None = None
        for _, path in reversed(known):
            try:
                return snapshot.from_bytes(path.read_bytes(), config)
            except StateError as found:
                error = StateError(f"{path}: {found}")
        if error is not None:
            raise error
        return None

    def partitions(self) -> list[int]:
        """The partitions of which there are snapshots."""
        found = (_NAME.match(path.name) for path in self.directory.iterdir())
        return sorted({int(match.group(1)) for match in found if match})

    def _snapshots(self, partition: int) -> list[tuple[int, Path]]:
        """(number, path) of the partition's snapshots, oldest first."""
        found = []
        for path in self.directory.iterdir():
            match = _NAME.match(path.name)
            if match and int(match.group(1)) == partition:
                found.append((int(match.group(2)), path))
        return sorted(found)


def write_durably(path: Path, data: bytes) -> None:
    """Whole or not at all, and still there after a power cut."""
    aside = path.with_name(path.name + ".part")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def fsync_directory(directory: Path) -> None:
    """Make the names in it durable, not only what they stand for."""
    opened = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
