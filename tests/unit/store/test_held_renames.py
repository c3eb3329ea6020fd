"""Renames that wait for a person: what the rows say of where they stand meanwhile."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from syncd.model.ids import ROOT_NODE
from syncd.store import rows, waves
from syncd.store.rows import ROOT_ROW
from tests.helpers.tasks import World
from tests.unit.store.test_walks import publish, walk


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


@pytest.mark.parametrize("count", [3, 6])
async def test_a_name_is_taken_by_nobody_before_its_owner_has_left(count: int, autojump_clock: MockClock) -> None:
    """Each directory has moved on to the next one's name, and of the last one that cannot be told yet."""
    world = World(["ann", "bob"])
    async with world.running():
        directories = [b"%d" % number for number in range(count)]
        for name in directories:
            world["ann"].disk.mkdir((name,))
        await world.settle()
        world.cut()
        store = world["ann"].task.store

        def names() -> list[bytes | None]:
            return [row.l_name for row in rows.read(store.connection, "WHERE l_kind=2 AND l_name<>'' ORDER BY id")]

        assert names() == directories
        for name in reversed(directories):
            world["ann"].disk.rename((name,), (b"%d" % (int(name) + 1),))
        [last] = rows.read(store.connection, "WHERE l_name=?", (directories[-1],))
        store.moving.add(last.id)
        items, _ = walk(store, None)
        assert {(name,) for name in directories} <= set(publish(store, items).again)
        assert names() == directories, "no two rows at one name"
        store.moving.discard(last.id)
        items, _ = walk(store, None)
        assert publish(store, items).again == []
        assert names() == [b"%d" % (int(name) + 1) for name in directories]
