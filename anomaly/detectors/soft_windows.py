"""Soft windows and the rings they are told from: the inner loops of ``pyramid``.

One level of one sensor has a ring of window means m, a ring of their deviations σ and, by lag, the
mean square difference R of the last window and the one so many blocks earlier (the formulas are in
``pyramid``). Lags go in steps: 0, step, 2 step, … blocks. A ring has a part for each block number
modulo the step, so that the windows that one block is compared with stand together. In each part
the newest block has the lowest place until it turns over: lag and place ascend together. Here R is
moved on and searched, and σ and R are made again from the ring of m. What is odd, and every norm,
is ``pyramid``'s.

Whoever goes through the arrays place by place, sensor by sensor, reads memory in one direction,
which is twice as fast as anything else (measured: 0.75 µs a block against 1.5). A ring is named by
its row, its first place there and its places; never by a slice, because each slice is counted with
a locked instruction or two, and these were a seventh of all time. Indices are unsigned where the
loop must be vectorised: one that might be negative is not.
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
#: Row of the arrays; first place there; places of each part, the repeated one not counted; parts;
#: where R of lag 0 stands.
Ring = tuple[int, int, int, int, int]
#: First place of a block's part of the ring, the same for the block before it, place in its part.
Stands = tuple[int, int, int]

#: Lags shorter than this compare a window with itself.
EXCLUDED_BLOCKS = 16
#: κ: 20 roundings of float32, as many as a block that is told from two means may carry.
LEVEL_SHARE = 2.0**-18
#: The deviations take the long-run variance of this many blocks' beginning, or when it doubled.
SOFT_BLOCKS = 256
#: v and R of every lag begin anew once in this many blocks; R lags of so many blocks at a time …
ANEW_BLOCKS = 192
ANEW_LAGS = 256
#: … each part so many blocks after the one before it, so that no block costs much more than others;
ANEW_SHIFT, ANEW_FIRST = 24, 12
#: … from so many blocks that what lies before them weighs less than this.
FORGOTTEN = 1e-7
#: A part of a ring repeats its first place at its end, where it may be a block's older neighbour.
REPEATED = 1
#: Most blocks from one lag to the next.
STEP_LIMIT = 8


@kernel_uncounted
def search(
    at: Ring, stands: Stands, means: Float32, sigmas: UInt16, apart: Float32, newest: int,
    history: int, old_blocks: int, now: tuple[np.float32, ...],
) -> tuple[Squares, Squares]:
    """The nearest of all lags and of the old ones alone, infinite if there are none; R moves on.

    Lags that have no block yet move, too: blocks that equal the first lie before it.
    """
    t, _, length, step, lag = at
    ours, older, slot = stands
    wrapped = length - slot  # the number of the lag at the ring's first place
    end = lags_below(history, step)
    far = min(end, newest // step + 1)  # lags below this have a block
    middle = min(lags_below(old_blocks, step), far)
    infinite = np.float32(np.inf)
    least = (infinite, infinite, infinite)
    old = least
    low = lags_below(EXCLUDED_BLOCKS, step)
    while low < end:
        high = middle if low < middle else (far if low < far else end)
        place = slot + low
        if low < wrapped:
            high = min(high, wrapped)
        else:
            place -= length
        found = _nearest(
            np.uint64(t), np.uint64(ours + place), np.uint64(older + place), np.uint64(lag + low),
            np.uint64(high - low), means, sigmas, apart, *now)
        if low < middle:
            least = nearer(least, found)
        elif low < far:
            old = nearer(old, found)
        low = high
    return nearer(least, old), old


@kernel_uncounted
def _nearest(
    t: np.uint64, place: np.uint64, older: np.uint64, lag: np.uint64, lags: np.uint64,
    means: Float32, sigmas: UInt16, apart: Float32, keep: np.float32, block: np.float32,
    near: np.float32, far: np.float32, mean: np.float32, sigma: np.float32,
) -> Squares:
    """Move every lag's R on and return the three smallest squared distances.

    Minima are taken over the bit patterns: squares are ≥ 0 up to rounding, and floats of that sign
    order like their bits; a slightly negative square becomes the minimum, which is then 0. Float
    minima are not vectorised by the compiler, integer ones are: 0.3 ns a lag against 1.2.
    """
    level = np.float32(1.0 - LEVEL_SHARE)
    largest = np.int32(2147483647)
    raw, centred, shape = largest, largest, largest
    for k in range(lags):
        other = means[t, place + k]
        u = block - (near * other - far * means[t, older + k])
        square = keep * apart[t, lag + k] + u * u
        apart[t, lag + k] = square
        bits = np.float32(square).view(np.int32)
        raw = bits if bits < raw else raw
        away = mean - other
        square = square - level * away * away
        bits = np.float32(square).view(np.int32)
        centred = bits if bits < centred else centred
        theirs = np.int32(np.int32(sigmas[t, place + k]) << 15).view(np.float32)
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
    at: Ring, means: Float32, apart: Float32, line: Float32, newest: int, low: int, high: int,
    blocks: int, keep: float,
) -> None:
    """R of the lags number ``low`` … ``high − 1``, made from nothing over the last ``blocks``."""
    t, start, length, step, first_lag = at
    lags = high - low
    group, oldest = newest // step, (newest - blocks + 1) // step
    width = lags + group - oldest
    others = lags + blocks  # in ``line``: R, our own blocks, theirs by kind
    near, far = weights_of(keep)
    kind, slot = newest % step, length - 1 - group % length
    mean = means[t, start + kind * (length + REPEATED) + slot]
    for k in range(lags, lags + blocks):
        kind, slot = before(kind, slot, length, step)
        other = means[t, start + kind * (length + REPEATED) + slot]
        line[k] = near * mean - far * other
        mean = other
    slot = (length - 1 - group % length + low) % length
    for kind in range(step):
        ours = np.uint64(start + kind * (length + REPEATED))
        older = np.uint64(start + (kind - 1) * (length + REPEATED))
        if kind == 0:
            older = np.uint64(start + (step - 1) * (length + REPEATED) + 1)
        until = min(width, length - slot)  # what is beyond has wrapped around the ring's end
        _tell(line, others + kind * width, means, t, ours + np.uint64(slot),
              older + np.uint64(slot), until, near, far)
        _tell(line, others + kind * width + until, means, t, ours, older, width - until, near, far)
    for k in range(lags):
        line[k] = np.float32(0.0)
    kept = np.float32(keep)
    age = blocks - 1
    kind = (newest - age) % step
    p3 = others + kind * width + group - oldest
    while age >= 0:
        if age >= 3:  # four blocks in one pass: R is fetched and put back once
            kind, p2 = _younger(kind, p3, step, width)
            kind, p1 = _younger(kind, p2, step, width)
            kind, p0 = _younger(kind, p1, step, width)
            _move_four(line, np.uint64(lags), line[lags + age - 3 : lags + age + 1], kept, (
                np.uint64(p0), np.uint64(p1), np.uint64(p2), np.uint64(p3)))
            kind, p3 = _younger(kind, p0, step, width)
            age -= 4
        else:
            _move_one(line, np.uint64(lags), line[lags + age], kept, np.uint64(p3))
            kind, p3 = _younger(kind, p3, step, width)
            age -= 1
    for k in range(lags):
        apart[t, first_lag + low + k] = line[k]


@kernel_uncounted
def _tell(
    line: Float32, first: int, means: Float32, t: int, ours: np.uint64, older: np.uint64,
    blocks: int, near: np.float32, far: np.float32,
) -> None:
    """Blocks as √α b, told from the means that stand together."""
    row, to = np.uint64(t), np.uint64(first)
    for k in range(np.uint64(blocks)):
        line[to + k] = near * means[row, ours + k] - far * means[row, older + k]


@kernel_uncounted
def _younger(kind: int, at: int, step: int, width: int) -> tuple[int, int]:
    """Kind of the block after one of this kind, and where its lags begin in the line.

    By kinds, each ``width`` long; a division for each block would take as long as its lags do.
    """
    return (kind + 1, at + width) if kind + 1 < step else (0, at - (step - 1) * width - 1)


@kernel_uncounted
def _move_four(
    line: Float32, lags: np.uint64, own: Float32, keep: np.float32, at: tuple[np.uint64, ...]
) -> None:
    b0, b1, b2, b3 = own[0], own[1], own[2], own[3]
    p0, p1, p2, p3 = at
    for k in range(lags):
        u3, u2 = b3 - line[p3 + k], b2 - line[p2 + k]
        u1, u0 = b1 - line[p1 + k], b0 - line[p0 + k]
        moved = keep * line[k] + u3 * u3
        moved = keep * moved + u2 * u2
        moved = keep * moved + u1 * u1
        line[k] = keep * moved + u0 * u0


@kernel_uncounted
def _move_one(
    line: Float32, lags: np.uint64, own: np.float32, keep: np.float32, at: np.uint64
) -> None:
    for k in range(lags):
        u = own - line[at + k]
        line[k] = keep * line[k] + u * u


@kernel_uncounted
def sigmas_anew(
    at: Ring, means: Float32, sigmas: UInt16, newest: int, soft: float, history: int, keep: float,
    reach: int,
) -> None:
    """The ring of σ from the ring of m, as far back as the lags reach."""
    t, start, length, step, _ = at
    oldest = max(newest - history + 1, 0)
    block = oldest - oldest % ANEW_BLOCKS
    kind, slot = block % step, length - 1 - block // step % length
    other = means[t, place_of(at, block - 1)]
    variance = 0.0
    while block <= newest:
        place = start + kind * (length + REPEATED) + slot
        mean = means[t, place]
        if block % ANEW_BLOCKS == 0:
            variance = variance_anew(at, means, block, keep, reach)
        else:
            variance = moved(variance, mean, other, keep)
        if block >= oldest:
            sigmas[t, place] = packed(math.sqrt(variance + soft))
        other = mean
        block += 1
        kind, slot = after(kind, slot, length, step)


@kernel_uncounted
def variance_anew(at: Ring, means: Float32, block: int, keep: float, reach: int) -> float:
    """v after ``block``, made from nothing over as many blocks as a window remembers."""
    t, start, length, step, _ = at
    first = max(block - reach + 1, 0)
    kind, slot = first % step, length - 1 - first // step % length
    other = means[t, place_of(at, first - 1)]
    variance = 0.0
    for _ in range(first, block + 1):
        mean = means[t, start + kind * (length + REPEATED) + slot]
        variance = moved(variance, mean, other, keep)
        other = mean
        kind, slot = after(kind, slot, length, step)
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
def ring_blocks(history: int, reach: int, step: int) -> int:
    """Places of each of a ring's parts; one more, that repeats the first, stands at the end."""
    return (history + reach + ANEW_BLOCKS) // step + 2


