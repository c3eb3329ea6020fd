"""Blocking. After the disk: what the rows say about what was done, and about what could not be.

What was exchanged away or retired lies in `.syncd/old` and goes on serving its blocks from there. Whatever did not
stand as its row says is to be looked at again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import field

from ca.values import dataclass
from syncd.engine.plan import MakeDir, Move, Park, RemoveDir, Retire, SetAttributes
from syncd.store import blocks, retiring, rows
from syncd.store.apply import Done, Dressed, Outcome
from syncd.store.blocks import SourceKind, source_of
from syncd.store.contents import disk_value, packed_entries, packed_on_disk
from syncd.store.joining import PENDING, Sources
from syncd.store.prepare import Step, Want, What, forget_steps
from syncd.store.rows import DIR, FILE, PARKED_ROW, NodeRow
from syncd.store.survey import mtime_of, same_attributes
from syncd.treetypes import (
    OVERTAKEN,
    Displaced,
    Kind,
    NameTaken,
    NotEmpty,
    Path,
    Replaced,
    Stat,
    TreeError,
)

_LOOK = 0
"""A ctime that no disk has: the next look takes the object for changed. A stat of our own work must not hide that."""
ANYTHING = b""
"""As the last name of a path to look at: all that is in that directory."""


@dataclass(slots=True)
class Committed:
    """What a commit noted."""

    failed: list[tuple[int, Path, TreeError]] = field(default_factory=list)
    look_again: list[Path] = field(default_factory=list)
    moved: list[Path] = field(default_factory=list)
    """Directories that have another path now: events that were on their way name what is in them by the old one."""
    edited: list[int] = field(default_factory=list)
    """Rows of `old` that hold a local edit nobody has published yet."""
    applied: int = 0
    is_left: bool = False
    """Something that was put in place waits for more than that."""
    nodes: list[int] = field(default_factory=list)
    """With which something was done."""
    is_pending: bool = True
    """There may be something for the planner now that this was noted."""

    @property
    def is_over(self) -> bool:
        """Nothing is left to be done, here or anywhere."""
        return not (self.is_pending or self.failed or self.edited)


class Committer:
    """Notes outcomes in the rows. One object per transaction."""

    def __init__(self, connection: sqlite3.Connection, sources: Sources, now: float, tick_ns: int) -> None:
        """`tick_ns`: of the times of files on this disk."""
        self._db = connection
        self._sources = sources
        self._now = now
        self._tick_ns = tick_ns
        self._solved: list[int] = []
        """Nodes of which nothing is wrong any more."""
        self._emptied: set[int] = set()
        self._placed: list[tuple[int, bytes]] = []
        """Sources that came, with their packed entries."""
        self._olds: list[tuple[object, ...]] = []
        """Rows of what lies in `.syncd/old` now."""
        self._handed: list[tuple[int, bytes, int]] = []
        """Blocks that lie there and stood in the tree: source, packed entries, source from now on."""
        self._dropped: list[tuple[int, bytes]] = []
        """Sources whose blocks may be others by now."""
        self._next_old = 0
        self.committed = Committed()

    def note(self, done: Sequence[Done]) -> Committed:
        standing = self._retired(done)
        nodes = {item.of.node if isinstance(item.of, Want) else item.of.operation.node for item in done} - standing
        known = rows.read_ids(self._db, nodes)
        for item in done:
            node = item.of.node if isinstance(item.of, Want) else item.of.operation.node
            row = known.get(node)
            if node in standing or (row is None and not _is_copy_step(item.of)):
                continue
            if isinstance(item.outcome, TreeError):
                self._failed(item, node, item.outcome)
                continue
            self.committed.nodes.append(node)
            if isinstance(item.of, Want):
                assert row is not None
                self._want(item.of, item.outcome, row)
            else:
                self._step(item.of, item.outcome, row)
        rows.write_disk(self._db, known.values())
        self._write_olds()
        blocks.add(self._db, self._placed)
        self._forget("problem", "node", self._solved)
        self._placed, self._solved = [], []
        for parent in self._emptied:
            # A directory that Global has deleted may be empty now.
            self._db.execute("UPDATE node SET pending=1 WHERE id=? AND kind<>2 AND l_kind=2 AND pending=0", (parent,))
        self._forget("intent", "token", [item.of.token.decode() for item in done if isinstance(item.of, Want)])
        if any(isinstance(item.of, Step) for item in done):
            forget_steps(self._db)
        return self.committed

    def _retired(self, done: Sequence[Done]) -> set[int]:
        """Note what went to `.syncd/old` and leaves nothing to be done; the nodes."""
        outcomes: dict[int, tuple[Step, Replaced]] = {}
        others: set[int] = set()
        for item in done:
            step, outcome = item.of, item.outcome
            if isinstance(step, Want):
                others.add(step.node)
            elif isinstance(outcome, Replaced) and _is_plain_retirement(step):
                outcomes[step.operation.node] = step, outcome
            else:
                others.add(step.operation.node)
        found = retiring.standing(self._db, [node for node in outcomes if node not in others])
        for node, stood in found.items():
            step, outcome = outcomes[node]
            outcome = self._with_doubt(outcome, stood.ctime_ns, stood.seen_ns)
            packed = stood.content if stood.kind == FILE and stood.content is not None else b""
            source = source_of(SourceKind.NODE, node)
            of = (node, stood.cs, stood.idx, stood.name)
            self._note_old(step.token, of, outcome, source, packed, packed or stood.content)
            self._wake_emptied(stood.parent)
        retiring.leave(self._db, list(found))
        self.committed.applied += len(found)
        self.committed.nodes += found
        self._solved += found
        return set(found)

    def _forget(self, table: str, column: str, values: Sequence[object]) -> None:
        for part in rows.chunks(values):
            self._db.execute(f"DELETE FROM {table} WHERE {column} IN ({rows.marks(part)})", part)

    def _failed(self, item: Done, node: int, error: TreeError) -> None:
        path = item.of.path
        if isinstance(error, Displaced):
            target = item.of.target if isinstance(item.of, Step) and item.of.target else path
            self.committed.look_again += [error.path, target, path]
        elif isinstance(error, OVERTAKEN):
            self.committed.look_again.append(path)
        elif isinstance(error, NameTaken):
            self.committed.look_again.append(item.of.target if isinstance(item.of, Step) and item.of.target else path)
        elif isinstance(error, NotEmpty):
            self.committed.look_again.append((*path, ANYTHING))
        self.committed.failed.append((node, path, error))

    # contents ------------------------------------------------------------------------------------------------

    def _want(self, want: Want, outcome: Outcome, row: NodeRow) -> None:
        assert not isinstance(outcome, Dressed)
        new = outcome.new if isinstance(outcome, Replaced) else outcome
        if isinstance(outcome, Replaced):
            self._to_old(row, want.token, outcome)
        if new is None:  # what stands there now, if anything, is somebody else's
            self.committed.look_again.append(want.path)
            return
        self.committed.applied += 1
        if want.what is What.COPY:
            self._copy(want, new)
            self.committed.is_left = True
            return
        row.l_parent, row.l_name, row.l_kind = want.parent, want.name, want.kind
        self._stat(row, new)
        if new.size != want.size and want.kind == FILE:
            # Somebody wrote to it in the very moment it got its name: whatever it holds now is to be looked at.
            row.l_seen = row.l_mtime = 0
            self.committed.look_again.append(want.path)
        if want.adds:
            row.l_ctime = _LOOK  # the next look finds what nobody was told of
            self.committed.look_again.append(want.path)
        row.s_ccs, row.s_cidx = want.cs, want.idx
        _note_place(row)
        row.l_xattrs = want.held
        is_like_global = (row.mode is None or row.l_mode == row.mode) and (
            want.kind != FILE or (row.l_mtime == mtime_of(self._db, row) and row.l_xattrs == row.xattrs)
        )
        row.s_acs, row.s_aidx = (row.a_cs, row.a_idx) if is_like_global else (None, None)
        if (row.c_cs, row.c_idx) == (want.cs, want.idx):
            row.l_blocks = row.l_listed = row.l_cls = None
        else:
            row.l_blocks, row.l_listed, row.l_cls = want.blocks, want.listed, want.cls
        self._placed.append((source_of(SourceKind.NODE, row.id), want.packed))
        self._maybe_done(row, want.generation)
        self._solved.append(row.id)

    def _copy(self, want: Want, stat: Stat) -> None:
        cursor = self._db.execute(
            "INSERT OR REPLACE INTO copy(node, cs, idx, l_parent, l_name, l_kind, l_ino, l_size, l_mtime, l_ctime, "
            "l_mode, l_seen, l_listed, l_cls, l_blocks) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                *(want.node, want.cs, want.idx, want.parent, want.name, want.kind),
                *(stat.ino, stat.size, stat.mtime_ns, stat.ctime_ns, stat.mode, int(self._now * 1e9)),
                *(want.listed, want.cls, want.blocks),
            ),
        )
        assert cursor.lastrowid is not None
        blocks.add(self._db, [(source_of(SourceKind.COPY, cursor.lastrowid), want.packed)])

    def _to_old(self, row: NodeRow, token: bytes, outcome: Replaced) -> None:
        """What stood there lies in `.syncd/old` now, and goes on serving its blocks from there."""
        outcome = self._with_doubt(outcome, row.l_ctime, row.l_seen)
        packed = packed_on_disk(self._db, row)
        stood = (row.id, row.s_ccs, row.s_cidx, row.l_name or b"")
        self._note_old(token, stood, outcome, source_of(SourceKind.NODE, row.id), packed, packed or disk_value(row)[1])

    def _note_old(
        self,
        token: bytes,
        stood: tuple[object, ...],
        outcome: Replaced,
        source: int,
        packed: bytes,
        content: bytes | None,
    ) -> None:
        """`stood`: node, version and name of what lies there; `source`: of its blocks so far."""
        if not self._next_old:
            (self._next_old,) = self._db.execute("SELECT coalesce(max(id),0)+1 FROM old").fetchone()
        old = self._next_old
        self._next_old += 1
        self._olds.append((old, token.decode(), *stood, *_as_compared(outcome), self._now, content))
        if outcome.edited:
            self._dropped.append((source, packed))
            self.committed.edited.append(old)
        else:
            self._handed.append((source, packed, source_of(SourceKind.OLD, old)))

    def _write_olds(self) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO old"
            "(id, token, node, cs, idx, name, ino, size, mtime, ctime, since, checked, blocks) "
            "VALUES (?,?,?,?,?,?,?,?,?,?,?,0,?)",
            self._olds,
        )
        blocks.drop(self._db, self._dropped)
        blocks.hand_over(self._db, self._handed)
        self._olds, self._dropped, self._handed = [], [], []

    def _with_doubt(self, outcome: Replaced, ctime_ns: int | None, seen_ns: int | None) -> Replaced:
        """Looked at within one tick of its last change, it may have been edited since and have the same times: its
        content decides."""
        is_racy = ctime_ns is None or seen_ns is None or ctime_ns >= seen_ns - self._tick_ns
        return outcome._replace(edited=True) if is_racy else outcome

    # steps ---------------------------------------------------------------------------------------------------

    def _step(self, step: Step, outcome: Outcome, row: NodeRow | None) -> None:
        operation = step.operation
        copy = operation.copy if isinstance(operation, Move | Park | Retire) else None
        self.committed.applied += 1
        if copy is not None:
            self._copy_step(operation, step, outcome, copy)
            return
        assert row is not None
        match operation:
            case MakeDir(place=place):
                assert isinstance(outcome, Stat)
                row.l_parent, row.l_name, row.l_kind, row.l_xattrs = place.parent, place.name, DIR, None
                self._stat(row, outcome)
                row.s_ccs, row.s_cidx = row.c_cs, row.c_idx
                _note_place(row)
                is_like_global = (row.mode is None or row.l_mode == row.mode) and row.xattrs is None
                row.s_acs, row.s_aidx = (row.a_cs, row.a_idx) if is_like_global else (None, None)
                self._maybe_done(row, step.generation)
            case Move(place=place):
                assert isinstance(outcome, Stat)
                self._wake_emptied(row.l_parent)
                row.l_parent, row.l_name = place.parent, place.name
                if row.l_kind == DIR:
                    self.committed.moved.append(step.target)
                self._moved_stat(row, outcome)
                _note_place(row)
                self._maybe_done(row, step.generation)
            case Park():
                assert isinstance(outcome, Stat)
                row.l_parent, row.l_name = PARKED_ROW, step.token
                self._moved_stat(row, outcome)
            case Retire():
                assert isinstance(outcome, Replaced)
                self._to_old(row, step.token, outcome)
                self._left(row, step)
            case RemoveDir():
                self._left(row, step)
            case SetAttributes():
                assert isinstance(outcome, Dressed)
                is_to_be_looked_at = row.l_ctime == _LOOK
                self._stat(row, outcome.stat)
                row.l_xattrs = outcome.held
                if is_to_be_looked_at or not outcome.is_whole:
                    # Somebody here added to them, or this disk has no room for all: the next look tells which.
                    row.l_ctime = _LOOK
                    self.committed.look_again.append(step.path)
                said = (-1 if row.mode is None else row.mode, mtime_of(self._db, row), row.xattrs)
                if (step.mode, step.mtime_ns, step.xattrs) == said:
                    row.s_acs, row.s_aidx = row.a_cs, row.a_idx
                self._maybe_done(row, step.generation)
        self._solved.append(row.id)

    def _copy_step(self, operation: object, step: Step, outcome: Outcome, copy: int) -> None:
        if isinstance(operation, Retire):
            found = self._db.execute(
                "SELECT node, cs, idx, l_name, l_kind, l_listed, l_blocks, l_ctime, l_seen FROM copy WHERE id=?",
                (copy,),
            ).fetchone()
            if found is None or not isinstance(outcome, Replaced):
                return
            node, cs, idx, name, kind, listed, content, ctime_ns, seen_ns = found
            outcome = self._with_doubt(outcome, ctime_ns, seen_ns)
            packed = packed_entries(self._db, kind, listed, content)
            source = source_of(SourceKind.COPY, copy)
            self._note_old(step.token, (node, cs, idx, name), outcome, source, packed, packed or content)
            self._write_olds()  # the next copy may get this one's number
            self._db.execute("DELETE FROM copy WHERE id=?", (copy,))
        elif isinstance(outcome, Stat):
            parent, name = (
                (operation.place.parent, operation.place.name)
                if isinstance(operation, Move)
                else (PARKED_ROW, step.token)
            )
            self._db.execute(
                "UPDATE copy SET l_parent=?, l_name=?, l_ino=?, l_ctime=? WHERE id=?",
                (parent, name, outcome.ino, outcome.ctime_ns, copy),
            )

    def _left(self, row: NodeRow, step: Step) -> None:
        self._wake_emptied(row.l_parent)
        row.leave_disk()
        if step.is_last and step.generation == self._sources.generation and row.pending == PENDING:
            row.pending = 0

    def _wake_emptied(self, parent: int | None) -> None:
        if parent is not None:
            self._emptied.add(parent)

    def _stat(self, row: NodeRow, stat: Stat) -> None:
        row.l_ino, row.l_size, row.l_mtime, row.l_ctime, row.l_mode = (
            stat.ino,
            stat.size,
            stat.mtime_ns,
            stat.ctime_ns,
            stat.mode,
        )
        row.l_seen = int(self._now * 1e9)

    def _moved_stat(self, row: NodeRow, stat: Stat) -> None:
        """After a rename of ours only the ctime may be new; an edit of the content stays to be found by the scan."""
        if row.l_ctime == _LOOK:
            return
        if (stat.size, stat.mtime_ns) == (row.l_size, row.l_mtime) or stat.kind is Kind.DIR:
            row.l_ctime = stat.ctime_ns

    def _maybe_done(self, row: NodeRow, generation: int) -> None:
        """Nothing more to do for it, if nothing has come since that was planned; else the planner looks once more."""
        settled = (
            generation == self._sources.generation
            and row.pending == PENDING
            and row.heads <= 1
            and (row.s_ccs, row.s_cidx) == (row.c_cs, row.c_idx)
            and (row.s_pcs, row.s_pidx) == (row.p_cs, row.p_idx)
            and _has_its_names(row)
            and same_attributes(self._db, row)
        )
        if settled:
            row.pending = 0
        else:
            self.committed.is_left = True


def _as_compared(outcome: Replaced) -> tuple[int | None, int | None, int | None, int | None]:
    """What to compare an old inode with: nothing fits one that was edited, until that edit has been published."""
    old = outcome.old
    return (None,) * 4 if outcome.edited else (old.ino, old.size, old.mtime_ns, old.ctime_ns)


def _note_place(row: NodeRow) -> None:
    """It stands where its place says; where it has another name than its own, `Settle` says that it is right."""
    if (row.l_parent, row.l_name) == (row.parent, row.name):
        row.s_pcs, row.s_pidx = row.p_cs, row.p_idx


def _has_its_names(row: NodeRow) -> bool:
    """Its blocks are noted by the names that Global has for them; else `Settle` sees to that."""
    return row.l_kind != FILE or row.l_blocks is None or row.l_blocks == row.blocks


def _is_plain_retirement(step: Step) -> bool:
    return isinstance(step.operation, Retire) and step.operation.copy is None


def _is_copy_step(of: Step | Want) -> bool:
    return isinstance(of, Step) and isinstance(of.operation, Move | Park | Retire) and of.operation.copy is not None
