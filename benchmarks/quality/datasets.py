"""The recordings and their truth, read from the data folder set by set.

One loader a set, all in one table.  Each hands out `Case`s built by the protocol's rules: label
columns and row counters are dropped, sets without a usable clock get 60.48 s a row, fleets become
one file in time order with an asset column, and the part that is healthy by the protocol is marked.
A set whose folder is absent is skipped by name.  The folder is ``$ANDON_DATA`` or ``shared/data``
beside the checkout; nothing is copied from it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.quality.recordings import (
    NANOSECONDS,
    ROW_SECONDS_WITHOUT_CLOCK,
    BoolArray,
    FloatArray,
    IntArray,
    Recording,
)
from benchmarks.quality.truth import (
    Case,
    Event,
    failure_event,
    first_quarter,
    make_case,
    rows_of_events,
    share_warm_up,
    window_event,
)

if TYPE_CHECKING:
    import pyarrow

_HOUR = 3_600.0

#: Every set the protocol judges, in the order of its tables.  The first ten make the headline.
HEADLINE_SETS = (
    "ur3_cobotops",
    "sme_cycles",
    "cmapss",
    "pronostia",
    "ims",
    "ppd",
    "skab",
    "tep",
    "hrss",
    "nab",
)
EXPOSURE_SETS = ("genesis",)
OTHER_SETS = ("asd", "smd", "smap_msl", "gecco2018", "gutentag", "touchstone", "tsb_ad_u")
ALL_SETS = HEADLINE_SETS + EXPOSURE_SETS + OTHER_SETS


def data_folder() -> Path | None:
    """Folder of the recordings, ``$ANDON_DATA`` or ``shared/data`` beside the checkout, or None."""
    named = os.environ.get("ANDON_DATA")
    if named:
        return Path(named) if Path(named).is_dir() else None
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    return beside if beside.is_dir() else None


def has_set(set_name: str, folder: Path | None = None) -> bool:
    """Whether the set's labels are there."""
    base = folder or data_folder()
    return base is not None and (base / set_name / "labels.json").is_file()


def cases(set_name: str, folder: Path | None = None) -> Iterator[Case]:
    """Cases of a set, one at a time, in a fixed order.

    Raises
    ------
    KeyError
        If the set is not known.
    FileNotFoundError
        If it is not in the data folder.
    """
    loader = _LOADERS[set_name]
    base = folder or data_folder()
    if base is None or not (base / set_name / "labels.json").is_file():
        raise FileNotFoundError(f"set {set_name} is not in the data folder")
    labels = json.loads((base / set_name / "labels.json").read_text(encoding="utf-8"))["series"]
    return loader(base / set_name, labels)


def _failure_sets_ur3(folder: Path, series: dict[str, Any]) -> Iterator[Case]:
    """Protective stops of a robot, H 120 s, L 2 s; row number and cycle counter dropped."""
    table = _table(folder / "ur3.parquet")
    recording = _recording("ur3", table, _clock(table, "ts"), drop=("Num", "cycle"))
    events = []
    for stop in series["ur3"]["protective_stop"]:
        failure_ns = int(recording.time_ns[stop["start"]])
        events.append(failure_event(recording, 0, failure_ns, 120.0, 2.0))
    yield make_case(
        "ur3_cobotops", recording, share_warm_up(recording.row_count), events, _none(recording)
    )


def _failure_sets_sme(folder: Path, series: dict[str, Any]) -> Iterator[Case]:
    """Stops of three assets, H 60 min, L 5 min; `status` and `alarm` are hidden.

    Healthy are rows in automatic running (status 2) that no stop follows within H.
    """
    table = _table(folder / "company_A_labelled.parquet")
    asset = _column(table, "asset").astype(np.int64)
    recording = _recording(
        "company_A", table, _clock(table, "ts"), ("status", "alarm", "asset"), asset
    )
    stopped = _column(table, "alarm") == 1
    running = _column(table, "status") == 2
    events = []
    healthy = running.copy()
    for machine in np.unique(asset):
        rows = np.flatnonzero(asset == machine)
        begins = rows[
            np.flatnonzero(np.diff(np.concatenate(([0], stopped[rows].astype(np.int8)))) == 1)
        ]
        for row in begins:
            failure_ns = int(recording.time_ns[row])
            events.append(failure_event(recording, int(machine), failure_ns, 60 * 60.0, 5 * 60.0))
            before = failure_ns - round(_HOUR * NANOSECONDS)
            healthy &= ~(
                (asset == machine)
                & (recording.time_ns >= before)
                & (recording.time_ns <= failure_ns)
            )
    yield make_case("sme_cycles", recording, share_warm_up(recording.row_count), events, healthy)


