"""Blocking. The system calls that Python does not offer, each on descriptors, each raising OSError.

Linux has them in the C library or by number; macOS has its own names for two of them. Where neither the system nor the
file system can rename without replacing, or exchange two names, the callers in `store/tree.py` use what is said there.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import stat
import sys
from collections.abc import Callable

LINUX = sys.platform == "linux"

_libc = ctypes.CDLL(None, use_errno=True)

# --- opening below a directory -------------------------------------------------------------------------------------

_OPENAT2 = 437  # the number is the same on every architecture
_RESOLVE_NO_XDEV, _RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x01, 0x02, 0x04, 0x08
_RESOLVE = _RESOLVE_NO_XDEV | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH

O_DIR = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC  # a directory to work in, not to list
_PATH_MAX = 4096  # with the final NUL


class _OpenHow(ctypes.Structure):
    """struct open_how of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_syscall = _libc.syscall
_syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t]
_syscall.restype = ctypes.c_long

# Filled once and only read afterwards, so that no call has to build a structure.
_hows: dict[int, tuple[int, _OpenHow]] = {}
"""By flags: where it lies, and what keeps it there."""
_HOW_BYTES = ctypes.sizeof(_OpenHow)


def _how(flags: int) -> tuple[int, _OpenHow]:
    how = _OpenHow(flags, 0, _RESOLVE)
    return ctypes.addressof(how), how


def _fail() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def open_beneath(top: int, path: tuple[bytes, ...], flags: int) -> int:
    """Open `path` below the directory `top`, following no symlink in any component and entering no other mount.

    One call of the kernel however deep the path; a walk of one open per component where the kernel has no openat2, or
    where the path is longer than it takes at once. Errors: ELOOP for a symlink, EXDEV for a mount.
    """
    joined = b"/".join(path)
    if not Kernel.openat2 or len(joined) >= _PATH_MAX:
        return _open_by_walking(top, path, flags)
    flags |= os.O_CLOEXEC
    how, _ = _hows.get(flags) or _hows.setdefault(flags, _how(flags))
    while True:
        fd: int = _syscall(_OPENAT2, top, joined, how, _HOW_BYTES)
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number in (errno.EINTR, errno.EAGAIN):
            continue  # EAGAIN: a rename elsewhere made the kernel unsure; it asks to be asked again
        if number == errno.ENOSYS:
            Kernel.openat2 = False
            return _open_by_walking(top, path, flags)
        raise OSError(number, os.strerror(number))


def _open_by_walking(top: int, path: tuple[bytes, ...], flags: int) -> int:
    device = os.fstat(top).st_dev
    current = top
    try:
        for name in path[:-1]:
            below = _open_one(current, name, O_DIR)
            if current != top:
                os.close(current)
            current = below
            if os.fstat(current).st_dev != device:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        opened = _open_one(current, path[-1], flags)
    finally:
        if current != top:
            os.close(current)
    if os.fstat(opened).st_dev != device:
        os.close(opened)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    return opened


def _open_one(parent: int, name: bytes, flags: int) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
        raise


class Kernel:
    """What the running kernel has turned out to lack."""

    openat2 = LINUX


# --- renaming ------------------------------------------------------------------------------------------------------

_RENAME_NOREPLACE, _RENAME_EXCHANGE = (1, 2) if LINUX else (4, 2)  # macOS: RENAME_EXCL, RENAME_SWAP
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


def _no_rename(*_: object) -> int:
    """Stands in where the C library has no such call; the kernel would say the same."""
    ctypes.set_errno(errno.ENOSYS)
    return -1


_rename: Callable[..., int] = _no_rename
if _found := getattr(_libc, "renameat2" if LINUX else "renameatx_np", None):
    _found.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    _rename = _found


