"""Blocking. The law of registers (`model.join`) on database rows, a batch of records at a time.

Per node the law is that of `docs/protocol.md`, "Registers": content keeps every version nobody has replaced; of places
and attributes the greatest stamp (Lamport number, author, index) wins. A test runs both, this and `model.join`, on the
same random records and compares. The common case, one head replaced by its successor, touches no table but `node`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from types import MappingProxyType
from typing import Final, Protocol

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.model.ids import ChangesetHash, NodeId, VersionId, version_id
from syncd.model.naming import disk_key, holds_any
from syncd.model.records import Attributes, Content, Place, Record
from syncd.model.xattrs import pack
from syncd.store import deaths as burials
from syncd.store import rows
from syncd.store.deaths import Death, Deaths
from syncd.store.lineage import Lineage, note_odd
from syncd.store.rows import DELETED, DIR, FILE, NONE, SYMLINK, NodeRow
from syncd.store.spelling import personality_of
from syncd.treetypes import Stat

Stamp = tuple[int, bytes, int, bytes]
"""Lamport number, author, index, version: the total order of versions, `model.join.Stamp`."""

Claim = tuple[int, bytes]
"""Parent and name, as a place gives them."""

CONFLICT_MARK = b" (conflict "
"""Part of every name that `model.paths.conflict_name` makes, unless it was cut."""


@dataclass(frozen=True, slots=True)
class Source:
    """The changeset that a batch of records came in."""

    seq: int
    hash: ChangesetHash
    lamport: int
    device: DeviceId
    author_name: str = ""

    def stamp(self, index: int) -> Stamp:
        """The rank of one of its records."""
        return self.lamport, self.device, index, version_id(self.hash, index)


class Sources:
    """Changesets by arrival number, as far as the order and the names of versions need them. Cached."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[int, Source] = {}
        self.generation = 0
        """Grows whenever records are joined: what was concluded from the rows before may not hold any more."""

    def __getitem__(self, seq: int) -> Source:
        source = self._known.get(seq)
        if source is None:
            row = self._connection.execute(
                "SELECT c.hash, c.lamport, a.device, c.author_name "
                "FROM changeset c JOIN author a ON a.id=c.author WHERE c.seq=?",
                (seq,),
            ).fetchone()
            if row is None:
                raise KeyError(seq)
            if len(self._known) > 20_000:
                self._known.clear()
            source = self._known[seq] = Source(seq, *row)
        return source

    def add(self, source: Source) -> None:
        self._known[source.seq] = source

    def stamp(self, seq: int, index: int) -> Stamp:
        return self[seq].stamp(index)

    def version(self, seq: int, index: int) -> VersionId:
        return version_id(self[seq].hash, index)


@dataclass(frozen=True, slots=True)
class HeadRow:
    """One content version that nobody has replaced."""

    cs: int
    idx: int
    kind: int
    cls: int | None
    size: int | None
    listed: int | None
    blocks: bytes | None


class Standing(Protocol):
    """What stands on this disk for a node that is made by a record of our own (`store.draft.Examined`)."""

    @property
    def stat(self) -> Stat: ...
    @property
    def seen_ns(self) -> int: ...


Births = Mapping[NodeId, Standing]
"""Files that no row knows, with one record each, at names that nobody has or had (`Publisher._find_free`): plain files
with mode and mtime that replace nothing. Their rows follow from that without a look at any other, so that a first index
makes no object for each."""
NO_BIRTHS: Final[Births] = MappingProxyType({})


@dataclass(slots=True)
class Joined:
    """What a batch changed: rows in the order of the records (one row may come more than once). `born`: row and node of
    each of the `Births`, which are not among `rows`; nor are those that have `died` (`store.deaths`), with their places
    in the changeset."""

    rows: list[NodeRow] = field(default_factory=list)
    born: list[tuple[int, NodeId]] = field(default_factory=list)
    died: list[tuple[Death, int]] = field(default_factory=list)

    @property
    def nodes(self) -> list[int]:
        """All of them that were there before."""
        return [*(row.id for row in self.rows), *(death.id for death, _ in self.died)]


