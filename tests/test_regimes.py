"""Operating modes: found where they are, not where they are not, and nothing of them in an alert.

The stage against its naive twin, the search against brute force and on machines without modes, and
the laws over a whole ``Monitor`` whose machine changes its settings.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from anomaly import regime_fit, regime_search, regimes, snapshot
from anomaly.batches import Outcome, ReadingBatch, reading_batch
from anomaly.config import MonitorConfig
from anomaly.errors import ConfigError
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from benchmarks.regimes import alerts_of, recipe_machine
from tests.naive import regimes as naive
from tests.test_monitor import MINUTE, START, cut, told

PLACES = np.array([0.0, 10.0, 25.0, 42.0, 20.0, 35.0])  # no even steps
CONFIG = MonitorConfig(warm_up_rows=150, budget_per_week=2.0)


def machine(
    seed: int, rows: int, modes: int = 3, dwell: int = 7, sensors: int = 3,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows float64[rows, 1 + sensors], the setting first, and the mode of each row."""
    rng = np.random.default_rng(seed)
    mode = np.repeat(rng.integers(0, modes, rows // dwell + 1), dwell)[:rows]
    level, gain = rng.normal(scale=30.0, size=(40, sensors)), rng.uniform(0.5, 2.0, (40, sensors))
    place = np.concatenate([PLACES, 50.0 + 7.0 * np.arange(34)])
    x = level[mode] + gain[mode] * rng.normal(size=(rows, sensors))
    return np.column_stack([place[mode] + rng.uniform(-0.003, 0.003, rows), x]), mode


# -- the search ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [31, 60, 500])
@pytest.mark.parametrize("dwell", [1, 4])
def test_six_settings_are_six_modes(rows: int, dwell: int) -> None:
    if rows // dwell < 25:
        pytest.skip("too few visits to tell")
    found = 0
    for seed in range(20):
        x, mode = machine(seed, rows, 6, dwell)
        modes = regime_search.find(x, 16)
        if modes is None:
            continue
        assert modes.columns.tolist() == [0]
        known = modes.mode >= 0  # all but a mode that came once
        assert known.mean() >= 0.95
        assert len({*zip(modes.mode[known], mode[known], strict=True)}) == len(modes.place)
        found += 1
    assert found >= 16


def noise(kind: str, rng: np.random.Generator, w: int, d: int) -> np.ndarray:
    """Healthy machines of one mode: each kind once passed for one of several."""
    slow = rng.normal(size=(w, 1))
    for r in range(1, w):
        slow[r] += 0.95 * slow[r - 1]
    scatter = 0.3 * rng.normal(size=(w, d))
    return {
        "independent": rng.normal(size=(w, d)),
        "heavy tails": rng.standard_t(3, (w, d)),
        "one cause": slow + scatter,
        "one cause, one coarse": np.column_stack([np.round(slow), slow + scatter]),
        "counts of one cause": rng.poisson(2.0 * np.exp(0.3 * slow) * np.ones((1, d))),
        "changed once": scatter + 8.0 * (np.arange(w)[:, None] >= w // 2),
        "drift": scatter + np.linspace(0.0, 10.0, w)[:, None],
        "season": np.sin(np.arange(w)[:, None] / 9.0 + np.arange(d)) + scatter / 3.0,
        "rare count": np.column_stack([rng.poisson(0.05, (w, 1)), rng.normal(size=(w, d))]),
    }[kind].astype(np.float64)


@pytest.mark.parametrize("kind", [
    "independent", "heavy tails", "one cause", "one cause, one coarse", "counts of one cause",
    "changed once", "drift", "season", "rare count",
])
def test_machines_of_one_mode_have_none(kind: str) -> None:
    rng = np.random.default_rng(7)
    false = sum(
        regime_search.find(noise(kind, rng, w, d), 16) is not None
        for w in (25, 60, 300) for d in (2, 6) for _ in range(20)
    )
    assert false <= 1, f"{false} of 120"


def test_settings_that_explain_nothing_are_no_modes() -> None:
    x, _ = machine(3, 400, 4)
    x[:, 1:] = np.random.default_rng(1).normal(size=(400, 3))
    assert regime_search.find(x, 16) is None


def test_the_order_of_the_columns_decides_nothing() -> None:
    x, mode = machine(5, 400, 4)
    second = np.array([3.0, 1.0, 2.0, 9.0])[mode]  # another setting that says the same
    x = np.column_stack([x, second])
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 4, 1, 0, 3]):
        modes = regime_search.find(np.ascontiguousarray(x[:, order]), 16)
        assert modes is not None
        assert [order[c] for c in modes.columns] == [4], "the tightest"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.floats(0.0, 0.1))
