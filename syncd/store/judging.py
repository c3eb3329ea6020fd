"""Blocking. Judging again what was accepted before its author lost the right to it.

A removal seals the journals of who is removed: what comes later under the old rights counts only if somebody with
rights had seen it. A device that had taken it in before it heard of the removal undoes that: the changesets go back to
quarantine, and the nodes that they told of are put together anew from everything that still counts. What then stands on
the disk and is not wanted goes the way of everything that is replaced: into `.syncd/old` and the history.

The verdict reads nothing but records and the roster, so all devices come to the same one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from ca.ids import DeviceId, EntryHash, EpochId
from syncd.model.changesets import Changeset
from syncd.model.heads import Head, decode_head_untrusted
from syncd.store import approvals, rows
from syncd.store.apart import db_ask_again
from syncd.store.joining import ONLY_HERE, PENDING, join_records, wake_siblings, wake_view
from syncd.store.journal import QUARANTINED, Journal, Membership, may_now
from syncd.store.lineage import note_odd
from syncd.store.rows import NodeRow
from syncd.store.survey import same_attributes, same_content

OpenChangeset = Callable[[Head, bytes], Changeset | None]
"""None: it is sealed under an epoch that is not open here (any more), so nothing can be said of what stands in it."""


def judge_again(
    connection: sqlite3.Connection,
    journal: Journal,
    membership: Membership,
    open_changeset: OpenChangeset,
    lost: set[int],
) -> int:
    """Put aside what no longer counts, and what is `lost`; how many changesets. Inside the caller's transaction."""
    late = set(_late(connection, journal, membership, open_changeset))
    if late:
        late -= _vouched(connection, late, membership, journal, open_changeset)
    late |= _counting(connection, lost)
    if late:
        own = journal.own_seqs()
        _put_aside(connection, journal, late, open_changeset)
        if late & own:
            journal.begin_incarnation()  # the numbers of what was put aside are taken
    return len(late)


def lost_with(connection: sqlite3.Connection, epochs: frozenset[EpochId]) -> set[int]:
    """Changesets sealed under epochs that only one side of a fork can open, and all that had seen one of them: nobody
    else can take these in."""
    if not epochs:
        return set()
    found = connection.execute("SELECT seq, head FROM changeset").fetchall()
    lost = {seq for seq, head in found if decode_head_untrusted(head).epoch in epochs}
    if lost:
        for cs, seen in connection.execute("SELECT cs, seen FROM saw ORDER BY cs"):  # in causal order
            if seen in lost:
                lost.add(cs)
    return lost


def _counting(connection: sqlite3.Connection, seqs: set[int]) -> set[int]:
    counting: set[int] = set()
    for part in rows.chunks(sorted(seqs)):
        query = f"SELECT seq FROM changeset WHERE state<>{QUARANTINED} AND seq IN ({rows.marks(part)})"
        counting |= {seq for (seq,) in connection.execute(query, part)}
    return counting


def _late(
    connection: sqlite3.Connection, journal: Journal, membership: Membership, open_changeset: OpenChangeset
) -> Iterator[int]:
    """Changesets that count now and lie behind the seals of an author who may no longer publish them."""
    found = connection.execute("SELECT j.id, a.device, j.incarnation FROM journal j JOIN author a ON a.id=j.author")
    for id, device, incarnation in found.fetchall():
        may_publish = membership.may_publish(device, membership.head)
        if may_publish and membership.may_delete(device, membership.head):
            continue
        sealed = membership.sealed_at(device, incarnation)
        if sealed is None:
            continue
        behind = connection.execute(
            "SELECT seq FROM changeset WHERE journal=? AND counter>? AND state<>? ORDER BY seq",
            (id, sealed, QUARANTINED),
        )
        for (seq,) in behind.fetchall():
            if not may_publish:
                yield seq
                continue
            changeset = open_changeset(*journal.sealed_body(seq))
            if changeset is not None and not may_now(changeset, device, membership):
                yield seq


