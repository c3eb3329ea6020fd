"""Many folders share few inotify instances, and each hears of itself."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path as FilePath

import pytest
import trio
import trio.testing

from syncd.store import syscalls
from syncd.store.listening import OVERFLOW, Instances, Line, Notice
from syncd.store.tree import DirTree
from syncd.store.watch import Inotify
from syncd.treetypes import Change, RawEvent
from syncd.workers import ThreadWorkers
from tests.helpers.computers import Computer, computers, wait_until
from tests.suites.tree_suite import MARKER

pytestmark = pytest.mark.needs("linux")
PATIENCE_S = 60.0
COUNT = 5


class Folder:
    """A watched directory, and what was heard of it."""

    def __init__(self, root: FilePath, instances: Instances) -> None:
        (root / "home").mkdir(parents=True)
        self.root = root / "folder"
        self.root.mkdir()
        self.tree = DirTree(bytes(self.root), str(root / "home"), time.monotonic)
        self.tree.write_marker(MARKER)
        self.events = Inotify(self.tree, ThreadWorkers(), instances)
        self.heard: list[RawEvent] = []
        self._news = trio.Event()

    async def listen(self) -> None:
        try:
            while True:
                self.heard += await self.events.receive()
                self._news.set()
                self._news = trio.Event()
        except trio.ClosedResourceError:
            return

    async def hears(self, wanted: RawEvent) -> None:
        with trio.fail_after(PATIENCE_S):
            while wanted not in self.heard:
                await self._news.wait()

    def names(self) -> set[bytes]:
        return {event.name for event in self.heard if event.change is Change.DONE}


@pytest.fixture
async def folders(tmp_path: FilePath) -> AsyncIterator[list[Folder]]:
    instances = Instances(most=2)
    made = [Folder(tmp_path / str(number), instances) for number in range(COUNT)]
    yield made
    for folder in made:
        folder.events.close()
        folder.tree.close()


def done(name: bytes) -> RawEvent:
    return RawEvent(Change.DONE, (), name)


async def listen_all(folders: Sequence[Folder], nursery: trio.Nursery) -> None:
    for folder in folders:
        nursery.start_soon(folder.listen)
    for folder in folders:
        await folder.hears(RawEvent(Change.LOST))


async def write_and_hear(folders: Sequence[Folder], text: str) -> None:
    for number, folder in enumerate(folders):
        (folder.root / f"{text} {number}").symlink_to("somewhere")
    for number, folder in enumerate(folders):
        await folder.hears(done(f"{text} {number}".encode()))


async def test_each_folder_hears_of_itself_and_of_no_other(folders: list[Folder]) -> None:
    async with trio.open_nursery() as nursery:
        await listen_all(folders, nursery)
        await write_and_hear(folders, "new")
        assert [folder.names() for folder in folders] == [{b"new %d" % number} for number in range(COUNT)]
        nursery.cancel_scope.cancel()


async def test_whoever_leaves_takes_nobody_with_it(folders: list[Folder]) -> None:
    async with trio.open_nursery() as nursery:
        await listen_all(folders, nursery)
        for gone in range(COUNT - 1):
            folders[gone].events.close()
            folders[gone].events.close()
            await trio.testing.wait_all_tasks_blocked()
            await write_and_hear(folders[gone + 1 :], f"after {gone}")
        folders[-1].events.close()
    with pytest.raises(trio.ClosedResourceError):
        await folders[0].events.receive()


async def test_directory_that_moves_to_a_folder_of_the_same_instance_is_watched_there(tmp_path: FilePath) -> None:
    """The kernel knows a directory by one number for each instance, and both folders use that one for a moment."""
    instances = Instances(most=1)
    here, there = (Folder(tmp_path / name, instances) for name in ("here", "there"))
    (here.root / "moves" / "inner").mkdir(parents=True)
    async with trio.open_nursery() as nursery:
        await listen_all((here, there), nursery)
        (here.root / "moves").rename(there.root / "moves")
        await there.hears(RawEvent(Change.TREE, (b"moves",), b"inner"))
        await write_and_hear((here, there), "then")  # by now the folder that it has left has let it go
        await write_and_hear((here, there), "later")
        (there.root / "moves" / "inner" / "new").symlink_to("somewhere")
        await there.hears(RawEvent(Change.DONE, (b"moves", b"inner"), b"new"))
        nursery.cancel_scope.cancel()
    for folder in (here, there):
        folder.events.close()
        folder.tree.close()


async def test_two_that_stop_at_once_leave_one_who_reads(tmp_path: FilePath) -> None:
    """Trio decides by a coin which of the two goes first, so this is tried often."""
    created = 0x100
    directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    for turn in range(12):
        instances = Instances(most=1)
        lines = [instances.line() for _ in range(3)]
        heard: list[Notice] = []
        lines[2].add(directory, created)

        async def listen(line: Line, heard: list[Notice] = heard) -> None:
            with suppress(trio.ClosedResourceError):
                heard += await line.notices()

        async with trio.open_nursery() as nursery:
            for line in lines:
                nursery.start_soon(listen, line)
                await trio.testing.wait_all_tasks_blocked()
            lines[0].close()  # who reads
            lines[1].close()  # whose turn would be next
            await trio.testing.wait_all_tasks_blocked()
            (tmp_path / str(turn)).symlink_to("somewhere")
            nursery.cancel_scope.deadline = trio.current_time() + PATIENCE_S
        assert [notice.name for notice in heard] == [b"%d" % turn]
        lines[2].close()
    os.close(directory)


async def test_what_the_kernel_lost_concerns_everybody_who_shares_its_queue(folders: list[Folder]) -> None:
    async with trio.open_nursery() as nursery:
        await listen_all(folders, nursery)
        for folder in folders:
            folder.heard.clear()
            folder.events._line.hear(Notice(-1, OVERFLOW, 0, b""))
        for folder in folders:
            await folder.hears(RawEvent(Change.LOST))
        await write_and_hear(folders, "then")
        nursery.cancel_scope.cancel()


async def test_folders_beyond_the_limit_of_the_system_share(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = syscalls.inotify_init
    given: list[int] = []

    def stingy() -> int:
        if given:
            raise OSError(24, "Too many open files")
        given.append(real())
        return given[0]

    monkeypatch.setattr(syscalls, "inotify_init", stingy)
    instances = Instances()
    some = [Folder(tmp_path / str(number), instances) for number in range(3)]
    async with trio.open_nursery() as nursery:
        await listen_all(some, nursery)
        await write_and_hear(some, "new")
        nursery.cancel_scope.cancel()
    for folder in some:
        folder.events.close()
        folder.tree.close()
    with pytest.raises(OSError, match="Too many"):
        Instances().line()


def test_folder_that_is_left_takes_its_watches_with_it(tmp_path: FilePath) -> None:
    """Nobody could join and leave a folder for more than some dozens of times otherwise."""
    with computers(("anna",), tmp_path, "first") as (anna,):
        anna.start()
        counted = [watches_of(anna)]
        for turn in range(3):
            folder = tmp_path / f"folder {turn}"
            (folder / "inner").mkdir(parents=True)
            anna.ask("share", str(folder), "--link", "--yes", "--no-wait")
            wait_until(lambda: watches_of(anna) > counted[0], PATIENCE_S, "nothing is watched")
            anna.ask("folder", "leave", folder.name, "--yes")
            wait_until(lambda: watches_of(anna) == counted[0], PATIENCE_S, "what was left is still watched")


def watches_of(computer: Computer) -> int:
    assert computer.daemon is not None
    count = 0
    for info in FilePath(f"/proc/{computer.daemon.pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # closed since the list was made
            count += sum(line.startswith("inotify wd:") for line in info.read_text().splitlines())
    return count
