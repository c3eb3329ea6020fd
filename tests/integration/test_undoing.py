"""What a removed member changed behind its removal is undone on the disk as well, and nothing of it is lost."""

from __future__ import annotations

from trio.testing import MockClock

from tests.helpers.tasks import SimSite, World

NOTE, PLAN, LIST, NEW = (b"note",), (b"plan",), (b"list",), (b"new",)


def seal(world: World, gone: SimSite, seen_by: SimSite) -> None:
    """The roster takes `gone` out, as of what `seen_by` knows of its journals now."""
    for device, incarnation, counter, _ in seen_by.task.store.journal.heads():
        if device == gone.device:
            world.members.seals[device, incarnation] = counter


async def test_late_changes_of_who_was_removed_are_undone_on_the_disk(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    ann, bob = world["ann"], world["bob"]
    async with world.running():
        for path, words in ((NOTE, b"first"), (PLAN, b"a plan"), (LIST, b"a list")):
            bob.disk.write(path, words)
        await world.settle()
        world.demand_equal()
        seal(world, bob, ann)
        bob.disk.write(NOTE, b"second")
        bob.disk.delete(PLAN)
        bob.disk.rename(LIST, (b"renamed",))
        bob.disk.write(NEW, b"never seen before")
        await world.settle()
        assert ann.disk.read(NOTE) == b"second"
        await bob.stop()
        world.members.viewers.add(bob.device)
        ann.task.roster_moved()
        await world.settle()
        assert ann.disk.read(NOTE) == b"first"
        assert ann.disk.read(PLAN) == b"a plan" and ann.disk.read(LIST) == b"a list"
        names = {path for path in ann.disk.contents() if path[:1] != (b".syncd",)}
        assert names == {NOTE, PLAN, LIST}
        old = (b".syncd", b"old")
        kept = [ann.disk.read((*old, name)) for name in ann.disk.directory(old).names]
        assert b"second" in kept and b"never seen before" in kept
        assert ann.task.counts.need_files == 0 and not ann.problems()


async def test_what_the_user_changed_meanwhile_is_kept(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    ann, bob = world["ann"], world["bob"]
    async with world.running():
        bob.disk.write(NOTE, b"first")
        await world.settle()
        seal(world, bob, ann)
        bob.disk.write(NOTE, b"second")
        await world.settle()
        ann.disk.write(NOTE, b"third, by ann")  # she has seen the second, so it counts
        await world.settle()
        await bob.stop()
        world.members.viewers.add(bob.device)
        ann.task.roster_moved()
        await world.settle()
        assert ann.disk.read(NOTE) == b"third, by ann"
