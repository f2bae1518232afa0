"""The house decorator for compiled code: flags, cache, freeze. No algorithm lives here.

Why one decorator: every kernel must compile with the same floating-point rules, or a replay and a
live run could differ in the last bit; and numba's own cache goes stale when a helper in *another*
file changes, so ours lives in a folder named after a hash of the file and of everything it imports
from the same tree, over however many files. What a kernel's file does not import cannot be in it,
so an edit elsewhere costs nobody a compilation.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

_ENGINE = Path(__file__).resolve().parent
_IMPORT = re.compile(r"^\s*(?:from|import)\s+([\w.]+)(?:\s+import\s+(\([^)]*\)|[^\n]*))?", re.M)
_KERNELS: list[Any] = []  # every dispatcher, so that freeze() reaches them all


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` with the house flags.

    ``error_model="numpy"`` (1/0 is inf, not an exception), no fast-math (it deletes ``isnan``, and
    where a loop needed it for speed, minima over bit patterns did better), the GIL released, cached
    on disk. The undecorated function stays reachable as ``.py_func`` for the parity law.
    """
    return _compile(function)


def kernel_uncounted(function: Callable[..., Any]) -> Any:
    """The same, without counting references to arrays: for inner kernels that allocate nothing.

    numba counts an array in and out wherever it enters a function or is sliced, each time with a
    locked instruction that waits for every store before it: a seventh of the pyramid's time. A
    kernel that neither makes nor returns an array needs none of it, for whoever called it holds
    them all; one that does make an array does not compile with this. The option is a private one:
    a numba without it counts, and the bits are the same.
    """
    return _compile(function, **_known("_nrt", False))


def kernel_inlined(function: Callable[..., Any]) -> Any:
    """The same as :func:`kernel_uncounted`, and put into whoever calls it.

    An array is handed over as nine numbers: a call with eight arrays writes and reads a hundred
    words, a tenth of the pyramid's time. For the one large kernel in the middle of a row loop; it
    is compiled again for each place that calls it. The bits are the same.
    """
    return _compile(function, **_known("_nrt", False), **_known("forceinline", True))


def _known(option: str, value: bool) -> dict[str, bool]:
    """The compiler's option, nothing where this numba has none of that name."""
    options = getattr(numba.core.options, "DefaultOptions", None)
    return {option: value} if hasattr(options, option) else {}


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
def cache_folder(source: Path = _ENGINE / "kernel.py") -> Path | None:
    """Folder of the compiled kernels of one source file; None = nowhere to write.

    Beside the package where that is writable, else in the user's own cache; never in a shared
    temporary folder, where somebody else could have put code before us.
    """
    settings: Any = numba.config
    checked = "-checked" if settings.BOUNDSCHECK else ""  # other code, so another cache
    name = f"kernels-{source.stem}-{_source_hash(source)}{checked}"
    for home in (_package(source) / "__pycache__", Path.home() / ".cache" / "andon"):
        try:
            (home / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(home / name, os.W_OK):
            return home / name
    return None


def _source_hash(source: Path) -> str:
    """Hash of the file and of all it imports, however far away, from its own tree."""
    digest = hashlib.sha256()
    root = _package(source).parent
    for path in sorted(_reach(source, frozenset({root, _ENGINE.parent}))):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _reach(source: Path, roots: frozenset[Path]) -> set[Path]:
    reached, waiting = {source}, [source]
    while waiting:
        for path in _imported(waiting.pop(), roots):
            if path not in reached:
                reached.add(path)
                waiting.append(path)
    return reached


@functools.cache
def _imported(source: Path, roots: frozenset[Path]) -> frozenset[Path]:
    """Files of the trees at ``roots`` that the file's import statements name."""
    found: set[Path] = set()
    for module, names in _IMPORT.findall(source.read_text(encoding="utf-8")):
        parts = module.split(".")
        for root in roots:
            if module.startswith(".") or not (root / parts[0]).is_dir():
                continue
            home = root.joinpath(*parts)
            wanted = re.findall(r"\w+", re.sub(r"\bas\s+\w+|#.*", "", names))
            files = [home / f"{name}.py" for name in wanted]
            if not all(file.is_file() for file in files) or not files:  # names of the module itself
                files += [home.with_suffix(".py"), home / "__init__.py"]
            found.update(file for file in files if file.is_file())
    return frozenset(found)


def _package(source: Path) -> Path:
    """The outermost package that the file is in; for a lone file, its folder."""
    home = source.parent
    while (home.parent / "__init__.py").exists():
        home = home.parent
    return home


def _compile(function: Callable[..., Any], **options: Any) -> Any:
    folder = cache_folder(Path(function.__code__.co_filename).resolve())
    settings: Any = numba.config
    before = settings.CACHE_DIR
    settings.CACHE_DIR = str(folder or "")  # read once, when caching is switched on below
    try:
        dispatcher = numba.njit(
            cache=folder is not None, error_model="numpy", nogil=True, **options)(function)
    finally:
        settings.CACHE_DIR = before
    _name_apart(dispatcher)
    _KERNELS.append(dispatcher)
    return dispatcher


def _name_apart(dispatcher: Any) -> None:
    """Give every compiled file a name of its own.

    numba numbers the files of a kernel from 1. Two workers that first compile it at the same time
    for different types would both write number 1, and one's index would name the other's code.
    """
    files = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if files is not None:  # None: with the cache or the compiler switched off
        stem = files._index_name.removesuffix(".nbi")
        files._data_name = lambda _: f"{stem}.{uuid.uuid4().hex}.nbc"
