"""The bottleneck that moves is told once, as the naive twin does, however the stream is cut."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly import bottleneck
from anomaly.states import BLOCKED, PRODUCING, STARVED
from tests.naive import bottleneck as naive

HOURS = 40
SECOND = 10**9
START = 1_700_000_000


def rows(seed: int, moves_at: int) -> list[tuple[int, int, int]]:
    """A row a minute of each of three stations; station 1 is waited for, later station 2."""
    rng = np.random.default_rng(seed)
    found = []
    for minute in range(HOURS * 60):
        slow = 1 if minute < 60 * moves_at else 2
        for a in range(3):
            share = 0.03 if a == slow else 0.2
            state = PRODUCING
            if rng.random() < share:
                state = STARVED if a > slow else BLOCKED
            found.append((START + 60 * minute + a, a, -1 if rng.random() < 0.05 else state))
    return found


def told(table: list[tuple[int, int, int]], edges: list[int]) -> tuple[list, dict]:
    state = bottleneck.allocate(4)
    found = []
    line = np.arange(3)
    for low, high in zip([0, *edges], [*edges, len(table)], strict=True):
        t, a, s = np.array(table[low:high], np.int64).reshape(-1, 3).T
        part = bottleneck.run(
            state, 0.05, line, np.ascontiguousarray(a), t * SECOND, s.astype(np.int8))
        found += [(int(m["time_ns"]) // SECOND, int(m["asset"]), int(m["firing"])) for m in part]
    return found, state


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_naive_one_in_any_cut(seed: int) -> None:
    table = rows(seed, 18 if seed else HOURS)
    expected = naive.moves(table, [0, 1, 2], 0.05)
    whole, state = told(table, [])
    assert whole == expected
    assert [(a, firing) for _, a, firing in whole] == ([(2, 1)] if seed else [])
    edges = sorted(np.random.default_rng(seed).integers(0, len(table), 9).tolist())
    pieces, other = told(table, edges)
    assert pieces == whole
    assert state["asset_flow"].tobytes() == other["asset_flow"].tobytes()


def test_a_line_of_one_has_no_bottleneck() -> None:
    state = bottleneck.allocate(1)
    one = np.zeros(3, np.int64)
    found = bottleneck.run(
        state, 1.0, np.zeros(1, np.int64), one, np.arange(3) * SECOND, one.astype(np.int8))
    assert found.size == 0
