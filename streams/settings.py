"""Every setting of the program: defaults with their reasons, the TOML file, the environment.

The only reader of the environment. A setting is looked for on the command line, then in the
environment, then in the file, then here. The tables named in :data:`TABLES` belong to this package;
everything else goes to the engine (``anomaly.config.parse``). An unknown key anywhere is an error
that names the nearest known one: a typo must never be a silent default.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streams.calendar_settings import CalendarSettings
from streams.errors import SettingsError
from streams.kafka_settings import (
    FilesSettings,
    HealthSettings,
    KafkaSettings,
    SchemaRegistrySettings,
    WebhookSettings,
)
from streams.metrics_settings import AlertmanagerSettings, MetricsSettings, PageSettings

if typing.TYPE_CHECKING:
    from anomaly.config import MonitorConfig

PREFIX = "ANDON_"
#: Variables with the prefix that are no settings: where recordings are, and what the tests use.
NOT_SETTINGS = re.compile(r"ANDON_DATA$|ANDON_TEST_")


@dataclass(frozen=True, slots=True)
class InputSettings:
    """How files are to be understood, where the guess would be wrong."""

    time_column: str = ""
    """Empty = found by name (timestamp, time, ts, datetime, date), else by content."""
    asset_column: str = ""
    """Empty = found by name (asset, machine, unit, device, …), else the file's name is it."""
    sensor_column: str = ""
    """With value_column: reads a long table whose columns have unusual names."""
    value_column: str = ""
    """With sensor_column: reads a long table whose columns have unusual names."""
    shape: str = "auto"
    """``wide`` or ``long`` overrules the guess; ``auto`` looks for a sensor and a value column."""
    ignore_columns: tuple[str, ...] = ()
    """Columns that are no sensors: labels, set points, counters without meaning."""
    counter_seconds: float = 1.0
    """What one step of a row counter, or one row without a time, stands for."""
    array_hz: float = 0.0
    """Samples a second of Parquet columns whose cells hold arrays: a burst of vibration a row."""
    delimiter: str = ""
    """Empty = the one that most rows agree on: comma, semicolon, tab or bar."""
    decimal_mark: str = ""
    """Empty = what the first rows show: point or comma."""
    date_order: str = ""
    """``day-first`` or ``month-first`` for dates such as 3/4/2024; empty = what the rows show."""

    def __post_init__(self) -> None:
        _one_of(self.shape, "shape", ("auto", "wide", "long"))
        _one_of(self.delimiter, "delimiter", ("", ",", ";", "\t", "|"))
        _one_of(self.decimal_mark, "decimal_mark", ("", ".", ","))
        _one_of(self.date_order, "date_order", ("", "day-first", "month-first"))
        if not 1e-9 <= self.counter_seconds <= 1e9:
            raise ValueError("counter_seconds: must be between 1e-9 and 1e9")
        if not 0 <= self.array_hz <= 1e9:
            raise ValueError("array_hz: must be 0 to 1e9")
        if bool(self.sensor_column) != bool(self.value_column):
            raise ValueError("sensor_column: sensor_column and value_column go together")
        if self.decimal_mark and self.decimal_mark == self.delimiter:
            raise ValueError("decimal_mark: cannot be the delimiter too")
        named = {self.time_column, self.asset_column, self.sensor_column, self.value_column} - {""}
        clash = sorted(named & set(self.ignore_columns))
        if clash:
            raise ValueError(f"ignore_columns: {clash[0]!r} is also named as a column to use")


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """What a replay writes beside alerts and scores."""

    rejected_sample: int = 1000
    """Cells and rows kept in rejected.jsonl; all are counted. 1000 are as many as anyone reads."""
    horizon_seconds: float = 0.0
    """How long before a failure an alert counts as a warning; 0 = chosen from the recording."""
    minimum_seconds: float = 0.0
    """An alert later than this before a failure came too late to help."""
    aftermath_seconds: float = 0.0
    """Alerts this long after a failure are the failure being seen, not false alarms."""

    def __post_init__(self) -> None:
        for name in ("rejected_sample", "horizon_seconds", "minimum_seconds", "aftermath_seconds"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name}: must be 0 or more")
        if self.minimum_seconds > self.horizon_seconds:
            raise ValueError("minimum_seconds: must not exceed horizon_seconds")


