"""What a machine is doing: any numbering of states to the few that the ledger books, or a guess.

:func:`mapper` turns a tag's numbers (PackML or any other mapping) into the canonical states.
:func:`split_waiting` says of a machine in a line that waits for something outside whether it is
starved or blocked, from the part counters of its neighbours. :func:`guess_levels` finds idle and
running in a power or speed signal where there is no tag, and says how sure it is. Nothing is booked
here (``ledger``) and no name is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64, Int8, Int64
from anomaly.errors import ConfigError
from anomaly.kernel import kernel

#: Canonical states; the index is the code. ``unknown``: no state is known, the part counter alone
#: tells. ``suspended``: waits for something outside, not said which. ``idle``: nothing to make.
STATES = (
    "unknown", "producing", "stopped", "suspended", "starved", "blocked", "changeover", "idle",
)
UNKNOWN, PRODUCING, STOPPED, SUSPENDED, STARVED, BLOCKED, CHANGEOVER, IDLE = range(8)

#: A row that says nothing of the state: as before.
UNCHANGED = -1

#: State numbers of ANSI/ISA-TR88.00.02 (PackML). Resetting is where a product change shows.
PACKML: Mapping[int, str] = {
    1: "stopped", 2: "stopped", 3: "producing", 4: "idle", 5: "suspended", 6: "producing",
    7: "stopped", 8: "stopped", 9: "stopped", 10: "stopped", 11: "stopped", 12: "stopped",
    13: "suspended", 14: "suspended", 15: "changeover", 16: "producing", 17: "idle",
}

_NUMBERS_LIMIT = 10_000
#: A state told in a word of its own has this number and its code: above every number of a tag's.
WORD_NUMBER = _NUMBERS_LIMIT

WAITING = np.dtype([
    ("good", np.float64),  # good parts handed on so far
    ("taken", np.float64),  # parts worked on so far
    ("last_ns", np.int64),
    ("step_ns", np.int64),  # between its latest two rows; 0 = fewer were seen
    ("compared", np.int64),  # 1 once parts between this machine and the next were seen
    ("least", np.float64),  # fewest parts ever seen between this machine and the next
    ("most", np.float64),
])


@dataclass(frozen=True, slots=True)
class Levels:
    """Idle and running as two levels of one signal.

    Attributes
    ----------
    threshold : float
        Above it the machine runs; NaN where the signal shows no two levels.
    idle, running : float
        Medians on either side, in the signal's unit.
    confidence : float
        0..1: how empty the middle between the levels is. Below 0.5 the guess should not be used.
    """

    threshold: float
    idle: float
    running: float
    confidence: float


def mapper(mapping: Mapping[int, str]) -> Int8:
    """int8[numbers]: canonical state by number; numbers that are not there are ``unknown``.

    Raises
    ------
    ConfigError
        A number below 0 or above 9,999, or a state that is none of :data:`STATES`.
    """
    for number, name in mapping.items():
        if not 0 <= number < _NUMBERS_LIMIT:
            raise ConfigError(f"states.{number}: must be 0 to {_NUMBERS_LIMIT - 1}")
        if name not in STATES:
            raise ConfigError(f"states.{number}: {name!r} is none of {', '.join(STATES)}")
    table = np.zeros(max(mapping, default=0) + 1, np.int8)
    for number, name in mapping.items():
        table[number] = STATES.index(name)
    return table


def canonical(table: Int8, value: Float64) -> Int8:
    """int8[n]: canonical states of a tag's values; NaN is :data:`UNCHANGED`."""
    found = np.full(value.size, UNCHANGED, np.int8)
    said = np.isfinite(value)
    number = np.clip(np.where(said, value, 0.0), -1.0, float(table.size)).astype(np.int64)
    inside = said & (number >= 0) & (number < table.size)
    found[said] = UNKNOWN
    found[inside] = table[number[inside]]
    return found


def guess_levels(values: Float64) -> Levels:
    """Two levels of a power or speed signal, by the split that leaves the least variance.

    Otsu's threshold ("A threshold selection method from gray-level histograms", IEEE Trans. SMC 9
    (1979)) on 256 bins between the 0.5 % and 99.5 % quantiles, moved to the emptiest place between
    the two medians. The confidence is one minus the density around the threshold (an eighth of the
    distance between the medians to either side) over the density were the signal spread evenly
    between them; less where idle is above 60 % of running, 0 from 80 % on or where one side holds
    fewer than 1 % of the values. Cycles must not show: give means over one or more of them.

    Parameters
    ----------
    values : float64[n]
        In any unit; NaN is left out. A few thousand are enough.
    """
    kept = values[np.isfinite(values)]
    if kept.size < 100:
        return Levels(np.nan, np.nan, np.nan, 0.0)
    low, high = np.quantile(kept, (0.005, 0.995))
    if not high > low:
        return Levels(np.nan, float(low), float(high), 0.0)
    count, edges = np.histogram(np.clip(kept, low, high), bins=256, range=(low, high))
    share = count / kept.size
    centre = 0.5 * (edges[1:] + edges[:-1])
    below = np.cumsum(share)[:-1]
    mass = np.cumsum(share * centre)
    between = (mass[-1] * below - mass[:-1]) ** 2 / np.maximum(below * (1.0 - below), 1e-12)
    cut = int(np.argmax(between)) + 1
    idle, running = (float(np.median(side)) for side in (
        kept[kept < edges[cut]], kept[kept >= edges[cut]]))
    threshold = _emptiest(share, centre, idle, running)
    upper = kept >= threshold
    smaller = min(upper.mean(), 1.0 - upper.mean())
    reach = (running - idle) / 8.0
    near = float(np.mean(np.abs(kept - threshold) <= reach))
    # A running machine's own ripple has two levels too (a sine is mostly at its ends).
    apart = (running - idle) / max(abs(running), abs(idle), 1e-300)
    clear = min(max((apart - 0.2) / 0.2, 0.0), 1.0)
    confidence = max(0.0, 1.0 - near / 0.25) * clear if smaller >= 0.01 else 0.0
    return Levels(threshold, idle, running, confidence)


