"""Bad input of every kind: a clear error with its place, or a count; never a traceback or silence.

Each case runs the command line in process. Whatever runs through must have exactly one line of
scores for every row of the input.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams.__main__ import main

ISO = "2024-01-01T00:{:02d}:{:02d}Z"


def times(count: int) -> list[str]:
    return [ISO.format(i // 60, i % 60) for i in range(count)]


def csv(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def replay(tmp_path: Path, *arguments: object) -> int:
    return main(["replay", *map(str, arguments), "--out", str(tmp_path / "out"), "--no-report"])


def scored(tmp_path: Path, path: Path, *arguments: object) -> list[list[str]]:
    """Replay with scores; the lines, split, without the header."""
    scores = tmp_path / "scores.csv"
    assert replay(tmp_path, path, "--scores", scores, *arguments) == 0
    return [line.split(",") for line in scores.read_text().splitlines()[1:]]


def rejected(tmp_path: Path) -> list[dict[str, object]]:
    text = (tmp_path / "out" / "rejected.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


# -- inputs that cannot be used -------------------------------------------------------------------


def _truncated_parquet(path: Path) -> None:
    values = np.random.default_rng(0).normal(size=5000)
    pq.write_table(pa.table({"ts": np.arange(5000), "a": values}), path)
    path.write_bytes(path.read_bytes()[:-200])


def _parquet_of_nothing(path: Path) -> None:
    columns = {"ts": pa.array([], pa.int64()), "a": pa.array([], pa.float64())}
    pq.write_table(pa.table(columns), path)


def _truncated_gzip(path: Path) -> None:
    text = "ts,a\n" + "".join(f"{i},{i % 7}\n" for i in range(2000))
    path.write_bytes(gzip.compress(text.encode())[:-300])


REFUSED = {
    "empty.csv": (lambda p: p.write_text(""), 1, ":1: the file is empty"),
    "blank.csv": (lambda p: p.write_text("\n\n \n"), 1, ":1: the file is empty"),
    "empty.parquet": (lambda p: p.write_bytes(b""), 1, "the file is empty"),
    "header.csv": (lambda p: p.write_text("ts,a\n"), 1, ":1: only a header, no rows"),
    "comments.csv": (lambda p: p.write_text("# nothing\n# at all\n"), 1, "comments only"),
    "headless.csv": (lambda p: p.write_text("2024-01-01 00:00,1\n2024-01-01 00:01,2\n"), 1,
                     ":1: no header"),
    "numbers.csv": (lambda p: p.write_text("1,2.5\n2,3.5\n"), 1, ":1: no header"),
    "wider.csv": (lambda p: p.write_text("a,b\n1,2,3\n1,2,3\n"), 1,
                  ":1: the header names 2 columns but the rows have 3 cells"),
    "words.csv": (lambda p: p.write_text("ts,a\n1,x\n2,y\n"), 1, "no column of numbers to watch"),
    "clock.csv": (lambda p: p.write_text("time,a\n12:00,1\n12:01,2\n"), 1,
                  "column 'time': no time can be read"),
    "never.csv": (lambda p: p.write_text("time,a\n,1\n,2\n"), 1,
                  "column 'time': no time can be read from this column (it is empty)"),
    "binary.csv": (lambda p: p.write_bytes(bytes(range(256)) * 20), 1, "not a text file"),
    "book.csv": (lambda p: p.write_bytes(b"PK\x03\x04" + bytes(100)), 1, "Excel"),
    "quote.csv": (lambda p: p.write_text("a,b\n" + "1,2\n" * 99 + '1,"' + "2\n" * 200_000), 1,
                  ":101: cannot be read as CSV"),
    "short.parquet": (_truncated_parquet, 1, "cut off at byte"),
    "nothing.parquet": (_parquet_of_nothing, 1, "columns but no rows"),
    "fake.parquet": (lambda p: p.write_text("ts,a\n1,2\n"), 1, "not a Parquet file"),
    "cut.csv.gz": (_truncated_gzip, 1, "cut off or damaged"),
    "folder.csv": (lambda p: p.mkdir(), 2, "this is a directory"),
    "absent.csv": (lambda p: None, 2, "there is no such file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_input_that_cannot_be_used_is_named_with_its_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    make, code, message = REFUSED[name]
    path = tmp_path / name
    make(path)  # type: ignore[no-untyped-call]
    assert replay(tmp_path, path) == code
    said = capsys.readouterr()
    assert message in said.err
    assert str(path) in said.err
    assert "Traceback" not in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option, message", [
    ("--asset-column", "no column 'nowhere' (asset_column); it has 'ts', 'a'"),
    ("--time-column", "no column 'nowhere' (time_column); it has 'ts', 'a'"),
])
def test_an_unknown_column_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, message: str
) -> None:
    path = csv(tmp_path / "x.csv", "ts,a", ["1,2", "2,3"])
    assert replay(tmp_path, path, option, "nowhere") == 2
    assert message in capsys.readouterr().err


def test_the_second_file_is_checked_before_the_first_is_read(tmp_path: Path) -> None:
    good = csv(tmp_path / "good.csv", "ts,a", ["1,2", "2,3"])
    assert replay(tmp_path, good, tmp_path / "absent.csv") == 2
    assert not (tmp_path / "out").exists()


def test_damage_further_on_keeps_what_came_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    text = "ts,a\n" + "".join(f"{i},{random.normal():.6f}\n" for i in range(400_000))
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(text.encode(), 1)[:-50_000])
    scores = tmp_path / "scores.csv"
    assert replay(tmp_path, path, "--scores", scores) == 1
    said = capsys.readouterr()
    assert "cut off or damaged" in said.err
    lines = scores.read_text().splitlines()
    assert len(lines) > 100_000
    assert lines[-1].split(",")[0] == str(len(lines) - 2)
    assert f"Read {len(lines) - 1:,} rows" in said.out


# -- inputs with faults in them -------------------------------------------------------------------


def test_one_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = scored(tmp_path, csv(tmp_path / "x.csv", "ts,a", ["2024-01-01T00:00:00Z,1"]))
    assert lines == [["0", "2024-01-01T00:00:00.000000000Z", "x", "", "", "0"]]
    assert "warming" in capsys.readouterr().out


def test_text_in_a_number_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{t},{i % 5},{'Bad' if i == 30 else i % 7}" for i, t in enumerate(times(90))]
    lines = scored(tmp_path, csv(tmp_path / "x.csv", "ts,a,b", rows))
    assert len(lines) == 90
    assert rejected(tmp_path) == [{
        "file": str(tmp_path / "x.csv"), "line": 32, "row": 30, "column": "b",
        "reason": "not_a_number", "text": "Bad"}]
    assert "1 cell with text in a number column" in capsys.readouterr().out


def test_a_constant_column_is_blind_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    rows = [f"{i},{random.normal():.3f},5" for i in range(400)]
    lines = scored(tmp_path, csv(tmp_path / "x.csv", "ts,a,b", rows), "--warm-up", 200)
    assert len(lines) == 400
    said = capsys.readouterr().out
    assert "1 trusted" in said
    assert "1 blind (never changed" in said


def test_a_column_of_nothing_is_blind_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    rows = [f"{i},{random.normal():.3f},NaN,," for i in range(400)]
    lines = scored(tmp_path, csv(tmp_path / "x.csv", "ts,a,b,c,d", rows), "--warm-up", 200)
    assert all(line[3] for line in lines[210:])
    assert "3 blind (no value has arrived yet)" in capsys.readouterr().out


def test_duplicate_and_backward_times_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    stamps = [*range(300), 299, 299, 50, *range(300, 400)]
    rows = [f"{1_700_000_000 + 60 * s},{random.normal():.3f}" for s in stamps]
    lines = scored(tmp_path, csv(tmp_path / "x.csv", "ts,a", rows), "--warm-up", 200)
    assert len(lines) == 403
    assert [bool(line[3]) for line in lines[299:304]] == [True, False, False, False, True]
    said = capsys.readouterr().out
    assert "2 were duplicates" in said
    assert "1 came too late" in said


def test_ten_thousand_columns(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(60, 10_000)).round(2)
    header = "ts," + ",".join(f"sensor_{i}" for i in range(10_000))
    rows = [f"{t}," + ",".join(map(str, row)) for t, row in zip(times(60), values, strict=True)]
    assert len(scored(tmp_path, csv(tmp_path / "x.csv", header, rows), "--quiet")) == 60
    table = {"ts": np.arange(60)} | {f"s{i}": values[:, i] for i in range(10_000)}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    assert len(scored(tmp_path, tmp_path / "x.parquet", "--quiet")) == 60


def test_mixed_zones_are_one_time_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["2024-01-01T01:00:00+01:00,1", "2024-01-01T00:00:01Z,2", "2024-01-01 00:00:02,3",
            "2023-12-31T19:00:03-0500,4"]
    lines = scored(tmp_path, csv(tmp_path / "x.csv", "ts,a", rows))
    assert [line[1][17:19] for line in lines] == ["00", "01", "02", "03"]
    said = capsys.readouterr().out
    assert "are mixed: all turned into UTC" in said
    assert "too late" not in said


def test_rows_of_every_wrong_kind_keep_their_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stamps = times(10)
    rows = [f"{t},m,1.5,2.5" for t in stamps]
    rows[3] = f"{stamps[3]},m,1"
    rows[4] = f"{stamps[4]},m,1,2,3"
    rows[5] = "not a time,m,1,2"
    rows[6] = f"{stamps[6]},,1,2"
    rows[7] = f"{stamps[7]},{'n' * 300},1,2"
    rows[8] = f'{stamps[8]},m,"1,2",inf'
    lines = scored(tmp_path, csv(tmp_path / "x.csv", "ts,asset,a,b", rows))
    assert len(lines) == 10
    assert [line[2] for line in lines[5:9]] == ["m", "", "", "m"]
    reasons = {(entry["reason"], entry["line"]) for entry in rejected(tmp_path)}
    assert reasons == {("too_few_cells", 5), ("too_many_cells", 6), ("unreadable_time", 7),
                       ("no_asset", 8), ("name_too_long", 9), ("not_a_number", 10)}
    assert "not finite" in capsys.readouterr().out


def test_a_sensor_called_twice_and_one_with_a_long_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = csv(tmp_path / "x.csv", f"ts,a,a,{'long' * 100}", ["1,2,3,4", "2,3,4,5"])
    assert len(scored(tmp_path, path)) == 2
    said = capsys.readouterr().err
    assert "'a_2'" in said
    assert "is cut to" in said


def test_zero_bytes_and_broken_unicode_are_counted_where_they_stand(tmp_path: Path) -> None:
    rows = [f"{t},1,2".encode() for t in times(50)]
    rows[20] = b"\x00\x00\x00\x00"
    rows[30] = times(50)[30].encode() + b",\xff\xfe,2"
    path = tmp_path / "x.csv"
    path.write_bytes(b"ts,a,b\n" + b"\n".join(rows) + b"\n")
    assert len(scored(tmp_path, path)) == 50
    reasons = {(entry["reason"], entry["line"]) for entry in rejected(tmp_path)}
    assert ("not_a_number", 32) in reasons
    assert ("unreadable_time", 22) in reasons


def test_broken_unicode_behind_the_head(tmp_path: Path) -> None:
    rows = [f"{i},1.5".encode() for i in range(200_000)]
    rows[150_000] = b"150000,\xff"
    path = tmp_path / "x.csv"
    path.write_bytes(b"ts,a\n" + b"\n".join(rows) + b"\n")
    assert len(scored(tmp_path, path, "--quiet")) == 200_000
    assert [(e["reason"], e["line"]) for e in rejected(tmp_path)] == [("not_a_number", 150_002)]


def test_values_at_the_edge_of_the_numbers(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [f"{i},{random.normal():.3f}" for i in range(400)]
    for i, text in enumerate(("1e308", "-1e308", "1e400", "-inf", "5e-324", "nan", "1e100")):
        rows[300 + i] = f"{300 + i},{text}"
    lines = scored(tmp_path, csv(tmp_path / "x.csv", "ts,a", rows), "--warm-up", 200)
    assert all(line[3] == "" or 0 <= float(line[3]) < float("inf") for line in lines)
    assert all(line[3] for line in lines[320:])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission(tmp_path: Path) -> None:
    path = csv(tmp_path / "x.csv", "ts,a", ["1,2", "2,3"])
    tmp_path.chmod(0o500)
    try:
        assert replay(tmp_path, path) == 1
    finally:
        tmp_path.chmod(0o700)


def test_a_disk_that_is_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    rows = [f"{i},{i % 9}" for i in range(5000)]
    path = csv(tmp_path / "x.csv", "ts,a", rows)
    (tmp_path / "full.csv").symlink_to("/dev/full")
    assert replay(tmp_path, path, "--scores", tmp_path / "full.csv") == 1
    said = capsys.readouterr().err
    assert "No space left" in said
    assert "Traceback" not in said
