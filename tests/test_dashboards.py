"""The dashboards: what is committed is what the code builds, and every query tells the truth.

No Grafana server opens them here. Instead every panel's, variable's and annotation's query runs on
the real Prometheus, which scrapes the real telemetry while a line goes through a scripted fault;
each answer is compared with what the script did, worked out without any metric. The same is done
with the whole service in ``test_live_page``; here it needs no broker.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from anomaly.batches import Alert
from streams.losses_feed import OrderLosses, ShiftLosses
from streams.metric_families import TOTALS, Service
from streams.metrics_settings import MetricsSettings
from streams.telemetry import Telemetry
from streams.webserver import Answer, WebServer
from tests.needed import needs_packages, needs_programs
from tests.prometheus_tools import fetch, prometheus, query, query_range, wait_for
from tests.telemetry_stream import ASSETS, ENGINE, SENSORS, WARM_UP_ROWS, Line

HOME = Path(__file__).resolve().parent.parent / "deploy" / "grafana"
FILES = sorted((HOME / "dashboards").glob("*.json"))

needs_sdk = needs_packages("grafana_foundation_sdk")
needs_prometheus = needs_programs("prometheus")

LEFT = (3600.0, 7200.0, 14_400.0)
ORDERS = (OrderLosses("4711", 0.75, 40.0, 300.0), OrderLosses("4712", 0.8, 12.0, 60.0))
RATE_SECONDS = 8
RANGE_SECONDS = 120
STEP_SECONDS = 0.25
WEEK_SECONDS = 604_800.0
BUDGET_PER_WEEK = 7.0


# -- the files ------------------------------------------------------------------------------------


def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("grafana_build", HOME / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@needs_sdk
def test_what_is_committed_is_what_the_code_builds() -> None:
    made = build()
    assert {path.stem: path.read_text() for path in FILES} == {
        board.uid: made.text(board) for board in made.BOARDS}


@needs_sdk
def test_decoded_and_encoded_again_is_the_same() -> None:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    made = build()
    for path in FILES:
        plain = json.loads(path.read_text())
        for annotation in plain["annotations"]["list"]:
            for name in made.ANNOTATION_TEXT:  # what the SDK does not know
                del annotation[name]
        again = json.loads(json.dumps(Dashboard.from_json(plain), cls=JSONEncoder))
        assert again == plain


def test_every_panel_has_a_hint_a_place_and_queries() -> None:
    assert len(FILES) == 4
    for path in FILES:
        board = json.loads(path.read_text())
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            assert len(panel["description"]) > 10
            assert panel["targets"]
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                     for y in range(place["y"], place["y"] + place["h"])}
            assert not cells & taken, panel["title"]
            assert place["x"] + place["w"] <= 24
            taken |= cells
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        assert board["annotations"]["list"][0]["titleFormat"]


# -- the script -----------------------------------------------------------------------------------


@dataclass
class Script:
    """A line with a fault, and by hand what it must come to."""

    line: Line
    told: Telemetry
    fired: dict[str, Alert] = field(default_factory=dict)
    open: dict[str, Alert] = field(default_factory=dict)
    period_s: dict[str, float] = field(default_factory=dict)
    readings: int = 0
    rows: int = 0
    steps: int = 0
    checkpoint_at: float = 0.0
    unseen: int = 0
    """Alerts that fired before Prometheus looked."""
    history: list[tuple[float, int, int, int]] = field(default_factory=list)

    def step(self, rows: int, lift: float = 0.0) -> None:
        """The next rows of all machines; one sensor never changes."""
        readings = self.line.readings(rows, lift)
        readings.value[(readings.asset == 2) & (readings.sensor == 2)] = 4.0
        outcome = self.line.monitor.process(readings)
        alerts = tuple(dataclasses.replace(a, time_left_seconds=LEFT) for a in outcome.alerts)
        self.told.observe(0, dataclasses.replace(outcome, alerts=alerts), self.line.monitor)
        for alert in alerts:
            if alert.state == "firing":
                self.fired[alert.id] = self.open[alert.id] = alert
            elif alert.state == "resolved":
                self.open.pop(alert.id, None)
        for i, a in enumerate(outcome.rows.asset.tolist()):
            self.period_s[ASSETS[a]] = float(outcome.scores.return_period_s[i])
        self.readings += len(readings)
        self.rows += rows * len(ASSETS)
        self.steps += 1
        self.told.spent("process", 0.02)
        self.told.take_losses("saw", {"micro_stop": 2.0 * self.steps, "slow": 1.0 * self.steps})
        self.told.take_shift("saw", ShiftLosses(
            0, 10**9, {"slow": 60.0}, 0.8, {}, {"slow": 10.0 * self.steps}, 0.85,
            (("slow_cycle", 76.0, 77.52),), (), ORDERS,
            {"availability": 0.9, "performance": 0.9, "quality": 0.99},
            {"slow": 3.0 * self.steps}, {"slow": 4.0 * self.steps}, {"at_rate": 5.0 * self.steps}))
        self.told.take_service(Service(
            {0: {"in": 24 * self.steps, "accepted": 23 * self.steps}}, {0: {"not_json": 4}},
            {0: 5, 1: 7}, {0: time.time() - 60.0, 1: time.time() - 20.0},
            dict.fromkeys(TOTALS, 0.0) | {"commits": float(self.steps)}, True, time.time(), True,
            time.time()))
        self.checkpoint_at = time.time() - 60.0
        self.history.append((time.time(), self.readings, self.rows, self.steps))

    @property
    def newest_ns(self) -> int:
        return self.line.time_ns - self.line.row_ns

    def rate(self, column: int, at: float) -> float:
        """What was counted per second over the last :data:`RATE_SECONDS` before ``at``."""
        inside = [entry for entry in self.history if at - RATE_SECONDS <= entry[0] <= at]
        return (inside[-1][column] - inside[0][column]) / (inside[-1][0] - inside[0][0])


@dataclass
class Seen:
    """The script at the moment at which the queries are asked."""

    script: Script
    url: str
    at: float
    resolved_at: float


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    row_ns = 60 * 10**9
    told = Telemetry(MetricsSettings(linger_seconds=86_400.0), BUDGET_PER_WEEK)
    line = Line(time.time_ns() - 900 * row_ns, row_ns=row_ns)
    script = Script(line, told)
    for _ in range(16):
        script.step(50)
    assert not script.open, ENGINE
    server = WebServer("127.0.0.1", 0, {"/metrics": lambda: Answer(told.render())})
    try:
        with prometheus(tmp_path_factory.mktemp("prometheus"), server.port) as url:
            wait_for(lambda: query(url, "andon_build_info"), 30)
            script.unseen = len(script.fired)
            for _ in range(24):
                script.step(1)
                time.sleep(STEP_SECONDS)
            for _ in range(48):
                script.step(1, lift=30.0)
                time.sleep(STEP_SECONDS)
            assert script.open
            wait_for(lambda: scraped(url, script), 10)
            at = time.time()
            frozen = dataclasses.replace(
                script, fired=dict(script.fired), open=dict(script.open),
                period_s=dict(script.period_s), history=list(script.history))
            frozen.line = clock_of(line)
            time.sleep(1.0)
            while script.open:
                script.step(1)
                time.sleep(0.05)
            resolved_at = time.time()
            time.sleep(3.0)
            yield Seen(frozen, url, at, resolved_at)
    finally:
        server.close()


def clock_of(line: Line) -> Line:
    """The line's clock and latest values as they are now."""
    kept = Line(line.time_ns, row_ns=line.row_ns)
    kept.latest, kept.monitor, kept.registry = line.latest.copy(), line.monitor, line.registry
    return kept


