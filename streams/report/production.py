"""The report's section on losses: where each machine's time went, its OEE, its largest losses.

Only where a sensor tells the production. No figure is made here: the engine booked every second.
"""

from __future__ import annotations

from collections.abc import Sequence

from anomaly import ledger
from anomaly.production import Statement
from streams.losses_feed import of_orders
from streams.report.words import duration, escape, percent, plural, short

#: How the headings are told, and their colours: safe for the colour-blind, grey for no loss.
WORDS = {
    "at_rate": ("at rate", "#2a7f62"), "slow": ("slow", "#e0b23c"),
    "micro_stop": ("micro-stops", "#e07b3c"), "stop": ("stops", "#b3262e"),
    "starved": ("starved", "#6a8fc4"), "blocked": ("blocked", "#3f5f99"),
    "changeover": ("changeover", "#8e6bb0"), "planned": ("planned", "#b9b9b9"),
    "no_data": ("no data", "#e4e4e4"), "rejects": ("rejects", "#7a4a2b"),
}
#: Levels told against their reference; short stops and rejects are too few for a percentage.
_LEVELS = {"slow_cycle": "cycle time", "energy_per_part": "energy per part",
           "idle_energy": "power at rest"}
_MACHINES_LIMIT, _SHIFTS_LIMIT, _TOP = 60, 14, 3
_WIDTH, _HEIGHT = 600, 14


def production_section(statements: list[tuple[str, Statement]]) -> str:
    """The section, empty where no machine's production is told."""
    if not statements:
        return ""
    key = " ".join(
        f'<span class="note"><svg width="10" height="10" aria-hidden="true"><rect width="10" '
        f'height="10" fill="{colour}"/></svg> {word}</span>'
        for word, colour in list(WORDS.values())[: len(ledger.HEADINGS)])
    rows = "".join(
        _machine(name, told) for name, told in statements[:_MACHINES_LIMIT])
    left = len(statements) - _MACHINES_LIMIT
    more = f"<p>{plural(left, 'more machine')} not shown.</p>" if left > 0 else ""
    meaning = "".join(
        f"<li>{escape(text.format(minutes=statements[0][1].micro_stop_seconds / 60.0))}</li>"
        for text in ledger.DEFINITIONS)
    return (
        '<section id="losses"><h2>Where the time went</h2>'
        '<p class="note">Every second of a machine is booked once; the sum is the wall time. The '
        "bar is the whole recording, the smaller ones its latest shifts (days in UTC where no "
        f"calendar is given).</p><p>{key}</p>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Losses"><table><thead><tr>'
        "<th>Machine</th><th>Time</th><th>OEE</th><th>Availability</th><th>Performance</th>"
        f"<th>Quality</th><th>Largest losses</th></tr></thead><tbody>{rows}</tbody></table></div>"
        f"{more}<details><summary>Definitions</summary><ul>{meaning}</ul></details></section>"
    )


def _machine(name: str, told: Statement) -> str:
    total = told.total
    shifts = [account for _, _, account in told.shifts if account.production_seconds > 0.0]
    bars = _bar(total, _HEIGHT) + "".join(_bar(one, 6) for one in shifts[-_SHIFTS_LIMIT:])
    worst = "; ".join(
        f"{WORDS[loss.heading][0]} {duration(loss.seconds)}"
        + (f" ({loss.parts:,.0f} parts)" if loss.parts == loss.parts and loss.parts >= 1 else "")
        + (f", {loss.energy:,.1f} {told.energy_unit or 'of energy'}" if loss.energy >= 0.05 else "")
        + (f", {loss.money:,.0f} in money" if loss.money >= 0.5 else "")
        for loss in total.losses(told.prices)[:_TOP])
    cells = "".join(
        f"<td>{_share(value)}</td>"
        for value in (total.oee, total.availability, total.performance, total.quality))
    earlier = told.earlier
    off = off_reference(
        told.trend, told.shifts[-1][2].oee if told.shifts else float("nan"),
        float("nan") if earlier is None else earlier.oee)
    worst += f". Against the reference: {', '.join(off)}" if off else ""
    notes = [f"order {one.name}: OEE {_share(one.oee)}, {duration(one.seconds)} lost"
             for one in of_orders(told)]
    read = "".join(f'<br><span class="note">{escape(text)}</span>'
                   for text in (*notes, *told.read_from))
    return (f'<tr><td class="name"><bdi>{escape(short(name))}</bdi></td><td>{bars}{read}</td>'
            f"{cells}<td>{escape(worst) or 'none'}</td></tr>")


def off_reference(
    trend: Sequence[tuple[str, float, float]], oee: float, earlier_oee: float
) -> list[str]:
    """What is off its reference of late by a percent or more, and what the shifts made of it.

    ``trend``: as in ``production.Statement``; ``oee`` of the latest shift and of those before it,
    NaN = not known.
    """
    off = [f"{_LEVELS[kind]} {100.0 * (recent / usual - 1.0):+.1f} %"
           for kind, usual, recent in trend
           if kind in _LEVELS and usual > 0.0 and abs(recent / usual - 1.0) >= 0.01]
    if oee == oee and earlier_oee == earlier_oee:
        off.append(
            f"OEE of the latest shift {percent(oee)}, of those before {percent(earlier_oee)}")
    return off


def _bar(account: ledger.Account, height: int) -> str:
    wall = max(int(account.booked_ns.sum()), 1)
    at, pieces = 0.0, []
    for heading, ns in zip(ledger.HEADINGS, account.booked_ns.tolist(), strict=True):
        width = _WIDTH * ns / wall
        if width > 0.0:
            word, colour = WORDS[heading]
            pieces.append(
                f'<rect x="{at:.2f}" width="{width:.2f}" height="{height}" fill="{colour}">'
                f"<title>{word} {duration(ns / 1e9)}</title></rect>")
        at += width
    return (f'<svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH // 2}" height="{height}" '
            f'preserveAspectRatio="none" role="img" aria-label="time by heading">'
            f"{''.join(pieces)}</svg><br>")


def _share(value: float) -> str:
    return "–" if value != value else percent(value)
