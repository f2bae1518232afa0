"""Charts as inline SVG, made here so that the page needs nothing from anywhere else.

A chart is a figure: an SVG that stretches to the width there is, and labels as HTML beside it, so
that text stays crisp at any width. The drawing has its own units (``WIDTH`` × ``HEIGHT``) inside a
nested SVG; zooming, which script.js adds, only moves that inner one. Everything readable without.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from anomaly.batches import Float64, Int64
from streams.report.timeline import JUDGED, Envelope, UInt8
from streams.report.words import Clock, escape, number, plural

#: Units of a chart's drawing; integers there are half a pixel here, which is all an eye sees.
WIDTH, HEIGHT = 2000, 400
#: Cells drawn per signal; more are merged by pairs.
DRAWN_CELLS = 640
#: A chart whose extremes are this many times its ordinary range cuts them off, and says so.
_CUT_FACTOR = 12.0
#: Room above and below the signal, as a share of its range.
_MARGIN = 0.08
#: Narrowest mark, in drawing units: an alert of a second in a year must still be seen.
_LEAST_MARK = 4
_STEPS_SECONDS = (
    1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1,
    0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600,
    43_200, 86_400, 172_800, 345_600, 604_800, 1_209_600,
)
_STEPS_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
#: Share of the axis in which a label leans inwards.
_EDGE = 0.07
_X_TICKS, _Y_TICKS = 6, 5
_DAY_NS = 86_400 * 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Least distance of two labels on a rarity axis, as a share of its height.
_TICK_ROOM = 0.18
#: CSS classes of marks, the gravest last.
STYLES = ("data", "low", "medium", "high")
#: Rarer than this is not drawn as rarer: a thousand years, beyond all that a history can support.
_CLAIM_LIMIT_SECONDS = 31_557_600.0e3
#: Ticks of a rarity axis: (seconds, label).
_RARITY_TICKS = (
    (1.0, "1 s"), (60.0, "1 min"), (3_600.0, "1 h"), (86_400.0, "1 d"), (604_800.0, "1 week"),
    (31_557_600.0, "1 year"), (31_557_600.0e3, "1,000 years"),
)


@dataclass(frozen=True, slots=True)
class Span:
    """The time axis of a chart."""

    first_ns: int
    last_ns: int
    clock: Clock

    def at(self, time_ns: int) -> float:
        """Place on the axis, 0..1, clipped to it."""
        width = max(1, self.last_ns - self.first_ns)
        return min(1.0, max(0.0, (time_ns - self.first_ns) / width))

    def overlaps(self, begin_ns: int, end_ns: int) -> bool:
        """Whether any of [begin, end] is on the axis."""
        return begin_ns <= self.last_ns and end_ns >= self.first_ns


@dataclass(frozen=True, slots=True)
class Piece:
    """The expected band of one sensor from one instant to another."""

    begin_ns: int
    end_ns: int
    low: float
    centre: float
    high: float


@dataclass(frozen=True, slots=True)
class Mark:
    """An alert, or several too close to be told apart, on a chart or lane.

    From ``onset_ns`` on it is washed, from ``begin_ns`` (when it fired) it has a cap. ``anchor`` is
    the fragment to jump to, empty where the page has none; ``style`` is a CSS class.
    """

    onset_ns: int
    begin_ns: int
    end_ns: int
    anchor: str
    style: str
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One signal with everything that is marked in it.

    ``gap_ns`` is the step between cells beyond which the line is broken; ``title`` and ``note`` are
    plain text, ``described`` what a screen reader is told.
    """

    span: Span
    title: str
    note: str
    described: str
    envelope: Envelope
    band: Sequence[Piece] = ()
    marks: Sequence[Mark] = ()
    failures_ns: Sequence[int] = ()
    gap_ns: int = 0
    is_rarity: bool = False
    shares_zoom: bool = False


