"""What is told as text and has a number: states of the machine, and names of what is made.

The engine knows numbers only. Which sensors may say words is known by their usual names, or by the
settings that name them; any other text is no number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from anomaly.config import MonitorConfig
from anomaly.production_roles import given_states, is_product
from streams.product_words import word_number
from streams.state_words import bare, is_state, state_number


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a deployment.

    Attributes
    ----------
    states : mapping
        Numbers of its own words for states, by ``bare`` word; they go before the usual ones.
    state_sensor, product_sensors : str, tuple of str
        Sensors of other than usual names that say a state, or what is made.
    """

    states: Mapping[str, int] = field(default_factory=dict)
    state_sensor: str = ""
    product_sensors: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: MonitorConfig) -> Words:
        """As the settings have them."""
        numbers, words = given_states(config.losses.states)
        own = {str(number): number for number in numbers} | words
        named = (config.losses.product_sensor, config.regimes.sensor)
        return cls({bare(word): number for word, number in own.items()},
                   config.losses.state_sensor, tuple(name for name in named if name))

    def tells(self, sensor: str) -> bool:
        """Whether words of such a sensor may have numbers."""
        return self.tells_state(sensor) or self.tells_product(sensor)

    def tells_state(self, sensor: str) -> bool:
        """Whether words of such a sensor are states."""
        return sensor == self.state_sensor or (is_state(sensor) and not self.tells_product(sensor))

    def tells_product(self, sensor: str) -> bool:
        """Whether words of such a sensor name what is made."""
        return sensor in self.product_sensors or is_product(sensor)

    def number(self, sensor: str, word: object) -> float:
        """The number of what such a sensor says; NaN of no text and of text without a number."""
        if not isinstance(word, str):
            return math.nan
        if self.tells_state(sensor):
            own = self.states.get(bare(word))
            return state_number(word) if own is None else float(own)
        return word_number(word) if self.tells_product(sensor) else math.nan

    def refusal(self, sensor: str, said: Sequence[str]) -> str:
        """Why text that such a sensor says is no number; empty if every word has one."""
        unknown = [word for word in said if math.isnan(self.number(sensor, word))]
        if said and not unknown:
            return ""
        if not unknown or not self.tells_state(sensor):
            return "text, not numbers"
        listed = ", ".join(repr(word) for word in unknown[:6])
        what = "is no known state" if len(unknown) == 1 else "are no known states"
        return (f'{listed} {what}; [losses] states = ["{unknown[0]}=producing", …] says what each '
                "means")


#: Without a setting.
USUAL = Words()