def _vouched(
    connection: sqlite3.Connection,
    late: set[int],
    membership: Membership,
    journal: Journal,
    open_changeset: OpenChangeset,
) -> set[int]:
    """Those that somebody had seen who may publish the like today, in what counts."""
    opened = ((seq, open_changeset(*journal.sealed_body(seq))) for seq in late)
    changesets = {seq: changeset for seq, changeset in opened if changeset is not None}
    vouched: set[int] = set()
    for device, seqs in _others(connection, late):
        able = {seq for seq in changesets.keys() - vouched if may_now(changesets[seq], device, membership)}
        if able:
            vouched |= able & _past_of(connection, [seq for seq in seqs if seq not in late], min(able))
    return vouched


def _others(connection: sqlite3.Connection, late: set[int]) -> Iterator[tuple[DeviceId, list[int]]]:
    """By author, what counts of them since the first of the late ones."""
    found = connection.execute(
        "SELECT a.device, c.seq FROM changeset c JOIN author a ON a.id=c.author WHERE c.seq>? AND c.state<>? "
        "ORDER BY a.device, c.seq",
        (min(late), QUARANTINED),
    ).fetchall()
    for device, group in groupby(found, key=lambda row: DeviceId(row[0])):
        yield device, [seq for _, seq in group]


def _past_of(connection: sqlite3.Connection, seqs: Iterable[int], oldest: int) -> set[int]:
    """What these changesets had seen, as far back as a number."""
    seen: set[int] = set()
    level = set(seqs)
    while level:
        found: set[int] = set()
        for part in rows.chunks(sorted(level)):
            query = f"SELECT seen FROM saw WHERE seen>=? AND cs IN ({rows.marks(part)})"
            found |= {one for (one,) in connection.execute(query, (oldest, *part))}
        level = found - seen
        seen |= level
    return seen


def maybe_counting(connection: sqlite3.Connection, membership: Membership) -> list[int]:
    """What is put aside, of those who may publish now or before the seals: it may count again."""
    found = connection.execute(
        "SELECT j.id, a.device, j.incarnation FROM journal j JOIN author a ON a.id=j.author "
        "WHERE j.id IN (SELECT journal FROM changeset WHERE state=2)"
    )
    seqs: list[int] = []
    for id, device, incarnation in found.fetchall():
        sealed = None if membership.may_publish(device, membership.head) else membership.sealed_at(device, incarnation)
        last = -1 if sealed is None else sealed
        query = "SELECT seq FROM changeset WHERE journal=?1 AND state=2 AND (?2<0 OR counter<=?2)"
        seqs += [seq for (seq,) in connection.execute(query, (id, last))]
    return sorted(seqs)


# --- numbers of a roster with another chain --------------------------------------------------------------------------


def number_anew(
    connection: sqlite3.Connection, journal: Journal, membership: Membership, open_changeset: OpenChangeset
) -> None:
    """Where another history of the roster counts than when this was done last, the entries that changesets name have
    other numbers: those of a history that lost stand where it parted."""
    found = connection.execute("SELECT value FROM meta WHERE key='judged by'").fetchone()
    head = membership.head
    if found is not None:
        number, last = int.from_bytes(found[0][:8], "big"), EntryHash(found[0][8:])
        parted = membership.number_of(last)
        if parted is not None and not membership.is_on_chain(last):
            later = "SELECT seq FROM changeset WHERE roster_number>? AND roster_number<=?"
            for (seq,) in connection.execute(later, (parted, number)).fetchall():
                changeset = open_changeset(*journal.sealed_body(seq))
                named = None if changeset is None else membership.number_of(changeset.roster_head)
                if named is not None:
                    connection.execute("UPDATE changeset SET roster_number=? WHERE seq=?", (named, seq))
    value = (membership.number_of(head) or 0).to_bytes(8, "big") + head
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('judged by', ?)", (value,))


# --- taking back -----------------------------------------------------------------------------------------------------


