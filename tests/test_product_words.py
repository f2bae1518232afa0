"""Words that name what is made, as numbers: the same everywhere, apart from each other."""

from __future__ import annotations

import math

from anomaly.regime_search import NAME_LEAST
from streams.product_words import word_number
from streams.words import USUAL


def test_a_word_has_one_number_for_good() -> None:
    """A state that was written by another worker, or last year, knows the product by it."""
    assert word_number("A-4711") == word_number(" A-4711 ") == 488106753421818.0
    words = [f"A-{n}" for n in range(5000)]
    numbers = {word_number(word) for word in words}
    assert len(numbers) == len(words)
    assert all(number == int(number) and NAME_LEAST < number < 2.0**53 for number in numbers)


def test_a_number_in_text_is_that_number_and_nothing_is_nothing() -> None:
    assert word_number("0017") == 17.0
    assert math.isnan(word_number("  "))


def test_only_words_of_what_is_made_are_told() -> None:
    assert USUAL.number("Rezept-Nr.", "A") == word_number("A")
    assert math.isnan(USUAL.number("Rezept-Nr.", 4.0))
    assert math.isnan(USUAL.number("note", "A"))
