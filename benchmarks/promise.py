"""Is the promise kept? Alerts raised on healthy noise, against the alerts that were promised.

    python -m benchmarks.promise               # the whole grid, writes results/promise.json
    python -m benchmarks.promise --share 0.3   # the same with so much of the lives
    python -m benchmarks.promise --fast        # a small grid with few lives, prints only

Simulated machines that never fail live through the engine itself (``Monitor.process``). A *life*
is a warm-up and then :data:`JUDGED_ROWS` healthy rows, one row a minute. Counted are

*alerts*
    Of the default configuration, all watchers on. Transitions to firing, as an operator sees them:
    cases, re-raises, and the cap on what a short history may claim (``CLAIM_ROWS``,
    ``CLAIM_PER_ROW`` in ``anomaly/alerts.py``). Because of the cap a far budget allows more at
    first than it promises: *allowed* is the sum over the judged rows of 1 / min(budget, claim).
*calibration*
    The level stack's rarity alone, with the whole budget its own: excursions of the fused level
    above its warm-up median in which the return period reached the budget. No cap, no case, no
    hysteresis. *Early* is the same over the first :data:`EARLY_ROWS` judged rows, where history
    is shortest.

How rare a row is does not hang on the budget, so one pass of the engine serves all budgets: the
alert rule alone is walked again for each, over the very columns that the engine gave it.

Promised is judged rows ÷ budget. Each ratio achieved ÷ promised has a 95 % Poisson interval (exact,
Garwood 1936). Lives differ in how lucky their warm-up was, which that interval does not know: where
alarms come in clusters (slow noise, short warm-up) the true interval is wider. The first table
pools the widths, because a far budget promises few alarms: :data:`LIVES` promise 46 in each of its
cells at the rarest budget, a standard error of 0.15; a share of 0.3 of them has 0.27.

A figure's id is ``P-<noise>-<sensors>-<warm-up>-<budget>`` and permanent, and so is its seed;
``P-<noise>-all-<warm-up>-<budget>`` is what the widths give together.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anomaly import alerts
from anomaly.batches import Bool, Float64, Outcome, reading_batch
from anomaly.config import DEFAULT_DETECTORS, WEEK_SECONDS, MonitorConfig
from anomaly.detectors import DETECTORS
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from anomaly.watchers import ALONE, NOBODY, SHAPE, SHAPE_SENSORS, WITH_ALONE, WITH_SHAPE

RESULTS = Path(__file__).resolve().parent / "results" / "promise.json"

#: Rows of a life after its warm-up: a fortnight of minutes.
JUDGED_ROWS = 20_000
#: Rows after the warm-up that count as early.
EARLY_ROWS = 2_000
#: Seconds between rows: the pace that fast signals are brought to before a weekly promise.
ROW_SECONDS = 60
#: Rows of a season: the shortest warm-up sees two of them, as the calibration assumes.
SEASON_ROWS = 48

WARM_UPS = (100, 1_000, 10_000)
#: Rows per false alarm.
BUDGETS = (1_000, 10_000, 100_000)
#: Sensors → lives of a cell, each judged with all budgets.
LIVES = {1: 200, 8: 30}
FAST_LIVES = {1: 6}
#: The range that the project set itself for every cell.
WANTED = (0.7, 1.4)
#: Alerts about a sensor or the data, not about the machine; shown apart, no budget covers them.
SENSOR_KINDS = ("sensor_fault", "data_gap")


@dataclass(frozen=True, slots=True)
class Count:
    """Alarms counted against alarms promised, with the ratio's 95 % interval."""

    achieved: int
    promised: float
    ratio: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figure:
    """One cell of the grid."""

    id: str
    noise: str
    sensors: int
    warm_up_rows: int
    budget_rows: int
    alerts: Count
    allowed: float
    sensor_alerts: int
    calibration: Count
    early: Count


@dataclass(frozen=True, slots=True)
class Life:
    """What one machine's life gave, judged rows only.

    ``level``, ``period_rows`` float64[m]; ``median`` the level at which an excursion begins; per
    budget the alerts, and ``allowed`` the alarms that the claims of its rows add up to.
    """

    level: Float64
    period_rows: Float64
    median: float
    alerts: dict[int, int]
    allowed: dict[int, float]
    sensor_alerts: int


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.promise", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="a small grid; prints only")
    parser.add_argument("--share", type=float, default=1.0, help="of the lives, in the order of "
                        "their seeds")
    options = parser.parse_args(arguments)
    if options.fast:
        figures = list(grid(("iid", "ar0.9", "counts"), (100, 1_000), BUDGETS[:2], FAST_LIVES))
    else:
        lives = {width: max(1, round(count * options.share)) for width, count in LIVES.items()}
        figures = list(grid(tuple(NOISES), WARM_UPS, BUDGETS, lives))
        write(figures, lives)
    print(markdown(figures))
    return 0


