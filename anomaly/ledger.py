"""The ledger: every nanosecond of an asset is booked once, under one heading.

Rows in, *segments* out: stretches of one asset under one heading that follow one another without a
gap, so that their lengths add up to the wall time by construction (integer nanoseconds, nothing is
rounded). What is needed to know a heading may come later (was this a micro-stop or a stop?), so the
newest stretch can be *pending*; :func:`flush` books it by what is known so far.

A row at t says what holds *from* t on. Between two rows of an asset:

* producing: each counted part earns its nominal seconds of *at rate*; what was worked beyond is
  *slow*. A little (one row, at most one cycle) of what was earned and not used is kept, since rows
  show a part's end only so exactly.
* stopped: shorter than ``micro_stop_seconds`` a *micro-stop*, else a *stop*, from its beginning.
* state unknown, but a counter: time beyond the nominal that is up to ``slow_share`` of a cycle is
  slow, longer a micro-stop or a stop; the place of it in the cycle is not known, it is put last.
* starved, blocked, changeover: as said; suspended without a word about the cause: *starved*.
* no row for longer than the hold: *no data*. In the calendar's planned time everything but
  producing is *planned*, silence too: machines are switched off at night.

The kernels are in ``booking``. :func:`account` sums segments to losses, OEE and its three factors.
No calendar format, no names, no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomaly import booking
from anomaly.batches import Float64, Int8, Int64
from anomaly.booking import (
    AT_RATE,
    BLOCKED,
    CHANGEOVER,
    HEADINGS,
    LEARN_CYCLES,
    MICRO_STOP,
    NO_DATA,
    PLANNED,
    SEGMENT,
    SLOW,
    STARVED,
    STOP,
    Limits,
    Plan,
    Records,
    State,
)
from anomaly.errors import ConfigError

__all__ = [
    "AT_RATE", "BLOCKED", "CHANGEOVER", "DEFINITIONS", "HEADINGS", "LOSSES", "MICRO_STOP",
    "NO_DATA", "PLANNED", "SEGMENT", "SLOW", "STARVED", "STOP", "VERSION", "Account", "Booked",
    "Config", "Loss", "Observations", "Planned", "Prices", "account", "allocate", "cut", "flush",
    "no_plan", "run", "set_nominal", "summed",
]

VERSION = 2

#: Headings under which time is lost, and the factor of OEE that each of them lowers.
LOSSES = {
    SLOW: "performance", MICRO_STOP: "performance", STOP: "availability",
    STARVED: "availability", BLOCKED: "availability", CHANGEOVER: "availability",
}

#: What the figures mean; printed wherever they are shown.
DEFINITIONS = (
    "production time = wall time - planned time without production - time without data",
    "availability = (at rate + slow + micro-stops) / production time",
    "performance = at rate / (at rate + slow + micro-stops)",
    "quality = good parts / all parts",
    "OEE = availability x performance x quality",
    "a micro-stop is shorter than {minutes:g} min and lowers performance; starved and blocked "
    "lower availability and are caused by a neighbour",
    "lost parts = lost time / nominal cycle; energy under a heading is what was drawn during it",
)


@dataclass(frozen=True, slots=True)
class Config:
    """How stretches are told apart."""

    micro_stop_seconds: float = 300.0
    """A shorter stop is a micro-stop (a performance loss); five minutes is the usual line."""
    hold_seconds: float = 0.0
    """How long a row's word holds; 0 = ten usual intervals between rows, at least a minute. Set it
    to hours where a tag is only sent when it changes."""
    slow_share: float = 0.5
    """Counter alone: an excess of up to this share of a cycle is a slow cycle, not a stop."""
    products: int = 8
    """Products kept apart per asset, each with its own nominal cycle."""

    def __post_init__(self) -> None:
        if not 0.0 < self.micro_stop_seconds <= 86_400.0:
            raise ConfigError("micro_stop_seconds: must be above 0 and at most a day")
        if not 0.0 <= self.hold_seconds <= 366 * 86_400.0:
            raise ConfigError("hold_seconds: must be 0 to 366 days")
        if not 0.0 <= self.slow_share <= 100.0:
            raise ConfigError("slow_share: must be 0 to 100")
        if not 1 <= self.products <= 1000:
            raise ConfigError("products: must be 1 to 1000")


@dataclass(frozen=True, slots=True)
class Planned:
    """Planned time without production by asset, disjoint and ascending.

    Attributes
    ----------
    offsets : int64[A + 1]
        Asset a's intervals are ``offsets[a]:offsets[a + 1]``; assets beyond have none.
    start_ns, end_ns : int64[p]
        Half open.
    """

    offsets: Int64
    start_ns: Int64
    end_ns: Int64

    def columns(self) -> Plan:
        """As the kernels take it."""
        return self.offsets, self.start_ns, self.end_ns


@dataclass(frozen=True, slots=True)
class Observations:
    """n rows in order of arrival, of any assets.

    Attributes
    ----------
    asset, time_ns : int64[n]
    state : int8[n]
        Canonical (``states``), −1 = not said.
    product : int64[n]
        0 .. ``Config.products`` − 1.
    parts, rejects, energy : float64[n]
        Counters, NaN = not said. A counter that falls was reset; nothing is guessed then.
    """

    asset: Int64
    time_ns: Int64
    state: Int8
    product: Int64
    parts: Float64
    rejects: Float64
    energy: Float64


@dataclass(frozen=True, slots=True)
class Booked:
    """What n rows settle: segments, and per row the increase of its counters."""

    segments: Records
    parts: Float64
    rejects: Float64


def no_plan() -> Planned:
    """A calendar without anything in it."""
    none = np.zeros(0, np.int64)
    return Planned(np.zeros(1, np.int64), none, none)


def allocate(config: Config, assets: int) -> State:
    """Fresh state: nothing booked, no nominal cycle known."""
    return {
        "asset_row": np.zeros(assets, booking.ASSET),
        "asset_nominal": np.zeros((assets, config.products), np.int64),
        "asset_samples": np.zeros((assets, config.products), np.int64),
        "asset_sample": np.zeros((assets, config.products, LEARN_CYCLES), np.int64),
    }


def set_nominal(state: State, asset: int, product: int, seconds: float) -> None:
    """Give a product's nominal cycle, which is then not learned."""
    state["asset_nominal"][asset, product] = round(seconds * 1e9)
    state["asset_row"]["bank_ns"][asset] = round(seconds * 1e9)


