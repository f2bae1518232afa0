"""The composition: readings in, a few alerts out, stage by stage. No algorithm and no I/O here.

One partition of the stream has one ``Monitor``; live, replay, tests and any other host call the
same ``process`` and get the same bytes, however the stream was cut into batches. Read this file
first to see what happens to a reading:

    quality ─► windows ─► (later rows) ─► regimes ─► reference ─► leeway ─► detectors
            ─► calibration ─► alerts

The first two are composed in ``intake.py``, with a buffer between where readings may come late;
from regimes on in ``judging.py``, with what runs once a warm-up in ``baseline.py``. Beside the
machines, and with every row, go the sensors (``quality``), the losses (``production``) and the
stops (``echo``).

Nothing feeds back from calibration into a detector, so rows of different assets never wait for one
another and no rounds are needed: every guard against learning a fault sits inside a detector's own
kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from anomaly import (
    alerts,
    announce,
    calibration,
    echo,
    intake,
    judging,
    later_rows,
    leeway,
    memory_plan,
    outlook,
    production,
    quality,
    reference,
    regimes,
    reorder,
    room,
    sensors,
    watchers,
    windows,
)
from anomaly.announce import Condition
from anomaly.baseline import Baseline
from anomaly.batches import (
    Alert,
    Float64,
    Int8,
    Int64,
    Outcome,
    ReadingBatch,
    RowBatch,
    ScoreBatch,
)
from anomaly.config import MonitorConfig
from anomaly.detectors import DETECTORS, State, run_rebuild, steps_of
from anomaly.errors import StateError
from anomaly.registry import Registry
from anomaly.watchers import Watchers


class Monitor:
    """All stages over one partition.

    Parameters
    ----------
    config : MonitorConfig
    registry : Registry
        Names and indices; the codec registers into it before it calls ``process``.

    Attributes
    ----------
    shop : production.Stage
        Roles and calendar; its ``plan`` may be replaced, it is no part of the state.
    """

    def __init__(self, config: MonitorConfig, registry: Registry) -> None:
        self.config = config
        self.registry = registry
        self.detector_names = config.detectors
        self._detectors = [DETECTORS[name] for name in config.detectors]
        self._configs = [config.detector_config(name) for name in config.detectors]
        self._voice = announce.Voice(
            registry, tuple(bound.kind for bound in self._detectors), config.language,
            config.budget_per_week)
        self._rejected = np.zeros(len(quality.REASONS), np.int64)
        self._assets, self._tags, self._known_names = 0, 0, -1
        self.shop = production.Stage(
            production.informed(config.losses, config.windows.cycle), config.budget_per_week,
            rows_are_cycles=bool(config.windows.cycle.sensor), mode_sensors=config.mode_sensors)
        role = np.array([calibration.ROLES.index(b.role) for b in self._detectors], np.int64)
        beside = Watchers(*(  # the first detector of each role, −1 = none
            int(np.append(np.flatnonzero(role == wanted), -1)[0])
            for wanted in (calibration.NOVELTY, calibration.ALONE)))
        self._baseline = Baseline(
            config, registry, self.shop, self._detectors, self._configs, role, beside,
            later_rows.fast_step_seconds(
                config.windows.later_row_seconds, config.threshold_seconds),
            config.warm_up_rows)
        self.plan = memory_plan.plan(config)
        self._state: dict[str, State] = {}
        self._steps: list[tuple[Any, tuple[Any, ...]]] = []
        self._make_room()

    # -- the stream ---------------------------------------------------------------------------

    def process(self, readings: ReadingBatch) -> Outcome:
        """Everything that n readings change: rows, scores, alert transitions, reasons.

        A pure function of (state, readings): any split of the stream gives the same bits.
        """
        self._make_room()
        rows, reason, ordered = intake.run(
            self.config, self._state, self.registry.table, self._roles,
            self._sensors.low, self._sensors.high, readings)
        self._rejected += np.bincount(reason, minlength=self._rejected.size)
        produced = self.shop.run(self._state, self.registry.table, ordered)
        return self._outcome(rows, reason, produced)

    def flush(self) -> Outcome:
        """End of the stream: what waits for late readings goes on, open rows are judged."""
        rows, ordered = intake.flush(self.config, self._state, self.registry.table, self._roles)
        produced = self.shop.flush(self._state, self.registry.table, ordered)
        return self._outcome(rows, np.zeros(0, np.int8), produced)

    def end_warm_up(self) -> None:
        """From here on every asset with enough rows is judged; later ones get the same length.

        The stream's own position decides (``--warm-up ROWS`` counts rows of all assets together),
        so this is an event of the stream like a maintenance, not a setting.
        """
        self._baseline.end(self._state)

    def rebaseline(self, asset: int) -> None:
        """Start the asset's warm-up anew (after maintenance): what was usual may have changed."""
        if "later" in self._state:
            tags = self.registry.tags(asset)
            later_rows.restart(self._state["later"], asset, tags)
            room.forget_warm_up(self._state, asset, tags, room.LATER)
        self._baseline.begin_anew(self._state, asset)

    def quieten(self, asset: int, column: int, decades: float) -> float:
        """Rows that the sensor leads must from now on be so many decades rarer (feedback).

        0 = as the budget asks; ``alerts.QUIET_LIMIT`` at most. Returns what held before.
        """
        return alerts.quieten(
            self._state["alerts"], asset, self.registry.tags(asset), column, decades)

    def quiet(self, asset: int, column: int) -> float:
        """Decades by which what the sensor leads must be rarer than the budget asks."""
        tag = self.registry.table[asset, column]
        return float(self._state["alerts"]["tag"]["quiet"][tag])

    def newest_ns(self, asset: int) -> int:
        """The asset's newest believed event time; 0 = none yet."""
        return int(self._state["quality"]["asset_clock"]["last_ns"][asset])

    def forget(self, assets: list[int]) -> None:
        """Let go of these assets' sensors and of all that is known of them; their names stay."""
        self._make_room()
        fresh = self._fresh(1, 1, True, True)
        for asset in assets:
            room.forget(self._state, fresh, asset, self.registry.release(asset, keep_name=True))

    # -- what is known ------------------------------------------------------------------------

    def rejected(self) -> dict[str, int]:
        """Readings by reason since the start of the state; ``accepted`` is among them."""
        return dict(zip(quality.REASONS, self._rejected.tolist(), strict=True))

    def expected(self, asset: int) -> tuple[Float64, Float64, Float64]:
        """Low, centre and high of the expected band, float64[d] each; NaN before it stands."""
        tags = self.registry.tags(asset)
        return self.bands(tags, np.full(tags.size, asset))

    def bands(self, tags: Int64, asset: Int64) -> tuple[Float64, Float64, Float64]:
        """The same of any tags, whose assets are ``asset int64[d]``."""
        return regimes.bands(self._state["regimes"], self._state["reference"], tags, asset,
                             leeway.given(self._state["leeway"], tags))

    def latest(self, asset: int) -> Float64:
        """What each sensor said of late, float64[d], smoothed over a few rows; NaN = nothing."""
        tags = self.registry.tags(asset)
        tag = self._state["alerts"]["tag"][tags]
        latest = np.where(tag["seen"] == 1, tag["recent"], np.nan)
        return regimes.real(self._state["regimes"], tags, np.full(tags.size, asset),
                            latest + leeway.given(self._state["leeway"], tags))

    def conditions(self) -> list[Condition]:
        """The stated condition of every asset and sensor, assets in index order."""
        return announce.conditions(
            self.registry, self._state["reference"],
            self._state["quality"]["tag_watch"]["condition"], self._state["alerts"]["tag"]["quiet"],
            self._state["regimes"], self.shop.counts(self.registry.tag_count),
            self.shop.sayings(self._state), self._rows_said, bool(self.config.regimes.sensor))

    def _rows_said(self, asset: int) -> str:
        seconds = self.config.windows.later_row_seconds
        return later_rows.said(self._state["later"], asset, seconds) if seconds else ""

    def statement(self, asset: int) -> production.Statement | None:
        """Where the asset's time, parts and energy went; None where no sensor tells."""
        power = production.power_unit(self.shop.config, self.registry.sensors[asset])
        return production.statement(
            self.shop.config, self._state, self.shop.plan, asset,
            self.shop.read_from(self._state, self.registry, asset), power and f"{power}h")

    # -- state --------------------------------------------------------------------------------

    def versions(self) -> dict[str, int]:
        """Version of every component whose arrays are in the state."""
        own = {
            "quality": quality.VERSION, "windows": windows.VERSION,
            "reference": reference.VERSION, "calibration": calibration.VERSION,
            "alerts": alerts.VERSION, "outlook": outlook.VERSION, **watchers.VERSIONS,
            "regimes": regimes.VERSION, "leeway": leeway.VERSION, "echo": echo.VERSION,
            **production.VERSIONS,
        }
        if intake.reorders(self.config):
            own["reorder"] = reorder.VERSION
        if self.config.windows.later_row_seconds:
            own["later"] = later_rows.VERSION
        return own | {f"detector.{b.name}": b.version for b in self._detectors}

    def state(self) -> dict[str, State]:
        """Every array that the future depends on, trimmed to the assets and tags there are.

        What follows from the others (``DERIVED`` of a detector) is not among them.
        """
        assets, tags = len(self.registry.assets), self.registry.tag_count
        trimmed = {
            component: {
                name: array[: assets if name.startswith("asset") else tags].copy()
                for name, array in state.items()
            }
            for component, state in self.arrays().items()
        }
        trimmed["stream"] = self.stream_state()
        return trimmed

    def stream_state(self) -> State:
        """The small part of :meth:`state` that belongs to no asset."""
        return {
            "rejected": self._rejected.copy(),
            "warm_up_rows": np.array([self._baseline.warm_up_rows], np.int64),
        }

    def load_stream(self, stream: State) -> None:
        """Replace what :meth:`stream_state` gave."""
        self._rejected = stream["rejected"].copy()
        self._baseline.warm_up_rows = int(stream["warm_up_rows"][0])

    def arrays(self) -> Mapping[str, State]:
        """The state's own arrays, spare room included: to be read and let go, never to be kept.

        For whoever writes the state out asset by asset; the next ``process`` may replace them.
        Derived arrays are left out: whoever writes into these calls :meth:`derive` when done.
        """
        self._make_room()
        return room.written(self._state, self._detectors)

    def derive(self, tags: Int64) -> None:
        """Make what follows from the other arrays of some tags, after these were written."""
        for bound, config in zip(self._detectors, self._configs, strict=True):
            run_rebuild(bound, config, self._state[room.key(bound)], tags)

    def load(self, state: Mapping[str, State]) -> None:
        """Replace the state by what :meth:`state` gave, for a registry with the same names.

        Raises
        ------
        StateError
            A component or array is absent, or has another shape or dtype.
        """
        self._make_room()
        if set(state) != set(self._state) | {"stream"}:
            differing = sorted(set(state) ^ (set(self._state) | {"stream"}))
            raise StateError(f"state lacks or adds components: {', '.join(differing)}")
        room.put(self.arrays(), state)
        self.derive(np.arange(self.registry.tag_count))
        self.load_stream(state["stream"])

    # -- the stages after the windows ---------------------------------------------------------

    def _outcome(
        self, seen: RowBatch, reason: Int8, produced: production.Produced | None
    ) -> Outcome:
        """What is said of the rows: of their machines, of sensors, of stops and of losses."""
        rows = self.shop.judgeable(self.registry.table, seen)
        chosen = self._choose(rows, produced)
        known = self._state["reference"]["asset"]
        told = known["rows"] >= known["muted"] if "later" in self._state else None
        judged, made = self._judge_machines(chosen, produced)
        may_fire = judged.may_fire
        if told is not None:
            may_fire = later_rows.opinion(told, rows.asset, chosen, may_fire)
        found = quality.run_watch(
            self.config.quality, self._state["quality"], self.registry.table, seen)
        made += announce.sensor_alerts(
            self._voice, self._state["alerts"]["tag"], seen, found, may_fire)
        made += announce.stop_alerts(self._voice, seen, echo.run(
            self._state["echo"], seen.asset, seen.time_ns, may_fire))
        made += announce.loss_alerts(self._voice, produced, rows, self.shop.config)
        made.sort(key=lambda entry: entry[0])  # stable: the machine, its sensors, its losses
        scores = ScoreBatch(judged.score, judged.period_s, judged.alert, judged.detector_score)
        return Outcome(chosen.rows, scores, tuple(alert for _, alert in made), reason)

    def _choose(
        self, rows: RowBatch, produced: production.Produced | None
    ) -> later_rows.Chosen:
        """The rows that the machines are judged by: as they came, or means of them."""
        seconds = self.config.windows.later_row_seconds
        if not seconds:
            return later_rows.Chosen(rows, production.works(produced, rows), np.arange(len(rows)))
        state, table = self._state["later"], self.registry.table
        merged = later_rows.merge(state, table, seconds, rows)
        least = seconds / self._baseline.fast_step_seconds
        chosen = later_rows.choose(
            state, table, self._turns, seconds, least, merged,
            production.works(produced, merged.rows))
        for a in chosen.slow:
            room.forget_warm_up(self._state, a, self.registry.tags(a), room.LATER)
        return chosen

    def _judge_machines(
        self, chosen: later_rows.Chosen, produced: production.Produced | None
    ) -> tuple[judging.Judged, list[tuple[int, Alert]]]:
        """What is said of each row, and the machines' alerts with their places as the rows came.

        In parts: a machine that has grown is learned anew before its next row.
        """
        parts: list[judging.Judged] = []
        made: list[tuple[int, Alert]] = []
        start = 0
        for end, grown, count, _ in (*chosen.ends, (len(chosen.rows), -1, 0, -1)):
            judged, said = self._judge.run(
                windows.taken(chosen.rows, np.arange(start, end)) if chosen.ends else chosen.rows,
                None if chosen.works is None else chosen.works[start:end], produced)
            parts.append(judged)
            made += [(int(chosen.origin[start + place]), alert) for place, alert in said]
            start = end
            if grown >= 0:
                self._learn_anew(grown, count)
        return judging.joined(parts), made

    def _learn_anew(self, asset: int, count: int) -> None:
        """Learn the asset from so many means that were kept: from here on means are judged."""
        tags = self.registry.tags(asset)
        known, later = self._state["reference"]["asset"], self._state["later"]
        rows = later_rows.kept(
            later, asset, tags, self.config.windows.later_row_seconds or 0.0, count)
        if count > self.config.reference_rows:
            learns = later_rows.may_learn(
                later, asset, alerts.is_quiet(self._state["alerts"], asset))
            if later_rows.is_over(later, asset):
                room.forget_warm_up(self._state, asset, tags, room.LATER)
            if not learns:
                return
        anew = {name: state for name, state in self._state.items() if name not in room.LASTING}
        room.forget(anew, self._fresh(1, 1, True, True), asset, tags)
        known["rows"][asset] = known["warm_up"][asset] = known["muted"][asset] = count
        alerts.close(self._state["alerts"], asset)
        self._judge.learn_all(rows)

    # -- room ---------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Grow every component when the registry has outgrown it; nothing that is there changes."""
        config, registry = self.config, self.registry
        if registry.version != self._known_names:
            for a, names in enumerate(registry.sensors):  # what cycles add are columns too
                registry.columns(a, windows.derived_names(config.windows, names))
        assets, tags = len(registry.assets), registry.tag_count
        if self._state and registry.version == self._known_names:
            return
        self._known_names = registry.version
        self._turns = later_rows.turns(registry.assets)
        self._roles = windows.resolve(config.windows, registry.sensors, registry.table, tags)
        self._sensors = sensors.known(config, registry)
        told = self.shop.resolve(registry, tags)
        guessed = told and self.shop.guesses
        complete = bool(self._state) and (
            not told or len(self._state["ledger"]["asset_row"]) > 0) and (
            not guessed or len(self._state["shapes"]["asset_row"]) > 0)
        if not (complete and assets <= self._assets and tags <= self._tags):
            self._assets = room.capacity(self._assets, assets)
            self._tags = room.capacity(self._tags, tags)
            self._steps.clear()  # of the old state nothing may be held: it goes array by array
            self._state = room.grown(
                self._state, self._fresh(self._assets, self._tags, told, guessed))
            self._steps = steps_of(self._detectors, self._configs, [
                self._state[room.key(bound)] for bound in self._detectors])
        self._judge = judging.Judge(
            self.config, self._voice, self.shop, self._baseline, self._sensors, self._steps,
            self._state)

    def _fresh(self, assets: int, tags: int, told: bool, guessed: bool) -> dict[str, State]:
        detectors = dict(zip(self._detectors, self._configs, strict=True))
        return room.allocate(
            self.config, self.shop.config, told, guessed, detectors, assets, tags,
            self._baseline.warm_up_rows, self.plan.full_tags)
