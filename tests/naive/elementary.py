"""Naive twin of ``anomaly.elementary``: fifty decimal digits, from Python's own arithmetic."""

from __future__ import annotations

from decimal import Context, Decimal

EXACT = Context(prec=50, Emin=-9999, Emax=9999)


def logarithm(x: float) -> Decimal:
    """ln x."""
    return EXACT.ln(Decimal(x))


def exponential(x: float) -> Decimal:
    """e^x."""
    return EXACT.exp(Decimal(x))


def exponential_less_one(x: float) -> Decimal:
    """e^x − 1; digits enough are left where x is as small as 1e-20."""
    return EXACT.subtract(EXACT.exp(Decimal(x)), Decimal(1))


def whole_power(x: float, n: int) -> Decimal:
    """x^n."""
    return EXACT.power(Decimal(x), n)
