"""The page without a browser: what it remembers, what it says, and what it refuses."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import http.client
import importlib.util
import json
import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bcrypt
import numpy as np
import pytest

from anomaly import explain
from anomaly.batches import Alert, Contribution
from streams import front
from streams.commands import Command
from streams.errors import UsageError
from streams.health import Status
from streams.losses_feed import OrderLosses, ShiftLosses
from streams.metrics_settings import MetricsSettings
from streams.page import record as page_record
from streams.page.board import Board, sentences
from streams.page.desk import TOKEN_HEADER, Desk
from streams.page.record import PageRecord
from streams.page.routes import POLICY, pages
from streams.telemetry import Telemetry
from streams.webconfig import WebConfig
from streams.webserver import FOLLOWER_LIMIT, WebServer
from tests.browser import LIBRARY
from tests.kafka_broker import ROOT, unavailable
from tests.telemetry_stream import ASSETS, SENSORS, Line

HOME = ROOT / "streams" / "page"
START_NS = 1_700_000_000 * 10**9


class Hall:
    """A line, what is told of it, and its page on a port."""

    def __init__(self, give: Any = None, hosts: tuple[str, ...] = ()) -> None:
        self.given: list[Command] = []
        self.record = PageRecord()
        self.telemetry = Telemetry(MetricsSettings(), 7.0, page=self.record)
        self.line = Line()
        self.board = Board(self.telemetry, self.record, Status(), "en")
        self.desk = Desk(self.given.append if give is None else give)
        shown = pages(self.board, self.desk, "en", needs_login=False, hosts=hosts)
        self.server = WebServer("127.0.0.1", 0, {}, handlers=shown.handlers, streams=shown.streams)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def step(self, rows: int, lift: float = 0.0) -> None:
        self.line.step(self.telemetry, rows, lift)

    def picture(self) -> dict[str, Any]:
        self.board._made = (-1.0, b"")
        found: dict[str, Any] = json.loads(self.board.text())
        return found


@contextmanager
def hall(**options: Any) -> Iterator[Hall]:
    made = Hall(**options)
    try:
        yield made
    finally:
        made.server.close()


def ask(
    server: WebServer, method: str, path: str, headers: dict[str, str] | None = None,
    body: bytes | None = None,
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def alert(kind: str = "level", state: str = "firing", cause: str = "", **more: Any) -> Alert:
    blamed = (Contribution("power", 0.7, 5.0, 9.0), Contribution("torque", 0.3, 1.0, 2.0))
    if kind in ("sensor_fault", "data_gap"):
        blamed = (Contribution("power", 1.0, math.nan, math.nan),)
    period = math.nan if kind in ("sensor_fault", "data_gap") else 1e6
    onset, now = START_NS, START_NS + 7_200 * 10**9
    known = kind if kind in explain._WORDS["de"] else "level"
    text = explain.sentence("de", known, state, "saw", onset, period, blamed, None, cause,
                            (now - onset) / 1e9)
    return Alert(**{"id": "a1", "asset": "saw", "kind": kind, "state": state, "severity": "low",
                    "onset_ns": onset, "time_ns": now, "return_period_seconds": period,
                    "contributions": blamed, "time_left_seconds": None, "sentence": text} | more)


# -- what is shown --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, state, cause", [
    *((kind, "firing", "") for kind in ("level", "drift", "pattern", "forecast", "coupling",
                                        "rate", "data_gap")),
    ("level", "resolved", ""), ("data_gap", "resolved", ""),
    ("sensor_fault", "firing", "stuck"), ("sensor_fault", "firing", "silent"),
])
def test_a_sentence_is_told_in_every_language(kind: str, state: str, cause: str) -> None:
    one = alert(kind, state, cause)
    told = sentences(one, "de")
    assert set(told) == set(explain.LANGUAGES)
    assert told["de"] == one.sentence
    assert len(set(told.values())) == 4
    if cause:
        assert explain._WORDS["zh"][cause] in told["zh"]


def test_an_expected_interruption_is_told_in_every_language() -> None:
    left = (1_800.0,) * 3
    one = alert("stop_expected", contributions=(), time_left_seconds=left,
                sentence=explain.sentence("de", "stop_expected", "firing", "saw", START_NS,
                                          math.nan, (), left))
    told = sentences(one, "de")
    assert told["de"] == one.sentence
    assert "30 min" in told["en"]
    assert len(set(told.values())) == 4


def test_an_outlook_is_told_in_every_language_too() -> None:
    left = (3_000.0, 90_000.0, 5e6)
    outlook = {one: explain.outlook_sentence(one, "power", 11.0, left, 7e4, "no")
               for one in explain.LANGUAGES}
    one = alert(time_left_seconds=left)
    plain = sentences(one, "de")
    told = sentences(dataclasses.replace(one, sentence=f"{one.sentence} {outlook['de']}"), "de")
    for language, text in told.items():
        assert text == f"{plain[language]} {outlook[language]}"


def test_a_sentence_that_no_template_gives_stays_as_it_is() -> None:
    one = alert(sentence="something else happened")
    assert set(sentences(one, "de").values()) == {one.sentence}
    assert set(sentences(alert(kind="new_kind_of_alert", sentence="x"), "en").values()) == {"x"}


def test_a_fault_lights_its_lamp_opens_a_case_and_is_over() -> None:
    with hall() as made:
        made.step(900)
        calm = made.picture()
        assert {lamp["asset"]: lamp["state"] for lamp in calm["lamps"]} == dict.fromkeys(
            ASSETS, "trusted")
        assert calm["cases"] == []
        made.step(40, lift=30.0)
        alarmed = made.picture()
        case, = alarmed["cases"]
        assert case["asset"] == "saw"
        states = {lamp["asset"]: lamp["state"] for lamp in alarmed["lamps"]}
        assert states == {"press": "trusted", "oven": "trusted", "saw": case["severity"]}
        assert alarmed["states"][case["severity"]] == 1
        assert all("saw" in text for text in case["sentences"].values())
        signals = json.loads(made.board.signals("saw", [s["sensor"] for s in case["sensors"]]))
        assert {s["sensor"] for s in signals} == {s["sensor"] for s in case["sensors"]}
        lead = signals[0]
        column = SENSORS.index(lead["sensor"])
        assert lead["value"][-1] == pytest.approx(made.line.latest[1, column], rel=1e-4)
        low, _, high = made.line.monitor.expected(1)
        assert lead["low"][-1] == pytest.approx(low[column], rel=1e-4)
        assert lead["high"][-1] == pytest.approx(high[column], rel=1e-4)
        assert min(lead["time"]) < case["onset"] < max(lead["time"])
        while made.picture()["cases"]:
            made.step(20)
        over, *_ = made.picture()["over"]
        assert over["id"] == case["id"]
        assert over["state"] == "resolved"


def test_what_people_said_is_shown_until_the_data_have_passed_it() -> None:
    with hall() as made:
        made.step(900)
        made.step(40, lift=30.0)
        case, = made.picture()["cases"]
        until = made.line.time_ns + 30 * 10**9
        made.record.take_memory(0, {"acknowledged": [case["id"]], "shelved": {"saw": until},
                                    "labels": {case["id"]: "false"}})
        told = made.picture()
        lamp = next(lamp for lamp in told["lamps"] if lamp["asset"] == "saw")
        assert lamp["acknowledged"]
        assert told["cases"][0]["acknowledged"]
        assert told["cases"][0]["label"] == "false"
        assert lamp["shelved"] == told["cases"][0]["shelved"] == until / 1e9
        made.step(60, lift=30.0)
        assert all(lamp["shelved"] is None for lamp in made.picture()["lamps"])
        made.record.take_memory(0, {"shelved_once": {"saw": ""}})
        assert made.picture()["cases"][0]["shelved"] == 0.0


def test_losses_of_the_shift_are_told_and_none_are_made_up() -> None:
    with hall() as made:
        made.step(5)
        assert made.picture()["losses"] == []
        made.telemetry.take_shift("saw", ShiftLosses(10**9, 2 * 10**9, {"slow": 61.04}, math.nan))
        made.telemetry.take_shift("oven", ShiftLosses(
            10**9, 2 * 10**9, {"slow": 1.0, "micro_stop": 100.0}, 0.8,
            {"slow": 20.0, "rejects": 1.5}, {"slow": 40.0, "rejects": 3.0}, 0.85,
            (("slow_cycle", 76.0, 77.52), ("energy_per_part", 1.0, 1.004), ("rejects", 0.1, 0.2)),
            ("states are guessed from power",),
            tuple(OrderLosses(f"{4710 + k}", 0.9, 5.0 * k, 60.0 * k) for k in range(4)),
            {"availability": 0.9, "performance": 0.88888}))
        shift = {"start": 1.0, "end": 2.0}
        unknown = {"earlier_oee": None, "money": None, "trend": [], "read_from": [],
                   "orders": [], "factors": {}}
        known = {"earlier_oee": 0.85, "money": 21.5, "trend": [["slow_cycle", 0.02]],
                 "read_from": ["states are guessed from power"],
                 "factors": {"availability": 0.9, "performance": 0.8889},
                 "orders": [{"name": f"{4710 + k}", "oee": 0.9, "seconds": 60.0 * k}
                            for k in (1, 2, 3)]}
        assert made.picture()["losses"] == [
            {"asset": "oven", "oee": 0.8, "seconds": {"slow": 1.0, "micro_stop": 100.0}}
            | shift | known,
            {"asset": "saw", "oee": None, "seconds": {"slow": 61.0}} | shift | unknown]
        made.telemetry.take_losses("saw", {"slow": 61.04})
        assert b'andon_loss_seconds_total{asset="saw",heading="slow"} 61.04' in (
            made.telemetry.render())
        made.telemetry.drop(0)  # another worker's from here on: never told twice
        assert made.picture()["losses"] == []
        time.sleep(0.25)
        assert b"andon_loss_seconds_total{" not in made.telemetry.render()


def test_lamps_are_in_natural_order_and_the_cap_leaves_out_the_quiet_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streams.page.board.LAMP_LIMIT", 2)
    with hall() as made:
        made.step(900)
        made.step(40, lift=30.0)
        told = made.picture()
        assert [lamp["asset"] for lamp in told["lamps"]] == ["oven", "saw"]
        assert told["lamps_left_out"] == 1


# -- what is remembered ---------------------------------------------------------------------------


def test_a_long_episode_keeps_its_beginning_within_the_limits() -> None:
    with hall() as made:
        made.step(900)
        for _ in range(60):
            made.step(100, lift=30.0)
        kept = made.record.signals("saw")
        assert kept is not None
        assert len(kept.time_ns) <= page_record.SAMPLE_LIMIT + 200
        assert (np.diff(kept.time_ns) > 0).all()
        assert kept.time_ns[0] < START_NS + 100 * 10**9
        assert np.diff(kept.time_ns).max() <= 64 * 10**9
        assert np.diff(kept.time_ns[-50:]).max() == 10**9


def test_calm_machines_are_kept_coarsely_and_every_split_of_the_stream_shows_the_same_end() -> None:
    with hall() as one, hall() as other:
        one.step(600)
        for _ in range(60):
            other.step(10)
        kept, same = one.record.signals("oven"), other.record.signals("oven")
        assert kept is not None
        assert same is not None
        assert len(kept.time_ns) <= 600 / 15 + 1
        assert len(same.time_ns) <= 600 / 15 + 1


def test_a_partition_that_goes_takes_its_signals_along() -> None:
    with hall() as made:
        made.step(900)
        made.step(40, lift=30.0)
        made.record.take_memory(0, {"acknowledged": ["x"]})
        made.telemetry.drop(0)
        assert made.record.signals("saw") is None
        assert made.record.standing().acknowledged == frozenset()
        assert made.picture()["lamps"] == []


def test_machines_beyond_the_limit_are_kept_when_they_alarm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_record, "ASSET_LIMIT", 1)
    monkeypatch.setattr(page_record, "ALERT_ASSET_LIMIT", 1)
    with hall() as made:
        made.step(900)
        assert made.record.signals("press") is not None
        assert made.record.signals("saw") is None
        made.step(60, lift=30.0)
        assert made.record.signals("saw") is not None
        assert made.record.signals("oven") is None


# -- what is refused ------------------------------------------------------------------------------


def press(made: Hall, headers: dict[str, str] | None = None, **wish: Any) -> tuple[int, bytes]:
    told = {"Content-Type": "application/json", TOKEN_HEADER: made.desk.token,
            "Origin": made.url, "Sec-Fetch-Site": "same-origin"} | (headers or {})
    body = json.dumps({"kind": "acknowledge", "asset": "saw", "alert": "a1"} | wish).encode()
    status, _, text = ask(made.server, "POST", "/commands",
                          {k: v for k, v in told.items() if v}, body)
    return status, text


def test_buttons_give_the_command_line_s_commands() -> None:
    with hall() as made:
        assert press(made, by="Ana")[0] == 202
        assert press(made, kind="shelve", alert="", hours=8)[0] == 202
        assert press(made, kind="unshelve", alert="")[0] == 202
        assert press(made, kind="feedback", label="false")[0] == 202
        status, text = press(made, kind="maintenance", alert="")
        assert status == 202
        assert [c.kind for c in made.given] == [
            "acknowledge", "shelve", "unshelve", "feedback", "maintenance"]
        first, shelf, _, feedback, last = made.given
        assert (first.asset, first.alert, first.by) == ("saw", "a1", "Ana")
        assert shelf.for_ns == 8 * 3600 * 10**9
        assert feedback.label == "false"
        assert json.loads(text) == {"id": last.id}


def test_where_people_log_in_a_command_bears_their_name_and_any_host_may_ask() -> None:
    users = {"ana": bcrypt.hashpw(b"secret", bcrypt.gensalt(4))}
    with hall() as made:
        shown = pages(made.board, made.desk, "en", needs_login=True)
        server = WebServer("127.0.0.1", 0, {}, WebConfig(users=users), handlers=shown.handlers,
                           streams=shown.streams)
        try:
            told = {"Content-Type": "application/json", TOKEN_HEADER: made.desk.token,
                    "Host": "andon.plant"}
            body = b'{"kind": "acknowledge", "asset": "saw", "alert": "a1", "by": "somebody"}'
            for path in ("/page.js", "/events", "/signals", "/commands", "/"):
                assert ask(server, "GET", path, told)[0] == 401, path
            assert ask(server, "POST", "/commands", told, body)[0] == 401
            told["Authorization"] = "Basic " + base64.b64encode(b"ana:secret").decode()
            assert ask(server, "GET", "/page.js", told)[0] == 200
            assert ask(server, "POST", "/commands", told, body)[0] == 202
        finally:
            server.close()
        assert [command.by for command in made.given] == ["ana"]


@pytest.mark.parametrize("headers", [
    {TOKEN_HEADER: ""}, {TOKEN_HEADER: "guess"}, {"Origin": "http://elsewhere.example"},
    {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
    {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"},
])
def test_another_site_cannot_press_a_button(headers: dict[str, str]) -> None:
    with hall() as made:
        assert press(made, headers)[0] == 403
        assert made.given == []


@pytest.mark.parametrize("wish", [
    {"kind": "revert"}, {"kind": "explode"}, {"asset": ""}, {"alert": ""}, {"more": 1},
    {"kind": "shelve", "hours": 0}, {"kind": "shelve", "hours": 1e9}, {"asset": "x" * 300},
    {"kind": "feedback", "label": "perhaps"}, {"asset": 7}, {"by": "x" * 2000},
])
def test_what_makes_no_sense_is_refused(wish: dict[str, Any]) -> None:
    with hall() as made:
        assert press(made, **wish)[0] == 400
        assert made.given == []


def test_only_a_short_post_is_taken_and_a_broker_that_is_away_is_told() -> None:
    def lost(_: Command) -> None:
        raise UsageError("the command could not be sent: no broker")

    with hall(give=lost) as made:
        status, text = press(made)
        assert status == 503
        assert b"no broker" in text
        assert ask(made.server, "GET", "/commands")[0] == 405
        assert ask(made.server, "POST", "/commands", {}, b"x" * 20_000)[0] == 413
        assert ask(made.server, "POST", "/", {}, b"{}")[0] in (200, 405)
        assert ask(made.server, "PUT", "/", {}, b"{}")[0] == 405


def test_a_desk_that_is_closed_takes_nothing_and_the_page_shows_no_buttons() -> None:
    if not LIBRARY.is_file():
        unavailable("needs the page's library: pip install -e .")
    with hall() as made:
        made.desk._give = None
        assert press(made)[0] == 403
        _, _, text = ask(made.server, "GET", "/")
        assert b'name="andon-token" content=""' in text


@pytest.mark.parametrize("host, status", [
    ("127.0.0.1:9464", 200), ("localhost", 200), ("[::1]:9464", 200), ("192.168.7.4:80", 200),
    ("rebound.example", 421), ("rebound.example:9464", 421), ("andon.plant:9464", 200),
    ("", 421), ("127.0.0.1.rebound.example", 421),
])
def test_a_foreign_name_for_our_address_is_refused(host: str, status: int) -> None:
    with hall(hosts=("andon.plant",)) as made:
        for path in ("/page.js", "/signals", "/events"):
            connection = http.client.HTTPConnection("127.0.0.1", made.server.port, timeout=5)
            connection.putrequest("GET", path, skip_host=True)
            if host:
                connection.putheader("Host", host)
            connection.endheaders()
            assert connection.getresponse().status == status, path
            connection.close()


def test_the_browser_is_told_to_load_nothing_from_elsewhere() -> None:
    with hall() as made:
        for path in ("/page.js", "/page.css", "/words.js", "/chart.js", "/icon.svg", "/signals"):
            status, headers, _ = ask(made.server, "GET", path)
            assert status == 200
            assert headers["Content-Security-Policy"] == POLICY
            assert headers["X-Content-Type-Options"] == "nosniff"
        assert ask(made.server, "GET", "/../page.js")[0] == 404
    assert "unsafe" not in POLICY
    for path in HOME.glob("*.[hjc][ts]*"):
        if path.name != LIBRARY.name:
            text = path.read_text("utf-8")
            assert not re.search(r"https?://|\sstyle=|\son\w+=\"|<style|javascript:", text), path
    assert "<script>" not in (HOME / "index.html").read_text("utf-8")


def test_followers_are_limited_and_a_stream_says_only_what_is_new() -> None:
    with hall() as made:
        made.step(5)
        opened = []
        for _ in range(FOLLOWER_LIMIT):
            connection = http.client.HTTPConnection("127.0.0.1", made.server.port, timeout=5)
            connection.request("GET", "/events")
            answer = connection.getresponse()
            assert answer.status == 200
            opened.append((connection, answer))
        assert ask(made.server, "GET", "/events")[0] == 503
        first = opened[0][1]
        assert first.readline() == b"retry: 2000\n"
        first.readline()
        told = first.readline()
        assert told.startswith(b'data: {"phase"')
        first.readline()
        made.step(5)
        again = first.readline()
        assert again.startswith(b"data: ")
        assert again != told
        for connection, _ in opened:
            connection.close()


@pytest.mark.parametrize("host, local", [
    ("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.8.9.1", True),
    ("0.0.0.0", False), ("::", False), ("10.0.0.4", False), ("andon.plant", False),
])
def test_what_only_this_machine_reaches(host: str, local: bool) -> None:
    assert front.is_loopback(host) == local


# -- what it is made of ---------------------------------------------------------------------------


def builder() -> Any:
    source = ROOT / "streams" / "page" / "build.py"
    spec = importlib.util.spec_from_file_location("andon_page_build", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_library_is_the_one_that_was_looked_at_and_is_not_committed() -> None:
    if not LIBRARY.is_file():
        unavailable("needs the page's library: pip install -e .")
    assert hashlib.sha256(LIBRARY.read_bytes()).hexdigest() == builder().SHA256
    assert "streams/page/preact.js" in (ROOT / ".gitignore").read_text().splitlines()


def test_other_bytes_than_those_are_not_built_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = builder()
    (tmp_path / "library.js").write_text("evil()")
    monkeypatch.setattr(module, "TARGET", tmp_path / "out.js")

    class Found:
        def locate_file(self, name: str) -> Path:
            return tmp_path / "library.js"

    monkeypatch.setattr(module.metadata, "distribution", lambda name: Found())
    with pytest.raises(SystemExit, match="not the file"):
        module.take_library()
    assert not (tmp_path / "out.js").exists()


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    parts = [int(digits[i:i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1])
def test_colours_can_be_told_from_their_ground(theme: int) -> None:
    """WCAG 2.2, 1.4.3 and 1.4.11: text 4.5 to 1, shapes 3 to 1, light and dark."""
    block = re.findall(r":root \{(.*?)\}", (HOME / "page.css").read_text(), re.S)[theme]
    colours = dict(re.findall(r"--(\w+): (#\w{3,6});", block))
    for name, least in [("text", 7.0), ("muted", 4.5), *((n, 4.5) for n in (
            "high", "medium", "low", "sensor", "trusted", "idle"))]:
        for ground in ("card", "ground"):
            lighter, darker = sorted((luminance(colours[name]), luminance(colours[ground])))[::-1]
            assert (lighter + 0.05) / (darker + 0.05) >= least, (name, ground)
