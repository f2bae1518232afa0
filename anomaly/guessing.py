"""Cycles and states read from a signal where nothing tells them, and what is said about it.

    signal ─► shapes (its beat: cycles) ─► parts per row
           └► levels (idle, running)    ─► state; at rest: not learned, not judged

No algorithm of its own: ``shapes`` and ``levels`` read the signals, ``production`` books.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from anomaly import levels, shapes
from anomaly.batches import Float64, Int8, Int64
from anomaly.booking import State
from anomaly.production_roles import ROLE, Roles


def read(
    state: Mapping[str, State], roles: Roles, asset: Int64, time_ns: Int64, x: Float64,
    canonical: Int8,
) -> tuple[Int8, Int8]:
    """Cycles written into ``x`` as parts per row, and states, as the signals tell them.

    The second states are those by which a row is judged or not (``levels``).
    """
    every = np.arange(asset.size)
    signal = np.where(roles.shape[asset] >= 0, x[every, roles.shape[asset]], np.nan)
    level = np.where(roles.level[asset] >= 0, x[every, roles.level[asset]], np.nan)
    ended, seconds = shapes.run(state["shapes"], roles.shape, asset, time_ns, signal)
    told = roles.shape[asset] >= 0
    x[told, ROLE["parts_per_row"]] = ended[told]
    x[told, ROLE["cycle"]] = seconds[told]
    guessed, rests = levels.run(state["levels"], roles.level, asset, time_ns, level)
    from_level = roles.level[asset] >= 0
    return np.where(from_level, guessed, canonical), np.where(from_level, rests, canonical)


def sayings(
    state: Mapping[str, State], roles: Roles, names: Mapping[int, str] | None = None
) -> dict[int, str]:
    """What is read from a signal's shape or level, and how sure that is, by tag.

    ``names``: of the tags; without them the sentence is said of the sensor itself.
    """
    found: dict[int, list[str]] = {}
    shape, level = state["shapes"]["asset_row"], state["levels"]["asset_row"]
    for a, (tag_shape, tag_level) in enumerate(roles.guessed.tolist()):
        if tag_shape >= 0 and shape[a]["phase"] == shapes.FOUND:
            of = "its shape" if names is None else f"the shape of `{names[tag_shape]}`"
            found.setdefault(tag_shape, []).append(
                f"cycles are read from {of}: about {shape[a]['usual_ns'] / 1e9:.3g} s each "
                f"(confidence {_percent(shape[a]['confidence'])})")
        if tag_level >= 0 and level[a]["known"]:
            of = "it" if names is None else f"`{names[tag_level]}`"
            found.setdefault(tag_level, []).append(
                f"idle and running are guessed from {of}: about {level[a]['idle']:.4g} and "
                f"{level[a]['running']:.4g} (confidence {_percent(level[a]['confidence'])}), "
                f"up to {level[a]['highest']:.4g} the machine is at rest and not judged")
    return {tag: "; ".join(told) for tag, told in found.items()}


def _percent(share: float) -> str:
    return f"{100.0 * share:.0f} %"
