"""What flows between the stages: columns, checked once where they are built, trusted afterwards.

No algorithm and no I/O here. Int64 and float64 throughout: mixed widths cost a recompilation and
save nothing. NaN always means "nothing usable" or "no opinion yet", never zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
Int8 = npt.NDArray[np.int8]
Bool = npt.NDArray[np.bool_]

#: Rows of one batch; a larger one is cut by the codec. Bounds every scratch buffer.
BATCH_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class ReadingBatch:
    """n readings in arrival order from one partition.

    Attributes
    ----------
    asset : int64[n]
        Dense asset index from the registry.
    sensor : int64[n]
        Column of the sensor *within its asset*, from the registry.
    time_ns : int64[n]
        Event time, nanoseconds since 1970-01-01 UTC.
    value : float64[n]
        NaN = nothing usable was sent.
    closes : bool[n]
        True on the last reading of a wide row: no other reading of this asset and time follows,
        so the row may close at once. All False for one-reading-per-message input, where a row
        closes when a later time of the same asset arrives.
    """

    asset: Int64
    sensor: Int64
    time_ns: Int64
    value: Float64
    closes: Bool

    def __len__(self) -> int:
        return int(self.asset.size)


@dataclass(frozen=True, slots=True, eq=False)
class Ordered:
    """Readings as the windows took them: screened, and in order where they were held back.

    Attributes
    ----------
    readings : ReadingBatch
        Its ``value`` is the screened one, NaN where refused.
    base : int8[n]
        What ``quality`` says of the time (``windows``).
    freed_by : int64[n] or None
        Index of the arrival that let each go; None = its own.
    """

    readings: ReadingBatch
    base: Int8
    freed_by: Int64 | None


@dataclass(frozen=True, slots=True)
class RowBatch:
    """m closed windows, in the order in which they closed.

    Attributes
    ----------
    asset : int64[m]
    time_ns : int64[m]
        Event time of the row (its last instant).
    x : float64[m, d]
        One column per sensor of the asset, then what the window derived; NaN = missing. d is the
        widest asset of the batch, narrower assets are padded with NaN.
    closed_at : int64[m]
        Index in the ReadingBatch of the reading whose arrival closed the row.
    """

    asset: Int64
    time_ns: Int64
    x: Float64
    closed_at: Int64

    def __len__(self) -> int:
        return int(self.asset.size)


@dataclass(frozen=True, slots=True)
class ScoreBatch:
    """What the detectors and the calibration say of the same m rows.

    Attributes
    ----------
    score : float64[m]
        Fused oddness, >= 0, high is odd; NaN = no opinion yet.
    return_period_s : float64[m]
        How rare such a row is on this asset when healthy, in seconds; NaN = no opinion yet.
    alert : int8[m]
        1 while an alert of the asset is firing at this row.
    detector_score : float64[m, k]
        The k detectors' raw scores, in the order of ``Monitor.detector_names``.
    """

    score: Float64
    return_period_s: Float64
    alert: Int8
    detector_score: Float64


@dataclass(frozen=True, slots=True)
class Contribution:
    """One sensor's part in an alert: ``share`` in 0..1, expected and actual in its unit."""

    sensor: str
    share: float
    expected: float
    actual: float


@dataclass(frozen=True, slots=True)
class Alert:
    """One *transition* of an alert's life; rare, so an ordinary object.

    ``state`` is ``pending``, ``firing`` or ``resolved``. The id derives from (asset, kind, onset):
    a repeated alert is the same alert. ``time_left_seconds`` is (p10, p50, p90) or None.
    """

    id: str
    asset: str
    kind: str
    state: str
    severity: str
    onset_ns: int
    time_ns: int
    return_period_seconds: float
    contributions: tuple[Contribution, ...]
    time_left_seconds: tuple[float, float, float] | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything one ``Monitor.process`` call says.

    ``reason`` int8[n] is per reading, an index into ``quality.REASONS`` (0 = accepted).
    """

    rows: RowBatch
    scores: ScoreBatch
    alerts: tuple[Alert, ...]
    reason: Int8 = field(default_factory=lambda: np.zeros(0, np.int8))


def reading_batch(
    asset: npt.ArrayLike,
    sensor: npt.ArrayLike,
    time_ns: npt.ArrayLike,
    value: npt.ArrayLike,
    closes: npt.ArrayLike | None = None,
) -> ReadingBatch:
    """Build a checked batch: one length, contiguous, int64 and float64.

    Raises
    ------
    ValueError
        Lengths differ, an index is negative, or the batch is longer than ``BATCH_LIMIT``.
    """
    a = np.ascontiguousarray(asset, np.int64)
    s = np.ascontiguousarray(sensor, np.int64)
    t = np.ascontiguousarray(time_ns, np.int64)
    v = np.ascontiguousarray(value, np.float64)
    c = np.zeros(a.size, np.bool_) if closes is None else np.ascontiguousarray(closes, np.bool_)
    if not (a.ndim == 1 and a.shape == s.shape == t.shape == v.shape == c.shape):
        raise ValueError(f"columns differ in shape: {a.shape} {s.shape} {t.shape} {v.shape}")
    if a.size > BATCH_LIMIT:
        raise ValueError(f"a batch of {a.size} readings is longer than the limit {BATCH_LIMIT}")
    if a.size and (a.min() < 0 or s.min() < 0):
        raise ValueError("asset and sensor indices must not be negative")
    return ReadingBatch(a, s, t, v, c)
