"""Which settings a running worker can take up, and which need a restart: said, never passed over.

What it looks at batch by batch changes at once. What decides where it is connected, what its group
and outputs are, and what stands beside its loop since the start would be believed to have changed.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from streams.errors import SettingsError
from streams.settings import Settings

#: Of ``[kafka]`` those that are looked at as the work goes on.
CHANGEABLE = frozenset({
    "start", "unreadable", "commit_seconds", "checkpoint_seconds", "checkpoint_messages",
    "message_limit_bytes", "asset_limit", "tag_limit", "asset_idle_seconds", "asset_field",
    "sensor_field", "time_field", "value_field", "values_field", "create_topics", "replication",
})
#: Tables of what is started once, beside the loop.
STARTED_ONCE = ("webhook", "files", "health", "metrics", "alertmanager", "page")


def check(now: Settings, fresh: Settings) -> None:
    """Refuse what cannot change under a running worker.

    Raises
    ------
    SettingsError
        With the name of the setting.
    """
    changed = [name for name in _differing("kafka", now.kafka, fresh.kafka)
               if name.removeprefix("kafka.") not in CHANGEABLE]
    for table in STARTED_ONCE:
        changed += _differing(table, getattr(now, table), getattr(fresh, table))
    if changed:
        raise SettingsError(
            f"{', '.join(changed)}: cannot change while running: restart the service")


def _differing(table: str, now: Any, fresh: Any) -> list[str]:
    return [f"{table}.{part.name}" for part in dataclasses.fields(now)
            if getattr(now, part.name) != getattr(fresh, part.name)]
