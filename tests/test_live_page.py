"""The whole way, all of it real: simulator, Kafka, ``andon run``, Prometheus, Alertmanager, page.

A line of three stations is simulated; its air begins to leak, and stops leaking. The rows go into a
broker, a worker judges them, Prometheus scrapes it and evaluates our rules, Alertmanager posts to a
webhook, and Chromium has the page open beside it all. What each of them shows is compared with the
engine run over the same rows in one go; every query of every dashboard is asked while it leaks.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomaly.batches import Alert
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams.kafka_codec import Decoder
from streams.losses_feed import lost_seconds
from streams.simulate import Injection, LineConfig, default_stations, simulate
from tests import browser, kafka_broker, live_service, prometheus_tools
from tests.browser import Window
from tests.kafka_broker import ROOT
from tests.live_service import Deployment, deployment
from tests.needed import needs_programs
from tests.prometheus_tools import free_port, query, query_range, wait_for
from tests.test_dashboards import FILES, answers, filled, targets
from tests.test_live_metrics import Scraper, samples, scraped, total, webhook
from tests.test_live_operations import andon

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    needs_programs("prometheus", "prometheus-alertmanager"),
]

ENGINE = 'budget = "1/day"\nwarm_up_rows = 1200\n'
COLUMNS = ("power_kilowatts", "vibration_millimetres_per_second", "pressure_bar", "state",
           "parts_count", "rejects_count")
HOUR = 3600.0
#: Hours of the line at which sending pauses: before the leak, in it, and long after it.
CALM, LEAKING, OVER = 2.45, 2.85, 4.0
LEAKS = "mill-2"
#: Panels that are rightly empty here: nothing was a dead letter, and in less than a day under
#: judgement a rate per week would be noise. ``test_dashboards`` fills them.
EMPTY = {("andon-service", "Dead letters", "A"), ("andon-alarms", "Achieved", "A")}
#: Empty where the engine dares no forecast.
TIME_LEFT = ("andon-asset", "Time left", "A")


class Plant:
    """The simulated rows as messages, by the hour at which they are sent."""

    def __init__(self) -> None:
        start_ns = (int(time.time()) - int(OVER * HOUR)) * 10**9
        self.config = LineConfig(
            stations=default_stations(3), row_interval_seconds=5.0,
            duration_seconds=OVER * HOUR, columns=COLUMNS, seed=5, start_time_ns=start_ns)
        self.names = [station.name for station in self.config.stations]
        leak = Injection("leak", self.names.index(LEAKS), 2.5 * HOUR, 1500.0, 0.4)
        self.rows = list(self._rows(leak))

    def _rows(self, leak: Injection) -> Iterator[tuple[int, str, dict[str, Any]]]:
        for chunk in simulate(self.config, [leak], chunk_seconds=600.0):
            for time_ns, asset, values in zip(
                    chunk.time_ns.tolist(), chunk.asset.tolist(), chunk.values.tolist(),
                    strict=True):
                name = self.names[asset]
                read = {c: None if v != v else v
                        for c, v in zip(chunk.columns, values, strict=True)}
                yield time_ns, name, {"asset": name, "ts": time_ns, "values": read}

    def between(self, first: float, last: float) -> list[tuple[str, dict[str, Any]]]:
        """Messages of these hours, keyed by station."""
        begin, end = (self.config.start_time_ns + int(h * HOUR * 1e9) for h in (first, last))
        return [(name, row) for time_ns, name, row in self.rows if begin <= time_ns < end]


class Oracle:
    """The engine over everything that was sent, partition by partition, in this process."""

    def __init__(self, deployed: Deployment) -> None:
        self.fired: dict[str, Alert] = {}
        self.open: dict[str, Alert] = {}
        self.monitors: dict[str, tuple[Monitor, int]] = {}
        self.period_s: dict[str, float] = {}
        self.latest: dict[str, Any] = {}
        by_partition: dict[int, list[Any]] = {}
        for record in live_service.records(deployed, "readings"):
            by_partition.setdefault(record.partition, []).append(record)
        self.messages = sum(map(len, by_partition.values()))
        for messages in by_partition.values():
            monitor = Monitor(deployed.settings.monitor, Registry())
            for decoded in Decoder(monitor.registry).decode(messages):
                outcome = monitor.process(decoded.readings)
                for i, a in enumerate(outcome.rows.asset.tolist()):
                    name = monitor.registry.assets[a]
                    self.period_s[name] = float(outcome.scores.return_period_s[i])
                    self.latest[name] = outcome.rows.x[i]
                for alert in outcome.alerts:
                    if alert.state == "firing":
                        self.fired[alert.id] = self.open[alert.id] = alert
                    elif alert.state == "resolved":
                        self.open.pop(alert.id, None)
            for a, name in enumerate(monitor.registry.assets):
                self.monitors[name] = (monitor, a)


@pytest.fixture(name="cluster")
def _cluster() -> kafka_broker.Cluster:
    return kafka_broker.shared()


def test_a_leak_is_seen_everywhere_and_acknowledged_and_clears(
    cluster: kafka_broker.Cluster, tmp_path: Path,
) -> None:
    port, plant = free_port(), Plant()
    with (browser.browser() as opened, webhook() as (receiver, told),
          prometheus_tools.alertmanager(tmp_path / "alertmanager", receiver) as manager,
          deployment(cluster, 2, engine=ENGINE) as deployed):
        with deployed.config.open("a") as config:
            config.write(f'[health]\nport = {port}\n[metrics]\nlinger_seconds = 86400.0\n')
        rules = f"""