def join_records(
    connection: sqlite3.Connection,
    sources: Sources,
    source: Source,
    records: Sequence[Record],
    before_write: Callable[[Sequence[NodeRow]], None] | None = None,
    indices: Sequence[int] | None = None,
    births: Births = NO_BIRTHS,
    deaths: Deaths | None = None,
) -> Joined:
    """Join `records` of one changeset into the rows; every row touched becomes pending, and so does every other whose
    place in the view may have changed. Runs inside the caller's transaction.

    `before_write` sees the rows, one for each record that is not about the root or a birth, and may set Local and
    Synced columns. `indices`: the places of the records in the changeset, where only some of them are joined. `deaths`:
    what is gone from this disk, and is now told to others; None for what others tell.
    """
    sources.generation += 1
    strays = _strays(connection)
    work = _Join(connection, sources, source)
    dying = burials.find(connection, sources.version, records) if deaths is None else deaths
    touched_rows = work.run(records, range(len(records)) if indices is None else indices, births, dying)
    joined = Joined(touched_rows, work.born, work.died)
    if before_write is not None:
        before_write(joined.rows)
    touched = {row.id: row for row in joined.rows}
    rows.write(connection, touched.values())
    rows.insert(connection, work.new_rows)
    burials.write(connection, source.seq, work.died, leaves_disk=deaths is not None)
    wake_siblings(connection, touched)
    if work.moved:
        work.left |= settle_cycles(connection, sources, work.moved)
    wake_view(connection, work.left, work.came, work.turned)
    if strays:
        _wake_strays(connection, strays)
    _settle_odd(connection)
    return joined


