"""The report's page: true, complete, safe with hostile names, and usable in a real browser."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html.parser
import itertools
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest

from anomaly.batches import Alert
from anomaly.config import MonitorConfig
from anomaly.evaluate import Failure
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams.report import Clock, ReportCollector
from streams.report.view import CARDS, DETAILED, LANES
from tests.needed import needs_programs
from tests.report_stream import (
    DAY,
    HOSTILE,
    HOUR,
    SECOND,
    START,
    Told,
    collected,
    life,
    outcome,
    page_of,
    registry,
    stream,
)
from tests.test_monitor import recording, wide


class Reader(html.parser.HTMLParser):
    """Checks nesting while it reads, and keeps what a browser would look at."""

    VOID = frozenset({"meta", "br", "img", "input", "hr", "link"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.script = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack[-1] == tag, f"</{tag}> closes <{self.stack[-1]}>"
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] == "script":
            self.script += data
        elif not self.stack or self.stack[-1] != "style":
            self.words.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.stack == []
    return reader


@pytest.fixture(scope="module")
def eventful(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with everything on it, and every name hostile."""
    assets, sensors = (HOSTILE, "x" * 200, "saw-2"), (HOSTILE, "motor", '"><img src=x>')
    failures = [Failure(HOSTILE, START + 15 * DAY, HOSTILE), Failure("saw-2", START + 9 * DAY),
                Failure(HOSTILE + "2", START + 9 * DAY)]
    alerts = life(HOSTILE, START + 14 * DAY, START + 15 * DAY, sensors, HOSTILE, HOSTILE,
                  onset_ns=START + 13 * DAY)
    alerts += life(HOSTILE, START + 5 * DAY, START + 5 * DAY + HOUR, sensors[1:], "data_gap", "low",
                   onset_ns=START + 4 * DAY)
    alerts += life("saw-2", START + 19 * DAY, None, [HOSTILE, "unknown sensor"])
    states = {"x" * 200: ("warming", HOSTILE), f"saw-2/{HOSTILE}": ("blind", "sends nothing")}
    collector = collected(assets, failures, alerts, sensors=sensors, states=states, title=HOSTILE,
                          absent=(500, 800))
    return page_of(collector, tmp_path_factory.mktemp("report"))


def test_the_page_is_well_formed_and_every_link_has_its_target(eventful: str) -> None:
    reader = read(eventful)
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag, attrs in reader.tags:
        if tag == "a":
            href = attrs["href"]
            assert href is not None
            assert href.startswith("#")
            assert href[1:] in ids
        for name in ("aria-labelledby",):
            if name in attrs:
                assert attrs[name] in ids


