"""The loop itself: order of publishing, checkpoints, and a crash at any moment.

The engine, the files and the snapshots are real; the crash is an exception raised by the source at
a chosen poll, or by a sink, after which nothing of the process's memory is used again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anomaly.batches import Outcome
from anomaly.config import MonitorConfig
from anomaly.errors import StateError
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams import checkpoint as checkpoint_module
from streams import recordings
from streams.checkpoint import DirectoryCheckpoint, write_durably
from streams.codec import Batch, FrameDecoder
from streams.recordings import Frame, open_recording
from streams.rejections import Rejections
from streams.service import Lane, SystemClock, run
from streams.settings import InputSettings
from streams.sinks import alert_line
from streams.sources import FileSource

CONFIG = MonitorConfig(warm_up_rows=300, budget_per_week=14.0)


class Crash(Exception):
    """The process dies here."""


class Tick:
    """A clock that moves on by one second whenever it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def seconds(self) -> float:
        self.now += 1.0
        return self.now


class CrashingSource(FileSource):
    """Dies at a given poll; inherits only because it is the file source in all else."""

    def __init__(self, path: Path, start_row: int, polls: int) -> None:
        super().__init__([open_recording(path, InputSettings())], start_row)
        self.polls = polls

    def poll(self) -> Mapping[int, Frame] | None:
        self.polls -= 1
        if self.polls < 0:
            raise Crash
        return super().poll()


class Collected:
    """Keeps what was published; what was not flushed when the crash came counts as published too,
    because a broker may have it already."""

    def __init__(self) -> None:
        self.alerts: list[str] = []
        self.rows = 0
        self.log: list[str] = []

    def publish(self, batch: Batch, outcome: Outcome, monitor: Monitor) -> None:
        self.log.append("publish")
        self.alerts += [alert_line(alert) for alert in outcome.alerts]
        self.rows += batch.rows

    def flush(self) -> None:
        self.log.append("flush")

    def close(self) -> None:
        self.log.append("close")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(1)
    values = random.normal(50, 1, (2000, 2))
    values[1200:1300, 0] += 20
    values[1700:, 1] -= 20
    found = tmp_path_factory.mktemp("service") / "m.parquet"
    pq.write_table(pa.table({
        "ts": np.arange(2000) * 60 + 1_700_000_000, "machine": [f"m{i % 2}" for i in range(2000)],
        "a": values[:, 0], "b": values[:, 1],
    }), found)
    return found


@pytest.fixture(autouse=True)
def _small_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "FRAME_ROWS_LEAST", 1)
    monkeypatch.setattr(recordings, "FRAME_VALUES", 4 * 100)


def fresh_lane() -> Lane[Frame]:
    registry = Registry()
    return Lane(Monitor(CONFIG, registry), FrameDecoder(registry, Rejections()))


def faultless(path: Path) -> Collected:
    sink = Collected()
    run(FileSource([open_recording(path, InputSettings())]), lambda _: fresh_lane(), [sink],
        SystemClock())
    return sink


def test_a_run_without_faults(path: Path) -> None:
    sink = faultless(path)
    assert sink.rows == 2000
    assert len(sink.alerts) > 2
    assert set(sink.log) == {"publish"}


@pytest.mark.parametrize("seed", range(6))
def test_crashes_lose_nothing_and_repeat_only_what_was_said(
    path: Path, tmp_path: Path, seed: int
) -> None:
    """Alerts after any crashes, repeated ones dropped, are those of a run without any."""
    random = np.random.default_rng(seed)
    kept = DirectoryCheckpoint(tmp_path, interval_seconds=float(random.integers(1, 5)))
    said: list[str] = []
    for attempt in range(60):
        state = kept.load(0, CONFIG)
        if state is None:
            lane, start = fresh_lane(), 0
        else:
            monitor, position = state
            start = int(str(position["row"]))
            lane = Lane(monitor, FrameDecoder(monitor.registry, Rejections()))
        polls = int(random.integers(1, 12)) if attempt < 50 else 10_000
        sink = Collected()
        try:
            run(CrashingSource(path, start, polls), lambda _, lane=lane: lane, [sink], Tick(),
                DirectoryCheckpoint(tmp_path, kept.interval_seconds))
        except Crash:
            said += sink.alerts
            continue
        said += sink.alerts
        break
    else:
        pytest.fail("never got to the end")
    assert list(dict.fromkeys(said)) == faultless(path).alerts
    assert len(list(tmp_path.iterdir())) <= checkpoint_module.KEPT


def test_outputs_are_flushed_before_the_state_is_kept_and_then_the_source_is_told(
    path: Path
) -> None:
    log: list[str] = []

    class Noting(Collected):
        def flush(self) -> None:
            log.append("flush")

    class NotingSource(FileSource):
        def commit(self) -> None:
            log.append("commit")

    class NotingCheckpoint:
        def is_due(self, now_seconds: float) -> bool:
            return True

        def save(self, partition: int, monitor: Monitor, position: Mapping[str, object]) -> None:
            log.append(f"save {position['row']}")

    run(NotingSource([open_recording(path, InputSettings())]), lambda _: fresh_lane(), [Noting()],
        SystemClock(), NotingCheckpoint())
    assert log[:6] == ["flush", "save 100", "commit", "flush", "save 200", "commit"]
    assert log[-3:] == ["flush", "save 2000", "commit"]


def test_a_bug_is_not_hidden(path: Path) -> None:
    class Broken(Collected):
        def publish(self, batch: Batch, outcome: Outcome, monitor: Monitor) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(FileSource([open_recording(path, InputSettings())]), lambda _: fresh_lane(),
            [Broken()], SystemClock())


# -- snapshots on disk ----------------------------------------------------------------------------


def monitor_after(path: Path, rows: int) -> Monitor:
    lane = fresh_lane()
    for frame in open_recording(path, InputSettings()).frames(0):
        if frame.first_row < rows:
            for batch in lane.decoder.decode(frame):
                lane.monitor.process(batch.readings)
    return lane.monitor


def test_the_last_two_are_kept_and_a_damaged_one_is_passed_over(
    path: Path, tmp_path: Path
) -> None:
    kept = DirectoryCheckpoint(tmp_path)
    assert kept.load(0, CONFIG) is None
    monitor = monitor_after(path, 500)
    for row in range(4):
        kept.save(0, monitor, {"row": row})
        kept.save(7, monitor, {"row": 100 + row})
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == [f"partition-{p}-{n:012d}.npz" for p in (0, 7) for n in (2, 3)]
    newest = tmp_path / "partition-0-000000000003.npz"
    whole = newest.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        newest.write_bytes(whole[:length])
        found = kept.load(0, CONFIG)
        assert found is not None
        assert found[1] == {"row": 2}
    (tmp_path / "partition-0-000000000002.npz").write_bytes(b"")
    with pytest.raises(StateError, match="partition-0-000000000002"):
        kept.load(0, CONFIG)
    found = kept.load(7, CONFIG)
    assert found is not None
    assert found[1] == {"row": 103}


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "state.npz"
    write_durably(target, b"first")
    (tmp_path / "state.npz.part").mkdir()  # in the way of the file written aside
    with pytest.raises(OSError, match="directory"):
        write_durably(target, b"second")
    assert target.read_bytes() == b"first"


def test_the_interval_counts_from_the_last_checkpoint(tmp_path: Path) -> None:
    kept = DirectoryCheckpoint(tmp_path, interval_seconds=10.0)
    assert [kept.is_due(t) for t in (0, 5, 10, 12, 19.9, 20)] == [
        False, False, True, False, False, True]
