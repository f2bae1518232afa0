"""One machine on the page: its whole recording, then a card for every alert that deserves one.

A card answers in the order in which a person asks: what is wrong, since when, how sure, and which
sensors say so. HTML only; what is shown is chosen in view.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from anomaly.batches import Contribution
from streams.report.charts import chart
from streams.report.collector import Case
from streams.report.summary import kind_of
from streams.report.view import LISTED, AssetView, View, style, title
from streams.report.words import escape, percent, plural, rarity

#: Sensors named with their share in a card.
EVIDENCE = 6


def asset_section(view: View, asset: AssetView) -> str:
    """The machine's section: what it is, its charts, its alerts."""
    overview = [view.overview(asset, column) for column in view.sensors(asset)]
    charts = [chart(item) for item in overview if item is not None]
    odd = view.rarity(asset)
    if odd is not None:
        charts.append(chart(odd).replace('class="chart"', 'class="chart small"', 1))
    sensors = len(view.collector.registry.sensors[asset.index])
    drawn = len(charts) - (odd is not None)
    left = ""
    if sensors > drawn:
        left = f'<p class="note">{plural(sensors - drawn, "more sensor")} of this machine not drawn'
        left += "; those above carry most of the evidence.</p>" if asset.cases else ".</p>"
    return (
        f'<section class="asset" id="machine-{asset.index}" aria-labelledby="name-{asset.index}">'
        f'<header><h3 id="name-{asset.index}"><bdi>{escape(asset.name)}</bdi></h3>'
        f'<span class="note">{escape(_state(view, asset))}</span></header>'
        + "".join(charts) + left
        + "".join(_card(view, asset, case) for case in asset.cards) + _rest(view, asset)
        + "</section>"
    )


def _state(view: View, asset: AssetView) -> str:
    counters = view.collector.assets[asset.index]
    clock = view.collector.clock
    text = f"{plural(len(asset.cases), 'alert') if asset.cases else 'no alert'}"
    if counters["judged_rows"]:
        text += f"; judged from {clock.instant(int(counters['first_judged_ns']))} on"
    else:
        text += "; never judged"
    if counters["gaps"]:
        text += (f"; {plural(int(counters['gaps']), 'gap')} in the data, "
                 f"{clock.duration(float(counters['gap_seconds']))} in all")
    if asset.state:
        text += f"; at the end {asset.state}" + (f" ({asset.detail})" if asset.detail else "")
    return text


def _card(view: View, asset: AssetView, case: Case) -> str:
    clock = view.collector.clock
    place = view.number(case.id)
    facts = [("Fired", clock.instant(case.begin_ns, seconds=True))]
    if case.onset_ns < case.begin_ns:
        facts.append(("Onset", clock.instant(case.onset_ns, seconds=True)))
    facts.append(("Duration", view.lasted(case)))
    if not case.of_data:
        facts.append(("Rarity", rarity(case.return_period_seconds, clock)))
    if case.time_left_seconds is not None:
        low, middle, high = (clock.duration(seconds) for seconds in case.time_left_seconds)
        facts.append(("Time left when it fired", f"{middle} (between {low} and {high})"))
    worth = _worth(view, case)
    if worth:
        facts.append(("In hindsight", worth))
    charts = [chart(item) for item in view.closeups(asset, case)]
    charts[1:] = [text.replace('class="chart"', 'class="chart small"', 1) for text in charts[1:]]
    meta = "".join(f"<div><dt>{name}</dt><dd>{escape(text)}</dd></div>" for name, text in facts)
    return (
        f'<article class="alert-card {style(case)}" id="alert-{place}" '
        f'aria-labelledby="title-{place}"><div class="top"><h4 id="title-{place}">Alert {place}: '
        f'{escape(title(case))}</h4><span class="badge {style(case)}">{escape(case.severity)}'
        f'</span></div><p class="sentence" dir="auto">{escape(case.sentence)}</p>'
        f'<dl class="meta">{meta}</dl>'
        f"{''.join(charts)}{_evidence(view, asset, case.contributions)}</article>"
    )


def _worth(view: View, case: Case) -> str:
    """What the alert turned out to be, where failures can tell."""
    warned = view.summary.warned
    if warned is None or case.of_data:
        return ""
    clock = view.collector.clock
    for lead in warned.leads:
        if lead.verdict == "warned" and lead.firing is not None and lead.firing.id == case.id:
            return (f"it announced the {kind_of(lead.failure)} at "
                    f"{clock.instant(lead.failure.time_ns)}, "
                    f"{clock.duration(lead.lead_seconds)} ahead")
    if case.of_loss:
        return "a loss, which no failure need follow"
    if case.of_stop:
        return "an interruption at equal times, told beside the budget"
    if any(firing.id == case.id for firing in warned.false_alarms):
        horizon = clock.duration(warned.window.horizon_seconds)
        return f"a false alarm, as no failure followed within {horizon}"
    return "near a failure, but not its first warning"


def _evidence(view: View, asset: AssetView, contributions: Sequence[Contribution]) -> str:
    if not contributions:
        return ""
    rows = "".join(
        f'<tr><td class="name"><bdi>{escape(part.sensor)}</bdi></td><td class="share">'
        '<svg aria-hidden="true"><rect class="track" width="100%" height="100%"/><rect '
        f'width="{100 * min(1.0, max(0.0, part.share)):.1f}%" height="100%"/></svg>'
        f'<span>{percent(part.share)}</span></td>'
        f'<td class="n">{view.value(asset, part.sensor, part.actual)}</td>'
        f'<td class="n">{view.value(asset, part.sensor, part.expected)}</td></tr>'
        for part in contributions[:EVIDENCE]
    )
    left = len(contributions) - EVIDENCE
    more = ""
    if left > 0:
        more = f'<p class="note">{plural(left, "more sensor")} with smaller shares.</p>'
    return (
        '<div class="evidence scroll"><table><caption>Which sensors say so, as the alert fired; '
        "values in each sensor's own unit</caption><thead><tr><th>Sensor</th><th>Share of the "
        'evidence</th><th class="n">Actual</th><th class="n">Expected</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>{more}</div>"
    )


def _rest(view: View, asset: AssetView) -> str:
    """Alerts without a card, in a line each; beyond that a count."""
    shown = {case.id for case in asset.cards}
    rest = [case for case in asset.cases if case.id not in shown]
    if not rest:
        return ""
    clock = view.collector.clock
    rows = "".join(
        f'<tr><td class="n">{view.number(case.id)}</td><td>{clock.instant(case.begin_ns)}</td>'
        f"<td>{escape(view.lasted(case))}</td><td>{escape(case.severity)}</td>"
        f'<td class="name" dir="auto">{escape(case.sentence)}</td></tr>' for case in rest[:LISTED]
    )
    left = len(rest) - LISTED
    more = f"<p>{plural(left, 'more alert')} of this machine not listed.</p>" if left > 0 else ""
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Further alerts"><table>'
        f"<caption>{plural(len(rest), 'further alert')} of this machine</caption><thead><tr>"
        '<th class="n">No.</th>'
        "<th>Fired</th><th>Duration</th><th>Severity</th><th>Sentence</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>{more}"
    )
