"""The task that lets events settle, fed by hand on virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from syncd.store.watch import watch
from syncd.treetypes import Dirty
from tests.helpers.simdisk import SimDisk


@asynccontextmanager
async def watching(disk: SimDisk) -> AsyncIterator[trio.MemoryReceiveChannel[Dirty]]:
    send, receive = trio.open_memory_channel[Dirty](0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, disk.watch(), send)
        assert (await receive.receive()).rescan
        yield receive
        nursery.cancel_scope.cancel()


async def test_saved_file_is_told_200_ms_later(autojump_clock: trio.testing.MockClock) -> None:
    disk = SimDisk()
    async with watching(disk) as dirty:
        await trio.sleep(5)
        started = trio.current_time()
        disk.write((b"a",), b"1")
        assert await dirty.receive() == Dirty({(): frozenset({b"a"})})
        assert 0.2 <= trio.current_time() - started < 0.3


async def test_open_file_is_told_two_seconds_later(autojump_clock: trio.testing.MockClock) -> None:
    disk = SimDisk()
    disk.write((b"a",), b"1")
    async with watching(disk) as dirty:
        file = disk.open((b"a",))
        await trio.sleep(1)
        started = trio.current_time()
        file.write(b"2")
        await dirty.receive()
        assert 2.0 <= trio.current_time() - started < 2.1


async def test_changes_gather_while_the_receiver_is_busy(autojump_clock: trio.testing.MockClock) -> None:
    disk = SimDisk()
    async with watching(disk) as dirty:
        for number in range(100):
            disk.write((b"%d" % number,), b"")
            await trio.sleep(1)
        batches = [await dirty.receive(), await dirty.receive()]
    assert sum(len(names or ()) for batch in batches for names in batch.names.values()) == 100


async def test_silence_tells_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with watching(SimDisk()) as dirty:
        with trio.move_on_after(3600) as hour:
            await dirty.receive()
        assert hour.cancelled_caught
