"""Room for the monitor's state: every component of a size, and growth that changes no bit.

Part of the composition, like ``intake``: which components there are is written here, what they do
in ``monitor``. No algorithm. Memory that holds zeros only is none: fresh arrays are pages that the
system gives when they are written, growing passes over what is zero, and the warm-up's buffers go
back, page by page, when they have been read.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly import (
    alerts,
    calibration,
    echo,
    intake,
    later_rows,
    leeway,
    outlook,
    production,
    quality,
    reference,
    regimes,
    reorder,
    watchers,
    windows,
)
from anomaly.batches import Int64
from anomaly.config import MonitorConfig
from anomaly.detectors import State
from anomaly.errors import StateError

#: What only the warm-up needs: zeros, and no memory, once an asset's reference stands.
WARM_UP = (("reference", "asset_time"), ("reference", "tag_rows"), ("warm_up", "asset_score"))
#: What is zeros, and no memory, from when an asset is known by its later rows, or is slow.
LATER = (("later", "asset_later_step"), ("later", "tag_later_rows"), ("later", "tag_further_rows"))
#: What only assets of several operating modes need: zeros, and no memory, of all others.
MODES = (("regimes", "asset_mode"), ("regimes", "tag_mode"))
#: What an asset keeps when it is learned anew from its later rows: what looks at every row as it
#: came, at sensors and at losses.
LASTING = ("quality", "windows", "later", "alerts", "echo", "reorder", *production.VERSIONS)
#: Growing looks at so many bytes at a time.
CHUNK_BYTES = 1 << 16


def key(bound: Any) -> str:
    """The component's name of a detector."""
    return f"detector.{bound.name}"


def capacity(have: int, need: int) -> int:
    """Room for so many: doubled, so that growing is rare."""
    found = max(have, 8)
    while found < need:
        found *= 2
    return found


def allocate(
    config: MonitorConfig, losses: production.Config, told: bool, guessed: bool,
    detectors: Mapping[Any, Any], assets: int, tags: int, warm_up_rows: int, full_tags: int,
) -> dict[str, State]:
    """Fresh state of every component.

    ``detectors`` maps each bound detector to its configuration; ``told``: some asset's production
    is told, else its components stay empty, ``guessed``: by a signal's shape or level;
    ``warm_up_rows``: of an asset that begins now; ``full_tags``: tags below this number get every
    detector and an outlook, the others those detectors that are not ``partial``.
    """
    rows = config.reference_rows
    fresh = {
        "quality": quality.allocate(config.quality, assets, tags),
        "windows": windows.allocate(config.windows, assets, tags),
        "reference": reference.allocate(assets, tags, warm_up_rows, rows),
        "warm_up": {"asset_score": np.zeros((assets, rows, len(detectors)))},
        "calibration": calibration.allocate(assets, len(detectors)),
        "news": calibration.allocate_news(assets),
        **watchers.allocate(assets),
        "alerts": alerts.allocate(assets, tags),
        "regimes": regimes.allocate(config.regimes, assets, tags),
        "leeway": leeway.allocate(assets, tags),
        "echo": echo.allocate(assets),
        "outlook": outlook.allocate(assets, min(tags, full_tags)),
        **production.allocate(losses, assets if told else 0, assets if guessed else 0),
    }
    if intake.reorders(config):
        fresh["reorder"] = reorder.allocate(config.reorder, assets, tags)
    for bound, detector_config in detectors.items():
        fresh[key(bound)] = bound.allocate(
            detector_config, assets, min(tags, full_tags) if bound.partial else tags)
    if config.windows.later_row_seconds:
        fresh["later"] = later_rows.allocate(assets, tags, rows)
    for component, name in (*WARM_UP, *LATER):
        if component in fresh:
            fresh[component][name] = _pages(fresh[component][name])
    return fresh


def written(state: Mapping[str, State], detectors: Sequence[Any]) -> dict[str, State]:
    """The state without what follows from the rest of it."""
    derived = {key(bound): bound.derived for bound in detectors}
    return {
        component: {name: array for name, array in arrays.items()
                    if name not in derived.get(component, ())}
        for component, arrays in state.items()
    }


