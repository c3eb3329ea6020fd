"""One writer, clocks an hour apart that jump about: nothing is ever taken for a conflict."""

from __future__ import annotations

import os
import random

import pytest
import trio
from trio.testing import MockClock

from tests.helpers.tasks import MOMENT, SimClock, SimSite, World

OPERATIONS = int(os.environ.get("SYNCD_SOAK_OPERATIONS", "500"))
AT_ONCE = 20
AN_HOUR_S = 3600.0


class Skewed(SimClock):
    """Wrong by some constant, until somebody sets it."""

    def __init__(self) -> None:
        self.wrong_s = 0.0

    def now(self) -> float:
        return MOMENT + trio.current_time() + self.wrong_s


def work(site: SimSite, chance: random.Random, living: list[bytes]) -> None:
    """One operation of a user."""
    what = chance.choice(("new", "new", "edit", "edit", "edit", "save", "move", "delete", "touch"))
    if what == "new" or not living:
        name = b"file%d" % chance.randrange(1_000_000)
        if name not in living:
            living.append(name)
        site.disk.write((name,), chance.randbytes(chance.randrange(200)))
        return
    name = chance.choice(living)
    if what == "edit":
        site.disk.write((name,), chance.randbytes(chance.randrange(200)))
    elif what == "save":
        site.disk.save((name,), chance.randbytes(chance.randrange(200)))
    elif what == "touch":
        site.disk.chmod((name,), chance.choice((0o600, 0o644, 0o755)))
    else:
        living.remove(name)
        if what == "delete":
            site.disk.delete((name,))
        else:
            living.append(name + b"x")
            site.disk.rename((name,), (name + b"x",))


@pytest.mark.parametrize("seed", [1])
async def test_single_writer_never_makes_a_conflict(seed: int, autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"], seed)
    chance = random.Random(seed)
    clocks = {site.name: Skewed() for site in world}
    for site in world:
        site.clock = clocks[site.name]
    living: list[bytes] = []
    async with world.running():
        await world.settle()
        for number in range(0, OPERATIONS, AT_ONCE):
            for _ in range(AT_ONCE):
                work(world["ann"], chance, living)
            await trio.sleep(chance.random())
            clocks[chance.choice(("ann", "bob"))].wrong_s = chance.uniform(-AN_HOUR_S, AN_HOUR_S)
            if number % 200 == 0:
                await world.settle()
        await world.settle()
        for site in world:
            assert not [name for (name, *_) in site.disk.contents() if b" (conflict " in name]
            assert site.task.counts.conflicts == 0
            for held in await site.task.waves.held():
                await site.task.waves.approve(held.id)
        await world.settle()
        world.demand_equal()
