"""Blocking. What a scan found becomes records of ours, and rows that say so, in one transaction.

Between looking at a file and committing what was seen, another part of the daemon may have changed its row: such a
finding is dropped, and the caller looks again. A deletion is only ever a record about the version that this device had.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from syncd.engine.detect import Known
from syncd.model.ids import NodeId, VersionId
from syncd.model.lists import BlockList
from syncd.model.records import DELETED as DELETED_CONTENT
from syncd.model.records import DIRECTORY, Attributes, Content, Place, Record, file_of, file_of_parts, symlink_to
from syncd.store import blocks, rows
from syncd.store.blocks import SourceKind, source_of
from syncd.store.hashing import Hashed
from syncd.store.joining import ONLY_HERE, PENDING, Source, Sources
from syncd.store.rows import DIR, FILE, NONE, NodeRow, Value, value_of
from syncd.store.scan import Action, Gone, Item, below, fresh_node_id
from syncd.treetypes import Kind, Path, Stat


@dataclass(frozen=True, slots=True)
class Examined:
    """A finding with its content: `hashed` for a file, `target` for a link, neither where only attributes or place
    matter."""

    item: Item
    stat: Stat
    seen_ns: int
    hashed: Hashed | None = None
    target: bytes | None = None


@dataclass(slots=True)
class Draft:
    """Records to be published, and for each what to note about the disk once its version is known."""

    records: list[Record] = field(default_factory=list)
    settle: list[Callable[[NodeRow, Source, int], None]] = field(default_factory=list)
    again: list[Path] = field(default_factory=list)
    """Findings overtaken by something else: look there again."""
    unchanged: int = 0

    def add(self, record: Record, settle: Callable[[NodeRow, Source, int], None]) -> None:
        self.records.append(record)
        self.settle.append(settle)

    def before_write(self, touched: Sequence[NodeRow], source: Source, first: int) -> None:
        """For `Journal.author`."""
        for index, row in enumerate(touched):
            self.settle[first + index](row, source, index)


class Publisher:
    """Turns findings into a `Draft`. One object per transaction."""

    def __init__(self, connection: sqlite3.Connection, sources: Sources, *, publishes: bool) -> None:
        """`publishes` False: this device is a viewer here, its own changes are kept and shown, and go nowhere."""
        self._db = connection
        self._sources = sources
        self._publishes = publishes
        self.draft = Draft()
        self._parents: dict[NodeId, NodeRow] = {}
        self._drafted: set[NodeId] = set()

    def findings(self, found: Sequence[Examined]) -> Draft:
        """New, changed, touched and moved names; directories come before what is in them."""
        self._parents = rows.read_nids(self._db, {examined.item.parent for examined in found})
        for examined in found:
            match examined.item.action:
                case Action.NEW:
                    self._new(examined)
                case Action.CHANGED:
                    self._changed(examined)
                case Action.TOUCHED:
                    self._touched(examined)
                case Action.MOVED:
                    self._moved(examined)
        return self.draft

    def deletions(self, gone: Iterable[Gone]) -> Draft:
        """Rows that are gone for good, with everything that stood in gone directories."""
        directories = []
        for item in gone:
            if item.known.is_copy:
                self._copy_gone(item)
            elif (row := self._current(item.known)) is None:
                self.draft.again.append(item.path)
            else:
                self._gone(row)
                if row.l_kind == NONE or item.known.kind == DIR:
                    directories.append(item.known.row)
        for row in rows.read_ids(self._db, below(self._db, directories)).values():
            self._gone(row)
        return self.draft

    # new -----------------------------------------------------------------------------------------------------

    def _new(self, examined: Examined) -> None:
        item = examined.item
        parent = self._parents.get(item.parent)
        content = content_of(examined)
        if content is None:
            self.draft.again.append(item.path)
            return
        standing = None if parent is None else self._global_at(parent.id, item.name, int(item.stat.kind))
        if parent is not None and self._disk_has(parent.id, item.name):
            self.draft.again.append(item.path)
        elif standing is not None:
            assert parent is not None
            self._adopt(examined, parent, standing, content)
        else:
            self._create(examined, content, parent)

    def _create(self, examined: Examined, content: Content, parent: NodeRow | None) -> None:
        item = examined.item
        node = item.node
        if node is None:
            node = fresh_node_id(self._db, self._sources, item.parent, None if parent is None else parent.id, item.name)
        if not self._publishes:
            self._only_here_new(examined, node, parent, content)
            return
        if node in self._drafted:
            self.draft.again.append(item.path)
            return
        self._drafted.add(node)
        record = Record(node, content, (), Place(item.parent, item.name), (), attributes_of(examined), ())

        def settle(row: NodeRow, source: Source, index: int) -> None:
            assert row.parent is not None
            self._stand(row, row.parent, examined, content, source, index)
            row.s_pcs, row.s_pidx = source.seq, index
            row.s_acs, row.s_aidx = source.seq, index
            _settle_pending(row)

        self.draft.add(record, settle)

    def _adopt(self, examined: Examined, parent: NodeRow, row: NodeRow, content: Content) -> None:
        """Global expects something of this kind here: it is that node. Equal content is no news, other content a
        conflict."""
        value = value_of(content)
        if value.same_as(row.kind, row.size, row.listed, row.blocks):
            self._place_on_disk(row, parent.id, examined, value)
            row.s_ccs, row.s_cidx, row.s_pcs, row.s_pidx = row.c_cs, row.c_idx, row.p_cs, row.p_idx
            row.pending = PENDING  # its attributes may differ: the planner looks
            rows.write(self._db, [row])
            self._note_blocks(row.id, examined)
            self.draft.unchanged += 1
            return
        if not self._publishes:
            self._place_on_disk(row, parent.id, examined, value)
            row.pending = ONLY_HERE
            rows.write(self._db, [row])
            self._note_blocks(row.id, examined)
            return
        if row.nid in self._drafted:
            self.draft.again.append(examined.item.path)
            return
        self._drafted.add(row.nid)
        record = Record(row.nid, content, (), None, (), attributes_of(examined), ())

        def settle(joined: NodeRow, source: Source, index: int) -> None:
            self._stand(joined, parent.id, examined, content, source, index)
            joined.s_pcs, joined.s_pidx = joined.p_cs, joined.p_idx
            joined.s_acs, joined.s_aidx = source.seq, index

        self.draft.add(record, settle)

    def _only_here_new(self, examined: Examined, node: NodeId, parent: NodeRow | None, content: Content) -> None:
        row = rows.read_nids(self._db, [node]).get(node)
        if row is None:
            (next_id,) = self._db.execute("SELECT coalesce(max(id),0)+1 FROM node").fetchone()
            row = NodeRow(next_id, node)
        if parent is None:
            self.draft.again.append(examined.item.path)
            return
        self._place_on_disk(row, parent.id, examined, value_of(content))
        row.pending = ONLY_HERE
        rows.write(self._db, [row])
        if examined.item.node is not None:
            self._parents[node] = row
        self._note_blocks(row.id, examined)

    # known ---------------------------------------------------------------------------------------------------

    def _changed(self, examined: Examined) -> None:
        known = examined.item.known
        assert known is not None
        if known.is_copy:
            self._copy_changed(examined)
            return
        row = self._current(known)
        content = content_of(examined)
        if row is None or content is None or row.nid in self._drafted:
            self.draft.again.append(examined.item.path)
            return
        value = value_of(content)
        listed, on_disk = disk_value(row)
        if rows.same_blocks(row.l_kind, value.listed, value.blocks, listed, on_disk):
            self._attributes(row, examined)
            return
        if not self._publishes or row.pending == ONLY_HERE:
            self._forget_blocks(row)
            assert row.l_parent is not None
            self._place_on_disk(row, row.l_parent, examined, value)
            row.pending = ONLY_HERE
            rows.write(self._db, [row])
            self._note_blocks(row.id, examined)
            return
        self._drafted.add(row.nid)
        record = Record(
            row.nid, content, self._synced_content(row), None, (), attributes_of(examined), self._synced_attributes(row)
        )
        before = packed_on_disk(self._db, row)

        def settle(joined: NodeRow, source: Source, index: int) -> None:
            assert joined.l_parent is not None
            blocks.drop(self._db, source_of(SourceKind.NODE, joined.id), before)
            self._stand(joined, joined.l_parent, examined, content, source, index, joined.l_name)
            joined.s_acs, joined.s_aidx = source.seq, index
            _settle_pending(joined)

        self.draft.add(record, settle)

    def _touched(self, examined: Examined) -> None:
        known = examined.item.known
        assert known is not None
        if known.is_copy:
            return
        row = self._current(known)
        if row is None or row.nid in self._drafted:
            self.draft.again.append(examined.item.path)
            return
        self._attributes(row, examined)

    def _attributes(self, row: NodeRow, examined: Examined) -> None:
        """The content is as before: note the new stat, and publish the attributes if they changed."""
        stat = examined.stat
        changed = stat.kind is not Kind.SYMLINK and (
            stat.mode != row.l_mode or (stat.kind is Kind.FILE and stat.mtime_ns != row.l_mtime)
        )
        self._note_stat(row, stat, examined.seen_ns)
        if not changed or not self._publishes or row.pending == ONLY_HERE:
            rows.write(self._db, [row])
            self.draft.unchanged += 1
            return
        rows.write(self._db, [row])
        self._drafted.add(row.nid)
        record = Record(row.nid, None, (), None, (), attributes_of(examined), self._synced_attributes(row))

        def settle(joined: NodeRow, source: Source, index: int) -> None:
            joined.s_acs, joined.s_aidx = source.seq, index
            _settle_pending(joined)

        self.draft.add(record, settle)

    def _moved(self, examined: Examined) -> None:
        item = examined.item
        known = item.known
        assert known is not None
        row = self._current(known)
        parent = self._parents.get(item.parent)
        if row is None or row.nid in self._drafted:
            self.draft.again.append(item.path)
            return
        if not self._publishes or row.pending == ONLY_HERE:
            if parent is not None:
                row.l_parent, row.l_name, row.pending = parent.id, item.name, ONLY_HERE
                self._note_stat(row, examined.stat, examined.seen_ns)
                rows.write(self._db, [row])
            return
        self._drafted.add(row.nid)
        place = Place(item.parent, item.name)
        changed = examined.stat.mode != row.l_mode and examined.stat.kind is not Kind.SYMLINK
        record = Record(
            row.nid, None, (), place, self._synced_place(row), attributes_of(examined) if changed else None, ()
        )

        def settle(joined: NodeRow, source: Source, index: int) -> None:
            if joined.p_cs == source.seq and joined.p_idx == index:
                joined.l_parent = joined.parent
            elif parent is not None:
                joined.l_parent = parent.id
            joined.l_name = item.name
            self._note_stat(joined, examined.stat, examined.seen_ns)
            joined.s_pcs, joined.s_pidx = source.seq, index
            if changed:
                joined.s_acs, joined.s_aidx = source.seq, index
            _settle_pending(joined)

        self.draft.add(record, settle)

    # copies --------------------------------------------------------------------------------------------------

    def _copy_changed(self, examined: Examined) -> None:
        """Somebody worked on a conflict copy: it becomes a file of its own, and the head it showed is replaced."""
        known = examined.item.known
        assert known is not None
        copy = self._copy(known)
        content = content_of(examined)
        if copy is None or content is None:
            self.draft.again.append(examined.item.path)
            return
        value = value_of(content)
        if rows.same_blocks(copy.kind, value.listed, value.blocks, copy.listed, copy.blocks):
            self._db.execute(
                "UPDATE copy SET l_ino=?, l_size=?, l_mtime=?, l_ctime=?, l_mode=?, l_seen=? WHERE id=?",
                (*_columns(examined.stat), examined.seen_ns, copy.id),
            )
            return
        if not self._publishes:
            return
        self._drop_copy(copy)
        parent = rows.read_ids(self._db, [copy.parent])[copy.parent]
        self._create(examined, content, parent)

    def _copy_gone(self, item: Gone) -> None:
        copy = self._copy(item.known)
        if copy is None:
            self.draft.again.append(item.path)
        elif self._publishes:
            self._drop_copy(copy)

    def _drop_copy(self, copy: _Copy) -> None:
        row = rows.read_ids(self._db, [copy.node])[copy.node]
        if row.nid in self._drafted:
            return
        self._drafted.add(row.nid)
        packed = packed_entries(self._db, copy.kind, copy.listed, copy.blocks)
        blocks.drop(self._db, source_of(SourceKind.COPY, copy.id), packed)
        self._db.execute("DELETE FROM copy WHERE id=?", (copy.id,))
        record = Record(row.nid, DELETED_CONTENT, (self._sources.version(copy.cs, copy.idx),))
        self.draft.add(record, lambda joined, source, index: _settle_pending(joined))

    def _copy(self, known: Known) -> _Copy | None:
        found = self._db.execute(
            "SELECT id, node, cs, idx, l_parent, l_kind, l_listed, l_blocks, l_ino, l_mtime, l_ctime FROM copy WHERE "
            "id=?",
            (known.row,),
        ).fetchone()
        if found is None or tuple(found[8:]) != (known.ino, known.mtime_ns, known.ctime_ns):
            return None
        return _Copy(*found[:8])

    # gone ----------------------------------------------------------------------------------------------------

    def _gone(self, row: NodeRow) -> None:
        if row.nid in self._drafted or not row.on_disk:
            return
        self._forget_blocks(row)
        if not self._publishes or row.pending == ONLY_HERE or row.s_ccs is None:
            row.leave_disk()
            row.pending = ONLY_HERE
            if row.kind == NONE:  # nobody but this disk ever had it
                self._db.execute("DELETE FROM node WHERE id=?", (row.id,))
                return
            rows.write(self._db, [row])
            return
        self._drafted.add(row.nid)
        record = Record(row.nid, DELETED_CONTENT, self._synced_content(row))

        def settle(joined: NodeRow, source: Source, index: int) -> None:
            joined.leave_disk()
            # If anybody has changed it meanwhile, that version lives, and the planner brings it back.
            joined.pending = PENDING if joined.alive or joined.heads > 1 else 0

        self.draft.add(record, settle)

    # rows ----------------------------------------------------------------------------------------------------

    def _current(self, known: Known) -> NodeRow | None:
        """The row, if it still says what the scan compared with."""
        row = rows.read_ids(self._db, [known.row]).get(known.row)
        if row is None:
            return None
        now = (row.l_kind, row.l_ino, row.l_size, row.l_mtime, row.l_ctime, row.l_mode)
        was = (known.kind, known.ino, known.size, known.mtime_ns, known.ctime_ns, known.mode)
        return row if now == was else None

    def _global_at(self, parent: int, name: bytes, kind: int) -> NodeRow | None:
        """The node that Global expects at this path and that does not stand on this disk yet."""
        found = rows.read(
            self._db, "WHERE parent=? AND name=? AND kind=? AND l_kind=0 ORDER BY id LIMIT 1", (parent, name, kind)
        )
        return found[0] if found else None

    def _disk_has(self, parent: int, name: bytes) -> bool:
        query = (
            "SELECT 1 FROM node WHERE l_parent=?1 AND l_name=?2 AND l_kind<>0 "
            "UNION ALL SELECT 1 FROM copy WHERE l_parent=?1 AND l_name=?2"
        )
        return self._db.execute(query, (parent, name)).fetchone() is not None

    def _stand(
        self,
        row: NodeRow,
        parent: int,
        examined: Examined,
        content: Content,
        source: Source,
        index: int,
        name: bytes | None = None,
    ) -> None:
        """The disk holds this version of ours."""
        self._place_on_disk(row, parent, examined, value_of(content), name)
        row.s_ccs, row.s_cidx = source.seq, index
        if (row.c_cs, row.c_idx) == (source.seq, index):
            row.l_blocks = row.l_listed = row.l_cls = None
        self._note_blocks(row.id, examined)

    def _place_on_disk(
        self, row: NodeRow, parent: int, examined: Examined, value: Value, name: bytes | None = None
    ) -> None:
        row.l_parent, row.l_name, row.l_kind = parent, name or examined.item.name, int(examined.stat.kind)
        row.l_blocks, row.l_listed, row.l_cls = value.blocks, value.listed, value.cls
        self._note_stat(row, examined.stat, examined.seen_ns)

    def _note_stat(self, row: NodeRow, stat: Stat, seen_ns: int) -> None:
        row.l_ino, row.l_size, row.l_mtime, row.l_ctime, row.l_mode = _columns(stat)
        row.l_seen = seen_ns

    def _note_blocks(self, row: int, examined: Examined) -> None:
        hashed = examined.hashed
        if hashed is None:
            return
        blocks.add(self._db, [(source_of(SourceKind.NODE, row), hashed.packed)])
        keep_parts(self._db, hashed.parts)

    def _forget_blocks(self, row: NodeRow) -> None:
        blocks.drop(self._db, source_of(SourceKind.NODE, row.id), packed_on_disk(self._db, row))

    def _synced_content(self, row: NodeRow) -> tuple[VersionId, ...]:
        if row.s_ccs is None or row.s_cidx is None:
            return ()
        return (self._sources.version(row.s_ccs, row.s_cidx),)

    def _synced_place(self, row: NodeRow) -> tuple[VersionId, ...]:
        if row.s_pcs is None or row.s_pidx is None:
            return ()
        return (self._sources.version(row.s_pcs, row.s_pidx),)

    def _synced_attributes(self, row: NodeRow) -> tuple[VersionId, ...]:
        if row.s_acs is None or row.s_aidx is None:
            return ()
        return (self._sources.version(row.s_acs, row.s_aidx),)


@dataclass(frozen=True, slots=True)
class _Copy:
    id: int
    node: int
    cs: int
    idx: int
    parent: int
    kind: int
    listed: int | None
    blocks: bytes | None


def content_of(examined: Examined) -> Content | None:
    """The content register's value for a finding; None if it was not looked into."""
    match examined.stat.kind:
        case Kind.DIR:
            return DIRECTORY
        case Kind.SYMLINK:
            return None if examined.target is None else symlink_to(examined.target)
        case _:
            hashed = examined.hashed
            if hashed is None:
                return None
            if hashed.listed:
                return file_of_parts(hashed.cut_class, hashed.size, hashed.payload, hashed.digest())
            return file_of(hashed.cut_class, hashed.size, hashed.payload)