def _put_aside(connection: sqlite3.Connection, journal: Journal, late: set[int], open_changeset: OpenChangeset) -> None:
    nodes: set[int] = set()
    for part in rows.chunks(sorted(late)):
        marks = rows.marks(part)
        nodes |= {node for (node,) in connection.execute(f"SELECT node FROM past WHERE cs IN ({marks})", part)}
        connection.execute(f"UPDATE changeset SET state={QUARANTINED} WHERE seq IN ({marks})", part)
        query = f"SELECT DISTINCT a.device FROM changeset c JOIN author a ON a.id=c.author WHERE c.seq IN ({marks})"
        db_ask_again(connection, [device for (device,) in connection.execute(query, part).fetchall()])
        connection.execute(f"DELETE FROM past WHERE cs IN ({marks})", part)
        connection.execute(f"DELETE FROM departed WHERE cs IN ({marks})", part)
    approvals.take_back(connection, late)
    ours = _ours(connection, journal, late)
    journal.take_back_tips()
    forgotten = _forget(connection, nodes, ours)
    for seq, indices in _told_of(connection, nodes):
        head, body = journal.sealed_body(seq)
        changeset = open_changeset(head, body)
        if changeset is None:
            continue
        records = [changeset.records[index] for index in indices]
        join_records(connection, journal.sources, journal.sources[seq], records, indices=indices)
    claims = {(row.parent, row.name) for row in forgotten if row.parent is not None and row.name is not None}
    wake_siblings(connection, nodes)
    wake_view(connection, claims, (), nodes)
    journal.sources.generation += 1


def _ours(connection: sqlite3.Connection, journal: Journal, late: set[int]) -> set[int]:
    """Nodes with a version of our own that we published too late: it stays on this disk, and only here."""
    ours: set[int] = set()
    for part in rows.chunks(sorted(late)):
        query = (
            "SELECT n.id FROM node n JOIN changeset c ON c.seq=n.s_ccs JOIN author a ON a.id=c.author "
            f"WHERE a.device=? AND c.seq IN ({rows.marks(part)})"
        )
        ours |= {node for (node,) in connection.execute(query, (journal.device, *part))}
    return ours


def let_ours_settle(connection: sqlite3.Connection, seqs: Iterable[int]) -> None:
    """These of our own count after all: what the disk still holds as they say stands no longer only here. What was
    changed since goes on to."""
    for part in rows.chunks(sorted(seqs)):
        query = f"WHERE pending<>0 AND pending={ONLY_HERE} AND s_ccs IN ({rows.marks(part)})"
        for row in rows.read(connection, query, tuple(part)):
            is_in_place = (row.l_parent, row.l_name) == (row.parent, row.name)
            if is_in_place and same_content(row) and same_attributes(connection, row):
                row.pending = PENDING
                rows.write(connection, [row])


def _forget(connection: sqlite3.Connection, nodes: set[int], ours: set[int]) -> list[NodeRow]:
    """Leave of these nodes only what stands on the disk. The rows as they were."""
    before: list[NodeRow] = []
    for part in rows.chunks(sorted(nodes)):
        before += rows.read_ids(connection, part).values()
        for table in ("head", "replaced", "place"):
            connection.execute(f"DELETE FROM {table} WHERE node IN ({rows.marks(part)})", part)
    for row in rows.read_ids(connection, sorted(nodes)).values():
        row.keep_disk_blocks()
        row.p_cs = row.p_idx = row.parent = row.name = None
        row.c_cs = row.c_idx = row.cls = row.size = row.listed = row.blocks = None
        row.a_cs = row.a_idx = row.mode = row.mtime = row.xattrs = None
        row.kind, row.heads, row.pending = rows.NONE, 0, ONLY_HERE if row.id in ours else PENDING
        rows.write(connection, [row])
    note_odd(connection, nodes)
    return before


def _told_of(connection: sqlite3.Connection, nodes: set[int]) -> Iterator[tuple[int, list[int]]]:
    """Every changeset that tells of these nodes, in the order of arrival, with the places of its records."""
    found: list[tuple[int, int]] = []
    for part in rows.chunks(sorted(nodes)):
        query = f"SELECT cs, idx FROM past WHERE node IN ({rows.marks(part)})"
        found += connection.execute(query, part).fetchall()
    for seq, group in groupby(sorted(found), key=lambda row: row[0]):
        yield seq, [index for _, index in group]
