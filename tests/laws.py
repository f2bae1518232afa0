"""The laws that carry the design, as functions over anything that is fed a stream in batches.

A subject is whatever ``make()`` returns; ``feed(subject, columns)`` gives it a batch and returns
what it says; ``state(subject)`` shows its arrays. Nothing here knows what a detector or a monitor
is. A law that does not hold raises :class:`LawBroken` naming the first difference; each law is
itself tested on a subject that breaks it.

Batches and outputs are dictionaries of columns. A column is an array whose leading axis counts the
items, or a list. Everything is compared bit for bit, NaN included, unless a tolerance is given.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Columns = dict[str, Any]
State = Mapping[str, Any]
Make = Callable[[], Any]
Feed = Callable[[Any, Columns], Columns]
Show = Callable[[Any], State]


class LawBroken(AssertionError):
    """A law of the design does not hold; the message says where first."""


# -- the six laws ----------------------------------------------------------------------------------


def split(make: Make, feed: Feed, state: Show, columns: Columns, cuts: Sequence[int]) -> None:
    """1: cutting the stream into other batches changes no bit of what is said or kept."""
    whole, cut = make(), make()
    expected = feed(whole, columns)
    edges = [0, *sorted(cuts), length(columns)]
    pieces = [take(columns, slice(a, b)) for a, b in itertools.pairwise(edges)]
    said = joined([feed(cut, piece) for piece in pieces])
    same_columns(said, expected, "split: output")
    same_state(state(cut), state(whole), "split: state")


def interleaving(make: Make, feed: Feed, columns: Columns, key: str = "asset") -> None:
    """2: what is said of one asset does not depend on which others there are, or in what order.

    ``key`` is a column of the batches and of the outputs.
    """
    together = feed(make(), columns)
    for one in np.unique(columns[key]):
        alone = feed(make(), take(columns, np.flatnonzero(columns[key] == one)))
        among = take(together, np.flatnonzero(np.asarray(together[key]) == one))
        same_columns(among, alone, f"interleaving: {key} {one}")


def transparency(
    make: Make, feed: Feed, state: Show, load: Callable[[Any, State], None],
    columns: Columns, at: int,
) -> None:
    """3: saving after ``at`` items and going on in another place changes nothing."""
    stayed, left = make(), make()
    expected = feed(stayed, columns)
    first = feed(left, take(columns, slice(0, at)))
    moved = make()
    load(moved, copied(state(left)))
    said = joined([first, feed(moved, take(columns, slice(at, None)))])
    same_columns(said, expected, "transparency: output")
    same_state(state(moved), state(stayed), "transparency: state")


def purity(make: Make, feed: Feed, score: Feed, state: Show, columns: Columns) -> None:
    """4: ``score`` leaves the state untouched; neither it nor ``feed`` writes to its input."""
    subject = make()
    half = length(columns) // 2
    first, second = take(columns, slice(0, half)), take(columns, slice(half, None))
    for call, batch in ((feed, first), (score, second), (score, second)):
        before_state, before_batch = copied(state(subject)), copied(batch)
        call(subject, batch)
        same_columns(batch, before_batch, "purity: input")
        if call is score:
            same_state(state(subject), before_state, "purity: state")


def parity(
    make: Make, compiled: Feed, plain: Feed, state: Show, columns: Columns, relative: float = 0.0
) -> None:
    """5: the compiled code and the Python it was compiled from say and keep the same."""
    one, other = make(), make()
    said, expected = compiled(one, columns), plain(other, columns)
    same_columns(said, expected, "parity: output", relative)
    same_state(state(one), state(other), "parity: state", relative)


def sanity(said: Columns, kept: State, opinions: Sequence[str], amounts: Sequence[str]) -> None:
    """6: opinions are NaN or finite and ≥ 0, amounts finite and ≥ 0, state free of NaN and ±inf.

    ``opinions`` and ``amounts`` name columns of ``said``.
    """
    for name in (*opinions, *amounts):
        values = np.asarray(said[name])
        allowed = np.isfinite(values) & (np.nan_to_num(values) >= 0)
        if name in opinions:
            allowed |= np.isnan(values)
        if not allowed.all():
            where = tuple(np.argwhere(~allowed)[0].tolist())
            raise LawBroken(f"sanity: {name}{list(where)} is {values[where]}")
    for name, values in flat(kept).items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise LawBroken(f"sanity: state {name} holds {values[~np.isfinite(values)][0]}")


# -- columns and states ----------------------------------------------------------------------------


def length(columns: Columns) -> int:
    """Number of items; every column has the same."""
    counts = {len(column) for column in columns.values()}
    assert len(counts) == 1, f"columns of different length: {counts}"
    return counts.pop()


def take(columns: Columns, which: Any) -> Columns:
    """The items of a slice or of an index array, in copies of their own."""
    return {name: _take(column, which) for name, column in columns.items()}


def joined(parts: Sequence[Columns]) -> Columns:
    """Several outputs as one."""
    return {
        name: (
            [item for part in parts for item in part[name]]
            if isinstance(parts[0][name], list)
            else np.concatenate([part[name] for part in parts])
        )
        for name in parts[0]
    }


def copied(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that shares no memory: what a snapshot does, by way of bytes."""
    return {
        name: (
            copied(value) if isinstance(value, Mapping)
            else list(value) if isinstance(value, list)
            else np.frombuffer(value.tobytes(), value.dtype).reshape(value.shape).copy()
        )
        for name, value in tree.items()
    }


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Every plain array of nested mappings and structured arrays, by dotted name."""
    found: dict[str, np.ndarray] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif value.dtype.names:
            found |= {f"{prefix}{name}.{field}": value[field] for field in value.dtype.names}
        else:
            found[f"{prefix}{name}"] = value
    return found


def same_columns(a: Columns, b: Columns, what: str, relative: float = 0.0) -> None:
    """Raise :class:`LawBroken` at the first column that differs."""
    if a.keys() != b.keys():
        raise LawBroken(f"{what}: columns {sorted(a)} and {sorted(b)}")
    for name in a:
        if isinstance(a[name], list):
            if a[name] != b[name]:
                raise LawBroken(f"{what} {name}: {a[name]} and {b[name]}")
        else:
            _same_array(np.asarray(a[name]), np.asarray(b[name]), f"{what} {name}", relative)


def same_state(a: State, b: State, what: str, relative: float = 0.0) -> None:
    """Raise :class:`LawBroken` at the first array that differs."""
    first, second = flat(a), flat(b)
    if first.keys() != second.keys():
        raise LawBroken(f"{what}: {sorted(first)} and {sorted(second)}")
    for name in first:
        _same_array(first[name], second[name], f"{what} {name}", relative)


def _take(column: Any, which: Any) -> Any:
    if isinstance(column, list):
        return column[which] if isinstance(which, slice) else [column[k] for k in which]
    return np.ascontiguousarray(column[which]).copy()


def _same_array(a: np.ndarray, b: np.ndarray, what: str, relative: float) -> None:
    if a.shape != b.shape or a.dtype != b.dtype:
        raise LawBroken(f"{what}: {a.dtype}{a.shape} and {b.dtype}{b.shape}")
    if a.tobytes() == b.tobytes():
        return
    if a.dtype.kind == "f":
        different = a.view(f"i{a.dtype.itemsize}") != b.view(f"i{b.dtype.itemsize}")
        if relative > 0.0:
            different &= ~np.isclose(a, b, rtol=relative, atol=0.0, equal_nan=True)
    else:
        different = a != b
    if different.any():
        where = tuple(np.argwhere(different)[0].tolist())
        raise LawBroken(f"{what}{list(where)}: {a[where]!r} and {b[where]!r}")
