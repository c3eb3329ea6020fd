"""Blocking. Writing a past tree outside of the folder: into a new directory, or as a tar file.

The target is one that a person named. Nothing in it is ever overwritten: it must not exist or be empty, unless the
person said that what is there is kept, or put aside. Every file has its name only when it is whole. Blocks are checked
by pid as they are read, wherever they lie.

The target is opened once, and everything in it is reached from there, following no symlink: whatever takes the place of
a directory meanwhile, nothing is written elsewhere. What others command (`below`) is reached like that from the
directory that the person at this device named.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from io import RawIOBase
from itertools import count
from types import TracebackType
from typing import Protocol

from ca.values import dataclass
from syncd.engine.timeline import Seen
from syncd.errors import SyncdError
from syncd.model.cipher import MAX_BLOCK_BYTES
from syncd.model.lists import Entry
from syncd.model.paths import Path
from syncd.model.records import ContentKind
from syncd.store.files import put_attributes
from syncd.store.folder import SourceReader
from syncd.store.locating import Places
from syncd.store.syscalls import O_DIR, Renames, open_beneath
from syncd.treetypes import Attributes, Space, tree_error

FILE_MODE, DIR_MODE = 0o644, 0o755


@dataclass(frozen=True, slots=True)
class Writing:
    """One thing to write, and where its blocks lie."""

    path: Path
    seen: Seen
    blocks: Sequence[tuple[Entry, Places]]


class Target(Protocol):
    """Where a tree is written."""

    def __enter__(self) -> Target: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def directory(self, path: Path, mode: int) -> None: ...

    def link(self, path: Path, target: bytes) -> None: ...

    def file(self, path: Path, seen: Seen, chunks: Iterator[memoryview]) -> None: ...


class BlockMissing(SyncdError):
    """A block is not where it was thought to be, nor anywhere else on this disk."""


def write_all(target: Target, items: Sequence[Writing], reader: SourceReader) -> int:
    """Write things in their order, directories before what is in them; the bytes of all files. Raises BlockMissing."""
    for item in items:
        try:
            _write(target, item, reader)
        except OSError as error:
            raise tree_error(error.errno or 0, error.strerror or "refused", item.path) from error
    return sum(item.seen.content.size for item in items)


def _write(target: Target, item: Writing, reader: SourceReader) -> None:
    mode = item.seen.attributes.mode
    match item.seen.content.kind:
        case ContentKind.DIRECTORY:
            target.directory(item.path, DIR_MODE if mode is None else mode)
        case ContentKind.SYMLINK:
            target.link(item.path, item.seen.content.target)
        case _:
            target.file(item.path, item.seen, _chunks(item, reader))


def _chunks(item: Writing, reader: SourceReader) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(min(MAX_BLOCK_BYTES, max((entry.length for entry, _ in item.blocks), default=0))))
    for entry, places in item.blocks:
        view = buffer[: entry.length]
        read_block(item.path, entry, places, reader, view)
        yield view


def read_block(path: Path, entry: Entry, places: Places, reader: SourceReader, view: memoryview) -> None:
    """Read a block of the file at `path` from wherever it lies. Raises BlockMissing."""
    if reader.read_checked(places, entry, view):
        return
    name = b"/".join(path).decode("utf-8", "backslashreplace")
    raise BlockMissing(
        f"a block of {name} is not on this disk any more",
        id="SY-HIST-04",
        why="a file or pack that held it was changed or damaged since it was last looked at",
        fix="run the command again while a peer that has it is connected",
    )


def space_at(path: bytes) -> Space:
    """Of the disk where a directory or file is about to be made. Raises TreeError."""
    try:
        found = os.statvfs(_nearest(path))
    except OSError as error:
        raise tree_error(error.errno or 0, error.strerror or "refused", (path,)) from error
    return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def is_tar(path: bytes) -> bool:
    """Whether what is to be written there is one tar file; else it is a directory."""
    return path.endswith(b".tar")


def demand_target(path: bytes, existing: Existing, below: bytes | None = None) -> None:
    """Refuse a target in which nothing could be written, before anything is fetched for it. Raises SyncdError,
    TreeError.

    What it finds may be otherwise a moment later; opening the target finds out again.
    """
    try:
        if below is not None and names_below(path, below) is None:
            raise _not_below()
        if is_tar(path):
            if os.path.lexists(path):
                raise _tar_there()
            place = os.path.dirname(path) or b"."
        else:
            place = _nearest(path)
            if place == path and existing is Existing.REFUSE and os.listdir(path):
                raise _not_empty()
        if not os.path.isdir(place):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(place, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise tree_error(error.errno or 0, error.strerror or "refused", (path,)) from error


def _nearest(path: bytes) -> bytes:
    """The path itself, or the directory nearest above it that is there."""
    while not os.path.lexists(path) and path not in (b"/", b""):
        path = os.path.dirname(path)
    return path or b"/"


def make_place(path: bytes) -> None:
    """The directory in which exports get their names. Raises TreeError."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise tree_error(error.errno or 0, error.strerror or "refused", (path,)) from error


