"""What a share link shows: what is in the folder and in place, whole and as the folder says it is."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from syncd.folder.pacing import Pacer, Pacers
from syncd.methods.handingout import HandedOut, _batches, all_below
from syncd.model.lists import BlockList
from syncd.model.paths import Path
from syncd.store import shared
from syncd.store.outside import BlockMissing
from tests.helpers.tasks import SimSite, World

PLAN: Path = (b"plan",)


async def content_of(site: SimSite, path: Path, start: int = 0, length: int | None = None) -> bytes | None:
    """What a recipient would get; None when there is nothing to get."""
    store = site.task.store
    thing = shared.db_at(store, path)
    found = None if thing is None else shared.db_bytes(store, thing)
    if found is None:
        return None
    handed = HandedOut(site.task, path, found, Pacers([Pacer()]))
    got = b""
    async for piece in handed.read(start, found.size - start if length is None else length):
        got += bytes(piece)
    return got


async def test_file_is_given_as_the_folder_has_it(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        large = bytes(range(256)) * 20_000
        ann.disk.write(PLAN, large)
        ann.disk.write((b"empty",), b"")
        await world.settle()
        assert await content_of(bob, PLAN) == large
        assert await content_of(bob, PLAN, 1_000_000, 70_000) == large[1_000_000:1_070_000]
        assert await content_of(bob, (b"empty",)) == b""
        assert await content_of(bob, (b"nothing",)) is None


@pytest.mark.parametrize("is_kept", [False, True])
async def test_t53_bytes_that_are_not_what_they_should_be_are_never_given(
    autojump_clock: MockClock, is_kept: bool
) -> None:
    """A disk that has rotted: another copy is taken, or nothing at all."""
    world = World(["ann", "bob"])
    async with world.running():
        bob = world["bob"]
        world["ann"].disk.write(PLAN, b"first")
        if is_kept:
            world["ann"].disk.write((b"copy",), b"first")
        await world.settle()
        bob.disk.rot(PLAN, b"FIRST")
        if is_kept:
            assert await content_of(bob, PLAN) == b"first"
        else:
            with pytest.raises(BlockMissing):
                await content_of(bob, PLAN)


async def test_link_follows_the_node_and_ends_with_it(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.write(PLAN, b"first")
        ann.disk.mkdir((b"room",))
        await world.settle()
        store = bob.task.store
        thing = shared.db_at(store, PLAN)
        assert thing is not None
        ann.disk.rename(PLAN, (b"room", b"renamed"))
        await world.settle()
        assert shared.db_path(store, thing.node) == (b"room", b"renamed")
        ann.disk.delete((b"room", b"renamed"))
        await world.settle()
        assert shared.db_node(store, thing.node) is None and shared.db_path(store, thing.node) is None
        ann.disk.write(PLAN, b"another")
        await world.settle()
        assert shared.db_node(store, thing.node) is None, "the name alone was never shared"
        found = shared.db_at(store, PLAN)
        assert found is not None and found.node != thing.node


async def test_directory_shows_no_links_and_leads_nowhere_else(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann = world["ann"]
        ann.disk.mkdir((b"room",))
        ann.disk.mkdir((b"room", b"inner"))
        ann.disk.write((b"room", b"inner", b"deep"), b"deep")
        ann.disk.write((b"secret",), b"secret")
        ann.disk.symlink((b"room", b"out"), b"../secret")
        await world.settle()
        store = world["bob"].task.store
        room = shared.db_at(store, (b"room",))
        assert room is not None
        assert [one.name for one in shared.db_inside(store, room, b"", 10)] == [b"inner"]
        assert shared.db_node(store, room.node, (b"out",)) is None
        for way in ((b"..",), (b"..", b"secret"), (b"secret",), (b"inner", b"deep", b"deep")):
            assert shared.db_node(store, room.node, way) is None
        deep = shared.db_node(store, room.node, (b"inner", b"deep"))
        assert deep is not None and deep.name == b"deep"
        below = await all_below(world["bob"].task, room)
        assert [path for path, _ in below] == [(b"inner",), (b"inner", b"deep")]
        assert shared.db_at(store, (b"room", b"out")) is None


async def test_edit_that_only_a_viewer_has_is_not_shown(autojump_clock: MockClock) -> None:
    world = World(["ann", "vic"], viewers=["vic"])
    async with world.running():
        vic = world["vic"]
        world["ann"].disk.write(PLAN, b"first")
        await world.settle()
        vic.disk.write((b"own",), b"only here")
        vic.disk.write(PLAN, b"changed here")
        await world.settle()
        assert vic.disk.read(PLAN) == b"changed here"
        assert await content_of(vic, PLAN) in (None, b"first")
        assert await content_of(vic, (b"own",)) is None


async def test_version_before_is_shown_while_the_new_one_is_not_whole(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.write(PLAN, b"first")
        await world.settle()
        ann.disk.write(PLAN, b"second")
        await world.settle()
        assert await content_of(bob, PLAN) == b"second"
        store = bob.task.store
        thing = shared.db_at(store, PLAN)
        assert thing is not None
        # As after the records of a third version came, and none of its blocks.
        other = b"\7" * len(store.connection.execute("SELECT blocks FROM node WHERE id=?", (thing.row,)).fetchone()[0])
        store.connection.execute(
            "UPDATE node SET l_blocks=blocks, l_listed=listed, l_cls=cls, blocks=?, pending=1 WHERE id=?",
            (other[:64] + (6).to_bytes(4, "big") + other[68:], thing.row),
        )
        assert await content_of(bob, PLAN) == b"second"


@pytest.mark.parametrize(("start", "length"), [(0, 0), (0, 1), (5, 10), (0, 4_000_000), (3_999_999, 1), (1_048_575, 2)])
async def test_batches_hold_exactly_what_is_asked_for(autojump_clock: MockClock, start: int, length: int) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        world["ann"].disk.write(PLAN, bytes(4_000_000))
        await world.settle()
        store = world["ann"].task.store
        thing = shared.db_at(store, PLAN)
        found = None if thing is None else shared.db_bytes(store, thing)
        assert found is not None
        lengths = [entry.length for entry in BlockList(found.packed)]
        batches = _batches(found.packed, start, length)
        assert sum(one.length for one in batches) == length
        at = start
        for one in batches:
            assert sum(lengths[: one.first]) + one.skip == at
            at += one.length
