"""Blocking. The root of a folder and `.syncd`, held open: every other operation on a tree starts at these descriptors.

A descriptor names an inode, so what is renamed or replaced by a symlink while we work changes nothing for us. Whether
the path still leads to the same inodes is asked again at every scan (`Tree.check_root`). The descriptors are closed
when the last verb that uses them lets go of the object, so a root can be exchanged for another while threads still work
below it.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from syncd.store.files import write_fully
from syncd.store.marker import MARKER_MAX_BYTES, marker_text, maybe_marker, maybe_seen, seen_text
from syncd.store.syscalls import flush_file, generation
from syncd.treetypes import PRIVATE, Marker, RootState, Seen

STAGE, OLD, PARKED, COOKIES = b"stage", b"old", b"parked", b"cookies"
_HELD = (STAGE, OLD, PARKED, COOKIES)
_MARKER, _SEEN = b"folder", b"seen"

# Readable, not O_PATH: syncfs and fsync ask for it, and errors of the disk are kept for descriptors that were open
# then.
_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_IS_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_IS_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Places:
    """Open directories: the root, `.syncd`, and syncd's own places in it."""

    __slots__ = ("cookies", "identity", "old", "owners", "parked", "private", "root", "stage")

    def __init__(self, root: int) -> None:
        """Takes `root` over and opens the rest. Raises OSError."""
        self.root, self.private, self.stage, self.old, self.parked, self.cookies = root, -1, -1, -1, -1, -1
        self.private = _open_private(root)
        self.stage, self.old, self.parked, self.cookies = (_open_or_make(self.private, name) for name in _HELD)
        stats = [os.fstat(fd) for fd in self._all()]
        self.identity = [(found.st_dev, found.st_ino) for found in stats]
        self.owners = frozenset((os.geteuid(), stats[0].st_uid))

    def _all(self) -> tuple[int, ...]:
        return self.root, self.private, self.stage, self.old, self.parked, self.cookies

    def __del__(self) -> None:
        for fd in self._all():
            if fd >= 0:
                os.close(fd)


def open_root(path: bytes) -> int | RootState:
    """The directory at `path`, itself no symlink, or what is wrong with it."""
    try:
        return os.open(path, _OPEN_DIR)
    except OSError as error:
        return RootState.MISSING if error.errno in _IS_MISSING else RootState.UNREADABLE


def marker_state(root: int, expected: Marker) -> RootState:
    """Compare the marker of an open root."""
    try:
        found = read_marker(root)
    except FileNotFoundError:
        return RootState.NO_MARKER
    except OSError as error:
        return RootState.FOREIGN if error.errno == errno.EXDEV else RootState.UNREADABLE
    return RootState.OK if found == expected else RootState.WRONG_MARKER


def read_marker(root: int) -> Marker | None:
    """The marker of an open root; None when the file is there and is no marker. Raises OSError, EXDEV when foreign."""
    text = read_private(root, _MARKER, MARKER_MAX_BYTES)
    return maybe_marker(text)


def read_private(root: int, name: bytes, limit: int) -> bytes:
    """At most `limit` bytes of a file in `.syncd`, which must lie on the file system of the root."""
    private = os.open(PRIVATE, _OPEN_DIR, dir_fd=root)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=private)
    finally:
        os.close(private)
    try:
        if os.fstat(fd).st_dev != os.fstat(root).st_dev:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return os.read(fd, limit)
    finally:
        os.close(fd)


def write_marker(root: int, marker: Marker) -> None:
    """Make `.syncd` and write the marker, both durable on return; an older marker is replaced."""
    private = _open_or_make(root, PRIVATE)
    try:
        replace_private(private, _MARKER, marker_text(marker))
    finally:
        os.close(private)
    flush_file(root)


def read_seen(private: int) -> Seen | None:
    """What the open `.syncd` says of when all was last looked at; None where it says nothing of it that could be read,
    and whatever else stands at that name: then nobody knows how old this directory is. Raises OSError where it is not
    the file that is the matter."""
    try:
        return _read_seen(private)
    except OSError as error:
        if error.errno in _IS_EXHAUSTED:
            raise
        return None


def _read_seen(private: int) -> Seen | None:
    fd = os.open(_SEEN, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=private)
    try:
        said = maybe_seen(os.read(fd, MARKER_MAX_BYTES))
        return None if said is None else Seen(*said, os.fstat(fd).st_ino, generation(fd))
    finally:
        os.close(fd)


def write_seen(private: int, number: int, journal: bytes) -> Seen:
    """Say so, durable on return; what says it now. Raises OSError."""
    replace_private(private, _SEEN, seen_text(number, journal))
    found = read_seen(private)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, "it was taken away at once", _SEEN)
    return found


def replace_private(private: int, name: bytes, content: bytes) -> None:
    """Write a file in `.syncd`, durable on return; an older one is replaced as a whole. A directory that somebody put
    at its name gets another one: it may hold something."""
    new = name + b".new"
    for taken in (new, name):
        _put_directory_aside(private, taken)
    _drop(private, new)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=private)
    try:
        write_fully(fd, 0, content)
        flush_file(fd)
    finally:
        os.close(fd)
    os.rename(new, name, src_dir_fd=private, dst_dir_fd=private)
    flush_file(private)


def _put_directory_aside(parent: int, name: bytes) -> None:
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(found.st_mode):
        os.rename(name, b"%s.%d" % (name, found.st_ino), src_dir_fd=parent, dst_dir_fd=parent)


def _drop(parent: int, name: bytes) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return


def _open_or_make(parent: int, name: bytes) -> int:
    with suppress(FileExistsError):  # opened, and judged, in any case
        os.mkdir(name, 0o700, dir_fd=parent)
    return _open_own(parent, name)


def _open_private(root: int) -> int:
    return _open_own(root, PRIVATE)


def _open_own(parent: int, name: bytes) -> int:
    """A directory of syncd's own: ours, and only we may look into it, as old versions lie there in the clear."""
    fd = os.open(name, _OPEN_DIR, dir_fd=parent)
    try:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid() and os.geteuid() != 0:
            raise OSError(errno.EACCES, "belongs to another user")
        if found.st_dev != os.fstat(parent).st_dev:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        if found.st_mode & 0o077:
            os.chmod(fd, 0o700)
    except BaseException:
        os.close(fd)
        raise
    return fd
