"""The options of the live service's commands; what they do is imported when one is chosen."""

from __future__ import annotations

import argparse
import sys
import typing
from pathlib import Path

if typing.TYPE_CHECKING:
    from streams.commands import Command
    from streams.run_options import RunOptions
    from streams.settings import Settings


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``run`` and ``dry-run``."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings, TOML")
    parser.add_argument("--bootstrap", metavar="HOST:PORT",
                        help="the broker, where the settings name none")
    parser.add_argument("--topic", metavar="NAME", help="where the readings are")
    parser.add_argument("--group", metavar="NAME", help="consumer group and name of the state")


def add_service_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``run``."""
    add_run_arguments(parser)
    parser.add_argument("--input", metavar="FILE",
                        help="read messages from a file, one a line, instead of a topic; - = stdin")
    parser.add_argument("--out", type=Path, default=Path("andon-run"), metavar="DIR",
                        help="with --input: where alerts and state go (default andon-run)")
    parser.add_argument("--follow", action="store_true",
                        help="with --input: wait for more at the end of the file")


def run(parsed: argparse.Namespace) -> int:
    """``andon run``."""
    from dataclasses import replace

    from streams import door
    from streams.health import Status

    options = _options(parsed)
    own = options.tables()
    with door.opened(own["health"], own["metrics"], Status()) as opened:
        from streams import live, local  # for seconds; a probe is answered meanwhile

        settings = options.load()
        if parsed.input:
            given = local.LocalOptions(parsed.input, parsed.out, parsed.follow)
            options = replace(options, local=given)
        return live.run(options, settings, opened, sys.stderr)


def dry_run(parsed: argparse.Namespace) -> int:
    """``andon dry-run``."""
    from streams import live

    return live.dry_run(_options(parsed), sys.stdout)


def add_inspect_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``inspect``."""
    add_run_arguments(parser)
    parser.add_argument("--asset", default="", metavar="NAME", help="every sensor of this asset")
    parser.add_argument("--state", type=Path, metavar="DIR",
                        help="snapshots in a directory (run --input: OUT/state), not a topic")


def inspect(parsed: argparse.Namespace) -> int:
    """``andon inspect``."""
    from streams import inspection

    settings = _options(parsed).load()
    if parsed.state is not None:
        return inspection.inspect_directory(settings, parsed.state, parsed.asset, sys.stdout)
    return inspection.inspect(settings, parsed.asset, sys.stdout)


def add_ledger_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``ledger``."""
    add_run_arguments(parser)
    parser.add_argument("--revert", metavar="ENTRY", help="take this entry's effect back")


def ledger(parsed: argparse.Namespace) -> int:
    """``andon ledger``: list, or take one effect back."""
    from streams import commands, inspection
    from streams.errors import UsageError
    from streams.kafka_settings import client_options

    settings = _options(parsed).load()
    if not parsed.revert:
        return inspection.show_ledger(settings, sys.stdout, sys.stderr)
    options = client_options(settings.kafka)
    count = inspection.partitions(options, settings.kafka.state_topic_name)
    for entry in commands.ledger(dict(options), settings.kafka, count):
        if entry.command.id == parsed.revert and entry.reverted_by:
            raise UsageError(f"{parsed.revert} was taken back already, by {entry.reverted_by}")
        if entry.command.id == parsed.revert:
            return _give(settings, commands.Command(
                commands.new_id(), "revert", entry.command.asset, commands.now_ns(),
                entry=parsed.revert))
    raise UsageError(f"the ledger has no entry {parsed.revert!r}")


def add_acknowledge_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``ack``."""
    _add_command_arguments(parser)
    parser.add_argument("alert", metavar="ALERT", help="the alert's id")


def acknowledge(parsed: argparse.Namespace) -> int:
    """``andon ack``."""
    return _command(parsed, "acknowledge", alert=parsed.alert)


def add_shelve_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``shelve``."""
    _add_command_arguments(parser)
    parser.add_argument("--hours", type=float, default=8.0,
                        help="for how long by the asset's own time (default 8); 0 takes it off")
    parser.add_argument("--once", action="store_true",
                        help="only the alert that is open, else the next one, until it resolves")


def shelve(parsed: argparse.Namespace) -> int:
    """``andon shelve``."""
    if parsed.once:
        return _command(parsed, "shelve", once=True)
    if not parsed.hours > 0:
        return _command(parsed, "unshelve")
    return _command(parsed, "shelve", for_ns=round(min(parsed.hours, 1e6) * 3600e9))


def add_feedback_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``feedback``."""
    _add_command_arguments(parser)
    parser.add_argument("alert", metavar="ALERT", help="the alert's id")
    parser.add_argument("label", choices=("false", "real", "planned"))


def feedback(parsed: argparse.Namespace) -> int:
    """``andon feedback``."""
    return _command(parsed, "feedback", alert=parsed.alert, label=parsed.label)


def add_maintenance_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``maintenance``."""
    _add_command_arguments(parser)


def maintenance(parsed: argparse.Namespace) -> int:
    """``andon maintenance``: what was usual may have changed; learn anew."""
    return _command(parsed, "maintenance")


def _add_command_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_arguments(parser)
    parser.add_argument("asset", metavar="ASSET")
    parser.add_argument("--by", default="", metavar="NAME", help="who says so")
    parser.add_argument("--note", default="", metavar="TEXT")


def _command(
    parsed: argparse.Namespace, kind: str, alert: str = "", label: str = "", for_ns: int = 0,
    once: bool = False,
) -> int:
    from streams import commands

    return _give(_options(parsed).load(), commands.Command(
        commands.new_id(), kind, parsed.asset, commands.now_ns(), alert=alert, label=label,
        for_ns=for_ns, once=once, by=parsed.by, note=parsed.note))


def _give(settings: Settings, command: Command) -> int:
    from streams import commands
    from streams.kafka_settings import client_options

    commands.send(client_options(settings.kafka), settings.kafka, command)
    sys.stdout.write(f"{command.id}\n")
    sys.stderr.write("andon: given; once a worker has applied it, andon ledger lists it under this "
                     "id\n")
    return 0


def _options(parsed: argparse.Namespace) -> RunOptions:
    from streams.run_options import RunOptions

    return RunOptions(parsed.config, parsed.bootstrap, parsed.topic, parsed.group)