class _Join:
    def __init__(self, connection: sqlite3.Connection, sources: Sources, source: Source) -> None:
        self._db = connection
        self._sources = sources
        self._source = source
        self._rows: dict[NodeId, NodeRow] = {}
        self._next_id = 0
        self._any_replaced = connection.execute("SELECT 1 FROM replaced LIMIT 1").fetchone() is not None
        self._parents: set[int] = set()
        """Rows that may have children: they were there before, or a record has named them as a parent."""
        self._named: set[int] = set()
        """Of these, those that a record of this batch names as a parent."""
        self.moved: set[int] = set()
        """Of these, those whose place changed."""
        self._odd_rows: dict[int, NodeRow] = {}
        """Rows that are odd (`store.lineage`), if no later record of the batch mends that."""
        self.turned: set[int] = set()
        """Of these, those that can hold children now and could not before, or the reverse."""
        self.left: set[Claim] = set()
        """Where something went away or died."""
        self.came: set[Claim] = set()
        """Where something came or came to life."""
        self.born: list[tuple[int, NodeId]] = []
        self.new_rows: list[tuple[object, ...]] = []
        """Of these, as they are inserted."""
        self.died: list[tuple[Death, int]] = []

    def run(self, records: Sequence[Record], indices: Sequence[int], births: Births, dying: Deaths) -> list[NodeRow]:
        nids = {record.place.parent for record in records if record.place is not None}
        nids.update(record.node for record in records if record.node not in births and record.node not in dying)
        self._rows = rows.read_nids(self._db, nids)
        self._parents = {row.id for row in self._rows.values()}
        (self._next_id,) = self._db.execute("SELECT coalesce(max(id),0)+1 FROM node").fetchone()
        touched = []
        past: list[tuple[int, int, int]] = []
        for index, record in zip(indices, records, strict=True):
            birth = births.get(record.node)
            if birth is not None:
                past.append((self._bear(record, birth, index), self._source.seq, index))
                continue
            death = dying.get(record.node)
            if death is not None:
                self.died.append((death, index))
                past.append((death.id, self._source.seq, index))
                continue
            row = self._row(record.node)
            if row.id == rows.ROOT_ROW:
                continue  # nothing about the root itself is shared
            self._record(row, record, index)
            if row.pending != ONLY_HERE:
                row.pending = PENDING
            touched.append(row)
            past.append((row.id, self._source.seq, index))
        self._db.executemany("INSERT OR IGNORE INTO past VALUES (?,?,?)", past)
        note_odd(self._db, [id_ for id_, row in self._odd_rows.items() if not _is_plain(row)])
        self._bury()
        return touched

    def _bury(self) -> None:
        """What `_record` finds out about a file whose one content is deleted."""
        places = {(death.parent, death.name) for death, _ in self.died}
        self.left |= places
        self.came |= places  # as a directory it would have the better claim
        self.turned.update(death.id for death, _ in self.died)
        seq = self._source.seq
        departed = [(death.parent, death.name, seq, index) for death, index in self.died]
        if self._db.executemany("INSERT OR IGNORE INTO departed VALUES (?,?,?,?)", departed).rowcount < len(departed):
            for one in departed:
                self._departed(*one)

    def _bear(self, record: Record, found: Standing, index: int) -> int:
        """The row of a new file: `_record` without any past, and the disk holds all that the record says."""
        content, place, attributes = record.content, record.place, record.attributes
        assert content is not None and place is not None and attributes is not None
        above = self._rows.get(place.parent)
        if above is None or above.id not in self._named:
            above = self._parent_row(place.parent)
        id_, seq, nid, name, stat = self._next_id, self._source.seq, record.node, place.name, found.stat
        self._next_id = id_ + 1
        xattrs = pack(attributes.xattrs) if attributes.xattrs else None
        self.new_rows.append(
            (
                rows.prefix(nid), id_, nid, seq, index, above.id, name, seq, index, FILE,
                int(content.cut_class), content.size, 0, content.blocks, 1, seq, index, attributes.mode,
                attributes.mtime_ns, xattrs,
                above.id, name, FILE, stat.ino, stat.size, stat.mtime_ns, stat.ctime_ns, stat.mode,
                xattrs, found.seen_ns, None, None, None,
                seq, index, seq, index, seq, index, 0,
            )
        )  # fmt: skip
        self.came.add((above.id, name))
        self.born.append((id_, nid))
        return id_

    def _record(self, row: NodeRow, record: Record, index: int) -> None:
        was_alive, could_hold, claim = row.alive, _can_hold(row), _claim_of(row)
        if record.content is not None:
            self._content(row, record.content, record.replaces_content, index)
        if record.place is not None:
            self._place(row, record.place, index)
        if record.attributes is not None:
            self._attributes(row, record.attributes, index)
        if row.id in self._parents and _can_hold(row) != could_hold:
            self.turned.add(row.id)
            self._odd(row)
        elif row.p_cs is None:
            self._odd(row)
        new_claim = _claim_of(row)
        moved = new_claim != claim or _can_hold(row) != could_hold  # a directory has the better claim
        if claim is not None and (moved or (was_alive and not row.alive)):
            self.left.add(claim)
        if new_claim is not None and (moved or (row.alive and not was_alive)):
            self.came.add(new_claim)

    def _row(self, nid: NodeId) -> NodeRow:
        row = self._rows.get(nid)
        if row is None:
            row = self._rows[nid] = NodeRow(self._next_id, nid)
            self._next_id += 1
        return row

    def _odd(self, row: NodeRow) -> None:
        self._odd_rows[row.id] = row

    def _parent_row(self, nid: NodeId) -> NodeRow:
        known = nid in self._rows
        row = self._row(nid)
        self._parents.add(row.id)
        self._named.add(row.id)
        if not known:
            # Nobody told us of it yet: its row holds the place, its children stand at the root meanwhile.
            rows.write(self._db, [row])
        if row.id != rows.ROOT_ROW and not _can_hold(row):
            self._odd(row)
        return row

    # content -------------------------------------------------------------------------------------------------

    def _content(self, row: NodeRow, content: Content, replaces: Iterable[VersionId], index: int) -> None:
        source = self._source
        was_alive = row.alive
        unseen = set(replaces)
        heads = []
        for head in self._heads(row):
            version = self._sources.version(head.cs, head.idx)
            if version in unseen:
                unseen.discard(version)
            else:
                heads.append(head)
        value = rows.value_of(content)
        new = HeadRow(source.seq, index, value.kind, value.cls, value.size, value.listed, value.blocks)
        if not (self._any_replaced and self._was_replaced(row, version_id(source.hash, index))):
            heads.append(new)
        if unseen:
            self._any_replaced = True
            self._db.executemany(
                "INSERT OR IGNORE INTO replaced VALUES (?,?)", [(row.id, version) for version in unseen]
            )
        self._set_heads(row, heads)
        if was_alive and not row.alive and row.parent is not None and row.name is not None:
            self._departed(row.parent, row.name, source.seq, index)

    def _heads(self, row: NodeRow) -> list[HeadRow]:
        return read_heads(self._db, row)

    def _was_replaced(self, row: NodeRow, version: VersionId) -> bool:
        found = self._db.execute("SELECT 1 FROM replaced WHERE node=? AND version=?", (row.id, version)).fetchone()
        return found is not None

    def _set_heads(self, row: NodeRow, heads: list[HeadRow]) -> None:
        if row.heads > 1:
            self._db.execute("DELETE FROM head WHERE node=?", (row.id,))
        if len(heads) > 1:
            self._db.executemany(
                "INSERT INTO head VALUES (?,?,?,?,?,?,?,?)",
                [(row.id, h.cs, h.idx, h.kind, h.cls, h.size, h.listed, h.blocks) for h in heads],
            )
        row.heads = len(heads)
        row.keep_disk_blocks()
        if not heads:  # every version seen so far is replaced by one that has not come yet
            row.c_cs = row.c_idx = row.cls = row.size = row.listed = row.blocks = None
            row.kind = rows.NONE
            return
        # A directory is shown before any file, for the sake of what is in it; a deletion loses to everything else.
        best = heads[0] if len(heads) == 1 else max(heads, key=self._rank)
        row.c_cs, row.c_idx, row.kind, row.cls = best.cs, best.idx, best.kind, best.cls
        row.size, row.listed, row.blocks = best.size, best.listed, best.blocks

    def _rank(self, head: HeadRow) -> tuple[bool, bool, Stamp]:
        return head.kind != DELETED, head.kind == DIR, self._sources.stamp(head.cs, head.idx)

    # place and attributes ------------------------------------------------------------------------------------

    def _place(self, row: NodeRow, place: Place, index: int) -> None:
        source = self._source
        parent = self._parent_row(place.parent)
        new = (source.seq, index, parent.id, place.name)
        if row.id in self._parents and (row.kind not in (FILE, SYMLINK) or self._has_children(row)):
            self.moved.add(row.id)
        if row.p_cs is None or row.p_idx is None or row.parent is None or row.name is None:
            if row.id in self.moved or self._had_place(row):
                # Its children were told first, or all its earlier places were undone: only then can a first place close
                # a cycle, so it counts as a move.
                self.moved.add(row.id)
                self._db.execute("INSERT OR IGNORE INTO place VALUES (?,?,?,?,?)", (row.id, *new))
            row.p_cs, row.p_idx, row.parent, row.name = new
            return
        self._db.executemany(
            "INSERT OR IGNORE INTO place VALUES (?,?,?,?,?)",
            [(row.id, row.p_cs, row.p_idx, row.parent, row.name), (row.id, *new)],
        )
        if source.stamp(index) > self._sources.stamp(row.p_cs, row.p_idx):
            self._departed(row.parent, row.name, source.seq, index)
            row.p_cs, row.p_idx, row.parent, row.name = new

    def _had_place(self, row: NodeRow) -> bool:
        if row.id not in self._parents:
            return False
        return self._db.execute("SELECT 1 FROM place WHERE node=? LIMIT 1", (row.id,)).fetchone() is not None

    def _has_children(self, row: NodeRow) -> bool:
        if row.id in self._named:
            return True
        # A node whose place in this one was undone, to close no cycle, is in it again if this one moves out of the way.
        query = "SELECT 1 FROM node WHERE parent=?1 UNION ALL SELECT 1 FROM place WHERE parent=?1 LIMIT 1"
        return self._db.execute(query, (row.id,)).fetchone() is not None

    def _attributes(self, row: NodeRow, attributes: Attributes, index: int) -> None:
        source = self._source
        was = None if row.a_cs is None or row.a_idx is None else self._sources.stamp(row.a_cs, row.a_idx)
        if was is not None and source.stamp(index) <= was:
            return
        row.a_cs, row.a_idx, row.mode, row.mtime = source.seq, index, attributes.mode, attributes.mtime_ns
        row.xattrs = pack(attributes.xattrs)

    def _departed(self, parent: int, name: bytes, seq: int, index: int) -> None:
        known = self._db.execute("SELECT cs, idx FROM departed WHERE parent=? AND name=?", (parent, name)).fetchone()
        if known is None or self._sources.stamp(*known) < self._sources.stamp(seq, index):
            self._db.execute("INSERT OR REPLACE INTO departed VALUES (?,?,?,?)", (parent, name, seq, index))


