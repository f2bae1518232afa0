"""What a worker was asked for and what it has done: plain numbers between its loop and its shell.

Written by the loop and by signals, read by probes and metrics. Nothing is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Wishes:
    """What signals asked for; looked at between two batches."""

    stop: bool = False
    reload: bool = False


@dataclass(slots=True)
class Totals:
    """What a worker has done since it started; for probes and metrics."""

    messages: int = 0
    assets_evicted: int = 0
    """Let go for new ones, of the partitions held, in the life of their state."""
    messages_lost: int = 0
    """Deleted by the broker before they were read."""
    alerts: int = 0
    commits: int = 0
    aborts: int = 0
    checkpoints: int = 0
    checkpoint_bytes: int = 0
    restores: int = 0
    restore_seconds: float = 0.0
    commit_seconds: float = 0.0
    checkpoint_seconds: float = 0.0
    process_seconds: float = 0.0
    turns: int = 0
    reload_successful: bool = True
