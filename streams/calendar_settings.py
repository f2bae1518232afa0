"""Settings of the calendar; its reading is ``calendars``', its keeping ``planning``'s."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CalendarSettings:
    """Shifts, breaks, planned stops and maintenance."""

    file: str = ""
    """A ``.toml``, ``.csv`` or ``.ics`` file; empty = nothing is planned, a shift is a UTC day."""
    zone: str = "UTC"
    """Time zone of the file's local times, where it names none."""

    def __post_init__(self) -> None:
        known = (".toml", ".csv", ".ics")
        if self.file and Path(self.file).suffix.lower() not in known:
            raise ValueError(f"file: a calendar's name ends in {', '.join(known)}")
