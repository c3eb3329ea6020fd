"""Blocking. Open regular files of a tree: reading what the user has, writing what is staged. By descriptor only."""

from __future__ import annotations

import ctypes
import errno
import os
import stat as mode_bits
from collections.abc import Mapping

from syncd.seams import Buffer, Reader
from syncd.store.syscalls import is_open_for_writing, maybe_open_past_cache, start_writing
from syncd.treetypes import (
    Attributes,
    IsADirectory,
    Kind,
    NotAFile,
    Path,
    Stat,
    show_path,
    tree_error,
)

_KINDS = {mode_bits.S_IFREG: Kind.FILE, mode_bits.S_IFDIR: Kind.DIR, mode_bits.S_IFLNK: Kind.SYMLINK}
_USER = "user."
_COPY_BYTES = 1 << 20
START_WRITING_BYTES = 16 << 20
"""After so much the disk begins to write a file of which more is to come. Left to the flush at the end, a gigabyte kept
everybody waiting there for longer than its transfer had taken."""
PAST_CACHE_BYTES = 512 << 20
"""Files of this size and more are written past the page cache: they would drive everything else out of it, and copying
a gigabyte into it takes more processor time than to receive, decrypt and check it. Smaller ones stay there for whoever
opens them next, or is served from them."""
PAGE_BYTES = 4096
"""What is written past the cache are whole pages, in the file as in memory."""
LEAST_PAST_CACHE_BYTES = 256 << 10
"""Less in one call waits too long for the disk."""
_CANNOT_HOLD = {errno.ENOTSUP, errno.E2BIG, errno.ENOSPC, errno.EDQUOT, errno.ERANGE, errno.EINVAL}
"""How file systems say that they have no room for an extended attribute: most have a block for all of one file."""
_CANNOT_COPY = (errno.EXDEV, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)


def stat_of(found: os.stat_result, owners: frozenset[int]) -> Stat:
    """What syncd keeps of a stat. A file that somebody not in `owners` also has elsewhere is OTHER.

    Such a hard link can be put into a shared directory by a user who may not read the file; we must not read it for
    them.
    """
    mode = found.st_mode
    kind = _KINDS.get(mode & 0o170000, Kind.OTHER)
    size = found.st_size
    if kind is Kind.DIR:
        size = 0
    elif found.st_nlink > 1 and kind is Kind.FILE and found.st_uid not in owners:
        kind = Kind.OTHER
    return tuple.__new__(
        Stat,
        (kind, found.st_ino, size, found.st_mtime_ns, found.st_ctime_ns, mode & 0o777, found.st_nlink, found.st_dev),
    )


def read_fully(fd: int, offset: int, buffer: bytearray | memoryview) -> int:
    """Read until the buffer is full or the file ends."""
    got = os.preadv(fd, [buffer], offset)
    if got == len(buffer) or got == 0:
        return got
    rest = memoryview(buffer)[got:]
    while rest:
        more = os.preadv(fd, [rest], offset + got)
        if more == 0:
            break
        got += more
        rest = rest[more:]
    return got


def write_fully(fd: int, offset: int, data: Buffer) -> None:
    """Write everything, in as many calls as the system needs."""
    done = os.pwrite(fd, data, offset)
    if done == len(data):
        return
    rest = memoryview(data)[done:]
    while rest:
        written = os.pwrite(fd, rest, offset + done)
        done += written
        rest = rest[written:]