def run(config: Config, state: State, planned: Planned, rows: Observations) -> Booked:
    """Book n rows; any split of them gives the same segments."""
    n = rows.asset.size
    parts, rejects = np.zeros(n), np.zeros(n)
    room = n + 6 * (2 * planned.start_ns.size + 2) + 64
    found = [np.zeros(0, SEGMENT)]
    start = 0
    while start < n:
        out = np.zeros(room, SEGMENT)
        start, count = booking.book(
            *state.values(), _parameters(config), planned.columns(), rows.asset,
            rows.time_ns, rows.state, rows.product, rows.parts, rows.rejects,
            rows.energy, start, parts, rejects, out,
        )
        found.append(out[:count])
    return Booked(np.concatenate(found), parts, rejects)


def flush(config: Config, state: State, planned: Planned, extend: bool = False) -> Records:
    """Segments of what is still open, by what is known; the state goes on as if all was said.

    Give a copy of the state to look at the present without disturbing it. ``extend``: the state of
    the last row holds for one usual interval more (the end of a recording).
    """
    assets = state["asset_row"].size
    out = np.zeros(assets * 6 * (2 * planned.start_ns.size + 2) + 64, SEGMENT)
    count = booking.close(
        *state.values(), _parameters(config), planned.columns(),
        extend, out,
    )
    return out[:count]


@dataclass(frozen=True, slots=True)
class Prices:
    """What is lost, in money; 0 = not given."""

    per_hour: float = 0.0
    """Of lost production time."""
    per_part: float = 0.0
    """Of a rejected part."""
    per_kilowatt_hour: float = 0.0
    """Of energy drawn while nothing was made at rate."""

    def __post_init__(self) -> None:
        if not min(self.per_hour, self.per_part, self.per_kilowatt_hour) >= 0.0:
            raise ConfigError("per_hour, per_part, per_kilowatt_hour: must not be below 0")

    @property
    def given(self) -> bool:
        """Whether there is any."""
        return max(self.per_hour, self.per_part, self.per_kilowatt_hour) > 0.0


@dataclass(frozen=True, slots=True)
class Loss:
    """One heading's loss. ``parts`` NaN = no nominal cycle is known; ``energy`` in its unit."""

    heading: str
    factor: str
    seconds: float
    parts: float
    energy: float
    money: float