PENDING, ONLY_HERE, IGNORED = 1, 2, 3
"""Values of `node.pending`: to be looked at by the planner; a change on a viewer's disk, which is neither published nor
undone; not wanted on this disk (`.syncd/ignore`)."""


def read_heads(connection: sqlite3.Connection, row: NodeRow) -> list[HeadRow]:
    """All content heads of a node."""
    if row.heads == 0 or row.c_cs is None or row.c_idx is None:
        return []
    if row.heads == 1:
        return [HeadRow(row.c_cs, row.c_idx, row.kind, row.cls, row.size, row.listed, row.blocks)]
    found = connection.execute(
        "SELECT cs, idx, kind, cls, size, listed, blocks FROM head WHERE node=? ORDER BY cs, idx", (row.id,)
    )
    return [HeadRow(*head) for head in found]


def _can_hold(row: NodeRow) -> bool:
    """Something is known of it, and it is no file: what names it as a parent is in it (`store.lineage`)."""
    seen = row.p_cs is not None or row.c_cs is not None or row.a_cs is not None
    return seen and row.kind not in (FILE, SYMLINK)


def _is_plain(row: NodeRow) -> bool:
    """Whether it has a place of its own and everything that names it as a parent is in it."""
    return row.p_cs is not None and _can_hold(row)


