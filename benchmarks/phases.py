"""``python -m benchmarks.phases``: does a cyclic machine gain from references by phase?

Not a part of the engine: the measurement that decided so. Average precision on the rows after the
warm-up of the high-rack recordings (HRSS, ``ANDON_DATA``) of one distance at a time: from the
warm-up's level, from the nearest of so many remembered rows, and from the mean of the row's own
*phase*, told by the positions of the drives (k-means in the warm-up), by their change too, or by a
fixed period. The positions are picked by their names here, which the engine would not be told:
the figures are what references by phase could reach, not what they would.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.cluster.vq import kmeans2, vq

from anomaly.batches import Float64
from anomaly.numerics import robust_reference
from benchmarks.quality import cases, has_set
from benchmarks.quality.ranking import average_precision

_USAGE_EXIT = 2
_CLIP = 8.0
#: Rows over which the change of the positions is taken, and how much it counts against them.
_CHANGE_ROWS, _CHANGE_WEIGHT = 3, 5.0
#: Rows of the whole warm-up's scatter that a phase's own scatter is drawn to, and what share of it.
_SCATTER_ROWS, _SCATTER_SHARE = 5.0, 0.3


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 2 where there is no data."""
    argparse.ArgumentParser(prog="python -m benchmarks.phases", description=__doc__).parse_args(
        arguments)
    if not has_set("hrss"):
        print("no HRSS recordings: set ANDON_DATA", file=sys.stderr)
        return _USAGE_EXIT
    found: dict[str, list[float]] = {}
    titles = []
    for case in cases("hrss"):
        if case.labels is None or not case.labels.any():
            continue
        titles.append(case.recording.name)
        first = max(case.ranked_from, case.warm_up_rows)
        positions = [c for c, name in enumerate(case.recording.names) if name.startswith("I_")]
        x = np.nan_to_num(case.recording.x)
        for words, score in distances(x, case.warm_up_rows, positions):
            precision = average_precision(score[first:], case.labels[first:])
            found.setdefault(words, []).append(precision)
    print(f"| distance from | {' | '.join(titles)} |")
    print("|---" * (len(titles) + 1) + "|")
    for words, values in found.items():
        print(f"| {words} | {' | '.join(f'{value:.3f}' for value in values)} |")
    return 0


def distances(x: Float64, w: int, positions: list[int]) -> Iterator[tuple[str, Float64]]:
    """Scores float64[n] of each kind, all from the first ``w`` rows."""
    centre, scale, _ = robust_reference(np.ascontiguousarray(x[:w]))
    z = np.clip((x - centre) / scale, -_CLIP, _CLIP)
    yield "the level", np.sqrt((z * z).mean(axis=1))
    for count in (200, 1024, 4096):
        kept = z[np.unique(np.linspace(0, w - 1, min(count, w)).astype(np.int64))]
        yield f"the nearest of {count:,} rows", vq(z, kept)[1]
    told = x[:, positions]
    where = (told - told[:w].mean(axis=0)) / (told[:w].std(axis=0) + 1e-9)
    earlier = where[np.maximum(np.arange(len(x)) - _CHANGE_ROWS, 0)]
    moving = np.column_stack([where, _CHANGE_WEIGHT * (where - earlier)])
    for words, features in (("positions", where), ("positions and change", moving)):
        for count in (32, 128, 512):
            places, _ = kmeans2(features[:w], count, minit="points", seed=0, missing="warn")
            phase, away = vq(features, places)
            rest = _beside(x, w, phase, count, positions)
            yield f"{count} phases by {words}", np.sqrt(rest + away**2)
    period = _period(x[:w])
    phase = np.arange(len(x)) % period
    yield "the phase of a fixed period", np.sqrt(_beside(x, w, phase, period, []))


def _beside(
    x: Float64, w: int, phase: np.ndarray, count: int, without: list[int]
) -> Float64:
    """Mean square of z against the row's own phase, over the other columns: float64[n]."""
    whole = x[:w].std(axis=0) + 1e-9
    centre, scale = np.tile(x[:w].mean(axis=0), (count, 1)), np.tile(whole, (count, 1))
    for k in range(count):
        own = x[:w][phase[:w] == k]
        if len(own):
            centre[k] = own.mean(axis=0)
            square = ((own - centre[k]) ** 2).sum(axis=0)
            square += _SCATTER_ROWS * (_SCATTER_SHARE * whole) ** 2
            scale[k] = np.sqrt(square / (len(own) + _SCATTER_ROWS))
    z = np.clip((x - centre[phase]) / scale[phase], -_CLIP, _CLIP)
    kept = [c for c in range(x.shape[1]) if c not in without]
    found: Float64 = (z[:, kept] ** 2).mean(axis=1)
    return found


def _period(rows: Float64) -> int:
    """Rows after which the columns' mean autocorrelation is highest, twenty or more."""
    centred = rows - rows.mean(axis=0)
    power = np.abs(np.fft.rfft(centred, 2 * len(rows), axis=0)) ** 2
    kept = np.fft.irfft(power, axis=0)[: len(rows)]
    course = (kept / np.maximum(kept[0], 1e-12)).mean(axis=1)
    return 20 + int(course[20 : len(rows) // 3].argmax())


if __name__ == "__main__":
    sys.exit(main())
