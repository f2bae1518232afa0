"""A real browser without a window for the tests of the page: the system's Chromium, driven.

A test that needs one where there is none is skipped by name; with ``CI=true`` that is a failure,
because ``tests/run.sh`` installs it there.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import typing
from collections.abc import Iterator
from pathlib import Path

from tests.kafka_broker import ROOT, unavailable

if typing.TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LIBRARY = ROOT / "streams" / "page" / "preact.js"


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A browser with a fresh profile."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        unavailable("needs Chromium: apt-get install chromium")
    if importlib.util.find_spec("playwright") is None:
        unavailable("needs playwright, which drives the browser: pip install -e '.[dev]'")
    if not LIBRARY.is_file():
        unavailable("needs the page's library: pip install -e .")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield opened
        finally:
            opened.close()


class Window:
    """One window on the page, which remembers what the browser complained of."""

    def __init__(
        self, opened: Browser, url: str, width: int = 1920, height: int = 1080,
        dark: bool = False, language: str = "", zone: str = "UTC",
    ) -> None:
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self._context = opened.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light", reduced_motion="reduce", timezone_id=zone)
        self.page: Page = self._context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(url)
        self.page.wait_for_selector(".lamp", timeout=120_000)  # kernels may be compiled first
        if language:
            self.page.select_option("select", language)

    def lamp(self, asset: str, state: str, seconds: float = 30.0) -> None:
        """Wait until a machine's lamp is in a state."""
        self.page.wait_for_selector(
            f'.lamp[data-asset="{asset}"][data-state="{state}"]', timeout=seconds * 1000)

    def picture(self, path: Path, whole: bool = False) -> None:
        """A screenshot."""
        self.page.screenshot(path=path, full_page=whole)

    def close(self) -> None:
        """Close the window."""
        self._context.close()
