"""The compiled reference says what numpy says, in every bit, whatever the length."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly import numerics
from tests.naive import numerics as naive


@pytest.mark.parametrize("size", [*range(1, 40), 127, 128, 129, 136, 255, 257, 500, 1000, 1033,
                                  2999, 8192, 20_011])
def test_sums_deviations_and_quantiles_are_numpys(size: int) -> None:
    random = np.random.default_rng(size)
    for values in (random.normal(size=size), random.lognormal(0, 9, size), np.full(size, 0.1),
                   1e9 + random.normal(size=size)):
        assert numerics.pairwise_sum(values) == values.sum()
        assert numerics.deviation(values) == np.std(values)
        ordered = np.sort(values)
        for q in (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0):
            assert numerics.ordered_quantile(ordered, q) == np.quantile(values, q)


@pytest.mark.parametrize("seed", range(6))
def test_the_robust_reference_is_the_naive_twins(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = random.normal(size=(int(random.integers(2, 900)), 9)) * 10.0 ** random.integers(-9, 9, 9)
    rows[:, 1] = 7.25
    rows[:, 2] = 0.0
    rows[random.random(rows.shape[0]) < 0.3, 3] = np.nan
    rows[-5:, 4] = 1e90
    rows[:, 5] = np.nan
    rows[0, 6] = np.inf
    rows[:, 7] = np.round(rows[:, 7] / rows[:, 7].std())
    before = rows.tobytes()
    for given in (rows, np.asfortranarray(rows), rows[::2]):
        ours, theirs = numerics.robust_reference(given), naive.robust_reference(given)
        for one, other in zip(ours, theirs, strict=True):
            assert (one == other).all()  # a zero may have another sign
    assert rows.tobytes() == before
