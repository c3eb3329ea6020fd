"""Blocking. From database rows to the planner's values: the view, node by node, for those that are pending.

The rules of the view are `model.view`'s. Here they are asked for one node at a time, from its row, its ancestors
(`store.lineage`) and the other claimants of its name (`store.names`), so that a folder of a million files is never held
in memory.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import field, replace

from ca.digest import digest
from ca.values import dataclass
from syncd.engine.plan import Case, CopyCase, Holder, Kind, Place, Version
from syncd.model.conditions import Facts
from syncd.model.ids import NodeId
from syncd.model.naming import disk_key, holds_any, is_legal
from syncd.model.paths import collision_name
from syncd.store import rows
from syncd.store.counts import LASTING_TRIES, MAX_RETRY_S
from syncd.store.joining import IGNORED, PENDING, Sources
from syncd.store.lineage import MAX_DEPTH, Lineage
from syncd.store.names import Named, Names
from syncd.store.rows import DELETED, DIR, FILE, NONE, PARKED_ROW, ROOT_ROW, SYMLINK, NodeRow
from syncd.store.scan import Ignored
from syncd.treetypes import Path

MANY_TRIES = 1 << 30
_KINDS = tuple(Kind)
"""By the number that a row has."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """A node, or one of the conflict copies of one, on this disk."""

    row: int
    is_copy: bool
    node: int
    name: bytes


@dataclass(slots=True)
class Survey:
    """Answers questions about the view, remembering what one round has already found out."""

    connection: sqlite3.Connection
    sources: Sources
    lineage: Lineage = field(init=False)
    names: Names = field(init=False)
    now: float | None = None
    """When who has a problem can be tried again (`cases`); None: whoever has one cannot."""
    woken: int = 0
    """Nodes that turned out to have to be looked at as well."""
    _plain: frozenset[int] = frozenset()
    """Nodes under a name that nobody else claims or holds, so that the row alone says all."""
    _paths: dict[int, Path | None] = field(default_factory=dict)
    """Where directories stand on this disk, as far as that was asked; None: not to be reached."""
    _parked: dict[int, int | None] = field(default_factory=dict)
    """The same of what is parked above them."""
    _any_copies: bool | None = None
    _held: frozenset[int] | None = None
    """Directories on this disk that wait for a person."""
    _claims: dict[int, Counter[bytes]] = field(default_factory=dict)
    _standing: dict[int, dict[bytes, list[_Standing]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lineage = Lineage(self.connection)
        self.names = Names(self.connection, self.sources, self.lineage)

    def cases(
        self, after: int, limit: int, now: float, busy: Container[int] = (), ignored: Ignored | None = None
    ) -> tuple[list[Case], int | None]:
        """Pending nodes with ids above `after` as planner values, and where to go on; None at the end.

        Left out are nodes with a problem whose next try is not due, and those held for a person, but for what is hidden
        from its user meanwhile. Contents of `busy` nodes are on their way already. What is `ignored` is put aside.
        """
        self.now = now
        query = (
            "WHERE pending=1 AND pending<>0 AND id>?1 AND id NOT IN "
            f"(SELECT node FROM problem WHERE retry_at>?2 AND retry_at<=?2+{MAX_RETRY_S}) "
            "AND id NOT IN (SELECT node FROM held_node) ORDER BY id LIMIT ?3"
        )
        pending = rows.read(self.connection, query, (after, now, limit))
        for row in pending:
            self.lineage.remember(row)
        following = pending[-1].id if len(pending) == limit else None
        if ignored is not None:
            pending = [row for row in pending if not self._put_aside(row, ignored)]
        self._find_plain([row.id for row in pending])
        # What is on its way to a name that is its own needs no plan until it is there.
        pending = [row for row in pending if not (row.id in busy and row.id in self._plain and _is_coming(row))]
        stuck = [] if after else self._hidden_and_stuck()
        return stuck + [self.case(row, row.id in busy) for row in pending if row.id != ROOT_ROW], following

    def _hidden_and_stuck(self) -> list[Case]:
        """Nodes that are parked, or copies of which are, and that are left out for now."""
        query = "SELECT id FROM node WHERE l_parent=?1 AND l_kind<>0 UNION SELECT node FROM copy WHERE l_parent=?1"
        parked = [node for (node,) in self.connection.execute(query, (PARKED_ROW,)).fetchall()]
        found = [row for node in parked if self._is_stuck(node, LASTING_TRIES) and (row := self.row(node)) is not None]
        return [replace(self.case(row), is_stuck=True) for row in found if row.pending == PENDING]

    def _put_aside(self, row: NodeRow, ignored: Ignored) -> bool:
        path = self.shared_path(row)
        where = self.path(row.l_parent, row.l_name) if row.on_disk else None
        there = Facts(row.size or 0, row.mtime, row.l_kind == FILE) if row.kind == FILE else None
        here = Facts(row.l_size or 0, row.l_mtime, has_entered=True) if row.l_kind == FILE else None
        is_ignored = ignored(path, row.kind == DIR, there)
        if not (is_ignored or (where is not None and ignored(where, row.l_kind == DIR, here))):
            return False
        row.pending = IGNORED
        self.connection.execute("UPDATE node SET pending=? WHERE id=?", (IGNORED, row.id))
        return True

    def remember(self, nodes: Iterable[int]) -> list[int]:
        """The rows of these nodes will be asked for: read them together. Those that there are."""
        found = rows.read_ids(self.connection, set(nodes))
        for row in found.values():
            self.lineage.remember(row)
        return list(found)

    def expect(self, nodes: Iterable[int]) -> None:
        """The names of these nodes will be asked for."""
        self._find_plain(self.remember(nodes))

    def _find_plain(self, nodes: Sequence[int]) -> None:
        """Which nodes live by themselves under a name that no other node claims, wants or holds."""
        if self.lineage.odd() or self.any_copies:
            return
        plain: set[int] = set()
        for part in rows.chunks(nodes):
            query = (
                f"SELECT t.id FROM node t WHERE t.id IN ({rows.marks(part)}) AND t.heads<=1 AND t.kind IN (1,2,3) "
                "AND NOT EXISTS (SELECT 1 FROM node s WHERE s.parent=t.parent AND s.name=t.name AND s.id<>t.id) "
                "AND NOT EXISTS (SELECT 1 FROM node h WHERE h.l_parent=t.parent AND h.l_name=t.name AND h.l_kind<>0 "
                "AND h.id<>t.id)"
            )
            plain.update(row for (row,) in self.connection.execute(query, part))
        self._plain = frozenset(plain if holds_any(self.names.personality) else filter(self._is_alone, plain))

    def _is_alone(self, node: int) -> bool:
        """Whether this disk can hold a node's name, and nobody else's is the same to it."""
        row = self.row(node)
        if row is None or row.name is None or row.parent is None or not is_legal(row.name, self.names.personality):
            return False
        key = disk_key(row.name, self.names.personality)
        others = [one for one in self._standing_in(row.parent).get(key, ()) if one.is_copy or one.row != node]
        return not others and self._claims_in(row.parent)[key] == 1

    def _claims_in(self, directory: int) -> Counter[bytes]:
        """How many nodes may want what is one name to this disk: the deleted ones too, of which a directory lives again
        by what somebody else put into it."""
        if directory not in self._claims:
            found = self.connection.execute("SELECT name FROM node WHERE parent=?", (directory,))
            self._claims[directory] = Counter(disk_key(name, self.names.personality) for (name,) in found)
        return self._claims[directory]

    def _standing_in(self, directory: int) -> dict[bytes, list[_Standing]]:
        """What stands in a directory, by what this disk takes for one name."""
        if directory not in self._standing:
            found = self.connection.execute(
                "SELECT id, 0, id, l_name FROM node WHERE l_parent=?1 AND l_kind<>0 "
                "UNION ALL SELECT id, 1, node, l_name FROM copy WHERE l_parent=?1",
                (directory,),
            )
            standing = self._standing[directory] = {}
            for row, is_copy, node, name in found:
                key = disk_key(name, self.names.personality)
                standing.setdefault(key, []).append(_Standing(row, bool(is_copy), node, name))
        return self._standing[directory]

    def named(self, row: NodeRow) -> Named:
        """The names of a living node and of its copies."""
        return Named(self.lineage.name(row)) if self._is_plain(row) else self.names.of(row)

    def _is_plain(self, row: NodeRow) -> bool:
        return row.id in self._plain and row.name is not None and self.lineage.directory(row) == row.parent

    def case(self, row: NodeRow, is_busy: bool = False) -> Case:
        """One node as the planner sees it."""
        lives = self.lineage.lives(row)
        kind = Kind.DIR if lives and row.kind in (NONE, DELETED) else _KINDS[row.kind]
        parent = self.lineage.directory(row)
        is_plain = self._is_plain(row)
        named = self.named(row) if lives else Named(self.lineage.name(row))
        gives_way = row.l_kind == DIR and (not lives or kind != Kind.DIR)
        return Case(
            node=row.id,
            kind=kind,
            lives=lives,
            version=None if row.c_cs is None or row.c_idx is None else Version(row.c_cs, row.c_idx),
            size=row.size or 0,
            parent=parent,
            parent_ready=self._is_ready(parent),
            wanted_name=named.name,
            holder=self._holder(parent, named.name, row.id, None) if lives and not is_plain else None,
            disk_kind=_KINDS[row.l_kind],
            disk_parent=row.l_parent,
            disk_name=row.l_name,
            same_content=same_content(row),
            same_attributes=same_attributes(self.connection, row),
            disk_children=self._disk_children(row.id) if gives_way else 0,
            copies=() if is_plain else self._copies(row, parent, named),
            whole_subtree_ready=row.l_kind != DIR or not self._waits_below(row.id),
            is_busy=is_busy,
            way_out=self._way_out(row, lives),
            obstacle=self._parked_above(parent),
            own_below=self._own_below(row, parent) if row.l_kind == DIR else (),
            hidden_in=None if row.l_parent is None else self._parked_above(row.l_parent),
        )

    # the view ----------------------------------------------------------------------------------------------

    def row(self, node: int) -> NodeRow | None:
        return self.lineage.row(node)

    def path(self, parent: int | None, name: bytes | None) -> Path | None:
        """Where something stands on this disk; None when a directory above does not."""
        if parent is None or name is None:
            return None
        if parent not in self._paths:
            self._paths[parent] = self._path_of(parent)
        above = self._paths[parent]
        return None if above is None else (*above, name)

    def _path_of(self, directory: int) -> Path | None:
        parts: list[bytes] = []
        while directory != ROOT_ROW:
            row = self.row(directory) if len(parts) < MAX_DEPTH else None
            if row is None or row.l_kind != DIR or row.l_parent is None or row.l_name is None:
                return None
            parts.append(row.l_name)
            directory = row.l_parent
        return tuple(reversed(parts))

    def inode(self, directory: int) -> int | None:
        """Of a directory on this disk; None for the root."""
        row = None if directory == ROOT_ROW else self.row(directory)
        return None if row is None else row.l_ino

    def parent(self, row: NodeRow) -> int:
        """The directory that the view has it in."""
        return self.lineage.directory(row)

    def shared_path(self, row: NodeRow) -> Path:
        """Where the view has a node, by the own names of everything above it: what ignore rules are asked about."""
        parts = [self.lineage.name(row)]
        at = self.lineage.directory(row)
        while at != ROOT_ROW and len(parts) <= MAX_DEPTH:
            above = self.row(at)
            if above is None:
                break
            parts.append(self.lineage.name(above))
            at = self.lineage.directory(above)
        return tuple(reversed(parts))

    # the disk ----------------------------------------------------------------------------------------------

    def _is_ready(self, directory: int) -> bool:
        """It stands on this disk, and so does everything above it; and none of them waits for a person, as when it went
        with a wave of deletions: nothing can be put into it before that is answered."""
        if directory == ROOT_ROW:
            return True
        return self.path(directory, b"x") is not None and not self._is_in_held(directory)

    def _is_in_held(self, directory: int) -> bool:
        if self._held is None:
            query = "SELECT h.node FROM held_node h JOIN node n ON n.id=h.node WHERE n.l_kind=2"
            self._held = frozenset(node for (node,) in self.connection.execute(query))
        row = self.row(directory) if self._held else None
        for _ in range(MAX_DEPTH):
            if row is None:
                return False
            if row.id in self._held:
                return True
            row = None if row.l_parent is None or row.l_parent == ROOT_ROW else self.row(row.l_parent)
        return False

    def _parked_above(self, directory: int) -> int | None:
        """The directory at or above this one on this disk that is parked."""
        if directory not in self._parked:
            self._parked[directory] = self._find_parked(directory)
        return self._parked[directory]

    def _find_parked(self, directory: int) -> int | None:
        row = None if directory == ROOT_ROW else self.row(directory)
        for _ in range(MAX_DEPTH):
            if row is None or row.l_parent is None or row.l_parent == ROOT_ROW:
                return None
            if row.l_parent == PARKED_ROW:
                return row.id
            row = self.row(row.l_parent)
        return None

    def _own_below(self, row: NodeRow, parent: int) -> tuple[int, ...]:
        """The directories on this disk from `parent` up to this one, if it is one of those above."""
        passed: list[int] = []
        while parent != row.id:
            above = self.row(parent)
            if parent == ROOT_ROW or above is None or len(passed) > MAX_DEPTH:
                return ()
            passed.append(parent)
            if above.on_disk:
                if above.l_parent is None:
                    return ()
                parent = above.l_parent
            else:  # it is made in this round, where the view has it
                parent = self.lineage.directory(above)
        return tuple(passed)

    def _holder(self, parent: int, name: bytes, node: int | None, copy: int | None) -> Holder | None:
        """Who else than this node, or this copy, stands there."""
        if not holds_any(self.names.personality):
            return self._holder_of_like(parent, name, node, copy)
        found = self.connection.execute(
            "SELECT id FROM node WHERE l_parent=? AND l_name=? AND l_kind<>0", (parent, name)
        ).fetchone()
        if found is not None and found[0] != node:
            return Holder(found[0], False, found[0], self._gives_way(found[0], parent, name))
        found = self.connection.execute(
            "SELECT id, node FROM copy WHERE l_parent=? AND l_name=?", (parent, name)
        ).fetchone()
        if found is not None and found[0] != copy:
            return Holder(found[0], True, found[1], self._copy_gives_way(found[0], found[1], parent, name))
        return None

    def _holder_of_like(self, parent: int, name: bytes, node: int | None, copy: int | None) -> Holder | None:
        """The same on a disk to which other names may be this one."""
        for one in self._standing_in(parent).get(disk_key(name, self.names.personality), ()):
            if one.is_copy and one.row != copy:
                return Holder(one.row, True, one.node, self._copy_gives_way(one.row, one.node, parent, one.name))
            if not one.is_copy and one.row != node:
                return Holder(one.row, False, one.row, self._gives_way(one.row, parent, one.name))
        return None

    def _gives_way(self, node: int, parent: int, name: bytes) -> bool:
        """What stands here belongs elsewhere and can be brought there; if nobody has noticed that, it is woken."""
        row = self.row(node)
        if row is None or row.pending not in (0, PENDING) or self._is_stuck(node):
            return False
        if self.lineage.lives(row) and (self.lineage.directory(row), self.names.of(row).name) == (parent, name):
            return False
        self._wake(row)
        return True

    def is_taken(self, place: Place, row: NodeRow, *, is_copy: bool) -> bool:
        """Whether a row stands where this node, which stands nowhere, or a new copy of it is to appear."""
        if not is_copy and self._is_plain(row):
            return False
        return self._holder(place.parent, place.name, None if is_copy else row.id, None) is not None

    def _copy_gives_way(self, copy: int, node: int, parent: int, name: bytes) -> bool:
        row = self.row(node)
        if row is None or row.pending not in (0, PENDING) or self._is_stuck(node):
            return False
        key = self.connection.execute("SELECT cs, idx FROM copy WHERE id=?", (copy,)).fetchone()
        names = {(head.cs, head.idx): name for head, name in self._named(row).copies.items()}
        if self.lineage.directory(row) == parent and names.get(key) == name:
            return False
        self._wake(row)
        return True

    def _named(self, row: NodeRow) -> Named:
        return self.names.of(row) if self.lineage.lives(row) else Named(self.lineage.name(row))

    def _wake(self, row: NodeRow) -> None:
        if row.pending == 0:
            row.pending = PENDING
            self.wake(row.id)

    def wake(self, node: int) -> None:
        """Let a node be looked at in the next round."""
        cursor = self.connection.execute("UPDATE node SET pending=? WHERE id=? AND pending=0", (PENDING, node))
        self.woken += cursor.rowcount

    def _is_stuck(self, node: int, races: int = MANY_TRIES) -> bool:
        """Whether it cannot move by itself, and is not tried now. Not when somebody was quicker, or has its name, up to
        so many times: two who wait for each other's names would both be stuck for that. Nor when the next try is due:
        the cause may be gone, and nobody would find out while others wait for it and it for them."""
        query = (
            "SELECT 1 FROM problem WHERE node=?1 AND (code NOT IN ('SY-FILE-03', 'SY-FILE-07') OR tries>=?3) "
            f"AND (?2 IS NULL OR (retry_at>?2 AND retry_at<=?2+{MAX_RETRY_S})) "
            "UNION ALL SELECT 1 FROM held_node WHERE node=?1 LIMIT 1"
        )
        return self.connection.execute(query, (node, self.now, races)).fetchone() is not None

    def _disk_children(self, node: int) -> int:
        (nodes,) = self.connection.execute(
            "SELECT count(*) FROM node WHERE l_parent=? AND l_kind<>0", (node,)
        ).fetchone()
        (copies,) = self.connection.execute("SELECT count(*) FROM copy WHERE l_parent=?", (node,)).fetchone()
        return int(nodes) + int(copies)

    def _waits_below(self, node: int) -> bool:
        found = self.connection.execute("SELECT 1 FROM node WHERE parent=? AND pending=1 LIMIT 1", (node,)).fetchone()
        return found is not None

    def _way_out(self, row: NodeRow, lives: bool) -> Place | None:
        """Something that was taken aside can become visible again: under its token if it is about to go, else by a name
        that its user knows again."""
        if row.l_kind == NONE or row.l_parent != PARKED_ROW or row.l_name is None:
            return None
        return Place(ROOT_ROW, self._visible_name(row, row.l_name) if lives else row.l_name)

    def _visible_name(self, row: NodeRow, token: bytes) -> bytes:
        """Something else than its place says, as it stands where it does not belong; no two are alike."""
        digits = NodeId(digest("seen again", row.nid + token))
        name = collision_name(self.lineage.name(row), digits, limit=self.names.personality.name_max)
        return name if is_legal(name, self.names.personality) else token

    @property
    def any_copies(self) -> bool:
        """Whether there is a conflict copy on this disk at all."""
        if self._any_copies is None:
            self._any_copies = self.connection.execute("SELECT 1 FROM copy LIMIT 1").fetchone() is not None
        return self._any_copies

    def _copies(self, row: NodeRow, parent: int, named: Named) -> tuple[CopyCase, ...]:
        if not named.copies and not self.any_copies:
            return ()
        standing = {
            (cs, idx): (copy, kind, l_parent, l_name)
            for copy, cs, idx, kind, l_parent, l_name in self.connection.execute(
                "SELECT id, cs, idx, l_kind, l_parent, l_name FROM copy WHERE node=?", (row.id,)
            )
        }
        wanted = {(head.cs, head.idx): (head, name) for head, name in named.copies.items()}
        cases = []
        for key in sorted(standing.keys() | wanted.keys()):
            copy, kind, disk_parent, disk_name = standing.get(key, (None, NONE, None, None))
            name, size, holder = None, 0, None
            if key in wanted:
                head, name = wanted[key]
                kind, size = head.kind, head.size or 0
                holder = self._holder(parent, name, None, copy)
            out = None
            if disk_parent == PARKED_ROW:
                out = Place(ROOT_ROW, self._visible_name(row, disk_name))
            where = Version(*key), Kind(kind), size, name, copy, disk_parent, disk_name
            hidden_in = None if disk_parent is None else self._parked_above(disk_parent)
            cases.append(CopyCase(*where, holder, out, hidden_in))
        return tuple(cases)


def _is_coming(row: NodeRow) -> bool:
    """Nothing of it stands on this disk, and it is no directory: all that can be planned is to fetch it."""
    return not row.on_disk and row.kind != DIR


def same_content(row: NodeRow) -> bool:
    """The disk holds what Global's greatest head says."""
    if row.kind in (NONE, DIR, DELETED):
        return row.l_kind == DIR
    if row.l_kind != row.kind:
        return False
    return row.l_blocks is None or rows.same_blocks(row.kind, row.l_listed, row.l_blocks, row.listed, row.blocks)


def time_of(connection: sqlite3.Connection, seq: int) -> int | None:
    """When a version was published: the mtime of its conflict copy, as the node's own belongs to another version."""
    found = connection.execute("SELECT time_ms FROM changeset WHERE seq=?", (seq,)).fetchone()
    return None if found is None else int(found[0]) * 1_000_000


def mtime_of(connection: sqlite3.Connection, row: NodeRow) -> int | None:
    """The mtime that Global says. Of a file whose attributes are from who had a directory there: when that version was
    published, which is the same on all disks."""
    if row.mtime is not None or row.kind != FILE or row.c_cs is None:
        return row.mtime
    return time_of(connection, row.c_cs)


def same_attributes(connection: sqlite3.Connection, row: NodeRow) -> bool:
    """The disk has the attributes that Global says, as far as this kind and this disk have any."""
    if row.l_kind == SYMLINK or row.a_cs is None or (row.s_acs, row.s_aidx) == (row.a_cs, row.a_idx):
        return True
    if (row.mode is not None and row.l_mode != row.mode) or row.l_xattrs != row.xattrs:
        return False
    mtime = mtime_of(connection, row)
    return row.l_kind == DIR or mtime is None or row.l_mtime == mtime
