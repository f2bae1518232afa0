"""The calendar beside a running monitor: read from its file as far ahead as is needed.

``[calendar]`` in the settings names the file (formats: ``calendars``). The plan is made of plain
intervals around the stream's own time, made anew when that time or the list of assets outgrows it,
so that a live run, a replay and a restart plan the same. No clock and no engine rule here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from anomaly import accounts
from anomaly.batches import Int64, ReadingBatch
from anomaly.monitor import Monitor
from streams import calendars
from streams.calendar_settings import CalendarSettings
from streams.calendars import Calendar, Interval

_DAY_NS = 86_400 * 10**9
#: How far the plan reaches around the first time seen, and how near its end it is made anew.
_BEHIND_NS, _AHEAD_NS, _MARGIN_NS = 60 * _DAY_NS, 400 * _DAY_NS, 60 * _DAY_NS


@dataclass(slots=True)
class Planning:
    """Keeps one monitor's plan; nothing happens where no calendar is set."""

    settings: CalendarSettings
    _assets: int = 0
    _start_ns: int = 0
    _end_ns: int = 0
    _calendar: Calendar = field(default_factory=lambda: Calendar((), 0, 0))

    def keep(self, monitor: Monitor, readings: ReadingBatch) -> None:
        """Call before these readings are processed.

        Raises
        ------
        InputError
            The calendar cannot be read.
        """
        if not self.settings.file or not len(readings):
            return
        first, last = int(readings.time_ns.min()), int(readings.time_ns.max())
        inside = self._start_ns + _MARGIN_NS <= first and last <= self._end_ns - _MARGIN_NS
        known = len(monitor.registry.assets)
        if inside and known == self._assets:
            return
        if not inside:
            # A clock gone wild must not ask for centuries of shifts.
            self._start_ns = first // _DAY_NS * _DAY_NS - _BEHIND_NS - _MARGIN_NS
            self._end_ns = min(last, first + _AHEAD_NS) // _DAY_NS * _DAY_NS + _AHEAD_NS
            self._calendar = calendars.read(
                Path(self.settings.file), self._start_ns, self._end_ns, self.settings.zone)
        self._assets = known
        monitor.shop.plan = plan(self._calendar, monitor.registry.assets)


def plan(calendar: Calendar, assets: list[str]) -> accounts.Plan:
    """A calendar in the engine's terms.

    An asset's shifts are those that concern it, one sequence: where two overlap, the earlier ends
    with the later's beginning.
    """
    shifts = calendar.shifts()
    every = [_sequence([shift for shift in shifts if shift.concerns(asset)]) for asset in assets]
    ends_at = np.cumsum([0, *(len(own) for own in every)])
    table = np.concatenate([np.zeros((0, 2), np.int64), *every])
    if not any(shift.assets for shift in shifts):  # everybody's, kept once
        table, ends_at = _sequence(shifts), np.zeros(0, np.int64)
    offsets, begins = [0], []
    for asset in assets:
        begins += sorted(
            stop.start_ns for stop in calendar.intervals if _is_stop(stop, asset))
        offsets.append(len(begins))
    return accounts.Plan(
        calendar.planned(assets), np.ascontiguousarray(table[:, 0]),
        np.ascontiguousarray(table[:, 1]), np.array(offsets, np.int64),
        np.array(begins, np.int64), ends_at.astype(np.int64))


def _sequence(shifts: list[Interval]) -> Int64:
    """Begin and end int64[s, 2] of shifts in order of time, disjoint."""
    table = np.array([(shift.start_ns, shift.end_ns) for shift in shifts], np.int64).reshape(-1, 2)
    fresh = np.ones(len(table), np.bool_)
    fresh[1:] = table[1:, 0] > table[:-1, 0]
    table = table[fresh]
    table[:-1, 1] = np.minimum(table[:-1, 1], table[1:, 0])
    return table


def _is_stop(interval: Interval, asset: str) -> bool:
    return interval.kind in ("stop", "maintenance") and interval.concerns(asset)