TABLES: dict[str, Any] = {
    "input": InputSettings, "replay": ReplaySettings, "kafka": KafkaSettings,
    "webhook": WebhookSettings, "health": HealthSettings, "metrics": MetricsSettings,
    "alertmanager": AlertmanagerSettings, "page": PageSettings,
    "schema_registry": SchemaRegistrySettings,
    "calendar": CalendarSettings, "files": FilesSettings,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that was set, checked."""

    monitor: MonitorConfig
    input: InputSettings = field(default_factory=InputSettings)
    replay: ReplaySettings = field(default_factory=ReplaySettings)
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    webhook: WebhookSettings = field(default_factory=WebhookSettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    schema_registry: SchemaRegistrySettings = field(default_factory=SchemaRegistrySettings)
    calendar: CalendarSettings = field(default_factory=CalendarSettings)
    files: FilesSettings = field(default_factory=FilesSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    alertmanager: AlertmanagerSettings = field(default_factory=AlertmanagerSettings)
    page: PageSettings = field(default_factory=PageSettings)


@dataclass(slots=True)
class _Layer:
    """Values of one origin, and what to call it when one of them is wrong."""

    origin: str
    values: dict[str, Any]


def load(
    path: Path | None,
    command_line: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Read and check the settings of all origins.

    Parameters
    ----------
    path : Path or None
        The TOML file of ``--config``.
    command_line : mapping of dotted path to value, optional
        What flags said; wins over everything.
    environment : mapping, optional
        For tests; None = the process's own.

    Raises
    ------
    SettingsError
        The file cannot be read or parsed, or a value cannot be used; the message has its path.
    """
    return _built(*_merged(path, command_line or {}, environment))


def tables(
    path: Path | None, command_line: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The same of everything but the engine (:data:`TABLES`): no compiler is loaded for it.

    Raises
    ------
    SettingsError
    """
    return _tables(*_merged(path, command_line or {}, environment))


def findings(path: Path, environment: Mapping[str, str] | None = None) -> list[str]:
    """What ``andon lint`` says about a file: every table is checked, not only the first bad one.

    Raises
    ------
    SettingsError
        The file cannot be read or is not TOML.
    """
    merged, origins = _merged(path, {}, environment)
    found: list[str] = []
    while True:
        try:
            _built(merged, origins)
            return found
        except SettingsError as error:
            found.append(str(error))
            if not _without(merged, _path_of(str(error), origins)):
                return found


def _layers(
    path: Path | None, command_line: Mapping[str, object], environment: Mapping[str, str] | None
) -> Iterator[_Layer]:
    if path is not None:
        yield _Layer(str(path), _file(path))
    given = os.environ if environment is None else environment
    for name in sorted(given):
        if name.startswith(PREFIX) and not NOT_SETTINGS.match(name):
            dotted = name[len(PREFIX):].lower().replace("__", ".")
            secret = dotted.endswith("password")  # never to be read as a number
            value = given[name] if secret else _scalar(given[name])
            yield _Layer(f"environment variable {name}", _nested(dotted, value))
    for dotted, value in command_line.items():
        yield _Layer("command line", _nested(dotted, value))


def _file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise SettingsError(f"{path}: this is a directory, not a settings file") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error


def _scalar(text: str) -> object:
    """A variable's text as TOML would read it; plain text where that makes no sense."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _nested(dotted: str, value: object) -> dict[str, Any]:
    for name in reversed(dotted.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def _merge(
    into: dict[str, Any], values: Mapping[str, Any], origin: str, origins: dict[str, str],
    prefix: str,
) -> None:
    """Lay one origin over those before it, table by table."""
    for key, value in values.items():
        path = f"{prefix}{key}"
        if path in ("budget", "budget_per_week"):  # one setting under two names: the later wins
            other = "budget" if path == "budget_per_week" else "budget_per_week"
            if other not in values:
                into.pop(other, None)
        if isinstance(value, Mapping):
            table = into.setdefault(key, {})
            if isinstance(table, dict):
                _merge(table, value, origin, origins, f"{path}.")
                origins.setdefault(path, origin)
                continue
        into[key] = value
        origins[path] = origin


def _merged(
    path: Path | None, command_line: Mapping[str, object], environment: Mapping[str, str] | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """All origins laid over one another, and where each setting comes from."""
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer in list(_layers(path, command_line, environment)):
        _merge(merged, layer.values, layer.origin, origins, "")
    return merged, origins


def _tables(merged: Mapping[str, Any], origins: Mapping[str, str]) -> dict[str, Any]:
    return {name: _table(name, merged.get(name, {}), origins) for name in TABLES}


def _built(merged: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    from anomaly import config  # loads the kernels' compiler: only when settings are needed
    from anomaly.errors import ConfigError

    own = _tables(merged, origins)
    engine = {key: value for key, value in merged.items() if key not in TABLES}
    try:
        monitor = config.parse(engine)
    except ConfigError as error:
        raise SettingsError(_with_origin(str(error), origins)) from error
    return Settings(monitor, **own)


def _table(name: str, values: object, origins: Mapping[str, str]) -> Any:
    cls = TABLES[name]
    if not isinstance(values, Mapping):
        raise SettingsError(_with_origin(f"{name}: expected a table, got {values!r}", origins))
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls)]
    given: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{name}.{key}"
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
            raise SettingsError(_with_origin(f"{path}: unknown setting{hint}", origins))
        given[key] = _value(hints[key], value, path, origins)
    try:
        return cls(**given)
    except ValueError as error:
        raise SettingsError(_with_origin(f"{name}.{error}", origins)) from error


def _value(kind: Any, value: object, path: str, origins: Mapping[str, str]) -> object:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind in (str, bool) and isinstance(value, kind):
        return value
    if typing.get_origin(kind) is tuple:
        items = [value] if isinstance(value, str) else value
        if isinstance(items, list | tuple) and all(isinstance(item, str) for item in items):
            return tuple(items)
    expected = "a list of texts" if typing.get_origin(kind) is tuple else {
        float: "a number", int: "a whole number", str: "text", bool: "true or false"}[kind]
    shown = "something else" if path.endswith("password") else repr(value)
    raise SettingsError(_with_origin(f"{path}: expected {expected}, got {shown}", origins))


def _with_origin(message: str, origins: Mapping[str, str]) -> str:
    """Put the origin of the offending setting before its path."""
    origin = origins.get(_path_of(message, origins))
    return f"{origin}: {message}" if origin else message


def _path_of(message: str, origins: Mapping[str, str]) -> str:
    """The longest known path that the message names before its first ": "."""
    for origin in set(origins.values()):
        message = message.removeprefix(f"{origin}: ")
    path = message.partition(": ")[0].partition("[")[0]
    while path and path not in origins:
        path = path.rpartition(".")[0]
    return path


def _without(merged: dict[str, Any], path: str) -> bool:
    """Take one setting out; False if there is no such one."""
    *tables, last = path.split(".")
    place: Any = merged
    for name in tables:
        place = place.get(name) if isinstance(place, dict) else None
    if not isinstance(place, dict) or last not in place:
        return False
    del place[last]
    return True


def _one_of(value: str, name: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        shown = ", ".join(repr(choice) for choice in allowed if choice)
        raise ValueError(f"{name}: {value!r} is none of {shown}")
