"""Every effect of every command is in the ledger, and can be taken back, and that, too."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from anomaly import assets
from streams import commands, inspection, kafka_state
from streams.commands import Command, Entry
from tests import kafka_broker, live_service
from tests.kafka_broker import wait_for
from tests.live_service import Deployment, deployment

pytestmark = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

#: All detectors, and so many sensors that what a maintenance took is larger than a message may be.
SENSORS = 40
ENGINE = 'budget = "1/day"\nwarm_up_rows = 60\n'
MACHINE = "press"


def rows(count: int) -> list[tuple[str, dict[str, Any]]]:
    values = np.random.default_rng(7).normal(50.0, 1.0, (count, SENSORS)).round(3)
    values[150:180, 3] += 40.0
    return [(MACHINE, {"asset": MACHINE, "ts": live_service.START_NS // 10**6 + 1000 * k,
                       "values": {f"s{c}": v for c, v in enumerate(row.tolist())}})
            for k, row in enumerate(values)]


def give(deployed: Deployment, kind: str, **said: Any) -> str:
    """Put one command into the topic, as every command of the command line does."""
    command = Command(commands.new_id(), kind, MACHINE, time.time_ns(), **said)
    commands.send(reached(deployed), deployed.settings.kafka, command)
    return command.id


def reached(deployed: Deployment) -> dict[str, Any]:
    return {"bootstrap_servers": deployed.cluster.bootstrap.split(","), **deployed.cluster.client}


def ledger(deployed: Deployment) -> dict[str, Entry]:
    count = inspection.partitions(reached(deployed), f"{deployed.name}.state")
    return {entry.command.id: entry
            for entry in commands.ledger(reached(deployed), deployed.settings.kafka, count)}


def kept(deployed: Deployment) -> tuple[dict[str, Any], bytes]:
    """What commands have changed, and the machine's whole image, from the state topic."""
    latest = kafka_state.read(reached(deployed), f"{deployed.name}.state", 0)
    found = kafka_state.restored(latest, deployed.settings.monitor, 10, 1000)
    assert found.checkpoint is not None
    (image,) = assets.Tracker(found.monitor).changes([0], [True])
    memory = {name: found.checkpoint.memory.get(name) or None
              for name in ("acknowledged", "shelved", "shelved_once", "labels")}
    return memory, image


def test_every_effect_is_listed_and_taken_back_and_that_too() -> None:
    with deployment(kafka_broker.shared(), 1, engine=ENGINE) as deployed:
        live_service.send(deployed, rows(200))
        deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        alert = next(dict(r.headers)["ce_id"].decode().rpartition("-firing")[0]
                     for r in live_service.records(deployed, "alerts")
                     if dict(r.headers)["ce_type"] == b"andon.alert.firing")
        given = [give(deployed, "acknowledge", alert=alert),
                 give(deployed, "feedback", alert=alert, label="planned"),
                 give(deployed, "feedback", alert=alert, label="false"),
                 give(deployed, "shelve", for_ns=10**12), give(deployed, "shelve", once=True),
                 give(deployed, "unshelve")]
        wait_for(lambda: len(ledger(deployed)) == 6, 30, "six entries " + deployed.logs())
        before = kept(deployed)
        given.append(give(deployed, "maintenance"))
        wait_for(lambda: len(ledger(deployed)) == 7, 30, "the maintenance " + deployed.logs())
        after = kept(deployed)
        assert after[1] != before[1]
        assert after[0] == {"acknowledged": [alert], "shelved": None, "shelved_once": None,
                            "labels": {alert: "false"}}
        back = [give(deployed, "revert", entry=entry) for entry in given[:5:-1]]
        wait_for(lambda: len(ledger(deployed)) == 8, 30, "taking it back " + deployed.logs())
        assert kept(deployed) == before, "bit by bit the machine that it was"
        back += [give(deployed, "revert", entry=entry) for entry in given[5::-1]]
        wait_for(lambda: len(ledger(deployed)) == 14, 30, "taking all back " + deployed.logs())
        assert set(kept(deployed)[0].values()) == {None}
        entries = ledger(deployed)
        assert [entries[entry].reverted_by for entry in given] == back[::-1]
        live_service.kill(deployed.workers[0])
        deployed.start_worker()
        again = [give(deployed, "revert", entry=entry) for entry in back[::-1]]
        wait_for(lambda: len(ledger(deployed)) == 21, 60, "taking that back " + deployed.logs())
        assert kept(deployed) == after
        entries = ledger(deployed)
        assert [entries[entry].reverted_by for entry in back] == again[::-1]
        assert {entries[entry].reverted_by for entry in given} == {""}
        give(deployed, "revert", entry=back[0])  # is taken back already
        give(deployed, "acknowledge", alert=alert)
        wait_for(lambda: len(ledger(deployed)) == 22, 30, "one more " + deployed.logs())
        assert kept(deployed) == after
        assert deployed.stop() == [0]
