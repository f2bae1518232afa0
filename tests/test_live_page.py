"""The whole way, all of it real: simulator, Kafka, ``andon run``, Prometheus, Alertmanager, page.

A line of three stations is simulated; its air begins to leak, slowly, and stops leaking. The rows
go into a broker, with some messages among them that nobody can read, a worker judges them,
Prometheus scrapes it and evaluates our rules, Alertmanager posts to a webhook, and Chromium has the
page open beside it all. What each of them shows is compared with the engine run over the same
messages in one go. While it leaks every query of every dashboard is asked, and each answer has to
be there and to be that number: counts and states exactly, rates within what Prometheus makes of the
edges of its window.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from anomaly.batches import Alert
from anomaly.monitor import Monitor
from anomaly.production import Statement
from anomaly.registry import Registry
from streams.kafka_codec import Decoder
from streams.losses_feed import (
    booked_seconds,
    factors,
    lost_parts_and_energy,
    lost_seconds,
    of_orders,
)
from streams.metric_families import STAGE_BOUNDS_SECONDS
from streams.simulate import Injection, LineConfig, default_stations, simulate
from tests import browser, kafka_broker, live_service, prometheus_tools
from tests.browser import Window
from tests.kafka_broker import ROOT
from tests.live_service import Deployment, deployment
from tests.needed import needs_programs
from tests.prometheus_tools import free_port, query, query_range, wait_for
from tests.test_dashboards import FILES, answers, targets
from tests.test_live_metrics import Scraper, samples, scraped, total, webhook
from tests.test_live_operations import andon

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    needs_programs("prometheus", "prometheus-alertmanager"),
]

WARM_UP_ROWS = 1200
#: Of an hour that is lost; and the orders, of which the second begins after so many hours.
PRICE = 60.0
ORDERS, SECOND_ORDER = (4711.0, 4712.0), 9.0
#: A limit that the leak would reach, so that there is a time left to tell.
ENGINE = f"""
budget = "1/day"
warm_up_rows = {WARM_UP_ROWS}
[sensor.pressure_bar]
limit_low = 4.4
[losses.prices]
per_hour = {PRICE}
"""
COLUMNS = ("power_kilowatts", "vibration_millimetres_per_second", "pressure_bar", "state",
           "parts_count", "rejects_count")
HOUR, DAY, WEEK = 3600.0, 86_400.0, 604_800.0
ROW_SECONDS = 12.0
#: Hours of the line at which sending pauses: before the leak, in it, and long after it. By the
#: first the three stations have been under judgement for nearly a day together.
CALM, LEAKING, OVER = 11.9, 13.9, 16.0
LEAK = Injection("leak", 1, 12.0 * HOUR, 3.0 * HOUR, 0.4)
LEAKS = "mill-2"
#: Messages that cannot be used, sent before each pause; all at the leaking station.
POISON = (b"{", b'{"asset": "mill-2", "ts": "yesterday", "values": {"state": 1}}', b"\xff")
QUANTILES = ("0.1", "0.5", "0.9")
#: How long nothing is sent before the leak; a rate's window reaches into it. Prometheus stretches
#: what was counted between the first and last scrape in a window to the whole of it.
QUIET_SECONDS = 5.0
SCRAPE, EDGES = "500ms", 0.15
#: What goes on between a scrape and our own look: state is written every two seconds and takes as
#: long on a busy machine, and a second sees two commits.
WRITTEN, FURTHER = 4.0, 4.0


class Plant:
    """The simulated rows as messages, by the hour at which they are sent."""

    def __init__(self) -> None:
        self.config = LineConfig(
            stations=default_stations(3), row_interval_seconds=ROW_SECONDS,
            duration_seconds=OVER * HOUR, columns=COLUMNS, seed=8)
        self.names = [station.name for station in self.config.stations]
        assert self.names[LEAK.station] == LEAKS
        self.rows = list(self._rows())

    def _rows(self) -> Iterator[tuple[int, str, dict[str, Any]]]:
        for chunk in simulate(self.config, [LEAK], chunk_seconds=600.0):
            for time_ns, asset, values in zip(
                    chunk.time_ns.tolist(), chunk.asset.tolist(), chunk.values.tolist(),
                    strict=True):
                name = self.names[asset]
                read = {c: None if v != v else v
                        for c, v in zip(chunk.columns, values, strict=True)}
                later = time_ns >= self.config.start_time_ns + SECOND_ORDER * HOUR * 1e9
                read |= {"product": 7.0, "order": ORDERS[int(later)]}
                yield time_ns, name, {"asset": name, "ts": time_ns, "values": read}

    def between(self, first: float, last: float) -> list[tuple[str, bytes]]:
        """Messages of these hours, keyed by station; the last ones cannot be used."""
        begin, end = (self.config.start_time_ns + int(h * HOUR * 1e9) for h in (first, last))
        said = [(name, json.dumps(row).encode()) for time_ns, name, row in self.rows
                if begin <= time_ns < end]
        return [*said, *((LEAKS, bad) for bad in POISON)]


def send(deployed: Deployment, messages: list[tuple[str, bytes]]) -> None:
    sender = live_service.producer(deployed)
    for key, value in messages:
        sender.send(f"{deployed.name}.readings", key=key.encode(), value=value)
    sender.flush()
    sender.close()


@dataclass
class Truth:
    """What everything shown must come to at one moment, as the oracle counted it."""

    messages: Counter[str]
    dead: Counter[str]
    readings: Counter[str]
    rows: int
    fired: dict[str, Alert]
    lost: Counter[tuple[str, str]]
    amounts: tuple[dict[str, float], ...]
    """Parts and energy lost of the machine that leaks, and all of its seconds, by heading."""


@dataclass
class Oracle:
    """The engine over everything that was sent, partition by partition, in this process."""

    deployed: Deployment
    fired: dict[str, Alert] = field(default_factory=dict)
    """As they were when they first fired."""
    open: dict[str, Alert] = field(default_factory=dict)
    cleared: list[Alert] = field(default_factory=list)
    period_s: dict[str, float] = field(default_factory=dict)
    latest: dict[str, Any] = field(default_factory=dict)
    newest_ns: dict[str, int] = field(default_factory=dict)
    judged_ns: dict[str, int] = field(default_factory=dict)
    """Of the first row about which there was an opinion."""
    messages: Counter[str] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    lanes: dict[int, tuple[Monitor, Decoder]] = field(default_factory=dict)
    done: dict[int, int] = field(default_factory=dict)

    def advance(self) -> Truth:
        """Take in what was sent since the last time."""
        fresh: dict[int, list[Any]] = {}
        for record in live_service.records(self.deployed, "readings"):
            if record.offset >= self.done.get(record.partition, 0):
                fresh.setdefault(record.partition, []).append(record)
        for partition, messages in fresh.items():
            if partition not in self.lanes:
                monitor = Monitor(self.deployed.settings.monitor, Registry())
                self.lanes[partition] = monitor, Decoder(monitor.registry)
            self._take(*self.lanes[partition], messages)
            self.done[partition] = messages[-1].offset + 1
        readings: Counter[str] = Counter()
        lost: Counter[tuple[str, str]] = Counter()
        amounts: tuple[dict[str, float], ...] = ({}, {}, {})
        for monitor, _ in self.lanes.values():
            readings.update(monitor.rejected())
            for a, name in enumerate(monitor.registry.assets):
                told = monitor.statement(a)
                assert told is not None
                for heading, seconds in lost_seconds(told.total).items():
                    lost[name, heading] += seconds  # type: ignore[assignment]
                if name == LEAKS:
                    amounts = (*lost_parts_and_energy(told.total), booked_seconds(told.total))
        return Truth(self.messages.copy(), self.dead.copy(), readings, self.rows,
                     dict(self.fired), lost, amounts)

    def _take(self, monitor: Monitor, decoder: Decoder, messages: list[Any]) -> None:
        names = monitor.registry.assets
        for decoded in decoder.decode(messages):
            outcome = monitor.process(decoded.readings)
            assert not outcome.reason.any()  # no reading of the plant is refused
            for _, reason in decoded.dead:
                self.dead[reason] += 1
            sent = decoded.end - decoded.first
            self.messages.update({"in": sent, "accepted": sent - len(decoded.dead),
                                  "dead_lettered": len(decoded.dead)})
            self.rows += len(outcome.rows)
            for i, a in enumerate(outcome.rows.asset.tolist()):
                self.period_s[names[a]] = float(outcome.scores.return_period_s[i])
                self.latest[names[a]] = outcome.rows.x[i]
                self.newest_ns[names[a]] = int(outcome.rows.time_ns[i])
                if math.isfinite(self.period_s[names[a]]):
                    self.judged_ns.setdefault(names[a], self.newest_ns[names[a]])
            for alert in outcome.alerts:
                if alert.state == "firing":
                    self.fired.setdefault(alert.id, alert)
                    self.open[alert.id] = alert
                elif alert.state == "resolved":
                    self.open.pop(alert.id, None)
                    self.cleared.append(alert)

    def of(self, asset: str) -> tuple[Monitor, int]:
        """The monitor that has a machine, and its index there."""
        for monitor, _ in self.lanes.values():
            if asset in monitor.registry.assets:
                return monitor, monitor.registry.assets.index(asset)
        raise AssertionError(f"{asset} has sent nothing")

    def statements(self) -> dict[str, Statement]:
        """What was booked of every machine."""
        told = {name: monitor.statement(a) for monitor, _ in self.lanes.values()
                for a, name in enumerate(monitor.registry.assets)}
        return {name: one for name, one in told.items() if one is not None}

    def the_leak(self) -> Alert:
        """The open alert of the machine that leaks; others of it tell of cycles."""
        alert, = (a for a in self.open.values() if a.asset == LEAKS and a.time_left_seconds)
        return alert

    def lamp(self, asset: str) -> str:
        """What a machine's lamp says: the worst of its alerts, else that it is trusted."""
        worst = [a.severity for a in self.open.values() if a.asset == asset]
        return min(worst, key=["high", "medium", "low"].index, default="trusted")


