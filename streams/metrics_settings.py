"""What ``/metrics``, the page and the push to Alertmanager are told: values and checks only.

Apart from what uses them, because settings are read before any compiler is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """What ``/metrics`` shows, and how much of it."""

    asset_limit: int = 10_000
    """Assets with series of their own; the rest are summed up as "other"."""
    alert_limit: int = 1000
    """Open alerts with series of their own, the most severe first."""
    sensor_limit: int = 2000
    """Sensors whose value and band are shown: those of assets in alert, and ``sensors``."""
    sensors: tuple[str, ...] = ()
    """``asset/sensor`` with ``*``: shown although there is no alert."""
    linger_seconds: float = 900.0
    """A sensor stays in view this long after its alert, so that a graph shows the recovery."""
    web_config: str = ""
    """File with TLS and basic authentication, in the form of the Prometheus exporters."""

    def __post_init__(self) -> None:
        for name in ("asset_limit", "alert_limit", "sensor_limit"):
            if not 1 <= getattr(self, name) <= 10_000_000:
                raise ValueError(f"{name}: must be between 1 and 10000000")
        if not 0 <= self.linger_seconds <= 604_800:
            raise ValueError("linger_seconds: must be between 0 and 604800")


@dataclass(frozen=True, slots=True)
class PageSettings:
    """The program's own page, on the port of ``[health]``."""

    enabled: bool = True
    """Serve it; its buttons work where users are set, or where only this machine can reach it."""
    hosts: tuple[str, ...] = ()
    """Names under which it may be asked for without a login, besides numbers and localhost."""


@dataclass(frozen=True, slots=True)
class AlertmanagerSettings:
    """Where alerts are pushed to, if anywhere."""

    urls: tuple[str, ...] = ()
    """Every Alertmanager of a cluster by itself, never a balancer before it; empty = none."""
    resend_seconds: float = 60.0
    """Time between two sendings of a firing alert; its end is four times as far away."""
    timeout_seconds: float = 5.0
    external_url: str = ""
    """Where a person who follows the alert's link should arrive; empty = no link."""
    ca_file: str = ""
    """PEM of the authority that signed the Alertmanagers' certificates; empty = the system's."""
    username: str = ""
    password_file: str = ""
    """File with the password of basic authentication and nothing else."""

    def __post_init__(self) -> None:
        for url in self.urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError("urls: must start with http:// or https://")
        if not 0.1 <= self.resend_seconds <= 3600:
            raise ValueError("resend_seconds: must be between 0.1 and 3600")
        if not 0.1 <= self.timeout_seconds <= 300:
            raise ValueError("timeout_seconds: must be between 0.1 and 300")
        if bool(self.username) != bool(self.password_file):
            raise ValueError("username: username and password_file go together")
