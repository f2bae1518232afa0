"""Where results go: the protocol that the service publishes to, and the sinks that are files.

Each sink sees every batch with its outcome, in order. The files here have the exact shape that the
README promises to programs: a changed field is a behaviour change. No decision is made here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anomaly import quality
from anomaly.batches import Alert, Bool, Float64, Int8, Int64, Outcome
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams.codec import Batch
from streams.report.collector import ReportCollector
from streams.times import iso, iso_column, timestamp_column

#: Rows of one Parquet row group: fixed, so that the file's bytes do not depend on the batches.
GROUP_ROWS = 1 << 17


class Sink(Protocol):
    """What the service needs of any sink."""

    def publish(self, batch: Batch, outcome: Outcome, monitor: Monitor) -> None:
        """Take in what one batch came to; ``batch`` has no rows at the end of the stream."""

    def flush(self) -> None:
        """Make everything published so far durable."""

    def close(self) -> None:
        """Write what is left and let go; nothing is published afterwards."""


class AlertFile:
    """``alerts.jsonl``: one transition a line, in the order in which they happened."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="\n")

    def publish(self, batch: Batch, outcome: Outcome, monitor: Monitor) -> None:
        """Write the batch's transitions."""
        for alert in outcome.alerts:
            self._file.write(alert_line(alert) + "\n")

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class AlertPrinter:
    """Calls ``say`` for every alert that begins to fire, as it fires."""

    def __init__(self, say: Callable[[Alert], None]) -> None:
        self._say = say
        self._said: set[str] = set()

    def publish(self, batch: Batch, outcome: Outcome, monitor: Monitor) -> None:
        """Say what is new."""
        for alert in outcome.alerts:
            if alert.state == "firing" and alert.id not in self._said:
                self._said.add(alert.id)
                self._say(alert)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is held back."""


class ReportSink:
    """Shows every outcome to the collector of the report and the summary."""

    def __init__(self, collector: ReportCollector) -> None:
        self._collector = collector

    def publish(self, batch: Batch, outcome: Outcome, monitor: Monitor) -> None:
        """Pass it on."""
        self._collector.collect(outcome, monitor)

    def flush(self) -> None:
        """The page is written once, at the end."""

    def close(self) -> None:
        """The page is written by whoever owns the collector."""


class ScoreFile:
    """Exactly one line per input row: ``row, time, asset, score, return_period_seconds, alert``.

    Parquet or CSV by the path's suffix. ``score`` and ``return_period_seconds`` are NaN (empty in
    CSV) while there is no opinion, and where the row could not be used. Written in row groups of
    fixed size as the stream goes by, so memory is bounded and equal input gives equal bytes.
    """

    def __init__(self, path: Path, registry: Registry) -> None:
        self._registry = registry
        self._held = _Held()
        self._is_csv = path.suffix == ".csv"
        self._parts: list[pa.Table] = []
        self._rows = 0
        self._parquet = None if self._is_csv else (
            pq.ParquetWriter(
                str(path), _SCHEMA, compression="zstd", use_dictionary=["asset"],
                column_encoding={"row": "DELTA_BINARY_PACKED", "time": "DELTA_BINARY_PACKED"},
            )
        )
        self._text = path.open("wb") if self._is_csv else None
        if self._text is not None:
            self._text.write((",".join(_SCHEMA.names) + "\n").encode())

    def publish(self, batch: Batch, outcome: Outcome, monitor: Monitor) -> None:
        """Add a line for every input row of the batch."""
        if not batch.rows:
            return
        score, period_s, alert = self._held.row_scores(batch, outcome)
        row = np.arange(batch.first_row, batch.first_row + batch.rows, dtype=np.int64)
        owner = pa.array(batch.asset, mask=batch.asset < 0)
        names = self._registry.assets
        if self._text is not None:
            asset = pa.array([_quoted(name) for name in names], pa.string()).take(owner)
            self._text.write(_lines(row, iso_column(batch.time_ns), asset, _or_null(score),
                                    _or_null(period_s), alert))
        if self._parquet is not None:
            asset = pa.array(names, pa.string()).take(owner)
            columns = [row, timestamp_column(batch.time_ns), asset, score, period_s, alert]
            self._parts.append(pa.table(columns, schema=_SCHEMA))
            self._rows += batch.rows
            if self._rows >= GROUP_ROWS:
                self._write(self._parquet, everything=False)

    def flush(self) -> None:
        """Lines are complete only at the end: a Parquet file without its footer is no file."""

    def close(self) -> None:
        """Write the rest and finish the file."""
        if self._text is not None:
            self._text.close()
        if self._parquet is not None:
            self._write(self._parquet, everything=True)
            self._parquet.close()

    def _write(self, writer: pq.ParquetWriter, everything: bool) -> None:
        if not self._parts:
            return
        table = pa.concat_tables(self._parts)
        whole = self._rows if everything else self._rows - self._rows % GROUP_ROWS
        for start in range(0, whole, GROUP_ROWS):
            group = table.slice(start, min(GROUP_ROWS, whole - start)).combine_chunks()
            writer.write_table(group)
        self._rows -= whole
        self._parts = [table.slice(whole)] if self._rows else []


class _Held:
    """The latest state of every asset, for input rows that close no row of their own."""

    def __init__(self) -> None:
        self.score = np.zeros(0)
        self.period_s = np.zeros(0)
        self.alert = np.zeros(0, np.int8)

    def row_scores(self, batch: Batch, outcome: Outcome) -> tuple[Float64, Float64, Int8]:
        """Per input row: the state of its asset after it; NaN where the row was refused.

        A row that closed takes its own score. One that did not (a long table, a time window)
        holds the last one of its asset. One refused for its time (duplicate, late, clock jump)
        or without readings has no score, but keeps the alert flag.
        """
        rows, scores = outcome.rows, outcome.scores
        self._make_room(int(max(batch.asset.max(initial=-1), rows.asset.max(initial=-1))) + 1)
        closed = batch.row[rows.closed_at // batch.width]
        if closed.size == batch.rows and np.array_equal(rows.asset, batch.asset):
            # The usual case, a wide file without surprises: one row closed for each input row.
            self._hold(rows.asset, scores.score, scores.return_period_s, scores.alert)
            return scores.score, scores.return_period_s, scores.alert
        last = _last_closed(batch, rows.asset, closed)
        own = last >= 0
        asset = np.maximum(batch.asset, 0)
        score, period_s, alert = self.score[asset], self.period_s[asset], self.alert[asset]
        score[own] = scores.score[last[own]]
        period_s[own] = scores.return_period_s[last[own]]
        alert[own] = scores.alert[last[own]]
        without = _without_score(batch, outcome, closed)
        score[without] = np.nan
        period_s[without] = np.nan
        alert[batch.asset < 0] = 0
        self._hold(rows.asset, scores.score, scores.return_period_s, scores.alert)
        return score, period_s, alert

    def _hold(self, asset: Int64, score: Float64, period_s: Float64, alert: Int8) -> None:
        self.score[asset] = score  # where an asset comes twice, the later row is written last
        self.period_s[asset] = period_s
        self.alert[asset] = alert

    def _make_room(self, assets: int) -> None:
        if max(assets, 1) > self.score.size:
            more = max(assets, 8, 2 * self.score.size) - self.score.size
            self.score = np.concatenate([self.score, np.full(more, np.nan)])
            self.period_s = np.concatenate([self.period_s, np.full(more, np.nan)])
            self.alert = np.concatenate([self.alert, np.zeros(more, np.int8)])


def alert_line(alert: Alert) -> str:
    """One transition as JSON, fields in the promised order; what is not finite is null."""
    left = alert.time_left_seconds
    return json.dumps({
        "id": alert.id,
        "asset": alert.asset,
        "kind": alert.kind,
        "state": alert.state,
        "severity": alert.severity,
        "onset": iso(alert.onset_ns),
        "time": iso(alert.time_ns),
        "return_period_seconds": _finite(alert.return_period_seconds),
        "contributions": [
            {"sensor": part.sensor, "share": _finite(part.share),
             "expected": _finite(part.expected), "actual": _finite(part.actual)}
            for part in alert.contributions
        ],
        "time_left_seconds": None if left is None else {
            name: _finite(value) for name, value in zip(("p10", "p50", "p90"), left, strict=True)
        },
        "sentence": alert.sentence,
    }, ensure_ascii=False, allow_nan=False)


_SCHEMA = pa.schema([
    ("row", pa.int64()), ("time", pa.timestamp("ns", "UTC")), ("asset", pa.string()),
    ("score", pa.float64()), ("return_period_seconds", pa.float64()), ("alert", pa.int8()),
])


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _or_null(values: Float64) -> pa.Array:
    """NaN as null, which is written as an empty field."""
    return pa.array(values, mask=np.isnan(values))


def _quoted(name: str) -> str:
    """A CSV field, in quotes only where it needs them (RFC 4180)."""
    if not set(name) & set(',"\r\n'):
        return name
    return '"' + name.replace('"', '""') + '"'


def _lines(*columns: Int64 | Int8 | pa.Array) -> memoryview:
    """The columns as CSV lines in one piece of memory; null is an empty field."""
    text = [pa.array(column).cast(pa.string()).fill_null("") for column in columns]
    text[-1] = pc.binary_join_element_wise(text[-1], "", "\n")
    joined = pc.binary_join_element_wise(*text, ",")
    # A string array's values lie end to end: they are the file already.
    return memoryview(joined.buffers()[2])[: pc.sum(pc.binary_length(joined)).as_py()]


def _last_closed(batch: Batch, asset: Int64, closed: Int64) -> Int64:
    """Per input row the last engine row of its asset that closed at it or before; −1 if none."""
    if not asset.size:
        return np.full(batch.rows, -1, np.int64)
    key = asset * (batch.rows + 1) + closed
    order = np.argsort(key, kind="stable")
    wanted = batch.asset * (batch.rows + 1) + np.arange(batch.rows)
    found = np.searchsorted(key[order], wanted, side="right") - 1
    last = order[np.maximum(found, 0)]
    return np.where((found >= 0) & (asset[last] == batch.asset), last, -1)


def _without_score(batch: Batch, outcome: Outcome, closed: Int64) -> Bool:
    """Rows without readings, and rows refused for their time that closed nothing."""
    without = np.ones(batch.rows, np.bool_)
    refused = outcome.reason.reshape(batch.row.size, batch.width) >= quality.DUPLICATE
    without[batch.row] = refused.any(axis=1)
    without[closed] = False
    return without
