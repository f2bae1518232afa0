"""The shape of the code as tests: who may import whom, and how long a room may be.

Each rule is a function over source text and is itself shown to fail on a bad sample, so that a
rule that cannot fail is found out.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGINE = sorted((ROOT / "anomaly").rglob("*.py"))
PACKAGES = ENGINE + sorted((ROOT / "streams").rglob("*.py"))

#: What the engine may import beside itself and these parts of the standard library.
ENGINE_MAY = {"anomaly", "numpy", "numba", "scipy"}
ENGINE_MAY_NOT = {"kafka", "prometheus_client", "logging", "time", "socket", "urllib", "http",
                  "subprocess", "threading", "asyncio", "pickle", "random", "datetime.now"}
#: The only engine files that may import river, or touch the file system (the kernel cache).
RIVER_FILE = "river_api.py"
FILES_FILE = "kernel.py"

STAGES = {"quality", "windows", "regimes", "reference", "calibration", "alerts", "ledger"}

LINES_LIMIT = 500
KERNEL_LINES_LIMIT = 70
REASON = re.compile(r"(longer than|lines) .*because|because .*(longer than|lines)", re.S)


def imports(source: str) -> set[str]:
    """Every module that the source imports, dotted."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def foreign_imports(name: str, source: str) -> set[str]:
    """What an engine file imports and may not."""
    bad = set()
    for module in imports(source):
        top = module.split(".")[0]
        if (top == "river" and name != RIVER_FILE) or top in ENGINE_MAY_NOT or top == "streams":
            bad.add(module)
        if top in {"pathlib", "os", "tempfile", "io"} and name not in (FILES_FILE, "snapshot.py"):
            bad.add(module)
    return bad


def stage_imports(name: str, source: str) -> set[str]:
    """Stages that a stage imports; ``monitor`` and its two halves alone compose them."""
    if name.removesuffix(".py") not in STAGES:
        return set()
    found = {m.split(".")[1] for m in imports(source) if m.startswith("anomaly.")}
    return (found & STAGES) - {name.removesuffix(".py")}


def too_long(source: str) -> bool:
    """More than the limit of lines without a reason in the module docstring."""
    docstring = ast.get_docstring(ast.parse(source)) or ""
    return source.count("\n") > LINES_LIMIT and not REASON.search(docstring)


def long_kernels(source: str) -> list[str]:
    """Kernels over the limit (docstring not counted) without a reason in the module docstring."""
    tree = ast.parse(source)
    if REASON.search(ast.get_docstring(tree) or ""):
        return []
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and any(
            "kernel" in ast.unparse(d) for d in node.decorator_list
        ):
            text = ast.get_docstring(node, clean=False) or ""
            lines = (node.end_lineno or 0) - node.lineno + 1 - text.count("\n")
            if lines > KERNEL_LINES_LIMIT:
                found.append(f"{node.name} ({lines} lines)")
    return found


def environment_reads(source: str) -> bool:
    """Whether the source reads the process's environment."""
    return bool(re.search(r"\bos\.(environ|getenv)\b|from os import .*environ", source))


@pytest.mark.parametrize("path", ENGINE, ids=lambda p: p.name)
def test_the_engine_imports_only_what_it_may(path: Path) -> None:
    assert foreign_imports(path.name, path.read_text()) == set()


@pytest.mark.parametrize("path", ENGINE, ids=lambda p: p.name)
def test_stages_never_import_each_other(path: Path) -> None:
    if path.parent.name == "detectors":
        assert not {m for m in imports(path.read_text()) if m.split(".")[-1] in STAGES
                    and m.startswith("anomaly.") and ".detectors" not in m}
    else:
        assert stage_imports(path.name, path.read_text()) == set()


@pytest.mark.parametrize("path", PACKAGES, ids=lambda p: p.name)
def test_no_file_and_no_kernel_is_too_long(path: Path) -> None:
    assert not too_long(path.read_text())
    assert long_kernels(path.read_text()) == []


@pytest.mark.parametrize("path", PACKAGES, ids=lambda p: p.name)
def test_only_settings_reads_the_environment(path: Path) -> None:
    if path.name != "settings.py":
        assert not environment_reads(path.read_text())


def test_each_rule_fails_on_a_bad_sample() -> None:
    assert foreign_imports("level.py", "import time\n") == {"time"}
    assert foreign_imports("level.py", "from river import anomaly\n")
    assert not foreign_imports("river_api.py", "from river import anomaly\n")
    assert foreign_imports("windows.py", "from pathlib import Path\n")
    assert stage_imports("windows.py", "from anomaly import quality\n") == {"quality"}
    assert too_long("x = 1\n" * 501)
    assert not too_long('"""Longer than 500 lines because reasons."""\n' + "x = 1\n" * 501)
    assert long_kernels("@kernel\ndef f():\n" + "    x = 1\n" * 71) == ["f (72 lines)"]
    assert environment_reads("import os\nos.environ['A']\n")
