"""The sentence: every kind in every language, with units a person reads."""

from __future__ import annotations

import math

import pytest

from anomaly import explain
from anomaly.batches import Contribution
from anomaly.explain import _WORDS, LANGUAGES, quantity, sentence, span

LEAD = (Contribution("vibration", 0.7, 3.2, 5.1), Contribution("temperature", 0.3, 63.0, 71.2))
ONSET = 1_772_546_700_000_000_000  # 2026-03-03 14:05 UTC


def test_the_english_sentence_word_for_word() -> None:
    text = sentence("en", "level", "firing", "Press 3", ONSET, 4 * 2629800.0, LEAD,
                    (10800.0, 18000.0, 32400.0))
    assert text == (
        "Press 3: vibration is off its usual level since 2026-03-03 14:05 UTC (5.1 where 3.2 is "
        "expected, +59 %); together with temperature. When healthy this happens about once in "
        "4 months. Time left: about 5 h, between 3 h and 9 h. Ruled out: frozen or missing sensor."
    )


def test_a_sensor_that_has_come_to_nought_is_told_as_nought() -> None:
    text = sentence("en", "level", "firing", "Press 3", ONSET, math.nan,
                    (Contribution("power", 1.0, 12.65, 2.655e-24),), None)
    assert "(0 where 12.65 is expected, -100 %)" in text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "kind", ["level", "drift", "pattern", "forecast", "coupling", "rate", "sensor_fault",
             "data_gap", "stop_expected"])
@pytest.mark.parametrize("state", ["pending", "firing", "resolved"])
def test_every_kind_has_a_sentence_in_every_language(language: str, kind: str, state: str) -> None:
    text = sentence(language, kind, state, "Säge {1}", ONSET, math.nan, LEAD, None, "stuck", 90.0)
    assert text.startswith("Säge {1}")
    assert "{" not in text.removeprefix("Säge {1}")
    assert text.rstrip()[-1] in ".。"


def test_languages_have_the_same_keys() -> None:
    assert {frozenset(_WORDS[language]) for language in LANGUAGES} == {frozenset(_WORDS["en"])}


@pytest.mark.parametrize(
    "seconds,text",
    [(0.0, "0 s"), (90.0, "90 s"), (5400.0, "90 min"), (22200.0, "6.2 h"), (86400.0 * 3, "3 days"),
     (86400.0 * 365.25 * 3, "3 years"), (1e12, "longer than recorded history supports"),
     (math.nan, "longer than recorded history supports")],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    "value,text",
    [(0.0, "0"), (5.1, "5.1"), (71.23456, "71.23"), (1234.56, "1235"), (-0.09936, "-0.09936"),
     (1e9, "1.000e+09"), (math.nan, "—")],
)
def test_quantities(value: float, text: str) -> None:
    assert quantity(value) == text


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_end_of_a_gap_names_no_sensor(language: str) -> None:
    text = sentence(language, "data_gap", "resolved", "press", 0, math.nan, ())
    assert "press" in text
    assert "1970-01-01" in text
    assert "—" not in text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind, expected, actual, cycle, unit", [
    ("slow_cycle", 30.0, 31.3, 30.0, ""), ("rate_after_changeover", 30.0, 33.0, 30.0, ""),
    ("micro_stops", 0.01, 0.05, 30.0, ""), ("rejects", 0.01, 0.05, 30.0, ""),
    ("energy_per_part", 1.2, 1.5, 30.0, "kW"), ("energy_per_part", 1.2, 1.5, 30.0, ""),
    ("idle_energy", 1.2, 1.5, 30.0, "kW"), ("bottleneck", 30.0, 31.0, 30.0, ""),
])
@pytest.mark.parametrize("state", ["firing", "resolved"])
def test_a_loss_can_be_retold_from_its_sentence(
    language: str, kind: str, expected: float, actual: float, cycle: float, unit: str, state: str,
) -> None:
    told = {one: explain.loss_sentence(one, kind, state, "saw: (2)", 10**18, expected, actual,
                                       cycle, unit, before="press") for one in LANGUAGES}
    for other in LANGUAGES:
        assert explain.retold_loss(
            told[language], kind, state, "saw: (2)", 10**18, language, other) == told[other]
    assert explain.retold_loss("x.", kind, state, "saw", 10**18, language, "en") is None


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("stop, lasts", [
    (math.nan, ""), (7e4, "yes"), (7e4, "no"), (4e6, "uncertain"), (1e30, "yes")])
def test_an_outlook_can_be_retold_from_its_text(language: str, stop: float, lasts: str) -> None:
    left = (3_000.0, 90_000.0, 5e6)
    told = {one: explain.outlook_sentence(one, "bearing: (2)", 71.25, left, stop, lasts)
            for one in LANGUAGES}
    for other in LANGUAGES:
        assert explain.retold_outlook(told[language], left, language, other) == told[other]
    assert explain.retold_outlook("soon", left, language, "en") is None
