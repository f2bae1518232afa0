"""What the live service must be told: broker, topics, timing, security, webhook, health.

Values and their checks only; ``settings.py`` reads them from file, environment and flags. Secrets
never appear in a ``repr``; a password is better given as a file than as a value.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streams.errors import SettingsError

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """The broker, the topics and how the service behaves towards them."""

    bootstrap_servers: tuple[str, ...] = ()
    """``host:port`` of one or more brokers; the one setting that has no default."""
    topic: str = ""
    """Where the readings are; keyed by asset. Needed."""
    group: str = "andon"
    """Consumer group. Stable: it names the state, too, and KEDA scales on its lag."""
    worker: str = ""
    """A stable name of this process (static membership): a restart then moves no partitions. Two
    processes with one name fence each other."""
    alerts_topic: str = "andon.alerts"
    dead_letter_topic: str = "andon.dead-letters"
    late_topic: str = "andon.late"
    commands_topic: str = "andon.commands"
    scores_topic: str = ""
    """Every row's score, one message a row; empty = none are sent."""
    state_topic: str = ""
    """Compacted, with as many partitions as ``topic``; empty = GROUP.state."""
    create_topics: bool = True
    """Create our own topics where they are missing; never the input."""
    replication: int = -1
    """Copies of a topic that is created; -1 = the broker's default."""
    start: str = "earliest"
    """Where a partition without any state begins: ``earliest`` or ``latest``."""
    unreadable: str = "stop"
    """What happens at a batch of the input that is damaged in the topic, or packed in a way nobody
    knows: ``stop`` ends the service, ``skip`` goes on after it and counts it as lost."""
    commit_seconds: float = 2.0
    """Longest time between commits of a position when no alert fires; an alert commits at once."""
    checkpoint_seconds: float = 30.0
    """Longest time between checkpoints of the state; what was read since then is read again after
    a crash. Shorter = quicker back, more written."""
    checkpoint_messages: int = 500_000
    """Messages of a partition after which its state is checkpointed at the latest."""
    poll_messages: int = 4000
    """Most messages handled between two commits of an alert."""
    message_limit_bytes: int = 1_000_000
    """Larger messages become dead letters before they are parsed."""
    session_seconds: float = 10.0
    """A worker silent for so long loses its partitions."""
    transaction_seconds: float = 15.0
    """A transaction older than this is aborted by the broker."""
    asset_limit: int = 100_000
    """Assets of one partition. At one more, the one that has been idle longest is let go (and is
    learned anew when it returns); where none is idle, readings of new ones become dead letters."""
    tag_limit: int = 1_000_000
    """Asset and sensor pairs of one partition; readings of more become dead letters."""
    asset_idle_seconds: float = 86_400.0
    """Only an asset that has been idle so long, by the partition's own time, is let go, and never
    one with an open alert."""
    asset_field: str = "asset"
    sensor_field: str = "sensor"
    time_field: str = "ts"
    value_field: str = "value"
    values_field: str = "values"
    security_protocol: str = "PLAINTEXT"
    """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL; there is no falling back to a weaker one."""
    sasl_mechanism: str = ""
    """PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."""
    username: str = ""
    password: str = field(default="", repr=False)
    password_file: str = ""
    """File with the password and nothing else; preferred over ``password``."""
    ca_file: str = ""
    """PEM of the authority that signed the brokers' certificates; empty = the system's."""
    certificate_file: str = ""
    """PEM of our own certificate, where the broker wants one."""
    key_file: str = ""

    def __post_init__(self) -> None:
        _one_of(self.start, "start", ("earliest", "latest"))
        _one_of(self.unreadable, "unreadable", ("stop", "skip"))
        _one_of(self.security_protocol, "security_protocol", _PROTOCOLS)
        if self.security_protocol.startswith("SASL"):
            _one_of(self.sasl_mechanism, "sasl_mechanism", _MECHANISMS)
            if not self.username:
                raise ValueError("username: is needed for SASL")
        if self.password and self.password_file:
            raise ValueError("password: give password or password_file, not both")
        for name in ("commit_seconds", "checkpoint_seconds", "session_seconds",
                     "transaction_seconds"):
            if not 0.01 <= getattr(self, name) <= 3600:
                raise ValueError(f"{name}: must be between 0.01 and 3600")
        if self.poll_messages < 1 or self.checkpoint_messages < 1:
            raise ValueError("poll_messages: must be at least 1")

    @property
    def state_topic_name(self) -> str:
        """The state topic's name, default applied."""
        return self.state_topic or f"{self.group}.state"


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Where fired and resolved alerts are posted, if anywhere."""

    url: str = ""
    """http or https; empty = no webhook."""
    states: tuple[str, ...] = ("firing", "resolved")
    timeout_seconds: float = 5.0
    retry_seconds: float = 300.0
    """Longest pause between two tries; it grows up to this. Nothing is given up."""
    token_file: str = ""
    """File whose content is sent as a bearer token."""

    def __post_init__(self) -> None:
        if self.url and not self.url.startswith(("http://", "https://")):
            raise ValueError("url: must start with http:// or https://")
        if not 0.1 <= self.timeout_seconds <= 300 or not 0.1 <= self.retry_seconds <= 86_400:
            raise ValueError("timeout_seconds: must be between 0.1 and 300")


@dataclass(frozen=True, slots=True)
class FilesSettings:
    """Where committed alerts are written as lines of files, too, if anywhere."""

    directory: str = ""
    """Empty = no files. ``alerts.jsonl`` holds CloudEvents in their JSON format."""
    letters: bool = True
    """``dead-letters.jsonl`` and ``late.jsonl`` as well, with the original bytes in base64."""
    limit_bytes: int = 100 << 20
    """A longer file is moved aside; five of each are kept."""

    def __post_init__(self) -> None:
        if self.limit_bytes < 4096:
            raise ValueError("limit_bytes: must be at least 4096")


@dataclass(frozen=True, slots=True)
class SchemaRegistrySettings:
    """Where schemas of Avro, Protobuf and JSON Schema messages are fetched, if anywhere."""

    url: str = ""
    """http or https; empty = such messages become dead letters."""
    username: str = ""
    password: str = field(default="", repr=False)
    password_file: str = ""
    """File with the password (or API secret) and nothing else; preferred over ``password``."""
    token_file: str = ""
    """File whose content is sent as a bearer token, instead of name and password."""
    ca_file: str = ""
    """PEM of the authority that signed the registry's certificate; empty = the system's."""
    timeout_seconds: float = 5.0
    validate: bool = False
    """Check JSON messages against their schema before they are used; costs about as much as all
    the rest of reading them."""

    def __post_init__(self) -> None:
        if self.url and not self.url.startswith(("http://", "https://")):
            raise ValueError("url: must start with http:// or https://")
        if not 0.1 <= self.timeout_seconds <= 60:
            raise ValueError("timeout_seconds: must be between 0.1 and 60")
        if bool(self.password) + bool(self.password_file) + bool(self.token_file) > 1:
            raise ValueError("password_file: give one of password, password_file and token_file")
        if self.username and not (self.password or self.password_file):
            raise ValueError("password_file: is needed with username")


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """Where ``/live``, ``/ready``, ``/metrics`` and the page are served."""

    host: str = "127.0.0.1"
    port: int = -1
    """0 = nothing is served; -1 = 9464 where that is free, else nothing, and it is said."""

    def __post_init__(self) -> None:
        if not -1 <= self.port < 65_536:
            raise ValueError("port: must be between -1 and 65535")


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """What every client of ours passes to kafka-python to reach the broker.

    Raises
    ------
    SettingsError
        No broker named, or a secret or certificate that cannot be read.
    """
    if not kafka.bootstrap_servers:
        raise SettingsError("kafka.bootstrap_servers: names no broker (host:port)")
    options: dict[str, Any] = {
        "bootstrap_servers": list(kafka.bootstrap_servers),
        "security_protocol": kafka.security_protocol,
        "client_id": f"andon-{kafka.worker or kafka.group}",
        "bootstrap_timeout_ms": 10_000,  # a broker that is down is tried again, and said so
    }
    if kafka.security_protocol.endswith("SSL"):
        options["ssl_context"] = _context(kafka)
    if kafka.security_protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.username,
            "sasl_plain_password": _password(kafka),
        }
    return options


def read_secret(path: str, setting: str) -> str:
    """A secret from its file, without the newline that editors leave behind."""
    try:
        return Path(path).read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{setting}: {path} cannot be read: {error}") from None


def _password(kafka: KafkaSettings) -> str:
    if kafka.password_file:
        return read_secret(kafka.password_file, "kafka.password_file")
    if not kafka.password:
        raise SettingsError("kafka.password_file: SASL needs a password")
    return kafka.password


def read_certificates(context: ssl.SSLContext, kafka: KafkaSettings) -> None:
    """Have new connections use the certificates as they are in their files now.

    Authorities that a file no longer holds are trusted until the process ends.

    Raises
    ------
    SettingsError
        They cannot be used; those of before still are.
    """
    try:
        if kafka.ca_file:
            context.load_verify_locations(cafile=kafka.ca_file)
        if kafka.certificate_file:
            context.load_cert_chain(kafka.certificate_file, kafka.key_file or None)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"kafka.ca_file: certificates cannot be used: {error}") from None


def certificate_files(kafka: KafkaSettings) -> tuple[Path, ...]:
    """The files that :func:`read_certificates` reads."""
    if not kafka.security_protocol.endswith("SSL"):
        return ()
    names = (kafka.ca_file, kafka.certificate_file, kafka.key_file)
    return tuple(Path(name) for name in names if name)


def _context(kafka: KafkaSettings) -> ssl.SSLContext:
    """TLS 1.2 or newer, host names checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not kafka.ca_file:
        context.load_default_certs()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    read_certificates(context, kafka)
    return context


def _one_of(value: str, name: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: {value!r} is none of {', '.join(allowed)}")
