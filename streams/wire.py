"""Kafka's record batches read as columns: a scanner behind kafka-python's own consumer.

kafka-python makes an object of every record, and that costs more than everything that is done with
it here. Its consumer keeps all it knows (offsets, aborted transactions, control batches,
checksums, decompression); only the loop over a batch's records is replaced: a kernel notes where
keys and values lie, and :class:`Records`, a sequence like the list it stands for, makes a record
when someone asks for it. Whatever the scanner does not understand goes through the stock loop.

The hook is an internal of kafka-python (``Fetcher.PartitionRecords``). :func:`install` therefore
reads a few batches of its own both ways and leaves the stock path in place, saying so, when they
differ. What the bytes mean is ``kafka_codec``'s and ``json_scan``'s business.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from kafka.consumer.fetcher import ConsumerRecord, Fetcher
from kafka.errors import CorruptRecordError, KafkaError, UnsupportedCodecError
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from anomaly.batches import Int64
from anomaly.kernel import kernel

UInt8 = npt.NDArray[np.uint8]

#: Columns of a scanned record: offset and time since the batch's first, where its key and its value
#: begin and how long they are (−1 = null), where its headers begin, and its size in bytes.
OFFSET, TIME, KEY, KEY_LENGTH, VALUE, VALUE_LENGTH, HEADERS, SIZE = range(8)


#: Blocks of more bytes are left alone by :func:`joined`: there is nothing to be gained.
SMALL_BYTES = 1 << 15


class DamagedBatchError(KafkaError):  # type: ignore[misc]
    """A batch whose checksum or codec is wrong: the offsets ``first`` … ``after`` − 1."""

    def __init__(self, partition: int, first: int, after: int, why: str) -> None:
        super().__init__(f"partition {partition} cannot be read from offset {first} to "
                         f"{after - 1}: {why}")
        self.partition, self.first, self.after = partition, first, after


class Block:
    """Consecutive records of one batch: their bytes and where in them everything lies.

    Iterating gives the block itself, once: kafka-python extends a list by what ``take`` returns,
    and counts it by ``len``.
    """

    __slots__ = ("_lists", "base", "columns", "epoch", "is_logged", "place", "text")

    def __init__(
        self, text: bytes, columns: Int64, base: tuple[int, int], is_logged: bool = False
    ) -> None:
        self.text = text
        self.columns = columns  # int64[n, 8]
        self.base = base  # offset and time of the batch
        self.is_logged = is_logged  # the times are the broker's own, not the senders'
        self.place: Any = None
        self.epoch = -1
        self._lists: list[list[int]] | None = None

    def __len__(self) -> int:
        return len(self.columns)

    def __iter__(self) -> Iterator[Block]:
        yield self

    def part(self, first: int, end: int) -> Block:
        """The records ``first:end`` of it, over the same bytes."""
        if first == 0 and end == len(self.columns):
            return self
        found = Block(self.text, self.columns[first:end], self.base, self.is_logged)
        found.place, found.epoch = self.place, self.epoch
        return found

    def offset(self, i: int) -> int:
        """Offset of a record in its partition."""
        return self.base[0] + int(self.columns[i, OFFSET])

    def value(self, i: int, length: int) -> bytes:
        """How a record's value begins; nothing where it has none."""
        at, size = self.columns[i, VALUE : VALUE_LENGTH + 1].tolist()
        return self.text[at : at + min(length, max(size, 0))]

    def content(self, i: int) -> tuple[bytes | None, bytes | None]:
        """Key and value of a record, without the record."""
        if self._lists is None:
            self._lists = self.columns[:, KEY:VALUE_LENGTH + 1].tolist()
        key, key_length, value, value_length = self._lists[i]
        return _cut(self.text, key, key_length), _cut(self.text, value, value_length)

    def record(self, i: int) -> Any:
        """The record as kafka-python would have made it."""
        row = self.columns[i].tolist()
        key = _cut(self.text, row[KEY], row[KEY_LENGTH])
        value = _cut(self.text, row[VALUE], row[VALUE_LENGTH])
        headers = _headers(self.text, row[HEADERS])
        size = sum(len(name.encode()) + len(text or b"") for name, text in headers)
        return ConsumerRecord(
            self.place.topic, self.place.partition, self.epoch, self.base[0] + row[OFFSET],
            self.base[1] + row[TIME], int(self.is_logged),
            key, value, headers, None, row[KEY_LENGTH], row[VALUE_LENGTH], size if headers else -1)


