"""One transaction at a time, in a thread beside the loop, and what is in it.

A commit mostly waits for the broker, so the next batch is judged meanwhile. The loop hands over
bytes: what a stretch of input caused, the state it left, the position behind it. From then on the
lane counts them as committed; where that proves wrong, everything that came after rests on nothing
either, and all of it is dropped and restored. So there is never more than one transaction under
way, its outcome is taken up before the next one begins, and before any state is read back from the
topic. When to commit is the worker's decision.
"""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kafka import TopicPartition

from streams import kafka_state
from streams.kafka_sink import AbortedError, Message, Transactions
from streams.lane import Lane
from streams.totals import Totals

#: Pauses after the second and later failures in a row: from the first to the longest.
REST_SECONDS = (0.5, 10.0)
#: Checkpoints in one transaction: the state of one partition is long enough a turn.
DUE_LIMIT = 1


@dataclass(slots=True)
class _UnderWay:
    """A transaction that was begun, and what its thread leaves."""

    partitions: tuple[int, ...]
    """Whose state is in it."""
    alerts: int
    checkpoints: int
    checkpoint_bytes: int
    seconds: float = 0.0
    error: BaseException | None = None
    ended: threading.Event = field(default_factory=threading.Event)


@dataclass(slots=True)
class Committer:
    """The transactions of one worker.

    Attributes
    ----------
    connect : callable
        Gives ``Transactions``; is told the name to go on under, "" = a new one.
    spent : callable
        Is told the stages' names and seconds.
    kept : callable
        Is told the partitions whose state was committed.
    """

    connect: Callable[[str], Transactions]
    totals: Totals
    spent: Callable[[str, float], None]
    kept: Callable[[int], None]
    failures: int = 0
    """In a row."""
    _transactions: Transactions | None = None
    _under_way: _UnderWay | None = None
    _work: queue.SimpleQueue[Callable[[], None]] = field(default_factory=queue.SimpleQueue)
    _thread: threading.Thread | None = None

    def open(self) -> None:
        """A fresh transactional producer; one of the same name that is still about is fenced."""
        assert self._under_way is None
        if self._thread is None:
            # One for all commits: starting another where memory is short may never come back.
            self._thread = threading.Thread(
                target=_work_off, args=(self._work,), name="commit", daemon=True)
            self._thread.start()
        name = ""
        if self._transactions is not None:
            name = self._transactions.transactional_id
            self._transactions.close()
        self._transactions = self.connect(name)

    def wait(self, seconds: float) -> None:
        """Until the transaction under way has ended, but no longer than this."""
        if self._under_way is not None:
            self._under_way.ended.wait(seconds)

    def begin(
        self, lanes: Sequence[Lane], due: Sequence[Lane], topic: str,
        place: Callable[[int], TopicPartition], membership: Any, now: float,
    ) -> None:
        """Have all that is pending of these lanes committed, with the state of those ``due``.

        ``topic`` is that of the state. The one before must be settled.
        """
        transactions = self._transactions
        assert transactions is not None
        assert self._under_way is None
        made = _UnderWay(tuple(lane.partition for lane in due), 0, len(due), 0)
        messages: list[Message] = []
        for lane in lanes:
            records = list(lane.records)
            if lane in due:
                started = time.perf_counter()
                records += lane.checkpoint_records(lane.commands)
                took = time.perf_counter() - started
                self.spent("checkpoint", took)
                self.totals.checkpoint_seconds += took
                made.checkpoint_bytes += sum(len(v or b"") for _, v in records)
            records.append(
                kafka_state.position_record(lane.position, transactions.transactional_id))
            messages += lane.pending
            messages += [Message(topic, key, value, (), lane.partition) for key, value in records]
            made.alerts += sum(1 for m in lane.pending if m.topic == lane.kafka.alerts_topic)
        offsets = {place(lane.partition): lane.position for lane in lanes}
        for lane in lanes:
            lane.done(lane in due, now)
        self._under_way = made
        self._work.put(functools.partial(
            _commit, transactions, made, messages, offsets, membership))

    def settle(self, wait: bool) -> bool:
        """Take up how the transaction under way has ended; False = it has not.

        Raises
        ------
        AbortedError
            It did not happen, or nothing is known of it: drop and restore everything.
        FencedError
        """
        ended = self._under_way
        if ended is None:
            return True
        if not wait and not ended.ended.is_set():
            return False
        ended.ended.wait()
        self._under_way = None
        if ended.error is not None:
            self.failures += 1
            if isinstance(ended.error, AbortedError):
                self.open()
            raise ended.error
        self.failures = 0
        totals = self.totals
        totals.commit_seconds += ended.seconds
        self.spent("commit", ended.seconds)
        totals.commits += 1
        totals.alerts += ended.alerts
        totals.checkpoints += ended.checkpoints
        totals.checkpoint_bytes += ended.checkpoint_bytes
        for partition in ended.partitions:
            self.kept(partition)
        return True

    @property
    def rest_seconds(self) -> float:
        """How long to leave the broker alone after the last failure; one by itself is nothing."""
        first, longest = REST_SECONDS
        return min(first * 2.0 ** (self.failures - 2), longest) if self.failures > 1 else 0.0

    def close(self) -> None:
        """Let go; a transaction that is under way is left to be aborted."""
        if self._transactions is not None:
            self._transactions.close()


def _work_off(work: queue.SimpleQueue[Callable[[], None]]) -> None:
    """What the thread does, as long as the process lives."""
    while True:
        work.get()()


def _commit(
    transactions: Transactions, made: _UnderWay, messages: Sequence[Message],
    offsets: Mapping[TopicPartition, int], membership: Any,
) -> None:
    """One transaction; whatever goes wrong is for the loop to know."""
    started = time.perf_counter()
    try:
        transactions.commit(messages, offsets, membership)
    except BaseException as error:
        made.error = error
    made.seconds = time.perf_counter() - started
    made.ended.set()
