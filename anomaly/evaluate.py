"""Were the failures announced, how early, and at what price in alerts? Offline only.

Input are the transitions that a finished run raised and a list of failures; output are lead times,
rates and recalls. Used by the report, the replay's summary and the benchmarks. Nothing here is ever
called while a stream is being judged: no label may reach the engine, so no module of the engine may
import this one.

The rules, the same everywhere:

* An alert begins when it fires, never at an onset that looks back.
* It warns of a failure when it *begins* inside [failure − horizon, failure − minimum].
* One already standing open when that window begins warns of nothing.
* One that begins in no failure's window and not in its aftermath is a false alarm.
* Beside every recall stands the recall by chance: what as many alerts at random times would hit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from anomaly.batches import Alert

WEEK_SECONDS = 7 * 86_400.0
#: End of an alert that was still firing when the recording ended.
OPEN_NS = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that went wrong on an asset at a known time: a stop, a breakdown, a bad part."""

    asset: str
    time_ns: int
    kind: str = "failure"


@dataclass(frozen=True, slots=True)
class Firing:
    """One alert from the transition that fired it to the one that resolved it.

    ``end_ns`` is :data:`OPEN_NS` if it never resolved; ``severity`` is that of the last transition
    seen while it was firing.
    """

    id: str
    asset: str
    kind: str
    severity: str
    begin_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Lead:
    """What the alerts were worth for one failure.

    Attributes
    ----------
    verdict : str
        ``warned``; ``standing`` (one was already open when the window began, none began inside);
        ``missed``.
    firing : Firing or None
        The earliest alert inside the window, or the one that stood.
    lead_seconds : float
        Failure − begin; NaN unless warned.
    """

    failure: Failure
    verdict: str
    firing: Firing | None
    lead_seconds: float


@dataclass(frozen=True, slots=True)
class Window:
    """How far before a failure an alert counts, in seconds.

    Parameters
    ----------
    horizon_seconds : float
        Earliest useful warning (H).
    minimum_seconds : float
        Latest useful warning (L).
    aftermath_seconds : float
        An alert that begins after failure − minimum and up to failure + aftermath is the failure
        itself being seen: neither a warning nor a false alarm.
    """

    horizon_seconds: float
    minimum_seconds: float = 0.0
    aftermath_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not (self.horizon_seconds >= self.minimum_seconds >= 0.0 <= self.aftermath_seconds):
            raise ValueError(f"horizon >= minimum >= 0 and aftermath >= 0 must hold: {self}")


def firings(alerts: Iterable[Alert]) -> list[Firing]:
    """Fold transitions, in the order in which they happened, into alerts in order of firing.

    A pending alert that never fired leaves nothing; a repeated transition changes nothing.
    """
    found: dict[str, Firing] = {}
    for alert in alerts:
        known = found.get(alert.id)
        if alert.state == "firing":
            begin = alert.time_ns if known is None else known.begin_ns
            found[alert.id] = Firing(
                alert.id, alert.asset, alert.kind, alert.severity, begin, OPEN_NS
            )
        elif alert.state == "resolved" and known is not None:
            found[alert.id] = Firing(
                known.id, known.asset, known.kind, known.severity, known.begin_ns, alert.time_ns
            )
    return sorted(found.values(), key=lambda firing: (firing.begin_ns, firing.id))


def lead_times(
    raised: Iterable[Firing], failures: Sequence[Failure], window: Window
) -> list[Lead]:
    """One :class:`Lead` per failure, in the order of ``failures``."""
    by_asset = _by_asset(raised)
    return [_lead(failure, by_asset.get(failure.asset, []), window) for failure in failures]


def false_alarms(
    raised: Iterable[Firing], failures: Sequence[Failure], window: Window
) -> list[Firing]:
    """Alerts that begin outside [failure − horizon, failure + aftermath] of all their failures."""
    before, after = _ns(window.horizon_seconds), _ns(window.aftermath_seconds)
    times = _times(failures)
    wrong = []
    for firing in raised:
        known = times.get(firing.asset, [])
        # The first failure that can still claim it: the one with failure + aftermath >= begin.
        next_one = bisect_left(known, firing.begin_ns - after)
        if next_one == len(known) or firing.begin_ns < known[next_one] - before:
            wrong.append(firing)
    return wrong


def event_recall(leads: Sequence[Lead]) -> tuple[int, int]:
    """(warned, failures): small numbers are shown as k of n, never as a percentage alone."""
    return sum(lead.verdict == "warned" for lead in leads), len(leads)


def median_lead_seconds(leads: Sequence[Lead]) -> float:
    """Median over the failures that were announced; NaN if none was."""
    warned = [lead.lead_seconds for lead in leads if lead.verdict == "warned"]
    return float(np.median(warned)) if warned else float("nan")


