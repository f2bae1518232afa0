"""What tells a machine's production: settings, and the role of every sensor.

A sensor is known by its usual name or by a setting. What tells parts, or a signal from which cycles
or states are read, gives its asset a production; other sensors of those names are left alone. No
state and no reading here; ``production`` does the work.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as field_of
from typing import Any

import numpy as np

from anomaly import cycles, inefficiency, ledger, observations, states
from anomaly.batches import Bool, Int8, Int64
from anomaly.errors import ConfigError

ROLE = {name: index for index, name in enumerate(observations.ROLES)}
#: Sensors that only count, or name a state: judged as production, never as a level. State 15 is not
#: two and a half times state 6.
COUNTERS = ("state", "parts", "pulse", "parts_per_row", "rejects", "energy", "product", "order")
_SEPARATORS = str.maketrans("", "", " _-.:#")
#: What a setting says that forbids what would be found without it.
NONE = "none"


@dataclass(frozen=True, slots=True)
class Config:
    """What tells the production. A sensor is found by its usual names where none is given."""

    enabled: bool = True
    """``false``: nothing is booked, no cycle is judged."""
    state_sensor: str = ""
    """State of the machine; PackML numbers unless ``states`` says otherwise."""
    states: tuple[str, ...] = ()
    """Such as ``"2=producing"``, or ``"Automatik=producing"`` where the state is told in words.
    Without a number among them: PackML's (ANSI/ISA-TR88.00.02)."""
    cycle_state: int = -1
    """A part is made each time the state takes this number; −1 = something else tells parts."""
    parts_sensor: str = ""
    """Counter of parts."""
    pulse_sensor: str = ""
    """Signal that rises through a half once per part."""
    parts_per_row_sensor: str = ""
    """Parts made since the row before."""
    rejects_sensor: str = ""
    """Counter of rejects."""
    energy_sensor: str = ""
    """Counter of energy."""
    power_sensor: str = ""
    """Power; summed up where there is no counter of energy."""
    cycle_sensor: str = ""
    """Length of the latest cycle in seconds, where the machine tells it itself."""
    shape_sensor: str = ""
    """Signal whose repeating shape tells the cycles where nothing else does; ``none`` forbids it.
    Without a word about it: a position, power or current of a usual name."""
    speed_sensor: str = ""
    """Speed, from which idle and running are guessed where no state and no power are told."""
    product_sensor: str = ""
    """Number of the product or recipe: each has references of its own."""
    order_sensor: str = ""
    """Number of the order: what is lost is told for each of the latest ones too."""
    line: tuple[str, ...] = ()
    """Assets in the order of the parts: tells starved from blocked, and who is waited for."""
    budget_share: float = 0.4
    """Part of the alert budget that goes to inefficiencies, for an asset whose cycles are told."""
    prices: ledger.Prices = field_of(default_factory=ledger.Prices)
    """What losses cost; none given = nothing is told in money."""
    ledger: ledger.Config = field_of(default_factory=ledger.Config)
    inefficiency: inefficiency.Config = field_of(default_factory=inefficiency.Config)

    def __post_init__(self) -> None:
        if not 0.0 < self.budget_share < 1.0:
            raise ConfigError("budget_share: must be above 0 and below 1")
        if self.ledger.products != self.inefficiency.products:
            raise ConfigError("inefficiency.products: must be the same as ledger.products")
        if len(set(self.line)) != len(self.line):
            raise ConfigError("line: an asset is named twice")
        given_states(self.states)

    def given(self) -> Mapping[str, str]:
        """Role to the sensor that the settings name for it; empty = the usual names."""
        return {
            "state": self.state_sensor, "parts": self.parts_sensor, "pulse": self.pulse_sensor,
            "parts_per_row": self.parts_per_row_sensor, "rejects": self.rejects_sensor,
            "energy": self.energy_sensor, "power": self.power_sensor, "cycle": self.cycle_sensor,
            "product": self.product_sensor, "speed": self.speed_sensor,
            "order": self.order_sensor,
            "shape": "" if self.shape_sensor == NONE else self.shape_sensor,
        }


