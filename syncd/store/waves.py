"""Blocking. Waves of deletions and overwrites on rows: what is about to go, what waits, what has passed and can be
undone. All `db_`.

A node that waits has a row in `held_node`: the scan says nothing about it, and the planner leaves it alone. What passed
shortly before a wave was noticed is noted in `passed` with the version that stood there, so that a no undoes it too.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import field
from enum import Enum
from typing import Generic, TypeVar

from blake3 import blake3

from ca.values import dataclass
from syncd.engine.brake import WINDOW_S
from syncd.engine.ransom import looks_disguised
from syncd.errors import SyncdError
from syncd.model.ids import ChangesetHash, NodeId, VersionId
from syncd.model.records import Content, Place, Record
from syncd.seams import Tree
from syncd.store import approvals, rows
from syncd.store.approvals import IS_APPROVED
from syncd.store.contents import standing_content
from syncd.store.db import Transaction
from syncd.store.folder import FolderStore
from syncd.store.joining import IGNORED, PENDING
from syncd.store.prepare import expected_stat
from syncd.store.recovery import KEPT
from syncd.store.rows import DELETED, FILE, SYMLINK, NodeRow
from syncd.store.scan import Gone, below
from syncd.treetypes import LinkInTheWay, NotADirectory, NotThere, TreeError

Result = TypeVar("Result")

SCAN_ORIGIN = "here"


class Why(Enum):
    """What kind of wave it is, for people."""

    GONE = "gone"
    CHANGED = "changed"
    ENCRYPTED = "encrypted"


@dataclass(frozen=True, slots=True)
class Held:
    """A wave that waits for a person."""

    key: str
    mark: str
    """Another one for any other set of changes: who answers means what was shown."""
    origin: str
    since: float
    files: int
    of_files: int
    why: Why
    passed: int
    """Changes of the same origin that had passed in the ten minutes before."""

    @property
    def id(self) -> str:
        return f"{self.key}-{self.mark}"


@dataclass(slots=True)
class Arriving:
    """What one author is about to do to files on this disk."""

    gone: list[int] = field(default_factory=list)
    units: int = 0
    """Of what is gone: a directory with everything in it is one."""
    overwritten: list[int] = field(default_factory=list)
    disguised: list[int] = field(default_factory=list)

    @property
    def nodes(self) -> list[int]:
        return [*self.gone, *self.overwritten, *self.disguised]


# --- what is about to go ---------------------------------------------------------------------------------------------

_ARRIVING = (
    "SELECT n.id, n.kind, n.l_kind, n.l_name, n.name, n.c_cs, n.c_idx, n.s_ccs, n.s_cidx, ca.device, pa.device, "
    "EXISTS (SELECT 1 FROM node d WHERE d.id=n.l_parent AND d.kind=4 AND d.l_kind=2 AND d.pending=1), "
    f"{IS_APPROVED.format('cc.hash')}, {IS_APPROVED.format('pc.hash')} "
    "FROM node n LEFT JOIN changeset cc ON cc.seq=n.c_cs LEFT JOIN author ca ON ca.id=cc.author "
    "LEFT JOIN changeset pc ON pc.seq=n.p_cs LEFT JOIN author pa ON pa.id=pc.author "
    "WHERE n.pending=1 AND n.pending<>0 AND n.l_kind<>0 AND n.kind<>0 AND n.id NOT IN (SELECT node FROM held_node)"
)


def db_arriving(connection: sqlite3.Connection) -> dict[bytes, Arriving]:
    """What Global has decided and this disk has not seen yet, as far as it takes something away and nobody has approved
    it, by author."""
    found: dict[bytes, Arriving] = {}
    for (
        id_,
        kind,
        l_kind,
        l_name,
        name,
        *versions,
        author,
        mover,
        is_below_gone,
        may_go,
        may_move,
    ) in connection.execute(_ARRIVING):
        c_cs, c_idx, s_ccs, s_cidx = versions
        if may_go:
            author = None
        if may_move:
            mover = None
        if kind == DELETED and author is not None:
            arriving = found.setdefault(bytes(author), Arriving())
            arriving.units += not is_below_gone
            if l_kind in (FILE, SYMLINK):
                arriving.gone.append(id_)
            continue
        if l_kind not in (FILE, SYMLINK):
            continue
        if author is not None and (c_cs, c_idx) != (s_ccs, s_cidx):  # whatever becomes of it: a file, a link, ...
            found.setdefault(bytes(author), Arriving()).overwritten.append(id_)
        elif mover is None or kind != FILE or l_kind != FILE:
            continue
        elif name is not None and l_name != name and looks_disguised(l_name, name):
            found.setdefault(bytes(mover), Arriving()).disguised.append(id_)
    return found


def db_vanished(connection: sqlite3.Connection, gone: Sequence[Gone], moving: Container[int]) -> list[Gone]:
    """Of names that a scan missed, those that somebody here removed: not what was deleted elsewhere and is removed here
    because of that, in this moment (`moving`) or since the scan; and not what waits already."""
    found = rows.read_ids(connection, {one.known.row for one in gone})
    held = db_held_nodes(connection)

    def is_unasked(one: Gone) -> bool:
        row = found.get(one.known.row)
        if row is None or row.id in moving or row.kind == DELETED or row.pending == IGNORED or one.is_left_out:
            return False
        return one.known.is_copy or (row.on_disk and row.id not in held)

    return [one for one in gone if is_unasked(one)]


def db_files_below(connection: sqlite3.Connection, directories: Sequence[int]) -> list[int]:
    """Files and links that stand on the disk inside some directories."""
    found = rows.read_ids(connection, below(connection, directories)[1])
    return [row.id for row in found.values() if row.l_kind in (FILE, SYMLINK)]


def db_newest_row(connection: sqlite3.Connection) -> int:
    """The number of the youngest node."""
    (newest,) = connection.execute("SELECT coalesce(max(id),0) FROM node").fetchone()
    return int(newest)


# --- what waits ------------------------------------------------------------------------------------------------------


def db_hold(
    connection: sqlite3.Connection, wave: str, origin: str, why: Why, nodes: Iterable[int], now: float, of_files: int
) -> None:
    """Let nodes wait. A wave that waits already grows by them."""
    with Transaction(connection):
        connection.executemany("INSERT OR IGNORE INTO held_node VALUES (?,?)", [(node, wave) for node in nodes])
        (files,) = connection.execute(
            "SELECT count(*) FROM held_node h JOIN node n ON n.id=h.node WHERE h.wave=? AND n.l_kind IN (1,3)", (wave,)
        ).fetchone()
        connection.execute(
            "INSERT INTO held(id, origin, since, files, state, detail, why) VALUES (?,?,?,?,0,?,?) "
            "ON CONFLICT(id) DO UPDATE SET files=excluded.files, why=excluded.why",
            (wave, origin, now, files, of_files, why.value),
        )


def db_hold_moved(connection: sqlite3.Connection, moved: Sequence[tuple[int, NodeId, bytes]]) -> None:
    """Renames that wait: the rows say where they stand by now, (node, directory, name), and nobody else hears of it."""
    parents = rows.read_nids(connection, {parent for _, parent, _ in moved})
    with Transaction(connection):
        connection.executemany(
            "UPDATE node SET l_parent=?, l_name=?, pending=1 WHERE id=?",
            [(parents[parent].id, name, node) for node, parent, name in moved if parent in parents],
        )


def db_held(connection: sqlite3.Connection) -> list[Held]:
    """Waves that wait."""
    found = connection.execute("SELECT id, origin, since, files, detail, why FROM held WHERE state=0 ORDER BY since")
    return [
        Held(
            *(key, _mark(connection, key, since), origin, since, files, int(of), Why(why)),
            len(db_passed(connection, origin, since)),
        )
        for key, origin, since, files, of, why in found.fetchall()
    ]


def _mark(connection: sqlite3.Connection, key: str, since: float) -> str:
    """The moment is known to nobody else, so no author finds another set of the same mark."""
    digest = blake3(f"{key} {since!r}".encode())
    query = (
        "SELECT n.id, n.kind, n.c_cs, n.c_idx, n.p_cs, n.p_idx FROM held_node h JOIN node n ON n.id=h.node "
        "WHERE h.wave=? ORDER BY n.id"
    )
    for row in connection.execute(query, (key,)):
        digest.update(repr(row).encode())
    return digest.hexdigest(4)


def has_changed(held: Held) -> SyncdError:
    """Who answers saw another wave than this one."""
    return SyncdError(
        "the wave has changed since it was shown",
        id="SY-BRAKE-02",
        why=f"it has {held.files:,} files by now",
        fix="look again: syncd requests; then answer with the id that stands there",
    )


def db_demand_unchanged(connection: sqlite3.Connection, held: Held) -> None:
    """Raises SyncdError if a wave is not what it was."""
    for now in db_held(connection):
        if now.key == held.key and now.mark != held.mark:
            raise has_changed(now)


def db_held_nodes(connection: sqlite3.Connection) -> frozenset[int]:
    """Everything that waits."""
    return frozenset(node for (node,) in connection.execute("SELECT node FROM held_node"))


def db_held_paths(connection: sqlite3.Connection, wave: str, most: int) -> list[str]:
    """Names of some of the files of a wave."""
    found = connection.execute(
        "SELECT n.l_name FROM held_node h JOIN node n ON n.id=h.node WHERE h.wave=? AND n.l_name IS NOT NULL "
        "AND n.l_kind IN (1,3) LIMIT ?",
        (wave, most),
    )
    return [os.fsdecode(name) for (name,) in found]


def db_release(connection: sqlite3.Connection, wave: str, let_pass_at: float | None = None) -> list[int]:
    """End a wave; the nodes that it held. `let_pass_at`: what is published of them next is approved as of then."""
    with Transaction(connection):
        nodes = [node for (node,) in connection.execute("SELECT node FROM held_node WHERE wave=?", (wave,))]
        if let_pass_at is not None:
            approvals.let_pass(connection, nodes, let_pass_at)
        connection.execute("DELETE FROM held_node WHERE wave=?", (wave,))
        connection.execute("DELETE FROM held WHERE id=?", (wave,))
        return nodes


_DECIDING = (
    "JOIN node n ON n.id=h.node JOIN changeset c ON c.seq="
    "CASE WHEN n.kind<>4 AND n.c_cs IS n.s_ccs AND n.c_idx IS n.s_cidx THEN n.p_cs ELSE n.c_cs END "
    "JOIN author a ON a.id=c.author"
)
"""The changesets in which stands what is to become of some nodes."""


def db_release_decided(connection: sqlite3.Connection) -> int:
    """Let go of what waits and was approved by somebody who may, wherever that was, and of what somebody else has
    decided anew since then, such as by a no; how many nodes."""
    if connection.execute("SELECT 1 FROM held LIMIT 1").fetchone() is None:
        return 0
    with Transaction(connection):
        freed = connection.execute(
            f"SELECT h.node FROM held w JOIN held_node h ON h.wave=w.id {_DECIDING} "
            f"WHERE w.origin<>'here' AND ({IS_APPROVED.format('c.hash')} OR lower(hex(a.device))<>w.origin)"
        ).fetchall()
        connection.executemany("DELETE FROM held_node WHERE node=?", freed)
        connection.execute(
            "UPDATE held SET files=(SELECT count(*) FROM held_node h JOIN node n ON n.id=h.node "
            "WHERE h.wave=held.id AND n.l_kind IN (1,3)) WHERE origin<>'here'"
        )
        connection.execute("DELETE FROM held WHERE origin<>'here' AND id NOT IN (SELECT wave FROM held_node)")
        return len(freed)


@dataclass(frozen=True, slots=True)
class Look(Generic[Result]):
    """What is about to go. `freed`: so many nodes wait no more. `went_on`: what came of going on at once; None where
    somebody has to be judged first. `is_over`: nothing is pending after that."""

    freed: int
    arriving: Mapping[bytes, Arriving]
    went_on: Result | None
    is_over: bool


def db_arrive(
    connection: sqlite3.Connection, own: bytes, counted: Container[int], go_on: Callable[[], Result]
) -> Look[Result]:
    """Look at what is about to go, and go on at once if nobody but our own device takes anything away that was not
    `counted` before."""
    freed, arriving = db_release_decided(connection), db_arriving(connection)
    others = [node for device, one in arriving.items() if device != own for node in one.nodes]
    is_judged = not freed and all(node in counted for node in others)
    went_on = go_on() if is_judged else None
    return Look(freed, arriving, went_on, is_judged and not rows.is_pending(connection))


def db_let_pass(store: FolderStore, held: Held, now: float) -> tuple[bool, list[int]]:
    """A person approved of a wave as it was shown: whether that is said to everybody, and the nodes that it held.
    Raises SyncdError if the wave is another one by now."""
    connection, is_ours = store.connection, held.origin == SCAN_ORIGIN
    db_demand_unchanged(connection, held)
    is_for_all = db_approve(store, held, int(now * 1000))
    # What is published of our own from here on says itself that it was approved.
    nodes = db_release(connection, held.key, now if is_ours else None)
    if is_ours:
        db_release_moved(connection, nodes)
    return is_for_all, nodes


def db_drop(store: FolderStore, held: Held, now: float) -> None:
    """A person said no to a wave as it was shown. Raises SyncdError if the wave is another one by now."""
    connection, now_ms = store.connection, int(now * 1000)
    db_demand_unchanged(connection, held)
    passed = db_passed(connection, held.origin, held.since)
    nodes = db_release(connection, held.key)
    if held.origin == SCAN_ORIGIN:
        db_undo_here(store, nodes, now)
    else:
        db_undo_arriving(store, nodes, now_ms)
    db_restore(store, passed, now_ms)


def db_approve(store: FolderStore, wave: Held, now_ms: int) -> bool:
    """Say to everybody that a wave may pass, as far as it was published: what waits here, and what had passed here
    already, since others may hold that. False if this device has no right to say so.
    """
    membership, journal = store.membership, store.journal
    device, head = journal.device, membership.head
    if not (membership.may_publish(device, head) and membership.may_delete(device, head)):
        return False
    author = device if wave.origin == SCAN_ORIGIN else bytes.fromhex(wave.origin)
    waiting = "" if wave.origin == SCAN_ORIGIN else wave.key  # of our own nothing is published before it passes
    found = store.connection.execute(
        "WITH h(node) AS (SELECT node FROM held_node WHERE wave=?1 "
        "UNION SELECT node FROM passed WHERE origin=?2 AND at>=?3) "
        f"SELECT DISTINCT c.hash FROM h {_DECIDING} WHERE a.device=?4",
        (waiting, wave.origin, wave.since - WINDOW_S, author),
    )
    deciding = [ChangesetHash(hash_) for (hash_,) in found]
    with Transaction(store.connection):
        journal.approve(deciding, store.keyring, membership, now_ms)
    return True


# --- what has passed -------------------------------------------------------------------------------------------------


def db_pass(connection: sqlite3.Connection, origin: str, nodes: Sequence[int], now: float) -> None:
    """Note the versions that stand on the disk and are about to go: a wave of that origin may still follow."""
    found = rows.read_ids(connection, nodes)
    with Transaction(connection):
        connection.execute("DELETE FROM passed WHERE at<? OR at>?", (now - 2 * WINDOW_S, now))
        connection.executemany(
            "INSERT OR IGNORE INTO passed(node, origin, at, cs, idx, p_cs, p_idx) VALUES (?,?,?,?,?,?,?)",
            [
                (row.id, origin, now, row.s_ccs, row.s_cidx, row.s_pcs, row.s_pidx)
                for row in found.values()
                if row.s_ccs is not None
            ],
        )


@dataclass(frozen=True, slots=True)
class Passed:
    """What stood at a node before something passed that turned out to be part of a wave: content, and place."""

    node: int
    cs: int
    idx: int
    p_cs: int | None = None
    p_idx: int | None = None


def db_passed(connection: sqlite3.Connection, origin: str, before: float) -> list[Passed]:
    """What an origin had changed in the ten minutes before a moment, and after it."""
    query = "SELECT node, cs, idx, p_cs, p_idx FROM passed WHERE origin=? AND at>=? ORDER BY node"
    return [Passed(*row) for row in connection.execute(query, (origin, before - WINDOW_S))]


# --- a person says no ------------------------------------------------------------------------------------------------


def db_restore(store: FolderStore, passed: Sequence[Passed], now_ms: int) -> int:
    """Say again, for everybody, the contents of old versions where they are no longer the newest, and the names that
    were disguised since."""
    found = rows.read_ids(store.connection, [one.node for one in passed])
    records = []
    for one in passed:
        row = found.get(one.node)
        if row is None:
            continue
        content, replaced = _former_content(store, row, one)
        place, left = _former_place(store, row, one)
        if content is not None or place is not None:
            records.append(Record(row.nid, content, replaced, place, left))
    return _author(store, records, now_ms)


def _former_content(store: FolderStore, row: NodeRow, before: Passed) -> tuple[Content | None, tuple[VersionId, ...]]:
    if row.c_cs is None or row.c_idx is None or (row.c_cs, row.c_idx) == (before.cs, before.idx):
        return None, ()
    return store.db_record(before.cs, before.idx).content, (store.journal.sources.version(row.c_cs, row.c_idx),)


def _former_place(store: FolderStore, row: NodeRow, before: Passed) -> tuple[Place | None, tuple[VersionId, ...]]:
    if before.p_cs is None or before.p_idx is None or row.p_cs is None or row.p_idx is None or row.name is None:
        return None, ()
    place = store.db_record(before.p_cs, before.p_idx).place
    if place is None or not looks_disguised(place.name, row.name):
        return None, ()
    return place, (store.journal.sources.version(row.p_cs, row.p_idx),)


def db_undo_here(store: FolderStore, nodes: Sequence[int], now: float) -> None:
    """What was changed on this disk, and waited, is as if it had not been done: what vanished is fetched again, what
    was written over goes to `.syncd/old` for good and is fetched again, what was renamed is renamed back."""
    connection = store.connection
    with Transaction(connection):
        every = {*nodes, *below(connection, nodes)[1]}
        found = list(rows.read_ids(connection, every).values())
        for row in found:
            path = _path(connection, row)
            if row.l_kind == FILE and path is not None and _is_overwritten(store.tree, row, path):
                _set_aside(store, row, path, now)
            if path is None or not _is_there(store.tree, path, row.l_kind):
                row.leave_disk()
            row.pending = PENDING
        rows.write(connection, found)


def db_undo_arriving(store: FolderStore, nodes: Sequence[int], now_ms: int) -> int:
    """What others have changed, and waited here, is undone for everybody: what stands here is said again."""
    connection, sources = store.connection, store.journal.sources
    records = []
    for row in rows.read_ids(connection, nodes).values():
        content: Content | None = standing_content(row)
        if content is not None and row.c_cs is not None and row.c_idx is not None:
            if (row.c_cs, row.c_idx) != (row.s_ccs, row.s_cidx):
                records.append(Record(row.nid, content, (VersionId(sources.version(row.c_cs, row.c_idx)),)))
            else:
                records += _back_to_its_place(store, row)
    return _author(store, records, now_ms)


def db_release_moved(connection: sqlite3.Connection, nodes: Sequence[int]) -> None:
    """A person approved: renames that waited are to be found anew, so the rows forget that they were seen."""
    with Transaction(connection):
        connection.executemany(
            "UPDATE node SET l_parent=parent, l_name=name, pending=0 WHERE id=? AND kind IN (1,3) AND l_kind=kind "
            "AND s_ccs=c_cs AND s_cidx=c_idx AND s_pcs=p_cs AND s_pidx=p_idx AND (l_parent<>parent OR l_name<>name)",
            [(node,) for node in nodes],
        )


def _back_to_its_place(store: FolderStore, row: NodeRow) -> list[Record]:
    if row.p_cs is None or row.p_idx is None or row.s_pcs is None or row.s_pidx is None:
        return []
    before = store.db_record(row.s_pcs, row.s_pidx).place
    now = VersionId(store.journal.sources.version(row.p_cs, row.p_idx))
    return [] if before is None else [Record(row.nid, place=before, replaces_place=(now,))]


def _author(store: FolderStore, records: Sequence[Record], now_ms: int) -> int:
    if records:
        with Transaction(store.connection):
            store.journal.author(records, store.keyring, store.membership, now_ms)
    return len(records)


def _path(connection: sqlite3.Connection, row: NodeRow) -> tuple[bytes, ...] | None:
    parts: list[bytes] = []
    at: NodeRow | None = row
    while at is not None and at.l_name is not None and at.l_parent is not None:
        parts.append(at.l_name)
        if at.l_parent == rows.ROOT_ROW:
            return tuple(reversed(parts))
        at = rows.read_ids(connection, [at.l_parent]).get(at.l_parent)
    return None


def _is_there(tree: Tree, path: tuple[bytes, ...], kind: int) -> bool:
    try:
        return int(tree.stat(path).kind) == kind
    except (NotThere, NotADirectory, LinkInTheWay):  # something of another kind may stand there, or above it
        return False
    except TreeError:
        return True  # what cannot be looked at is left as it is


def _is_overwritten(tree: Tree, row: NodeRow, path: tuple[bytes, ...]) -> bool:
    try:
        stat = tree.stat(path)
    except TreeError:
        return False
    return int(stat.kind) == FILE and not stat.same(expected_stat(row))


def _set_aside(store: FolderStore, row: NodeRow, path: tuple[bytes, ...], now: float) -> None:
    token = blake3(b"denied" + row.nid + repr(now).encode()).digest(12).hex().encode()
    try:
        taken = store.tree.retire(path, token, store.tree.stat(path))
    except TreeError:
        return  # it is being written to this moment: then it stays, and is found as an edit
    store.connection.execute(
        "INSERT INTO old(token, node, cs, idx, name, ino, size, mtime, ctime, since, checked) "
        "VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        (
            *(token.decode(), row.id, row.s_ccs, row.s_cidx, path[-1], taken.old.ino, taken.old.size),
            *(taken.old.mtime_ns, taken.old.ctime_ns, now, KEPT),
        ),
    )
