"""The text of ``/metrics``: every number and every label must come back as it went in."""

from __future__ import annotations

import math
import subprocess

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from streams import exposition
from streams.exposition import Labels
from tests.needed import needs_programs


def lines(name: str, labels: Labels, values: list[float]) -> list[str]:
    array = np.array(values, np.float64)
    return labels.series(name, array, np.ones(array.size, bool)).decode().splitlines()


@settings(max_examples=400, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
@example(9.99999999999995)
@example(1e12)
@example(0.1 + 0.2)
@example(5e-324)
@example(1.7976931348623157e308)
@example(-0.0)
@example(99999999999.95)
def test_a_printed_number_is_the_number(value: float) -> None:
    text = exposition.number(value).decode()
    if value == math.floor(value) and abs(value) < 2**53:
        assert float(text) == value
    else:
        assert float(text) == pytest.approx(value, rel=1e-11, abs=1e-322)


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_whole_numbers_are_exact(value: int) -> None:
    assert exposition.number(value) == str(value).encode()


def test_numbers_look_as_people_write_them() -> None:
    shown = {0.5: "0.5", 12.25: "12.25", 0.001: "0.001", 1e-9: "1e-9", 2.5e20: "2.5e+20",
             -3.75: "-3.75", 604800.0: "604800"}
    assert {value: exposition.number(value).decode() for value in shown} == shown
    assert exposition.number(math.inf) == b"+Inf"
    assert exposition.number(-math.inf) == b"-Inf"
    assert exposition.number(math.nan) == b"NaN"


@settings(deadline=None)
@given(st.text(max_size=exposition.LABEL_LENGTH_LIMIT))
@example('a"b\\c\nd')
@example("\\n")
@example("压力机 1 🏭")
def test_any_label_comes_back(value: str) -> None:
    labels = Labels()
    labels.add({"asset": value})
    text = labels.series("andon_x", np.array([1.5]), np.array([True])).decode()
    assert text.count("\n") == 1
    family, = text_string_to_metric_families(text)
    assert family.samples[0].labels == {"asset": value}
    assert family.samples[0].value == 1.5


def test_a_long_label_and_half_a_surrogate_are_tamed() -> None:
    assert len(exposition.escaped("x" * 5000)) == exposition.LABEL_LENGTH_LIMIT
    assert exposition.escaped("a\ud800") == "a?"


def test_only_what_is_shown_has_a_line_and_labels_grow() -> None:
    labels = Labels()
    for i in range(1000):
        assert labels.add({"asset": f"machine {i}", "kind": "level"}) == i
    values = np.arange(1000) / 4
    shown = np.arange(1000) % 3 == 0
    text = labels.series("andon_x", values, shown)
    found = exposition.parsed(text)
    assert found == {f'andon_x{{asset="machine {i}",kind="level"}}': i / 4
                     for i in range(0, 1000, 3)}
    assert labels.series("andon_x", np.zeros(0), np.zeros(0, bool)) == b""


def test_a_family_leaves_out_what_it_does_not_know() -> None:
    text = exposition.family("andon_y", "gauge", "One\nline.", [
        ({}, 1.0), ({"a": "b"}, math.nan), ({"a": "c"}, 2.0)])
    assert text == (b"# HELP andon_y One\\nline.\n# TYPE andon_y gauge\n"
                    b'andon_y 1\nandon_y{a="c"} 2\n')


@needs_programs("promtool")
def test_promtool_reads_the_text() -> None:
    labels = Labels()
    for name in ('a"b', "c\\d", "e\nf", "\u0000\u0001", "名前", "{}", "#"):
        labels.add({"asset": name})
    text = exposition.head("andon_x_ratio", "gauge", "A share.") + labels.series(
        "andon_x_ratio", np.linspace(0, 1, 7), np.ones(7, bool))
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True,
                          check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_compiled_equals_plain() -> None:
    values = np.random.default_rng(5).lognormal(0, 30, 300)
    out = np.empty(64, np.uint8)
    for value in (*values, 0.0, 1e22, -5.5):
        end = exposition.print_number.py_func(float(value), exposition._POWERS, out, 0)
        assert out[:end].tobytes() == exposition.number(float(value))
