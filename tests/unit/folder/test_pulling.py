"""Contents on their way that nobody wants any more are asked of nobody."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from syncd.model.cipher import BlockKind
from syncd.model.lists import pack_entry
from syncd.store.prepare import Want, What
from syncd.store.rows import FILE
from tests.helpers.tasks import World, keyring

LENGTH = 100_000


def wanted(count: int) -> Want:
    """A file of blocks that nobody has."""
    cipher = keyring().cipher()
    packed = b""
    for number in range(count):
        sealed = cipher.seal(BlockKind.DATA, bytes([number + 1]) * LENGTH)
        packed += pack_entry(sealed.pid, sealed.cid, LENGTH, cipher.epoch)
    return Want(
        What.CREATE, 99, 1, 0, b"t" * 32, FILE, count * LENGTH, 0, packed, 0, 0o644, 0, 1, b"new", (b"new",),
        packed=packed,
    )  # fmt: skip


@pytest.mark.parametrize("step", ["FolderStore.db_needed", "Stager.begin"])
async def test_content_that_is_let_go_of_while_it_is_begun_is_asked_of_nobody(
    autojump_clock: MockClock, step: str
) -> None:
    world = World(["ann"])
    async with world.running(), trio.open_nursery() as nursery:
        ann, want = world["ann"], wanted(3)
        ann.disk.write((b"first",), b"content")
        await world.settle()
        puller = ann.task.puller

        calls: list[str] = []

        def called(name: str) -> None:
            calls.append(name)
            if calls.count(step) == 1 and name == step:
                nursery.start_soon(puller.let_go, [want])

        ann.on_call = called
        await puller.offer([want])
        await trio.sleep(1)
        assert step in calls
        assert not puller.busy
        assert not puller.pull.wanted_bytes
        assert not puller.pull
        await puller.offer([want])  # it is wanted anew
        assert puller.pull.wanted_bytes == 3 * LENGTH
        await puller.let_go([want])
        assert not puller.pull.wanted_bytes
