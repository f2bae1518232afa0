"""The house decorator for compiled code: flags, cache, freeze. No algorithm lives here.

Why one decorator: every kernel must compile with the same floating-point rules, or a replay and a
live run could differ in the last bit; and numba's own cache goes stale when a helper in *another*
file changes, so ours lives in a folder named after a hash of all the package's sources.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

#: The subset of fast-math that is allowed in *one* inner loop at a time, on inputs proven finite:
#: it lets the compiler reorder sums into SIMD lanes but keeps infinities and NaN where they are
#: not present anyway. Plain ``fastmath=True`` deletes ``isnan`` and is never used.
SIMD_FLAGS = frozenset({"reassoc", "contract", "nsz", "nnan", "ninf"})

_KERNELS: list[Any] = []  # every dispatcher, so that freeze() reaches them all


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` with the house flags.

    ``error_model="numpy"`` (1/0 is inf, not an exception), no fast-math, the GIL released, cached on
    disk. The undecorated function stays reachable as ``.py_func`` for the parity law.
    """
    return _compile(function, fastmath=False)


def simd_kernel(function: Callable[..., Any]) -> Any:
    """Compile an inner loop whose inputs are proven finite, with :data:`SIMD_FLAGS`.

    Use only where a measured speed-up is written beside the call, and never where NaN can arrive.
    """
    return _compile(function, fastmath=set(SIMD_FLAGS))


def freeze() -> None:
    """Forbid further compilation: from now on a wrong dtype is a ``TypeError``, not a stall."""
    for dispatcher in _KERNELS:
        dispatcher.disable_compile()


def thaw() -> None:
    """Allow compilation again (tests, and a reload that adds a detector)."""
    for dispatcher in _KERNELS:
        dispatcher.disable_compile(False)


def cache_folder() -> Path:
    """Folder of compiled kernels for exactly these sources, beside the package where writable."""
    package = Path(__file__).resolve().parent
    home = package / "__pycache__"
    if not os.access(package, os.W_OK):
        home = Path(tempfile.gettempdir()) / f"andon-kernels-{os.getuid()}"
    return home / f"kernels-{_source_hash(package)}"


@functools.cache
def _source_hash(package: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _compile(function: Callable[..., Any], fastmath: bool | set[str]) -> Any:
    settings: Any = numba.config
    before = settings.CACHE_DIR
    settings.CACHE_DIR = str(cache_folder())  # read once, when caching is switched on below
    try:
        dispatcher = numba.njit(
            cache=True, error_model="numpy", nogil=True, fastmath=fastmath
        )(function)
    finally:
        settings.CACHE_DIR = before
    _KERNELS.append(dispatcher)
    return dispatcher
