"""``python -m benchmarks.sisters``: is a machine judged better against its sister machines?

Not a part of the engine: the measurement that decided so. A fleet's recording (C-MAPSS FD001, IMS
test 2; ``ANDON_DATA``) goes through the engine as it is, and with every value less what its sisters
have in common, then with that only where the warm-up speaks for it. What they have in common is the
median over the machines that spoke at the *previous* event time of value less own warm-up median,
so nothing depends on the order within one time. Each fleet is judged as recorded and with a
common cause added to all its sensors: a slow swing (AR 0.98) of so many deviations, seeded.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from anomaly.batches import Float64
from benchmarks.quality import Case, Recording, cases, has_set, measure
from benchmarks.quality.in_process import andon_in_process
from benchmarks.quality.outcomes import MAIN_BUDGET
from benchmarks.quality.tables import all_rows

#: Fewest sisters that have anything in common: the median of two is their mean.
SISTERS_LEAST = 3
#: Share of the median sensor's warm-up variance that the sisters must explain.
EXPLAINED_LEAST = 0.5
SWINGS = (0.0, 1.0, 3.0)
_USAGE_EXIT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 2 where there is no data."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sisters", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    if not (has_set("cmapss") and has_set("ims")):
        print("no C-MAPSS and IMS recordings: set ANDON_DATA", file=sys.stderr)
        return _USAGE_EXIT
    print("| fleet, common swing | judged | recall | by chance | lead, hours | false | explained |")
    print("|---|---|---|---|---|---|---|")
    for case in _fleets():
        for swing in SWINGS:
            swung = dataclasses.replace(
                case, recording=with_swing(case.recording, swing, options.seed))
            for line in _lines(f"{case.recording.name}, {swing:g}", swung):
                print(line, flush=True)
    return 0


def _fleets() -> Iterator[Case]:
    yield next(case for case in cases("cmapss") if case.recording.name == "train_FD001")
    yield from cases("ims")


def _lines(words: str, case: Case) -> Iterator[str]:
    plain, common = case.recording, in_common(case.recording, case.warm_up_rows)
    against = dataclasses.replace(plain, x=plain.x - common)
    explained = explained_share(plain, common, case.warm_up_rows)
    chosen = against if explained >= EXPLAINED_LEAST else plain
    for judged, recording in (
        ("alone", plain), ("against sisters", against), ("as the warm-up says", chosen),
    ):
        outcome = measure(
            dataclasses.replace(case, recording=recording), andon_in_process(), (MAIN_BUDGET,))
        row = {row.id.split("-", 3)[-1] if "EVENT" in row.id else row.id: row
               for row in all_rows([outcome])}
        yield (f"| {words} | {judged} | {row['R'].value:.2f} | {row['CHANCE'].value:.2f} "
               f"| {row['LEAD'].value / 3600:.1f} | {row['Q-PROMISE-ROWS'].detail} "
               f"| {explained:.2f} |")


def with_swing(recording: Recording, deviations: float, seed: int) -> Recording:
    """The fleet with a common slow swing of so many deviations in every sensor."""
    rng = np.random.default_rng(seed)
    times, place = np.unique(recording.time_ns, return_inverse=True)
    swing = np.zeros(times.size)
    for i in range(1, times.size):
        swing[i] = 0.98 * swing[i - 1] + 0.2 * rng.normal()
    width = recording.x.shape[1]
    size = deviations * np.nanstd(recording.x, axis=0) * rng.uniform(0.3, 1.0, width)
    return dataclasses.replace(recording, x=recording.x + swing[place][:, None] * size)


def in_common(recording: Recording, warm_up_rows: int) -> Float64:
    """What a machine's sisters have in common at each row, float64[n, d]; 0 with too few."""
    x, asset = recording.x, recording.asset
    usual = {
        a: np.nanmedian(x[:warm_up_rows][asset[:warm_up_rows] == a], axis=0)
        for a in np.unique(asset[:warm_up_rows]).tolist()
    }
    found = np.zeros(x.shape)
    order = np.argsort(recording.time_ns, kind="stable")
    begins = np.flatnonzero(np.diff(recording.time_ns[order], prepend=-1))
    before: list[Float64] = []
    for rows in np.split(order, begins[1:]):
        if len(before) >= SISTERS_LEAST:
            found[rows] = np.nan_to_num(np.nanmedian(np.stack(before), axis=0))
        before = [x[r] - usual[int(asset[r])] for r in rows if int(asset[r]) in usual]
    return found


def explained_share(recording: Recording, common: Float64, warm_up_rows: int) -> float:
    """Share of the median sensor's variance in the warm-up, machine by machine, that is common."""
    shares = []
    for a in np.unique(recording.asset[:warm_up_rows]):
        rows = np.flatnonzero(recording.asset[:warm_up_rows] == a)
        if rows.size < 8:
            continue
        whole = np.nanvar(recording.x[rows], axis=0)
        rest = np.nanvar(recording.x[rows] - common[rows], axis=0)
        shares.append(np.median(1.0 - rest[whole > 0] / whole[whole > 0]))
    return float(np.median(shares)) if shares else 0.0


if __name__ == "__main__":
    sys.exit(main())
