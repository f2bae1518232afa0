"""The command line of ``andon run`` and its relatives, and the settings that it leads to.

Apart from what runs, because these are known long before a compiler is loaded.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams import settings as settings_module
from streams.settings import Settings

if typing.TYPE_CHECKING:
    from streams.local import LocalOptions


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The command line of ``andon run``; None = not given."""

    config: Path | None = None
    bootstrap: str | None = None
    topic: str | None = None
    group: str | None = None
    local: LocalOptions | None = None
    """Read a file instead of a topic."""

    def load(self) -> Settings:
        """Settings of all origins; flags win.

        Raises
        ------
        SettingsError
        """
        from streams import fast_rows

        return fast_rows.for_service(settings_module.load(self.config, self._flags()))

    def tables(self) -> dict[str, Any]:
        """The same without the engine's, long before its compiler is loaded.

        Raises
        ------
        SettingsError
        """
        return settings_module.tables(self.config, self._flags())

    def _flags(self) -> dict[str, object]:
        flags: dict[str, object] = {
            "kafka.bootstrap_servers": self.bootstrap and tuple(self.bootstrap.split(",")),
            "kafka.topic": self.topic, "kafka.group": self.group,
        }
        return {name: value for name, value in flags.items() if value}
