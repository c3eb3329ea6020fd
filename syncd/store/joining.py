"""Blocking. The law of registers (`model.join`) on database rows, a batch of records at a time.

Per node the law is that of `docs/protocol.md`, "Registers": content keeps every version nobody has replaced; of places
and attributes the greatest stamp (Lamport number, author, index) wins. A test runs both, this and `model.join`, on the
same random records and compares. The common case, one head replaced by its successor, touches no table but `node`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ca import codec
from ca.ids import DeviceId
from syncd.model.ids import ChangesetHash, NodeId, VersionId, version_id
from syncd.model.records import Attributes, Content, Place, Record
from syncd.store import rows
from syncd.store.rows import DELETED, DIR, NodeRow

Stamp = tuple[int, bytes, int]
"""Lamport number, author, index: the total order of versions."""


@dataclass(frozen=True, slots=True)
class Source:
    """The changeset that a batch of records came in."""

    seq: int
    hash: ChangesetHash
    lamport: int
    device: DeviceId
    author_name: str = ""


class Sources:
    """Changesets by arrival number, as far as the order and the names of versions need them. Cached."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[int, Source] = {}

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
        source = self[seq]
        return source.lamport, source.device, index

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


@dataclass(slots=True)
class Joined:
    """What a batch changed: rows in the order of the records (one row may come more than once)."""

    rows: list[NodeRow] = field(default_factory=list)


def join_records(
    connection: sqlite3.Connection,
    sources: Sources,
    source: Source,
    records: Sequence[Record],
    before_write: Callable[[Sequence[NodeRow]], None] | None = None,
) -> Joined:
    """Join `records` of one changeset into the rows; every row touched becomes pending. Runs inside the caller's
    transaction.

    `before_write` sees the rows, one for each record that is not about the root, and may set Local and Synced columns.
    """
    work = _Join(connection, sources, source)
    joined = Joined(work.run(records))
    if before_write is not None:
        before_write(joined.rows)
    rows.write(connection, {row.id: row for row in joined.rows}.values())
    wake_siblings(connection, {row.id for row in joined.rows})
    if work.directories_moved:
        settle_cycles(connection, sources)
    return joined


class _Join:
    def __init__(self, connection: sqlite3.Connection, sources: Sources, source: Source) -> None:
        self._db = connection
        self._sources = sources
        self._source = source
        self._rows: dict[NodeId, NodeRow] = {}
        self._next_id = 0
        self._any_replaced = connection.execute("SELECT 1 FROM replaced LIMIT 1").fetchone() is not None
        self._parents_before_place: set[int] = set()
        self.directories_moved = False

    def run(self, records: Sequence[Record]) -> list[NodeRow]:
        nids = [record.node for record in records]
        nids += [record.place.parent for record in records if record.place is not None]
        self._rows = rows.read_nids(self._db, nids)
        self._parents_before_place = {row.id for row in self._rows.values() if row.p_cs is None}
        (self._next_id,) = self._db.execute("SELECT coalesce(max(id),0)+1 FROM node").fetchone()
        touched = []
        for index, record in enumerate(records):
            row = self._row(record.node)
            if row.id == rows.ROOT_ROW:
                continue  # nothing about the root itself is shared
            if record.content is not None:
                self._content(row, record.content, record.replaces_content, index)
            if record.place is not None:
                self._place(row, record.place, index)
            if record.attributes is not None:
                self._attributes(row, record.attributes, index)
            if row.pending != ONLY_HERE:
                row.pending = PENDING
            touched.append(row)
        return touched

    def _row(self, nid: NodeId) -> NodeRow:
        row = self._rows.get(nid)
        if row is None:
            row = self._rows[nid] = NodeRow(self._next_id, nid)
            self._next_id += 1
        return row

    def _parent_row(self, nid: NodeId) -> NodeRow:
        known = nid in self._rows
        row = self._row(nid)
        if row.p_cs is None and row.id != rows.ROOT_ROW:
            self._parents_before_place.add(row.id)
        if (
            not known
        ):  # a parent nobody told us of yet: its row is a placeholder, its children stand at the root meanwhile
            rows.write(self._db, [row])
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
        best = max(heads, key=lambda head: (head.kind != DELETED, self._sources.stamp(head.cs, head.idx)))
        row.c_cs, row.c_idx, row.kind, row.cls = best.cs, best.idx, best.kind, best.cls
        row.size, row.listed, row.blocks = best.size, best.listed, best.blocks

    # place and attributes ------------------------------------------------------------------------------------

    def _place(self, row: NodeRow, place: Place, index: int) -> None:
        source = self._source
        parent = self._parent_row(place.parent)
        if row.p_cs is None or row.p_idx is None or row.parent is None or row.name is None:
            if row.id in self._parents_before_place:
                # Its children were told first: only then can a first place close a cycle, so it counts as a move.
                self._db.execute(
                    "INSERT OR IGNORE INTO place VALUES (?,?,?,?,?)", (row.id, source.seq, index, parent.id, place.name)
                )
                self.directories_moved = True
            row.p_cs, row.p_idx, row.parent, row.name = source.seq, index, parent.id, place.name
            return
        self._db.executemany(
            "INSERT OR IGNORE INTO place VALUES (?,?,?,?,?)",
            [(row.id, row.p_cs, row.p_idx, row.parent, row.name), (row.id, source.seq, index, parent.id, place.name)],
        )
        if (source.lamport, source.device, index) > self._sources.stamp(row.p_cs, row.p_idx):
            self._departed(row.parent, row.name, source.seq, index)
            self._wake_name(row.parent, row.name)
            row.p_cs, row.p_idx, row.parent, row.name = source.seq, index, parent.id, place.name
        self.directories_moved |= row.kind == DIR

    def _attributes(self, row: NodeRow, attributes: Attributes, index: int) -> None:
        source = self._source
        mine = (source.lamport, source.device, index)
        if row.a_cs is not None and row.a_idx is not None and mine <= self._sources.stamp(row.a_cs, row.a_idx):
            return
        row.a_cs, row.a_idx, row.mode, row.mtime = source.seq, index, attributes.mode, attributes.mtime_ns
        row.xattrs = codec.encode([item for pair in attributes.xattrs for item in pair]) if attributes.xattrs else None

    def _departed(self, parent: int, name: bytes, seq: int, index: int) -> None:
        known = self._db.execute("SELECT cs, idx FROM departed WHERE parent=? AND name=?", (parent, name)).fetchone()
        if known is None or self._sources.stamp(*known) < self._sources.stamp(seq, index):
            self._db.execute("INSERT OR REPLACE INTO departed VALUES (?,?,?,?)", (parent, name, seq, index))

    def _wake_name(self, parent: int, name: bytes) -> None:
        self._db.execute(
            "UPDATE node SET pending=? WHERE parent=? AND name=? AND pending<>?", (PENDING, parent, name, ONLY_HERE)
        )


