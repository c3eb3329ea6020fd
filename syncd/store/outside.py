"""Blocking. Writing a past tree outside of the folder: into a new directory, or as a tar file.

The target is one that a person named. Nothing in it is ever overwritten: it must not exist or be empty, unless the
person said that what is there is kept, or put aside. Every file has its name only when it is whole. Blocks are checked
by pid as they are read, wherever they lie.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from io import RawIOBase
from types import TracebackType
from typing import Protocol

from syncd.engine.timeline import Seen
from syncd.errors import SyncdError
from syncd.model.cipher import MAX_BLOCK_BYTES, BlockCipher, BlockKind
from syncd.model.lists import Entry
from syncd.model.paths import Path
from syncd.model.records import ContentKind
from syncd.store.folder import SourceReader
from syncd.store.keyring import Keyring
from syncd.store.locating import BlockSource
from syncd.treetypes import tree_error

FILE_MODE, DIR_MODE = 0o644, 0o755


@dataclass(frozen=True, slots=True)
class Writing:
    """One thing to write, and where its blocks lie."""

    path: Path
    seen: Seen
    blocks: Sequence[tuple[Entry, Sequence[tuple[BlockSource, int]]]]


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


def write_all(target: Target, items: Sequence[Writing], reader: SourceReader, keyring: Keyring) -> int:
    """Write things in their order, directories before what is in them; the bytes of all files. Raises BlockMissing."""
    for item in items:
        try:
            _write(target, item, reader, keyring)
        except OSError as error:
            raise tree_error(error.errno or 0, error.strerror or "refused", item.path) from error
    return sum(item.seen.content.size for item in items)


def _write(target: Target, item: Writing, reader: SourceReader, keyring: Keyring) -> None:
    mode = item.seen.attributes.mode
    match item.seen.content.kind:
        case ContentKind.DIRECTORY:
            target.directory(item.path, DIR_MODE if mode is None else mode)
        case ContentKind.SYMLINK:
            target.link(item.path, item.seen.content.target)
        case _:
            target.file(item.path, item.seen, _chunks(item, reader, keyring))


def _chunks(item: Writing, reader: SourceReader, keyring: Keyring) -> Iterator[memoryview]:
    cipher = keyring.cipher()
    buffer = memoryview(bytearray(min(MAX_BLOCK_BYTES, max((entry.length for entry, _ in item.blocks), default=0))))
    for entry, places in item.blocks:
        view = buffer[: entry.length]
        read_block(item.path, entry, places, reader, cipher, view)
        yield view


def read_block(
    path: Path,
    entry: Entry,
    places: Sequence[tuple[BlockSource, int]],
    reader: SourceReader,
    cipher: BlockCipher,
    view: memoryview,
) -> None:
    """Read a block of the file at `path` from wherever it lies. Raises BlockMissing."""
    for source, offset in places:
        if reader.read(source, offset, entry, view) and cipher.pid(BlockKind.DATA, view) == entry.pid:
            return
    name = b"/".join(path).decode("utf-8", "backslashreplace")
    raise BlockMissing(
        f"a block of {name} is not on this disk any more",
        id="SY-HIST-04",
        why="a file or pack that held it was changed or damaged since it was last looked at",
        fix="run the command again while a peer that has it is connected",
    )


def free_bytes(path: bytes) -> int:
    """What is free on the disk where a directory or file is about to be made. Raises TreeError."""
    there = path
    while not os.path.lexists(there) and there not in (b"/", b""):
        there = os.path.dirname(there)
    try:
        found = os.statvfs(there or b"/")
    except OSError as error:
        raise tree_error(error.errno or 0, error.strerror or "refused", (path,)) from error
    return found.f_bavail * found.f_frsize


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


class DirectoryTarget:
    """Writes plain files."""

    def __init__(self, path: bytes, existing: Existing = Existing.REFUSE) -> None:
        """Raises TreeError."""
        self._path = path
        self._existing = existing
        self._modes: list[tuple[bytes, int]] = []
        self._blocked: set[Path] = set()
        """Names of directories that something else has and keeps: nothing below them is written."""
        try:
            os.makedirs(path, exist_ok=True)
            if existing is Existing.REFUSE and os.listdir(path):
                raise SyncdError(
                    "the target directory is not empty",
                    id="SY-HIST-05",
                    why="nothing outside of the folder is ever overwritten",
                    fix="name a directory that does not exist yet, or say --existing keep or aside",
                )
        except OSError as error:
            raise tree_error(error.errno or 0, error.strerror or "refused", (path,)) from error

    def __enter__(self) -> DirectoryTarget:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for path, mode in reversed(self._modes):  # last, as one that may not be written cannot be filled
            os.chmod(path, mode)

    def _at(self, path: Path) -> bytes:
        return os.path.join(self._path, *path)

    def _is_free(self, path: Path) -> bool:
        """Whether something may be written at a name, which is free afterwards."""
        if any(path[:end] in self._blocked for end in range(1, len(path))):
            return False
        at = self._at(path)
        if not os.path.lexists(at):
            return True
        if self._existing is Existing.ASIDE:
            os.rename(at, _aside(at))
            return True
        return False

    def directory(self, path: Path, mode: int) -> None:
        at = self._at(path)
        if self._existing is not Existing.REFUSE and os.path.isdir(at) and not os.path.islink(at):
            return
        if not self._is_free(path):
            self._blocked.add(path)
            return
        os.mkdir(at, 0o700)
        self._modes.append((at, mode))

    def link(self, path: Path, target: bytes) -> None:
        if self._is_free(path):
            os.symlink(target, self._at(path))

    def file(self, path: Path, seen: Seen, chunks: Iterator[memoryview]) -> None:
        if not self._is_free(path):
            return
        unfinished = os.path.join(self._path, b".syncd-unfinished")
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            for chunk in chunks:
                rest = chunk
                while rest:
                    rest = rest[os.write(fd, rest) :]
            os.fchmod(fd, FILE_MODE if seen.attributes.mode is None else seen.attributes.mode)
            if seen.attributes.mtime_ns is not None:
                os.utime(fd, ns=(seen.attributes.mtime_ns, seen.attributes.mtime_ns))
            os.link(unfinished, self._at(path))  # unlike a rename it never takes the name from anything
        finally:
            os.unlink(unfinished)
            os.close(fd)


def _aside(at: bytes) -> bytes:
    """A free name beside that of what stands in the way."""
    number = 1
    while os.path.lexists(name := at + b" (before restore %d)" % number):
        number += 1
    return name


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


class TarTarget:
    """Writes one tar file (pax), which has its name only when it is whole."""

    def __init__(self, path: bytes) -> None:
        """Raises TreeError."""
        self._path = path
        try:
            if os.path.lexists(path):
                raise SyncdError(
                    "the tar file is there already",
                    id="SY-HIST-05",
                    why="nothing outside of the folder is ever overwritten",
                    fix="name a file that does not exist yet",
                )
            fd = os.open(path + b".part", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise tree_error(error.errno or 0, error.strerror or "refused", (path,)) from error
        self._file = os.fdopen(fd, "wb")
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape")

    def __enter__(self) -> TarTarget:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._file.close()
            os.unlink(self._path + b".part")
            return
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.rename(self._path + b".part", self._path)

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
