"""How many alerts does a kill -9 lose or double? Real broker, real workers, random kills.

Run: ``python -m benchmarks.kills --kills 100 --seed 1``. Readings are sent while workers are killed
at random moments and started again; in the end the alerts are read back with ``read_committed`` and
compared, byte for byte, with one offline pass over the same topic. Exit code 1 for any difference.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests import kafka_broker, live_service


def main(arguments: Sequence[str]) -> int:
    """Run the trial; prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--readings", type=int, default=100_000)
    parser.add_argument("--out", type=Path, help="append the result to this file")
    options = parser.parse_args(arguments)
    cluster = kafka_broker.cluster()
    try:
        result = trial(
            cluster,
            options.kills,
            options.seed,
            options.workers,
            options.partitions,
            options.readings,
        )
    finally:
        cluster.stop()
    text = json.dumps(result)
    print(text)
    if options.out is not None:
        with options.out.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
    return 0 if result["lost"] == result["doubled"] == 0 and result["same_bytes"] else 1


def trial(
    cluster: kafka_broker.Cluster,
    kills: int,
    seed: int,
    workers: int,
    partitions: int,
    readings: int,
) -> dict[str, object]:
    """One deployment killed ``kills`` times while ``readings`` pass through it."""
    chance = random.Random(seed)
    rows = list(live_service.stream(readings // live_service.SENSORS, 40, seed))
    started = time.monotonic()
    with live_service.deployment(cluster, partitions) as deployed:
        for _ in range(workers):
            deployed.start_worker()
        sender = live_service.producer(deployed)
        done, portion = 0, max(1, len(rows) // (kills + 1))
        for _ in range(kills):
            for asset, row in rows[done : done + portion]:
                sender.send(
                    f"{deployed.name}.readings", key=asset.encode(), value=json.dumps(row).encode()
                )
            done += portion
            sender.flush()
            time.sleep(chance.uniform(0.2, 2.5))
            alive = [w for w in deployed.workers if w.poll() is None]
            for victim in chance.sample(alive, chance.choice((1, 1, 2))):
                live_service.kill(victim)
                deployed.start_worker()
        for asset, row in rows[done:]:
            sender.send(
                f"{deployed.name}.readings", key=asset.encode(), value=json.dumps(row).encode()
            )
        sender.flush()
        sender.close()
        live_service.wait_until_done(deployed, 240)
        crashed = [w.args for w in deployed.workers if w.poll() not in (None, -9)]
        exits = deployed.stop()
        if crashed or set(exits) != {0}:
            print(deployed.logs(), file=sys.stderr)
        want, got = live_service.expected(deployed), live_service.observed(deployed)
        difference = live_service.difference(want, got)
        lost, doubled = live_service.lost_and_doubled(want, got)
        return {
            "kills": kills,
            "seed": seed,
            "workers": workers,
            "partitions": partitions,
            "messages": len(rows),
            "readings": len(rows) * live_service.SENSORS,
            "alerts": sum(map(len, want.alerts.values())),
            "lost": lost,
            "doubled": doubled,
            "same_bytes": want.alerts == got.alerts,
            "counts_equal": want.counts == got.counts,
            "counts": dict(got.counts),
            "exits": exits,
            "difference": difference,
            "workers_started": deployed.started,
            "seconds": round(time.monotonic() - started, 1),
        }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
