"""The page: one HTML document with its style, its script and its charts inside, opened offline.

Nothing is fetched from anywhere, and a content security policy forbids it. Every foreign word goes
through ``escape``; anchors are numbers, never names. The same recording gives the same bytes: there
is no clock here, not even for a date of printing.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

from anomaly import evaluate
from anomaly.evaluate import Lead
from streams.report.cards import asset_section
from streams.report.charts import axis_data, gauge, lane, merged, x_labels
from streams.report.collector import ReportCollector
from streams.report.production import production_section
from streams.report.summary import Summary, Warned, kind_of, summarise, warned_sentence
from streams.report.view import View
from streams.report.words import escape, listed, percent, plural, short

#: Rows of the page's tables; the rest are counted.
FAILURES_LISTED, UNJUDGED_LISTED = 60, 40

_LAMP = (
    '<svg viewBox="0 0 13 30" aria-hidden="true"><rect x="1" y="1" width="11" height="8" rx="2" '
    'fill="var(--high)"/><rect x="1" y="10" width="11" height="8" fill="var(--low)"/>'
    '<rect x="1" y="19" width="11" height="8" rx="2" fill="var(--centre)"/>'
    '<rect x="5" y="27" width="3" height="3" fill="var(--soft)"/></svg>'
)
_HATCH = (
    '<svg class="hidden" aria-hidden="true"><defs><pattern id="hatch" width="6" height="6" '
    'patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hatch-ground" '
    'width="6" height="6"/><line class="hatch-line" x1="0" x2="0" y1="0" y2="6"/></pattern></defs>'
    "</svg>"
)


def page(collector: ReportCollector) -> str:
    """The whole document."""
    summary = summarise(collector)
    view = View(collector, summary)
    script = _resource("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; " \
             "base-uri 'none'; form-action 'none'"
    losses = production_section(collector.statements())
    parts = [_failures(view, summary), _timeline(view), losses, _machines(view),
             _unjudged(summary), _reading(summary)]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(summary.title)} – andon report</title>\n"
        f"<style>\n{_resource('style.css')}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#content">Skip to the content</a>\n{_HATCH}\n'
        f'{_header(summary)}\n<main id="content">\n'
        f"{_navigation(view, summary, bool(losses))}\n" + "\n".join(part for part in parts if part)
        + f"\n</main>\n<footer><p class=\"note\">Written by andon{_version()} from the recording "
        f"alone. {_zone(summary)} Nothing on this page is loaded from elsewhere.</p></footer>\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _header(summary: Summary) -> str:
    unjudged = summary.unjudged_note()
    return (
        f'<header class="page"><p class="kicker">{_LAMP}<span>andon report · '
        f"<bdi>{escape(summary.title)}</bdi></span></p>"
        f'<h1>{escape(summary.headline())}</h1><p class="lead">{escape(summary.watched())}</p>'
        f'{_tiles(summary)}<div class="promise"><p>{escape(summary.promise())}</p>'
        f"{_gauge(summary)}</div>" + (f"<p>{escape(unjudged)}</p>" if unjudged else "")
        + "</header>"
    )


def _gauge(summary: Summary) -> str:
    count, seconds = summary.held_against
    if not seconds > 0:
        return ""
    scale = summary.clock.period_weeks
    low, high = (bound * scale for bound in evaluate.per_week_interval(count, seconds))
    rate = evaluate.per_week(count, seconds)
    told = (summary.clock.rate_number(summary.budget_per_week), summary.clock.rate_number(rate))
    return gauge(low, rate * scale, high, summary.budget_per_week * scale, told)


def _tiles(summary: Summary) -> str:
    clock = summary.clock
    severities = listed([f"{count:,} {name}" for name, count in summary.by_severity], 4)
    tiles = [("Alerts", f"{summary.alerts:,}", severities or "none fired")]
    if summary.judged_assets:
        tiles.append(("Alert rate", clock.rate_number(summary.alerts_per_week),
                      f"{clock.period} and machine; promised at most "
                      f"{clock.rate_number(summary.budget_per_week)} false ones"))
    if summary.warned is not None and summary.warned.leads:
        hit, total = evaluate.event_recall(summary.warned.leads)
        lead = evaluate.median_lead_seconds(summary.warned.leads)
        told = f"median {clock.duration(lead)} ahead; " if hit else ""
        tiles.append(("Failures announced", f"{hit} of {total}",
                      f"{told}chance alone: {percent(summary.warned.chance)}"))
    if summary.counted_only:
        tiles.append(("Judged", "counts", "cycles, stops and what they cost; no level"))
    else:
        tiles.append(("Judged", clock.duration(summary.judged_seconds),
                  f"of machine time, on {summary.judged_assets:,} of "
                  f"{plural(summary.assets, 'machine')}"))
    return '<dl class="tiles">' + "".join(
        f'<div><dt>{name}</dt><dd><span class="figure">{figure}</span>'
        f'<span class="note">{escape(note)}</span></dd></div>' for name, figure, note in tiles
    ) + "</dl>"


def _navigation(view: View, summary: Summary, losses: bool) -> str:
    links = [("failures", "Failures")] if summary.warned is not None else []
    links += [("timeline", "Timeline")] + [("losses", "Where the time went")] * losses
    links.append(("machines", "Machines and alerts"))
    if summary.unjudged or summary.data_note():
        links.append(("unjudged", "Not judged, and why"))
    links.append(("reading", "How to read this page"))
    items = "".join(f'<li><a href="#{target}">{name}</a></li>' for target, name in links)
    return f'<nav aria-label="On this page"><ul>{items}</ul></nav>' if view.assets else ""


def _failures(view: View, summary: Summary) -> str:
    warned = summary.warned
    if warned is None:
        return ""
    clock = summary.clock
    text = ['<section id="failures"><h2>Failures: warned in time?</h2>']
    if warned.leads:
        text.append(_recall(summary, warned))
        items = [(lead, reason) for lead, reason in zip(warned.leads, warned.reasons, strict=True)]
        text.append('<ul class="leads">' + "".join(
            f"<li>{escape(warned_sentence(lead, clock, reason))}</li>" for lead, reason in items[:8]
        ) + "</ul>")
        text.append(_lead_table(view, warned))
    if warned.outside:
        names = [f"{short(f.asset)} at {clock.instant(f.time_ns)}" for f in warned.outside]
        text.append(f"<p>{plural(len(names), 'failure')} could not be judged, because the "
                    "recording does not cover the machine at that time: "
                    f"{escape(listed(names, 5))}.</p>")
    return "".join(text) + "</section>"


def _recall(summary: Summary, warned: Warned) -> str:
    clock = summary.clock
    hit, total = evaluate.event_recall(warned.leads)
    window = warned.window
    span = f"the last {clock.duration(window.horizon_seconds)} before it"
    if window.minimum_seconds:
        span += f", but at least {clock.duration(window.minimum_seconds)} ahead"
    return (
        f"<p>{hit:,} of {plural(total, 'failure')} announced. As many alerts at random times would "
        f"have announced {percent(warned.chance)}. An alert counts as a warning if it begins in "
        f"{span}; one that was already standing does not. The price: "
        f"{clock.rate_number(summary.alerts_per_week)} alerts {clock.period} and machine, "
        f"{len(warned.false_alarms):,} of all {summary.alerts:,} false.</p>"
        + ('<p class="note">Nobody said how early is early enough, so this window follows from the '
           "recording's length; <code>horizon_seconds</code> in the section <code>[replay]</code> "
           "of the configuration sets it.</p>" if warned.window_is_default else "")
    )


def _lead_table(view: View, warned: Warned) -> str:
    clock = view.collector.clock
    kinds = len({lead.failure.kind for lead in warned.leads}) > 1
    rows = []
    for lead in warned.leads[:FAILURES_LISTED]:
        rows.append(
            f'<tr><td>{_time(view, lead.failure.time_ns)}</td><td class="name">'
            f"<bdi>{escape(short(lead.failure.asset))}</bdi></td>"
            f'<td class="verdict">{_VERDICTS[lead.verdict]}</td>'
            f'<td class="n">{clock.duration(lead.lead_seconds)}</td>'
            f"<td>{_alert_link(view, lead)}</td>"
            + (f"<td>{escape(kind_of(lead.failure))}</td>" if kinds else "") + "</tr>"
        )
    left = len(warned.leads) - len(rows)
    more = f"<p>{plural(left, 'more failure')} not listed.</p>" if left > 0 else ""
    return (
        f"<p class=\"note\">Lead time: from the alert's firing to the failure. "
        f"{_zone(view.summary)}</p>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Lead times"><table>'
        "<thead><tr><th>Failure</th><th>Machine</th><th>Verdict</th>"
        f'<th class="n">Lead time</th><th>Alert</th>{"<th>Kind</th>" if kinds else ""}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{more}"
    )


_VERDICTS = {"warned": "✓ warned", "standing": "– stood before", "missed": "✗ missed"}


def _alert_link(view: View, lead: Lead) -> str:
    if lead.firing is None:
        return "none"
    name = f"Alert {view.number(lead.firing.id)}"
    anchor = view.anchor(lead.firing.id)
    return f'<a href="#{anchor}">{name}</a>' if anchor else name


def _timeline(view: View) -> str:
    if not view.assets:
        return ""
    collector = view.collector
    rows = []
    for asset in view.lanes:
        counters = collector.assets[asset.index]
        marks = merged(view.span, view.marks(asset))
        described = f"{asset.name}: {plural(len(asset.cases), 'alert')}, {asset.state}"
        drawing = lane(
            view.span, collector.timeline.flags(asset.index), view.gap_ns(asset.index),
            int(counters["first_judged_ns"]), marks, [f.time_ns for f in asset.failures], described,
        )
        name = f"<bdi>{escape(asset.name)}</bdi>"
        if asset in view.detailed:
            name = f'<a href="#machine-{asset.index}">{name}</a>'
        count = plural(len(asset.cases), "alert")
        if not asset.cases:
            count = "no alert" if counters["judged_rows"] else "never judged"
        rows.append(f'<div><span class="name" title="{escape(asset.name)}">{name}</span>'
                    f'<span class="count">{count}</span>{drawing}</div>')
    left = view.assets[len(view.lanes):]
    more = ""
    if left:
        alerts = sum(len(asset.cases) for asset in left)
        more = (f"<p>{plural(len(left), 'more machine')} not drawn, with "
                f"{plural(alerts, 'alert') if alerts else 'no alert'} in all.</p>")
    return (
        f'<section id="timeline"><h2>Timeline</h2>{_hint()}{_legend(view)}'
        f'<div class="lanes" data-zoom="page" {axis_data(view.span)}>{"".join(rows)}'
        f"<div>{x_labels(view.span)}</div></div>{more}</section>"
    )


def _legend(view: View) -> str:
    swatch = '<svg aria-hidden="true">{}</svg>'
    items = [
        (swatch.format('<rect class="judged" y="4" width="26" height="7"/>'), "judged, no alert"),
        (swatch.format('<rect class="warming" y="4" width="26" height="7"/>'),
         "learning what is usual, not judged"),
        (swatch.format('<rect class="nothing" y="4" width="26" height="7"/>'), "no data"),
    ]
    for style, name in (("low", "low"), ("medium", "medium"), ("high", "high"),
                        ("data", "sensor fault or data gap")):
        said = name if style == "data" else f"alert, {name}"
        items.append((swatch.format(f'<rect class="alert {style}" x="8" width="10" height="14"/>'),
                      said))
    if view.collector.failures:
        items.append((swatch.format('<path class="stop" d="M13 0V14M9 0H17L13 7Z"/>'), "failure"))
    return '<ul class="legend">' + "".join(f"<li>{a}{b}</li>" for a, b in items) + "</ul>"


def _hint() -> str:
    return (
        '<p class="note hint">Drag across a chart to zoom; all charts of the whole recording '
        "follow. With the keyboard: <kbd>Tab</kbd> to a chart, <kbd>←</kbd> <kbd>→</kbd> to read "
        "values, "
        "<kbd>+</kbd> <kbd>−</kbd> to zoom, <kbd>Esc</kbd> for the whole. "
        '<button type="button" id="whole">Show the whole recording</button></p>'
    )


def _machines(view: View) -> str:
    if not view.assets:
        return ""
    shown = view.detailed
    left = len(view.assets) - len(shown)
    eventful = sum(1 for asset in view.assets if asset.cases or asset.failures) - len(
        [asset for asset in shown if asset.cases or asset.failures])
    more = ""
    if left > 0:
        quiet = left - eventful
        parts = [plural(eventful, "more machine") + " with alerts"] if eventful else []
        parts += [f"{plural(quiet, 'machine')} without alerts"] if quiet else []
        more = f"<p>Not shown: {' and '.join(parts)}.</p>"
    return (
        '<section id="machines"><h2>Machines and alerts</h2>'
        '<p class="note">Blue: the signal, from its lowest to its highest value in every pixel. '
        "Green: the expected band and its centre. Shaded: an alert from its onset; its bar on top "
        f"begins where it fired. {_zone(view.summary)}</p>"
        + "".join(asset_section(view, asset) for asset in shown) + more + "</section>"
    )


def _unjudged(summary: Summary) -> str:
    if not summary.unjudged and not summary.data_note():
        return ""
    text = ['<section id="unjudged"><h2>Not judged, and why</h2>']
    if summary.data_note():
        text.append(f"<p>{escape(summary.data_note())}</p>")
    if summary.unjudged:
        states = listed([f"{count:,} {state}" for state, count in summary.conditions], 4)
        rows = "".join(
            f'<tr><td class="name"><bdi>{escape(short(item.asset))}</bdi></td>'
            f'<td class="name"><bdi>{escape(short(item.sensor)) or "all sensors"}</bdi></td>'
            f"<td>{escape(item.state)}</td><td>{escape(item.detail)}</td></tr>"
            for item in summary.unjudged[:UNJUDGED_LISTED]
        )
        text.append(
            f"<p>Machines as the recording ended: {escape(states)}.</p>"
            '<div class="scroll" tabindex="0" role="region" aria-label="Not judged"><table>'
            "<thead><tr><th>Machine</th><th>Sensor</th><th>Condition</th><th>Why</th></tr></thead>"
            f"<tbody>{rows}</tbody></table></div>"
        )
        left = len(summary.unjudged) - UNJUDGED_LISTED
        if left > 0:
            text.append(f"<p>{left:,} more not listed.</p>")
    return "".join(text) + "</section>"


def _reading(summary: Summary) -> str:
    words = [
        ("Alert", "Opened by the program when a machine's readings are rarer than the budget "
         "allows, closed when they no longer are. It begins when it fires; its onset, found "
         "afterwards, may lie earlier."),
        ("Rarity", "How seldom readings this odd come while this machine is healthy, estimated "
         "from its own history. Rarer means odder, not worse."),
        ("Expected band", "Where a healthy reading is expected, from the machine's own reference. "
         "Readings may stay inside it and still alert: the sensors together, or their course, can "
         "be odd."),
        ("Budget", f"The false alarms that were asked for: at most "
         f"{summary.clock.rate(summary.budget_per_week)} per machine. It is the one setting. The "
         "95 % interval says what a count this small can and cannot tell."),
        ("Assumed", "The warm-up was healthy and like the healthy time to come, with several "
         "swings of whatever wanders slowly, such as day and night; what is rarer than anything "
         "seen goes on as the rarest of what was seen. Nothing rarer than thirty times a "
         "machine's history is claimed. Where this does not hold, neither does the promise."),
        ("Not judged", "Warming: the engine has not seen enough yet. Blind: it cannot say "
         "anything, for the reason given. Neither is the same as healthy."),
    ]
    if summary.warned is not None:
        words.insert(1, ("Warning", "An alert that begins in the window before a failure. One that "
                         "begins in no window is a false alarm, even if something else was "
                         "wrong. What speaks of a loss is neither."))
    items = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in words)
    return (f'<section id="reading"><h2>How to read this page</h2><dl class="words">{items}</dl>'
            "</section>")


def _zone(summary: Summary) -> str:
    return summary.clock.note


def _time(view: View, time_ns: int) -> str:
    clock = view.collector.clock
    if not clock.has_dates:
        return clock.instant(time_ns)
    told = clock.instant(time_ns).replace("\u00a0", " ")
    return f'<time datetime="{clock.machine_readable(time_ns)}">{told}</time>'


def _version() -> str:
    try:
        return f" {version('andon')}"
    except PackageNotFoundError:  # run from a checkout
        return ""


def _resource(name: str) -> str:
    return files("streams.report").joinpath(name).read_text(encoding="utf-8")
