"""The engine's exceptions: one root, three kinds.

Bad *data* is never an exception (it is counted by reason, see ``quality.py``); these are for bad
configuration, bad state and limits. Nothing here knows about files, brokers or exit codes.
"""

from __future__ import annotations


class AnomalyError(Exception):
    """Root of every error that the engine raises on purpose."""


class ConfigError(AnomalyError):
    """A setting that cannot be used; the message names its path and what would be accepted."""


class StateError(AnomalyError):
    """A snapshot that cannot be loaded: corrupt, newer than this program, or of other shapes."""


class CapacityError(AnomalyError):
    """A limit was reached (assets, sensors, batch size); the message names limit and setting."""


class TagCapacityError(CapacityError):
    """It is sensors that there are too many of, not assets."""
