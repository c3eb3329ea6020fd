"""Async. Watching a user's folder: raw events of the system, and the task that lets them settle.

inotify on Linux, `watchfiles` on macOS. Events are hints that make a scan early and small: whatever is lost, doubled
or out of order here is found by the periodic scan. Watches are set on descriptors (`/proc/self/fd/N`), so no path is
followed."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from math import inf

import trio

from syncd.model.ignores import never_synced
from syncd.seams import Tree, TreeEvents, Workers
from syncd.store import syscalls
from syncd.store.descent import translated
from syncd.store.listening import OVERFLOW, Instances, Notice
from syncd.store.places import COOKIES
from syncd.store.settle import Settling
from syncd.store.tree import DirTree, count_tree, make_root, move_root
from syncd.treetypes import PRIVATE, ROOT, Change, Dirty, Kind, Path, RawEvent, TreeError

GATHER_S = 0.05  # between two batches, so that a burst makes few large ones
BURST_READS = 8
BURST_S = 0.02
"""Events that come one behind the other, as while many files are put in place, are read so far apart: each time the
daemon is woken for them costs as much as looking at several of them."""
ASK_AGAIN_S = 60.0
"""After the system refused to watch."""
IGNORE = b"ignore"


async def watch(events: TreeEvents, send: trio.MemorySendChannel[Dirty]) -> None:
    """Send what has come to rest, until cancelled. While the receiver is busy, further changes gather here."""
    settling = Settling()
    stirred = trio.Event()
    waits_until_s = inf

    async def read() -> None:
        last_s, close = -inf, 0
        while True:
            settling.feed(await events.receive(), now_s := trio.current_time())
            due_s = settling.next_due_s()
            if due_s is not None and due_s < waits_until_s:
                stirred.set()
            last_s, close = now_s, close + 1 if now_s - last_s < 2 * BURST_S else 0
            if close > BURST_READS:
                await trio.sleep(BURST_S)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        while True:
            due_s = settling.next_due_s()
            waits_until_s = inf if due_s is None else due_s
            with trio.move_on_at(waits_until_s):
                await stirred.wait()
                stirred = trio.Event()
            if due_s and trio.current_time() - due_s > GATHER_S:
                await trio.sleep(GATHER_S)  # all were late: what came meanwhile, as the rest of a rename, is read first
            dirty = settling.take(trio.current_time())
            if dirty is not None:
                await send.send(dirty)
                await trio.sleep(GATHER_S)


class LocalTrees:
    """seams.Trees on this computer."""

    def __init__(self, workers: Workers, monotonic: Callable[[], float]) -> None:
        self._workers = workers
        self._monotonic = monotonic
        self._instances = Instances()

    def count(self, root: bytes) -> tuple[int, int, int]:
        return count_tree(root)

    def make_root(self, root: bytes) -> None:
        make_root(root)

    def move_root(self, source: bytes, target: bytes) -> None:
        move_root(source, target)

    def open(self, root: bytes, home: str) -> DirTree:
        return DirTree(root, home, self._monotonic)

    def watch(self, tree: Tree) -> TreeEvents:
        if not isinstance(tree, DirTree):
            raise TypeError("only a tree on this computer can be watched")
        if not syscalls.LINUX:
            return FsEvents(tree)
        return WhenGranted(lambda: Inotify(tree, self._workers, self._instances))


# --- Linux ---------------------------------------------------------------------------------------------------------

_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x2, 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_IGNORED, _ISDIR = 0x8000, 0x4000_0000
_ONLYDIR, _EXCL_UNLINK = 0x0100_0000, 0x0400_0000
_ENDED = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _DELETE
_LEAVES, _COMES = _MOVED_FROM | _MOVED_TO | _DELETE, _MOVED_TO | _CREATE
_MASK = _ENDED | _MODIFY | _ATTRIB | _CREATE | _ONLYDIR | _EXCL_UNLINK

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOMEM)
_NOT_OURS = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV)
"""No directory of the folder stands there, or not any more."""
REFUSED_S, LONGEST_REFUSED_S = 2.0, 600.0
"""Until a directory that could not be watched is tried again, at first and at most."""


class WhenGranted:
    """seams.TreeEvents on Linux where the system may give out no more instances for a while: until it does, only scans
    see what changes."""

    def __init__(self, begin: Callable[[], Inotify]) -> None:
        self._begin = begin
        self._events: Inotify | None = None
        self._has_told = False

    async def receive(self) -> Sequence[RawEvent]:
        while self._events is None:
            try:
                self._events = self._begin()
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                if not self._has_told:
                    self._has_told = True
                    return [RawEvent(Change.LIMITED), RawEvent(Change.LOST)]
                await trio.sleep(ASK_AGAIN_S)
        return await self._events.receive()

    def close(self) -> None:
        if self._events is not None:
            self._events.close()


class _Watched:
    """A watched directory. Its path follows from its parents, so a move changes one link."""

    __slots__ = ("below", "name", "number", "parent", "watch")

    def __init__(self, parent: _Watched | None, name: bytes) -> None:
        self.parent = parent
        self.name = name
        self.below: dict[bytes, _Watched] = {}
        self.watch = -1
        self.number = 0  # how many were watched before it, and it


class Inotify:
    """seams.TreeEvents on Linux. One task receives."""

    def __init__(self, tree: DirTree, workers: Workers, instances: Instances | None = None) -> None:
        """`instances`: those that all folders share."""
        self._tree = tree
        self._workers = workers
        self._line = (instances or Instances()).line()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._line.clear()
        self._tree.echoes.forget()
        self._top = _Watched(None, b"")
        self._private = _Watched(None, PRIVATE)
        self._cookies = _Watched(None, COOKIES)
        self._by_watch: dict[int, _Watched] = {}
        self._on_the_way: dict[int, _Watched] = {}  # moved away; where to is not known yet
        self._refused: set[Path] = set()
        """Directories that could not be watched, or listed: nobody hears what happens in them."""
        self._refused_s, self._try_at = REFUSED_S, inf
        self._limited = False
        self._started = False

    async def receive(self) -> Sequence[RawEvent]:
        while True:
            if not self._started and not self._line.is_closed:
                return await self._start()
            notices = await self._notices()
            events, arrived = self._take(notices) if notices else ([], self._try_again())
            for path in arrived:
                events += await self._workers.run_blocking(self._watch_below, path, not notices)
            self._plan_to_try_again(is_new=bool(notices and arrived))
            if events:
                return events

    async def _notices(self) -> Sequence[Notice]:
        """What happened; nothing when it is time to watch what could not be watched."""
        if trio.current_time() < self._try_at:
            with trio.move_on_at(self._try_at):
                return await self._line.notices()
        return ()

    def _try_again(self) -> list[Path]:
        """What is refused once more is tried more rarely."""
        again, self._refused, self._try_at = sorted(self._refused), set(), inf
        self._refused_s = min(2 * self._refused_s, LONGEST_REFUSED_S)
        return again

    def _plan_to_try_again(self, *, is_new: bool) -> None:
        if is_new:
            self._refused_s = REFUSED_S
        if not self._refused:
            self._try_at = inf
        elif is_new or self._try_at == inf:
            self._try_at = min(self._try_at, trio.current_time() + self._refused_s)

    async def _start(self) -> list[RawEvent]:
        """Watch everything, and only then let everything be looked at."""
        self._started = True
        found = await self._workers.run_blocking(self._watch_all)
        self._plan_to_try_again(is_new=True)
        return [*(event for event in found if event.change is Change.LIMITED), RawEvent(Change.LOST)]

    def close(self) -> None:
        """A waiting `receive` ends with trio.ClosedResourceError."""
        self._line.close()

    # Watching directories (in a worker).

    def _watch_all(self) -> list[RawEvent]:
        for private, name in ((self._private, b""), (self._cookies, COOKIES)):
            fd = self._tree.open_private(name)
            try:
                self._note(private, self._line.add(fd, _MASK))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise translated(error, (PRIVATE,)) from error
                self._limited = True
                return [RawEvent(Change.LIMITED)]
            finally:
                os.close(fd)
        return self._watch_below(ROOT)

    def _watch_below(self, top: Path, is_known: bool = False) -> list[RawEvent]:
        """Watch a directory and all below it; each of them is to be looked at, as things may have happened before.
        `is_known`: it was looked at since it was refused."""
        events: list[RawEvent] = []
        waiting = [top]
        while waiting and not self._limited:
            path = waiting.pop()
            try:
                self._watch_one(path)
                waiting += [(*path, name) for name in self._tree.list_subdirs(path) if not never_synced((name,))]
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    self._limited = True
                    events.append(RawEvent(Change.LIMITED))
                    continue
                if error.errno in _EXHAUSTED:
                    raise
                if error.errno in _NOT_OURS:
                    continue
                self._refused.add(path)  # a look at it says what is wrong
                if is_known and path == top:
                    continue
            if path:
                events.append(RawEvent(Change.TREE, path[:-1], path[-1]))
        return events

    def _watch_one(self, path: Path) -> None:
        fd = self._tree.open_dir(path)
        try:
            watch = self._line.add(fd, _MASK)
        finally:
            os.close(fd)
        if not path:
            self._note(self._top, watch)
            return
        parent = self._find(path[:-1])
        if parent is None:
            self._line.remove(watch)  # moved away meanwhile; its new place is being told as well
            return
        node = self._by_watch.get(watch) or _Watched(None, path[-1])
        self._note(node, watch)
        self._hang(node, parent, path[-1])

    def _find(self, path: Path) -> _Watched | None:
        node: _Watched | None = self._top
        for name in path:
            node = node.below.get(name) if node is not None else None
        return node

    def _note(self, node: _Watched, watch: int) -> None:
        node.watch, node.number = watch, self._tree.echoes.watched()
        self._by_watch[watch] = node

    def _hang(self, node: _Watched, parent: _Watched, name: bytes) -> None:
        self._take_down(node)
        there = parent.below.get(name)
        if there is not None:
            self._forget(there)
        node.parent, node.name = parent, name
        parent.below[name] = node

    def _take_down(self, node: _Watched) -> None:
        if node.parent is not None and node.parent.below.get(node.name) is node:
            del node.parent.below[node.name]
        node.parent = None

    def _forget(self, node: _Watched) -> None:
        """End the watches of a directory that has left the folder, and of all below it."""
        self._take_down(node)
        for below in list(node.below.values()):
            self._forget(below)
        if self._by_watch.pop(node.watch, None) is not None:
            self._line.remove(node.watch)

    def _path_of(self, node: _Watched) -> Path | None:
        """None for a directory that is on its way, or gone."""
        names: list[bytes] = []
        while node is not self._top:
            if node.parent is None:
                return None
            names.append(node.name)
            node = node.parent
        return tuple(reversed(names))

    # Reading events.

    def _take(self, notices: Sequence[Notice]) -> tuple[list[RawEvent], list[Path]]:
        """The events that are in notices, and the directories that came from elsewhere and have no watch yet."""
        gone, self._on_the_way = self._on_the_way, {}
        events: list[RawEvent] = []
        arrived: list[Path] = []
        for notice in notices:
            if notice.mask & OVERFLOW:
                self._begin_anew()  # directories may have been made or moved unseen
                return [], []
            node = self._by_watch.get(notice.watch)
            if node is not None:
                self._take_note(node, notice, gone, events, arrived)
        for node in gone.values():
            self._forget(node)
        return events, arrived

    def _take_note(
        self,
        node: _Watched,
        notice: Notice,
        gone: dict[int, _Watched],
        events: list[RawEvent],
        arrived: list[Path],
    ) -> None:
        if notice.mask & _IGNORED:
            self._by_watch.pop(notice.watch, None)
            self._take_down(node)
            return
        if node is self._private or node is self._cookies:
            events += _own_events(node is self._cookies, notice)
            return
        path = self._path_of(node)
        if path is None or not notice.name or never_synced((notice.name,)):
            return  # syncd's own, also that of another folder, which lies inside of this one or was copied into it
        if notice.mask & _ISDIR:
            if notice.mask & _LEAVES:
                self._tree.echoes.forget()
        elif notice.mask & _COMES and self._tree.echoes.is_own((*path, notice.name), node.number):
            return
        is_known = self._follow_directory(node, notice, gone) if notice.mask & _ISDIR else True
        if not is_known or (notice.mask & _ATTRIB and (*path, notice.name) in self._refused):
            arrived.append((*path, notice.name))
        if notice.mask & _ISDIR and notice.mask & _MOVED_TO:
            events += self._all_below((*path, notice.name))
        change = Change.WRITING if self._is_being_written(path, notice) else Change.DONE
        events.append(RawEvent(change, path, notice.name, notice.cookie))

    def _follow_directory(self, parent: _Watched, notice: Notice, gone: dict[int, _Watched]) -> bool:
        """Keep the links up to date; False when the directory is one that we do not watch yet."""
        if notice.mask & _MOVED_FROM:
            node = parent.below.get(notice.name)
            if node is not None:
                self._take_down(node)
                self._on_the_way[notice.cookie] = node
        elif notice.mask & _MOVED_TO:
            came = self._on_the_way.pop(notice.cookie, None) or gone.pop(notice.cookie, None)
            if came is None:
                return False
            self._hang(came, parent, notice.name)
        return not notice.mask & _CREATE

    def _all_below(self, path: Path) -> Iterator[RawEvent]:
        """A watched directory was moved here. What changed in it just before was told under its old name, where nothing
        is found any more: so all of it is looked at."""
        node = self._find(path)
        if node is not None:
            yield RawEvent(Change.TREE, path[:-1], path[-1])
            for name in node.below:
                yield from self._all_below((*path, name))

    def _is_being_written(self, path: Path, notice: Notice) -> bool:
        """Written and not closed. A new symlink or hard link is complete at once, a new file is not."""
        if notice.mask & _MODIFY:
            return True
        if notice.mask & _ISDIR or not notice.mask & _CREATE:
            return False
        try:
            stat = self._tree.stat((*path, notice.name))
        except TreeError:
            return False
        return stat.kind is Kind.FILE and stat.nlink == 1


def _own_events(is_cookies: bool, notice: Notice) -> list[RawEvent]:
    if is_cookies:
        return [RawEvent(Change.COOKIE, name=notice.name)] if notice.mask & _CREATE else []
    return [RawEvent(Change.IGNORE)] if notice.name == IGNORE and notice.mask & _ENDED else []


# --- macOS ---------------------------------------------------------------------------------------------------------


class FsEvents:
    """seams.TreeEvents by `watchfiles`, which knows no more than that something happened to a path."""

    def __init__(self, tree: DirTree) -> None:
        self._root = os.path.realpath(tree.root)
        self._stop = trio.Event()
        self._started = False
        self._batches = self._watch()

    async def _watch(self) -> AsyncIterator[Iterable[tuple[object, str]]]:
        from watchfiles import awatch  # exists on macOS only

        async for batch in awatch(os.fsdecode(self._root), watch_filter=None, stop_event=self._stop, debounce=50):
            yield batch

    async def receive(self) -> Sequence[RawEvent]:
        if not self._started:
            self._started = True
            return [RawEvent(Change.LOST)]
        async for batch in self._batches:
            events = [event for _, path in batch if (event := self._event(os.fsencode(path))) is not None]
            if events:
                return events
        raise trio.ClosedResourceError

    def _event(self, path: bytes) -> RawEvent | None:
        names = tuple(os.path.relpath(path, self._root).split(b"/"))
        if names[0] != PRIVATE:
            if never_synced(names):
                return None
            return RawEvent(Change.DONE, names[:-1], names[-1]) if names != (b".",) else None
        if names[1:2] == (COOKIES,) and len(names) == 3:
            return RawEvent(Change.COOKIE, name=names[2])
        return RawEvent(Change.IGNORE) if names[1:] == (IGNORE,) else None

    def close(self) -> None:
        self._stop.set()
