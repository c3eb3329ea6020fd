"""What a removed device publishes behind its removal, handed on by somebody who had not heard of it: it fills a bounded
room, holds up nobody, and comes in as far as somebody with rights had seen it."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from ca.ids import DeviceId, EntryHash
from syncd.store.apart import Room, Rooms, db_apart
from tests.helpers.tasks import ROSTER_HEAD, Members, SimSite, World, device_keys, picture

LATER_HEAD = EntryHash(b"L" * 32)
SMALL = Rooms(Room(4, 1 << 20), Room(6, 1 << 20), Room(1, 64 << 10))
NAMES = ("ann", "cid", "bob")


class Removing(Members):
    """A roster of two entries; the second takes out whoever is in `removed`."""

    def __init__(self) -> None:
        super().__init__(device_keys(name) for name in NAMES)
        self.removed: set[DeviceId] = set()

    @property
    def head(self) -> EntryHash:
        return LATER_HEAD if self.removed else ROSTER_HEAD

    def number_of(self, head: EntryHash) -> int | None:
        return {ROSTER_HEAD: 0, LATER_HEAD: 1}.get(head)

    def may_publish(self, device: DeviceId, head: EntryHash) -> bool:
        return super().may_publish(device, head) and not (device in self.removed and head == LATER_HEAD)

    def seal(self, gone: SimSite, seen_by: SimSite) -> None:
        for device, incarnation, counter, _ in seen_by.task.store.journal.heads():
            if device == gone.device:
                self.seals[device, incarnation] = counter


async def write_each(site: SimSite, names: range) -> None:
    """So many files, each in a changeset of its own."""
    for number in names:
        site.disk.write((b"late %d" % number,), b"%d" % number)
        await trio.sleep(5)
    await trio.sleep(10)


async def test_flood_of_a_removed_device_is_left_out_and_what_was_seen_of_it_comes_in(
    autojump_clock: MockClock,
) -> None:
    world, members = World(NAMES), Removing()
    for site in world:
        site.members = members
    ann, cid, bob = world
    async with world.running():
        bob.disk.write((b"note",), b"in time")
        await world.settle()
        members.seal(bob, ann)
        ann.task.store.journal.rooms = SMALL
        for other in (cid, bob):
            for wire in world.between(ann, other):
                wire.cut()
        await write_each(bob, range(10))
        cid.disk.write((b"seen",), b"by cid, who knew the ten")
        await trio.sleep(30)
        await write_each(bob, range(10, 40))
        await bob.stop()
        members.removed.add(bob.device)
        for site in (ann, cid):
            site.task.roster_moved()
        for wire in world.between(ann, cid):
            wire.mend()
        await world.settle()
        names = {path[0] for path in ann.disk.contents() if path[0] != b".syncd"}
        assert names == {b"note", b"seen", *(b"late %d" % number for number in range(10))}
        assert picture(ann.disk) == picture(cid.disk)
        (apart,) = db_apart(ann.task.store.connection)
        assert apart.device == bob.device
        assert apart.changesets <= 4 and apart.left_out_ms is not None
        cid.disk.write((b"later",), b"work goes on")
        await world.settle()
        assert picture(ann.disk) == picture(cid.disk)
