"""What lies in syncd's own places after a crash or a late writer, and is nowhere else."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from syncd.engine.plan import Retire
from syncd.store import rows
from syncd.store.apply import Done
from syncd.store.blocks import SourceKind, source_of
from syncd.store.commit import Committer
from syncd.store.db import Transaction
from syncd.store.folder import FolderStore
from syncd.store.prepare import Step
from syncd.store.recovery import (
    db_adopt_old,
    db_count_nameless,
    db_recheck_old,
    db_recover_intents,
    publish_late_edits,
)
from syncd.store.scan import Walk, tick_of
from syncd.treetypes import Replaced
from tests.helpers.tasks import MOMENT, World

FILE = (b"plan",)
LONG_AFTER = MOMENT + 86400
NOW_MS = int(MOMENT * 1000)


def heads(store: FolderStore) -> int:
    (count,) = store.connection.execute("SELECT heads FROM node WHERE name=?", FILE).fetchone()
    return int(count)


def recheck(store: FolderStore) -> int:
    """The number of edits that are found in `.syncd/old`, and published."""
    return publish_late_edits(store, db_recheck_old(store, LONG_AFTER), NOW_MS)


async def test_edit_that_a_crash_kept_from_being_published_is_published_later(
    world: World, autojump_clock: MockClock
) -> None:
    """The row of an inode that was edited in the last moment says so until the edit is published."""
    bob = world["bob"]
    store = bob.task.store
    (name,) = bob.disk.directory((b".syncd", b"old")).names
    bob.disk.write((b".syncd", b"old", name), b"late!!")
    store.connection.execute("UPDATE old SET ino=NULL, size=NULL, mtime=NULL, ctime=NULL")
    assert recheck(store) == 1
    assert heads(store) == 2
    assert recheck(store) == 0


async def test_program_that_writes_on_replaces_what_was_found_of_it_before(
    world: World, autojump_clock: MockClock
) -> None:
    """Else each look at what it holds open would make one more conflict copy."""
    bob = world["bob"]
    store = bob.task.store
    (name,) = bob.disk.directory((b".syncd", b"old")).names
    for content in (b"late", b"later on", b"later still"):
        bob.disk.write((b".syncd", b"old", name), content)
        assert recheck(store) == 1
        assert heads(store) == 2
    assert recheck(store) == 0


async def test_old_inode_with_the_bytes_it_always_had_is_no_edit(world: World, autojump_clock: MockClock) -> None:
    """As when it was looked at in the very tick of its last change: only its content can tell."""
    store = world["bob"].task.store
    store.connection.execute("UPDATE old SET ino=NULL, size=NULL, mtime=NULL, ctime=NULL")
    assert recheck(store) == 0
    assert heads(store) == 1
    assert recheck(store) == 0


@pytest.mark.parametrize(("seen_after_ns", "is_doubtful"), [(5_000_000, True), (50_000_000, False)])
async def test_content_seen_in_the_tick_of_its_last_change_is_compared_when_replaced(
    world: World, autojump_clock: MockClock, seen_after_ns: int, is_doubtful: bool
) -> None:
    bob = world["bob"]
    connection = bob.task.store.connection
    connection.execute("UPDATE node SET l_seen=l_ctime+? WHERE name=?", (seen_after_ns, *FILE))
    row = rows.read(connection, "WHERE name=?", FILE)[0]
    committer = Committer(connection, bob.task.store.journal.sources, MOMENT, tick_of(bob.task.store.tree))
    stat = bob.task.store.tree.stat(FILE)
    step = Step(Retire(row.id, None), FILE, stat, token=b"dd")
    committed = committer.note([Done(step, Replaced(stat, edited=False, new=None))])
    assert bool(committed.edited) is is_doubtful


def served_from_old(store: FolderStore) -> list[int]:
    """Rows of the one block of each inode in `.syncd/old`, by which it is found there."""
    query = "SELECT count(*) FROM block WHERE src=? AND entry=?"
    return [
        store.connection.execute(query, (source_of(SourceKind.OLD, old), entry)).fetchone()[0]
        for old, entry in store.connection.execute("SELECT id, blocks FROM old ORDER BY id").fetchall()
    ]


async def test_old_inode_that_was_doubted_for_nothing_serves_its_blocks(
    world: World, autojump_clock: MockClock
) -> None:
    """They may be nowhere else: of a version that is to be a conflict copy beside a directory, for one."""
    store = world["bob"].task.store
    connection = store.connection
    connection.execute("UPDATE node SET l_seen=l_ctime WHERE name=?", FILE)
    row = rows.read(connection, "WHERE name=?", FILE)[0]
    step = Step(Retire(row.id, None), FILE, store.tree.stat(FILE), token=b"dd")
    replaced = store.tree.retire(FILE, b"dd", store.tree.stat(FILE))
    committer = Committer(connection, store.journal.sources, MOMENT, tick_of(store.tree))
    with Transaction(connection):
        committed = committer.note([Done(step, replaced)])
    assert served_from_old(store) == [1, 0]
    assert publish_late_edits(store, committed.edited, NOW_MS) == 0
    assert served_from_old(store) == [1, 1]
    connection.execute("UPDATE old SET mtime=NULL, checked=0")  # doubted later on, while it serves them
    assert recheck(store) == 0
    assert served_from_old(store) == [1, 1]


async def test_what_a_crash_left_between_two_names_is_no_deletion(world: World, autojump_clock: MockClock) -> None:
    bob = world["bob"]
    store = bob.task.store
    stat = store.tree.stat(FILE)
    store.tree.park(FILE, b"token", stat)  # the power fails before any row says so
    db_recover_intents(store, MOMENT)
    walk = Walk(store.connection, store.journal.sources, store.tree, lambda *asked: False, None)
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


@pytest.mark.parametrize("is_gone", [False, True])
async def test_second_name_that_a_crash_left_goes_only_while_the_first_one_stands(
    world: World, autojump_clock: MockClock, is_gone: bool
) -> None:
    """As on a disk that cannot exchange names: nothing was replaced, and a person would be told of an old file."""
    bob = world["bob"]
    store = bob.task.store
    node, cs, idx = store.connection.execute("SELECT id, c_cs, c_idx FROM node WHERE name=?", FILE).fetchone()
    store.connection.execute("INSERT INTO intent VALUES ('ff',?,?,?,0,2,1,?)", (node, cs, idx, FILE[0]))
    store.tree.stage_small(b"ff", b"what was to come", 0o600, None)
    before = bob.disk.read(FILE)
    bob.disk.hard_link(FILE, (b".syncd", b"old", b"ff"))
    if is_gone:
        bob.disk.write((b"saved",), before)
        bob.disk.rename((b"saved",), FILE)
    db_recover_intents(store, MOMENT)
    db_adopt_old(store, MOMENT)
    assert db_count_nameless(store) == is_gone
    assert bob.disk.read(FILE) == before
    assert bob.disk.at(FILE).nlink == 1
