"""Blocking. After a crash, and after a late writer: what lies on the disk that no row knows of.

An intent whose staged file is gone was carried out, if the bytes at its path are those of its version: then they are
that version and no edit. An inode in `.syncd/old` that is not what it was when it went there holds a local edit; it is
published as one, beside the version that took its place, and nobody's bytes are lost.
"""

from __future__ import annotations

from collections.abc import Sequence

from syncd.model.cipher import MAX_BLOCK_BYTES, BlockKind
from syncd.model.ids import VersionId
from syncd.model.lists import BlockList
from syncd.model.records import Content, Record, file_of, file_of_parts, symlink_to
from syncd.store import blocks, rows
from syncd.store.apply import Committed, Committer, Done, Want, What, expected_stat
from syncd.store.blocks import SourceKind, source_of
from syncd.store.db import Transaction
from syncd.store.folder import FolderStore
from syncd.store.hashing import Hashed
from syncd.store.joining import read_heads
from syncd.store.publish import keep_parts, packed_entries
from syncd.store.rows import FILE, SYMLINK
from syncd.store.survey import Survey
from syncd.treetypes import Kind, NotThere, Path, Replaced, Stat, TreeError

RECHECK_AFTER_S = 60.0
KEEP_OLD_S = 30 * 86400.0
LOW_SPACE = 0.10
"""Of the disk: below this, old inodes go, the oldest first."""


# --- intents ---------------------------------------------------------------------------------------------------------


def db_recover_intents(store: FolderStore, now: float) -> Committed:
    """On start: take note of what was put in place in the moment of the crash, and drop all intents."""
    connection = store.connection
    survey = Survey(connection, store.journal.sources)
    staged = {token for token, _ in store.tree.list_staged()}
    done = []
    for token, node, cs, idx, what, parent, name in connection.execute(
        "SELECT token, node, cs, idx, what, l_parent, l_name FROM intent"
    ).fetchall():
        row = survey.row(node)
        path = survey.path(parent, name)
        if row is None or path is None or token.encode() in staged:
            continue
        head = next((head for head in read_heads(connection, row) if (head.cs, head.idx) == (cs, idx)), None)
        if head is None:
            continue
        want = Want(
            What(what), node, cs, idx, token.encode(), head.kind, head.size or 0, head.listed or 0, head.blocks or b"",
            head.cls, row.mode or 0o600, row.mtime, parent, name, path, packed=b"",
        )  # fmt: skip
        want.packed = packed_entries(connection, head.kind, head.listed, head.blocks)
        outcome = _carried_out(store, want, expected_stat(row) if row.on_disk else None)
        if outcome is not None:
            done.append(Done(want, outcome))
    with Transaction(connection):
        committed = Committer(connection, store.journal.sources, now).note(done)
        connection.execute("DELETE FROM intent")
    return committed


def _carried_out(store: FolderStore, want: Want, before: Stat | None) -> Stat | Replaced | None:
    try:
        new = store.tree.stat(want.path)
        if not _holds(store, want, new):
            return None
    except TreeError:
        return None
    if want.what is not What.REPLACE:
        return new
    try:
        old = store.tree.stat_old(want.token)
    except NotThere:
        return None
    edited = before is None or not before.same_but_moved(old)
    return Replaced(old, edited, new)


def _holds(store: FolderStore, want: Want, stat: Stat) -> bool:
    """The bytes at the path are those of the version."""
    if want.kind == SYMLINK:
        return stat.kind is Kind.SYMLINK and store.tree.read_link(want.path) == want.blocks
    if stat.kind is not Kind.FILE or stat.size != want.size:
        return False
    if not want.packed:
        return want.size == 0
    return _pids_match(store, want.path, BlockList(want.packed))


def _pids_match(store: FolderStore, path: Path, expected: BlockList) -> bool:

    reader = store.tree.open_read(path)
    buffer = memoryview(bytearray(min(MAX_BLOCK_BYTES, max(entry.length for entry in expected))))
    cipher = store.keyring.cipher()
    offset = 0
    try:
        for entry in expected:
            view = buffer[: entry.length]
            if reader.read_into(offset, view) != entry.length or cipher.pid(BlockKind.DATA, view) != entry.pid:
                return False
            offset += entry.length
    finally:
        reader.close()
    return True


# --- old inodes ------------------------------------------------------------------------------------------------------


def publish_late_edits(store: FolderStore, old_ids: Sequence[int], now_ms: int) -> int:
    """Publish what was written to inodes that had already been replaced or deleted; the number of edits. (`db_`)"""
    published = 0
    for old in old_ids:
        found = store.connection.execute("SELECT token, node, cs, idx FROM old WHERE id=?", (old,)).fetchone()
        if found is None:
            continue
        token, node, cs, idx = found
        row = rows.read_ids(store.connection, [node]).get(node)
        if row is None or cs is None:
            continue
        content, hashed = _old_content(store, token.encode())
        if content is None:
            continue
        version = store.journal.sources.version(cs, idx)
        published += _publish(store, old, Record(row.nid, content, (VersionId(version),)), hashed, now_ms)
    return published