class Records(Sequence[Any]):
    """Records of one partition in order, made when asked for.

    Attributes
    ----------
    parts : list of Block or record
        What it consists of; a record that the scanner left alone stands for itself.
    """

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts
        lengths = [len(p) if isinstance(p, Block) else 1 for p in parts]
        self.ends = list(itertools.accumulate(lengths))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    @overload
    def __getitem__(self, which: int) -> Any: ...
    @overload
    def __getitem__(self, which: slice) -> Records: ...
    def __getitem__(self, which: int | slice) -> Any:
        if isinstance(which, slice):
            first, end, step = which.indices(len(self))
            assert step == 1
            return Records(list(self._between(first, end)))
        i = which + len(self) if which < 0 else which
        if not 0 <= i < len(self):
            raise IndexError(which)
        k = bisect.bisect_right(self.ends, i)
        part = self.parts[k]
        return part.record(i - self.ends[k] + len(part)) if isinstance(part, Block) else part

    def __iter__(self) -> Iterator[Any]:
        for part in self.parts:
            if isinstance(part, Block):
                yield from map(part.record, range(len(part)))
            else:
                yield part

    def _between(self, first: int, end: int) -> Iterator[Any]:
        start = 0
        for part, stop in zip(self.parts, self.ends, strict=True):
            low, high = max(first, start), min(end, stop)
            if low < high:
                yield part.part(low - start, high - start) if isinstance(part, Block) else part
            start = stop


def joined(parts: Sequence[Any]) -> list[Any]:
    """The same records in fewer parts: small blocks that follow one another become one.

    At a few thousand messages a second a record batch holds two or three, and whatever reads a
    block costs the same for one as for a hundred.
    """
    found: list[Any] = []
    run: list[Block] = []
    for part in parts:
        small = isinstance(part, Block) and len(part.text) <= SMALL_BYTES
        if run and not (small and _go_together(run[-1], part)):
            found.append(_one(run))
            run = []
        if small:
            run.append(part)
        else:
            found.append(part)
    return [*found, _one(run)] if run else found


def _go_together(one: Block, other: Block) -> bool:
    return one.place == other.place and one.epoch == other.epoch and (
        one.is_logged == other.is_logged)


def _one(blocks: Sequence[Block]) -> Block:
    first = blocks[0]
    if len(blocks) == 1:
        return first
    shift, at = [], 0
    for block in blocks:
        shift.append((block.base[0] - first.base[0], block.base[1] - first.base[1],
                      at, 0, at, 0, at, 0))  # the columns in their order
        at += len(block.text)
    columns = np.concatenate([block.columns for block in blocks])
    columns += np.repeat(np.array(shift), [len(block) for block in blocks], axis=0)
    found = Block(b"".join([block.text for block in blocks]), columns, first.base, first.is_logged)
    found.place, found.epoch = first.place, first.epoch
    return found


class ScannedBatch(DefaultRecordBatch):  # type: ignore[misc]
    """A batch that is iterated as one record whose value is a :class:`Block`."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        if self.is_control_batch:
            return self._stock()
        self._maybe_uncompress()
        text = bytes(self._buffer)
        columns = np.empty((max(self._num_records, 0), 8), np.int64)
        end = scan_records(np.frombuffer(text, np.uint8), self._pos, columns)
        if end != len(text) or not len(columns):
            return self._stock()
        is_logged = self.timestamp_type == self.LOG_APPEND_TIME
        if is_logged:
            columns[:, TIME] = self.max_timestamp - self.first_timestamp
        block = Block(text, columns, (self.base_offset, self.first_timestamp), is_logged)
        return iter((_Whole(block, end - self._pos),))

    def _stock(self) -> Iterator[Any]:
        """Record by record, and with the errors of the stock loop."""
        return super().__iter__()  # type: ignore[no-any-return]


class _Whole:
    """What kafka-python's loop takes for a record: the last of a block, with the block as value."""

    __slots__ = ("checksum", "headers", "key", "offset", "size_in_bytes", "timestamp",
                 "timestamp_type", "value")

    def __init__(self, block: Block, size: int) -> None:
        self.value = block
        self.key = None
        self.headers: tuple[()] = ()
        self.checksum = None
        self.offset = block.offset(len(block) - 1)
        self.timestamp = self.timestamp_type = 0
        self.size_in_bytes = size

    def validate_crc(self) -> bool:
        """Records of this format have none; their batch's was checked."""
        return True


