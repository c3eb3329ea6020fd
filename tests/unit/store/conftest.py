"""What several tests of the store begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.helpers.tasks import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Ann replaced a file of five bytes; bob's old inode of it lies in his `.syncd/old`."""
    world = World(["ann", "bob"])
    async with world.running():
        ann = world["ann"]
        ann.disk.write((b"plan",), b"first")
        await world.settle()
        ann.disk.write((b"plan",), b"second")
        await world.settle()
        world.cut()
        yield world
