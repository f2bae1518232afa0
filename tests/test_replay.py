"""``andon replay`` from files to files: the shape that programs rely on, the laws of the scores.

Everything runs through the real engine. The recordings are small and made here, seeded.
"""

from __future__ import annotations

import io
import json
import os
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from streams import codec, csvfile, recordings
from streams.errors import InputError, UsageError
from streams.pace import Choice, choice_for
from streams.replay import ReplayOptions, replay
from streams.settings import load

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
ALERT_FIELDS = ["id", "asset", "kind", "state", "severity", "onset", "time",
                "return_period_seconds", "contributions", "time_left_seconds", "sentence"]
SCORE_FIELDS = ["row", "time", "asset", "score", "return_period_seconds", "alert"]


def machine(rows: int, sensors: int, seed: int) -> npt.NDArray[np.float64]:
    """Noise around levels, and from three quarters on a shift that nobody can miss."""
    random = np.random.default_rng(seed)
    values = random.normal(0, 1, (rows, sensors)) + 50.0 * np.arange(1, sensors + 1)
    values[3 * rows // 4 :, 0] += 15.0
    return np.round(values, 3)


def fleet(path: Path, rows: int = 1200, assets: int = 2) -> pa.Table:
    """A wide recording of several machines in time order, one minute a row."""
    parts = [machine(rows, 3, seed) for seed in range(assets)]
    time = np.repeat(START + np.arange(rows) * 60 * SECOND, assets)
    columns = {
        "ts": pa.array(time).cast(pa.timestamp("ns", "UTC")),
        "machine": pa.array([f"press-{a}" for a in range(assets)] * rows),
    }
    for j in range(3):
        columns[f"s{j}"] = pa.array(np.stack([part[:, j] for part in parts], 1).ravel())
    table = pa.table(columns)
    pq.write_table(table, path)
    return table


def run(out: Path, *files: Path, **options: object) -> tuple[str, str]:
    """Replay in process; returns what it said on standard output and error."""
    stdout, stderr = io.StringIO(), io.StringIO()
    assert replay(ReplayOptions(files, out, **options), stdout, stderr) == 0  # type: ignore[arg-type]
    return stdout.getvalue(), stderr.getvalue()


def alerts(out: Path) -> list[dict[str, object]]:
    text = (out / "alerts.jsonl").read_text(encoding="utf-8")
    return [json.loads(line, parse_constant=lambda c: pytest.fail(c)) for line in text.splitlines()]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "fleet.parquet"
    fleet(path)
    return path


@pytest.fixture(scope="module")
def result(recording: Path) -> Path:
    out = recording.parent / "out"
    run(out, recording, scores=out / "scores.parquet", warm_up_rows=1000, budget="2/day")
    return out


def test_alerts_have_the_promised_fields(result: Path) -> None:
    found = alerts(result)
    assert {a["asset"] for a in found if a["state"] == "firing"} == {"press-0", "press-1"}
    for alert in found:
        assert list(alert) == ALERT_FIELDS
        assert alert["state"] in ("pending", "firing", "resolved")
        for name in ("onset", "time"):
            text = str(alert[name])
            assert text.endswith("Z")
            assert datetime.fromisoformat(text).timestamp() > START / SECOND
        for part in alert["contributions"]:  # type: ignore[attr-defined]
            assert list(part) == ["sensor", "share", "expected", "actual"]
        left = alert["time_left_seconds"]
        assert left is None or list(left) == ["p10", "p50", "p90"]  # type: ignore[call-overload]
        assert alert["sentence"]


def test_one_line_of_scores_for_every_row(recording: Path, result: Path) -> None:
    scores = pq.read_table(result / "scores.parquet")
    given = pq.read_table(recording)
    assert scores.column_names == SCORE_FIELDS
    assert scores["row"].to_pylist() == list(range(2400))
    assert scores["asset"].to_pylist() == given["machine"].to_pylist()
    assert scores["time"].cast(pa.int64()).equals(given["ts"].cast(pa.int64()))
    score, alert = scores["score"].to_numpy(), scores["alert"].to_numpy()
    period = scores["return_period_seconds"].to_numpy()
    assert np.isnan(period[:1000]).all()  # nothing is rated while the engine learns
    assert (period[1002:] > 0).all()
    assert (score[1002:] >= 0).all()
    assert not (score[:1000] < 0).any()
    assert not alert[:1800].any()
    assert alert[1800:].any()
    assert scores["score"].null_count == 0


def test_the_alert_column_agrees_with_the_alerts(result: Path) -> None:
    """An asset's rows are marked exactly from a firing to its resolving, by the alerts' times."""
    scores = pq.read_table(result / "scores.parquet").to_pydict()
    open_at: dict[str, set[str]] = {}
    expected = {}
    changes = [(str(a["time"]), str(a["asset"]), str(a["id"]), str(a["state"]))
               for a in alerts(result)]
    for row, time in enumerate(scores["time"]):
        asset = scores["asset"][row]
        text = time.strftime("%Y-%m-%dT%H:%M:%S")
        for when, owner, name, state in changes:
            if owner == asset and when.startswith(text):
                if state == "firing":
                    open_at.setdefault(asset, set()).add(name)
                if state == "resolved":
                    open_at.get(asset, set()).discard(name)
        expected[row] = int(bool(open_at.get(asset)))
    marked = {row: flag for row, flag in enumerate(scores["alert"]) if flag != expected[row]}
    assert not marked


def test_the_same_input_gives_the_same_bytes(recording: Path, result: Path, tmp_path: Path) -> None:
    run(tmp_path / "again", recording, scores=tmp_path / "scores.parquet", warm_up_rows=1000,
        budget="2/day")
    for name in ("alerts.jsonl", "rejected.jsonl", "report.html"):
        assert (tmp_path / "again" / name).read_bytes() == (result / name).read_bytes(), name
    assert (tmp_path / "scores.parquet").read_bytes() == (result / "scores.parquet").read_bytes()


def test_batches_and_blocks_change_no_byte(
    recording: Path, result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "READINGS_PER_BATCH", 97)
    monkeypatch.setattr(recordings, "FRAME_VALUES", 1)
    run(tmp_path, recording, scores=tmp_path / "scores.parquet", warm_up_rows=1000,
        budget="2/day", report=False)
    assert (tmp_path / "alerts.jsonl").read_bytes() == (result / "alerts.jsonl").read_bytes()
    assert (tmp_path / "scores.parquet").read_bytes() == (result / "scores.parquet").read_bytes()


def test_csv_gives_what_parquet_gives(
    recording: Path, result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fleet.csv"
    pacsv.write_csv(pq.read_table(recording), path)
    monkeypatch.setattr(csvfile, "BLOCK_BYTES", 5000)
    run(tmp_path / "out", path, scores=tmp_path / "scores.csv", warm_up_rows=1000, budget="2/day",
        report=False)
    assert (tmp_path / "out" / "alerts.jsonl").read_bytes() == (
        (result / "alerts.jsonl").read_bytes())
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[0] == ",".join(SCORE_FIELDS)
    table = pq.read_table(result / "scores.parquet").to_pydict()
    assert len(lines) == 2401
    for row, line in enumerate(lines[1:]):
        number, time, asset, score, period, alert = line.split(",")
        assert (int(number), asset, int(alert)) == (row, table["asset"][row], table["alert"][row])
        assert time.startswith(table["time"][row].strftime("%Y-%m-%dT%H:%M:%S"))
        for text, name in ((score, "score"), (period, "return_period_seconds")):
            value = table[name][row]
            assert text == "" if np.isnan(value) else float(text) == value


@pytest.mark.parametrize("rows", [1, 999, 1001, 1900])
def test_the_scores_of_a_prefix_are_the_prefix_of_the_scores(
    recording: Path, result: Path, tmp_path: Path, rows: int
) -> None:
    pq.write_table(pq.read_table(recording).slice(0, rows), tmp_path / "fleet.parquet")
    run(tmp_path, tmp_path / "fleet.parquet", scores=tmp_path / "scores.parquet",
        warm_up_rows=1000, budget="2/day", report=False)
    part = pq.read_table(tmp_path / "scores.parquet").to_pandas()
    whole = pq.read_table(result / "scores.parquet").to_pandas()
    assert part.equals(whole.iloc[:rows])


def test_a_long_table_holds_the_last_closed_row(tmp_path: Path) -> None:
    """A row of a long table closes with the next time of its asset: one time later than a wide."""
    values = machine(900, 2, 4)
    times = START + np.arange(900) * 60 * SECOND
    pq.write_table(pa.table({"ts": times, "a": values[:, 0], "b": values[:, 1]}),
                   tmp_path / "m.parquet")
    pq.write_table(pa.table({
        "ts": np.repeat(times, 2), "asset": ["m"] * 1800, "sensor": ["a", "b"] * 900,
        "value": values.ravel(),
    }), tmp_path / "long.parquet")
    for name, warm in (("m", 400), ("long", 802)):
        run(tmp_path / name, tmp_path / f"{name}.parquet", report=False, warm_up_rows=warm,
            scores=tmp_path / name / "scores.parquet")
    wide = pq.read_table(tmp_path / "m" / "scores.parquet").to_pandas()
    long = pq.read_table(tmp_path / "long" / "scores.parquet").to_pandas()
    assert len(long) == 1800
    for column in ("score", "return_period_seconds", "alert"):
        held = wide[column].to_numpy()[:-1]
        np.testing.assert_array_equal(long[column].to_numpy()[2::2], held)
        np.testing.assert_array_equal(long[column].to_numpy()[3::2], held)


def test_refused_and_unreadable_rows_keep_their_line(tmp_path: Path) -> None:
    values = machine(700, 2, 6)
    rows = [f"{START // SECOND + 60 * i},{a},{b}" for i, (a, b) in enumerate(values)]
    rows[650:650] = [rows[649], rows[100], "never,1,2"]  # a duplicate, a late one, no time at all
    (tmp_path / "m.csv").write_text("\n".join(["ts,a,b", *rows]) + "\n")
    said, _ = run(tmp_path / "out", tmp_path / "m.csv", scores=tmp_path / "s.csv", warm_up_rows=300)
    lines = [line.split(",") for line in (tmp_path / "s.csv").read_text().splitlines()[1:]]
    assert len(lines) == 703
    assert [line[3] for line in lines[650:653]] == ["", "", ""]
    assert lines[652][1] == ""
    assert all(line[3] for line in lines[653:])
    assert lines[649][5] == lines[650][5] == lines[652][5]
    assert "2 duplicate" in said or "were duplicates" in said
    assert "1 row whose time cannot be read" in said
    text = (tmp_path / "out" / "rejected.jsonl").read_text(encoding="utf-8")
    kept = [json.loads(line) for line in text.splitlines()]
    assert [(k["reason"], k["row"], k["line"], k["text"]) for k in kept] == [
        ("unreadable_time", 652, 654, "never")]


def test_files_follow_each_other(recording: Path, result: Path, tmp_path: Path) -> None:
    table = pq.read_table(recording)
    pq.write_table(table.slice(0, 700), tmp_path / "one.parquet")
    pacsv.write_csv(table.slice(700), tmp_path / "two.csv")
    run(tmp_path / "out", tmp_path / "one.parquet", tmp_path / "two.csv",
        scores=tmp_path / "s.parquet", warm_up_rows=1000, budget="2/day")
    found, expected = (pq.read_table(p).to_pandas()
                       for p in (tmp_path / "s.parquet", result / "scores.parquet"))
    assert found.equals(expected)


def test_lead_times_are_told(recording: Path, tmp_path: Path) -> None:
    stop = str(np.datetime64(START + 60 * 1100 * SECOND, "ns").astype("M8[s]"))
    (tmp_path / "f.csv").write_text(f"asset;time;kind\npress-0;{stop};stop\nnobody;{stop};stop\n")
    said, _ = run(tmp_path / "out", recording, warm_up_rows=1000, budget="2/day",
                  failures=tmp_path / "f.csv")
    assert "Would have warned" in said
    assert "before the stop of press-0" in said
    assert "1 of the failures given" in said


@pytest.mark.parametrize("text, message", [
    ("asset,time\npress-0,soon\n", r"f.csv:2, column 'time': the time 'soon' cannot be read"),
    ("asset,when\npress-0,soon\n", r"f.csv:1: no time column"),
    ("time\n2024-01-01\n", r"f.csv:1: no asset column"),
    ("asset,time\n,2024-01-01\n", r"f.csv:2: the asset is missing"),
])
def test_a_failure_that_cannot_be_read_is_an_error(
    recording: Path, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "f.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        run(tmp_path / "out", recording, failures=tmp_path / "f.csv")


def test_a_counter_is_told_as_rows(tmp_path: Path) -> None:
    values = machine(800, 2, 9)
    pq.write_table(pa.table({"ts": np.arange(800), "a": values[:, 0], "b": values[:, 1]}),
                   tmp_path / "m.parquet")
    said, understood = run(tmp_path / "out", tmp_path / "m.parquet", warm_up_rows=400)
    assert "row counter" in understood
    assert "1970" in understood
    assert "row 799" in said


def test_a_warm_up_longer_than_the_input_judges_nothing(recording: Path, tmp_path: Path) -> None:
    said, _ = run(tmp_path, recording, warm_up_rows=100_000, scores=tmp_path / "s.parquet")
    assert "The input ended within the warm-up" in said
    scores = pq.read_table(tmp_path / "s.parquet")
    assert np.isnan(scores["return_period_seconds"].to_numpy()).all()
    assert not scores["alert"].to_numpy().any()
    assert alerts(tmp_path) == []


def test_what_is_written_where(recording: Path, result: Path, tmp_path: Path) -> None:
    assert sorted(os.listdir(result)) == [
        "alerts.jsonl", "rejected.jsonl", "report.html", "scores.parquet"]
    said, understood = run(tmp_path / "a" / "b", recording, report=False, quiet=True)
    assert (said, understood) == ("", "")
    assert sorted(os.listdir(tmp_path / "a" / "b")) == ["alerts.jsonl", "rejected.jsonl"]


def test_what_cannot_be_written_is_refused_before_anything_is(
    recording: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for options, message in (
        ({"out": tmp_path / "file"}, "this is a file"),
        ({"scores": tmp_path / "s.xlsx"}, r"must end in .parquet or .csv"),
        ({"scores": recording}, "this is one of the inputs"),
        ({"budget": "often"}, r"--budget: 'often' is not"),
        ({"asset_column": "machin"}, "did you mean 'machine'"),
    ):
        given: dict[str, object] = {"out": tmp_path / "new", **options}
        with pytest.raises(UsageError, match=message):
            replay(ReplayOptions((recording,), **given),  # type: ignore[arg-type]
                   io.StringIO(), io.StringIO())
    assert not (tmp_path / "new").exists()


def test_rows_refused_for_their_time_are_not_called_usable(tmp_path: Path) -> None:
    path = tmp_path / "newest-first.csv"
    lines = [f"2026-03-01T00:{minute:02}:00,{minute % 7}" for minute in range(50)]
    path.write_text("\n".join(["time,heat", *reversed(lines)]) + "\n")
    said, _ = run(tmp_path / "out", path)
    assert "49 came too late" in said
    assert "Nothing was unusable" not in said
    assert "Every time and number could be read" in said

# -- pace -----------------------------------------------------------------------------------------


def fast(path: Path, rows: int, step: float, machines: int = 2) -> Path:
    random = np.random.default_rng(3)
    lines = [f"{1_700_000_000 + i * step:.3f},m{m},{random.normal():.3f}"
             for i in range(rows) for m in range(machines)]
    path.write_text("ts,asset,a\n" + "\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("rows, step, chosen", [
    (32_000, 1.0, Choice(15.0, 500)),  # 9 h of seconds: 2,000 rows of 15 s
    (3_000, 1.0, None),  # too short for means
    (3_000, 60.0, None),  # slow enough for the budget, 15 % are fewer than 500
    (10_040, 60.0, Choice(0.0, 1_500)),
    (30_040, 0.1, Choice(0.0, 4_500)),
])
def test_long_recordings_are_judged_on_means_and_learned_from_for_longer(
    tmp_path: Path, rows: int, step: float, chosen: Choice | None
) -> None:
    path = fast(tmp_path / "x.csv", rows, step)
    assert choice_for(load(None, {}, {}), [path]) == chosen
    learned = load(None, {"warm_up_rows": 501, "windows.row_seconds": 2.0}, {})
    assert choice_for(learned, [path]) is None
    often = choice_for(load(None, {"budget": "20/hour"}, {}), [path])
    assert often is None or often.row_seconds == 0.0


def test_machines_one_after_the_other_do_not_make_a_recording_longer(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("ts,asset,a\n" + "".join(
        f"{1_700_000_000 + i},m{m},{i % 7}\n" for m in range(50) for i in range(6_000)))
    assert choice_for(load(None, {}, {}), [path]) == Choice(2.0, 500)


def test_an_unreadable_file_is_left_to_the_replay(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("")
    assert choice_for(load(None, {}, {}), [path]) is None


def test_the_choice_is_said_and_can_be_taken_back(tmp_path: Path) -> None:
    path = fast(tmp_path / "x.csv", 12_000, 1.0, 1)
    scores = tmp_path / "scores.csv"
    for more, rows in (({}, "2,400"), ({"row_seconds": 0.0}, "12,000"),
                       ({"warm_up_rows": 500}, "12,000"), ({"scores": scores}, "12,000"),
                       ({"scores": scores, "row_seconds": 5.0}, "2,400")):
        said, _ = run(tmp_path / "out", path, **more)
        assert ("Judged on means of 5 s" in said) == (not more), said
        assert f" readings in {rows} rows" in said, said
    assert len(scores.read_text().splitlines()) == 12_001
