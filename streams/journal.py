"""Append-only files of outgoing messages, one JSON object a line, that a crash neither tears nor
doubles.

``mark`` makes everything appended so far durable and says how long the files are; who keeps that
answer beside the position it is the state after can cut the files back to it (``cut``) and append
the same lines again. Files that grow beyond their limit are moved aside and the oldest forgotten.
What is written when is somebody else's decision.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from streams.checkpoint import fsync_directory
from streams.kafka_sink import Message

#: A file this long is moved aside; with the kept ones, the most that a journal takes of a disk.
LIMIT_BYTES = 100 << 20
#: Files moved aside that are kept: NAME.1 is the newest.
KEPT = 5


class Journal:
    """Files of one directory.

    Raises
    ------
    OSError
        From every method: the disk is full, read-only or gone. After one, ``cut`` to what was
        marked last before anything else is appended.
    """

    def __init__(
        self, directory: Path, names: Sequence[str], limit_bytes: int = LIMIT_BYTES
    ) -> None:
        self.directory = directory
        self.names = tuple(names)
        self.limit_bytes = limit_bytes
        self._files: dict[str, IO[bytes]] = {}
        directory.mkdir(parents=True, exist_ok=True)

    def append(self, name: str, line: bytes) -> None:
        """One line, without its end, for one of the journal's files."""
        assert name in self.names
        if name not in self._files:
            self._files[name] = (self.directory / name).open("ab")
        self._files[name].write(line + b"\n")

    def mark(self) -> dict[str, int]:
        """Make everything durable; the length of every file that this journal has written."""
        lengths = {}
        for name, file in self._files.items():
            file.flush()
            os.fsync(file.fileno())
            lengths[name] = file.tell()
        if lengths:
            fsync_directory(self.directory)
        return lengths

    def rotate(self) -> None:
        """Move aside what has grown too long; to be called when the marks are kept."""
        for name in [name for name, file in self._files.items() if file.tell() > self.limit_bytes]:
            self._files.pop(name).close()
            path = self.directory / name
            for number in range(KEPT - 1, 0, -1):
                older = path.with_name(f"{name}.{number}")
                if older.exists():
                    os.replace(older, path.with_name(f"{name}.{number + 1}"))
            os.replace(path, path.with_name(f"{name}.1"))

    def cut(self, lengths: Mapping[str, int]) -> None:
        """Forget what came after a mark.

        A file shorter than its mark is the one begun after that one was moved aside.
        """
        self.close()
        for name in self.names:
            path = self.directory / name
            if path.exists():
                marked = lengths.get(name, 0)
                os.truncate(path, marked if path.stat().st_size >= marked else 0)
                self._files[name] = path.open("ab")

    def close(self) -> None:
        """Let go of the files; what was not marked may be lost."""
        for file in self._files.values():
            try:
                file.close()
            except OSError:
                continue  # what could not be written is cut at the next start
        self._files.clear()


def event_line(key: bytes | None, value: bytes | None, headers: Any) -> bytes:
    """An alert or a command's effect in the JSON format of CloudEvents (1.0, §2)."""
    event: dict[str, Any] = {}
    for name, content in headers or ():
        text = content.decode(errors="replace")
        if name == "content-type":
            event["datacontenttype"] = text
        elif name == "severitynumber":
            event[name] = int(text)
        else:
            event[name.removeprefix("ce_").replace("_", "")] = text
    event["data"] = json.loads(value or b"null")
    return json.dumps(event, ensure_ascii=False).encode()


def letter_line(key: bytes | None, value: bytes | None, headers: Any) -> bytes:
    """A dead letter or late message: its own bytes in base64, and where it came from."""
    said: dict[str, Any] = {"headers": []}
    for name, content in headers or ():
        if name.startswith("andon_"):
            said[name.removeprefix("andon_")] = content.decode(errors="replace")
        else:
            said["headers"].append([name, base64.b64encode(content or b"").decode()])
    said["key"] = None if key is None else base64.b64encode(key).decode()
    said["value"] = base64.b64encode(value or b"").decode()
    return json.dumps(said, ensure_ascii=False).encode()


def line_of(message: Message, is_event: bool) -> bytes:
    """The line of one outgoing message."""
    make = event_line if is_event else letter_line
    return make(message.key, message.value, message.headers)
