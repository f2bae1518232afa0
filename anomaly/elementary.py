"""Logarithm and exponential in arithmetic that every machine has, for kernels that ask row by row.

The C library's cost three times as much, because they are called number by number and every
register is saved around the call; and which of its variants runs, and so the last bit, depends on
the processor. Here are additions, multiplications, one division and the bits of the number: the
same everywhere, put into the loop that asks. What may not live here: special cases. Each function
says where its argument must lie; beyond that the answer means nothing.

A power of two brings the argument near 1 or 0 (Cody & Waite, *Software Manual for the Elementary
Functions* (1980), ch. 5 and 6), with ln 2 in two parts so that nothing is lost; the rest is a
Taylor series as long as float64 can tell. Right to two units in the last place.
"""

from __future__ import annotations

import numpy as np

from anomaly.kernel import kernel_uncounted

#: ln 2 = LN2_HIGH + LN2_LOW. The first has 32 bits: times any exponent it is exact.
LN2_HIGH = 2977044471 / 2.0**32
LN2_LOW = 1.9082149292705877e-10
#: The bits of √½: numbers are brought between it and √2.
ROOT_HALF_BITS = 0x3FE6A09E667F3BCD
#: Added, it rounds to whole numbers and leaves them in the last bits.
ROUNDING = 1.5 * 2.0**52
ROUNDING_BITS = int(np.array([ROUNDING]).view(np.int64)[0])
#: Exponents beyond ± this are taken for it: e^700 and e^−700 are ordinary numbers.
EXPONENT_LIMIT = 700.0


@kernel_uncounted
def logarithm(x: float) -> float:
    """ln x of an ordinary x > 0: finite and at least 2.3e-308.

    x = 2^k (1 + f); s = f / (2 + f); ln(1 + f) = 2 artanh s = 2s + s R = f − (h − s (h + R))
    with h = f²/2: so f itself carries no error of the division.
    """
    bits = np.float64(x).view(np.int64)
    exponent = (bits - ROOT_HALF_BITS) >> 52
    f = np.int64(bits - (exponent << 52)).view(np.float64) - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    # R = 2 (z/3 + z²/5 + …), odd and even powers apart, so that neither waits for the other.
    odd = z * (2 / 3 + w * (2 / 7 + w * (2 / 11 + w * (2 / 15 + w * (2 / 19)))))
    even = w * (2 / 5 + w * (2 / 9 + w * (2 / 13 + w * (2 / 17 + w * (2 / 21)))))
    half = 0.5 * f * f
    k = float(exponent)
    return k * LN2_HIGH - ((half - (s * (half + (odd + even)) + k * LN2_LOW)) - f)


@kernel_uncounted
def exponential(x: float) -> float:
    """e^x of a finite x, held within ± :data:`EXPONENT_LIMIT`."""
    power, rest = _reduced(min(max(x, -EXPONENT_LIMIT), EXPONENT_LIMIT))
    return float(power + power * rest)


@kernel_uncounted
def exponential_less_one(x: float) -> float:
    """e^x − 1 of a finite x, held within ± :data:`EXPONENT_LIMIT`; right where x is small, too."""
    power, rest = _reduced(min(max(x, -EXPONENT_LIMIT), EXPONENT_LIMIT))
    return float(power * rest + (power - 1.0))


@kernel_uncounted
def _reduced(x: float) -> tuple[float, float]:
    """2^n and e^f − 1 with x = n ln 2 + f and |f| ≤ ln 2 / 2."""
    shifted = x * (1.0 / (LN2_HIGH + LN2_LOW)) + ROUNDING
    n = shifted - ROUNDING
    f = (x - n * LN2_HIGH) - n * LN2_LOW
    w = f * f
    odd = 1 / 6 + w * (1 / 120 + w * (1 / 5040 + w * (1 / 362880 + w * (
        1 / 39916800 + w * (1 / 6227020800)))))
    even = 1 / 2 + w * (1 / 24 + w * (1 / 720 + w * (1 / 40320 + w * (
        1 / 3628800 + w * (1 / 479001600)))))
    exponent = 1023 + (np.float64(shifted).view(np.int64) - ROUNDING_BITS)
    return np.int64(exponent << 52).view(np.float64), f + w * (even + f * odd)


@kernel_uncounted
def whole_power(x: float, n: int) -> float:
    """x^n of a whole n from 0 to 15, by squares."""
    second = x * x
    fourth = second * second
    return (
        (x if n & 1 else 1.0) * (second if n & 2 else 1.0)
        * ((fourth if n & 4 else 1.0) * (fourth * fourth if n & 8 else 1.0))
    )
