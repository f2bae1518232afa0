"""A batch of the input that cannot be read: what becomes of it.

A batch whose checksum is wrong may have been hurt on the way, so it is fetched again. If it is the
same then, it is damaged in the topic, and the settings say whether the service stops there or goes
on after it. Never in a loop, and never without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from streams.kafka_source import TopicError
from streams.lane import Lane
from streams.totals import Totals
from streams.wire import DamagedBatchError


@dataclass(slots=True)
class Damage:
    """Per partition the batch that could not be read last, by its first offset."""

    seen: dict[int, int] = field(default_factory=dict)

    def met(
        self, damage: DamagedBatchError, lane: Lane, policy: str, totals: Totals,
        say: Callable[[str], None],
    ) -> None:
        """It could not be read: from where the lane stands now, it is to be read on.

        Raises
        ------
        TopicError
            Once more the same, and ``policy`` is not ``skip``.
        """
        again = self.seen.get(lane.partition) == damage.first
        self.seen[lane.partition] = damage.first
        if not again:
            return
        if policy != "skip":
            raise TopicError(
                f"{damage}. Two fetches gave the same, so it is damaged in the topic. "
                'kafka.unreadable = "skip" goes on after it')
        lost = damage.after - max(lane.position, damage.first)
        totals.messages_lost += lost
        say(f"{damage}; {lost} messages are lost, going on after them")
        lane.position = damage.after
