"""Blocking. Files read again in the background, and those that are not what their rows say under an unchanged stat.

`engine.rot` judges; here is what the rows say of it. A file that rotted is put right as any other: its row says what
the disk really holds, so the planner exchanges it for what Global says, and the bytes that it held lie in `.syncd/old`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from math import inf

from ca.values import dataclass
from syncd.engine.rot import AGAIN_S, Look, Verdict, judge
from syncd.model.cutter import CutClass
from syncd.store import blocks, rows
from syncd.store.blocks import SourceKind, source_of
from syncd.store.contents import keep_parts, packed_on_disk
from syncd.store.db import Transaction
from syncd.store.folder import FolderStore
from syncd.store.hashing import Hashed, entries_by_pid
from syncd.store.joining import PENDING
from syncd.store.prepare import expected_stat
from syncd.store.rows import FILE, NodeRow
from syncd.store.survey import Survey
from syncd.treetypes import ABSENT, IsADirectory, NotAFile, Path, Stat, TreeError

EVERY_S = 30 * 86400.0
"""Every file is read again once in that time."""
STEP_S = 600.0
FILES_PER_STEP = 512
BYTES_PER_STEP = 256 << 20
"""What is read in one step, unless a larger share of the folder is due."""


@dataclass(frozen=True, slots=True)
class Due:
    """A file that is to be read, and what its row says of it."""

    row: int
    path: Path
    expected: Stat
    packed: bytes
    cut_class: CutClass | None
    first: bytes | None = None
    """What an earlier look saw in it, if it is suspect."""
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Read:
    """What came of reading it."""

    due: Due
    look: Look
    hashed: Hashed
    stat: Stat


@dataclass(slots=True)
class Looked:
    """What came of reading some. `unread`: files that the disk did not let us read."""

    reads: list[Read] = field(default_factory=list)
    unread: list[Due] = field(default_factory=list)


@dataclass(slots=True)
class Judged:
    """What was found out in one step."""

    again: list[Path]
    """Edits, and what cannot be read: the scan is to look at them."""
    suspects: list[Path]
    rotten: list[Path]
    read: int = 0


def db_due(store: FolderStore, now: float, *, everything: bool = False) -> list[Due]:
    """Suspects whose second look has come, and the files whose last reading is longest ago."""
    connection = store.connection
    survey = Survey(connection, store.journal.sources)
    found = []
    query = "SELECT node, digest, looked FROM doubt WHERE looked<=? ORDER BY looked LIMIT ?"
    suspects = {
        node: (bytes(digest), looked)
        for node, digest, looked in connection.execute(query, (now - AGAIN_S, FILES_PER_STEP))
    }
    for row in rows.read_ids(connection, suspects).values():
        due = _due(store, survey, row, *suspects[row.id])
        if due is not None:
            found.append(due)
    before_ns = int((now if everything else now - EVERY_S) * 1e9)
    (folder_bytes,) = connection.execute("SELECT coalesce(sum(l_size),0) FROM node WHERE l_kind=1").fetchone()
    most, size = max(BYTES_PER_STEP, int(folder_bytes * STEP_S / EVERY_S)), 0
    query = (
        "WHERE l_kind=1 AND l_kind<>0 AND l_seen<? AND pending<>1 AND id NOT IN (SELECT node FROM doubt) "
        "ORDER BY l_seen LIMIT ?"
    )
    for row in rows.read(connection, query, (before_ns, FILES_PER_STEP)):
        due = _due(store, survey, row)
        if due is not None and row.id not in store.moving:
            found.append(due)
            size += row.l_size or 0
            if size >= most:
                break
    return found


def db_due_at(store: FolderStore, paths: Iterable[Path]) -> list[Due]:
    """Files of which a block was not what it should be when it was read."""
    connection = store.connection
    survey = Survey(connection, store.journal.sources)
    found = []
    for path in set(paths):
        row = _row_at(store, path)
        due = None if row is None or row.l_kind != FILE else _due(store, survey, row)
        if due is not None:
            found.append(due)
    return found


def _row_at(store: FolderStore, path: Path) -> NodeRow | None:
    at, row = rows.ROOT_ROW, None
    for name in path:
        found = rows.read(store.connection, "WHERE l_parent=? AND l_name=? AND l_kind<>0", (at, name))
        if not found:
            return None
        row, at = found[0], found[0].id
    return row


def _due(
    store: FolderStore, survey: Survey, row: NodeRow, first: bytes | None = None, since: float = 0.0
) -> Due | None:
    path = survey.path(row.l_parent, row.l_name)
    packed = packed_on_disk(store.connection, row)
    if path is None or row.l_kind != FILE or (not packed and row.l_size):
        return None
    cls = row.cls if row.l_blocks is None else row.l_cls
    return Due(row.id, path, expected_stat(row), packed, rows.class_of(cls), first, since)


def read_again(store: FolderStore, due: Sequence[Due], now: Callable[[], float]) -> Looked:
    """Read them, every byte, past the cache where that matters. Touches no row."""
    looked = Looked()
    for one in due:
        try:
            looked.reads.append(_read(store, one, now()))
        except (*ABSENT, IsADirectory, NotAFile):
            continue  # another object, or none: the scan finds that by itself
        except TreeError:
            looked.unread.append(one)
    return looked


def _read(store: FolderStore, due: Due, now: float) -> Read:
    reader = store.tree.open_read(due.path)
    try:
        before = reader.stat()
        if due.first is not None:
            reader.drop_cache()
        hashed = store.keyring.hasher().large(reader, before.size, due.cut_class, entries_by_pid(due.packed))
        after = reader.stat()
        is_open = reader.is_open_for_writing()
    finally:
        reader.close()
    is_same = before.same(due.expected) and after.same(before)
    age = now - max(after.mtime_ns, after.ctime_ns) / 1e9
    return Read(due, Look(hashed.packed == due.packed, is_same, hashed.digest(), age, is_open), hashed, after)


def db_judge(store: FolderStore, looked: Looked, now: float) -> Judged:
    """Note what was read: sound, suspect, an edit, or rot that is to be healed. What could not be read is to be read by
    the scan, which tells a person, and tries again."""
    reads, judged = looked.reads, Judged([], [], [], len(looked.reads))
    is_local = store.tree.personality().local
    with Transaction(store.connection):
        _doubt_whole(store, looked.unread, now, judged)
        found = rows.read_ids(store.connection, [read.due.row for read in reads])
        for read in reads:
            row = found.get(read.due.row)
            if row is None or row.id in store.moving or not expected_stat(row).same(read.due.expected):
                continue  # something has been done with it since
            if read.due.first is None:
                _first_look(store, row, read, now, judged)
            else:
                verdict = judge(read.due.first, now - read.due.since, read.look, is_local=is_local)
                _second_look(store, row, read, verdict, now, judged)
    return judged


def _doubt_whole(store: FolderStore, unread: Sequence[Due], now: float, judged: Judged) -> None:
    """As if they had been seen last in the tick of their last change: the next look reads them whatever their stat.
    What it finds in them may be rot, as the disk is failing there, and is suspect."""
    for due in unread:
        query = "UPDATE node SET l_seen=l_ctime WHERE id=? AND l_kind=1 AND l_seen>l_ctime"
        store.connection.execute(query, (due.row,))
        query = (
            "INSERT INTO doubt(node, digest, looked, since) VALUES (?1,x'',?2,?2) "
            "ON CONFLICT(node) DO UPDATE SET digest=x''"
        )
        store.connection.execute(query, (due.row, now))
        judged.again.append(due.path)


def _first_look(store: FolderStore, row: NodeRow, read: Read, now: float, judged: Judged) -> None:
    if not read.look.is_same_stat:
        judged.again.append(read.due.path)
    elif read.look.is_sound:
        _seen(store, row, now)
    else:
        judged.suspects.append(read.due.path)
        _doubt(store, row.id, read.look.digest, now)


def _second_look(store: FolderStore, row: NodeRow, read: Read, verdict: Verdict, now: float, judged: Judged) -> None:
    if verdict is Verdict.WAIT:
        _doubt(store, row.id, read.look.digest, now)
        return
    store.connection.execute("DELETE FROM doubt WHERE node=?", (row.id,))
    if verdict is Verdict.SOUND:
        _seen(store, row, now)
    elif verdict is Verdict.ROT:
        judged.rotten.append(read.due.path)
        _to_be_healed(store, row, read, now)
    else:
        judged.again.append(read.due.path)
        if verdict is Verdict.EDIT:  # its stat says nothing, so the row has to
            store.connection.execute("UPDATE node SET l_mtime=0, l_seen=0 WHERE id=?", (row.id,))


def _doubt(store: FolderStore, node: int, digest: bytes, now: float) -> None:
    store.connection.execute(
        "INSERT INTO doubt(node, digest, looked, since) VALUES (?1,?2,?3,?3) "
        "ON CONFLICT(node) DO UPDATE SET digest=?2, looked=?3",
        (node, digest, now),
    )


def _seen(store: FolderStore, row: NodeRow, now: float) -> None:
    store.connection.execute("UPDATE node SET l_seen=? WHERE id=?", (int(now * 1e9), row.id))


def _to_be_healed(store: FolderStore, row: NodeRow, read: Read, now: float) -> None:
    hashed, source = read.hashed, source_of(SourceKind.NODE, row.id)
    blocks.drop(store.connection, [(source, packed_on_disk(store.connection, row))])
    row.l_listed, row.l_cls = int(hashed.listed), int(hashed.cut_class)
    row.l_blocks = rows.listed_blocks(hashed.digest(), hashed.payload) if hashed.listed else hashed.payload
    row.pending = PENDING
    rows.write(store.connection, [row])
    blocks.add(store.connection, [(source, hashed.packed)])
    keep_parts(store.connection, hashed.parts)
    store.connection.execute(
        "INSERT INTO rot(node, path, found, size) VALUES (?,?,?,?)", (row.id, b"/".join(read.due.path), now, row.l_size)
    )


def db_next_due(store: FolderStore, oldest: float | None) -> float:
    """When `db_due` has something, in unix seconds, as long as no row changes; infinity for never. `oldest`: what
    `db_oldest_reading` says."""
    (looked,) = store.connection.execute("SELECT min(looked) FROM doubt").fetchone()
    return min(inf if oldest is None else oldest + EVERY_S, inf if looked is None else looked + AGAIN_S)


def db_oldest_reading(store: FolderStore) -> float | None:
    """When the file that was read longest ago was read; None without files."""
    (oldest,) = store.connection.execute("SELECT min(l_seen) FROM node WHERE l_kind=1 AND l_kind<>0").fetchone()
    return None if oldest is None else oldest / 1e9
