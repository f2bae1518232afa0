"""The state cut by assets: what of an asset changed since it was last taken, and back again.

A snapshot (``snapshot.py``) is everything at once; a live service writes often and little. Here the
state is treated as opaque bytes: the rows of an asset and of its tags, laid end to end, form the
asset's *image*, in blocks of :data:`BLOCK_BYTES`. A tracker keeps a hash of every block as it was
taken last and gives out only the blocks that differ, so that a ring costs what was added to it and
a frozen reference costs nothing, whatever the detectors look like inside. No I/O, no compression.

Only names decide what is cut how: arrays whose name starts with ``asset`` have an asset's row each,
the others a tag's (see ``detectors/__init__.py``).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from anomaly.batches import Int64
from anomaly.errors import StateError
from anomaly.kernel import kernel
from anomaly.monitor import Monitor

#: A changed word costs one block: small enough for rings, and its hash is a sixteenth of it.
BLOCK_BYTES = 128
_WORDS = BLOCK_BYTES // 8

#: Bytes of images that are gathered at a time; bounds the scratch memory, whatever the state.
GATHER_BYTES = 16 << 20

#: The same on the way back: small enough for the processor's cache.
PUT_BACK_BYTES = 4 << 20

#: Form of the bytes that :meth:`Tracker.changes` gives.
FORMAT = 1

#: format, flags (1 = whole image), number of tags.
_HEAD = struct.Struct("<BBI")

Words = npt.NDArray[np.uint64]
State = dict[str, np.ndarray[Any, Any]]


class Tracker:
    """What changed in a monitor's assets since it was last taken.

    Parameters
    ----------
    monitor : Monitor
        Its state as it is now counts as *never taken*: the first change of an asset is whole.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._parts = _Parts(monitor)
        self._asset_hash = np.zeros((0, self._parts.asset_blocks), np.uint64)
        self._tag_hash = np.zeros((0, self._parts.tag_blocks), np.uint64)

    def layout(self) -> str:
        """Every array's place, type and shape as JSON; images of another layout are refused."""
        return self._parts.layout

    def image_bytes(self, tags: int) -> int:
        """Size of the image of an asset with so many tags."""
        return (self._parts.asset_blocks + tags * self._parts.tag_blocks) * BLOCK_BYTES

    def changes(self, assets: Sequence[int], whole: Sequence[bool]) -> Iterator[bytes]:
        """One change per asset, in the order given; from now on these blocks count as taken.

        ``whole[i]``: give the asset's full image, a new base for later changes.
        """
        self.make_room()
        parts, registry = self._parts, self._monitor.registry
        group: list[int] = []
        size = 0
        for i, a in enumerate(assets):
            group.append(i)
            size += self.image_bytes(len(registry.sensors[a]))
            if size >= GATHER_BYTES or i == len(assets) - 1:
                state = self._monitor.arrays()
                index = np.array([assets[k] for k in group], np.int64)
                tags = [registry.table[assets[k], : len(registry.sensors[assets[k]])]
                        for k in group]
                every = np.concatenate(tags) if tags else np.zeros(0, np.int64)
                complete = np.array([whole[k] for k in group], np.bool_)
                counts = np.array([t.size for t in tags], np.int64)
                own = _differing(
                    parts.gather(state, "asset", index), self._asset_hash, index, complete)
                theirs = _differing(
                    parts.gather(state, "tag", every), self._tag_hash, every,
                    np.repeat(complete, counts))
                yield from _encoded(own, theirs, counts, complete)
                group, size = [], 0

    def take(self, assets: Int64, own: Words, tags: Int64, theirs: Words) -> None:
        """Count these images' parts as taken."""
        _compare(own, self._asset_hash, assets, np.empty(own.shape[:2], np.bool_))
        _compare(theirs, self._tag_hash, tags, np.empty(theirs.shape[:2], np.bool_))

    def make_room(self) -> None:
        """Be ready for all assets and tags that the registry knows."""
        known = self._monitor.registry
        self._asset_hash = _grown(self._asset_hash, len(known.assets))
        self._tag_hash = _grown(self._tag_hash, known.tag_count)


def is_empty(change: bytes) -> bool:
    """Whether a change that is not whole says that nothing changed."""
    return not any(change[_HEAD.size:])


