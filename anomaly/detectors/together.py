"""All sensors of a machine in one pyramid: the inner loops of what ``pyramid`` says of the machine.

A stretch may be usual in every sensor and new in all of them together: the current of a heavy cut
with the vibration of a light one. The sum over sensors of their mean square differences R at one
lag, each divided by the sensor's own typical least one, is the square difference of the whole
machine's window and its earlier one; the smallest over the lags is its left discord. R is
``soft_windows``'s and is only read here, so nothing more is kept by lag.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64, Int64
from anomaly.detectors import norms
from anomaly.detectors.soft_windows import EXCLUDED_BLOCKS, Float32, lags_below
from anomaly.kernel import kernel_uncounted

#: Over all lags, and over the old ones alone.
RANGES = 2

SAID = np.dtype([
    ("surprise", "f8"), ("opinions", "f8"),  # sum and number of what a level's distances say
])


@kernel_uncounted
def add(
    t: int, first: int, lags: int, apart: Float32, typical: float, level: int, sums: Float32
) -> None:
    """Add one sensor's R, divided by its typical least, to ``sums float32[levels, lags]``.

    The lags beyond the newest block have none yet; what is added for them is not looked at.
    """
    weight = np.float32(1.0 / (typical + 1e-30))
    row, place, ours = np.uint64(t), np.uint64(first), np.uint64(level)
    for k in range(np.uint64(lags)):
        sums[ours, k] += weight * apart[row, place + k]


@kernel_uncounted
def least(level: int, low: int, high: int, sums: Float32) -> float:
    """The smallest sum among the lags number ``low`` … ``high − 1``; by its bits, as it is ≥ 0."""
    ours = np.uint64(level)
    found = np.int32(2147483647)
    for k in range(np.uint64(low), np.uint64(high)):
        bits = np.float32(sums[ours, k]).view(np.int32)
        found = bits if bits < found else found
    return float(np.int32(found).view(np.float32))


@kernel_uncounted
def sensors(table: Int64, a: int) -> int:
    count = 0
    for c in range(table.shape[1]):
        if table[a, c] >= 0:
            count += 1
    return count


@kernel_uncounted
def judge(
    asset_level: npt.NDArray[np.void], asset_norm: npt.NDArray[np.void], a: int, moves: bool,
    joined: Int64, shared: Int64, sums: Float32, fresh: Int64, found: Float64,
    decimations: tuple[int, ...], histories: tuple[int, ...], steps: tuple[int, ...],
    old_blocks: int, keep: float,
) -> float:
    """Mean surprise of the machine's sensors together, −1 = no opinion.

    ``joined``, ``shared``: how many sensors closed a block of a level with this row, and the blocks
    that all of them have.
    """
    total, count = 0.0, 0.0
    for level in range(1, len(decimations)):
        surprise, opinions = asset_level[a, level]["surprise"], asset_level[a, level]["opinions"]
        fresh[0, level] = 0
        if joined[level] > 1:
            surprise, opinions = 0.0, 0.0
            far = lags_below(min(histories[level], shared[level]), steps[level])
            filled = int(4.0 / (1.0 - keep))
            is_long = histories[level] > old_blocks and shared[level] > old_blocks + filled
            fresh[0, level] = RANGES if is_long else 1
            for part in range(fresh[0, level]):
                low = lags_below(old_blocks if part > 0 else EXCLUDED_BLOCKS, steps[level])
                square = least(level, low, far, sums) / joined[level]
                place = level * RANGES + part
                said = norms.judge(asset_norm[a, place], min(square, norms.SQUARE_LIMIT), 0.0,
                                   decimations[level], found, 0, place)
                if said >= 0.0:
                    surprise += said
                    opinions += 1.0
            if moves:
                asset_level[a, level]["surprise"] = surprise
                asset_level[a, level]["opinions"] = opinions
        total += surprise
        count += opinions
    return total / count if count > 0.0 else -1.0
