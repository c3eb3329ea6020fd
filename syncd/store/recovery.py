"""Blocking. After a crash, and after a late writer: what lies on the disk that no row knows of.

An intent whose staged file is gone was carried out, if the bytes at its path are those of its version: then they are
that version and no edit. What lies parked between two names is no deletion. An inode in `.syncd/old` that is not what
it was when it went there holds a local edit; it is published as one, beside the version that took its place, and
nobody's bytes are lost: nothing leaves `.syncd/old` whose bytes were not compared in that very moment.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

from ca.values import dataclass
from syncd.model.cipher import MAX_BLOCK_BYTES, BlockKind
from syncd.model.ids import VersionId
from syncd.model.lists import BlockList
from syncd.model.records import Content, Record, file_of, file_of_parts, symlink_to
from syncd.model.xattrs import pack
from syncd.seams import Reader
from syncd.store import blocks, rows
from syncd.store.apply import Done, held_of
from syncd.store.blocks import SourceKind, source_of
from syncd.store.commit import Committed, Committer
from syncd.store.contents import keep_parts, packed_entries, packed_on_disk
from syncd.store.db import Transaction
from syncd.store.folder import FolderStore
from syncd.store.hashing import Hashed
from syncd.store.joining import ONLY_HERE, PENDING, read_heads
from syncd.store.journal import NoRight
from syncd.store.prepare import Want, What, expected_stat
from syncd.store.rows import FILE, PARKED_ROW, SYMLINK
from syncd.store.scan import tick_of
from syncd.store.survey import Survey
from syncd.treetypes import Kind, NameTaken, NotThere, Path, Replaced, Stat, TreeError

log = logging.getLogger("syncd.folder")

RECHECK_AFTER_S = 60.0
COMPARED, KEPT = 1, 2
"""Values of `old.checked`, after 0: it was still a minute after it went there; it holds bytes that are nowhere else."""


# --- intents ---------------------------------------------------------------------------------------------------------


def db_recover_intents(store: FolderStore, now: float) -> Committed:
    """On start: take note of what was put in place in the moment of the crash, and drop all intents."""
    connection = store.connection
    survey = Survey(connection, store.journal.sources)
    staged = {token for token, _ in store.tree.list_staged()}
    _find_parked(store)
    done = []
    for token, node, cs, idx, what, parent, name in connection.execute(
        "SELECT token, node, cs, idx, what, l_parent, l_name FROM intent"
    ).fetchall():
        row = survey.row(node)
        path = survey.path(parent, name)
        if row is None or path is None:
            continue
        if What(what) is What.REPLACE:
            _drop_second_name(store, path, token.encode())
        if token.encode() in staged:
            continue
        head = next((head for head in read_heads(connection, row) if (head.cs, head.idx) == (cs, idx)), None)
        if head is None:
            continue
        want = Want(
            What(what), node, cs, idx, token.encode(), head.kind, head.size or 0, head.listed or 0, head.blocks or b"",
            head.cls, row.mode or 0o600, row.mtime, parent, name, path, packed=b"",
        )  # fmt: skip
        want.packed = packed_entries(connection, head.kind, head.listed, head.blocks)
        want.xattrs = row.xattrs if head.kind == FILE else None
        outcome = _carried_out(store, want, expected_stat(row) if row.on_disk else None)
        if outcome is not None:
            done.append(Done(want, outcome))
    with Transaction(connection):
        committed = Committer(connection, store.journal.sources, now, tick_of(store.tree)).note(done)
        connection.execute("DELETE FROM intent")
    return committed


def _drop_second_name(store: FolderStore, path: Path, token: bytes) -> None:
    """Where names cannot be exchanged, what is to be replaced has a second one in `.syncd/old` first. If it still
    stands at its own, the crash came then, and nothing was replaced."""
    with suppress(TreeError):  # the disk does not say: then it is kept
        there, old = store.tree.stat(path), store.tree.stat_old(token)
        if there == old and old.nlink > 1 and store.tree.personality().stable_inodes:
            store.tree.drop_old(token)


def _carried_out(store: FolderStore, want: Want, before: Stat | None) -> Stat | Replaced | None:
    try:
        new: Stat | None = store.tree.stat(want.path)
        if new is not None and not _holds(store, want, new):
            new = None
        if new is not None and want.kind == FILE and store.tree.personality().xattrs:
            found = store.tree.xattrs(want.path)
            want.held = held_of(want.xattrs, found)
            want.adds = pack(sorted(found.items())) != want.held
    except TreeError:
        new = None
    if want.what is not What.REPLACE:
        return new
    try:
        old = store.tree.stat_old(want.token)
        if new is None and _old_holds(store, want, old):
            store.tree.drop_old(want.token)  # ours: the crash came before the exchange
            return None
    except TreeError:
        return None
    edited = before is None or not before.same_but_moved(old)
    return Replaced(old, edited, new)


def _holds(store: FolderStore, want: Want, stat: Stat) -> bool:
    """The bytes at the path are those of the version."""
    if want.kind == SYMLINK:
        return stat.kind is Kind.SYMLINK and store.tree.read_link(want.path) == want.blocks
    if stat.kind is not Kind.FILE or stat.size != want.size:
        return False
    return _pids_match(store, store.tree.open_read(want.path), want.packed)


def _old_holds(store: FolderStore, want: Want, stat: Stat) -> bool:
    if want.kind == SYMLINK:
        return stat.kind is Kind.SYMLINK and store.tree.read_old_link(want.token) == want.blocks
    if stat.kind is not Kind.FILE or stat.size != want.size:
        return False
    return _pids_match(store, store.tree.open_old(want.token), want.packed)


def _pids_match(store: FolderStore, reader: Reader, packed: bytes) -> bool:
    """Whether an open file, which is closed here, holds exactly the blocks of packed entries."""
    expected = BlockList(packed)
    cipher = store.keyring.cipher()
    offset = 0
    try:
        if reader.stat().size != expected.size:
            return False
        buffer = memoryview(bytearray(min(MAX_BLOCK_BYTES, max((entry.length for entry in expected), default=0))))
        for entry in expected:
            view = buffer[: entry.length]
            if reader.read_into(offset, view) != entry.length or cipher.pid(BlockKind.DATA, view) != entry.pid:
                return False
            offset += entry.length
    finally:
        reader.close()
    return True


def _find_parked(store: FolderStore) -> None:
    """Whatever lies between two names because of a crash: its row says so, or it becomes visible again."""
    for token, stat in store.tree.list_parked():
        if _is_known_as_parked(store, token) or _found_by_inode(store, token, stat):
            continue
        try:
            store.tree.unpark(token, (token,))
        except NameTaken:
            continue  # it stays where it is, and is tried again at the next start


def _is_known_as_parked(store: FolderStore, token: bytes) -> bool:
    query = (
        "SELECT 1 FROM node WHERE l_parent=?1 AND l_name=?2 AND l_kind<>0 "
        "UNION ALL SELECT 1 FROM copy WHERE l_parent=?1 AND l_name=?2"
    )
    return store.connection.execute(query, (PARKED_ROW, token)).fetchone() is not None


def _found_by_inode(store: FolderStore, token: bytes, stat: Stat) -> bool:
    for table in ("node", "copy"):
        found = store.connection.execute(
            f"SELECT id, l_size, l_mtime FROM {table} WHERE l_ino=? AND l_kind=?", (stat.ino, int(stat.kind))
        ).fetchall()
        for row, size, mtime in found:
            if stat.kind is not Kind.DIR and (size, mtime) != (stat.size, stat.mtime_ns):
                continue
            with Transaction(store.connection):
                store.connection.execute(
                    f"UPDATE {table} SET l_parent=?, l_name=?, l_ctime=? WHERE id=?",
                    (PARKED_ROW, token, stat.ctime_ns, row),
                )
                node = (
                    row
                    if table == "node"
                    else store.connection.execute("SELECT node FROM copy WHERE id=?", (row,)).fetchone()[0]
                )
                store.connection.execute("UPDATE node SET pending=? WHERE id=? AND pending=0", (PENDING, node))
            return True
    return False


# --- old inodes ------------------------------------------------------------------------------------------------------


def db_adopt_old(store: FolderStore, now: float) -> None:
    """What lies in `.syncd/old` without a row, whatever brought it there, gets one and is kept."""
    known = {token.encode() for (token,) in store.connection.execute("SELECT token FROM old")}
    strays = [(token, stat) for token, stat in store.tree.list_old() if token not in known]
    with Transaction(store.connection):
        store.connection.executemany(
            "INSERT INTO old(token, node, name, ino, size, mtime, ctime, since, checked) VALUES (?,0,x'',?,?,?,?,?,?)",
            [(token.decode(), stat.ino, stat.size, stat.mtime_ns, stat.ctime_ns, now, KEPT) for token, stat in strays],
        )


def db_count_nameless(store: FolderStore) -> int:
    """Of how many things in `.syncd/old` nothing is known, as after a database was lost: they are kept until a person
    takes them away."""
    nameless = store.connection.execute("SELECT id, token FROM old WHERE node=0").fetchall()
    if not nameless:
        return 0
    there = {token for token, _ in store.tree.list_old()}
    gone = [(id,) for id, token in nameless if token.encode() not in there]
    with Transaction(store.connection):
        store.connection.executemany("DELETE FROM old WHERE id=?", gone)
    return len(nameless) - len(gone)


@dataclass(frozen=True, slots=True)
class Doubted:
    """An inode in `.syncd/old` that may hold an edit, and what its row said. `known`: as `Late.plain`."""

    id: int
    token: bytes
    node: int
    version: tuple[int, int]
    known: bytes | None


@dataclass(frozen=True, slots=True)
class Late:
    """A content that was found in `.syncd/old`, and the stat from before it was read."""

    stat: Stat
    content: Content
    hashed: Hashed | None = None

    @property
    def plain(self) -> bytes:
        """As `old.blocks` has it: packed entries, or the target of a link."""
        return self.content.target if self.hashed is None else self.hashed.packed

    def is_like(self, known: bytes | None) -> bool:
        """Whether it is no edit, but what lay there all along; `known`: as `plain`."""
        if known is None or self.hashed is None:
            return known == self.plain
        return BlockList(known).pids() == BlockList(self.plain).pids()


def publish_late_edits(store: FolderStore, old_ids: Sequence[int], now_ms: int, unread: set[int] | None = None) -> int:
    """Publish what was written to inodes that had already been replaced or deleted; the number of edits. (`db_`)

    For who waits for nobody: whatever lies there is read in between. `unread`: what the disk does not let be read now
    is noted there."""
    return db_publish_late(store, read_late(store, db_doubted(store, old_ids), unread), now_ms)


def db_doubted(store: FolderStore, old_ids: Sequence[int]) -> list[Doubted]:
    """Those of which it is known what they were; the others stay in `.syncd/old` for good."""
    found: list[Doubted] = []
    for old in old_ids:
        row = store.connection.execute("SELECT token, node, cs, idx, blocks FROM old WHERE id=?", (old,)).fetchone()
        if row is None:
            continue
        token, node, cs, idx, known = row
        if cs is None or not rows.read_ids(store.connection, [node]):
            _keep_for_good(store, old)
        else:
            found.append(Doubted(old, token.encode(), node, (cs, idx), known))
    return found


def read_late(
    store: FolderStore, doubted: Sequence[Doubted], unread: set[int] | None = None
) -> list[tuple[Doubted, Late]]:
    """Read them, every byte. Touches no row: that of a large file takes minutes, in which others are at the rows."""
    found: list[tuple[Doubted, Late]] = []
    for one in doubted:
        try:
            late = _maybe_late(store, one.token)
        except TreeError as error:  # its row goes on saying that it is to be compared
            log.warning("folder %s: %s in .syncd/old: %s", store.keyring.folder.hex()[:8], one.token.decode(), error)
            if unread is not None and not isinstance(error, NotThere):
                unread.add(one.id)
            continue
        if late is not None:
            found.append((one, late))
    return found


def db_publish_late(store: FolderStore, read: Sequence[tuple[Doubted, Late]], now_ms: int) -> int:
    """Publish those that are not what they were; the number of edits.

    What cannot be published, because this device has no right to, stays in `.syncd/old` for good."""
    published = 0
    for one, late in read:
        query = "SELECT blocks FROM old WHERE id=? AND token=?"
        found = store.connection.execute(query, (one.id, one.token.decode())).fetchone()
        row = rows.read_ids(store.connection, [one.node]).get(one.node)
        if found is None or found[0] != one.known or row is None:
            continue  # somebody else has seen to it meanwhile
        if late.is_like(one.known):
            _trust_again(store, one.id, one.known or b"", late)
            continue
        version = store.journal.sources.version(*one.version)
        _leave_place(store, late.stat)
        try:
            _publish(store, one, Record(row.nid, late.content, (VersionId(version),)), late, now_ms)
            published += 1
        except NoRight:
            _keep_for_good(store, one.id)
    return published


def _leave_place(store: FolderStore, stat: Stat) -> None:
    """What is known to stand somewhere else is this very object, which a person has put where we took it away. So what
    stands there now is something else, and whoever changes that has not seen this."""
    if stat.nlink > 1:
        return
    with Transaction(store.connection):
        where, values = "WHERE l_ino=? AND l_kind=? AND pending<>?", (stat.ino, int(stat.kind), ONLY_HERE)
        for row in rows.read(store.connection, where, values):
            source = source_of(SourceKind.NODE, row.id)
            blocks.drop(store.connection, [(source, packed_on_disk(store.connection, row))])
            row.leave_disk()
            row.pending = PENDING
            rows.write(store.connection, [row])


def _trust_again(store: FolderStore, old: int, known: bytes, late: Late) -> None:
    """It was doubted for nothing, and serves its blocks again: they may be in no other place."""
    with Transaction(store.connection):
        if late.hashed is not None:
            source = source_of(SourceKind.OLD, old)
            blocks.drop(store.connection, [(source, known)])  # where the doubt came later than the inode
            blocks.add(store.connection, [(source, known)])
        _note_stat(store, old, late.stat)


def _keep_for_good(store: FolderStore, old: int) -> None:
    store.connection.execute("UPDATE old SET checked=? WHERE id=?", (KEPT, old))


def _maybe_late(store: FolderStore, token: bytes) -> Late | None:
    """What lies there; None for what is neither a file nor a link. Raises TreeError."""
    stat = store.tree.stat_old(token)
    if stat.kind is Kind.SYMLINK:
        return Late(stat, symlink_to(store.tree.read_old_link(token)))
    if stat.kind is not Kind.FILE:
        return None
    reader = store.tree.open_old(token)
    try:
        hashed = store.keyring.hasher().large(reader, stat.size, None, {})
    finally:
        reader.close()
    if hashed.listed:
        return Late(stat, file_of_parts(hashed.cut_class, hashed.size, hashed.payload, hashed.digest()), hashed)
    return Late(stat, file_of(hashed.cut_class, hashed.size, hashed.payload), hashed)


def _publish(store: FolderStore, one: Doubted, record: Record, late: Late, now_ms: int) -> None:
    """What lies there is that version from here on: if the program writes on, the next one replaces it."""
    with Transaction(store.connection):
        if late.hashed is not None:
            blocks.add(store.connection, [(source_of(SourceKind.OLD, one.id), late.hashed.packed)])
            keep_parts(store.connection, late.hashed.parts)
        store.journal.author([record], store.keyring, store.membership, now_ms)
        seq = store.journal.newest_seq()
        store.connection.execute("UPDATE old SET cs=?, idx=0, blocks=? WHERE id=?", (seq, late.plain, one.id))
        _note_stat(store, one.id, late.stat)


def _note_stat(store: FolderStore, old: int, stat: Stat) -> None:
    """`stat` is from before it was read: whoever writes meanwhile is noticed the next time."""
    store.connection.execute(
        "UPDATE old SET ino=?, size=?, mtime=?, ctime=?, checked=0 WHERE id=?",
        (stat.ino, stat.size, stat.mtime_ns, stat.ctime_ns, old),
    )


def db_recheck_old(store: FolderStore, now: float, unread: set[int] | None = None) -> list[int]:
    """Look again at inodes that have been old for a minute: a program may have gone on writing. Those that are not what
    they were.

    None of `unread`, in which is noted what the disk does not let be read now."""
    due = store.connection.execute(
        "SELECT id, token, ino, size, mtime FROM old WHERE checked=0 AND since<=?", (now - RECHECK_AFTER_S,)
    ).fetchall()
    edited: list[int] = []
    quiet: list[int] = []
    for old, token, *noted in due:
        if unread is not None and old in unread:
            continue
        try:
            stat = store.tree.stat_old(token.encode())
        except NotThere:
            quiet.append(old)
        except TreeError:
            if unread is not None:
                unread.add(old)
        else:
            (quiet if [stat.ino, stat.size, stat.mtime_ns] == noted else edited).append(old)
    store.connection.executemany("UPDATE old SET checked=? WHERE id=?", [(COMPARED, old) for old in quiet])
    return edited
