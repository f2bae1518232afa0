"""The life cycle: every state meets every event, by hand-made columns of rarity and level."""

from __future__ import annotations

import math

import numpy as np
import pytest

from anomaly import alerts
from anomaly.batches import RowBatch

RARE, ODD, USUAL = 2000.0, 200.0, 1.0  # seconds, against a threshold of 1000
THRESHOLD_S = 1000.0


def walk(
    period_s: list[float], level: list[float], on_delay: int = 0, claim_s: float = math.inf,
    state: dict[str, np.ndarray] | None = None, beside_s: list[float] | None = None,
) -> tuple[list[tuple[int, str]], list[int]]:
    """Transitions (row, name) and the alert flags of one asset with one sensor."""
    m = len(period_s)
    columns = np.array(level, float)
    rows = RowBatch(np.zeros(m, np.int64), np.arange(m) * 10**9, np.ones((m, 1)),
                    np.arange(m))
    moved = alerts.run(
        state or alerts.allocate(1, 1), THRESHOLD_S, on_delay, 10, np.zeros((1, 1), np.int64),
        rows, np.array(period_s, float),
        np.full(m, np.nan) if beside_s is None else np.array(beside_s, float), columns, columns,
        np.zeros(m, np.int64), np.ones((m, 1)), np.full(m, 100, np.int64), np.full(m, claim_s),
    )
    names = [(int(r), alerts.TRANSITIONS[t]) for r, t in zip(moved.row, moved.to, strict=True)]
    return names, moved.alert.tolist()


def test_inactive_stays_inactive_on_usual_and_odd_rows() -> None:
    assert walk([USUAL, ODD, USUAL], [1, 5, 1]) == ([], [0, 0, 0])


def test_a_rare_row_fires_at_once_without_delay() -> None:
    moved, flags = walk([USUAL, RARE, RARE], [1, 9, 9])
    assert moved == [(1, "pending"), (1, "firing")]
    assert flags == [0, 1, 1]


def test_an_odd_shape_fires_at_once_and_its_burst_is_one_episode() -> None:
    quiet, shape = [USUAL] * 700, [USUAL] * 700
    for row in (250, 251, 300, 440, 660):  # the last comes 220 s after the one before, of 1000
        shape[row] = RARE
    moved, flags = walk(quiet, [1.0] * 700, on_delay=5, beside_s=shape)
    assert moved == [
        (250, "pending"), (250, "firing"), (261, "resolved"),
        (660, "pending"), (660, "firing"), (670, "resolved"),
    ]
    assert flags[250:262] == [1] * 11 + [0]


def test_a_beside_says_nothing_new_right_after_an_alert_of_the_level() -> None:
    period, shape = [USUAL] * 600, [USUAL] * 600
    period[250], shape[300], shape[599] = RARE, RARE, RARE  # waits 200 s
    moved, _ = walk(period, [1.0] * 250 + [9.0] + [1.0] * 349, beside_s=shape)
    assert [row for row, name in moved if name == "firing"] == [250, 599]


def test_a_level_takes_over_the_case_of_a_shape_without_a_second_alert() -> None:
    period, shape = [USUAL] * 300 + [RARE] * 30 + [USUAL] * 20, [USUAL] * 350
    shape[297] = RARE
    moved, flags = walk(period, [1.0] * 300 + [9.0] * 30 + [1.0] * 20, beside_s=shape)
    assert [name for _, name in moved] == ["pending", "firing", "resolved"]
    assert moved[1] == (297, "firing")
    assert all(flags[297:330]), "one alert from the odd shape through the whole excursion"


def test_pending_fires_after_its_delay() -> None:
    moved, flags = walk([RARE] * 5, [9] * 5, on_delay=3)
    assert moved == [(0, "pending"), (3, "firing")]
    assert flags == [0, 0, 0, 1, 1]


def test_pending_resolves_without_firing_when_it_passes() -> None:
    moved, flags = walk([RARE, USUAL, USUAL], [9, 1, 1], on_delay=3)
    assert moved == [(0, "pending"), (1, "resolved")]
    assert flags == [0, 0, 0]


