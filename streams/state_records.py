"""An asset's records in the state topic: a base and the changes after it, each under its own key.

What the images in them mean is ``anomaly.assets``' business, when to write them ``kafka_state``'s.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import zstandard

from anomaly.errors import StateError

FORMAT = 1
#: Records of one chain: a base and the changes after it. More = fewer bases, longer restores.
SLOTS = 16
#: Bytes of one record's value; below the broker's usual limit of a megabyte.
RECORD_BYTES = 900_000
#: How the keys of assets' records begin.
ASSET = b"a/"
#: format, serial number of the record within its asset, slot, chunk, chunks, asset's index.
_HEAD = struct.Struct("<BQHHHI")


#: A record to be written to the state topic: key and value; None deletes what is there.
Record = tuple[bytes, bytes | None]


class Names(msgspec.Struct, array_like=True):
    """An asset's record: its sensors (of a change: the new ones), and the image's bytes."""

    sensors: list[str]
    image: bytes


class _Image(msgspec.Struct, array_like=True):
    """The same without reading the names, and without a copy of the image."""

    sensors: msgspec.Raw
    image: memoryview


_IMAGE = msgspec.msgpack.Decoder(_Image)


@dataclass(slots=True)
class Chain:
    """What is known of an asset's records without reading them."""

    serial: int = 0  # of the next record
    slot: int = 0  # of the next record; 0 = a base
    base_bytes: int = 0
    since_bytes: int = 0
    sensors: int = 0  # names written so far
    slots: int = 0  # records and pieces of one that there may be in the topic
    pieces: int = 1


@dataclass(slots=True)
class Found:
    """An asset's chain as read back, in order, base first: compressed records, and their names."""

    name: str
    serial: int
    texts: list[bytes | memoryview]
    sensors: list[list[str]]
    sizes: list[int]
    slots: int = 0
    pieces: int = 1

    def book(self, sensors: int) -> Chain:
        """The same without its texts, for an asset with so many sensors."""
        return Chain(self.serial + len(self.sizes), len(self.sizes), self.sizes[0],
                     sum(self.sizes[1:]), sensors, self.slots, self.pieces)

    def images(self, unpack: zstandard.ZstdDecompressor) -> list[memoryview]:
        """What the records hold; each is let go."""
        try:
            found = [_IMAGE.decode(unpack.decompress(text)).image for text in self.texts]
        except (zstandard.ZstdError, msgspec.DecodeError) as error:
            raise _damaged(self.name, error) from None
        self.texts = []
        return found


def records_of(name: str, index: int, chain: Chain, text: bytes) -> Iterator[Record]:
    """The next record of an asset's chain, in as many pieces as it needs."""
    pieces = pieces_of(text)
    for c, piece in enumerate(pieces):
        key = key_of(name, chain.slot, c)
        yield key, _HEAD.pack(FORMAT, chain.serial, chain.slot, c, len(pieces), index) + piece


def key_of(name: str, slot: int, piece: int) -> bytes:
    """Key of one piece of a record."""
    return ASSET + f"{slot}/{piece}/{name}".encode()


def pieces_of(text: bytes) -> list[bytes]:
    """A text cut so that each piece fits into a message."""
    return [text[k:k + RECORD_BYTES] for k in range(0, len(text), RECORD_BYTES)] or [b""]


def chains_of(latest: dict[bytes, bytes]) -> dict[int, Found]:
    """Per asset index the valid chain: the latest base and the changes that follow it closely."""
    pieces: dict[str, dict[int, dict[int, tuple[int, int, int, memoryview]]]] = {}
    for key, value in latest.items():
        if not key.startswith(ASSET):
            continue
        slot_text, chunk_text, name = key[len(ASSET):].decode().split("/", 2)
        if len(value) < _HEAD.size:
            raise StateError(f"the record of asset {name!r} is cut short")
        form, serial, slot, chunk, chunks, index = _HEAD.unpack_from(value)
        if form > FORMAT:
            raise StateError(f"state format {form} is newer than this program's ({FORMAT})")
        if (slot, chunk) != (int(slot_text), int(chunk_text)):
            raise StateError(f"the record of asset {name!r} contradicts its key")
        pieces.setdefault(name, {}).setdefault(slot, {})[chunk] = (
            serial, chunks, index, memoryview(value)[_HEAD.size:])
    found: dict[int, Found] = {}
    unpack = zstandard.ZstdDecompressor()
    for name, slots in pieces.items():
        if 0 not in slots:
            raise StateError(f"asset {name!r} has no base")
        base_serial, _, index, _ = slots[0][0]
        chain = Found(name, base_serial, [], [], [], max(slots) + 1,
                       max(max(chunks) for chunks in slots.values()) + 1)
        for slot in range(SLOTS):
            chunks = slots.get(slot, {})
            if not chunks or chunks[0][0] != base_serial + slot:
                break  # of an earlier, longer chain
            parts = [chunks[c] for c in range(chunks[0][1]) if c in chunks]
            if len(parts) != chunks[0][1] or any(p[0] != parts[0][0] for p in parts):
                raise StateError(f"the record of asset {name!r} lacks a chunk")
            text = parts[0][3] if len(parts) == 1 else b"".join(p[3] for p in parts)
            chain.sensors.append(_sensors(unpack, text, name))
            chain.texts.append(text)
            chain.sizes.append(len(text))
        if index in found:
            raise StateError(f"assets {name!r} and {found[index].name!r} have one index")
        found[index] = chain
    return found


def _damaged(name: str, error: Exception) -> StateError:
    return StateError(f"the record of asset {name!r} is damaged: {error}")


def _sensors(unpack: zstandard.ZstdDecompressor, text: bytes | memoryview, name: str) -> list[str]:
    """The names at the beginning of a record: the image behind them is not unpacked for them."""
    size = 1024
    while True:
        try:
            with unpack.stream_reader(text) as reader:
                plain = reader.read(size)
            end = _end_of_names(plain)
            if end:
                return msgspec.msgpack.decode(plain[1:end], type=list[str])
        except (zstandard.ZstdError, msgspec.DecodeError) as error:
            raise _damaged(name, error) from None
        if len(plain) < size:
            raise _damaged(name, ValueError("its names are cut short"))
        size *= 8


def _end_of_names(plain: bytes) -> int:
    """Where the array of strings ends that follows the first byte; 0 = beyond what is there.

    MessagePack: the high bits of a byte, or the byte itself, say what follows and in how many
    bytes its length is told.
    """
    count, at = _length(plain, 1, 0x90, 0x0F, {0xDC: 2, 0xDD: 4})
    for _ in range(count):
        if not at:
            break
        size, at = _length(plain, at, 0xA0, 0x1F, {0xD9: 1, 0xDA: 2, 0xDB: 4})
        at = at + size if at else 0
    return at if at <= len(plain) else 0


def _length(plain: bytes, at: int, short: int, mask: int, long: dict[int, int]) -> tuple[int, int]:
    """Length of the array or string that begins here, and where its content begins; 0 = cut."""
    if at >= len(plain):
        return 0, 0
    first = plain[at]
    if first & ~mask == short:
        return first & mask, at + 1
    if first not in long:
        raise msgspec.DecodeError("names were expected")
    end = at + 1 + long[first]
    return (int.from_bytes(plain[at + 1:end], "big"), end) if end <= len(plain) else (0, 0)