def test_the_page_fetches_nothing_and_says_so_to_the_browser(eventful: str) -> None:
    reader = read(eventful)
    for tag, attrs in reader.tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "image", "use", "base"}
        assert not {"src", "srcset", "xlink:href", "action", "background"} & attrs.keys()
        assert not any(name.startswith("on") for name in attrs)
    markup = re.sub(r"<title>.*?</title>|>[^<]*<", "><", eventful)
    visible = [value for _, attrs in reader.tags for value in attrs.values() if value]
    assert "@import" not in eventful
    assert set(re.findall(r"url\([^)]*\)", markup)) <= {"url(#hatch)"}
    assert all("//" not in value for value in visible if not value.startswith(("<", "Aler"))
               and "evil" not in value)
    assert "//" not in re.sub(r"//[^\n]*\n|'[^']*'|\"[^\"]*\"", "", reader.script)
    policy = next(attrs["content"] for tag, attrs in reader.tags
                  if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    digest = base64.b64encode(hashlib.sha256(reader.script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_hostile_names_are_text_and_never_markup(eventful: str) -> None:
    reader = read(eventful)
    assert [tag for tag, _ in reader.tags].count("script") == 1
    assert "evil" not in reader.script
    assert not any("alert(" in (value or "") for tag, attrs in reader.tags
                   for name, value in attrs.items() if name in ("id", "href", "class", "style"))
    words = "".join(reader.words)
    assert '<script>alert("x")</script>' in words  # shown, as text
    for forbidden in ("\u202e", "\x1b", "\x00"):
        assert forbidden not in eventful


def test_the_page_can_be_heard_and_is_reached_by_keyboard(eventful: str) -> None:
    reader = read(eventful)
    drawings = [attrs for tag, attrs in reader.tags if tag == "svg" and "role" in attrs]
    assert drawings
    assert all(attrs.get("aria-label") for attrs in drawings)
    assert any(attrs.get("class") == "skip" for tag, attrs in reader.tags if tag == "a")
    levels = [int(tag[1]) for tag, _ in reader.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert ("html", {"lang": "en"}) in reader.tags


def test_the_page_shows_bands_episodes_failures_and_what_was_not_judged(eventful: str) -> None:
    reader = read(eventful)
    classes = {name for _, attrs in reader.tags for name in (attrs.get("class") or "").split()}
    assert classes >= {"signal", "band", "edge", "centre", "wash", "cap", "stop", "judged",
                       "warming", "gauge", "data", "medium", "alert-card", "evidence"}
    words = "".join(reader.words).replace("\u00a0", " ")
    assert "Would have warned 1 d before the" in words
    assert "Would not have warned of the failure of saw-2 on 10 Mar 2024 00:00." in words
    assert "it announced the" in words
    assert "sends nothing" in words
    assert "All times are UTC." in words
    assert "3 came too late" in words


def test_an_empty_recording_makes_a_page(tmp_path: Path) -> None:
    collector = ReportCollector(Registry(), 1.0, [Failure("a", START)], "empty.csv")
    text = page_of(collector, tmp_path)
    assert "The recording holds no usable rows." in text
    assert "could not be judged" in text


def test_the_same_recording_gives_the_same_bytes(tmp_path: Path) -> None:
    alerts = life("press-1", START + 14 * DAY, START + 15 * DAY, ["oil"])
    first, second = (page_of(collected(alerts=alerts), tmp_path) for _ in range(2))
    assert first == second


def test_a_row_counter_is_told_in_rows_and_never_in_dates(tmp_path: Path) -> None:
    clock = Clock(row_ns=600 * SECOND)
    failures = [Failure("press-1", START + 15 * DAY, "stop")]
    alerts = life("press-1", START + 14 * DAY, START + 15 * DAY, ["oil"])
    reader = read(page_of(collected(failures=failures, alerts=alerts, clock=clock), tmp_path))
    words = " ".join(reader.words).replace("\u00a0", " ")
    assert "Would have warned 144 rows before the stop of press-1 at row" in words
    assert "per 10,000 rows" in words
    for wrong in ("UTC", "2024", "Mar", " 1970", " a week", " d ", "month"):
        assert wrong not in words
    assert not [attrs for tag, attrs in reader.tags if tag == "time"]


def test_time_from_a_start_is_told_without_dates(tmp_path: Path) -> None:
    failures = [Failure("press-1", START + 15 * DAY, "stop")]
    collector = collected(failures=failures, clock=Clock(from_start=True))
    words = " ".join(read(page_of(collector, tmp_path)).words).replace("\u00a0", " ")
    assert "Would not have warned of the stop of press-1 at +19,798 d 00:00:00." in words
    assert "since the start" in words
    for wrong in ("UTC", "2024", "Mar", "1970"):
        assert wrong not in words


def test_a_thousand_machines_make_a_page_of_bounded_size(tmp_path: Path) -> None:
    names = [f"machine-{k:04d}" for k in range(1_000)]
    collector = ReportCollector(registry(names, ["s", "t"]), 1.0, (), "fleet")
    alerts = [alert for k in range(100, 400)
              for alert in life(names[k], START + (100 + k) * 60 * SECOND, None, ["t"],
                                severity="high" if k == 377 else "low")]
    stream(collector, Told(collector.registry), days=0.5, step_seconds=60, alerts=alerts,
           batch=100_000)
    text = page_of(collector, tmp_path)
    words = "".join(read(text).words).replace("\u00a0", " ")
    assert len(text) < 3_000_000
    assert text.count('class="view lane"') == LANES
    assert text.count('<section class="asset"') == DETAILED
    assert text.count('<article class="alert-card') <= CARDS
    assert f"{1_000 - LANES} more machines not drawn, with {300 - LANES} alerts in all." in words
    assert f"{300 - DETAILED:,} more machines with alerts and 700 machines without alerts" in words
    first = text.index('<section class="asset"')
    assert "machine-0377" in text[first : first + 400]  # the gravest comes first


def test_a_flood_of_alerts_on_one_machine_is_merged_and_counted(tmp_path: Path) -> None:
    alerts = [alert for k in range(3_000)
              for alert in life("press-1", START + DAY + k * 300 * SECOND,
                                START + DAY + (k * 300 + 200) * SECOND, ["oil"])]
    text = page_of(collected(["press-1"], alerts=alerts), tmp_path)
    assert len(text) < 2_000_000
    words = "".join(read(text).words).replace("\u00a0", " ")
    assert "more alerts of this machine not listed." in words


def test_extreme_values_are_cut_and_said(tmp_path: Path) -> None:
    collector = ReportCollector(registry(["a"], ["s"]), 1.0, (), "x")
    x = np.random.default_rng(0).normal(size=(3_000, 1))
    x[1_500] = 1e12
    time_ns = START + np.arange(3_000) * SECOND
    collector.collect(outcome(np.zeros(3_000, np.int64), time_ns, x), Told(collector.registry))
    words = "".join(read(page_of(collector, tmp_path)).words)
    assert re.search(r"Peaks beyond the axis are cut: they reach from −\d[\d.]* to 1\.000×10\^12",
                     words)


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.mkdir()  # cannot be replaced by a file
    with pytest.raises(OSError, match="report"):
        collected().write(target)
    assert target.is_dir()


def test_style_and_script_are_part_of_the_distribution() -> None:
    root = Path(__file__).resolve().parent.parent
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    declared = project["tool"]["setuptools"].get("package-data", {})
    patterns = declared.get("streams.report", []) + declared.get("*", [])
    for path in (root / "streams" / "report").iterdir():
        if path.suffix not in (".py", ".pyc") and path.is_file():
            assert any(path.match(pattern) for pattern in patterns), path.name


def test_the_real_engine_and_the_report_agree(tmp_path: Path) -> None:
    names = Registry()
    monitor = Monitor(MonitorConfig(warm_up_rows=150, budget_per_week=2.0), names)
    batch = wide(names, ["press"], np.zeros(600, np.int64), [recording(1, 600)])
    stop = int(batch.time_ns[-1])
    collector = ReportCollector(names, 2.0, [Failure("press", stop, "stop")], "press.csv")
    fired: list[Alert] = []
    for low in range(0, len(batch), 300):
        part = dataclasses.replace(batch, **{
            item.name: getattr(batch, item.name)[low : low + 300]
            for item in dataclasses.fields(batch)
        })
        said = monitor.process(part)
        fired += [alert for alert in said.alerts if alert.state == "firing"]
        collector.collect(said, monitor)
    collector.collect(monitor.flush(), monitor)
    summary = collector.summary()
    ids = list(dict.fromkeys(alert.id for alert in fired))
    assert ids
    assert (summary.alerts + summary.data_alerts, summary.rows) == (len(ids), 600)
    assert summary.warned is not None
    assert summary.warned.leads[0].verdict == "warned"
    words = "".join(read(page_of(collector, tmp_path)).words)
    for sentence in {alert.sentence for alert in fired if alert.id in ids[:1]}:
        assert sentence in words
    assert "vibration" in words


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)
in_a_browser = needs_programs(*([] if CHROMIUM else ["chromium"]))


def browse(path: Path, profile: Path, width: int = 1366) -> tuple[str, str]:
    """(the document as the browser ends up with it, its console)."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
         "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--allow-file-access-from-files", "--virtual-time-budget=3000",
         "--enable-logging=stderr",
         f"--user-data-dir={profile}", f"--window-size={width},900", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    return done.stdout, console


@in_a_browser
def test_a_browser_runs_the_page_under_its_own_policy(eventful: str, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(eventful, encoding="utf-8")
    document, console = browse(path, tmp_path / "profile")
    assert console == ""
    assert '<html lang="en" class="script">' in document


_PROBE = """
<iframe style="width:390px;height:844px;border:0" src="report.html"></iframe><script>
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentWindow, inside = page.document;
  const chart = inside.querySelector(".chart"), view = chart.querySelector("svg.view");
  const found = { wide: inside.documentElement.scrollWidth - inside.documentElement.clientWidth };
  const box = view.getBoundingClientRect();
  const point = (type, share) => view.dispatchEvent(new page.PointerEvent(type, {
    clientX: box.left + share * box.width, clientY: box.top + 9, button: 0,
    pointerType: "mouse" }));
  view.setPointerCapture = () => {};
  point("pointermove", 0.5);
  found.read = chart.querySelector(".readout").textContent;
  for (const [type, share] of [["pointerdown", 0.25], ["pointermove", 0.4], ["pointerup", 0.5]]) {
    point(type, share);
  }
  found.zoomed = [...inside.querySelectorAll("[data-zoom=page] svg.inner")].map((e) => parseFloat(
    e.getAttribute("width")));
  found.tick = chart.querySelector("ol.x li").textContent;
  view.dispatchEvent(new page.KeyboardEvent("keydown", { key: "Escape" }));
  found.whole = view.querySelector("svg.inner").getAttribute("width");
  document.title = JSON.stringify(found);
});
</script>
"""


@in_a_browser
def test_on_a_phone_values_are_read_and_charts_zoom_together(
    eventful: str, tmp_path: Path
) -> None:
    (tmp_path / "report.html").write_text(eventful, encoding="utf-8")
    probe = tmp_path / "probe.html"
    probe.write_text(f"<!DOCTYPE html><meta charset=utf-8><title>none</title>{_PROBE}")
    document, console = browse(probe, tmp_path / "profile")
    assert console == ""
    match = re.search(r"<title>(.*?)</title>", document)
    assert match is not None
    found = re.sub("&[a-z]+;", "", match[1])
    assert '"wide":0' in found  # nothing to scroll sideways
    assert re.search(r'"read":"1[01] Mar 2024 \d\d:\d\d:\d\d: [−\-\d.]+ to [\d.]+"', found)
    widths = re.search(r'"zoomed":\[([\d.,]+)\]', found)
    assert widths is not None
    assert all(float(width) == pytest.approx(400) for width in widths[1].split(","))
    assert "Mar" in found
    assert '"whole":"100%"' in found
