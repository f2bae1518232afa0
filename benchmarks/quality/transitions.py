"""From the transitions of alerts, however they arrived, to the spans that are judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from benchmarks.quality.recordings import AlertSpan, IntArray, Recording


class UnknownMachineError(Exception):
    """An alert names a machine that is not in the recording."""


@dataclass(frozen=True)
class Transition:
    """One step in an alert's life.

    Attributes
    ----------
    id, asset, kind, state : str
        As in ``alerts.jsonl``; `state` is ``pending``, ``firing`` or ``resolved``.
    onset_ns, time_ns : int
        Nanoseconds since the epoch.
    sensors : tuple of str
        Contributing sensors, the strongest first.
    """

    id: str
    asset: str
    kind: str
    state: str
    onset_ns: int
    time_ns: int
    sensors: tuple[str, ...]


def spans_of(recording: Recording, transitions: Iterable[Transition]) -> tuple[AlertSpan, ...]:
    """Alert spans, in order of firing: a firing begins one, its resolution ends it.

    In a recording of one machine every alert is on that machine, whatever it is called.

    Raises
    ------
    UnknownMachineError
        If a fleet's alert names none of its machines.
    """
    machines = np.unique(recording.asset)
    by_name = {str(machine): int(machine) for machine in machines}
    spans: list[AlertSpan] = []
    open_at: dict[str, int] = {}
    for step in transitions:
        if recording.is_fleet and step.asset not in by_name:
            raise UnknownMachineError(f"{recording.name}: alert on machine {step.asset!r}")
        machine = by_name.get(step.asset, int(machines[0]))
        row = _row_at(recording, machine, step.time_ns)
        if step.state == "firing" and step.id not in open_at:
            open_at[step.id] = len(spans)
            spans.append(
                AlertSpan(
                    asset=machine,
                    fired_row=row,
                    fired_ns=int(recording.time_ns[row]),
                    onset_ns=step.onset_ns,
                    sensors=step.sensors,
                    kind=step.kind,
                )
            )
        elif step.state == "resolved" and step.id in open_at:
            number = open_at.pop(step.id)
            ended_ns = int(recording.time_ns[row])
            spans[number] = dataclasses.replace(
                spans[number], resolved_row=row, resolved_ns=ended_ns
            )
    return tuple(sorted(spans, key=lambda span: (span.fired_row, span.asset)))


def _row_at(recording: Recording, machine: int, time_ns: int) -> int:
    """Row of the machine at that time; else the next one, else its last."""
    rows: IntArray = np.flatnonzero(recording.asset == machine)
    # The judge's file carries microseconds.
    times = recording.time_ns[rows] // 1_000
    return int(rows[min(int(np.searchsorted(times, time_ns // 1_000)), rows.size - 1)])
