"""Parquet columns that hold arrays: spread as written, through a replay to an alert in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams import arrays
from streams.errors import UsageError
from tests.test_replay import START, alerts, run
from tests.test_vibration import bursts

SETTINGS = """
warm_up_rows = 60
[input]
array_hz = 4000
[windows.frame]
sensors = ["left", "right"]
sample_hz = 4000
samples = 1000
unit = "m/s2"
group = "2"
"""


@pytest.mark.parametrize("kind", [pa.list_(pa.int16()), pa.large_list(pa.float64())])
def test_rows_are_spread_sample_by_sample(kind: pa.DataType) -> None:
    columns = {
        0: pa.array([10, 20, 30, 40]),
        2: pa.array([[1, 2, 3], None, [4], []], kind),
        3: pa.array([[5, 6], [7, 8], None, []], kind),
        4: pa.array(["a", "b", "c", "d"]),
        5: pa.array([0.5, 1.5, None, 2.5]),
    }
    found = arrays.spread(columns, {0, 4}, 1000.0)
    assert found.columns[0].to_pylist() == [10, 10, 10, 20, 20, 30, 40]
    assert found.columns[4].to_pylist() == ["a", "a", "a", "b", "b", "c", "d"]
    assert found.columns[2].to_pylist() == [1, 2, 3, None, None, 4, None]
    assert found.columns[3].to_pylist() == [5, 6, None, 7, 8, None, None]
    assert found.columns[5].to_pylist() == [0.5, None, None, 1.5, None, None, 2.5]
    assert found.within_ns.tolist() == [0, 1_000_000, 2_000_000, 0, 1_000_000, 0, 0]
    assert arrays.longest(list(columns.values())) == 3


def recording(path: Path, hz: float = 4000.0) -> None:
    """A burst of a quarter of a second each minute; the left bearing is struck from the 150th on.
    """
    bursts_of = {
        sensor: [bursts(2 * f + s, hz, 1000, 90.0, 5.0 if s == 0 and f >= 150 else 0.0)
                 for f in range(200)]
        for s, sensor in enumerate(("left", "right"))
    }
    time = pa.array(START + np.arange(200) * 60 * 10**9).cast(pa.timestamp("ns", "UTC"))
    heat = np.random.default_rng(3).normal(40.0, 1.0, 200)
    pq.write_table(pa.table({
        "ts": time, "heat": heat,
        **{sensor: pa.array([list(b) for b in told]) for sensor, told in bursts_of.items()},
    }), path)


def test_bursts_of_samples_become_rows_and_an_alert(tmp_path: Path) -> None:
    file, settings = tmp_path / "pump.parquet", tmp_path / "andon.toml"
    recording(file)
    settings.write_text(SETTINGS)
    said, _ = run(tmp_path / "out", file, config=settings, scores=tmp_path / "scores.csv")
    assert "200,000 rows" in said
    assert "in 200 rows" in said
    assert "Vibration by ISO 20816-3, group 2, rigid support: pump left" in said
    assert ", zone " in said
    fired = [a for a in alerts(tmp_path / "out") if a["state"] == "firing"]
    assert fired
    assert str(fired[0]["contributions"][0]["sensor"]).startswith("left.")  # type: ignore[index]
    first = START // 10**9 + 150 * 60
    assert fired[0]["onset"] >= np.datetime64(first, "s").astype(str)  # type: ignore[operator]
    whole = (tmp_path / "out" / "alerts.jsonl").read_bytes()
    with pytest.MonkeyPatch.context() as patch:  # other frames, the same bytes
        patch.setattr("streams.recordings.FRAME_VALUES", 5000)
        run(tmp_path / "again", file, config=settings)
    assert (tmp_path / "again" / "alerts.jsonl").read_bytes() == whole
    assert json.loads(whole.splitlines()[0])["asset"] == "pump"


def test_arrays_need_their_rate_and_a_time(tmp_path: Path) -> None:
    file, settings = tmp_path / "pump.parquet", tmp_path / "andon.toml"
    recording(file)
    said, _ = run(tmp_path / "out", file)
    assert "ignored 'left', 'right': arrays; [input] array_hz says" in said
    table = pq.read_table(file).drop_columns(["ts"])
    pq.write_table(table, file)
    settings.write_text(SETTINGS)
    with pytest.raises(UsageError, match="need a column with the time"):
        run(tmp_path / "out", file, config=settings)
