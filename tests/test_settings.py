"""Settings from file, environment and command line; every mistake named with its place."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import pytest

from streams import reloading
from streams import settings as settings_module
from streams.errors import EXIT_CONFIG, SettingsError
from streams.settings import InputSettings, ReplaySettings, findings, load


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "andon.toml"
    path.write_text(text)
    return path


def test_nothing_set_gives_the_defaults() -> None:
    found = load(None, environment={})
    assert found.input == InputSettings()
    assert found.replay == ReplaySettings()
    assert found.monitor.budget_per_week == 1.0


def test_every_default_has_its_reason() -> None:
    for cls in settings_module.TABLES.values():
        source = inspect.getsource(cls)
        for field in dataclasses.fields(cls):
            place = source.index(f"    {field.name}: ")
            following = source[place:].split(":", 1)[1]
            assert '"""' in following.split("\n    \n")[0], field.name
            reason = following.split('"""')[1]
            assert len(reason.split()) >= 4, field.name


def test_later_origins_win(tmp_path: Path) -> None:
    path = toml(tmp_path, 'budget = "2/week"\nwarm_up_rows = 300\n[input]\ncounter_seconds = 5\n'
                          'ignore_columns = ["a", "b"]\n')
    assert load(path, environment={}).monitor.budget_per_week == 2.0
    assert load(path, environment={}).input.counter_seconds == 5.0
    assert load(path, environment={}).input.ignore_columns == ("a", "b")
    environment = {"ANDON_BUDGET": "3/week", "ANDON_INPUT__COUNTER_SECONDS": "7.5",
                   "ANDON_DATA": "/somewhere", "OTHER": "x"}
    found = load(path, environment=environment)
    assert (found.monitor.budget_per_week, found.input.counter_seconds) == (3.0, 7.5)
    assert found.monitor.warm_up_rows == 300
    found = load(path, {"budget": "1/day", "input.time_column": "t"}, environment)
    assert found.monitor.budget_per_week == pytest.approx(7.0)
    assert found.input.time_column == "t"
    found = load(toml(tmp_path, "budget_per_week = 4\n"), environment=environment)
    assert found.monitor.budget_per_week == 3.0


@pytest.mark.parametrize("text, message", [
    ("[input]\ntime_colum = 't'\n", "andon.toml: input.time_colum: unknown setting; did you mean "
                                    "'time_column'?"),
    ("languag = 'en'\n", "andon.toml: languag: unknown setting; did you mean 'language'?"),
    ("[input]\ncounter_seconds = 'x'\n", "input.counter_seconds: expected a number, got 'x'"),
    ("[input]\ncounter_seconds = -1\n", "input.counter_seconds: must be between"),
    ("[input]\ndelimiter = '/'\n", "input.delimiter: '/' is none of"),
    ("[input]\nshape = 'tall'\n", "input.shape: 'tall' is none of 'auto', 'wide', 'long'"),
    ("[input]\nignore_columns = 3\n", "input.ignore_columns: expected a list of texts, got 3"),
    ("input = 3\n", "input: expected a table, got 3"),
    ("[input]\nsensor_column = 's'\n", "sensor_column and value_column go together"),
    ("[input]\ntime_column = 't'\nignore_columns = ['t']\n", "'t' is also named as a column to"),
    ("[replay]\nrejected_sample = 1.5\n", "replay.rejected_sample: expected a whole number"),
    ("[replay]\nminimum_seconds = 5\n", "minimum_seconds: must not exceed horizon_seconds"),
    ("budget = '1/fortnight'\n", "andon.toml: budget: '1/fortnight'"),
    ("[sensor.temperature]\ndirection = 'sideways'\n", "sensor.temperature.direction"),
    ("budget = \n", "not valid TOML"),
])
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(toml(tmp_path, text), environment={})
    assert message in str(caught.value)
    assert str(tmp_path / "andon.toml") in str(caught.value)
    assert caught.value.exit_code == EXIT_CONFIG


def test_a_mistake_in_the_environment_names_the_variable() -> None:
    with pytest.raises(SettingsError, match="environment variable ANDON_BUDGT: budgt: unknown"):
        load(None, environment={"ANDON_BUDGT": "1/week"})
    with pytest.raises(SettingsError, match=r"ANDON_INPUT__TIME: input\.time: unknown setting"):
        load(None, environment={"ANDON_INPUT__TIME": "x"})


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no such file"):
        load(tmp_path / "absent.toml", environment={})
    with pytest.raises(SettingsError, match="this is a directory"):
        load(tmp_path, environment={})
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="not valid TOML"):
        load(path, environment={})


def test_lint_finds_every_mistake(tmp_path: Path) -> None:
    path = toml(tmp_path, 'budgt = "1/week"\nwarm_up_rows = 1\n[input]\ntime_colum = "t"\n'
                          'counter_seconds = "x"\n[replay]\nrejected_sample = -1\n')
    found = "\n".join(findings(path, environment={}))
    for name in ("budgt", "warm_up_rows", "time_colum", "counter_seconds", "rejected_sample"):
        assert name in found
    assert findings(toml(tmp_path, 'budget = "1/week"\n'), environment={}) == []


def test_variables_of_the_tests_are_no_settings() -> None:
    given = {"ANDON_TEST_KAFKA": "3.9.1", "ANDON_DATA": "/data", "ANDON_BUDGET": "2/week"}
    assert load(None, {}, given).monitor.budget_per_week == 2.0
    with pytest.raises(SettingsError, match="tset_kafka"):
        load(None, {}, {"ANDON_TSET_KAFKA": "3.9.1"})


def test_what_only_a_restart_can_change_is_refused_by_name() -> None:
    now = load(None, {}, {})
    assert {field.name for field in dataclasses.fields(now.kafka)} >= reloading.CHANGEABLE
    fresh = {"kafka": {"commit_seconds": 9.0}, "budget": "2/day"}
    reloading.check(now, load(None, fresh, {}))
    fresh |= {"kafka": {"topic": "other", "group": "mine"}, "webhook": {"url": "http://a/"}}
    with pytest.raises(SettingsError, match=r"kafka\.topic, kafka\.group, webhook\.url: cannot"):
        reloading.check(now, load(None, fresh, {}))