@pytest.fixture(name="cluster")
def _cluster() -> kafka_broker.Cluster:
    return kafka_broker.shared()


@dataclass
class Scene:
    """Everything that runs, and what the oracle has seen."""

    deployed: Deployment
    plant: Plant
    oracle: Oracle
    window: Window
    url: str
    port: int
    told: list[dict[str, Any]]
    folder: Path


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
        send(deployed, plant.between(0.0, CALM))
        deployed.start_worker()
        wait_for(lambda: scraped(port), 120)
        scraper = Scraper(port)  # from here on: while it compiles, restores, joins and works
        try:
            live_service.wait_until_done(deployed, 180)
            oracle = Oracle(deployed)
            calm = oracle.advance()
            wait_for(lambda: total(samples(port), "andon_messages_total", '"in"')
                     == calm.messages["in"], 20)
            with prometheus_tools.prometheus(
                    tmp_path / "prometheus", port, more=rules, interval=SCRAPE) as url:
                window = Window(opened, f"http://127.0.0.1:{port}/")
                window.lamp(LEAKS, oracle.lamp(LEAKS))
                wait_for(lambda: query(url, "sum(andon_messages_total)"), 20)
                scene = Scene(deployed, plant, oracle, window, url, port, told, tmp_path)
                _watch_the_leak(scene, calm)
                _watch_it_clear(scene)
                assert window.complaints == []
                assert all(one.startswith(f"http://127.0.0.1:{port}/") for one in window.asked)
                window.close()
        finally:
            scraper.close()
        assert scraper.answers >= 50
        assert scraper.slowest_seconds < 1.0
        assert deployed.stop() == [0], deployed.logs()


