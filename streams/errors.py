"""The operating errors of the command line and the service: what went wrong, and who can help.

Bad *data* is never one of these (it is counted by reason and kept as a sample); these are inputs
that cannot be used at all, settings that make no sense, and outputs that cannot be written. Every
message names the place (file, line, column, or dotted setting) and what to do. No logging here.

Each class says by a class attribute whether trying again can help, and which exit code it means.
"""

from __future__ import annotations

from pathlib import Path

EXIT_OK = 0
EXIT_FINDING = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells expect


class StreamsError(Exception):
    """Root of every error that this package raises on purpose."""

    retriable = False
    exit_code = EXIT_FINDING


class UsageError(StreamsError):
    """The command line asks for something that cannot be: a missing file, an unknown column."""

    exit_code = EXIT_USAGE


class SettingsError(StreamsError):
    """A settings file or an environment variable that cannot be used; the message has its path."""

    exit_code = EXIT_CONFIG


class InputError(StreamsError):
    """An input that cannot be read or understood.

    Parameters
    ----------
    path : Path
    message : str
        What is wrong, and what to do about it.
    line : int, optional
        1-based line of a text file.
    column : str, optional
    """

    def __init__(
        self, path: Path, message: str, line: int | None = None, column: str | None = None
    ) -> None:
        where = str(path) if line is None else f"{path}:{line}"
        if column is not None:
            where += f", column {column!r}"
        super().__init__(f"{where}: {message}")
        self.path = path
        self.line = line
        self.column = column


class OutputError(StreamsError):
    """A file that cannot be written: no permission, no space, a directory in its place."""
