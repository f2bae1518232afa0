"""The command line as its users start it: processes, terminals, exit codes, the first minute."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from streams.__main__ import COMMANDS, main

ROOT = Path(__file__).resolve().parent.parent
ANDON = [sys.executable, "-m", "streams"]


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ANDON_")}
    return kept | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}


def andon(*arguments: object, cwd: Path = ROOT, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ANDON, *map(str, arguments)], cwd=cwd, env=environment() | extra, check=False,
        capture_output=True, text=True, timeout=300,
    )


def alerts(out: Path) -> list[dict[str, str]]:
    text = (out / "alerts.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("cli") / "press.csv"
    values = random.normal(50, 1, 600)
    values[450:] += 20
    path.write_text("ts,temperature\n" + "".join(
        f"{1_700_000_000 + 60 * i},{v:.3f}\n" for i, v in enumerate(values)))
    return path


def test_help_names_every_command() -> None:
    said = andon("--help").stdout
    for name, command in COMMANDS.items():
        assert name in said
        assert command.summary.split(":")[0] in " ".join(said.split())
    assert andon().stdout == said
    for name in COMMANDS:
        assert andon(name, "--help").returncode == 0


def test_help_imports_nothing_heavy() -> None:
    code = ("import sys; from streams.__main__ import main\n"
            "try: main(['--help'])\nexcept SystemExit: pass\n"
            "heavy = {'numpy', 'numba', 'pyarrow', 'scipy', 'river', 'kafka'} & set(sys.modules)\n"
            "sys.exit(bool(heavy))")
    done = subprocess.run([sys.executable, "-c", code], env=environment(), cwd=ROOT, check=False,
                          stdout=subprocess.DEVNULL)
    assert done.returncode == 0


def test_a_replay_does_without_pandas_where_it_is_installed(tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    path.write_text("time,a\n" + "".join(f"{i},{i * i % 7}\n" for i in range(60)))
    done = andon("replay", path, "--out", tmp_path / "out", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "pyarrow.lib" in imported
    assert not {name for name in imported if name.startswith("pandas.")}


def test_version() -> None:
    for arguments in (("version",), ("--version",)):
        done = andon(*arguments)
        assert done.returncode == 0
        assert done.stdout.startswith("andon ")


@pytest.mark.parametrize("arguments", [
    ("frobnicate",), ("replay",), ("replay", "x.csv"), ("replay", "x.csv", "--out"),
    ("replay", "x.csv", "--out", "o", "--warm-up", "0"),
    ("replay", "x.csv", "--out", "o", "--warm-up", "many"), ("lint",), ("demo", "--seed", "x"),
])
def test_wrong_usage_exits_with_2(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: andon" in capsys.readouterr().err


def test_replay_from_a_shell(recording: Path, tmp_path: Path) -> None:
    done = andon("replay", recording, "--out", tmp_path / "out", "--scores", tmp_path / "s.csv",
                 "--warm-up", "300", "--budget", "1/day")
    assert done.returncode == 0
    assert "\x1b" not in done.stderr + done.stdout
    assert "\r" not in done.stderr
    assert "CSV separated by comma; wide, 1 sensor; time: 'ts', epoch in s" in done.stderr
    assert 5 <= done.stdout.count("\n") <= 12
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 601
    assert "firing" in {alert["state"] for alert in alerts(tmp_path / "out")}
    assert (tmp_path / "out" / "report.html").stat().st_size > 1000
    quiet = andon("replay", recording, "--out", tmp_path / "out", "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_the_bar_is_drawn_on_a_terminal_and_taken_away(recording: Path, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [*ANDON, "replay", str(recording), "--out", str(tmp_path), "--no-report"], cwd=ROOT,
        env=environment(), stdout=subprocess.DEVNULL, stderr=follower,
    ) as process:
        os.close(follower)
        drawn = b""
        try:
            while piece := os.read(leader, 4096):
                drawn += piece
        except OSError:  # the follower is closed: the process has ended
            pass
    os.close(leader)
    assert process.returncode == 0
    assert b"\r[####" in drawn
    assert b"readings/s" in drawn
    assert drawn.endswith(b"\r\x1b[K")


def test_configuration_errors_exit_with_78(recording: Path, tmp_path: Path) -> None:
    bad = tmp_path / "andon.toml"
    bad.write_text("[input]\ntime_colum = 'ts'\n")
    done = andon("replay", recording, "--out", tmp_path / "out", "--config", bad)
    assert done.returncode == 78
    assert done.stderr == (
        f"andon: {bad}: input.time_colum: unknown setting; did you mean 'time_column'?\n")
    done = andon("replay", recording, "--out", tmp_path / "out", "--config", tmp_path / "absent")
    assert done.returncode == 78
    done = andon("replay", recording, "--out", tmp_path / "out", ANDON_BUDGTE="1/week")
    assert done.returncode == 78
    assert "ANDON_BUDGTE" in done.stderr
    done = andon("replay", recording, "--out", tmp_path / "out", "--budget", "1/fortnight")
    assert done.returncode == 2


def test_lint(tmp_path: Path) -> None:
    path = tmp_path / "andon.toml"
    path.write_text("budget = '1/week'\n[input]\ncounter_seconds = 2\n")
    done = andon("lint", "--config", path)
    assert done.returncode == 0
    first, second = done.stdout.splitlines()
    assert first == f"{path}: no findings"
    assert second.startswith("memory: 4,096 MB a partition: the first ")
    path.write_text("budget = 'rarely'\n[input]\ncounter = 2\n")
    done = andon("lint", "--config", path)
    assert done.returncode == 1
    assert done.stdout.count("\n") == 2
    assert andon("lint", "--config", tmp_path / "absent").returncode == 78


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    with subprocess.Popen([*ANDON, "simulate", "--list-injections"], cwd=ROOT, env=environment(),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        process.wait(timeout=60)
    assert "Traceback" not in said


@pytest.mark.parametrize("seconds", [0.0, 0.3, 1.5])
def test_an_interrupt_ends_in_one_line(tmp_path: Path, seconds: float) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / "long.csv"
    path.write_text("ts,a\n" + "".join(
        f"{i},{v:.3f}\n" for i, v in enumerate(random.normal(size=300_000))))
    with subprocess.Popen(
        [*ANDON, "replay", str(path), "--out", str(tmp_path / "out"), "--no-report"], cwd=ROOT,
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:
        assert process.stderr is not None
        assert "CSV separated" in process.stderr.readline()  # it is at work from here on
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    if process.returncode == 130:  # a fast machine may be done, a busy one at its last breath
        assert said.endswith("andon: interrupted\n")
        assert "Error" not in said
    else:
        assert process.returncode in (0, -signal.SIGINT)


def test_simulate_then_replay(tmp_path: Path) -> None:
    done = andon("simulate", "--out", tmp_path / "line.parquet", "--hours", "0.5", "--seed", "3")
    assert done.returncode == 0
    done = andon("replay", tmp_path / "line.parquet", "--out", tmp_path / "out", "--no-report",
                 "--scores", tmp_path / "scores.parquet")
    assert done.returncode == 0
    assert "asset column 'asset'" in done.stderr


def test_the_demo_shows_itself(tmp_path: Path) -> None:
    done = andon("demo", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "What really happened" in done.stdout
    assert (tmp_path / "out" / "report.html").exists()
    assert "not called" not in done.stdout
    assert "packing-5: cycle time" in done.stdout  # a tenth slower
    assert "assembly-4: sensor bearing_celsius looks faulty" in done.stdout  # frozen
    sentences = {a["sentence"] for a in alerts(tmp_path / "out") if a["state"] == "firing"}
    assert sentences
    assert any(sentence in done.stdout for sentence in sentences)
    assert andon("demo", "--out", tmp_path / "again").stdout.split("readings in")[0] == (
        done.stdout.split("readings in")[0])
    assert andon("demo", "--out", tmp_path / "other", "--seed", "-1").returncode == 2