def drop_file(path: bytes) -> None:
    """Let a tar file go that was written here, if it is one still. Raises TreeError."""
    try:
        if os.path.isfile(path) and not os.path.islink(path):
            os.unlink(path)
    except OSError as error:
        raise tree_error(error.errno or 0, error.strerror or "refused", (path,)) from error


class Existing(Enum):
    """What happens to what stands where something is to be written."""

    REFUSE = "refuse"
    """The directory has to be new or empty."""
    KEEP = "keep"
    """It stays, and what was to be written there is not."""
    ASIDE = "aside"
    """It gets another name, beside its own."""


_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_UNFINISHED = b".syncd-unfinished-%d"


def names_below(path: bytes, below: bytes) -> Path | None:
    """How `path` leads on from the directory `below`, by spelling alone; None: it does not, or not straight on."""
    names = tuple(name for name in path.split(b"/") if name not in (b"", b"."))
    if not path.startswith(b"/") or b".." in names:
        return None
    for top in (os.path.normpath(below), os.path.realpath(below)):
        above = tuple(name for name in top.split(b"/") if name)
        if len(names) > len(above) and names[: len(above)] == above:
            return names[len(above) :]
    return None


def _not_below() -> PermissionError:
    return PermissionError(errno.EACCES, "it does not lie where others may have this computer write")


def _open_place(path: bytes, below: bytes | None) -> int:
    """A directory, made if it is not there. `below`: reached from there, and never through a symlink."""
    if below is None:
        os.makedirs(path, exist_ok=True)
        return os.open(path, _OPEN)
    names = names_below(path, below)
    if names is None:
        raise _not_below()
    fd = os.open(below, _OPEN)
    for name in names:
        try:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=fd)
            inner = os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=fd)
        finally:
            os.close(fd)
        fd = inner
    return fd


class DirectoryTarget:
    """Writes plain files."""

    def __init__(self, path: bytes, existing: Existing = Existing.REFUSE, below: bytes | None = None) -> None:
        """Raises TreeError."""
        self._path = path
        self._existing = existing
        self._renames = Renames()
        self._modes: list[tuple[Path, int]] = []
        self._blocked: set[Path] = set()
        """Names of directories that something else has and keeps: nothing below them is written."""
        try:
            self._top = _open_place(path, below)
            if existing is Existing.REFUSE and os.listdir(self._top):
                os.close(self._top)
                raise _not_empty()
        except OSError as error:
            raise tree_error(error.errno or 0, error.strerror or "refused", (path,)) from error

    def __enter__(self) -> DirectoryTarget:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for path, mode in reversed(self._modes):  # last, as one that may not be written cannot be filled
                self._set_mode(path, mode)
        except OSError as trouble:
            raise tree_error(trouble.errno or 0, trouble.strerror or "refused", path) from trouble
        finally:
            os.close(self._top)

    def _set_mode(self, path: Path, mode: int) -> None:
        fd = open_beneath(self._top, path, _OPEN)
        try:
            os.fchmod(fd, mode)
        finally:
            os.close(fd)

    @contextmanager
    def _parent(self, path: Path) -> Iterator[int]:
        """The directory in which the last name of a path is; the others lead there without a symlink."""
        if len(path) == 1:
            yield self._top
            return
        fd = open_beneath(self._top, path[:-1], O_DIR)
        try:
            yield fd
        finally:
            os.close(fd)

    def _is_blocked(self, path: Path) -> bool:
        return any(path[:end] in self._blocked for end in range(1, len(path)))

    def _is_free(self, parent: int, name: bytes) -> bool:
        """Whether something may be written at a name, which is free afterwards."""
        if not _is_there(parent, name):
            return True
        if self._existing is not Existing.ASIDE:
            return False
        number = 1
        while True:
            try:
                self._renames.noreplace(parent, name, parent, name + b" (before restore %d)" % number)
            except FileExistsError:
                number += 1
            else:
                return True

    def directory(self, path: Path, mode: int) -> None:
        if self._is_blocked(path):
            return
        with self._parent(path) as parent:
            if self._existing is not Existing.REFUSE and _is_directory(parent, path[-1]):
                return
            if not self._is_free(parent, path[-1]):
                self._blocked.add(path)
                return
            os.mkdir(path[-1], 0o700, dir_fd=parent)
            self._modes.append((path, mode))

    def link(self, path: Path, target: bytes) -> None:
        if self._is_blocked(path):
            return
        with self._parent(path) as parent:
            if self._is_free(parent, path[-1]):
                os.symlink(target, path[-1], dir_fd=parent)

    def file(self, path: Path, seen: Seen, chunks: Iterator[memoryview]) -> None:
        if self._is_blocked(path):
            return
        with self._parent(path) as parent:
            if self._is_free(parent, path[-1]):
                self._write(parent, path[-1], seen, chunks)

    def _write(self, parent: int, name: bytes, seen: Seen, chunks: Iterator[memoryview]) -> None:
        fd, part = _create_first(self._top, _UNFINISHED)
        try:
            for chunk in chunks:
                rest = chunk
                while rest:
                    rest = rest[os.write(fd, rest) :]
            put_attributes(fd, fd, Attributes(xattrs=dict(seen.attributes.xattrs)), with_modes=True)
            os.fchmod(fd, FILE_MODE if seen.attributes.mode is None else seen.attributes.mode)
            if seen.attributes.mtime_ns is not None:
                os.utime(fd, ns=(seen.attributes.mtime_ns, seen.attributes.mtime_ns))
            self._renames.noreplace(self._top, part, parent, name)
        except BaseException:
            os.unlink(part, dir_fd=self._top)
            raise
        finally:
            os.close(fd)