def restore(
    monitor: Monitor, changes: Iterable[tuple[int, Sequence[bytes | memoryview]]],
    tracker: Tracker | None = None,
) -> None:
    """Write assets back: per asset its whole image and the changes after it, in order.

    The monitor's registry must already hold the assets with their sensors, columns in the order
    they had. Everything that is not an asset's own is left alone. With a ``tracker`` of the monitor
    the assets count as taken just as they are. Different assets may be written back by several
    threads at a time, once :meth:`Tracker.make_room` was called.

    Raises
    ------
    StateError
        A change is damaged, of a newer format, or the first one is not whole.
    """
    parts, registry = _Parts(monitor), monitor.registry
    group: list[tuple[int, Int64, Words]] = []
    size = 0
    for a, texts in changes:
        tags = registry.tags(a)
        image = _image(monitor, parts, a, tags, texts)
        group.append((a, tags, image))
        size += image.nbytes
        if size >= PUT_BACK_BYTES:
            _put_back(monitor, parts, group, tracker)
            group, size = [], 0
    if group:
        _put_back(monitor, parts, group, tracker)


def _image(
    monitor: Monitor, parts: _Parts, a: int, tags: Int64, texts: Sequence[bytes | memoryview]
) -> Words:
    """The asset's image, uint64[blocks, words], as the texts leave it."""
    base, count = _base(texts[0] if texts else b"", parts)
    if count > tags.size:
        raise StateError("a change of an asset does not fit what is known of the asset")
    if count == tags.size and len(texts) == 1:
        return base  # nothing is copied: most assets of a large state
    state = monitor.arrays()
    rest = parts.gather(state, "tag", tags[count:])  # sensors that came later are as they are
    image = np.concatenate([base, rest.reshape(-1, _WORDS)])
    for text in texts[1:]:
        _apply(image, text, parts, tags.size)
    return image


def _put_back(
    monitor: Monitor, parts: _Parts, group: Sequence[tuple[int, Int64, Words]],
    tracker: Tracker | None,
) -> None:
    state = monitor.arrays()
    index = np.array([a for a, _, _ in group], np.int64)
    every = np.concatenate([tags for _, tags, _ in group])
    own = np.stack([image[: parts.asset_blocks] for _, _, image in group])
    theirs = np.concatenate([image[parts.asset_blocks:] for _, _, image in group]).reshape(
        every.size, parts.tag_blocks, _WORDS)
    parts.scatter(state, "asset", index, own)
    parts.scatter(state, "tag", every, theirs)
    monitor.derive(every)
    if tracker is not None:
        tracker.take(index, own, every, theirs)


