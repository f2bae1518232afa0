"""What really happened: events, calendar, every state to the scan, every cycle; as one document.

The document is written beside a recording and never read by the program under judgement. Its
layout is in :func:`Truth.document`; :func:`booked_seconds` turns it back into seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streams.simulation import calendar, line
from streams.simulation.config import SCAN_NS, SCANS_PER_SECOND, LineConfig
from streams.simulation.generate import Chunk
from streams.simulation.injections import (
    Injection,
    failure_seconds,
    kind_of,
    sensors_of,
)

FORMAT = 1


class Truth:
    """Folds the truth of all chunks together; fed in their order."""

    def __init__(self, config: LineConfig, injections: Sequence[Injection] = ()) -> None:
        self._config = config
        self._injections = tuple(injections)
        self._scans = 0
        # Per station: scans at which the booking changes, and to what.
        self._starts: list[list[int]] = [[] for _ in config.stations]
        self._codes: list[list[int]] = [[] for _ in config.stations]
        self._cycles: list[npt.NDArray[np.void]] = []

    def add(self, chunk: Chunk) -> None:
        """Take in the next chunk."""
        assert chunk.first_scan == self._scans, "chunks out of order"
        self._scans += chunk.bookings.shape[0]
        for station, (starts, codes) in enumerate(zip(self._starts, self._codes, strict=True)):
            column = chunk.bookings[:, station]
            changes = np.flatnonzero(column[1:] != column[:-1]) + 1
            if not codes or codes[-1] != column[0]:
                changes = np.concatenate((np.zeros(1, changes.dtype), changes))
            starts.extend((changes + chunk.first_scan).tolist())
            codes.extend(column[changes].tolist())
        self._cycles.append(chunk.cycles)

    def document(self) -> dict[str, Any]:
        """The truth as plain values.

        ``events``: one per injection — kind, asset, sensors, start, end, failure_time (or null),
        size and what it means. ``nuisances``: what is healthy but looks odd — product changes,
        breaks, planned stops, services, time off shift. ``planned``: [start, end) of planned time
        without production, seconds since the start. ``bookings``: per asset the runs under
        one heading each: ``start_scan`` and ``code`` (position in ``headings``); the last ends at
        ``scans``. ``booked``: their
        sums in seconds. ``cycles``: per asset one entry per finished cycle.
        """
        config = self._config
        names = [station.name for station in config.stations]
        offs = calendar.off_times(config)
        return {
            "format": FORMAT,
            "seed": config.seed,
            "start": self._time(0),
            "end": self._time(self._scans),
            "row_interval_seconds": config.row_interval_seconds,
            "scans_per_second": SCANS_PER_SECOND,
            "scans": self._scans,
            "assets": names,
            "columns": list(config.columns),
            "states": {str(code): name for code, name in line.STATES.items()},
            "events": [self._event(injection) for injection in self._injections],
            "nuisances": self._nuisances(offs),
            "planned": [
                [off.start_scan / SCANS_PER_SECOND, off.end_scan / SCANS_PER_SECOND] for off in offs
            ],
            "headings": list(line.BOOKINGS),
            "bookings": {
                name: {"start_scan": starts, "code": codes}
                for name, starts, codes in zip(names, self._starts, self._codes, strict=True)
            },
            "booked": {name: self._sums(station) for station, name in enumerate(names)},
            "cycles": self._cycle_columns(),
        }

    def write(self, path: Path) -> None:
        """Write the document as JSON."""
        path.write_text(json.dumps(self.document(), separators=(",", ":")) + "\n", encoding="utf-8")

    def write_failures(self, path: Path) -> int:
        """Write the machine stops for ``andon replay --failures``; returns how many there are."""
        lines = ["asset,time,kind"]
        for event in self.document()["events"]:
            if event["failure_time"] is not None:
                lines.append(f"{event['asset']},{event['failure_time']},{event['kind']}")
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return len(lines) - 1

    def _event(self, injection: Injection) -> dict[str, Any]:
        kind = kind_of(injection)
        failure = failure_seconds(injection)
        failure_scan = None if failure is None else round(failure * SCANS_PER_SECOND)
        happened = failure_scan is not None and failure_scan < self._scans
        return {
            "kind": injection.kind,
            "asset": self._config.stations[injection.station].name,
            "sensors": list(sensors_of(injection)),
            "start": self._time(injection.start_scan),
            "end": self._time(min(injection.end_scan, self._scans)),
            "failure_time": self._time(failure_scan) if happened and failure_scan is not None
            else None,
            "size": injection.size,
            "size_meaning": kind.size_meaning,
            "course": kind.course,
        }  # fmt: skip

    def _nuisances(self, offs: Sequence[calendar.Off]) -> list[dict[str, Any]]:
        found = [
            {"kind": off.kind, "asset": None,
             "start": self._time(off.start_scan), "end": self._time(off.end_scan)}
            for off in offs
        ]  # fmt: skip
        for station, (starts, codes) in enumerate(zip(self._starts, self._codes, strict=True)):
            ends = [*starts[1:], self._scans]
            found += [
                {"kind": "product_change", "asset": self._config.stations[station].name,
                 "start": self._time(start), "end": self._time(end)}
                for start, end, code in zip(starts, ends, codes, strict=True)
                if code == line.CHANGEOVER
            ]  # fmt: skip
        return found

    def _sums(self, station: int) -> dict[str, float]:
        scans = dict.fromkeys(line.BOOKINGS, 0)
        ends = [*self._starts[station][1:], self._scans]
        runs = zip(self._starts[station], ends, self._codes[station], strict=True)
        for start, end, code in runs:
            scans[line.BOOKINGS[code]] += end - start
        return {heading: total / SCANS_PER_SECOND for heading, total in scans.items()}

    def _cycle_columns(self) -> dict[str, dict[str, list[Any]]]:
        cycles = np.concatenate(self._cycles) if self._cycles else np.zeros(0, line.CYCLE_DTYPE)
        result: dict[str, dict[str, list[Any]]] = {}
        for station, config in enumerate(self._config.stations):
            own = cycles[cycles["station"] == station]
            result[config.name] = {
                "start_seconds": (own["start_scan"] / SCANS_PER_SECOND).tolist(),
                "end_seconds": (own["end_scan"] / SCANS_PER_SECOND).tolist(),
                "work_seconds": (own["work_scans"] / SCANS_PER_SECOND).tolist(),
                "nominal_seconds": (own["nominal_scans"] / SCANS_PER_SECOND).tolist(),
                "product": [self._config.products[i].name for i in own["product"].tolist()],
                "rejected": own["rejected"].tolist(),
            }
        return result

    def _time(self, scan: int) -> str:
        return iso_time(self._config.start_time_ns + scan * SCAN_NS)


def booked_seconds(document: Mapping[str, Any], asset: str) -> list[str]:
    """Heading of every whole second of an asset: the one that holds at the second's beginning."""
    runs = document["bookings"][asset]
    per_second = document["scans_per_second"]
    seconds = np.arange(0, document["scans"], per_second)
    run = np.searchsorted(np.asarray(runs["start_scan"]), seconds, side="right") - 1
    return [document["headings"][runs["code"][i]] for i in run.tolist()]


def iso_time(time_ns: int) -> str:
    """ISO 8601 in UTC, to the millisecond where there are any."""
    moment = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC)
    milliseconds = time_ns % 1_000_000_000 // 1_000_000
    fraction = f".{milliseconds:03d}" if milliseconds else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"