def test_groups_are_those_of_brute_force(seed: int, count: int, width: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.permutation(
        np.repeat(np.arange(count) * 5.0, 20) + rng.uniform(-width, width, 20 * count))
    radius = regime_search.RADIUS_SHARE * np.ptp(values)
    expected = naive.clumps(values.tolist(), radius, int(0.05 * values.size))
    found = regime_search.clumps(values, 16)
    if found is None:
        gaps = [b[0] - a[1] for a, b in itertools.pairwise(expected)]
        widest = max(high - low for low, high in expected)
        assert len(expected) < 2 or min(gaps) < max(radius, 3.0 * widest)
    else:
        assert found.tolist() == [list(pair) for pair in expected]


def test_expectations_come_from_other_visits() -> None:
    x, mode = machine(2, 60, 3, 4)
    x[::7, 1] = np.nan
    visit = np.cumsum(np.diff(mode, prepend=-1) != 0)
    modes = regime_search.Modes(np.array([0]), np.zeros(1), PLACES[:3, None], mode, visit)
    np.testing.assert_allclose(
        regime_search.from_others(x, modes), naive.from_others(x, mode, visit), rtol=1e-9)


# -- the stage against its twin --------------------------------------------------------------------


def frozen(
    x: np.ndarray, limit: int, sensor: str = ""
) -> tuple[regimes.Config, dict[str, np.ndarray], naive.Machine]:
    """The stage's state after a warm-up, and the twin begun from the same."""
    config = regimes.Config(sensor, limit)
    d = x.shape[1]
    state = regimes.allocate(config, 1, d)
    told = regime_fit.Told((0,), True) if sensor else regime_fit.Told()
    assert regime_fit.fit(config, state, np.arange(d), 0, x, told) is not None
    asset = state["asset"][0]
    modes = []
    for k in range(int(asset["modes"])):
        own = state["asset_mode"][0, k]
        tags = state["tag_mode"][:, k]
        modes.append(naive.Mode(
            own["place"][: asset["settings"]].tolist(), int(own["rows"]), int(own["last"]),
            frozen={c: (int(t["count"]), float(t["mean"]), float(t["scale"]))
                    for c, t in enumerate(tags)}))
    setting = state["asset_setting"][0, : asset["settings"]]
    twin = naive.Machine(
        setting["column"].tolist(), setting["radius"].tolist(), int(asset["learn"]), limit,
        state["tag"]["mean"].tolist(), state["tag"]["scale"].tolist(), modes,
        setting["last"].tolist(), int(asset["rows"]), int(asset["ripe"]))
    return config, state, twin


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 6), st.booleans())
def test_the_stage_says_what_its_twin_says(seed: int, limit: int, by_tag: bool) -> None:
    warm, _ = machine(seed, 140, 3)
    rng = np.random.default_rng(seed)
    rest, _ = machine(seed, 400, int(rng.integers(3, 25)), int(rng.integers(1, 30)))
    if by_tag:
        warm[:, 0], rest[:, 0] = np.round(warm[:, 0]), np.round(rest[:, 0])
    rest[rng.random(rest.shape) < 0.05] = np.nan
    rest[rng.random(rest.shape) < 0.01] *= 50.0
    assume(by_tag or regime_search.find(warm, limit) is not None)
    config, state, twin = frozen(warm, limit, "setting" if by_tag else "")
    table = np.arange(4).reshape(1, -1)
    mapped = regimes.run(config, state, table, np.zeros(400, np.int64), rest)
    assert mapped.gain is not None
    assert mapped.offset is not None
    for r in range(400):
        before = {id(mode): mode.rows for mode in twin.modes}
        said = twin.row(rest[r])
        if said is None:
            assert mapped.left[r:].all()
            return
        assert not mapped.left[r]
        mode = twin.modes[said[1]]
        young = twin.learn <= before.get(id(mode), 0) < mode.ripe
        assert mapped.young[r] == young, r
        np.testing.assert_allclose(mapped.x[r], said[0], rtol=1e-9, atol=1e-9)
        known = ~np.isnan(said[0])
        known[twin.settings] = False
        np.testing.assert_allclose(
            (mapped.gain[r] * mapped.x[r] + mapped.offset[r])[known], rest[r][known], rtol=1e-9)


