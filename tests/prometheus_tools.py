"""The real Prometheus and Alertmanager for the tests: started on free ports, asked, stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

Found = TypeVar("Found")


def free_port() -> int:
    """A port that nobody uses right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(ask: Callable[[], Found | None], seconds: float) -> Found:
    """Ask until there is an answer that says something."""
    end = time.monotonic() + seconds
    while True:
        found = ask()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"nothing came within {seconds} s")
        time.sleep(0.2)


def fetch(url: str, body: bytes | None = None) -> Any:
    """JSON of an address; None while nobody answers."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            text = answer.read()
            return json.loads(text) if text[:1] in b"{[" and text else text.decode() or True
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url}: {error.code} {error.read().decode()}") from None
    except OSError:
        return None


def query(url: str, expression: str, at: float | None = None) -> list[dict[str, Any]]:
    """An instant query's result."""
    parameters = {"query": expression} | ({} if at is None else {"time": f"{at:.3f}"})
    found = fetch(f"{url}/api/v1/query?{urllib.parse.urlencode(parameters)}")
    return [] if found is None else list(found["data"]["result"])


def query_range(url: str, expression: str, start: float, end: float, step: float) -> list[Any]:
    """A range query's result."""
    found = fetch(f"{url}/api/v1/query_range?" + urllib.parse.urlencode(
        {"query": expression, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": step}))
    return [] if found is None else list(found["data"]["result"])


@contextlib.contextmanager
def prometheus(
    folder: Path, port: int, scrape: str = "", more: str = "", interval: str = "1s"
) -> Iterator[str]:
    """A Prometheus that scrapes 127.0.0.1:``port`` as job ``andon``; yields its address."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "prometheus.yml"
    config.write_text(f"""
global: {{scrape_interval: {interval}, evaluation_interval: {interval}}}
scrape_configs:
    - job_name: andon
      static_configs: [{{targets: ["127.0.0.1:{port}"]}}]{scrape}
{more}""")
    own = free_port()
    with running(folder, [
        "prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{own}", "--log.level=warn",
    ]):
        url = f"http://127.0.0.1:{own}"
        wait_for(lambda: ready(url), 60)
        yield url


@contextlib.contextmanager
def alertmanager(folder: Path, receiver: str) -> Iterator[str]:
    """An Alertmanager that posts to ``receiver``; yields its address."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "alertmanager.yml"
    config.write_text(f"""
route: {{receiver: hook, group_by: [alertname, asset], group_wait: 0s, group_interval: 1s,
         repeat_interval: 1h}}
receivers: [{{name: hook, webhook_configs: [{{url: "{receiver}", send_resolved: true}}]}}]
""")
    own = free_port()
    with running(folder, [
        "prometheus-alertmanager", f"--config.file={config}",
        f"--storage.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{own}",
        "--cluster.listen-address=", "--log.level=warn",
    ]):
        url = f"http://127.0.0.1:{own}"
        wait_for(lambda: ready(url), 60)
        yield url


def ready(url: str) -> bool:
    """Whether the server says that it is."""
    try:
        return fetch(f"{url}/-/ready") is not None
    except AssertionError:
        return False


@contextlib.contextmanager
def running(folder: Path, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a process group of its own, stopped by its pid at the end."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
