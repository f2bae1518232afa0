"""Pyramid: the last stretch of a sensor is like nothing it did before, at three time scales.

Per sensor, values are averaged in blocks of 1, 4 and 16. At each decimation an exponentially
weighted window (λ = 0.85, about the last dozen blocks) is compared with every earlier such window
back to the history's end, and the nearest one counts: a *left discord* (Yeh et al., "Matrix Profile
I", ICDM 2016; left: Zimmerman et al., "Matrix Profile XIII", 2019) whose window has no hard edge.
With block values b, EW mean m, EW variance v (West, CACM 22 (1979), weighted recurrences), V the
sensor's long-run variance of late (without it flat parts rule) and σ² = v + 0.01 V:

    m += α(b − m);  v = λ(v + α(b − m)²);  R_L = λR_L + α(b_i − b_{i−L})²
    raw²     = R_L
    centred² = R_L − (1 − κ)(m_i − m_{i−L})²
    shape²   = (centred² − (σ_i − σ_{i−L})²) / σ_i σ_{i−L}

R_L is the mean square difference of two windows and the only thing kept per lag: one
multiplication and one addition move it on, and nothing is subtracted from it, so rounding is
forgotten with λⁿ and float32 is enough. κ keeps the rounding of a difference of two large numbers
from passing for a perfect match. Each minimum is taken over all lags and over the old ones alone:
what came back after long is less odd than what never came, and odder than what came a moment ago.
The first level compares every second lag only, over a history a quarter longer for it: what came
before came a block from there, too, and a row touches less memory, which is what a plant waits
for. The slower levels need every lag, and every row its own answer (benchmarks/results/ablations).

What is kept and what is made again. A ring of m is what the sensor was: b follows from two
neighbours, and v, σ (16 bits are enough) and R from the b. So that a state read back goes on bit
for bit without them, they begin anew from the ring at fixed block numbers, R a part of the lags at
a time; :func:`rebuild` does the same. V takes part in σ as it was then, or when it had doubled.

Each of the 18 distances is judged by its own past (``norms``), raw and shape less what is usual in
windows of that σ; centred knows of no excuse. A sensor's surprise is their mean over the distances
that have an opinion. Raw, which sees changes of level, counts less where shapes repeat, for there
the level wanders and the shape does not: its weight is s / (s + ¼), s the level's mean least
shape². The machine's surprise is the mean over its sensors; where several have an opinion, one half
of it is the surprise of all of them together (``together``; raw distances of the slower levels).
The score is its root: in deviations, about 1 when nothing is odd. What carries it
(benchmarks/results): decimations far apart, the soft window, log instead of ratio, two lag ranges,
norms with excuses and a long memory. No training, no period, one setting for everything. Guarding
it against odd windows cost accuracy, so windows always follow; the guard holds back only the norms.

``step`` is longer than a kernel should be because a part of it with as many arrays would be one
more locked instruction for each of them and block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64, Int64
from anomaly.detectors import together
from anomaly.detectors.norms import (
    EXCUSED,
    FOUND,
    NORM,
    OPINION_ROWS,
    SQUARE_LIMIT,
    excused,
    judge,
    learn,
    learn_excuse,
)
from anomaly.detectors.settings import within
from anomaly.detectors.soft_windows import (
    ANEW_BLOCKS,
    ANEW_FIRST,
    ANEW_LAGS,
    ANEW_SHIFT,
    EXCLUDED_BLOCKS,
    REPEATED,
    SOFT_BLOCKS,
    STEP_LIMIT,
    Float32,
    Ring,
    UInt16,
    begin_anew,
    copy_places,
    lags_below,
    line_blocks,
    moved,
    packed,
    put,
    reach_blocks,
    ring_blocks,
    ring_width,
    search,
    sigmas_anew,
    since_anew,
    stands_at,
    variance_anew,
    weights_of,
)
from anomaly.detectors.warm_up import State
from anomaly.kernel import kernel, kernel_inlined, kernel_uncounted
from anomaly.numerics import advances, clip, learns

VERSION = 5
#: Arrays that :func:`rebuild` makes from the others: no part of what is written down.
DERIVED = ("tag_sigma", "tag_apart", "tag_slow_sigma", "tag_slow_apart")
#: By far the largest state: where memory is short, later sensors go without.
PARTIAL = True

#: Share of the long-run variance that softens the normalisation by a window's own deviation.
SOFTENING = 0.01
#: Blocks after which the long-run variance forgets.
VARIANCE_MEMORY = 4000.0
#: Blocks are held within ±this around the first, so that squares stay finite in float32.
BLOCK_LIMIT = 1e15
#: raw, centred, shape; each over all lags and over the old ones.
DISTANCES = 3
RANGES = 2
RAW, CENTRED, SHAPE = 0, 1, 2
#: Mean least shape² at which raw counts half. Where shapes repeat it is a few hundredths, where
#: nothing does a half.
REPEATING = 0.25
#: How far, in standard deviations of log σ², a window excuses its raw and its shape distance: raw
#: wherever it is, for centred sees what raw is excused; shape, which is relative to σ already,
#: within what is usual.
RAW_REACH, SHAPE_REACH = 1e9, 1.0

LEVEL = np.dtype([
    ("filled", "i8"), ("partial", "f8"),  # the block in the making: values in it, their sum
    ("blocks", "i8"),  # complete blocks; they say where in the rings the newest stands
    ("offset", "f8"),  # subtracted from blocks, so that float32 keeps their digits
    ("variance", "f8"),  # of the soft window
    ("long_mean", "f8"), ("long_variance", "f8"),
    ("soft", "f8"),  # 0.01 V as σ knows it
    ("surprise", "f8"), ("opinions", "f8"),  # weighed sum of what its distances say; the weights
])


@dataclass(frozen=True, slots=True)
class Config:
    """Parameters of the pyramid.

    Attributes
    ----------
    decimations : tuple of int
        Values per block at each level.
    histories : tuple of int
        Blocks back to the farthest window compared, per level; the cost is proportional to it.
    steps : tuple of int
        Blocks from one lag to the next, per level: of the windows before, every so many-th is
        compared.
    old_blocks : int
        Lags from here on are the old ones.
    keep : float
        λ, the share of the old window that a block leaves.
    memory_rows : float
        Values after which the norms of the distances forget.
    """

    decimations: tuple[int, ...] = (1, 4, 16)
    histories: tuple[int, ...] = (2560, 2048, 1024)
    steps: tuple[int, ...] = (2, 1, 1)
    old_blocks: int = 512
    keep: float = 0.85
    memory_rows: float = 50_000.0

    def __post_init__(self) -> None:
        within("decimations (how many)", len(self.decimations), 1, 12)
        for values in self.decimations:
            within("decimations", values, 1, 10_000)
        levels = len(self.decimations)
        within("histories (how many)", len(self.histories), levels, levels)
        for blocks in self.histories:
            within("histories", blocks, EXCLUDED_BLOCKS + 1, 100_000)
        within("steps (how many)", len(self.steps), levels, levels)
        for blocks in self.steps:
            within("steps", blocks, 1, STEP_LIMIT)
        within("old_blocks", self.old_blocks, EXCLUDED_BLOCKS + 1, 100_000)
        within("keep", self.keep, 0.1, 0.999)
        within("memory_rows", self.memory_rows, 1, 1e9)


def allocate(config: Config, assets: int, tags: int) -> State:
    """Fresh state, all per tag: levels, norms, and the rings of m, σ and R of every level.

    The first level's rings are arrays of their own, because a row touches these and no others at
    most times; the slower levels' stand one after the other. A ring reaches further back than the
    lags do, by what a new beginning of R needs.
    """
    levels = len(config.decimations)
    reach = reach_blocks(config.keep)
    rings = [ring_width(history, reach, step) for history, step in
             zip(config.histories, config.steps, strict=True)]
    lags = [lags_below(history, step) for history, step in
            zip(config.histories, config.steps, strict=True)]
    fast, slow = rings[0], sum(rings[1:])
    return {
        "tag_level": np.zeros((tags, levels), LEVEL),
        "tag_norm": np.zeros((tags, levels * RANGES * DISTANCES), EXCUSED),
        "tag_mean": np.zeros((tags, fast), np.float32),
        "tag_sigma": np.zeros((tags, fast), np.uint16),
        "tag_apart": np.zeros((tags, lags[0]), np.float32),
        "tag_slow_mean": np.zeros((tags, slow), np.float32),
        "tag_slow_sigma": np.zeros((tags, slow), np.uint16),
        "tag_slow_apart": np.zeros((tags, sum(lags[1:])), np.float32),
        "asset_level": np.zeros((assets, levels), together.SAID),
        "asset_norm": np.zeros((assets, levels * RANGES), NORM),
    }


@kernel
def step(
    tag_level: npt.NDArray[np.void], tag_norm: npt.NDArray[np.void],
    tag_mean: Float32, tag_sigma: UInt16, tag_apart: Float32,
    tag_slow_mean: Float32, tag_slow_sigma: UInt16, tag_slow_apart: Float32,
    asset_level: npt.NDArray[np.void], asset_norm: npt.NDArray[np.void],
    decimations: tuple[int, ...], histories: tuple[int, ...], steps: tuple[int, ...],
    old_blocks: int, keep: float, memory_rows: float,
    table: Int64, asset: Int64, x: Float64, learn_below: Float64,
    score: Float64, evidence: Float64,
) -> None:
    """Score rows under the detector contract. A sensor's evidence is its own score."""
    levels = len(decimations)
    reach, weights = reach_blocks(keep), weights_of(keep)
    spare_level = np.empty(levels, LEVEL)  # where score-only rows leave their trace
    parts = np.empty((levels, 4), np.int64)
    places, lags = _lay_out(histories, steps, reach, parts)
    spare_mean, spare_apart = np.empty((1, places), np.float32), np.empty((1, lags), np.float32)
    spare_sigma = np.empty((1, places), np.uint16)
    line = np.empty(line_blocks(reach, steps), np.float32)
    fresh = np.empty((x.shape[1], levels), np.int64)  # distances of blocks that this row closed, …
    found = np.empty((x.shape[1], levels * RANGES * DISTANCES, FOUND))  # … what is learned of them
    sums = np.empty((levels, lags), np.float32)
    joined, shared = np.empty(levels, np.int64), np.empty(levels, np.int64)
    fresh_together = np.empty((1, levels), np.int64)
    found_together = np.empty((1, levels * RANGES, FOUND))
    for i in range(asset.size):
        a = asset[i]
        moves = advances(learn_below[i])
        several = together.sensors(table, a) > 1
        for level in range(levels):
            joined[level] = 0
        total = 0.0
        judged = 0
        for c in range(x.shape[1]):
            evidence[i, c] = 0.0
            t = table[a, c] if c < table.shape[1] else -1
            if t < 0 or t >= tag_level.shape[0] or np.isnan(x[i, c]):
                continue
            value = clip(x[i, c], 1e100)
            surprise, opinions = 0.0, 0.0
            for level in range(levels):
                fresh[c, level] = 0
                at = (t, parts[level, 0], parts[level, 1], steps[level], parts[level, 2])
                if not moves:
                    spare_level[level] = tag_level[t, level]
                own = tag_level[t, level] if moves else spare_level[level]
                own["partial"] += value
                own["filled"] += 1
                if own["filled"] == decimations[level]:
                    how = (histories[level], decimations[level], old_blocks, keep, reach, weights)
                    if moves and level == 0:
                        fresh[c, 0] = _close(own, at, tag_mean, tag_sigma, tag_apart, line,
                                             tag_norm, t, 0, found, c, how)
                    elif moves:
                        fresh[c, level] = _close(
                            own, at, tag_slow_mean, tag_slow_sigma, tag_slow_apart, line,
                            tag_norm, t, level, found, c, how)
                    else:
                        fresh[c, level] = _close_copy(
                            own, level, at, tag_mean, tag_sigma, tag_apart, tag_slow_mean,
                            tag_slow_sigma, tag_slow_apart, spare_mean, spare_sigma,
                            spare_apart, line, tag_norm, found, c, how)
                if several and level > 0 and fresh[c, level] > 0:
                    norm = tag_norm[t, level * RANGES * DISTANCES]
                    if norm["count"] * decimations[level] > OPINION_ROWS:
                        if joined[level] == 0:
                            sums[level] = np.float32(0.0)
                            shared[level] = own["blocks"]
                        joined[level] += 1
                        shared[level] = min(shared[level], own["blocks"])
                        if moves:
                            together.add(t, parts[level, 2], parts[level, 3], tag_slow_apart,
                                         norm["size"], level, sums)
                        else:
                            together.add(0, 0, parts[level, 3], spare_apart, norm["size"], level,
                                         sums)
                surprise += own["surprise"]
                opinions += own["opinions"]
            if opinions > 0.0:
                evidence[i, c] = surprise / opinions
                total += evidence[i, c]
                judged += 1
        score[i] = total / judged if judged > 0 else np.nan
        if several:
            machine = together.judge(
                asset_level, asset_norm, a, moves, joined, shared, sums, fresh_together,
                found_together, decimations, histories, steps, old_blocks, keep)
            if machine >= 0.0:
                score[i] = 0.5 * (score[i] + machine)
        score[i] = math.sqrt(score[i])
        if moves and learns(score[i], learn_below[i]):
            _settle(tag_norm, table, a, x, i, fresh, found, decimations, memory_rows)
            if several:
                for level in range(1, levels):
                    first = level * RANGES
                    for k in range(first, first + fresh_together[0, level]):
                        learn(asset_norm[a, k], found_together, 0, k,
                              decimations[level] / memory_rows)


