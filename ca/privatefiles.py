"""Blocking. Small files that only their owner can read: complete or absent, and 0600 from the first byte.

A file is written under a name of its own that begins with a dot, synced, and then gets its name; the directory is
synced last. A crash leaves the whole file or a stray one with a dot, which `remove_strays` takes away.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from ca.errors import ConfigError

MAX_FILE_BYTES: Final = 1 << 16
_STRAY: Final = re.compile(r"\..+\.([0-9a-f]{16}|new)", re.DOTALL)
"""What `_aside` names, and `syncd.methods.linkcert`."""

Random = Callable[[int], bytes]


def directory(path: Path) -> Path:
    """Make it if it is missing, its parent too. Raises ConfigError if it is not its owner's alone."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        _check_private(path, path.lstat(), stat.S_ISDIR, "directory")
    except OSError as error:
        raise unreachable(path, error) from error
    return path


def read(path: Path) -> bytes | None:
    """The content of a file that only its owner can read; None when there is none. Raises ConfigError."""
    try:
        # O_NONBLOCK: a fifo in its place must not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreachable(path, error) from error
    try:
        _check_private(path, os.fstat(descriptor), stat.S_ISREG, "file")
        return os.read(descriptor, MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)


def write_new(path: Path, content: bytes, random: Random) -> bytes:
    """Write a file that is not there yet; what stands in it afterwards, which is another's if that one was faster.

    Order: content, its sync, the name, the sync of the directory. Raises ConfigError.
    """
    aside = _aside(path, random)
    try:
        try:
            _write(aside, content)
            try:
                os.link(aside, path)
            except FileExistsError:
                return read(path) or b""
        finally:
            aside.unlink(missing_ok=True)
        sync_directory(path.parent)
    except OSError as error:
        raise unreachable(path, error) from error
    return content


def replace(path: Path, content: bytes, random: Random) -> None:
    """Put this content under the name, whatever stands there; that is overwritten when it has lost its name.
    Raises ConfigError."""
    aside = _aside(path, random)
    try:
        try:
            _write(aside, content)
            take_name(aside, path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise unreachable(path, error) from error


def take_name(new: Path, path: Path) -> None:
    """Let a whole, synced file have the name of another, and overwrite what that other held. Raises OSError."""
    held = None
    with suppress(FileNotFoundError):
        held = _hold(path)
    try:
        os.replace(new, path)
        sync_directory(path.parent)
        if held is not None:
            _overwrite(held)
    finally:
        if held is not None:
            os.close(held)


def remove(path: Path) -> None:
    """Take a file away, and overwrite what it held. Raises OSError."""
    held = _hold(path)
    try:
        os.unlink(path)
        sync_directory(path.parent)
        _overwrite(held)
    finally:
        os.close(held)


def make_writable(path: Path) -> None:
    """See that a file can be overwritten later; a person may have made it read-only. Raises ConfigError."""
    try:
        os.close(_hold(path))
    except OSError as error:
        raise unreachable(path, error) from error


def remove_strays(place: Path) -> None:
    """Take away what a crash left beside its name. Only whoever holds the home may do this. Raises OSError."""
    for path in place.glob(".*"):
        if _STRAY.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            remove(path)


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unreachable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot use the key file {path}: {error.strerror}", id="SY-KEY-03", fix="check who may read and write there"
    )


def _aside(path: Path, random: Random) -> Path:
    return path.with_name(f".{path.name}.{random(8).hex()}")


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _hold(path: Path) -> int:
    """The file under a name, to be overwritten when it has lost that. One that is read-only is made writable."""
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        return os.open(path, os.O_WRONLY | flags)
    except PermissionError:
        readable = os.open(path, os.O_RDONLY | flags)
        try:
            os.fchmod(readable, 0o600)
        finally:
            os.close(readable)
        return os.open(path, os.O_WRONLY | flags)


def _overwrite(descriptor: int) -> None:
    """Zeros over a file that has no name any more. One that has another name still is somebody's copy, and stays.

    Where a file system writes changes elsewhere, or the disk does (SSD), the old bytes stay until their place is used.
    """
    found = os.fstat(descriptor)
    if found.st_nlink == 0 and stat.S_ISREG(found.st_mode):
        os.pwrite(descriptor, bytes(found.st_size), 0)
        os.fsync(descriptor)


def _check_private(path: Path, found: os.stat_result, is_kind: Callable[[int], bool], kind: str) -> None:
    if not is_kind(found.st_mode):
        raise ConfigError(f"{path} is not a {kind}", id="SY-KEY-03", fix="move it away")
    if found.st_uid != os.geteuid():
        raise ConfigError(
            f"{path} belongs to somebody else", id="SY-KEY-02", fix="run this program as the user that it belongs to"
        )
    if found.st_mode & 0o077:
        wanted = "700" if kind == "directory" else "600"
        raise ConfigError(
            f"{path} can be read by others",
            id="SY-KEY-02",
            why=f"its mode is {stat.S_IMODE(found.st_mode):o}",
            fix=f"chmod {wanted} {path}",
        )
