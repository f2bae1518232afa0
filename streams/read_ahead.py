"""Reading ahead: what of the messages to come the scanners can read by themselves.

Between ``kafka_codec``, which decides what a message means, and the scanners of ``json_scan``,
``json_columns`` and ``arrow_columns``, which read the usual ones without an object for each. No
meaning and no counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from streams import arrow_columns, json_columns, kafka_arrow
from streams.arrow_layout import Layouts
from streams.json_scan import Names, Run, laid_out, scan_readings
from streams.wire import Block, Records

#: Messages after which those behind them are read anew, with the names that were learned meanwhile.
LEARN_MESSAGES = 128


class Fields(Protocol):
    """What the sender calls things."""

    @property
    def asset(self) -> str: ...
    @property
    def time(self) -> str: ...
    @property
    def values(self) -> str: ...


class Limits(Protocol):
    """What a message may hold."""

    @property
    def message_bytes(self) -> int: ...
    @property
    def readings(self) -> int: ...


class Ahead:
    """Reads ahead in the records to come, block by block; anew once a name was forgotten.

    Blocks may be as small as one message, so what is the same for all of them is made once, and the
    scanner that could read the block before is asked first. What is read does not depend on it: a
    message is of one kind only.

    Parameters
    ----------
    names : Names
    fields : Fields
        What the sender calls asset, time and values of columnar messages.
    limits : Limits
        Bytes and readings of a message.
    layouts : Layouts
        Arrow schemas that are known.
    """

    def __init__(self, names: Names, fields: Fields, limits: Limits, layouts: Layouts) -> None:
        self._layouts = layouts
        self._names = names
        self._columns = laid_out([
            name.encode() for name in (fields.asset, fields.time, fields.values)])
        self._limits = limits.message_bytes, limits.readings
        self._columns_first = False
        self.begin(())

    def begin(self, messages: Sequence[Any]) -> None:
        """Go on with these messages; only ``wire.Records`` can be read ahead."""
        self._messages = messages
        self._parts = messages.parts if isinstance(messages, Records) else []
        self._ends = messages.ends if isinstance(messages, Records) else []
        self._part = 0
        self._start = self._forgotten = self._added = -1  # of what was scanned: its first record
        self._run: Run | None = None
        self._edges = np.zeros(0, np.int64)
        self.unread_until = 0
        """No message before this one can be read ahead."""

    def content(self, i: int) -> tuple[bytes | None, bytes | None]:
        """Key and value of a message; in ascending order of ``i``."""
        while self._part < len(self._ends) and i >= self._ends[self._part]:
            self._part += 1
            self._run = None
        part = self._parts[self._part] if self._part < len(self._parts) else None
        if isinstance(part, Block):
            return part.content(i - self._ends[self._part] + len(part))
        message = self._messages[i] if part is None else part
        return message.key, message.value

    def run(self, i: int, columnar: bool) -> Run | json_columns.Rows | None:
        """The readings from message ``i`` on as far as they could be read; None = not this one.

        ``columnar``: whether to look for columnar messages, too.
        """
        while self._part < len(self._ends) and i >= self._ends[self._part]:
            self._part += 1
            self._run = None
        if self._part >= len(self._parts) or not isinstance(self._parts[self._part], Block):
            return None
        if self._run is not None and self._names.added != self._added and (
            i >= self._start + LEARN_MESSAGES and self._run.unit[i - self._start] < 0
        ):
            self._run = None  # most of what is unread now is of names that were new then
        if self._run is None or self._forgotten != self._names.forgotten:
            if self._columns_first:
                found = self._columns_ahead(self._rest(i), columnar)
                if found is not None:
                    return found
            self._scan(self._rest(i), i)
        assert self._run is not None
        at = i - self._start
        k = int(np.searchsorted(self._edges, at, side="right"))
        if self._run.unit[at] < 0:
            if not columnar and not len(self._layouts.known[1]):
                end = int(self._edges[k]) if k < self._edges.size else len(self._run)
                self.unread_until = min(self._start + end, i + LEARN_MESSAGES)
            found = self._columns_ahead(self._rest(i), columnar)
            self._columns_first = found is not None
            return found
        self._columns_first = False
        return self._run.part(at, int(self._edges[k]) if k < self._edges.size else len(self._run))

    def _columns_ahead(self, block: Block, columnar: bool) -> json_columns.Rows | None:
        layouts = self._layouts.known
        if kafka_arrow.looks_like(block.value(0, 4)):
            return arrow_columns.scan(
                block, self._names, layouts, *self._limits) if len(layouts[1]) else None
        return json_columns.scan(
            block, self._names, self._columns, *self._limits) if columnar else None

    def _rest(self, i: int) -> Block:
        block: Block = self._parts[self._part]
        return block.part(len(block) - (self._ends[self._part] - i), len(block))

    def _scan(self, block: Block, i: int) -> None:
        n, names = len(block), self._names
        self._run = Run(np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64),
                        np.empty(n), np.empty(n, np.int64))
        scan_readings(
            np.frombuffer(block.text, np.uint8), block.columns, self._limits[0], names.field_text,
            names.field_end, names.slots, names.text, self._run.asset, self._run.sensor,
            self._run.time_ns, self._run.value, self._run.unit,
        )
        self._edges = np.flatnonzero(np.diff(self._run.unit >= 0)) + 1
        self._start, self._forgotten, self._added = i, names.forgotten, names.added
