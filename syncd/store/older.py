"""Blocking. Whether the directory of a folder is an older state of it, or a copy, and what is made of one. All `db_`.

A folder restored from a backup, a disk of last year that is plugged in again, a copy that was broken off: all have our
marker, and lack what came since. Nobody deleted that, nor went back to what is in them. So `.syncd/seen` has a number
that grows, and the rows know it, and which file says it. A look at everything that finds a lower number, or the same in
another file, takes nothing that is missing for deleted, and nothing that has another inode for moved; a file that holds
what it held in an earlier version is brought forward, and one that holds what no version did stands beside the known.

A higher number is that of a directory that the rows do not know yet: the home is older, and its journal finds that out
by what others have of it. Where there are no others nobody could bring anything back, and the directory is what counts.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from syncd.model.ids import INCARNATION_BYTES
from syncd.store import blocks, rows
from syncd.store.blocks import SourceKind, source_of
from syncd.store.contents import disk_value, keep_parts, packed_on_disk
from syncd.store.db import Transaction
from syncd.store.draft import Examined, columns_of, content_of, older_xattrs
from syncd.store.folder import FolderStore
from syncd.store.joining import ONLY_HERE, PENDING
from syncd.store.keyring import EpochKeyMissing
from syncd.store.marker import LAST_NUMBER
from syncd.store.past import Past
from syncd.store.rows import NodeRow, value_of
from syncd.store.scan import Action
from syncd.treetypes import Seen, TreeError

_FORM = struct.Struct(f">Q{INCARNATION_BYTES}sQQQ")  # number, journal, inode, generation, newest changeset
_KEY = "seen"
_LASTING = frozenset(("ext4", "xfs", "btrfs", "f2fs", "zfs", "tmpfs"))
"""Disks on which a file is known by its inode after it was mounted anew. Of others the number alone counts."""


def db_is_older(store: FolderStore) -> bool:
    """Whether what stands here is not what the rows were written for. Raises TreeError."""
    known = _known(store)
    if known is None or not store.others:
        return False
    before, _ = known
    found = store.tree.read_seen()
    if store.unwritten == (store.tree.opened(), found):
        return False
    if found is None or found.number < before.number:
        return True
    if found.number > before.number:
        return False
    return not _is_same(store, found, before)


def db_note_seen(store: FolderStore) -> None:
    """All was looked at, and what was found is in the rows. Where nothing has changed since it was noted, nothing is
    written. Raises TreeError.

    The disk says it before the rows: between the two its number is higher, which is nobody's older state. A disk that
    cannot say it (full, read-only) leaves what was looked at an ordinary folder, until the daemon starts again."""
    known, newest = _known(store), store.journal.newest_seq()
    found = store.tree.read_seen()
    if known is not None and found is not None and store.older is None:
        before, until = known
        if until == newest and _is_same(store, found, before):
            return
    number = 1 + max(0 if known is None else known[0].number, 0 if found is None else found.number)
    try:
        now = store.tree.write_seen(number if number <= LAST_NUMBER else 1, store.journal.incarnation)
    except TreeError:
        store.unwritten, store.older = (store.tree.opened(), found), None
        raise
    with Transaction(store.connection):
        value = _FORM.pack(now.number, now.journal, now.ino, now.generation, newest)
        store.connection.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (_KEY, value))
    store.unwritten = store.older = None


def db_bring_forward(store: FolderStore, found: Sequence[Examined]) -> list[Examined]:
    """Note of files and links in an older directory that they hold what they held in an earlier version, which is
    nobody's news: the planner puts the present one in its place. All other findings are left."""
    older = store.older
    if older is None:
        return list(found)
    changed = {
        one.item.known.row: one
        for one in found
        if _is_changed(one) and one.item.known is not None and older.holds(one.item.path)
    }
    taken: set[int] = set()
    with Transaction(store.connection):
        past = Past(store)
        for row in rows.read_ids(store.connection, changed).values():
            if row.id in store.moving or row.pending == ONLY_HERE or row.l_parent is None:
                continue
            examined = changed[row.id]
            version = _maybe_version(past, row, examined)
            if version is not None:
                _note_version(store, row, examined, version)
                taken.add(row.id)
    return [
        one for one in found if not (_is_changed(one) and one.item.known is not None and one.item.known.row in taken)
    ]


def _is_changed(one: Examined) -> bool:
    return one.item.action is Action.CHANGED and one.item.known is not None and not one.item.known.is_copy


def _maybe_version(past: Past, row: NodeRow, examined: Examined) -> tuple[int, int] | None:
    """Which version of it, other than that which it is thought to be, holds what was found."""
    content = content_of(examined)
    if content is None:
        return None
    value = value_of(content)
    which = rows.identity(value.kind, value.listed, value.blocks)
    if which == rows.identity(row.l_kind, *disk_value(row)):
        return None
    try:
        told = past.told([row.id]).get(row.id, [])
    except EpochKeyMissing:
        return None
    for one in reversed(told):
        if one.record.content is not None:
            held = value_of(one.record.content)
            if which == rows.identity(held.kind, held.listed, held.blocks):
                return one.seq, one.index
    return None


def _note_version(store: FolderStore, row: NodeRow, examined: Examined, version: tuple[int, int]) -> None:
    content = content_of(examined)
    assert content is not None
    value, connection = value_of(content), store.connection
    blocks.drop(connection, [(source_of(SourceKind.NODE, row.id), packed_on_disk(connection, row))])
    row.l_blocks, row.l_listed, row.l_cls, row.l_kind = value.blocks, value.listed, value.cls, value.kind
    row.l_ino, row.l_size, row.l_mtime, row.l_ctime, row.l_mode = columns_of(examined.stat)
    row.l_seen, row.l_xattrs = examined.seen_ns, older_xattrs(examined, row)
    row.s_ccs, row.s_cidx = version
    row.s_acs = row.s_aidx = None
    row.pending = PENDING
    rows.write(connection, [row])
    if examined.hashed is not None:
        blocks.add(connection, [(source_of(SourceKind.NODE, row.id), examined.hashed.packed)])
        keep_parts(connection, examined.hashed.parts)


def _is_same(store: FolderStore, one: Seen, other: Seen) -> bool:
    return one == other if store.tree.personality().name in _LASTING else one[:2] == other[:2]


def _known(store: FolderStore) -> tuple[Seen, int] | None:
    found = store.connection.execute("SELECT value FROM meta WHERE key=?", (_KEY,)).fetchone()
    if found is None:
        return None
    *seen, newest = _FORM.unpack(found[0])
    return Seen(*seen), newest