class ScannedPartition(Fetcher.PartitionRecords):  # type: ignore[misc]
    """kafka-python's records of one partition, handed out in blocks."""

    def __init__(self, fetch_offset: int, place: Any, records: Any, *rest: Any, **named: Any
                 ) -> None:
        self._left: Any = None
        self._batches = _Batches(records)
        super().__init__(fetch_offset, place, self._batches, *rest, **named)

    def __bool__(self) -> bool:
        return self._left is not None or self.record_iterator is not None

    def drain(self) -> None:
        self._left = None
        super().drain()

    def take(self, n: int | None = None) -> _Taken:
        try:
            self._maybe_raise_next_inline_exception()
        except DamagedBatchError:
            self.drain()  # or kafka-python would ask the rest of us for ever
            raise
        taken = _Taken()
        try:
            while n is None or len(taken) < n:
                part = self._left if self._left is not None else self._next()
                self._left = None
                if part is None:
                    break
                room = len(part) if n is None or not isinstance(part, Block) else n - len(taken)
                if isinstance(part, Block) and len(part) > room:
                    self._left = part.part(room, len(part))
                    part = part.part(0, room)
                taken.add(part)
        except Exception as error:  # as in the stock loop: what was read before it goes out first
            if isinstance(error, CorruptRecordError | UnsupportedCodecError):
                error = self._damage(error)
            if not len(taken):
                self.drain()
                raise error from None
            self._next_inline_exception = error
        if self._left is not None:
            self.next_fetch_offset = self._left.offset(0)
        elif taken.parts and isinstance(taken.parts[-1], Block):
            last = taken.parts[-1]
            self.next_fetch_offset = max(self.next_fetch_offset, last.offset(len(last) - 1) + 1)
        return taken

    def _damage(self, error: Exception) -> Exception:
        """The same with its place, where the batch's head tells it."""
        batch = self._batches.latest
        first = getattr(batch, "base_offset", -1)
        last = first + getattr(batch, "last_offset_delta", -1)
        if not 0 <= first <= last:
            return error
        return DamagedBatchError(self.topic_partition.partition, first, last + 1, str(error))

    def _next(self) -> Any:
        """The next block or record; None = there is no more."""
        for record in self.record_iterator or ():
            if not isinstance(record.value, Block):
                return record
            block = record.value
            block.place, block.epoch = self.topic_partition, record.leader_epoch
            self.records_read += len(block) - 1
            wanted, first = self.fetch_offset - block.base[0], 0
            if wanted > 0:  # only of the first batch that was fetched
                first = int(np.searchsorted(block.columns[:, OFFSET], wanted))
            if first < len(block):
                return block.part(first, len(block))
        return None


class _Taken:
    """What ``take`` returns: it counts records and is iterated part by part."""

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self._length = 0

    def add(self, part: Any) -> None:
        self.parts.append(part)
        self._length += len(part) if isinstance(part, Block) else 1

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        return iter(self.parts)


class _Batches:
    """Record batches of the present format become scanned ones."""

    def __init__(self, records: Any) -> None:
        self._records = records
        self.latest: Any = None

    def next_batch(self) -> Any:
        batch = self.latest = self._records.next_batch()
        if type(batch) is DefaultRecordBatch:
            batch.__class__ = ScannedBatch
        return batch


def install(
    consumer: Any, say: Callable[[str], None], reads_alike: Callable[[Records], bool]
) -> bool:
    """Put the scanner behind a ``KafkaConsumer``, if it reads what the stock path reads.

    ``reads_alike`` tells whether what stands behind (the codec) makes the same of scanned records
    as of the same records one by one. Returns whether the scanner is in place; else the reason was
    said and the consumer is as it was.
    """
    try:
        agreed = _agrees(reads_alike)
        why = "it reads other records than the client library does"
    except Exception as error:  # an internal that moved: any of its ways to fail means the same
        agreed, why = False, f"{type(error).__name__}: {error}"
    fetcher = getattr(consumer, "_fetcher", None)
    if not agreed or fetcher is None:
        say(f"reading slowly: the fast reader does not fit this client library ({why})")
        return False
    fetcher.PartitionRecords = ScannedPartition
    return True


