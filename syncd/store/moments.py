"""Blocking. When changesets count as made: `engine.timeline`'s law, kept up in rows as they arrive.

State at time T is made of all changesets with a time label up to T and of everything these had seen. So a changeset
counts from the least label of itself and of all that had seen it: with one that arrives late, or from a clock that is
behind, what it had seen may move back in time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable


def note_moment(connection: sqlite3.Connection, seq: int, time_ms: int, seen: Iterable[int]) -> None:
    """A changeset has come, and names these. Inside the caller's transaction."""
    connection.execute("INSERT OR REPLACE INTO moment VALUES (?,?)", (seq, time_ms))
    connection.executemany("INSERT OR IGNORE INTO saw VALUES (?,?)", [(seq, one) for one in seen])
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
