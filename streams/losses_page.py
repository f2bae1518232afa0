"""The ledger in words: lines for the terminal, and one page without any other file.

No figure is made here; whatever is shown stands in the result. Names from files are escaped.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from anomaly import inefficiency, ledger
from anomaly.explain import loss_sentence
from streams.losses_booking import Result
from streams.report.production import WORDS, off_reference
from streams.report.words import escape, printable, short

_SHIFTS_LIMIT = 60
_TOP = 5
_ORDERS_TOLD = 8
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;color:#222}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin:2rem 0 .4rem}
table{border-collapse:collapse;margin:.5rem 0 1rem}
td,th{padding:.15rem .8rem .15rem 0;text-align:right}
td:first-child,th:first-child{text-align:left}th{font-weight:600;border-bottom:1px solid #bbb}
.bar{display:flex;height:1.3rem;border-radius:3px;overflow:hidden;background:#eee;margin:.15rem 0}
.bar i{display:block}.row{display:grid;grid-template-columns:15rem 1fr 4rem;gap:.6rem}
.row span:last-child{text-align:right}.key i{display:inline-block;width:.8em;height:.8em;
margin:0 .3em 0 1em;border-radius:2px}.note{color:#666;font-size:.9rem}
@media (prefers-color-scheme:dark){body{background:#16181b;color:#ddd}.note{color:#999}}
"""


def table(result: Result) -> list[str]:
    """Lines for the terminal: each asset's OEE, and its largest losses."""
    lines = []
    unit = result.how.get("energy", "")
    for a, name in enumerate(result.names):
        account = result.accounts[a]
        lines.append(f"{printable(short(name))}: OEE {_percent(account.oee)} = availability "
                     f"{_percent(account.availability)} x performance "
                     f"{_percent(account.performance)} x quality {_percent(account.quality)}")
        booked = ", ".join(
            f"{WORDS[heading][0]} {_minutes(int(ns) / 1e9)}"
            for heading, ns in zip(ledger.HEADINGS, account.booked_ns, strict=True) if ns)
        lines.append(f"  {account.wall_seconds / 3600.0:.2f} h: {booked}")
        for loss in account.losses(result.prices)[:_TOP]:
            lines.append("  - " + ", ".join(_loss(loss, unit)))
        lines += [f"  order {order}: OEE {_percent(own.oee)}, "
                  f"{_minutes(_lost_seconds(own))} lost, {own.parts:,.0f} parts"
                  for order, _, own in result.by_order[a][-_ORDERS_TOLD:]]
        off = _of_late(result, a)
        if off:
            lines.append(f"  against the reference: {', '.join(off)}")
        if name in result.how:
            lines.append(f"  states: {printable(result.how[name])}")
        for row in result.findings[(result.findings["asset"] == a)
                                   & (result.findings["firing"] == 1)][:_TOP]:
            lines.append(f"  ! {_finding(row, name, unit)}")
    lines += [f"{text.format(minutes=result.minutes)}" for text in ledger.DEFINITIONS]
    return lines


