"""Blocking. The row of a node as an object, read and written many at a time.

The columns are those of `store.schema`; `NodeRow` exists only while a batch is worked on, so memory follows the batch
and not the folder.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import TypeVar

from ca.values import dataclass
from syncd.model.cutter import CutClass
from syncd.model.ids import NodeId
from syncd.model.lists import BlockList
from syncd.model.records import Content, ContentKind

T = TypeVar("T")

CHUNK = 400
"""Values per IN (...): below SQLite's smallest limit on variables."""

NONE, FILE, DIR, SYMLINK, DELETED = 0, 1, 2, 3, 4
"""Kinds as stored, the first three as `treetypes.Kind` has them; NONE: no content is known."""

ROOT_ROW = 1
PARKED_ROW = 0
"""Stands in `l_parent` for `.syncd/parked`; the name there is the token."""

_KINDS = {
    ContentKind.FILE: FILE,
    ContentKind.DIRECTORY: DIR,
    ContentKind.SYMLINK: SYMLINK,
    ContentKind.DELETED: DELETED,
}
_DIGEST_BYTES = 32


def prefix(value: bytes) -> int:
    """The first 8 bytes as SQLite's signed integer: what is indexed instead of the whole hash."""
    return int.from_bytes(value[:8], "big", signed=True)


@dataclass(slots=True)
class NodeRow:
    """One row of `node`. Global without prefix, Local `l_`, Synced `s_`."""

    id: int
    nid: NodeId
    p_cs: int | None = None
    p_idx: int | None = None
    parent: int | None = None
    name: bytes | None = None
    c_cs: int | None = None
    c_idx: int | None = None
    kind: int = NONE
    cls: int | None = None
    size: int | None = None
    listed: int | None = None
    blocks: bytes | None = None
    heads: int = 0
    a_cs: int | None = None
    a_idx: int | None = None
    mode: int | None = None
    mtime: int | None = None
    xattrs: bytes | None = None
    l_parent: int | None = None
    l_name: bytes | None = None
    l_kind: int = NONE
    l_ino: int | None = None
    l_size: int | None = None
    l_mtime: int | None = None
    l_ctime: int | None = None
    l_mode: int | None = None
    l_xattrs: bytes | None = None
    l_seen: int | None = None
    l_listed: int | None = None
    l_cls: int | None = None
    l_blocks: bytes | None = None
    s_ccs: int | None = None
    s_cidx: int | None = None
    s_pcs: int | None = None
    s_pidx: int | None = None
    s_acs: int | None = None
    s_aidx: int | None = None
    pending: int = 0

    @property
    def alive(self) -> bool:
        """Has content that is not a deletion (a directory may live for its children besides)."""
        return self.kind in (FILE, DIR, SYMLINK)

    @property
    def on_disk(self) -> bool:
        return self.l_kind != NONE

    def disk_blocks(self) -> bytes | None:
        """Entries, or link target, of what stands on the disk; None where it is not known."""
        return self.blocks if self.l_blocks is None else self.l_blocks

    def keep_disk_blocks(self) -> None:
        """Call before `blocks` changes: what the disk holds must not change with it."""
        if self.on_disk and self.l_blocks is None:
            self.l_blocks, self.l_listed, self.l_cls = self.blocks, self.listed, self.cls

    def leave_disk(self) -> None:
        """Forget that it stands on the disk."""
        self.l_parent = self.l_name = self.l_ino = self.l_size = self.l_mtime = None
        self.l_ctime = self.l_mode = self.l_xattrs = self.l_seen = None
        self.l_listed = self.l_cls = self.l_blocks = None
        self.l_kind = NONE
        self.s_ccs = self.s_cidx = self.s_pcs = self.s_pidx = self.s_acs = self.s_aidx = None


COLUMNS = tuple(field.name for field in fields(NodeRow))
SELECT = "SELECT " + ",".join(COLUMNS) + " FROM node "
_WRITE = f"INSERT OR REPLACE INTO node(nk,{','.join(COLUMNS)}) VALUES (?,{','.join('?' * len(COLUMNS))})"

_INSERT = _WRITE.replace(" OR REPLACE", "")

_DISK_FROM = 1 + COLUMNS.index("l_parent")  # among the values of a row, nk comes first
_WRITE_DISK = f"UPDATE node SET {','.join(f'{column}=?' for column in COLUMNS[_DISK_FROM - 1 :])} WHERE id=?"


def read(connection: sqlite3.Connection, where: str, arguments: Sequence[object] = ()) -> list[NodeRow]:
    """Rows by an SQL tail such as `WHERE parent=?`."""
    return [NodeRow(*row) for row in connection.execute(SELECT + where, arguments)]


def is_pending(connection: sqlite3.Connection) -> bool:
    """Whether any row waits for the planner."""
    return connection.execute("SELECT 1 FROM node WHERE pending=1 AND pending<>0 LIMIT 1").fetchone() is not None


def read_ids(connection: sqlite3.Connection, ids: Iterable[int]) -> dict[int, NodeRow]:
    """Rows by id; ids that do not exist are missing from the answer."""
    found: dict[int, NodeRow] = {}
    for part in chunks(list(ids)):
        for row in read(connection, f"WHERE id IN ({marks(part)})", part):
            found[row.id] = row
    return found