@kernel_uncounted
def ring_width(history: int, reach: int, step: int) -> int:
    """Places of a ring in all, what its parts repeat among them."""
    places: int = step * (ring_blocks(history, reach, step) + REPEATED)
    return places


@kernel_uncounted
def lags_below(blocks: int, step: int) -> int:
    """How many lags 0, step, 2 step … are below so many blocks."""
    return (blocks + step - 1) // step


@kernel_uncounted
def line_blocks(reach: int, steps: tuple[int, ...]) -> int:
    """Room that ``begin_anew`` needs."""
    most = 0
    for step in steps:
        most = max(most, step)
    return (most + 2) * (reach + ANEW_BLOCKS + ANEW_LAGS + 2)


@kernel_uncounted
def weights_of(keep: float) -> tuple[np.float32, np.float32]:
    """Of a mean and of its older neighbour in √α b, which their difference tells."""
    share = 1.0 - keep
    return np.float32(1.0 / math.sqrt(share)), np.float32(keep / math.sqrt(share))


@kernel_uncounted
def place_of(at: Ring, block: int) -> int:
    """Where in the arrays' row a block stands."""
    _, start, length, step, _ = at
    return start + block % step * (length + REPEATED) + length - 1 - block // step % length


@kernel_uncounted
def stands_at(at: Ring, block: int) -> Stands:
    """First place of a block's part, the same of the block before it, and its place in its part."""
    _, start, length, step, _ = at
    group = block // step
    kind = block - group * step
    ours = start + kind * (length + REPEATED)
    older = ours - (length + REPEATED) if kind > 0 else start + (step - 1) * (length + REPEATED) + 1
    return ours, older, length - 1 - group % length