@dataclass(frozen=True, slots=True)
class Account:
    """The sums over some segments.

    Attributes
    ----------
    booked_ns : int64[9]
        By heading; its sum is the wall time, to the nanosecond.
    lost_parts : float64[9]
        Lost time over the nominal cycle of the product; NaN where one is not known.
    energy : float64[9]
        Drawn under each heading, in the unit of the counter.
    parts, rejects : float
    """

    booked_ns: Int64
    lost_parts: Float64
    energy: Float64
    parts: float
    rejects: float

    @property
    def wall_seconds(self) -> float:
        """Everything that was booked."""
        return int(self.booked_ns.sum()) / 1e9

    @property
    def production_seconds(self) -> float:
        """Wall time less planned time and time without data."""
        idle = int(self.booked_ns[PLANNED] + self.booked_ns[NO_DATA])
        return (int(self.booked_ns.sum()) - idle) / 1e9

    @property
    def availability(self) -> float:
        """0..1; NaN without production time."""
        return _ratio(self._running_seconds, self.production_seconds)

    @property
    def performance(self) -> float:
        """0..1; NaN where nothing ran."""
        return _ratio(int(self.booked_ns[AT_RATE]) / 1e9, self._running_seconds)

    @property
    def quality(self) -> float:
        """0..1; NaN without parts."""
        return _ratio(self.parts - self.rejects, self.parts)

    @property
    def oee(self) -> float:
        """Product of the three factors; quality counts as 1 where parts are not counted."""
        quality = self.quality if self.parts > 0.0 else 1.0
        return self.availability * self.performance * quality

    @property
    def _running_seconds(self) -> float:
        return int(self.booked_ns[[AT_RATE, SLOW, MICRO_STOP]].sum()) / 1e9

    def losses(self, prices: Prices | None = None) -> list[Loss]:
        """Where time and parts went, the largest first (Pareto); headings without loss left out.

        Rejects are a loss of parts, and of the time that the making took.
        """
        given = prices or Prices()
        found = [
            Loss(HEADINGS[h], factor, seconds, float(self.lost_parts[h]), float(self.energy[h]),
                 seconds / 3600.0 * given.per_hour
                 + float(self.energy[h]) * given.per_kilowatt_hour)
            for h, factor in LOSSES.items() if (seconds := int(self.booked_ns[h]) / 1e9) > 0.0
        ]
        if self.rejects > 0.0:
            share = self.rejects / max(self.parts, 1.0)
            seconds = share * int(self.booked_ns[AT_RATE]) / 1e9
            energy = share * float(self.energy[AT_RATE])
            money = self.rejects * given.per_part
            found.append(Loss("rejects", "quality", seconds, self.rejects, energy, money))
        return sorted(found, key=lambda loss: -loss.seconds)


def account(
    segments: Records, nominal_ns: Int64, parts: float = 0.0, rejects: float = 0.0
) -> Account:
    """Sum segments, in integers; ``nominal_ns int64[A, products]`` is the state's, 0 = unknown."""
    length = segments["end_ns"] - segments["start_ns"]
    booked = np.zeros(len(HEADINGS), np.int64)
    np.add.at(booked, segments["heading"], length)
    energy, lost = np.zeros(len(HEADINGS)), np.zeros(len(HEADINGS))
    np.add.at(energy, segments["heading"], segments["energy"])
    nominal = nominal_ns[segments["asset"], segments["product"]].astype(np.float64)
    nominal[nominal == 0.0] = np.nan
    np.add.at(lost, segments["heading"], length / nominal)
    lost[[AT_RATE, PLANNED, NO_DATA]] = 0.0
    return Account(booked, lost, energy, parts, rejects)


def summed(accounts: Sequence[Account]) -> Account:
    """One account of several: nothing is booked twice where they are of different times."""
    return Account(
        np.sum([one.booked_ns for one in accounts], axis=0),
        np.sum([one.lost_parts for one in accounts], axis=0),
        np.sum([one.energy for one in accounts], axis=0),
        sum(one.parts for one in accounts), sum(one.rejects for one in accounts))


def cut(segments: Records, edges_ns: Int64) -> Records:
    """The same segments, cut at the edges: none of the result reaches across one.

    ``edges_ns int64[k]`` ascending, such as the beginnings and ends of shifts. Lengths stay exact;
    energy is shared out by length.
    """
    first = np.searchsorted(edges_ns, segments["start_ns"], side="right")
    last = np.searchsorted(edges_ns, segments["end_ns"], side="left")
    pieces = last - first + 1
    found = np.repeat(segments, pieces)
    begins = np.cumsum(pieces) - pieces
    place = np.arange(found.size) - np.repeat(begins, pieces)
    edge = np.repeat(first, pieces) + place
    inner = place > 0
    found["start_ns"][inner] = edges_ns[edge[inner] - 1]
    before_last = place < np.repeat(pieces, pieces) - 1
    found["end_ns"][before_last] = edges_ns[edge[before_last]]
    whole = np.repeat(segments["end_ns"] - segments["start_ns"], pieces)
    found["energy"] *= (found["end_ns"] - found["start_ns"]) / whole
    return found


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else float("nan")


def _parameters(config: Config) -> Limits:
    return (
        round(config.micro_stop_seconds * 1e9), round(config.hold_seconds * 1e9), config.slow_share
    )