@kernel
def rebuild(
    tag_level: npt.NDArray[np.void], tag_norm: npt.NDArray[np.void],
    tag_mean: Float32, tag_sigma: UInt16, tag_apart: Float32,
    tag_slow_mean: Float32, tag_slow_sigma: UInt16, tag_slow_apart: Float32,
    asset_level: npt.NDArray[np.void], asset_norm: npt.NDArray[np.void],
    decimations: tuple[int, ...], histories: tuple[int, ...], steps: tuple[int, ...],
    old_blocks: int, keep: float, memory_rows: float,
    tags: Int64,
) -> None:
    """Make σ and R of some tags from their rings of m: to the bit what the stream had made."""
    reach = reach_blocks(keep)
    line = np.empty(line_blocks(reach, steps), np.float32)
    parts = np.empty((len(decimations), 4), np.int64)
    _lay_out(histories, steps, reach, parts)
    for k in range(tags.size):
        t = tags[k]
        if t < 0 or t >= tag_level.shape[0]:
            continue
        for level in range(len(decimations)):
            own = tag_level[t, level]
            at = (t, parts[level, 0], parts[level, 1], steps[level], parts[level, 2])
            if level == 0:
                _remake(own, at, tag_mean, tag_sigma, tag_apart, line, histories[0], keep, reach)
            else:
                _remake(own, at, tag_slow_mean, tag_slow_sigma, tag_slow_apart, line,
                        histories[level], keep, reach)


