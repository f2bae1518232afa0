"""The engine's settings: frozen dataclasses with a default and a reason each, and their parser.

``parse`` turns a nested mapping (what a TOML file holds) into a :class:`MonitorConfig`. No files
and no environment here (``streams/settings.py`` reads those). Thresholds, budgets and limits are
not part of a monitor's state: changing them loses nothing that was learned.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anomaly import production, quality, regimes, reorder, vibration, windows
from anomaly.detectors import DETECTORS
from anomaly.errors import ConfigError
from anomaly.explain import LANGUAGES

WEEK_SECONDS = 604_800.0

#: The set that the benchmarks judge; a change here changes every published figure.
DEFAULT_DETECTORS = ("level_fast", "level", "level_slow", "memory", "pyramid", "residual", "single")

_PERIOD_WEEKS = {"hour": 1 / 168, "shift": 1 / 21, "day": 1 / 7, "week": 1.0, "month": 4.348125,
                 "quarter": 13.044375, "year": 52.1775}


@dataclass(frozen=True, slots=True)
class SensorConfig:
    """What is known of one sensor beforehand; everything is optional."""

    direction: str = "both"
    """``up`` or ``down`` where only one direction is bad; ``both`` while nobody has said so."""
    smallest_deviation: float = 0.0
    """Deviations below this, in the sensor's own unit, raise no alert. A scale is never finer than
    the sensor's own steps, whatever is said here."""
    limit_low: float = -math.inf
    """Alarm limit the time left is counted to; −inf = none is known."""
    limit_high: float = math.inf
    """Alarm limit the time left is counted to; inf = none is known."""
    range_low: float = -math.inf
    """Readings below cannot be real (sensor broken); they are refused and counted."""
    range_high: float = math.inf
    """Readings above cannot be real (sensor broken); they are refused and counted."""


@dataclass(frozen=True, slots=True)
class AlertConfig:
    """The alarm system's own timing, in the terms of OPC UA Part 9 and ISA-18.2."""

    on_delay_rows: int = 0
    """Rows an alert stays pending before it fires; 0 because rarity already counts persistence."""
    off_delay_rows: int = 10
    """Rows without evidence before an alert resolves; ten keeps one episode one alert."""
    flood_limit: int = 10
    """Alerts in ten minutes that count as a flood (ISA-18.2)."""


@dataclass(frozen=True, slots=True)
class MonitorConfig:
    """Everything ``Monitor`` needs to know; the budget is the only knob most people touch."""

    budget_per_week: float = 1.0
    """False alarms accepted per machine and week; one a week is what an operator still believes."""
    warm_up_rows: int = 500
    """Rows of an asset before it is judged: eight hours of minutes, eight minutes of seconds."""
    minimum_warm_up_rows: int = 20
    """Fewest rows that can carry a reference at all, however early a warm-up is ended."""
    reference_rows_limit: int = 8192
    """Most warm-up rows kept for the frozen reference; bounds memory per tag at 64 KB."""
    memory_limit_megabytes: float = 4096.0
    """Most memory of one partition's state: the first sensors are watched in full (62 KB), later
    ones lightly (2 KB), see ``memory_plan``."""
    waiting_readings_limit: int = 256
    """With ``quality.lateness_seconds``: most readings of an asset that wait for late ones. At one
    more the oldest goes on early; 25 bytes each."""
    language: str = "en"
    """Language of the sentences: en, de, es or zh."""
    detectors: tuple[str, ...] = DEFAULT_DETECTORS
    """Names of the detectors that run; the default set is what the benchmarks judge."""
    detector: Mapping[str, Any] = field(default_factory=dict)
    """Per detector name its ``Config``; absent = that detector's default."""
    quality: quality.Config = field(default_factory=quality.Config)
    windows: windows.Config = field(default_factory=windows.Config)
    losses: production.Config = field(default_factory=production.Config)
    regimes: regimes.Config = field(default_factory=regimes.Config)
    alert: AlertConfig = field(default_factory=AlertConfig)
    sensor: Mapping[str, SensorConfig] = field(default_factory=dict)
    """Keys are ``sensor`` or ``asset/sensor``; the longer key wins."""

    def __post_init__(self) -> None:
        _require(self.budget_per_week > 0, "budget_per_week", "must be above 0")
        _require(self.minimum_warm_up_rows >= 8, "minimum_warm_up_rows", "must be at least 8")
        _require(
            self.warm_up_rows >= self.minimum_warm_up_rows,
            "warm_up_rows", f"must be at least minimum_warm_up_rows ({self.minimum_warm_up_rows})",
        )
        _require(self.reference_rows_limit >= 64, "reference_rows_limit", "must be at least 64")
        _require(1 <= self.memory_limit_megabytes <= 1e9, "memory_limit_megabytes",
                 "must be 1 to 1e9")
        _require(1 <= self.waiting_readings_limit <= 65_536, "waiting_readings_limit",
                 "must be 1 to 65536")
        _require(self.language in LANGUAGES, "language", f"must be one of {', '.join(LANGUAGES)}")
        _require(bool(self.detectors), "detectors", "must name at least one detector")
        for name in self.detectors:
            _require(name in DETECTORS, "detectors", f"unknown {name!r}{_hint(name, DETECTORS)}")
        for name, options in self.sensor.items():
            _require(options.direction in ("both", "up", "down"), f"sensor.{name}.direction",
                     "must be both, up or down")

    def detector_config(self, name: str) -> Any:
        """The detector's own ``Config``: the one given, else its default."""
        return self.detector.get(name) or DETECTORS[name].default

    def mode_sensors(self, sensors: Sequence[str]) -> list[str]:
        """Which of an asset's sensors may tell its operating mode, by setting or name.

        The first of them that behaves so in the warm-up is taken.
        """
        named = self.regimes.sensor
        if named == regimes.NONE or not self.regimes.limit:
            return []
        if named:
            return [named] if named in sensors else []
        return production.product_names(self.losses, sensors)

    @property
    def threshold_seconds(self) -> float:
        """Return period that the budget asks of an alert; a week at one false alarm a week."""
        return WEEK_SECONDS / self.budget_per_week

    @property
    def reference_rows(self) -> int:
        """Warm-up rows that the frozen reference is made of, at most."""
        return min(self.warm_up_rows, self.reference_rows_limit)

    @property
    def reorder(self) -> reorder.Config:
        """The reorder buffer's settings: the lateness that ``quality`` goes by, too."""
        return reorder.Config(self.quality.lateness_seconds, self.waiting_readings_limit)

    def sensor_config(self, asset: str, sensor: str) -> SensorConfig:
        """Options of one sensor: ``asset/sensor`` before ``sensor`` before the default."""
        found = self.sensor.get(f"{asset}/{sensor}") or self.sensor.get(sensor)
        if self.windows.frame.group and not (found and found.limit_high < math.inf):
            limit = vibration.velocity_limit(self.windows.frame, sensor)
            return dataclasses.replace(found or _NO_OPTIONS, limit_high=limit)
        return found or _NO_OPTIONS


