"""What others have deleted is planned and noted without an object for each row: as the long way would."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from trio.testing import MockClock

from syncd.store.apply import carry_out
from syncd.store.folder import Arrived, FolderStore
from syncd.store.prepare import Round, forget_steps
from syncd.store.rows import COLUMNS, DELETED
from syncd.store.scan import Walk
from tests.helpers.tasks import MOMENT, SimSite, World

ONE, OTHER, LINK, INSIDE = (b"one",), (b"other",), (b"link",), (b"directory", b"inside")
NOW = MOMENT + 3600


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World(["ann", "bob"])
    async with world.running():
        disk = world["ann"].disk
        disk.mkdir(INSIDE[:1])
        for path in (ONE, OTHER, INSIDE):
            disk.write(path, b"bytes of " + path[-1])
        disk.symlink(LINK, b"somewhere")
        await world.settle()
        yield world


def delete(world: World, *paths: tuple[bytes, ...]) -> FolderStore:
    """Ann deletes these, and bob has heard of it; his store."""
    ann, bob = world["ann"], world["bob"]
    store = ann.task.store
    had = store.journal.newest_seq()
    for path in paths:
        ann.disk.delete(path)
    walk = Walk(store.connection, store.journal.sources, store.tree, lambda *asked: False, None)
    while walk.step(1000) is not None:
        pass
    store.db_delete(walk.missing(), int(NOW * 1000), publishes=True)
    sealed = [store.journal.sealed_body(seq) for seq in range(had + 1, store.journal.newest_seq() + 1)]
    bob.task.store.db_accept([Arrived(head, store.open_changeset_untrusted(head, body), body) for head, body in sealed])
    return bob.task.store


def planned(store: FolderStore, *, takes_long_way: bool) -> Round:
    """The long way is taken where there are rules."""
    rules = (lambda *asked: False) if takes_long_way else None
    return store.db_plan(0, NOW, frozenset(), rules)[0]


def columns(site: SimSite, name: bytes) -> dict[str, object]:
    query = f"SELECT {','.join(COLUMNS)} FROM node WHERE name=?"
    return dict(zip(COLUMNS, site.task.store.connection.execute(query, (name,)).fetchone(), strict=True))


async def test_steps_are_those_of_the_planner(world: World, autojump_clock: MockClock) -> None:
    store = delete(world, ONE, INSIDE, LINK)
    made = []
    for takes_long_way in (False, True):
        steps = planned(store, takes_long_way=takes_long_way).steps
        made.append([(step.operation, step.path, step.expected, step.generation, step.is_last) for step in steps])
        assert len({step.token for step in steps}) == 3
        forget_steps(store.connection)
    assert made[0] == made[1]
    assert {path for _, path, *_ in made[0]} == {ONE, INSIDE, LINK}


async def test_rows_are_those_of_the_long_way(world: World, autojump_clock: MockClock) -> None:
    """Of one there is a conflict copy as well by then, so that something is left to be done about it."""
    store = delete(world, ONE, OTHER)
    bob = world["bob"]
    before = columns(bob, ONE[-1])
    steps = planned(store, takes_long_way=False).steps
    done = carry_out(store.tree, steps)
    store.connection.execute(
        "INSERT INTO copy(node, cs, idx, l_parent, l_name, l_kind) SELECT id, c_cs, c_idx, 1, x'61', 1 FROM node "
        "WHERE name=?",
        OTHER,
    )
    committed = store.db_commit(done, NOW)
    assert (committed.applied, committed.failed, committed.edited) == (2, [], [])
    one, other = columns(bob, ONE[-1]), columns(bob, OTHER[-1])
    own = {"id", "nid", "name", "p_idx", "c_idx", "a_idx", "mtime"}
    assert {name for name in COLUMNS if one[name] != other[name]} - own == set()
    assert (one["kind"], one["pending"], other["pending"]) == (DELETED, 0, 0)
    olds = store.connection.execute("SELECT id, node, cs, idx, name, blocks FROM old WHERE node=?", (one["id"],))
    ((old, *kept),) = olds.fetchall()
    assert kept == [one["id"], before["s_ccs"], before["s_cidx"], ONE[-1], before["l_blocks"]]
    assert isinstance(before["l_blocks"], bytes)
    cid_key = int.from_bytes(before["l_blocks"][32:40], "big", signed=True)
    assert store.connection.execute("SELECT src FROM block WHERE ck=?", (cid_key,)).fetchall() == [(old * 4 + 2,)]
    assert store.connection.execute("SELECT count(*) FROM step").fetchone() == (0,)


async def test_file_that_was_edited_here_is_not_retired(world: World, autojump_clock: MockClock) -> None:
    store = delete(world, ONE)
    world["bob"].disk.write(ONE, b"an edit that nobody has seen")
    steps = planned(store, takes_long_way=False).steps
    committed = store.db_commit(carry_out(store.tree, steps), NOW)
    assert [path for _, path, _ in committed.failed] == [ONE]
    assert world["bob"].disk.read(ONE) == b"an edit that nobody has seen"
    assert columns(world["bob"], ONE[-1])["pending"] == 1


async def test_what_waits_for_a_person_is_left_alone(world: World, autojump_clock: MockClock) -> None:
    store = delete(world, ONE, OTHER)
    store.connection.execute("INSERT INTO held_node(node, wave) SELECT id, 'wave' FROM node WHERE name=?", ONE)
    assert [step.path for step in planned(store, takes_long_way=False).steps] == [OTHER]


async def test_what_is_pending_is_found_without_a_look_at_all_rows(world: World, autojump_clock: MockClock) -> None:
    """A look after every change must not cost more in a large folder."""
    store = delete(world, ONE)
    asked: list[str] = []
    store.connection.set_trace_callback(asked.append)
    for takes_long_way in (False, True):
        planned(store, takes_long_way=takes_long_way)
    store.connection.set_trace_callback(None)
    pages = [line for line in asked if "FROM node" in line and "ORDER BY id LIMIT" in line]
    assert len(pages) == 2
    for page in pages:
        plan = [line for *_, line in store.connection.execute(f"EXPLAIN QUERY PLAN {page}")]
        assert any("node USING INDEX node_pending" in line for line in plan), plan
