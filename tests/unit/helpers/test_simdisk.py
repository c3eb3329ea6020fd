"""The simulated disk does what it is for: crashes, faults, odd file systems, and users at the wrong moment."""

from __future__ import annotations

import pytest

from syncd.treetypes import (
    ROOT,
    Attributes,
    Change,
    IoFailed,
    Kind,
    NameRefused,
    NameTaken,
    NoSpace,
    NotThere,
    Path,
    Personality,
    RawEvent,
    RootState,
    TooLong,
    TreeError,
)
from tests.helpers.simdisk import SimDisk
from tests.helpers.simtree import SimDatabases, SimTree, SimTrees
from tests.suites.tree_suite import MARKER, MTIME_NS, A, B, D, read_old, stage


def tree_on(disk: SimDisk) -> SimTree:
    tree = SimTree(disk)
    tree.write_marker(MARKER)
    return tree


def reopened(disk: SimDisk) -> SimTree:
    tree = SimTree(disk)
    assert tree.check_root(MARKER) is RootState.OK
    return tree


# --- power cuts ----------------------------------------------------------------------------------------------------


def test_crash_takes_what_was_not_flushed() -> None:
    disk = SimDisk()
    tree = tree_on(disk)
    disk.write(A, b"1")
    disk.flush()
    disk.write(A, b"2")
    disk.write(B, b"2")
    disk.crash()
    assert disk.contents() == {A: b"1"}
    with pytest.raises(IoFailed):
        tree.list_dir(ROOT)
    assert reopened(disk).stat(A).size == 1


def test_names_without_contents_survive_a_flush_of_directories() -> None:
    disk = SimDisk()
    tree = tree_on(disk)
    stage(tree, b"t1", b"content")
    tree.create(b"t1", A)
    tree.flush_dirs([ROOT])
    disk.crash()
    assert disk.contents() == {A: b""}


def test_flush_before_create_keeps_the_content() -> None:
    disk = SimDisk()
    tree = tree_on(disk)
    stage(tree, b"t1", b"content")
    tree.flush([b"t1"])
    tree.create(b"t1", A)
    tree.flush_dirs([ROOT])
    disk.crash()
    assert disk.contents() == {A: b"content"}
    assert reopened(disk).stat(A).mtime_ns == MTIME_NS


@pytest.mark.parametrize("keep", range(4))
def test_journal_survives_in_order(keep: int) -> None:
    disk = SimDisk()
    disk.mkdir(D)
    disk.flush()
    for name in (b"1", b"2", b"3"):
        disk.rename(D, (name,)) if name == b"1" else disk.chmod((b"1",), 0o700 + int(name))
    assert disk.unflushed == 3
    disk.crash(keep)
    expected = {0: (D, 0o755), 1: ((b"1",), 0o755), 2: ((b"1",), 0o702), 3: ((b"1",), 0o703)}[keep]
    assert [(path, disk.stat(path).mode) for path in disk.contents()] == [expected]


@pytest.mark.parametrize("target", [(*D, b"e"), (*D, b"below", b"e")])
def test_user_cannot_move_a_directory_into_itself(target: Path) -> None:
    disk = SimDisk()
    disk.mkdir(D)
    disk.mkdir((*D, b"below"))
    with pytest.raises(NameRefused):
        disk.rename(D, target)
    assert disk.contents() == {D: None, (*D, b"below"): None}


def test_every_crash_during_an_exchange_keeps_both_contents() -> None:
    outcomes = set()
    for keep in range(4):
        disk = SimDisk()
        tree = tree_on(disk)
        disk.write(A, b"old")
        stage(tree, b"t1")
        tree.flush([b"t1"])
        tree.exchange(b"t1", A, tree.stat(A))
        disk.crash(keep)
        tree = reopened(disk)
        outcomes.add((disk.read(A), tuple(name for name, _ in tree.list_old())))
        assert {bytes(node.data) for _, node in disk.walk(ROOT, disk.root)} >= {b"old", b"new"}
    assert outcomes == {(b"old", ()), (b"old", (b"t1",)), (b"new", (b"t1",))}


