"""Every injection changes what it should, from its start on, and nothing before."""

from __future__ import annotations

import numpy as np
import pytest

from streams.simulate import (
    KINDS,
    SENSOR_NAMES,
    Injection,
    SimulationError,
    simulate,
)
from streams.simulation import line
from tests.simulated_line import HOUR, START, STATION, Recording, assert_conserved, same, small_line


@pytest.fixture(scope="module")
def healthy() -> Recording:
    return Recording(small_line())


def inject(kind: str, size: float | None = None, **changes: object) -> Recording:
    default = next(k.default_size for k in KINDS if k.name == kind)
    fault = Injection(kind, STATION, START, HOUR, default if size is None else size)
    return Recording(small_line(**changes), (fault,))


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_nothing_changes_before_the_start_and_something_after(
    kind: str, healthy: Recording
) -> None:
    faulty = inject(kind)
    if kind == "clock_jump":  # its rows are known by their order, not by their time
        first = int(np.flatnonzero(faulty.time_ns != healthy.time_ns)[0])
        assert healthy.seconds[first] == START
        assert faulty.values.tobytes() == healthy.values.tobytes()
    else:
        assert same(healthy, faulty, until=START)
        assert not same(healthy, faulty)
    assert_conserved(faulty)


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS if kind.on_sensor])
@pytest.mark.parametrize("sensor", ["bearing_celsius", "power_kilowatts", "state"])
def test_a_sensor_fault_touches_one_channel_of_one_station(
    kind: str, sensor: str, healthy: Recording
) -> None:
    fault = Injection(kind, STATION, START, HOUR, 1.0, sensor)
    faulty = Recording(small_line(), (fault,))
    column = SENSOR_NAMES.index(sensor)
    different = faulty.values != healthy.values
    different &= ~(np.isnan(faulty.values) & np.isnan(healthy.values))
    rows, columns = np.nonzero(different)
    assert set(columns) == {column}
    assert set(faulty.asset[rows]) == {STATION}
    at = faulty.seconds[rows]
    assert at.min() >= START
    assert at.max() < START + HOUR
    assert np.array_equal(faulty.bookings, healthy.bookings)


def test_bearing_wear_ramps_to_a_stop(healthy: Recording) -> None:
    faulty = inject("bearing_wear", 5.0, shifts=())
    sound = Recording(small_line(shifts=()))
    name = "vibration_millimetres_per_second"
    ends = [np.percentile(r.during(name, START + 3400, START + HOUR), 90) for r in (faulty, sound)]
    assert ends[0] / ends[1] == pytest.approx(5.5, rel=0.15)
    early = [np.percentile(r.during(name, START, START + 600), 90) for r in (faulty, sound)]
    assert early[0] / early[1] < 1.15
    hot = faulty.during("bearing_celsius", START + 3500, START + HOUR).mean()
    assert hot > sound.during("bearing_celsius", START + 3500, START + HOUR).mean() + 4.0
    stop = faulty.during("state", START + HOUR, START + HOUR + 1800.0)
    assert set(stop) == {float(line.STOPPED)}
    event = faulty.truth["events"][0]
    assert event["failure_time"] == event["end"] == "2026-03-02T08:00:00Z"
    assert "vibration_millimetres_per_second" in event["sensors"]
    # The stop starves the next station and blocks the one before.
    assert faulty.booked("stop") == 1800.0
    assert faulty.booked("starved", 2) > sound.booked("starved", 2) + 1000.0
    assert faulty.booked("blocked", 0) > sound.booked("blocked", 0) + 1000.0
    assert healthy.truth["events"] == []


def test_leak_lowers_the_pressure_and_slows_cycles(healthy: Recording) -> None:
    faulty = inject("leak", 0.3)
    late = (START + 3000.0, START + HOUR)
    lost = (
        faulty.during("pressure_bar", *late).mean() / healthy.during("pressure_bar", *late).mean()
    )
    assert lost == pytest.approx(1.0 - 0.3 * 3300 / 3600, abs=0.01)
    assert faulty.cycle_seconds(*late).mean() > healthy.cycle_seconds(*late).mean() + 0.10


