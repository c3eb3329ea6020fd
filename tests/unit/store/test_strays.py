"""Rows of what stands in something that is no directory any more: no walk comes to them by going down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
import trio
from trio.testing import MockClock

from syncd.model.ids import ROOT_NODE, new_node_id
from syncd.model.records import Place, Record, symlink_to
from syncd.store import rows
from syncd.store.examine import examine
from syncd.store.folder import FolderStore
from syncd.store.rows import SYMLINK
from syncd.store.scan import Gone, Walk
from syncd.store.standing import has_pending_strays, read_strays
from syncd.treetypes import ROOT, Denied, Path
from tests.helpers.authors import Author
from tests.helpers.tasks import MOMENT, SimSite, World
from tests.unit.store.test_departures import store
from tests.unit.store.test_journal import accept

__all__ = ["store"]

A, INSIDE, DEEP, OTHER = (b"a",), (b"a", b"inside"), (b"a", b"sub", b"deep"), (b"other",)
Dirty = Mapping[Path, frozenset[bytes] | None] | None


def later_ns() -> int:
    return int((MOMENT + 3600) * 1e9)


def walk(store: FolderStore, dirty: Dirty) -> Walk:
    """One pass, with what it finds published."""
    walk = Walk(store.connection, store.journal.sources, store.tree, lambda *asked: False, dirty)
    while (found := walk.step(1000)) is not None:
        examined = examine(store.tree, store.keyring.hasher(), found.items, {}, later_ns).examined
        store.db_publish(examined, 0, publishes=True)
    return walk


def scan(store: FolderStore, dirty: Dirty) -> list[Gone]:
    """One pass, with everything that follows from it."""
    missing = walk(store, dirty).missing()
    store.db_delete(missing, 0, publishes=True)
    return missing


def place(store: FolderStore, path: Path) -> Path | None:
    """Where a row says that something of this name stands, by the rows above it."""
    parent, found = rows.ROOT_ROW, []
    for name in path:
        (row,) = rows.read(store.connection, "WHERE l_parent=? AND l_name=? AND l_kind<>0", (parent, name))
        parent = row.id
        found.append(name)
    return tuple(found)


def test_nothing_found_in_a_directory_is_put_into_a_link_that_has_its_id(store: FolderStore) -> None:
    """The directory took a name that something else has until the end of the pass; what others have made at that name
    has the id that it would get."""
    disk = store.tree.disk  # type: ignore[attr-defined]
    disk.symlink((b"x",), b"nowhere")
    scan(store, None)
    disk.rename((b"x",), A)
    scan(store, None)
    nid = new_node_id(ROOT_NODE, b"a", None)
    accept(store, Author("bob").publish(Record(nid, symlink_to(b"elsewhere"), place=Place(ROOT_NODE, b"a"))))
    disk.delete(A)
    disk.mkdir(A)
    disk.write(INSIDE, b"content")
    for _ in range(3):
        scan(store, {ROOT: frozenset(A)})
        assert read_strays(store.connection) == []
    assert place(store, INSIDE) == INSIDE


@pytest.fixture
async def ann() -> AsyncIterator[SimSite]:
    """A directory with a file and another directory in it, all published, and on bob's disk too."""
    world = World(["ann", "bob"])
    async with world.running():
        disk = world["ann"].disk
        disk.mkdir(A)
        disk.mkdir(DEEP[:-1])
        disk.write(INSIDE, b"inside")
        disk.write(DEEP, b"deep")
        disk.mkdir(OTHER)
        await world.settle()
        world.cut()
        yield world["ann"]


def turn_into_link(store: FolderStore) -> None:
    """A link stands there instead of the directory, and that is what its row says too: but those below it do not."""
    disk = store.tree.disk  # type: ignore[attr-defined]
    disk.delete(A)
    disk.symlink(A, b"other")
    stat = store.tree.stat(A)
    store.connection.execute(
        "UPDATE node SET l_kind=?, l_ino=?, l_size=?, l_mtime=?, l_ctime=? WHERE l_name=? AND l_parent=1",
        (SYMLINK, stat.ino, stat.size, stat.mtime_ns, stat.ctime_ns, *A),
    )
    store.connection.execute("UPDATE node SET pending=1 WHERE l_name=?", INSIDE[1:])