@kernel_uncounted
def _lay_out(
    histories: tuple[int, ...], steps: tuple[int, ...], reach: int, parts: Int64
) -> tuple[int, int]:
    """Of each level where it stands and how long it is; returns the most places and lags of any.

    ``parts int64[levels, 4]``: first place in the rings' row, places of each of its parts, first
    place in the lags' row, lags. The first level has rows of its own.
    """
    place, lag, places, lags = 0, 0, 0, 0
    for level in range(len(histories)):
        parts[level, 0], parts[level, 2] = place, lag
        parts[level, 1] = ring_blocks(histories[level], reach, steps[level])
        parts[level, 3] = lags_below(histories[level], steps[level])
        width = ring_width(histories[level], reach, steps[level])
        places, lags = max(places, width), max(lags, parts[level, 3])
        if level > 0:
            place, lag = place + width, lag + parts[level, 3]
    return places, lags


@kernel_uncounted
def _remake(
    own: Any, at: Ring, means: Float32, sigmas: UInt16, apart: Float32, line: Float32,
    history: int, keep: float, reach: int,
) -> None:
    """σ and R of one ring."""
    t, start, _, step, lag = at
    for place in range(start, start + ring_width(history, reach, step)):
        sigmas[t, place] = np.uint16(0)
    for place in range(lag, lag + lags_below(history, step)):
        apart[t, place] = np.float32(0.0)
    newest = own["blocks"] - 1
    sigmas_anew(at, means, sigmas, newest, own["soft"], lags_below(history, step) * step, keep,
                reach)
    for first in range(EXCLUDED_BLOCKS, history, ANEW_LAGS):
        began = newest - since_anew(newest, first)
        blocks = newest + 1
        if began >= 0:
            blocks = min(blocks, newest - began + reach)
        begin_anew(at, means, apart, line, newest, lags_below(first, step),
                   lags_below(min(first + ANEW_LAGS, history), step), blocks, keep)


