"""What a walk makes of names that moved while others were moved too, and what a record of ours leaves waiting."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
import trio
from trio.testing import MockClock

from syncd.engine.plan import MakeDir, Park, Place
from syncd.model.ignores import never_synced
from syncd.store import rows
from syncd.store.apply import execute, put_in_place
from syncd.store.counts import db_note_problem
from syncd.store.draft import Draft
from syncd.store.examine import examine
from syncd.store.folder import FolderStore
from syncd.store.prepare import NEVER, Step, Want, What, still_wanted
from syncd.store.recovery import db_adopt_old, db_count_nameless
from syncd.store.scan import Action, Item, Walk
from syncd.store.survey import Survey, mtime_of, same_attributes
from syncd.treetypes import Displaced, IoFailed, Path, Stat
from tests.helpers.tasks import MOMENT, SimSite, World

ONE, TWO, FILE, LINK = (b"one",), (b"two",), (b"plan",), (b"link",)
NOW_MS = int(MOMENT * 1000)


@pytest.fixture
async def ann() -> AsyncIterator[SimSite]:
    """Two directories with a file in each, a file and a link, all published."""
    world = World(["ann", "bob"])
    async with world.running():
        disk = world["ann"].disk
        for directory in (ONE, TWO):
            disk.mkdir(directory)
            disk.write((*directory, b"inside"), directory[0])
        disk.write(FILE, b"first")
        disk.symlink(LINK, b"plan")
        await world.settle()
        world.cut()
        yield world["ann"]


def swap(site: SimSite) -> None:
    site.disk.rename(ONE, (b"aside",))
    site.disk.rename(TWO, ONE)
    site.disk.rename((b"aside",), TWO)


def walk(store: FolderStore, dirty: Mapping[Path, frozenset[bytes] | None] | None) -> tuple[list[Item], Walk]:
    """All that one pass finds."""
    walk = Walk(store.connection, store.journal.sources, store.tree, lambda *asked: False, dirty)
    items: list[Item] = []
    while (found := walk.step(1000)) is not None:
        items += found.items
    return items, walk


def publish(store: FolderStore, items: list[Item]) -> Draft:
    examined = examine(store.tree, store.keyring.hasher(), items, {}, lambda: int((MOMENT + 3600) * 1e9)).examined
    return store.db_publish(examined, NOW_MS, publishes=True)


def row(store: FolderStore, name: bytes, columns: str) -> tuple[object, ...]:
    found = store.connection.execute(f"SELECT {columns} FROM node WHERE name=?", (name,)).fetchone()
    return tuple(found)


async def test_swapped_directories_are_two_moves_although_one_name_was_reported(
    ann: SimSite, autojump_clock: MockClock
) -> None:
    swap(ann)
    items, passed = walk(ann.task.store, {(): frozenset(ONE)})
    assert {(item.action, item.path) for item in items} == {(Action.MOVED, ONE), (Action.MOVED, TWO)}
    assert passed.missing() == []
    assert publish(ann.task.store, items).again == []


async def test_what_is_syncds_own_is_looked_at_by_nobody_who_was_told_of_it(
    ann: SimSite, autojump_clock: MockClock
) -> None:
    """A watch tells of another folder's `.syncd`, or has told of it before somebody else took it away."""
    ann.disk.mkdir((*ONE, b"sub"))
    told: dict[Path, frozenset[bytes] | None] = {
        ONE: frozenset((b".syncd", b"sub")),
        (*ONE, b".syncd"): None,
        (*ONE, b".syncd", b"old"): None,
    }
    passed = Walk(ann.task.store.connection, ann.task.store.journal.sources, ann.task.store.tree, never_synced, told)
    found = passed.step(1000)
    assert found is not None and not found.trouble
    assert [item.path for item in found.items if item.action is Action.NEW] == [(*ONE, b"sub")]


async def test_file_moved_out_of_a_directory_that_went_is_not_taken_for_deleted(
    ann: SimSite, autojump_clock: MockClock
) -> None:
    """Its row says where it is, and there it stands: a file that was given its name by us a moment ago, say."""
    store = ann.task.store
    ino = store.tree.stat((*ONE, b"inside")).ino
    store.connection.execute("UPDATE node SET l_parent=1, l_name='plan' WHERE l_ino=?", (ino,))
    ann.disk.rename((*ONE, b"inside"), FILE)
    _, passed = walk(store, {(): frozenset(FILE)})
    gone = {known.known.row for known in passed.gone}
    assert not gone & {missing.known.row for missing in passed.missing()}


