"""Rows that follow too fast for the budget: told apart, and what helps, in words. No input here."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from anomaly.batches import Int64
from anomaly.config import MonitorConfig
from anomaly.later_rows import too_fast_seconds
from streams.settings import Settings

#: What the live service judges once enough is known, where the settings say nothing: beyond a
#: minute a machine's own rhythm is lost.
LATER_ROW_SECONDS = 60.0


def for_service(settings: Settings) -> Settings:
    """The settings with what the live service does where they say nothing."""
    monitor = settings.monitor
    if monitor.windows.later_row_seconds is not None or not monitor.windows.closes_instants:
        return settings
    windows = dataclasses.replace(monitor.windows, later_row_seconds=LATER_ROW_SECONDS)
    return dataclasses.replace(settings, monitor=dataclasses.replace(monitor, windows=windows))


def too_fast(step_seconds: float, monitor: MonitorConfig) -> bool:
    """Whether rows follow too closely for an alarm as rare as the budget allows."""
    return 0.0 < step_seconds < too_fast_seconds(monitor.threshold_seconds)  # False of NaN


def advice(step_seconds: float, monitor: MonitorConfig) -> str | None:
    """What helps, or is done, where rows follow too fast; None where they do not."""
    windows = monitor.windows
    if not windows.closes_instants or not too_fast(step_seconds, monitor):
        return None
    rows = monitor.threshold_seconds / step_seconds
    fast = (f"A row every {step_seconds:.3g} s: an alarm as rare as the budget allows is one in "
            f"{rows:,.0f} rows, further than healthy rows so close together can vouch for. ")
    if windows.later_row_seconds:
        means = monitor.reference_rows
        hours = means * windows.later_row_seconds / 3600.0
        return (f"{fast}Only sudden changes are judged until {means} means of "
                f"{windows.later_row_seconds:g} s are known, in about {hours:.3g} h; from then on "
                "these are, and slow changes, too ([windows] later_row_seconds).")
    return (f"{fast}Where hours may pass before the first opinion, rows of a minute keep the "
            "promise better: [windows] row_seconds = 60.")


def step_of(asset: Int64, time_ns: Int64) -> float:
    """Median over the machines of the median seconds between their rows; NaN where none has two."""
    steps = [np.median(np.diff(told)) / 1e9 for machine in np.unique(asset)
             if (told := np.unique(time_ns[asset == machine])).size > 1]
    return float(np.median(steps)) if steps else math.nan
