"""Blocking. By which names the blocks of a file are noted that stands here as Global has it.

Under the key of another epoch the same bytes have other public names: who had a file before a join, or wrote the same
as somebody else, read it under names by which nobody will ask. From then on that it is as Global has it, Global's names
count. Of a long list they are in parts that are blocks themselves, and may not be here, as nothing of the file was
fetched. Until they have come the row keeps its own names (`l_blocks`), by which its bytes are found again on this disk,
and this disk can give none of it to others.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from ca.errors import RemoteProtocolError
from ca.values import dataclass
from syncd.model.lists import BlockList, Entry, join_parts_untrusted
from syncd.store import blocks, rows
from syncd.store.blocks import SourceKind, source_of
from syncd.store.contents import packed_on_disk, part_plain
from syncd.store.db import Transaction
from syncd.store.rows import FILE, NodeRow

AT_ONCE = 64
PARTS_AT_ONCE = 4096
"""Of which one page is told, unless a single file lacks more."""

_QUERY = (
    "SELECT id FROM node INDEXED BY node_unlisted WHERE listed=1 AND l_blocks IS NOT NULL AND pending=0 AND id>? "
    "ORDER BY id LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A file that has not got its names. `lacking`: the parts of its list that have to come first."""

    row: int
    lacking: tuple[Entry, ...]


def take_names(connection: sqlite3.Connection, row: NodeRow) -> bool:
    """From here on the blocks of what stands there, which is what Global has, are those that Global names.

    False, and all stays as it is, where parts of its list are not here. Inside a transaction; the caller writes the
    row.
    """
    if row.l_kind == FILE and row.l_blocks is not None and row.l_blocks != row.blocks:
        packed = _packed(connection, row)
        if packed is None:
            return False
        source = source_of(SourceKind.NODE, row.id)
        blocks.drop(connection, [(source, packed_on_disk(connection, row))])
        blocks.add(connection, [(source, packed)])
    row.l_blocks = row.l_listed = row.l_cls = None
    return True


def db_unlisted(connection: sqlite3.Connection, after: int) -> tuple[list[Unlisted], int | None]:
    """Files behind that row that have not got their names, and behind which row there may be more."""
    ids = [row for (row,) in connection.execute(_QUERY, (after, AT_ONCE))]
    found = rows.read_ids(connection, ids)
    unlisted: list[Unlisted] = []
    parts = 0
    for row in (found[one] for one in ids):
        if parts >= PARTS_AT_ONCE:
            return unlisted, unlisted[-1].row
        if _is_like_global(row):
            unlisted.append(Unlisted(row.id, tuple(_lacking(connection, row))))
            parts += len(unlisted[-1].lacking)
    return unlisted, ids[-1] if len(ids) == AT_ONCE else None


def db_take_names(connection: sqlite3.Connection, ids: Iterable[int]) -> int:
    """Those of these files whose lists are here by now get their names; how many."""
    with Transaction(connection):
        found = rows.read_ids(connection, ids).values()
        taken = [row for row in found if not row.pending and _is_like_global(row) and take_names(connection, row)]
        rows.write_disk(connection, taken)
    return len(taken)


def _is_like_global(row: NodeRow) -> bool:
    return row.l_kind == FILE and row.kind == FILE and (row.s_ccs, row.s_cidx) == (row.c_cs, row.c_idx)


def _packed(connection: sqlite3.Connection, row: NodeRow) -> bytes | None:
    """Packed entries of its blocks as Global names them; None if parts of the list are not here, or are not the list
    that the record names."""
    blocks_ = row.blocks or b""
    if not row.listed:
        return blocks_
    plains = [part_plain(connection, entry.cid) for entry in BlockList(rows.parts_of(blocks_))]
    parts = [plain for plain in plains if plain is not None]
    if len(parts) < len(plains):
        return None
    try:
        return join_parts_untrusted(parts, row.size or 0, rows.digest_of(blocks_)).packed
    except RemoteProtocolError:
        return None


def _lacking(connection: sqlite3.Connection, row: NodeRow) -> Iterable[Entry]:
    for entry in BlockList(rows.parts_of(row.blocks or b"")):
        if part_plain(connection, entry.cid) is None:
            yield entry
