"""Blocking. Where blocks lie on this disk: by cid for serving, by pid for using again what is here already.

A row says: the block of this entry starts at `off` in that source. A source is a file of the tree (node or conflict
copy), an inode in `.syncd/old`, or a pack, where `off` is that of the ciphertext. Rows are hints to be verified:
whoever reads the bytes computes the pid again before any use.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple, TypeVar, cast

from syncd.model.ids import HASH_BYTES, Cid, Pid
from syncd.model.lists import ENTRY_BYTES, Entry
from syncd.store import rows

MAX_PLACES: Final = 4
"""Of one kind: a block of a file that changes often lies in every old version of it, and one place is enough."""

_KEYS: Final = Struct(">q24xq24xI")
"""Of a packed entry: what `rows.prefix` makes of its pid and of its cid, and its length."""

Name = TypeVar("Name", bound=bytes)


class SourceKind(IntEnum):
    """Which table the row of a source is in. What is being staged is in none: only the task that stages it knows."""

    NODE = 0
    COPY = 1
    OLD = 2
    PACK = 3
    STAGED = 4


def source_of(kind: SourceKind, row: int) -> int:
    """The number under which `block.src` knows a source."""
    return row * 4 + int(kind)


_STORED = (SourceKind.NODE, SourceKind.COPY, SourceKind.OLD, SourceKind.PACK)


def source_row(source: int) -> tuple[SourceKind, int]:
    return _STORED[source % 4], source // 4


class Location(NamedTuple):
    """One place where a block is thought to lie."""

    source: int
    offset: int
    entry: Entry


def add(connection: sqlite3.Connection, items: Iterable[tuple[int, bytes]]) -> None:
    """Note the blocks of sources: (source, packed entries of the whole file, in order)."""

    def lines() -> Iterable[tuple[int, int, int, int, bytes]]:
        for source, packed in items:
            offset = 0
            for start in range(0, len(packed), ENTRY_BYTES):
                pid_key, cid_key, length = _KEYS.unpack_from(packed, start)
                yield cid_key, pid_key, source, offset, packed[start : start + ENTRY_BYTES]
                offset += length

    connection.executemany("INSERT INTO block VALUES (?,?,?,?,?)", lines())


def drop(connection: sqlite3.Connection, items: Iterable[tuple[int, bytes]]) -> None:
    """Forget the blocks of sources: (source, the packed entries that it had)."""
    keys = {(key, source) for source, packed in items for key in _keys(packed)}
    connection.executemany("DELETE FROM block WHERE ck=? AND src=?", keys)


def hand_over(connection: sqlite3.Connection, items: Iterable[tuple[int, bytes, int]]) -> None:
    """The same bytes now belong to other sources (files that went to `.syncd/old`): (source, packed entries, to)."""
    keys = {(to, key, source) for source, packed, to in items for key in _keys(packed)}
    connection.executemany("UPDATE block SET src=? WHERE ck=? AND src=?", keys)


def _keys(packed: bytes) -> Iterator[int]:
    return (rows.prefix(packed[start + 32 : start + 40]) for start in range(0, len(packed), ENTRY_BYTES))


def by_cid(connection: sqlite3.Connection, cids: Iterable[Cid]) -> dict[Cid, list[Location]]:
    """Places of blocks, by public name. Blocks that are nowhere are missing from the answer."""
    return _find(connection, "ck", HASH_BYTES, set(cids))


def by_pid(connection: sqlite3.Connection, pids: Iterable[Pid]) -> dict[Pid, list[Location]]:
    """Places of blocks, by private name. Blocks that are nowhere are missing from the answer."""
    return _find(connection, "pk", 0, set(pids))


def _find(connection: sqlite3.Connection, column: str, at: int, names: set[Name]) -> dict[Name, list[Location]]:
    """Places by the name that begins at byte `at` of their entries, at most MAX_PLACES in sources of one kind."""
    found: dict[Name, list[Location]] = {}
    for part in rows.chunks([rows.prefix(name) for name in names]):
        query = f"SELECT src, off, entry FROM block WHERE {column} IN ({rows.marks(part)})"
        for source, offset, raw in connection.execute(query, part):
            name = cast(Name, raw[at : at + HASH_BYTES])
            if name not in names:
                continue  # another name with the same beginning
            location = Location(source, offset, Entry.unpack(raw))
            others = found.get(name)
            if others is None:
                found[name] = [location]
            elif sum(other.source % 4 == source % 4 for other in others) < MAX_PLACES:
                others.append(location)
    return found