def chart(spec: Chart) -> str:
    """The chart as an HTML figure."""
    envelope = _thinned(spec.envelope)
    low, high = envelope.low, envelope.high
    if spec.is_rarity:
        low = high = np.log10(np.clip(high, 1e-9, _CLAIM_LIMIT_SECONDS))
        bottom = float(math.floor(low.min()))
        top, cut = max(bottom + 5.0, math.ceil(float(high.max()))), False
    else:
        bottom, top, cut = _range(low, high, spec.band)
    band, edges = _bands(spec, bottom, top)
    body = [band, _marks(spec), _grid(spec, bottom, top), edges]
    body.append(f'<path class="signal" d="{_outline(spec, envelope, low, high, bottom, top)}"/>')
    body += [_stop(spec.span.at(t)) for t in spec.failures_ns if spec.span.overlaps(t, t)]
    note = spec.note
    if cut:
        note += (f" Peaks beyond the axis are cut: they reach from {number(float(low.min()))} "
                 f"to {number(float(high.max()))}.")
    zoom = "page" if spec.shares_zoom else "own"
    return (
        f'<figure class="chart" data-zoom="{zoom}" {axis_data(spec.span)} '
        f'data-bottom="{bottom:.9g}" data-top="{top:.9g}"'
        f'{" data-rarity" if spec.is_rarity else ""}>'
        f"<figcaption><b><bdi>{escape(spec.title)}</bdi></b> "
        f'<span class="note">{escape(note)}</span></figcaption>'
        f'<div class="plot">{_y_labels(spec, bottom, top)}'
        f'<svg class="view" role="img" aria-label="{escape(spec.described)}">'
        f'<svg class="inner" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" '
        f'width="100%" height="100%">{"".join(body)}</svg></svg>{x_labels(spec.span)}'
        "</div></figure>"
    )


def lane(
    span: Span,
    flags: tuple[Int64, UInt8, int] | None,
    gap_ns: int,
    first_judged_ns: int,
    marks: Sequence[Mark],
    failures_ns: Sequence[int],
    described: str,
) -> str:
    """One asset's line on the timeline: judged, warming, no data, and its alerts.

    ``first_judged_ns`` is 0 if the asset never was; later stretches without an opinion are drawn
    like warming ones, because the engine is learning anew there.
    """
    shapes = []
    for style, begin, end in _stretches(span, flags, gap_ns):
        left, width = 100 * span.at(begin), 100 * (span.at(end) - span.at(begin))
        shapes.append(f'<rect class="{style}" x="{left:.3f}%" width="{max(width, 0.05):.3f}%" '
                      'y="30%" height="40%"/>')
    for mark in marks:
        left = 100 * span.at(mark.begin_ns)
        width = max(0.4, 100 * (span.at(mark.end_ns) - span.at(mark.begin_ns)))
        label = escape(mark.label)
        shape = (f'<title>{label}</title><rect class="alert {mark.style}" x="{left:.3f}%" '
                 f'width="{width:.3f}%" y="8%" height="84%" rx="1.5"/>')
        shapes.append(f'<a href="#{mark.anchor}" aria-label="{label}">{shape}</a>'
                      if mark.anchor else f"<g>{shape}</g>")
    shapes += [
        f'<svg x="{100 * span.at(t):.3f}%" overflow="visible">'
        '<path class="stop" d="M0 0V40M-4 0H4L0 7Z"/></svg>'
        for t in failures_ns if span.overlaps(t, t)
    ]
    return (
        f'<svg class="view lane" role="group" aria-label="{escape(described)}">'
        f'<svg class="inner" width="100%" height="100%">{"".join(shapes)}</svg></svg>'
    )


def gauge(
    low: float, value: float, high: float, budget: float, told: tuple[str, str]
) -> str:
    """Promised against achieved on one scale: a dot, its 95 % interval, and the budget's line.

    ``told`` are the budget and the achieved rate as the rest of the page writes them.
    """
    top = 1.15 * max(budget, min(high, 4.0 * max(budget, value)), 1e-9)
    def at(rate: float) -> float:
        return 100.0 * min(1.0, rate / top)
    described = (f"Achieved {told[1]}, 95 % interval {number(low, 2)} to {number(high, 2)}; "
                 f"promised at most {told[0]}.")
    over = '<path class="interval" d="M0 -5L6 0L0 5Z"/>' if high > top else ""
    return (
        f'<figure class="gauge"><svg role="img" aria-label="{escape(described)}">'
        '<line class="rule" x1="0" x2="100%" y1="26" y2="26"/>'
        f'<rect class="room" x="0" width="{at(budget):.2f}%" y="20" height="12"/>'
        f'<line class="interval" x1="{at(low):.2f}%" x2="{at(high):.2f}%" y1="26" y2="26"/>'
        f'<svg x="{at(high):.2f}%" y="26" overflow="visible">{over}</svg>'
        f'<line class="budget" x1="{at(budget):.2f}%" x2="{at(budget):.2f}%" y1="12" y2="40"/>'
        f'<circle class="achieved" cx="{at(value):.2f}%" cy="26" r="5"/></svg>'
        f'<span class="label" style="--at:{at(budget):.2f}%">promised {told[0]}</span>'
        f'<span class="label under" style="--at:{at(value):.2f}%">achieved {told[1]}'
        "</span></figure>"
    )