def informed(config: Config, cycle: cycles.Config) -> Config:
    """What the way to close rows says of the cycles too, where the settings do not say it here."""
    told = config.parts_sensor or config.pulse_sensor or config.parts_per_row_sensor
    if not cycle.sensor or told or config.cycle_state >= 0:
        return config
    role = {"counter": "parts_sensor", "pulse": "pulse_sensor", "state": "state_sensor"}
    more: dict[str, Any] = {role[cycle.signal]: cycle.sensor}
    if cycle.signal == "state":
        more["cycle_state"] = round(cycle.level)
    return replace(
        config, rejects_sensor=config.rejects_sensor or cycle.reject_sensor,
        power_sensor=config.power_sensor or cycle.power_sensor,
        energy_sensor=config.energy_sensor or cycle.energy_sensor, **more)


@functools.lru_cache(64)
def state_table(given: tuple[str, ...]) -> Int8:
    """int8[numbers]: canonical state by the number that the state sensor sends.

    Where words have a state of their own, the states' own numbers stand at ``states.WORD_NUMBER``.
    """
    numbers, words = given_states(given)
    table = states.mapper(numbers or states.PACKML)
    if not words:
        return table
    beyond = np.zeros(states.WORD_NUMBER - table.size, np.int8)
    return np.concatenate([table, beyond, np.arange(len(states.STATES), dtype=np.int8)])


def given_states(texts: Sequence[str]) -> tuple[dict[int, str], dict[str, int]]:
    """States by the numbers, and numbers by the words, that ``"NUMBER=STATE"`` texts give.

    Raises
    ------
    ConfigError
        A text of another form, a number too high, or a state that there is not.
    """
    numbers: dict[int, str] = {}
    words: dict[str, int] = {}
    for text in texts:
        told, _, name = (part.strip() for part in text.rpartition("="))
        if not told:
            raise ConfigError(f'states: {text!r} is not "NUMBER=STATE" or "WORD=STATE"')
        if name not in states.STATES:
            raise ConfigError(
                f"states: {text!r}: {name!r} is none of {', '.join(states.STATES)}")
        if told.isdecimal():
            numbers[int(told)] = name
        else:
            words[told] = states.WORD_NUMBER + states.STATES.index(name)
    try:
        states.mapper(numbers)
    except ConfigError as error:
        raise ConfigError(f"states: {error}") from None
    return numbers, words


def role_names(config: Config, sensors: Sequence[str]) -> dict[str, str]:
    """The sensor of every role that an asset with these sensors has; empty = it tells no parts.

    A state or a power alone is enough for the ledger, and what says what the machine makes is
    needed for everything else; other sensors of those names are left alone.
    """
    plain, found, given = _plain(sensors), {}, config.given()
    for role, usual in observations.ROLES.items():
        if role == "product":
            name = (product_names(config, sensors) or [""])[0]
        else:
            name = _named(given[role], usual, plain, sensors)
        if name:
            found[role] = name
    tells = {"parts", "pulse", "parts_per_row"} & set(found) or (
        config.cycle_state >= 0 and "state" in found)
    named = bool(config.state_sensor or config.power_sensor) and {"state", "power"} & set(found)
    forced = bool(config.given()["shape"])
    guessed = {"shape", "power", "speed"} & set(found) and (
        "state" not in found or forced) and config.shape_sensor != NONE
    if tells or not guessed:
        for role in ("shape", "speed"):
            found.pop(role, "")
    return found if config.enabled and (tells or named or guessed) else {}


def product_names(config: Config, sensors: Sequence[str]) -> list[str]:
    """Sensors that say what is made, whether or not parts are told; the first one is the product.

    By the setting, else by usual names in their order, whatever the case and punctuation.
    """
    if config.product_sensor:
        return [name for name in sensors if name == config.product_sensor]
    usual = [_bare(known) for known in observations.ROLES["product"]]
    found = [name for name in sensors if _bare(name) in usual]
    return sorted(found, key=lambda name: usual.index(_bare(name)))


@functools.lru_cache(4096)
def is_product(sensor: str) -> bool:
    """Whether the sensor has a usual name of what is made."""
    return _bare(sensor) in map(_bare, observations.ROLES["product"])


def _bare(name: str) -> str:
    return name.lower().translate(_SEPARATORS)


def signal_roles(config: Config, found: Mapping[str, str]) -> tuple[str, str]:
    """Roles of the signals that tell the cycles by their shape, and idle from running; or empty."""
    counted = {"parts", "pulse", "parts_per_row"} & set(found) or (
        config.cycle_state >= 0 and "state" in found)
    if counted or config.shape_sensor == NONE:
        return "", ""
    forced = bool(config.given()["shape"])
    position = "shape" in found and (forced or "power" not in found or (
        "current" not in found["shape"].lower()))
    shape = "shape" if position else "power" if "power" in found else ""
    level = "power" if "power" in found else "speed" if "speed" in found else ""
    if "state" in found:
        return (shape if forced else ""), ""
    return shape, level


