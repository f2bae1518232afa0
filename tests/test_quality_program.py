"""The program on a miniature folder: rows, store, JSON, page, and andon by its command line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import Recording, command_line, headline, store, verdict_from_rows
from benchmarks.quality.__main__ import main
from benchmarks.quality.bootstrap import estimate, interval, interval_of_difference, means
from benchmarks.quality.command_line import ReplayFailedError, transition
from benchmarks.quality.controls import Control, always_alarm, ewma_z_score
from benchmarks.quality.datasets import cases
from benchmarks.quality.in_process import andon_in_process
from benchmarks.quality.methods import entries
from benchmarks.quality.outcomes import CURVE_BUDGETS, measure
from benchmarks.quality.recordings import NANOSECONDS, Verdict
from benchmarks.quality.results import cell, figure, form, markdown
from benchmarks.quality.rows import MARKS, Row
from benchmarks.quality.transitions import UnknownMachineError, spans_of
from tests import test_quality_miniature as miniature


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = miniature.make(tmp_path / "data")
    monkeypatch.setenv("ANDON_DATA", str(made))
    return made


def _alerts_from_20_cycles_before_the_end(
    recording: Recording, warm_up_rows: int, budget: str
) -> Verdict:
    """A method that cheats: fires on each machine at its 20th row from the end."""
    alert = np.zeros(recording.row_count, np.int8)
    for machine in np.unique(recording.asset):
        rows = np.flatnonzero(recording.asset == machine)
        alert[rows[-21:]] = 1
    return verdict_from_rows(recording, alert.astype(float), alert)


def test_headline_judges_any_method(folder: Path) -> None:
    report = headline(_alerts_from_20_cycles_before_the_end, sets=("cmapss", "skab", "tep"))
    assert report.value("Q-EVENT-CMAPSS-R") == 1.0
    assert report.value("Q-EVENT-CMAPSS-LEAD") == pytest.approx(20 * 60.48)
    assert report.value("Q-EVENT-SKAB-R") == 0.0
    # Six alerts; a window of 91 of the fleet's 944 rows behind its warm-up.
    assert report.value("Q-EVENT-CMAPSS-CHANCE") == pytest.approx(1 - (1 - 91 / 944) ** 6)
    # On its own machine each of the six had a window of 91 in at most 185 rows.
    assert report.value("Q-EVENT-MEAN-CHANCE-MACHINE") > report.value("Q-EVENT-MEAN-CHANCE")
    # The healthy files end healthy: the cheat's alerts there are false.
    assert report.value("Q-FALSE-SKAB-ROWS") == pytest.approx(1e4 / 595)
    assert "Q-PROMISE-RATIO" in report.markdown()
    with pytest.raises(KeyError):
        report.value("Q-NAB-STD")


def test_a_method_that_drops_a_row_is_a_bug(folder: Path) -> None:
    def short(recording: Recording, warm_up_rows: int, budget: str) -> Verdict:
        whole = verdict_from_rows(
            recording, np.zeros(recording.row_count), np.zeros(recording.row_count, np.int8)
        )
        return dataclasses.replace(whole, score=whole.score[1:])

    with pytest.raises(ValueError, match="score has shape"):
        headline(short, sets=("skab",))


def test_tep_rate_and_skab_rows_on_clear_faults(folder: Path) -> None:
    report = headline(Control(ewma_z_score), sets=("tep", "skab"), curve=True)
    assert report.value("Q-TEP-RATE") > 0.9
    assert report.value("Q-SKAB-F1") > 0.7
    assert {f"Q-CURVE-{word}-RATIO" for word in ("DAY", "WEEK", "MONTH")} <= {
        row.id for row in report.rows
    }


def test_outcomes_come_back_from_the_store_as_they_went(folder: Path, tmp_path: Path) -> None:
    case = list(cases("tep"))[1]
    outcome = measure(case, Control(ewma_z_score), CURVE_BUDGETS)
    store.save(tmp_path / "store", "entry", outcome)
    back = store.load(tmp_path / "store", "entry")
    assert back == outcome
    assert back is not None
    assert back.score is not None
    assert outcome.score is not None
    assert np.array_equal(back.score, outcome.score, equal_nan=True)
    assert store.load(tmp_path / "store", "other") is None
    (tmp_path / "store" / "torn.json").write_text("{", encoding="utf-8")
    assert store.load(tmp_path / "store", "torn") is None


def test_the_key_changes_with_whatever_decides_the_outcome(folder: Path) -> None:
    case = next(iter(cases("skab")))
    key = store.key("method", "protocol", case, ("1/week",))
    changed = dataclasses.replace(case, warm_up_rows=case.warm_up_rows + 1)
    x = case.recording.x.copy()
    x[0, 0] += 1.0
    other_data = dataclasses.replace(case, recording=dataclasses.replace(case.recording, x=x))
    others = [
        store.key("method 2", "protocol", case, ("1/week",)),
        store.key("method", "protocol 2", case, ("1/week",)),
        store.key("method", "protocol", case, ("1/day",)),
        store.key("method", "protocol", changed, ("1/week",)),
        store.key("method", "protocol", other_data, ("1/week",)),
    ]
    assert len({key, *others}) == 6
    assert key == store.key("method", "protocol", next(iter(cases("skab"))), ("1/week",))


def test_program_writes_json_and_page_and_runs_nothing_twice(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    arguments = [
        "--set", "skab", "--set", "tep", "--set", "cmapss", "--set", "nab",
        "--method", "ewma-z", "--method", "always-alarm",
        "--jobs", "1", "--store", str(tmp_path / "store"), "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "| Q-SKAB-F1 |" in printed
    assert "skipped, not in the data folder: nab" in printed
    facts = json.loads((tmp_path / "out" / "quality.json").read_text(encoding="utf-8"))
    assert facts["absent_sets"] == ["nab"]
    assert facts["rows"]["always-alarm"]["Q-SKAB-FAR"]["value"] == 1.0
    page = (tmp_path / "out" / "quality.html").read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml;base64,") >= 5
    assert "http" not in page.replace("http-equiv", "")
    entries_before = sorted(path.name for path in (tmp_path / "store").iterdir())
    assert main(arguments) == 0
    assert capsys.readouterr().out == printed
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == entries_before


def test_program_says_where_there_is_no_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANDON_DATA", str(tmp_path / "nowhere"))
    assert main([]) == 2
    assert "ANDON_DATA" in capsys.readouterr().err


def test_differences_are_paired_against_each_control(folder: Path) -> None:
    names = ("skab", "tep", "cmapss")
    outcomes = {
        name: list(headline(run, sets=names).outcomes)
        for name, run in (("mine", _alerts_from_20_cycles_before_the_end), ("always", always_alarm))
    }
    results = form(outcomes, ["always"], [], is_fast=False)
    found = {one.id: one for one in results.differences}
    gain = found["Q-EVENT-MEAN-R"]
    assert gain.value == pytest.approx(2.0 / 3.0)
    assert gain.low <= gain.value <= gain.high
    assert "mine − always" in markdown(results)


def test_bootstrap_covers_and_pairs() -> None:
    random = np.random.default_rng(4)
    covered = 0
    for _ in range(200):
        low, high = interval([means(random.binomial(1, 0.4, 60).tolist())])
        covered += low <= 0.4 <= high
    assert 0.88 <= covered / 200 <= 0.99
    base = random.normal(size=50)
    shifted = (base + 0.1).tolist()
    low, high = interval_of_difference([means(shifted)], [means(base.tolist())])
    assert low == pytest.approx(0.1)
    assert high == pytest.approx(0.1)
    with pytest.raises(ValueError, match="same units"):
        interval_of_difference([means([1.0])], [means([1.0, 2.0])])
    assert estimate([((1.0, 2.0), (1.0, 2.0)), ((3.0, 4.0),)]) == pytest.approx((0.5 + 0.75) / 2)
    assert np.isnan(estimate([]))
    assert np.isnan(interval([means([1.0])])[0])


def test_figures_are_short_and_never_exponents() -> None:
    assert [figure(x) for x in (0.0, 0.12345, 1.5, 123.4, 123456.0, float("nan"))] == [
        "0", "0.123", "1.50", "123", "123,456", "–",
    ]  # fmt: skip
    assert cell(Row("Q-EVENT-SKAB-R", "", 0.875, 0.6, 1.0, "14/16")) == "0.875 14/16 (0.600–1.00)"
    assert cell(Row("Q-EVENT-SKAB-DELAY", "", 58.0, detail="58 s")) == "58 s"
    assert cell(None) == ""


def test_ids_with_marks_are_real_rows(folder: Path) -> None:
    report = headline(always_alarm, sets=("cmapss", "skab", "tep"), curve=True)
    formed = {row.id for row in report.rows}
    absent_sets = ("NAB", "TSB", "UCR", "TOUCH", "HRSS", "IMS")
    assert {i for i in MARKS if i.split("-")[1] not in absent_sets} <= formed


def _fleet() -> Recording:
    time_ns = np.repeat(np.arange(50), 2) * 60 * NANOSECONDS
    return Recording("f", ("a",), time_ns, np.tile([3, 8], 50).astype(np.int64), np.zeros((100, 1)))


def _line(identity: str, asset: str, state: str, minute: int) -> dict[str, object]:
    return {
        "id": identity,
        "asset": asset,
        "state": state,
        "kind": "anomaly",
        "onset": "1970-01-01T00:01:00+00:00",
        "time": f"1970-01-01T00:{minute:02d}:00Z",
        "contributions": [{"sensor": "a", "share": 1.0}],
    }


def test_transitions_become_spans() -> None:
    lines = [
        _line("x", "8", "pending", 4),
        _line("x", "8", "firing", 5),
        _line("y", "3", "firing", 7),
        _line("x", "8", "firing", 8),
        _line("x", "8", "resolved", 9),
    ]
    first, second = spans_of(_fleet(), map(transition, lines))
    assert (first.asset, first.fired_row, first.resolved_row) == (8, 11, 19)
    assert first.sensors == ("a",)
    assert first.onset_ns == 60 * NANOSECONDS
    assert (second.asset, second.fired_row, second.resolved_row) == (3, 14, -1)
    with pytest.raises(UnknownMachineError, match="'5'"):
        spans_of(_fleet(), [transition(_line("z", "5", "firing", 5))])


def test_a_failing_command_line_is_said(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    short = pyarrow.table({"row": [0, 1], "score": [0.0, 0.0]})
    pyarrow.parquet.write_table(short, tmp_path / "scores.parquet")
    with pytest.raises(ReplayFailedError, match="one line per row"):
        command_line.read_answer(_fleet(), tmp_path / "scores.parquet", tmp_path / "none.jsonl")


@pytest.mark.skipif(not command_line.is_runnable(), reason="this checkout has no command line")
@pytest.mark.parametrize("set_name", ["skab", "cmapss"])
def test_andon_answers_every_row_through_its_command_line(folder: Path, set_name: str) -> None:
    case = list(cases(set_name))[-1]
    verdict = command_line.andon(case.recording, case.warm_up_rows, "1/week")
    assert verdict.score.shape == (case.recording.row_count,)
    opinions = verdict.score[~np.isnan(verdict.score)]
    assert opinions.size
    assert np.all(opinions >= 0)
    assert set(np.unique(verdict.alert)) <= {0, 1}
    fired = {span.fired_row for span in verdict.alerts}
    assert fired <= set(np.flatnonzero(verdict.alert).tolist())


@pytest.mark.skipif(not command_line.is_runnable(), reason="this checkout has no command line")
@pytest.mark.parametrize("set_name", ["skab", "cmapss"])
def test_command_line_and_engine_give_the_same_numbers(folder: Path, set_name: str) -> None:
    case = list(cases(set_name))[-1]
    told = command_line.andon(case.recording, case.warm_up_rows, "1/day")
    engine = andon_in_process()(case.recording, case.warm_up_rows, "1/day")
    assert np.array_equal(told.score, engine.score, equal_nan=True)
    assert np.array_equal(told.return_period_s, engine.return_period_s, equal_nan=True)
    assert np.array_equal(told.alert, engine.alert)
    assert [(s.asset, s.fired_row, s.resolved_row, s.kind) for s in told.alerts] == [
        (s.asset, s.fired_row, s.resolved_row, s.kind) for s in engine.alerts
    ]


def test_methods_are_named_once_and_controls_are_marked() -> None:
    table = entries()
    assert [entry.name for entry in table.values()] == list(table)
    assert table["random"].is_control
    versions = [entry.version() for entry in table.values()]
    assert len(set(versions)) == len(versions)
