"""Blocking. What stands on this disk by its rows, as a walk compares it: and what no walk comes to, because the rows
have it in something that is no directory any more."""

from __future__ import annotations

import sqlite3
from typing import Any

from syncd.engine.detect import Known
from syncd.model.conditions import Facts
from syncd.store import rows
from syncd.store.joining import IGNORED
from syncd.store.rows import DIR, FILE

BY_INODE = f"SELECT 1 FROM node WHERE l_ino=? AND l_kind={FILE} AND l_kind<>0"
KNOWN = "l_parent, l_name, l_kind, l_ino, l_size, l_mtime, l_ctime, l_mode, l_seen"
_NO_DIRECTORY = f"EXISTS (SELECT 1 FROM node p WHERE p.id=standing.l_parent AND p.l_kind<>{DIR})"


def read_strays(connection: sqlite3.Connection) -> list[Known]:
    """What stands on this disk, as its rows say, in something that is no directory there."""
    parents = [
        parent
        for (parent,) in connection.execute(
            "SELECT l_parent FROM (SELECT DISTINCT l_parent FROM node WHERE l_kind<>0 "
            f"UNION SELECT l_parent FROM copy) standing WHERE {_NO_DIRECTORY}"
        )
    ]
    found = []
    for part in rows.chunks(parents):
        inside = f"l_parent IN ({rows.marks(part)})"
        for query in (
            f"SELECT id, 0, {KNOWN} FROM node WHERE {inside} AND l_kind<>0 AND pending<>{IGNORED}",
            f"SELECT id, 1, {KNOWN} FROM copy WHERE {inside}",
        ):
            found += [known_of(line) for line in connection.execute(query, part)]
    return found


def has_pending_strays(connection: sqlite3.Connection) -> bool:
    """Whether the planner waits for one of these."""
    query = f"SELECT 1 FROM node standing WHERE pending=1 AND pending<>0 AND l_kind<>0 AND {_NO_DIRECTORY} LIMIT 1"
    return connection.execute(query).fetchone() is not None


def facts_of(was: Known) -> Facts | None:
    """What rules are told of something that has a row here."""
    return Facts(was.size, was.mtime_ns, has_entered=True) if was.kind == FILE else None


def known_of(line: tuple[Any, ...]) -> Known:
    return Known._make(line)