def _old_content(store: FolderStore, token: bytes) -> tuple[Content | None, Hashed | None]:
    try:
        stat = store.tree.stat_old(token)
        if stat.kind is Kind.SYMLINK:
            return symlink_to(store.tree.read_old_link(token)), None
        if stat.kind is not Kind.FILE:
            return None, None
        reader = store.tree.open_old(token)
    except TreeError:
        return None, None
    try:
        hashed = store.keyring.hasher().large(reader, stat.size, None, {})
    finally:
        reader.close()
    if hashed.listed:
        return file_of_parts(hashed.cut_class, hashed.size, hashed.payload, hashed.digest()), hashed
    return file_of(hashed.cut_class, hashed.size, hashed.payload), hashed


def _publish(store: FolderStore, old: int, record: Record, hashed: Hashed | None, now_ms: int) -> int:
    with Transaction(store.connection):
        if hashed is not None:
            blocks.add(store.connection, [(source_of(SourceKind.OLD, old), hashed.packed)])
            keep_parts(store.connection, hashed.parts)
        store.journal.author([record], store.keyring, store.membership, now_ms)
        stat = store.tree.stat_old(_token(store, old))
        store.connection.execute(
            "UPDATE old SET ino=?, size=?, mtime=?, ctime=?, checked=0 WHERE id=?",
            (stat.ino, stat.size, stat.mtime_ns, stat.ctime_ns, old),
        )
    return 1


def _token(store: FolderStore, old: int) -> bytes:
    (token,) = store.connection.execute("SELECT token FROM old WHERE id=?", (old,)).fetchone()
    return bytes(token.encode())


def db_recheck_old(store: FolderStore, now: float, now_ms: int) -> int:
    """Look again at inodes that have been old for a minute: a program may have gone on writing. The number of edits."""
    due = store.connection.execute(
        "SELECT id, token, ino, size, mtime FROM old WHERE checked=0 AND since<=?", (now - RECHECK_AFTER_S,)
    ).fetchall()
    edited: list[int] = []
    quiet: list[int] = []
    for old, token, ino, size, mtime in due:
        try:
            stat = store.tree.stat_old(token.encode())
        except TreeError:
            quiet.append(old)
            continue
        (quiet if (stat.ino, stat.size, stat.mtime_ns) == (ino, size, mtime) else edited).append(old)
    store.connection.executemany("UPDATE old SET checked=1 WHERE id=?", [(old,) for old in quiet])
    return publish_late_edits(store, edited, now_ms)


def db_drop_old(store: FolderStore, now: float) -> int:
    """Let go of what was replaced or deleted more than 30 days ago, or earlier while the disk is short. How many."""
    free, total = store.tree.space()
    dropped = 0
    for old, token, since, packed in store.connection.execute(
        "SELECT id, token, since, blocks FROM old WHERE checked=1 ORDER BY since"
    ).fetchall():
        if since > now - KEEP_OLD_S and free >= LOW_SPACE * total:
            break
        store.tree.drop_old(token.encode())
        with Transaction(store.connection):
            if packed and len(packed) % 76 == 0:
                blocks.drop(store.connection, source_of(SourceKind.OLD, old), packed)
            store.connection.execute("DELETE FROM old WHERE id=?", (old,))
        free, total = store.tree.space()
        dropped += 1
    return dropped


def db_undelete(store: FolderStore, nodes: Sequence[int], now_ms: int) -> int:
    """A person refused a wave of deletions: what stands here is said again, for everybody. How many."""
    with Transaction(store.connection):
        records = []
        for row in rows.read_ids(store.connection, nodes).values():
            content = _standing(store, row)
            if content is not None and row.c_cs is not None and row.c_idx is not None:
                records.append(Record(row.nid, content, (store.journal.sources.version(row.c_cs, row.c_idx),)))
        if records:
            store.journal.author(records, store.keyring, store.membership, now_ms)
        return len(records)


def _standing(store: FolderStore, row: rows.NodeRow) -> Content | None:
    listed = row.listed if row.l_blocks is None else row.l_listed
    value = row.disk_blocks()
    cut_class = rows.class_of(row.cls if row.l_blocks is None else row.l_cls)
    if value is None:
        return None
    if row.l_kind == SYMLINK:
        return symlink_to(value)
    if row.l_kind != FILE or cut_class is None:
        return None
    if listed:
        return file_of_parts(cut_class, row.l_size or 0, rows.parts_of(value), rows.digest_of(value))
    return file_of(cut_class, row.l_size or 0, value)
