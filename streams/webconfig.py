"""TLS and basic authentication for our own port, in the form that Prometheus exporters share.

A site that secures its exporters has such a file already (``web.config.file`` of the
exporter-toolkit), so ours reads the same one. What we do not support is refused by name, never
ignored: a protection that is believed to be there and is not would be the worst outcome. Passwords
are kept as bcrypt hashes only, and never shown.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streams.errors import SettingsError

_TLS_KEYS = ("cert_file", "key_file", "client_auth_type", "client_ca_file", "min_version",
             "max_version")
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
#: A hash costs 2**cost rounds; beyond this one login would block a core for seconds.
_COST_LIMIT = 14
#: Logins that may wait for the one that is being checked; more are turned away at once.
_WAITING_LIMIT = 8
#: Remembered good logins; checking the same hash at every scrape would cost 50 ms each.
_REMEMBERED_LIMIT = 64
#: Compared with where the user is not known, so that an answer takes as long. Of no password.
_NOBODY = b"$2b$10$92CMFibAXAYX6OZnDqTFdutMc43rEKAazRgOHAkPqH2XlzDlq/yZa"


@dataclass(frozen=True, slots=True)
class WebConfig:
    """What a web-config file says.

    ``tls`` is None where none is configured; ``users`` maps names to bcrypt hashes.
    """

    tls: ssl.SSLContext | None = None
    users: Mapping[str, bytes] = field(default_factory=dict, repr=False)


class Gate:
    """Checks basic authentication; one password at a time, so that a flood costs one core at most.

    Parameters
    ----------
    users : mapping of name to bcrypt hash
        Empty = everyone may come in.
    """

    def __init__(self, users: Mapping[str, bytes]) -> None:
        self._users = dict(users)
        self._secret = secrets.token_bytes(16)
        self._known: set[bytes] = set()
        self._one = threading.Lock()
        self._waiting = threading.BoundedSemaphore(_WAITING_LIMIT)

    def name(self, authorization: str) -> str:
        """Who an admitted header says it is; empty where everyone may come in."""
        login = _login(authorization) if self._users else None
        return "" if login is None else login[0]

    def admits(self, authorization: str) -> bool | None:
        """Whether the header's name and password are right; None = too busy to tell.

        May take a tenth of a second: not to be called on an event loop.
        """
        if not self._users:
            return True
        login = _login(authorization)
        if login is None:
            return False
        name, password = login
        token = hashlib.blake2b(
            name.encode() + b"\0" + password, key=self._secret, digest_size=32).digest()
        if token in self._known:
            return True
        if not self._waiting.acquire(blocking=False):
            return None
        try:
            with self._one:
                good = _matches(password, self._users.get(name, _NOBODY)) and name in self._users
        finally:
            self._waiting.release()
        if good and len(self._known) < _REMEMBERED_LIMIT:
            self._known.add(token)
        return good


def load(path: Path) -> WebConfig:
    """Read a web-config file.

    Raises
    ------
    SettingsError
        Not readable, not YAML, unknown or unsupported keys, certificates that cannot be used,
        or something that is no bcrypt hash in the place of one.
    """
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not valid YAML: {_first_line(error)}") from None
    tables = _mapping(found or {}, path, "the file")
    _known_keys(tables, ("tls_server_config", "basic_auth_users"), path, "")
    users = _mapping(tables.get("basic_auth_users") or {}, path, "basic_auth_users")
    tls = tables.get("tls_server_config")
    return WebConfig(
        None if not tls else _context(_mapping(tls, path, "tls_server_config"), path),
        {str(name): _hash(str(name), value, path) for name, value in users.items()},
    )


def _context(tls: Mapping[str, Any], path: Path) -> ssl.SSLContext:
    _known_keys(tls, _TLS_KEYS, path, "tls_server_config.")
    values = {key: str(value) for key, value in tls.items()}
    for key in ("cert_file", "key_file"):
        if not values.get(key):
            raise SettingsError(f"{path}: tls_server_config.{key}: is needed")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _version(values.get("min_version", "TLS12"), path)
    context.maximum_version = _version(values.get("max_version", "TLS13"), path)
    mode = values.get("client_auth_type", "NoClientCert")
    if mode not in _CLIENT_AUTH:
        known = ", ".join(_CLIENT_AUTH)
        raise SettingsError(
            f"{path}: tls_server_config.client_auth_type: {mode!r} is not supported ({known})")
    if (mode != "NoClientCert") != bool(values.get("client_ca_file")):
        raise SettingsError(
            f"{path}: tls_server_config.client_ca_file: goes together with client_auth_type")
    try:
        context.load_cert_chain(_beside(path, values["cert_file"]),
                                _beside(path, values["key_file"]))
        if mode != "NoClientCert":
            context.load_verify_locations(_beside(path, values["client_ca_file"]))
            context.verify_mode = _CLIENT_AUTH[mode]
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"{path}: tls_server_config: certificates cannot be used: {error}") from None
    return context


def _version(name: str, path: Path) -> ssl.TLSVersion:
    if name not in _VERSIONS:
        raise SettingsError(
            f"{path}: tls_server_config: {name!r} is not supported; TLS12 and TLS13 are")
    return _VERSIONS[name]


def _hash(name: str, value: object, path: Path) -> bytes:
    """The user's hash, checked to be one that can be verified in reasonable time."""
    text = value if isinstance(value, str) else ""
    parts = text.split("$")
    if len(text) != 60 or len(parts) != 4 or parts[1] not in ("2a", "2b", "2y") or (
        not parts[2].isdigit()
    ):
        raise SettingsError(f"{path}: basic_auth_users.{name}: is no bcrypt hash")
    if int(parts[2]) > _COST_LIMIT:
        raise SettingsError(f"{path}: basic_auth_users.{name}: a cost above {_COST_LIMIT} would "
                            "keep a core busy for seconds at each login")
    return text.encode()


def _login(authorization: str) -> tuple[str, bytes] | None:
    """Name and password of a ``Basic`` header; None = there is none."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(rest.strip(), validate=True)
        name, colon, password = decoded.partition(b":")
        return (name.decode(), password) if colon else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def _matches(password: bytes, hashed: bytes) -> bool:
    import bcrypt

    if len(password) > 72:  # bcrypt sees no more; a longer one was never hashed whole
        return False
    try:
        return bcrypt.checkpw(password, hashed)
    except ValueError:
        return False


def _beside(path: Path, name: str) -> str:
    """A file named in the web-config file: relative to it."""
    return str(path.parent / name)


def _mapping(value: object, path: Path, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SettingsError(f"{path}: {where}: expected a table")
    return value


def _known_keys(
    table: Mapping[str, Any], known: tuple[str, ...], path: Path, prefix: str
) -> None:
    for key in table:
        if key not in known:
            raise SettingsError(
                f"{path}: {prefix}{key}: is not supported; known are {', '.join(known)}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