def _watch_the_leak(scene: Scene, calm: Truth) -> None:
    deployed, oracle, url, page = scene.deployed, scene.oracle, scene.url, scene.window.page
    before = oracle.lamp(LEAKS)
    time.sleep(QUIET_SECONDS)  # scrapes of what was: rates count from here
    window = Measured(deployed.workers[0].pid, scene.port)
    send(deployed, scene.plant.between(CALM, LEAKING))
    live_service.wait_until_done(deployed, 120)
    leak = oracle.advance()
    alert = oracle.the_leak()
    scene.window.lamp(LEAKS, oracle.lamp(LEAKS))
    assert oracle.lamp(LEAKS) != before
    page.get_by_text(alert.sentence).first.wait_for()
    page.wait_for_selector(f'[data-case="{alert.id}"] .band')
    shown = page.inner_text(f'[data-case="{alert.id}"] .chart figcaption')
    assert shown.startswith(alert.contributions[0].sensor)
    rule = f'ALERTS{{alertname="AndonMachine",alertstate="firing",asset="{LEAKS}"}}'
    wait_for(lambda: query(url, rule), 30)
    wait_for(lambda: [a for a in scene.told if _is_ours(a, "firing")], 30)
    _ask_the_dashboards(scene, calm, leak, window)
    for button in page.get_by_role("button", name=f"Acknowledge: {LEAKS}").all():
        button.click()
    page.wait_for_selector(f'.lamp[data-asset="{LEAKS}"].quiet')
    said = [json.loads(line)["command"] for line in
            andon(deployed, "ledger").stdout.splitlines()]
    assert {(c["kind"], c["alert"]) for c in said} == {
        ("acknowledge", a.id) for a in oracle.open.values() if a.asset == LEAKS}
    assert LEAKS in page.inner_text(".losses tbody")
    scene.window.picture(scene.folder / "leak.png")


