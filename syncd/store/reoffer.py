"""Blocking. What stands only here. What was deleted on this disk alone, by a device that may not delete, is put there
again if a person asks for it, as others have it; what was made by one that might not publish is sent once it may.
"""

from __future__ import annotations

import sqlite3

from syncd.store.joining import ONLY_HERE, PENDING
from syncd.store.journal import QUARANTINED

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


def db_offer(connection: sqlite3.Connection) -> None:
    """The next look finds everything changed that was made here without the right to publish (`publish.Publisher`); but
    not what was published and judged to count nowhere."""
    connection.execute(
        "UPDATE node SET l_ctime=0 WHERE pending<>0 AND pending=? AND l_kind<>0 AND l_ctime<>0 "
        "AND NOT EXISTS (SELECT 1 FROM changeset c WHERE c.seq=node.s_ccs AND c.state=?)",
        (ONLY_HERE, QUARANTINED),
    )