def attributes_of(examined: Examined) -> Attributes:
    """The attributes register's value for a finding."""
    match examined.stat.kind:
        case Kind.SYMLINK:
            return Attributes()
        case Kind.DIR:
            return Attributes(examined.stat.mode)
        case _:
            return Attributes(examined.stat.mode, examined.stat.mtime_ns)


def disk_value(row: NodeRow) -> tuple[int | None, bytes | None]:
    """(listed, blocks) of what stands on the disk."""
    return (row.listed, row.blocks) if row.l_blocks is None else (row.l_listed, row.l_blocks)


def packed_on_disk(connection: sqlite3.Connection, row: NodeRow) -> bytes:
    """Packed entries of all blocks of what stands on the disk."""
    listed, on_disk = disk_value(row)
    return packed_entries(connection, row.l_kind, listed, on_disk)


def packed_entries(connection: sqlite3.Connection, kind: int, listed: int | None, blocks_: bytes | None) -> bytes:
    """Packed entries of all blocks of a file, its parts put together; empty for anything else or if a part is
    missing."""
    if kind != FILE or blocks_ is None:
        return b""
    if not listed:
        return blocks_
    parts = []
    for entry in BlockList(rows.parts_of(blocks_)):
        plain = part_plain(connection, entry.cid)
        if plain is None:
            return b""
        parts.append(plain)
    return b"".join(parts)


