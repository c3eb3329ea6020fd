"""Blocking. Carrying out a plan on the user's disk, in the order that loses nothing.

Order for what has content (docs/storage.md): intents are committed, contents staged and verified, one flush, then each
staged file is created (never over anything) or exchanged with what stands there, directories are flushed, and only then
the rows say that it is synced and the intents go. What was exchanged away or retired lies in `.syncd/old` and is
compared with what the row
expected: any difference is a local edit and is published as one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from blake3 import blake3

from syncd.engine.plan import (
    Create,
    MakeDir,
    Move,
    Operation,
    Park,
    RemoveDir,
    Replace,
    Retire,
    SetAttributes,
    Settle,
)
from syncd.seams import Tree
from syncd.store import blocks, rows
from syncd.store.blocks import SourceKind, source_of
from syncd.store.contents import disk_value, packed_entries, packed_on_disk
from syncd.store.joining import PENDING, Sources, read_heads
from syncd.store.rows import DIR, FILE, PARKED_ROW, NodeRow
from syncd.store.survey import Survey, same_attributes
from syncd.treetypes import (
    Attributes,
    Kind,
    LocallyChanged,
    NameTaken,
    NotEmpty,
    NotThere,
    Path,
    Replaced,
    Stat,
    TreeError,
)

DIR_MODE = 0o700
"""What we need of a directory to work in it."""


ANYTHING = b""
"""As the last name of a path to look at: all that is in that directory."""


class What(IntEnum):
    """How a staged content enters the tree."""

    CREATE = 1
    REPLACE = 2
    COPY = 3


@dataclass(slots=True, eq=False)
class Want:
    """A content to be staged, and where it goes. `packed`: entries of all its blocks, once known."""

    what: What
    node: int
    cs: int
    idx: int
    token: bytes
    kind: int
    size: int
    listed: int
    blocks: bytes
    cls: int | None
    mode: int
    mtime_ns: int | None
    parent: int
    name: bytes
    path: Path
    expected: Stat | None = None
    packed: bytes = b""
    generation: int = -1
    """Of the rows (`joining.Sources`) that last said where it goes."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operation that needs no content, with everything that the tree must be told."""

    operation: MakeDir | Move | Park | Retire | RemoveDir | SetAttributes
    path: Path
    expected: Stat | None
    target: Path = ()
    token: bytes = b""
    mode: int = 0
    mtime_ns: int | None = None
    from_parked: bytes | None = None
    generation: int = -1


@dataclass(slots=True)
class Round:
    """One plan, ready for the disk."""

    steps: list[Step] = field(default_factory=list)
    wants: list[Want] = field(default_factory=list)
    settled: int = 0
    woken: int = 0
    """Nodes that have to be looked at in the next round because of this one."""
    blocked: list[tuple[int, Path]] = field(default_factory=list)
    """Nodes whose name is taken by something that will not leave, and where they belong."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a step or want. `outcome`: a stat, what was replaced, None for something removed, or an error."""

    of: Step | Want
    outcome: Stat | Replaced | TreeError | None


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


# --- before: from operations to steps
# ----------------------------------------------------------------------------------


def prepare(connection: sqlite3.Connection, survey: Survey, operations: Sequence[Operation]) -> Round:
    """Resolve paths, expected stats and contents. Settles in passing what needs no disk. Inside a transaction."""
    work = _Preparation(connection, survey)
    moves = [operation for operation in operations if isinstance(operation, Move | Park)]
    moving_directories = [operation for operation in moves if work.is_directory(operation)]
    if not moving_directories:
        for operation in operations:
            work.add(operation)
        return work.round
    # Moving a directory changes the paths of everything in it, so such moves have a round to themselves, after the
    # directories have been made into which they go.
    for operation in operations:
        if isinstance(operation, MakeDir):
            work.add(operation)
    for operation in moving_directories:
        work.add_if_apart(operation)
    return work.round


