"""The command line: ``andon COMMAND …``. Wiring only; every command lives in a module of its own.

A command's modules are imported when it is chosen, so that ``andon --help`` is as fast as Python.
Exit codes: 0 done, 1 a finding (an input that cannot be used, a lint finding), 2 wrong usage,
78 a setting that cannot be used.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType

from streams import live_cli
from streams.errors import (
    EXIT_CONFIG,
    EXIT_FINDING,
    EXIT_INTERRUPTED,
    EXIT_OK,
    StreamsError,
)


@dataclass(frozen=True, slots=True)
class Command:
    """One command: what it is for, its options, and what runs it."""

    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def entry() -> None:
    """The console script.

    An interrupt that falls into a callback of the compiler is swallowed there and comes out as some
    other error, so it is noted before it is raised.
    """
    interrupts: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    sys.meta_path.insert(0, _WithoutPandas)
    try:
        code = main(sys.argv[1:])
    except Exception:
        if not interrupts:
            raise
        print("andon: interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    sys.exit(code)


class _WithoutPandas:
    """pandas is not to be had in this process.

    pyarrow imports it where it is installed, for objects that nobody here has: a seventh of the
    time to the first verdict.
    """

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is left out", name=fullname)


def main(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code.

    Every error that the program raises on purpose ends as one line on standard error. Anything
    else is a bug and shows its traceback.
    """
    try:
        return _run(arguments)
    except StreamsError as error:
        print(f"andon: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("andon: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left: nothing to complain about
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def _run(arguments: Sequence[str]) -> int:
    chosen = arguments[0] if arguments else ""
    parser = argparse.ArgumentParser(
        prog="andon",
        description="The lamp over a production line that lights before the line has to stop.",
        epilog="andon COMMAND --help tells a command's options. Start with: andon demo",
    )
    parser.add_argument("--version", action="store_true", help="say the version, and stop")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.summary, description=command.summary)
        if name == chosen:  # another command's options may cost imports
            command.add_arguments(sub)
    parsed = parser.parse_args(arguments)
    if parsed.version:
        return _version(parsed)
    if parsed.command is None:
        parser.print_help()
        return EXIT_OK
    return _guarded(COMMANDS[parsed.command], parsed)


def _guarded(command: Command, parsed: argparse.Namespace) -> int:
    """Run the command; the engine's own errors become lines too."""
    from anomaly.errors import AnomalyError, StateError

    try:
        return command.run(parsed)
    except AnomalyError as error:
        print(f"andon: {error}", file=sys.stderr)
        return EXIT_CONFIG if isinstance(error, StateError) else EXIT_FINDING
    except BrokenPipeError:
        raise
    except OSError as error:  # a full or vanished disk in the middle of the work
        where = f"{error.filename}: " if error.filename else ""
        print(f"andon: {where}{error.strerror or error}", file=sys.stderr)
        return EXIT_FINDING


def _replay_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE",
                        help="CSV (also compressed) or Parquet, wide or long")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="where alerts.jsonl, report.html and rejected.jsonl go")
    parser.add_argument("--scores", type=Path, metavar="FILE",
                        help="one line per input row, .parquet or .csv")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings, TOML")
    parser.add_argument("--warm-up", type=_positive, metavar="ROWS",
                        help="rows of the file to learn from before anything is judged")
    parser.add_argument("--row-seconds", type=float, metavar="SECONDS",
                        help="judge on means of so many seconds, 0 = on every row; chosen where a "
                             "long recording's rows follow too fast for the budget, unless "
                             "--warm-up or --scores is given")
    parser.add_argument("--budget", metavar='"N/PERIOD"',
                        help='false alarms accepted per machine, such as "1/week" (the default)')
    parser.add_argument("--failures", type=Path, metavar="FILE",
                        help="CSV of asset, time[, kind]: tells how early each was announced")
    parser.add_argument("--asset-column", default="", metavar="NAME")
    parser.add_argument("--time-column", default="", metavar="NAME")
    parser.add_argument("--no-report", action="store_true", help="write no report.html")
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors")


