"""The kernel decorator: cached by the sources' content, frozen on demand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomaly.kernel import (
    _imported,
    cache_folder,
    freeze,
    kernel,
    kernel_inlined,
    kernel_uncounted,
    thaw,
)


@kernel
def _double(x: np.ndarray) -> float:
    return 2.0 * x[0]


def test_a_frozen_kernel_refuses_a_new_dtype() -> None:
    assert _double(np.ones(3)) == 2.0
    freeze()
    try:
        assert _double(np.ones(3)) == 2.0
        with pytest.raises(TypeError):
            _double(np.ones(3, np.float32))
    finally:
        thaw()
    assert _double(np.ones(3, np.float32)) == 2.0


def test_nan_survives_and_division_by_zero_is_infinite() -> None:
    @kernel
    def judge(x: np.ndarray) -> tuple[bool, float]:
        return bool(np.isnan(x[0])), 1.0 / x[1]

    assert judge(np.array([np.nan, 0.0])) == (True, np.inf)


def test_the_cache_follows_every_source_of_the_package(tmp_path: Path) -> None:
    package = tmp_path / "sample"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text(
        "from anomaly.kernel import kernel\n@kernel\ndef helper(x):\n    return x + 1.0\n")
    (package / "outer.py").write_text(
        "from anomaly.kernel import kernel\nfrom sample.helper import helper\n"
        "@kernel\ndef outer(x):\n    return helper(x)\nprint(outer(1.0))\n")

    def run() -> str:
        return subprocess.run(
            [sys.executable, "-c", "import sample.outer"], check=True, capture_output=True,
            text=True, env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).resolve().parent.parent}",
                            "HOME": str(tmp_path),
                            "PYTHONDONTWRITEBYTECODE": "1"},  # its stamps tell whole seconds
        ).stdout.strip()

    assert run() == "2.0"
    (package / "helper.py").write_text(
        (package / "helper.py").read_text().replace("1.0", "5.0"))
    assert run() == "6.0", "the caller was loaded from a cache that its helper had outgrown"


def test_a_cache_follows_what_its_file_imports_and_nothing_else(tmp_path: Path) -> None:
    package = tmp_path / "sample"
    (package / "deep").mkdir(parents=True)
    for folder in (package, package / "deep"):
        (folder / "__init__.py").write_text("")
    (package / "constants.py").write_text("A = 1\n")
    (package / "helper.py").write_text("from sample import constants\n")
    (package / "deep" / "outer.py").write_text("from sample import (\n    helper,\n)\n")
    (package / "other.py").write_text("B = 1\n")
    outer = package / "deep" / "outer.py"

    def folder_now() -> Path | None:
        for cached in (cache_folder, _imported):
            cached.cache_clear()
        return cache_folder(outer)

    before = folder_now()
    assert before is not None
    assert before.parent == package / "__pycache__"
    (package / "other.py").write_text("B = 2\n")
    assert folder_now() == before, "an edit that the kernel cannot see made it compile again"
    (package / "constants.py").write_text("A = 2\n")
    assert folder_now() != before, "a constant two imports away changed and the cache did not"


def test_the_cache_is_never_in_a_shared_temporary_folder() -> None:
    folder = cache_folder()
    assert folder is not None
    assert not str(folder).startswith("/tmp/andon")


def test_two_that_compile_one_kernel_at_once_do_not_take_each_other_s_code() -> None:
    def third(x: np.ndarray) -> float:
        return 3.0 * x[0]

    one, other, later = kernel(third), kernel(third), kernel(third)
    one(np.ones(3))
    index = Path(one._cache._cache_file._index_path)
    first = index.read_bytes()
    index.unlink()  # what the other one saw when it began
    other(np.full(3, 7, np.int8))
    index.write_bytes(first)  # the first was the last to write its index
    assert later(np.full(3, 2.0)) == 6.0
    assert sum(later.stats.cache_hits.values()) == 1


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("decorated", [kernel_uncounted, kernel_inlined])
def test_an_uncounted_kernel_needs_no_private_option(
    monkeypatch: pytest.MonkeyPatch, decorated: Any, known: bool
) -> None:
    from numba.core import errors, options

    if not known:
        monkeypatch.delattr(options.DefaultOptions, "_nrt")
        monkeypatch.delattr(options.DefaultOptions, "forceinline")

    def total(x: np.ndarray) -> float:
        found = 0.0
        for k in range(x.size):
            found += x[k]
        return found

    def fresh(size: int) -> float:
        return float(np.empty(size).size)

    assert decorated(total)(np.arange(4.0)) == 6.0
    if known:
        with pytest.raises(errors.NumbaError):
            decorated(fresh)(3)
