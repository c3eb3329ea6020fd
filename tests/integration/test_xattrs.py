"""Extended attributes on simulated computers: what travels, and what a disk that cannot hold them does to nobody."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from syncd.treetypes import IoFailed, Path, Personality
from tests.helpers.tasks import SimSite, World

FILE, DIR, LARGE = (b"photo",), (b"album",), (b"film",)
RATING, TAG = b"user.rating", b"user.tag"
NO_XATTRS = Personality(xattrs=False, modes=False, name="plain")


@pytest.fixture
async def world() -> World:
    return World(["ann", "bob"])


def xattrs(site: SimSite, path: Path) -> dict[bytes, bytes]:
    return dict(site.disk.at(path).xattrs)


async def fill(world: World) -> tuple[SimSite, SimSite]:
    """A small file, an empty one, a large one and a directory, each with a rating."""
    ann = world["ann"]
    ann.disk.write(FILE, b"pixels")
    ann.disk.write(LARGE, bytes(range(256)) * 4000)
    ann.disk.write((b"empty",), b"")
    ann.disk.mkdir(DIR)
    for path in (FILE, LARGE, DIR, (b"empty",)):
        ann.disk.set_xattr(path, RATING, b"5")
    await world.settle()
    return ann, world["bob"]


async def test_they_travel_with_contents_and_by_themselves(world: World, autojump_clock: MockClock) -> None:
    async with world.running():
        ann, bob = await fill(world)
        for path in (FILE, LARGE, DIR, (b"empty",)):
            assert xattrs(bob, path) == {RATING: b"5"}
        bob.disk.set_xattr(FILE, RATING, b"4")
        bob.disk.set_xattr(FILE, TAG, b"sea")
        bob.disk.set_xattr(DIR, RATING, None)
        await world.settle()
        assert xattrs(ann, FILE) == {RATING: b"4", TAG: b"sea"}
        assert xattrs(ann, DIR) == {}
        ann.disk.set_xattr(FILE, TAG, None)
        ann.disk.write(FILE, b"other pixels")
        ann.disk.rename(FILE, (b"renamed",))
        await world.settle()
        assert xattrs(bob, (b"renamed",)) == {RATING: b"4"}
        world.demand_equal()
        world.demand_no_trouble()


async def test_different_ones_on_both_sides_are_no_conflict(world: World, autojump_clock: MockClock) -> None:
    async with world.running():
        ann, bob = await fill(world)
        world.cut()
        ann.disk.set_xattr(FILE, TAG, b"by ann")
        bob.disk.set_xattr(FILE, b"user.other", b"by bob")
        bob.disk.write(FILE, b"edited by bob")
        await world.settle()
        world.mend()
        await world.settle()
        assert bob.disk.contents().keys() == ann.disk.contents().keys() == {FILE, LARGE, DIR, (b"empty",)}
        world.demand_equal()


async def test_disk_without_them_takes_them_from_nobody(world: World, autojump_clock: MockClock) -> None:
    bob = world["bob"]
    bob.disk.personality = NO_XATTRS
    async with world.running():
        ann, _ = await fill(world)
        ann.disk.chmod(FILE, 0o755)
        await world.settle()
        assert xattrs(bob, FILE) == {} and bob.disk.read(FILE) == b"pixels"
        bob.disk.write(FILE, b"edited where there are none")
        bob.disk.utime(LARGE, 10**18)
        bob.disk.rename(DIR, (b"moved",))
        await world.settle()
        assert ann.disk.read(FILE) == b"edited where there are none"
        assert ann.disk.stat(FILE).mode == 0o755, "nor does it take modes"
        assert ann.disk.stat(LARGE).mtime_ns == 10**18
        for path in (FILE, LARGE, (b"moved",)):
            assert xattrs(ann, path) == {RATING: b"5"}
        world.demand_no_trouble()
        bob.disk.personality = Personality(name="sim")  # the folder was moved to a better disk
        ann.disk.set_xattr(FILE, TAG, b"new")
        await world.settle()
        assert xattrs(bob, FILE) == {RATING: b"5", TAG: b"new"}


async def test_folder_that_is_moved_to_such_a_disk_takes_them_from_nobody(
    world: World, autojump_clock: MockClock
) -> None:
    async with world.running():
        ann, bob = await fill(world)
        await bob.stop()
        for path in (FILE, LARGE, DIR):
            bob.disk.set_xattr(path, RATING, None)
        bob.disk.personality = NO_XATTRS
        bob.disk.write(FILE, b"edited there")
        bob.disk.utime(LARGE, 10**18)
        await world.start(bob)
        await world.settle()
        assert ann.disk.read(FILE) == b"edited there"
        for path in (FILE, LARGE, DIR):
            assert xattrs(ann, path) == {RATING: b"5"}
        world.demand_no_trouble()


async def test_value_for_which_a_disk_has_no_room_stays_with_others(world: World, autojump_clock: MockClock) -> None:
    bob = world["bob"]
    bob.disk.xattr_room = 100
    async with world.running():
        ann, _ = await fill(world)
        ann.disk.set_xattr(FILE, TAG, bytes(101))
        await world.settle()
        assert xattrs(bob, FILE) == {RATING: b"5"}
        bob.disk.write(FILE, b"edited")
        bob.disk.set_xattr(FILE, RATING, b"1")
        await world.settle()
        assert xattrs(ann, FILE) == {RATING: b"1", TAG: bytes(101)}
        assert xattrs(bob, FILE) == {RATING: b"1"}
        world.demand_no_trouble()


async def test_only_those_of_users_travel(world: World, autojump_clock: MockClock) -> None:
    async with world.running():
        ann, bob = await fill(world)
        bob.disk.set_xattr(FILE, b"security.selinux", b"bob's")
        ann.disk.set_xattr(FILE, b"security.capability", b"all")
        ann.disk.set_xattr(FILE, b"user.overlay.opaque", b"y")
        ann.disk.set_xattr(FILE, TAG, b"sea")
        await world.settle()
        assert xattrs(bob, FILE) == {RATING: b"5", TAG: b"sea", b"security.selinux": b"bob's"}
        bob.disk.set_xattr(FILE, TAG, None)
        await world.settle()
        assert xattrs(ann, FILE).keys() == {RATING, b"security.capability", b"user.overlay.opaque"}


async def test_what_is_too_much_is_neither_sent_nor_taken_for_gone(world: World, autojump_clock: MockClock) -> None:
    async with world.running():
        ann, bob = await fill(world)
        ann.disk.set_xattr(FILE, TAG, bytes(70_000))
        await world.settle()
        assert xattrs(bob, FILE) == {RATING: b"5"}
        bob.disk.set_xattr(FILE, RATING, b"3")
        await world.settle()
        assert xattrs(ann, FILE) == {RATING: b"3", TAG: bytes(70_000)}
        bob.disk.write(FILE, b"edited by bob")
        await world.settle()
        assert ann.disk.read(FILE) == b"edited by bob"
        assert xattrs(ann, FILE) == {RATING: b"3", TAG: bytes(70_000)}, "nor lost with the old file"
        ann.disk.set_xattr(FILE, TAG, b"less")
        await world.settle()
        assert xattrs(bob, FILE) == {RATING: b"3", TAG: b"less"}


async def test_what_a_viewer_adds_stays_there(world: World, autojump_clock: MockClock) -> None:
    bob = world["bob"]
    bob.members.viewers.add(bob.device)
    async with world.running():
        ann, _ = await fill(world)
        bob.disk.set_xattr(FILE, TAG, b"bob's own")
        await world.settle()
        ann.disk.set_xattr(FILE, RATING, b"2")
        await world.settle()
        assert xattrs(bob, FILE) == {RATING: b"2", TAG: b"bob's own"}
        ann.disk.write(FILE, b"other pixels")
        await world.settle()
        assert bob.disk.read(FILE) == b"other pixels"
        assert xattrs(bob, FILE) == {RATING: b"2", TAG: b"bob's own"}
        assert xattrs(ann, FILE) == {RATING: b"2"}


async def test_same_file_on_two_disks_keeps_what_each_has(autojump_clock: MockClock) -> None:
    """Equal contents are one file, without a conflict; what only one side has is added."""
    world = World(["ann", "bob"])
    bob = world["bob"]
    bob.joins = True
    bob.disk.write(FILE, b"pixels")
    bob.disk.set_xattr(FILE, TAG, b"bob's")
    bob.disk.set_xattr(FILE, RATING, b"1")
    world["ann"].disk.write(FILE, b"pixels")
    world["ann"].disk.set_xattr(FILE, RATING, b"5")
    async with world.running():
        await world.settle()
        assert bob.disk.contents() == {FILE: b"pixels"}
        world.demand_equal()
        assert xattrs(bob, FILE)[TAG] == b"bob's"


async def standing_alone(world: World) -> tuple[SimSite, SimSite]:
    """A viewer has noted something on a file, which nobody was told of."""
    bob = world["bob"]
    bob.members.viewers.add(bob.device)
    ann, _ = await fill(world)
    bob.disk.set_xattr(FILE, TAG, b"bob's own")
    await world.settle()
    return ann, bob


async def test_full_disk_replaces_nothing_whose_attributes_are_nowhere_else(
    world: World, autojump_clock: MockClock
) -> None:
    """What is replaced goes into a pack, which holds none."""
    async with world.running():
        ann, bob = await standing_alone(world)
        bob.disk.xattr_room = 0
        ann.disk.write(FILE, b"other pixels")
        await trio.sleep(60)
        assert bob.disk.read(FILE) == b"pixels"
        assert xattrs(bob, FILE)[TAG] == b"bob's own"
        assert any("SY-DISK-01" in problem for problem in bob.problems())
        bob.disk.xattr_room = None
        await world.settle()
        assert bob.disk.read(FILE) == b"other pixels"
        assert xattrs(bob, FILE) == {RATING: b"5", TAG: b"bob's own"}
        world.demand_no_trouble()


@pytest.mark.parametrize("step", ["dress_staged", "set_attributes"])
async def test_disk_that_fails_over_attributes_loses_none(world: World, autojump_clock: MockClock, step: str) -> None:
    async with world.running():
        ann, bob = await standing_alone(world)
        bob.disk.fail_at(1, IoFailed("simulated"), step)
        ann.disk.write(FILE, b"other pixels")
        await world.settle()
        assert bob.disk.read(FILE) == b"other pixels"
        assert xattrs(bob, FILE) == {RATING: b"5", TAG: b"bob's own"}


async def test_power_cut_at_any_step_of_a_replacement_loses_no_attributes(
    world: World, autojump_clock: MockClock
) -> None:
    async with world.running():
        ann, bob = await standing_alone(world)
        for steps in range(1, 80):
            ann.disk.write(FILE, b"pixels %d" % steps)
            bob.pull_plug_after(steps)
            await trio.sleep(10)
            await bob.crash(keep=1000)
            await world.start(bob)
            await world.settle()
            assert bob.disk.read(FILE) == b"pixels %d" % steps
            assert xattrs(bob, FILE) == {RATING: b"5", TAG: b"bob's own"}, steps
