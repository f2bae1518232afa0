"""The families of ``/metrics`` that are small: numbers in, text out. No state, no lock, no clock.

The large ones, a series per machine, are written by ``telemetry.py`` from its arrays. One function
per subject, so that what a dashboard may rely on can be read in one place.
"""

from __future__ import annotations

import functools
import importlib.metadata
import math
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anomaly.batches import Alert, Float64
from streams.alarm_performance import AlarmNumbers, source_of
from streams.asset_board import SensorView
from streams.exposition import family
from streams.losses_feed import ShiftLosses

#: Upper ends of the stage histograms: from a small batch to a restore.
STAGE_BOUNDS_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)

#: Name, kind, help, column of the slots, and how the machines beyond the cap are put together.
ASSET_FAMILIES: tuple[tuple[str, str, str, str, Callable[[Any], Any]], ...] = (
    ("andon_asset_return_period_seconds", "gauge",
     "Attention: when healthy, a row as odd as the latest comes about once in so long.",
     "period_s", np.max),
    ("andon_asset_rows_total", "counter", "Rows seen of the asset.", "rows", np.sum),
    ("andon_asset_blind_sensors", "gauge",
     "Sensors of the asset that say nothing (stuck, silent, never changed, too late).",
     "blind", np.sum),
    ("andon_asset_alerts_total", "counter", "Alerts of the asset that began to fire.",
     "fired", np.sum),
)

#: Numbers of the worker that are exported as they are: metric, kind, help.
TOTALS: Mapping[str, tuple[str, str, str]] = {
    "commits": ("andon_commits_total", "counter", "Transactions that were committed."),
    "aborts": ("andon_aborts_total", "counter",
               "Transactions that did not happen; their input was read again."),
    "checkpoints": ("andon_checkpoints_total", "counter", "Times the state was written."),
    "checkpoint_bytes": ("andon_checkpoint_bytes_total", "counter", "State written."),
    "restores": ("andon_restores_total", "counter", "Partitions taken over with their state."),
    "restore_seconds": ("andon_restore_seconds_total", "counter", "Time spent on that."),
    "commit_seconds": ("andon_commit_seconds_total", "counter", "Time spent committing."),
    "checkpoint_seconds": ("andon_checkpoint_seconds_total", "counter",
                           "Time spent making checkpoints."),
}


@dataclass(slots=True)
class Service:
    """The service's own numbers, as its loop last told them; empty = not told.

    Times are seconds since 1970; ``totals`` has the keys of :data:`TOTALS`.
    """

    messages: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    dead: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    lag: Mapping[int, int] = field(default_factory=dict)
    checkpoint_at: Mapping[int, float] = field(default_factory=dict)
    totals: Mapping[str, float] = field(default_factory=dict)
    ready: bool = False
    moved_at: float = math.nan
    reload_successful: bool = True
    reloaded_at: float = math.nan


@dataclass(frozen=True, slots=True)
class Progress:
    """One partition: readings by reason, rows, and the newest event time (0 = none)."""

    readings: Mapping[str, int]
    rows: int
    newest_ns: int


def alert_families(alerts: Sequence[Alert], limit: int, left: dict[str, int]) -> Iterator[bytes]:
    """What is firing, with evidence and time left; ``left`` is told how many the cap left out."""
    left["alert"] = max(0, len(alerts) - limit)
    active: dict[tuple[tuple[str, str], ...], float] = {}
    onset, share, time_left = dict(active), dict(active), dict(active)
    for alert in alerts[:limit]:
        asset, kind, sensor = source_of(alert)
        base = (("asset", asset), ("kind", kind), ("sensor", sensor))
        whole = (*base, ("severity", alert.severity))
        active[whole] = 1.0
        onset[whole] = min(onset.get(whole, math.inf), alert.onset_ns / 1e9)
        for part in alert.contributions:
            share[(("asset", asset), ("kind", kind), ("sensor", part.sensor))] = part.share
        quantiles = zip(("0.1", "0.5", "0.9"), alert.time_left_seconds or (), strict=False)
        for quantile, seconds in quantiles:
            time_left[(*base, ("quantile", quantile))] = seconds
    for name, text, found in (
        ("andon_alert_active", "1 while the alert is firing.", active),
        ("andon_alert_onset_timestamp_seconds", "When it began, by the data's own time.", onset),
        ("andon_alert_contribution_ratio", "A sensor's share in the evidence.", share),
        ("andon_alert_time_left_seconds", "Time until the limit, by probability.", time_left),
    ):
        yield family(name, "gauge", text, [(dict(key), value) for key, value in found.items()])


