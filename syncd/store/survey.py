"""Blocking. From database rows to the planner's values: the view, node by node, for those that are pending.

The rules of the view are `model.view`'s. Here they are asked for one node at a time, from its row, its ancestors and
the other claimants of its name, so that a folder of a million files is never held in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container
from dataclasses import dataclass, field

from syncd.engine.plan import Case, CopyCase, Holder, Kind, Version
from syncd.model.paths import conflict_name
from syncd.store import rows
from syncd.store.joining import PENDING, HeadRow, Sources, read_heads
from syncd.store.rows import DELETED, DIR, FILE, NONE, ROOT_ROW, SYMLINK, NodeRow
from syncd.treetypes import Path

MAX_DEPTH = 4096
"""Directories above one node that are followed; deeper trees cannot exist on any disk."""


@dataclass(slots=True)
class Survey:
    """Answers questions about the view, remembering what one round has already found out."""

    connection: sqlite3.Connection
    sources: Sources
    _rows: dict[int, NodeRow | None] = field(default_factory=dict)
    _lives: dict[int, bool] = field(default_factory=dict)
    _parents: dict[int, int] = field(default_factory=dict)

    def cases(self, after: int, limit: int, now: float, busy: Container[int] = ()) -> tuple[list[Case], int | None]:
        """Pending nodes with ids above `after` as planner values, and where to go on; None at the end.

        Left out are `busy` nodes, those with a problem whose next try is not due, and those held for a person.
        """
        query = (
            "WHERE pending=1 AND pending<>0 AND id>? AND id NOT IN (SELECT node FROM problem WHERE retry_at>?) "
            "AND id NOT IN (SELECT node FROM held_node) ORDER BY id LIMIT ?"
        )
        pending = rows.read(self.connection, query, (after, now, limit))
        for row in pending:
            self._rows[row.id] = row
        cases = [self.case(row) for row in pending if row.id != ROOT_ROW and row.id not in busy]
        return cases, pending[-1].id if len(pending) == limit else None

    def case(self, row: NodeRow) -> Case:
        """One node as the planner sees it."""
        parent = self.parent(row)
        lives = self.lives(row)
        version = None if row.c_cs is None or row.c_idx is None else Version(row.c_cs, row.c_idx)
        name = self.wanted_name(row, parent) if lives else (row.name or b"")
        ready = self._parent_ready(parent)
        is_dir = row.kind == DIR or row.l_kind == DIR or row.kind == DELETED
        return Case(
            node=row.id,
            kind=Kind(row.kind),
            lives=lives,
            version=version,
            size=row.size or 0,
            parent=parent,
            parent_ready=ready,
            wanted_name=name,
            holder=self._holder(parent, name, row.id, None) if lives else None,
            disk_kind=Kind(row.l_kind),
            disk_parent=row.l_parent,
            disk_name=row.l_name,
            same_content=same_content(row),
            same_attributes=same_attributes(row),
            disk_children=self._disk_children(row.id) if is_dir and not lives else 0,
            copies=self._copies(row, parent, lives),
            whole_subtree_ready=not (is_dir and row.l_kind == DIR) or not self._waits_below(row.id),
        )

    # the view ----------------------------------------------------------------------------------------------

    def row(self, node: int) -> NodeRow | None:
        if node not in self._rows:
            found = rows.read_ids(self.connection, [node])
            self._rows[node] = found.get(node)
        return self._rows[node]

    def lives(self, row: NodeRow) -> bool:
        """Has living content, or is a deleted directory with something living in it."""
        if row.kind in (FILE, DIR, SYMLINK):
            return True
        if row.kind != DELETED:
            return False
        known = self._lives.get(row.id)
        if known is None:
            query = (
                "WITH RECURSIVE below(id, kind) AS (SELECT id, kind FROM node WHERE parent=?1 AND id<>?1 "
                "UNION SELECT n.id, n.kind FROM below b JOIN node n ON n.parent=b.id WHERE b.kind=4) "
                "SELECT 1 FROM below WHERE kind IN (1,2,3) LIMIT 1"
            )
            known = self.connection.execute(query, (row.id,)).fetchone() is not None
            self._lives[row.id] = known
        return known

    def parent(self, row: NodeRow) -> int | None:
        """The directory it stands in: an unknown parent means the root, a parent that is none means that one's
        parent."""
        if row.parent is None:
            return None
        if row.parent in self._parents:
            return self._parents[row.parent]
        at, seen = row.parent, 0
        while at != ROOT_ROW:
            above = self.row(at)
            seen += 1
            if above is None or above.p_cs is None or above.parent is None or seen > MAX_DEPTH:
                at = ROOT_ROW
            elif above.kind in (FILE, SYMLINK):
                at = above.parent
            else:
                break
        self._parents[row.parent] = at
        return at

    def wanted_name(self, row: NodeRow, parent: int | None) -> bytes:
        """Its own name, or a conflict name when another node has the better claim to it."""
        assert row.name is not None
        rivals = [
            rival
            for rival in rows.read(
                self.connection, "WHERE parent=? AND name=? AND id<>?", (row.parent, row.name, row.id)
            )
            if self.lives(rival) and self.parent(rival) == parent
        ]
        if not rivals or min([row, *rivals], key=self._claim) is row:
            return row.name
        assert row.p_cs is not None and row.p_idx is not None
        source = self.sources[row.p_cs]
        return conflict_name(row.name, source.author_name, self.sources.version(row.p_cs, row.p_idx))

    def _claim(self, row: NodeRow) -> tuple[bool, tuple[int, bytes, int]]:
        # A directory keeps its name against files; otherwise who came first.
        is_dir = row.kind == DIR or row.kind == DELETED
        assert row.p_cs is not None and row.p_idx is not None
        return not is_dir, self.sources.stamp(row.p_cs, row.p_idx)

    def path(self, parent: int | None, name: bytes | None) -> Path | None:
        """Where something stands on this disk; None when a directory above does not."""
        if parent is None or name is None:
            return None
        parts = [name]
        while parent != ROOT_ROW:
            row = self.row(parent)
            if row is None or row.l_kind != DIR or row.l_parent is None or row.l_name is None or len(parts) > MAX_DEPTH:
                return None
            parts.append(row.l_name)
            parent = row.l_parent
        return tuple(reversed(parts))

    # the disk ----------------------------------------------------------------------------------------------

    def _parent_ready(self, parent: int | None) -> bool:
        if parent is None:
            return False
        if parent == ROOT_ROW:
            return True
        row = self.row(parent)
        return row is not None and row.l_kind == DIR

    def _holder(self, parent: int | None, name: bytes, node: int, copy: int | None) -> Holder | None:
        found = self.connection.execute(
            "SELECT id, pending FROM node WHERE l_parent=? AND l_name=? AND l_kind<>0", (parent, name)
        ).fetchone()
        if found is not None and (found[0] != node or copy is not None):
            return Holder(found[0], False, found[1] == PENDING)
        found = self.connection.execute(
            "SELECT c.id, n.pending FROM copy c JOIN node n ON n.id=c.node WHERE c.l_parent=? AND c.l_name=?",
            (parent, name),
        ).fetchone()
        if found is not None and found[0] != copy:
            return Holder(found[0], True, found[1] == PENDING)
        return None

    def _disk_children(self, node: int) -> int:
        (nodes,) = self.connection.execute(
            "SELECT count(*) FROM node WHERE l_parent=? AND l_kind<>0", (node,)
        ).fetchone()
        (copies,) = self.connection.execute("SELECT count(*) FROM copy WHERE l_parent=?", (node,)).fetchone()
        return int(nodes) + int(copies)

    def _waits_below(self, node: int) -> bool:
        found = self.connection.execute("SELECT 1 FROM node WHERE parent=? AND pending=1 LIMIT 1", (node,)).fetchone()
        return found is not None

    def _copies(self, row: NodeRow, parent: int | None, lives: bool) -> tuple[CopyCase, ...]:
        standing = {
            (cs, idx): (copy, kind, l_parent, l_name)
            for copy, cs, idx, kind, l_parent, l_name in self.connection.execute(
                "SELECT id, cs, idx, l_kind, l_parent, l_name FROM copy WHERE node=?", (row.id,)
            )
        }
        wanted: dict[tuple[int, int], HeadRow] = {}
        if row.heads > 1 and lives:
            for head in read_heads(self.connection, row):
                if (head.cs, head.idx) != (row.c_cs, row.c_idx) and head.kind in (FILE, SYMLINK) and differs(head, row):
                    wanted[head.cs, head.idx] = head
        cases = []
        for key in sorted(set(standing) | set(wanted)):
            copy, kind, disk_parent, disk_name = standing.get(key, (None, NONE, None, None))
            head_or_none = wanted.get(key)
            name: bytes | None = None
            if head_or_none is not None:
                assert row.name is not None
                name = conflict_name(row.name, self.sources[key[0]].author_name, self.sources.version(*key))
                kind = head_or_none.kind
            cases.append(
                CopyCase(
                    Version(*key),
                    Kind(kind),
                    head_or_none.size or 0 if head_or_none else 0,
                    name,
                    copy,
                    disk_parent,
                    disk_name,
                    self._holder(parent, name, row.id, copy) if name is not None else None,
                )
            )
        return tuple(cases)


def differs(head: HeadRow, row: NodeRow) -> bool:
    """Equal content is never a conflict."""
    return head.kind != row.kind or not rows.same_blocks(head.kind, head.listed, head.blocks, row.listed, row.blocks)


def same_content(row: NodeRow) -> bool:
    """The disk holds what Global's greatest head says."""
    if row.kind == DIR or row.kind == DELETED:
        return row.l_kind == DIR
    if row.l_kind != row.kind:
        return False
    return row.l_blocks is None or rows.same_blocks(row.kind, row.l_listed, row.l_blocks, row.listed, row.blocks)


def same_attributes(row: NodeRow) -> bool:
    """The disk has the attributes that Global says, as far as this kind has any."""
    if row.l_kind == SYMLINK or row.a_cs is None:
        return True
    if row.mode is not None and row.l_mode != row.mode:
        return False
    return row.l_kind == DIR or row.mtime is None or row.l_mtime == row.mtime
