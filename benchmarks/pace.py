"""What does a recording's length have to do with its false alarms? Rows of a second, judged thrice.

Run: ``python -m benchmarks.pace [--seeds 3] [--out FILE]``; one JSON object. A healthy simulated
line of five machines is written by ``andon simulate`` and judged by ``andon replay`` as a new user
starts it, with every row as it is read (``--row-seconds 0`` and the settings' 500 rows to learn
from), and as the live service does: these rows first, means of a minute once 500 of them are known
(``windows.later_row_seconds``). Ids: ``pace.<recording>.<chosen|as_read|live>``: alerts of machines
and losses, and the promised ones, machine-weeks judged times the budget of one; and how many fired
in the first twelve hours, before a machine had means enough. Nothing is injected: each alert is a
false one.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from streams.fast_rows import LATER_ROW_SECONDS
from streams.simulation.config import DEFAULT_START_NS

#: Name: what is simulated. Around the clock, in shifts, and a fortnight with weekends and weather.
RECORDINGS = {
    "hours_8": ("--hours", "8", "--no-shifts"),
    "hours_24": ("--hours", "24", "--no-shifts"),
    "days_14": ("--hours", "336", "--interval-seconds", "10"),
}
#: Twelve hours after the start of a simulation, as alerts tell the time.
EARLY = datetime.fromtimestamp(DEFAULT_START_NS / 1e9 + 12 * 3600, UTC).isoformat()
#: A given number to learn from, one off the default, is kept by ``andon replay``.
AS_READ = ("--row-seconds", "0", "--config")
_WEEKS = {"machine-weeks": 1.0, "d": 1 / 7, "h": 1 / 168, "min": 1 / 10_080, "s": 1 / 604_800}
_JUDGED = re.compile(r"readings in .*? rows\. (.*?) (?:of machine time )?could be judged")


def main(arguments: Sequence[str]) -> int:
    """Print every figure as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="lines of each length")
    parser.add_argument("--out", type=Path, help="write the result here too")
    options = parser.parse_args(arguments)
    result = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        as_read, live = folder / "as_read.toml", folder / "live.toml"
        as_read.write_text("warm_up_rows = 501\n", encoding="utf-8")
        live.write_text(
            f"warm_up_rows = 501\n[windows]\nlater_row_seconds = {LATER_ROW_SECONDS}\n",
            encoding="utf-8")
        hows = {"as_read": (*AS_READ, as_read), "live": (*AS_READ, live), "chosen": ()}
        for recording, what in RECORDINGS.items():
            for how, more in hows.items():
                counts = [_judged(folder, what, seed, more) for seed in range(options.seeds)]
                alerts, early, weeks = map(sum, zip(*counts, strict=True))
                result[f"pace.{recording}.{how}"] = {
                    "alerts": alerts, "in_the_first_12_hours": early,
                    "promised": round(weeks, 2), "ratio": round(alerts / weeks, 1),
                }
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    return 0


def _judged(
    folder: Path, what: Sequence[str], seed: int, more: Sequence[object]
) -> tuple[int, int, float]:
    """Alerts, those of the first hours and machine-weeks judged of one line."""
    recording, out = folder / "line.parquet", folder / "out"
    _andon("simulate", "--out", recording, "--seed", seed, *what)
    said = _andon("replay", recording, "--out", out, "--no-report", *more)
    found = _JUDGED.search(said)
    weeks = _weeks(found.group(1)) if found else 0.0
    lines = (out / "alerts.jsonl").read_text(encoding="utf-8").splitlines()
    fired = {alert["id"]: alert["time"] for alert in map(json.loads, reversed(lines))
             if alert["state"] == "firing"}
    early = sum(time < EARLY for time in fired.values())
    return len(fired), early, weeks


def _weeks(words: str) -> float:
    """``1 d 18 h`` or ``3.7 machine-weeks`` as weeks."""
    return sum(float(number.replace(",", "")) * _WEEKS[unit]
               for number, unit in re.findall(r"([\d.,]+) ([a-z-]+)", words))


def _andon(*arguments: object) -> str:
    return subprocess.run(
        [sys.executable, "-m", "streams", *map(str, arguments)], check=True, capture_output=True,
        text=True).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
