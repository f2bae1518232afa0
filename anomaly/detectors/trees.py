"""Trees: combinations of readings that hardly ever occurred (streaming half-space trees).

Tan, Ting and Liu, "Fast anomaly detection for streaming data", IJCAI 2011: random binary trees that
halve one sensor's range per node; a row's mass is how many rows of a reference window fell into the
nodes on its path, weighted by 2^depth, down to the first node that holds less than a tenth of the
window; every ``window_rows`` learned rows the latest window becomes the reference. Two choices:
path masses are summed, as in river's ``HalfSpaceTrees`` (the paper takes the last node alone); and
all nodes of one level halve the same sensor, as in the half-space chains of xStream (Manzoor,
Lamba and Akoglu, KDD 2018). The score is in bits: log2(largest possible sum / sum).

So no tree need be stored: which sensor a level halves is drawn by hashing (seed, tree, level), and
which half a value falls into at its k-th halving is the k-th bit of its place in the tree's range.
A walk ends in the number of a leaf, and one table of leaves carries everything: the latest count,
the reference's path sum, and which halving on the path cut off most (the evidence). The naive twin
builds the nodes, and agrees in every bit. Nodes with sensors of their own took ten times as long.

The trees are the same for every asset of equally many sensors. Their ranges are frozen by ``fit``;
masses are learned, so the guard holds them back. A missing sensor is taken at its centre. Sensors
that appear after ``fit`` take part from the next one on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64, Int64
from anomaly.detectors.settings import within
from anomaly.detectors.warm_up import State, fit_reference, follow
from anomaly.kernel import kernel, kernel_uncounted
from anomaly.numerics import LIMIT, clip, learns, robust_reference

VERSION = 1

Int32 = npt.NDArray[np.int32]
UInt64 = npt.NDArray[np.uint64]

ASSET = np.dtype([
    ("sensors", "i8"),  # of how many sensors the trees are made; 0 = no fit yet
    ("reference_rows", "i8"), ("latest_rows", "i8"),
])
TAG = np.dtype([("known", "i8"), ("low", "f8"), ("width", "f8")])
#: 32-bit, for once: a leaf table is the largest state of all, and counts of rows fit.
LEAF = np.dtype([("latest", "i4"), ("path", "i4"), ("cut", "i4")])

#: A path ends at the first node with less than this share of the reference window (the paper's).
SIZE_SHARE = 0.1
#: Sensor ranges are centre ± this many scales of the warm-up; they become 0 … 1.
RANGE_SCALES = 3.0
#: Most rows of a window: a path sum must fit 32 bits at depth 14.
WINDOW_LIMIT = 60_000
_MASK = 0x7FFFFFFF  # draws have 31 bits, so that a product of two of them fits an int64


@dataclass(frozen=True, slots=True)
class Config:
    """Parameters of the trees.

    Attributes
    ----------
    trees, depth : int
        How many trees of how many halvings; the state is 12 bytes · trees · 2^depth an asset.
    window_rows : int
        Learned rows after which the latest window becomes the reference, ≤ ``WINDOW_LIMIT``.
    seed : int
        Of the draws.
    folds : int
        Contiguous folds of the cross-fitted warm-up scores.
    """

    trees: int = 25
    depth: int = 10
    window_rows: int = 250
    seed: int = 1
    folds: int = 4

    def __post_init__(self) -> None:
        within("trees", self.trees, 1, 1000)
        within("depth", self.depth, 1, 14)
        within("window_rows", self.window_rows, 1, WINDOW_LIMIT)
        within("seed", self.seed, 0, _MASK)
        within("folds", self.folds, 2, 20)


def allocate(config: Config, assets: int, tags: int) -> State:
    """Fresh state: the leaf tables per asset, the ranges per tag."""
    return {
        "asset": np.zeros(assets, ASSET),
        "asset_leaf": np.zeros((assets, config.trees << config.depth), LEAF),
        "tag": np.zeros(tags, TAG),
    }


@kernel
def draw(seed: int, tree: int, number: int) -> int:
    """31 random bits for (seed, tree, number): a hash in place of a stored tree.

    Three rounds of multiply and xor-shift as in Murmur's finaliser, kept to 31 bits so that the
    arithmetic is the same in Python and in machine code.
    """
    bits = (seed * 0x9E3779B1 + tree * 0x85EBCA6B + number * 0xC2B2AE35 + 0x165667B1) & _MASK
    for _ in range(3):
        bits = ((bits ^ (bits >> 15)) * 0x2C1B3C6D) & _MASK
        bits = ((bits ^ (bits >> 12)) * 0x297A2D39) & _MASK
    return bits ^ (bits >> 15)


@kernel
def plan(
    seed: int, trees: int, depth: int, sensors: int,
    halved: Int64, pair: UInt64, shift: Int32, pair_sensor: UInt64, pair_start: Float64,
) -> int:
    """Draw the trees for so many sensors; returns the pairs of a tree and a sensor it halves.

    Per level and tree (``level · trees + tree``): ``halved`` is the sensor, ``pair`` the pair,
    ``shift`` = depth − 1 where the level is the first of its tree to halve that sensor, one less
    at each later one. ``pair_start`` is the random s in [0, 1) of the sensor's range in the tree.
    """
    pairs = 0
    for tree in range(trees):
        for level in range(depth):
            at = level * trees + tree
            halved[at] = (draw(seed, tree, level) * sensors) >> 31
            shift[at], pair[at] = depth - 1, pairs
            for earlier in range(tree, at, trees):
                if halved[earlier] == halved[at]:
                    shift[at], pair[at] = shift[at] - 1, pair[earlier]
            if pair[at] == pairs:
                pair_sensor[pairs] = halved[at]
                pair_start[pairs] = draw(seed, tree, depth + level) / (_MASK + 1.0)
                pairs += 1
    return pairs


@kernel
def place(start: float, depth: int, position: float) -> int:
    """Where a scaled value lies in a tree's range of the sensor: 0 … 2^depth − 1.

    The range is s ± 2·max(s, 1 − s): it holds [0, 1] with room at both ends, and its first
    halving is at s (section 3 of the paper). 32 bits, so that several fit a register.
    """
    half = 2.0 * max(start, 1.0 - start)
    cells = 1 << depth
    found: Any = np.int32((position - start + half) / (2.0 * half) * cells)
    return int(min(max(found, 0), cells - 1))


@kernel
def step(
    own: npt.NDArray[np.void], asset_leaf: npt.NDArray[np.void], tag: npt.NDArray[np.void],
    trees: int, depth: int, window_rows: int, seed: int, folds: int,
    table: Int64, asset: Int64, x: Float64, learn_below: Float64,
    score: Float64, evidence: Float64,
) -> None:
    """Score rows under the detector contract.

    Evidence: each tree's bits go to the sensor whose halving cut off most of the mass.
    """
    position, leaf = np.empty(table.shape[1]), np.empty(trees, np.int32)
    halved, pair = np.empty(trees * depth, np.int64), np.empty(trees * depth, np.uint64)
    shift, cell = np.empty(trees * depth, np.int32), np.empty(trees * depth, np.int32)
    pair_sensor, pair_start = np.empty(trees * depth, np.uint64), np.empty(trees * depth)
    latest, path, cut = asset_leaf["latest"], asset_leaf["path"], asset_leaf["cut"]
    known, low, width = tag["known"], tag["low"], tag["width"]
    planned = pairs = 0
    for i in range(asset.size):
        a = asset[i]
        for c in range(x.shape[1]):
            evidence[i, c] = 0.0
        score[i] = np.nan
        sensors = own["sensors"][a]
        if sensors == 0 or _positions(known, low, width, table, a, sensors, x, i, position) == 0:
            continue
        if planned != sensors:
            pairs = plan(
                seed, trees, depth, sensors, halved, pair, shift, pair_sensor, pair_start)
            planned = sensors
        _walk(trees, depth, pairs, pair, shift, pair_sensor, pair_start, position, cell, leaf)
        reference_rows = own["reference_rows"][a]
        if reference_rows > 0:
            largest = float(reference_rows) * ((1 << (depth + 1)) - 1)
            total = 0
            for tree in range(trees):
                found = path[a, leaf[tree]]
                total += found
                guilty = halved[cut[a, leaf[tree]] * trees + tree]
                if guilty < x.shape[1] and not np.isnan(x[i, guilty]):
                    evidence[i, guilty] += np.log2(largest / found) / trees
            score[i] = np.log2(largest * trees / total)

        if learns(score[i], learn_below[i]):
            for tree in range(trees):
                latest[a, leaf[tree]] += 1
            own["latest_rows"][a] += 1
            if own["latest_rows"][a] >= window_rows:
                _renew(asset_leaf[a], trees, depth, own["latest_rows"][a])
                own["reference_rows"][a] = own["latest_rows"][a]
                own["latest_rows"][a] = 0


@kernel_uncounted
def _positions(
    known: Int64, low: Float64, width: Float64, table: Int64, a: int, sensors: int, x: Float64,
    i: int, position: Float64,
) -> int:
    """Each sensor scaled to its frozen range; 0.5 where missing. Returns how many are there."""
    present = 0
    for q in range(sensors):
        t = table[a, q]
        position[q] = 0.5
        if t >= 0 and known[t] == 1 and q < x.shape[1] and not np.isnan(x[i, q]):
            position[q] = clip((clip(x[i, q], LIMIT) - low[t]) / width[t], 100.0)
            present += 1
    return present


@kernel_uncounted
def _walk(
    trees: int, depth: int, pairs: int, pair: UInt64, shift: Int32, pair_sensor: UInt64,
    pair_start: Float64, position: Float64, cell: Int32, leaf: Int32,
) -> None:
    """The leaf of every tree; level by level over all trees, and without a branch."""
    for k in range(pairs):
        cell[k] = place(pair_start[k], depth, position[pair_sensor[k]])
    for tree in range(trees):
        leaf[tree] = tree
    for level in range(depth):
        for tree in range(trees):
            at = level * trees + tree
            leaf[tree] = leaf[tree] << 1 | cell[pair[at]] >> shift[at] & 1


@kernel
def _renew(leaves: npt.NDArray[np.void], trees: int, depth: int, rows: int) -> None:
    """The latest window becomes the reference: masses, path sums, guilty halvings, zero counts.

    Only nodes that hold a tenth of the window have paths that go on below them, few on every level:
    they are gone through from the root, and all leaves under a path's end get its sum at once.
    """
    count = 1 << depth
    latest, path, cut = leaves["latest"], leaves["path"], leaves["cut"]
    before = np.empty(count + 1, np.int64)  # rows in the leaves to the left
    waiting, sums = np.empty(depth + 2, np.int64), np.empty(depth + 2, np.int64)
    cuts, sharpest = np.empty(depth + 2, np.int64), np.empty(depth + 2)
    for tree in range(trees):
        first = tree * count
        before[0] = 0
        for k in range(count):
            before[k + 1] = before[k] + latest[first + k]
            latest[first + k] = 0
        waiting[0], sums[0], cuts[0], sharpest[0], left = 1, before[count], 0, -1.0, 1
        while left > 0:
            left -= 1
            node, total, guilty, sharp = waiting[left], sums[left], cuts[left], sharpest[left]
            level = _level(node)
            start, stop = _leaves(node, level, depth)
            mass = before[stop] - before[start]
            if level == depth or mass < SIZE_SHARE * rows:
                for k in range(first + start, first + stop):
                    path[k], cut[k] = total, guilty
                continue
            for child in (2 * node, 2 * node + 1):
                start, stop = _leaves(child, level + 1, depth)
                own = before[stop] - before[start]
                # The share of its parent that a halving left behind; evenly halved it is a half.
                loss = 1.0 - own / mass
                waiting[left], sums[left] = child, total + (own << level + 1)
                cuts[left], sharpest[left] = (level, loss) if loss > sharp else (guilty, sharp)
                left += 1


@kernel
def _level(node: int) -> int:
    level = 0
    while node >= 2 << level:
        level += 1
    return level


@kernel
def _leaves(node: int, level: int, depth: int) -> tuple[int, int]:
    """The leaves under a node: the first one and the one behind the last."""
    start = (node << (depth - level)) - (1 << depth)
    return start, start + (1 << (depth - level))


def fit(
    own: npt.NDArray[np.void], asset_leaf: npt.NDArray[np.void], tag: npt.NDArray[np.void],
    trees: int, depth: int, window_rows: int, seed: int, folds: int,
    tags: Int64, asset: int, rows: Float64, score: Float64,
) -> None:
    """Freeze ranges on ``rows``, count them as first reference, write cross-fitted scores."""
    fit_reference(
        allocate, _freeze, step, Config(trees, depth, window_rows, seed, folds),
        {"asset": own, "asset_leaf": asset_leaf, "tag": tag}, tags, asset, rows, score,
    )


def _freeze(config: Config, state: State, tags: Int64, asset: int, rows: Float64) -> None:
    centre, scale, known = robust_reference(rows)
    for c, t in enumerate(tags):
        if t >= 0:
            low = centre[c] - RANGE_SCALES * scale[c]
            state["tag"][t] = (known[c], low, 2.0 * RANGE_SCALES * scale[c])
    state["asset"][asset] = (len(tags), 0, 0)
    state["asset_leaf"][asset] = 0
    # All warm-up rows are the first reference: one window that is as long as they are.
    usable = rows[-WINDOW_LIMIT:]
    judged = int(np.isfinite(usable[:, known]).any(axis=1).sum()) if known.any() else 0
    if judged > 0:
        follow(step, replace(config, window_rows=judged), state, tags, asset, usable)
