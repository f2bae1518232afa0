"""The page in a real browser: seen, pressed, spoken, on a wall and on a phone.

The line is simulated and judged by the real engine in this process; what is pressed on the page is
taken up as the live service takes it up. The whole way, broker included, is
``test_live_page.py``'s.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams import verdicts
from streams.commands import Command
from streams.losses_feed import OrderLosses, ShiftLosses
from tests import browser
from tests.browser import Window
from tests.test_page import Hall, hall

if typing.TYPE_CHECKING:
    from playwright.sync_api import Browser

WORDS = {"en": ("Acknowledge", "In order", "Open cases"),
         "de": ("Quittieren", "In Ordnung", "Offene Fälle"),
         "es": ("Reconocer", "En orden", "Casos abiertos"), "zh": ("确认", "正常", "未结案例")}


@pytest.fixture(name="opened", scope="module")
def _opened() -> Iterator[Browser]:
    with browser.browser() as made:
        yield made


@pytest.fixture(name="made")
def _made() -> Iterator[Hall]:
    memory: dict[str, Any] = {}
    given: list[Command] = []

    def give(command: Command) -> None:
        given.append(command)
        asset = made.line.registry.asset(command.asset)
        if command.kind == "acknowledge":
            memory.setdefault("acknowledged", []).append(command.alert)
        elif command.kind == "shelve":
            until_ns = made.line.monitor.newest_ns(asset) + command.for_ns
            verdicts.shelve_until(memory, command.asset, until_ns)
        elif command.kind == "unshelve":
            verdicts.unshelve(memory, command.asset)
        elif command.kind == "feedback":
            verdicts.judge(memory, made.line.monitor, asset, command.alert, command.label)
        made.record.take_memory(0, memory)

    with hall(give=give) as made:
        made.given = given
        made.step(900)
        yield made


def test_a_fault_lights_its_lamp_is_acknowledged_and_clears(opened: Browser, made: Hall) -> None:
    window = Window(opened, made.url)
    page = window.page
    window.lamp("saw", "trusted")
    assert page.get_by_text("Nothing needs attention.").is_visible()
    made.step(40, lift=30.0)
    case, = made.picture()["cases"]
    window.lamp("saw", case["severity"])
    window.lamp("oven", "trusted")
    page.wait_for_selector(f'[data-case="{case["id"]}"] svg[role="img"] .band')
    assert case["sentences"]["en"] in page.inner_text(".sentence")
    assert case["sentences"]["en"] in page.inner_text('[role="log"]')  # spoken, too
    assert "1 " in page.title()
    page.get_by_role("button", name="Acknowledge: saw").click()
    page.wait_for_selector('.lamp[data-asset="saw"].quiet >> text=acknowledged')
    assert page.get_by_role("button", name="Acknowledge: saw").is_disabled()
    assert [(c.kind, c.asset, c.alert) for c in made.given] == [
        ("acknowledge", "saw", case["id"])]
    page.get_by_role("button", name="False alarm: saw").click()
    page.get_by_text("marked as false alarm").first.wait_for()
    page.get_by_role("button", name="Shelve 8 h: saw").click()
    page.get_by_role("button", name="Take off the shelf: saw").click()
    page.get_by_role("button", name="Shelve 8 h: saw").wait_for()
    done = page.get_by_role("button", name="Maintenance done: saw")
    done.click()
    assert made.given[-1].kind == "unshelve"  # asked once more before it forgets what it learned
    done.click()
    page.wait_for_function("document.querySelector('.notice')?.innerText.includes('saw')")
    assert [c.kind for c in made.given] == [
        "acknowledge", "feedback", "shelve", "unshelve", "maintenance"]
    while made.picture()["cases"]:
        made.step(20)
    window.lamp("saw", "trusted")
    page.wait_for_selector(f'[data-over="{case["id"]}"]')
    assert "Over:" in page.inner_text('[role="log"]')
    page.locator(f'[data-over="{case["id"]}"] summary').click()
    page.wait_for_selector(f'[data-over="{case["id"]}"] .episode')
    assert window.complaints == []
    assert all(url.startswith(made.url) for url in window.asked)
    window.close()


def test_keys_are_enough_and_focus_stays_through_updates(opened: Browser, made: Hall) -> None:
    made.step(40, lift=30.0)
    window = Window(opened, made.url)
    page = window.page
    page.get_by_role("button", name="Acknowledge: saw").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "cases"
    page.keyboard.press("Tab")
    assert "Acknowledge" in page.evaluate("document.activeElement.innerText")
    before = page.inner_text(".chart figcaption")
    made.step(30, lift=60.0)
    page.wait_for_function("(old) => document.querySelector('.chart figcaption').innerText !== old",
                           arg=before)
    assert "Acknowledge" in page.evaluate("document.activeElement.innerText")
    page.keyboard.press("Space")
    page.wait_for_selector(".lamp.quiet")
    assert made.given[0].kind == "acknowledge"
    window.close()


@pytest.mark.parametrize("language", WORDS)
def test_page_and_sentences_speak_the_viewer_s_language(
    opened: Browser, made: Hall, language: str,
) -> None:
    made.step(40, lift=30.0)
    window = Window(opened, made.url, language=language)
    page = window.page
    case, = made.picture()["cases"]
    page.get_by_text(case["sentences"][language]).first.wait_for()
    text = page.inner_text("body")
    for word in WORDS[language]:
        assert word in text
    assert page.evaluate("document.documentElement.lang") == language
    page.reload()
    page.wait_for_selector(".lamp")
    assert WORDS[language][2] in page.inner_text("main")
    window.close()


def test_every_language_has_every_word(opened: Browser, made: Hall) -> None:
    window = Window(opened, made.url)
    words = window.page.evaluate(
        "import('/words.js').then((m) => ({words: m.WORDS, headings: m.HEADINGS}))")
    for table in words.values():
        assert set(table) == set(WORDS)
        for language, told in table.items():
            assert set(told) == set(table["en"]), language
            for key, text in told.items():
                assert text.count("{") == table["en"][key].count("{"), (language, key)
    window.close()


@pytest.mark.parametrize("width, height, dark", [
    (1920, 1080, True), (1920, 1080, False), (390, 844, True), (390, 844, False)])
def test_nothing_overflows_and_no_rule_of_access_is_broken(
    opened: Browser, made: Hall, width: int, height: int, dark: bool, tmp_path: Path,
) -> None:
    """axe-core's rules for WCAG 2.2 AA, on a wall and a phone, light and dark."""
    from axe_playwright_python.sync_playwright import Axe

    made.telemetry.take_shift("saw", ShiftLosses(
        made.line.time_ns, made.line.time_ns + 8 * 3600 * 10**9,
        {"slow": 610.0, "micro_stop": 42.0}, 0.85))
    made.step(40, lift=30.0)
    window = Window(opened, made.url, width, height, dark)
    page = window.page
    page.wait_for_selector(".band")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sizes = page.evaluate("""[...document.querySelectorAll('button, select, input, a.lamp')]
        .map((e) => e.getBoundingClientRect()).map((r) => Math.min(r.height, r.width))""")
    assert min(sizes) >= 24  # WCAG 2.2, 2.5.8
    found = Axe().run(page, options={"runOnly": [
        "wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]})
    assert [(v["id"], v["nodes"][0]["html"]) for v in found.response["violations"]] == []
    window.picture(tmp_path / "page.png", whole=True)
    assert (tmp_path / "page.png").stat().st_size > 10_000
    window.close()


def test_a_hundred_machines_fit_and_names_are_only_text(opened: Browser) -> None:
    with hall() as made:
        made.step(5)
        evil = "<img src=x onerror=alert(1)>"
        made.line.registry.columns(made.line.registry.asset(evil), ("speed", "power", "torque"))
        for n in range(100):
            name = f"machine-{n}"
            made.line.registry.columns(made.line.registry.asset(name), ("speed", "power"))
        made.step(5)
        window = Window(opened, made.url)
        window.page.wait_for_selector(".lamps.many")
        assert window.page.locator(".lamp").count() == 104
        assert evil in window.page.inner_text(".lamps")
        assert window.page.locator("main img").count() == 0
        assert window.page.evaluate(
            "document.querySelector('.lamps').getBoundingClientRect().bottom") < 1080
        assert window.page.evaluate(  # what is open stands beside them, not below
            "document.querySelector('#cases').getBoundingClientRect().top") < 200
        window.close()


def test_a_phone_shows_what_matters_of_many_machines_and_the_rest_when_asked(
    opened: Browser,
) -> None:
    with hall() as made:
        made.step(900)
        for n in range(50):
            made.line.registry.columns(made.line.registry.asset(f"machine-{n}"), ("speed",))
            made.telemetry.take_shift(f"machine-{n}", ShiftLosses(
                made.line.time_ns, made.line.time_ns + 8 * 3600 * 10**9, {"slow": 600.0 + n}, 0.9))
        made.step(40, lift=30.0)
        window = Window(opened, made.url, 390, 844)
        page = window.page
        assert page.locator(".lamp:visible").count() == 51  # warming, or in alert
        page.get_by_text("2 In order").last.click()
        page.locator('.lamp[data-asset="oven"]').wait_for()
        assert page.locator(".losses tbody tr").count() == 12
        assert page.locator(".losses tbody th").first.inner_text() == "machine-49"
        page.get_by_role("button", name="Show all 50").click()
        assert page.locator(".losses tbody tr").count() == 50
        assert page.locator(".late").count() == 0, "no column for what nobody tells"
        made.telemetry.take_shift("machine-49", ShiftLosses(
            made.line.time_ns, made.line.time_ns + 8 * 3600 * 10**9, {"slow": 649.0}, 0.9,
            {"slow": 1234.5}, {"slow": 1234.5}, 0.95, (("slow_cycle", 76.0, 77.5),),
            ("running and idle are guessed from power",),
            (OrderLosses("4711", 0.9, 40.0, 300.0), OrderLosses("4712", 0.8, 12.0, 720.0))))
        made.step(1, lift=30.0)
        row = page.locator(".losses tbody tr").first
        row.locator(".late").get_by_text("cycle time +2.0 %, OEE before 95 %").wait_for()
        assert "1,23" in row.inner_text()
        assert "guessed from power" in row.locator("th").inner_text()
        assert "order 4712: 12 min lost" in row.locator("th small").first.inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        window.close()


def test_times_are_told_in_the_viewer_s_zone_or_in_utc(opened: Browser, made: Hall) -> None:
    made.step(40, lift=30.0)
    case, = made.picture()["cases"]
    sentence = case["sentences"]["en"]
    assert "2023-11-14 22:2" in sentence
    window = Window(opened, made.url, zone="Asia/Tokyo")
    page = window.page
    there = sentence.replace("2023-11-14 22:2", "2023-11-15 07:2").replace(" UTC", " GMT+9")
    page.get_by_text(there).first.wait_for()
    assert page.inner_text("article small").startswith("since 07:2")
    assert "data until 2023-11-15 07:2" in page.inner_text(".link")
    page.get_by_label("Times").select_option("UTC")
    page.get_by_text(sentence).first.wait_for()
    page.reload()
    page.get_by_text(sentence).first.wait_for()
    assert page.inner_text("article small").startswith("since 22:2")
    window.close()
    window = Window(opened, made.url)  # a viewer in UTC has nothing to choose
    assert window.page.get_by_label("Times").count() == 0
    window.close()


def test_a_lost_connection_is_said(opened: Browser) -> None:
    with hall() as made:
        made.step(5)
        window = Window(opened, made.url)
        window.page.wait_for_selector(".link.live")
        made.server.close()
        window.page.wait_for_selector(".link.lost >> text=no connection")
        window.close()
