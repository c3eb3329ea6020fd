"""Blocking. What `status` says about a folder, and the problems that people are shown. All `db_`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.model.ids import Cid
from syncd.model.records import MAX_SIZE
from syncd.store import rows
from syncd.store.db import Transaction
from syncd.store.totals import db_totals
from syncd.treetypes import Path

MAX_RETRY_S = 600
"""Longest wait before the next try; a try that is due later was planned by a clock that has been set back since."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Files and bytes of one folder on this disk, and what is missing of them."""

    files: int
    size: int
    need_files: int
    need_bytes: int
    conflicts: int
    """Files of which more than one version is kept."""
    old_bytes: int
    only_here: int
    held: int
    old_files: int = 0
    """Plain inodes that wait in `.syncd/old`; `old_bytes` are theirs."""
    packs: int = 0
    packed_bytes: int = 0
    read_since: float | None = None
    """Every pack was read and found right since then."""
    lacks_bytes: int = 0
    """How much others have that this disk does not and that does not come by itself: it was deleted or changed here
    alone, waits for a person, or could not be written again and again."""


NOTHING = Counts(0, 0, 0, 0, 0, 0, 0, 0)
"""Of a folder that was not counted yet."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What stands in the way of one path, or of the folder (`path` empty)."""

    code: str
    path: bytes
    why: str
    fix: str
    since: float


def db_counts(connection: sqlite3.Connection) -> Counts:
    """Counted anew from the rows."""
    files, size, old_files, old_bytes = db_totals(connection)
    # Not needed is what waits for a person or for its next try, what nothing is known of yet, and a directory that
    # stands here: it only waits for what is in it, which counts itself.
    # A sum would raise where sizes that somebody made up are more than 64 bits together; a total is exact up to 8 PiB,
    # and as an integer never more than 2^63 - 1.
    need_files, need_bytes = connection.execute(
        f"SELECT count(*), CAST(total(CASE WHEN kind=1 AND {_IS_LACKING} THEN size ELSE 0 END) AS INTEGER) FROM node "
        "WHERE pending=1 AND pending<>0 AND NOT (kind IN (0,2,4) AND l_kind=2) "
        f"AND NOT (kind=0 AND l_kind=0) AND NOT {_IS_STUCK}",
        (LASTING_TRIES,),
    ).fetchone()
    packs, packed_bytes, read_since, conflicts, only_here, held = connection.execute(
        "SELECT count(*), coalesce(sum(size),0), min(verified), (SELECT count(DISTINCT node) FROM copy), "
        "(SELECT count(*) FROM node WHERE pending=2 AND pending<>0), "
        "(SELECT count(*) FROM held_node h CROSS JOIN node n ON n.id=h.node WHERE n.l_kind IN (1,3)) FROM pack"
    ).fetchone()
    return Counts(
        files,
        size,
        need_files,
        need_bytes,
        conflicts,
        old_bytes,
        only_here,
        held,
        old_files,
        packs,
        packed_bytes,
        read_since,
        min(MAX_SIZE, _db_stuck(connection) + (_db_replaced(connection) if only_here else 0)),
    )


_IS_LACKING = "(l_kind=0 OR s_ccs IS NOT c_cs OR s_cidx IS NOT c_idx)"
_IS_STUCK = "(id IN (SELECT node FROM held_node) OR id IN (SELECT node FROM problem WHERE tries>=?))"


def _db_stuck(connection: sqlite3.Connection) -> int:
    """Bytes of contents that wait for a person, or could not be written again and again."""
    (lacking,) = connection.execute(
        "SELECT CAST(total(max(1,size)) AS INTEGER) FROM node WHERE pending=1 AND pending<>0 AND kind IN (1,3) "
        f"AND {_IS_LACKING} AND {_IS_STUCK}",
        (LASTING_TRIES,),
    ).fetchone()
    return int(lacking)