def write(figures: Sequence[Figure], lives: dict[int, int]) -> None:
    """Keep the figures, and how they came about."""
    written = {
        "command": "python -m benchmarks.promise", "judged_rows": JUDGED_ROWS,
        "early_rows": EARLY_ROWS, "detectors": DEFAULT_DETECTORS, "wanted": WANTED, "lives": lives,
        "pooled": [asdict(figure) for figure in pooled(figures)],
        "figures": [asdict(figure) for figure in figures],
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(written, indent=1) + "\n")


def grid(
    noises: Sequence[str], warm_ups: Sequence[int], budgets: Sequence[int],
    lives: dict[int, int], judged_rows: int = JUDGED_ROWS,
) -> Iterator[Figure]:
    """Every cell, noise by noise; ``lives`` as in :data:`LIVES`."""
    for noise in noises:
        for width, count in lives.items():
            for warm_up in warm_ups:
                yield from _cells(noise, width, warm_up, budgets, count, judged_rows)
                print(f"{noise}, {width} sensors, warm-up {warm_up}", file=sys.stderr)


def _cells(
    noise: str, sensors: int, warm_up: int, budgets: Sequence[int], count: int, judged_rows: int
) -> list[Figure]:
    """The cells of all budgets: they share their lives."""
    achieved, told = dict.fromkeys(budgets, 0), 0
    allowed = dict.fromkeys(budgets, 0.0)
    whole, early = dict.fromkeys(budgets, 0), dict.fromkeys(budgets, 0)
    for number in range(count):
        life = live(noise, sensors, warm_up, budgets, number, judged_rows)
        told += life.sensor_alerts
        for budget in budgets:
            achieved[budget] += life.alerts[budget]
            allowed[budget] += life.allowed[budget]
            whole[budget] += count_excursions(life.level, life.median, life.period_rows, budget)
            early[budget] += count_excursions(
                life.level[:EARLY_ROWS], life.median, life.period_rows[:EARLY_ROWS], budget)
    return [
        Figure(
            f"P-{noise}-{sensors}-{warm_up}-{budget}", noise, sensors, warm_up, budget,
            counted(achieved[budget], count * judged_rows / budget), round(allowed[budget], 3),
            told,
            counted(whole[budget], count * judged_rows / budget),
            counted(early[budget], count * min(EARLY_ROWS, judged_rows) / budget),
        )
        for budget in budgets
    ]


def live(
    noise: str, sensors: int, warm_up: int, budgets: Sequence[int], number: int,
    judged_rows: int = JUDGED_ROWS,
) -> Life:
    """One machine's life through the engine; ``number`` tells its lives' seeds apart."""
    rows = warm_up + judged_rows
    rng = np.random.default_rng([zlib.crc32(noise.encode()), sensors, warm_up, number])
    x = NOISES[noise](rng, rows, sensors)
    outcome, monitor, asked = judged(x, warm_up, budgets[0], tuple(
        name for name in DEFAULT_DETECTORS  # shapes alert on narrow machines only
        if sensors <= SHAPE_SENSORS or DETECTORS[name].role != "novelty"))
    told = {alert.id for alert in outcome.alerts
            if alert.state == "firing" and alert.kind in SENSOR_KINDS}
    claim = np.maximum(alerts.CLAIM_ROWS, alerts.CLAIM_PER_ROW * np.arange(warm_up + 1, rows + 1))
    state = monitor.arrays()
    share = _LEVEL_SHARE[int(state["watchers"]["asset"]["beside"][0])]
    return Life(
        level=np.concatenate([columns["level"] for columns in asked])[warm_up:],
        period_rows=np.concatenate([columns["period_s"] for columns in asked])[warm_up:]
        * share / ROW_SECONDS,
        median=float(state["calibration"]["asset_tail"][0]["median"]),
        alerts={budget: walk(monitor, asked, budget) for budget in budgets},
        allowed={budget: float((1.0 / np.minimum(budget, claim)).sum()) for budget in budgets},
        sensor_alerts=len(told),
    )


