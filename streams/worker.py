"""The loop of one worker of the live service.

poll ─► lanes ─► (an alert, or time is up) ─► one transaction: messages, state, offsets
          ▲                                     (``committing``: beside the next turn)
          └─ next turn

A partition that comes is restored from the state topic and the input after its checkpoint is read
again in silence; one that goes is dropped, never handed over: the topic knows it. A transaction
that did not happen leaves nothing behind but a state that ran ahead, so that state is dropped and
restored, too. Signals and changed settings take effect between two batches. Everything that lives
outside (broker, clock, settings file) is passed in; ``live.py`` composes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from anomaly.errors import AnomalyError
from anomaly.registry import Registry
from streams import open_alerts, reloading, takeover
from streams.alertmanager import AlertmanagerPush
from streams.commands import CommandReader
from streams.committing import DUE_LIMIT, Committer
from streams.damage import Damage
from streams.errors import StreamsError
from streams.health import Status
from streams.isolation import Isolation
from streams.kafka_sink import (
    AbortedError,
    FencedError,
    Transactions,
    replaced,
    transactional_id,
)
from streams.kafka_source import KafkaSource, patiently, prepare_topics
from streams.lane import Lane, decoder_of, schema_reader
from streams.planning import Planning
from streams.schema_formats import SchemaReader
from streams.schema_registry import RegistryError
from streams.service import Clock
from streams.settings import Settings
from streams.telemetry import Telemetry
from streams.totals import Totals, Wishes
from streams.wire import DamagedBatchError

#: Longest wait for input; bounds how late signals and rebalances are noticed.
POLL_SECONDS = 0.1
#: An alert waits no longer than so for the other partitions of the same poll.
ALERT_SECONDS = 0.01
#: Batches follow one another no faster than this: what comes in between is taken together, which
#: costs a fraction of taking it apart, and leaves the processor to the broker.
PACE_SECONDS = 0.02
#: A state waits no longer than so for a moment at which no alert waits.
GIVE_WAY_SECONDS = 1.0
#: Metrics, page and probes are told no more often than this.
SHOW_SECONDS = 0.25
#: A worker outside its group for so long gets a new consumer: longer than any rebalance takes.
REJOIN_SECONDS = 30.0
#: A partition rests so long before a schema that is away is asked for again; how often it is said.
REST_SECONDS, COMPLAIN_SECONDS = 2.0, 30.0
#: Pending bytes at which a commit no longer waits for its time.
PENDING_LIMIT_BYTES = 8 << 20


@dataclass(slots=True)
class Worker:
    """One process of the consumer group.

    Collaborators are passed in; ``say`` gets the few lines a person should see.
    """

    settings: Settings
    options: Mapping[str, Any]
    connect: Callable[[], KafkaSource]
    clock: Clock
    status: Status
    say: Callable[[str], None]
    wishes: Wishes = field(default_factory=Wishes)
    commands: CommandReader | None = None
    lanes: dict[int, Lane] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)
    reload: Callable[[], Settings] | None = None
    telemetry: Telemetry | None = None
    push: AlertmanagerPush | None = None
    _source: KafkaSource | None = None
    _commits: Committer = field(init=False)
    _committed_at: float = 0.0
    _polled_at: float = -math.inf
    _shown_at: float = -math.inf
    _member_at: float = 0.0
    _state_partitions: int = 0
    _isolation: Isolation = field(init=False)
    _complaints: dict[str, float] = field(default_factory=dict)
    _schemas: SchemaReader | None = None
    _paused: set[int] = field(default_factory=set)
    _resting: dict[int, float] = field(default_factory=dict)
    _damage: Damage = field(default_factory=Damage)

    def __post_init__(self) -> None:
        self._isolation = Isolation(lambda: decoder_of(self.settings, Registry(), self._schemas))
        self._commits = Committer(
            self._connect_transactions, self.totals, self._told, self._isolation.kept)

    @property
    def source(self) -> KafkaSource:
        """The consumer there is now."""
        assert self._source is not None
        return self._source

    def run(self) -> None:
        """Work until asked to stop; then commit what is done, state included.

        Raises
        ------
        FencedError
            Another worker took over what this one held.
        StreamsError, AnomalyError
            State or topics that cannot be used.
        """
        self._commits.open()
        self._committed_at = self.clock.seconds()
        try:
            self._join()
            while not self.wishes.stop:
                self._step()
            self.status.move("stopping", ready=False)
            self._take_changes()
            self._commit(everything=True)
        finally:
            self._commits.close()
            if self._source is not None:
                self._source.close()

    def _connect_transactions(self, name: str) -> Transactions:
        kafka = self.settings.kafka
        name = name or transactional_id(kafka.group, kafka.worker)
        return patiently(
            lambda: Transactions(self.options, name, kafka.transaction_seconds),
            self.say, lambda: self.wishes.stop, "transactions")

    def _join(self) -> None:
        """Join the group with a fresh consumer; what was held is restored when it comes back."""
        self._let_go(self.lanes)
        self._paused.clear()
        self._resting.clear()
        if self._source is not None:
            self._source.close()
        self._source = self.connect()
        self._source.subscribe()
        self._member_at = self.clock.seconds()

    def _stay_member(self) -> bool:
        """Whether we are in the group; a client that does not get back in is replaced."""
        now = self.clock.seconds()
        if self.source.is_replaced:
            raise FencedError(replaced(self.settings.kafka.worker))
        if self.source.membership() is not None:
            self._member_at = now
            return True
        if now - self._member_at > REJOIN_SECONDS:
            self.say(f"no member of the group for {REJOIN_SECONDS:.0f} s: connecting anew")
            self._join()
        return False

    def _step(self) -> None:
        """One turn: changes of the group, commands, input, perhaps a commit."""
        self._take_changes()
        if self.wishes.reload:
            self.wishes.reload = False
            self._reload()
        if self.commands is not None:
            self.commands.apply(self.lanes.values())
        self._pace()
        polled = self._poll()
        for partition in self._take_changes():  # fetched for another assignment, from elsewhere
            polled.pop(partition, None)
        started, aborts = time.perf_counter(), self.totals.aborts
        for partition, records in polled.items():
            begun = time.perf_counter()
            self._take(partition, records)
            self.totals.process_seconds += time.perf_counter() - begun
            if time.perf_counter() - started > ALERT_SECONDS:
                self._commit(everything=False, alerts_only=True)
            if self.totals.aborts != aborts:
                break  # all partitions were put back: what was polled will be polled again
        self.totals.turns += 1
        self._commit(everything=False)
        self._brake()
        if self.telemetry is not None and polled:
            self.telemetry.spent("batch", time.perf_counter() - started)
        self._tell(bool(polled))
        if not self._stay_member():
            self.status.move("joining", ready=False)
            return
        behind = any(lane.is_silent for lane in self.lanes.values())
        self.status.move("restoring" if behind else "running", ready=not behind)

    def _poll(self) -> dict[int, Sequence[Any]]:
        """The next input; a damaged batch is fetched again, and then the settings decide."""
        try:
            return self.source.poll(PACE_SECONDS if self._has_news else POLL_SECONDS)
        except DamagedBatchError as damage:
            lane = self.lanes.get(damage.partition)
            if lane is not None:
                policy = self.settings.kafka.unreadable
                self._damage.met(damage, lane, policy, self.totals, self.say)
                self.source.seek(lane.partition, lane.position)
            return {}

    @property
    def _has_news(self) -> bool:
        """Whether an alert waits to be committed."""
        return any(lane.urgent for lane in self.lanes.values())

    def _pace(self) -> None:
        """Wait for the next batch's time; an alert that waits goes out when it can."""
        until = self._polled_at + PACE_SECONDS
        if self._has_news:
            self._commits.wait(max(0.0, until - time.perf_counter()))
            self._commit(everything=False, alerts_only=True)
        wait = until - time.perf_counter()
        if wait > 0.0:
            time.sleep(wait)
        self._polled_at = time.perf_counter()

    def _tell(self, busy: bool) -> None:
        """Have metrics, page and probes know where we are; the alerts are out by now."""
        now = self.clock.seconds()
        # Of a few partitions a turn: telling of all of them at once makes one turn in ten long.
        share = math.ceil(len(self.lanes) * PACE_SECONDS / SHOW_SECONDS) if busy else None
        waiting = [lane for lane in self.lanes.values() if now - lane.shown_at >= SHOW_SECONDS]
        for lane in sorted(waiting, key=lambda lane: lane.shown_at)[:share]:
            lane.shown_at = now
            lane.show()
        held = tuple(sorted(self.lanes))
        if held == self.status.partitions and now - self._shown_at < SHOW_SECONDS:
            return
        self._shown_at = now
        self.status.partitions = held
        self.status.detail = {"since_start": asdict(self.totals)}
        if self.telemetry is not None:
            self.telemetry.take_worker(self)

    def _take(self, partition: int, records: Sequence[Any]) -> None:
        lane = self.lanes.get(partition)
        if lane is None:
            return
        gap = (lane.position, records[0].offset)
        if gap[1] > gap[0] and gap != lane.gap:
            # Offsets have holes (markers, compaction), but a client that was moved behind our back
            # looks just the same. A hole is believed when it is met twice.
            lane.gap = gap
            self.source.seek(partition, lane.position)
            return
        if gap[1] > gap[0]:
            self._notice_loss(partition, *gap)
        try:
            trouble = self._isolation.feed(lane, records)
        except RegistryError as error:
            self._complain(f"partition {partition} waits: {error}")
            self._resting[partition] = self.clock.seconds() + REST_SECONDS
            self.source.seek(partition, lane.position)
            return
        if trouble is not None:
            self.say(f"partition {partition}: {trouble}")
            self._let_go([partition])
            self._restore_each([partition])
            return
        self.totals.messages += len(records)
        for text in lane.news():
            self.say(f"partition {partition}: recognised {text}")

    def _complain(self, text: str) -> None:
        """Say what goes on being wrong, once in a while."""
        now = self.clock.seconds()
        told = {t: since for t, since in self._complaints.items() if now < since + COMPLAIN_SECONDS}
        self._complaints = {text: now} | told
        if text not in told:
            self.say(text)

    def _notice_loss(self, partition: int, position: int, offset: int) -> None:
        """Say that messages were deleted before we read them; other holes are none of our business.

        The broker forgets by its own rules (retention); going on with what is left is all there is
        to do, but nobody shall believe that it was read.
        """
        first, _ = self.source.ends(partition)
        lost = min(first, offset) - position
        if lost > 0:
            self.totals.messages_lost += lost
            self.say(f"partition {partition}: {lost} messages from offset {position} on were "
                     "deleted before they could be read (retention); going on after them")

    def _brake(self) -> None:
        """Fetch nothing for a partition that cannot go on: output stuck, or a schema to be had."""
        now = self.clock.seconds()
        for partition, lane in self.lanes.items():
            waits = lane.pending_bytes > PENDING_LIMIT_BYTES
            if self._resting.get(partition, 0.0) > now:
                waits = True
            if waits and partition not in self._paused:
                self.source.pause(partition)
                self._paused.add(partition)
            elif not waits and partition in self._paused:
                self.source.resume(partition)
                self._paused.discard(partition)
                if self._resting.pop(partition, None) is None:
                    self.say(f"partition {partition}: output goes on")

    # -- committing -------------------------------------------------------------------------------

    def _commit(self, everything: bool, alerts_only: bool = False) -> None:
        """Begin a transaction if it is time, or (only then) an alert waits, and none is under way.

        ``everything``: commit all there is, states included, and wait for it.
        """
        if everything:
            while self._settle(wait=True) and self._begin(everything, alerts_only):
                pass
        elif self._settle(wait=False):
            self._begin(everything, alerts_only)

    def _settle(self, wait: bool) -> bool:
        """Take up how the last commit has ended; False = not yet, or we had to go back."""
        try:
            return self._commits.settle(wait)
        except AbortedError as error:
            self.totals.aborts += 1
            self._complain(f"{error}; going back to what is committed")
            until = time.monotonic() + self._commits.rest_seconds
            while time.monotonic() < until and not self.wishes.stop:
                time.sleep(0.05)
            self._restore_all()
            return False

    def _begin(self, everything: bool, alerts_only: bool) -> bool:
        """Begin a transaction with all that is pending and due; False = there is nothing."""
        now = self.clock.seconds()
        if alerts_only and not self._has_news:
            return False
        due = [lane for lane in self.lanes.values()
               if not lane.is_silent and self._checkpoint_due(lane, now, everything)][:DUE_LIMIT]
        whole = everything or now - self._committed_at >= self.settings.kafka.commit_seconds
        # Between the whole ones only who must: fewer partitions make a transaction faster.
        lanes = [lane for lane in self.lanes.values() if lane in due or (lane.is_dirty and (
            whole or lane.urgent or lane.pending_bytes > PENDING_LIMIT_BYTES))]
        if not lanes:
            return False
        membership = self.source.membership()
        if membership is None or self.source.has_changes:  # in this order: see KafkaSource
            return False  # what we hold may be another's by now; the changes are taken up first
        self._commits.begin(lanes, due, self.settings.kafka.state_topic_name, self.source.place,
                            membership, now)
        if whole:
            self._committed_at = now
        return True

    def _checkpoint_due(self, lane: Lane, now: float, everything: bool) -> bool:
        kafka = self.settings.kafka
        if lane.checkpoint_now or not lane.since_checkpoint:
            return lane.checkpoint_now
        patience = GIVE_WAY_SECONDS if self._has_news else 0.0
        return (everything or now - lane.checkpointed_at >= kafka.checkpoint_seconds + patience
                or lane.since_checkpoint >= kafka.checkpoint_messages)

    # -- partitions -------------------------------------------------------------------------------

    def _take_changes(self) -> set[int]:
        """Take up what happened in the group; returns the partitions that came or went."""
        changed: set[int] = set()
        for change in self.source.changes():
            changed.update(change.partitions)
            self._let_go(change.partitions)
            for partition in change.partitions:
                self._paused.discard(partition)
                self._resting.pop(partition, None)
            if change.kind == "assigned":
                self._restore_each(change.partitions)
            elif change.partitions:
                self.say(f"partitions {_listed(change.partitions)} {change.kind}")
        return changed

    def _let_go(self, partitions: Iterable[int]) -> None:
        """Forget these partitions; what they did until now is shown first."""
        for partition in list(partitions):
            lane = self.lanes.pop(partition, None)
            if lane is not None:
                lane.show()

    def _restore_all(self) -> None:
        held = sorted(self.lanes)
        self._let_go(held)
        self._restore_each(held)

    def _restore_each(self, partitions: Sequence[int]) -> None:
        self._settle(wait=True)  # or the state that is read back might not be the last
        self._prepare_topics(partitions)
        for partition, latest in takeover.states(partitions, self.settings, self.options):
            self._restore(partition, latest)

    def _restore(self, partition: int, latest: takeover.Latest | None = None) -> None:
        """Take a partition over: its state, its position, and the input in between."""
        if self.wishes.stop or partition not in self.source.assignment():
            return
        self.status.move(f"restoring partition {partition}", ready=False)
        lane = patiently(
            lambda: self._lane(partition, latest), self.say, lambda: self.wishes.stop,
            f"partition {partition}")
        if self.source.seek(partition, lane.position):
            self.lanes[partition] = lane
            self._show(lane)

    def _prepare_topics(self, partitions: Sequence[int]) -> None:
        """Have the topics of partitions that were not there before."""
        if max(partitions, default=-1) < self._state_partitions:
            return
        known, self._state_partitions = self._state_partitions, patiently(
            lambda: prepare_topics(self.options, self.settings.kafka), self.say,
            lambda: self.wishes.stop, "topics")
        if known:  # they grew under us, and a producer learns of that late
            self._commits.open()

    def _lane(self, partition: int, latest: takeover.Latest | None = None) -> Lane:
        started = time.perf_counter()
        if self._schemas is None:
            self._schemas = schema_reader(self.settings)
        lane = takeover.lane(
            partition, latest, self.settings, self.options, self.source, self._schemas,
            self.clock.seconds(), self.totals, self.say)
        self._isolation.prepare(lane)
        self.totals.restores += 1
        took = time.perf_counter() - started
        self.totals.restore_seconds += took
        self._told("restore", took)
        return lane

    def _show(self, lane: Lane) -> None:
        """Let a partition that was taken over be seen, and what is firing there be kept alive."""
        lane.telemetry, lane.push, lane.shows_late = self.telemetry, self.push, True
        lane.planning = Planning(self.settings.calendar)
        firing = open_alerts.kept(lane.memory)
        if self.telemetry is not None:
            self.telemetry.restore(lane.partition, firing, lane.monitor)
        if self.push is not None:
            self.push.restore(firing)

    def _told(self, stage: str, seconds: float) -> None:
        """A stage took so long, for whoever watches."""
        if self.telemetry is not None:
            self.telemetry.spent(stage, seconds)

    # -- settings ---------------------------------------------------------------------------------

    def _reload(self) -> None:
        """Read the settings again; thresholds change at once, what was learned stays."""
        if self.reload is None:
            return
        try:
            fresh = self.reload()
            reloading.check(self.settings, fresh)
            self._commit(everything=True)
            if any(lane.is_dirty for lane in self.lanes.values()):
                self.wishes.reload = True  # the group is moving: at the next turn
                return
            if fresh == self.settings:
                self.totals.reload_successful = True
                return  # a signal and the file's own change were about the same
            previous, self.settings, self._schemas = self.settings, fresh, None
            try:
                lanes = {partition: self._lane(partition) for partition in self.lanes}
            except (StreamsError, AnomalyError):
                self.settings, self._schemas = previous, None
                raise
            self._let_go(self.lanes)
            self.lanes = lanes  # at the same positions: nothing is fetched anew
            for lane in lanes.values():
                self._show(lane)
        except (StreamsError, AnomalyError) as error:
            self.totals.reload_successful = False
            self.say(f"settings not changed: {error}")
            return
        self.totals.reload_successful = True
        self.say("settings changed")


def _listed(partitions: tuple[int, ...]) -> str:
    return ", ".join(map(str, partitions))
