"""What is still said of a disk that was full, when nothing else comes."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tests.helpers.tasks import SimSite, World

A_MINUTE_S = 60.0
BIG = (b"big",)


def codes(site: SimSite) -> list[str]:
    return [problem.code for problem in site.task.problems]


async def full(world: World) -> tuple[SimSite, SimSite]:
    """Ann has a file for which bob has no room."""
    ann, bob = world["ann"], world["bob"]
    ann.disk.write((b"note",), b"small")
    await world.settle()
    bob.disk.capacity = bob.disk.used + (1 << 20)
    ann.disk.write(BIG, bytes(range(256)) * (8 << 12))
    with trio.fail_after(A_MINUTE_S):
        while codes(bob) != ["SY-DISK-01"]:
            await bob.task.changed()
    return ann, bob


@pytest.mark.parametrize("is_alone", [True, False], ids=["nobody is reached", "it is not wanted any more"])
async def test_disk_is_not_called_full_a_minute_after_there_is_room(autojump_clock: MockClock, is_alone: bool) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = await full(world)
        if is_alone:
            world.cut()
            await trio.sleep(10)
            bob.disk.capacity = None
        else:
            ann.disk.delete(BIG)
        await trio.sleep(A_MINUTE_S)
        assert codes(bob) == []
        writes = list[str]()
        bob.disk.hook = lambda step, path: writes.append(step) if step == "stage_small" else None
        await trio.sleep(10 * A_MINUTE_S)
        assert writes == [], "a disk that is well is left alone"


async def test_disk_is_called_full_as_long_as_what_is_wanted_does_not_fit(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        _, bob = await full(world)
        world.cut()
        for _ in range(20):
            await trio.sleep(A_MINUTE_S / 2)
            assert codes(bob) == ["SY-DISK-01"], "what is there is not enough"
        bob.disk.capacity = bob.disk.used
        await trio.sleep(A_MINUTE_S)
        assert codes(bob) == ["SY-DISK-01"]
        bob.disk.capacity = None
        for wire in world.between(world["ann"], bob):
            wire.mend()
        await world.settle()
        assert codes(bob) == [] and bob.disk.read(BIG) == world["ann"].disk.read(BIG)
