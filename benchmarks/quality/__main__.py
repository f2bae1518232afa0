"""``python -m benchmarks.quality``: every method on every set, tables, JSON and a page of plots.

Only what changed since the last run is run again.  A full run writes
``benchmarks/results/quality.json`` and ``quality.html``; a part (``--set``, ``--method``,
``--fast``) only prints, unless ``--out`` names a folder.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.quality import command_line
from benchmarks.quality.datasets import ALL_SETS, data_folder, has_set
from benchmarks.quality.methods import Entry, entries, missing
from benchmarks.quality.outcomes import CaseOutcome
from benchmarks.quality.results import Results, as_json, form, markdown
from benchmarks.quality.runner import Done, run
from benchmarks.quality.store import default_folder

_RESULTS = Path(__file__).resolve().parents[1] / "results"
_USAGE_EXIT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the protocol; 0 when done, 2 for usage or where there is no data."""
    table = entries()
    options = _parser(table).parse_args(arguments)
    if data_folder() is None:
        print(
            "no data folder: set ANDON_DATA or put shared/data beside the checkout", file=sys.stderr
        )
        return _USAGE_EXIT
    sets = options.set or list(ALL_SETS)
    methods = options.method or list(table)
    for name, library in missing().items():
        print(f"skipped: {name}, {library} is not installed (extra: bench)", file=sys.stderr)
    if not command_line.is_runnable():
        print("skipped: andon, this checkout has no command line", file=sys.stderr)
    bar = _Bar(sys.stderr.isatty())
    outcomes = run(methods, sets, options.store, options.jobs, options.fast, bar)
    bar.end()
    controls = [name for name in methods if table[name].is_control]
    absent = [name for name in sets if not has_set(name)]
    results = form(outcomes, controls, absent, options.fast)
    print(markdown(results))
    whole = not (options.set or options.method or options.fast)
    folder = options.out or (_RESULTS if whole else None)
    if folder is not None:
        _write(folder, results, outcomes)
        print(f"\nwritten: {folder / 'quality.json'}, {folder / 'quality.html'}", file=sys.stderr)
    return 0


def _write(folder: Path, results: Results, outcomes: dict[str, list[CaseOutcome]]) -> None:
    from benchmarks.quality.page import page

    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(as_json(results), indent=1, ensure_ascii=False)
    (folder / "quality.json").write_text(text + "\n", encoding="utf-8")
    (folder / "quality.html").write_text(page(results, outcomes), encoding="utf-8")


def _parser(table: dict[str, Entry]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument(
        "--set", action="append", choices=ALL_SETS, help="only this set; repeatable"
    )
    parser.add_argument(
        "--method", action="append", choices=list(table), help="only this; repeatable"
    )
    parser.add_argument(
        "--fast", action="store_true", help="a fixed small subset, for a quick look"
    )
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 2), help="processes")
    parser.add_argument(
        "--store", type=Path, default=default_folder(), help="where outcomes are kept"
    )
    parser.add_argument("--out", type=Path, help="folder for quality.json and quality.html")
    return parser


class _Bar:
    """Progress on a terminal: pieces done, time left; silent elsewhere."""

    def __init__(self, is_terminal: bool) -> None:
        self._is_terminal = is_terminal
        self._started = time.monotonic()

    def __call__(self, count: int, total: int, done: Done) -> None:
        """Redraw after a piece."""
        if not self._is_terminal:
            return
        spent = time.monotonic() - self._started
        left = spent / count * (total - count)
        filled = 30 * count // total
        known = " (known)" if done.known == len(done.outcomes) else ""
        line = f"[{'#' * filled}{'.' * (30 - filled)}] {count}/{total}  {left / 60:.0f} min left  "
        line += f"{done.piece.method} on {done.piece.set_name}{known}"
        print(f"\r{line[:110]:<110}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line."""
        if self._is_terminal:
            print(file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
