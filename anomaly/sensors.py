"""What is known of each sensor beforehand, as columns: one entry per tag. Settings only, no state.

Not part of the state: changing one loses nothing that was learned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomaly.batches import Float64, Int8
from anomaly.config import MonitorConfig
from anomaly.registry import Registry


@dataclass(frozen=True, slots=True)
class Known:
    """Per tag; every column is empty where no sensor has an option of its kind.

    ``low``, ``high float64[T]`` admitted range, ±inf = none; ``least float64[T]`` smallest
    deviation that matters, in the sensor's unit; ``way int8[T]`` +1 (``up``), −1 (``down``) or 0.
    """

    low: Float64
    high: Float64
    least: Float64
    way: Int8


def known(config: MonitorConfig, registry: Registry) -> Known:
    """The options of every tag that the registry has."""
    count = registry.tag_count
    low, high = np.full(count, -np.inf), np.full(count, np.inf)
    least, way = np.zeros(count), np.zeros(count, np.int8)
    if config.sensor:
        for a, name in enumerate(registry.assets):
            for c, sensor in enumerate(registry.sensors[a]):
                options = config.sensor_config(name, sensor)
                t = registry.table[a, c]
                low[t], high[t] = options.range_low, options.range_high
                least[t] = options.smallest_deviation
                way[t] = {"both": 0, "up": 1, "down": -1}[options.direction]
    ranged = bool(np.isfinite(low).any() or np.isfinite(high).any())
    heeded = bool(least.any() or way.any())
    return Known(
        low if ranged else low[:0], high if ranged else high[:0],
        least if heeded else least[:0], way if heeded else way[:0],
    )
