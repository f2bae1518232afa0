"""The one build step that the declarations cannot say: the page's library is put in its place.

Preact and htm, one ready file of 13 kB, come out of the package ``datasette-preact``, which only
the build needs. Taken at build time, so that neither the sources nor a running service depend on
Node, on a download at the first start, or on what else that package brings. Its bytes are checked:
what a browser runs at the people who stand at the line must be what was looked at.

Named by ``pyproject.toml`` and loaded by setuptools alone; nothing here runs in the service.
"""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path

from setuptools.command.build_py import build_py

PACKAGE = "datasette-preact"
FILE = "datasette_preact/static/preact-10.27.2-htm-3.1.1.min.js"
SHA256 = "2ad4f06c517e968b6382c26262363ebb89ebd7bcf3f7dc29a8368fe5b542861b"
TARGET = Path(__file__).parent / "preact.js"


class BuildWithLibrary(build_py):
    """``build_py`` with the library beside the page's own files."""

    def run(self) -> None:
        take_library()
        super().run()


def take_library() -> None:
    """Copy the library out of its package, unless it is there already."""
    if TARGET.exists() and hashlib.sha256(TARGET.read_bytes()).hexdigest() == SHA256:
        return
    content = Path(str(metadata.distribution(PACKAGE).locate_file(FILE))).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{FILE}: not the file that was looked at: {found}")
    TARGET.write_bytes(content)
