"""A schema registry's schemas by number: the one HTTP client for it, small and bounded.

Messages of a registry begin with a zero byte and their schema's number (four bytes, big end first);
what follows is Avro, Protobuf or JSON. Here the number becomes the schema's text and what it refers
to; ``schema_formats.py`` reads messages with it. A schema never changes under its number, so each
is fetched once. A registry that cannot be reached is an operating error and is waited for; a number
that it does not know is bad data. The address comes from the settings, never from a message, and
nothing follows a redirect.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import struct
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from streams.errors import SettingsError, StreamsError
from streams.kafka_settings import SchemaRegistrySettings, read_secret

#: A longer answer is no schema.
ANSWER_BYTES = 4 << 20
#: Schemas that one may refer to, directly or not.
REFERENCES = 100
#: Schemas kept; a topic has a few.
SCHEMAS = 1000

HEADER_BYTES = 5
_HEAD = struct.Struct(">BI")
_ACCEPT = "application/vnd.schemaregistry.v1+json, application/json"


class RegistryError(StreamsError):
    """The registry cannot be reached or refuses us; waiting may help."""

    retriable = True


class UnknownSchema(Exception):
    """The registry says that there is no such schema."""


@dataclass(frozen=True, slots=True)
class Schema:
    """One schema as registered.

    Attributes
    ----------
    kind : str
        ``AVRO``, ``PROTOBUF`` or ``JSON``.
    text : str
        Its text; of Protobuf the file descriptor, base64 (``format=serialized``).
    references : tuple of (str, Schema)
        What it imports, by the name it uses.
    """

    kind: str
    text: str
    references: tuple[tuple[str, Schema], ...]


def number_of(value: bytes) -> int | None:
    """The schema's number of a message in the registry's format; None = it is in another."""
    if len(value) < HEADER_BYTES or value[0] != 0:
        return None
    return int(_HEAD.unpack_from(value)[1])


class SchemaRegistry:
    """Fetches schemas and keeps them.

    Raises
    ------
    SettingsError
        A secret or certificate that cannot be read.
    """

    def __init__(self, settings: SchemaRegistrySettings) -> None:
        self._settings = settings
        self._headers = {"Accept": _ACCEPT}
        if settings.token_file:
            token = read_secret(settings.token_file, "schema_registry.token_file")
            self._headers["Authorization"] = f"Bearer {token}"
        elif settings.username:
            password = settings.password or read_secret(
                settings.password_file, "schema_registry.password_file")
            pair = base64.b64encode(f"{settings.username}:{password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {pair}"
        try:
            context = ssl.create_default_context(cafile=settings.ca_file or None)
        except OSError as error:
            raise SettingsError(f"schema_registry.ca_file: cannot be used: {error}") from None
        self._opener = urllib.request.build_opener(
            _NoRedirect, urllib.request.HTTPSHandler(context=context))
        self._known: dict[int, Schema | None] = {}

    def prepare(self, numbers: Iterable[int]) -> None:
        """Have these schemas at hand; call it before anything depends on them.

        Raises
        ------
        RegistryError
        """
        for number in numbers:
            if number in self._known:
                continue
            while len(self._known) >= SCHEMAS:
                del self._known[next(iter(self._known))]
            try:
                self._known[number] = self._schema(f"/schemas/ids/{number}", [])
            except UnknownSchema:
                self._known[number] = None

    def schema(self, number: int) -> Schema:
        """A schema.

        Raises
        ------
        UnknownSchema
        RegistryError
        """
        self.prepare((number,))
        found = self._known[number]
        if found is None:
            raise UnknownSchema(number)
        return found

    def _schema(self, path: str, above: list[str]) -> Schema:
        if len(above) > REFERENCES or path in above:
            raise UnknownSchema(f"{path}: refers to itself or to too much")
        above.append(path)
        found = self._get(path)
        kind = str(found.get("schemaType") or "AVRO").upper()
        if kind == "PROTOBUF":  # the descriptor instead of a text that would need a compiler
            found = self._get(f"{path}?format=serialized")
        text, listed = found.get("schema"), found.get("references") or []
        if not isinstance(text, str) or not isinstance(listed, list):
            raise UnknownSchema(f"{path}: the answer has no schema")
        references: list[tuple[str, Schema]] = []
        for entry in listed:
            try:
                name, subject, version = entry["name"], entry["subject"], int(entry["version"])
            except (KeyError, TypeError, ValueError):
                raise UnknownSchema(f"{path}: a reference that cannot be read") from None
            quoted = urllib.parse.quote(str(subject), safe="")
            other = f"/subjects/{quoted}/versions/{version}"
            known = dict(references).get(str(name))
            references.append((str(name), known or self._schema(other, above)))
        return Schema(kind, text, tuple(references))

    def _get(self, path: str) -> dict[str, Any]:
        url = self._settings.url.rstrip("/") + path
        request = urllib.request.Request(url, headers=self._headers)
        try:
            with self._opener.open(request, timeout=self._settings.timeout_seconds) as answer:
                text = answer.read(ANSWER_BYTES + 1)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (404, 422):
                raise UnknownSchema(path) from None
            raise RegistryError(f"the schema registry answers {error.code}") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise RegistryError(f"the schema registry cannot be reached: {reason}") from None
        try:
            found = json.loads(text) if len(text) <= ANSWER_BYTES else None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise RegistryError("the schema registry's answer is not its protocol's")
        return found


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An answer cannot send our credentials elsewhere."""

    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        return None