class FileReader:
    """seams.Reader on a descriptor, which it owns."""

    __slots__ = ("_fd", "_is_sparse", "_owners", "_path")

    def __init__(self, fd: int, path: Path, owners: frozenset[int]) -> None:
        """Takes the descriptor over, and closes it when it is not a regular file."""
        self._fd, self._path, self._owners = fd, path, owners
        self._is_sparse: bool | None = None
        try:
            self._require_file()
        except BaseException:
            self.close()
            raise

    def _require_file(self) -> None:
        kind = self.stat().kind
        if kind is Kind.DIR:
            raise IsADirectory(f"is a directory: {show_path(self._path)}", self._path)
        if kind is not Kind.FILE:
            raise NotAFile(f"not a regular file of ours: {show_path(self._path)}", self._path)

    def fileno(self) -> int:
        return self._fd

    def stat(self) -> Stat:
        try:
            return stat_of(os.fstat(self._fd), self._owners)
        except OSError as error:
            raise self._translated(error) from error

    def read_into(self, offset: int, buffer: bytearray | memoryview) -> int:
        try:
            return read_fully(self._fd, offset, buffer)
        except OSError as error:
            raise self._translated(error) from error

    def zeros_until(self, offset: int) -> int:
        try:
            if self._is_sparse is None:
                self._is_sparse = _has_holes(self._fd)
            return _hole_end(self._fd, offset) if self._is_sparse else offset
        except OSError as error:
            raise self._translated(error) from error

    def xattrs(self) -> dict[bytes, bytes]:
        try:
            return get_xattrs(self._fd)
        except OSError as error:
            raise self._translated(error) from error

    def drop_cache(self) -> None:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def is_open_for_writing(self) -> bool:
        return is_open_for_writing(self._fd)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _translated(self, error: OSError) -> Exception:
        return tree_error(error.errno or 0, error.strerror or "failed", self._path)