def part_plain(connection: sqlite3.Connection, cid: bytes) -> bytes | None:
    """The plaintext of a part of a list of lists."""
    found = connection.execute("SELECT entry, plain FROM list WHERE ck=?", (rows.prefix(cid),))
    for entry, plain in found:
        if entry[32:64] == cid:
            return bytes(plain)
    return None


def keep_parts(connection: sqlite3.Connection, parts: Iterable[tuple[bytes, bytes]]) -> None:
    """Keep parts of lists, (entry, plain), that are not kept yet."""
    for entry, plain in parts:
        if part_plain(connection, entry[32:64]) is None:
            connection.execute("INSERT INTO list VALUES (?,?,?)", (rows.prefix(entry[32:40]), entry, plain))


def _columns(stat: Stat) -> tuple[int, int, int, int, int]:
    return stat.ino, stat.size, stat.mtime_ns, stat.ctime_ns, stat.mode


def _settle_pending(row: NodeRow) -> None:
    """After our own record: nothing is left to do unless somebody else's version stands beside or above it."""
    settled = (
        row.heads <= 1
        and (row.s_ccs, row.s_cidx) == (row.c_cs, row.c_idx)
        and (row.s_pcs, row.s_pidx) == (row.p_cs, row.p_idx)
        and (row.s_acs, row.s_aidx) == (row.a_cs, row.a_idx)
    )
    row.pending = 0 if settled else PENDING
