"""The progress bar: how far, how fast, how long yet. On a terminal only, never into a log file."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

from anomaly.batches import Outcome
from anomaly.monitor import Monitor
from streams.codec import Batch
from streams.service import Clock

#: Redraws a second; more would only flicker.
_INTERVAL_SECONDS = 0.2
_WIDTH = 24


class Progress:
    """A sink that draws one line and takes it away at the end.

    Parameters
    ----------
    stream : TextIO
        Usually standard error; nothing is drawn unless it is a terminal.
    fraction : callable
        How much is done, 0..1.
    clock : Clock
    """

    def __init__(self, stream: TextIO, fraction: Callable[[], float], clock: Clock) -> None:
        self.readings = 0
        self._stream = stream
        self._fraction = fraction
        self._clock = clock
        self._drawn = False
        self._enabled = stream.isatty()
        self._start = clock.seconds()
        self._next = self._start
        self._alerts = 0
        if self._enabled:
            self._draw("starting …")

    @property
    def seconds(self) -> float:
        """Since this was made."""
        return self._clock.seconds() - self._start

    def publish(self, batch: Batch, outcome: Outcome, monitor: Monitor) -> None:
        """Count, and redraw if it is time."""
        self.readings += len(batch.readings)
        self._alerts += sum(alert.state == "firing" for alert in outcome.alerts)
        now = self._clock.seconds()
        if self._enabled and now >= self._next:
            self._next = now + _INTERVAL_SECONDS
            self._draw(line(self._fraction(), self.readings, now - self._start, self._alerts))

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Take the line away."""
        self.hide()

    def hide(self) -> None:
        """Make room for something else on the terminal."""
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn = False

    def _draw(self, text: str) -> None:
        self._stream.write(f"\r{text}\x1b[K")
        self._stream.flush()
        self._drawn = True


def line(fraction: float, readings: int, seconds: float, alerts: int) -> str:
    """``[#####.....]  41 %  1,200,000 readings/s  0:12 left  3 alerts``."""
    fraction = min(max(fraction, 0.0), 1.0)
    filled = int(fraction * _WIDTH)
    text = f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {100 * fraction:3.0f} %"
    if seconds > 0:
        text += f"  {readings / seconds:,.0f} readings/s"
    if fraction > 0.01:
        left = round(seconds * (1 - fraction) / fraction)
        text += f"  {left // 60}:{left % 60:02d} left"
    if alerts:
        text += f"  {alerts:,} {'alert' if alerts == 1 else 'alerts'}"
    return text