def test_the_compiled_stage_is_the_plain_one() -> None:
    warm, _ = machine(1, 140, 3)
    rest, _ = machine(1, 300, 12, 5)
    config, compiled, _ = frozen(warm, 8)
    plain = {name: array.copy() for name, array in compiled.items()}
    table, asset = np.arange(4).reshape(1, -1), np.zeros(300, np.int64)
    outputs = []
    for function, state in ((regimes.step, compiled), (regimes.step.py_func, plain)):
        out = (np.zeros_like(rest), np.ones_like(rest), np.zeros_like(rest),
               np.zeros(300, np.bool_), np.zeros(300, np.bool_))
        function(*state.values(), config.limit, table, asset, rest, *out)
        outputs.append(b"".join(part.tobytes() for part in (*out, *state.values())))
    assert outputs[0] == outputs[1]


def test_what_is_said_leads_back_to_the_sensors_unit() -> None:
    warm, _ = machine(4, 140, 3)
    config, state, _ = frozen(warm, 8)
    rest, _ = machine(4, 50, 3)
    mapped = regimes.run(
        config, state, np.arange(4).reshape(1, -1), np.zeros(50, np.int64), rest)
    given = np.full((50, 4), 0.25)
    back = regimes.back(mapped, np.arange(4).reshape(1, -1), np.zeros(50, np.int64), given)
    for r in range(50):
        gain, offset = back(r)
        np.testing.assert_allclose(
            gain[1:] * (mapped.x[r, 1:] - 0.25) + offset[1:], rest[r, 1:], rtol=1e-9)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="limit"):
        regimes.Config(limit=-1)
    with pytest.raises(ConfigError, match="limit"):
        regimes.Config("recipe", 0)


# -- in the whole monitor --------------------------------------------------------------------------

SETTING = "setting"  #: The first column's name.


def readings(registry: Registry, xs: list[np.ndarray]) -> ReadingBatch:
    """Wide rows of several machines, one after the other at every minute."""
    names = (SETTING, "current", "temperature", "vibration")
    parts = []
    for number, x in enumerate(xs):
        a = registry.asset(f"m{number}")
        parts.append((a, registry.columns(a, names), x))
    rows, width = xs[0].shape
    return reading_batch(
        np.tile(np.repeat([a for a, _, _ in parts], width), rows),
        np.tile(np.concatenate([c for _, c, _ in parts]), rows),
        START + np.repeat(np.arange(rows), width * len(xs)) * MINUTE,
        np.stack([x for _, _, x in parts], axis=1).ravel(),
        np.tile(np.arange(width) == width - 1, rows * len(xs)),
    )


def run(config: MonitorConfig, xs: list[np.ndarray]) -> tuple[Monitor, Outcome]:
    registry = Registry()
    monitor = Monitor(config, registry)
    return monitor, monitor.process(readings(registry, xs))


def with_fault(seed: int = 1, rows: int = 500) -> tuple[np.ndarray, np.ndarray]:
    x, mode = machine(seed, rows)
    x[350:, 3] += 12.0
    return x, mode


def test_a_fault_within_a_mode_is_told_in_its_own_unit() -> None:
    x, mode = with_fault()
    monitor, outcome = run(CONFIG, [x])
    fired = [alert for alert in outcome.alerts if alert.state == "firing"]
    assert fired
    assert START + 350 * MINUTE <= fired[0].time_ns <= START + 360 * MINUTE
    named = fired[0].contributions[0]
    assert named.sensor == "vibration"
    r = (fired[0].time_ns - START) // MINUTE
    usual = x[:150][mode[:150] == mode[r], 3].mean()
    assert named.expected == pytest.approx(usual, abs=1.0)
    assert named.actual == pytest.approx(usual + 12.0, abs=5.0)
    assert monitor.conditions()[0].detail == "judged per operating mode: 3 found"
    assert monitor.conditions()[1].detail == "tells the operating mode; not judged itself"


