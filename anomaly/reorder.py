"""Readings that come out of order are held back a while, then go on in the order of their time.

Between ``quality.screen`` and ``windows``: an asset's readings wait until its newest time is
``lateness_seconds`` ahead of them; what comes later than that is late, said so and not used. Order
is decided by the data's own times and nothing else, so that any cut of the stream gives the same
bits. Per asset, because one machine's gateway that lags must not hold up the others. Bounded: a
full buffer releases its oldest reading early. No judgement of values here.

What a reading is told at its arrival is final, because whoever counts readings has let go of it by
the time it goes on: of two readings of one sensor at one time that wait, the second is a duplicate,
and what comes for a wide row that waits and is complete is late, just as ``windows`` would say.

State
-----
``asset``         how many readings wait, the newest time, the time up to which all went on.
``asset_time``    int64[A, N], ascending; with equal times in order of arrival. The other columns
``asset_sensor``  stand beside it; a missing value is a flag, never NaN.
``asset_value``, ``asset_flags``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.batches import Bool, Float64, Int8, Int64, ReadingBatch
from anomaly.errors import ConfigError
from anomaly.kernel import kernel

VERSION = 1

#: Codes written for readings that do not go on: their index in ``quality.REASONS``.
DUPLICATE, LATE = 4, 5
#: What ``base`` says of a reading's time: not believed, as usual, the clock was set back.
DOUBTED, SAME, RESTARTED = -1, 0, 1

_MISSING, _CLOSES = 1, 2  # bits of a held reading's flags
_NEVER = -(1 << 63)

State = dict[str, npt.NDArray[Any]]

_ASSET = np.dtype([
    ("held", np.int64),  # readings that wait
    ("newest_ns", np.int64),  # newest time of the present clock
    ("past_ns", np.int64),  # an earlier time than this is late
    ("restarts", np.int64),  # 1: the next reading that goes on is the first of a new clock
])


@dataclass(frozen=True, slots=True)
class Config:
    """How long is waited, and how much is kept meanwhile."""

    lateness_seconds: float = 0.0
    """How far behind an asset's newest time a reading may come; 0 = nothing is held back."""
    readings_limit: int = 256
    """Most readings of one asset that wait; one more sends the oldest on early."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.lateness_seconds <= 366 * 86_400:
            raise ConfigError("lateness_seconds: must be 0 to 366 days")
        if not 1 <= self.readings_limit <= 65_536:
            raise ConfigError("readings_limit: must be 1 to 65536")


@dataclass(frozen=True, slots=True)
class Released:
    """k readings that may go on, per asset in the order of their time.

    Attributes
    ----------
    readings : ReadingBatch
        Values are NaN where the reading is missing or was refused.
    base : int8[k]
        As ``quality`` said when they arrived (−1 never comes: such readings are not held).
    freed_by : int64[k]
        Index in the incoming batch of the reading whose arrival let this one go.
    arrived_as : int64[k]
        Its own index in the incoming batch; −1 where it had come with an earlier one.
    """

    readings: ReadingBatch
    base: Int8
    freed_by: Int64
    arrived_as: Int64


def allocate(config: Config, assets: int, tags: int) -> State:
    """Fresh state: nothing waits."""
    limit = config.readings_limit if config.lateness_seconds > 0 else 0
    asset = np.zeros(assets, _ASSET)
    asset["newest_ns"] = _NEVER
    asset["past_ns"] = _NEVER
    return {
        "asset": asset, "asset_time": np.zeros((assets, limit), np.int64),
        "asset_sensor": np.zeros((assets, limit), np.int64),
        "asset_value": np.zeros((assets, limit)), "asset_flags": np.zeros((assets, limit), np.int8),
    }


def run(
    config: Config, state: State, readings: ReadingBatch, value: Float64, base: Int8, reason: Int8
) -> Released:
    """Take in a batch; returns what may go on.

    ``value float64[n]`` and ``base int8[n]`` are what ``quality`` made of the readings;
    ``reason int8[n]`` is *written* where a reading is late or a duplicate of one that waits.
    """
    n = len(readings)
    limit = state["asset_time"].shape[1]
    parts = []
    start, size = 0, max(n, 64) + limit + 1
    # Readings of this very batch know their index, those held before do not: scratch, a row for
    # each asset of the batch.
    assets, place = np.unique(readings.asset, return_inverse=True)
    arrived = np.full((assets.size, limit), -1, np.int64)
    while start < n:
        out = _columns(size)
        start, count = hold(
            *state.values(), arrived, place, round(config.lateness_seconds * 1e9), readings.asset,
            readings.sensor, readings.time_ns, value, readings.closes, base, reason, start, *out)
        parts.append(tuple(column[:count] for column in out))
    return _released(parts)


def flush(state: State) -> Released:
    """End of the stream: everything that waits goes on, assets in index order."""
    out = _columns(int(state["asset"]["held"].sum()))
    count = release_all(*state.values(), *out)
    return _released([tuple(column[:count] for column in out)])


@kernel
def hold(
    own: npt.NDArray[np.void], held_time: Int64, held_sensor: Int64, held_value: Float64,
    held_flags: Int8, arrived: Int64, place: Int64, lateness_ns: int,
    asset: Int64, sensor: Int64, time_ns: Int64, value: Float64, closes: Bool, base: Int8,
    reason: Int8, start: int,
    out_asset: Int64, out_sensor: Int64, out_time: Int64, out_value: Float64, out_closes: Bool,
    out_base: Int8, out_freed: Int64, out_arrived: Int64,
) -> tuple[int, int]:
    """Take in readings ``start:``; returns (next reading, readings released).

    Stops early when what the next one could release might not fit; call again from there.
    ``arrived int64[p, N]``: scratch beside the held readings of p assets, their index in this batch
    or −1; ``place int64[n]``: the row of each reading's asset in it.
    """
    out = (out_asset, out_sensor, out_time, out_value, out_closes, out_base, out_freed,
           out_arrived)
    held = (held_time, held_sensor, held_value, held_flags, arrived)
    limit = held_time.shape[1]
    count = 0
    for i in range(start, asset.size):
        if count + limit + 1 > out_asset.size:
            return i, count
        a, t, p = asset[i], time_ns[i], place[i]
        if base[i] == DOUBTED:
            continue
        if base[i] == RESTARTED:  # of the old clock nothing more can come
            count = _release(own, held, a, p, own[a]["held"], i, count, out)
            own[a]["newest_ns"], own[a]["past_ns"], own[a]["restarts"] = t, _NEVER, 1
        if t < own[a]["past_ns"]:
            reason[i] = LATE
            continue
        again = _again(own, held, a, t, sensor[i])
        if again > 0:
            reason[i] = again
            continue
        if own[a]["held"] == limit:
            count = _release(own, held, a, p, 1, i, count, out)
            if t < own[a]["past_ns"]:
                reason[i] = LATE
                continue
        flags = (_MISSING if np.isnan(value[i]) else 0) | (_CLOSES if closes[i] else 0)
        _insert(own, held, a, p, t, sensor[i], value[i], flags, i)
        if t > own[a]["newest_ns"]:
            own[a]["newest_ns"] = t
        bound = own[a]["newest_ns"] - lateness_ns
        ready = 0
        while ready < own[a]["held"] and held_time[a, ready] <= bound:
            ready += 1
        count = _release(own, held, a, p, ready, i, count, out)
        if bound > own[a]["past_ns"]:
            own[a]["past_ns"] = bound
    return asset.size, count


@kernel
def release_all(
    own: npt.NDArray[np.void], held_time: Int64, held_sensor: Int64, held_value: Float64,
    held_flags: Int8,
    out_asset: Int64, out_sensor: Int64, out_time: Int64, out_value: Float64, out_closes: Bool,
    out_base: Int8, out_freed: Int64, out_arrived: Int64,
) -> int:
    """Let everything go; returns how many readings that were."""
    out = (out_asset, out_sensor, out_time, out_value, out_closes, out_base, out_freed,
           out_arrived)
    arrived = np.full((1, held_time.shape[1]), -1, np.int64)
    held = (held_time, held_sensor, held_value, held_flags, arrived)
    count = 0
    for a in range(own.size):
        count = _release(own, held, a, 0, own[a]["held"], -1, count, out)
    return count


@kernel
def _again(own: Any, held: Any, a: int, t: int, sensor: int) -> int:
    """DUPLICATE or LATE where what waits for this time leaves no room for the reading, else 0."""
    held_time, held_sensor, _, held_flags, _ = held
    k = own[a]["held"]
    while k > 0 and held_time[a, k - 1] > t:
        k -= 1
    complete = False
    while k > 0 and held_time[a, k - 1] == t:
        k -= 1
        if held_sensor[a, k] == sensor:
            return DUPLICATE
        complete |= held_flags[a, k] & _CLOSES != 0
    return LATE if complete else 0


@kernel
def _insert(
    own: Any, held: Any, a: int, p: int, t: int, sensor: int, value: float, flags: int, i: int
) -> None:
    """Put a reading behind all that are not later; most come in order and move nothing."""
    held_time, held_sensor, held_value, held_flags, arrived = held
    k = own[a]["held"]
    while k > 0 and held_time[a, k - 1] > t:
        held_time[a, k] = held_time[a, k - 1]
        held_sensor[a, k] = held_sensor[a, k - 1]
        held_value[a, k] = held_value[a, k - 1]
        held_flags[a, k] = held_flags[a, k - 1]
        arrived[p, k] = arrived[p, k - 1]
        k -= 1
    held_time[a, k] = t
    held_sensor[a, k] = sensor
    held_value[a, k] = 0.0 if flags & _MISSING else value
    held_flags[a, k] = flags
    arrived[p, k] = i
    own[a]["held"] += 1


@kernel
def _release(
    own: Any, held: Any, a: int, p: int, number: int, i: int, count: int, out: Any
) -> int:
    """Let the asset's ``number`` oldest readings go; what is left moves up. Returns the count."""
    held_time, held_sensor, held_value, held_flags, arrived = held
    if number == 0:
        return count
    for k in range(number):
        flags = held_flags[a, k]
        out[0][count] = a
        out[1][count] = held_sensor[a, k]
        out[2][count] = held_time[a, k]
        out[3][count] = np.nan if flags & _MISSING else held_value[a, k]
        out[4][count] = flags & _CLOSES != 0
        out[5][count] = RESTARTED if own[a]["restarts"] == 1 else SAME
        own[a]["restarts"] = 0
        out[6][count] = i
        out[7][count] = arrived[p, k]
        count += 1
    own[a]["past_ns"] = max(own[a]["past_ns"], held_time[a, number - 1])
    left = own[a]["held"] - number
    for k in range(left):
        held_time[a, k] = held_time[a, k + number]
        held_sensor[a, k] = held_sensor[a, k + number]
        held_value[a, k] = held_value[a, k + number]
        held_flags[a, k] = held_flags[a, k + number]
        arrived[p, k] = arrived[p, k + number]
    for k in range(left, own[a]["held"]):  # what is gone leaves nothing behind
        held_time[a, k] = 0
        held_sensor[a, k] = 0
        held_value[a, k] = 0.0
        held_flags[a, k] = 0
    own[a]["held"] = left
    return count


def _columns(size: int) -> tuple[npt.NDArray[Any], ...]:
    return (np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64),
            np.empty(size), np.empty(size, np.bool_), np.empty(size, np.int8),
            np.empty(size, np.int64), np.empty(size, np.int64))


def _released(parts: list[Any]) -> Released:
    if not parts:
        parts = [tuple(column[:0] for column in _columns(0))]
    joined = parts[0] if len(parts) == 1 else tuple(
        np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Released(ReadingBatch(*joined[:5]), *joined[5:])
