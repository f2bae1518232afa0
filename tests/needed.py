"""What a test needs beside the code: programs and packages; without them it is skipped by name.

With ``CI=true`` nothing is skipped for want of one: ``pip install -e '.[dev]'`` brings the packages
and ``tests/run.sh`` the programs, so the test runs and fails by what is missing.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest

IN_PIPELINE = os.environ.get("CI") == "true"


def program(name: str) -> str | None:
    """Where a program is: beside this Python, or on the path; None = nowhere."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


def needs_programs(*names: str) -> pytest.MarkDecorator:
    """Skips a test where one of these programs is missing."""
    missing = [name for name in names if program(name) is None]
    return pytest.mark.skipif(
        bool(missing) and not IN_PIPELINE, reason=f"{', '.join(missing)} is not installed")


def needs_packages(*names: str) -> pytest.MarkDecorator:
    """Skips a test where one of these packages, by the name that is imported, is missing."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(
        bool(missing) and not IN_PIPELINE, reason=f"{', '.join(missing)} is not installed")
