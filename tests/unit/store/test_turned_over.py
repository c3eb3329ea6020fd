"""Directories that change places with those above them: no row may ever say that one stands in itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from trio.testing import MockClock

from syncd.store import rows, waves
from syncd.store.folder import FolderStore
from syncd.store.scan import below
from tests.helpers.tasks import SimSite, World
from tests.unit.store.test_walks import publish, walk

OUTER, INNER, OTHER = (b"outer",), (b"outer", b"middle", b"inner"), (b"other",)
TURNED = (b"inner", b"outer")


@pytest.fixture
async def ann() -> AsyncIterator[SimSite]:
    """A directory in a directory in a directory, with a file at the bottom, all published."""
    world = World(["ann", "bob"])
    async with world.running():
        disk = world["ann"].disk
        for depth in (1, 2, 3):
            disk.mkdir(INNER[:depth])
        disk.write((*INNER, b"file"), b"at the bottom")
        await world.settle()
        world.cut()
        yield world["ann"]


def turn_over(site: SimSite) -> None:
    """The innermost comes out, and the outermost goes into it."""
    site.disk.rename(INNER, TURNED[:1])
    site.disk.rename(OUTER, TURNED)


def places(store: FolderStore) -> dict[bytes, bytes | None]:
    """By its name, the name of the directory in which a row says that one stands."""
    found = rows.read(store.connection, "WHERE l_kind=2")
    names = {row.id: row.l_name for row in found}
    return {row.l_name: names[row.l_parent] for row in found if row.l_name is not None and row.l_parent in names}


def row_of(store: FolderStore, name: bytes) -> int:
    [row] = rows.read(store.connection, "WHERE l_name=?", (name,))
    return row.id


async def test_all_that_was_turned_over_is_told_at_once(ann: SimSite, autojump_clock: MockClock) -> None:
    store = ann.task.store
    turn_over(ann)
    items, _ = walk(store, {(): frozenset((b"outer", b"inner"))})
    assert publish(store, items).again == []
    assert places(store) == {b"inner": None, b"outer": b"inner", b"middle": b"outer"}


async def test_one_that_cannot_be_told_yet_keeps_what_went_into_it_waiting(
    ann: SimSite, autojump_clock: MockClock
) -> None:
    """Something of ours is about to happen to it, so that its row still says that it stands in the other."""
    store, before = ann.task.store, places(ann.task.store)
    turn_over(ann)
    inner = row_of(store, b"inner")
    store.moving.add(inner)
    items, _ = walk(store, {(): frozenset((b"outer", b"inner"))})
    assert {OUTER, TURNED, TURNED[:1]} <= set(publish(store, items).again)
    assert places(store) == before
    store.moving.discard(inner)
    items, _ = walk(store, {(): frozenset((b"outer", b"inner"))})
    publish(store, items)
    assert places(store) == {b"inner": None, b"outer": b"inner", b"middle": b"outer"}


async def test_rows_that_say_it_all_the_same_end_no_look_and_are_mended(
    ann: SimSite, autojump_clock: MockClock
) -> None:
    store = ann.task.store
    turn_over(ann)
    outer, inner = row_of(store, b"outer"), row_of(store, b"inner")
    store.connection.execute("UPDATE node SET l_parent=? WHERE id=?", (inner, outer))
    assert set(below(store.connection, [outer])[1]) == {row_of(store, b"middle"), inner, outer, row_of(store, b"file")}
    [row] = rows.read(store.connection, "WHERE id=?", (outer,))
    assert waves.path_of(store.connection, row) is None
    for _ in range(3):
        items, passed = walk(store, None)
        publish(store, items)
        store.db_delete(passed.missing(), 0, publishes=True)
    assert places(store) == {b"inner": None, b"outer": b"inner", b"middle": b"outer"}
    assert ann.disk.read((*TURNED[:1], b"file")) == b"at the bottom"


async def test_directory_goes_into_one_below_it_that_is_made_again(autojump_clock: MockClock) -> None:
    """What is made and what moves into that are planned in one round, while both are still below what moves."""
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"].disk
        bob.mkdir((b"lives again",))
        await world.settle()
        bob.mkdir((b"a",))
        bob.mkdir((b"a", b"b"))
        bob.write((b"a", b"file"), b"in a")
        bob.write((b"a", b"b", b"file"), b"in b")
        await world.settle()
        world.cut()
        ann.disk.delete((b"lives again",))
        bob.rename((b"a", b"b"), (b"aside",))
        bob.rename((b"lives again",), (b"aside", b"lives again"))
        bob.rename((b"a",), (b"aside", b"lives again", b"a"))
        bob.rename((b"aside",), (b"a",))
        for disk in (ann.disk, bob):
            disk.flush_names()
        await world.settle()
        troubles = ann.task.store.connection
        troubles.execute("CREATE TEMP TABLE trouble(why TEXT)")
        troubles.execute(
            "CREATE TEMP TRIGGER t AFTER INSERT ON problem BEGIN INSERT INTO trouble VALUES (new.why); END"
        )
        world.mend()
        await world.settle()
        world.demand_equal()
        assert troubles.execute("SELECT why FROM trouble").fetchall() == []
        assert ann.disk.read((b"a", b"lives again", b"a", b"file")) == b"in a"
