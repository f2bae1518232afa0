"""Rows that follow too fast for the budget: told apart, and what helps, in words. No input here."""

from __future__ import annotations

import math

import numpy as np

from anomaly.batches import Int64
from anomaly.config import WEEK_SECONDS, MonitorConfig

#: Rows closer together than this, and a false alarm rarer than one in so many of them: about one
#: healthy row in 10,000 is a true novelty on real machines, which no threshold removes.
FAST_ROW_SECONDS, FAR_ROWS = 31.0, 20_000


def too_fast(step_seconds: float, monitor: MonitorConfig) -> bool:
    """Whether rows follow too closely for an alarm as rare as the budget allows."""
    rows = WEEK_SECONDS / monitor.budget_per_week / max(step_seconds, 1e-9)
    return 0.0 < step_seconds < FAST_ROW_SECONDS and rows >= FAR_ROWS  # False of NaN


def advice(step_seconds: float, monitor: MonitorConfig) -> str | None:
    """What helps where rows follow too fast and are judged as they are; None where they do not."""
    windows = monitor.windows
    if windows.row_seconds or windows.cycle.sensor or windows.frame.sensors or (
            not too_fast(step_seconds, monitor)):
        return None
    rows = WEEK_SECONDS / monitor.budget_per_week / step_seconds
    return (f"A row every {step_seconds:.3g} s: an alarm as rare as the budget allows is one in "
            f"{rows:,.0f} rows, further than healthy rows so close together can vouch for. Where "
            "hours may pass before the first opinion, rows of a minute keep the promise better: "
            "[windows] row_seconds = 60.")


def step_of(asset: Int64, time_ns: Int64) -> float:
    """Median over the machines of the median seconds between their rows; NaN where none has two."""
    steps = [np.median(np.diff(told)) / 1e9 for machine in np.unique(asset)
             if (told := np.unique(time_ns[asset == machine])).size > 1]
    return float(np.median(steps)) if steps else math.nan