_SAMPLES = (
    b'{"asset": "a", "sensor": "s", "ts": 17000000000%02d, "value": 1.5}',
    b'{"ts":1700000000%02d, "value":-3.25e-3,"sensor":"s","asset":"a"}',
    b'{"asset": "a", "ts": 17000000000%02d, "values": {"s": 1.0, "t": null}}',
    b'{"asset": "b", "sensor": "\\u0073", "ts": 1700000000%02d, "value": 123456789.12345678}',
    b'[[[[[[[[[%d]]]]]]]]]',
)


def _agrees(reads_alike: Callable[[Records], bool]) -> bool:
    """Whether both paths read the same records from the same bytes, compressed ones included."""
    from kafka import TopicPartition

    place = TopicPartition("check", 0)
    for codec in (0, 1, 2, 3, 4):
        builder = DefaultRecordBatchBuilder(2, codec, False, -1, -1, -1, 1 << 16)
        for i in range(40):
            builder.append(i, 1_700_000_000_000 + i, None if i % 3 else b"key%d" % i,
                           None if i == 7 else _SAMPLES[i % len(_SAMPLES)] % i,
                           [("name", b"x"), ("none", None)] if i % 4 == 0 else [])
        text = bytes(builder.build())
        stock = Fetcher.PartitionRecords(5, place, MemoryRecords(text)).take()
        fast = ScannedPartition(5, place, MemoryRecords(text))
        found = [record for n in (3, 4, None) for record in Records(list(fast.take(n)))]
        again = Records(list(ScannedPartition(0, place, MemoryRecords(text)).take()))
        if found != stock or not reads_alike(again):
            return False
    return True


@kernel
def scan_records(text: UInt8, at: int, columns: Int64) -> int:
    """Note every record of a batch's body; returns where the last ends, −1 = not understood."""
    for i in range(len(columns)):
        start = at
        length, at = _varint(text, at)
        end = at + length
        if length < 0 or at < 0 or end > text.size:
            return -1
        _, at = _varint(text, at)
        columns[i, TIME], at = _varint(text, at)
        columns[i, OFFSET], at = _varint(text, at)
        for begin, size in ((KEY, KEY_LENGTH), (VALUE, VALUE_LENGTH)):
            length, at = _varint(text, at)
            if at < 0 or length < -1 or at + length > end:
                return -1
            columns[i, begin], columns[i, size] = at, length
            at += max(length, 0)
        columns[i, HEADERS] = at
        count, at = _varint(text, at)
        if at < 0 or count < 0 or count > end - at + 1:
            return -1
        for _ in range(2 * count):
            length, at = _varint(text, at)
            if at < 0 or length < -1 or at + length > end:
                return -1
            at += max(length, 0)
        if at != end:
            return -1
        columns[i, SIZE] = end - start
        if i > 0 and columns[i, OFFSET] <= columns[i - 1, OFFSET]:
            return -1
    return at


@kernel
def _varint(text: UInt8, at: int) -> tuple[Any, int]:
    """A zigzag varint and where it ends; −1 = it does not."""
    if at < 0:
        return 0, -1
    found, shift = np.uint64(0), np.uint64(0)
    while at < text.size and shift < 64:
        byte = np.uint64(text[at])
        found |= (byte & np.uint64(127)) << shift
        at += 1
        if byte < 128:
            return np.int64(found >> np.uint64(1)) ^ -np.int64(found & np.uint64(1)), at
        shift += np.uint64(7)
    return 0, -1


def _cut(text: bytes, at: int, length: int) -> bytes | None:
    return None if length < 0 else text[at : at + length]


def _headers(text: bytes, at: int) -> list[tuple[str, bytes | None]]:
    if not text[at]:  # as good as always
        return []
    whole = np.frombuffer(text, np.uint8)
    count, at = _varint(whole, at)
    found: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        length, at = _varint(whole, at)
        name = text[at : at + length].decode()
        at += length
        length, at = _varint(whole, at)
        found.append((name, _cut(text, at, length)))
        at += max(length, 0)
    return found
