"""Random numbers that depend on *where* they are used, not on how many were drawn before.

Every draw is ``f(key, index)``: the key names the seed, the station and the purpose, the index is
the row or cycle number. This is what makes a recording identical whatever the chunk size, and
bit-equal before an injection's start with and without it: no draw can shift another one.

The integer hash is SplitMix64 with random access (Steele, Lea and Flood 2014, "Fast splittable
pseudorandom number generators", figure 18); the normal quantile is Wichura's algorithm AS 241,
routine PPND7 (Applied Statistics 37, 1988), good to 1e-7, far below any sensor's resolution.
"""

from __future__ import annotations

import numpy as np

from anomaly.kernel import kernel

_MASK = (1 << 64) - 1
_GOLDEN_INTEGER = 0x9E3779B97F4A7C15
_GOLDEN = np.uint64(_GOLDEN_INTEGER)  # 2^64 / golden ratio: spreads consecutive indices
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_SHIFT_12 = np.uint64(12)
_SHIFT_27 = np.uint64(27)
_SHIFT_30 = np.uint64(30)
_SHIFT_31 = np.uint64(31)
_UNIT = 2.0**-52


def stream_key(*parts: int) -> np.uint64:
    """Key of one stream of random numbers, from e.g. (seed, station, purpose), all ≥ 0."""
    key = 0
    for part in parts:
        key = _mix_integer((key ^ (part & _MASK)) + _GOLDEN_INTEGER)
    return np.uint64(key)


@kernel
def uniform(key: np.uint64, index: int) -> float:
    """Uniform number in the open interval (0, 1), for uint64 ``key`` and int64 ``index``."""
    z = key + np.uint64(index) * _GOLDEN
    z = (z ^ (z >> _SHIFT_30)) * _MIX_1
    z = (z ^ (z >> _SHIFT_27)) * _MIX_2
    z = z ^ (z >> _SHIFT_31)
    return float((np.float64(z >> _SHIFT_12) + 0.5) * _UNIT)  # 52 bits and a half: never 0, never 1


@kernel
def normal(key: np.uint64, index: int) -> float:
    """Standard normal number, for uint64 ``key`` and int64 ``index``."""
    return float(normal_quantile(uniform(key, index)))


@kernel
def normal_quantile(p: float) -> float:
    """Quantile of the standard normal distribution for ``p`` in (0, 1); AS 241, PPND7."""
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        above = ((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179
        return q * above / (((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1.0)
    r = np.sqrt(-np.log(min(p, 1.0 - p)))
    if r <= 5.0:
        r -= 1.6
        above = ((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777
        size = above / ((0.12021132975 * r + 0.73700164250) * r + 1.0)
    else:
        r -= 5.0
        above = ((0.017337203997 * r + 0.42868294337) * r + 3.0812263860) * r + 6.6579051150
        size = above / ((0.012258202635 * r + 0.24197894225) * r + 1.0)
    return float(size if q > 0.0 else -size)


def _mix_integer(z: int) -> int:
    z &= _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)
