"""Every method on every case, in a few processes, with nothing run twice.

Work is cut into (method, set, part) pieces; a large set is cut by case number.  Each piece reads
its cases itself, so that only names and outcomes cross between processes.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from benchmarks.quality import store
from benchmarks.quality.datasets import EXPOSURE_SETS, HEADLINE_SETS, cases, has_set
from benchmarks.quality.methods import entries
from benchmarks.quality.outcomes import CURVE_BUDGETS, MAIN_BUDGET, CaseOutcome, measure
from benchmarks.quality.truth import Case

#: Sets too large for one piece, and into how many they are cut.
_PARTS = {"tsb_ad_u": 12, "smap_msl": 3, "nab": 2, "touchstone": 3, "cmapss": 2}

#: Of these sets the fast subset takes every n-th case; the others are whole.
_FAST_STEP = {"tsb_ad_u": 12, "nab": 3, "smap_msl": 6, "touchstone": 3, "skab": 4, "smd": 4}


@dataclass(frozen=True)
class Piece:
    """What one process does at a time.

    Attributes
    ----------
    method, set_name : str
        Names.
    part, parts : int
        Cases whose number leaves `part` when divided by `parts`.
    is_fast : bool
        Whether only the fast subset is wanted.
    folder : Path
        The store.
    version, protocol : str
        Of the method and the protocol when the run began.
    """

    method: str
    set_name: str
    part: int
    parts: int
    is_fast: bool
    folder: Path
    version: str
    protocol: str


@dataclass(frozen=True)
class Done:
    """What a piece gave: outcomes by case number, and how many were already known."""

    piece: Piece
    outcomes: tuple[tuple[int, CaseOutcome], ...]
    known: int


def run(
    methods: Sequence[str],
    sets: Sequence[str],
    folder: Path,
    jobs: int,
    is_fast: bool,
    progress: Callable[[int, int, Done], None],
) -> dict[str, list[CaseOutcome]]:
    """Outcomes of every method, in the order of sets and cases.

    Parameters
    ----------
    methods, sets : sequence of str
        Names; sets absent from the data folder give nothing.
    folder : Path
        The store.
    jobs : int
        Processes.
    is_fast : bool
        Whether to judge the fixed fast subset only.
    progress : callable
        Called with pieces done, pieces in all, and the piece just done.
    """
    table = entries()
    versions = {method: table[method].version() for method in methods}
    protocol = store.protocol_version()
    pieces = [
        Piece(
            method,
            name,
            part,
            _PARTS.get(name, 1),
            is_fast,
            folder,
            versions[method],
            protocol,
        )
        for name in sets
        if has_set(name)
        for method in methods
        for part in range(_PARTS.get(name, 1))
    ]
    # The longest first, so that the last process does not finish alone.
    pieces.sort(key=lambda piece: -_PARTS.get(piece.set_name, 1))
    found: dict[str, dict[tuple[int, int], CaseOutcome]] = {method: {} for method in methods}
    order = {name: number for number, name in enumerate(sets)}
    for count, done in enumerate(_worked(pieces, jobs), start=1):
        for number, outcome in done.outcomes:
            found[done.piece.method][order[done.piece.set_name], number] = outcome
        progress(count, len(pieces), done)
    return {
        method: [byplace[place] for place in sorted(byplace)] for method, byplace in found.items()
    }


def work(piece: Piece) -> Done:
    """Judge the cases of a piece, taking from the store what it has."""
    entry = entries()[piece.method]
    method = entry.make()
    budgets = _budgets(piece.set_name)
    outcomes = []
    known = 0
    for number, case in _chosen(piece):
        name = store.key(piece.version, piece.protocol, case, budgets)
        outcome = store.load(piece.folder, name)
        if outcome is None:
            with warnings.catch_warnings():
                # Libraries behind the controls warn about data; a table has no place for it.
                warnings.simplefilter("ignore", UserWarning)
                outcome = measure(case, method, budgets)
            # Sources edited during a long run must not be remembered under their old version.
            if (entry.version(), store.protocol_version()) == (piece.version, piece.protocol):
                store.save(piece.folder, name, outcome)
        else:
            known += 1
        outcomes.append((number, outcome))
    return Done(piece, tuple(outcomes), known)


def _worked(pieces: Sequence[Piece], jobs: int) -> Iterator[Done]:
    """Pieces as they are done; in this process where one job is enough."""
    if jobs <= 1:
        yield from (work(piece) for piece in pieces)
        return
    # Each process has one core: the libraries' own threads would only fight for it.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(work, piece) for piece in pieces]):
            yield future.result()


def _chosen(piece: Piece) -> Iterator[tuple[int, Case]]:
    """Numbered cases of a piece."""
    step = _FAST_STEP.get(piece.set_name, 1) if piece.is_fast else 1
    for number, case in enumerate(cases(piece.set_name)):
        # What is healthy and what a whole set's threshold rests on stays in the fast subset too.
        wanted = number % step == 0 or case.healthy_rows > 0
        if wanted and (number // step) % piece.parts == piece.part:
            yield number, case


def _budgets(set_name: str) -> tuple[str, ...]:
    """All three where the curve is drawn, else the main one."""
    return CURVE_BUDGETS if set_name in HEADLINE_SETS + EXPOSURE_SETS else (MAIN_BUDGET,)