def page(result: Result) -> str:
    """The page, as text."""
    unit = result.how.get("energy", "")
    parts = ["<!doctype html><html lang=en><meta charset=utf-8><title>Losses</title>",
             f"<style>{_STYLE}</style><h1>Where the minutes went</h1><p class=key>"]
    parts += [f"<i style='background:{colour}'></i>{word}"
              for word, colour in list(WORDS.values())[: len(ledger.HEADINGS)]]
    parts.append("</p>")
    for a, name in enumerate(result.names):
        account = result.accounts[a]
        parts.append(f"<h2>{escape(short(name))}</h2>")
        parts.append(f"<p>OEE <b>{_percent(account.oee)}</b> = availability "
                     f"{_percent(account.availability)} &times; performance "
                     f"{_percent(account.performance)} &times; quality "
                     f"{_percent(account.quality)}</p>")
        parts.append(_bar("all", account))
        shown = [(shift, own) for shift, own in zip(result.shifts, result.by_shift[a], strict=True)
                 if own.production_seconds > 0.0]
        for shift, own in shown[-_SHIFTS_LIMIT:]:
            parts.append(_bar(_when(shift.name, _day(shift.start_ns)), own))
        if len(shown) > _SHIFTS_LIMIT:
            parts.append(f"<p class=note>The last {_SHIFTS_LIMIT} of {len(shown)} shifts.</p>")
        parts.append("<table><tr><th>loss<th>time<th>parts<th>energy<th>money<th>lowers</tr>")
        for loss in account.losses(result.prices):
            parts.append(
                f"<tr><td>{WORDS[loss.heading][0]}<td>{_minutes(loss.seconds)}"
                f"<td>{_amount(loss.parts)}<td>{_energy(loss.energy, unit)}"
                f"<td>{_amount(loss.money) if loss.money else ''}<td>{loss.factor}</tr>")
        parts.append("</table>")
        orders = result.by_order[a][-_SHIFTS_LIMIT:]
        if orders:
            parts.append("<table><tr><th>order<th>since<th>OEE<th>lost<th>parts</tr>")
            parts += [f"<tr><td>{escape(order)}<td>{_day(start_ns, 'm')}<td>{_percent(own.oee)}"
                      f"<td>{_minutes(_lost_seconds(own))}<td>{_amount(own.parts)}</tr>"
                      for order, start_ns, own in orders]
            parts.append("</table>")
        off = _of_late(result, a)
        if off:
            parts.append(f"<p>Against the reference: {escape(', '.join(off))}</p>")
        if name in result.how:
            parts.append(f"<p class=note>States: {escape(result.how[name])}</p>")
        own = result.findings[(result.findings["asset"] == a) & (result.findings["firing"] == 1)]
        if own.size:
            parts.append("<ul>")
            parts += [f"<li>{escape(_finding(row, name, unit))}" for row in own[:50]]
            parts.append("</ul>")
    parts.append("<h2>Definitions</h2><ul class=note>")
    parts += [f"<li>{escape(text.format(minutes=result.minutes))}" for text in ledger.DEFINITIONS]
    parts.append("</ul></html>\n")
    return "\n".join(parts)


def _lost_seconds(account: ledger.Account) -> float:
    return sum(int(account.booked_ns[heading]) for heading in ledger.LOSSES) / 1e9


def _of_late(result: Result, a: int) -> list[str]:
    """What is off its reference, and the latest shift against those before it."""
    told = [own for own in result.by_shift[a] if own.production_seconds > 0.0]
    earlier = ledger.summed(told[:-1]).oee if len(told) > 1 else float("nan")
    return off_reference(result.trend[a], told[-1].oee if told else float("nan"), earlier)


def _energy(energy: float, unit: str) -> str:
    return f"{_amount(energy)} {escape(unit)}" if energy or unit else ""


def _when(name: str, day: str) -> str:
    """The shift and its day; a day that is no shift is told once."""
    return day if name == day else f"{name}, {day}"


def _bar(label: str, account: ledger.Account) -> str:
    wall = max(account.wall_seconds, 1e-9)
    pieces = "".join(
        f"<i style='width:{100.0 * seconds / wall:.3f}%;background:{WORDS[heading][1]}' "
        f"title='{WORDS[heading][0]} {_minutes(seconds)}'></i>"
        for heading, ns in zip(ledger.HEADINGS, account.booked_ns, strict=True)
        if (seconds := int(ns) / 1e9) > 0.0)
    return (f"<div class=row><span>{escape(short(label))}</span><div class=bar>{pieces}</div>"
            f"<span>{_percent(account.oee)}</span></div>")


def _loss(loss: ledger.Loss, unit: str) -> list[str]:
    found = [f"{WORDS[loss.heading][0]} {_minutes(loss.seconds)}"]
    if loss.parts == loss.parts and loss.parts:
        found.append(f"{_amount(loss.parts)} parts")
    if loss.energy:
        found.append(f"{_amount(loss.energy)} {printable(unit)}")
    if loss.money:
        found.append(f"{_amount(loss.money)} in money")
    return found


def _finding(row: Any, name: str, unit: str) -> str:
    """One sentence for one finding, as the live engine tells it."""
    kind = inefficiency.KINDS[row["kind"]]
    unit = unit.removesuffix("h") if kind in ("energy_per_part", "idle_energy") else ""
    return loss_sentence(
        "en", kind, "firing", short(name), int(row["since_ns"]), float(row["expected"]),
        float(row["actual"]), float(row["cycle_seconds"]), unit if unit == "kW" else "")


def _percent(share: float) -> str:
    return "-" if share != share else f"{100.0 * share:.1f} %"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60.0:,.1f} min"


def _amount(value: float) -> str:
    return "-" if value != value else f"{value:,.1f}"


def _day(time_ns: int, precision: str = "D") -> str:
    text = str(np.datetime64(time_ns, "ns").astype(f"datetime64[{precision}]"))
    return text.replace("T", " ") + (" UTC" if precision != "D" else "")
