"""The README shows the speeds of the results, and says of each whether it is where it should be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import speed, speed_table


def results() -> dict[str, object]:
    found: dict[str, object] = json.loads(speed.RESULTS.read_text(encoding="utf-8"))
    return found


def test_the_readme_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert speed.main(["--table"]) == 0
    readme = speed.README.read_text(encoding="utf-8")
    assert speed_table.within(readme) == capsys.readouterr().out


def test_a_figure_is_told_with_its_aim_and_whether_it_was_missed() -> None:
    figures = [
        {"id": "S-OTHER", "what": "other", "value": 3.0, "unit": "s", "note": "n"},
        {"id": "S-KAFKA-JSON", "what": "json", "value": 1.3e6, "unit": "readings/s", "note": ""},
        {"id": "S-ENGINE", "what": "engine", "value": 314.2, "unit": "ns", "note": ""},
    ]
    about = {"processor": "P", "python": "3", "versions": {"numpy": "2"}}
    told = speed_table.table({"about": about, "figures": figures}).splitlines()
    assert told[4:] == [
        "| engine | `S-ENGINE` | 314 ns | ≤ 250 ns, **missed** |  |",
        "| json | `S-KAFKA-JSON` | 1.3 M readings/s | ≥ 1.0 M readings/s |  |",
        "| other | `S-OTHER` | 3 s |  | n |",
    ]


def test_the_table_is_put_between_the_marks_and_nowhere_else(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"before\n{speed_table.BEGIN}\nold\n{speed_table.END}\nafter\n")
    speed_table.put(path, results())
    readme = path.read_text(encoding="utf-8")
    assert readme.startswith("before\n")
    assert readme.endswith("\nafter\n")
    assert speed_table.within(readme) == speed_table.table(results())


def test_every_aim_is_of_a_figure_that_is_measured() -> None:
    measured = {f["id"] for f in json.loads(speed.RESULTS.read_text())["figures"]}
    assert len(measured) == len(json.loads(speed.RESULTS.read_text())["figures"])
    assert set(speed_table.AIMS) <= measured