class FileWriter(FileReader):
    """seams.Writer on a descriptor, which it owns."""

    __slots__ = ("_held_back", "_past_cache", "_refused", "_with_modes")

    def __init__(self, fd: int, path: Path, owners: frozenset[int], *, with_modes: bool) -> None:
        self._with_modes = with_modes
        self._held_back = 0
        """Bytes written since the disk was last told to begin."""
        self._past_cache: int | None = None
        self._refused = False
        super().__init__(fd, path, owners)

    def write_at(self, offset: int, data: Buffer) -> None:
        try:
            pages = (
                self._write_pages(self._past_cache, offset, data)
                if self._past_cache is not None and not self._refused
                else range(0)
            )
            if not pages:
                write_fully(self._fd, offset, data)
            else:
                with memoryview(data) as view:  # the ends, of pages that hold something else as well
                    write_fully(self._fd, offset, view[: pages.start])
                    write_fully(self._fd, offset + pages.stop, view[pages.stop :])
        except OSError as error:
            raise self._translated(error) from error
        self._held_back += len(data) - len(pages)
        if self._held_back >= START_WRITING_BYTES:
            self._held_back = 0
            start_writing(self._fd)

    def _write_pages(self, fd: int, offset: int, data: Buffer) -> range:
        """Write past the cache what is whole pages of the file, if the memory lies as they do; which bytes that was."""
        first = -offset % PAGE_BYTES
        pages = range(first, first + (len(data) - first) // PAGE_BYTES * PAGE_BYTES)
        if len(pages) < LEAST_PAST_CACHE_BYTES or not _lies_as(offset, data):
            return range(0)
        try:
            with memoryview(data) as view:
                write_fully(fd, offset + pages.start, view[pages.start : pages.stop])
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._refused = True  # this disk wants it otherwise
            return range(0)
        return pages

    def close(self) -> None:
        fd, self._past_cache = self._past_cache, None
        if fd is not None:
            os.close(fd)
        super().close()

    def copy_from(self, source: Reader, source_offset: int, offset: int, length: int) -> int:
        if not isinstance(source, FileReader):
            raise TypeError("a reader of another kind of tree")
        try:
            return copy_range(source.fileno(), source_offset, self._fd, offset, length)
        except OSError as error:
            raise self._translated(error) from error

    def set_size(self, size: int) -> None:
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise self._translated(error) from error
        if size >= PAST_CACHE_BYTES and self._past_cache is None:
            self._past_cache = maybe_open_past_cache(self._fd)

    def set_attributes(self, attributes: Attributes) -> None:
        try:
            put_attributes(self._fd, self._fd, attributes, with_modes=self._with_modes)
        except OSError as error:
            raise self._translated(error) from error

    def finish(self) -> Stat:
        """The last stat, and closed."""
        try:
            return self.stat()
        finally:
            self.close()


def _lies_as(offset: int, data: Buffer) -> bool:
    """Whether memory begins, within a page, where a place in a file does."""
    with memoryview(data) as view:
        if view.readonly:
            return False
        return (ctypes.addressof(ctypes.c_char.from_buffer(view)) - offset) % PAGE_BYTES == 0


def _has_holes(fd: int) -> bool:
    """Whether the file has fewer blocks than bytes. Then it is flushed: file systems have told holes wrongly where
    something was not on the disk yet."""
    found = os.fstat(fd)
    if found.st_blocks * 512 >= found.st_size or not hasattr(os, "SEEK_DATA"):
        return False
    os.fsync(fd)
    return True


def _hole_end(fd: int, offset: int) -> int:
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:  # no data from here to the end
            return max(offset, os.fstat(fd).st_size)
        if error.errno in (errno.EINVAL, errno.ENOTSUP):
            return offset
        raise


def copy_range(source: int, source_offset: int, target: int, offset: int, length: int) -> int:
    """Copy between two files, sharing blocks where the file system can. Short only at the end of the source."""
    copied = 0
    while copied < length:
        try:
            done = os.copy_file_range(source, target, length - copied, source_offset + copied, offset + copied)
        except (AttributeError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _CANNOT_COPY:
                raise
            return copied + _copy_by_hand(source, source_offset + copied, target, offset + copied, length - copied)
        if done == 0:
            break
        copied += done
    return copied


def _copy_by_hand(source: int, source_offset: int, target: int, offset: int, length: int) -> int:
    buffer = memoryview(bytearray(min(length, _COPY_BYTES)))
    copied = 0
    while copied < length:
        got = read_fully(source, source_offset + copied, buffer[: length - copied])
        if got == 0:
            break
        write_fully(target, offset + copied, buffer[:got])
        copied += got
    return copied


# --- attributes ----------------------------------------------------------------------------------------------------
# `place` is a descriptor, or `/proc/self/fd/N` for a descriptor that allows nothing itself (a file we may not read).


def get_xattrs(place: int | str) -> dict[bytes, bytes]:
    """All `user.*` attributes; empty where the file system or the system has none."""
    if not hasattr(os, "listxattr"):
        return {}
    try:
        names = os.listxattr(place)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
    if not names:
        return {}
    found = ((name, _maybe_xattr(place, name)) for name in names if name.startswith(_USER))
    return {os.fsencode(name): value for name, value in found if value is not None}


def _maybe_xattr(place: int | str, name: str) -> bytes | None:
    try:
        return os.getxattr(place, name)
    except OSError as error:
        if error.errno == errno.ENODATA:  # taken away since it was listed
            return None
        raise


def xattr_names(place: int | str) -> list[bytes]:
    """The names of all extended attributes that the system tells, of whatever kind."""
    if not hasattr(os, "listxattr"):
        return []
    try:
        return [os.fsencode(name) for name in os.listxattr(place)]
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return []
        raise


def put_attributes(fd: int, place: int | str, attributes: Attributes, *, with_modes: bool) -> None:
    """Set attributes on an open file or directory; special mode bits stay as they are."""
    present = wanted = mode_bits.S_IMODE(os.fstat(fd).st_mode)
    if attributes.mode is not None and with_modes:
        wanted = present & ~0o777 | attributes.mode
    if attributes.xattrs is not None and get_xattrs(place) != attributes.xattrs:
        if not present & 0o200 and with_modes:
            present |= 0o200  # only who may write the file may give it attributes
            os.chmod(place, present)
        _put_xattrs(place, attributes.xattrs)
    if wanted != present:
        os.chmod(place, wanted)
    if attributes.mtime_ns is not None:
        os.utime(place, ns=(attributes.mtime_ns, attributes.mtime_ns))


def _put_xattrs(place: int | str, wanted: Mapping[bytes, bytes]) -> None:
    if not hasattr(os, "setxattr"):
        return
    present = get_xattrs(place)
    for name in present.keys() - wanted.keys():
        os.removexattr(place, name)
    for name, value in wanted.items():
        if present.get(name) == value:
            continue
        try:
            os.setxattr(place, name, value)
        except OSError as error:
            if error.errno not in _CANNOT_HOLD:
                raise
