"""What lies in syncd's own places after a crash or a late writer, and is nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from trio.testing import MockClock

from ca.ids import DeviceId
from syncd.store.folder import FolderStore
from syncd.store.recovery import (
    KEEP_OLD_S,
    compare_superseded,
    db_let_go,
    db_recheck_old,
    db_recover_intents,
    db_superseded,
    publish_late_edits,
)
from syncd.store.scan import Walk
from syncd.treetypes import IoFailed, Path, Space, Stat
from tests.helpers.tasks import MOMENT, SimSite, World

FILE = (b"plan",)
LONG_AFTER = MOMENT + 10 * KEEP_OLD_S
NOW_MS = int(MOMENT * 1000)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Ann replaced a file of five bytes; bob's old inode of it lies in his `.syncd/old`."""
    world = World(["ann", "bob"])
    async with world.running():
        ann = world["ann"]
        ann.disk.write(FILE, b"first")
        await world.settle()
        ann.disk.write(FILE, b"second")
        await world.settle()
        world.cut()
        yield world


def old(site: SimSite) -> tuple[Path, Stat]:
    (name,) = site.disk.directory((b".syncd", b"old")).names
    path = (b".syncd", b"old", name)
    return path, site.disk.at(path).stat()


def housekeeping(store: FolderStore, now: float = LONG_AFTER) -> int:
    """One round, as the folder's task does it."""
    edits = db_recheck_old(store, now, NOW_MS)
    return edits + db_let_go(store, compare_superseded(store, db_superseded(store, now)), NOW_MS)


def heads(store: FolderStore) -> int:
    (count,) = store.connection.execute("SELECT heads FROM node WHERE name=?", FILE).fetchone()
    return int(count)


async def test_what_was_replaced_goes_after_its_time_and_not_before(world: World, autojump_clock: MockClock) -> None:
    store = world["bob"].task.store
    housekeeping(store, MOMENT + KEEP_OLD_S / 2)
    old(world["bob"])
    assert housekeeping(store) == 0
    assert not world["bob"].disk.directory((b".syncd", b"old")).names
    assert store.connection.execute("SELECT count(*) FROM old").fetchone() == (0,)


@pytest.mark.parametrize(("free", "hours", "goes"), [(5, 1, False), (5, 30, True), (0, 1, True), (20, 30, False)])
async def test_disk_that_is_short_still_leaves_a_day(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, free: int, hours: int, goes: bool
) -> None:
    """Else a disk that is always rather full would keep nothing of what others delete."""
    store = world["bob"].task.store
    monkeypatch.setattr(store.tree, "space", lambda: Space(free, 100))
    housekeeping(store, MOMENT + hours * 3600)
    assert bool(world["bob"].disk.directory((b".syncd", b"old")).names) is not goes


async def test_bytes_that_changed_under_an_unchanged_stat_are_published_and_not_dropped(
    world: World, autojump_clock: MockClock
) -> None:
    """A program that maps a file writes exactly so; the stat was compared before, and was the same."""
    bob = world["bob"]
    store = bob.task.store
    path, stat = old(bob)
    housekeeping(store, MOMENT + 1000)
    bob.disk.rot(path, b"FIRST")
    assert old(bob)[1] == stat
    assert housekeeping(store) == 1
    assert bob.disk.read(path) == b"FIRST"
    assert heads(store) == 2


async def test_bytes_that_change_between_the_comparison_and_the_drop_stay(
    world: World, autojump_clock: MockClock
) -> None:
    bob = world["bob"]
    store = bob.task.store
    path, _ = old(bob)
    db_recheck_old(store, LONG_AFTER, NOW_MS)
    compared = compare_superseded(store, db_superseded(store, LONG_AFTER))
    bob.disk.write(path, b"late!!")
    assert db_let_go(store, compared, NOW_MS) == 1
    assert bob.disk.read(path) == b"late!!"
    assert heads(store) == 2