def _create(parent: int, name: bytes) -> int:
    """A new file, for writing; EEXIST if the name is anybody's."""
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent)


def _create_first(parent: int, pattern: bytes) -> tuple[int, bytes]:
    """A new file under the first numbered name that nobody has: what a crash left there is in nobody's way."""
    for number in count(1):
        name = pattern % number
        with suppress(FileExistsError):
            return _create(parent, name), name
    raise AssertionError("numbers do not end")


def _is_there(parent: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_directory(parent: int, name: bytes) -> bool:
    return _is_there(parent, name) and stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def _not_empty() -> SyncdError:
    return SyncdError(
        "the target directory is not empty",
        id="SY-HIST-05",
        why="nothing outside of the folder is ever overwritten",
        fix="name a directory that does not exist yet; `restore` also takes --existing keep or aside",
    )


class _Chunks(RawIOBase):
    """Chunks as a file that can be read."""

    def __init__(self, chunks: Iterator[memoryview]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._rest:
            self._rest = next(self._chunks, memoryview(b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def read(self, size: int = -1) -> bytes:
        buffer = bytearray(max(size, 0))
        view, done = memoryview(buffer), 0
        while done < len(buffer) and (count := self.readinto(view[done:])):
            done += count
        return bytes(buffer[:done])


def _open_parent(directory: bytes, below: bytes | None) -> int:
    if below is not None and os.path.normpath(directory) not in (os.path.normpath(below), os.path.realpath(below)):
        return _open_place(directory, below)
    return os.open(directory or b".", _OPEN)


def _tar_there() -> SyncdError:
    return SyncdError(
        "the tar file is there already",
        id="SY-HIST-05",
        why="nothing outside of the folder is ever overwritten",
        fix="name a file that does not exist yet",
    )


class TarTarget:
    """Writes one tar file (pax), which has its name only when it is whole."""

    def __init__(self, path: bytes, below: bytes | None = None) -> None:
        """Raises TreeError."""
        self._path = path
        directory, self._name = os.path.split(path)
        try:
            self._parent = _open_parent(directory, below)
        except OSError as error:
            raise tree_error(error.errno or 0, error.strerror or "refused", (path,)) from error
        try:
            if _is_there(self._parent, self._name):
                raise _tar_there()
            fd, self._part = _create_first(self._parent, self._name.replace(b"%", b"%%") + b".%d.part")
        except OSError as error:
            os.close(self._parent)
            raise tree_error(error.errno or 0, error.strerror or "refused", (path,)) from error
        except SyncdError:
            os.close(self._parent)
            raise
        self._file = os.fdopen(fd, "wb")
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape")

    def __enter__(self) -> TarTarget:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        is_whole = False
        try:
            if kind is None:
                self._tar.close()
                self._file.flush()
                os.fsync(self._file.fileno())
                Renames().noreplace(self._parent, self._part, self._parent, self._name)
                is_whole = True
        except FileExistsError as taken:
            raise _tar_there() from taken
        except OSError as trouble:
            raise tree_error(trouble.errno or 0, trouble.strerror or "refused", (self._path,)) from trouble
        finally:
            if not is_whole:
                os.unlink(self._part, dir_fd=self._parent)
            with suppress(OSError):  # whole, it is on the disk by now; else it is given up, and what it had to write
                self._file.close()
            os.close(self._parent)

    def _info(self, path: Path, kind: bytes, mode: int) -> tarfile.TarInfo:
        info = tarfile.TarInfo(b"/".join(path).decode("utf-8", "surrogateescape"))
        info.type, info.mode = kind, mode
        return info

    def directory(self, path: Path, mode: int) -> None:
        self._tar.addfile(self._info(path, tarfile.DIRTYPE, mode))

    def link(self, path: Path, target: bytes) -> None:
        info = self._info(path, tarfile.SYMTYPE, 0o777)
        info.linkname = target.decode("utf-8", "surrogateescape")
        self._tar.addfile(info)

    def file(self, path: Path, seen: Seen, chunks: Iterator[memoryview]) -> None:
        mode = FILE_MODE if seen.attributes.mode is None else seen.attributes.mode
        info = self._info(path, tarfile.REGTYPE, mode)
        info.size = seen.content.size
        mtime_ns = seen.attributes.mtime_ns or 0
        info.mtime = mtime_ns // 1_000_000_000
        if mtime_ns:
            info.pax_headers = {"mtime": f"{mtime_ns // 1_000_000_000}.{mtime_ns % 1_000_000_000:09d}"}
        self._tar.addfile(info, _Chunks(chunks))
