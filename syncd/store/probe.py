"""Blocking. How a file system behaves, found out by trying in a directory of syncd's own."""

from __future__ import annotations

import os
from collections.abc import Callable

from syncd.store.syscalls import Renames
from syncd.treetypes import Personality

_PROBE = b"probe"
_CASED, _OTHER_CASE = b"Probe-Case", b"pROBE-cASE"
_COMPOSED, _DECOMPOSED = "probe-\u00e9".encode(), "probe-e\u0301".encode()
_SUSPECT_BYTES = b'\x01\x1f\x7f"*:<>?\\|'  # what some file system refuses; control characters stand for all of them
_ENDS_IN_A_DOT = b"probe-dot."
_ODD_TIME_NS = 1_600_000_001_123_456_789
_REMOTE = {"9p", "afs", "ceph", "cifs", "davfs", "fuse.sshfs", "glusterfs", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"}


def probe(parent: int, renames: Renames) -> Personality:
    """Try everything in a new directory below `parent`, and remove it again. OSError when nothing can be written."""
    _clear(parent)
    os.mkdir(_PROBE, 0o700, dir_fd=parent)
    fd = os.open(_PROBE, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        return _try_all(fd, renames)
    finally:
        os.close(fd)
        _clear(parent)


def _clear(parent: int) -> None:
    try:
        fd = os.open(_PROBE, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except FileNotFoundError:
        return
    try:
        for name in os.listdir(fd):
            os.unlink(name, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(_PROBE, dir_fd=parent)


def _try_all(fd: int, renames: Renames) -> Personality:
    kind = file_system_of(fd)
    _make(fd, b"file")
    _make(fd, b"other")
    illegal = {byte for byte in _SUSPECT_BYTES if not _can_name(fd, b"x%c" % byte)}
    if 0x01 in illegal:
        illegal |= set(range(1, 32))
    return Personality(
        case_insensitive=_same_name(fd, _CASED, _OTHER_CASE),
        normalising=_same_name(fd, _COMPOSED, _DECOMPOSED),
        utf8_only=not _can_name(fd, b"x\xff"),
        illegal=frozenset(illegal),
        name_max=os.fpathconf(fd, "PC_NAME_MAX"),
        exchange=_works(lambda: renames.exchange(fd, b"file", fd, b"other")),
        hard_links=_works(lambda: os.link(b"file", b"linked", src_dir_fd=fd, dst_dir_fd=fd)),
        symlinks=_works(lambda: os.symlink(b"file", b"symlink", dir_fd=fd)),
        modes=_keeps_modes(fd),
        xattrs=_keeps_xattrs(fd),
        stable_inodes=_keeps_inodes(fd),
        mtime_step_ns=_mtime_step_ns(fd),
        local=kind not in _REMOTE,
        name=kind,
        trims=_trims(fd),
    )


def _works(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def _make(fd: int, name: bytes) -> None:
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=fd))


def _can_name(fd: int, name: bytes) -> bool:
    return _works(lambda: _make(fd, name))


def _trims(fd: int) -> bool:
    """Whether a name loses a dot at its end, or is refused for it: as for one, so for spaces."""
    return not _can_name(fd, _ENDS_IN_A_DOT) or _ENDS_IN_A_DOT not in map(os.fsencode, os.listdir(fd))


def _same_name(fd: int, made: bytes, asked: bytes) -> bool:
    """Whether the file system finds `made` under the name `asked`. One that refuses the name does not."""
    return _can_name(fd, made) and _works(lambda: os.stat(asked, dir_fd=fd, follow_symlinks=False))


def _keeps_modes(fd: int) -> bool:
    return _works(lambda: os.chmod(b"file", 0o701, dir_fd=fd)) and os.stat(b"file", dir_fd=fd).st_mode & 0o777 == 0o701


def _keeps_xattrs(fd: int) -> bool:
    if not hasattr(os, "setxattr"):
        return False
    opened = os.open(b"file", os.O_RDWR | os.O_CLOEXEC, dir_fd=fd)
    try:
        return _works(lambda: os.setxattr(opened, b"user.syncd", b"1"))
    finally:
        os.close(opened)


def _keeps_inodes(fd: int) -> bool:
    before = os.stat(b"file", dir_fd=fd).st_ino
    os.rename(b"file", b"renamed", src_dir_fd=fd, dst_dir_fd=fd)
    after = os.stat(b"renamed", dir_fd=fd).st_ino
    os.rename(b"renamed", b"file", src_dir_fd=fd, dst_dir_fd=fd)
    return before == after


def _mtime_step_ns(fd: int) -> int:
    """The finest of the usual steps that the file system keeps: 1 ns, 100 ns, 1 µs, 1 s or 2 s."""
    os.utime(b"file", ns=(_ODD_TIME_NS, _ODD_TIME_NS), dir_fd=fd)
    kept = os.stat(b"file", dir_fd=fd).st_mtime_ns
    steps = (1, 100, 1_000, 1_000_000, 1_000_000_000)
    return next((step for step in steps if kept == _ODD_TIME_NS // step * step), 2_000_000_000)


def file_system_of(fd: int) -> str:
    """The type of the file system on which `fd` lies, as the mount table names it; empty where there is none."""
    device = os.fstat(fd).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as table:
            for line in table:
                fields, _, about = line.partition(" - ")
                if fields.split(" ", 3)[2] == wanted:
                    return about.split(" ", 1)[0]
    except FileNotFoundError:
        return ""
    return ""
