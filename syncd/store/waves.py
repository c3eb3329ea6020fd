"""Blocking. Waves of deletions and overwrites on rows: what is about to go, what waits, what has passed and can be
undone. All `db_`.

A node that waits has a row in `held_node`: the scan says nothing about it, and the planner leaves it alone. What passed
shortly before a wave was noticed is noted in `passed` with the version that stood there, so that a no undoes it too.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import field
from enum import Enum
from typing import Generic, TypeVar

from blake3 import blake3

from ca.values import dataclass
from syncd.engine.brake import WINDOW_S
from syncd.engine.ransom import looks_disguised
from syncd.errors import SyncdError
from syncd.model.ids import ChangesetHash, NodeId
from syncd.store import rows
from syncd.store.approvals import IS_APPROVED
from syncd.store.db import Transaction
from syncd.store.folder import FolderStore
from syncd.store.joining import IGNORED
from syncd.store.prepare import NAMED
from syncd.store.rows import DELETED, FILE, SYMLINK, NodeRow
from syncd.store.scan import Gone, below
from syncd.treetypes import Path

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

_IS_SAME = "n.l_kind=n.kind AND (n.l_blocks IS NULL OR (n.l_listed IS n.listed AND n.l_blocks=n.blocks))"
"""What stands here is what Global says."""
_ARRIVING = (
    "SELECT n.id, n.kind, n.l_kind, n.l_name, n.name, n.c_cs, n.c_idx, n.s_ccs, n.s_cidx, ca.device, pa.device, "
    "EXISTS (SELECT 1 FROM node d WHERE d.id=n.l_parent AND d.kind=4 AND d.l_kind=2 AND d.pending=1), "
    f"{IS_APPROVED.format('cc.hash')}, {IS_APPROVED.format('pc.hash')}, "
    f"{_IS_SAME} "
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
        is_same,
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
        # Whatever becomes of it: a file, a link, ... Who says again what stands here, as by a no, changes nothing.
        if author is not None and (c_cs, c_idx) != (s_ccs, s_cidx) and not is_same:
            found.setdefault(bytes(author), Arriving()).overwritten.append(id_)
        elif mover is None or kind != FILE or l_kind != FILE:
            continue
        elif name is not None and l_name != name and looks_disguised(l_name, name):
            found.setdefault(bytes(mover), Arriving()).disguised.append(id_)
    return found


def db_vanished(connection: sqlite3.Connection, gone: Sequence[Gone], moving: Container[int]) -> list[Gone]:
    """Of names that a scan missed, those that somebody here removed: not what was deleted elsewhere and is removed here
    because of that, in this moment (`moving`) or since the scan; not what waits already; and no conflict copies, whose
    numbers are not those of nodes."""
    held, standing = db_held_nodes(connection), set()
    nodes = [one for one in gone if not (one.known.is_copy or one.is_left_out)]
    for part in rows.chunks(list({one.known.row for one in nodes})):
        query = f"SELECT id FROM node WHERE id IN ({rows.marks(part)}) AND l_kind<>0 AND kind<>? AND pending<>?"
        for (row,) in connection.execute(query, (*part, DELETED, IGNORED)):
            if row not in moving and row not in held:
                standing.add(row)
    return [one for one in nodes if one.known.row in standing]


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
        connection.executemany(
            "INSERT OR IGNORE INTO held_node(node, wave) VALUES (?,?)", [(node, wave) for node in nodes]
        )
        (files,) = connection.execute(
            "SELECT count(*) FROM held_node h JOIN node n ON n.id=h.node WHERE h.wave=? AND n.l_kind IN (1,3)", (wave,)
        ).fetchone()
        connection.execute(
            "INSERT INTO held(id, origin, since, files, state, detail, why) VALUES (?,?,?,?,0,?,?) "
            "ON CONFLICT(id) DO UPDATE SET files=excluded.files, why=excluded.why",
            (wave, origin, now, files, of_files, why.value),
        )


def db_hold_moved(connection: sqlite3.Connection, moved: Sequence[tuple[int, NodeId, bytes]]) -> bool:
    """Renames that wait: the rows say where they stand by now, (node, directory, name), and nobody else hears of it.
    Whether that was noted of all. It is not where another row stands at the name, or is just being put there: two at
    one name, and no look would ever miss the one that is not there."""
    parents = rows.read_nids(connection, {parent for _, parent, _ in moved})
    noted = 0
    with Transaction(connection):
        for node, parent, name in moved:
            if parent not in parents:
                continue
            is_noted = connection.execute(
                "UPDATE node SET l_parent=?1, l_name=?2, pending=1 WHERE id=?3 "
                "AND NOT EXISTS "
                "(SELECT 1 FROM node o WHERE o.l_parent=?1 AND o.l_name=?2 AND o.l_kind<>0 AND o.id<>?3) "
                "AND NOT EXISTS (SELECT 1 FROM copy c WHERE c.l_parent=?1 AND c.l_name=?2) "
                f"AND NOT EXISTS (SELECT 1 FROM ({NAMED}) g WHERE g.parent=?1 AND g.name=?2)",
                (parents[parent].id, name, node),
            ).rowcount
            connection.execute("UPDATE held_node SET moved=1 WHERE node=? AND ?", (node, is_noted))
            noted += is_noted
    return noted == len(moved)


def moved_of(connection: sqlite3.Connection, wave: str) -> list[int]:
    """Of what a wave holds, what people have renamed, and whose rows say where it stands by now."""
    return [node for (node,) in connection.execute("SELECT node FROM held_node WHERE wave=? AND moved", (wave,))]


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
    query = (
        "SELECT n.id, n.kind, n.c_cs, n.c_idx, n.p_cs, n.p_idx FROM held_node h JOIN node n ON n.id=h.node "
        "WHERE h.wave=? ORDER BY n.id"
    )
    found = connection.execute(query, (key,)).fetchall()
    return blake3(f"{key} {since!r} {found!r}".encode()).hexdigest(4)


def has_changed(held: Held) -> SyncdError:
    """Who answers saw another wave than this one."""
    return SyncdError(
        "the wave has changed since it was shown",
        id="SY-BRAKE-02",
        why=f"it has {held.files:,} files by now",
        fix="look again: syncd requests; then answer with the id that stands there",
    )


def waits_no_more() -> SyncdError:
    """Somebody else was faster, here or elsewhere: what had passed before stays as that one has decided."""
    return SyncdError(
        "the wave waits no more",
        id="SY-BRAKE-02",
        why="somebody has answered since it was shown",
        fix="look at what waits still: syncd requests",
    )


def cannot_pass_now() -> SyncdError:
    """This device will publish again, and does not know when."""
    return SyncdError(
        "the wave cannot pass now",
        id="SY-BRAKE-04",
        why="the newest key of the folder has not come yet, or its owners have taken out each other",
        fix="syncd status says which of them; answer again when that is over",
    )


def db_demand_unchanged(connection: sqlite3.Connection, held: Held) -> None:
    """Raises SyncdError if a wave is not what it was, or waits no more."""
    now = next((one for one in db_held(connection) if one.key == held.key), None)
    if now is None:
        raise waits_no_more()
    if now.mark != held.mark:
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


def nodes_of(connection: sqlite3.Connection, wave: str) -> list[int]:
    """What a wave holds."""
    return [node for (node,) in connection.execute("SELECT node FROM held_node WHERE wave=?", (wave,))]


def release(connection: sqlite3.Connection, wave: str, but: Collection[int] = ()) -> None:
    """A wave holds no more than `but`, and ends without them; what had passed before it is decided with it, and is no
    part of the next one. In the transaction of the caller."""
    freed = set(nodes_of(connection, wave)).difference(but)
    connection.executemany("DELETE FROM held_node WHERE node=?", [(node,) for node in sorted(freed)])
    if not but:
        connection.execute("DELETE FROM passed WHERE origin=(SELECT origin FROM held WHERE id=?)", (wave,))
        connection.execute("DELETE FROM held WHERE id=?", (wave,))
        return
    connection.executemany("INSERT OR IGNORE INTO held_node(node, wave) VALUES (?,?)", [(node, wave) for node in but])
    connection.execute("UPDATE held SET files=? WHERE id=?", (len(but), wave))


_DECIDING = (
    "JOIN node n ON n.id=h.node JOIN changeset c ON c.seq="
    "CASE WHEN n.kind<>4 AND n.c_cs IS n.s_ccs AND n.c_idx IS n.s_cidx THEN n.p_cs ELSE n.c_cs END "
    "JOIN author a ON a.id=c.author"
)
"""The changesets in which stands what is to become of some nodes."""


def db_release_decided(connection: sqlite3.Connection) -> list[int]:
    """Let go of what waits and was approved by somebody who may, wherever that was, and of what somebody else has
    decided anew since then, such as by a no, and of what is to stay as it is, as its author has undone it; these
    nodes."""
    if connection.execute("SELECT 1 FROM held LIMIT 1").fetchone() is None:
        return []
    with Transaction(connection):
        freed = connection.execute(
            f"SELECT h.node FROM held w JOIN held_node h ON h.wave=w.id {_DECIDING} "
            f"WHERE w.origin<>'here' AND ({IS_APPROVED.format('c.hash')} OR lower(hex(a.device))<>w.origin "
            f"OR ({_IS_SAME} AND n.l_parent IS n.parent AND n.l_name IS n.name))"
        ).fetchall()
        connection.executemany("DELETE FROM held_node WHERE node=?", freed)
        connection.execute(
            "UPDATE held SET files=(SELECT count(*) FROM held_node h JOIN node n ON n.id=h.node "
            "WHERE h.wave=held.id AND n.l_kind IN (1,3)) WHERE origin<>'here'"
        )
        connection.execute("DELETE FROM held WHERE origin<>'here' AND id NOT IN (SELECT wave FROM held_node)")
        return [node for (node,) in freed]


@dataclass(frozen=True, slots=True)
class Look(Generic[Result]):
    """What is about to go. `freed`: these nodes wait no more, and `names` say where they stand by their rows, by
    directory. `went_on`: what came of going on at once; None where somebody has to be judged first. `is_over`: nothing
    is pending after that."""

    freed: Sequence[int]
    names: Mapping[Path, frozenset[bytes]]
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
    is_over = is_judged and not rows.is_pending(connection)
    return Look(freed, names_of(connection, freed), arriving, went_on, is_over)


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
    with Transaction(connection):
        connection.execute("DELETE FROM passed WHERE at<? OR at>?", (now - 2 * WINDOW_S, now))
        for part in rows.chunks(nodes):
            connection.execute(
                "INSERT OR IGNORE INTO passed(node, origin, at, cs, idx, p_cs, p_idx) "
                "SELECT id, ?, ?, s_ccs, s_cidx, s_pcs, s_pidx FROM node "
                f"WHERE id IN ({rows.marks(part)}) AND s_ccs IS NOT NULL",
                (origin, now, *part),
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
    """What an origin had changed in the ten minutes before a moment, and after it: what stood there first."""
    # Beside min() the other columns are those of its row: sqlite.org/lang_select.html#bareagg
    query = "SELECT node, cs, idx, p_cs, p_idx, min(at) FROM passed WHERE origin=? AND at>=? GROUP BY node"
    return [Passed(*row[:-1]) for row in connection.execute(query, (origin, before - WINDOW_S))]


def path_of(connection: sqlite3.Connection, row: NodeRow) -> tuple[bytes, ...] | None:
    """Where a row says that it stands; None if nowhere, or in itself."""
    parts: list[bytes] = []
    passed: set[int] = set()
    at: NodeRow | None = row
    while at is not None and at.l_name is not None and at.l_parent is not None and at.id not in passed:
        passed.add(at.id)
        parts.append(at.l_name)
        if at.l_parent == rows.ROOT_ROW:
            return tuple(reversed(parts))
        at = rows.read_ids(connection, [at.l_parent]).get(at.l_parent)
    return None


def names_of(connection: sqlite3.Connection, nodes: Sequence[int]) -> dict[Path, frozenset[bytes]]:
    """Where the rows say that they stand: names by directory."""
    names: dict[int, set[bytes]] = {}
    for part in rows.chunks(nodes):
        query = f"SELECT l_parent, l_name FROM node WHERE id IN ({rows.marks(part)}) AND l_name IS NOT NULL"
        for parent, name in connection.execute(query, part):
            names.setdefault(parent, set()).add(name)
    found = {}
    for row in rows.read_ids(connection, names).values():
        path = () if row.id == rows.ROOT_ROW else path_of(connection, row)
        if path is not None:
            found[path] = frozenset(names[row.id])
    return found