def judged(
    x: Float64, warm_up: int, budget: int, detectors: tuple[str, ...]
) -> tuple[Outcome, Monitor, list[dict[str, Any]]]:
    """Rows ``x float64[n, d]`` of one machine, one a minute, through a monitor.

    The third is what the alert rule was asked, call by call: the columns of ``alerts.run``.
    """
    rows, sensors = x.shape
    registry = Registry()
    monitor = Monitor(MonitorConfig(
        budget_per_week=WEEK_SECONDS / ROW_SECONDS / budget, warm_up_rows=warm_up,
        detectors=detectors,
    ), registry)
    registry.columns(registry.asset("machine"), [f"sensor_{c}" for c in range(sensors)])
    column = np.tile(np.arange(sensors), rows)
    time_ns = np.repeat(np.arange(rows) * ROW_SECONDS * 10**9, sensors)
    asked: list[dict[str, Any]] = []
    module: Any = alerts
    rule = alerts.run

    def listening(state: Any, threshold_s: float, on: int, off: int, table: Any, *columns: Any
                  ) -> alerts.Moved:
        asked.append(dict(zip(_COLUMNS, columns, strict=True)))
        return rule(state, threshold_s, on, off, table, *columns)

    module.run = listening
    try:
        outcome = monitor.process(reading_batch(
            np.zeros(column.size, np.int64), column, time_ns, x.ravel(), column == sensors - 1))
    finally:
        module.run = rule
    return outcome, monitor, asked


def walk(monitor: Monitor, asked: Sequence[dict[str, Any]], budget: int) -> int:
    """Alerts that the rule raises with this budget where it is asked the same."""
    delays, registry = monitor.config.alert, monitor.registry
    state = alerts.allocate(len(registry.assets), registry.tag_count)
    moved = [alerts.run(state, float(budget * ROW_SECONDS), delays.on_delay_rows,
                        delays.off_delay_rows, registry.table, **columns) for columns in asked]
    return sum(int((part.to == alerts.TO_FIRING).sum()) for part in moved)


def pooled(figures: Sequence[Figure]) -> list[Figure]:
    """The widths of each noise, warm-up and budget together."""
    together: dict[tuple[str, int, int], list[Figure]] = {}
    for figure in figures:
        key = figure.noise, figure.warm_up_rows, figure.budget_rows
        together.setdefault(key, []).append(figure)

    def added(counts: list[Count]) -> Count:
        return counted(sum(c.achieved for c in counts), sum(c.promised for c in counts))

    return [
        Figure(
            f"P-{noise}-all-{warm_up}-{budget}", noise, 0, warm_up, budget,
            added([figure.alerts for figure in found]),
            round(sum(figure.allowed for figure in found), 3),
            sum(figure.sensor_alerts for figure in found),
            added([figure.calibration for figure in found]),
            added([figure.early for figure in found]),
        )
        for (noise, warm_up, budget), found in together.items()
    ]


def count_excursions(level: Float64, median: float, period_rows: Float64, budget: float) -> int:
    """Stretches of rows above the median in which a row at least as rare as the budget lies."""
    above: Bool = level > median
    begins = above & ~np.concatenate(([False], above[:-1]))
    rare = above & (period_rows >= budget)
    return int(np.unique(np.cumsum(begins)[rare]).size)


def counted(achieved: int, promised: float) -> Count:
    """The ratio and its exact 95 % Poisson interval."""
    from scipy.stats import chi2

    low = chi2.ppf(0.025, 2 * achieved) / 2 if achieved else 0.0
    high = chi2.ppf(0.975, 2 * achieved + 2) / 2
    return Count(achieved, round(promised, 3), *(
        round(float(value) / promised, 3) for value in (achieved, low, high)))


def markdown(figures: Sequence[Figure]) -> str:
    """The tables, widths together and apart, and how many of their cells are as wanted."""
    budgets = sorted({figure.budget_rows for figure in figures})
    lines = []
    for title, (made, pick) in _TABLES.items():
        chosen = made(figures)
        cells = {figure.id: figure for figure in chosen}
        lines += [f"**{title}**: achieved ÷ promised (achieved / promised) [95 %]", "",
                  "| id | " + " | ".join(f"-{budget}" for budget in budgets) + " |",
                  "|---" * (len(budgets) + 1) + "|"]
        for row in dict.fromkeys(figure.id.rpartition("-")[0] for figure in chosen):
            found = [pick(cells[f"{row}-{budget}"]) for budget in budgets]
            mark = " *" if row in OUTSIDE else ""
            lines.append(f"| {row}{mark} | " + " | ".join(
                f"{c.ratio:.2f} ({c.achieved} / {c.promised:g}) [{c.low:.2f}–{c.high:.2f}]"
                for c in found) + " |")
        lines += ["", *_summary(chosen, pick, budgets), ""]
    told = sum(figure.sensor_alerts for figure in figures if figure.budget_rows == budgets[0])
    lines.append(f"Alerts about sensors (stuck, silent, gaps), under no budget: {told}.")
    if any(row in OUTSIDE for row in (f.id.rpartition("-")[0] for f in figures)):
        lines.append("\\* outside what is assumed: the noise wanders as slowly as the warm-up is "
                     "long.")
    return "\n".join(lines)