async def test_deleted_file_is_missing(ann: SimSite, autojump_clock: MockClock) -> None:
    ann.disk.delete(FILE)
    _, passed = walk(ann.task.store, {(): frozenset(FILE)})
    assert [gone.path for gone in passed.missing()] == [FILE]


async def test_move_onto_a_name_that_is_taken_is_looked_at_again_at_both_names(
    ann: SimSite, autojump_clock: MockClock
) -> None:
    """The link that stood there is told to be gone only at the end of the pass."""
    ann.disk.rename(FILE, LINK)
    items, _ = walk(ann.task.store, {(): frozenset((*FILE, *LINK))})
    assert [item.action for item in items] == [Action.MOVED]
    assert sorted(publish(ann.task.store, items).again) == [LINK, FILE]


def mkdir(inode: int) -> Step:
    return Step(MakeDir(99, Place(2, b"new")), (*ONE, b"new"), None, mode=0o755, directory=inode)


async def test_nothing_is_made_in_a_directory_that_another_replaced(ann: SimSite, autojump_clock: MockClock) -> None:
    tree = ann.task.store.tree
    meant = tree.stat(ONE).ino
    swap(ann)
    (done,) = execute(tree, [mkdir(meant)])
    assert isinstance(done.outcome, Displaced)
    assert done.outcome.path == ONE
    assert b"new" not in ann.disk.directory(ONE).names
    (done,) = execute(tree, [mkdir(tree.stat(ONE).ino)])
    assert isinstance(done.outcome, Stat)


def want(store: FolderStore, what: What, path: Path, inode: int) -> Want:
    store.tree.stage_small(b"aa", b"staged", 0o600, None)
    return Want(what, 2, 1, 0, b"aa", 1, 6, 0, b"", 0, 0o600, None, 2, path[-1], path, directory=inode)


async def test_no_content_goes_into_a_directory_that_another_replaced(ann: SimSite, autojump_clock: MockClock) -> None:
    store = ann.task.store
    meant = store.tree.stat(ONE).ino
    swap(ann)
    (done,) = put_in_place(store.tree, [want(store, What.CREATE, (*ONE, b"new"), meant)])
    assert isinstance(done.outcome, Displaced)
    assert b"new" not in ann.disk.directory(ONE).names
    (done,) = put_in_place(store.tree, [want(store, What.CREATE, (*ONE, b"new"), store.tree.stat(ONE).ino)])
    assert isinstance(done.outcome, Stat)


@pytest.mark.parametrize("waited", [0, 1])
async def test_own_record_settles_only_what_did_not_wait_already(
    ann: SimSite, autojump_clock: MockClock, waited: int
) -> None:
    """A name that became free is nothing that a new mode says anything about."""
    store = ann.task.store
    store.connection.execute("UPDATE node SET pending=? WHERE name=?", (waited, *FILE))
    ann.disk.chmod(FILE, 0o600)
    items, _ = walk(store, {(): frozenset(FILE)})
    assert len(publish(store, items).records) == 1
    assert row(store, *FILE, "mode, pending") == (0o600, waited)


@pytest.mark.parametrize(("stands_at", "is_done"), [(FILE, True), ((b"plan (conflict bob 12345678)",), False)])
async def test_content_replaced_under_a_name_that_is_not_its_own_is_looked_at_again(
    ann: SimSite, autojump_clock: MockClock, stands_at: Path, is_done: bool
) -> None:
    store = ann.task.store
    store.connection.execute("UPDATE node SET pending=1, l_name=? WHERE name=?", (*stands_at, *FILE))
    node, cs, idx = row(store, *FILE, "id, c_cs, c_idx")
    assert isinstance(node, int) and isinstance(cs, int) and isinstance(idx, int)
    wanted = Want(What.REPLACE, node, cs, idx, b"aa", 1, 6, 0, b"", 0, 0o600, None, 1, b"", FILE)
    assert still_wanted(store.connection, Survey(store.connection, store.journal.sources), wanted)
    assert wanted.path == stands_at
    assert (wanted.generation != NEVER) is is_done


@pytest.mark.parametrize("path", [ONE, FILE])
async def test_what_was_moved_and_given_another_mode_is_looked_at_once_more(
    ann: SimSite, autojump_clock: MockClock, path: Path
) -> None:
    store = ann.task.store
    moved = (b"moved",)
    ann.disk.chmod(path, 0o750)
    ann.disk.rename(path, moved)
    items, _ = walk(store, {(): frozenset((*path, *moved))})
    assert publish(store, items).again == [moved]
    items, _ = walk(store, {(): frozenset(moved)})
    assert publish(store, items).again == []
    assert row(store, b"moved", "mode, l_mode") == (0o750, 0o750)
    assert walk(store, {(): frozenset(moved)})[0] == []


