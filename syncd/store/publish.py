"""Blocking. What a scan found becomes records of ours, and rows that say so, in one transaction.

Between looking at a file and committing what was seen, another part of the daemon may have changed its row: such a
finding is dropped, and the caller looks again.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from syncd.model.ids import ROOT_NODE, NodeId, new_node_id
from syncd.model.naming import holds_any
from syncd.model.records import DIRECTORY, Attributes, Content, Place, Record, file_of
from syncd.model.xattrs import Xattrs, pack, unpack
from syncd.store import blocks, counts, rows
from syncd.store.blocks import SourceKind, source_of
from syncd.store.contents import disk_value, keep_parts, packed_entries, packed_on_disk
from syncd.store.departures import Departures
from syncd.store.draft import (
    Desk,
    Draft,
    Examined,
    attributes_of,
    columns_of,
    content_of,
    older_xattrs,
    settle_pending,
    stands,
)
from syncd.store.joining import CONFLICT_MARK, ONLY_HERE, PENDING, HeadRow, Source, read_heads
from syncd.store.journal import QUARANTINED
from syncd.store.names import maybe_expected
from syncd.store.prepare import NAMED, expected_stat
from syncd.store.rows import DIR, NONE, NodeRow, Value, value_of
from syncd.store.scan import Action, Item, Older, fresh_node_id
from syncd.store.spelling import COLLISION_MARK, personality_of, spellings
from syncd.treetypes import Kind

_TAKEN = (
    "SELECT p, n FROM claim WHERE EXISTS (SELECT 1 FROM node WHERE parent=p AND name=n) "
    "OR EXISTS (SELECT 1 FROM node WHERE l_parent=p AND l_name=n AND l_kind<>0) "
    "OR EXISTS (SELECT 1 FROM copy WHERE l_parent=p AND l_name=n) "
    "OR EXISTS (SELECT 1 FROM departed WHERE parent=p AND name=n)"
)


class NotLeft(Exception):
    """Something was given a name whose owner was to leave it by the same findings, and has not. Nothing of that may be
    committed: two rows at one name, and no look would ever miss the one that is not there."""

    def __init__(self, nodes: Iterable[int]) -> None:
        super().__init__(nodes)
        self.nodes = frozenset(nodes)


class Publisher:
    """Turns findings into a `Draft`. One object per transaction."""

    def __init__(self, desk: Desk, staying: Container[int] = (), older: Older | None = None) -> None:
        """`staying`: nodes whose moves are left for another look (`NotLeft`). `older`: they were found in an older
        state of the folder, or in a copy: nobody has changed anything there, and what nobody knows is beside it."""
        self._desk = desk
        self._older = older
        self._staying = staying
        self._db = desk.connection
        self._departures = Departures(desk)
        self._parents: dict[NodeId, NodeRow] = {}
        self._free: dict[tuple[NodeId, bytes], NodeId] = {}
        """New names at which nothing is or was known, and the id of what appears there."""
        self._leaving: set[int] = set()
        """Rows that are moved by the same findings, so that their names are free."""
        self._relied_on: set[int] = set()
        """Of them, those whose names somebody was given."""
        self._stayed: set[int] = set()
        """Rows whose moves came to nothing."""
        self._named: frozenset[tuple[int, bytes]] = frozenset()
        """Names that are just being given to what others have."""
        self._above: dict[NodeId, NodeId] = {}
        """Directories that get a place by the same findings, each with the one that it comes to stand in."""

    def findings(self, found: Sequence[Examined]) -> Draft:
        """New, changed, touched and moved names; directories come before what is in them. Raises NotLeft."""
        self._parents = rows.read_nids(self._db, {examined.item.parent for examined in found})
        self._named = frozenset(self._db.execute(NAMED))
        moved = [examined.item.known for examined in found if examined.item.action is Action.MOVED]
        self._leaving = {
            known.row
            for known in moved
            if known is not None and known.row not in self._staying and self._desk.current(known) is not None
        }
        self._free = self._find_free([examined.item for examined in found if examined.item.action is Action.NEW])
        self._above = {
            item.node: item.parent
            for item in (examined.item for examined in found)
            if item.action is Action.NEW and item.stat.kind is Kind.DIR and item.node is not None
        }
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
        if self._relied_on & self._stayed:
            raise NotLeft(self._stuck([examined.item for examined in found]))
        return self._desk.draft

    def _stuck(self, found: Sequence[Item]) -> set[int]:
        """What stays where it was, with all that was to come to the names of what stays."""
        coming: dict[tuple[int, bytes], int] = {}
        names: dict[int, tuple[int, bytes]] = {}
        for item in found:
            parent = self._parents.get(item.parent)
            if item.action is not Action.MOVED or item.known is None:
                continue
            names[item.known.row] = item.known.parent, item.known.name
            if parent is not None:
                coming[parent.id, item.name] = item.known.row
        stuck, left = set[int](), list(self._stayed)
        while left:
            row = left.pop()
            if row not in stuck:
                stuck.add(row)
                left += [coming[names[row]]] if names[row] in coming else []
        return stuck

    # new -----------------------------------------------------------------------------------------------------

    def _new(self, examined: Examined) -> None:
        item = examined.item
        parent = self._parents.get(item.parent)
        is_orphan = self._is_orphan(item, parent)
        if not is_orphan and self._bears(examined):
            return
        content = content_of(examined)
        if content is not None and not is_orphan and (item.parent, item.name) in self._free:
            self._create(examined, content, parent)
            return
        if content is None or is_orphan or (parent is not None and self._disk_has(parent.id, item.name)):
            self._desk.draft.again.append(item.path)
            return
        expected = None
        if parent is not None:
            expected = maybe_expected(self._db, self._desk.sources, parent.id, item.name, int(item.stat.kind))
        if expected is None:
            self._create(examined, content, parent)
            return
        assert parent is not None
        row = expected.row
        if (
            row.id in self._desk.moving
            or row.nid in self._desk.drafted
            or (item.node is not None and item.node != row.nid)
        ):
            self._desk.draft.again.append(item.path)
        elif expected.copy is None:
            self._adopt(examined, parent, row, content)
        elif not self._adopt_copy(examined, parent, row, expected.copy, content):
            self._create(examined, content, parent)

    def _bears(self, examined: Examined) -> bool:
        """Draft a file that nobody knew, at a name that nobody has or had; False for anything else. The rest of what is
        new takes the long way (`_create`)."""
        item, stat, hashed = examined.item, examined.stat, examined.hashed
        place = Place(item.parent, item.path[-1])
        node = self._free.get(place)
        if node is None or hashed is None or hashed.listed or node in self._desk.drafted or not self._desk.publishes:
            return False
        self._desk.drafted.add(node)
        content = file_of(hashed.cut_class, hashed.size, hashed.payload)
        attributes = Attributes(stat.mode, stat.mtime_ns, examined.xattrs or ())
        self._desk.draft.add_birth(Record(node, content, (), place, (), attributes, ()), examined)
        return True

    def _is_orphan(self, item: Item, parent: NodeRow | None) -> bool:
        """Whether no row says that the directory stands on this disk in which it was found. One whose name another has
        waits until that is gone, and may get another id then; its id may even be known as that of a link."""
        return item.parent not in self._desk.drafted and (parent is None or parent.l_kind != DIR)

    def _find_free(self, new: Sequence[Item]) -> dict[tuple[NodeId, bytes], NodeId]:
        """Of names that appeared, those at which no row stands, is expected or has left: nearly all in a first index,
        and then these few queries take the place of several per file."""
        if self._db.execute("SELECT 1 FROM odd WHERE settled=0 LIMIT 1").fetchone() is not None:
            return {}
        parents = {nid: row.id for nid, row in self._parents.items()}
        claims = [(parents[item.parent], item.name) for item in new if item.parent in parents]
        taken: set[tuple[int, bytes]] = set()
        for start in range(0, len(claims), rows.CHUNK):
            part = claims[start : start + rows.CHUNK]
            query = f"WITH claim(p, n) AS (VALUES {','.join(['(?,?)'] * len(part))}) {_TAKEN}"
            taken.update(self._db.execute(query, [value for claim in part for value in claim]))
        taken |= self._named
        free = {
            (item.parent, item.name): new_node_id(item.parent, item.name, None)
            for item in new
            if CONFLICT_MARK not in item.name and (parents.get(item.parent), item.name) not in taken
        }
        disk = personality_of(self._db)
        if not holds_any(disk):  # it may be a name that the disk made of another
            free = {
                at: nid for at, nid in free.items() if COLLISION_MARK not in at[1] and len(spellings(at[1], disk)) == 1
            }
        known = rows.read_nids(self._db, free.values())
        return {at: nid for at, nid in free.items() if nid not in known}

    def _create(self, examined: Examined, content: Content, parent: NodeRow | None) -> None:
        item = examined.item
        node = item.node or self._free.get((item.parent, item.name))
        if node is None:
            node = fresh_node_id(
                self._db, self._desk.sources, item.parent, None if parent is None else parent.id, item.name
            )
        if not self._desk.publishes:
            self._only_here_new(examined, node, parent, content)
            return
        if node in self._desk.drafted:
            self._desk.draft.again.append(item.path)
            return
        self._desk.drafted.add(node)
        record = Record(node, content, (), Place(item.parent, item.name), (), attributes_of(examined), ())

        def settle(row: NodeRow, source: Source, index: int) -> None:
            assert row.parent is not None
            self._desk.stand(row, row.parent, examined, content, source, index)
            row.s_pcs, row.s_pidx = source.seq, index
            row.s_acs, row.s_aidx = _attributes_said(record, row, source, index, examined)
            settle_pending(row)

        self._desk.draft.add(record, settle)

    def _adopt(self, examined: Examined, parent: NodeRow, row: NodeRow, content: Content) -> None:
        """Global expects something of this kind here: it is that node. Equal content is no news, other content a
        conflict."""
        value = value_of(content)
        if value.same_as(row.kind, row.size, row.listed, row.blocks):
            self._desk.place_on_disk(row, parent.id, examined, value)
            self._tell_xattrs_later(row, examined, ())
            row.s_ccs, row.s_cidx, row.s_pcs, row.s_pidx = row.c_cs, row.c_idx, row.p_cs, row.p_idx
            row.pending = PENDING  # its attributes may differ: the planner looks
            rows.write(self._db, [row])
            if row.nid in self._parents:
                self._parents[row.nid] = row
            self._desk.note_blocks(row.id, examined)
            self._desk.draft.unchanged += 1
            return
        if not self._desk.publishes:
            self._desk.place_on_disk(row, parent.id, examined, value)
            row.pending = ONLY_HERE
            rows.write(self._db, [row])
            self._desk.note_blocks(row.id, examined)
            return
        self._desk.drafted.add(row.nid)
        record = Record(row.nid, content, (), None, (), attributes_of(examined, row), ())

        def settle(joined: NodeRow, source: Source, index: int) -> None:
            self._desk.stand(joined, parent.id, examined, content, source, index, examined.item.name)
            joined.s_pcs, joined.s_pidx = joined.p_cs, joined.p_idx
            joined.s_acs, joined.s_aidx = _attributes_said(record, joined, source, index, examined)

        self._desk.draft.add(record, settle)

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
                *(*columns_of(examined.stat), examined.seen_ns, head.listed, head.cls, head.blocks),
            ),
        )
        if examined.hashed is not None and cursor.lastrowid is not None:
            packed = packed_entries(self._db, head.kind, head.listed, head.blocks) or examined.hashed.packed
            blocks.add(self._db, [(source_of(SourceKind.COPY, cursor.lastrowid), packed)])
            keep_parts(self._db, examined.hashed.parts)
        if row.pending == 0:
            self._db.execute("UPDATE node SET pending=? WHERE id=?", (PENDING, row.id))
        self._desk.draft.unchanged += 1
        return True

    def _only_here_new(self, examined: Examined, node: NodeId, parent: NodeRow | None, content: Content) -> None:
        row = rows.read_nids(self._db, [node]).get(node)
        if row is None:
            (next_id,) = self._db.execute("SELECT coalesce(max(id),0)+1 FROM node").fetchone()
            row = NodeRow(next_id, node)
        if parent is None:
            self._desk.draft.again.append(examined.item.path)
            return
        self._desk.place_on_disk(row, parent.id, examined, value_of(content))
        row.pending = ONLY_HERE
        rows.write(self._db, [row])
        if examined.item.node is not None:
            self._parents[node] = row
        self._desk.note_blocks(row.id, examined)

    # known ---------------------------------------------------------------------------------------------------

    def _changed(self, examined: Examined) -> None:
        known = examined.item.known
        assert known is not None
        if known.is_copy:
            self._copy_changed(examined)
            return
        row = self._desk.current(known)
        content = content_of(examined)
        if row is None or content is None or row.nid in self._desk.drafted:
            self._desk.draft.again.append(examined.item.path)
            return
        is_offered = self._is_offered(row)
        if is_offered and row.kind == NONE and row.parent is None:
            self._offer(examined, row, content)
            return
        value = value_of(content)
        listed, on_disk = disk_value(row)
        if not is_offered and rows.same_blocks(row.l_kind, value.listed, value.blocks, listed, on_disk):
            self._attributes(row, examined)
            return
        if self._is_suspect(row, examined):
            return
        if self._is_global(row, value):
            self._became_global(row, examined, value)
            return
        if is_offered and value.same_as(row.kind, row.size, row.listed, row.blocks):
            self._take_back_place(row, examined)
            return
        if not self._desk.publishes or (row.pending == ONLY_HERE and not is_offered):
            self._desk.forget_blocks(row)
            assert row.l_parent is not None
            self._desk.place_on_disk(row, row.l_parent, examined, value)
            row.pending = ONLY_HERE
            rows.write(self._db, [row])
            self._desk.note_blocks(row.id, examined)
            return
        self._desk.drafted.add(row.nid)
        is_older = self._is_older(examined.item)
        if is_older:
            row.l_xattrs = older_xattrs(examined, row)
        attributes = attributes_of(examined, row)
        replaced = () if attributes is None or is_older else self._desk.synced_attributes(row)
        seen = self._desk.seen_contents(row)
        if is_older:
            same = self._desk.heads_with(row, rows.identity(value.kind, value.listed, value.blocks))
            seen = self._desk.replacing(row, same)
        record = Record(row.nid, content, seen, None, (), attributes, replaced)
        before = packed_on_disk(self._db, row)

        def settle(joined: NodeRow, source: Source, index: int) -> None:
            assert joined.l_parent is not None
            blocks.drop(self._db, [(source_of(SourceKind.NODE, joined.id), before)])
            self._desk.stand(joined, joined.l_parent, examined, content, source, index, joined.l_name)
            joined.s_acs, joined.s_aidx = _attributes_said(record, joined, source, index, examined)
            settle_pending(joined)

        self._desk.draft.add(record, settle)

    def _is_older(self, item: Item) -> bool:
        return self._older is not None and self._older.holds(item.path)

    def _is_offered(self, row: NodeRow) -> bool:
        """Whether it stands only here because this device might not publish when it was made, and now it may. What was
        published and then judged to count nowhere stays only here."""
        if not self._desk.publishes or row.pending != ONLY_HERE or not row.on_disk:
            return False
        judged = self._db.execute("SELECT 1 FROM changeset WHERE seq=? AND state=?", (row.s_ccs, QUARANTINED))
        return judged.fetchone() is None

    def _offer(self, examined: Examined, row: NodeRow, content: Content) -> None:
        """Something new that nobody was told of."""
        item = examined.item
        parent = self._parents.get(item.parent)
        is_told = parent is None or parent.kind != NONE or parent.l_parent is None or parent.nid in self._desk.drafted
        if parent is not None and not is_told and not self._is_offered(parent):
            self._desk.note_stat(row, examined.stat, examined.seen_ns)  # it stays only here with its directory
            rows.write(self._db, [row])
            return
        if not is_told or self._is_orphan(item, parent) or row.nid in self._desk.drafted:
            self._desk.draft.again.append(item.path)
            return
        self._desk.drafted.add(row.nid)
        record = Record(row.nid, content, (), Place(item.parent, item.name), (), attributes_of(examined), ())
        before = packed_on_disk(self._db, row)

        def settle(joined: NodeRow, source: Source, index: int) -> None:
            assert joined.l_parent is not None
            blocks.drop(self._db, [(source_of(SourceKind.NODE, joined.id), before)])
            self._desk.stand(joined, joined.l_parent, examined, content, source, index)
            joined.s_pcs, joined.s_pidx = source.seq, index
            joined.s_acs, joined.s_aidx = _attributes_said(record, joined, source, index, examined)
            settle_pending(joined)

        self._desk.draft.add(record, settle)

    def _take_back_place(self, row: NodeRow, examined: Examined) -> None:
        """What others have stands here under a name of this disk alone: it goes where they have it."""
        self._desk.note_stat(row, examined.stat, examined.seen_ns)
        row.pending = PENDING
        rows.write(self._db, [row])
        self._desk.draft.unchanged += 1

    def _is_suspect(self, row: NodeRow, examined: Examined) -> bool:
        """Whether its bytes are others under the stat that it had, and the disk would not let it be read before: nobody
        hears of it before it was read once more (`doubts`). What is in doubt for another reason may be an edit within
        a tick of the disk's clock, which is published at once."""
        if examined.hashed is None or not examined.stat.same(expected_stat(row)):
            return False
        seen_s = examined.seen_ns / 1e9
        query = "UPDATE doubt SET digest=?1, looked=?2 WHERE node=?3 AND digest=x''"
        if not self._db.execute(query, (examined.hashed.digest(), seen_s, row.id)).rowcount:
            return False
        row.l_seen = examined.seen_ns
        rows.write_disk(self._db, [row])
        counts.db_note_suspect(self._db, examined.item.path, seen_s)
        return True

    def _is_global(self, row: NodeRow, value: Value) -> bool:
        """The disk has by itself come to what Global says: an operation of ours that a crash cut short, or somebody had
        the same idea. Not while what stood here before is still a version of its own: then that is replaced."""
        if not value.same_as(row.kind, row.size, row.listed, row.blocks):
            return False
        return all((head.cs, head.idx) != (row.s_ccs, row.s_cidx) for head in read_heads(self._db, row))

    def _became_global(self, row: NodeRow, examined: Examined, value: Value) -> None:
        self._desk.forget_blocks(row)
        assert row.l_parent is not None
        before = unpack(row.l_xattrs)
        self._desk.place_on_disk(row, row.l_parent, examined, value, row.l_name)
        self._tell_xattrs_later(row, examined, before)
        row.s_ccs, row.s_cidx = row.c_cs, row.c_idx
        row.s_acs = row.s_aidx = None
        row.pending = PENDING
        rows.write(self._db, [row])
        self._desk.note_blocks(row.id, examined)
        self._desk.draft.unchanged += 1

    def _tell_xattrs_later(self, row: NodeRow, examined: Examined, before: Xattrs) -> None:
        """The disk has by itself what others have, but for attributes that nobody was told of: the next look finds
        these, as if they had been added since."""
        if examined.xattrs is None or pack(examined.xattrs) == row.xattrs:
            return
        row.l_xattrs, row.l_ctime = pack(before), 0
        self._desk.draft.again.append(examined.item.path)

    def _touched(self, examined: Examined) -> None:
        known = examined.item.known
        assert known is not None
        if known.is_copy:
            return
        row = self._desk.current(known)
        if row is None or row.nid in self._desk.drafted:
            self._desk.draft.again.append(examined.item.path)
            return
        if row.l_kind == DIR and self._is_offered(row):
            if row.kind == NONE and row.parent is None:
                self._offer(examined, row, DIRECTORY)
            else:
                self._take_back_place(row, examined)
            return
        self._attributes(row, examined)

    def _attributes(self, row: NodeRow, examined: Examined) -> None:
        """The content is as before: note the new stat, and publish the attributes if they changed."""
        if self._is_older(examined.item) and row.pending != ONLY_HERE:
            self._desk.note_stat(row, examined.stat, examined.seen_ns)
            row.l_xattrs = older_xattrs(examined, row)
            row.s_acs = row.s_aidx = None  # it gets those that others have
            row.pending = PENDING
            rows.write(self._db, [row])
            self._desk.draft.unchanged += 1
            return
        stat, said = examined.stat, attributes_of(examined, row)
        held = row.l_xattrs if examined.xattrs is None else pack(examined.xattrs)
        changed = said is not None and (
            stat.mode != row.l_mode or (stat.kind is Kind.FILE and stat.mtime_ns != row.l_mtime) or held != row.l_xattrs
        )
        is_global = said is not None and row.a_cs is not None and row.mode == said.mode
        is_global &= stat.kind is not Kind.FILE or said is None or row.mtime == said.mtime_ns
        is_global &= said is None or row.xattrs == pack(said.xattrs)
        self._desk.note_stat(row, stat, examined.seen_ns)
        if self._desk.publishes:  # what a viewer adds stays what nobody was told of, and is taken away by nobody
            self._desk.note_xattrs(row, examined)
        if is_global and said is not None and stands(said, examined):
            row.s_acs, row.s_aidx = row.a_cs, row.a_idx
        if not changed or is_global or not self._desk.publishes or row.pending == ONLY_HERE:
            rows.write(self._db, [row])
            self._desk.draft.unchanged += 1
            return
        rows.write(self._db, [row])
        self._desk.drafted.add(row.nid)
        record = Record(row.nid, None, (), None, (), said, self._desk.synced_attributes(row))

        def settle(joined: NodeRow, source: Source, index: int) -> None:
            joined.s_acs, joined.s_aidx = _attributes_said(record, joined, source, index, examined)
            settle_pending(joined)

        self._desk.draft.add(record, settle)

    def _moved(self, examined: Examined) -> None:
        item = examined.item
        known = item.known
        assert known is not None
        row = None if known.row in self._staying else self._desk.current(known)
        parent = self._parents.get(item.parent)
        if row is None or self._is_orphan(item, parent) or row.nid in self._desk.drafted:
            self._not_moved(item)
            return
        if parent is not None and self._disk_has(parent.id, item.name):
            self._not_moved(item)
            return
        if item.stat.kind is Kind.DIR and self._stands_in(item.parent, row.nid):
            self._not_moved(item)
            return
        has_other_xattrs = examined.xattrs is not None and pack(examined.xattrs) != row.l_xattrs
        if examined.stat.mode != known.mode or has_other_xattrs:
            # Moved and changed: the row learns one now, the next look finds the other.
            self._desk.draft.again.append(item.path)
        is_ours = self._desk.publishes and row.pending != ONLY_HERE
        if parent is not None and (not is_ours or (row.parent, row.name) == (parent.id, item.name)):
            # Where Global says it goes: a move of ours that a crash cut short. Else, a viewer's own business.
            row.l_parent, row.l_name, row.pending = parent.id, item.name, PENDING if is_ours else ONLY_HERE
            self._desk.note_stat(row, examined.stat, examined.seen_ns, moved=True)
            row.l_ctime = 0 if has_other_xattrs else row.l_ctime
            rows.write(self._db, [row])
            self._desk.draft.unchanged += 1
            return
        if not is_ours:
            self._not_moved(item)
            return
        self._above[row.nid] = item.parent
        self._desk.drafted.add(row.nid)
        place = Place(item.parent, item.name)
        record = Record(row.nid, None, (), place, self._desk.synced_place(row), None, ())

        def settle(joined: NodeRow, source: Source, index: int) -> None:
            if joined.p_cs == source.seq and joined.p_idx == index:
                joined.l_parent = joined.parent
            elif parent is not None:
                joined.l_parent = parent.id
            joined.l_name = item.name
            self._desk.note_stat(joined, examined.stat, examined.seen_ns, moved=True)
            joined.l_ctime = 0 if has_other_xattrs else joined.l_ctime
            joined.s_pcs, joined.s_pidx = source.seq, index
            settle_pending(joined)

        self._desk.draft.add(record, settle)

    def _stands_in(self, nid: NodeId, above: NodeId) -> bool:
        """Whether a directory stands in another one, by its row or by what these findings have made of it: on the disk
        one of those between has been moved away, and its row does not say so yet. Nothing may be noted as standing in
        itself, nor told to others; the next look finds it when that other one was noted."""
        passed: set[NodeId] = set()
        while nid != ROOT_NODE and nid not in passed:
            if nid == above:
                return True
            passed.add(nid)
            maybe_nid = self._above.get(nid) or self._above_on_disk(nid)
            if maybe_nid is None:
                return False
            nid = maybe_nid
        return nid != ROOT_NODE

    def _above_on_disk(self, nid: NodeId) -> NodeId | None:
        row = rows.read_nids(self._db, [nid]).get(nid)
        if row is None or not row.l_parent:
            return None
        (found,) = self._db.execute("SELECT nid FROM node WHERE id=?", (row.l_parent,)).fetchone()
        return NodeId(found)

    def _not_moved(self, item: Item) -> None:
        """Both names are looked at again: the walk told nobody that the old one is gone."""
        assert item.known is not None
        self._stayed.add(item.known.row)
        self._desk.draft.again += item.paths

    # copies --------------------------------------------------------------------------------------------------

    def _copy_changed(self, examined: Examined) -> None:
        """Somebody worked on a conflict copy: it becomes a file of its own, and the head it showed is replaced."""
        known = examined.item.known
        assert known is not None
        copy = self._departures.copy(known)
        content = content_of(examined)
        if copy is None or content is None:
            self._desk.draft.again.append(examined.item.path)
            return
        value = value_of(content)
        if rows.same_blocks(copy.kind, value.listed, value.blocks, copy.listed, copy.blocks):
            self._db.execute(
                "UPDATE copy SET l_ino=?, l_size=?, l_mtime=?, l_ctime=?, l_mode=?, l_seen=? WHERE id=?",
                (*columns_of(examined.stat), examined.seen_ns, copy.id),
            )
            return
        row = rows.read_ids(self._db, [copy.node])[copy.node]
        if self._is_older(examined.item) and row.id not in self._desk.moving:
            # Nobody took the copy away, and what is there is new.
            self._departures.forget_copies(row, [copy])
            self._desk.draft.again.append(examined.item.path)
            return
        if not self._desk.publishes:
            return
        if row.id in self._desk.moving or row.nid in self._desk.drafted:
            self._desk.draft.again.append(examined.item.path)
            return
        self._departures.drop_copies(row, [copy])
        parent = rows.read_ids(self._db, [copy.parent])[copy.parent]
        self._create(examined, content, parent)

    def _disk_has(self, parent: int, name: bytes) -> bool:
        if (parent, name) in self._named:
            return True
        query = (
            "SELECT id FROM node WHERE l_parent=?1 AND l_name=?2 AND l_kind<>0 "
            "UNION ALL SELECT -id FROM copy WHERE l_parent=?1 AND l_name=?2"
        )
        standing = {row for (row,) in self._db.execute(query, (parent, name))}
        if standing <= self._leaving:
            self._relied_on |= standing
            return False
        return True


def _attributes_said(
    record: Record, row: NodeRow, source: Source, index: int, examined: Examined
) -> tuple[int | None, int | None]:
    """Which attributes the disk is known to have after a record of ours: a symlink has none that could differ, and what
    others have changed meanwhile is still to be given to this disk."""
    if record.attributes is None:
        return row.a_cs, row.a_idx
    return (source.seq, index) if stands(record.attributes, examined) else (None, None)
