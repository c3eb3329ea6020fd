"""Conflict copies are the same on every computer, their attributes too, whenever each of them made its own."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from tests.helpers.tasks import SimSite, World

PLAN = (b"plan",)


def copies(site: SimSite) -> dict[bytes, tuple[bytes, int, int]]:
    """Name -> content, mode, mtime."""
    found = {}
    for path, content in site.disk.contents().items():
        if b" (conflict " in path[-1] and content is not None:
            stat = site.disk.at(path).stat()
            found[path[-1]] = content, stat.mode, stat.mtime_ns
    return found


@pytest.mark.parametrize("mode", [0o700, 0o604])
async def test_copy_has_the_attributes_that_its_author_gave_it(mode: int, autojump_clock: MockClock) -> None:
    world = World(["ann", "bob", "eve"])
    ann, bob, eve = (world[name] for name in ("ann", "bob", "eve"))
    async with world.running():
        ann.disk.write(PLAN, b"first")
        await world.settle()
        world.cut()
        for site, content, own in ((ann, b"of ann", 0o640), (bob, b"of bob", mode)):
            site.disk.write(PLAN, content)
            site.disk.chmod(PLAN, own)
        await world.settle()
        for wire in (*world.between(ann, bob), *world.between(ann, eve)):
            wire.mend()
        await world.settle()
        ann.disk.chmod(PLAN, 0o600)  # eve makes her copy before or after she learns of that: it must not matter
        world.mend()
        await world.settle()
        assert copies(ann)
        assert copies(ann) == copies(bob) == copies(eve)
        (found,) = copies(ann).values()
        assert found[0] in (b"of ann", b"of bob")
        assert found[1] == (mode if found[0] == b"of bob" else 0o640)
        world.demand_equal()