def _replay(parsed: argparse.Namespace) -> int:
    from streams.replay import ReplayOptions, replay

    options = ReplayOptions(
        files=tuple(parsed.files), out=parsed.out, scores=parsed.scores, config=parsed.config,
        warm_up_rows=parsed.warm_up, budget=parsed.budget, failures=parsed.failures,
        asset_column=parsed.asset_column, time_column=parsed.time_column,
        row_seconds=parsed.row_seconds, report=not parsed.no_report, quiet=parsed.quiet,
    )
    return replay(options, sys.stdout, sys.stderr)


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("andon-out"), metavar="DIR",
                        help="where the alerts and the report go (default andon-out)")
    parser.add_argument("--seed", type=int, default=0, help="another shift (default 0)")
    parser.add_argument("--kafka", metavar="HOST:PORT",
                        help="through this broker and two workers, one of which is killed")
    parser.add_argument("--page", nargs="?", type=int, const=9464, metavar="PORT",
                        help="show it live at http://127.0.0.1:PORT/ (default 9464) until Ctrl-C")
    parser.add_argument("--speed", type=float, default=60.0, metavar="TIMES",
                        help="with --page: how much faster than ours the hall's time runs "
                             "(default 60)")


def _demo(parsed: argparse.Namespace) -> int:
    if parsed.kafka:
        from streams import live_demo

        return live_demo.demo(parsed.kafka, parsed.seed, sys.stdout, sys.stderr)
    from streams.demo import PageOptions, demo
    from streams.errors import UsageError

    if not (0.1 <= parsed.speed <= 100_000 and (parsed.page is None or 0 <= parsed.page < 65_536)):
        raise UsageError("--speed must be between 0.1 and 100000, --page a port")
    page = None if parsed.page is None else PageOptions(parsed.page, parsed.speed)
    return demo(parsed.out, parsed.seed, sys.stdout, sys.stderr, page)


def _simulate_arguments(parser: argparse.ArgumentParser) -> None:
    from streams import simulate

    simulate.add_arguments(parser)


def _simulate(parsed: argparse.Namespace) -> int:
    from streams import simulate

    return simulate.run(parsed)


def _losses_arguments(parser: argparse.ArgumentParser) -> None:
    from streams import losses

    losses.add_arguments(parser)


def _losses(parsed: argparse.Namespace) -> int:
    from streams import losses

    return losses.run(parsed)


def _lint_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="settings, TOML")


def _lint(parsed: argparse.Namespace) -> int:
    from streams.settings import findings, load

    found = findings(parsed.config)
    for finding in found:
        print(finding)
    if found:
        return EXIT_FINDING
    from anomaly import memory_plan
    from streams.fast_rows import for_service

    print(f"{parsed.config}: no findings")
    print(memory_plan.plan(for_service(load(parsed.config)).monitor).sentence())
    return EXIT_OK


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    """A command without options."""


def _version(parsed: argparse.Namespace) -> int:
    from importlib.metadata import PackageNotFoundError, version

    try:
        print(f"andon {version('andon')}")
    except PackageNotFoundError:
        print("andon (not installed: run from its sources)")
    return EXIT_OK


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return number


COMMANDS = {
    "replay": Command("judge recordings: alerts, scores and a report",
                      _replay_arguments, _replay),
    "demo": Command("watch a simulated shift and its alerts as they come",
                    _demo_arguments, _demo),
    "simulate": Command("write a simulated recording, with faults if wanted",
                        _simulate_arguments, _simulate),
    "losses": Command("book every second of recordings: losses, OEE, what got worse",
                      _losses_arguments, _losses),
    "lint": Command("check settings without connecting to anything",
                    _lint_arguments, _lint),
    "run": Command("watch a Kafka topic and raise alerts, exactly once",
                   live_cli.add_service_arguments, live_cli.run),
    "dry-run": Command("connect to Kafka and say what would be read",
                       live_cli.add_run_arguments, live_cli.dry_run),
    "inspect": Command("say what the live service's state holds, trusted or blind",
                       live_cli.add_inspect_arguments, live_cli.inspect),
    "ack": Command("acknowledge an alert", live_cli.add_acknowledge_arguments,
                   live_cli.acknowledge),
    "shelve": Command("mark an asset's alerts as shelved for some hours",
                      live_cli.add_shelve_arguments, live_cli.shelve),
    "feedback": Command("say that an alert was false, real or planned",
                        live_cli.add_feedback_arguments, live_cli.feedback),
    "maintenance": Command("say that maintenance was done: the asset is learned anew",
                           live_cli.add_maintenance_arguments, live_cli.maintenance),
    "ledger": Command("list what such commands did, or take one back",
                      live_cli.add_ledger_arguments, live_cli.ledger),
    "version": Command("say the version", _no_arguments, _version),
}

if __name__ == "__main__":
    entry()