def _failure_sets_cmapss(folder: Path, series: dict[str, Any]) -> Iterator[Case]:
    """Fleets of turbofans that fail in the file, a row a cycle of 60.48 s; H 100, L 10 cycles."""
    cycle_seconds = ROW_SECONDS_WITHOUT_CLOCK
    for name, about in series.items():
        if not about["run_to_failure"]:
            continue
        table = _table(folder / about["file"])
        unit, cycle = _column(table, "unit").astype(np.int64), _column(table, "cycle")
        order = np.lexsort((unit, cycle))
        time_ns = np.round((cycle - 1.0) * cycle_seconds * NANOSECONDS).astype(np.int64)
        recording = _recording(name, table, time_ns, ("ts", "unit", "cycle"), unit, order)
        events, healthy = [], _none(recording)
        for machine, last_cycle in about["last_cycle"].items():
            failure_ns = round((last_cycle - 1) * cycle_seconds * NANOSECONDS)
            events.append(
                failure_event(
                    recording, int(machine), failure_ns, 100 * cycle_seconds, 10 * cycle_seconds
                )
            )
            healthy |= first_quarter(recording, int(machine))
        yield make_case("cmapss", recording, share_warm_up(recording.row_count), events, healthy)


def _failure_sets_pronostia(folder: Path, series: dict[str, Any]) -> Iterator[Case]:
    """Bearings run to failure, features of a snapshot each 10 s; H half of life, L 5 min."""
    for name, about in series.items():
        table = _table(folder / about["file"])
        time_ns = np.round(_column(table, "ts_s") * NANOSECONDS).astype(np.int64)
        recording = _recording(name, table, time_ns, ("snapshot", "ts_s", "tod_s", "n_samples"))
        life_seconds = float(time_ns[-1] - time_ns[0]) / NANOSECONDS
        event = failure_event(recording, 0, int(time_ns[-1]), life_seconds / 2, 5 * 60.0)
        yield make_case(
            "pronostia",
            recording,
            share_warm_up(recording.row_count),
            [event],
            first_quarter(recording, 0),
        )


def _failure_sets_ims(folder: Path, series: dict[str, Any]) -> Iterator[Case]:
    """Test 2: four bearings of one rig as a fleet of four, bearing 1 fails; H 96 h, L 6 h."""
    table = _table(folder / series["test2_features"]["file"])
    clock = _clock(table, "ts")
    features = [name.removeprefix("b1_") for name in table.column_names if name.startswith("b1_")]
    blocks = [
        np.column_stack([_column(table, f"b{bearing}_{name}") for name in features])
        for bearing in (1, 2, 3, 4)
    ]
    recording = Recording(
        name="ims_test2",
        names=tuple(features),
        time_ns=np.repeat(clock, 4),
        asset=np.tile(np.arange(1, 5, dtype=np.int64), clock.size),
        x=np.ascontiguousarray(np.stack(blocks, axis=1).reshape(-1, len(features))),
    )
    event = failure_event(recording, 1, int(clock[-1]), 96 * _HOUR, 6 * _HOUR)
    healthy = _none(recording)
    for bearing in (1, 2, 3, 4):
        healthy |= first_quarter(recording, bearing)
    yield make_case("ims", recording, share_warm_up(recording.row_count), [event], healthy)


def _failure_sets_ppd(folder: Path, series: dict[str, Any]) -> Iterator[Case]:
    """A wearing component, 60.48 s a row; H the last 10 %, L the last 1 % of its life."""
    for name, about in series.items():
        if not about["run_to_failure"]:
            continue
        table = _table(folder / about["file"])
        time_ns = _counted_clock(table.num_rows)
        recording = _recording(name, table, time_ns, ("ts",))
        life_seconds = float(time_ns[-1] - time_ns[0]) / NANOSECONDS
        failure_ns = int(time_ns[about["failure_row"]])
        event = failure_event(recording, 0, failure_ns, 0.10 * life_seconds, 0.01 * life_seconds)
        yield make_case(
            "ppd",
            recording,
            share_warm_up(recording.row_count),
            [event],
            first_quarter(recording, 0),
        )


def _window_sets_skab(folder: Path, series: dict[str, Any]) -> Iterator[Case]:
    """Water loop; the first 400 rows are warm-up, the anomaly-free file is healthy exposure."""
    for name, about in series.items():
        free = name.startswith("anomaly-free")
        yield _windowed("skab", folder, name, about, clock="ts", healthy=free)