def _watch_it_clear(scene: Scene) -> None:
    deployed, oracle, url = scene.deployed, scene.oracle, scene.url
    alert = oracle.the_leak()
    send(deployed, scene.plant.between(LEAKING, OVER))
    live_service.wait_until_done(deployed, 120)
    over = oracle.advance()
    assert alert.id not in oracle.open
    scene.window.lamp(LEAKS, oracle.lamp(LEAKS))
    scene.window.page.wait_for_selector(f'[data-over="{alert.id}"]')
    rule = f'ALERTS{{alertname="AndonMachine",alertstate="firing",asset="{LEAKS}"}}'
    wait_for(lambda: not query(url, rule), 30)
    wait_for(lambda: [a for a in scene.told if _is_ours(a, "resolved")], 30)
    found = samples(scene.port)
    assert total(found, "andon_alerts_total") == len(over.fired)
    assert total(found, "andon_messages_total", "accepted") == over.messages["accepted"]
    assert total(found, "andon_lag_messages") == 0
    letters = live_service.records(deployed, "dead")
    assert Counter(dict(r.headers)["andon_reason"].decode() for r in letters) == over.dead
    # What Prometheus kept of it: the annotation's region begins and ends with the alert.
    for path in FILES:
        annotation, = json.loads(path.read_text())["annotations"]["list"]
        expression = annotation["expr"].replace("$job", "andon").replace("$asset", LEAKS)
        assert query_range(url, expression, time.time() - 120, time.time(), 1), path.name
        still = [f"{r['metric']['asset']} {r['metric']['kind']}" for r in query(url, expression)]
        assert f"{LEAKS} {alert.kind}" not in still, path.name


def _is_ours(alert: dict[str, Any], status: str) -> bool:
    labels = alert["labels"]
    return (alert["status"] == status and labels["alertname"] == "AndonMachine"
            and labels.get("asset") == LEAKS and labels.get("job") == "andon")


# -- the dashboards -------------------------------------------------------------------------------


class Measured:
    """What the worker's process and its stages had used when the leak was about to be sent."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid, self.port = pid, port
        self.at, self.before, self.processor_s = time.time(), samples(port), self._processor()

    def _processor(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def processor_seconds(self) -> float:
        """Used since."""
        return self._processor() - self.processor_s

    def resident_bytes(self) -> int:
        """Used now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def grown(self) -> dict[str, float]:
        """Every series of the port: what was added since."""
        now = samples(self.port)
        return {series: value - self.before.get(series, 0.0) for series, value in now.items()}

    def stages(self) -> dict[str, Any]:
        """Between which bounds 99 % of a stage's turns end: NaN = it had none.

        Prometheus stretches each bucket by a little, and the more the fuller it was before, so that
        its quantile may lie in the next bucket below ours or above, up to where a turn ever ended.
        """
        grown, now, name = self.grown(), samples(self.port), "andon_stage_seconds_bucket"
        bounds = (0.0, *STAGE_BOUNDS_SECONDS, math.inf)
        found: dict[str, Any] = {}
        for stage in {s.split('stage="')[1].split('"')[0] for s in grown if s.startswith(name)}:
            series = [f'{name}{{stage="{stage}",le="{bound}"}}'
                      for bound in (*STAGE_BOUNDS_SECONDS, "+Inf")]  # k ends at bounds[1 + k]
            counts, ever = ([counted[one] for one in series] for counted in (grown, now))
            first = next(k for k, n in enumerate(counts) if n >= 0.9 * counts[-1])
            last = next(k for k, n in enumerate(ever) if n >= ever[-1])
            found[stage] = (bounds[max(0, first - 1)], bounds[1 + last]) if counts[-1] else math.nan
        return found