def _plain(sensors: Sequence[str]) -> dict[str, str]:
    """Sensors by their names as usual names are written; of two alike the first."""
    return {name.lower().strip().replace(" ", "_"): name for name in reversed(sensors)}


def _named(
    wanted: str, usual: Sequence[str], plain: Mapping[str, str], sensors: Sequence[str]
) -> str:
    """The sensor of a role: the one that the settings want, else of a usual name; or empty."""
    if wanted:
        return wanted if wanted in sensors else ""
    return next((plain[known] for known in usual if known in plain), "")


def power_unit(config: Config, sensors: Sequence[str]) -> str:
    """``kW`` where the names say so, else empty: nothing is guessed from values."""
    plain, given, usual = _plain(sensors), config.given(), observations.ROLES
    energy, power = (
        _named(given[role], usual[role], plain, sensors) for role in ("energy", "power"))
    text = (energy or power).lower()
    return "kW" if "kilowatt" in text or "kw" in text else ""


@dataclass(frozen=True, slots=True, eq=False)
class Roles:
    """What each tag is.

    Attributes
    ----------
    tag : int64[T]
        Role number, −1 = an ordinary sensor.
    asset : bool[A]
        Whether the asset's production is told.
    counter : bool[T]
        Whether the tag only counts, or names a state.
    previous, following : int64[A]
        Neighbours in the line, −1 = none.
    line : int64[L]
        Assets of the line in the order of the parts.
    shape, level : int64[A]
        Role of the signal whose shape tells the cycles, and of the one whose level tells idle from
        running; −1 = the asset's cycles, or states, are told otherwise or not at all.
    guessed : int64[A, 2]
        Tags of these two signals.
    """

    tag: Int64
    asset: Bool
    counter: Bool
    previous: Int64
    following: Int64
    line: Int64
    shape: Int64
    level: Int64
    guessed: Int64

    @property
    def guesses(self) -> bool:
        """Whether any asset's cycles or states are read from a signal."""
        return bool((self.shape >= 0).any() or (self.level >= 0).any())

    @property
    def any(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.asset.any())


def _no_sensors(sensors: Sequence[str]) -> Sequence[str]:
    return ()


def resolve(
    config: Config, names: Sequence[str], sensors: Sequence[Sequence[str]], table: Int64,
    tags: int, rows_are_cycles: bool,
    mode_sensors: Callable[[Sequence[str]], Sequence[str]] = _no_sensors,
) -> Roles:
    """Find the roles among the registered sensors; call again when some were added.

    ``rows_are_cycles``: the cycle's length is a column of the row, judged like any other.
    ``mode_sensors``: which of an asset's sensors may tell its operating mode (``regimes``): they
    stay in the rows, be one the product.
    """
    roles = Roles(
        np.full(tags, -1, np.int64), np.zeros(len(names), np.bool_), np.zeros(tags, np.bool_),
        np.full(len(names), -1, np.int64), np.full(len(names), -1, np.int64),
        np.array([list(names).index(name) for name in config.line if name in names], np.int64),
        np.full(len(names), -1, np.int64), np.full(len(names), -1, np.int64),
        np.full((len(names), 2), -1, np.int64))
    for a, own in enumerate(sensors):
        found, modes = role_names(config, own), mode_sensors(own)
        shape, level = signal_roles(config, found)
        roles.shape[a], roles.level[a] = ROLE.get(shape, -1), ROLE.get(level, -1)
        for k, role in enumerate((shape, level)):
            if role:
                roles.guessed[a, k] = table[a, list(own).index(found[role])]
        if shape and level and found[shape] == found[level]:
            roles.shape[a] = roles.level[a] = ROLE[level]  # one tag has one role
            found.pop(shape if shape != level else "", "")
        counted = bool({"parts", "pulse", "parts_per_row"} & set(found))
        for role, name in found.items():
            tag = table[a, list(own).index(name)]
            roles.asset[a] = True
            roles.tag[tag] = ROLE[role]
            # Its own word about its cycles is judged as such, product by product.
            roles.counter[tag] = name not in modes and (role in COUNTERS or (
                role == "cycle" and counted and not rows_are_cycles))
    roles.previous[roles.line[1:]] = roles.line[:-1]
    roles.following[roles.line[:-1]] = roles.line[1:]
    return roles