def scraped(url: str, script: Script) -> bool:
    found = query(url, 'andon_asset_rows_total{asset="saw"}')
    return bool(found) and float(found[0]["value"][1]) == script.rows / len(ASSETS)


# -- the truth ------------------------------------------------------------------------------------

Truth = dict[str, Any]
"""Legend to number, or to (lowest, highest) where Prometheus extrapolates."""


def truth(seen: Seen) -> dict[tuple[str, str, str], Truth]:
    s, at = seen.script, seen.at
    alert, = s.open.values()
    lead = alert.contributions[0].sensor
    low, centre, high = s.line.monitor.expected(1)
    del centre
    power = SENSORS.index("power")
    attention = {a: p / (WEEK_SECONDS / BUDGET_PER_WEEK) for a, p in s.period_s.items()}
    judged = (s.rows - len(ASSETS) * (WARM_UP_ROWS + 1)) * s.line.row_ns / 1e9
    recent = sum(a.time_ns > s.newest_ns - 600 * 10**9 for a in s.fired.values())
    severity = Counter(a.severity for a in s.fired.values())
    kinds = Counter(f"{a.kind} {a.severity}" for a in s.fired.values())
    machine = sum(a.kind not in ("sensor_fault", "data_gap") for a in s.fired.values())
    reasons = s.line.monitor.rejected()

    def near(value: float, share: float = 0.35) -> tuple[float, float]:
        return value * (1 - share), value * (1 + share)

    readings = {r: near(s.rate(1, at)) if r == "accepted" else 0.0 for r in reasons}
    increase = s.history[-1][3] - 16.0
    age = at - s.newest_ns / 1e9
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * 4096
    return {
        ("andon-line", "Open alerts", "A"): {"": 1.0},
        ("andon-line", "Machines under judgement", "A"): {"": 1.0},
        ("andon-line", "Blind sensors", "A"): {"": 1.0},
        ("andon-line", "Alarms of the last day", "A"): {"": len(s.fired)},
        ("andon-line", "What needs attention", "A"): {
            f"saw {alert.kind} {lead} {alert.severity}": 1.0},
        ("andon-line", "Rarest machines", "A"): attention,
        ("andon-line", "Alerts over time", "A"): {"saw": 1.0},
        ("andon-line", "Losses of the shift", "A"): {
            "micro_stop": near(2 * increase), "slow": near(increase)},
        ("andon-line", "Machines by condition", "A"): {
            "warming": 0.0, "learning": 0.0, "trusted": 3.0},
        ("andon-line", "OEE of the shift", "A"): {"saw": 0.8},
        ("andon-line", "Furthest from the reference", "A"): {"saw slow_cycle": 77.52 / 76.0 - 1.0},
        ("andon-asset", "Condition", "A"): {"trusted": 1.0},
        ("andon-asset", "Open alerts", "A"): {"": 1.0},
        ("andon-asset", "Blind sensors", "A"): {"": 0.0},
        ("andon-asset", "Alerts so far", "A"): {"": near(float(len(s.fired) - s.unseen), 0.6)},
        ("andon-asset", "Rarity", "A"): {"": attention["saw"]},
        ("andon-asset", "$sensor", "A"): {"": s.line.latest[1, power]},
        ("andon-asset", "$sensor", "B"): {"": low[power]},
        ("andon-asset", "$sensor", "C"): {"": high[power]},
        ("andon-asset", "Evidence", "A"): {p.sensor: p.share for p in alert.contributions},
        ("andon-asset", "Time left", "A"): dict(zip(("0.1", "0.5", "0.9"), LEFT, strict=True)),
        ("andon-asset", "Against the reference", "A"): {"slow_cycle": 77.52 / 76.0},
        ("andon-asset", "OEE by shift", "A"): {"present": 0.8, "earlier": 0.85},
        ("andon-asset", "Lost by order", "A"): {one.name: one.seconds for one in ORDERS},
        ("andon-asset", "OEE by order", "A"): {one.name: one.oee for one in ORDERS},
        ("andon-asset", "OEE by shift", "B"): {
            "availability": 0.9, "performance": 0.9, "quality": 0.99},
        ("andon-asset", "Lost in money", "A"): {"slow": near(10 * increase)},
        ("andon-asset", "Where the time went", "A"): {"at_rate": near(5 * increase)},
        ("andon-asset", "Lost in parts", "A"): {"slow": near(3 * increase)},
        ("andon-asset", "Energy without parts", "A"): {"slow": near(4 * increase)},
        ("andon-alarms", "Promised", "A"): {"": BUDGET_PER_WEEK},
        ("andon-alarms", "Achieved", "A"): {"": machine / judged * WEEK_SECONDS},
        ("andon-alarms", "Last ten minutes", "A"): {"": recent},
        ("andon-alarms", "Last day", "A"): {"": len(s.fired)},
        ("andon-alarms", "Flood", "A"): {"": 0.0},
        ("andon-alarms", "Stale", "A"): {"": 0.0},
        ("andon-alarms", "Chattering", "A"): {"": 0.0},
        ("andon-alarms", "Highest severity", "A"): {"": severity["high"] / len(s.fired)},
        ("andon-alarms", "Active", "A"): {"": 1.0},
        ("andon-alarms", "Ten worst sources", "A"): dict(
            Counter(a.asset for a in s.fired.values())),
        ("andon-alarms", "Alerts by kind", "A"): dict(kinds),
        ("andon-service", "Ready", "A"): {"": 1.0},
        ("andon-service", "Settings", "A"): {"": 1.0},
        ("andon-service", "Waiting messages", "A"): {"": 12.0},
        ("andon-service", "Age of the data", "A"): {"": (age - 0.1, age + 0.1)},
        ("andon-service", "Age of the state", "A"): {
            "": (at - s.checkpoint_at - 0.5, at - s.checkpoint_at + 0.5)},
        ("andon-service", "Version", "A"): {None: 1.0},  # type: ignore[dict-item]
        ("andon-service", "Readings by what became of them", "A"): readings,
        ("andon-service", "Rows", "A"): {"": near(s.rate(2, at))},
        ("andon-service", "Messages by what became of them", "A"): {
            "in": near(24 * s.rate(3, at)), "accepted": near(23 * s.rate(3, at))},
        ("andon-service", "Dead letters", "A"): {"not_json": 4.0},
        ("andon-service", "Stages, 99 %", "A"): {"process": 0.01 + 0.99 * 0.02},
        ("andon-service", "Transactions", "A"): {"": near(s.rate(3, at))},
        ("andon-service", "Transactions", "B"): {"": 0.0},
        ("andon-service", "Memory", "A"): {None: near(resident, 0.3)},  # type: ignore[dict-item]
        ("andon-service", "Processor", "A"): {None: (0.0, 4.0)},  # type: ignore[dict-item]
        ("andon-service", "Left out of the metrics", "A"): dict.fromkeys(
            ("view", "asset", "loss", "alert", "sensor"), 0.0),
    }


