"""States told as text: the numbers of PackML, and nothing where a word says none."""

from __future__ import annotations

import math

import pytest

from anomaly.states import PACKML
from streams.state_words import WORDS, state_number
from streams.words import USUAL


def test_every_number_of_packml_has_a_word_and_no_word_two_numbers() -> None:
    assert set(WORDS) == set(PACKML)
    assert all(state_number(w) == n for n, words in WORDS.items() for w in words)
    words = [word for said in WORDS.values() for word in said]
    assert len(words) == len(set(words))


@pytest.mark.parametrize("word, number", [
    ("Execute", 6), (" EXECUTE ", 6), ("En_Marcha", 6), ("6", 6), ("Läuft", 6), ("Held", 11)])
def test_case_and_what_stands_between_do_not_matter(word: str, number: int) -> None:
    assert state_number(word) == number
    assert USUAL.number("Machine State", word) == number


@pytest.mark.parametrize("sensor, word", [
    ("state", "California"), ("state", ""), ("state", "99"), ("note", "Execute")])
def test_other_words_and_other_sensors_stay_text(sensor: str, word: str) -> None:
    assert math.isnan(USUAL.number(sensor, word))

