"""A frame of vibration samples as a few numbers that a wearing machine changes. Pure arithmetic.

One frame of one sensor in, one row of features out; when a frame is full is decided elsewhere
(``frames.py``). Every feature is from the frame alone, so a row never depends on what came before:

* ``rms``, ``kurtosis``, ``crest`` of the samples less their mean: energy, spikes, largest spike.
  Kurtosis is 3 for noise and 1.5 for a sine; a spalled bearing hammers (Dyer and Stewart,
  "Detection of rolling element bearing damage by statistical vibration analysis", J. Mech. Des.
  100 (1978)).
* ``band_LOW_HIGHhz``: root mean square within the octaves below half the sample rate, from one Hann
  window's power spectrum (Welch, IEEE Trans. AU-15 (1967), with a single segment).
* ``velocity_rms_mm_s`` from 10 to 1,000 Hz, by dividing each line by 2πf: what ISO 20816-3:2022,
  clause 4, judges (:data:`ZONES`). Needs the unit of the acceleration and a frame of 0.2 s.
* ``envelope_rms``, ``envelope_peak``: the squared envelope of the octave below a quarter of the
  sample rate, where bearings ring; its largest line against the mean line. With the bearing's
  geometry and the shaft's speed also ``outer_race``, ``inner_race``, ``rolling_element`` and
  ``cage``: the same at three harmonics of the rates at which balls meet a flaw there (Randall and
  Antoni, "Rolling element bearing diagnostics – a tutorial", MSSP 25 (2011), eq. 1–4 and §5.2).
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anomaly.batches import Float64
from anomaly.errors import ConfigError
from anomaly.kernel import kernel

#: Octaves below half the sample rate; the last reaches down to the first line.
OCTAVES = 8
#: Range of the vibration velocity (ISO 20816-3:2022, 4.2).
VELOCITY_LOW_HZ, VELOCITY_HIGH_HZ = 10.0, 1000.0
#: Periods of the lowest frequency that a frame must hold for a velocity: fewer, and the window's
#: own leakage, divided by f, rules it.
VELOCITY_PERIODS = 2.0
#: Name of the feature.
VELOCITY = "velocity_rms_mm_s"
#: mm/s² in each unit that a sample may be in.
UNITS = {"": 0.0, "m/s2": 1e3, "g": 9806.65, "mg": 9.80665}
#: Harmonics of a bearing rate that count, and how far beside it a line may stand: balls slip.
HARMONICS, SLIP = 3, 0.02
#: Fewest samples that make a frame, and most.
SAMPLES_LEAST, SAMPLES_MOST = 64, 1 << 17
#: Frames transformed together, always: a lane of a vector unit or none rounds the same then.
TOGETHER = 8

#: Upper ends of zones A, B, C in mm/s by (group, support): ISO 20816-3:2022, tables A.1 and A.2.
#: Group 1: above 300 kW; group 2: 15 to 300 kW. The same numbers as in ISO 10816-3:2009 and GB/T
#: 6075.3-2011; checked against public statements of the tables, not against the standard itself.
ZONES = {
    ("1", "rigid"): (2.3, 4.5, 7.1), ("1", "flexible"): (3.5, 7.1, 11.0),
    ("2", "rigid"): (1.4, 2.8, 4.5), ("2", "flexible"): (2.3, 4.5, 7.1),
}


@dataclass(frozen=True, slots=True)
class Bearing:
    """What the envelope's lines are looked for at; from the bearing's data sheet, 0 = unknown."""

    balls: int = 0
    """Rolling elements in one row."""
    ball_mm: float = 0.0
    """Diameter of a rolling element."""
    pitch_mm: float = 0.0
    """Diameter of the circle through their centres."""
    contact_degrees: float = 0.0
    """Contact angle."""
    shaft_hz: float = 0.0
    """Turns of the shaft a second, as the machine is usually run."""

    def __post_init__(self) -> None:
        given = (self.balls > 0, self.ball_mm > 0, self.pitch_mm > 0, self.shaft_hz > 0)
        if any(given) and not all(given):
            raise ConfigError("balls: balls, ball_mm, pitch_mm and shaft_hz go together")
        if self.ball_mm >= self.pitch_mm > 0:
            raise ConfigError("ball_mm: must be below pitch_mm")

    def rates_hz(self) -> dict[str, float]:
        """How often a second a flaw is struck, by its place; empty where nothing is known."""
        if not self.balls:
            return {}
        part = self.ball_mm / self.pitch_mm * math.cos(math.radians(self.contact_degrees))
        return {
            "outer_race": self.balls / 2.0 * self.shaft_hz * (1.0 - part),
            "inner_race": self.balls / 2.0 * self.shaft_hz * (1.0 + part),
            "rolling_element": self.pitch_mm / self.ball_mm * self.shaft_hz * (1.0 - part * part),
            "cage": self.shaft_hz / 2.0 * (1.0 - part),
        }


@dataclass(frozen=True, slots=True)
class Config:
    """How samples become frames, and frames features."""

    sensors: tuple[str, ...] = ()
    """Sensors whose readings are vibration samples; none = rows close in another way."""
    sample_hz: float = 0.0
    """Samples a second."""
    samples: int = 2048
    """Samples of a frame; what comes in bursts needs the length of a burst."""
    hold_seconds: float = 60.0
    """How long the value of another sensor (speed, temperature) goes with the frames after it."""
    unit: str = ""
    """Unit of the samples, if they are accelerations: ``m/s2``, ``g`` or ``mg``. Empty = unknown:
    no velocity."""
    group: str = ""
    """Machine group of ISO 20816-3: ``1`` above 300 kW, ``2`` from 15 kW. Empty = not judged by it.
    Given, the end of zone C is the limit that a velocity is forecast to, unless one is set."""
    support: str = "rigid"
    """``rigid`` or ``flexible``, as ISO 20816-3 tells them apart."""
    bearing: Bearing = field(default_factory=Bearing)

    def __post_init__(self) -> None:
        if (self.group or "1", self.support) not in ZONES:
            raise ConfigError("group: must be 1 or 2, and support rigid or flexible")
        if not 0.0 <= self.sample_hz <= 1e9 or (self.sensors and not self.sample_hz):
            raise ConfigError(f"sample_hz: must be above 0, at most 1e9, got {self.sample_hz}")
        if not SAMPLES_LEAST <= self.samples <= SAMPLES_MOST:
            raise ConfigError(f"samples: must be {SAMPLES_LEAST} to {SAMPLES_MOST}")
        if not 0.0 <= self.hold_seconds <= 366 * 86_400:
            raise ConfigError("hold_seconds: must be 0 to 366 days")
        if self.unit not in UNITS:
            raise ConfigError(f"unit: must be one of {', '.join(u for u in UNITS if u)}")

    @property
    def has_velocity(self) -> bool:
        """Whether the samples' unit and the frame's length allow a velocity."""
        periods = self.samples * VELOCITY_LOW_HZ / self.sample_hz if self.sample_hz else 0.0
        return bool(self.unit) and periods >= VELOCITY_PERIODS


#: Samples beyond this are treated as this: their fourth power is still finite.
LIMIT = 1e60


def names(config: Config) -> list[str]:
    """The features' names, in the order of :func:`features`."""
    ends = band_edges(config.sample_hz)
    bands = [f"band_{low:.0f}_{high:.0f}hz" for high, low in itertools.pairwise(ends)]
    velocity = [VELOCITY] if config.has_velocity else []
    return ["rms", "kurtosis", "crest", *bands, *velocity, "envelope_rms", "envelope_peak",
            *config.bearing.rates_hz()]


