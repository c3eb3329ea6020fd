"""A file system in memory, with what matters about a real one: inodes, ctimes, what a power cut keeps, and a user.

Two states live side by side. The *live* one is what programs see. The *durable* one is what the disk has: names and
attributes reach it in the order they were made (a journal), file contents only when they are flushed, so a crash can
leave a file empty that had its name already. `crash` throws the live state away.

The methods of `SimDisk` without an underscore are the user and the physics: writing, renaming, deleting, pulling the
plug. syncd itself goes through `tests/helpers/simtree.py`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from operator import itemgetter

import trio

from syncd.treetypes import (
    PRIVATE,
    ROOT,
    Attributes,
    Change,
    IsADirectory,
    Kind,
    LinkInTheWay,
    NameRefused,
    NameTaken,
    NoSpace,
    NotADirectory,
    NotAFile,
    NotEmpty,
    NotThere,
    Path,
    Personality,
    RawEvent,
    RootState,
    Stat,
    TooLong,
    TreeError,
    show_path,
)

DEVICE = 7
TICK_NS = 1_000_000
FIRST_MOMENT_NS = 1_700_000_000_000_000_000


class Node:
    """An inode. `names` is for directories: folded name -> (name as given, node)."""

    __slots__ = ("ctime_ns", "data", "ino", "kind", "mode", "mtime_ns", "name", "names", "nlink", "opens", "parent",
                 "target", "writers", "xattrs")  # fmt: skip

    def __init__(self, ino: int, kind: Kind, mode: int, now_ns: int) -> None:
        self.ino, self.kind, self.mode = ino, kind, mode
        self.mtime_ns = self.ctime_ns = now_ns
        self.data = bytearray()
        self.target = b""
        self.xattrs: dict[bytes, bytes] = {}
        self.names: dict[bytes, tuple[bytes, Node]] = {}
        self.nlink = 0
        self.opens = self.writers = 0
        self.parent: Node | None = None
        self.name = b""

    def stat(self) -> Stat:
        size = len(self.target) if self.kind is Kind.SYMLINK else len(self.data)
        nlink = self.nlink or (2 if self.kind is Kind.DIR else 0)
        return Stat(self.kind, self.ino, size, self.mtime_ns, self.ctime_ns, self.mode, nlink, DEVICE)


@dataclass(slots=True)
class Kept:
    """What the disk has of an inode."""

    kind: Kind
    target: bytes
    mode: int
    mtime_ns: int
    ctime_ns: int
    xattrs: dict[bytes, bytes]
    data: bytes = b""
    names: dict[bytes, tuple[bytes, int]] = field(default_factory=dict)


@dataclass(slots=True)
class Fault:
    """A step that is going to fail."""

    count: int
    error: TreeError
    step: str | None
    for_ever: bool


# One entry of the journal happens as a whole or not at all.
Step = Callable[[dict[int, Kept]], None]
Entry = list[Step]


class SimDisk:
    """One file system with one directory on it."""

    def __init__(
        self,
        *,
        now_ns: Callable[[], int] | None = None,
        personality: Personality | None = None,
        capacity: int | None = None,
        reuse_inodes: bool = True,
    ) -> None:
        """`now_ns` is the wall clock; without one, every change is a tick later than the one before."""
        self.personality = personality or Personality(name="sim")
        self.xattr_room: int | None = None
        """Bytes of the longest value of an extended attribute that it can hold; None: of any."""
        self.capacity = capacity  # bytes of file content; None = endless
        self.root_state: RootState | None = None  # force what check_root says
        self.hook: Callable[[str, Path], None] | None = None  # called at every step of a verb: may raise, or be a user
        self.steps: dict[str, int] = {}  # how often each step was reached
        self.failed = 0  # how many steps have failed
        self._faults: list[Fault] = []
        self._ticks = FIRST_MOMENT_NS
        self._wall_ns = now_ns or self._tick
        self._reuse = reuse_inodes
        self._free: list[int] = []
        self._last_ino = 1
        self.used = 0
        self.generation = 0  # counts crashes: what was open before one is dead
        self.flushes = 0
        self.root = Node(1, Kind.DIR, 0o755, self._now_ns())
        self._durable: dict[int, Kept] = {1: _kept(self.root)}
        self._journal: list[Entry] = []
        self._unwritten: dict[int, Node] = {}
        self._watches: list[SimEvents] = []

    def _tick(self) -> int:
        self._ticks += TICK_NS
        return self._ticks

    def _now_ns(self) -> int:
        """The time that this file system writes down, as fine as it can."""
        step = self.personality.mtime_step_ns
        return self._wall_ns() // step * step

    # The user.

    def write(self, path: Path, content: bytes) -> None:
        """As `echo content > path`: the same inode when there is one."""
        parent, name = self.parent_of(path)
        node = self.maybe(parent, name)
        if node is None:
            node = self.make(Kind.FILE, 0o644)
            self.link(parent, name, node)
        self.put(self.require_file(node, path), 0, content, truncate=True)
        self.emit(Change.DONE, node)

    def save(self, path: Path, content: bytes) -> None:
        """As most editors do: write another file and rename it over this one."""
        node = self.make(Kind.FILE, 0o644)
        self.put(node, 0, content)
        parent, name = self.parent_of(path)
        self.take_name(parent, name, node)

    def open(self, path: Path) -> UserFile:
        """An open file, as a program holds it: what it writes goes to that inode, wherever its name has gone."""
        return UserFile(self, self.require_file(self.at(path), path))

    def read(self, path: Path) -> bytes:
        return bytes(self.require_file(self.at(path), path).data)

    def target(self, path: Path) -> bytes:
        return self.at(path).target

    def delete(self, path: Path) -> None:
        """As `rm -r`."""
        parent, name = self.parent_of(path)
        node = self.child(parent, name, path)
        for _, below in list(node.names.values()):
            self.delete((*path, below.name))
        self.emit(Change.DONE, node)
        self.unlink(parent, name)

    def rename(self, source: Path, target: Path) -> None:
        """As `mv`: replaces a file at the target."""
        parent, name = self.parent_of(source)
        node = self.child(parent, name, source)
        to_parent, to_name = self.parent_of(target)
        self.refuse_into_itself(node, to_parent, target)
        self.emit(Change.DONE, node)
        self.take_name(to_parent, to_name, node)

    def take_name(self, parent: Node, name: bytes, node: Node) -> None:
        """Rename over whatever stands there, in one step."""
        self.check_name(name, (name,))
        there = self.maybe(parent, name)
        entry: Entry = []
        if there is not None and there is not node:
            if there.names:
                raise NotEmpty("not empty", (name,))
            if (there.kind is Kind.DIR) != (node.kind is Kind.DIR):
                raise IsADirectory("only a directory replaces a directory", (name,))
            self.unlink(parent, name, entry)
        if node.parent is not None and node.nlink:
            self.unlink(node.parent, node.name, entry, drop=False)
        self.link(parent, name, node, entry)
        self._journal.append(entry)
        self.emit_arrival(node)

    def mkdir(self, path: Path) -> None:
        parent, name = self.parent_of(path)
        node = self.make(Kind.DIR, 0o755)
        self.link(parent, name, node)
        self.emit(Change.DONE, node)
        self.emit(Change.TREE, node)

    def symlink(self, path: Path, target: bytes) -> None:
        parent, name = self.parent_of(path)
        node = self.make(Kind.SYMLINK, 0o777, target)
        self.link(parent, name, node)
        self.emit(Change.DONE, node)

    def make_other(self, path: Path) -> None:
        """As `mkfifo`."""
        parent, name = self.parent_of(path)
        node = self.make(Kind.OTHER, 0o644)
        self.link(parent, name, node)
        self.emit(Change.DONE, node)

    def hard_link(self, source: Path, target: Path) -> None:
        node = self.at(source)
        parent, name = self.parent_of(target)
        self.link(parent, name, node)
        self.emit(Change.DONE, node)

    def chmod(self, path: Path, mode: int) -> None:
        node = self.at(path)
        self.change(node, Attributes(mode=mode))
        self.emit(Change.DONE, node)

    def set_xattr(self, path: Path, name: bytes, value: bytes | None) -> None:
        """As `setfattr`; None takes it away."""
        node = self.at(path)
        self.change(node, Attributes(xattrs={**node.xattrs, name: value or b""}))
        if value is None:
            self.change(node, Attributes(xattrs={one: of for one, of in node.xattrs.items() if one != name}))
        self.emit(Change.DONE, node)

    def utime(self, path: Path, mtime_ns: int) -> None:
        node = self.at(path)
        self.change(node, Attributes(mtime_ns=mtime_ns))
        self.emit(Change.DONE, node)

    def rot(self, path: Path, content: bytes) -> None:
        """Other bytes under an unchanged stat, as a dying disk or an mmap writer leaves them."""
        node = self.require_file(self.at(path), path)
        node.data[:] = content
        self._unwritten[node.ino] = node

    def stat(self, path: Path) -> Stat:
        return self.at(path).stat()

    def contents(self) -> dict[Path, bytes | None]:
        """Everything a user sees: files with content, symlinks with b'-> target', directories with None."""
        return {path: _seen(node) for path, node in self.walk(ROOT, self.root) if path[0] != PRIVATE}

    def walk(self, path: Path, node: Node) -> Iterator[tuple[Path, Node]]:
        """All that is below, each directory before what is in it, names in their order."""
        left = [(path, *item) for item in _last_first(node)]
        while left:
            above, name, below = left.pop()
            here = (*above, name)
            yield here, below
            if below.names:
                left += [(here, *item) for item in _last_first(below)]

    # The physics.

    def fail_at(self, count: int, error: TreeError, step: str | None = None, *, for_ever: bool = False) -> None:
        """The `count`-th step from now (of that name, or of any) raises `error`: once, or from then on until `mend`."""
        self._faults.append(Fault(count, error, step, for_ever))

    def mend(self) -> None:
        """No step fails any more."""
        self._faults.clear()

    def reach(self, step: str, path: Path = ROOT) -> None:
        """syncd has come to this step of a verb."""
        self.steps[step] = self.steps.get(step, 0) + 1
        if self._faults:
            self._maybe_fail(step)
        if self.hook is not None:
            self.hook(step, path)

    def _maybe_fail(self, step: str) -> None:
        for fault in list(self._faults):
            if fault.step not in (None, step):
                continue
            fault.count -= 1
            if fault.count > 0:
                continue
            self.failed += 1
            if not fault.for_ever:
                self._faults.remove(fault)
            raise fault.error

    def lose_unwritten(self) -> None:
        """A flush has failed: what was to be written counts as written from now on, and is not."""
        self._unwritten.clear()

    def image(self) -> dict[int, Kept]:
        """What lies on the disk, everything flushed: a backup of the whole machine for `put_image`."""
        self.flush()
        return deepcopy(self._durable)

    def put_image(self, image: dict[int, Kept]) -> None:
        """Play a backup back."""
        self._durable = {ino: replace(kept, names=dict(kept.names)) for ino, kept in image.items()}
        self._last_ino = max(self._last_ino, *image)
        self.crash()

    @property
    def unflushed(self) -> int:
        """Number of entries of the journal that a crash could still lose."""
        return len(self._journal)

    @property
    def unwritten(self) -> list[Node]:
        """Files with content that a crash could still lose."""
        return list(self._unwritten.values())

    def after_crash(self, keep: int) -> dict[int, Kept]:
        """What would lie on the disk if the power failed now, as in `crash`."""
        durable = {ino: replace(kept, names=dict(kept.names)) for ino, kept in self._durable.items()}
        for entry in self._journal[:keep]:
            for step in entry:
                step(durable)
        return durable

    def flush_names(self) -> None:
        """The journal is on the disk; contents of files are not."""
        self.flushes += 1
        for entry in self._journal:
            for step in entry:
                step(self._durable)
        self._journal.clear()

    def flush_file(self, path: Path) -> None:
        """As a user's fsync: this file's content is on the disk, and all names."""
        self.flush_names()
        self._flush_content(self.at(path))

    def flush(self) -> None:
        """Everything is on the disk."""
        self.flush_names()
        for node in list(self._unwritten.values()):
            self._flush_content(node)
        self._unwritten.clear()

    def _flush_content(self, node: Node) -> None:
        kept = self._durable.get(node.ino)
        if self._unwritten.pop(node.ino, None) is not None and kept is not None:
            kept.data, kept.mtime_ns, kept.ctime_ns = bytes(node.data), node.mtime_ns, node.ctime_ns

    def crash(self, keep: int = 0) -> None:
        """The power fails: the first `keep` entries of the journal had reached the disk, and no unflushed content."""
        del self._journal[keep:]
        self.flush_names()
        self._unwritten.clear()
        self._free.clear()
        self.generation += 1
        self.used = 0
        nodes: dict[int, Node] = {}
        self.root = self._revive(1, nodes)
        self._durable = {ino: kept for ino, kept in self._durable.items() if ino in nodes}
        for watch in self._watches:
            watch.close()
        self._watches.clear()

    def _revive(self, ino: int, nodes: dict[int, Node]) -> Node:
        if ino in nodes:
            return nodes[ino]
        kept = self._durable[ino]
        node = nodes[ino] = Node(ino, kept.kind, kept.mode, kept.mtime_ns)
        node.ctime_ns, node.target, node.xattrs = kept.ctime_ns, kept.target, dict(kept.xattrs)
        node.data = bytearray(kept.data)
        self.used += len(node.data)
        for key, (name, below) in kept.names.items():
            child = self._revive(below, nodes)
            child.nlink += 1
            child.parent, child.name = node, name
            node.names[key] = (name, child)
        return node

    # Events.

    def watch(self) -> SimEvents:
        events = SimEvents()
        self._watches.append(events)
        return events

    def emit(self, change: Change, node: Node) -> None:
        if self._watches and node.parent is not None:
            path = self.path_of(node)
            if path is not None and path[0] != PRIVATE:
                self.emit_at(change, path)
            elif path == (PRIVATE, b"ignore"):
                self.emit_raw(RawEvent(Change.IGNORE))

    def emit_arrival(self, node: Node) -> None:
        """Something came to this name from another one: a directory with all that is in it."""
        self.emit(Change.DONE, node)
        if node.kind is Kind.DIR:
            self.emit(Change.TREE, node)
            for _, below in node.names.values():
                if below.kind is Kind.DIR:
                    self.emit_arrival(below)

    def emit_at(self, change: Change, path: Path) -> None:
        self.emit_raw(RawEvent(change, path[:-1], path[-1]))

    def emit_raw(self, event: RawEvent) -> None:
        for watch in self._watches:
            watch.push(event)

    # Inodes and names.

    def path_of(self, node: Node) -> Path | None:
        """Where a node hangs now; None when it has no name."""
        names: list[bytes] = []
        while node is not self.root:
            if node.parent is None or node.nlink == 0:
                return None
            names.append(node.name)
            node = node.parent
        return tuple(reversed(names))

    def key(self, name: bytes) -> bytes:
        """What the file system takes for the same name."""
        how = self.personality
        if not (how.case_insensitive or how.normalising):
            return name
        text = name.decode("utf-8", "surrogateescape")
        if how.normalising:
            text = unicodedata.normalize("NFC", text)
        if how.case_insensitive:
            text = text.casefold()
        return text.encode("utf-8", "surrogateescape")

    def maybe(self, parent: Node, name: bytes) -> Node | None:
        found = parent.names.get(self.key(name))
        return None if found is None else found[1]

    def child(self, parent: Node, name: bytes, path: Path) -> Node:
        node = self.maybe(parent, name)
        if node is None:
            raise NotThere(f"no such file or directory: {show_path(path)}", path)
        return node

    def at(self, path: Path) -> Node:
        if not path:
            return self.root
        return self.child(self.directory(path[:-1]), path[-1], path)

    def directory(self, path: Path) -> Node:
        node = self.root
        for name in path:
            node = self.child(node, name, path)
            if node.kind is Kind.SYMLINK:
                raise LinkInTheWay(f"a symlink is in the way: {show_path(path)}", path)
            if node.kind is not Kind.DIR:
                raise NotADirectory(f"not a directory: {show_path(path)}", path)
        return node

    def parent_of(self, path: Path) -> tuple[Node, bytes]:
        return self.directory(path[:-1]), path[-1]

    def require_file(self, node: Node, path: Path) -> Node:
        if node.kind is Kind.FILE:
            return node
        if node.kind is Kind.DIR:
            raise IsADirectory(f"is a directory: {show_path(path)}", path)
        if node.kind is Kind.SYMLINK:
            raise LinkInTheWay(f"a symlink is in the way: {show_path(path)}", path)
        raise NotAFile(f"not a regular file: {show_path(path)}", path)

    def check_name(self, name: bytes, path: Path) -> None:
        how = self.personality
        if len(name) > how.name_max:
            raise TooLong(f"name too long: {show_path(path)}", path)
        if (
            not how.illegal.isdisjoint(name)
            or (how.utf8_only and not _is_utf8(name))
            or (how.trims and name.endswith((b".", b" ")))
        ):
            raise NameRefused(f"this file system has no such names: {show_path(path)}", path)

    def refuse_into_itself(self, node: Node, to_parent: Node, target: Path) -> None:
        above: Node | None = to_parent
        while above is not None:
            if above is node:
                raise NameRefused(f"a directory cannot be moved into itself: {show_path(target)}", target)
            above = above.parent

    def make(self, kind: Kind, mode: int, target: bytes = b"") -> Node:
        """An inode without a name."""
        if self._reuse and self._free:
            ino = self._free.pop()
        else:
            self._last_ino += 1
            ino = self._last_ino
        node = Node(ino, kind, mode, self._now_ns())
        node.target = target
        kept = _kept(node)
        self._journal.append([lambda disk: disk.__setitem__(ino, replace(kept, names={}))])  # it changes there
        return node

    def link(self, parent: Node, name: bytes, node: Node, entry: Entry | None = None) -> None:
        """Give a node a name that nothing has."""
        key = self.key(name)
        self.check_name(name, (name,))
        if key in parent.names:
            raise NameTaken(f"name is taken: {show_path((name,))}", (name,))
        parent.names[key] = (name, node)
        node.parent, node.name = parent, name
        node.nlink += 1
        directory, ino = parent.ino, node.ino
        steps = [lambda disk: disk[directory].names.__setitem__(key, (name, ino)), self._touched(node)]
        self._log(steps, entry)

    def unlink(self, parent: Node, name: bytes, entry: Entry | None = None, *, drop: bool = True) -> Node:
        """Take a name away; with `drop`, the inode goes with its last name, unless somebody has it open."""
        key = self.key(name)
        node = parent.names.pop(key)[1]
        node.nlink -= 1
        directory = parent.ino
        steps: Entry = [lambda disk: disk[directory].names.pop(key, None) and None]
        if drop:
            self._maybe_free(node)
            if node.nlink:
                steps.append(self._touched(node))
        self._log(steps, entry)
        return node

    def rename_node(self, parent: Node, name: bytes, to_parent: Node, to_name: bytes) -> Node:
        """One step; the new name must be free, or be another spelling of the old one."""
        entry: Entry = []
        self.check_name(to_name, (to_name,))
        there = self.maybe(to_parent, to_name)
        if there is not None and (there is not self.maybe(parent, name) or there.nlink > 1):
            raise NameTaken(f"name is taken: {show_path((to_name,))}", (to_name,))
        node = self.unlink(parent, name, entry, drop=False)
        self.link(to_parent, to_name, node, entry)
        self._journal.append(entry)
        return node

    def exchange_nodes(self, parent: Node, name: bytes, to_parent: Node, to_name: bytes) -> None:
        entry: Entry = []
        node = self.unlink(parent, name, entry, drop=False)
        other_name = to_parent.names[self.key(to_name)][0]
        other = self.unlink(to_parent, to_name, entry, drop=False)
        self.link(to_parent, other_name, node, entry)
        self.link(parent, name, other, entry)
        self._journal.append(entry)

    def _log(self, steps: Entry, entry: Entry | None) -> None:
        if entry is None:
            self._journal.append(steps)
        else:
            entry.extend(steps)

    def _touched(self, node: Node) -> Step:
        """The ctime changes, in the live state now and on the disk with the rest of the entry."""
        node.ctime_ns = self._now_ns()
        return self._attributes(node)

    def _attributes(self, node: Node) -> Step:
        ino, mode, mtime_ns, ctime_ns, xattrs = node.ino, node.mode, node.mtime_ns, node.ctime_ns, dict(node.xattrs)

        def step(disk: dict[int, Kept]) -> None:
            kept = disk[ino]
            kept.mode, kept.mtime_ns, kept.ctime_ns, kept.xattrs = mode, mtime_ns, ctime_ns, xattrs

        return step

    def _maybe_free(self, node: Node) -> None:
        if node.nlink or node.opens:
            return
        self._unwritten.pop(node.ino, None)
        self.used -= len(node.data)
        if self._reuse:
            self._free.append(node.ino)

    def opened(self, node: Node) -> Node:
        node.opens += 1
        return node

    def closed(self, node: Node) -> None:
        node.opens -= 1
        self._maybe_free(node)

    def put(self, node: Node, offset: int, content: bytes | bytearray | memoryview, *, truncate: bool = False) -> None:
        """Write into an inode."""
        end = offset + len(content)
        size = end if truncate else max(end, len(node.data))
        grown = size - len(node.data)
        if self.capacity is not None and grown > 0 and self.used + grown > self.capacity:
            raise NoSpace("no space left on device")
        if len(node.data) < offset:
            node.data.extend(bytes(offset - len(node.data)))
        node.data[offset:end] = content
        if truncate:
            del node.data[end:]
        self.used += grown
        node.mtime_ns = node.ctime_ns = self._now_ns()
        self._unwritten[node.ino] = node

    def resize(self, node: Node, size: int) -> None:
        if size > len(node.data):
            self.put(node, len(node.data), bytes(size - len(node.data)))
        else:
            self.put(node, 0, bytes(node.data[:size]), truncate=True)

    def change(self, node: Node, attributes: Attributes) -> None:
        """Set attributes, as far as this file system has them."""
        if attributes.mode is not None and self.personality.modes:
            node.mode = attributes.mode
        if attributes.mtime_ns is not None:
            step = self.personality.mtime_step_ns
            node.mtime_ns = attributes.mtime_ns // step * step
        if attributes.xattrs is not None and self.personality.xattrs:
            room = (
                len(max(attributes.xattrs.values(), key=len, default=b""))
                if self.xattr_room is None
                else self.xattr_room
            )
            others = {name: value for name, value in node.xattrs.items() if not name.startswith(b"user.")}
            node.xattrs = others | {name: value for name, value in attributes.xattrs.items() if len(value) <= room}
        self._journal.append([self._touched(node)])


class UserFile:
    """An open file of the user."""

    def __init__(self, disk: SimDisk, node: Node) -> None:
        self._disk = disk
        self._node = disk.opened(node)
        self._node.writers += 1
        self._generation = disk.generation

    def write(self, content: bytes, offset: int | None = None) -> None:
        """Write at the offset, or at the end."""
        assert self._generation == self._disk.generation, "the computer has crashed since"
        self._disk.put(self._node, len(self._node.data) if offset is None else offset, content)
        self._disk.emit(Change.WRITING, self._node)

    def close(self) -> None:
        if self._generation == self._disk.generation:
            self._disk.emit(Change.DONE, self._node)
            self._node.writers -= 1
            self._disk.closed(self._node)


class SimEvents:
    """seams.TreeEvents: what a watch would have told."""

    def __init__(self) -> None:
        self._events: list[RawEvent] = [RawEvent(Change.LOST)]
        self._news = trio.Event()
        self._news.set()
        self._closed = False

    def push(self, event: RawEvent) -> None:
        self._events.append(event)
        self._news.set()

    def pending(self) -> list[RawEvent]:
        """What `receive` would return now."""
        return list(self._events)

    async def receive(self) -> list[RawEvent]:
        await self._news.wait()
        if self._closed:
            raise trio.ClosedResourceError
        events, self._events = self._events, []
        self._news = trio.Event()
        return events

    def close(self) -> None:
        self._closed = True
        self._news.set()


def _kept(node: Node) -> Kept:
    return Kept(node.kind, node.target, node.mode, node.mtime_ns, node.ctime_ns, dict(node.xattrs))


def _seen(node: Node) -> bytes | None:
    if node.kind is Kind.DIR:
        return None
    return b"-> " + node.target if node.kind is Kind.SYMLINK else bytes(node.data)


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _last_first(node: Node) -> list[tuple[bytes, Node]]:
    """What is in a directory, for a stack."""
    return sorted(node.names.values(), key=itemgetter(0), reverse=True)
