"""Blocking. What left the disk becomes deletions, also of conflict copies.

A deletion is only ever a record about the version that this device had: a row that says something else than what the
scan compared with is dropped, and the caller looks again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ca.values import dataclass
from syncd.engine.detect import Known
from syncd.model.ids import VersionId
from syncd.model.records import DELETED as DELETED_CONTENT
from syncd.model.records import Record
from syncd.store import blocks, rows
from syncd.store.blocks import SourceKind, source_of
from syncd.store.contents import packed_entries
from syncd.store.deaths import Leaving, leaving
from syncd.store.draft import Desk, Draft, settle_pending
from syncd.store.joining import IGNORED, ONLY_HERE, PENDING, Source
from syncd.store.rows import DELETED, DIR, NONE, NodeRow
from syncd.store.scan import Gone, below


@dataclass(frozen=True, slots=True)
class StandingCopy:
    """A conflict copy that stands on the disk, as its row says."""

    id: int
    node: int
    parent: int
    name: bytes
    kind: int
    listed: int | None
    blocks: bytes | None


def _as_compared(known: Known) -> tuple[object, ...]:
    stat = (known.ino, known.size, known.mtime_ns, known.ctime_ns, known.mode)
    return known.parent, known.name, known.kind, *stat


class Departures:
    """Turns what is gone into a `Draft`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._db = desk.connection

    def deletions(self, gone: Iterable[Gone]) -> Draft:
        """Rows that are gone for good, with everything that stood in gone directories."""
        copies: dict[int, list[StandingCopy]] = {}
        nodes: dict[int, NodeRow] = {}
        left_out: set[int] = set()
        items = list(gone)
        plain = self._plain(items)
        items = [item for item in items if item.known.row not in plain]
        read = rows.read_ids(self._db, {item.known.row for item in items if not item.known.is_copy})
        for item in items:
            found = self._gone_with(item, read)
            if found is None:
                self._desk.draft.again.append(item.path)
                continue
            nodes.update({row.id: row for row in found[1]})
            left_out |= {row.id for row in found[1] if item.is_left_out}
            left_out |= {row.id for row in found[1][:1] if row.pending == IGNORED}
            for copy in found[0]:
                if item.is_left_out:
                    self.forget_copies(rows.read_ids(self._db, [copy.node])[copy.node], [copy])
                    read.update(rows.read_ids(self._db, [copy.node]))
                else:
                    copies.setdefault(copy.node, []).append(copy)
        # A directory went while it was looked at: what was missed in it before is gone with it, and is said once.
        plain = {row: one for row, one in plain.items() if row not in nodes}
        packed = ((row, one.packed) for row, one in plain.items())
        self._desk.forget_all_blocks([row for row in nodes.values() if row.on_disk], packed)
        for one in plain.values():
            self._desk.drafted.add(one.node)
            record = Record(one.node, DELETED_CONTENT, (self._desk.sources.version(one.cs, one.idx),))
            self._desk.draft.add_death(record, one.death)
        for row in nodes.values():
            if row.id in left_out:
                self._left_out(row)
            else:
                self._gone(row, copies.pop(row.id, []))
        for node, lost in copies.items():
            self.drop_copies(rows.read_ids(self._db, [node])[node], lost)
        return self._desk.draft

    def _plain(self, gone: Sequence[Gone]) -> dict[int, Leaving]:
        """Those of which nothing has to be said but that they are gone, by their rows: most of a wave."""
        if not self._desk.publishes:
            return {}
        known = {
            item.known.row: item.known
            for item in gone
            if not (item.known.is_copy or item.is_left_out or item.known.row in self._desk.moving)
        }
        copies = {item.known.row for item in gone if item.known.is_copy}  # numbers of their own
        found = leaving(self._db, known.keys() - copies)
        return {row: one for row, one in found.items() if one.disk == _as_compared(known[row])}

    def _gone_with(self, item: Gone, read: Mapping[int, NodeRow]) -> tuple[list[StandingCopy], list[NodeRow]] | None:
        """What is gone with one name; None if that is not certain, because something is just being done there."""
        if item.known.is_copy:
            copy = self.copy(item.known)
            return None if copy is None or copy.node in self._desk.moving else ([copy], [])
        row = self._desk.unless_changed(read.get(item.known.row), item.known)
        if row is None:
            return None
        copy_ids, node_ids = below(self._db, [row.id]) if row.l_kind == DIR else ([], [])
        copies = [self._copy_row(copy) for copy in copy_ids]
        busy = [node for node in (*node_ids, *(copy.node for copy in copies)) if node in self._desk.moving]
        return None if busy else (copies, [row, *rows.read_ids(self._db, node_ids).values()])

    def _left_out(self, row: NodeRow) -> None:
        """Rules have left it out, so nobody hears that it is gone: what others have of it comes back, if none does."""
        if not row.on_disk:
            return
        row.leave_disk()
        if row.kind == NONE:  # nobody but this disk ever had it
            self._db.execute("DELETE FROM node WHERE id=?", (row.id,))
            return
        row.pending = PENDING
        rows.write(self._db, [row])
        self._desk.draft.unchanged += 1

    def _gone(self, row: NodeRow, copies: Sequence[StandingCopy]) -> None:
        if not row.on_disk:
            return
        if not self._desk.publishes or row.pending == ONLY_HERE or row.s_ccs is None:
            row.leave_disk()
            row.pending = ONLY_HERE
            if row.kind == NONE:  # nobody but this disk ever had it
                self._db.execute("DELETE FROM node WHERE id=?", (row.id,))
                return
            rows.write(self._db, [row])
            return
        heads = self._desk.heads_of(row)
        seen = self._desk.seen_of(row, heads) | self._take_copies(row, copies)
        if not any(head.kind != DELETED and version in seen for head, version in heads):
            # What stood here is no version any more: deleted by others too, or replaced, and then that is fetched.
            row.leave_disk()
            row.pending = PENDING
            rows.write(self._db, [row])
            self._desk.draft.unchanged += 1
            return
        self._desk.drafted.add(row.nid)
        record = Record(row.nid, DELETED_CONTENT, self._desk.replacing(row, seen))

        def settle(joined: NodeRow, source: Source, index: int) -> None:
            joined.leave_disk()
            # If anybody has changed it meanwhile, that version lives, and the planner brings it back.
            joined.pending = PENDING if joined.alive or joined.heads > 1 else 0

        self._desk.draft.add(record, settle)

    def drop_copies(self, row: NodeRow, copies: Sequence[StandingCopy]) -> None:
        """Conflict copies are no more: their versions are replaced by nothing."""
        if not self._desk.publishes:
            return
        replaced = self._take_copies(row, copies)
        if not replaced:  # the planner was about to take them away as well
            self._db.execute("UPDATE node SET pending=? WHERE id=? AND pending=0", (PENDING, row.id))
            self._desk.draft.unchanged += 1
            return
        self._desk.drafted.add(row.nid)
        record = Record(row.nid, DELETED_CONTENT, self._desk.replacing(row, replaced))
        self._desk.draft.add(record, lambda joined, source, index: settle_pending(joined))

    def forget_copies(self, row: NodeRow, copies: Sequence[StandingCopy]) -> None:
        """Conflict copies do not stand here, and nobody hears of it: they come back."""
        self._take_copies(row, copies)
        self._db.execute("UPDATE node SET pending=? WHERE id=? AND pending=0", (PENDING, row.id))
        self._desk.draft.unchanged += 1

    def _take_copies(self, row: NodeRow, copies: Sequence[StandingCopy]) -> set[VersionId]:
        """Forget that these copies stand on the disk; the versions that go with them."""
        replaced: set[VersionId] = set()
        gone: dict[tuple[int, bool, bytes], None] = {}
        for copy in copies:
            packed = packed_entries(self._db, copy.kind, copy.listed, copy.blocks)
            blocks.drop(self._db, [(source_of(SourceKind.COPY, copy.id), packed)])
            self._db.execute("DELETE FROM copy WHERE id=?", (copy.id,))
            which = rows.identity(copy.kind, copy.listed, copy.blocks)
            if which != rows.identity(row.kind, row.listed, row.blocks):  # else its bytes are those of the file itself
                gone[which] = None
        # What another copy still shows was not given up: two names were swapped, and it came back as the newer version.
        shown = self._db.execute("SELECT l_kind, l_listed, l_blocks FROM copy WHERE node=?", (row.id,)).fetchall()
        standing = {rows.identity(*other) for other in shown}
        for which in gone:
            if which not in standing:
                replaced |= self._desk.heads_with(row, which)
        return replaced

    def copy(self, known: Known) -> StandingCopy | None:
        """The row of a copy, if it still says what the scan compared with."""
        found = self._db.execute("SELECT l_ino, l_mtime, l_ctime FROM copy WHERE id=?", (known.row,)).fetchone()
        if found != (known.ino, known.mtime_ns, known.ctime_ns):
            return None
        copy = self._copy_row(known.row)
        return copy if (copy.parent, copy.name) == (known.parent, known.name) else None

    def _copy_row(self, copy: int) -> StandingCopy:
        query = "SELECT id, node, l_parent, l_name, l_kind, l_listed, l_blocks FROM copy WHERE id=?"
        return StandingCopy(*self._db.execute(query, (copy,)).fetchone())
