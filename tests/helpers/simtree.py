"""seams.Tree in memory: the verbs of `syncd/store/tree.py` on a `SimDisk`. Held to the real one by
`tests/suites/tree_suite.py`.

Every verb reaches one or more named steps of the disk first (`SimDisk.reach`), where a test can let it fail, or act
as a user who changes something in just that moment. The steps are named after the verb; `exchange` and `retire` have
another between the look and the rename, `exchange.rename` and `retire.rename`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import TypeVar

from syncd.seams import Buffer, Reader, Tree, TreeEvents
from syncd.store.marker import LAST_NUMBER
from syncd.store.resting import RestingConnection
from syncd.treetypes import (
    PRIVATE,
    Attributes,
    Change,
    IoFailed,
    IsADirectory,
    Kind,
    LocallyChanged,
    Marker,
    NameRefused,
    NotADirectory,
    NotEmpty,
    NotSupported,
    NotThere,
    Path,
    Personality,
    RawEvent,
    Read,
    Replaced,
    RootState,
    Seen,
    Space,
    Stat,
    TreeError,
    show_path,
)
from tests.helpers.simdisk import Node, SimDisk

STAGE, OLD, PARKED = b"stage", b"old", b"parked"
ENDLESS = 1 << 50
_Result = TypeVar("_Result")
_database_numbers = count(1)


def _user_only(node: Node) -> dict[bytes, bytes]:
    return {name: value for name, value in node.xattrs.items() if name.startswith(b"user.")}


class SimReader:
    """seams.Reader and seams.Writer on an inode."""

    def __init__(self, disk: SimDisk, node: Node, path: Path) -> None:
        self._disk, self._path = disk, path
        self._node = disk.opened(disk.require_file(node, path))
        self._generation = disk.generation
        self._open = True

    def _use(self, step: str) -> Node:
        self._disk.reach(step, self._path)
        if not self._open or self._generation != self._disk.generation:
            raise IoFailed(f"closed: {show_path(self._path)}", self._path)
        return self._node

    def stat(self) -> Stat:
        return self._use("fstat").stat()

    def read_into(self, offset: int, buffer: bytearray | memoryview) -> int:
        part = self._use("read").data[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        return len(part)

    def zeros_until(self, offset: int) -> int:
        return offset  # a disk without holes

    def xattrs(self) -> dict[bytes, bytes]:
        return _user_only(self._use("xattrs"))

    def drop_cache(self) -> None:
        self._use("drop_cache")

    def is_open_for_writing(self) -> bool:
        return self._use("is_open_for_writing").writers > 0

    def write_at(self, offset: int, data: Buffer) -> None:
        self._disk.put(self._use("write"), offset, data)

    def copy_from(self, source: Reader, source_offset: int, offset: int, length: int) -> int:
        part = bytearray(length)
        copied = source.read_into(source_offset, part)
        self.write_at(offset, part[:copied])
        return copied

    def set_size(self, size: int) -> None:
        self._disk.resize(self._use("write"), size)

    def set_attributes(self, attributes: Attributes) -> None:
        self._disk.change(self._use("stage_attributes"), attributes)

    def finish(self) -> Stat:
        try:
            return self.stat()
        finally:
            self.close()

    def close(self) -> None:
        if self._open and self._generation == self._disk.generation:
            self._disk.closed(self._node)
        self._open = False


class SimTree:
    """seams.Tree; the verbs are documented there."""

    def __init__(self, disk: SimDisk, databases: SimDatabases | None = None) -> None:
        self.disk = disk
        self._databases = databases or SimDatabases()
        self._generation = -1  # of the disk, when the root was opened
        self._held: tuple[int, int] | None = None  # which root that was, of which generation
        self._opened = 0

    # The root.

    def check_root(self, marker: Marker | None) -> RootState:
        self._generation = -1
        try:
            self.disk.reach("check_root")
        except TreeError:
            return RootState.UNREADABLE
        if self.disk.root_state is not None:
            return self.disk.root_state
        if marker is None:
            return RootState.OK
        private = self.disk.maybe(self.disk.root, PRIVATE)
        if private is None or self.disk.maybe(private, b"folder") is None:
            return RootState.NO_MARKER
        if self.read_marker() != marker:
            return RootState.WRONG_MARKER
        self._hold(private)
        return RootState.OK

    def _hold(self, private: Node) -> None:
        for name in (STAGE, OLD, PARKED):
            if self.disk.maybe(private, name) is None:
                self.disk.link(private, name, self.disk.make(Kind.DIR, 0o700))
        self._generation = self.disk.generation
        if self._held != (id(self.disk.root), self._generation):
            self._held = id(self.disk.root), self._generation
            self._opened += 1

    def read_marker(self) -> Marker | None:
        private = self.disk.maybe(self.disk.root, PRIVATE)
        node = private and self.disk.maybe(private, b"folder")
        if not node or len(node.data) != 80:
            return None
        return Marker(bytes(node.data[:32]), bytes(node.data[32:64]), bytes(node.data[64:]))

    def write_marker(self, marker: Marker) -> None:
        self.disk.reach("write_marker")
        private = self.disk.maybe(self.disk.root, PRIVATE)
        if private is None:
            private = self.disk.make(Kind.DIR, 0o700)
            self.disk.link(self.disk.root, PRIVATE, private)
        node = self.disk.make(Kind.FILE, 0o600)
        self.disk.put(node, 0, marker.folder + marker.device + marker.random)
        self.disk.take_name(private, b"folder", node)
        self._hold(private)
        self.disk.flush()

    def opened(self) -> int:
        return self._opened

    def read_seen(self) -> Seen | None:
        self._require_open()
        node = self.disk.maybe(self.disk.directory((PRIVATE,)), b"seen")
        if node is None or len(node.data) != 24:
            return None
        number = int.from_bytes(node.data[:8], "big")
        return Seen(number, bytes(node.data[8:]), node.ino, 0) if number <= LAST_NUMBER else None

    def write_seen(self, number: int, journal: bytes) -> Seen:
        self._require_open()
        self.disk.reach("write_seen")
        node = self.disk.make(Kind.FILE, 0o600)
        self.disk.put(node, 0, number.to_bytes(8, "big") + journal)
        self.disk.take_name(self.disk.directory((PRIVATE,)), b"seen", node)
        self.disk.flush()
        found = self.read_seen()
        if found is None:
            raise NotThere("simulated", (PRIVATE, b"seen"))
        return found

    def personality(self) -> Personality:
        return self.disk.personality

    def space(self) -> Space:
        total = ENDLESS if self.disk.capacity is None else self.disk.capacity
        return Space(max(0, total - self.disk.used), total)

    def may_change(self, path: Path) -> bool:
        self._reach("may_change", path)
        self.disk.directory(path)
        return True

    def _place(self, name: bytes) -> Node:
        self._require_open()
        return self.disk.directory((PRIVATE, name))

    def _require_open(self) -> None:
        if self._generation != self.disk.generation or self.disk.root_state is not None:
            raise IoFailed("the folder's root is not open")

    def _reach(self, step: str, path: Path) -> None:
        self._require_open()
        for name in path:
            if not name or b"/" in name or b"\0" in name or name in (b".", b"..") or name.lower() == PRIVATE:
                raise NameRefused(f"no name for a file: {show_path(path)}", path)
        self.disk.reach(step, path)

    def _parent(self, step: str, path: Path) -> tuple[Node, bytes]:
        self._reach(step, path)
        if not path:
            raise NameRefused("the folder's root cannot be replaced, moved or deleted", path)
        return self.disk.parent_of(path)

    # Looking.

    def list_dir(self, path: Path) -> list[tuple[bytes, Stat]]:
        self._reach("list_dir", path)
        names = self.disk.directory(path).names.values()
        return [(name, node.stat()) for name, node in names if path or name != PRIVATE]

    def stat(self, path: Path) -> Stat:
        self._reach("stat", path)
        return self.disk.at(path).stat()

    def stat_many(self, parent: Path, names: Sequence[bytes]) -> list[Stat | TreeError]:
        self._reach("stat_many", parent)
        self.disk.directory(parent)
        return [_attempt(lambda name=name: self.stat((*parent, name))) for name in names]  # type: ignore[misc]

    def open_read(self, path: Path) -> SimReader:
        self._reach("open_read", path)
        return SimReader(self.disk, self.disk.at(path), path)

    def read_many(self, paths: Iterable[Path], limit: int) -> Iterator[Read | TreeError]:
        self._require_open()
        for path in paths:
            yield _attempt(lambda path=path: self._read_whole(path, limit))  # type: ignore[misc]

    def _read_whole(self, path: Path, limit: int) -> Read:
        self._reach("read_many", path)
        node = self.disk.require_file(self.disk.at(path), path)
        before = node.stat()
        if before.size > limit:
            raise LocallyChanged("larger than expected", path, before)
        content, xattrs = bytes(node.data), _user_only(node)
        self.disk.reach("read_many.after", path)
        if not node.stat().same(before):
            raise LocallyChanged("changing", path, node.stat())
        return Read(before, content, xattrs)

    def read_link(self, path: Path) -> bytes:
        parent, name = self._parent("read_link", path)
        return _target(self.disk.child(parent, name, path), path)

    def xattrs(self, path: Path) -> dict[bytes, bytes]:
        self._reach("xattrs", path)
        return _user_only(self._with_attributes(path))

    def xattr_names(self, path: Path) -> list[bytes]:
        self._reach("xattrs", path)
        return list(self._with_attributes(path).xattrs)

    def _with_attributes(self, path: Path) -> Node:
        if not path:
            raise NameRefused("the attributes of the folder's root are its owner's", path)
        node = self.disk.at(path)
        if node.kind is not Kind.DIR:
            self.disk.require_file(node, path)
        return node

    # The stage.

    def stage_file(self, token: bytes, *, resume: bool = False) -> SimReader:
        self.disk.reach("stage_file", (PRIVATE, STAGE, token))
        stage = self._place(STAGE)
        node = self.disk.child(stage, _token(token), (PRIVATE, STAGE, token)) if resume else self._fresh(stage, token)
        return SimReader(self.disk, node, (PRIVATE, STAGE, token))

    def _fresh(self, stage: Node, token: bytes, kind: Kind = Kind.FILE, mode: int = 0o600, target: bytes = b"") -> Node:
        if self.disk.maybe(stage, _token(token)) is not None:
            self.disk.unlink(stage, token)
        node = self.disk.make(kind, mode, target)
        self.disk.link(stage, token, node)
        return node

    def stage_small(self, token: bytes, content: Buffer, mode: int, mtime_ns: int | None) -> Stat:
        self.disk.reach("stage_small", (PRIVATE, STAGE, token))
        node = self._fresh(self._place(STAGE), token)
        if len(content):
            self.disk.put(node, 0, content)
        self.disk.change(node, Attributes(mode, mtime_ns))
        return node.stat()

    def stage_link(self, token: bytes, target: bytes) -> Stat:
        self.disk.reach("stage_link", (PRIVATE, STAGE, token))
        return self._fresh(self._place(STAGE), token, Kind.SYMLINK, 0o777, target).stat()

    def dress_staged(self, token: bytes, xattrs: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        path = (PRIVATE, STAGE, token)
        self.disk.reach("dress_staged", path)
        node = self.disk.require_file(self.disk.child(self._place(STAGE), _token(token), path), path)
        self.disk.change(node, Attributes(xattrs=xattrs))
        return _user_only(node)

    def open_staged(self, token: bytes) -> SimReader:
        return self._open_own(STAGE, token)

    def _open_own(self, place: bytes, token: bytes) -> SimReader:
        path = (PRIVATE, place, token)
        self.disk.reach("open_own", path)
        return SimReader(self.disk, self.disk.child(self._place(place), _token(token), path), path)

    def list_staged(self) -> list[tuple[bytes, Stat]]:
        return self._list_own(STAGE)

    def _list_own(self, place: bytes) -> list[tuple[bytes, Stat]]:
        return [(name, node.stat()) for name, node in self._place(place).names.values()]

    def drop_staged(self, token: bytes) -> None:
        self._drop(STAGE, token)

    def _drop(self, place: bytes, token: bytes) -> None:
        self.disk.reach("drop", (PRIVATE, place, token))
        node = self._place(place)
        if self.disk.maybe(node, _token(token)) is not None:
            self.disk.unlink(node, token)

    # Changing what the user sees.

    def create(self, token: bytes, path: Path) -> Stat:
        return self._name("create", STAGE, token, path)

    def _name(self, step: str, place: bytes, token: bytes, path: Path) -> Stat:
        parent, name = self._parent(step, path)
        own = self._place(place)
        self.disk.child(own, _token(token), path)
        node = self.disk.rename_node(own, token, parent, name)
        self.disk.emit_arrival(node)
        return node.stat()

    def create_many(self, items: Sequence[tuple[bytes, Path]]) -> list[Stat | TreeError]:
        return [_attempt(lambda token=token, path=path: self.create(token, path)) for token, path in items]  # type: ignore[misc]

    def exchange(self, token: bytes, path: Path, expected: Stat) -> Replaced:
        parent, name = self._parent("exchange", path)
        self._require(parent, path, expected)
        stage, old = self._place(STAGE), self._place(OLD)
        self.disk.child(stage, _token(token), path)
        self.disk.reach("exchange.rename", path)
        if self.disk.maybe(parent, name) is None:
            raise LocallyChanged(f"deleted meanwhile: {show_path(path)}", path)
        self._refuse_directory(self.disk.child(parent, name, path), path)
        node = self.disk.rename_node(stage, token, old, token)
        self.disk.exchange_nodes(old, token, parent, name)
        self.disk.emit(Change.DONE, node)
        found = self.disk.child(old, token, path).stat()
        return Replaced(found, not expected.same_but_moved(found), node.stat())

    def exchange_many(self, items: Sequence[tuple[bytes, Path, Stat]]) -> list[Replaced | TreeError]:
        return [_attempt(lambda item=item: self.exchange(*item)) for item in items]  # type: ignore[misc]

    def retire(self, path: Path, token: bytes, expected: Stat) -> Replaced:
        parent, name = self._parent("retire", path)
        self._require(parent, path, expected)
        self.disk.reach("retire.rename", path)
        self.disk.child(parent, name, path)
        self._refuse_directory(self.disk.child(parent, name, path), path)
        node = self.disk.rename_node(parent, name, self._place(OLD), _token(token))
        self.disk.emit_at(Change.DONE, path)
        return Replaced(node.stat(), not expected.same_but_moved(node.stat()))

    def retire_many(self, items: Sequence[tuple[Path, bytes, Stat]]) -> list[Replaced | TreeError]:
        return [_attempt(lambda item=item: self.retire(*item)) for item in items]  # type: ignore[misc]

    def _require(self, parent: Node, path: Path, expected: Stat) -> None:
        found = self._found(parent, path)
        if found.kind is Kind.DIR:
            raise IsADirectory(f"is a directory: {show_path(path)}", path)
        if not expected.same(found):
            raise LocallyChanged(f"changed meanwhile: {show_path(path)}", path, found)

    def _refuse_directory(self, node: Node, path: Path) -> None:
        """A directory that took a name in the last moment is put back at once, which comes to this."""
        if node.kind is Kind.DIR:
            raise LocallyChanged(f"a directory meanwhile: {show_path(path)}", path, node.stat())

    def _found(self, parent: Node, path: Path) -> Stat:
        node = self.disk.maybe(parent, path[-1])
        if node is None:
            raise LocallyChanged(f"deleted meanwhile: {show_path(path)}", path)
        return node.stat()

    def _require_inode(self, parent: Node, path: Path, expected: Stat) -> None:
        found = self._found(parent, path)
        if found.kind is not expected.kind or found.ino != expected.ino:
            raise LocallyChanged(f"another object meanwhile: {show_path(path)}", path, found)

    def put_back(self, token: bytes, path: Path) -> Stat:
        return self._name("put_back", OLD, token, path)

    def move(self, source: Path, target: Path, expected: Stat) -> Stat:
        parent, name = self._parent("move", source)
        to_parent, to_name = self._parent("move.target", target)
        self._require_inode(parent, source, expected)
        self.disk.refuse_into_itself(self.disk.child(parent, name, source), to_parent, target)
        node = self.disk.rename_node(parent, name, to_parent, to_name)
        self.disk.emit_at(Change.DONE, source)
        self.disk.emit_arrival(node)
        return node.stat()

    def make_dir(self, path: Path, mode: int) -> Stat:
        parent, name = self._parent("make_dir", path)
        self.disk.check_name(name, path)
        node = self.disk.make(Kind.DIR, mode if self.disk.personality.modes else 0o755)
        self.disk.link(parent, name, node)
        self.disk.emit(Change.DONE, node)
        self.disk.emit(Change.TREE, node)
        return node.stat()

    def remove_dir(self, path: Path) -> None:
        parent, name = self._parent("remove_dir", path)
        node = self.disk.child(parent, name, path)
        if node.kind is not Kind.DIR:
            raise NotADirectory(f"not a directory: {show_path(path)}", path)
        if node.names:
            raise NotEmpty(f"not empty: {show_path(path)}", path)
        self.disk.unlink(parent, name)
        self.disk.emit_at(Change.DONE, path)

    def park(self, path: Path, token: bytes, expected: Stat) -> Stat:
        parent, name = self._parent("park", path)
        self._require_inode(parent, path, expected)
        node = self.disk.rename_node(parent, name, self._place(PARKED), _token(token))
        self.disk.emit_at(Change.DONE, path)
        return node.stat()

    def unpark(self, token: bytes, path: Path) -> Stat:
        return self._name("unpark", PARKED, token, path)

    def list_parked(self) -> list[tuple[bytes, Stat]]:
        return self._list_own(PARKED)

    def set_attributes(self, path: Path, attributes: Attributes, expected: Stat) -> Stat:
        self._reach("set_attributes", path)
        node = self._with_attributes(path)
        if not expected.same(node.stat()):
            raise LocallyChanged(f"changed meanwhile: {show_path(path)}", path, node.stat())
        self.disk.change(node, attributes)
        self.disk.emit(Change.DONE, node)
        return node.stat()

    # What was replaced or deleted.

    def list_old(self) -> list[tuple[bytes, Stat]]:
        return self._list_own(OLD)

    def stat_old(self, token: bytes) -> Stat:
        return self.disk.child(self._place(OLD), _token(token), (PRIVATE, OLD, token)).stat()

    def open_old(self, token: bytes) -> SimReader:
        return self._open_own(OLD, token)

    def read_old_link(self, token: bytes) -> bytes:
        path = (PRIVATE, OLD, token)
        return _target(self.disk.child(self._place(OLD), _token(token), path), path)

    def drop_old(self, token: bytes) -> None:
        self._drop(OLD, token)

    # Durability.

    def flush(self, tokens: Sequence[bytes] = (), names_in: Sequence[Path] = ()) -> None:
        try:
            self._reach("flush", ())
        except TreeError:
            self.disk.lose_unwritten()
            raise
        self.disk.flush()

    def flush_dirs(self, paths: Sequence[Path]) -> None:
        self._reach("flush_dirs", ())
        self.disk.flush_names()

    # syncd's own files.

    def write_cookie(self, name: bytes) -> None:
        self._reach("write_cookie", ())
        self.disk.emit_raw(RawEvent(Change.COOKIE, name=_token(name)))

    def read_ignore(self) -> bytes | None:
        self._require_open()
        node = self.disk.maybe(self.disk.directory((PRIVATE,)), b"ignore")
        return None if node is None else bytes(node.data[: 1 << 20])

    def write_ignore(self, content: bytes) -> None:
        self._reach("write_ignore", ())
        node = self.disk.make(Kind.FILE, 0o600)
        self.disk.put(node, 0, content)
        self.disk.take_name(self.disk.directory((PRIVATE,)), b"ignore", node)
        self.disk.flush()

    def open_database(self, name: str) -> sqlite3.Connection:
        return self._databases.open(name)

    def set_database_aside(self, name: str) -> str:
        return self._databases.set_aside(name)

    def has_database(self, name: str) -> bool:
        return self._databases.has(name)

    def drop_database(self, name: str) -> None:
        self._databases.drop(name)

    def open_shelf(self, name: str) -> SimShelf:
        return SimShelf(self.disk, self._databases.shelf(name))

    def close(self) -> None:
        self._generation = -1


class SimShelf:
    """seams.Shelf: files that are there as a whole or not at all. Every verb reaches a step of the disk first."""

    def __init__(self, disk: SimDisk, files: dict[str, bytes]) -> None:
        self._disk = disk
        self.files = files

    def put(self, name: str, content: Buffer) -> None:
        self._disk.reach("shelf.put", (name.encode(),))
        self.files[name] = bytes(content)
        self._disk.reach("shelf.put.after", (name.encode(),))

    def read(self, name: str, offset: int, buffer: bytearray | memoryview) -> int:
        path = (name.encode(),)
        self._disk.reach("shelf.read", path)
        if name not in self.files:
            raise NotThere(f"not on the shelf: {name}", path)
        part = self.files[name][offset : offset + len(buffer)]
        buffer[: len(part)] = part
        return len(part)

    def list(self) -> list[tuple[str, int]]:
        self._disk.reach("shelf.list", ())
        return [(name, len(content)) for name, content in self.files.items()]

    def drop(self, name: str) -> None:
        self._disk.reach("shelf.drop", (name.encode(),))
        self.files.pop(name, None)

    def space(self) -> Space:
        return Space(ENDLESS, ENDLESS)


class SimDatabases:
    """The databases of one home: in memory, and after a crash what was committed last."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, sqlite3.Connection]] = {}
        self._lent: list[sqlite3.Connection] = []
        self._asides = 0
        self._shelves: dict[str, dict[str, bytes]] = {}

    def shelf(self, name: str) -> dict[str, bytes]:
        """The files of a shelf: they outlast every crash."""
        return self._shelves.setdefault(name, {})

    def open(self, name: str) -> RestingConnection:
        if name not in self._kept:
            address = f"file:/sim-{next(_database_numbers)}?vfs=memdb"
            self._kept[name] = (address, _connect(address))  # memory lives as long as one connection is open
        address = self._kept[name][0]
        lent = RestingConnection(address, lambda: self._kept.get(name, ("",))[0], uri=True)
        self._lent.append(lent)
        return lent

    def set_aside(self, name: str) -> str:
        self._asides += 1
        aside = f"{name}.broken-{self._asides}"
        self._kept[aside] = self._kept.pop(name)
        return aside

    def has(self, name: str) -> bool:
        return name in self._kept

    def drop(self, name: str) -> None:
        for one in [kept for kept in self._kept if kept == name or kept.startswith(f"{name}.")]:
            del self._kept[one]

    def copy(self, name: str) -> bytes:
        """A backup, to be restored by `restore` into the past."""
        connection = self._kept[name][1]
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        return connection.serialize() if pages else b""  # SQLite has no copy of what was lost and set aside

    def copies(self) -> dict[str, bytes]:
        """A backup of all, by name."""
        return {name: self.copy(name) for name in self._kept}

    def restore(self, name: str, backup: bytes) -> None:
        """The next `open` finds the backup."""
        source = sqlite3.connect(":memory:")
        if backup:
            source.deserialize(backup)
        self.lose(name)
        self.open(name)
        source.backup(self._kept[name][1])
        source.close()

    def lose(self, name: str) -> None:
        """The next `open` finds an empty database."""
        self.crash()
        if name in self._kept:
            self._kept.pop(name)[1].close()

    def crash(self) -> None:
        """Whatever was not committed is gone, and so are the connections."""
        for connection in self._lent:
            connection.close()
        self._lent.clear()

    def close(self) -> None:
        self.crash()
        for _, connection in self._kept.values():
            connection.close()
        self._kept.clear()


