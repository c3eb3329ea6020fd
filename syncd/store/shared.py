"""Blocking. What a share link shows: nodes that are in the folder and in place here, and their contents as the folder
has them. All of it is `db_` but for `read_verified`.

A file is shown with the content that the folder says it has, as soon as every block of that is on this disk. While some
is still on its way it is the content in place here, unless that is an edit which this device alone has. Links in the
tree are never shown, and no path is followed: nodes are found by their rows, from the inside.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ca.digest import digest
from ca.values import dataclass
from syncd.model.ids import NodeId
from syncd.model.lists import ENTRY_BYTES
from syncd.model.paths import Path, show_path
from syncd.model.records import Content, file_of, file_of_parts
from syncd.store import rows
from syncd.store.contents import packed_entries, standing_content
from syncd.store.folder import FolderStore, SourceReader
from syncd.store.joining import IGNORED, ONLY_HERE
from syncd.store.outside import BlockMissing, read_block
from syncd.store.restoring import Placed, db_lacking, db_places
from syncd.store.rows import DIR, FILE, ROOT_ROW, NodeRow

MAX_DEPTH = 1_000

_HERE = f"l_parent=? AND l_kind IN (1,2) AND kind=l_kind AND pending<>{IGNORED}"


@dataclass(frozen=True, slots=True)
class Shared:
    """A file or directory. `size` and `mtime_ns` are those of the content in place here."""

    row: int
    node: NodeId
    name: bytes
    is_directory: bool
    size: int
    mtime_ns: int | None


@dataclass(frozen=True, slots=True)
class Bytes:
    """The content of a file: its blocks, and a name for exactly these bytes."""

    size: int
    packed: bytes
    tag: str


def db_at(store: FolderStore, path: Path) -> Shared | None:
    """What stands at a path of the folder."""
    root = rows.read_ids(store.connection, [ROOT_ROW]).get(ROOT_ROW)
    return None if root is None else _descend(store.connection, root, path)


def db_node(store: FolderStore, node: NodeId, below: Path = ()) -> Shared | None:
    """A node, wherever it stands now, or what is at a path below it; None if it is gone, or not in place here."""
    row = rows.read_nids(store.connection, [node]).get(node)
    if row is None or not _is_reached(store.connection, row):
        return None
    return _descend(store.connection, row, below)


def db_inside(store: FolderStore, directory: Shared, after: bytes, most: int) -> list[Shared]:
    """Files and directories in a directory with names above `after`, in the order of their bytes."""
    where = f"WHERE {_HERE} AND l_name>? ORDER BY l_name LIMIT ?"
    return [_shared(row) for row in rows.read(store.connection, where, (directory.row, after, most))]


def db_bytes(store: FolderStore, file: Shared) -> Bytes | None:
    """The content of a file, if all of it is on this disk."""
    row = rows.read_ids(store.connection, [file.row]).get(file.row)
    if row is None or row.kind != FILE or row.l_kind != FILE:
        return None
    for content in _contents(row):
        value = rows.value_of(content)
        packed = packed_entries(store.connection, FILE, value.listed, value.blocks)
        if (packed or not content.size) and (not row.pending or not db_lacking(store, [content])[0]):
            tag = digest("share link content", b"%d %d " % (value.cls, value.size) + value.blocks)
            return Bytes(content.size, packed, tag.hex()[:32])
    return None


def db_placed(store: FolderStore, packed: bytes, first: int, count: int) -> list[Placed]:
    """Some blocks of a content, from number `first` on, with the places where they lie."""
    return db_places(store, packed[first * ENTRY_BYTES : (first + count) * ENTRY_BYTES])


def read_verified(path: Path, placed: Sequence[Placed], reader: SourceReader) -> bytearray:
    """The plaintext of some blocks in a row, each compared with its hash. Raises BlockMissing."""
    whole = bytearray(sum(entry.length for entry, _ in placed))
    at = 0
    with memoryview(whole) as view:
        for entry, places in placed:
            with view[at : at + entry.length] as piece:
                read_block(path, entry, places, reader, piece)
            at += entry.length
    return whole


def _contents(row: NodeRow) -> list[Content]:
    """What may be shown of a file, the best first."""
    cut_class = rows.class_of(row.cls)
    found: list[Content] = []
    if cut_class is not None and row.blocks is not None:
        if row.listed:
            found.append(file_of_parts(cut_class, row.size or 0, rows.parts_of(row.blocks), rows.digest_of(row.blocks)))
        else:
            found.append(file_of(cut_class, row.size or 0, row.blocks))
    standing = standing_content(row)
    if standing is not None and row.pending != ONLY_HERE and standing not in found:
        found.append(standing)
    return found


def _descend(connection: sqlite3.Connection, row: NodeRow, path: Path) -> Shared | None:
    for name in path:
        found = rows.read(connection, f"WHERE {_HERE} AND l_name=? LIMIT 1", (row.id, name))
        if row.kind != DIR or not found:
            return None
        row = found[0]
    return _shared(row)


def _is_reached(connection: sqlite3.Connection, row: NodeRow) -> bool:
    """Whether a row is in place here, and every directory above it as well."""
    for _ in range(MAX_DEPTH):
        if row.id == ROOT_ROW:
            return True
        if row.kind not in (FILE, DIR) or row.kind != row.l_kind or row.l_parent is None or row.pending == IGNORED:
            return False
        above = rows.read_ids(connection, [row.l_parent]).get(row.l_parent)
        if above is None or above.l_kind != DIR:
            return False
        row = above
    return False


def _shared(row: NodeRow) -> Shared:
    is_directory = row.kind == DIR
    size = 0 if is_directory else row.size or 0
    return Shared(row.id, row.nid, row.l_name or b"", is_directory, size, row.l_mtime)


def db_path(store: FolderStore, node: NodeId) -> Path | None:
    """Where a node stands here now; None if it is gone, or not in place here."""
    row = rows.read_nids(store.connection, [node]).get(node)
    if row is None or not _is_reached(store.connection, row):
        return None
    names: list[bytes] = []
    while row.id != ROOT_ROW:
        names.append(row.l_name or b"")
        row = rows.read_ids(store.connection, [row.l_parent or ROOT_ROW])[row.l_parent or ROOT_ROW]
    return tuple(reversed(names))


def not_whole(path: Path) -> BlockMissing:
    """A file in a shared directory cannot be given out now."""
    return BlockMissing(f"{show_path(path)} is not whole on this disk", id="SY-HIST-04")
