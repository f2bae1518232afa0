"""The README's table of speeds, made from ``benchmarks/results/speed.json`` and nothing else.

    python -m benchmarks.speed --table           # prints it
    python -m benchmarks.speed --table --write   # puts it into the README, between its two marks

What each figure should reach stands here, so that a figure and its aim cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BEGIN = "<!-- speed: python -m benchmarks.speed --table --write -->"
END = "<!-- end of speed -->"
#: id -> what it should reach: at most ("≤") or at least ("≥") so much, in the figure's unit.
AIMS: dict[str, tuple[str, float]] = {
    "S-ENGINE": ("≤", 250.0),
    "S-ENGINE-REPLAY": ("≤", 250.0),
    "S-LEVEL": ("≤", 10.0),
    "S-RIVER-GAUSSIAN": ("≥", 100.0),
    "S-PYRAMID": ("≤", 1000.0),
    "S-STUMPI": ("≥", 100.0),
    "S-TREES-RIVER": ("≥", 60.0),
    "S-TREES-MOA": ("≥", 5.0),
    "S-KAFKA-JSON": ("≥", 1e6),
    "S-KAFKA-STOCK": ("≥", 8.0),
    "S-KAFKA-CONFLUENT": ("≥", 1.2),
    "S-KAFKA-COLUMNAR": ("≥", 2.5e6),
    "S-KAFKA-ARROW": ("≥", 6e6),
    "S-REPLAY-PARQUET": ("≥", 3e6),
    "S-REPLAY-CSV": ("≥", 1.5e6),
    "S-GROWTH": ("≤", 5.0),
    "S-TOUCHSTONE": ("≤", 2.0),
    "S-TOUCHSTONE-STUMPI": ("≥", 100.0),
    "S-ALERT-P50": ("≤", 50.0),
    "S-ALERT-P99": ("≤", 250.0),
    "S-WORKERS": ("≥", 1.8),
    "S-VIBRATION": ("≤", 10.0),
    "S-HELP": ("≤", 0.3),
    "S-FIRST-VERDICT": ("≤", 2.0),
}


def table(results: Mapping[str, Any]) -> str:
    """The figures as a Markdown table, in the order of the aims; the others behind them."""
    about, figures = results["about"], {f["id"]: f for f in results["figures"]}
    order = [key for key in AIMS if key in figures] + [key for key in figures if key not in AIMS]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"One core of an {about['processor']}, Python {about['python']}, {versions}.", "",
        "| what | id | measured | aim | beside it |", "|---|---|---|---|---|"]
    for key in order:
        f = figures[key]
        lines.append(f"| {f['what']} | `{key}` | {told(f['value'], f['unit'])} | "
                     f"{_aim(key, f)} | {f['note']} |")
    return "\n".join(lines) + "\n"


def told(value: float, unit: str) -> str:
    """A figure with two to three digits and its unit."""
    if unit == "readings/s":
        return f"{value / 1e6:.{1 if value < 1e7 else 0}f} M readings/s"
    shown = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{shown} {unit}"


def reached(key: str, value: float) -> bool:
    """Whether a figure is where it should be; True where nothing is asked of it."""
    if key not in AIMS:
        return True
    sign, limit = AIMS[key]
    return value <= limit if sign == "≤" else value >= limit


def within(readme: str) -> str:
    """What stands between the README's marks."""
    return readme.partition(BEGIN + "\n")[2].partition(END)[0]


def put(path: Path, results: Mapping[str, Any]) -> None:
    """Replace what stands between the marks."""
    readme = path.read_text(encoding="utf-8")
    before, _, rest = readme.partition(BEGIN + "\n")
    _, mark, after = rest.partition(END)
    assert mark, f"{path} lacks the marks of the table"
    path.write_text(before + BEGIN + "\n" + table(results) + mark + after, encoding="utf-8")


def _aim(key: str, figure: Mapping[str, Any]) -> str:
    if key not in AIMS:
        return ""
    sign, limit = AIMS[key]
    missed = "" if reached(key, figure["value"]) else ", **missed**"
    return f"{sign} {told(limit, figure['unit'])}{missed}"


def ordered(figures: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The figures in the order of the table."""
    places = {key: place for place, key in enumerate(AIMS)}
    return sorted(figures, key=lambda f: places.get(f["id"], len(places)))
