"""Blocking. In which directory a node stands, and who else claims a name there: rules 2 and 3 of `model.view`, on rows.

Nearly always that is the row's own parent. It is not where that parent is a file (two devices made a file and a
directory of one id), or is not known yet; the table `odd` has these parents, and is nearly always empty. The walk
upwards ends because `joining.settle_cycles` leaves no cycle.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
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
    _directories: dict[int, int] = field(default_factory=lambda: {ROOT_ROW: ROOT_ROW})
    _lives: dict[int, bool] = field(default_factory=dict)
    _odd: tuple[int, ...] | None = None
    _odd_parents: dict[int, list[int]] | None = None
    _strays: dict[tuple[int, bytes], list[int]] | None = None
    _nowhere: dict[bytes, list[NodeRow]] | None = None

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
        passed = {parent: None}
        at = parent
        while at not in self._directories:
            row = None if at == ROOT_ROW else self.row(at)
            if row is None or not self._is_known(row):
                self._directories[at] = ROOT_ROW
            elif row.kind in (DIR, DELETED, NONE):
                self._directories[at] = at
            else:
                at = ROOT_ROW if row.parent is None or row.parent in passed else row.parent
                passed[at] = None
        found = self._directories[at]
        self._directories.update(dict.fromkeys(passed, found))
        return found

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
        return self._holds_life(row.id) and self._is_known(row)

    def _holds_life(self, node: int) -> bool:
        """Whether something living is below a node: below a deleted directory there may be others, and the first thing
        that lives by itself decides."""
        if node in self._lives:
            return self._lives[node]
        above: dict[int, int] = {}
        level = [node]
        while level:
            following = []
            for parent, child, kind in self._below(level):
                if kind in (FILE, DIR, SYMLINK) or self._lives.get(child):
                    while parent != node:
                        self._lives[parent] = True
                        parent = above[parent]
                    self._lives[node] = True
                    return True
                if child not in self._lives and child not in above and child != node:
                    above[child] = parent
                    following.append(child)
            level = following
        self._lives.update(dict.fromkeys((node, *above), False))
        return False

    def _below(self, level: Sequence[int]) -> Iterator[tuple[int, int, int]]:
        for part in rows.chunks(level):
            query = f"SELECT parent, id, kind FROM node WHERE parent IN ({rows.marks(part)})"
            yield from self.connection.execute(query, part)

    def name(self, row: NodeRow) -> bytes:
        """The name that its place gives it."""
        return _UNNAMED + row.nid.hex()[:8].encode() if row.name is None else row.name

    def claimants(self, directory: int, name: bytes) -> list[NodeRow]:
        """All nodes, living or not, whose place gives them this name in this directory."""
        found = rows.read(self.connection, "WHERE parent=? AND name=?", (directory, name))
        if self.odd():
            strays = self._strays_by_claim().get((directory, name), ())
            found += rows.read_ids(self.connection, strays).values()
            if directory == ROOT_ROW and name.startswith(_UNNAMED):
                found += [row for row in self._unplaced().get(name, ()) if self._is_known(row)]
        return [row for row in found if self.directory(row) == directory]

    def _strays_by_claim(self) -> dict[tuple[int, bytes], list[int]]:
        """Children that do not stand in what they name as their parent, by the directory in which they do, and name."""
        if self._strays is None:
            self._strays = {}
            for directory, parents in self._odd_inside().items():
                for parent in parents:
                    query = "SELECT name, id FROM node WHERE parent=?"
                    for name, child in self.connection.execute(query, (parent,)):
                        self._strays.setdefault((directory, name), []).append(child)
        return self._strays

    def _unplaced(self) -> dict[bytes, list[NodeRow]]:
        """Nodes without a place, by their names."""
        if self._nowhere is None:
            self._nowhere = {}
            for row in rows.read_ids(self.connection, self.odd()).values():
                if row.parent is None:
                    self._nowhere.setdefault(self.name(row), []).append(row)
        return self._nowhere

    def _odd_inside(self) -> dict[int, list[int]]:
        """By directory, the odd nodes whose children stand in it and not in them."""
        if self._odd_parents is None:
            self._odd_parents = {}
            for odd in self.odd():
                directory = self.inside(odd)
                if directory != odd:
                    self._odd_parents.setdefault(directory, []).append(odd)
        return self._odd_parents

    def children(self, directory: int) -> list[NodeRow]:
        """All nodes, living or not, that stand in this directory."""
        found = rows.read(self.connection, "WHERE parent=?", (directory,))
        for odd in self._odd_inside().get(directory, ()):
            found += rows.read(self.connection, "WHERE parent=?", (odd,))
        if directory == ROOT_ROW:
            found += [row for same in self._unplaced().values() for row in same if self._is_known(row)]
        return [row for row in found if row.id != ROOT_ROW and self.directory(row) == directory]

    def parents(self, directory: int) -> list[int]:
        """What the nodes that stand in this directory name as their parent."""
        return [directory, *self._odd_inside().get(directory, ())]

    def odd(self) -> tuple[int, ...]:
        """Nodes whose children may stand elsewhere, and nodes without a place."""
        if self._odd is None:
            self._odd = tuple(
                node for (node,) in self.connection.execute("SELECT node FROM odd WHERE settled=0 ORDER BY node")
            )
        return self._odd
