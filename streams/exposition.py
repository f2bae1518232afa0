"""Numbers to the text that Prometheus scrapes (format 0.0.4): bytes written from arrays.

A client library keeps an object per series; with a label for every machine that is 900 bytes and
several microseconds each. Here the label texts are kept once as bytes, and a scrape copies them
and prints the numbers in one compiled pass. What is measured and how it is called is decided in
``telemetry.py``; this file knows the format only.

Numbers are printed exactly where they are whole (up to 2**53, so counters never lie) and with 12
significant digits elsewhere: a relative error of 5e-12, far below what any sensor can tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from anomaly.batches import Bool, Float64, Int64
from anomaly.kernel import kernel

Bytes = npt.NDArray[np.uint8]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Characters of a label value that are kept; names longer than the engine's own limit are cut.
LABEL_LENGTH_LIMIT = 200
#: Longest printed number: sign, 16 digits of a whole number or 12 with point and exponent, newline.
_NUMBER_BYTES = 26
_WHOLE_LIMIT = float(1 << 53)

#: 10**k for k in -324..308; the ends are 0 and the largest power there is.
_POWERS = np.array([float(f"1e{k}") for k in range(-324, 309)])
_POWER_ZERO = 324


class Labels:
    """Label sets as bytes, one after another; index = order of :meth:`add`.

    Bounded by whoever adds: nothing is dropped here.
    """

    def __init__(self) -> None:
        self.count = 0
        self._text: Bytes = np.zeros(4096, np.uint8)
        self._start: Int64 = np.zeros(65, np.int64)

    def add(self, labels: Mapping[str, str]) -> int:
        """Keep one label set; returns its index."""
        index = self.count
        text = np.frombuffer(label_text(labels), np.uint8)
        start = int(self._start[index])
        end = start + text.size
        if end > self._text.size:
            self._text = np.resize(self._text, max(end, 2 * self._text.size))
        if index + 2 > self._start.size:
            self._start = np.resize(self._start, 2 * self._start.size)
        self._text[start:end] = text
        self._start[index + 1] = end
        self.count += 1
        return index

    def series(self, name: str, values: Float64, shown: Bool) -> bytes:
        """The lines ``name{labels} value`` of every series that is shown.

        Parameters
        ----------
        name : str
        values : float64[n]
            Of the first n label sets.
        shown : bool[n]
            Which of them have a line.
        """
        prefix = np.frombuffer(name.encode(), np.uint8)
        n = values.size
        assert n <= self.count
        assert shown.size == n
        room = int(self._start[n]) + n * (prefix.size + _NUMBER_BYTES)
        out = np.empty(room, np.uint8)
        used = write_series(
            prefix, self._text, self._start, np.ascontiguousarray(values, np.float64),
            np.ascontiguousarray(shown, np.bool_), _POWERS, out)
        return out[:used].tobytes()


def head(name: str, kind: str, text: str) -> bytes:
    """The two lines that begin a family."""
    told = text.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {name} {told}\n# TYPE {name} {kind}\n".encode()


def family(
    name: str, kind: str, text: str, samples: Iterable[tuple[Mapping[str, str], float]]
) -> bytes:
    """A whole small family; NaN means that there is nothing to say, and is left out."""
    lines = [head(name, kind, text)]
    lines += [
        name.encode() + label_text(labels) + number(value) + b"\n"
        for labels, value in samples if not math.isnan(value)
    ]
    return b"".join(lines)


def label_text(labels: Mapping[str, str]) -> bytes:
    """``{a="x",b="y"} `` with the space before the value; a lone space where there are none."""
    if not labels:
        return b" "
    inside = ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}} ".encode()


def escaped(value: str) -> str:
    """A label's value as the format wants it; what is no text (half a surrogate) becomes "?"."""
    text = value[:LABEL_LENGTH_LIMIT].encode("utf-8", "replace").decode()
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: float) -> bytes:
    """One number as :meth:`Labels.series` prints it."""
    out = np.empty(_NUMBER_BYTES, np.uint8)
    return out[:print_number(float(value), _POWERS, out, 0)].tobytes()


def warm() -> None:
    """Compile, so that no scrape has to wait for it."""
    labels = Labels()
    labels.add({})
    labels.series("andon_warm", np.array([0.5]), np.array([True]))


