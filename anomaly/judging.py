"""The second half of the composition: rows of machines in, their alerts out. No algorithm here.

    regimes ─► reference ─► leeway ─► detectors ─► calibration ─► alerts ─► outlook

``monitor.py`` calls it with the rows that are to be judged. Those of a warm-up are kept and only
followed; with the last of them the asset's references are frozen (``baseline.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomaly import (
    alerts,
    announce,
    calibration,
    leeway,
    observations,
    outlook,
    production,
    reference,
    regimes,
    windows,
)
from anomaly.baseline import Baseline
from anomaly.batches import Alert, Bool, Float64, Int8, Int64, RowBatch
from anomaly.config import MonitorConfig
from anomaly.detectors import State, run_all
from anomaly.sensors import Known


@dataclass(slots=True, eq=False)
class Judged:
    """What is said of m rows, in their order; scratch columns, filled stage by stage.

    Attributes
    ----------
    score, period_s : float64[m]
    alert : int8[m]
    detector_score : float64[m, k]
        These four as in ``ScoreBatch``.
    may_fire : bool[m]
        Whether an alert of the row's asset may be raised.
    machine_share : float64[m]
        See ``production.machine_share``; NaN = the row is followed, and nothing is told.
    """

    score: Float64
    period_s: Float64
    alert: Int8
    detector_score: Float64
    may_fire: Bool
    machine_share: Float64


def joined(parts: Sequence[Judged]) -> Judged:
    """The parts of one batch as one."""
    if len(parts) == 1:
        return parts[0]
    return Judged(*(
        np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(Judged)))


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """The stages that judge machines, over the state as it is; made anew when that is replaced.

    Attributes
    ----------
    config : MonitorConfig
    voice : announce.Voice
    shop : production.Stage
    baseline : Baseline
    known : sensors.Known
        What is known of each sensor beforehand.
    steps : sequence
        The detectors' kernels (``detectors.steps_of``).
    state : mapping of component to arrays
    """

    config: MonitorConfig
    voice: announce.Voice
    shop: production.Stage
    baseline: Baseline
    known: Known
    steps: Sequence[tuple[Any, tuple[Any, ...]]]
    state: dict[str, State]

    def run(
        self, rows: RowBatch, works: Int8 | None, produced: production.Produced | None
    ) -> tuple[Judged, list[tuple[int, Alert]]]:
        """What is said of each row, and the machines' own alerts with the places of their rows.

        ``works int8[m]``: see ``production.works``; None = every row is one of work.
        """
        machine_share = production.machine_share(self.shop.config, produced, rows)
        m, k = len(rows), len(self.steps)
        judged = Judged(np.full(m, np.nan), np.full(m, np.nan), np.zeros(m, np.int8),
                        np.full((m, k), np.nan), np.zeros(m, np.bool_), machine_share)
        made: list[tuple[int, Alert]] = []
        place, asset = np.arange(m), self.state["reference"]["asset"]
        fired = self.state["alerts"]["asset"]["state"] == alerts.FIRING
        told = asset["rows"] >= asset["muted"]
        if works is None and self.shop.guesses:
            works = np.zeros(m, np.int8)
        if works is None:
            while place.size:  # once, unless an asset proves to have too many operating modes
                place = self._judge_some(rows, place, judged, made)
        else:
            machine_share[works == observations.SETTLES] = np.nan  # followed, and nothing told
            works = self._judge_work(rows, works, judged, made)
            observations.hold(fired, told, rows.asset, works, judged.alert, judged.may_fire)
        return judged, outlook.attach(
            self.config, self.voice, self.shop, self.state, self._table, rows, made)

    def _judge_work(
        self, rows: RowBatch, works: Int8, judged: Judged, made: list[tuple[int, Alert]]
    ) -> Int8:
        """Judge the rows at which the machine does not rest; ``works`` without doubtful rests.

        What is doubtful depends on the references: they change with the row that ends a warm-up,
        and with one that begins it anew.
        """
        found, later = works.copy(), np.arange(len(rows))
        while later.size:
            now, later = self._until_learned(rows.asset, works, later)
            doubted = works[now]
            self.shop.doubt(self.state, self._table, windows.taken(rows, now), doubted)
            found[now] = doubted
            left = self._judge_some(rows, now[doubted != observations.RESTS], judged, made)
            for a in np.unique(rows.asset[left]).tolist():
                own = now[rows.asset[now] == a]
                later = np.union1d(later, own[own >= left[rows.asset[left] == a][0]])
        return found

    def _until_learned(self, asset: Int64, works: Int8, place: Int64) -> tuple[Int64, Int64]:
        """Of the rows at ``place``: those up to its asset's last one of a warm-up, and the others.

        All of an asset that is not in its warm-up, or whose rests are not doubted.
        """
        known = self.state["reference"]["asset"]
        after = np.zeros(place.size, np.bool_)
        for a in np.unique(asset[place]).tolist() if self.shop.guesses else ():
            if not known["ready"][a]:
                own = asset[place] == a
                worked = np.cumsum(own & (works[place] != observations.RESTS))
                after |= own & (worked - (works[place] != observations.RESTS)
                                >= known["warm_up"][a] - known["rows"][a])
        return place[~after], place[after]

    def _judge_some(
        self, rows: RowBatch, place: Int64, judged: Judged, made: list[tuple[int, Alert]]
    ) -> Int64:
        """Judge the rows at ``place``; returns those left over, of assets that begin anew."""
        rows = rows if place.size == len(rows) else windows.taken(rows, place)
        number, phase = np.empty(place.size, np.int64), np.empty(place.size, np.int8)
        asset_state = self.state["reference"]["asset"]
        waiting = reference.number_rows(asset_state, rows.asset, number, phase)
        judged.may_fire[place] = number >= asset_state["muted"][rows.asset]
        if waiting:
            warm, ready = np.flatnonzero(phase == 0), np.flatnonzero(phase == 1)
            made += self._warm(windows.taken(rows, warm), number[warm], judged, place[warm])
            rows, number, place = windows.taken(rows, ready), number[ready], place[ready]
        mapped = regimes.run(
            self.config.regimes, self.state["regimes"], self._table, rows.asset, rows.x)
        again = np.unique(rows.asset[mapped.left])
        rest = place[mapped.left]
        if again.size:
            stay = np.flatnonzero(~mapped.left)
            rows, number, place = windows.taken(rows, stay), number[stay], place[stay]
            mapped = mapped.taken(stay)
        x, given = leeway.run(
            self.state["leeway"], self.state["reference"]["tag"], self._table,
            rows.asset, mapped.x, np.isnan(judged.machine_share[place]), mapped.young)
        made += self._judge_ready(
            dataclasses.replace(rows, x=x), number, mapped, given, judged, place)
        for a in again.tolist():
            regimes.give_up(self.state["regimes"], a)
            self.baseline.begin_anew(self.state, a)
        return rest

    def _warm(
        self, rows: RowBatch, number: Int64, judged: Judged, place: Int64
    ) -> list[tuple[int, Alert]]:
        """Rows of assets whose reference does not stand yet: keep them, freeze where full."""
        judged.score[place], judged.detector_score[place] = self.learn(rows, number)
        unknown = np.full(len(rows), np.nan)
        nobody, nothing = np.full(len(rows), -1, np.int64), np.zeros_like(rows.x)
        moved = self._walk(rows, number, unknown, unknown, unknown, unknown, nobody, nothing,
                           np.zeros(len(rows), np.bool_))
        return announce.machine_alerts(
            self.voice, self.state["reference"]["tag"], rows, place, moved, unknown,
            regimes.back(None, self._table, rows.asset, nothing))

    def learn(self, rows: RowBatch, number: Int64) -> tuple[Float64, Float64]:
        """Keep rows of a warm-up; returns what the score and the detectors say of them."""
        state = self.state["reference"]
        reference.keep(state["asset_time"], state["tag_rows"], self._table, rows.asset,
                       rows.time_ns, rows.x, number)
        told, score = self._follow(rows, number)
        self.state["warm_up"]["asset_score"][rows.asset, number] = score
        full = number + 1 >= state["asset"]["warm_up"][rows.asset]
        for a in rows.asset[full].tolist():
            if not state["asset"]["ready"][a]:
                self.baseline.freeze(self.state, a)
        return told, score

    def learn_all(self, rows: RowBatch) -> None:
        """Learn an asset from these rows of it, all at once."""
        _, score = self._follow(rows, np.arange(len(rows)))
        self.baseline.learn(self.state, int(rows.asset[0]), rows.x, rows.time_ns, score)

    def _follow(self, rows: RowBatch, number: Int64) -> tuple[Float64, Float64]:
        """What the score and the detectors say of rows that no reference is known for."""
        score, _ = self._detect(rows)
        self.baseline.watchers.follow(self.state, rows.asset, score)
        return self._score(rows, number, score, np.full(len(rows), np.nan)), score

    def _judge_ready(
        self, rows: RowBatch, number: Int64, mapped: regimes.Mapped, given: Float64,
        judged: Judged, place: Int64,
    ) -> list[tuple[int, Alert]]:
        m, k = len(rows), len(self.steps)
        state = self.state["reference"]
        score, evidence = self._detect(rows)
        units = np.empty((m, k))
        level, fast, period_s = np.empty(m), np.empty(m), np.empty(m)
        calibration.step(
            *self.state["calibration"].values(), self.baseline.role, rows.asset, score, units,
            level, fast, period_s)
        interval_s = state["asset"]["interval_s"][rows.asset]
        period_s *= interval_s
        beside_s = self.baseline.watchers.judge(
            self.state, rows.asset, interval_s, score, units, period_s)
        total = np.zeros_like(rows.x)
        lead = np.full(m, -1, np.int64)
        calibration.blame_all(units, evidence, total, lead)
        if self.known.least.size:
            reference.heed(
                state["tag"], self.known.least, self.known.way, self._table,
                rows.asset, rows.x, total, interval_s, period_s, beside_s)
        judged.detector_score[place] = score
        judged.score[place] = self._score(rows, number, score, level)
        told_s = np.fmax(period_s, beside_s)
        young = leeway.is_young(self.state["leeway"], rows.asset)
        share = judged.machine_share[place] * np.where(young, leeway.YOUNG_SHARE, 1.0)
        judged.period_s[place] = told_s
        moved = self._walk(rows, number, period_s * share, beside_s * share, level, fast,
                           lead, total, young)
        judged.alert[place] = moved.alert
        return announce.machine_alerts(
            self.voice, state["tag"], rows, place, moved, told_s,
            regimes.back(mapped, self._table, rows.asset, given))

    def _detect(self, rows: RowBatch) -> tuple[Float64, Float64]:
        """Raw scores float64[m, k] and per detector the evidence, float64[k, m, d]."""
        return run_all(self.steps, self._table, rows.asset, rows.x)

    def _score(self, rows: RowBatch, number: Int64, score: Float64, level: Float64) -> Float64:
        fused = np.empty(len(rows))
        calibration.tell_score(
            *self.state["news"].values(), self.state["calibration"]["asset_member"],
            self.baseline.role, rows.asset, score, level, number.astype(np.float64), fused)
        return fused

    def _walk(
        self, rows: RowBatch, number: Int64, period_s: Float64, beside_s: Float64, level: Float64,
        fast: Float64, lead: Int64, evidence: Float64, young: Bool,
    ) -> alerts.Moved:
        asset = self.state["reference"]["asset"]
        return alerts.run(
            self.state["alerts"], self.config.threshold_seconds,
            self.config.alert.on_delay_rows, self.config.alert.off_delay_rows,
            self._table, rows, period_s, beside_s, level, fast, lead, evidence,
            asset["warm_up"][rows.asset],
            alerts.claim_seconds(asset, rows.asset, number, young))

    @property
    def _table(self) -> Int64:
        return self.voice.registry.table
