"""Soft windows and the rings they are told from: the inner loops of ``pyramid``.

One level of one sensor has a ring of window means m, a ring of their deviations σ and, by lag, the
mean square difference R of the last window and the one so many blocks earlier (the formulas are in
``pyramid``). The newest block has the lowest place until a ring turns over, so that lag and place
ascend together. Here R is moved on and searched, and σ and R are made again from the ring of m.
What is odd, and every norm, is ``pyramid``'s.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.kernel import kernel

Float32 = npt.NDArray[np.float32]
UInt16 = npt.NDArray[np.uint16]
#: raw², centred², shape².
Squares = tuple[np.float32, np.float32, np.float32]

#: Lags shorter than this compare a window with itself.
EXCLUDED_BLOCKS = 16
#: κ: 20 roundings of float32, as many as a block that is told from two means may carry.
LEVEL_SHARE = 2.0**-18
#: v, σ and R of every lag begin anew once in this many blocks; R so many lags at a time …
ANEW_BLOCKS = 256
ANEW_LAGS = 256
#: … each part so many blocks after the one before it, so that no block costs much more than others;
ANEW_SHIFT, ANEW_FIRST = 32, 16
#: … from so many blocks that what lies before them weighs less than this.
FORGOTTEN = 1e-7
#: Places that a ring repeats at its end, so that slices of it are long and of whole vectors.
REPEATED = 64


@kernel
def nearest_of(
    least: Squares, low: int, high: int, head: int, ring: Float32, sigmas: UInt16, apart: Float32,
    now: tuple[np.float32, ...],
) -> Squares:
    """``least``, or what is nearer among the lags ``low`` … ``high − 1``; moves their R on.

    In slices, because an index that may wrap would not be vectorised; of whole vectors, because
    what is left over goes one by one.
    """
    length = ring.size - REPEATED
    while low < high:
        place = head + low if head + low < length else head + low - length
        count = min(high - low, (length - place + REPEATED - 1) // REPEATED * REPEATED)
        found = _nearest(
            apart[low : low + count], ring[place : place + count],
            ring[place + 1 : place + count + 1], sigmas[place : place + count], *now,
        )
        least = (min(least[0], found[0]), min(least[1], found[1]), min(least[2], found[2]))
        low += count
    return least


@kernel
def _nearest(
    apart: Float32, means: Float32, older: Float32, sigmas: UInt16,
    keep: np.float32, block: np.float32, near: np.float32, far: np.float32, mean: np.float32,
    sigma: np.float32,
) -> Squares:
    """Move every lag's R on and return the three smallest squared distances.

    Minima are taken over the bit patterns: squares are ≥ 0 up to rounding, and floats of that sign
    order like their bits; a slightly negative square becomes the minimum, which is then 0. Float
    minima are not vectorised by the compiler, integer ones are: 0.3 ns a lag against 1.2.
    """
    level = np.float32(1.0 - LEVEL_SHARE)
    largest = np.int32(2147483647)
    raw, centred, shape = largest, largest, largest
    for k in range(apart.size):
        other = means[k]
        u = block - (near * other - far * older[k])
        square = keep * apart[k] + u * u
        apart[k] = square
        bits = np.float32(square).view(np.int32)
        raw = bits if bits < raw else raw
        away = mean - other
        square = square - level * away * away
        bits = np.float32(square).view(np.int32)
        centred = bits if bits < centred else centred
        theirs = np.int32(np.int32(sigmas[k]) << 15).view(np.float32)
        away = sigma - theirs
        bits = np.float32((square - away * away) / theirs).view(np.int32)
        shape = bits if bits < shape else shape
    zero = np.int32(0)
    return (
        np.int32(max(raw, zero)).view(np.float32), np.int32(max(centred, zero)).view(np.float32),
        np.int32(max(shape, zero)).view(np.float32) / sigma,
    )


@kernel
def begin_anew(
    apart: Float32, ring: Float32, line: Float32, newest: int, first: int, blocks: int, keep: float
) -> None:
    """R of the lags from ``first`` on, made from nothing over the last ``blocks`` blocks."""
    length = ring.size - REPEATED
    head = length - 1 - newest % length
    lags = min(ANEW_LAGS, apart.size - first)
    near, far = weights_of(keep)
    own, other = line[:blocks], line[blocks : 2 * blocks + lags]
    for k in range(blocks):
        place = (head + k) % length
        own[k] = near * ring[place] - far * ring[place + 1]
    place = (head + first) % length
    for k in range(blocks + lags - 1):
        other[k] = near * ring[place] - far * ring[place + 1]
        place = place + 1 if place + 1 < length else 0
    part = apart[first : first + lags]
    for k in range(lags):
        part[k] = np.float32(0.0)
    kept = np.float32(keep)
    age = blocks - 1
    while age >= 3:  # four blocks in one pass: R is fetched and put back once
        _move_four(part, own[age - 3 : age + 1], other[age - 3 : age + lags], kept)
        age -= 4
    while age >= 0:
        _move_one(part, own[age], other[age : age + lags], kept)
        age -= 1


@kernel
def _move_four(part: Float32, own: Float32, other: Float32, keep: np.float32) -> None:
    b0, b1, b2, b3 = own[0], own[1], own[2], own[3]
    n = part.size
    o0, o1, o2, o3 = other[0:n], other[1 : n + 1], other[2 : n + 2], other[3 : n + 3]
    for k in range(n):
        u3, u2, u1, u0 = b3 - o3[k], b2 - o2[k], b1 - o1[k], b0 - o0[k]
        moved = keep * part[k] + u3 * u3
        moved = keep * moved + u2 * u2
        moved = keep * moved + u1 * u1
        part[k] = keep * moved + u0 * u0


@kernel
def _move_one(part: Float32, own: np.float32, other: Float32, keep: np.float32) -> None:
    for k in range(part.size):
        u = own - other[k]
        part[k] = keep * part[k] + u * u


@kernel
def sigmas_anew(
    sigmas: UInt16, ring: Float32, newest: int, soft: float, history: int, keep: float, reach: int
) -> None:
    """The ring of σ from the ring of m, as far back as the lags reach; beyond it nothing stands."""
    length = ring.size - REPEATED
    for place in range(sigmas.size):
        sigmas[place] = np.uint16(0)
    oldest = max(newest - history + 1, 0)
    block = oldest - oldest % ANEW_BLOCKS
    place = (length - 1 - newest % length + newest - block) % length
    variance = 0.0
    while block <= newest:
        if block % ANEW_BLOCKS == 0:
            variance = variance_anew(ring, newest, block, keep, reach)
        else:
            variance = moved(variance, ring[place], ring[place + 1], keep)
        if block >= oldest:
            put(sigmas, place, packed(math.sqrt(variance + soft)))
        block += 1
        place = place - 1 if place > 0 else length - 1


@kernel
def variance_anew(
    ring: Float32, newest: int, block: int, keep: float, reach: int
) -> float:
    """v after ``block``, made from nothing over as many blocks as a window remembers."""
    length = ring.size - REPEATED
    blocks = min(reach, block + 1)
    place = (length - 1 - newest % length + newest - block + blocks - 1) % length
    variance = 0.0
    for _ in range(blocks):
        variance = moved(variance, ring[place], ring[place + 1], keep)
        place = place - 1 if place > 0 else length - 1
    return variance


@kernel
def moved(variance: float, mean: np.float32, before: np.float32, keep: float) -> float:
    """v after one more block, from v before it and what the ring says of the block."""
    step = np.float64(mean) - np.float64(before)
    return keep * (variance + step * step / (1.0 - keep))


@kernel
def since_anew(newest: int, first: int) -> int:
    """Blocks since the lags from ``first`` on began anew; more than ``newest`` = they never did."""
    shift = first // ANEW_LAGS * ANEW_SHIFT + ANEW_FIRST
    return (newest - shift) % ANEW_BLOCKS if newest >= shift else newest + 1


@kernel
def reach_blocks(keep: float) -> int:
    """Blocks after which a soft window has forgotten."""
    return 1 + int(math.log(FORGOTTEN) / math.log(keep))


@kernel
def ring_blocks(history: int, reach: int) -> int:
    """Places of a level's rings, those that repeat the first included."""
    return history + reach + ANEW_BLOCKS + 1 + REPEATED


@kernel
def weights_of(keep: float) -> tuple[np.float32, np.float32]:
    """Of a mean and of its older neighbour in √α b, which their difference tells."""
    share = 1.0 - keep
    return np.float32(1.0 / math.sqrt(share)), np.float32(keep / math.sqrt(share))


@kernel
def put(ring: npt.NDArray[Any], place: int, value: Any) -> None:
    ring[place] = value
    if place < REPEATED:
        ring[ring.size - REPEATED + place] = value


@kernel
def packed(value: float) -> np.uint16:
    """A positive float32 in 16 bits: the sign, which is known, and 15 binary digits are dropped."""
    return np.uint16((np.float32(value).view(np.int32) + 16384) >> 15)