def test_overload_draws_current_and_heats_the_motor() -> None:
    sound, faulty = Recording(small_line(shifts=())), inject("motor_overload", 0.3, shifts=())
    late = (START + 2000.0, START + HOUR)

    def working(r: Recording) -> float:
        amperes = r.during("current_amperes", *late)
        return float(amperes[r.during("state", *late) == line.EXECUTE].mean())

    assert 1.18 < working(faulty) / working(sound) < 1.31
    motors = [r.during("motor_celsius", *late).mean() for r in (faulty, sound)]
    assert motors[0] > motors[1] + 6.0


def test_overheating_trips_the_motor() -> None:
    sound, faulty = Recording(small_line(shifts=())), inject("overheating", 0.8, shifts=())
    end = (START + 3500.0, START + HOUR)
    rise = faulty.during("motor_celsius", *end).mean() - sound.during("motor_celsius", *end).mean()
    assert rise > 6.0
    assert faulty.booked("stop") > 0.0
    np.testing.assert_array_equal(
        faulty.during("current_amperes", START, START + HOUR),
        sound.during("current_amperes", START, START + HOUR),
    )


@pytest.mark.parametrize("kind", ["tool_wear", "reject_rate"])
def test_more_rejects(kind: str) -> None:
    long = {"duration_seconds": 12 * HOUR, "shifts": (), "product_runs": ()}
    sound = Recording(small_line(**long))
    fault = Injection(kind, STATION, START, 11 * HOUR, 8.0)
    faulty = Recording(small_line(**long), (fault,))
    counts = [r.channel("rejects_count")[-1] for r in (faulty, sound)]
    assert counts[0] > 3.0 * counts[1]
    if kind == "reject_rate":
        # The same cycles, only scrapped more often.
        own = [r.cycles[r.cycles["station"] == STATION] for r in (faulty, sound)]
        np.testing.assert_array_equal(*(cycles["work_scans"][:900] for cycles in own))
    else:
        late = (11 * HOUR, 12 * HOUR)
        assert (
            faulty.during("power_kilowatts", *late).mean()
            > 1.02 * sound.during("power_kilowatts", *late).mean()
        )


@pytest.mark.parametrize("size", [0.01, 0.02, 0.05, 0.10])
def test_slow_cycles_are_slower_by_just_that(size: float, healthy: Recording) -> None:
    faulty = inject("slow_cycle", size)
    during = (START, START + HOUR)
    ratio = np.median(faulty.cycle_seconds(*during)) / np.median(healthy.cycle_seconds(*during))
    assert ratio == pytest.approx(1.0 + size, abs=0.006)
    assert faulty.booked("slow") > healthy.booked("slow")


def test_energy_per_part_drifts_by_the_day() -> None:
    days = {"duration_seconds": 3 * 86_400.0, "row_interval_seconds": 10.0, "shifts": (),
            "product_runs": (), "initial_fouling": 0.0}  # fmt: skip
    sound = Recording(small_line(**days))
    fault = Injection("energy_drift", STATION, 86_400.0, 2 * 86_400.0, 0.05)
    faulty = Recording(small_line(**days), (fault,))
    last = (2.5 * 86_400.0, 3 * 86_400.0)
    energy = [np.ptp(r.during("energy_kilowatt_hours", *last)) for r in (faulty, sound)]
    share_of_work = 0.72  # the rest is idle power
    rise = 1.75 * 0.05 * share_of_work
    assert energy[0] / energy[1] == pytest.approx(1.0 + rise, abs=0.015)
    np.testing.assert_array_equal(faulty.bookings, sound.bookings)
    np.testing.assert_array_equal(
        faulty.channel("current_amperes"), sound.channel("current_amperes")
    )


def test_idle_energy_is_drawn_while_waiting_only(healthy: Recording) -> None:
    faulty = inject("idle_energy", 1.0)
    late = (START + 1.0, START + HOUR)
    state = healthy.during("state", *late)
    before = np.concatenate(([0.0], state[:-1]))
    power = [r.during("power_kilowatts", *late) for r in (faulty, healthy)]
    waits = (state == line.RESETTING) & (before == line.RESETTING)
    works = (state == line.EXECUTE) & (before == line.EXECUTE)
    ratio = [power[i][waits].mean() for i in (0, 1)]
    assert ratio[0] / ratio[1] == pytest.approx(2.0, abs=0.02)
    changed = power[0][works] != power[1][works]
    assert changed.mean() < 0.1  # only the seconds in which a part was handed over