def band_edges(sample_hz: float) -> list[float]:
    """Edges of the octaves, the highest first: OCTAVES + 1 of them, the last 0."""
    return [sample_hz / 2.0 ** (k + 1) for k in range(OCTAVES)] + [0.0]


def velocity_limit(config: Config, column: str) -> float:
    """The end of zone C, in mm/s, for the velocity of a sampled sensor; inf for anything else."""
    sensor, _, feature = column.rpartition(".")
    if not config.group or feature != VELOCITY or sensor not in config.sensors:
        return math.inf
    return ZONES[config.group, config.support][2]


def zone(velocity_mm_s: float, group: str, support: str) -> str:
    """Zone ``A`` (new) to ``D`` (doing damage) of ISO 20816-3; empty where nothing is known.

    Raises
    ------
    KeyError
        No such group or support in :data:`ZONES`.
    """
    ends = ZONES[group, support]
    if math.isnan(velocity_mm_s):
        return ""
    return "ABCD"[sum(velocity_mm_s > end for end in ends)]


def features(config: Config, frames: Float64) -> Float64:
    """Features ``float64[k, F]`` of ``frames float64[k, n]``, finite and within ±:data:`LIMIT`.

    The bits of a frame's features do not depend on the frames that come with it.
    """
    import scipy.fft  # lazily: a quarter of a second that only vibration needs

    k, n = frames.shape
    found = np.empty((k, len(names(config))))
    window = _hann(n)
    rates = np.array(list(config.bearing.rates_hz().values()))
    edges = np.array(band_edges(config.sample_hz))
    window_square = float(window @ window)
    at = found.shape[1] - 2 - rates.size
    unit = UNITS[config.unit] if config.has_velocity else 0.0
    for start in range(0, k, TOGETHER):
        part = np.zeros((TOGETHER, n))
        count = min(TOGETHER, k - start)
        out = found[start : start + count]
        shape(frames[start : start + count], window, part, out)
        lines = scipy.fft.rfft(part)
        carried = np.zeros((TOGETHER, 2 * (n // 8)), np.complex128)
        of_spectrum(
            lines[:count], config.sample_hz, edges, window_square, unit, n, carried, out)
        ringing = scipy.fft.ifft(carried)
        squared = np.zeros((TOGETHER, carried.shape[1]))
        # As over n samples, with the window's own mean square taken out.
        square_envelopes(
            ringing[:count], (carried.shape[1] / n) ** 2 * 4.0 * n / window_square, squared,
            out[:, at])
        of_envelope(scipy.fft.rfft(squared)[:count], config.sample_hz, n, rates, out)
    return found


@functools.lru_cache(maxsize=8)
def _hann(n: int) -> Float64:
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n) / n)


@kernel
def shape(frames: Float64, window: Float64, windowed: Float64, out: Float64) -> None:
    """Columns 0–2: root mean square, kurtosis, crest factor; and the frames under the window."""
    n = frames.shape[1]
    for i in range(frames.shape[0]):
        frame = frames[i]
        mean = other = 0.0  # two sums: an addition need not wait for the one before it
        for j in range(0, n - 1, 2):
            mean += frame[j]
            other += frame[j + 1]
        mean = (mean + other + (frame[n - 1] if n % 2 else 0.0)) / n
        second = fourth = peak = 0.0
        for j in range(n):
            value = frame[j] - mean
            square = value * value
            second += square
            fourth += square * square
            peak = max(peak, square)
            windowed[i, j] = value * window[j]
        second /= n
        peak = math.sqrt(peak)
        out[i, 0] = math.sqrt(second)
        out[i, 1] = fourth / n / (second * second) if second > 0.0 else 0.0
        out[i, 2] = peak / math.sqrt(second) if second > 0.0 else 0.0


@kernel
def of_spectrum(
    lines: Any, sample_hz: float, edges: Float64, window_square: float, unit: float, n: int,
    carried: Any, out: Float64,
) -> None:
    """Root mean square by octave, velocity, and the lines of the octave that rings, from 0 on."""
    bands = edges.size - 1
    first = n // 8
    scale = 2.0 / (n * window_square)  # one-sided power to mean square under the window
    step = sample_hz / n
    for i in range(lines.shape[0]):
        high = lines.shape[1] - 1
        for b in range(bands):
            low = math.floor(edges[b + 1] / step)
            total = 0.0
            for j in range(low + 1, high + 1):
                total += lines[i, j].real ** 2 + lines[i, j].imag ** 2
            out[i, 3 + b] = math.sqrt(total * scale)
            high = low
        if unit > 0.0:
            velocity = 0.0
            low = math.ceil(VELOCITY_LOW_HZ / step)
            for j in range(low, min(int(VELOCITY_HIGH_HZ / step), lines.shape[1] - 1) + 1):
                velocity += (lines[i, j].real ** 2 + lines[i, j].imag ** 2) / (j * step) ** 2
            out[i, 3 + bands] = math.sqrt(velocity * scale) * unit / (2.0 * math.pi)
        for j in range(first):
            carried[i, j] = lines[i, first + j]


@kernel
def square_envelopes(ringing: Any, scale: float, squared: Float64, level: Float64) -> None:
    """Squared envelopes less their means; ``level float64[k]`` the roots of the means."""
    for i in range(ringing.shape[0]):
        mean = 0.0
        for j in range(ringing.shape[1]):
            squared[i, j] = scale * (ringing[i, j].real ** 2 + ringing[i, j].imag ** 2)
            mean += squared[i, j]
        mean /= ringing.shape[1]
        for j in range(ringing.shape[1]):
            squared[i, j] -= mean
        level[i] = math.sqrt(mean)


@kernel
def of_envelope(
    lines: Any, sample_hz: float, n: int, rates: Float64, out: Float64
) -> None:
    """Last columns: the envelope's largest line, and its lines at the bearing's rates.

    A line is an amplitude against the mean amplitude of all; under the window's own three it is
    not looked at.
    """
    at = out.shape[1] - 2 - rates.size
    count = lines.shape[1]
    step = sample_hz / n
    amplitude = np.empty(count)
    for i in range(lines.shape[0]):
        mean = largest = 0.0
        for j in range(3, count):
            amplitude[j] = math.sqrt(lines[i, j].real ** 2 + lines[i, j].imag ** 2)
            mean += amplitude[j]
            largest = max(largest, amplitude[j])
        mean /= max(1, count - 3)
        out[i, at + 1] = largest / mean if mean > 0.0 else 0.0
        for k in range(rates.size):
            total = 0.0
            for h in range(1, HARMONICS + 1):
                low = max(3, math.floor(h * rates[k] * (1.0 - SLIP) / step))
                high = min(count - 1, math.ceil(h * rates[k] * (1.0 + SLIP) / step))
                best = 0.0
                for j in range(low, high + 1):
                    best = max(best, amplitude[j])
                total += best
            out[i, at + 2 + k] = total / (HARMONICS * mean) if mean > 0.0 else 0.0