class SimTrees:
    """seams.Trees: the disks and the databases of one simulated computer. Roots and homes are made on first use."""

    def __init__(self, make_disk: Callable[[], SimDisk] = SimDisk) -> None:
        self.disks: dict[bytes, SimDisk] = {}
        self.homes: dict[str, SimDatabases] = {}
        self._make_disk = make_disk
        self._hook: Callable[[str, Path], None] | None = None

    def disk(self, root: bytes) -> SimDisk:
        if root not in self.disks:
            self.disks[root] = self._make_disk()
            self.disks[root].hook = self._hook
        return self.disks[root]

    def set_hook(self, hook: Callable[[str, Path], None] | None) -> None:
        """Called at every step of a verb, on all disks."""
        self._hook = hook
        for disk in self.disks.values():
            disk.hook = hook

    def count(self, root: bytes) -> tuple[int, int, int]:
        names = files = size = 0
        for path, node in self.disk(root).walk((), self.disk(root).root):
            if path[0] == PRIVATE:
                continue
            names += 1
            if node.kind is not Kind.DIR:
                files, size = files + 1, size + node.stat().size
        return names, files, size

    def make_root(self, root: bytes) -> None:
        self.disk(root)

    def move_root(self, source: bytes, target: bytes) -> None:
        raise NotSupported("a simulated folder lies where it lies")

    def open(self, root: bytes, home: str) -> Tree:
        return SimTree(self.disk(root), self.homes.setdefault(home, SimDatabases()))

    def watch(self, tree: Tree) -> TreeEvents:
        assert isinstance(tree, SimTree)
        return tree.disk.watch()

    def crash(self, keep: int = 0) -> None:
        """Power cut: every disk keeps the first `keep` entries of its journal, every database what was committed."""
        for disk in self.disks.values():
            disk.crash(keep)
        for databases in self.homes.values():
            databases.crash()

    def close(self) -> None:
        """Let go of the memory of all databases."""
        for databases in self.homes.values():
            databases.close()


def _connect(address: str) -> sqlite3.Connection:
    return sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)


def _attempt(function: Callable[[], _Result]) -> _Result | TreeError:
    try:
        return function()
    except TreeError as error:
        return error


def _token(token: bytes) -> bytes:
    if not token.isalnum() or len(token) > 64:
        raise NameRefused(f"no token: {token!r}", (PRIVATE, token))
    return token


def _target(node: Node, path: Path) -> bytes:
    if node.kind is not Kind.SYMLINK:
        raise LocallyChanged(f"no symlink: {show_path(path)}", path)
    return node.target
