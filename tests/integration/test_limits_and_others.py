"""A limit for one folder or peer holds up nobody else, neither what others send nor other folders."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import MockClock

from syncd.engine.limits import parse_limits
from tests.helpers.tasks import SimSite, World

SIZE = 12 << 20


async def until_so_much_is_here(site: SimSite, size: int) -> None:
    with trio.fail_after(60):
        while site.task.puller.partial_bytes < size:  # noqa: ASYNC110 (a staged block wakes nobody)
            await trio.sleep(0.01)


async def test_what_is_under_way_from_a_peer_that_is_paused_comes_from_another(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob", "carl"])
    ann, bob, carl = world
    async with world.running():
        await world.settle()
        for wire in (*world.between(ann, carl), *world.between(bob, carl)):
            wire.cut()
        ann.disk.write((b"film",), random.Random("film").randbytes(SIZE))
        await trio.sleep(60)
        assert (b"film",) in bob.disk.contents()
        for wire in world.between(bob, carl):
            wire.mend()
        await until_so_much_is_here(carl, 1)
        pace = carl.transfers.pace
        pace.names_of = lambda device: {"bob"} if device == bob.device else {"ann"}
        pace.set_limits(parse_limits("none", "none", [], ["peer bob down=pause"]))
        await trio.sleep(60)
        assert 0 < carl.task.puller.partial_bytes < SIZE
        world.mend()
        await world.settle(600)
        world.demand_equal()


@pytest.mark.parametrize("is_limited", [False, True])
async def test_folder_with_a_limit_and_one_without_wait_for_no_memory_of_each_other(
    autojump_clock: MockClock, is_limited: bool
) -> None:
    world = World(["ann", "bob"])
    ann, bob = world
    async with world.running():
        await world.settle()
        shared = bob.transfers
        if is_limited:
            shared.pace.set_limits(parse_limits("none", "none", [], ["folder bob down=1MB/s"]))
        of_others = shared.budget if is_limited else shared.limited
        async with of_others.take(1 << 40):
            ann.disk.write((b"film",), random.Random("film").randbytes(SIZE))
            await world.settle(600)
        world.demand_equal()
