"""Where an alert's time goes: clocks around what a worker does, and the table made of them.

Only for measuring. The worker that is measured runs :data:`PROGRAM` before the real one does: it
puts a clock around the client's poll, a partition's turn and the steps of a commit, and writes one
line for every alert that goes out. The service knows nothing of it. Times are the machine's own in
nanoseconds, so lines can be compared with what the sender and the reader of the alerts note.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

#: What a worker runs beforehand; ``%s`` is the path of its lines.
PROGRAM = "from benchmarks import live_trace\nlive_trace.install(%r)"
#: From one moment of an alert's life to the next, and what happens in between.
STAGES = (
    ("appended", "begun", "the sender's linger, the turn before and the fetch"),
    ("begun", "decoded", "partitions that were taken before"),
    ("decoded", "judged", "decoding and judging its own partition"),
    ("judged", "commit", "partitions that were taken after"),
    ("commit", "sent", "commit: messages and state written"),
    ("sent", "offered", "commit: offsets offered"),
    ("offered", "committed", "commit: ended"),
    ("committed", "read", "markers written, fetched by the reader"),
)


def install(path: str) -> None:
    """Put the clocks in place, in this process, and write lines to ``path``."""
    from kafka import KafkaProducer

    from streams.kafka_sink import Transactions
    from streams.kafka_source import KafkaSource
    from streams.lane import Lane

    waiting: dict[bytes, dict[str, int]] = {}  # an alert's message -> its moments
    now: dict[str, int] = {}

    def after(owner: Any, name: str, moment: str) -> None:
        """Note when the call was over."""
        own: Callable[..., Any] = getattr(owner, name)

        def timed(*given: Any, **named: Any) -> Any:
            found = own(*given, **named)
            now[moment] = time.time_ns()
            return found

        setattr(owner, name, timed)

    after(KafkaSource, "poll", "begun")
    after(KafkaProducer, "flush", "sent")
    after(KafkaProducer, "send_offsets_to_transaction", "offered")
    take, commit = Lane.take, Transactions.commit

    def timed_take(lane: Any, records: Sequence[Any]) -> None:
        if "begun" not in now:  # nothing was polled yet: kernels are being compiled
            take(lane, records)
            return
        held, began = len(lane.pending), time.time_ns()
        take(lane, records)
        moments = {"begun": now["begun"], "decoded": began, "judged": time.time_ns()}
        for message in lane.pending[held:]:
            if message.topic == lane.kafka.alerts_topic:
                waiting[message.value] = moments

    def timed_commit(self: Any, messages: Sequence[Any], *rest: Any) -> None:
        began = time.time_ns()
        commit(self, messages, *rest)
        ended, lines = time.time_ns(), []
        for message in messages:
            moments = waiting.pop(message.value, None)
            if moments is not None:
                body = json.loads(message.value)
                lines.append(json.dumps({
                    **moments, "asset": body["asset"], "time": body["time"],
                    "state": body["state"], "commit": began, "sent": now["sent"],
                    "offered": now["offered"], "committed": ended}) + "\n")
        if lines:
            with Path(path).open("a", encoding="utf-8") as out:
                out.writelines(lines)

    Lane.take = timed_take  # type: ignore[method-assign]
    Transactions.commit = timed_commit  # type: ignore[method-assign]


def table(
    lines: Sequence[Mapping[str, Any]], appended: Mapping[tuple[str, str], int],
    read: Mapping[tuple[str, str], int],
) -> list[dict[str, Any]]:
    """One row per stage, in ms: median, 99th percentile, and the mean of the slowest twentieth.

    ``lines`` are what :func:`install` wrote; ``appended`` and ``read`` tell by asset and time of
    the alert when its message was sent and when it was read.
    """
    moments = [{**line, "appended": appended[key], "read": read[key]} for line in lines
               if (key := (line["asset"], line["time"])) in appended and key in read]
    if not moments:
        return []
    whole = np.array([m["read"] - m["appended"] for m in moments])
    slow = whole >= np.percentile(whole, 95)
    rows = []
    for first, last, what in (*STAGES, ("appended", "read", "in all")):
        ms = np.array([m[last] - m[first] for m in moments]) / 1e6
        rows.append({"stage": what, "p50": float(np.percentile(ms, 50)),
                     "p99": float(np.percentile(ms, 99)), "of_the_slowest": float(ms[slow].mean())})
    return rows


def told(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table as text."""
    width = max((len(row["stage"]) for row in rows), default=0)
    lines = [f"{'ms':{width}}    p50    p99  mean of the slowest twentieth"]
    lines += [f"{row['stage']:{width}} {row['p50']:6.1f} {row['p99']:6.1f} "
              f"{row['of_the_slowest']:6.1f}" for row in rows]
    return "\n".join(lines)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """What a worker wrote; of one that was killed the last line may be torn."""
    found = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            found.append(json.loads(text))
        except ValueError:
            continue
    return [line for line in found if line["state"] == "firing"]