@kernel_inlined
def _close(
    own: Any, at: Ring, means: Float32, sigmas: UInt16, apart: Float32, line: Float32,
    tag_norm: npt.NDArray[np.void], tag: int, level: int, found: Float64, column: int,
    how: tuple[int, int, int, float, int, tuple[np.float32, np.float32]],
) -> int:
    """One block is complete: move the window on, find its nearest neighbours, judge them.

    Returns how many distances were judged: none, those over all lags, or those over the old, too.
    """
    history, decimation, old_blocks, keep, reach, weights = how
    t, step = at[0], at[3]
    average = own["partial"] / decimation
    own["partial"], own["filled"] = 0.0, 0
    newest = own["blocks"]
    own["blocks"] = newest + 1
    if newest == 0:
        own["offset"] = average
    block = clip(average - own["offset"], BLOCK_LIMIT)
    weight = max(1.0 / own["blocks"], 1.0 / VARIANCE_MEMORY)
    difference = block - own["long_mean"]
    own["long_mean"] += weight * difference
    own["long_variance"] = (1.0 - weight) * (
        own["long_variance"] + weight * difference * difference
    )
    share = 1.0 - keep
    stands = stands_at(at, newest)
    ours, older, slot = stands
    before = means[t, older + slot]
    mean = np.float32(np.float64(before) + share * (block - np.float64(before)))
    put(at, means, stands, mean)
    if newest % ANEW_BLOCKS == 0:
        own["variance"] = variance_anew(at, means, newest, keep, reach)
    else:
        own["variance"] = moved(own["variance"], mean, before, keep)
    soft = SOFTENING * own["long_variance"] + 1e-18
    if newest % SOFT_BLOCKS == 0 or soft > 2.0 * own["soft"]:
        own["soft"] = soft
        sigmas_anew(at, means, sigmas, newest, soft, lags_below(history, step) * step, keep, reach)
    sigma = math.sqrt(own["variance"] + own["soft"])
    sigmas[t, ours + slot] = packed(sigma)
    gone = slot + lags_below(history, step)
    sigmas[t, ours + (gone - at[2] if gone >= at[2] else gone)] = np.uint16(0)
    near, far = np.float32(weights[0]), np.float32(weights[1])
    now = (np.float32(keep), near * mean - far * before, near, far, mean, np.float32(sigma))
    least, old = search(at, stands, means, sigmas, apart, newest, history, old_blocks, now)
    if newest % ANEW_SHIFT == ANEW_FIRST:
        for first in range(EXCLUDED_BLOCKS, history, ANEW_LAGS):
            if since_anew(newest, first) == 0:
                begin_anew(at, means, apart, line, newest, lags_below(first, step),
                           lags_below(min(first + ANEW_LAGS, history), step),
                           min(newest + 1, reach), keep)
    filled = int(4.0 / share)  # blocks after which the soft windows have filled
    judged = 0
    if newest >= EXCLUDED_BLOCKS + filled:
        judged = DISTANCES
        if history > old_blocks and newest >= old_blocks + filled:
            judged = RANGES * DISTANCES
    own["surprise"], own["opinions"] = 0.0, 0.0
    if judged == 0:
        return 0
    spread = math.log(own["variance"] + own["soft"])
    size = tag_norm[tag, level * RANGES * DISTANCES + SHAPE]["size"]
    for k in range(judged):
        square = least[k] if k < DISTANCES else old[k - DISTANCES]
        place, kind = level * RANGES * DISTANCES + k, k % DISTANCES
        norm = tag_norm[tag, place]
        excuse = 0.0
        if kind != CENTRED:
            reach_of = RAW_REACH if kind == RAW else SHAPE_REACH
            excuse = excused(norm, spread, reach_of, found, column, place)
        surprise = judge(norm, min(float(square), SQUARE_LIMIT), excuse, decimation, found, column,
                         place)
        if surprise >= 0.0:
            counts = size / (size + REPEATING) if kind == RAW else 1.0
            own["surprise"] += counts * surprise
            own["opinions"] += counts
    return judged