@pytest.mark.parametrize("step", ["stat_many", "read_many", "open_read"])
async def test_what_a_disk_would_not_let_be_read_once_is_found_soon(autojump_clock: MockClock, step: str) -> None:
    """No event names it again, and the next look at everything may be an hour away."""
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.write(FILE, b"first")
        await world.settle()
        ann.disk.fail_at(1, IoFailed("simulated"), step)
        ann.disk.write((b"small",), b"a few bytes")
        ann.disk.write((b"large",), bytes(300_000))
        began = trio.current_time()
        while bob.disk.maybe(bob.disk.root, b"small") is None or bob.disk.maybe(bob.disk.root, b"large") is None:
            await trio.sleep(1)
            assert trio.current_time() - began < 60
        assert ann.disk.steps[step] >= 2
        await world.settle()
        assert ann.problems() == []


@pytest.mark.parametrize("call", range(1, 7))
async def test_stat_that_fails_once_hides_nothing_that_a_watch_told(autojump_clock: MockClock, call: int) -> None:
    """What stands on the way to a name is not known then: it is taken neither for another directory nor for none. (Seed
    531 of the random stories, once.)"""
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.mkdir(ONE)
        ann.disk.write(FILE, b"first")
        await world.settle()
        ann.disk.fail_at(call, IoFailed("simulated"), "stat")
        ann.disk.rename(FILE, (*ONE, b"moved"))
        ann.disk.write((*ONE, b"new"), b"second")
        await world.settle()
        assert bob.disk.contents() == {(*ONE, b"moved"): b"first", (*ONE, b"new"): b"second", ONE: None}
        assert ann.problems() == []


@pytest.mark.parametrize("error", [None, IoFailed("simulated")])
async def test_file_that_is_moved_and_deleted_while_it_is_looked_into_is_gone(
    ann: SimSite, autojump_clock: MockClock, error: IoFailed | None
) -> None:
    """Neither the look that found it at its new name nor the next one there misses it at its old one. (Seed 853 of the
    random stories, once.)"""
    moved = (*ONE, b"moved")

    def user(step: str, path: Path) -> None:
        if step == "xattrs" and path == moved:
            ann.disk.hook = None
            ann.disk.delete(moved)
            if error is not None:
                raise error

    ann.disk.hook = user
    ann.disk.rename(FILE, moved)
    with trio.fail_after(60):
        while row(ann.task.store, b"plan", "l_kind") != (0,):
            await ann.task.changed()
    assert ann.disk.hook is None


async def test_file_of_which_the_disk_does_not_say_whether_it_is_there_is_not_missing(
    ann: SimSite, autojump_clock: MockClock
) -> None:
    store = ann.task.store
    ann.disk.delete(FILE)
    _, passed = walk(store, {(): frozenset(FILE)})
    ann.disk.fail_at(1, IoFailed("simulated"), "stat")
    assert passed.missing() == []
    assert [trouble.path for trouble in passed.refused()] == [FILE]
    assert [gone.path for gone in passed.missing()] == [FILE]
    assert passed.refused() == []


async def test_file_that_moves_behind_a_look_at_everything_is_not_taken_for_deleted(
    ann: SimSite, autojump_clock: MockClock
) -> None:
    """It goes from a directory that the walk comes to now into the one in which it has been."""
    before: dict[Path, bytes] = {path: ann.disk.read((*path, b"inside")) for path in (ONE, TWO)}
    listed: list[Path] = []

    def user(step: str, path: Path) -> None:
        if step == "list_dir" and path in before:
            listed.append(path)
            if len(listed) == 2:
                ann.disk.rename((*path, b"inside"), (*listed[0], b"moved"))

    store = ann.task.store
    nids = {nid for (nid,) in store.connection.execute("SELECT nid FROM node WHERE l_kind<>0")}
    ann.disk.hook = user
    number = ann.task.scanner.rescan()
    with trio.fail_after(60):
        while ann.task.progress.scans_done < number:
            await ann.task.changed()
    ann.disk.hook = None
    assert ann.disk.read((*listed[0], b"moved")) == before[listed[1]]
    assert {nid for (nid,) in store.connection.execute("SELECT nid FROM node WHERE l_kind<>0")} == nids
    assert row(store, b"moved", "l_name") == (b"moved",)