@kernel_uncounted
def after(kind: int, slot: int, length: int, step: int) -> tuple[int, int]:
    """Part and place of the block after one that stands there."""
    if kind + 1 < step:
        return kind + 1, slot
    return 0, slot - 1 if slot > 0 else length - 1


@kernel_uncounted
def before(kind: int, slot: int, length: int, step: int) -> tuple[int, int]:
    """Part and place of the block before one that stands there."""
    if kind > 0:
        return kind - 1, slot
    return step - 1, slot + 1 if slot + 1 < length else 0


@kernel_uncounted
def put(at: Ring, ring: npt.NDArray[Any], stands: Stands, value: Any) -> None:
    """Write a block's place in a ring, and its repetition."""
    ours, _, slot = stands
    ring[at[0], ours + slot] = value
    if slot == 0:
        ring[at[0], ours + at[2]] = value


@kernel_uncounted
def packed(value: float) -> np.uint16:
    """A positive float32 in 16 bits: the sign, which is known, and 15 binary digits are dropped."""
    return np.uint16((np.float32(value).view(np.int32) + 16384) >> 15)


@kernel_uncounted
def copy_places(
    target: npt.NDArray[Any], source: npt.NDArray[Any], t: int, start: int, places: int
) -> None:
    """One level's places to the only row of ``target``."""
    for k in range(places):
        target[0, k] = source[t, start + k]
