"""Blocking. The blocks of what stands on the disk, and of whole files whose list is a list of lists.

A row holds a short block list itself; of a long one it holds the entries of its parts, whose plaintexts are in `list`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from syncd.model.lists import BlockList
from syncd.model.records import Content, file_of, file_of_parts, symlink_to
from syncd.store import rows
from syncd.store.rows import FILE, SYMLINK, NodeRow


def disk_value(row: NodeRow) -> tuple[int | None, bytes | None]:
    """(listed, blocks) of what stands on the disk."""
    return (row.listed, row.blocks) if row.l_blocks is None else (row.l_listed, row.l_blocks)


def packed_on_disk(connection: sqlite3.Connection, row: NodeRow) -> bytes:
    """Packed entries of all blocks of what stands on the disk."""
    listed, on_disk = disk_value(row)
    return packed_entries(connection, row.l_kind, listed, on_disk)


def parts_on_disk(row: NodeRow) -> bytes:
    """Packed entries of the parts of its list, of a file that has a long one."""
    listed, on_disk = disk_value(row)
    return rows.parts_of(on_disk) if row.l_kind == FILE and listed and on_disk is not None else b""


def packed_entries(connection: sqlite3.Connection, kind: int, listed: int | None, blocks_: bytes | None) -> bytes:
    """Packed entries of all blocks of a file, its parts put together; empty for anything else or if a part is
    missing."""
    if kind != FILE or blocks_ is None:
        return b""
    if not listed:
        return blocks_
    parts = []
    for entry in BlockList(rows.parts_of(blocks_)):
        plain = part_plain(connection, entry.cid)
        if plain is None:
            return b""
        parts.append(plain)
    return b"".join(parts)


def part_plain(connection: sqlite3.Connection, cid: bytes) -> bytes | None:
    """The plaintext of a part of a list of lists."""
    found = connection.execute("SELECT entry, plain FROM list WHERE ck=?", (rows.prefix(cid),))
    for entry, plain in found:
        if entry[32:64] == cid:
            return bytes(plain)
    return None


def keep_parts(connection: sqlite3.Connection, parts: Iterable[tuple[bytes, bytes]]) -> None:
    """Keep parts of lists, (entry, plain), that are not kept yet."""
    for entry, plain in parts:
        if part_plain(connection, entry[32:64]) is None:
            connection.execute("INSERT INTO list VALUES (?,?,?)", (rows.prefix(entry[32:40]), entry, plain))


def standing_content(row: NodeRow) -> Content | None:
    """What stands on the disk, as a value of the content register; None where that is not known."""
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