def axis_data(span: Span) -> str:
    """The axis for script.js: microseconds since 1970, or rows."""
    unit = span.clock.row_ns or 1_000
    kind = "row" if span.clock.row_ns else "start" if span.clock.from_start else "time"
    return (f'data-axis="{kind}" data-from="{span.first_ns / unit:.10g}" '
            f'data-to="{span.last_ns / unit:.10g}"' if span.clock.row_ns else
            f'data-axis="{kind}" data-from="{span.first_ns // unit}" '
            f'data-to="{-(-span.last_ns // unit)}"')


def x_labels(span: Span) -> str:
    """Ticks of the time axis as a list beside the drawing; the first of each day says the day."""
    items = []
    told = ""
    for time_ns, label, context in _x_ticks(span):
        below = f"<small>{context}</small>" if context and context != told else ""
        told = context or told
        at = span.at(time_ns)
        # A label at the edge leans inwards, as what sticks out is cut off.
        side = ' class="l"' if at < _EDGE else ' class="r"' if at > 1 - _EDGE else ""
        items.append(f'<li{side} style="left:{100 * at:.2f}%">{label}{below}</li>')
    return f'<ol class="x" aria-hidden="true">{"".join(items)}</ol>'


def _x_ticks(span: Span) -> list[tuple[int, str, str]]:
    if span.clock.row_ns:
        first, last = span.first_ns / span.clock.row_ns, span.last_ns / span.clock.row_ns
        step = max(1.0, _nice((last - first) / _X_TICKS))
        start = math.ceil(first / step)
        rows = [k * step for k in range(start, start + 2 * _X_TICKS + 1) if k * step <= last]
        return [(round(r * span.clock.row_ns), f"{r:,.0f}", "rows") for r in rows]
    wanted = max(1e-6, (span.last_ns - span.first_ns) / 1e9 / _X_TICKS)
    if wanted > _STEPS_SECONDS[-1] and not span.clock.from_start:
        return _month_ticks(span, wanted / 2_629_800.0)
    step_seconds = next(
        (s for s in _STEPS_SECONDS if s >= wanted), _nice(wanted / 86_400.0) * 86_400.0
    )
    step_ns = round(step_seconds * 1e9)
    ticks = []
    for time_ns in range(-(-span.first_ns // step_ns) * step_ns, span.last_ns + 1, step_ns):
        moment = _EPOCH + timedelta(microseconds=time_ns // 1_000)
        day = f"{moment.day} {_MONTHS[moment.month - 1]}"
        year = str(moment.year)
        if span.clock.from_start:
            day, year = f"{time_ns // _DAY_NS:,} d", "since the start"
        if step_seconds >= 86_400:
            ticks.append((time_ns, day, year))
        else:
            digits = max(0, -math.floor(math.log10(step_seconds))) if step_seconds < 1 else 0
            text = f"{moment:%H:%M}" if step_seconds >= 60 else f"{moment:%H:%M:%S}"
            text += f".{time_ns % 10**9 // 10**(9 - digits):0{digits}d}" if digits else ""
            ticks.append((time_ns, text, f"+{day}" if span.clock.from_start else f"{day} {year}"))
    return ticks


def _month_ticks(span: Span, wanted_months: float) -> list[tuple[int, str, str]]:
    step = next((s for s in _STEPS_MONTHS if s >= wanted_months), _STEPS_MONTHS[-1])
    moment = _EPOCH + timedelta(microseconds=span.first_ns // 1_000)
    month = -(-(12 * moment.year + moment.month - 1) // step) * step
    ticks: list[tuple[int, str, str]] = []
    while True:
        moment = datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)
        time_ns = (moment - _EPOCH) // timedelta(microseconds=1) * 1_000
        if time_ns > span.last_ns or len(ticks) > 4 * _X_TICKS:
            return ticks
        if time_ns >= span.first_ns:
            ticks.append((time_ns, _MONTHS[moment.month - 1], str(moment.year)))
        month += step


def _y_labels(spec: Chart, bottom: float, top: float) -> str:
    items = []
    for value, label in _y_ticks(spec, bottom, top):
        place = 100 * (top - value) / (top - bottom)
        items.append(f'<li style="top:{place:.2f}%">{label}</li>')
    return f'<ol class="y" aria-hidden="true">{"".join(items)}</ol>'


def _y_ticks(spec: Chart, bottom: float, top: float) -> list[tuple[float, str]]:
    if spec.is_rarity:
        if spec.span.clock.row_ns:
            row = spec.span.clock.row_ns / 1e9
            exponents = range(0, 16, 2)
            ticks = [(math.log10(row) + e, f"10<sup>{e}</sup> rows") for e in exponents]
        else:
            ticks = [(math.log10(seconds), label) for seconds, label in _RARITY_TICKS]
        shown: list[tuple[float, str]] = []
        for tick in ticks:
            apart = not shown or tick[0] - shown[-1][0] >= _TICK_ROOM * (top - bottom)
            if bottom <= tick[0] <= top and apart:
                shown.append(tick)
        return shown
    step = _nice((top - bottom) / _Y_TICKS, (1.0, 2.0, 2.5, 5.0))
    first = math.ceil(bottom / step)
    values = [k * step for k in range(first, first + 2 * _Y_TICKS + 1) if k * step <= top]
    digits = max(1, math.ceil(math.log10(max(abs(bottom), abs(top)) / step)) + 2)
    return [(value, number(value, min(digits, 12))) for value in values]


def _nice(rough: float, steps: Sequence[float] = (1.0, 2.0, 5.0)) -> float:
    """The next of ``steps`` × 10^k at or above ``rough``."""
    if not rough > 0 or math.isinf(rough):
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next((m * power for m in steps if m * power >= rough * 0.999), 10.0 * power)


def _range(low: Float64, high: Float64, band: Sequence[Piece]) -> tuple[float, float, bool]:
    """(bottom, top, whether extremes are cut off) of the value axis."""
    least, most = float(low.min()), float(high.max())
    inner = [float(np.quantile(low, 0.02)), float(np.quantile(high, 0.98))]
    inner += [v for p in band for v in (p.low, p.high) if v == v and abs(v) < math.inf]
    usual = max(inner) - min(inner)
    cut = usual > 0 and (most - least) > _CUT_FACTOR * usual
    if cut:
        least, most = max(least, min(inner) - usual), min(most, max(inner) + usual)
    elif band:
        # The band may be wider than the signal, but must not squeeze it to a line.
        reach = 1.5 * (most - least) if most > least else math.inf
        least = max(min([*inner, least]), least - reach)
        most = min(max([*inner, most]), most + reach)
    room = _MARGIN * (most - least) or max(abs(most) * 0.05, 1e-9)
    return least - room, most + room, cut


def _thinned(envelope: Envelope) -> Envelope:
    while envelope.time_ns.size > DRAWN_CELLS:
        start = np.arange(0, envelope.time_ns.size, 2)
        envelope = Envelope(
            envelope.time_ns[start],
            np.minimum.reduceat(envelope.low, start),
            np.maximum.reduceat(envelope.high, start),
            2 * envelope.width_ns,
        )
    return envelope


def _outline(
    spec: Chart, envelope: Envelope, low: Float64, high: Float64, bottom: float, top: float
) -> str:
    """Per stretch without a gap: along the highs forward, along the lows back."""
    middle = envelope.time_ns + envelope.width_ns // 2
    x = _across(spec.span, middle)
    above, below = _down(high, bottom, top), _down(low, bottom, top)
    broken = np.flatnonzero(np.diff(envelope.time_ns) > envelope.width_ns + spec.gap_ns) + 1
    parts = []
    for part in np.split(np.arange(x.size), broken):
        forward = [f"{x[i]} {above[i]}" for i in part]
        back = [f"{x[i]} {below[i]}" for i in part[::-1]]
        parts.append("M" + "L".join(forward + back) + "Z")
    return "".join(parts)


def _bands(spec: Chart, bottom: float, top: float) -> tuple[str, str]:
    """(the band itself, its edges and centre, which stay visible across the marks)."""
    shapes, edges, centres = [], [], []
    for piece in spec.band:
        if not spec.span.overlaps(piece.begin_ns, piece.end_ns) or piece.low != piece.low:
            continue
        x0, x1 = (round(WIDTH * spec.span.at(t)) for t in (piece.begin_ns, piece.end_ns))
        y = _down(np.array([piece.high, piece.low, piece.centre]), bottom, top)
        shapes.append(f'<rect class="band" x="{x0}" y="{y[0]}" width="{max(1, x1 - x0)}" '
                      f'height="{max(1, y[1] - y[0])}"/>')
        inside = [bottom <= value <= top for value in (piece.high, piece.low, piece.centre)]
        edges += [f"M{x0} {at}H{x1}" for at in y[:2][inside[:2]]]
        centres += [f"M{x0} {at}H{x1}" for at in y[2:][inside[2:]]]
    if not shapes:
        return "", ""
    lines = (f'<path class="edge" d="{"".join(edges)}"/>'
             f'<path class="centre" d="{"".join(centres)}"/>')
    return "".join(shapes), lines


def _marks(spec: Chart) -> str:
    shapes = []
    for mark in spec.marks:
        if not spec.span.overlaps(mark.onset_ns, mark.end_ns):
            continue
        instants = (mark.onset_ns, mark.begin_ns, mark.end_ns)
        onset, begin, end = (round(WIDTH * spec.span.at(t)) for t in instants)
        shapes.append(
            f'<g class="{mark.style}"><title>{escape(mark.label)}</title><rect class="wash" '
            f'x="{onset}" y="0" width="{max(_LEAST_MARK, end - onset)}" height="{HEIGHT}"/><rect '
            f'class="cap" x="{begin}" y="0" width="{max(_LEAST_MARK, end - begin)}" '
            'height="16"/></g>'
        )
    return "".join(shapes)


def _grid(spec: Chart, bottom: float, top: float) -> str:
    ticks = _y_ticks(spec, bottom, top)
    y = _down(np.array([value for value, _ in ticks]), bottom, top)
    return f'<path class="grid" d="{"".join(f"M0 {at}H{WIDTH}" for at in y)}"/>'


def _stop(place: float) -> str:
    x = round(WIDTH * place)
    return f'<path class="stop" d="M{x} 0V{HEIGHT}"/>'


def _across(span: Span, time_ns: Int64) -> Int64:
    width = max(1, span.last_ns - span.first_ns)
    return np.rint(np.clip((time_ns - span.first_ns) / width, 0.0, 1.0) * WIDTH).astype(np.int64)


def _down(value: Float64, bottom: float, top: float) -> Int64:
    share = (top - value) / (top - bottom)
    return np.rint(np.clip(share, 0.0, 1.0) * HEIGHT).astype(np.int64)


def _stretches(
    span: Span, flags: tuple[Int64, UInt8, int] | None, gap_ns: int
) -> list[tuple[str, int, int]]:
    """(style, begin, end) of the runs of buckets in one state; a gap in the data is a hole."""
    if flags is None or not flags[0].size:
        return []
    time_ns, seen, width_ns = flags
    judged = (seen & JUDGED) > 0
    hole = np.diff(time_ns) > width_ns + gap_ns
    begins = np.concatenate([[0], np.flatnonzero((judged[1:] != judged[:-1]) | hole) + 1])
    found = []
    for place, begin in enumerate(begins.tolist()):
        last = int(begins[place + 1]) - 1 if place + 1 < begins.size else time_ns.size - 1
        end = int(time_ns[last]) + width_ns
        if last + 1 < time_ns.size and not hole[last]:
            end = int(time_ns[last + 1])
        found.append(("judged" if judged[begin] else "warming", int(time_ns[begin]),
                      min(end, span.last_ns)))
    return found


def merged(span: Span, marks: Sequence[Mark]) -> list[Mark]:
    """Marks closer than a pixel or two made one, the gravest (last in style order) naming it.

    Bounds what a flood of alerts can draw: never more marks than the axis has room for.
    """
    least = max(1, (span.last_ns - span.first_ns) // (WIDTH // _LEAST_MARK))
    groups: list[list[Mark]] = []
    for mark in sorted(marks, key=lambda mark: mark.begin_ns):
        if groups and mark.begin_ns - groups[-1][0].begin_ns < least:
            groups[-1].append(mark)
        else:
            groups.append([mark])
    return [_one(group) for group in groups]


def _one(group: list[Mark]) -> Mark:
    if len(group) == 1:
        return group[0]
    gravest = max(group, key=lambda mark: (STYLES.index(mark.style), bool(mark.anchor)))
    return Mark(
        min(mark.onset_ns for mark in group), group[0].begin_ns,
        max(mark.end_ns for mark in group), gravest.anchor, gravest.style,
        f"{gravest.label}, and {plural(len(group) - 1, 'more alert')} beside it",
    )