def test_an_unseen_mode_is_learned_and_not_alarmed_and_then_judged() -> None:
    x, _ = machine(2, 900, 3)
    x[300:500, 0] = 77.0
    x[300:500, 1:] = 400.0 + np.random.default_rng(2).normal(size=(200, 3))
    x[460:500, 2] += 15.0
    monitor, outcome = run(CONFIG, [x])
    fired = [(a.time_ns - START) // MINUTE for a in outcome.alerts if a.state == "firing"]
    assert fired
    assert all(460 <= row < 500 for row in fired)
    learned = np.isnan(outcome.scores.return_period_s[300:500])
    assert learned[:25].all()
    assert not learned[25:].any()
    assert monitor.conditions()[0].detail == "judged per operating mode: 4 found"


def test_a_tag_tells_the_mode_even_if_the_warm_up_knew_one() -> None:
    x, _ = machine(3, 700, 1)
    x[:, 0] = 1.0
    x[300:, 0] = 2.0
    x[300:, 1:] += 80.0
    config = dataclasses.replace(CONFIG, regimes=regimes.Config("setting"))
    changed = START + 300 * MINUTE
    for told_by_tag, alarmed in ((config, False), (CONFIG, True)):
        begun = [a.time_ns for a in run(told_by_tag, [x])[1].alerts if a.state == "firing"]
        assert any(time_ns >= changed for time_ns in begun) == alarmed


def test_one_mode_too_many_gives_the_conditioning_up() -> None:
    x, _ = machine(6, 3000, 3)
    rng = np.random.default_rng(6)
    many = np.repeat(rng.integers(0, 37, 40), 60)[: 2400]
    x[600:, 0] = 60.0 + 7.0 * many
    monitor, _ = run(CONFIG, [x])
    assert monitor.conditions()[0].detail == "more operating modes than the limit: judged as one"


def test_where_there_are_no_modes_nothing_changes() -> None:
    x = np.random.default_rng(8).normal(size=(500, 4))
    x[350:, 3] += 8.0
    with_modes, without = (
        told([run(dataclasses.replace(CONFIG, regimes=regimes.Config(limit=k)), [x])[1]])
        for k in (16, 0)
    )
    assert with_modes == without
    assert with_modes[4]


def fleet() -> list[np.ndarray]:
    """A machine with a fault, one with a new mode, one with too many, and one without modes."""
    crowded, _ = machine(6, 1500, 3)
    crowded[400:, 0] = 60.0 + 7.0 * np.repeat(np.arange(37), 30)[:1100]
    plain = np.random.default_rng(8).normal(size=(1500, 4))
    late, _ = machine(2, 1500, 3)
    late[600:900, 0] = 77.0
    return [with_fault(1, 1500)[0], late, crowded, plain]


def products(seed: int, faulty: bool = True) -> np.ndarray:
    """Two products that a tag tells; the second is new, and warms while it is learned."""
    rng = np.random.default_rng(seed)
    x = np.array([0.0, 10.0, 60.0, 3.0]) + rng.normal(size=(2400, 4))
    x[:, 0] = 1.0
    for first, last in ((600, 1400), (1800, 2400)):
        x[first:last, 0] = 2.0
        x[first:last, 1:] += np.array([5.0, 20.0, 1.0])
    x[600:1400, 2] -= 12.0 * np.exp(-np.arange(800) / 40.0)
    if faulty:
        x[800:820, 3] += 12.0
        x[2200:, 3] += 9.0
    return x


PRODUCTS = dataclasses.replace(CONFIG, warm_up_rows=300, regimes=regimes.Config("setting"))


@pytest.mark.parametrize("law", ["split", "interleaving", "transparency"])
def test_laws(law: str) -> None:
    xs = fleet()
    monitor, whole = run(CONFIG, xs)
    assert {c.detail for c in monitor.conditions() if not c.sensor} == {
        "judged per operating mode: 3 found", "judged per operating mode: 4 found",
        "more operating modes than the limit: judged as one", ""}
    LAWS[law](CONFIG, xs, whole)
    told_by_tag = [products(1), products(2)]
    monitor, whole = run(PRODUCTS, told_by_tag)
    assert sum(a.state == "firing" for a in whole.alerts) >= 4
    LAWS[law](PRODUCTS, told_by_tag, whole)


def test_a_new_product_that_warms_is_followed_and_its_faults_are_told() -> None:
    """Twice a jump of the vibration: while the product is young, and when it is known."""
    for seed in range(3):
        assert not [a for a in run(PRODUCTS, [products(seed, False)])[1].alerts
                    if a.state == "firing"]
        fired = [(a.time_ns - START) // MINUTE for a in run(PRODUCTS, [products(seed)])[1].alerts
                 if a.state == "firing"]
        assert any(800 <= row < 820 for row in fired), fired
        assert any(2200 <= row < 2230 for row in fired), fired
        assert all(800 <= row < 830 or row >= 2200 for row in fired), fired


def _split(config: MonitorConfig, xs: list[np.ndarray], whole: Outcome) -> None:
    for seed in range(3):
        registry = Registry()
        monitor = Monitor(config, registry)
        batch = readings(registry, xs)
        rng = np.random.default_rng(seed)
        edges = sorted(rng.integers(0, len(batch), 40 * seed + 3).tolist())
        assert told([monitor.process(part) for part in cut(batch, edges)]) == told([whole])


def _interleaving(config: MonitorConfig, xs: list[np.ndarray], whole: Outcome) -> None:
    for number, x in enumerate(xs):
        alone = run(config, [x])[1]
        mine = whole.rows.asset == number
        assert whole.scores.score[mine].tobytes() == alone.scores.score.tobytes()
        assert whole.scores.return_period_s[mine].tobytes() == (
            alone.scores.return_period_s.tobytes())


def _transparency(config: MonitorConfig, xs: list[np.ndarray], whole: Outcome) -> None:
    for place in (1000, 7001, 9001, 12_347, 17_000):
        registry = Registry()
        first = Monitor(config, registry)
        parts = list(cut(readings(registry, xs), [place]))
        said = [first.process(parts[0])]
        second, _ = snapshot.from_bytes(snapshot.to_bytes(first, {}), config)
        said.append(second.process(parts[1]))
        assert told(said) == told([whole])


LAWS: dict[str, Callable[[MonitorConfig, list[np.ndarray], Outcome], None]] = {
    "split": _split, "interleaving": _interleaving, "transparency": _transparency}


def test_a_recipe_that_nobody_told_is_found_and_a_new_one_is_no_alarm() -> None:
    x, unseen, fault = recipe_machine(1)
    assert unseen < fault
    monitor = MonitorConfig()
    begun = alerts_of(x, monitor)
    assert begun
    assert all(row >= fault for row in begun)
    ignored = dataclasses.replace(monitor, regimes=regimes.Config(limit=0))
    assert any(row < fault for seed in range(4) for row in alerts_of(
        recipe_machine(seed)[0], ignored))


# -- a tag that is taken by its name ---------------------------------------------------------------


def product_column(kind: str, rows: int = 2400) -> np.ndarray:
    """What a tag named ``product`` may say; all but ``measured`` and ``mixed`` are names."""
    at, rng = np.arange(rows), np.random.default_rng(11)
    return {
        "one, then another": np.where((at >= 600) & (at < 1400) | (at >= 1800), 2.0, 1.0),
        "two in turn": 7.0 + 2.0 * (at // 70 % 2),
        "means across a change": np.where(at % 70 == 0, 7.3 + at / 1e4, 7.0 + 2.0 * (at // 70 % 2)),
        "seldom sent": np.where(at % 9 == 0, 7.0 + 2.0 * (at // 90 % 2), np.nan),
        "many": 1000.0 + rng.permutation(400)[at // 6],
        "a count": 5.0 + at // 40,
        "measured": 5.0 + 0.1 * rng.normal(size=rows),
        "mixed": 1.0 + rng.integers(0, 3, rows),
    }[kind]


def named(names: tuple[str, ...], x: np.ndarray, sensor: str = "") -> tuple[Monitor, Outcome]:
    config = dataclasses.replace(CONFIG, warm_up_rows=300, regimes=regimes.Config(sensor))
    registry = Registry()
    monitor = Monitor(config, registry)
    columns = registry.columns(registry.asset("press"), names)
    rows, width = x.shape
    time_ns = START + np.repeat(np.arange(rows), width) * MINUTE
    return monitor, monitor.process(reading_batch(
        np.zeros(x.size), np.tile(columns, rows), time_ns, x.ravel(),
        np.tile(np.arange(width) == width - 1, rows)))


NAMES = ("product", "pressure", "temperature", "vibration")
BY_NAME = 'not judged itself; taken by its name, [regimes] sensor = "none" forbids it'
TELLS, IS_MUTE = f"tells the operating mode; {BY_NAME}", f"names what is made; {BY_NAME}"


@pytest.mark.parametrize("kind, said", [
    ("one, then another", TELLS), ("two in turn", TELLS), ("means across a change", TELLS),
    ("seldom sent", TELLS), ("many", IS_MUTE), ("a count", IS_MUTE), ("measured", ""),
    ("mixed", ""),
])  # fmt: skip
def test_a_product_tag_is_taken_by_its_name_if_it_behaves_so(kind: str, said: str) -> None:
    x = np.array([0.0, 10.0, 60.0, 3.0]) + np.random.default_rng(5).normal(size=(2400, 4))
    x[:, 0] = product_column(kind)
    monitor, outcome = named(NAMES, x)
    assert monitor.conditions()[1].detail == said
    blamed = {c.sensor for a in outcome.alerts for c in a.contributions}
    assert "product" not in blamed
    if not said:  # it is judged
        x[2000:, 0] += 40.0
        assert any(a.contributions[0].sensor == "product" for a in named(NAMES, x)[1].alerts)


def test_a_product_taken_by_its_name_is_judged_as_one_that_is_named() -> None:
    x = products(1)
    monitor, taken = named(NAMES, x)
    told_by_setting = named(NAMES, x, "product")[1]
    assert told([taken]) == told([told_by_setting])
    assert monitor.conditions()[0].detail == "judged per operating mode: 2 found"
    forbidden, ignored = named(NAMES, x, "none")
    assert forbidden.conditions()[1].detail == "never changed during warm-up"
    changed = START + 600 * MINUTE
    assert any(a.time_ns < changed + 100 * MINUTE for a in ignored.alerts)


def test_until_a_second_product_comes_a_product_tag_changes_nothing() -> None:
    x = np.random.default_rng(8).normal(size=(900, 4))
    x[:, 0] = 4.0
    x[700:, 3] += 8.0
    monitor, taken = named(NAMES, x)
    assert monitor.conditions()[0].detail == ""
    assert told([taken]) == told([named(NAMES, x, "none")[1]])
    assert taken.alerts


def test_of_several_names_the_usual_order_decides_in_any_language() -> None:
    config = MonitorConfig()
    assert config.mode_sensors(("Rezept-Nr.", "heat")) == ["Rezept-Nr."]
    assert config.mode_sensors(("programa", "heat", "Product ID")) == ["Product ID", "programa"]
    assert config.mode_sensors(("heat", "产品", "artikel")) == ["artikel", "产品"]
    assert config.mode_sensors(("heat", "productivity")) == []
    off = dataclasses.replace(config, regimes=regimes.Config("none"))
    assert off.mode_sensors(("product",)) == []


def test_the_first_that_behaves_so_is_taken() -> None:
    x = products(1)[:, [1, 0, 2, 3]]
    monitor, _ = named(("product", "programa", "temperature", "vibration"), x)
    assert monitor.conditions()[1].detail == ""
    assert monitor.conditions()[2].detail == TELLS


def test_a_tag_of_too_many_products_stays_unjudged_after_conditioning_is_given_up() -> None:
    x = np.array([0.0, 10.0, 60.0, 3.0]) + np.random.default_rng(5).normal(size=(3000, 4))
    x[:, 0] = np.repeat(np.random.default_rng(6).permutation(75), 40) + 3.0
    x[:400, 0] = 1.0 + np.arange(400) // 100 % 2
    monitor, outcome = named(NAMES, x)
    assert monitor.conditions()[0].detail == "more operating modes than the limit: judged as one"
    assert monitor.conditions()[1].detail.startswith("names what is made; not judged itself")
    assert "product" not in {c.sensor for a in outcome.alerts for c in a.contributions}


@pytest.mark.parametrize("law", ["split", "interleaving", "transparency"])
def test_laws_of_tags_taken_by_name(law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As :func:`test_laws`, of machines whose first column has a usual name."""
    monkeypatch.setitem(globals(), "SETTING", "product")
    kinds = ("one, then another", "means across a change", "many", "one, then another")
    xs = [products(seed) for seed in range(4)]
    for x, kind in zip(xs, kinds, strict=True):
        x[:, 0] = product_column(kind)
    config = dataclasses.replace(CONFIG, warm_up_rows=300)
    monitor, whole = run(config, xs)
    assert sum("names what is made" in c.detail for c in monitor.conditions()) == 1
    assert sum("tells the operating mode" in c.detail for c in monitor.conditions()) == 3
    LAWS[law](config, xs, whole)