@kernel
def write_series(
    prefix: Bytes, text: Bytes, start: Int64, values: Float64, shown: Bool, powers: Float64,
    out: Bytes,
) -> int:
    """Write the shown lines into ``out``; returns the bytes used."""
    at = 0
    for i in range(values.size):
        if not shown[i]:
            continue
        for k in range(prefix.size):
            out[at + k] = prefix[k]
        at += prefix.size
        for k in range(start[i], start[i + 1]):
            out[at] = text[k]
            at += 1
        at = print_number(values[i], powers, out, at)
        out[at] = 10
        at += 1
    return at


@kernel
def print_number(value: float, powers: Float64, out: Bytes, at: int) -> int:
    """Print one number at ``at``; returns where it ends."""
    if value != value:
        out[at], out[at + 1], out[at + 2] = 78, 97, 78  # NaN
        return at + 3
    if value == np.inf or value == -np.inf:
        out[at] = 43 if value > 0 else 45
        out[at + 1], out[at + 2], out[at + 3] = 73, 110, 102  # Inf
        return at + 4
    if value < 0.0:
        out[at] = 45  # -
        at += 1
        value = -value
    if value < _WHOLE_LIMIT and value == np.floor(value):
        return int(_print_whole(int(value), out, at))
    return int(_print_scientific(value, powers, out, at))


@kernel
def _print_whole(value: int, out: Bytes, at: int) -> int:
    digits = 1
    rest = value
    while rest >= 10:
        rest //= 10
        digits += 1
    for k in range(digits):
        out[at + digits - 1 - k] = 48 + value % 10
        value //= 10
    return at + digits


@kernel
def _print_scientific(value: float, powers: Float64, out: Bytes, at: int) -> int:
    """``d.ddd…e±x`` with 12 significant digits at most; plain where that is short."""
    exponent = int(np.floor(np.log10(value)))
    scaled = _scaled(value, 11 - exponent, powers)
    if scaled >= 1e12:  # log10 rounded down, or the last digit up
        exponent += 1
        scaled = _scaled(value, 11 - exponent, powers)
    elif scaled < 1e11:
        exponent -= 1
        scaled = _scaled(value, 11 - exponent, powers)
    mantissa = int(scaled)
    digits = 12
    while digits > 1 and mantissa % 10 == 0:
        mantissa //= 10
        digits -= 1
    if 0 <= exponent < digits:  # ddd.ddd
        return int(_print_digits(mantissa, digits, exponent + 1, out, at))
    if -5 < exponent < 0:  # 0.000ddd
        out[at], out[at + 1] = 48, 46
        at += 2
        for _ in range(-1 - exponent):
            out[at] = 48
            at += 1
        return int(_print_digits(mantissa, digits, digits, out, at))
    at = _print_digits(mantissa, digits, 1, out, at)
    out[at] = 101  # e
    out[at + 1] = 43 if exponent >= 0 else 45
    return int(_print_whole(abs(exponent), out, at + 2))


@kernel
def _scaled(value: float, power: int, powers: Float64) -> float:
    """``round(value * 10**power)`` without leaving the range of float64."""
    if power > 300:
        return float(np.rint(value * powers[300 + _POWER_ZERO] * powers[power - 300 + _POWER_ZERO]))
    if power >= 0:
        return float(np.rint(value * powers[power + _POWER_ZERO]))
    return float(np.rint(value / powers[-power + _POWER_ZERO]))


@kernel
def _print_digits(mantissa: int, digits: int, before_point: int, out: Bytes, at: int) -> int:
    """The digits of ``mantissa`` with a point after the first ``before_point`` of them."""
    total = digits + 1 if before_point < digits else digits
    place = at + total - 1
    for k in range(digits):
        if before_point < digits and digits - k == before_point:
            out[place] = 46
            place -= 1
        out[place] = 48 + mantissa % 10
        mantissa //= 10
        place -= 1
    return at + total


def parsed(text: bytes) -> dict[str, float]:
    """Series (with labels, as printed) to value: a small reader for checks and the own page."""
    found: dict[str, float] = {}
    for line in text.decode().splitlines():
        if line and not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            found[series] = float(value)
    return found