def filled(expression: str) -> str:
    """The query as Grafana would send it for our machine."""
    for name, value in (("$job", "andon"), ("$asset", "saw"), ("$sensor", "power"),
                        ("$__rate_interval", f"{RATE_SECONDS}s"),
                        ("$__range", f"{RANGE_SECONDS}s")):
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def answers(result: list[dict[str, Any]], legend: str, kind: str) -> Truth:
    """Numbers by what the legend shows (of a table: by all its labels)."""
    names = re.findall(r"{{(\w+)}}", legend)
    if kind == "table":
        names = ["asset", "kind", "sensor", "severity"]
    found = {" ".join(r["metric"].get(n, "") for n in names): float(r["value"][1]) for r in result}
    assert len(found) == len(result), "two series look the same"
    return found


def targets() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for path in FILES:
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            for target in panel["targets"]:
                yield board["uid"], panel, target


@needs_prometheus
def test_every_query_of_every_panel_tells_the_truth(seen: Seen) -> None:
    expected = truth(seen)
    wrong, asked = [], set()
    for uid, panel, target in targets():
        key = (uid, panel["title"], target["refId"])
        asked.add(key)
        result = query(seen.url, filled(target["expr"]), seen.at)
        found = answers(result, target.get("legendFormat", ""), panel["type"])
        want = expected[key]
        if None in want:
            want = dict.fromkeys(found, want[None])  # type: ignore[index]
        if not found or found.keys() != want.keys():
            wrong.append((key, found, want))
            continue
        for name, value in found.items():
            limits = want[name]
            good = limits[0] <= value <= limits[1] if isinstance(limits, tuple) else (
                value == pytest.approx(limits, rel=1e-9, abs=1e-12))
            if not good:
                wrong.append((key, name, value, limits))
    assert not wrong, wrong
    assert asked == set(expected)


