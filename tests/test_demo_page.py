"""``andon demo --page`` as a person starts it: a real process, asked over HTTP, ended by Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.browser import LIBRARY
from tests.kafka_broker import ROOT, unavailable
from tests.prometheus_tools import wait_for
from tests.test_local_page import ask, board


def test_the_shift_is_shown_spoken_to_and_left(tmp_path: Path) -> None:
    if not LIBRARY.is_file():
        unavailable("needs the page's library: pip install -e .")
    demo = subprocess.Popen(
        [sys.executable, "-m", "streams", "demo", "--out", str(tmp_path), "--page", "0",
         "--speed", "100000"], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    said: list[str] = []

    def lines() -> None:
        assert demo.stdout is not None
        for line in demo.stdout:
            said.append(line)

    listener = threading.Thread(target=lines, daemon=True)
    listener.start()
    try:
        port = int(wait_for(lambda: re.search(r"127\.0\.0\.1:(\d+)/", "".join(said)), 120)[1])
        wait_for(lambda: "The shift is over" in "".join(said), 240)
        told = board(port)
        assert {lamp["asset"] for lamp in told["lamps"]} == {
            "press-1", "mill-2", "weld-3", "assembly-4", "packing-5"}
        over = {one["asset"] for one in told["over"]} | {one["asset"] for one in told["cases"]}
        assert "mill-2" in over
        assert told["losses"]
        token = re.search(rb'andon-token" content="([^"]+)"', ask(port, "GET", "/")[1])
        assert token is not None
        wish = {"kind": "maintenance", "asset": "mill-2", "by": "Ana"}
        assert ask(port, "POST", "/commands", wish, token[1].decode())[0] == 202
        wait_for(lambda: (tmp_path / "commands.jsonl").read_bytes(), 10)
        assert json.loads((tmp_path / "commands.jsonl").read_bytes())["kind"] == "maintenance"
        demo.send_signal(signal.SIGINT)
        assert demo.wait(20) == 0
    finally:
        demo.kill()
        demo.wait(10)
        listener.join(5)
        assert demo.stdout is not None
        demo.stdout.close()
    assert (tmp_path / "report.html").is_file()
