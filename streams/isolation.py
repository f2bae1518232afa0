"""An asset that makes the engine fail is set aside, and the others go on.

A bug should crash; but a bug that one machine's data wakes up must not stop a whole hall, and a
worker that crashes at the same message for ever helps nobody. So after a failure the partition is
restored and its messages are taken one by one; the one that fails again names its asset, which is
not judged any more from that message on: its messages become dead letters until somebody says
``andon maintenance``. Said loudly, kept in the partition's memory, and the same wherever batches
were cut, because assets do not matter to one another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.kafka_codec import Decoder
from streams.lane import Lane

#: What a bug in the engine or in a decoder raises; what is raised on purpose is not among it.
FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError,
          SystemError)
#: Assets and messages that one partition sets aside; more is no poisoned asset but a broken engine.
LIMIT = 100


@dataclass(slots=True)
class Isolation:
    """What one worker has found out and no checkpoint holds yet, by partition."""

    decoder: Callable[[], Decoder]
    """A fresh decoder with an empty registry."""
    assets: dict[int, dict[str, int]] = field(default_factory=dict)
    messages: dict[int, set[int]] = field(default_factory=dict)
    careful_until: dict[int, int] = field(default_factory=dict)

    def feed(self, lane: Lane, records: Sequence[Any]) -> str | None:
        """Have the lane take the records. None = done; else why the lane must be restored.

        Raises
        ------
        RegistryError
            As ``Lane.take`` does.
        """
        at = 0
        while at < len(records):
            careful = records[at].offset < self.careful_until.get(lane.partition, 0)
            part = records[at:at + 1] if careful else records[at:]
            try:
                lane.take(part)
            except FAULTS as error:
                return self._found(lane, part, error)
            at += len(part)
        return None

    def prepare(self, lane: Lane) -> None:
        """Tell a lane that was restored what is set aside."""
        if self.assets.get(lane.partition) or self.messages.get(lane.partition):
            known = lane.memory.setdefault("isolated", {})
            for name, offset in self.assets.get(lane.partition, {}).items():
                known.setdefault(name, offset)
            failed = set(lane.memory.get("failed", ())) | self.messages.get(lane.partition, set())
            lane.memory["failed"] = sorted(failed)[-LIMIT:]
            lane.checkpoint_now = True

    def kept(self, partition: int) -> None:
        """A checkpoint holds it now."""
        self.assets.pop(partition, None)
        self.messages.pop(partition, None)

    def _found(self, lane: Lane, part: Sequence[Any], error: Exception) -> str:
        what = f"{type(error).__name__}: {error}"
        if len(part) > 1:
            self.careful_until[lane.partition] = part[-1].offset + 1
            return f"the engine failed ({what}); looking for the message that does it"
        offset = part[0].offset
        isolated = self.assets.setdefault(lane.partition, {})
        failed = self.messages.setdefault(lane.partition, set())
        known = lane.memory.get("isolated", {})
        names = [name for name in self._names(part[0]) if known.get(name, offset + 1) > offset]
        if offset in failed or len(isolated) + len(failed) + len(known) >= LIMIT:
            raise error
        if not names:
            failed.add(offset)
            return f"the message at offset {offset} cannot be taken ({what}): a dead letter"
        isolated.update(dict.fromkeys(names, offset))
        told = ", ".join(map(repr, names))
        return (f"the engine failed at offset {offset} on {told} ({what}): set aside from here on, "
                "its messages become dead letters; andon maintenance takes it back")

    def _names(self, record: Any) -> list[str]:
        """Assets that a message speaks of; none where it is the decoding that fails."""
        decoder = self.decoder()
        try:
            for _ in decoder.decode([record]):
                pass
        except FAULTS:
            return []
        return decoder.registry.assets