class _Preparation:
    def __init__(self, connection: sqlite3.Connection, survey: Survey) -> None:
        self._db = connection
        self._survey = survey
        self._made: dict[int, Path] = {}
        self._moved: set[Path] = set()
        self.round = Round()

    def is_directory(self, operation: Move | Park) -> bool:
        if operation.copy is not None:
            return False
        row = self._survey.row(operation.node)
        return row is not None and row.l_kind == DIR

    def add(self, operation: Operation) -> None:
        if isinstance(operation, Create):
            self._content(operation, operation.place.parent, operation.place.name)
        elif isinstance(operation, Replace):
            row = self._survey.row(operation.node)
            if row is not None and row.l_parent is not None and row.l_name is not None:
                self._content(operation, row.l_parent, row.l_name)
        elif isinstance(operation, Settle):
            self._settle(operation)
        else:
            self._step(operation)

    def add_if_apart(self, operation: Move | Park) -> None:
        """The move of a directory, unless another of this round changes its path or that of its target."""
        before = len(self.round.steps)
        self._step(operation)
        for step in self.round.steps[before:]:
            if any(path[:end] in self._moved for path in (step.path, step.target) for end in range(1, len(path) + 1)):
                self.round.steps.remove(step)
            else:
                self._moved.add(step.path)

    def _path(self, parent: int, name: bytes) -> Path | None:
        if parent in self._made:
            return (*self._made[parent], name)
        return self._survey.path(parent, name)

    def _content(self, operation: Create | Replace, parent: int, name: bytes) -> None:
        row = self._survey.row(operation.node)
        path = self._path(parent, name)
        if row is None or path is None:
            return
        version = (operation.version.cs, operation.version.idx)
        is_copy = isinstance(operation, Create) and operation.copy
        head = next((head for head in read_heads(self._db, row) if (head.cs, head.idx) == version), None)
        if head is None:
            return
        what = What.COPY if is_copy else What.CREATE if isinstance(operation, Create) else What.REPLACE
        token = token_of(row.nid, self._survey.sources.version(*version), is_copy)
        want = Want(
            what,
            row.id,
            *version,
            _unused(self._db, token),
            head.kind,
            head.size or 0,
            head.listed or 0,
            head.blocks or b"",
            head.cls,
            0o600 if row.mode is None else row.mode,
            _time_of(self._db, version[0]) if is_copy or row.mtime is None else row.mtime,
            parent,
            name,
            path,
            expected_stat(row) if what is What.REPLACE else None,
            generation=self._survey.sources.generation,
        )
        if want.kind == FILE and not want.listed:
            want.packed = want.blocks
        self.round.wants.append(want)

    def _settle(self, operation: Settle) -> None:
        row = self._survey.row(operation.node)
        if row is None:
            return
        if row.on_disk:
            row.s_ccs, row.s_cidx, row.s_pcs, row.s_pidx = row.c_cs, row.c_idx, row.p_cs, row.p_idx
            row.s_acs, row.s_aidx = row.a_cs, row.a_idx
            row.l_blocks = row.l_listed = row.l_cls = None
        row.pending = PENDING if self._copies_unsettled(row) else 0
        rows.write(self._db, [row])
        if row.pending == 0:
            self.round.settled += 1
            self._db.execute("DELETE FROM problem WHERE node=?", (row.id,))

    def _copies_unsettled(self, row: NodeRow) -> bool:
        if row.heads <= 1:
            return self._db.execute("SELECT 1 FROM copy WHERE node=? LIMIT 1", (row.id,)).fetchone() is not None
        case = self._survey.case(row)
        return any(
            copy.copy is None
            or copy.wanted_name is None
            or (copy.disk_parent, copy.disk_name) != (case.parent, copy.wanted_name)
            for copy in case.copies
        )

    def _step(self, operation: MakeDir | Move | Park | Retire | RemoveDir | SetAttributes) -> None:
        row = self._survey.row(operation.node)
        if isinstance(operation, MakeDir):
            path = self._path(operation.place.parent, operation.place.name)
            if row is not None and path is not None:
                self._made[row.id] = path
                mode = 0o700 if row.mode is None else row.mode
                self.round.steps.append(Step(operation, path, None, mode=mode | DIR_MODE))
            return
        copy = operation.copy if isinstance(operation, Move | Park | Retire) else None
        standing = _standing_copy(self._db, copy) if copy is not None else None
        if (copy is not None and standing is None) or (copy is None and row is None):
            return
        if standing is None:
            assert row is not None
            standing = (row.l_parent or PARKED_ROW, row.l_name or b"", expected_stat(row))
        parent, name, expected = standing
        if not name:
            return
        parked = name if parent == PARKED_ROW else None
        here = () if parked is not None else self._survey.path(parent, name)
        if here is None:
            return
        target: Path | None = ()
        if isinstance(operation, Move):
            target = self._path(operation.place.parent, operation.place.name)
        if target is None:
            return
        nid = b"copy%d" % copy if copy is not None else (row.nid if row is not None else b"")
        token = _unused(self._db, blake3(nid + repr((expected, here)).encode()).digest(12).hex().encode())
        wanted_mode = -1 if row is None or row.mode is None else row.mode
        wanted_mtime = None if row is None else row.mtime
        generation = self._survey.sources.generation
        self.round.steps.append(
            Step(operation, here, expected, target, token, wanted_mode, wanted_mtime, parked, generation)
        )


