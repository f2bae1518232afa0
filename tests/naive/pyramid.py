"""Naive twin of ``anomaly.detectors.pyramid``: whole soft windows, compared value by value.

The moments are the sums that define them, weight α λ^k for the block k before the last, over all
blocks there ever were; before the first stand blocks that equal it. Left discords after Yeh et
al., ICDM 2016 and Zimmerman et al., "Matrix Profile XIII", 2019.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from anomaly.detectors.pyramid import Config


def scores(warm_up: np.ndarray, rows: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Scores float64[n] and evidence float64[n, d] of the rows that follow ``warm_up``."""
    everything = np.vstack([warm_up, rows])
    surprise = np.full(everything.shape, np.nan)
    for c in range(rows.shape[1]):
        place = np.flatnonzero(~np.isnan(everything[:, c]))
        surprise[place, c] = _sensor(everything[place, c], config)
    opinion = ~np.isnan(surprise)
    together = _together_surprise(everything, config)
    score = np.full(len(everything), np.nan)
    for r in range(len(everything)):
        if opinion[r].any():
            own = surprise[r, opinion[r]].mean()
            score[r] = math.sqrt(own if np.isnan(together[r]) else (own + together[r]) / 2)
    after = slice(len(warm_up), None)
    return score[after], np.where(opinion, surprise, 0.0)[after]


def _together_surprise(everything: np.ndarray, config: Config) -> np.ndarray:
    """Mean surprise of all sensors together after each row, NaN = none yet."""
    rows, sensors = everything.shape
    held = []
    for size, history, step in list(_levels(config))[1:]:
        closed: list[dict[int, int]] = [{} for _ in range(rows)]  # by row: sensor -> its block
        raw: list[list[dict[int, float]]] = []  # by sensor and block: lag -> raw²
        typical: list[list[float]] = []  # by sensor and block: of the nearest ones before it
        for c in range(sensors):
            place = np.flatnonzero(~np.isnan(everything[:, c]))
            count = len(place) // size
            blocks = everything[place[: count * size], c].reshape(count, size).mean(axis=1)
            for block in range(count):
                closed[place[(block + 1) * size - 1]][c] = block
            b = blocks - blocks[0] if count else blocks
            raw.append([
                {lag: _apart(b, i, lag, 1 - config.keep)
                 for lag in range(16, min(history, i + 1)) if lag % step == 0}
                for i in range(count)
            ])
            typical.append(_typical(distances(blocks, history, step, config)[0][0], size,
                                    config.memory_rows))
        for part, first in enumerate((16, config.old_blocks)):
            squares: list[float | None] = []
            for r in range(rows):
                known = {c: block for c, block in closed[r].items()
                         if not math.isnan(typical[c][block])}
                newest = min(known.values(), default=0)
                filled = first + int(4 / (1 - config.keep))
                if len(known) < 2:
                    squares.append(None)
                    continue
                if part and (history <= first or newest < filled):
                    squares.append(math.nan)  # the others of this level are judged anew, this not
                    continue
                squares.append(min(
                    sum(raw[c][block][lag] / (typical[c][block] + 1e-30)
                        for c, block in known.items())
                    for lag in range(first, min(history, newest + 1)) if lag % step == 0
                ) / len(known))
            held.append(_surprises(squares, size, config.memory_rows))
    mean = np.full(rows, np.nan)
    known_ones = ~np.isnan(np.array(held).reshape(len(held), rows))
    for r in range(rows):
        if known_ones[:, r].any():
            mean[r] = np.mean([said[r] for said in held if not math.isnan(said[r])])
    return mean


def _typical(squares: list[float | None], size: int, memory_rows: float) -> list[float]:
    """The running mean of a distance before each block, NaN until it is judged."""
    norm, count, out = 0.0, 0, []
    for square in squares:
        known = square is not None and count * size > 200
        out.append(norm if known else math.nan)
        if square is not None:
            learned = min(square, 64 * norm) if known else square
            count += 1
            norm += max(1 / count, size / memory_rows) * (learned - norm)
    return out