@kernel_uncounted
def _close_copy(
    own: Any, level: int, at: Ring, mean: Float32, sigma: UInt16, apart: Float32,
    slow_mean: Float32, slow_sigma: UInt16, slow_apart: Float32,
    spare_mean: Float32, spare_sigma: UInt16, spare_apart: Float32,
    line: Float32, tag_norm: npt.NDArray[np.void], found: Float64, column: int,
    how: tuple[int, int, int, float, int, tuple[np.float32, np.float32]],
) -> Any:
    """The same for a score-only row: in copies of the rings."""
    t, start, length, step, lag = at
    places, lags = step * (length + REPEATED), lags_below(how[0], step)
    if level == 0:
        copy_places(spare_mean, mean, t, 0, places)
        copy_places(spare_sigma, sigma, t, 0, places)
        copy_places(spare_apart, apart, t, 0, lags)
    else:
        copy_places(spare_mean, slow_mean, t, start, places)
        copy_places(spare_sigma, slow_sigma, t, start, places)
        copy_places(spare_apart, slow_apart, t, lag, lags)
    return _close(own, (0, 0, length, step, 0), spare_mean, spare_sigma, spare_apart, line,
                  tag_norm, t, level, found, column, how)


@kernel_uncounted
def _settle(
    tag_norm: npt.NDArray[np.void], table: Int64, a: int, x: Float64, i: int, fresh: Int64,
    found: Float64, decimations: tuple[int, ...], memory_rows: float,
) -> None:
    """Let the norms learn the distances of this row's closed blocks."""
    for c in range(min(x.shape[1], table.shape[1])):
        t = table[a, c]
        if t < 0 or t >= tag_norm.shape[0] or np.isnan(x[i, c]):
            continue
        for level in range(len(decimations)):
            least = decimations[level] / memory_rows
            first = level * RANGES * DISTANCES
            for k in range(first, first + fresh[c, level]):
                weight = learn(tag_norm[t, k], found, c, k, least)
                if (k - first) % DISTANCES != CENTRED:
                    learn_excuse(tag_norm[t, k], found, c, k, weight)
