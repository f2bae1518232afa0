"""``andon losses``: where the minutes, the parts and the energy of recordings went.

Files in; a table on the terminal, ``losses.json`` and one self-contained page out. Only the command
line and the plain document are here; ``losses_booking`` does the work, ``losses_page`` the words.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from anomaly import inefficiency, ledger, states
from anomaly.config import parse_budget
from anomaly.errors import ConfigError
from anomaly.production_roles import given_states
from streams import settings as settings_module
from streams.errors import EXIT_OK, OutputError, UsageError
from streams.losses_booking import ROLES, LossesOptions, Result, booked, read_rows
from streams.losses_page import page, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``andon losses``."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE",
                        help="CSV (also compressed) or Parquet, wide or long")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="where losses.json and losses.html go")
    parser.add_argument("--calendar", type=Path, metavar="FILE",
                        help="shifts, breaks and planned stops: .toml, .csv or .ics")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings, TOML")
    for role in ROLES:
        parser.add_argument(f"--{role}-column", default="", metavar="NAME")
    parser.add_argument("--parts-per-row", default="", metavar="NAME",
                        help="a column with the parts made since the row before")
    parser.add_argument("--states", default="", metavar="N=STATE,...",
                        help=f"numbers or words of the state column (default PackML): "
                             f"{', '.join(states.STATES[1:])}")
    parser.add_argument("--cycle-seconds", action="append", default=[], metavar="[ASSET=]SECONDS",
                        help="nominal cycle, repeatable (default: learned from the first 40)")
    parser.add_argument("--line", default="", metavar="A,B,C",
                        help="stations in the order of the parts: tells starved from blocked")
    parser.add_argument("--budget", default="1/week", metavar='"N/PERIOD"',
                        help="false findings accepted per machine (default 1/week)")
    parser.add_argument("--micro-stop-minutes", type=float, default=5.0, metavar="N",
                        help="a shorter stop is a micro-stop (default 5)")
    parser.add_argument("--hold-minutes", type=float, default=0.0, metavar="N",
                        help="how long a row holds; for tags sent only when they change")
    for name, of in (("hour", "of lost production"), ("part", "rejected"), ("kwh", "drawn")):
        parser.add_argument(f"--price-per-{name}", type=float, default=0.0, metavar="N", help=of)


def run(args: argparse.Namespace) -> int:
    """Run ``andon losses``; returns the exit code."""
    try:
        budget = parse_budget(args.budget)
    except ConfigError as error:
        raise UsageError(f"--budget: {str(error).removeprefix('budget: ')}") from error
    options = LossesOptions(
        files=tuple(args.files), out=args.out, calendar=args.calendar, config=args.config,
        columns={role: getattr(args, f"{role}_column") for role in ROLES},
        parts_per_row=args.parts_per_row,
        states=_states(args),
        cycle_seconds=_cycle_seconds(args.cycle_seconds),
        line=tuple(name.strip() for name in args.line.split(",") if name.strip()),
        budget_per_week=budget,
        prices=ledger.Prices(args.price_per_hour, args.price_per_part, args.price_per_kwh),
        micro_stop_seconds=60.0 * args.micro_stop_minutes,
        hold_seconds=60.0 * args.hold_minutes,
    )
    return losses(options, sys.stdout, sys.stderr)


def losses(options: LossesOptions, stdout: TextIO, stderr: TextIO) -> int:
    """Book recordings and write what came out.

    Raises
    ------
    StreamsError
        An input, a setting or an output that cannot be used.
    """
    if options.out.exists() and not options.out.is_dir():
        raise UsageError(f"--out {options.out}: this is a file; name a directory")
    result = booked(read_rows(options), options)
    for line in table(result):
        stdout.write(f"{line}\n")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for name, text in (("losses.json", json.dumps(document(result), indent=1) + "\n"),
                           ("losses.html", page(result))):
            (options.out / name).write_text(text, encoding="utf-8")
            stderr.write(f"written: {options.out / name}\n")
    except OSError as error:
        raise OutputError(f"{error.filename}: cannot be written: {error.strerror}") from error
    return EXIT_OK


def document(result: Result) -> dict[str, object]:
    """The result as plain values."""
    definitions = [text.format(minutes=result.minutes) for text in ledger.DEFINITIONS]
    return {
        "format": 1, "definitions": definitions, "found": result.how,
        "headings": list(ledger.HEADINGS),
        "assets": {
            name: {
                **_plain(result.accounts[a], result.prices),
                "nominal_cycle_seconds": [n / 1e9 for n in result.nominal_ns[a].tolist() if n],
                "shifts": [
                    {"name": shift.name, "start_ns": shift.start_ns, "end_ns": shift.end_ns,
                     **_plain(result.by_shift[a][s], result.prices)}
                    for s, shift in enumerate(result.shifts)
                    if result.by_shift[a][s].wall_seconds > 0.0
                ],
                "orders": [
                    {"name": order, "start_ns": start_ns, **_plain(account, result.prices)}
                    for order, start_ns, account in result.by_order[a]
                ],
                "trend": {kind: {"usual": _number(usual), "of_late": _number(recent)}
                          for kind, usual, recent in result.trend[a]},
                "findings": [
                    {"kind": inefficiency.KINDS[row["kind"]],
                     "state": "firing" if row["firing"] else "resolved",
                     "since_ns": int(row["since_ns"]), "time_ns": int(row["time_ns"]),
                     "expected": _number(row["expected"]), "actual": _number(row["actual"])}
                    for row in result.findings[result.findings["asset"] == a]
                ],
            }
            for a, name in enumerate(result.names)
        },
    }


def _plain(account: ledger.Account, prices: ledger.Prices) -> dict[str, object]:
    return {
        "booked_seconds": {
            name: int(ns) / 1e9
            for name, ns in zip(ledger.HEADINGS, account.booked_ns, strict=True)},
        "wall_seconds": account.wall_seconds, "production_seconds": account.production_seconds,
        "parts": account.parts, "rejects": account.rejects,
        "energy": float(account.energy.sum()),
        **{name: _number(getattr(account, name))
           for name in ("availability", "performance", "quality", "oee")},
        "losses": [
            {"heading": loss.heading, "factor": loss.factor, "seconds": loss.seconds,
             "parts": _number(loss.parts), "energy": loss.energy, "money": loss.money}
            for loss in account.losses(prices)],
    }


def _number(value: float) -> float | None:
    return float(value) if value == value else None


def _states(args: argparse.Namespace) -> tuple[str, ...]:
    if not args.states:
        return settings_module.load(args.config, {}).monitor.losses.states
    texts = tuple(args.states.split(","))
    try:
        given_states(texts)
    except ConfigError as error:
        raise UsageError(f"--{error}") from None
    return texts


def _cycle_seconds(texts: Sequence[str]) -> dict[str, float]:
    found = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            seconds = float(number)
        except ValueError:
            seconds = 0.0
        if not 0.0 < seconds < 1e6:
            raise UsageError(f"--cycle-seconds {text}: expected SECONDS or ASSET=SECONDS")
        found[name] = seconds
    return found
