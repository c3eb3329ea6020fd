"""Blocking. The names that nodes and their conflict copies have in the view: rule 4 of `model.view`, on rows.

`model.naming` names all children of a directory together. Here it is asked about as few of them as decide one name:
everything that claims it, and whatever stands at the conflict names that these would get. On a disk that cannot hold
every name, or tell any two apart, all children of the directory are named together.
"""

from __future__ import annotations

import sqlite3
from dataclasses import field

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.model.ids import HASH_BYTES, VersionId
from syncd.model.join import Stamp
from syncd.model.naming import Child, holds_any, name_children
from syncd.store import rows
from syncd.store.joining import CONFLICT_MARK, ONLY_HERE, HeadRow, Sources, read_heads
from syncd.store.lineage import Lineage
from syncd.store.rows import DELETED, DIR, NONE, NodeRow
from syncd.store.spelling import COLLISION_MARK, personality_of, spellings

_NOBODY = DeviceId(bytes(HASH_BYTES))


@dataclass(slots=True)
class Named:
    """A node and its conflict copies with their names; a copy is known by its head."""

    name: bytes
    copies: dict[HeadRow, bytes] = field(default_factory=dict)


class Names:
    """Answers from the rows as they are; make a new one after a change."""

    def __init__(self, connection: sqlite3.Connection, sources: Sources, lineage: Lineage) -> None:
        self._db = connection
        self._sources = sources
        self._lineage = lineage
        self._known: dict[int, Named] = {}
        self._directories: dict[int, dict[bytes, tuple[int, HeadRow | None]]] = {}
        """What has which name, of directories that were named whole."""
        self.personality = personality_of(connection)

    def of(self, row: NodeRow) -> Named:
        """The names of a living node and of its copies."""
        if row.id not in self._known:
            directory = self._lineage.directory(row)
            if holds_any(self.personality):
                self._name_all(directory, self._lineage.name(row))
            else:
                self.inside(directory)
        return self._known[row.id]

    def inside(self, directory: int) -> dict[bytes, tuple[int, HeadRow | None]]:
        """All that the view has in a directory, by its name on this disk: a row, or one of its conflict copies."""
        if directory not in self._directories:
            children: dict[Child, tuple[int, HeadRow | None]] = {}
            for row in self._lineage.children(directory):
                if self._lineage.lives(row):
                    name = self._lineage.name(row)
                    children[self._child(row, name)] = row.id, None
                    for head in copies_of(self._db, self._sources, row):
                        children[self._copy(row, head, name)] = row.id, head
            named = name_children(children, self.personality)
            self._directories[directory] = {at: children[child] for at, child in named.items()}
            for at, of in self._directories[directory].items():
                self._note(at, *of)
        return self._directories[directory]

    def _note(self, at: bytes, node: int, head: HeadRow | None) -> None:
        named = self._known.setdefault(node, Named(b""))
        if head is None:
            named.name = at
        else:
            named.copies[head] = at

    def _name_all(self, directory: int, name: bytes) -> None:
        claimants = [row for row in self._lineage.claimants(directory, name) if self._lineage.lives(row)]
        copies = {row.id: copies_of(self._db, self._sources, row) for row in claimants}
        if len(claimants) == 1 and not copies[claimants[0].id]:
            self._known[claimants[0].id] = Named(name)
            return
        children: dict[Child, tuple[int, HeadRow | None]] = {}
        for row in claimants:
            children[self._child(row, name)] = row.id, None
            for head in copies[row.id]:
                children[self._copy(row, head, name)] = row.id, head
        named = name_children(children, is_taken=lambda candidate: self._is_taken(directory, candidate))
        for at, child in named.items():
            self._note(at, *children[child])

    def _is_taken(self, directory: int, name: bytes) -> bool:
        """Whether what might be a conflict name of one is the own name of another."""
        return any(map(self._lineage.lives, self._lineage.claimants(directory, name)))

    def _child(self, row: NodeRow, name: bytes) -> Child:
        return Child(row.nid, None, name, row.kind in (NONE, DIR, DELETED), self._place_stamp(row))

    def _copy(self, row: NodeRow, head: HeadRow, name: bytes) -> Child:
        stamp = self._stamp(head.cs, head.idx)
        return Child(row.nid, stamp.version, name, head.kind == DIR, stamp)

    def _place_stamp(self, row: NodeRow) -> Stamp:
        if row.p_cs is None or row.p_idx is None:
            return Stamp(0, _NOBODY, 0, VersionId(row.nid), "")
        return self._stamp(row.p_cs, row.p_idx)

    def _stamp(self, seq: int, index: int) -> Stamp:
        source = self._sources[seq]
        return Stamp(source.lamport, source.device, index, self._sources.version(seq, index), source.author_name)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the view has at a name that nothing of ours has on this disk: a node, or one of its conflict copies."""

    row: NodeRow
    copy: HeadRow | None = None


def maybe_expected(
    connection: sqlite3.Connection, sources: Sources, directory: int, name: bytes, kind: int
) -> Expected | None:
    """What something of this kind that appears at a name is, if the view expects it there."""
    lineage = Lineage(connection)
    names = Names(connection, sources, lineage)
    is_plain = holds_any(names.personality)
    rivals = [row for one in spellings(name, names.personality) for row in lineage.claimants(directory, one)]
    own = {row.id for row in rivals}
    if COLLISION_MARK in name and not is_plain:
        node, _ = names.inside(directory).get(name, (None, None))
        bearer = None if node is None else lineage.row(node)
        rivals += [] if bearer is None else [bearer]
    elif CONFLICT_MARK in name:
        rivals += _bearers_of_other_names(connection, lineage, directory)
    for row in rivals:
        if row.pending == ONLY_HERE or not lineage.lives(row) or lineage.directory(row) != directory:
            continue
        row_kind = DIR if row.kind in (NONE, DELETED) else row.kind
        # Where names can be one, a node may have to give up its own; as long as nothing has it, it is that node's.
        is_own = not is_plain and row.id in own
        if (is_own or names.of(row).name == name) and row_kind == kind and not row.on_disk:
            return Expected(row)
        for head, copy_name in names.of(row).copies.items():
            if copy_name == name and head.kind == kind:
                return Expected(row, head)
    return None


def _bearers_of_other_names(connection: sqlite3.Connection, lineage: Lineage, directory: int) -> list[NodeRow]:
    """Nodes of a directory that have conflict copies, or may have lost their own name to another."""
    found = rows.read(connection, "WHERE parent=? AND heads>1", (directory,))
    query = "SELECT name FROM node WHERE parent=? AND kind<>4 GROUP BY name HAVING count(*)>1"
    for (contested,) in connection.execute(query, (directory,)).fetchall():
        found += lineage.claimants(directory, contested)
    return found


def copies_of(connection: sqlite3.Connection, sources: Sources, row: NodeRow) -> list[HeadRow]:
    """The heads of a node that live as conflict copies, greatest first: `model.join.decide` on rows."""
    if row.heads <= 1 or not row.alive:
        return []
    heads = sorted(read_heads(connection, row), key=lambda head: sources.stamp(head.cs, head.idx), reverse=True)
    seen = {rows.identity(row.kind, row.listed, row.blocks)}
    copies = []
    for head in heads:
        which = rows.identity(head.kind, head.listed, head.blocks)
        if head.kind != DELETED and which not in seen:
            seen.add(which)
            copies.append(head)
    return copies