def _window_sets_tep(folder: Path, series: dict[str, Any]) -> Iterator[Case]:
    """Test runs with d00's 500 rows before them as warm-up; d00_te is healthy exposure."""
    normal = _table(folder / series["d00"]["file"])
    warm_up = normal.num_rows
    interval_ns = 180 * NANOSECONDS
    for name, about in series.items():
        if not name.endswith("_te"):
            continue
        table = _joined(normal, _table(folder / about["file"]))
        time_ns = np.arange(table.num_rows, dtype=np.int64) * interval_ns
        recording = _recording(name, table, time_ns, ("ts",))
        labels = np.zeros(recording.row_count, np.bool_)
        events: list[Event] = []
        if about["fault_from_row"] is not None:
            first = warm_up + int(about["fault_from_row"])
            labels[first:] = True
            events.append(window_event(recording, first, recording.row_count - 1))
        healthy = np.full(recording.row_count, about["fault"] == 0)
        yield make_case("tep", recording, warm_up, events, healthy, labels)


def _window_sets_hrss(folder: Path, series: dict[str, Any]) -> Iterator[Case]:
    """Conveyor rack, 60.48 s a row because its clock restarts; the normal run is healthy exposure.

    A third case puts the normal run before the anomalous one, for the record under its own rule.
    """
    tables = {}
    for name, about in series.items():
        tables[name] = table = _table(folder / about["file"])
        recording = _recording(name, table, _counted_clock(table.num_rows), ("ts",))
        spans = _spans(about)
        yield make_case(
            "hrss",
            recording,
            share_warm_up(recording.row_count),
            [window_event(recording, first, last) for first, last in spans],
            np.full(recording.row_count, not spans),
            rows_of_events(recording.row_count, spans) if spans else None,
        )
    normal, anomalous = tables["HRSS_normal_standard"], tables["HRSS_anomalous_standard"]
    table = _joined(normal, anomalous)
    recording = _recording("HRSS_after_normal", table, _counted_clock(table.num_rows), ("ts",))
    shifted = [
        (a + normal.num_rows, b + normal.num_rows)
        for a, b in _spans(series["HRSS_anomalous_standard"])
    ]
    labels = rows_of_events(recording.row_count, shifted)
    yield make_case(
        "hrss",
        recording,
        normal.num_rows,
        [],
        _none(recording),
        labels,
        part="after_normal",
        ranked_from=normal.num_rows,
    )


def _window_sets_nab(folder: Path, series: dict[str, Any]) -> Iterator[Case]:
    """Numenta's corpus, warm-up its probation; artificialNoAnomaly is healthy exposure."""
    for name, about in series.items():
        table = _table(folder / about["file"])
        recording = _recording(name, table, _clock(table, "ts"), ("ts",))
        spans = []
        for event in about["events"]:
            start, end = (
                np.datetime64(event[key], "ns").astype(np.int64) for key in ("start", "end")
            )
            rows = np.flatnonzero((recording.time_ns >= start) & (recording.time_ns <= end))
            if rows.size:
                spans.append((int(rows[0]), int(rows[-1])))
        yield make_case(
            "nab",
            recording,
            int(about["probation"]),
            [window_event(recording, first, last) for first, last in spans],
            np.full(recording.row_count, name.startswith("artificialNoAnomaly")),
            rows_of_events(recording.row_count, spans),
            group=name.split("__")[0],
        )


def _exposure_genesis(folder: Path, series: dict[str, Any]) -> Iterator[Case]:
    """Pick-and-place demonstrator at about 20 Hz; its normal run is healthy exposure."""
    table = _table(folder / series["Genesis_normal"]["file"])
    recording = _recording("Genesis_normal", table, _clock(table, "ts"), ("ts",))
    yield make_case(
        "genesis",
        recording,
        share_warm_up(recording.row_count),
        [],
        np.ones(recording.row_count, np.bool_),
    )


def _window_sets_clocked(set_name: str) -> Callable[[Path, dict[str, Any]], Iterator[Case]]:
    """Loader of a plain set of windows whose `ts` is a clock."""

    def load(folder: Path, series: dict[str, Any]) -> Iterator[Case]:
        for name, about in series.items():
            yield _windowed(set_name, folder, name, about, clock="ts")

    return load


def _window_sets_counted(set_name: str) -> Callable[[Path, dict[str, Any]], Iterator[Case]]:
    """Loader of a plain set of windows whose `ts` only counts rows."""

    def load(folder: Path, series: dict[str, Any]) -> Iterator[Case]:
        for name, about in series.items():
            yield _windowed(set_name, folder, name, about, clock=None)

    return load