async def test_disk_that_does_not_answer_is_no_reason_to_drop(world: World, autojump_clock: MockClock) -> None:

    bob = world["bob"]
    store = bob.task.store
    db_recheck_old(store, LONG_AFTER, NOW_MS)
    due = db_superseded(store, LONG_AFTER)
    bob.disk.fail_at(1, IoFailed("a bad sector"))
    assert db_let_go(store, compare_superseded(store, due), NOW_MS) == 0
    old(bob)
    assert store.connection.execute("SELECT count(*) FROM old").fetchone() == (1,)


async def test_edit_that_a_crash_kept_from_being_published_is_published_later(
    world: World, autojump_clock: MockClock
) -> None:
    """The row of an inode that was edited in the last moment says so until the edit is published."""
    bob = world["bob"]
    store = bob.task.store
    store.connection.execute("UPDATE old SET ino=NULL, size=NULL, mtime=NULL, ctime=NULL")
    assert db_recheck_old(store, LONG_AFTER, NOW_MS) == 1
    assert heads(store) == 2
    assert db_recheck_old(store, LONG_AFTER, NOW_MS) == 0


async def test_late_edit_of_a_device_that_may_not_publish_is_kept_for_good(
    world: World, autojump_clock: MockClock
) -> None:
    bob = world["bob"]
    store = bob.task.store
    world.members.viewers.add(DeviceId(bob.device))
    path, _ = old(bob)
    bob.disk.write(path, b"late!!")
    before = store.journal.newest_seq()
    (number,) = store.connection.execute("SELECT id FROM old").fetchone()
    assert publish_late_edits(store, [number], NOW_MS) == 0
    assert housekeeping(store) == 0
    assert store.journal.newest_seq() == before
    assert bob.disk.read(path) == b"late!!"


async def test_what_a_crash_left_between_two_names_is_no_deletion(world: World, autojump_clock: MockClock) -> None:
    bob = world["bob"]
    store = bob.task.store
    stat = store.tree.stat(FILE)
    store.tree.park(FILE, b"token", stat)  # the power fails before any row says so
    db_recover_intents(store, MOMENT)
    walk = Walk(store.connection, store.journal.sources, store.tree, lambda path, is_directory: False, None)
    while walk.step(1000) is not None:
        pass
    assert not walk.missing()
    page, _ = store.db_plan(0, MOMENT, frozenset())
    assert page.steps or page.wants
    assert store.connection.execute("SELECT l_parent, l_name FROM node WHERE name=?", FILE).fetchone() == (0, b"token")


async def test_what_lies_parked_and_belongs_to_nobody_becomes_visible(world: World, autojump_clock: MockClock) -> None:
    bob = world["bob"]
    store = bob.task.store
    bob.disk.write((b"mine",), b"mine")
    store.tree.park((b"mine",), b"token", store.tree.stat((b"mine",)))
    db_recover_intents(store, MOMENT)
    assert bob.disk.read((b"token",)) == b"mine"


async def test_crash_just_before_an_exchange_leaves_nothing_in_the_way(world: World, autojump_clock: MockClock) -> None:
    """The staged content had left the stage already: it is no old inode, and must not bar the next attempt."""
    bob = world["bob"]
    store = bob.task.store
    node, cs, idx = store.connection.execute("SELECT id, c_cs, c_idx FROM node WHERE name=?", FILE).fetchone()
    store.connection.execute("INSERT INTO intent VALUES ('ff',?,?,?,0,2,1,?)", (node, cs, idx, FILE[0]))
    bob.disk.write(FILE, b"first")
    store.tree.stage_small(b"aa", b"second", 0o600, None)
    stat = store.tree.stat(FILE)
    store.tree.exchange(b"aa", FILE, stat)
    bob.disk.rename((b".syncd", b"old", b"aa"), (b".syncd", b"old", b"ff"))  # `ff` holds the old bytes …
    bob.disk.write((b".syncd", b"old", b"ff"), b"second")  # … or rather, what was staged
    bob.disk.write(FILE, b"first")
    db_recover_intents(store, MOMENT)
    assert (b"ff") not in bob.disk.directory((b".syncd", b"old")).names
    assert bob.disk.read(FILE) == b"first"