PENDING = 1
ONLY_HERE = 2
"""Values of `node.pending`: to be looked at by the planner; a change on a viewer's disk, which is neither published nor
undone."""


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


def wake_siblings(connection: sqlite3.Connection, ids: set[int]) -> None:
    """Nodes that share parent and name with one of `ids` must be looked at again: who keeps the name may have
    changed."""
    for part in rows.chunks(sorted(ids)):
        connection.execute(
            f"UPDATE node SET pending={PENDING} WHERE pending=0 AND id IN (SELECT s.id FROM node t JOIN node s "
            f"ON s.parent=t.parent AND s.name=t.name AND s.id<>t.id WHERE t.id IN ({rows.marks(part)}))",
            part,
        )


@dataclass(frozen=True, slots=True)
class _Place:
    cs: int
    idx: int
    parent: int
    name: bytes


def settle_cycles(connection: sqlite3.Connection, sources: Sources) -> None:
    """Give every directory that ever moved the greatest place that closes no cycle.

    In each cycle the latest move counts as not made; a directory whose every place closes one stands at the root.
    """
    places: dict[int, list[_Place]] = {}
    query = "SELECT p.node, p.cs, p.idx, p.parent, p.name FROM place p JOIN node n ON n.id=p.node WHERE n.kind=?"
    for node, *rest in connection.execute(query, (DIR,)):
        places.setdefault(node, []).append(_Place(*rest))
    for options in places.values():
        options.sort(key=lambda place: sources.stamp(place.cs, place.idx), reverse=True)
    choice = dict.fromkeys(places, 0)
    parents: dict[int, int | None] = {}

    def chosen(node: int) -> _Place | None:
        options = places[node]
        return options[choice[node]] if choice[node] < len(options) else None

    def parent_of(node: int) -> int | None:
        if node in places:
            place = chosen(node)
            return rows.ROOT_ROW if place is None else place.parent
        if node not in parents:
            found = connection.execute("SELECT parent FROM node WHERE id=?", (node,)).fetchone()
            parents[node] = None if found is None else found[0]
        return parents[node]

    def cycle_from(node: int) -> list[int] | None:
        path: list[int] = []
        at: int | None = node
        while at is not None and at != rows.ROOT_ROW:
            if at in path:
                return path[path.index(at) :]
            path.append(at)
            at = parent_of(at)
        return None

    def stamp_of(node: int) -> Stamp:
        place = chosen(node)
        return (0, b"", 0) if place is None else sources.stamp(place.cs, place.idx)

    for node in sorted(places):
        while (cycle := cycle_from(node)) is not None:
            movable = [member for member in cycle if member in places]
            if not movable:
                break  # cannot be: the last place that closed the cycle was written to `place`
            choice[max(movable, key=stamp_of)] += 1
    for node in places:
        place = chosen(node)
        row = rows.read_ids(connection, [node])[node]
        if place is None:
            place = _Place(places[node][-1].cs, places[node][-1].idx, rows.ROOT_ROW, places[node][-1].name)
        if (row.p_cs, row.p_idx, row.parent) != (place.cs, place.idx, place.parent):
            row.p_cs, row.p_idx, row.parent, row.name = place.cs, place.idx, place.parent, place.name
            row.pending = row.pending or PENDING
            rows.write(connection, [row])
            wake_siblings(connection, {node})
