"""Blocking. What is done with one name, or all names, of a directory that is open already."""

from __future__ import annotations

import errno
import os
import stat as mode_bits
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from syncd.store.descent import Parents, reopen
from syncd.store.files import get_xattrs, stat_of
from syncd.store.places import Places
from syncd.store.syscalls import flush_file, open_beneath
from syncd.treetypes import IsADirectory, Kind, LocallyChanged, NotAFile, Path, Read, Stat, show_path

FLUSH_THREADS = 16

O_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a pipe that was swapped in must not block us
_NEW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def list_open(fd: int, owners: frozenset[int]) -> list[tuple[bytes, Stat]]:
    """List by a descriptor that nobody else lists by."""
    found: list[tuple[bytes, Stat]] = []
    encode = os.fsencode
    with os.scandir(fd) as entries:
        for entry in entries:
            try:
                stat = stat_of(entry.stat(follow_symlinks=False), owners)
            except FileNotFoundError:
                continue  # deleted while we looked
            except OSError:
                stat = Stat(Kind.BROKEN, entry.inode(), 0, 0, 0, 0, 0, 0)
            found.append((encode(entry.name), stat))
    return found


def list_own(directory: int, owners: frozenset[int]) -> list[tuple[bytes, Stat]]:
    fd = reopen(directory)
    try:
        return list_open(fd, owners)
    finally:
        os.close(fd)


def read_whole(places: Places, parents: Parents, path: Path, limit: int) -> Read:
    fd = open_beneath(parents.of(path), path[-1:], O_READ)
    try:
        before = stat_of(os.fstat(fd), places.owners)
        if before.kind is not Kind.FILE:
            kind = IsADirectory if before.kind is Kind.DIR else NotAFile
            raise kind(f"not a regular file of ours: {show_path(path)}", path)
        if before.size <= limit:
            content, xattrs = os.read(fd, before.size + 1), get_xattrs(fd)
            after = stat_of(os.fstat(fd), places.owners)
            if len(content) == before.size and after.same(before):
                return Read(after, content, xattrs)
            before = after
    finally:
        os.close(fd)
    raise LocallyChanged(f"larger than expected, or changing: {show_path(path)}", path, before)


def read_link(parent: int, name: bytes, path: Path) -> bytes:
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise LocallyChanged(f"no symlink: {show_path(path)}", path) from error
        raise


def open_new(parent: int, name: bytes, flags: int, mode: int) -> int:
    """A new file; an older one of that name goes first, so that whoever had it open does not share ours."""
    try:
        return os.open(name, flags | _NEW, mode, dir_fd=parent)
    except FileExistsError:
        os.unlink(name, dir_fd=parent)
        return os.open(name, flags | _NEW, mode, dir_fd=parent)


def drop(parent: int, name: bytes) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return


def _open_whatever_its_mode(stage: int, token: bytes) -> int:
    """Open a staged file for a flush: it may have been given a mode by which its owner cannot read it."""
    try:
        return os.open(token, O_READ | os.O_NOFOLLOW, dir_fd=stage)
    except PermissionError:
        mode = mode_bits.S_IMODE(os.stat(token, dir_fd=stage, follow_symlinks=False).st_mode)
        os.chmod(token, mode | 0o400, dir_fd=stage)
        fd = os.open(token, O_READ | os.O_NOFOLLOW, dir_fd=stage)
        os.chmod(fd, mode)
        return fd


def flush_each(stage: int, tokens: Sequence[bytes]) -> None:
    """fsync from several threads at once, so that the file system can commit many files together. A symlink cannot be
    opened for that: it is flushed with its name."""

    def flush(token: bytes) -> bool:
        try:
            fd = _open_whatever_its_mode(stage, token)
        except OSError as error:
            if error.errno == errno.ELOOP:
                return False
            raise
        try:
            flush_file(fd)
        finally:
            os.close(fd)
        return True

    with ThreadPoolExecutor(min(FLUSH_THREADS, len(tokens))) as threads:
        if not all(list(threads.map(flush, tokens))):
            flush_file(stage)
