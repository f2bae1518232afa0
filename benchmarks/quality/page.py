"""One self-contained HTML page of the tables and plots; it opens offline and needs no script."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence

from benchmarks.quality.outcomes import CaseOutcome
from benchmarks.quality.results import Results, aim_text, as_json, cell, figure, sections, words
from benchmarks.quality.rows import MARKS

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; margin: 0; }
main { max-width: 76rem; margin: 0 auto; padding: 1.2rem; }
h1 { font-size: 1.6rem; margin: 0.5rem 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 0.5rem; }
figure { margin: 1.6rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption { color: #555; font-size: 0.9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.82rem; }
th, td { border-bottom: 1px solid #ddd; padding: 0.25rem 0.6rem; text-align: left; }
td { vertical-align: top; }
th { background: #f4f4f4; }
td.n { white-space: nowrap; font-variant-numeric: tabular-nums; }
td.reached { background: #e3f4ec; }
code { font-size: 0.8rem; white-space: nowrap; }
td:nth-child(2), td:nth-child(3) { min-width: 13rem; }
.note { color: #555; font-size: 0.9rem; }
.warn { background: #fff3cd; padding: 0.5rem 0.8rem; }
"""

_INTRODUCTION = (
    "One fixed configuration on every set; alerts are judged, not points; the budget is the only "
    "knob. Beside every recall stands what as many alerts at random times would hit."
)


def page(results: Results, outcomes: Mapping[str, Sequence[CaseOutcome]]) -> str:
    """The whole page.

    Parameters
    ----------
    results : Results
        What the tables say.
    outcomes : mapping
        Outcomes by method, for the plots that look closer.
    """
    from benchmarks.quality.plots import all_plots

    facts = as_json(results)
    versions = ", ".join(f"{name} {release}" for name, release in facts["versions"].items())
    machine = f"Python {facts['machine']['python']}, {html.escape(versions)}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Quality of detection</title><style>{_STYLE}</style></head><body><main>",
        "<h1>Quality of detection</h1>",
        f'<p class="note">{_INTRODUCTION}</p>',
        f'<p class="note">Protocol <code>{facts["protocol"]}</code>; {machine}.</p>',
    ]
    if results.is_fast:
        parts.append('<p class="warn">Fast subset only: not to be quoted.</p>')
    for caption, svg in all_plots(results, outcomes):
        source = base64.b64encode(svg.encode()).decode()
        parts.append(
            f'<figure><img alt="{html.escape(caption)}" src="data:image/svg+xml;base64,{source}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )
    parts += [_table(results, heading, ids) for heading, ids in sections(results)]
    parts.append(_differences(results))
    parts.append(_limits(results))
    parts.append("</main></body></html>")
    return "\n".join(parts) + "\n"


def _table(results: Results, heading: str, ids: Sequence[str]) -> str:
    """One family of rows."""
    head = "".join(
        f"<th>{html.escape(name)}</th>" for name in ("id", "what", "record", "aim", *results.rows)
    )
    lines = []
    for row_id in ids:
        mark = MARKS.get(row_id)
        cells = [
            f"<td><code>{row_id}</code></td>",
            f"<td>{html.escape(words(results, row_id))}</td>",
            f"<td>{html.escape(mark.record) if mark else ''}</td>",
            f'<td class="n">{html.escape(aim_text(row_id))}</td>',
        ]
        for rows in results.rows.values():
            row = rows.get(row_id)
            title = f' title="{html.escape(row.detail)}"' if row and row.detail else ""
            kind = "n reached" if row and _is_reached(row_id, row.value) else "n"
            cells.append(f'<td class="{kind}"{title}>{html.escape(cell(row))}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<h2>{html.escape(heading)}</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _differences(results: Results) -> str:
    """Paired differences of every pair."""
    if not results.differences:
        return ""
    lines = []
    for one in results.differences:
        pair = html.escape(f"{one.method} − {one.control}")
        interval = f"{figure(one.low)} to {figure(one.high)}"
        lines.append(
            f"<tr><td><code>{one.id}</code></td><td>{pair}</td>"
            f'<td class="n">{figure(one.value)}</td><td class="n">{interval}</td></tr>'
        )
    head = "<th>id</th><th>difference</th><th>value</th><th>95 %</th>"
    return (
        '<h2>Differences, paired</h2><div class="wide"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _limits(results: Results) -> str:
    """What a method did not see, and what was not there."""
    items = [
        f"{method} sees less: {note} ({count} recordings)"
        for method, notes in results.notes.items()
        for note, count in sorted(notes.items())
    ]
    items += [f"skipped, not in the data folder: {name}" for name in results.absent]
    if not items:
        return ""
    listed = "".join(f"<li>{html.escape(item)}</li>" for item in items)
    return f'<h2>Limits</h2><ul class="note">{listed}</ul>'


def _is_reached(row_id: str, value: float) -> bool:
    """Whether the aim is reached; NaN never does."""
    mark = MARKS.get(row_id)
    if mark is None:
        return False
    if row_id == "Q-PROMISE-RATIO":
        return 0.5 <= value <= mark.aim
    return value <= mark.aim if mark.at_most else value >= mark.aim
