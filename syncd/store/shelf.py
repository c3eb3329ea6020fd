"""Blocking. Whole files of syncd's own in its home: `blocks/<folder>/`, where the packs of a folder's history lie.

A file is written under another name, flushed, and only then given its own, so that whatever has a pack's name is whole
(`docs/storage.md`). What a crash left under other names is deleted when the next file is written.
"""

from __future__ import annotations

import os
from threading import Lock

from syncd.model.packs import is_name
from syncd.seams import Buffer
from syncd.store.descent import translated
from syncd.store.files import read_fully, write_fully
from syncd.store.syscalls import flush_file
from syncd.treetypes import Space

DIRECTORY = "blocks"
_UNFINISHED = ".new"


class HomeShelf:
    """seams.Shelf in the directory `blocks/<name>` of syncd's home."""

    def __init__(self, home: str, name: str) -> None:
        self._home = home
        self._path = os.path.join(home, DIRECTORY, name)
        self._is_clear = False
        self._putting = Lock()

    def put(self, name: str, content: Buffer) -> None:
        with self._putting:  # two may put the very same bytes, and would write to one unfinished file
            try:
                self._prepare()
                path = self._at(name)
                if not _holds(path, content):
                    self._write(path + _UNFINISHED, content)
                    os.rename(path + _UNFINISHED, path)
                self._flush_names()  # also of one that is there already: that may have failed the last time
            except OSError as error:
                raise translated(error, self._shown(name)) from error

    def _prepare(self) -> None:
        if not os.path.isdir(self._path):
            os.makedirs(self._path, mode=0o700, exist_ok=True)
            for above in (os.path.dirname(self._path), self._home):
                _flush_directory(above)
        if self._is_clear:
            return
        for name in os.listdir(self._path):
            if name.endswith(_UNFINISHED):
                os.unlink(os.path.join(self._path, name))
        self._is_clear = True

    def _write(self, path: str, content: Buffer) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            write_fully(fd, 0, content)
            flush_file(fd)
        finally:
            os.close(fd)

    def _flush_names(self) -> None:
        _flush_directory(self._path)

    def read(self, name: str, offset: int, buffer: bytearray | memoryview) -> int:
        try:
            fd = os.open(self._at(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                return read_fully(fd, offset, buffer)
            finally:
                os.close(fd)
        except OSError as error:
            raise translated(error, self._shown(name)) from error

    def list(self) -> list[tuple[str, int]]:
        try:
            with os.scandir(self._path) as entries:
                return [(entry.name, entry.stat().st_size) for entry in entries if is_name(entry.name)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise translated(error, self._shown("")) from error

    def drop(self, name: str) -> None:
        try:
            os.unlink(self._at(name))
        except FileNotFoundError:
            return
        except OSError as error:
            raise translated(error, self._shown(name)) from error

    def space(self) -> Space:
        try:
            found = os.statvfs(self._home)
        except OSError as error:
            raise translated(error, self._shown("")) from error
        return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)

    def _at(self, name: str) -> str:
        return os.path.join(self._path, name)

    def _shown(self, name: str) -> tuple[bytes, ...]:
        return DIRECTORY.encode(), os.path.basename(self._path).encode(), name.encode()


def _flush_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flush_file(fd)
    finally:
        os.close(fd)


def _holds(path: str, content: Buffer) -> bool:
    """Whether a file with exactly these bytes is there. One that is damaged, or cannot be read, is to be written anew:
    a pack that is made again of the same blocks has the same name."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        with memoryview(content) as wanted:
            if os.fstat(fd).st_size != len(wanted):
                return False
            found = memoryview(bytearray(len(wanted)))
            return read_fully(fd, 0, found) == len(wanted) and found == wanted
    except OSError:
        return False
    finally:
        os.close(fd)
