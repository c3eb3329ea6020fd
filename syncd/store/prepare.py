"""Blocking. From the planner's operations to what the disk is asked for: paths, expected stats, contents.

What needs no disk is settled in passing. A staged content may have to find its place anew later, when the rows have
moved on (`still_wanted`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import field
from enum import IntEnum

from blake3 import blake3

from ca.values import dataclass
from syncd.engine.plan import (
    Create,
    MakeDir,
    Move,
    Operation,
    Park,
    Place,
    RemoveDir,
    Replace,
    Retire,
    SetAttributes,
    Settle,
)
from syncd.store import rows
from syncd.store.joining import PENDING, read_heads
from syncd.store.rows import DELETED, DIR, FILE, PARKED_ROW, NodeRow
from syncd.store.survey import Survey, mtime_of, time_of
from syncd.store.unlisted import take_names
from syncd.treetypes import Kind, Path, Stat

DIR_MODE = 0o700
"""What we need of a directory to work in it."""
COPY_MODE = 0o600
"""Of a file for which no mode was published."""

NEVER = -1
"""As the generation of the rows: no rows at all, so that the planner looks again."""


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
    generation: int = NEVER
    """Of the rows (`joining.Sources`) that last said where it goes."""
    directory: int | None = None
    """Inode of the directory that is to hold it; None for the root, and for what stays where it is."""
    xattrs: bytes | None = None
    """Extended attributes that it is to have, as a column."""
    held: bytes | None = None
    """Those of them that this disk could hold, once it is staged."""
    had: bytes | None = None
    """Those that the row says stand on what it replaces."""
    adds: bool = False
    """What it replaces had more of them, which it was given too."""


@dataclass(slots=True)
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
    generation: int = NEVER
    directory: int | None = None
    """Inode of the directory that is to hold it; None for the root, for one made in the same round, and for what stays
    where it is."""
    xattrs: bytes | None = None
    """Extended attributes that it is to have, as a column; `had`: those that the row says it has."""
    had: bytes | None = None
    is_last: bool = False
    """Once it is done nothing is left to do for the node."""


class StepKind(IntEnum):
    """Steps as they are written down before they are done."""

    MAKE_DIR = 1
    MOVE = 2
    RETIRE = 3
    REMOVE_DIR = 4
    SET_ASIDE = 5
    """A no takes away what was written over (`denying`)."""


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
    is_left: bool = False
    """Something is pending even now that this was planned."""
    unlisted: int = 0
    """Files that are right, but parts of their lists are not here: nobody can have them from here."""


def prepare(connection: sqlite3.Connection, survey: Survey, operations: Sequence[Operation]) -> Round:
    """Resolve paths, expected stats and contents. Settles in passing what needs no disk. Inside a transaction."""
    work = _Preparation(connection, survey)
    moves = [operation for operation in operations if isinstance(operation, Move | Park)]
    moving_directories = [operation for operation in moves if work.is_directory(operation)]
    if not moving_directories:
        for operation in operations:
            work.add(operation)
        return work.finish()
    # Moving a directory changes the paths of everything in it, so such moves have a round to themselves, after the
    # directories have been made into which they go.
    for operation in operations:
        if isinstance(operation, MakeDir):
            work.add(operation)
    for operation in moving_directories:
        work.add_if_apart(operation)
    return work.finish()


class _Preparation:
    def __init__(self, connection: sqlite3.Connection, survey: Survey) -> None:
        self._db = connection
        self._survey = survey
        self._any_old = connection.execute("SELECT 1 FROM old LIMIT 1").fetchone() is not None
        self._any_problems = connection.execute("SELECT 1 FROM problem LIMIT 1").fetchone() is not None
        self._made: dict[int, Path] = {}
        self._moved: set[Path] = set()
        self._settled: list[NodeRow] = []
        self.round = Round()

    def finish(self) -> Round:
        """Write what was settled. Call once, behind everything else."""
        rows.write_disk(self._db, self._settled)
        return self.round

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

    def _inode(self, parent: int) -> int | None:
        return None if parent in self._made else self._survey.inode(parent)

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
            unused(self._db, token) if self._any_old else token,
            head.kind,
            head.size or 0,
            head.listed or 0,
            head.blocks or b"",
            head.cls,
            COPY_MODE if is_copy or row.mode is None else row.mode,
            time_of(self._db, version[0]) if is_copy or row.mtime is None else row.mtime,
            parent,
            name,
            path,
            expected_stat(row) if what is What.REPLACE else None,
            generation=self._survey.sources.generation,
            xattrs=None if is_copy or head.kind != FILE else row.xattrs,
            had=row.l_xattrs,
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
            if not take_names(self._db, row):
                self.round.unlisted += 1
        row.pending = PENDING if self._copies_unsettled(row) else 0
        self._settled.append(row)
        if row.pending == 0:
            self.round.settled += 1
            if self._any_problems:
                self._db.execute("DELETE FROM problem WHERE node=?", (row.id,))

    def _copies_unsettled(self, row: NodeRow) -> bool:
        if row.heads <= 1:
            return (
                self._survey.any_copies
                and self._db.execute("SELECT 1 FROM copy WHERE node=? LIMIT 1", (row.id,)).fetchone() is not None
            )
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
                mode = 0o700 if row.mode is None else row.mode
                directory = self._inode(operation.place.parent)
                self.round.steps.append(Step(operation, path, None, mode=mode | DIR_MODE, directory=directory))
                self._made[row.id] = path
            return
        copy = operation.copy if isinstance(operation, Move | Park | Retire) else None
        standing = standing_copy(self._db, copy) if copy is not None else None
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
        directory = None
        if isinstance(operation, Move):
            directory = self._inode(operation.place.parent)
            target = self._path(operation.place.parent, operation.place.name)
        if target is None:
            return
        nid = b"copy%d" % copy if copy is not None else (row.nid if row is not None else b"")
        token = unused(self._db, blake3(nid + repr((expected, here)).encode()).digest(12).hex().encode())
        wanted_mode = -1 if row is None or row.mode is None else row.mode
        wanted_mtime = None if row is None else mtime_of(self._db, row)
        generation = self._survey.sources.generation
        self.round.steps.append(
            Step(
                *(operation, here, expected, target, token, wanted_mode, wanted_mtime, parked, generation, directory),
                *((None, None) if row is None else (row.xattrs, row.l_xattrs)),
                is_last=copy is None and row is not None and self._is_gone_for_good(operation, row),
            )
        )

    def _is_gone_for_good(self, operation: Operation, row: NodeRow) -> bool:
        """Whether nothing of a node is to stand on this disk once this is done."""
        if not isinstance(operation, Retire | RemoveDir) or row.kind != DELETED or row.heads > 1:
            return False
        return not (self._survey.lineage.lives(row) or self._copies_unsettled(row))


def token_of(nid: bytes, version: bytes, copy: bool) -> bytes:
    """The name of a staged content: the same after a restart, so that what was fetched before is found again."""
    return blake3(nid + version + bytes([copy])).digest(16).hex().encode()


def unused(connection: sqlite3.Connection, token: bytes) -> bytes:
    """This token, or one made from it, under which nothing lies in `.syncd/old`."""
    while connection.execute("SELECT 1 FROM old WHERE token=?", (token.decode(),)).fetchone() is not None:
        token = blake3(token).digest(16).hex().encode()
    return token


def expected_stat(row: NodeRow) -> Stat:
    """What the row says stands on the disk."""
    return _stat(row.l_kind, row.l_ino, row.l_size, row.l_mtime, row.l_ctime, row.l_mode)


def _stat(kind: int, ino: int | None, size: int | None, mtime: int | None, ctime: int | None, mode: int | None) -> Stat:
    return Stat(Kind(kind or Kind.OTHER), ino or 0, size or 0, mtime or 0, ctime or 0, mode or 0, 1, 0)


def standing_copy(connection: sqlite3.Connection, copy: int) -> tuple[int, bytes, Stat] | None:
    """(row of the directory, name, expected stat) of a conflict copy."""
    found = connection.execute(
        "SELECT l_parent, l_name, l_kind, l_ino, l_size, l_mtime, l_ctime, l_mode FROM copy WHERE id=?", (copy,)
    ).fetchone()
    return None if found is None else (found[0], found[1], _stat(*found[2:]))


def still_wanted(connection: sqlite3.Connection, survey: Survey, want: Want) -> bool:
    """Whether a staged content still has a place, some time after it was planned; finds out anew where that is."""
    row = survey.row(want.node)
    if row is None or row.pending != PENDING or not survey.lineage.lives(row):
        return False
    named = survey.named(row)
    parent, name = survey.parent(row), named.name
    wanted_place = (parent, name)
    if want.what is What.COPY:
        copies = {(head.cs, head.idx): name for head, name in named.copies.items()}
        if (want.cs, want.idx) not in copies or _has_copy(connection, want):
            return False
        name = copies[want.cs, want.idx]
    elif (row.c_cs, row.c_idx) != (want.cs, want.idx) or row.l_kind == DIR:
        return False
    elif row.on_disk:
        if row.l_parent is None or row.l_name is None or unused(connection, want.token) != want.token:
            return False
        want.what, want.expected = What.REPLACE, expected_stat(row)
        parent, name = row.l_parent, row.l_name
    else:
        want.what, want.expected = What.CREATE, None
    path = survey.path(parent, name)
    # What a row says of a name holds until a look says otherwise, also if nothing stands there any more.
    is_taken = want.what is not What.REPLACE and survey.is_taken(
        Place(parent, name), row, is_copy=want.what is What.COPY
    )
    if path is None or is_taken:
        return False
    want.parent, want.name, want.path = parent, name, path
    want.directory = None if want.what is What.REPLACE else survey.inode(parent)
    # A file that is replaced where it stands, and belongs elsewhere by now, is not done with that.
    is_elsewhere = want.what is What.REPLACE and (parent, name) != wanted_place
    want.generation = NEVER if is_elsewhere else survey.sources.generation
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


def write_steps(connection: sqlite3.Connection, steps: Sequence[Step]) -> None:
    """Say what is about to be done, in that order. Parking needs no word: what lies parked is found by its inode."""
    lines: list[tuple[int, int, int | None, bytes, int | None, bytes | None]] = []
    for step in steps:
        match step.operation:
            case MakeDir(node=node, place=place):
                lines.append((StepKind.MAKE_DIR, node, None, step.token, place.parent, place.name))
            case Move(node=node, place=place, copy=copy):
                lines.append((StepKind.MOVE, node, copy, step.token, place.parent, place.name))
            case Retire(node=node, copy=copy):
                lines.append((StepKind.RETIRE, node, copy, step.token, None, None))
            case RemoveDir(node=node):
                lines.append((StepKind.REMOVE_DIR, node, None, step.token, None, None))
            case Park() | SetAttributes():
                pass
    connection.executemany("INSERT INTO step(what, node, copy, token, parent, name) VALUES (?,?,?,?,?,?)", lines)


NAMED = (
    f"SELECT l_parent AS parent, l_name AS name FROM intent WHERE what<>{int(What.REPLACE)} "
    "UNION ALL SELECT parent, name FROM step WHERE parent IS NOT NULL"
)
"""Names that are just being given: until the rows say what came of that, no look gives them to another row."""


def forget_steps(connection: sqlite3.Connection) -> None:
    """The rows say what came of them. Only one round is ever under way."""
    connection.execute("DELETE FROM step")
