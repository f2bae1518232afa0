"""``python -m benchmarks.regimes``: what judging per operating mode is worth, and when it errs.

``regimes.fleet.*``: turbofans that are run at six settings, imitated from those that were run at
one (C-MAPSS FD001, ``ANDON_DATA``): each row draws its setting at random, and each sensor gets its
own offset and gain at each setting, seeded. Judged by the protocol's own rules with the modes
ignored, found online, and given (the recording before the imitation).
``regimes.recipe.*``: a machine that changes its product every few hours, and meets a product that
it has not seen: told by a tag, and not told.
``regimes.false.*``: share of healthy machines of *one* mode for which modes are believed, by kind
of noise and length of the warm-up; no data needed.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from anomaly import regime_search, regimes
from anomaly.batches import Float64
from anomaly.config import MonitorConfig
from benchmarks.quality import Case, Recording, cases, has_set, measure
from benchmarks.quality.in_process import andon_in_process
from benchmarks.quality.outcomes import MAIN_BUDGET
from benchmarks.quality.tables import all_rows

#: Altitude, Mach number and throttle of the six settings that the real fleet is flown at.
SETTINGS = np.array([
    [0.0, 0.0, 100.0], [10.0, 0.25, 100.0], [20.0, 0.7, 100.0],
    [25.0, 0.62, 60.0], [35.0, 0.84, 100.0], [42.0, 0.84, 100.0],
])
_SETTING_NAMES = ("op1", "op2", "op3")
_USAGE_EXIT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; 2 where there is no data and not only ``--false`` is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regimes", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--false", action="store_true", help="only regimes.false.*")
    options = parser.parse_args(arguments)
    if not options.false:
        if not has_set("cmapss"):
            print("no C-MAPSS recordings: set ANDON_DATA", file=sys.stderr)
            return _USAGE_EXIT
        print("| regimes.fleet | recall | by chance | lead, cycles | false per 10,000 rows |")
        print("|---|---|---|---|---|")
        for line in _fleet(options.seed):
            print(line, flush=True)
        print("\n| regimes.recipe | false alarms of 20 machines | faults found of 20 |")
        print("|---|---|---|")
        for line in _recipes(options.seed):
            print(line, flush=True)
        print()
    print("| regimes.false | " + " | ".join(f"{w:,} rows" for w in WARM_UPS) + " |")
    print("|---" * (len(WARM_UPS) + 1) + "|")
    for kind in NOISE:
        counts = [false_modes(kind, w, options.seed) for w in WARM_UPS]
        print(f"| {kind} | " + " | ".join(f"{k}/{n}" for k, n in counts) + " |", flush=True)
    return 0


# -- the fleet -------------------------------------------------------------------------------------


def six_settings(recording: Recording, seed: int) -> Recording:
    """The recording as if every row had been taken at one of six settings, at random."""
    rng = np.random.default_rng(seed)
    x = recording.x.copy()
    mode = rng.integers(0, len(SETTINGS), len(x))
    for c, name in enumerate(recording.names):
        if name in _SETTING_NAMES:
            k = _SETTING_NAMES.index(name)
            jitter = rng.uniform(-0.003, 0.003, len(x)) if k < 2 else 0.0
            x[:, c] = SETTINGS[mode, k] + jitter
            continue
        middle = np.median(x[:, c])
        offset = 0.2 * abs(middle) * rng.normal(size=len(SETTINGS))
        gain = np.exp(0.25 * rng.normal(size=len(SETTINGS)))
        x[:, c] = (x[:, c] - middle) * gain[mode] + middle + offset[mode]
    return dataclasses.replace(recording, x=x)


def _fleet(seed: int) -> Iterator[str]:
    ignored, found = MonitorConfig(regimes=regimes.Config(limit=0)), MonitorConfig()
    case = next(c for c in cases("cmapss") if c.recording.name == "train_FD001")
    imitated = dataclasses.replace(case, recording=six_settings(case.recording, seed))
    for words, subject, config in (
        ("ignored", imitated, ignored), ("found online", imitated, found),
        ("given", case, ignored), ("one setting, as recorded", case, found),
    ):
        yield _judged(words, subject, config)


def _judged(words: str, case: Case, config: MonitorConfig) -> str:
    rows = {
        row.id: row.value
        for row in all_rows([measure(case, andon_in_process(config), (MAIN_BUDGET,))])
    }
    return (
        f"| {words} | {rows['Q-EVENT-CMAPSS-R']:.3f} | {rows['Q-EVENT-CMAPSS-CHANCE']:.3f} "
        f"| {rows['Q-EVENT-CMAPSS-LEAD'] / 60.48:.0f} | {rows['Q-FALSE-CMAPSS-ROWS']:.2f} |"
    )


# -- the recipe ------------------------------------------------------------------------------------


def recipe_machine(seed: int, known: int = 3) -> tuple[Float64, int, int]:
    """Rows of a minute with the recipe first; the first row of an unseen recipe and of a fault."""
    rng = np.random.default_rng(seed)
    dwell = 60
    runs = rng.integers(0, known, 80)
    runs[50:54] = known  # a new product, four shifts long
    recipe = np.repeat(runs, dwell)
    level = 10.0 * rng.normal(size=(known + 1, 5))
    noise = rng.normal(size=(recipe.size, 5))
    for r in range(1, recipe.size):
        noise[r] += 0.5 * noise[r - 1]
    x = level[recipe] + noise
    fault = 70 * dwell
    x[fault:, 2] += np.linspace(0.0, 8.0, recipe.size - fault)
    return np.column_stack([recipe + 100.0, x]), 50 * dwell, fault


def _recipes(seed: int) -> Iterator[str]:
    for words, config in (
        ("ignored", MonitorConfig(regimes=regimes.Config(limit=0))),
        ("found online", MonitorConfig()),
        ("told by a tag", MonitorConfig(regimes=regimes.Config("recipe"))),
    ):
        false = found = 0
        for number in range(20):
            x, _, fault = recipe_machine(1_000 * seed + number)
            begun = alerts_of(x, config)
            false += sum(row < fault for row in begun)
            found += any(row >= fault for row in begun)
        yield f"| {words} | {false} | {found} |"


def alerts_of(x: Float64, config: MonitorConfig) -> list[int]:
    """Rows at which alerts begin after 1,500 rows of warm-up."""
    recording = Recording(
        "recipe", ("recipe", *(f"s{c}" for c in range(1, x.shape[1]))),
        np.arange(len(x), dtype=np.int64) * 60 * 10**9, np.zeros(len(x), np.int64), x,
    )
    return [span.fired_row for span in andon_in_process(config)(recording, 1500, "1/week").alerts]


# -- machines of one mode --------------------------------------------------------------------------

WARM_UPS = (25, 40, 100, 500, 2000)


def _slow(rng: np.random.Generator, w: int, d: int, keep: float, heavy: bool = False) -> Float64:
    x: Float64 = rng.standard_t(3, (w, d)) if heavy else rng.normal(size=(w, d))
    for r in range(1, w):
        x[r] += keep * x[r - 1]
    return x


def _coarse_first(rng: np.random.Generator, w: int, d: int) -> Float64:
    cause = _slow(rng, w, 1, 0.95)
    x: Float64 = cause + 0.3 * rng.normal(size=(w, d))
    x[:, 0] = np.round(cause[:, 0])
    return x


Noise = Callable[[np.random.Generator, int, int], Float64]

#: Healthy machines with one way of running, float64[w, d].
NOISE: dict[str, Noise] = {
    "independent": lambda g, w, d: g.normal(size=(w, d)),
    "slow (AR 0.9)": lambda g, w, d: _slow(g, w, d, 0.9),
    "very slow (AR 0.99)": lambda g, w, d: _slow(g, w, d, 0.99),
    "heavy tails (t3)": lambda g, w, d: _slow(g, w, d, 0.0, heavy=True),
    "one cause": lambda g, w, d: _slow(g, w, 1, 0.9) + 0.3 * g.normal(size=(w, d)),
    "one cause, heavy tails":
        lambda g, w, d: _slow(g, w, 1, 0.5, heavy=True) + 0.2 * g.normal(size=(w, d)),
    "one cause, all coarse":
        lambda g, w, d: np.round(_slow(g, w, 1, 0.95) + 0.3 * g.normal(size=(w, d))),
    "one cause, one sensor coarse": _coarse_first,
    "counts": lambda g, w, d: g.poisson(g.uniform(0.05, 8.0, d), (w, d)).astype(np.float64),
    "counts of one cause": lambda g, w, d: g.poisson(
        2.0 * np.exp(0.5 * _slow(g, w, 1, 0.9)) * g.uniform(0.5, 3.0, d)).astype(np.float64),
    "season": lambda g, w, d: np.sin(
        2 * np.pi * np.arange(w)[:, None] / g.integers(20, 200) + g.uniform(0, 6, d)
    ) + 0.1 * g.normal(size=(w, d)),
    "changed once": lambda g, w, d:
        _slow(g, w, d, 0.5) + 8.0 * (np.arange(w)[:, None] >= w // 2),
    "drift": lambda g, w, d: np.linspace(0.0, 10.0, w)[:, None] + _slow(g, w, d, 0.5),
}


def false_modes(kind: str, warm_up_rows: int, seed: int) -> tuple[int, int]:
    """Machines for which modes are believed, and machines: of 2, 5 and 25 sensors."""
    rng = np.random.default_rng(seed)
    each = 100 if warm_up_rows < 500 else 30
    found = sum(
        regime_search.find(NOISE[kind](rng, warm_up_rows, d), regimes.Config().limit) is not None
        for d in (2, 5, 25) for _ in range(each)
    )
    return found, 3 * each


if __name__ == "__main__":
    sys.exit(main())
