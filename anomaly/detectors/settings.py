"""The one check of a detector's settings: numbers within limits, said by name.

Kernels trust their parameters (a window of 0 would read memory that is not theirs), so every
``Config`` refuses impossible values where it is built. Nothing else lives here.
"""

from __future__ import annotations

from anomaly.errors import ConfigError


def within(name: str, value: float, least: float, most: float) -> None:
    """Raise :class:`ConfigError` unless ``least`` ≤ ``value`` ≤ ``most``; NaN is never within."""
    if not least <= value <= most:
        raise ConfigError(f"{name}: must be between {least:g} and {most:g}, got {value!r}")
