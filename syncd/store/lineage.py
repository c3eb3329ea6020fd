"""Blocking. In which directory a node stands, and who else claims a name there: rules 2 and 3 of `model.view`, on rows.

Nearly always that is the row's own parent. It is not where that parent is a file (two devices made a file and a
directory of one id), or is not known yet; the table `odd` has these parents, and is nearly always empty. The walk
upwards ends because `joining.settle_cycles` leaves no cycle.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import field

from ca.values import dataclass
from syncd.store import rows
from syncd.store.rows import DELETED, DIR, FILE, NONE, ROOT_ROW, SYMLINK, NodeRow

MAX_DEPTH = 4096
"""Directories above one node that are followed; deeper trees cannot exist on any disk."""

_UNNAMED = b"unnamed "


def note_odd(connection: sqlite3.Connection, nodes: Iterable[int]) -> None:
    """From now on these are odd: without a place, or named as a parent without being known as something that holds
    children."""
    query = "INSERT INTO odd(node) VALUES (?) ON CONFLICT(node) DO UPDATE SET settled=0 WHERE settled<>0"
    connection.executemany(query, [(node,) for node in nodes])


@dataclass(slots=True)
class Lineage:
    """Answers from the rows as they are, remembering what it has found out: make a new one after a change."""

    connection: sqlite3.Connection
    _rows: dict[int, NodeRow | None] = field(default_factory=dict)
    _directories: dict[int, int] = field(default_factory=dict)
    _lives: dict[int, bool] = field(default_factory=dict)
    _odd: tuple[int, ...] | None = None

    def remember(self, row: NodeRow) -> None:
        """A row that was read already."""
        self._rows[row.id] = row

    def row(self, node: int) -> NodeRow | None:
        if node not in self._rows:
            self._rows[node] = rows.read_ids(self.connection, [node]).get(node)
        return self._rows[node]

    def directory(self, row: NodeRow) -> int:
        """The directory it stands in: an unknown parent means the root, a parent that is none means that one's."""
        return ROOT_ROW if row.parent is None else self.inside(row.parent)

    def inside(self, parent: int) -> int:
        """The directory in which children of a node stand: that node, or the nearest above it that is one."""
        known = self._directories.get(parent)
        if known is not None:
            return known
        at = parent
        for _ in range(MAX_DEPTH):
            row = None if at == ROOT_ROW else self.row(at)
            if row is None or not self._is_known(row):
                at = ROOT_ROW
            if at == ROOT_ROW or row is None or row.kind in (DIR, DELETED, NONE):
                break
            at = ROOT_ROW if row.parent is None else row.parent
        else:
            at = ROOT_ROW
        self._directories[parent] = at
        return at

    def _is_known(self, row: NodeRow) -> bool:
        """Whether any record about it has come; else it is only the parent that another one names."""
        if row.p_cs is not None or row.c_cs is not None or row.a_cs is not None:
            return True
        query = "SELECT 1 FROM place WHERE node=? LIMIT 1"
        return self.connection.execute(query, (row.id,)).fetchone() is not None

    def lives(self, row: NodeRow) -> bool:
        """Has living content, or is something that holds children and has a living one."""
        if row.kind in (FILE, DIR, SYMLINK):
            return True
        known = self._lives.get(row.id)
        if known is None:
            # Below a deleted directory there may be others; the first thing that lives by itself decides.
            query = (
                "WITH RECURSIVE below(id, kind) AS (SELECT id, kind FROM node WHERE parent=?1 AND id<>?1 "
                "UNION SELECT n.id, n.kind FROM below b JOIN node n ON n.parent=b.id WHERE b.kind IN (0,4)) "
                "SELECT 1 FROM below WHERE kind IN (1,2,3) LIMIT 1"
            )
            found = self.connection.execute(query, (row.id,)).fetchone() is not None
            known = self._lives[row.id] = found and self._is_known(row)
        return known

    def name(self, row: NodeRow) -> bytes:
        """The name that its place gives it."""
        return _UNNAMED + row.nid.hex()[:8].encode() if row.name is None else row.name

    def claimants(self, directory: int, name: bytes) -> list[NodeRow]:
        """All nodes, living or not, whose place gives them this name in this directory."""
        found = rows.read(self.connection, "WHERE parent=? AND name=?", (directory, name))
        for odd in self.odd():
            if odd == directory or self.inside(odd) != directory:
                continue
            found += rows.read(self.connection, "WHERE parent=? AND name=?", (odd, name))
        if directory == ROOT_ROW and name.startswith(_UNNAMED):
            unplaced = [row for row in map(self.row, self.odd()) if row is not None and row.parent is None]
            found += [row for row in unplaced if self.name(row) == name and self._is_known(row)]
        return [row for row in found if self.directory(row) == directory]

    def children(self, directory: int) -> list[NodeRow]:
        """All nodes, living or not, that stand in this directory."""
        found = rows.read(self.connection, "WHERE parent=?", (directory,))
        for odd in self.odd():
            if odd != directory and self.inside(odd) == directory:
                found += rows.read(self.connection, "WHERE parent=?", (odd,))
        if directory == ROOT_ROW:
            unplaced = [row for row in map(self.row, self.odd()) if row is not None and row.parent is None]
            found += [row for row in unplaced if self._is_known(row)]
        return [row for row in found if row.id != ROOT_ROW and self.directory(row) == directory]

    def parents(self, directory: int) -> list[int]:
        """What the nodes that stand in this directory name as their parent."""
        return [directory, *(odd for odd in self.odd() if odd != directory and self.inside(odd) == directory)]

    def odd(self) -> tuple[int, ...]:
        """Nodes whose children may stand elsewhere, and nodes without a place."""
        if self._odd is None:
            self._odd = tuple(
                node for (node,) in self.connection.execute("SELECT node FROM odd WHERE settled=0 ORDER BY node")
            )
        return self._odd