def test_open_files_die_with_the_crash() -> None:
    disk = SimDisk()
    tree = tree_on(disk)
    disk.write(A, b"1")
    disk.flush()
    reader = tree.open_read(A)
    disk.crash()
    with pytest.raises(IoFailed):
        reader.stat()
    reader.close()


def test_databases_keep_what_was_committed() -> None:
    trees = SimTrees()
    database = trees.open(b"/folder", "home").open_database("folder.db")
    database.execute("CREATE TABLE t (x)")
    database.execute("INSERT INTO t VALUES (1)")
    database.execute("BEGIN")
    database.execute("INSERT INTO t VALUES (2)")
    trees.crash()
    database = trees.open(b"/folder", "home").open_database("folder.db")
    assert database.execute("SELECT x FROM t").fetchall() == [(1,)]
    trees.homes["home"].close()


def test_database_goes_back_to_a_backup() -> None:
    databases = SimDatabases()
    database = databases.open("folder.db")
    database.execute("CREATE TABLE t (x)")
    backup = databases.copy("folder.db")
    database.execute("INSERT INTO t VALUES (1)")
    databases.restore("folder.db", backup)
    assert databases.open("folder.db").execute("SELECT x FROM t").fetchall() == []
    databases.close()


# --- faults --------------------------------------------------------------------------------------------------------


def test_chosen_step_fails_once() -> None:
    disk = SimDisk()
    tree = tree_on(disk)
    disk.write(A, b"1")
    disk.fail_at(2, IoFailed("broken"), "stat")
    tree.stat(A)
    tree.list_dir(ROOT)
    with pytest.raises(IoFailed):
        tree.stat(A)
    assert tree.stat(A).size == 1


def test_fault_in_a_batch_hits_one_item() -> None:
    disk = SimDisk()
    tree = tree_on(disk)
    for token in (b"t1", b"t2", b"t3"):
        stage(tree, token)
    disk.fail_at(2, IoFailed("broken"), "create")
    results = tree.create_many([(b"t1", A), (b"t2", B), (b"t3", D)])
    assert [isinstance(result, TreeError) for result in results] == [False, True, False]


def test_disk_fills_up_and_empties() -> None:
    disk = SimDisk(capacity=100)
    tree = tree_on(disk)  # the marker takes 80
    stage(tree, b"t1", b"x" * 20)
    assert tree.space() == (0, 100)
    with pytest.raises(NoSpace):
        stage(tree, b"t2", b"x")
    tree.drop_staged(b"t1")
    stage(tree, b"t2", b"x")
    assert tree.space().free == 19


def test_edit_between_look_and_exchange_is_reported_and_kept() -> None:
    disk = SimDisk()
    tree = tree_on(disk)
    disk.write(A, b"old")
    stage(tree, b"t1")
    disk.hook = lambda step, _: disk.write(A, b"edited") if step == "exchange.rename" else None
    replaced = tree.exchange(b"t1", A, tree.stat(A))
    assert replaced.edited
    assert (disk.read(A), read_old(tree, b"t1")) == (b"new", b"edited")


def test_edit_between_look_and_deletion_is_reported_and_kept() -> None:
    disk = SimDisk()
    tree = tree_on(disk)
    disk.write(A, b"old")
    disk.hook = lambda step, _: disk.save(A, b"edited") if step == "retire.rename" else None
    assert tree.retire(A, b"t1", tree.stat(A)).edited
    assert read_old(tree, b"t1") == b"edited"


def test_root_can_be_away() -> None:
    disk = SimDisk()
    tree = tree_on(disk)
    disk.root_state = RootState.MISSING
    with pytest.raises(IoFailed):
        tree.list_dir(ROOT)
    assert tree.check_root(MARKER) is RootState.MISSING
    disk.root_state = None
    assert tree.check_root(MARKER) is RootState.OK


def test_rot_shows_in_no_stat() -> None:
    disk = SimDisk()
    disk.write(A, b"good")
    before = disk.stat(A)
    disk.rot(A, b"evil")
    assert disk.stat(A) == before
    assert disk.read(A) == b"evil"


# --- odd file systems ----------------------------------------------------------------------------------------------


