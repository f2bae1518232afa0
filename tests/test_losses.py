"""``andon losses``: a simulated line's losses as they were, other inputs, and what is refused."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import numpy as np
import pytest

from streams import losses
from streams.errors import UsageError
from streams.replay import ReplayOptions, replay
from streams.simulate import TWO_SHIFTS, Injection, LineConfig, default_stations, write_recording
from tests.test_production import shift

HOURS = 13
PLAN = """
[[shift]]
name = "early"
start = "06:00"
end = "14:00"
breaks = ["09:00-09:15", "11:30-12:00"]
[[shift]]
name = "late"
start = "14:00"
end = "22:00"
breaks = ["16:30-16:45", "19:00-19:30"]
"""


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("line")
    config = LineConfig(default_stations(5), shifts=TWO_SHIFTS, seed=4,
                        duration_seconds=HOURS * 3600.0)
    injections = (Injection("slow_cycle", 1, 25_000.0, 18_000.0, 0.03),
                  Injection("micro_stops", 3, 25_000.0, 18_000.0, 12.0))
    write_recording(config, injections, folder / "line.parquet", folder / "truth.json", None)
    (folder / "plan.toml").write_text(PLAN)
    return folder


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    losses.add_arguments(parser)
    return losses.run(parser.parse_args([str(argument) for argument in arguments]))


def result(out: Path) -> dict:
    return json.loads((out / "losses.json").read_text())


def test_the_simulated_line_is_booked_as_it_was(
    line: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [station.name for station in default_stations(5)]
    code = run(line / "line.parquet", "--calendar", line / "plan.toml", "--line", ",".join(names),
               "--out", tmp_path, "--price-per-hour", 60)
    assert code == 0
    truth = json.loads((line / "truth.json").read_text())["booked"]
    found = result(tmp_path)
    for name in names:
        booked = found["assets"][name]["booked_seconds"]
        assert sum(booked.values()) == HOURS * 3600.0
        for heading, seconds in truth[name].items():
            if heading not in ("at_rate", "slow"):
                # A row a second: each of some hundred transitions is known to half a second.
                assert booked[heading] == pytest.approx(seconds, rel=0.01, abs=10.0), heading
        shifts = found["assets"][name]["shifts"]
        assert [shift["name"] for shift in shifts] == ["early", "late"]
        whole = sum(sum(s["booked_seconds"].values()) for s in shifts)
        assert whole == pytest.approx(HOURS * 3600.0)
    kinds = {(name, f["kind"]) for name in names for f in found["assets"][name]["findings"]}
    assert ("mill-2", "slow_cycle") in kinds
    assert ("assembly-4", "micro_stops") in kinds
    assert {name for name, _ in kinds} <= {"mill-2", "assembly-4"}
    said = capsys.readouterr().out
    assert "OEE" in said
    assert "mill-2: cycle time" in said
    text = (tmp_path / "losses.html").read_text()
    assert "http" not in text
    assert "availability = " in text


def table(path: Path, seconds: np.ndarray, columns: dict[str, np.ndarray]) -> Path:
    lines = ["time," + ",".join(columns)]
    start = np.datetime64("2026-03-02T06:00:00")
    for i, second in enumerate(seconds):
        cells = ",".join(f"{column[i]:g}" for column in columns.values())
        lines.append(f"{start + np.timedelta64(int(second), 's')}Z,{cells}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_parts_per_row_and_a_nominal_that_is_given(tmp_path: Path) -> None:
    made = np.array([5.0] * 20 + [0.0] * 4 + [5.0] * 20 + [4.0] * 3)
    path = table(tmp_path / "press.csv", np.arange(made.size) * 300, {"items": made})
    assert run(path, "--parts-per-row", "items", "--cycle-seconds", 60, "--out", tmp_path) == 0
    booked = result(tmp_path)["assets"]["press"]["booked_seconds"]
    assert sum(booked.values()) == (made.size - 1) * 300  # the last row ends the last interval
    assert booked["stop"] == pytest.approx(1200.0, abs=120.0)
    assert booked["at_rate"] == pytest.approx(float(made.sum()) * 60.0, abs=400.0)


def test_a_state_told_in_words_is_booked_as_its_number(tmp_path: Path) -> None:
    said = ["Execute"] * 40 + ["Held"] * 8 + ["Resetting"] * 6 + ["Execute"] * 20 + ["n/a"] * 2
    number = {"Execute": "6", "Held": "11", "Resetting": "15", "n/a": ""}
    for name, state in (("words", said), ("numbers", [number[word] for word in said])):
        lines = [f"2026-03-02T{6 + i // 60:02}:{i % 60:02}:00Z,{s}" for i, s in enumerate(state)]
        path = tmp_path / name / "press.csv"
        path.parent.mkdir()
        path.write_text("\n".join(["time,State", *lines]) + "\n")
        assert run(path, "--out", path.parent) == 0
    booked = result(tmp_path / "words")["assets"]["press"]["booked_seconds"]
    assert booked["stop"] == 8 * 60.0
    assert booked["changeover"] == 6 * 60.0
    assert booked == result(tmp_path / "numbers")["assets"]["press"]["booked_seconds"]


def test_running_is_guessed_from_power_and_the_guess_is_told(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    running = np.repeat([True, False, True, False, True], [400, 100, 600, 20, 300])
    power = np.where(running, 8.0, 1.0) + generator.normal(0.0, 0.2, running.size)
    path = table(tmp_path / "pump.csv", np.arange(running.size) * 10, {"power_kw": power})
    assert run(path, "--out", tmp_path) == 0
    found = result(tmp_path)
    assert "confidence" in found["found"]["pump"]
    booked = found["assets"]["pump"]["booked_seconds"]
    assert booked["stop"] == pytest.approx(1000.0, abs=60.0)
    assert booked["micro_stop"] == pytest.approx(200.0, abs=60.0)
    assert booked["at_rate"] == pytest.approx(13_000.0, abs=120.0)
    energy = found["assets"]["pump"]["energy"]
    assert energy == pytest.approx(float(power.sum()) * 10 / 3600, rel=0.01)


def test_a_long_table_is_one_row_per_time(tmp_path: Path) -> None:
    lines = ["timestamp,asset,sensor,value"]
    for i in range(1200):
        at = f"2026-03-02T06:{i // 60:02d}:{i % 60:02d}Z"
        lines.append(f"{at},mill,state,{6 if i % 200 < 180 else 11}")
        lines.append(f"{at},mill,parts_count,{i // 30}")
    path = tmp_path / "long.csv"
    path.write_text("\n".join(lines) + "\n")
    assert run(path, "--out", tmp_path) == 0
    booked = result(tmp_path)["assets"]["mill"]["booked_seconds"]
    assert booked["micro_stop"] == 120.0
    assert sum(booked.values()) == 1200.0


def orders_and_products(path: Path) -> Path:
    """A press by events: product 7 on order 71, product 9 (8 % slower) on order 72, then +3 %.

    Order and product are told when they change and at no other row.
    """
    first, last = shift(4, 500), shift(5, 600, 1.03, 380)
    rows = np.concatenate([first[1], last[1]])
    rows[len(first[1]) :, 1:4] += first[1][-1, 1:4]
    seconds = np.concatenate([first[0], first[0][-1] + 900.0 + 1.08 * last[0]])
    lines = ["time,state,parts_count,rejects_count,energy_kwh,order,product"]
    begins = {0: "71,7", len(first[0]): "72,9"}
    for i, (second, row) in enumerate(zip(seconds, rows, strict=True)):
        at = np.datetime64("2026-03-02T06:00:00.000") + np.timedelta64(int(second * 1000), "ms")
        said = ",".join(f"{value:g}" for value in row[:4])
        lines.append(f"{at}Z,{said},{begins.get(i, ',')}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_orders_products_and_the_trend_are_told_by_losses_and_by_replay(tmp_path: Path) -> None:
    path = orders_and_products(tmp_path / "press.csv")
    assert run(path, "--out", tmp_path / "losses", "--hold-minutes", 60) == 0
    found = result(tmp_path / "losses")["assets"]["press"]
    assert [order["name"] for order in found["orders"]] == ["71", "72"]
    wall = sum(order["wall_seconds"] for order in found["orders"])
    assert wall == pytest.approx(found["wall_seconds"])
    assert sum(order["parts"] for order in found["orders"]) == found["parts"]
    usual, slower = found["nominal_cycle_seconds"]
    assert slower / usual == pytest.approx(1.08, abs=0.01)
    trend = found["trend"]["slow_cycle"]
    assert trend["of_late"] / trend["usual"] == pytest.approx(1.03, abs=0.01)
    kinds = [f["kind"] for f in found["findings"] if f["state"] == "firing"]
    assert kinds == ["slow_cycle"]  # the three percent, and not the other product
    page = (tmp_path / "losses" / "losses.html").read_text()
    assert "<td>72<td>2026-03-02" in page
    assert "cycle time +3." in page
    options = ReplayOptions((path,), tmp_path / "replay")
    assert replay(options, io.StringIO(), io.StringIO()) == 0
    report = (tmp_path / "replay" / "report.html").read_text()
    assert "order 71: OEE" in report
    assert "order 72: OEE" in report
    assert "cycle time +3." in report
    told = [json.loads(line) for line in
            (tmp_path / "replay" / "alerts.jsonl").read_text().splitlines()]
    assert [a["kind"] for a in told if a["state"] == "firing"] == ["slow_cycle"]


@pytest.mark.parametrize("arguments, says", [
    (["--state-column", "nonsense"], "nonsense"),
    (["--states", "1=dancing"], "dancing"),
    (["--cycle-seconds", "fast"], "fast"),
    (["--cycle-seconds", "other=30"], "other"),
    (["--line", "a,b"], "no asset 'a'"),
    (["--budget", "often"], "often"),
    (["--parts-column", ""], "no column tells"),
])
def test_what_cannot_be_is_said(tmp_path: Path, arguments: list[str], says: str) -> None:
    column = "temperature" if says == "no column tells" else "state"
    path = table(tmp_path / "m.csv", np.arange(50), {column: np.full(50, 6.0)})
    with pytest.raises(UsageError, match=says):
        run(path, "--out", tmp_path, *arguments)


@pytest.mark.parametrize("name", ["stueck", "Stückzahl", "piezas", "Total Parts"])
def test_a_counter_alone_under_a_name_of_its_country(tmp_path: Path, name: str) -> None:
    """Never a level that is too high: cycles are judged, and the summary says so."""
    times, rows = shift(3, 700, 1.05, 500)
    path = tmp_path / "press.csv"
    path.write_text(f"time;{name}\n" + "".join(
        f"{t:.1f};{count:.0f}\n" for t, count in zip(times, rows[:, 1], strict=True)),
        encoding="utf-8")
    said = io.StringIO()
    assert replay(ReplayOptions((path,), tmp_path / "out"), said, io.StringIO()) == 0
    assert "only what is counted was judged" in said.getvalue()
    lines = (tmp_path / "out" / "alerts.jsonl").read_text().splitlines()
    assert {json.loads(line)["kind"] for line in lines} == {"slow_cycle"}
    assert run(path, "--out", tmp_path / "books") == 0
    assert json.loads((tmp_path / "books" / "losses.json").read_text())


def test_a_counter_of_another_name_is_pointed_out(tmp_path: Path) -> None:
    times, rows = shift(3, 700)
    path = tmp_path / "press.csv"
    path.write_text("time,db4_dw12,oil\n" + "".join(
        f"{t:.1f},{row[1]:.0f},{row[4]:.3f}\n" for t, row in zip(times, rows, strict=True)))
    said = io.StringIO()
    assert replay(ReplayOptions((path,), tmp_path / "out"), said, io.StringIO()) == 0
    assert "`db4_dw12` only rises, as a counter does: under [losses]" in said.getvalue()
    assert "`oil`" not in said.getvalue()


@pytest.mark.parametrize("recipes", [("7", "12"), ("A-4711", "B 2")])
def test_what_is_made_is_taken_by_its_name_and_the_summary_says_so(
    tmp_path: Path, recipes: tuple[str, str]
) -> None:
    """The second recipe is hotter: no alarm, unless the setting forbids to take the tag."""
    at, rng = np.arange(2400), np.random.default_rng(4)
    second = (at >= 900) & (at < 1600)
    recipe = np.where(second, recipes[1], recipes[0])
    oil = 40.0 + 9.0 * second + rng.normal(size=at.size)
    path = tmp_path / "press.csv"
    path.write_text("time;Rezept-Nr;oil;variant\n" + "".join(
        f"{60 * t};{r};{o:.3f};{v:.3f}\n"
        for t, r, o, v in zip(at, recipe, oil, rng.normal(size=at.size), strict=True)))
    begun = {}
    for setting in ("", "none"):
        said, out = io.StringIO(), tmp_path / f"out{setting}"
        config = tmp_path / "andon.toml"
        config.write_text(f'warm_up_rows = 500\n[regimes]\nsensor = "{setting}"\n')
        assert replay(ReplayOptions((path,), out, config=config), said, io.StringIO()) == 0
        begun[setting] = (out / "alerts.jsonl").read_text()
        taken = ("`Rezept-Nr` tells what is made: each product is judged by what is usual for it, "
                 'the tag itself is not judged (taken by name, [regimes] sensor = "none" forbids')
        assert (taken in said.getvalue()) == (setting == "")
        assert ("`variant` has a name of what is made, too" in said.getvalue()) == (setting == "")
    assert "Rezept" not in begun[""]
    assert "oil" not in begun[""]
    assert "oil" in begun["none"]
    assert ("Rezept" in begun["none"]) == (recipes[0] == "7")  # a word is never a level