def chance_recall(
    raised: Iterable[Firing],
    failures: Sequence[Failure],
    window: Window,
    judged_ns: Mapping[str, tuple[int, int]],
) -> float:
    """Share of failures that as many alerts, at uniformly random times, would have announced.

    Parameters
    ----------
    judged_ns : mapping of asset to (first, last)
        The span in which the asset's alerts could have begun. Each of an asset's n alerts falls
        into a failure's window, clipped to the span, with probability p = window / span; one at
        least does with 1 − (1 − p)^n.

    Returns
    -------
    float
        0..1; NaN without failures. An asset that was never judged counts as 0.
    """
    if not failures:
        return float("nan")
    counts: dict[str, int] = {}
    for firing in raised:
        counts[firing.asset] = counts.get(firing.asset, 0) + 1
    total = 0.0
    for failure in failures:
        first, last = judged_ns.get(failure.asset, (0, 0))
        if last <= first:
            continue
        begin = max(first, failure.time_ns - _ns(window.horizon_seconds))
        end = min(last, failure.time_ns - _ns(window.minimum_seconds))
        share = max(0, end - begin) / (last - first)
        total += 1.0 - (1.0 - share) ** counts.get(failure.asset, 0)
    return total / len(failures)


def healthy_seconds(
    judged_ns: Mapping[str, tuple[int, int]],
    judged_seconds: Mapping[str, float],
    failures: Sequence[Failure],
    window: Window,
) -> float:
    """Judged machine-seconds outside every failure's window and aftermath: the false alarms' base.

    ``judged_seconds`` may be shorter than the span (gaps); windows are taken off in proportion.
    """
    times = _times(failures)
    total = 0.0
    for asset, (first, last) in judged_ns.items():
        span = last - first
        if span <= 0:
            continue
        known = np.array(times.get(asset, []), np.int64)
        end = np.clip(known + _ns(window.aftermath_seconds), first, last)
        begin = np.clip(known - _ns(window.horizon_seconds), first, last)
        # Sorted by time and all of one length, so a window overlaps only its neighbours.
        begin[1:] = np.maximum(begin[1:], end[:-1])
        covered = int(np.maximum(end - begin, 0).sum())
        total += judged_seconds.get(asset, 0.0) * (span - covered) / span
    return total


def per_week(count: int, exposure_seconds: float) -> float:
    """Alerts per machine-week of exposure; NaN without exposure."""
    return count * WEEK_SECONDS / exposure_seconds if exposure_seconds > 0.0 else float("nan")


def per_week_interval(count: int, exposure_seconds: float) -> tuple[float, float]:
    """95 % interval of the rate behind a Poisson count, per machine-week (Garwood 1936).

    With few alerts it is wide, and says so: 1 alert in a week is compatible with 0.03 to 5.6.
    """
    from scipy.special import gammaincinv  # lazily: only a finished run needs it

    if exposure_seconds <= 0.0:
        return float("nan"), float("nan")
    weeks = exposure_seconds / WEEK_SECONDS
    low = float(gammaincinv(count, 0.025)) if count else 0.0
    return low / weeks, float(gammaincinv(count + 1, 0.975)) / weeks


def achieved_over_promised(count: int, exposure_seconds: float, budget_per_week: float) -> float:
    """False alarms that came ÷ those that were promised; between 0.5 and 1.5 a promise is kept."""
    return per_week(count, exposure_seconds) / budget_per_week


def _lead(failure: Failure, raised: list[Firing], window: Window) -> Lead:
    begin = failure.time_ns - _ns(window.horizon_seconds)
    end = failure.time_ns - _ns(window.minimum_seconds)
    inside = bisect_left(raised, begin, key=lambda firing: firing.begin_ns)
    if inside < len(raised) and raised[inside].begin_ns <= end:
        lead = (failure.time_ns - raised[inside].begin_ns) / 1e9
        return Lead(failure, "warned", raised[inside], lead)
    for firing in reversed(raised[:inside]):
        if firing.end_ns >= begin:
            return Lead(failure, "standing", firing, float("nan"))
    return Lead(failure, "missed", None, float("nan"))


def _times(failures: Iterable[Failure]) -> dict[str, list[int]]:
    """Times of each asset's failures, ascending."""
    times: dict[str, list[int]] = {}
    for failure in sorted(failures, key=lambda failure: failure.time_ns):
        times.setdefault(failure.asset, []).append(failure.time_ns)
    return times


def _by_asset(raised: Iterable[Firing]) -> dict[str, list[Firing]]:
    by_asset: dict[str, list[Firing]] = {}
    for firing in sorted(raised, key=lambda firing: firing.begin_ns):
        by_asset.setdefault(firing.asset, []).append(firing)
    return by_asset


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