def _time_of(connection: sqlite3.Connection, seq: int) -> int | None:
    """When a version was published: the mtime of its conflict copy, as the node's own belongs to another version.

    Also of a file that was a directory for others."""
    found = connection.execute("SELECT time_ms FROM changeset WHERE seq=?", (seq,)).fetchone()
    return None if found is None else int(found[0]) * 1_000_000


def token_of(nid: bytes, version: bytes, copy: bool) -> bytes:
    """The name of a staged content: the same after a restart, so that what was fetched before is found again."""
    return blake3(nid + version + bytes([copy])).digest(16).hex().encode()


def _unused(connection: sqlite3.Connection, token: bytes) -> bytes:
    """This token, or one made from it, under which nothing lies in `.syncd/old`."""
    while connection.execute("SELECT 1 FROM old WHERE token=?", (token.decode(),)).fetchone() is not None:
        token = blake3(token).digest(16).hex().encode()
    return token


def expected_stat(row: NodeRow) -> Stat:
    """What the row says stands on the disk."""
    return _stat(row.l_kind, row.l_ino, row.l_size, row.l_mtime, row.l_ctime, row.l_mode)


def _stat(kind: int, ino: int | None, size: int | None, mtime: int | None, ctime: int | None, mode: int | None) -> Stat:
    return Stat(Kind(kind or Kind.OTHER), ino or 0, size or 0, mtime or 0, ctime or 0, mode or 0, 1, 0)


def _standing_copy(connection: sqlite3.Connection, copy: int) -> tuple[int, bytes, Stat] | None:
    found = connection.execute(
        "SELECT l_parent, l_name, l_kind, l_ino, l_size, l_mtime, l_ctime, l_mode FROM copy WHERE id=?", (copy,)
    ).fetchone()
    return None if found is None else (found[0], found[1], _stat(*found[2:]))


# --- the disk
# ----------------------------------------------------------------------------------------------------------


def execute(tree: Tree, steps: Sequence[Step]) -> list[Done]:
    """Carry out steps one after the other; one that fails does not keep the others from being tried."""
    done = []
    for step in steps:
        try:
            outcome: Stat | Replaced | TreeError | None = _execute(tree, step)
        except TreeError as error:
            outcome = error
        done.append(Done(step, outcome))
    return done


def _execute(tree: Tree, step: Step) -> Stat | Replaced | None:
    operation = step.operation
    expected = step.expected
    if isinstance(operation, MakeDir):
        return tree.make_dir(step.path, step.mode)
    assert expected is not None
    if step.from_parked is not None:
        if isinstance(operation, Move):
            return tree.unpark(step.from_parked, step.target)
        raise NotThere("it is parked between two names", step.path)
    if isinstance(operation, Move):
        return tree.move(step.path, step.target, expected)
    if isinstance(operation, Park):
        return tree.park(step.path, step.token, expected)
    if isinstance(operation, Retire):
        return tree.retire(step.path, step.token, expected)
    if isinstance(operation, RemoveDir):
        tree.remove_dir(step.path)
        return None
    mode = None if step.mode < 0 else step.mode
    mtime = step.mtime_ns if expected.kind is Kind.FILE else None
    return tree.set_attributes(step.path, Attributes(mode, mtime), expected)


def put_in_place(tree: Tree, wants: Sequence[Want]) -> list[Done]:
    """Give staged contents their names; then flush the directories they are in."""
    creations = [want for want in wants if want.what is not What.REPLACE]
    replacements = [want for want in wants if want.what is What.REPLACE]
    done: list[Done] = []
    created = tree.create_many([(want.token, want.path) for want in creations])
    done += [Done(want, outcome) for want, outcome in zip(creations, created, strict=True)]
    triples = [(want.token, want.path, want.expected) for want in replacements if want.expected is not None]
    replaced = tree.exchange_many(triples)
    done += [Done(want, outcome) for want, outcome in zip(replacements, replaced, strict=True)]
    tree.flush_dirs(sorted({want.path[:-1] for want in wants}))
    return done


# --- after: what the rows say
# ------------------------------------------------------------------------------------------


