"""Values, clocks and sensors judged: against the naive twin, the laws, and what plants produce."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly import quality, room
from anomaly.batches import RowBatch, reading_batch
from anomaly.errors import ConfigError
from anomaly.registry import Registry
from tests.naive import quality as naive

SECOND = 10**9
DAY = 86_400
NAN = math.nan
NO_RANGES = np.zeros(0)
WIDTHS = [3, 2, 1]  # sensors of the three assets of the random streams

Reading = tuple[int, int, int, float]


class Stage:
    """The quality stage over assets with so many sensors, fed in any cuts."""

    def __init__(self, config: quality.Config, widths: Sequence[int] = WIDTHS) -> None:
        self.config = config
        self.registry = Registry()
        for number, width in enumerate(widths):
            asset = self.registry.asset(f"asset {number}")
            self.registry.columns(asset, [f"s{c}" for c in range(width)])
        self.state = quality.allocate(config, len(widths), self.registry.tag_count)
        self.low, self.high = NO_RANGES, NO_RANGES

    def screen(self, readings: Sequence[Reading]) -> list[tuple[float, str, int]]:
        columns = list(zip(*readings, strict=True)) if readings else [[]] * 4
        batch = reading_batch(*columns)
        before = [getattr(batch, name).tobytes() for name in ("asset", "time_ns", "value")]
        said = quality.run_screen(
            self.config, self.state, self.registry.table, self.low, self.high, batch
        )
        assert before == [getattr(batch, n).tobytes() for n in ("asset", "time_ns", "value")]
        return [
            (v, quality.REASONS[r], b)
            for v, r, b in zip(
                said.value.tolist(), said.reason.tolist(), said.base.tolist(), strict=True
            )
        ]

    def watch(self, rows: Sequence[tuple[int, int, Sequence[float]]]) -> list[naive.Finding]:
        x = np.full((len(rows), max((len(r[2]) for r in rows), default=0)), NAN)
        for k, row in enumerate(rows):
            x[k, : len(row[2])] = row[2]
        batch = RowBatch(
            np.array([r[0] for r in rows], np.int64),
            np.array([r[1] for r in rows], np.int64),
            x,
            np.arange(len(rows)),
        )
        before = x.tobytes()
        found = quality.run_watch(self.config, self.state, self.registry.table, batch)
        assert before == x.tobytes()
        column_of = {
            int(self.registry.table[a, c]): c
            for a, names in enumerate(self.registry.sensors)
            for c in range(len(names))
        }
        return [
            (row, asset, column_of.get(tag, -1), quality.CONDITIONS[b], quality.CONDITIONS[c], ns)
            for row, asset, tag, b, c, ns in zip(
                found.row.tolist(),
                found.asset.tolist(),
                found.tag.tolist(),
                found.before.tolist(),
                found.after.tolist(),
                found.since_ns.tolist(),
                strict=True,
            )
        ]

    def conditions(self) -> dict[tuple[int, int], str]:
        codes = quality.conditions(self.state)
        assert codes.dtype == np.int8
        return {
            (a, c): quality.CONDITIONS[codes[self.registry.table[a, c]]]
            for a, names in enumerate(self.registry.sensors)
            for c in range(len(names))
        }

    def copy(self) -> Stage:
        other = Stage(self.config, [len(names) for names in self.registry.sensors])
        other.state = {name: array.copy() for name, array in self.state.items()}
        other.low, other.high = self.low, self.high
        return other


def same_bits(left: object, right: object) -> bool:
    """Equal, NaN equal to NaN and 0.0 not to −0.0."""
    return repr(left) == repr(right)


def assert_lawful_state(stage: Stage) -> None:
    for name, array in stage.state.items():
        assert name.startswith(("asset", "tag"))
        assert not any(np.isnan(array[f]).any() for f in array.dtype.names or ()), name


# -- readings -----------------------------------------------------------------------------------

CLOCKS = [
    quality.Config(clock_jump_seconds=10.0, clock_rows=3),
    quality.Config(clock_jump_seconds=0.0, clock_rows=1),
    quality.Config(clock_jump_seconds=5.0, lateness_seconds=2.0, clock_rows=4),
    quality.Config(),
]
STEPS = [0, 0, 1, 1, 1, 2, 7, 60, 4_000, -1, -3, -50, -4_000, 40 * DAY, -40 * DAY, 60 * 365 * DAY]
VALUES = [0.0, -0.0, 1.5, -8.0, NAN, math.inf, -math.inf, 1e100, -1e101, 1e308, 5e-324]


@st.composite
def readings_of_three(draw: st.DrawFn) -> list[Reading]:
    """Clocks that stutter, jump and return; ``home`` is where a wrong time comes back to."""
    clock, home = [0, 0, 0], [0, 0, 0]
    made = []
    for _ in range(draw(st.integers(0, 60))):
        a = draw(st.integers(0, 2))
        if draw(st.integers(0, 9)) == 0:
            home[a], clock[a] = clock[a], home[a]
        clock[a] += draw(st.sampled_from(STEPS)) * SECOND
        clock[a] = max(-(2**63), min(2**63 - 1, clock[a]))
        made.append(
            (a, draw(st.integers(0, WIDTHS[a] - 1)), clock[a], draw(st.sampled_from(VALUES)))
        )
    return made


@settings(max_examples=200, deadline=None)
@given(readings_of_three(), st.sampled_from(CLOCKS), st.integers(0, 60), st.booleans())
def test_screening_equals_its_twin(
    readings: list[Reading], config: quality.Config, cut: int, ranged: bool
) -> None:
    stage = Stage(config)
    ranges = {(0, 1): (-1.0, 1.0), (2, 0): (0.0, math.inf)} if ranged else {}
    if ranged:
        tags = stage.registry.tag_count
        stage.low, stage.high = np.full(tags, -math.inf), np.full(tags, math.inf)
        for (a, c), bounds in ranges.items():
            tag = stage.registry.table[a, c]
            stage.low[tag], stage.high[tag] = bounds
    first = stage.screen(readings[:cut])
    stage = stage.copy()
    said = first + stage.screen(readings[cut:])
    assert same_bits(said, naive.screen(config, ranges, readings))
    assert_lawful_state(stage)


@settings(max_examples=100, deadline=None)
@given(readings_of_three(), st.sampled_from(CLOCKS))
def test_screening_does_not_mix_assets(readings: list[Reading], config: quality.Config) -> None:
    together = Stage(config).screen(readings)
    for asset in range(3):
        own = [k for k, reading in enumerate(readings) if reading[0] == asset]
        alone = Stage(config).screen([readings[k] for k in own])
        assert same_bits(alone, [together[k] for k in own])


def at(seconds: Sequence[float]) -> list[Reading]:
    return [(0, 0, round(s * SECOND), 1.0) for s in seconds]


def refused(seconds: Sequence[float], config: quality.Config | None = None) -> list[int]:
    """Indices of the times that are not believed."""
    said = Stage(config or quality.Config()).screen(at(seconds))
    return [k for k, (_, reason, _) in enumerate(said) if reason == "clock_jump"]


def restarted(seconds: Sequence[float]) -> list[int]:
    return [
        k
        for k, (_, _, base) in enumerate(Stage(quality.Config()).screen(at(seconds)))
        if base == quality.RESTARTED
    ]


@pytest.mark.parametrize(
    "value, reason",
    [
        (NAN, "missing"),
        (math.inf, "not_finite"),
        (-math.inf, "not_finite"),
        (1e308, "out_of_range"),
        (-1e101, "out_of_range"),
        (1e100, "accepted"),
        (-0.0, "accepted"),
        (5e-324, "accepted"),
    ],
)
def test_values_by_themselves(value: float, reason: str) -> None:
    ((clean, said, _),) = Stage(quality.Config()).screen([(0, 0, 5, value)])
    assert said == reason
    assert same_bits(clean, value if reason == "accepted" else NAN)


def test_a_year_ahead_is_quarantined_and_the_asset_goes_on() -> None:
    year = 365 * DAY
    assert refused([*range(100), year, 100, 101, year + 1, year + 2, 102, 103]) == [100, 103, 104]


def test_other_assets_do_not_notice_a_wrong_clock() -> None:
    stage = Stage(quality.Config())
    stage.screen([(a, 0, t * SECOND, 1.0) for t in range(50) for a in range(2)])
    said = stage.screen([(0, 0, 900 * DAY * SECOND, 1.0), (1, 0, 50 * SECOND, 1.0)])
    assert [reason for _, reason, _ in said] == ["clock_jump", "accepted"]


def test_a_real_gap_costs_seven_rows_once_and_the_next_one_like_it_none() -> None:
    week = 5 * DAY
    times = [k + weeks * (week + 2.5 * DAY) for weeks in range(4) for k in range(500)]
    assert refused(times) == list(range(500, 507))


@pytest.mark.parametrize(
    "interval, gap",
    [(1, 20 * 3_600), (60, DAY), (3_600, 40 * DAY), (DAY, 300 * DAY), (1e-3, 0.9 * DAY)],
)
def test_gaps_that_are_usual_for_such_an_asset_cost_nothing(interval: float, gap: float) -> None:
    times = [k * interval for k in range(50)]
    assert refused(times + [times[-1] + gap + k * interval for k in range(20)]) == []


def test_nothing_is_doubted_before_the_usual_interval_is_known() -> None:
    assert refused([0, 100 * DAY, 200 * DAY, 500 * DAY, 501 * DAY]) == []


def test_a_clock_set_back_is_accepted_at_the_eighth_row() -> None:
    back = [*range(1_000, 1_100), *range(20)]
    assert restarted(back) == [107]
    # One later reading of the old base in between: no restart before eight rows stand together.
    assert restarted([*range(1_000, 1_100), 0, 1, 2, 3, 4, 1_100, *range(5, 15)]) == [113]


def test_single_late_readings_never_restart_the_clock() -> None:
    times = [t for k in range(200) for t in (k + 100, k)]
    assert restarted(times) == []


def test_times_beyond_what_can_be_subtracted_are_refused() -> None:
    said = Stage(quality.Config()).screen([(0, 0, t, 1.0) for t in (0, -(2**63), 2**63 - 1, 1)])
    assert [reason for _, reason, _ in said] == ["accepted", "bad_time", "bad_time", "accepted"]


# -- rows ---------------------------------------------------------------------------------------

SMALL = [
    quality.Config(
        learn_rows=12,
        stuck_rows=4,
        stuck_seconds=0.0,
        silent_rows=2,
        silent_seconds=0.0,
        gap_seconds=5.0,
    ),
    quality.Config(
        learn_rows=40,
        stuck_rows=8,
        stuck_seconds=20.0,
        silent_rows=3,
        silent_seconds=4.0,
        gap_seconds=0.0,
        overdue_seconds=30.0,
        false_findings_per_week=10.0,
    ),
]


#: One stretch: habit of every sensor, assets at work, rows, typical step in seconds.
STRETCH = st.tuples(
    st.lists(
        st.sampled_from(["move", "move", "move", "rest", "steps", "away"]),
        min_size=sum(WIDTHS),
        max_size=sum(WIDTHS),
    ),
    st.sampled_from([[0], [0, 1], [0, 1, 2], [1, 2]]),
    st.integers(1, 60),
    st.sampled_from([0, 1, 1, 3, 400]),
)


def rows_of_three(
    seed: int, stretches: list[tuple[list[str], list[int], int, int]]
) -> list[tuple[int, int, list[float]]]:
    """Rows whose sensors move, stand still, are quantised or stay away, in stretches."""
    random = np.random.default_rng(seed)
    clock = 0
    made: list[tuple[int, int, list[float]]] = []
    last = [[0.0] * width for width in WIDTHS]
    for habits, active, count, step in stretches:
        for _ in range(count):
            clock += int(random.integers(0, step + 2)) * SECOND
            a = active[int(random.integers(len(active)))]
            own = habits[sum(WIDTHS[:a]) :][: WIDTHS[a]]
            for c, habit in enumerate(own):
                if habit == "move":
                    last[a][c] = float(random.normal())
                elif habit == "steps":
                    last[a][c] = float(random.integers(0, 3))
            values = [NAN if h == "away" else v for h, v in zip(own, last[a], strict=True)]
            made.append((a, clock - (2 * SECOND if random.random() < 0.05 else 0), values))
    return made


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(STRETCH, max_size=8),
    st.sampled_from(SMALL),
    st.integers(0, 300),
)
def test_watching_equals_its_twin(
    seed: int, stretches: list[Any], config: quality.Config, cut: int
) -> None:
    rows = rows_of_three(seed, stretches)
    stage = Stage(config)
    found = stage.watch(rows[:cut])
    stage = stage.copy()
    found += [(row + min(cut, len(rows)), *rest) for row, *rest in stage.watch(rows[cut:])]
    expected, conditions = naive.watch(config, rows)
    assert found == expected
    assert conditions.items() <= stage.conditions().items()
    assert_lawful_state(stage)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(STRETCH, max_size=8))
def test_watching_does_not_mix_assets(seed: int, stretches: list[Any]) -> None:
    rows = rows_of_three(seed, stretches)
    together = Stage(SMALL[0]).watch(rows)
    for asset in range(3):
        own = [k for k, row in enumerate(rows) if row[0] == asset]
        alone = Stage(SMALL[0]).watch([rows[k] for k in own])
        assert [(own[k], *rest) for k, *rest in alone] == [f for f in together if f[1] == asset]


def machine(random: np.random.Generator, n: int, columns: int = 4) -> np.ndarray[Any, Any]:
    """Healthy rows: noise on levels, so that every reading differs from the one before."""
    return 50.0 + np.arange(columns) + random.normal(0.0, 1.0, (n, columns))


def watch_array(
    x: np.ndarray[Any, Any], config: quality.Config | None = None, step_seconds: float = 1.0
) -> tuple[list[naive.Finding], Stage]:
    stage = Stage(config or quality.Config(), [x.shape[1]])
    rows = [(0, round(k * step_seconds * SECOND), row) for k, row in enumerate(x.tolist())]
    return stage.watch(rows), stage


def test_a_sensor_that_freezes_alone_is_stuck_until_it_moves() -> None:
    x = machine(np.random.default_rng(1), 1_200)
    x[600:900, 2] = np.median(x[:600, 2])
    found, stage = watch_array(x)
    stuck, back = found
    assert stuck[2:5] == (2, "ok", "stuck")
    assert stuck[5] == 600 * SECOND
    assert 659 <= stuck[0] <= 700
    assert back == (900, 0, 2, "stuck", "ok", 900 * SECOND)
    assert set(stage.conditions().values()) == {"ok"}


def test_sensors_that_stand_still_together_are_a_machine_at_rest() -> None:
    x = machine(np.random.default_rng(2), 2_000)
    x[600:1_800, :2] = np.median(x[:600, :2], axis=0)
    assert watch_array(x)[0] == []


def test_a_sensor_that_rests_at_its_end_for_a_night_is_not_stuck() -> None:
    x = machine(np.random.default_rng(3), 60_000, 3)
    x[5_000:50_000, 0] = 0.0
    assert watch_array(x)[0] == []


def test_a_second_stuck_sensor_is_found_beside_the_first() -> None:
    x = machine(np.random.default_rng(4), 2_000)
    x[600:, 0] = 50.0
    x[1_200:, 1] = 51.0
    assert [(f[2], f[4]) for f in watch_array(x)[0]] == [(0, "stuck"), (1, "stuck")]


@pytest.mark.parametrize("habit", ["constant", "two values", "coarse", "mostly still"])
def test_sensors_that_may_stand_still_are_never_stuck(habit: str) -> None:
    random = np.random.default_rng(5)
    x = machine(random, 6_000)
    moving = random.normal(0.0, 1.0, 6_000)
    x[:, 1] = {
        "constant": np.full(6_000, 3.0),
        "two values": (moving > 0).astype(float),
        "coarse": np.round(moving),
        "mostly still": np.repeat(moving[::10], 10),
    }[habit]
    x[3_000:5_000, 1] = x[2_999, 1]
    found, stage = watch_array(x)
    assert found == []
    assert stage.conditions()[0, 1] == ("constant" if habit == "constant" else "ok")


def test_a_constant_that_begins_to_move_is_not_blind_any_more() -> None:
    x = machine(np.random.default_rng(6), 500)
    x[:300, 1] = 7.0
    stage = Stage(quality.Config(), [4])
    rows = [(0, k * SECOND, row) for k, row in enumerate(x.tolist())]
    assert stage.watch(rows[:300]) == []
    assert stage.conditions()[0, 1] == "constant"
    assert stage.watch(rows[300:]) == []
    assert stage.conditions()[0, 1] == "ok"


def test_chance_alone_keeps_the_promise() -> None:
    """A healthy sensor at the coarsest resolution that is still lively, for a long time."""
    random = np.random.default_rng(7)
    x = machine(random, 400_000, 2)
    x[:, 1] = np.cumsum(random.choice([-0.5, 0.0, 0.5], 400_000, p=[0.3, 0.4, 0.3]))
    assert watch_array(x, quality.Config(stuck_rows=4, stuck_seconds=0.0))[0] == []


def test_a_sensor_that_stays_away_is_silent_until_it_returns() -> None:
    x = machine(np.random.default_rng(8), 1_000)
    x[500:800, 3] = NAN
    found, _ = watch_array(x)
    assert found == [
        (559, 0, 3, "ok", "silent", 499 * SECOND),
        (800, 0, 3, "silent", "ok", 800 * SECOND),
    ]


def test_a_sensor_that_comes_every_tenth_row_is_not_silent() -> None:
    x = machine(np.random.default_rng(9), 5_000)
    x[np.arange(5_000) % 10 != 0, 3] = NAN
    assert watch_array(x)[0] == []


def test_sensors_that_never_came_are_never_seen_and_nothing_more() -> None:
    x = machine(np.random.default_rng(10), 1_000)
    x[:, 1] = NAN
    found, stage = watch_array(x)
    assert found == []
    assert stage.conditions()[0, 1] == "never_seen"


def test_an_asset_that_was_away_had_a_gap_and_its_sensors_were_not_silent() -> None:
    stage = Stage(quality.Config(), [4])
    x = machine(np.random.default_rng(11), 600).tolist()
    times = [*range(300), *range(7_200, 7_500)]
    found = stage.watch([(0, t * SECOND, row) for t, row in zip(times, x, strict=True)])
    assert found == [
        (300, 0, -1, "ok", "gap", 299 * SECOND),
        (300, 0, -1, "gap", "ok", 7_200 * SECOND),
    ]


def test_rows_without_any_value_are_a_gap_too() -> None:
    x = machine(np.random.default_rng(12), 2_000)
    x[500:1_500] = NAN
    assert [f[2:5] for f in watch_array(x)[0]] == [(-1, "ok", "gap"), (-1, "gap", "ok")]


def test_the_second_night_is_usual() -> None:
    stage = Stage(quality.Config(), [1])
    times = [day * DAY + k * 10 for day in range(5) for k in range(3_000)]
    found = stage.watch([(0, t * SECOND, [float(k % 97)]) for k, t in enumerate(times)])
    assert [f[0] for f in found] == [3_000, 3_000]


def test_an_overdue_asset_is_found_by_the_rows_of_the_others() -> None:
    config = quality.Config(overdue_seconds=900.0)
    rows = [
        (a, t * SECOND, [float(t % 7 + a)])
        for t in range(3_000)
        for a in range(2)
        if a == 0 or not 1_000 <= t < 2_500
    ]
    whole = Stage(config, [1, 1])
    found = whole.watch(rows)
    assert [f[1:5] for f in found] == [(1, -1, "ok", "gap"), (1, -1, "gap", "ok")]
    assert found[0][5] == 999 * SECOND
    seen = rows[found[0][0]][1] // SECOND
    assert 1_900 <= seen <= 2_020
    pieces = Stage(config, [1, 1])
    cut = [
        (row + k, *rest) for k in range(len(rows)) for row, *rest in pieces.watch(rows[k : k + 1])
    ]
    assert cut == found, "found at the same row however the stream is cut"


def test_many_findings_at_once_are_all_given() -> None:
    """More than one call of the kernel can hold."""
    columns = 9_000
    random = np.random.default_rng(13)
    config = quality.Config(learn_rows=5, silent_rows=1, silent_seconds=0.0)
    x = random.normal(0.0, 1.0, (60, columns))
    x[40:59, 1:] = NAN
    found, _ = watch_array(x, config)
    assert len([f for f in found if f[4] == "silent"]) == columns - 1
    assert len([f for f in found if f[4] == "ok"]) == columns - 1


def test_grown_state_keeps_its_bits() -> None:
    stage = Stage(SMALL[0], [4])
    rows = [
        (0, k * SECOND, row)
        for k, row in enumerate(machine(np.random.default_rng(14), 200).tolist())
    ]
    stage.watch(rows)
    stage.screen(at(range(50)))
    larger = quality.allocate(SMALL[0], 9, 40)
    grown = room.grown({"quality": dict(stage.state)}, {"quality": larger})["quality"]
    for name, array in stage.state.items():
        assert grown[name][: len(array)].tobytes() == array.tobytes()
        assert not grown[name][len(array) :].view(np.uint8).any()


@pytest.mark.parametrize(
    "setting",
    [
        {"clock_rows": 0},
        {"learn_rows": 0},
        {"gap_seconds": -1.0},
        {"silent_seconds": NAN},
        {"false_findings_per_week": 0.0},
    ],
)
def test_settings_that_cannot_be_used_name_themselves(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        quality.Config(**setting)
