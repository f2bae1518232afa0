"""Raw vibration samples of a station's bearing, in frames, for spectrum features.

The feature channel of the rows (velocity RMS) is ``sensors``' business; here is what an
accelerometer on the same bearing would sample. Shaft harmonics, gear-like tones and noise are the
healthy part; a spall in the outer race adds a decaying ring at every ball that rolls over it, at
the ball pass frequency (McFadden and Smith 1984, "Model for the vibration produced by a single
point defect in a rolling element bearing", J. Sound and Vibration 96).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streams.simulation.config import SCAN_NS, SCANS_PER_SECOND, LineConfig, SimulationError
from streams.simulation.injections import Injection, injection_table, machine_effects
from streams.simulation.noise import stream_key

#: A 6205-size deep-groove bearing: balls that pass a point of the outer race per turn.
BALLS_PER_TURN = 3.585
SHAFT_HERTZ = 24.7
RESONANCE_HERTZ = 3200.0
_DECAY_SECONDS = 0.0012
_SLIP = 0.01  # balls slip: the interval between two impacts scatters by one per cent


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """``samples`` is float64[n], acceleration in m/s²."""

    time_ns: int
    asset: int
    samples: npt.NDArray[np.float64]


def vibration_frames(
    config: LineConfig,
    injections: Sequence[Injection],
    station: int,
    *,
    every_seconds: float = 60.0,
    samples: int = 4096,
    sample_hertz: float = 25_600.0,
) -> Iterator[Frame]:
    """Frames of one station at work, one every ``every_seconds``; standing is not simulated here.

    Raises
    ------
    SimulationError
        At once, for a station that does not exist or limits that make no frame.
    """
    if not 0 <= station < len(config.stations):
        raise SimulationError(f"there is no station {station}")
    if samples < 16 or sample_hertz < 2.5 * RESONANCE_HERTZ or every_seconds < 0.1:
        raise SimulationError(
            f"a frame needs 16 samples or more at {2.5 * RESONANCE_HERTZ:g} Hz or more, "
            "every 0.1 s at most"
        )
    table = injection_table(config, injections)
    return _frames(config, table, station, every_seconds, samples, sample_hertz)


def _frames(
    config: LineConfig,
    table: npt.NDArray[np.void],
    station: int,
    every_seconds: float,
    samples: int,
    sample_hertz: float,
) -> Iterator[Frame]:
    seconds = np.arange(samples) / sample_hertz
    strength = config.stations[station].vibration_millimetres_per_second
    for index in range(int(config.duration_seconds / every_seconds)):
        scan = round(index * every_seconds * SCANS_PER_SECOND)
        wear = machine_effects(table, station, scan)[0]
        key = int(stream_key(config.seed, 6, station, index))
        random = np.random.Generator(np.random.Philox(key=key))
        angle = 2.0 * np.pi * SHAFT_HERTZ * seconds + random.uniform(0.0, 2.0 * np.pi)
        signal = 0.4 * np.sin(angle) + 0.15 * np.sin(2.0 * angle) + 0.2 * np.sin(17.0 * angle)
        signal += 0.5 * random.standard_normal(samples)
        signal += wear * _impacts(seconds, random)
        yield Frame(config.start_time_ns + scan * SCAN_NS, station, strength * signal)


def _impacts(
    seconds: npt.NDArray[np.float64], random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Rings of unit size, one per ball passing, ``float64[n]``."""
    interval = 1.0 / (BALLS_PER_TURN * SHAFT_HERTZ)
    count = int(seconds[-1] / interval) + 2
    steps = interval * (1.0 + _SLIP * random.standard_normal(count))
    starts = np.cumsum(steps) - interval * random.uniform()
    total = np.zeros(seconds.size)
    for start in starts.tolist():
        after = np.maximum(seconds - start, 0.0)
        ring = np.exp(-after / _DECAY_SECONDS) * np.sin(2.0 * np.pi * RESONANCE_HERTZ * after)
        total += ring
    return total
