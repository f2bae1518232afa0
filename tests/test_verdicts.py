"""What people said of alerts: shelving in event time and for once, feedback, and taking it back."""

from __future__ import annotations

from typing import Any

import pytest

from anomaly.batches import Alert, Contribution
from anomaly.config import MonitorConfig
from anomaly.monitor import Monitor
from anomaly.registry import Registry
from streams import open_alerts, verdicts
from streams.commands import Command, problem


def alert(identity: str, state: str, time_ns: int, asset: str = "press", kind: str = "level",
          sensor: str = "heat") -> Alert:
    parts = (Contribution(sensor, 1.0, 1.0, 2.0),)
    return Alert(identity, asset, kind, state, "low", 5, time_ns, 1e6, parts, None, "x")


@pytest.fixture(name="monitor")
def _monitor() -> Monitor:
    registry = Registry()
    registry.columns(registry.asset("press"), ["heat", "sound"])
    registry.columns(registry.asset("saw"), ["heat"])
    return Monitor(MonitorConfig(detectors=("level",)), registry)


def test_a_shelved_asset_is_back_when_its_own_time_says_so() -> None:
    memory: dict[str, Any] = {}
    verdicts.shelve_until(memory, "press", 100)
    said = [verdicts.take(memory, alert("a", "firing", t))[0] for t in (50, 99, 100, 60)]
    assert said == [True, True, False, False], "what ended does not begin again"
    assert not verdicts.take(memory, alert("b", "firing", 50, asset="saw"))[0]


@pytest.mark.parametrize("is_open", [True, False])
def test_once_is_one_alert_until_it_resolves(is_open: bool) -> None:
    memory: dict[str, Any] = {}
    if is_open:
        open_alerts.keep(memory, [alert("a", "firing", 1)])
    name, _ = verdicts.shelve_once(memory, "press")
    assert name == ("a" if is_open else "")
    told = [("a", "pending", is_open), ("a", "firing", True), ("a", "resolved", True),
            ("b", "firing", False), ("a", "firing", False)]
    for identity, state, hidden in told:
        assert verdicts.take(memory, alert(identity, state, 1))[0] == hidden, (identity, state)


def test_the_shelf_can_be_put_back_as_it_was() -> None:
    memory: dict[str, Any] = {}
    undo = [verdicts.shelve_until(memory, "press", 100),
            verdicts.shelve_until(memory, "press", 300),
            verdicts.shelve_once(memory, "press")[1],
            verdicts.unshelve(memory, "press")]
    assert not verdicts.take(memory, alert("a", "firing", 50))[0]
    verdicts.put_back(memory, "press", undo[3])
    assert memory["shelved_once"] == {"press": ""}
    verdicts.put_back(memory, "press", undo[2])
    assert memory["shelved"] == {"press": 300}
    assert memory["shelved_once"] == {}
    verdicts.put_back(memory, "press", undo[1])
    assert memory["shelved"] == {"press": 100}
    verdicts.put_back(memory, "press", undo[0])
    assert memory["shelved"] == {}


def test_false_makes_like_alerts_rarer_up_to_a_limit_and_real_undoes_it(monitor: Monitor) -> None:
    memory: dict[str, Any] = {}
    verdicts.take(memory, alert("a", "firing", 1))
    undo = []
    for k, words in enumerate(("10 times", "100 times", "1000 times", "limit")):
        said, back = verdicts.judge(memory, monitor, 0, "a", "false")
        assert words in said
        assert monitor.quiet(0, 0) == min(k + 1, 3)
        undo.append(back)
    assert monitor.quiet(0, 1) == monitor.quiet(1, 0) == 0.0
    assert undo[3] is None
    verdicts.unjudge(monitor, 0, undo[0])
    assert monitor.quiet(0, 0) == 2.0
    said, back = verdicts.judge(memory, monitor, 0, "a", "real")
    assert monitor.quiet(0, 0) == 0.0
    verdicts.unjudge(monitor, 0, back)
    assert monitor.quiet(0, 0) == 2.0


def test_what_is_not_known_and_what_was_planned_change_nothing(monitor: Monitor) -> None:
    memory: dict[str, Any] = {}
    verdicts.take(memory, alert("a", "firing", 1))
    verdicts.take(memory, alert("stuck", "firing", 1, kind="sensor_fault"))
    for identity, label, asset in (("a", "planned", 0), ("stuck", "false", 0), ("z", "false", 0),
                                   ("a", "false", 1)):
        _, undo = verdicts.judge(memory, monitor, asset, identity, label)
        assert undo is None
        assert monitor.quiet(0, 0) == monitor.quiet(1, 0) == 0.0


def test_memory_is_bounded_and_acknowledged_alerts_are_marked() -> None:
    memory: dict[str, Any] = {"acknowledged": ["n3"]}
    for k in range(verdicts.TOLD_LIMIT + 50):
        assert verdicts.take(memory, alert(f"n{k}", "firing", k)) == (False, k == 3)
    assert len(memory["told"]) == verdicts.TOLD_LIMIT
    assert "n0" not in memory["told"]


@pytest.mark.parametrize("given", [{}, {"for_ns": 1, "until_ns": 1}, {"once": True, "for_ns": 1},
                                   {"for_ns": -1}, {"until_ns": -5}, {"for_ns": 10**19}])
def test_a_shelving_without_one_clear_end_is_refused(given: dict[str, Any]) -> None:
    assert problem(Command("i", "shelve", "press", 1, **given)) is not None
    assert problem(Command("i", "shelve", "press", 1, once=True)) is None
