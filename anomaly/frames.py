"""Frames: the rows of a machine whose vibration is sampled thousands of times a second.

Samples of the chosen sensors are gathered until a frame is full; the row's columns are then the
frame's features (``vibration.py``) and its mean in the sensor's own column, and of every other
sensor the value that it had. A row closes when every chosen sensor of the asset has a frame, or one
has its second: a dead one holds nobody up. A frame holds samples without a gap; where there is one
it begins anew, so bursts must be at least a frame long. Part of the ``windows`` stage, which runs
this kernel; no arithmetic on samples here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly import vibration
from anomaly.batches import Float64, Int8, Int64, ReadingBatch, RowBatch
from anomaly.kernel import kernel
from anomaly.numerics import clip
from anomaly.vibration import LIMIT, Config

#: Codes written for readings that belong to no row: their index in ``quality.REASONS``.
DUPLICATE, LATE = 4, 5

#: What ``base`` says of a reading's time: not believed, as usual, the clock was set back.
DOUBTED, SAME, RESTARTED = -1, 0, 1

#: Sample intervals without a sample that are a gap.
GAP_INTERVALS = 1.5
#: Cells of frames that one kernel call may fill (64 MB); more frames take another call.
_CELLS_LIMIT = 1 << 23

_NEVER = -(1 << 63)
#: What a row's frame is: none, or finished in an earlier call and kept as features in the state.
_NONE, _KEPT = -1, -2

State = dict[str, np.ndarray[Any, Any]]
Records = npt.NDArray[np.void]

_WAVE = np.dtype([
    ("count", np.int64),    # samples gathered
    ("last_ns", np.int64),  # time of the latest sample; 0 samples seen = never
    ("seen", np.int8),
    ("full", np.int8),      # 1 = a frame waits for its row
    ("frame", np.int64),    # which of this call's frames it is, or kept in the state
    ("full_ns", np.int64),  # time of its last sample
])
_TAG = np.dtype([("seen", np.int8), ("last_ns", np.int64), ("value", np.float64)])


@dataclass(frozen=True, slots=True)
class Roles:
    """Where the samples come from and where the features go.

    Attributes
    ----------
    wave : int64[T]
        Number of the chosen sensor, −1 = another sensor, −2 = a derived column.
    waves : int64[A]
        Chosen sensors that the asset has.
    own : int64[A, S]
        Column of each chosen sensor, −1 = the asset has none such.
    feature : int64[A, S, F]
        Column of each feature.
    """

    wave: Int64
    waves: Int64
    own: Int64
    feature: Int64


def allocate(config: Config, assets: int, tags: int) -> State:
    """Fresh state: no sample seen."""
    chosen, count = len(config.sensors), len(vibration.names(config))
    wave = np.zeros((assets, chosen), _WAVE)
    wave["frame"] = _NONE
    return {
        "asset_wave": wave,
        "asset_samples": np.zeros((assets, chosen, config.samples)),
        "asset_features": np.zeros((assets, chosen, count + 1)),  # the mean first
        "tag_row": np.zeros(tags, _TAG),
    }


def derived_names(config: Config, sensor_names: Sequence[str]) -> list[str]:
    """Names of the columns that frames add to an asset with these sensors; register them so."""
    features = vibration.names(config)
    return [f"{sensor}.{feature}" for sensor in config.sensors if sensor in sensor_names
            for feature in features]


def resolve(
    config: Config, sensors: Sequence[Sequence[str]], table: Int64, tags: int
) -> Roles:
    """Find the configured names among the registered sensors; call again when some were added."""
    features = vibration.names(config)
    assets, chosen = len(sensors), len(config.sensors)
    wave = np.full(tags, -1, np.int64)
    own = np.full((assets, chosen), -1, np.int64)
    feature = np.full((assets, chosen, len(features)), -1, np.int64)
    for a, names in enumerate(sensors):
        column = {name: c for c, name in enumerate(names)}
        for s, sensor in enumerate(config.sensors):
            if sensor not in column:
                continue
            own[a, s] = column[sensor]
            wave[table[a, column[sensor]]] = s
            for f, name in enumerate(features):
                feature[a, s, f] = column.get(f"{sensor}.{name}", -1)
                if feature[a, s, f] >= 0:
                    wave[table[a, feature[a, s, f]]] = -2
    return Roles(wave, (own >= 0).sum(axis=1), own, feature)


def run(
    config: Config, state: State, table: Int64, roles: Roles, readings: ReadingBatch,
    value: Float64, base: Int8, reason: Int8, width: int,
) -> list[RowBatch]:
    """Rows whose frames became full, in order; ``reason`` is written as in ``windows.run``."""
    chosen, samples = len(config.sensors), config.samples
    most = max(chosen, min(len(readings) // samples + chosen * len(roles.waves) + 1,
                           _CELLS_LIMIT // samples))
    start, parts = 0, []
    while start < len(readings):
        framed, place = np.empty((most, samples)), np.empty((most, 2), np.int64)
        out = (np.empty(most, np.int64), np.empty(most, np.int64),
               np.full((most, width), np.nan), np.empty(most, np.int64))
        taken = np.full((most, chosen), _NONE)
        start, frames, rows = close_frames(
            *state.values(), samples, round(GAP_INTERVALS * 1e9 / config.sample_hz),
            round(config.hold_seconds * 1e9), roles.wave, roles.waves, table, readings.asset,
            readings.sensor, readings.time_ns, value, base, start, reason, framed, place, *out,
            taken)
        features = np.column_stack(
            (framed[:frames].mean(axis=1), vibration.features(config, framed[:frames])))
        for r in range(rows):
            a = out[0][r]
            for s in np.flatnonzero(taken[r] != _NONE).tolist():
                told = state["asset_features"][a, s] if taken[r, s] == _KEPT else (
                    features[taken[r, s]])
                out[2][r, roles.own[a, s]] = told[0]
                columns = roles.feature[a, s]
                out[2][r, columns[columns >= 0]] = told[1:][columns >= 0]
        for k in range(frames):  # those whose row has not closed yet
            wave = state["asset_wave"][place[k, 0], place[k, 1]]
            if wave["full"] and wave["frame"] == k:
                state["asset_features"][place[k, 0], place[k, 1]] = features[k]
                state["asset_wave"]["frame"][place[k, 0], place[k, 1]] = _KEPT
        parts.append(RowBatch(out[0][:rows], out[1][:rows], out[2][:rows], out[3][:rows]))
    return parts


@kernel
def close_frames(
    asset_wave: Records, asset_samples: Float64, asset_features: Float64, tag_row: Records,
    samples: int, gap_ns: int, hold_ns: int, wave_of: Int64, waves: Int64, table: Int64,
    asset: Int64, sensor: Int64, time_ns: Int64, value: Float64, base: Int8, start: int,
    reason: Int8, framed: Float64, place: Int64, out_asset: Int64, out_time: Int64,
    out_x: Float64, out_closed_at: Int64, taken: Int64,
) -> tuple[int, int, int]:
    """Gather samples; returns (next reading, frames written, rows written).

    ``framed float64[K, samples]`` and ``place int64[K, 2]`` (asset, chosen sensor) are the frames
    that became full, ``taken int64[M, S]`` which of them each row has. Stops early when the outputs
    are full; call again from there.
    """
    frames = rows = 0
    for i in range(start, asset.size):
        if frames + 1 > place.shape[0] or rows + 2 > out_asset.size:
            return i, frames, rows
        if base[i] == DOUBTED:
            continue
        a, t, tag = asset[i], time_ns[i], table[asset[i], sensor[i]]
        s = wave_of[tag]
        if s < 0:
            own = tag_row[tag]
            if own["seen"] == 1 and t <= own["last_ns"] and base[i] != RESTARTED:
                reason[i] = DUPLICATE if t == own["last_ns"] else LATE
            elif not np.isnan(value[i]):
                own["seen"], own["last_ns"], own["value"] = 1, t, value[i]
            continue
        wave = asset_wave[a, s]
        if wave["seen"] == 1 and t <= wave["last_ns"]:
            if base[i] != RESTARTED:
                reason[i] = DUPLICATE if t == wave["last_ns"] else LATE
                continue
            wave["count"] = 0
        if t - wave["last_ns"] > gap_ns:
            wave["count"] = 0
        wave["seen"], wave["last_ns"] = 1, t
        if np.isnan(value[i]):
            wave["count"] = 0
            continue
        asset_samples[a, s, wave["count"]] = clip(value[i], LIMIT)
        wave["count"] += 1
        if wave["count"] < samples:
            continue
        wave["count"] = 0
        if wave["full"] == 1:
            _write_row(asset_wave, tag_row, wave_of, hold_ns, table, a, i, rows, out_asset,
                       out_time, out_x, out_closed_at, taken)
            rows += 1
        for j in range(samples):
            framed[frames, j] = asset_samples[a, s, j]
        place[frames, 0], place[frames, 1] = a, s
        wave["full"], wave["frame"], wave["full_ns"] = 1, frames, t
        frames += 1
        waiting = 0
        for k in range(asset_wave.shape[1]):
            waiting += asset_wave[a, k]["full"]
        if waiting == waves[a]:
            _write_row(asset_wave, tag_row, wave_of, hold_ns, table, a, i, rows, out_asset,
                       out_time, out_x, out_closed_at, taken)
            rows += 1
    return asset.size, frames, rows


@kernel
def _write_row(
    asset_wave: Records, tag_row: Records, wave_of: Int64, hold_ns: int, table: Int64, a: int,
    i: int, m: int, out_asset: Int64, out_time: Int64, out_x: Float64, out_closed_at: Int64,
    taken: Int64,
) -> None:
    """Row ``m``: the frames that wait, at the time of the latest, and the other sensors' values."""
    newest = _NEVER
    for s in range(asset_wave.shape[1]):
        wave = asset_wave[a, s]
        if wave["full"] == 1:
            taken[m, s] = wave["frame"]
            newest = max(newest, wave["full_ns"])
            wave["full"], wave["frame"] = 0, _NONE
    for c in range(out_x.shape[1]):
        tag = table[a, c] if c < table.shape[1] else -1
        if tag >= 0 and wave_of[tag] == -1 and tag_row[tag]["seen"] == 1 and (
            0 <= newest - tag_row[tag]["last_ns"] <= hold_ns
        ):
            out_x[m, c] = tag_row[tag]["value"]
    out_asset[m], out_time[m], out_closed_at[m] = a, newest, i
