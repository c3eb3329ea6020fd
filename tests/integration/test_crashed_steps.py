"""The power fails between a step on the disk and its row: what syncd did is never taken for something a user did."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tests.helpers.tasks import SimSite, World

EVERYTHING = 1 << 30


def names(site: SimSite) -> set[bytes]:
    """The names that everybody has for living files and directories."""
    query = "SELECT name FROM node WHERE kind IN (1,2,3) AND name IS NOT NULL"
    return {bytes(name) for (name,) in site.task.store.connection.execute(query)}


def old_without_row(site: SimSite) -> set[bytes]:
    known = {token.encode() for (token,) in site.task.store.connection.execute("SELECT token FROM old")}
    return set(site.disk.directory((b".syncd", b"old")).names) - known


@pytest.mark.parametrize("steps", range(40))
async def test_power_cut_in_the_middle_of_steps(steps: int, autojump_clock: MockClock) -> None:
    """Two files are moved to one name, so that one of them gets a conflict name, which is a view and never a place; a
    directory is made, another removed, a file deleted."""
    world = World(["ann", "bob"], seed=steps)
    ann, bob = world["ann"], world["bob"]
    async with world.running():
        for name in (b"one", b"two", b"gone"):
            ann.disk.write((name,), name)
        ann.disk.mkdir((b"old dir",))
        await world.settle()
        world.cut()
        ann.disk.rename((b"one",), (b"same",))
        ann.disk.delete((b"gone",))
        ann.disk.delete((b"old dir",))
        ann.disk.mkdir((b"new dir",))
        ann.disk.write((b"new dir", b"in it"), b"new")
        bob.disk.rename((b"two",), (b"same",))
        await world.settle()
        bob.pull_plug_after(steps)
        world.mend()
        await trio.sleep(120)  # virtual: until all is done, or the power failed
        if not bob.is_running:
            await bob.crash(keep=EVERYTHING)
            await world.start(bob)
        await world.settle()
        world.demand_equal()
        assert names(ann) == names(bob) == {b"same", b"new dir", b"in it"}
        assert not old_without_row(bob)
        assert sorted(c for c in ann.disk.contents().values() if c) == [b"new", b"one", b"two"]
