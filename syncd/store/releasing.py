"""Blocking. A person says yes to a wave. What waited of our own is to be published, and says itself that it may pass;
renames are published at once, from the rows that noted them: the names that they left may be others' by now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from syncd.model.records import Place, Record
from syncd.store import approvals, rows, waves
from syncd.store.db import Transaction
from syncd.store.draft import Desk, Draft, settle_pending
from syncd.store.folder import FolderStore
from syncd.store.joining import ONLY_HERE, Source
from syncd.store.rows import NodeRow
from syncd.store.waves import SCAN_ORIGIN, Held
from syncd.treetypes import Path


class LetPass(NamedTuple):
    """What became of an approval. `is_for_all`: everybody is told. `names`: where the nodes stand by their rows, by
    directory; None for waves of others."""

    is_for_all: bool
    nodes: list[int]
    names: dict[Path, frozenset[bytes]] | None


def db_let_pass(store: FolderStore, held: Held, now: float, *, publishes: bool) -> LetPass:
    """A person approved of a wave as it was shown. `publishes` False: what people do here goes nowhere. Raises
    SyncdError if the wave is another one by now, or none."""
    connection = store.connection
    waves.db_demand_unchanged(connection, held)
    is_for_all = waves.db_approve(store, held, int(now * 1000))
    nodes = waves.nodes_of(connection, held.key)
    if held.origin != SCAN_ORIGIN:
        with Transaction(connection):
            waves.release(connection, held.key)
        return LetPass(is_for_all, nodes, None)
    names = waves.names_of(connection, nodes)

    def let_pass(desk: Desk) -> Draft:
        approvals.let_pass(connection, nodes, now)
        moved = rows.read_ids(connection, waves.moved_of(connection, held.key)).values()
        # What is just being moved by us goes on waiting: the next look says what has become of it.
        waves.release(connection, held.key, [row.id for row in moved if row.id in desk.moving])
        return _tell(desk, [row for row in moved if row.id not in desk.moving])

    store.db_commit_draft(let_pass, int(now * 1000), publishes=publishes)
    return LetPass(is_for_all, nodes, names)


def _tell(desk: Desk, moved: Sequence[NodeRow]) -> Draft:
    """Renames that waited become records of ours."""
    above = rows.read_ids(desk.connection, {row.l_parent for row in moved if row.l_parent is not None})
    for row in moved:
        if not row.on_disk or row.l_parent is None or row.l_parent not in above or row.l_name is None:
            continue  # it has gone with its directory meanwhile, as the next look will find
        if not desk.publishes or row.pending == ONLY_HERE:
            row.pending = ONLY_HERE
            rows.write(desk.connection, [row])
        elif (row.parent, row.name) != (row.l_parent, row.l_name):
            place = Place(above[row.l_parent].nid, row.l_name)
            desk.drafted.add(row.nid)
            desk.draft.add(Record(row.nid, None, (), place, desk.synced_place(row), None, ()), _settle)
    return desk.draft


def _settle(row: NodeRow, source: Source, index: int) -> None:
    row.s_pcs, row.s_pidx = source.seq, index
    settle_pending(row)
