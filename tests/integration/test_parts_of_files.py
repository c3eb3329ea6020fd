"""What has arrived of a file that is not complete yet can be had from there."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import MockClock

from syncd.protocol.exchange import FrameStatus
from syncd.protocol.frames import FrameReader
from tests.helpers.tasks import SimSite, World

SIZE = 12 << 20


async def until_so_much_is_here(site: SimSite, size: int) -> None:
    with trio.fail_after(60):
        while site.task.puller.partial_bytes < size:  # noqa: ASYNC110 (a staged block wakes nobody)
            await trio.sleep(0.01)


async def lies_in_parts(world: World) -> int:
    """Ann is gone, and bob has a part of her film; how many bytes."""
    ann, bob, carl = world
    world.cut()
    ann.disk.write((b"film",), random.Random("film").randbytes(SIZE))
    for wire in world.between(ann, bob):
        wire.mend()
    await until_so_much_is_here(bob, 1)
    for wire in world.between(ann, bob):
        wire.cut()
    for wire in world.between(bob, carl):
        wire.mend()
    await trio.sleep(5)  # what had been received is written
    return bob.task.puller.partial_bytes


async def test_part_of_a_file_travels_on_before_the_rest_of_it_has_come(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob", "carl"])
    async with world.running():
        await world.settle()
        part = await lies_in_parts(world)
        carl = world["carl"]
        assert 0 < part < SIZE
        await until_so_much_is_here(carl, part)
        assert carl.task.puller.partial_bytes == part
        world.mend()
        await world.settle()
        world.demand_equal()
        assert carl.task.puller.partial_bytes == 0


@pytest.mark.parametrize("damaged", [False, True])
async def test_part_that_is_not_what_it_was_any_more_is_not_served(autojump_clock: MockClock, damaged: bool) -> None:
    world = World(["ann", "bob", "carl"])
    async with world.running():
        await world.settle()
        await lies_in_parts(world)
        bob = world["bob"]
        (staging,) = bob.task.puller.stagings
        cids = list(staging.arrived)
        if damaged:
            assert staging.writer is not None
            staging.writer.write_at(0, bytes(SIZE))
        reader = FrameReader([1 << 20] * len(cids))
        frames = []
        async for piece in bob.task.server.serve_blocks(cids):
            frames += reader.feed_untrusted(piece)
        expected = {FrameStatus.CHANGED} if damaged else {FrameStatus.OK}
        assert len(frames) == len(cids)
        assert {frame.status for frame in frames} == expected
