"""What is kept of open alerts comes back as it was, through JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from anomaly.batches import Alert, Contribution
from streams import open_alerts


def alert(number: int, state: str = "firing", **changes: Any) -> Alert:
    made = Alert(f"id{number}", "säge", "level", state, "low", 5, 7, 1e6,
                 (Contribution("power", 0.75, 1.0, 2.0),), (1.0, 2.0, 3.0), "säge: \"power\"")
    return dataclasses.replace(made, **changes)


def through_json(memory: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(json.dumps(memory, allow_nan=False)))


def test_open_alerts_survive_and_resolved_ones_do_not() -> None:
    memory: dict[str, Any] = {"shelved": {}}
    open_alerts.keep(memory, [alert(1, "pending"), alert(2), alert(3), alert(2, "resolved"),
                              alert(4, time_left_seconds=None)])
    back = open_alerts.kept(through_json(memory))
    assert back == [alert(3), alert(4, time_left_seconds=None)]
    assert memory["shelved"] == {}
    assert open_alerts.kept({}) == []


def test_what_is_not_known_stays_not_known() -> None:
    memory: dict[str, Any] = {}
    nothing = Contribution("power", 1.0, math.nan, math.nan)
    open_alerts.keep(memory, [alert(1, return_period_seconds=math.nan, contributions=(nothing,))])
    back, = open_alerts.kept(through_json(memory))
    assert math.isnan(back.return_period_seconds)
    assert math.isnan(back.contributions[0].expected)
    assert back.contributions[0].share == 1.0
