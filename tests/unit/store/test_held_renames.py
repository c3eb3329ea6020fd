"""Renames that wait for a person: what the rows say of where they stand meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest
from trio.testing import MockClock

from syncd.errors import SyncdError
from syncd.model.ids import ROOT_NODE
from syncd.store import rows, waves
from syncd.store.joining import ONLY_HERE
from syncd.store.releasing import db_let_pass
from syncd.store.rows import ROOT_ROW
from syncd.store.waves import Why
from tests.helpers.tasks import MOMENT, World
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


async def test_rename_that_passes_is_told_although_its_former_name_is_anothers(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.write((b"plan",), b"the old plan")
        await world.settle()
        store = ann.task.store
        [row] = rows.read(store.connection, "WHERE l_name=?", (b"plan",))
        ann.disk.rename((b"plan",), (b"plan.locked",))
        waves.db_hold(store.connection, "held-here", waves.SCAN_ORIGIN, Why.ENCRYPTED, [row.id], MOMENT, 1)
        assert waves.db_hold_moved(store.connection, [(row.id, ROOT_NODE, b"plan.locked")])
        ann.disk.write((b"plan",), b"a new plan")
        await world.settle()
        assert (b"plan.locked",) not in bob.disk.contents(), "it waits, and the new one has come all the same"
        assert b"a new plan" in bob.disk.contents().values()
        [wave] = await ann.task.waves.held()
        await ann.task.waves.approve(wave.id)
        await world.settle()
        for disk in (ann.disk, bob.disk):
            assert disk.contents() == {(b"plan",): b"a new plan", (b"plan.locked",): b"the old plan"}


async def test_rename_that_passes_where_nothing_is_published_stays_only_here(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        world["ann"].disk.write((b"plan",), b"the plan")
        await world.settle()
        world.cut()
        store = world["ann"].task.store
        [row] = rows.read(store.connection, "WHERE l_name=?", (b"plan",))
        waves.db_hold(store.connection, "held-here", waves.SCAN_ORIGIN, Why.ENCRYPTED, [row.id], MOMENT, 1)
        assert waves.db_hold_moved(store.connection, [(row.id, ROOT_NODE, b"plan.locked")])
        [wave] = waves.db_held(store.connection)
        assert db_let_pass(store, wave, MOMENT, publishes=False).nodes == [row.id]
        [row] = rows.read(store.connection, "WHERE id=?", (row.id,))
        assert (row.name, row.l_name, row.pending) == (b"plan", b"plan.locked", ONLY_HERE)
        assert waves.db_held(store.connection) == []


async def test_wave_of_ones_own_cannot_pass_while_nothing_can_be_published(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.write((b"plan",), b"the plan")
        await world.settle()
        store, rights = ann.task.store, ann.task.rights
        [row] = rows.read(store.connection, "WHERE l_name=?", (b"plan",))
        ann.disk.rename((b"plan",), (b"plan.locked",))
        waves.db_hold(store.connection, "held-here", waves.SCAN_ORIGIN, Why.ENCRYPTED, [row.id], MOMENT, 1)
        assert waves.db_hold_moved(store.connection, [(row.id, ROOT_NODE, b"plan.locked")])
        [wave] = await ann.task.waves.held()
        ann.task.use_rights(replace(rights, waits=True))
        with pytest.raises(SyncdError, match="cannot pass now"):
            await ann.task.waves.approve(wave.id)
        assert [one.id for one in await ann.task.waves.held()] == [wave.id]
        ann.task.use_rights(rights)
        await ann.task.waves.approve(wave.id)
        await world.settle()
        assert bob.disk.contents() == {(b"plan.locked",): b"the plan"}
