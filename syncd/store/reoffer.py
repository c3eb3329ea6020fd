"""Blocking. What was deleted on this disk alone, by a device that may not delete: it is put there again if a person
asks for it, as others have it."""

from __future__ import annotations

import sqlite3

from syncd.store.joining import ONLY_HERE, PENDING

_BELOW = """
WITH RECURSIVE below(id) AS (SELECT ? UNION SELECT n.id FROM node n JOIN below b ON n.parent=b.id)
SELECT id, kind FROM node WHERE id IN below AND pending=? AND l_kind=0 AND kind IN (1,2,3)
"""


def db_reoffer(connection: sqlite3.Connection, top: int, *, dry_run: bool) -> int:
    """Let what lives elsewhere and is gone here be wanted again, at this row and below it. How many files and links."""
    found = connection.execute(_BELOW, (top, ONLY_HERE)).fetchall()
    if not dry_run:
        connection.executemany("UPDATE node SET pending=? WHERE id=?", [(PENDING, id_) for id_, _ in found])
    return sum(kind != 2 for _, kind in found)
