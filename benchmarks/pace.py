"""What does a recording's length have to do with its false alarms? Rows of a second, judged thrice.

Run: ``python -m benchmarks.pace [--seeds 6] [--out FILE]``; one JSON object. A healthy simulated
line of five machines is written by ``andon simulate`` and judged by ``andon replay`` as a new user
starts it, with every row as it is read (``--row-seconds 0`` and the settings' 500 rows to learn
from), and as the live service does: these rows first, means of a minute once 500 of them are known
(``windows.later_row_seconds``), learned anew from 3,000. Ids:
``pace.<recording>.<chosen|as_read|live>``: alerts of machines and losses, and the promised ones,
machine-weeks judged times the budget of one; how many fired in the first twelve hours, before a
machine had means enough, and how many tell of a loss. Nothing is injected: each alert is a false
one, though what a week's dirt adds to the energy of a part is there to be found.
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

from anomaly import inefficiency
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
    parser.add_argument("--seeds", type=int, default=6, help="lines of each length")
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
            counts: dict[str, list[tuple[int, int, int, float]]] = {how: [] for how in hows}
            for seed in range(options.seeds):
                line = folder / "line.parquet"
                _andon("simulate", "--out", line, "--seed", seed, *what)
                for how, more in hows.items():
                    counts[how].append(_judged(line, folder / "out", more))
            for how, found in counts.items():
                alerts, early, losses, weeks = map(sum, zip(*found, strict=True))
                result[f"pace.{recording}.{how}"] = {
                    "alerts": alerts, "in_the_first_12_hours": early, "of_losses": losses,
                    "promised": round(weeks, 2), "ratio": round(alerts / weeks, 1),
                }
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    return 0


def _judged(
    recording: Path, out: Path, more: Sequence[object]
) -> tuple[int, int, int, float]:
    """Alerts, those of the first hours, those of losses, and machine-weeks judged of one line."""
    said = _andon("replay", recording, "--out", out, "--no-report", *more)
    found = _JUDGED.search(said)
    weeks = _weeks(found.group(1)) if found else 0.0
    lines = (out / "alerts.jsonl").read_text(encoding="utf-8").splitlines()
    fired = {alert["id"]: alert for alert in map(json.loads, reversed(lines))
             if alert["state"] == "firing"}
    early = sum(alert["time"] < EARLY for alert in fired.values())
    losses = sum(alert["kind"] in inefficiency.KINDS for alert in fired.values())
    return len(fired), early, losses, weeks


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
