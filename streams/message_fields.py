"""What senders call the fields of a JSON message, and the struct that all shapes are read into.

Which shape a message has is the codec's to find out.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class Fields:
    """What the sender calls things."""

    asset: str = "asset"
    sensor: str = "sensor"
    time: str = "ts"
    value: str = "value"
    values: str = "values"


def envelope(fields: Fields) -> type[msgspec.Struct]:
    """The struct that all JSON shapes share; ``value`` tells null from absent."""
    number = float | None
    time = int | float | str | list[int | float | str] | None
    return msgspec.defstruct(
        "Envelope",
        [("asset", str | list[str] | None, None), ("sensor", str | list[str] | None, None),
         ("time", time, None), ("value", number | list[number] | msgspec.UnsetType, msgspec.UNSET),
         ("values", dict[str, number | list[number]] | None, None)],
        rename={"asset": fields.asset, "sensor": fields.sensor, "time": fields.time,
                "value": fields.value, "values": fields.values},
        gc=False,
    )
