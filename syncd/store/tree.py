"""Blocking. The user's folder on a real file system: with the modules that it is made of the only one that touches it.

Three rules make it safe. Every call starts at a descriptor of the root and follows no symlink in any component (one
`openat2` per directory, however deep), so no swap of a directory for a symlink leads outside. Nothing is ever
overwritten: a name is taken with NOREPLACE, and an object is replaced by exchanging it, so that what a program still
writes through an open descriptor lands in a file that we keep. What a user has seen is only ever renamed between the
tree and `.syncd/old` or `.syncd/parked`; the stage holds nothing that cannot be fetched again.

There is no cache of open directories: opening one costs less than finding out whether a cached one still has that path.
Verbs that end in `_many` open each directory once for its run of items.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from itertools import islice
from typing import Concatenate, ParamSpec, TypeVar

from syncd.model.naming import disk_key
from syncd.seams import Buffer
from syncd.store import places as roots
from syncd.store.db import HomeDatabase
from syncd.store.descent import (
    O_LIST,
    Directory,
    Parents,
    attempt,
    check_name,
    check_path,
    check_token,
    translated,
)
from syncd.store.directory import O_READ, drop, flush_each, list_open, list_own, open_new, read_link, read_whole
from syncd.store.echoes import Echoes
from syncd.store.exchanging import Exchanges
from syncd.store.files import FileReader, FileWriter, get_xattrs, put_attributes, stat_of, write_fully, xattr_names
from syncd.store.places import Places
from syncd.store.probe import probe
from syncd.store.shelf import HomeShelf
from syncd.store.syscalls import O_DIR, Renames, flush_file, flush_file_system, open_beneath
from syncd.treetypes import (
    PRIVATE,
    Attributes,
    IoFailed,
    IsADirectory,
    Kind,
    LocallyChanged,
    Marker,
    NameRefused,
    NameTaken,
    NotAFile,
    NotThere,
    Path,
    Personality,
    Read,
    Replaced,
    RootState,
    Seen,
    Space,
    Stat,
    TreeError,
    show_path,
    tree_error,
)

SLOW_SYNCFS_S = 2.0  # other programs' data is flushed with ours: above this, our files one by one are quicker
RETRY_SYNCFS_S = 600.0
FEW_DIRS = 8  # up to so many directories are flushed one by one
READ_TOGETHER = 64  # small files by one open directory: one that leaves the folder meanwhile is still read from
IGNORE_MAX_BYTES = 1 << 20

_FORMS = Personality(normalising=True)

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_Verb = Callable[Concatenate["DirTree", _Arguments], _Result]


def _verb(function: _Verb[_Arguments, _Result]) -> _Verb[_Arguments, _Result]:
    """Translate what the system raises; the path in the message is the first one among the arguments."""

    @wraps(function)
    def verb(self: DirTree, /, *arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
        try:
            return function(self, *arguments, **named)
        except OSError as error:
            path = next((each for each in arguments if isinstance(each, tuple)), (PRIVATE,))
            raise translated(error, path) from error

    return verb


def count_tree(root: bytes) -> tuple[int, int, int]:
    """(names, files and links, bytes) below a directory, for a preview; what cannot be read is left out.

    Raises TreeError when the directory itself cannot be read.
    """
    names = files = size = 0

    def refuse(error: OSError) -> None:
        if error.filename == root:
            raise tree_error(error.errno or errno.EIO, error.strerror or "cannot be read", (os.path.basename(root),))

    for _, directories, others, descriptor in os.fwalk(root, onerror=refuse):
        if PRIVATE in directories:
            directories.remove(PRIVATE)
        names += len(directories) + len(others)
        for name in others:
            with suppress(OSError):  # gone in this moment
                size += os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_size
                files += 1
    return names, files, size


def make_root(root: bytes) -> None:
    """Make a directory that is to become a folder, with those above it. Raises TreeError."""
    try:
        os.makedirs(root, exist_ok=True)
    except OSError as error:
        raise tree_error(
            error.errno or errno.EIO, error.strerror or "cannot be made", (os.path.basename(root),)
        ) from None


def move_root(source: bytes, target: bytes) -> None:
    """Move the directory of a folder to a path where nothing is. Raises TreeError."""
    try:
        here, there = os.open(os.path.dirname(source), O_DIR), os.open(os.path.dirname(target), O_DIR)
        try:
            Renames().noreplace(here, os.path.basename(source), there, os.path.basename(target))
        finally:
            os.close(here)
            os.close(there)
    except OSError as error:
        reason = error.strerror or "cannot be moved"
        raise tree_error(error.errno or errno.EIO, reason, (os.path.basename(target),)) from None


class DirTree:
    """seams.Tree on a directory. All verbs are documented there."""

    def __init__(self, root: bytes, home: str, monotonic: Callable[[], float], renames: Renames | None = None) -> None:
        """`root` is a path as `os.path.realpath` gives it; `home` holds the database. Touches nothing yet."""
        self._root = root
        self._home = home
        self._monotonic = monotonic
        self._renames = renames or Renames()
        self._places: Places | None = None
        self._opened = 0
        self._personality: Personality | None = None
        self._stable = True
        self._slow_until = -1.0  # no syncfs before that moment
        self._left: dict[bytes, Stat] = {}  # by token: staged objects that the disk kept from leaving `old` again
        self.echoes = Echoes()

    # The root.

    def check_root(self, marker: Marker | None) -> RootState:
        root = roots.open_root(self._root)
        if isinstance(root, RootState):
            self._places = None
            return root
        if marker is None:
            os.close(root)
            return RootState.OK
        state = roots.marker_state(root, marker)
        if state is RootState.OK:
            return self._hold(root)
        os.close(root)
        self._places = None
        return state

    def _hold(self, root: int) -> RootState:
        """Keep the descriptors that are open while they name the same inodes: disk errors are kept for those."""
        try:
            places = Places(root)
        except OSError:
            self._places = None
            return RootState.UNREADABLE
        if self._places is None or self._places.identity != places.identity:
            self._places = places
            self._opened += 1
            self._personality = None
            with suppress(TreeError):  # full or read-only: whoever needs to know asks again, and is told
                self.personality()
        return RootState.OK

    @_verb
    def read_marker(self) -> Marker | None:
        root = roots.open_root(self._root)
        if isinstance(root, RootState):
            raise NotThere(f"the folder's root is {root.value}")
        try:
            return roots.read_marker(root)
        except FileNotFoundError:
            return None
        finally:
            os.close(root)

    @_verb
    def write_marker(self, marker: Marker) -> None:
        root = roots.open_root(self._root)
        if isinstance(root, RootState):
            raise NotThere(f"the folder's root is {root.value}")
        try:
            roots.write_marker(root, marker)
        except BaseException:
            os.close(root)
            raise
        if self._hold(root) is not RootState.OK:
            raise IoFailed("the folder's private directory cannot be used", (PRIVATE,))

    def opened(self) -> int:
        return self._opened

    @_verb
    def read_seen(self) -> Seen | None:
        return roots.read_seen(self._at().private)

    @_verb
    def write_seen(self, number: int, journal: bytes) -> Seen:
        return roots.write_seen(self._at().private, number, journal)

    def _at(self) -> Places:
        places = self._places
        if places is None:
            raise IoFailed("the folder's root is not open")
        return places

    @_verb
    def personality(self) -> Personality:
        if self._personality is None:
            self._personality = probe(self._at().private, self._renames)
            self._stable = self._personality.stable_inodes
        return self._personality

    @_verb
    def space(self) -> Space:
        found = os.fstatvfs(self._at().root)
        return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)

    @_verb
    def may_change(self, path: Path) -> bool:
        try:
            with Directory(self._at(), path) as fd:
                return os.access(b".", os.W_OK | os.X_OK, dir_fd=fd)
        except PermissionError:
            return False

    # Looking.

    @_verb
    def list_dir(self, path: Path) -> list[tuple[bytes, Stat]]:
        places = self._at()
        with Directory(places, path, O_LIST) as fd:
            found = list_open(fd, places.owners)
        return [item for item in found if item[0] != PRIVATE] if not path else found

    @_verb
    def stat(self, path: Path) -> Stat:
        places = self._at()
        if not path:
            return stat_of(os.fstat(places.root), places.owners)
        with Parents(places) as parents:
            return self._stat(parents.of(path), path[-1])

    def _stat(self, parent: int, name: bytes) -> Stat:
        return stat_of(os.stat(name, dir_fd=parent, follow_symlinks=False), self._at().owners)

    @_verb
    def stat_many(self, parent: Path, names: Sequence[bytes]) -> list[Stat | TreeError]:
        found: list[Stat | TreeError] = []
        places = self._at()
        with Directory(places, parent) as fd:
            for name in names:
                try:
                    check_name(name, (*parent, name))
                    found.append(stat_of(os.stat(name, dir_fd=fd, follow_symlinks=False), places.owners))
                except FileNotFoundError:  # thousands of a wave of deletions, and nobody reads what is said of them
                    found.append(NotThere("does not exist", (*parent, name)))
                except OSError as error:
                    found.append(translated(error, (*parent, name)))
                except TreeError as error:
                    found.append(error)
        return found

    @_verb
    def open_read(self, path: Path) -> FileReader:
        places = self._at()
        check_path(path)
        if not path:
            raise IsADirectory("the folder's root is a directory", path)
        return FileReader(open_beneath(places.root, path, O_READ), path, places.owners)

    def read_many(self, paths: Iterable[Path], limit: int) -> Iterator[Read | TreeError]:
        places, rest = self._at(), iter(paths)
        while run := list(islice(rest, READ_TOGETHER)):
            with Parents(places) as parents:
                for path in run:
                    yield attempt(path, read_whole, places, parents, path, limit)

    @_verb
    def read_link(self, path: Path) -> bytes:
        with Parents(self._at()) as parents:
            return read_link(parents.of(path), path[-1], path)

    @_verb
    def xattrs(self, path: Path) -> dict[bytes, bytes]:
        fd, place = self._open_for_attributes(path)
        try:
            return get_xattrs(place)
        finally:
            os.close(fd)

    @_verb
    def xattr_names(self, path: Path) -> list[bytes]:
        fd, place = self._open_for_attributes(path)
        try:
            return xattr_names(place)
        finally:
            os.close(fd)

    # The stage.

    @_verb
    def stage_file(self, token: bytes, *, resume: bool = False) -> FileWriter:
        places = self._at()
        if resume:
            fd = self._open_again(places.stage, check_token(token))
        else:
            fd = open_new(places.stage, check_token(token), os.O_RDWR, 0o600)
        modes = self.personality().modes
        return FileWriter(fd, (PRIVATE, roots.STAGE, token), places.owners, with_modes=modes)

    def _open_again(self, stage: int, token: bytes) -> int:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(token, flags, dir_fd=stage)
        except PermissionError:  # it was complete, with the mode that it is to have
            os.chmod(token, 0o600, dir_fd=stage)
            return os.open(token, flags, dir_fd=stage)

    @_verb
    def stage_small(self, token: bytes, content: Buffer, mode: int, mtime_ns: int | None) -> Stat:
        places = self._at()
        fd = open_new(places.stage, check_token(token), os.O_WRONLY, mode)
        try:
            if len(content):
                write_fully(fd, 0, content)
            if mtime_ns is not None:
                os.utime(fd, ns=(mtime_ns, mtime_ns))
            staged = stat_of(os.fstat(fd), places.owners)
            if staged.mode != mode and self.personality().modes:  # the umask, or a default ACL, took bits away
                os.chmod(fd, mode)
                staged = stat_of(os.fstat(fd), places.owners)
            return staged
        finally:
            os.close(fd)

    @_verb
    def stage_link(self, token: bytes, target: bytes) -> Stat:
        stage = self._at().stage
        drop(stage, check_token(token))
        os.symlink(target, token, dir_fd=stage)
        return self._stat(stage, token)

    @_verb
    def dress_staged(self, token: bytes, xattrs: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        stage, path = self._at().stage, (PRIVATE, roots.STAGE, token)
        check_token(token)
        fd, place = self._open_to_dress(path, lambda flags: os.open(token, flags | os.O_NOFOLLOW, dir_fd=stage))
        try:
            mode = stat_of(os.fstat(fd), self._at().owners).mode
            is_closed = mode & 0o600 != 0o600 and self.personality().modes
            if is_closed:  # only who may read and write it may look at its attributes and change them
                os.chmod(place, mode | 0o600)
            put_attributes(fd, place, Attributes(xattrs=xattrs), with_modes=False)
            found = get_xattrs(place)
            if is_closed:
                os.chmod(place, mode)
            return found
        finally:
            os.close(fd)

    @_verb
    def open_staged(self, token: bytes) -> FileReader:
        return self._open_own(self._at().stage, roots.STAGE, token)

    @_verb
    def list_staged(self) -> list[tuple[bytes, Stat]]:
        return list_own(self._at().stage, self._at().owners)

    @_verb
    def drop_staged(self, token: bytes) -> None:
        drop(self._at().stage, check_token(token))

    def _open_own(self, parent: int, place: bytes, token: bytes) -> FileReader:
        fd = os.open(check_token(token), O_READ | os.O_NOFOLLOW, dir_fd=parent)
        return FileReader(fd, (PRIVATE, place, token), self._at().owners)

    # Changing what the user sees.

    def create(self, token: bytes, path: Path) -> Stat:
        return _only(self._create_many(self._at(), ((token, path),)))

    def create_many(self, items: Sequence[tuple[bytes, Path]]) -> list[Stat | TreeError]:
        places = self._at()  # without a root nothing is given, and nothing expected
        expected = self.echoes.expect(path for _, path in items)
        made = self._create_many(places, items)
        for at, (_, path) in enumerate(items):
            if isinstance(made[at], TreeError) and not self.echoes.withdraw(expected, path):
                made[at] = NameTaken(f"something else came there: {show_path(path)}", path)
        return made

    def _create_many(self, places: Places, items: Sequence[tuple[bytes, Path]]) -> list[Stat | TreeError]:
        give_name = self._exchanges(places).give_name
        with Parents(places) as parents:
            return [attempt(path, give_name, places.stage, token, parents, path) for token, path in items]

    def _exchanges(self, places: Places) -> Exchanges:
        return Exchanges(places, self._renames, self._left, is_stable=self._stable)

    def exchange(self, token: bytes, path: Path, expected: Stat) -> Replaced:
        return _only(self.exchange_many(((token, path, expected),)))

    def exchange_many(self, items: Sequence[tuple[bytes, Path, Stat]]) -> list[Replaced | TreeError]:
        places = self._at()
        exchange = self._exchanges(places).exchange
        with Parents(places) as parents:
            return [attempt(path, exchange, parents, token, path, stat) for token, path, stat in items]

    def retire(self, path: Path, token: bytes, expected: Stat) -> Replaced:
        return _only(self.retire_many(((path, token, expected),)))

    def retire_many(self, items: Sequence[tuple[Path, bytes, Stat]]) -> list[Replaced | TreeError]:
        places = self._at()
        retire = self._exchanges(places).retire
        with Parents(places) as parents:
            return [attempt(path, retire, parents, path, token, stat) for path, token, stat in items]

    @_verb
    def put_back(self, token: bytes, path: Path) -> Stat:
        places = self._at()
        with Parents(places) as parents:
            return self._exchanges(places).give_name(places.old, token, parents, path)

    @_verb
    def move(self, source: Path, target: Path, expected: Stat) -> Stat:
        places = self._at()
        with Parents(places) as sources, Parents(places) as targets:
            from_fd, to_fd = sources.of(source), targets.of(target)
            exchanges = self._exchanges(places)
            found = exchanges.require_inode(from_fd, source, expected)
            try:
                self._renames.noreplace(from_fd, source[-1], to_fd, target[-1])
            except FileExistsError:
                if not self._is_other_spelling(found, to_fd, target):
                    raise translated(OSError(errno.EEXIST, os.strerror(errno.EEXIST)), target) from None
                self._respell(from_fd, source[-1], to_fd, target[-1], found)
            return exchanges.now_or(found, to_fd, target[-1])

    def _is_other_spelling(self, found: Stat, parent: int, target: Path) -> bool:
        """Two names of an object that has one link: the file system takes both for the same."""
        there = self._stat(parent, target[-1])
        return there.ino == found.ino and there.dev == found.dev and (there.nlink == 1 or there.kind is Kind.DIR)

    def _respell(self, parent: int, name: bytes, to_parent: int, to_name: bytes, found: Stat) -> None:
        """Write a name otherwise that the disk takes for the same. Linux does nothing then and calls it done, so that
        the object has to be without a name for a moment; after a crash what lies parked is found by its inode."""
        os.rename(name, to_name, src_dir_fd=parent, dst_dir_fd=to_parent)
        if disk_key(name, _FORMS) == disk_key(to_name, _FORMS):
            return  # which form of Unicode it is kept in is the disk's affair
        if name not in (listed for listed, _ in list_own(parent, self._at().owners)):
            return
        parked, token = self._at().parked, b"respelled%d" % found.ino
        self._renames.noreplace(parent, name, parked, token)
        try:
            self._renames.noreplace(parked, token, to_parent, to_name)
        except OSError:
            self._renames.noreplace(parked, token, parent, name)
            raise

    @_verb
    def make_dir(self, path: Path, mode: int) -> Stat:
        with Parents(self._at()) as parents:
            parent = parents.of(path)
            os.mkdir(path[-1], mode, dir_fd=parent)
            made = self._stat(parent, path[-1])
        if made.mode == mode or not self.personality().modes:
            return made
        return self.set_attributes(path, Attributes(mode=mode), made)  # the umask took bits away

    @_verb
    def remove_dir(self, path: Path) -> None:
        with Parents(self._at()) as parents:
            parent = parents.of(path)
            os.rmdir(path[-1], dir_fd=parent)

    @_verb
    def park(self, path: Path, token: bytes, expected: Stat) -> Stat:
        places = self._at()
        with Parents(places) as parents:
            parent = parents.of(path)
            exchanges = self._exchanges(places)
            found = exchanges.require_inode(parent, path, expected)
            self._renames.noreplace(parent, path[-1], places.parked, check_token(token))
            return exchanges.now_or(found, places.parked, token)

    @_verb
    def unpark(self, token: bytes, path: Path) -> Stat:
        places = self._at()
        with Parents(places) as parents:
            return self._exchanges(places).give_name(places.parked, token, parents, path)

    @_verb
    def list_parked(self) -> list[tuple[bytes, Stat]]:
        return list_own(self._at().parked, self._at().owners)

    @_verb
    def set_attributes(self, path: Path, attributes: Attributes, expected: Stat) -> Stat:
        owners = self._at().owners
        fd, place = self._open_for_attributes(path)
        try:
            found = stat_of(os.fstat(fd), owners)
            if not self._exchanges(self._at()).comparable(expected, found).same(found):
                raise LocallyChanged(f"changed meanwhile: {show_path(path)}", path, found)
            put_attributes(fd, place, attributes, with_modes=self.personality().modes)
            return stat_of(os.fstat(fd), owners)
        finally:
            os.close(fd)

    def _open_for_attributes(self, path: Path) -> tuple[int, int | str]:
        """A file or directory, and its name for calls about attributes. One that we may not read has O_PATH only."""
        places = self._at()
        check_path(path)
        if not path:
            raise NameRefused("the attributes of the folder's root are its owner's", path)
        return self._open_to_dress(path, lambda flags: open_beneath(places.root, path, flags))

    def _open_to_dress(self, path: Path, open_: Callable[[int], int]) -> tuple[int, int | str]:
        try:
            fd = open_(O_READ)
            place: int | str = fd
        except PermissionError:
            if not hasattr(os, "O_PATH"):
                raise
            fd = open_(os.O_PATH | os.O_CLOEXEC)
            place = f"/proc/self/fd/{fd}"
        kind = stat_of(os.fstat(fd), self._at().owners).kind
        if kind not in (Kind.FILE, Kind.DIR):
            os.close(fd)
            raise NotAFile(f"neither a file of ours nor a directory: {show_path(path)}", path)
        return fd, place

    # What was replaced or deleted.

    @_verb
    def list_old(self) -> list[tuple[bytes, Stat]]:
        return list_own(self._at().old, self._at().owners)

    @_verb
    def stat_old(self, token: bytes) -> Stat:
        return self._stat(self._at().old, check_token(token))

    @_verb
    def open_old(self, token: bytes) -> FileReader:
        return self._open_own(self._at().old, roots.OLD, token)

    @_verb
    def read_old_link(self, token: bytes) -> bytes:
        return read_link(self._at().old, check_token(token), (PRIVATE, roots.OLD, token))

    @_verb
    def drop_old(self, token: bytes) -> None:
        drop(self._at().old, check_token(token))

    # Durability.

    @_verb
    def flush(self, tokens: Sequence[bytes] = (), names_in: Sequence[Path] = ()) -> None:
        places = self._at()
        if self._use_syncfs() or not tokens:
            self._flush_all(places)
            return
        flush_each(places.stage, [check_token(token) for token in tokens])
        if names_in:
            self.flush_dirs(names_in)

    def _use_syncfs(self) -> bool:
        return self._monotonic() >= self._slow_until

    def _flush_all(self, places: Places) -> None:
        started = self._monotonic()
        flush_file_system(places.root)
        ended = self._monotonic()
        if ended - started > SLOW_SYNCFS_S:
            self._slow_until = ended + RETRY_SYNCFS_S

    @_verb
    def flush_dirs(self, paths: Sequence[Path]) -> None:
        places = self._at()
        if len(paths) > FEW_DIRS and self._use_syncfs():
            self._flush_all(places)
            return
        for own in (places.stage, places.old, places.parked):
            flush_file(own)
        has_moved = False
        for path in paths:
            try:
                with Directory(places, path, O_LIST) as fd:
                    flush_file(fd)
            except FileNotFoundError:
                has_moved = True
        if has_moved:  # it was deleted, or somebody took it elsewhere with its names
            self._flush_all(places)

    # syncd's own files.

    @_verb
    def write_cookie(self, name: bytes) -> None:
        cookies = self._at().cookies
        os.close(open_new(cookies, check_token(name), os.O_WRONLY, 0o600))
        os.unlink(name, dir_fd=cookies)

    @_verb
    def read_ignore(self) -> bytes | None:
        try:
            return roots.read_private(self._at().root, b"ignore", IGNORE_MAX_BYTES)
        except FileNotFoundError:
            return None

    @_verb
    def write_ignore(self, content: bytes) -> None:
        roots.replace_private(self._at().private, b"ignore", content)

    @_verb
    def open_database(self, name: str) -> sqlite3.Connection:
        return HomeDatabase(self._home, name).open()

    @_verb
    def set_database_aside(self, name: str) -> str:
        return HomeDatabase(self._home, name).set_aside()

    @_verb
    def has_database(self, name: str) -> bool:
        return HomeDatabase(self._home, name).exists()

    @_verb
    def drop_database(self, name: str) -> None:
        HomeDatabase(self._home, name).drop()

    def open_shelf(self, name: str) -> HomeShelf:
        return HomeShelf(self._home, name)

    def close(self) -> None:
        self._places = None

    # For the watch.

    @property
    def root(self) -> bytes:
        """The path at which the root was asked for."""
        return self._root

    def open_dir(self, path: Path) -> int:
        """A descriptor of a directory, to be closed by the caller. Raises OSError."""
        with Directory(self._at(), path) as fd:
            return os.dup(fd)

    def list_subdirs(self, path: Path) -> list[bytes]:
        """The names of the real directories in a directory on the root's file system. Raises OSError."""
        places = self._at()
        with Directory(places, path, O_LIST) as fd, os.scandir(fd) as entries:
            names = [os.fsencode(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
        return [name for name in names if name != PRIVATE] if not path else names

    def open_private(self, name: bytes) -> int:
        """A descriptor of `.syncd` (empty name) or of its cookies, to be closed by the caller."""
        places = self._at()
        return os.dup(places.cookies if name == roots.COOKIES else places.private)


_One = TypeVar("_One", Stat, Replaced)


def _only(results: Sequence[_One | TreeError]) -> _One:
    result = results[0]
    if isinstance(result, TreeError):
        raise result
    return result
