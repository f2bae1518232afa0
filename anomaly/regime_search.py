"""Which operating modes a warm-up shows, if any: looked for once, when a reference freezes.

A machine that is run at several settings has, for every setting, its own usual. Its *settings
columns* stand at a few values with nothing between them; the search finds such columns, groups the
rows by them (leader clustering, radius 3 % of the column's range), and believes the groups only if
they explain what the *other* columns measure. No state and no row of the stream here
(``regimes.py``); nothing is looked up by name.

What must hold before modes are believed, each because something else looked like modes without it:

* At least two modes that the machine *came back to*, holding four rows of five: a machine that
  drifts or was changed once has two levels too.
* Half of the other columns must lose four fifths of their variance when each row is compared with
  the *other visits* to its mode; neighbouring rows are alike anyhow and prove nothing.
* Even steps that a curve explains as well are a coarse sensor or a count, not a setting:
  conditioning on it would learn its fault as a new mode.

Of columns that explain equally well the one with the tightest groups wins: a set point stands
still, a sensor wears, and a worn sensor must not look like a new mode.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomaly.batches import Bool, Float64, Int64

#: Radius of a group, as a share of its column's range over the warm-up.
RADIUS_SHARE = 0.03
#: Share of the rows that may stand between the groups: the machine on its way from one to another.
BETWEEN_SHARE = 0.05
#: Share of the rows in modes that the machine came back to.
VISITED_SHARE = 0.8
#: Share of its variance that the modes must take from the median other column: four fifths more
#: than halve its deviation; less gains little, and every mode has fewer rows to be known from.
EXPLAINED_LEAST = 0.8
#: What a further settings column must add to that share, and how close to the best is as good.
EXPLAINED_MORE, EXPLAINED_ALIKE = 0.05, 0.05
#: The narrowest gap between two groups, in widths of the widest group; few rows leave gaps anyhow.
GAP_WIDTHS = 3.0
#: Rows for each group: fewer scattered rows fall into groups by chance.
GROUP_ROWS = 4
#: Steps are even where each is a multiple of the smallest to this share of it; then the modes must
#: leave less than this share of what a curve (a line for three) leaves unexplained.
STEP_ALIKE, CURVE_REST = 0.01, 0.5
#: A value that names what is made stands for so many rows a visit on average, and such values are
#: this share of the rows at least: the rest are means of rows across a change.
STAND_ROWS, STAND_SHARE = 5, 0.95
#: So many values that only rise, or only fall, without one that came back are a count.
COUNT_VALUES = 4
#: Numbers of ten digits and more name something, whether they stand or not.
NAME_LEAST = 1e9
#: Most settings columns that tell a mode together.
SETTINGS = 3
#: Fewest rows in which modes can be told from chance.
ROWS_LEAST = 20


@dataclass(frozen=True, slots=True)
class Modes:
    """Modes of w warm-up rows.

    Attributes
    ----------
    columns : int64[s]
        The settings columns.
    radius : float64[s]
        How far from a mode's place a row may be in each; 0 = only at it.
    place : float64[k, s]
        Where each mode stands.
    mode : int64[w]
        Each row's mode, −1 = between the modes or not known.
    visit : int64[w]
        Number of the visit, rising with time; a mode that was visited once has its visit cut in
        four, so that there is always another one to compare with.
    """

    columns: Int64
    radius: Float64
    place: Float64
    mode: Int64
    visit: Int64


def from_column(rows: Float64, column: int) -> Modes | None:
    """Modes that a tag tells outright: every value is a mode, None where no value was seen."""
    held = _held(rows[:, column])
    place = np.unique(held[~np.isnan(held)])
    if not place.size:
        return None
    mode = np.where(np.isnan(held), -1, np.searchsorted(place, held))
    return Modes(
        np.array([column]), np.zeros(1), place[:, None].copy(), mode.astype(np.int64),
        _visits(mode),
    )


def from_tag(
    rows: Float64, column: int, limit: int, each: bool
) -> tuple[Modes | None, bool]:
    """Modes that a tag tells that should name what is made, and whether it names it at all.

    ``each``: each of its values is a mode, said to be so. Else it must behave like a name: few
    whole numbers that stand for a while, and no count. None where these are more than ``limit``,
    too; then they are names all the same.
    """
    if each:
        modes = from_column(rows, column)
        if modes is not None and len(modes.place) <= limit:
            return modes, True
    held = _held(rows[:, column])
    seen = held[~np.isnan(held)]
    if not seen.size:
        return None, False
    begins = np.append(True, seen[1:] != seen[:-1])
    place, of, count = np.unique(seen, return_inverse=True, return_counts=True)
    stands = count >= STAND_ROWS * np.bincount(of[begins], minlength=place.size)
    stands[of[-1]] = True  # how long it will is not known yet
    stands &= place == np.round(place)
    if count[stands].sum() < STAND_SHARE * seen.size:
        return None, names_only(seen)
    visits = seen[begins & stands[of]]
    steps = np.diff(visits[np.append(True, visits[1:] != visits[:-1])])
    counts = steps.size + 1 >= COUNT_VALUES and ((steps > 0).all() or (steps < 0).all())
    place = place[stands]
    if place.size > limit or (counts and not each):
        return None, True
    at = np.searchsorted(place, held)
    known = place[np.minimum(at, place.size - 1)] == held
    mode = np.where(known, at, -1)
    return Modes(
        np.array([column]), np.zeros(1), place[:, None].copy(), mode.astype(np.int64),
        _visits(mode),
    ), True


def names_only(column: Float64) -> bool:
    """Whether the numbers of a column are too large to be anything but names."""
    seen = column[~np.isnan(column)]
    return bool(seen.size and seen.min() >= NAME_LEAST)


def find(rows: Float64, limit: int) -> Modes | None:
    """The modes of warm-up rows ``float64[w, d]``, NaN = missing; None = one way of running.

    ``limit`` is the largest number of modes believed.
    """
    if len(rows) < ROWS_LEAST or rows.shape[1] < 2:
        return None
    candidates = []
    for c in range(rows.shape[1]):
        values = _held(rows[:, c])
        groups = clumps(values, limit)
        if groups is not None:
            candidates.append((c, values, groups))
    best = _best(rows, candidates, limit)
    if best is None or _coarse_sensor(rows, best):
        return None
    return best


def clumps(values: Float64, limit: int) -> Float64 | None:
    """Lower and upper ends float64[k, 2] of the few groups that a column stands in; None = not so.

    The densest window of two radii is a group, then the densest of what is left, until all but
    :data:`BETWEEN_SHARE` of the rows are in one. Groups nearer to each other than a radius are
    one wide one: the column is no settings column.
    """
    ordered = np.sort(values[~np.isnan(values)])
    if ordered.size < ROWS_LEAST or not ordered[-1] > ordered[0]:
        return None
    radius = RADIUS_SHARE * (ordered[-1] - ordered[0])
    if not np.isfinite(radius):
        return None
    found: list[tuple[float, float]] = []
    left = ordered
    while left.size > BETWEEN_SHARE * ordered.size:
        if len(found) == limit or GROUP_ROWS * (len(found) + 1) > ordered.size:
            return None
        count = np.searchsorted(left, left + 2.0 * radius, "right") - np.arange(left.size)
        first = int(count.argmax())
        low, high = float(left[first]), float(left[first + count[first] - 1])
        if any(low - other[1] < radius and other[0] - high < radius for other in found):
            return None
        found.append((low, high))
        left = np.delete(left, slice(first, first + int(count[first])))
    groups = np.array(sorted(found))
    if len(groups) < 2:
        return None
    widest, gap = (groups[:, 1] - groups[:, 0]).max(), (groups[1:, 0] - groups[:-1, 1]).min()
    return groups if gap >= GAP_WIDTHS * widest else None


def from_others(rows: Float64, modes: Modes) -> Float64:
    """Mean of the rows of the same mode in its *other* visits: float64[w, d], NaN = there is none.
    """
    present = ~np.isnan(rows)
    value = np.where(present, rows, 0.0)
    count = counts_of_others(rows, modes)
    expected = np.full(rows.shape, np.nan)
    known = modes.mode >= 0
    mode, visit = modes.mode[known], modes.visit[known]
    total = _sums(mode, value[known])[mode] - _sums(visit, value[known])[visit]
    with np.errstate(invalid="ignore", divide="ignore"):
        expected[known] = np.where(count[known] > 0.0, total / count[known], np.nan)
    return expected


def counts_of_others(rows: Float64, modes: Modes) -> Float64:
    """How many values :func:`from_others` has for each row: float64[w, d]."""
    present = (~np.isnan(rows)).astype(np.float64)
    known = modes.mode >= 0
    count = np.zeros(rows.shape)
    mode, visit = modes.mode[known], modes.visit[known]
    count[known] = _sums(mode, present[known])[mode] - _sums(visit, present[known])[visit]
    return count


def _best(
    rows: Float64, candidates: list[tuple[int, Float64, Float64]], limit: int
) -> Modes | None:
    """The settings columns that explain most with fewest, and the modes that they tell."""
    chosen: list[tuple[int, Float64, Float64]] = []
    best: Modes | None = None
    explained = -np.inf
    while len(chosen) < SETTINGS:
        tried = []
        for candidate in candidates:
            if any(candidate[0] == c for c, _, _ in chosen):
                continue
            modes = _joint([*chosen, candidate], limit)
            if modes is not None and _returned_to(modes):
                tried.append((_explained(rows, modes), _looseness(candidate), candidate, modes))
        if not tried:
            break
        most = max(entry[0] for entry in tried)
        if not most >= (EXPLAINED_LEAST if best is None else explained + EXPLAINED_MORE):
            break
        good = [entry for entry in tried
                if entry[0] >= max(most - EXPLAINED_ALIKE, EXPLAINED_LEAST)]
        explained, _, candidate, best = min(good, key=lambda entry: entry[1])
        chosen.append(candidate)
    return best


def _joint(chosen: list[tuple[int, Float64, Float64]], limit: int) -> Modes | None:
    """Modes as the groups of several columns together; None where there are too many."""
    w = chosen[0][1].size
    code = np.zeros(w, np.int64)
    known = np.ones(w, np.bool_)
    for _, values, groups in chosen:
        at = np.clip(np.searchsorted(groups[:, 0], values, "right") - 1, 0, len(groups) - 1)
        known &= (values >= groups[at, 0]) & (values <= groups[at, 1])
        code = code * len(groups) + at
    kinds, mode = np.unique(code[known], return_inverse=True)
    if not 2 <= kinds.size <= limit:
        return None
    whole = np.full(w, -1, np.int64)
    whole[known] = mode
    place = np.empty((kinds.size, len(chosen)))
    for s, (_, _, groups) in reversed(list(enumerate(chosen))):
        place[:, s] = groups[kinds % len(groups)].mean(axis=1)
        kinds = kinds // len(groups)
    radius = np.array([RADIUS_SHARE * (np.nanmax(v) - np.nanmin(v)) for _, v, _ in chosen])
    return Modes(np.array([c for c, _, _ in chosen]), radius, place, whole, _visits(whole))


def _visits(mode: Int64) -> Int64:
    """Number of the visit that each row is part of; the only visit to a mode counts as four."""
    w = mode.size
    begins = np.ones(w, np.bool_)
    begins[1:] = mode[1:] != mode[:-1]
    visit = 4 * np.cumsum(begins)
    for k in np.unique(mode[mode >= 0]).tolist():
        at = np.flatnonzero(mode == k)
        if visit[at[0]] == visit[at[-1]]:
            visit[at] += 4 * np.arange(at.size) // at.size
    number: Int64 = np.unique(visit, return_inverse=True)[1].astype(np.int64)
    return number


def _returned_to(modes: Modes) -> bool:
    """Whether enough rows are in modes that the machine came back to."""
    begins = np.ones(modes.mode.size, np.bool_)
    begins[1:] = modes.mode[1:] != modes.mode[:-1]
    visits = np.bincount(modes.mode[begins & (modes.mode >= 0)], minlength=len(modes.place))
    again = visits >= 2
    inside = again[modes.mode] & (modes.mode >= 0)
    return bool(again.sum() >= 2 and inside.mean() >= VISITED_SHARE)


def _explained(rows: Float64, modes: Modes) -> float:
    """Share of variance that the modes take from the median other column, out of sample.

    A column that is one value in every mode is a setting, too, and measures nothing.
    """
    with np.errstate(invalid="ignore"):
        shares = explained_shares(rows, from_others(rows, modes), modes.columns)
    return float(np.median(shares)) if shares.size else -np.inf


def explained_shares(rows: Float64, expected: Float64, settings: Int64) -> Float64:
    """Per measured column 1 − residual variance ÷ variance, over the rows with an expectation."""
    shares = []
    for c in range(rows.shape[1]):
        usable = ~np.isnan(rows[:, c]) & ~np.isnan(expected[:, c])
        if c in settings or usable.sum() < ROWS_LEAST // 2:
            continue
        values = rows[usable, c]
        whole = float(np.mean((values - values.mean()) ** 2))
        rest = float(np.mean((values - expected[usable, c]) ** 2))
        if whole > 0.0 and rest > 1e-12 * whole:
            shares.append(1.0 - rest / whole)
    return np.array(shares)


def _looseness(candidate: tuple[int, Float64, Float64]) -> float:
    """Width of the widest group against the column's range."""
    _, values, groups = candidate
    return float((groups[:, 1] - groups[:, 0]).max() / (np.nanmax(values) - np.nanmin(values)))


