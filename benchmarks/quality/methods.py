"""Every method that can be judged, by name: andon first, then the controls.

One explicit table.  A method's version is a hash of what decides its answers, so that the store
knows what to run again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from benchmarks.quality import command_line, controls, in_process
from benchmarks.quality.recordings import Method
from benchmarks.quality.store import hash_of_files

_HERE = Path(__file__).resolve().parent
_CONTROL_SOURCES = [_HERE / "controls.py", _HERE / "tail.py"]

#: Controls that need a library which is an extra.
_LIBRARIES = {"river-hst": "river", "matrix-profile": "stumpy"}


@dataclass(frozen=True)
class Entry:
    """A method in the table.

    Attributes
    ----------
    name : str
        As in the tables.
    make : callable
        Gives a fresh `Method`; heavy imports happen when it is called with a recording.
    version : callable
        Gives the hash of what decides its answers.
    is_control : bool
        Whether it is something to beat.
    """

    name: str
    make: Callable[[], Method]
    version: Callable[[], str]
    is_control: bool


def entries() -> dict[str, Entry]:
    """Methods that can run in this checkout, in the order of the tables."""
    table = {}
    if command_line.is_runnable():
        table["andon"] = Entry(
            "andon",
            lambda: command_line.andon,
            lambda: hash_of_files([*command_line.source_files(), _HERE / "command_line.py"]),
            is_control=False,
        )
        table["andon-inprocess"] = Entry(
            "andon-inprocess",
            in_process.andon_in_process,
            lambda: hash_of_files([*in_process.source_files(), _HERE / "in_process.py"]),
            is_control=False,
        )
    for name in controls.controls():
        if name in missing():
            continue
        table[name] = Entry(name, _control(name), _control_version(name), is_control=True)
    return table


def missing() -> dict[str, str]:
    """Controls that cannot run here, with the library each lacks."""
    return {
        name: library for name, library in _LIBRARIES.items() if util.find_spec(library) is None
    }


def _control(name: str) -> Callable[[], Method]:
    return lambda: controls.controls()[name]


def _control_version(name: str) -> Callable[[], str]:
    release = metadata.version(_LIBRARIES[name]) if name in _LIBRARIES else ""
    return lambda: f"{name}-{release}-{hash_of_files(_CONTROL_SOURCES)}"