def sensor_families(
    views: Sequence[SensorView], limit: int, left: dict[str, int]
) -> Iterator[bytes]:
    """Value and expected band of the sensors in view."""
    value: list[tuple[dict[str, str], float]] = []
    band: list[tuple[dict[str, str], float]] = []
    left["sensor"] = 0
    for view in views:
        room = max(0, limit - len(value))
        left["sensor"] += max(0, len(view.sensors) - room)
        for c, sensor in enumerate(view.sensors[:room]):
            labels = {"asset": view.asset, "sensor": sensor}
            value.append((labels, float(view.value[c])))
            band += [(labels | {"bound": bound}, float(column[c])) for bound, column in (
                ("low", view.low), ("centre", view.centre), ("high", view.high))]
    yield family("andon_sensor_value", "gauge",
                 "Latest value, in the sensor's own unit: of assets in alert, and of a list.",
                 value)
    yield family("andon_sensor_expected_value", "gauge",
                 "Expected band of the sensor: low, centre and high.", band)


def loss_families(
    losses: Mapping[tuple[str, str], float], limit: int, left: dict[str, int]
) -> Iterator[bytes]:
    """Where the time went, by heading of the ledger."""
    named = dict.fromkeys(asset for asset, _ in losses)
    told = set(list(named)[:limit])
    left["loss"] = len(named) - len(told)
    yield family(
        "andon_loss_seconds_total", "counter", "Time lost, by heading of the ledger.",
        [({"asset": asset, "heading": heading}, seconds)
         for (asset, heading), seconds in losses.items() if asset in told])


def shift_families(
    shifts: Mapping[str, ShiftLosses], limit: int, left: dict[str, int]
) -> Iterator[bytes]:
    """How shift and orders stand, what was lost in money, and levels against the reference."""
    told = dict(list(shifts.items())[:limit])
    left["loss"] = max(left.get("loss", 0), len(shifts) - len(told))
    yield family(
        "andon_shift_oee_ratio", "gauge",
        "OEE of the present shift, and of the kept shifts before it.",
        [({"asset": asset, "shift": which}, value) for asset, shift in told.items()
         for which, value in (("present", shift.oee), ("earlier", shift.earlier_oee))
         if value == value])
    yield family(
        "andon_shift_factor_ratio", "gauge",
        "Availability, performance and quality of the present shift; their product is the OEE.",
        [({"asset": asset, "factor": factor}, value) for asset, shift in told.items()
         for factor, value in shift.factors.items()])
    for name, text, column in (
        ("andon_order_lost_seconds", "Time lost on each of the latest orders.", "seconds"),
        ("andon_order_oee_ratio", "OEE of each of the latest orders.", "oee"),
        ("andon_order_parts", "Parts made for each of the latest orders.", "parts"),
    ):
        yield family(name, "gauge", text, [
            ({"asset": asset, "order": order.name}, value) for asset, shift in told.items()
            for order in shift.orders if (value := float(getattr(order, column))) == value])
    for name, text, column in (
        ("andon_booked_seconds_total", "Every second since the beginning of the state, by heading "
         "of the ledger, lost or not; their sum is the wall time.", "booked_total"),
        ("andon_loss_money_total", "What was lost, in money, by heading of the ledger; only where "
         "prices are given.", "money_total"),
        ("andon_loss_parts_total", "Parts not made in the time lost, and rejects, by heading.",
         "parts_total"),
        ("andon_loss_energy_total", "Energy drawn in the time lost, by heading, in the meter's "
         "own unit.", "energy_total"),
    ):
        yield family(name, "counter", text, [
            ({"asset": asset, "heading": heading}, value) for asset, shift in told.items()
            for heading, value in getattr(shift, column).items()])
    yield family(
        "andon_reference_ratio", "gauge",
        "Level of late over the frozen reference: cycle time, energy per part, short stops, "
        "rejects, power at rest; 1 is as usual.",
        [({"asset": asset, "kind": kind}, recent / usual) for asset, shift in told.items()
         for kind, usual, recent in dict((one[0], one) for one in shift.trend).values()
         if usual > 0.0])


def alarm_families(numbers: AlarmNumbers) -> Iterator[bytes]:
    """The alarm system's own performance (ISA-18.2)."""
    for name, text, value in (
        ("andon_alarms_last_day", "Alarms of the last 24 h: up to 150 are manageable, "
         "300 need action.", numbers.last_day),
        ("andon_alarms_recent", "Alarms of the last 10 min; more than 10 are a flood.",
         numbers.last_ten_minutes),
        ("andon_alarm_flood", "1 during a flood.", numbers.flood),
        ("andon_alarms_active", "Alarms that are active now.", numbers.active),
        ("andon_alarms_stale", "Alarms active for more than 24 h.", numbers.stale),
        ("andon_alarm_sources_chattering",
         "Sources that returned to normal 3 times within a minute, in the last 24 h.",
         numbers.chattering),
        ("andon_alarms_critical_ratio",
         "Share of the highest severity in the last 24 h; should stay below 0.05.",
         numbers.critical_ratio),
    ):
        yield family(name, "gauge", text, [({}, float(value))])
    yield family("andon_alarm_worst_sources", "gauge",
                 "Alarms in the last 24 h of the ten worst assets.",
                 [({"asset": asset}, float(count)) for asset, count in numbers.worst])
    yield family("andon_alarms_forgotten_total", "counter",
                 "Alarms beyond what these counts can hold.", [({}, float(numbers.forgotten))])


