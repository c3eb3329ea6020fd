"""What is taken out of the way while names are exchanged is not hidden from its user when the exchange cannot go on,
and the exchange is done once its obstacle has gone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from syncd.store.counts import MAX_RETRY_S
from syncd.treetypes import Denied, Path
from tests.helpers.tasks import SimSite, World

ONE, TWO = (b"one", b"plan"), (b"two", b"idea")


@pytest.fixture
async def world(autojump_clock: MockClock) -> AsyncIterator[World]:
    world = World(["ann", "bob"])
    async with world.running():
        yield world


def close(site: SimSite, *closed: Path) -> None:
    """Nobody may change the names in these directories. (Opened by taking the hook away.)"""

    def deny(step: str, path: Path) -> None:
        if step in ("move", "move.target", "park", "unpark") and path[:-1] in closed:
            raise Denied("permission denied", path)

    site.disk.hook = deny


async def rename_in_turn(site: SimSite, *renames: tuple[Path, Path]) -> None:
    """One after the other, each noticed before the next."""
    for source, target in renames:
        site.disk.rename(source, target)
        await trio.sleep(5)


def files(site: SimSite) -> dict[Path, bytes]:
    return {path: content for path, content in site.disk.contents().items() if content is not None}


@pytest.mark.parametrize("closed", [(b"one",), (b"two",), (b"one", b"two")])
async def test_exchange_that_a_closed_directory_stops_hides_nothing_and_is_done_once_it_is_open(
    world: World, autojump_clock: MockClock, closed: tuple[bytes, ...]
) -> None:
    ann, bob = world["ann"], world["bob"]
    for path in (ONE, TWO):
        ann.disk.mkdir(path[:1])
        ann.disk.write(path, b"of " + path[0])
    await world.settle()
    world.cut()
    await rename_in_turn(bob, (ONE, (b"x",)), (TWO, ONE), ((b"x",), TWO))
    close(ann, *((name,) for name in closed))
    world.mend()
    for after_s in (30, 600):
        await trio.sleep(after_s)
        assert sorted(files(ann).values()) == [b"of one", b"of two"]
        assert all(path in (ONE, TWO) or path[0].startswith(b"plan (name ") for path in files(ann))
    assert any("SY-FILE-02" in problem for problem in ann.problems())
    ann.disk.hook = None
    await trio.sleep(2 * MAX_RETRY_S)
    world.demand_equal()
    world.demand_no_trouble()


async def test_directory_that_goes_into_the_one_that_takes_its_name_goes_once_it_may(
    world: World, autojump_clock: MockClock
) -> None:
    """One waits for the other's name, and that one for a place in the first."""
    ann, bob = world["ann"], world["bob"]
    for name in (b"one", b"two"):
        ann.disk.mkdir((name,))
        ann.disk.write((name, b"inside"), b"of " + name)
    await world.settle()
    world.cut()
    away = (b"away",)
    await rename_in_turn(bob, ((b"one",), away), ((b"two",), (b"one",)), (away, (b"one", b"below")))
    close(ann, ())
    world.mend()
    await trio.sleep(60)
    assert sorted(files(ann).values()) == [b"of one", b"of two"]
    assert any("SY-FILE-02" in problem for problem in ann.problems())
    ann.disk.hook = None
    await trio.sleep(2 * MAX_RETRY_S)
    world.demand_equal()
    world.demand_no_trouble()
