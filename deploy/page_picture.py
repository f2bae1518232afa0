"""The pictures of the page in the README, from a real run: ``python deploy/page_picture.py``.

The demo's shift is played fast; when the bearing that is to fail has been in alert for a while, a
browser without a window looks at the page: as wide as a screen in the hall, as narrow as a phone.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

HOME = Path(__file__).resolve().parent
#: The demo's machine with the failing bearing.
MACHINE = "mill-2"
SPEED = 600
#: Real seconds between its alert and the picture: an hour of the shift.
WAIT_SECONDS = 6.0


def main() -> None:
    """Write ``page.png`` and ``page-phone.png`` beside this file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=9498)
    port = parser.parse_args().port
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("needs Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as out:
        demo = subprocess.Popen([
            sys.executable, "-m", "streams", "demo", "--out", out, "--page", str(port),
            "--speed", str(SPEED)], cwd=HOME.parent, stdout=subprocess.PIPE, text=True)
        try:
            assert demo.stdout is not None
            while "The page:" not in demo.stdout.readline():
                if demo.poll() is not None:
                    raise SystemExit("the demo ended")
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=program, args=["--no-sandbox"])
                take(browser, f"http://127.0.0.1:{port}/")
                browser.close()
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait(20)


def take(browser: Browser, url: str) -> None:
    """Wait for the moment, and look twice."""
    wall = browser.new_page(viewport={"width": 1500, "height": 900}, reduced_motion="reduce")
    phone = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark",
                             reduced_motion="reduce", device_scale_factor=1.5)
    for page in (wall, phone):
        page.goto(url)
    wall.wait_for_selector(f'.lamp[data-asset="{MACHINE}"][href]', timeout=300_000)
    wall.wait_for_timeout(WAIT_SECONDS * 1000)
    for page, name in ((wall, "page.png"), (phone, "page-phone.png")):
        page.wait_for_selector(".band")
        page.screenshot(path=HOME / name)


if __name__ == "__main__":
    main()
