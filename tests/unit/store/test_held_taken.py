"""A name that something else here is said to have is given to nothing, whatever the disk says."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from syncd.engine.brake import Measures
from syncd.model.ids import ROOT_NODE
from syncd.store import rows, waves
from syncd.store.prepare import StepKind, What
from syncd.store.rows import ROOT_ROW
from tests.helpers.tasks import World
from tests.simulation.claim import two_at_a_name
from tests.unit.store.test_walks import publish, walk

PLAN, LOCKED = (b"plan.txt",), (b"plan.txt.locked",)


@pytest.mark.parametrize("yes", [True, False])
async def test_file_whose_name_was_given_to_another_that_waits_comes_when_that_is_over(
    yes: bool, autojump_clock: MockClock
) -> None:
    """While its content is on the way, another file is renamed to its name, waits for a person, and is deleted: the
    name is free on the disk, but in the rows it is not."""
    world = World(["ann", "bob"])
    ann, bob = world
    ann.measures = Measures(ransom=1)
    async with world.running():
        ann.disk.write(PLAN, b"the plan")
        await world.settle()
        bob.disk.write(LOCKED, b"what bob has locked" * 10_000)
        while not ann.task.puller.busy:  # noqa: ASYNC110 (looks as a stranger would)
            await trio.sleep(0.005)
        world.cut()
        ann.disk.rename(PLAN, LOCKED)
        await trio.sleep(5)
        [wave] = await ann.task.waves.held()
        ann.disk.delete(LOCKED)
        await trio.sleep(5)
        world.mend()
        await trio.sleep(30)
        assert not two_at_a_name(ann.task.store.connection)
        assert LOCKED not in ann.disk.contents()
        await (ann.task.waves.approve(wave.id) if yes else ann.task.waves.deny(wave.id))
        await world.settle()
        world.demand_equal()
        assert ann.disk.contents().keys() == ({LOCKED} if yes else {LOCKED, PLAN})
        assert not two_at_a_name(ann.task.store.connection)


@pytest.mark.parametrize("how", ["step", "intent"])
async def test_nothing_is_noted_at_a_name_that_is_just_being_given(how: str, autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann = world["ann"]
        ann.disk.write(PLAN, b"the plan")
        await world.settle()
        world.cut()
        store = ann.task.store
        [plan] = rows.read(store.connection, "WHERE l_name=?", PLAN)
        if how == "step":
            query = "INSERT INTO step(what, node, token, parent, name) VALUES (?,0,'t',?,?)"
            store.connection.execute(query, (int(StepKind.MOVE), ROOT_ROW, *LOCKED))
        else:
            query = "INSERT INTO intent VALUES ('t',0,0,0,0,?,?,?)"
            store.connection.execute(query, (int(What.CREATE), ROOT_ROW, *LOCKED))
        ann.disk.rename(PLAN, LOCKED)
        items, _ = walk(store, None)
        assert publish(store, items).again, "it is looked at once more"
        assert not waves.db_hold_moved(store.connection, [(plan.id, ROOT_NODE, *LOCKED)])
        ann.disk.rename(LOCKED, PLAN)
        ann.disk.write(LOCKED, b"a new file")
        items, _ = walk(store, None)
        assert publish(store, items).again == [LOCKED]
        assert [row.l_name for row in rows.read(store.connection, "WHERE l_kind=1")] == [*PLAN]