def test_loss_after_a_changeover_begins_with_it(healthy: Recording) -> None:
    faulty = inject("changeover_loss", 0.08)
    changed = 4200.0 + 700.0
    assert np.median(faulty.cycle_seconds(changed, START + HOUR)) > 1.07
    assert same(healthy, faulty, until=4200.0)
    alone = Recording(
        small_line(product_runs=()), (Injection("changeover_loss", STATION, START, HOUR, 0.08),)
    )
    assert same(alone, Recording(small_line(product_runs=())))


def test_unplanned_stop() -> None:
    sound = Recording(small_line(shifts=(), product_runs=()))
    long, short = (
        Recording(
            small_line(shifts=(), product_runs=()),
            (Injection("unplanned_stop", STATION, START, seconds, 1.0),),
        )
        for seconds in (900.0, 60.0)
    )
    assert long.booked("stop") == 900.0
    assert short.booked("stop") == 0.0
    jams = sound.booked("micro_stop")
    assert short.booked("micro_stop") == pytest.approx(60.0 + jams, abs=60.0)
    assert long.truth["events"][0]["failure_time"] == "2026-03-02T07:00:00Z"


def test_sensor_faults_on_the_reading(healthy: Recording) -> None:
    span = (START, START + HOUR)
    frozen = inject("sensor_frozen").during("bearing_celsius", *span)
    last = healthy.during("bearing_celsius", 0.0, START)[-1]
    assert set(frozen) == {last}
    offset = inject("sensor_offset", 4.0).during("bearing_celsius", *span)
    np.testing.assert_allclose(offset - healthy.during("bearing_celsius", *span), 4.0, atol=1e-9)
    half = inject("sensor_dropout", 0.5).during("pressure_bar", *span)
    assert np.isnan(half).mean() == pytest.approx(0.5, abs=0.05)
    assert np.isnan(inject("sensor_dropout", 1.0).during("pressure_bar", *span)).all()
    noisy = inject("sensor_noise", 5.0).during("motor_celsius", *span)
    extra = noisy - healthy.during("motor_celsius", *span)
    assert extra.std() == pytest.approx(5.0 * 0.15, rel=0.1)


def test_gap_and_clock(healthy: Recording) -> None:
    gap = inject("data_gap")
    missing = healthy.time_ns.size - gap.time_ns.size
    assert missing == HOUR
    assert gap.booked("no_data") == HOUR
    assert np.all(np.diff(gap.time_ns) >= 0)
    jump = inject("clock_jump", -120.0)
    late = healthy.time_ns - jump.time_ns
    inside = (healthy.asset == STATION) & (healthy.seconds >= START)
    inside &= healthy.seconds < START + HOUR
    assert set(late[inside]) == {120 * 10**9}
    assert not late[~inside].any()


@pytest.mark.parametrize(
    "fault, word",
    [
        (Injection("rust", 0, 0.0, 1.0, 1.0), "no injection 'rust'"),
        (Injection("leak", 3, 0.0, 1.0, 0.1), "no station 3"),
        (Injection("leak", -1, 0.0, 1.0, 0.1), "no station -1"),
        (Injection("leak", 0, 9e9, 1.0, 0.1), "outside the recording"),
        (Injection("leak", 0, float("nan"), 1.0, 0.1), "outside the recording"),
        (Injection("leak", 0, 0.0, 0.0, 0.1), "not positive"),
        (Injection("leak", 0, 0.0, 1.0, 2.0), "size 2.0"),
        (Injection("leak", 0, 0.0, 1.0, float("nan")), "size nan"),
        (Injection("leak", 0, 0.0, 1.0, 0.1, "state"), "takes no sensor"),
        (Injection("sensor_offset", 0, 0.0, 1.0, 1.0, "humidity"), "no sensor 'humidity'"),
    ],
)
def test_a_bad_injection_is_refused_at_once(fault: Injection, word: str) -> None:
    with pytest.raises(SimulationError, match=word):
        simulate(small_line(), (fault,))
