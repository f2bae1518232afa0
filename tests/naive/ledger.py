"""The ledger's rules, second by second in plain Python: one list of headings per asset.

Slow on purpose. Times are whole seconds here, so that a heading can stand for each of them; what is
only known later is written back into the list.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from anomaly.states import BLOCKED, CHANGEOVER, IDLE, PRODUCING, STOPPED, UNKNOWN

Row = tuple[int, int, float]  # second, canonical state or −1, parts counter


def book(
    rows: Sequence[Row], nominal: int, micro: int, hold: int, planned: Sequence[tuple[int, int]]
) -> list[str]:
    """Headings of the seconds from the first row's to the last one's; ``nominal`` 0 = unknown."""
    start = rows[0][0]
    found: list[str] = []
    state, parts = max(rows[0][1], UNKNOWN), rows[0][2]
    bank = nominal
    pending: list[int] = []  # places in ``found``
    why = ""

    def settle(slow_up_to: float = 0.0) -> None:
        nonlocal pending, why
        if why in ("stopping", "waiting"):
            slow = why == "waiting" and len(pending) <= slow_up_to
            for place in pending:
                found[place] = "slow" if slow else "micro_stop"
        pending, why = [], ""

    def stretch(kind: str, seconds: int) -> None:
        nonlocal why
        why = why or kind
        for _ in range(seconds):
            pending.append(len(found))
            found.append("stop")
        if len(pending) >= micro:
            why = "declared"

    last, usual = start, 0
    for second, said, counter in rows[1:]:
        length = second - last
        made = 0.0
        if not math.isnan(counter):
            made = max(0.0, counter - parts) if not math.isnan(parts) else 0.0
            parts = counter
        held = length if usual == 0 or length <= hold else min(length, usual)
        usual = usual or length
        bank = min(bank, 2 * nominal) + int(made) * nominal if made else bank
        counting = state == UNKNOWN and not math.isnan(rows[0][2])
        if state == STOPPED:
            stretch("stopping", held)
        elif state == PRODUCING or counting:
            if made:
                settle(0.5 * nominal)
            rate = min(held, bank) if nominal else held
            bank = min(bank - rate, nominal + min(held, nominal)) if nominal else bank
            found += ["at_rate"] * rate
            if rate < held and not counting:
                found += ["slow"] * (held - rate)
            elif rate < held:
                stretch("waiting", held - rate)
                if made:
                    settle(0.5 * made * nominal)
        else:
            names = {UNKNOWN: "no_data", BLOCKED: "blocked", CHANGEOVER: "changeover",
                     IDLE: "planned"}
            found += [names.get(state, "starved")] * held
        if held < length:
            settle(0.5 * nominal)
            found += ["no_data"] * (length - held)
            bank = nominal
        last = second
        if said >= 0 and said != state:
            settle(0.5 * nominal)
            state = said
    settle(0.5 * nominal)
    for first, end in planned:
        for place in range(max(first - start, 0), min(end - start, len(found))):
            if found[place] not in ("at_rate", "slow"):
                found[place] = "planned"
    return found
