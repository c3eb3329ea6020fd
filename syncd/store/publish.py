"""Blocking. What a scan found becomes records of ours, and rows that say so, in one transaction.

Between looking at a file and committing what was seen, another part of the daemon may have changed its row: such a
finding is dropped, and the caller looks again. A deletion is only ever a record about the version that this device had.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field

from syncd.engine.detect import Known
from syncd.model.ids import NodeId, VersionId, new_node_id
from syncd.model.lists import BlockList
from syncd.model.records import DELETED as DELETED_CONTENT
from syncd.model.records import DIRECTORY, Attributes, Content, Place, Record, file_of, file_of_parts, symlink_to
from syncd.store import blocks, rows
from syncd.store.blocks import SourceKind, source_of
from syncd.store.hashing import Hashed
from syncd.store.joining import CONFLICT_MARK, ONLY_HERE, PENDING, HeadRow, Source, Sources, read_heads
from syncd.store.names import maybe_expected
from syncd.store.rows import DELETED, DIR, FILE, NONE, NodeRow, Value, value_of
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


_TAKEN = (
    "SELECT p, n FROM claim WHERE EXISTS (SELECT 1 FROM node WHERE parent=p AND name=n) "
    "OR EXISTS (SELECT 1 FROM node WHERE l_parent=p AND l_name=n AND l_kind<>0) "
    "OR EXISTS (SELECT 1 FROM copy WHERE l_parent=p AND l_name=n) "
    "OR EXISTS (SELECT 1 FROM departed WHERE parent=p AND name=n)"
)


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

    def __init__(
        self, connection: sqlite3.Connection, sources: Sources, *, publishes: bool, moving: Container[int] = ()
    ) -> None:
        """`publishes` False: this device is a viewer here, its own changes are kept and shown, and go nowhere.
        `moving`: nodes whose rows do not say yet what the planner just does with them."""
        self._db = connection
        self._sources = sources
        self._publishes = publishes
        self._moving = moving
        self.draft = Draft()
        self._parents: dict[NodeId, NodeRow] = {}
        self._drafted: set[NodeId] = set()
        self._free: dict[tuple[NodeId, bytes], NodeId] = {}
        """New names at which nothing is or was known, and the id of what appears there."""
        self._leaving: set[int] = set()
        """Rows that are moved by the same findings, so that their names are free."""

    def findings(self, found: Sequence[Examined]) -> Draft:
        """New, changed, touched and moved names; directories come before what is in them."""
        self._parents = rows.read_nids(self._db, {examined.item.parent for examined in found})
        moved = [examined.item.known for examined in found if examined.item.action is Action.MOVED]
        self._leaving = {known.row for known in moved if known is not None and self._current(known) is not None}
        self._free = self._find_free([examined.item for examined in found if examined.item.action is Action.NEW])
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
        copies: dict[int, list[_Copy]] = {}
        nodes: dict[int, NodeRow] = {}
        for item in gone:
            found = self._gone_with(item)
            if found is None:
                self.draft.again.append(item.path)
                continue
            nodes.update({row.id: row for row in found[1]})
            for copy in found[0]:
                copies.setdefault(copy.node, []).append(copy)
        for row in nodes.values():
            self._gone(row, copies.pop(row.id, []))
        for node, lost in copies.items():
            self._drop_copies(rows.read_ids(self._db, [node])[node], lost)
        return self.draft

    def _gone_with(self, item: Gone) -> tuple[list[_Copy], list[NodeRow]] | None:
        """What is gone with one name; None if that is not certain, because something is just being done there."""
        if item.known.is_copy:
            copy = self._copy(item.known)
            return None if copy is None or copy.node in self._moving else ([copy], [])
        row = self._current(item.known)
        if row is None:
            return None
        copy_ids, node_ids = below(self._db, [row.id]) if row.l_kind == DIR else ([], [])
        copies = [self._copy_row(copy) for copy in copy_ids]
        busy = [node for node in (*node_ids, *(copy.node for copy in copies)) if node in self._moving]
        return None if busy else (copies, [row, *rows.read_ids(self._db, node_ids).values()])

    # new -----------------------------------------------------------------------------------------------------

    def _new(self, examined: Examined) -> None:
        item = examined.item
        parent = self._parents.get(item.parent)
        content = content_of(examined)
        is_orphan = parent is None and item.parent not in self._drafted
        if content is not None and not is_orphan and (item.parent, item.name) in self._free:
            self._create(examined, content, parent)
            return
        if content is None or is_orphan or (parent is not None and self._disk_has(parent.id, item.name)):
            self.draft.again.append(item.path)
            return
        expected = None
        if parent is not None:
            expected = maybe_expected(self._db, self._sources, parent.id, item.name, int(item.stat.kind))
        if expected is None:
            self._create(examined, content, parent)
            return
        assert parent is not None
        row = expected.row
        if row.id in self._moving or row.nid in self._drafted or (item.node is not None and item.node != row.nid):
            self.draft.again.append(item.path)
        elif expected.copy is None:
            self._adopt(examined, parent, row, content)
        elif not self._adopt_copy(examined, parent, row, expected.copy, content):
            self._create(examined, content, parent)

    def _find_free(self, new: Sequence[Item]) -> dict[tuple[NodeId, bytes], NodeId]:
        """Of names that appeared, those at which no row stands, is expected or has left: nearly all in a first index,
        and then these few queries take the place of several per file."""
        if self._db.execute("SELECT 1 FROM odd LIMIT 1").fetchone() is not None:
            return {}
        parents = {nid: row.id for nid, row in self._parents.items()}
        claims = [(parents[item.parent], item.name) for item in new if item.parent in parents]
        taken: set[tuple[int, bytes]] = set()
        for start in range(0, len(claims), rows.CHUNK):
            part = claims[start : start + rows.CHUNK]
            query = f"WITH claim(p, n) AS (VALUES {','.join(['(?,?)'] * len(part))}) {_TAKEN}"
            taken.update(self._db.execute(query, [value for claim in part for value in claim]))
        free = {
            (item.parent, item.name): new_node_id(item.parent, item.name, None)
            for item in new
            if CONFLICT_MARK not in item.name and (parents.get(item.parent), item.name) not in taken
        }
        known = rows.read_nids(self._db, free.values())
        return {at: nid for at, nid in free.items() if nid not in known}

    def _create(self, examined: Examined, content: Content, parent: NodeRow | None) -> None:
        item = examined.item
        node = item.node or self._free.get((item.parent, item.name))
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
        self._drafted.add(row.nid)
        record = Record(row.nid, content, (), None, (), attributes_of(examined), ())

        def settle(joined: NodeRow, source: Source, index: int) -> None:
            self._stand(joined, parent.id, examined, content, source, index, examined.item.name)
            joined.s_pcs, joined.s_pidx = joined.p_cs, joined.p_idx
            joined.s_acs, joined.s_aidx = source.seq, index

        self.draft.add(record, settle)

    def _adopt_copy(self, examined: Examined, parent: NodeRow, row: NodeRow, head: HeadRow, content: Content) -> bool:
        """A conflict copy that Global expects here stands here already. False for anything else of that name."""
        value = value_of(content)
        known = self._db.execute("SELECT 1 FROM copy WHERE node=? AND cs=? AND idx=?", (row.id, head.cs, head.idx))
        if not value.same_as(head.kind, head.size, head.listed, head.blocks) or known.fetchone() is not None:
            return False
        cursor = self._db.execute(
            "INSERT INTO copy(node, cs, idx, l_parent, l_name, l_kind, l_ino, l_size, l_mtime, l_ctime, l_mode, "
            "l_seen, l_listed, l_cls, l_blocks) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                *(row.id, head.cs, head.idx, parent.id, examined.item.name, head.kind),
                *(*_columns(examined.stat), examined.seen_ns, head.listed, head.cls, head.blocks),
            ),
        )
        if examined.hashed is not None and cursor.lastrowid is not None:
            blocks.add(self._db, [(source_of(SourceKind.COPY, cursor.lastrowid), examined.hashed.packed)])
            keep_parts(self._db, examined.hashed.parts)
        if row.pending == 0:
            self._db.execute("UPDATE node SET pending=? WHERE id=?", (PENDING, row.id))
        self.draft.unchanged += 1
        return True

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
        if self._is_global(row, value):
            self._became_global(row, examined, value)
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
            row.nid, content, self._seen_contents(row), None, (), attributes_of(examined), self._synced_attributes(row)
        )
        before = packed_on_disk(self._db, row)

        def settle(joined: NodeRow, source: Source, index: int) -> None:
            assert joined.l_parent is not None
            blocks.drop(self._db, source_of(SourceKind.NODE, joined.id), before)
            self._stand(joined, joined.l_parent, examined, content, source, index, joined.l_name)
            joined.s_acs, joined.s_aidx = source.seq, index
            _settle_pending(joined)

        self.draft.add(record, settle)

    def _is_global(self, row: NodeRow, value: Value) -> bool:
        """The disk has by itself come to what Global says: an operation of ours that a crash cut short, or somebody had
        the same idea. Not while what stood here before is still a version of its own: then that is replaced."""
        if not value.same_as(row.kind, row.size, row.listed, row.blocks):
            return False
        return all((head.cs, head.idx) != (row.s_ccs, row.s_cidx) for head in read_heads(self._db, row))

    def _became_global(self, row: NodeRow, examined: Examined, value: Value) -> None:
        self._forget_blocks(row)
        assert row.l_parent is not None
        self._place_on_disk(row, row.l_parent, examined, value, row.l_name)
        row.s_ccs, row.s_cidx = row.c_cs, row.c_idx
        row.s_acs = row.s_aidx = None
        row.pending = PENDING
        rows.write(self._db, [row])
        self._note_blocks(row.id, examined)
        self.draft.unchanged += 1

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
        is_global = row.a_cs is not None and row.mode == stat.mode
        is_global &= stat.kind is not Kind.FILE or row.mtime == stat.mtime_ns
        if is_global:
            row.s_acs, row.s_aidx = row.a_cs, row.a_idx
        if not changed or is_global or not self._publishes or row.pending == ONLY_HERE:
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
        is_orphan = parent is None and item.parent not in self._drafted
        if row is None or is_orphan or row.nid in self._drafted:
            self.draft.again.append(item.path)
            return
        if parent is not None and self._disk_has(parent.id, item.name):
            self.draft.again.append(item.path)
            return
        is_ours = self._publishes and row.pending != ONLY_HERE
        if parent is not None and (not is_ours or (row.parent, row.name) == (parent.id, item.name)):
            # Where Global says it goes: a move of ours that a crash cut short. Else, a viewer's own business.
            row.l_parent, row.l_name, row.pending = parent.id, item.name, PENDING if is_ours else ONLY_HERE
            self._note_stat(row, examined.stat, examined.seen_ns, moved=True)
            rows.write(self._db, [row])
            self.draft.unchanged += 1
            return
        if not is_ours:
            self.draft.again.append(item.path)
            return
        self._drafted.add(row.nid)
        place = Place(item.parent, item.name)
        record = Record(row.nid, None, (), place, self._synced_place(row), None, ())

        def settle(joined: NodeRow, source: Source, index: int) -> None:
            if joined.p_cs == source.seq and joined.p_idx == index:
                joined.l_parent = joined.parent
            elif parent is not None:
                joined.l_parent = parent.id
            joined.l_name = item.name
            self._note_stat(joined, examined.stat, examined.seen_ns, moved=True)
            joined.s_pcs, joined.s_pidx = source.seq, index
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
        row = rows.read_ids(self._db, [copy.node])[copy.node]
        if row.id in self._moving or row.nid in self._drafted:
            self.draft.again.append(examined.item.path)
            return
        self._drop_copies(row, [copy])
        parent = rows.read_ids(self._db, [copy.parent])[copy.parent]
        self._create(examined, content, parent)

    def _drop_copies(self, row: NodeRow, copies: Sequence[_Copy]) -> None:
        """Conflict copies are no more: their versions are replaced by nothing."""
        if not self._publishes:
            return
        replaced = self._take_copies(row, copies)
        if not replaced:  # the planner was about to take them away as well
            self._db.execute("UPDATE node SET pending=? WHERE id=? AND pending=0", (PENDING, row.id))
            return
        self._drafted.add(row.nid)
        record = Record(row.nid, DELETED_CONTENT, tuple(sorted(replaced)))
        self.draft.add(record, lambda joined, source, index: _settle_pending(joined))

    def _take_copies(self, row: NodeRow, copies: Sequence[_Copy]) -> set[VersionId]:
        """Forget that these copies stand on the disk; the versions that go with them."""
        replaced: set[VersionId] = set()
        for copy in copies:
            packed = packed_entries(self._db, copy.kind, copy.listed, copy.blocks)
            blocks.drop(self._db, source_of(SourceKind.COPY, copy.id), packed)
            self._db.execute("DELETE FROM copy WHERE id=?", (copy.id,))
            which = rows.identity(copy.kind, copy.listed, copy.blocks)
            if which != rows.identity(row.kind, row.listed, row.blocks):  # else its bytes are those of the file itself
                replaced |= self._heads_with(row, which)
        return replaced

    def _copy(self, known: Known) -> _Copy | None:
        """The row of a copy, if it still says what the scan compared with."""
        found = self._db.execute("SELECT l_ino, l_mtime, l_ctime FROM copy WHERE id=?", (known.row,)).fetchone()
        if found != (known.ino, known.mtime_ns, known.ctime_ns):
            return None
        copy = self._copy_row(known.row)
        return copy if (copy.parent, copy.name) == (known.parent, known.name) else None

    def _copy_row(self, copy: int) -> _Copy:
        query = "SELECT id, node, l_parent, l_name, l_kind, l_listed, l_blocks FROM copy WHERE id=?"
        return _Copy(*self._db.execute(query, (copy,)).fetchone())

    # gone ----------------------------------------------------------------------------------------------------

    def _gone(self, row: NodeRow, copies: Sequence[_Copy]) -> None:
        if not row.on_disk:
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
        seen = set(self._seen_contents(row)) | self._take_copies(row, copies)
        if not self._is_version(row, seen):
            # What stood here is no version any more: deleted by others too, or replaced, and then that is fetched.
            row.leave_disk()
            row.pending = PENDING
            rows.write(self._db, [row])
            self.draft.unchanged += 1
            return
        self._drafted.add(row.nid)
        record = Record(row.nid, DELETED_CONTENT, tuple(sorted(seen)))

        def settle(joined: NodeRow, source: Source, index: int) -> None:
            joined.leave_disk()
            # If anybody has changed it meanwhile, that version lives, and the planner brings it back.
            joined.pending = PENDING if joined.alive or joined.heads > 1 else 0

        self.draft.add(record, settle)

    def _is_version(self, row: NodeRow, seen: Container[VersionId]) -> bool:
        """Whether a deletion would take away a version that counts."""
        heads = read_heads(self._db, row)
        return any(head.kind != DELETED and self._sources.version(head.cs, head.idx) in seen for head in heads)

    # rows ----------------------------------------------------------------------------------------------------

    def _current(self, known: Known) -> NodeRow | None:
        """The row, if it still says what the scan compared with."""
        row = rows.read_ids(self._db, [known.row]).get(known.row)
        if row is None or row.id in self._moving:
            return None
        now = (row.l_parent, row.l_name, row.l_kind, row.l_ino, row.l_size, row.l_mtime, row.l_ctime, row.l_mode)
        was = (known.parent, known.name, known.kind, known.ino, known.size, known.mtime_ns, known.ctime_ns, known.mode)
        return row if now == was else None

    def _disk_has(self, parent: int, name: bytes) -> bool:
        query = (
            "SELECT id FROM node WHERE l_parent=?1 AND l_name=?2 AND l_kind<>0 "
            "UNION ALL SELECT -id FROM copy WHERE l_parent=?1 AND l_name=?2"
        )
        return any(row not in self._leaving for (row,) in self._db.execute(query, (parent, name)))

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

    def _note_stat(self, row: NodeRow, stat: Stat, seen_ns: int, *, moved: bool = False) -> None:
        """`moved`: only its name was looked at, so what may have happened to it besides is still to be found."""
        if moved and (stat.size, stat.mtime_ns, stat.mode) != (row.l_size, row.l_mtime, row.l_mode):
            return
        row.l_ino, row.l_size, row.l_mtime, row.l_ctime, row.l_mode = _columns(stat)
        if not moved:
            row.l_seen = seen_ns

    def _note_blocks(self, row: int, examined: Examined) -> None:
        hashed = examined.hashed
        if hashed is None:
            return
        blocks.add(self._db, [(source_of(SourceKind.NODE, row), hashed.packed)])
        if hashed.parts:
            keep_parts(self._db, hashed.parts)

    def _forget_blocks(self, row: NodeRow) -> None:
        blocks.drop(self._db, source_of(SourceKind.NODE, row.id), packed_on_disk(self._db, row))

    def _seen_contents(self, row: NodeRow) -> tuple[VersionId, ...]:
        """The versions that whoever changes what stands here has seen: all that hold these bytes, and deletions, which
        were overruled by what stands here."""
        listed, on_disk = disk_value(row)
        seen = self._heads_with(row, rows.identity(row.l_kind, listed, on_disk))
        if row.s_ccs is not None and row.s_cidx is not None:
            seen.add(self._sources.version(row.s_ccs, row.s_cidx))
        return tuple(sorted(seen))

    def _heads_with(self, row: NodeRow, which: tuple[int, bool, bytes]) -> set[VersionId]:
        """Heads that hold these bytes, and deletions."""
        return {
            self._sources.version(head.cs, head.idx)
            for head in read_heads(self._db, row)
            if head.kind == DELETED or rows.identity(head.kind, head.listed, head.blocks) == which
        }

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
    parent: int
    name: bytes
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
