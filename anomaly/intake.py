"""The first half of the composition: readings in, closed rows out. No algorithm here.

    quality.run_screen ─► (reorder) ─► windows

``monitor.py`` calls it and judges the rows. The reorder buffer stands between only where readings
may come late (``quality.lateness_seconds`` above 0); else it costs nothing.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from anomaly import quality, reorder, windows
from anomaly.batches import Float64, Int8, Int64, Ordered, ReadingBatch, RowBatch
from anomaly.config import MonitorConfig

State = dict[str, dict[str, np.ndarray[Any, Any]]]


def reorders(config: MonitorConfig) -> bool:
    """Whether readings are held back for late ones, so that there is a component for them."""
    return config.quality.lateness_seconds > 0


def run(
    config: MonitorConfig, state: State, table: Int64, roles: windows.Roles, low: Float64,
    high: Float64, readings: ReadingBatch,
) -> tuple[RowBatch, Int8, Ordered]:
    """The rows that closed, per reading an index into ``quality.REASONS``, and the readings.

    ``low``, ``high float64[tags]``: the admitted range by tag, or both empty.
    """
    screened = quality.run_screen(config.quality, state["quality"], table, low, high, readings)
    if not reorders(config):
        return windows.run(
            config.windows, state["windows"], table, roles, readings, screened.value,
            screened.base, screened.reason,
        ), screened.reason, Ordered(
            dataclasses.replace(readings, value=screened.value), screened.base, None)
    close = config.windows
    if close.row_seconds > 0 or close.cycle.sensor or close.frame.sensors:
        # There a wide row's last reading closes nothing, so what comes after it is not late.
        readings = dataclasses.replace(readings, closes=np.zeros(len(readings), np.bool_))
    released = reorder.run(
        config.reorder, state["reorder"], readings, screened.value, screened.base, screened.reason
    )
    rows, refused = _in_order(config, state, table, roles, released)
    # A refusal is told where the reading did not wait: of one that came with an earlier batch
    # nobody could be told any more, and then what is told would depend on the cut.
    told = (refused > 0) & (released.arrived_as == released.freed_by)
    screened.reason[released.arrived_as[told]] = refused[told]
    return rows, screened.reason, _ordered(released)


def flush(
    config: MonitorConfig, state: State, table: Int64, roles: windows.Roles
) -> tuple[RowBatch, Ordered | None]:
    """End of the stream: what waits goes on, and what is open closes; ``closed_at`` is −1."""
    parts, ordered = [], None
    if reorders(config):
        released = reorder.flush(state["reorder"])
        parts.append(_in_order(config, state, table, roles, released)[0])
        ordered = _ordered(released)
    parts.append(windows.flush(config.windows, state["windows"], table))
    return windows.joined(parts), ordered


def _ordered(released: reorder.Released) -> Ordered:
    return Ordered(released.readings, released.base, released.freed_by)


def _in_order(
    config: MonitorConfig, state: State, table: Int64, roles: windows.Roles,
    released: reorder.Released,
) -> tuple[RowBatch, Int8]:
    """Rows of what the buffer let go, closed by the arrivals that let it go, and refusals."""
    refused = np.zeros(len(released.readings), np.int8)
    rows = windows.run(
        config.windows, state["windows"], table, roles, released.readings,
        released.readings.value, released.base, refused,
    )
    return dataclasses.replace(rows, closed_at=released.freed_by[rows.closed_at]), refused
