"""The live service when something goes wrong at the worst moment inside it.

A few lines of Python before the real program make that moment come for certain: a kill between two
steps of a commit, a transaction or a batch that takes too long, a clock that jumps. Everything else
is real, and the comparison is the same as ever: byte for byte with an undisturbed pass.
"""

from __future__ import annotations

import pytest

from tests import kafka_broker, live_service
from tests.live_service import Deployment, deployment, hangs

pytestmark = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
              pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

#: kill -9 of ourselves before or after the n-th call of a step of a commit. The first comes for
#: certain; how many there are, a second one for these rows or not, is for the machine to say.
KILL = """
import os, signal
from kafka import KafkaProducer
inner, calls = KafkaProducer.{step}, []
def step(self, *given, **named):
    calls.append(1)
    if len(calls) == {n} and {before}:
        os.kill(os.getpid(), signal.SIGKILL)
    answer = inner(self, *given, **named)
    if len(calls) == {n}:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer
KafkaProducer.{step} = step
"""

MOMENTS = [("send_offsets_to_transaction", True), ("commit_transaction", True),
           ("commit_transaction", False)]

#: The second transaction waits before its offsets are offered, longer than the broker lets it.
SLOW_TRANSACTION = hangs("send_offsets_to_transaction", 2, 4.0)

#: A batch that takes longer than a member may stay away from its group.
SLOW_BATCH = """
import time
from kafka import KafkaConsumer
from anomaly.monitor import Monitor
KafkaConsumer.DEFAULT_CONFIG["max_poll_interval_ms"] = 3000
begin, process, calls = KafkaConsumer.__init__, Monitor.process, []
def shorter(self, *topics, **options):
    if "max_poll_interval_ms" in options:
        options["max_poll_interval_ms"] = 3000
    begin(self, *topics, **options)
def slow(self, readings):
    calls.append(len(readings))
    if sum(calls[1:]) > 3000 and not slow.waited:
        slow.waited = True
        time.sleep(7.0)
    return process(self, readings)
slow.waited = False
KafkaConsumer.__init__, Monitor.process = shorter, slow
"""

#: The host's clock goes back and forth; not further ahead than a broker takes messages from.
WILD_CLOCK = """
import itertools, time
jumps = itertools.cycle([0, -3600, 1800, -7200, 3000])
now, now_ns = time.time, time.time_ns
time.time = lambda: now() + next(jumps)
time.time_ns = lambda: now_ns() + next(jumps) * 10**9
"""

#: The host's clock is two hours ahead, until somebody puts it right.
FAST_CLOCK = """
import pathlib, time
now, now_ns, right = time.time, time.time_ns, pathlib.Path({path!r})
time.time = lambda: now() + 7200 * (not right.exists())
time.time_ns = lambda: now_ns() + 7200 * 10**9 * (not right.exists())
"""


def judged(deployed: Deployment, seed: int, fault: str) -> None:
    """Half of a stream by a worker with a fault, the rest by it or by the next one."""
    rows = list(live_service.stream(4000, 12, seed))
    live_service.send(deployed, rows[:2000])
    deployed.start_worker(fault=fault)
    live_service.wait_until_done(deployed, 90)
    live_service.send(deployed, rows[2000:])
    live_service.wait_until_done(deployed, 90)


def test_a_kill_between_the_steps_of_a_commit() -> None:
    """Before anything is durable, before the offsets, before and right after the commit."""
    rows = list(live_service.stream(5000, 12, 20))
    with deployment(kafka_broker.shared(), 3) as deployed:
        for k, (step, before) in enumerate(MOMENTS):
            live_service.send(deployed, rows[1000 * k:1000 * (k + 1)])
            fault = KILL.format(step=step, before=before, n=1)
            worker = deployed.start_worker(fault=fault)
            kafka_broker.wait_for(
                lambda worker=worker: worker.poll() is not None, 60, f"the kill at {step}")
            assert worker.returncode == -9, deployed.logs()
        live_service.send(deployed, rows[1000 * len(MOMENTS):])
        deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        assert deployed.stop() == [0]
        live_service.assert_same(deployed)


def test_a_transaction_that_takes_too_long_is_begun_anew() -> None:
    """The broker aborts it; the worker goes back to what is committed, and goes on."""
    with deployment(kafka_broker.shared(), 3) as deployed:
        text = deployed.config.read_text()
        deployed.config.write_text(text.replace("transaction_seconds = 5.0",
                                                "transaction_seconds = 1.0"))
        judged(deployed, 36, SLOW_TRANSACTION)
        assert "was aborted by the broker" in deployed.logs()
        assert deployed.stop() == [0]
        live_service.assert_same(deployed)


def test_a_batch_that_takes_longer_than_the_group_waits_while_the_clock_jumps() -> None:
    """The member leaves, comes back, and what it held is restored; no timer hangs on the clock."""
    with deployment(kafka_broker.shared(), 3) as deployed:
        judged(deployed, 28, WILD_CLOCK + SLOW_BATCH)
        assert deployed.stop() == [0]
        live_service.assert_same(deployed)


@pytest.mark.parametrize("whose", ["ours", "others"])
def test_a_clock_that_is_far_ahead_is_said_and_waited_for(whose: str) -> None:
    """A broker takes no message from an hour ahead; our own topics have the broker's time."""
    with deployment(kafka_broker.shared(), 2) as deployed:
        if whose == "others":
            for topic in ("alerts", "dead", "late"):
                deployed.cluster.create_topic(f"{deployed.name}.{topic}", 2)
            deployed.cluster.create_topic(
                f"{deployed.name}.state", 2, {"cleanup.policy": "compact"})
        right = deployed.folder / "right"
        live_service.send(deployed, list(live_service.stream(3000, 12, 8)))
        deployed.start_worker(fault=FAST_CLOCK.format(path=str(right)))
        if whose == "others":
            kafka_broker.wait_for(
                lambda: "this host's clock is wrong" in deployed.logs(), 60, "a word of the clock")
            assert deployed.workers[0].poll() is None
            assert not any(live_service.positions(deployed).values())
            right.touch()
        live_service.wait_until_done(deployed, 60)
        assert deployed.stop() == [0]
        live_service.assert_same(deployed)


def test_an_upgrade_that_does_not_know_the_state_leaves_it_as_it_was() -> None:
    """Another version of a component refuses the state, loudly; rolled back, it goes on exactly.

    Beside a worker of the version before, too: the partitions it asked for go back to that one.
    """
    another = "from anomaly import alerts\nalerts.VERSION += 1\n"
    rows = list(live_service.stream(4000, 12, 42))
    with deployment(kafka_broker.shared(), 3) as deployed:
        live_service.send(deployed, rows[:2000])
        deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        assert deployed.stop() == [0]
        live_service.send(deployed, rows[2000:3000])
        upgraded = deployed.start_worker(fault=another)
        kafka_broker.wait_for(lambda: upgraded.poll() is not None, 60, "the refusal")
        assert upgraded.returncode == 78, deployed.logs()
        assert "written with other settings or by another version" in deployed.logs()
        before = deployed.start_worker()
        live_service.wait_until_done(deployed, 60)
        beside = deployed.start_worker(fault=another)
        live_service.send(deployed, rows[3000:3500])
        kafka_broker.wait_for(lambda: beside.poll() is not None, 60, "the second refusal")
        assert beside.returncode == 78, deployed.logs()
        live_service.send(deployed, rows[3500:])
        live_service.wait_until_done(deployed, 60)
        assert before.poll() is None, deployed.logs()
        assert deployed.stop() == [0]
        live_service.assert_same(deployed)
