"""Naive twin of ``anomaly.detectors.trees``: nodes with ranges, walked with comparisons.

Tan, Ting and Liu, IJCAI 2011, algorithms 1–3, with the masses summed along the path as in river's
``HalfSpaceTrees``. Only the random numbers are shared with the module.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from anomaly.detectors.trees import Config, draw
from tests.naive.reference import cross_fit, robust


@dataclass
class Node:
    """A node: which sensor it halves where, and how many rows came by in either window."""

    sensor: int
    threshold: float
    left: Node | None
    right: Node | None
    reference: int = 0
    latest: int = 0


def build(config: Config, tree: int, sensors: int) -> Node:
    """One tree over scaled readings; a sensor's work range is s ± 2·max(s, 1 − s)."""
    choice = [draw(config.seed, tree, level) * sensors >> 31 for level in range(config.depth)]
    ranges = {}
    for level, sensor in enumerate(choice):
        if sensor not in ranges:
            s = draw(config.seed, tree, config.depth + level) / 2**31
            ranges[sensor] = (s - 2 * max(s, 1 - s), s + 2 * max(s, 1 - s))
    return _grow(choice, ranges)


def _grow(choice: list[int], ranges: dict[int, tuple[float, float]]) -> Node:
    if not choice:
        return Node(-1, math.nan, None, None)
    low, high = ranges[choice[0]]
    middle = (low + high) / 2
    left = _grow(choice[1:], ranges | {choice[0]: (low, middle)})
    right = _grow(choice[1:], ranges | {choice[0]: (middle, high)})
    return Node(choice[0], middle, left, right)


def path(node: Node, x: np.ndarray) -> list[Node]:
    """The nodes that a row visits, root first."""
    visited = [node]
    while node.left is not None and node.right is not None:
        node = node.left if x[node.sensor] < node.threshold else node.right
        visited.append(node)
    return visited


def fit_scores(rows: np.ndarray, config: Config) -> np.ndarray:
    return cross_fit(rows, config.folds, lambda w, held: scores(w, held, config)[0])


def scores(warm_up: np.ndarray, rows: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Scores float64[n] and evidence float64[n, d] of the rows that follow ``warm_up``."""
    forest = Forest(config, warm_up)
    whole = replace(config, window_rows=sum(not np.isnan(row).all() for row in warm_up))
    for row in warm_up:
        forest.learn(row, whole.window_rows)
    for row in warm_up:
        forest.learn(row, config.window_rows)
    score, evidence = np.full(len(rows), np.nan), np.zeros(rows.shape)
    for i, row in enumerate(rows):
        score[i], evidence[i] = forest.score(row)
        forest.learn(row, config.window_rows)
    return score, evidence


class Forest:
    """The trees of one asset and their windows."""

    def __init__(self, config: Config, warm_up: np.ndarray) -> None:
        self.config = config
        self.scales = [robust(warm_up[:, c]) for c in range(warm_up.shape[1])]
        self.trees = [build(config, k, warm_up.shape[1]) for k in range(config.trees)]
        self.rows = self.reference_rows = 0

    def scaled(self, row: np.ndarray) -> np.ndarray:
        """Centre ± 3 scales become 0 … 1; a missing sensor is at its centre."""
        x = np.full(len(row), 0.5)
        for c, known in enumerate(self.scales):
            if known is not None and not np.isnan(row[c]):
                low = known[0] - 3 * known[1]
                x[c] = np.clip((row[c] - low) / (2 * 3.0 * known[1]), -100, 100)
        return x

    def learn(self, row: np.ndarray, window_rows: int) -> None:
        if np.isnan(row).all():
            return
        for tree in self.trees:
            for node in path(tree, self.scaled(row)):
                node.latest += 1
        self.rows += 1
        if self.rows >= window_rows:
            for tree in self.trees:
                _renew(tree)
            self.reference_rows, self.rows = self.rows, 0

    def score(self, row: np.ndarray) -> tuple[float, np.ndarray]:
        evidence = np.zeros(len(row))
        if np.isnan(row).all():
            return math.nan, evidence
        most = self.reference_rows * (2 ** (self.config.depth + 1) - 1)
        total = 0
        for tree in self.trees:
            visited = path(tree, self.scaled(row))
            mass, guilty, sharpest = 0, visited[0].sensor, -1.0
            for depth, node in enumerate(visited):
                mass += node.reference * 2**depth
                if depth > 0:
                    loss = 1 - node.reference / visited[depth - 1].reference
                    if loss > sharpest:
                        guilty, sharpest = visited[depth - 1].sensor, loss
                if node.reference < 0.1 * self.reference_rows:
                    break
            total += mass
            if not np.isnan(row[guilty]):
                evidence[guilty] += math.log2(most / mass) / len(self.trees)
        return math.log2(most * len(self.trees) / total), evidence


def _renew(node: Node | None) -> None:
    if node is not None:
        node.reference, node.latest = node.latest, 0
        _renew(node.left)
        _renew(node.right)