def _ask_the_dashboards(scene: Scene, calm: Truth, leak: Truth, window: Measured) -> None:
    """No query is empty, and all are right."""
    url = scene.url
    wait_for(lambda: (query(url, 'sum(andon_messages_total{outcome="in"})') or [
        {"value": [0, "0"]}])[0]["value"][1] == str(leak.messages["in"]), 20)
    time.sleep(1.5)  # three scrapes
    at = time.time()
    seconds = math.ceil(at - window.at + QUIET_SECONDS - 1.0)
    alert = scene.oracle.the_leak()
    sensor = alert.contributions[0].sensor
    truth = _truth(scene, calm, leak, window, at, seconds)
    empty, wrong, asked = [], [], set()
    for uid, panel, target in targets():
        key = (uid, panel["title"], target["refId"])
        asked.add(key)
        expression = target["expr"]
        for name, value in (("$job", "andon"), ("$asset", LEAKS), ("$sensor", sensor),
                            ("$__rate_interval", f"{seconds}s"), ("$__range", f"{seconds}s")):
            expression = expression.replace(name, value)
        result = query(url, expression, at)
        found = answers(result, target.get("legendFormat", ""), panel["type"])
        if not found:
            empty.append(key)
        if truth[key].keys() != found.keys():
            wrong.append((key, found, truth[key]))
            continue
        for name, want in truth[key].items():
            good = (want[0] <= found[name] <= want[1] if isinstance(want, tuple)
                    else found[name] == pytest.approx(want, rel=1e-6, nan_ok=True))
            if not good:
                wrong.append((key, name, found[name], want))
    assert (empty, wrong) == ([], [])
    assert asked == set(truth)
    for path in FILES:
        for variable in json.loads(path.read_text())["templating"]["list"]:
            if variable["type"] == "query":
                some = variable["query"].removeprefix("label_values(").rpartition(",")[0]
                some = some.replace("$job", "andon").replace("$asset", LEAKS)
                assert query(url, some), (path.name, variable["name"])


def _truth(
    scene: Scene, calm: Truth, leak: Truth, window: Measured, at: float, seconds: int,
) -> dict[tuple[str, str, str], dict[str, Any]]:
    """By dashboard, panel and query: legend to number, or to the lowest and the highest."""
    machines = _of_machines(scene, calm, leak, seconds)
    return machines | _of_alarms(scene, leak) | _of_the_service(
        scene, calm, leak, window, at, seconds)


