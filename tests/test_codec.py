"""Files to readings: every notation a historian may write gives the same numbers and times.

The property tests write a table in a random dialect by hand and read it back; nothing of the reader
is used for writing. The rest pins what is decided about odd files, and that the three speeds of the
CSV reader agree.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anomaly.registry import Registry
from streams import codec, csvfile, recordings
from streams.codec import FrameDecoder
from streams.errors import InputError, UsageError
from streams.layout import Layout
from streams.recordings import open_recording
from streams.rejections import Rejections
from streams.settings import InputSettings
from streams.times import NO_TIME

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


@dataclass
class Read:
    """A file as the engine would see it."""

    layout: Layout
    registry: Registry
    rejections: Rejections
    time_notes: list[str]
    time_ns: npt.NDArray[np.int64]
    asset: list[str | None]
    first_rows: list[int]
    readings: list[tuple[int, str, str, int, float, bool]]

    def matrix(self) -> npt.NDArray[np.float64]:
        """Values of a wide file by row and sensor, in the order of the file."""
        names = [self.layout.names[c] for c in self.layout.sensors]
        found = np.full((len(self.time_ns), len(names)), np.nan)
        for row, _, sensor, _, value, _ in self.readings:
            found[row, names.index(sensor)] = value
        return found


def read(path: Path, warm_up_rows: int = 0, **options: object) -> Read:
    recording = open_recording(path, InputSettings(**options))  # type: ignore[arg-type]
    registry, rejections = Registry(), Rejections()
    decoder = FrameDecoder(registry, rejections, warm_up_rows)
    times, assets, firsts, readings = [], [], [], []
    row = 0
    for frame in recording.frames(0):
        assert frame.first_row == row
        for batch in decoder.decode(frame):
            assert batch.first_row == row
            firsts.append(row)
            times.append(batch.time_ns)
            assets += [None if a < 0 else registry.assets[a] for a in batch.asset]
            got = batch.readings
            for i in range(len(got)):
                a = int(got.asset[i])
                readings.append((
                    row + int(batch.row[i // batch.width]), registry.assets[a],
                    registry.sensors[a][int(got.sensor[i])], int(got.time_ns[i]),
                    float(got.value[i]), bool(got.closes[i]),
                ))
            row += batch.rows
    time_ns = np.concatenate(times) if times else np.zeros(0, np.int64)
    return Read(recording.layout, registry, rejections, decoder.time_notes(), time_ns, assets,
                firsts, readings)


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


# -- random dialects ------------------------------------------------------------------------------


def _iso(ns: int, zone: str = "", joint: str = "T") -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=ns // SECOND)
    if zone and zone != "Z":
        sign = -1 if zone[0] == "-" else 1
        moment += sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
    text = f"{moment:%Y-%m-%d}{joint}{moment:%H:%M:%S}"
    return text + (f".{ns % SECOND:09d}".rstrip("0") if ns % SECOND else "") + zone


TIME_STYLES: dict[str, Callable[[int], str]] = {
    "iso": lambda ns: _iso(ns),
    "iso blank": lambda ns: _iso(ns, joint=" "),
    "iso zulu": lambda ns: _iso(ns, "Z"),
    "iso offset": lambda ns: _iso(ns, "+05:30"),
    "epoch s": lambda ns: str(ns // SECOND),
    "epoch ms": lambda ns: str(ns // 1_000_000),
    "epoch us": lambda ns: str(ns // 1_000),
    "epoch ns": lambda ns: str(ns),
    "german": lambda ns: f"{datetime.fromtimestamp(ns // SECOND, UTC):%d.%m.%Y %H:%M:%S}",
    "american": lambda ns: f"{datetime.fromtimestamp(ns // SECOND, UTC):%m/%d/%Y %I:%M:%S %p}",
    "historian": lambda ns: f"{datetime.fromtimestamp(ns // SECOND, UTC):%d-%b-%y %H:%M:%S}",
}


def _number(value: float, decimal: str, group: str) -> str:
    if math.isnan(value):
        return ""
    text = f"{value!r}"
    if "e" in text:
        return text.replace(".", decimal)
    whole, _, fraction = text.partition(".")
    if group:
        sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
        parts = []
        while len(digits) > 3:
            digits, last = digits[:-3], digits[-3:]
            parts.insert(0, last)
        whole = sign + group.join([digits, *parts])
    return f"{whole}{decimal}{fraction}" if fraction else whole


@st.composite
def dialects(draw: st.DrawFn) -> dict[str, object]:
    decimal = draw(st.sampled_from([".", ","]))
    return {
        "decimal": decimal,
        "group": draw(st.sampled_from(["", " ", "'", "\u202f", "," if decimal == "." else "."])),
        "delimiter": draw(st.sampled_from([",", ";", "\t", "|"])),
        "newline": draw(st.sampled_from(["\n", "\r\n"])),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])),
        "pack": draw(st.sampled_from(["", "gzip", "bz2", "xz", "zstd"])),
        "quote": draw(st.booleans()),
        "last_newline": draw(st.booleans()),
        "trailing": draw(st.booleans()),
        "time": draw(st.sampled_from(sorted(TIME_STYLES))),
        "time_name": draw(st.sampled_from(["timestamp", "Time", "TS", "datetime", "Date"])),
        "assets": draw(st.booleans()),
        "blank_lines": draw(st.booleans()),
    }


VALUES = st.one_of(
    st.floats(-1e9, 1e9, allow_nan=False).map(lambda v: round(v, 3)),
    st.integers(-10**7, 10**7).map(float), st.just(math.nan),
    st.floats(allow_nan=False, allow_infinity=False),
)


def _text(dialect: dict[str, object], table: npt.NDArray[np.float64]) -> str:
    delimiter, style = str(dialect["delimiter"]), TIME_STYLES[str(dialect["time"])]

    def cell(text: str) -> str:
        odd = delimiter in text or '"' in text
        return '"' + text.replace('"', '""') + '"' if odd or dialect["quote"] else text

    names = [f"sensor {j}" for j in range(table.shape[1])]
    header = [str(dialect["time_name"]), *(["Machine"] if dialect["assets"] else []), *names]
    lines = [delimiter.join(map(cell, header))]
    for i, row in enumerate(table):
        cells = [style(START + i * 60 * SECOND)]
        if dialect["assets"]:
            cells.append(f'press "{i % 2}", left')
        cells += [_number(float(v), str(dialect["decimal"]), str(dialect["group"])) for v in row]
        lines.append(delimiter.join(map(cell, cells)) + (delimiter if dialect["trailing"] else ""))
        if dialect["blank_lines"] and i % 3 == 0:
            lines.append("")
    newline = str(dialect["newline"])
    return newline.join(lines) + (newline if dialect["last_newline"] else "")


def _packed(data: bytes, how: object) -> bytes:
    if how == "gzip":
        return gzip.compress(data)
    if how == "bz2":
        return bz2.compress(data)
    if how == "xz":
        return lzma.compress(data)
    if how == "zstd":
        return bytes(pa.Codec("zstd").compress(data, asbytes=True))
    return data


@settings(max_examples=80, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(dialect=dialects(), data=st.data())
def test_any_dialect_gives_the_same_values(
    tmp_path: Path, dialect: dict[str, object], data: st.DataObject
) -> None:
    rows, sensors = data.draw(st.integers(1, 25)), data.draw(st.integers(1, 4))
    cells = data.draw(st.lists(VALUES, min_size=rows * sensors, max_size=rows * sensors))
    table = np.array(cells).reshape(rows, sensors)
    # Evidence of the decimal mark, or 1,234 alone would be anybody's guess.
    table[0] = 1234.25
    path = tmp_path / "table.csv"
    text = _text(dialect, table)
    if dialect["pack"] == "zstd":  # the one-shot codec writes no frame header of its own size
        with pa.CompressedOutputStream(str(path), "zstd") as out:
            out.write(text.encode(str(dialect["encoding"])))
    else:
        path.write_bytes(_packed(text.encode(str(dialect["encoding"])), dialect["pack"]))
    got = read(path)
    assert not got.rejections.counts, got.rejections.sample
    expected_times = START + np.arange(rows) * 60 * SECOND
    np.testing.assert_array_equal(got.time_ns, expected_times)
    np.testing.assert_array_equal(got.matrix(), table)
    if dialect["assets"]:
        assert got.asset == [f'press "{i % 2}", left' for i in range(rows)]
    else:
        assert set(got.asset) == {"table"}


@settings(max_examples=25, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), block=st.integers(40, 400))
def test_blocks_and_odd_rows_change_no_other_value(
    tmp_path: Path, seed: int, block: int
) -> None:
    """Fast, careful and slow reading of the same cells agree, wherever the blocks are cut."""
    random = np.random.default_rng(seed)
    table = np.round(random.normal(0, 1e3, (60, 3)), 2)
    lines = [f"{_iso(START + i * SECOND)},{a},{b},{c}" for i, (a, b, c) in enumerate(table)]
    clean = write(tmp_path / "clean.csv", "\n".join(["ts,a,b,c", *lines]) + "\n")
    odd = dict.fromkeys(random.integers(0, 60, 4).tolist())
    expected = table.copy()
    for number, i in enumerate(odd):
        if number == 0:
            lines[i] = lines[i].rsplit(",", 1)[0] + ",broken"
            expected[i, 2] = np.nan
        elif number == 1:
            lines[i] = lines[i].rsplit(",", 1)[0]
            expected[i, 2] = np.nan
        elif number == 2:
            lines[i] += ",7"
            expected[i] = np.nan
        else:
            a, b, c = table[i]
            lines[i] = f'{_iso(START + i * SECOND)},"{a}",{b},{c}'
    dirty = write(tmp_path / "dirty.csv", "\n".join(["ts,a,b,c", *lines]) + "\n")
    whole, whole_dirty = read(clean), read(dirty)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csvfile, "BLOCK_BYTES", block)
        cut, cut_dirty = read(clean), read(dirty)
    np.testing.assert_array_equal(whole.matrix(), table)
    np.testing.assert_array_equal(cut.matrix(), table)
    np.testing.assert_array_equal(whole_dirty.matrix(), expected)
    np.testing.assert_array_equal(cut_dirty.matrix(), expected)
    assert whole_dirty.rejections.counts == cut_dirty.rejections.counts
    by_row = [sorted(r.rejections.sample, key=str) for r in (whole_dirty, cut_dirty)]
    assert by_row[0] == by_row[1]
    for entry in whole_dirty.rejections.sample:
        assert entry["line"] == int(str(entry["row"])) + 2


# -- CSV and Parquet, wide and long -----------------------------------------------------------


def test_csv_and_parquet_give_the_same_readings(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    n = 3000
    columns = {
        "ts": pa.array(START + np.arange(n) * SECOND).cast(pa.timestamp("ns", "UTC")),
        "asset": pa.array([f"m{i % 3}" for i in range(n)]),
        "a": random.normal(0, 1, n), "b": np.arange(n), "on": np.arange(n) % 2 == 0,
    }
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "x.parquet")
    text = "ts,asset,a,b,on\n" + "".join(
        f"{_iso(START + i * SECOND)}Z,m{i % 3},{columns['a'][i]!r},{i},{i % 2 == 0}\n".replace(
            "np.float64(", "").replace(")", "") for i in range(n)
    )
    write(tmp_path / "x.csv", text)
    first, second = read(tmp_path / "x.parquet"), read(tmp_path / "x.csv")
    assert first.readings == second.readings
    assert first.asset == second.asset
    assert [r[5] for r in first.readings[:6]] == [False, False, True] * 2
    assert any("'on'" in note for note in first.layout.notes) or first.layout.booleans


def test_a_long_table_is_told_apart(tmp_path: Path) -> None:
    text = "time,machine,tag,value,unit\n"
    for i in range(20):
        for tag in ("temp", "pressure"):
            text += f"{_iso(START + i * SECOND)},m{i % 2},{tag},{i}.5,°C\n"
    got = read(write(tmp_path / "long.csv", text))
    assert got.layout.is_long
    assert got.asset[:4] == ["m0", "m0", "m1", "m1"]
    assert [r[2] for r in got.readings[:4]] == ["temp", "pressure"] * 2
    assert not any(closes for *_, closes in got.readings)
    assert any("unit" in note for note in got.layout.notes)
    wide = write(tmp_path / "wide.csv", "time,value\n1,2\n2,3\n")
    assert not read(wide).layout.is_long
    named = write(tmp_path / "odd.csv", "time,what,how_much\n1,a,2\n2,b,3\n")
    assert read(named, sensor_column="what", value_column="how_much").layout.is_long


def test_long_columns_follow_first_appearance_whatever_the_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(8)
    text = "time,asset,sensor,value\n" + "".join(
        f"{i},a{random.integers(4)},s{random.integers(5)},{i}\n" for i in range(500)
    )
    path = write(tmp_path / "long.csv", text)
    whole = read(path)
    monkeypatch.setattr(codec, "READINGS_PER_BATCH", 7)
    cut = read(path)
    assert whole.readings == cut.readings
    assert whole.registry.sensors == cut.registry.sensors
    assert whole.registry.assets == cut.registry.assets
    np.testing.assert_array_equal(whole.registry.table, cut.registry.table)
    monkeypatch.setattr(codec, "_PAIRS_LIMIT", 3)
    assert read(path).readings == whole.readings


def test_the_warm_up_cuts_exactly_and_registers_nothing_ahead(tmp_path: Path) -> None:
    text = "ts,asset,a\n" + "".join(f"{i},m{i // 100},{i}\n" for i in range(300))
    recording = open_recording(write(tmp_path / "x.csv", text), InputSettings())
    registry = Registry()
    decoder = FrameDecoder(registry, Rejections(), warm_up_rows=100)
    seen = []
    for frame in recording.frames(0):
        for batch in decoder.decode(frame):
            seen.append((batch.first_row, batch.rows, batch.ends_warm_up, len(registry.assets)))
    assert seen == [(0, 100, True, 1), (100, 200, False, 3)]


# -- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("values, words, expected", [
    ([0, 1, 2], "row counter", [0, SECOND, 2 * SECOND]),
    ([0, 60, 120], "from a start", [0, 60 * SECOND, 120 * SECOND]),
    ([0.0, 0.25, 0.5], "from a start", [0, SECOND // 4, SECOND // 2]),
    ([1700000000.5, 1700000001.25, 1700000002], "epoch in s",
     [START + SECOND // 2, START + 5 * SECOND // 4, START + 2 * SECOND]),
    ([1461148512.938, 1461148513.031, 1461148513.2], "epoch in s",
     [1461148512938000000, 1461148513031000000, 1461148513200000000]),
    ([45244.925925926, 45244.926620370, 45244.927314815], "days of a spreadsheet",
     [START, START + 60 * SECOND, START + 120 * SECOND]),
    ([45244.925, 45244.95, 45244.975], "from a start",
     [45244_925_000_000, 45244_950_000_000, 45244_975_000_000]),
    ([1700000000123, 1700000000124, 1700000000125], "epoch in ms",
     [START + 123_000_000, START + 124_000_000, START + 125_000_000]),
    ([1700000000123456] * 3, "epoch in µs", [START + 123_456_000] * 3),
    ([1700000000123456789] * 3, "epoch in ns", [START + 123_456_789] * 3),
])
def test_numbers_tell_the_time_by_magnitude(
    tmp_path: Path, values: list[float], words: str, expected: list[int]
) -> None:
    text = "ts,a\n" + "".join(f"{v!r},1\n" for v in values)
    from_csv = read(write(tmp_path / "x.csv", text))
    pq.write_table(pa.table({"ts": values, "a": [1.0] * 3}), tmp_path / "x.parquet")
    from_parquet = read(tmp_path / "x.parquet")
    assert from_csv.time_ns.tolist() == expected
    assert from_parquet.time_ns.tolist() == expected
    assert words in from_csv.layout.describe_time()


def test_a_counter_step_can_be_set_and_a_unit_read_from_the_name(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "ts,a\n1,5\n2,5\n")
    assert read(path, counter_seconds=60.48).time_ns.tolist() == [60_480_000_000, 120_960_000_000]
    path = write(tmp_path / "y.csv", "time_ms,a\n0,5\n100,5\n")
    assert read(path).time_ns.tolist() == [0, SECOND // 10]
    path = write(tmp_path / "z.csv", "a,b\n1,5\n2,5\n")
    assert read(path, counter_seconds=2.0).time_ns.tolist() == [0, 2 * SECOND]


def test_zones_are_turned_into_utc_and_said(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv",
                 "ts,a\n2024-01-01T10:00:00+01:00,1\n2024-01-01T09:00:01Z,2\n"
                 "2024-01-01 09:00:02,3\n2024-01-01T04:00:03-0500,4\n")
    got = read(path)
    assert (np.diff(got.time_ns) == SECOND).all()
    assert any("mixed" in note for note in got.time_notes)


def test_date_and_clock_in_two_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv",
                 "Date;Time;CO(GT)\n10/03/2004;18.00.00;2,6\n10/03/2004;19.00.00;2\n"
                 "25/03/2004;20.00.00;2,2\n")
    got = read(path)
    assert got.time_ns[0] == 1078941600 * SECOND
    assert got.matrix().ravel().tolist() == [2.6, 2.0, 2.2]


def test_compact_dates_are_no_epoch(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "ts,a\n20240131235959,1\n20240201000000,2\n")
    assert np.diff(read(path).time_ns).tolist() == [SECOND]


@pytest.mark.parametrize("dates, month", [
    (["3/4/2024 00:00", "13/4/2024 00:00"], 4), (["3/4/2024 00:00", "3/14/2024 00:00"], 3),
    (["3/4/2024 1:00 PM", "3/5/2024 2:00 PM"], 3), (["3/4/2024 00:00", "3/5/2024 00:00"], 4),
])
def test_day_and_month_are_told_apart(tmp_path: Path, dates: list[str], month: int) -> None:
    path = write(tmp_path / "x.csv", "ts,a\n" + "".join(f"{d},1\n" for d in dates))
    first = datetime.fromtimestamp(read(path).time_ns[0] // SECOND, UTC)
    assert (first.month, first.day) == ((4, 3) if month == 4 else (3, 4))


def test_a_time_that_cannot_be_read_costs_only_its_row(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv",
                 "ts,a\n2024-01-01,1\nyesterday,2\n,3\n2024-02-30,4\n2024-01-05,5\n")
    got = read(path)
    assert (got.time_ns == NO_TIME).tolist() == [False, True, True, True, False]
    assert [r[4] for r in got.readings] == [1.0, 5.0]
    assert got.rejections.counts["unreadable_time"] == 3
    assert got.rejections.sample[0]["text"] == "yesterday"
    assert got.rejections.sample[0]["line"] == 3


# -- columns --------------------------------------------------------------------------------------


def test_text_boolean_index_and_empty_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv",
                 "Unnamed: 0,ts,note,on,a,empty,b,b\n"
                 "0,2024-01-01,run,true,1,,5,6\n1,2024-01-02,stop,false,n/a,,x,7\n")
    got = read(path)
    names = [got.layout.names[c] for c in got.layout.sensors]
    assert names == ["on", "a", "empty", "b", "b_2"]
    np.testing.assert_array_equal(
        got.matrix(), [[1, 1, np.nan, 5, 6], [0, np.nan, np.nan, np.nan, 7]]
    )
    notes = " ".join(got.layout.notes)
    assert "'note'" in notes
    assert "row number" in notes
    assert "b_2" in notes
    assert got.rejections.counts == {"not_a_number": 1}
    assert got.rejections.sample == [{
        "file": str(path), "line": 3, "row": 1, "column": "b", "reason": "not_a_number",
        "text": "x",
    }]


def test_whole_numbers_and_names_are_assets_and_measurements_are_not(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "ts,unit,a\n1,7,1\n2,8,1\n")
    assert read(path).asset == ["7", "8"]
    path = write(tmp_path / "y.csv", "ts,unit,a\n1,7.5,1\n2,8,1\n")
    assert read(path).asset == ["y", "y"]
    pq.write_table(pa.table({"ts": [1, 2], "asset": pa.array([1.0, 2.0]), "a": [1, 2]}),
                   tmp_path / "z.parquet")
    assert read(tmp_path / "z.parquet").asset == ["1", "2"]


def test_settings_overrule_names(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "ts,when,who,a,b\n1,100,p,1,2\n2,200,q,1,2\n")
    got = read(path, time_column="WHEN", asset_column="who", ignore_columns=("ts", "b"))
    assert got.asset == ["p", "q"]
    assert got.time_ns.tolist() == [100 * SECOND, 200 * SECOND]
    assert [got.layout.names[c] for c in got.layout.sensors] == ["a"]
    with pytest.raises(UsageError, match="did you mean 'when'"):
        read(path, time_column="wen")


def test_parquet_types_of_every_kind(tmp_path: Path) -> None:
    table = pa.table({
        "ts": pa.array([START // 1_000_000, START // 1_000_000 + 1]).cast(pa.timestamp("ms")),
        "f32": pa.array([1.5, None], pa.float32()), "i8": pa.array([1, -1], pa.int8()),
        "u64": pa.array([2**63, 1], pa.uint64()), "dec": pa.array([Decimal(1), Decimal(2)]),
        "flag": [True, None], "text": ["1.5", "x"], "list": [[1], [2]], "null": [None, None],
        "label": pa.array(["a", "b"]).dictionary_encode(),
    })
    pq.write_table(table, tmp_path / "x.parquet")
    got = read(tmp_path / "x.parquet")
    names = [got.layout.names[c] for c in got.layout.sensors]
    assert names == ["f32", "i8", "u64", "dec", "flag", "text", "null"]
    np.testing.assert_array_equal(got.matrix(), [
        [1.5, 1, 2.0**63, 1, 1, 1.5, np.nan], [np.nan, -1, 1, 2, np.nan, np.nan, np.nan],
    ])
    assert got.rejections.sample[0]["row"] == 1
    assert got.rejections.sample[0]["line"] is None
    assert got.time_notes == ["times carry no zone and are taken as UTC"]


def test_rejections_are_counted_exactly_and_kept_boundedly(tmp_path: Path) -> None:
    text = "ts,a,b\n0,1,2\n" + "".join(f"{i},{'x' if i % 2 else 1},y\n" for i in range(1, 1001))
    got = read(write(tmp_path / "x.csv", text))
    assert got.rejections.counts["not_a_number"] == 500 + 1000
    assert len(got.rejections.sample) == 200  # a tenth of a thousand for each of two columns


def test_a_prefix_gives_the_prefix_of_the_readings(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    lines = [f"{i * 60},{random.normal():.3f},{'bad' if i % 97 == 5 else i}" for i in range(3000)]
    whole = read(write(tmp_path / "a.csv", "\n".join(["ts,a,b", *lines])))
    part = read(write(tmp_path / "a.csv", "\n".join(["ts,a,b", *lines[:1700]])))
    assert repr(whole.readings[: len(part.readings)]) == repr(part.readings)


def test_a_file_larger_than_its_blocks_is_read_in_bounded_pieces(tmp_path: Path) -> None:
    n = 400_000
    table = pa.table({"ts": np.arange(n), "a": np.zeros(n), "b": np.ones(n)})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=n)
    recording = open_recording(tmp_path / "x.parquet", InputSettings())
    sizes = [frame.rows for frame in recording.frames(0)]
    assert sum(sizes) == n
    assert max(sizes) <= recordings.FRAME_ROWS_MOST
    registry = Registry()
    decoder = FrameDecoder(registry, Rejections())
    for frame in recording.frames(0):
        for batch in decoder.decode(frame):
            assert len(batch.readings) <= codec.READINGS_PER_BATCH


def test_damage_in_the_middle_names_the_row(tmp_path: Path) -> None:
    n = 300_000
    table = pa.table({"ts": np.arange(n), "a": np.random.default_rng(0).normal(size=n)})
    path = tmp_path / "x.parquet"
    pq.write_table(table, path, row_group_size=100_000, compression="zstd")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    path.write_bytes(data)
    recording = open_recording(path, InputSettings())
    with pytest.raises(InputError, match=r"damaged after row \d"):
        list(recording.frames(0))