async def test_old_files_that_no_row_knows_are_told_until_a_person_takes_them_away(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        for name in (b"one", b"two", b"three"):
            ann.disk.write((name,), name)
        await world.settle()
        bob.disk.delete(ONE)
        bob.disk.delete(TWO)
        await world.settle()
        store = ann.task.store
        before = [token for token, _ in store.tree.list_old()]
        assert (len(before), db_count_nameless(store)) == (2, 0)
        store.connection.execute("DELETE FROM old")
        db_adopt_old(store, MOMENT)
        assert db_count_nameless(store) == 2
        store.tree.drop_old(before[0])
        assert db_count_nameless(store) == 1
        assert store.connection.execute("SELECT token FROM old").fetchall() == [(before[1].decode(),)]


async def test_two_that_wait_for_each_others_names_are_no_obstacle_although_each_has_a_problem(
    ann: SimSite, autojump_clock: MockClock
) -> None:
    """Whoever has a problem of its own does not give way before it is tried again; who is only waiting does. (Seed 3995
    of the random stories, once.)"""
    db = ann.task.store.connection
    names = (*FILE, *LINK)
    query = "UPDATE node SET pending=1, l_name=CASE name WHEN ?1 THEN ?2 ELSE ?1 END WHERE name IN (?1,?2)"
    db.execute(query, names)
    nodes = db.execute("SELECT id, name FROM node WHERE name IN (?,?)", names).fetchall()
    for code in ("SY-FILE-03", "SY-FILE-07", "SY-FILE-02"):
        for node, name in nodes:
            db_note_problem(db, node, (name,), code, "why", "fix", MOMENT - 60, 1)
        page, _ = ann.task.store.db_plan(0, MOMENT, frozenset())
        assert [type(step.operation) for step in page.steps] == [Park]
        assert not page.blocked
    node, name = nodes[0]
    db_note_problem(db, node, (name,), "SY-FILE-02", "why", "fix", MOMENT, 1)
    page, _ = ann.task.store.db_plan(0, MOMENT, frozenset())
    assert not page.steps
    assert len(page.blocked) == 1


async def test_file_whose_attributes_are_a_directorys_has_the_mtime_of_its_version(
    ann: SimSite, autojump_clock: MockClock
) -> None:
    """A directory has no mtime; each device would keep another one. (Seed 58 of the random stories, once.)"""
    db = ann.task.store.connection
    (file,) = rows.read(db, "WHERE name=?", FILE)
    file.mtime = file.s_acs = file.s_aidx = None
    assert file.c_cs is not None
    (published_ms,) = db.execute("SELECT time_ms FROM changeset WHERE seq=?", (file.c_cs,)).fetchone()
    assert mtime_of(db, file) == published_ms * 1_000_000 != file.l_mtime
    assert not same_attributes(db, file)
    file.l_mtime = published_ms * 1_000_000
    assert same_attributes(db, file)


async def test_what_a_person_took_away_is_told_no_more(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.write(ONE, b"one")
        await world.settle()
        bob.disk.delete(ONE)
        await world.settle()
        ann.task.store.connection.execute("DELETE FROM old")
        ann.task.is_recovered = False  # as after a start with another database
        ann.task.wake_plan()
        await trio.sleep(60)
        assert ann.task.nameless == 1
        for token, _ in ann.task.store.tree.list_old():
            ann.task.store.tree.drop_old(token)
        await trio.sleep(60)
        assert ann.task.nameless == 0


async def test_edit_of_what_changed_names_with_a_conflict_copy_in_the_last_moment_gives_up_nothing_unseen(
    autojump_clock: MockClock,
) -> None:
    """What was taken away as the copy is the file itself: whoever wrote into what stands at its name has not seen that.
    (Seed 2341 of the random stories, once.)"""
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.write(FILE, b"base")
        await world.settle()
        world.cut()
        ann.disk.write(FILE, b"of ann")
        bob.disk.write(FILE, b"of bob")
        await trio.sleep(5)
        world.mend()
        await world.settle()
        (copy,) = [path for path in ann.disk.contents() if path != FILE]
        kept, given_up = ann.disk.read(FILE), ann.disk.read(copy)
        swapped: list[Path] = []

        def user(step: str, path: Path) -> None:
            if step == "retire.rename" and path == copy and not swapped:
                swapped.append(path)
                ann.disk.rename(copy, (b"aside",))
                ann.disk.rename(FILE, copy)
                ann.disk.rename((b"aside",), FILE)
                ann.disk.write(FILE, b"written over " + given_up)

        ann.disk.hook = user
        bob.disk.delete(copy)
        await trio.sleep(5)
        await world.settle()
        assert swapped
        for site in (ann, bob):
            assert {kept, b"written over " + given_up} <= set(site.disk.contents().values())