def test_names_that_differ_in_case_are_one() -> None:
    disk = SimDisk(personality=Personality(case_insensitive=True))
    tree = tree_on(disk)
    disk.write((b"Name",), b"1")
    stage(tree, b"t1")
    with pytest.raises(NameTaken):
        tree.create(b"t1", (b"nAME",))
    moved = tree.move((b"Name",), (b"NAME",), tree.stat((b"name",)))
    assert [name for name, _ in tree.list_dir(ROOT)] == [b"NAME"]
    assert moved.size == 1


def test_two_forms_of_a_name_are_one() -> None:
    disk = SimDisk(personality=Personality(normalising=True))
    disk.write(("\u00e9".encode(),), b"1")
    assert disk.read(("e\u0301".encode(),)) == b"1"


def test_names_that_the_file_system_refuses() -> None:
    disk = SimDisk(personality=Personality(utf8_only=True, illegal=frozenset(b":"), name_max=10))
    tree = tree_on(disk)
    stage(tree, b"t1")
    refused: list[tuple[Path, type[TreeError]]] = [
        ((b"a:b",), NameRefused),
        ((b"\xff",), NameRefused),
        ((b"12345678901",), TooLong),
    ]
    for path, error in refused:
        with pytest.raises(error):
            tree.create(b"t1", path)
        with pytest.raises(error):
            tree.make_dir(path, 0o755)
    assert [token for token, _ in tree.list_staged()] == [b"t1"]
    tree.create(b"t1", (b"a",))


def test_attributes_that_the_file_system_lacks_are_left_out() -> None:
    disk = SimDisk(personality=Personality(modes=False, xattrs=False, mtime_step_ns=2_000_000_000))
    tree = tree_on(disk)
    disk.write(A, b"1")
    changed = tree.set_attributes(A, Attributes(0o600, MTIME_NS, {b"user.a": b"1"}), tree.stat(A))
    assert (changed.mode, changed.mtime_ns, tree.xattrs(A)) == (0o644, 1_600_000_000_000_000_000, {})


# --- inodes and events ---------------------------------------------------------------------------------------------


def test_inode_numbers_are_used_again_when_nobody_holds_them() -> None:
    disk = SimDisk()
    disk.write(A, b"1")
    first = disk.stat(A).ino
    file = disk.open(A)
    disk.delete(A)
    disk.write(B, b"2")
    assert disk.stat(B).ino != first
    file.close()
    disk.write(A, b"3")
    assert disk.stat(A).ino == first
    disk.flush()
    disk.crash()
    assert disk.contents() == {A: b"3", B: b"2"}


async def test_watch_tells_what_happens_outside_of_our_own_directory() -> None:
    disk = SimDisk()
    tree = tree_on(disk)
    events = disk.watch()
    assert await events.receive() == [RawEvent(Change.LOST)]
    disk.mkdir(D)
    stage(tree, b"t1")
    tree.create(b"t1", (b"d", b"file"))
    tree.retire((b"d", b"file"), b"t2", tree.stat((b"d", b"file")))
    tree.write_cookie(b"c1")
    disk.write((b".syncd", b"ignore"), b"")
    assert await events.receive() == [
        RawEvent(Change.DONE, ROOT, b"d"),
        RawEvent(Change.TREE, ROOT, b"d"),
        RawEvent(Change.DONE, D, b"file"),
        RawEvent(Change.DONE, D, b"file"),
        RawEvent(Change.COOKIE, name=b"c1"),
        RawEvent(Change.IGNORE),
    ]


def test_late_writer_is_heard_only_while_its_file_is_in_the_folder() -> None:
    disk = SimDisk()
    tree = tree_on(disk)
    disk.write(A, b"1")
    events = disk.watch()
    file = disk.open(A)
    file.write(b"2")
    tree.retire(A, b"t1", tree.stat(A))
    file.write(b"3")
    file.close()
    assert [event.change for event in events.pending()] == [Change.LOST, Change.WRITING, Change.DONE]
    assert read_old(tree, b"t1") == b"123"


def test_special_files_are_other() -> None:
    disk = SimDisk()
    disk.make_other(A)
    assert disk.stat(A).kind is Kind.OTHER
    with pytest.raises(NotThere):
        disk.stat(B)
