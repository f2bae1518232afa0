"""Naive twin of ``anomaly.echo``: the interruptions of one asset as lists, all over again.

Same rules, no running state but the list of rows so far and of announcements.
"""

from __future__ import annotations

from anomaly.echo import (
    AGREEMENTS,
    EARLY_SHARE,
    FORGOTTEN_AFTER,
    LEAD_LEAST_NS,
    LEAD_LIMIT_NS,
    LEAD_SHARE,
    LEAST_ROWS,
    MULTIPLES,
    QUIET_ROWS,
    STILL_INTERVALS,
    TOLD_LIMIT,
    TOLERANCE,
)


def announcements(time_ns: list[int], may_fire: list[bool]) -> list[tuple[int, int, int, int]]:
    """(row, 1 = announced / 0 = over, time of the interruption counted from, time left)."""
    found: list[tuple[int, int, int, int]] = []
    usual, ran, marks, known = None, 0, [], 0  # marks: (running time, event time)
    length, agreed, told, open_since, quiet, others = 0, 0, 0, None, 0, 0
    for i in range(1, len(time_ns)):
        passed = time_ns[i] - time_ns[i - 1]
        before = usual or passed
        most = max(1, before // 32)
        usual = before + max(-most, min(most, passed - before))
        ran += before if passed > STILL_INTERVALS * before else passed
        early = passed < EARLY_SHARE * before
        if early and quiet >= QUIET_ROWS:
            if open_since is not None:
                found.append((i, 0, open_since, 0))
                open_since = None
            if marks:
                new = ran - marks[-1][0]
                again = [new // k for k in range(1, MULTIPLES + 1)
                         if known and abs(new // k - known) <= TOLERANCE * known]
                if length and abs(new - length) <= max(int(TOLERANCE * length), usual):
                    agreed, length = agreed + 1, new
                elif again:
                    agreed, length = AGREEMENTS, again[0]
                else:
                    agreed, length, told = 0, new, 0
                others += 1
                if agreed >= AGREEMENTS:
                    known, others = length, 0
                elif others >= FORGOTTEN_AFTER:
                    known = 0
            marks.append((ran, time_ns[i]))
        quiet = 0 if early else quiet + 1
        since = ran - (marks[-1][0] if marks else 0)
        if open_since is not None and since > length + 2 * max(int(TOLERANCE * length), usual):
            found.append((i, 0, open_since, 0))
            open_since, agreed, told = None, 0, 0
        lead = min(LEAD_SHARE * length, LEAD_LIMIT_NS)
        if (agreed >= AGREEMENTS and may_fire[i] and open_since is None and told < TOLD_LIMIT
                and lead >= LEAD_LEAST_NS and length >= LEAST_ROWS * usual
                and 0 < length - since <= lead):
            open_since, told = marks[-1][1], told + 1
            found.append((i, 1, open_since, length - since))
    return found
