"""Blocking. Approvals of waves, on rows: which changesets were approved by somebody with the right to delete, and which
nodes a person here has let pass, so that what is published about them says so.

An approval stands in a changeset and names others by their hashes, or itself. Whether its author had the right to give
it is a rule of the format (`journal`): what is here was given by somebody who had. It frees the named changesets, on
every device and for good, and nothing else; told again it frees nothing more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from syncd.engine.brake import WINDOW_S
from syncd.model.changesets import ITSELF, Changeset
from syncd.model.ids import ChangesetHash, NodeId
from syncd.store import rows

IS_APPROVED = "EXISTS (SELECT 1 FROM approval p WHERE p.hash={0})"
"""Of a changeset's hash, in SQL."""


def note(connection: sqlite3.Connection, seq: int, own: ChangesetHash, changeset: Changeset) -> None:
    """Keep what a changeset that counts approves; `own` is its hash."""
    connection.executemany(
        "INSERT OR IGNORE INTO approval VALUES (?,?)",
        [(own if one == ITSELF else one, seq) for one in changeset.approves],
    )


def take_back(connection: sqlite3.Connection, seqs: Iterable[int]) -> None:
    """These changesets do not count any more, and so neither does what they approve."""
    for part in rows.chunks(sorted(seqs)):
        connection.execute(f"DELETE FROM approval WHERE seq IN ({rows.marks(part)})", part)


def let_pass(connection: sqlite3.Connection, nodes: Iterable[int], now: float) -> None:
    """A person here approved what is about to be published of these nodes."""
    connection.executemany("INSERT OR REPLACE INTO passing VALUES (?,?)", [(node, now) for node in nodes])


def passing(connection: sqlite3.Connection, now: float) -> dict[NodeId, int]:
    """The nodes that were let pass lately, with their rows."""
    query = "SELECT n.nid, n.id FROM passing p JOIN node n ON n.id=p.node WHERE p.at>?"
    return {NodeId(nid): row for nid, row in connection.execute(query, (now - WINDOW_S,))}


def passed(connection: sqlite3.Connection, nodes: Iterable[int], now: float) -> None:
    """Something was published of these: the next thing is to be counted again. Also forgets what took too long."""
    connection.executemany("DELETE FROM passing WHERE node=?", [(node,) for node in nodes])
    connection.execute("DELETE FROM passing WHERE at<=?", (now - WINDOW_S,))