def _db_replaced(connection: sqlite3.Connection) -> int:
    """Bytes of what was deleted or changed on this disk alone. What was only moved, or has other attributes, is here;
    equal bytes are, whatever they were encrypted with."""
    here = "l_kind=kind AND (l_blocks IS NULL OR l_size=size)"
    only_here = "FROM node WHERE pending=2 AND pending<>0 AND kind IN (1,3)"
    (lacking,) = connection.execute(
        f"SELECT CAST(total(max(1,size)) AS INTEGER) {only_here} AND NOT ({here})"
    ).fetchone()
    query = f"SELECT size, kind, listed, blocks, l_listed, l_blocks {only_here} AND {here} AND l_blocks IS NOT NULL"
    for size, kind, listed, blocks, l_listed, l_blocks in connection.execute(query):
        if rows.identity(kind, listed, blocks) != rows.identity(kind, l_listed, l_blocks):
            lacking += max(1, size)
    return int(lacking)


# --- problems --------------------------------------------------------------------------------------------------------


LASTING_TRIES = 4
"""A race with a local edit is over after a try or two; what failed that often is a problem, and nothing to wait for."""


def db_problems(connection: sqlite3.Connection, most: int = 100) -> list[Problem]:
    """The oldest problems first."""
    found = connection.execute("SELECT code, path, why, fix, since FROM problem ORDER BY since, path LIMIT ?", (most,))
    return [Problem(*row) for row in found]


def db_problem_of(connection: sqlite3.Connection, node: int) -> Problem | None:
    """What stands in the way of one node, or of a conflict copy of it."""
    query = "SELECT code, path, why, fix, since FROM problem WHERE node=? ORDER BY since LIMIT 1"
    found = connection.execute(query, (node,)).fetchone()
    return None if found is None else Problem(*found)


def db_drop_solved(connection: sqlite3.Connection) -> bool:
    """Forget problems of nodes about which nothing is left to be done. False if there was no problem at all."""
    if connection.execute("SELECT 1 FROM problem LIMIT 1").fetchone() is None:
        return False
    connection.execute(
        "DELETE FROM problem WHERE node<>0 "
        "AND NOT EXISTS (SELECT 1 FROM node n WHERE n.id=problem.node AND n.pending=1)"
    )
    return True


def db_note_problem(
    connection: sqlite3.Connection,
    node: int,
    path: Path,
    code: str,
    why: str,
    fix: str,
    now: float,
    retry_s: float,
    *,
    lasting: bool = False,
    lacks: Cid | None = None,
) -> None:
    """Note what stands in the way; the next try comes later each time. `lasting`: nobody is to wait for it. `lacks`: a
    block that nobody had."""
    raw = b"/".join(path)
    known = connection.execute("SELECT tries, since FROM problem WHERE node=? AND path=?", (node, raw)).fetchone()
    tries, since = (known[0] + 1, known[1]) if known else (1, now)
    tries = max(tries, LASTING_TRIES) if lasting else tries
    wait = min(retry_s * 2 ** min(tries - 1, 8), MAX_RETRY_S)
    connection.execute(
        "INSERT OR REPLACE INTO problem(node, path, code, why, fix, since, tries, retry_at, lacks) "
        "VALUES (?,?,?,?,?,?,?,?,?)",
        (node, raw, code, why, fix, since, tries, now + wait, lacks),
    )


class Lacked(NamedTuple):
    """A content that nobody had. `path` as in its problem; `cid`: a block of it that nobody had."""

    node: int
    path: bytes
    cid: Cid


def db_lacked(connection: sqlite3.Connection, now: float, after: Lacked | None, most: int) -> list[Lacked]:
    """Contents that nobody had, behind one of them, whose next try is not due."""
    found = connection.execute(
        "SELECT node, path, lacks FROM problem WHERE lacks IS NOT NULL AND retry_at>? AND (node, path)>(?,?) "
        "ORDER BY node, path LIMIT ?",
        (now, *((-1, b"") if after is None else after[:2]), most),
    )
    return [Lacked(node, path, Cid(cid)) for node, path, cid in found]