def _window_sets_tsb(folder: Path, series: dict[str, Any]) -> Iterator[Case]:
    """TSB-AD-U: the evaluation list, and every series of the UCR archive whatever its list."""
    for name, about in series.items():
        if about["list"] == "eva" or about["dataset"] == "UCR":
            yield _windowed(
                "tsb_ad_u", folder, name, about, None, group=about["dataset"], part=about["list"]
            )


def _windowed(
    set_name: str,
    folder: Path,
    name: str,
    about: dict[str, Any],
    clock: str | None,
    healthy: bool = False,
    group: str = "",
    part: str = "",
) -> Case:
    """Case of one file with labelled windows of rows."""
    table = _table(folder / about["file"])
    time_ns = _counted_clock(table.num_rows) if clock is None else _clock(table, clock)
    recording = _recording(name, table, time_ns, ("ts",))
    spans = _spans(about)
    warm_up = int(about.get("train_rows") or share_warm_up(recording.row_count))
    return make_case(
        set_name,
        recording,
        warm_up,
        [window_event(recording, first, last) for first, last in spans],
        np.full(recording.row_count, healthy),
        rows_of_events(recording.row_count, spans) if spans else None,
        group,
        part,
    )


_LOADERS: dict[str, Callable[[Path, dict[str, Any]], Iterator[Case]]] = {
    "ur3_cobotops": _failure_sets_ur3,
    "sme_cycles": _failure_sets_sme,
    "cmapss": _failure_sets_cmapss,
    "pronostia": _failure_sets_pronostia,
    "ims": _failure_sets_ims,
    "ppd": _failure_sets_ppd,
    "skab": _window_sets_skab,
    "tep": _window_sets_tep,
    "hrss": _window_sets_hrss,
    "nab": _window_sets_nab,
    "genesis": _exposure_genesis,
    "asd": _window_sets_clocked("asd"),
    "smd": _window_sets_clocked("smd"),
    "smap_msl": _window_sets_clocked("smap_msl"),
    "gecco2018": _window_sets_clocked("gecco2018"),
    "gutentag": _window_sets_counted("gutentag"),
    "touchstone": _window_sets_counted("touchstone"),
    "tsb_ad_u": _window_sets_tsb,
}


def _table(path: Path) -> pyarrow.Table:
    """Whole Parquet file."""
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path)


def _joined(first: pyarrow.Table, second: pyarrow.Table) -> pyarrow.Table:
    """Rows of the first file, then of the second, numbers widened where the files differ."""
    import pyarrow

    return pyarrow.concat_tables([first, second], promote_options="permissive")


def _column(table: pyarrow.Table, name: str) -> FloatArray:
    """Column as float64[n]; nulls as NaN."""
    return np.asarray(table.column(name).to_numpy(zero_copy_only=False), np.float64)


def _clock(table: pyarrow.Table, name: str) -> IntArray:
    """Column of times or of epoch seconds as int64[n] nanoseconds."""
    import pyarrow

    column = table.column(name)
    if pyarrow.types.is_timestamp(column.type):
        return np.asarray(
            column.cast(pyarrow.timestamp("ns")).cast(pyarrow.int64()).to_numpy(), np.int64
        )
    return np.round(_column(table, name) * NANOSECONDS).astype(np.int64)


def _counted_clock(row_count: int) -> IntArray:
    """int64[n]: 60.48 s a row."""
    interval_ns = round(ROW_SECONDS_WITHOUT_CLOCK * NANOSECONDS)
    return np.arange(row_count, dtype=np.int64) * interval_ns


def _recording(
    name: str,
    table: pyarrow.Table,
    time_ns: IntArray,
    drop: tuple[str, ...] = (),
    asset: IntArray | None = None,
    order: IntArray | None = None,
) -> Recording:
    """Recording of a table's columns but the clock and those dropped, rows in the order given."""
    names = tuple(column for column in table.column_names if column not in (*drop, "ts"))
    x = np.column_stack([_column(table, column) for column in names])
    machine = np.zeros(table.num_rows, np.int64) if asset is None else asset
    if order is not None:
        x, machine, time_ns = x[order], machine[order], time_ns[order]
    return Recording(name, names, time_ns, machine, np.ascontiguousarray(x))


def _spans(about: dict[str, Any]) -> list[tuple[int, int]]:
    """Labelled windows as (first, last) rows, both inclusive."""
    return [(int(event["start"]), int(event["end"])) for event in about.get("events", [])]


def _none(recording: Recording) -> BoolArray:
    """bool[n], all false."""
    return np.zeros(recording.row_count, np.bool_)
