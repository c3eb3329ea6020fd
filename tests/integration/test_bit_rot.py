"""Bytes that change under an unchanged stat: never published as rot, healed from a peer, told from a mapped file."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path as FilePath

import pytest
import trio
from trio.testing import MockClock

from syncd.store.doubts import EVERY_S, STEP_S
from syncd.store.tree import DirTree
from tests.helpers.tasks import SimSite, World
from tests.suites.tree_suite import MARKER

BOOK = (b"book",)
GOOD, BAD = b"first edition", b"first edit1on"


async def written_long_ago(world: World) -> tuple[SimSite, SimSite]:
    ann, bob = world["ann"], world["bob"]
    ann.disk.write(BOOK, GOOD)
    node = ann.disk.at(BOOK)
    node.mtime_ns = node.ctime_ns = node.mtime_ns - int(2 * EVERY_S * 1e9)
    await world.settle()
    return ann, bob


def read_long_ago(site: SimSite) -> None:
    """As if the last reading of everything were a month ago."""
    site.task.store.connection.execute("UPDATE node SET l_seen=l_seen-?", (int(EVERY_S * 1e9),))


def codes(site: SimSite) -> set[str]:
    return {problem.code for problem in site.task.problems}


def old_contents(site: SimSite) -> set[bytes]:
    names = site.disk.directory((b".syncd", b"old")).names
    return {site.disk.read((b".syncd", b"old", name)) for name in names}


async def test_rot_is_found_by_the_slow_reading_and_healed_and_never_travels(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = await written_long_ago(world)
        own_head = ann.task.store.journal.own_head()
        ann.disk.rot(BOOK, BAD)
        read_long_ago(ann)
        await trio.sleep(4 * STEP_S)
        assert ann.disk.read(BOOK) == bob.disk.read(BOOK) == GOOD
        assert ann.task.store.journal.own_head() == own_head  # nothing was published
        assert ann.task.store.connection.execute("SELECT path, size FROM rot").fetchall() == [(b"book", len(GOOD))]
        await world.settle()
        assert not codes(ann)


async def test_rot_that_a_peer_meets_is_not_served_and_looked_into_at_once(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        world.cut()
        ann.disk.write(BOOK, GOOD)
        node = ann.disk.at(BOOK)
        node.mtime_ns = node.ctime_ns = node.mtime_ns - int(2 * EVERY_S * 1e9)
        await trio.sleep(20)
        ann.disk.rot(BOOK, BAD)
        world.mend()
        await trio.sleep(60)
        assert BOOK not in bob.disk.contents()
        assert codes(ann) == {"SY-FILE-10"}
        ann.disk.rot(BOOK, GOOD)  # a cable was loose
        await world.settle()
        assert bob.disk.read(BOOK) == GOOD


@pytest.mark.slowest
async def test_mapped_file_that_is_still_written_waits_and_becomes_an_edit(autojump_clock: MockClock) -> None:
    """Its times are young, so it cannot be rot."""
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.write(BOOK, GOOD)
        await world.settle()
        program = ann.disk.open(BOOK)
        ann.disk.rot(BOOK, BAD)
        await ann.task.doubter.step(everything=True)
        assert codes(ann) == {"SY-FILE-10"}
        assert bob.disk.read(BOOK) == GOOD
        await trio.sleep(3 * STEP_S)
        assert bob.disk.read(BOOK) == GOOD  # open for writing: nobody knows yet what it will be
        program.close()
        await trio.sleep(4 * STEP_S)
        await world.settle()
        assert ann.disk.read(BOOK) == bob.disk.read(BOOK) == BAD
        assert not codes(ann)


async def test_wrong_reading_that_does_not_come_again_is_forgotten(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = await written_long_ago(world)
        ann.disk.rot(BOOK, BAD)
        await ann.task.doubter.step(everything=True)
        assert codes(ann) == {"SY-FILE-10"}
        ann.disk.rot(BOOK, GOOD)
        await trio.sleep(3 * STEP_S)
        await world.settle()
        assert ann.task.store.connection.execute("SELECT count(*) FROM doubt").fetchone() == (0,)
        assert ann.task.store.connection.execute("SELECT count(*) FROM rot").fetchone() == (0,)
        assert ann.disk.read(BOOK) == bob.disk.read(BOOK) == GOOD


async def test_what_rotted_is_kept_aside(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, _ = await written_long_ago(world)
        ann.disk.rot(BOOK, BAD)
        await ann.task.doubter.step(everything=True)
        await trio.sleep(STEP_S)
        await ann.task.doubter.step(everything=True)
        await trio.sleep(5)
        assert ann.disk.read(BOOK) == GOOD
        assert old_contents(ann) == {BAD}


@pytest.mark.needs("linux")
def test_mapping_for_writing_is_seen_by_the_tree(tmp_path: FilePath) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "home").mkdir()
    (root / "book").write_bytes(GOOD)
    tree = DirTree(bytes(root), str(tmp_path / "home"), time.monotonic)
    tree.write_marker(MARKER)
    reader = tree.open_read(BOOK)
    reader.drop_cache()
    assert not reader.is_open_for_writing()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    descriptor = os.open(root / "book", os.O_RDWR)
    place = libc.mmap(None, 4096, 3, 1, descriptor, 0)  # readable and writable, shared
    os.close(descriptor)
    assert reader.is_open_for_writing()
    libc.munmap(place, 4096)
    assert not reader.is_open_for_writing()
    reader.close()
    tree.close()


async def test_suspect_file_is_told_until_it_has_been_judged(autojump_clock: MockClock) -> None:
    """Looks at its name find the stat that it had, and do not end that."""
    world = World(["ann", "bob"])
    async with world.running():
        ann, _ = await written_long_ago(world)
        ann.disk.rot(BOOK, BAD)
        await ann.task.doubter.step(everything=True)
        for _ in range(8):
            await trio.sleep(60)
            assert codes(ann) == {"SY-FILE-10"}
        await trio.sleep(4 * STEP_S)
        assert not codes(ann)
        assert ann.disk.read(BOOK) == GOOD