class Renames:
    """Renames that never replace. `atomic` False behaves as on a file system that has no flags for rename."""

    __slots__ = ("_atomic",)

    def __init__(self, *, atomic: bool = True) -> None:
        self._atomic = atomic

    def exchange(self, fd: int, name: bytes, other_fd: int, other: bytes) -> None:
        """Two names change their objects in one step. ENOTSUP where that cannot be done."""
        if not self._atomic:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        if _rename(fd, name, other_fd, other, _RENAME_EXCHANGE) != 0:
            number = ctypes.get_errno()
            raise OSError(errno.ENOTSUP if number in _CANNOT else number, os.strerror(number))

    def noreplace(self, fd: int, name: bytes, to_fd: int, to: bytes) -> None:
        """Rename, or fail with EEXIST. Where there is no such rename: link and unlink, or look and rename."""
        if self._atomic:
            if _rename(fd, name, to_fd, to, _RENAME_NOREPLACE) == 0:
                return
            number = ctypes.get_errno()
            if number not in _CANNOT:
                raise OSError(number, os.strerror(number))
        self._noreplace_in_steps(fd, name, to_fd, to)

    def _noreplace_in_steps(self, fd: int, name: bytes, to_fd: int, to: bytes) -> None:
        try:
            os.link(name, to, src_dir_fd=fd, dst_dir_fd=to_fd, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
        else:
            os.unlink(name, dir_fd=fd)
            return
        # A directory, or no hard links here. Two programs could still meet between these two lines.
        try:
            os.stat(to, dir_fd=to_fd, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(name, to, src_dir_fd=fd, dst_dir_fd=to_fd)
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


# --- flushing ------------------------------------------------------------------------------------------------------


def flush_file_system(fd: int) -> None:
    """Everything written to the file system of `fd` is on the disk; on macOS, everything written to that file."""
    if LINUX:
        if _libc.syncfs(fd) != 0:
            raise _fail()
    else:
        flush_file(fd)


def flush_file(fd: int) -> None:
    """This file, or the names in this directory, are on the disk itself, not in its cache."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is None:
        os.fsync(fd)
    else:
        fcntl.fcntl(fd, full)


_SYNC_FILE_RANGE_WRITE = 2

_start_writing: Callable[..., int] | None = None
if LINUX and (_found := getattr(_libc, "sync_file_range", None)):
    _found.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    _start_writing = _found


def start_writing(fd: int) -> None:
    """Let what was written to this file begin its way to the disk, so that less is left to a flush.

    Waits for nothing but room in the queue of the disk, and promises nothing: what goes wrong is told to whoever
    flushes. Nothing happens on macOS.
    """
    if _start_writing is not None:
        _start_writing(fd, 0, 0, _SYNC_FILE_RANGE_WRITE)


def maybe_open_past_cache(fd: int) -> int | None:
    """Another descriptor of an open file, for writing past the page cache; None where that is not to be had."""
    if not LINUX:
        return None
    try:
        place = b"/proc/self/fd/%d" % fd  # the same inode, whatever its name is by now
        return os.open(place, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return None


# --- watching ------------------------------------------------------------------------------------------------------


def inotify_init() -> int:
    """A non-blocking inotify descriptor."""
    fd: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        raise _fail()
    return fd


def inotify_add(fd: int, directory: int, mask: int) -> int:
    """Watch an open directory: by its descriptor, so that no path is followed. The watch descriptor."""
    watch: int = _libc.inotify_add_watch(fd, b"/proc/self/fd/%d" % directory, mask)
    if watch < 0:
        raise _fail()
    return watch


def inotify_remove(fd: int, watch: int) -> None:
    """End a watch. No error when its directory has gone already."""
    if _libc.inotify_rm_watch(fd, watch) != 0 and ctypes.get_errno() != errno.EINVAL:
        raise _fail()


# --- who else has a file open --------------------------------------------------------------------------------------


_GENERATION = 0x8008_7601  # FS_IOC_GETVERSION where a long has eight bytes


def generation(fd: int) -> int:
    """A number that tells an inode from the one that had its number before; 0 where the file system has none."""
    if not LINUX:
        return 0
    found = bytearray(8)
    try:
        fcntl.ioctl(fd, _GENERATION, found)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            return 0
        raise
    return int.from_bytes(found[:4], sys.byteorder)


def is_open_for_writing(fd: int) -> bool:
    """Whether anybody has the file open, or mapped, for writing: the kernel grants no read lease then. False where it
    cannot be asked (another owner's file, a file system without leases, macOS).

    Who opens it for writing while we hold the lease waits until we give it back, and we are sent a signal. It is to be
    one that ends nobody: SIGIO, which it would be otherwise, ends a process that does not expect it.
    """
    if not LINUX:
        return False
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EBUSY)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


# --- memory --------------------------------------------------------------------------------------------------------

_M_ARENA_MAX = -8
_ARENAS = 2


def keep_few_arenas() -> None:
    """Let all threads share two heaps; the C library of Linux else makes eight for each processor, and every one of
    them keeps what was once needed in it. Does nothing where the C library has no such thing."""
    if LINUX and hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_ARENA_MAX, _ARENAS)


def trim_memory() -> None:
    """Give the system back what is free in our heaps, where the C library can."""
    if LINUX and hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
