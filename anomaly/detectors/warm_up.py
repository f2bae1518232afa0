"""How a frozen reference is made from warm-up rows: shared by every detector that has ``fit``.

No detector lives here and no arithmetic of one: this is the order of events. The reference is
frozen on all warm-up rows; the *scores* of those rows come from references that have not seen them
(cross-fitting over contiguous folds). In-sample scores broke the promised false-alarm rate sixfold,
and nothing else mattered as much.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.batches import Float64, Int64
from anomaly.detectors.settings import parameters

State = dict[str, npt.NDArray[Any]]
Freeze = Callable[[Any, State, Int64, int, Float64], None]


def fit_reference(
    allocate: Callable[[Any, int, int], State], freeze: Freeze, step: Callable[..., None],
    config: Any, state: State, tags: Int64, asset: int, rows: Float64, score: Float64,
) -> None:
    """Freeze one asset's reference and write out-of-sample scores of the same rows.

    Parameters
    ----------
    allocate, step : the detector's own.
    freeze : function(config, state, tags, asset, rows)
        Writes the reference of ``rows`` and sets everything that runs back to its beginning.
    config : the detector's ``Config``; its ``folds`` is used.
    state : the asset's and the tags' arrays, changed in place.
    tags : int64[d], −1 = the column has no tag.
    rows : float64[w, d], NaN = missing.
    score : float64[w], output. NaN = no opinion, everywhere if the folds were shorter than 2 rows.
    """
    columns = np.arange(len(tags), dtype=np.int64)
    columns[tags < 0] = -1

    def judge(reference: Float64, held: Float64) -> Float64:
        trial = allocate(config, 1, len(tags))
        freeze(config, trial, columns, 0, reference)
        follow(step, config, trial, columns, 0, reference)
        return follow(step, config, trial, columns, 0, held)

    score[:] = cross_fitted(rows, config.folds, judge)
    freeze(config, state, tags, asset, rows)
    follow(step, config, state, tags, asset, rows)


def cross_fitted(
    rows: Float64, folds: int, judge: Callable[[Float64, Float64], Float64]
) -> Float64:
    """Scores of each contiguous fold by ``judge(reference_rows, held_rows)``: float64[w].

    The reference rows are the rows after the fold and then the rows before it, so that the running
    part of a detector comes to the fold with as much behind it as it has when the stream goes on
    after warm-up. All NaN if the folds would be shorter than two rows.
    """
    count = len(rows)
    score = np.full(count, np.nan)
    if count < folds * 2:
        return score
    edges = [count * k // folds for k in range(folds + 1)]
    for start, stop in itertools.pairwise(edges):
        reference = np.concatenate((rows[stop:], rows[:start]))
        score[start:stop] = judge(reference, np.ascontiguousarray(rows[start:stop]))
    return score


def follow(
    step: Callable[..., None], config: Any, state: State, tags: Int64, asset: int, rows: Float64
) -> Float64:
    """Let the detector live through ``rows`` of one asset, learning all: scores float64[w]."""
    own = {
        name: array[asset : asset + 1] if name.startswith("asset") else array
        for name, array in state.items()
    }
    count, width = rows.shape
    score, evidence = np.empty(count), np.empty((count, width))
    step(
        *own.values(), *parameters(config),
        tags.reshape(1, -1), np.zeros(count, np.int64), np.ascontiguousarray(rows),
        np.full(count, np.inf), score, evidence,
    )
    return score
