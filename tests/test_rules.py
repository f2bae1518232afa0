"""The rules of Prometheus: promtool's unit tests, and that these tests can fail."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from streams.metric_families import TOTALS, Service
from tests import telemetry_stream
from tests.needed import needs_programs
from tests.telemetry_stream import WARM_UP_ROWS, Line

FOLDER = Path(__file__).resolve().parent.parent / "deploy" / "prometheus"
RULES = ("recording.yml", "alerts.yml")

needs_promtool = needs_programs("promtool")


def groups() -> list[dict[str, object]]:
    return [rule for name in RULES
            for group in yaml.safe_load((FOLDER / name).read_text())["groups"]
            for rule in group["rules"]]


def promtool(*arguments: str, folder: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True,
                          check=False, timeout=120)


@needs_promtool
def test_promtool_accepts_rules_and_configuration() -> None:
    assert promtool("check", "rules", *RULES).returncode == 0
    done = promtool("check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_every_rule_says_what_it_should_when_it_should() -> None:
    done = promtool("test", "rules", "rules_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("old, new", [
    ("< 28800", "< 2"), ("> 10\n", "> 11\n"), (">= 300", "> 300"), ("up{job", "up{jab"),
    ("for: 15m", "for: 1m"), ("severity: high", "severity: low"),
])
def test_a_wrong_rule_is_found(tmp_path: Path, old: str, new: str) -> None:
    for path in FOLDER.iterdir():
        shutil.copy(path, tmp_path)
    rules = (tmp_path / "alerts.yml").read_text()
    assert old in rules
    (tmp_path / "alerts.yml").write_text(rules.replace(old, new))
    assert promtool("test", "rules", "rules_test.yml", folder=tmp_path).returncode != 0


def test_every_rule_has_a_test_that_speaks_and_one_that_is_silent() -> None:
    tests = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]
    loud, silent, recorded = set(), set(), set()
    for test in tests:
        for case in test.get("alert_rule_test", ()):
            (loud if case["exp_alerts"] else silent).add(case["alertname"])
        recorded |= {case["expr"] for case in test.get("promql_expr_test", ())}
    alerts = {str(rule["alert"]) for rule in groups() if "alert" in rule}
    assert alerts == loud == silent
    assert {str(rule["record"]) for rule in groups() if "record" in rule} == recorded


def test_every_alert_says_what_to_do() -> None:
    for rule in groups():
        if "alert" in rule:
            assert set(rule["annotations"]) == {"summary", "description"}  # type: ignore[call-overload]


def test_rules_name_only_what_the_program_tells() -> None:
    told, line = telemetry_stream.telemetry(), Line()
    line.step(told, WARM_UP_ROWS + 60)
    line.step(told, 40, lift=30.0)
    told.spent("process", 0.1)
    told.take_service(Service({0: {"in": 1}}, {0: {"x": 1}}, {0: 1}, {0: 1.0},
                              dict.fromkeys(TOTALS, 1.0)))
    families = set(re.findall(r"# TYPE (\S+)", told.render().decode()))
    known = families | {f"{name}_bucket" for name in families} | {
        str(rule["record"]) for rule in groups() if "record" in rule}
    for rule in groups():
        named = set(re.findall(r"\bandon[_:][\w:]+", str(rule["expr"])))
        assert named <= known, rule
        assert named or "up{" in str(rule["expr"])
