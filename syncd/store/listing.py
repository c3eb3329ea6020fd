"""Blocking. What is in one directory of a folder, a page at a time: the index answers, so a directory of a million
files costs no more than one of a hundred."""

from __future__ import annotations

import sqlite3

from ca.values import dataclass
from syncd.model.ids import Cid
from syncd.model.lists import BlockList
from syncd.store import rows
from syncd.store.rows import FILE, ROOT_ROW, NodeRow
from syncd.treetypes import Path

PAGE = 100
LAST_NAME = b"\xff" * 256
"""Above every name."""
BLOCKS_PER_FILE = 16
"""By so many blocks a peer is judged: those of a longer file are picked evenly."""

_HERE = "WHERE l_parent=? AND l_kind<>0 AND l_name>? ORDER BY l_name LIMIT ?"
_COMING = "WHERE parent=? AND l_kind=0 AND kind IN (1,2,3) AND name>? AND name<=? ORDER BY name LIMIT ?"


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a directory. `blocks`: some of its blocks, by which peers can be asked whether they have it."""

    name: bytes
    kind: int
    size: int
    mtime_ns: int | None
    is_here: bool
    is_pending: bool
    blocks: tuple[Cid, ...]


def db_list(connection: sqlite3.Connection, path: Path, after: bytes, most: int = PAGE) -> list[Listed] | None:
    """Entries of a directory with names above `after`, in the order of their bytes; None if there is no such
    directory."""
    at = ROOT_ROW
    for name in path:
        inner = _child(connection, at, name)
        if inner is None:
            return None
        at = inner
    found = {row.l_name or b"": (row, True) for row in rows.read(connection, _HERE, (at, after, most))}
    # Only as far as this page goes: beyond it, every file that is here would be read to find one that is not.
    last = max(found) if len(found) == most else LAST_NAME
    for row in rows.read(connection, _COMING, (at, after, last, most)):
        found.setdefault(row.name or b"", (row, False))
    return [_listed(name, *found[name]) for name in sorted(found)[:most]]


def _child(connection: sqlite3.Connection, parent: int, name: bytes) -> int | None:
    for where in ("l_parent=? AND l_name=? AND l_kind=2", "parent=? AND name=? AND kind=2"):
        found = connection.execute(f"SELECT id FROM node WHERE {where} LIMIT 1", (parent, name)).fetchone()
        if found is not None:
            return int(found[0])
    return None


def _listed(name: bytes, row: NodeRow, is_here: bool) -> Listed:
    kind = row.l_kind if is_here else row.kind
    size = (row.l_size if is_here else row.size) or 0
    mtime = row.l_mtime if is_here else row.mtime
    return Listed(name, kind, size, mtime, is_here, row.pending != 0, _blocks(row))


def _blocks(row: NodeRow) -> tuple[Cid, ...]:
    """Some blocks of what the folder says this file is, or of its list if that is in parts; none of anything else."""
    if row.kind != FILE or not row.blocks:
        return ()
    cids = BlockList(rows.parts_of(row.blocks) if row.listed else row.blocks).cids()
    return tuple(cids[:: max(1, len(cids) // BLOCKS_PER_FILE)][:BLOCKS_PER_FILE])
