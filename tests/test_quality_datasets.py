"""The loaders' rules on a miniature folder, and the real recordings where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from benchmarks.quality import datasets, headline
from benchmarks.quality.controls import always_alarm
from benchmarks.quality.datasets import ALL_SETS, cases, data_folder, has_set
from benchmarks.quality.ranking import Confusion, confusion
from benchmarks.quality.recordings import (
    NANOSECONDS,
    ROW_SECONDS_WITHOUT_CLOCK,
    FloatArray,
    row_seconds,
)
from tests import test_quality_miniature as miniature


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return miniature.make(tmp_path_factory.mktemp("data"))


def _real(set_name: str) -> None:
    if not has_set(set_name):
        pytest.skip(f"recordings of {set_name} are not here (ANDON_DATA or shared/data)")


def test_a_fleet_is_one_file_in_time_order(folder: Path) -> None:
    (case,) = cases("cmapss", folder)
    recording = case.recording
    assert recording.names == ("s1", "s2")
    assert np.all(np.diff(recording.time_ns) >= 0)
    assert recording.is_fleet
    assert set(recording.asset) == set(range(1, 7))
    assert row_seconds(recording) == ROW_SECONDS_WITHOUT_CLOCK
    assert case.warm_up_rows == int(0.15 * recording.row_count)
    # All six machines are in the first rows: warm-up counts rows of the file.
    assert set(recording.asset[: case.warm_up_rows]) == set(range(1, 7))


def test_a_failure_window_is_100_to_10_cycles_before_the_last(folder: Path) -> None:
    (case,) = cases("cmapss", folder)
    for event in case.events:
        life = 150 + 10 * event.asset
        rows = np.flatnonzero(case.recording.asset == event.asset)
        cycle = np.searchsorted(rows, [event.first_row, event.last_row]) + 1
        assert cycle.tolist() == [life - 100, life - 10]
        assert event.reference_ns == case.recording.time_ns[rows[-1]]


def test_healthy_is_the_first_quarter_after_warm_up(folder: Path) -> None:
    (case,) = cases("cmapss", folder)
    assert not case.healthy[: case.warm_up_rows].any()
    for machine in range(1, 7):
        rows = np.flatnonzero(case.recording.asset == machine)
        healthy = np.flatnonzero(case.healthy[rows])
        assert healthy.max() == rows.size // 4 - 1
        assert healthy.size < rows.size // 4


def test_a_test_run_stands_behind_the_normal_run(folder: Path) -> None:
    normal, faulty = cases("tep", folder)
    assert normal.warm_up_rows == faulty.warm_up_rows == 500
    assert normal.recording.row_count == 900
    assert np.array_equal(normal.recording.x[:500], faulty.recording.x[:500])
    assert normal.healthy_rows == 400
    assert faulty.healthy_rows == 0
    (event,) = faulty.events
    assert (event.first_row, event.last_row) == (660, 899)
    assert np.all(np.diff(faulty.recording.time_ns) == 180 * NANOSECONDS)


def test_declared_training_rows_are_the_warm_up(folder: Path) -> None:
    free, first, _ = cases("skab", folder)
    assert free.warm_up_rows == 105
    assert first.warm_up_rows == 400
    assert free.healthy_rows == 595
    assert free.labels is None
    assert first.labels is not None
    assert first.labels.sum() == 100


def test_an_absent_set_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDON_DATA", str(folder))
    assert data_folder() == folder
    assert not has_set("nab")
    with pytest.raises(FileNotFoundError, match="nab"):
        next(iter(cases("nab")))
    assert headline(always_alarm, sets=("nab", "tep")).absent == ("nab",)


def test_no_data_folder_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANDON_DATA", str(tmp_path / "nowhere"))
    assert data_folder() is None
    assert not has_set("skab")


@pytest.mark.parametrize("set_name", ALL_SETS)
def test_real_cases_keep_the_rules(set_name: str) -> None:
    _real(set_name)
    hidden = {"ts", "unit", "cycle", "asset", "status", "alarm", "label", "snapshot", "num"}
    seen = 0
    for case in cases(set_name):
        recording = case.recording
        seen += 1
        assert not hidden & {name.lower() for name in recording.names}
        assert recording.x.shape == (recording.row_count, len(recording.names))
        assert 0 < case.warm_up_rows < recording.row_count
        assert not case.healthy[: case.warm_up_rows].any()
        for machine in np.unique(recording.asset):
            mine = recording.asset == machine
            assert np.all(np.diff(recording.time_ns[mine]) >= 0)
        for event in case.events:
            assert event.last_row >= case.warm_up_rows
            assert np.any(recording.asset == event.asset)
        if seen == 5:
            break
    assert seen


def test_skab_always_alarm_is_the_stated_baseline() -> None:
    _real("skab")
    report = headline(always_alarm, sets=("skab",))
    assert report.value("Q-SKAB-F1") == pytest.approx(0.698, abs=0.0005)
    assert report.value("Q-SKAB-FAR") == 1.0


def test_skab_published_t2_and_q_is_reproduced() -> None:
    """PCA T² + Q as its notebook describes it: F1 0.760 on valve1, pooled rows behind 400."""
    _real("skab")
    pooled = Confusion(0, 0, 0, 0)
    for case in datasets.cases("skab"):
        if case.labels is not None:
            marked = _t2_and_q(case.recording.x)
            pooled += confusion(marked, case.labels[400:])
    assert pooled.f1 == pytest.approx(0.760, abs=0.0005)


def _t2_and_q(x: FloatArray) -> NDArray[np.int8]:
    """Limits at 0.999 of the first 400 rows, components for 85 %, median of five rows."""
    train = x[:400]
    z = (x - train.mean(axis=0)) / train.std(axis=0)
    covariance = np.cov(z[:400].T)
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = int(np.searchsorted(np.cumsum(values) / values.sum(), 0.85, side="right")) + 1
    plane = vectors[:, :kept]
    rows = z[400:]
    t2 = ((rows @ plane) ** 2 / values[:kept]).sum(axis=1)
    residual = np.eye(x.shape[1]) - plane @ plane.T
    q = np.einsum("ij,jk,ik->i", rows, residual, rows)
    n = 400
    t2_limit = kept * (n - 1) * (n + 1) / (n * (n - kept)) * stats.f.ppf(0.999, kept, n - kept)
    # The published code sums unsorted eigenvalues and takes h0 = 1/3 from powers of that sum.
    rest = np.linalg.eig(covariance)[0][kept:].sum()
    third = 1.0 / 3.0
    normal = stats.norm.ppf(0.999)
    q_limit = rest * (1 + normal * third * np.sqrt(2) + third * (third - 1)) ** 3
    odd = (_median_of_five(t2) > t2_limit) | (_median_of_five(q) > q_limit)
    return np.asarray(odd, np.int8)


def _median_of_five(values: FloatArray) -> FloatArray:
    windows = np.lib.stride_tricks.sliding_window_view(values, 5)
    return np.concatenate((np.full(4, np.nan), np.median(windows, axis=1)))
