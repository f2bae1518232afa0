"""Products that are told as text: each word becomes a number of its own, the same everywhere.

A recipe called ``A-4711`` is no level, it names what is made, so all that is asked of its number is
that it differs from the others and stands: it is a part of the word's SHA-256, without a table that
would have to be kept, passed on and agreed upon by files, workers and restarts.
"""

from __future__ import annotations

import hashlib

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