def test_firing_resolves_after_ten_quiet_rows_and_odd_rows_hold_it() -> None:
    moved, flags = walk([RARE] + [ODD] * 20 + [USUAL] * 12, [9] * 33)
    assert moved == [(0, "pending"), (0, "firing"), (30, "resolved")]
    assert flags == [1] * 30 + [0] * 3


def test_a_drop_of_the_level_resolves_and_only_more_is_news() -> None:
    period = [RARE] * 60
    level = [10.0] * 12 + [3.0] * 8 + [18.0] * 20 + [30.0] * 20
    moved, _ = walk(period, level)
    assert moved[:2] == [(0, "pending"), (0, "firing")]
    resolved = [row for row, name in moved if name == "resolved"]
    again = [row for row, name in moved if name == "firing"]
    assert 12 <= resolved[0] < 20
    assert again[1] >= 40, "18 is not twice the 10 that was told"


def test_after_enough_quiet_the_told_level_is_news_again() -> None:
    period = [RARE] * 20 + [USUAL] * 12 + [RARE] * 10
    level = [10.0] * 12 + [3.0] * 20 + [11.0] * 10
    moved, _ = walk(period, level)
    assert [row for row, name in moved if name == "firing"] == [0, 32]


def test_growth_speaks_again_without_a_gap() -> None:
    period = [RARE] * 80
    level = [10.0] * 40 + [30.0] * 40
    moved, flags = walk(period, level)
    names = [name for _, name in moved]
    assert names == ["pending", "firing", "resolved", "pending", "firing"]
    assert len({row for row, _ in moved[2:]}) == 1
    assert 40 <= moved[2][0] <= 50
    assert flags == [1] * 80


def test_standing_says_nothing_more() -> None:
    moved, flags = walk([RARE] * 500, [10.0] * 500)
    assert len(moved) == 2
    assert flags == [1] * 500


def test_muted_rows_never_move() -> None:
    assert walk([RARE] * 5, [9] * 5, claim_s=0.0) == ([], [0] * 5)


def test_a_short_history_lowers_the_threshold_to_what_it_supports() -> None:
    moved, _ = walk([ODD] * 3, [9] * 3, claim_s=150.0)
    assert moved == [(0, "pending"), (0, "firing")]


def test_rows_without_opinion_change_nothing() -> None:
    state = alerts.allocate(1, 1)
    walk([RARE], [9], state=state)
    before = state["asset"].copy()
    moved, flags = walk([math.nan] * 30, [math.nan] * 30, state=state)
    assert moved == []
    assert flags == [1] * 30
    assert state["asset"].tobytes() == before.tobytes()


@pytest.mark.parametrize("rows", [200])
def test_many_transitions_do_not_overflow_the_output(rows: int) -> None:
    period = ([RARE] * 2 + [USUAL] * 10) * rows
    moved, _ = walk(period, [9.0] * len(period))
    assert len(moved) == 3 * rows


def test_another_watchers_lasting_find_is_told_however_soon_after_another_alert_it_began() -> None:
    period, beside = [USUAL] * 600, [USUAL] * 600
    beside[3:60] = [RARE] * 57  # from the third row of the asset's life
    period[250] = RARE
    beside[300:] = [RARE] * 300
    moved, _ = walk(period, [1.0] * 250 + [9.0] + [1.0] * 349, beside_s=beside)
    assert [row for row, name in moved if name == "firing"] == [3, 250, 454]


def test_below_the_usual_level_there_is_nothing_to_drop_from() -> None:
    period, beside = [USUAL] * 200, [USUAL] * 200
    beside[5] = RARE  # an odd shape opens the case …
    period[8] = RARE  # … and one rare row hands it to a level that was below the usual
    period[9:] = [ODD] * 191
    moved, flags = walk(period, [-1.0] * 8 + [3.0] + [-1.0] * 191, beside_s=beside)
    assert moved == [(5, "pending"), (5, "firing")], "told once, not every few rows"
    assert flags[5:] == [1] * 195
