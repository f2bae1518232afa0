"""The detectors' shell: what a detector is, and the one table that names them all.

A detector is a *module* with a docstring, ``VERSION``, a frozen ``Config``, ``allocate`` and a
``step`` kernel; those with a frozen reference also have ``fit``. No inheritance, no loader: adding
one is one file, one naive twin and one row in ``DETECTORS``.

The contract of the functions
-----------------------------
``allocate(config, assets, tags) -> dict[str, ndarray]``
    Fresh state. Every key starts with ``asset`` (leading axis = asset index) or ``tag`` (leading
    axis = tag number, see registry). Dtypes: structured, int64, float64. No NaN in state, ever.
``step(*state, *config, table, asset, x, learn_below, score, evidence)``
    ``table int64[A, D]`` (asset, column) -> tag or −1; ``asset int64[m]``; ``x float64[m, d]``
    with NaN = missing; ``learn_below float64[m]``: −inf = score only, nothing of the row is kept;
    +inf = always learn; finite = learn where the row's own score is below it or NaN. What only
    *follows* the stream (running sums, lags, windows) moves with every row that is not score-only,
    or an alarm could never grow and never end; what says what is *normal* is learned. Each module
    says which is which. Outputs ``score float64[m]`` (>= 0 or NaN = no
    opinion) and ``evidence float64[m, d]`` (>= 0, each sensor's part in the score, any unit; 0
    where the sensor is missing or not blamed). Score first, then learn. Rows in order; rows of
    different assets never touch the same state.
``fit(*state, *config, tags, asset, rows, score)``
    Called once when the asset's warm-up ends (and again after a re-baseline) with the buffered
    rows ``rows float64[w, d]``, ``tags int64[d]`` and the asset's index. Freezes the reference and
    writes ``score float64[w]``: **out-of-sample** scores of the warm-up rows (cross-fitted over
    contiguous folds), the only reference calibration may use. Before ``fit`` such a detector's
    ``step`` returns NaN.
``DERIVED`` and ``rebuild(*state, *config, tags)``
    Of a module with large state: names of ``tag`` arrays that follow from the others, and the
    kernel that makes them again for ``tags int64[k]``. They are not written down; what is made
    again is to the bit what the stream had made, so a restart changes nothing.
``PARTIAL = True``
    May be allocated for fewer tags than there are: sensors beyond get no opinion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from anomaly.batches import Float64, Int64
from anomaly.detectors import (
    cusum,
    discord,
    drift,
    forecast,
    level,
    memory,
    pyramid,
    rates,
    residual,
    shift,
    single,
    subspace,
    trees,
)
from anomaly.detectors.settings import parameters

State = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class Detector:
    """One row of ``DETECTORS``: the module's parts under their contract."""

    name: str
    kind: str
    role: str
    version: int
    config: Any
    default: Any
    allocate: Callable[..., State]
    step: Any
    fit: Any | None
    derived: tuple[str, ...]
    rebuild: Any | None
    partial: bool


def detector(
    module: ModuleType, kind: str, name: str = "", default: Any = None, role: str = "fast"
) -> Detector:
    """Bind a detector module; ``kind`` is the alert kind it argues for, ``role`` its place there.


    A module may stand in the table more than once, under further names and with other defaults:
    the three speeds of ``level`` are judged apart, because each needs its own calibration.
    """
    return Detector(
        name=name or module.__name__.rsplit(".", 1)[-1],
        kind=kind,
        role=role,
        version=module.VERSION,
        config=module.Config,
        default=default or module.Config(),
        allocate=module.allocate,
        step=module.step,
        fit=getattr(module, "fit", None),
        derived=getattr(module, "DERIVED", ()),
        rebuild=getattr(module, "rebuild", None),
        partial=getattr(module, "PARTIAL", False),
    )


def grow(bound: Detector, config: Any, state: State, assets: int, tags: int) -> State:
    """State with room for more assets or tags; what is there keeps its bits."""
    fresh = bound.allocate(config, assets, tags)
    for name, array in state.items():
        fresh[name][: len(array)] = array
    return fresh


