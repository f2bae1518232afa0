"""A simulated line that writes to Kafka as it goes: the plant of the compose file.

The shift of ``andon demo``, again and again, each time with another seed; what befalls it is told
in ``streams/simulation/demo.py``. Not part of the program: a plant has its own way into Kafka.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Iterator

from kafka import KafkaProducer

from streams.simulate import demo_recording, simulate


def main() -> None:
    """Send rows at their time until stopped."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bootstrap", required=True, metavar="HOST:PORT")
    parser.add_argument("--topic", default="readings")
    parser.add_argument("--speed", type=float, default=1.0, help="times faster than real time")
    parser.add_argument("--shifts", type=int, default=0, help="stop after so many; 0 = never")
    options = parser.parse_args()
    producer = KafkaProducer(bootstrap_servers=options.bootstrap, linger_ms=20)
    try:
        shifts = itertools.count() if not options.shifts else range(options.shifts)
        first_ns = time.time_ns()
        for shift in shifts:
            begun = time.monotonic()
            last_ns = first_ns
            for after_seconds, asset, values in rows(shift):
                wait = begun + after_seconds / options.speed - time.monotonic()
                if wait > 0:
                    producer.flush()
                    time.sleep(wait)
                last_ns = first_ns + int(after_seconds * 1e9)
                message = {"asset": asset, "ts": last_ns, "values": values}
                producer.send(options.topic, json.dumps(message).encode(), asset.encode())
            first_ns = last_ns + 2 * 10**9
        producer.flush()
    finally:
        producer.close()


def rows(seed: int) -> Iterator[tuple[float, str, dict[str, float | None]]]:
    """Seconds since the start, station and readings of each row of one shift; null = missing."""
    config, injections = demo_recording(seed)
    names = [station.name for station in config.stations]
    start_ns = config.start_time_ns
    for chunk in simulate(config, injections, chunk_seconds=60.0):
        for time_ns, asset, values in zip(
            chunk.time_ns.tolist(), chunk.asset.tolist(), chunk.values.tolist(), strict=True
        ):
            readings = {name: None if math.isnan(value) else value
                        for name, value in zip(chunk.columns, values, strict=True)}
            yield (time_ns - start_ns) / 1e9, names[asset], readings


if __name__ == "__main__":
    main()
