"""Renames that wait for a person: what the rows say of where they stand meanwhile."""

from __future__ import annotations

from trio.testing import MockClock

from syncd.model.ids import ROOT_NODE
from syncd.store import rows, waves
from syncd.store.rows import ROOT_ROW
from tests.helpers.tasks import World


async def test_no_two_rows_ever_stand_at_one_name(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        for name in (b"plan", b"notes"):
            world["ann"].disk.write((name,), b"the " + name)
        await world.settle()
        connection = world["ann"].task.store.connection
        plan, notes = (rows.read(connection, "WHERE l_name=?", (name,))[0].id for name in (b"plan", b"notes"))
        assert not waves.db_hold_moved(connection, [(plan, ROOT_NODE, b"notes")])
        assert waves.db_hold_moved(connection, [(notes, ROOT_NODE, b"notes.locked")])
        assert waves.db_hold_moved(connection, [(plan, ROOT_NODE, b"notes")]), "nothing stands there any more"
        standing = {row.id: (row.l_parent, row.l_name) for row in rows.read_ids(connection, [plan, notes]).values()}
        assert standing == {plan: (ROOT_ROW, b"notes"), notes: (ROOT_ROW, b"notes.locked")}
