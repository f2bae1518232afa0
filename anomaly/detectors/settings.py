"""A detector's settings: the one check, numbers within limits, and how a kernel is given them.

Kernels trust their parameters (a window of 0 would read memory that is not theirs), so every
``Config`` refuses impossible values where it is built. Nothing else lives here.
"""

from __future__ import annotations

from typing import Any

from anomaly.errors import ConfigError


def within(name: str, value: float, least: float, most: float) -> None:
    """Raise :class:`ConfigError` unless ``least`` ≤ ``value`` ≤ ``most``; NaN is never within."""
    if not least <= value <= most:
        raise ConfigError(f"{name}: must be between {least:g} and {most:g}, got {value!r}")


def parameters(config: Any) -> tuple[Any, ...]:
    """The numbers of a ``Config`` in their declared order.

    ``dataclasses.astuple`` copies every one of them deeply: 10 µs a call, and a small batch has a
    call per detector.
    """
    return tuple([getattr(config, name) for name in config.__dataclass_fields__])
