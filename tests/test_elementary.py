"""The engine's own logarithm and exponential: right to two units in the last place, everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pytest

from anomaly import elementary
from tests.naive import elementary as naive

WIDE = 10.0 ** np.random.default_rng(1).uniform(-307, 307, 600)
NEAR_ONE = np.concatenate([
    np.random.default_rng(2).uniform(0.5, 2.0, 600),
    1.0 + np.outer([1.0, -1.0], 10.0 ** np.arange(-15.0, 0.0)).ravel(),
    [1.0, math.sqrt(0.5), math.sqrt(2.0), np.nextafter(1.0, 0.0), np.nextafter(1.0, 2.0)],
])
SPREAD = np.random.default_rng(3).uniform(-700.0, 700.0, 600)
SMALL = np.outer([1.0, -1.0], 10.0 ** np.random.default_rng(4).uniform(-20, 1, 600)).ravel()


@pytest.mark.parametrize("ours, twin, values", [
    (elementary.logarithm, naive.logarithm, WIDE),
    (elementary.logarithm, naive.logarithm, NEAR_ONE),
    (elementary.exponential, naive.exponential, SPREAD),
    (elementary.exponential, naive.exponential, SMALL),
    (elementary.exponential_less_one, naive.exponential_less_one, SPREAD),
    (elementary.exponential_less_one, naive.exponential_less_one, SMALL),
])
def test_it_is_right_to_two_units_in_the_last_place(
    ours: Callable[[float], float], twin: Callable[[float], Decimal], values: np.ndarray
) -> None:
    for x in values.tolist():
        exact = twin(x)
        unit = Decimal(math.ulp(float(exact)))
        assert abs(Decimal(ours(x)) - exact) <= 2 * unit, x


@pytest.mark.parametrize("n", range(16))
def test_whole_powers(n: int) -> None:
    for x in (0.0, 0.25, 0.9, 1.0, 1.3, 7.0, 1e9):
        assert elementary.whole_power(x, n) == pytest.approx(float(naive.whole_power(x, n))
                                                             if x or n else 1.0, rel=1e-15)


def test_what_is_exact_is_exact_and_what_is_too_large_is_held() -> None:
    assert elementary.logarithm(1.0) == 0.0
    assert elementary.exponential(0.0) == 1.0
    assert elementary.exponential_less_one(0.0) == 0.0
    assert elementary.exponential(1e9) == elementary.exponential(700.0) < math.inf
    assert elementary.exponential(-math.inf) == elementary.exponential(-700.0) > 0.0
    assert elementary.exponential_less_one(-math.inf) == -1.0


def test_compiled_equals_plain_in_every_bit() -> None:
    for function, values in ((elementary.logarithm, WIDE), (elementary.logarithm, NEAR_ONE),
                             (elementary.exponential, SPREAD),
                             (elementary.exponential_less_one, SMALL)):
        for x in values.tolist():
            assert function(x) == function.py_func(x)
    for n in range(16):
        assert elementary.whole_power(1.1, n) == elementary.whole_power.py_func(1.1, n)