def grown(old: dict[str, State], fresh: dict[str, State]) -> dict[str, State]:
    """``fresh`` with everything that was there in its place; ``old`` is emptied on the way."""
    for component, arrays in old.items():
        for name in list(arrays):
            place(fresh[component][name], arrays.pop(name))
    return fresh


def put(ours: Mapping[str, State], theirs: Mapping[str, State]) -> None:
    """Write the arrays of a snapshot where they belong.

    Raises
    ------
    StateError
        An array is absent, or has another shape or dtype.
    """
    for component, arrays in ours.items():
        for name, array in arrays.items():
            given = theirs[component].get(name)
            if given is None or given.dtype != array.dtype or (
                given.shape[1:] != array.shape[1:] or len(given) > len(array)
            ):
                raise StateError(f"{component}/{name} is absent or has another shape or dtype")
            place(array, given)


def place(target: npt.NDArray[Any], source: npt.NDArray[Any]) -> None:
    """Copy rows to the head of a fresh array; where both hold only zeros it is not even touched."""
    if not source.size:
        return
    step = max(1, CHUNK_BYTES * len(source) // source.nbytes)
    for first in range(0, len(source), step):
        rows = source[first : first + step]
        if _any(rows) or _any(target[first : first + len(rows)]):
            target[first : first + len(rows)] = rows


def _any(rows: npt.NDArray[Any]) -> bool:
    return bool(np.ascontiguousarray(rows).view(np.uint8).any())


def forget(
    state: Mapping[str, State], fresh: Mapping[str, State], asset: int, tags: Int64
) -> None:
    """Make the rows of one asset and its tags as in ``fresh``, a state of one asset and one tag."""
    for component, arrays in state.items():
        for name, array in arrays.items():
            new = fresh[component][name]
            if not len(array) or not len(new):
                continue
            own = np.array([asset]) if name.startswith("asset") else tags[tags < len(array)]
            array[own] = new[0]


def idle(state: Mapping[str, State], assets: int) -> tuple[Int64, Int64]:
    """Assets by their newest believed time, the oldest first, and these times; no open cases."""
    last = state["quality"]["asset_clock"]["last_ns"][:assets]
    order: Int64 = np.argsort(last, kind="stable")
    order = order[state["alerts"]["asset"]["state"][order] == alerts.INACTIVE]
    return order, last[order]


def forget_warm_up(
    state: Mapping[str, State], asset: int, tags: Int64,
    buffers: Sequence[tuple[str, str]] = WARM_UP,
) -> None:
    """Set the asset's warm-up buffers to zero and give their memory back."""
    for component, name in buffers:
        array = state[component][name]
        own = np.array([asset]) if name.startswith("asset") else np.sort(tags)
        array[own] = 0
        for part in np.split(own, np.flatnonzero(np.diff(own) > 1) + 1):
            if part.size:
                _give_back(array, int(part[0]), int(part[-1]) + 1)


def _pages(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Zeros of the array's shape on pages of their own, which can be given back."""
    if not array.nbytes or not hasattr(mmap, "MAP_PRIVATE"):
        return array
    memory = mmap.mmap(-1, array.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(memory, array.dtype).reshape(array.shape)


def _give_back(array: npt.NDArray[Any], first: int, end: int) -> None:
    """Return the pages of rows ``first`` … ``end − 1`` that hold only zeros to the system."""
    memory = _memory(array)
    if memory is None or not hasattr(memory, "madvise"):
        return
    row = array.nbytes // len(array)
    start = first * row // mmap.PAGESIZE * mmap.PAGESIZE
    stop = min(-(-end * row // mmap.PAGESIZE) * mmap.PAGESIZE, len(memory))
    text = np.frombuffer(memory, np.uint8)
    if text[start : first * row].any():
        start += mmap.PAGESIZE
    if text[end * row : stop].any():
        stop -= mmap.PAGESIZE
    if start < stop:
        memory.madvise(mmap.MADV_DONTNEED, start, stop - start)


def _memory(array: npt.NDArray[Any]) -> mmap.mmap | None:
    base: Any = array
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base if isinstance(base, mmap.mmap) else None