def _emptiest(
    share: npt.NDArray[np.float64], centre: npt.NDArray[np.float64], idle: float, running: float
) -> float:
    """Middle of the emptiest stretch (an eighth of the way) between the two levels."""
    width = max(1, round((running - idle) / 8.0 / (centre[1] - centre[0])))
    smooth = np.convolve(share, np.ones(width), "same")
    margin = (running - idle) / 8.0
    inner = np.flatnonzero((centre > idle + margin) & (centre < running - margin))
    if not inner.size:
        return 0.5 * (idle + running)
    emptiest = inner[smooth[inner] <= smooth[inner].min() + 1e-12]
    return float(np.median(centre[emptiest]))


def from_levels(levels: Levels, values: Float64) -> Int8:
    """int8[n]: producing above the threshold, stopped below; NaN is :data:`UNCHANGED`."""
    found = np.where(values > levels.threshold, PRODUCING, STOPPED).astype(np.int8)
    found[~np.isfinite(values)] = UNCHANGED
    if not levels.confidence > 0.0:
        found[np.isfinite(values)] = UNKNOWN
    return found


def allocate(assets: int) -> dict[str, npt.NDArray[np.void]]:
    """State of :func:`split_waiting`: nothing counted."""
    return {"asset_waiting": np.zeros(assets, WAITING)}


@kernel
def split_waiting(
    asset_waiting: npt.NDArray[np.void], previous: Int64, following: Int64, asset: Int64,
    time_ns: Int64, parts: Float64, rejects: Float64, state: Int8,
) -> None:
    """Turn ``suspended`` into starved or blocked, in place, from what stands between the machines.

    Good parts of one machine minus parts of the next is, but for a constant, what lies between the
    two. A machine that waits while that is at its fewest before it is starved; at its most behind
    it, blocked. The first machine of a line is never starved, the last never blocked. A neighbour
    whose rows stay away says nothing: then it stays ``suspended``.

    Parameters
    ----------
    asset_waiting : WAITING[A], changed in place.
    previous, following : int64[A]
        The neighbour in the line, −1 = none. Their rows must come in order of time.
    asset, time_ns : int64[n]
    parts, rejects : float64[n]
        Counters; NaN = not said in this row.
    state : int8[n]
        Changed in place, only where it is ``suspended``. Without a neighbour it stays.
    """
    for i in range(asset.size):
        a = asset[i]
        me = asset_waiting[a]
        me["step_ns"] = time_ns[i] - me["last_ns"] if me["last_ns"] != 0 else 0
        me["last_ns"] = time_ns[i]
        if not np.isnan(parts[i]):
            scrapped = rejects[i] if not np.isnan(rejects[i]) else 0.0
            me["taken"], me["good"] = parts[i], parts[i] - scrapped
        before, behind = previous[a], following[a]
        supplied = before >= 0 and _between(asset_waiting, before, a)
        followed = behind >= 0 and _between(asset_waiting, a, behind)
        if state[i] != SUSPENDED or (before < 0 and behind < 0):
            continue
        if before < 0:
            state[i] = BLOCKED
        elif behind < 0:
            state[i] = STARVED
        elif supplied and followed:
            supply = asset_waiting[before]["good"] - me["taken"] - asset_waiting[before]["least"]
            room = me["most"] - (me["good"] - asset_waiting[behind]["taken"])
            state[i] = STARVED if supply <= room else BLOCKED


@kernel
def _between(asset_waiting: npt.NDArray[np.void], first: int, second: int) -> bool:
    """Fewest and most parts seen between two neighbours; False where one's rows stay away."""
    one, other = asset_waiting[first], asset_waiting[second]
    apart = abs(one["last_ns"] - other["last_ns"])
    if one["step_ns"] <= 0 or other["step_ns"] <= 0:
        return False
    if apart > 2 * min(one["step_ns"], other["step_ns"]):
        return False
    between = one["good"] - other["taken"]
    if one["compared"] == 0:
        one["compared"], one["least"], one["most"] = 1, between, between
    one["least"] = min(one["least"], between)
    one["most"] = max(one["most"], between)
    return True
