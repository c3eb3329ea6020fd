"""Files that are gone, or were deleted by others, get their rows without a look at any other: the same rows that the
long way makes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from trio.testing import MockClock

from syncd.model.records import DELETED as DELETED_CONTENT
from syncd.model.records import Place, Record
from syncd.store.folder import Arrived, FolderStore
from syncd.store.journal import Verdict
from syncd.store.rows import COLUMNS, DELETED, NONE
from syncd.store.scan import Gone, Walk
from tests.helpers.model_values import file_with, node_id
from tests.helpers.simtree import SimDatabases
from tests.helpers.tasks import MOMENT, SimSite, World
from tests.unit.store.test_approvals import begin
from tests.unit.store.test_journal import accept

SHORT, LONG, OTHER = b"short", b"long", b"other"
OWN = {"id", "nid", "name", "l_name", "l_ino", "p_idx", "c_idx", "a_idx", "s_pidx", "s_cidx", "s_aidx"}
"""Columns in which two files differ whatever they hold."""
NOW_MS = int((MOMENT + 3600) * 1000)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World(["ann", "bob"])
    async with world.running():
        for name in (SHORT, LONG, OTHER):
            world["ann"].disk.write((name,), b"the same bytes")
        await world.settle()
        yield world


def columns(site: SimSite, name: bytes) -> dict[str, object]:
    query = f"SELECT {','.join(COLUMNS)} FROM node WHERE name=?"
    return dict(zip(COLUMNS, site.task.store.connection.execute(query, (name,)).fetchone(), strict=True))


def differing(site: SimSite) -> set[str]:
    one, other = columns(site, SHORT), columns(site, LONG)
    return {column for column in COLUMNS if one[column] != other[column]} - OWN


def missing(store: FolderStore) -> list[Gone]:
    walk = Walk(store.connection, store.journal.sources, store.tree, lambda *asked: False, None)
    while walk.step(1000) is not None:
        pass
    return walk.missing()


def told(site: SimSite, since: int) -> list[Arrived]:
    """What this site has published, as others get it."""
    store = site.task.store
    sealed = [store.journal.sealed_body(seq) for seq in range(since + 1, store.journal.newest_seq() + 1)]
    return [Arrived(head, store.open_changeset_untrusted(head, body), body) for head, body in sealed]


async def test_rows_of_files_that_are_gone(world: World, autojump_clock: MockClock) -> None:
    """What the disk holds is said anew in one row, as after a conflict: that takes the long way."""
    ann = world["ann"]
    store = ann.task.store
    store.connection.execute("UPDATE node SET l_blocks=blocks, l_listed=listed, l_cls=cls WHERE name=?", (LONG,))
    for name in (SHORT, LONG):
        ann.disk.delete((name,))
    draft = store.db_delete(missing(store), NOW_MS, publishes=True)
    assert [columns(ann, SHORT)["nid"]] == list(draft.deaths)
    assert len(draft.records) == 2
    assert differing(ann) == set()
    gone = columns(ann, SHORT)
    assert (gone["kind"], gone["l_kind"], gone["pending"], gone["s_ccs"]) == (DELETED, NONE, 0, None)
    left = {name for (name,) in store.connection.execute("SELECT name FROM departed")}
    assert left == {SHORT, LONG}
    sources = {source // 4 for (source,) in store.connection.execute("SELECT src FROM block")}
    assert sources == {columns(ann, OTHER)["id"]}


async def test_rows_of_files_that_others_have_deleted(world: World, autojump_clock: MockClock) -> None:
    """Of one a version was replaced that never came: that takes the long way."""
    ann, bob = world["ann"], world["bob"]
    store, had = ann.task.store, ann.task.store.journal.newest_seq()
    long_row = columns(bob, LONG)["id"]
    bob.task.store.connection.execute("INSERT INTO replaced VALUES (?,?)", (long_row, bytes(32)))
    before = columns(bob, SHORT)
    for name in (SHORT, LONG):
        ann.disk.delete((name,))
    store.db_delete(missing(store), NOW_MS, publishes=True)
    (accepted,) = bob.task.store.db_accept(told(ann, had))
    assert set(accepted.nodes) == {before["id"], long_row}
    assert differing(bob) == set()
    dying = columns(bob, SHORT)
    assert (dying["kind"], dying["l_kind"], dying["pending"]) == (DELETED, before["l_kind"], 1)
    assert dying["l_blocks"] == before["blocks"], "what stands there is not known any more"
    assert {name for (name,) in bob.task.store.connection.execute("SELECT name FROM departed")} == {SHORT, LONG}


async def test_file_that_was_changed_meanwhile_is_no_plain_death(world: World, autojump_clock: MockClock) -> None:
    """It was looked at again since it was missed: nothing is said of it."""
    ann = world["ann"]
    store = ann.task.store
    ann.disk.delete((SHORT,))
    gone = missing(store)
    store.connection.execute("UPDATE node SET l_mtime=l_mtime+1 WHERE name=?", (SHORT,))
    draft = store.db_delete(gone, NOW_MS, publishes=True)
    assert (draft.records, draft.deaths, draft.again) == ([], {}, [(SHORT,)])


async def test_file_that_is_missed_and_is_gone_with_its_directory_as_well(
    world: World, autojump_clock: MockClock
) -> None:
    """Whoever removes a directory while a scan looks at it takes the file first: others refuse a changeset that speaks
    twice about it."""
    ann, bob = world["ann"], world["bob"]
    ann.disk.mkdir((b"full",))
    ann.disk.write((b"full", b"inside"), b"something")
    await world.settle()
    store, had = ann.task.store, ann.task.store.journal.newest_seq()
    ann.disk.delete((b"full", b"inside"))
    gone = missing(store)
    ann.disk.delete((b"full",))
    gone += missing(store)
    assert [one.path for one in gone] == [(b"full", b"inside"), (b"full",)]
    draft = store.db_delete(gone, NOW_MS, publishes=True)
    assert len(draft.records) == len({record.node for record in draft.records}) == 2
    bob.task.store.db_accept(told(ann, had))
    for site in (ann, bob):
        assert {columns(site, name)["kind"] for name in (b"full", b"inside")} == {DELETED}


async def test_viewer_tells_nobody(world: World, autojump_clock: MockClock) -> None:
    ann = world["ann"]
    ann.disk.delete((SHORT,))
    draft = ann.task.store.db_delete(missing(ann.task.store), NOW_MS, publishes=False)
    assert (draft.records, draft.deaths) == ([], {})
    assert columns(ann, SHORT)["kind"] != DELETED


def tables(store: FolderStore) -> dict[str, list[tuple[object, ...]]]:
    """All that a changeset leaves in the rows, but for versions that it replaced and that never came."""
    names = ("node", "head", "odd", "departed", "past")
    return {name: sorted(store.connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in names}


@pytest.mark.parametrize("is_first", [False, True])
def test_file_under_which_the_same_changeset_places_something_takes_the_long_way(is_first: bool) -> None:
    """No program of ours says so, a member can: whoever is named as a parent is looked at with what is below it."""
    found = []
    for is_long in (False, True):
        databases = SimDatabases()
        try:
            scene = begin("ann", databases, deletes=False)
            if is_long:  # as after a version was replaced that never came
                scene.store.connection.execute("INSERT INTO replaced SELECT id, x'00' FROM node WHERE kind=1")
            inside = Record(node_id(500), file_with(500), place=Place(node_id(1), b"inside"))
            dies = Record(node_id(1), DELETED_CONTENT, (scene.seen[0],))
            records = (inside, dies) if is_first else (dies, inside)
            assert accept(scene.store, scene.bob.publish(*records)) == [Verdict.APPLIED]
            found.append(tables(scene.store))
        finally:
            databases.close()
    assert found[0] == found[1]