@needs_prometheus
def test_every_variable_finds_its_values(seen: Seen) -> None:
    wanted = {"job": ["andon"], "asset": sorted(ASSETS), "sensor": sorted(SENSORS)}
    names = set()
    for path in FILES:
        for variable in json.loads(path.read_text())["templating"]["list"]:
            if variable["type"] != "query":
                continue
            names.add(variable["name"])
            asked = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"])
            assert asked is not None
            found = query(seen.url, f"group by ({asked[2]}) ({filled(asked[1])})", seen.at)
            values = sorted(r["metric"][asked[2]] for r in found)
            assert values == wanted[variable["name"]], variable["name"]
    assert names == set(wanted)


@needs_prometheus
def test_annotations_mark_the_fault_from_its_alert_to_its_end(seen: Seen) -> None:
    for path in FILES:
        annotation, = json.loads(path.read_text())["annotations"]["list"]
        result = query_range(seen.url, filled(annotation["expr"]), seen.at - 60,
                             seen.resolved_at + 2.5, 1)
        assert result, path.name
        times = [float(t) for series in result for t, _ in series["values"]]
        assert {v for series in result for _, v in series["values"]} == {"1"}
        assert max(times) <= seen.resolved_at + 1.5  # gone with the next scrape
        assert max(times) >= seen.at - 1.0
        begun = time.time() - seen.at
        assert min(times) > seen.at - 60 - begun
        for name in re.findall(r"{{(\w+)}}", annotation["titleFormat"] + annotation["textFormat"]):
            assert all(series["metric"].get(name) for series in result)


@needs_prometheus
def test_the_scrape_itself_was_clean(seen: Seen) -> None:
    assert fetch(f"{seen.url}/api/v1/targets")["data"]["activeTargets"][0]["lastError"] == ""
    assert query(seen.url, "min_over_time(up[30s])")[0]["value"][1] == "1"
