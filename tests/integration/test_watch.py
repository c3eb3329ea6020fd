"""The watch on real directories, by the system's own events."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path as FilePath

import pytest
import trio
import trio.testing

from syncd.seams import Arguments, Lane, Result, TreeEvents, Workers
from syncd.store.echoes import FEWEST
from syncd.store.syscalls import Renames
from syncd.store.tree import DirTree
from syncd.store.watch import ASK_AGAIN_S, FsEvents, Inotify, WhenGranted, watch
from syncd.treetypes import ROOT, Change, Dirty, Path, RawEvent, TreeError
from syncd.workers import ThreadWorkers
from tests.helpers.realuser import RealUser
from tests.suites.tree_suite import MARKER

pytestmark = pytest.mark.needs("linux")
PATIENCE_S = 60.0


@pytest.fixture
def root(tmp_path: FilePath) -> FilePath:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "home").mkdir()
    return root


@pytest.fixture
def tree(root: FilePath) -> Iterator[DirTree]:
    tree = DirTree(bytes(root), str(root.parent / "home"), time.monotonic)
    tree.write_marker(MARKER)
    yield tree
    tree.close()


async def until(events: TreeEvents, wanted: Callable[[list[RawEvent]], bool]) -> list[RawEvent]:
    """All events up to those that are wanted, without the numbers of renames."""
    seen: list[RawEvent] = []
    with trio.fail_after(PATIENCE_S):
        while not wanted(seen):
            seen += [event._replace(pair=0) for event in await events.receive()]
    return seen


async def all_until(events: TreeEvents, tree: DirTree, cookie: bytes) -> set[RawEvent]:
    """All events that were there before a cookie is written."""
    tree.write_cookie(cookie)
    end = RawEvent(Change.COOKIE, name=cookie)
    return set(await until(events, lambda seen: end in seen)) - {end}


async def started(tree: DirTree, workers: Workers | None = None) -> Inotify:
    events = Inotify(tree, workers or ThreadWorkers())
    assert await events.receive() == [RawEvent(Change.LOST)]
    return events


def done(*path: bytes) -> RawEvent:
    return RawEvent(Change.DONE, path[:-1], path[-1])


def writing(*path: bytes) -> RawEvent:
    return RawEvent(Change.WRITING, path[:-1], path[-1])


def whole(*path: bytes) -> RawEvent:
    return RawEvent(Change.TREE, path[:-1], path[-1])


async def test_every_act_on_a_file_is_told(tree: DirTree, root: FilePath) -> None:
    (root / "d").mkdir()
    (root / "d/old").write_bytes(b"1")
    events = await started(tree)
    file = os.open(root / "d/new", os.O_WRONLY | os.O_CREAT)
    assert await all_until(events, tree, b"c1") == {writing(b"d", b"new")}
    os.write(file, b"1")
    assert await all_until(events, tree, b"c2") == {writing(b"d", b"new")}
    os.close(file)
    assert await all_until(events, tree, b"c3") == {done(b"d", b"new")}
    acts: list[tuple[Callable[[], object], set[RawEvent]]] = [
        (lambda: os.chmod(root / "d/old", 0o600), {done(b"d", b"old")}),
        (lambda: os.rename(root / "d/old", root / "moved"), {done(b"d", b"old"), done(b"moved")}),
        (lambda: os.unlink(root / "moved"), {done(b"moved")}),
        (lambda: os.symlink("x", root / "d/link"), {done(b"d", b"link")}),
        (lambda: os.link(root / "d/new", root / "d/hard"), {done(b"d", b"hard"), done(b"d", b"new")}),
        (lambda: os.mkdir(root / "e"), {done(b"e"), whole(b"e")}),
        (lambda: os.rmdir(root / "e"), {done(b"e")}),
    ]
    for number, (act, expected) in enumerate(acts):
        act()
        told = await all_until(events, tree, b"a%d" % number)
        assert told <= expected and told & expected, (number, told)
        assert expected - told <= {done(b"d", b"new")}  # a new link also changes the inode, which need not be told
    events.close()


async def test_both_names_of_a_rename_are_told_as_a_pair(tree: DirTree, root: FilePath) -> None:
    (root / "d").mkdir()
    (root / "old").write_bytes(b"1")
    events = await started(tree)
    (root / "old").rename(root / "d/new")
    told: dict[bytes, int] = {}
    with trio.fail_after(PATIENCE_S):
        while len(told) < 2:
            told.update({event.name: event.pair for event in await events.receive()})
    assert told.keys() == {b"old", b"new"} and told[b"old"] == told[b"new"] != 0
    events.close()


async def test_names_that_we_give_to_many_are_not_told_and_what_others_do_there_is(
    tree: DirTree, root: FilePath
) -> None:
    (root / "d").mkdir()
    (root / "d/taken").write_bytes(b"of the user")
    events = await started(tree)
    names = [b"%d" % number for number in range(FEWEST)]
    for name in names:
        tree.stage_small(b"t" + name, b"x", 0o644, None)
    tree.stage_small(b"last", b"x", 0o644, None)
    made = tree.create_many([*((b"t" + name, (b"d", name)) for name in names), (b"last", (b"d", b"taken"))])
    assert [isinstance(item, TreeError) for item in made] == [False] * FEWEST + [True]
    assert await all_until(events, tree, b"c1") == set()
    (root / "new").write_bytes(b"of the user")
    assert await all_until(events, tree, b"c2") == {writing(b"new"), done(b"new")}
    os.rename(root / "new", root / "d/7")
    assert await all_until(events, tree, b"c3") == {done(b"new"), done(b"d", b"7")}
    (root / "d/8").write_bytes(b"of the user")
    assert done(b"d", b"8") in await all_until(events, tree, b"c4")
    os.rename(root / "d/9", root / "d/taken")
    assert await all_until(events, tree, b"c5") == {done(b"d", b"9"), done(b"d", b"taken")}
    events.close()


async def test_names_that_we_give_in_two_steps_hide_nothing_that_others_do(root: FilePath) -> None:
    tree = DirTree(bytes(root), str(root.parent / "home"), time.monotonic, Renames(atomic=False))
    tree.write_marker(MARKER)
    events = await started(tree)
    names = [b"%d" % number for number in range(FEWEST)]
    for name in names:
        tree.stage_small(b"t" + name, b"x", 0o644, None)
    tree.create_many([(b"t" + name, (name,)) for name in names])
    await all_until(events, tree, b"c1")
    (root / "new").write_bytes(b"of the user")
    os.rename(root / "new", root / "7")
    assert done(b"7") in await all_until(events, tree, b"c2")
    events.close()
    tree.close()


async def test_names_that_we_give_in_a_directory_that_is_not_watched_yet_hide_nothing(
    tree: DirTree, root: FilePath
) -> None:
    events = await started(tree)
    names = [b"%d" % number for number in range(FEWEST)]
    for name in names:
        tree.stage_small(b"t" + name, b"x", 0o644, None)
    (root / "d").mkdir()  # its watch begins when that is read
    tree.create_many([(b"t" + name, (b"d", name)) for name in names])
    assert await all_until(events, tree, b"c1") == {done(b"d"), whole(b"d")}
    (root / "new").write_bytes(b"of the user")
    os.rename(root / "new", root / "d/7")
    assert done(b"d", b"7") in await all_until(events, tree, b"c2")
    events.close()


async def test_names_that_we_give_again_hide_nothing_that_others_do(tree: DirTree, root: FilePath) -> None:
    """Given at first before their directory was watched, as in a new directory that is received."""
    events = await started(tree)
    names = [b"%d" % number for number in range(FEWEST)]
    (root / "d").mkdir()
    for cookie in (b"c1", b"c2"):
        for name in names:
            tree.stage_small(b"t" + name, b"x", 0o644, None)
        tree.create_many([(b"t" + name, (b"d", name)) for name in names])
        await all_until(events, tree, cookie)
        for name in names:
            (root / "d" / name.decode()).unlink()
        await all_until(events, tree, cookie + b"gone")
    (root / "new").write_bytes(b"of the user")
    os.rename(root / "new", root / "d/7")
    assert done(b"d", b"7") in await all_until(events, tree, b"c3")
    events.close()


async def test_names_that_could_not_be_given_as_the_root_was_gone_hide_nothing(tree: DirTree, root: FilePath) -> None:
    tree.echoes.watched()
    names = [(b"%d" % number,) for number in range(FEWEST)]
    tree.close()
    with pytest.raises(TreeError):
        tree.create_many([(b"t" + name, (name,)) for (name,) in names])
    assert not tree.echoes.is_own(names[7], 1)


async def test_names_that_are_no_utf8_are_told(tree: DirTree, root: FilePath) -> None:
    events = await started(tree)
    RealUser(root).write((b"\xff\xfe",), b"")
    assert done(b"\xff\xfe") in await all_until(events, tree, b"c1")
    events.close()


async def test_our_own_directory_is_not_told(tree: DirTree) -> None:
    events = await started(tree)
    tree.stage_small(b"t1", b"x", 0o644, None)
    tree.flush([b"t1"])
    assert await all_until(events, tree, b"c1") == set()
    tree.create(b"t1", (b"a",))
    assert await all_until(events, tree, b"c2") == {done(b"a")}
    tree.retire((b"a",), b"t2", tree.stat((b"a",)))
    assert await all_until(events, tree, b"c3") == {done(b"a")}
    events.close()


async def test_what_another_folder_has_of_syncd_is_neither_watched_nor_told(tree: DirTree, root: FilePath) -> None:
    """A directory that was a folder once, copied into this one: its `.syncd` came along."""
    (root / "before" / ".syncd" / "old").mkdir(parents=True)
    events = await started(tree)
    (root / "later" / ".SYNCD" / "old").mkdir(parents=True)
    (root / "before" / ".syncd" / "folder").write_text("marker")
    (root / "before" / ".syncd" / "stage").mkdir()
    (root / "before" / "book").write_text("told")
    seen = await all_until(events, tree, b"c1")
    (root / "later" / "book").write_text("told")
    seen |= await all_until(events, tree, b"c2")
    assert {done(b"before", b"book"), done(b"later", b"book")} <= seen
    assert not [event for event in seen if b".syncd" in [name.lower() for name in (*event.parent, event.name)]]
    events.close()


async def test_ignore_file_is_told_as_such(tree: DirTree, root: FilePath) -> None:
    events = await started(tree)
    (root / ".syncd/ignore").write_bytes(b"*.tmp\n")
    assert await all_until(events, tree, b"c1") == {RawEvent(Change.IGNORE)}
    events.close()


async def test_directories_made_in_a_burst_are_all_watched(tree: DirTree, root: FilePath) -> None:
    events = await started(tree)
    deep: Path = tuple(b"d%d" % number for number in range(12))
    os.makedirs(os.path.join(bytes(root), *deep))
    await until(events, lambda seen: whole(*deep) in seen)
    RealUser(root).write((*deep, b"file"), b"")
    await until(events, lambda seen: done(*deep, b"file") in seen)
    events.close()


async def test_moved_directory_is_looked_at_whole_and_heard_under_its_new_name(tree: DirTree, root: FilePath) -> None:
    (root / "a/b/c").mkdir(parents=True)
    (root / "x").mkdir()
    events = await started(tree)
    os.rename(root / "a/b", root / "x/y")
    moved = {done(b"a", b"b"), done(b"x", b"y"), whole(b"x", b"y"), whole(b"x", b"y", b"c")}
    assert await all_until(events, tree, b"c1") == moved
    (root / "x/y/c/file").write_bytes(b"")
    assert done(b"x", b"y", b"c", b"file") in await all_until(events, tree, b"c2")
    events.close()


async def test_directory_that_left_is_silent_and_one_that_came_is_heard(
    tree: DirTree, root: FilePath, tmp_path: FilePath
) -> None:
    (root / "a/b").mkdir(parents=True)
    events = await started(tree)
    os.rename(root / "a", tmp_path / "a")
    await all_until(events, tree, b"c1")
    (tmp_path / "a/b/outside").write_bytes(b"")
    assert await all_until(events, tree, b"c2") == set()
    os.rename(tmp_path / "a", root / "back")
    await until(events, lambda seen: whole(b"back", b"b") in seen)
    (root / "back/b/inside").write_bytes(b"")
    assert done(b"back", b"b", b"inside") in await all_until(events, tree, b"c3")
    events.close()


async def test_symlinked_directory_is_not_entered(tree: DirTree, root: FilePath, tmp_path: FilePath) -> None:
    (tmp_path / "outside").mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    events = await started(tree)
    (tmp_path / "outside/file").write_bytes(b"")
    assert await all_until(events, tree, b"c1") == set()
    events.close()


def queue_limit() -> int:
    return int(FilePath("/proc/sys/fs/inotify/max_queued_events").read_text())


async def test_overflow_asks_for_a_scan_and_goes_on(tree: DirTree, root: FilePath) -> None:
    limit = queue_limit()
    (root / "d").mkdir()
    events = await started(tree)
    names = (os.path.join(root, "d", str(number % 2)) for number in range(limit + 10))
    for name in names:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT))
    await until(events, lambda seen: RawEvent(Change.LOST) in seen)
    (root / "d/after").write_bytes(b"")
    assert done(b"d", b"after") in await all_until(events, tree, b"c1")
    events.close()


async def test_closing_ends_a_waiting_receive(tree: DirTree) -> None:
    events = await started(tree)
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await events.receive()

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        events.close()
    with pytest.raises(trio.ClosedResourceError):
        await events.receive()


async def test_watch_that_is_refused_asks_for_scans_and_is_asked_for_again(
    tree: DirTree, root: FilePath, autojump_clock: trio.testing.MockClock
) -> None:
    refusals = [errno.EMFILE, errno.ENFILE]

    def begin() -> Inotify:
        if refusals:
            raise OSError(refusals.pop(), "no instance")
        return Inotify(tree, ThreadWorkers())

    events = WhenGranted(begin)
    assert await events.receive() == [RawEvent(Change.LIMITED), RawEvent(Change.LOST)]
    before = trio.current_time()
    assert await events.receive() == [RawEvent(Change.LOST)]
    assert trio.current_time() - before == pytest.approx(ASK_AGAIN_S)
    events.close()


class Inline:
    """seams.Workers without threads: virtual time does not wait for those."""

    async def run_blocking(
        self, function: Callable[[*Arguments], Result], *arguments: *Arguments, lane: Lane | None = None
    ) -> Result:
        return function(*arguments)


class Refusing(DirTree):
    """Opens no directory that is in `refused`."""

    refused: dict[Path, int]

    def open_dir(self, path: Path) -> int:
        if path in self.refused:
            raise OSError(self.refused[path], "refused")
        return super().open_dir(path)


@pytest.fixture
def refusing(root: FilePath) -> Iterator[Refusing]:
    tree = Refusing(bytes(root), str(root.parent / "home"), time.monotonic)
    tree.refused = {}
    tree.write_marker(MARKER)
    yield tree
    tree.close()


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE])
async def test_directory_that_could_not_be_watched_is_watched_as_soon_as_it_can_be(
    refusing: Refusing, root: FilePath, autojump_clock: trio.testing.MockClock, number: int
) -> None:
    """Whether it was there at the start or came later: else only the scan of an hour later saw what happens in it."""
    (root / "a/b").mkdir(parents=True)
    refusing.refused = {(b"a", b"b"): number, (b"new",): number}
    events = await started(refusing, Inline())
    (root / "new/below").mkdir(parents=True)
    await until(events, lambda seen: whole(b"new") in seen)
    with trio.move_on_after(5):
        assert not await events.receive(), "tried again, in vain"
    refusing.refused = {}
    await until(events, lambda seen: {whole(b"a", b"b"), whole(b"new", b"below")} <= set(seen))
    for name in (b"a/b/file", b"new/below/file"):
        (root / os.fsdecode(name)).write_bytes(b"")
        await until(events, lambda seen, name=name: done(*name.split(b"/")) in seen)  # type: ignore[misc]
    events.close()


async def test_directory_that_may_be_read_now_is_watched_at_once(refusing: Refusing, root: FilePath) -> None:
    (root / "a").mkdir()
    refusing.refused = {(b"a",): errno.EACCES}
    events = await started(refusing, Inline())
    refusing.refused = {}
    (root / "a").chmod(0o700)
    await until(events, lambda seen: whole(b"a") in seen)
    (root / "a/file").write_bytes(b"")
    await until(events, lambda seen: done(b"a", b"file") in seen)
    events.close()


async def test_directory_that_is_refused_and_goes_is_forgotten(
    refusing: Refusing, root: FilePath, autojump_clock: trio.testing.MockClock
) -> None:
    (root / "a").mkdir()
    refusing.refused = {(b"a",): errno.EIO}
    events = await started(refusing, Inline())
    refusing.refused = {}
    (root / "a").rmdir()
    with trio.move_on_after(10_000):
        while True:
            assert await events.receive() == [done(b"a")]
    events.close()


async def test_our_own_directory_that_cannot_be_watched_is_a_trouble_of_the_disk(tree: DirTree) -> None:
    """The folder begins anew then; it is no fault of ours."""
    events = Inotify(tree, ThreadWorkers())
    tree.open_private = lambda name: os.open("/dev/null", os.O_RDONLY)  # type: ignore[method-assign]
    with pytest.raises(TreeError):
        await events.receive()
    events.close()


async def test_any_other_failure_to_watch_is_told() -> None:
    def begin() -> Inotify:
        raise OSError(errno.EPERM, "not allowed")

    with pytest.raises(PermissionError):
        await WhenGranted(begin).receive()


async def test_settled_changes_arrive(tree: DirTree, root: FilePath) -> None:
    send, receive = trio.open_memory_channel[Dirty](1)
    events = Inotify(tree, ThreadWorkers())
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, events, send)
            assert (await receive.receive()).rescan
            (root / "a").write_bytes(b"1")
            assert await receive.receive() == Dirty({ROOT: frozenset({b"a"})})
            nursery.cancel_scope.cancel()
    events.close()


async def test_portable_watch_tells_the_same(tree: DirTree, root: FilePath) -> None:
    """What macOS uses also runs here."""
    pytest.importorskip("watchfiles")
    events = FsEvents(tree)
    assert await events.receive() == [RawEvent(Change.LOST)]
    async with trio.open_nursery() as nursery:

        async def keep_writing() -> None:
            while True:  # that watch begins at some time after the first receive
                (root / "a").write_bytes(b"1")
                await trio.sleep(0.05)

        nursery.start_soon(keep_writing)
        await until(events, lambda seen: done(b"a") in seen)
        nursery.cancel_scope.cancel()
    events.close()
    with trio.fail_after(PATIENCE_S), pytest.raises(trio.ClosedResourceError):
        while True:
            await events.receive()
