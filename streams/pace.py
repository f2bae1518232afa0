"""How fast a recording's rows follow one another: what rows it is judged on, how many teach.

A weekly promise is one in 604,800 rows of a second, further than healthy rows so close together can
vouch for, and five hundred of them are eight minutes, which do not know a machine. Over a long
recording means of some seconds make as many rows as are needed and wander less from one to the
next, and the first 15 % teach what a day is like. The choice is made from the head of the first
file before anything is judged, and is said. No row is made here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomaly.batches import Int64
from anomaly.config import MonitorConfig
from anomaly.registry import Registry
from streams.codec import FrameDecoder
from streams.errors import StreamsError
from streams.fast_rows import step_of, too_fast
from streams.recordings import Frame, open_recording
from streams.rejections import Rejections
from streams.settings import Settings
from streams.times import NO_TIME
from streams.words import Words

#: Rows that a recording is to keep: four times the warm-up of the settings …
LEAST_ROWS = 2_000
#: … and the share of them that teaches, where that is more, as protocols of such recordings have
#: it. Both together: 99 alerts of three simulated healthy days became none (``benchmarks.pace``).
LEARNED_SHARE = 0.15
#: Lengths that people think in; beyond a minute a machine's own rhythm is lost.
LENGTHS = (2, 5, 10, 15, 20, 30, 60)
#: Machines' times of one frame that overlap this much were written side by side, not one after
#: the other.
SIDE_BY_SIDE = 1.5


@dataclass(frozen=True, slots=True)
class Choice:
    """What recordings are judged on: seconds of a row, 0 = as read; rows that teach, a machine."""

    row_seconds: float
    warm_up_rows: int


@dataclass(frozen=True, slots=True)
class Pace:
    """``step_seconds`` between a machine's rows (median) and about how long it was watched."""

    step_seconds: float
    seconds: float


def choice_for(settings: Settings, files: Sequence[Path], rows: bool = True) -> Choice | None:
    """What suits these recordings; None = what the settings say.

    Rows as read where ``rows`` is false or the settings say how rows close, where they are slow
    enough for the budget, and where a recording is too short to have :data:`LEAST_ROWS` others. As
    many rows to learn from as the settings say where these say so. None where there is no clock.
    """
    monitor = settings.monitor
    windows = monitor.windows
    if windows.cycle.sensor or windows.frame.sensors:
        return None
    pace = pace_of(settings, files)
    if pace is None:
        return None
    row_seconds = windows.row_seconds
    if rows and not row_seconds and too_fast(pace.step_seconds, monitor):
        fits = [length for length in LENGTHS
                if 2.0 * pace.step_seconds <= length <= pace.seconds / LEAST_ROWS]
        row_seconds = float(fits[-1]) if fits else 0.0
    warm_up = monitor.warm_up_rows
    if warm_up == MonitorConfig().warm_up_rows:
        share = LEARNED_SHARE * pace.seconds / (row_seconds or pace.step_seconds)
        most = max(monitor.reference_rows_limit, warm_up)
        warm_up = max(warm_up, min(int(share / 100.0) * 100, most))
    if (row_seconds, warm_up) == (windows.row_seconds, monitor.warm_up_rows):
        return None
    return Choice(row_seconds, warm_up)


def pace_of(settings: Settings, files: Sequence[Path]) -> Pace | None:
    """The pace of the first file's head, taken for all of them; None where it tells none.

    What is wrong with the file is for whoever reads it in earnest.
    """
    try:
        recording = open_recording(files[0], settings.input, Words.of(settings.monitor))
        if recording.layout.counts_rows:
            return None
        frames = recording.frames(0)
        frame = next(frames, None)
        share = recording.fraction  # while the file is open
        if frame is None:
            return None
        asset, time_ns = _told(frame)
    except StreamsError:
        return None
    step_seconds = step_of(asset, time_ns)
    if math.isnan(step_seconds):
        return None
    spans = [float(np.ptp(time_ns[asset == machine])) for machine in np.unique(asset)]
    seconds = max(spans) / 1e9
    layout = recording.layout
    whole = float(time_ns.max() - time_ns.min())
    if layout.asset_column is None or (len(spans) > 1 and sum(spans) > SIDE_BY_SIDE * whole):
        seconds /= max(share, 1e-6)
    if layout.asset_column is not None:  # without one every file is a machine of its own
        seconds *= _size(files) / max(_size(files[:1]), 1)
    return Pace(step_seconds, seconds)


def _told(frame: Frame) -> tuple[Int64, Int64]:
    """Machine and time of the frame's rows, int64[n] each."""
    decoder = FrameDecoder(Registry(), Rejections(0))
    batches = list(decoder.decode(frame))
    asset = np.concatenate([batch.asset for batch in batches])
    time_ns = np.concatenate([batch.time_ns for batch in batches])
    known = (time_ns != NO_TIME) & (asset >= 0)
    return asset[known], time_ns[known]


def _size(files: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in files)