def read_nids(connection: sqlite3.Connection, nids: Iterable[NodeId]) -> dict[NodeId, NodeRow]:
    """Rows by node id; unknown ones are missing from the answer."""
    wanted = list(dict.fromkeys(nids))
    known = set(wanted)
    found: dict[NodeId, NodeRow] = {}
    for part in chunks([prefix(nid) for nid in wanted]):
        for row in read(connection, f"WHERE nk IN ({marks(part)})", part):
            if row.nid in known:
                found[row.nid] = row
    return found


def pending_of(connection: sqlite3.Connection, ids: Sequence[int]) -> set[int]:
    """Of these rows, those that wait for the planner."""
    found: set[int] = set()
    for part in chunks(ids):
        query = f"SELECT id FROM node WHERE pending=1 AND id IN ({marks(part)})"
        found.update(row for (row,) in connection.execute(query, part))
    return found


def waiting_for(connection: sqlite3.Connection, ids: Iterable[int]) -> dict[int, tuple[int | None, int | None]]:
    """Of these rows, those that wait for the planner, each with its content: changeset and index."""
    found: dict[int, tuple[int | None, int | None]] = {}
    for part in chunks(list(ids)):
        query = f"SELECT id, c_cs, c_idx FROM node WHERE pending=1 AND id IN ({marks(part)})"
        found.update((id_, (cs, index)) for id_, cs, index in connection.execute(query, part))
    return found


def write(connection: sqlite3.Connection, rows: Iterable[NodeRow]) -> None:
    """Insert or replace whole rows."""
    connection.executemany(_WRITE, [_values(row) for row in rows])


def insert(connection: sqlite3.Connection, values: Sequence[tuple[object, ...]]) -> None:
    """Insert rows that are new, as `_values` would give them."""
    connection.executemany(_INSERT, values)


def write_disk(connection: sqlite3.Connection, rows: Iterable[NodeRow]) -> None:
    """Of rows that exist, write what they say of this disk: Local, Synced and pending."""
    connection.executemany(_WRITE_DISK, [(*_values(row)[_DISK_FROM:], row.id) for row in rows])


def _values(row: NodeRow) -> tuple[object, ...]:
    return (
        prefix(row.nid), row.id, row.nid, row.p_cs, row.p_idx, row.parent, row.name, row.c_cs, row.c_idx, row.kind,
        row.cls, row.size, row.listed, row.blocks, row.heads, row.a_cs, row.a_idx, row.mode, row.mtime, row.xattrs,
        row.l_parent, row.l_name, row.l_kind, row.l_ino, row.l_size, row.l_mtime, row.l_ctime, row.l_mode,
        row.l_xattrs, row.l_seen, row.l_listed, row.l_cls, row.l_blocks,
        row.s_ccs, row.s_cidx, row.s_pcs, row.s_pidx, row.s_acs, row.s_aidx, row.pending,
    )  # fmt: skip


def chunks(values: Sequence[T]) -> Iterable[Sequence[T]]:
    """Pieces small enough for one IN (...)."""
    return (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))


def marks(part: Sequence[object]) -> str:
    return ",".join("?" * len(part))


# --- content
# -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Value:
    """A content as columns. `blocks`: packed entries; digest and packed entries of the parts if `listed`; a link's
    target."""

    kind: int
    cls: int
    size: int
    listed: int
    blocks: bytes

    def same_as(self, kind: int, size: int | None, listed: int | None, blocks: bytes | None) -> bool:
        """Whether both are the same bytes, in whatever epoch their blocks were encrypted."""
        return (
            self.kind == kind
            and self.size == (size or 0)
            and same_blocks(kind, self.listed, self.blocks, listed, blocks)
        )


def same_blocks(
    kind: int, listed: int | None, blocks: bytes | None, other_listed: int | None, other: bytes | None
) -> bool:
    """Whether two `blocks` columns of one kind name the same bytes."""
    if blocks == other:
        return True
    if blocks is None or other is None or bool(listed) != bool(other_listed) or kind != FILE:
        return False
    if listed:
        return blocks[:_DIGEST_BYTES] == other[:_DIGEST_BYTES]
    return len(blocks) == len(other) and BlockList(blocks).pids() == BlockList(other).pids()


def identity(kind: int, listed: int | None, blocks: bytes | None) -> tuple[int, bool, bytes]:
    """Equal for equal bytes: what `Content.identity` is for columns."""
    if kind == FILE and blocks and not listed:
        return kind, False, b"".join(BlockList(blocks).pids())
    if kind == FILE and blocks:
        return kind, True, blocks[:_DIGEST_BYTES]
    return kind, False, (blocks or b"") if kind == SYMLINK else b""


def value_of(content: Content) -> Value:
    """The columns of a content."""
    kind = _KINDS[content.kind]
    if kind == SYMLINK:
        return Value(kind, 0, len(content.target), 0, content.target)
    if content.is_index:
        return Value(kind, int(content.cut_class), content.size, 1, content.digest + content.blocks)
    return Value(kind, int(content.cut_class), content.size, 0, content.blocks)


def parts_of(blocks: bytes) -> bytes:
    """The packed entries of the parts, from the `blocks` column of a listed file."""
    return blocks[_DIGEST_BYTES:]


def listed_blocks(digest: bytes, parts: bytes) -> bytes:
    """The `blocks` column of a listed file."""
    return digest + parts


def digest_of(blocks: bytes) -> bytes:
    """The digest of the whole list, from the `blocks` column of a listed file."""
    return blocks[:_DIGEST_BYTES]


def class_of(cls: int | None) -> CutClass | None:
    return None if cls is None else CutClass(cls)