def run_step(
    bound: Detector,
    config: Any,
    state: State,
    table: Int64,
    asset: Int64,
    x: Float64,
    learn_below: Float64,
    score: Float64,
    evidence: Float64,
) -> None:
    """Call the kernel with state and parameters spread in their declared order."""
    bound.step(
        *state.values(), *parameters(config), table, asset, x, learn_below, score, evidence
    )


def steps_of(
    bound: Sequence[Detector], configs: Sequence[Any], states: Sequence[State]
) -> list[tuple[Any, tuple[Any, ...]]]:
    """Each detector's kernel and what it is called with first: state and parameters.

    For :func:`run_all`; made anew when an array of the state is replaced.
    """
    return [(each.step, (*state.values(), *parameters(config)))
            for each, config, state in zip(bound, configs, states, strict=True)]


def run_all(
    steps: Sequence[tuple[Any, tuple[Any, ...]]], table: Int64, asset: Int64, x: Float64
) -> tuple[Float64, Float64]:
    """Step every detector over the same rows, learning from all of them.

    Machine by machine, each one's rows in their order: rows of two machines share no state, so only
    the memory sees the difference, and it is read once and in one direction. Returns what the
    detectors say in the order of the rows: scores float64[m, k] and evidence float64[k, m, d].
    """
    m = asset.size
    order = None
    if (asset[1:] < asset[:-1]).any():
        order = np.argsort(asset, kind="stable")
        asset, x = asset[order], x[order]
    learn = np.full(m, np.inf)
    said, evidence = np.empty((len(steps), m)), np.empty((len(steps), *x.shape))
    blamed = np.empty_like(x)
    for j, (step, given) in enumerate(steps):
        if order is None:
            step(*given, table, asset, x, learn, said[j], evidence[j])
        else:
            step(*given, table, asset, x, learn, said[j], blamed)
            evidence[j][order] = blamed
    score = np.empty((m, len(steps)))
    score[slice(None) if order is None else order] = said.T
    return score, evidence


def run_fit(
    bound: Detector, config: Any, state: State, tags: Int64, asset: int, rows: Float64,
    score: Float64,
) -> None:
    """Call ``fit`` for one asset; ``bound.fit`` must not be None."""
    assert bound.fit is not None
    bound.fit(*state.values(), *parameters(config), tags, asset, rows, score)


def run_rebuild(bound: Detector, config: Any, state: State, tags: Int64) -> None:
    """Make the derived arrays of some tags again; nothing where the detector has none."""
    if bound.rebuild is not None:
        bound.rebuild(*state.values(), *parameters(config), tags)


def run_again(
    bound: Detector, config: Any, state: State, tags: Int64, asset: int, rows: Float64
) -> Float64:
    """Let a detector without ``fit`` forget an asset and follow ``rows float64[w, d]`` instead.

    For a warm-up whose rows turn out to mean something else; returns their scores float64[w].
    """
    width = len(tags)
    own = bound.allocate(config, 1, width)
    count = len(rows)
    score, evidence = np.empty(count), np.empty((count, width))
    run_step(
        bound, config, own, np.arange(width, dtype=np.int64).reshape(1, -1),
        np.zeros(count, np.int64), rows, np.full(count, np.inf), score, evidence,
    )
    for name, array in own.items():
        if name.startswith("asset"):
            state[name][asset] = array[0]
        else:
            there = tags < len(state[name])  # a partial detector has the first tags only
            state[name][tags[there]] = array[:width][there]
    return score


#: Every detector, by name. A new one is one module, one naive twin and one row here.
DETECTORS: dict[str, Detector] = {
    bound.name: bound
    for bound in (
        detector(level, "level"),
        detector(level, "level", "level_fast", level.Config(weights=(0.25,))),
        # A mean over fifty rows needs eight times as many to know its own scatter.
        detector(level, "level", "level_slow", level.Config(weights=(0.02,), least_rows=400),
                 "slow"),
        detector(memory, "coupling"),
        detector(pyramid, "pattern", role="novelty"),
        detector(shift, "level"),
        detector(cusum, "level"),
        detector(drift, "drift", role="slow"),
        detector(forecast, "forecast"),
        detector(subspace, "coupling"),
        detector(trees, "pattern"),
        detector(discord, "pattern"),
        detector(rates, "rate"),
        detector(residual, "coupling", role="rank"),
        detector(single, "level", role="alone"),
    )
}