def db_can_be_had(connection: sqlite3.Connection, found: Iterable[Lacked]) -> None:
    """Somebody has what nobody had: it is due now."""
    with Transaction(connection):
        query = "UPDATE problem SET retry_at=0 WHERE node=? AND path=? AND lacks=?"
        connection.executemany(query, found)


SUSPECT_RETRY_S = 600.0


def db_note_suspect(connection: sqlite3.Connection, path: Path, now: float) -> None:
    """A file changed without a trace."""
    why = "its bytes changed while its times did not: bit rot, or a program that maps the file"
    fix = "nothing; it is read once more, and then published or healed"
    db_note_problem(connection, 0, path, "SY-FILE-10", why, fix, now, SUSPECT_RETRY_S)


def db_news_of(connection: sqlite3.Connection, nodes: Iterable[int]) -> None:
    """There is something new about these: what nobody has kept of them need not be what is wanted now."""
    for part in rows.chunks(sorted(nodes)):
        query = f"DELETE FROM problem WHERE code='SY-FILE-11' AND node IN ({rows.marks(part)})"
        connection.execute(query, part)


_IS_SUSPECT = (
    "code='SY-FILE-10' AND EXISTS (SELECT 1 FROM doubt d JOIN node n ON n.id=d.node WHERE n.l_kind=1 AND "
    "(problem.path=n.l_name OR substr(problem.path, -length(n.l_name)-1)=CAST(x'2f'||n.l_name AS BLOB)))"
)
"""Of a problem, in SQL: a file of that name is still to be judged (`doubts`). A look at names says nothing of that."""


def db_clear_problems(connection: sqlite3.Connection, paths: Sequence[Path]) -> None:
    """These paths were looked at and are fine."""
    if connection.execute("SELECT 1 FROM problem WHERE node=0 LIMIT 1").fetchone() is not None:
        query = f"DELETE FROM problem WHERE node=0 AND path=? AND NOT ({_IS_SUSPECT})"
        connection.executemany(query, [(b"/".join(path),) for path in paths])


def db_has_room(connection: sqlite3.Connection) -> None:
    """The disk is not full any more."""
    connection.execute("DELETE FROM problem WHERE node=0 AND path=x'' AND code='SY-DISK-01'")


def db_clear_all_problems(connection: sqlite3.Connection) -> None:
    """Everything is being looked at: what is wrong with a name is found again."""
    connection.execute(f"DELETE FROM problem WHERE node=0 AND path<>x'' AND NOT ({_IS_SUSPECT})")


def db_next_retry(connection: sqlite3.Connection, now: float) -> float | None:
    """When the first problem of a node, of those not due at `now`, is to be tried again.

    A time far ahead was noted by a clock that has been set since: that node is due already (`Survey.cases`).
    """
    query = f"SELECT min(retry_at) FROM problem WHERE node<>0 AND retry_at>?1 AND retry_at<=?1+{MAX_RETRY_S}"
    (due,) = connection.execute(query, (now,)).fetchone()
    return None if due is None else float(due)


# --- how far we have followed each peer ------------------------------------------------------------------------------


def db_cursor(connection: sqlite3.Connection, device: DeviceId) -> tuple[bytes, int]:
    """(log, number) up to which a peer's heads were taken in."""
    found = connection.execute("SELECT value FROM meta WHERE key=?", (f"cursor {device.hex()}",)).fetchone()
    return (b"", 0) if found is None else (bytes(found[0][8:]), int.from_bytes(found[0][:8], "big"))


def db_keep_cursor(connection: sqlite3.Connection, device: DeviceId, log: bytes, after: int) -> None:
    """Remember it."""
    value = after.to_bytes(8, "big") + log
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (f"cursor {device.hex()}", value))
