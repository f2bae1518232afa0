"""The service without a broker: real processes, files, kills; and the journal by itself."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streams.journal import Journal, letter_line
from tests import live_service
from tests.kafka_broker import ROOT, wait_for

CONFIG = live_service.ENGINE + """
[kafka]
checkpoint_seconds = 0.3
"""


def lines(rows: int, seed: int) -> list[bytes]:
    made = []
    for k, (_, row) in enumerate(live_service.stream(rows, 6, seed)):
        made.append(json.dumps(row).encode())
        if k % 100 == 7:
            made.append(b"{not json")
        if k % 100 == 9:
            made.append(json.dumps({**row, "ts": row["ts"] - 60_000}).encode())
        if k % 100 == 11:
            made.append(b"")
    return made


def command(folder: Path, *arguments: str) -> list[str]:
    (folder / "andon.toml").write_text(CONFIG)
    return [sys.executable, "-m", "streams", *arguments, "--config", str(folder / "andon.toml")]


def run(folder: Path, *arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        command(folder, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=120, **more)


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.jsonl"))}


def test_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """A file that grows while the run is killed again and again, against one run in one go."""
    chance = random.Random(3)
    text = lines(9000, 5)
    source = tmp_path / "messages.jsonl"
    source.write_bytes(b"\n".join(text))
    want = run(tmp_path, "run", "--input", str(source), "--out", str(tmp_path / "want"))
    assert want.returncode == 0, want.stderr
    assert "recognised wide rows" in want.stderr
    expected = outputs(tmp_path / "want")
    assert set(expected) == {"alerts.jsonl", "dead-letters.jsonl", "late.jsonl"}
    first = json.loads(expected["alerts.jsonl"].splitlines()[0])
    assert first["type"].startswith("andon.alert.")
    assert first["data"]["asset"] == first["subject"]
    given = command(tmp_path, "run", "--input", str(source), "--out", str(tmp_path / "got"),
                    "--follow")
    source.write_bytes(b"")
    done = 0
    for _ in range(6):
        worker = subprocess.Popen(given, cwd=ROOT, stderr=subprocess.DEVNULL)
        wait_for(lambda: (tmp_path / "got").exists(), 60, "a start")
        for _ in range(4):
            with source.open("ab") as file:
                file.write(b"".join(line + b"\n" for line in text[done:done + 370]))
            done += 370
            time.sleep(chance.uniform(0.2, 0.6))
        worker.kill()
        worker.wait()
    with source.open("ab") as file:
        file.write(b"\n".join(text[done:]))
    last = run(tmp_path, "run", "--input", str(source), "--out", str(tmp_path / "got"))
    assert last.returncode == 0
    assert "going on after line" in last.stderr
    assert outputs(tmp_path / "got") == expected
    inspected = run(tmp_path, "inspect", "--state", str(tmp_path / "got" / "state"))
    assert "6 assets, 24 tags" in inspected.stdout
    assert "6 trusted" in inspected.stdout


def test_standard_input_keeps_the_state_between_runs(tmp_path: Path) -> None:
    text = lines(3000, 6)
    for part in (text[:1500], text[1500:]):
        done = run(tmp_path, "run", "--input", "-", "--out", str(tmp_path / "got"),
                   input="\n".join(line.decode() for line in part))
        assert done.returncode == 0, done.stderr
    whole = tmp_path / "whole.jsonl"
    whole.write_bytes(b"\n".join(text))
    run(tmp_path, "run", "--input", str(whole), "--out", str(tmp_path / "want"))
    want, got = outputs(tmp_path / "want"), outputs(tmp_path / "got")
    assert got["alerts.jsonl"] == want["alerts.jsonl"]


def test_a_stop_keeps_the_state_and_other_inputs_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "messages.jsonl"
    source.write_bytes(b"\n".join(lines(2000, 7)) + b"\n")
    out = tmp_path / "got"
    worker = subprocess.Popen(
        command(tmp_path, "run", "--input", str(source), "--out", str(out), "--follow"), cwd=ROOT,
        stderr=subprocess.DEVNULL)
    wait_for(lambda: list((out / "state").glob("*.npz")) if out.exists() else [], 60, "a snapshot")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(15) == 0
    source.write_bytes(b"\n")
    shorter = run(tmp_path, "run", "--input", str(source), "--out", str(out))
    assert shorter.returncode == 1
    assert "another --out" in shorter.stderr
    assert run(tmp_path, "run", "--input", str(tmp_path / "no"), "--out", str(out)).returncode == 2
    (tmp_path / "andon.toml").write_text(CONFIG)
    assert run(tmp_path, "inspect", "--state", str(tmp_path)).returncode == 2


def test_a_journal_goes_back_to_its_mark_whatever_came_after(tmp_path: Path) -> None:
    journal = Journal(tmp_path, ("a.jsonl", "b.jsonl"), limit_bytes=40)
    (tmp_path / "own.jsonl").write_text("not ours\n")
    journal.append("a.jsonl", b"one")
    marked = journal.mark()
    journal.append("a.jsonl", b"lost")
    journal.append("b.jsonl", b"lost")
    journal.close()
    journal = Journal(tmp_path, ("a.jsonl", "b.jsonl"), limit_bytes=40)
    journal.cut(marked)
    assert (tmp_path / "a.jsonl").read_bytes() == b"one\n"
    assert (tmp_path / "b.jsonl").read_bytes() == b""
    assert (tmp_path / "own.jsonl").read_text() == "not ours\n"
    for k in range(40):
        journal.append("a.jsonl", b"line %d" % k)
        marked = journal.mark()
        journal.rotate()
    kept = sorted(path.name for path in tmp_path.glob("a.jsonl*"))
    assert kept == ["a.jsonl", *(f"a.jsonl.{n}" for n in range(1, 6))]
    assert sum(path.stat().st_size for path in tmp_path.glob("a.jsonl*")) < 7 * 60
    journal.append("a.jsonl", b"begun anew, and torn")
    journal.close()
    journal.cut({**marked, "a.jsonl": 10_000})
    assert (tmp_path / "a.jsonl").read_bytes() == b""
    journal.close()


def test_a_letter_keeps_every_byte() -> None:
    said = json.loads(letter_line(b"\xff", b"\x00\xfe", [
        ("andon_reason", b"malformed_json"), ("trace", b"\x80")]))
    assert base64.b64decode(said["value"]) == b"\x00\xfe"
    assert base64.b64decode(said["key"]) == b"\xff"
    assert said["reason"] == "malformed_json"
    assert [(name, base64.b64decode(text)) for name, text in said["headers"]] == [
        ("trace", b"\x80")]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk_is_said_and_nothing_that_was_kept_is_torn(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)])
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        source = tmp_path / "messages.jsonl"
        source.write_bytes(b"\n".join([b"x" * 300] * 4000))
        done = run(tmp_path, "run", "--input", str(source), "--out", str(disk / "out"))
        assert done.returncode == 1
        assert "cannot be written" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        subprocess.run(["umount", str(disk)], check=True)
