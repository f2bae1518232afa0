"""The house decorator for compiled code: flags, cache, freeze. No algorithm lives here.

Why one decorator: every kernel must compile with the same floating-point rules, or a replay and a
live run could differ in the last bit; and numba's own cache goes stale when a helper in *another*
file changes, so ours lives in a folder named after a hash of all the package's sources.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

_ENGINE = Path(__file__).resolve().parent
_KERNELS: list[Any] = []  # every dispatcher, so that freeze() reaches them all


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` with the house flags.

    ``error_model="numpy"`` (1/0 is inf, not an exception), no fast-math (it deletes ``isnan``, and
    where a loop needed it for speed, minima over bit patterns did better), the GIL released, cached
    on disk. The undecorated function stays reachable as ``.py_func`` for the parity law.
    """
    return _compile(function)


def freeze() -> None:
    """Forbid further compilation: from now on a wrong dtype is a ``TypeError``, not a stall.

    Kernels that the warm-up never called stay open: their stage is not in use.
    """
    for dispatcher in _KERNELS:
        if dispatcher.signatures:
            dispatcher.disable_compile()


def thaw() -> None:
    """Allow compilation again (tests, and a reload that adds a detector)."""
    for dispatcher in _KERNELS:
        dispatcher.disable_compile(False)


@functools.cache
def cache_folder(package: Path = _ENGINE) -> Path | None:
    """Folder of compiled kernels for exactly the sources of ``package``; None = nowhere to write.

    Beside the package where that is writable, else in the user's own cache; never in a shared
    temporary folder, where somebody else could have put code before us.
    """
    settings: Any = numba.config
    checked = "-checked" if settings.BOUNDSCHECK else ""  # other code, so another cache
    name = f"kernels-{_source_hash(package)}{checked}"
    for home in (package / "__pycache__", Path.home() / ".cache" / "andon"):
        try:
            (home / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(home / name, os.W_OK):
            return home / name
    return None


def _source_hash(package: Path) -> str:
    """A kernel may call helpers of its own package and of the engine, so both are hashed."""
    digest = hashlib.sha256()
    for root in sorted({package, _ENGINE}):
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _compile(function: Callable[..., Any]) -> Any:
    home = Path(function.__code__.co_filename).resolve()
    package = next((p for p in home.parents if not (p.parent / "__init__.py").exists()), _ENGINE)
    folder = cache_folder(package)
    settings: Any = numba.config
    before = settings.CACHE_DIR
    settings.CACHE_DIR = str(folder or "")  # read once, when caching is switched on below
    try:
        dispatcher = numba.njit(cache=folder is not None, error_model="numpy", nogil=True)(function)
    finally:
        settings.CACHE_DIR = before
    _KERNELS.append(dispatcher)
    return dispatcher