_NO_OPTIONS = SensorConfig()


def parse(mapping: Mapping[str, object]) -> MonitorConfig:
    """Build the configuration from nested tables.

    ``budget`` may be given as text (``"1/week"``) instead of ``budget_per_week``.

    Raises
    ------
    ConfigError
        Unknown key (with the nearest known one), wrong type or impossible value; the message
        starts with the dotted path.
    """
    values = dict(mapping)
    if "budget" in values:
        if "budget_per_week" in values:
            raise ConfigError("budget: give budget or budget_per_week, not both")
        budget = values.pop("budget")
        if not isinstance(budget, str):
            raise ConfigError(f'budget: expected text such as "1/week", got {budget!r}')
        values["budget_per_week"] = parse_budget(budget)
    tables = _table(values.pop("detector", {}), "detector")
    sensors = _table(values.pop("sensor", {}), "sensor")
    detector = {}
    for name, table in tables.items():
        if name not in DETECTORS:
            raise ConfigError(f"detector.{name}: unknown detector{_hint(name, DETECTORS)}")
        path = f"detector.{name}"
        detector[name] = _build(
            DETECTORS[name].config, _table(table, path), path, DETECTORS[name].default
        )
    sensor = {
        name: _build(SensorConfig, _table(table, f"sensor.{name}"), f"sensor.{name}")
        for name, table in sensors.items()
    }
    built: MonitorConfig = _build(MonitorConfig, values, "")
    return dataclasses.replace(built, detector=detector, sensor=sensor)


def parse_budget(text: str) -> float:
    """False alarms per machine-week from ``"1/week"``, ``"2/day"``, ``"1/month"``.

    Raises
    ------
    ConfigError
        Not a positive number, a slash and a known period.
    """
    count, slash, period = text.strip().partition("/")
    weeks = _PERIOD_WEEKS.get(period.strip().lower().removesuffix("s"))
    try:
        amount = float(count)
    except ValueError:
        amount = math.nan
    if not slash or weeks is None or not 0 < amount < math.inf:
        periods = ", ".join(_PERIOD_WEEKS)
        raise ConfigError(f'budget: {text!r} is not "NUMBER/PERIOD" with a period of {periods}')
    return amount / weeks


def _build(cls: Any, table: Mapping[str, object], path: str, default: Any = None) -> Any:
    hints = typing.get_type_hints(cls)
    known = {f.name: hints[f.name] for f in dataclasses.fields(cls)}
    values = {}
    for key, value in table.items():
        where = f"{path}.{key}" if path else key
        if key not in known:
            also = ("budget", "sensor", "detector") if cls is MonitorConfig else ()
            raise ConfigError(f"{where}: unknown setting{_hint(key, (*known, *also))}")
        values[key] = _convert(known[key], value, where)
    try:
        return cls(**values) if default is None else dataclasses.replace(default, **values)
    except ConfigError as error:
        raise ConfigError(f"{path}.{error}" if path else str(error)) from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}" if path else str(error)) from None


def _convert(kind: Any, value: object, where: str) -> object:
    """``value`` as the field's type; ints become floats where a float is declared, never back."""
    if dataclasses.is_dataclass(kind):
        return _build(kind, _table(value, where), where)
    origin = typing.get_origin(kind)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}: expected a list, got {value!r}")
        item = typing.get_args(kind)[0]
        return tuple(_convert(item, v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin in (typing.Union, types.UnionType):
        choices = [k for k in typing.get_args(kind) if k is not type(None)]
        return None if value is None else _convert(choices[0], value, where)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind in (str, bool) and isinstance(value, kind):
        return value
    name = getattr(kind, "__name__", str(kind))
    raise ConfigError(f"{where}: expected {name}, got {value!r}")


def _table(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected a table, got {value!r}")
    return value


def _hint(name: str, known: typing.Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _require(holds: bool, name: str, message: str) -> None:
    if not holds:
        raise ConfigError(f"{name}: {message}")
