"""Blocking. A folder of a million files in the database of a computer that is not running, without the files.

The rows are written by the store's own writer, as a scan would have left them. The disk is taken away, so the daemon
keeps what it knows and touches nothing: as when an external disk with a large folder is not plugged in.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from syncd.model.cutter import CutClass
from syncd.model.ids import NodeId
from syncd.store import rows
from syncd.store.rows import DIR, FILE, ROOT_ROW, NodeRow

DIRECTORIES, FILES_EACH = 1000, 1000
MODE, MTIME_NS = 0o644, 1_700_000_000_000_000_000
BATCH = 5000
SOURCE = 1
"""The first changeset of the folder: every row says it came with that one."""


def fill(home: Path) -> int:
    """Write the rows into the one folder database of a home; how many files there are now."""
    (file,) = home.glob("folder-*.db")
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        (first,) = connection.execute("SELECT max(id) + 1 FROM node").fetchone()
        batch: list[NodeRow] = []
        connection.execute("BEGIN")
        for row in _rows(first):
            batch.append(row)
            if len(batch) == BATCH:
                rows.write(connection, batch)
                batch.clear()
        rows.write(connection, batch)
        connection.execute("COMMIT")
        return int(connection.execute("SELECT count(*) FROM node WHERE l_kind=1").fetchone()[0])
    finally:
        connection.close()


def _rows(first: int) -> Iterator[NodeRow]:
    """Every directory with its files behind it."""
    for directory in range(DIRECTORIES):
        at = first + directory * (FILES_EACH + 1)
        yield _row(at, ROOT_ROW, b"%04d" % directory, DIR, 0)
        for file in range(FILES_EACH):
            yield _row(at + 1 + file, at, b"picture-%04d.jpg" % file, FILE, 2_000_000 + file)


def _row(number: int, parent: int, name: bytes, kind: int, size: int) -> NodeRow:
    """Something that is known to all and stands on this disk."""
    node = hashlib.sha256(b"%d" % number).digest()
    entry = node + node + size.to_bytes(4, "big") + bytes(8) if kind == FILE else None
    return NodeRow(
        number, NodeId(node), p_cs=SOURCE, p_idx=0, parent=parent, name=name, c_cs=SOURCE, c_idx=0, kind=kind,
        cls=int(CutClass.SMALL) if kind == FILE else None, size=size if kind == FILE else None, listed=0, blocks=entry,
        heads=1, a_cs=SOURCE, a_idx=0, mode=MODE, mtime=MTIME_NS, l_parent=parent, l_name=name, l_kind=kind,
        l_ino=number, l_size=size, l_mtime=MTIME_NS, l_ctime=MTIME_NS, l_mode=MODE, l_seen=1, s_ccs=SOURCE, s_cidx=0,
        s_pcs=SOURCE, s_pidx=0, s_acs=SOURCE, s_aidx=0,
    )  # fmt: skip
