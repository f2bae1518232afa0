"""States that are told as text: the number that PackML gives them.

A state called ``Execute`` or ``Running`` is as clear as 6, so the names of ANSI/ISA-TR88.00.02 and
a few plain words beside them become its numbers, in any case and whatever stands between the
letters. ``[losses] states`` maps these numbers like any others, and gives other words their state
(``words``).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from anomaly.observations import ROLES

#: Words of each PackML number. A wait for a neighbour is "suspended"; the line says for which.
WORDS: Mapping[int, tuple[str, ...]] = {
    1: ("clearing",),
    2: ("stopped", "stop", "down", "gestoppt", "parada", "停止", "停机"),
    3: ("starting",),
    4: ("idle", "leerlauf", "bereit", "inactiva", "待机", "空闲"),
    5: ("suspended", "waiting", "wartet"),
    6: ("execute", "executing", "running", "run", "producing", "production", "läuft",
        "produktion", "produziert", "en marcha", "produciendo", "运行", "生产"),
    7: ("stopping",),
    8: ("aborting",),
    9: ("aborted", "fault", "störung", "fallo", "故障"),
    10: ("holding",),
    11: ("held",),
    12: ("unholding",),
    13: ("suspending",),
    14: ("unsuspending",),
    15: ("resetting", "changeover", "setup", "rüsten", "换型"),
    16: ("completing",),
    17: ("complete", "completed"),
}


@functools.lru_cache(4096)
def is_state(sensor: str) -> bool:
    """Whether the sensor has a usual name of the state."""
    return sensor.lower().strip().replace(" ", "_") in ROLES["state"]


def state_number(word: str) -> float:
    """The PackML number of a word, or of digits written as text; NaN where it is none."""
    return float(_NUMBER.get(bare(word), "nan"))


def bare(word: str) -> str:
    """What of a word counts: its letters and digits, without case."""
    return re.sub(r"[\W_]+", "", word.casefold())


_NUMBER = {bare(word): number for number, words in WORDS.items() for word in words} | {
    str(number): number for number in WORDS}
