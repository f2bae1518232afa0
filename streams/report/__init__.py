"""``report.html`` and the summary: what a finished run amounts to, for people.

``collector.py`` takes in batches with bounded memory (``timeline.py``, ``closeup.py``);
``summary.py`` says it in words; ``view.py`` chooses what is shown, ``page.py``, ``cards.py`` and
``charts.py`` draw it, with ``style.css`` and ``script.js`` as the package's own data. Nothing in
here decides anything about an alert, reads a clock, or fetches a thing.
"""

from __future__ import annotations

from streams.report.collector import ReportCollector
from streams.report.summary import Summary
from streams.report.words import Clock

__all__ = ["Clock", "ReportCollector", "Summary"]
