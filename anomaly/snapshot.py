"""Arrays and a JSON manifest to bytes and back. Bytes only: files and topics are elsewhere.

The manifest carries format, versions, dtypes, names in index order and the source position, so a
worker on any machine can say before loading whether it understands what it was given. Never pickle.
Older formats load through the pure functions in ``MIGRATIONS``; a newer one is refused. The last
bytes are a SHA-256 of all before them: an archive's own checksums cover neither names nor headers,
and a snapshot that lost a bit anywhere is not loaded. ``numpy.load`` still opens the file.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from anomaly.config import MonitorConfig
from anomaly.errors import StateError
from anomaly.monitor import Monitor
from anomaly.registry import Registry

FORMAT = 2


def _add_nothing(manifest: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Format 1 had no checksum; manifest and arrays are the same."""


#: format -> function that lifts (manifest, arrays) by one format.
MIGRATIONS: dict[int, Callable[[dict[str, Any], dict[str, Any]], None]] = {1: _add_nothing}
#: A snapshot larger than this when unpacked is refused before anything is allocated.
UNPACKED_LIMIT_BYTES = 16 << 30

_MANIFEST = "manifest"
_SEAL = b"sha256"


def to_bytes(monitor: Monitor, position: Mapping[str, object]) -> bytes:
    """One snapshot: the monitor's state and the source position it is the state *after*."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for component, state in monitor.state().items():
        for name, array in state.items():
            arrays[f"{component}/{name}"] = array
    manifest = {
        "format": FORMAT,
        "versions": monitor.versions(),
        "registry": monitor.registry.to_manifest(),
        "position": dict(position),
        "arrays": {
            key: [np.lib.format.dtype_to_descr(a.dtype), list(a.shape)] for key, a in arrays.items()
        },
    }
    text = json.dumps(manifest, sort_keys=True, ensure_ascii=False).encode()
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, **{_MANIFEST: np.frombuffer(text, np.uint8)}, **arrays  # type: ignore[arg-type]
    )
    archive = buffer.getvalue()
    return archive + _SEAL + hashlib.sha256(archive).digest()


def from_bytes(data: bytes, config: MonitorConfig) -> tuple[Monitor, dict[str, object]]:
    """The monitor and the source position that :func:`to_bytes` wrote.

    Raises
    ------
    StateError
        Truncated, damaged, of a newer format, or of components that this configuration lacks.
    """
    archive, is_sealed = _unsealed(data)
    manifest, arrays = _unpack(archive)
    found = manifest.get("format")
    if not isinstance(found, int) or found > FORMAT:
        raise StateError(
            f"snapshot format {found!r} is newer than this program's ({FORMAT}); "
            "install the version that wrote it, or start from an empty state"
        )
    if found > 1 and not is_sealed:
        raise StateError("snapshot is damaged: its checksum is missing")
    for step in range(found, FORMAT):
        MIGRATIONS[step](manifest, arrays)
    names = manifest["registry"]
    registry = Registry()
    registry.load_manifest(names["assets"], names["sensors"], names["tags"])
    monitor = Monitor(config, registry)
    if manifest["versions"] != monitor.versions():
        theirs, ours = manifest["versions"], monitor.versions()
        differing = sorted(k for k in theirs | ours if theirs.get(k) != ours.get(k))
        raise StateError(f"snapshot was written by other versions of: {', '.join(differing)}")
    state: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    for key, array in arrays.items():
        component, _, name = key.partition("/")
        state.setdefault(component, {})[name] = array
    monitor.load(state)
    return monitor, manifest["position"]


def _unsealed(data: bytes) -> tuple[bytes, bool]:
    """The archive without its checksum, and whether there was one (format 1 had none)."""
    size = len(_SEAL) + hashlib.sha256().digest_size
    archive, seal = data[:-size], data[-size:]
    if not seal.startswith(_SEAL):
        return data, False
    if seal[len(_SEAL):] != hashlib.sha256(archive).digest():
        raise StateError("snapshot is damaged: its checksum is not that of its bytes")
    return archive, True


def _unpack(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > UNPACKED_LIMIT_BYTES:
                raise StateError(f"snapshot unpacks to {unpacked} bytes, over the limit")
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        manifest = json.loads(arrays.pop(_MANIFEST).tobytes())
        declared = manifest["arrays"]
    except StateError:
        raise
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, TypeError,
            RuntimeError, MemoryError, zlib.error) as error:
        raise StateError(f"snapshot cannot be read: {error}") from error
    for key, array in arrays.items():
        if key not in declared or list(array.shape) != declared[key][1]:
            raise StateError(f"snapshot's array {key!r} is not what its manifest declares")
    if set(declared) != set(arrays):
        raise StateError(f"snapshot lacks {sorted(set(declared) - set(arrays))}")
    return manifest, arrays
