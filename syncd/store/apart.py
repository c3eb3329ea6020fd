"""Blocking. How much is kept of changesets that do not count (`journal.QUARANTINED`), and of whom.

Whoever lost the right to publish can still sign what they like as of a day on which they had it, in as many journals
as they like; somebody who is behind, or their friend, hands it on. It does not count, but it is kept, because somebody
with rights may turn out to have seen it. So there is a bound: of one author, and of all together. What comes when it is
reached is left out: not fetched, not kept, not told to others.

Nothing is dropped to make room, so nobody pushes out what somebody else published; and the first few changesets of
every author have a place whatever others filled. What was left out is not lost either: when somebody with rights names
it, it is fetched whatever the bound says, from whoever told of the one that names it (`Called`).

Counted by triggers of the database (`schema.m010_apart`): no way to put a changeset aside, or to let it count, goes
past them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.model.ids import ChangesetHash


@dataclass(frozen=True, slots=True)
class Room:
    """So many changesets, and so many bytes of heads and bodies."""

    changesets: int
    size_bytes: int

    def holds(self, changesets: int, size_bytes: int) -> bool:
        return changesets <= self.changesets and size_bytes <= self.size_bytes


@dataclass(frozen=True, slots=True)
class Rooms:
    """The bounds of one folder. `everybodys`: of each author, even when others have filled the folder's."""

    of_one: Room = Room(4096, 32 << 20)
    of_all: Room = Room(32_768, 256 << 20)
    everybodys: Room = Room(8, 64 << 10)


MAX_CALLED: Final = 100_000
"""Changesets that one peer can have us look for at a time."""


class Called:
    """Changesets that are needed because somebody with rights names them: they are taken whatever the bounds say.

    One for each connection, so that a liar only makes us search what he tells himself."""

    def __init__(self) -> None:
        self._hashes: set[ChangesetHash] = set()

    def __contains__(self, hash_: ChangesetHash) -> bool:
        return hash_ in self._hashes

    def add(self, hashes: Iterable[ChangesetHash]) -> bool:
        """Whether any of them is new."""
        before = len(self._hashes)
        for hash_ in hashes:
            if len(self._hashes) >= MAX_CALLED:
                break
            self._hashes.add(hash_)
        return len(self._hashes) > before

    def came(self, hash_: ChangesetHash) -> None:
        """It is here now."""
        self._hashes.discard(hash_)


@dataclass(frozen=True, slots=True)
class Apart:
    """What is kept of one author without counting; and when something more was last left out (unix milliseconds).
    `denied`: a person here has said no to all of it."""

    device: DeviceId
    changesets: int
    size_bytes: int
    left_out_ms: int | None
    denied: bool


class Fill:
    """How full the rooms are, as of when it was made."""

    def __init__(self, connection: sqlite3.Connection, rooms: Rooms) -> None:
        found = connection.execute(
            "SELECT a.device, p.changesets, p.bytes FROM apart p JOIN author a ON a.id=p.author WHERE p.changesets>0"
        )
        self._rooms = rooms
        self._of_one = {device: (changesets, kept_bytes) for device, changesets, kept_bytes in found}
        self._changesets = sum(changesets for changesets, _ in self._of_one.values())
        self._bytes = sum(kept_bytes for _, kept_bytes in self._of_one.values())

    def has_room(self, device: DeviceId, size_bytes: int) -> bool:
        """Whether one more changeset of this author, of this size, is kept."""
        changesets, kept_bytes = self._of_one.get(device, (0, 0))
        if self._rooms.everybodys.holds(changesets + 1, kept_bytes + size_bytes):
            return True
        if not self._rooms.of_one.holds(changesets + 1, kept_bytes + size_bytes):
            return False
        return self._rooms.of_all.holds(self._changesets + 1, self._bytes + size_bytes)


def db_note_left_out(connection: sqlite3.Connection, author: int, now_ms: int) -> bool:
    """Something of this author was left out; whether that is the first time."""
    found = connection.execute("SELECT left_out FROM apart WHERE author=?", (author,)).fetchone()
    connection.execute(
        "INSERT INTO apart(author, left_out) VALUES (?1,?2) ON CONFLICT(author) DO UPDATE SET left_out=?2",
        (author, now_ms),
    )
    return found is None or found[0] is None


def has_left_out(connection: sqlite3.Connection) -> bool:
    """Whether anything was ever left out here."""
    return connection.execute("SELECT 1 FROM apart WHERE left_out IS NOT NULL LIMIT 1").fetchone() is not None


def db_apart(connection: sqlite3.Connection) -> list[Apart]:
    """What is kept apart or was left out, by author, most first."""
    found = connection.execute(
        "SELECT a.device, p.changesets, p.bytes, p.left_out FROM apart p JOIN author a ON a.id=p.author "
        "WHERE p.changesets>0 OR p.left_out IS NOT NULL ORDER BY p.bytes DESC, a.device"
    )
    return [
        Apart(device, changesets, kept_bytes, left_out_ms, db_is_denied(connection, device))
        for device, changesets, kept_bytes, left_out_ms in found.fetchall()
    ]


def db_deny(connection: sqlite3.Connection, device: DeviceId, newest: int) -> None:
    """A person here has said no to what is kept apart of this author, as far as this arrival number."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (_denied_key(device), newest))


def db_is_denied(connection: sqlite3.Connection, device: DeviceId) -> bool:
    """Whether a person here has said no, and no more of it has come since."""
    found = connection.execute("SELECT value FROM meta WHERE key=?", (_denied_key(device),)).fetchone()
    newer = (
        "SELECT 1 FROM changeset c JOIN author a ON a.id=c.author WHERE c.state=2 AND c.seq>? AND a.device=? LIMIT 1"
    )
    return found is not None and connection.execute(newer, (found[0], device)).fetchone() is None


def db_ask_again(connection: sqlite3.Connection, devices: Iterable[DeviceId]) -> None:
    """What had counted was put aside as well: a no was not meant for that."""
    connection.executemany("DELETE FROM meta WHERE key=?", [(_denied_key(device),) for device in devices])


def _denied_key(device: DeviceId) -> str:
    return f"denied {device.hex()}"
