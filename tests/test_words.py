"""What is told as text: usual words, words of one's own, and nothing where a word says none."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from anomaly.config import MonitorConfig
from anomaly.errors import ConfigError
from anomaly.production_roles import Config, given_states, state_table
from anomaly.regimes import Config as RegimesConfig
from anomaly.registry import Registry
from anomaly.states import PACKML, STATES, canonical
from streams.codec import FrameDecoder
from streams.kafka_codec import Decoder
from streams.recordings import open_recording
from streams.rejections import Rejections
from streams.settings import InputSettings
from streams.words import USUAL, Words

OWN = ("Automatik=producing", "Hand Betrieb = stopped", "20=changeover")
SETTINGS = MonitorConfig(losses=Config(states=OWN, state_sensor="Betriebsart"),
                         regimes=RegimesConfig(sensor="die"))


@dataclass
class Message:
    value: bytes
    key: bytes


def states_of(given: tuple[str, ...], numbers: list[float]) -> list[str]:
    return [STATES[code] for code in canonical(state_table(given), np.array(numbers))]


def test_a_sensor_says_words_by_its_name_or_because_it_is_named() -> None:
    words = Words.of(SETTINGS)
    assert all(words.tells(name) for name in ("Betriebsart", "machine_state", "die"))
    assert [USUAL.tells(name) for name in ("Rezept-Nr.", "Betriebsart", "note")] == [
        True, False, False]
    assert math.isnan(USUAL.number("note", "Execute"))
    assert math.isnan(words.number("Betriebsart", 4.0))
    assert words.number("die", "Running") > 1e9  # what is made may be called anything


@pytest.mark.parametrize("word, state", [
    ("AUTOMATIK", "producing"), ("hand-betrieb", "stopped"), ("Execute", "unknown"),
    ("20", "changeover")])
def test_words_of_ones_own_go_before_the_usual_ones(word: str, state: str) -> None:
    """Numbers of one's own replace PackML's, so that its words say nothing, either."""
    assert states_of(OWN, [Words.of(SETTINGS).number("Betriebsart", word)]) == [state]


def test_words_alone_leave_packml_as_it_is() -> None:
    given = ("Automatik=producing", "Run=stopped")
    own = Words.of(MonitorConfig(losses=Config(states=given)))
    numbers = [own.number("state", word) for word in ("Automatik", "run", "Held")]
    assert states_of(given, numbers) == ["producing", "stopped", PACKML[11]]
    every = [float(number) for number in PACKML]
    assert states_of(given, every) == states_of((), every) == list(PACKML.values())
    assert states_of(given, [9_999.0, 10_000.0 + len(STATES), -1.0]) == ["unknown"] * 3


@pytest.mark.parametrize("text, why", [
    ("producing", "NUMBER=STATE"), ("=producing", "NUMBER=STATE"), ("Hand=resting", "none of"),
    ("10000=idle", "9999")])
def test_what_says_no_state_is_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        given_states([text])


def test_files_and_messages_give_the_same_numbers(tmp_path: Path) -> None:
    rows = [(0, "Automatik", 1.0), (1, "Hand Betrieb", 2.0), (2, "Automatik", 3.0)]
    path = tmp_path / "press.csv"
    path.write_text("time,Betriebsart,kraft\n" + "".join(
        f"2026-01-01T00:00:0{second},{word},{force}\n" for second, word, force in rows))
    words = Words.of(SETTINGS)
    recording = open_recording(path, InputSettings(), words)
    decoder = FrameDecoder(Registry(), Rejections())
    found = [float(v) for frame in recording.frames(0) for batch in decoder.decode(frame)
             for v in batch.readings.value[batch.readings.sensor == 0]]
    assert [STATES[c] for c in canonical(state_table(OWN), np.array(found))] == [
        "producing", "stopped", "producing"]
    flat = [Message(json.dumps({"ts": f"2026-01-01T00:00:0{second}Z", "Betriebsart": word,
                                "kraft": force}).encode(), b"press")
            for second, word, force in rows]
    live = [float(v) for part in Decoder(Registry(), words=words).decode(flat)
            for v in part.readings.value[part.readings.sensor == 0]]
    assert live == found


def test_a_word_without_a_state_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "press.csv"
    path.write_text("time,state,force\n" + "".join(
        f"2026-01-01T00:00:0{i},{w},1.{i}\n" for i, w in enumerate(("Running", "Einrichten"))))
    notes = " ".join(open_recording(path, InputSettings()).layout.notes)
    assert "'Einrichten' is no known state" in notes
    assert 'states = ["Einrichten=producing", …]' in notes