def _settle_odd(connection: sqlite3.Connection) -> None:
    """What was odd and is plain now stands in nobody's way any more; the time line goes on knowing of it."""
    connection.execute(
        "UPDATE odd SET settled=1 WHERE settled=0 AND EXISTS "
        f"(SELECT 1 FROM node n WHERE n.id=odd.node AND n.p_cs IS NOT NULL AND n.kind NOT IN ({FILE},{SYMLINK}))"
    )


def _claim_of(row: NodeRow) -> Claim | None:
    return None if row.parent is None or row.name is None else (row.parent, row.name)


# --- who must be looked at again -------------------------------------------------------------------------------------


def wake_siblings(connection: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Nodes that share parent and name with one of `ids` must be looked at again: who keeps the name may have
    changed."""
    for part in rows.chunks(sorted(ids)):
        connection.execute(
            f"UPDATE node SET pending={PENDING} WHERE pending=0 AND id IN (SELECT s.id FROM "
            "(SELECT parent, name, count(*) AS many, min(id) AS first FROM node "
            f"WHERE id IN ({rows.marks(part)}) GROUP BY parent, name) t "
            "JOIN node s ON s.parent=t.parent AND s.name=t.name WHERE t.many>1 OR s.id<>t.first)",
            part,
        )


_IS_NOWHERE = (
    "kind=4 AND l_kind=0 AND heads<=1 AND NOT EXISTS (SELECT 1 FROM node c WHERE c.parent=node.id) "
    "AND NOT EXISTS (SELECT 1 FROM copy c WHERE c.node=node.id) "
    "AND NOT EXISTS (SELECT 1 FROM problem p WHERE p.node=node.id)"
)
"""Of a row, in SQL: it is deleted, nothing of it stands here, and nothing may be in it, so whoever has its name is
nothing to it."""


def wake_view(
    connection: sqlite3.Connection, left: Iterable[Claim], came: Iterable[Claim], turned: Iterable[int]
) -> None:
    """Every other node whose place in the view may have changed because of what went or came at some claims, and of
    nodes that turned into something that holds children, or out of it."""
    left, came = set(left), set(came)
    connection.executemany(
        f"UPDATE node SET pending={PENDING} WHERE parent=? AND name=? AND pending=0 AND NOT ({_IS_NOWHERE})", left
    )
    above = _wake_ancestors(connection, {parent for parent, _ in left | came})
    lineage, alike = Lineage(connection), left | came | above
    # Somebody has, or had, a name that was made for a conflict copy.
    marked = {parent for parent, name in left | came if CONFLICT_MARK in name}
    connection.executemany(
        f"UPDATE node SET pending={PENDING} WHERE parent=? AND pending=0 "
        "AND (heads>1 OR (l_kind<>0 AND l_name IS NOT name))",
        [(parent,) for parent in marked.union(*map(lineage.parents, {lineage.inside(parent) for parent in marked}))],
    )
    if lineage.odd():
        # Nodes without a place are named by their id, and all stand at the root.
        connection.execute(
            f"UPDATE node SET pending={PENDING} "
            "WHERE pending=0 AND parent IS NULL AND id IN (SELECT node FROM odd WHERE settled=0)"
        )
        _wake_claimants(connection, lineage, left | came | above)
        for node in turned:
            connection.execute(f"UPDATE node SET pending={PENDING} WHERE parent=? AND pending=0", (node,))
            children = connection.execute("SELECT parent, name FROM node WHERE parent=?", (node,)).fetchall()
            _wake_claimants(connection, lineage, children)
            alike |= set(children)
    _wake_alike(connection, lineage, alike)


def _wake_ancestors(connection: sqlite3.Connection, nodes: Iterable[int]) -> set[Claim]:
    """Deleted directories live only by what is in them: up to the first that lives by itself. Their claims."""
    claims: set[Claim] = set()
    level = set(nodes)
    passed: set[int] = set()
    while level:
        passed |= level
        found: list[tuple[int, int | None, bytes | None]] = []
        for part in rows.chunks(sorted(level)):
            query = f"SELECT id, parent, name FROM node WHERE id IN ({rows.marks(part)}) AND kind IN ({NONE},{DELETED})"
            found += connection.execute(query, part)
        connection.executemany(
            f"UPDATE node SET pending={PENDING} WHERE id=? AND pending=0", [(node,) for node, _, _ in found]
        )
        wake_siblings(connection, [node for node, _, _ in found])
        claims |= {(parent, name) for _, parent, name in found if parent is not None and name is not None}
        level = {parent for _, parent, _ in found if parent is not None} - passed
    return claims


def _strays(connection: sqlite3.Connection) -> dict[int, Claim]:
    """Children of nodes that are no directory, and where these stand instead: directory and name."""
    lineage = Lineage(connection)
    found: dict[int, Claim] = {}
    for parent in lineage.odd():
        for child, name in connection.execute("SELECT id, name FROM node WHERE parent=?", (parent,)):
            found[child] = (lineage.inside(parent), name)
    return found


def _wake_strays(connection: sqlite3.Connection, before: dict[int, Claim]) -> None:
    """They stand elsewhere as soon as any of the nodes above them does."""
    after = _strays(connection)
    changed = {child for child in before.keys() | after.keys() if before.get(child) != after.get(child)}
    connection.executemany(
        f"UPDATE node SET pending={PENDING} WHERE id=? AND pending=0", [(child,) for child in changed]
    )
    claims = [claims[child] for claims in (before, after) for child in changed if child in claims]
    _wake_claimants(connection, Lineage(connection), claims)
    _wake_alike(connection, Lineage(connection), claims)


def _wake_claimants(connection: sqlite3.Connection, lineage: Lineage, claims: Iterable[Claim]) -> None:
    # Each once: whoever names one name in many directories that nobody knows has all of that stand at the root.
    for directory, name in {(lineage.inside(parent), name) for parent, name in claims}:
        woken = [(row.id,) for row in lineage.claimants(directory, name)]
        connection.executemany(f"UPDATE node SET pending={PENDING} WHERE id=? AND pending=0", woken)


def _wake_alike(connection: sqlite3.Connection, lineage: Lineage, claims: Iterable[Claim]) -> None:
    """On a disk that cannot tell all names apart: whoever has what is one of these to it, or has another name than its
    own because of somebody else."""
    disk = personality_of(connection)
    if holds_any(disk):
        return
    keys: dict[int, set[bytes]] = {}
    for parent, name in claims:
        keys.setdefault(lineage.inside(parent), set()).add(disk_key(name, disk))
    for directory, taken in keys.items():
        found: list[tuple[int, bytes, int]] = []
        for part in rows.chunks(lineage.parents(directory)):
            query = (
                "SELECT id, name, heads>1 OR (l_kind<>0 AND l_name IS NOT name) FROM node "
                f"WHERE parent IN ({rows.marks(part)}) AND pending=0"
            )
            found += connection.execute(query, part)
        woken = [(id_,) for id_, name, is_renamed in found if is_renamed or disk_key(name, disk) in taken]
        connection.executemany(f"UPDATE node SET pending={PENDING} WHERE id=?", woken)


# --- cycles ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    cs: int
    idx: int
    parent: int
    name: bytes


def settle_cycles(connection: sqlite3.Connection, sources: Sources, moved: Iterable[int]) -> set[Claim]:
    """Give every node the greatest place that closes no cycle, after some that may have children were moved.

    In each cycle the latest move counts as not made; a node whose every place closes one has no place. Answers the
    claims that changed hands.
    """
    if not _any_undone(connection) and not _is_any_in_cycle(connection, moved):
        return set()
    return _Settling(connection, sources).run()


def _any_undone(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM meta WHERE key='undone'").fetchone() is not None


def _is_any_in_cycle(connection: sqlite3.Connection, nodes: Iterable[int]) -> bool:
    ends = {rows.ROOT_ROW}
    """From these a walk upwards is known to end."""
    for node in nodes:
        passed: set[int] = set()
        at: int | None = node
        while at is not None and at not in ends:
            if at in passed:
                return True
            passed.add(at)
            found = connection.execute("SELECT parent FROM node WHERE id=?", (at,)).fetchone()
            at = None if found is None else found[0]
        ends |= passed
    return False


class _Settling:
    """`model.view.settle_places` on the rows that can be in a cycle."""

    def __init__(self, connection: sqlite3.Connection, sources: Sources) -> None:
        self._db = connection
        self._sources = sources
        self._options: dict[int, list[_Place]] = {}
        self._choice: dict[int, int] = {}
        self._single: set[int] = set()
        self._ends = {rows.ROOT_ROW}
        """From these a walk upwards ends, whatever else is undone: it passes nothing that is in a cycle."""

    def run(self) -> set[Claim]:
        query = (
            "SELECT p.node, p.cs, p.idx, p.parent, p.name FROM place p "
            "WHERE EXISTS (SELECT 1 FROM node c WHERE c.parent=p.node) "
            "OR EXISTS (SELECT 1 FROM place q WHERE q.parent=p.node)"
        )
        for node, *rest in self._db.execute(query).fetchall():
            self._options.setdefault(node, []).append(_Place(*rest))
        for options in self._options.values():
            options.sort(key=lambda place: self._sources.stamp(place.cs, place.idx), reverse=True)
        for node in sorted(self._options):
            self._settle(node)
        return self._note()

    def _settle(self, start: int) -> None:
        """Walk upwards; in each cycle undo the latest move, and go on from what was moved."""
        walk: list[int] = []
        at_step: dict[int, int] = {}
        at = start
        while at not in self._ends:
            if at in at_step:
                at = max(walk[at_step[at] :], key=lambda member: self._stamp(self._chosen(member)))
                self._choice[at] = self._choice.get(at, 0) + 1
                for left in walk[at_step[at] :]:
                    del at_step[left]
                del walk[len(at_step) :]
            at_step[at] = len(walk)
            walk.append(at)
            place = self._chosen(at)
            if place is None:
                break
            at = place.parent
        self._ends.update(walk)

    def _chosen(self, node: int) -> _Place | None:
        if node not in self._options:
            row = rows.read_ids(self._db, [node]).get(node)
            self._single.add(node)
            self._options[node] = []
            if row is not None and row.p_cs is not None and row.parent is not None:
                self._options[node] = [_Place(row.p_cs, row.p_idx or 0, row.parent, row.name or b"")]
        choice = self._choice.get(node, 0)
        options = self._options[node]
        return options[choice] if choice < len(options) else None

    def _stamp(self, place: _Place | None) -> Stamp:
        return (0, b"", 0, b"") if place is None else self._sources.stamp(place.cs, place.idx)

    def _note(self) -> set[Claim]:
        undone = [node for node, choice in self._choice.items() if choice]
        for node in self._single.intersection(undone):
            only = self._options[node][0]
            values = (node, only.cs, only.idx, only.parent, only.name)
            self._db.execute("INSERT OR IGNORE INTO place VALUES (?,?,?,?,?)", values)
        if undone:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('undone', x'01')")
        else:
            self._db.execute("DELETE FROM meta WHERE key='undone'")
        claims: set[Claim] = set()
        for row in rows.read_ids(self._db, sorted(self._options)).values():
            place = self._chosen(row.id)
            before = _claim_of(row)
            row_place = (None,) * 4 if place is None else (place.cs, place.idx, place.parent, place.name)
            if (row.p_cs, row.p_idx, row.parent, row.name) == row_place:
                continue
            row.p_cs, row.p_idx, row.parent, row.name = row_place
            row.pending = row.pending or PENDING
            rows.write(self._db, [row])
            if place is None:
                note_odd(self._db, [row.id])
            claims |= {claim for claim in (before, _claim_of(row)) if claim is not None}
        return claims