def _of_machines(
    scene: Scene, calm: Truth, leak: Truth, seconds: int
) -> dict[tuple[str, str, str], dict[str, Any]]:
    oracle = scene.oracle
    alert = oracle.the_leak()
    lead = alert.contributions[0].sensor
    monitor, a = oracle.of(LEAKS)
    column = monitor.registry.sensors[a].index(lead)
    low, _, high = monitor.expected(a)
    ours = [one for one in oracle.open.values() if one.asset == LEAKS]
    budget = monitor.config.budget_per_week
    rarity = {name: p / (WEEK / budget) for name, p in oracle.period_s.items()}
    stated = [c for m, _ in oracle.lanes.values() for c in m.conditions()]
    whole = [c for c in stated if not c.sensor]
    blind = [c.asset for c in stated if c.sensor and c.state == "blind"]
    lost: Counter[str] = Counter()
    for (name, heading), value in leak.lost.items():
        lost[heading] += value - calm.lost[name, heading]
    begun = sum(one.asset == LEAKS for i, one in leak.fired.items() if i not in calm.fired)
    assert begun >= 1
    assert sum(lost.values()) > 60.0
    left = [one.time_left_seconds for one in ours if one.time_left_seconds]
    statements = oracle.statements()
    own = statements[LEAKS]
    orders = of_orders(own)
    assert [float(one.name) for one in orders] == list(ORDERS)
    assert [number for number, _, _ in own.products] == [7.0]
    assert own.trend
    off = {f"{name} {kind}": recent / usual - 1.0 for name, told in statements.items()
           for kind, usual, recent in told.trend if usual > 0.0}
    return {
        ("andon-line", "Open alerts", "A"): {"": len(oracle.open)},
        ("andon-line", "Machines under judgement", "A"): {
            "": sum(c.state == "trusted" for c in whole) / len(whole)},
        ("andon-line", "Blind sensors", "A"): {"": len(blind)},
        ("andon-line", "Alarms of the last day", "A"): {"": len(leak.fired)},
        ("andon-line", "What needs attention", "A"): {
            f"{one.asset} {one.kind} {one.contributions[0].sensor} {one.severity}": 1.0
            for one in oracle.open.values()},
        ("andon-line", "Rarest machines", "A"): {
            name: value for name, value in rarity.items() if not math.isnan(value)},
        ("andon-line", "Alerts over time", "A"): {
            one.asset: 1.0 for one in oracle.open.values()},
        ("andon-line", "Losses of the shift", "A"): {
            heading: _near(value) for heading, value in lost.items()},
        ("andon-line", "Machines by condition", "A"): {
            state: sum(c.state == state for c in whole)
            for state in ("warming", "learning", "trusted")},
        ("andon-line", "OEE of the shift", "A"): {
            name: told.shifts[-1][2].oee for name, told in statements.items()},
        ("andon-line", "Furthest from the reference", "A"): dict(
            sorted(off.items(), key=lambda item: -item[1])[:10]),
        ("andon-asset", "Condition", "A"): {
            c.state: 1.0 for c in whole if c.asset == LEAKS},
        ("andon-asset", "Open alerts", "A"): {"": len(ours)},
        ("andon-asset", "Blind sensors", "A"): {"": blind.count(LEAKS)},
        ("andon-asset", "Alerts so far", "A"): {"": _near(begun)},
        ("andon-asset", "Rarity", "A"): {"": rarity[LEAKS]},
        ("andon-asset", "$sensor", "A"): {"": oracle.latest[LEAKS][column]},
        ("andon-asset", "$sensor", "B"): {"": low[column]},
        ("andon-asset", "$sensor", "C"): {"": high[column]},
        ("andon-asset", "Evidence", "A"): {
            part.sensor: max(p.share for one in ours for p in one.contributions
                             if p.sensor == part.sensor)
            for one in ours for part in one.contributions},
        ("andon-asset", "Time left", "A"): {
            name: min(one[k] for one in left) for k, name in enumerate(QUANTILES)},
        ("andon-asset", "Against the reference", "A"): {
            kind: recent / usual for kind, usual, recent in own.trend if usual > 0.0},
        ("andon-asset", "OEE by shift", "A"): {"present": own.shifts[-1][2].oee} | (
            {"earlier": own.earlier.oee} if own.earlier else {}),
        ("andon-asset", "OEE by shift", "B"): factors(own.shifts[-1][2]),
        ("andon-asset", "Lost by order", "A"): {one.name: one.seconds for one in orders},
        ("andon-asset", "OEE by order", "A"): {one.name: one.oee for one in orders},
        ("andon-asset", "Lost in money", "A"): {
            heading: _near(PRICE / HOUR * (value - calm.lost[LEAKS, heading]))
            for (name, heading), value in leak.lost.items() if name == LEAKS} | {"rejects": 0.0},
        ("andon-asset", "Lost in parts", "A"): _grown(calm.amounts[0], leak.amounts[0]),
        ("andon-asset", "Energy without parts", "A"): _grown(calm.amounts[1], leak.amounts[1]),
        ("andon-asset", "Where the time went", "A"): _grown(calm.amounts[2], leak.amounts[2]),
    }


