"""Products that are told as text: each word becomes a number of its own, the same everywhere.

The engine knows numbers only. A recipe called ``A-4711`` is no level, it names what is made, so all
that is asked of its number is that it differs from the others and stands: it is a part of the
word's SHA-256, without a table that would have to be kept, passed on and agreed upon by files,
workers and restarts. Only for sensors of a usual name of what is made, and for a state that has a
number (``state_words``); no other text is a number.
"""

from __future__ import annotations

import hashlib
import math

from anomaly.production_roles import is_product
from streams.state_words import is_state, state_number

#: Above every article number that is sent as a number, and what a float64 holds exactly above it.
_BASE, _BYTES = float(1 << 48), 6


def word_number(word: str) -> float:
    """The number of a word; that of a whole number written as text is this number, NaN of none."""
    word = word.strip()
    if not word:
        return float("nan")
    if word.isascii() and word.isdecimal() and len(word) <= 15:
        return float(word)
    digest = hashlib.sha256(word.encode()).digest()
    return _BASE + int.from_bytes(digest[:_BYTES], "big")


def tells_words(sensor: str) -> bool:
    """Whether words of a sensor of such a name may have numbers."""
    return is_product(sensor) or is_state(sensor)


def is_word(sensor: str, value: object) -> bool:
    """Whether this is text that names what is made, or the state of the machine."""
    if not isinstance(value, str):
        return False
    return is_product(sensor) or (is_state(sensor) and math.isfinite(state_number(value)))


def told_number(sensor: str, word: str) -> float:
    """The number of a word that a sensor of such a name says; NaN of none."""
    return state_number(word) if is_state(sensor) else word_number(word)
