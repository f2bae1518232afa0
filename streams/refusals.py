"""Why a message was not understood: the closed list, and the exception that carries one of them.

Codecs raise, lanes count and write dead letters, people read the words. No decoding here.
"""

from __future__ import annotations

#: Closed list: why a message was not understood -> what it means.
REASONS = {
    "tombstone": "messages without a value",
    "empty": "messages of no bytes",
    "too_large": "messages above the size limit",
    "too_deep": "JSON nested deeper than the limit",
    "malformed_json": "messages that are not JSON",
    "malformed_arrow": "messages that are no usable Arrow IPC stream",
    "unknown_shape": "JSON that is none of the known shapes",
    "no_asset": "readings without an asset",
    "no_sensor": "readings without a sensor",
    "no_time": "readings without a time",
    "unreadable_time": "times that cannot be read",
    "not_a_number": "values that are no numbers",
    "no_values": "rows without any value",
    "columns_differ": "columns of different lengths",
    "name_too_long": "names longer than the limit",
    "too_many_readings": "messages with more readings than the limit",
    "too_many_names": "assets or sensors beyond the limit",
    "isolated": "messages of an asset that is set aside because the engine failed on it",
    "failed": "messages on which decoding failed",
    "no_schema_registry": "messages of a schema registry, and none is set",
    "unknown_schema": "messages whose schema the registry lacks or that cannot be used",
    "schema_mismatch": "messages that their schema does not fit",
}


class Unusable(Exception):
    """A message that cannot be used; ``reason`` is a key of :data:`REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
