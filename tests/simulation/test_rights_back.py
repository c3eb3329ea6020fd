"""What somebody did on their disk while they might not publish goes to everybody once they may, as what it is: an edit,
or something new. Nothing that others did meanwhile is lost for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from syncd.folder.ground import Rights
from tests.helpers.tasks import SimSite, World

PLAN, OWN, DEEP = (b"d", b"plan.txt"), (b"own",), (b"new", b"deep", b"file")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World(["ann", "bob"])
    async with world.running():
        await world.settle()
        ann = world["ann"]
        ann.disk.mkdir((b"d",))
        ann.disk.write(PLAN, b"as agreed")
        ann.disk.write((b"d", b"other"), b"other")
        await world.settle()
        may_publish(world["bob"], publishes=False)
        yield world


def may_publish(site: SimSite, *, publishes: bool) -> None:
    """As the roster says it to the task."""
    (site.members.viewers.discard if publishes else site.members.viewers.add)(site.device)
    site.task.use_rights(Rights(publishes=publishes))


async def work_alone(world: World) -> None:
    """Everything that stays on the disk of a viewer."""
    bob = world["bob"]
    bob.disk.write(PLAN, b"by bob, the viewer")
    bob.disk.write(OWN, b"of his own")
    bob.disk.mkdir(DEEP[:1])
    bob.disk.mkdir(DEEP[:2])
    bob.disk.write(DEEP, b"deep")
    bob.disk.symlink((b"new", b"link"), b"deep")
    await world.settle()
    assert bob.task.counts.only_here == 6
    assert world["ann"].disk.contents() == {(b"d",): None, PLAN: b"as agreed", (b"d", b"other"): b"other"}


async def test_everything_is_sent_when_the_right_comes_back(world: World, autojump_clock: MockClock) -> None:
    await work_alone(world)
    ann, bob = world["ann"], world["bob"]
    before = bob.disk.contents()
    may_publish(bob, publishes=True)
    await world.settle()
    world.demand_equal()
    assert ann.disk.contents() == bob.disk.contents() == before
    assert bob.task.counts.only_here == 0
    bob.disk.write(OWN, b"and went on")
    ann.disk.write(PLAN, b"and so did she")
    await world.settle()
    world.demand_equal()
    assert (ann.disk.read(OWN), bob.disk.read(PLAN)) == (b"and went on", b"and so did she")


async def test_what_others_changed_meanwhile_is_kept_beside_it(world: World, autojump_clock: MockClock) -> None:
    await work_alone(world)
    ann, bob = world["ann"], world["bob"]
    ann.disk.write(PLAN, b"by ann")
    ann.disk.write(OWN, b"another of that name")
    await world.settle()
    assert bob.disk.read(PLAN) == b"by bob, the viewer"
    may_publish(bob, publishes=True)
    await world.settle()
    world.demand_equal()
    shown = ann.disk.contents()
    contents = {b"by ann", b"by bob, the viewer", b"of his own", b"another of that name", b"deep", b"other"}
    assert contents <= set(shown.values()) and shown[DEEP] == b"deep"


async def test_what_others_deleted_meanwhile_comes_back_with_the_edit(world: World, autojump_clock: MockClock) -> None:
    await work_alone(world)
    ann, bob = world["ann"], world["bob"]
    ann.disk.delete((b"d",))
    await world.settle()
    may_publish(bob, publishes=True)
    await world.settle()
    world.demand_equal()
    assert ann.disk.read(PLAN) == b"by bob, the viewer"


async def test_rename_by_a_viewer_is_undone_and_its_content_kept(world: World, autojump_clock: MockClock) -> None:
    ann, bob = world["ann"], world["bob"]
    bob.disk.rename((b"d", b"other"), (b"d", b"renamed"))
    bob.disk.mkdir((b"new",))
    bob.disk.rename(PLAN, (b"new", b"plan.txt"))
    await world.settle()
    bob.disk.write((b"new", b"plan.txt"), b"edited there")
    await world.settle()
    may_publish(bob, publishes=True)
    await world.settle()
    world.demand_equal()
    assert ann.disk.contents() == {(b"d",): None, PLAN: b"edited there", (b"d", b"other"): b"other", (b"new",): None}


async def test_what_a_viewer_deleted_is_deleted_for_nobody(world: World, autojump_clock: MockClock) -> None:
    ann, bob = world["ann"], world["bob"]
    bob.disk.delete(PLAN)
    await world.settle()
    may_publish(bob, publishes=True)
    await world.settle()
    await trio.sleep(5)
    assert ann.disk.read(PLAN) == b"as agreed"
    assert bob.task.counts.only_here == 1
