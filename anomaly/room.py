"""Room for the monitor's state: every component of a size, and growth that changes no bit.

Part of the composition, like ``intake``: which components there are is written here, what they do
in ``monitor``. No algorithm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from anomaly import (
    alerts,
    calibration,
    intake,
    maxima,
    production,
    quality,
    reference,
    regimes,
    reorder,
    windows,
)
from anomaly.config import MonitorConfig
from anomaly.detectors import State
from anomaly.errors import StateError


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
    config: MonitorConfig, losses: production.Config, told: bool, detectors: Mapping[Any, Any],
    assets: int, tags: int, warm_up_rows: int, reference_rows: int,
) -> dict[str, State]:
    """Fresh state of every component.

    ``detectors`` maps each bound detector to its configuration; ``told``: some asset's production
    is told, else its components stay empty.
    """
    fresh = {
        "quality": quality.allocate(config.quality, assets, tags),
        "windows": windows.allocate(config.windows, assets, tags),
        "reference": reference.allocate(assets, tags, warm_up_rows, reference_rows),
        "warm_up": {"asset_score": np.zeros((assets, reference_rows, len(detectors)))},
        "calibration": calibration.allocate(assets, len(detectors)),
        "news": calibration.allocate_news(assets),
        "maxima": maxima.allocate(assets),
        "alerts": alerts.allocate(assets, tags),
        "regimes": regimes.allocate(config.regimes, assets, tags),
        **production.allocate(losses, assets if told else 0),
    }
    if intake.reorders(config):
        fresh["reorder"] = reorder.allocate(config.reorder, assets, tags)
    for bound, detector_config in detectors.items():
        fresh[key(bound)] = bound.allocate(detector_config, assets, tags)
    return fresh


def grown(old: Mapping[str, State], fresh: dict[str, State]) -> dict[str, State]:
    """``fresh`` with everything that was there in its place."""
    for component, arrays in old.items():
        for name, array in arrays.items():
            fresh[component][name][: len(array)] = array
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
            array[: len(given)] = given
