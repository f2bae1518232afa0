"""The composition: readings in, a few alerts out, stage by stage. No algorithm and no I/O here.

One partition of the stream has one ``Monitor``; live, replay, tests and any other host call the
same ``process`` and get the same bytes, however the stream was cut into batches. Read this file
first to see what happens to a reading:

    quality ─► windows ─► (later rows) ─► regimes ─► reference ─► leeway ─► detectors
            ─► calibration ─► alerts

The first two are composed in ``intake.py``, with a buffer between where readings may come late.

Nothing feeds back from calibration into a detector, so rows of different assets never wait for one
another and no rounds are needed: every guard against learning a fault sits
inside a detector's own kernel. Longer than 500 lines because the whole way is to be read here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from anomaly import (
    alerts,
    announce,
    calibration,
    echo,
    intake,
    later_rows,
    leeway,
    memory_plan,
    observations,
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
    Bool,
    Float64,
    Int8,
    Int64,
    Outcome,
    ReadingBatch,
    RowBatch,
    ScoreBatch,
)
from anomaly.config import WEEK_SECONDS, MonitorConfig
from anomaly.detectors import DETECTORS, State, run_all, run_rebuild, steps_of
from anomaly.errors import StateError
from anomaly.registry import Registry
from anomaly.watchers import Watchers


@dataclass(slots=True)
class _Judged:
    """Scratch columns of one ``process`` call, in row order."""

    score: Float64
    period_s: Float64
    alert: Int8
    detector_score: Float64
    may_fire: Bool
    machine_share: Float64


def _joined(parts: Sequence[_Judged]) -> _Judged:
    return _Judged(*(
        np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(_Judged)))


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
        self._role = np.array([calibration.ROLES.index(b.role) for b in self._detectors], np.int64)
        self._watchers = Watchers(*(  # the first detector of each role, −1 = none
            int(np.append(np.flatnonzero(self._role == role), -1)[0])
            for role in (calibration.NOVELTY, calibration.ALONE)))
        self._baseline = Baseline(
            config.regimes, self._detectors, self._configs, self._role, self._watchers)
        self._new_warm_up = config.warm_up_rows
        self._fast_step_seconds = later_rows.fast_step_seconds(
            config.windows.later_row_seconds, config.budget_per_week)
        self._rejected = np.zeros(len(quality.REASONS), np.int64)
        self._assets, self._tags, self._known_names = 0, 0, -1
        self._sensors = sensors.known(config, registry)
        self.shop = production.Stage(
            production.informed(config.losses, config.windows.cycle), config.budget_per_week,
            rows_are_cycles=bool(config.windows.cycle.sensor), mode_sensor=config.regimes.sensor)
        self.plan = memory_plan.plan(config)
        self._state: dict[str, State] = {}
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
        return self._judge(
            rows, reason, self.shop.run(self._state, self.registry.table, ordered))

    def flush(self) -> Outcome:
        """End of the stream: what waits for late readings goes on, open rows are judged."""
        rows, ordered = intake.flush(self.config, self._state, self.registry.table, self._roles)
        produced = self.shop.flush(self._state, self.registry.table, ordered)
        return self._judge(rows, np.zeros(0, np.int8), produced)

    def end_warm_up(self) -> None:
        """From here on every asset with enough rows is judged; later ones get the same length.

        The stream's own position decides (``--warm-up ROWS`` counts rows of all assets together),
        so this is an event of the stream like a maintenance, not a setting.
        """
        asset = self._state["reference"]["asset"]
        known = len(self.registry.assets)
        least = self.config.minimum_warm_up_rows
        rows = asset["rows"][:known]
        usual = int(np.median(rows)) if known else least
        self._new_warm_up = max(least, usual)
        asset["warm_up"][known:] = min(self._new_warm_up, self._reference_rows)
        asset["muted"][known:] = self._new_warm_up
        for a in range(known):
            asset["muted"][a] = max(least, int(rows[a]))
            if not asset["ready"][a]:
                asset["warm_up"][a] = asset["muted"][a]
                if rows[a] >= least:
                    self._freeze(a)

    def rebaseline(self, asset: int) -> None:
        """Start the asset's warm-up anew (after maintenance): what was usual may have changed."""
        if "later" in self._state:
            later_rows.restart(self._state["later"], asset, self._tags_of(asset)[0])
            room.forget_warm_up(self._state, asset, self._tags_of(asset)[0], room.LATER)
        self._begin_anew(asset)

    def _begin_anew(self, asset: int) -> None:
        """Warm up again, with rows as they are judged now."""
        state = self._state["reference"]["asset"]
        state["rows"][asset] = 0
        state["ready"][asset] = 0
        state["warm_up"][asset] = min(self._new_warm_up, self._reference_rows)
        state["muted"][asset] = self._new_warm_up
        case = self._state["alerts"]["asset"]
        case["close"][asset] = case["state"][asset] != alerts.INACTIVE
        production.restart(self._state, asset)
        for column in range(len(self.registry.sensors[asset])):
            self.quieten(asset, column, 0.0)

    def _freeze(self, asset: int) -> None:
        self._baseline.freeze(
            self._state, self.registry, asset,
            self.shop.starts_and_stops(self._tags_of(asset)[0]),
            self._fast_step_seconds)

    def quieten(self, asset: int, column: int, decades: float) -> float:
        """Rows that the sensor leads must from now on be so many decades rarer (feedback).

        0 = as the budget asks; ``alerts.QUIET_LIMIT`` at most. Returns what held before.
        """
        tags = self.registry.table[asset, : len(self.registry.sensors[asset])]
        return alerts.quieten(self._state["alerts"], asset, tags, column, decades)

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
        return self.bands(*self._tags_of(asset))

    def bands(self, tags: Int64, asset: Int64) -> tuple[Float64, Float64, Float64]:
        """The same of any tags, whose assets are ``asset int64[d]``."""
        return regimes.bands(self._state["regimes"], self._state["reference"], tags, asset,
                             leeway.given(self._state["leeway"], tags))

    def latest(self, asset: int) -> Float64:
        """What each sensor said of late, float64[d], smoothed over a few rows; NaN = nothing."""
        tags, owner = self._tags_of(asset)
        tag = self._state["alerts"]["tag"][tags]
        latest = np.where(tag["seen"] == 1, tag["recent"], np.nan)
        return regimes.real(self._state["regimes"], tags, owner,
                            latest + leeway.given(self._state["leeway"], tags))

    def _tags_of(self, asset: int) -> tuple[Int64, Int64]:
        tags = self.registry.table[asset, : len(self.registry.sensors[asset])]
        return tags, np.full(tags.size, asset)

    def conditions(self) -> list[Condition]:
        """The stated condition of every asset and sensor, assets in index order."""
        return announce.conditions(
            self.registry, self._state["reference"],
            self._state["quality"]["tag_watch"]["condition"], self._state["alerts"]["tag"]["quiet"],
            self._state["regimes"], self.shop.counts(self.registry.tag_count),
            self.shop.sayings(self._state), self._rows_said)

    def _rows_said(self, asset: int) -> str:
        state, seconds = self._state.get("later"), self.config.windows.later_row_seconds
        return "" if state is None or not seconds else later_rows.said(state, asset, seconds)

    def statement(self, asset: int) -> production.Statement | None:
        """Where the asset's time, parts and energy went; None where no sensor tells."""
        return production.statement(
            self.shop.config, self._state, self.shop.plan, asset,
            self.shop.read_from(self._state, self.registry, asset))

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
            "warm_up_rows": np.array([self._new_warm_up], np.int64),
        }

    def load_stream(self, stream: State) -> None:
        """Replace what :meth:`stream_state` gave."""
        self._rejected = stream["rejected"].copy()
        self._new_warm_up = int(stream["warm_up_rows"][0])

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

    def _judge(
        self, seen: RowBatch, reason: Int8, produced: production.Produced | None
    ) -> Outcome:
        rows = self.shop.judgeable(self.registry.table, seen)
        chosen = self._choose(rows, produced)
        known = self._state["reference"]["asset"]
        told = known["rows"] >= known["muted"] if "later" in self._state else None
        parts: list[_Judged] = []
        made: list[tuple[int, Alert]] = []
        start = 0
        for end, grown, _ in (*chosen.ends, (len(chosen.rows), -1, -1)):
            part = np.arange(start, end)
            judged, said = self._judge_machine(
                chosen.rows if not chosen.ends else windows.taken(chosen.rows, part),
                None if chosen.works is None else chosen.works[start:end], produced)
            parts.append(judged)
            made += [(int(chosen.origin[start + place]), alert) for place, alert in said]
            start = end
            if grown >= 0:
                self._grow(grown)
        judged = parts[0] if len(parts) == 1 else _joined(parts)
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
        state, seconds = self._state.get("later"), self.config.windows.later_row_seconds
        if state is None or not seconds:
            return later_rows.Chosen(rows, production.works(produced, rows), np.arange(len(rows)))
        table = self.registry.table
        merged = later_rows.merge(state, table, seconds, rows)
        least = seconds / self._fast_step_seconds
        chosen = later_rows.choose(
            state, table, least, merged, production.works(produced, merged.rows))
        for a in chosen.slow:
            room.forget_warm_up(self._state, a, self._tags_of(a)[0], room.LATER)
        return chosen

    def _grow(self, asset: int) -> None:
        """Learn the asset anew, from the means that were kept: from here on these are judged."""
        tags = self._tags_of(asset)[0]
        rows = later_rows.kept(self._state["later"], asset, tags)
        room.forget_warm_up(self._state, asset, tags, room.LATER)
        keep = ("quality", "windows", "later", "alerts", "echo", "reorder", *production.VERSIONS)
        anew = {name: state for name, state in self._state.items() if name not in keep}
        room.forget(anew, self._fresh(1, 1, True, True), asset, tags)
        known = self._state["reference"]["asset"]
        known["rows"][asset] = known["warm_up"][asset] = known["muted"][asset] = len(rows)
        case = self._state["alerts"]["asset"]
        case["close"][asset] = case["state"][asset] != alerts.INACTIVE
        self._learn(rows, np.arange(len(rows)))

    def _judge_machine(
        self, rows: RowBatch, works: Int8 | None, produced: production.Produced | None
    ) -> tuple[_Judged, list[tuple[int, Alert]]]:
        """The machine's own alerts, with the places of their rows, and what is said of each row."""
        machine_share = production.machine_share(self.shop.config, produced, rows)
        m, k = len(rows), len(self._detectors)
        judged = _Judged(np.full(m, np.nan), np.full(m, np.nan), np.zeros(m, np.int8),
                         np.full((m, k), np.nan), np.zeros(m, np.bool_), machine_share)
        made: list[tuple[int, Alert]] = []
        place, asset = np.arange(m), self._state["reference"]["asset"]
        fired = self._state["alerts"]["asset"]["state"] == alerts.FIRING
        told = asset["rows"] >= asset["muted"]
        if works is not None:
            place = np.flatnonzero(works != observations.RESTS)
            machine_share[works == observations.SETTLES] = np.nan  # followed, and nothing told
        while place.size:  # once, unless an asset proves to have too many operating modes
            place = self._judge_some(rows, place, judged, made)
        if works is not None:
            observations.hold(fired, told, rows.asset, works, judged.alert, judged.may_fire)
        return judged, outlook.attach(
            self.config, self._voice, self.shop, self._state, self.registry.table, rows, made)

    def _judge_some(
        self, rows: RowBatch, place: Int64, judged: _Judged, made: list[tuple[int, Alert]]
    ) -> Int64:
        """Judge the rows at ``place``; returns those left over, of assets that begin anew."""
        rows = rows if place.size == len(rows) else windows.taken(rows, place)
        number, phase = np.empty(place.size, np.int64), np.empty(place.size, np.int8)
        asset_state = self._state["reference"]["asset"]
        waiting = reference.number_rows(asset_state, rows.asset, number, phase)
        judged.may_fire[place] = number >= asset_state["muted"][rows.asset]
        if waiting:
            warm, ready = np.flatnonzero(phase == 0), np.flatnonzero(phase == 1)
            made += self._warm(windows.taken(rows, warm), number[warm], judged, place[warm])
            rows, number, place = windows.taken(rows, ready), number[ready], place[ready]
        mapped = regimes.run(
            self.config.regimes, self._state["regimes"], self.registry.table, rows.asset, rows.x)
        again = np.unique(rows.asset[mapped.left])
        rest = place[mapped.left]
        if again.size:
            stay = np.flatnonzero(~mapped.left)
            rows, number, place = windows.taken(rows, stay), number[stay], place[stay]
            mapped = mapped.taken(stay)
        x, given = leeway.run(
            self._state["leeway"], self._state["reference"]["tag"], self.registry.table,
            rows.asset, mapped.x, np.isnan(judged.machine_share[place]), mapped.young)
        made += self._judge_ready(
            dataclasses.replace(rows, x=x), number, mapped, given, judged, place)
        for a in again.tolist():
            regimes.give_up(self._state["regimes"], a)
            self._begin_anew(a)
        return rest

    def _warm(
        self, rows: RowBatch, number: Int64, judged: _Judged, place: Int64
    ) -> list[tuple[int, Alert]]:
        """Rows of assets whose reference does not stand yet: keep them, freeze where full."""
        judged.score[place], judged.detector_score[place] = self._learn(rows, number)
        unknown = np.full(len(rows), np.nan)
        nobody, nothing = np.full(len(rows), -1, np.int64), np.zeros_like(rows.x)
        moved = self._walk(rows, number, unknown, unknown, unknown, unknown, nobody, nothing)
        return announce.machine_alerts(
            self._voice, self._state["reference"]["tag"], rows, place, moved, unknown,
            self._units(rows, None, nothing))

    def _learn(self, rows: RowBatch, number: Int64) -> tuple[Float64, Float64]:
        """Keep rows of a warm-up; returns what the score and the detectors say of them."""
        state = self._state["reference"]
        reference.keep(state["asset_time"], state["tag_rows"], self.registry.table, rows.asset,
                       rows.time_ns, rows.x, number)
        score, _ = self._detect(rows)
        self._watchers.follow(self._state, rows.asset, score)
        told = self._score(rows, number, score, np.full(len(rows), np.nan))
        self._state["warm_up"]["asset_score"][rows.asset, number] = score
        full = number + 1 >= state["asset"]["warm_up"][rows.asset]
        for a in rows.asset[full].tolist():
            if not state["asset"]["ready"][a]:
                self._freeze(a)
        return told, score

    def _judge_ready(
        self, rows: RowBatch, number: Int64, mapped: regimes.Mapped, given: Float64,
        judged: _Judged, place: Int64,
    ) -> list[tuple[int, Alert]]:
        m, k = len(rows), len(self._detectors)
        state = self._state["reference"]
        score, evidence = self._detect(rows)
        units = np.empty((m, k))
        level, fast, period_s = np.empty(m), np.empty(m), np.empty(m)
        calibration.step(
            *self._state["calibration"].values(), self._role, rows.asset, score, units, level,
            fast, period_s)
        interval_s = state["asset"]["interval_s"][rows.asset]
        period_s *= interval_s
        beside_s = self._watchers.judge(
            self._state, rows.asset, interval_s, score, units, period_s)
        total = np.zeros_like(rows.x)
        lead = np.full(m, -1, np.int64)
        calibration.blame_all(units, evidence, total, lead)
        if self._sensors.least.size:
            reference.heed(
                state["tag"], self._sensors.least, self._sensors.way, self.registry.table,
                rows.asset, rows.x, total, interval_s, period_s, beside_s)
        judged.detector_score[place] = score
        judged.score[place] = self._score(rows, number, score, level)
        told_s = np.fmax(period_s, beside_s)
        share = judged.machine_share[place]
        judged.period_s[place] = told_s
        moved = self._walk(rows, number, period_s * share, beside_s * share, level, fast,
                           lead, total)
        judged.alert[place] = moved.alert
        return announce.machine_alerts(self._voice, state["tag"], rows, place, moved, told_s,
                                       self._units(rows, mapped, given))

    def _units(
        self, rows: RowBatch, mapped: regimes.Mapped | None, given: Float64
    ) -> announce.Units:
        return regimes.back(mapped, self.registry.table, rows.asset, given)

    def _detect(self, rows: RowBatch) -> tuple[Float64, Float64]:
        """Raw scores float64[m, k] and per detector the evidence, float64[k, m, d]."""
        return run_all(self._steps, self.registry.table, rows.asset, rows.x)

    def _score(self, rows: RowBatch, number: Int64, score: Float64, level: Float64) -> Float64:
        fused = np.empty(len(rows))
        calibration.tell_score(
            *self._state["news"].values(), self._state["calibration"]["asset_member"],
            self._role, rows.asset, score, level, number.astype(np.float64), fused)
        return fused

    def _walk(
        self, rows: RowBatch, number: Int64, period_s: Float64, beside_s: Float64, level: Float64,
        fast: Float64, lead: Int64, evidence: Float64,
    ) -> alerts.Moved:
        asset = self._state["reference"]["asset"]
        return alerts.run(
            self._state["alerts"], WEEK_SECONDS / self.config.budget_per_week,
            self.config.alert.on_delay_rows, self.config.alert.off_delay_rows,
            self.registry.table, rows, period_s, beside_s, level, fast, lead, evidence,
            asset["warm_up"][rows.asset],
            alerts.claim_seconds(asset, rows.asset, number))

    # -- room ---------------------------------------------------------------------------------

    @property
    def _reference_rows(self) -> int:
        return min(self.config.warm_up_rows, self.config.reference_rows_limit)

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
        self._roles = windows.resolve(config.windows, registry.sensors, registry.table, tags)
        self._sensors = sensors.known(config, registry)
        told = self.shop.resolve(registry, tags)
        guessed = told and self.shop.guesses
        complete = bool(self._state) and (
            not told or len(self._state["ledger"]["asset_row"]) > 0) and (
            not guessed or len(self._state["shapes"]["asset_row"]) > 0)
        if self._state and assets <= self._assets and tags <= self._tags and complete:
            return
        self._assets = room.capacity(self._assets, assets)
        self._tags = room.capacity(self._tags, tags)
        self._state = room.grown(self._state, self._fresh(self._assets, self._tags, told, guessed))
        self._steps = steps_of(self._detectors, self._configs, [
            self._state[room.key(bound)] for bound in self._detectors])

    def _fresh(self, assets: int, tags: int, told: bool, guessed: bool) -> dict[str, State]:
        detectors = dict(zip(self._detectors, self._configs, strict=True))
        return room.allocate(
            self.config, self.shop.config, told, guessed, detectors, assets, tags,
            self._new_warm_up, self._reference_rows, self.plan.full_tags)