def still_wanted(connection: sqlite3.Connection, survey: Survey, want: Want) -> bool:
    """Whether a staged content still has a place, some time after it was planned; finds out anew where that is."""
    row = survey.row(want.node)
    if row is None or row.pending != PENDING or not survey.lineage.lives(row):
        return False
    named = survey.named(row)
    parent, name = survey.parent(row), named.name
    if want.what is What.COPY:
        copies = {(head.cs, head.idx): name for head, name in named.copies.items()}
        if (want.cs, want.idx) not in copies or _has_copy(connection, want):
            return False
        name = copies[want.cs, want.idx]
    elif (row.c_cs, row.c_idx) != (want.cs, want.idx) or row.l_kind == DIR:
        return False
    elif row.on_disk:
        if row.l_parent is None or row.l_name is None or _unused(connection, want.token) != want.token:
            return False
        want.what, want.expected = What.REPLACE, expected_stat(row)
        parent, name = row.l_parent, row.l_name
    else:
        want.what, want.expected = What.CREATE, None
    path = survey.path(parent, name)
    if path is None:
        return False
    want.parent, want.name, want.path = parent, name, path
    want.generation = survey.sources.generation
    return True


def _has_copy(connection: sqlite3.Connection, want: Want) -> bool:
    query = "SELECT 1 FROM copy WHERE node=? AND cs=? AND idx=?"
    return connection.execute(query, (want.node, want.cs, want.idx)).fetchone() is not None


def write_intents(connection: sqlite3.Connection, wants: Sequence[Want]) -> None:
    """Say what is about to be put in place, before it is."""
    connection.executemany(
        "INSERT OR REPLACE INTO intent VALUES (?,?,?,?,?,?,?,?)",
        [
            (w.token.decode(), w.node, w.cs, w.idx, int(w.what is What.COPY), int(w.what), w.parent, w.name)
            for w in wants
        ],
    )