def _summary(
    figures: Sequence[Figure], pick: Callable[[Figure], Count], budgets: Sequence[int]
) -> list[str]:
    """Within what is assumed, per budget: the ratio over all cells, and the cells as wanted."""
    lines = []
    for budget in budgets:
        counts = [pick(figure) for figure in figures if figure.budget_rows == budget
                  and figure.id.rpartition("-")[0] not in OUTSIDE]
        within = sum(WANTED[0] <= c.ratio <= WANTED[1] for c in counts)
        quiet = sum(c.high < WANTED[0] for c in counts)
        loud = sum(c.low > WANTED[1] for c in counts)
        total = sum(c.achieved for c in counts) / sum(c.promised for c in counts)
        lines.append(
            f"One in {budget}: {total:.2f} over the cells within what is assumed; {within} of "
            f"{len(counts)} within {WANTED[0]}–{WANTED[1]}, certainly too quiet {quiet}, certainly "
            f"too loud {loud}.")
    return lines


_TABLES: dict[str, tuple[
    Callable[[Sequence[Figure]], Sequence[Figure]], Callable[[Figure], Count]
]] = {
    "alerts, widths together": (pooled, lambda figure: figure.alerts),
    "alerts, widths together, against what the history allows": (pooled, lambda figure: counted(
        figure.alerts.achieved, figure.allowed)),
    "calibration, widths together": (pooled, lambda figure: figure.calibration),
    "alerts": (list, lambda figure: figure.alerts),
    "calibration": (list, lambda figure: figure.calibration),
    "calibration, early rows": (list, lambda figure: figure.early),
}

#: Cells whose warm-up cannot be like the rows to come: 100 rows of noise that remembers 100.
OUTSIDE = ("P-ar0.99-1-100", "P-ar0.99-8-100", "P-ar0.99-all-100")

#: What the level's return period was divided by, by who watches beside it.
_LEVEL_SHARE = {NOBODY: 1.0, SHAPE: WITH_SHAPE[0], ALONE: WITH_ALONE[0]}

#: What ``alerts.run`` is given after the state, the threshold, the delays and the table.
_COLUMNS = ("rows", "period_s", "beside_s", "level", "fast", "lead", "evidence", "warm_up",
            "claim_s")


def _independent(rng: np.random.Generator, rows: int, sensors: int) -> Float64:
    return rng.normal(size=(rows, sensors))


def _autoregressive(phi: float) -> Callable[[np.random.Generator, int, int], Float64]:
    """Noise of unit variance that remembers 1 / (1 − phi) rows, from its stationary start."""

    def made(rng: np.random.Generator, rows: int, sensors: int) -> Float64:
        from scipy.signal import lfilter

        steps = rng.normal(size=(rows, sensors))
        steps[1:] *= np.sqrt(1.0 - phi * phi)
        x: Float64 = lfilter([1.0], [1.0, -phi], steps, axis=0)
        return x

    return made


def _heavy_tailed(rng: np.random.Generator, rows: int, sensors: int) -> Float64:
    return rng.standard_t(3, size=(rows, sensors))


def _counts(rng: np.random.Generator, rows: int, sensors: int) -> Float64:
    return rng.poisson(2.0, size=(rows, sensors)).astype(np.float64)


def _quantised(rng: np.random.Generator, rows: int, sensors: int) -> Float64:
    return np.round(rng.normal(size=(rows, sensors)))


def _seasonal(rng: np.random.Generator, rows: int, sensors: int) -> Float64:
    phase = rng.random(sensors) * SEASON_ROWS
    turn = 2.0 * np.pi * (np.arange(rows)[:, None] + phase) / SEASON_ROWS
    season: Float64 = 2.0 * np.sin(turn) + rng.normal(size=(rows, sensors))
    return season


#: Kinds of healthy noise: function(generator, rows, sensors) -> float64[rows, sensors]; sensors are
#: independent of one another.
NOISES: dict[str, Callable[[np.random.Generator, int, int], Float64]] = {
    "iid": _independent,
    "ar0.5": _autoregressive(0.5),
    "ar0.9": _autoregressive(0.9),
    "ar0.99": _autoregressive(0.99),
    "t3": _heavy_tailed,
    "counts": _counts,
    "quantised": _quantised,
    "seasonal": _seasonal,
}


if __name__ == "__main__":
    sys.exit(main())