def _sensor(values: np.ndarray, config: Config) -> np.ndarray:
    """Weighed mean of the surprises that are known after each value, NaN = none yet.

    A raw distance weighs s / (s + ¼), s the mean least shape² before it.
    """
    held, weights = [], []
    for size, history, step in _levels(config):
        count = len(values) // size
        blocks = values[: count * size].reshape(count, size).mean(axis=1)
        squares, spreads = distances(blocks, history, step, config)
        repeating = np.array([math.nan, *_typical(squares[2], size, config.memory_rows)])
        closed = [(n + 1) // size for n in range(len(values))]
        for k, own in enumerate(squares):
            kind = k % 3
            said = [math.nan, *_surprises(own, size, config.memory_rows,
                                          spreads, (math.inf, 0.0, 1.0)[kind])]
            held.append([said[block] for block in closed])
            weight = repeating / (repeating + 0.25) if kind == 0 else np.ones(count + 1)
            weights.append(weight[closed])
    weight = np.where(np.isnan(held), 0.0, weights)
    total = (np.nan_to_num(held) * weight).sum(axis=0)
    known = weight.sum(axis=0) > 0
    return np.where(known, total / np.where(known, weight.sum(axis=0), 1.0), np.nan)


def _levels(config: Config) -> Iterator[tuple[int, int, int]]:
    """Of each level the values per block, the blocks compared, and the step of the lags."""
    return zip(config.decimations, config.histories, config.steps, strict=True)


def distances(
    blocks: np.ndarray, history: int, step: int, config: Config
) -> tuple[list[list[float | None]], list[float]]:
    """Nearest squared distance after each block, per lag range and kind; None = not judged.

    And the logarithm of each block's σ². The lags are multiples of ``step``.
    """
    share, count = 1 - config.keep, len(blocks)
    filled = int(4 / share)
    out: list[list[float | None]] = [[] for _ in range(6)]
    b = blocks - blocks[0] if count else blocks
    mean, variance = np.zeros(count), np.zeros(count)
    soft, spreads = 0.0, []
    for i in range(count):
        mean[i], variance[i] = _together(b, i, i, share)
        now = 0.01 * _long_run(b[: i + 1]) + 1e-18
        if i % 256 == 0 or now > 2 * soft:
            soft = now
        sigma = math.sqrt(variance[i] + soft)
        spreads.append(math.log(variance[i] + soft))
        squares = {}
        for lag in range(16, min(history, i + 1)):
            if lag % step:
                continue
            j = i - lag
            raw = _apart(b, i, lag, share)
            centred = raw - (1 - 2**-18) * (mean[i] - mean[j]) ** 2
            theirs = _sixteen_bits(math.sqrt(variance[j] + soft))
            squares[lag] = (raw, centred, (centred - (sigma - theirs) ** 2) / (sigma * theirs))
        for part, first in enumerate((16, min(config.old_blocks, history))):
            lags = [lag for lag in squares if lag >= first]
            judged = lags and i >= first + filled
            for kind in range(3):
                nearest = max(min(squares[lag][kind] for lag in lags), 0.0) if judged else None
                out[3 * part + kind].append(nearest)
    return out, spreads


def _sixteen_bits(value: float) -> float:
    """The nearest number of nine binary digits; of two as near, the larger."""
    fraction, exponent = math.frexp(value)
    return math.ldexp(math.floor(float(np.float32(fraction)) * 512 + 0.5) / 512, exponent)


def _apart(b: np.ndarray, i: int, lag: int, share: float) -> float:
    """Mean square difference of the soft windows at i and ``lag`` blocks before it."""
    weight = share * (1 - share) ** np.arange(i + 1)
    other = np.zeros(i + 1)
    other[: i + 1 - lag] = b[i - lag :: -1]
    return float(weight @ (b[i::-1] - other) ** 2)


def _together(b: np.ndarray, i: int, j: int, share: float) -> tuple[float, float]:
    """Mean of the soft window at i, and its covariance with the one at j ≤ i."""
    weight = share * (1 - share) ** np.arange(i + 1)
    one = b[i::-1]
    other = np.zeros(i + 1)
    other[: j + 1] = b[j::-1]
    mean, mean_other = float(weight @ one), float(weight @ other)
    before = (1 - share) ** (i + 1)  # all that lies before the first block, where both are 0
    product = float(weight @ ((one - mean) * (other - mean_other))) + before * mean * mean_other
    return mean, product


def _long_run(b: np.ndarray) -> float:
    """Variance of the blocks so far; they are fewer than it remembers."""
    assert len(b) <= 4000
    return float(b.var())


def _surprises(
    squares: list[float | None], size: int, memory_rows: float, spreads: list[float] | None = None,
    far: float = 0.0,
) -> list[float]:
    """max(z, 0)² of the logarithm of each distance against those before it, NaN = no opinion.

    Less what is usual at that σ², where ``spreads`` tell it: a regression shrunk by 100 blocks, in
    which σ² counts as far as ``far`` standard deviations.
    """
    norm = mean = variance = 0.0
    at = scatter = together = 0.0  # mean and variance of the spreads, their covariance
    count, said, out = 0, math.nan, []
    for block, square in enumerate(squares):
        if square is None:
            out.append(said)
            continue
        if math.isnan(square):
            said = math.nan
            out.append(said)
            continue
        step = math.log(square + 0.01 * norm + 1e-30) - mean
        away = excuse = 0.0
        if spreads is not None:
            away = spreads[block] - at
            if count and scatter:
                slope = together / (scatter * (count + 100) / count + 1e-6)
                reach = far * math.sqrt(scatter)
                excuse = slope * min(max(away, -reach), reach)
        left = step - excuse
        if count * size > 200:
            deviation = math.sqrt((variance * count + 100) / (count + 100))
            said = min(max(left / deviation, 0.0), 30.0) ** 2
            square = min(square, 64 * norm)
            left = min(max(left, -8 * deviation), 8 * deviation)
        step = left + excuse
        out.append(said)
        count += 1
        weight = max(1 / count, size / memory_rows)
        norm += weight * (square - norm)
        mean += weight * step
        variance = (1 - weight) * (variance + weight * left * left)
        at += weight * away
        scatter = (1 - weight) * (scatter + weight * away * away)
        together = (1 - weight) * (together + weight * step * away)
    return out