class Committer:
    """Notes outcomes in the rows. One object per transaction."""

    def __init__(self, connection: sqlite3.Connection, sources: Sources, now: float) -> None:
        self._db = connection
        self._sources = sources
        self._now = now
        self._emptied: set[int] = set()
        self._placed: list[tuple[int, bytes]] = []
        """Sources that came, with their packed entries."""
        self.committed = Committed()

    def note(self, done: Sequence[Done]) -> Committed:
        nodes = {item.of.node if isinstance(item.of, Want) else item.of.operation.node for item in done}
        known = rows.read_ids(self._db, nodes)
        for item in done:
            node = item.of.node if isinstance(item.of, Want) else item.of.operation.node
            row = known.get(node)
            if row is None and not _is_copy_step(item.of):
                continue
            if isinstance(item.outcome, TreeError):
                self._failed(item, node, item.outcome)
            elif isinstance(item.of, Want):
                assert row is not None
                self._want(item.of, item.outcome, row)
            else:
                self._step(item.of, item.outcome, row)
        rows.write_disk(self._db, known.values())
        blocks.add(self._db, self._placed)
        self._placed = []
        for parent in self._emptied:
            # A directory that Global has deleted may be empty now.
            self._db.execute("UPDATE node SET pending=1 WHERE id=? AND kind<>2 AND l_kind=2 AND pending=0", (parent,))
        self._db.executemany(
            "DELETE FROM intent WHERE token=?",
            [(item.of.token.decode(),) for item in done if isinstance(item.of, Want)],
        )
        return self.committed

    def _failed(self, item: Done, node: int, error: TreeError) -> None:
        path = item.of.path
        if isinstance(error, LocallyChanged | NotThere):
            self.committed.look_again.append(path)
        elif isinstance(error, NameTaken):
            self.committed.look_again.append(item.of.target if isinstance(item.of, Step) and item.of.target else path)
        elif isinstance(error, NotEmpty):
            self.committed.look_again.append((*path, ANYTHING))
        self.committed.failed.append((node, path, error))

    # contents ------------------------------------------------------------------------------------------------

    def _want(self, want: Want, outcome: Stat | Replaced | None, row: NodeRow) -> None:
        new = outcome.new if isinstance(outcome, Replaced) else outcome
        if isinstance(outcome, Replaced):
            self._to_old(row, want.token, outcome)
        if new is None:  # what stands there now, if anything, is somebody else's
            self.committed.look_again.append(want.path)
            return
        self.committed.applied += 1
        if want.what is What.COPY:
            self._copy(want, new)
            return
        row.l_parent, row.l_name, row.l_kind = want.parent, want.name, want.kind
        self._stat(row, new)
        if new.size != want.size and want.kind == FILE:
            # Somebody wrote to it in the very moment it got its name: whatever it holds now is to be looked at.
            row.l_seen = row.l_mtime = 0
            self.committed.look_again.append(want.path)
        row.s_ccs, row.s_cidx = want.cs, want.idx
        _note_place(row)
        is_like_global = (row.mode is None or row.l_mode == row.mode) and (
            want.kind != FILE or row.l_mtime == row.mtime
        )
        row.s_acs, row.s_aidx = (row.a_cs, row.a_idx) if is_like_global else (None, None)
        if (row.c_cs, row.c_idx) == (want.cs, want.idx):
            row.l_blocks = row.l_listed = row.l_cls = None
        else:
            row.l_blocks, row.l_listed, row.l_cls = want.blocks, want.listed, want.cls
        self._placed.append((source_of(SourceKind.NODE, row.id), want.packed))
        self._maybe_done(row, want.generation)
        self._solved(row.id)

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
        packed = packed_on_disk(self._db, row)
        _, content = disk_value(row)
        cursor = self._db.execute(
            "INSERT OR REPLACE INTO old"
            "(token, node, cs, idx, name, ino, size, mtime, ctime, since, checked, blocks) "
            "VALUES (?,?,?,?,?,?,?,?,?,?,0,?)",
            (
                *(token.decode(), row.id, row.s_ccs, row.s_cidx, row.l_name or b""),
                *(*_as_compared(outcome), self._now, packed or content),
            ),
        )
        assert cursor.lastrowid is not None
        source = source_of(SourceKind.NODE, row.id)
        if outcome.edited:
            blocks.drop(self._db, source, packed)
            self.committed.edited.append(cursor.lastrowid)
        else:
            blocks.hand_over(self._db, source, packed, source_of(SourceKind.OLD, cursor.lastrowid))

    # steps ---------------------------------------------------------------------------------------------------

    def _step(self, step: Step, outcome: Stat | Replaced | None, row: NodeRow | None) -> None:
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
                row.l_parent, row.l_name, row.l_kind = place.parent, place.name, DIR
                self._stat(row, outcome)
                row.s_ccs, row.s_cidx = row.c_cs, row.c_idx
                _note_place(row)
                is_like_global = row.mode is None or row.l_mode == row.mode
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
                self._left(row)
            case RemoveDir():
                self._left(row)
            case SetAttributes():
                assert isinstance(outcome, Stat)
                self._stat(row, outcome)
                if (step.mode, step.mtime_ns) == (-1 if row.mode is None else row.mode, row.mtime):
                    row.s_acs, row.s_aidx = row.a_cs, row.a_idx
                self._maybe_done(row, step.generation)
        self._solved(row.id)

    def _copy_step(self, operation: object, step: Step, outcome: Stat | Replaced | None, copy: int) -> None:
        if isinstance(operation, Retire):
            found = self._db.execute(
                "SELECT node, cs, idx, l_name, l_kind, l_listed, l_blocks FROM copy WHERE id=?", (copy,)
            ).fetchone()
            if found is None or not isinstance(outcome, Replaced):
                return
            node, cs, idx, name, kind, listed, content = found
            packed = packed_entries(self._db, kind, listed, content)
            cursor = self._db.execute(
                "INSERT OR REPLACE INTO old"
                "(token, node, cs, idx, name, ino, size, mtime, ctime, since, checked, blocks) "
                "VALUES (?,?,?,?,?,?,?,?,?,?,0,?)",
                (
                    *(step.token.decode(), node, cs, idx, name),
                    *(*_as_compared(outcome), self._now, packed or content),
                ),
            )
            assert cursor.lastrowid is not None
            source = source_of(SourceKind.COPY, copy)
            if outcome.edited:
                blocks.drop(self._db, source, packed)
                self.committed.edited.append(cursor.lastrowid)
            else:
                blocks.hand_over(self._db, source, packed, source_of(SourceKind.OLD, cursor.lastrowid))
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

    def _left(self, row: NodeRow) -> None:
        self._wake_emptied(row.l_parent)
        row.leave_disk()

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
            and same_attributes(row)
        )
        if settled:
            row.pending = 0

    def _solved(self, node: int) -> None:
        self._db.execute("DELETE FROM problem WHERE node=?", (node,))


def _as_compared(outcome: Replaced) -> tuple[int | None, int | None, int | None, int | None]:
    """What to compare an old inode with: nothing fits one that was edited, until that edit has been published."""
    old = outcome.old
    return (None,) * 4 if outcome.edited else (old.ino, old.size, old.mtime_ns, old.ctime_ns)


def _note_place(row: NodeRow) -> None:
    """It stands where its place says; where it has another name than its own, `Settle` says that it is right."""
    if (row.l_parent, row.l_name) == (row.parent, row.name):
        row.s_pcs, row.s_pidx = row.p_cs, row.p_idx


def _is_copy_step(of: Step | Want) -> bool:
    return isinstance(of, Step) and isinstance(of.operation, Move | Park | Retire) and of.operation.copy is not None