def _coarse_sensor(rows: Float64, modes: Modes) -> bool:
    """Whether the modes are even steps of one column that a curve explains about as well."""
    k = len(modes.place)
    if len(modes.columns) > 1 or k < 3:
        return False
    steps = np.diff(modes.place[:, 0])
    multiple = steps / steps.min()
    if np.abs(multiple - np.round(multiple)).max() > STEP_ALIKE:
        return False
    place = np.where(modes.mode >= 0, modes.place[modes.mode, 0], np.nan)
    curve = np.full(rows.shape, np.nan)
    for c in range(rows.shape[1]):
        usable: Bool = ~np.isnan(rows[:, c]) & ~np.isnan(place)
        x = (place[usable] - modes.place[0, 0]) / np.ptp(modes.place[:, 0])
        if x.size > k and np.ptp(x) > 0.0:
            power = np.vander(x, 2 if k == 3 else 3)
            curve[usable, c] = power @ np.linalg.lstsq(power, rows[usable, c], rcond=None)[0]
    by_curve = explained_shares(rows, curve, modes.columns)
    by_mode = explained_shares(rows, from_others(rows, modes), modes.columns)
    if not by_curve.size or not by_mode.size:
        return False
    return bool(1.0 - np.median(by_mode) > CURVE_REST * (1.0 - np.median(by_curve)))


def _held(values: Float64) -> Float64:
    """Each missing value as the last one before it: a setting is often sent only when it changes.
    """
    last = np.maximum.accumulate(np.where(np.isnan(values), -1, np.arange(values.size)))
    return np.where(last >= 0, values[last], np.nan)


def _sums(group: Int64, value: Float64) -> Float64:
    """Sums of ``value float64[n, d]`` by group: float64[groups, d]."""
    total = np.zeros((int(group.max()) + 1 if group.size else 0, value.shape[1]))
    np.add.at(total, group, value)
    return total