def names(store: FolderStore) -> set[bytes]:
    return {row.l_name for row in rows.read(store.connection, "WHERE l_kind<>0 AND id<>1") if row.l_name is not None}


async def test_what_stood_in_a_directory_that_is_none_any_more_is_missing(
    ann: SimSite, autojump_clock: MockClock
) -> None:
    store = ann.task.store
    turn_into_link(store)
    assert has_pending_strays(store.connection)
    missing = scan(store, None)
    assert {gone.known.name for gone in missing} == {b"inside", b"sub"}
    assert names(store) == {b"a", b"other"}
    assert not has_pending_strays(store.connection)
    assert [row.kind for row in rows.read(store.connection, "WHERE name IN (?,?,?)", (b"inside", b"sub", b"deep"))] == [
        rows.DELETED
    ] * 3


async def test_pass_that_did_not_see_everything_takes_nothing_for_missing(
    ann: SimSite, autojump_clock: MockClock
) -> None:
    store = ann.task.store
    turn_into_link(store)
    assert scan(store, {ROOT: frozenset(A)}) == []
    ann.disk.hook = refuse_other
    assert scan(store, None) == []
    assert names(store) == {b"a", b"other", b"inside", b"sub", b"deep"}
    ann.disk.hook = None
    assert len(scan(store, None)) == 2


def refuse_other(step: str, path: Path) -> None:
    if step == "list_dir" and path == OTHER:
        raise Denied("simulated", path)


async def test_what_turns_up_elsewhere_was_moved(ann: SimSite, autojump_clock: MockClock) -> None:
    store = ann.task.store
    moved = (*OTHER, b"moved")
    ann.disk.rename(INSIDE, moved)
    turn_into_link(store)
    assert {gone.known.name for gone in scan(store, None)} == {b"sub"}
    assert place(store, moved) == moved
    assert [row.kind for row in rows.read(store.connection, "WHERE name=?", moved[1:])] == [rows.FILE]


async def test_directory_replaced_by_a_link_takes_what_was_in_it_from_everybody(autojump_clock: MockClock) -> None:
    """The user did that; where the directory cannot be read, nobody did."""
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.mkdir(A)
        ann.disk.write(INSIDE, b"inside")
        await world.settle()
        ann.disk.fail_at(1, Denied("simulated", A), "list_dir", for_ever=True)
        ann.task.scanner.rescan()
        await trio.sleep(30)
        assert bob.disk.contents() == {A: None, INSIDE: b"inside"}
        ann.disk.mend()
        ann.disk.delete(INSIDE)
        ann.disk.delete(A)
        ann.disk.symlink(A, b"nowhere")
        await world.settle()
        assert set(bob.disk.contents()) == {A}
        assert bob.disk.target(A) == b"nowhere"


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("both", [True, False])
async def test_of_two_rows_at_a_name_the_one_that_is_not_there_comes_back(
    is_there: bool, both: bool, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """There may never be two; what made them is not known to any look, and deletes nothing that others have. `both`:
    nor does the other one stand there."""
    world = World(["ann", "bob"])
    async with world.running():
        ann = world["ann"]
        for name in (b"notes", b"plan"):
            ann.disk.write((name,), b"the " + name)
        await world.settle()
        connection = ann.task.store.connection
        connection.execute("UPDATE node SET l_name=x'6e6f746573' WHERE name=x'706c616e'")
        if not is_there:
            ann.disk.delete((b"plan",))
        if both:
            ann.disk.delete((b"notes",))
        ann.task.scanner.rescan()
        await world.settle()
        assert "several rows stood at" in caplog.text
        world.demand_equal()
        # What was found elsewhere leaves no doubt that a person has deleted the other one.
        expected = {b"the plan"} if both and is_there else {b"the notes", b"the plan"}
        assert set(ann.disk.contents().values()) == expected
        assert not set(connection.execute("SELECT l_name FROM node WHERE l_kind=1 GROUP BY l_name HAVING count(*)>1"))