rule_files: ["{ROOT}/deploy/prometheus/recording.yml", "{ROOT}/deploy/prometheus/alerts.yml"]
alerting:
    alertmanagers: [{{static_configs: [{{targets: ["{manager.removeprefix('http://')}"]}}]}}]
"""
        live_service.send(deployed, plant.between(0.0, CALM))
        deployed.start_worker()
        wait_for(lambda: scraped(port), 120)
        scraper = Scraper(port)  # from here on: while it compiles, restores, joins and works
        try:
            with prometheus_tools.prometheus(tmp_path / "prometheus", port, more=rules) as url:
                window = Window(opened, f"http://127.0.0.1:{port}/")
                live_service.wait_until_done(deployed, 180)
                window.lamp(LEAKS, "trusted")
                _watch_the_leak(deployed, plant, window, url, told, port, tmp_path)
                _watch_it_clear(deployed, plant, window, url, told, port)
                assert window.complaints == []
                assert all(one.startswith(f"http://127.0.0.1:{port}/") for one in window.asked)
                window.close()
        finally:
            scraper.close()
        assert scraper.answers >= 50
        assert scraper.slowest_seconds < 1.0
        assert deployed.stop() == [0], deployed.logs()


def _watch_the_leak(
    deployed: Deployment, plant: Plant, window: Window, url: str, told: list[dict[str, Any]],
    port: int, folder: Path,
) -> None:
    live_service.send(deployed, plant.between(CALM, LEAKING))
    live_service.wait_until_done(deployed, 120)
    oracle = Oracle(deployed)
    alert, = (a for a in oracle.open.values() if a.asset == LEAKS)
    window.lamp(LEAKS, alert.severity)
    page = window.page
    page.get_by_text(alert.sentence).first.wait_for()
    page.wait_for_selector(f'[data-case="{alert.id}"] .band')
    shown = page.inner_text(f'[data-case="{alert.id}"] .chart figcaption')
    assert shown.startswith(alert.contributions[0].sensor)
    page.get_by_role("button", name=f"Acknowledge: {LEAKS}").click()
    page.wait_for_selector(f'.lamp[data-asset="{LEAKS}"].quiet')
    entry = json.loads(andon(deployed, "ledger").stdout.splitlines()[-1])
    assert entry["command"]["kind"] == "acknowledge"
    assert entry["command"]["alert"] == alert.id
    assert LEAKS in page.inner_text(".losses tbody")
    window.picture(folder / "leak.png")
    rule = f'ALERTS{{alertname="AndonMachine",alertstate="firing",asset="{LEAKS}"}}'
    wait_for(lambda: query(url, rule), 30)
    wait_for(lambda: [a for a in told if _is_ours(a, "firing")], 30)
    _ask_the_dashboards(oracle, alert, url, port)


def _watch_it_clear(
    deployed: Deployment, plant: Plant, window: Window, url: str, told: list[dict[str, Any]],
    port: int,
) -> None:
    live_service.send(deployed, plant.between(LEAKING, OVER))
    live_service.wait_until_done(deployed, 120)
    oracle = Oracle(deployed)
    assert not any(a.asset == LEAKS for a in oracle.open.values())
    window.lamp(LEAKS, "trusted")
    alert, *_ = (a for a in oracle.fired.values() if a.asset == LEAKS)
    window.page.wait_for_selector(f'[data-over="{alert.id}"]')
    rule = f'ALERTS{{alertname="AndonMachine",alertstate="firing",asset="{LEAKS}"}}'
    wait_for(lambda: not query(url, rule), 30)
    wait_for(lambda: [a for a in told if _is_ours(a, "resolved")], 30)
    found = samples(port)
    assert total(found, "andon_alerts_total") == len(oracle.fired)
    assert total(found, "andon_messages_total", "accepted") == oracle.messages
    assert total(found, "andon_lag_messages") == 0
    # What Prometheus kept of it: the annotation's region begins and ends with the alert.
    for path in FILES:
        annotation, = json.loads(path.read_text())["annotations"]["list"]
        expression = annotation["expr"].replace("$job", "andon").replace("$asset", LEAKS)
        assert query_range(url, expression, time.time() - 120, time.time(), 1), path.name
        assert not query(url, expression), path.name


def _is_ours(alert: dict[str, Any], status: str) -> bool:
    labels = alert["labels"]
    return (alert["status"] == status and labels["alertname"] == "AndonMachine"
            and labels.get("asset") == LEAKS and labels.get("job") == "andon")


def _ask_the_dashboards(oracle: Oracle, alert: Alert, url: str, port: int) -> None:
    """No query is empty, and those about machines, alerts and messages are right."""
    wait_for(lambda: query(url, "sum(andon_messages_total)"), 10)
    time.sleep(2.5)  # two scrapes
    sensor = alert.contributions[0].sensor
    truth = _truth(oracle, alert, sensor)
    empty, wrong = [], []
    for uid, panel, target in targets():
        key = (uid, panel["title"], target["refId"])
        asked = target["expr"].replace("$asset", LEAKS).replace("$sensor", sensor)
        result = query(url, filled(asked))
        if not result:
            empty.append(key)
        found = answers(result, target.get("legendFormat", ""), panel["type"]) if result else {}
        for name, value in truth.pop(key, {}).items():
            if found.get(name) != pytest.approx(value, rel=1e-6):
                wrong.append((key, name, found, value))
    assert set(empty) == EMPTY | ({TIME_LEFT} if alert.time_left_seconds is None else set())
    assert wrong == []
    assert truth == {}
    lost = {h: v for r in query(url, f'andon_loss_seconds_total{{asset="{LEAKS}"}}')
            for h, v in [(r["metric"]["heading"], float(r["value"][1]))]}
    monitor, a = oracle.monitors[LEAKS]
    told = monitor.statement(a)
    assert told is not None
    for heading, seconds in lost_seconds(told.total).items():
        assert lost[heading] == pytest.approx(seconds, abs=15.0), heading  # told every 10 s
    for path in FILES:
        for variable in json.loads(path.read_text())["templating"]["list"]:
            if variable["type"] == "query":
                asked = variable["query"].removeprefix("label_values(").rpartition(",")[0]
                asked = asked.replace("$job", "andon").replace("$asset", LEAKS)
                assert query(url, asked), (path.name, variable["name"])


def _truth(oracle: Oracle, alert: Alert, sensor: str) -> dict[tuple[str, str, str], Any]:
    monitor, a = oracle.monitors[LEAKS]
    column = monitor.registry.sensors[a].index(sensor)
    low, _, high = monitor.expected(a)
    budget = monitor.config.budget_per_week
    rarity = {name: p / (604_800.0 / budget) for name, p in oracle.period_s.items()}
    kinds = Counter(f"{one.kind} {one.severity}" for one in oracle.fired.values())
    newest = np.flatnonzero(~np.isnan(oracle.latest[LEAKS]))
    assert column in newest
    left = {} if alert.time_left_seconds is None else dict(
        zip(("0.1", "0.5", "0.9"), alert.time_left_seconds, strict=True))
    return {
        TIME_LEFT: left,
        ("andon-line", "Open alerts", "A"): {"": len(oracle.open)},
        ("andon-line", "Machines under judgement", "A"): {"": 1.0},  # all of them
        ("andon-line", "Alarms of the last day", "A"): {"": len(oracle.fired)},
        ("andon-line", "What needs attention", "A"): {
            f"{LEAKS} {alert.kind} {sensor} {alert.severity}": 1.0},
        ("andon-line", "Rarest machines", "A"): rarity,
        ("andon-asset", "Open alerts", "A"): {"": 1.0},
        ("andon-asset", "Rarity", "A"): {"": rarity[LEAKS]},
        ("andon-asset", "$sensor", "A"): {"": oracle.latest[LEAKS][column]},
        ("andon-asset", "$sensor", "B"): {"": low[column]},
        ("andon-asset", "$sensor", "C"): {"": high[column]},
        ("andon-asset", "Evidence", "A"): {c.sensor: c.share for c in alert.contributions},
        ("andon-alarms", "Promised", "A"): {"": budget},
        ("andon-alarms", "Last day", "A"): {"": len(oracle.fired)},
        ("andon-alarms", "Active", "A"): {"": len(oracle.open)},
        ("andon-alarms", "Ten worst sources", "A"): dict(
            Counter(one.asset for one in oracle.fired.values())),
        ("andon-alarms", "Alerts by kind", "A"): dict(kinds),
        ("andon-service", "Ready", "A"): {"": 1.0},
        ("andon-service", "Settings", "A"): {"": 1.0},
        ("andon-service", "Waiting messages", "A"): {"": 0.0},
    }
