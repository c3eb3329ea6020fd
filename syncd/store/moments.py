"""Blocking. When changesets count as made: `engine.timeline`'s law, kept up in rows as they arrive; and when they came.

State at time T is made of all changesets with a time label up to T and of everything these had seen. So a changeset
counts from the least label of itself and of all that had seen it: with one that arrives late, or from a clock that is
behind, what it had seen may move back in time.

Labels are what their authors say, so what may be let go of is not decided by them alone: whoever has a clock that is
years behind, or says so, would make all that was replaced a moment ago old. So a row in `came` says now and then which
changesets were here by then, on this device's own clock.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Iterable


def note_moment(connection: sqlite3.Connection, seq: int, time_ms: int, seen: Iterable[int]) -> None:
    """A changeset has come, and names these. Inside the caller's transaction."""
    note_apart(connection, seq, time_ms, seen)
    count_from(connection, seq, time_ms)


def note_apart(connection: sqlite3.Connection, seq: int, time_ms: int, seen: Iterable[int]) -> None:
    """The same of one that does not count: its label moves nothing in time, and it is not earlier than what it has
    seen. Inside the caller's transaction."""
    connection.executemany("INSERT OR IGNORE INTO saw VALUES (?,?)", [(seq, one) for one in seen])
    connection.execute(
        "INSERT OR REPLACE INTO moment SELECT ?1, max(?2, coalesce(max(m.at_ms), 0)) "
        "FROM saw s JOIN moment m ON m.seq=s.seen WHERE s.cs=?1",
        (seq, time_ms),
    )


def count_from(connection: sqlite3.Connection, seq: int, time_ms: int) -> None:
    """A changeset counts, with this label. Inside the caller's transaction."""
    connection.execute("UPDATE moment SET at_ms=min(at_ms,?2) WHERE seq=?1", (seq, time_ms))
    # Whatever counts from an earlier moment already has nothing behind it that counts from a later one.
    connection.execute(
        "WITH RECURSIVE past(seq) AS (SELECT seen FROM saw WHERE cs=?1 UNION SELECT s.seen FROM past p "
        "JOIN moment m ON m.seq=p.seq AND m.at_ms>?2 JOIN saw s ON s.cs=p.seq) "
        "UPDATE moment SET at_ms=?2 WHERE at_ms>?2 AND seq IN (SELECT seq FROM past)",
        (seq, time_ms),
    )


BULK = 50
"""Deletions in one changeset that are something to undo as a whole."""


def note_deletions(connection: sqlite3.Connection, seq: int, name: str, count: int, time_ms: int, by: str) -> None:
    """Many names were deleted at once: that can be undone as a whole. What came in several changesets is one deed.

    Inside the caller's transaction. `name`: of the changeset, as people type it.
    """
    if count < BULK:
        return
    about = f"deletions by {by}"
    joined = connection.execute(
        "UPDATE deed SET last=? WHERE last=? AND kind='delete' AND about=?", (seq, seq - 1, about)
    )
    if joined.rowcount == 0:
        connection.execute(
            "INSERT OR IGNORE INTO deed VALUES (?,'delete',?,?,?,?,NULL)", (name, time_ms / 1000, seq, seq, about)
        )


def counting_at(connection: sqlite3.Connection, at_ms: int) -> set[int]:
    """The changesets (arrival numbers) of which the state at a moment is made."""
    return {seq for (seq,) in connection.execute("SELECT seq FROM moment WHERE at_ms<=?", (at_ms,))}


ARRIVALS_MS = 300_000
"""What comes within so long has one row."""


def note_arrivals(connection: sqlite3.Connection, now_ms: int) -> None:
    """Whatever has come since the last time had come by now."""
    (newest,) = connection.execute("SELECT coalesce(max(seq),0) FROM changeset").fetchone()
    seq, at_ms = connection.execute("SELECT seq, at_ms FROM came ORDER BY seq DESC LIMIT 1").fetchone() or (0, 0)
    if newest <= seq:
        return
    if at_ms // ARRIVALS_MS == now_ms // ARRIVALS_MS:
        connection.execute("UPDATE came SET seq=?, at_ms=? WHERE seq=?", (newest, now_ms, seq))
    else:
        connection.execute("INSERT INTO came VALUES (?,?)", (newest, now_ms))


class Arrivals:
    """When changesets came, as far as this device's clock can be believed: what came later did not come earlier, and
    nothing comes after `now_ms`."""

    __slots__ = ("_at_ms", "_now_ms", "_seqs")

    def __init__(self, noted: Iterable[tuple[int, int]], now_ms: int) -> None:
        """`noted`: rows of `came`, ascending."""
        self._now_ms = now_ms
        self._seqs: list[int] = []
        self._at_ms: list[int] = []
        latest_ms = 0
        for seq, at_ms in noted:
            is_possible = at_ms <= now_ms
            if is_possible:
                latest_ms = max(latest_ms, at_ms)
            self._seqs.append(seq)
            self._at_ms.append(latest_ms if is_possible else now_ms)

    def of(self, seq: int) -> int:
        index = bisect_left(self._seqs, seq)
        return self._at_ms[index] if index < len(self._seqs) else self._now_ms


def arrivals(connection: sqlite3.Connection, now_ms: int) -> Arrivals:
    """Of all changesets that are here."""
    return Arrivals(connection.execute("SELECT seq, at_ms FROM came ORDER BY seq"), now_ms)