def stream_families(progress: Mapping[int, Progress]) -> Iterator[bytes]:
    """Readings by what became of them, rows, and how far the data's own time is."""
    told = sorted(progress.items())
    yield family(
        "andon_readings_total", "counter",
        "Readings by what became of them, since the beginning of the state.",
        [({"partition": str(p), "reason": reason}, float(n))
         for p, lane in told for reason, n in lane.readings.items()])
    yield family("andon_rows_total", "counter", "Rows judged or learned from.",
                 [({"partition": str(p)}, float(lane.rows)) for p, lane in told])
    yield family("andon_event_timestamp_seconds", "gauge", "Newest time seen in the data.",
                 [({"partition": str(p)}, lane.newest_ns / 1e9) for p, lane in told
                  if lane.newest_ns])


def service_families(service: Service) -> Iterator[bytes]:
    """The service itself: readiness, messages, lag, checkpoints, settings."""
    yield family(
        "andon_messages_total", "counter",
        "Messages by what became of them, since the beginning of the state.",
        [({"partition": str(p), "outcome": outcome}, float(n))
         for p, counts in sorted(service.messages.items()) for outcome, n in counts.items()])
    yield family(
        "andon_dead_letters_total", "counter", "Messages that could not be used, by reason.",
        [({"partition": str(p), "reason": reason}, float(n))
         for p, counts in sorted(service.dead.items()) for reason, n in counts.items()])
    yield family("andon_lag_messages", "gauge", "Messages that wait in the topic.",
                 [({"partition": str(p)}, float(n)) for p, n in sorted(service.lag.items())])
    yield family("andon_checkpoint_timestamp_seconds", "gauge", "When the state was last written.",
                 [({"partition": str(p)}, at) for p, at in sorted(service.checkpoint_at.items())])
    for key, (name, kind, text) in TOTALS.items():
        if key in service.totals:
            yield family(name, kind, text, [({}, float(service.totals[key]))])
    for name, text, value in (
        ("andon_ready", "1 when the partitions held are caught up.", float(service.ready)),
        ("andon_loop_timestamp_seconds", "When the loop last came round.", service.moved_at),
        ("andon_config_last_reload_successful", "0 when the last settings were refused.",
         float(service.reload_successful)),
        ("andon_config_last_reload_success_timestamp_seconds",
         "When the settings in force were read.", service.reloaded_at),
    ):
        yield family(name, "gauge", text, [({}, value)])


def stage_family(stages: Mapping[str, Float64]) -> bytes:
    """Histograms of the stages: counts per bound, then beyond, then the sum of seconds."""
    name = "andon_stage_seconds"
    lines = [family(name, "histogram", "Time of each stage of a turn of the loop.", [])]
    for stage, counts in sorted(stages.items()):
        whole = np.cumsum(counts[:-1])
        for bound, count in zip((*map(str, STAGE_BOUNDS_SECONDS), "+Inf"), whole, strict=True):
            lines.append(_line(f"{name}_bucket", {"stage": stage, "le": bound}, float(count)))
        lines.append(_line(f"{name}_sum", {"stage": stage}, float(counts[-1])))
        lines.append(_line(f"{name}_count", {"stage": stage}, float(whole[-1])))
    return b"".join(lines)


def by_label(name: str, text: str, values: Mapping[str, float], label: str) -> bytes:
    """A gauge with one closed label."""
    return family(name, "gauge", text, [({label: key}, value) for key, value in values.items()])


@functools.cache
def build_info() -> bytes:
    """Which program this is."""
    try:
        version = importlib.metadata.version("andon")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        version = "checkout"
    labels = {"version": version, "python": platform.python_version(),
              "numpy": np.__version__, "numba": importlib.metadata.version("numba")}
    return family("andon_build_info", "gauge", "The program and what it stands on.",
                  [(labels, 1.0)])


def _line(name: str, labels: Mapping[str, str], value: float) -> bytes:
    """One sample without the head of its family."""
    return family(name, "", "", [(labels, value)]).split(b"\n", 2)[2]
