"""New files that nobody knew get rows without a look at any other: the same rows that the long way makes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from trio.testing import MockClock

from syncd.model.ids import Cid
from syncd.store.draft import Desk
from syncd.store.examine import examine
from syncd.store.publish import Publisher
from syncd.store.rows import COLUMNS
from syncd.store.scan import Walk
from tests.helpers.tasks import MOMENT, SimSite, World

PLAIN, MARKED, DIRECTORY = b"plain", b"marked (conflict x)", b"directory"
OWN = {"id", "nid", "name", "l_name", "l_ino", "p_idx", "c_idx", "a_idx", "s_pidx", "s_cidx", "s_aidx"}
"""Columns in which two files differ whatever they hold."""


@pytest.fixture
async def ann() -> AsyncIterator[SimSite]:
    world = World(["ann", "bob"])
    async with world.running():
        await world.settle()
        yield world["ann"]


def columns(site: SimSite, name: bytes) -> dict[str, object]:
    query = f"SELECT {','.join(COLUMNS)} FROM node WHERE name=?"
    return dict(zip(COLUMNS, site.task.store.connection.execute(query, (name,)).fetchone(), strict=True))


async def test_row_of_a_new_file_is_what_the_long_way_makes_of_it(ann: SimSite, autojump_clock: MockClock) -> None:
    """A name like that of a conflict copy may mean something, and so takes the long way."""
    store = ann.task.store
    for name in (PLAIN, MARKED):
        ann.disk.write((name,), b"the same bytes")
        ann.disk.chmod((name,), 0o640)
    ann.disk.mkdir((DIRECTORY,))
    ann.disk.write((DIRECTORY, b"inside"), b"")
    walk = Walk(store.connection, store.journal.sources, store.tree, lambda *asked: False, None)
    found = walk.step(1000)
    assert found is not None
    now_ns = int((MOMENT + 3600) * 1e9)
    examined = examine(store.tree, store.keyring.hasher(), found.items, {}, lambda: now_ns).examined
    desk = Desk(store.connection, store.journal.sources, publishes=True)
    draft = Publisher(desk).findings(examined)
    born = {one.item.name for one in draft.births.values()}
    assert born == {PLAIN, b"inside"}
    assert MARKED in {record.place.name for record in draft.records if record.place is not None}
    assert store.db_publish(examined, now_ns // 1_000_000, publishes=True).again == []
    plain, marked = columns(ann, PLAIN), columns(ann, MARKED)
    ours = {"l_mtime", "l_ctime", "mtime"}
    assert {name for name in plain if plain[name] != marked[name]} <= OWN | ours
    assert plain["mtime"] == plain["l_mtime"] == ann.disk.at((PLAIN,)).stat().mtime_ns
    for of_all, of_disk in (("p_idx", "s_pidx"), ("c_idx", "s_cidx"), ("a_idx", "s_aidx"), ("parent", "l_parent")):
        assert plain[of_all] == plain[of_disk] is not None
    inside, above = columns(ann, b"inside"), columns(ann, DIRECTORY)
    assert inside["parent"] == inside["l_parent"] == above["id"]


async def test_blocks_and_past_of_a_new_file_are_noted(ann: SimSite, autojump_clock: MockClock) -> None:
    store = ann.task.store
    ann.disk.write((PLAIN,), b"some bytes")
    walk = Walk(store.connection, store.journal.sources, store.tree, lambda *asked: False, None)
    found = walk.step(1000)
    assert found is not None
    now_ns = int((MOMENT + 3600) * 1e9)
    examined = examine(store.tree, store.keyring.hasher(), found.items, {}, lambda: now_ns).examined
    store.db_publish(examined, now_ns // 1_000_000, publishes=True)
    row = columns(ann, PLAIN)
    assert isinstance(row["blocks"], bytes)
    assert store.db_have([Cid(row["blocks"][32:64])]) == b"\x80"
    query = "SELECT cs, idx FROM past WHERE node=?"
    assert store.connection.execute(query, (row["id"],)).fetchall() == [(row["c_cs"], row["c_idx"])]
    (entry,) = store.connection.execute("SELECT src, off FROM block").fetchall()
    assert entry == (row["id"] * 4 if isinstance(row["id"], int) else None, 0)