def _of_alarms(scene: Scene, leak: Truth) -> dict[tuple[str, str, str], dict[str, Any]]:
    oracle = scene.oracle
    budget = oracle.of(LEAKS)[0].config.budget_per_week
    now_ns = max(oracle.newest_ns.values())
    fired = list(leak.fired.values())
    recent = sum(one.time_ns > now_ns - 600 * 10**9 for one in fired)
    machine = sum(one.kind not in ("sensor_fault", "data_gap") for one in fired)
    judged_s = sum(newest - oracle.judged_ns[name]
                   for name, newest in oracle.newest_ns.items()) / 1e9
    assert judged_s > DAY  # else a rate per week would not be told
    return {
        ("andon-alarms", "Promised", "A"): {"": budget},
        ("andon-alarms", "Achieved", "A"): {"": machine / judged_s * WEEK},
        ("andon-alarms", "Last ten minutes", "A"): {"": recent},
        ("andon-alarms", "Last day", "A"): {"": len(fired)},
        ("andon-alarms", "Flood", "A"): {"": float(recent > 10)},
        ("andon-alarms", "Stale", "A"): {
            "": sum(now_ns - one.onset_ns > DAY * 1e9 for one in oracle.open.values())},
        ("andon-alarms", "Chattering", "A"): {"": _chattering(oracle.cleared)},
        ("andon-alarms", "Highest severity", "A"): {
            "": sum(one.severity == "high" for one in fired) / len(fired)},
        ("andon-alarms", "Active", "A"): {"": len(oracle.open)},
        ("andon-alarms", "Ten worst sources", "A"): dict(Counter(one.asset for one in fired)),
        ("andon-alarms", "Alerts by kind", "A"): dict(
            Counter(f"{one.kind} {one.severity}" for one in fired)),
    }


def _chattering(cleared: list[Alert]) -> int:
    """Sources that cleared three times within a minute."""
    times: dict[tuple[str, str, str], list[int]] = {}
    for one in cleared:
        times.setdefault((one.asset, one.kind, one.contributions[0].sensor), []).append(one.time_ns)
    return sum(any(c - a <= 60 * 10**9 for a, c in zip(own, own[2:], strict=False))
               for own in times.values())


def _of_the_service(
    scene: Scene, calm: Truth, leak: Truth, window: Measured, at: float, seconds: int,
) -> dict[tuple[str, str, str], dict[str, Any]]:
    written = {r.partition: r.timestamp / 1e3
               for r in live_service.records(scene.deployed, "state") if r.key == b"checkpoint"}
    state_age = at - min(written.values())
    data_age = at - max(scene.oracle.newest_ns.values()) / 1e9
    grown = window.grown()
    try:
        version = importlib.metadata.version("andon")
    except importlib.metadata.PackageNotFoundError:
        version = "checkout"

    def rates(now: Counter[str], before: Counter[str]) -> dict[str, Any]:
        return {name: _near((count - before[name]) / seconds) for name, count in now.items()}

    here = f"127.0.0.1:{scene.port}"
    used = window.processor_seconds() / (at - window.at)
    return {
        ("andon-service", "Ready", "A"): {"": 1.0},
        ("andon-service", "Settings", "A"): {"": 1.0},
        ("andon-service", "Waiting messages", "A"): {"": 0.0},
        ("andon-service", "Age of the data", "A"): {"": (data_age - 0.1, data_age + 0.1)},
        ("andon-service", "Age of the state", "A"): {
            "": (state_age - WRITTEN, state_age + WRITTEN)},
        ("andon-service", "Version", "A"): {version: 1.0},
        ("andon-service", "Readings by what became of them", "A"): rates(
            leak.readings, calm.readings),
        ("andon-service", "Rows", "A"): {"": _near((leak.rows - calm.rows) / seconds)},
        ("andon-service", "Messages by what became of them", "A"): rates(
            leak.messages, calm.messages),
        ("andon-service", "Dead letters", "A"): dict(leak.dead),
        ("andon-service", "Stages, 99 %", "A"): window.stages(),
        ("andon-service", "Transactions", "A"): {
            "": ((grown["andon_commits_total"] * (1.0 - EDGES) - FURTHER) / seconds,
                 (grown["andon_commits_total"] * (1.0 + EDGES) + FURTHER) / seconds)},
        ("andon-service", "Transactions", "B"): {"": 0.0},
        ("andon-service", "Memory", "A"): {here: _near(window.resident_bytes(), 0.2)},
        ("andon-service", "Processor", "A"): {here: (0.3 * used, 1.3 * used)},
        ("andon-service", "Left out of the metrics", "A"): dict.fromkeys(
            ("view", "asset", "loss", "alert", "sensor"), 0.0),
    }


def _grown(before: dict[str, float], after: dict[str, float]) -> dict[str, Any]:
    return {heading: _near(value - before[heading]) for heading, value in after.items()}


def _near(value: float, share: float = EDGES) -> tuple[float, float]:
    return value * (1.0 - share), value * (1.0 + share)
