"""Outcomes on disk, so that only what changed is run again.

The key of an outcome is a hash of the method's sources, of the protocol's sources, of everything in
the case and of the budgets.  Nothing else decides an outcome, so an entry is never stale; old
entries are only wasted space.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.judging import EventOutcome, ExposureOutcome
from benchmarks.quality.outcomes import BudgetOutcome, CaseOutcome
from benchmarks.quality.truth import Case

#: What decides how a verdict becomes an outcome.  Tables and pages are formed anew each time.
_PROTOCOL_MODULES = ("recordings", "truth", "datasets", "judging", "ranking", "vus", "outcomes")


def default_folder() -> Path:
    """Where outcomes are kept unless told otherwise: the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "andon" / "quality"


def protocol_version() -> str:
    """Hash of the sources that make an outcome of a verdict."""
    here = Path(__file__).resolve().parent
    return hash_of_files([here / f"{name}.py" for name in _PROTOCOL_MODULES])


def hash_of_files(paths: Sequence[Path]) -> str:
    """Hash over names and contents of files, in sorted order."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def case_version(case: Case) -> str:
    """Hash over everything a method and the judge see of a case."""
    digest = hashlib.sha256()
    recording = case.recording
    for array in (recording.time_ns, recording.asset, recording.x, case.healthy, case.labels):
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    facts = (
        case.set_name,
        recording.name,
        recording.names,
        case.warm_up_rows,
        case.events,
        case.group,
        case.part,
        case.ranked_from,
    )
    digest.update(repr(facts).encode())
    return digest.hexdigest()[:16]


def key(method_version: str, protocol: str, case: Case, budgets: Sequence[str]) -> str:
    """Name of the entry of a method on a case."""
    parts = "|".join((method_version, protocol, case_version(case), *budgets))
    return hashlib.sha256(parts.encode()).hexdigest()[:32]


def load(folder: Path, name: str) -> CaseOutcome | None:
    """Entry of that name, or None where there is none or it cannot be read."""
    try:
        facts = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        kept = np.load(folder / f"{name}.npy") if facts.pop("has_score") else None
    except (OSError, ValueError, KeyError):
        return None
    budgets = {budget: _budget(judged) for budget, judged in facts.pop("budgets").items()}
    windows = tuple((int(first), int(last)) for first, last in facts.pop("windows"))
    return CaseOutcome(**facts, budgets=budgets, windows=windows, score=kept)


def save(folder: Path, name: str, outcome: CaseOutcome) -> None:
    """Write an entry; the JSON last, so that a torn write is no entry."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = dataclasses.asdict(dataclasses.replace(outcome, score=None))
    del facts["score"]
    facts["has_score"] = outcome.score is not None
    if outcome.score is not None:
        np.save(folder / f"{name}.npy", outcome.score)
    aside = folder / f"{name}.{os.getpid()}.part"
    aside.write_text(json.dumps(facts), encoding="utf-8")
    aside.replace(folder / f"{name}.json")


def _budget(judged: dict[str, Any]) -> BudgetOutcome:
    return BudgetOutcome(
        events=tuple(EventOutcome(**event) for event in judged["events"]),
        exposure=tuple(ExposureOutcome(**unit) for unit in judged["exposure"]),
        alerts=tuple((int(asset), int(row)) for asset, row in judged["alerts"]),
        marked=tuple(int(count) for count in judged["marked"]),
    )
