"""The plots of the page, each an SVG as text.

Only drawing: every number comes from `results` and the outcomes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.quality.datasets import ALL_SETS
from benchmarks.quality.outcomes import CURVE_BUDGETS, MAIN_BUDGET, CaseOutcome
from benchmarks.quality.recordings import ROW_SECONDS_WITHOUT_CLOCK
from benchmarks.quality.results import Results, against_best
from benchmarks.quality.rows import MARKS, SHORT
from benchmarks.quality.tables import events_at

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart by the colour-blind and in print, and a violet as the ninth.
_COLOURS = ("#0072B2", "#999999", "#000000", "#E69F00", "#CC79A7", "#D55E00", "#009E73", "#56B4E9",
            "#6A3D9A")
_MARKERS = "osD^vP*X"

_RECORD_PANELS = (
    "Q-NAB-STD", "Q-NAB-STD-ALERTS", "Q-SKAB-F1", "Q-SKAB-FAR", "Q-TSB-VUSPR",
    "Q-UCR-TOP1", "Q-TOUCH-ROC", "Q-TOUCH-PR", "Q-TEP-RATE", "Q-HRSS-AP",
)  # fmt: skip

# Set, horizon H and unit of the lead in seconds, its name.
_LEADS = (
    ("ur3_cobotops", 1.0, "s"),
    ("sme_cycles", 60.0, "min"),
    ("cmapss", ROW_SECONDS_WITHOUT_CLOCK, "cycles"),
    ("pronostia", 60.0, "min"),
    ("ims", 3_600.0, "h"),
    ("ppd", ROW_SECONDS_WITHOUT_CLOCK, "rows"),
)


def all_plots(
    results: Results, outcomes: Mapping[str, Sequence[CaseOutcome]]
) -> list[tuple[str, str]]:
    """Caption and SVG of every plot that the results allow."""
    drawn = (
        recall_by_set(results),
        recall_against_false_alarms(results),
        promise(results),
        records(results),
        differences(results),
        leads(outcomes),
        vus_by_source(outcomes),
    )
    return [plot for plot in drawn if plot is not None]


def recall_by_set(results: Results) -> tuple[str, str] | None:
    """Event recall of every method set by set; of the first also its interval and its chance."""
    names = [
        name
        for name in ALL_SETS
        if any(f"Q-EVENT-{SHORT[name]}-R" in rows for rows in results.rows.values())
    ]
    if not names:
        return None
    figure, axes = _figure(8.5, 0.42 * len(names) + 1.4)
    first = next(iter(results.rows))
    for number, (method, rows) in enumerate(results.rows.items()):
        for place, name in enumerate(names):
            row = rows.get(f"Q-EVENT-{SHORT[name]}-R")
            if row is None:
                continue
            label = method if place == 0 else None
            axes.plot(
                row.value,
                place,
                color=_colour(number),
                marker=_MARKERS[number % len(_MARKERS)],
                linestyle="",
                markersize=9 if method == first else 5,
                label=label,
                zorder=3 - number / 20,
            )
            if method == first:
                if not math.isnan(row.low):
                    axes.plot([row.low, row.high], [place, place], color=_colour(0), linewidth=1.5)
                chance = rows[f"Q-EVENT-{SHORT[name]}-CHANCE"].value
                axes.plot(
                    [chance, chance], [place - 0.32, place + 0.32], color="#B00020", linewidth=2
                )
    axes.plot([], [], color="#B00020", linewidth=2, label=f"chance, as many alerts as {first}")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel(f"events warned of at {MAIN_BUDGET}")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    return "Event recall by set, 95 % interval for the first method.", _svg(figure)


def recall_against_false_alarms(results: Results) -> tuple[str, str] | None:
    """Mean recall against false alarms per 10,000 healthy rows at three budgets."""
    words = [budget.partition("/")[2].upper() for budget in CURVE_BUDGETS]
    figure, axes = _figure(7.5, 4.2)
    is_empty = True
    for number, (method, rows) in enumerate(results.rows.items()):
        pairs = [
            (rows.get(f"Q-CURVE-{word}-ROWS"), rows.get(f"Q-CURVE-{word}-R")) for word in words
        ]
        # A rate of 0 has no place on a logarithmic axis: it stands at the left edge.
        points = [(max(a.value, 0.05), b.value) for a, b in pairs if a and b]
        if points:
            is_empty = False
            x, y = zip(*points, strict=True)
            axes.plot(
                x, y, color=_colour(number), marker=_MARKERS[number % len(_MARKERS)], label=method
            )
    if is_empty:
        return None
    axes.axvspan(0.04, 2.0, color="#009E73", alpha=0.08)
    axes.set_xscale("log")
    axes.set_ylim(-0.02, 1.0)
    axes.set_xlabel("false alarms per 10,000 healthy rows (0 drawn at 0.05; green: the aim)")
    axes.set_ylabel("event recall, mean over sets")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    return "Recall against false alarms at one a day, a week and a month.", _svg(figure)


def promise(results: Results) -> tuple[str, str] | None:
    """Achieved ÷ promised false alarms at three budgets."""
    words = [budget.partition("/")[2].upper() for budget in CURVE_BUDGETS]
    ids = [f"Q-CURVE-{word}-RATIO" for word in words]
    if not any(row_id in rows for rows in results.rows.values() for row_id in ids):
        return None
    figure, axes = _figure(7.5, 3.6)
    width = 0.8 / len(results.rows)
    for number, (method, rows) in enumerate(results.rows.items()):
        for place, row_id in enumerate(ids):
            row = rows.get(row_id)
            if row is None:
                continue
            x = place - 0.4 + (number + 0.5) * width
            value = max(row.value, 0.02)
            axes.plot(
                x,
                value,
                color=_colour(number),
                marker=_MARKERS[number % len(_MARKERS)],
                linestyle="",
                label=method if place == 0 else None,
            )
            if not math.isnan(row.low):
                axes.plot([x, x], [max(row.low, 0.02), max(row.high, 0.02)], color=_colour(number))
    axes.axhspan(0.5, 1.5, color="#009E73", alpha=0.12)
    axes.axhline(1.0, color="#009E73", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_xticks(range(len(ids)), [f"one a {word.lower()}" for word in words])
    axes.set_ylabel("achieved ÷ promised\n(0 drawn at 0.02)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    return "The promise: false alarms achieved ÷ promised on healthy exposure.", _svg(figure)


def records(results: Results) -> tuple[str, str] | None:
    """A panel a record: every method's figure with its interval, and the aim."""
    import matplotlib.pyplot as plt

    ids = [i for i in _RECORD_PANELS if any(i in rows for rows in results.rows.values())]
    if not ids:
        return None
    columns = 3
    lines = -(-len(ids) // columns)
    figure, grid = plt.subplots(lines, columns, figsize=(9.5, 2.4 * lines), squeeze=False)
    methods = list(results.rows)
    for place, axes in enumerate(grid.flat):
        if place >= len(ids):
            axes.set_visible(False)
            continue
        row_id = ids[place]
        for number, method in enumerate(methods):
            row = results.rows[method].get(row_id)
            if row is None or math.isnan(row.value):
                continue
            axes.barh(number, row.value, color=_colour(number), height=0.7)
            if not math.isnan(row.low):
                axes.plot([row.low, row.high], [number, number], color="#444444", linewidth=1)
        mark = MARKS[row_id]
        axes.axvline(mark.aim, color="#B00020", linestyle="--", linewidth=1)
        sign = "≤" if mark.at_most else "≥"
        axes.set_title(f"{row_id}   aim {sign} {mark.aim:g}", fontsize=9, loc="left")
        named = methods if place % columns == 0 else [""] * len(methods)
        axes.set_yticks(range(len(methods)), named)
        axes.tick_params(labelsize=8)
        axes.invert_yaxis()
        _bare(axes)
    figure.tight_layout()
    return "Records, each under its own rule; dashed: the aim.", _svg(figure)


def differences(results: Results) -> tuple[str, str] | None:
    """The first method minus the best control where more is better, with its interval."""
    method = next(iter(results.rows))
    chosen = [
        one
        for one in against_best(results)
        if one.method == method and not (one.id in MARKS and MARKS[one.id].at_most)
    ]
    if not chosen:
        return None
    scale = [100.0 if one.id.startswith("Q-NAB") else 1.0 for one in chosen]
    figure, axes = _figure(8.5, 0.4 * len(chosen) + 1.2)
    for place, (one, by) in enumerate(zip(chosen, scale, strict=True)):
        if not math.isnan(one.low):
            axes.plot([one.low / by, one.high / by], [place, place], color=_colour(0), linewidth=2)
        axes.plot(one.value / by, place, color=_colour(0), marker="o", linestyle="")
    axes.axvline(0.0, color="#444444", linewidth=0.8)
    axes.set_yticks(range(len(chosen)), [f"{one.id} − {one.control}" for one in chosen])
    axes.invert_yaxis()
    axes.set_xlabel("difference (NAB in hundredths)")
    return f"{method} minus the best control, paired, 95 % interval.", _svg(figure)


def leads(outcomes: Mapping[str, Sequence[CaseOutcome]]) -> tuple[str, str] | None:
    """Lead times of the first method's hits, set by set."""
    import matplotlib.pyplot as plt

    mine = next(iter(outcomes.values()), ())
    panels = []
    for name, unit_seconds, unit in _LEADS:
        events = events_at(mine, name, MAIN_BUDGET)
        if events:
            found = [event.merit_seconds / unit_seconds for event in events if event.hit]
            panels.append((name, unit, found, len(events)))
    if not panels:
        return None
    figure, grid = plt.subplots(
        len(panels), 1, figsize=(8.5, 1.05 * len(panels) + 0.6), squeeze=False
    )
    for (name, unit, found, count), axes in zip(panels, grid.flat, strict=True):
        # Spread over the height by order only, so that equal leads stay visible.
        heights = [(place % 7) / 7 for place in range(len(found))]
        axes.plot(
            found, heights, color=_colour(0), marker="o", linestyle="", alpha=0.5, markersize=5
        )
        axes.set_ylim(-0.3, 1.2)
        axes.set_yticks([])
        axes.set_xlim(0, 1.05 * max(found) if found else 1.0)
        axes.set_title(
            f"{name}: lead, {unit}; {len(found)} of {count} warned of", fontsize=9, loc="left"
        )
        axes.tick_params(labelsize=8)
        _bare(axes)
    figure.tight_layout()
    return f"Lead times of {next(iter(outcomes))}, one dot a failure warned of.", _svg(figure)


def vus_by_source(outcomes: Mapping[str, Sequence[CaseOutcome]]) -> tuple[str, str] | None:
    """Mean VUS-PR of the Eva series by source and method."""
    groups = sorted(
        {
            o.group
            for mine in outcomes.values()
            for o in mine
            if o.set_name == "tsb_ad_u" and o.part == "eva"
        }
    )
    if not groups:
        return None
    table = np.full((len(groups), len(outcomes)), np.nan)
    for column, mine in enumerate(outcomes.values()):
        for line, group in enumerate(groups):
            values = [o.rankings["vus_pr"] for o in mine if o.group == group and o.part == "eva"]
            if values:
                table[line, column] = np.mean(values)
    figure, axes = _figure(1.0 * len(outcomes) + 2.2, 0.32 * len(groups) + 1.4)
    axes.imshow(table, cmap="cividis", vmin=0.0, vmax=1.0, aspect="auto")
    axes.grid(visible=False)
    for line in range(len(groups)):
        for column in range(len(outcomes)):
            if not math.isnan(table[line, column]):
                shade = "black" if table[line, column] > 0.55 else "white"
                text = f"{table[line, column]:.2f}"
                axes.text(column, line, text, ha="center", va="center", color=shade, fontsize=8)
    axes.set_yticks(range(len(groups)), groups)
    axes.set_xticks(range(len(outcomes)), list(outcomes), rotation=30, ha="right")
    return "VUS-PR of the 172 evaluation series by source.", _svg(figure)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(width, height))
    axes.grid(axis="both", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    _bare(axes)
    return figure, axes


def _bare(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _svg(figure: Figure) -> str:
    """SVG text, the same bytes for the same drawing."""
    import matplotlib
    import matplotlib.pyplot as plt

    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "andon", "svg.fonttype": "none"}):
        figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return out.getvalue()
