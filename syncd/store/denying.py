"""Blocking. A person says no to a wave: what waited is undone, and what had passed before it was noticed. All `db_`.

A wave ends in the transaction that undoes it. What is taken from its name for that is written down before: cut off by a
crash, it is put back. What cannot be undone for now, as the disk has errors, goes on waiting:
let go of without that it would be taken for what people wanted, and go to everybody.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Sequence
from typing import Final

from blake3 import blake3

from ca.values import dataclass
from syncd.engine.ransom import looks_disguised
from syncd.errors import SyncdError
from syncd.model.ids import Cid, VersionId
from syncd.model.lists import Entry
from syncd.model.records import Content, Place, Record
from syncd.seams import Tree
from syncd.store import rows, waves
from syncd.store.blocks import SourceKind, source_of
from syncd.store.contents import standing_content
from syncd.store.db import Transaction
from syncd.store.folder import FolderStore
from syncd.store.joining import PENDING
from syncd.store.prepare import StepKind, expected_stat
from syncd.store.recorded import Recorded
from syncd.store.recovery import KEPT
from syncd.store.restoring import db_lacking
from syncd.store.rows import DELETED, FILE, NodeRow
from syncd.store.scan import below
from syncd.store.waves import SCAN_ORIGIN, Held, Passed
from syncd.treetypes import ABSENT, IsADirectory, LocallyChanged, NameTaken, NotAFile, Path, TreeError

_ANOTHER: Final = (*ABSENT, LocallyChanged, IsADirectory, NotAFile)
"""Something else stands there by now: it stays, and is found as what people did."""


@dataclass(frozen=True, slots=True)
class Denied:
    """What became of a no. `stuck`: why some of it goes on waiting. `not_restored`: so many files keep what was written
    over them before the wave was noticed, as nobody has their former contents any more."""

    stuck: list[TreeError]
    not_restored: int


def db_lacking_of(store: FolderStore, held: Held) -> tuple[tuple[Entry, ...], frozenset[bytes]]:
    """Blocks of what a no brings back in the place of other contents, as far as they are nowhere on this disk; which of
    them are parts of lists."""
    connection = store.connection
    passed = waves.db_passed(connection, held.origin, held.since)
    found = rows.read_ids(connection, [one.node for one in passed])
    standing = [(found[one.node], one) for one in passed if one.node in found and found[one.node].kind != DELETED]
    recorded = Recorded(store.db_records)
    former = [_former_content(store, recorded, row, one)[0] for row, one in standing]
    return db_lacking(store, [content for content in former if content is not None], _gone(connection, held))


def _gone(connection: sqlite3.Connection, held: Held) -> set[int]:
    """Sources of blocks whose rows still say what they held before they went or were written over: what waits here."""
    if held.origin != SCAN_ORIGIN:
        return set()
    nodes = waves.nodes_of(connection, held.key)
    return {source_of(SourceKind.NODE, node) for node in (*nodes, *below(connection, nodes)[1])}


def db_deny(store: FolderStore, held: Held, now: float, nowhere: Container[Cid] = ()) -> Denied:
    """Undo a wave as it was shown. `nowhere`: blocks that nobody can be asked for. Raises SyncdError if the wave is
    another one by now or none, and NoRight where this device may not say again what stood here: then all of it goes on
    waiting."""
    connection = store.connection
    if held.origin == SCAN_ORIGIN:
        _announce(store, held, now)
    try:
        with Transaction(connection):
            waves.db_demand_unchanged(connection, held)
            denied = _deny(store, held, now, nowhere)
            connection.execute("DELETE FROM step WHERE what=?", (int(StepKind.SET_ASIDE),))
    except (SyncdError, sqlite3.Error):
        db_put_back(store)
        raise
    return denied


def _deny(store: FolderStore, held: Held, now: float, nowhere: Container[Cid]) -> Denied:
    connection, now_ms = store.connection, int(now * 1000)
    nodes = waves.nodes_of(connection, held.key)
    former, not_restored = _former(store, held, nowhere)
    _author(store, former, now_ms)
    stuck: dict[int, TreeError] = {}
    if held.origin == SCAN_ORIGIN:
        stuck = _undo_here(store, nodes, now)  # last: little is to be brought back if the rows do not take it
    else:
        _author(store, _said_again(store, nodes), now_ms)
    waves.release(connection, held.key, tuple(stuck))
    return Denied(list(stuck.values()), not_restored)


def _announce(store: FolderStore, held: Held, now: float) -> None:
    """Write down what may be set aside, and under which token, before it is."""
    nodes = waves.nodes_of(store.connection, held.key)
    files = rows.read_ids(store.connection, {*nodes, *below(store.connection, nodes)[1]}).values()
    with Transaction(store.connection):
        store.connection.executemany(
            "INSERT INTO step(what, node, token) VALUES (?,?,?)",
            [(int(StepKind.SET_ASIDE), row.id, _token(row, now)) for row in files if row.l_kind == FILE],
        )


def db_put_back(store: FolderStore) -> None:
    """What a no had set aside that never came to its end, as after a crash, is at its name again, and waits with the
    rest of its wave: else a yes would publish it as deleted. Where that name is another's by now, it stays aside.
    Raises TreeError: then it is to be done once more."""
    connection = store.connection
    query = "SELECT node, token FROM step WHERE what=?"
    noted = dict(connection.execute(query, (int(StepKind.SET_ASIDE),)).fetchall())
    if not noted:
        return
    back: set[Path] = set()
    for row in rows.read_ids(connection, noted).values():
        path = waves.path_of(connection, row)
        if path is None:
            continue
        try:
            store.tree.put_back(noted[row.id], path)
        except (*ABSENT, NameTaken):
            continue  # most were never set aside
        back.add(path[:-1])
    store.tree.flush_dirs(sorted(back))
    with Transaction(connection):
        connection.execute("DELETE FROM step WHERE what=?", (int(StepKind.SET_ASIDE),))


def not_undone(errors: Sequence[TreeError]) -> SyncdError:
    """What is said of what `db_deny` left."""
    files = "1 file" if len(errors) == 1 else f"{len(errors):,} files"
    return SyncdError(
        f"{files} of the wave could not be undone, and wait as before",
        id="SY-BRAKE-03",
        why=f"{errors[0].what}{f': {errors[0].why}' if errors[0].why else ''}",
        fix="when the disk is well again: syncd requests, then syncd deny ID once more",
    )


# --- what others did, or had passed ----------------------------------------------------------------------------------


def _former(store: FolderStore, held: Held, nowhere: Container[Cid]) -> tuple[list[Record], int]:
    """Say again, for everybody, the contents of old versions where they are no longer the newest, and the names that
    were disguised since. Not contents that nobody has where others stand in their place: these would be gone as well,
    and nothing would come. What is deleted comes back as soon as somebody brings it. And how many were left so."""
    passed, gone = waves.db_passed(store.connection, held.origin, held.since), _gone(store.connection, held)
    found = rows.read_ids(store.connection, [one.node for one in passed])
    records: list[Record] = []
    recorded, left = Recorded(store.db_records), 0
    for one in passed:
        row = found.get(one.node)
        if row is None:
            continue
        content, replaced = _former_content(store, recorded, row, one)
        if (
            content is not None
            and row.kind != DELETED
            and any(entry.cid in nowhere for entry in db_lacking(store, [content], gone)[0])
        ):
            content, replaced, left = None, (), left + 1
        place, replaced_place = _former_place(store, recorded, row, one)
        if content is not None or place is not None:
            records.append(Record(row.nid, content, replaced, place, replaced_place))
    return records, left


def _former_content(
    store: FolderStore, recorded: Recorded, row: NodeRow, before: Passed
) -> tuple[Content | None, tuple[VersionId, ...]]:
    if row.c_cs is None or row.c_idx is None or (row.c_cs, row.c_idx) == (before.cs, before.idx):
        return None, ()
    return recorded.of(before.cs, before.idx).content, (store.journal.sources.version(row.c_cs, row.c_idx),)


def _former_place(
    store: FolderStore, recorded: Recorded, row: NodeRow, before: Passed
) -> tuple[Place | None, tuple[VersionId, ...]]:
    if before.p_cs is None or before.p_idx is None or row.p_cs is None or row.p_idx is None or row.name is None:
        return None, ()
    place = recorded.of(before.p_cs, before.p_idx).place
    if place is None or not looks_disguised(place.name, row.name):
        return None, ()
    return place, (store.journal.sources.version(row.p_cs, row.p_idx),)


def _said_again(store: FolderStore, nodes: Sequence[int]) -> list[Record]:
    """What others have changed, and waited here, is undone for everybody: what stands here is said again."""
    sources, recorded = store.journal.sources, Recorded(store.db_records)
    records = []
    for row in rows.read_ids(store.connection, nodes).values():
        content: Content | None = standing_content(row)
        if content is not None and row.c_cs is not None and row.c_idx is not None:
            if (row.c_cs, row.c_idx) != (row.s_ccs, row.s_cidx):
                records.append(Record(row.nid, content, (VersionId(sources.version(row.c_cs, row.c_idx)),)))
            else:
                records += _back_to_its_place(store, recorded, row)
    return records


def _back_to_its_place(store: FolderStore, recorded: Recorded, row: NodeRow) -> list[Record]:
    if row.p_cs is None or row.p_idx is None or row.s_pcs is None or row.s_pidx is None:
        return []
    before = recorded.of(row.s_pcs, row.s_pidx).place
    now = VersionId(store.journal.sources.version(row.p_cs, row.p_idx))
    return [] if before is None else [Record(row.nid, place=before, replaces_place=(now,))]


def _author(store: FolderStore, records: Sequence[Record], now_ms: int) -> None:
    if records:
        store.journal.author(records, store.keyring, store.membership, now_ms)


# --- what was done here ----------------------------------------------------------------------------------------------


def _undo_here(store: FolderStore, nodes: Sequence[int], now: float) -> dict[int, TreeError]:
    """What was changed on this disk, and waited, is as if it had not been done: what vanished is fetched again, what
    was written over goes to `.syncd/old` for good and is fetched again, what was renamed is renamed back. The nodes
    that the disk keeps from that."""
    every = {*nodes, *below(store.connection, nodes)[1]}
    undone: list[NodeRow] = []
    stuck: dict[int, TreeError] = {}
    aside: dict[int, Path] = {}
    """Where names went from, by row."""
    for row in rows.read_ids(store.connection, every).values():
        path = waves.path_of(store.connection, row)
        try:
            if path is not None and _is_overwritten(store.tree, row, path) and _set_aside(store, row, path, now):
                aside[row.id] = path[:-1]
            if path is None or not _is_there(store.tree, path, row.l_kind):
                row.leave_disk()
        except TreeError as error:
            stuck[row.id] = error
            continue
        row.pending = PENDING
        undone.append(row)
    try:
        store.tree.flush_dirs(sorted({*aside.values()}))  # before the rows say that these names are free
    except TreeError as error:
        stuck |= dict.fromkeys(aside, error)
    rows.write(store.connection, [row for row in undone if row.id not in stuck])
    return stuck


def _is_there(tree: Tree, path: Path, kind: int) -> bool:
    try:
        return int(tree.stat(path).kind) == kind
    except ABSENT:  # something of another kind may stand there, or above it
        return False


def _is_overwritten(tree: Tree, row: NodeRow, path: Path) -> bool:
    if row.l_kind != FILE:
        return False
    try:
        stat = tree.stat(path)
    except ABSENT:
        return False
    return int(stat.kind) == FILE and not stat.same(expected_stat(row))


def _set_aside(store: FolderStore, row: NodeRow, path: Path, now: float) -> bool:
    """Whether it was what stood there."""
    token = _token(row, now)
    try:
        taken = store.tree.retire(path, token, store.tree.stat(path))
    except _ANOTHER:
        return False
    store.connection.execute(
        "INSERT INTO old(token, node, cs, idx, name, ino, size, mtime, ctime, since, checked) "
        "VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        (
            *(token.decode(), row.id, row.s_ccs, row.s_cidx, path[-1], taken.old.ino, taken.old.size),
            *(taken.old.mtime_ns, taken.old.ctime_ns, now, KEPT),
        ),
    )
    return True


def _token(row: NodeRow, now: float) -> bytes:
    return blake3(b"denied" + row.nid + repr(now).encode()).digest(12).hex().encode()
