"""The options of the live service's commands; what they do is imported when one is chosen."""

from __future__ import annotations

import argparse
import sys
import typing
from pathlib import Path

if typing.TYPE_CHECKING:
    from streams.live import RunOptions


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``run`` and ``dry-run``."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings, TOML")
    parser.add_argument("--bootstrap", metavar="HOST:PORT",
                        help="the broker, where the settings name none")
    parser.add_argument("--topic", metavar="NAME", help="where the readings are")
    parser.add_argument("--group", metavar="NAME", help="consumer group and name of the state")


def run(parsed: argparse.Namespace) -> int:
    """``andon run``."""
    from streams import live

    return live.run(_options(parsed), sys.stderr)


def dry_run(parsed: argparse.Namespace) -> int:
    """``andon dry-run``."""
    from streams import live

    return live.dry_run(_options(parsed), sys.stdout)


def _options(parsed: argparse.Namespace) -> RunOptions:
    from streams.live import RunOptions

    return RunOptions(parsed.config, parsed.bootstrap, parsed.topic, parsed.group)