class _Parts:
    """Where each array's row stands in the images; all sizes in bytes, rows padded to words."""

    def __init__(self, monitor: Monitor) -> None:
        state = monitor.arrays()
        self.places: dict[str, list[tuple[str, str, int, int]]] = {"asset": [], "tag": []}
        described = []
        ends = {"asset": 0, "tag": 0}
        for component, arrays in state.items():
            for name, array in arrays.items():
                kind = "asset" if name.startswith("asset") else "tag"
                row = int(array.dtype.itemsize * np.prod(array.shape[1:], dtype=np.int64))
                self.places[kind].append((component, name, ends[kind], row))
                ends[kind] += -(-row // 8) * 8
                described.append([component, name, np.lib.format.dtype_to_descr(array.dtype),
                                  list(array.shape[1:])])
        self.asset_blocks = -(-ends["asset"] // BLOCK_BYTES)
        self.tag_blocks = -(-ends["tag"] // BLOCK_BYTES)
        self.layout = json.dumps(
            {"format": FORMAT, "versions": monitor.versions(), "arrays": described},
            sort_keys=True)

    def gather(self, state: Any, kind: str, index: Int64) -> Words:
        """uint64[k, blocks, words]: the images' parts of k assets or tags."""
        blocks = self.asset_blocks if kind == "asset" else self.tag_blocks
        packed = np.zeros((index.size, blocks * BLOCK_BYTES), np.uint8)
        for component, name, start, row in self.places[kind]:
            rows = _rows(state[component][name])
            there = index < len(rows)  # some arrays are of the first tags only, or of none yet
            if row and index.size and there.all():
                packed[:, start:start + row] = rows[index]
            elif row and there.any():
                packed[there, start:start + row] = rows[index[there]]
        return packed.view(np.uint64).reshape(index.size, blocks, _WORDS)

    def scatter(self, state: Any, kind: str, index: Int64, packed: Words) -> None:
        """Write parts back where :meth:`gather` took them."""
        text = packed.reshape(index.size, -1).view(np.uint8)
        together = bool(index.size) and bool((np.diff(index) == 1).all())  # as good as always
        for component, name, start, row in self.places[kind]:
            rows = _rows(state[component][name])
            if not row or not index.size:
                continue
            if together and index[-1] < len(rows):
                rows[index[0]:index[-1] + 1] = text[:, start:start + row]
                continue
            there = index < len(rows)
            if there.any():
                rows[index[there]] = text[there, start:start + row]


def _rows(array: np.ndarray[Any, Any]) -> npt.NDArray[np.uint8]:
    """The array's rows as bytes, uint8[n, bytes of a row]; a view."""
    assert array.flags.c_contiguous
    return array.reshape(len(array), -1 if len(array) else 0).view(np.uint8)


def _differing(
    packed: Words, known: Words, index: Int64, whole: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], Words]:
    """Mask bool[k, blocks] of what differs from ``known`` (updated), and those blocks in order."""
    changed = np.empty(packed.shape[:2], np.bool_)
    _compare(packed, known, index, changed)
    changed[whole] = True
    return changed, packed[changed]


@kernel
def _compare(packed: Words, known: Words, index: Int64, changed: npt.NDArray[np.bool_]) -> None:
    """Hash every block (FNV-1a over words, folded), compare with and write to ``known[index]``."""
    for k in range(packed.shape[0]):
        for b in range(packed.shape[1]):
            hashed = np.uint64(0xCBF29CE484222325)
            for w in range(packed.shape[2]):
                hashed = (hashed ^ packed[k, b, w]) * np.uint64(0x9E3779B97F4A7C15)
                hashed ^= hashed >> np.uint64(29)
            changed[k, b] = known[index[k], b] != hashed
            known[index[k], b] = hashed


def _encoded(
    own: tuple[npt.NDArray[np.bool_], Words], theirs: tuple[npt.NDArray[np.bool_], Words],
    counts: Int64, whole: npt.NDArray[np.bool_],
) -> Iterator[bytes]:
    """Per asset: head, bitmaps of the changed blocks (none where whole), the blocks."""
    tag = own_at = theirs_at = 0
    for k, count in enumerate(counts.tolist()):
        mine, tags = own[0][k], theirs[0][tag:tag + count]
        own_end = own_at + int(mine.sum())
        theirs_end = theirs_at + int(tags.sum())
        bitmap = b"" if whole[k] else (
            np.packbits(mine).tobytes() + np.packbits(tags, axis=1).tobytes())
        yield (_HEAD.pack(FORMAT, int(whole[k]), count) + bitmap
               + own[1][own_at:own_end].tobytes() + theirs[1][theirs_at:theirs_end].tobytes())
        tag, own_at, theirs_at = tag + count, own_end, theirs_end


def _head(text: bytes | memoryview) -> tuple[int, int]:
    """Flags and number of tags of a change."""
    if len(text) < _HEAD.size:
        raise StateError("a change of an asset is cut short")
    form, flags, count = _HEAD.unpack_from(text)
    if form != FORMAT:
        raise StateError(f"a change of an asset has format {form}, this program knows {FORMAT}")
    return flags, count


def _base(text: bytes | memoryview, parts: _Parts) -> tuple[Words, int]:
    """The image of a change that is whole, uint64[blocks, words], and its number of tags."""
    flags, count = _head(text)
    if not flags & 1:
        raise StateError("a change of an asset does not fit what is known of the asset")
    blocks = parts.asset_blocks + count * parts.tag_blocks
    if len(text) - _HEAD.size != blocks * BLOCK_BYTES:
        raise StateError("a change of an asset has another length than it says")
    return np.frombuffer(text, np.uint64, -1, _HEAD.size).reshape(-1, _WORDS), count


def _apply(image: Words, text: bytes | memoryview, parts: _Parts, tags: int) -> None:
    """Lay a later change over an image uint64[blocks, words] that has room for all ``tags``."""
    flags, count = _head(text)
    if count > tags:
        raise StateError("a change of an asset does not fit what is known of the asset")
    blocks = parts.asset_blocks + count * parts.tag_blocks
    if flags & 1:
        image[:blocks] = _base(text, parts)[0]
        return
    at = _HEAD.size
    mine, each = -(-parts.asset_blocks // 8), -(-parts.tag_blocks // 8)
    if len(text) < at + mine + count * each:
        raise StateError("a change of an asset is cut short")
    bits = np.frombuffer(text, np.uint8, mine + count * each, at)
    at += bits.size
    mask = np.concatenate([
        np.unpackbits(bits[:mine], count=parts.asset_blocks),
        np.unpackbits(bits[mine:].reshape(count, each), axis=1,
                      count=parts.tag_blocks).reshape(-1),
    ]).astype(np.bool_)
    if len(text) - at != int(mask.sum()) * BLOCK_BYTES:
        raise StateError("a change of an asset has another length than it says")
    image[:blocks][mask] = np.frombuffer(text, np.uint64, -1, at).reshape(-1, _WORDS)


def _grown(known: Words, rows: int) -> Words:
    if rows <= len(known):
        return known
    grown = np.zeros((max(rows, 2 * len(known), 8), known.shape[1]), np.uint64)
    grown[: len(known)] = known
    return grown
