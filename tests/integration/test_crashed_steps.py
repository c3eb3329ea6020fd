"""The power fails between a step on the disk and its row: what syncd did is never taken for something a user did."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from syncd.treetypes import Path
from tests.helpers.tasks import SimSite, World

EVERYTHING = 1 << 30


def names(site: SimSite) -> set[bytes]:
    """The names that everybody has for living files and directories."""
    query = "SELECT name FROM node WHERE kind IN (1,2,3) AND name IS NOT NULL"
    return {bytes(name) for (name,) in site.task.store.connection.execute(query)}


def old_without_row(site: SimSite) -> set[bytes]:
    known = {token.encode() for (token,) in site.task.store.connection.execute("SELECT token FROM old")}
    return set(site.disk.directory((b".syncd", b"old")).names) - known


def pull_plug_behind(site: SimSite, verb: str) -> None:
    """The power fails at the first step that follows a `verb`: that was done, and no row says so."""
    reached = site.disk.hook
    assert reached is not None
    seen = False

    def hook(step: str, path: Path) -> None:
        nonlocal seen
        if seen:
            site.pull_plug_after(0)
        seen = seen or step == verb
        reached(step, path)

    site.disk.hook = hook


@pytest.mark.parametrize("verb", ["move.target", "make_dir", "retire", "flush_dirs", "create", "exchange"])
async def test_power_cut_behind_a_step(verb: str, autojump_clock: MockClock) -> None:
    """Two files are moved to one name, so that one of them gets a conflict name, which is a view and never a place; a
    directory is made, a file deleted, another replaced."""
    world = World(["ann", "bob"])
    ann, bob = world["ann"], world["bob"]
    async with world.running():
        for name in (b"one", b"two", b"gone", b"edited"):
            ann.disk.write((name,), name)
        await world.settle()
        world.cut()
        ann.disk.rename((b"one",), (b"same",))
        ann.disk.delete((b"gone",))
        ann.disk.mkdir((b"new dir",))
        ann.disk.write((b"new dir", b"in it"), b"new")
        ann.disk.write((b"edited",), b"second edition")
        bob.disk.rename((b"two",), (b"same",))
        await world.settle()
        pull_plug_behind(bob, verb)
        world.mend()
        await trio.sleep(120)  # virtual: until the power has failed
        assert not bob.is_running, f"there was no step behind {verb}"
        await bob.crash(keep=EVERYTHING)
        await world.start(bob)
        await world.settle()
        world.demand_equal()
        assert names(ann) == names(bob) == {b"same", b"new dir", b"in it", b"edited"}
        assert not old_without_row(bob)
        assert sorted(c for c in ann.disk.contents().values() if c) == [b"new", b"one", b"second edition", b"two"]
