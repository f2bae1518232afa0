"""Soft windows and the rings they are told from: the inner loops of ``pyramid``.

One level of one sensor has a ring of window means m, a ring of their deviations σ and, at the place
of the block so many earlier, the mean square difference R of the last window and the one there (the
formulas are in ``pyramid``). The newest block has the lowest place until a ring turns over, so that
lag and place ascend together. Here R is moved on and searched, and σ and R are made again from the
ring of m. What is odd, and every norm, is ``pyramid``'s.

The three rings of one level are rows of three arrays, in the same places: whoever goes through them
place by place, sensor by sensor, reads memory in one direction, which is twice as fast as anything
else (measured: 0.75 µs a block against 1.5). A ring is named by its row, its first place there and
its places; never by a slice, because each slice is counted with a locked instruction or two, and
these were a seventh of all time. Indices are unsigned where the loop must be vectorised: one that
might be negative is not.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.kernel import kernel_uncounted

Float32 = npt.NDArray[np.float32]
UInt16 = npt.NDArray[np.uint16]
#: raw², centred², shape².
Squares = tuple[np.float32, np.float32, np.float32]
#: Row of the arrays, first place there, places of the ring; the repeated one not counted.
Ring = tuple[int, int, int]

#: Lags shorter than this compare a window with itself.
EXCLUDED_BLOCKS = 16
#: κ: 20 roundings of float32, as many as a block that is told from two means may carry.
LEVEL_SHARE = 2.0**-18
#: The deviations take the long-run variance of this many blocks' beginning, or when it doubled.
SOFT_BLOCKS = 256
#: v and R of every lag begin anew once in this many blocks; R so many lags at a time …
ANEW_BLOCKS = 192
ANEW_LAGS = 256
#: … each part so many blocks after the one before it, so that no block costs much more than others;
ANEW_SHIFT, ANEW_FIRST = 24, 12
#: … from so many blocks that what lies before them weighs less than this.
FORGOTTEN = 1e-7
#: A ring repeats its first place at its end, where it is the older neighbour of the last.
REPEATED = 1


@kernel_uncounted
def nearest_of(
    low: int, high: int, head: int, at: Ring, means: Float32, sigmas: UInt16, apart: Float32,
    now: tuple[np.float32, ...],
) -> Squares:
    """What is nearest among the lags ``low`` … ``high − 1``, moving their R on; infinite if none.

    These lags must not wrap around the ring's end.
    """
    if high <= low:
        infinite = np.float32(np.inf)
        return infinite, infinite, infinite
    t, start, length = at
    place = head + low if head + low < length else head + low - length
    found: Squares = _nearest(
        np.uint64(t), np.uint64(start + place), np.uint64(high - low), means, sigmas, apart, *now
    )
    return found


@kernel_uncounted
def _nearest(
    t: np.uint64, place: np.uint64, lags: np.uint64, means: Float32, sigmas: UInt16, apart: Float32,
    keep: np.float32, block: np.float32, near: np.float32, far: np.float32, mean: np.float32,
    sigma: np.float32,
) -> Squares:
    """Move every lag's R on and return the three smallest squared distances.

    R moves with its lag to the place before, where the newest block has moved, too.

    Minima are taken over the bit patterns: squares are ≥ 0 up to rounding, and floats of that sign
    order like their bits; a slightly negative square becomes the minimum, which is then 0. Float
    minima are not vectorised by the compiler, integer ones are: 0.3 ns a lag against 1.2.
    """
    level = np.float32(1.0 - LEVEL_SHARE)
    largest = np.int32(2147483647)
    raw, centred, shape = largest, largest, largest
    one = np.uint64(1)
    for k in range(place, place + lags):
        other = means[t, k]
        u = block - (near * other - far * means[t, k + one])
        square = keep * apart[t, k + one] + u * u
        apart[t, k] = square
        bits = np.float32(square).view(np.int32)
        raw = bits if bits < raw else raw
        away = mean - other
        square = square - level * away * away
        bits = np.float32(square).view(np.int32)
        centred = bits if bits < centred else centred
        theirs = np.int32(np.int32(sigmas[t, k]) << 15).view(np.float32)
        away = sigma - theirs
        bits = np.float32((square - away * away) / theirs).view(np.int32)
        shape = bits if bits < shape else shape
    zero = np.int32(0)
    return (
        np.int32(max(raw, zero)).view(np.float32), np.int32(max(centred, zero)).view(np.float32),
        np.int32(max(shape, zero)).view(np.float32) / sigma,
    )


@kernel_uncounted
def nearer(one: Squares, other: Squares) -> Squares:
    """The smaller of each."""
    return min(one[0], other[0]), min(one[1], other[1]), min(one[2], other[2])


@kernel_uncounted
def begin_anew(
    at: Ring, means: Float32, apart: Float32, line: Float32, newest: int, first: int, history: int,
    blocks: int, keep: float,
) -> None:
    """R of the lags from ``first`` on, made from nothing over the last ``blocks`` blocks."""
    t, start, length = at
    head = length - 1 - newest % length
    lags = min(ANEW_LAGS, history - first)
    near, far = weights_of(keep)
    part, own = line[:lags], line[lags : lags + blocks]
    other = line[lags + blocks : 2 * (lags + blocks)]
    for k in range(blocks):
        place = start + (head + k) % length
        own[k] = near * means[t, place] - far * means[t, place + 1]
    place = (head + first) % length
    for k in range(blocks + lags - 1):
        other[k] = near * means[t, start + place] - far * means[t, start + place + 1]
        place = place + 1 if place + 1 < length else 0
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
    place = (head + first) % length
    for k in range(lags):
        apart[t, start + place] = part[k]
        place = place + 1 if place + 1 < length else 0


@kernel_uncounted
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


@kernel_uncounted
def _move_one(part: Float32, own: np.float32, other: Float32, keep: np.float32) -> None:
    for k in range(part.size):
        u = own - other[k]
        part[k] = keep * part[k] + u * u


@kernel_uncounted
def sigmas_anew(
    at: Ring, means: Float32, sigmas: UInt16, newest: int, soft: float, history: int, keep: float,
    reach: int,
) -> None:
    """The ring of σ from the ring of m, as far back as the lags reach."""
    t, start, length = at
    oldest = max(newest - history + 1, 0)
    block = oldest - oldest % ANEW_BLOCKS
    place = (length - 1 - newest % length + newest - block) % length
    variance = 0.0
    while block <= newest:
        if block % ANEW_BLOCKS == 0:
            variance = variance_anew(at, means, newest, block, keep, reach)
        else:
            variance = moved(variance, means[t, start + place], means[t, start + place + 1], keep)
        if block >= oldest:
            sigmas[t, start + place] = packed(math.sqrt(variance + soft))
        block += 1
        place = place - 1 if place > 0 else length - 1


@kernel_uncounted
def variance_anew(
    at: Ring, means: Float32, newest: int, block: int, keep: float, reach: int
) -> float:
    """v after ``block``, made from nothing over as many blocks as a window remembers."""
    t, start, length = at
    blocks = min(reach, block + 1)
    place = (length - 1 - newest % length + newest - block + blocks - 1) % length
    variance = 0.0
    for _ in range(blocks):
        variance = moved(variance, means[t, start + place], means[t, start + place + 1], keep)
        place = place - 1 if place > 0 else length - 1
    return variance


@kernel_uncounted
def moved(variance: float, mean: np.float32, before: np.float32, keep: float) -> float:
    """v after one more block, from v before it and what the ring says of the block."""
    step = np.float64(mean) - np.float64(before)
    return keep * (variance + step * step / (1.0 - keep))


@kernel_uncounted
def since_anew(newest: int, first: int) -> int:
    """Blocks since the lags from ``first`` on began anew; more than ``newest`` = they never did."""
    shift = first // ANEW_LAGS * ANEW_SHIFT + ANEW_FIRST
    return (newest - shift) % ANEW_BLOCKS if newest >= shift else newest + 1


@kernel_uncounted
def reach_blocks(keep: float) -> int:
    """Blocks after which a soft window has forgotten."""
    return 1 + int(math.log(FORGOTTEN) / math.log(keep))


@kernel_uncounted
def ring_blocks(history: int, reach: int) -> int:
    """Places of a level's rings; one more, that repeats the first, stands at the end."""
    return history + reach + ANEW_BLOCKS + 1


@kernel_uncounted
def line_blocks(reach: int) -> int:
    """Room that ``begin_anew`` needs."""
    return 2 * (reach + ANEW_BLOCKS + ANEW_LAGS)


@kernel_uncounted
def weights_of(keep: float) -> tuple[np.float32, np.float32]:
    """Of a mean and of its older neighbour in √α b, which their difference tells."""
    share = 1.0 - keep
    return np.float32(1.0 / math.sqrt(share)), np.float32(keep / math.sqrt(share))


@kernel_uncounted
def put(at: Ring, ring: npt.NDArray[Any], place: int, value: Any) -> None:
    """Write one place of a ring, and its repetition."""
    t, start, length = at
    ring[t, start + place] = value
    if place == 0:
        ring[t, start + length] = value


@kernel_uncounted
def packed(value: float) -> np.uint16:
    """A positive float32 in 16 bits: the sign, which is known, and 15 binary digits are dropped."""
    return np.uint16((np.float32(value).view(np.int32) + 16384) >> 15)
